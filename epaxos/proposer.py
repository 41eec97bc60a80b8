"""The proposer of EPaxos: an owner's side of its own commands, from submission to commit.

A new command is pre-accepted here and sent to everybody with what it conflicts with.  When a fast quorum has
answered that it knows of nothing else, the command is committed with just that, after one round trip.  When a
classic quorum has answered and a fast one is not to be had, what all of them know is proposed at the
owner's own ballot, 0, and committed when a classic quorum has accepted it, after two.

The owner's own answers go through its disk, as everybody's: they come as messages to itself.  A fast commit
counts only when its record is durable, because a recovery takes the owner's not knowing of one for its
absence.

Numbers are never used twice, over restarts too: they are reserved on disk in blocks, before they are used.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Self

from epaxos.acceptor import EPaxosAcceptor
from epaxos.context import NEVER_S, Context
from epaxos.instances import PRE_ACCEPTED, Choice, Deps, Instance, footprint_of, join
from epaxos.learner import EPaxosLearner
from epaxos.messages import (
    MAX_NUMBER,
    Accept,
    AcceptOK,
    PreAccept,
    PreAcceptOK,
    Reserved,
    Settled,
    Written,
)
from epaxos.pacing import Pacing
from epaxos.records import RESERVATION_KEY, instance_key, pack_instance, pack_reservation
from epaxos.table import Table
from epaxos.timings import Timings
from epaxos.values import MAX_VALUE_BYTES, pack_value
from paxos.ballot import NodeId
from paxos.command import Command, is_marker
from paxos.contract import Outcome, OutcomeKind

__all__ = ["EPaxosProposer", "Proposal"]

_new: Final = tuple.__new__
#: So many of the oldest own instances are asked about again where nothing is decided.
_FEW: Final = 8
#: Questions are repeated together that are due within this part of the shortest time between two.
_TOGETHER: Final = 16
#: Numbers reserved at a time where few are used; twice as many with each reservation that soon follows.
_LEAST_BLOCK: Final = 4


class Proposal:
    """An own instance on its way to commit.

    Attributes:
        instance: which.
        began_s: when it was proposed.
        deps: what it was pre-accepted with here, and asked about.
        union: what all that have answered know, joined.
        answered: who has answered the present question.
        agreeing: how many of them knew of nothing more than `deps`.
        accepting: what is proposed on the slow path; None before.
        fast_until_s: until when a fast quorum is waited for; never before a classic one has answered.
        repeat_at_s: when to ask again who has not answered.
        repeat_s: how long after that to ask once more.
    """

    __slots__ = (
        "accepting",
        "agreeing",
        "answered",
        "began_s",
        "deps",
        "fast_until_s",
        "instance",
        "repeat_at_s",
        "repeat_s",
        "union",
    )

    def __init__(self, instance: Instance, deps: Deps, began_s: float, repeat_s: float) -> None:
        self.instance: Instance = instance
        self.began_s: float = began_s
        self.deps: Deps = deps
        self.union: Deps = deps
        self.answered: set[NodeId] = set()
        self.agreeing: int = 0
        self.accepting: Choice | None = None
        self.fast_until_s: float = NEVER_S
        self.repeat_at_s: float = began_s + repeat_s
        self.repeat_s: float = repeat_s

    def clone(self, instance: Instance) -> Self:
        """A copy, of the copy of its instance."""
        other = type(self)(instance, self.deps, self.began_s, self.repeat_s)
        other.repeat_at_s = self.repeat_at_s
        other.union, other.answered, other.agreeing = self.union, set(self.answered), self.agreeing
        other.accepting, other.fast_until_s = self.accepting, self.fast_until_s
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (self.deps, self.union, tuple(sorted(self.answered)), self.agreeing, self.accepting)


class EPaxosProposer:
    """The own commands of a replica.

    Args:
        table: the instances.
        acceptor: the own.
        learner: the own.
        reserved: up to where numbers were reserved in earlier lives.
        context: of the replica.

    Attributes:
        proposals: own instances that are not decided, by number, in the order in which they were proposed.
        own: own commands that are not executed here, and their values, by number: proposed again if a no-op
        is
            decided.
        next: the next number.
        durable: numbers up to this one may be used.
        timings: how long own commands take.
        pacing: own commands that are held back.
    """

    def __init__(
        self, table: Table, acceptor: EPaxosAcceptor, learner: EPaxosLearner, reserved: int, context: Context
    ) -> None:
        self._table, self._acceptor, self._learner = table, acceptor, learner
        self.proposals: dict[int, Proposal] = {}
        self.own: dict[int, tuple[Command, bytes]] = {}
        self.next: int = reserved + 1
        self.durable: int = reserved
        self._reserved = reserved
        # How many numbers were reserved last, and which was next when the replica last gossiped.
        self._block = _LEAST_BLOCK
        self._next_before = self.next
        # Commands that wait for a number.
        self._waiting: deque[tuple[Command, bytes]] = deque()
        self._bytes = 0
        # Pre-accepted, or committed on the fast path, and on the way to the disk.
        self._proposed: list[int] = []
        self._settling: list[int] = []
        self.tick_at_s: float = NEVER_S
        # So many of the oldest proposals are repeated; and what was decided since the oldest was.
        self._repeated = _FEW
        self._decided = 0
        self.timings: Timings = Timings()
        self.pacing: Pacing = Pacing(self.own)
        self.reserve(context)

    # --- numbers -----------------------------------------------------------------------------------

    def reserve(self, context: Context) -> None:
        """Have more numbers made durable, so early that commands need not wait for them."""
        if context.is_member and self.next + self._block // 2 > self._reserved:
            # The more are used, the more are reserved at a time: what a crash leaves costs a recovery.
            self._block = min(2 * self._block, context.settings.reserve_numbers)
            self._reserved = min(self.next + self._block, MAX_NUMBER)
            context.write(RESERVATION_KEY, pack_reservation(self._reserved))
            context.send(context.node, Reserved(self._reserved))

    def settle_down(self) -> None:
        """Some time has passed: few numbers are reserved at a time where few are used."""
        if 4 * (self.next - self._next_before) < self._block:
            self._block = max(self._block // 2, _LEAST_BLOCK)
        self._next_before = self.next

    def on_reserved(self, message: Reserved, context: Context, now_s: float) -> None:
        """The own disk holds a reservation."""
        self.durable = max(self.durable, message.number)
        while self._waiting and self.next <= self.durable:
            command, value = self._waiting.popleft()
            self._propose(command, value, context, now_s)

    def raise_next(self, number: int) -> None:
        """Numbers up to this one were used, or are not to be."""
        self.next = max(self.next, number + 1)
        self.durable = max(self.durable, number)
        self._reserved = max(self._reserved, number)

    # --- proposing ---------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many commands are on their way."""
        return len(self.own) + len(self._waiting) + len(self.pacing.held)

    @property
    def bytes_on_the_way(self) -> int:
        """How many bytes they have, about."""
        return self._bytes

    def submit(self, commands: Sequence[Command], context: Context, now_s: float) -> None:
        """Propose each command in an instance of its own."""
        settings = context.settings
        for command in commands:
            if not context.is_member:
                # An observer orders nothing; any member will do.
                member = context.members[context.node % len(context.members)]
                outcome = Outcome(command.request, OutcomeKind.REDIRECT, node=member)
                context.out.outcomes.append(outcome)
                continue
            if self.room >= settings.window or (
                self._bytes + len(command.payload) > settings.window_bytes and self.own
            ):
                context.reject(
                    command.request, f"node {context.node} has {self.room} commands in flight; try again"
                )
                continue
            value = pack_value(command)
            if len(value) > MAX_VALUE_BYTES:
                reason = f"a command of {len(value)} bytes, keys included; the limit is {MAX_VALUE_BYTES}"
                context.reject(command.request, reason)
                continue
            self._bytes += len(value)
            if settings.hold_back and self.pacing.must_wait(command, now_s):
                self.pacing.hold(command, value)
            else:
                self._give_number(command, value, context, now_s)

    def _give_number(self, command: Command, value: bytes, context: Context, now_s: float) -> None:
        """Propose a command, as soon as the disk holds a number for it."""
        if self.next > self.durable:
            self._waiting.append((command, value))
        else:
            self._propose(command, value, context, now_s)

    def _propose(self, command: Command, value: bytes, context: Context, now_s: float) -> None:
        table, rank, number = self._table, context.own_rank, self.next
        self.next = number + 1
        instance = table.make(rank, number, context)
        instance.value, instance.command = value, command
        instance.footprint = footprint = footprint_of(command)
        deps = table.index.join(rank, number, footprint, context.no_op[1])
        if footprint.everything and is_marker(command) and deps[rank] < number - 1:
            # What a barrier leaves behind is forgotten, so all that its owner numbered before is behind it.
            deps = (*deps[:rank], number - 1, *deps[rank + 1 :])
        instance.initial_deps = instance.deps = deps
        instance.phase = PRE_ACCEPTED
        repeat_s = context.settings.repeat_s
        self.proposals[number] = Proposal(instance, deps, now_s, repeat_s)
        self.own[number] = (command, value)
        if self.tick_at_s > now_s + repeat_s:
            self.tick_at_s = now_s + repeat_s
        out = context.out
        out.writes.append((instance_key(context.node, number), pack_instance(instance)))
        message = _new(PreAccept, (number, value, deps))
        sends = out.sends
        for member in context.other_members:
            sends.append((member, message))
        self._proposed.append(number)
        if not self.timings.number:
            self.timings.begin(number, now_s)
        if number + (self._block >> 1) >= self._reserved:
            self.reserve(context)

    # --- answers -----------------------------------------------------------------------------------

    def on_pre_accept_ok(self, sender: NodeId, message: PreAcceptOK, context: Context, now_s: float) -> None:
        """Count an answer; commit, or go on to the slow path, when it is time."""
        number, deps = message
        proposal = self.proposals.get(number)
        if proposal is None or proposal.accepting is not None:
            return
        answered = proposal.answered
        if sender in answered or not context.fits(deps):
            return
        if proposal.instance.ballot != context.lowest[context.own_rank]:
            self._preempted(number)
            return
        answered.add(sender)
        if deps == proposal.deps:
            proposal.agreeing += 1
            if proposal.agreeing >= context.fast:
                self._commit_fast(proposal, context)
                return
        else:
            proposal.union = join(proposal.union, deps)
        count = len(answered)
        if count >= context.classic:
            self._consider_slow(proposal, count, context, now_s)

    def _consider_slow(self, proposal: Proposal, count: int, context: Context, now_s: float) -> None:
        """A classic quorum has answered and a fast one does not agree: not yet, or not any more."""
        settings = context.settings
        outstanding = len(context.members) - count
        is_lost = proposal.agreeing + outstanding < context.fast
        if is_lost or (count >= context.fast and not settings.fast_wait_s):
            self._go_slow(proposal, context, now_s)
        elif proposal.fast_until_s == NEVER_S:
            # Where a fast quorum is larger than a classic one, those who make the difference are waited for.
            patience_s = settings.fast_wait_s if count >= context.fast else settings.fast_patience_s
            proposal.fast_until_s = now_s + patience_s
            self.tick_at_s = min(self.tick_at_s, proposal.fast_until_s)

    def _commit_fast(self, proposal: Proposal, context: Context) -> None:
        instance = proposal.instance
        self._learner.decide(instance, Choice(False, proposal.deps), context, is_settled=False)
        self._settling.append(instance.number)

    def _go_slow(self, proposal: Proposal, context: Context, now_s: float) -> None:
        """Propose at the own ballot what all that have answered know."""
        instance, ballot = proposal.instance, context.lowest[context.own_rank]
        proposal.accepting = choice = Choice(False, proposal.union)
        proposal.answered = set()
        proposal.repeat_s = context.settings.repeat_s
        proposal.repeat_at_s = now_s + proposal.repeat_s
        self._acceptor.accept(instance, ballot, choice, instance.value)
        number = instance.number
        context.event("slow path", "PreAcceptOK", instance=(context.node, number))
        context.send_members(Accept(context.node, number, ballot, False, choice.deps, instance.value))
        context.send(context.node, AcceptOK(context.node, number, ballot))

    def on_accept_ok(self, sender: NodeId, message: AcceptOK, context: Context) -> None:
        """Count a vote for what was proposed at the own ballot."""
        proposal = self.proposals.get(message.number)
        if proposal is None or proposal.accepting is None:
            return
        proposal.answered.add(sender)
        if len(proposal.answered) >= context.classic:
            # What a quorum has voted for is decided, whatever ballot was joined meanwhile.
            self._learner.decide(proposal.instance, proposal.accepting, context)
            self._learner.announce(proposal.instance, context)
            reason = "conflict" if proposal.accepting.deps != proposal.deps else "silence"
            context.event("slow commit", "AcceptOK", instance=(context.node, message.number), reason=reason)

    def on_settled(self, message: Settled, context: Context) -> None:
        """Fast commits are on the own disk: now they count, and others are told."""
        own = self._table.by_rank[context.own_rank]
        for number in message.numbers:
            instance = own.get(number)
            if instance is not None:
                self._learner.settle(instance)
                self._learner.announce(instance, context)

    def on_written(self, message: Written, context: Context, now_s: float) -> None:
        """Own pre-acceptances are on the own disk: now they are counted, as everybody's."""
        for number in message.numbers:
            proposal = self.proposals.get(number)
            if proposal is not None:
                answer = _new(PreAcceptOK, (number, proposal.deps))
                self.on_pre_accept_ok(context.node, answer, context, now_s)

    def flush(self, context: Context, now_s: float) -> None:
        """Go on with what was held back; have it said when what was proposed or committed is durable."""
        if self.pacing.eased:
            for command, value in self.pacing.release():
                self._give_number(command, value, context, now_s)
        if self._proposed:
            proposed, self._proposed = self._proposed, []
            context.send(context.node, Written(tuple(proposed)))
        if self._settling:
            settling, self._settling = self._settling, []
            context.event("fast path", "PreAcceptOK", count=len(settling), numbers=tuple(settling))
            context.send(context.node, Settled(tuple(settling)))

    # --- ends --------------------------------------------------------------------------------------

    def _preempted(self, number: int) -> None:
        """Somebody recovers this instance. What is decided there will be known."""
        self.proposals.pop(number, None)

    def on_nack(self, number: int) -> None:
        """A replica has joined a ballot of somebody who recovers an own instance."""
        self._preempted(number)

    def on_decided(self, instance: Instance, context: Context, now_s: float) -> None:
        """An own instance is decided. A command that lost against a no-op is submitted again."""
        proposal = self.proposals.pop(instance.number, None)
        if proposal is not None:
            self._decided += 1
            if not instance.is_nop:
                self.pacing.decided(instance.number, now_s - proposal.began_s, now_s)
        if instance.number == self.timings.number:
            if instance.is_nop:
                self.timings.give_up()
            else:
                self.timings.committed(now_s)
        if instance.is_nop:
            lost = self.own.pop(instance.number, None)
            if lost is not None:
                command, value = lost
                context.event("resubmitted", "Known", instance=(context.node, instance.number))
                self._give_number(command, value, context, now_s)

    def on_executed(self, number: int, now_s: float) -> None:
        """An own command was carried out here."""
        if number == self.timings.number:
            self.timings.executed(now_s)
        self._let_go(number)

    def _let_go(self, number: int) -> None:
        done = self.own.pop(number, None)
        if done is not None:
            self._bytes -= len(done[1])
            self.pacing.ended(number)

    def drop(self, number: int) -> None:
        """An own instance is gone: a snapshot was installed that has it, or what took its place."""
        self.proposals.pop(number, None)
        if number == self.timings.number:
            self.timings.give_up()
        self._let_go(number)

    # --- time --------------------------------------------------------------------------------------

    def tick(self, context: Context, now_s: float) -> None:
        """Ask again who has not answered, and stop waiting for fast quorums that do not form."""
        if now_s < self.tick_at_s:
            return
        repeat_at_s = fast_at_s = NEVER_S
        for place, proposal in enumerate(list(self.proposals.values())):
            if proposal.instance.ballot != context.lowest[context.own_rank]:
                if proposal.accepting is None:
                    self._preempted(proposal.instance.number)
                    continue
            if proposal.accepting is None and now_s >= proposal.fast_until_s:
                self._go_slow(proposal, context, now_s)
            elif now_s >= proposal.repeat_at_s:
                self._repeat_in_turn(proposal, place, context, now_s)
            repeat_at_s = min(repeat_at_s, proposal.repeat_at_s)
            if proposal.accepting is None:
                fast_at_s = min(fast_at_s, proposal.fast_until_s)
        self.tick_at_s = min(fast_at_s, max(repeat_at_s, now_s + context.settings.repeat_s / _TOGETHER))

    def _repeat_in_turn(self, proposal: Proposal, place: int, context: Context, now_s: float) -> None:
        """Ask again about one of the oldest proposals; the others wait until something is decided.

        Else where no quorum is up, everything under way would be sent again and again.
        """
        settings = context.settings
        if not place:
            # The more were decided since the last time, the more are asked about.
            more = self._repeated + self._decided if self._decided else self._repeated // 2
            self._repeated, self._decided = min(max(more, _FEW), settings.window), 0
        if place < self._repeated + self._decided:
            self._repeat(proposal, context)
            proposal.repeat_s = min(2 * proposal.repeat_s, settings.repeat_max_s)
            proposal.repeat_at_s = now_s + proposal.repeat_s
        else:
            proposal.repeat_at_s = now_s + settings.repeat_s

    def _repeat(self, proposal: Proposal, context: Context) -> None:
        instance, choice = proposal.instance, proposal.accepting
        number, value = instance.number, instance.value
        assert value is not None, "an own command is known"
        for member in context.other_members:
            if member in proposal.answered:
                continue
            if choice is None:
                context.send(member, PreAccept(number, value, proposal.deps))
            else:
                ballot = context.lowest[context.own_rank]
                context.send(member, Accept(context.node, number, ballot, False, choice.deps, value))

    # --- copies ------------------------------------------------------------------------------------

    def clone(self, table: Table, acceptor: EPaxosAcceptor, learner: EPaxosLearner, rank: int) -> Self:
        """An independent copy, with copies of the other rooms."""
        other = object.__new__(type(self))
        other._table, other._acceptor, other._learner = table, acceptor, learner
        other.proposals = {
            number: proposal.clone(table.by_rank[rank][number]) for number, proposal in self.proposals.items()
        }
        other.own = dict(self.own)
        other.next, other.durable, other._reserved = self.next, self.durable, self._reserved
        other._block, other._next_before = self._block, self._next_before
        other._waiting, other._bytes = deque(self._waiting), self._bytes
        other._settling, other.tick_at_s = list(self._settling), self.tick_at_s
        other._proposed = list(self._proposed)
        other._repeated, other._decided = self._repeated, self._decided
        other.timings = self.timings.clone()
        other.pacing = self.pacing.clone(other.own)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (
            tuple((number, proposal.fingerprint()) for number, proposal in self.proposals.items()),
            tuple(self.own),
            self.next,
            self.durable,
            self._reserved,
            self._block,
            self._next_before,
            tuple(value for _, value in self._waiting),
            tuple(self._proposed),
            tuple(self._settling),
            self.pacing.fingerprint(),
        )
