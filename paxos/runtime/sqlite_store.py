"""The store that comes with the library: sqlite, in a directory of the node's own.

One table of records, each with its own checksum, in a database in write-ahead mode with every commit
synced (`journal_mode=WAL`, `synchronous=FULL`): a batch of any size costs one append to the log and one
sync of it.  From time to time the log is copied into the database (a checkpoint, two more syncs); that is
done here, after a write, and not left to sqlite, which would keep an error of it to itself.

How an opening goes is most of this room, because that is where amnesia would creep in:

    the directory     made, locked, and either empty or a store's
    the identity      beside the records and with them, the same in both, and ours
    the log           there and whole, if the store was not closed properly
    the database      its head, its tables as made here, sqlite's own integrity check
    the incarnation   raised with the records first, then beside them; so the copy beside them is never the
                      higher one, unless the database was replaced by an older copy

Whatever fails before the last step refuses the store.  Whatever fails after it stops the store for good: a
sync that failed must not be tried again, since the system may by then have dropped what it could not write.

Space freed by deleting is used again, the file does not shrink.  The directory belongs on a local disk:
sqlite's log does not work over a network file system.
"""

import atexit
import os
import shutil
import sqlite3
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from paxos.errors import StoreError, StoreFailed, StoreRefused
from paxos.runtime.sqlite_wal import read_generation, wal_damage, wal_generation
from paxos.runtime.store import (
    FORMAT_VERSION,
    Batch,
    OneAtATime,
    StoreCard,
    StoreReport,
    VerifyRecord,
    check_identity,
    check_range,
    new_card,
    record_name,
    sort_batch,
)
from paxos.runtime.store_files import (
    LOCK_NAME,
    MARKER_NAME,
    NEW_SUFFIX,
    DirectoryLock,
    LogMark,
    check_format,
    decode_card,
    encode_card,
    make_directory,
    read_marker,
    sync_directory,
    write_marker,
)

__all__ = ["SqliteStore", "inspect_sqlite_store", "open_sqlite_store"]

RECORDS_NAME: Final = "records.sqlite3"
_LOG_SUFFIX: Final = "-wal"
_NEW_NAME: Final = RECORDS_NAME + NEW_SUFFIX
#: What an interrupted making of a store may leave, and may be thrown away.
_UNFINISHED: Final = (_NEW_NAME, _NEW_NAME + _LOG_SUFFIX, _NEW_NAME + "-shm", _NEW_NAME + "-journal")

#: Marks the file as one of ours for sqlite's tools and `file`: "Paxo".
_APPLICATION_ID: Final = 0x5061786F
_TABLES: Final = {
    "card": "CREATE TABLE card (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), text TEXT NOT NULL)",
    "records": (
        "CREATE TABLE records (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) "
        "WITHOUT ROWID"
    ),
}
#: Every commit is on disk when it returns.  On a Mac a plain sync stops at the drive's own cache, hence the
#: last two, which do nothing elsewhere.
_SYNCED: Final = ("synchronous=FULL", "fullfsync=ON", "checkpoint_fullfsync=ON")
_PUT: Final = "INSERT OR REPLACE INTO records (key, value, crc) VALUES (?, ?, ?)"
_DELETE: Final = "DELETE FROM records WHERE key = ?"
_DELETE_RANGE: Final = "DELETE FROM records WHERE key >= ? AND key < ?"
_LOAD: Final = "SELECT key, value, crc FROM records ORDER BY key"

#: A checkpoint comes after so many records or bytes, whichever is first.  More of either makes checkpoints
#: rarer; the log grows to a few times the bytes, and to some pages of 4 KiB a record at worst (50 MB).
_CHECKPOINT_RECORDS: Final = 4_000
_CHECKPOINT_BYTES: Final = 8 * 1024 * 1024
#: A log that a large batch made larger is cut back to this at the next start from its beginning, bytes.
_LOG_LIMIT_BYTES: Final = 64 * 1024 * 1024
#: A report names so many damaged records one by one.
_NAMED_LIMIT: Final = 20

_RECOVER: Final = (
    "put back a copy of the whole directory made while the node was stopped and after its last write, "
    "or leave the node down: a cluster's members are fixed"
)


