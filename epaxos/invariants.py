"""What must hold in every run of EPaxos, by name, checked at every step.

Each invariant watches one run from outside: it sees the messages that nodes make, let go and take in, what
they apply, and what their disks hold, and keeps a *ghost* of the run, the few facts it needs of the past.
Here is what concerns decisions: that there is one for each instance, which command it may be, how it came
about, and that what conflicts is ordered by it.
`epaxos.recovery_invariants` has what concerns recoveries, `epaxos.acceptor_invariants` a replica's memory and
disk, `epaxos.execution_invariants` the order in which commands are carried out.

Words: a message is *created* by a handler, *leaves* when its node lets it go (a reporting one, when the disk
holds what it reports), and is taken in by a later step; a crash loses what was created and had not left.  A
decision *counts* when its node may act on it.

The names are those of the specification.
"""

from typing import Final

from epaxos.acceptor_invariants import (
    AbalOnlyOnAccept,
    BallotOrder,
    DurableBeforeSend,
    InitialDepsCommon,
)
from epaxos.execution_invariants import (
    BarrierCut,
    ExecutedOnce,
    ExecutionClosed,
    ExecutionOrder,
    RealTime,
)
from epaxos.ghosts import (
    Decided,
    DecisionWatch,
    FastWatch,
    InstanceWatch,
    Votes,
    at,
    choice_of,
    commits,
    instance_in,
    named,
    replica_of,
)
from epaxos.instances import COMMITTED, Choice, Deps, InstanceId, join
from epaxos.messages import (
    Accept,
    AcceptOK,
    Commit,
    Known,
    PreAccept,
    PreAcceptOK,
    Recover,
    RecoverOK,
    Settled,
    Validate,
    Written,
)
from epaxos.recovery_invariants import NopSound, RecoveryPreserves, ValidationSound
from paxos.ballot import Ballot, NodeId
from paxos.command import Command, is_marker
from paxos.contract import InvariantMaker, Step
from paxos.quorum import Phase, QuorumSystem

__all__ = [
    "INVARIANTS",
    "AbalOnlyOnAccept",
    "Agreement",
    "BallotOrder",
    "BallotOwnership",
    "BarrierCut",
    "DurableBeforeSend",
    "ExecutedOnce",
    "ExecutionClosed",
    "ExecutionOrder",
    "FastCommitWitness",
    "FastPathTaken",
    "InitialDepsCommon",
    "NopSound",
    "OneValuePerBallot",
    "RealTime",
    "RecoveryPreserves",
    "Stability",
    "ValidationSound",
    "Validity",
    "Visibility",
    "VotesOnce",
]


# --- what is decided ------------------------------------------------------------------------------


class Agreement(DecisionWatch):
    """No two choices are decided in one instance: command and dependencies.

    By votes of a quorum that left at whatever ballots, by what a node acts on, or by what it tells others;
    and no two commands are applied for one instance.
    """

    name = "Agreement"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._choices: dict[InstanceId, Choice] = {}
        self._applied: dict[InstanceId, Command] = {}
        self._votes = Votes(quorums)
        self._created = {Accept: self._proposed}
        self._left = {AcceptOK: self._voted, Commit: self._told, Known: self._told}

    def _proposed(self, step: Step, message: Accept) -> str | None:
        self._votes.propose(message)
        return None

    def _voted(self, step: Step, message: AcceptOK) -> str | None:
        choice = self._votes.vote(step.node, message)
        return None if choice is None else self._decided(step, named(message), choice)

    def _told(self, step: Step, message: Commit | Known) -> str | None:
        for owner, number, is_nop, deps, *_ in message.entries:
            said = self._decided(step, InstanceId(owner, number), Choice(is_nop, deps))
            if said is not None:
                return said
        return None

    def _decided(self, step: Step, name: InstanceId, choice: Choice) -> str | None:
        known = self._choices.setdefault(name, choice)
        return None if known == choice else at(step, name, f"{choice} is decided, and {known} was")

    def _after(self, step: Step) -> str | None:
        for name, command in commits(step):
            known = self._applied.setdefault(name, command)
            if known != command:
                return at(step, name, f"applies {command!r:.80}, and another node {known!r:.80}")
            choice = self._choices.get(name)
            if choice is not None and choice.is_nop:
                return at(step, name, f"applies {command!r:.80}, and a no-op is decided")
        return None


