"""Clients of logs that nobody leads: the nearest node, the next nearest, and back."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

import paxos
from paxos.contract import Orders
from paxos.errors import WireError
from paxos.runtime import Client, connect
from paxos.runtime.client_nearest import Nearness
from paxos.runtime.handshake import HANDSHAKE_MESSAGES, read_first
from paxos.runtime.tables import FROM_CLIENT, TO_CLIENT
from paxos.runtime.tasks import CONNECTION_ERRORS
from paxos.service import AskStatus, StatusReply
from paxos.service.revisions import orders_value
from paxos.wire import FrameBuffer
from tests.false_logs import FalseNode, hang_up, silence
from tests.strangers import PATIENCE_S, listening, peer_hello, until
from tests.test_runtime_log_watch import NewsNode

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

# --- how far nodes are ---------------------------------------------------------------------------------


def measured(*far_ms: float, times: int = 3, prefer: int | None = None) -> Nearness:
    """Nodes 1, 2, ... at so many addresses, each so far."""
    nearness = Nearness(len(far_ms), prefer)
    for at, far in enumerate(far_ms):
        for _ in range(times):
            nearness.answered(at, at + 1, far / 1000, 0.0)
    return nearness


@pytest.mark.parametrize(
    ("far_ms", "better"),
    [
        ((100, 20), 1),
        ((100, 20, 10), 2),
        ((20, 100), None),
        # Not by enough, in milliseconds, or as a share.
        ((6, 2), None),
        ((8, 2), 1),
        ((100, 80), None),
        ((100, 70), 1),
    ],
)
def test_another_node_must_be_clearly_nearer(far_ms: tuple[float, ...], better: int | None) -> None:
    assert measured(*far_ms).better(0, 1.0) == better


def test_one_goes_by_the_least_of_several_measurements() -> None:
    nearness = measured(100, 20, times=2)
    assert nearness.better(0, 1.0) is None
    nearness.answered(0, 1, 0.1, 0.0)
    nearness.answered(1, 2, 0.5, 0.0)
    assert nearness.better(0, 1.0) == 1
    for _ in range(5):
        nearness.answered(1, 2, 0.5, 0.0)
    assert nearness.better(0, 1.0) is None
    # Another node at the same address is as far as it is.
    nearness.answered(1, 3, 0.01, 0.0)
    assert nearness.better(0, 1.0) is None


def test_from_the_nearest_to_the_next_and_round() -> None:
    nearness = measured(50, 10, 90)
    assert [nearness.after(at) for at in (1, 0, 2)] == [0, 2, 1]
    unknown = Nearness(3)
    assert [unknown.after(at) for at in (0, 1, 2)] == [1, 2, 0]


def test_the_node_that_is_wanted_comes_before_nearer_ones() -> None:
    nearness = measured(10, 50, 90, times=1, prefer=3)
    assert nearness.better(0, 1.0) == 2
    assert nearness.better(2, 1.0) is None
    assert nearness.is_wanted(2)
    assert [nearness.after(at) for at in (2, 0, 1)] == [0, 1, 2]
    # While it can not be had, nearness decides among the others.
    away = measured(90, 10, 50, prefer=3)
    away.failed(2, 5.0)
    assert away.better(0, 5.1) == 1


def test_who_failed_is_left_alone_for_longer_each_time() -> None:
    nearness = measured(100, 20)
    waits: list[float] = []
    now_s = 0.0
    for _ in range(8):
        nearness.left(1, 1.0, True, now_s)
        assert nearness.better(0, now_s) is None
        waits.append(nearness._due_s(1) - now_s)
        now_s = nearness._due_s(1)
        assert nearness.better(0, now_s) == 1
    assert waits == [4, 8, 16, 32, 60, 60, 60, 60]
    nearness.left(1, 30.0, False, now_s)
    assert nearness._due_s(1) - now_s == 0.5
    for _ in range(9):
        nearness.failed(0, now_s)
    assert nearness._due_s(0) - now_s == 15


def test_measurements_are_seldom_once_there_are_some() -> None:
    nearness = Nearness(2)
    assert nearness.due(0.0) == [0, 1]
    nearness.answered(0, 1, 0.01, 0.0)
    assert nearness.due(0.1) == [1]
    for at in (0, 1):
        for _ in range(3):
            nearness.answered(at, at + 1, 0.01, 7.0)
    assert nearness.due(66.9) == []
    assert nearness.next_s() == 67.0
    assert nearness.due(67.0) == [0, 1]


# --- a client of false nodes ---------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that looks around soon."""
    for name, value in (("_SETTLED_S", 0.01), ("_PATIENCE_S", 0.3), ("_LOOK_NEARER_S", 0.01)):
        monkeypatch.setattr(f"paxos.runtime.client_link.{name}", value)
    for name, bound in (("_SOON_S", 0.01), ("_BROKE_S", (0.05, 0.2)), ("_SILENT_S", (0.05, 0.2))):
        monkeypatch.setattr(f"paxos.runtime.client_nearest.{name}", bound)