class SqliteStore:
    """A store in one sqlite database; made by `open_store` and `open_sqlite_store`.

    Args:
        directory: where it is.
        database: an open connection, configured.
        lock: held on the directory.
        card: whose it is.
    """

    def __init__(
        self, directory: Path, database: sqlite3.Connection, lock: DirectoryLock, card: StoreCard
    ) -> None:
        self._directory = directory
        self._database = database
        self._lock = lock
        self._card = card
        self._turn = OneAtATime(str(directory))
        self._stopped: str | None = None
        self._process = os.getpid()
        self._open = True
        self._records_since_checkpoint = 0
        self._bytes_since_checkpoint = 0
        self._mark = LogMark(0, 0)
        # After a checkpoint sqlite starts the log over with the next write.
        self._log_may_start_over = True
        # Open for as long as the store is: a process that has run out of descriptors must still be able to
        # look.  Unbuffered, since it is written behind this one's back.
        self._log = (directory / (RECORDS_NAME + _LOG_SUFFIX)).open("rb", buffering=0)
        # Who forgets to close would leave it to the interpreter's end, in whatever order things go there.
        atexit.register(self._close_at_exit)

    @property
    def card(self) -> StoreCard:
        """Whose store this is, with the incarnation of this opening."""
        return self._card

    def load(self) -> dict[bytes, bytes]:
        """Every record, in ascending order of keys.

        Raises:
            StoreRefused: a record is not what was written; the message names it.
            StoreFailed: the store failed before, or is closed.
        """
        records: dict[bytes, bytes] = {}
        with self._turn:
            self._require_usable()
            for key, value, complaint in _read_records(self._database):
                if complaint is not None:
                    raise StoreRefused(f"store {self._directory}: {complaint}; {_RECOVER}")
                records[key] = value
        return records

    def write(self, batch: Batch) -> None:
        """Write and delete records, all or none, and return when they are on disk.

        Raises:
            StoreFailed: the disk is full or broken, or the store failed before, or is closed.
            StoreError: a key or value that no store takes; nothing happened.
        """
        puts, deletes = sort_batch(batch)
        with self._transaction("a write") as database:
            if puts:
                database.executemany(_PUT, [(key, value, _crc(key, value)) for key, value in puts])
            if deletes:
                database.executemany(_DELETE, [(key,) for key in deletes])
            self._records_since_checkpoint += len(puts) + len(deletes)
            self._bytes_since_checkpoint += sum(len(value) for _, value in puts)

    def delete_range(self, low: bytes, high: bytes) -> None:
        """Delete every record with `low <= key < high` and return when that is on disk.

        Raises:
            StoreFailed: as `write`.
        """
        check_range(low, high)
        with self._transaction("a deletion") as database:
            self._records_since_checkpoint += database.execute(_DELETE_RANGE, (low, high)).rowcount

    def close(self) -> None:
        """Let go of the store so that another may open it. Closing again does nothing.

        What was written is on disk already; an error of the disk here shows at the next opening.
        """
        if os.getpid() != self._process:
            # A child made by fork has a copy of the object, and no right to the files.
            return
        with self._turn:
            if not self._open:
                return
            self._open = False
            atexit.unregister(self._close_at_exit)
            self._log.close()
            try:
                if self._stopped is None and _checkpoint(self._database):
                    # Noted before sqlite removes the log, which is then no longer missed.
                    self._lock.set_open(0)
            except (sqlite3.Error, OSError) as cause:
                self._stopped = _words(cause)
            try:
                _close_database(self._database, self._directory, self._lock, keep=self._stopped is not None)
            finally:
                self._lock.release()

    def _close_at_exit(self) -> None:
        # A write that the disk never finished is still in there: the next opening takes this for a crash.
        with suppress(StoreError):
            self.close()

    @contextmanager
    def _transaction(self, what: str) -> Iterator[sqlite3.Connection]:
        """One transaction, durable when the block has been left; whatever goes wrong in it is final."""
        with self._turn:
            self._require_usable()
            try:
                before = self._database.total_changes
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
                # A transaction that changed nothing leaves nothing in the log, and must not be missed there.
                if self._database.total_changes != before:
                    self._mark_log()
                if (
                    self._records_since_checkpoint >= _CHECKPOINT_RECORDS
                    or self._bytes_since_checkpoint >= _CHECKPOINT_BYTES
                ):
                    what = "copying the log into the database"
                    _checkpoint(self._database)
                    self._records_since_checkpoint = self._bytes_since_checkpoint = 0
                    self._log_may_start_over = True
            except (sqlite3.Error, OSError) as cause:
                self._stopped = _words(cause)
                raise StoreFailed(
                    f"store {self._directory}: {what} failed: {self._stopped}; the batch may or may not be "
                    f"on disk, and nothing more is written; {_advice(cause)}, then start the node again"
                ) from cause
            except BaseException as cause:
                # An interrupt in the middle leaves a transaction open: no more is known than after an error.
                self._stopped = f"interrupted by {type(cause).__name__}"
                raise

    def _mark_log(self) -> None:
        """Note beside the log that it holds one batch more."""
        generation, commits = self._mark
        if self._log_may_start_over:
            now = read_generation(self._log)
            commits = commits if now == generation else 0
            generation = now
            self._log_may_start_over = False
        self._mark = LogMark(generation, commits + 1)
        self._lock.set_mark(self._mark)

    def _require_usable(self) -> None:
        if not self._open:
            raise StoreFailed(f"store {self._directory}: it is closed; open it again")
        if self._stopped is not None:
            raise StoreFailed(
                f"store {self._directory}: stopped after an earlier failure ({self._stopped}); "
                f"start the node again"
            )


