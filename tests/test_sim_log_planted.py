"""Mistakes planted in the service of a log, in machines and in replicas: the verdict of a run finds each.

The protocol's own invariants are taken away, so what is found is found by what nodes hold and clients were
told.
"""

from collections import Counter

import attrs
import pytest

from multipaxos import MultiPaxosReplica, protocol
from paxos.command import digest_of
from paxos.contract import Outcome, OutcomeKind
from paxos.service import LogSettings
from paxos.service import keyvalue_requests as requests
from paxos.service.batches import Run, batch_command, marker_command
from paxos.service.keyvalue import KeyValue
from paxos.service.log import LogService
from paxos.service.log_messages import Results
from paxos.service.queries import Queries
from paxos.service.sessions import Sessions
from paxos.sim import Faults, Operation, Workload, run
from paxos.sim.ledger import Fold, Ledger, State
from paxos.sim.log_verdict import judge_log

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

BLIND = attrs.evolve(protocol, invariants=())
#: Clients that ask again and again, of nodes that come and go, and snapshots all the time.
HARD = {
    "workload": Workload(operations=120, names=3, reads=0.3, timeout_s=0.2, increments=0.5),
    "faults": Faults(random_crashes=6, random_partitions=6, loss=0.1),
    "log": LogSettings(marker_requests=5, piece_s=0.001),
}


def found(description=BLIND, seeds=range(12), **arguments):
    """Names of the properties that break in the first run in which any does."""
    for seed in seeds:
        result = run(description, seed=seed, **{**HARD, **arguments})
        if result.violations:
            assert not result.stopped, result.violations
            return {violation.name for violation in result.violations}
    return set()


def test_nothing_is_found_where_nothing_is_planted():
    assert found() == set()


def test_retries_that_are_carried_out_again(monkeypatch):
    def forgetful(self, run, apply, **more):
        return apply(run.sequence, run.bodies)

    monkeypatch.setattr(Sessions, "apply", forgetful)
    assert "AtMostOnce" in found()


def test_a_client_table_that_is_not_in_the_snapshot(monkeypatch):
    pack = Sessions.pack
    monkeypatch.setattr(Sessions, "pack", lambda self: iter(list(pack(self))[:1]))
    assert found() & {"AtMostOnce", "SnapshotExact"}


def test_a_client_table_that_takes_acknowledged_for_applied(monkeypatch):
    apply = Sessions.apply

    def trusting(self, run, apply_, **more):
        session = self.get(run.client)
        if session is not None and run.sequence <= max(session.acknowledged, run.acknowledged) + 1:
            session.highest = max(session.highest, run.sequence)
            session.settled = [[1, run.sequence]]
        return apply(self, run, apply_, **more)

    monkeypatch.setattr(Sessions, "apply", trusting)
    assert found(seeds=range(2)) & {"ResultKept", "StateExact"}


def test_a_read_of_what_the_node_has_instead_of_what_was_acknowledged(monkeypatch):
    def at_once(self, request, now):
        self._context.out.outcomes.append(Outcome(request, OutcomeKind.READY, None))

    monkeypatch.setattr(MultiPaxosReplica, "read", at_once)
    assert "ReadFresh" in found()


def test_a_query_that_is_answered_before_its_place_is_reached(monkeypatch):
    conclude = Queries.conclude

    def early(self, outcome):
        return conclude(self, outcome._replace(mark=None))

    monkeypatch.setattr(Queries, "conclude", early)
    assert "ReadFresh" in found(seeds=range(30))


class Twice(KeyValue):
    """Now and then carries an increment out twice: the machine of one node differs from the others'."""

    made = 0

    def __init__(self):
        super().__init__()
        Twice.made += 1
        self._odd = Twice.made % 3 == 0

    def apply(self, command):
        if self._odd and command[:1] == b"i":
            super().apply(command)
        return super().apply(command)

    def apply_many(self, commands):
        return [self.apply(command) for command in commands]


def test_a_machine_that_carries_out_twice():
    Twice.made = 0
    assert found(machine=Twice) & {"StateExact", "SnapshotExact", "AnswerExact"}


class Absent(KeyValue):
    """Forgets one key when it is restored."""

    def restore(self, snapshot):
        super().restore(snapshot)
        self.apply(requests.delete(b"k0"))


def test_a_machine_that_restores_less_than_it_had():
    assert found(machine=Absent, seeds=range(30)) & {"StateExact", "SnapshotExact", "AnswerExact"}


def test_an_answer_before_anything_is_decided(monkeypatch):
    submit = LogService._submit

    def eager(self, client, run, *more):
        submit(self, client, run, *more)
        if all(body[:1] == b"p" for body in run.bodies):
            self.answers.append((client, Results(run.client, run.sequence, [b"O"])))

    monkeypatch.setattr(LogService, "_submit", eager)
    assert found() & {"Durability", "RealTime", "ReadFresh"}


def test_a_request_that_is_carried_out_although_it_was_rejected():
    log, asked = log_of([(b"a", 1, requests.put(b"k", b"v"))])
    op = operation(log, 1, "put", b"k", b"v", outcome="rejected")
    assert judged(log, asked, [op]) == {"RejectedNotApplied"}


# --- the verdict itself, on logs made by hand -------------------------------------------------------


def client(name):
    return name.ljust(16, b".")


def log_of(entries):
    """A log with one request a slot, `(client, number, body)`, or None for a marker; and what was asked."""
    log, asked = {}, {}
    for slot, entry in enumerate(entries, 1):
        if entry is None:
            log[slot] = marker_command(1, slot)
            continue
        name, number, body = entry
        asked[client(name), number] = body
        log[slot] = batch_command(b"n" * 16, slot, [Run(client(name), 0, 0, number, digest_of(body), [body])])
    return log, asked


