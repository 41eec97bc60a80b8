"""Throws bytes at the wire format: whatever they are, the answer is messages or a WireError.

    python -m tests.fuzz_wire --inputs 1000000 --seed 1       bare and seeded: the same inputs every time
    python -m tests.fuzz_wire --memory                        hostile sizes: how much memory they can take

An input is a stream of bytes.  It goes the way a peer's bytes go: in pieces through a `FrameBuffer`, each
body through `MessageTable.decode`.  Any exception but WireError is a failure, and so is a message that does
not survive being encoded and decoded again; both print the stream in hexadecimal, and the exit code is 1.

To have another protocol's messages thrown about, add a line to `tables`.
"""

import argparse
import datetime
import decimal
import random
import re
import resource
import struct
import sys
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cbor2

from epaxos import messages as epaxos
from epaxos.values import pack_value as pack_epaxos_value
from fastpaxos import messages as fast
from fastpaxos.log import messages as fastlog
from multipaxos import messages as multi
from paxos import wire
from paxos.ballot import BOTTOM, Ballot
from paxos.basic import messages as basic
from paxos.basic.values import pack_value
from paxos.command import ALL, NOTHING, Command, Footprint, RequestId
from paxos.errors import WireError
from paxos.service import log_messages as log
from paxos.service.batches import Run, run_digests

MAX_BYTES = 1 << 20
MEMORY_BOUND_BYTES = 96 << 20

# --- sample messages: one field of every kind there is a check for -----------------------------------


class Ask(NamedTuple):
    name: str
    ballot: Ballot


class Answer(NamedTuple):
    name: str
    ballot: Ballot
    accepted_ballot: Ballot
    accepted_value: bytes | None


class Note(NamedTuple):
    node: int
    urgent: bool
    text: bytes
    counts: tuple[int, ...]


def _ask(fields: Sequence[object]) -> Ask:
    name, ballot = wire.expect_fields(fields, 2, "Ask")
    return Ask(wire.take_text(name, "Ask.name", 64), wire.take_ballot(ballot, "Ask.ballot"))


def _answer(fields: Sequence[object]) -> Answer:
    name, ballot, accepted_ballot, accepted_value = wire.expect_fields(fields, 4, "Answer")
    return Answer(
        wire.take_text(name, "Answer.name", 64),
        wire.take_ballot(ballot, "Answer.ballot"),
        wire.take_ballot_or_bottom(accepted_ballot, "Answer.accepted_ballot"),
        wire.take_optional_bytes(accepted_value, "Answer.accepted_value", 1 << 20),
    )


def _pack_answer(answer: Answer) -> tuple[object, ...]:
    name, ballot, accepted_ballot, accepted_value = answer
    return (name, ballot, wire.pack_ballot_or_bottom(accepted_ballot), accepted_value)


def _note(fields: Sequence[object]) -> Note:
    node, urgent, text, counts = wire.expect_fields(fields, 4, "Note")
    return Note(
        wire.take_node(node, "Note.node"),
        wire.take_bool(urgent, "Note.urgent"),
        wire.take_bytes(text, "Note.text", 1 << 20),
        tuple(
            wire.take_int(count, "Note.counts", -100, 100)
            for count in wire.take_list(counts, "Note.counts", 8)
        ),
    )


SAMPLES = wire.MessageTable(
    [
        wire.MessageType(1, Ask, reports=False, pack=tuple, unpack=_ask),
        wire.MessageType(2, Answer, reports=True, pack=_pack_answer, unpack=_answer),
        wire.MessageType(9, Note, reports=False, pack=tuple, unpack=_note),
    ]
)


def _a_ballot(draw: random.Random) -> Ballot:
    return Ballot(
        draw.choice((0, 1, 7, 70_000, 1 << 40)), draw.randrange(8), draw.choice((0, 0, 0, 1, 65_535))
    )


def _a_value(draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 5, 23, 24, 40, 300)))


