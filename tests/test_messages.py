"""The messages of Basic Paxos and of the service: their bytes, their way back, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.ballot import BOTTOM, Ballot
from paxos.basic import (
    MESSAGES,
    Accept,
    Accepted,
    Ask,
    Chosen,
    Forward,
    Nack,
    Prepare,
    Promise,
    Reserved,
    protocol,
)
from paxos.basic.messages import MAX_ROUND
from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES, RequestId
from paxos.errors import WireError
from paxos.service import (
    SERVICE_MESSAGES,
    AskStatus,
    Cancel,
    Introduce,
    Introduced,
    LostDisk,
    Reply,
    StatusReply,
    Submit,
    message_table,
)
from paxos.service.messages import MAX_BODY_BYTES
from paxos.wire import FrameBuffer, dumps

TABLE = message_table(protocol)
B = Ballot(3, 2)
R = RequestId(b"c" * 16, 1, 2, b"d" * 8)
S = b"s" * 16

# What a release has put on the wire can not be changed by a later one: these bytes are the format.
GOLDEN: list[tuple[Any, str]] = [
    (Prepare(b"x", B), "0000000da9c954e881870100000100417883030200"),
    (Promise(b"x", B, BOTTOM, None), "0000000f8deca8ae81890100000200417883030200f6f6"),
    (Promise(b"x", B, Ballot(1, 1), b"v"), "00000013731a239881890100000200417883030200830101004176"),
    (Accept(b"x", B, b"v"), "0000000fb91d99b9818801000003004178830302004176"),
    (Accepted(b"x", B, b"v"), "0000000f5bc182c0818801000004004178830302004176"),
    (Nack(b"x", B, Ballot(4, 1)), "00000011801a9be18188010000050041788303020083040100"),
    (Chosen(b"x", B, b"v"), "0000000f5f3452fd818801000006004178830302004176"),
    (Forward(b"x", b"v"), "0000000bfa01c1cd8187010000070041784176"),
    (Ask(b"x"), "00000009d60c28ee818601000008004178"),
    (Reserved(1025), "0000000a3e247c0e81860100000900190401"),
    (
        Submit(R, b"body"),
        "0000002a2c4b2ca6818701000018c800845063636363636363636363636363636363010248646464646464646444626f6479",
    ),
    (Cancel(R), "000000257ea55041818601000018c9008450636363636363636363636363636363630102486464646464646464"),
    (
        Reply(R, 0, b"v", ""),
        "00000029448fce0d818901000018ca00845063636363636363636363636363636363010248646464646464646400417660",
    ),
    (
        Reply(R, 1, None, "no"),
        "0000002a49931986818901000018ca00845063636363636363636363636363636363010248646464646464646401f6626e6f",
    ),
    (AskStatus(7), "0000000932371439818601000018cb0007"),
    (StatusReply(7, b"{}"), "0000000c0f026e0f818701000018cc0007427b7d"),
    (Introduce(S), "00000019be3f97ab818601000018d2005073737373737373737373737373737373"),
    (Introduced(S), "0000001969dd17f3818601000018d3005073737373737373737373737373737373"),
    (LostDisk(S), "0000001923e39cb8818601000018d4005073737373737373737373737373737373"),
]

_DECREE_FIRST = (Prepare, Promise, Accept, Accepted, Nack, Chosen, Forward, Ask)
_BALLOT_SECOND = (Prepare, Promise, Accept, Accepted, Nack, Chosen)
_VALUE_LAST = (Accept, Accepted, Chosen, Forward)
_REQUEST_FIRST = (Submit, Cancel, Reply)
_STORE_ONLY = (Introduce, Introduced, LostDisk)
_BAD_BALLOTS = [
    None,
    [3, 2],
    [3, 2, 0, 0],
    [-1, 0, 0],
    [3, True, 0],
    [3.0, 2, 0],
    ["3", 2, 0],
    [1 << 48, 2, 0],
    [3, 1 << 31, 0],
    [3, 2, 1 << 16],
]
_BAD_BYTES = [None, "x", 7, [b"x"]]


def body(number: int, *fields: object) -> bytes:
    """A frame's body of one message, whatever its fields."""
    return dumps([[1, 0, 0, number, 0, *fields]])


def packed(message: Any) -> tuple[int, list[Any]]:
    kind = next(kind for kind in TABLE if kind.type is type(message))
    return kind.number, list(kind.pack(message))


@pytest.mark.parametrize(("message", "frame"), GOLDEN, ids=lambda value: type(value).__name__)
def test_a_message_has_these_bytes(message: Any, frame: str) -> None:
    assert TABLE.encode([message]).hex() == frame
    [envelope] = TABLE.decode(FrameBuffer().feed(bytes.fromhex(frame))[0])
    assert (type(envelope.message), envelope.message) == (type(message), message)
    for field in envelope.message:
        assert type(field) in (bytes, Ballot, int, str, type(None), RequestId)


def test_every_message_has_its_bytes_written_down() -> None:
    assert {type(message) for message, _ in GOLDEN} == {kind.type for kind in TABLE}
    assert len(TABLE) == len(MESSAGES) + len(SERVICE_MESSAGES) == 17


def test_what_waits_for_the_disk_is_what_somebody_counts() -> None:
    assert TABLE.reporting == {Promise, Accepted, Reserved, Introduced}


