"""The one rule of the disk, what reports a write leaves after it; and disks that fail, hang or forget."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from paxos.basic import Accepted, Promise
from paxos.basic.records import read_records
from paxos.errors import NodeStopped, OutcomeUnknown, PaxosError, StoreFailed
from paxos.runtime import Client, Cluster, ClusterConfig, Limits, MemoryDisk, open_cluster
from paxos.runtime.disk import Disk
from paxos.runtime.events import EventSink
from paxos.runtime.outbox import PeerOutbox
from paxos.runtime.store import Batch, Store
from paxos.runtime.threads import call_on_loop
from paxos.service import replica_prefix
from paxos.testing import PowerCutDisk
from tests.strangers import PATIENCE_S, until

pytestmark = pytest.mark.anyio

PREFIX = replica_prefix(0, 0)


class Disks:
    """A disk with a cache for each node of a cluster."""

    def __init__(self, before_sync: Callable[[int], None] | None = None, lying: bool = False) -> None:
        self.by_node: dict[int, PowerCutDisk] = {}
        self._before_sync = before_sync
        self._lying = lying

    def __call__(self, config: ClusterConfig, node: int) -> Store:
        disk = self.by_node.setdefault(node, PowerCutDisk())
        hook = self._before_sync
        return disk.open(
            cluster=config.id,
            node=node,
            protocol=config.protocol,
            lying=self._lying,
            before_sync=None if hook is None else lambda: hook(node),
        )


# --- nothing leaves before it is on disk ----------------------------------------------------------------


class Watch:
    """Compares every promise and acceptance that leaves a node with what its disk would still have."""

    def __init__(self, disks: Disks) -> None:
        self._disks = disks
        self.seen = 0
        self.breaches: list[str] = []

    def attach(self, cluster: Cluster) -> None:
        """Look at all that goes to peers, and at what a node says to itself."""
        for number, running in cluster.nodes.items():
            engine = running._server._engine
            assert engine is not None
            for box in engine.peers.values():
                box.put = self._checked(number, box.put)  # type: ignore[assignment,method-assign]
            receive = engine.node.receive

            def to_itself(
                sender: int, message: Any, now: Any, number: int = number, receive: Any = receive
            ) -> None:
                if sender == number:
                    self._check(number, message)
                receive(sender, message, now)

            engine.node.receive = to_itself  # type: ignore[method-assign]

    def _checked(self, number: int, put: Callable[[Any], None]) -> Callable[[Any], None]:
        def checked(message: Any) -> None:
            self._check(number, message)
            put(message)

        return checked

    def _check(self, number: int, message: Any) -> None:
        if not isinstance(message, Promise | Accepted):
            return
        self.seen += 1
        synced = self._disks.by_node[number].synced
        records = {key[len(PREFIX) :]: value for key, value in synced.items() if key.startswith(PREFIX)}
        found = read_records(records)
        if message.decree in found.chosen:
            return
        acceptor = found.acceptors.get(message.decree)
        durable = acceptor is not None and acceptor.promised >= message.ballot
        if durable and isinstance(message, Accepted):
            assert acceptor is not None
            durable = acceptor.accepted_ballot >= message.ballot
        if not durable:
            self.breaches.append(f"node {number} sent {message} and has {acceptor} on disk")


async def _decide_a_few(cluster: Cluster, count: int = 15) -> None:
    async def decide(client: Client, number: int) -> None:
        await client.decide(f"d{number}", b"%d" % number)

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(decide, cluster.client(1 + number % 3), number)


async def test_no_vote_leaves_before_it_is_on_disk() -> None:
    disks = Disks()
    watch = Watch(disks)
    async with open_cluster(open_store=disks) as cluster:
        await cluster.client().decide("warm", b"1")
        watch.attach(cluster)
        await _decide_a_few(cluster)
    assert watch.breaches == []
    assert watch.seen >= 15 * 4


async def test_a_driver_that_does_not_wait_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch is worth something: with the rule broken in the driver it complains."""
    add = Disk.add

    def too_early(self: Disk, writes: Any, held: Any) -> Any:
        add(self, writes, [])
        return held

    disks = Disks()
    watch = Watch(disks)
    async with open_cluster(open_store=disks) as cluster:
        await cluster.client().decide("warm", b"1")
        monkeypatch.setattr(Disk, "add", too_early)
        watch.attach(cluster)
        await _decide_a_few(cluster)
    assert watch.breaches


