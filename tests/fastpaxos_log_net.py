"""A few replicas of a log of Fast Paxos in the palm of the hand: every delivery, write, crash and restart
is a call.

Nothing happens by itself, except that a disk which is not in `slow` finishes at once, and that what a
replica says to itself reaches it when it leaves. Beside each replica stands the least that a service does: it
keeps what was applied, makes snapshots when told, and installs those that are sent. The invariants watch
every step; what they say gathers in `violations`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from fastpaxos.log import FastLogReplica, FastLogSettings, protocol
from paxos.ballot import NodeId
from paxos.command import NOTHING, Command, RequestId, digest_of
from paxos.contract import Configuration, Draw, Effects, Event, Instant, Message, Outcome, OutcomeKind, Step
from paxos.errors import ProtocolBreach
from paxos.quorum import Majority, QuorumSystem

#: How long anything takes to settle, at most.
LONG_S = 60.0


class Sent(NamedTuple):
    """A message on its way."""

    sender: NodeId
    recipient: NodeId
    message: Message


class Transfer(NamedTuple):
    """A snapshot on its way."""

    recipient: NodeId
    mark: int
    state: tuple[Command, ...]
    part: bytes


def command(number: int, payload: bytes | None = None) -> Command:
    """A command that no other is equal to."""
    payload = b"%d" % number if payload is None else payload
    return Command(RequestId(b"c" * 16, 0, number, digest_of(payload)), NOTHING, payload)


class Machine:
    """What was applied at one node: a list that only grows, and its durable snapshot."""

    def __init__(self) -> None:
        self.mark = 0
        self.state: list[Command] = []
        self.snapshot: tuple[int, tuple[Command, ...]] = (0, ())
        # What the protocol added to the snapshot.
        self.part = b""

    def apply(self, mark: int, applied: Command) -> None:
        if mark <= self.mark:
            return  # the snapshot that was restored had it
        assert mark == self.mark + 1, f"slot {mark} applied after {self.mark}"
        self.mark = mark
        self.state.append(applied)

    def restart(self) -> None:
        self.mark, state = self.snapshot
        self.state = list(state)


class Net:
    """Replicas 1..n, and observers, with empty disks."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        quorums: QuorumSystem | None = None,
        observers: tuple[NodeId, ...] = (),
        settings: FastLogSettings | None = None,
        draw: Draw = lambda name, bound: 0,
        make: Callable[..., FastLogReplica] = FastLogReplica,
        trace: bool = False,
        rates: dict[NodeId, float] | None = None,
    ) -> None:
        self.quorums = quorums or Majority(range(1, nodes + 1))
        self.everyone = tuple(sorted((*self.quorums.members, *observers)))
        self.observers = observers
        self.settings = settings or FastLogSettings(
            reserve_rounds=4, hint_slots=4, collisions_before_classic=3
        )
        self.draws = Draws(draw)
        self.make, self.trace = make, trace
        self.now_s = 100.0
        # The rates of clocks that do not run as they should.
        self.rates: dict[NodeId, float] = rates or {}
        self.submitted = 0
        self.nodes: dict[NodeId, FastLogReplica] = {}
        self.machines = {n: Machine() for n in self.everyone}
        self.disks: dict[NodeId, dict[bytes, bytes]] = {n: {} for n in self.everyone}
        self.queues: dict[NodeId, deque[tuple[list[Any], list[Any]]]] = {n: deque() for n in self.everyone}
        self.slow: set[NodeId] = set()
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.network: list[Sent] = []
        self.transfers: list[Transfer] = []
        self.stopped: dict[NodeId, Exception] = {}
        self.events: list[Event] = []
        self.outcomes: dict[RequestId, tuple[NodeId, Outcome]] = {}
        self.wakes: dict[NodeId, float | None] = {}
        self.rooms: dict[NodeId, int] = {}
        self.invariants = [make_one(self.quorums) for make_one in protocol.invariants]
        self.violations: dict[str, str] = {}
        self.reads: dict[RequestId, int] = {}
        self.checks = 0
        # Every so many calls of a replica, a clone is called too, and must do the same.
        self.clone_every = 7
        for node in self.everyone:
            self.start(node)

    @property
    def now(self) -> Instant:
        return Instant(self.now_s)

    def clock(self, node: NodeId) -> Instant:
        """What the node's clock shows."""
        return Instant(self.now_s * self.rates.get(node, 1.0))

    # --- what clients and services do ------------------------------------------------------------

    def submit(self, node: NodeId, *payloads: bytes) -> list[RequestId]:
        """Submit a command for each payload, or one with a payload of its own."""
        commands = []
        for payload in payloads or (None,):
            self.submitted += 1
            commands.append(command(self.submitted, payload))
        for one in commands:
            self._act("request", node, partial(_submit, command=one, now=self.clock(node)), submitted=one)
        return [one.request for one in commands]

    def read(self, node: NodeId) -> RequestId:
        self.submitted += 1
        request = command(self.submitted).request
        # Whatever was applied anywhere may have been acknowledged, so the read must see it.
        self.reads[request] = max(machine.mark for machine in self.machines.values())
        self._act("read", node, lambda r: r.read(request, self.clock(node)))
        return request

    def kind(self, request: RequestId) -> OutcomeKind | None:
        """What became of a request, if anything but being applied did."""
        return self.outcomes[request][1].kind if request in self.outcomes else None

    def applied(self, node: NodeId) -> list[bytes]:
        """The payloads applied at a node, no-ops left out."""
        return [one.payload for one in self.machines[node].state if one.payload]

    def snapshot(self, node: NodeId) -> int:
        """The node's service makes its state durable and has the log forget it."""
        machine = self.machines[node]
        machine.snapshot = (machine.mark, tuple(machine.state))
        machine.part = self.nodes[node].part(machine.mark)
        self._act("compact", node, lambda r: r.compact(machine.mark, self.clock(node)))
        return machine.mark

    def bring(self) -> None:
        """Snapshots that are on their way arrive."""
        transfers, self.transfers = self.transfers, []
        for recipient, mark, state, part in transfers:
            machine = self.machines[recipient]
            if recipient in self.nodes and mark > machine.mark:
                machine.mark, machine.state = mark, list(state)
                machine.snapshot, machine.part = (mark, state), part
                self._act(
                    "install", recipient, partial(_install, mark=mark, part=part, now=self.clock(recipient))
                )

    # --- what the world does ---------------------------------------------------------------------

    def pick(self, kind: Any = object, sender: object = None, to: object = None) -> list[Sent]:
        """Messages on their way, oldest first: of a class, from and to nodes or collections of them."""

        def fits(one: NodeId, wanted: object) -> bool:
            return wanted is None or (one in wanted if isinstance(wanted, Iterable) else one == wanted)

        return [
            sent
            for sent in self.network
            if isinstance(sent.message, kind) and fits(sent.sender, sender) and fits(sent.recipient, to)
        ]

    def deliver(
        self, kind: Any = None, sender: object = None, to: object = None, *, again: bool = False
    ) -> None:
        """Deliver what `pick` finds now, each once; with no arguments go on until nothing is on its way."""
        if kind is None and sender is None and to is None:
            for _ in range(100_000):
                if not self.network:
                    return
                self.hand_over(self.network.pop(0))
            raise AssertionError("the messages do not end")
        for sent in self.pick(kind or object, sender, to):
            if not again:
                self.network.remove(sent)
            self.hand_over(sent)

    def hand_over(self, sent: Sent) -> None:
        sender, recipient, message = sent
        if recipient in self.nodes and (sender, recipient) not in self.cut:
            self._act(
                "receive",
                recipient,
                lambda r: r.receive(sender, message, self.clock(recipient)),
                sender,
                message,
            )

    def hand_over_message(self, sender: NodeId, recipient: NodeId, message: Any) -> None:
        """Somebody makes a message up, and it arrives."""
        self.hand_over(Sent(sender, recipient, message))

    def drop(self, kind: Any = object, sender: object = None, to: object = None) -> None:
        for sent in self.pick(kind, sender, to):
            self.network.remove(sent)

    def isolate(self, *nodes: NodeId) -> None:
        """From now on nothing passes between these nodes and the others."""
        for one in nodes:
            for other in self.everyone:
                if other not in nodes:
                    self.cut |= {(one, other), (other, one)}

    def flush(self, node: NodeId, batches: int | None = None) -> None:
        """The disk finishes the oldest batches, all of them unless told."""
        queue, left = self.queues[node], []
        for _ in range(len(queue) if batches is None else batches):
            writes, held = queue.popleft()
            self._write(node, writes)
            left += held
        self._observe("durable", node, left=left)
        self._leave(node, left)

    def _write(self, node: NodeId, writes: Sequence[tuple[bytes, bytes | None]]) -> None:
        for key, value in writes:
            if value is None:
                self.disks[node].pop(key, None)
            else:
                self.disks[node][key] = value

    def advance(self, seconds: float, only: object = None) -> None:
        """Time goes on; every node ticks once."""
        self.now_s += seconds
        for node in self.everyone:
            if node in self.nodes and (only is None or node == only):
                self._act("tick", node, partial(_tick, now=self.clock(node)))

    def run(self, seconds: float, step_s: float = 0.02) -> None:
        """Deliver everything, as time goes on."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.deliver()
            self.bring()
            self.advance(step_s)
        self.deliver()

    def settle(self, reached: Callable[[], object], seconds: float = LONG_S, step_s: float = 0.02) -> None:
        """Deliver everything, as time goes on, until something is so."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.deliver()
            self.bring()
            if reached():
                return
            self.advance(step_s)
        raise AssertionError(f"not reached: {[repr(r.status().summary) for r in self.nodes.values()]}")

    def until(self, reached: Callable[[], object], step_s: float = 0.02) -> None:
        """Deliver one message after the other, time goes on when there is none, until something is so."""
        for _ in range(100_000):
            if reached():
                return
            if self.network:
                self.hand_over(self.network.pop(0))
            else:
                self.advance(step_s)
        raise AssertionError("not reached")

    def crash(self, node: NodeId, keep: int = 0) -> None:
        """The node dies. Of its unfinished batches the first `keep` reached the disk all the same."""
        del self.nodes[node]
        queue = self.queues[node]
        for writes, _ in list(queue)[:keep]:
            self._write(node, writes)
        queue.clear()
        self._observe("crash", node)

    def start(self, node: NodeId) -> None:
        """The node starts from what its disk and its snapshot hold."""
        self.machines[node].restart()
        configuration = Configuration(
            node, self.quorums, self.settings, trace=self.trace, observers=self.observers
        )
        records = dict(self.disks[node])
        self.nodes[node] = self.make(configuration, records, self.draws, self.clock(node))
        mark, part = self.machines[node].mark, self.machines[node].part
        self._act("restart", node, lambda r: r.install(mark, part, self.clock(node)) if mark else None)

    def restart(self, node: NodeId, keep: int = 0) -> None:
        self.crash(node, keep)
        self.start(node)

    # --- whom it concerns ------------------------------------------------------------------------

    @property
    def coordinators(self) -> list[NodeId]:
        return [node for node, replica in self.nodes.items() if replica.office is not None]

    def all_follow(self) -> bool:
        """Whether one node coordinates, and all others that are up know it and its ballot."""
        if len(self.coordinators) != 1:
            return False
        (node,) = self.coordinators
        view = self.nodes[node].proposer.view
        return all(replica.proposer.view[:3] == view[:3] for replica in self.nodes.values())

    def elect(self, node: NodeId) -> None:
        """Have this node stand, as one does that has heard of no coordinator, until it coordinates."""
        for _ in range(20):
            election = self.nodes[node].election
            self.now_s = max(self.now_s + self.settings.election_max_s, election.deadline_s)
            self.tick(node)
            self.deliver()
            if self.nodes[node].office is not None:
                return
        raise AssertionError(f"node {node} is not elected")

    def hand_over_to(self, coordinator: NodeId, heir: NodeId) -> None:
        self._act("instruct", coordinator, lambda r: r.instruct("transfer", heir, self.clock(coordinator)))

    def tick(self, node: NodeId) -> None:
        self._act("tick", node, partial(_tick, now=self.clock(node)))

    def mode(self, node: NodeId) -> str:
        return str(self.nodes[node].status().values["mode"])

    def happened(self, action: str, node: NodeId | None = None) -> list[Event]:
        return [e for e in self.events if e.action == action and node in (None, e.node)]

    # --- inside --------------------------------------------------------------------------------

    def _act(
        self,
        action: str,
        node: NodeId,
        call: Callable[[FastLogReplica], None],
        sender: NodeId | None = None,
        message: Message | None = None,
        submitted: Command | None = None,
    ) -> None:
        here = self.nodes[node]
        self.checks += 1
        twin = here.clone() if self.checks % self.clone_every == 0 and action != "restart" else None
        try:
            call(here)
            effects = here.effects()
            if twin is not None:
                self.draws.again = True
                check_twin(twin, here, call, effects)
            self.draws.forget()
        except ProtocolBreach as error:
            self.stopped[node] = error
            self.crash(node)
            return
        reporting = protocol.messages.reporting
        held: list[tuple[NodeId, Message]] = []
        left: list[tuple[NodeId, Message]] = []
        for one in effects.sends:
            (held if type(one[1]) in reporting or one[0] == node else left).append(one)
        for mark, applied in effects.applies:
            assert isinstance(mark, int)
            self.machines[node].apply(mark, applied)
        self.queues[node].append((effects.writes, held))
        self.events += effects.events
        for outcome in effects.outcomes:
            assert outcome.request not in self.outcomes, outcome
            self.outcomes[outcome.request] = (node, outcome)
            if outcome.kind is OutcomeKind.READY:
                mark, needed = outcome.mark, self.reads[outcome.request]
                assert isinstance(mark, int)
                if mark < needed:
                    said = f"node {node} answers a read at {mark}, and {needed} was applied"
                    self.violations.setdefault("ReadFresh", said)
        for recipient, mark in effects.transfers:
            at, state = self.machines[node].snapshot
            assert isinstance(mark, int)
            assert at >= mark
            self.transfers.append(Transfer(recipient, at, state, self.machines[node].part))
        self.wakes[node], self.rooms[node] = effects.wake_at_s, effects.room
        self._observe(
            action,
            node,
            sender=sender,
            message=message,
            submitted=submitted,
            writes=effects.writes,
            created=effects.sends,
            left=left,
            applies=effects.applies,
        )
        self._leave(node, left)
        if node not in self.slow and node in self.nodes:
            self.flush(node)

    def _leave(self, node: NodeId, left: list[tuple[NodeId, Message]]) -> None:
        self.network += [Sent(node, recipient, message) for recipient, message in left if recipient != node]
        for recipient, message in left:
            if recipient == node and node in self.nodes:
                here = partial(_receive, sender=node, message=message, now=self.clock(node))
                self._act("receive", node, here, node, message)

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
            said = invariant.observe(step)
            if said is not None:
                self.violations.setdefault(invariant.name, said)


