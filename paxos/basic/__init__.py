"""Basic Paxos: single-decree consensus (Lamport, *Paxos Made Simple*, 2001).

`Proposer`, `Acceptor` and `Learner` need nothing but function calls; `BasicReplica` composes them over
any number of named decrees; `protocol` is what drivers and tools find under the name "paxos".
"""

from collections.abc import Callable, Sequence

from paxos.ballot import NodeId
from paxos.basic.acceptor import Acceptor, AcceptorRecord, Vote
from paxos.basic.invariants import INVARIANTS
from paxos.basic.learner import Decision, Learner
from paxos.basic.messages import (
    MESSAGES,
    Accept,
    Accepted,
    Ask,
    BasicMessage,
    Chosen,
    Forward,
    Nack,
    Prepare,
    Promise,
    Reserved,
)
from paxos.basic.proposer import Proposer, ProposerState
from paxos.basic.records import record_name
from paxos.basic.replica import BasicReplica
from paxos.basic.scope import BasicScope
from paxos.basic.settings import BasicSettings
from paxos.basic.tracing import SPECIFICATION
from paxos.contract import Decides, ProtocolDescription
from paxos.quorum import Majority, Phase, QuorumSystem

__all__ = [
    "INVARIANTS",
    "MESSAGES",
    "Accept",
    "Accepted",
    "Acceptor",
    "AcceptorRecord",
    "Ask",
    "BasicMessage",
    "BasicReplica",
    "BasicScope",
    "BasicSettings",
    "Chosen",
    "Decision",
    "Forward",
    "Learner",
    "Nack",
    "Prepare",
    "Promise",
    "Proposer",
    "ProposerState",
    "Reserved",
    "Vote",
    "protocol",
]


def _bound_ms(
    site: NodeId, sites: Sequence[NodeId], rtt_ms: Callable[[NodeId, NodeId], float], quorums: QuorumSystem
) -> float:
    """Two round trips: to the nearest phase-1 quorum, then to the nearest phase-2 quorum."""

    def distance_ms(node: NodeId) -> float:
        return 0.0 if node == site else rtt_ms(site, node)

    phases = (quorums.best_quorum(distance_ms, phase) for phase in (Phase.ONE, Phase.TWO))
    return sum(max(map(distance_ms, quorum)) for quorum in phases)


#: Basic Paxos as drivers and tools see it.
protocol: ProtocolDescription = ProtocolDescription(
    name="paxos",
    replica=BasicReplica,
    settings=BasicSettings,
    messages=MESSAGES,
    decides=Decides.DECREES,
    quorums=Majority,
    invariants=INVARIANTS,
    probes=("chosen", "adopted", "preempted", "undecided"),
    bound_ms=_bound_ms,
    specification=SPECIFICATION,
    scope=BasicScope,
    record_name=record_name,
    documentation=(
        "Basic Paxos agrees on single values, each under a name of its own. Two round trips to a quorum and "
        "one write on each disk per round trip; any node may propose; a decision never changes."
    ),
)
