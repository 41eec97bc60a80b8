"""Faults of disks, clocks and links under load, on a log's real nodes and real stores.

In each: nothing that was acknowledged is lost, no answer is wrong, whoever has to know is told, and where a
quorum lives it goes on by itself.
"""

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from multipaxos import MultiPaxosSettings
from paxos.contract import Event, Instant
from paxos.errors import OutcomeUnknown, Rejected, StoreFailed, StoreRefused, Unreachable
from paxos.runtime import Cluster, ClusterConfig, Limits, open_cluster
from paxos.runtime.engine import Engine, read_clocks
from paxos.runtime.node_server import open_configured_store
from paxos.runtime.sqlite_store import _crc
from paxos.runtime.store import Batch, Store
from paxos.service import LogSettings
from paxos.service.log_messages import SnapshotChunk
from paxos.service.snapshots import SNAPSHOT_PREFIX
from tests.strangers import until

# What they show does not depend on the interpreter.
pytestmark = [pytest.mark.anyio, pytest.mark.once]

#: Elections within tenths of a second, so that nothing here takes long.
ELECTION_S = 0.2
OFTEN = LogSettings(marker_requests=40, growth=0, piece_s=0.001)
NODES = (1, 2, 3)
KEYS = (b"a", b"b")
CALL_S = 0.4
PATIENCE_S = 20.0


# --- disks that one can break -------------------------------------------------------------------------


class BreakingStore:
    """A real store on a real disk, that fails or hangs when it is told to."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.card = store.card
        self.load = store.load
        self.close = store.close
        self.delete_range = store.delete_range
        #: Writes wait for this one.
        self.goes_on = threading.Event()
        self.goes_on.set()
        #: Called in the thread that writes, once.
        self.before_next: Callable[[Any], None] | None = None

    def write(self, batch: Batch) -> None:
        self.goes_on.wait()
        before, self.before_next = self.before_next, None
        if before is not None:
            before(self._store)
        self._store.write(batch)


class Disks:
    """Opens the stores that a configuration names, and keeps hold of them."""

    def __init__(self) -> None:
        self.by_node: dict[int, BreakingStore] = {}

    def __call__(self, config: ClusterConfig, node: int) -> Store:
        self.by_node[node] = store = BreakingStore(open_configured_store(config, node))
        return store


def fill(store: Any) -> None:
    """No page more fits on the disk."""
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count={pages}").fetchall()


class _FailingDatabase:
    def __init__(self, database: Any) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return self._database.execute(statement, *arguments)


def break_off(store: Any) -> None:
    """The disk answers a sync with an error."""
    store._database = _FailingDatabase(store._database)


# --- load, and what it was told ------------------------------------------------------------------------


class Load:
    """Clients that count up, at every node, and read what the others have counted.

    A sum never goes back, however late a command is carried out of which a client had no answer.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.asked: dict[bytes, int] = dict.fromkeys(KEYS, 0)
        self.told: dict[bytes, list[int]] = {key: [] for key in KEYS}
        self.reads = 0
        self.unanswered = 0
        self.over = False

    async def write(self, node: int, key: bytes) -> None:
        client = self.cluster.client(node)
        while not self.over:
            self.asked[key] += 1
            try:
                self.told[key].append(await client.increment(key, timeout_s=CALL_S))
            except (OutcomeUnknown, Unreachable, Rejected):
                self.unanswered += 1

    async def read(self, node: int) -> None:
        client = self.cluster.client(node)
        while not self.over:
            for key in KEYS:
                least = max(self.told[key], default=0)
                try:
                    found = int(await client.get(key, timeout_s=CALL_S) or b"0")
                except (Unreachable, Rejected):
                    continue
                assert least <= found <= self.asked[key]
                self.reads += 1
            await anyio.sleep(0.005)

    @property
    def acknowledged(self) -> int:
        return sum(map(len, self.told.values()))

    async def goes_on(self, more: int = 24) -> None:
        """Wait until so many were acknowledged more, and something was read."""
        goal, reads = self.acknowledged + more, self.reads
        await until(lambda: self.acknowledged >= goal and self.reads > reads)

    async def check(self) -> None:
        """Nothing was lost, nothing was done twice, and all nodes hold the same."""
        for key in KEYS:
            told = self.told[key]
            assert len(told) == len(set(told))
            for node in self.cluster.nodes:
                found = int(await self.cluster.client(node).get(key, timeout_s=PATIENCE_S) or b"0")
                assert max(told) <= found <= self.asked[key]
        engines = [engine_of(self.cluster, node) for node in self.cluster.nodes]
        await until(lambda: len({engine.status()["applied"] for engine in engines}) == 1)
        assert len({engine.node.machine.snapshot() for engine in engines}) == 1


def engine_of(cluster: Cluster, node: int) -> Engine:
    engine = cluster.nodes[node]._server._engine
    assert engine is not None
    return engine


def leader_of(cluster: Cluster) -> int | None:
    """Whom most of the nodes that run take for the leader."""
    named = [node.status()["leader"] for node in cluster.nodes.values() if not node._server.ended.is_set()]
    for node in NODES:
        if 2 * named.count(node) > len(NODES):
            return node
    return None


