"""The log of Fast Paxos: commands go straight to the acceptors, in two message delays.

Everything starts in a fast ballot that is open to all, so a replica asks the acceptors for a slot itself, and
no leader is in the way. Where two replicas want one slot, the one that loses takes another. `FastLogReplica`
composes the rooms; `protocol` is what drivers and tools find under the name "fastpaxos-log".
"""

from collections.abc import Callable, Sequence

from fastpaxos.log.acceptor import LogAcceptor
from fastpaxos.log.candidate import Candidate, Debts
from fastpaxos.log.coordinator import Office
from fastpaxos.log.invariants import INVARIANTS
from fastpaxos.log.learner import LogLearner
from fastpaxos.log.messages import MESSAGES
from fastpaxos.log.proposer import LogProposer
from fastpaxos.log.records import record_name
from fastpaxos.log.replica import FastLogReplica
from fastpaxos.log.scope import FastLogScope
from fastpaxos.log.settings import FastLogSettings
from fastpaxos.log.stored import stored_log
from fastpaxos.log.tracing import SPECIFICATION, make_replica
from paxos.ballot import NodeId
from paxos.contract import Commitment, Decides, Event, ProtocolDescription
from paxos.quorum import FastQuorums, Phase, QuorumSystem

__all__ = [
    "INVARIANTS",
    "MESSAGES",
    "Candidate",
    "Debts",
    "FastLogReplica",
    "FastLogScope",
    "FastLogSettings",
    "LogAcceptor",
    "LogLearner",
    "LogProposer",
    "Office",
    "protocol",
]


def _bound_ms(
    site: NodeId, sites: Sequence[NodeId], rtt_ms: Callable[[NodeId, NodeId], float], quorums: QuorumSystem
) -> float:
    """A round trip to the nearest fast quorum: nobody else proposes at the time."""

    def distance_ms(node: NodeId) -> float:
        return 0.0 if node == site else rtt_ms(site, node)

    return max(map(distance_ms, quorums.best_quorum(distance_ms, Phase.FAST)))


def _contended_bound_ms(
    leader: NodeId | None,
    site: NodeId,
    sites: Sequence[NodeId],
    rtt_ms: Callable[[NodeId, NodeId], float],
    quorums: QuorumSystem,
) -> float | None:
    """To the coordinator, which places the commands of all, and by way of a classic quorum to the site, which
    learns from the votes themselves."""
    if leader is None:
        return None

    def way_ms(one: NodeId, other: NodeId) -> float:
        return 0.0 if one == other else rtt_ms(one, other) / 2

    def over_ms(acceptor: NodeId) -> float:
        return way_ms(leader, acceptor) + way_ms(acceptor, site)

    return way_ms(site, leader) + max(map(over_ms, quorums.best_quorum(over_ms, Phase.TWO)))


def _commits(event: Event) -> Sequence[Commitment]:
    """A command that was submitted here is known to be chosen: as fast as can be, or why not."""
    if event.action != "chosen":
        return ()
    reason = str(event.arguments["reason"])
    return (Commitment(event.arguments["slot"], fast=not reason, reason=reason),)


#: The log of Fast Paxos as drivers and tools see it.
protocol: ProtocolDescription = ProtocolDescription(
    name="fastpaxos-log",
    replica=make_replica,
    settings=FastLogSettings,
    messages=MESSAGES,
    decides=Decides.LOG,
    quorums=FastQuorums,
    invariants=INVARIANTS,
    probes=("lost slot", "collision", "recovered", "fell back", "fast again", "gap filled", "fetched"),
    bound_ms=_bound_ms,
    contended_bound_ms=_contended_bound_ms,
    commits=_commits,
    specification=SPECIFICATION,
    scope=FastLogScope,
    record_name=record_name,
    stored_log=stored_log,
    documentation=(
        "Fast Paxos agrees on a log of commands. Every replica puts the commands of its clients into slots "
        "itself, and learns in two message delays that they are chosen, by a quorum larger than a majority. "
        "Where replicas compete for slots, collisions are recovered from; after several in a row one replica "
        "places the commands of all, until nobody competes any more."
    ),
)
