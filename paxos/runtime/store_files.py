"""What lies beside the records of a store on disk: a lock, and an identity card.

A directory holds one store:

    lock             held for the life of the store, so that two processes never use it at once; its text
                     names the process, the incarnation that is open, and how far its log had got
    identity.json    the store's card, for the reader and as a witness: the same card is kept with the
                     records, so when either of the two goes missing the other tells
    records.sqlite3  the records

A witness must be on disk before it is needed.  So everything here is written, synced, renamed into place
and its directory synced before the call returns; only the lock is overwritten in place, within one sector,
so that a store can be closed on a disk that has no room left.
"""

import json
import os
import sys
import zlib
from pathlib import Path
from typing import Final, NamedTuple

from paxos.errors import StoreRefused
from paxos.runtime.store import FORMAT_VERSION, StoreCard

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "LOCK_NAME",
    "MARKER_NAME",
    "NEW_SUFFIX",
    "DirectoryLock",
    "LogMark",
    "check_format",
    "decode_card",
    "encode_card",
    "make_directory",
    "read_marker",
    "sync_directory",
    "sync_file",
    "write_marker",
]

LOCK_NAME: Final = "lock"
MARKER_NAME: Final = "identity.json"
#: Ends the name of a file that is being written and not yet in its place.
NEW_SUFFIX: Final = ".new"

_CARD_FIELDS: Final = {"cluster": str, "node": int, "protocol": str, "store_id": str, "incarnation": int}
_CARD_LIMIT_BYTES: Final = 64 * 1024
#: Windows locks bytes, and a locked byte can not be read: so one far beyond the text.
_LOCKED_BYTE: Final = 1 << 30


