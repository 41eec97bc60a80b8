"""What must hold of the order in which nodes of EPaxos carry commands out, by name.

See `epaxos.invariants` for how a run is watched and what the words mean.  A command is *carried out*, or
executed, when its node applies it.
"""

from collections.abc import Mapping
from typing import Final

from epaxos.ghosts import (
    Decided,
    DecisionWatch,
    ExecutionWatch,
    Place,
    at,
    commits,
    decisions,
    instance_in,
    replica_of,
    touches,
)
from epaxos.instances import Deps, InstanceId
from paxos.ballot import NodeId
from paxos.command import Command, Footprint, RequestId, is_marker
from paxos.contract import Step
from paxos.quorum import QuorumSystem

__all__ = ["BarrierCut", "ExecutedOnce", "ExecutionClosed", "ExecutionOrder", "RealTime"]


class _Committed:
    """What a node knows to be decided, a frontier and what is ahead of it; and what is not executed."""

    __slots__ = ("ahead", "frontier", "pending")

    def __init__(self, members: int) -> None:
        self.frontier: list[int] = [0] * members
        self.ahead: list[set[int]] = [set() for _ in range(members)]
        self.pending: dict[InstanceId, Footprint] = {}

    def add(self, rank: int, number: int) -> None:
        if number > self.frontier[rank]:
            self.ahead[rank].add(number)
            self._absorb(rank)

    def raise_to(self, floor: Deps) -> None:
        for rank, number in enumerate(floor):
            if number > self.frontier[rank]:
                self.frontier[rank] = number
                self.ahead[rank] = {each for each in self.ahead[rank] if each > number}
                self._absorb(rank)

    def _absorb(self, rank: int) -> None:
        ahead = self.ahead[rank]
        while self.frontier[rank] + 1 in ahead:
            self.frontier[rank] += 1
            ahead.remove(self.frontier[rank])


class ExecutionClosed(DecisionWatch):
    """Nothing is carried out before all that it depends on is decided at its node, and, where it conflicts,
    carried out.

    What depends on each other is carried out in one go, in the order of instances, barriers last.
    """

    name = "ExecutionClosed"
    _when = ("crash", "restart")

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._all = Decided(quorums.members)
        self._nodes: dict[NodeId, _Committed] = {}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._nodes.pop(step.node, None)
        elif step.action == "restart":
            self._restarted(step)
        # Before what was decided in this step is carried out in it.
        for name, choice in decisions(step):
            instance = instance_in(step, name)
            self._all.add(name, choice, instance)
            here = self._here(step.node)
            here.add(self._rank[name.owner], name.number)
            if not choice.is_nop and instance is not None:
                here.pending[name] = instance.footprint
        return None

    def _here(self, node: NodeId) -> _Committed:
        here = self._nodes.get(node)
        if here is None:
            here = self._nodes[node] = _Committed(len(self._rank))
        return here

    def _restarted(self, step: Step) -> None:
        """What the disk holds is what the node knows, and it has carried out nothing of it yet."""
        replica = replica_of(step)
        here = self._nodes[step.node] = _Committed(len(self._rank))
        if replica is None:
            return
        members, executor = replica.context.members, replica.learner.executor
        for instance in replica.table:
            if executor.is_committed(instance.rank, instance.number):
                name = InstanceId(members[instance.rank], instance.number)
                here.add(instance.rank, instance.number)
                if instance.choice is not None:
                    self._all.add(name, instance.choice, instance)
                    if not instance.is_nop:
                        here.pending[name] = instance.footprint

    def _after(self, step: Step) -> str | None:
        replica = replica_of(step)
        if replica is None or not step.applies:
            return None
        here = self._here(step.node)
        last = replica.barriers.last
        if last is not None:
            here.raise_to(last.floor)
            if here.pending:
                kept = last.exceptions
                for name in [
                    name
                    for name in here.pending
                    if name.number <= last.floor[self._rank[name.owner]]
                    and (self._rank[name.owner], name.number) not in kept
                ]:
                    del here.pending[name]
        batch = [name for name, _ in commits(step)]
        for position, name in enumerate(batch):
            here.pending.pop(name, None)
            said = self._closed(step, here, name, batch[position + 1 :])
            if said is not None:
                return said
        return None

    def _closed(self, step: Step, here: _Committed, name: InstanceId, later: list[InstanceId]) -> str | None:
        choice, footprint = self._all.choices.get(name), self._all.footprints.get(name)
        if choice is None or footprint is None:
            return at(step, name, "is carried out, and no command is decided there")
        for rank, needed in enumerate(choice.deps):
            if needed > here.frontier[rank]:
                what = f"depends on {needed} of rank {rank}, and only {here.frontier[rank]} are decided here"
                return at(step, name, f"is carried out; it {what}")
        for other, touched in here.pending.items():
            if other.number > choice.deps[self._rank[other.owner]] or not touched.conflicts(footprint):
                continue
            is_barrier = self._is_barrier(step, other)
            if other not in later and not is_barrier:
                return at(step, name, f"is carried out before {other}, which it depends on")
            if not is_barrier and (self._rank[other.owner], other.number) < (
                self._rank[name.owner],
                name.number,
            ):
                return at(
                    step, name, f"is carried out before {other}, on which it depends and which is lower"
                )
        return None

    @staticmethod
    def _is_barrier(step: Step, name: InstanceId) -> bool:
        instance = instance_in(step, name)
        return instance is not None and instance.command is not None and is_marker(instance.command)


