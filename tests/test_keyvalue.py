"""The key-value machine: the promises of any machine, and the same answers as a plain dictionary."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import paxos
from paxos.check import find_model
from paxos.check.history import Operation
from paxos.command import MAX_COMMAND_BYTES, NOTHING, Footprint
from paxos.contract import StateMachine
from paxos.errors import ConfigurationError
from paxos.service import keyvalue_answers as answers
from paxos.service import keyvalue_requests as requests
from paxos.service.keyvalue import KeyValue
from paxos.testing import StateMachineConformance

KEYS = (b"a", b"b", b"c")
VALUES = (b"", b"1", b"-7", b"9223372036854775807", b"x")

keys = st.sampled_from(KEYS)
values = st.sampled_from(VALUES)
absent_or_values = st.none() | values
bounds = st.sampled_from([(b"", None), (b"a", b"c"), (b"b", None), (b"a", b"b"), (b"d", b"e")])
limits = st.sampled_from([1, 2, 1000])
deltas = st.sampled_from([1, -1, 5, requests.MAX_DELTA, -requests.MAX_DELTA - 1])

# An operation as a tuple, from which the request is built and which the dictionary below understands.
simple = st.one_of(
    st.tuples(st.just("put"), keys, values),
    st.tuples(st.just("get"), keys),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("increment"), keys, deltas),
)
guards = st.one_of(
    st.tuples(st.just("equals"), keys, values),
    st.tuples(st.just("absent"), keys),
    st.tuples(st.just("exists"), keys),
)
operations: SearchStrategy[Any] = st.one_of(
    simple,
    st.tuples(st.just("cas"), keys, absent_or_values, absent_or_values),
    st.tuples(st.just("scan"), bounds, limits),
    st.tuples(
        st.just("transaction"),
        st.lists(guards, max_size=2),
        st.lists(simple, min_size=1, max_size=3),
        st.lists(simple, max_size=3),
    ),
)


def request_of(operation: Any) -> bytes:
    op, *given_ = operation
    if op == "scan":
        (low, high), limit = given_
        return requests.scan(low, high, limit)
    if op == "transaction":
        conditions, then, otherwise = given_
        return requests.transaction(
            [getattr(requests, kind)(*what) for kind, *what in conditions],
            [request_of(each) for each in then],
            [request_of(each) for each in otherwise],
        )
    request: bytes = getattr(requests, op)(*given_)
    return request


class _Nonsense(Exception):
    """The operation can not be carried out."""


class Plain:
    """The same as the machine, as plainly as can be, from operations to results."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.changes: list[list[tuple[bytes, bytes | None]]] = []

    def run(self, operation: Any) -> Any:
        before = dict(self.data)
        changed: list[tuple[bytes, bytes | None]] = []
        try:
            result = self._run(operation, changed)
        except _Nonsense:
            self.data = before
            return "refused"
        if changed:
            self.changes.append(changed)
        return result

    def _run(self, operation: Any, changed: list[tuple[bytes, bytes | None]]) -> Any:
        op, key, *more = operation
        if op == "transaction":
            then, otherwise = more
            held = all(self._holds(*guard) for guard in key)
            return held, [self._run(each, changed) for each in (then if held else otherwise)]
        if op == "scan":
            (low, high), (limit,) = key, more
            inside = [k for k in sorted(self.data) if low <= k and (high is None or k < high)]
            return [(k, self.data[k]) for k in inside[:limit]], len(inside) > limit
        found = self.data.get(key)
        if op == "get":
            return found
        if op == "put":
            return self._set(key, more[0], changed)
        if op == "delete":
            if found is not None:
                self._set(key, None, changed)
            return found is not None
        if op == "cas":
            if found != more[0]:
                return False
            if found is not None or more[1] is not None:
                self._set(key, more[1], changed)
            return True
        return self._increment(key, found, more[0], changed)

    def _increment(self, key: bytes, found: bytes | None, delta: int, changed: Any) -> int:
        text = "0" if found is None else found.decode()
        try:
            total = int(text) + delta
        except ValueError:
            raise _Nonsense from None
        if not -(2**63) <= total < 2**63:
            raise _Nonsense
        self._set(key, str(total).encode(), changed)
        return total

    def _set(self, key: bytes, value: bytes | None, changed: Any) -> None:
        if value is None:
            del self.data[key]
        else:
            self.data[key] = value
        changed.append((key, value))

    def _holds(self, kind: str, key: bytes, value: bytes | None = None) -> bool:
        return key in self.data if kind == "exists" else self.data.get(key) == value