def _a_sample(draw: random.Random) -> object:
    name = draw.choice(("", "leader", "größe", "k" * 64))
    match draw.randrange(3):
        case 0:
            return Ask(name, _a_ballot(draw))
        case 1:
            if draw.random() < 0.5:
                return Answer(name, _a_ballot(draw), BOTTOM, None)
            return Answer(name, _a_ballot(draw), _a_ballot(draw), _a_value(draw))
        case _:
            counts = tuple(draw.randrange(-100, 101) for _ in range(draw.randrange(9)))
            return Note(draw.choice((1, 300, wire.MAX_NODE)), draw.random() < 0.5, _a_value(draw), counts)


def _a_basic_message(draw: random.Random) -> object:
    decree, ballot, value = _a_value(draw), _a_ballot(draw), _a_value(draw)
    return draw.choice(
        (
            basic.Prepare(decree, ballot),
            basic.Promise(decree, ballot, BOTTOM, None),
            basic.Promise(decree, ballot.above(1), ballot, value),
            basic.Accept(decree, ballot, value),
            basic.Accepted(decree, ballot, value),
            basic.Nack(decree, ballot, ballot.above(3)),
            basic.Chosen(decree, ballot, value),
            basic.Forward(decree, value),
            basic.Ask(decree),
            basic.Reserved(ballot.round),
        )
    )


def _a_log_value(draw: random.Random) -> bytes:
    if draw.random() < 0.2:
        return b""
    request = RequestId(draw.randbytes(16), draw.randrange(3), draw.randrange(1, 1 << 40), draw.randbytes(8))
    return pack_value(Command(request, NOTHING, _a_value(draw)))


def _a_multipaxos_message(draw: random.Random) -> object:
    ballot, slot = _a_ballot(draw), draw.choice((1, 7, 70_000, multi.MAX_SLOT - 9))
    values = [_a_log_value(draw) for _ in range(draw.randrange(1, 4))]
    entries = tuple((slot + at, ballot, value) for at, value in enumerate(values))
    return draw.choice(
        (
            multi.Prepare(ballot, slot),
            multi.Promise(ballot, slot, entries, draw.choice((0, slot + 5)), slot - 1),
            multi.Accept(ballot, slot, values[0], slot - 1),
            multi.Accepted(ballot, ((slot, slot), (slot + 2, slot + 5))),
            multi.Nack(ballot, ballot.above(3)),
            multi.Heartbeat(ballot, draw.randrange(3), slot),
            multi.HeartbeatReply(ballot, 1, slot),
            multi.Fetch(slot, slot + 3),
            multi.Chosen(slot, tuple((ballot, value) for value in values)),
            multi.PreVote(ballot),
            multi.PreVoted(ballot, draw.random() < 0.5, draw.choice((None, ballot))),
            multi.TakeOver(ballot),
            multi.ReadIndex(3, slot),
            multi.ReadAt(3, slot, slot),
            multi.Reserved(ballot.round),
            multi.Release(ballot),
        )
    )


def _a_fastpaxos_message(draw: random.Random) -> object:
    decree, value = _a_value(draw), _a_value(draw)
    if draw.random() < 0.6:
        return _a_basic_message(draw)
    return draw.choice((fast.Propose(decree, value), fast.AnyValue(decree, _a_ballot(draw))))


def _a_fastlog_message(draw: random.Random) -> object:
    ballot, slot = _a_ballot(draw), draw.choice((1, 7, 70_000, fastlog.MAX_SLOT - 9))
    values = [_a_log_value(draw) for _ in range(draw.randrange(1, 4))]
    higher = ballot.above(1)
    entries = tuple((slot + at, ballot, value) for at, value in enumerate(values))
    return draw.choice(
        (
            fastlog.Propose(ballot, slot, values[0]),
            fastlog.Accept(ballot, slot, values[0]),
            fastlog.Voted(ballot, slot, values[0]),
            fastlog.Prepare(ballot, slot),
            fastlog.Promise(higher, slot, entries, draw.choice((0, slot + 5)), slot - 1),
            fastlog.Promise(higher, slot, (), 0, slot),
            fastlog.Recover(ballot, slot),
            fastlog.Report(higher, slot, ballot, values[0]),
            fastlog.Report(ballot, slot, BOTTOM, None),
            fastlog.Nack(ballot, higher),
            fastlog.Heartbeat(ballot, draw.randrange(3), slot - 1, slot),
            fastlog.HeartbeatReply(ballot, 1, slot, slot + 3),
            fastlog.Forward(ballot, values[0]),
            fastlog.Fetch(slot, slot + 3),
            fastlog.Chosen(slot, tuple((ballot, value) for value in values)),
            fastlog.PreVote(ballot),
            fastlog.PreVoted(ballot, draw.random() < 0.5, draw.choice((None, ballot))),
            fastlog.TakeOver(ballot),
            fastlog.ReadIndex(3, slot),
            fastlog.ReadAt(3, slot, slot),
            fastlog.Reserved(ballot.round),
        )
    )


