"""The disk of a node: one batch at a time, off the event loop, made of all that has gathered.

A turn of the node hands over what it wants written and the messages that report it.  While one batch is
being written the next one gathers (group commit), so a slow disk makes batches larger, not work slower.
The one rule: a held message is released when the writes of its own turn *and of every earlier turn* are
on disk, and not before.

Writes that no message waits for, such as the news of a decision, are not worth a sync of their own: they
go with the next batch that somebody waits for, or a few milliseconds later by themselves.

A disk that hangs lets the next batch grow.  It keeps the last word on each key only, and when it has its
limit the disk says that it is full: then nobody is read, whose messages would make it grow further.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeAlias

import anyio

from paxos.ballot import NodeId
from paxos.errors import PaxosError, StoreFailed
from paxos.runtime.events import EventSink
from paxos.runtime.store import Store
from paxos.runtime.tasks import run_until_first
from paxos.runtime.threads import CallOnLoop, call_on_loop, run_in_daemon, start_daemon

__all__ = ["Disk"]

Held: TypeAlias = list[tuple[NodeId, Any]]

#: How long closing a store may take before it is left alone, seconds.
_CLOSE_S: Final = 5.0
#: How long writes that nobody waits for may gather, seconds, and how many of them.
_LINGER_S: Final = 0.005
_LINGER_RECORDS: Final = 256
#: A batch that takes longer is told of while it does, seconds.
_SLOW_S: Final = 2.0
#: What a record takes beside its key and value, and a held message beside what the node keeps anyway, about.
_RECORD_BYTES: Final = 256
_HELD_BYTES: Final = 256


class Disk:
    """Writes one node's records.

    Args:
        store: where.
        released: called with held messages, in order, when what they report is on disk.
        failed: called once with the error when the store fails, or hangs at the end; nothing is released
            afterwards.
        events: where to report.
        limit_bytes: when so much waits to be written, the disk is full.
        drained: called when it is no longer.
    """

    def __init__(
        self,
        store: Store,
        released: Callable[[Held], None],
        failed: Callable[[Exception], None],
        events: EventSink,
        limit_bytes: float = math.inf,
        drained: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._released = released
        self._failed = failed
        self._events = events
        self._limit_bytes = limit_bytes
        self._drained = drained
        # What the next batch will hold, and who waits for it.
        self._writes: dict[bytes, bytes | None] = {}
        self._held: Held = []
        # Set while the next batch is one that nobody waits for.
        self._lingering = anyio.Event()
        # Who waits for the batch that is being written.
        self._busy = False
        # Since when the batch is being written; whether it was told that it takes long.
        self._begun_s = 0.0
        self._is_slow = False
        self._held_by_batch: Held = []
        self._batch_bytes = 0
        self._batches: SimpleQueue[list[tuple[bytes, bytes | None]] | None] = SimpleQueue()
        # Records and seconds of the batch that the thread has written, or why not; and the sign that it has.
        self._written: deque[tuple[int, float] | BaseException] = deque()
        self._back = anyio.Event()
        self._closing = False
        self._finish_at_s = math.inf
        self._scope: anyio.CancelScope | None = None
        # Whether nothing more will be written, whatever comes.
        self._over = False
        self._stuck = False
        #: About so many bytes wait or are being written.
        self.queued_bytes: int = 0
        #: Set while there is room for more.
        self.room: anyio.Event = anyio.Event()
        self.room.set()
        #: Whether there is not.
        self.full: bool = False
        #: Batches written, and records in them.
        self.batches: int = 0
        self.records: int = 0
        #: Seconds spent writing, all batches together; and the slowest batch.
        self.total_s: float = 0.0
        self.slowest_s: float = 0.0

    @property
    def writing_s(self) -> float:
        """Seconds since the batch was begun that is being written; 0 when there is none."""
        return time.perf_counter() - self._begun_s if self._busy else 0.0

    def add(self, writes: list[tuple[bytes, bytes | None]], held: Held) -> Held:
        """Take over one turn's writes and held messages.

        Returns:
            Those that need not wait, because nothing that was ever to be written is still on its way.
        """
        if self._over:
            return []  # as after a crash: neither is it written, nor does anybody hear of it
        if writes:
            self._gather(writes)
            self._held += held
        elif self._writes:
            self._held += held
        elif self._busy:
            self._held_by_batch += held
            self._batch_bytes += _HELD_BYTES * len(held)
        else:
            return held
        self.queued_bytes += _HELD_BYTES * len(held)
        if self.queued_bytes > self._limit_bytes and not self.full:
            self.full = True
            self.room = anyio.Event()
        if not self._busy:
            self._go_on()
        return []

    def _gather(self, writes: list[tuple[bytes, bytes | None]]) -> None:
        gathered, size = self._writes, 0
        for key, value in writes:
            if key in gathered:
                size -= len(gathered[key] or b"")
            else:
                size += _RECORD_BYTES + len(key)
            gathered[key] = value
            if value is not None:
                size += len(value)
        self.queued_bytes += size

    def _go_on(self) -> None:
        """Begin the next batch, unless nobody waits for it: then let it gather a little longer."""
        if self._busy or not self._writes:
            return
        if self._held or self._closing or len(self._writes) >= _LINGER_RECORDS:
            self._begin()
        else:
            self._lingering.set()

    def _begin(self) -> None:
        writes, self._writes = self._writes, {}
        self._held_by_batch, self._held = self._held, []
        self._batch_bytes = self.queued_bytes
        self._busy = True
        self._begun_s = time.perf_counter()
        self._batches.put(list(writes.items()))

    async def run(self) -> None:
        """Write until `finish` is called and nothing is left, or the store fails.

        Being cancelled does not interrupt it: a batch that was begun is finished.
        """
        start_daemon(partial(self._write_batches, call_on_loop()), "paxos-disk")
        try:
            with anyio.CancelScope(shield=True, deadline=self._finish_at_s) as self._scope:
                await run_until_first(self._take_back, self._linger, self._watch)
        except Exception as error:
            self._failed(_as_failure(error))
            return
        finally:
            self._over = True
            self._batches.put(None)
        if self._busy:
            self._stuck = True
            text = "the disk did not finish a batch in time; the node stops without it"
            self._events.say("disk-stuck", text, level=logging.ERROR)
            self._failed(StoreFailed(f"{text}. What was acknowledged is on disk; check the disk"))

    def _write_batches(self, call: CallOnLoop) -> None:
        """The thread: write what is handed over, one batch after the other."""
        # One thread for all batches: starting one for each takes as long as a fast disk does.
        while (writes := self._batches.get()) is not None:
            started_s = time.perf_counter()
            try:
                self._store.write(writes)
            except BaseException as error:
                self._written.append(error)
            else:
                self._written.append((len(writes), time.perf_counter() - started_s))
            # It does not wait for the loop to hear of it: each wait would be two switches of threads more.
            with suppress(RuntimeError):  # the loop has ended
                call(self._ring)

    def _ring(self) -> None:
        self._back.set()

    async def _take_back(self) -> None:
        """The event loop: a batch is on disk."""
        while self._busy or not self._closing:
            await self._back.wait()
            self._back = anyio.Event()
            # One at most, since the next is handed over here.
            while self._written:
                written = self._written.popleft()
                if isinstance(written, BaseException):
                    raise written
                self._count(*written)
                self._busy = False
                held, self._held_by_batch = self._held_by_batch, []
                self.queued_bytes -= self._batch_bytes
                has_drained = self.full and self.queued_bytes <= self._limit_bytes
                if has_drained:
                    self.full = False
                    self.room.set()
                if held:
                    self._released(held)
                self._go_on()
                if has_drained and self._drained is not None:
                    self._drained()
        # Here and now: whatever comes in the same cycle of the loop is late.
        self._over = True

    async def _watch(self) -> None:
        """Say of a batch that takes long that it does, while it does."""
        while True:
            await anyio.sleep(_SLOW_S / 4)
            if self._busy and not self._is_slow and self.writing_s >= _SLOW_S:
                self._is_slow = True
                text = (
                    f"the disk has been writing one batch for {self.writing_s:.1f} s; until it is there this "
                    "node votes for nothing new. Check the disk"
                )
                self._events.say("disk-slow", text, level=logging.WARNING)

    async def _linger(self) -> None:
        """Write what nobody waits for a little later, unless something came that takes it along."""
        while True:
            await self._lingering.wait()
            await anyio.sleep(_LINGER_S)
            self._lingering = anyio.Event()
            if self._writes and not self._busy:
                self._begin()

    def _count(self, records: int, took_s: float) -> None:
        self.batches += 1
        self.records += records
        self.total_s += took_s
        self.slowest_s = max(self.slowest_s, took_s)
        if self._is_slow:
            self._is_slow = False
            self._events.say("disk-back", f"the disk is back: one batch took {took_s:.1f} s")

    def finish(self, within_s: float) -> None:
        """No more work will come: write what is left, for so many seconds at most, and return from `run`."""
        self._closing = True
        self._go_on()
        self._back.set()
        self._finish_at_s = min(self._finish_at_s, anyio.current_time() + within_s)
        if self._scope is not None:
            self._scope.deadline = self._finish_at_s

    async def close(self) -> None:
        """Close the store, in bounded time. `run` must have returned."""
        if self._stuck:
            return  # a call that never returned is still in there
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_S):
            try:
                await run_in_daemon(self._store.close, "paxos-store-close")
            except PaxosError as error:
                self._events.say("store-close", f"closing the store: {error}", level=logging.ERROR)


def _as_failure(error: Exception) -> Exception:
    if isinstance(error, PaxosError):
        return error
    failure = StoreFailed(f"the store failed: {type(error).__name__}: {error}; start the node again")
    failure.__cause__ = error
    return failure
