"""Batches: the requests of many clients as the one command that a protocol orders.

A protocol has costs for each command that it decides: a vote, a record, messages.  So a node packs
whatever has come from its clients since the last turn into one command, and the protocol neither knows
nor looks.  What is inside is a list of *runs*; a run is consecutive requests of one client, which is what
a client that does many things at once sends.  Nothing is kept or looked up for a single request where a
run will do: this is what lets a Python program take a hundred thousand requests a second.

Some batches carry no requests.  A *marker* is a point in the order at which every node does the same
housekeeping: it prunes the client table and may take a snapshot.  A *skip* is an operator's decision that a
request which the state machine can not carry out counts as carried out.  A *read* is a place in the order at
which the node that asked for it answers queries; to every other node it is nothing.

The bytes are a format: they are in the logs on disk.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from paxos.ballot import NodeId
from paxos.command import (
    ALL,
    HOUSEKEEPING,
    MAX_COMMAND_BYTES,
    NOP,
    NOTHING,
    Command,
    Footprint,
    RequestId,
    digest_of,
    is_marker,
)
from paxos.errors import NodeStopped, WireError
from paxos.wire import dumps, expect_fields, loads_strict, take_bytes, take_int

__all__ = [
    "FILL_BYTES",
    "MAX_REQUEST_BYTES",
    "MAX_RUN",
    "Batch",
    "BatchKind",
    "Run",
    "batch_command",
    "cut_run",
    "is_housekeeping",
    "is_marker",
    "marker_command",
    "read_batch",
    "read_command",
    "run_bytes",
    "run_digests",
    "run_piece",
    "skip_command",
    "take_run",
]

#: A batch is closed when it has so many bytes; one larger request travels alone.
FILL_BYTES: Final = MAX_COMMAND_BYTES // 4
#: The most requests in one run.
MAX_RUN: Final = 4096
#: The longest request: a command with it and what a batch adds is still one that protocols take.
MAX_REQUEST_BYTES: Final = MAX_COMMAND_BYTES - 256

# What a batch adds at most to the bytes of requests, for each run and for each request.
_RUN_BYTES: Final = 64
_BODY_BYTES: Final = 13

_CLIENT_BYTES: Final = 16
_DIGEST_BYTES: Final = 8
_MAX_SEQUENCE: Final = (1 << 62) - 1
# What was read of so many payloads is kept, of short ones: where nodes share a process, as simulated ones do,
# each of them reads what all of them apply.
_KEPT: Final = 1024
_KEPT_BYTES: Final = 1024

_new: Final = tuple.__new__


class BatchKind(IntEnum):
    """What a batch is for."""

    REQUESTS = 1
    MARKER = 2
    SKIP = 3
    READ = 4


_REQUESTS: Final = int(BatchKind.REQUESTS)


class Run(NamedTuple):
    """Consecutive requests of one client.

    Args:
        client: 16 random bytes that the client made when it started.
        birth: the number of the last marker that the client knew then.
        acknowledged: the client has the results of all its requests up to this one.
        sequence: the number of the first request; the others follow without a gap.
        digests: for each request 8 bytes of the SHA-256 of its command, one after the other.
        bodies: the commands.
    """

    client: bytes
    birth: int
    acknowledged: int
    sequence: int
    digests: bytes
    bodies: Sequence[bytes]

    def request(self, index: int) -> RequestId:
        """The id of the request at `index`."""
        digest = self.digests[_DIGEST_BYTES * index : _DIGEST_BYTES * (index + 1)]
        return RequestId(self.client, self.birth, self.sequence + index, digest)


class Batch(NamedTuple):
    """What a command of a log carries.

    Args:
        kind: what it is for.
        runs: REQUESTS: the clients' requests, in the order in which they are applied.
        skipped: SKIP: the request that counts as carried out.
    """

    kind: BatchKind
    runs: Sequence[Run] = ()
    skipped: RequestId | None = None


def run_digests(bodies: Iterable[bytes]) -> bytes:
    """What `Run.digests` holds for these commands."""
    return b"".join(map(digest_of, bodies))


def run_bytes(run: Run) -> int:
    """How many bytes of a batch a run takes, at most."""
    return _RUN_BYTES + _BODY_BYTES * len(run.bodies) + sum(map(len, run.bodies))


def cut_run(run: Run) -> list[Run]:
    """The same requests in runs of which each fits into a batch, if each request does."""
    if run_bytes(run) <= FILL_BYTES:
        return [run]
    pieces, first, size = [], 0, _RUN_BYTES
    for index, body in enumerate(run.bodies):
        more = _BODY_BYTES + len(body)
        if size + more > FILL_BYTES and index > first:
            pieces.append(run_piece(run, first, index))
            first, size = index, _RUN_BYTES
        size += more
    pieces.append(run_piece(run, first, len(run.bodies)))
    return pieces


def run_piece(run: Run, first: int, end: int) -> Run:
    """The requests of a run from index `first` up to, not including, `end`."""
    digests = run.digests[_DIGEST_BYTES * first : _DIGEST_BYTES * end]
    return run._replace(sequence=run.sequence + first, digests=digests, bodies=run.bodies[first:end])


def batch_command(
    owner: bytes, sequence: int, runs: Sequence[Run], footprint: Footprint = NOTHING, life: int = 0
) -> Command:
    """The requests of these runs as one command.

    Its id has a digest of them, since a node that restarts counts from 1 again, and what it asked for in an
    earlier life may be decided only now: equal ids must have equal requests.

    Args:
        owner: 16 bytes by which a node knows its own commands again.
        sequence: the owner's count of them in this life.
        runs: what it carries.
        footprint: of all its requests together; protocols that order everything do not look at it.
        life: the number of this life of the owner, where that is known.
    """
    # Plain values: what is derived from them the encoder looks up anew each time.
    payload = dumps((_REQUESTS, *map(tuple, runs)))
    return Command(RequestId(owner, life, sequence, digest_of(payload)), footprint, payload)


def read_command(owner: bytes, life: int, sequence: int, footprint: Footprint) -> Command:
    """A place in the order for queries with this footprint; for the arguments see `batch_command`.

    What is answered there is not in it, so the life must be: a read of an earlier one may be decided in this
    one, and what is asked now must not be answered at its place.
    """
    payload = dumps((BatchKind.READ,))
    return Command(RequestId(owner, life, sequence, digest_of(payload)), footprint, payload)


def marker_command(node: NodeId, sequence: int, life: int = 0) -> Command:
    """A marker: it conflicts with everything, so that every node has the same state when it is applied."""
    return Command(_housekeeping(node, sequence, life), ALL, dumps((BatchKind.MARKER,)))


def is_housekeeping(command: Command) -> bool:
    """Whether the command is a marker or a skip."""
    return command.request.client == HOUSEKEEPING


def skip_command(node: NodeId, sequence: int, skipped: RequestId, life: int = 0) -> Command:
    """An operator's decision that `skipped` counts as carried out, with an empty answer."""
    return Command(_housekeeping(node, sequence, life), ALL, dumps((BatchKind.SKIP, *skipped)))


