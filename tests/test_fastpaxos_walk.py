"""Fast Paxos at the mercy of a random number generator: every fault there is, and then none."""

import pytest

from paxos.quorum import ExplicitQuorums, FastQuorums, FlexibleQuorums, QuorumSystem, WeightedQuorums
from tests.fastpaxos_net import Walk

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

SYSTEMS: dict[str, QuorumSystem] = {
    "3": FastQuorums([1, 2, 3]),
    "4": FastQuorums([1, 2, 3, 4]),
    "5": FastQuorums([1, 2, 3, 4, 5]),
    "7": FastQuorums([1, 2, 3, 4, 5, 6, 7]),
    "5, fast quorums of 3": FlexibleQuorums([1, 2, 3, 4, 5], 5, 3, 3),
    "weighted": WeightedQuorums({1: 2, 2: 1, 3: 1, 4: 1}, 3, 3, 4),
    "explicit": ExplicitQuorums(
        [1, 2, 3, 4], [{1, 2}, {1, 3, 4}, {2, 3, 4}], [{1, 2}, {1, 3, 4}, {2, 3, 4}], [{1, 2, 3}, {1, 2, 4}]
    ),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_walk_through_every_fault(name: str) -> None:
    seen: set[str] = set()
    for seed in range(24):
        walk = Walk(seed, SYSTEMS[name])
        for count in range(300):
            walk.step(count)
        walk.recover()
        assert walk.c.violations == {}, f"seed {seed}"
        assert walk.c.stopped == {}, f"seed {seed}"
        assert walk.c.stale_reads() == [], f"seed {seed}"
        seen |= {event.action for event in walk.c.events}
    wanted = {"chosen", "missed", "classic", "adopted", "preempted", "closed"}
    if name.isdigit():
        wanted |= {"fast"}
    if name != "5, fast quorums of 3":  # there nearly nothing collides, and phase 1 needs all five
        wanted |= {"collision", "recovered", "any"}
    assert wanted <= seen
