"""Recovery: finishing an instance whose owner may be dead.

A recovery joins a ballot of its own with a classic quorum Q, and looks at what these know (EPaxos*):

1.  Somebody knows what was decided: that is it.
2.  Somebody accepted something: what was accepted at the highest ballot is proposed.
3.  The owner is in Q: it has not committed on the fast path and never will, so a no-op is proposed.
4.  Fewer than |Q| - e of Q pre-accepted exactly the initial dependencies: no fast quorum formed; a no-op.
5.  Else one may have formed.  It did not if something contradicts it, and that is asked of Q (Validate): an
    instance that conflicts, such that neither is in the other's dependencies.  If nothing does, the command
    is proposed with its initial dependencies; if something decided does, a no-op; and if something does
    that is not decided, the recovery waits until enough is known of that (Waiting).

What was proposed is decided when a classic quorum has accepted it.

Nothing is sent only once.  A question is repeated to those who have not answered, a recovery that waits
recovers what it waits for, and one that takes too long begins anew at a higher ballot.

Who recovers is whoever has waited long enough, in an order that begins at the owner; after an attempt that
failed the wait is longer, and random, so that two do not get into each other's way again and again. A
member that is lost may leave hundreds of instances behind.  A few of them are recovered first, and each that
succeeds makes room for a few more: so where no quorum answers, only those few ask again and again.

Source: Ryabinin, Gotsman and Sutra, *Making Democracy Work*, 2025, the recovery of EPaxos*.
"""

from collections.abc import Iterable
from typing import Final, Self

from epaxos.acceptor import EPaxosAcceptor, known_entry
from epaxos.context import NEVER_S, Context
from epaxos.instances import ACCEPTED, COMMITTED, PRE_ACCEPTED, Choice, Deps, Instance
from epaxos.learner import EPaxosLearner
from epaxos.messages import (
    Accept,
    AcceptOK,
    Known,
    Recover,
    RecoverOK,
    Validate,
    ValidateOK,
    Waiting,
)
from epaxos.table import Table
from paxos.ballot import Ballot, NodeId
from paxos.errors import ProtocolBreach
from paxos.wire import MAX_ROUND

__all__ = ["Recoveries", "Recovery", "Stage"]

#: What a recovery is at.
Stage = str
ASKING: Final = "asking"
VALIDATING: Final = "validating"
WAITING: Final = "waiting"
ACCEPTING: Final = "accepting"

_Key = tuple[int, int]


class Recovery:
    """One attempt at finishing one instance.

    Attributes:
        instance: which.
        ballot: the attempt's own.
        stage: what it is at.
        reports: what members know, by node.
        quorum: Q, once it is complete; whoever reports later is not of it.
        agreeing: R, how many of Q pre-accepted exactly the initial dependencies.
        deps: these dependencies.
        value: the command.
        validated: who has answered the validation.
        conflicts: what may contradict, rank and number.
        choice: what is proposed.
        votes: who has accepted it.
    """

    __slots__ = (
        "agreeing",
        "ballot",
        "began_s",
        "choice",
        "conflicts",
        "deps",
        "instance",
        "quorum",
        "repeat_at_s",
        "repeat_s",
        "reports",
        "stage",
        "validated",
        "value",
        "votes",
    )

    def __init__(self, instance: Instance, ballot: Ballot, now_s: float, repeat_s: float) -> None:
        self.instance: Instance = instance
        self.ballot: Ballot = ballot
        self.began_s: float = now_s
        self.repeat_at_s: float = now_s + repeat_s
        self.repeat_s: float = repeat_s
        self.stage: Stage = ASKING
        self.reports: dict[NodeId, RecoverOK] = {}
        self.quorum: tuple[NodeId, ...] = ()
        self.agreeing: int = 0
        self.deps: Deps = ()
        self.value: bytes | None = None
        self.validated: set[NodeId] = set()
        self.conflicts: set[_Key] = set()
        self.choice: Choice | None = None
        self.votes: set[NodeId] = set()

    def clone(self, instance: Instance) -> Self:
        """A copy, of the copy of its instance."""
        other = type(self)(instance, self.ballot, self.began_s, self.repeat_s)
        other.repeat_at_s, other.stage = self.repeat_at_s, self.stage
        other.reports, other.quorum = dict(self.reports), self.quorum
        other.agreeing, other.deps, other.value = self.agreeing, self.deps, self.value
        other.validated, other.conflicts = set(self.validated), set(self.conflicts)
        other.choice, other.votes = self.choice, set(self.votes)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (
            self.ballot,
            self.stage,
            tuple(sorted(self.reports.items())),
            self.quorum,
            self.agreeing,
            self.deps,
            tuple(sorted(self.validated)),
            tuple(sorted(self.conflicts)),
            self.choice,
            tuple(sorted(self.votes)),
        )


