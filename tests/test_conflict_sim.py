"""Simulated clusters that order only what conflicts: a toy is sound, and planted mistakes are found."""

from collections import Counter
from typing import Any

import attrs
import pytest

import paxos.sim as sim
from paxos.check import check_linearizable, history_of
from paxos.command import NOTHING, Footprint
from paxos.contract import Orders
from paxos.service import LogSettings
from paxos.service.batches import BatchKind, is_marker, read_batch
from paxos.service.conflicts import Conflicts
from paxos.service.keyvalue import KeyValue
from paxos.service.log import LogService
from paxos.service.log_messages import Results
from paxos.service.queries import Queries
from paxos.service.sessions import Sessions
from paxos.sim import Crash, Faults, Workload
from paxos.sim.ledger import service_probes
from paxos.sim.stepper import Stepper
from tests.sequencer import PROTOCOL, Sequencer

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

#: Clients that ask again and again, of nodes that come and go, and snapshots all the time.
HARD: dict[str, Any] = {
    "workload": Workload(
        operations=120, names=3, reads=0.4, timeout_s=0.2, increments=0.5, scans=0.1, logged=0.4
    ),
    "faults": Faults(random_crashes=6, random_partitions=6, loss=0.1),
    "log": LogSettings(marker_requests=8, piece_s=0.001),
}


def run(seed=7, faults=None, nodes=3, **more):
    return sim.run(PROTOCOL, nodes, seed, faults=faults, **more)


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_without_faults_everything_is_answered_and_every_node_holds_the_same(nodes):
    result = run(nodes=nodes)
    assert result.ok, result.violations
    assert {op.outcome for op in result.operations} == {"done"}
    assert result.applied is not None
    assert len(set(result.applied.values())) == 1
    kinds = {operation.kind for operation in result.operations}
    assert kinds >= {"put", "get", "read", "increment", "cas"}
    assert result.seen["snapshot"] > 0


def test_nodes_apply_in_orders_of_their_own():
    orders = []
    for node in (2, 3):
        applied: list[int] = []

        class Watched(Sequencer):
            def _apply_one(self, slot, _node=node, _applied=applied):
                super()._apply_one(slot)
                if self.node == _node:
                    _applied.append(slot)

        sim.run(attrs.evolve(PROTOCOL, replica=Watched), 3, 7)
        orders.append(applied)
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(set(orders[0]))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("faults", ["crash", "partition,loss", "all", "wipe,crash"])
def test_faults_break_nothing_and_whoever_waits_is_answered(faults):
    for seed, batching in enumerate(("together", "apart")):
        log = LogSettings(marker_requests=20, piece_s=0.001, batching=batching)
        result = run(seed, faults, log=log)
        assert result.ok, (seed, result.violations)
        assert None not in {op.outcome for op in result.operations}


def test_hard_runs_meet_all_that_there_is_and_their_histories_are_linearizable():
    seen = Counter[str]()
    for seed in range(4):
        result = run(seed, **HARD)
        assert result.ok, (seed, result.violations)
        assert check_linearizable(history_of(result), "kv").ok
        seen.update(result.seen)
    assert service_probes(PROTOCOL) == ("retry deduplicated", "snapshot", "snapshot installed")
    assert all(seen[name] for name in service_probes(PROTOCOL)), seen


def test_equal_arguments_give_equal_bytes():
    first, second = (run(11, "all", trace=True) for _ in range(2))
    assert first == second
    assert first.trace == second.trace
    unchecked = run(11, "all", check=False)
    assert [op.out for op in unchecked.operations] == [op.out for op in first.operations]


def test_a_cluster_moved_by_hand():
    stepper = Stepper(PROTOCOL, 3)
    for node in (1, 2, 3):
        assert stepper.do(f'{node} submits put "k{node}" = "v"')
    assert stepper.do('2 submits increment "n" = "1"')
    assert stepper.settle()
    assert stepper.do("crash 2")
    assert stepper.do("restart 2")
    assert stepper.do('2 submits read "k1"')
    assert stepper.do('3 submits stale "n"')
    assert stepper.settle()
    assert stepper.judge() == []
    assert [op.out for op in stepper.history()][-2] == b"v"
    assert set(stepper.applied().values()) == {5}


