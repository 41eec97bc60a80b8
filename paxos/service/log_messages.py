"""What travels around a log: requests of clients in runs, queries, and snapshots between nodes.

A request here is named by its client and a number.  What a node answers names both, so that an answer
never reaches another question than its own, however the connection between them changes.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from paxos.ballot import NodeId
from paxos.command import MAX_COMMAND_BYTES
from paxos.errors import WireError
from paxos.service.batches import MAX_RUN, Run, take_run
from paxos.service.sessions import MAX_RESULT_BYTES
from paxos.wire import (
    MessageTable,
    MessageType,
    expect_fields,
    take_bytes,
    take_int,
    take_list,
    take_node,
    take_optional_bytes,
    take_text,
)

__all__ = [
    "CHUNK_BYTES",
    "LOG_MESSAGES",
    "MAX_CHUNKS",
    "AskBirth",
    "Birth",
    "CancelQuery",
    "Instruct",
    "Level",
    "Query",
    "QueryReply",
    "Refused",
    "RefusedKind",
    "Results",
    "SnapshotAsk",
    "SnapshotChunk",
    "SnapshotKept",
    "SnapshotOffer",
    "SubmitMany",
]

#: The most bytes of a snapshot in one piece.
CHUNK_BYTES: Final = 1 << 17
#: The most pieces of one snapshot: 128 GiB.
MAX_CHUNKS: Final = 1 << 20

_CLIENT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32
_MAX_NUMBER: Final = (1 << 62) - 1
_MAX_DETAIL_BYTES: Final = 4096
_MAX_ACTION_BYTES: Final = 64


class Level(IntEnum):
    """How fresh the answer to a query is."""

    LINEARIZABLE = 0  # reflects everything that was acknowledged before the query was asked
    STALE = 1  # reflects what this node has applied
    NEWS = 2  # as STALE, but given only when it differs from what the client knows
    BACKUP = 3  # asks for no answer of the machine, but for the whole state, LINEARIZABLE, in pieces


class RefusedKind(IntEnum):
    """Why requests have no result."""

    REJECTED = 1  # this attempt was certainly not carried out
    UNKNOWN = 2  # it may have been, or may still be
    REDIRECT = 3  # another node takes it
    EXPIRED = 4  # not carried out: the client is forgotten; a new one can ask anew
    APPLIED = 5  # it was carried out; its result is not kept: it was acknowledged, or is too long
    WRONG = 6  # no node of this cluster ever takes it
    NEVER = 7  # this attempt was certainly not carried out, and no other one would be either


class SubmitMany(NamedTuple):
    """A client asks for consecutive requests to be carried out. A node fills in their digests."""

    run: Run


class Results(NamedTuple):
    """Results of consecutive requests of one client."""

    client: bytes
    sequence: int
    results: Sequence[bytes]


class Refused(NamedTuple):
    """Why consecutive requests of one client have no result; `detail` of a REDIRECT is a node's id."""

    client: bytes
    sequence: int
    requests: int
    kind: int
    detail: str


class Query(NamedTuple):
    """A client asks something that changes nothing. `known`: the answer that is no news."""

    sequence: int
    level: int
    body: bytes
    known: bytes = b""


class QueryReply(NamedTuple):
    """The end of a query or an instruction: `kind` is 0 for an answer, else a `RefusedKind`."""

    sequence: int
    kind: int
    result: bytes | None
    detail: str


class CancelQuery(NamedTuple):
    """A client no longer waits for the answer to a query."""

    sequence: int


class AskBirth(NamedTuple):
    """A client that is new asks how many markers there were."""

    sequence: int


class Birth(NamedTuple):
    """So many, as far as this node knows."""

    sequence: int
    markers: int


class Instruct(NamedTuple):
    """An operator wants something of the protocol."""

    sequence: int
    action: str
    node: NodeId


class SnapshotOffer(NamedTuple):
    """A node has a snapshot for one that lags behind: its number, its length in pieces, its digest."""

    number: int
    chunks: int
    digest: bytes


class SnapshotAsk(NamedTuple):
    """The one that lags behind asks for a piece."""

    number: int
    piece: int


class SnapshotChunk(NamedTuple):
    """The piece; None when that snapshot is gone, and a newer one will be offered."""

    number: int
    piece: int
    data: bytes | None


class SnapshotKept(NamedTuple):
    """A node to itself, and to those it was sent by: this snapshot is on disk."""

    number: int


def _number(value: object, where: str) -> int:
    return take_int(value, where, 0, _MAX_NUMBER)


def _client(value: object, where: str) -> bytes:
    client = take_bytes(value, where, _CLIENT_BYTES)
    if len(client) != _CLIENT_BYTES:
        raise WireError(f"{where}: expected {_CLIENT_BYTES} bytes")
    return client


def _pack_submit_many(message: SubmitMany) -> tuple[object, ...]:
    client, birth, acknowledged, sequence, _, bodies = message.run
    return (client, birth, acknowledged, sequence, bodies)


def _submit_many(fields: Sequence[object]) -> SubmitMany:
    return SubmitMany(take_run(*expect_fields(fields, 5, "SubmitMany")))


def _results(fields: Sequence[object]) -> Results:
    client, sequence, results = expect_fields(fields, 3, "Results")
    taken = take_list(results, "Results.results", MAX_RUN)
    if not taken or set(map(type, taken)) != {bytes} or max(map(len, taken)) > MAX_RESULT_BYTES:
        for result in taken:
            take_bytes(result, "Results.result", MAX_RESULT_BYTES)
        if not taken:
            raise WireError("Results.results: is empty")
    return Results(_client(client, "Results.client"), _number(sequence, "Results.sequence"), taken)


