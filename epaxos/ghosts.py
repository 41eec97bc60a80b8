"""What the invariants of EPaxos keep of a run: what was decided, who voted, how far each node has come.

Facts come from messages as their nodes let them go, from what a step asks to be written, and from what it
applies.  Where a record is written, the instance in the replica's table is what it says, so that nothing need
be parsed at every step.

A decision *counts* when its node may act on it: the owner's own fast commit when its disk has it, any other
at once.  A *jump* is a node's going on from a snapshot: what it carried out then is what the node that was
the first at that barrier had carried out.
"""

from bisect import bisect_right, insort
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple

from epaxos.barrier import CutPoint
from epaxos.instances import Choice, Deps, Instance, InstanceId
from epaxos.messages import (
    Accept,
    AcceptOK,
    Ask,
    Gossip,
    Nack,
    PreAccept,
    PreAcceptOK,
    RecoverOK,
    Reserved,
    Settled,
    ValidateOK,
    Waiting,
    Written,
)
from epaxos.records import FoundRecords, decision_key, instance_key, read_records
from epaxos.replica import EPaxosReplica
from paxos.ballot import Ballot, NodeId
from paxos.basic.watch import Handler, Watch
from paxos.command import Command, Footprint, is_marker
from paxos.contract import Message, Outline, Step
from paxos.quorum import QuorumSystem

__all__ = [
    "Decided",
    "DecisionWatch",
    "ExecutionWatch",
    "FastWatch",
    "InstanceWatch",
    "Place",
    "PreAccepted",
    "Votes",
    "at",
    "choice_in",
    "choice_of",
    "commits",
    "decisions",
    "found",
    "instance_in",
    "named",
    "replica_of",
]

_OWNER: Final = slice(1, 5)
_NUMBER: Final = slice(5, None)
#: Steps that take in one of these, or are of such a kind, decide nothing, but on the fast path.
_QUIET: Final = frozenset((Gossip, Ask, PreAcceptOK, RecoverOK, ValidateOK, Waiting, Nack, Reserved, Written))
_QUIET_ACTIONS: Final = frozenset(("durable", "request", "tick"))


def replica_of(step: Step) -> EPaxosReplica | None:
    """The replica after the step, if it is one of EPaxos and up."""
    return step.replica if isinstance(step.replica, EPaxosReplica) else None


def instance_in(step: Step, name: InstanceId) -> Instance | None:
    """An instance in the memory of the step's node, after the step."""
    replica = replica_of(step)
    rank = None if replica is None else replica.context.rank.get(name[0])
    return None if replica is None or rank is None else replica.table.find(rank, name[1])


def choice_in(step: Step, name: InstanceId) -> Choice | None:
    """What is pre-accepted, accepted or decided there."""
    instance = instance_in(step, name)
    return None if instance is None else instance.choice


def is_gone(step: Step, name: InstanceId) -> bool:
    """Whether the step's node has the instance in a snapshot, and no more of it."""
    replica = replica_of(step)
    rank = None if replica is None else replica.context.rank.get(name[0])
    return replica is not None and rank is not None and replica.table.is_gone(rank, name[1])


def named(message: Any) -> InstanceId:
    """The instance that a message names."""
    return InstanceId(message.owner, message.number)


def choice_of(message: Accept) -> Choice:
    """What it proposes."""
    return Choice(message.is_nop, message.deps)


def at(step: Step, name: tuple[int, int], what: str) -> str:
    """`what` broke, and where."""
    return f"node {step.node}, instance {name[0]}.{name[1]}: {what}"


def commits(step: Step) -> Sequence[tuple[InstanceId, Command]]:
    """Instance and command of everything that the step applied."""
    return [(InstanceId(*mark), command) for mark, command in step.applies if isinstance(mark, tuple)]


@lru_cache(maxsize=8192)
def _parse(key: bytes, data: bytes) -> FoundRecords:
    return read_records({key: data})


def found(step: Step, name: InstanceId) -> tuple[Any, bool]:
    """What the node's disk holds of an instance: its record or None, and whether a decision is there."""
    key = instance_key(*name)
    data = step.durable.get(key)
    record = None if data is None else _parse(key, data).instances.get(name)
    return record, decision_key(*name) in step.durable


def reservation(step: Step, key: bytes) -> int:
    """Up to which own number the node's disk allows."""
    data = step.durable.get(key)
    return 0 if data is None else _parse(key, data).reserved


