"""What a traced replica tells of its handlers, in the words of `specs/EPaxos.tla`.

A traced replica is the replica itself, made of rooms that are watched: each thing that a room does becomes
one event, named as the action of the specification that it is.  So the hot path of a replica that does not
trace knows nothing of traces.  What changed nothing and answered nothing is not told.

Where the code does in one go what the specification does step by step, an event is told for each step: one
for each instance of a Commit or a Known, one for each own pre-acceptance that a Written names, one for the
own answer of who proposes or recovers.  An answer that is counted is told of before what follows from it.

`SPECIFICATION` ties the names: every action of the module is told here under the same name, but for Persist,
which happens between the driver and its disk (`Step.action` "durable").  Observers have no vote, and are not
in the specification: they are not traced.  Neither are barriers: a trace ends where the first one is
executed.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, Self, TypeAlias

from epaxos.acceptor import EPaxosAcceptor
from epaxos.context import Context
from epaxos.instances import ACCEPTED, COMMITTED, Choice, Deps, Instance, InstancePhase
from epaxos.learner import EPaxosLearner
from epaxos.messages import AcceptOK, PreAccept, PreAcceptOK, RecoverOK, Validate, ValidateOK
from epaxos.proposer import EPaxosProposer, Proposal
from epaxos.quorums import EPaxosQuorums
from epaxos.recovery import ACCEPTING, ASKING, VALIDATING, Recoveries, Recovery
from epaxos.replica import EPaxosReplica
from epaxos.settings import EPaxosSettings
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.command import Command
from paxos.contract import Configuration, Draw, Event, Instant, Mark, Records, Specification
from paxos.contract.traces import Given, PlainEvent, TraceForm, same_arguments
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem

__all__ = ["SPECIFICATION", "TracedReplica", "make_replica"]

#: An instance as events name it: owner and number.
_Named: TypeAlias = tuple[NodeId, int]

#: Told where what follows is not in the specification, and left out with all that follows.
_END: Final = "Barrier"
#: The command of a no-op.
_NOP: Final = "nop"
#: The ballot of every owner, 0 in the specification: below all others, and nobody's.
_OWNERS: Final = Ballot(0, 0)
_PHASES: Final = {phase: phase.name.lower().replace("_", "") for phase in InstancePhase}


# --- the form of the traces --------------------------------------------------------------------------


def _before_barriers(events: Iterable[PlainEvent]) -> dict[str, tuple[PlainEvent, ...]]:
    """All events before the first barrier is executed, as one trace, which needs no name."""
    kept: list[PlainEvent] = []
    for event in events:
        if event["action"] == _END:
            break
        kept.append(event)
    return {"": tuple(kept)}


def _constants(events: Iterable[PlainEvent], quorums: QuorumSystem) -> dict[str, object]:
    """How many replicas there are and may fail, and the highest number that is spoken of."""
    if not isinstance(quorums, EPaxosQuorums):
        raise ConfigurationError(f"traces of EPaxos are of its own quorums, not of {quorums.describe():.200}")
    last = 1
    for event in events:
        last = max(last, event.get("reserved", 0))
        if "instance" in event:
            last = max(last, event["instance"]["sequence"][1])
        for deps in (event.get("deps"), event.get("ideps")):
            if deps is not None:
                last = max(last, *(number for _, number in deps["function"]))
    return {
        "N": len(quorums.members),
        "F": quorums.failures,
        "E": quorums.fast_failures,
        "Last": last,
        "Lowest": _OWNERS,
    }


def _keys_in_order(values: Mapping[str, Any], quorums: QuorumSystem) -> Mapping[str, object]:
    """An event, with keys as sequences of their bytes: these have an order there, and strings have none."""
    fields = dict(same_arguments(values, quorums))
    for name in ("reads", "writes"):
        if name in fields:
            fields[name] = frozenset(map(tuple, values[name]))
    for name in ("read_ranges", "write_ranges"):
        if name in fields:
            fields[name] = frozenset((tuple(first), tuple(end or ())) for first, end in values[name])
    return fields


def _rough(nodes: int) -> EPaxosSettings:
    """Settings in which recoveries begin early, often of what its owner would have finished."""
    return EPaxosSettings(
        repeat_s=0.2,
        repeat_max_s=0.3,
        fast_patience_s=0.06,
        gossip_s=0.3,
        recover_s=0.1,
        recover_stagger_s=0.1,
        recover_max_s=1.0,
        reserve_numbers=1,
    )


#: The module, and its actions as they are traced.
SPECIFICATION: Final = Specification(
    "EPaxos",
    {
        name: name
        for name in (
            "Submit",
            "CountPreAccept",
            "FastCommit",
            "SlowPath",
            "CountAccept",
            "Commit",
            "PreAccept",
            "RepeatPreAccept",
            "Accept",
            "RepeatAccept",
            "LearnCommit",
            "Recover",
            "Join",
            "RepeatJoin",
            "CountRecover",
            "RecoverAccepted",
            "RecoverNop",
            "AskValidate",
            "Validate",
            "CountValidate",
            "Validated",
            "Invalidated",
            "Wait",
            "WaitRefuted",
            "WaitResolved",
            "WaitYields",
            "WaitAccepted",
            "WaitOwner",
            "Restart",
        )
    }
    | {"Persist": "durable"},
    TraceForm(
        cut=_before_barriers,
        constants=_constants,
        settings=_rough,
        markers=False,
        view="View",
        given={
            "Replica": Given.MEMBERS,
            "Ballot": Given.BALLOTS,
            "Leader": Given.OWNER,
            "None": "NoCommand",
            "Nop": "NoOp",
            "Command": "NoCommands",
            "Conflict": "Conflicting",
            "Offered": "Asked",
            "Known": "KnownOrMore",
        },
        event=_keys_in_order,
        ballot_fields=frozenset({"bal", "abal"}),
    ),
)


# --- what is told ------------------------------------------------------------------------------------


class _Teller:
    """Tells events; of an answer that may be counted only when it was.

    Attributes:
        deciding: the action by which an instance is decided right now; LearnCommit but for the own ones.
        recovers: whether a ballot that is joined is the first of a recovery.
        validates: whether an answer to a validation is being counted.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._expected: tuple[str, str, Callable[[], dict[str, object]]] | None = None
        self.deciding = "LearnCommit"
        self.recovers = False
        self.validates = False

    def tell(self, action: str, cause: str, **arguments: object) -> None:
        """Something was done."""
        self.settle(True)
        self._context.out.events.append(Event(action, self._context.node, arguments, cause, True))

    def expect(self, action: str, cause: str, arguments: Callable[[], dict[str, object]]) -> None:
        """Something may be done now; if something else is told before it is settled, it was."""
        self.settle(True)
        self._expected = (action, cause, arguments)

    def settle(self, done: bool) -> None:
        """Whether what was expected was done."""
        if self._expected is not None:
            (action, cause, arguments), self._expected = self._expected, None
            if done:
                self.tell(action, cause, **arguments())

    def expect_accepted(self, sender: NodeId, message: AcceptOK, votes: Iterable[NodeId]) -> None:
        """A vote may be taken in now, and may decide."""
        owner, number, ballot = message
        counted = frozenset({*votes, sender})
        self.deciding = "Commit"
        self.expect(
            "CountAccept",
            "AcceptOK",
            lambda: {
                "instance": (owner, number),
                "sender": sender,
                "ballot": _ballot(ballot),
                "counted": counted,
            },
        )

    def settle_accepted(self, done: bool) -> None:
        """Whether the vote was taken in."""
        self.settle(done)
        self.deciding = "LearnCommit"

    # --- as the specification names it ---

    def name(self, instance: Instance) -> _Named:
        """An instance."""
        return (self._context.members[instance.rank], instance.number)

    def deps(self, deps: Deps | None) -> dict[NodeId, int]:
        """Dependencies; none are all zero."""
        return dict(zip(self._context.members, deps or self._context.no_op.deps, strict=True))

    def choice(self, instance: Instance, choice: Choice) -> dict[str, object]:
        """What is proposed, accepted or decided in an instance."""
        cmd = _NOP if choice.is_nop else _short(instance.value)
        return {"cmd": cmd, "deps": self.deps(choice.deps)}

    def record(self, instance: Instance) -> dict[str, object]:
        """What is known of an instance."""
        first = instance.initial_deps
        return {
            "phase": _PHASES[InstancePhase(instance.phase)],
            "bal": _ballot(instance.ballot),
            "abal": _ballot(instance.accepted_ballot),
            "cmd": _NOP if instance.is_nop else _short(instance.value),
            "deps": self.deps(instance.deps),
            "icmd": None if first is None else _short(instance.value),
            "ideps": self.deps(first),
        }


