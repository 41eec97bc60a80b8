"""paxos: consensus of the Paxos family.

Public names are resolved when first used (PEP 562): taking a role from here loads no socket, no disk
and no event loop.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from paxos import compare, contract, keyvalue, sim
    from paxos.ballot import BOTTOM, Ballot, NodeId
    from paxos.basic import Acceptor, BasicSettings, Decision, Learner, Proposer
    from paxos.command import ALL, Command, Footprint, KeyRange, RequestId
    from paxos.errors import (
        ConfigurationError,
        DiskLost,
        NodeStopped,
        NotTaken,
        OutcomeUnknown,
        PaxosError,
        ProtocolBreach,
        QuorumError,
        RecordError,
        Rejected,
        SessionExpired,
        StoreError,
        StoreFailed,
        StoreRefused,
        Unreachable,
        WireError,
    )
    from paxos.quorum import (
        ExplicitQuorums,
        FastQuorums,
        FlexibleQuorums,
        GridQuorums,
        Majority,
        Phase,
        QuorumSystem,
        WeightedQuorums,
        check_intersections,
    )
    from paxos.runtime import (
        Client,
        Cluster,
        ClusterConfig,
        NodeConfig,
        QuorumSpec,
        TlsConfig,
        connect,
        connect_sync,
        open_cluster,
        open_cluster_sync,
        open_node,
    )
    from paxos.service.keyvalue import KeyValue
    from paxos.service.settings import LogSettings

__version__: Final = "0.1.0"

_ROOMS: Final = {
    "paxos.ballot": ("BOTTOM", "Ballot", "NodeId"),
    "paxos.basic": ("Acceptor", "BasicSettings", "Decision", "Learner", "Proposer"),
    "paxos.command": ("ALL", "Command", "Footprint", "KeyRange", "RequestId"),
    "paxos.errors": (
        "ConfigurationError",
        "DiskLost",
        "NodeStopped",
        "NotTaken",
        "OutcomeUnknown",
        "PaxosError",
        "ProtocolBreach",
        "QuorumError",
        "RecordError",
        "Rejected",
        "SessionExpired",
        "StoreError",
        "StoreFailed",
        "StoreRefused",
        "Unreachable",
        "WireError",
    ),
    "paxos.quorum": (
        "ExplicitQuorums",
        "FastQuorums",
        "FlexibleQuorums",
        "GridQuorums",
        "Majority",
        "Phase",
        "QuorumSystem",
        "WeightedQuorums",
        "check_intersections",
    ),
    "paxos.runtime": (
        "Client",
        "Cluster",
        "ClusterConfig",
        "NodeConfig",
        "QuorumSpec",
        "TlsConfig",
        "connect",
        "connect_sync",
        "open_cluster",
        "open_cluster_sync",
        "open_node",
    ),
    "paxos.service.keyvalue": ("KeyValue",),
    "paxos.service.settings": ("LogSettings",),
}
_HOME: Final = {name: room for room, names in _ROOMS.items() for name in names}
_SUBPACKAGES: Final = ("compare", "contract", "keyvalue", "sim")

__all__ = [
    "ALL",
    "BOTTOM",
    "Acceptor",
    "Ballot",
    "BasicSettings",
    "Client",
    "Cluster",
    "ClusterConfig",
    "Command",
    "ConfigurationError",
    "Decision",
    "DiskLost",
    "ExplicitQuorums",
    "FastQuorums",
    "FlexibleQuorums",
    "Footprint",
    "GridQuorums",
    "KeyRange",
    "KeyValue",
    "Learner",
    "LogSettings",
    "Majority",
    "NodeConfig",
    "NodeId",
    "NodeStopped",
    "NotTaken",
    "OutcomeUnknown",
    "PaxosError",
    "Phase",
    "Proposer",
    "ProtocolBreach",
    "QuorumError",
    "QuorumSpec",
    "QuorumSystem",
    "RecordError",
    "Rejected",
    "RequestId",
    "SessionExpired",
    "StoreError",
    "StoreFailed",
    "StoreRefused",
    "TlsConfig",
    "Unreachable",
    "WeightedQuorums",
    "WireError",
    "check_intersections",
    "compare",
    "connect",
    "connect_sync",
    "contract",
    "keyvalue",
    "open_cluster",
    "open_cluster_sync",
    "open_node",
    "sim",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _SUBPACKAGES:
        value = import_module(f"paxos.{name}")
    else:
        raise AttributeError(f"module 'paxos' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