def _housekeeping(node: NodeId, sequence: int, life: int) -> RequestId:
    # In place of a digest, of which there is no need: the same words mean the same.
    return RequestId(HOUSEKEEPING, node, sequence, life.to_bytes(_DIGEST_BYTES, "big"))


def read_batch(command: Command) -> Batch | None:
    """What a decided command carries; None for a no-op.

    Raises:
        NodeStopped: it is no batch that this release knows. Skipping it would make this node's state differ
            from that of a node which knows it.
    """
    payload = command.payload
    if not payload and command.request == NOP.request:
        return None
    return _read(payload) if len(payload) > _KEPT_BYTES else _read_once(payload)


def _read(payload: bytes) -> Batch:
    try:
        items = loads_strict(payload)
        if type(items) is not list or not items:
            raise WireError("a batch is an array that is not empty")
        kind, *fields = items
        if type(kind) is not int:
            raise WireError("the kind of a batch is an integer")
        if kind == BatchKind.REQUESTS:
            return Batch(BatchKind.REQUESTS, [_take_packed_run(item) for item in fields])
        if kind == BatchKind.MARKER:
            expect_fields(fields, 0, "marker")
            return Batch(BatchKind.MARKER)
        if kind == BatchKind.READ:
            expect_fields(fields, 0, "read")
            return Batch(BatchKind.READ)
        if kind == BatchKind.SKIP:
            return Batch(BatchKind.SKIP, skipped=_take_request(fields))
        raise WireError(f"unknown kind {kind!r:.40}")
    except WireError as error:
        raise NodeStopped(
            f"a decided command is no batch that this release can apply: {error}; if a newer release runs "
            "elsewhere in the cluster, run that one here too"
        ) from error


