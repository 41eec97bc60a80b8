"""What conflicts with what, as one number per member: for dependencies, and for what was executed.

Dependencies are prefixes: `deps[r] = k` names every instance of the member of rank r up to number k. So of
all instances that conflict with a command only the highest number per rank is ever needed, and what is kept
is a maximum per key and rank, not a list of instances. Maxima rise in O(1), merge in any order, and need no
place that grows with the number of instances. What they can not do is take a number back; `ConflictIndex`
says why it need not.

Two indexes are made of the same maxima:

- `ConflictIndex`: every instance known here in any way. It computes dependencies.
- `ExecutedIndex`: what was executed here. It outlives the instances themselves, which go when a barrier lets
  them, and travels in snapshots; so it is exact, and packs to the same bytes wherever the content is equal.

How a footprint is looked up, for a member count n:

    point keys   a dictionary from key to a vector of 2n numbers: the highest instance of each rank that
                 touches the key (reads or writes it), then the highest that writes it. A writer conflicts
                 with the first half, a reader with the second.
    ranges that  the instances with ranges, in a `SpanTree`: its value at a key, or its maximum over a range
    were added
    ranges that  the point keys, in order: a `PointTree` beside the dictionary. It is built when the first
    are looked   range is looked up, and forgotten when the floor is raised; whoever uses point keys only
    up           never pays for it.
    ALL          one vector of the instances with footprint ALL, and one of all instances

Instances are (rank, number), numbers from 1; 0 is "none". The caller passes footprints that
`Footprint.of` or `take_command` made, and vectors of one number per member.

Source: Moraru et al., SOSP 2013, section 4 (dependencies, interference); the compact dependencies are those
of its implementation; what a held no-op and the executed index are for is EPaxos*'s and the barrier's.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from operator import ge, gt
from struct import Struct
from typing import Final, Self, TypeAlias

from epaxos.instances import Deps
from epaxos.keytree import PointTree, SpanTree, Vector
from epaxos.messages import MAX_NUMBER
from paxos.command import MAX_KEY_BYTES, Footprint
from paxos.errors import WireError
from paxos.wire import expect_fields, take_int

__all__ = ["ConflictIndex", "ExecutedIndex"]

_KEY_HEAD: Final = Struct(">H")


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


class _Maxima:
    """Maxima per key, range and rank: what both indexes are made of."""

    __slots__ = ("_all", "_always", "_floor", "_members", "_ordered", "_points", "_ranged", "_spans", "_top")

    def __init__(self, members: int) -> None:
        self._members = members
        self._points: dict[bytes, Vector] = {}
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
        vectors = [self._always]
        members, get = self._members, self._points.get
        for key in writes:
            if (vector := get(key)) is not None:
                vectors.append(vector)
        for key in reads:
            if (vector := get(key)) is not None:
                vectors.append(vector[members:])
        if self._ranged or read_ranges or write_ranges:
            self._gather_ranged(footprint, vectors)
        return tuple(map(max, deps, *vectors))

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
        members, points = self._members, self._points
        written = members + rank
        for key in writes:
            vector = points.get(key)
            if vector is None:
                points[key] = vector = [0] * (2 * members)
            if number > vector[written]:
                vector[written] = number
                if number > vector[rank]:
                    vector[rank] = number
        for key in reads:
            vector = points.get(key)
            if vector is None:
                points[key] = vector = [0] * (2 * members)
            if number > vector[rank]:
                vector[rank] = number
        if self._ranged or read_ranges or write_ranges:
            self._add_ranged(rank, number, footprint)

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

        # The first half tells whether anything is above: who writes also touches. `map` ends with `floor`.
        self._points = {
            key: rest(vector) for key, vector in self._points.items() if any(map(gt, vector, floor))
        }
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
        other._points = {key: list(vector) for key, vector in self._points.items()}
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

    __slots__ = ("_held", "_merge", "_nothing", "_standing")

    def __init__(self, members: int) -> None:
        super().__init__(members)
        self._merge = _MERGES.get(members, _merge_any)
        self._nothing = [0] * (2 * members)
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
        if vector is None:
            self._points[key] = vector = [0] * (2 * members)
        if number > vector[rank]:
            vector[rank] = number
        if not only_reads and number > vector[members + rank]:
            vector[members + rank] = number
        if number > self._top[rank]:
            self._top[rank] = number
        return result

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

    def absorb(self, executed: "ExecutedIndex") -> None:
        """Add all that an index of executed instances holds: it came in a snapshot. In O(entries)."""
        points = self._points
        for key, vector in executed._points.items():
            mine = points.get(key)
            points[key] = list(vector) if mine is None else list(map(max, mine, vector))
        segments = list(executed._segments())
        if segments and self._spans is None:
            self._spans = SpanTree(2 * self._members)
        for at, (low, vector) in enumerate(segments):
            assert self._spans is not None, "made above"
            high = segments[at + 1][0] if at + 1 < len(segments) else None
            for place, number in enumerate(vector):
                if number:
                    self._spans.assign(low, high, (place,), number)
        for mine, theirs in ((self._all, executed._all), (self._top, executed._top)):
            mine[:] = map(max, mine, theirs)
        # The floor here may be above theirs. And the keys have to be put in order anew.
        self._drop(self._floor)
        for rank in range(self._members):
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


class ExecutedIndex(_Maxima):
    """Per key and rank the highest numbers of executed instances, no-ops left out. Exact.

    It says what a command that is not committed here has missed: an executed instance that conflicts with
    it, above its dependencies, and that does not depend on it, or it would be committed here. It stays when
    the instances themselves go, and is part of the snapshot.

    Args:
        members: how many ranks there are.
    """

    __slots__ = ()

    def conflicts(self, footprint: Footprint) -> Deps:
        """For each rank the highest number of an executed instance that conflicts with `footprint`, or 0."""
        if footprint.everything:
            return tuple(self._top)
        if not any(footprint):
            return (0,) * self._members
        return self._merged(footprint, (0,) * self._members)

    def above(self, footprint: Footprint, deps: Sequence[int]) -> tuple[int, int] | None:
        """An executed instance (rank, number) that conflicts with `footprint` and is above `deps`.

        Of the lowest rank that has one, the highest; None when there is none.
        """
        for rank, (number, known) in enumerate(zip(self.conflicts(footprint), deps, strict=True)):
            if number > known:
                return rank, number
        return None

    def add(self, rank: int, number: int, footprint: Footprint) -> None:
        """An instance was executed. One that touches nothing (a no-op) is not kept."""
        self._add(rank, number, footprint)

    def drop(self, vector: Sequence[int]) -> None:
        """Forget every number at or below `vector`, in O(entries).

        Only for one who lets the vector itself take their place, as `ConflictIndex.raise_floor` does.
        """
        self._drop(vector)
        self._always = list(self._all)

    def clear(self) -> None:
        """Forget everything."""
        type(self)(self._members)._copy_to(self)

    def clone(self) -> Self:
        """An independent copy, in O(entries)."""
        other = type(self)(self._members)
        self._copy_to(other)
        return other

    def fingerprint(self) -> Hashable:
        """Equal exactly for equal content. O(entries log)."""
        return self._content()

    # --- in a snapshot -----------------------------------------------------------------------------

    def pack(self) -> list[object]:
        """The content, as CBOR carries it: equal content is equal bytes, whatever was added in which order.

        A list of: the numbers of ALL by rank; the point keys, rising, each behind its length in 2 bytes, one
        after the other; their numbers, 2n of 8 bytes for each; and the same two for the segments of ranges.
        So it is few items of CBOR, however many keys there are; in bytes, 16n + 2 and the key for each.
        """
        return [
            list(self._all),
            *_pack_entries(sorted(self._points.items())),
            *_pack_entries(list(self._segments())),
        ]

    @classmethod
    def unpack(cls, value: object, members: int, where: str) -> Self:
        """Check and build an index from decoded CBOR, in memory in proportion to the input.

        Raises:
            WireError: not what `pack` makes of an index for so many members.
        """
        everything, *parts = expect_fields(value, 5, where)
        index = cls(members)
        for rank, number in enumerate(expect_fields(everything, members, f"{where}.everything")):
            index._all[rank] = take_int(number, f"{where}.everything", 0, MAX_NUMBER)
        points = _take_entries(parts[0], parts[1], members, f"{where}.points")
        segments = _take_entries(parts[2], parts[3], members, f"{where}.ranges")
        nothing = [0] * (2 * members)
        if any(vector == nothing for _, vector in points):
            raise WireError(f"{where}.points: a key without a number")
        # The last segment has no end, so it may be any; but each must say something else than the one before.
        if any(a == b for a, b in pairwise(chain([nothing], (vector for _, vector in segments)))):
            raise WireError(f"{where}.ranges: a segment like the one before it")
        index._points = dict(points)
        index._spans = index._of_spans(segments)
        index._ranged = index._spans is not None
        index._always = list(index._all)
        held = chain([index._all], (vector for _, vector in points), (vector for _, vector in segments))
        for vector in held:
            if any(map(gt, vector, index._top)):
                index._top = list(map(max, index._top, vector))
        return index


def _pack_entries(entries: Sequence[tuple[bytes, Vector]]) -> tuple[bytes, bytes]:
    keys = b"".join([part for key, _ in entries for part in (_KEY_HEAD.pack(len(key)), key)])
    numbers = [number for _, vector in entries for number in vector]
    return keys, Struct(f">{len(numbers)}Q").pack(*numbers)


def _take_entries(keys: object, numbers: object, members: int, where: str) -> list[tuple[bytes, Vector]]:
    if type(keys) is not bytes or type(numbers) is not bytes:
        raise WireError(f"{where}: expected keys and numbers as two byte strings")
    vectors = Struct(f">{2 * members}Q")
    if len(numbers) % vectors.size:
        raise WireError(f"{where}: {len(numbers)} bytes of numbers, {vectors.size} for each key")
    entries: list[tuple[bytes, Vector]] = []
    at, before = 0, None
    for vector in vectors.iter_unpack(numbers):
        key_at = at + _KEY_HEAD.size
        if key_at > len(keys):
            raise WireError(f"{where}: fewer keys than numbers")
        at = key_at + _KEY_HEAD.unpack_from(keys, at)[0]
        key = keys[key_at:at]
        if at > len(keys) or len(key) > MAX_KEY_BYTES:
            raise WireError(f"{where}: a key that is cut short, or above {MAX_KEY_BYTES} bytes")
        if before is not None and key <= before:
            raise WireError(f"{where}: keys are not strictly rising")
        # A writer also touches, so no number of the second half is above the first's. (`map` ends with it.)
        if max(vector) > MAX_NUMBER or not all(map(ge, vector, vector[members:])):
            raise WireError(f"{where}: numbers that no instances have")
        entries.append((key, list(vector)))
        before = key
    if at != len(keys):
        raise WireError(f"{where}: more keys than numbers")
    return entries
