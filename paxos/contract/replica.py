"""A replica: the three roles composed, and everything it wants done, said as data.

A replica is deterministic and does no I/O.  It is called (`submit`, `receive`, `tick`, ...) with the
time as an argument, and what it wants done gathers in `Effects`, which the driver takes and carries
out.  The same object runs under the simulator, the explorer and the network.

The one ordering rule is carried by types.  Each message type says in its protocol's table whether it
*reports durable state*.  Such a message leaves only when every write of this and earlier effects is on
disk; every other message leaves at once.  What must wait for the own disk is sent, as a reporting
message, to oneself.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

import attrs

from paxos.ballot import NodeId
from paxos.command import Command, RequestId
from paxos.quorum import QuorumSystem

__all__ = [
    "Configuration",
    "Draw",
    "Effects",
    "Event",
    "Instant",
    "Mark",
    "Message",
    "Outcome",
    "OutcomeKind",
    "Records",
    "Replica",
    "Status",
]

#: A message of some protocol: an instance of a type in its message table.
Message: TypeAlias = Any
#: A place in the order of what is applied: a decree's name, a slot, a barrier.
Mark: TypeAlias = Hashable
#: `draw(name, bound)` gives a number in 0..bound-1; all the randomness a replica has.
#: Whoever supplies it supplies a choice; 0 must always be an unremarkable one.
Draw: TypeAlias = Callable[[str, int], int]
#: What a store held when the replica was last alive.
Records: TypeAlias = Mapping[bytes, bytes]


class Instant(NamedTuple):
    """A reading of the clocks. No safety property reads the wall clock.

    Args:
        monotonic_s: seconds on a clock that never goes back, from an arbitrary start.
        wall_s: seconds since the Unix epoch, as far as this machine knows.
        error_s: bound on the wall clock's error, seconds; infinite when unknown.
    """

    monotonic_s: float
    wall_s: float = 0.0
    error_s: float = float("inf")


@attrs.frozen
class Configuration:
    """What one replica is built for; fixed for its life.

    Args:
        node: this replica's own id; one of `members`, or of `observers`.
        quorums: the quorum system; its members are the cluster's, and vote.
        settings: the protocol's own settings class, defaults made by the protocol.
        group: number of the replication group; 0 until there are more.
        epoch: number of the membership; 0 until it can change.
        trace: also gather an event for every handler run, for trace validation (costs speed).
        observers: ids of nodes that learn and do not vote, ascending; none is a member.
    """

    node: NodeId
    quorums: QuorumSystem
    settings: Any = None
    group: int = 0
    epoch: int = 0
    trace: bool = False
    observers: tuple[NodeId, ...] = ()

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Ids of all members, ascending."""
        return self.quorums.members

    @property
    def everyone(self) -> tuple[NodeId, ...]:
        """Ids of all members and observers, ascending."""
        return tuple(sorted((*self.quorums.members, *self.observers)))


class OutcomeKind(Enum):
    """What became of a request, as far as the replica can say without the state machine."""

    READY = "ready"  # the state machine, applied up to `mark`, holds the answer
    REJECTED = "rejected"  # certainly not applied
    REDIRECT = "redirect"  # ask that node instead
    UNKNOWN = "unknown"  # may or may not be applied


class Outcome(NamedTuple):
    """The end of one request.

    Args:
        request: whose.
        kind: what became of it.
        mark: READY: the place up to which the state machine must have applied.
        node: REDIRECT: whom to ask.
        reason: REJECTED, UNKNOWN: one sentence for a person.
    """

    request: RequestId
    kind: OutcomeKind
    mark: Mark = None
    node: NodeId | None = None
    reason: str = ""


class Event(NamedTuple):
    """One thing that happened in a replica, for logs, metrics, traces and comparison.

    Args:
        action: the handler's or transition's name, the same as in the specification.
        node: where.
        arguments: what it was about, by name.
        cause: the type name of the message or call that made it happen.
        trace: True for the one-per-handler events that only a tracing run gathers.
    """

    action: str
    node: NodeId
    arguments: Mapping[str, object]
    cause: str
    trace: bool = False


class Effects:
    """Everything a replica wants done since effects were last taken.

    Attributes:
        writes: durable records `(key, value)`; value None deletes. In order.
        sends: messages `(recipient, message)`; the recipient may be the replica itself.
        applies: `(mark, command)`, committed, in execution order.
        outcomes: ends of requests that do not follow from `applies` alone.
        transfers: `(recipient, mark)`: stream a snapshot at mark or later there; what it needs is gone here.
        events: what happened, structured.
        wake_at_s: monotonic seconds at which to tick next, or None.
        room: commands it would take now; 0 means stop reading clients.
    """

    __slots__ = ("applies", "events", "outcomes", "room", "sends", "transfers", "wake_at_s", "writes")

    def __init__(self) -> None:
        self.writes: list[tuple[bytes, bytes | None]] = []
        self.sends: list[tuple[NodeId, Message]] = []
        self.applies: list[tuple[Mark, Command]] = []
        self.outcomes: list[Outcome] = []
        self.transfers: list[tuple[NodeId, Mark]] = []
        self.events: list[Event] = []
        self.wake_at_s: float | None = None
        self.room: int = 0


@attrs.frozen
class Status:
    """What a replica says of itself to people and tools.

    Args:
        protocol: its name.
        node: its id.
        summary: one line for a person.
        values: named numbers and texts, JSON-able.
    """

    protocol: str
    node: NodeId
    summary: str
    values: Mapping[str, object] = attrs.field(factory=dict)


class Replica(Protocol):
    """One member's part of a protocol; see the room's header for the rules of use."""

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Get these commands decided. A read is a command with only a read footprint, or `read`."""
        ...

    def read(self, request: RequestId, now: Instant) -> None:
        """Find a mark up to which a linearizable read must see; answered in outcomes.

        Not asked for under `Orders.CONFLICTS`, where a read is a command.
        """
        ...

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message. Duplicated, reordered and late ones are normal."""
        ...

    def tick(self, now: Instant) -> None:
        """Do what is due. Legal at any time; early is a no-op."""
        ...

    def compact(self, mark: Mark, now: Instant) -> None:
        """A snapshot at `mark` is durable: what it covers may be forgotten."""
        ...

    def part(self, mark: Mark) -> bytes:
        """What the protocol adds to a snapshot at `mark`, the last mark applied; empty for nothing.

        Under `Orders.CONFLICTS` that is the mark of a marker, at most one of a cut. It is asked for while
        what `effects` gave is carried out, and the replica itself may be further already.
        """
        ...

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """The state was replaced by a snapshot at `mark`, durably; `part` is what its maker added.

        Called at a start, too, if the store holds a snapshot. What `effects` gives after it is what the
        snapshot does not hold. Of a cluster that began with a backup under `Orders.CONFLICTS` nothing is
        told: the log begins empty, and the state does not.
        """
        ...

    def instruct(self, action: str, node: NodeId, now: Instant) -> None:
        """An operator wants something of the protocol, such as "transfer" of the leadership to a node.

        Raises:
            ConfigurationError: the protocol has no such action, or it can not be done here.
        """
        ...

    def abandon(self, request: RequestId, now: Instant) -> None:
        """Nobody waits for this request any more; it may or may not still be decided."""
        ...

    def effects(self) -> Effects:
        """Take what has gathered."""
        ...

    def status(self) -> Status:
        """What to tell people."""
        ...

    def clone(self) -> Self:
        """An independent copy, for search."""
        ...

    def fingerprint(self) -> Hashable:
        """Equal for replicas that behave alike; times left out."""
        ...
