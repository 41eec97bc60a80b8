"""`python -m paxos.runtime.load`: puts, as fast as they are answered, from a process written for that.

A few connections, each with so many requests outstanding; for every answer the next request.  It uses plain
sockets and the library's own messages, so that what is measured is the cluster and not its client.  Before
that it finds out who leads, since a client of a leader would be sent there.  Where nobody leads there are
connections to every node, with as many requests outstanding in all.

So many percent of the requests put one and the same key; the others hardly ever one that another request
under way puts as well.
"""

import argparse
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from paxos.errors import PaxosError, Unreachable
from paxos.runtime.handshake import HANDSHAKE_MESSAGES, Hello, Kind
from paxos.runtime.tables import FROM_CLIENT, TO_CLIENT
from paxos.service import AskStatus
from paxos.service.batches import Run
from paxos.service.keyvalue_requests import put
from paxos.service.log_messages import AskBirth, Refused, Results, SubmitMany
from paxos.wire import FrameBuffer

__all__ = ["main"]

_READ_BYTES: Final = 1 << 18
#: Different keys and values; enough that they do not all fit in a cache line, few enough to be made at once.
_POOL: Final = 20_000
_LOOK_S: Final = 0.1


class _Connection:
    """One connection, and the requests that it has outstanding."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = FrameBuffer()
        hello = Hello(Kind.CLIENT, "", "", 0, b"", 0, b"", "")
        self.socket.sendall(HANDSHAKE_MESSAGES.encode([hello]))
        self.node: int = self._first(HANDSHAKE_MESSAGES).node
        self.client = os.urandom(16)
        self.next = 1
        self.acknowledged = 0
        self.birth = 0
        #: When each run was sent: its first number, and seconds.
        self.sent: dict[int, float] = {}

    def _first(self, table: Any) -> Any:
        while True:
            data = self.socket.recv(_READ_BYTES)
            if not data:
                raise Unreachable(f"{self.socket.getpeername()}: it hung up")
            for body in self.buffer.feed(data):
                return table.decode(body)[0].message

    def ask(self, question: Any) -> Any:
        """Ask something that has one answer."""
        self.socket.sendall(FROM_CLIENT.encode([question]))
        return self._first(TO_CLIENT)

    def send(self, bodies: list[bytes]) -> None:
        """Ask for these."""
        run = Run(self.client, self.birth, self.acknowledged, self.next, b"", bodies)
        self.sent[self.next] = time.perf_counter()
        self.next += len(bodies)
        self.socket.sendall(FROM_CLIENT.encode([SubmitMany(run)]))

    def receive(self) -> Iterator[Results]:
        """What has been answered."""
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise Unreachable("a node hung up")
        for body in self.buffer.feed(data):
            for envelope in TO_CLIENT.decode(body):
                message = envelope.message
                if message.__class__ is Refused:
                    raise PaxosError(f"refused: {message.detail}")
                if message.__class__ is Results:
                    self.acknowledged = message.sequence + len(message.results) - 1
                    yield message


def _pool(arguments: argparse.Namespace) -> list[bytes]:
    hot, conflicts, bodies = os.urandom(arguments.key_bytes), arguments.conflicts, []
    for at in range(_POOL):
        # Evenly spread, and exactly so many of a hundred.
        is_hot = at * conflicts // 100 != (at + 1) * conflicts // 100
        key = hot if is_hot else os.urandom(arguments.key_bytes)
        bodies.append(put(key, os.urandom(arguments.value_bytes)))
    return bodies


def _find_leader(addresses: list[str], limit_s: float = 20.0) -> str | None:
    """The address of the node that leads; None where nobody does."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        for address in addresses:
            connection = _Connection(address)
            status = json.loads(connection.ask(AskStatus(0)).body)
            connection.socket.close()
            if "leader" not in status:
                return None
            if status["ready"] and status.get("role") == "leader":
                return address
        time.sleep(_LOOK_S)
    raise Unreachable(f"no node leads within {limit_s:g} s")