def open_sqlite_store(
    directory: Path, *, cluster: str, node: int, protocol: str, store_id: str | None = None
) -> SqliteStore:
    """Open the store in a directory, making both if they are missing, and raise its incarnation durably.

    Args:
        directory: of this node's own.
        cluster: id of the cluster.
        node: id of the node.
        protocol: name of the protocol.
        store_id: the store's id if it is made now, 32 hexadecimal digits; None for a random one.

    Raises:
        StoreRefused: the store is another's, of a newer format version, in use, damaged, has lost something,
            can not be written, or the directory holds something else.
    """
    # The process may change its working directory, and the log is looked at again later.
    directory = directory.absolute()
    make_directory(directory)
    lock = DirectoryLock.acquire(directory)
    try:
        card = _read_identity(directory, lock)
        if lock.blank:
            lock.claim()
        if card is None:
            card = new_card(cluster=cluster, node=node, protocol=protocol, store_id=store_id)
            _make_database(directory, card)
        check_identity(card, str(directory), cluster=cluster, node=node, protocol=protocol)
        _check_files(directory, lock)
        database = _connect(directory / RECORDS_NAME, "mode=rw")
        try:
            _configure(directory, database)
            card = _raise_incarnation(directory, database, lock, card)
        except BaseException:
            _close_database(database, directory, lock, keep=True)
            raise
        return SqliteStore(directory, database, lock, card)
    except sqlite3.Error as cause:
        lock.release()
        raise _unreadable(directory, cause) from cause
    except OSError as cause:
        lock.release()
        raise StoreRefused(f"store {directory}: can not be opened: {cause}") from cause
    except BaseException:
        lock.release()
        raise


def inspect_sqlite_store(directory: Path, *, verify: VerifyRecord | None = None) -> StoreReport:
    """Look at the store in a directory that no node is using, changing nothing in it.

    A store that was not closed properly is copied to a temporary directory and looked at there, since
    reading sqlite's log means taking it over.

    Args:
        directory: where the store is.
        verify: called for each record whose checksum is right; its words are reported as damage.

    Raises:
        StoreRefused: there is no store, it is in use, or it is damaged beyond reading.
    """
    directory = directory.absolute()
    if not (directory / MARKER_NAME).exists() and not (directory / RECORDS_NAME).exists():
        raise StoreRefused(f"store {directory}: there is no store here; check the path")
    lock = DirectoryLock.look(directory)
    try:
        card = _read_identity(directory, lock)
        if card is None:
            raise StoreRefused(
                f"store {directory}: the making of it was not finished; starting the node does that"
            )
        _check_files(directory, lock)
        if not (directory / (RECORDS_NAME + _LOG_SUFFIX)).exists():
            return _report(directory, directory, lock, card, verify)
        with tempfile.TemporaryDirectory(prefix="paxos-store-") as temporary:
            for name in (RECORDS_NAME, RECORDS_NAME + _LOG_SUFFIX):
                shutil.copyfile(directory / name, Path(temporary, name))
            return _report(directory, Path(temporary), lock, card, verify)
    except sqlite3.Error as cause:
        raise _unreadable(directory, cause) from cause
    except OSError as cause:
        raise StoreRefused(f"store {directory}: can not be read: {cause}") from cause
    finally:
        lock.release()


