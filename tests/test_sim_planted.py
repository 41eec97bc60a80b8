"""Broken disks and broken replicas, planted: the simulator's checks find each of them.

Each is found twice where it can be: by the invariants at the very step, and, with these taken away, by what
clients were told and nodes know.
"""

from typing import Any

import attrs
import pytest

from paxos.basic import Accepted, BasicReplica, BasicSettings, Chosen, protocol
from paxos.basic.records import read_records
from paxos.command import Command, Footprint
from paxos.contract import Outcome, OutcomeKind
from paxos.sim import Crash, Faults, Hardware, Operation, Workload, run
from paxos.sim.disk import Disk
from paxos.sim.verdict import judge_decisions, judge_history
from paxos.sim.world import World

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

BLIND = attrs.evolve(protocol, invariants=())
#: Much contention, slow disks, and crashes while they work.
HARD: dict[str, Any] = {
    "workload": Workload(operations=200, clients=4, names=20, window=2, reads=0.1),
    "hardware": Hardware(sync_s=0.02),
    "faults": Faults(random_crashes=40, loss=0.1, reorder=0.1),
}


def _found(description, seeds, **arguments):
    """Names of the properties that break, and how many runs it took."""
    names: set[str] = set()
    for seed in seeds:
        result = run(description, seed=seed, **{**HARD, **arguments})
        names |= {violation.name for violation in result.violations}
        if names:
            break
    return names


def _lie(monkeypatch):
    """A disk that says it is done before it is."""
    take = Disk.take

    def lying(self, writes, held):
        take(self, writes, [])
        return True

    monkeypatch.setattr(Disk, "take", lying)
    # What may leave at once starts no sync; this one gathers all the same.
    carry_out = World.carry_out

    def syncing(self, site, *arguments):
        carry_out(self, site, *arguments)
        if not site.disk.working and site.disk.start():
            self._sync(site)

    monkeypatch.setattr(World, "carry_out", syncing)


def test_the_sound_protocol_passes():
    for seed in range(4):
        assert run(seed=seed, **HARD).violations == ()


def test_a_disk_that_lies_is_found_at_once(monkeypatch):
    _lie(monkeypatch)
    result = run()
    assert [violation.name for violation in result.violations] == ["DurableBeforeSend"]
    assert result.violations[0].step == result.steps < 20


def test_a_disk_that_lies_is_found_by_what_it_does(monkeypatch):
    _lie(monkeypatch)
    assert _found(BLIND, range(40)) & {"Agreement", "Stability", "ReadFresh"}


class _Amnesiac(BasicReplica):
    """Forgets its promises and votes over a restart, but not its ballots."""

    def __init__(self, configuration, records, draw, now):
        kept = {key: value for key, value in records.items() if key[:1] != b"A"}
        assert read_records(kept).acceptors == {}
        super().__init__(configuration, kept, draw, now)


def test_a_forgotten_promise_is_found():
    assert _found(attrs.evolve(protocol, replica=_Amnesiac), range(10))
    assert "Agreement" in _found(attrs.evolve(BLIND, replica=_Amnesiac), range(40))


class _Deaf(BasicReplica):
    """Never hears a vote, so never decides."""

    def receive(self, sender, message, now):
        if not isinstance(message, Accepted | Chosen):
            super().receive(sender, message, now)


def test_a_node_that_never_answers_is_found():
    result = run(attrs.evolve(protocol, replica=_Deaf), workload=Workload(operations=3, reads=0.0))
    assert [violation.name for violation in result.violations] == ["Liveness"]
    assert "3 operations unanswered 120 s after faults ended" in result.violations[0].sentence


class _Inventive(BasicReplica):
    """Has its own ideas of what to propose."""

    def submit(self, commands, now):
        own = [Command(c.request, c.footprint, b"mine" if c.footprint.writes else b"") for c in commands]
        super().submit(own, now)


