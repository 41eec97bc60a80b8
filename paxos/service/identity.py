"""A node is who it says: no vote from a disk that forgot.

A member that lost its disk and votes again has amnesia: it may promise what it had already refused,
and every protocol here loses agreement.  So a store carries a random id, and before a node's first
vote that id is durably known at a majority of the cluster *beside the node itself*: a wiped disk does
not count as a witness of what it held.  Two such majorities of others share a member, so the second
store of one node always meets somebody who knows the first, and the node stops.

The price is paid once: the very first start of a node needs that many others (both of the other two in
a cluster of three).  After it, any minority may be down, at any start.

None of this asks which sets are quorums, and so it holds for every quorum system, also one in which a
node is a quorum alone: what meets is two sets of witnesses, not a set of witnesses and a quorum.  It does
assume that witnesses remember.  A cluster of one has none, and if more disks are lost at once than
`wipes_detected` says, two sets may meet only in members that have forgotten as well.

A store that is *older* than it was has its id still.  So each opening of a store has a number that only
grows (its incarnation) and a nonce, and every node writes down the highest that it has met of each peer,
before it handles a message of it.  A lower one is an old copy; the same number with another nonce is a
second copy.  Who is told so stops, and writes that down too: each further start would raise its number,
and after a few it would pass for new.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from paxos.ballot import NodeId
from paxos.contract import Message, Records
from paxos.errors import DiskLost, RecordError, StoreRefused, WireError
from paxos.service.messages import Introduce, Introduced, LostDisk
from paxos.wire import decode_record, encode_record, expect_fields, take_bytes, take_int, take_text

__all__ = [
    "IDENTITY_PREFIX",
    "SUPERSEDED_KEY",
    "Identity",
    "Opening",
    "introduced_records",
    "lost_disk",
    "superseded",
    "take_superseded",
    "wipes_detected",
    "witnesses_needed",
]

#: Keys of the node's own records, apart from every replica's.
IDENTITY_PREFIX: Final = b"n"
_KNOWN: Final = IDENTITY_PREFIX + b"K"
_INTRODUCED: Final = IDENTITY_PREFIX + b"I"
#: In a store that its peers know a newer copy of: why it must not be used.
SUPERSEDED_KEY: Final = IDENTITY_PREFIX + b"S"

_KIND_KNOWN: Final = 250
_KIND_INTRODUCED: Final = 251
_KIND_SUPERSEDED: Final = 253
_VERSION: Final = 1

_REPEAT_S: Final = 0.1
_REPEAT_MAX_S: Final = 2.0

_STORE_ID_BYTES: Final = 16
_MAX_INCARNATION: Final = (1 << 63) - 1
_MAX_NONCE_BYTES: Final = 64
_MAX_REASON_BYTES: Final = 8192


class Opening(NamedTuple):
    """One opening of a store, which is one life of its node.

    Args:
        store_id: 16 random bytes, made with the store.
        incarnation: which opening of the store, from 1; 0 when nobody has said.
        nonce: random bytes of the process that opened it: copies of a store have the same incarnation, but
            not in the same process.
    """

    store_id: bytes
    incarnation: int = 0
    nonce: bytes = b""


def witnesses_needed(members: int) -> int:
    """How many other members must know a node's store before it votes: a majority's size, of the others."""
    return min(members // 2 + 1, members - 1)


def wipes_detected(members: int) -> int:
    """How many disks may be lost at once so that each of their nodes still finds out.

    Two sets of witnesses share that many members at least: a node that lost its disk meets one who knows,
    unless all of these have forgotten too.  None in a cluster of one, one of two, two of three.
    """
    return 2 * witnesses_needed(members) - (members - 1)


class Identity:
    """Whose store this is, whose stores the others have, and whether this node may vote yet.

    Args:
        node: this node's id.
        members: every member's id.
        store_id: 16 random bytes, made with the store.
        records: what the store held.
        now_s: monotonic seconds.
        observers: ids of the nodes that do not vote. They need no witnesses, and are none.

    Raises:
        RecordError: an identity record is damaged, or belongs to another store.
        StoreRefused: the node's peers have met a newer copy of this store.
    """

    def __init__(
        self,
        node: NodeId,
        members: tuple[NodeId, ...],
        store_id: bytes,
        records: Records,
        now_s: float,
        observers: tuple[NodeId, ...] = (),
    ) -> None:
        self.node: NodeId = node
        self.store_id: bytes = store_id
        self._others = tuple(member for member in members if member != node)
        self._observers = observers
        self._needed = 0 if node in observers else witnesses_needed(len(members))
        self._known: dict[NodeId, Opening] = {}
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
                self._known[int.from_bytes(key[len(_KNOWN) :], "big")] = _take_known(data, key)
            elif key == _INTRODUCED:
                if _take_store_id(data, key) != store_id:
                    raise RecordError(f"record {key!r}: this data was copied from another store")
                self.introduced = True
            elif key == SUPERSEDED_KEY:
                raise StoreRefused(take_superseded(data))
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
        if node == self.node:
            return self.store_id
        opening = self._known.get(node)
        return None if opening is None else opening.store_id

    def met(self, node: NodeId) -> Opening | None:
        """The newest opening of another member's store that this node has met; None before the first."""
        return self._known.get(node)

    def meet(self, node: NodeId, opening: Opening) -> Opening | None:
        """Another member is there, and says which opening of its store it is.

        It is remembered when it is newer than what was known.  The write that this takes must be on disk
        before any message of that opening is handled; else a vote of it could be counted, and after a crash
        here an older copy of that store would pass.

        Returns:
            None when it may take part; else the opening that this node knows, which tells that it may not.
        """
        known = self._known.get(node)
        if known is not None:
            if opening.store_id != known.store_id or opening.incarnation < known.incarnation:
                return known
            if opening.incarnation == known.incarnation:
                return None if opening.nonce == known.nonce else known
        self._remember(node, opening)
        return None

    def give_up(self, reason: str) -> None:
        """A peer has met a newer copy of this node's store: this copy is never to be used again."""
        self.writes.append((SUPERSEDED_KEY, encode_record(_KIND_SUPERSEDED, _VERSION, (reason,))))

    def tick(self, now_s: float) -> None:
        """Repeat the introduction when it is due."""
        if self.wake_at_s is not None and now_s >= self.wake_at_s:
            self._delay_s = min(self._delay_s * 2, _REPEAT_MAX_S)
            self._introduce(now_s)

    def receive(self, sender: NodeId, message: Introduce | Introduced | LostDisk) -> None:
        """Handle one of the three messages.

        Raises:
            DiskLost: a member knows this node by another store.
        """
        if sender not in self._others and not (sender in self._observers and isinstance(message, Introduce)):
            return
        if isinstance(message, Introduce):
            known = self._known.get(sender)
            if known is None:
                self._remember(sender, Opening(message.store_id))
            elif known.store_id != message.store_id:
                self.sends.append((sender, LostDisk(known.store_id)))
                return
            self.sends.append((sender, Introduced(message.store_id)))
        elif isinstance(message, Introduced):
            if not self.introduced and message.store_id == self.store_id:
                self._witnesses.add(sender)
                self._conclude()
        elif not self.introduced and message.store_id != self.store_id:
            raise DiskLost(lost_disk(self.node, self.store_id, sender, message.store_id))

    def _remember(self, node: NodeId, opening: Opening) -> None:
        self._known[node] = opening
        self.writes.append((_known_key(node), encode_record(_KIND_KNOWN, _VERSION, opening)))

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
            self.writes.append((_INTRODUCED, encode_record(_KIND_INTRODUCED, _VERSION, (self.store_id,))))


