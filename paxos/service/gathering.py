"""Requests that wait to be ordered, and how they are put together into batches.

Where all commands have one order, a batch is simply what has come, up to a size.  Where only conflicting ones
have, what is put together matters: a batch conflicts with whatever any of its requests conflicts with, and
all of them wait for that.  Two policies (`LogSettings.batching`):

- *together*: all that has come goes into one batch. The fewest commands; but under load nearly every batch
  touches some key that others touch just now, and the rest of it waits along.
- *apart*: what touches a *hot* key, one that commands of other nodes wrote again and again lately, goes
  into batches of its own, a few for all hot keys, and the rest into one that nobody else has to do with.

Requests that touch a key in common stay in one batch, or in batches that follow each other, in the order in
which they came.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple, TypeAlias
from zlib import crc32

from paxos.command import NOTHING, Footprint
from paxos.service.batches import FILL_BYTES, Run, cut_run, run_bytes, run_piece
from paxos.service.footprints import OneWriteEach, union, weight
from paxos.service.turn import ClientKey

__all__ = ["MAX_BATCH_KEYS", "Batched", "ByConflict", "HotKeys", "InOrder"]

#: A batch is closed when it names so many keys and ranges; one request may name more.
MAX_BATCH_KEYS: Final = 4096
#: Batches of hot keys in one turn, at most.
_HOT_BATCHES: Final = 8
#: Commands of other nodes that are looked back on: so many, and up to as many again.
_LOOK_BACK: Final = 128
#: A key that so many of them wrote is hot.
_HOT_TIMES: Final = 2
#: The group of what touches no hot key; above all others.
_QUIET: Final = _HOT_BATCHES

#: Requests of one command, with who asked, and what they touch together.
Batched: TypeAlias = tuple[list[tuple[ClientKey, Run]], Footprint]


class InOrder:
    """For protocols that order everything.

    Attributes:
        requests: how many wait.
        size_bytes: how many bytes they have in a batch, with what they touch.
    """

    def __init__(self) -> None:
        self.requests: int = 0
        self.size_bytes: int = 0
        self._waiting: list[tuple[ClientKey, Run]] = []

    def add(self, client: ClientKey, run: Run) -> None:
        """Requests of a client have come."""
        self.requests += len(run.bodies)
        size = run_bytes(run)
        if size <= FILL_BYTES:
            self._waiting.append((client, run))
            self.size_bytes += size
            return
        for piece in cut_run(run):
            self._waiting.append((client, piece))
            self.size_bytes += run_bytes(piece)

    def take(self, room: int) -> list[Batched]:
        """What becomes of them now: so many batches at most."""
        batches: list[Batched] = []
        waiting, at = self._waiting, 0
        if len(waiting) == 1 and room > 0:
            self._waiting, self.requests, self.size_bytes = [], 0, 0
            return [(waiting, NOTHING)]
        while at < len(waiting) and len(batches) < room:
            first, size = at, 0
            while at < len(waiting):
                size += run_bytes(waiting[at][1])
                if size > FILL_BYTES and at > first:
                    break
                at += 1
            batches.append((waiting[first:at], NOTHING))
        del waiting[:at]
        self.requests = sum(len(run.bodies) for _, run in waiting)
        self.size_bytes = sum(run_bytes(run) for _, run in waiting)
        return batches


class _Piece(NamedTuple):
    """Consecutive requests of one client.

    Args:
        client: who asked.
        run: they.
        touched: what each of them touches.
        keys: how many keys and ranges that is, at most.
        size: bytes that all of it takes in a command, at most.
    """

    client: ClientKey
    run: Run
    touched: Sequence[Footprint]
    keys: int
    size: int


class ByConflict:
    """For protocols that order what conflicts. See the room's header; the attributes are those of `InOrder`.

    Args:
        hot: which keys are hot, to keep apart what touches them; None to put all together.
    """

    def __init__(self, hot: "HotKeys | None" = None) -> None:
        self.requests: int = 0
        self.size_bytes: int = 0
        self._hot = hot
        self._waiting: list[_Piece] = []

    def add(self, client: ClientKey, run: Run, touched: Sequence[Footprint]) -> None:
        """Requests of a client have come, with what each of them touches."""
        self.requests += len(run.bodies)
        for piece in _in_pieces(client, run, touched):
            self._waiting.append(piece)
            self.size_bytes += piece.size

    def take(self, room: int) -> list[Batched]:
        """What becomes of them now: so many batches at most."""
        batches: list[Batched] = []
        left: list[_Piece] = []
        for group in [self._waiting] if self._hot is None else _apart(self._waiting, self._hot):
            at = 0
            while at < len(group) and len(batches) < room:
                first, size, keys = at, 0, 0
                while at < len(group):
                    size += group[at].size
                    keys += group[at].keys
                    if (size > FILL_BYTES or keys > MAX_BATCH_KEYS) and at > first:
                        break
                    at += 1
                part = group[first:at]
                batches.append(([(piece.client, piece.run) for piece in part], _together(part)))
            left += group[at:]
        self._waiting = left
        self.requests = sum(len(piece.run.bodies) for piece in left)
        self.size_bytes = sum(piece.size for piece in left)
        return batches


def _together(part: Sequence[_Piece]) -> Footprint:
    """What the requests of these pieces touch."""
    if len(part) == 1:
        return union(part[0].touched)
    keys: list[bytes] = []
    for piece in part:
        if not isinstance(piece.touched, OneWriteEach):
            return union([one for piece in part for one in piece.touched])
        keys += piece.touched.keys
    return union(OneWriteEach(keys))


def _in_pieces(client: ClientKey, run: Run, touched: Sequence[Footprint]) -> Iterator[_Piece]:
    """The same requests, so that each piece fits into a batch if each request does."""
    first = 0
    for piece in cut_run(run):
        whole = _piece_of(client, piece, touched[first : first + len(piece.bodies)])
        if whole.keys <= MAX_BATCH_KEYS and whole.size <= FILL_BYTES:
            yield whole
        else:
            yield from _in_smaller_pieces(whole)
        first += len(piece.bodies)


def _piece_of(client: ClientKey, run: Run, touched: Sequence[Footprint]) -> _Piece:
    keys, size = weight(touched)
    return _Piece(client, run, touched, keys, run_bytes(run) + size)


def _in_smaller_pieces(whole: _Piece) -> Iterator[_Piece]:
    client, run, touched, _, _ = whole
    begin, keys, size = 0, 0, 0
    for index, one in enumerate(touched):
        count, its_bytes = weight((one,))
        its_bytes += run_bytes(run_piece(run, index, index + 1))
        if (keys + count > MAX_BATCH_KEYS or size + its_bytes > FILL_BYTES) and index > begin:
            yield _piece_of(client, run_piece(run, begin, index), touched[begin:index])
            begin, keys, size = index, 0, 0
        keys += count
        size += its_bytes
    yield _piece_of(client, run_piece(run, begin, len(touched)), touched[begin:])


# --- hot keys, and what touches them -------------------------------------------------------------------


class HotKeys:
    """The keys that commands of other nodes wrote again and again lately."""

    def __init__(self) -> None:
        self._times: Counter[bytes] = Counter()
        self._noted = 0
        self._before: frozenset[bytes] = frozenset()

    def note(self, footprint: Footprint) -> None:
        """A command of another node with this footprint was applied."""
        self._times.update(footprint.writes)
        self._noted += 1
        if self._noted == _LOOK_BACK:
            self._before = frozenset(key for key, times in self._times.items() if times >= _HOT_TIMES)
            self._times.clear()
            self._noted = 0

    def __contains__(self, key: bytes) -> bool:
        return self._times[key] >= _HOT_TIMES or key in self._before

    def group(self, keys: Iterable[bytes]) -> int:
        """Into which group goes what touches these keys; one for all where none of them is hot.

        The same hot keys go together at every node, so that what meets there meets only there.
        """
        return min((crc32(key) % _HOT_BATCHES for key in keys if key in self), default=_QUIET)


def _apart(pieces: Sequence[_Piece], hot: HotKeys) -> Iterator[list[_Piece]]:
    """The pieces in groups, of which no two touch a key in common, unless one is wholly before the other."""
    rest: list[_Piece] = []
    for piece in pieces:
        if not any(map(_is_wide, piece.touched)):
            rest.append(piece)
            continue
        # Whatever touches ranges is ordered with what is around it, and waits for much: it goes alone.
        for wide, part in _in_parts(piece, list(map(_is_wide, piece.touched))):
            if wide:
                yield from _by_group(rest, hot)
                rest = []
                yield [part]
            else:
                rest.append(part)
    yield from _by_group(rest, hot)


def _by_group(pieces: Sequence[_Piece], hot: HotKeys) -> Iterator[list[_Piece]]:
    """Pieces that touch no ranges: those that have nothing to do with a hot key first."""
    heads: dict[bytes, bytes] = {}

    def head(key: bytes) -> bytes:
        while key in heads:
            above = heads[key]
            # The way is shorter for whoever comes next.
            heads[key] = heads.get(above, above)
            key = above
        return key

    groups: dict[bytes, int] = {}
    for piece in pieces:
        for one in piece.touched:
            keys = (*one.reads, *one.writes)
            first = head(keys[0])
            for key in keys[1:]:
                other = head(key)
                if other != first:
                    heads[other] = first
                    groups[first] = min(groups.get(first, _QUIET), groups.pop(other, _QUIET))
            group = hot.group(keys)
            if group != _QUIET:
                groups[first] = min(groups.get(first, _QUIET), group)
    found: dict[int, list[_Piece]] = {}
    for piece in pieces:
        numbers = [groups.get(head((*one.reads, *one.writes)[0]), _QUIET) for one in piece.touched]
        for number, part in _in_parts(piece, numbers):
            found.setdefault(number, []).append(part)
    for number in sorted(found, key=lambda each: (each != _QUIET, each)):
        yield found[number]


def _in_parts(piece: _Piece, labels: Sequence[int]) -> Iterator[tuple[int, _Piece]]:
    """The piece, cut where the label of its requests changes, with their label."""
    if len(set(labels)) == 1:
        yield labels[0], piece
        return
    first = 0
    for label, members in groupby(labels):
        end = first + len(list(members))
        yield label, _piece_of(piece.client, run_piece(piece.run, first, end), piece.touched[first:end])
        first = end


def _is_wide(one: Footprint) -> bool:
    return bool(one.read_ranges or one.write_ranges or one.everything)
