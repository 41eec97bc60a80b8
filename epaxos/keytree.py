"""Ordered trees of keys with maxima: the highest instance that touches any key of a range, in O(log).

What is looked for is never a list of instances but one number per rank, a maximum. So a tree that keeps, at
each node, the maximum of everything below it answers for a range of any length by looking at few nodes:
those that lie inside the range as a whole, and the two paths along its ends.

Two trees share that:

- `PointTree` holds point keys. `over(low, high)` is about the keys within the range. The vectors are not its
  own: a dictionary of the caller holds the same list objects and raises them; the tree is told afterwards
  and raises its maxima.
- `SpanTree` holds ranges, as one function from keys to vectors that is constant between boundaries. Each
  item is a boundary; its vector holds up to the next one. `assign` raises the function over a range, `at`
  gives its value at one key, `over` its maximum over a range. A range that covers a node as a whole is
  written into a *mark* of the node, not into everything below it: so a scan of all keys costs O(log) though
  ten thousand boundaries lie inside it. Numbers only rise and the maximum does not care for order, so a mark
  never has to be pushed down; the value at a key is the maximum of the marks on the way to it and of the
  item's own vector.

A *vector* is a list of 2n numbers for n members, [touched by rank..., written by rank...]: the highest
instance that reads or writes, and the highest that writes. Who writes conflicts with the first half, who
reads with the second. A number raised is raised at some *places* of the vector: `(rank,)` for a reader,
`(rank, n + rank)` for a writer.

Both are B+-trees that only grow, plus building in bulk: what is dropped (at a floor, seldom) is dropped by
building a new tree of what is left. An item with the lowest key there is, b"", always stands at the left, so
every key has a predecessor.

Source: a segment tree whose marks stay where they are put (de Berg et al., *Computational Geometry*, section
10.3, where they are the canonical subsets), with a B+-tree's balance instead of a fixed skeleton.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Self, TypeAlias

__all__ = ["PointTree", "SpanTree", "Vector"]

#: The highest instance that touches (n numbers, by rank) and that writes (n more).
Vector: TypeAlias = list[int]

#: The most items or children of a node.
FANOUT: Final = 32
# A node built in bulk has room for a few more before it splits.
_FILL: Final = 24


class _Node:
    """A node, with the maxima of everything below and of its own mark.

    Attributes:
        keys: of a leaf, its items; of another, the lowest key of each child.
        vectors: of a leaf: the items'.
        children: of another; empty in a leaf.
        maxima: over all of `vectors` or the children, and `mark`.
        mark: raised over the whole span of this node, or None.
    """

    __slots__ = ("children", "keys", "mark", "maxima", "vectors")

    def __init__(
        self, keys: list[bytes], vectors: list[Vector], children: "list[_Node]", mark: Vector | None
    ) -> None:
        self.keys = keys
        self.vectors = vectors
        self.children = children
        self.mark = mark
        self.maxima = self._highest()

    def _highest(self) -> Vector:
        parts = self.vectors or [child.maxima for child in self.children]
        return list(map(max, self.mark or [0] * len(parts[0]), *parts))

    def split(self) -> "_Node":
        """Give the upper half of what is here to a new node, which stands to the right."""
        half = len(self.keys) // 2
        # What was raised over the whole was raised over both halves.
        mark = None if self.mark is None else list(self.mark)
        right = _Node(self.keys[half:], self.vectors[half:], self.children[half:], mark)
        del self.keys[half:], self.vectors[half:], self.children[half:]
        self.maxima = self._highest()
        return right


def _raise(vector: Vector, places: Iterable[int], number: int) -> None:
    for place in places:
        if number > vector[place]:
            vector[place] = number


#: A node that a range cuts: with the end of the range that lies inside it, or both. None cuts nothing off.
_Cut: TypeAlias = tuple[_Node, bytes | None, bytes | None]


def _whole(
    node: _Node, first: int, last: int, low: bytes | None, high: bytes | None, cut: list[_Cut]
) -> list[_Node]:
    """Of the children from `first` up to `last`, those inside the range; who is cut joins `cut`."""
    if low is not None and high is not None and last - first == 1:
        cut.append((node.children[first], low, high))
        return []
    if low is not None:
        cut.append((node.children[first], low, None))
        first += 1
    if high is not None:
        last -= 1
        cut.append((node.children[last], None, high))
    return node.children[first:last]


class _Tree:
    """What both trees have: growing, building in bulk, and maxima over a range."""

    __slots__ = ("_count", "_root")

    #: Whether an item stands for the keys up to the next item, or for its key alone.
    _spans = False

    def __init__(self, width: int, items: Iterable[tuple[bytes, Vector]] = ()) -> None:
        """A tree of `items`, in O(items).

        Args:
            width: numbers in a vector.
            items: keys, strictly rising, with their vectors, which are kept and not copied.
        """
        keys: list[bytes] = []
        vectors: list[Vector] = []
        for key, vector in items:
            keys.append(key)
            vectors.append(vector)
        if not keys or keys[0] != b"":
            keys.insert(0, b"")
            vectors.insert(0, [0] * width)
        self._count = len(keys)
        nodes = [
            _Node(keys[at : at + _FILL], vectors[at : at + _FILL], [], None)
            for at in range(0, len(keys), _FILL)
        ]
        while len(nodes) > 1:
            groups = [nodes[at : at + _FILL] for at in range(0, len(nodes), _FILL)]
            nodes = [_Node([child.keys[0] for child in group], [], group, None) for group in groups]
        self._root = nodes[0]

    def __len__(self) -> int:
        return self._count

    def _path(self, key: bytes) -> list[tuple[_Node, int]]:
        """From the root to the leaf in whose span `key` lies: each node, and its place in the one above."""
        node, at = self._root, 0
        path = [(node, at)]
        while node.children:
            at = bisect_right(node.keys, key) - 1
            node = node.children[at]
            path.append((node, at))
        return path

    def _insert(self, path: list[tuple[_Node, int]], key: bytes, vector: Vector) -> None:
        """Add an item to the leaf at the end of its path. Maxima along the path are the caller's to raise."""
        leaf = path[-1][0]
        place = bisect_right(leaf.keys, key)
        leaf.keys.insert(place, key)
        leaf.vectors.insert(place, vector)
        self._count += 1
        for level in range(len(path) - 1, -1, -1):
            node, at = path[level]
            if len(node.keys) <= FANOUT:
                return
            right = node.split()
            if level:
                above = path[level - 1][0]
                above.keys.insert(at + 1, right.keys[0])
                above.children.insert(at + 1, right)
            else:
                self._root = _Node([node.keys[0], right.keys[0]], [], [node, right], None)

    def over(self, low: bytes, high: bytes | None) -> list[Vector]:
        """Vectors whose maximum is that of all keys from `low` up to, not including, `high` (None: no end).

        The vectors are the tree's own, to be read at once. They are O(log) many.
        """
        found: list[Vector] = []
        todo: list[_Cut] = [] if high is not None and high <= low else [(self._root, low, high)]
        while todo:
            node, low_, high_ = todo.pop()
            if node.mark is not None:
                found.append(node.mark)
            first, last = self._within(node, low_, high_)
            if node.children:
                found += [child.maxima for child in _whole(node, first, last, low_, high_, todo)]
            else:
                found += node.vectors[first:last]
        return found

    def _within(self, node: _Node, low: bytes | None, high: bytes | None) -> tuple[int, int]:
        """The items or children of `node` that a range cuts: the first, and the one after the last."""
        keys = node.keys
        if low is None:
            first = 0
        elif node.children or self._spans:
            # The one before the first that begins above `low` reaches up to there.
            first = max(bisect_right(keys, low) - 1, 0)
        else:
            first = bisect_left(keys, low)
        return first, len(keys) if high is None else bisect_left(keys, high)


