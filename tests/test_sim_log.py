"""Simulated clusters that decide a log: clients of a key-value machine, faults, snapshots, retries."""

import attrs
import pytest

import paxos.sim as sim
from multipaxos import protocol
from paxos.check import check_linearizable, history_of
from paxos.check.history import parse_history
from paxos.command import ALL
from paxos.service import LogSettings
from paxos.sim import Crash, Faults, Workload
from paxos.sim.ledger import LOG_PROBES

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def run(nodes=3, seed=7, faults=None, **more):
    return sim.run(protocol, nodes, seed, faults=faults, **more)


def outcomes(result):
    found = [operation.outcome for operation in result.operations]
    return {outcome: found.count(outcome) for outcome in found}


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_without_faults_everything_is_answered_and_every_node_holds_the_same(nodes):
    result = run(nodes)
    assert result.ok, result.violations
    assert outcomes(result).keys() == {"done"}
    assert result.applied is not None
    assert len(set(result.applied.values())) == 1
    assert result.applied[1] > 30
    assert result.decisions == {}
    kinds = {operation.kind for operation in result.operations}
    assert kinds >= {"put", "get", "read", "stale", "increment", "cas"}
    assert result.seen["snapshot"] > 0
    assert set(LOG_PROBES) <= result.seen.keys()


@pytest.mark.parametrize("faults", ["none", "all"])
def test_equal_arguments_give_equal_bytes(faults):
    first, second = (run(3, 11, faults, trace=True) for _ in range(2))
    assert first == second
    assert first.trace == second.trace
    assert first.history() == second.history()
    assert first.to_json() == second.to_json()
    again = run(3, 0, faults, trace=True, choices=first.choices)
    assert again.trace == first.trace


def test_neither_trace_nor_checks_change_a_run():
    plain = run(3, 5, "crash,loss", check=False)
    watched = run(3, 5, "crash,loss", trace=True)
    assert [op.out for op in plain.operations] == [op.out for op in watched.operations]
    assert plain.choices == watched.choices
    assert plain.steps == watched.steps


@pytest.mark.parametrize("nodes", [3, 5])
@pytest.mark.parametrize(
    "faults", ["crash", "partition", "loss", "crash,partition,loss", "all", "wipe,crash"]
)
def test_faults_break_nothing_and_whoever_waits_is_answered(nodes, faults):
    for seed in range(4):
        result = run(nodes, seed, faults)
        assert result.ok, (seed, result.violations)
        assert None not in outcomes(result)
        assert outcomes(result)["done"] > 40


def test_all_that_a_log_can_meet_is_met():
    seen: dict[str, int] = {}
    for seed in range(8):
        for name, times in run(3, seed, "crash,partition,loss").seen.items():
            seen[name] = seen.get(name, 0) + times
    assert all(seen[name] for name in LOG_PROBES), seen


def test_the_history_is_linearizable_and_its_file_says_the_same():
    for seed in range(3):
        result = run(3, seed, "crash,partition,loss", workload=Workload(names=3, reads=0.4, scans=0.2))
        assert result.ok
        history = history_of(result)
        assert check_linearizable(history, "kv").ok
        assert parse_history(result.history().splitlines()) == history
        assert {"scan", "get", "put"} <= {operation.op for operation in history}
        stale = [operation for operation in result.operations if operation.kind == "stale"]
        assert len(history) == len(result.operations) - len(stale) - outcomes(result).get("rejected", 0)


def test_a_node_that_was_long_away_installs_a_snapshot():
    faults = Faults(crashes=[Crash(0.5, 3, 6.0)])
    result = run(
        3, 3, faults, workload=Workload(operations=200), log=LogSettings(marker_requests=5, piece_s=0)
    )
    assert result.ok
    assert result.seen["snapshot installed"] >= 1
    assert outcomes(result).keys() == {"done"}


def test_large_values_travel_in_pieces():
    faults = Faults(crashes=[Crash(0.5, 2, 6.0)], loss=0.1)
    work = Workload(operations=120, value_bytes=60_000, names=20, deletes=0, increments=0, scans=0, reads=0.1)
    result = run(
        3, 3, faults, workload=work, log=LogSettings(marker_requests=10, piece_s=0.01, pieces_asked=1)
    )
    assert result.ok
    assert result.seen["snapshot installed"] >= 1
    assert result.messages["SnapshotChunk"] >= 5


def test_clients_that_were_forgotten_begin_anew():
    work = Workload(operations=300, clients=2, reads=0, names=4)
    few = LogSettings(marker_requests=1, piece_s=0)
    # One session rests while the others fill more markers than a client is remembered for.
    result = run(3, 1, None, workload=work, log=few, duration_s=30.0)
    assert result.ok
    assert outcomes(result) == {"done": len(result.operations)}
    assert any(op.request.birth > 0 for op in result.operations if op.request is not None)


class Refusing:
    """A machine that counts what it is asked, and refuses it."""

    def __init__(self):
        self.count = 0

    def apply(self, command):
        self.count += 1
        return b"Rno"

    def query(self, query):
        return b"Rno"

    def footprint(self, command):
        return ALL

    def snapshot(self):
        return b"%d" % self.count

    def restore(self, snapshot):
        self.count = int(snapshot)


def test_another_machine_may_take_the_place_of_the_key_value_machine():
    result = run(machine=Refusing, faults="crash,loss")
    assert result.ok, result.violations
    assert outcomes(result).keys() == {"refused"}
    assert result.history() == b""
    assert history_of(result) == ()


def test_results_differ_only_by_wall_time():
    result = run()
    assert attrs.evolve(result, wall_s=1.0) == result
    assert result.to_json()["applied"] == {str(node): mark for node, mark in result.applied.items()}
