"""The table of instances at one replica, and what conflicts with what among them.

An instance is held from the moment anything is known of it until a snapshot has it and it may be forgotten.
Those that are forgotten are *gone*: their numbers are at or below the floor, and they have no entry.  A gone
instance is never made anew; whoever asks about it is given the snapshot.
"""

from collections.abc import Iterator
from typing import Final, Self

from epaxos.conflicts import ConflictIndex
from epaxos.context import Context
from epaxos.instances import (
    ACCEPTED,
    COMMITTED,
    INITIAL,
    Choice,
    Deps,
    Instance,
    InstanceId,
    footprint_of,
)
from epaxos.records import (
    FoundInstance,
    decision_key,
    instance_key,
    pack_decision,
    pack_instance,
)
from epaxos.values import take_value
from paxos.command import Command, Footprint
from paxos.errors import ProtocolBreach

__all__ = ["Table"]

_new: Final = tuple.__new__


class Table:
    """All instances that are held here.

    Args:
        context: of the replica.

    Attributes:
        by_rank: for each member the instances it owns, by number.
        top: for each member the highest number that was heard of.
        floor: what is at or below it and has no entry is gone.
        index: what is known here in any way, by what it touches.
        orphans: own numbers up to this one may have been used in an earlier life of this replica that forgot
            them, because it told others before its disk knew; 0 when all of them are decided.
    """

    def __init__(self, context: Context) -> None:
        members = len(context.members)
        self.by_rank: list[dict[int, Instance]] = [{} for _ in range(members)]
        self.top: list[int] = [0] * members
        self.floor: Deps = (0,) * members
        self.index: ConflictIndex = ConflictIndex(members)
        self.orphans: int = 0

    # --- finding -----------------------------------------------------------------------------------

    def find(self, rank: int, number: int) -> Instance | None:
        """An instance, if it is held."""
        return self.by_rank[rank].get(number)

    def is_gone(self, rank: int, number: int) -> bool:
        """Whether an instance is in a snapshot and forgotten."""
        return number <= self.floor[rank] and number not in self.by_rank[rank]

    def is_covered(self, instance: Instance) -> bool:
        """Whether a held instance is decided and executed in a snapshot, though not known to be here.

        Who asks about it is given the snapshot. What is known of it stays, for what conflicts with it: others
        may not have the snapshot yet, and validations go by it.
        """
        return instance.number <= self.floor[instance.rank] and instance.phase != COMMITTED

    def make(self, rank: int, number: int, context: Context) -> Instance:
        """An instance that nothing is known of yet. It must be neither held nor gone."""
        assert number > self.floor[rank], "a gone instance is never made anew"
        instance = Instance(rank, number, context.lowest[rank])
        self.by_rank[rank][number] = instance
        if number > self.top[rank]:
            self.top[rank] = number
        return instance

    def find_or_make(self, rank: int, number: int, context: Context) -> Instance | None:
        """An instance, made if need be; None if it is gone."""
        instance = self.by_rank[rank].get(number)
        if instance is not None:
            return instance
        return None if number <= self.floor[rank] else self.make(rank, number, context)

    def __iter__(self) -> Iterator[Instance]:
        for instances in self.by_rank:
            yield from instances.values()

    # --- what an earlier life forgot -----------------------------------------------------------------

    def hold_orphans(self, number: int, context: Context) -> None:
        """Own numbers up to this one may have been used, with commands that are not known here any more.

        Others may know them, and conclude something from what this replica says of what conflicts with them.
        So each command conflicts with all of them, until they are decided.
        """
        self.orphans = number
        self.index.hold(context.own_rank, number)

    def release_orphans(self, context: Context) -> None:
        """All of them are decided."""
        number, self.orphans = self.orphans, 0
        held = self.by_rank[context.own_rank].get(number)
        if held is None or held.phase != ACCEPTED or not held.is_nop:
            self.index.release(context.own_rank, number)

    def _release(self, instance: Instance, context: Context) -> None:
        """A no-op that was accepted is decided, or lost."""
        if instance.rank != context.own_rank or instance.number != self.orphans:
            self.index.release(instance.rank, instance.number)

    # --- changing ----------------------------------------------------------------------------------

    def learn(self, instance: Instance, value: bytes, command: Command | None = None) -> None:
        """The command of an instance has become known: from now on it conflicts with others.

        Raises:
            ProtocolBreach: it is not the command that was known before.
            WireError: it is none.
        """
        if instance.value is None:
            instance.command = take_value(value) if command is None else command
            instance.value, instance.footprint = value, footprint_of(instance.command)
            self.index.add(instance.rank, instance.number, instance.footprint)
        elif instance.value != value:
            raise ProtocolBreach(
                f"Validity: instance {instance.number} of the member at rank {instance.rank} has two commands"
            )

    def accept(self, instance: Instance, choice: Choice, context: Context) -> None:
        """A choice was voted for; its command, if it has one, is known."""
        was_held = instance.phase == ACCEPTED and instance.is_nop
        instance.phase = ACCEPTED
        instance.is_nop, instance.deps = choice
        if choice.is_nop and not was_held:
            # The no-op may still lose; who has forgotten the command that wins would miss conflicts with it.
            self.index.hold(instance.rank, instance.number)
        elif was_held and not choice.is_nop:
            self._release(instance, context)

    def decide(self, instance: Instance, choice: Choice, context: Context) -> bool:
        """This was decided; its command, if it has one, is known. Whether that is news.

        Raises:
            ProtocolBreach: something else was decided before. Going on would hide it.
        """
        if instance.phase == COMMITTED:
            if (instance.is_nop, instance.deps) != choice:
                raise ProtocolBreach(
                    f"Agreement: instance {context.name(instance.rank, instance.number)} is committed as "
                    f"{instance.choice}, and now as {choice}"
                )
            return False
        if instance.phase == ACCEPTED and instance.is_nop:
            self._release(instance, context)
        instance.phase = COMMITTED
        instance.is_nop, instance.deps = choice
        owner = context.members[instance.rank]
        context.out.writes.append((decision_key(owner, instance.number), pack_decision(choice)))
        return True

    def save(self, instance: Instance, context: Context) -> None:
        """Have the record of an instance written."""
        owner = context.members[instance.rank]
        context.out.writes.append((instance_key(owner, instance.number), pack_instance(instance)))

    def restore(
        self, name: InstanceId, found: FoundInstance | None, choice: Choice | None, context: Context
    ) -> None:
        """An instance that the store held, and what was decided in it."""
        instance = self.make(context.rank[name.owner], name.number, context)
        if found is not None:
            instance.ballot, instance.accepted_ballot = found.ballot, found.accepted
            instance.phase, instance.is_nop, instance.deps = found.phase, found.is_nop, found.deps
            instance.initial_deps = found.initial_deps
            if found.phase == ACCEPTED and found.deps is not None:
                instance.accepted_value = Choice(found.is_nop, found.deps)
            if found.value is not None:
                self.learn(instance, found.value)
        if choice is not None:
            instance.phase = COMMITTED
            instance.is_nop, instance.deps = choice
        elif instance.phase == ACCEPTED and instance.is_nop:
            self.index.hold(instance.rank, instance.number)

    def forget(self, instance: Instance, context: Context) -> None:
        """A durable snapshot holds what became of this instance: it is gone once the floor covers it."""
        del self.by_rank[instance.rank][instance.number]
        if instance.phase == ACCEPTED and instance.is_nop:
            self._release(instance, context)

    # --- validation --------------------------------------------------------------------------------

    def contradictions(
        self, rank: int, number: int, footprint: Footprint, deps: Deps
    ) -> tuple[bool, list[tuple[int, int]]]:
        """What contradicts that instance (rank, number) was decided with these, its initial, dependencies.

        Returns:
            Whether something decided does: it conflicts, and neither is in the other's dependencies. And the
            instances, not decided here, of whose initial dependencies the same is so.

        Source: EPaxos*, the answer to Validate.
        """
        conflicts: list[tuple[int, int]] = []
        highest = self.index.conflicts(footprint)
        for other_rank, known in enumerate(self.by_rank):
            first, last = deps[other_rank] + 1, highest[other_rank]
            if first > last:
                continue
            for other in _between(known, first, last):
                if other.rank == rank and other.number == number:
                    continue
                if other.phase == COMMITTED:
                    seen, counts = other.deps, not other.is_nop
                else:
                    seen, counts = other.initial_deps, other.initial_deps is not None
                if not counts or seen is None or other.command is None or seen[rank] >= number:
                    continue
                if other.footprint.conflicts(footprint):
                    if other.phase == COMMITTED:
                        return True, []
                    conflicts.append((other.rank, other.number))
        return False, conflicts

    # --- copies ------------------------------------------------------------------------------------

    def clone(self) -> Self:
        """An independent copy."""
        other = object.__new__(type(self))
        other.by_rank = [
            {number: instance.clone() for number, instance in known.items()} for known in self.by_rank
        ]
        other.top, other.floor, other.index = list(self.top), self.floor, self.index.clone()
        other.orphans = self.orphans
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        held = tuple(
            instance.fingerprint() for known in self.by_rank for _, instance in sorted(known.items())
        )
        return (held, tuple(self.top), self.floor, self.index.fingerprint(), self.orphans)


def _between(known: dict[int, Instance], first: int, last: int) -> Iterator[Instance]:
    """Instances with these numbers, lowest first."""
    if last - first < 4 * len(known):
        for number in range(first, last + 1):
            instance = known.get(number)
            if instance is not None and (instance.phase != INITIAL or instance.initial_deps is not None):
                yield instance
        return
    for number in sorted(known):
        if first <= number <= last:
            yield known[number]
