"""Backups as files: written from a running cluster, and made into the stores of a new one.

    "paxos-backup 1\\n"
    length, 4 bytes | header: CBOR [cluster, protocol, machine, node, seconds since 1970]
    length, 4 bytes | piece of the snapshot          (for each piece; one of them is empty)
    ff ff ff ff | SHA-256 of everything before, 32 bytes

Numbers are big-endian.  The pieces are those of the snapshots that nodes make for each other.

What is restored is another cluster, with an id of its own: nodes of the old one must never be counted among
its quorums, nor an old store be taken for a new one.  All of its nodes start from the backup, and each knows
the stores of the others beforehand, by ids that follow from the backup and the cluster's id.  So a node
whose store was forgotten, and that starts empty, is refused by the others like any that lost its disk.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

import attrs
from anyio import to_thread

from paxos.ballot import NodeId
from paxos.contract import Configuration, Decides, Mark, Orders, Records, StateMachine
from paxos.errors import ConfigurationError, PaxosError, RecordError, StoreRefused, Unreachable, WireError
from paxos.runtime.client import Client
from paxos.runtime.config import ClusterConfig
from paxos.runtime.store import split_store
from paxos.runtime.store_files import make_directory, sync_directory, sync_file
from paxos.service import charter_record
from paxos.service.conflicts import take_part
from paxos.service.identity import introduced_records
from paxos.service.log_messages import CHUNK_BYTES
from paxos.service.machines import find_machine
from paxos.service.sessions import Sessions
from paxos.service.snapshots import Content, Snapshot, read_content, snapshot_pieces, snapshot_records
from paxos.wire import dumps, expect_fields, loads_strict, take_int, take_text

__all__ = [
    "Backup",
    "BackupHeader",
    "read_backup",
    "read_pieces",
    "require_restorable",
    "restore_node",
    "write_backup",
]

_MAGIC: Final = b"paxos-backup 1\n"
_KIND: Final = b"paxos-backup "
_LENGTH_BYTES: Final = 4
_END: Final = b"\xff\xff\xff\xff"
_MAX_HEADER_BYTES: Final = 64 * 1024
_MAX_TEXT_BYTES: Final = 4096
_DIGEST_BYTES: Final = 32
_MAX_TIME_S: Final = 1 << 40
#: How often a backup is begun anew when the node that made it is gone.
_ATTEMPTS: Final = 3
#: Ends the name of what is being written.
_NEW: Final = ".new"


@attrs.frozen
class BackupHeader:
    """Whose state a backup is.

    Args:
        cluster: the cluster's id.
        protocol: what it runs.
        machine: its state machine's name.
        node: the node that made the backup.
        taken_s: when it was begun, by the clock of who asked for it, seconds since 1970.
    """

    cluster: str
    protocol: str
    machine: str
    node: NodeId
    taken_s: int


@attrs.frozen
class Backup:
    """A backup that was read and found whole.

    Args:
        header: whose it is.
        content: the state.
        digest: of the file, 32 bytes.
        size_bytes: of the file.
        pieces: how many pieces there are.
    """

    header: BackupHeader
    content: Content
    digest: bytes
    size_bytes: int
    pieces: int

    @property
    def applied(self) -> Mark:
        """How far the log is in it, as the node's status had it; None for not at all."""
        content = self.content
        if content.mark is None:
            # Where only conflicting commands have an order it is of no mark, and says how many it holds.
            with contextlib.suppress(RecordError):
                return take_part(content.part)[0]
        return content.mark


# --- from a running cluster --------------------------------------------------------------------------


async def write_backup(
    client: Client, path: str | os.PathLike[str], on_bytes: Callable[[int], None] | None = None
) -> BackupHeader:
    """Write a backup of a running cluster to a new file, which is there only when it is complete and on disk.

    Args:
        client: of the cluster.
        path: the file, which must not be there.
        on_bytes: called with the bytes written so far, now and then.

    Raises:
        ConfigurationError: the file is there already, can not be written, or the cluster keeps no log.
        Unreachable: no node could be reached, or none lasted until the end.
        Rejected, ClusterMismatch: as `Client.backup`.
    """
    file = Path(path)
    if await to_thread.run_sync(file.exists):
        raise ConfigurationError(f"{file}: is there already and is not overwritten; give another name")
    new = file.with_name(file.name + _NEW)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with cast("BinaryIO", await to_thread.run_sync(new.open, "wb")) as stream:
                header = await _write(client, stream, on_bytes)
                stream.flush()
                await to_thread.run_sync(sync_file, stream.fileno())
            await to_thread.run_sync(_put_in_place, new, file)
            return header
        except Unreachable:
            if attempt == _ATTEMPTS:
                raise
        except OSError as error:
            raise ConfigurationError(f"{file}: can not be written: {error.strerror or error}") from error
        finally:
            new.unlink(missing_ok=True)
    raise AssertionError("the last attempt returns or raises")


