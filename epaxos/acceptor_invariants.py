"""What must hold of each acceptor of EPaxos, by name: what it remembers, and what its disk holds.

See `epaxos.invariants` for how a run is watched and what the words mean.
"""

from epaxos.ghosts import (
    InstanceWatch,
    Votes,
    at,
    commits,
    found,
    instance_in,
    is_gone,
    replica_of,
    reservation,
)
from epaxos.instances import ACCEPTED, COMMITTED, PRE_ACCEPTED, Deps, InstanceId
from epaxos.messages import (
    Accept,
    AcceptOK,
    Commit,
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
    Written,
)
from epaxos.records import RESERVATION_KEY
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.contract import Step
from paxos.errors import RecordError
from paxos.quorum import QuorumSystem

__all__ = ["AbalOnlyOnAccept", "BallotOrder", "DurableBeforeSend", "InitialDepsCommon"]


class DurableBeforeSend(InstanceWatch):
    """A message that counts leaves only when its node's disk holds what it reports.

    An answer to PreAccept, and a Written: the pre-acceptance with those dependencies, or what came after it.
    An AcceptOK: a vote at or above its ballot. A RecoverOK, and a Recover of the node's own: a ballot joined
    at or above theirs, and the reported vote or a later one. A ValidateOK: the command and its initial
    dependencies. Each of these: or what was decided, or a snapshot that holds the instance. A fast commit of
    the node's own is on its disk before it is told to anybody, itself included, or carried out. A PreAccept
    and a Reserved: a reservation that covers the number.
    """

    name = "DurableBeforeSend"
    _when = ()

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._votes = Votes(quorums)
        # Own instances that somebody else said to be decided.
        self._told: set[InstanceId] = set()
        self._created = {Accept: self._proposed}
        self._left = {
            PreAccept: self._asked,
            PreAcceptOK: self._pre_accepted,
            Written: self._written,
            AcceptOK: self._accepted,
            Recover: self._joining,
            RecoverOK: self._reported,
            ValidateOK: self._validated,
            Settled: self._settled,
            Commit: self._announced,
            Known: self._announced,
            Reserved: self._reserved,
        }

    def observe(self, step: Step) -> str | None:
        """See one step; a sentence naming what broke, or None."""
        try:
            return super().observe(step)
        except RecordError as error:
            return f"node {step.node}: its disk holds what no restart could read: {error}"

    def _proposed(self, step: Step, message: Accept) -> str | None:
        self._votes.propose(message)
        return None

    def _asked(self, step: Step, message: PreAccept) -> str | None:
        reserved = reservation(step, RESERVATION_KEY)
        if message.number <= reserved or is_gone(step, InstanceId(step.node, message.number)):
            return None
        what = f"number {message.number} is used, and the disk allows up to {reserved} only"
        return f"node {step.node}: {what}"

    def _pre_accepted(self, step: Step, message: PreAcceptOK) -> str | None:
        return self._holds(step, InstanceId(self._to, message.number), message.deps)

    def _written(self, step: Step, message: Written) -> str | None:
        for number in message.numbers:
            said = self._holds(step, InstanceId(step.node, number), None)
            if said is not None:
                return said
        return None

    def _holds(self, step: Step, name: InstanceId, deps: Deps | None) -> str | None:
        record, is_decided = found(step, name)
        if is_decided or is_gone(step, name):
            return None
        if record is None or record.initial_deps is None:
            return at(step, name, "a pre-acceptance left, and the disk holds none")
        if deps is not None and record.phase == PRE_ACCEPTED and record.deps != deps:
            return at(step, name, f"a pre-acceptance of {deps} left, and the disk holds {record.deps}")
        return None

    def _accepted(self, step: Step, message: AcceptOK) -> str | None:
        name, ballot = InstanceId(message.owner, message.number), message.ballot
        self._votes.vote(step.node, message)
        record, is_decided = found(step, name)
        if is_decided or is_gone(step, name):
            return None
        if record is None or record.accepted < ballot:
            held = "none" if record is None else f"one at {record.accepted}"
            return at(step, name, f"a vote at {ballot} left, and the disk holds {held}")
        proposed = self._votes.proposed.get((name, ballot))
        if record.accepted == ballot and proposed not in (None, (record.is_nop, record.deps)):
            return at(step, name, f"a vote at {ballot} left, and the disk holds another choice at it")
        return None

    def _joining(self, step: Step, message: Recover) -> str | None:
        return self._joined(step, InstanceId(message.owner, message.number), message.ballot)

    def _joined(self, step: Step, name: InstanceId, ballot: Ballot) -> str | None:
        record, is_decided = found(step, name)
        if is_decided or is_gone(step, name):
            return None
        if record is None or record.ballot < ballot:
            held = "none" if record is None else str(record.ballot)
            return at(step, name, f"ballot {ballot} counts as joined, and the disk holds {held}")
        return None

    def _reported(self, step: Step, message: RecoverOK) -> str | None:
        name = InstanceId(message.owner, message.number)
        said = self._joined(step, name, message.ballot)
        record, is_decided = found(step, name)
        if said is not None or record is None or is_decided:
            return said
        if record.accepted < message.accepted:
            return at(
                step, name, f"a vote at {message.accepted} is reported, the disk's is {record.accepted}"
            )
        if message.initial_deps is not None and record.initial_deps is None:
            return at(step, name, "a pre-acceptance is reported, and the disk holds none")
        return None

    def _validated(self, step: Step, message: ValidateOK) -> str | None:
        name = InstanceId(message.owner, message.number)
        record, is_decided = found(step, name)
        if is_decided or is_gone(step, name) or (record is not None and record.initial_deps is not None):
            return None
        return at(step, name, "a validation left, and the disk does not hold what it was asked about")

    def _settled(self, step: Step, message: Settled) -> str | None:
        for number in message.numbers:
            said = self._fast(step, InstanceId(step.node, number))
            if said is not None:
                return said
        return None

    def _announced(self, step: Step, message: Commit | Known) -> str | None:
        for owner, number, *_ in message.entries:
            name = InstanceId(owner, number)
            said = self._fast(step, name) if owner == step.node else None
            if owner != step.node:
                self._told.add(name)
            if said is not None:
                return said
        return None

    def _fast(self, step: Step, name: InstanceId) -> str | None:
        if self._votes.is_chosen(name) or name in self._told or is_gone(step, name) or found(step, name)[1]:
            return None
        return at(step, name, "is committed on the fast path, and its owner's disk does not hold that")

    def _after(self, step: Step) -> str | None:
        for name, _ in commits(step):
            said = self._fast(step, name) if name.owner == step.node else None
            if said is not None:
                return said
        return None

    def _reserved(self, step: Step, message: Reserved) -> str | None:
        reserved = reservation(step, RESERVATION_KEY)
        if message.number <= reserved:
            return None
        what = f"numbers up to {message.number} count as reserved, and the disk allows up to {reserved}"
        return f"node {step.node}: {what}"