def _refused(fields: Sequence[object]) -> Refused:
    client, sequence, requests, kind, detail = expect_fields(fields, 5, "Refused")
    return Refused(
        _client(client, "Refused.client"),
        _number(sequence, "Refused.sequence"),
        take_int(requests, "Refused.requests", 1, MAX_RUN),
        take_int(kind, "Refused.kind", 1, max(RefusedKind)),
        take_text(detail, "Refused.detail", _MAX_DETAIL_BYTES),
    )


def _query(fields: Sequence[object]) -> Query:
    sequence, level, body, known = expect_fields(fields, 4, "Query")
    return Query(
        _number(sequence, "Query.sequence"),
        take_int(level, "Query.level", 0, max(Level)),
        take_bytes(body, "Query.body", MAX_COMMAND_BYTES),
        take_bytes(known, "Query.known", MAX_RESULT_BYTES),
    )


def _query_reply(fields: Sequence[object]) -> QueryReply:
    sequence, kind, result, detail = expect_fields(fields, 4, "QueryReply")
    return QueryReply(
        _number(sequence, "QueryReply.sequence"),
        take_int(kind, "QueryReply.kind", 0, max(RefusedKind)),
        take_optional_bytes(result, "QueryReply.result", MAX_RESULT_BYTES),
        take_text(detail, "QueryReply.detail", _MAX_DETAIL_BYTES),
    )


def _cancel_query(fields: Sequence[object]) -> CancelQuery:
    (sequence,) = expect_fields(fields, 1, "CancelQuery")
    return CancelQuery(_number(sequence, "CancelQuery.sequence"))


def _ask_birth(fields: Sequence[object]) -> AskBirth:
    (sequence,) = expect_fields(fields, 1, "AskBirth")
    return AskBirth(_number(sequence, "AskBirth.sequence"))


def _birth(fields: Sequence[object]) -> Birth:
    sequence, markers = expect_fields(fields, 2, "Birth")
    return Birth(_number(sequence, "Birth.sequence"), _number(markers, "Birth.markers"))


def _instruct(fields: Sequence[object]) -> Instruct:
    sequence, action, node = expect_fields(fields, 3, "Instruct")
    return Instruct(
        _number(sequence, "Instruct.sequence"),
        take_text(action, "Instruct.action", _MAX_ACTION_BYTES),
        take_node(node, "Instruct.node"),
    )


def _offer(fields: Sequence[object]) -> SnapshotOffer:
    number, chunks, digest = expect_fields(fields, 3, "SnapshotOffer")
    if len(take_bytes(digest, "SnapshotOffer.digest", _DIGEST_BYTES)) != _DIGEST_BYTES:
        raise WireError(f"SnapshotOffer.digest: expected {_DIGEST_BYTES} bytes")
    return SnapshotOffer(
        _number(number, "SnapshotOffer.number"),
        take_int(chunks, "SnapshotOffer.chunks", 1, MAX_CHUNKS),
        digest,
    )


def _ask(fields: Sequence[object]) -> SnapshotAsk:
    number, piece = expect_fields(fields, 2, "SnapshotAsk")
    return SnapshotAsk(
        _number(number, "SnapshotAsk.number"), take_int(piece, "SnapshotAsk.piece", 0, MAX_CHUNKS)
    )


def _chunk(fields: Sequence[object]) -> SnapshotChunk:
    number, piece, data = expect_fields(fields, 3, "SnapshotChunk")
    return SnapshotChunk(
        _number(number, "SnapshotChunk.number"),
        take_int(piece, "SnapshotChunk.piece", 0, MAX_CHUNKS),
        take_optional_bytes(data, "SnapshotChunk.data", CHUNK_BYTES),
    )


def _kept(fields: Sequence[object]) -> SnapshotKept:
    (number,) = expect_fields(fields, 1, "SnapshotKept")
    return SnapshotKept(_number(number, "SnapshotKept.number"))


#: Only that a snapshot is on disk reports. Who lags behind votes on the strength of its own disk, after it
#: installed what it was sent, and of nothing that it was told.
LOG_MESSAGES: Final = MessageTable(
    (
        MessageType(220, SubmitMany, reports=False, pack=_pack_submit_many, unpack=_submit_many),
        MessageType(221, Results, reports=False, pack=tuple, unpack=_results),
        MessageType(222, Refused, reports=False, pack=tuple, unpack=_refused),
        MessageType(223, Query, reports=False, pack=tuple, unpack=_query),
        MessageType(224, QueryReply, reports=False, pack=tuple, unpack=_query_reply),
        MessageType(225, AskBirth, reports=False, pack=tuple, unpack=_ask_birth),
        MessageType(226, Birth, reports=False, pack=tuple, unpack=_birth),
        MessageType(227, Instruct, reports=False, pack=tuple, unpack=_instruct),
        MessageType(228, CancelQuery, reports=False, pack=tuple, unpack=_cancel_query),
        MessageType(230, SnapshotOffer, reports=False, pack=tuple, unpack=_offer),
        MessageType(231, SnapshotAsk, reports=False, pack=tuple, unpack=_ask),
        MessageType(232, SnapshotChunk, reports=False, pack=tuple, unpack=_chunk),
        MessageType(233, SnapshotKept, reports=True, pack=tuple, unpack=_kept),
    )
)