def operation(log, slot, kind, name, value=None, *, out=None, times=(0.0, 1.0), outcome="done", place=None):
    """What a client did: the request in a slot, or with a place a query."""
    request = None
    if place is None and slot in log:
        batch = Fold(KeyValue)
        batch.apply(slot, log[slot])
        ((key, number, digest),) = batch.done
        request = run_request(key, number, digest)
    back = times[1] if outcome != "unknown" else None
    return Operation(1, kind, name, value, times[0], back, outcome, out, 1, 1, None, request, place)


def run_request(key, number, digest):
    return Run(key, 0, 0, number, digest, [b""]).request(0)


def judged(log, asked, operations, states=(), known=()):
    """Names of what breaks."""
    ledger = Ledger(asked, Counter())
    complaint = ledger.take(1, log.items())
    assert complaint is None, complaint
    ledger.states += known
    return {name for name, _ in judge_log(ledger, list(states), operations, KeyValue)}


PUT_A, PUT_B = requests.put(b"k", b"a"), requests.put(b"k", b"b")


def state_after(*bodies):
    machine = KeyValue()
    for body in bodies:
        machine.apply(body)
    return machine.snapshot()


def test_what_fits_is_not_found_fault_with():
    log, asked = log_of([(b"a", 1, PUT_A), None, (b"b", 1, PUT_B), (b"a", 1, PUT_A)])
    operations = [
        operation(log, 1, "put", b"k", b"a", times=(0.0, 1.0)),
        operation(log, 3, "put", b"k", b"b", times=(2.0, 3.0)),
        operation(log, 0, "read", b"k", out=b"b", times=(4.0, 5.0), place=(3, 4)),
        operation(log, 0, "stale", b"k", out=b"a", times=(4.0, 5.0), place=(1, 2)),
    ]
    states = [State(1, 4, state_after(PUT_A, PUT_B), "at the end")]
    assert judged(log, asked, operations, states) == set()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"out": b"a", "place": (1, 1), "times": (4.0, 5.0)}, "ReadFresh"),
        ({"out": b"c", "place": (2, 2), "times": (4.0, 5.0)}, "AnswerExact"),
        ({"out": b"a", "place": (2, 2), "times": (4.0, 5.0)}, "AnswerExact"),
        ({"out": None, "place": (0, 0), "times": (0.0, 5.0)}, None),
    ],
)
def test_reads_are_held_against_what_was_acknowledged(change, name):
    log, asked = log_of([(b"a", 1, PUT_A), (b"b", 1, PUT_B)])
    writes = [
        operation(log, 1, "put", b"k", b"a", times=(0.0, 1.0)),
        operation(log, 2, "put", b"k", b"b", times=(2.0, 3.0)),
    ]
    read = attrs.evolve(operation(log, 0, "read", b"k", **change), client=2)
    assert judged(log, asked, [*writes, read]) == ({name} if name else set())


def test_commands_are_held_against_real_time():
    log, asked = log_of([(b"b", 1, PUT_B), (b"a", 1, PUT_A)])
    operations = [
        operation(log, 2, "put", b"k", b"a", times=(0.0, 1.0)),
        operation(log, 1, "put", b"k", b"b", times=(2.0, 3.0)),
    ]
    assert judged(log, asked, operations) == {"RealTime"}


def test_a_write_that_was_acknowledged_and_is_in_no_slot_is_lost():
    log, asked = log_of([(b"a", 1, PUT_A)])
    gone, _ = log_of([(b"a", 2, PUT_B)])
    assert judged(log, asked, [operation(gone, 1, "put", b"k", b"b")]) == {"Durability"}


@pytest.mark.parametrize(
    ("bodies", "name"),
    [((PUT_A,), set()), ((PUT_B,), {"StateExact"}), ((PUT_A, PUT_A), {"AtMostOnce"})],
)
def test_states_are_what_the_log_gives(bodies, name):
    log, asked = log_of([(b"a", 1, PUT_A), (b"a", 1, PUT_A)])
    assert judged(log, asked, [], [State(1, 2, state_after(*bodies), "at the end")]) == name
    assert judged(log, asked, [], known=[State(1, 2, state_after(*bodies), "before")]) == name


def test_a_node_that_is_ahead_of_everybody_or_leaves_a_slot_out():
    log, asked = log_of([(b"a", 1, PUT_A)])
    assert judged(log, asked, [], [State(1, 5, state_after(PUT_A), "at the end")]) == {"AppliedPrefix"}
    assert judged({1: log[1], 3: marker_command(1, 3)}, asked, []) == {"AppliedContiguous"}


def test_the_ledger_complains_at_once():
    log, asked = log_of([(b"a", 1, PUT_A)])
    other, _ = log_of([(b"a", 1, PUT_B)])
    ledger = Ledger(asked, Counter())
    assert ledger.take(1, log.items()) is None
    assert ledger.take(2, log.items()) is None
    complaint = ledger.take(3, other.items())
    assert complaint is not None
    name, sentence = complaint
    assert name == "SlotAgreement"
    assert "slot 1: node 3 applied" in sentence
    complaint = Ledger({}, Counter()).take(1, log.items())
    assert complaint is not None
    name, sentence = complaint
    assert name == "Validity"
    assert "never asked" in sentence


def test_who_is_forgotten_is_refused_in_the_fold_too():
    entries = [(b"a", 1, PUT_A), *[None] * 65, (b"a", 2, PUT_B)]
    log, _ = log_of(entries)
    fold = Fold(KeyValue)
    for slot, command in log.items():
        fold.apply(slot, command)
    assert [number for _, number, _ in fold.done] == [1]
    assert fold.machine.snapshot() == state_after(PUT_A)
