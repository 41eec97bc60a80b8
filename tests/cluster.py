"""A few nodes in the palm of the hand: every delivery, write, crash and restart is a call.

For scripts of a dozen lines that need one exact schedule. Nothing happens by itself, except that a disk
which is not in `slow` finishes at once, and that what a node says to itself reaches it when it leaves.
The invariants watch every step; what they say gathers in `violations`.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from paxos.ballot import NodeId
from paxos.basic import BasicReplica, BasicSettings
from paxos.basic import protocol as basic
from paxos.command import Command, Footprint, RequestId, digest_of
from paxos.contract import Configuration, Draw, Event, Instant, Message, ProtocolDescription, Step
from paxos.errors import NodeStopped, ProtocolBreach
from paxos.quorum import Majority, QuorumSystem
from paxos.service import Node, Reply, Submit, decide_request, decided_request, replica_prefix

PREFIX = replica_prefix(0, 0)


class Sent(NamedTuple):
    """A message on its way."""

    sender: NodeId
    recipient: NodeId
    message: Message


class Operation(NamedTuple):
    """One request of a client, and when it began, counted in calls of the cluster's methods."""

    name: str
    value: bytes | None
    began: int


def store_id(node: NodeId, life: int = 0) -> bytes:
    return bytes([node, life]) * 8


def request_id(body: bytes, sequence: int) -> RequestId:
    return RequestId(b"c" * 16, 0, sequence, digest_of(body))


