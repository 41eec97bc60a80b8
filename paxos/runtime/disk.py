"""The disk of a node: one batch at a time, off the event loop, made of all that has gathered.

A turn of the node hands over what it wants written and the messages that report it.  While one batch is
being written the next one gathers (group commit), so a slow disk makes batches larger, not work slower.
The one rule: a held message is released when the writes of its own turn *and of every earlier turn* are
on disk, and not before.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread

from paxos.ballot import NodeId
from paxos.errors import PaxosError, StoreFailed
from paxos.runtime.events import EventSink
from paxos.runtime.store import Store

__all__ = ["Disk"]

Held: TypeAlias = list[tuple[NodeId, Any]]

#: How long closing a store may take before it is left alone, seconds.
_CLOSE_S: Final = 5.0


class Disk:
    """Writes one node's records.

    Args:
        store: where.
        released: called with held messages, in order, when what they report is on disk.
        failed: called once with the error when the store fails; nothing is released afterwards.
        events: where to report.
    """

    def __init__(
        self,
        store: Store,
        released: Callable[[Held], None],
        failed: Callable[[Exception], None],
        events: EventSink,
    ) -> None:
        self._store = store
        self._released = released
        self._failed = failed
        self._events = events
        self._limiter = anyio.CapacityLimiter(1)
        # What the next batch will hold, and who waits for it.
        self._writes: list[tuple[bytes, bytes | None]] = []
        self._held: Held = []
        # Who waits for the batch that is being written.
        self._busy = False
        self._held_by_batch: Held = []
        self._work = anyio.Event()
        self._closing = False
        self._scope: anyio.CancelScope | None = None
        self._dead = False
        self._stuck = False
        #: Batches written, and records in them.
        self.batches: int = 0
        self.records: int = 0
        #: Seconds spent writing, all batches together; and the slowest batch.
        self.total_s: float = 0.0
        self.slowest_s: float = 0.0

    def add(self, writes: list[tuple[bytes, bytes | None]], held: Held) -> Held:
        """Take over one turn's writes and held messages.

        Returns:
            Those that need not wait, because nothing that was ever to be written is still on its way.
        """
        if writes:
            self._writes += writes
            self._held += held
            self._work.set()
        elif self._writes:
            self._held += held
        elif self._busy:
            self._held_by_batch += held
        elif not self._dead:
            return held
        return []

    async def run(self) -> None:
        """Write until `finish` is called and nothing is left, or the store fails.

        Being cancelled does not interrupt it: a batch that was begun is finished.
        """
        with anyio.CancelScope(shield=True) as self._scope:
            while await self._next():
                writes, self._writes = self._writes, []
                self._held_by_batch, self._held = self._held, []
                self._busy = True
                started_s = time.perf_counter()
                try:
                    await anyio.to_thread.run_sync(
                        partial(self._store.write, writes), abandon_on_cancel=True, limiter=self._limiter
                    )
                except Exception as error:
                    self._dead = True
                    self._failed(_as_failure(error))
                    return
                self._count(len(writes), time.perf_counter() - started_s)
                self._busy = False
                held, self._held_by_batch = self._held_by_batch, []
                if held:
                    self._released(held)
        if self._busy:
            self._dead = self._stuck = True
            self._events.say(
                "disk-stuck",
                "the disk did not finish a batch in time; the node stops without it",
                level=logging.ERROR,
            )

    async def _next(self) -> bool:
        """Wait for work; False when there will be none."""
        while not self._writes:
            if self._closing:
                return False
            self._work = anyio.Event()
            await self._work.wait()
        return True

    def _count(self, records: int, took_s: float) -> None:
        self.batches += 1
        self.records += records
        self.total_s += took_s
        self.slowest_s = max(self.slowest_s, took_s)

    def finish(self, within_s: float) -> None:
        """No more work will come: write what is left, for so many seconds at most, and return from `run`."""
        self._closing = True
        self._work.set()
        if self._scope is not None:
            self._scope.deadline = min(self._scope.deadline, anyio.current_time() + within_s)

    async def close(self) -> None:
        """Close the store, in bounded time. `run` must have returned."""
        if self._stuck:
            return  # a call that never returned is still in there
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_S):
            try:
                await anyio.to_thread.run_sync(
                    self._store.close, abandon_on_cancel=True, limiter=self._limiter
                )
            except PaxosError as error:
                self._events.say("store-close", f"closing the store: {error}", level=logging.ERROR)


def _as_failure(error: Exception) -> Exception:
    if isinstance(error, PaxosError):
        return error
    failure = StoreFailed(f"the store failed: {type(error).__name__}: {error}; start the node again")
    failure.__cause__ = error
    return failure
