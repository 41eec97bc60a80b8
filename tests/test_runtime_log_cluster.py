"""A log on a cluster in this process: every call, exactly once, whoever leads and whoever is away."""

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import paxos
from paxos.command import ALL, Footprint
from paxos.errors import ClusterMismatch, ConfigurationError, OutcomeUnknown, Rejected, Unreachable
from paxos.keyvalue import absent, delete, equals, increment, put
from paxos.runtime import Client, Cluster, connect, make_certificates, open_cluster
from tests.strangers import until

pytestmark = pytest.mark.anyio

#: Nothing here takes so long, unless it hangs.
PATIENCE_S = 30.0


class Lines:
    """A state machine: it keeps every command, and answers with how many there are."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def apply(self, command: bytes) -> bytes:
        self.lines.append(command)
        return b"%d" % len(self.lines)

    def footprint(self, command: bytes) -> Footprint:
        return ALL

    def query(self, query: bytes) -> bytes:
        return b"\n".join(self.lines)

    def snapshot(self) -> bytes:
        return b"\n".join(self.lines)

    def restore(self, snapshot: bytes) -> None:
        self.lines = snapshot.split(b"\n") if snapshot else []


class Counter(Lines):
    """Another class."""


async def together(*calls: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(call)


async def leader_of(cluster: Cluster) -> int:
    """The node that leads, as soon as all that run agree on one."""
    found: set[object] = set()

    def agreed() -> bool:
        found.clear()
        found.update(node.status()["leader"] for node in cluster.nodes.values())
        return len(found) == 1 and None not in found and found <= set(cluster.nodes)

    await until(agreed)
    (leader,) = found
    assert isinstance(leader, int)
    return leader


def connections(cluster: Cluster) -> list[Any]:
    """Every client's connection, as the nodes see it."""
    return [
        client
        for node in cluster.nodes.values()
        if node._server._engine is not None
        for client in node._server._engine.clients
    ]


def nothing_open(cluster: Cluster) -> bool:
    """Whether no node counts anything as unanswered."""
    return all(
        not each._open_requests
        and not each._open_bytes
        and not each._open
        and not each._runs
        and not each._news
        for each in connections(cluster)
    )


# --- every call --------------------------------------------------------------------------------------


async def test_every_call_of_a_key_value_store() -> None:
    async with open_cluster("multipaxos", 3, machine=paxos.KeyValue, timeout_s=PATIENCE_S) as cluster:
        client = cluster.client()
        for node in (1, 2, 3):
            client = cluster.client(node)
            key = b"key-%d" % node
            assert await client.get(key) is None
            await client.put(key, b"v")
            assert await client.get(key) == b"v"
            assert await client.cas(key, b"v", b"w")
            assert not await client.cas(key, b"v", b"x")
            assert await client.cas(key, b"w", None)
            assert not await client.delete(key)
            assert await client.increment(key, 5) == 5
            assert await client.increment(key) == 6
            ran = await client.transaction(
                [equals(key, b"6"), absent(b"no")], [put(key, b"7"), increment(key)]
            )
            assert ran.held
            assert not (await client.transaction([equals(key, b"6")], [delete(key)])).held
            assert (await client.scan(key, key + b"\0")).items == ((key, b"8"),)
        found = await client.scan(limit=2)
        assert [key for key, _ in found.items] == [b"key-1", b"key-2"]
        assert found.more
        assert await client.delete(b"key-1")
        assert await client.submit(put(b"raw", b"1")) == paxos.KeyValue().apply(put(b"raw", b"1"))
        assert await client.increment(b"raw", (1 << 63) - 2) == (1 << 63) - 1
        with pytest.raises(Rejected, match="increment"):
            await client.increment(b"raw")
        with pytest.raises(ConfigurationError, match="key"):
            await client.put(b"", b"v")
        with pytest.raises(ConfigurationError, match="bytes, not str"):
            await client.submit("text")  # type: ignore[arg-type]
        assert await client.submit_many([]) == []
        assert nothing_open(cluster)


async def test_ten_thousand_in_order() -> None:
    async with open_cluster("multipaxos", 3, machine=Lines, timeout_s=PATIENCE_S) as cluster:
        client = cluster.client()
        commands = [b"%d" % each for each in range(1, 10_001)]
        assert await client.submit_many(commands) == commands
        assert await client.query(b"") == b"\n".join(commands)
        # Two at once: each in its own order.
        await together(
            lambda: client.submit_many([b"a%d" % each for each in range(3000)]),
            lambda: client.submit_many([b"b%d" % each for each in range(3000)]),
        )
        lines = (await cluster.client(3).query(b"")).split(b"\n")[10_000:]
        assert [line for line in lines if line[:1] == b"a"] == [b"a%d" % each for each in range(3000)]
        assert [line for line in lines if line[:1] == b"b"] == [b"b%d" % each for each in range(3000)]
        assert len(lines) == 6000
        assert nothing_open(cluster)


