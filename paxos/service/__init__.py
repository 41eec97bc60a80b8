"""The service floor: what makes a node of a replica. Sans-I/O, the same for every protocol and driver."""

from paxos.service.decrees import DecreeBook, decide_request, decided_request, decree_key
from paxos.service.identity import Identity, lost_disk, witnesses_needed
from paxos.service.messages import (
    SERVICE_MESSAGES,
    AskStatus,
    Cancel,
    Introduce,
    Introduced,
    LostDisk,
    Reply,
    ReplyKind,
    StatusReply,
    Submit,
)
from paxos.service.node import ClientKey, Node, Turn, message_table, replica_prefix

__all__ = [
    "SERVICE_MESSAGES",
    "AskStatus",
    "Cancel",
    "ClientKey",
    "DecreeBook",
    "Identity",
    "Introduce",
    "Introduced",
    "LostDisk",
    "Node",
    "Reply",
    "ReplyKind",
    "StatusReply",
    "Submit",
    "Turn",
    "decide_request",
    "decided_request",
    "decree_key",
    "lost_disk",
    "message_table",
    "replica_prefix",
    "witnesses_needed",
]
