"""Collisions: when a fast ballot can choose nothing any more, and what is done then.

In a fast ballot each acceptor votes for the first value that reaches it. Where several proposers ask at once,
acceptors may vote for different values, until none can have a fast quorum any more: a *collision*. Nobody
need ask the acceptors again: their votes (2b) at the ballot say what promises (1b) of the ballot that follows
it immediately would say. Of that ballot only: see `fastpaxos.rounds`.

Coordinated recovery: the coordinator picks from the votes, and proposes in the next ballot. Uncoordinated
recovery: each acceptor picks from the votes it has seen, by the same rule, and votes in the next ballot,
which is fast. The votes that they saw may differ, so what they pick may, too, where nothing was choosable;
where something was, the rule leaves every one of them the same. So agreement never rests on their picking the
same, only progress does: after the last fast step the coordinator recovers into the classic one.

`Contention` counts: when collisions are so many that classic rounds are cheaper, and when to be fast again.

Source: Lamport, *Fast Paxos* (2006), sections 2.2 ("collision recovery") and 3.2.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self, TypeVar

from fastpaxos.choosing import Pick, Report, choosable, pick, voters_by_value
from fastpaxos.rounds import Rounds
from paxos.ballot import Ballot, NodeId
from paxos.quorum import QuorumSystem

__all__ = ["Contention", "Recovered", "has_collided", "may_be_chosen", "recover"]

_V = TypeVar("_V")


def may_be_chosen(votes: Mapping[NodeId, _V], quorums: QuorumSystem) -> list[_V]:
    """The values voted for at one fast ballot that may still come to a fast quorum there.

    Args:
        votes: the votes at that ballot that are known; who is missing may vote, or have voted, for anything.
        quorums: the quorum system of the cluster.
    """
    voters = voters_by_value(votes.items())
    return [value for value, nodes in voters.items() if choosable(nodes, votes, quorums)]


def has_collided(votes: Mapping[NodeId, _V], quorums: QuorumSystem) -> bool:
    """Whether no value can be chosen at one fast ballot any more; arguments as `may_be_chosen`'s.

    Not as long as nobody voted. A value that nobody has voted for yet has fewer possible voters than one that
    somebody has.
    """
    return bool(votes) and not may_be_chosen(votes, quorums)


class Recovered(NamedTuple):
    """How a fast ballot is recovered from.

    Args:
        ballot: the one in which, the successor.
        pick: what may be voted for there, and is; it is BOUND or OPEN.
    """

    ballot: Ballot
    pick: Pick[Any]


def recover(
    ballot: Ballot,
    votes: Mapping[NodeId, _V],
    quorums: QuorumSystem,
    rounds: Rounds,
    order: Callable[[_V], Any] | None = None,
) -> Recovered | None:
    """What a fast ballot's votes lead to in the ballot that follows it immediately.

    It is right at any time, not only after a collision: where a value may have been chosen it is that value.
    When to do it is the caller's affair.

    Args:
        ballot: the fast ballot.
        votes: votes cast at exactly that ballot.
        quorums: the quorum system of the cluster.
        rounds: which ballots are fast.
        order: as `fastpaxos.choosing.default_of` has it.

    Returns:
        The successor and what to vote for there; None where the votes are no phase-1 quorum's, or the ballot
        is classic.

    Raises:
        ProtocolBreach: as `fastpaxos.choosing.pick`.
    """
    following = rounds.successor(ballot)
    if following is None:
        return None
    reports: dict[NodeId, Report[_V]] = {node: (ballot, value) for node, value in votes.items()}
    picked = pick(reports, quorums, rounds, order)
    return None if picked is None else Recovered(following, picked)


class Contention:
    """Whether to go fast, by the collisions of late.

    Args:
        collisions_before_classic: so many collisions in a row make it classic; 0 for never.
        quiet_s: seconds without competition after which it is fast again.

    Attributes:
        is_classic: whether collisions are avoided, by classic ballots and one proposer for all.
        collisions: in a row, without a value chosen fast in between.
    """

    __slots__ = ("_limit", "_quiet_s", "_since_s", "collisions", "is_classic")

    def __init__(self, collisions_before_classic: int, quiet_s: float) -> None:
        self._limit = collisions_before_classic
        self._quiet_s = quiet_s
        self._since_s = 0.0
        self.is_classic: bool = False
        self.collisions: int = 0

    def collided(self, now_s: float) -> bool:
        """A collision was seen, or that proposers compete; whether this is what made it classic."""
        self.collisions += 1
        self._since_s = now_s
        if self.is_classic or not self._limit or self.collisions < self._limit:
            return False
        self.is_classic = True
        return True

    def force(self, now_s: float) -> bool:
        """Go classic for another reason (no fast quorum answers); whether it was fast until now."""
        self._since_s = now_s
        changed, self.is_classic = not self.is_classic, True
        return changed

    def chose_fast(self) -> None:
        """A value was chosen in a fast ballot: no collisions in a row."""
        if not self.is_classic:
            self.collisions = 0

    def quiet(self, now_s: float) -> bool:
        """Go fast again if nobody has competed for long enough; whether this is what made it fast."""
        if not self.is_classic or now_s < self._since_s + self._quiet_s:
            return False
        self.is_classic = False
        self.collisions = 0
        return True

    @property
    def quiet_at_s(self) -> float:
        """When it would be fast again if nobody competed from now on."""
        return self._since_s + self._quiet_s

    def clone(self) -> Self:
        """An independent copy."""
        return copy.copy(self)

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (self.is_classic, self.collisions)