class _Joined:
    """The ballots that a node joined and voted at in an instance: in this life; and as messages told."""

    __slots__ = ("accepted", "accepted_left", "ballot", "ballot_left")

    def __init__(self) -> None:
        self.ballot: Ballot = BOTTOM
        self.accepted: Ballot = BOTTOM
        self.ballot_left: Ballot = BOTTOM
        self.accepted_left: Ballot = BOTTOM


class BallotOrder(InstanceWatch):
    """In every instance the ballot of the last vote is at most the one joined, and neither goes down.

    Over a restart they are at least what answers told that had left.
    """

    name = "BallotOrder"
    _when = ("crash", "restart", Recover, Accept, Validate)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._joined: dict[NodeId, dict[InstanceId, _Joined]] = {}
        self._created = {
            AcceptOK: self._answers,
            RecoverOK: self._answers,
            ValidateOK: self._answers,
            Nack: self._answers,
        }
        self._left = {AcceptOK: self._leaves, RecoverOK: self._leaves}

    def _of(self, node: NodeId, name: InstanceId) -> _Joined:
        return self._joined.setdefault(node, {}).setdefault(name, _Joined())

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            for ghost in self._joined.get(step.node, {}).values():
                ghost.ballot, ghost.accepted = ghost.ballot_left, ghost.accepted_left
        elif step.action == "restart":
            for name, ghost in self._joined.get(step.node, {}).items():
                said = self._compare(step, name, ghost)
                if said is not None:
                    return said
        elif isinstance(step.message, (Recover, Accept, Validate)):
            return self._answers(step, step.message)
        return None

    def _answers(
        self, step: Step, message: AcceptOK | RecoverOK | ValidateOK | Nack | Recover | Accept | Validate
    ) -> str | None:
        name = InstanceId(message.owner, message.number)
        ghost = self._of(step.node, name)
        if isinstance(message, (AcceptOK, RecoverOK)):
            ghost.ballot = max(ghost.ballot, message.ballot)
        if isinstance(message, AcceptOK):
            ghost.accepted = max(ghost.accepted, message.ballot)
        return self._compare(step, name, ghost)

    def _leaves(self, step: Step, message: AcceptOK | RecoverOK) -> str | None:
        ghost = self._of(step.node, InstanceId(message.owner, message.number))
        ghost.ballot_left = max(ghost.ballot_left, message.ballot)
        accepted = message.ballot if isinstance(message, AcceptOK) else message.accepted
        ghost.accepted_left = max(ghost.accepted_left, accepted)
        return None

    @staticmethod
    def _compare(step: Step, name: InstanceId, ghost: _Joined) -> str | None:
        replica, instance = replica_of(step), instance_in(step, name)
        if replica is None or name.owner not in replica.context.rank:
            return None
        if instance is None:
            if ghost.ballot == BOTTOM or is_gone(step, name):
                return None
            return at(step, name, f"joined {ghost.ballot}, and remembers nothing")
        if instance.phase == COMMITTED:
            return None  # nothing changes it any more, and its ballots do not count
        ballot, accepted = instance.ballot, instance.accepted_ballot
        if accepted > ballot:
            return at(step, name, f"voted at {accepted}, and has joined {ballot} only")
        if ballot < ghost.ballot:
            return at(step, name, f"joined {ghost.ballot}, and stands at {ballot}")
        if accepted < ghost.accepted:
            return at(step, name, f"voted at {ghost.accepted}, and its last vote is one at {accepted}")
        ghost.ballot, ghost.accepted = ballot, accepted
        return None