class Validity(InstanceWatch):
    """What is applied was submitted by some client; and an instance has no command but its owner's."""

    name = "Validity"
    _when = ()
    # A service may submit in any step.
    submissions: Final = True

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._submitted: set[Command] = set()
        self._values: dict[InstanceId, bytes] = {}
        self._left = {PreAccept: self._asks}
        self._created = {Accept: self._carries, Validate: self._carries, Known: self._tells}

    def _before(self, step: Step) -> str | None:
        if step.submitted is not None:
            self._submitted.add(step.submitted)
        self._submitted.update(step.placed)
        return None

    def _asks(self, step: Step, message: PreAccept) -> str | None:
        return self._has(step, InstanceId(step.node, message.number), message.value)

    def _carries(self, step: Step, message: Accept | Validate) -> str | None:
        return None if message.value is None else self._has(step, named(message), message.value)

    def _tells(self, step: Step, message: Known) -> str | None:
        for owner, number, _, _, value in message.entries:
            said = None if value is None else self._has(step, InstanceId(owner, number), value)
            if said is not None:
                return said
        return None

    def _has(self, step: Step, name: InstanceId, value: bytes) -> str | None:
        known = self._values.setdefault(name, value)
        return None if known == value else at(step, name, f"has the command {value!r:.60}, and {known!r:.60}")

    def _after(self, step: Step) -> str | None:
        for name, command in commits(step):
            if command not in self._submitted:
                return at(step, name, f"applies {command!r:.80}, which nobody submitted")
        return None


class Stability(DecisionWatch):
    """What a node knows to be decided never changes, over its restarts too."""

    name = "Stability"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._known: dict[NodeId, dict[InstanceId, Choice]] = {}

    def _decided(self, step: Step, name: InstanceId, choice: Choice) -> str | None:
        known = self._known.setdefault(step.node, {}).setdefault(name, choice)
        return None if known == choice else at(step, name, f"{choice} is decided, and had been {known}")

    def _after(self, step: Step) -> str | None:
        replica = replica_of(step)
        if step.action != "restart" or replica is None:
            return None
        known = self._known.get(step.node, {})
        members = replica.context.members
        for instance in replica.table:
            name = InstanceId(members[instance.rank], instance.number)
            before, now = known.get(name), instance.choice
            if instance.phase == COMMITTED and before is not None and now != before:
                return at(step, name, f"is decided as {now} after a restart, and had been as {before}")
        return None


class Visibility(DecisionWatch):
    """Of two decided commands that conflict one is in the other's dependencies.

    Or it comes before a barrier that is: what is truncated is seen through that.
    """

    name = "Visibility"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._all = Decided(quorums.members)

    def _decided(self, step: Step, name: InstanceId, choice: Choice) -> str | None:
        decided = self._all
        if not decided.add(name, choice, instance_in(step, name)) or name not in decided.footprints:
            return None
        for other in decided.outside(decided.footprints[name], choice.deps):
            if other != name and not decided.hold(decided.choices[other].deps, name):
                return at(step, name, f"conflicts with {other}, and neither is in the other's dependencies")
        return None

    def _after(self, step: Step) -> str | None:
        self._all.cut(step)
        return None


# --- one ballot, one choice ---------------------------------------------------------------------


class OneValuePerBallot(InstanceWatch):
    """At one ballot of an instance one choice is proposed."""

    name = "OneValuePerBallot"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._choices: dict[tuple[InstanceId, Ballot], Choice] = {}
        self._created = {Accept: self._proposes}

    def _proposes(self, step: Step, message: Accept) -> str | None:
        name, choice = named(message), choice_of(message)
        known = self._choices.setdefault((name, message.ballot), choice)
        if known == choice:
            return None
        return at(step, name, f"{choice} is proposed at {message.ballot}, and {known} was")


class BallotOwnership(InstanceWatch):
    """Only its node uses a ballot, ballot 0 only the owner, and only in one of the node's lives.

    So a number is given to one instance only, and an owner that restarted goes on with none of its own.
    """

    name = "BallotOwnership"
    _when = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._lives: dict[NodeId, int] = {}
        self._used: dict[tuple[InstanceId, Ballot], int] = {}
        self._left = {PreAccept: self._asks, Recover: self._uses, Accept: self._uses, Validate: self._uses}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._lives[step.node] = self._lives.get(step.node, 0) + 1
        return None

    def _asks(self, step: Step, message: PreAccept) -> str | None:
        return self._use(step, InstanceId(step.node, message.number), Ballot(0, step.node), "PreAccept")

    def _uses(self, step: Step, message: Recover | Accept | Validate) -> str | None:
        return self._use(step, named(message), message.ballot, type(message).__name__)

    def _use(self, step: Step, name: InstanceId, ballot: Ballot, kind: str) -> str | None:
        if ballot.node != step.node or (ballot.round == 0 and name.owner != step.node):
            return at(step, name, f"sends a {kind} of {ballot}, which is not its own")
        life = self._lives.get(step.node, 0)
        if self._used.setdefault((name, ballot), life) == life:
            return None
        return at(step, name, f"sends a {kind} of {ballot}, which it used before it restarted")


# --- how a decision comes about -------------------------------------------------------------------