def sync_file(descriptor: int) -> None:
    """Return when what was written to a file is on disk. Raises `OSError`."""
    if sys.platform == "darwin":
        # There fsync stops at the drive's own cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_directory(directory: Path) -> None:
    """Return when the names in a directory are on disk. Raises `OSError`."""
    if sys.platform != "win32":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory and those above it, durably, where they are missing.

    Raises:
        StoreRefused: something else is there, or it can not be made.
    """
    missing: list[Path] = []
    try:
        here = directory.absolute()
        while not here.exists():
            missing.append(here)
            here = here.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            sync_directory(new.parent)
    except OSError as cause:
        raise StoreRefused(
            f"store {directory}: the directory can not be made: {cause}; give one that can be written"
        ) from cause
    if not directory.is_dir():
        raise StoreRefused(f"store {directory}: is not a directory; give a directory of the node's own")


def encode_card(card: StoreCard) -> str:
    """A card as text, with the format version and a checksum."""
    fields: dict[str, object] = {"format": FORMAT_VERSION}
    fields.update({name: getattr(card, name) for name in _CARD_FIELDS})
    fields["crc"] = _card_crc(fields)
    return json.dumps(fields, indent=1) + "\n"


def decode_card(text: str | bytes, where: str) -> StoreCard:
    """The card that `encode_card` wrote.

    Args:
        text: what was read.
        where: what it was read from, for the message.

    Raises:
        StoreRefused: it is of a newer format version, or not what was written.
    """
    damaged = StoreRefused(
        f"{where}: the store's identity is damaged; put back a copy of the whole directory made while the "
        f"node was stopped and after its last write, or leave the node down: a cluster's members are fixed"
    )
    try:
        fields = json.loads(text)
    except ValueError as cause:
        raise damaged from cause
    if not isinstance(fields, dict) or type(fields.get("format")) is not int:
        raise damaged
    check_format(fields["format"], where)
    stated = fields.pop("crc", None)
    if set(fields) != {"format", *_CARD_FIELDS} or stated != _card_crc(fields):
        raise damaged
    if any(type(fields[name]) is not kind for name, kind in _CARD_FIELDS.items()):
        raise damaged
    return StoreCard(**{name: fields[name] for name in _CARD_FIELDS})


def check_format(version: int, where: str) -> None:
    """Refuse a format version that this release does not read.

    Raises:
        StoreRefused: the message names both versions.
    """
    if version != FORMAT_VERSION:
        age = "a newer" if version > FORMAT_VERSION else "an unknown"
        raise StoreRefused(
            f"{where}: is of {age} format version {version}, and this release reads version "
            f"{FORMAT_VERSION}; start the node with the release that wrote it"
        )


def _card_crc(fields: dict[str, object]) -> int:
    return zlib.crc32(json.dumps(fields, sort_keys=True).encode())


def write_marker(directory: Path, card: StoreCard) -> None:
    """Put the card beside the records, durably, in place of the one there. Raises `OSError`."""
    path = directory / MARKER_NAME
    new = path.with_name(MARKER_NAME + NEW_SUFFIX)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, encode_card(card).encode())
        sync_file(descriptor)
    finally:
        os.close(descriptor)
    os.replace(new, path)
    sync_directory(directory)


def read_marker(directory: Path) -> StoreCard | None:
    """The card beside the records, or None if there is none.

    Raises:
        StoreRefused: it is damaged, or of a newer format version.
    """
    path = directory / MARKER_NAME
    try:
        with path.open("rb") as file:
            text = file.read(_CARD_LIMIT_BYTES)
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise StoreRefused(f"{path}: can not be read: {cause}") from cause
    return decode_card(text, str(path))


class LogMark(NamedTuple):
    """How far a store's log had got: what was acknowledged must be in it.

    Args:
        generation: which log; it changes when the log starts over, and 0 is none.
        commits: how many batches were in it.
    """

    generation: int
    commits: int


_NO_MARK: Final = LogMark(0, 0)


class _LockText(NamedTuple):
    """What stands in the lock; the process is 0 when nobody is named, and `blank` when it says nothing."""

    process: int
    incarnation: int
    mark: LogMark
    blank: bool = False

    def encode(self) -> bytes:
        # Always the same length, so it is written over in place, at once, and whole.
        return b"%20d %20d %20d %20d\n" % (self.process, self.incarnation, *self.mark)


_BLANK: Final = _LockText(0, 0, _NO_MARK, blank=True)


class DirectoryLock:
    """The right to use a directory, which only one process has at a time.

    The operating system gives it up when the process ends, however it ends.  The text in the file does not
    go away like that, which is its use: `open_incarnation` is 0 after a proper close, and after a crash the
    incarnation that was cut short.  Then the store's log must still be there, and hold what `mark` says.
    """

    def __init__(self, descriptor: int | None, text: _LockText) -> None:
        self._descriptor = descriptor
        #: Whether nothing stands in it: the store was never opened, or the file is not the one it had.
        self.blank: bool = text.blank
        self.open_incarnation: int = text.incarnation
        self.mark: LogMark = text.mark

    @classmethod
    def acquire(cls, directory: Path) -> "DirectoryLock":
        """Take the directory, or refuse at once.

        Raises:
            StoreRefused: it is in use (by a process whose number is named), or can not be written.
        """
        path = directory / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as cause:
            raise StoreRefused(
                f"store {directory}: can not be written: {cause}; give a directory this user may write in"
            ) from cause
        try:
            _lock(descriptor, directory, shared=False)
            text = _read_lock(descriptor)
            lock = cls(descriptor, text)
            if not text.blank:
                lock._write(text._replace(process=os.getpid()))
                sync_file(descriptor)
        except OSError as cause:
            os.close(descriptor)
            raise StoreRefused(f"store {directory}: can not be written: {cause}") from cause
        except BaseException:
            os.close(descriptor)
            raise
        return lock

    @classmethod
    def look(cls, directory: Path) -> "DirectoryLock":
        """Make sure that no process uses the directory while this one looks, and write nothing.

        Raises:
            StoreRefused: it is in use.
        """
        path = directory / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return cls(None, _BLANK)
        except OSError as cause:
            raise StoreRefused(f"{path}: can not be read: {cause}") from cause
        try:
            _lock(descriptor, directory, shared=True)
            return cls(descriptor, _read_lock(descriptor))
        except BaseException:
            os.close(descriptor)
            raise

    def claim(self) -> None:
        """Write down who has a directory in which nothing was opened yet. Raises `OSError`."""
        assert self._descriptor is not None, "only an acquired lock is written"
        self._write(_LockText(os.getpid(), 0, _NO_MARK))
        sync_file(self._descriptor)
        self.blank = False

    def set_open(self, incarnation: int, mark: LogMark = _NO_MARK) -> None:
        """Note durably which incarnation is open; 0 for none. Needs no room on the disk. Raises `OSError`."""
        self.open_incarnation, self.mark = incarnation, mark
        self._write(_LockText(os.getpid() if incarnation else 0, incarnation, mark))
        assert self._descriptor is not None
        sync_file(self._descriptor)

    def set_mark(self, mark: LogMark) -> None:
        """Note how far the log has got, which must be on disk by then. Raises `OSError`.

        This is not synced, and need not be: a mark that a power cut takes back only says less.
        """
        self.mark = mark
        self._write(_LockText(os.getpid(), self.open_incarnation, mark))

    def release(self) -> None:
        """Let another process take the directory."""
        if self._descriptor is not None:
            # The file stays: removing it could remove the one that somebody else has just locked.
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, text: _LockText) -> None:
        descriptor = self._descriptor
        assert descriptor is not None, "only an acquired lock is written"
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text.encode())


def _lock(descriptor: int, directory: Path, *, shared: bool) -> None:
    """Lock a file without waiting."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        who = _holder(_read_lock(descriptor).process)
        raise StoreRefused(f"store {directory}: in use by {who}; stop it first") from None
    except OSError as cause:
        raise StoreRefused(
            f"store {directory}: can not be locked: {cause}; give a directory on a local disk"
        ) from cause


def _holder(process: int) -> str:
    """The process that a lock's text names, in words; it is not the holder if somebody only looks."""
    if process == os.getpid():
        return f"this very process ({process})"
    if process == 0:
        return "another process"
    if sys.platform != "win32":  # where signal 0 is not a question
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return "another process"
        except PermissionError:
            pass
    return f"process {process}"


def _read_lock(descriptor: int) -> _LockText:
    """What stands in the lock."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    words = os.read(descriptor, 128).split()
    if len(words) != 4 or not all(word.isdigit() for word in words):
        return _BLANK
    process, incarnation, generation, commits = map(int, words)
    return _LockText(process, incarnation, LogMark(generation, commits))
