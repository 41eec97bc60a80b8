"""Short lives of processes that use a store, for the tests that end them.

They are run as `python -m tests.store_lives LIFE DIRECTORY ...`.  Each life opens the store in the directory
it is given and says on its standard output what was acknowledged, line by line and unbuffered, so that
whoever kills it knows what must be there afterwards.
"""

import itertools
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from paxos.errors import StoreFailed, StoreRefused
from paxos.runtime import sqlite_store
from paxos.runtime.sqlite_store import SqliteStore, open_sqlite_store

RECORDS_A_BATCH = 8
#: Calls that change a disk, or a connection to one: who is killed before each of them is killed anywhere.
TOUCHES_DISK = {
    "close", "connect", "execute", "executemany", "fetchall", "fetchone", "fsync", "mkdir", "open",
    "replace", "unlink", "write",
}  # fmt: skip


@contextmanager
def quick_directory() -> Iterator[Path]:
    """A directory to work in for a while: in memory, where there is a place for that."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="paxos-test-", dir=memory if usable else None) as place:
        yield Path(place)


def opened(directory: Path) -> SqliteStore:
    """The store all lives use."""
    return open_sqlite_store(directory, cluster="lives", node=1, protocol="paxos")


def say(line: str) -> None:
    """One line, at once, in one system call."""
    os.write(1, line.encode() + b"\n")


def batch_of(number: int) -> list[tuple[bytes, bytes | None]]:
    """The batch of that number: some records of its own, and a counter that every batch raises."""
    own = [(b"%06d/%d" % (number, part), b"%d" % number * 30) for part in range(RECORDS_A_BATCH)]
    return [*own[:4], (b"number", b"%d" % number), *own[4:]]


def write(directory: Path, checkpoint_records: str = "4000") -> None:
    """Write batch after batch, from where an earlier life ended, until killed."""
    sqlite_store._CHECKPOINT_RECORDS = int(checkpoint_records)  # type: ignore[misc]
    store = opened(directory)
    start = int(store.load().get(b"number", b"-1")) + 1
    say("open")
    for number in itertools.count(start):
        store.write(batch_of(number))
        say(f"wrote {number}")


def hold(directory: Path) -> None:
    """Keep the store open until standard input ends."""
    store = opened(directory)
    say("open")
    sys.stdin.read()
    store.close()


def forget(directory: Path) -> None:
    """End without closing."""
    opened(directory).write(batch_of(0))


def count(directory: Path, batches: str) -> None:
    """Write so many batches, and delete a range, for somebody who watches the system calls."""
    store = opened(directory)
    say("open")
    for number in range(int(batches)):
        store.write(batch_of(number))
        say(f"wrote {number}")
    store.delete_range(b"000000/", b"000001/")
    say("deleted")
    store.close()


def fail(directory: Path, room_bytes: str = "") -> None:
    """Write until the disk fails, which somebody else sees to, or until files may not grow any more."""
    store = opened(directory)
    say("open")
    if room_bytes:
        largest = max(file.stat().st_size for file in directory.iterdir())
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + int(room_bytes), hard))
    try:
        for number in itertools.count():
            store.write(batch_of(number))
            say(f"wrote {number}")
    except StoreFailed as error:
        say(f"failed: {error}")
    for call in (lambda: store.write(batch_of(0)), lambda: store.delete_range(b"0", b"1"), store.load):
        try:
            call()
            say("went on after a failure")
        except StoreFailed as error:
            say(f"refused: {error}")
    store.close()
    say("closed")


def unwritable(directory: Path) -> None:
    """Try to open a directory in which this user may not write."""
    if os.geteuid() == 0:
        # Permissions do not hold the superuser; nobody is held by them.
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        opened(directory)
        say("opened")
    except StoreRefused as error:
        say(f"refused: {error}")


def fork(directory: Path) -> None:
    """Whether a child that ends, or closes its copy, leaves the parent's store alone."""
    store = opened(directory)
    store.write(batch_of(0))
    child = os.fork()
    if child == 0:
        store.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert (directory / "records.sqlite3-wal").exists(), "the child removed the parent's log"
    try:
        opened(directory)
        say("the child let go of the parent's lock")
    except StoreRefused:
        store.write(batch_of(1))
        store.close()
        say("kept")


# ---- killed at every point ---------------------------------------------------------------------------


def _steps() -> list[tuple[str, Callable[[SqliteStore], None]]]:
    """What one life does: a letter to acknowledge it by, and how it is done."""
    return [
        ("w", lambda store: store.write([(b"a", b"1"), (b"b", b"2")])),
        ("w", lambda store: store.write([(b"b", None), (b"c", b"x" * 5000)])),
        ("w", lambda store: store.write([(b"never there", None)])),
        ("w", lambda store: store.delete_range(b"a", b"b")),
        ("c", lambda store: store.close()),
        ("w", lambda store: store.write([(b"d", b"4")])),
        ("c", lambda store: store.close()),
    ]


_STATES: list[dict[bytes, bytes]] = [
    {},
    {b"a": b"1", b"b": b"2"},
    {b"a": b"1", b"c": b"x" * 5000},
    {b"a": b"1", b"c": b"x" * 5000},
    {b"c": b"x" * 5000},
    {b"c": b"x" * 5000, b"d": b"4"},
]


def _live(directory: Path, acknowledge: int, deadly: int) -> None:
    """Live the life, and end at the deadly call; an acknowledged step is a letter in the pipe."""
    calls = 0

    def watch(_frame: FrameType, event: str, function: Any) -> None:
        nonlocal calls
        if event == "c_call" and function.__name__ in TOUCHES_DISK:
            calls += 1
            if calls == deadly:
                os._exit(77)

    sys.setprofile(watch)
    store: SqliteStore | None = None
    for letter, step in _steps():
        if store is None:
            store = opened(directory)
            os.write(acknowledge, b"o")
        step(store)
        os.write(acknowledge, letter.encode())
        store = None if letter == "c" else store
    os._exit(0)


def killpoints(directory: Path) -> None:
    """Live the same life again and again, each time killed one call later; after each, open and compare."""
    for deadly in itertools.count(1):
        place = directory / str(deadly)
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            _live(place, writable, deadly)
        os.close(writable)
        _, status = os.waitpid(child, 0)
        with os.fdopen(readable, "rb") as pipe:
            acknowledged = pipe.read()
        writes, openings = acknowledged.count(b"w"), acknowledged.count(b"o")
        for opening in (1, 2):
            store = opened(place)
            assert store.load() in _STATES[writes : writes + 2], (deadly, opening, acknowledged)
            assert openings < store.card.incarnation <= openings + opening + 1, (deadly, acknowledged)
            store.close()
        shutil.rmtree(place)
        if status == 0:
            say(f"killed {deadly - 1} times")
            return
        assert os.waitstatus_to_exitcode(status) == 77, (deadly, status)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