# --- planted -----------------------------------------------------------------------------------------


def found(replica=Sequencer, seeds=range(12), **arguments):
    """Names of the properties that break in the first run in which any does."""
    protocol = attrs.evolve(PROTOCOL, replica=replica)
    for seed in seeds:
        result = sim.run(protocol, 3, seed, **{**HARD, **arguments})
        if result.violations:
            assert not result.stopped, result.violations
            return {violation.name for violation in result.violations}
    return set()


class Careless(Sequencer):
    """One node does not look at conflicts, but for markers."""

    def _may_pass(self, slot, waiting):
        if self.node == 2 and not self._log[slot][1].footprint.everything:
            return not any(self._log[each][1].footprint.everything for each in waiting if each < slot)
        return super()._may_pass(slot, waiting)


class CarelessOfReads(Sequencer):
    """One node lets what only reads pass what writes."""

    def _may_pass(self, slot, waiting):
        touched = self._log[slot][1].footprint
        if self.node == 3 and not touched.writes_something:
            return True
        return super()._may_pass(slot, waiting)


class CarelessOfRanges(Sequencer):
    """One node takes what touches a range for something that touches nothing."""

    def _may_pass(self, slot, waiting):
        touched = self._log[slot][1].footprint
        if self.node == 2 and touched.read_ranges and not touched.reads and not touched.writes:
            return True
        return super()._may_pass(slot, waiting)


class CarelessOfMarkers(Sequencer):
    """At one node a marker passes what was put off."""

    def _may_pass(self, slot, waiting):
        return (self.node == 2 and is_marker(self._log[slot][1])) or super()._may_pass(slot, waiting)


class Repeating(Sequencer):
    """Now and then a node applies a command again."""

    def _apply_one(self, slot):
        super()._apply_one(slot)
        if slot % 17 == 0:
            super()._apply_one(slot)


class Leaving(Sequencer):
    """One node leaves a command out."""

    def _apply_one(self, slot):
        if self.node == 3 and slot == 23:
            self._applied.add(slot)
        else:
            super()._apply_one(slot)


class Disagreeing(Sequencer):
    """One node takes one command for another."""

    def _apply_one(self, slot):
        if self.node == 2 and slot == 20 and 19 in self._log:
            self._log[slot] = self._log[slot][0], self._log[19][1]
        super()._apply_one(slot)


class Again(Sequencer):
    """A node that starts applies what its snapshot holds."""

    def install(self, mark, part, now):
        applies: list[Any] = self._effects.applies
        held = [each for each in applies if each[0][1] <= mark[1]]
        super().install(mark, part, now)
        self._effects.applies[:0] = held


class ReadingAtOnce(Sequencer):
    """Reads have their place wherever the node is."""

    def submit(self, commands, now):
        rest = []
        for command in commands:
            batch = read_batch(command)
            if batch is not None and batch.kind is BatchKind.READ:
                self._reads = getattr(self, "_reads", 0) + 1
                mark = self.node, (1 << 50) + (command.request.birth << 20) + self._reads
                self._effects.applies.append((mark, command))
            else:
                rest.append(command)
        super().submit(rest, now)


@pytest.mark.parametrize(
    ("replica", "names"),
    [
        (Careless, {"ExecutionOrder"}),
        (CarelessOfReads, {"ExecutionOrder", "BarrierCut"}),
        (CarelessOfRanges, {"ExecutionOrder", "BarrierCut"}),
        (CarelessOfMarkers, {"BarrierCut"}),
        (Repeating, {"ExecutedOnce"}),
        (Leaving, {"BarrierCut", "ExecutionOrder"}),
        (Disagreeing, {"Agreement"}),
        (Again, {"ExecutedOnce"}),
        (ReadingAtOnce, {"ReadFresh", "BarrierCut", "ExecutionOrder"}),
    ],
)
def test_a_replica_with_a_mistake(replica, names):
    assert found(replica) & names


