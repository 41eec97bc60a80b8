"""Snapshots of keys and values: a stream that is made and read piece by piece.

    "paxos-kv" | version, 1 byte | revision, 8 | count of keys, 8 | CRC-32 of all that, 4
    one zero byte for each begun `_STEP` keys
    groups: length of the body, 4 | its CRC-32, 4 | body: CBOR [key, value, key, value, ...]

Equal states have equal snapshots, however they came about: the keys are in order, and which of them make a
group follows from them and their values.  How the stream is cut into chunks means nothing.

Whoever takes a snapshot goes on with other work between two chunks, so no chunk may take long: each is about
half a millisecond's work, and one that has nothing to show yet is empty.  To sort a million keys takes half a
second; they are sorted a step at a time, and each step gives its zero byte.  Then ranges are merged out of
the sorted steps: where to cut the ranges is told by a sample of the keys, and the steps are found in each
range by bisection.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Final
from zlib import crc32

from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES
from paxos.errors import RecordError, WireError
from paxos.wire import dumps, loads_strict

__all__ = ["CHUNK_BYTES", "read_snapshot", "snapshot_stream"]

#: The longest chunk.
CHUNK_BYTES: Final = 64 << 10

_MAGIC: Final = b"paxos-kv"
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">8sBQQ")
_CRC: Final = struct.Struct(">I")
_GROUP: Final = struct.Struct(">II")

#: Keys of a sorted step, and keys sorted between two chunks.
_STEP: Final = 8192
_RUN: Final = 2048
#: One key in so many is looked at to find where to cut, and one in so many of those is a cut.
_SAMPLE: Final = 128
_SAMPLES_OF_PIECE: Final = 16
#: Keys in a group, and bytes of a group, above which it is halved; a single pair can be longer.
_GROUP_KEYS: Final = 512
_GROUP_BYTES: Final = 128 << 10
_MAX_BODY: Final = MAX_COMMAND_BYTES + MAX_KEY_BYTES + _GROUP_BYTES
_MAX_COUNT: Final = 1 << 48
_MAX_REVISION: Final = (1 << 63) - 1


def snapshot_stream(data: dict[bytes, bytes], revision: int) -> Iterator[bytes]:
    """The chunks, none above `CHUNK_BYTES`. `data` is used up."""
    head = _HEAD.pack(_MAGIC, _VERSION, revision, len(data))
    yield head + _CRC.pack(crc32(head))
    steps: list[list[bytes]] = []
    keys = iter(data)
    while run := list(islice(keys, _RUN)):
        run.sort()
        if not steps or len(steps[-1]) == _STEP:
            steps.append(run)
            yield b"\0"
            continue
        # Python's sort finds the runs that there are, and only merges them.
        steps[-1] += run
        steps[-1].sort()
        yield b""
    for group in _groups(data, _merged(steps)):
        if len(group) <= CHUNK_BYTES:
            yield group
        else:
            yield from (group[at : at + CHUNK_BYTES] for at in range(0, len(group), CHUNK_BYTES))


def _merged(steps: list[list[bytes]]) -> Iterator[list[bytes]]:
    """The keys of the sorted steps in order, in lists of about two thousand."""
    sample = sorted(key for step in steps for key in step[::_SAMPLE])
    cuts: list[bytes | None] = [*sample[_SAMPLES_OF_PIECE::_SAMPLES_OF_PIECE], None]
    at = [0] * len(steps)
    for cut in cuts:
        piece: list[bytes] = []
        for number, step in enumerate(steps):
            begin = at[number]
            end = at[number] = len(step) if cut is None else bisect_left(step, cut, begin)
            piece += step[begin:end]
        piece.sort()
        yield piece


def _groups(data: dict[bytes, bytes], pieces: Iterable[list[bytes]]) -> Iterator[bytes]:
    """Groups as they are in the stream, cut where the pieces' cuts do not matter; empty ones between."""
    keys: list[bytes] = []
    for piece in pieces:
        keys += piece
        if len(piece) >= _RUN:
            yield b""  # to put that many in order has taken its time
        whole = len(keys) - len(keys) % _GROUP_KEYS
        for at in range(0, whole, _GROUP_KEYS):
            yield from _encoded(data, keys[at : at + _GROUP_KEYS])
        del keys[:whole]
    if keys:
        yield from _encoded(data, keys)