# --- what was decided -----------------------------------------------------------------------------


class _Memory:
    """The decisions of the step that was looked at last: every invariant asks for them."""

    step: ClassVar[Step | None] = None
    found: ClassVar[Sequence[tuple[InstanceId, Choice]]] = ()


def decisions(step: Step) -> Sequence[tuple[InstanceId, Choice]]:
    """What the node decided or was told in this step, as far as it counts."""
    if _Memory.step is not step:
        _Memory.step, _Memory.found = step, _decisions(step)
    return _Memory.found


def _decisions(step: Step) -> list[tuple[InstanceId, Choice]]:
    told: list[tuple[InstanceId, Choice]] = []
    early: set[int] = set()
    for _, message in step.created:
        if message.__class__ is Settled:
            early.update(message.numbers)
    for key, value in step.writes:
        if key[:1] == b"d" and value is not None:
            name = InstanceId(int.from_bytes(key[_OWNER], "big"), int.from_bytes(key[_NUMBER], "big"))
            if name.owner != step.node or name.number not in early:
                choice = choice_in(step, name)
                if choice is not None:
                    told.append((name, choice))
    for _, message in step.left:
        if message.__class__ is Settled:
            for number in message.numbers:
                name = InstanceId(step.node, number)
                choice = choice_in(step, name)
                if choice is not None:
                    told.append((name, choice))
    return told


class Decided:
    """What was decided, by what it touches: commands only, no no-ops.

    Args:
        members: all members.

    Attributes:
        choices: for each instance, no-ops included.
        footprints: of those that are none.
        cuts: of barriers that some node carried out, in the order in which somebody was the first.
    """

    def __init__(self, members: Sequence[NodeId]) -> None:
        self.rank: dict[NodeId, int] = {node: rank for rank, node in enumerate(sorted(members))}
        self._members = sorted(members)
        self.choices: dict[InstanceId, Choice] = {}
        self.footprints: dict[InstanceId, Footprint] = {}
        self.cuts: dict[InstanceId, CutPoint] = {}
        # By what is touched, and by rank: numbers, rising. None is for what touches everything, and those
        # are in every list of what conflicts; True for all there are.
        self._touching: dict[bytes | bool | None, list[list[int]]] = {}
        self._writing: dict[bytes, list[list[int]]] = {}
        self._ranged: set[InstanceId] = set()

    def add(self, name: InstanceId, choice: Choice, instance: Instance | None) -> bool:
        """Note a decision; whether it is the first of its instance."""
        if name in self.choices:
            return False
        self.choices[name] = choice
        if not choice.is_nop and instance is not None:
            footprint = self.footprints[name] = instance.footprint
            touched: list[bytes | bool | None] = [*{*footprint.reads, *footprint.writes}, True]
            if footprint.everything:
                touched.append(None)
            for key in touched:
                insort(self._list(self._touching, key, name), name.number)
            for key in footprint.writes:
                insort(self._list(self._writing, key, name), name.number)
            if footprint.read_ranges or footprint.write_ranges:
                self._ranged.add(name)
        return True

    def _list(self, where: dict[Any, list[list[int]]], key: object, name: InstanceId) -> list[int]:
        return where.setdefault(key, [[] for _ in self._members])[self.rank[name.owner]]

    def cut(self, step: Step) -> None:
        """Note a barrier that the step carried out."""
        replica = replica_of(step)
        point = None if replica is None else replica.barriers.at
        if point is not None:
            self.cuts.setdefault(point.mark, point)

    def hold(self, deps: Deps, name: InstanceId) -> bool:
        """Whether an instance is in these dependencies, or comes before a barrier that is.

        What comes before a barrier may be truncated, and who depends on the barrier then knows no better.
        """
        owner, number = name
        rank = self.rank[owner]
        return deps[rank] >= number or any(
            floor[rank] >= number
            and deps[self.rank[mark.owner]] >= mark.number
            and (rank, number) not in kept
            for mark, floor, kept in self.cuts.values()
        )

    def outside(self, footprint: Footprint, deps: Deps) -> Iterator[InstanceId]:
        """What was decided, conflicts with `footprint`, and is not held by these dependencies."""
        reads, writes, read_ranges, write_ranges, everything = footprint
        if everything or read_ranges or write_ranges:
            lists = [self._touching.get(True, ())]
        else:
            lists = [self._touching.get(None, ())]
            lists += [self._touching.get(key, ()) for key in writes]
            lists += [self._writing.get(key, ()) for key in reads]
        names = {
            InstanceId(self._members[rank], number)
            for each in lists
            for rank, numbers in enumerate(each)
            for number in numbers[bisect_right(numbers, deps[rank]) :]
        }
        names.update(name for name in self._ranged if deps[self.rank[name.owner]] < name.number)
        for name in sorted(names):
            if self.footprints[name].conflicts(footprint) and not self.hold(deps, name):
                yield name


