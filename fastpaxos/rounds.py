"""Which ballots are fast, and which ballot comes after which: computed from the ballot alone.

A ballot is `(round, node, step)`. A node's round begins at step 0 and goes through the *fast* steps
0 .. `last_fast_step`; the step after that is *classic*, and the last. The step rises by one for each
recovery from a collision, and by nothing else:

    coordinated     (r, c, 0) fast -> (r, c, 1) classic
    uncoordinated   (r, c, 0) fast -> (r, c, 1) fast -> ... -> (r, c, L) fast -> (r, c, L + 1) classic

Between a ballot and its successor there is no ballot. That is what makes recovery safe: a vote at a ballot
says what a promise of the next one would say, since nothing can have happened in between. Of any later ballot
it says nothing: the ballots of others lie between.

Every decree and slot starts in the fast ballot `OPEN`, (0, 0, 0), which belongs to nobody and is open to
everybody. Who wants more than that begins a round of its own with phase 1: at step 0, to open a fast ballot
with Any, or directly at the classic step.

Source: Lamport, *Fast Paxos* (2006), sections 3.1 and 3.2.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

import attrs

from paxos.ballot import Ballot, NodeId
from paxos.errors import ConfigurationError

__all__ = ["MAX_FAST_STEPS", "OPEN", "Recovery", "Rounds", "coordinator"]

#: The ballot in which everything starts, open to all: no phase 1, and no Any.
OPEN: Final = Ballot(0, 0, 0)
#: Fast steps of a round, at most.
MAX_FAST_STEPS: Final = 64
_UNCOORDINATED_STEPS: Final = 4
_new: Final = tuple.__new__


class Recovery(Enum):
    """How a collision in a fast ballot is recovered from."""

    COORDINATED = "coordinated"  # the coordinator picks from the votes, and proposes in a classic ballot
    UNCOORDINATED = "uncoordinated"  # each acceptor picks from the votes itself, and votes in a fast ballot


@attrs.frozen
class Rounds:
    """Which steps of a round are fast. All nodes of a cluster must have the same.

    Args:
        last_fast_step: steps up to this one are fast, the next one is classic.

    Raises:
        ConfigurationError: it is no number from 0 to below `MAX_FAST_STEPS`.
    """

    last_fast_step: int = 0

    def __attrs_post_init__(self) -> None:
        """Refuse what is no step."""
        last = self.last_fast_step
        if type(last) is not int or not 0 <= last < MAX_FAST_STEPS:
            raise ConfigurationError(
                f"last_fast_step must be a number from 0 to {MAX_FAST_STEPS - 1}, not {last!r}"
            )

    @classmethod
    def of(cls, recovery: Recovery) -> "Rounds":
        """The rounds that a policy needs: where acceptors recover by themselves they do so in fast steps."""
        return cls(0 if recovery is Recovery.COORDINATED else _UNCOORDINATED_STEPS - 1)

    def is_fast(self, ballot: Ballot) -> bool:
        """Whether each acceptor votes in it for the first value that it sees."""
        return ballot[2] <= self.last_fast_step and ballot[0] >= 0

    def is_ballot(self, ballot: Ballot) -> bool:
        """Whether there is such a ballot: its step is one of a round's."""
        return ballot[2] <= self.last_fast_step + 1

    def successor(self, ballot: Ballot) -> Ballot | None:
        """The ballot that follows immediately: the only one in which this one is recovered by its votes.

        None for a classic ballot, which has one value, so that nothing collides in it.
        """
        round_, node, step = ballot
        return _new(Ballot, (round_, node, step + 1)) if self.is_fast(ballot) else None

    def predecessor(self, ballot: Ballot) -> Ballot | None:
        """The ballot whose votes recover into this one; None for the first step of a round."""
        round_, node, step = ballot
        return _new(Ballot, (round_, node, step - 1)) if step else None

    def fast(self, round_: int, node: NodeId) -> Ballot:
        """The ballot in which a node's round begins when it is to be fast."""
        return _new(Ballot, (round_, node, 0))

    def classic(self, round_: int, node: NodeId) -> Ballot:
        """The classic ballot of a node's round."""
        return _new(Ballot, (round_, node, self.last_fast_step + 1))


def coordinator(ballot: Ballot, members: Sequence[NodeId]) -> NodeId:
    """Who coordinates a ballot: its node, and the first of `members` (ascending) where it is nobody's."""
    return ballot[1] or members[0]
