"""The service floor: what makes a node of a replica. Sans-I/O, the same for every protocol and driver."""

from paxos.service.charter import CHARTER_KEY, charter_of, charter_record, read_charter, require_charter
from paxos.service.decrees import DecreeBook, decide_request, decided_request, decree_key
from paxos.service.identity import (
    SUPERSEDED_KEY,
    Identity,
    Opening,
    lost_disk,
    superseded,
    take_superseded,
    wipes_detected,
    witnesses_needed,
)
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
from paxos.service.node import MachineMaker, Node, message_table, replica_prefix
from paxos.service.settings import LogSettings
from paxos.service.turn import ClientKey, Turn

__all__ = [
    "CHARTER_KEY",
    "SERVICE_MESSAGES",
    "SUPERSEDED_KEY",
    "AskStatus",
    "Cancel",
    "ClientKey",
    "DecreeBook",
    "Identity",
    "Introduce",
    "Introduced",
    "LogSettings",
    "LostDisk",
    "MachineMaker",
    "Node",
    "Opening",
    "Reply",
    "ReplyKind",
    "StatusReply",
    "Submit",
    "Turn",
    "charter_of",
    "charter_record",
    "decide_request",
    "decided_request",
    "decree_key",
    "lost_disk",
    "message_table",
    "read_charter",
    "replica_prefix",
    "require_charter",
    "superseded",
    "take_superseded",
    "wipes_detected",
    "witnesses_needed",
]
