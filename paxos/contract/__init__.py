"""The contract: the interfaces every protocol offers and every driver and tool relies on."""

from paxos.contract.machine import StateMachine
from paxos.contract.protocol import (
    ENTRY_POINT_GROUP,
    Decides,
    Invariant,
    InvariantMaker,
    Orders,
    Outline,
    ProtocolDescription,
    Specification,
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
from paxos.contract.scope import FAULTS_OF_SCOPES, Scope, ScopeMaker, ScopeSettings
from paxos.contract.stored import StoredEntry, StoredLog

__all__ = [
    "ENTRY_POINT_GROUP",
    "FAULTS_OF_SCOPES",
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
    "Orders",
    "Outcome",
    "OutcomeKind",
    "Outline",
    "ProposerRole",
    "ProtocolDescription",
    "Records",
    "Replica",
    "Scope",
    "ScopeMaker",
    "ScopeSettings",
    "Specification",
    "StateMachine",
    "Status",
    "Step",
    "StoredEntry",
    "StoredLog",
    "find_protocol",
    "protocol_names",
]
