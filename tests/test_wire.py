"""The wire format: what is written, byte for byte; and that nothing else is read."""

import itertools
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import attrs
import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos import wire
from paxos.ballot import BOTTOM, Ballot
from paxos.errors import ConfigurationError, RecordError, WireError
from tests import fuzz_wire
from tests.fuzz_wire import SAMPLES, Answer, Ask, Note, frame, head

ASK = Ask("leader", Ballot(3, 2))
ANSWER = Answer("leader", Ballot(70_000, 2, 1), Ballot(1, 1), b"node-1")
FRESH = Answer("", Ballot(0, 1), BOTTOM, None)
NOTE = Note(2, True, b"\x00\xff", (-1, 0, 100))


def body_of(*messages: object, **header: int) -> bytes:
    (body,) = wire.FrameBuffer().feed(SAMPLES.encode(messages, **header))
    return body


def one_message(*items: object) -> bytes:
    """The body of a frame with one message, of any items."""
    return cbor2.dumps([list(items)])


# --- golden bytes -----------------------------------------------------------------------------------

# Whole frames as every release of version 1 must write them and read them. A change here is a change of the
# format: it needs a new VERSION, not a new expectation.
GOLDEN: dict[str, tuple[list[object], dict[str, int], str]] = {
    "one message": ([ASK], {}, "00000012 dd833c6f 81 87 01 00 00 01 00 666c6561646572 83030200"),
    "a vote": (
        [ANSWER],
        {},
        "00000021 e4da93ae 81 89 01 00 00 02 00 666c6561646572 831a000111700201 83010100 466e6f64652d31",
    ),
    "no vote": ([FRESH], {}, "0000000e e07d60a1 81 89 01 00 00 02 00 60 83000100 f6 f6"),
    "three, and every field of the header": (
        [NOTE, FRESH, ASK],
        {"group": 7, "epoch": 2**32 - 1, "clock": 2**63 - 1},
        (
            "00000053 a76f67fb 83"
            "89 01 07 1affffffff 09 1b7fffffffffffffff 02 f5 4200ff 83200018 64"
            "89 01 07 1affffffff 02 1b7fffffffffffffff 60 83000100 f6 f6"
            "87 01 07 1affffffff 01 1b7fffffffffffffff 666c6561646572 83030200"
        ),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_frames_are_these_bytes(name: str) -> None:
    messages, header, expected = GOLDEN[name]
    assert SAMPLES.encode(messages, **header).hex() == expected.replace(" ", "")
    (body,) = wire.FrameBuffer().feed(bytes.fromhex(expected))
    assert SAMPLES.decode(body) == [
        (header.get("group", 0), header.get("epoch", 0), header.get("clock", 0), message)
        for message in messages
    ]


def test_a_record_is_these_bytes() -> None:
    record = wire.encode_record(2, 1, (Ballot(3, 2), None, b"v"))
    assert record.hex() == "a51df6a5 85 02 01 83030200 f6 4176".replace(" ", "")
    assert wire.decode_record(record, 2, (1,), b"A") == [[3, 2, 0], None, b"v"]


# --- frames -----------------------------------------------------------------------------------------

BODIES = [b"a", b"bc" * 500, b"d" * 70_000, b"e", b"f" * 9]
STREAM = b"".join(map(wire.encode_frame, BODIES))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 1000, 65_536, len(STREAM)])
def test_frames_come_whole_however_they_are_read(size: int) -> None:
    buffer = wire.FrameBuffer()
    found = []
    for at in range(0, len(STREAM), size):
        found += buffer.feed(STREAM[at : at + size])
    assert found == BODIES
    assert all(type(body) is bytes for body in found)
    assert buffer.pending == 0


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=8))
def test_frames_come_whole_wherever_they_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(wire.encode_frame, bodies))
    buffer = wire.FrameBuffer()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    found = [body for a, b in itertools.pairwise(places) for body in buffer.feed(stream[a:b])]
    assert found == bodies


def test_a_large_frame_in_small_reads_is_not_copied_over_and_over() -> None:
    # 262,144 reads; copying what has gathered at each would move half a terabyte.
    body = bytes(4 << 20)
    stream = memoryview(wire.encode_frame(body))
    buffer = wire.FrameBuffer()
    found = [body for at in range(0, len(stream), 16) for body in buffer.feed(bytes(stream[at : at + 16]))]
    assert found == [body]


