"""Barriers: where the log is cut, and what may be forgotten behind a cut.

A barrier is a command that conflicts with everything.  Whatever was executed here before it, or in one
component with it, is its *closure*; that is the same everywhere, and so is the state then.  The cut is
after the component: of several barriers in one only the lowest counts, and it is executed last.

A snapshot of the state at a cut carries what this room packs for it: the *floor*, which is for each member
the highest number in the closure; the *exceptions*, which are at or below the floor and not in the closure,
so that they come after the barrier; the *executed index*, which says for each key who touched it last; and
the barrier itself.  When the snapshot is durable, the closure and the no-ops at or below the floor are
forgotten.  What is forgotten was decided and executed, and the executed index is what is left of it in the
dependencies of what comes, and in validation: forgetting records never forgets conflicts.

The executed index would grow with every key that was ever touched.  When a classic quorum has a snapshot at a
cut, or at a later one, on its disks, the floor takes its place: from then on everything depends on all that
is at or below the floor.

This is this project's own, as the vectors of dependencies are; `specs/EPaxosBarrier.tla` models it.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

from epaxos.conflicts import ExecutedIndex
from epaxos.context import Context
from epaxos.execution import Cut
from epaxos.instances import Choice, Deps, Instance, InstanceId
from epaxos.messages import MAX_NUMBER, take_deps
from epaxos.values import MAX_VALUE_BYTES
from paxos.ballot import NodeId
from paxos.contract import Mark, Outcome, OutcomeKind
from paxos.errors import RecordError, WireError
from paxos.wire import (
    dumps,
    expect_fields,
    loads_strict,
    take_bytes,
    take_int,
    take_node,
)

__all__ = ["Barriers", "CutPoint", "Kept", "Part", "choice_of", "read_part"]

_FORMAT: Final = 1


class CutPoint(NamedTuple):
    """Where the log was cut.

    Args:
        mark: the barrier.
        floor: for each member the highest number in its closure.
        exceptions: rank and number of what is at or below the floor and comes after the barrier.
    """

    mark: InstanceId
    floor: Deps
    exceptions: frozenset[tuple[int, int]]


class Kept(NamedTuple):
    """A decided instance in a snapshot: rank, number, dependencies, command."""

    rank: int
    number: int
    deps: Deps
    value: bytes


class Part(NamedTuple):
    """What a snapshot carries for the protocol.

    Args:
        cut: where it was made.
        barrier: the barrier itself.
        exceptions: what comes after it though it is at or below the floor, commands included.
        replaced: the floor that took the place of the executed index below it.
        executed: who touched each key last, as far as the floor does not say it.
    """

    cut: CutPoint
    barrier: Kept
    exceptions: tuple[Kept, ...]
    replaced: Deps
    executed: ExecutedIndex


class Barriers:
    """What was executed here, and the cuts.

    Args:
        context: of the replica.

    Attributes:
        executed: per key the highest numbers of what was executed, no-ops left out.
        last: the last cut with a durable snapshot here; None before the first.
        replaced: the floor that took the place of `executed` below it.
    """

    __slots__ = ("_at", "_cuts", "_floors", "executed", "last", "replaced")

    def __init__(self, context: Context) -> None:
        self.executed: ExecutedIndex = ExecutedIndex(len(context.members))
        self.last: CutPoint | None = None
        # Cuts at which a snapshot was begun that is not durable yet, oldest first.
        self._cuts: dict[InstanceId, CutPoint] = {}
        # The cut at which the state is right now, if it is at one.
        self._at: CutPoint | None = None
        # The floor of each member's last durable snapshot, as far as it said so.
        self._floors: dict[NodeId, Deps] = {}
        self.replaced: Deps = (0,) * len(context.members)

    # --- cuts --------------------------------------------------------------------------------------

    def cut(self, barrier: Instance, cut: Cut, context: Context) -> None:
        """A barrier was executed, and nothing after it."""
        mark = InstanceId(context.members[barrier.rank], barrier.number)
        exceptions = frozenset((node.rank, node.number) for node in cut.exceptions)
        self._at = CutPoint(mark, cut.floor, exceptions)
        context.event("barrier", "execute", instance=str(mark), exceptions=len(exceptions))

    def move_on(self) -> None:
        """Something is executed after the last cut."""
        self._at = None

    def surplus(self, barrier: Instance, context: Context) -> None:
        """A barrier that does not count, since another one of its component does."""
        assert barrier.command is not None, "what is executed is known"
        reason = "another marker was ordered together with it"
        outcome = Outcome(barrier.command.request, OutcomeKind.REJECTED, reason=reason)
        context.out.outcomes.append(outcome)

    def take(self, mark: Mark, context: Context) -> CutPoint | None:
        """The cut at `mark`, whose snapshot is durable now; None if it is known no more or was taken."""
        cut = self._cuts.pop(InstanceId(*mark), None) if isinstance(mark, tuple) else None
        if cut is not None:
            # Those before it will not be asked for any more.
            self._cuts = {each.mark: each for each in self._cuts.values() if _below(cut.floor, each.floor)}
            self.last = cut
            self._floors[context.node] = cut.floor
        return cut

    @property
    def at(self) -> CutPoint | None:
        """The cut at which the state is right now; None when it is at none."""
        return self._at

    # --- in a snapshot -----------------------------------------------------------------------------

    def pack(
        self, cut: CutPoint, exceptions: Iterable[Instance], barrier: Instance, context: Context
    ) -> bytes:
        """What a snapshot of the state, which is at this cut right now, carries.

        Args:
            cut: where.
            exceptions: those of the cut.
            barrier: the barrier itself.
            context: of the replica.
        """
        self._cuts[cut.mark] = cut
        kept = [_pack_kept(instance, context) for instance in exceptions]
        last = _pack_kept(barrier, context)
        return dumps((_FORMAT, cut.mark, cut.floor, last, kept, self.replaced, self.executed.pack()))

    def install(self, part: Part, context: Context) -> None:
        """The state is that of another replica's snapshot, or of the own store's."""
        self.executed = part.executed
        self.last = part.cut
        self._cuts, self._at = {}, None
        self._floors[context.node] = part.cut.floor
        self.replaced = part.replaced

    # --- the floor takes the index's place -----------------------------------------------------------

    def on_floor(self, node: NodeId, floor: Deps) -> None:
        """A member has a snapshot with this floor on its disk."""
        known = self._floors.get(node)
        if known is None or _below(known, floor):
            self._floors[node] = floor

    def stable(self, context: Context) -> Deps | None:
        """The floor of the own last cut, when it may take the index's place and has not done so."""
        last = self.last
        if last is None or last.floor == self.replaced:
            return None
        have = sum(
            1 for member in context.members if _covers(self._floors.get(member, self.replaced), last.floor)
        )
        return last.floor if have >= context.classic else None

    def replace(self, floor: Deps, held: Iterable[Instance]) -> None:
        """The floor takes the place of the index below it, but for what is held and was executed later.

        Args:
            floor: of a cut that a classic quorum has durably.
            held: what is at or below it, executed, and not in the closure.
        """
        self.executed.drop(floor)
        for instance in held:
            self.executed.add(instance.rank, instance.number, instance.footprint)
        self.replaced = floor

    # --- copies ------------------------------------------------------------------------------------

    def clone(self) -> Self:
        """An independent copy."""
        other = object.__new__(type(self))
        other.executed, other.last = self.executed.clone(), self.last
        other._cuts, other._at = dict(self._cuts), self._at
        other._floors, other.replaced = dict(self._floors), self.replaced
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        return (
            self.executed.fingerprint(),
            self.last,
            tuple(self._cuts.values()),
            self._at,
            tuple(sorted(self._floors.items())),
            self.replaced,
        )


