"""Writes that no message waits for: they get no sync of their own while another batch is near."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from paxos.runtime.disk import Disk
from paxos.runtime.events import EventSink
from paxos.runtime.store import Batch
from paxos.runtime.threads import call_on_loop
from tests.strangers import PATIENCE_S

pytestmark = pytest.mark.anyio

NEWS = (b"news", b"1")
VOTE = (b"vote", b"2")


class _Store:
    """Remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[bytes, bytes | None]]] = []
        self.written = anyio.Event()
        self._call = call_on_loop()

    def write(self, batch: Batch) -> None:
        self.batches.append(list(batch))
        self._call(lambda: self.written.set())

    def close(self) -> None:
        return


class _Run:
    """A disk, its store, and what it let go."""

    def __init__(self) -> None:
        self.store = _Store()
        self.released: list[Any] = []
        self.let_go = anyio.Event()
        store: Any = self.store
        self.disk = Disk(store, self._take, lambda error: None, EventSink(1))

    def _take(self, held: list[Any]) -> None:
        self.released += held
        self.let_go.set()


@asynccontextmanager
async def running() -> AsyncIterator[_Run]:
    """A disk at work; it ends with the block, however that goes."""
    run = _Run()
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(run.disk.run)
            try:
                yield run
            finally:
                run.disk.finish(PATIENCE_S)


async def test_news_goes_with_the_batch_that_somebody_waits_for() -> None:
    async with running() as run:
        assert run.disk.add([NEWS], []) == []
        assert run.disk.add([VOTE], [(2, "vote")]) == []
        await run.let_go.wait()
    assert run.store.batches == [[NEWS, VOTE]]
    assert run.released == [(2, "vote")]


async def test_what_follows_news_waits_for_it() -> None:
    """A message without writes of its own is behind every earlier write, also one that nobody waited for."""
    async with running() as run:
        assert run.disk.add([NEWS], []) == []
        assert run.disk.add([], [(2, "later")]) == []
        assert run.released == []
        await run.let_go.wait()
    assert run.store.batches == [[NEWS]]
    assert run.released == [(2, "later")]


async def test_news_alone_is_written_soon() -> None:
    async with running() as run:
        for _ in range(2):
            run.store.written = anyio.Event()
            assert run.disk.add([NEWS], []) == []
            await run.store.written.wait()
            await anyio.wait_all_tasks_blocked()
    assert run.store.batches == [[NEWS], [NEWS]]


async def test_much_news_does_not_wait_and_the_end_leaves_none() -> None:
    run = _Run()
    many: list[tuple[bytes, bytes | None]] = [(b"%d" % number, b"") for number in range(1000)]
    run.disk.add(many, [])
    run.disk.add([NEWS], [])
    run.disk.finish(PATIENCE_S)
    with anyio.fail_after(PATIENCE_S):
        await run.disk.run()
    assert run.store.batches == [many, [NEWS]]
    await run.disk.close()
