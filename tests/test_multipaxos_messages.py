"""The messages, values and records of Multi-Paxos: their bytes, their way back, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.messages import (
    MAX_ENTRIES,
    MAX_SLOT,
    MESSAGES,
    Accept,
    Accepted,
    Chosen,
    Fetch,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    PreVote,
    PreVoted,
    Promise,
    ReadAt,
    ReadIndex,
    Release,
    Reserved,
    TakeOver,
)
from multipaxos.records import (
    MAX_HINTS,
    pack_compaction,
    pack_hints,
    pack_promise,
    pack_reservation,
    pack_vote,
    read_records,
    record_name,
    slot_key,
)
from paxos.ballot import BOTTOM, Ballot
from paxos.basic.values import MAX_VALUE_BYTES, NOP_VALUE, check_value, pack_value, take_value
from paxos.command import (
    ALL,
    MAX_COMMAND_BYTES,
    NOP,
    NOTHING,
    Command,
    Footprint,
    RequestId,
    digest_of,
)
from paxos.errors import RecordError, WireError
from paxos.wire import FrameBuffer, dumps
from paxos.wire.records import seal_record

B, LOW = Ballot(3, 2), Ballot(1, 1)
COMMAND = Command(RequestId(b"c" * 16, 1, 2, b"d" * 8), NOTHING, b"payload")
VALUE = pack_value(COMMAND)
LONG = Command(COMMAND.request, Footprint.of(reads=[b"r"], writes=[b"w"]), b"payload")

# What a release has put on the wire, or on a disk, can not be changed by a later one: these are the formats.
GOLDEN: list[tuple[Any, str]] = [
    (Prepare(B, 7), "0000000ceecb8117818701000001008303020007"),
    (
        Promise(B, 7, ((7, LOW, b""), (9, LOW, VALUE)), 10, 5),
        "0000004e9e7d8037818a010000020083030200078283078301010040830983010100583063636363636363636363636363636363000000000000000100000000000000026464646464646464007061796c6f61640a05",
    ),
    (Promise(B, 7, (), 0, 0), "0000000f75fe0ee3818a01000002008303020007800000"),
    (
        Accept(B, 7, VALUE, 6),
        "0000003fb6918135818901000003008303020007583063636363636363636363636363636363000000000000000100000000000000026464646464646464007061796c6f616406",
    ),
    (Accepted(B, ((1, 3), (7, 7))), "00000012a99f174e818701000004008303020082820103820707"),
    (Nack(LOW, B), "0000000f82ade071818701000005008301010083030200"),
    (Heartbeat(B, 4, 7), "0000000d9c27f1c381880100000600830302000407"),
    (HeartbeatReply(B, 4, 6), "0000000d278ac1cb81880100000700830302000406"),
    (Fetch(7, 9), "000000099b878159818701000008000709"),
    (
        Chosen(7, ((LOW, VALUE), (B, b""))),
        "00000046425f0efb8187010000090007828283010100583063636363636363636363636363636363000000000000000100000000000000026464646464646464007061796c6f6164828303020040",
    ),
    (PreVote(B), "0000000b4f8fd0de81860100000a0083030200"),
    (PreVoted(B, True, LOW), "000000100027daf081880100000b0083030200f583010100"),
    (PreVoted(B, False, None), "0000000dd924c72581880100000b0083030200f4f6"),
    (TakeOver(B), "0000000b99d633c381860100000c0083030200"),
    (ReadIndex(65, 2), "0000000ac91a4e4081870100000d00184102"),
    (ReadAt(65, 2, 7), "0000000b4dec08d381880100000e0018410207"),
    (Release(B), "0000000bedc2f1238186010000100083030200"),
    (Reserved(65), "000000097fa77e4281860100000f001841"),
]
GOLDEN_VALUES: list[tuple[Command, str]] = [
    (NOP, ""),
    (
        COMMAND,
        "63636363636363636363636363636363000000000000000100000000000000026464646464646464007061796c6f6164",
    ),
    (
        LONG,
        "63636363636363636363636363636363000000000000000100000000000000026464646464646464010000000a858141728141778080f47061796c6f6164",
    ),
]
GOLDEN_RECORDS: list[tuple[bytes, bytes, str, str]] = [
    (b"r", pack_reservation(65), "the reservation of rounds", "0adad9528301011841"),
    (b"p", pack_promise(B), "the promise", "9ba662a483020183030200"),
    (
        slot_key(7),
        pack_vote(B, VALUE),
        "the vote in slot 7",
        "385b81b085030183030200583063636363636363636363636363636363000000000000000100000000000000026464646464646464007061796c6f6164f4",
    ),
    (slot_key(8), pack_vote(LOW, b"", chosen=True), "the vote in slot 8", "c2653ccc8503018301010040f5"),
    (b"c", pack_compaction(5), "the end of what is in a snapshot", "b0d0abdb83040105"),
    (
        b"h",
        pack_hints([(LOW, 6), (B, 7)]),
        "how far the log is known to be committed",
        "24cda4e683050182828301010006828303020007",
    ),
]


def body(number: int, *fields: object) -> bytes:
    """A frame's body of one message, whatever its fields."""
    return dumps([[1, 0, 0, number, 0, *fields]])


