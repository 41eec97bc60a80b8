"""Faults are data, and every kind of them really does something."""

import json
from itertools import pairwise

import attrs
import pytest

from paxos.basic import protocol
from paxos.contract import Instant
from paxos.errors import ConfigurationError
from paxos.quorum import ExplicitQuorums, FlexibleQuorums, Majority, WeightedQuorums
from paxos.service import wipes_detected
from paxos.sim import (
    Crash,
    Cut,
    Faults,
    Hardware,
    Pause,
    Result,
    SlowNode,
    Topology,
    Wipe,
    Workload,
    fault_names,
    run,
    topology_names,
)
from paxos.sim.stepper import Stepper

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

BUSY = Workload(operations=150, names=None, reads=0.0)


def _lines(result: Result):
    assert result.trace is not None
    return [json.loads(line) for line in result.trace.decode().splitlines()]


def _received(result: Result, sender: int, node: int, begin_s: float, end_s: float):
    """Messages that left `sender` within the time and arrived at `node`."""
    return [
        line
        for line in _lines(result)
        if line["action"] == "receive"
        and (line["sender"], line["node"]) == (sender, node)
        and begin_s * 1e9 <= line["sent_ns"] < end_s * 1e9
    ]


def _latencies(result: Result):
    return [op.return_s - op.call_s for op in result.operations if op.return_s is not None and op.value]


# --- what each does --------------------------------------------------------------------------------


def test_no_fault_leaves_no_mark():
    result = run(workload=BUSY)
    assert result.ok
    assert {name for name, times in result.seen.items() if times} <= {"chosen", "undecided", "preempted"}


def test_loss_drops_messages():
    result = run(workload=BUSY, faults=Faults(loss=0.2))
    sent = result.deliveries + result.seen["lost"]
    assert result.ok
    assert 0.15 < result.seen["lost"] / sent < 0.25


def test_duplicates_arrive_too():
    plain, doubled = run(workload=BUSY), run(workload=BUSY, faults=Faults(duplicate=0.3))
    assert doubled.ok
    assert doubled.seen["duplicated"] > 50
    assert doubled.deliveries > plain.deliveries * 1.2


def _overtakings(result: Result) -> int:
    latest: dict[tuple[int, int], int] = {}
    count = 0
    for line in _lines(result):
        if line["action"] == "receive" and line["sender"] != line["node"]:
            link = (line["sender"], line["node"])
            count += line["sent_ns"] < latest.get(link, 0)
            latest[link] = max(latest.get(link, 0), line["sent_ns"])
    return count


def test_only_reordering_lets_messages_overtake():
    busy = attrs.evolve(BUSY, think_s=0.0, clients=8)
    far = Topology.uniform(20.0)
    ordered = run(workload=busy, topology=far, faults=Faults(jitter=2.0, loss=0.05), trace=True)
    mixed = run(workload=busy, topology=far, faults=Faults(reorder=0.2), trace=True)
    assert ordered.ok
    assert mixed.ok
    assert _overtakings(ordered) == 0
    assert _overtakings(mixed) > 20


def test_jitter_delays_up_to_its_multiple():
    topology = Topology.uniform(10.0)
    result = run(workload=BUSY, topology=topology, faults=Faults(jitter=0.5), trace=True)
    delays = [
        (line["at_ns"] - line["sent_ns"]) / 1e6
        for line in _lines(result)
        if line["action"] == "receive" and line["sender"] != line["node"]
    ]
    assert min(delays) >= 10.0
    assert max(delays) < 15.0
    assert max(delays) > 14.0


def test_a_cut_is_one_way():
    faults = Faults(partitions=[Cut(3.0, [1], [2], 3.0)])
    result = run(workload=BUSY, faults=faults, trace=True)
    assert result.ok
    assert _received(result, 1, 2, 3.0, 6.0) == []
    assert len(_received(result, 2, 1, 3.0, 6.0)) > 20
    assert len(_received(result, 1, 3, 3.0, 6.0)) > 20
    assert len(_received(result, 1, 2, 0.0, 3.0)) > 20
    assert len(_received(result, 1, 2, 6.0, 9.0)) > 20
    assert result.seen["cut"] > 20


