"""The bytes of requests and answers: as they were promised, checked when built and when read."""

from collections.abc import Callable
from typing import Any

import pytest

from paxos.command import MAX_COMMAND_BYTES
from paxos.errors import ConfigurationError, Rejected, WireError
from paxos.service import keyvalue_answers as answers
from paxos.service import keyvalue_requests as requests
from paxos.service.keyvalue import KeyValue
from paxos.wire import dumps

# What logs and snapshots hold. These do not change: a change needs a new letter beside the old one.
REQUESTS: dict[str, tuple[bytes, bytes]] = {
    "put": (requests.put(b"key", b"value"), b"p\x00\x03keyvalue"),
    "put of nothing": (requests.put(b"k", b""), b"p\x00\x01k"),
    "put of a long key": (requests.put(b"k" * 1024, b"v"), b"p\x04\x00" + b"k" * 1024 + b"v"),
    "get": (requests.get(b"key"), b"gkey"),
    "delete": (requests.delete(b"key"), b"dkey"),
    "cas": (requests.cas(b"key", b"old", b"new"), b"c\x00\x03\x03\x00\x00\x00\x03keyoldnew"),
    "cas from absent": (requests.cas(b"k", None, b"new"), b"c\x00\x01\x02\x00\x00\x00\x00knew"),
    "cas to absent": (requests.cas(b"k", b"old", None), b"c\x00\x01\x01\x00\x00\x00\x03kold"),
    "cas of absent": (requests.cas(b"k", None, None), b"c\x00\x01\x00\x00\x00\x00\x00k"),
    "cas of nothing": (requests.cas(b"k", b"", b""), b"c\x00\x01\x03\x00\x00\x00\x00k"),
    "increment": (requests.increment(b"key"), b"i\x00\x00\x00\x00\x00\x00\x00\x01key"),
    "decrement": (requests.increment(b"k", -2), b"i\xff\xff\xff\xff\xff\xff\xff\xfek"),
    "scan": (requests.scan(b"a", b"m", 5), b"s\x83\x41a\x41m\x05"),
    "scan of all": (requests.scan(), b"s\x83\x40\xf6\x19\x03\xe8"),
    "changes": (requests.changes(7, b"a", b"m", 5), b"w\x84\x07\x41a\x41m\x05"),
    "changes from now": (requests.changes(None), b"w\x84\xf6\x40\xf6\x19\x03\xe8"),
    "transaction": (
        requests.transaction(
            [requests.equals(b"a", b"1"), requests.absent(b"b"), requests.exists(b"c")],
            [requests.put(b"d", b"2"), requests.increment(b"e", 3)],
            [requests.get(b"a"), requests.delete(b"c")],
        ),
        (
            b"t\x83"
            b"\x83\x82\x41a\x41\x31\x82\x41b\xf6\x82\x41c\xf5"
            b"\x82\x45p\x00\x01d2\x4ai\x00\x00\x00\x00\x00\x00\x00\x03e"
            b"\x82\x42ga\x42dc"
        ),
    ),
}


@pytest.mark.parametrize(("built", "promised"), REQUESTS.values(), ids=REQUESTS)
def test_the_bytes_of_a_request(built: bytes, promised: bytes) -> None:
    assert built == promised


def _machine() -> KeyValue:
    machine = KeyValue(changes_held=3)
    machine.apply_many(
        [requests.put(b"gone", b"0"), requests.put(b"a", b"1"), requests.put(b"b", b"x")]
        + [requests.delete(b"gone")]
    )
    return machine