def packed(message: Any) -> tuple[int, list[Any]]:
    kind = next(kind for kind in MESSAGES if kind.type is type(message))
    return kind.number, list(kind.pack(message))


@pytest.mark.parametrize(("message", "frame"), GOLDEN, ids=lambda value: type(value).__name__)
def test_a_message_has_these_bytes(message: Any, frame: str) -> None:
    assert MESSAGES.encode([message]).hex() == frame
    [envelope] = MESSAGES.decode(FrameBuffer().feed(bytes.fromhex(frame))[0])
    assert (type(envelope.message), envelope.message) == (type(message), message)


def test_every_message_has_its_bytes_written_down() -> None:
    assert {type(message) for message, _ in GOLDEN} == {kind.type for kind in MESSAGES}
    assert len(MESSAGES) == 16


def test_what_waits_for_the_disk_is_what_somebody_counts() -> None:
    assert MESSAGES.reporting == {Promise, Accepted, Reserved}


def _wrong() -> list[tuple[str, bytes]]:
    cases = []
    for message in {type(each): each for each, _ in GOLDEN}.values():
        number, fields = packed(message)
        name = type(message).__name__
        cases += [(name, body(number, *fields[:-1])), (name, body(number, *fields, 0))]
        for place, (field, value) in enumerate(zip(message._fields, message, strict=True)):
            bad: list[object] = ["x", None, 1.0]
            if isinstance(value, Ballot):
                bad += [[3, 2], [-1, 0, 0], [3, True, 0], [1 << 48, 2, 0]]
            elif type(value) is int:
                bad += [-1, True, 1 << 63]
            elif isinstance(value, tuple):
                bad += [[1], [[1]], [[]], 7, [None] * (MAX_ENTRIES + 1)]
            if message.__class__ is PreVoted and field == "promised":
                bad.remove(None)
            for one in bad:
                inner = {"entries": "entr", "runs": "run"}.get(field, field)
                cases.append((f"{name}.{inner}", body(number, *fields[:place], one, *fields[place + 1 :])))
    return cases


@pytest.mark.parametrize(("named", "bad"), _wrong())
def test_a_field_that_is_wrong_is_named(named: str, bad: bytes) -> None:
    with pytest.raises(WireError, match=named):
        MESSAGES.decode(bad)


@pytest.mark.parametrize(
    ("named", "bad"),
    [
        ("Prepare.first", body(1, B, 0)),
        ("Prepare.first", body(1, B, MAX_SLOT + 1)),
        ("Promise: reports a vote at or above", body(2, B, 7, [[7, B, b""]], 0, 0)),
        ("Promise.entry.slot", body(2, B, 7, [[6, LOW, b""]], 0, 0)),
        ("Promise.entry.slot", body(2, B, 7, [[8, LOW, b""], [8, LOW, b""]], 0, 0)),
        ("Promise.entry.value", body(2, B, 7, [[8, LOW, b"short"]], 0, 0)),
        ("Promise.following", body(2, B, 7, [[8, LOW, b""]], 8, 0)),
        ("Promise.following", body(2, B, 7, [], 7, 0)),
        ("Accept.slot", body(3, B, 0, VALUE, 0)),
        ("Accept.value", body(3, B, 1, VALUE[:40], 0)),
        ("Accepted.run.first", body(4, B, [[0, 1]])),
        ("Accepted.run.last", body(4, B, [[2, 1]])),
        ("Accepted.run.first", body(4, B, [[1, 3], [3, 4]])),
        ("Fetch.last", body(8, 3, 2)),
        ("Chosen.entry.value", body(9, 3, [[LOW, b"short"]])),
        ("Chosen.first", body(9, 0, [])),
        ("Reserved.round", body(15, 1 << 48)),
        ("unknown message type 17", body(17)),
    ],
)
def test_what_a_message_can_not_say_is_refused(named: str, bad: bytes) -> None:
    with pytest.raises(WireError, match=named):
        MESSAGES.decode(bad)


ballots = st.builds(Ballot, st.integers(0, 1 << 40), st.integers(0, 1 << 30), st.integers(0, 1 << 15))
slots = st.integers(1, MAX_SLOT)
counts = st.integers(0, MAX_SLOT)
commands = st.builds(
    Command,
    st.builds(
        RequestId,
        st.binary(min_size=16, max_size=16),
        st.integers(0, (1 << 63) - 1),
        st.integers(0, (1 << 63) - 1),
        st.binary(min_size=8, max_size=8),
    ),
    st.sampled_from([NOTHING, ALL, Footprint.of(writes=[b"k"]), Footprint.of(read_ranges=[(b"a", None)])]),
    st.binary(max_size=40),
)
values = st.one_of(st.just(b""), commands.map(pack_value))
runs = st.lists(slots, unique=True, max_size=8).map(
    lambda found: tuple((slot, slot) for slot in sorted(found))
)
messages = st.one_of(
    st.builds(Prepare, ballots, slots),
    st.builds(
        Promise,
        st.just(Ballot(1 << 41, 1)),
        st.just(1),
        st.lists(st.tuples(slots, ballots, values), unique_by=lambda entry: entry[0], max_size=4).map(
            lambda entries: tuple(sorted(entries))
        ),
        st.just(0),
        counts,
    ),
    st.builds(Accept, ballots, slots, values, counts),
    st.builds(Accepted, ballots, runs),
    st.builds(Nack, ballots, ballots),
    st.builds(Heartbeat, ballots, counts, counts),
    st.builds(HeartbeatReply, ballots, counts, counts),
    st.builds(Chosen, slots, st.lists(st.tuples(ballots, values), max_size=4).map(tuple)),
    st.builds(PreVoted, ballots, st.booleans(), st.none() | ballots),
    st.builds(ReadAt, counts, counts, counts),
)


