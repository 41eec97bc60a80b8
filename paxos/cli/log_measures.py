"""What `paxos bench core` measures of logs: three nodes of one thread, their messages handed over directly.

Nothing is sent and nothing stored: a turn's writes count as written at once.  So this is what the algorithm
costs, without and with what a service adds to it: the client table, the state machine, the answers.
"""

import itertools
import os
from collections import deque
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.cli.measures import Measure
from paxos.command import NOTHING, Command, RequestId, digest_of
from paxos.contract import Configuration, Decides, Instant, Replica, find_protocol, protocol_names
from paxos.service import Node
from paxos.service.batches import Run, run_digests
from paxos.service.keyvalue import KeyValue
from paxos.service.keyvalue_requests import put
from paxos.service.log_messages import Results, SubmitMany

__all__ = ["log_measures"]

_MEMBERS: Final = (1, 2, 3)
_BATCH: Final = 100
_CLIENT: Final = b"c" * 16
#: Commands under way at once.
_AT_ONCE: Final = 64


def log_measures() -> list[Measure]:
    """For every protocol that decides a log: commands, and requests in batches of 100, a second."""
    measures = []
    for name in protocol_names():
        if find_protocol(name).decides is Decides.LOG:
            measures += [
                Measure(f"{name}: 3 replicas, 1 command at a time", "commands", _Replicas(name).commands),
                Measure(
                    f"{name}: 3 nodes, batches of {_BATCH}, key-value store",
                    "requests",
                    _Nodes(name).requests,
                ),
            ]
    return measures


class _Replicas:
    """Three replicas without anything around them."""

    def __init__(self, name: str) -> None:
        protocol = find_protocol(name)
        quorums = protocol.quorums(_MEMBERS)
        self._now = Instant(0.0)
        self._replicas: dict[NodeId, Replica] = {
            node: protocol.replica(Configuration(node, quorums), {}, _draw, self._now) for node in _MEMBERS
        }
        self._waiting: deque[tuple[NodeId, NodeId, Any]] = deque()
        self._applied = 0
        self._sequence = itertools.count(1)
        self._leader = _elect(self, name)

    def commands(self, number: int) -> None:
        """Get so many commands applied by all three, a few under way at any time."""
        target = self._applied + len(_MEMBERS) * number
        leader = self._replicas[self._leader]
        left = number
        while left or self._applied < target:
            some = min(left, _AT_ONCE)
            left -= some
            leader.submit([_command(next(self._sequence)) for _ in range(some)], self._now)
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
    """Three nodes with their service, and one client of the leader."""

    def __init__(self, name: str) -> None:
        protocol = find_protocol(name)
        quorums = protocol.quorums(_MEMBERS)
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
            for node in _MEMBERS
        }
        self._waiting: deque[tuple[NodeId, NodeId, Any]] = deque()
        self._answered = 0
        self._next = 1
        self._bodies = [put(os.urandom(16), os.urandom(16)) for _ in range(_BATCH)]
        self._digests = run_digests(self._bodies)
        self._leader = _elect(self, name)

    def requests(self, number: int) -> None:
        """Get so many requests answered."""
        target = self._answered + number
        leader = self._nodes[self._leader]
        while self._answered < target:
            run = Run(_CLIENT, 0, self._next - 1, self._next, self._digests, self._bodies)
            self._next += _BATCH
            leader.request("client", SubmitMany(run), self._now)
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


def _elect(cluster: "_Replicas | _Nodes", name: str) -> NodeId:
    """Let time pass until some node leads."""
    for _ in range(1000):
        cluster.pass_time(0.05)
        for node in _MEMBERS:
            if cluster.leads(node):
                return node
    raise RuntimeError(f"no replica of {name} came to lead")


def _draw(name: str, bound: int) -> int:
    return 0


def _command(number: int) -> Command:
    payload = b"%016d" % number
    return Command(RequestId(_CLIENT, 0, number, digest_of(payload)), NOTHING, payload)
