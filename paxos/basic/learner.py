"""The learner of Basic Paxos: when a value is chosen.

A value is chosen when one phase-2 quorum voted for it *at one ballot*.  Votes of different ballots
never add up, a node's vote counts once, and only a member's counts at all.

Source: Lamport, *Paxos Made Simple* (2001), section 2.3.
"""

import copy
from typing import Final, NamedTuple, Self

from paxos.ballot import Ballot, NodeId
from paxos.basic.messages import MAX_ROUND, Accepted, Nack, Promise
from paxos.errors import ProtocolBreach
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Decision", "Learner"]

_new: Final = tuple.__new__
_PHASE_2: Final = Phase.TWO
#: Tallies kept at most. Dropping the lowest is safe: a higher ballot will be counted, or asked again.
_MAX_TALLIES: Final = 64


class Decision(NamedTuple):
    """What was chosen.

    Args:
        decree: for which decree.
        ballot: by votes of which ballot.
        value: the value.
    """

    decree: bytes
    ballot: Ballot
    value: bytes


class Learner:
    """Finds out what was chosen for one decree.

    Args:
        quorums: the quorum system of the cluster.
        decree: the decree's name; empty where there is only one.

    Source: Lamport, *Paxos Made Simple*, section 2.3.
    """

    __slots__ = ("_tallies", "decision", "decree", "quorums")

    def __init__(self, quorums: QuorumSystem, *, decree: bytes = b"") -> None:
        self.quorums: QuorumSystem = quorums
        self.decree: bytes = decree
        #: What was chosen, once known; it never changes.
        self.decision: Decision | None = None
        self._tallies: dict[Ballot, tuple[bytes, set[NodeId]]] = {}

    def receive(self, sender: NodeId, message: Promise | Accepted | Nack) -> Decision | None:
        """Count one vote of acceptor `sender`; what is no vote of a member changes nothing.

        Returns:
            The decision, when this vote is the one that completes it; else None.

        Raises:
            ProtocolBreach: two values at one ballot, or a second decision that differs from the first.
        """
        if not isinstance(message, Accepted) or sender not in self.quorums.members:
            return None
        decree, ballot, value = message
        if decree != self.decree:
            return None
        tally = self._tallies.get(ballot)
        if tally is None:
            if ballot[0] > MAX_ROUND:
                return None
            tally = self._open(ballot, value)
        elif tally[0] != value:
            raise ProtocolBreach(
                f"OneValuePerBallot: decree {decree!r:.80} has votes for two values at {ballot}"
            )
        voters = tally[1]
        if sender in voters:
            return None
        voters.add(sender)
        if not self.quorums.is_quorum(voters, _PHASE_2):
            return None
        if self.decision is not None:
            if self.decision.value != value:
                raise ProtocolBreach(
                    f"Agreement: decree {decree!r:.80} was decided at {self.decision.ballot}, "
                    f"and differently at {ballot}"
                )
            return None
        self.decision = decision = _new(Decision, (decree, ballot, value))
        return decision

    def _open(self, ballot: Ballot, value: bytes) -> tuple[bytes, set[NodeId]]:
        tallies = self._tallies
        if len(tallies) >= _MAX_TALLIES:
            del tallies[min(tallies)]
        tally: tuple[bytes, set[NodeId]] = (value, set())
        tallies[ballot] = tally
        return tally

    def clone(self) -> Self:
        """An independent copy."""
        other = copy.copy(self)
        other._tallies = {ballot: (value, set(voters)) for ballot, (value, voters) in self._tallies.items()}
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for learners that behave alike."""
        tallies = frozenset(
            (ballot, value, frozenset(voters)) for ballot, (value, voters) in self._tallies.items()
        )
        return (self.decision, tallies)

    def __repr__(self) -> str:
        return f"<Learner {self.decree!r:.40} {self.decision or 'undecided'}>"
