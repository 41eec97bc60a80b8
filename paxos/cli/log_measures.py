"""What `paxos bench core` measures of logs: a few nodes in one thread, their messages handed over directly.

Nothing is sent and nothing stored: a turn's writes count as written at once.  So this is what the algorithm
costs, without and with what a service adds to it: the client table, the state machine, the answers.

Where somebody leads, everything is asked of the leader; where nobody does, of every node in turn. A
protocol that orders only what conflicts is measured where nothing does, and where everything does.
"""

import itertools
import os
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.cli.measures import Measure
from paxos.command import Command, Footprint, RequestId, digest_of
from paxos.contract import (
    Configuration,
    Decides,
    Instant,
    Orders,
    ProtocolDescription,
    Replica,
    find_protocol,
    protocol_names,
)
from paxos.service import Node
from paxos.service.batches import Run, run_digests
from paxos.service.keyvalue import KeyValue
from paxos.service.keyvalue_requests import put
from paxos.service.log_messages import Results, SubmitMany

__all__ = ["log_measures"]

_SIZES: Final = (3, 5)
_BATCH: Final = 100
_CLIENT: Final = b"c" * 16
#: Commands under way at once.
_AT_ONCE: Final = 64


def log_measures() -> list[Measure]:
    """For every protocol that decides a log: commands, and requests in batches of 100, a second."""
    measures = []
    for name in protocol_names():
        protocol = find_protocol(name)
        if protocol.decides is not Decides.LOG:
            continue
        partial = protocol.orders is Orders.CONFLICTS
        for members in _SIZES if partial else _SIZES[:1]:
            for conflicts in (False, True) if partial else (False,):
                how = f", {100 * conflicts} % conflicts" if partial else ""
                measures += [
                    Measure(
                        f"{name}: {members} replicas, 1 command at a time{how}",
                        "commands",
                        _Replicas(protocol, members, conflicts).commands,
                    ),
                    Measure(
                        f"{name}: {members} nodes, batches of {_BATCH}, key-value store{how}",
                        "requests",
                        _Nodes(protocol, members, conflicts).requests,
                    ),
                ]
    return measures


class _Replicas:
    """Replicas without anything around them."""

    def __init__(self, protocol: ProtocolDescription, members: int, conflicts: bool) -> None:
        quorums = protocol.quorums(range(1, members + 1))
        self._now = Instant(0.0)
        self._replicas: dict[NodeId, Replica] = {
            node: protocol.replica(Configuration(node, quorums), {}, _draw, self._now)
            for node in quorums.members
        }
        self._conflicts = conflicts
        self._waiting: deque[tuple[NodeId, NodeId, Any]] = deque()
        self._applied = 0
        self._sequence = itertools.count(1)
        self._asked = itertools.cycle(_to_ask(self, protocol, quorums.members))

    def commands(self, number: int) -> None:
        """Get so many commands applied by all, a few under way at any time."""
        target = self._applied + len(self._replicas) * number
        left = number
        while left or self._applied < target:
            some = min(left, _AT_ONCE)
            left -= some
            replica = self._replicas[next(self._asked)]
            replica.submit([_command(next(self._sequence), self._conflicts) for _ in range(some)], self._now)
            self.settle()

    def settle(self) -> None:
        """Hand over messages until there are none."""
        replicas, waiting, now = self._replicas, self._waiting, self._now
        while True:
            for node, replica in replicas.items():
                effects = replica.effects()
                self._applied += len(effects.applies)
                for recipient, message in effects.sends:
                    waiting.append((recipient, node, message))
            if not waiting:
                return
            while waiting:
                recipient, sender, message = waiting.popleft()
                replicas[recipient].receive(sender, message, now)

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self._now = Instant(self._now.monotonic_s + seconds)
        for replica in self._replicas.values():
            replica.tick(self._now)
        self.settle()

    def leads(self, node: NodeId) -> bool:
        """Whether a node leads, as far as it knows."""
        values = self._replicas[node].status().values
        return values.get("leader", node) == node


class _Nodes:
    """Nodes with their service, and one client."""

    def __init__(self, protocol: ProtocolDescription, members: int, conflicts: bool) -> None:
        quorums = protocol.quorums(range(1, members + 1))
        self._now = Instant(0.0)
        self._nodes = {
            node: Node(
                protocol,
                Configuration(node, quorums),
                os.urandom(16),
                {},
                _draw,
                self._now,
                machine=KeyValue,
                machine_name="kv",
            )
            for node in quorums.members
        }
        self._waiting: deque[tuple[NodeId, NodeId, Any]] = deque()
        self._answered = 0
        self._next = 1
        # Each node's clients have keys of their own, or all have one.
        shared = os.urandom(16)
        self._asked = itertools.cycle(
            (node, bodies, run_digests(bodies))
            for node in _to_ask(self, protocol, quorums.members)
            for bodies in [
                [put(shared if conflicts else os.urandom(16), os.urandom(16)) for _ in range(_BATCH)]
            ]
        )

    def requests(self, number: int) -> None:
        """Get so many requests answered."""
        target = self._answered + number
        while self._answered < target:
            node, bodies, digests = next(self._asked)
            run = Run(_CLIENT, 0, self._next - 1, self._next, digests, bodies)
            self._next += _BATCH
            self._nodes[node].request("client", SubmitMany(run), self._now)
            self.settle()

    def settle(self) -> None:
        """Hand over messages until there are none."""
        nodes, waiting, now = self._nodes, self._waiting, self._now
        while True:
            for id_, node in nodes.items():
                turn = node.turn()
                for _, answer in turn.answers:
                    if answer.__class__ is Results:
                        self._answered += len(answer.results)
                for recipient, message in itertools.chain(turn.sends, turn.held):
                    waiting.append((recipient, id_, message))
            if not waiting:
                return
            while waiting:
                recipient, sender, message = waiting.popleft()
                nodes[recipient].receive(sender, message, now)

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self._now = Instant(self._now.monotonic_s + seconds)
        for node in self._nodes.values():
            node.tick(self._now)
        self.settle()

    def leads(self, node: NodeId) -> bool:
        """Whether a node leads, as far as it knows."""
        status = self._nodes[node].status()
        return bool(status["ready"]) and status.get("leader", node) == node


def _to_ask(
    cluster: "_Replicas | _Nodes", protocol: ProtocolDescription, members: Sequence[NodeId]
) -> Sequence[NodeId]:
    """Let time pass until commands can be asked for, and say of whom."""
    for _ in range(1000):
        cluster.pass_time(0.05)
        leaders = [node for node in members if cluster.leads(node)]
        if len(leaders) == 1 or (leaders and protocol.orders is Orders.CONFLICTS):
            return leaders
    raise RuntimeError(f"no replica of {protocol.name} came to lead")


def _draw(name: str, bound: int) -> int:
    return 0


def _command(number: int, conflicts: bool) -> Command:
    payload = b"%016d" % number
    footprint = Footprint(writes=(b"hot" if conflicts else payload,))
    return Command(RequestId(_CLIENT, 0, number, digest_of(payload)), footprint, payload)
