"""What `paxos bench contention` says of sites that place commands in one log at once."""

import pytest

from fastpaxos.log import FastLogSettings
from paxos.errors import ConfigurationError
from paxos.sim.log_proposers_bench import bench_log_proposers

pytestmark = pytest.mark.once

NEVER_CLASSIC = FastLogSettings(collisions_before_classic=0)


def test_one_site_at_a_time_loses_nothing_and_waits_for_a_fast_quorum() -> None:
    found = bench_log_proposers("fastpaxos-log", "nsdi21", 1, commands=25)
    assert (found.collided, found.lost) == (0.0, 0.0)
    assert found.learn_ms == (98.0, 146.0)
    assert found.commands == 25


def test_the_more_sites_the_more_is_lost_and_classic_rounds_end_it() -> None:
    lost = [
        bench_log_proposers(
            "fastpaxos-log", "nsdi21", many, commands=60, apart_s=0.1, settings=NEVER_CLASSIC
        ).lost
        for many in (1, 2, 5)
    ]
    assert lost[0] == 0.0 < lost[1] < lost[2]
    classic = bench_log_proposers("fastpaxos-log", "nsdi21", 5, commands=60, apart_s=0.1)
    assert classic.lost < lost[2] / 2


def test_a_leader_stands_beside_it() -> None:
    found = bench_log_proposers("multipaxos", "nsdi21", 5, commands=25, leader=3)
    assert (found.collided, found.lost) == (0.0, 0.0)
    # There and back to OR, and from there to its quorum and back.
    assert found.learn_ms == (118.0, 188.0)


@pytest.mark.parametrize(
    ("protocol", "proposers", "what"),
    [("epaxos", 1, "no log of one order"), ("paxos", 1, "no log"), ("fastpaxos-log", 6, "there are 5 sites")],
)
def test_what_can_not_be_measured(protocol: str, proposers: int, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        bench_log_proposers(protocol, "nsdi21", proposers)