def _encoded(data: dict[bytes, bytes], keys: list[bytes]) -> Iterator[bytes]:
    flat = keys * 2
    flat[::2] = keys
    # Taken out, so that what nobody else has is freed bit by bit and not all at the end.
    flat[1::2] = map(data.pop, keys)
    yield from _halved(flat)


def _halved(flat: list[bytes]) -> Iterator[bytes]:
    count = len(flat) // 2
    if count > 1 and sum(map(len, flat)) > _GROUP_BYTES:
        yield from _halved(flat[: count // 2 * 2])
        yield from _halved(flat[count // 2 * 2 :])
        return
    body = dumps(flat)
    yield _GROUP.pack(len(body), crc32(body)) + body


class _Stream:
    """Chunks as one stream to take from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._at = 0

    def take(self, count: int, what: str) -> bytes:
        end = self._at + count
        if end > len(self._held):
            self._gather(count, what)
            end = count
        taken = self._held[self._at : end]
        self._at = end
        return taken

    def _gather(self, count: int, what: str) -> None:
        parts = [self._held[self._at :]]
        size = len(parts[0])
        while size < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise RecordError(f"a snapshot of keys and values ends inside its {what}")
            parts.append(chunk)
            size += len(chunk)
        self._held, self._at = b"".join(parts), 0

    def ends(self) -> bool:
        return self._at == len(self._held) and not any(self._chunks)


def read_snapshot(chunks: Iterable[bytes]) -> tuple[dict[bytes, bytes], int]:
    """The keys and values of a snapshot, in order of keys, and its revision.

    Raises:
        RecordError: not a snapshot of keys and values, of another version, damaged, cut short, or followed
            by more.
    """
    stream = _Stream(chunks)
    head = stream.take(_HEAD.size, "head")
    (crc,) = _CRC.unpack(stream.take(_CRC.size, "head"))
    magic, version, revision, count = _HEAD.unpack(head)
    if magic != _MAGIC:
        raise RecordError("not a snapshot of keys and values: it begins otherwise")
    if version != _VERSION:
        raise RecordError(
            f"a snapshot of keys and values of version {version}; this one reads {_VERSION}: "
            "restore it with the release that wrote it"
        )
    if crc != crc32(head) or count > _MAX_COUNT or revision > _MAX_REVISION:
        raise RecordError("a snapshot of keys and values is damaged in its head")
    steps = -(-count // _STEP)
    while steps:
        some = min(steps, CHUNK_BYTES)
        if stream.take(some, "head").strip(b"\0"):
            raise RecordError("a snapshot of keys and values is damaged behind its head")
        steps -= some
    data: dict[bytes, bytes] = {}
    last = b""
    while len(data) < count:
        last = _read_group(stream, data, last)
    if len(data) > count:
        raise RecordError(f"a snapshot of keys and values holds more than the {count} keys it says")
    if not stream.ends():
        raise RecordError(f"a snapshot of keys and values goes on after its {count} keys")
    return data, revision


def _read_group(stream: _Stream, data: dict[bytes, bytes], last: bytes) -> bytes:
    """Enter one group into `data`; the keys must be above `last`. The last key of it."""
    where = f"a snapshot of keys and values, after {len(data)} keys"
    length, crc = _GROUP.unpack(stream.take(_GROUP.size, "keys"))
    if not 0 < length <= _MAX_BODY:
        raise RecordError(f"{where}: a group of {length} bytes")
    body = stream.take(length, "keys")
    if crc32(body) != crc:
        raise RecordError(f"{where}: the checksum is wrong")
    try:
        flat = loads_strict(body)
    except WireError as error:
        raise RecordError(f"{where}: {error}") from error
    # Each check is one call for all: this runs for every key of a node that starts.
    if type(flat) is not list or not flat or len(flat) % 2 or set(map(type, flat)) != {bytes}:
        raise RecordError(f"{where}: expected keys and values")
    keys = flat[::2]
    longest = max(map(len, keys))
    if not last < keys[0] or longest > MAX_KEY_BYTES or any(one >= other for one, other in pairwise(keys)):
        raise RecordError(f"{where}: keys that are too long or not in order")
    data.update(zip(keys, flat[1::2], strict=True))
    return bytes(keys[-1])