async def test_large_and_small_ones_together() -> None:
    async with open_cluster("multipaxos", 3, machine=Lines, timeout_s=PATIENCE_S) as cluster:
        client = cluster.client()
        sizes = [1, 100_000, 1 << 20, 200_000, 1, 131_072, 130_000, 1 << 20, 5]
        commands = [b"x" * min(size, (1 << 20) - 256) for size in sizes]
        assert await client.submit_many(commands) == [b"%d" % each for each in range(1, 10)]
        assert await client.query(b"", stale=True) == b"\n".join(commands)
        with pytest.raises(ConfigurationError, match="a command of 1048321 bytes; the limit is 1048320"):
            await client.submit(b"x" * ((1 << 20) - 255))
        assert nothing_open(cluster)


async def test_a_machine_of_ones_own_by_class_and_by_name(tmp_path: Path) -> None:
    async with open_cluster("multipaxos", 1, machine=Lines, store=tmp_path) as cluster:
        assert cluster.config.machine == "tests.test_runtime_log_cluster:Lines"
        assert await cluster.client().submit(b"a") == b"1"
    async with open_cluster(
        "multipaxos", 1, machine="tests.test_runtime_log_cluster:Lines", store=tmp_path
    ) as again:
        assert await again.client().submit(b"b") == b"2"
    with pytest.raises(
        paxos.StoreRefused, match=r"machine tests\.test_runtime_log_cluster:Lines in the store"
    ):
        async with open_cluster("multipaxos", 1, machine=Counter, store=tmp_path):
            raise AssertionError("opened")

    class Local(Lines):
        """No name leads here."""

    for wrong, why in (
        (Local, "has to be a class at the top of a module"),
        (Lines(), "expected a class or a name, got Lines"),
        (int, "builtins:int.* is no state machine: it lacks apply"),
        (lambda: Lines(), "expected a class or a name, got function"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            async with open_cluster("multipaxos", 1, machine=wrong):  # type: ignore[arg-type]
                raise AssertionError("opened")
    impostor = type("Lines", (Lines,), {"__module__": __name__, "__qualname__": "Lines"})
    with pytest.raises(ConfigurationError, match="is the name of another class"):
        async with open_cluster("multipaxos", 1, machine=impostor):
            raise AssertionError("opened")


async def test_tls(tmp_path: Path) -> None:
    tls = make_certificates(tmp_path, [1, 2, 3])
    async with open_cluster("multipaxos", 3, tls=tls, timeout_s=PATIENCE_S) as cluster:
        assert await cluster.client(2).increment(b"n", 3) == 3
        async with connect(cluster.addresses, tls=tls) as client:
            assert await client.get(b"n") == b"3"
        async with connect(cluster.addresses, timeout_s=0.5) as client:
            with pytest.raises(Unreachable, match="requires TLS"):
                await client.get(b"n")


# --- whoever leads, whoever is away ------------------------------------------------------------------


async def test_followers_answer_and_send_on() -> None:
    async with open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        leader = await leader_of(cluster)
        for node in (1, 2, 3):
            async with connect([cluster.config.node(node).address], timeout_s=PATIENCE_S) as only:
                # Who knows one node only reads there, linearizably, and learns from it where the leader is.
                assert await only.get(b"n") == (None if node == 1 else b"%d" % (node - 1))
                assert only.node == node
                await only.put(b"x", b"%d" % node)
                assert only.node == leader
            client = cluster.client(node)
            assert await client.increment(b"n") == node
            assert client.node == leader
            assert await client.get(b"n", stale=True) == b"%d" % node
        await until(lambda: nothing_open(cluster))


async def test_a_time_beyond_all_floats_is_for_ever() -> None:
    async with open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        assert await cluster.client().increment(b"n", timeout_s=10**400) == 1


async def test_who_was_told_one_address_finds_every_next_leader() -> None:
    async with open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        one, other = [node for node in (1, 2, 3) if node != await leader_of(cluster)]
        async with connect([cluster.config.node(one).address], timeout_s=PATIENCE_S) as only:
            assert await only.increment(b"n") == 1
            await only.transfer(other)
            assert await only.increment(b"n") == 2
            await cluster.stop_node(other)
            assert await only.increment(b"n") == 3
            assert only.node not in (None, other)
            await cluster.start_node(other)


async def test_reads_are_linearizable_at_every_follower() -> None:
    async with open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster, AsyncExitStack() as stack:
        writer = cluster.client()
        readers = [
            await stack.enter_async_context(connect([address], timeout_s=PATIENCE_S))
            for address in cluster.addresses
        ]
        for each in range(1, 31):
            await writer.put(b"k", b"%d" % each)
            for reader in readers:
                assert await reader.get(b"k") == b"%d" % each
                assert await reader.get(b"k", stale=True) == b"%d" % each
        assert [reader.node for reader in readers] == [1, 2, 3]


async def test_exactly_once_though_the_leader_stops() -> None:
    """Twenty tasks count; what is counted is what was acknowledged, and at most what is unknown beside."""
    async with open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        acknowledged: list[int] = []
        unknown: list[Exception] = []
        stopping = anyio.Event()

        async def count(task: int) -> None:
            client = cluster.client(1 + task % 3)
            for _ in range(40):
                try:
                    acknowledged.append(await client.increment(b"n"))
                except OutcomeUnknown as error:
                    unknown.append(error)
                except Rejected:
                    continue
                if len(acknowledged) == 200:
                    stopping.set()

        async def stop() -> None:
            await stopping.wait()
            for _ in range(2):
                leader = await leader_of(cluster)
                await cluster.stop_node(leader)
                told = len(acknowledged)
                await until(lambda told=told: len(acknowledged) > told or len(acknowledged) >= 700)  # type: ignore[misc]
                await cluster.start_node(leader)

        await together(stop, *(lambda task=task: count(task) for task in range(20)))
        total = int(await cluster.client().get(b"n") or b"0")
        assert len(acknowledged) <= total <= len(acknowledged) + len(unknown)
        assert len(set(acknowledged)) == len(acknowledged)
        assert len(acknowledged) > 700
        await until(lambda: nothing_open(cluster))


async def test_many_in_order_though_the_leader_stops() -> None:
    async with open_cluster("multipaxos", 3, machine=Lines, timeout_s=PATIENCE_S) as cluster:
        client = cluster.client()
        leader = await leader_of(cluster)
        commands = [b"%d" % each for each in range(1, 20_001)]

        async def stop() -> None:
            await until(lambda: int(cluster.nodes[leader].status()["applied_requests"]) > 2000)  # type: ignore[call-overload]
            await cluster.stop_node(leader)

        await together(stop, lambda: client.submit_many(commands))
        assert leader not in cluster.nodes
        assert (await client.query(b"")).split(b"\n") == commands


async def test_no_leader_at_first() -> None:
    """What is asked of one node alone waits until there are enough."""
    async with open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        await cluster.client().put(b"k", b"v")
        await cluster.stop_node(1)
        await cluster.stop_node(2)
        client = cluster.client(3)
        with pytest.raises((Rejected, OutcomeUnknown)):
            await client.put(b"k", b"w", timeout_s=0.3)
        with pytest.raises((Unreachable, Rejected)):
            await client.get(b"k", timeout_s=0.3)
        assert await client.get(b"k", stale=True) in (b"v", None)
        answered: list[int] = []

        async def count() -> None:
            answered.append(await client.increment(b"n"))

        async with anyio.create_task_group() as group:
            group.start_soon(count)
            await anyio.sleep(0.2)
            assert not answered
            await cluster.start_node(1)
        assert answered == [1]
        assert await client.get(b"k") in (b"v", b"w")


async def test_a_transfer_goes_to_the_leader_wherever_it_is_asked_for() -> None:
    async with open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        for _ in range(2):
            leader = await leader_of(cluster)
            follower, heir = (node for node in (1, 2, 3) if node != leader)
            async with connect(
                cluster.addresses[follower - 1 :] + cluster.addresses[: follower - 1]
            ) as client:
                await client.transfer(heir, timeout_s=PATIENCE_S)
                await until(lambda heir=heir: cluster.nodes[heir].status()["leader"] == heir)  # type: ignore[misc]
                assert await client.increment(b"n", timeout_s=PATIENCE_S)
        with pytest.raises(Rejected, match=r"transfer to node 9: .*no member"):
            await cluster.client().transfer(9)


# --- cancelled ---------------------------------------------------------------------------------------


async def test_cancelled_calls_may_be_carried_out_once_and_disturb_nobody() -> None:
    async with open_cluster("multipaxos", 3, machine=Lines, timeout_s=PATIENCE_S) as cluster:
        client = cluster.client()
        await client.submit(b"first")
        lines: list[bytes] = []
        for each in range(60):
            with anyio.move_on_after(0.0005 * (each % 12)):
                await client.submit(b"cancelled %d" % each)
            answer = await client.submit(b"kept %d" % each)
            lines = (await client.query(b"")).split(b"\n")
            assert lines[int(answer) - 1] == b"kept %d" % each
        assert len(set(lines)) == len(lines)
        assert sum(line.startswith(b"kept") for line in lines) == 60
        await until(lambda: nothing_open(cluster))


# --- watches -----------------------------------------------------------------------------------------


async def test_a_watch_survives_its_node() -> None:
    async with open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        writer = cluster.client()
        await writer.put(b"a", b"before")
        since = await writer.revision()
        told: list[tuple[int, bytes | None]] = []

        async def watch(client: Client) -> None:
            async with aclosing(client.watch(b"k", b"l", since=since)) as changes:
                async for change in changes:
                    told.append((change.revision, change.value))
                    if change.value == b"end":
                        return

        async with (
            connect(cluster.addresses, timeout_s=PATIENCE_S) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(watch, client)
            for each in range(60):
                await writer.put(b"k%d" % (each % 7), b"%d" % each)
                await writer.put(b"other", b"%d" % each)
                if each in (20, 40):
                    await until(lambda: len(told) > 5)
                    node = client.node
                    assert node is not None
                    await cluster.stop_node(node)
                    await until(lambda node=node: client.node not in (None, node))  # type: ignore[misc]
                    await cluster.start_node(node)
            await writer.delete(b"k1")
            await writer.put(b"k", b"end")
            await until(lambda: bool(told) and told[-1][1] == b"end")
        assert [value for _, value in told] == [*(b"%d" % each for each in range(60)), None, b"end"]
        revisions = [revision for revision, _ in told]
        assert revisions == sorted(set(revisions))


async def test_a_watch_from_now_and_one_that_is_closed() -> None:
    async with open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        client = cluster.client()
        await client.put(b"k", b"old")
        told: list[bytes | None] = []

        async def watch() -> None:
            async with aclosing(client.watch()) as changes:
                told.append((await anext(changes)).value)
                await anext(changes)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await until(lambda: any(each._news for each in connections(cluster)))
            await client.put(b"k", b"new")
            await until(lambda: told == [b"new"])
            await until(lambda: any(each._news for each in connections(cluster)))
            group.cancel_scope.cancel()
        await until(lambda: not any(each._news for each in connections(cluster)))
        assert not any(
            node._server._engine.node.service._queries.watching  # type: ignore[union-attr]
            for node in cluster.nodes.values()
        )
        assert nothing_open(cluster)


# --- the wrong kind of cluster -----------------------------------------------------------------------


async def test_what_a_cluster_does_not_do_is_said_at_once() -> None:
    async with open_cluster("paxos", 3, timeout_s=3 * PATIENCE_S) as cluster:
        client = cluster.client()
        for call in (
            lambda: client.put(b"k", b"v"),
            lambda: client.get(b"k"),
            lambda: client.submit_many([b"x"] * 5000),
            lambda: client.transfer(2),
            lambda: anext(client.watch(since=1)),
        ):
            with pytest.raises(
                ClusterMismatch, match="runs paxos, which decides named decrees; it takes nothing"
            ):
                await call()
        assert await client.decide("x", b"1") == b"1"
    async with open_cluster("multipaxos", 3, timeout_s=3 * PATIENCE_S) as cluster:
        client = cluster.client()
        with pytest.raises(
            ClusterMismatch, match="decide 'x': this cluster runs multipaxos, which decides a log"
        ):
            await client.decide("x", b"1")
        with pytest.raises(
            ClusterMismatch, match="decided 'x': this cluster runs multipaxos, which decides a log"
        ):
            await client.decided("x")
        await client.put(b"k", b"v")


async def test_closed_in_the_middle() -> None:
    async with open_cluster("multipaxos", 3) as cluster:
        ended: list[Exception | None] = []

        async def count(client: Client) -> None:
            try:
                while True:
                    await client.increment(b"n")
            except (OutcomeUnknown, Unreachable) as error:
                ended.append(error)

        async with anyio.create_task_group() as group, connect(cluster.addresses) as client:
            for _ in range(10):
                group.start_soon(count, client)
            with suppress(Rejected):
                await client.increment(b"n", 0)
            await until(lambda: not nothing_open(cluster))
        assert len(ended) == 10
        assert all("the client " in str(error) for error in ended)
        await until(lambda: nothing_open(cluster))
        assert int(await cluster.client().get(b"n") or b"0") >= 0