def test_a_value_that_nobody_proposed_is_found():
    assert "Validity" in _found(attrs.evolve(protocol, replica=_Inventive), [0])
    assert "Validity" in _found(attrs.evolve(BLIND, replica=_Inventive), [0])


class _Fragile(BasicReplica):
    """Has a bug."""

    def tick(self, now):
        raise KeyError("nonesuch")


def test_an_exception_in_a_node_is_a_finding_and_not_a_traceback():
    result = run(attrs.evolve(protocol, replica=_Fragile), faults=Faults(loss=0.5))
    (violation,) = result.violations
    assert violation.name == "KeyError"
    assert "'nonesuch' (tick, line" in violation.sentence
    assert result.stopped


class _Crooked:
    """An invariant with a bug."""

    name = "Crooked"

    def __init__(self, quorums):
        pass

    def observe(self, step):
        raise LookupError("the checker's own fault")


def test_a_broken_checker_is_loud():
    (violation,) = run(attrs.evolve(protocol, invariants=(_Crooked,))).violations
    assert violation.name == "Crooked-raised"
    assert "Crooked raised LookupError: the checker's own fault (observe, line" in violation.sentence


class _Picky(_Crooked):
    name = "Picky"

    def observe(self, step):
        return f"node {step.node} restarted" if step.action == "crash" else None


def test_a_run_stops_where_an_invariant_breaks():
    result = run(attrs.evolve(protocol, invariants=(_Picky,)), faults=Faults(crashes=[Crash(5.0, 2)]))
    assert [str(violation) for violation in result.violations] == [
        f"Picky (step {result.steps}): node 2 restarted"
    ]
    assert result.virtual_s == 5.0


def test_invariants_see_what_the_contract_promises():
    steps = []

    class Recording(_Crooked):
        def observe(self, step):
            steps.append(step._replace(durable=dict(step.durable)))

    faults = Faults(crashes=[Crash(5.0, 2, 1.0)], loss=0.2)
    assert run(attrs.evolve(protocol, invariants=(Recording,)), faults=faults).ok
    assert {step.action for step in steps} == {"request", "receive", "tick", "durable", "crash", "restart"}
    assert [step.replica is None for step in steps] == [step.action == "crash" for step in steps]
    requests = [step for step in steps if step.action == "request"]
    assert all(isinstance(step.submitted, Command) for step in requests)
    assert all(isinstance(step.submitted.footprint, Footprint) for step in requests)
    for step in steps:
        assert (step.message is not None) == (step.action == "receive") == (step.sender is not None)
        # Keys are the replica's own, without the node's prefix.
        assert all(key[:1] in (b"R", b"A", b"C") for key in step.durable)
        assert all(key[:1] in (b"R", b"A", b"C") for key, _ in step.writes)
    # What is held leaves later, once: in the step that says it is durable.
    created = sum(len(step.created) for step in steps if step.action != "durable")
    assert not any(step.created for step in steps if step.action == "durable")
    assert created == sum(len(step.left) for step in steps)


# --- the verdict, on histories made by hand ----------------------------------------------------------


def _operation(name=b"d", value=None, call_s=0.0, return_s=1.0, out=None, client=0, outcome="done"):
    kind = "decide" if value is not None else "decided"
    return Operation(client, kind, name, value, call_s, return_s, outcome, out, 1, 1)


def _judged(operations, known=None):
    return {name for name, _ in judge_history(operations, {1: known or {}})}


def test_a_sound_history_is_accepted():
    operations = [
        _operation(value=b"a", out=b"a"),
        _operation(value=b"b", call_s=0.5, return_s=2.0, out=b"a", client=1),
        _operation(call_s=0.5, return_s=3.0, client=2),
        _operation(call_s=2.5, return_s=3.0, out=b"a", client=2),
        _operation(name=b"e", value=b"c", return_s=None, outcome=None),
        _operation(name=b"f", value=b"x", outcome="rejected"),
        # The same value by two clients: one's rejection says nothing of the other's.
        _operation(name=b"g", value=b"y", outcome="rejected"),
        _operation(name=b"g", value=b"y", outcome="unknown", client=1),
    ]
    assert _judged(operations, {b"d": b"a", b"e": b"c", b"g": b"y"}) == set()