# ---- the steps of an opening -------------------------------------------------------------------------


def _read_identity(directory: Path, lock: DirectoryLock) -> StoreCard | None:
    """The card beside the records, or None where a store is still to be made."""
    marker = read_marker(directory)
    records = directory / RECORDS_NAME
    exists = records.exists()
    if marker is not None and exists:
        if marker.incarnation > 0 and lock.blank:
            # Only it tells whether the log is missed, and how much of it.
            raise StoreRefused(
                f"store {directory}: has lost its {LOCK_NAME!r} file, which tells whether the node was "
                f"stopped properly and what its log must hold; {_RECOVER}"
            )
        return marker
    if marker is not None and marker.incarnation > 0:
        raise StoreRefused(
            f"store {directory}: has lost its data: {RECORDS_NAME} is missing, and store {marker.store_id} "
            f"of node {marker.node} in cluster {marker.cluster!r} was here; {_RECOVER}"
        )
    if exists:
        raise StoreRefused(
            f"store {directory}: has lost its identity: {MARKER_NAME} is missing beside {RECORDS_NAME}; "
            f"{_RECOVER}"
        )
    if lock.open_incarnation > 0:
        raise StoreRefused(
            f"store {directory}: has lost its data: both {MARKER_NAME} and {RECORDS_NAME} are missing, and a "
            f"node that was not stopped properly used them; {_RECOVER}"
        )
    # A marker of incarnation 0 was written by a making that did not finish: nobody has used that store.
    ours = {LOCK_NAME, MARKER_NAME, MARKER_NAME + NEW_SUFFIX, "lost+found", *_UNFINISHED}
    foreign = sorted(set(os.listdir(directory)) - ours)
    if foreign:
        raise StoreRefused(
            f"store {directory}: holds something else ({foreign[0]!r}); "
            f"give an empty directory of the node's own"
        )
    return None


def _make_database(directory: Path, card: StoreCard) -> None:
    """Make a database without records; it gets its name, and with that exists, only when it is whole."""
    for name in _UNFINISHED:
        (directory / name).unlink(missing_ok=True)
    new = directory / _NEW_NAME
    database = _connect(new, "mode=rwc")
    try:
        _set(database, *_SYNCED)
        database.execute("BEGIN IMMEDIATE")
        database.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version={FORMAT_VERSION}")
        for table in _TABLES.values():
            database.execute(table)
        database.execute("INSERT INTO card VALUES (1, ?)", (encode_card(card),))
        database.execute("COMMIT")
        _set(database, "journal_mode=WAL")
    finally:
        database.close()
    write_marker(directory, card)
    os.replace(new, directory / RECORDS_NAME)
    sync_directory(directory)


