"""The rooms composed: one replica of EPaxos.

A replica owns the instances that are submitted to it (the proposer), answers about everybody's (the
acceptor), hears what was decided and carries it out (the learner), and finishes what others left behind
(the recoveries). What is here is what crosses rooms: that an instance is decided ends whatever this replica
did for it, that a ballot is joined ends an own recovery below it, and a snapshot replaces what it holds in
all of them.

What keeps it safe over a restart: records are written in the same effects as the answers that report them;
own numbers are reserved on disk in blocks before they are used; the own answers count when they come back
from the own disk, as messages to oneself; and so does a fast commit.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, Final, Self

from epaxos.acceptor import EPaxosAcceptor
from epaxos.barrier import Barriers, Part, choice_of, read_part
from epaxos.context import Context
from epaxos.instances import COMMITTED, InstanceId
from epaxos.learner import EPaxosLearner
from epaxos.messages import (
    Accept,
    AcceptOK,
    Ask,
    Commit,
    Gossip,
    Known,
    Nack,
    PreAccept,
    PreAcceptOK,
    Recover,
    RecoverOK,
    Reserved,
    Settled,
    Validate,
    ValidateOK,
    Waiting,
    Written,
)
from epaxos.proposer import EPaxosProposer
from epaxos.records import decision_key, instance_key, read_records
from epaxos.recovery import Recoveries
from epaxos.table import Table
from paxos.ballot import NodeId
from paxos.command import Command, RequestId, is_marker
from paxos.contract import (
    Configuration,
    Draw,
    Effects,
    Instant,
    Mark,
    Message,
    Records,
    Status,
)
from paxos.errors import ConfigurationError, RecordError

__all__ = ["EPaxosReplica"]

#: Instances whose records are deleted in one batch, at most.
_FORGET_AT_ONCE: Final = 1024


class EPaxosReplica:
    """One node's part of EPaxos. See `paxos.contract.Replica`.

    Args:
        configuration: with `EPaxosQuorums`, and `EPaxosSettings` or None for the defaults.
        records: what the store held; empty for a node that is new.
        draw: supplies the random part of what waits between attempts at recovery, as `draw("recovery",
        bound)`. now: the time at which it starts.

    Raises:
        ConfigurationError: the node is neither member nor observer, or the settings are another protocol's.
        RecordError: a record is corrupted or newer than this code.

    Source: Moraru, Andersen and Kaminsky, SOSP 2013 (EPaxos); Ryabinin, Gotsman and Sutra, 2025 (EPaxos*).
    """

    # The rooms. A replica that traces has others, which tell what they do.
    _acceptor_type: ClassVar[type[EPaxosAcceptor]] = EPaxosAcceptor
    _learner_type: ClassVar[type[EPaxosLearner]] = EPaxosLearner
    _proposer_type: ClassVar[type[EPaxosProposer]] = EPaxosProposer
    _recoveries_type: ClassVar[type[Recoveries]] = Recoveries

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        self._context = context = Context(configuration, draw)
        self._now_s = now_s = now.monotonic_s
        found = read_records(records)
        self._table = table = Table(context)
        self._barriers = Barriers(context)
        self._acceptor = self._acceptor_type(table, context, self._on_gone)
        self._learner = self._learner_type(table, self._barriers, context, now_s)
        for name in sorted({*found.instances, *found.decisions}):
            if name.owner not in context.rank:
                raise RecordError(f"instance {name}: node {name.owner} is no member")
            table.restore(name, found.instances.get(name), found.decisions.get(name), context)
        if context.is_member:
            table.top[context.own_rank] = max(table.top[context.own_rank], found.reserved)
            if found.reserved:
                table.hold_orphans(found.reserved, context)
        reserved, rooms = found.reserved, (table, self._acceptor, self._learner)
        self._proposer = self._proposer_type(*rooms, reserved, context)
        self._recoveries = self._recoveries_type(*rooms, reserved, context, now_s)
        for instance in table:
            if instance.phase == COMMITTED:
                self._learner.settle(instance)
        # What a durable snapshot holds, and is to be deleted a few at a time.
        self._leaving: list[InstanceId] = []
        # Who asked about what is gone here.
        self._behind: set[NodeId] = set()
        self._handlers = self._make_handlers()

    def _make_handlers(self) -> dict[type, Callable[[NodeId, Any, float], None]]:
        return {
            PreAccept: self._on_pre_accept,
            PreAcceptOK: self._on_pre_accept_ok,
            Accept: self._on_accept,
            AcceptOK: self._on_accept_ok,
            Commit: self._on_commit,
            Gossip: self._on_gossip,
            Ask: self._on_ask,
            Known: self._on_known,
            Recover: self._on_recover,
            RecoverOK: self._on_recover_ok,
            Validate: self._on_validate,
            ValidateOK: self._on_validate_ok,
            Waiting: self._on_waiting,
            Nack: self._on_nack,
            Settled: self._on_settled,
            Written: self._on_written,
            Reserved: self._on_reserved,
        }

    # --- called by the driver ------------------------------------------------------------------------

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Order each command in an instance of its own."""
        self._now_s = now_s = now.monotonic_s
        self._proposer.submit(commands, self._context, now_s)

    def read(self, request: RequestId, now: Instant) -> None:
        """Refused: a linearizable read is a command with a read footprint, and goes through `submit`."""
        self._context.reject(request, "EPaxos orders reads as commands: submit one that only reads")

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message of a member or observer; anything else changes nothing.

        Raises:
            ProtocolBreach: something else turns out decided than what was decided here. Going on would hide
                it. What one message alone gets wrong is refused, told in an event, and changes nothing.
        """
        handler = self._handlers.get(message.__class__)
        if handler is None:
            self._refused(sender, message, "not of this protocol")
        elif sender not in self._context.everyone:
            self._refused(sender, message, "neither a member nor an observer")
        else:
            self._now_s = now_s = now[0]
            handler(sender, message, now_s)
            if self._learner.decided:
                self._end_decided(now_s)

    def tick(self, now: Instant) -> None:
        """Repeat, gossip, recover, whatever is due."""
        self._now_s = now_s = now.monotonic_s
        context = self._context
        self._proposer.tick(context, now_s)
        if now_s >= self._learner.gossip_at_s:
            self._learner.gossip(context, now_s)
            self._proposer.settle_down()
        self._recoveries.tick(self._proposer.proposals, context, now_s)
        if self._learner.decided:
            self._end_decided(now_s)

    def compact(self, mark: Mark, now: Instant) -> None:
        """A snapshot at the barrier `mark` is durable: what it holds goes when enough others have one too."""
        self._now_s = now.monotonic_s
        self._barriers.take(mark, self._context)
        self._truncate()

    def part(self, mark: Mark) -> bytes:
        """The floor, the exceptions, and who touched each key last, as of the barrier `mark`.

        Raises:
            ConfigurationError: the last command applied is no barrier.
        """
        context, table, barriers = self._context, self._table, self._barriers
        cut = barriers.at
        if cut is None or cut.mark != mark:
            raise ConfigurationError(f"node {context.node}: the state is at no barrier {mark!r:.80}")
        exceptions = [table.by_rank[rank][number] for rank, number in sorted(cut.exceptions)]
        barrier = table.by_rank[context.rank[cut.mark.owner]][cut.mark.number]
        return barriers.pack(cut, exceptions, barrier, context)

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """The state was replaced by a snapshot at the barrier `mark`: go on from there.

        Raises:
            RecordError: `part` is not what `part` makes.
        """
        self._now_s = now_s = now.monotonic_s
        if mark is None and not part:
            return  # the state of another cluster, where nothing of this one was ordered
        context, learner = self._context, self._learner
        taken = read_part(part, context)
        # What is handed on after this comes after the barrier.
        context.out.applies.clear()
        table, floor = self._table, taken.cut.floor
        self._take_exceptions(taken)
        self._barriers.install(taken, context)
        # Nothing that is known here is forgotten yet; of what is not known nothing will be made anew.
        table.floor = floor
        for rank, highest in enumerate(floor):
            table.top[rank] = max(table.top[rank], highest)
        table.index.raise_floor(floor)
        if context.is_member:
            self._proposer.raise_next(floor[context.own_rank])
            for number in [n for n in self._proposer.own if n <= floor[context.own_rank]]:
                if (context.own_rank, number) not in taken.cut.exceptions:
                    self._proposer.drop(number)
        learner.executor.install(floor, [self._node_of(*key) for key in sorted(taken.cut.exceptions)])
        learner.on_installed(floor)
        context.event("installed", "install", instance=taken.cut.mark)
        self._recoveries.on_installed(context, now_s)
        if learner.decided:
            self._end_decided(now_s)
        self._truncate()

    def instruct(self, action: str, node: NodeId, now: Instant) -> None:
        """Refused: nobody leads, so there is nothing to hand over.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"EPaxos has no leader, and no action {action!r:.40}")

    def abandon(self, request: RequestId, now: Instant) -> None:
        """Nobody waits for this request. A command goes its way."""

    def effects(self) -> Effects:
        """Take what has gathered; what can be carried out is, up to the next barrier."""
        context, learner, proposer = self._context, self._learner, self._proposer
        own_rank = context.own_rank
        for instance in learner.execute(context):
            if instance.rank == own_rank:
                proposer.on_executed(instance.number, self._now_s)
        if self._table.orphans and learner.executor.frontier[own_rank] >= self._table.orphans:
            self._table.release_orphans(context)
        proposer.flush(context, self._now_s)
        learner.flush(context, self._now_s, proposer.timings.commit_s)
        if self._leaving:
            self._forget_some()
        if self._behind:
            last = self._barriers.last
            context.out.transfers.extend((node, last.mark if last else None) for node in sorted(self._behind))
            self._behind.clear()
        out, context.out = context.out, Effects()
        out.wake_at_s = self._wake_at_s()
        out.room = max(context.settings.window - proposer.room, 0)
        if proposer.bytes_on_the_way >= context.settings.window_bytes:
            out.room = 0
        return out

    def _wake_at_s(self) -> float | None:
        if self._leaving or self._learner.is_stirred:
            return 0.0  # at once: there is more to do
        learner = self._learner
        return min(
            learner.gossip_at_s, learner.announce_at_s, self._proposer.tick_at_s, self._recoveries.tick_at_s
        )

    def status(self) -> Status:
        """How far this replica is, and what it waits for."""
        context, executor = self._context, self._learner.executor
        waits = {
            context.name(rank, number): round(max(self._now_s - since_s, 0.0), 3)
            for rank, (number, since_s) in self._recoveries.waited_for().items()
        }
        values: dict[str, object] = {
            "role": "replica" if context.is_member else "observer",
            "committed": {str(n): k for n, k in zip(context.members, executor.frontier, strict=True)},
            "executed": {str(n): k for n, k in zip(context.members, executor.executed_top, strict=True)},
            "unexecuted": executor.pending,
            "waits_for_s": waits,
            "in_flight": len(self._proposer.proposals),
            "held_back": len(self._proposer.pacing.held),
            "recovering": sorted(context.name(*key) for key in self._recoveries.running),
            "floor": {str(n): k for n, k in zip(context.members, self._table.floor, strict=True)},
            "instances": sum(map(len, self._table.by_rank)),
            "conflict_entries": self._table.index.entries,
            "latency_ms": self._proposer.timings.status(),
        }
        where = f"executed {sum(executor.executed_top)} instances, {executor.pending} wait"
        if waits:
            name, since_s = next(iter(waits.items()))
            where += f", for {name} since {since_s} s"
        return Status("epaxos", context.node, where, values)

    # --- what tools look at --------------------------------------------------------------------------

    @property
    def table(self) -> Table:
        """The instances held here."""
        return self._table

    @property
    def learner(self) -> EPaxosLearner:
        """What was decided, and what was carried out."""
        return self._learner

    @property
    def proposer(self) -> EPaxosProposer:
        """The own commands."""
        return self._proposer

    @property
    def recoveries(self) -> Recoveries:
        """What this replica finishes for others."""
        return self._recoveries

    @property
    def barriers(self) -> Barriers:
        """The cuts, and what was executed."""
        return self._barriers

    @property
    def context(self) -> Context:
        """Who this replica is."""
        return self._context

    def clone(self) -> Self:
        """An independent copy, sharing only what never changes."""
        other = object.__new__(type(self))
        other._context = context = Context(self._context.configuration, self._context.draw)
        _copy_effects(self._context.out, context.out)
        other._now_s = self._now_s
        other._table = table = self._table.clone()
        other._barriers = self._barriers.clone()
        other._behind = set(self._behind)
        other._leaving = list(self._leaving)
        other._acceptor = self._acceptor_type(table, context, other._on_gone)
        other._learner = self._learner.clone(table, other._barriers)
        other._proposer = self._proposer.clone(table, other._acceptor, other._learner, context.own_rank)
        other._recoveries = self._recoveries.clone(table, other._acceptor, other._learner)
        other._handlers = other._make_handlers()
        return other

    def fingerprint(self) -> Hashable:
        """Equal for replicas that behave alike; times left out."""
        return (
            self._table.fingerprint(),
            self._barriers.fingerprint(),
            self._learner.fingerprint(),
            self._proposer.fingerprint(),
            self._recoveries.fingerprint(),
            tuple(self._leaving),
            tuple(sorted(self._behind)),
        )

    # --- handlers ------------------------------------------------------------------------------------

    def _on_pre_accept(self, sender: NodeId, message: PreAccept, now_s: float) -> None:
        if sender not in self._context.rank:
            self._refused(sender, message, "an observer owns nothing")
            return
        instance = self._acceptor.on_pre_accept(sender, message)
        if instance is not None and self._learner.news:
            self._learner.value_came(instance, self._context)

    def _on_pre_accept_ok(self, sender: NodeId, message: PreAcceptOK, now_s: float) -> None:
        if sender in self._context.rank:
            self._proposer.on_pre_accept_ok(sender, message, self._context, now_s)

    def _on_accept(self, sender: NodeId, message: Accept, now_s: float) -> None:
        self._acceptor.on_accept(sender, message)
        self._joined(message.owner, message.number)

    def _on_accept_ok(self, sender: NodeId, message: AcceptOK, now_s: float) -> None:
        context = self._context
        if sender not in context.rank:
            return
        if message.owner == context.node and message.ballot == context.lowest[context.own_rank]:
            self._proposer.on_accept_ok(sender, message, context)
        else:
            self._recoveries.on_accept_ok(sender, message, context)

    def _on_commit(self, sender: NodeId, message: Commit, now_s: float) -> None:
        self._learner.on_commit(sender, message, self._context)

    def _on_known(self, sender: NodeId, message: Known, now_s: float) -> None:
        self._learner.on_known(sender, message, self._context)

    def _on_ask(self, sender: NodeId, message: Ask, now_s: float) -> None:
        if self._learner.on_ask(sender, message, self._context):
            self._on_gone(sender)

    def _on_gossip(self, sender: NodeId, message: Gossip, now_s: float) -> None:
        self._learner.on_gossip(sender, message, self._context)
        self._truncate()

    def _on_recover(self, sender: NodeId, message: Recover, now_s: float) -> None:
        self._acceptor.on_recover(sender, message)
        self._joined(message.owner, message.number)

    def _on_recover_ok(self, sender: NodeId, message: RecoverOK, now_s: float) -> None:
        self._recoveries.on_recover_ok(sender, message, self._context, now_s)

    def _on_validate(self, sender: NodeId, message: Validate, now_s: float) -> None:
        self._acceptor.on_validate(sender, message)
        if self._learner.news:
            self._joined(message.owner, message.number)

    def _on_validate_ok(self, sender: NodeId, message: ValidateOK, now_s: float) -> None:
        self._recoveries.on_validate_ok(sender, message, self._context, now_s)

    def _on_waiting(self, sender: NodeId, message: Waiting, now_s: float) -> None:
        self._recoveries.on_waiting(sender, message, self._context, now_s)

    def _on_nack(self, sender: NodeId, message: Nack, now_s: float) -> None:
        context = self._context
        rank = context.rank.get(message.owner)
        if rank is None or sender not in context.rank or message.ballot.node != context.node:
            return
        if message.joined <= message.ballot:
            return
        if message.ballot == context.lowest[rank]:
            self._proposer.on_nack(message.number)
        else:
            self._recoveries.on_nack(rank, message.number, message.ballot, message.joined)

    def _on_settled(self, sender: NodeId, message: Settled, now_s: float) -> None:
        if sender == self._context.node:  # only the own disk can say it
            self._proposer.on_settled(message, self._context)

    def _on_written(self, sender: NodeId, message: Written, now_s: float) -> None:
        if sender == self._context.node:
            self._proposer.on_written(message, self._context, now_s)

    def _on_reserved(self, sender: NodeId, message: Reserved, now_s: float) -> None:
        if sender == self._context.node:
            self._proposer.on_reserved(message, self._context, now_s)

    # --- what crosses rooms --------------------------------------------------------------------------

    def _joined(self, owner: NodeId, number: int) -> None:
        """A ballot of this instance may have been joined, or its command have come."""
        rank = self._context.rank.get(owner)
        instance = None if rank is None else self._table.find(rank, number)
        if instance is not None:
            self._recoveries.on_joined(instance)
            if self._learner.news and instance.value is not None:
                self._learner.value_came(instance, self._context)

    def _end_decided(self, now_s: float) -> None:
        """Whatever this replica did for an instance ends when that is decided."""
        learner, context = self._learner, self._context
        decided, learner.decided = learner.decided, []
        own_rank = context.own_rank
        for instance in decided:
            if instance.rank == own_rank:
                self._proposer.on_decided(instance, context, now_s)
        if self._recoveries.running or self._recoveries.seen:
            self._recoveries.on_decided(decided, context, now_s)

    def _on_gone(self, node: NodeId) -> None:
        """A node asked about what is in a snapshot and forgotten: it is given the snapshot."""
        if node != self._context.node:
            self._behind.add(node)

    def _truncate(self) -> None:
        """What a classic quorum has in durable snapshots goes, but for the exceptions and the barrier."""
        cut = self._barriers.stable(self._context)
        if cut is None:
            return
        table, context = self._table, self._context
        barrier = (context.rank[cut.mark.owner], cut.mark.number)
        for rank, highest in enumerate(cut.floor):
            known, owner = table.by_rank[rank], context.members[rank]
            for number in [number for number in known if number <= highest]:
                if (rank, number) not in cut.exceptions and (rank, number) != barrier:
                    table.forget(known[number], context)
                    self._leaving.append(InstanceId(owner, number))
        table.floor = tuple(map(max, table.floor, cut.floor))
        context.event("truncated", "Gossip", floor=cut.floor)

    def _forget_some(self) -> None:
        """Delete records a few at a time: what was forgotten at once may be a hundred thousand."""
        some, self._leaving = self._leaving[:_FORGET_AT_ONCE], self._leaving[_FORGET_AT_ONCE:]
        writes = self._context.out.writes
        for owner, number in some:
            writes.append((instance_key(owner, number), None))
            writes.append((decision_key(owner, number), None))

    def _take_exceptions(self, taken: Part) -> None:
        """What comes after the barrier though it is at or below its floor, and the barrier itself."""
        table, context = self._table, self._context
        for kept in (*taken.exceptions, taken.barrier):
            instance = table.find_or_make(kept.rank, kept.number, context)
            if instance is None:
                continue
            if instance.value is None:
                table.learn(instance, kept.value)
                table.save(instance, context)
            if table.decide(instance, choice_of(kept), context):
                self._learner.decided.append(instance)

    def _node_of(self, rank: int, number: int) -> tuple[int, int, Any, tuple[int, ...], bool]:
        instance = self._table.by_rank[rank][number]
        assert instance.deps is not None, "an exception is decided"
        assert instance.command is not None, "and is no no-op"
        is_barrier = instance.footprint.everything and is_marker(instance.command)
        return (rank, number, instance.footprint, instance.deps, is_barrier)

    def _refused(self, sender: NodeId, message: Message, reason: str) -> None:
        self._context.event("refused", message.__class__.__name__, sender=sender, reason=reason)


def _copy_effects(source: Effects, target: Effects) -> None:
    for name in ("writes", "sends", "applies", "outcomes", "transfers", "events"):
        setattr(target, name, list(getattr(source, name)))