def introduced_records(node: NodeId, store_ids: Mapping[NodeId, bytes]) -> Records:
    """The records of a node that was introduced to all others, for stores that are made together.

    Whoever comes with another store than the one named here is refused as one that lost its disk.

    Args:
        node: whose records.
        store_ids: of every member.
    """
    introduced = encode_record(_KIND_INTRODUCED, _VERSION, (store_ids[node],))
    return {_INTRODUCED: introduced} | {
        _known_key(other): encode_record(_KIND_KNOWN, _VERSION, Opening(store_id))
        for other, store_id in store_ids.items()
        if other != node
    }


def lost_disk(node: NodeId, store_id: bytes, witness: NodeId, known: bytes) -> str:
    """The sentence for a node whose store is not the one the cluster knows."""
    return (
        f"node {node} lost its disk: node {witness} knows it by store {known.hex()}, and this one is "
        f"{store_id.hex()}; put the old store back. Without it the node stays down: members are fixed"
    )


def superseded(node: NodeId, opening: Opening, witness: NodeId, known: Opening) -> str:
    """The sentence for a node that runs on a copy of its store which is not the newest."""
    if opening.incarnation < known.incarnation:
        what = (
            f"node {node} runs on an old copy of its store: node {witness} has met incarnation "
            f"{known.incarnation} of it, and this is incarnation {opening.incarnation}"
        )
    else:
        what = (
            f"another process runs as node {node}: node {witness} has met incarnation {known.incarnation} of "
            f"its store in process {known.nonce.hex()}, and this is process {opening.nonce.hex()}; a store "
            "was copied"
        )
    return (
        f"{what}. This copy may have forgotten votes and is not used again: put the newest copy back. If "
        "this one was restored from a backup and there is no newer, decisions may be lost"
    )


def take_superseded(data: bytes) -> str:
    """Why a store must not be used, from its record under `SUPERSEDED_KEY`. Raises RecordError."""
    where = f"record {SUPERSEDED_KEY!r}"
    try:
        fields = decode_record(data, _KIND_SUPERSEDED, (_VERSION,), SUPERSEDED_KEY)
        (reason,) = expect_fields(fields, 1, where)
        return take_text(reason, where, _MAX_REASON_BYTES)
    except WireError as error:
        raise RecordError(str(error)) from error


def _known_key(node: NodeId) -> bytes:
    return _KNOWN + node.to_bytes(4, "big")


def _take_known(data: bytes, key: bytes) -> Opening:
    where = f"record {key!r}"
    try:
        fields = decode_record(data, _KIND_KNOWN, (_VERSION,), key)
        store_id, incarnation, nonce = expect_fields(fields, 3, where)
        return Opening(
            take_bytes(store_id, where, _STORE_ID_BYTES),
            take_int(incarnation, where, 0, _MAX_INCARNATION),
            take_bytes(nonce, where, _MAX_NONCE_BYTES),
        )
    except WireError as error:
        raise RecordError(str(error)) from error


def _take_store_id(data: bytes, key: bytes) -> bytes:
    where = f"record {key!r}"
    try:
        (store_id,) = expect_fields(decode_record(data, _KIND_INTRODUCED, (_VERSION,), key), 1, where)
        return take_bytes(store_id, where, _STORE_ID_BYTES)
    except WireError as error:
        raise RecordError(str(error)) from error