def test_two_cuts_of_one_link_heal_one_by_one():
    faults = Faults(partitions=[Cut(2.0, [1], [2, 3], 2.0), Cut(3.0, [1, 3], [2], 3.0), Cut(8.0, [2], [3])])
    result = run(workload=BUSY, faults=faults, trace=True)
    assert result.ok
    assert _received(result, 1, 2, 2.0, 6.0) == []
    assert _received(result, 1, 3, 2.0, 4.0) == []
    assert len(_received(result, 1, 3, 4.0, 6.0)) > 5
    assert _received(result, 2, 3, 8.0, 10.0) == []


def test_a_crash_silences_a_node_until_it_restarts():
    result = run(workload=BUSY, faults=Faults(crashes=[Crash(2.0, 3, 3.0)]), trace=True)
    assert result.ok
    down = [line for line in _lines(result) if line.get("node") == 3 and 2e9 <= line["at_ns"] <= 5e9]
    assert [line["action"] for line in down] == ["crash", "restart"]
    assert [line["at_ns"] for line in down] == [2e9, 5e9]
    assert result.seen["retry"] > 0


@pytest.mark.parametrize(
    ("unsynced", "lost", "kept"), [("lost", True, False), ("kept", False, True), ("torn", True, True)]
)
def test_a_crash_while_writing_loses_tears_or_keeps(unsynced, lost, kept):
    crashes = [Crash(at_s, node, 0.2, unsynced, "writing") for at_s in (1, 3, 5, 7) for node in (1, 2, 3)]
    busy = Workload(operations=600, clients=8, names=None, reads=0.0)
    result = run(workload=busy, faults=Faults(crashes=crashes), hardware=Hardware(sync_s=0.05))
    assert result.ok
    assert result.seen["crash"] > 8
    assert (result.seen.get("writes lost", 0) > 0) == lost
    assert (result.seen.get("writes kept", 0) > 0) == kept


def test_a_sync_of_an_earlier_life_ends_nothing_in_this_one():
    crashes = [Crash(at_s, 2, 0.0, "lost", "writing") for at_s in (1.0, 3.0, 5.0, 7.0)]
    result = run(workload=BUSY, faults=Faults(crashes=crashes), hardware=Hardware(sync_s=0.05), trace=True)
    assert result.ok
    own = [line for line in _lines(result) if line.get("node") == 2]
    starts = [line["at_ns"] for line in own if line["action"] == "restart"]
    assert len(starts) == 4
    for start in starts:
        # A start writes a reservation at once; its own sync takes as long as any.
        first = next(line for line in own if line["action"] == "durable" and line["at_ns"] >= start)
        assert first["at_ns"] - start == 50_000_000


def test_a_slow_disk_delays_and_nothing_more():
    eager = attrs.evolve(BUSY, think_s=0.0)
    plain = run(workload=eager)
    slow = run(workload=eager, faults=Faults(slow_disk=0.5, slow_disk_s=0.1), duration_s=60)
    assert slow.ok
    assert slow.seen["slow sync"] > 50
    assert len(_latencies(slow)) == len(_latencies(plain)) == 150
    assert sum(_latencies(slow)) > 10 * sum(_latencies(plain))
    assert {"lost", "crash", "timeout"}.isdisjoint(slow.seen)
    # Repeated questions may get further promises; what is decided is decided once.
    assert slow.seen["chosen"] == 150


def test_a_paused_node_does_everything_later():
    result = run(workload=BUSY, faults=Faults(pauses=[Pause(2.0, 2, 1.5)]), trace=True)
    assert result.ok
    steps = [line["at_ns"] for line in _lines(result) if line.get("node") == 2]
    assert not [at for at in steps if 2e9 < at < 3.5e9]
    assert steps.count(3.5e9) > 10
    assert _received(result, 1, 2, 2.1, 3.4)