class AbalOnlyOnAccept(InstanceWatch):
    """The ballot of the last vote is one at which something was accepted: joining a ballot leaves it alone.

    So in phase accepted there is one, before that none, and a report tells of a vote that was cast.
    """

    name = "AbalOnlyOnAccept"
    _when = (Recover, Validate)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        # Whoever crashes may yet remember a vote that had not left.
        self._cast: set[tuple[NodeId, InstanceId, Ballot]] = set()
        self._created = {AcceptOK: self._votes, RecoverOK: self._reports}

    def _before(self, step: Step) -> str | None:
        message = step.message
        if isinstance(message, (Recover, Validate)):
            name = InstanceId(message.owner, message.number)
            instance = instance_in(step, name)
            if instance is None or instance.phase == COMMITTED:
                return None
            if (instance.phase == ACCEPTED) != (instance.accepted_ballot != BOTTOM):
                what = f"is in phase {int(instance.phase)}, with a vote at {instance.accepted_ballot}"
                return at(step, name, what)
            return self._is_cast(step, name, instance.accepted_ballot)
        return None

    def _votes(self, step: Step, message: AcceptOK) -> str | None:
        self._cast.add((step.node, InstanceId(message.owner, message.number), message.ballot))
        return None

    def _reports(self, step: Step, message: RecoverOK) -> str | None:
        return self._is_cast(step, InstanceId(message.owner, message.number), message.accepted)

    def _is_cast(self, step: Step, name: InstanceId, ballot: Ballot) -> str | None:
        if ballot == BOTTOM or (step.node, name, ballot) in self._cast:
            return None
        return at(step, name, f"tells of a vote at {ballot}, and none was cast there")


class InitialDepsCommon(InstanceWatch):
    """The initial dependencies of an instance are the same wherever they are known, and so is its command."""

    name = "InitialDepsCommon"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._initial: dict[InstanceId, tuple[Deps, bytes | None]] = {}
        self._left = {PreAccept: self._asks}
        self._created = {RecoverOK: self._reports, Validate: self._validates}

    def _asks(self, step: Step, message: PreAccept) -> str | None:
        return self._compare(step, InstanceId(step.node, message.number), message.deps, message.value)

    def _reports(self, step: Step, message: RecoverOK) -> str | None:
        if message.initial_deps is None:
            return None
        name = InstanceId(message.owner, message.number)
        return self._compare(step, name, message.initial_deps, message.value)

    def _validates(self, step: Step, message: Validate) -> str | None:
        name = InstanceId(message.owner, message.number)
        return self._compare(step, name, message.deps, message.value)

    def _compare(self, step: Step, name: InstanceId, deps: Deps, value: bytes | None) -> str | None:
        known = self._initial.setdefault(name, (deps, value))
        if known == (deps, value):
            return None
        if known[0] == deps:
            return at(step, name, f"has the command {value!r:.60}, and {known[1]!r:.60} elsewhere")
        return at(step, name, f"has the initial dependencies {deps}, and {known[0]} elsewhere")
