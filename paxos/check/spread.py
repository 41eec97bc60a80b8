"""Spreading batches over an executor, and surviving workers that die.

Anything with the interface of `concurrent.futures.Executor` will do: a pool of processes here, many
machines behind Dask.  A unit of work is a function of a module with plain arguments and a range of numbers.

When a process of a pool dies, the whole pool is broken and every unit under way with it, the guilty and the
innocent.  So a new pool is made, and each of these units is run alone, one number at a time: what breaks the
pool then is the number that kills, and only that one is given up.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from typing import Any, Final, NamedTuple

from paxos.errors import PaxosError

__all__ = ["Inline", "Processes", "Unit", "in_order"]

#: Units under way for each worker: enough that none waits for the next.
_AHEAD: Final = 3
_DEFAULT_AHEAD: Final = 16


class Unit(NamedTuple):
    """One unit of work: `function(*before, first, last, *after)`.

    Args:
        first: the first number.
        last: after the last number.
        function: what is called, of a module that workers can import.
        before: its arguments before the numbers.
        after: its arguments after them.
    """

    first: int
    last: int
    function: Callable[..., Any]
    before: tuple[Any, ...]
    after: tuple[Any, ...]

    def submit(self, executor: Executor) -> "Future[Any]":
        """Hand it to an executor."""
        return executor.submit(self.function, *self.before, self.first, self.last, *self.after)

    def singles(self) -> "list[Unit]":
        """The same as units of one number."""
        return [self._replace(first=number, last=number + 1) for number in range(self.first, self.last)]


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

    Processes are spawned, so that they begin the same everywhere.

    Args:
        workers: how many; None for one on each core.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers: int = workers or _cores()
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Hand it to a process of the pool."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=_ignore_interrupts)
        return self._pool.submit(fn, *args, **kwargs)

    def renew(self) -> None:
        """Forget a pool that is broken; the next work gets a new one."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes; work under way is finished first."""
        if self._pool is not None:
            self._pool.shutdown(wait, cancel_futures=cancel_futures)
            self._pool = None


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ignore_interrupts() -> None:
    # Control-C reaches every process of a terminal; who spread the work says what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def in_order(
    executor: Executor, units: Iterable[Unit], *, owned: bool
) -> Generator[tuple[Unit, Any], None, None]:
    """The results of units, in their order; None as the result of a number that killed its process.

    Args:
        executor: where they run.
        units: what to run; taken as far as there is room for it.
        owned: shut the executor down at the end.

    Raises:
        Exception: whatever the function raised.
    """
    waiting = iter(units)
    refused: list[Unit] = []
    under_way: deque[tuple[Unit, Future[Any]]] = deque()
    ahead = _AHEAD * executor.workers if isinstance(executor, Processes) else _ahead_of(executor)
    try:
        while True:
            while len(under_way) < ahead and not refused:
                unit = next(waiting, None)
                if unit is None:
                    break
                try:
                    under_way.append((unit, unit.submit(executor)))
                except BrokenExecutor:
                    refused.append(unit)
            if not under_way and not refused:
                return
            if under_way and not _died(under_way[0][1]):
                unit, future = under_way.popleft()
                yield unit, future.result()
                continue
            # Whatever was under way may be the culprit, except what had finished before.
            suspects = [unit for unit, _ in under_way] + refused
            finished = {unit: future for unit, future in under_way if not _died(future)}
            under_way.clear()
            refused.clear()
            _renew(executor)
            for unit in suspects:
                if unit in finished:
                    yield unit, finished[unit].result()
                else:
                    yield from _one_by_one(executor, unit)
    finally:
        for _, future in under_way:
            future.cancel()
        if owned:
            executor.shutdown(wait=True, cancel_futures=True)


def _ahead_of(executor: Executor) -> int:
    return 1 if isinstance(executor, Inline) else _DEFAULT_AHEAD


def _died(future: "Future[Any]") -> bool:
    """Wait for it; whether what ran it died, and not only raised."""
    error = future.exception()
    if error is None or isinstance(error, PaxosError):
        return False
    # Other executors have errors of their own for workers that die.
    return isinstance(error, BrokenExecutor) or type(error).__name__ in ("KilledWorker", "CommClosedError")


def _renew(executor: Executor) -> None:
    if isinstance(executor, Processes):
        executor.renew()


def _one_by_one(executor: Executor, unit: Unit) -> Iterator[tuple[Unit, Any]]:
    for single in unit.singles():
        future = single.submit(executor)
        if _died(future):
            _renew(executor)
            yield single, None
        else:
            yield single, future.result()