def _an_epaxos_value(draw: random.Random) -> bytes:
    request = RequestId(draw.randbytes(16), draw.randrange(3), draw.randrange(1, 1 << 40), draw.randbytes(8))
    keys = [draw.randbytes(draw.randrange(5)) for _ in range(draw.randrange(4))]
    ranges = [(b"a", None)] if draw.random() < 0.1 else []
    footprint = Footprint.of(reads=keys[:1], writes=keys[1:], write_ranges=ranges)
    footprint = ALL if draw.random() < 0.1 else footprint
    return pack_epaxos_value(Command(request, footprint, _a_value(draw)))


def _an_epaxos_message(draw: random.Random) -> object:
    ballot, number = _a_ballot(draw), draw.choice((1, 7, 70_000, epaxos.MAX_NUMBER))
    value, deps = _an_epaxos_value(draw), (number, 0, 3)
    nothing = (0, 0, 0)
    return draw.choice(
        (
            epaxos.PreAccept(number, value, deps),
            epaxos.PreAcceptOK(number, deps),
            epaxos.Accept(1, number, ballot, False, deps, value),
            epaxos.Accept(1, number, ballot, True, nothing, None),
            epaxos.AcceptOK(1, number, ballot),
            epaxos.Commit(((1, number, False, deps), (2, number, True, nothing))),
            epaxos.Gossip(deps, nothing),
            epaxos.Ask(1, number, number),
            epaxos.Known(((1, number, False, deps, value), (2, number, True, nothing, None))),
            epaxos.Recover(1, number, ballot),
            epaxos.RecoverOK(1, number, ballot, BOTTOM, 1, False, deps, nothing, value),
            epaxos.RecoverOK(1, number, ballot, ballot, 2, True, nothing, None, None),
            epaxos.Validate(1, number, ballot, deps, value),
            epaxos.ValidateOK(1, number, ballot, False, ((2, number),)),
            epaxos.Waiting(1, number, 2),
            epaxos.Nack(1, number, ballot, ballot.above(3)),
            epaxos.Settled((number,)),
            epaxos.Reserved(number),
            epaxos.Written((number,)),
        )
    )


def _a_service_message(draw: random.Random) -> object:
    client, number = draw.randbytes(16), draw.choice((1, 9, 1 << 40))
    bodies = [_a_value(draw) for _ in range(draw.randrange(1, 4))]
    return draw.choice(
        (
            log.SubmitMany(Run(client, 0, number - 1, number, run_digests(bodies), bodies)),
            log.Results(client, number, bodies),
            log.Refused(client, number, len(bodies), draw.choice(list(log.RefusedKind)), "not now"),
            log.Query(number, draw.choice(list(log.Level)), bodies[0], bodies[-1]),
            log.QueryReply(number, 0, draw.choice((None, bodies[0])), ""),
            log.AskBirth(number),
            log.Birth(number, 7),
            log.Instruct(number, "transfer", 3),
            log.SnapshotOffer(number, 3, draw.randbytes(32)),
            log.SnapshotAsk(number, 2),
            log.SnapshotChunk(number, 2, draw.choice((None, bodies[0]))),
            log.SnapshotKept(number),
        )
    )