class ExecutionOrder(ExecutionWatch):
    """Commands that conflict are carried out in the same order at every node."""

    name = "ExecutionOrder"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        # For each key the order of those that write it; and behind how many of them each reader is.
        self._written: dict[bytes | None, list[InstanceId]] = {}
        self._read: dict[tuple[bytes | None, InstanceId], int] = {}
        # With ranges: of which two that conflict the first comes first, as somebody carried them out.
        self._first: dict[tuple[InstanceId, InstanceId], NodeId] = {}
        self._footprints: dict[InstanceId, Footprint] = {}
        self._with_ranges: dict[InstanceId, Footprint] = {}

    def _carried_out(self, step: Step, place: Place, name: InstanceId, command: Command) -> str | None:
        for key, is_write, before in touches(place, command.footprint):
            what = "everything" if key is None else f"{key!r:.40}"
            if is_write:
                order = self._written.setdefault(key, [])
                if before == len(order):
                    order.append(name)
                elif before < len(order) and order[before] != name:
                    return at(step, name, f"writes {what} where elsewhere {order[before]} does")
            else:
                known = self._read.setdefault((key, name), before)
                if known != before:
                    return at(
                        step, name, f"reads {what} after {before} that write it, elsewhere after {known}"
                    )
        return self._ranged(step, place, name, command.footprint)

    def _ranged(self, step: Step, place: Place, name: InstanceId, footprint: Footprint) -> str | None:
        has_ranges = bool(footprint.read_ranges or footprint.write_ranges)
        for other, touched in (self._footprints if has_ranges else self._with_ranges).items():
            if other in place.applied and other != name and touched.conflicts(footprint):
                if (name, other) in self._first:
                    node = self._first[name, other]
                    return at(step, name, f"comes after {other}, and at node {node} before it")
                self._first.setdefault((other, name), step.node)
        self._footprints[name] = footprint
        if has_ranges:
            self._with_ranges[name] = footprint
        return None


class ExecutedOnce(ExecutionWatch):
    """A node carries each instance out once in a life, those inside the snapshot it goes on from included."""

    name = "ExecutedOnce"

    def _carried_out(self, step: Step, place: Place, name: InstanceId, command: Command) -> str | None:
        if name not in place.applied:
            return None
        return at(step, name, "is carried out, and had been, or is in the snapshot")