class Cluster:
    """Nodes 1..n, of Basic Paxos unless told otherwise, introduced to one another, with empty disks."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        quorums: QuorumSystem | None = None,
        settings: Any = None,
        draw: Draw = lambda name, bound: 0,
        introduce: bool = True,
        protocol: ProtocolDescription = basic,
    ) -> None:
        self.protocol = protocol
        self.quorums = quorums or Majority(range(1, nodes + 1))
        self.settings = settings or BasicSettings(reserve_rounds=8)
        self.draw = draw
        self.now_s = 100.0
        self.steps = 0
        self.nodes: dict[NodeId, Node] = {}
        self.disks: dict[NodeId, dict[bytes, bytes]] = {n: {} for n in self.members}
        self.stores = {n: store_id(n) for n in self.members}
        self.stopped: dict[NodeId, Exception] = {}
        self.slow: set[NodeId] = set()
        self.network: list[Sent] = []
        self.queues: dict[NodeId, deque[tuple[list[Any], list[Any]]]] = {n: deque() for n in self.members}
        self.invariants = [make(self.quorums) for make in protocol.invariants]
        self.violations: dict[str, str] = {}
        self.events: list[Event] = []
        self.operations: dict[RequestId, Operation] = {}
        self.answers: dict[RequestId, tuple[Reply, int]] = {}
        for node in self.members:
            self.start(node)
        if introduce:
            self.deliver()

    @property
    def members(self) -> tuple[NodeId, ...]:
        return self.quorums.members

    @property
    def now(self) -> Instant:
        return Instant(self.now_s)

    def check(self, node: NodeId) -> None:
        check_bookkeeping(self.replica(node))

    def replica(self, node: NodeId) -> BasicReplica:
        replica = self.nodes[node].replica
        assert isinstance(replica, BasicReplica)
        return replica

    # --- what clients do ------------------------------------------------------------------------

    def decide(self, node: NodeId, name: str, value: bytes, client: object = "client") -> RequestId:
        return self.submit(node, decide_request(name, value), Operation(name, value, self.steps), client)

    def decided(self, node: NodeId, name: str, client: object = "client") -> RequestId:
        return self.submit(node, decided_request(name), Operation(name, None, self.steps), client)

    def submit(self, node: NodeId, body: bytes, operation: Operation, client: object) -> RequestId:
        request = request_id(body, len(self.operations) + 1)
        self.operations[request] = operation
        key = operation.name.encode()
        write = operation.value is not None
        footprint = Footprint(writes=(key,)) if write else Footprint(reads=(key,))
        command = Command(request, footprint, operation.value or b"")
        self._act("request", node, lambda n: n.request(client, Submit(request, body), self.now), command)
        return request

    def result(self, request: RequestId) -> bytes | None:
        """What a finished request was told."""
        reply, _ = self.answers[request]
        assert reply.kind == 0, reply
        return reply.result

    def stale_reads(self) -> list[RequestId]:
        """Reads told "undecided" that began after somebody had been told the decision."""
        told: dict[str, int] = {}
        for request, (reply, ended) in self.answers.items():
            if reply.kind == 0 and reply.result is not None:
                name = self.operations[request].name
                told[name] = min(ended, told.get(name, ended))
        return [
            request
            for request, (reply, _) in self.answers.items()
            if reply.kind == 0
            and reply.result is None
            and told.get(self.operations[request].name, self.steps) < self.operations[request].began
        ]

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
            for _ in range(10_000):
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
        if recipient in self.nodes:
            self._act(
                "receive", recipient, lambda n: n.receive(sender, message, self.now), None, sender, message
            )

    def drop(self, kind: Any = object, sender: object = None, to: object = None) -> None:
        for sent in self.pick(kind, sender, to):
            self.network.remove(sent)

    def flush(self, node: NodeId, batches: int | None = None) -> None:
        """The disk finishes the oldest batches, all of them unless told."""
        queue = self.queues[node]
        left = []
        for _ in range(len(queue) if batches is None else batches):
            writes, held = queue.popleft()
            for key, value in writes:
                if value is None:
                    self.disks[node].pop(key, None)
                else:
                    self.disks[node][key] = value
            left += held
        self._observe("durable", node, left=left)
        self._leave(node, left)

    def advance(self, seconds: float, only: object = None) -> None:
        """Time goes on; every node ticks once."""
        self.now_s += seconds
        for node in self.members:
            if node in self.nodes and (only is None or node == only):
                self._act("tick", node, lambda n: n.tick(self.now))

    def settle(self, *waiting: RequestId, seconds: float = 60.0, step_s: float = 0.05) -> None:
        """Deliver everything, again and again, as time goes on, until these, or all, were answered."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.deliver()
            if all(request in self.answers for request in waiting or self.operations):
                return
            self.advance(step_s)

    def crash(self, node: NodeId, keep: int = 0) -> None:
        """The node dies. Of its unfinished batches the first `keep` reached the disk all the same."""
        del self.nodes[node]
        queue = self.queues[node]
        for writes, _ in list(queue)[:keep]:
            for key, value in writes:
                if value is None:
                    self.disks[node].pop(key, None)
                else:
                    self.disks[node][key] = value
        queue.clear()
        self._observe("crash", node)

    def start(self, node: NodeId) -> None:
        """The node starts from what its disk holds."""
        configuration = Configuration(node, self.quorums, self.settings)
        records = dict(self.disks[node])
        self.nodes[node] = Node(self.protocol, configuration, self.stores[node], records, self.draw, self.now)
        self._act("restart", node, lambda n: None)

    def restart(self, node: NodeId, keep: int = 0) -> None:
        self.crash(node, keep)
        self.start(node)

    # --- inside --------------------------------------------------------------------------------

    def _act(
        self,
        action: str,
        node: NodeId,
        call: Callable[[Node], None],
        submitted: Command | None = None,
        sender: NodeId | None = None,
        message: Message | None = None,
    ) -> None:
        here = self.nodes[node]
        try:
            call(here)
            turn = here.turn()
        except (ProtocolBreach, NodeStopped) as error:
            self.stopped[node] = error
            self.crash(node)
            return
        assert all(recipient != node for recipient, _ in turn.sends)
        self.check(node)
        self.queues[node].append((turn.writes, turn.held))
        self.events += turn.events
        for _, answer in turn.answers:
            if isinstance(answer, Reply):
                self.answers[answer.request] = (answer, self.steps)
        self._observe(
            action,
            node,
            sender=sender,
            message=message,
            submitted=submitted,
            writes=[(key[len(PREFIX) :], value) for key, value in turn.writes if key.startswith(PREFIX)],
            created=turn.sends + turn.held,
            left=turn.sends,
            applies=turn.applies,
        )
        self._leave(node, turn.sends)
        if node not in self.slow and node in self.nodes:
            self.flush(node)

    def _leave(self, node: NodeId, left: list[tuple[NodeId, Message]]) -> None:
        self.network += [Sent(node, recipient, message) for recipient, message in left if recipient != node]
        for recipient, message in left:
            if recipient == node and node in self.nodes:
                self.hand_over(Sent(node, node, message))

    def _observe(self, action: str, node: NodeId, **what: Any) -> None:
        self.steps += 1
        durable = {key[len(PREFIX) :]: v for key, v in self.disks[node].items() if key.startswith(PREFIX)}
        replica = self.nodes[node].replica if node in self.nodes else None
        empty: dict[str, Any] = {
            "sender": None,
            "message": None,
            "writes": (),
            "created": (),
            "left": (),
            "applies": (),
            "submitted": None,
        }
        step = Step(action=action, node=node, replica=replica, durable=durable, **(empty | what))
        for invariant in self.invariants:
            said = invariant.observe(step)
            if said is not None:
                self.violations.setdefault(invariant.name, said)


def check_bookkeeping(replica: BasicReplica) -> None:
    """What the replica's own books must say, whatever happens outside."""
    at_work = [state for state in replica._open.values() if state.proposer or state.offered is not None]
    assert replica._working == len(at_work)
    waiting = {r: decree for decree, state in replica._open.items() for r in state.requests}
    assert waiting == replica._requests
    wakes = set(replica._wakes)
    for decree, state in replica._open.items():
        assert state.proposer is None or state.offered is None
        assert (state.proposer is None) == (state.learner is None)
        if state.requests:
            assert state in at_work, f"{decree!r}: requests wait and nobody works"
        timed = (state.deadline_s, decree) in wakes
        if state.proposer is not None:
            parked = state.stage == "parked" and decree in replica._parked and not timed
            assert parked or (state.stage in ("repeat", "backoff") and timed), f"{decree!r}: {state.stage}"
        elif state.offered is not None:
            assert state.stage == "patience"
            assert timed
        else:
            assert state.stage == "idle" or (state.stage == "ask" and timed), f"{decree!r}: {state.stage}"
