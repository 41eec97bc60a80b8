"""Spreading batches over an executor, and surviving workers that die.

Anything with the interface of `concurrent.futures.Executor` will do: a pool of processes here, many
machines behind Dask.  A unit of work is a function of a module with plain arguments and a range of numbers.

When a process of a pool dies, the whole pool is broken and every unit under way with it, the guilty and the
innocent.  So a new pool is made, and each of these units is run alone, one number at a time: what breaks the
pool then is the number that kills, and only that one is given up.

A new pool can be made of one that was made here.  An executor that was given and refuses all work since a
worker died is at an end: whoever gave it is told what was under way.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, Final, NamedTuple

from paxos.check.workers import Inline, Processes
from paxos.errors import ConfigurationError, PaxosError

__all__ = ["Killed", "Unit", "in_order"]

#: Units under way for each worker: enough that none waits for the next.
_AHEAD: Final = 3
_DEFAULT_AHEAD: Final = 16
#: So many units are named when an executor is at an end.
_NAMED: Final = 20


class Killed(NamedTuple):
    """What comes of a number that killed its process.

    Args:
        late: whether it was ended because it took longer than the pool's limit.
    """

    late: bool


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


def in_order(
    executor: Executor,
    units: Iterable[Unit],
    *,
    owned: bool,
    again: Callable[[int], None] | None = None,
) -> Generator[tuple[Unit, Any], None, None]:
    """The results of units, in their order; `Killed` as the result of a number that killed its process.

    Args:
        executor: where they run.
        units: what to run; taken as far as there is room for it.
        owned: shut the executor down at the end.
        again: called with each number that is run again, alone, because a process died.

    Raises:
        Exception: whatever the function raised.
        ConfigurationError: a given executor takes no more work since a worker of it died.
    """
    waiting = iter(units)
    refused: list[Unit] = []
    under_way: deque[tuple[Unit, Future[Any]]] = deque()
    ahead = _AHEAD * executor.workers if isinstance(executor, Processes) else _ahead_of(executor)
    ended = False
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
                ended = True
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
            guilty = [unit for unit in suspects if unit not in finished]
            for unit in suspects:
                if unit in finished:
                    yield unit, finished[unit].result()
                else:
                    yield from _one_by_one(executor, unit, again, guilty)
    finally:
        for _, future in under_way:
            future.cancel()
        if owned and isinstance(executor, Processes) and not ended:
            # Nobody waits any more for what is still under way.
            executor.stop()
        elif owned:
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


def _one_by_one(
    executor: Executor, unit: Unit, again: Callable[[int], None] | None, guilty: list[Unit]
) -> Iterator[tuple[Unit, Any]]:
    limit_s = executor.limit_s if isinstance(executor, Processes) else None
    for single in unit.singles():
        if again is not None:
            again(single.first)
        began_s = time.monotonic()
        try:
            future = single.submit(executor)
        except BrokenExecutor as error:
            raise _at_an_end(executor, guilty) from error
        if _died(future):
            took_s = time.monotonic() - began_s
            _renew(executor)
            yield single, Killed(late=limit_s is not None and took_s >= limit_s)
        else:
            yield single, future.result()


def _at_an_end(executor: Executor, guilty: list[Unit]) -> ConfigurationError:
    which = ", ".join(
        f"{unit.first} to {unit.last - 1}" if unit.last - unit.first > 1 else f"{unit.first}"
        for unit in guilty[:_NAMED]
    )
    more = f" and {len(guilty) - _NAMED} batches more" if len(guilty) > _NAMED else ""
    return ConfigurationError(
        f"executor {type(executor).__name__}: a worker of it died and it takes no more work; schedules "
        f"{which}{more} were under way, and one of them may be what killed it: run them without an executor, "
        "which names the one, or give a new executor"
    )
