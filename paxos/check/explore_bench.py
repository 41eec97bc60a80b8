"""How much faster the bare explorer is than Hypothesis drawing every step.

Both walk: the same plan over the same directed simulator, with the protocol's invariants checked at every
step.  The one takes its numbers from a plain generator, the other lets Hypothesis draw each, as a
rule-based state machine would.  What both count is messages that one node got from another.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import attrs

from paxos.check.scenario import protocol_named
from paxos.check.walk import Walk, walk
from paxos.errors import ConfigurationError
from paxos.sim import Choices
from paxos.sim.runner import fewer_collections
from paxos.sim.stepper import Stepper

__all__ = ["ExploreBenchmark", "WalkRate", "run_benchmark"]

#: A walk of some length, with everything going on.
_PLAN: Final = Walk(
    moves=600,
    operations=30,
    names=6,
    reads=0.2,
    submit=0.06,
    tick=0.02,
    crash=0.004,
    restart=0.1,
    duplicate=0.02,
    drop=0.02,
)
#: Hypothesis is slow: it walks so many times fewer.
_SHARE: Final = 10


@attrs.frozen
class WalkRate:
    """One way to walk, measured.

    Args:
        name: which.
        walks: how many.
        deliveries: messages between nodes in all of them, in one repeat.
        median: deliveries a second of processor time, of all repeats.
        low: the slowest repeat.
        high: the fastest repeat.
    """

    name: str
    walks: int
    deliveries: int
    median: float
    low: float
    high: float


@attrs.frozen
class ExploreBenchmark:
    """What was measured.

    Args:
        bare: numbers from a generator.
        drawn: each number drawn by Hypothesis.
        ratio: how many times faster `bare` is: the median of the ratios of each repeat.
    """

    bare: WalkRate
    drawn: WalkRate
    ratio: float


def run_benchmark(
    protocol: str = "paxos",
    nodes: int = 3,
    walks: int = 100,
    repeats: int = 3,
    check: bool = False,
    advance: Callable[[], None] | None = None,
) -> ExploreBenchmark:
    """Measure both, in turn, in processor time.

    Args:
        protocol: its name.
        nodes: how many.
        walks: of the bare explorer in one repeat; a tenth of them are drawn by Hypothesis.
        repeats: how often each is measured.
        check: with invariants; they cost both the same.
        advance: called after each of the `2 * repeats` measurements.

    Raises:
        ConfigurationError: Hypothesis is not installed, or an argument that can not work.
    """
    if walks < _SHARE or repeats < 1:
        raise ConfigurationError(f"walks and repeats: {walks} and {repeats} are too few")
    found = protocol_named(protocol)

    def stepper() -> Stepper:
        return Stepper(found, nodes, check=check)

    measures: tuple[tuple[str, int, Callable[[int, Callable[[], Stepper]], int]], ...] = (
        ("bare", walks, _bare),
        ("drawn by Hypothesis", walks // _SHARE, _drawn),
    )
    rates: dict[str, list[float]] = {name: [] for name, _, _ in measures}
    deliveries: dict[str, int] = {}
    for _, _, measure in measures:
        measure(2, stepper)  # warms up
    for _ in range(repeats):
        for name, number, measure in measures:
            gc.collect()
            began_s = time.process_time()
            deliveries[name] = measure(number, stepper)
            rates[name].append(deliveries[name] / max(time.process_time() - began_s, 1e-9))
            if advance is not None:
                advance()
    bare, drawn = (
        WalkRate(
            name, number, deliveries[name], statistics.median(rates[name]), min(rates[name]), max(rates[name])
        )
        for name, number, _ in measures
    )
    ratios = [a / b for a, b in zip(rates["bare"], rates["drawn by Hypothesis"], strict=True)]
    return ExploreBenchmark(bare, drawn, statistics.median(ratios))


def _bare(number: int, make: Callable[[], Stepper]) -> int:
    deliveries = 0
    # As the explorer runs a batch.
    with fewer_collections():
        for seed in range(number):
            stepper = make()
            walk(stepper, _PLAN, Choices(seed))
            deliveries += stepper.deliveries
    return deliveries


def _drawn(number: int, make: Callable[[], Stepper]) -> int:
    try:
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis import strategies as st
    except ImportError as error:
        raise ConfigurationError("Hypothesis is not installed: pip install 'paxos-family[test]'") from error
    deliveries = 0

    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )
    @given(st.data())
    def walks(data: Any) -> None:
        nonlocal deliveries
        stepper = make()
        walk(stepper, _PLAN, _Drawing(lambda bound: int(data.draw(st.integers(0, bound - 1)))))
        deliveries += stepper.deliveries

    walks()
    return deliveries


class _Drawing(Choices):
    """Choices that somebody else makes, one at a time."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[int], int]) -> None:
        super().__init__()
        self._ask = ask

    def draw(self, name: str, bound: int) -> int:
        """A number in 0..bound-1."""
        return self._ask(bound) if bound > 1 else 0