def test_a_slow_node_takes_its_time():
    faults = Faults(slow_nodes=[SlowNode(2.0, 2, 5.0, 0.02)])
    result = run(workload=BUSY, faults=faults, trace=True)
    assert result.ok
    times = [
        line["at_ns"]
        for line in _lines(result)
        if line.get("node") == 2
        and 2.1e9 < line["at_ns"] < 6.9e9
        and (line["action"] == "request" or (line["action"] == "receive" and line["sender"] != 2))
    ]
    assert len(times) > 30
    assert min(b - a for a, b in pairwise(times)) >= 0.02e9


def test_service_time_and_bandwidth_are_felt():
    big = attrs.evolve(BUSY, value_bytes=10_000)
    quick = run(workload=big)
    busy = run(workload=big, hardware=Hardware(service_s=0.002))
    narrow = run(workload=big, hardware=Hardware(bandwidth_bytes_s=1_000_000))
    assert [quick.ok, busy.ok, narrow.ok] == [True, True, True]
    # Ten kilobytes at a megabyte a second: 10 ms for each Accept, which its decision needs.
    assert min(_latencies(narrow)) > 0.01 > max(_latencies(quick))
    assert min(_latencies(busy)) > min(_latencies(quick)) + 3 * 0.002


def test_clocks_are_off_as_much_as_said():
    readings: dict[int, list[Instant]] = {}

    def spying(configuration, records, draw, now):
        replica = protocol.replica(configuration, records, draw, now)
        receive = replica.receive

        def spy(sender, message, now):
            readings.setdefault(configuration.node, []).append(now)
            receive(sender, message, now)

        vars(replica)["receive"] = spy
        return replica

    spied = attrs.evolve(protocol, replica=spying)
    assert run(spied, faults=Faults(skew_s=3.0, drift=0.1), workload=BUSY).ok
    assert sorted(readings) == [1, 2, 3]
    skews = [seen[0].wall_s - 1_700_000_000 for seen in readings.values()]
    rates = [(seen[-1].monotonic_s - seen[0].monotonic_s) / 9 for seen in readings.values()]
    assert len({round(skew, 3) for skew in skews}) == 3
    assert max(map(abs, skews)) <= 3.2
    assert max(rates) - min(rates) > 0.01
    for seen in readings.values():
        assert all(a.monotonic_s <= b.monotonic_s for a, b in pairwise(seen))
        assert all(reading.error_s >= 3.0 for reading in seen)


def test_a_wiped_node_stops_and_that_is_no_violation():
    for seed in range(4):
        result = run(seed=seed, faults=Faults(wipes=[Wipe(5.0, 2, 0.5)]), workload=BUSY)
        assert result.ok
        assert list(result.stopped) == [2]
        assert "node 2 lost its disk" in result.stopped[2]
        assert set(result.decisions) == {1, 3}
        # The other two are a quorum: everybody is answered.
        assert all(op.outcome == "done" for op in result.operations)


def test_losing_a_quorum_of_disks_ends_the_run_without_blame():
    result = run(faults=Faults(wipes=[Wipe(2.0, 1, 0.1), Wipe(3.0, 2, 0.1)]), workload=BUSY)
    assert result.ok
    assert any(op.outcome is None for op in result.operations)


WIPED_SYSTEMS = [
    Majority((1, 2)),
    Majority((1, 2, 3)),
    FlexibleQuorums((1, 2, 3), 3, 1),
    FlexibleQuorums((1, 2, 3, 4), 4, 1),
    FlexibleQuorums(range(1, 6), 2, 4),
    ExplicitQuorums((1, 2, 3), [[1]], [[1]]),
    WeightedQuorums({1: 3, 2: 1, 3: 1}),
]