def _check_files(directory: Path, lock: DirectoryLock) -> None:
    """Check what can be without sqlite, which would begin to repair and to remove."""
    path = directory / RECORDS_NAME
    with path.open("rb") as file:
        head = file.read(100)
    if not head:
        raise StoreRefused(f"store {directory}: has lost its data: {path.name} is empty; {_RECOVER}")
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        raise StoreRefused(f"store {directory}: {path.name} is damaged: it is not a database; {_RECOVER}")
    application = int.from_bytes(head[68:72], "big")
    if application != _APPLICATION_ID:
        raise StoreRefused(
            f"store {directory}: {path.name} is damaged, or is the database of another program "
            f"(its application id is {application:#x}); {_RECOVER}"
        )
    check_format(int.from_bytes(head[60:64], "big"), str(path))
    # Write-ahead mode; in the other mode sqlite would pass over the log.
    if head[18:20] != b"\2\2":
        raise StoreRefused(f"store {directory}: {path.name} is damaged: its mode was changed; {_RECOVER}")
    if lock.open_incarnation > 0:
        damage = wal_damage(path.with_name(path.name + _LOG_SUFFIX), lock.mark)
        if damage is not None:
            raise StoreRefused(
                f"store {directory}: was not closed properly, and {damage} ({path.name}{_LOG_SUFFIX}); "
                f"{_RECOVER}. (Only if you know that a tool of sqlite's has copied the log into the database "
                f"and removed it: writing 0 0 0 0 into the file {LOCK_NAME!r} lets the node start without.)"
            )


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection, which has not looked at the file yet."""
    return sqlite3.connect(
        f"{path.as_uri()}?{mode}", uri=True, timeout=0, isolation_level=None, check_same_thread=False
    )


def _set(database: sqlite3.Connection, *pragmas: str) -> None:
    for pragma in ("cell_size_check=ON", "trusted_schema=OFF", *pragmas):
        database.execute(f"PRAGMA {pragma}").fetchall()


def _configure(directory: Path, database: sqlite3.Connection) -> None:
    """Set a connection up for a node."""
    _set(
        database,
        # No other process can read along, remove the log, or hold a checkpoint up; and no shared memory.
        "locking_mode=EXCLUSIVE",
        "journal_mode=WAL",
        *_SYNCED,
        "wal_autocheckpoint=0",
        f"journal_size_limit={_LOG_LIMIT_BYTES}",
        "temp_store=MEMORY",
    )
    # Sqlite answers with what it could do, which need not be what was asked.
    found = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    if found != ["wal", 2]:
        raise StoreRefused(
            f"store {directory}: sqlite can not keep a synced write-ahead log here (it offers {found}); "
            f"give a directory on a local disk"
        )


def _raise_incarnation(
    directory: Path, database: sqlite3.Connection, lock: DirectoryLock, marker: StoreCard
) -> StoreCard:
    """Check the database and count this opening; all of it is on disk when this returns."""
    complaints = _structure(database)
    if complaints:
        raise StoreRefused(f"store {directory}: {RECORDS_NAME} is damaged: {complaints[0]}; {_RECOVER}")
    card = _stored_card(directory, database, marker).raised()
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE card SET text = ? WHERE one = 1", (encode_card(card),))
    database.execute("COMMIT")
    # So that the database alone, without its log, never passes for one that was not opened; and so that what
    # an earlier crash left in the log is not built upon.
    _checkpoint(database)
    write_marker(directory, card)
    # Last, since from here on the log, with at least this one change in it, is missed when it is gone.
    lock.set_open(card.incarnation, LogMark(wal_generation(directory / (RECORDS_NAME + _LOG_SUFFIX)), 1))
    return card


def _stored_card(directory: Path, database: sqlite3.Connection, marker: StoreCard) -> StoreCard:
    """The card kept with the records, checked against the one beside them."""
    row = database.execute("SELECT text FROM card WHERE one = 1").fetchone()
    if row is None or type(row[0]) is not str:
        raise StoreRefused(f"store {directory}: {RECORDS_NAME} is damaged: it has no identity; {_RECOVER}")
    card = decode_card(row[0], str(directory / RECORDS_NAME))
    if (card.cluster, card.node, card.protocol, card.store_id) != (
        marker.cluster,
        marker.node,
        marker.protocol,
        marker.store_id,
    ):
        raise StoreRefused(
            f"store {directory}: {RECORDS_NAME} is of another store than {MARKER_NAME} "
            f"(store id {card.store_id} of node {card.node} in cluster {card.cluster!r}, and "
            f"{marker.store_id} of node {marker.node} in cluster {marker.cluster!r}); "
            f"put back the one that was here"
        )
    if card.incarnation < marker.incarnation:
        raise StoreRefused(
            f"store {directory}: {RECORDS_NAME} is an old copy: it was opened {card.incarnation} times, and "
            f"the store {marker.incarnation} times; a node must not forget what it wrote since; {_RECOVER}"
        )
    return card


# ---- reading, checking, closing ----------------------------------------------------------------------


def _crc(key: bytes, value: bytes) -> int:
    """A record's checksum. It begins with the key's length, so that no byte can change sides."""
    return zlib.crc32(value, zlib.crc32(key, len(key)))


def _read_records(database: sqlite3.Connection) -> Iterator[tuple[bytes, bytes, str | None]]:
    """Every record, ascending by key, with a complaint or None; a database error ends it with a complaint."""
    last = b""
    try:
        for key, value, crc in database.execute(_LOAD):
            if type(key) is not bytes or type(value) is not bytes:
                yield b"", b"", f"the record after {record_name(last)} is damaged: it is not bytes"
                continue
            complaint = None
            if crc != _crc(key, value):
                complaint = f"record {record_name(key)} is damaged: its checksum is wrong"
            yield key, value, complaint
            last = key
    except sqlite3.Error as cause:
        yield b"", b"", f"reading ended after record {record_name(last)}: {_words(cause)}"


def _structure(database: sqlite3.Connection) -> tuple[str, ...]:
    """Complaints about the database: tables other than those made here, and what sqlite's own check says."""
    if dict(database.execute("SELECT name, sql FROM sqlite_schema").fetchall()) != _TABLES:
        return ("its tables are not those of a store",)
    rows = database.execute(f"PRAGMA integrity_check({_NAMED_LIMIT})").fetchall()
    return tuple(str(text) for (text,) in rows if text != "ok")


