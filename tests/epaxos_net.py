"""A few replicas of EPaxos in the palm of the hand: every delivery, write, crash and restart is a call.

Nothing happens by itself, except that a disk which is not in `slow` finishes at once, and that what a replica
says to itself reaches it when it leaves. Beside each replica stands the least that a service does: a machine
that keeps, for each key, the payloads that wrote it, in order; a snapshot at every barrier, unless told
otherwise; and the installation of snapshots that are sent. What must hold is looked at after every call.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from epaxos import EPaxosQuorums, EPaxosReplica, EPaxosSettings, protocol
from epaxos.instances import COMMITTED
from paxos.ballot import NodeId
from paxos.command import (
    ALL,
    HOUSEKEEPING,
    MARKER,
    Command,
    Footprint,
    RequestId,
    digest_of,
    is_marker,
)
from paxos.contract import Configuration, Draw, Effects, Event, Instant, Outcome, ProtocolDescription, Step
from paxos.wire import dumps, loads_strict


class Sent(NamedTuple):
    """A message on its way."""

    sender: NodeId
    recipient: NodeId
    message: Any


class Batch(NamedTuple):
    """What is on its way to a disk: records, what waits for them, and a snapshot with its mark, or None."""

    writes: list[tuple[bytes, bytes | None]]
    held: list[tuple[NodeId, Any]]
    snapshot: tuple[Any, bytes, bytes] | None


class Transfer(NamedTuple):
    """A snapshot on its way."""

    recipient: NodeId
    mark: Any
    state: bytes
    part: bytes


def writes(*keys: bytes) -> Footprint:
    """The footprint of a command that writes these keys."""
    return Footprint.of(writes=keys)


def reads(*keys: bytes) -> Footprint:
    """The footprint of a command that reads these keys."""
    return Footprint.of(reads=keys)


def command(number: int, footprint: Footprint, payload: bytes = b"") -> Command:
    """A command that no other is equal to."""
    payload = payload or b"%d" % number
    return Command(RequestId(b"c" * 16, 0, number, digest_of(payload)), footprint, payload)


def marker(number: int) -> Command:
    """A marker of a service."""
    return Command(RequestId(HOUSEKEEPING, 1, number, bytes(8)), ALL, MARKER)


class Machine:
    """What was applied at one node: per key the payloads that wrote it, and its durable snapshot."""

    def __init__(self) -> None:
        self.keys: dict[bytes, list[bytes]] = {}
        self.everything: list[bytes] = []
        self.order: list[tuple[Any, Command]] = []
        self.snapshot: tuple[Any, bytes, bytes] | None = None

    def apply(self, mark: Any, applied: Command) -> None:
        self.order.append((mark, applied))
        footprint = applied.footprint
        # What each read sees is part of the state, so that reads in a wrong place show.
        seen = b"".join(b"|".join(self.keys.get(key, [])) for key in footprint.reads)
        for key in footprint.writes:
            self.keys.setdefault(key, []).append(applied.payload + (b"<" + digest_of(seen) if seen else b""))
        if footprint.everything:
            self.everything.append(applied.payload + digest_of(dumps(sorted(self.keys.items()))))

    def pack(self) -> bytes:
        return dumps((sorted(self.keys.items()), self.everything))

    def restore(self, state: bytes) -> None:
        loaded: Any = loads_strict(state)
        keys, everything = loaded
        self.keys = {key: list(values) for key, values in keys}
        self.everything = list(everything)


def _receive(replica: EPaxosReplica, sender: NodeId, message: Any, now: Instant) -> None:
    replica.receive(sender, message, now)


class Net:
    """Replicas 1..n with empty disks."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        quorums: EPaxosQuorums | None = None,
        observers: tuple[NodeId, ...] = (),
        settings: EPaxosSettings | None = None,
        draw: Draw = lambda name, bound: 0,
        description: ProtocolDescription = protocol,
        trace: bool = False,
    ) -> None:
        self.quorums = quorums or EPaxosQuorums(range(1, nodes + 1))
        self.observers = observers
        self.everyone = tuple(sorted((*self.quorums.members, *observers)))
        self.settings = settings or EPaxosSettings(reserve_numbers=2)
        self.draw, self.make, self.trace = draw, description.replica, trace
        self.reporting = description.messages.reporting
        self.now_s = 100.0
        self.submitted = 0
        self.nodes: dict[NodeId, EPaxosReplica] = {}
        self.machines = {node: Machine() for node in self.everyone}
        self.disks: dict[NodeId, dict[bytes, bytes]] = {node: {} for node in self.everyone}
        self.queues: dict[NodeId, deque[Batch]] = {}
        self.slow: set[NodeId] = set()
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.network: list[Sent] = []
        self.transfers: list[Transfer] = []
        self.events: list[Event] = []
        self.outcomes: dict[RequestId, Outcome] = {}
        self.wakes: dict[NodeId, float | None] = {}
        self.commands: dict[RequestId, Command] = {}
        self.cuts: dict[Any, tuple[bytes, NodeId]] = {}
        self.violations: dict[str, str] = {}
        self.invariants: list[Any] = [make_one(self.quorums) for make_one in description.invariants]
        self.snapshots = True
        # Every so many calls of a replica, a clone is called too, and must do the same.
        self.clone_every = 7
        self.calls = 0
        for node in self.everyone:
            self.start(node)

    @property
    def now(self) -> Instant:
        return Instant(self.now_s)

    # --- what clients and services do ----------------------------------------------------------------

    def submit(self, node: NodeId, footprint: Footprint, payload: bytes = b"") -> RequestId:
        """Submit a command that touches this."""
        self.submitted += 1
        return self.place(node, command(self.submitted, footprint, payload))

    def write(self, node: NodeId, *keys: bytes) -> RequestId:
        """Submit a command that writes these keys."""
        return self.submit(node, writes(*keys))

    def barrier(self, node: NodeId) -> RequestId:
        """Submit a marker."""
        self.submitted += 1
        return self.place(node, marker(self.submitted))

    def place(self, node: NodeId, one: Command) -> RequestId:
        self.commands[one.request] = one
        self._act("request", node, lambda r: r.submit([one], self.now), submitted=one)
        return one.request

    # --- what the world does -------------------------------------------------------------------------

    def start(self, node: NodeId) -> None:
        configuration = Configuration(
            node, self.quorums, self.settings, observers=self.observers, trace=self.trace
        )
        replica = self.make(configuration, dict(self.disks[node]), self.draw, self.now)
        assert isinstance(replica, EPaxosReplica)
        self.nodes[node] = replica
        self.queues[node] = deque()
        machine = self.machines[node]
        kept = machine.snapshot
        machine.keys, machine.everything, machine.order = {}, [], []
        if kept is not None:
            mark, state, part = kept
            machine.restore(state)
            replica.install(mark, part, self.now)
        self._collect("restart", node, None, None, None)

    def crash(self, node: NodeId, keep: int = 0) -> None:
        """Volatile state and what is not on disk is lost; what was sent is not.

        So many batches more are on the disk, and nobody was told.
        """
        del self.nodes[node]
        for batch in list(self.queues[node])[:keep]:
            self._hold(node, batch)
        self.queues[node].clear()
        self._observe("crash", node)

    def restart(self, node: NodeId) -> None:
        """Crash, and start from what is on disk."""
        if node in self.nodes:
            self.crash(node)
        self.start(node)

    def post(self, sent: Iterable[Sent]) -> None:
        """Messages are on their way."""
        self.network += sent

    def deliver(self, sent: Sent, keep: bool = False) -> None:
        """One message arrives, or is lost on the way to a node that is down."""
        if not keep:
            self.network.remove(sent)
        sender, recipient, message = sent
        if recipient in self.nodes and (sender, recipient) not in self.cut:
            self._act("receive", recipient, lambda r: r.receive(sender, message, self.now), sender, message)

    def find(self, kind: type, sender: NodeId | None = None, recipient: NodeId | None = None) -> list[Sent]:
        """Messages of this kind on their way."""
        return [
            sent
            for sent in self.network
            if isinstance(sent.message, kind)
            and sender in (None, sent.sender)
            and recipient in (None, sent.recipient)
        ]

    def pass_on(self, kind: type, sender: NodeId | None = None, recipient: NodeId | None = None) -> int:
        """Deliver all messages of this kind that are on their way now; how many."""
        found = self.find(kind, sender, recipient)
        for sent in found:
            self.deliver(sent)
        return len(found)

    def lose(self, kind: type | None = None, sender: NodeId | None = None, to: NodeId | None = None) -> None:
        """Lose all messages of this kind that are on their way now."""
        for sent in self.find(kind or object, sender, to):
            self.network.remove(sent)

    def sync(self, node: NodeId) -> None:
        """The oldest batch of a slow disk is written."""
        queue = self.queues[node]
        if queue:
            self._written(node, queue.popleft())

    def tick(self, node: NodeId) -> None:
        self._act("tick", node, lambda r: r.tick(self.now))

    def install(self, transfer: Transfer) -> None:
        """A snapshot arrives and is made durable."""
        self.transfers.remove(transfer)
        recipient, mark, state, part = transfer
        if recipient not in self.nodes:
            return
        machine, replica = self.machines[recipient], self.nodes[recipient]
        rank = replica.context.rank[mark[0]]
        if replica.learner.executor.is_executed(rank, mark[1]):
            return  # it has caught up by itself
        machine.snapshot = (mark, state, part)
        machine.restore(state)
        self._act("install", recipient, lambda r: r.install(mark, part, self.now))

    def run(self, for_s: float = 0.0, until: Callable[[], bool] | None = None, most: int = 200_000) -> None:
        """Deliver everything, oldest first, and let time pass up to so many seconds."""
        end_s = self.now_s + for_s
        for _ in range(most):
            if until is not None and until():
                return
            if not self.advance(end_s):
                self.now_s = max(self.now_s, end_s)
                return
        raise AssertionError("it does not come to an end")

    def advance(self, end_s: float) -> bool:
        """The next thing happens: a message arrives, else a disk writes, else it is time to tick. Whether."""
        if self.network:
            self.deliver(self.network[0])
        elif waiting := [node for node in self.nodes if self.queues[node]]:
            self.sync(waiting[0])
        elif self.transfers:
            self.install(self.transfers[0])
        else:
            due = {n: at_s for n, at_s in self.wakes.items() if n in self.nodes and at_s is not None}
            node = min(due, key=lambda n: (due[n], n), default=0)
            if not node or max(due[node], self.now_s) > end_s:
                return False
            self.now_s = max(self.now_s, due[node])
            self.tick(node)
        return True

    # --- inside --------------------------------------------------------------------------------------

    def _act(
        self,
        action: str,
        node: NodeId,
        call: Callable[[EPaxosReplica], None],
        sender: NodeId | None = None,
        message: Any = None,
        submitted: Command | None = None,
    ) -> None:
        replica = self.nodes[node]
        self.calls += 1
        twin = None
        if self.clone_every and self.calls % self.clone_every == 0:
            twin = replica.clone()
            assert twin.fingerprint() == replica.fingerprint()
        call(replica)
        twin_effects = None
        if twin is not None:
            call(twin)
            twin_effects = twin.effects()
        self._collect(action, node, sender, message, submitted, twin_effects)

    def _collect(
        self,
        action: str,
        node: NodeId,
        sender: NodeId | None,
        message: Any,
        submitted: Command | None,
        twin: Effects | None = None,
    ) -> None:
        replica = self.nodes[node]
        while True:
            effects = replica.effects()
            if twin is not None:
                for name in ("writes", "sends", "applies", "outcomes", "transfers"):
                    assert getattr(twin, name) == getattr(effects, name), f"a clone differs in {name}"
                twin = None
            self.wakes[node] = effects.wake_at_s
            self.events += effects.events
            for outcome in effects.outcomes:
                self.outcomes[outcome.request] = outcome
            at_once, held = self._sorted(node, effects)
            batch = Batch(list(effects.writes), held, self._apply(node, effects))
            is_slow = node in self.slow or bool(self.queues[node])
            if is_slow:
                self.queues[node].append(batch)
            else:
                self._hold(node, batch)
            self._observe(
                action,
                node,
                sender=sender,
                message=message,
                submitted=submitted,
                placed=[] if submitted is None else [submitted],
                writes=effects.writes,
                created=effects.sends,
                left=at_once if is_slow else effects.sends,
                applies=effects.applies,
            )
            self.post(Sent(node, to, sent) for to, sent in at_once)
            self._bring(node, effects)
            if not is_slow:
                self._leave(node, batch)
            if (
                effects.wake_at_s != 0.0
                or not replica.learner.is_stirred
                or self.nodes.get(node) is not replica
            ):
                return
            action, sender, message, submitted = "tick", None, None, None

    def _sorted(self, node: NodeId, effects: Effects) -> tuple[list[tuple[NodeId, Any]], list[Any]]:
        """What leaves at once, and what waits for the disk."""
        at_once: list[tuple[NodeId, Any]] = []
        held: list[tuple[NodeId, Any]] = []
        for to, message in effects.sends:
            waits = to == node or message.__class__ in self.reporting
            (held if waits else at_once).append((to, message))
        return at_once, held

    def _bring(self, node: NodeId, effects: Effects) -> None:
        """Snapshots are on their way to who was found to be behind."""
        for recipient, _ in effects.transfers:
            kept = self.machines[node].snapshot
            if kept is not None:
                transfer = Transfer(recipient, *kept)
                if transfer not in self.transfers:
                    self.transfers.append(transfer)

    def _apply(self, node: NodeId, effects: Effects) -> tuple[Any, bytes, bytes] | None:
        machine, snapshot = self.machines[node], None
        for mark, applied in effects.applies:
            machine.apply(mark, applied)
            if is_marker(applied):
                state = machine.pack()
                first, who = self.cuts.setdefault(mark, (state, node))
                if first != state:
                    self._say("StateExact", f"at {mark} nodes {who} and {node} have different states")
                if self.snapshots:
                    snapshot = (mark, state, self.nodes[node].part(mark))
        return snapshot

    def _written(self, node: NodeId, batch: Batch) -> None:
        """A batch is on the disk: what waited for it leaves, and a snapshot may stand for what it holds."""
        self._hold(node, batch)
        self._observe("durable", node, left=batch.held)
        self._leave(node, batch)

    def _hold(self, node: NodeId, batch: Batch) -> None:
        disk = self.disks[node]
        for key, value in batch.writes:
            if value is None:
                disk.pop(key, None)
            else:
                disk[key] = value

    def _leave(self, node: NodeId, batch: Batch) -> None:
        self.post(Sent(node, to, message) for to, message in batch.held if to != node)
        for to, message in batch.held:
            if to == node and node in self.nodes:
                self._act(
                    "receive",
                    node,
                    partial(_receive, sender=node, message=message, now=self.now),
                    node,
                    message,
                )
        if batch.snapshot is not None and node in self.nodes:
            mark = batch.snapshot[0]
            self.machines[node].snapshot = batch.snapshot
            self._act("compact", node, lambda r: r.compact(mark, self.now))

    def _observe(self, action: str, node: NodeId, **what: Any) -> None:
        empty: dict[str, Any] = {
            "sender": None,
            "message": None,
            "writes": (),
            "created": (),
            "left": (),
            "applies": (),
            "submitted": None,
        }
        replica = self.nodes.get(node)
        step = Step(action=action, node=node, replica=replica, durable=self.disks[node], **(empty | what))
        for invariant in self.invariants:
            sentence = invariant.observe(step)
            if sentence is not None:
                self._say(invariant.name, sentence)

    def _say(self, name: str, sentence: str) -> None:
        self.violations.setdefault(name, sentence)

    # --- what tests ask ------------------------------------------------------------------------------

    def applied(self, node: NodeId) -> list[bytes]:
        """The payloads applied at a node, in order, in this life."""
        return [one.payload for _, one in self.machines[node].order if not is_marker(one)]

    def states(self, nodes: Iterable[NodeId] | None = None) -> set[bytes]:
        """The states of nodes that are up."""
        return {self.machines[node].pack() for node in nodes or self.nodes}

    def seen(self, action: str) -> int:
        """How often something happened."""
        return sum(event.action == action for event in self.events)

    def check(self) -> None:
        """Nothing broke, and what any two nodes know to be decided is the same."""
        assert not self.violations, self.violations
        decided: dict[tuple[int, int], Any] = {}
        for replica in self.nodes.values():
            is_committed = replica.learner.executor.is_committed
            for instance in replica.table:
                # An owner's own fast commit is none before it is on its disk.
                if instance.phase == COMMITTED and is_committed(instance.rank, instance.number):
                    what = (instance.choice, None if instance.is_nop else instance.value)
                    assert decided.setdefault((instance.rank, instance.number), what) == what
