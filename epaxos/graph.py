"""The graph that execution works on: what is committed and not executed, and who must come before whom.

A command's dependencies are one number per replica, and every conflicting command of that prefix is an edge.
Ten thousand commands on one key are fifty million edges, so they are never written down. Instead the graph
keeps *chains*: for a key, a replica and a kind (writers, readers) the unexecuted instances by rising number,
each in a *link* that knows the next lower one. A command has one edge per chain, to the highest link within
its dependencies; a link has an edge to its own instance and one to the link below. That says the same in a
number of edges linear in the number of instances and keys. Where each instance of a chain depends on the
one below, as those that write the same key nearly always do, its links say no more than their instances, and
edges lead to these.

Only instances within the contiguous committed prefix of their owner stand in chains. No command that is ready
refers to a higher one, and so chains only grow at their upper end.

What conflicts with everything stands in a chain per replica to which all others have an edge, and has edges
itself to the chains of all instances of a replica. Where one side names ranges of keys, those that are
touched are found by comparing.
"""

from bisect import bisect_right
from typing import Final, NamedTuple, TypeVar

from paxos.command import Footprint, KeyRange

__all__ = [
    "ACTIVE",
    "DONE",
    "READY",
    "UNREADY",
    "Chain",
    "ConflictGraph",
    "Instance",
    "Link",
    "Node",
    "Vertex",
]

#: The states of a vertex: something in its dependencies is not committed; all is, but its edges were not
#: looked for; they were; it is executed.
UNREADY: Final = 0
READY: Final = 1
ACTIVE: Final = 2
DONE: Final = 3

# A chain forgets its dead links when they are more than twice the living and this many.
_SLACK: Final = 16

T = TypeVar("T")

_WRITERS: Final = 0
_READERS: Final = 1


class Node(NamedTuple):
    """One committed instance, as execution sees it.

    Args:
        rank: the place of its owner among the members, from 0.
        number: the owner's own count of its instances, from 1.
        footprint: what its command reads and writes.
        deps: per rank, up to which number it depends on that owner's instances.
        barrier: whether the log is cut after it.
    """

    rank: int
    number: int
    footprint: Footprint
    deps: tuple[int, ...]
    barrier: bool


class Vertex:
    """Something to be executed: a link as such, which stands for a prefix of its chain, or an instance.

    Vertices that reach each other are joined to a set as soon as that is known. One of them stands for it,
    and what is said below of a vertex holds for the set.

    Attributes:
        state: UNREADY, READY, ACTIVE or DONE.
        joined: another of its set, nearer to the one that stands for it; None for that one.
        members: all of its set; None for itself alone.
        targets: its edges that were not followed yet, the next one last.
        blocker: what has to be executed first, as far as is known; None for a root: one that is not ready, or
            whose next edge is to be followed.
        far: some vertex on the way from it over blockers, to take that way faster.
        depth: the length of that way when it was made.
        waiters: those whose blocker it is.
        level: the highest level of a component that it was found to come after.
    """

    __slots__ = ("blocker", "depth", "far", "joined", "level", "members", "state", "targets", "waiters")

    state: int
    level: int
    depth: int
    blocker: "Vertex | None"
    far: "Vertex | None"
    joined: "Vertex | None"
    targets: "list[Vertex] | None"
    waiters: "list[Vertex] | None"
    members: "list[Vertex] | None"


class Instance(Vertex):
    """A committed, unexecuted instance in the graph.

    Attributes:
        node: the instance.
        rank: the first rank whose committed prefix is not known to cover its dependencies.
        links: its links in the chains.
    """

    __slots__ = ("links", "node", "rank")

    def __init__(self, node: Node) -> None:
        self.state: int = UNREADY
        self.level: int = 0
        self.depth: int = 0
        self.blocker: Vertex | None = None
        self.far: Vertex | None = None
        self.joined: Vertex | None = None
        self.targets: list[Vertex] | None = None
        self.waiters: list[Vertex] | None = None
        self.members: list[Vertex] | None = None
        self.node: Node = node
        self.rank: int = 0
        self.links: list[Link] = []


class Link(Vertex):
    """The place of an instance in a chain; as a vertex, that instance and everything below it in the chain.

    Attributes:
        instance: the instance; None once it is executed and the link is dead.
        below: the next lower link when this one was made; it may have died since.
        chain: the chain.
        is_tight: whether each instance from here down depends on the next lower one and conflicts with it, so
            that the instance stands for everything below it, and this link is no vertex.
    """

    __slots__ = ("below", "chain", "instance", "is_tight")

    def __init__(self, instance: Instance, below: "Link | None", chain: "Chain", is_tight: bool) -> None:
        self.state: int = READY
        self.level: int = 0
        self.depth: int = 0
        self.blocker: Vertex | None = None
        self.far: Vertex | None = None
        self.joined: Vertex | None = None
        self.targets: list[Vertex] | None = None
        self.waiters: list[Vertex] | None = None
        self.members: list[Vertex] | None = None
        self.instance: Instance | None = instance
        self.below: Link | None = below
        self.chain: Chain = chain
        self.is_tight: bool = is_tight

    def successors(self) -> list[Vertex]:
        """What is below, and its instance."""
        found: list[Vertex] = []
        below = self.below
        if below is not None and below.instance is None:
            below = self.below = settled(below)
        if below is not None:
            found.append(below)
        if self.instance is not None:
            found.append(self.instance)
        return found