@pytest.mark.parametrize("quorums", WIPED_SYSTEMS, ids=lambda system: system.describe())
def test_wiped_nodes_stop_whatever_the_quorums(quorums):
    """Also where a node is a quorum alone: what notices is not a quorum, but who remembers the store."""
    members, stopped = quorums.members, 0
    for seed in range(6):
        lost = [members[(seed + each) % len(members)] for each in range(wipes_detected(len(members)))]
        faults = Faults(
            loss=0.1,
            random_crashes=4,
            random_partitions=2,
            wipes=[Wipe(1.0 + place, node, 0.05) for place, node in enumerate(lost)],
        )
        work = Workload(operations=60, clients=4, names=3)
        result = run(nodes=len(members), quorums=quorums, seed=seed, faults=faults, workload=work)
        assert result.violations == ()
        stopped += len(result.stopped)
    assert stopped


@pytest.mark.parametrize(
    ("nodes", "faults", "message"),
    [
        (1, "wipe", "wipe: 1 disk may be lost, but in a cluster of 1 nobody would notice"),
        (1, Faults(wipes=[Wipe(1, 1)]), "nobody would notice: no other node remembers the store"),
        (2, Faults(wipes=[Wipe(1, 1)], random_wipes=1), "2 disks may be lost, but in a cluster of 2 that is"),
        (3, Faults(wipes=[Wipe(1, 1), Wipe(2, 2), Wipe(3, 3)]), "certainly noticed of no more than 2"),
    ],
)
def test_wipes_that_nobody_would_notice_are_refused(nodes, faults, message):
    with pytest.raises(ConfigurationError, match=message):
        run(nodes=nodes, faults=faults)


@pytest.mark.parametrize("nodes", [1, 2])
def test_and_they_would_break_what_must_hold(nodes, monkeypatch):
    """The bound is where it has to be: one wipe more, and a decree is decided again."""
    monkeypatch.setattr(Faults, "_check_wipes", lambda self, members: None)
    wipes = [Wipe(5.0, node, 0.1) for node in range(1, nodes + 1)]
    result = run(nodes=nodes, faults=Faults(wipes=wipes), workload=BUSY)
    assert result.violations


def test_a_directed_run_makes_no_such_wipe():
    alone = Stepper("paxos", 1)
    assert not alone.wipe(1)
    pair = Stepper("paxos", 2)
    assert pair.wipe(1)
    assert not pair.wipe(2)
    assert pair.wipe(1), "the one that has forgotten may forget again"


# --- as data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", fault_names())
def test_named_faults_happen(name):
    seen: set[str] = set()
    faults = Faults.named(name)
    for seed in range(2):
        result = run(seed=seed, faults=faults, workload=BUSY)
        assert result.ok
        seen |= {what for what, times in result.seen.items() if times}
    expected = {
        "slow-disk": {"slow sync"},
        "slow-node": {"slow node"},
        "loss": {"lost"},
        "duplicate": {"duplicated"},
        "reorder": {"reordered"},
        "partition": {"partition", "cut"},
        "all": {"crash", "partition", "lost", "duplicated", "reordered", "slow sync", "pause", "slow node"},
        "none": set(),
        "jitter": set(),
        "clock": set(),
    }.get(name, {name})
    assert expected <= seen
    assert (name == "none") == (faults == Faults())