def _checkpoint(database: sqlite3.Connection) -> bool:
    """Copy the log into the database and sync both; whether all of it was copied."""
    busy, frames, copied = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return bool(busy == 0 and frames == copied)


def _close_database(
    database: sqlite3.Connection, directory: Path, lock: DirectoryLock, *, keep: bool
) -> None:
    """Close a connection. Raises nothing: what matters was synced before.

    Args:
        database: to close.
        directory: where its files are.
        lock: on the directory.
        keep: leave the log as it is if that can be had, for a store that failed or was refused.
    """
    if keep and sys.version_info >= (3, 12):
        database.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
    try:
        database.close()
        # Sqlite removes its log at closing only when all of it has been copied and synced, so from then on it
        # is not missed.  After a failure under Python 3.11 this is the only place to note it.
        if lock.open_incarnation > 0 and not (directory / (RECORDS_NAME + _LOG_SUFFIX)).exists():
            lock.set_open(0)
    except (sqlite3.Error, OSError):
        pass


def _report(
    directory: Path, place: Path, lock: DirectoryLock, marker: StoreCard, verify: VerifyRecord | None
) -> StoreReport:
    """What is in the database at `place`, which is `directory` or a copy of it."""
    mode = "mode=ro&immutable=1" if place == directory else "mode=rw"
    database = _connect(place / RECORDS_NAME, mode)
    try:
        _set(database)
        structure = _structure(database)
        card = _stored_card(directory, database, marker)
        records = size_bytes = damaged_count = 0
        damaged: list[str] = []
        for key, value, complaint in _read_records(database):
            records += 1
            size_bytes += len(key) + len(value)
            if complaint is None and verify is not None:
                words = verify(key, value)
                complaint = None if words is None else f"record {record_name(key)}: {words}"
            if complaint is not None:
                damaged_count += 1
                damaged.extend([complaint] if len(damaged) < _NAMED_LIMIT else [])
    finally:
        database.close()
    return StoreReport(
        where=str(directory),
        card=card,
        format_version=FORMAT_VERSION,
        records=records,
        size_bytes=size_bytes,
        clean=lock.open_incarnation == 0,
        structure=structure,
        damaged=tuple(damaged),
        damaged_count=damaged_count,
    )


def _unreadable(directory: Path, cause: sqlite3.Error) -> StoreRefused:
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return StoreRefused(
            f"store {directory}: {RECORDS_NAME} can not be used: the disk is full; free some space and start "
            "again: nothing is lost"
        )
    return StoreRefused(
        f"store {directory}: {RECORDS_NAME} can not be used: {_words(cause)}; check the disk and who "
        f"may write there; if the file is damaged, {_RECOVER}"
    )


def _words(cause: Exception) -> str:
    """An error's message, and of sqlite's the name of the code, which often says more."""
    name = getattr(cause, "sqlite_errorname", None)
    return f"{cause} ({name})" if name else str(cause)


def _advice(cause: Exception) -> str:
    """What a person is to do about an error."""
    full = getattr(cause, "sqlite_errorname", None) == "SQLITE_FULL"
    return "make room on the disk" if full else "check the disk"