@given(st.lists(messages, min_size=1, max_size=5))
def test_messages_come_back_as_they_were(sent: list[Any]) -> None:
    [one] = FrameBuffer().feed(MESSAGES.encode(sent))
    came = [envelope.message for envelope in MESSAGES.decode(one)]
    assert [(type(m), m) for m in came] == [(type(m), m) for m in sent]


# --- values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "value"), GOLDEN_VALUES)
def test_a_value_has_these_bytes(command: Command, value: str) -> None:
    assert pack_value(command).hex() == value
    assert take_value(check_value(bytes.fromhex(value), "here")) == command


@given(commands)
def test_values_come_back_as_they_were(command: Command) -> None:
    value = pack_value(command)
    assert check_value(value, "here") is value
    assert take_value(value) == command


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("text", "expected bytes"),
        (None, "expected bytes"),
        (b"x" * 40, "too few"),
        (VALUE[:16] + b"\x80" + VALUE[17:], "above 2"),
        (VALUE[:24] + b"\xff" + VALUE[25:], "above 2"),
        (VALUE[:40] + b"\x02" + VALUE[41:], "no form"),
        (VALUE[:40] + b"\x01", "no form"),
        (VALUE[:40] + b"\x01\0\0\0\x09short", "longer than the command"),
        (VALUE[:40] + b"\x01\0\0\0\x01\x00rest", "footprint"),
        (VALUE + bytes(MAX_COMMAND_BYTES), "limit"),
        (pack_value(LONG) + bytes(MAX_COMMAND_BYTES), "payload"),
        (pack_value(LONG) + bytes(MAX_VALUE_BYTES), "limit"),
    ],
)
def test_a_value_that_nobody_made_is_refused(bad: object, why: str) -> None:
    with pytest.raises(WireError, match=f"here.*{why}"):
        check_value(bad, "here")


def test_the_largest_command_is_a_value() -> None:
    largest = COMMAND._replace(payload=bytes(MAX_COMMAND_BYTES))
    assert take_value(check_value(pack_value(largest), "here")) == largest


# --- records ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "record", "name", "data"), GOLDEN_RECORDS)
def test_a_record_has_these_bytes(key: bytes, record: bytes, name: str, data: str) -> None:
    assert record.hex() == data
    assert record_name(key) == name


def test_records_come_back_as_they_were() -> None:
    found = read_records({key: record for key, record, _, _ in GOLDEN_RECORDS})
    assert (found.reserved, found.promised, found.compacted) == (65, B, 5)
    assert found.votes == {7: (B, VALUE), 8: (LOW, b"")}
    assert found.chosen == {8}
    assert found.hints == [(LOW, 6), (B, 7)]
    assert read_records({}).promised == BOTTOM


def test_slots_are_in_order_on_the_disk() -> None:
    slots = [1, 2, 255, 256, 65_535, 65_536, MAX_SLOT]
    assert sorted(slots, key=slot_key) == slots


@pytest.mark.parametrize(
    ("key", "data"),
    [
        (b"x", pack_promise(B)),
        (b"a", pack_vote(B, VALUE)),
        (b"a1234567", pack_vote(B, VALUE)),
        (b"p", pack_promise(B)[:-1]),
        (b"p", pack_reservation(3)),
        (b"r", seal_record(dumps((1, 2, 3)))),
        (b"r", seal_record(dumps((1, 1, -1)))),
        (b"h", pack_hints([(B, 1)] * (MAX_HINTS + 1))),
        (slot_key(7), seal_record(dumps((3, 1, B, b"short", False)))),
        (slot_key(7), seal_record(dumps((3, 1, B, VALUE, 1)))),
    ],
)
def test_a_record_that_nobody_wrote_is_refused(key: bytes, data: bytes) -> None:
    with pytest.raises(RecordError, match="record b"):
        read_records({key: data})


def test_the_digest_of_a_value_is_that_of_its_payload() -> None:
    made = Command(RequestId(b"c" * 16, 0, 1, digest_of(b"x")), NOTHING, b"x")
    assert take_value(pack_value(made)).request.digest == digest_of(b"x")
    assert pack_value(made) != NOP_VALUE