@pytest.mark.parametrize(
    ("expected", "operations", "known"),
    [
        ("Agreement", [_operation(value=b"a", out=b"a"), _operation(value=b"b", out=b"b")], {}),
        ("Agreement", [_operation(value=b"a", out=b"a"), _operation(value=b"b"), _operation(out=b"b")], {}),
        ("Validity", [_operation(value=b"a", out=b"z")], {}),
        ("Validity", [_operation(out=b"a"), _operation(value=b"a", call_s=5.0, return_s=6.0, out=b"a")], {}),
        ("Validity", [_operation(value=b"a", outcome=None)], {b"d": b"z"}),
        ("Validity", [_operation(name=b"e", value=b"a", out=b"a")], {b"d": b"a"}),
        ("ReadFresh", [_operation(value=b"a", out=b"a"), _operation(call_s=1.5, return_s=2.0)], {}),
        ("Answered", [_operation(value=b"a", out=None)], {}),
        ("RejectedNotApplied", [_operation(value=b"a", outcome="rejected")], {b"d": b"a"}),
        ("RejectedNotApplied", [_operation(value=b"a", outcome="rejected"), _operation(out=b"a")], {}),
        ("Stability", [_operation(value=b"a", out=b"a"), _operation(value=b"b", outcome=None)], {b"d": b"b"}),
    ],
)
def test_an_unsound_history_is_not(expected, operations, known):
    assert expected in _judged(operations, known)


def test_nodes_that_differ_are_found():
    assert list(judge_decisions({1: {b"d": b"a"}, 2: {b"e": b"b"}, 3: {b"d": b"a"}})) == []
    ((name, sentence),) = judge_decisions({1: {b"d": b"a"}, 2: {b"d": b"b"}})
    assert name == "Agreement"
    assert "node 1 knows b'a', node 2 b'b'" in sentence


# --- rejected is final -----------------------------------------------------------------------------------


class _SaysNoAndDoes(BasicReplica):
    """Tells the clients of a busy node that they are rejected, and proposes their values all the same."""

    def _submit(self, request, decree, value, now):
        if self._working and decree not in self._chosen:
            self._out.outcomes.append(Outcome(request, OutcomeKind.REJECTED, reason="busy"))
            if value is not None:
                self._pursue(self._state(decree), decree, value, now)
            return
        super()._submit(request, decree, value, now)


#: Nodes with room for one decree, and clients that turn to the next one before a slow one can answer.
BUSY: dict[str, Any] = {
    "workload": Workload(operations=60, clients=3, names=60, timeout_s=0.05),
    "hardware": Hardware(sync_s=0.02),
    "settings": BasicSettings(max_open=1),
}
#: The same, but clients wait, and nodes crash when a disk holds what they may not remember having said.
CRASHING: dict[str, Any] = {
    **BUSY,
    "workload": Workload(operations=200, clients=3, names=200, timeout_s=60.0),
    "faults": Faults(random_crashes=60, jitter=1.0),
}


@pytest.mark.parametrize("busy", [BUSY, CRASHING], ids=["impatient", "crashing"])
def test_rejected_after_an_attempt_that_may_have_been_taken_is_unknown(busy):
    outcomes = set()
    for seed in range(12):
        result = run(seed=seed, **busy)
        assert result.violations == ()
        outcomes |= {op.outcome for op in result.operations}
    assert outcomes == {"done", "rejected", "unknown"}


def test_a_rejected_value_that_is_chosen_is_found():
    lying = attrs.evolve(protocol, replica=_SaysNoAndDoes)
    results = [run(lying, seed=seed, **BUSY | {"settings": None}) for seed in range(5)]
    assert {violation.name for result in results for violation in result.violations} == {"RejectedNotApplied"}