def _put_in_place(new: Path, file: Path) -> None:
    os.replace(new, file)
    sync_directory(file.absolute().parent)


async def _write(client: Client, stream: BinaryIO, on_bytes: Callable[[int], None] | None) -> BackupHeader:
    status = await client.status()
    if "applied" not in status:
        raise ConfigurationError(
            f"protocol {status.get('protocol')} keeps no log: there is nothing to back up"
        )
    header = BackupHeader(
        cluster=client.cluster or "",
        protocol=str(status["protocol"]),
        machine=str(status.get("machine", "")),
        node=int(status["node"]),
        taken_s=int(time.time()),
    )
    whole = hashlib.sha256()
    written = 0

    def write(data: bytes) -> None:
        nonlocal written
        stream.write(data)
        whole.update(data)
        written += len(data)

    write(_MAGIC)
    write(_framed(dumps(attrs.astuple(header))))
    async for piece in client.backup():
        write(_framed(piece))
        if on_bytes is not None:
            on_bytes(written)
    write(_END)
    stream.write(whole.digest())
    return header


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


# --- reading -----------------------------------------------------------------------------------------


def read_backup(path: str | os.PathLike[str]) -> Backup:
    """A backup file, every byte of it checked.

    Raises:
        ConfigurationError: the file can not be read, is no backup, or is of a newer release.
        RecordError: it is cut short or damaged.
    """
    file = Path(path)
    whole = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            _read_magic(stream, file)
            whole.update(_MAGIC)
            items = list(_items(stream, whole, file))
            stated = stream.read(_DIGEST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{file}: can not be read: {error.strerror or error}") from error
    if stated != whole.digest():
        raise RecordError(f"{file}: damaged: its checksum is not that of what is in it; take another copy")
    try:
        cluster, protocol, machine, node, taken_s = expect_fields(loads_strict(items[0]), 5, "header")
        header = BackupHeader(
            take_text(cluster, "header.cluster", _MAX_TEXT_BYTES),
            take_text(protocol, "header.protocol", _MAX_TEXT_BYTES),
            take_text(machine, "header.machine", _MAX_TEXT_BYTES),
            take_int(node, "header.node", 1, 2**31 - 1),
            take_int(taken_s, "header.taken_s", 0, _MAX_TIME_S),
        )
        content = read_pieces(items[1:])
    except (WireError, IndexError) as error:
        raise RecordError(f"{file}: whole, but nothing that this release can read: {error}") from error
    return Backup(header, content, stated, file.stat().st_size, len(items) - 1)


def _read_magic(stream: BinaryIO, file: Path) -> None:
    magic = stream.read(len(_MAGIC))
    if magic != _MAGIC:
        if magic.startswith(_KIND):
            version = magic[len(_KIND) :].decode("ascii", "replace").strip()
            raise ConfigurationError(f"{file}: is of version {version}, and this release reads version 1")
        raise ConfigurationError(f"{file}: is no backup of paxos")


def _items(stream: BinaryIO, whole: "hashlib._Hash", file: Path) -> Iterator[bytes]:
    """The header and the pieces."""
    limit = _MAX_HEADER_BYTES
    while True:
        size = stream.read(_LENGTH_BYTES)
        whole.update(size)
        if size == _END:
            return
        length = int.from_bytes(size, "big")
        data = stream.read(min(length, limit))
        if len(size) < _LENGTH_BYTES or length > limit or len(data) < length:
            raise RecordError(f"{file}: cut short or damaged; take another copy")
        whole.update(data)
        yield data
        limit = CHUNK_BYTES


def read_pieces(pieces: list[bytes]) -> Content:
    """What is in the pieces of a backup, as `Client.backup` gives them.

    Raises:
        WireError: it is nothing that this release makes.
    """
    # Its own number is the one that it is compared with, so it is read twice.
    header = loads_strict(pieces[0][_LENGTH_BYTES:])
    _, number, *_ = expect_fields(header, 5, "snapshot")
    return read_content(Snapshot(take_int(number, "snapshot.number", 0, (1 << 62) - 1), b"", pieces))


# --- into a new cluster ------------------------------------------------------------------------------


def require_restorable(backup: Backup, config: ClusterConfig, nodes: tuple[NodeId, ...]) -> None:
    """Make sure that these nodes of a cluster can begin with a backup, before anything is written.

    Raises:
        ConfigurationError: it is the same cluster, or another protocol or machine; no directory.
        StoreRefused: a store is there already.
        RecordError: the machine can not read the state.
    """
    header, where = backup.header, config.where
    if config.id == header.cluster:
        raise ConfigurationError(
            f"{where}the cluster's id is {config.id!r}, the one that was backed up: nodes of the two could "
            "be "
            "taken for each other; give the new cluster an id of its own"
        )
    for name, theirs, ours in (
        ("protocol", header.protocol, config.description().name),
        ("machine", header.machine, config.machine or ""),
    ):
        if theirs != ours:
            raise ConfigurationError(f"{where}{name} is {ours!r}, and the backup's is {theirs!r}")
    assert config.description().decides is Decides.LOG
    for node in nodes:
        directory = _directory_of(config, node)
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise StoreRefused(
                f"store {directory}: is there already and is not overwritten; move it away, or give node "
                f"{node} "
                "another directory"
            )
    try:
        find_machine(header.machine)().restore(backup.content.machine)
        Sessions().unpack(backup.content.sessions)
    except (PaxosError, ValueError) as error:
        raise RecordError(f"the backup is whole, but can not be restored here: {error}") from error


def restore_node(backup: Backup, config: ClusterConfig, node: NodeId) -> Path:
    """Make the store of one node of a new cluster, complete or not at all; where it is.

    `require_restorable` comes first.

    Raises:
        StoreRefused: it can not be written.
    """
    # Imported here so that who restores nothing loads no sqlite.
    from paxos.runtime.sqlite_store import open_sqlite_store

    directory = _directory_of(config, node).absolute()
    new = directory.with_name(directory.name + _NEW)
    ids = {member: _store_id(backup, config.id, member) for member in config.members}
    try:
        make_directory(directory.parent)
        shutil.rmtree(new, ignore_errors=True)
        store = open_sqlite_store(
            new, cluster=config.id, node=node, protocol=config.protocol, store_id=ids[node].hex()
        )
        try:
            store.write(list(_records(backup, config, node, ids).items()))
        finally:
            store.close()
        if directory.exists():
            directory.rmdir()  # it is empty
        os.replace(new, directory)
        sync_directory(directory.parent)
    except OSError as error:
        raise StoreRefused(f"store {directory}: can not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return directory


def _records(backup: Backup, config: ClusterConfig, node: NodeId, ids: dict[NodeId, bytes]) -> Records:
    configuration = Configuration(node, config.quorum_system(), config.settings)
    key, charter = charter_record(config.description(), configuration, config.machine or "")
    records = {key: charter, **introduced_records(node, ids)}
    content = backup.content
    if content.mark is None and config.description().orders is Orders.TOTAL:
        return records  # nothing was ever applied
    sessions = Sessions()
    sessions.unpack(content.sessions)
    # A restoration counts as a marker: what comes of it is newer than what the old cluster had.
    sessions.mark()
    machine = cast("StateMachine", _Frozen(content.machine))
    pieces = snapshot_pieces(content.mark, content.part, sessions, machine)
    return {**records, **snapshot_records(sessions.markers, pieces)}


class _Frozen:
    """Stands for a state machine of which only the snapshot is there."""

    def __init__(self, state: bytes) -> None:
        self._state = state

    def snapshot(self) -> bytes:
        return self._state


def _store_id(backup: Backup, cluster: str, node: NodeId) -> bytes:
    """The id of a node's store: every machine on which the backup is restored finds the same."""
    text = b"paxos-restore" + backup.digest + node.to_bytes(4, "big") + cluster.encode()
    return hashlib.sha256(text).digest()[:16]


def _directory_of(config: ClusterConfig, node: NodeId) -> Path:
    url = config.node(node).store
    kind, rest = split_store(url)
    if kind != "sqlite":
        raise ConfigurationError(
            f"{config.where}node {node}: store {url!r}: a backup is restored into a directory only"
        )
    return Path(rest)
