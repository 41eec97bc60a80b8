"""Execution: in which order committed commands are applied, so that all replicas agree about what conflicts.

A committed command names its dependencies, and two that conflict may name each other. So execution takes the
strongly connected components of the graph of dependencies: a component after all those that it depends on,
and inside one by instance id. Nothing executes before everything in its dependencies is committed, and in
theirs, and so on through the commands that conflict.

An executor is told what is committed, in any order, and says what may execute now. However long something has
been missing, and however large components grow, the work is linear in what is new:

-   A command whose dependencies are not all committed waits for one rank after the other to have a
    contiguous committed prefix as long as it needs; only then it is *ready*.
-   Every edge is followed once, one at a time. If it leads to what is executed, the next one is taken. If
    not, the vertex is hung below the one it leads to, until that executes. What hangs so forms a forest,
    and its roots are those that are not ready, or whose turn it is. An edge of a root into its own tree
    closes a cycle: what is on the way from there to the root is joined to one, with all edges not yet
    followed. A root without edges left is a component, and all that it depends on is executed.
-   Whether an edge leads into the tree of its root is found in a number of steps logarithmic in the depth.
-   What executes leaves the graph at once.

What executes in a run, and in which order, is a function of what is committed and executed; the order in
which it was learned leaves no trace. So copies behave like the original, and equal fingerprints are equal.

Sources: Moraru et al., SOSP 2013, section 4.3.2 (execution). Components by contracting cycles of a path is as
old as Purdom, BIT 10, 1970; a forest in place of the path is what lets many searches wait at once, for what
is not there yet. The ways to a root are those of Myers, IPL 17(5), 1983. The cut at a barrier is ours.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple, Self, TypeAlias

from epaxos.contended import contended_components
from epaxos.graph import (
    ACTIVE,
    DONE,
    READY,
    ConflictGraph,
    Instance,
    Link,
    Node,
    Vertex,
    merged,
)
from paxos.command import NOTHING, Footprint
from paxos.errors import ProtocolBreach

__all__ = ["Cut", "Executor", "Node"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__

# Sort keys at C speed. A node begins with its rank and number, which no other has.
_NODE: Final = attrgetter("node")
_order_in_component: Final = itemgetter(4, 0, 1)  # barriers last, then by rank and number

# More steps than this to a root are as many as a good way through 30,000 would take.
_LONG_WAY: Final = 32

_Component: TypeAlias = tuple[int, tuple[Node, ...], list[Instance]]


class Cut(NamedTuple):
    """What a barrier's component leaves behind.

    Args:
        floor: per rank, the highest number that was executed and is not a no-op. Everything up to it is
            committed.
        exceptions: what is not executed at or below the floor, by rank and number: it comes after the
            barrier.
    """

    floor: tuple[int, ...]
    exceptions: tuple[Node, ...]


class Executor:
    """What is committed here, what of it is executed, and what may be executed next.

    Args:
        members: how many replicas there are.

    Attributes:
        frontier: per rank, everything up to this number is committed.
        executed_top: per rank, the highest number that was executed and is not a no-op; 0 for none.
        pending: how many instances are committed and not executed.
        steps: how many edges were followed, and steps taken in search of a root: a measure of the work.
    """

    __slots__ = (
        "_agenda", "_ahead", "_found", "_fresh", "_graph", "_level", "_reached", "_unexecuted", "_unready",
        "_untried", "_waiting", "_wanted", "executed_top", "frontier", "pending", "steps",
    )  # fmt: skip

    def __init__(self, members: int) -> None:
        self.frontier: list[int] = [0] * members
        self.executed_top: list[int] = [0] * members
        self.pending: int = 0
        self.steps: int = 0
        # Committed above the frontier, per rank by number: what is to be placed in chains when the
        # frontier reaches it; None for one executed, a no-op, or not in the graph yet.
        self._ahead: list[dict[int, Instance | None]] = [{} for _ in range(members)]
        self._unexecuted: list[dict[int, Node]] = [{} for _ in range(members)]
        self._clear()

    def _clear(self) -> None:
        members = len(self.frontier)
        self._graph = ConflictGraph(members)
        # Learned since the last run: not in the graph yet.
        self._fresh: list[Node] = []
        # In the graph, above the frontier when learned and reached by it since: not in chains yet.
        self._reached: list[Instance] = []
        # Roots that are ready. Some have been executed, hung or joined since they were put here.
        self._agenda: list[Vertex] = []
        # Per rank, by the number that the frontier has to reach.
        self._waiting: list[dict[int, list[Instance]]] = [{} for _ in range(members)]
        self._unready = 0  # instances in it
        # Whether something was committed since all there is was looked at together.
        self._untried = True
        # Per rank, the highest number that something committed ever depended on and missed.
        self._wanted = [0] * members
        # Components of the present run: level, nodes, instances. A component has a higher level than those
        # that it depends on, and all of a run have higher ones than those before it.
        self._found: list[_Component] = []
        self._level = 0

    # --- what is committed ---------------------------------------------------------------------------

    def commit(
        self, rank: int, number: int, footprint: Footprint, deps: tuple[int, ...], barrier: bool = False
    ) -> None:
        """Learn that an instance is committed. What is known already is ignored.

        An instance that touches nothing is a no-op: it counts as executed at once and is in no component.

        Args:
            rank: the place of its owner among the members.
            number: its number, from 1.
            footprint: what its command touches.
            deps: its dependencies, one number per rank.
            barrier: whether to stop after its component, for a cut.

        Raises:
            ProtocolBreach: not as many dependencies as members; nothing has changed.
        """
        frontier = self.frontier
        reached = frontier[rank]
        ahead = self._ahead[rank]
        if number <= reached or number in ahead:
            return
        if len(deps) != len(frontier):
            raise ProtocolBreach(
                f"instance {number} of rank {rank} was committed with {len(deps)} dependencies among "
                f"{len(frontier)} members"
            )
        self._untried = True
        if footprint != NOTHING:
            node = _new(Node, (rank, number, footprint, deps, barrier))
            self._fresh.append(node)
            self._unexecuted[rank][number] = node
            self.pending += 1
        if number != reached + 1:
            ahead[number] = None
            return
        waiting = self._waiting[rank]
        while True:
            frontier[rank] = number
            if waiting:
                for instance in waiting.pop(number, ()):
                    self._unready -= 1
                    self._await(instance)
            if not ahead:
                return
            number += 1
            if number not in ahead:
                return
            above = ahead.pop(number)
            if above is not None:
                self._reached.append(above)

    def is_committed(self, rank: int, number: int) -> bool:
        """Whether this instance is known to be committed."""
        return number <= self.frontier[rank] or number in self._ahead[rank]

    def is_executed(self, rank: int, number: int) -> bool:
        """Whether this instance is committed and executed, or a no-op."""
        return self.is_committed(rank, number) and number not in self._unexecuted[rank]

    def waits(self, most: int = 1) -> list[tuple[int, int]]:
        """The instances, as (rank, number), that something committed waits for and that are not committed.

        Args:
            most: of each rank the lowest so many.
        """
        self._admit()
        missing = []
        for rank, (reached, wanted) in enumerate(zip(self.frontier, self._wanted, strict=True)):
            ahead = self._ahead[rank]
            found = 0
            for number in range(reached + 1, wanted + 1):
                if found == most:
                    break
                if number not in ahead:
                    missing.append((rank, number))
                    found += 1
        return missing

    # --- what executes -------------------------------------------------------------------------------

    def run(self) -> list[tuple[Node, ...]]:
        """Execute what can be: components, in order, each by (rank, number) with barriers last.

        A component that holds a barrier is the last that is returned, so that `cut` speaks of the state right
        after it. Call again until nothing is returned.
        """
        if self._untried and not self._unready and self.pending and self._pass_all():
            self._untried = False
            return self._take()
        self._untried = False
        if self._fresh and not self._agenda and not self._reached:
            self._pass_by()
        if self._fresh or self._reached:
            self._admit()
        agenda = self._agenda
        while agenda:
            vertex = agenda.pop()
            if vertex.state != DONE and vertex.blocker is None and vertex.joined is None:
                if self._follow(vertex):
                    break
        return self._take() if self._found else []

    def _pass_by(self) -> None:
        """Execute what waits for nothing and meets nothing: the common case, and it needs no graph at all."""
        fresh, frontier, graph = self._fresh, self.frontier, self._graph
        is_empty = self.pending == len(fresh)
        shared: frozenset[bytes] = frozenset()
        if len(fresh) > 1:
            keys: list[bytes] = []
            for _, _, (reads, writes, read_ranges, write_ranges, everything), _, _ in fresh:
                if read_ranges or write_ranges or everything:
                    return
                keys += writes if writes == reads else reads + writes
            if len(set(keys)) < len(keys):
                shared = frozenset(key for key, times in Counter(keys).items() if times > 1)
        level = self._level + 1
        left: list[Node] = []
        for node in fresh:
            rank, number, footprint, deps, _ = node
            for reached, needed in zip(frontier, deps, strict=True):
                if needed > reached:
                    break
            else:
                if (is_empty or not graph.touches(footprint)) and not (
                    shared and not (shared.isdisjoint(footprint[0]) and shared.isdisjoint(footprint[1]))
                ):
                    del self._unexecuted[rank][number]
                    if number > self.executed_top[rank]:
                        self.executed_top[rank] = number
                    # As in the graph, where nothing would be before it.
                    self._found.append((level, (node,), []))
                    continue
            left.append(node)
        self.pending -= len(fresh) - len(left)
        self._fresh = left

    def _pass_all(self) -> bool:
        """Execute all there is, if all that it waits for is committed and its order is plain; whether it is.

        So it is where none depends on another, which is seen by their numbers: a batch has too many keys to
        be compared where it need not be. And so it is where all write one key.
        """
        nodes, frontier = self._fresh, self.frontier
        if len(nodes) < self.pending:
            if self._graph.sweeping:
                return False
            nodes = [node for unexecuted in self._unexecuted for node in unexecuted.values()]
        limits = frontier
        if len(nodes) > 1:
            # Short of the lowest that is not executed.
            limits = [*frontier]
            for rank, number, _, _, barrier in nodes:
                if barrier:
                    return False
                if number <= limits[rank]:
                    limits[rank] = number - 1
        is_apart = True
        for _, _, _, deps, _ in nodes:
            for limit, reached, needed in zip(limits, frontier, deps, strict=True):
                if needed > limit:
                    if needed > reached:
                        return False
                    is_apart = False
        level = self._level + 1
        if is_apart:
            self._found = [(level, (node,), []) for node in nodes]
        else:
            components = contended_components(nodes, len(frontier))
            if components is None:
                return False
            self._found = [(level + at, component, []) for at, component in enumerate(components)]
        for rank, unexecuted in enumerate(self._unexecuted):
            if unexecuted:
                self.executed_top[rank] = max(self.executed_top[rank], *unexecuted)
                unexecuted.clear()
        if len(nodes) > len(self._fresh):
            for rank, number, _, _, _ in nodes:
                if number > frontier[rank]:
                    self._ahead[rank][number] = None
            self._graph = ConflictGraph(len(frontier))
            self._agenda.clear()
            self._reached.clear()
        self._fresh.clear()
        self.pending = 0
        return True

    def _admit(self) -> None:
        """Bring what was learned into the graph; into chains in the order of its owner, as far as reached."""
        placing = self._reached
        if self._fresh:
            frontier = self.frontier
            for node in self._fresh:
                instance = Instance(node)
                rank, number, _, deps, _ = node
                if number <= frontier[rank]:
                    placing.append(instance)
                else:
                    self._ahead[rank][number] = instance
                for reached, needed in zip(frontier, deps, strict=True):
                    if needed > reached:
                        self._await(instance)
                        break
                else:
                    instance.state = READY
                    self._agenda.append(instance)
            self._fresh.clear()
            # What was learned first is tried first: nearly always it does not wait for what came later.
            self._agenda.reverse()
        if len(placing) > 1:
            placing.sort(key=_NODE)
        for instance in placing:
            self._graph.place(instance)
        placing.clear()

    def _await(self, instance: Instance) -> None:
        """Find the next rank whose prefix is too short for `instance`; if there is none, it is ready."""
        deps = instance.node.deps
        frontier = self.frontier
        for rank in range(instance.rank, len(deps)):
            needed = deps[rank]
            if needed > frontier[rank]:
                instance.rank = rank
                self._unready += 1
                self._waiting[rank].setdefault(needed, []).append(instance)
                wanted = self._wanted
                for later in range(rank, len(deps)):
                    if deps[later] > wanted[later]:
                        wanted[later] = deps[later]
                return
        instance.state = READY
        self._agenda.append(instance)

    def _follow(self, vertex: Vertex) -> bool:
        """Follow the edges of a root, and of what they lead to for the first time, as far as it goes.

        True when it ended with a component that holds a barrier.
        """
        graph = self._graph
        while True:
            if vertex.state == READY:
                vertex.state = ACTIVE
                if isinstance(vertex, Instance):
                    vertex.targets = graph.successors(vertex)
                elif isinstance(vertex, Link):
                    vertex.targets = vertex.successors()
            targets = vertex.targets
            if not targets:
                return self._complete(vertex)
            target = targets.pop()
            self.steps += 1
            state = target.state
            if state == DONE:
                if target.level > vertex.level:
                    vertex.level = target.level
            elif state == ACTIVE and self._root(target) is vertex:
                vertex = self._join(vertex, target)
            else:
                self._hang(vertex, target)
                if state != READY:
                    return False
                vertex = target

    def _root(self, vertex: Vertex) -> Vertex:
        """Where the way from `vertex` over blockers ends."""
        way: list[Vertex] = []
        while True:
            if vertex.joined is not None:
                vertex = _chief(vertex)
            blocker = vertex.blocker
            if blocker is None:
                break
            way.append(vertex)
            far = vertex.far
            # What is far may have executed since; what is next has not, or it would have let go.
            vertex = blocker if far is None or far.state == DONE else far
        self.steps += 1 + len(way)
        if len(way) > _LONG_WAY:
            # It was put together from its upper end, root below root. Make it short.
            self.steps += len(way)
            above = vertex
            while way:
                _aim(way[-1], above)
                above = way.pop()
        return vertex

    def _hang(self, root: Vertex, target: Vertex) -> None:
        """Let a root wait until `target`, which is not in its tree, is executed."""
        blocker = target if target.joined is None else _chief(target)
        root.blocker = blocker
        _aim(root, blocker)
        if blocker.waiters is None:
            blocker.waiters = [root]
        else:
            blocker.waiters.append(root)

    def _join(self, root: Vertex, target: Vertex) -> Vertex:
        """Join everything on the way from `target` to the root of its tree. What stands for the set now."""
        ring = [root]
        blocker: Vertex | None = target
        while blocker is not None and (vertex := _chief(blocker)) is not root:
            ring.append(vertex)
            blocker = vertex.blocker
        if len(ring) == 1:
            return root
        chief = max(ring, key=_size_of)
        chief.blocker = chief.far = None
        for vertex in ring:
            if vertex is not chief:
                vertex.joined = chief
                vertex.blocker = vertex.far = None
                chief.members = merged(chief.members or [chief], vertex.members or [vertex])
                chief.targets = merged(chief.targets, vertex.targets)
                chief.waiters = merged(chief.waiters, vertex.waiters)
                chief.level = max(chief.level, vertex.level)
                vertex.members = vertex.targets = vertex.waiters = None
        return chief

    def _complete(self, vertex: Vertex) -> bool:
        """A set has no edges left: it is a component, and is executed. Whether it holds a barrier."""
        level = vertex.level
        members = vertex.members
        instances: list[Instance] = []
        if members is None:
            vertex.state = DONE
            if isinstance(vertex, Instance):
                instances.append(vertex)
        else:
            vertex.members = None
            for member in members:
                member.state = DONE
                member.joined = None
                if isinstance(member, Instance):
                    instances.append(member)
        if instances:
            # A prefix in which all is executed is a component too, but has no level of its own.
            level = 1 + (level if level > self._level else self._level)
            for member in members or instances:
                member.level = level
        waiters = vertex.waiters
        if waiters is not None:
            vertex.waiters = None
            agenda = self._agenda
            for waiter in waiters:
                waiter.blocker = waiter.far = None
                if level > waiter.level:
                    waiter.level = level
                agenda.append(waiter)
        return bool(instances) and self._execute(instances, level)

    def _execute(self, instances: list[Instance], level: int) -> bool:
        """Note a component as executed. Whether it holds a barrier."""
        nodes = [instance.node for instance in instances]
        for rank, number, _, _, _ in nodes:
            del self._unexecuted[rank][number]
            if number > self.executed_top[rank]:
                self.executed_top[rank] = number
            if number > self.frontier[rank]:
                self._ahead[rank][number] = None
        self.pending -= len(nodes)
        if len(nodes) > 1:
            nodes.sort(key=_order_in_component)
        self._found.append((level, tuple(nodes), instances))
        return nodes[-1].barrier

    def _take(self) -> list[tuple[Node, ...]]:
        """The components of this run in their order; their instances leave the graph."""
        found = self._found
        self._found = []
        remove = self._graph.remove
        for level, _, instances in found:
            if level > self._level:
                self._level = level
            for instance in instances:
                remove(instance)
        if len(found) > 1:
            # By level, then by id: the same whatever was tried first. What holds a barrier was found last.
            found.sort(key=_order_of_components)
        return [nodes for _, nodes, _ in found]

    # --- barriers, snapshots, copies ------------------------------------------------------------------

    def cut(self) -> Cut:
        """The floor and the exceptions, right after a run that ended with a barrier's component."""
        exceptions: list[Node] = []
        for top, unexecuted in zip(self.executed_top, self._unexecuted, strict=True):
            exceptions.extend(unexecuted[number] for number in sorted(unexecuted) if number <= top)
        return Cut(tuple(self.executed_top), tuple(exceptions))

    def install(
        self,
        floor: tuple[int, ...],
        exceptions: Iterable[tuple[int, int, Footprint, tuple[int, ...], bool]],
    ) -> None:
        """Go on from a snapshot: all at or below the floor is executed but for the exceptions.

        What is known above the floor stays; what of it can be executed now the next run says.

        Args:
            floor: the floor of a cut that is not older than what was executed here.
            exceptions: those of that cut: rank, number, footprint, dependencies, whether a barrier.

        Raises:
            ProtocolBreach: an exception was executed here, or is above the floor; nothing has changed.
        """
        kept = {
            (node.rank, number): node
            for limit, unexecuted in zip(floor, self._unexecuted, strict=True)
            for number, node in unexecuted.items()
            if number > limit
        }
        for rank, number, footprint, deps, barrier in exceptions:
            if number > floor[rank] or self.is_executed(rank, number) or len(deps) != len(floor):
                raise ProtocolBreach(
                    f"a snapshot puts instance {number} of rank {rank} after its barrier, with dependencies "
                    f"{deps}, but it was executed here before, is above the floor {floor}, or is malformed"
                )
            kept[rank, number] = Node(rank, number, footprint, deps, barrier)
        committed = [set(ahead) for ahead in self._ahead]
        for rank, limit in enumerate(floor):
            reached = max(self.frontier[rank], limit)
            while reached + 1 in committed[rank]:
                reached += 1
            self.frontier[rank] = reached
            self._ahead[rank] = {number: None for number in sorted(committed[rank]) if number > reached}
            self.executed_top[rank] = max(self.executed_top[rank], limit)
        self._restart(kept.values())

    def _restart(self, unexecuted: Iterable[Node]) -> None:
        """Make the graph anew of what is committed and unexecuted; the next run tries all of it."""
        self._clear()
        self._fresh = sorted(unexecuted, key=_id_of)
        self._unexecuted = [{} for _ in self.frontier]
        for node in self._fresh:
            self._unexecuted[node.rank][node.number] = node
        self.pending = len(self._fresh)

    def clone(self) -> Self:
        """An independent copy, which behaves the same."""
        copy = type(self)(len(self.frontier))
        copy.frontier = self.frontier.copy()
        copy.executed_top = self.executed_top.copy()
        copy._ahead = [dict.fromkeys(ahead) for ahead in self._ahead]
        copy._restart(node for unexecuted in self._unexecuted for node in unexecuted.values())
        copy.steps = self.steps
        return copy

    def fingerprint(self) -> Hashable:
        """Equal for executors that behave alike: by equal commits they execute the same in the same order."""
        return (
            tuple(self.frontier),
            tuple(self.executed_top),
            tuple(tuple(sorted(ahead)) for ahead in self._ahead),
            tuple(tuple(unexecuted[n] for n in sorted(unexecuted)) for unexecuted in self._unexecuted),
        )


def _chief(vertex: Vertex) -> Vertex:
    """The one that stands for the set of `vertex`; the way there is halved for the next who takes it."""
    while (joined := vertex.joined) is not None:
        if joined.joined is not None:
            vertex.joined = joined = joined.joined
        vertex = joined
    return vertex


def _aim(vertex: Vertex, above: Vertex) -> None:
    """Choose what `vertex` sees from afar: with these choices ways are logarithmic in the depth."""
    vertex.depth = above.depth + 1
    vertex.far = above
    far = above.far
    if far is not None:
        far = _chief(far)
        further = far.far
        if further is not None and above.depth - far.depth == far.depth - further.depth:
            vertex.far = further


def _id_of(node: Node) -> tuple[int, int]:
    return node.rank, node.number


def _size_of(vertex: Vertex) -> int:
    return 1 if vertex.members is None else len(vertex.members)


def _order_of_components(component: _Component) -> tuple[bool, int, int, int]:
    level, nodes, _ = component
    return nodes[-1].barrier, level, nodes[0].rank, nodes[0].number