def result_of(operation: Any, answer: bytes) -> Any:
    """What the answer to an operation says, as `Plain` says it."""
    if answers.refusal(answer) is not None:
        return "refused"
    op = operation[0]
    if op == "transaction":
        ran = answers.ran(answer)
        branch = operation[2] if ran.held else operation[3]
        return ran.held, [result_of(*each) for each in zip(branch, ran.answers, strict=True)]
    if op == "scan":
        items, more = answers.scanned(answer)
        return list(items), more
    read = {
        "put": answers.stored,
        "get": answers.got,
        "delete": answers.deleted,
        "cas": answers.swapped,
        "increment": answers.incremented,
    }
    return read[op](answer)


class TestKeyValueConforms(StateMachineConformance):
    def make_machine(self) -> StateMachine:
        return KeyValue()

    def commands(self) -> SearchStrategy[bytes]:
        return operations.map(request_of) | st.sampled_from([b"", b"p", b"junk", requests.changes(1)])

    def queries(self) -> SearchStrategy[bytes]:
        reading = st.tuples(st.just("get"), keys) | st.tuples(st.just("scan"), bounds, limits)
        return reading.map(request_of) | st.builds(
            requests.changes, st.none() | st.integers(0, 9), limit=limits
        )


def test_it_is_the_one_that_the_package_offers() -> None:
    assert paxos.KeyValue is KeyValue


@given(st.lists(operations, max_size=40))
@example([("put", b"a", b"1"), ("transaction", [], [("delete", b"a"), ("increment", b"a", 3)], [])])
@example([("put", b"a", b"x"), ("transaction", [], [("put", b"b", b"1"), ("increment", b"a", 1)], [])])
def test_it_answers_as_a_dictionary_does(run: Sequence[Any]) -> None:
    machine, plain = KeyValue(), Plain()
    for operation in run:
        request = request_of(operation)
        expected = plain.run(operation)
        assert result_of(operation, machine.apply(request)) == expected
        assert machine.revision == len(plain.changes)
        assert len(machine) == len(plain.data)
    for key in KEYS:
        assert answers.got(machine.query(requests.get(key))) == plain.data.get(key)
    page = answers.changed(machine.query(requests.changes(0)))
    assert isinstance(page, answers.Page)
    assert list(page.changes) == [
        (revision, *change) for revision, changed in enumerate(plain.changes, 1) for change in changed
    ]


@given(st.lists(operations.map(request_of) | st.binary(max_size=6), max_size=40), st.sampled_from([1, 600]))
def test_many_at_once_are_as_one_after_another(commands: list[bytes], held_bytes: int) -> None:
    one = KeyValue(changes_held=5, changes_held_bytes=held_bytes)
    many = KeyValue(changes_held=5, changes_held_bytes=held_bytes)
    assert many.apply_many(commands) == [one.apply(command) for command in commands]
    assert many.snapshot() == one.snapshot()
    assert many.revision == one.revision
    for after in range(one.revision + 1):
        assert many.query(requests.changes(after)) == one.query(requests.changes(after))


_MODELLED = operations.filter(lambda operation: operation[0] != "transaction")