class Region:
    """A false node that takes its time to say who it is.

    Attributes:
        behave: what it says to other messages.
        ready: what it says of itself.
        up: whether it says anything.
    """

    def __init__(self, node: int, far_s: float, behave: Callable[[Any, Any], Any] | None = None) -> None:
        self.node = node
        self.far_s = far_s
        self.behave = FalseNode() if behave is None else behave
        self.ready = True
        self.up = True
        self.greeted = 0
        self.streams: list[anyio.abc.SocketStream] = []

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        buffer = FrameBuffer()
        async with stream:
            try:
                if not self.up:
                    return
                await read_first(stream)
                await anyio.sleep(self.far_s)
                self.greeted += 1
                hello = peer_hello("shop", self.node, orders_value(Orders.CONFLICTS))
                await stream.send(HANDSHAKE_MESSAGES.encode([hello]))
                self.streams.append(stream)
                while True:
                    for body in buffer.feed(await stream.receive()):
                        for envelope in FROM_CLIENT.decode(body):
                            await stream.send(TO_CLIENT.encode(self._answer(envelope.message, stream)))
            except (*CONNECTION_ERRORS, WireError):
                return

    def _answer(self, message: Any, stream: Any) -> Any:
        if isinstance(message, AskStatus):
            return [StatusReply(message.sequence, json.dumps({"ready": self.ready}).encode())]
        return self.behave(message, stream)

    async def go_down(self) -> None:
        """End all connections, and take none."""
        self.up = False
        for stream in self.streams:
            await anyio.aclose_forcefully(stream)


@asynccontextmanager
async def client_of(*regions: Region, prefer: int | None = None) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(listening(region.serve)) for region in regions]
        yield await stack.enter_async_context(connect(addresses, timeout_s=PATIENCE_S, prefer=prefer))


@pytest.mark.anyio
async def test_a_client_goes_to_the_nearest_and_sends_nothing_twice(hurried: None) -> None:
    far, near, middle = (Region(node, far_s) for node, far_s in ((1, 0.2), (2, 0.0), (3, 0.1)))
    async with client_of(far, near, middle) as client:
        assert await client.submit(b"a") == b"1 a"
        assert client.node == 1
        await until(lambda: client.node == 2)
        assert await client.submit(b"b") == b"2 b"
        # It was between requests, so no node was asked for what another had done.
        nodes = [region.behave for region in (far, near, middle)]
        assert [getattr(node, "numbers", None) for node in nodes] == [[1], [2], []]
        # And there it stays; from there it goes to the next nearest.
        await near.go_down()
        await until(lambda: client.node == 3)
        assert await client.submit(b"c") == b"3 c"
        near.up = True
        await until(lambda: client.node == 2)
        assert await client.submit(b"d") == b"4 d"


@pytest.mark.anyio
async def test_the_same_request_goes_on_to_the_next_nearest(hurried: None) -> None:
    near, far, middle = Region(1, 0.0, FalseNode(hang_up)), Region(2, 0.2), Region(3, 0.1)
    async with client_of(near, far, middle) as client:
        for region in (near, far, middle):
            await until(lambda region=region: region.greeted >= 3)  # type: ignore[misc]
        assert await client.submit(b"a") == b"1 a"
        behaviours = [region.behave for region in (near, far, middle)]
        assert [getattr(node, "numbers", None) for node in behaviours] == [[1], [], [1]]
        first, third = (getattr(behaviours[at], "runs", [])[0] for at in (0, 2))
        assert (first.client, first.sequence, first.bodies) == (third.client, third.sequence, third.bodies)


