"""Multi-Paxos: a replicated log behind a stable leader.

One promise covers every slot of the log, so that a leader in office needs only the second phase for a
command. `MultiPaxosReplica` composes the rooms; `protocol` is what drivers and tools find under the name
"multipaxos".
"""

from collections.abc import Callable, Sequence

from multipaxos.acceptor import LogAcceptor, LogRecord
from multipaxos.invariants import INVARIANTS
from multipaxos.learner import LogLearner
from multipaxos.messages import MESSAGES
from multipaxos.proposer import Candidate, Debts, Leader
from multipaxos.records import record_name
from multipaxos.replica import MultiPaxosReplica
from multipaxos.scope import MultiPaxosScope
from multipaxos.settings import MultiPaxosSettings
from multipaxos.stored import stored_log
from multipaxos.tracing import SPECIFICATION, make_replica
from paxos.ballot import NodeId
from paxos.contract import Decides, ProtocolDescription
from paxos.quorum import Majority, Phase, QuorumSystem

__all__ = [
    "INVARIANTS",
    "MESSAGES",
    "Candidate",
    "Debts",
    "Leader",
    "LogAcceptor",
    "LogLearner",
    "LogRecord",
    "MultiPaxosReplica",
    "MultiPaxosSettings",
    "protocol",
]


def _placed_bound_ms(
    leader: NodeId,
    site: NodeId,
    sites: Sequence[NodeId],
    rtt_ms: Callable[[NodeId, NodeId], float],
    quorums: QuorumSystem,
) -> float:
    """A round trip to the leader, and the leader's to its nearest phase-2 quorum."""

    def distance_ms(a: NodeId, b: NodeId) -> float:
        return 0.0 if a == b else rtt_ms(a, b)

    quorum = quorums.best_quorum(lambda node: distance_ms(leader, node), Phase.TWO)
    return distance_ms(site, leader) + max(distance_ms(leader, node) for node in quorum)


def _bound_ms(
    site: NodeId, sites: Sequence[NodeId], rtt_ms: Callable[[NodeId, NodeId], float], quorums: QuorumSystem
) -> float:
    """The same with the leader well placed.

    The best place is the one that makes the mean over all sites least; the lowest id where several do.
    """

    def total_ms(leader: NodeId) -> float:
        return sum(_placed_bound_ms(leader, client, sites, rtt_ms, quorums) for client in sites)

    leader = min(quorums.members, key=lambda node: (total_ms(node), node))
    return _placed_bound_ms(leader, site, sites, rtt_ms, quorums)


#: Multi-Paxos as drivers and tools see it.
protocol: ProtocolDescription = ProtocolDescription(
    name="multipaxos",
    replica=make_replica,
    settings=MultiPaxosSettings,
    messages=MESSAGES,
    decides=Decides.LOG,
    quorums=Majority,
    invariants=INVARIANTS,
    probes=("elected", "leader change", "adopted", "gap filled", "fetched"),
    bound_ms=_bound_ms,
    placed_bound_ms=_placed_bound_ms,
    specification=SPECIFICATION,
    scope=MultiPaxosScope,
    record_name=record_name,
    stored_log=stored_log,
    documentation=(
        "Multi-Paxos agrees on a log of commands. A leader, once elected, needs one round trip to a quorum "
        "and one write on each disk per command, many at a time; when it is lost another is elected, which "
        "repairs what was left half done."
    ),
)
