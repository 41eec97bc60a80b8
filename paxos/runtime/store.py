"""A durable store: what one node must not forget, and whose it is.

A protocol's safety rests on a few records that survive a crash.  A store keeps them as plain
`key -> value` bytes and promises little, but exactly: `write` returns only when the whole batch is on
disk, a batch is there entirely or not at all, and whatever is wrong with the disk is an error and never
a silently empty or older start.  A node that forgets a promise breaks every protocol here, so a store
that is not certain refuses.

A store also says whose it is.  Its *card* holds the cluster, the node, the protocol, a random store id
made with the store, and an incarnation that is raised durably at every opening.  A store of another
node is refused by comparing cards; a wiped disk under a known node id is found by the peers, who
remember the store id.

Every method is synchronous and blocks for as long as the disk takes.  A driver calls them from a worker
thread, off its event loop, and never two at once.

`open_store` finds a store by its address: a directory is kept by sqlite, `memory` is a store that
forgets, `name:rest` is the store another distribution registered in the entry-point group
`paxos.stores`.
"""

import re
import secrets
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

import attrs

from paxos.errors import ConfigurationError, StoreError, StoreFailed, StoreRefused

__all__ = [
    "ENTRY_POINT_GROUP",
    "FORMAT_VERSION",
    "KEY_LIMIT_BYTES",
    "VALUE_LIMIT_BYTES",
    "Batch",
    "MemoryDisk",
    "MemoryStore",
    "OneAtATime",
    "SortedBatch",
    "Store",
    "StoreCard",
    "StoreFactory",
    "StoreReport",
    "VerifyRecord",
    "check_identity",
    "check_range",
    "inspect_store",
    "new_card",
    "open_store",
    "record_name",
    "sort_batch",
    "split_store",
]

#: Where other distributions register stores: `name = "package.module:factory"`.
ENTRY_POINT_GROUP: Final = "paxos.stores"
#: Version of what this release writes to disk; a store of a newer one is refused.
FORMAT_VERSION: Final = 1
#: Longest key a store must take, bytes. Keys are at least one byte. It leaves room for the longest key of a
#: command (1024 bytes) and what a node and its replica put before it.
KEY_LIMIT_BYTES: Final = 2048
#: Longest value a store must take, bytes. What is larger is cut into chunks by whoever writes it.
VALUE_LIMIT_BYTES: Final = 64 * 1024 * 1024

#: Records to write, in order: `(key, value)`, or `(key, None)` to delete. The last word on a key counts.
Batch: TypeAlias = Sequence[tuple[bytes, bytes | None]]
#: Looks at one record of an offline store: None if it is well, else one sentence on what is wrong.
VerifyRecord: TypeAlias = Callable[[bytes, bytes], str | None]

_MEMORY: Final = "memory"
_SQLITE: Final = "sqlite"
#: A scheme has two letters or more, so that `C:\data` stays a path, and no slash, so that `./a:b` does.
_SCHEME: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_.-]+):(?P<rest>.*)", re.DOTALL)


@attrs.frozen
class StoreCard:
    """Whose a store is.

    Args:
        cluster: id of the cluster.
        node: id of the node, unique in the cluster and never reused.
        protocol: name of the protocol whose records these are.
        store_id: 32 hexadecimal digits, drawn at random when the store was made; a wiped disk has another.
        incarnation: how many times the store was opened; raised durably before an opening returns.
    """

    cluster: str
    node: int
    protocol: str
    store_id: str
    incarnation: int

    def raised(self) -> "StoreCard":
        """The card of the next incarnation."""
        return attrs.evolve(self, incarnation=self.incarnation + 1)


class Store(Protocol):
    """What a node needs of its disk; see the room's header for the promises.

    `paxos.testing.StoreConformance` checks an implementation against them.
    """

    @property
    def card(self) -> StoreCard:
        """Whose store this is, with the incarnation of this opening."""
        ...

    def load(self) -> dict[bytes, bytes]:
        """Every record, in ascending order of keys; the caller may keep and change what it gets.

        Raises:
            StoreRefused: a record is not what was written; the message names it.
            StoreFailed: the store failed before, or is closed.
        """
        ...

    def write(self, batch: Batch) -> None:
        """Write and delete records, all or none, and return when they are on disk.

        Raises:
            StoreFailed: the disk is full or broken, or the store failed before, or is closed. The batch may
                or may not be there after a restart; no later call succeeds.
            StoreError: a key or value that no store takes; nothing happened.
        """
        ...

    def delete_range(self, low: bytes, high: bytes) -> None:
        """Delete every record with `low <= key < high` and return when that is on disk.

        Raises:
            StoreFailed: as `write`.
        """
        ...

    def close(self) -> None:
        """Let go of the store so that another may open it. Closing again does nothing."""
        ...


class StoreFactory(Protocol):
    """What an entry point in the group `paxos.stores` names.

    A factory may also have a method `inspect(rest, verify) -> StoreReport`, for looking at a store offline.
    """

    def __call__(self, rest: str, *, cluster: str, node: int, protocol: str) -> Store:
        """Open the store at `rest` (what follows `name:`), as `open_store` does."""
        ...


