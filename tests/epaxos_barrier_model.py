"""Execution and barriers on top of `epaxos_commit_model`: what is truncated, and what is remembered of it."""

from collections.abc import Iterable
from typing import Any

import attrs

from tests.epaxos_commit_model import (
    COMMITTED,
    NOP,
    Broken,
    Commits,
    Deps,
    Id,
    Node,
    Snapshot,
    classes,
    joined,
    within,
)


class Cluster(Commits):
    """Replicas that execute, truncate and catch up."""

    # --- execution ------------------------------------------------------------------------------------

    def edges(self, node: Node, inst: Id) -> list[Id] | None:
        """What must execute before it and did not yet; None if something is not committed."""
        record = node.records[inst]
        assert record.cmd is not None
        found = []
        for rank, upto in enumerate(record.deps):
            for number in range(1, upto + 1):
                other = (rank, number)
                if other == inst or other in node.ran or self.covered(node, other):
                    continue
                if not self.committed(node, other):
                    return None
                each = node.records.get(other)
                if each is not None and each.cmd is not None and each.cmd.conflicts(record.cmd):
                    found.append(other)
        return found

    def components(self, me: int) -> list[list[Id]]:
        """What could be executed next: each a component, in its order."""
        node = self.nodes[me]
        graph: dict[Id, list[Id] | None] = {}
        for inst, record in node.records.items():
            if record.phase == COMMITTED and record.cmd is not NOP and inst not in node.ran:
                graph[inst] = self.edges(node, inst)
        found, seen = [], set()
        for inst in sorted(graph):
            if inst in seen:
                continue
            reach = self.reach(graph, inst)
            if reach is not None and all(inst in (self.reach(graph, other) or ()) for other in reach):
                seen |= reach
                inside = self.rules.cut == "inside"
                found.append(sorted(reach, key=lambda x: (not inside and self.is_barrier(node, x), x)))
        return found

    def is_barrier(self, node: Node, inst: Id) -> bool:
        command = node.records[inst].cmd
        return command is not None and command.barrier

    def reach(self, graph: dict[Id, list[Id] | None], inst: Id) -> set[Id] | None:
        found, todo = {inst}, [inst]
        while todo:
            edges = graph.get(todo.pop())
            if edges is None:
                return None
            for other in edges:
                if other not in found:
                    found.add(other)
                    todo.append(other)
        return found

    def execute(self, me: int, component: list[Id]) -> None:
        node = self.nodes[me]
        barriers = [inst for inst in component if self.is_barrier(node, inst)]
        if len(component) > 1:
            self.probe("component")
        for inst in component:
            self.execute_one(node, inst)
            if self.rules.cut == "inside" and barriers and inst == barriers[0]:
                self.take_snapshot(node, barriers[0])
        if barriers and self.rules.cut == "component":
            self.take_snapshot(node, barriers[0])

    def execute_one(self, node: Node, inst: Id) -> None:
        command = node.records[inst].cmd
        assert command is not None
        if inst in node.executed:
            raise Broken(f"ExecutedOnce: {inst} at {node.me}")
        if self.decided.get(inst) != (command, node.records[inst].deps):
            raise Broken(
                f"Agreement: {inst} executed at {node.me} as {command.name} {node.records[inst].deps}"
            )
        self.clock += 1
        self.answered.setdefault(inst, self.clock)
        for other in node.order:
            if node.commands[other].conflicts(command):
                if (inst, other) in self.before:
                    raise Broken(f"ExecutionOrder: {other} before {inst} at {node.me}, and not elsewhere")
                if self.answered[inst] < self.submitted[other]:
                    raise Broken(f"RealTime: {inst} was answered before {other} was submitted")
                self.before.add((other, inst))
        node.order.append(inst)
        node.executed.add(inst)
        node.ran.add(inst)
        node.commands[inst] = command

    # --- barriers -------------------------------------------------------------------------------------

    def take_snapshot(self, node: Node, inst: Id) -> None:
        """The component of a barrier was executed here."""
        self.probe("cut")
        closure = frozenset(node.order)
        if self.cuts.setdefault(inst, closure) != closure:
            raise Broken(f"BarrierCut: {inst} at {node.me}: {sorted(self.cuts[inst] ^ closure)}")
        record = node.records[inst]
        assert record.cmd is not None
        floor = list(node.floor)
        for rank, number in closure:
            floor[rank] = max(floor[rank], number)
        commands = tuple(node.commands[each] for each in node.order)
        kept = tuple(
            (each, found.cmd, found.deps)
            for each, found in sorted(node.records.items())
            if within(each, tuple(floor)) and each not in closure and found.cmd not in (None, NOP)
        )
        taken = Snapshot(inst, (record.cmd, record.deps), tuple(node.order), commands, tuple(floor), kept)
        node.snapshots.append(taken)
        if self.rules.remember == "floor" and self.rules.early_floor:
            node.joined = joined(node.joined, taken.floor)
        if self.rules.truncate == "late":
            self.tell("done", node.me, inst)

    def on_done(self, node: Node, source: int, inst: Id) -> None:
        """A member executed a barrier durably."""
        for other, cut in self.cuts.items():
            if cut <= self.cuts[inst]:
                node.done.setdefault(other, set()).add(source)
        if self.rules.remember in ("layers", "flat"):
            self.replace_index(node)

    def truncate(self, me: int, at: int = -1) -> bool:
        """Truncate to a snapshot that was taken; whether that may be done."""
        node = self.nodes[me]
        if not node.snapshots:
            return False
        taken = node.snapshots[at]
        if self.rules.truncate == "late" and len(node.done.get(taken.barrier, ())) < self.n - self.f:
            return False
        del node.snapshots[: node.snapshots.index(taken) + 1]
        self.probe("truncate")
        limit = taken.floor if self.rules.gone_by == "floor" else joined(taken.record[1], node.floor)
        kept = []
        closure = set(taken.order)
        for inst, record in list(node.records.items()):
            if not within(inst, limit) or inst == taken.barrier:
                continue
            known = node.installed is not None and within(inst, node.installed.floor)
            if record.phase != COMMITTED and self.rules.gone_by == "floor" and not known:
                raise Broken(f"FloorCommitted: {inst} at {node.me}")
            stays = inst not in closure and record.cmd is not NOP and record.phase == COMMITTED
            if stays and self.rules.exceptions and record.cmd is not None:
                self.probe("exception")
                kept.append((inst, record.cmd, record.deps))
            else:
                del node.records[inst]
                node.soft.pop(inst, None)
        node.floor = joined(node.floor, limit)
        if node.installed is not None and set(node.installed.order) <= closure:
            node.installed = None
            self.look_at_waits(node)
        self.remember(node, taken)
        index = tuple((cut, tuple(sorted(layer.items()))) for cut, layer in node.index)
        node.base = attrs.evolve(
            taken, floor=node.floor, exceptions=tuple(kept), index=index, joined=node.joined
        )
        if self.rules.truncate == "now":
            self.tell("done", me, taken.barrier)
        return True

    def remember(self, node: Node, taken: Snapshot) -> None:
        """What stays of the instances that are truncated."""
        if self.rules.remember == "floor":
            node.joined = joined(node.joined, taken.floor)
        elif self.rules.remember in ("index", "layers", "flat"):
            before = set(node.base.order) if node.base is not None else set()
            layer: dict[Any, int] = {}
            if self.rules.remember == "flat" and node.index:
                layer = dict(node.index[0][1])
                node.index.clear()
            for inst, command in zip(taken.order, taken.commands, strict=True):
                if inst not in before:
                    for place in classes(command, inst[0]):
                        layer[place] = max(layer.get(place, 0), inst[1])
            node.index.append((taken.barrier, layer))
            self.replace_index(node)

    def replace_index(self, node: Node) -> None:
        """The floor of a barrier that n - f executed durably takes the place of the index up to its cut."""
        if self.rules.remember not in ("layers", "flat"):
            return
        for barrier, who in node.done.items():
            if len(who) >= self.n - self.f and (barrier in node.executed):
                floor = self.floor_of(barrier)
                if node.base is None or not set(self.cuts[barrier]) <= set(node.base.order):
                    continue
                if self.rules.remember == "layers":
                    ending = [at for at, (cut, _) in enumerate(node.index) if cut in self.cuts[barrier]]
                    if ending:
                        del node.index[: ending[-1] + 1]
                        node.joined = joined(node.joined, floor)
                        self.probe("replaced")
                elif node.index:
                    cut, layer = node.index[0]
                    rest = {place: number for place, number in layer.items() if number > floor[place[2]]}
                    node.index[0] = (cut, rest)
                    node.joined = joined(node.joined, floor)
                    self.probe("replaced")
        if node.base is not None:
            index = tuple((cut, tuple(sorted(layer.items()))) for cut, layer in node.index)
            node.base = attrs.evolve(node.base, index=index, joined=node.joined)

    def floor_of(self, barrier: Id) -> Deps:
        floor = list(self.zero)
        for rank, number in self.cuts[barrier]:
            floor[rank] = max(floor[rank], number)
        return tuple(floor)

    def send_snapshot(self, node: Node, target: int) -> None:
        taken = node.base
        if self.rules.install != "stable" and node.snapshots:
            taken = attrs.evolve(node.snapshots[-1], joined=node.joined)
        if taken is not None and target != node.me:
            self.send("snapshot", node.me, target, taken.barrier, taken)

    def on_snapshot(self, node: Node, source: int, inst: Id, taken: Snapshot) -> None:
        if inst in node.executed:
            return
        self.probe("install")
        if not node.executed <= set(taken.order):
            raise Broken(f"SnapshotExtends: {sorted(node.executed - set(taken.order))} at {node.me}")
        kept = {each[0] for each in taken.exceptions}
        if self.rules.install in ("keep", "answer"):
            self.install_keeping(node, inst, taken)
            return
        for each in list(node.records):
            if within(each, taken.floor) and each not in kept and each != inst:
                del node.records[each]
                node.work.pop(each, None)
        for each, command, deps in (*taken.exceptions, (inst, *taken.record)):
            record = self.record(node, each)
            record.phase, record.cmd, record.deps = COMMITTED, command, deps
            node.work.pop(each, None)
        for each in [each for each in node.work if within(each, taken.floor)]:
            del node.work[each]
        node.soft = {each: was for each, was in node.soft.items() if each in node.records}
        node.order = list(taken.order)
        node.executed = set(taken.order)
        node.ran = {inst}
        node.commands = dict(zip(taken.order, taken.commands, strict=True))
        node.snapshots = []
        node.base = taken
        node.floor = joined(node.floor, taken.floor)
        node.joined = joined(node.joined, taken.joined)
        node.index = [(cut, dict(layer)) for cut, layer in taken.index]
        self.tell("done", node.me, inst)
        self.look_at_waits(node)

    def install_keeping(self, node: Node, inst: Id, taken: Snapshot) -> None:
        """The state is replaced; what is known of instances stays until the cut is stable."""
        for each, command, deps in (*taken.exceptions, (inst, *taken.record)):
            record = self.record(node, each)
            record.phase, record.cmd, record.deps = COMMITTED, command, deps
            node.work.pop(each, None)
        node.order = list(taken.order)
        node.executed = set(taken.order)
        node.ran = set(taken.order)
        node.commands = dict(zip(taken.order, taken.commands, strict=True))
        node.snapshots = [taken]
        node.installed = taken
        node.floor = joined(node.floor, taken.floor)
        node.joined = joined(node.joined, taken.floor)
        for each in [each for each in node.work if self.covered(node, each)]:
            del node.work[each]
        self.tell("done", node.me, inst)
        self.look_at_waits(node)

    def converged(self, alive: Iterable[int]) -> None:
        """Everything was executed by all who live: then it was the same."""
        found = [self.nodes[each].executed for each in alive]
        for executed in found[1:]:
            if executed != found[0]:
                raise Broken(f"Converged: {sorted(executed ^ found[0])}")
