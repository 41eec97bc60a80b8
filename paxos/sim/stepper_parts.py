"""What the directed simulator is made of: places, what is in flight, how nodes are acquainted."""

import functools
import hashlib

from paxos.ballot import NodeId
from paxos.contract import Configuration, Invariant, InvariantMaker, Message
from paxos.service import Identity, Node
from paxos.sim.disk import Disk
from paxos.sim.moves import topic_of

__all__ = ["Flight", "Place", "acquaintance", "boring", "given", "overflowing", "store_id_of"]


class Flight:
    """One thing that waits in the pool: a message in flight, or, without a message, a sync under way."""

    __slots__ = ("_topic", "message", "recipient", "sender")

    def __init__(self, sender: NodeId, recipient: NodeId, message: Message | None) -> None:
        self.sender: NodeId = sender
        self.recipient: NodeId = recipient
        self.message: Message | None = message
        self._topic: str | None = None

    @property
    def topic(self) -> str:
        """What the message is about; see `paxos.sim.moves.topic_of`."""
        if self._topic is None:
            self._topic = topic_of(self.message)
        return self._topic


class Place:
    """A node's place: its disk, which stays, and the node on it, which comes and goes."""

    __slots__ = ("configuration", "disk", "id", "life", "node", "stopped", "store_id", "wake_s", "wiped")

    def __init__(self, configuration: Configuration, disk: Disk) -> None:
        self.id: NodeId = configuration.node
        self.configuration: Configuration = configuration
        self.disk: Disk = disk
        self.store_id: bytes = store_id_of(self.id, 0)
        self.node: Node | None = None
        self.life: int = 0
        self.wake_s: float | None = None
        self.stopped: str | None = None
        self.wiped: bool = False


def given(invariant: Invariant) -> InvariantMaker:
    """A maker of the invariant that is there already."""
    return lambda quorums: invariant


def boring(name: str, bound: int) -> int:
    """The least remarkable answer."""
    return 0


def store_id_of(node: NodeId, life: int) -> bytes:
    """The id of a node's store; another one in each life that begins without it."""
    return hashlib.sha256(b"store %d %d" % (node, life)).digest()[:16]


def overflowing(pool: list[Flight], surplus: int) -> int:
    """The oldest messages in flight are lost, so many of them; how many were. A sync is never lost."""
    kept = []
    lost = 0
    for flight in pool:
        if lost < surplus and flight.message is not None:
            lost += 1
        else:
            kept.append(flight)
    pool[:] = kept
    return lost


@functools.lru_cache(maxsize=64)
def acquaintance(members: tuple[NodeId, ...]) -> dict[NodeId, dict[bytes, bytes]]:
    """The records by which every member knows every other, and is known: what introductions leave on disk."""
    nobody: dict[bytes, bytes] = {}
    identities = {node: Identity(node, members, store_id_of(node, 0), nobody, 0.0) for node in members}
    records: dict[NodeId, dict[bytes, bytes]] = {node: {} for node in members}
    waiting = True
    while waiting:
        waiting = False
        for node, identity in identities.items():
            records[node].update((key, value) for key, value in identity.writes if value is not None)
            sends, identity.writes, identity.sends = identity.sends, [], []
            for to, message in sends:
                waiting = True
                identities[to].receive(node, message)
    return records
