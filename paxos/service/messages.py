"""What travels between clients and nodes, and between nodes to say who they are.

These messages are the same for every protocol and travel beside the protocol's own, in the same
frames.  Their numbers start at 200; protocols use the ones below.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES, RequestId, take_request_id
from paxos.errors import WireError
from paxos.wire import (
    MessageTable,
    MessageType,
    expect_fields,
    take_bytes,
    take_int,
    take_optional_bytes,
    take_text,
)

__all__ = [
    "MAX_BODY_BYTES",
    "SERVICE_MESSAGES",
    "AskStatus",
    "Cancel",
    "IdentityMessage",
    "Introduce",
    "Introduced",
    "LostDisk",
    "Reply",
    "ReplyKind",
    "StatusReply",
    "Submit",
]

#: The longest body of a request or reply: the longest command, its name, and what CBOR adds.
MAX_BODY_BYTES: Final = MAX_COMMAND_BYTES + MAX_KEY_BYTES + 64
_MAX_SEQUENCE: Final = (1 << 63) - 1
_MAX_DETAIL_BYTES: Final = 4096
_MAX_STATUS_BYTES: Final = 1 << 20
_STORE_ID_BYTES: Final = 16


class ReplyKind(IntEnum):
    """What became of a request."""

    DONE = 0
    REJECTED = 1
    UNKNOWN = 2
    REDIRECT = 3
    WRONG = 4  # no node of this cluster ever takes it


class Submit(NamedTuple):
    """A client asks: `body` is the machine's to understand."""

    request: RequestId
    body: bytes


class Cancel(NamedTuple):
    """A client no longer waits for this request. It may still be carried out."""

    request: RequestId


class Reply(NamedTuple):
    """The end of a request: `result` when DONE, a sentence in `detail` otherwise (REDIRECT: a node's id)."""

    request: RequestId
    kind: int
    result: bytes | None
    detail: str


class AskStatus(NamedTuple):
    """A client asks how the node does."""

    sequence: int


class StatusReply(NamedTuple):
    """How the node does: a JSON object."""

    sequence: int
    body: bytes


class Introduce(NamedTuple):
    """A node that has not voted yet tells a member which store it has."""

    store_id: bytes


class Introduced(NamedTuple):
    """The member knows that store, and durably. Counted like a vote."""

    store_id: bytes


class LostDisk(NamedTuple):
    """The member knows another store of that node: the node lost its disk, or is not who it says."""

    store_id: bytes


#: What nodes say of who they are.
IdentityMessage: TypeAlias = Introduce | Introduced | LostDisk


def _submit(fields: Sequence[object]) -> Submit:
    request, body = expect_fields(fields, 2, "Submit")
    return Submit(take_request_id(request, "Submit.request"), take_bytes(body, "Submit.body", MAX_BODY_BYTES))


def _cancel(fields: Sequence[object]) -> Cancel:
    (request,) = expect_fields(fields, 1, "Cancel")
    return Cancel(take_request_id(request, "Cancel.request"))


def _reply(fields: Sequence[object]) -> Reply:
    request, kind, result, detail = expect_fields(fields, 4, "Reply")
    return Reply(
        take_request_id(request, "Reply.request"),
        take_int(kind, "Reply.kind", 0, max(ReplyKind)),
        take_optional_bytes(result, "Reply.result", MAX_BODY_BYTES),
        take_text(detail, "Reply.detail", _MAX_DETAIL_BYTES),
    )


def _ask_status(fields: Sequence[object]) -> AskStatus:
    (sequence,) = expect_fields(fields, 1, "AskStatus")
    return AskStatus(take_int(sequence, "AskStatus.sequence", 0, _MAX_SEQUENCE))


def _status_reply(fields: Sequence[object]) -> StatusReply:
    sequence, body = expect_fields(fields, 2, "StatusReply")
    return StatusReply(
        take_int(sequence, "StatusReply.sequence", 0, _MAX_SEQUENCE),
        take_bytes(body, "StatusReply.body", _MAX_STATUS_BYTES),
    )


def _store_id(fields: Sequence[object], where: str) -> bytes:
    (store_id,) = expect_fields(fields, 1, where)
    if len(take_bytes(store_id, f"{where}.store_id", _STORE_ID_BYTES)) != _STORE_ID_BYTES:
        raise WireError(f"{where}.store_id: expected {_STORE_ID_BYTES} bytes")
    return bytes(store_id)


def _introduce(fields: Sequence[object]) -> Introduce:
    return Introduce(_store_id(fields, "Introduce"))


def _introduced(fields: Sequence[object]) -> Introduced:
    return Introduced(_store_id(fields, "Introduced"))


def _lost_disk(fields: Sequence[object]) -> LostDisk:
    return LostDisk(_store_id(fields, "LostDisk"))


#: Introduced reports: a node votes on the strength of it. The others are counted by nobody.
SERVICE_MESSAGES: Final = MessageTable(
    (
        MessageType(200, Submit, reports=False, pack=tuple, unpack=_submit),
        MessageType(201, Cancel, reports=False, pack=tuple, unpack=_cancel),
        MessageType(202, Reply, reports=False, pack=tuple, unpack=_reply),
        MessageType(203, AskStatus, reports=False, pack=tuple, unpack=_ask_status),
        MessageType(204, StatusReply, reports=False, pack=tuple, unpack=_status_reply),
        MessageType(210, Introduce, reports=False, pack=tuple, unpack=_introduce),
        MessageType(211, Introduced, reports=True, pack=tuple, unpack=_introduced),
        MessageType(212, LostDisk, reports=False, pack=tuple, unpack=_lost_disk),
    )
)