ANSWERS: dict[str, tuple[bytes, bytes, Callable[[bytes], Any], Any]] = {
    "put": (requests.put(b"k", b"v"), b"O", answers.stored, None),
    "get": (requests.get(b"a"), b"V1", answers.got, b"1"),
    "get of absent": (requests.get(b"z"), b"A", answers.got, None),
    "delete": (requests.delete(b"a"), b"Y", answers.deleted, True),
    "delete of absent": (requests.delete(b"z"), b"N", answers.deleted, False),
    "cas": (requests.cas(b"a", b"1", b"2"), b"Y", answers.swapped, True),
    "cas of another": (requests.cas(b"a", b"2", b"2"), b"N", answers.swapped, False),
    "increment": (requests.increment(b"a", -4), b"I-3", answers.incremented, -3),
    "scan": (
        requests.scan(limit=1),
        b"S\x82\x82\x41a\x411\xf5",
        answers.scanned,
        answers.Items(((b"a", b"1"),), True),
    ),
    "transaction": (
        requests.transaction([requests.exists(b"z")], [], [requests.get(b"z"), requests.increment(b"a")]),
        b"T\x82\xf4\x82\x41A\x42I2",
        answers.ran,
        answers.Ran(False, (b"A", b"I2")),
    ),
    "changes": (
        requests.changes(2, limit=2),
        b"W\x84\x04\x04\xf4\x82\x82\x03\x82\x41b\x41x\x82\x04\x82\x44gone\xf6",
        answers.changed,
        answers.Page((answers.Change(3, b"b", b"x"), answers.Change(4, b"gone", None)), 4, 4, False),
    ),
    "changes that are gone": (
        requests.changes(0),
        b"C\x82\x01\x04",
        answers.changed,
        answers.Compacted(1, 4),
    ),
    "changes from now": (
        requests.changes(None),
        b"W\x84\x04\x04\xf4\x80",
        answers.changed,
        answers.Page((), 4, 4, False),
    ),
}


@pytest.mark.parametrize(("request_", "promised", "read", "result"), ANSWERS.values(), ids=ANSWERS)
def test_the_bytes_of_an_answer(
    request_: bytes, promised: bytes, read: Callable[[bytes], Any], result: Any
) -> None:
    machine = _machine()
    answer = machine.query(request_) if request_[:1] == b"w" else machine.apply(request_)
    assert answer == promised
    assert read(answer) == result
    assert answers.refusal(answer) is None


def test_the_bytes_of_a_refusal() -> None:
    machine = _machine()
    big = requests.put(b"big", bytes(MAX_COMMAND_BYTES // 2))
    machine.apply(big)
    said = [
        machine.apply(b"?"),
        machine.apply(requests.increment(b"b")),
        machine.apply(requests.increment(b"a", requests.MAX_DELTA)),
        machine.apply(requests.transaction([], [requests.get(b"big")] * 2)),
        machine.apply(requests.changes(0)),
        machine.query(requests.put(b"a", b"1")),
    ]
    assert said == [
        b"Rnot a command of the key-value machine",
        b"Rincrement: the value is not a decimal number of 64 bits",
        b"Rincrement: the sum does not fit in 64 bits",
        b"Rtransaction: what it would answer or change is longer than a command may be",
        b"Rthe changes are asked by a query, not by a command",
        b"Rit would change something: a command, and no query",
    ]
    for answer in said:
        assert answers.refusal(answer) == answer[1:].decode()


_READERS: list[Callable[[bytes], Any]] = [
    answers.stored,
    answers.got,
    answers.deleted,
    answers.swapped,
    answers.incremented,
    answers.scanned,
    answers.ran,
    answers.changed,
]


@pytest.mark.parametrize("read", _READERS)
def test_a_refusal_is_raised_and_another_answer_is_not_taken(read: Callable[[bytes], Any]) -> None:
    with pytest.raises(Rejected, match=r"the key-value machine refused .*: because"):
        read(b"Rbecause")
    taken = 0
    for _, answer, reader, _ in ANSWERS.values():
        if reader is read or (read in (answers.deleted, answers.swapped) and answer in (b"Y", b"N")):
            taken += 1
            continue
        with pytest.raises(WireError, match="is no answer to"):
            read(answer)
    assert taken
    with pytest.raises(WireError):
        read(b"")


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (answers.stored, b"O?"),
        (answers.incremented, b"I"),
        (answers.incremented, b"I007"),
        (answers.incremented, b"I9223372036854775808"),
        (answers.scanned, b"S"),
        (answers.scanned, b"S" + dumps([[b"k"], False])),
        (answers.scanned, b"S" + dumps([[b"k", None], False])),
        (answers.scanned, b"S" + dumps([["k", b"v"], False])),
        (answers.scanned, b"S" + dumps([[b"k", b"v"], 1])),
        (answers.scanned, b"S" + dumps([b"kv", False])),
        (answers.ran, b"T" + dumps([True, [1]])),
        (answers.ran, b"T" + dumps([None, [b"O"]])),
        (answers.ran, b"T" + dumps([True, b"O"])),
        (answers.changed, b"W" + dumps([1, 1, False, b""])),
        (answers.changed, b"W" + dumps([-1, 1, False, []])),
        (answers.changed, b"W" + dumps([1, 1, False, [[0, []]]])),
        (answers.changed, b"W" + dumps([1, 1, False, [[1, [b"k"]]]])),
        (answers.changed, b"C" + dumps([1])),
        (answers.changed, b"C" + dumps([1, -1])),
    ],
)
def test_an_answer_that_is_not_as_it_should_be(read: Callable[[bytes], Any], answer: bytes) -> None:
    with pytest.raises(WireError):
        read(answer)


