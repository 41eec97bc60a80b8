"""What the key-value machine keeps beside its dictionary: the order of the keys, and what changed last.

Both are made so that a put pays nothing for them, or next to nothing, because most machines see many puts
and few scans.  Neither is part of the replicated state: the order follows from the keys, and the changes
held are a window on the log that each node has of its own.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final, TypeAlias

__all__ = ["Entry", "HeldChanges", "KeyOrder"]

# --- the order of the keys ---------------------------------------------------------------------------

#: Keys in one block of the order; a block of twice as many is split.
_BLOCK: Final = 512
#: Below this share of new and deleted keys they are put in one by one, else everything is sorted again.
_SHARE: Final = 64


class KeyOrder:
    """The keys of a dictionary in order, brought up to date only when somebody asks.

    It rests on the order in which a Python dictionary keeps its keys, that of their insertion.  The keys
    that are sorted here and were not deleted since are the first of the dictionary, so the new ones are the
    last so many, however many puts there were: a put does not have to say anything.  A delete has to.

    The sorted keys are in blocks, so that a new one moves a few hundred others and not all.
    """

    __slots__ = ("_blocks", "_count", "_firsts", "_gone")

    def __init__(self) -> None:
        self._blocks: list[list[bytes]] = []
        # A key of its own for each block, in order: none of the block is lower, all before it are.
        self._firsts: list[bytes] = []
        self._count = 0
        self._gone: set[bytes] = set()  # keys deleted since; they may be back, at the dictionary's end

    def forget(self, key: bytes) -> None:
        """A key was deleted from the dictionary."""
        if self._count:
            self._gone.add(key)
            if len(self._gone) > self._count:
                # More is gone than was ever sorted: to sort anew costs less than to remember.
                self._keep([])

    def keys(self, data: dict[bytes, bytes], low: bytes, high: bytes | None) -> Iterator[bytes]:
        """The keys of `data` from `low` up to but not including `high`, in order.

        Nothing may be changed until the iterator is done with.
        """
        self._bring_up_to_date(data)
        blocks = self._blocks
        at = max(bisect_right(self._firsts, low) - 1, 0)
        for number in range(at, len(blocks)):
            block = blocks[number]
            begin = bisect_left(block, low) if number == at else 0
            if high is not None and block[-1] >= high:
                yield from block[begin : bisect_left(block, high)]
                return
            yield from block[begin:] if begin else block

    def _bring_up_to_date(self, data: dict[bytes, bytes]) -> None:
        gone, count = self._gone, self._count
        if not gone and count == len(data):
            return
        if (len(gone) + abs(len(data) - count)) * _SHARE > count:
            self._sort_again(data)
            return
        for key in gone:
            self._remove(key)
        gone.clear()
        for key in _last_keys(data, len(data) - self._count):
            self._insert(key)

    def _sort_again(self, data: dict[bytes, bytes]) -> None:
        gone = self._gone
        kept = list(chain.from_iterable(self._blocks))
        if gone:
            kept = [key for key in kept if key not in gone]
        # Two runs, of which the first is sorted: Python's sort merges them.
        fresh = _last_keys(data, len(data) - len(kept))
        fresh.sort()
        kept += fresh
        kept.sort()
        self._keep(kept)

    def _keep(self, keys: list[bytes]) -> None:
        self._blocks = [keys[at : at + _BLOCK] for at in range(0, len(keys), _BLOCK)]
        self._firsts = [block[0] for block in self._blocks]
        self._count = len(keys)
        self._gone = set()

    def _insert(self, key: bytes) -> None:
        at = max(bisect_right(self._firsts, key) - 1, 0)
        block = self._blocks[at]
        insort(block, key)
        self._firsts[at] = block[0]
        self._count += 1
        if len(block) >= 2 * _BLOCK:
            right = block[_BLOCK:]
            del block[_BLOCK:]
            self._blocks.insert(at + 1, right)
            self._firsts.insert(at + 1, right[0])

    def _remove(self, key: bytes) -> None:
        at = max(bisect_right(self._firsts, key) - 1, 0)
        block = self._blocks[at]
        place = bisect_left(block, key)
        if place == len(block) or block[place] != key:
            return  # it came and went since the last time
        del block[place]
        self._count -= 1
        if not block:
            del self._blocks[at], self._firsts[at]


def _last_keys(data: dict[bytes, bytes], count: int) -> list[bytes]:
    return list(islice(reversed(data), count))


# --- the last changes --------------------------------------------------------------------------------

#: What one revision changed: the request of a put, delete or cas, or several of a transaction.
Entry: TypeAlias = bytes | tuple[bytes, ...]


class HeldChanges:
    """The last changes, bounded by their number and their bytes.

    The requests themselves are held, as they came: nothing is built until somebody looks.  Each entry is one
    revision, so the last entry is the machine's revision and the others follow from it.

    Small requests are bounded by their number alone, half of the bytes being set aside for them; the large
    ones are weighed, against the other half.

    Args:
        most: the most revisions held.
        most_bytes: the most bytes of their requests.
    """

    __slots__ = ("_large", "_large_bytes", "_most_large_bytes", "entries", "small_bytes")

    def __init__(self, most: int, most_bytes: int) -> None:
        self.entries: deque[Entry] = deque(maxlen=most)
        #: Longer entries must be weighed.
        self.small_bytes: Final = most_bytes // 2 // most
        self._most_large_bytes: Final = most_bytes // 2
        self._large: deque[tuple[int, int]] = deque()  # revision and bytes of each large one
        self._large_bytes = 0

    def weigh(self, revision: int, size: int) -> None:
        """The last entry, of `revision`, has `size` bytes and is not small: the oldest go, if need be."""
        large, entries = self._large, self.entries
        large.append((revision, size))
        self._large_bytes += size
        first = revision - len(entries) + 1
        while self._large_bytes > self._most_large_bytes:
            # Its entry may be gone already, by the number of those after it.
            oldest, its_bytes = large.popleft()
            self._large_bytes -= its_bytes
            while first <= oldest:
                entries.popleft()
                first += 1

    def oldest(self, revision: int) -> int:
        """The lowest revision after which all changes are held, when `revision` is the machine's."""
        return revision - len(self.entries)

    def after(self, after: int, revision: int) -> Iterator[tuple[int, Entry]]:
        """Revisions above `after`, which are held, with what they changed."""
        skipped = after - self.oldest(revision)
        return zip(range(after + 1, revision + 1), islice(self.entries, skipped, None), strict=False)

    def clear(self) -> None:
        """Hold nothing."""
        self.entries.clear()
        self._large.clear()
        self._large_bytes = 0