class Told:
    """What nodes said, by what it was about."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, str]] = []

    def __call__(self, event: Event) -> None:
        self.events.append((event.action, event.node, str(event.arguments.get("text", ""))))

    def of(self, action: str, node: int | None = None) -> list[str]:
        return [text for each, who, text in self.events if each == action and node in (None, who)]


@asynccontextmanager
async def loaded(
    place: Path,
    disks: Disks | None = None,
    log: LogSettings = OFTEN,
    limits: Limits | None = None,
    lease_s: float = 0.0,
) -> AsyncIterator[tuple[Cluster, Load, Told]]:
    """A cluster on disks below `place` under load; at the end all must be well."""
    told = Told()
    settings = MultiPaxosSettings(
        heartbeat_s=0.03, election_min_s=ELECTION_S, election_max_s=2 * ELECTION_S, lease_s=lease_s
    )
    async with open_cluster(
        "multipaxos", 3, store=place, open_store=disks, log=log, limits=limits, on_event=told,
        settings=settings, timeout_s=PATIENCE_S,
    ) as cluster:  # fmt: skip
        # Before the first start of all of them nobody may be away.
        await until(lambda: all(node.status()["ready"] for node in cluster.nodes.values()))
        load = Load(cluster)
        async with anyio.create_task_group() as group:
            for node in NODES:
                for key in KEYS:
                    group.start_soon(load.write, node, key)
                group.start_soon(load.read, node)
            await load.goes_on()
            yield cluster, load, told
            await load.goes_on()
            load.over = True
        await load.check()


async def the_leader(cluster: Cluster) -> int:
    await until(lambda: leader_of(cluster) is not None)
    leader = leader_of(cluster)
    assert leader is not None
    return leader


# --- disks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "says"), [(fill, "make room on the disk"), (break_off, "disk I/O error")])
@pytest.mark.parametrize("leads", [True, False])
async def test_a_disk_that_is_full_or_fails(
    fault: Callable[[Any], None], says: str, leads: bool, tmp_path: Path
) -> None:
    """Its node stops and says why; the others go on; started again, it comes back."""
    disks = Disks()
    # Without snapshots, since what is removed would make room.
    async with loaded(tmp_path, disks, LogSettings()) as (cluster, load, told):
        leader = await the_leader(cluster)
        node = leader if leads else leader % 3 + 1
        disks.by_node[node].before_next = fault
        with anyio.fail_after(PATIENCE_S), pytest.raises(StoreFailed, match=says):
            await cluster.nodes[node].wait_stopped()
        await load.goes_on()
        (line,) = told.of("failed", node)
        assert says in line
        assert str(tmp_path) in line
        await cluster.start_node(node)


async def test_full_disks_of_a_majority(tmp_path: Path) -> None:
    """Nobody is answered, rightly or wrongly, until there is a quorum again."""
    disks = Disks()
    async with loaded(tmp_path, disks, LogSettings()) as (cluster, load, _):
        await the_leader(cluster)
        for node in (1, 2):
            disks.by_node[node].before_next = fill
        for node in (1, 2):
            with anyio.fail_after(PATIENCE_S), pytest.raises(StoreFailed):
                await cluster.nodes[node].wait_stopped()
        acknowledged, reads, unanswered = load.acknowledged, load.reads, load.unanswered
        await until(lambda: load.unanswered >= unanswered + 2 * len(NODES) * len(KEYS))
        # At most what was on its way.
        assert load.acknowledged - acknowledged <= len(NODES) * len(KEYS)
        assert load.reads - reads <= len(NODES)
        for node in (1, 2):
            await cluster.start_node(node)


@pytest.mark.parametrize("slow", [(1,), (2, 3), NODES])
async def test_disks_that_stand_still_for_long(
    slow: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For several elections' time. Nobody stops; whoever has a quorum on disk goes on."""
    monkeypatch.setattr("paxos.runtime.disk._SLOW_S", 0.3)
    disks = Disks()
    async with loaded(tmp_path, disks) as (_, load, told):
        for node in slow:
            disks.by_node[node].goes_on.clear()
        if len(slow) == 1:
            await load.goes_on()
        else:
            unanswered = load.unanswered
            await until(lambda: load.unanswered >= unanswered + 2 * len(NODES) * len(KEYS))
        await until(lambda: all(told.of("disk-slow", node) for node in slow))
        assert "has been writing one batch for" in told.of("disk-slow", slow[0])[0]
        for node in slow:
            disks.by_node[node].goes_on.set()
        await load.goes_on()
        await until(lambda: all(told.of("disk-back", node) for node in slow))
        assert told.of("failed") == []


# --- clocks --------------------------------------------------------------------------------------------


def jumping(by: Instant) -> Callable[[], Instant]:
    def clocks() -> Instant:
        now = read_clocks()
        return Instant(now.monotonic_s + by.monotonic_s, now.wall_s + by.wall_s)

    return clocks


