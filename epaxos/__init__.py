"""EPaxos: a replicated log without a leader.

Every replica orders the commands that are submitted to it, with one round trip to the nearest fast quorum
where nothing conflicts, and commands that conflict are carried out in the same order everywhere.
`EPaxosReplica` composes the rooms; `protocol` is what drivers and tools find under the name "epaxos".
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from epaxos.conflicts import ConflictIndex
from epaxos.execution import Executor
from epaxos.instances import Choice, Deps, Instance, InstanceId, InstancePhase
from epaxos.invariants import INVARIANTS
from epaxos.messages import MESSAGES
from epaxos.quorums import EPaxosQuorums
from epaxos.records import record_name
from epaxos.replica import EPaxosReplica
from epaxos.settings import EPaxosSettings
from epaxos.stored import stored_log
from epaxos.tracing import SPECIFICATION, make_replica
from paxos.ballot import NodeId
from paxos.contract import Commitment, Decides, Event, Orders, ProtocolDescription
from paxos.quorum import Phase, QuorumSystem

__all__ = [
    "INVARIANTS",
    "MESSAGES",
    "Choice",
    "ConflictIndex",
    "Deps",
    "EPaxosQuorums",
    "EPaxosReplica",
    "EPaxosSettings",
    "Executor",
    "Instance",
    "InstanceId",
    "InstancePhase",
    "protocol",
]


def _bound_ms(
    site: NodeId, sites: Sequence[NodeId], rtt_ms: Callable[[NodeId, NodeId], float], quorums: QuorumSystem
) -> float:
    """A round trip to the nearest fast quorum: no command conflicts with another."""

    def distance_ms(node: NodeId) -> float:
        return 0.0 if node == site else rtt_ms(site, node)

    # The owner's own answer is always one of them.
    nearest = sorted(distance_ms(node) for node in quorums.members if node != site)
    size = quorums.sizes[Phase.FAST]
    return nearest[size - 2]


def _contended_bound_ms(
    leader: NodeId | None,
    site: NodeId,
    sites: Sequence[NodeId],
    rtt_ms: Callable[[NodeId, NodeId], float],
    quorums: QuorumSystem,
) -> float:
    """Two round trips to the nearest classic quorum: when that has answered, a fast one may be lost."""
    nearest = sorted(rtt_ms(site, node) for node in quorums.members if node != site)
    return 2 * nearest[quorums.sizes[Phase.TWO] - 2]


#: Why an instance took the slow path, in the words of `Commitment.reason`.
_SLOW: Final = {
    "conflict": "a conflicting command came between",
    "silence": "no fast quorum answered in time",
}


def _commits(event: Event) -> Sequence[Commitment]:
    """What the owner of instances tells when it knows that they are committed."""
    if event.action == "fast path":
        numbers: Any = event.arguments["numbers"]
        return [Commitment((event.node, number), True) for number in numbers]
    if event.action == "slow commit":
        return [Commitment(event.arguments["instance"], False, _SLOW[str(event.arguments["reason"])])]
    return ()


#: EPaxos as drivers and tools see it.
protocol: ProtocolDescription = ProtocolDescription(
    name="epaxos",
    replica=make_replica,
    settings=EPaxosSettings,
    messages=MESSAGES,
    decides=Decides.LOG,
    orders=Orders.CONFLICTS,
    least_nodes=3,
    quorums=EPaxosQuorums,
    failure_quorums=EPaxosQuorums,
    invariants=INVARIANTS,
    probes=("fast path", "slow path", "recovery", "validation", "waiting", "no-op proposed", "component"),
    bound_ms=_bound_ms,
    contended_bound_ms=_contended_bound_ms,
    commits=_commits,
    record_name=record_name,
    stored_log=stored_log,
    specification=SPECIFICATION,
    documentation=(
        "EPaxos agrees on a log of commands without a leader. Every replica orders the commands of its own "
        "clients, in one round trip to its nearest fast quorum as long as they do not conflict with others' "
        "and in two where they do; commands that conflict are carried out in one order everywhere."
    ),
)