def _flood(arguments: argparse.Namespace) -> dict[str, object]:
    """So many outstanding on each connection, for so long."""
    addresses = arguments.cluster.split(",")
    leader = _find_leader(addresses)
    outstanding = arguments.connections * arguments.outstanding
    to = [leader] * arguments.connections if leader else addresses
    pool = _pool(arguments)
    selector = selectors.DefaultSelector()
    at = 0

    def bodies(many: int) -> list[bytes]:
        nonlocal at
        if at + many > len(pool):
            at = 0
        at += many
        return pool[at - many : at]

    connections = []
    for address in to:
        connection = _Connection(address)
        connection.birth = connection.ask(AskBirth(0)).markers
        connections.append(connection)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    for connection in connections:
        connection.send(bodies(outstanding // len(to)))
    started_s = time.perf_counter()
    begun_s = started_s + arguments.warm_up
    ends_s = begun_s + arguments.seconds
    done, total, counted_from_s, latencies = 0, 0, 0.0, []
    cpu_s = 0.0
    now_s = started_s
    while now_s < ends_s:
        for key, _ in selector.select(1.0):
            connection = key.data
            answered = 0
            for results in connection.receive():
                answered += len(results.results)
                sent_s = connection.sent.pop(results.sequence, None)
                if sent_s is not None and counted_from_s:
                    latencies.append(time.perf_counter() - sent_s)
            if answered:
                connection.send(bodies(answered))
                done += answered
                total += answered
        now_s = time.perf_counter()
        if not counted_from_s and now_s >= begun_s:
            counted_from_s, done, cpu_s = now_s, 0, time.process_time()
    latencies.sort()
    return {
        "leader": leader,
        "commands": done,
        "total": total,
        "seconds": now_s - counted_from_s,
        "commands_per_s": done / (now_s - counted_from_s),
        "latency_p50_ms": 1000 * latencies[len(latencies) // 2] if latencies else None,
        "client_cpu_us_per_command": 1e6 * (time.process_time() - cpu_s) / max(done, 1),
    }


def _one_by_one(arguments: argparse.Namespace) -> dict[str, object]:
    """One request at a time."""
    addresses = arguments.cluster.split(",")
    leader = _find_leader(addresses)
    pool = _pool(arguments)
    connection = _Connection(leader or addresses[0])
    connection.birth = connection.ask(AskBirth(0)).markers
    took_ms: list[float] = []
    ends_s = time.perf_counter() + arguments.seconds
    while time.perf_counter() < ends_s:
        before_s = time.perf_counter()
        connection.send([pool[len(took_ms) % len(pool)]])
        while not list(connection.receive()):
            pass
        took_ms.append(1000 * (time.perf_counter() - before_s))
    took_ms.sort()
    return {
        "leader": leader,
        "calls": len(took_ms),
        "latency_p50_ms": took_ms[len(took_ms) // 2],
        "latency_p99_ms": took_ms[len(took_ms) * 99 // 100],
    }


def main() -> int:
    """Load the cluster that the arguments name; prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m paxos.runtime.load", description="Load a cluster.")
    parser.add_argument("--cluster", required=True, help="addresses, separated by commas")
    parser.add_argument("--connections", type=int, default=3)
    parser.add_argument("--outstanding", type=int, default=500, help="on each of them")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds that are not counted")
    parser.add_argument("--key-bytes", type=int, default=16)
    parser.add_argument("--value-bytes", type=int, default=16)
    parser.add_argument("--conflicts", type=int, default=0, help="percent of the requests that put one key")
    parser.add_argument("--one-by-one", action="store_true", help="one connection, one request at a time")
    arguments = parser.parse_args()
    try:
        found = (_one_by_one if arguments.one_by_one else _flood)(arguments)
    except (PaxosError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