def _ballot(ballot: Ballot) -> Ballot:
    return _OWNERS if ballot.round == 0 and ballot != BOTTOM else ballot


def _short(value: bytes | None) -> bytes | None:
    """A short name for a command."""
    return None if value is None else blake2b(value, digest_size=6).hexdigest().encode()


# --- the rooms ---------------------------------------------------------------------------------------


class _TracedAcceptor(EPaxosAcceptor):
    teller: _Teller

    def on_pre_accept(self, sender: NodeId, message: PreAccept) -> Instance | None:
        instance = super().on_pre_accept(sender, message)
        if instance is not None:
            teller = self.teller
            teller.tell(
                "PreAccept", "PreAccept", instance=teller.name(instance), deps=teller.deps(instance.deps)
            )
        return instance

    def _pre_accepted_before(self, sender: NodeId, instance: Instance, message: PreAccept) -> None:
        sends = self._context.out.sends
        before = len(sends)
        super()._pre_accepted_before(sender, instance, message)
        if any(answer.__class__ is PreAcceptOK for _, answer in sends[before:]):
            self.teller.tell("RepeatPreAccept", "PreAccept", instance=self.teller.name(instance))

    def accept(self, instance: Instance, ballot: Ballot, choice: Choice, value: bytes | None) -> None:
        again = instance.accepted_ballot == ballot
        super().accept(instance, ballot, choice, value)
        teller = self.teller
        action = "RepeatAccept" if again else "Accept"
        what = {"ballot": _ballot(ballot), **teller.choice(instance, choice)}
        teller.tell(action, "Accept", instance=teller.name(instance), **what)

    def join(self, instance: Instance, ballot: Ballot) -> None:
        again, teller = instance.ballot == ballot, self.teller
        if teller.recovers:
            teller.tell("Recover", "tick", instance=teller.name(instance), ballot=ballot)
        super().join(instance, ballot)
        action = "RepeatJoin" if again else "Join"
        teller.tell(action, "Recover", instance=teller.name(instance), record=teller.record(instance))

    def on_validate(self, sender: NodeId, message: Validate) -> None:
        sends = self._context.out.sends
        before = len(sends)
        super().on_validate(sender, message)
        for _, answer in sends[before:]:
            if answer.__class__ is ValidateOK:
                self.teller.tell("Validate", "Validate", **_validation(answer))


