"""Instances: what one replica knows of one command's way to being decided.

An instance belongs to the replica that numbered it, its *owner*.  What is decided in it is a `Choice`: its
command or, when a recovery finds that it may, a no-op; and the dependencies.  There is only one command that
an instance can ever have, its owner's, so a choice need not say which.

Dependencies are one number for each member: all instances of that member up to that number.  This is the
compact form that stays right when one of them is later decided as a no-op.

Each instance is an acceptor of its own: a `paxos.basic.Vote`, whose ballots are `accepted_ballot` (the last
one at which a choice was accepted by the slow path) and `ballot` (the highest one joined).  They are two
variables, and with one in place of them agreement is lost (Sutra, *On the correctness of Egalitarian
Paxos*, 2020).
"""

from enum import IntEnum
from typing import Final, NamedTuple, Self, TypeAlias

from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic import Vote
from paxos.command import NOTHING, Command, Footprint

__all__ = [
    "ACCEPTED",
    "COMMITTED",
    "INITIAL",
    "PRE_ACCEPTED",
    "Choice",
    "Deps",
    "Instance",
    "InstanceId",
    "InstancePhase",
    "covers",
    "footprint_of",
    "join",
    "no_op",
]

#: For each member, in the order of their ids: every instance of it up to this number. 0 is none.
Deps: TypeAlias = tuple[int, ...]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__
# A read of a key that hardly anybody writes: it conflicts with ALL, and with no other like it.
_SOMETHING: Final = Footprint(reads=(b"",))


class InstanceId(NamedTuple):
    """Which instance: its owner's id, and the number that the owner gave it, from 1."""

    owner: NodeId
    number: int

    def __str__(self) -> str:
        return f"{self.owner}.{self.number}"


class InstancePhase(IntEnum):
    """How far an instance is at one replica."""

    INITIAL = 0  # nothing is known, or only what a recovery's validation told
    PRE_ACCEPTED = 1  # the owner's question was answered
    ACCEPTED = 2  # a choice was accepted by the slow path
    COMMITTED = 3  # the choice is final


# Compared on the hot path, where members of an Enum cost an attribute each.
INITIAL: Final = InstancePhase.INITIAL
PRE_ACCEPTED: Final = InstancePhase.PRE_ACCEPTED
ACCEPTED: Final = InstancePhase.ACCEPTED
COMMITTED: Final = InstancePhase.COMMITTED


class Choice(NamedTuple):
    """What is decided in an instance.

    Args:
        is_nop: whether its command is not carried out after all.
        deps: what comes before it, or may; nothing for a no-op.
    """

    is_nop: bool
    deps: Deps


def no_op(members: int) -> Choice:
    """The choice that nothing is carried out, for a cluster of so many members."""
    return Choice(True, (0,) * members)


def footprint_of(command: Command) -> Footprint:
    """What decides about the order of a command: what it touches, and something in any case.

    That a command was carried out is part of the replicated state, so one that touches nothing is ordered
    too, though only with respect to barriers. Else one replica's snapshot would say so, and another's not.
    """
    return _SOMETHING if command.footprint == NOTHING else command.footprint


def join(one: Deps, other: Deps) -> Deps:
    """The least dependencies that hold both."""
    return one if one == other else tuple(map(max, one, other))


def covers(deps: Deps, rank: int, number: int) -> bool:
    """Whether dependencies hold instance `number` of the member at `rank`."""
    return deps[rank] >= number


class Instance(Vote[Choice]):
    """What is known of one instance.

    Args:
        rank: the place of its owner among the members.
        number: as its owner numbered it.
        ballot: the lowest one, which belongs to the owner.

    Attributes:
        ballot: the highest ballot joined.
        phase: how far it is here.
        value: its command as bytes; None while it is not known.
        command: the same.
        footprint: what decides about its order.
        initial_deps: what the owner said first; None while that is not known.
        deps: of this phase: the answer to the owner, what was accepted, or what was decided.
        is_nop: whether a no-op was accepted or decided.
    """

    __slots__ = (
        "ballot",
        "command",
        "deps",
        "footprint",
        "initial_deps",
        "is_nop",
        "number",
        "phase",
        "rank",
        "value",
    )

    def __init__(self, rank: int, number: int, ballot: Ballot) -> None:
        self.accepted_ballot: Ballot = BOTTOM
        self.accepted_value: Choice | None = None
        self.rank: int = rank
        self.number: int = number
        self.ballot: Ballot = ballot
        self.phase: int = INITIAL
        self.value: bytes | None = None
        self.command: Command | None = None
        self.footprint: Footprint = NOTHING
        self.initial_deps: Deps | None = None
        self.deps: Deps | None = None
        self.is_nop: bool = False

    @property
    def choice(self) -> Choice | None:
        """What is pre-accepted, accepted or decided here; None in phase initial."""
        return None if self.deps is None else Choice(self.is_nop, self.deps)

    def clone(self) -> Self:
        """An independent copy."""
        other = object.__new__(type(self))
        other.accepted_ballot, other.accepted_value = self.accepted_ballot, self.accepted_value
        other.rank, other.number, other.ballot = self.rank, self.number, self.ballot
        other.phase, other.value, other.command = self.phase, self.value, self.command
        other.footprint = self.footprint
        other.initial_deps, other.deps, other.is_nop = self.initial_deps, self.deps, self.is_nop
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        return (
            self.rank,
            self.number,
            self.ballot,
            self.accepted_ballot,
            self.accepted_value,
            int(self.phase),
            self.value,
            self.initial_deps,
            self.deps,
            self.is_nop,
        )