@given(st.lists(_MODELLED, max_size=30))
def test_it_answers_as_the_model_that_histories_are_judged_by(run: Sequence[Any]) -> None:
    machine, model = KeyValue(), find_model("kv")
    state = model.initial()
    for op, *what in run:
        key: Any = what[0]
        value, old = (what[1] if op in ("put", "increment") else None), None
        if op == "cas":
            if what[2] is None:
                continue  # the model's cas stores something
            old, value = what[1:]
        request = requests.scan(*key) if op == "scan" else request_of((op, *what))
        out = result_of((op, *what), machine.apply(request))
        if out == "refused":
            continue
        out = tuple(out[0]) if op == "scan" else out
        operation = Operation(1, op, key, value, old, 0.0, 1.0, out)
        assert model.refuses(operation) is None
        after = model.step(state, operation)
        assert len(after) == 1, (operation, state)
        (state,) = after
    assert model.step(state, Operation(1, "scan", None, None, None, 0.0, 1.0, state)) == (state,)
    assert answers.scanned(machine.query(requests.scan())).items == state


# --- numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "delta", "expected"),
    [
        (None, 1, 1),
        (None, -3, -3),
        (b"41", 1, 42),
        (b"-1", 1, 0),
        (b"9223372036854775806", 1, 2**63 - 1),
        (b"-9223372036854775807", -1, -(2**63)),
        (b"9223372036854775807", 1, "does not fit"),
        (b"-9223372036854775808", -1, "does not fit"),
        (b"9223372036854775808", -1, "not a decimal number"),
        (b"", 1, "not a decimal number"),
        (b"-", 1, "not a decimal number"),
        (b"-0", 1, "not a decimal number"),
        (b"007", 1, "not a decimal number"),
        (b"+1", 1, "not a decimal number"),
        (b" 1", 1, "not a decimal number"),
        (b"1_0", 1, "not a decimal number"),
        (b"--1", 1, "not a decimal number"),
        (b"1.0", 1, "not a decimal number"),
        ("٣".encode(), 1, "not a decimal number"),
    ],
)
def test_a_number_is_added_to(stored: bytes | None, delta: int, expected: int | str) -> None:
    machine = KeyValue()
    if stored is not None:
        machine.apply(requests.put(b"n", stored))
    before = machine.snapshot()
    answer = machine.apply(requests.increment(b"n", delta))
    if isinstance(expected, str):
        assert expected in (answers.refusal(answer) or "")
        assert machine.snapshot() == before
    else:
        assert answers.incremented(answer) == expected
        assert answers.got(machine.query(requests.get(b"n"))) == str(expected).encode()


# --- transactions ------------------------------------------------------------------------------------


def test_a_transaction_says_which_branch_ran_and_what_each_request_did() -> None:
    machine = KeyValue()
    machine.apply(requests.put(b"from", b"10"))
    move = requests.transaction(
        [requests.exists(b"from"), requests.absent(b"done"), requests.equals(b"from", b"10")],
        [requests.increment(b"from", -4), requests.increment(b"to", 4), requests.put(b"done", b"yes")],
        [requests.get(b"from"), requests.delete(b"nothing")],
    )
    held, parts = answers.ran(machine.apply(move))
    assert held
    assert [answers.incremented(each) for each in parts[:2]] == [6, 4]
    answers.stored(parts[2])
    held, parts = answers.ran(machine.apply(move))
    assert not held
    assert (answers.got(parts[0]), answers.deleted(parts[1])) == (b"6", False)
    assert machine.revision == 2


def test_a_transaction_that_can_not_be_finished_changes_nothing() -> None:
    machine = KeyValue()
    machine.apply(requests.put(b"text", b"no number"))
    before = machine.snapshot()
    answer = machine.apply(
        requests.transaction(
            [], [requests.put(b"new", b"1"), requests.delete(b"new"), requests.increment(b"text")]
        )
    )
    assert "not a decimal number" in (answers.refusal(answer) or "")
    assert machine.snapshot() == before
    assert answers.changed(machine.query(requests.changes(1))) == answers.Page((), 1, 1, False)


