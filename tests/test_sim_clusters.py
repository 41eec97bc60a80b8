"""Whole clusters of 3 and 5 nodes: Hypothesis draws the place, the work, the faults and every choice.

Invariants are checked at every step; at the end everything heals, whoever waits must be answered, all nodes
are asked what they know, and the history is judged.
"""

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from paxos.basic import BasicSettings
from paxos.quorum import FlexibleQuorums, Majority, QuorumSystem
from paxos.sim import Crash, Cut, Faults, Hardware, Pause, SlowNode, Topology, Wipe, Workload, run

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

DURATION_S = 10.0

_shares = st.sampled_from([0.0, 0.0, 0.05, 0.25])
_times = st.integers(0, 99).map(lambda tenth: tenth / 10)
_lengths = st.integers(0, 50).map(lambda tenth: tenth / 10)
_until = st.none() | _lengths

#: Choices: mostly boring, so that the faults that do happen meet a cluster that works.
choice_lists = st.lists(
    st.one_of(st.just(0), st.integers(0, 999), st.integers(900, 999)), min_size=0, max_size=300
)


def _systems(nodes: int) -> st.SearchStrategy[QuorumSystem]:
    members = list(range(1, nodes + 1))
    return st.sampled_from([Majority(members), FlexibleQuorums(members, phase1=nodes - 1, phase2=2)])


@st.composite
def _faults(draw, nodes):
    node = st.integers(1, nodes)
    some = st.lists(node, min_size=1, max_size=nodes, unique=True).map(tuple)
    unsynced, when = st.sampled_from(["lost", "torn", "kept"]), st.sampled_from(["now", "writing"])
    return Faults(
        loss=draw(_shares),
        duplicate=draw(_shares),
        reorder=draw(_shares),
        jitter=draw(st.sampled_from([0.0, 0.5, 3.0])),
        slow_disk=draw(_shares),
        skew_s=draw(st.sampled_from([0.0, 10.0])),
        drift=draw(st.sampled_from([0.0, 0.1])),
        crashes=draw(st.lists(st.builds(Crash, _times, node, _until, unsynced, when), max_size=8)),
        partitions=draw(st.lists(st.builds(Cut, _times, some, some, _until), max_size=4)),
        pauses=draw(st.lists(st.builds(Pause, _times, node, _lengths), max_size=2)),
        slow_nodes=draw(
            st.lists(st.builds(SlowNode, _times, node, _lengths, st.sampled_from([0.001, 0.05])), max_size=2)
        ),
        wipes=draw(st.lists(st.builds(Wipe, _times, node, _until), max_size=1)),
        random_crashes=draw(st.integers(0, 4)),
        random_partitions=draw(st.integers(0, 2)),
    )


_workloads = st.builds(
    Workload,
    operations=st.integers(1, 80),
    clients=st.integers(1, 4),
    names=st.sampled_from([1, 3, 10, None]),
    reads=st.sampled_from([0.0, 0.3, 0.8]),
    timeout_s=st.sampled_from([0.5, 2.0]),
)
_settings = st.builds(
    BasicSettings,
    distinguished=st.sampled_from([None, 2]),
    reserve_rounds=st.sampled_from([1, 1024]),
    backoff_s=st.sampled_from([0.005, 0.1]),
)
_topologies = st.sampled_from(["lan", "nsdi21", "tempo2021"]) | st.just(Topology.uniform(30.0))
_hardware = st.builds(
    Hardware, sync_s=st.sampled_from([0.0, 0.0005, 0.05]), service_s=st.sampled_from([0.0, 0.0005])
)


@st.composite
def clusters(draw):
    """The arguments of a run."""
    nodes = draw(st.sampled_from([3, 5]))
    return {
        "nodes": nodes,
        "quorums": draw(_systems(nodes)),
        "topology": draw(_topologies),
        "faults": draw(_faults(nodes)),
        "workload": draw(_workloads),
        "settings": draw(_settings),
        "hardware": draw(_hardware),
        "duration_s": DURATION_S,
    }


@given(clusters(), choice_lists)
def test_no_faults_and_no_choices_break_anything(cluster, choices):
    result = run(**cluster, choices=choices)
    assert result.violations == ()
    for name in ("crash", "wipe", "cut", "preempted", "adopted", "stopped"):
        if result.seen.get(name):
            event(name)
    if not result.stopped:
        assert all(operation.outcome == "done" for operation in result.operations)
        assert set(result.decisions) == set(result.nodes)


@given(clusters(), st.integers(0, 2**32))
def test_no_faults_and_no_seed_break_anything(cluster, seed):
    result = run(**cluster, seed=seed)
    assert result.violations == ()
    assert result == run(**cluster, choices=result.choices)


def test_many_seeds_see_every_probe():
    seen: set[str] = set()
    for seed in range(12):
        result = run(
            nodes=3 + 2 * (seed % 2),
            seed=seed,
            faults="all",
            workload=Workload(operations=80, clients=4, names=8),
            topology="nsdi21",
        )
        assert result.violations == ()
        seen |= {name for name, times in result.seen.items() if times}
    assert {"chosen", "adopted", "preempted", "undecided"} <= seen
    assert {"writes lost", "writes kept", "retry", "timeout", "late answer"} <= seen
