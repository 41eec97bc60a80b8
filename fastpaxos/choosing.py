"""What may be proposed: the rule by which a value is picked from what acceptors report.

Before anything is proposed at a ballot, a phase-1 quorum Q has said how each of its members last voted below
it. Let k be the highest ballot reported, and V the values that were voted for there. Each of them was safe at
k when it was voted for: nothing else was or can be chosen below k.

- V has one value: it must be proposed, be k classic or fast. That no fast quorum can have voted for it at k
  makes it no less the one that may have been chosen *below* k: so it is where k was bound to it.
- V has several, and k is fast: the question is which of them *could have been chosen* at k, or could be yet.
  v is *choosable* if there is a fast quorum R of which every member that is also in Q voted for v at k.
  Because any two fast quorums and Q have a member in common, no two values are choosable at once. The
  choosable one must be proposed. Where there is none, nothing was or can be chosen at k; nor below, since two
  values were safe; so anything may be proposed.

How *many* members of Q voted for a value says nothing by itself: with n = 4, Q = {1, 2, 3} and fast quorums
of four, two votes for v beside one for w leave none choosable; with explicit or weighted quorums the value
with fewer votes may be the one that was chosen.

For a quorum system, in which whatever contains a quorum is one, v is choosable exactly when those of Q that
voted for it, together with all members outside Q, are a fast quorum. So no quorum is enumerated.

Everything here is a pure function of its arguments, and the same wherever it is evaluated: where acceptors
recover from a collision by themselves, each uses the same rule.

Source: Lamport, *Fast Paxos* (2006), section 3.3.1, figure 2 ("observation 4", O4(v)).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from fastpaxos.rounds import Rounds
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.errors import ProtocolBreach
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Freedom", "Pick", "Report", "choosable", "default_of", "pick", "voters_by_value"]

_V = TypeVar("_V")
_FAST: Final = Phase.FAST
_ONE: Final = Phase.ONE

#: How an acceptor last voted below the ballot in question: ballot and value; BOTTOM and None for not at all.
Report: TypeAlias = tuple[Ballot, _V | None]


class Freedom(Enum):
    """What a phase-1 quorum's reports leave to choose."""

    FREE = "free"  # nobody voted: any value; at a fast ballot the coordinator may say Any
    BOUND = "bound"  # one value only
    OPEN = "open"  # several were voted for, and none was or can be chosen: any proposed value


class Pick(NamedTuple, Generic[_V]):
    """What may be proposed.

    Args:
        freedom: how much there is to choose.
        value: BOUND: what must be proposed; OPEN: what is proposed by default, the same from the same
            reports; FREE: None.
        ballot: the highest ballot at which a vote was reported; BOTTOM for none.
    """

    freedom: Freedom
    value: _V | None
    ballot: Ballot


def voters_by_value(votes: Iterable[tuple[NodeId, _V]]) -> dict[_V, set[NodeId]]:
    """Who voted for what."""
    voters: dict[_V, set[NodeId]] = {}
    for node, value in votes:
        voters.setdefault(value, set()).add(node)
    return voters


def choosable(voters: Collection[NodeId], asked: Collection[NodeId], quorums: QuorumSystem) -> bool:
    """Whether a value may have been chosen, or be chosen yet, at a fast ballot.

    Args:
        voters: the members of Q that voted for it at that ballot.
        asked: Q: all whose last vote is known, and who will not vote at that ballot any more.
        quorums: the quorum system of the cluster.
    """
    known = set(asked)
    others = [node for node in quorums.members if node not in known]
    return quorums.is_quorum({*voters, *others}, _FAST)


def default_of(values: Iterable[_V], order: Callable[[_V], Any] | None = None) -> _V:
    """Of several values that may all be proposed, the one that is: the least.

    Not the most frequent: acceptors that recover by themselves count different votes, and of two values that
    each of them has seen the least is the same for all.

    Args:
        values: at least one.
        order: what to compare them by; None for themselves.
    """
    return min(values, key=order) if order is not None else min(values)  # type: ignore[type-var]


def pick(
    reports: Mapping[NodeId, Report[_V]],
    quorums: QuorumSystem,
    rounds: Rounds,
    order: Callable[[_V], Any] | None = None,
) -> Pick[_V] | None:
    """What may be proposed, by what acceptors reported.

    Args:
        reports: what each acceptor said of its last vote below the ballot in question. Each will vote at no
            ballot between that vote's and the one in question any more.
        quorums: the quorum system of the cluster.
        rounds: which ballots are fast.
        order: as `default_of` has it.

    Returns:
        What may be proposed; None while the reports are no phase-1 quorum's.

    Raises:
        ProtocolBreach: two values were reported at one classic ballot, or two are choosable at a fast one:
            somebody is not what it says, or the quorums do not intersect as they must.
    """
    if not quorums.is_quorum(reports.keys(), _ONE):
        return None
    members = set(quorums.members)
    asked = [node for node in reports if node in members]
    highest = max(reports[node][0] for node in asked)
    if highest[0] < 0:
        return Pick(Freedom.FREE, None, BOTTOM)
    voters: dict[_V, set[NodeId]] = {}
    for node in asked:
        ballot, value = reports[node]
        if ballot == highest and value is not None:
            voters.setdefault(value, set()).add(node)
    if rounds.is_fast(highest) and len(voters) > 1:
        bound = [value for value, nodes in voters.items() if choosable(nodes, asked, quorums)]
        breach = "PickUnique: two values may have been chosen"
    else:
        bound, breach = list(voters), "OneValuePerBallot: two values were voted for"
    if len(bound) > 1:
        raise ProtocolBreach(f"{breach} at ballot {highest}: {bound[0]!r:.80} and {bound[1]!r:.80}")
    if bound:
        return Pick(Freedom.BOUND, bound[0], highest)
    return Pick(Freedom.OPEN, default_of(voters, order), highest)
