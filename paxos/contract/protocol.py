"""A protocol, described: one frozen value that drivers and tools need no more than.

The simulator, the runtime, the comparison and the tests know protocols only through this value.  They
find it by name through the entry-point group `paxos.protocols`, so a protocol from another
distribution plugs in the same way as the ones that come along.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import attrs

from paxos.ballot import NodeId
from paxos.command import Command
from paxos.contract.replica import Configuration, Draw, Instant, Mark, Message, Records, Replica
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem
from paxos.wire import MessageTable

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "ENTRY_POINT_GROUP",
    "Decides",
    "Invariant",
    "InvariantMaker",
    "ProtocolDescription",
    "Step",
    "find_protocol",
    "protocol_names",
]

ENTRY_POINT_GROUP: Final = "paxos.protocols"


class Decides(Enum):
    """What a protocol agrees on."""

    DECREES = "decrees"  # named, independent values, each decided once
    LOG = "log"  # commands, applied by a state machine


class Step(NamedTuple):
    """One step of a run, as the invariants see it. Whoever runs replicas fills it in.

    Args:
        action: "request", "receive", "tick", "durable", "crash" or "restart".
        node: where it happened.
        sender: "receive": from whom.
        message: "receive": what.
        writes: records the step asked to be written, not yet durable.
        created: messages the step created, whether they left or wait for the disk.
        left: messages that left the node in this step, the ones to itself included.
        applies: what the step applied.
        submitted: "request": the command that a client submitted.
        replica: the replica after the step; None while it is down.
        durable: the node's durable records after the step, keyed as the replica writes them.
    """

    action: str
    node: NodeId
    sender: NodeId | None
    message: Message | None
    writes: Sequence[tuple[bytes, bytes | None]]
    created: Sequence[tuple[NodeId, Message]]
    left: Sequence[tuple[NodeId, Message]]
    applies: Sequence[tuple[Mark, Command]]
    submitted: Command | None
    replica: Replica | None
    durable: Mapping[bytes, bytes]


class Invariant(Protocol):
    """Watches one run and says when a named property breaks."""

    @property
    def name(self) -> str:
        """The property's name: the same in the specification, here, and in the test."""
        ...

    def observe(self, step: Step) -> str | None:
        """See one step; a sentence naming what broke, or None."""
        ...


#: Makes a fresh invariant for one run over this quorum system.
InvariantMaker: TypeAlias = Callable[[QuorumSystem], Invariant]


@attrs.frozen
class ProtocolDescription:
    """Everything the drivers and tools know of a protocol.

    Args:
        name: what users type, and the entry point's name.
        replica: the only way to make a replica, also after a restart: from its records alone.
        settings: the attrs class of the protocol's own settings.
        messages: its message table, durability column included.
        decides: single decrees or a log.
        quorums: the default quorum system for given member ids.
        invariants: makers of the properties that must hold, checked at every simulated step.
        probes: names of events that a run of some length should have seen at least once.
        bound_ms: `bound_ms(site, sites, rtt_ms, quorums)`: the closed-form latency at `site`
            between submission and knowing the decision, without contention, or None.
        projection: replica -> the specification's variables, or None.
        documentation: a paragraph for people.
    """

    name: str
    replica: Callable[[Configuration, Records, Draw, Instant], Replica]
    settings: type[Any]
    messages: MessageTable
    decides: Decides
    quorums: Callable[[Sequence[NodeId]], QuorumSystem]
    invariants: tuple[InvariantMaker, ...] = ()
    probes: tuple[str, ...] = ()
    bound_ms: (
        Callable[[NodeId, Sequence[NodeId], Callable[[NodeId, NodeId], float], QuorumSystem], float] | None
    ) = None
    projection: Callable[[Replica], Hashable] | None = None
    documentation: str = ""


def _entry_points() -> "dict[str, EntryPoint]":
    # Imported here because it loads sockets, which roles do without.
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigurationError(
                f"two installed distributions offer a protocol named {point.name!r}: "
                f"{other.value} and {point.value}; uninstall one"
            )
    return found


def protocol_names() -> tuple[str, ...]:
    """The names of all installed protocols, sorted."""
    return tuple(sorted(_entry_points()))


def find_protocol(name: str) -> ProtocolDescription:
    """The installed protocol called `name`.

    Raises:
        ConfigurationError: there is none, or what its entry point names is no protocol.
    """
    points = _entry_points()
    if name not in points:
        known = ", ".join(sorted(points)) or "none"
        raise ConfigurationError(f"no protocol named {name!r} is installed; known here: {known}")
    try:
        protocol = points[name].load()
    except Exception as error:  # whatever a module of another distribution raises when imported
        raise ConfigurationError(
            f"protocol {name!r}: its entry point {points[name].value} failed: {error}"
        ) from error
    if not isinstance(protocol, ProtocolDescription):
        raise ConfigurationError(
            f"protocol {name!r}: entry point {points[name].value} is a {type(protocol).__name__}, "
            "not a paxos.contract.ProtocolDescription"
        )
    return protocol