def test_pending_counts_what_waits() -> None:
    buffer = wire.FrameBuffer()
    stream = wire.encode_frame(b"abc") + wire.encode_frame(b"defgh")
    assert buffer.feed(b"") == []
    assert buffer.pending == 0
    assert buffer.feed(stream[:-2]) == [b"abc"]
    assert buffer.pending == 11
    assert buffer.feed(stream[-2:]) == [b"defgh"]
    assert buffer.pending == 0


BROKEN_FRAMES = {
    "longer than the bound": (
        b"\x00\x00\x04\x01" + bytes(4),
        "declares a body of 1025 bytes; it has 1 to 1024",
    ),
    "as long as can be": (b"\xff\xff\xff\xff" + bytes(4), "declares a body of 4294967295 bytes"),
    "empty": (bytes(8), "declares a body of 0 bytes"),
    "wrong checksum": (b"\x00\x00\x00\x01\x00\x00\x00\x00a", "checksum e8b7be43, its header says 00000000"),
    "after a good one": (wire.encode_frame(b"good") + bytes(8), "declares a body of 0 bytes"),
}


@pytest.mark.parametrize("name", BROKEN_FRAMES)
@pytest.mark.parametrize("before", [0, 5])
def test_a_broken_frame_ends_the_stream(name: str, before: int) -> None:
    stream, expected = BROKEN_FRAMES[name]
    buffer = wire.FrameBuffer(1024)
    assert buffer.feed(stream[:before]) == []
    with pytest.raises(WireError, match=expected):
        buffer.feed(stream[before:])
    assert buffer.pending == 0
    with pytest.raises(WireError, match=expected):
        buffer.feed(wire.encode_frame(b"good"))


