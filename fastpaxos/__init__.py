"""Fast Paxos: proposers send their values straight to the acceptors, and collisions are recovered from.

In a fast ballot a value is chosen two message delays after it was proposed, by a quorum larger than a
majority. The roles need nothing but function calls; `FastPaxosReplica` composes them over any number of named
decrees; `protocol` is what drivers and tools find under the name "fastpaxos".
"""

from collections.abc import Callable, Sequence

from fastpaxos.acceptor import FastAcceptor, FastVote
from fastpaxos.choosing import Freedom, Pick, choosable, pick
from fastpaxos.collision import Contention, has_collided, recover
from fastpaxos.coordinator import Coordinator
from fastpaxos.invariants import INVARIANTS
from fastpaxos.learner import Choice, Tally
from fastpaxos.messages import MESSAGES
from fastpaxos.replica import FastPaxosReplica
from fastpaxos.rounds import OPEN, Recovery, Rounds
from fastpaxos.scope import FastScope
from fastpaxos.settings import FastPaxosSettings
from fastpaxos.tracing import SPECIFICATION
from paxos.ballot import NodeId
from paxos.basic.records import record_name
from paxos.contract import Commitment, Decides, Event, ProtocolDescription
from paxos.quorum import FastQuorums, Phase, QuorumSystem

__all__ = [
    "INVARIANTS",
    "MESSAGES",
    "OPEN",
    "Choice",
    "Contention",
    "Coordinator",
    "FastAcceptor",
    "FastPaxosReplica",
    "FastPaxosSettings",
    "FastScope",
    "FastVote",
    "Freedom",
    "Pick",
    "Recovery",
    "Rounds",
    "Tally",
    "choosable",
    "has_collided",
    "pick",
    "protocol",
    "recover",
]


def _bound_ms(
    site: NodeId, sites: Sequence[NodeId], rtt_ms: Callable[[NodeId, NodeId], float], quorums: QuorumSystem
) -> float:
    """One round trip to the nearest fast quorum."""

    def distance_ms(node: NodeId) -> float:
        return 0.0 if node == site else rtt_ms(site, node)

    return max(map(distance_ms, quorums.best_quorum(distance_ms, Phase.FAST)))


def _commits(event: Event) -> Sequence[Commitment]:
    """A decree that somebody waits for was learned: as fast as can be, or why not."""
    told = event.arguments
    if event.action != "chosen" or not told.get("waiting"):
        return ()
    reason = str(told["reason"])
    return (Commitment(told["decree"], fast=not reason, reason=reason),)


#: Fast Paxos for named decrees, as drivers and tools see it.
protocol: ProtocolDescription = ProtocolDescription(
    name="fastpaxos",
    replica=FastPaxosReplica,
    settings=FastPaxosSettings,
    messages=MESSAGES,
    decides=Decides.DECREES,
    quorums=FastQuorums,
    invariants=INVARIANTS,
    probes=("chosen", "collision", "recovered", "missed", "classic", "fast", "preempted", "undecided"),
    bound_ms=_bound_ms,
    commits=_commits,
    scope=FastScope,
    record_name=record_name,
    specification=SPECIFICATION,
    documentation=(
        "Fast Paxos agrees on single values, each under a name of its own. Any node sends its value straight "
        "to all acceptors, and everybody knows it chosen two message delays and one write later, if three "
        "quarters of them or so voted for it first. Where proposers collide it takes one or two delays more; "
        "a decision never changes."
    ),
)
