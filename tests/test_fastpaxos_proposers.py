"""Several sites proposing at once: what collides, and what it costs, in virtual time and so exactly."""

import pytest

from fastpaxos import FastPaxosSettings
from paxos.basic import BasicSettings
from paxos.errors import ConfigurationError
from paxos.sim.proposers_bench import bench_proposers

pytestmark = pytest.mark.once

ALWAYS_FAST = FastPaxosSettings(collisions_before_classic=0)
UNCOORDINATED = FastPaxosSettings(collisions_before_classic=0, recovery="uncoordinated")


def test_one_proposer_never_collides_and_five_together_always_do() -> None:
    found = [bench_proposers("fastpaxos", "nsdi21", k, decrees=10, settings=ALWAYS_FAST) for k in range(1, 6)]
    assert [each.collided for each in found] == [0, 30, 100, 100, 100]
    assert [each.fast for each in found] == [100, 70, 0, 0, 0]
    assert found[0].learn_ms == (98, 146)
    assert found[0].last_ms == (107, 146)
    # Coordinated recovery, by CA, of what all five saw collide.
    assert found[4].learn_ms == (93.5, 102.5)


def test_acceptors_recover_by_themselves_in_a_fast_ballot() -> None:
    found = [
        bench_proposers("fastpaxos", "nsdi21", k, decrees=10, settings=UNCOORDINATED) for k in range(1, 6)
    ]
    assert [each.collided for each in found] == [0, 30, 100, 100, 100]
    assert [each.fast for each in found] == [100] * 5
    assert all(each.last_ms[1] <= 183.5 for each in found)


def test_classic_rounds_beside_it() -> None:
    alone = bench_proposers("paxos", "nsdi21", 1, decrees=5, settings=BasicSettings())
    assert alone.learn_ms == (128, 258)
    together = bench_proposers("paxos", "nsdi21", 3, decrees=10, settings=BasicSettings())
    assert together.collided == 100  # each outbids the others
    for_all = bench_proposers("paxos", "nsdi21", 3, decrees=10, settings=BasicSettings(distinguished=3))
    assert for_all.collided == 0
    assert for_all.learn_ms[0] < together.learn_ms[0]


def test_repeated_collisions_end_fast_ballots_until_it_is_quiet() -> None:
    lasting = FastPaxosSettings(quiet_s=86_400.0)
    found = bench_proposers("fastpaxos", "nsdi21", 5, decrees=30, settings=lasting)
    assert found.collided == 10  # three of thirty
    assert found.fast == 0
    quiet = FastPaxosSettings(quiet_s=10.0)
    found = bench_proposers("fastpaxos", "nsdi21", 5, decrees=30, settings=quiet)
    assert found.collided == 100  # a decree begins only every twenty seconds


def test_what_can_not_be_measured_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="there are 5 sites in nsdi21, not 6"):
        bench_proposers("fastpaxos", "nsdi21", 6)
    with pytest.raises(ConfigurationError, match="multipaxos decides no decrees"):
        bench_proposers("multipaxos", "nsdi21", 1)