#: How many instances of one member are recovered at the same time, at first; and how many more with each that
#: succeeds.
_FEW: Final = 8
_MORE: Final = 3


class _Watch:
    """How long the lowest instance of a member that is not decided has been waited for.

    Attributes:
        number: the lowest that is not decided.
        until: the highest that was heard of when that began to be waited for.
        since_s: when that was, or the last attempt.
        delay_s: how long after it the next attempt is due.
        attempts: how many there were.
        next: from here on to `last` instances are to be recovered when there is room.
        last: none above is.
        most: so many at the same time.
        is_eased: whether there may be room.
    """

    __slots__ = ("attempts", "delay_s", "is_eased", "last", "most", "next", "number", "since_s", "until")

    def __init__(self) -> None:
        self.number = self.until = self.attempts = 0
        self.since_s = self.delay_s = 0.0
        self.next, self.last = 1, 0
        self.most = _FEW
        self.is_eased = False

    def begin(self, number: int, until: int, since_s: float, delay_s: float) -> None:
        """Another one is the lowest now. What is being done about those above it goes on."""
        self.number, self.until = number, until
        self.since_s, self.delay_s = since_s, delay_s
        self.attempts = 0

    def clone(self) -> "_Watch":
        """A copy."""
        other = _Watch()
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (self.number, self.until, self.attempts, self.next, self.last, self.most, self.is_eased)