class Subject(NamedTuple):
    """A table to attack, and where valid messages of it come from."""

    name: str
    table: wire.MessageTable
    message: Callable[[random.Random], object]


def tables() -> list[Subject]:
    """Everything the fuzzer attacks, in turn."""
    return [
        Subject("samples", SAMPLES, _a_sample),
        Subject("paxos.basic", basic.MESSAGES, _a_basic_message),
        Subject("multipaxos", multi.MESSAGES, _a_multipaxos_message),
        Subject("fastpaxos", fast.MESSAGES, _a_fastpaxos_message),
        Subject("fastpaxos.log", fastlog.MESSAGES, _a_fastlog_message),
        Subject("epaxos", epaxos.MESSAGES, _an_epaxos_message),
        Subject("logs", log.LOG_MESSAGES, _a_service_message),
    ]


# --- inputs -----------------------------------------------------------------------------------------


def frame(body: bytes) -> bytes:
    """`body` with a length and checksum that fit, also where `encode_frame` would refuse."""
    return struct.pack(">II", len(body), zlib.crc32(body)) + body


def head(major: int, argument: int, size: int) -> bytes:
    """The head of a CBOR item with its argument in 1, 2, 4 or 8 bytes."""
    low = {1: 24, 2: 25, 4: 26, 8: 27}[size]
    return bytes([major << 5 | low]) + (argument % (1 << (8 * size))).to_bytes(size, "big")


def _valid_frames(subject: Subject, draw: random.Random) -> bytes:
    return subject.table.encode(
        [subject.message(draw) for _ in range(draw.choice((1, 1, 2, 5)))],
        group=draw.choice((0, 0, 3, wire.MAX_GROUP)),
        epoch=draw.choice((0, 0, 1, wire.MAX_EPOCH)),
        clock=draw.choice((0, 0, 12, wire.MAX_CLOCK)),
    )


def _valid_body(subject: Subject, draw: random.Random) -> bytes:
    return _valid_frames(subject, draw)[wire.FRAME_HEADER_BYTES :]


def _mutated(data: bytes, draw: random.Random) -> bytes:
    """One to three bytes flipped, overwritten, inserted, cut out, repeated; or an end cut off or added."""
    mutant = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(len(mutant) + 1)
        match draw.randrange(7):
            case 0 if at < len(mutant):
                mutant[at] ^= 1 << draw.randrange(8)
            case 1 if at < len(mutant):
                mutant[at] = draw.choice(
                    (0, 0x18, 0x1B, 0x3B, 0x5B, 0x7F, 0x80, 0x9B, 0x9F, 0xA1, 0xC2, 0xF5, 0xFF)
                )
            case 2:
                mutant[at:at] = draw.randbytes(draw.randrange(1, 4))
            case 3:
                del mutant[at : at + draw.randrange(1, 9)]
            case 4:
                mutant[at:at] = mutant[at : at + draw.randrange(1, 30)]
            case 5:
                del mutant[at:]
            case _:
                mutant += draw.randbytes(draw.randrange(1, 4))
    return bytes(mutant)


def _odd_value(draw: random.Random) -> object:
    """Something that a field is not likely to be."""
    return draw.choice(
        (
            *(None, True, False, 0, 1, -1, 24, 255, 256, 65_536, 1 << 31, 1 << 32, 1 << 47, 1 << 48, 1 << 63),
            *((1 << 64) - 1, -(1 << 63), -(1 << 64), 1 << 64, -(1 << 70), 1 << 2000),
            *(0.0, 1.0, -0.0, 1e308, float("inf"), float("nan"), cbor2.undefined, cbor2.CBORSimpleValue(99)),
            *(
                b"",
                b"x" * 70_000,
                "",
                "1",
                "x" * 2000,
                "\U0001f600" * 20,
                [],
                [[]],
                [1, 2, 3],
                [1, 2],
                {},
                {"a": 1},
            ),
            *({1: 2}, {b"k": []}, {(1, 2): 3}, cbor2.CBORTag(6, []), cbor2.CBORTag(258, [1, 1])),
            *(decimal.Decimal("1.5"), uuid.UUID(int=7), datetime.date(2000, 1, 1), frozenset((1, 2))),
            *(re.compile("a+"), [0] * 300, [[0]] * 40, {str(key): key for key in range(40)}),
        )
    )


