"""How nodes find each other again: when one calls, when one was started anew, and after a pause."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

from paxos.runtime import ClusterConfig, Limits, NodeConfig, RunningNode, open_cluster, open_node
from paxos.runtime.client_connection import open_connection
from paxos.runtime.config import parse_address
from paxos.runtime.handshake import HANDSHAKE_MESSAGES, Hello, read_first
from paxos.runtime.peers import Caller
from paxos.runtime.ports import free_ports
from paxos.runtime.tables import Tables
from paxos.runtime.tasks import CONNECTION_ERRORS
from paxos.runtime.tls import Security
from tests.strangers import listening, peer_hello, stranger, until

pytestmark = pytest.mark.anyio


class _Other:
    """Node 2 of a cluster whose node 1 is real and whose node 3 is away.

    Attributes:
        calls: how often it was called.
        hangs_up: what it does when called, by turns: True to close at once, False to greet and then close;
            when none is left it greets and says nothing, nor does it ever close.
    """

    def __init__(self, *hangs_up: bool) -> None:
        ports = free_ports(3)
        nodes = tuple(NodeConfig(n, f"127.0.0.1:{port}", "memory") for n, port in enumerate(ports, 1))
        self.config = ClusterConfig(id="test", protocol="paxos", nodes=nodes)
        self.life = 1
        self.calls = 0
        self.hangs_up = list(hangs_up)

    @property
    def hello(self) -> Hello:
        messages = Tables.of(self.config.description()).from_peer.digest()
        values = {**self.config.agreed(), "messages": messages}
        return peer_hello("test", 2, values, incarnation=self.life, boot=bytes([self.life]) * 8)

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        self.calls += 1
        async with stream:
            if self.hangs_up and self.hangs_up[0]:
                self.hangs_up.pop(0)
                return
            try:
                await read_first(stream)
                await stream.send(HANDSHAKE_MESSAGES.encode([self.hello]))
            except CONNECTION_ERRORS:
                return
            if self.hangs_up:
                self.hangs_up.pop(0)
                return
            await anyio.sleep_forever()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with listening(self.serve, self.config.node(2).port):
            yield

    async def call(self, node: RunningNode) -> None:
        """Call node 1, and hang up when it has answered."""
        async with stranger(node.address) as caller:
            assert isinstance(await caller.greet(self.hello), Hello)


def _caller(node: RunningNode, peer: int = 2) -> Caller:
    return node._server._callers[peer]


async def test_a_peer_that_lost_its_power_is_called_again_when_it_is_back() -> None:
    other = _Other()
    async with other.listening(), open_node(other.config, 1) as node:
        await until(lambda: _caller(node)._outbox.connected)
        # The same process calls: nothing is wrong with the connection to it.
        await other.call(node)
        await anyio.wait_all_tasks_blocked()
        assert (other.calls, _caller(node)._outbox.connected) == (1, True)
        # It comes back without having closed anything.
        other.life = 2
        await other.call(node)
        await until(lambda: other.calls == 2 and _caller(node)._outbox.connected)


async def test_a_peer_that_calls_is_called_at_once() -> None:
    other = _Other()
    said: list[str] = []
    limits = Limits(reconnect_s=3600, reconnect_max_s=3600)
    async with open_node(
        other.config, 1, limits=limits, on_event=lambda event: said.append(str(event.arguments.get("peer")))
    ) as node:
        await until(lambda: "2" in said)
        async with other.listening():
            await anyio.wait_all_tasks_blocked()
            assert other.calls == 0
            await other.call(node)
            await until(lambda: other.calls == 1)


async def test_a_pause_grows_until_a_call_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(caller: Caller, pause_s: float) -> None:
        if caller._peer == 2:
            pauses.append(pause_s)
        await anyio.sleep(0.001)

    monkeypatch.setattr(Caller, "_pause", pause)
    other = _Other(True, True, True, False, True, True)
    async with other.listening(), open_node(other.config, 1, limits=Limits(reconnect_s=1, reconnect_max_s=3)):
        await until(lambda: other.calls == 7)
    assert pauses == [1, 2, 3, 1, 2, 3]


def _is_watched(stream: anyio.abc.ByteStream) -> bool:
    raw: Any = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    found = [raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0]
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        found.append(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000)
    return all(found)


async def test_every_connection_finds_out_when_the_other_machine_is_gone() -> None:
    async with open_cluster() as cluster:
        await cluster.client(1).decide("a", b"1")
        server = cluster.nodes[1]._server
        await until(lambda: all(caller._outbox.connected for caller in server._callers.values()))
        engine = server._engine
        assert engine is not None
        [client] = engine.clients
        assert _is_watched(client._stream)  # type: ignore[attr-defined]
        assert all(_is_watched(caller._secured) for caller in server._callers.values())
        connected = await open_connection(parse_address(cluster.addresses[0]), Security(None, "client"), "")
        async with connected.stream:
            assert _is_watched(connected.stream)