class RealTime(ExecutionWatch):
    """A command that was submitted after another was answered is carried out after it, if they conflict.

    Answered: carried out at the node that it was submitted to.
    """

    name = "RealTime"
    _when = ("crash", "request")
    # A service may submit in any step.
    submissions: Final = True

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._asked: dict[RequestId, NodeId] = {}
        # For each key: how many that write it come, at the least, before whoever reads it, or writes it, and
        # is submitted now.
        self._answered: dict[tuple[bytes | None, bool], int] = {}
        self._owed: dict[RequestId, Mapping[tuple[bytes | None, bool], int]] = {}

    def _before(self, step: Step) -> str | None:
        for command in step.placed or ([step.submitted] if step.submitted is not None else []):
            self._asked.setdefault(command.request, step.node)
            if command.request not in self._owed:
                self._owed[command.request] = {
                    (touch.key, touch.is_write): self._answered.get((touch.key, touch.is_write), 0)
                    for touch in touches(Place(), command.footprint)
                }
        return super()._before(step)

    def _carried_out(self, step: Step, place: Place, name: InstanceId, command: Command) -> str | None:
        owed = self._owed.get(command.request, {})
        is_answer = self._asked.get(command.request) == step.node
        for key, is_write, before in touches(place, command.footprint):
            needed = owed.get((key, is_write), 0)
            if before < needed:
                what = "everything" if key is None else f"{key!r:.40}"
                return at(
                    step,
                    name,
                    f"is carried out after {before} that write {what}, and was submitted after {needed}",
                )
            if is_answer:
                # A writer has to come after all that read or wrote, a reader after those that wrote.
                behind = before + 1 if is_write else before
                answered = self._answered
                answered[key, True] = max(behind, answered.get((key, True), 0))
                if is_write:
                    answered[key, False] = max(behind, answered.get((key, False), 0))
        return None


class BarrierCut(ExecutionWatch):
    """At a barrier every node has carried out the same, and floor and exceptions of the cut are the same."""

    name = "BarrierCut"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._points: dict[InstanceId, tuple[Deps, frozenset[tuple[int, int]]]] = {}

    def _jumped(self, step: Step, place: Place, mark: InstanceId) -> str | None:
        replica, cut = replica_of(step), self._cuts.get(mark)
        if replica is None or replica.barriers.last is None or cut is None:
            return None
        more = sorted(place.applied - cut.applied)
        if more:
            return at(step, mark, f"is installed over {more[0]}, which it does not hold")
        return self._same(step, mark, replica.barriers.last.floor, replica.barriers.last.exceptions)

    def _carried_out(self, step: Step, place: Place, name: InstanceId, command: Command) -> str | None:
        if not is_marker(command):
            return None
        cut = self._cuts.get(name)
        if cut is not None and cut.applied - {name} != place.applied:
            differs = min((cut.applied - {name}) ^ place.applied)
            return at(step, name, f"is a barrier, and not every node carried {differs} out before it")
        replica = replica_of(step)
        point = None if replica is None else replica.barriers.at
        if replica is None or point is None or point.mark != name:
            return None
        for owner, number in place.applied:
            rank = self._rank[owner]
            if number > point.floor[rank]:
                return at(step, name, f"its floor is {point.floor}, and {owner}.{number} is carried out")
            if (rank, number) in point.exceptions:
                return at(step, name, f"{owner}.{number} is an exception, and is carried out before it")
        return self._same(step, name, point.floor, point.exceptions)

    def _same(
        self, step: Step, name: InstanceId, floor: Deps, exceptions: frozenset[tuple[int, int]]
    ) -> str | None:
        known = self._points.setdefault(name, (floor, exceptions))
        if known[0] != floor:
            return at(step, name, f"its floor is {floor}, and {known[0]} elsewhere")
        if known[1] != exceptions:
            differs = min(known[1] ^ exceptions)
            return at(step, name, f"not every node has {differs} as an exception of it")
        return None
