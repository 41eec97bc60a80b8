"""The messages and records of the log of Fast Paxos: their bytes, their way back, and what is refused."""

from typing import Any

import pytest

from fastpaxos.log import MESSAGES, protocol
from fastpaxos.log.messages import (
    MAX_SLOT,
    Accept,
    Chosen,
    Fetch,
    Forward,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    PreVote,
    PreVoted,
    Promise,
    Propose,
    ReadAt,
    ReadIndex,
    Recover,
    Report,
    Reserved,
    TakeOver,
    Voted,
)
from fastpaxos.log.records import (
    COMPACTION_KEY,
    FLOOR_KEY,
    HINT_KEY,
    RESERVATION_KEY,
    SlotRecord,
    pack_compaction,
    pack_floor,
    pack_hint,
    pack_reservation,
    pack_slot,
    read_records,
    record_name,
    slot_key,
)
from fastpaxos.rounds import OPEN
from paxos.ballot import BOTTOM, Ballot
from paxos.basic.values import NOP_VALUE, pack_value
from paxos.command import NOTHING, Command, RequestId
from paxos.errors import RecordError, WireError
from paxos.wire import FrameBuffer

B, LOW = Ballot(3, 2, 1), Ballot(1, 1)
COMMAND = Command(RequestId(b"c" * 16, 1, 2, b"d" * 8), NOTHING, b"payload")
VALUE = pack_value(COMMAND)
SAMPLES = (
    Propose(OPEN, 1, VALUE),
    Accept(B, MAX_SLOT, NOP_VALUE),
    Voted(B, 7, VALUE),
    Prepare(B, 3),
    Promise(B, 3, ((3, LOW, VALUE), (5, OPEN, NOP_VALUE)), 6, 2),
    Recover(B, 4),
    Report(B, 4, LOW, VALUE),
    Report(B, 4, BOTTOM, None),
    Nack(LOW, B),
    Heartbeat(OPEN, 9, 8, 1),
    HeartbeatReply(B, 9, 8, 12),
    Forward(B, VALUE),
    Fetch(1, 5),
    Chosen(2, ((LOW, VALUE), (B, NOP_VALUE))),
    PreVote(B),
    PreVoted(B, True, None),
    PreVoted(B, False, LOW),
    TakeOver(B),
    ReadIndex(1, 2),
    ReadAt(1, 2, 3),
    Reserved(64),
)


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_went(message: Any) -> None:
    buffer = FrameBuffer()
    (body,) = buffer.feed(MESSAGES.encode([message]))
    (envelope,) = MESSAGES.decode(body)
    assert (type(envelope.message), envelope.message) == (type(message), message)


def test_every_message_has_a_sample_and_says_whether_it_reports() -> None:
    assert {type(message) for message in SAMPLES} == {each.type for each in MESSAGES}
    assert MESSAGES.reporting == {Voted, Promise, Report, Reserved}


@pytest.mark.parametrize(
    ("kind", "fields", "what"),
    [
        (Propose, [[0, 0, 0], 0, b""], "Propose.slot"),
        (Accept, [[0, 0, 0], 1, "text"], "Accept.value"),
        (Voted, [[0, 0], 1, b""], "Voted.ballot"),
        (Promise, [[1, 1, 0], 1, [[1, [1, 1, 0], b""]], 0, 0], "at or above its own ballot"),
        (Promise, [[1, 1, 0], 5, [[4, [0, 0, 0], b""]], 0, 0], "entry.slot"),
        (Promise, [[1, 1, 0], 5, [], 5, 0], "begins inside this one"),
        (Report, [[1, 1, 1], 1, [1, 1, 1], b""], "at or above its own ballot"),
        (Report, [[1, 1, 1], 1, [0, 0, 0], None], "for nothing"),
        (Report, [[1, 1, 1], 1, None, b""], "Report.vote"),
        (Fetch, [3, 2], "Fetch.last"),
        (Heartbeat, [[1, 1, 0], 1, -1, 1], "Heartbeat.committed"),
        (ReadAt, [1, 2], "ReadAt"),
    ],
)
def test_what_is_no_message_is_refused(kind: type, fields: list[Any], what: str) -> None:
    with pytest.raises(WireError, match=what):
        next(each for each in MESSAGES if each.type is kind).unpack(fields)


def test_records_come_back_and_are_named() -> None:
    records = {
        RESERVATION_KEY: pack_reservation(7),
        FLOOR_KEY: pack_floor(B),
        slot_key(3): pack_slot(B, LOW, VALUE, False),
        slot_key(4): pack_slot(BOTTOM, OPEN, NOP_VALUE, True),
        slot_key(9): pack_slot(B, BOTTOM, None, False),
        COMPACTION_KEY: pack_compaction(2),
        HINT_KEY: pack_hint(3),
    }
    found = read_records(records)
    assert (found.reserved, found.floor, found.compacted, found.hint) == (7, B, 2, 3)
    assert found.slots == {
        3: SlotRecord(B, LOW, VALUE, False),
        4: SlotRecord(BOTTOM, OPEN, NOP_VALUE, True),
        9: SlotRecord(B, BOTTOM, None, False),
    }
    assert all(record_name(key) for key in records)
    assert record_name(slot_key(3)) == "the promise and vote in slot 3"
    assert not record_name(b"zz")
    assert protocol.stored_log is not None
    log = protocol.stored_log(records)
    assert (log.promised, log.compacted, log.committed, log.size) == ("3.2.1", 2, 4, 2)
    assert [(entry.mark, entry.chosen) for entry in log.entries] == [(3, True), (4, True)]
    assert log.others["slots with a promise of their own"] == "2"


def test_a_damaged_record_is_named() -> None:
    with pytest.raises(RecordError, match="a vote without"):
        read_records({slot_key(1): pack_slot(B, LOW, None, False)})
    with pytest.raises(RecordError, match="record"):
        read_records({FLOOR_KEY: pack_floor(B)[:-1] + b"?"})