class Votes:
    """Votes that left, by instance and ballot, for what was proposed there.

    Attributes:
        proposed: choice by (instance, ballot).
        ballots: of each instance those at which something was proposed.
    """

    def __init__(self, quorums: QuorumSystem) -> None:
        self._quorums = quorums
        self.proposed: dict[tuple[InstanceId, Ballot], Choice] = {}
        self.ballots: dict[InstanceId, list[Ballot]] = {}
        self._voters: dict[tuple[InstanceId, Ballot], set[NodeId]] = {}

    def propose(self, message: Accept) -> bool:
        """A proposal was made; whether it is the first at its ballot."""
        name = InstanceId(message.owner, message.number)
        if (name, message.ballot) in self.proposed:
            return False
        self.proposed[name, message.ballot] = Choice(message.is_nop, message.deps)
        self.ballots.setdefault(name, []).append(message.ballot)
        return True

    def vote(self, node: NodeId, message: AcceptOK) -> Choice | None:
        """A vote left; what it completed a quorum for."""
        key = (InstanceId(message.owner, message.number), message.ballot)
        voters = self._voters.setdefault(key, set())
        if node in voters:
            return None
        had = self._quorums.is_quorum(voters)
        voters.add(node)
        return self.proposed.get(key) if not had and self._quorums.is_quorum(voters) else None

    def is_chosen(self, name: InstanceId) -> bool:
        """Whether a quorum voted, at some one ballot."""
        return any(
            self._quorums.is_quorum(self._voters.get((name, ballot), ()))
            for ballot in self.ballots.get(name, ())
        )


# --- how a run is watched -------------------------------------------------------------------------


class InstanceWatch(Watch):
    """An invariant whose handlers are told whom a message goes to: an answer to PreAccept says no owner."""

    _when: ClassVar[Collection[str | type]] = ()

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._rank = {node: rank for rank, node in enumerate(sorted(quorums.members))}
        self._to: NodeId = 0

    def observe(self, step: Step) -> str | None:
        """See one step; a sentence naming what broke, or None."""
        if self._looks_first:
            said = self._before(step)
            if said is not None:
                return said
        said = self._hear(step)
        if said is not None:
            return said
        return self._after(step) if step.applies or step.action == "restart" else None

    def _hear(self, step: Step) -> str | None:
        """Call the handlers of what the step created, and of what left in it."""
        # Every invariant comes here at every step of a run.
        if self._created and step.created:
            said = self._call(step, self._created, step.created)
            if said is not None:
                return said
        if self._left and step.left:
            return self._call(step, self._left, step.left)
        return None

    def _call(
        self, step: Step, handlers: Mapping[type, Handler], messages: Sequence[tuple[NodeId, Message]]
    ) -> str | None:
        previous = None
        for recipient, message in messages:
            if message is previous:
                continue  # the same for everybody
            previous = message
            handler = handlers.get(message.__class__)
            if handler is not None:
                self._to = recipient
                said = handler(step, message)
                if said is not None:
                    return said
        return None


class DecisionWatch(InstanceWatch):
    """An invariant that looks at decisions as they come to count."""

    _when: ClassVar[Collection[str | type]] = ()

    def concerns(self, outline: Outline) -> bool:
        """Whether something may be decided there."""
        action, received, created, left, applied = outline
        if applied or Settled in left or Settled in created:
            return True
        if received not in _QUIET if received is not None else action not in _QUIET_ACTIONS:
            return True
        if received is not None and received in self._when:
            return True
        return not (left.isdisjoint(self._left) and created.isdisjoint(self._created))

    def observe(self, step: Step) -> str | None:
        """See one step; a sentence naming what broke, or None."""
        if self._looks_first:
            said = self._before(step)
            if said is not None:
                return said
        said = self._hear(step)
        if said is None and (step.applies or step.action == "restart"):
            said = self._after(step)
        if said is not None:
            return said
        for name, choice in _Memory.found if _Memory.step is step else decisions(step):
            said = self._decided(step, name, choice)
            if said is not None:
                return said
        return None

    def _decided(self, step: Step, name: InstanceId, choice: Choice) -> str | None:
        """Called for every decision that counts, at every node, more than once perhaps."""
        return None