class Chain:
    """The unexecuted instances of one owner with one thing in common, by rising number.

    Attributes:
        key: the key in common; None for the chains that are no key's.
        slot: which of the key's chains it is: twice the rank, plus one for readers. The chains that are no
            key's have that of readers: those in it may have nothing to do with each other.
        numbers: the numbers of the instances, dead ones included.
        links: their links, in the same places.
        living: how many of them are not dead.
    """

    __slots__ = ("key", "links", "living", "numbers", "slot")

    def __init__(self, key: bytes | None = None, slot: int = _READERS) -> None:
        self.key: bytes | None = key
        self.slot: int = slot
        self.numbers: list[int] = []
        self.links: list[Link] = []
        self.living: int = 0

    def append(self, number: int, instance: Instance) -> None:
        """Put `instance` at the upper end; `number` is above all that are there."""
        links = self.links
        if links:
            below, slot = links[-1], self.slot
            # Writers of a key conflict with each other. Nearly always an owner knows its own earlier ones,
            # and none that is later: else it would lead to itself over that, and to nothing below.
            is_tight = (
                below.is_tight
                and not slot & _READERS
                and self.numbers[-1] <= instance.node.deps[slot >> 1] <= number
            )
            link = Link(instance, below, self, is_tight)
        else:
            link = Link(instance, None, self, True)
        links.append(link)
        self.numbers.append(number)
        self.living += 1
        instance.links.append(link)

    def highest(self, limit: int, instance: Instance) -> Vertex | None:
        """The highest living link with a number up to `limit`, other than that of `instance` itself.

        If nothing is below it that its instance does not depend on, it says no more than that, which is
        returned.
        """
        numbers = self.numbers
        if not numbers or numbers[0] > limit:
            return None
        link: Link | None = self.links[-1 if numbers[-1] <= limit else bisect_right(numbers, limit) - 1]
        if link is not None and link.instance is None:
            link = settled(link)
        if link is not None and link.instance is instance:
            link = settled(link.below)
        if link is None:
            return None
        if link.is_tight:
            return link.instance
        below = link.below
        if below is not None and below.instance is None:
            below = link.below = settled(below)
        return link if below is not None else link.instance

    def compact(self) -> None:
        """Forget dead links when they are many: often enough for memory, rarely enough for time."""
        links = self.links
        if not self.living:
            self.numbers.clear()
            links.clear()
        elif len(links) > 2 * self.living + _SLACK:
            self.numbers = [
                n for n, link in zip(self.numbers, links, strict=True) if link.instance is not None
            ]
            self.links = links = [link for link in links if link.instance is not None]
            below = None
            for link in links:
                link.below = below
                below = link


def settled(link: Link | None) -> Link | None:
    """The highest living link at `link` or below it; the way there is halved for the next who takes it."""
    while link is not None and link.instance is None:
        below = link.below
        if below is not None and below.instance is None:
            below = link.below = below.below
        link = below
    return link


def merged(one: list[T] | None, other: list[T] | None) -> list[T] | None:
    """The longer of two lists, extended by the shorter, so that many joins cost little more than one."""
    if not one or not other:
        return one or other
    if len(one) < len(other):
        one, other = other, one
    one.extend(other)
    return one