async def test_a_driver_that_waits_for_its_own_batch_only_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vote repeated in a turn without writes must wait for the turn that wrote it."""
    monkeypatch.setattr(Disk, "add", _wait_for_own_writes_only)
    held: list[Any] = []
    store: Any = _SlowStore(anyio.Event())
    disk = Disk(store, held.extend, lambda error: None, EventSink(1))
    disk.add([(b"k", b"v")], [(2, "first")])
    assert disk.add([], [(2, "again")]) == [(2, "again")]  # what the real one must not do
    monkeypatch.undo()
    assert disk.add([], [(2, "again")]) == []


def _wait_for_own_writes_only(self: Disk, writes: Any, held: Any) -> Any:
    if writes:
        self._writes.update(writes)
        self._held += held
        return []
    return held


# --- the queue in front of the disk --------------------------------------------------------------------


class _SlowStore:
    """A store whose writes last until they are let go; and what it was asked to write."""

    def __init__(self, begun: anyio.Event) -> None:
        self.begun = begun
        self._call = call_on_loop()
        self.go = threading.Semaphore(0)
        self.batches: list[list[tuple[bytes, bytes | None]]] = []
        self.closed = False

    def write(self, batch: Batch) -> None:
        self.batches.append(list(batch))
        self._call(lambda: self.begun.set())
        if not self.go.acquire(timeout=PATIENCE_S):
            raise OSError("nobody let it go")

    def close(self) -> None:
        self.closed = True


async def test_group_commit() -> None:
    """What gathers while the disk works is one batch; each is told when its own is done, in order."""
    released: list[Any] = []
    store = _SlowStore(anyio.Event())
    disk = Disk(store, released.extend, lambda error: None, EventSink(1))  # type: ignore[arg-type]
    assert disk.add([], [(2, "free")]) == [(2, "free")]
    async with anyio.create_task_group() as group:
        group.start_soon(disk.run)
        assert disk.add([(b"a", b"1")], [(2, "a")]) == []
        await store.begun.wait()
        assert disk.add([(b"b", b"2")], [(2, "b")]) == []
        assert disk.add([(b"c", None)], []) == []
        assert disk.add([], [(3, "after c")]) == []
        store.begun = anyio.Event()
        store.go.release()
        await store.begun.wait()
        # Only now is the first on disk; the others are on their way.
        assert released == [(2, "a")]
        assert disk.add([], [(3, "late")]) == []
        assert store.batches == [[(b"a", b"1")], [(b"b", b"2"), (b"c", None)]]
        disk.finish(PATIENCE_S)
        store.go.release()
    assert released == [(2, "a"), (2, "b"), (3, "after c"), (3, "late")]
    assert (disk.batches, disk.records) == (2, 3)
    await disk.close()
    assert store.closed


async def test_a_disk_that_hangs_does_not_hang_the_end() -> None:
    said: list[str] = []
    store = _SlowStore(anyio.Event())
    released: list[Any] = []
    sink = EventSink(1, lambda event: said.append(event.action))
    failed: list[Exception] = []
    disk = Disk(store, released.extend, failed.append, sink)  # type: ignore[arg-type]
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(disk.run)
            disk.add([(b"a", b"1")], [(2, "a")])
            await store.begun.wait()
            disk.finish(0.05)
        await disk.close()
    assert said == ["disk-stuck"]
    assert [type(error) for error in failed] == [StoreFailed]
    assert not store.closed
    assert released == []
    store.go.release()


async def test_a_turn_that_comes_after_the_end_was_asked_for() -> None:
    """It is written when there is still time; else neither written nor told, and the store is closed."""
    said: list[str] = []
    released: list[Any] = []
    memory = MemoryDisk()
    store = memory.open(cluster="shop", node=1, protocol="paxos")
    disk = Disk(
        store, released.extend, lambda error: None, EventSink(1, lambda event: said.append(event.action))
    )
    async with anyio.create_task_group() as group:
        group.start_soon(disk.run)
        disk.add([(b"a", b"1")], [(2, "a")])
        await until(lambda: released == [(2, "a")])
        disk.finish(PATIENCE_S)
        assert disk.add([(b"b", b"2")], [(2, "b")]) == []
    assert disk.add([], [(2, "c")]) == []
    assert disk.add([(b"d", b"3")], [(2, "d")]) == []
    await disk.close()
    assert released == [(2, "a"), (2, "b")]
    assert dict(memory.records) == {b"a": b"1", b"b": b"2"}
    assert not memory.in_use
    assert said == []


async def test_an_end_that_is_asked_for_before_the_disk_runs_is_bounded() -> None:
    store = _SlowStore(anyio.Event())
    failed: list[Exception] = []
    disk = Disk(store, lambda held: None, failed.append, EventSink(1))  # type: ignore[arg-type]
    disk.add([(b"a", b"1")], [(2, "a")])
    disk.finish(0.05)
    with anyio.fail_after(PATIENCE_S):
        await disk.run()
    assert ["did not finish a batch in time" in str(error) for error in failed] == [True]
    store.go.release()


async def test_what_gathers_is_the_last_word_on_each_key_and_bounded() -> None:
    released: list[Any] = []
    drained: list[bool] = []
    store = _SlowStore(anyio.Event())
    disk = Disk(
        store,  # type: ignore[arg-type]
        released.extend,
        lambda error: None,
        EventSink(1),
        limit_bytes=20_000,
        drained=lambda: drained.append(disk.full),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(disk.run)
        disk.add([(b"first", b"")], [(2, 0)])
        await store.begun.wait()
        for number in range(1, 20):
            disk.add([(b"same", bytes(4000)), (b"gone", None)], [(2, number)])
            disk.add([(b"same", b"%d" % number)], [])
        # As often as it was written over, it counts once.
        assert not disk.full
        assert disk.room.is_set()
        for number in range(100):
            disk.add([(b"k%d" % number, b"")], [])
        assert disk.full
        assert not disk.room.is_set()
        store.begun = anyio.Event()
        store.go.release(1)
        await store.begun.wait()
        assert len(store.batches[1]) == 102
        assert dict(store.batches[1])[b"same"] == b"19"
        assert disk.full  # still being written
        store.go.release(1)
        await disk.room.wait()
        assert drained == [False]
        assert disk.queued_bytes == 0
        disk.finish(PATIENCE_S)
    assert released == [(2, number) for number in range(20)]


async def test_a_disk_that_hangs_lets_nobody_fill_the_memory() -> None:
    """Neither peers nor clients are read when too much waits for the disk; later nothing is missing."""
    go = threading.Event()
    go.set()

    def hang(node: int) -> None:
        if node == 1:
            go.wait(10 * PATIENCE_S)

    disks = Disks(hang)
    limits = Limits(disk_bytes=300_000)
    value = bytes(20_000)
    async with open_cluster(open_store=disks, limits=limits) as cluster:
        client = cluster.client(2)
        await client.decide("first", b"1")
        await until(lambda: cluster.nodes[3].status()["ready"] is True)
        engine = cluster.nodes[1]._server._engine
        assert engine is not None
        disk = engine.disk
        assert disk is not None
        go.clear()
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(client.decide, f"d{number}", value)
            await until(lambda: engine.is_crowded)
        # One frame from each peer, of a mebibyte or so, is still taken.
        for number in range(60, 200):
            await client.decide(f"d{number}", value)
            assert disk.queued_bytes < 300_000 + (2 << 20)
        assert not engine.room.is_set()
        go.set()
        for number in range(200):
            assert await cluster.client(1).decide(f"d{number}", b"other") == value
        await until(lambda: disk.queued_bytes == 0)
        assert engine.room.is_set()


async def test_the_end_waits_for_the_batch_that_is_being_written() -> None:
    begun = threading.Event()
    go = threading.Event()
    hold = False

    def before_sync(node: int) -> None:
        if hold and node == 1:
            begun.set()
            go.wait(PATIENCE_S)

    disks = Disks(before_sync)
    async with open_cluster(nodes=1, open_store=disks) as cluster:
        await cluster.client().decide("warm", b"1")
        hold = True
        async with anyio.create_task_group() as group:
            group.start_soon(_ignore_errors, cluster.client(), "x")
            await anyio.to_thread.run_sync(begun.wait)
            group.start_soon(cluster.stop_node, 1)
            await anyio.sleep(0.05)
            hold = False
            go.set()
    assert disks.by_node[1].unsynced == []


async def _ignore_errors(client: Client, name: str) -> None:
    try:
        await client.decide(name, b"1", timeout_s=0.5)
    except PaxosError:
        return


# --- disks that fail or forget -------------------------------------------------------------------------


async def test_a_store_that_fails_stops_the_node() -> None:
    disks = Disks()
    async with open_cluster(open_store=disks) as cluster:
        await cluster.client(2).decide("a", b"1")
        disks.by_node[1].power_cut()
        assert await cluster.client(2).decide("b", b"2") == b"2"
        with anyio.fail_after(PATIENCE_S), pytest.raises(StoreFailed, match="the power was cut") as caught:
            await cluster.nodes[1].wait_stopped()
        assert caught.value.exit_code == 6
        assert await cluster.client(1).decide("c", b"3") == b"3"
        await cluster.start_node(1)
        assert await cluster.client(1).decided("b") == b"2"


async def test_a_store_that_fails_is_told_at_the_end() -> None:
    disks = Disks()
    with pytest.raises(StoreFailed, match="the power was cut"):
        await _lose_power_and_leave(disks)


async def _lose_power_and_leave(disks: Disks) -> None:
    async with open_cluster(open_store=disks) as cluster:
        await cluster.client(2).decide("a", b"1")
        disks.by_node[1].power_cut()
        await cluster.client(2).decide("b", b"2")
        with anyio.fail_after(PATIENCE_S):
            await cluster.nodes[1]._server.ended.wait()


async def test_an_error_that_no_store_should_raise() -> None:
    class Broken:
        def __init__(self, store: Store) -> None:
            self._store = store
            self.card = store.card
            self.load = store.load
            self.close = store.close

        def write(self, batch: Batch) -> None:
            raise ZeroDivisionError("a bug in somebody's store")

    def opener(config: ClusterConfig, node: int) -> Any:
        return Broken(MemoryDisk().open(cluster=config.id, node=node, protocol=config.protocol))

    with pytest.raises(StoreFailed, match="ZeroDivisionError: a bug in somebody's store"):
        await _run_until_it_stops(opener)


async def _run_until_it_stops(opener: Any) -> None:
    async with open_cluster(nodes=1, open_store=opener) as cluster:
        with anyio.fail_after(PATIENCE_S):
            await cluster.nodes[1].wait_stopped()


async def test_a_bug_in_the_node_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_cluster(nodes=1) as cluster:
        await cluster.client().decide("a", b"1")
        node = cluster.nodes[1]
        engine = node._server._engine
        assert engine is not None
        monkeypatch.setattr(engine.node, "request", lambda *_: 1 / 0)
        with pytest.raises(OutcomeUnknown):
            await cluster.client().decide("b", b"1", timeout_s=0.2)
        with anyio.fail_after(PATIENCE_S), pytest.raises(NodeStopped, match="ZeroDivisionError: division by"):
            await node.wait_stopped()


@pytest.mark.parametrize("keep", [0, 1])
async def test_power_cuts_of_all_nodes_lose_nothing(keep: int) -> None:
    """What a client was told is still so after the power of every node was cut in the middle of its work."""
    disks = Disks()
    told: dict[str, bytes] = {}
    for round_ in range(3):
        with pytest.raises(StoreFailed, match="the power was cut"):
            await _work_until_the_power_is_cut(disks, told, round_, keep)
    assert len(told) >= 60
    async with open_cluster(open_store=disks) as cluster:
        for name, value in told.items():
            assert await cluster.client(1).decide(name, b"another") == value
        for node in (1, 2, 3):
            for name, value in told.items():
                assert await cluster.client(node).decided(name) == value


async def _work_until_the_power_is_cut(disks: Disks, told: dict[str, bytes], round_: int, keep: int) -> None:
    enough = anyio.Event()
    async with open_cluster(open_store=disks) as cluster, anyio.create_task_group() as group:

        async def keep_deciding(worker: int) -> None:
            client = cluster.client(1 + worker % 3)
            for number in range(1000):
                name = f"{round_}-{worker % 6}-{number}"
                try:
                    value = await client.decide(name, b"%d of %d" % (worker, round_))
                except PaxosError:
                    return
                assert told.setdefault(name, value) == value
                if number == 20:
                    enough.set()

        for worker in range(9):
            group.start_soon(keep_deciding, worker)
        await enough.wait()
        for disk in disks.by_node.values():
            disk.power_cut(keep_batches=keep)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), anyio.move_on_after(0.2):
            await anyio.sleep_forever()


async def test_a_lying_disk_is_caught() -> None:
    """The same work on a disk that acknowledges what it has not: the test above would see it."""
    disks = Disks(lying=True)
    async with open_cluster(open_store=disks) as cluster:
        await cluster.client().decide("x", b"1")
        for node in (1, 2, 3):
            await cluster.stop_node(node)
    for disk in disks.by_node.values():
        disk.power_cut()
    async with open_cluster(open_store=disks) as cluster:
        assert await cluster.client().decided("x") is None


# --- the queue to a peer -------------------------------------------------------------------------------


class _Table:
    """Encodes a message as so many bytes as it says."""

    def encode(self, messages: list[int]) -> bytes:
        return b"".join(bytes(message) for message in messages)


@asynccontextmanager
async def outbox(limit_bytes: int) -> AsyncIterator[tuple[PeerOutbox, list[int]]]:
    reports: list[int] = []
    yield PeerOutbox(_Table(), limit_bytes, reports.append), reports  # type: ignore[arg-type]


async def test_the_oldest_messages_to_a_peer_go_first() -> None:
    async with outbox(100) as (box, reports):
        for size in (40, 41, 42):
            box.put(size)
            box.put(1)
            box.flush()
        assert (box.queued_bytes, box.dropped, reports) == (85, 2, [2])
        assert len(await box.take()) == 85
        assert (box.queued_bytes, box.sent) == (0, 4)
        # One that alone is too large still goes.
        box.put(500)
        box.flush()
        assert len(await box.take()) == 500


async def test_what_gathers_leaves_at_once() -> None:
    async with outbox(100) as (box, _), anyio.create_task_group() as group:
        taken: list[int] = []

        async def take() -> None:
            taken.append(len(await box.take()))

        group.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        for size in (1, 2, 3):
            box.put(size)
            box.flush()
        await anyio.wait_all_tasks_blocked()
        assert taken == [6]
        assert (box.queued_bytes, box.dropped) == (0, 0)


async def test_a_dead_peer_costs_bounded_memory_and_nobody_else() -> None:
    dropped: list[Any] = []
    limits = Limits(peer_bytes=200_000)

    def on_event(event: Any) -> None:
        if event.action == "dropped":
            dropped.append(event)

    async with open_cluster(limits=limits, on_event=on_event) as cluster:
        await cluster.client().decide("warm", b"1")
        await cluster.stop_node(3)
        value = bytes(20_000)
        for number in range(60):
            assert await cluster.client().decide(f"d{number}", value) == value
        status = await cluster.client().status(1)
        queue = status["peers"]["3"]
        assert queue["queued_bytes"] <= 200_000
        assert queue["dropped"] > 50
        assert 1 <= len(dropped) < 20
        assert dropped[0].arguments["peer"] == 3
        assert status["peers"]["2"]["dropped"] == 0
        await cluster.start_node(3)
        assert await cluster.client(3).decided("d0") == value