@pytest.mark.anyio
async def test_a_silent_node_is_left_and_the_one_that_is_wanted_gets_its_client_back(hurried: None) -> None:
    wanted = Region(2, 0.05, FalseNode(then=silence))
    other = Region(1, 0.0)
    async with client_of(other, wanted, prefer=2) as client:
        await until(lambda: client.node == 2)
        assert await client.submit(b"a") == b"1 a"
        assert wanted.behave.numbers[0] == 1  # type: ignore[union-attr]
        wanted.behave = FalseNode()
        await until(lambda: client.node == 2)
        assert await client.submit(b"b") == b"2 b"
        # One that does not take part is not gone to.
        wanted.ready = False
        await anyio.aclose_forcefully(wanted.streams[-1])
        await until(lambda: client.node == 1)
        greeted = wanted.greeted
        await until(lambda: wanted.greeted > greeted + 1)
        assert client.node == 1
        wanted.ready = True
        await until(lambda: client.node == 2)


@pytest.mark.anyio
async def test_a_watch_keeps_its_node(hurried: None) -> None:
    far, near = Region(1, 0.1, NewsNode(5)), Region(2, 0.0, NewsNode(5))
    async with client_of(far, near) as client:
        since = await client.revision()
        async with aclosing(client.watch(since=since - 1)) as changes:
            assert (await anext(changes)).revision == since
            await until(lambda: near.greeted >= 3)
            assert client.node == 1
        await until(lambda: client.node == 2)


@pytest.mark.anyio
async def test_requests_are_held_back_until_the_way_is_free(
    hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the far node has not answered yet is waited for; what comes meanwhile goes to the near one."""
    for name in ("_PATIENCE_S", "_DRAIN_S"):
        monkeypatch.setattr(f"paxos.runtime.client_link.{name}", PATIENCE_S)
    held: list[Any] = []

    class Slow(FalseNode):
        def __call__(self, message: Any, stream: Any) -> Any:
            answer = super().__call__(message, stream)
            if self.runs and not held:
                held.extend((stream, answer))
                return []
            return answer

    far, near = Region(1, 0.1, Slow()), Region(2, 0.0)
    async with client_of(far, near) as client:
        told: dict[bytes, bytes] = {}

        async def submit(body: bytes) -> None:
            told[body] = await client.submit(body)

        async with anyio.create_task_group() as group:
            group.start_soon(submit, b"a")
            await until(lambda: bool(held))
            await until(lambda: client._link._draining)
            group.start_soon(submit, b"b")
            await anyio.sleep(0.05)
            assert told == {}
            stream, answer = held
            await stream.send(TO_CLIENT.encode(answer))
        assert told == {b"a": b"1 a", b"b": b"2 b"}
        assert far.behave.numbers == [1]  # type: ignore[union-attr]
        assert near.behave.numbers == [2]  # type: ignore[union-attr]


# --- a real cluster ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_client_of_a_replica_goes_on_elsewhere_and_comes_back(hurried: None) -> None:
    async with paxos.open_cluster("epaxos", 3, timeout_s=PATIENCE_S) as cluster:
        client = cluster.client(node=2)
        asked = 0

        async def count(times: int) -> None:
            nonlocal asked
            for _ in range(times):
                asked += 1
                assert await client.increment(b"n") == asked

        await count(5)
        assert client.node == 2
        async with anyio.create_task_group() as group:
            group.start_soon(count, 40)
            await cluster.stop_node(2)
        assert client.node in (1, 3)
        await cluster.start_node(2)
        await until(lambda: client.node == 2)
        await count(5)
        assert await cluster.client(node=3).increment(b"n", 0) == asked == 50


@pytest.mark.anyio
async def test_where_somebody_leads_the_leader_is_asked(hurried: None) -> None:
    async with paxos.open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        clients = [cluster.client(node) for node in (1, 2, 3)]
        for client in clients:
            await client.increment(b"n")
        leader = (await clients[0].status())["leader"]
        await anyio.sleep(0.1)
        assert {client.node for client in clients} == {leader}
