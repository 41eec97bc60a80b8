"""A pool of processes for work that may kill them, hang them, or outlive who asked for it.

Processes are spawned, so that they begin the same everywhere.  Each is watched from inside, twice.  A thread
waits for the end of a pipe that only the parent holds: when the parent stops the pool, or is gone, whichever
way, the process ends at once and leaves no orphan.  And a piece of work that takes longer than the pool's
limit ends its process with its stack on standard error; that clock is no thread of Python's, so work that
never lets go of the interpreter is ended by it too.
"""

import faulthandler
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, Final

__all__ = ["Inline", "Processes", "in_time"]

#: Standard error's descriptor: where a stack is written when nothing else can be trusted any more.
_STDERR: Final = 2
#: What a process exits with when its parent is gone.
_ABANDONED: Final = 1


class Inline(Executor):
    """An executor that runs everything at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run it, and give the finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes(Executor):
    """A pool of processes that is made anew when one of them dies.

    Args:
        workers: how many; None for one on each core.
        limit_s: the longest that work inside `in_time` may take, seconds; None for no limit.
    """

    def __init__(self, workers: int | None = None, limit_s: float | None = None) -> None:
        self.workers: int = workers or _cores()
        self.limit_s: float | None = limit_s
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Hand it to a process of the pool."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            theirs, self._lifeline = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                self.workers, context, initializer=_begin, initargs=(theirs, self.limit_s)
            )
        return self._pool.submit(fn, *args, **kwargs)

    def renew(self) -> None:
        """Forget a pool that is broken; the next work gets a new one."""
        self.shutdown(wait=True, cancel_futures=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes; work under way is finished first."""
        if self._pool is not None:
            self._pool.shutdown(wait, cancel_futures=cancel_futures)
            self._let_go()

    def stop(self) -> None:
        """End the processes now; work under way is lost."""
        if self._pool is not None:
            pool = self._pool
            self._let_go()
            pool.shutdown(wait=True, cancel_futures=True)

    def _let_go(self) -> None:
        self._pool = None
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- in the processes -----------------------------------------------------------------------------------

_limit_s: float | None = None


def _begin(lifeline: Connection, limit_s: float | None) -> None:
    """What every process of a pool does first."""
    global _limit_s
    _limit_s = limit_s
    # Control-C reaches every process of a terminal; who spread the work says what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()


def _end_with_parent(lifeline: Connection) -> None:
    parent = multiprocessing.parent_process()
    wait([lifeline] if parent is None else [lifeline, parent.sentinel])
    os._exit(_ABANDONED)


@contextmanager
def in_time() -> Iterator[None]:
    """Work that must end within the pool's limit, else its process does; elsewhere there is none."""
    if _limit_s is None:
        yield
        return
    faulthandler.dump_traceback_later(_limit_s, file=_STDERR, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