_read_once: Final = lru_cache(maxsize=_KEPT)(_read)


def take_run(client: object, birth: object, acknowledged: object, sequence: object, bodies: object) -> Run:
    """A run of what a client sent, checked, its digests made here. Raises WireError."""
    where = "run"
    checked = _bodies(bodies, where)
    return Run(
        _client(client, where),
        take_int(birth, f"{where}.birth", 0, _MAX_SEQUENCE),
        take_int(acknowledged, f"{where}.acknowledged", 0, _MAX_SEQUENCE),
        # The number of its last request counts.
        take_int(sequence, f"{where}.sequence", 1, _MAX_SEQUENCE - len(checked) + 1),
        run_digests(checked),
        checked,
    )


def _take_packed_run(value: object) -> Run:
    where = "batch.run"
    client, birth, acknowledged, sequence, digests, bodies = expect_fields(value, 6, where)
    checked = _bodies(bodies, where)
    take_bytes(digests, f"{where}.digests", _DIGEST_BYTES * MAX_RUN)
    if len(digests) != _DIGEST_BYTES * len(checked):
        raise WireError(f"{where}.digests: {len(digests)} bytes for {len(checked)} requests")
    return Run(
        _client(client, where),
        take_int(birth, "batch.run.birth", 0, _MAX_SEQUENCE),
        take_int(acknowledged, "batch.run.acknowledged", 0, _MAX_SEQUENCE),
        take_int(sequence, "batch.run.sequence", 1, _MAX_SEQUENCE - len(checked) + 1),
        digests,
        checked,
    )


def _client(value: object, where: str) -> bytes:
    client = take_bytes(value, f"{where}.client", _CLIENT_BYTES)
    if len(client) != _CLIENT_BYTES:
        raise WireError(f"{where}.client: expected {_CLIENT_BYTES} bytes, got {len(client)}")
    return client


def _bodies(value: object, where: str) -> list[bytes]:
    if type(value) is not list or not 1 <= len(value) <= MAX_RUN:
        raise WireError(f"{where}.bodies: expected a list of 1 to {MAX_RUN} commands")
    # Types and sizes of all of them at C speed; a loop of ours would cost more than all the rest.
    if set(map(type, value)) != {bytes} or max(map(len, value)) > MAX_COMMAND_BYTES:
        for body in value:
            take_bytes(body, f"{where}.body", MAX_COMMAND_BYTES)
    return value


def _take_request(fields: Any) -> RequestId:
    client, birth, sequence, digest = expect_fields(fields, 4, "skip")
    if len(take_bytes(digest, "skip.digest", _DIGEST_BYTES)) != _DIGEST_BYTES:
        raise WireError(f"skip.digest: expected {_DIGEST_BYTES} bytes, got {len(digest)}")
    return RequestId(
        _client(client, "skip"),
        take_int(birth, "skip.birth", 0, _MAX_SEQUENCE),
        take_int(sequence, "skip.sequence", 1, _MAX_SEQUENCE),
        digest,
    )
