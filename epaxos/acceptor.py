"""The acceptor of EPaxos: what one replica remembers of each instance, and the rules for changing it.

Four questions are answered, each about one instance.  The owner asks first (PreAccept), and is told what the
command conflicts with here; the slow path asks for a vote (Accept), by the rule of Basic Paxos; a recovery
asks to join its ballot (Recover), and then what contradicts the fast path's having been taken (Validate).

Every answer reports what is on disk, so a record is written in the same effects.  An instance that is decided
answers every question with what was decided.  One that is gone answers with the snapshot.

Source: Ryabinin, Gotsman and Sutra, *Making Democracy Work*, 2025 (EPaxos*): the handlers of the same names.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from epaxos.context import Context
from epaxos.instances import ACCEPTED, COMMITTED, INITIAL, PRE_ACCEPTED, Choice, Deps, Instance, footprint_of
from epaxos.messages import (
    Accept,
    AcceptOK,
    Known,
    Nack,
    PreAccept,
    PreAcceptOK,
    Recover,
    RecoverOK,
    Validate,
    ValidateOK,
)
from epaxos.records import instance_key, pack_instance
from epaxos.table import Table
from epaxos.values import take_value
from paxos.ballot import Ballot, NodeId
from paxos.errors import PaxosError, ProtocolBreach

__all__ = ["EPaxosAcceptor", "KnownEntry", "known_entry"]

#: What a Known says of an instance: owner, number, whether it is a no-op, dependencies, command.
KnownEntry: TypeAlias = tuple[NodeId, int, bool, Deps, bytes | None]

_new: Final = tuple.__new__


def known_entry(instance: Instance, context: Context) -> KnownEntry:
    """What a Known says of a decided instance."""
    assert instance.deps is not None, "a decided instance has dependencies"
    value = None if instance.is_nop else instance.value
    return (context.members[instance.rank], instance.number, instance.is_nop, instance.deps, value)


class EPaxosAcceptor:
    """Answers questions about instances.

    Args:
        table: the instances.
        context: of the replica.
        gone: called with who asked about an instance that is gone.
    """

    __slots__ = ("_context", "_gone", "_table")

    def __init__(self, table: Table, context: Context, gone: Callable[[NodeId], None]) -> None:
        self._table = table
        self._context = context
        self._gone = gone

    # --- the owner asks ----------------------------------------------------------------------------

    def on_pre_accept(self, sender: NodeId, message: PreAccept) -> Instance | None:
        """Tell the owner what its command conflicts with here. The instance, when it is new."""
        number, value, deps = message
        table, context = self._table, self._context
        rank = context.rank[sender]
        known = table.by_rank[rank]
        instance = known.get(number)
        if instance is not None and (instance.phase != INITIAL or instance.ballot > context.lowest[rank]):
            self._pre_accepted_before(sender, instance, message)
            return None
        if not context.fits(deps):
            self._refused(sender, message, "its dependencies are of another cluster")
            return None
        try:
            command = take_value(value)
        except PaxosError as error:
            self._refused(sender, message, str(error))
            return None
        if number <= table.floor[rank]:
            self._gone(sender)
            return None
        if instance is None:
            instance = table.make(rank, number, context)
        instance.value, instance.command = value, command
        instance.footprint = footprint = footprint_of(command)
        instance.initial_deps = deps
        instance.deps = answer = table.index.join(rank, number, footprint, deps)
        instance.phase = PRE_ACCEPTED
        out = context.out
        out.writes.append((instance_key(sender, number), pack_instance(instance)))
        out.sends.append((sender, _new(PreAcceptOK, (number, answer))))
        return instance

    def _pre_accepted_before(self, sender: NodeId, instance: Instance, message: PreAccept) -> None:
        """The owner asks again, or too late."""
        context = self._context
        if instance.phase == COMMITTED:
            self._tell(sender, instance)
        elif self._table.is_covered(instance):
            self._gone(sender)
        elif instance.ballot > context.lowest[instance.rank]:
            self._nack(sender, instance, context.lowest[instance.rank])
        elif instance.phase == PRE_ACCEPTED:
            if (instance.value, instance.initial_deps) != (message.value, message.deps):
                self._refused(sender, message, f"instance {sender}.{message.number} was another", "breach")
                return
            # The answer as it was: a new one would report conflicts that came later, and owners count once.
            assert instance.deps is not None
            context.send(sender, PreAcceptOK(message.number, instance.deps))

    # --- the slow path -----------------------------------------------------------------------------

    def on_accept(self, sender: NodeId, message: Accept) -> None:
        """Vote for a choice, unless a higher ballot was joined."""
        owner, number, ballot, is_nop, deps, value = message
        instance = self._asked(sender, owner, number, ballot, message)
        if instance is None:
            return
        if ballot < instance.ballot:
            self._nack(sender, instance, ballot)
            return
        if not self._context.fits(deps):
            self._refused(sender, message, "its dependencies are of another cluster")
            return
        try:
            self.accept(instance, ballot, Choice(is_nop, deps), value)
        except PaxosError as error:
            self._refused(sender, message, str(error), "breach")
            return
        self._context.send(sender, AcceptOK(owner, number, ballot))

    def accept(self, instance: Instance, ballot: Ballot, choice: Choice, value: bytes | None) -> None:
        """Vote; the ballot is not below the one joined.

        Raises:
            ProtocolBreach: another choice was voted for at this ballot, or the command is another.
            WireError: the command is none.
        """
        if instance.accepted_ballot == ballot and instance.accepted_value == choice:
            return
        if value is not None:
            self._table.learn(instance, value)
        if not instance.cast(instance.ballot, ballot, choice):
            raise ProtocolBreach(f"asked to accept at {ballot}, and {instance.ballot} is joined")
        instance.ballot = ballot
        self._table.accept(instance, choice, self._context)
        self._table.save(instance, self._context)

    # --- recovery ----------------------------------------------------------------------------------

    def on_recover(self, sender: NodeId, message: Recover) -> None:
        """Join a ballot, and tell what is known."""
        owner, number, ballot = message
        instance = self._asked(sender, owner, number, ballot, message)
        if instance is None:
            return
        if ballot < instance.ballot or ballot == self._context.lowest[instance.rank]:
            self._nack(sender, instance, ballot)
        elif instance.accepted_ballot != ballot:
            # A repeated question is answered again, unless the recovery has gone on and needs no answer.
            self.join(instance, ballot)
            self._context.send(sender, self.report(instance))

    def join(self, instance: Instance, ballot: Ballot) -> None:
        """Take part in nothing below this ballot any more."""
        if instance.ballot != ballot:
            instance.ballot = ballot
            self._table.save(instance, self._context)

    def report(self, instance: Instance) -> RecoverOK:
        """What is known of an instance, at the ballot just joined."""
        return RecoverOK(
            self._context.members[instance.rank],
            instance.number,
            instance.ballot,
            instance.accepted_ballot,
            int(instance.phase),
            instance.is_nop,
            instance.deps,
            instance.initial_deps,
            instance.value,
        )

    def on_validate(self, sender: NodeId, message: Validate) -> None:
        """Remember the command, and tell what contradicts that it was decided on the fast path.

        It counts only at the very ballot that was joined, and before anything was accepted: a late duplicate
        must not write over what came after it.
        """
        owner, number, ballot, deps, value = message
        instance = self._asked(sender, owner, number, ballot, message)
        if instance is None:
            return
        if ballot != instance.ballot:
            if ballot < instance.ballot:
                self._nack(sender, instance, ballot)
            return
        if instance.phase == ACCEPTED or not self._context.fits(deps):
            return
        table, context = self._table, self._context
        if instance.initial_deps is None:
            try:
                table.learn(instance, value)
            except PaxosError as error:
                self._refused(sender, message, str(error), "breach")
                return
            instance.initial_deps = deps
            table.save(instance, context)
        elif instance.initial_deps != deps or instance.value != value:
            self._refused(sender, message, "the initial dependencies are others", "breach")
            return
        is_invalid, conflicts = self.validate(instance, deps)
        named = tuple((context.members[rank], number) for rank, number in conflicts)
        context.send(sender, ValidateOK(owner, number, ballot, is_invalid, named))

    def validate(self, instance: Instance, deps: tuple[int, ...]) -> tuple[bool, list[tuple[int, int]]]:
        """What contradicts that this instance was decided with its initial dependencies."""
        return self._table.contradictions(instance.rank, instance.number, instance.footprint, deps)

    # --- inside ------------------------------------------------------------------------------------

    def _asked(
        self, sender: NodeId, owner: NodeId, number: int, ballot: Ballot, message: object
    ) -> Instance | None:
        """The instance that is asked about, if the question is to be answered by its state."""
        context, table = self._context, self._table
        rank = context.rank.get(owner)
        if rank is None or ballot.node != sender or (ballot.round == 0 and sender != owner):
            self._refused(sender, message, "the ballot is not the sender's, or the owner is no member")
            return None
        instance = table.find_or_make(rank, number, context)
        if instance is None or table.is_covered(instance):
            self._gone(sender)
            return None
        if instance.phase == COMMITTED:
            self._tell(sender, instance)
            return None
        return instance

    def _tell(self, sender: NodeId, instance: Instance) -> None:
        if sender != self._context.node:
            self._context.send(sender, Known((known_entry(instance, self._context),)))

    def _nack(self, sender: NodeId, instance: Instance, ballot: Ballot) -> None:
        owner = self._context.members[instance.rank]
        self._context.send(sender, Nack(owner, instance.number, ballot, instance.ballot))

    def _refused(self, sender: NodeId, message: object, reason: str, action: str = "refused") -> None:
        self._context.event(action, type(message).__name__, sender=sender, reason=reason)