# --- mistakes of the caller --------------------------------------------------------------------------

_LONG_KEY = b"k" * 1025
# Whoever has no type checker.
ask: Any = requests


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: ask.put("k", b"v"), "put: a key is bytes, not str"),
        (lambda: ask.put(b"", b"v"), "put: a key of 0 bytes"),
        (lambda: ask.put(_LONG_KEY, b"v"), "it takes 1 to 1024"),
        (lambda: ask.put(b"k", "v"), "put: a value is bytes, not str"),
        (lambda: ask.put(b"k", None), "a value is bytes, not NoneType"),
        (lambda: ask.put(b"k", bytearray(b"v")), "a value is bytes, not bytearray"),
        (lambda: ask.put(b"k", bytes(MAX_COMMAND_BYTES - 3)), "a request of 1048577 bytes; the limit"),
        (lambda: ask.get(b""), "get: a key of 0 bytes"),
        (lambda: ask.delete(7), "delete: a key is bytes, not int"),
        (lambda: ask.cas(_LONG_KEY, None, b""), "cas: a key of 1025"),
        (lambda: ask.cas(b"k", 1, b""), "cas: a value is bytes, not int"),
        (lambda: ask.cas(b"k", bytes(MAX_COMMAND_BYTES // 2), bytes(MAX_COMMAND_BYTES // 2)), "limit"),
        (lambda: ask.increment(b""), "increment: a key of 0"),
        (lambda: ask.increment(b"k", 1 << 63), "increment: delta: expected an integer"),
        (lambda: ask.increment(b"k", 1.0), "increment: delta"),
        (lambda: ask.increment(b"k", True), "increment: delta"),
        (lambda: ask.scan("a"), "scan: a bound is at most 1024 bytes, got 'a'"),
        (lambda: ask.scan(b"a", "b"), "scan: a bound"),
        (lambda: ask.scan(_LONG_KEY), "scan: a bound"),
        (lambda: ask.scan(b"b", b"a"), "the range from b'b' to b'a' is empty"),
        (lambda: ask.scan(b"a", b"a"), "is empty"),
        (lambda: ask.scan(limit=0), "scan: limit: expected an integer in 1..32768, got 0"),
        (lambda: ask.scan(limit=32_769), "scan: limit"),
        (lambda: ask.changes(-1), "changes: after"),
        (lambda: ask.changes(0, limit=None), "changes: limit"),
        (lambda: ask.equals(b"", b"v"), "equals: a key of 0"),
        (lambda: ask.equals(b"k", None), "equals: a value is bytes"),
        (lambda: ask.absent("k"), "absent: a key is bytes"),
        (lambda: ask.exists("k"), "exists: a key is bytes"),
        (lambda: ask.transaction([], []), "0 guards and requests in all; it takes 1 to 1024"),
        (lambda: ask.transaction([], [ask.get(b"k")] * 1025), "1025 guards and requests"),
        (lambda: ask.transaction([], ask.get(b"k")), "got a single one"),
        (lambda: ask.transaction([], [], ask.get(b"k")), "got a single one"),
        (lambda: ask.transaction([b"k"], []), "b'k' is no guard"),
        (lambda: ask.transaction([(b"k", False)], []), "is no guard"),
        (lambda: ask.transaction([], [ask.cas(b"k", None, b"v")]), "is no request of put, get"),
        (lambda: ask.transaction([], [ask.scan()]), "is no request of put, get"),
        (lambda: ask.transaction([], [], ["get"]), "is no request of put, get"),
        (
            lambda: ask.transaction([], [ask.put(b"k", bytes(MAX_COMMAND_BYTES // 2))] * 2),
            "transaction: a request of",
        ),
    ],
)
def test_what_can_not_be_asked_is_refused_at_once(build: Callable[[], bytes], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        build()


def test_the_longest_requests_are_taken() -> None:
    machine = KeyValue()
    longest = requests.put(b"k", bytes(MAX_COMMAND_BYTES - 4))
    assert len(longest) == MAX_COMMAND_BYTES
    answers.stored(machine.apply(longest))
    answers.stored(machine.apply(requests.put(b"k" * 1024, b"v")))
    most = requests.transaction([], [requests.get(b"x")] * requests.MAX_OPERATIONS)
    assert len(answers.ran(machine.apply(most)).answers) == requests.MAX_OPERATIONS
    assert not answers.scanned(machine.apply(requests.scan(b"l", None, requests.MAX_LIMIT))).more


# --- what is nearly a request ------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [each for each, _ in REQUESTS.values()], ids=REQUESTS)
def test_a_request_that_is_cut_is_another_or_none(request_: bytes) -> None:
    """Nothing is read past the end, and nothing is guessed."""
    refused = 0
    for size in range(len(request_)):
        answer = KeyValue().apply(request_[:size])
        refused += answer == answers.MALFORMED
    # A get or delete of a shorter key is one too, and so is a put of a shorter value.
    assert refused >= (1 if request_[:1] in b"pgdi" else len(request_) - 3 if request_[:1] == b"c" else 4)


@pytest.mark.parametrize(
    "request_",
    [
        b"c\x00\x01\x04\x00\x00\x00\x00k",  # an unknown flag
        b"c\x00\x01\x02\x00\x00\x00\x01kvw",  # an expected value that is absent
        b"c\x00\x01\x01\x00\x00\x00\x01kvw",  # a stored value that is absent
        b"c\x00\x00\x03\x00\x00\x00\x00v",  # no key
        b"s" + dumps([b"a", b"a", 1]),
        b"s" + dumps([b"a", None, 0]),
        b"s" + dumps([b"a", None, True]),
        b"s" + dumps([b"a", None, 32_769]),
        b"s" + dumps(["a", None, 1]),
        b"s" + dumps([b"a", "b", 1]),
        b"s" + dumps([_LONG_KEY, None, 1]),
        b"s" + dumps([b"a", None, 1]) + b"\0",
        b"s" + dumps([b"a", None]),
        b"s" + dumps(7),
        b"w" + dumps([-1, b"", None, 1]),
        b"w" + dumps([True, b"", None, 1]),
        b"w" + dumps([1 << 63, b"", None, 1]),
        b"w" + dumps([0, b"", None]),
        b"t" + dumps([[], [], []]),
        b"t" + dumps([[], [b"gk"]]),
        b"t" + dumps([[], [b"gk"], b""]),
        b"t" + dumps([[], [b"gk"] * 1025, []]),
        b"t" + dumps([[[b"k", False]], [b"gk"], []]),
        b"t" + dumps([[[b"k", 1]], [b"gk"], []]),
        b"t" + dumps([[[b"", None]], [b"gk"], []]),
        b"t" + dumps([[[b"k"]], [b"gk"], []]),
        b"t" + dumps([[b"k"], [b"gk"], []]),
        b"t" + dumps([[], ["gk"], []]),
        b"t" + dumps([[], [b"gk", b"g"], []]),
        b"t" + dumps([[], [], [b"p\0\1"]]),
        b"t" + dumps([[], [requests.cas(b"k", None, b"v")], []]),
        b"t" + dumps([[], [requests.transaction([], [b"gk"])], []]),
    ],
)
def test_a_malformed_request_is_refused_and_touches_nothing(request_: bytes) -> None:
    machine = _machine()
    before = machine.snapshot()
    for answer in (machine.apply(request_), machine.query(request_), *machine.apply_many([request_])):
        assert answer == answers.MALFORMED
    assert machine.snapshot() == before
    assert not any(machine.footprint(request_))
