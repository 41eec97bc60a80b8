"""Whatever is sent to a live node costs one connection and one line; it goes on deciding for others."""

import random
import re
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from zlib import crc32

import anyio
import cbor2
import pytest

from paxos.ballot import Ballot
from paxos.basic import Prepare
from paxos.basic import protocol as basic
from paxos.contract import Event
from paxos.runtime import Cluster, Limits, clients, open_cluster
from paxos.runtime.handshake import HANDSHAKE_MESSAGES, Hello, Refused
from paxos.runtime.tables import FROM_CLIENT, Tables
from paxos.service import AskStatus, Cancel, Introduce, Reply, ReplyKind, StatusReply
from paxos.wire import encode_frame
from tests.strangers import CLIENT, PATIENCE_S, Stranger, peer_hello, stranger, submit, until

pytestmark = [pytest.mark.anyio, pytest.mark.once]


class Refusals:
    """The lines that nodes said about refused connections."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: Event) -> None:
        if event.action == "refused":
            self.lines.append(str(event.arguments["text"]))

    async def one(self) -> str:
        """The one line there is, once there is one; forgets it."""
        await until(lambda: bool(self.lines))
        assert len(self.lines) == 1, self.lines
        return self.lines.pop()


@asynccontextmanager
async def attacked(limits: Limits | None = None) -> AsyncIterator[tuple[Cluster, Refusals]]:
    """A cluster that must still decide afterwards, on the attacked node."""
    refusals = Refusals()
    async with open_cluster(on_event=refusals, limits=limits) as cluster:
        await cluster.client(1).decide("before", b"1")
        yield cluster, refusals
        assert await cluster.client(1).decide("after", b"1", timeout_s=PATIENCE_S) == b"1"
        assert await cluster.client(1).decided("before") == b"1"


def frame(body: bytes) -> bytes:
    return encode_frame(body)


def message(number: object, *fields: object, version: object = 1, group: object = 0) -> bytes:
    return frame(cbor2.dumps([[version, group, 0, number, 0, *fields]]))


GOOD = FROM_CLIENT.encode([AskStatus(1)])
REQUEST = [b"c" * 16, 0, 1, b"d" * 8]
#: What a client may send wrong, and what the line about it must say.
WRONG: dict[str, tuple[bytes, str]] = {
    "length of 2^31": (struct.pack(">II", 1 << 31, 0), r"declares a body of 2147483648 bytes"),
    "length just too long": (struct.pack(">II", (1 << 20) + 4096, 0), r"declares a body of 1052672 bytes"),
    "eight bytes of 2^62": (struct.pack(">Q", 1 << 62), r"declares a body of 1073741824 bytes"),
    "empty frame": (struct.pack(">II", 0, 0), r"declares a body of 0 bytes"),
    "checksum": (GOOD[:4] + struct.pack(">I", crc32(GOOD[8:]) ^ 1) + GOOD[8:], r"checksum"),
    "no CBOR": (frame(b"\xff\xff\xff"), r"malformed CBOR"),
    "nesting of 10,000": (frame(b"\x81" * 10_000 + b"\x00"), r"malformed CBOR"),
    "trailing bytes": (frame(cbor2.dumps([[1, 0, 0, 203, 0, 1]]) + b"\x00"), r"followed by 1 more"),
    "a tag": (frame(cbor2.dumps([[1, 0, 0, 203, 0, cbor2.CBORTag(35, "(a+)+")]])), r"tag 35"),
    "colliding keys": (frame(b"\x81\x86\x01\x00\x00\x18\xcb\x00\xa2\x61a\x01\x61a\x02"), r"malformed CBOR"),
    "no array": (frame(cbor2.dumps({"a": 1})), r"an array of 1 to"),
    "newer version": (message(203, 1, version=2), r"version 2; this release speaks version 1"),
    "unknown type": (message(199, 1), r"unknown message type 199"),
    "a peer's message": (message(1, b"d", [0, 1, 0]), r"unknown message type 1"),
    "a node's answer": (message(202, REQUEST, 0, b"", ""), r"unknown message type 202"),
    "an introduction": (message(210, b"s" * 16), r"unknown message type 210"),
    "a second hello": (HANDSHAKE_MESSAGES.encode([CLIENT]), r"unknown message type 240"),
    "text for a number": (message(203, "1"), r"AskStatus.sequence"),
    "true for a number": (message(203, True), r"AskStatus.sequence"),
    "out of range": (message(203, 1 << 63), r"AskStatus.sequence"),
    "negative": (message(203, -1), r"AskStatus.sequence"),
    "too many fields": (message(203, 1, 2), r"AskStatus: expected an array of 1 fields"),
    "short client id": (message(200, [b"c", 0, 1, b"d" * 8], b""), r"Submit.request.client"),
    "long body": (message(200, REQUEST, bytes((1 << 20) + 1200)), r"Submit.body"),
    "longer body": (message(200, REQUEST, bytes(2 << 20)), r"declares a body of 20971"),
    "group": (message(203, 1, group=-1), r"message.group"),
    "another group": (message(203, 1, group=7), r"group 7, epoch 0; this node has group 0"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_wrong_bytes_cost_their_connection(what: str, cluster_under_attack: Any) -> None:
    data, expected = WRONG[what]
    cluster, refusals = cluster_under_attack
    async with stranger(cluster.addresses[0]) as attacker:
        assert isinstance(await attacker.greet(), Hello)
        await attacker.ask(AskStatus(7))
        assert (await attacker.answer()).sequence == 7
        await attacker.send(data)
        await attacker.read_to_end()
    line = await refusals.one()
    assert line.startswith("a client sent what it should not; its connection was closed: ")
    assert re.search(expected, line), line
    assert len(line) < 600
    assert "\n" not in line


@pytest.fixture
async def cluster_under_attack() -> AsyncIterator[tuple[Cluster, Refusals]]:
    """For attacks that leave nothing behind."""
    async with attacked() as both:
        yield both


async def test_random_bytes() -> None:
    draw = random.Random(1)
    async with attacked() as (cluster, refusals):
        for round_ in range(60):
            async with stranger(cluster.addresses[0]) as attacker:
                if round_ % 2:
                    await attacker.greet()
                await attacker.send(draw.randbytes(draw.choice((1, 7, 8, 9, 100, 5000))) + bytes(9))
                await attacker.stream.send_eof()
                await attacker.read_to_end()
        assert len(refusals.lines) >= 30


async def test_mutated_messages() -> None:
    """Right bytes with one byte changed, under a right checksum."""
    draw = random.Random(2)
    body = FROM_CLIENT.encode([submit(1, "mutant"), Cancel(submit(2, "x").request), AskStatus(3)])[8:]
    async with attacked() as (cluster, _):
        for _ in range(150):
            mutant = bytearray(body)
            mutant[draw.randrange(len(mutant))] = draw.randrange(256)
            async with stranger(cluster.addresses[0]) as attacker:
                await attacker.greet()
                await attacker.send(frame(bytes(mutant)))
                await attacker.stream.send_eof()
        status = await cluster.client(1).status()
        assert status["ready"]


async def test_wrong_first_bytes() -> None:
    wrong = {
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n": "declares a body of",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50): "declares a body of",
        GOOD: "unknown message type 203; known are 240 Hello, 241 Refused",
        HANDSHAKE_MESSAGES.encode([CLIENT, CLIENT]): "a handshake is one message",
        HANDSHAKE_MESSAGES.encode([CLIENT]) + GOOD: "a handshake is one message",
        HANDSHAKE_MESSAGES.encode([Refused("x", "y")]): "began with Refused",
        struct.pack(">II", 1 << 20, 0): "declares a body of 1048576 bytes; it has 1 to 65536",
        message(240, 1, "", "", 0, b"", 0, b"", "", version=2): "version 2; this release speaks version 1",
        message(240, 3, "", "", 0, b"", 0, b"", ""): "Hello.kind",
        message(240, 2, "", "", 1, b"", 0, b"", ""): "a client has no node id",
        message(240, 1, "local", "paxos", 0, b"", 0, b"", ""): "a peer names its node id",
        message(240, 2, "", "", 0, b"", 0, b"", "[]"): "Hello.values",
        message(240, 2, "", "", 0, b"", 0, b"", "[" * 40_000): "Hello.values",
    }
    async with attacked() as (cluster, refusals):
        for data, expected in wrong.items():
            async with stranger(cluster.addresses[0]) as attacker:
                await attacker.send(data)
                answer = await attacker.read_to_end()
            line = await refusals.one()
            assert expected in line
            if b"Refused" not in data and "began" not in expected:
                # The other side is told as well.
                assert expected.encode() in answer


async def test_a_peer_that_sends_what_it_should_not() -> None:
    table = Tables.of(basic).from_peer
    async with attacked() as (cluster, refusals):
        await cluster.stop_node(3)
        values = {**cluster.config.agreed(), "messages": table.digest()}
        # It is node 3, as far as anyone can tell.
        identity = cluster.nodes[1]._server._engine.node.identity  # type: ignore[union-attr]
        known = identity.known(3)
        hello = peer_hello("local", 3, values, store_id=known, incarnation=9)
        wrong = {
            GOOD: "unknown message type 203",
            FROM_CLIENT.encode([submit(1, "by-a-peer")]): "unknown message type 200",
            table.encode([Prepare(b"x", Ballot(1, 3))], group=1): "group 1, epoch 0; this node has group 0",
            b"\xff" * 20: "declares a body of",
        }
        for data, expected in wrong.items():
            async with stranger(cluster.addresses[0]) as attacker:
                assert isinstance(await attacker.greet(hello), Hello)
                await attacker.send(table.encode([Introduce(known or b"")]))
                await attacker.send(data)
                await attacker.read_to_end()
            line = await refusals.one()
            assert line.startswith("node 3 sent what it should not; its connection was closed: ")
            assert expected in line
        assert await cluster.client(1).decided("by-a-peer") is None


async def test_a_flood_of_half_open_connections() -> None:
    async with attacked(Limits(half_open=20)) as (cluster, refusals), AsyncExitStack() as stack:
        flood = [await stack.enter_async_context(stranger(cluster.addresses[0])) for _ in range(60)]
        await until(lambda: len(refusals.lines) >= 40)
        # The oldest went; the newest have the rest of their time, and one of them still becomes a client.
        for each in flood[:40]:
            assert await each.read_to_end() == b""
        assert isinstance(await flood[-1].greet(), Hello)
        assert len(refusals.lines) == 40
        assert {"a connection was closed: it did not say in time who it is"} == set(refusals.lines)


async def test_who_says_nothing_is_closed() -> None:
    async with attacked(Limits(handshake_s=0.2)) as (cluster, refusals):
        async with stranger(cluster.addresses[0]) as silent:
            assert await silent.read_to_end() == b""
        assert "did not say in time" in await refusals.one()
        async with stranger(cluster.addresses[0]) as slow:
            # A byte now and then gains nothing.
            for byte in HANDSHAKE_MESSAGES.encode([CLIENT])[:40]:
                await slow.send(bytes([byte]))
                await anyio.sleep(0.01)
            assert await slow.read_to_end() == b""


async def test_a_client_that_never_reads() -> None:
    """It is not read any more, then closed; the node keeps little for it, and serves others meanwhile."""
    limits = Limits(send_s=0.5, client_bytes=1 << 20)
    value = bytes(1 << 18)
    async with attacked(limits) as (cluster, refusals):
        await cluster.client(2).decide("large", value)
        async with stranger(cluster.addresses[0]) as greedy, anyio.create_task_group() as group:
            await greedy.greet()

            async def keep_asking() -> None:
                for number in range(100_000):
                    try:
                        await greedy.stream.send(FROM_CLIENT.encode([submit(number, "large")]))
                    except (anyio.BrokenResourceError, OSError):
                        return

            group.start_soon(keep_asking)
            engine = cluster.nodes[1]._server._engine
            assert engine is not None
            highest = 0
            with anyio.fail_after(PATIENCE_S):
                while not refusals.lines:
                    await anyio.sleep(0.01)
                    highest = max(highest, *(box.queued_bytes for box in engine.clients.values()), 0)
            assert await cluster.client(1).decide("meanwhile", b"1") == b"1"
            group.cancel_scope.cancel()
        assert "does not read its answers" in await refusals.one()
        # What one read brings may still be answered, as references to what the node has anyway.
        assert limits.client_bytes <= highest < 400 * len(value)


async def test_a_client_with_too_many_requests() -> None:
    async with attacked(Limits(client_requests=10)) as (cluster, _):
        await cluster.stop_node(2)
        await cluster.stop_node(3)
        async with stranger(cluster.addresses[0]) as greedy:
            await greedy.greet()
            await greedy.ask(*(submit(number, f"many-{number}") for number in range(1, 51)))
            rejected = [await greedy.answer() for _ in range(30)]
            assert {reply.kind for reply in rejected} == {ReplyKind.REJECTED}
            assert "requests without an answer" in rejected[0].detail
            # It is read again later, slowly, and a status needs no room.
            await greedy.ask(AskStatus(1))
            answer = await greedy.answer()
            assert isinstance(answer, StatusReply)
            assert b'"requests": 20' in answer.body
        await cluster.start_node(2)


async def test_large_requests_that_wait() -> None:
    """Their bytes are bounded for one client, and for all clients together."""
    limits = Limits(client_bytes=1 << 20, all_clients_bytes=3 << 20)
    async with attacked(limits) as (cluster, _), AsyncExitStack() as stack:
        await cluster.stop_node(2)
        await cluster.stop_node(3)
        engine = cluster.nodes[1]._server._engine
        assert engine is not None
        crowd = [await stack.enter_async_context(stranger(cluster.addresses[0])) for _ in range(8)]
        value = bytes(1 << 18)

        async def keep_asking(greedy: Stranger, group: int) -> None:
            for number in range(20):
                request = submit(1000 * group + number, f"{group}-{number}", value)
                await greedy.send(FROM_CLIENT.encode([request]))

        async with anyio.create_task_group() as tasks:
            for number, greedy in enumerate(crowd):
                assert isinstance(await greedy.greet(), Hello)
                tasks.start_soon(keep_asking, greedy, number)
            await until(lambda: int(str(engine.status()["requests"])) >= 10)
            for _ in range(10):
                await anyio.sleep(0.02)
                # Three megabytes are twelve requests; each connection may be one beyond.
                assert int(str(engine.status()["requests"])) <= 12 + 8
            tasks.cancel_scope.cancel()
        await cluster.start_node(2)


async def test_all_clients_together_stay_within_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when each is looked at again and again: what is beyond the budget is rejected."""
    monkeypatch.setattr(clients, "_PAUSE_S", 0.01)
    limits = Limits(all_clients_bytes=1 << 20)
    value = bytes(10_000)
    async with attacked(limits) as (cluster, _):
        await cluster.stop_node(2)
        await cluster.stop_node(3)
        budget = cluster.nodes[1]._server._inbound._budget
        rejected: list[str] = []
        highest = 0
        async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:

            async def keep_asking(greedy: Stranger, group: int) -> None:
                for number in range(60):
                    await greedy.ask(submit(1000 * group + number, f"{group}-{number}", value))

            async def hear(greedy: Stranger) -> None:
                nonlocal highest
                while True:
                    rejected.append((await greedy.answer()).detail)
                    highest = max(highest, budget.requests_bytes)

            for number in range(12):
                greedy = await stack.enter_async_context(stranger(cluster.addresses[0]))
                assert isinstance(await greedy.greet(), Hello)
                tasks.start_soon(keep_asking, greedy, number)
                tasks.start_soon(hear, greedy)
            # All but a hundred of these requests.
            await until(lambda: len(rejected) >= 600)
            tasks.cancel_scope.cancel()
        assert 900_000 < highest <= limits.all_clients_bytes
        assert set(rejected) == {
            "this node's clients wait for as many answers as it can keep requests for; try again later"
        }
        await until(lambda: budget.requests_bytes == 0)
        await cluster.start_node(2)


