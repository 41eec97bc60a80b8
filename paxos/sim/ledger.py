"""The log of a run, kept once for all nodes, and what carrying it out once more gives.

Every node applies the log by itself.  The ledger notes what is applied at each mark, by whoever is first,
and complains at once about whoever applies something else there, or something that no client asked for.

At the end the log is carried out once more (`Fold`), by the rules that clients are promised, written down
here independently of the service: a request is carried out where its id comes first, a client that was idle
for too long is refused, and everything else follows from the state machine.  What nodes hold and what
clients were told is then compared with that.

The marks of such a log are the numbers from 1 on, in one order for all.  A log of which only conflicting
commands have an order has another ledger (`conflict_ledger`), of the same outside.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from paxos.ballot import NodeId
from paxos.command import Command, digest_of
from paxos.contract import Decides, Event, Mark, Orders, ProtocolDescription, StateMachine
from paxos.errors import PaxosError
from paxos.service import LogSettings, Node, Turn
from paxos.service.batches import Batch, BatchKind, read_batch
from paxos.service.sessions import IDLE_MARKERS
from paxos.service.snapshots import Content, read_content, read_snapshots
from paxos.wire import dumps

__all__ = [
    "LOG_PROBES",
    "LOG_SETTINGS",
    "Complaint",
    "Fold",
    "Ledger",
    "LogLedger",
    "RequestKey",
    "State",
    "applied_of",
    "probes_of",
    "requests_of",
    "service_probes",
    "shown_command",
    "taken_commands",
]

#: What a run of some length should have seen of the service of a log.
LOG_PROBES: Final = ("redirected", "retry deduplicated", "snapshot", "snapshot installed")
#: Where only conflicting commands have an order every node takes what clients ask.
_LEADERLESS_PROBES: Final = LOG_PROBES[1:]

#: How the service of a log is set in runs where nothing else is said: snapshots after few requests.
LOG_SETTINGS: Final = LogSettings(marker_requests=20, piece_s=0.001)
#: A request: its client, its number, and the digest of its command.
RequestKey: TypeAlias = tuple[bytes, int, bytes]
_DIGEST: Final = 8
_NOTHING: Final[tuple[Command, ...]] = ()

#: What breaks: the name of a property, and a sentence. None for nothing.
Complaint: TypeAlias = "tuple[str, str] | None"


class State(NamedTuple):
    """What a node held.

    Args:
        node: which.
        mark: up to which it had applied the log; where only conflicting commands have an order, how many
            commands of its stretch.
        machine: the state machine's snapshot.
        when: in words.
        stretch: where only conflicting commands have an order: the number of its stretch.
    """

    node: NodeId
    mark: int
    machine: bytes
    when: str
    stretch: int = 0


class LogLedger(Protocol):
    """What the driver of a run tells the ledger of a log, whatever order that has."""

    #: What nodes held when they stopped or made a snapshot.
    states: list[State]

    def begins(self, node: Node) -> None:
        """A node begins a life, and has not done anything yet."""
        ...

    def observe(
        self,
        node: NodeId,
        applies: Sequence[tuple[Mark, Command]],
        events: Sequence[Event],
        durable: Mapping[bytes, bytes],
    ) -> Complaint:
        """A node's turn; name and sentence of what that breaks, or None."""
        ...

    def place_of(self, node: Node, turn: Turn) -> tuple[int, int]:
        """Between which places a node answered what it answers in a turn, after that was observed."""
        ...

    def state_of(self, node: Node, when: str) -> State:
        """What a node holds now."""
        ...

    def holds(self, node: Node, when: str) -> None:
        """What a node holds now, at its end."""
        ...