def _validation(answer: ValidateOK) -> dict[str, object]:
    owner, number, ballot, is_invalid, conflicts = answer
    return {
        "instance": (owner, number),
        "ballot": ballot,
        "invalid": is_invalid,
        "conflicts": frozenset() if is_invalid else _pairs(conflicts),
    }


def _pairs(named: Iterable[_Named]) -> frozenset[_Named]:
    return frozenset((owner, number) for owner, number in named)


class _TracedLearner(EPaxosLearner):
    teller: _Teller

    def decide(
        self, instance: Instance, choice: Choice, context: Context, *, is_settled: bool = True
    ) -> None:
        was_known = instance.phase == COMMITTED
        super().decide(instance, choice, context, is_settled=is_settled)
        if not was_known:
            teller = self.teller
            action = teller.deciding
            cause = "Commit" if action == "LearnCommit" else "AcceptOK"
            teller.tell(action, cause, instance=teller.name(instance), **teller.choice(instance, choice))

    def execute(self, context: Context) -> list[Instance]:
        done = super().execute(context)
        if self.barriers.at is not None:
            self.teller.tell(_END, "execute")
        return done


class _TracedProposer(EPaxosProposer):
    teller: _Teller

    def _propose(self, command: Command, value: bytes, context: Context, now_s: float) -> None:
        number = self.next
        super()._propose(command, value, context, now_s)
        instance, teller = self._table.by_rank[context.own_rank][number], self.teller
        reads, writes, read_ranges, write_ranges, everything = instance.footprint
        teller.tell(
            "Submit",
            "submit",
            instance=teller.name(instance),
            value=_short(value),
            deps=teller.deps(instance.deps),
            reads=frozenset(reads),
            writes=frozenset(writes),
            read_ranges=frozenset(read_ranges),
            write_ranges=frozenset(write_ranges),
            everything=everything,
        )

    def on_pre_accept_ok(self, sender: NodeId, message: PreAcceptOK, context: Context, now_s: float) -> None:
        proposal, teller = self.proposals.get(message.number), self.teller
        if proposal is None or proposal.accepting is not None or sender in proposal.answered:
            super().on_pre_accept_ok(sender, message, context, now_s)
            return
        counted = frozenset({*proposal.answered, sender})
        teller.expect(
            "CountPreAccept",
            "PreAcceptOK",
            lambda: {
                "instance": teller.name(proposal.instance),
                "sender": sender,
                "deps": teller.deps(message.deps),
                "counted": counted,
            },
        )
        super().on_pre_accept_ok(sender, message, context, now_s)
        teller.settle(sender in proposal.answered)

    def _commit_fast(self, proposal: Proposal, context: Context) -> None:
        self.teller.deciding = "FastCommit"
        super()._commit_fast(proposal, context)
        self.teller.deciding = "LearnCommit"

    def _go_slow(self, proposal: Proposal, context: Context, now_s: float) -> None:
        instance, teller = proposal.instance, self.teller
        choice = teller.choice(instance, Choice(False, proposal.union))
        teller.tell("SlowPath", "PreAcceptOK", instance=teller.name(instance), **choice)
        super()._go_slow(proposal, context, now_s)

    def on_accept_ok(self, sender: NodeId, message: AcceptOK, context: Context) -> None:
        proposal, teller = self.proposals.get(message.number), self.teller
        if proposal is None or proposal.accepting is None or sender in proposal.answered:
            super().on_accept_ok(sender, message, context)
            return
        teller.expect_accepted(sender, message, proposal.answered)
        super().on_accept_ok(sender, message, context)
        teller.settle_accepted(sender in proposal.answered)


