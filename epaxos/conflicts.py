"""What conflicts with what, as one number per member: where dependencies come from.

Dependencies are prefixes: `deps[r] = k` names every instance of the member of rank r up to number k. So of
all instances that conflict with a command only the highest number per rank is ever needed, and what is kept
is a maximum per key and rank, not a list of instances. Maxima rise in O(1), merge in any order, and need no
place that grows with the number of instances. What they can not do is take a number back; `ConflictIndex`
says why it need not.

How a footprint is looked up, for a member count n:

    point keys   a dictionary from key to a vector of 2n numbers: the highest instance of each rank that
                 touches the key (reads or writes it), then the highest that writes it. A writer conflicts
                 with the first half, a reader with the second. Keys that are named together share theirs, and
                 it is never changed: so hundreds of keys of a batch cost little more than one.
    ranges that  the instances with ranges, in a `SpanTree`: its value at a key, or its maximum over a range
    were added
    ranges that  the point keys, in order: a `PointTree` beside the dictionary. It is built when the first
    are looked   range is looked up, and forgotten when the floor is raised; whoever uses point keys only
    up           never pays for it.
    ALL          one vector of the instances with footprint ALL, and one of all instances

Instances are (rank, number), numbers from 1; 0 is "none". The caller passes footprints that
`Footprint.of` or `take_command` made, and vectors of one number per member.

Source: Moraru et al., SOSP 2013, section 4 (dependencies, interference); the compact dependencies are those
of its implementation; what a held no-op is for is EPaxos*'s, and the floor is the barrier's.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from operator import gt
from typing import Final, Self, TypeAlias

from epaxos.instances import Deps
from epaxos.keytree import PointTree, SpanTree, Vector
from paxos.command import Footprint

__all__ = ["ConflictIndex"]


# For one key, where merging is most of the work, it is written out for the usual numbers of members: a fifth
# to a third of what the general form takes.


def _merge_3(deps: Sequence[int], vector: Vector, always: Vector) -> Deps:
    a, b, c = deps
    x, y, z, _, _, _ = vector
    p, q, r = always
    if x > a:
        a = x
    if y > b:
        b = y
    if z > c:
        c = z
    return (a if a > p else p, b if b > q else q, c if c > r else r)


def _merge_5(deps: Sequence[int], vector: Vector, always: Vector) -> Deps:
    a, b, c, d, e = deps
    v, w, x, y, z, _, _, _, _, _ = vector
    p, q, r, s, t = always
    if v > a:
        a = v
    if w > b:
        b = w
    if x > c:
        c = x
    if y > d:
        d = y
    if z > e:
        e = z
    return (a if a > p else p, b if b > q else q, c if c > r else r, d if d > s else s, e if e > t else t)


def _merge_any(deps: Sequence[int], vector: Vector, always: Vector) -> Deps:
    # Of the vector the first half counts: it ends with the shortest.
    return tuple(
        [
            (a if a > c else c) if a > b else (b if b > c else c)
            for a, b, c in zip(deps, vector, always, strict=False)
        ]
    )


_Merge: TypeAlias = Callable[[Sequence[int], Vector, Vector], Deps]
_MERGES: Final[dict[int, _Merge]] = {3: _merge_3, 5: _merge_5}


class _Entry(Vector):
    """The vector of a key, or of many that share it: never changed, and told apart by which one it is.

    So what hundreds of keys have is found out by putting it into a set, which looks at no number.
    """

    __slots__ = ()

    __hash__ = object.__hash__  # type: ignore[assignment]


class _Maxima:
    """Maxima per key, range and rank: what the index is made of."""

    __slots__ = (
        "_all", "_always", "_floor", "_members", "_nothing", "_ordered", "_points", "_ranged", "_spans",
        "_top",
    )  # fmt: skip

    def __init__(self, members: int) -> None:
        self._members = members
        self._nothing = _Entry([0] * (2 * members))
        self._points: dict[bytes, _Entry] = {}
        self._spans: SpanTree | None = None
        self._ordered: PointTree | None = None
        # Whether one of the two trees is there, so that a point key has to look further than the dictionary.
        self._ranged = False
        # Of instances with footprint ALL; of all that touch anything.
        self._all = [0] * members
        self._top = [0] * members
        # At or below it nothing is kept; only `ConflictIndex` raises it.
        self._floor = [0] * members
        # What every footprint conflicts with that touches anything.
        self._always = [0] * members

    @property
    def entries(self) -> int:
        """How many keys and boundaries of ranges are held: what memory is in proportion to."""
        return len(self._points) + (0 if self._spans is None else len(self._spans))

    # --- looking up --------------------------------------------------------------------------------

    def _merged(self, footprint: Footprint, deps: Sequence[int]) -> Deps:
        """The maximum of `deps` and everything that conflicts with `footprint`, for one that is not ALL."""
        reads, writes, read_ranges, write_ranges, _ = footprint
        # Of every vector the first half counts: `map` ends with the shortest, which is `deps`.
        vectors = [self._always, *self._at(writes)]
        if reads:
            vectors += [vector[self._members :] for vector in self._at(reads)]
        if self._ranged or read_ranges or write_ranges:
            self._gather_ranged(footprint, vectors)
        return tuple(map(max, deps, *vectors))

    def _at(self, keys: Sequence[bytes]) -> "list[_Entry]":
        """The vectors of these keys, each once."""
        return [each for each in {*map(self._points.get, keys)} if each is not None]

    def _gather_ranged(self, footprint: Footprint, vectors: list[Vector]) -> None:
        """Add to `vectors` what conflicts with `footprint` because one of both is a range."""
        reads, writes, read_ranges, write_ranges, _ = footprint
        spans, members = self._spans, self._members
        if spans is not None:
            for key in writes:
                vectors += spans.at(key)
            for key in reads:
                vectors += [vector[members:] for vector in spans.at(key)]
        if read_ranges or write_ranges:
            ordered = self._ordered
            if ordered is None:
                self._ordered = ordered = PointTree(2 * members, sorted(self._points.items()))
                self._ranged = True
            for low, high in write_ranges:
                vectors += ordered.over(low, high)
                if spans is not None:
                    vectors += spans.over(low, high)
            for low, high in read_ranges:
                vectors += [vector[members:] for vector in ordered.over(low, high)]
                if spans is not None:
                    vectors += [vector[members:] for vector in spans.over(low, high)]

    # --- adding ------------------------------------------------------------------------------------

    def _add(self, rank: int, number: int, footprint: Footprint) -> None:
        """Raise everything that `footprint` names to `number`, unless that is at or below the floor."""
        if number <= self._floor[rank]:
            return
        reads, writes, read_ranges, write_ranges, everything = footprint
        if number > self._top[rank]:
            if not (reads or writes or read_ranges or write_ranges or everything):
                return
            self._top[rank] = number
        if everything:
            self._all[rank] = max(number, self._all[rank])
            self._always[rank] = max(number, self._always[rank])
            return
        if writes:
            self._raise(writes, (rank, self._members + rank), number)
        if reads:
            self._raise(reads, (rank,), number)
        if self._ranged or read_ranges or write_ranges:
            self._add_ranged(rank, number, footprint)

    def _raise(self, keys: Sequence[bytes], places: Sequence[int], number: int) -> None:
        """Raise the vectors of these keys to `number` at `places`; those that were shared stay so."""
        found = [*map(self._points.get, keys)]
        self._raise_found(keys, found, {*found}, places, number)

    def _raise_found(
        self,
        keys: Sequence[bytes],
        found: "Sequence[_Entry | None]",
        distinct: "Iterable[_Entry | None]",
        places: Sequence[int],
        number: int,
    ) -> None:
        """The same where the vectors of the keys are known, and which they are."""
        raised: dict[_Entry | None, _Entry] = {}
        higher = self._nothing
        for vector in distinct:
            # Written out, since where every key has a vector of its own this is most of the work.
            raised[vector] = higher = _Entry(self._nothing if vector is None else vector)
            for place in places:
                if number > higher[place]:
                    higher[place] = number
        if len(raised) == 1:
            points = self._points
            for key in keys:
                points[key] = higher
        else:
            self._points.update(zip(keys, map(raised.__getitem__, found), strict=True))

    def _add_ranged(self, rank: int, number: int, footprint: Footprint) -> None:
        """The part of `_add` that concerns the trees; the dictionary is raised already."""
        reads, writes, read_ranges, write_ranges, _ = footprint
        as_reader, as_writer = (rank,), (rank, self._members + rank)
        if self._ordered is not None:
            for key in writes:
                self._ordered.raised(key, self._points[key], as_writer, number)
            for key in reads:
                self._ordered.raised(key, self._points[key], as_reader, number)
        if read_ranges or write_ranges:
            if self._spans is None:
                self._spans = SpanTree(2 * self._members)
                self._ranged = True
            for low, high in write_ranges:
                self._spans.assign(low, high, as_writer, number)
            for low, high in read_ranges:
                self._spans.assign(low, high, as_reader, number)

    # --- forgetting, copying -----------------------------------------------------------------------

    def _drop(self, floor: Sequence[int]) -> None:
        """Forget every number at or below `floor`, and every entry of which nothing is left. O(entries)."""
        twice = [*floor, *floor]

        def rest(vector: Vector) -> Vector:
            return [number if number > low else 0 for number, low in zip(vector, twice, strict=True)]

        # Shared vectors stay shared. The first half tells whether anything is above: who writes also touches.
        # `map` ends with `floor`.
        rests = {
            vector: _Entry(rest(vector)) for vector in {*self._points.values()} if any(map(gt, vector, floor))
        }
        self._points = {key: rests[vector] for key, vector in self._points.items() if vector in rests}
        if self._spans is not None:
            self._spans = self._of_spans((key, rest(vector)) for key, vector in self._spans.segments())
        self._ordered = None
        self._ranged = self._spans is not None
        for rank, low in enumerate(floor):
            if self._top[rank] <= low:
                self._top[rank] = 0
            if self._all[rank] <= low:
                self._all[rank] = 0

    def _of_spans(self, segments: Iterable[tuple[bytes, Vector]]) -> SpanTree | None:
        """The fewest segments that say the same, as a tree; None when they are zero everywhere."""
        before = [0] * (2 * self._members)
        kept = []
        for key, vector in segments:
            if vector != before:
                kept.append((key, vector))
                before = vector
        return SpanTree(2 * self._members, kept) if kept else None

    def _copy_to(self, other: "_Maxima") -> None:
        other._points = dict(self._points)
        other._spans = None if self._spans is None else self._spans.clone()
        # Its vectors are the other dictionary's; built anew when a range is looked up.
        other._ordered = None
        other._ranged = other._spans is not None
        other._all = list(self._all)
        other._top = list(self._top)
        other._floor = list(self._floor)
        other._always = list(self._always)

    def _segments(self) -> Iterator[tuple[bytes, Vector]]:
        return iter(()) if self._spans is None else self._spans.segments()

    def _content(self) -> tuple[object, ...]:
        """Equal exactly when the same numbers are held, however they were added."""
        return (
            tuple(self._all),
            tuple((key, tuple(vector)) for key, vector in sorted(self._points.items())),
            tuple((key, tuple(vector)) for key, vector in self._segments()),
        )


class ConflictIndex(_Maxima):
    """Which instances that are known here, in any way, conflict with a footprint: one number per rank.

    An instance is in it from the moment its command is known here, by whatever message, and stays for good.
    One that is later committed as a no-op stays too: a maximum can not be taken back. That is safe: what
    is found may be more than what conflicts, never less. A dependency on an instance that does not conflict
    costs waiting for its commit, and at execution it is no edge.

    Memory is in proportion to the keys and range boundaries that were named above the floor.

    Args:
        members: how many ranks there are.
    """

    __slots__ = ("_held", "_merge", "_standing")

    def __init__(self, members: int) -> None:
        super().__init__(members)
        self._merge = _MERGES.get(members, _merge_any)
        # By rank: the numbers that are held, rising.
        self._held: list[list[int]] = [[] for _ in range(members)]
        # The floor and what is held: what every footprint conflicts with, also one that touches nothing.
        self._standing = [0] * members

    def conflicts(self, footprint: Footprint) -> Deps:
        """For each rank the highest number of an instance held here that conflicts with `footprint`.

        0 where there is none. The floor and what is held count for every footprint, even `NOTHING`.
        """
        return self._found(footprint, (0,) * self._members)

    def join(self, rank: int, number: int, footprint: Footprint, deps: Deps) -> Deps:
        """Add an instance, and give the maximum of `deps` and what conflicted with it *before*.

        The instance is no conflict of its own: its number is in the result only if `deps` has it, or if
        another instance of its rank with a higher one was here, which is what a prefix means. That holds for
        an instance that is new here. Of one that was joined, added or is held before, its own number comes
        back; a caller that knows an instance already has its dependencies, and does not join it once more.

        Args:
            rank: of its owner.
            number: of the instance, from 1.
            footprint: of its command.
            deps: what it is known to depend on, one number per rank.
        """
        reads, writes, read_ranges, write_ranges, _ = footprint
        # The commonest by far is one key. (One that is read and written is written.)
        key, only_reads = None, False
        if len(writes) == 1 and (not reads or reads == writes):
            key = writes[0]
        elif len(reads) == 1 and not writes:
            key, only_reads = reads[0], True
        if key is None or self._ranged or read_ranges or write_ranges:
            if (reads or writes) and not (self._ranged or read_ranges or write_ranges):
                return self._join_keys(rank, number, reads, writes, deps)
            result = self._found(footprint, deps)
            self._add(rank, number, footprint)
            return result
        members = self._members
        vector = self._points.get(key)
        if vector is None:
            result = self._merge(deps, self._nothing, self._always)
        elif only_reads:
            # The second half, and whatever makes it as long as the whole.
            result = self._merge(deps, vector[members:] * 2, self._always)
        else:
            result = self._merge(deps, vector, self._always)
        if number <= self._floor[rank]:
            return result
        self._points[key] = vector = _Entry(self._nothing if vector is None else vector)
        if number > vector[rank]:
            vector[rank] = number
        if not only_reads and number > vector[members + rank]:
            vector[members + rank] = number
        if number > self._top[rank]:
            self._top[rank] = number
        return result

    def _join_keys(
        self, rank: int, number: int, reads: Sequence[bytes], writes: Sequence[bytes], deps: Deps
    ) -> Deps:
        """`join` for what touches these keys: a batch, so what it writes is looked up once."""
        members = self._members
        found = [*map(self._points.get, writes)]
        # Those of one batch share their vector until another names some of them.
        distinct = {*found}
        vectors: list[Sequence[int]] = [each for each in distinct if each is not None]
        if reads:
            vectors += [vector[members:] for vector in self._at(reads)]
        if number > self._floor[rank]:
            if writes:
                self._raise_found(writes, found, distinct, (rank, members + rank), number)
            if reads:
                self._raise(reads, (rank,), number)
            if number > self._top[rank]:
                self._top[rank] = number
        return tuple(map(max, deps, self._always, *vectors))

    def add(self, rank: int, number: int, footprint: Footprint) -> None:
        """Add an instance. Adding one again changes nothing; one that touches nothing is not kept."""
        self._add(rank, number, footprint)

    def hold(self, rank: int, number: int) -> None:
        """An instance has accepted a no-op and is not committed: it conflicts with everything.

        That no-op may still lose against the command, and who forgot that command would break visibility.
        """
        held = self._held[rank]
        at = bisect_left(held, number)
        if number > self._floor[rank] and (at == len(held) or held[at] != number):
            insort(held, number)
            self._stand(rank)

    def release(self, rank: int, number: int) -> None:
        """An instance that may be held is committed, or has accepted its command: it is held no longer.

        If it has a command that may be executed, that was added before.
        """
        held = self._held[rank]
        at = bisect_left(held, number)
        if at < len(held) and held[at] == number:
            del held[at]
            self._stand(rank)

    def raise_floor(self, vector: Sequence[int]) -> None:
        """From now on every instance at or below `vector` conflicts with everything; the entries for it go.

        The floor never falls. In O(entries), so it is for barriers, which are few.
        """
        if len(vector) != self._members:
            raise ValueError(f"a floor of {len(vector)} numbers for {self._members} members")
        floor = list(map(max, self._floor, vector))
        if floor == self._floor:
            return
        self._floor = floor
        self._drop(floor)
        for rank, held in enumerate(self._held):
            del held[: bisect_right(held, floor[rank])]
            self._stand(rank)

    @property
    def floor(self) -> Deps:
        """The highest floor that was raised."""
        return tuple(self._floor)

    def clone(self) -> Self:
        """An independent copy, in O(entries)."""
        other = type(self)(self._members)
        self._copy_to(other)
        other._held = [list(held) for held in self._held]
        other._standing = list(self._standing)
        return other

    def fingerprint(self) -> Hashable:
        """Equal only for those that answer alike, now and later, however they came about. O(entries log)."""
        return (tuple(self._floor), tuple(map(tuple, self._held)), self._content())

    def _found(self, footprint: Footprint, deps: Sequence[int]) -> Deps:
        if footprint.everything:
            return tuple(map(max, deps, self._standing, self._top))
        if not any(footprint):
            return tuple(map(max, deps, self._standing))
        return self._merged(footprint, deps)

    def _stand(self, rank: int) -> None:
        """The floor or what is held has changed."""
        held = self._held[rank]
        self._standing[rank] = held[-1] if held else self._floor[rank]
        self._always[rank] = max(self._standing[rank], self._all[rank])