def test_a_frame_has_one_byte_up_to_the_bound() -> None:
    assert wire.FrameBuffer(1024).feed(wire.encode_frame(bytes(1024))) == [bytes(1024)]
    with pytest.raises(WireError, match="1 to 2\\^32-1 bytes; this one has 0"):
        wire.encode_frame(b"")


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_flipped_bit_is_found(body: bytes, data: st.DataObject) -> None:
    stream = bytearray(wire.encode_frame(body))
    bit = data.draw(st.integers(0, 8 * len(stream) - 1))
    stream[bit // 8] ^= 1 << bit % 8
    buffer = wire.FrameBuffer()
    try:
        found = buffer.feed(bytes(stream))
    except WireError:
        return
    assert found == []  # the length grew: the rest would not fit the checksum
    with pytest.raises(WireError):
        buffer.feed(bytes(wire.MAX_FRAME_BYTES + 8))


# --- the table --------------------------------------------------------------------------------------


def a_type(number: int, kind: type[Any], **changes: Any) -> wire.MessageType[Any]:
    return wire.MessageType(
        number, kind, **{"reports": False, "pack": tuple, "unpack": lambda fields: kind(*fields), **changes}
    )


def test_a_table_says_what_it_knows() -> None:
    assert [one.name for one in SAMPLES] == ["Ask", "Answer", "Note"]
    assert (len(SAMPLES), Ask in SAMPLES, str in SAMPLES) == (3, True, False)
    assert SAMPLES.reporting == {Answer}
    assert [SAMPLES.reports(message) for message in (ASK, ANSWER, NOTE, None)] == [False, True, False, False]
    assert repr(SAMPLES) == "<MessageTable: 1 Ask, 2 Answer, 9 Note>"


@pytest.mark.parametrize("number", [0, 256, -1, True, 1.0, "1", None])
def test_a_type_has_a_number_of_one_byte(number: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"integer in 1\.\.255"):
        a_type(number, Ask)


def test_a_table_refuses_doubles_and_names_both() -> None:
    with pytest.raises(ConfigurationError, match="messages Ask and Note both have number 4"):
        wire.MessageTable([a_type(4, Ask), a_type(4, Note)])
    with pytest.raises(ConfigurationError, match="message Ask has two numbers: 4 and 5"):
        wire.MessageTable([a_type(5, Ask), a_type(4, Ask)])
    with pytest.raises(ConfigurationError, match="messages Ask and Note both have number 1"):
        SAMPLES + wire.MessageTable([a_type(1, Note)])


class Other(NamedTuple):
    text: str


def test_tables_add_up() -> None:
    both = SAMPLES + wire.MessageTable([a_type(5, Other, reports=True)])
    (body,) = wire.FrameBuffer().feed(both.encode([Other("x"), ASK]))
    assert [envelope.message for envelope in both.decode(body)] == [Other("x"), ASK]
    assert both.reporting == {Answer, Other}
    with pytest.raises(WireError, match="unknown message type 5; known are 1 Ask, 2 Answer, 9 Note"):
        SAMPLES.decode(body)


@given(st.lists(st.sampled_from([ASK, ANSWER, FRESH, NOTE]), min_size=1, max_size=9), st.data())
def test_messages_come_back(messages: list[object], data: st.DataObject) -> None:
    group = data.draw(st.integers(0, wire.MAX_GROUP))
    epoch = data.draw(st.integers(0, wire.MAX_EPOCH))
    clock = data.draw(st.integers(0, wire.MAX_CLOCK))
    envelopes = SAMPLES.decode(body_of(*messages, group=group, epoch=epoch, clock=clock))
    assert envelopes == [(group, epoch, clock, message) for message in messages]
    assert all(type(envelope) is wire.Envelope for envelope in envelopes)
    assert [type(envelope.message) for envelope in envelopes] == list(map(type, messages))


def test_no_messages_are_no_frame() -> None:
    assert SAMPLES.encode([]) == b""


def frames_of(stream: bytes, max_bytes: int = wire.MAX_FRAME_BYTES) -> list[list[Any]]:
    return [
        [envelope.message for envelope in SAMPLES.decode(body)]
        for body in wire.FrameBuffer(max_bytes).feed(stream)
    ]


def test_many_messages_make_more_frames() -> None:
    frames = frames_of(SAMPLES.encode([ASK] * 10_000))
    assert sum(map(len, frames)) == 10_000
    assert max(map(len, frames)) <= wire.MAX_MESSAGES


def test_large_messages_make_more_frames() -> None:
    notes = [Note(node, False, bytes(100_000), ()) for node in range(1, 8)]
    stream = SAMPLES.encode(notes)
    assert [message for part in frames_of(stream) for message in part] == notes
    assert all(
        len(part) == 1 or len(body) <= wire.MAX_BODY_BYTES_OF_MANY
        for part, body in zip(frames_of(stream), wire.FrameBuffer().feed(stream), strict=True)
    )


def test_the_receivers_bound_is_kept() -> None:
    messages = [ASK, ANSWER, NOTE] * 10
    parts = frames_of(SAMPLES.encode(messages, max_bytes=64), max_bytes=64)
    assert [message for part in parts for message in part] == messages
    assert max(map(len, parts)) > 1
    large = Note(1, False, bytes(100), ())
    with pytest.raises(WireError, match="Note: 112 bytes are too many for a frame of 64"):
        SAMPLES.encode([ASK, large], max_bytes=64)


def test_one_message_may_be_long_but_not_crowded() -> None:
    note = Note(1, False, bytes(1 << 20), ())
    assert frames_of(SAMPLES.encode([note])) == [[note]]
    crowd = Note(1, False, b"", (0,) * wire.MAX_ITEMS)
    with pytest.raises(WireError, match="more than 262144 CBOR items"):
        SAMPLES.encode([crowd])


def test_only_messages_of_the_table_are_encoded() -> None:
    with pytest.raises(ConfigurationError, match="Other is no message of this table, which has: 1 Ask"):
        SAMPLES.encode([ASK, Other("x")])
    for header in ({"group": -1}, {"epoch": 1 << 32}, {"clock": 1 << 63}):
        with pytest.raises(WireError, match=f"message.{next(iter(header))}: expected an integer in 0"):
            SAMPLES.encode([ASK], **header)
    with pytest.raises(WireError, match="can not be encoded"):
        SAMPLES.encode([Note(1, False, object(), ())])  # type: ignore[arg-type]


BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "no array": (b"\x01", "an array of 1 to 4096 messages, not 1"),
    "a map": (b"\xa0", "an array of 1 to 4096 messages, not a map of 0"),
    "no messages": (b"\x80", "an array of 1 to 4096 messages, not an array of 0"),
    "too many messages": (head(4, 4097, 2) + b"\x80" * 4097, "not an array of 4097"),
    "two in a long body": (
        cbor2.dumps([[1, 0, 0, 9, 0, 1, False, bytes(1 << 18), []]] * 2),
        "a frame of 524[0-9]+ bytes holds 2 messages; above 262144 bytes it holds one",
    ),
    "no message": (b"\x81\x01", "a message is an array of at least 5 items, not 1"),
    "text for a message": (b"\x81\x65abcde", "at least 5 items, not 'abcde'"),
    "map for a message": (b"\x81\xa0", "at least 5 items, not a map of 0"),
    "short message": (one_message(1, 0, 0, 1), "at least 5 items, not an array of 4"),
    "newer version": (one_message(2, 0, 0, 1, 0, "x"), "message version 2; this release speaks version 1"),
    "version 0": (one_message(0, 0, 0, 1, 0), "message version 0; this release speaks version 1"),
    "version true": (one_message(True, 0, 0, 1, 0), "message.version: expected an integer in 1..1, got True"),
    "version 1.0": (one_message(1.0, 0, 0, 1, 0), "message.version: .* got 1.0"),
    "group": (one_message(1, 1 << 32, 0, 1, 0), r"message.group: expected an integer in 0..2\^32-1"),
    "group below": (one_message(1, -1, 0, 1, 0), "message.group: .* got -1"),
    "group false": (one_message(1, False, 0, 1, 0), "message.group: .* got False"),
    "epoch": (one_message(1, 0, None, 1, 0), "message.epoch: .* got None"),
    "epoch above": (one_message(1, 0, 1 << 32, 1, 0), "message.epoch: "),
    "type": (one_message(1, 0, 0, "1", 0), "message.type: expected an integer in 1..255, got '1'"),
    "type true": (one_message(1, 0, 0, True, 0), "message.type: .* got True"),
    "type list": (one_message(1, 0, 0, [], 0), "message.type: .* got an array of 0"),
    "unknown type": (
        one_message(1, 0, 0, 77, 0),
        "unknown message type 77; known are 1 Ask, 2 Answer, 9 Note",
    ),
    "huge type": (one_message(1, 0, 0, (1 << 64) - 1, 0), "unknown message type 18446744073709551615"),
    "clock": (one_message(1, 0, 0, 1, 1 << 63), r"message.clock: expected an integer in 0..2\^63-1"),
    "clock float": (one_message(1, 0, 0, 1, 0.0), "message.clock: .* got 0.0"),
    "too few fields": (
        one_message(1, 0, 0, 1, 0, "x"),
        "Ask: expected an array of 2 fields, got an array of 1",
    ),
    "too many fields": (one_message(1, 0, 0, 1, 0, "x", [1, 1, 0], 0), "Ask: expected an array of 2 fields"),
    "a field": (
        one_message(1, 0, 0, 1, 0, "x", ["x", 1, 0]),
        r"^Ask.ballot.round: expected an integer in 0..2\^48-1, got 'x'$",
    ),
    "the last message": (
        cbor2.dumps([[1, 0, 0, 1, 0, "x", [1, 1, 0]], [1, 0, 0, 9, 0, 0, False, b"", []]]),
        r"^Note.node: expected a node id in 1..2\^31-1, got 0$",
    ),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_message_is_refused_and_named(name: str) -> None:
    body, expected = BAD_BODIES[name]
    with pytest.raises(WireError, match=expected):
        SAMPLES.decode(body)


def test_a_bug_in_unpacking_costs_the_connection_only() -> None:
    def unpack(fields: Sequence[Any]) -> Other:
        return Other(fields[0].upper())

    table = wire.MessageTable([a_type(1, Other, unpack=unpack)])
    with pytest.raises(
        wire.UnpackFailed, match="Other: AttributeError: 'int' object has no attribute"
    ) as caught:
        table.decode(one_message(1, 0, 0, 1, 0, 7))
    assert isinstance(caught.value, WireError)
    assert isinstance(caught.value.__cause__, AttributeError)


@attrs.frozen
class Framed:
    low: int
    high: int


class Slotted:
    __slots__ = ("left", "right")


def test_a_table_describes_itself() -> None:
    table = wire.MessageTable([a_type(7, Framed), a_type(8, Slotted)]) + SAMPLES
    assert table.describe().splitlines() == [
        "| number | message | fields | leaves |",
        "|---:|---|---|---|",
        "| 1 | `Ask` | name, ballot | at once |",
        "| 2 | `Answer` | name, ballot, accepted_ballot, accepted_value | when its writes are on disk |",
        "| 7 | `Framed` | low, high | at once |",
        "| 8 | `Slotted` | left, right | at once |",
        "| 9 | `Note` | node, urgent, text, counts | at once |",
    ]


def test_the_digest_tells_tables_apart() -> None:
    tables = [
        SAMPLES,
        SAMPLES + wire.MessageTable([a_type(5, Other)]),
        SAMPLES + wire.MessageTable([a_type(6, Other)]),
        SAMPLES + wire.MessageTable([a_type(6, Other, reports=True)]),
    ]
    assert len({table.digest() for table in tables}) == 4
    assert wire.MessageTable(reversed(SAMPLES.types)).digest() == SAMPLES.digest()
    assert len(SAMPLES.digest()) == 64


# --- records ----------------------------------------------------------------------------------------


@given(
    st.lists(st.none() | st.integers(0, 1 << 63) | st.binary(), max_size=4),
    st.integers(0, 255),
    st.integers(1, 9),
)
def test_a_record_comes_back(fields: list[Any], kind: int, version: int) -> None:
    record = wire.encode_record(kind, version, fields)
    assert wire.decode_record(record, kind, (version, 10), b"key") == fields
    assert wire.record_version(record, b"key") == version


def test_every_rotten_bit_is_found() -> None:
    record = wire.encode_record(2, 1, (Ballot(3, 2), b"value"))
    for bit in range(8 * len(record)):
        rotten = bytearray(record)
        rotten[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordError, match=r"^record b'key': is corrupted: .* checksum"):
            wire.decode_record(bytes(rotten), 2, (1,), b"key")
    for end in range(len(record)):
        with pytest.raises(RecordError, match=r"^record b'key': is corrupted"):
            wire.decode_record(record[:end], 2, (1,), b"key")


def checked(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big") + body


BAD_RECORDS = {
    "zeros": (bytes(64), "is corrupted"),
    "another kind": (wire.encode_record(3, 1, ()), "is of kind 3, expected kind 2"),
    "a newer version": (
        wire.encode_record(2, 4, ()),
        "has layout version 4, this release reads 1, 2; a newer release wrote it",
    ),
    "a version between": (wire.encode_record(2, 0, ()), "has layout version 0, this release reads 1, 2$"),
    "no version": (checked(b"\x81\x02"), "is no array of kind, version and fields"),
    "no array": (checked(b"\x02"), "is no array of kind, version and fields"),
    "kind of another type": (checked(b"\x82\x61a\x01"), "is no array of kind, version and fields"),
    "version true": (checked(b"\x82\x02\xf5"), "is no array of kind, version and fields"),
    "no CBOR": (checked(b"\x82\x02"), "malformed CBOR"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_bad_record_is_refused_and_named(name: str) -> None:
    record, expected = BAD_RECORDS[name]
    with pytest.raises(RecordError, match=f"^record b'key': .*{expected}"):
        wire.decode_record(record, 2, (1, 2), b"key")


def test_a_record_error_stays_short_and_a_bad_field_is_refused() -> None:
    with pytest.raises(RecordError) as caught:
        wire.decode_record(b"", 2, (1,), b"k" * 10_000)
    assert len(str(caught.value)) < 200
    with pytest.raises(RecordError, match="a record of kind 2: can not be encoded"):
        wire.encode_record(2, 1, (object(),))


# --- fuzz -------------------------------------------------------------------------------------------


def test_fuzz() -> None:
    report = fuzz_wire.fuzz(20_000, seed=1)
    families = Counter(reason.split(" ")[0].split(".")[0] for reason in report.reasons.elements())
    assert report.inputs == sum(report.reasons.values()) == 20_000
    assert report.messages > 1000
    assert {"accepted", "waits", "malformed", "message", "unknown", "Answer:", "Answer"} <= set(families)


def test_fuzz_is_the_same_every_time() -> None:
    assert fuzz_wire.fuzz(300, seed=5).reasons == fuzz_wire.fuzz(300, seed=5).reasons


def test_fuzz_fails_on_any_other_exception(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def careless(body: bytes) -> list[wire.Envelope]:
        items: Any = cbor2.loads(body)
        return [wire.Envelope(0, 0, 0, Ask(name, Ballot(*ballot))) for _, _, _, _, _, name, ballot in items]

    monkeypatch.setattr(SAMPLES, "decode", careless)
    assert fuzz_wire.main(["--inputs", "1000", "--seed", "1"]) == 1
    assert "FAILED: input" in capsys.readouterr().err


def test_fuzz_fails_on_a_message_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAMPLES, "encode", lambda messages, **header: body_and_frame(FRESH))
    with pytest.raises(fuzz_wire.Failure, match="became Envelope"):
        fuzz_wire.check_again(fuzz_wire.tables()[0], wire.Envelope(0, 0, 0, ASK))


def body_and_frame(message: object) -> bytes:
    return frame(one_message(1, 0, 0, 2, 0, "", [0, 1, 0], None, None)) if message is FRESH else b""


def test_hostile_sizes_take_little_memory() -> None:
    # In a process of its own: the peak of this one is somebody else's.
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_wire", "--memory"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "peak memory grew by" in done.stdout