class PreAccepted:
    """Who pre-accepted an instance with exactly its initial dependencies, as far as answers left."""

    __slots__ = ("agreeing", "deps")

    def __init__(self, deps: Deps) -> None:
        self.deps: Deps = deps
        self.agreeing: set[NodeId] = set()


class FastWatch(InstanceWatch):
    """An invariant that looks at pre-acceptances that left."""

    _when = ()

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._fast: dict[InstanceId, PreAccepted] = {}
        self._created: Mapping[type, Any] = {PreAccept: self._asks}
        self._left: Mapping[type, Any] = {PreAcceptOK: self._answers, Written: self._writes}

    def _asks(self, step: Step, message: PreAccept) -> str | None:
        self._fast.setdefault(InstanceId(step.node, message.number), PreAccepted(message.deps))
        return None

    def _answers(self, step: Step, message: PreAcceptOK) -> str | None:
        name = InstanceId(self._to, message.number)
        fast = self._fast.get(name)
        if fast is None or message.deps != fast.deps or step.node not in self._quorums.members:
            return None
        fast.agreeing.add(step.node)
        return self._agreed(step, name, fast)

    def _writes(self, step: Step, message: Written) -> str | None:
        for number in message.numbers:
            name = InstanceId(step.node, number)
            fast = self._fast.get(name)
            if fast is not None:
                fast.agreeing.add(step.node)
                said = self._agreed(step, name, fast)
                if said is not None:
                    return said
        return None

    def _agreed(self, step: Step, name: InstanceId, fast: PreAccepted) -> str | None:
        """Called when one more has pre-accepted the initial dependencies."""
        return None


class Place:
    """How far a node has carried out what was decided, in this life.

    Attributes:
        applied: which instances, those inside the snapshot that it goes on from included.
        count: for each key how many commands that write it; None is for what touches everything.
    """

    __slots__ = ("applied", "count")

    def __init__(self) -> None:
        self.applied: set[InstanceId] = set()
        self.count: dict[bytes | None, int] = {}

    def clone(self) -> "Place":
        """An independent copy."""
        other = Place()
        other.applied, other.count = set(self.applied), dict(self.count)
        return other


class Touch(NamedTuple):
    """What a command is to one key: whether it writes it, and how many that write it come before."""

    key: bytes | None
    is_write: bool
    before: int


class ExecutionWatch(InstanceWatch):
    """An invariant of what nodes carry out, and in which order."""

    _when: ClassVar[Collection[str | type]] = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._places: dict[NodeId, Place] = {}
        # Where the node that was first at a barrier was then.
        self._cuts: dict[InstanceId, Place] = {}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._places.pop(step.node, None)
        return None

    def _after(self, step: Step) -> str | None:
        if not step.applies:
            return None
        place = self._places.setdefault(step.node, Place())
        replica = replica_of(step)
        last = None if replica is None else replica.barriers.last
        if last is not None and last.mark not in place.applied:
            said = self._jumped(step, place, last.mark)
            if said is not None:
                return said
            cut = self._cuts.get(last.mark)
            if cut is not None:
                place = self._places[step.node] = cut.clone()
        for name, command in commits(step):
            said = self._carried_out(step, place, name, command)
            place.applied.add(name)
            if said is not None:
                return said
            for touch in touches(place, command.footprint):
                if touch.is_write:
                    place.count[touch.key] = touch.before + 1
            if is_marker(command):
                self._cuts.setdefault(name, place.clone())
        return None

    def _jumped(self, step: Step, place: Place, mark: InstanceId) -> str | None:
        """Called before a node goes on from the snapshot at a barrier."""
        return None

    def _carried_out(self, step: Step, place: Place, name: InstanceId, command: Command) -> str | None:
        """Called for each command as it is carried out, with what was before it."""
        return None


def touches(place: Place, footprint: Footprint) -> list[Touch]:
    """What a command is to each key that it names, and to the commands that touch everything."""
    count = place.count
    # Ranges are left out here.
    found = [Touch(key, True, count.get(key, 0)) for key in footprint.writes]
    found += [Touch(key, False, count.get(key, 0)) for key in footprint.reads if key not in footprint.writes]
    found.append(Touch(None, footprint.everything, count.get(None, 0)))
    return found
