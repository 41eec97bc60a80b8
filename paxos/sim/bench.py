"""How much of a cluster one core simulates in a second.

Basic Paxos on a local network, thousands of decrees that several nodes want at once.  Counted are messages
that arrived at a node from another one; what a node says to itself, its clients and its disk comes on top.
The time is processor time of this process, so that what else the machine does is left out.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Final

import attrs

from paxos.errors import ConfigurationError
from paxos.sim.result import Result
from paxos.sim.runner import run
from paxos.sim.workload import Workload

__all__ = ["SimBenchmark", "SimRate", "run_benchmark"]

#: Decrees for each 100 operations, and how many of them are wanted at a time.
_NAMES_PERCENT: Final = 70
_WINDOW: Final = 4
#: Invariants and trace cost several times the run itself: they watch a shorter one.
_WATCHED_SHARE: Final = 4


@attrs.frozen
class SimRate:
    """One way to run the simulator, measured.

    Args:
        name: what was on.
        deliveries: messages between nodes in one run.
        steps: all that some node took part in.
        median: deliveries a second, of all repeats.
        low: the slowest repeat.
        high: the fastest repeat.
    """

    name: str
    deliveries: int
    steps: int
    median: float
    low: float
    high: float


@attrs.frozen
class SimBenchmark:
    """What was measured.

    Args:
        nodes: how many.
        plain: trace and invariants off.
        watched: both on.
    """

    nodes: int
    plain: SimRate
    watched: SimRate


def run_benchmark(
    nodes: int = 3,
    operations: int = 6000,
    repeats: int = 3,
    advance: Callable[[], None] | None = None,
) -> SimBenchmark:
    """Measure simulated deliveries a second of processor time, with trace and invariants off, then on.

    Args:
        nodes: how many.
        operations: of the clients, in each run.
        repeats: how often each of the two is run, in turn.
        advance: called after each of the `2 * repeats` runs.

    Raises:
        ConfigurationError: `repeats` or `operations` is not positive, or `nodes` is out of range.
    """
    if type(repeats) is not int or type(operations) is not int or repeats < 1 or operations < 1:
        raise ConfigurationError(f"repeats and operations are from 1 on, not {repeats!r} and {operations!r}")
    figures: dict[bool, list[tuple[Result, float]]] = {False: [], True: []}
    for _ in range(repeats):
        for watched, measured in figures.items():
            share = _WATCHED_SHARE if watched else 1
            measured.append(_measure(nodes, max(operations // share, 1), watched))
            if advance is not None:
                advance()
    return SimBenchmark(
        nodes,
        _rate("trace and invariants off", figures[False]),
        _rate("trace and invariants on", figures[True]),
    )


def _measure(nodes: int, operations: int, watched: bool) -> tuple[Result, float]:
    names = max(operations * _NAMES_PERCENT // 100, 1)
    workload = Workload(
        operations=operations,
        clients=8,
        think_s=0.0,
        names=names,
        window=min(_WINDOW, names),
        reads=0.1,
        audit=False,
    )
    # What was there before is not the run's to be searched for garbage.
    gc.collect()
    gc.freeze()
    try:
        began_s = time.process_time()
        result = run("paxos", nodes, workload=workload, duration_s=3600.0, trace=watched, check=watched)
        return result, time.process_time() - began_s
    finally:
        gc.unfreeze()


def _rate(name: str, measured: list[tuple[Result, float]]) -> SimRate:
    rates = [result.deliveries / max(seconds, 1e-9) for result, seconds in measured]
    result = measured[0][0]
    return SimRate(name, result.deliveries, result.steps, statistics.median(rates), min(rates), max(rates))
