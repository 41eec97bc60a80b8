"""A simulated disk, and the durability rule carried out exactly.

What a node wants written goes into a queue.  One sync is under way at a time; what comes meanwhile
gathers and is the next one (group commit).  A message that reports durable state is queued behind the
writes it depends on and leaves when they, and all before them, are on the disk.  Memory of anything
else dies with the node: a crash keeps what was synced, and of the rest whatever the fault says.
"""

from collections.abc import Sequence
from typing import TypeAlias

from paxos.ballot import NodeId
from paxos.contract import Message

__all__ = ["Disk"]

_Writes: TypeAlias = Sequence[tuple[bytes, bytes | None]]
_Held: TypeAlias = list[tuple[NodeId, Message]]


class Disk:
    """One node's disk.

    Args:
        prefix: what the replica's keys begin with, for `replica_records`; None where nobody looks.

    Attributes:
        durable: the records that survive anything but a wipe.
        replica_records: those of the replica, keyed as it writes them.
        working: whether a sync is under way.
    """

    __slots__ = ("_cut", "_gathering", "_prefix", "_syncing", "durable", "replica_records", "working")

    def __init__(self, prefix: bytes | None = None) -> None:
        self.durable: dict[bytes, bytes] = {}
        self.replica_records: dict[bytes, bytes] = {}
        self.working: bool = False
        self._prefix = prefix
        self._cut = len(prefix or b"")
        self._syncing: list[tuple[_Writes, _Held]] = []
        self._gathering: list[tuple[_Writes, _Held]] = []

    def take(self, writes: _Writes, held: _Held) -> bool:
        """Queue one atomic batch, and what must wait for it.

        Returns:
            Whether `held` may leave at once, because nothing was queued before it and it brings nothing.
        """
        if not writes:
            if not self.working:
                return True
            # Nothing to write: it waits for what is already under way and no longer.
            (self._gathering or self._syncing).append((writes, held))
        else:
            self._gathering.append((writes, held))
        return False

    def write_at_once(self, writes: _Writes) -> bool:
        """Write one atomic batch that takes no time; False while others are queued before it."""
        if self.working or self._gathering:
            return False
        if writes:
            self._write(writes)
        return True

    def start(self) -> bool:
        """Begin a sync of all that has gathered, if none is under way; whether one has begun."""
        if self.working or not self._gathering:
            return False
        self._syncing, self._gathering = self._gathering, []
        self.working = True
        return True

    def finish(self) -> _Held:
        """The sync under way is done; what may leave now, in order."""
        released: _Held = []
        for writes, held in self._syncing:
            if writes:
                self._write(writes)
            if held:
                released += held
        self._syncing = []
        self.working = False
        return released

    @property
    def batches(self) -> list[_Writes]:
        """The batches that a crash now would find not synced, in order."""
        return [writes for writes, _ in (*self._syncing, *self._gathering) if writes]

    @property
    def unsynced(self) -> int:
        """How many batches a crash now would find not synced."""
        return len(self.batches)

    def crash(self, keep: int) -> None:
        """The node is gone: of the batches not synced the first `keep` survive; no message does."""
        for writes in self.batches[:keep]:
            self._write(writes)
        self._syncing, self._gathering = [], []
        self.working = False

    def wipe(self) -> None:
        """All records are gone."""
        self.crash(0)
        self.durable.clear()
        self.replica_records.clear()

    def _write(self, writes: _Writes) -> None:
        durable = self.durable
        for key, value in writes:
            if value is None:
                durable.pop(key, None)
            else:
                durable[key] = value
        if self._prefix is not None:
            self._write_view(writes, self._prefix)

    def _write_view(self, writes: _Writes, prefix: bytes) -> None:
        cut, records = self._cut, self.replica_records
        for key, value in writes:
            if not key.startswith(prefix):
                continue
            if value is None:
                records.pop(key[cut:], None)
            else:
                records[key[cut:]] = value
