"""The messages around a log: their bytes, every field's type and range, and who waits for the disk."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.command import MAX_COMMAND_BYTES
from paxos.errors import WireError
from paxos.service.batches import MAX_RUN, take_run
from paxos.service.log_messages import (
    CHUNK_BYTES,
    LOG_MESSAGES,
    MAX_CHUNKS,
    AskBirth,
    Birth,
    CancelQuery,
    Instruct,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
    Results,
    SnapshotAsk,
    SnapshotChunk,
    SnapshotKept,
    SnapshotOffer,
    SubmitMany,
)
from paxos.service.sessions import MAX_RESULT_BYTES
from paxos.wire import FRAME_HEADER_BYTES, MAX_NODE, dumps

C16, D32 = b"c" * 16, b"d" * 32
TOP = (1 << 62) - 1
RUN = take_run(C16, 1, 2, 3, [b"x", b"yz"])

# Of each message one, its number, and its fields as they travel.
GOLDEN: dict[str, tuple[Any, str]] = {
    "SubmitMany": (SubmitMany(RUN), "81 8a 01 00 00 18dc 00 50" + C16.hex() + "01 02 03 82 4178 42797a"),
    "Results": (Results(C16, 3, [b"x", b""]), "81 88 01 00 00 18dd 00 50" + C16.hex() + "03 82 4178 40"),
    "Refused": (
        Refused(C16, 3, 2, RefusedKind.UNKNOWN, "why"),
        "81 8a 01 00 00 18de 00 50" + C16.hex() + "03 02 02 63776879",
    ),
    "Query": (Query(1, 2, b"q", b"k"), "81 89 01 00 00 18df 00 01 02 4171 416b"),
    "QueryReply": (QueryReply(1, 0, b"r", ""), "81 89 01 00 00 18e0 00 01 00 4172 60"),
    "AskBirth": (AskBirth(1), "81 86 01 00 00 18e1 00 01"),
    "Birth": (Birth(1, 2), "81 87 01 00 00 18e2 00 01 02"),
    "Instruct": (Instruct(1, "transfer", 2), "81 88 01 00 00 18e3 00 01 687472616e73666572 02"),
    "CancelQuery": (CancelQuery(1), "81 86 01 00 00 18e4 00 01"),
    "SnapshotOffer": (SnapshotOffer(1, 2, D32), "81 88 01 00 00 18e6 00 01 02 5820" + D32.hex()),
    "SnapshotAsk": (SnapshotAsk(1, 2), "81 87 01 00 00 18e7 00 01 02"),
    "SnapshotChunk": (SnapshotChunk(1, 2, b"x"), "81 88 01 00 00 18e8 00 01 02 4178"),
    "SnapshotKept": (SnapshotKept(1), "81 86 01 00 00 18e9 00 01"),
}


def body_of(message: object) -> bytes:
    return LOG_MESSAGES.encode([message])[FRAME_HEADER_BYTES:]


def come(number: int, *fields: object) -> Any:
    """What comes of these fields under this number."""
    (envelope,) = LOG_MESSAGES.decode(dumps([[1, 0, 0, number, 0, *fields]]))
    return envelope.message


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bytes_are_these(name: str) -> None:
    message, data = GOLDEN[name]
    assert body_of(message).hex() == data.replace(" ", "")
    (envelope,) = LOG_MESSAGES.decode(bytes.fromhex(data))
    assert envelope.message == message
    assert type(envelope.message) is type(message)


def test_every_message_is_among_them() -> None:
    assert [one.name for one in LOG_MESSAGES] == list(GOLDEN)


def test_only_what_a_node_tells_itself_waits_for_the_disk() -> None:
    assert LOG_MESSAGES.reporting == {SnapshotKept}


# --- every field ------------------------------------------------------------------------------------

NUMBER: list[object] = [-1, TOP + 1, True, 1.0, None, "1", b"1", [1]]
CLIENT: list[object] = [C16[1:], C16 + b"c", "c" * 16, None, 5]
TEXT: list[object] = ["x" * 4097, b"why", None, 5]

# Under each number: the fields as they may be, and for each of them what it may not be.
FIELDS: dict[int, list[tuple[str, object, list[object]]]] = {
    220: [
        ("client", C16, CLIENT),
        ("birth", 0, NUMBER),
        ("acknowledged", TOP, NUMBER),
        ("sequence", TOP, [*NUMBER, 0]),
        ("bod", [b""], [[], [b""] * (MAX_RUN + 1), ["x"], [bytes(MAX_COMMAND_BYTES + 1)], b"x", None, {}]),
    ],
    221: [
        ("client", C16, CLIENT),
        ("sequence", TOP, NUMBER),
        (
            "result",
            [b""],
            [[], [b""] * (MAX_RUN + 1), ["x"], [b"", None], [bytes(MAX_RESULT_BYTES + 1)], b"x", {}],
        ),
    ],
    222: [
        ("client", C16, CLIENT),
        ("sequence", 0, NUMBER),
        ("requests", MAX_RUN, [0, MAX_RUN + 1, True, 1.0, None]),
        ("kind", 1, [0, 8, -1, True, 1.0, None, "1"]),
        ("detail", "", TEXT),
    ],
    223: [
        ("sequence", 0, NUMBER),
        ("level", 3, [4, -1, True, None, 0.0]),
        ("body", b"", [bytes(MAX_COMMAND_BYTES + 1), "x", None, []]),
        ("known", b"", [bytes(MAX_RESULT_BYTES + 1), "x", None, []]),
    ],
    224: [
        ("sequence", 0, NUMBER),
        ("kind", 6, [8, -1, True, None, 0.0]),
        ("result", None, [bytes(MAX_RESULT_BYTES + 1), "x", 0, []]),
        ("detail", "x" * 4096, TEXT),
    ],
    225: [("sequence", TOP, NUMBER)],
    226: [("sequence", TOP, NUMBER), ("markers", TOP, NUMBER)],
    227: [
        ("sequence", 0, NUMBER),
        ("action", "x" * 64, ["x" * 65, b"x", None]),
        ("node", MAX_NODE, [0, MAX_NODE + 1, True, None, "1"]),
    ],
    228: [("sequence", TOP, NUMBER)],
    230: [
        ("number", TOP, NUMBER),
        ("chunks", MAX_CHUNKS, [0, MAX_CHUNKS + 1, True, None]),
        ("digest", D32, [D32[1:], D32 + b"d", "d" * 32, None]),
    ],
    231: [("number", TOP, NUMBER), ("piece", MAX_CHUNKS, [-1, MAX_CHUNKS + 1, True, None])],
    232: [
        ("number", TOP, NUMBER),
        ("piece", 0, [-1, MAX_CHUNKS + 1, True, None]),
        ("data", None, [bytes(CHUNK_BYTES + 1), "x", 0, []]),
    ],
    233: [("number", TOP, NUMBER)],
}


def test_the_fields_of_every_message_are_looked_at() -> None:
    assert list(FIELDS) == [one.number for one in LOG_MESSAGES]


@pytest.mark.parametrize("number", FIELDS)
def test_a_field_of_another_type_or_out_of_range_is_refused_by_name(number: int) -> None:
    fields = [good for _, good, _ in FIELDS[number]]
    come(number, *fields)
    for index, (field, _, bad) in enumerate(FIELDS[number]):
        assert bad
        for value in bad:
            with pytest.raises(WireError, match=rf"[.]{field}[a-z]*: "):
                come(number, *fields[:index], value, *fields[index + 1 :])


@pytest.mark.parametrize("number", FIELDS)
def test_a_field_too_many_or_too_few_is_refused(number: int) -> None:
    fields = [good for _, good, _ in FIELDS[number]]
    for wrong in ([*fields, 0], fields[:-1]):
        with pytest.raises(WireError, match=rf"expected an array of {len(fields)} fields"):
            come(number, *wrong)


@given(
    st.sampled_from(sorted(FIELDS)), st.lists(st.none() | st.integers() | st.binary() | st.text(), max_size=6)
)
def test_no_fields_raise_anything_else(number: int, fields: list[object]) -> None:
    try:
        message = come(number, *fields)
    except WireError:
        return
    assert come(number, *LOG_MESSAGES.types[list(FIELDS).index(number)].pack(message)) == message


def test_digests_are_the_nodes_own_and_not_the_clients() -> None:
    assert come(220, C16, 1, 2, 3, [b"x", b"yz"]).run.digests == RUN.digests
