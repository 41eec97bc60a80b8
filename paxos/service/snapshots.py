"""Snapshots: the whole replicated state at a marker, in pieces, while the log goes on.

A snapshot holds what a node needs to go on from a place in the order without what came before: the client
table, what the protocol adds, and the state machine.  It is made step by step (the machine's cut is made
at once, the rest comes lazily), goes to disk piece by piece, and counts only when its last record is
there, which names them all and their digest.  One that was not finished is made anew.

A step is a few chunks of the machine, less than a piece: a node pauses after each, and a client waits for
one at most.

The same pieces go to a node that lags behind.  That node asks for them, a few at a time, so that it is
never sent more than it takes; it keeps them on disk, so that a broken connection or a restart costs
nothing that it has; and when it has all and the digest fits, they replace its own snapshot in one write.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final, NamedTuple, TypeAlias

from paxos.contract import Mark, Records, StateMachine
from paxos.errors import NodeStopped, RecordError, WireError
from paxos.service.log_messages import CHUNK_BYTES, MAX_CHUNKS
from paxos.service.sessions import Sessions
from paxos.wire import (
    decode_record,
    dumps,
    encode_record,
    expect_fields,
    loads_strict,
    take_bytes,
    take_int,
)

__all__ = [
    "SNAPSHOT_PREFIX",
    "Content",
    "Incoming",
    "Snapshot",
    "SnapshotWriter",
    "Writes",
    "deletions",
    "read_content",
    "read_snapshots",
    "snapshot_pieces",
    "snapshot_records",
    "snapshot_steps",
]

#: Keys of snapshot records, apart from the node's own and every replica's.
SNAPSHOT_PREFIX: Final = b"s"
_META: Final = SNAPSHOT_PREFIX + b"M"
_INCOMING: Final = SNAPSHOT_PREFIX + b"I"
_CHUNK: Final = SNAPSHOT_PREFIX + b"C"

_KIND_META: Final = 240
_KIND_CHUNK: Final = 241
_KIND_INCOMING: Final = 242
_VERSION: Final = 1
#: Of what is in the pieces.
_FORMAT: Final = 1
_MAX_NUMBER: Final = (1 << 62) - 1
_DIGEST_BYTES: Final = 32
_MAX_PART_BYTES: Final = CHUNK_BYTES * 1024
#: A step is of about so many bytes, and an empty chunk, of work that shows nothing, stands for so many. To
#: wake the node costs as much as some hundred keys, so steps must not be too small either.
_STEP_BYTES: Final = 1 << 15
_EMPTY_BYTES: Final = 1 << 14

#: Durable records `(key, value)`; None deletes.
Writes: TypeAlias = list[tuple[bytes, bytes | None]]


def chunk_key(number: int, index: int) -> bytes:
    """Where piece `index` of snapshot `number` is kept."""
    return _CHUNK + number.to_bytes(8, "big") + index.to_bytes(4, "big")


class Snapshot(NamedTuple):
    """A complete snapshot.

    Args:
        number: of the marker at which it was made.
        digest: of all pieces but the first, which is the header.
        chunks: the pieces.
    """

    number: int
    digest: bytes
    chunks: list[bytes]


class Content(NamedTuple):
    """What is in a snapshot.

    Args:
        number: of the marker at which it was made.
        mark: its place in the order.
        part: what the protocol adds.
        sessions: the client table, as `Sessions.unpack` takes it.
        machine: the state machine's own snapshot.
    """

    number: int
    mark: Mark
    part: bytes
    sessions: list[object]
    machine: bytes


class _Digest:
    """The digest of pieces, of which each is taken in when it is there.

    The first, which is the header, does not count: what a protocol adds may be the node's own, such as the
    ballot it has promised. So equal digests are equal states, and nodes whose digests differ hold different
    ones. Where a header travels and is kept it has a checksum of its own.
    """

    __slots__ = ("_begun", "_whole")

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._begun = False

    def add(self, chunk: bytes) -> None:
        if self._begun:
            self._whole.update(len(chunk).to_bytes(8, "big"))
            self._whole.update(chunk)
        self._begun = True

    def value(self) -> bytes:
        return self._whole.digest()


def _digest(chunks: Iterable[bytes]) -> bytes:
    whole = _Digest()
    for chunk in chunks:
        whole.add(chunk)
    return whole.value()


def _cut(stream: Iterable[bytes]) -> Iterator[bytes | None]:
    """A stream of bytes in pieces of the one size; None after a step that completes no piece."""
    pending = bytearray()
    worked = 0
    for data in stream:
        pending += data
        worked += len(data) or _EMPTY_BYTES
        if len(pending) >= CHUNK_BYTES:
            worked = 0
            while len(pending) >= CHUNK_BYTES:
                yield bytes(pending[:CHUNK_BYTES])
                del pending[:CHUNK_BYTES]
        elif worked >= _STEP_BYTES:
            worked = 0
            yield None
    if pending:
        yield bytes(pending)


def _machine_chunks(machine: StateMachine) -> Iterator[bytes | None]:
    """The state of the machine as it is now, as `_cut` gives it; later changes do not show.

    Raises:
        NodeStopped: the machine does not give it.
    """
    chunks = _told_by(machine)
    # A generator does nothing before it is asked for its first piece: that is when it looks at the state.
    first = next(chunks, b"")
    return _cut(chain([first], chunks))


def _told_by(machine: StateMachine) -> Iterator[bytes]:
    lazily = getattr(machine, "snapshot_chunks", None)
    try:
        for chunk in [machine.snapshot()] if lazily is None else lazily():
            if type(chunk) is not bytes:
                raise TypeError(f"it gave {type(chunk).__name__}, not bytes")
            yield chunk
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise NodeStopped(
            f"the state machine can not give its state for a snapshot: {type(error).__name__}: "
            f"{error!s:.200}; mend the machine, and start every node with it"
        ) from error


def _framed(items: Iterable[object]) -> Iterator[bytes]:
    """Items as a stream in which each has its length in front."""
    for item in items:
        data = dumps(item)
        yield len(data).to_bytes(4, "big") + data


def snapshot_steps(
    mark: Mark, part: bytes, sessions: Sessions, machine: StateMachine
) -> Iterator[bytes | None]:
    """The pieces of a snapshot of the state as it is now, and None after a step that completes none.

    Later changes do not show.

    Args:
        mark: the place in the order, at which the state is.
        part: what the protocol adds.
        sessions: the client table.
        machine: the state machine.
    """
    table = list(sessions.pack())
    header = [_FORMAT, sessions.markers, mark, part, len(table)]
    return _pieces(header, table, _machine_chunks(machine))


def snapshot_pieces(mark: Mark, part: bytes, sessions: Sessions, machine: StateMachine) -> Iterator[bytes]:
    """`snapshot_steps` for who does not pause between them: the pieces alone."""
    return (piece for piece in snapshot_steps(mark, part, sessions, machine) if piece is not None)


def _pieces(
    header: object, table: Iterable[object], machine: Iterator[bytes | None]
) -> Iterator[bytes | None]:
    yield from _cut(_framed([header]))
    yield from _cut(_framed(table))
    # Apart from the table, so that its pieces begin where a piece begins.
    yield b""
    yield from machine


class SnapshotWriter:
    """Makes a snapshot, step by step.

    Args:
        mark: the place in the order, at which the state is now.
        part: what the protocol adds.
        sessions: the client table, as it is now.
        machine: the state machine, as it is now.
    """

    def __init__(self, mark: Mark, part: bytes, sessions: Sessions, machine: StateMachine) -> None:
        self.number: int = sessions.markers
        self.mark: Mark = mark
        self._chunks: list[bytes] = []
        self._digest = _Digest()
        self._source = snapshot_steps(mark, part, sessions, machine)

    def step(self) -> tuple[Writes, Snapshot | None]:
        """The piece that is complete now, if one is, as a record to write; at the end the whole snapshot."""
        for chunk in self._source:
            if chunk is None:
                return [], None
            self._chunks.append(chunk)
            self._digest.add(chunk)
            return [_chunk_record(self.number, len(self._chunks) - 1, chunk)], None
        snapshot = Snapshot(self.number, self._digest.value(), self._chunks)
        return [_meta_record(snapshot)], snapshot

    def discard(self) -> Writes:
        """What removes the pieces that it has made."""
        return deletions(self.number, len(self._chunks))


def read_content(snapshot: Snapshot) -> Content:
    """What is in a snapshot.

    Raises:
        WireError: it is nothing that this release makes.
    """
    chunks = snapshot.chunks
    border = chunks.index(b"") if b"" in chunks else len(chunks)
    items = _items(b"".join(chunks[:border]))
    header = next(items, None)
    if type(header) is not list or not header or header[0] != _FORMAT:
        raise WireError("snapshot: made by another release")
    _, number, mark, part, count = expect_fields(header, 5, "snapshot")
    sessions = list(items)
    if len(sessions) != count:
        raise WireError(f"snapshot: it has {len(sessions)} clients, and says {count}")
    number = take_int(number, "snapshot.number", 0, _MAX_NUMBER)
    if number != snapshot.number:
        raise WireError(f"snapshot {snapshot.number}: it says that it is {number}")
    part = take_bytes(part, "snapshot.part", _MAX_PART_BYTES)
    return Content(number, _hashable(mark), part, sessions, b"".join(chunks[border + 1 :]))


def _items(data: bytes) -> Iterator[object]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        item = data[at + 4 : at + 4 + size]
        if len(item) != size or not size:
            raise WireError("snapshot: cut short")
        yield loads_strict(item)
        at += 4 + size


def _hashable(value: object) -> Mark:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    if value is None or type(value) in (int, bytes, str):
        return value
    raise WireError(f"snapshot.mark: is a {type(value).__name__}")


# --- on disk ---------------------------------------------------------------------------------------


def _chunk_record(number: int, index: int, data: bytes) -> tuple[bytes, bytes]:
    return chunk_key(number, index), encode_record(_KIND_CHUNK, _VERSION, [data])


def _meta_record(snapshot: Snapshot) -> tuple[bytes, bytes]:
    fields = [snapshot.number, len(snapshot.chunks), snapshot.digest]
    return _META, encode_record(_KIND_META, _VERSION, fields)


def snapshot_records(number: int, pieces: Iterable[bytes]) -> Records:
    """The records of a whole snapshot with these pieces, for a store that has none.

    Args:
        number: of the marker at which it was made, as the pieces have it.
        pieces: as `snapshot_pieces` gives them.
    """
    chunks = list(pieces)
    records = dict(_chunk_record(number, index, chunk) for index, chunk in enumerate(chunks))
    key, value = _meta_record(Snapshot(number, _digest(chunks), chunks))
    return {**records, key: value}


def deletions(number: int, chunks: int) -> Writes:
    """What removes the pieces of a snapshot."""
    return [(chunk_key(number, index), None) for index in range(chunks)]


def read_snapshots(records: Records) -> tuple[Snapshot | None, "Incoming | None", Writes]:
    """The complete snapshot in a store, the one that was on its way, and what removes what is of neither.

    Raises:
        RecordError: a record is damaged, or a piece is missing.
    """
    whole = _described(records, _META, _KIND_META)
    coming = _described(records, _INCOMING, _KIND_INCOMING)
    snapshot = None
    if whole is not None:
        number, count, digest = whole
        found = [_read_chunk(records, number, index) for index in range(count)]
        chunks = [chunk for chunk in found if chunk is not None]
        if len(chunks) != count or _digest(chunks) != digest:
            raise RecordError(
                f"snapshot {number}: {count - len(chunks)} of its {count} pieces are missing, or one is not "
                "what was written; put the newest complete copy of the store back"
            )
        snapshot = Snapshot(number, digest, chunks)
    incoming = None
    if coming is not None and (whole is None or coming[0] > whole[0]):
        incoming = Incoming(*coming)
        for index in range(coming[1]):
            chunk = _read_chunk(records, coming[0], index)
            if chunk is not None:
                incoming.chunks[index] = chunk
    mine = {each[0] for each in (whole, coming if incoming else None) if each is not None}
    stale: Writes = [(_INCOMING, None)] if coming is not None and incoming is None else []
    stale += [
        (key, None)
        for key in records
        if key.startswith(_CHUNK) and int.from_bytes(key[len(_CHUNK) : len(_CHUNK) + 8], "big") not in mine
    ]
    return snapshot, incoming, stale


def _described(records: Records, key: bytes, kind: int) -> tuple[int, int, bytes] | None:
    data = records.get(key)
    if data is None:
        return None
    try:
        number, count, digest = expect_fields(decode_record(data, kind, (_VERSION,), key), 3, "snapshot")
        return (
            take_int(number, "snapshot.number", 0, _MAX_NUMBER),
            take_int(count, "snapshot.chunks", 1, MAX_CHUNKS),
            take_bytes(digest, "snapshot.digest", _DIGEST_BYTES),
        )
    except WireError as error:
        raise RecordError(f"record {key!r}: {error}") from error


def _read_chunk(records: Records, number: int, index: int) -> bytes | None:
    key = chunk_key(number, index)
    data = records.get(key)
    if data is None:
        return None
    try:
        (chunk,) = expect_fields(decode_record(data, _KIND_CHUNK, (_VERSION,), key), 1, "piece")
        return take_bytes(chunk, "piece", CHUNK_BYTES)
    except WireError as error:
        raise RecordError(f"record {key!r:.60}: {error}") from error


class Incoming:
    """A snapshot on its way here.

    Args:
        number: of the marker at which it was made.
        count: how many pieces it has.
        digest: of all pieces.
    """

    def __init__(self, number: int, count: int, digest: bytes) -> None:
        self.number: int = number
        self.count: int = count
        self.digest: bytes = digest
        #: The pieces that are here, by index.
        self.chunks: dict[int, bytes] = {}
        # All before it are here.
        self._first_missing = 0

    def is_offered(self, number: int, count: int, digest: bytes) -> bool:
        """Whether it is this one, so that whoever offers it can go on with it."""
        return (self.number, self.count, self.digest) == (number, count, digest)

    def begin(self) -> Writes:
        """What notes that it is on its way."""
        fields = [self.number, self.count, self.digest]
        return [(_INCOMING, encode_record(_KIND_INCOMING, _VERSION, fields))]

    def take(self, index: int, data: bytes) -> Writes:
        """A piece has come; what keeps it."""
        if not 0 <= index < self.count or index in self.chunks:
            return []
        self.chunks[index] = data
        return [_chunk_record(self.number, index, data)]

    def missing(self, most: int) -> list[int]:
        """The first pieces that are not here yet."""
        while self._first_missing in self.chunks:
            self._first_missing += 1
        missing = (index for index in range(self._first_missing, self.count) if index not in self.chunks)
        return list(islice(missing, most))

    def finish(self) -> Snapshot | None:
        """The whole snapshot, if all of it is here and it is what was offered; None if it is not."""
        chunks = [self.chunks[index] for index in range(self.count)]
        return Snapshot(self.number, self.digest, chunks) if _digest(chunks) == self.digest else None

    def adopt(self) -> Writes:
        """What makes it the node's own snapshot. It goes in one batch with the removal of the old one."""
        fields = [self.number, self.count, self.digest]
        return [(_META, encode_record(_KIND_META, _VERSION, fields)), (_INCOMING, None)]

    def discard(self) -> Writes:
        """What removes it."""
        return [(_INCOMING, None), *deletions(self.number, self.count)]