@pytest.mark.parametrize("lease_s", [0.0, ELECTION_S])
async def test_clocks_that_jump(lease_s: float, tmp_path: Path) -> None:
    """Wall clocks to any time; and the leader's other clock by an hour, as after a sleep."""
    async with loaded(tmp_path, lease_s=lease_s) as (cluster, load, told):
        for node, by_s in ((1, 1e9), (2, -1e9), (3, 5.0)):
            engine_of(cluster, node).clocks = jumping(Instant(0.0, by_s))
        await load.goes_on()
        leader = await the_leader(cluster)
        engine_of(cluster, leader).clocks = jumping(Instant(3600.0, 0.0))
        await load.goes_on()
        assert told.of("failed") == []


# --- snapshots -----------------------------------------------------------------------------------------


def spoil_snapshot(place: Path, whole: bool) -> None:
    """Change a bit of a snapshot; `whole`: as a bug would, so that the store sees nothing of it.

    Twice, and nothing is changed.
    """
    with sqlite3.connect(place / "records.sqlite3") as database:
        rows = database.execute("SELECT key, value FROM records ORDER BY key").fetchall()
        key, value = next(
            (key, value) for key, value in rows if key.startswith(SNAPSHOT_PREFIX) and len(value) > 60
        )
        changed = value[:50] + bytes([value[50] ^ 1]) + value[51:]
        crc = _crc(key, changed) if whole else None
        database.execute(
            "UPDATE records SET value = ?, crc = ifnull(?, crc) WHERE key = ?", (changed, crc, key)
        )
    database.close()


@pytest.mark.parametrize("whole", [False, True])
async def test_a_snapshot_that_rotted_on_disk(whole: bool, tmp_path: Path) -> None:
    """Its node does not start and says what is wrong; the others go on without."""
    async with loaded(tmp_path) as (cluster, load, told):
        await until(lambda: bool(told.of("snapshot", 3)))
        await cluster.stop_node(3)
        spoil_snapshot(tmp_path / "3", whole)
        with pytest.raises(StoreRefused, match="snapshot" if whole else "record") as caught:
            await cluster.start_node(3)
        assert str(tmp_path / "3") in str(caught.value)
        await load.goes_on()
        spoil_snapshot(tmp_path / "3", whole)
        await cluster.start_node(3)


async def test_a_snapshot_that_is_damaged_on_its_way(tmp_path: Path) -> None:
    """It is refused and asked for again, by itself."""
    spoiled: list[int] = []

    def spoil(put: Callable[[Any], None]) -> Callable[[Any], None]:
        def spoiling(message: Any) -> None:
            if isinstance(message, SnapshotChunk) and message.data and len(spoiled) < 2:
                spoiled.append(message.piece)
                message = message._replace(data=message.data[:-1] + bytes([message.data[-1] ^ 1]))
            put(message)

        return spoiling

    async with loaded(tmp_path, limits=Limits(peer_bytes=1000)) as (cluster, load, told):
        await cluster.stop_node(3)
        # So that the others have forgotten what it lacks, and keep no messages for it either.
        applied, left = engine_of(cluster, 1).node.service.applied, (1, 2)  # type: ignore[union-attr]
        await until(
            lambda: all(cluster.nodes[node].status()["compacted"] > applied for node in left)  # type: ignore[operator]
        )
        await load.goes_on()
        for node in (1, 2):
            box = engine_of(cluster, node).peers[3]
            box.put = spoil(box.put)  # type: ignore[assignment,method-assign]
        await cluster.start_node(3)
        await until(lambda: bool(told.of("snapshot installed", 3)))
        assert spoiled
        assert "is not what its digest says: asked for anew" in told.of("snapshot refused", 3)[0]


# --- links ---------------------------------------------------------------------------------------------


def cut(cluster: Cluster, senders: Iterable[int], recipients: Iterable[int]) -> Callable[[], None]:
    """What these send to those is lost, and nothing else; how to mend it."""
    boxes = [
        engine_of(cluster, sender).peers[recipient]
        for sender in senders
        for recipient in recipients
        if sender != recipient
    ]
    for box in boxes:
        box.put = lambda message: None  # type: ignore[method-assign]

    def mend() -> None:
        for box in boxes:
            del box.put

    return mend


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize("deaf", [True, False])
async def test_a_node_that_is_cut_off_one_way(leads: bool, deaf: bool, tmp_path: Path) -> None:
    """It hears nobody, or nobody hears it; clients beside it are served all the same."""
    async with loaded(tmp_path) as (cluster, load, _):
        leader = await the_leader(cluster)
        node = leader if leads else leader % 3 + 1
        mend = cut(cluster, NODES, [node]) if deaf else cut(cluster, [node], NODES)
        if leads:
            await until(lambda: leader_of(cluster) not in (None, node))
        told = {key: len(load.told[key]) for key in KEYS}
        await load.goes_on(100)
        # Clients beside the node that is cut off, too.
        client = cluster.client(node)
        for _ in range(3):
            await client.increment(b"beside", timeout_s=PATIENCE_S)
        assert await client.get(b"beside", timeout_s=PATIENCE_S) == b"3"
        assert all(len(load.told[key]) > told[key] for key in KEYS)
        mend()
        await until(lambda: leader_of(cluster) is not None)
        await load.goes_on()
