"""A node is who it says: no vote from a disk that forgot.

A member that lost its disk and votes again has amnesia: it may promise what it had already refused,
and every protocol here loses agreement.  So a store carries a random id, and before a node's first
vote that id is durably known at a majority of the cluster *beside the node itself*: a wiped disk does
not count as a witness of what it held.  Two such majorities of others share a member, so the second
store of one node always meets somebody who knows the first, and the node stops.

The price is paid once: the very first start of a node needs that many others (both of the other two in
a cluster of three).  After it, any minority may be down, at any start.
"""

from typing import Final

from paxos.ballot import NodeId
from paxos.contract import Message, Records
from paxos.errors import NodeStopped, RecordError, WireError
from paxos.service.messages import Introduce, Introduced, LostDisk
from paxos.wire import decode_record, encode_record, expect_fields, take_bytes

__all__ = ["IDENTITY_PREFIX", "Identity", "witnesses_needed"]

#: Keys of the node's own records, apart from every replica's.
IDENTITY_PREFIX: Final = b"n"
_KNOWN: Final = IDENTITY_PREFIX + b"K"
_INTRODUCED: Final = IDENTITY_PREFIX + b"I"

_KIND_KNOWN: Final = 250
_KIND_INTRODUCED: Final = 251
_VERSION: Final = 1

_REPEAT_S: Final = 0.1
_REPEAT_MAX_S: Final = 2.0


def witnesses_needed(members: int) -> int:
    """How many other members must know a node's store before it votes: a majority's size, of the others."""
    return min(members // 2 + 1, members - 1)


class Identity:
    """Whose store this is, whose stores the others have, and whether this node may vote yet.

    Args:
        node: this node's id.
        members: every member's id.
        store_id: 16 random bytes, made with the store.
        records: what the store held.
        now_s: monotonic seconds.

    Raises:
        RecordError: an identity record is damaged, or belongs to another store.
    """

    def __init__(
        self, node: NodeId, members: tuple[NodeId, ...], store_id: bytes, records: Records, now_s: float
    ) -> None:
        self.node: NodeId = node
        self.store_id: bytes = store_id
        self._others = tuple(member for member in members if member != node)
        self._needed = witnesses_needed(len(members))
        self._known: dict[NodeId, bytes] = {}
        self._witnesses: set[NodeId] = set()
        self._delay_s = _REPEAT_S
        self.writes: list[tuple[bytes, bytes | None]] = []
        self.sends: list[tuple[NodeId, Message]] = []
        #: Whether this node may vote.
        self.introduced: bool = False
        #: When to repeat the introduction, monotonic seconds; None once introduced.
        self.wake_at_s: float | None = None
        for key, data in records.items():
            if key.startswith(_KNOWN):
                self._known[int.from_bytes(key[len(_KNOWN) :], "big")] = _take(data, _KIND_KNOWN, key)
            elif key == _INTRODUCED:
                if _take(data, _KIND_INTRODUCED, key) != store_id:
                    raise RecordError(f"record {key!r}: this data was copied from another store")
                self.introduced = True
        if not self.introduced:
            self._introduce(now_s)

    @property
    def missing(self) -> tuple[NodeId, ...]:
        """The members that have not yet confirmed this node's store; empty once introduced."""
        return () if self.introduced else tuple(m for m in self._others if m not in self._witnesses)

    @property
    def needed(self) -> int:
        """How many of `missing` must still confirm."""
        return 0 if self.introduced else self._needed - len(self._witnesses)

    def known(self, node: NodeId) -> bytes | None:
        """The store id this node durably knows `node` by."""
        return self.store_id if node == self.node else self._known.get(node)

    def tick(self, now_s: float) -> None:
        """Repeat the introduction when it is due."""
        if self.wake_at_s is not None and now_s >= self.wake_at_s:
            self._delay_s = min(self._delay_s * 2, _REPEAT_MAX_S)
            self._introduce(now_s)

    def receive(self, sender: NodeId, message: Introduce | Introduced | LostDisk) -> None:
        """Handle one of the three messages.

        Raises:
            NodeStopped: a member knows this node by another store.
        """
        if sender not in self._others:
            return
        if isinstance(message, Introduce):
            known = self._known.get(sender)
            if known is None:
                self._known[sender] = message.store_id
                self.writes.append((_known_key(sender), _record(_KIND_KNOWN, message.store_id)))
            elif known != message.store_id:
                self.sends.append((sender, LostDisk(known)))
                return
            self.sends.append((sender, Introduced(message.store_id)))
        elif isinstance(message, Introduced):
            if not self.introduced and message.store_id == self.store_id:
                self._witnesses.add(sender)
                self._conclude()
        elif not self.introduced and message.store_id != self.store_id:
            raise NodeStopped(lost_disk(self.node, self.store_id, sender, message.store_id))

    def _introduce(self, now_s: float) -> None:
        self.wake_at_s = now_s + self._delay_s
        message = Introduce(self.store_id)
        self.sends.extend((member, message) for member in self._others if member not in self._witnesses)
        self._conclude()

    def _conclude(self) -> None:
        if len(self._witnesses) >= self._needed:
            self.introduced = True
            self.wake_at_s = None
            # Lost in a crash, it is only asked for again.
            self.writes.append((_INTRODUCED, _record(_KIND_INTRODUCED, self.store_id)))


def lost_disk(node: NodeId, store_id: bytes, witness: NodeId, known: bytes) -> str:
    """The sentence for a node whose store is not the one the cluster knows."""
    return (
        f"node {node} lost its disk: node {witness} knows it by store {known.hex()}, and this one is "
        f"{store_id.hex()}; restore the old store, or give the machine a new node id"
    )


def _known_key(node: NodeId) -> bytes:
    return _KNOWN + node.to_bytes(4, "big")


def _record(kind: int, store_id: bytes) -> bytes:
    return encode_record(kind, _VERSION, (store_id,))


def _take(data: bytes, kind: int, key: bytes) -> bytes:
    try:
        (store_id,) = expect_fields(decode_record(data, kind, (_VERSION,), key), 1, f"record {key!r}")
        return take_bytes(store_id, f"record {key!r}", 16)
    except WireError as error:
        raise RecordError(str(error)) from error