class VotesOnce(DecisionWatch):
    """A node that concludes had answers of enough *different members*, each counted once.

    It looks at what came in where the conclusion is drawn. A fast commit: pre-acceptances with exactly the
    initial dependencies from a fast quorum. A proposal at ballot 0: pre-acceptances from a classic quorum,
    and its dependencies hold all of theirs. A proposal at a higher ballot: reports from a classic quorum. A
    decision: votes of a classic quorum at one ballot, unless it was told.
    """

    name = "VotesOnce"
    _when = (PreAcceptOK, Written, RecoverOK)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        # By node, what has come in in this life.
        self._asked: dict[NodeId, dict[int, Deps]] = {}
        self._answers: dict[NodeId, dict[int, dict[NodeId, Deps]]] = {}
        self._came: dict[NodeId, dict[tuple[type, InstanceId, Ballot], set[NodeId]]] = {}
        self._told: dict[NodeId, dict[InstanceId, Choice]] = {}
        self._votes = Votes(quorums)
        self._created = {PreAccept: self._asks, Accept: self._proposes, Settled: self._settles}

    def _before(self, step: Step) -> str | None:
        node, sender, message = step.node, step.sender, step.message
        if step.action == "crash":
            for ghost in (self._asked, self._answers, self._came, self._told):
                ghost.pop(node, None)
        elif isinstance(message, (Commit, Known)):  # whoever says so
            told = self._told.setdefault(node, {})
            for owner, number, is_nop, deps, *_ in message.entries:
                told[InstanceId(owner, number)] = Choice(is_nop, deps)
        elif sender not in self._quorums.members:
            return None
        elif isinstance(message, (AcceptOK, RecoverOK)):
            key = (type(message), named(message), message.ballot)
            self._came.setdefault(node, {}).setdefault(key, set()).add(sender)
        elif isinstance(message, PreAcceptOK):
            self._answers.setdefault(node, {}).setdefault(message.number, {})[sender] = message.deps
        elif isinstance(message, Written) and sender == node:
            asked = self._asked.get(node, {})
            for number in message.numbers:
                self._answers.setdefault(node, {}).setdefault(number, {})[node] = asked.get(number, ())
        return None

    def _asks(self, step: Step, message: PreAccept) -> str | None:
        self._asked.setdefault(step.node, {}).setdefault(message.number, message.deps)
        return None

    def _settles(self, step: Step, message: Settled) -> str | None:
        for number in message.numbers:
            answers = self._answers.get(step.node, {}).get(number, {})
            asked = self._asked.get(step.node, {}).get(number)
            agreeing = sorted(node for node, deps in answers.items() if deps == asked)
            if not self._quorums.is_quorum(agreeing, Phase.FAST):
                what = f"is committed on the fast path with {agreeing} agreeing alone"
                return at(step, (step.node, number), what)
        return None

    def _proposes(self, step: Step, message: Accept) -> str | None:
        name, ballot = named(message), message.ballot
        if not self._votes.propose(message):
            return None
        if ballot.round:
            came = self._came.get(step.node, {}).get((RecoverOK, name, ballot), set())
            if not self._quorums.is_quorum(came, Phase.ONE):
                return at(step, name, f"is proposed at {ballot} with reports of {sorted(came)} alone")
            return None
        answers = self._answers.get(step.node, {}).get(name.number, {})
        if not self._quorums.is_quorum(answers):
            return at(step, name, f"goes the slow path with answers of {sorted(answers)} alone")
        for node, deps in sorted(answers.items()):
            if join(deps, message.deps) != message.deps:
                return at(step, name, f"{message.deps} is proposed, without the {deps} that node {node} knew")
        return None

    def _decided(self, step: Step, name: InstanceId, choice: Choice) -> str | None:
        told = self._told.setdefault(step.node, {})
        if told.get(name) == choice or (name.owner == step.node and self._is_settled(step, name)):
            return None
        replica = replica_of(step)
        if replica is not None and name.number <= replica.table.floor[self._rank[name.owner]]:
            return None  # a snapshot said so
        came = self._came.get(step.node, {})
        for ballot in self._votes.ballots.get(name, ()):
            voters = came.get((AcceptOK, name, ballot), set())
            if self._votes.proposed[name, ballot] == choice and self._quorums.is_quorum(voters):
                told[name] = choice
                return None
        return at(step, name, f"{choice} is decided, with votes of no quorum")

    @staticmethod
    def _is_settled(step: Step, name: InstanceId) -> bool:
        return any(
            isinstance(message, Settled) and name.number in message.numbers for _, message in step.left
        )


