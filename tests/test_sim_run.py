"""A simulated run: a pure function of its inputs and choices, whose times are exact."""

import hashlib
import json
import os
import re
import subprocess
import sys

import attrs
import pytest

from paxos.basic import BasicSettings, protocol
from paxos.errors import ConfigurationError
from paxos.quorum import FlexibleQuorums, Majority
from paxos.sim import Crash, Faults, Hardware, Topology, Workload, run
from paxos.sim.bench import run_benchmark

ALL = "all"


@pytest.mark.parametrize("nodes", [3, 5])
@pytest.mark.parametrize("seed", [1, 2])
def test_equal_inputs_give_byte_identical_traces(nodes, seed):
    first = run(nodes=nodes, seed=seed, faults=ALL, trace=True)
    again = run(nodes=nodes, seed=seed, faults=ALL, trace=True)
    assert first.ok
    assert first.trace
    assert first.trace == again.trace
    assert first == again
    assert first.trace != run(nodes=nodes, seed=seed + 10, faults=ALL, trace=True).trace


def test_another_process_writes_the_same_trace():
    # Hashes of strings and bytes differ from process to process: no order may come from them.
    program = (
        "import hashlib, paxos.sim as sim\n"
        "result = sim.run(nodes=5, seed=6, faults='all', trace=True)\n"
        "print(hashlib.sha256(result.trace).hexdigest(), len(result.choices))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = run(nodes=5, seed=6, faults=ALL, trace=True)
    assert here.trace is not None
    assert told == {f"{hashlib.sha256(here.trace).hexdigest()} {len(here.choices)}\n"}


@pytest.mark.parametrize("nodes", [3, 5])
def test_recorded_choices_replay_the_seeded_run(nodes):
    seeded = run(nodes=nodes, seed=3, faults=ALL, trace=True)
    replayed = run(nodes=nodes, seed=99, faults=ALL, choices=seeded.choices, trace=True)
    assert len(seeded.choices) > 100
    assert replayed == seeded


def test_watching_changes_nothing():
    watched = run(seed=5, faults=ALL, trace=True, check=True)
    for trace, check in ((False, True), (True, False), (False, False)):
        other = run(seed=5, faults=ALL, trace=trace, check=check)
        assert attrs.evolve(other, trace=None, events=()) == attrs.evolve(watched, trace=None, events=())


def test_a_list_that_runs_out_ends_quietly():
    full = run(seed=4, faults=ALL)
    assert full.seen["crash"] > 0
    quiet = run(faults=ALL, choices=[])
    assert quiet.ok
    assert quiet.choices == ()
    assert {"crash", "lost", "cut", "duplicated", "reordered", "pause", "wipe"}.isdisjoint(quiet.seen)
    assert all(operation.outcome == "done" for operation in quiet.operations)
    for part in (1, 10, len(full.choices) // 2):
        assert run(faults=ALL, choices=full.choices[:part]).ok


def test_choices_beyond_their_bound_are_taken_modulo():
    huge = [10**12 + 7] * 500
    result = run(faults=ALL, choices=huge)
    assert result.ok
    assert result == run(faults=ALL, choices=result.choices)
    assert max(result.choices) < 10**6


@pytest.mark.parametrize("nodes", [3, 5])
def test_an_uncontended_decision_takes_exactly_the_bound(nodes):
    topology = Topology.named("nsdi21")
    workload = Workload(operations=nodes, clients=1, names=None, reads=0.0, start_s=2.0, audit=False)
    result = run(nodes=nodes, topology=topology, workload=workload, hardware=Hardware(sync_s=0.0), choices=[])
    members = tuple(range(1, nodes + 1))
    assert [operation.home for operation in result.operations] == list(members)
    assert protocol.bound_ms is not None
    for operation in result.operations:
        bound_ms = protocol.bound_ms(
            operation.home, members, lambda a, b: topology.rtt_ms(a, b, members), Majority(members)
        )
        assert operation.return_s is not None
        assert (operation.return_s - operation.call_s) * 1e3 == pytest.approx(bound_ms, abs=1e-6)


def test_published_bounds_of_two_phases():
    # Two round trips to the nearest majority, from the matrix: CA 64, VA 64, OR 59, JP 98, EU 129 each.
    workload = Workload(operations=5, clients=1, names=None, reads=0.0, start_s=2.0, audit=False)
    result = run(nodes=5, topology="nsdi21", workload=workload, hardware=Hardware(sync_s=0.0), choices=[])
    took = [round(((op.return_s or 0) - op.call_s) * 1e3, 6) for op in result.operations]
    assert took == [128, 128, 118, 196, 258]


def test_every_sync_on_the_way_adds_its_time():
    workload = Workload(operations=1, clients=1, names=None, reads=0.0, start_s=2.0, audit=False)
    times = []
    for sync_s in (0.0, 0.01):
        result = run(workload=workload, hardware=Hardware(sync_s=sync_s), choices=[])
        (operation,) = result.operations
        times.append((operation.return_s or 0) - operation.call_s)
    # A promise and a vote, one after the other; a quorum's disks work at the same time.
    assert times[1] - times[0] == pytest.approx(0.02, abs=1e-9)


def test_contention_ends():
    workload = Workload(operations=200, clients=20, names=1, reads=0.0, think_s=0.0)
    preempted = 0
    for choices in ([], [255] * 5_000, None):
        result = run(nodes=5, workload=workload, choices=choices, topology="nsdi21")
        assert result.ok
        assert all(operation.outcome == "done" for operation in result.operations)
        assert result.virtual_s < 30
        assert len({operation.out for operation in result.operations}) == 1
        preempted += result.seen["preempted"]
    assert preempted > 0


def test_nothing_decided_is_lost_when_all_nodes_crash():
    for unsynced in ("lost", "torn", "kept"):
        for when in ("now", "writing"):
            crashes = [Crash(4.0, node, 1.0, unsynced, when) for node in (1, 2, 3)]
            workload = Workload(operations=120, names=40)
            result = run(faults=Faults(crashes=crashes), workload=workload, seed=11)
            assert result.ok
            assert result.seen["crash"] == 3
            before = {op.name for op in result.operations if (op.return_s or 99.0) < 4.0 and op.out}
            assert len(before) > 5
            # The audit asked every node about them, and the verdict compared the answers.
            for known in result.decisions.values():
                assert before <= set(known)


def test_an_open_loop_does_not_wait():
    workload = Workload(operations=300, rate=1000.0, names=None, reads=0.0)
    result = run(workload=workload, topology=Topology.uniform(50.0))
    calls = [op.call_s for op in result.operations if op.value is not None]
    assert calls == pytest.approx([i / 1000 for i in range(300)])
    assert result.ok


def test_flexible_quorums_and_settings_reach_the_nodes():
    quorums = FlexibleQuorums([1, 2, 3, 4], phase1=3, phase2=2)
    settings = BasicSettings(distinguished=2)
    result = run(nodes=4, quorums=quorums, settings=settings, faults="loss,crash")
    assert result.ok
    assert result.messages["Forward"] > 0


def test_the_trace_tells_every_step():
    result = run(seed=8, faults="crash,partition", trace=True)
    assert result.trace is not None
    lines = [json.loads(line) for line in result.trace.decode().splitlines()]
    assert [line["at_ns"] for line in lines] == sorted(line["at_ns"] for line in lines)
    actions = {line["action"] for line in lines}
    assert {"start", "receive", "request", "durable", "crash", "restart", "Cut"} <= actions
    received = [line for line in lines if line["action"] == "receive" and line["sender"] != line["node"]]
    assert len(received) == result.deliveries
    accepts = [line["message"] for line in received if line["message"]["type"] == "Accept"]
    assert accepts
    assert all(re.fullmatch(r"\d+\.\d+~+", message["value"]) for message in accepts)
    assert any(event[0] == "Phase2b" for line in lines for event in line.get("events", ()))


def test_the_history_is_one_json_object_a_line():
    result = run(seed=2)
    lines = [json.loads(line) for line in result.history().splitlines()]
    assert len(lines) == len(result.operations)
    assert set(lines[0]) == {"client", "op", "key", "value", "old", "call", "return", "out"}
    assert json.loads(json.dumps(result.to_json()))["operations"]["done"] == len(lines)


def test_a_run_that_never_ends_is_reported():
    result = run(max_steps=100)
    assert [violation.name for violation in result.violations] == ["Bounded"]
    assert "within 100 steps" in str(result.violations[0])


def test_the_benchmark_measures_both():
    calls = []
    measured = run_benchmark(operations=200, repeats=1, advance=lambda: calls.append(1))
    assert calls == [1, 1]
    assert measured.plain.deliveries > 500
    assert measured.plain.median > 0
    assert 0 < measured.watched.deliveries < measured.plain.deliveries
    with pytest.raises(ConfigurationError, match="repeats"):
        run_benchmark(repeats=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "nonesuch"}, "no protocol named 'nonesuch'"),
        ({"protocol": 3}, "protocol: expected a name"),
        ({"machine": 3}, "machine: expected what makes a state machine"),
        ({"log": {"marker_requests": 5}}, "log: expected LogSettings"),
        ({"nodes": 0}, "nodes: expected a number in 1..100"),
        ({"nodes": 101}, "nodes: expected a number in 1..100"),
        ({"nodes": True}, "nodes: expected a number"),
        ({"seed": "seven"}, "seed: expected a whole number"),
        ({"topology": "moon"}, "no topology named 'moon'; known are lan, sosp13"),
        ({"topology": 3}, "topology: expected Topology"),
        ({"topology": "nsdi21", "nodes": 6}, "has 5 sites .* 6 nodes do not fit"),
        ({"faults": "gremlins"}, "no fault named 'gremlins'; known are crash"),
        ({"faults": {"loss": 1}}, "faults: expected Faults"),
        ({"faults": Faults(crashes=[Crash(1, 9)])}, r"Crash at 1 s: node 9 is not one of \(1, 2, 3\)"),
        ({"faults": Faults(crashes=[Crash(11, 1)])}, "Crash at 11 s: faults end at 10.0 s"),
        ({"workload": 5}, "workload: expected Workload"),
        ({"workload": Workload(start_s=20)}, "start_s: 20 s is after"),
        ({"hardware": "fast"}, "hardware: expected Hardware"),
        ({"duration_s": -1}, "duration_s: expected seconds"),
        ({"duration_s": float("nan")}, "duration_s: expected seconds"),
        ({"grace_s": "long"}, "grace_s: expected seconds"),
        ({"max_steps": 0}, "max_steps: expected"),
        ({"choices": "123"}, "choices: expected a list"),
        ({"choices": [1, -2]}, r"choices\[1\]: expected a whole number from 0"),
        ({"choices": [1, 2.5]}, r"choices\[1\]"),
        ({"quorums": "majority"}, "quorums: expected a quorum system"),
        ({"quorums": Majority([1, 2])}, "has 2 members, nodes is 3"),
        ({"settings": {"repeat_s": 1}}, "BasicSettings, not dict"),
        ({"settings": BasicSettings(distinguished=7)}, "distinguished: node 7"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        run(**arguments)
