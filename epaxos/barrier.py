"""Barriers: where the log is cut, and what may be forgotten behind a cut.

A barrier is a command that conflicts with everything.  Whatever was executed here before it, or in one
component with it, is its *closure*; that is the same everywhere, and so is the state then.  The cut is
after the component: of several barriers in one only the lowest counts, and it is executed last.

A snapshot of the state at a cut carries what this room packs for it: the *floor*, which is for each member
the highest number in the closure; the *exceptions*, which are at or below the floor and not in the closure,
so that they come after the barrier; and the barrier itself.  From a cut on everything depends on all that
is at or below the floor: so nothing has to be remembered of what touched which key before.

Records stay until a classic quorum has a snapshot at the cut, or at a later one, on its disks.  Then no
recovery of anything in the closure can decide anything any more, since some replica of every classic quorum
has executed it; and the closure, and the no-ops at or below the floor, are *truncated*.  Who installs a
snapshot forgets nothing before that either: what it knows of an instance may be what a recovery has to
know.

This is this project's own, as the vectors of dependencies are.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

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
#: Durable cuts that wait for others, at most: an older one is covered by a newer.
_MAX_PENDING: Final = 8


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
    """

    cut: CutPoint
    barrier: Kept
    exceptions: tuple[Kept, ...]


class Barriers:
    """The cuts of one replica.

    Args:
        context: of the replica.

    Attributes:
        last: the last cut with a durable snapshot here; None before the first.
        truncated: the floor of the last cut that was truncated to.
    """

    __slots__ = ("_at", "_begun", "_floors", "_pending", "last", "truncated")

    def __init__(self, context: Context) -> None:
        self.last: CutPoint | None = None
        self.truncated: Deps = (0,) * len(context.members)
        # The cut at which the state is right now, if it is at one.
        self._at: CutPoint | None = None
        # Cuts at which a snapshot was begun that is not durable yet; and those whose is, oldest first.
        self._begun: dict[InstanceId, CutPoint] = {}
        self._pending: list[CutPoint] = []
        # The floor of each member's last durable snapshot, as far as it said so.
        self._floors: dict[NodeId, Deps] = {}

    # --- cuts --------------------------------------------------------------------------------------

    @property
    def at(self) -> CutPoint | None:
        """The cut at which the state is right now; None when it is at none."""
        return self._at

    def cut(self, barrier: Instance, cut: Cut, context: Context) -> CutPoint:
        """A barrier was executed, and nothing after it."""
        mark = InstanceId(context.members[barrier.rank], barrier.number)
        exceptions = frozenset((node.rank, node.number) for node in cut.exceptions)
        self._at = point = CutPoint(mark, cut.floor, exceptions)
        context.event("barrier", "execute", instance=mark, floor=cut.floor, exceptions=len(exceptions))
        return point

    def move_on(self) -> None:
        """Something is executed after the last cut."""
        self._at = None

    def surplus(self, barrier: Instance, context: Context) -> None:
        """A barrier that does not count, since another one of its component does."""
        assert barrier.command is not None, "what is executed is known"
        reason = "another marker was ordered together with it"
        outcome = Outcome(barrier.command.request, OutcomeKind.REJECTED, reason=reason)
        context.out.outcomes.append(outcome)

    def take(self, mark: Mark, context: Context) -> None:
        """The snapshot at `mark` is durable."""
        cut = self._begun.pop(InstanceId(*mark), None) if isinstance(mark, tuple) else None
        if cut is None:
            return  # of an earlier life, and installed then; or a later one was taken
        # Those before it will not be asked for any more.
        self._begun = {each.mark: each for each in self._begun.values() if _below(cut.floor, each.floor)}
        self._keep(cut, context)

    def _keep(self, cut: CutPoint, context: Context) -> None:
        self.last = cut
        self._floors[context.node] = cut.floor
        self._pending = [*self._pending, cut][-_MAX_PENDING:]

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
        self._begun[cut.mark] = cut
        kept = [_pack_kept(instance, context) for instance in exceptions]
        return dumps((_FORMAT, cut.mark, cut.floor, _pack_kept(barrier, context), kept))

    def install(self, part: Part, context: Context) -> None:
        """The state is that of another replica's snapshot, or of the own store's."""
        self._begun, self._at = {}, None
        self._keep(part.cut, context)

    # --- truncation --------------------------------------------------------------------------------

    def on_floor(self, node: NodeId, floor: Deps) -> None:
        """A member has a snapshot with this floor on its disk."""
        known = self._floors.get(node)
        if known is None or _below(known, floor):
            self._floors[node] = floor

    def stable(self, context: Context) -> CutPoint | None:
        """The newest cut that a classic quorum has, or a later one, on its disks, if it is news; taken."""
        nothing = context.no_op.deps
        for at in range(len(self._pending) - 1, -1, -1):
            cut = self._pending[at]
            floors = (self._floors.get(member, nothing) for member in context.members)
            if sum(_covers(floor, cut.floor) for floor in floors) >= context.classic:
                del self._pending[: at + 1]
                self.truncated = cut.floor
                return cut
        return None

    # --- copies ------------------------------------------------------------------------------------

    def clone(self) -> Self:
        """An independent copy."""
        other = object.__new__(type(self))
        other.last, other.truncated = self.last, self.truncated
        other._at, other._begun, other._pending = self._at, dict(self._begun), list(self._pending)
        other._floors = dict(self._floors)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        return (
            self.last,
            self.truncated,
            self._at,
            tuple(self._begun.values()),
            tuple(self._pending),
            tuple(sorted(self._floors.items())),
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
        mark, floor, barrier, exceptions = expect_fields(fields, 5, where)[1:]
        taken_floor = take_deps(floor, f"{where}.floor")
        if not context.fits(taken_floor):
            raise WireError("of a cluster with another number of members")
        owner, number = expect_fields(mark, 2, f"{where}.mark")
        name = InstanceId(take_node(owner, where), take_int(number, where, 1, MAX_NUMBER))
        if type(exceptions) is not list:
            raise WireError("its exceptions are no list")
        kept = tuple(_take_kept(item, where, context) for item in exceptions)
        cut = CutPoint(name, taken_floor, frozenset((each.rank, each.number) for each in kept))
        return Part(cut, _take_kept(barrier, where, context), kept)
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