async def test_many_questions_how_the_node_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one frame are answered with one look; too many at once cost the connection."""
    async with attacked() as (cluster, refusals):
        engine = cluster.nodes[1]._server._engine
        assert engine is not None
        looks = 0
        status = engine.status

        def count() -> dict[str, object]:
            nonlocal looks
            looks += 1
            return status()

        monkeypatch.setattr(engine, "status", count)
        async with stranger(cluster.addresses[0]) as curious:
            await curious.greet()
            for turn in (1, 2, 3):
                await curious.ask(*map(AskStatus, range(1000)))
                assert [(await curious.answer()).sequence for _ in range(1000)] == list(range(1000))
                # It took its answers, so it may ask again.
                assert looks == turn
            await curious.ask(*map(AskStatus, range(4000)))
            await curious.read_to_end()
        assert "it asked 2048 times how the node does before it read an answer" in await refusals.one()


async def test_frames_that_are_never_finished() -> None:
    limits = Limits(all_clients_bytes=2 << 20)
    async with attacked(limits) as (cluster, refusals), AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(stranger(cluster.addresses[0])) for _ in range(6)]
        for number, greedy in enumerate(crowd):
            assert isinstance(await greedy.greet(), Hello)
            await greedy.send(struct.pack(">II", 1 << 20, 0) + bytes(900_000))
            await until(lambda number=number: len(refusals.lines) >= number - 1)  # type: ignore[misc]
        for greedy in crowd[:4]:
            await greedy.read_to_end()
        assert (
            refusals.lines == ["a client's connection was closed: too many large requests arrive at once"] * 4
        )
        # The latest have done nothing worse than others.
        assert await crowd[5].is_open()


async def test_too_many_clients() -> None:
    async with attacked(Limits(clients=3)) as (cluster, refusals), AsyncExitStack() as stack:
        others: list[Stranger] = []
        for _ in range(2):
            others.append(await stack.enter_async_context(stranger(cluster.addresses[0])))
            assert isinstance(await others[-1].greet(), Hello)
        async with stranger(cluster.addresses[0]) as late:
            answer = await late.greet()
        assert isinstance(answer, Refused)
        assert (answer.code, answer.reason) == ("busy", "3 clients are connected; try another node")
        assert "3 clients are connected" in await refusals.one()
        await others[0].stream.aclose()
        with anyio.fail_after(PATIENCE_S):
            while True:
                async with stranger(cluster.addresses[0]) as late:
                    if isinstance(await late.greet(), Hello):
                        break
                await anyio.sleep(0.01)


async def test_a_request_id_made_for_another_body() -> None:
    async with attacked() as (cluster, _), stranger(cluster.addresses[0]) as liar:
        await liar.greet()
        honest = submit(1, "a")
        await liar.ask(honest._replace(body=submit(1, "b").body))
        reply = await liar.answer()
        assert isinstance(reply, Reply)
        assert reply.kind == ReplyKind.REJECTED
        assert "made for another body" in reply.detail