def _covers(one: Deps, other: Deps) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))


def _below(one: Deps, other: Deps) -> bool:
    """Whether the floor of one cut is that of an earlier one. Floors of cuts only rise."""
    return one != other and _covers(other, one)


def _pack_kept(instance: Instance, context: Context) -> tuple[NodeId, int, Deps, bytes]:
    assert instance.deps is not None, "what was decided has dependencies"
    assert instance.value is not None, "and its command is known"
    return (context.members[instance.rank], instance.number, instance.deps, instance.value)


def read_part(part: bytes, context: Context) -> Part:
    """What a snapshot carries.

    Raises:
        RecordError: it is damaged, of another cluster, or newer than this code.
    """
    where = "the part of a snapshot"
    try:
        fields: Any = loads_strict(part)
        if type(fields) is not list or not fields or fields[0] != _FORMAT:
            raise WireError("made by another release")
        mark, floor, barrier, exceptions, replaced, executed = expect_fields(fields, 7, where)[1:]
        taken_floor, by_floor = take_deps(floor, f"{where}.floor"), take_deps(replaced, f"{where}.replaced")
        if not context.fits(taken_floor) or not context.fits(by_floor):
            raise WireError("of a cluster with another number of members")
        owner, number = expect_fields(mark, 2, f"{where}.mark")
        name = InstanceId(take_node(owner, where), take_int(number, where, 1, MAX_NUMBER))
        if type(exceptions) is not list:
            raise WireError("its exceptions are no list")
        kept = tuple(_take_kept(item, where, context) for item in exceptions)
        cut = CutPoint(name, taken_floor, frozenset((each.rank, each.number) for each in kept))
        return Part(
            cut,
            _take_kept(barrier, where, context),
            kept,
            by_floor,
            ExecutedIndex.unpack(executed, len(context.members), where),
        )
    except WireError as error:
        raise RecordError(f"{where}: {error}") from error


def _take_kept(item: object, where: str, context: Context) -> Kept:
    owner, number, deps, value = expect_fields(item, 4, where)
    rank = context.rank.get(owner) if type(owner) is int else None
    taken = take_deps(deps, where)
    if rank is None or not context.fits(taken):
        raise WireError(f"{where}: an instance of another cluster")
    return Kept(
        rank, take_int(number, where, 1, MAX_NUMBER), taken, take_bytes(value, where, MAX_VALUE_BYTES)
    )


def choice_of(kept: Kept) -> Choice:
    """What was decided in an instance of a snapshot."""
    return Choice(False, kept.deps)