def _wrong() -> list[tuple[str, bytes]]:
    cases = []
    for message in {type(each): each for each, _ in GOLDEN}.values():
        number, fields = packed(message)
        name = type(message).__name__

        def put(place: int, value: object, number: int = number, fields: list[Any] = fields) -> bytes:
            return body(number, *fields[:place], value, *fields[place + 1 :])

        cases += [(name, body(number, *fields[:-1])), (name, body(number, *fields, 0))]
        if isinstance(message, _DECREE_FIRST):
            cases += [(f"{name}.decree", put(0, bad)) for bad in (*_BAD_BYTES, b"x" * (MAX_KEY_BYTES + 1))]
        if isinstance(message, _BALLOT_SECOND):
            cases += [(f"{name}.ballot", put(1, bad)) for bad in _BAD_BALLOTS]
        if isinstance(message, _VALUE_LAST):
            long = bytes(MAX_COMMAND_BYTES + 1)
            cases += [(f"{name}.value", put(len(fields) - 1, bad)) for bad in (*_BAD_BYTES, long)]
        if isinstance(message, _REQUEST_FIRST):
            for bad in (
                None,
                [],
                [b"c" * 15, 1, 2, b"d" * 8],
                [b"c" * 16, -1, 2, b"d" * 8],
                [b"c" * 16, 1, 2, b""],
            ):
                cases.append((f"{name}.request", put(0, bad)))
        if isinstance(message, _STORE_ONLY):
            cases += [(f"{name}.store_id", put(0, bad)) for bad in (*_BAD_BYTES, b"s" * 15, b"s" * 17)]
    return cases


@pytest.mark.parametrize(("named", "bad"), _wrong())
def test_a_field_that_is_wrong_is_named(named: str, bad: bytes) -> None:
    with pytest.raises(WireError, match=named):
        TABLE.decode(bad)


@pytest.mark.parametrize(
    ("named", "bad"),
    [
        ("Promise.accepted_ballot", body(2, b"x", B, [1], b"v")),
        ("Promise.accepted_value", body(2, b"x", B, [1, 1, 0], "v")),
        ("Promise: a vote has both", body(2, b"x", B, [1, 1, 0], None)),
        ("Promise: a vote has both", body(2, b"x", B, None, b"v")),
        ("Promise: reports a vote at or above", body(2, b"x", B, B, b"v")),
        ("Promise: reports a vote at or above", body(2, b"x", B, [3, 3, 0], b"v")),
        ("Nack.promised", body(5, b"x", B, None)),
        ("Nack.promised", body(5, b"x", B, [1])),
        ("Reserved.round", body(9, -1)),
        ("Reserved.round", body(9, MAX_ROUND + 1)),
        ("Reserved.round", body(9, True)),
        ("Reserved.round", body(9, 1.0)),
        ("Submit.body", body(200, R, "body")),
        ("Submit.body", body(200, R, bytes(MAX_BODY_BYTES + 1))),
        ("Reply.kind", body(202, R, 5, None, "")),
        ("Reply.kind", body(202, R, -1, None, "")),
        ("Reply.kind", body(202, R, False, None, "")),
        ("Reply.result", body(202, R, 0, "v", "")),
        ("Reply.detail", body(202, R, 0, None, b"")),
        ("Reply.detail", body(202, R, 0, None, "\u20ac" * 1366)),
        ("AskStatus.sequence", body(203, -1)),
        ("AskStatus.sequence", body(203, 1 << 63)),
        ("StatusReply.sequence", body(204, None, b"{}")),
        ("StatusReply.body", body(204, 7, "{}")),
        ("StatusReply.body", body(204, 7, bytes((1 << 20) + 1))),
        ("unknown message type 10", body(10)),
        ("unknown message type 199", body(199, 1)),
    ],
)
def test_what_a_message_can_not_say_is_refused(named: str, bad: bytes) -> None:
    with pytest.raises(WireError, match=named):
        TABLE.decode(bad)


names = st.binary(max_size=12)
values = st.binary(max_size=40)
ballots = st.builds(
    Ballot, st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 31) - 1), st.integers(0, (1 << 16) - 1)
)
numbers = st.integers(0, (1 << 63) - 1)
request_ids = st.builds(
    RequestId, st.binary(min_size=16, max_size=16), numbers, numbers, st.binary(min_size=8, max_size=8)
)
stores = st.binary(min_size=16, max_size=16)
messages = st.one_of(
    st.builds(Prepare, names, ballots),
    st.builds(Promise, names, ballots, st.just(BOTTOM), st.none()),
    st.builds(Promise, names, ballots, ballots, values).filter(lambda m: m.accepted_ballot < m.ballot),
    st.builds(Accept, names, ballots, values),
    st.builds(Accepted, names, ballots, values),
    st.builds(Nack, names, ballots, ballots),
    st.builds(Chosen, names, ballots, values),
    st.builds(Forward, names, values),
    st.builds(Ask, names),
    st.builds(Reserved, st.integers(0, MAX_ROUND)),
    st.builds(Submit, request_ids, values),
    st.builds(Cancel, request_ids),
    st.builds(Reply, request_ids, st.integers(0, 3), st.none() | values, st.text(max_size=20)),
    st.builds(AskStatus, numbers),
    st.builds(StatusReply, numbers, values),
    st.builds(Introduce, stores),
    st.builds(Introduced, stores),
    st.builds(LostDisk, stores),
)


@given(st.lists(messages, min_size=1, max_size=5), st.integers(0, 9), st.integers(0, 9))
def test_messages_come_back_as_they_were(sent: list[Any], group: int, epoch: int) -> None:
    [one] = FrameBuffer().feed(TABLE.encode(sent, group=group, epoch=epoch))
    came = TABLE.decode(one)
    assert [(type(e.message), e.message) for e in came] == [(type(message), message) for message in sent]
    assert {(e.group, e.epoch) for e in came} == {(group, epoch)}