def _odd_tree(value: object, draw: random.Random) -> object:
    """`value` with one place in it replaced by something odd, dropped, doubled or swapped."""
    if not isinstance(value, list) or not value or draw.random() < 0.1:
        return _odd_value(draw)
    tree: list[object] = list(value)
    at = draw.randrange(len(tree))
    match draw.randrange(8):
        case 0:
            del tree[at]
        case 1:
            tree.insert(at, _odd_value(draw))
        case 2:
            other = draw.randrange(len(tree))
            tree[at], tree[other] = tree[other], tree[at]
        case _:
            tree[at] = _odd_tree(tree[at], draw)
    return tree


def _hostile_item(draw: random.Random) -> bytes:
    """CBOR that asks for a lot, is deeper, tagged, endless, or of two minds."""
    huge = draw.choice((1 << 62, (1 << 64) - 1, 1 << 63, 1 << 32, (1 << 31) - 1, 100_000))
    deep = draw.choice((14, 15, 16, 17, 100, 10_000))
    match draw.randrange(10):
        case 0:
            return head(draw.randrange(2, 6), huge, 8) + draw.randbytes(draw.randrange(20))
        case 1:
            return draw.choice((b"\x81", b"\xa1\x61a", b"\xc6", b"\x82\x80", b"\xd8\x1c")) * deep + b"\x80"
        case 2:
            return head(6, draw.choice((draw.randrange(65_536), huge)), 8) + draw.choice(
                (b"\x00", b"\x41\x01", b"\x61a", b"\x82\x01\x02", b"\xa0")
            )
        case 3:  # integer keys that share a hash
            step = (1 << 61) - 1
            return b"\xa7" + b"".join(head(0, key * step, 8) + b"\x00" for key in range(1, 8))
        case 4:
            return b"\xa2\x61a\x01\x61a\x02"
        case 5:
            return draw.choice(
                (b"\x5f\x41a\xff", b"\x7f\x61a\xff", b"\x9f\x01\xff", b"\xbf\x61a\x01\xff", b"\xff")
            )
        case 6:
            return b"\x62\xc3\x28"
        case 7:
            return (
                bytes([draw.choice((0x1C, 0x1D, 0x3E, 0x5C, 0x7D, 0x9E, 0xBC, 0xDD, 0xFC, 0xF8))]) + b"\x01"
            )
        case 8:  # keys of collections
            return (
                b"\xa1"
                + draw.choice((b"\x80", b"\x81\x01", b"\xa0", b"\xa1\x61a\x01", b"\x01", b"\xf6"))
                + b"\x00"
            )
        case _:
            return head(4, 300, 2) + draw.choice((b"\x80", b"\xa0", b"\x01", b"\xf7", b"\x60")) * 300


def _hostile_body(subject: Subject, draw: random.Random) -> bytes:
    item = _hostile_item(draw)
    match draw.randrange(5):
        case 0:
            return item
        case 1:
            return b"\x81" + item
        case 2:  # as a field
            return b"\x81\x86\x01\x00\x00" + bytes([draw.choice((1, 2, 9))]) + b"\x00" + item
        case 3:  # after a valid body
            return _valid_body(subject, draw) + item
        case _:  # in the middle of a valid body
            body = _valid_body(subject, draw)
            at = draw.randrange(len(body))
            return body[:at] + item + body[at:]


