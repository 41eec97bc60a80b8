"""An oracle for execution, which walks the whole graph for each question, and graphs to ask it about."""

from collections.abc import Iterable
from functools import cache
from random import Random
from typing import NamedTuple

from epaxos.graph import Node
from paxos.command import ALL, NOTHING, Footprint

Id = tuple[int, int]


# --- the oracle: what the rules say, word by word ----------------------------------------------------


class Oracle:
    """Everything committed and executed; each question is answered by a walk of all of it."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.committed: dict[Id, Node] = {}
        self.executed: list[Id] = []

    def commit(self, node: Node) -> None:
        self.committed[node.rank, node.number] = node

    def waits(self) -> set[Id]:
        """What something committed has in its dependencies and is not committed."""
        return {
            (rank, number)
            for node in self.unexecuted()
            for rank, limit in enumerate(node.deps)
            for number in range(1, limit + 1)
            if (rank, number) not in self.committed
        }

    def unexecuted(self) -> list[Node]:
        return [
            node for i, node in self.committed.items() if i not in self.executed and node.footprint != NOTHING
        ]

    def run(self) -> list[tuple[Node, ...]]:
        """The components that can execute, by level and id; if one holds a barrier, what it needs and it."""
        graph = {(node.rank, node.number): node for node in self.unexecuted()}
        reach = closure({i: self._edges(node, graph) for i, node in graph.items()})
        able = {i for i in graph if all(self._ready(graph[j]) for j in reach[i] | {i})}
        components: dict[Id, frozenset[Id]] = {
            i: frozenset({i, *(j for j in reach[i] if i in reach[j])}) for i in able
        }

        @cache
        def level(i: Id) -> int:
            return max((level(j) + 1 for j in reach[i] if j not in components[i]), default=0)

        order = sorted(set(components.values()), key=lambda c: (level(min(c)), self._sorted(c, graph)[0]))
        first = next((c for c in order if any(graph[i].barrier for i in c)), None)
        if first is not None:
            needed = reach[min(first)]
            order = [c for c in order if min(c) in needed and c != first] + [first]
        for component in order:
            self.executed.extend(component)
        return [tuple(graph[i] for i in self._sorted(component, graph)) for component in order]

    def _sorted(self, component: Iterable[Id], graph: dict[Id, Node]) -> list[Id]:
        return sorted(component, key=lambda i: (graph[i].barrier, i))

    def _ready(self, node: Node) -> bool:
        return all(
            (rank, number) in self.committed
            for rank, limit in enumerate(node.deps)
            for number in range(1, limit + 1)
        )

    def _edges(self, node: Node, graph: dict[Id, Node]) -> set[Id]:
        return {
            i
            for i, other in graph.items()
            if other is not node
            and other.number <= node.deps[other.rank]
            and node.footprint.conflicts(other.footprint)
        }


def closure(edges: dict[Id, set[Id]]) -> dict[Id, set[Id]]:
    """What each reaches in one step or more."""
    reach = {i: set(near) for i, near in edges.items()}
    changed = True
    while changed:
        changed = False
        for found in reach.values():
            more = set().union(*(reach[j] for j in found)) - found if found else set()
            if more:
                found |= more
                changed = True
    return reach


# --- graphs to try -----------------------------------------------------------------------------------


class Shape(NamedTuple):
    """What kind of commands a random graph is made of, by weight."""

    members: int
    most: int
    keys: int
    all_in_ten: int = 0
    ranges_in_ten: int = 0
    noops_in_ten: int = 0
    barriers: bool = False


def footprint(random: Random, shape: Shape) -> Footprint:
    dice = random.random() * 10
    if dice < shape.all_in_ten:
        return ALL
    dice -= shape.all_in_ten
    if dice < shape.noops_in_ten:
        return NOTHING
    dice -= shape.noops_in_ten
    names = [b"%c" % (97 + i) for i in range(shape.keys)]
    reads = random.sample(names, random.randint(0, min(2, shape.keys)))
    writes = random.sample(names, random.randint(0 if reads else 1, min(2, shape.keys)))
    if dice >= shape.ranges_in_ten:
        return Footprint.of(reads=reads, writes=writes)
    low = random.choice(names)
    span = (low, random.choice([None, low + b"a", *(name for name in names if name > low)]))
    if random.random() < 0.5:
        return Footprint.of(reads=reads, writes=writes[:1], read_ranges=[span])
    return Footprint.of(reads=reads, write_ranges=[span])


def graph(random: Random, shape: Shape) -> list[Node]:
    """Instances of which each two that conflict are ordered, at least one way, as the protocol sees to."""
    tops = [random.randint(0, shape.most) for _ in range(shape.members)]
    ids = [(rank, number) for rank, top in enumerate(tops) for number in range(1, top + 1)]
    touched = {i: footprint(random, shape) for i in ids}
    loose = random.random() < 0.5
    deps = {
        i: [random.randint(0, top) if loose or random.random() < 0.2 else 0 for top in tops]
        if touched[i] != NOTHING
        else [0] * shape.members
        for i in ids
    }
    order = random.sample(ids, len(ids))
    for at, one in enumerate(order):
        for other in order[:at]:
            if touched[one].conflicts(touched[other]):
                later, earlier = (one, other) if random.random() < 0.8 else (other, one)
                if deps[earlier][later[0]] < later[1]:
                    rank, number = earlier
                    deps[later][rank] = max(deps[later][rank], number)
    return [
        Node(*i, touched[i], tuple(deps[i]), shape.barriers and touched[i] == ALL and random.random() < 0.7)
        for i in ids
    ]


def history(random: Random, shape: Shape, length: int) -> list[Node]:
    """Instances in the order in which they were submitted; each sees those before but for the last few."""
    tops = [0] * shape.members
    nodes: list[Node] = []
    for _ in range(length):
        rank = random.randrange(shape.members)
        deps = [top if r == rank else max(0, top - random.choice([0, 0, 0, 1])) for r, top in enumerate(tops)]
        tops[rank] += 1
        touched = footprint(random, shape)
        if touched == NOTHING:
            deps = [0] * shape.members
        for at, other in enumerate(nodes):
            if touched.conflicts(other.footprint) and deps[other.rank] < other.number:
                # Unseen: it is ordered by the answers of others, after or before or both.
                if random.random() < 0.5:
                    deps[other.rank] = other.number
                if random.random() < 0.5 or deps[other.rank] < other.number:
                    reached = tuple(tops[r] if r == rank else known for r, known in enumerate(other.deps))
                    nodes[at] = other._replace(deps=reached)
        nodes.append(Node(rank, tops[rank], touched, tuple(deps), False))
    return nodes