class ConflictGraph:
    """The chains of everything that is committed, unexecuted and within its owner's committed prefix.

    Args:
        members: how many replicas there are.
    """

    __slots__ = ("_all", "_every", "_keys", "_living", "_placed", "_ranged", "sweeping")

    def __init__(self, members: int) -> None:
        # Per key the chains that are not empty, by slot.
        self._keys: dict[bytes, dict[int, Chain]] = {}
        # Everything in the chains, per rank by rising number.
        self._placed: list[dict[int, Instance]] = [{} for _ in range(members)]
        self._living = 0
        # The same as chains: from when it is first asked for until nothing is left.
        self._every: list[Chain] | None = None
        self._all = [Chain() for _ in range(members)]
        self._ranged = [Chain() for _ in range(members)]
        #: How many of those in chains name ranges or touch everything.
        self.sweeping: int = 0

    def touches(self, footprint: Footprint) -> bool:
        """Whether something in the chains may conflict with a command of `footprint`."""
        reads, writes, read_ranges, write_ranges, everything = footprint
        if self.sweeping or read_ranges or write_ranges or everything:
            return True
        keys = self._keys
        for key in writes:
            if key in keys:
                return True
        return bool(reads) and not keys.keys().isdisjoint(reads)

    def place(self, instance: Instance) -> None:
        """Put `instance` into its chains; it has the highest number of its owner so far."""
        rank, number, footprint, _, _ = instance.node
        reads, writes, read_ranges, write_ranges, everything = footprint
        self._placed[rank][number] = instance
        self._living += 1
        if self._every is not None:
            self._every[rank].append(number, instance)
        if everything:
            self._all[rank].append(number, instance)
            self.sweeping += 1
            return
        if read_ranges or write_ranges:
            self._ranged[rank].append(number, instance)
            self.sweeping += 1
        slot = 2 * rank + _WRITERS
        for key in writes:
            self._chain(key, slot).append(number, instance)
        if reads:
            slot = 2 * rank + _READERS
            # Who writes a key already meets everyone who touches it.
            written = frozenset(writes)
            for key in reads:
                if key not in written:
                    self._chain(key, slot).append(number, instance)

    def remove(self, instance: Instance) -> None:
        """Take an executed vertex out of its chains."""
        keys = self._keys
        for link in instance.links:
            link.instance = None
            chain = link.chain
            chain.living -= 1
            key = chain.key
            if key is None or chain.living:
                if len(chain.links) > _SLACK or not chain.living:
                    chain.compact()
            else:
                chains = keys[key]
                del chains[chain.slot]
                if not chains:
                    del keys[key]
        rank, number, footprint, _, _ = instance.node
        if self._placed[rank].pop(number, None) is not None:
            instance.links = []
            if footprint.everything or footprint.read_ranges or footprint.write_ranges:
                self.sweeping -= 1
            self._living -= 1
            if not self._living:
                self._every = None

    def successors(self, instance: Instance) -> list[Vertex]:
        """The highest links within its dependencies of all chains that conflict; or instances themselves."""
        _, _, footprint, deps, _ = instance.node
        reads, writes, read_ranges, write_ranges, everything = footprint
        found: list[Vertex] = []
        if everything:
            if self._every is None:
                self._every = self._chains_of_all()
            self._below(self._every, instance, found)
            return found
        if self.sweeping:
            self._below(self._all, instance, found)
            self._compare(instance, found)
        if read_ranges or write_ranges:
            reads, writes = self._spread(reads, writes, read_ranges, write_ranges)
        keys = self._keys
        for key in writes:
            by_slot = keys.get(key)
            if by_slot is not None:
                for slot, chain in by_slot.items():
                    limit = deps[slot >> 1]
                    if chain.numbers[-1] <= limit:
                        # Written out, since this is nearly always all that `highest` does.
                        link = chain.links[-1]
                        target = link.instance
                        if link.is_tight and target is not None and target is not instance:
                            found.append(target)
                            continue
                    vertex = chain.highest(limit, instance)
                    if vertex is not None:
                        found.append(vertex)
        for key in reads:
            by_slot = keys.get(key)
            if by_slot is not None:
                for slot, chain in by_slot.items():
                    if not slot & _READERS:
                        vertex = chain.highest(deps[slot >> 1], instance)
                        if vertex is not None:
                            found.append(vertex)
        return found

    def _chain(self, key: bytes, slot: int) -> Chain:
        chains = self._keys.get(key)
        if chains is None:
            chains = self._keys[key] = {}
        chain = chains.get(slot)
        if chain is None:
            chain = chains[slot] = Chain(key, slot)
        return chain

    def _chains_of_all(self) -> list[Chain]:
        chains = [Chain() for _ in self._placed]
        for chain, placed in zip(chains, self._placed, strict=True):
            for number, instance in placed.items():
                chain.append(number, instance)
        return chains

    @staticmethod
    def _below(chains: list[Chain], instance: Instance, found: list[Vertex]) -> None:
        """The links of `chains`, one per rank, that `instance` depends on."""
        for chain, limit in zip(chains, instance.node.deps, strict=True):
            vertex = chain.highest(limit, instance)
            if vertex is not None:
                found.append(vertex)

    def _compare(self, instance: Instance, found: list[Vertex]) -> None:
        """Those that name ranges and conflict with `instance`, one by one."""
        _, _, footprint, deps, _ = instance.node
        for chain, limit in zip(self._ranged, deps, strict=True):
            for link in chain.links[: bisect_right(chain.numbers, limit)]:
                other = link.instance
                if other is not None and other is not instance and footprint.conflicts(other.node.footprint):
                    found.append(other)

    def _spread(
        self,
        reads: tuple[bytes, ...],
        writes: tuple[bytes, ...],
        read_ranges: tuple[KeyRange, ...],
        write_ranges: tuple[KeyRange, ...],
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """The keys read and written when ranges are taken for the keys in them that someone waits for."""
        more_read = [key for key in self._keys if any(key in r for r in read_ranges)]
        more_written = [key for key in self._keys if any(key in r for r in write_ranges)]
        return (*reads, *more_read), (*writes, *more_written)