class Draws:
    """Supplies randomness, and the same again to a twin."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.drawn: list[int] = []
        self.again = False

    def __call__(self, name: str, bound: int) -> int:
        if self.again:
            return self.drawn.pop(0)
        self.drawn.append(self.draw(name, bound))
        return self.drawn[-1]

    def forget(self) -> None:
        assert not (self.again and self.drawn)
        self.drawn, self.again = [], False


def check_twin(
    twin: FastLogReplica,
    replica: FastLogReplica,
    call: Callable[[FastLogReplica], None],
    effects: Effects,
) -> None:
    """A clone that is called as the replica was does what it did, and is what it is."""
    call(twin)
    others = twin.effects()
    for name in Effects.__slots__:
        assert getattr(others, name) == getattr(effects, name), name
    assert twin.fingerprint() == replica.fingerprint()
    assert hash(twin.fingerprint()) == hash(replica.fingerprint())


def _submit(replica: FastLogReplica, command: Command, now: Instant) -> None:
    replica.submit((command,), now)


def _tick(replica: FastLogReplica, now: Instant) -> None:
    replica.tick(now)


def _install(replica: FastLogReplica, mark: int, part: bytes, now: Instant) -> None:
    replica.install(mark, part, now)


def _receive(replica: FastLogReplica, sender: NodeId, message: Message, now: Instant) -> None:
    replica.receive(sender, message, now)
