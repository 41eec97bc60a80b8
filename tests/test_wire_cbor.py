"""Strict CBOR and field checks: what comes in is exactly what may come in."""

import io
import math
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paxos import wire
from paxos.ballot import BOTTOM, Ballot
from paxos.errors import WireError
from paxos.wire import cbor
from tests.fuzz_wire import head

# --- strict CBOR ------------------------------------------------------------------------------------

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=300)
    | st.text(max_size=40)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text() | st.binary(), inner, max_size=4),
)


@given(VALUES)
def test_what_is_written_is_read(value: object) -> None:
    assert wire.loads_strict(wire.dumps(value)) == value


@given(VALUES, st.binary(min_size=1, max_size=12))
@example([], b"\x59\x01\x00")
def test_nothing_may_follow(value: object, more: bytes) -> None:
    for data in (wire.dumps(value), wire.dumps([value, bytes(300)])):
        with pytest.raises(WireError, match=f"of {len(data)} bytes, followed by {len(more)} more"):
            wire.loads_strict(data + more)


@given(VALUES)
def test_nothing_may_be_missing(value: object) -> None:
    for data in (wire.dumps(value), wire.dumps([value, bytes(300)])):
        for end in {0, 1, 2, len(data) // 2, len(data) - 256, len(data) - 2, len(data) - 1}:
            if 0 <= end < len(data):
                with pytest.raises(WireError, match="malformed CBOR"):
                    wire.loads_strict(data[:end])


def reference(data: bytes) -> object:
    """The same decoder at its plainest: a file is read up to the end of one item, and its position tells."""
    file = io.BytesIO(data)
    value = cbor2.CBORDecoder(file, read_size=1, max_depth=16, allow_indefinite=False).decode()
    if file.tell() != len(data):
        raise cbor2.CBORDecodeError("more follows")
    return value


PIECES = (
    st.sampled_from(
        [b"\x59\x01\x00", b"\x58\xff", b"\x5a\x00\x00\x01\x00", b"\x82", b"\x81", b"\x43abc", b"\xf6"]
    )
    | st.integers(0, 270).map(bytes)
    | st.integers(0, 270).map(lambda length: head(2, length, 2) + bytes(length))
    | st.binary(max_size=3)
)


# What looks for the end of a short input puts a byte string of 256 zeros behind it: here are inputs that end
# in one, begin one that they do not end, or have its head somewhere.
@given(st.lists(PIECES, max_size=4).map(b"".join))
@example(head(2, 256, 2) + bytes(256))
@example(head(2, 256, 2))
@example(b"\x00" + head(2, 256, 2))
@example(b"\x00" + head(2, 256, 2) + bytes(252))
@example(b"\x82\x00" + head(2, 256, 2) + bytes(250))
@example(b"\x82\x00")
@example(head(2, 252, 2) + bytes(252))
@example(head(2, 253, 2) + bytes(253))
@settings(max_examples=600)
def test_short_and_long_inputs_end_where_they_end(data: bytes) -> None:
    if any(byte >> 5 in (5, 6) for byte in data):
        return  # maps and tags have rules of their own, tested below
    try:
        expected = reference(data)
    except cbor2.CBORDecodeError:
        with pytest.raises(WireError):
            wire.loads_strict(data)
    else:
        assert repr(wire.loads_strict(data)) == repr(expected)  # NaN is not equal to itself


@pytest.mark.parametrize("length", [*range(235, 265), 65_535, 65_536, 65_537])
def test_every_length_is_read_to_its_end(length: int) -> None:
    value = bytes(length)
    data = wire.dumps(value)
    assert wire.loads_strict(data) == value
    for broken in (data + b"\x00", data[:-1], data + head(2, 256, 2) + bytes(256)):
        with pytest.raises(WireError):
            wire.loads_strict(broken)


REFUSED = {
    "empty": (b"", "premature end"),
    "indefinite array": (b"\x9f\x01\xff", "indefinite"),
    "indefinite map": (b"\xbf\x61a\x01\xff", "indefinite"),
    "indefinite bytes": (b"\x5f\x41a\xff", "indefinite"),
    "indefinite text": (b"\x7f\x61a\xff", "indefinite"),
    "break": (b"\xff", "break code"),
    "break in an array": (b"\x81\xff", "break code"),
    "repeated key": (b"\xa2\x61a\x01\x61a\x02", "Duplicate map key: 'a'"),
    "integer key": (b"\xa1\x01\x00", "map key must be a text string or byte string, not int"),
    "float key": (b"\xa1\xf9\x3c\x00\x00", "not float"),
    "array as key": (b"\xa1\x81\x01\x00", "not tuple"),
    "map as key": (b"\xa1\xa0\x00", "map key must be a text string or byte string"),
    "not UTF-8": (b"\x62\xc3\x28", "utf-8"),
    "surrogate": (b"\x63\xed\xa0\x80", "utf-8"),
    "reserved length": (b"\x1c", "subtype"),
    "reserved simple value": (b"\xf8\x01", "simple value"),
    "nesting": (b"\x81" * 17 + b"\x00", "maximum container nesting depth"),
    "nesting of maps": (b"\xa1\x61a" * 17 + b"\x00", "maximum container nesting depth"),
    "nesting of 10,000": (b"\x81" * 10_000 + b"\x00", "maximum container nesting depth"),
    "nesting of 10,000 tags": (b"\xc6" * 10_000 + b"\x00", "tag 6 is not allowed"),
    "array of 2^62": (head(4, 1 << 62, 8) + b"\x01", "premature end"),
    "map of 2^62": (head(5, 1 << 62, 8) + b"\x61a\x01", "premature end"),
    "bytes of 2^62": (head(2, 1 << 62, 8) + b"\x01", "premature end"),
    "text of 2^62": (head(3, 1 << 62, 8) + b"\x01", "premature end"),
    "bytes of 2^64-1": (head(2, (1 << 64) - 1, 8) + b"\x01", "premature end"),
    "array of 2^64-1": (head(4, (1 << 64) - 1, 8) + b"\x01", "premature end"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("padding", [b"", b"\x82" + head(2, 400, 2) + bytes(400)], ids=["short", "long"])
def test_only_strict_cbor_is_read(name: str, padding: bytes) -> None:
    data, expected = REFUSED[name]
    with pytest.raises(WireError, match=expected):
        wire.loads_strict(padding + data)


def test_sixteen_levels_are_read() -> None:
    value: object = 0
    for _ in range(15):
        value = [value]
    assert wire.loads_strict(b"\x81" * 16 + b"\x00") == [value]
    assert wire.loads_strict(b"\x82" + head(2, 400, 2) + bytes(400) + b"\x81" * 15 + b"\x00") == [
        bytes(400),
        value,
    ]


def test_every_tag_is_refused() -> None:
    contents = (b"\x00", b"\x41\x07", b"\x61a", b"\x82\x01\x02", b"\xa0")
    for tag in [*range(65_536), (1 << 32) - 1, (1 << 62), (1 << 64) - 1]:
        data = head(6, tag, 8) + contents[tag % len(contents)]
        with pytest.raises(WireError, match=f"tag {tag} is not allowed"):
            wire.loads_strict(data)


@pytest.mark.parametrize(
    "tag", [0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261]
)
def test_tags_with_a_meaning_are_refused_whatever_they_enclose(tag: int) -> None:
    for content in (
        b"\x00",
        b"\x41\x07",
        b"\x44\x7f\x00\x00\x01",
        b"\x61a",
        b"\x82\x01\x02",
        b"\xa0",
        b"\x81\x80",
    ):
        for data in (
            head(6, tag, 2) + content,
            b"\x82" + head(6, tag, 2) + content + head(2, 300, 2) + bytes(300),
        ):
            with pytest.raises(WireError, match=f"tag {tag} is not allowed"):
                wire.loads_strict(data)


def test_the_second_lock_refuses_tags_alone() -> None:
    with pytest.raises(cbor2.CBORDecodeError) as caught:
        cbor2.loads(b"\xc6\x00", tag_hook=cbor._refuse_tag)
    assert isinstance(caught.value.__cause__, WireError)


@given(VALUES)
def test_items_are_counted(value: object) -> None:
    def count(part: object) -> int:
        if isinstance(part, list):
            return 1 + sum(map(count, part))
        if isinstance(part, dict):
            return 1 + sum(map(count, part)) + sum(map(count, part.values()))
        return 1

    assert cbor.count_items(wire.dumps(value)) == count(value)


@pytest.mark.parametrize(
    "item", [b"\x80", b"\xa0", b"\x01", b"\x60", b"\x61a", b"\x18\xff", b"\xf9\x00\x00", b"\xe0"]
)
def test_too_many_items_are_refused(item: bytes) -> None:
    fits = head(4, wire.MAX_ITEMS - 1, 4) + item * (wire.MAX_ITEMS - 1)
    assert len(wire.loads_strict(fits)) == wire.MAX_ITEMS - 1  # type: ignore[arg-type]
    with pytest.raises(WireError, match="more than 262144 CBOR items in"):
        wire.loads_strict(head(4, wire.MAX_ITEMS, 4) + item * wire.MAX_ITEMS)


def test_a_panic_of_the_decoder_is_only_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def decoder(*_: object, **__: object) -> object:
        raise raised

    monkeypatch.setattr(cbor, "CBORDecoder", decoder)
    raised: BaseException = panic("index out of bounds")
    with pytest.raises(WireError, match="index out of bounds"):
        wire.loads_strict(b"\xff")
    for raised in (MemoryError("no memory"), RecursionError("too deep"), OverflowError("too large")):
        with pytest.raises(WireError, match=str(raised)):
            wire.loads_strict(b"\xff")
    raised = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        wire.loads_strict(b"\xff")


@pytest.mark.parametrize("value", [object(), "\ud800", io.BytesIO()])
def test_what_has_no_cbor_form_is_refused(value: object) -> None:
    with pytest.raises(WireError, match="can not be encoded"):
        wire.dumps([value])


# --- fields -----------------------------------------------------------------------------------------


def take_small(value: object, where: str) -> int:
    return wire.take_int(value, where, -5, 5)


def take_round(value: object, where: str) -> int:
    return wire.take_int(value, where, 0, wire.MAX_ROUND)


def take_four(value: object, where: str) -> bytes:
    return wire.take_bytes(value, where, 4)


def take_four_or_none(value: object, where: str) -> bytes | None:
    return wire.take_optional_bytes(value, where, 4)


def take_short_text(value: object, where: str) -> str:
    return wire.take_text(value, where, 4)


def take_two(value: object, where: str) -> list[Any]:
    return wire.expect_fields(value, 2, where)


def take_few(value: object, where: str) -> list[Any]:
    return wire.take_list(value, where, 2)


Take = Callable[[Any, str], object]
TAKEN: list[tuple[Take, list[object]]] = [
    (take_small, [-5, 0, 5]),
    (take_round, [0, wire.MAX_ROUND]),
    (take_four, [b"", b"1234"]),
    (take_four_or_none, [b"", b"1234", None]),
    (take_short_text, ["", "1234", "öö", "\U0001f600"]),
    (take_two, [[1, None]]),
    (take_few, [[], [1, 2]]),
    (wire.take_bool, [True, False]),
    (wire.take_node, [1, wire.MAX_NODE]),
    (wire.take_ballot, [[0, 0, 0], [wire.MAX_ROUND, wire.MAX_NODE, wire.MAX_STEP]]),
    (wire.take_ballot_or_bottom, [[3, 2, 1]]),
]


@pytest.mark.parametrize(("take", "values"), TAKEN)
def test_a_good_field_is_given_back(take: Take, values: list[object]) -> None:
    for value in values:
        taken = take(value, "Ask.field")
        assert taken == (tuple(value) if isinstance(taken, tuple) and isinstance(value, list) else value)


def test_ballots_come_back_as_ballots() -> None:
    taken = wire.take_ballot([3, 2, 1], "Ask.ballot")
    assert (type(taken), taken, taken.step) == (Ballot, Ballot(3, 2, 1), 1)
    assert wire.take_ballot_or_bottom(None, "Ask.ballot") is BOTTOM
    assert wire.pack_ballot_or_bottom(BOTTOM) is None
    assert wire.pack_ballot_or_bottom(Ballot(0, 0)) == Ballot(0, 0)


REFUSALS: list[tuple[Take, object, str]] = [
    (take_small, 6, "expected an integer in -5..5, got 6"),
    (take_small, -6, "got -6"),
    (take_small, True, "got True"),
    (take_small, 1.0, "got 1.0"),
    (take_small, math.nan, "got nan"),
    (take_small, None, "got None"),
    (take_small, "1", "got '1'"),
    (take_small, cbor2.undefined, "got a value of type UndefinedType"),
    (take_small, cbor2.CBORSimpleValue(1), "got a value of type CBORSimpleValue"),
    (take_round, 1 << 48, "expected an integer in 0..2^48-1, got 281474976710656"),
    (take_four, b"12345", "expected at most 4 bytes, got b'12345'"),
    (take_four, "1234", "got '1234'"),
    (take_four, None, "got None"),
    (take_four, bytearray(b"1"), "got a value of type bytearray"),
    (take_four, b"x" * 10**6, "got b'" + "x" * 32 + "'... (1000000 long)"),
    (take_four_or_none, b"12345", "expected at most 4 bytes or null, got b'12345'"),
    (take_four_or_none, False, "got False"),
    (take_short_text, "12345", "expected text of at most 4 bytes, got '12345'"),
    (take_short_text, "ööö", "got 'ööö'"),
    (take_short_text, b"1234", "got b'1234'"),
    (take_short_text, "\ud800", "got '\\ud800'"),
    (take_two, [1], "expected an array of 2 fields, got an array of 1"),
    (take_two, [1, 2, 3], "got an array of 3"),
    (take_two, (1, 2), "got an array of 2"),
    (take_two, {"a": 1, "b": 2}, "got a map of 2"),
    (take_two, "ab", "got 'ab'"),
    (take_few, [1, 2, 3], "expected an array of at most 2 items, got an array of 3"),
    (take_few, "", "got ''"),
    (wire.take_bool, 1, "expected true or false, got 1"),
    (wire.take_bool, None, "got None"),
    (wire.take_node, 0, "expected a node id in 1..2^31-1, got 0"),
    (wire.take_node, 1 << 31, "got 2147483648"),
    (wire.take_node, True, "got True"),
    (wire.take_ballot, None, "expected an array of 3 fields, got None"),
    (wire.take_ballot, [1, 2], "got an array of 2"),
    (wire.take_ballot, [1, 2, 3, 4], "got an array of 4"),
    (wire.take_ballot, (1, 2, 3), "got an array of 3"),
    (wire.take_ballot, ["x", 2, 0], ".round: expected an integer in 0..2^48-1, got 'x'"),
    (wire.take_ballot, [-1, 0, 0], ".round: expected an integer in 0..2^48-1, got -1"),
    (wire.take_ballot, [1 << 48, 0, 0], ".round: expected"),
    (wire.take_ballot, [1, -1, 0], ".node: expected an integer in 0..2^31-1, got -1"),
    (wire.take_ballot, [1, 1 << 31, 0], ".node: expected"),
    (wire.take_ballot, [1, True, 0], ".node: expected"),
    (wire.take_ballot, [1, 1, 1 << 16], ".step: expected an integer in 0..2^16-1, got 65536"),
    (wire.take_ballot, [1, 1, 0.0], ".step: expected"),
    (wire.take_ballot_or_bottom, False, "expected an array of 3 fields, got False"),
    (wire.take_ballot_or_bottom, [1, 1, -1], ".step: expected"),
]


@pytest.mark.parametrize(("take", "value", "expected"), REFUSALS, ids=range(len(REFUSALS)))
def test_a_bad_field_is_named(take: Take, value: object, expected: str) -> None:
    with pytest.raises(WireError) as caught:
        take(value, "Ask.field")
    message = str(caught.value)
    assert message.startswith("Ask.field")
    assert expected in message
    assert len(message) < 200


def test_a_number_too_long_to_print_is_refused_all_the_same() -> None:
    with pytest.raises(WireError, match="got an integer of 16610 bits"):
        take_small(10**5000, "Ask.field")