def make_input(subject: Subject, draw: random.Random) -> bytes:
    """The next stream of bytes to throw."""
    match draw.randrange(16):
        case 0:
            return draw.randbytes(draw.randrange(120))
        case 1:
            return frame(draw.randbytes(draw.randrange(1, 120)))
        case 2:
            return _valid_frames(subject, draw) + _valid_frames(subject, draw)
        case 3:
            return _mutated(_valid_frames(subject, draw), draw)
        case 4:
            length = draw.choice((0, 1, 9, MAX_BYTES, MAX_BYTES + 1, 1 << 31, (1 << 32) - 1))
            return struct.pack(">II", length, draw.getrandbits(32)) + draw.randbytes(draw.randrange(30))
        case 5 | 6 | 7 | 8:
            return frame(_mutated(_valid_body(subject, draw), draw))
        case 9 | 10 | 11 | 12:
            tree = _odd_tree(cbor2.loads(_valid_body(subject, draw)), draw)
            return frame(cbor2.dumps(tree, value_sharing=draw.random() < 0.05))
        case _:
            return frame(_hostile_body(subject, draw))


# --- the check --------------------------------------------------------------------------------------


class Failure(Exception):
    """An input that the wire format did not answer as it must."""


def reason_of(error: WireError) -> str:
    """The error without what differs from input to input, for counting."""
    text = re.sub(r"(has checksum|got|not|known are|codec can't decode|from) .*", r"\1 ...", str(error))
    text = re.sub(r"b?'[^']*'|b?\"[^\"]*\"", "~", text)
    return re.sub(r"-?(0x)?\b[0-9][0-9a-f^]*\b", "#", text)[:90]


def run_one(subject: Subject, stream: bytes, cuts: Sequence[int]) -> tuple[int, str]:
    """Feed `stream` in pieces; how many messages came out, and why it ended if it did.

    Raises:
        Failure: an exception other than WireError, or a message that does not encode to itself.
    """
    buffer = wire.FrameBuffer(MAX_BYTES)
    accepted = 0
    try:
        for start, stop in zip((0, *cuts), (*cuts, len(stream)), strict=True):
            for body in buffer.feed(stream[start:stop]):
                envelopes = subject.table.decode(body)
                for envelope in envelopes:
                    check_again(subject, envelope)
                accepted += len(envelopes)
    except wire.UnpackFailed as error:
        raise Failure(f"an unpack function raised: {error}") from error
    except WireError as error:
        return accepted, reason_of(error)
    if buffer.pending > wire.FRAME_HEADER_BYTES + MAX_BYTES:
        raise Failure(f"{buffer.pending} bytes are kept")
    return accepted, "waits for the rest of a frame" if buffer.pending else ""


def check_again(subject: Subject, envelope: wire.Envelope) -> None:
    """What was decoded encodes to something that decodes to the same."""
    group, epoch, clock, message = envelope
    again = subject.table.encode([message], group=group, epoch=epoch, clock=clock)
    (body,) = wire.FrameBuffer().feed(again)
    (second,) = subject.table.decode(body)
    if second != envelope or type(second.message) is not type(message):
        raise Failure(f"{envelope!r:.500} became {second!r:.500}")


class Report(NamedTuple):
    """What a run saw."""

    inputs: int
    messages: int
    reasons: Counter[str]
    seconds: float


def fuzz(inputs: int, seed: int, progress: Callable[[int], None] | None = None) -> Report:
    """Throw `inputs` streams. The same seed throws the same.

    Raises:
        Failure: with the subject's name and the stream in hexadecimal.
    """
    draw = random.Random(seed)
    subjects = tables()
    reasons: Counter[str] = Counter()
    messages = 0
    began = time.perf_counter()
    for number in range(inputs):
        subject = subjects[number % len(subjects)]
        stream = make_input(subject, draw)
        cuts = sorted(draw.randrange(len(stream) + 1) for _ in range(draw.choice((0, 0, 1, 3))))
        try:
            accepted, reason = run_one(subject, stream, cuts)
        except Exception as error:
            raise Failure(
                f"input {number} of seed {seed} ({subject.name}): {type(error).__name__}: {error!s:.1000}\n"
                f"cut at {cuts}: {stream.hex()}"
            ) from error
        messages += accepted
        reasons[reason or "accepted"] += 1
        if progress is not None and number % 10_000 == 0:
            progress(number)
    return Report(inputs, messages, reasons, time.perf_counter() - began)


# --- hostile sizes ----------------------------------------------------------------------------------