def test_a_short_transaction_gets_no_endless_answer() -> None:
    machine = KeyValue()
    machine.apply(requests.put(b"k", bytes(MAX_COMMAND_BYTES // 2)))
    twice = requests.transaction([], [requests.put(b"x", b"1"), requests.get(b"k"), requests.get(b"k")])
    assert "longer than a command may be" in (answers.refusal(machine.apply(twice)) or "")
    assert machine.query(requests.get(b"x")) == b"A"
    once = requests.transaction([], [requests.put(b"x", b"1"), requests.get(b"k")])
    assert answers.ran(machine.apply(once)).held


def test_a_transaction_makes_no_change_too_long_to_be_told() -> None:
    machine = KeyValue()
    names = [b"%04d" % number + b"k" * 1016 for number in range(1000)]
    long, short = (
        requests.transaction([], [requests.increment(name, delta) for name in names])
        for delta in (requests.MAX_DELTA, 1)
    )
    assert "longer than a command may be" in (answers.refusal(machine.apply(long)) or "")
    assert len(machine) == 0
    assert answers.ran(machine.apply(short)).held
    assert len(machine.query(requests.changes(0))) < MAX_COMMAND_BYTES


# --- queries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "writes",
    [
        requests.put(b"a", b"1"),
        requests.delete(b"a"),
        requests.cas(b"a", None, None),
        requests.increment(b"a"),
        requests.transaction([requests.exists(b"z")], [requests.put(b"a", b"1")]),
    ],
)
def test_what_may_write_is_no_query(writes: bytes) -> None:
    machine = KeyValue()
    machine.apply(requests.put(b"a", b"1"))
    before = machine.snapshot()
    assert "a command, and no query" in (answers.refusal(machine.query(writes)) or "")
    assert machine.snapshot() == before


def test_several_keys_are_read_at_one_moment() -> None:
    machine = KeyValue()
    machine.apply_many([requests.put(b"a", b"1"), requests.put(b"b", b"2")])
    both = requests.transaction([requests.exists(b"a")], [requests.get(b"a"), requests.get(b"b")])
    assert [answers.got(each) for each in answers.ran(machine.query(both)).answers] == [b"1", b"2"]
    assert machine.apply(both) == machine.query(both)


def test_a_scan_gives_no_more_bytes_than_a_command_may_have() -> None:
    machine = KeyValue()
    big = bytes(MAX_COMMAND_BYTES - 3 - 1)
    for key in (b"a", b"c"):
        answers.stored(machine.apply(requests.put(key, big)))
    machine.apply(requests.put(b"b", b"small"))
    first = machine.query(requests.scan())
    assert answers.scanned(first) == (((b"a", big),), True)
    # What a reply to a client carries.
    assert len(first) <= MAX_COMMAND_BYTES + 64
    assert answers.scanned(machine.query(requests.scan(b"a\0"))) == (((b"b", b"small"),), True)
    assert answers.scanned(machine.query(requests.scan(b"b\0"))) == (((b"c", big),), False)


# --- footprints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "footprint"),
    [
        (requests.put(b"k", b"v"), Footprint.of(writes=[b"k"])),
        (requests.get(b"k"), Footprint.of(reads=[b"k"])),
        (requests.delete(b"k"), Footprint.of(reads=[b"k"], writes=[b"k"])),
        (requests.cas(b"k", b"v", None), Footprint.of(reads=[b"k"], writes=[b"k"])),
        (requests.increment(b"k"), Footprint.of(reads=[b"k"], writes=[b"k"])),
        (requests.scan(b"a", b"m"), Footprint.of(read_ranges=[(b"a", b"m")])),
        (requests.scan(b"a"), Footprint.of(read_ranges=[(b"a", None)])),
        (requests.changes(3, b"a", b"m"), Footprint.of(read_ranges=[(b"", None)])),
        (
            requests.transaction(
                [requests.exists(b"g"), requests.equals(b"a", b"1")],
                [requests.put(b"p", b"1"), requests.get(b"r")],
                [requests.delete(b"d"), requests.increment(b"i"), requests.get(b"g")],
            ),
            Footprint.of(reads=[b"g", b"a", b"r", b"d", b"i"], writes=[b"p", b"d", b"i"]),
        ),
        (b"", NOTHING),
        (b"p\0\1", NOTHING),
        (b"q", NOTHING),
    ],
)
def test_a_footprint_names_what_is_touched(request_: bytes, footprint: Footprint) -> None:
    assert KeyValue().footprint(request_) == footprint


# For every kind, enough of it to meet any other in a way that shows.
_OF_ONE_KEY: dict[str, list[bytes]] = {
    "put": [requests.put(b"k", b"1"), requests.put(b"k", b"2")],
    "get": [requests.get(b"k")],
    "delete": [requests.delete(b"k")],
    "cas": [
        requests.cas(b"k", None, b"1"),
        requests.cas(b"k", b"1", None),
        requests.cas(b"k", b"1", b"2"),
    ],
    "increment": [requests.increment(b"k", 1)],
    "scan": [requests.scan(b"a", b"m"), requests.scan(b"n", None)],
    "guarded": [
        requests.transaction([requests.absent(b"k")], [requests.put(b"other", value)])
        for value in (b"1", b"2")
    ],
    "transaction": [requests.transaction([requests.exists(b"k")], [requests.delete(b"k")])],
}
_BEFORE: list[list[bytes]] = [[], [requests.put(b"k", b"1")], [requests.put(b"k", b"2")]]


def _order_matters(one: bytes, other: bytes, before: list[bytes]) -> bool:
    first, second = KeyValue(), KeyValue()
    first.apply_many(before)
    second.apply_many(before)
    told = first.apply_many([one, other])
    return told != second.apply_many([other, one])[::-1] or first.snapshot() != second.snapshot()


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations_with_replacement(_OF_ONE_KEY, 2)])
def test_commands_conflict_where_their_order_can_matter_and_nowhere_else(one: str, other: str) -> None:
    footprint = KeyValue().footprint
    conflicting = mattering = 0
    for a, b in itertools.product(_OF_ONE_KEY[one], _OF_ONE_KEY[other]):
        matters = any(_order_matters(a, b, before) for before in _BEFORE)
        conflicts = footprint(a).conflicts(footprint(b))
        assert conflicts or not matters, (a, b)
        conflicting += conflicts
        mattering += matters
    assert bool(conflicting) == bool(mattering)


