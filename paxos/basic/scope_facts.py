"""What can be true in the closed world, each fact one bit; and what the facts alone say.

That a message left, that a copy of it is under way, that a value was submitted: each is a *fact* with a
bit of its own, given out when it first comes up.  A state of the world is one int, and the facts that hold
in it are the bits set.  So "every vote that left" is one mask, and what follows from it is worked out once
for each mask.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from paxos.ballot import Ballot, NodeId
from paxos.basic.messages import Accept, Accepted, Nack, Promise
from paxos.basic.scope_parts import Broken, LearnerPart, RoleMessage, say
from paxos.quorum import Phase, QuorumSystem

__all__ = [
    "FULL",
    "WIDTH",
    "Fact",
    "Facts",
    "Flying",
    "Learned",
    "LearnerPaths",
    "Remembered",
    "Sent",
    "Submitted",
    "chosen_by",
]

#: Bits of a state for the number of a part's standing.
WIDTH: Final = 16
#: As many ones.
FULL: Final = (1 << WIDTH) - 1


T = TypeVar("T")


class Sent(NamedTuple):
    """A message left: what it was, its class (messages of equal fields are told apart by it), and whose."""

    part: int
    kind: type
    message: RoleMessage


class Flying(NamedTuple):
    """A copy of a message is under way."""

    part: int
    kind: type
    message: RoleMessage
    to: int


class Submitted(NamedTuple):
    """A client asked for a value."""

    value: bytes


Fact: TypeAlias = Sent | Flying | Submitted


class Facts:
    """Gives out bits to facts, and keeps the masks of those that belong together.

    Args:
        first_bit: the number of the lowest bit.
    """

    def __init__(self, first_bit: int) -> None:
        self._next: int = first_bit
        self._bits: dict[tuple[type, Fact], int] = {}
        self._by_bit: dict[int, Fact] = {}
        #: Votes that left.
        self.votes: int = 0
        #: Proposals and votes that left: what carries a value.
        self.valued: int = 0
        #: Values submitted.
        self.submitted: int = 0
        #: Messages that left and that the specification knows.
        self.specified: int = 0
        #: Copies under way.
        self.flying: int = 0
        #: By part: promises and votes of it that left.
        self.answered: dict[int, int] = {}

    def bit(self, fact: Fact) -> tuple[int, bool]:
        """The bit of a fact, and whether it is new."""
        key = (fact.__class__, fact)
        bit = self._bits.get(key)
        if bit is not None:
            return bit, False
        bit = self._bits[key] = 1 << self._next
        self._next += 1
        self._by_bit[bit] = fact
        if isinstance(fact, Submitted):
            self.submitted |= bit
        elif isinstance(fact, Flying):
            self.flying |= bit
        elif isinstance(fact, Sent):
            self._sort(fact, bit)
        return bit, True

    def _sort(self, fact: Sent, bit: int) -> None:
        if fact.kind is Accepted:
            self.votes |= bit
        if fact.kind in (Accept, Accepted):
            self.valued |= bit
        if fact.kind in (Promise, Accepted):
            self.answered[fact.part] = self.answered.get(fact.part, 0) | bit
        if fact.kind is not Nack:
            self.specified |= bit

    def of(self, mask: int) -> Iterable[tuple[int, Any]]:
        """The facts whose bits are set, lowest first, each with its bit."""
        by_bit = self._by_bit
        while mask:
            bit = mask & -mask
            mask ^= bit
            fact = by_bit.get(bit)
            if fact is not None:
                yield bit, fact


class Remembered(Generic[T]):
    """A function of a mask or the like, worked out once for each."""

    def __init__(self, work_out: Callable[..., T]) -> None:
        self._work_out = work_out
        self._known: dict[Hashable, T] = {}

    def __call__(self, *key: Any) -> T:
        """The function's value."""
        try:
            return self._known[key]
        except KeyError:
            value = self._known[key] = self._work_out(*key)
            return value


def chosen_by(votes: Iterable[Sent], quorums: QuorumSystem, node_of: Callable[[int], NodeId]) -> set[bytes]:
    """The values for which a phase-2 quorum voted at one ballot."""
    voters: dict[tuple[Ballot, bytes], set[NodeId]] = {}
    for vote in votes:
        message: Any = vote.message
        voters.setdefault((message.ballot, message.value), set()).add(node_of(vote.part))
    return {value for (_, value), nodes in voters.items() if quorums.is_quorum(nodes, Phase.TWO)}


class Learned(NamedTuple):
    """What a learner can have come to by some of the votes that left.

    Args:
        standings: in how many different ways it can stand.
        values: everything it can have decided, each with the votes that it took in.
        broken: the first standing that raised, if any, with the votes that it took in.
    """

    standings: int
    values: dict[bytes, str]
    broken: tuple[Broken, str] | None


_Place: TypeAlias = tuple[Any, str]


class LearnerPaths:
    """Everything a learner can come to by votes that stay deliverable, in any order, any number of times.

    A learner sends nothing, so where it stands changes nothing for the others: each state of the world goes
    together with each standing that the votes sent so far can lead to.  These are found once for each set of
    votes, by the real learner's handler, and need not multiply the states of the world.

    Args:
        part: the learner.
        facts: where votes are found.
        node_of: the node of a part.
    """

    def __init__(self, part: LearnerPart, facts: Facts, node_of: Callable[[int], NodeId]) -> None:
        self._part = part
        self._facts = facts
        self._node_of = node_of
        self._numbers: dict[Hashable, int] = {}
        self._standings: list[Any] = []
        self._steps: dict[tuple[int, int], int] = {}
        self._start: Final = self._number(part.start())

    def _number(self, standing: Any) -> int:
        key = self._part.key(standing)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._standings)
            self._standings.append(standing)
        return number

    def _step(self, number: int, bit: int, vote: Sent) -> int:
        known = self._steps.get((number, bit))
        if known is None:
            standing = self._standings[number]
            move = self._part.on_message(standing, self._node_of(vote.part), vote.message)
            known = self._steps[number, bit] = number if move is None else self._number(move.standing)
        return known

    def __call__(self, votes: int) -> Learned:
        """What it can have come to by the votes of this mask."""
        facts = [(bit, fact) for bit, fact in self._facts.of(votes) if isinstance(fact, Sent)]
        came: dict[int, tuple[int, Sent] | None] = {self._start: None}
        places = [self._start]
        for number in places:  # grows while it is walked
            for bit, vote in facts:
                after = self._step(number, bit, vote)
                if after not in came:
                    came[after] = (number, vote)
                    places.append(after)
        values: dict[bytes, str] = {}
        broken: tuple[Broken, str] | None = None
        for number in places:
            standing = self._standings[number]
            if isinstance(standing, Broken):
                broken = broken or (standing, self._path(came, number))
            elif standing.decision is not None and standing.decision.value not in values:
                values[standing.decision.value] = self._path(came, number)
        return Learned(len(places), values, broken)

    def _path(self, came: dict[int, tuple[int, Sent] | None], number: int) -> str:
        taken: list[str] = []
        step = came[number]
        while step is not None:
            number, vote = step
            taken.append(f"{say(vote.message)} of acceptor {self._node_of(vote.part)}")
            step = came[number]
        return "; ".join(reversed(taken))
