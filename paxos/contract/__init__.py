"""The contract: the interfaces every protocol offers and every driver and tool relies on."""

from paxos.contract.protocol import (
    ENTRY_POINT_GROUP,
    Decides,
    Invariant,
    InvariantMaker,
    ProtocolDescription,
    Step,
    find_protocol,
    protocol_names,
)
from paxos.contract.replica import (
    Configuration,
    Draw,
    Effects,
    Event,
    Instant,
    Mark,
    Message,
    Outcome,
    OutcomeKind,
    Records,
    Replica,
    Status,
)
from paxos.contract.roles import AcceptorRole, LearnerRole, ProposerRole

__all__ = [
    "ENTRY_POINT_GROUP",
    "AcceptorRole",
    "Configuration",
    "Decides",
    "Draw",
    "Effects",
    "Event",
    "Instant",
    "Invariant",
    "InvariantMaker",
    "LearnerRole",
    "Mark",
    "Message",
    "Outcome",
    "OutcomeKind",
    "ProposerRole",
    "ProtocolDescription",
    "Records",
    "Replica",
    "Status",
    "Step",
    "find_protocol",
    "protocol_names",
]