class _TracedRecoveries(Recoveries):
    teller: _Teller
    # What made a recovery that waits, or validates, go on.
    _reason: str = ""

    def start(self, rank: int, number: int, context: Context, now_s: float) -> None:
        self.teller.recovers = True
        super().start(rank, number, context, now_s)
        self.teller.recovers = False

    def on_recover_ok(self, sender: NodeId, message: RecoverOK, context: Context, now_s: float) -> None:
        recovery, teller = self._find(message.owner, message.number, message.ballot, context), self.teller
        if recovery is None or recovery.stage == ACCEPTING or sender in recovery.reports:
            super().on_recover_ok(sender, message, context, now_s)
            return
        counted = frozenset({*recovery.reports, sender})
        teller.expect(
            "CountRecover",
            "RecoverOK",
            lambda: {
                "instance": teller.name(recovery.instance),
                "sender": sender,
                "ballot": message.ballot,
                "counted": counted,
            },
        )
        super().on_recover_ok(sender, message, context, now_s)
        teller.settle(sender in recovery.reports)

    def _look(self, recovery: Recovery, context: Context, now_s: float) -> None:
        teller = self.teller
        teller.expect(
            "AskValidate",
            "RecoverOK",
            lambda: {
                "instance": teller.name(recovery.instance),
                "ballot": recovery.ballot,
                "asked": frozenset(recovery.quorum),
                "strong": recovery.agreeing,
                "cmd": _short(recovery.value),
                "deps": teller.deps(recovery.deps),
            },
        )
        super()._look(recovery, context, now_s)
        teller.settle(recovery.stage == VALIDATING)

    def _look_for_more(
        self, recovery: Recovery, reports: Iterable[RecoverOK], context: Context, now_s: float
    ) -> bool:
        late = recovery.stage != ASKING
        accepted = any(report.phase == ACCEPTED for report in recovery.reports.values())
        names = ("WaitAccepted", "WaitOwner") if late else ("RecoverAccepted", "RecoverNop")
        self._reason = names[0 if accepted else 1]
        found = super()._look_for_more(recovery, reports, context, now_s)
        self._reason = ""
        return found

    def on_validate_ok(self, sender: NodeId, message: ValidateOK, context: Context, now_s: float) -> None:
        recovery, teller = self._find(message.owner, message.number, message.ballot, context), self.teller
        if recovery is None or recovery.stage != VALIDATING or sender in recovery.validated:
            super().on_validate_ok(sender, message, context, now_s)
            return
        teller.expect("CountValidate", "ValidateOK", lambda: {"sender": sender, **_validation(message)})
        teller.validates = True
        super().on_validate_ok(sender, message, context, now_s)
        teller.validates = False
        teller.settle(sender in recovery.validated)

    def _say_waiting(self, recovery: Recovery, context: Context) -> None:
        super()._say_waiting(recovery, context)
        teller = self.teller
        if teller.validates:
            members = context.members
            teller.tell(
                "Wait",
                "ValidateOK",
                instance=teller.name(recovery.instance),
                ballot=recovery.ballot,
                strong=recovery.agreeing,
                conflicts=_pairs((members[rank], number) for rank, number in recovery.conflicts),
            )

    def _heed(
        self, recovery: Recovery, instance: Instance, agreeing: int, context: Context, now_s: float
    ) -> None:
        self._reason = "WaitYields"
        super()._heed(recovery, instance, agreeing, context, now_s)
        self._reason = ""

    def _reconsider(self, recovery: Recovery, context: Context, now_s: float) -> None:
        self._reason = "Wait"
        super()._reconsider(recovery, context, now_s)
        self._reason = ""

    def _propose(
        self, recovery: Recovery, choice: Choice, value: bytes | None, context: Context, now_s: float
    ) -> None:
        teller, action = self.teller, self._reason
        if recovery.stage == ASKING:
            teller.settle(False)  # it asks for no validation
        if action == "Wait":
            action = "WaitRefuted" if choice.is_nop else "WaitResolved"
        elif not action and recovery.stage == ASKING and choice.is_nop:
            action = "RecoverNop"
        elif not action:
            action = "Invalidated" if choice.is_nop else "Validated"
        cmd = _NOP if choice.is_nop else _short(value)
        what = {"ballot": recovery.ballot, "cmd": cmd, "deps": teller.deps(choice.deps)}
        teller.tell(action, "recovery", instance=teller.name(recovery.instance), **what)
        super()._propose(recovery, choice, value, context, now_s)

    def on_accept_ok(self, sender: NodeId, message: AcceptOK, context: Context) -> None:
        recovery, teller = self._find(message.owner, message.number, message.ballot, context), self.teller
        if recovery is None or recovery.choice is None or sender in recovery.votes:
            super().on_accept_ok(sender, message, context)
            return
        teller.expect_accepted(sender, message, recovery.votes)
        super().on_accept_ok(sender, message, context)
        teller.settle_accepted(sender in recovery.votes)