def hostile_sizes() -> Iterator[tuple[str, Iterator[bytes]]]:
    """Streams that would like a lot of memory, as the reads that bring them."""
    bound = wire.MAX_FRAME_BYTES
    for major, name in ((2, "byte string"), (3, "text"), (4, "array"), (5, "map")):
        for size in (1 << 62, (1 << 64) - 1, 1 << 40, (1 << 31) - 1):
            yield f"{name} of {size} items declared", iter([frame(b"\x81" + head(major, size, 8) + b"\x01")])
    yield "frame of 2^32-1 bytes declared", iter([b"\xff\xff\xff\xff" + bytes(1 << 20)])
    for item in (b"\x80", b"\xa0", b"\x81" * 14 + b"\x80", b"\xf9\x7e\x00", b"\xe0", b"\x1b" + b"\x7f" * 8):
        repeated = item * ((bound - 9) // len(item))
        count = len(repeated) // len(item)
        yield f"{count} times {item.hex()}", iter([frame(head(4, count, 8) + repeated)])
        count = (wire.MAX_ITEMS - 16) // len(item)  # as much as passes uncounted
        yield f"{count} times {item.hex()}", iter([frame(head(4, count, 8) + item * count)])
    keys = b"".join(b"\x63" + b"%03d" % (key % 1000) + b"\x00" for key in range(1000))
    yield "maps", iter([frame(head(4, 256, 2) + (head(5, 1000, 2) + keys) * 50)])
    text = "\N{GRINNING FACE}".encode() * ((bound - 30) // 4)
    yield "text of wide characters", iter([frame(b"\x81" + head(3, len(text), 8) + text)])
    whole = frame(b"\x81" + head(2, bound - 20, 8) + bytes(bound - 20))
    yield "one large frame, 100 bytes a read", (whole[at : at + 100] for at in range(0, len(whole), 100))
    yield "nesting of 8 million", iter([frame(b"\x81" * (bound - 8))])
    yield "tags of 8 million", iter([frame(b"\xc6" * (bound - 8))])


def peak_bytes() -> int:
    """The most memory this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: Linux has a new program's figure begin at the one of the process that started it.
        (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(peak) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_memory() -> int:
    """Feed every hostile size; how much the process's peak grew, in bytes."""
    began = peak_bytes()
    for name, reads in hostile_sizes():
        before = peak_bytes()
        buffer = wire.FrameBuffer()
        outcome = "accepted"
        try:
            for data in reads:
                for body in buffer.feed(data):
                    SAMPLES.decode(body)
        except WireError as error:
            outcome = f"{error!s:.70}"
        print(f"{(peak_bytes() - before) >> 10:8,} KiB more for {name}: {outcome}", file=sys.stderr)
    return peak_bytes() - began


# --- the command ------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_wire", description="Fuzz the wire format.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many streams to throw")
    parser.add_argument("--seed", type=int, default=1, help="the same seed throws the same streams")
    parser.add_argument(
        "--memory", action="store_true", help="measure the memory that hostile sizes take instead"
    )
    options: Any = parser.parse_args(arguments)
    if options.memory:
        grown = measure_memory()
        print(f"peak memory grew by {grown / (1 << 20):.1f} MiB; the bound is {MEMORY_BOUND_BYTES >> 20} MiB")
        # Less than the one large frame that was fed means that the measure is blind.
        return int(not wire.MAX_FRAME_BYTES < grown <= MEMORY_BOUND_BYTES)

    def progress(done: int) -> None:
        end = "\r" if sys.stderr.isatty() else "\n"
        if sys.stderr.isatty() or done % 100_000 == 0:
            print(f"{done:,} of {options.inputs:,} inputs", end=end, file=sys.stderr, flush=True)

    try:
        report = fuzz(options.inputs, options.seed, progress)
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    for reason, count in report.reasons.most_common():
        print(f"{count:10,}  {reason}")
    print(
        f"{report.inputs:,} inputs of seed {options.seed} in {report.seconds:.1f} s, "
        f"{report.inputs / report.seconds:,.0f} a second; {report.reasons['accepted']:,} accepted whole, "
        f"{report.messages:,} messages decoded"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
