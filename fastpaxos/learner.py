"""The learner of Fast Paxos: counts votes, ballot by ballot, and sees what is chosen and what has collided.

A value is chosen when one quorum voted for it *at one ballot*: a fast quorum at a fast ballot, a phase-2
quorum at a classic one. Votes of different ballots never add up, a node has one vote at a ballot, and only a
member's counts. At a fast ballot there may be votes for several values; at a classic one that is a breach.

A `Tally` is one instance's, be that a named decree or a slot of a log.

Source: Lamport, *Fast Paxos* (2006), section 3.1; quorums as in section 3.3.
"""

from collections.abc import Mapping
from typing import Final, Generic, NamedTuple, Self, TypeVar

from fastpaxos.rounds import Rounds
from paxos.ballot import Ballot, NodeId
from paxos.errors import ProtocolBreach
from paxos.quorum import Phase, QuorumSystem
from paxos.wire import MAX_ROUND

__all__ = ["Choice", "Tally"]

_V = TypeVar("_V")
_new: Final = tuple.__new__
_TWO: Final = Phase.TWO
_FAST: Final = Phase.FAST
#: Ballots counted at most. Dropping the lowest is safe: a higher ballot will be counted, or asked again.
_MAX_BALLOTS: Final = 64


class Choice(NamedTuple, Generic[_V]):
    """What was chosen.

    Args:
        ballot: by votes of which ballot.
        value: the value.
    """

    ballot: Ballot
    value: _V


class Tally(Generic[_V]):
    """Counts the votes of one instance.

    Args:
        quorums: the quorum system of the cluster, with fast quorums.
        rounds: which ballots are fast.

    Attributes:
        choice: what was chosen, once known; it never changes.

    Source: Lamport, *Fast Paxos*, section 3.1.
    """

    __slots__ = ("_quorums", "_rounds", "_votes", "choice")

    def __init__(self, quorums: QuorumSystem, rounds: Rounds) -> None:
        self._quorums = quorums
        self._rounds = rounds
        self._votes: dict[Ballot, dict[NodeId, _V]] = {}
        self.choice: Choice[_V] | None = None

    def count(self, sender: NodeId, ballot: Ballot, value: _V) -> Choice[_V] | None:
        """Count one vote of acceptor `sender`; what is no vote of a member at a ballot changes nothing.

        Returns:
            What was chosen, when this vote is the one that completes it; else None.

        Raises:
            ProtocolBreach: `sender` voted twice at the ballot, there are two values at a classic ballot, or a
                second choice differs from the first. The vote is not counted.
        """
        if sender not in self._quorums.members or not self._rounds.is_ballot(ballot):
            return None
        votes = self._votes.get(ballot)
        if votes is None:
            if not 0 <= ballot[0] <= MAX_ROUND:
                return None
            votes = self._open(ballot)
        elif sender in votes:
            if votes[sender] != value:
                raise ProtocolBreach(f"OneVotePerRound: node {sender} voted for two values at {ballot}")
            return None
        fast = self._rounds.is_fast(ballot)
        if not fast and votes and next(iter(votes.values())) != value:
            raise ProtocolBreach(f"OneValuePerBallot: there are votes for two values at {ballot}")
        votes[sender] = value
        # Most votes leave their quorum incomplete, and that is found out without looking at the values.
        phase = _FAST if fast else _TWO
        if not self._quorums.is_quorum(votes.keys(), phase):
            return None
        if fast and not self._quorums.is_quorum([n for n, each in votes.items() if each == value], phase):
            return None
        if self.choice is not None:
            if self.choice.value != value:
                raise ProtocolBreach(f"Agreement: decided at {self.choice.ballot}, differently at {ballot}")
            return None
        self.choice = choice = _new(Choice, (ballot, value))
        return choice

    def _open(self, ballot: Ballot) -> dict[NodeId, _V]:
        if len(self._votes) >= _MAX_BALLOTS:
            del self._votes[min(self._votes)]
        self._votes[ballot] = votes = dict[NodeId, _V]()
        return votes

    def votes(self, ballot: Ballot) -> Mapping[NodeId, _V]:
        """The votes counted at a ballot, by who cast them; not to be changed."""
        return self._votes.get(ballot, {})

    @property
    def ballots(self) -> tuple[Ballot, ...]:
        """The ballots at which votes were counted, ascending."""
        return tuple(sorted(self._votes))

    @property
    def highest(self) -> Ballot | None:
        """The highest ballot at which a vote was counted; None for none."""
        return max(self._votes, default=None)

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)(self._quorums, self._rounds)
        other._votes = {ballot: dict(votes) for ballot, votes in self._votes.items()}
        other.choice = self.choice
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        votes = frozenset((ballot, frozenset(cast.items())) for ballot, cast in self._votes.items())
        return (self.choice, votes)