class TracedReplica(EPaxosReplica):
    """A replica that tells, in events, what its handlers did. See `EPaxosReplica`."""

    _acceptor_type = _TracedAcceptor
    _learner_type = _TracedLearner
    _proposer_type = _TracedProposer
    _recoveries_type = _TracedRecoveries

    _acceptor: _TracedAcceptor
    _learner: _TracedLearner
    _proposer: _TracedProposer
    _recoveries: _TracedRecoveries

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        super().__init__(configuration, records, draw, now)
        teller = self._furnish()
        known = {teller.name(instance): teller.record(instance) for instance in self._table}
        teller.tell("Restart", "start", reserved=self._proposer.next - 1, records=known)

    def _furnish(self) -> _Teller:
        teller = _Teller(self._context)
        for room in (self._acceptor, self._learner, self._proposer, self._recoveries):
            room.teller = teller
        return teller

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """The state was replaced by a snapshot at the barrier `mark`: go on from there."""
        super().install(mark, part, now)
        if mark is not None:
            self._acceptor.teller.tell(_END, "install")

    def clone(self) -> Self:
        """An independent copy, sharing only what never changes."""
        other = super().clone()
        other._furnish()
        return other


def make_replica(configuration: Configuration, records: Records, draw: Draw, now: Instant) -> EPaxosReplica:
    """A replica, traced if that is what the configuration says and it has a vote. See `EPaxosReplica`."""
    traced = configuration.trace and configuration.node in configuration.members
    make = TracedReplica if traced else EPaxosReplica
    return make(configuration, records, draw, now)
