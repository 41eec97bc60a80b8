"""What must hold of the recoveries of EPaxos, by name: they keep what is committed, and know when nothing is.

See `epaxos.invariants` for how a run is watched and what the words mean.
"""

from epaxos.ghosts import (
    Decided,
    DecisionWatch,
    FastWatch,
    InstanceWatch,
    PreAccepted,
    Votes,
    at,
    choice_of,
    instance_in,
    named,
    replica_of,
)
from epaxos.instances import COMMITTED, Choice, InstanceId
from epaxos.messages import Accept, AcceptOK, RecoverOK, Settled, ValidateOK
from paxos.ballot import Ballot, NodeId
from paxos.contract import Step
from paxos.quorum import Phase, QuorumSystem

__all__ = ["NopSound", "RecoveryPreserves", "ValidationSound"]


class RecoveryPreserves(InstanceWatch):
    """Once a choice is committed, whatever is proposed at a higher ballot is the same.

    Committed: on the fast path, which is ballot 0, or by votes of a quorum that left at one ballot.
    """

    name = "RecoveryPreserves"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._votes = Votes(quorums)
        # For each instance what was committed, and the lowest ballot at which it was.
        self._committed: dict[InstanceId, tuple[Ballot, Choice]] = {}
        self._created = {Accept: self._proposes}
        self._left = {AcceptOK: self._voted, Settled: self._settles}

    def _proposes(self, step: Step, message: Accept) -> str | None:
        if not self._votes.propose(message):
            return None
        name = named(message)
        committed = self._committed.get(name)
        if committed is None or committed[0] >= message.ballot or committed[1] == choice_of(message):
            return None
        what = f"{choice_of(message)} is proposed at {message.ballot}"
        return at(step, name, f"{what}, and {committed[1]} was committed at {committed[0]}")

    def _voted(self, step: Step, message: AcceptOK) -> str | None:
        choice = self._votes.vote(step.node, message)
        return None if choice is None else self._commit(step, named(message), message.ballot, choice)

    def _settles(self, step: Step, message: Settled) -> str | None:
        for number in message.numbers:
            name = InstanceId(step.node, number)
            instance = instance_in(step, name)
            if instance is not None and instance.choice is not None:
                said = self._commit(step, name, Ballot(0, step.node), instance.choice)
                if said is not None:
                    return said
        return None

    def _commit(self, step: Step, name: InstanceId, ballot: Ballot, choice: Choice) -> str | None:
        known = self._committed.get(name)
        if known is None or ballot < known[0]:
            self._committed[name] = (ballot, choice)
        for above in self._votes.ballots.get(name, ()):
            proposed = self._votes.proposed[name, above]
            if above > ballot and proposed != choice:
                return at(
                    step, name, f"{choice} is committed at {ballot}, and {proposed} was proposed at {above}"
                )
        return None


class NopSound(FastWatch):
    """A no-op is proposed only where no fast quorum has pre-accepted the command, nor ever will.

    Unless its owner has joined the recovery: then it did not commit on the fast path, and never will.
    """

    name = "NopSound"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._proposed: set[InstanceId] = set()
        self._joined: set[InstanceId] = set()
        self._created = {**self._created, Accept: self._proposes}
        self._left = {**self._left, RecoverOK: self._joins, AcceptOK: self._joins}

    def _joins(self, step: Step, message: RecoverOK | AcceptOK) -> str | None:
        if message.owner == step.node and message.ballot.round:
            self._joined.add(named(message))
        return None

    def _proposes(self, step: Step, message: Accept) -> str | None:
        if not message.is_nop:
            return None
        name = named(message)
        self._proposed.add(name)
        fast = self._fast.get(name)
        return None if fast is None else self._agreed(step, name, fast)

    def _agreed(self, step: Step, name: InstanceId, fast: PreAccepted) -> str | None:
        if name not in self._proposed or name in self._joined:
            return None
        if not self._quorums.is_quorum(fast.agreeing, Phase.FAST):
            return None
        what = f"a no-op is proposed, and {sorted(fast.agreeing)} pre-accepted {fast.deps}"
        return at(step, name, f"{what}: its owner may have committed that")


class ValidationSound(DecisionWatch):
    """A validation is answered with all that contradicts, and nothing is proposed that something contradicts.

    What contradicts is an instance that conflicts, such that neither is in the other's dependencies: those
    decided, or the initial ones where it is not decided. The answer is compared with everything that its
    node ever knew to be decided, gone or not, and with what it knows of the rest. A proposal above ballot 0
    is compared with what anybody knows to be decided, unless its ballot can not be chosen any more. What
    comes before a barrier that is in the dependencies does not contradict.
    """

    name = "ValidationSound"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._by_node: dict[NodeId, Decided] = {}
        self._all = Decided(quorums.members)
        self._joined: dict[InstanceId, dict[NodeId, Ballot]] = {}
        self._seen: set[tuple[InstanceId, Ballot]] = set()
        self._created = {ValidateOK: self._answers, Accept: self._proposes}
        self._left = {RecoverOK: self._joins, AcceptOK: self._joins}

    def _decided(self, step: Step, name: InstanceId, choice: Choice) -> str | None:
        instance = instance_in(step, name)
        self._all.add(name, choice, instance)
        here = self._by_node.get(step.node)
        if here is None:
            here = self._by_node[step.node] = Decided(self._quorums.members)
        here.add(name, choice, instance)
        return None

    def _after(self, step: Step) -> str | None:
        self._all.cut(step)
        return None

    def _joins(self, step: Step, message: RecoverOK | AcceptOK) -> str | None:
        joined = self._joined.setdefault(named(message), {})
        joined[step.node] = max(message.ballot, joined.get(step.node, message.ballot))
        return None

    def _answers(self, step: Step, message: ValidateOK) -> str | None:
        name, instance = named(message), instance_in(step, named(message))
        replica = replica_of(step)
        if message.is_invalid or instance is None or instance.initial_deps is None or replica is None:
            return None
        deps, rank = instance.initial_deps, self._rank[name.owner]
        here = self._by_node.get(step.node)
        for other in here.outside(instance.footprint, deps) if here is not None else ():
            if (
                other != name
                and here is not None
                and not self._all.hold(deps, other)
                and not self._all.hold(here.choices[other].deps, name)
            ):
                return at(
                    step, name, f"{other} is decided here and contradicts, and the validation is silent"
                )
        members = replica.context.members
        for each in replica.table:
            other = InstanceId(members[each.rank], each.number)
            if (
                each.phase != COMMITTED
                and other != name
                and each.initial_deps is not None
                and deps[each.rank] < each.number
                and each.initial_deps[rank] < name.number
                and each.footprint.conflicts(instance.footprint)
                and other not in message.conflicts
            ):
                return at(step, name, f"{other} may contradict, and the validation does not name it")
        return None

    def _proposes(self, step: Step, message: Accept) -> str | None:
        name, ballot = named(message), message.ballot
        if message.is_nop or not ballot.round or (name, ballot) in self._seen:
            return None
        self._seen.add((name, ballot))
        joined = self._joined.get(name, {})
        if not self._quorums.is_quorum(
            [node for node in self._quorums.members if joined.get(node, ballot) <= ballot]
        ):
            return None
        instance = instance_in(step, name)
        if instance is None:
            return None
        for other in self._all.outside(instance.footprint, message.deps):
            if other != name and not self._all.hold(self._all.choices[other].deps, name):
                what = f"{message.deps} is proposed at {ballot}, and {other} is decided as"
                return at(step, name, f"{what} {self._all.choices[other]}, which contradicts")
        return None