def test_retries_that_are_carried_out_again(monkeypatch):
    def forgetful(self, run, apply, **more):
        return apply(run.sequence, run.bodies)

    monkeypatch.setattr(Sessions, "apply", forgetful)
    assert "AtMostOnce" in found()


def test_a_client_table_that_is_not_in_the_snapshot(monkeypatch):
    pack = Sessions.pack
    monkeypatch.setattr(Sessions, "pack", lambda self: iter(list(pack(self))[:1]))
    assert found() & {"AtMostOnce", "BarrierCut", "StateExact"}


def test_a_table_that_depends_on_the_order(monkeypatch):
    mark = Sessions.mark

    def lazily(self):
        sessions = list(self._sessions.items())
        mark(self)
        # Who came last is remembered as of later.
        for _, session in sessions[-1:]:
            session.last += 1

    monkeypatch.setattr(Sessions, "mark", lazily)
    assert "BarrierCut" in found()


def test_a_query_that_is_answered_without_a_place(monkeypatch):
    def at_once(self, *more):
        for client, query in self.take_asked():
            self._waiting -= 1
            self._answer(client, query, 0.0)
        return []

    monkeypatch.setattr(Queries, "take_by_footprint", at_once)
    assert "ReadFresh" in found()


def test_lives_that_are_not_counted(monkeypatch):
    begin = Conflicts.__init__

    def forgetful(self, *arguments):
        begin(self, *arguments)
        self.life = 1

    monkeypatch.setattr(Conflicts, "__init__", forgetful)
    work = Workload(operations=400, clients=6, names=3, reads=0.8, logged=0.0, stale=0.0, timeout_s=0.2)
    faults = Faults(random_crashes=40, loss=0.2)
    assert found(workload=work, faults=faults, seeds=range(40)) & {"ReadFresh", "AnswerExact"}


def test_an_answer_before_anything_is_decided(monkeypatch):
    submit = LogService._submit

    def eager(self, client, run, *more):
        submit(self, client, run, *more)
        if all(body[:1] == b"p" for body in run.bodies):
            self.answers.append((client, Results(run.client, run.sequence, [b"O"])))

    monkeypatch.setattr(LogService, "_submit", eager)
    assert found() & {"Durability", "RealTime", "ReadFresh"}


class Untrue(KeyValue):
    """Says that an increment only reads."""

    def footprint(self, command):
        touched = super().footprint(command)
        return Footprint(touched.reads) if command[:1] == b"i" else touched


def test_a_machine_whose_footprints_are_not_true():
    assert found(machine=Untrue) & {"StateExact", "BarrierCut", "AnswerExact"}


def test_a_batch_that_does_not_say_what_it_touches(monkeypatch):
    import paxos.service.gathering as gathering

    monkeypatch.setattr(gathering, "union", lambda touched: touched[0])
    assert "FootprintExact" in found()


def test_no_command_with_something_in_it_touches_nothing():
    touched: list[Footprint] = []

    class Watched(Sequencer):
        def submit(self, commands, now):
            touched.extend(command.footprint for command in commands)
            super().submit(commands, now)

    assert found(Watched, seeds=range(1)) == set()
    assert touched
    assert NOTHING not in touched
    assert PROTOCOL.orders is Orders.CONFLICTS


def test_a_node_that_was_long_away_installs_a_snapshot():
    faults = Faults(crashes=[Crash(0.5, 3, 6.0)])
    work = Workload(operations=200)
    result = run(3, faults, workload=work, log=LogSettings(marker_requests=5, piece_s=0))
    assert result.ok
    assert result.seen["snapshot installed"] >= 1