class FastCommitWitness(FastWatch):
    """A fast commit has pre-acceptances with exactly its dependencies that left a fast quorum."""

    name = "FastCommitWitness"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._left = {**self._left, Settled: self._settles}

    def _settles(self, step: Step, message: Settled) -> str | None:
        for number in message.numbers:
            name = InstanceId(step.node, number)
            instance, fast = instance_in(step, name), self._fast.get(name)
            if instance is None:
                continue
            if fast is None or instance.choice != Choice(False, fast.deps):
                return at(step, name, f"{instance.choice} is committed fast, and is not what was asked about")
            if not self._quorums.is_quorum(fast.agreeing, Phase.FAST):
                what = f"is committed fast, and only {sorted(fast.agreeing)} pre-accepted {fast.deps}"
                return at(step, name, what)
        return None


class FastPathTaken(InstanceWatch):
    """Without conflicts no second round is made: an owner that may commit on the fast path does.

    An owner goes the slow path only when fewer than a fast quorum of those that answered agree with it. And
    who answers with more than it was asked about knows an instance of that number that conflicts; or one
    that might (of which the command is not known, or that has accepted a no-op); or the number is a floor.
    """

    name = "FastPathTaken"
    _when = (PreAcceptOK, Written, "crash", "restart")

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._asked: dict[InstanceId, Deps] = {}
        self._agreeing: dict[NodeId, dict[int, set[NodeId]]] = {}
        self._slow: set[InstanceId] = set()
        # Up to which own number an earlier life may have used it for something else.
        self._orphans: dict[NodeId, int] = {}
        self._created = {PreAccept: self._asks, PreAcceptOK: self._answers, Accept: self._proposes}

    def _before(self, step: Step) -> str | None:
        node, sender, message = step.node, step.sender, step.message
        if step.action == "crash":
            self._agreeing.pop(node, None)
        elif step.action == "restart":
            replica = replica_of(step)
            self._orphans[node] = 0 if replica is None else replica.table.orphans
        elif sender is None or sender not in self._quorums.members:
            return None
        elif isinstance(message, PreAcceptOK):
            if message.deps == self._asked.get(InstanceId(node, message.number)):
                self._agreeing.setdefault(node, {}).setdefault(message.number, set()).add(sender)
        elif isinstance(message, Written):
            for number in message.numbers:
                self._agreeing.setdefault(node, {}).setdefault(number, set()).add(node)
        return None

    def _asks(self, step: Step, message: PreAccept) -> str | None:
        name = InstanceId(step.node, message.number)
        if self._asked.setdefault(name, message.deps) != message.deps:
            return None  # broken otherwise
        return self._conflict(step, name, (0,) * len(message.deps), message.deps)

    def _answers(self, step: Step, message: PreAcceptOK) -> str | None:
        name = InstanceId(self._to, message.number)
        asked = self._asked.get(name)
        return None if asked is None else self._conflict(step, name, asked, message.deps)

    def _conflict(self, step: Step, name: InstanceId, asked: Deps, answer: Deps) -> str | None:
        replica, instance = replica_of(step), instance_in(step, name)
        if asked == answer or replica is None or instance is None or instance.command is None:
            return None
        floors = (replica.table.floor, replica.table.index.floor)
        for rank, (before, after) in enumerate(zip(asked, answer, strict=True)):
            if before >= after or any(floor[rank] >= after for floor in floors):
                continue
            other = replica.table.find(rank, after)
            if other is None or other.command is None or other.is_nop:
                continue
            if rank == instance.rank and is_marker(instance.command):
                continue  # a barrier is after all that its owner numbered before
            if rank == replica.context.own_rank and after <= self._orphans.get(step.node, 0):
                continue
            if other.footprint.conflicts(instance.footprint):
                continue
            other_name = f"{replica.context.members[rank]}.{after}"
            return at(step, name, f"depends on {other_name}, which does not conflict with it")
        return None

    def _proposes(self, step: Step, message: Accept) -> str | None:
        name = named(message)
        if message.ballot.round or name in self._slow:
            return None
        self._slow.add(name)  # what comes later comes too late
        agreeing = self._agreeing.get(step.node, {}).get(message.number, set())
        if not self._quorums.is_quorum(agreeing, Phase.FAST):
            return None
        return at(step, name, f"goes the slow path, and {sorted(agreeing)} agree with its owner")


#: Every invariant of EPaxos.
INVARIANTS: Final[tuple[InvariantMaker, ...]] = (
    Agreement,
    Validity,
    Stability,
    Visibility,
    DurableBeforeSend,
    VotesOnce,
    OneValuePerBallot,
    BallotOwnership,
    BallotOrder,
    AbalOnlyOnAccept,
    InitialDepsCommon,
    FastCommitWitness,
    RecoveryPreserves,
    NopSound,
    ValidationSound,
    FastPathTaken,
    ExecutionClosed,
    ExecutionOrder,
    ExecutedOnce,
    RealTime,
    BarrierCut,
)