def test_faults_go_to_json_and_back():
    faults = Faults(
        loss=0.1,
        drift=0.01,
        crashes=[Crash(1.0, 2, None, "torn", "writing")],
        partitions=[Cut(2, (1, 2), [3])],
        pauses=[Pause(1, 1, 1)],
        slow_nodes=[SlowNode(1, 1, 1, 0.5)],
        wipes=[Wipe(1, 1)],
        random_crashes=2,
    )
    text = json.dumps(faults.to_json())
    assert Faults.from_json(text) == Faults.from_json(json.loads(text)) == faults
    assert Faults.from_json({}) == Faults()
    assert Faults.from_json(Faults.named("all").to_json()) == Faults.named("all")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "faults: not JSON"),
        ("[]", r"faults: expected an object, got \[\]"),
        ({"los": 0.1}, "faults: unknown key 'los'; known are loss, duplicate"),
        ({"loss": "much"}, "Faults.loss: expected a number, got 'much'"),
        ({"loss": True}, "Faults.loss: expected a number, got True"),
        ({"loss": 1.0}, "Faults.loss: 1.0 is outside 0..0.9"),
        ({"loss": 0.0001}, "Faults.loss: 0.0001 is below 0.001"),
        ({"loss": float("nan")}, "Faults.loss: expected a number"),
        ({"loss": 0.5, "reorder": 0.5}, "add up to more than 0.95"),
        ({"drift": 0.6}, "Faults.drift: 0.6 is outside 0..0.5"),
        ({"random_crashes": 101}, "Faults.random_crashes: 101 is outside 0..100"),
        ({"random_crashes": 1.0}, "Faults.random_crashes: expected a whole number"),
        ({"crashes": 3}, "Faults.crashes: expected at most 10000 of Crash in a list, got 3"),
        ({"crashes": [3]}, r"faults.crashes\[0\]: expected an object, got 3"),
        ({"crashes": [{"node": 1}]}, r"faults.crashes\[0\]: 'at_s' is missing"),
        ({"crashes": [{"at_s": -1, "node": 1}]}, "Crash.at_s: -1 is outside"),
        ({"crashes": [{"at_s": 1, "node": 0}]}, "Crash.node: 0 is outside"),
        ({"crashes": [{"at_s": 1, "node": 1, "unsynced": "burnt"}]}, "Crash.unsynced: expected one of lost"),
        ({"crashes": [{"at_s": 1, "node": 1, "when": "soon"}]}, "Crash.when: expected one of now, writing"),
        ({"partitions": [{"at_s": 1, "from_nodes": [], "to_nodes": [1]}]}, "Cut.from_nodes: expected a list"),
        ({"partitions": [{"at_s": 1, "from_nodes": [1], "to_nodes": ["b"]}]}, r"Cut.to_nodes\[0\]: expected"),
        ({"pauses": [{"at_s": 1, "node": 1, "for_s": "x"}]}, "Pause.for_s: expected a number of seconds"),
        ({"slow_nodes": [{"at_s": 1, "node": 1, "for_s": 1, "service_s": 99}]}, "SlowNode.service_s: 99 is"),
        ({"wipes": [{"at_s": 1, "node": 1.5}]}, "Wipe.node: expected a whole number"),
    ],
)
def test_bad_faults_are_refused(data, message):
    with pytest.raises(ConfigurationError, match=message):
        Faults.from_json(data)


def test_faults_of_a_wrong_kind_are_refused():
    with pytest.raises(ConfigurationError, match=r"Faults.crashes\[0\]: expected Crash, got Pause"):
        Faults(crashes=[Pause(1, 1, 1)])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="expected names such as crash,loss"):
        Faults.named(None)  # type: ignore[arg-type]


def test_workloads_go_to_json_and_back():
    workload = Workload(operations=5, rate=2.5, names=9, window=3)
    assert Workload.from_json(json.dumps(workload.to_json())) == workload
    assert Workload.from_json({}) == Workload()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"operation": 1}, "workload: unknown key 'operation'; known are operations"),
        ({"operations": -1}, "Workload.operations: -1 is outside"),
        ({"clients": 0}, "Workload.clients: 0 is outside"),
        ({"names": 0}, "Workload.names: 0 is outside"),
        ({"reads": 1.5}, "Workload.reads: 1.5 is outside 0..1"),
        ({"rate": 0}, "Workload.rate: 0 is outside"),
        ({"rate": 1, "think_s": 1}, "exclude each other"),
        ({"names": 3, "window": 4}, "4 decrees can not be current out of 3"),
        ({"names": None, "window": 4}, "4 decrees can not be current out of None"),
        ({"timeout_s": 0}, "Workload.timeout_s: 0 is outside"),
        ({"value_bytes": 1 << 20}, "Workload.value_bytes: 1048576 is outside"),
        ({"audit": 1}, "Workload.audit: expected True or False"),
        (b"\xff", "workload: not JSON"),
    ],
)
def test_bad_workloads_are_refused(data, message):
    with pytest.raises(ConfigurationError, match=message):
        Workload.from_json(data)


