"""The handshake: who is there, and whether the two belong together.

The first frame in each direction is a `Hello`: what kind of party it is, which cluster and node, which
store and incarnation, which protocol, and by name every value that must be equal on all nodes.  The side
that was called answers with its own `Hello`, or with `Refused` and a sentence; the caller, having seen the
other's `Hello`, may refuse as well.  Nothing else travels before, and these messages never after, except
that a caller's `Refused` may be the first thing behind its `Hello`.

What a connection carries later needs no sender: whoever is at the other end is who it said here (with TLS,
who its certificate says).  So a node looks closely:

- another cluster, protocol, table of messages, or configuration: refused, both values named;
- a node under its own id: it reached itself, or the id is used twice;
- a member with another store than the one known: it lost its disk, and may not vote;
- a member with a lower incarnation than one met before, or the same one in another process: it runs on an
  old copy of its store, or on one of several.

The last two stop the node that is refused (who calls `Doorkeeper` and hears `Refused` sees to that).  What
was met is written down, so that the restart of a peer is no chance for an old copy.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from anyio.abc import ByteStream

from paxos.ballot import NodeId
from paxos.errors import ClusterMismatch, WireError
from paxos.service import Identity, Opening, lost_disk, superseded
from paxos.wire import (
    MAX_NODE,
    FrameBuffer,
    MessageTable,
    MessageType,
    expect_fields,
    take_bytes,
    take_int,
    take_text,
)

__all__ = [
    "BOOT_BYTES",
    "BUSY",
    "DUPLICATE",
    "HANDSHAKE_MESSAGES",
    "LOST_DISK",
    "MALFORMED",
    "MAX_HELLO_BYTES",
    "MISMATCH",
    "REFUSED_MESSAGES",
    "SUPERSEDED",
    "Doorkeeper",
    "Hello",
    "Kind",
    "Refused",
    "as_error",
    "differences",
    "pack_values",
    "read_first",
    "unpack_values",
]

#: The longest first frame, bytes: all that a stranger makes a node keep.
MAX_HELLO_BYTES: Final = 64 * 1024
_MAX_VALUES_BYTES: Final = 48 * 1024
_MAX_NAME_BYTES: Final = 256
_MAX_REASON_BYTES: Final = 4096
_MAX_INCARNATION: Final = (1 << 63) - 1
_STORE_ID_BYTES: Final = 16
#: Length of what tells two processes apart that have the same store.
BOOT_BYTES: Final = 8
_READ_BYTES: Final = 16 * 1024

#: Codes of a refusal, for programs.
LOST_DISK: Final = "lost-disk"
SUPERSEDED: Final = "superseded"
MISMATCH: Final = "mismatch"
DUPLICATE: Final = "duplicate"
BUSY: Final = "busy"
MALFORMED: Final = "malformed"


class Kind(IntEnum):
    """What is at one end of a connection."""

    PEER = 1
    CLIENT = 2


class Hello(NamedTuple):
    """The first message of either side.

    Args:
        kind: what the sender is; a node that was called answers with PEER.
        cluster: the cluster's id; from a client it may be empty, and then any will do.
        protocol: the protocol's name; from a client it may be empty.
        node: the sender's id; 0 from a client.
        store_id: 16 bytes; none from a client.
        incarnation: how often the store was opened; 0 from a client.
        boot: 8 random bytes made when the process opened the store; none from a client. A store that was
            copied has the same incarnation, but not in the same process.
        values: a JSON object of texts: what must be equal on all nodes, by name.
    """

    kind: int
    cluster: str
    protocol: str
    node: NodeId
    store_id: bytes
    incarnation: int
    boot: bytes
    values: str


class Refused(NamedTuple):
    """The sender closes this connection.

    Args:
        code: why, for programs.
        reason: why, for people: one sentence.
        store_id: with the codes "lost-disk" and "superseded": the store that the node is known by; else none.
    """

    code: str
    reason: str
    store_id: bytes = b""


def _hello(fields: Sequence[object]) -> Hello:
    kind, cluster, protocol, node, store_id, incarnation, boot, values = expect_fields(fields, 8, "Hello")
    hello = Hello(
        take_int(kind, "Hello.kind", min(Kind), max(Kind)),
        take_text(cluster, "Hello.cluster", _MAX_NAME_BYTES),
        take_text(protocol, "Hello.protocol", _MAX_NAME_BYTES),
        take_int(node, "Hello.node", 0, MAX_NODE),
        take_bytes(store_id, "Hello.store_id", _STORE_ID_BYTES),
        take_int(incarnation, "Hello.incarnation", 0, _MAX_INCARNATION),
        take_bytes(boot, "Hello.boot", BOOT_BYTES),
        take_text(values, "Hello.values", _MAX_VALUES_BYTES),
    )
    if hello.kind == Kind.PEER and (not hello.node or len(hello.store_id) != _STORE_ID_BYTES):
        raise WireError("Hello: a peer names its node id and the 16 bytes of its store's id")
    if hello.kind == Kind.CLIENT and (hello.node or hello.store_id):
        raise WireError("Hello: a client has no node id and no store")
    unpack_values(hello.values)
    return hello


def _refused(fields: Sequence[object]) -> Refused:
    code, reason, store_id = expect_fields(fields, 3, "Refused")
    return Refused(
        take_text(code, "Refused.code", _MAX_NAME_BYTES),
        take_text(reason, "Refused.reason", _MAX_REASON_BYTES),
        take_bytes(store_id, "Refused.store_id", _STORE_ID_BYTES),
    )


_REFUSED_TYPE: Final = MessageType(241, Refused, reports=False, pack=tuple, unpack=_refused)
#: The only messages that may come before the two sides know each other.
HANDSHAKE_MESSAGES: Final = MessageTable(
    (MessageType(240, Hello, reports=False, pack=tuple, unpack=_hello), _REFUSED_TYPE)
)
#: What a caller may still say when it has seen the answer.
REFUSED_MESSAGES: Final = MessageTable((_REFUSED_TYPE,))


def pack_values(values: Mapping[str, str]) -> str:
    """Named values as they travel: the same text wherever they are the same."""
    return json.dumps(dict(values), sort_keys=True, separators=(",", ":"))


def unpack_values(text: str) -> dict[str, str]:
    """The named values in a Hello. Raises WireError."""
    try:
        values = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise WireError(f"Hello.values: not a JSON object: {error!s:.80}") from error
    if type(values) is not dict or not all(type(each) is str for each in values.values()):
        raise WireError("Hello.values: not a JSON object of texts")
    return values


def differences(mine: Hello, theirs: Hello) -> str:
    """What two sides that should agree differ in, both values of each; empty when they agree.

    A client names only what it insists on.
    """
    found = []
    here = {"cluster": mine.cluster, "protocol": mine.protocol, **unpack_values(mine.values)}
    there = {"cluster": theirs.cluster, "protocol": theirs.protocol, **unpack_values(theirs.values)}
    insists = here.keys() | there.keys()
    if Kind.CLIENT in (mine.kind, theirs.kind):
        insists = {name for name in ("cluster", "protocol") if here[name] and there[name]}
    for name in sorted(insists):
        if here.get(name) != there.get(name):
            found.append(f"{name} is {_short(here.get(name))} here and {_short(there.get(name))} there")
    return "; ".join(found)


def _short(value: str | None) -> str:
    if value is None:
        return "missing"
    return repr(value) if len(value) <= 200 else f"{value[:200]!r}..."


class Doorkeeper:
    """Decides, for one node, who may be connected to it.

    Args:
        mine: this node's Hello.
        members: ids of all members.
        identity: the node's memory of the other members' stores.
        noted: called when it has something to write: a newer opening of a member's store was met.
    """

    def __init__(
        self, mine: Hello, members: Sequence[NodeId], identity: Identity, noted: Callable[[], None]
    ) -> None:
        self.mine = mine
        self._members = frozenset(members)
        self._identity = identity
        self._noted = noted

    def admit(self, theirs: Hello, expected: NodeId | None = None) -> Refused | None:
        """Why the party that said this may not be connected; None when it may.

        Args:
            theirs: its Hello.
            expected: which node was called, when this side called.
        """
        node = self.mine.node
        different = differences(self.mine, theirs)
        if different:
            who = f"node {theirs.node}" if theirs.kind == Kind.PEER else "a client"
            return Refused(MISMATCH, f"node {node} refuses {who}: {different}"[:4000])
        if theirs.kind == Kind.CLIENT:
            return None
        return self._admit_peer(theirs, expected)

    def _admit_peer(self, theirs: Hello, expected: NodeId | None) -> Refused | None:
        node, sender = self.mine.node, theirs.node
        if sender == node:
            if theirs.store_id == self.mine.store_id:
                text = f"node {node} reached itself: the address of another node leads here"
            else:
                text = f"another process also runs as node {node}; give each node an id of its own"
            return Refused(DUPLICATE, text)
        if sender not in self._members:
            return Refused(MISMATCH, f"node {node} refuses node {sender}: it is not a member")
        if expected is not None and sender != expected:
            text = f"node {node} called node {expected} and reached node {sender}: addresses are mixed up"
            return Refused(MISMATCH, text)
        theirs_now = Opening(theirs.store_id, theirs.incarnation, theirs.boot)
        known = self._identity.meet(sender, theirs_now)
        if known is None:
            self._noted()
            return None
        if known.store_id != theirs.store_id:
            text = lost_disk(sender, theirs.store_id, node, known.store_id)
            return Refused(LOST_DISK, text, known.store_id)
        return Refused(SUPERSEDED, superseded(sender, theirs_now, node, known), known.store_id)


async def read_first(stream: ByteStream, table: MessageTable = HANDSHAKE_MESSAGES) -> Hello | Refused:
    """The first message of the other side, which must be alone in its frame and followed by nothing.

    Raises:
        WireError: it is not one, or too long.
        EndOfStream, OSError and the like: as the stream does.
    """
    buffer = FrameBuffer(MAX_HELLO_BYTES)
    bodies: list[bytes] = []
    while not bodies:
        bodies = buffer.feed(await stream.receive(_READ_BYTES))
    envelopes = table.decode(bodies[0])
    if len(bodies) > 1 or buffer.pending or len(envelopes) > 1:
        raise WireError("a handshake is one message, and then the other side's turn")
    message = envelopes[0].message
    assert isinstance(message, Hello | Refused)
    return message


def as_error(refused: Refused) -> ClusterMismatch:
    """A refusal as the error that a caller's user gets."""
    return ClusterMismatch(refused.reason)