@attrs.frozen
class StoreReport:
    """What an offline look at a store found; see `inspect_store`.

    Args:
        where: the store looked at.
        card: whose it is; the incarnation is that of the last opening.
        format_version: version of what is on disk.
        records: how many records there are.
        size_bytes: their keys and values together, bytes.
        clean: whether it was closed properly the last time; a killed node's store was not, and is still well.
        structure: complaints about the file's structure; empty if it is well.
        damaged: complaints about single records, the first few; empty if all are well.
        damaged_count: how many records are damaged.
    """

    where: str
    card: StoreCard
    format_version: int
    records: int
    size_bytes: int
    clean: bool
    structure: tuple[str, ...]
    damaged: tuple[str, ...]
    damaged_count: int

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.structure and self.damaged_count == 0


class OneAtATime:
    """Says so when two threads are in a store at once, which would be a bug of the driver.

    A lock that waits would hide the bug, and with it the order in which the batches were meant.
    """

    __slots__ = ("_lock", "_where")

    def __init__(self, where: str) -> None:
        self._where = where
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise StoreError(
                f"store {self._where}: called while an earlier call is still running; "
                f"a store takes one call at a time"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


def record_name(key: bytes) -> str:
    """A key as it stands in messages: readable, and short whatever the key."""
    return repr(key) if len(key) <= 64 else f"{key[:64]!r}... ({len(key)} bytes)"


def _check_key(key: object) -> None:
    if type(key) is not bytes:
        raise StoreError(f"a record's key is bytes, not {type(key).__name__}; nothing was written")
    if not 1 <= len(key) <= KEY_LIMIT_BYTES:
        raise StoreError(
            f"a record's key has 1 to {KEY_LIMIT_BYTES} bytes, this one {len(key)}: "
            f"{record_name(key)}; nothing was written"
        )


class SortedBatch(NamedTuple):
    """A batch with one word per key; see `sort_batch`."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]


def sort_batch(batch: Batch) -> SortedBatch:
    """Check a batch, keep the last word on each key, and part what is written from what is deleted.

    For those who implement a store: after it the order no longer matters.

    Raises:
        StoreError: a key or value that no store takes.
    """
    last: dict[bytes, bytes | None] = {}
    for key, value in batch:
        _check_key(key)
        if value is not None and type(value) is not bytes:
            raise StoreError(
                f"record {record_name(key)}: a value is bytes or None, not {type(value).__name__}; "
                f"nothing was written"
            )
        if value is not None and len(value) > VALUE_LIMIT_BYTES:
            raise StoreError(
                f"record {record_name(key)}: a value has at most {VALUE_LIMIT_BYTES} bytes, "
                f"this one {len(value)}; nothing was written"
            )
        last[key] = value
    puts = [(key, value) for key, value in last.items() if value is not None]
    return SortedBatch(puts, [key for key, value in last.items() if value is None])


def check_range(low: object, high: object) -> None:
    """Check the bounds of a range to delete.

    Raises:
        StoreError: a bound is not bytes; None does not mean "everything".
    """
    if type(low) is not bytes or type(high) is not bytes:
        raise StoreError(
            f"a range of records is given as two bytes, not "
            f"{type(low).__name__} and {type(high).__name__}; nothing was deleted"
        )


def new_card(*, cluster: str, node: int, protocol: str, store_id: str | None = None) -> StoreCard:
    """The card of a store that is being made: a fresh store id, unless given, and no incarnation yet."""
    return StoreCard(
        cluster=cluster,
        node=node,
        protocol=protocol,
        store_id=store_id or secrets.token_hex(16),
        incarnation=0,
    )


def check_identity(card: StoreCard, where: str, *, cluster: str, node: int, protocol: str) -> None:
    """Refuse a store that is another's.

    Raises:
        StoreRefused: cluster, node or protocol differ; the message names both of each.
    """
    asked = {"cluster": cluster, "node": node, "protocol": protocol}
    found = {"cluster": card.cluster, "node": card.node, "protocol": card.protocol}
    differences = [
        f"{name} {found[name]!r}, not {asked[name]!r}" for name in asked if found[name] != asked[name]
    ]
    if differences:
        raise StoreRefused(
            f"store {where}: belongs to {' and '.join(differences)}; "
            f"give the node a directory of its own, or correct the configuration"
        )


class MemoryDisk:
    """What memory stores leave behind when they close, so that a test can restart a node."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.card: StoreCard | None = None
        self.in_use: bool = False

    def open(self, *, cluster: str, node: int, protocol: str) -> "MemoryStore":
        """Open the store on this disk, making it if there is none.

        Raises:
            StoreRefused: another store is open on it, or it is another's.
        """
        if self.in_use:
            raise StoreRefused("store memory: in use by this process; close it first")
        card = self.card or new_card(cluster=cluster, node=node, protocol=protocol)
        check_identity(card, _MEMORY, cluster=cluster, node=node, protocol=protocol)
        self.card = card.raised()
        self.in_use = True
        return MemoryStore(self, self.card)


class MemoryStore:
    """A store that forgets when the process ends: for tests, and for clusters that live in one process.

    Args:
        disk: where the records are.
        card: whose it is.
    """

    def __init__(self, disk: MemoryDisk, card: StoreCard) -> None:
        self._disk = disk
        self._card = card
        self._turn = OneAtATime(_MEMORY)
        self._open = True

    @property
    def card(self) -> StoreCard:
        """Whose store this is."""
        return self._card

    def load(self) -> dict[bytes, bytes]:
        """Every record, in ascending order of keys."""
        with self._turn:
            self._require_open()
            return dict(sorted(self._disk.records.items()))

    def write(self, batch: Batch) -> None:
        """Write and delete records."""
        puts, deletes = sort_batch(batch)
        with self._turn:
            self._require_open()
            self._disk.records.update(puts)
            for key in deletes:
                self._disk.records.pop(key, None)

    def delete_range(self, low: bytes, high: bytes) -> None:
        """Delete every record with `low <= key < high`."""
        check_range(low, high)
        with self._turn:
            self._require_open()
            for key in [key for key in self._disk.records if low <= key < high]:
                del self._disk.records[key]

    def close(self) -> None:
        """Let go of the disk."""
        with self._turn:
            if self._open:
                self._open = False
                self._disk.in_use = False

    def _require_open(self) -> None:
        if not self._open:
            raise StoreFailed("store memory: it is closed; open it again")


def open_store(url: str, *, cluster: str, node: int, protocol: str) -> Store:
    """Open a node's store, making it if there is none, and raise its incarnation durably.

    Args:
        url: a directory of this node's own (or `sqlite:DIRECTORY`), `memory`, or `name:rest` for the store
            registered as `name` in the entry-point group `paxos.stores`.
        cluster: id of the cluster.
        node: id of the node.
        protocol: name of the protocol.

    Raises:
        StoreRefused: the store is another's, of a newer format version, in use, damaged, has lost something,
            can not be written, or the directory holds something else.
        ConfigurationError: there is no such kind of store.
    """
    name, rest = _split(url)
    if name == _MEMORY:
        return MemoryDisk().open(cluster=cluster, node=node, protocol=protocol)
    if name == _SQLITE:
        # Imported here so that who keeps nothing on disk loads no sqlite.
        from paxos.runtime.sqlite_store import open_sqlite_store

        return open_sqlite_store(Path(rest), cluster=cluster, node=node, protocol=protocol)
    return _factory(name, url)(rest, cluster=cluster, node=node, protocol=protocol)


def inspect_store(url: str, *, verify: VerifyRecord | None = None) -> StoreReport:
    """Look at a store that no node is using, changing nothing: not its incarnation, not a file.

    Args:
        url: as for `open_store`.
        verify: called with the key and value of each record whose checksum is right; what it returns, unless
            None, is reported as that record's damage.

    Raises:
        StoreRefused: there is no store, it is in use, or it is damaged beyond reading.
        ConfigurationError: there is no such kind of store, or it can not be inspected.
    """
    name, rest = _split(url)
    if name == _MEMORY:
        raise ConfigurationError("store memory: leaves nothing on a disk to look at")
    if name == _SQLITE:
        from paxos.runtime.sqlite_store import inspect_sqlite_store

        return inspect_sqlite_store(Path(rest), verify=verify)
    inspect = getattr(_factory(name, url), "inspect", None)
    if inspect is None:
        raise ConfigurationError(f"store {url}: stores of kind {name!r} can not be looked at offline")
    return cast(StoreReport, inspect(rest, verify))


def split_store(url: str) -> tuple[str, str]:
    """The kind of store that an address names ("memory", "sqlite", a plug-in's), and the rest of it.

    Raises:
        ConfigurationError: no address, or there is no such kind.
    """
    name, rest = _split(url)
    if name not in (_MEMORY, _SQLITE):
        _factory(name, url)
    return name, rest


def _split(url: str) -> tuple[str, str]:
    if not url:
        raise ConfigurationError("store: no address given; give a directory, or 'memory'")
    if url == _MEMORY:
        return _MEMORY, ""
    match = _SCHEME.fullmatch(url)
    if match is None:
        return _SQLITE, url
    if match["name"] == _SQLITE and not match["rest"]:
        raise ConfigurationError(f"store {url}: no directory given; write sqlite:DIRECTORY")
    return match["name"], match["rest"]


def _factory(name: str, url: str) -> StoreFactory:
    """The factory another distribution registered under that name."""
    known = entry_points(group=ENTRY_POINT_GROUP)
    for entry in known:
        if entry.name == name:
            factory: Any = entry.load()
            return cast(StoreFactory, factory)
    others = "".join(f", {other}:..." for other in sorted({entry.name for entry in known}))
    raise ConfigurationError(
        f"store {url}: there is no kind of store named {name!r} (there are: a directory, memory{others}); "
        f"a directory with a colon in its name is written ./{url}"
    )
