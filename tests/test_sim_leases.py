"""Reads by lease in simulated clusters whose clocks run wrong: exact within the bound, stale beyond it.

A leader is cut off from the others, which elect another, while clients beside every node go on reading and
writing.  Every node's clock runs at its own rate.  Two ways of looking judge what clients were told: the
simulator's own, which knows the log, and a search for an order of the bare history, which knows nothing else.
"""

import pytest

import paxos.sim as sim
from multipaxos import MultiPaxosSettings, protocol
from paxos.check import check_linearizable, history_of
from paxos.sim import Crash, Cut, Faults, Workload

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

NODES = (1, 2, 3)
LEASE_S = 0.8
#: When each node is cut off, and for how long, seconds: longer than an election takes.
APART = {1: 1.5, 2: 4.0, 3: 6.5}
APART_S = 1.7
#: Keys few enough to be written and read by all; nothing but puts and queries of single keys.
WORK = Workload(
    operations=540, rate=60, names=3, reads=0.8, timeout_s=0.4,
    logged=0, scans=0, stale=0, deletes=0, swaps=0, increments=0,
)  # fmt: skip
#: The search for an order needs a few hundred; without a bound it could take minutes where there is none.
STATES = 20_000


def needed(drift: float) -> float:
    """The bound that covers clocks of which each is off by up to this share."""
    return 1 - (1 - drift) / (1 + drift)


def cut_off(node):
    others = [other for other in NODES if other != node]
    return (Cut(APART[node], [node], others, APART_S), Cut(APART[node], others, [node], APART_S))


def run(seed, drift, stated, lease_s=LEASE_S, crashes=(), **more):
    settings = MultiPaxosSettings(lease_s=lease_s, lease_drift=stated, election_max_s=0.9)
    cuts = [cut for node in NODES for cut in cut_off(node)]
    faults = Faults(drift=drift, partitions=cuts, crashes=crashes)
    return sim.run(protocol, 3, seed, faults=faults, workload=WORK, settings=settings, duration_s=9.0, **more)


def read_while_cut_off(result):
    """Reads that a node answered while it heard nobody."""
    return [
        op
        for op in result.operations
        if op.kind == "read"
        and op.node is not None
        and op.return_s is not None
        and APART[op.node] < op.call_s <= op.return_s < APART[op.node] + APART_S
    ]


@pytest.mark.parametrize("drift", [0.0, 0.05, 0.2, 0.5])
def test_within_the_bound_no_read_is_stale(drift):
    """However far the clocks are off, if that is what is stated."""
    alone = 0
    for seed in range(3):
        result = run(seed, drift, needed(drift))
        assert result.ok, (seed, result.violations)
        verdict = check_linearizable(history_of(result), "kv", max_states=STATES)
        assert verdict.ok, (seed, str(verdict))
        assert result.seen["leader change"] > 3
        alone += len(read_while_cut_off(result))
    # Else there was no lease, and nothing was tried.
    assert alone > 10


def test_without_a_lease_nobody_reads_alone():
    result = run(0, 0.2, 0.0, lease_s=0)
    assert result.ok
    assert read_while_cut_off(result) == []


def test_nor_when_grantors_and_leaders_crash_and_come_back():
    crashes = [Crash(at_s, node, 0.1) for node, at_s in ((2, 1.6), (3, 1.9), (3, 4.2), (1, 4.3), (1, 6.8))]
    for seed in range(4):
        result = run(seed, 0.5, needed(0.5), crashes=crashes)
        assert result.ok, (seed, result.violations)
        assert check_linearizable(history_of(result), "kv", max_states=STATES).ok


def test_beyond_the_bound_the_simulator_finds_the_stale_read():
    found = [result for seed in range(6) if not (result := run(seed, 0.5, 0.01)).ok]
    assert len(found) >= 2
    for result in found:
        assert {violation.name for violation in result.violations} == {"ReadFresh"}
        assert "was acknowledged to a client before" in result.violations[0].sentence


def test_beyond_the_bound_the_history_alone_shows_it():
    """Nothing was looked at while it ran; clients' own words give it away."""
    results = [run(seed, 0.5, 0.0, check=False) for seed in range(8)]
    verdicts = [check_linearizable(history_of(result), "kv", max_states=STATES) for result in results]
    found = [verdict for verdict in verdicts if verdict.violation is not None]
    assert len(found) >= 2
    assert "get" in str(found[0].violation)


def test_the_run_that_found_it_comes_again_from_its_choices():
    first = next(result for seed in range(10) if not (result := run(seed, 0.5, 0.01)).ok)
    again = run(0, 0.5, 0.01, choices=first.choices)
    assert not again.ok
    assert again == first
