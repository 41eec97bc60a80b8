"""A protocol, described: one frozen value that drivers and tools need no more than.

The simulator, the runtime, the comparison and the tests know protocols only through this value.  They
find it by name through the entry-point group `paxos.protocols`, so a protocol from another
distribution plugs in the same way as the ones that come along.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import attrs

from paxos.ballot import NodeId
from paxos.command import Command
from paxos.contract.replica import Configuration, Draw, Event, Instant, Mark, Message, Records, Replica
from paxos.contract.scope import ScopeMaker
from paxos.contract.stored import StoredLog
from paxos.contract.traces import TraceForm
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem
from paxos.wire import MessageTable

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "ENTRY_POINT_GROUP",
    "Commitment",
    "Decides",
    "Invariant",
    "InvariantMaker",
    "Orders",
    "Outline",
    "ProtocolDescription",
    "Specification",
    "Step",
    "find_protocol",
    "protocol_names",
]

ENTRY_POINT_GROUP: Final = "paxos.protocols"


class Decides(Enum):
    """What a protocol agrees on."""

    DECREES = "decrees"  # named, independent values, each decided once
    LOG = "log"  # commands, applied by a state machine


class Orders(Enum):
    """In which order the commands of a log come to the nodes.

    Under `TOTAL` it is one order for all, and marks are whole numbers that rise with it; a read finds its
    place by `Replica.read`.

    Under `CONFLICTS` only commands whose footprints conflict come in the same order everywhere. A mark names
    a place, as any value that is hashable and travels as CBOR, and nothing follows from comparing two. A read
    is a command with a read footprint, and its place is where that is applied. A marker touches everything,
    so what was applied before it is the same at every node: only there are snapshots made.
    """

    TOTAL = "total"
    CONFLICTS = "conflicts"


class Commitment(NamedTuple):
    """One command that its replica came to know as committed, as an event of that replica tells it.

    Args:
        mark: of the command.
        fast: whether it took no more than the protocol's fast path; None where there is no such difference.
        reason: why it did not, in a few words that are the same for all that had the same reason.
    """

    mark: Mark
    fast: bool | None
    reason: str = ""


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
        placed: of a log: the commands that the step gave to the replica, each for a place in the order; what
            clients submit is inside.
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
    placed: Sequence[Command] = ()


class Outline(NamedTuple):
    """What kind of a step it is: what an invariant may go by to say that it does not concern it.

    Args:
        action: as the step has it.
        received: class of the message that was taken in; None for none.
        created: classes of the messages that the step created.
        left: classes of those that left.
        applied: whether it applied something.
    """

    action: str
    received: type | None
    created: frozenset[type]
    left: frozenset[type]
    applied: bool


class Invariant(Protocol):
    """Watches one run and says when a named property breaks.

    It may also have a method `concerns(outline: Outline) -> bool`. Then it is shown only steps of outlines of
    which that says yes; what it says of an outline must be the same for all of its class, whenever asked.
    An outline does not tell that something was submitted: who has an attribute `submissions` that is True is
    shown every step in which that happens, besides.
    """

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
class Specification:
    """The TLA+ module of a protocol, and its actions tied to the code's handlers by name.

    Args:
        module: the module's name, without ".tla".
        actions: for each action of the module, the `Event.action` that the code's handler traces; the names
            are equal unless this says otherwise.
        traces: how runs become traces of this module.
    """

    module: str
    actions: Mapping[str, str]
    traces: TraceForm = attrs.field(factory=TraceForm)


@attrs.frozen
class ProtocolDescription:
    """Everything the drivers and tools know of a protocol.

    Args:
        name: what users type, and the entry point's name.
        replica: the only way to make a replica, also after a restart: from its records alone.
        settings: the attrs class of the protocol's own settings.
        messages: its message table, durability column included.
        decides: single decrees or a log.
        orders: of a log: in which order its commands come.
        quorums: the default quorum system for given member ids.
        failure_quorums: `failure_quorums(members, failures, fast_failures)`, of a protocol whose quorums are
            named by how many members may fail, and by how many its fast path survives; None for either is
            the default. None for a protocol whose quorums are any that intersect.
        invariants: makers of the properties that must hold, checked at every simulated step.
        probes: names of events that a run of some length should have seen at least once.
        bound_ms: `bound_ms(site, sites, rtt_ms, quorums)`: the closed-form latency at `site`
            between submission and knowing the decision, without contention, or None.
        placed_bound_ms: the same with a leader or coordinator at a given place, before the other arguments;
            None for a protocol in which no place is better than another.
        contended_bound_ms: the same for the path that is taken where commands conflict or compete, of a
            protocol that has another one then; the first argument is who leads or coordinates, or None. It
            gives None where that says nothing. None for a protocol with one path.
        commits: what an event tells of commands that are committed, at the replica that was asked for them;
            None for a protocol that knows of no commit before it carries it out.
        projection: replica -> the specification's variables, or None.
        specification: how the handlers and the TLA+ actions belong together, or None.
        scope: makes the small closed world of the protocol's roles that exhaustive search explores, or None.
        record_name: what the record under a key of a replica is, in a few words for people; empty for one
            that is not the protocol's.
        stored_log: what a replica's records hold of its log, for tools that look at a store; None for a
            protocol that decides decrees. Raises RecordError for a damaged record.
        least_nodes: how many members a cluster must have.
        documentation: a paragraph for people.
    """

    name: str
    replica: Callable[[Configuration, Records, Draw, Instant], Replica]
    settings: type[Any]
    messages: MessageTable
    decides: Decides
    quorums: Callable[[Sequence[NodeId]], QuorumSystem]
    failure_quorums: Callable[[Sequence[NodeId], int | None, int | None], QuorumSystem] | None = None
    invariants: tuple[InvariantMaker, ...] = ()
    probes: tuple[str, ...] = ()
    bound_ms: (
        Callable[[NodeId, Sequence[NodeId], Callable[[NodeId, NodeId], float], QuorumSystem], float] | None
    ) = None
    placed_bound_ms: (
        Callable[[NodeId, NodeId, Sequence[NodeId], Callable[[NodeId, NodeId], float], QuorumSystem], float]
        | None
    ) = None
    contended_bound_ms: (
        Callable[
            [NodeId | None, NodeId, Sequence[NodeId], Callable[[NodeId, NodeId], float], QuorumSystem],
            float | None,
        ]
        | None
    ) = None
    commits: Callable[[Event], Sequence[Commitment]] | None = None
    projection: Callable[[Replica], Hashable] | None = None
    specification: Specification | None = None
    scope: ScopeMaker | None = None
    record_name: Callable[[bytes], str] = lambda key: ""
    stored_log: Callable[[Records], StoredLog] | None = None
    orders: Orders = Orders.TOTAL
    least_nodes: int = 1
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
    """The protocol called `name`: an installed one, or "package.module:attribute" for one that is not.

    Raises:
        ConfigurationError: there is none, or what the name leads to is no protocol.
    """
    module, _, attribute = name.partition(":")
    if attribute:
        return _load(name, f"{module}:{attribute}", lambda: getattr(import_module(module), attribute))
    points = _entry_points()
    if name not in points:
        known = ", ".join(sorted(points)) or "none"
        raise ConfigurationError(
            f"no protocol named {name!r} is installed; known here: {known}; "
            "one that is not installed is named package.module:attribute"
        )
    return _load(name, f"entry point {points[name].value}", points[name].load)


def _load(name: str, where: str, load: Callable[[], object]) -> ProtocolDescription:
    try:
        protocol = load()
    except Exception as error:  # whatever somebody's module raises when imported
        raise ConfigurationError(f"protocol {name!r}: its {where} failed: {error}") from error
    if not isinstance(protocol, ProtocolDescription):
        raise ConfigurationError(
            f"protocol {name!r}: {where} is a {type(protocol).__name__}, "
            "not a paxos.contract.ProtocolDescription"
        )
    return protocol
