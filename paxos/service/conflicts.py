"""What the service of a log keeps only where conflicting commands alone have an order.

*Lives.* A node counts its own commands from 1 in each life.  One of an earlier life may be applied in this
one, and must not be taken for this one's: at the place of an old read nothing that is asked now may be
answered.  So lives are numbered, durably, and the number goes into the id of every command.  It is written
before anything that this life asks for, so no later life can have it too.

*Places.* Marks name places and do not say how far a node is.  How many commands it has applied does: at a
marker that is the same at every node, and it goes into snapshots beside what the protocol adds.

*Turns.* Every node could ask for a marker, and only one is needed.  So with each marker it is another
node's turn, and the others ask only when the log goes on for longer than it should.
"""

from collections.abc import Sequence
from typing import Final

from paxos.ballot import NodeId
from paxos.contract import Records, StateMachine
from paxos.errors import RecordError, WireError
from paxos.service.footprints import Footprints
from paxos.service.gathering import HotKeys
from paxos.service.settings import LogSettings
from paxos.service.snapshots import SNAPSHOT_PREFIX
from paxos.wire import decode_record, dumps, encode_record, expect_fields, loads_strict, take_bytes, take_int

__all__ = ["Conflicts", "pack_part", "take_part"]

_LIFE: Final = SNAPSHOT_PREFIX + b"L"
_KIND_LIFE: Final = 243
_VERSION: Final = 1
#: It takes the place of a digest of 8 bytes in some ids.
_MAX_LIFE: Final = (1 << 62) - 1
_MAX_COUNT: Final = (1 << 62) - 1
_MAX_PART_BYTES: Final = 1 << 28
#: By this share of the usual each next node waits longer before it asks for a marker.
_LATER: Final = 8


class Conflicts:
    """See the room's header.

    Args:
        node: this node's id.
        members: ids of those that vote, ascending.
        machine: the state machine.
        settings: says how batches are put together.
        records: what the store holds beside the replica's.

    Attributes:
        footprints: what requests touch.
        hot: which keys others write again and again; None when nobody wants to know.
        life: the number of this life, from 1.
        write: what makes it durable; it goes with the first writes of this life.

    Raises:
        RecordError: the record of lives is damaged.
    """

    def __init__(
        self,
        node: NodeId,
        members: Sequence[NodeId],
        machine: StateMachine,
        settings: LogSettings,
        records: Records,
    ) -> None:
        self.footprints: Footprints = Footprints(machine)
        self.hot: HotKeys | None = HotKeys() if settings.batching == "apart" else None
        self.life: int = _last_life(records) + 1
        self.write: tuple[bytes, bytes] = (_LIFE, encode_record(_KIND_LIFE, _VERSION, [self.life]))
        self._members = len(members)
        # Who does not vote waits for all others.
        self._rank = members.index(node) if node in members else None

    def patience(self, markers: int) -> float:
        """How much longer than usual this node waits before it asks for a marker, as a share.

        Args:
            markers: how many were applied.
        """
        if self._rank is None:
            return self._members / _LATER
        return (self._rank - markers) % self._members / _LATER


def _last_life(records: Records) -> int:
    data = records.get(_LIFE)
    if data is None:
        return 0
    try:
        (life,) = expect_fields(decode_record(data, _KIND_LIFE, (_VERSION,), _LIFE), 1, "life")
        return take_int(life, "life", 1, _MAX_LIFE)
    except WireError as error:
        raise RecordError(f"record {_LIFE!r}: {error}") from error


def pack_part(commands: int, part: bytes) -> bytes:
    """What a snapshot holds beside the state: how many commands are in it, and what the protocol adds."""
    return dumps((commands, part))


def take_part(data: bytes) -> tuple[int, bytes]:
    """What `pack_part` made.

    Raises:
        RecordError: it is nothing of that kind.
    """
    try:
        commands, part = expect_fields(loads_strict(data), 2, "the part of a snapshot")
        return (
            take_int(commands, "the part of a snapshot: commands", 0, _MAX_COUNT),
            take_bytes(part, "the part of a snapshot", _MAX_PART_BYTES),
        )
    except WireError as error:
        raise RecordError(str(error)) from error