class Ledger:
    """The log, and the snapshots that nodes made of it.

    Args:
        asked: every request that clients made, by client and number; it grows during the run.
        seen: counts what is seen.
    """

    def __init__(self, asked: Mapping[tuple[bytes, int], bytes], seen: Counter[str]) -> None:
        #: What is applied at each mark.
        self.commands: dict[int, Command] = {}
        #: What nodes held when they stopped or made a snapshot.
        self.states: list[State] = []
        self._asked = asked
        self._seen = seen
        self._requests: set[RequestKey] = set()
        # Of each number of a marker: the digest of the snapshot made there, and by whom first.
        self._snapshots: dict[int, tuple[bytes, NodeId]] = {}
        self._markers = 0
        # How far each node had applied the log in this life, now and before its last step.
        self._applied: dict[NodeId, Any] = {}
        self._before: dict[NodeId, int] = {}

    @property
    def end(self) -> int:
        """The last mark that anybody applied."""
        return max(self.commands, default=0)

    def begins(self, node: Node) -> None:
        """A node begins a life, and has not done anything yet."""

    def observe(
        self,
        node: NodeId,
        applies: Sequence[tuple[Mark, Command]],
        events: Sequence[Event],
        durable: Mapping[bytes, bytes],
    ) -> Complaint:
        """A node's turn; name and sentence of what that breaks, or None."""
        if not applies and not events:
            return None
        return self.take(node, applies) or (self.took_snapshot(node, events, durable) if events else None)

    def place_of(self, node: Node, turn: Turn) -> tuple[int, int]:
        """Between which marks a node answered what it answers in a turn."""
        applied = applied_of(node)
        return applied - len(turn.applies), applied

    def state_of(self, node: Node, when: str) -> State:
        """What a node holds now."""
        return State(node.id, applied_of(node), node.machine.snapshot(), when)

    def take(self, node: NodeId, applies: Iterable[tuple[Mark, Command]]) -> Complaint:
        """A node applied something; name and sentence of what that breaks, or None."""
        commands = self.commands
        self._before[node] = self._applied.get(node, 0)
        for mark, command in applies:
            self._applied[node] = mark
            assert isinstance(mark, int), "the marks of this log are numbers"
            known = commands.get(mark)
            if known is command:
                continue
            if known is None:
                commands[mark] = command
                complaint = self._note(mark, command)
                if complaint is not None:
                    return complaint
            elif known != command:
                what = f"node {node} applied {shown_command(command)}, another node {shown_command(known)}"
                return "SlotAgreement", f"slot {mark}: {what}"
        return None

    def _note(self, mark: int, command: Command) -> Complaint:
        batch = read_batch(command)
        if batch is None or batch.kind is not BatchKind.REQUESTS:
            return None
        for key, body in requests_of(batch):
            if self._asked.get(key[:2]) != body:
                return (
                    "Validity",
                    f"slot {mark}: request {key[1]} of client {key[0]!r} is {body!r:.60}: never asked",
                )
            if key in self._requests:
                self._seen["retry deduplicated"] += 1
            self._requests.add(key)
        return None

    def took_snapshot(
        self, node: NodeId, events: Iterable[Event], durable: Mapping[bytes, bytes]
    ) -> Complaint:
        """A node has a new snapshot on its disk, if one of these events says so."""
        if not any(event.action in ("snapshot", "snapshot installed") for event in events):
            return None
        try:
            snapshot, _, _ = read_snapshots(durable)
            if snapshot is None:
                return ("SnapshotExact", f"node {node} says that a snapshot is on its disk; there is none")
            content: Content = read_content(snapshot)
        except PaxosError as error:
            return ("SnapshotExact", f"node {node} says that a snapshot is on its disk: {error}")
        if any(event.action == "snapshot installed" for event in events):
            assert isinstance(content.mark, int)
            before = self._before.get(node, 0)
            if content.mark < before:
                what = f"node {node} becomes what a snapshot at slot {content.mark} says, and was at {before}"
                return ("SnapshotExact", what)
        # Without what the protocol adds for itself, such as a promise, which is each node's own.
        state = dumps((content.mark, content.sessions, content.machine))
        digest, maker = self._snapshots.setdefault(snapshot.number, (digest_of(state), node))
        if digest != digest_of(state):
            return (
                "SnapshotExact",
                f"the snapshots at marker {snapshot.number} of nodes {maker} and {node} differ",
            )
        if maker == node:
            assert isinstance(content.mark, int)
            when = f"in its snapshot {snapshot.number}"
            self.states.append(State(node, content.mark, content.machine, when))
        return None

    def holds(self, node: Node, when: str) -> None:
        """What a node holds now, at its end."""
        self._applied.pop(node.id, None)
        self.states.append(self.state_of(node, when))


def probes_of(protocol: ProtocolDescription) -> tuple[str, ...]:
    """What a run of some length should have seen, of the protocol and of the service above it."""
    return protocol.probes + service_probes(protocol)


def service_probes(protocol: ProtocolDescription) -> tuple[str, ...]:
    """What a run of some length should have seen of the service above the protocol."""
    if protocol.decides is not Decides.LOG:
        return ()
    return LOG_PROBES if protocol.orders is Orders.TOTAL else _LEADERLESS_PROBES


def applied_of(node: Node) -> int:
    """How far a node has applied the log; 0 for not at all."""
    service: Any = node.service
    progress: int = service.progress
    return progress


def taken_commands(node: Node) -> Sequence[Command]:
    """What a node of a log gave to its replica since it was asked this last."""
    service: Any = node.service
    placed: list[Command] = service.placed
    if not placed and placed is not None:
        return _NOTHING
    service.placed = []
    return placed


class Fold:
    """The log carried out once more.

    Args:
        make: makes the state machine.
        twice: carry requests out as often as they come; to see whether that is what a node did.

    Attributes:
        machine: the state.
        done: of each request carried out, the mark and the answer.
    """

    def __init__(self, make: Callable[[], StateMachine], twice: bool = False) -> None:
        self.machine: StateMachine = make()
        self.done: dict[RequestKey, tuple[int, bytes]] = {}
        self._twice = twice
        self._markers = 0
        # For each client that is remembered: how many markers there were when it last did something.
        self._clients: dict[bytes, int] = {}
        # Those of them that came since the last marker.
        self._new: set[bytes] = set()
        self._first = 0

    def apply(self, mark: int, command: Command) -> None:
        """Carry out what is applied at a mark."""
        batch = read_batch(command)
        if batch is None:
            return
        if batch.kind is BatchKind.MARKER:
            self._mark()
        elif batch.kind is BatchKind.SKIP and batch.skipped is not None:
            client, _, number, digest = batch.skipped
            self.done.setdefault((client, number, digest), (mark, b""))
        for run in batch.runs:
            if run.client not in self._clients or run.client in self._new:
                if not self._first <= run.birth <= self._markers:
                    continue
                self._new.add(run.client)
            self._clients[run.client] = self._markers
            for key, body in requests_of(Batch(BatchKind.REQUESTS, [run])):
                if key not in self.done:
                    self.done[key] = (mark, self.machine.apply(body))
                elif self._twice:
                    self.machine.apply(body)

    def _mark(self) -> None:
        self._markers += 1
        self._new.clear()
        self._first = max(self._first, self._markers - IDLE_MARKERS)
        self._clients = {each: last for each, last in self._clients.items() if last >= self._first}


def requests_of(batch: Batch) -> Sequence[tuple[RequestKey, bytes]]:
    """The requests in a batch, in order, with their commands."""
    return [
        ((run.client, run.sequence + index, run.digests[_DIGEST * index : _DIGEST * (index + 1)]), body)
        for run in batch.runs
        for index, body in enumerate(run.bodies)
    ]


def shown_command(command: Command) -> str:
    """A command in a few words."""
    return f"{command.payload!r:.60}" if command.payload else "a no-op"