class PointTree(_Tree):
    """Point keys in order. See the head of this file."""

    __slots__ = ()

    def raised(self, key: bytes, vector: Vector, places: Sequence[int], number: int) -> None:
        """The vector of `key` was raised to `number` at `places`; a key that is new here comes in with it."""
        node = self._root
        while True:
            maxima = node.maxima
            for place in places:
                if number > maxima[place]:
                    maxima[place] = number
            if not node.children:
                break
            node = node.children[bisect_right(node.keys, key) - 1]
        at = bisect_right(node.keys, key) - 1
        if node.keys[at] != key:
            self._insert(self._path(key), key, vector)
        else:
            # It is here already, unless it is the key that stands at the left of everything.
            node.vectors[at] = vector


class SpanTree(_Tree):
    """A function from keys to vectors, raised range by range. See the head of this file."""

    __slots__ = ()

    _spans = True

    def at(self, key: bytes) -> list[Vector]:
        """Vectors whose maximum is the function's value at `key`; the tree's own, to be read at once."""
        found = []
        node = self._root
        while True:
            if node.mark is not None:
                found.append(node.mark)
            at = bisect_right(node.keys, key) - 1
            if not node.children:
                found.append(node.vectors[at])
                return found
            node = node.children[at]

    def assign(self, low: bytes, high: bytes | None, places: Sequence[int], number: int) -> None:
        """Raise the function to at least `number`, at `places`, from `low` up to `high` (None: no end).

        In O(log) steps, however many boundaries lie between. An empty range raises nothing.
        """
        if high is not None and high <= low:
            return
        self._cut(low)
        if high is not None:
            self._cut(high)
        todo: list[_Cut] = [(self._root, low, high)]
        while todo:
            node, low_, high_ = todo.pop()
            # Both ends are boundaries now, so something in every node that is met lies inside the range.
            _raise(node.maxima, places, number)
            first, last = self._within(node, low_, high_)
            for vector in node.vectors[first:last]:
                _raise(vector, places, number)
            if node.children:
                for child in _whole(node, first, last, low_, high_, todo):
                    _raise(child.maxima, places, number)
                    if child.mark is None:
                        child.mark = [0] * len(child.maxima)
                    _raise(child.mark, places, number)

    def _cut(self, key: bytes) -> None:
        """Make `key` a boundary; the function stays as it is."""
        path = self._path(key)
        leaf = path[-1][0]
        at = bisect_right(leaf.keys, key) - 1
        if leaf.keys[at] != key:
            # Both sides of the new boundary go on with what held there. The maxima know it.
            self._insert(path, key, list(leaf.vectors[at]))

    def segments(self) -> Iterator[tuple[bytes, Vector]]:
        """The function's boundaries, rising, and its value (a copy) from each: as few as there can be.

        Equal functions give equal segments, whatever was assigned in which order. Below the first one the
        function is zero.
        """
        width = len(self._root.maxima)
        before = [0] * width
        todo: list[tuple[_Node, Vector]] = [(self._root, before)]
        while todo:
            node, marks = todo.pop()
            if node.mark is not None:
                marks = list(map(max, marks, node.mark))
            todo.extend((child, marks) for child in reversed(node.children))
            for key, vector in zip(node.keys if node.vectors else (), node.vectors, strict=True):
                value = list(map(max, marks, vector))
                if value != before:
                    yield key, value
                    before = list(value)

    def clone(self) -> Self:
        """An independent copy, with no more boundaries than are needed."""
        return type(self)(len(self._root.maxima), self.segments())
