"""The judgement of logs that order only what conflicts: logs made by hand, and a look at every pair."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.command import ALL, NOP, NOTHING, Command, Footprint, RequestId, digest_of
from paxos.contract import Event
from paxos.service import keyvalue_requests as requests
from paxos.service.batches import Run, batch_command, marker_command, read_command
from paxos.service.conflicts import pack_part
from paxos.service.footprints import Footprints, union
from paxos.service.keyvalue import KeyValue
from paxos.service.sessions import Sessions
from paxos.service.snapshots import snapshot_pieces, snapshot_records
from paxos.sim import Operation
from paxos.sim.conflict_ledger import ConflictLedger
from paxos.sim.conflict_verdict import _Order
from paxos.sim.ledger import Fold, State
from paxos.sim.log_verdict import judge_log
from tests.test_footprints import footprints

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

OWN = b"n" * 16
PUT_A, PUT_B = requests.put(b"a", b"1"), requests.put(b"b", b"1")
GET_A, SCAN = requests.get(b"a"), requests.scan(b"a", b"c")


class Cluster:
    """A log, made by hand: what was asked, and who applied what in which order."""

    def __init__(self) -> None:
        self.asked: dict[tuple[bytes, int], bytes] = {}
        self.ledger = ConflictLedger(self.asked, Counter(), KeyValue)
        self.commands: dict[Any, Command] = {}
        self.operations: list[Operation] = []
        self.complaints: list[tuple[str, str]] = []
        self.places: dict[int, tuple[int, int]] = {}
        self.sentences: list[str] = []

    def start(self, *nodes: int, applied: Any = None) -> None:
        for node in nodes:
            self.ledger.begins(self.node(node, applied))

    @staticmethod
    def node(number: int, applied: Any = None, machine: Any = None) -> Any:
        service = SimpleNamespace(applied=applied)
        identity = SimpleNamespace(store_id=OWN)
        return SimpleNamespace(id=number, service=service, identity=identity, machine=machine)

    def put(self, name: int, *bodies: bytes, client: int = 1, number: int = 1) -> None:
        """A batch of requests of one client."""
        run = self.run(client, number, *bodies)
        self.asked.update({(run.client, number + at): body for at, body in enumerate(bodies)})
        touched = union(Footprints(KeyValue()).of(bodies)[0])
        self.commands[name] = batch_command(OWN, name, [run], touched)

    @staticmethod
    def run(client: int, number: int, *bodies: bytes) -> Run:
        return Run(b"client%010d" % client, 0, 0, number, b"".join(map(digest_of, bodies)), list(bodies))

    def read(self, name: int, body: bytes) -> None:
        """The place of a query."""
        touched, _ = Footprints(KeyValue()).of([body])
        self.commands[name] = read_command(OWN, 1, name, union(touched))

    def mark(self, name: int) -> None:
        self.commands[name] = marker_command(1, name)

    def apply(self, node: int, *names: int) -> None:
        """A node applies these in one turn."""
        applies = [((9, name), self.commands[name]) for name in names]
        complaint = self.ledger.observe(node, applies, (), {})
        turn: Any = SimpleNamespace(applies=applies)
        self.places[node] = self.ledger.place_of(self.node(node), turn)
        if complaint is not None:
            self.complaints.append(complaint)

    def told(
        self, client: int, kind: str, name: Any, out: Any, times: tuple[float, float], **more: Any
    ) -> None:
        """What a client asked and was told: of a command, with its body, or of a query, at its node."""
        value, body, number = more.get("value"), more.get("body"), more.get("number", 1)
        request = None if body is None else self.run(client, number, body).request(0)
        node = more.get("node", 1)
        place = self.places[node] if body is None else None
        outcome = more.get("outcome", "done")
        self.operations.append(
            Operation(client, kind, name, value, *times, outcome, out, node, 1, None, request, place)
        )

    def holds(self, node: int, *bodies: bytes) -> None:
        """A node holds now what these give."""
        machine = KeyValue()
        for body in bodies:
            machine.apply(body)
        self.ledger.holds(self.node(node, machine=machine), "at the end")

    @property
    def broken(self) -> set[str]:
        found = self.complaints or list(judge_log(self.ledger, (), self.operations, KeyValue))
        self.sentences = [sentence for _, sentence in found]
        return {name for name, _ in found}


def test_what_fits_is_not_found_fault_with() -> None:
    log = Cluster()
    log.start(1, 2)
    log.put(1, PUT_A, client=1)
    log.put(2, PUT_B, client=2)
    log.read(3, GET_A)
    log.mark(4)
    log.put(5, requests.increment(b"n", 2), client=2, number=2)
    log.apply(1, 1)
    log.told(1, "put", b"a", None, (0.0, 1.0), value=b"1", body=PUT_A)
    log.apply(2, 2)
    log.told(3, "stale", b"a", None, (1.5, 1.6), node=2)
    log.apply(1, 2, 3)
    log.told(4, "read", b"a", b"1", (2.0, 3.0))
    log.apply(2, 1, 3)
    log.told(3, "stale", b"a", b"1", (3.5, 3.6), node=2)
    log.told(5, "stale", b"a", None, (3.5, 3.6), node=2)
    for node in (1, 2):
        log.apply(node, 4, 5)
        log.holds(node, PUT_B, PUT_A, requests.increment(b"n", 2))
    assert log.broken == set()
    # The third of them needs a state before the turn.
    log.told(6, "stale", b"a", None, (9.0, 9.1), node=2)
    assert log.broken == {"AnswerExact"}


def test_no_ops_have_no_place() -> None:
    log = Cluster()
    log.put(1, PUT_A)
    log.commands[2] = NOP
    log.mark(3)
    log.apply(1, 2, 1, 3)
    log.apply(2, 1, 3, 2)
    log.holds(1, PUT_A)
    assert log.broken == set()


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ((2, 1, 3, 4, 5, 6, 7), None),
        ((1, 3, 2, 4, 5, 6, 7), "ExecutionOrder"),
        ((1, 2, 4, 3, 5, 6, 7), "ExecutionOrder"),
        ((1, 2, 3, 5, 4, 6, 7), "BarrierCut"),
        ((1, 2, 3, 4, 6, 5, 7), "BarrierCut"),
        ((1, 2, 3, 4, 5, 7, 6), None),
        ((1, 2, 3, 5), "BarrierCut"),
        # Who has not come to a range yet is found when it does; to a key, at once.
        ((1, 2, 4), None),
        ((1, 2, 4, 3), "ExecutionOrder"),
        ((1, 2, 3, 4, 5, 6, 7, 9), "ExecutionOrder"),
        ((1, 1), "ExecutedOnce"),
        ((1, 2, 3, 4, 5, 1), "ExecutedOnce"),
        ((1, 2, 3, 4, 5, 6, 5), "ExecutedOnce"),
    ],
)
def test_the_ledger_complains_of_other_orders(there: tuple[int, ...], name: str | None) -> None:
    log = Cluster()
    log.put(1, PUT_A, client=1)
    log.put(2, PUT_B, client=2)
    log.put(3, SCAN, client=3)
    log.put(4, requests.put(b"a", b"2"), client=4)
    log.mark(5)
    log.put(6, PUT_A, client=5)
    log.put(7, PUT_B, client=6)
    log.put(8, GET_A, client=7)
    log.put(9, PUT_A, client=8)
    log.apply(1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    log.apply(2, *there)
    assert {each for each, _ in log.complaints} == ({name} if name else set())


def test_other_commands_and_what_nobody_asked_for() -> None:
    log = Cluster()
    log.put(1, PUT_A)
    log.apply(1, 1)
    log.put(1, PUT_B, client=2)
    log.apply(2, 1)
    assert log.broken == {"Agreement"}
    log = Cluster()
    log.put(1, PUT_A)
    log.asked.clear()
    log.apply(1, 1)
    assert log.broken == {"Validity"}
    log = Cluster()
    log.put(1, PUT_A)
    log.commands[1] = log.commands[1]._replace(footprint=Footprint.of(writes=[b"b"]))
    log.apply(1, 1)
    assert log.broken == {"FootprintExact"}
    # Everything is always right.
    log = Cluster()
    log.put(1, PUT_A)
    log.commands[1] = log.commands[1]._replace(footprint=ALL)
    log.apply(1, 1)
    assert log.broken == set()


# --- real time -----------------------------------------------------------------------------------------


def test_what_was_answered_comes_before_what_was_asked_then_over_others_too() -> None:
    log = Cluster()
    log.put(1, PUT_A, client=1)
    log.put(2, SCAN, client=2)
    log.put(3, PUT_B, client=3)
    log.apply(1, 1, 2, 3)
    log.told(1, "put", b"a", None, (5.0, 9.0), value=b"1", body=PUT_A)
    log.told(3, "put", b"b", None, (0.0, 3.0), value=b"1", body=PUT_B)
    assert log.broken == {"RealTime"}
    (sentence,) = log.sentences
    assert sentence == (
        "put b'b' = b'1' of client 3 was answered at 3.000000 s; after that, at 5.000000 s, client 1 asked "
        "for put b'a' = b'1', which comes before it: instance 9.1, instance 9.2, instance 9.3"
    )
    # Without the scan they have nothing to do with each other.
    log = Cluster()
    log.put(1, PUT_A, client=1)
    log.put(3, PUT_B, client=3)
    log.apply(1, 1, 3)
    log.told(1, "put", b"a", None, (5.0, 9.0), value=b"1", body=PUT_A)
    log.told(3, "put", b"b", None, (0.0, 3.0), value=b"1", body=PUT_B)
    assert log.broken == set()


def test_a_query_sees_what_was_acknowledged_before() -> None:
    for call_s, broken in ((2.0, {"ReadFresh"}), (0.5, set())):
        log = Cluster()
        log.start(1)
        log.read(1, GET_A)
        log.put(2, PUT_A)
        log.apply(1, 1)
        log.told(2, "read", b"a", None, (call_s, 3.0))
        log.apply(1, 2)
        log.told(1, "put", b"a", None, (0.0, 1.0), value=b"1", body=PUT_A)
        assert log.broken == broken


def test_a_query_is_told_what_its_read_gives() -> None:
    log = Cluster()
    log.start(1)
    log.put(1, PUT_A)
    log.read(2, GET_A)
    log.apply(1, 1, 2)
    log.told(2, "read", b"a", b"2", (0.0, 3.0))
    assert log.broken == {"AnswerExact"}
    assert "at its read, instance 9.2" in log.sentences[0]
    log = Cluster()
    log.start(1)
    log.put(1, PUT_A)
    log.apply(1, 1)
    log.told(2, "read", b"a", b"1", (0.0, 3.0))
    assert log.broken == {"ReadFresh"}
    assert "asked for no place" in log.sentences[0]


def test_of_two_reads_in_a_turn_the_one_that_fits_counts() -> None:
    log = Cluster()
    log.start(1)
    log.read(1, GET_A)
    log.put(2, PUT_A)
    log.read(3, GET_A)
    log.apply(1, 1, 2, 3)
    log.told(1, "put", b"a", None, (0.0, 1.0), value=b"1", body=PUT_A)
    log.told(2, "read", b"a", None, (0.0, 3.0))
    log.told(3, "read", b"a", b"1", (2.0, 3.0))
    assert log.broken == set()
    log.told(4, "read", b"a", None, (2.0, 3.0))
    assert log.broken == {"ReadFresh"}


@pytest.mark.parametrize(("client", "broken"), [(1, {"RealTime"}), (2, set())])
def test_at_one_moment_only_a_client_knows_its_own_order(client: int, broken: set[str]) -> None:
    log = Cluster()
    second = requests.put(b"a", b"2")
    log.put(2, second, client=client, number=2)
    log.put(1, PUT_A, client=1)
    log.apply(1, 2, 1)
    log.told(1, "put", b"a", None, (0.0, 1.0), value=b"1", body=PUT_A)
    log.told(client, "put", b"a", None, (1.0, 2.0), value=b"2", body=second, number=2)
    assert log.broken == broken


def test_a_read_that_was_asked_twice_counts_once_wherever_it_came_first() -> None:
    # The other attempt is in a batch that waits for something that was asked for long after.
    log = Cluster()
    log.put(1, PUT_B, client=1)
    log.put(2, GET_A, client=3)
    log.put(3, GET_A, client=3)
    log.commands[3] = batch_command(
        OWN, 3, [log.run(3, 1, GET_A), log.run(4, 1, PUT_B)], Footprint.of(reads=[b"a"], writes=[b"b"])
    )
    log.asked[b"client%010d" % 4, 1] = PUT_B
    log.apply(1, 1, 3, 2)
    log.apply(2, 2, 1, 3)
    log.told(1, "put", b"b", None, (5.0, 6.0), value=b"1", body=PUT_B)
    log.told(3, "get", b"a", None, (0.0, 1.0), body=GET_A, node=2)
    assert log.broken == set()


# --- what clients and nodes have -----------------------------------------------------------------------


def test_what_clients_were_told_of_commands() -> None:
    log = Cluster()
    log.put(1, PUT_A)
    log.apply(1, 1)
    log.told(1, "get", b"a", None, (0.0, 1.0), body=GET_A, number=2)
    assert log.broken == {"Durability"}
    log = Cluster()
    log.put(1, requests.increment(b"n", 1))
    log.apply(1, 1)
    log.told(1, "increment", b"n", 2, (0.0, 1.0), value=1, body=requests.increment(b"n", 1))
    assert log.broken == {"AnswerExact"}
    log.operations = [attrs.evolve(log.operations[0], outcome="rejected")]
    assert log.broken == {"RejectedNotApplied"}


@pytest.mark.parametrize(
    ("bodies", "broken"),
    [
        ((PUT_A, PUT_B), set()),
        ((PUT_B, PUT_A), set()),
        ((PUT_A,), {"StateExact"}),
        ((PUT_A, PUT_B, PUT_B), {"AtMostOnce"}),
    ],
)
def test_nodes_hold_what_their_own_order_gives(bodies: tuple[bytes, ...], broken: set[str]) -> None:
    log = Cluster()
    log.put(1, PUT_A, client=1)
    log.put(2, PUT_B, client=2)
    log.put(3, PUT_B, client=2)
    log.put(4, requests.put(b"c", b"1"), client=3)
    log.apply(1, 1, 2, 3, 4)
    log.apply(2, 2, 3, 1)
    log.holds(2, *bodies)
    assert log.broken == broken
    log.apply(2, 4)
    log.ledger.states.clear()
    log.holds(2, *bodies, requests.put(b"c", b"1"))
    assert log.broken == broken


def snapshot(log: Cluster, mark: Any, number: int, commands: int, *bodies: bytes) -> dict[bytes, bytes]:
    machine, sessions = KeyValue(), Sessions()
    for _ in range(number):
        sessions.mark()
    for body in bodies:
        machine.apply(body)
    return dict(snapshot_records(number, snapshot_pieces(mark, pack_part(commands, b"x"), sessions, machine)))


def taken(action: str) -> list[Event]:
    return [Event(action, 1, {}, "snapshot")]


def marked() -> Cluster:
    log = Cluster()
    log.start(1, 2)
    log.put(1, PUT_A, client=1)
    log.mark(2)
    log.put(3, PUT_B, client=2)
    log.mark(4)
    return log


@pytest.mark.parametrize(
    ("mark", "commands", "bodies", "name"),
    [
        ((9, 2), 2, (PUT_A,), None),
        ((9, 2), 3, (PUT_A,), "SnapshotExact"),
        ((9, 1), 2, (PUT_A,), "SnapshotExact"),
        ((9, 7), 2, (PUT_A,), "SnapshotExact"),
        ((9, 2), 2, (PUT_B,), "StateExact"),
    ],
)
def test_snapshots_hold_what_was_applied_up_to_their_marker(
    mark: Any, commands: int, bodies: tuple[bytes, ...], name: str | None
) -> None:
    log = marked()
    log.apply(1, 1, 2)
    complaint = log.ledger.observe(1, (), taken("snapshot"), snapshot(log, mark, 1, commands, *bodies))
    log.complaints += [complaint] if complaint else []
    assert log.broken == ({name} if name else set())


def test_snapshots_at_one_marker_are_equal_and_there() -> None:
    log = marked()
    log.apply(1, 1, 2)
    log.apply(2, 1, 2)
    assert log.ledger.observe(1, (), taken("snapshot"), snapshot(log, (9, 2), 1, 2, PUT_A)) is None
    assert log.ledger.observe(2, (), taken("snapshot"), snapshot(log, (9, 2), 1, 2, PUT_A)) is None
    for durable in (snapshot(log, (9, 2), 1, 2, PUT_B), {}, {b"sM": b"damaged"}):
        complaint = log.ledger.observe(2, (), taken("snapshot"), durable)
        assert complaint is not None
        assert complaint[0] == ("BarrierCut" if len(durable) > 1 else "SnapshotExact")


def test_who_installs_a_snapshot_goes_on_after_it() -> None:
    log = marked()
    log.apply(1, 1, 2, 3)
    first = snapshot(log, (9, 2), 1, 2, PUT_A)
    three = [((9, 3), log.commands[3])]
    assert log.ledger.observe(2, three, taken("snapshot installed"), first) is None
    log.holds(2, PUT_A, PUT_B)
    assert log.broken == set()
    # Not back again, and what is inside not again.
    complaint = log.ledger.observe(2, [((9, 1), log.commands[1])], (), {})
    assert complaint is not None
    assert complaint[0] == "ExecutedOnce"
    log.apply(1, 4)
    complaint = log.ledger.observe(1, (), taken("snapshot installed"), first)
    assert complaint is not None
    assert "was further" in complaint[1]


def test_a_life_begins_after_its_snapshot() -> None:
    log = marked()
    log.apply(1, 1, 2, 3)
    log.start(1, applied=(9, 2))
    log.apply(1, 3, 4)
    log.holds(1, PUT_A, PUT_B)
    assert log.broken == set()
    log.start(1, applied=(9, 3))
    log.apply(1)
    assert log.broken == {"SnapshotExact"}


# --- against looking at every pair ------------------------------------------------------------------------

touching = footprints.filter(lambda each: each != NOTHING)


def command(number: int, touched: Footprint) -> Command:
    # A read says what it touches itself.
    return read_command(b"o" * 16, 1, number, touched)


@given(st.lists(touching, min_size=1, max_size=7), st.data())
def test_the_ledger_finds_exactly_the_conflicts_in_other_orders(touched: list[Footprint], data: Any) -> None:
    numbers = list(range(len(touched)))
    orders = [numbers, *(data.draw(st.permutations(numbers)) for _ in range(2))]
    ledger = ConflictLedger({}, Counter(), KeyValue)
    found = None
    for node, order in enumerate(orders, 1):
        for number in order:
            found = found or ledger.take(node, [((7, number), command(number, touched[number]))])
    swapped = any(
        touched[one].conflicts(touched[other]) and order.index(one) > order.index(other)
        for order in orders
        for one in numbers
        for other in numbers[one + 1 :]
    )
    assert (found is not None) == swapped


@given(st.lists(touching, min_size=1, max_size=7), st.randoms(use_true_random=False), st.data())
def test_any_order_of_what_does_not_conflict_will_do(
    touched: list[Footprint], source: Any, data: Any
) -> None:
    ledger = ConflictLedger({}, Counter(), KeyValue)
    left = {node: list(range(len(touched))) for node in (1, 2, 3)}
    while any(left.values()):
        node = source.choice([each for each in left if left[each]])
        waiting = left[node]
        ready = [
            number
            for at, number in enumerate(waiting)
            if not any(touched[number].conflicts(touched[other]) for other in waiting[:at])
        ]
        number = source.choice(ready)
        waiting.remove(number)
        assert ledger.take(node, [((7, number), command(number, touched[number]))]) is None
    # As a witness its order will do, too.
    places = {mark[1]: at for at, mark in enumerate(ledger.order)}  # type: ignore[index]
    for one in range(len(touched)):
        for other in range(one + 1, len(touched)):
            if touched[one].conflicts(touched[other]):
                assert places[one] < places[other]


@given(
    st.lists(
        st.tuples(touching, st.integers(0, 9), st.integers(0, 9)).map(
            lambda each: (each[0], min(each[1:]), max(each[1:]))
        ),
        max_size=7,
    )
)
def test_real_time_is_what_looking_at_every_chain_finds(items: list[tuple[Footprint, int, int]]) -> None:
    order = _Order()
    needs: list[set[int]] = []
    for number, (touched, call, back) in enumerate(items):
        op = Operation(number, "put", b"k", b"v", float(call), float(back), "done", None, 1, 1)
        one = order.add(op, (7, number), touched)
        direct = {other for other in range(number) if items[other][0].conflicts(touched)}
        needs.append({number}.union(direct, *(needs[other] for other in direct)))
        assert one.latest_s == max(items[other][1] for other in needs[number])
        assert items[one.origin][1] == one.latest_s
        assert one.origin in needs[number]
        # The way there is made of conflicts.
        at = number
        while order.placed[at].via != at:
            via = order.placed[at].via
            assert via in needs[at]
            at = via
        assert at == one.origin
        assert order.chain(number)


def test_who_is_new_since_a_marker_is_told_alike_wherever_it_came_first() -> None:
    def run(number: int, birth: int) -> Run:
        return Cluster.run(1, number, PUT_A)._replace(birth=birth)

    done = []
    for runs in ([run(1, 0), run(2, 70)], [run(2, 70), run(1, 0)]):
        fold = Fold(KeyValue)
        for at in range(70):
            fold.apply(at, marker_command(1, at))
        for at, each in enumerate(runs, 100):
            fold.apply(at, batch_command(OWN, at, [each]))
        done.append([number for _, number, _ in fold.done])
    assert done == [[2], [2]]
    assert State(1, 2, b"", "").stretch == 0
    assert RequestId(OWN, 0, 1, b"") != RequestId(OWN, 1, 1, b"")