# --- what is no command ------------------------------------------------------------------------------


@given(
    st.binary(max_size=40)
    | st.builds(lambda request, cut: request[:cut], operations.map(request_of), st.integers(0, 40))
    | st.builds(lambda op, rest: op + rest, st.sampled_from([bytes([op]) for op in b"pgdcistw"]), st.binary())
)
def test_any_bytes_are_answered(command: bytes) -> None:
    machine = KeyValue()
    machine.apply_many([requests.put(key, b"1") for key in KEYS])
    before = machine.snapshot()
    footprint = machine.footprint(command)
    asked, answer = machine.query(command), machine.apply(command)
    assert type(asked) is type(answer) is bytes
    if machine.snapshot() != before:
        assert footprint.writes_something
    if footprint == NOTHING:
        assert answer == asked == b"Rnot a command of the key-value machine"


def test_what_is_too_long_is_refused() -> None:
    machine = KeyValue()
    for command in (
        requests.put(b"k", b"") + bytes(MAX_COMMAND_BYTES),
        b"g" + bytes(1025),
        b"d" + bytes(1025),
        b"i" + bytes(8) + bytes(1025),
        b"p\x04\x01" + bytes(1025),
        b"c\x04\x01\x00" + bytes(4) + bytes(1025),
        b"p\x00\x00value",
    ):
        assert "not a command" in (answers.refusal(machine.apply(command)) or ""), command[:10]
        assert machine.footprint(command) == NOTHING
    assert machine.revision == 0


@pytest.mark.parametrize("given_", [{"changes_held": 0}, {"changes_held_bytes": 0}])
def test_bounds_that_hold_nothing_are_refused(given_: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        KeyValue(**given_)
