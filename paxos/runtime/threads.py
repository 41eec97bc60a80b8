"""Work that may never end, in threads that do not keep the process alive.

A call to a disk can hang for as long as the disk likes, and nothing interrupts it.  The event loop's own
worker threads are waited for when the interpreter ends, so one such call would keep a process that was told
to stop.  Here each has a daemon thread: whoever waits can give up, and the process can end.
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeAlias, TypeVar

import anyio

__all__ = ["CallOnLoop", "call_on_loop", "run_in_daemon", "start_daemon"]

T = TypeVar("T")

#: Has something called on an event loop, from another thread, without waiting for it.
CallOnLoop: TypeAlias = Callable[[Callable[[], None]], object]


def call_on_loop() -> CallOnLoop:
    """What lets another thread have something called on this thread's event loop."""
    trio = sys.modules.get("trio")
    if trio is not None:
        with suppress(RuntimeError):  # loaded, but it is not what runs here
            call: CallOnLoop = trio.lowlevel.current_trio_token().run_sync_soon
            return call
    return asyncio.get_running_loop().call_soon_threadsafe


def start_daemon(function: Callable[[], None], name: str) -> None:
    """Run a function in a thread that the end of the process does not wait for."""
    threading.Thread(target=function, name=name, daemon=True).start()


class _Job(Generic[T]):
    """A call in a thread, and what becomes of its result."""

    def __init__(self, function: Callable[[], T], name: str, dispose: Callable[[T], None] | None) -> None:
        self.done = anyio.Event()
        self._function = function
        self._name = name
        self._dispose = dispose
        self._call = call_on_loop()
        self._lock = threading.Lock()
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._has_ended = False
        self._is_unwanted = False

    def run(self) -> None:
        """The thread."""
        try:
            self._results.append(self._function())
        except BaseException as error:
            self._error = error
        with self._lock:
            self._has_ended = True
            is_unwanted = self._is_unwanted
        if is_unwanted:
            self._throw_away()
        else:
            self._tell()

    def result(self) -> T:
        """What the function returned, or raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._results.pop()

    async def abandon(self) -> None:
        """Nobody wants the result: return when it has been disposed of."""
        self.done = anyio.Event()
        with self._lock:
            self._is_unwanted = True
            has_ended = self._has_ended
        if has_ended:
            start_daemon(self._throw_away, self._name)
        await self.done.wait()

    def _throw_away(self) -> None:
        if self._dispose is not None:
            for result in self._results:
                with suppress(Exception):
                    self._dispose(result)
        self._tell()

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._call(self.done.set)


async def run_in_daemon(
    function: Callable[[], T], name: str, *, dispose: Callable[[T], None] | None = None, grace_s: float = 0.0
) -> T:
    """Run a function in a daemon thread and wait for it.

    Cancelled, it waits a little longer for the function and `dispose`, and then no more.

    Args:
        function: what to run.
        name: of the thread.
        dispose: called in a thread with a result that comes too late.
        grace_s: how long to wait for both when cancelled, seconds.

    Raises:
        What `function` raises.
    """
    job = _Job(function, name, dispose)
    start_daemon(job.run, name)
    try:
        await job.done.wait()
    except BaseException:
        with anyio.CancelScope(shield=True), anyio.move_on_after(grace_s):
            await job.abandon()
        raise
    return job.result()
