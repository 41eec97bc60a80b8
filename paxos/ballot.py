"""Ballots: the totally ordered, never reused numbers of attempts.

A ballot is a plain tuple `(round, node, step)`, compared lexicographically.  The node in the middle
makes ballots of different proposers different; the round on the left lets anyone go above anyone;
the step on the right is 0 except in Fast Paxos, where it counts the recoveries of one round.

It is a NamedTuple and not an attrs class because ballots are compared in every handler of every
protocol, and a tuple comparison is done in C.
"""

from typing import Final, NamedTuple, TypeAlias

__all__ = ["BOTTOM", "Ballot", "NodeId"]

#: A node's number within its cluster: 1, 2, 3, ...; never reused.
NodeId: TypeAlias = int


class Ballot(NamedTuple):
    """One attempt at getting a value chosen (Lamport, *Paxos Made Simple*, 2.2: a proposal number).

    Args:
        round: 0, 1, 2, ...; raised to go above a ballot seen elsewhere.
        node: the proposer that owns the ballot; 0 only in ballots that belong to nobody.
        step: 0, except in Fast Paxos, where recovering `(r, n, s)` is `(r, n, s + 1)`.
    """

    round: int
    node: NodeId
    step: int = 0

    def above(self, node: NodeId) -> "Ballot":
        """The lowest ballot of `node` whose round is above this one's."""
        return Ballot(self.round + 1, node)

    def __str__(self) -> str:
        if self.round < 0:
            return "⊥"
        text = f"{self.round}.{self.node}"
        return f"{text}.{self.step}" if self.step else text


#: Below every ballot that can be proposed: "never promised", "never accepted".
BOTTOM: Final = Ballot(-1, 0, 0)