def test_topologies_come_along():
    assert topology_names() == ("lan", "sosp13", "nsdi21", "aws2020", "tempo2021")
    for name in topology_names():
        topology = Topology.named(name)
        assert Topology.from_json(json.loads(json.dumps(topology.to_json()))) == topology
        assert run(nodes=3, topology=name).ok
    assert Topology.named("lan").delay_ms(1, 2, (1, 2)) == 0.1
    nsdi21, five = Topology.named("nsdi21"), (1, 2, 3, 4, 5)
    assert nsdi21.sites == ("CA", "VA", "OR", "JP", "EU")
    assert nsdi21.rtt_ms(4, 5, five) == nsdi21.rtt_ms(5, 4, five) == 221
    assert nsdi21.delay_ms(1, 1, five) == 0
    aws = Topology.named("aws2020")
    assert aws.rtt_ms(9, 10, tuple(range(1, 11))) == pytest.approx(308.8)
    assert aws.rtt_ms(1, 2, tuple(range(1, 11))) == pytest.approx(59.9)


def test_delays_need_not_be_symmetric():
    topology = Topology("slope", ["a", "b", "c"], [[0, 5, 5], [50, 0, 5], [50, 5, 0]])
    result = run(topology=topology, workload=BUSY, trace=True)
    assert result.ok
    down = {line["at_ns"] - line["sent_ns"] for line in _received(result, 2, 1, 1.0, 9.0)}
    up = {line["at_ns"] - line["sent_ns"] for line in _received(result, 1, 2, 1.0, 9.0)}
    assert (down, up) == ({50_000_000}, {5_000_000})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "Topology.name: expected a short text"),
        ({"name": "t", "uniform_ms": -1}, "Topology.uniform_ms: -1 is outside"),
        ({"name": "t", "sites": "ab"}, "sites are a list of names"),
        ({"name": "t", "sites": ["a", 3]}, "sites are a list of names"),
        ({"name": "t", "sites": ["a", "a"], "one_way_ms": [[0, 0], [0, 0]]}, "two sites of one name"),
        ({"name": "t", "sites": ["a", "b"], "one_way_ms": [[0, 1]]}, "a row for each of its 2 sites"),
        ({"name": "t", "sites": ["a", "b"], "one_way_ms": [[0, 1], [1]]}, "delays from b are not a row of 2"),
        ({"name": "t", "sites": ["a"], "one_way_ms": [["x"]]}, "a delay from a is 'x'"),
        ({"name": "t", "sites": ["a"], "one_way_ms": [[float("nan")]]}, "a delay from a is nan"),
        ({"name": "t", "sites": ["a"], "one_way_ms": 7}, "a row for each"),
    ],
)
def test_bad_topologies_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Topology(**arguments)


def test_bad_hardware_and_places_are_refused():
    with pytest.raises(ConfigurationError, match=r"Hardware.sync_s: -1 is outside"):
        Hardware(sync_s=-1)
    with pytest.raises(ConfigurationError, match=r"Hardware.bandwidth_bytes_s: 5 is outside"):
        Hardware(bandwidth_bytes_s=5)
    with pytest.raises(ConfigurationError, match="unknown key 'cores'"):
        Hardware.from_json({"cores": 4})
    assert Hardware.from_json(Hardware(service_s=0.5).to_json()) == Hardware(service_s=0.5)
    with pytest.raises(ConfigurationError, match="not both among"):
        Topology.named("lan").delay_ms(1, 9, (1, 2))