class Recoveries:
    """The recoveries that a replica runs, and what it watches.

    Args:
        table: the instances.
        acceptor: the own.
        learner: the own.
        left_behind: own numbers up to this one were reserved in earlier lives; nobody proposes them any more.
        context: of the replica.
        now_s: monotonic seconds.

    Attributes:
        running: by rank and number.
        seen: likewise, ballots that others have joined, above the own attempt that this ended.
        tick_at_s: when to look next.
    """

    def __init__(
        self,
        table: Table,
        acceptor: EPaxosAcceptor,
        learner: EPaxosLearner,
        left_behind: int,
        context: Context,
        now_s: float,
    ) -> None:
        self._table, self._acceptor, self._learner = table, acceptor, learner
        self.running: dict[_Key, Recovery] = {}
        self.tick_at_s: float = now_s if context.is_member else NEVER_S
        self._left_behind = left_behind
        self._watches: dict[int, _Watch] = {}
        self.seen: dict[_Key, Ballot] = {}

    # --- who recovers, and when --------------------------------------------------------------------

    def _delay_s(self, rank: int, number: int, attempts: int, context: Context) -> float:
        """How long to wait for an instance before recovering it."""
        settings = context.settings
        members = len(context.members)
        distance = (context.own_rank - rank) % members
        if distance == 0 and not attempts and number <= self._left_behind:
            return 0.0  # nobody would know sooner that it is to be finished
        base_s = settings.recover_s + distance * settings.recover_stagger_s
        if not attempts:
            return base_s
        # Random, so that those who got into each other's way do not again.
        share = 1 + context.draw("recovery", 1000) / 1000
        return share * min(base_s * float(1 << min(attempts, 16)), settings.recover_max_s)

    def waited_for(self) -> dict[int, tuple[int, float]]:
        """For each rank what is waited for: the lowest number that is not decided, and since when."""
        frontier = self._learner.executor.frontier
        return {
            rank: (watch.number, watch.since_s)
            for rank, watch in sorted(self._watches.items())
            if watch.number > frontier[rank]  # what was decided since nobody waits for any more
        }

    def _watch(self, in_flight: Iterable[int], context: Context, now_s: float) -> None:
        """See what is not decided, and recover what has been so for too long."""
        learner, table = self._learner, self._table
        own = set(in_flight)
        for rank, reached in enumerate(learner.executor.frontier):
            until = max(table.top[rank], learner.needed[rank])
            number = reached + 1
            if number > until:
                self._watches.pop(rank, None)
                continue
            watch = self._watches.get(rank)
            if watch is None:
                self._watches[rank] = watch = _Watch()
            if watch.number != number:
                watch.begin(number, until, now_s, self._delay_s(rank, number, 0, context))
            if now_s >= watch.since_s + watch.delay_s:
                watch.attempts += 1
                # Of what an earlier life left behind the next is due as soon as one is done: that is no other
                # attempt, and what has been learned, that a quorum answers, still holds.
                goes_on = not watch.delay_s and watch.next <= watch.last
                watch.since_s, watch.delay_s = now_s, self._delay_s(rank, number, watch.attempts, context)
                watch.next, watch.last = number, watch.until
                watch.most = watch.most if goes_on else _FEW
                # What came meanwhile may be on its way, and is not disturbed before the next attempt.
                watch.until = until
                watch.is_eased = True
            if watch.is_eased:
                watch.is_eased = False
                self._recover_some(rank, watch, own, context, now_s)

    def _recover_some(self, rank: int, watch: _Watch, own: set[int], context: Context, now_s: float) -> None:
        """Recover those whose turn it is, lowest first, as many as there is room for."""
        executor = self._learner.executor
        room = min(watch.most, context.settings.recover_at_once)
        room -= sum(each == rank for each, _ in self.running)
        while watch.next <= watch.last:
            number = watch.next
            is_done = executor.is_committed(rank, number) or (rank, number) in self.running
            if not is_done and not (rank == context.own_rank and number in own):
                # What everything else waits for is always among them.
                if room <= 0 and number != watch.number:
                    return
                room -= 1
                self.start(rank, number, context, now_s)
            watch.next = number + 1

    def start(self, rank: int, number: int, context: Context, now_s: float) -> None:
        """Recover an instance, unless it is being recovered here, is decided, or is gone."""
        key = (rank, number)
        if key in self.running or not context.is_member or self._learner.executor.is_committed(rank, number):
            return
        instance = self._table.find_or_make(rank, number, context)
        if instance is None or instance.phase == COMMITTED:
            return
        highest = max(instance.ballot, self.seen.get(key, instance.ballot))
        if highest.round >= MAX_ROUND:
            return  # no honest ballot is that high
        ballot = highest.above(context.node)
        recovery = Recovery(instance, ballot, now_s, context.settings.repeat_s)
        self.running[key] = recovery
        self.tick_at_s = min(self.tick_at_s, recovery.repeat_at_s)
        context.event("recovery", "tick", instance=(context.members[rank], number), ballot=ballot)
        # The own joining is durable before the question leaves, so no other life of this node has the ballot.
        self._acceptor.join(instance, ballot)
        context.send_members(Recover(context.members[rank], number, ballot))
        context.send(context.node, self._acceptor.report(instance))

    # --- what members know -------------------------------------------------------------------------

    def _find(self, owner: NodeId, number: int, ballot: Ballot, context: Context) -> Recovery | None:
        rank = context.rank.get(owner)
        if rank is None:
            return None
        recovery = self.running.get((rank, number))
        return recovery if recovery is not None and recovery.ballot == ballot else None

    def on_recover_ok(self, sender: NodeId, message: RecoverOK, context: Context, now_s: float) -> None:
        """Take a report."""
        recovery = self._find(message.owner, message.number, message.ballot, context)
        if recovery is None or sender in recovery.reports or sender not in context.rank:
            return
        for deps in (message.deps, message.initial_deps):
            if deps is not None and not context.fits(deps):
                return
        recovery.reports[sender] = message
        if recovery.stage == ASKING:
            if len(recovery.reports) >= context.classic:
                recovery.quorum = tuple(sorted(recovery.reports))
                self._look(recovery, context, now_s)
        elif recovery.stage != ACCEPTING:
            # Whoever reports later makes the quorum larger, and the first rules still hold for that.
            self._look_for_more(recovery, recovery.reports.values(), context, now_s)

    def _look_for_more(
        self, recovery: Recovery, reports: Iterable[RecoverOK], context: Context, now_s: float
    ) -> bool:
        """Rules 2 and 3: whether they say what to propose."""
        accepted = [report for report in reports if report.phase == ACCEPTED]
        if accepted:
            best = max(accepted, key=lambda report: report.accepted)
            assert best.deps is not None, "who accepted has dependencies"
            self._propose(recovery, Choice(best.is_nop, best.deps), best.value, context, now_s)
            return True
        if message_of_owner := recovery.reports.get(context.members[recovery.instance.rank]):
            if message_of_owner.phase != COMMITTED:
                self._propose(recovery, context.no_op, None, context, now_s)
                return True
        return False

    def _look(self, recovery: Recovery, context: Context, now_s: float) -> None:
        """A quorum has reported: rules 2 to 5."""
        reports = [recovery.reports[node] for node in recovery.quorum]
        if self._look_for_more(recovery, reports, context, now_s):
            return
        agreeing = [
            report
            for report in reports
            if report.phase == PRE_ACCEPTED and report.deps == report.initial_deps
        ]
        if len(agreeing) < len(reports) - context.fast_failures:
            self._propose(recovery, context.no_op, None, context, now_s)
            return
        first = agreeing[0]
        assert first.deps is not None, "who pre-accepted has dependencies"
        assert first.value is not None, "and knows the command"
        if any((report.deps, report.value) != (first.deps, first.value) for report in agreeing):
            raise ProtocolBreach(
                f"InitialDepsCommon: instance {first.owner}.{first.number} has two initial dependencies"
            )
        recovery.agreeing = len(agreeing)
        recovery.deps, recovery.value = first.deps, first.value
        recovery.stage = VALIDATING
        self._again(recovery, context, now_s)
        instance = recovery.instance
        context.event("validation", "RecoverOK", instance=(first.owner, first.number))
        question = Validate(first.owner, first.number, recovery.ballot, first.deps, first.value)
        for node in recovery.quorum:
            if node == context.node:
                self._acceptor.on_validate(node, question)
            else:
                context.send(node, question)
        assert instance.phase != COMMITTED, "a recovery ends when its instance is decided"

    # --- validation --------------------------------------------------------------------------------

    def on_validate_ok(self, sender: NodeId, message: ValidateOK, context: Context, now_s: float) -> None:
        """Take an answer to the validation; when all are there, propose, or wait."""
        recovery = self._find(message.owner, message.number, message.ballot, context)
        if (
            recovery is None
            or recovery.stage != VALIDATING
            or sender not in recovery.quorum
            or sender in recovery.validated
        ):
            return
        if message.is_invalid:
            self._propose(recovery, context.no_op, None, context, now_s)
            return
        recovery.validated.add(sender)
        for owner, number in message.conflicts:
            rank = context.rank.get(owner)
            if rank is not None:
                recovery.conflicts.add((rank, number))
        if len(recovery.validated) < len(recovery.quorum):
            return
        if not recovery.conflicts:
            choice = Choice(False, recovery.deps)
            self._propose(recovery, choice, recovery.value, context, now_s)
            return
        few = recovery.agreeing == len(recovery.quorum) - context.fast_failures
        if few and any(context.members[rank] not in recovery.quorum for rank, _ in recovery.conflicts):
            self._propose(recovery, context.no_op, None, context, now_s)
            return
        recovery.stage = WAITING
        self._again(recovery, context, now_s)
        context.event("waiting", "ValidateOK", instance=(message.owner, message.number))
        self._say_waiting(recovery, context)
        self._reconsider(recovery, context, now_s)
        for other in list(self.running.values()):
            if other.stage == WAITING and other is not recovery:
                self._heed(other, recovery.instance, recovery.agreeing, context, now_s)
                self._heed(recovery, other.instance, other.agreeing, context, now_s)

    def _say_waiting(self, recovery: Recovery, context: Context) -> None:
        instance = recovery.instance
        owner = context.members[instance.rank]
        context.send_members(Waiting(owner, instance.number, recovery.agreeing))

    def on_waiting(self, sender: NodeId, message: Waiting, context: Context, now_s: float) -> None:
        """Another recovery waits; one that waits for it here may know enough now."""
        rank = context.rank.get(message.owner)
        instance = None if rank is None else self._table.find(rank, message.number)
        if instance is not None and sender in context.rank:
            for recovery in list(self.running.values()):
                self._heed(recovery, instance, message.agreeing, context, now_s)

    def _heed(
        self, recovery: Recovery, instance: Instance, agreeing: int, context: Context, now_s: float
    ) -> None:
        """The recovery of `instance` waits too, and so many agree about that."""
        if recovery.stage != WAITING or (instance.rank, instance.number) not in recovery.conflicts:
            return
        if agreeing > len(context.members) - context.failures - context.fast_failures:
            self._propose(recovery, context.no_op, None, context, now_s)

    def _reconsider(self, recovery: Recovery, context: Context, now_s: float) -> None:
        """What a recovery waits for may have been decided."""
        if recovery.stage != WAITING:
            return
        mine = recovery.instance
        left = False
        for rank, number in sorted(recovery.conflicts):
            instance = self._table.find(rank, number)
            if instance is None or instance.phase != COMMITTED:
                if number > self._learner.barriers.truncated[rank]:
                    left = True
                # A classic quorum has it in snapshots. What follows the barrier follows it; what does not,
                # contradicts it.
                elif self._acceptor.validate(mine, recovery.deps)[0]:
                    self._propose(recovery, context.no_op, None, context, now_s)
                    return
            elif not instance.is_nop and instance.deps is not None and instance.deps[mine.rank] < mine.number:
                self._propose(recovery, context.no_op, None, context, now_s)
                return
        if not left:
            self._propose(recovery, Choice(False, recovery.deps), recovery.value, context, now_s)

    # --- proposing ---------------------------------------------------------------------------------

    def _propose(
        self, recovery: Recovery, choice: Choice, value: bytes | None, context: Context, now_s: float
    ) -> None:
        """Have a choice accepted; a ballot has only one."""
        assert recovery.choice is None, "one choice for each ballot"
        instance = recovery.instance
        recovery.stage, recovery.choice = ACCEPTING, choice
        recovery.value = value = None if choice.is_nop else value
        self._again(recovery, context, now_s)
        if choice.is_nop:
            context.event(
                "no-op proposed", "recovery", instance=(context.members[instance.rank], instance.number)
            )
        # Nobody asks this replica to join a higher ballot but by a message, and that ends the recovery.
        self._acceptor.accept(instance, recovery.ballot, choice, value)
        owner = context.members[instance.rank]
        message = Accept(owner, instance.number, recovery.ballot, choice.is_nop, choice.deps, value)
        context.send_members(message)
        context.send(context.node, AcceptOK(owner, instance.number, recovery.ballot))

    def on_accept_ok(self, sender: NodeId, message: AcceptOK, context: Context) -> None:
        """Count a vote."""
        recovery = self._find(message.owner, message.number, message.ballot, context)
        if recovery is None or recovery.choice is None or sender not in context.rank:
            return
        recovery.votes.add(sender)
        if len(recovery.votes) >= context.classic:
            instance, choice = recovery.instance, recovery.choice
            self._learner.decide(instance, choice, context)
            context.event(
                "recovered", "AcceptOK", instance=(message.owner, message.number), is_nop=choice.is_nop
            )
            context.send_others(Known((known_entry(instance, context),)))

    # --- ends --------------------------------------------------------------------------------------

    def on_nack(self, rank: int, number: int, ballot: Ballot, joined: Ballot) -> None:
        """Somebody joined a higher ballot: another recovers this, and goes first."""
        recovery = self.running.get((rank, number))
        if recovery is not None and recovery.ballot == ballot and joined > ballot:
            self.seen[rank, number] = max(joined, self.seen.get((rank, number), joined))
            del self.running[rank, number]

    def on_joined(self, instance: Instance) -> None:
        """This replica joined a ballot: an own recovery below it is over."""
        key = (instance.rank, instance.number)
        recovery = self.running.get(key)
        if recovery is not None and recovery.ballot < instance.ballot:
            del self.running[key]

    def on_decided(self, instances: Iterable[Instance], context: Context, now_s: float) -> None:
        """These are decided."""
        for instance in instances:
            key = (instance.rank, instance.number)
            self.seen.pop(key, None)
            if self.running.pop(key, None) is None:
                continue
            watch = self._watches.get(instance.rank)
            if watch is not None and watch.next <= watch.last:
                # A quorum answers: there is room for its successor, and for some more.
                watch.most += _MORE
                watch.is_eased = True
                self.tick_at_s = now_s
        for recovery in list(self.running.values()):
            self._reconsider(recovery, context, now_s)

    def on_installed(self, context: Context, now_s: float) -> None:
        """A snapshot was installed: what is gone is decided, and what waited for it may go on."""
        executor = self._learner.executor
        for key in [key for key in self.running if executor.is_committed(*key)]:
            del self.running[key]
        self.seen = {key: ballot for key, ballot in self.seen.items() if not executor.is_committed(*key)}
        self.on_decided((), context, now_s)

    # --- time --------------------------------------------------------------------------------------

    def _again(self, recovery: Recovery, context: Context, now_s: float) -> None:
        """A new question was asked: it is repeated after the shortest time."""
        recovery.repeat_s = context.settings.repeat_s
        recovery.repeat_at_s = now_s + recovery.repeat_s
        self.tick_at_s = min(self.tick_at_s, recovery.repeat_at_s)

    def tick(self, in_flight: Iterable[int], context: Context, now_s: float) -> None:
        """Begin what is due, ask again, and begin anew what takes too long.

        Args:
            in_flight: own instances that this replica is proposing, and others need not finish.
            context: of the replica.
            now_s: monotonic seconds.
        """
        if now_s < self.tick_at_s or not context.is_member:
            return
        settings = context.settings
        for key, recovery in list(self.running.items()):
            if now_s >= recovery.began_s + settings.recover_max_s:
                # Too long: perhaps a message was lost that is not repeated. Its ballot is used up.
                self.running.pop(key, None)
                self.start(*key, context, now_s)
            elif now_s >= recovery.repeat_at_s:
                self._repeat(recovery, context, now_s)
                recovery.repeat_s = min(2 * recovery.repeat_s, settings.repeat_max_s)
                recovery.repeat_at_s = now_s + recovery.repeat_s
        self._watch(in_flight, context, now_s)
        self.tick_at_s = now_s + settings.recover_s / 4
        for recovery in self.running.values():
            self.tick_at_s = min(self.tick_at_s, recovery.repeat_at_s)

    def _repeat(self, recovery: Recovery, context: Context, now_s: float) -> None:
        instance, ballot = recovery.instance, recovery.ballot
        owner, number = context.members[instance.rank], instance.number
        if recovery.stage == ACCEPTING:
            choice = recovery.choice
            assert choice is not None, "what is accepted was proposed"
            for node in context.other_members:
                if node not in recovery.votes:
                    context.send(
                        node, Accept(owner, number, ballot, choice.is_nop, choice.deps, recovery.value)
                    )
            return
        for node in context.other_members:
            if node not in recovery.reports:
                context.send(node, Recover(owner, number, ballot))
        if recovery.stage == VALIDATING and recovery.value is not None:
            for node in recovery.quorum:
                if node not in recovery.validated and node != context.node:
                    context.send(node, Validate(owner, number, ballot, recovery.deps, recovery.value))
        elif recovery.stage == WAITING:
            self._say_waiting(recovery, context)
            for rank, other in sorted(recovery.conflicts):
                self.start(rank, other, context, now_s)

    # --- copies ------------------------------------------------------------------------------------

    def clone(self, table: Table, acceptor: EPaxosAcceptor, learner: EPaxosLearner) -> Self:
        """An independent copy, with copies of the other rooms."""
        other = object.__new__(type(self))
        other._table, other._acceptor, other._learner = table, acceptor, learner
        other.running = {
            key: recovery.clone(table.by_rank[key[0]][key[1]]) for key, recovery in self.running.items()
        }
        other.tick_at_s, other._left_behind = self.tick_at_s, self._left_behind
        other._watches = {rank: watch.clone() for rank, watch in self._watches.items()}
        other.seen = dict(self.seen)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (
            tuple((key, recovery.fingerprint()) for key, recovery in sorted(self.running.items())),
            tuple((rank, watch.fingerprint()) for rank, watch in sorted(self._watches.items())),
            tuple(sorted(self.seen.items())),
        )
