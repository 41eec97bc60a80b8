"""Old copies of stores, changed members, and restarts that must never pass for either: with real nodes."""

import copy
import shutil
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
import pytest

from paxos.basic import protocol as basic
from paxos.cli import main
from paxos.errors import EXIT_NODE_STOPPED, EXIT_USAGE, NodeStopped, OutcomeUnknown, StoreRefused
from paxos.runtime import (
    Cluster,
    ClusterConfig,
    MemoryDisk,
    NodeConfig,
    QuorumSpec,
    TlsConfig,
    connect,
    dump_cluster,
    make_certificates,
    open_cluster,
    open_node,
)
from paxos.runtime.handshake import HANDSHAKE_MESSAGES, Hello, Kind, Refused, read_first
from paxos.runtime.ports import free_ports
from paxos.runtime.store import Store
from paxos.runtime.tables import Tables
from paxos.runtime.tasks import CONNECTION_ERRORS
from paxos.service import SUPERSEDED_KEY, Opening
from paxos.testing import PowerCutDisk
from tests.processes import Process, Processes, write_config
from tests.strangers import PATIENCE_S, listening, peer_hello, stranger, until, until_ready

pytestmark = [pytest.mark.anyio, pytest.mark.once]

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are what this is about")


class Disks:
    """A disk in memory for each node, which can be copied and put back."""

    def __init__(self) -> None:
        self.by_node: dict[int, MemoryDisk] = {}

    def __call__(self, config: ClusterConfig, node: int) -> Store:
        disk = self.by_node.setdefault(node, MemoryDisk())
        return disk.open(cluster=config.id, node=node, protocol=config.protocol)

    def copy(self, node: int) -> MemoryDisk:
        made = copy.copy(self.by_node[node])
        made.records, made.in_use = dict(made.records), False
        return made


def met(cluster: Cluster, node: int, peer: int) -> Opening | None:
    """What a node knows of a peer's store."""
    engine = cluster.nodes[node]._server._engine
    assert engine is not None
    return engine.node.identity.met(peer)


async def all_met(cluster: Cluster, peer: int, incarnation: int) -> None:
    """Wait until the others have met this opening of a peer."""

    def have() -> bool:
        known = [met(cluster, node, peer) for node in cluster.nodes if node != peer]
        return all(one is not None and one.incarnation == incarnation for one in known)

    await until(have)


async def run_until_it_stops(config: ClusterConfig, node: int, **options: Any) -> None:
    """Run a node that should stop by itself. Raises why it did."""
    async with open_node(config, node, **options) as running:
        with anyio.fail_after(PATIENCE_S):
            await running._server.ended.wait()


# --- what a store was made for --------------------------------------------------------------------------


def three(**changed: Any) -> ClusterConfig:
    parts = [NodeConfig(n, f"127.0.0.1:{port}", "memory") for n, port in enumerate(free_ports(3), 1)]
    return attrs.evolve(ClusterConfig("shop", "paxos", tuple(parts)), **changed)


async def test_another_configuration_is_refused_before_anything_is_sent() -> None:
    disks, config = Disks(), three()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(open_node(config, n, open_store=disks)) for n in (1, 2, 3)]
        async with connect([nodes[0].address]) as client:
            assert await client.decide("x", b"1", timeout_s=PATIENCE_S) == b"1"
    other = attrs.evolve(config.nodes[2], id=4)
    changed = [
        (attrs.evolve(config, nodes=(*config.nodes[:2], other)), "members 1, 2, 3 in the store, 1, 2, 4 in"),
        (
            attrs.evolve(config, quorums=QuorumSpec("flexible", {"phase1": 3, "phase2": 1})),
            "quorums majority(1,2,3) in the store, flexible(1,2,3;phase1=3,phase2=1) in the configuration",
        ),
    ]
    for wrong, said in changed:
        with pytest.raises(StoreRefused) as caught:
            await _open_and_close(wrong, disks)
        assert said in str(caught.value)
        assert caught.value.exit_code == EXIT_USAGE
    await _open_and_close(config, disks)


async def _open_and_close(config: ClusterConfig, disks: Disks) -> None:
    async with open_node(config, 1, open_store=disks):
        pass


# --- old copies -----------------------------------------------------------------------------------------


async def test_an_old_copy_stops_its_node_and_is_never_used_again() -> None:
    disks = Disks()
    async with open_cluster(open_store=disks) as cluster:
        await cluster.client(1).decide("x", b"1")
        await until_ready(cluster.client(1), 3)
        await cluster.stop_node(3)
        old = disks.copy(3)
        for _ in range(2):
            await cluster.start_node(3)
            newest = disks.by_node[3].card
            assert newest is not None
            await all_met(cluster, 3, newest.incarnation)
            await cluster.stop_node(3)
        # The peers restart: what they met is on their disks.
        for peer in (1, 2):
            await cluster.stop_node(peer)
            await cluster.start_node(peer)
        newest_disk, disks.by_node[3] = disks.by_node[3], old
        await cluster.start_node(3)
        with anyio.fail_after(PATIENCE_S), pytest.raises(NodeStopped) as caught:
            await cluster.nodes[3].wait_stopped()
        assert caught.value.exit_code == EXIT_NODE_STOPPED
        text = str(caught.value)
        assert text.startswith("node 3 runs on an old copy of its store: node ")
        assert "has met incarnation 3 of it, and this is incarnation 2" in text
        assert "put the newest copy back. If this one was restored from a backup" in text
        # However often it is tried: a few starts more would have made its incarnation the highest.
        assert SUPERSEDED_KEY in old.records
        for _ in range(3):
            with pytest.raises(StoreRefused, match="runs on an old copy of its store"):
                await cluster.start_node(3)
        # The newest copy is welcome.
        disks.by_node[3] = newest_disk
        await cluster.start_node(3)
        async with connect([cluster.config.node(3).address]) as client:
            assert await client.decide("y", b"1", timeout_s=PATIENCE_S) == b"1"


async def test_of_two_that_run_on_copies_the_newcomer_stops() -> None:
    disks = Disks()
    async with open_cluster(open_store=disks) as cluster:
        await until_ready(cluster.client(1), 1, 2, 3)
        await cluster.stop_node(3)
        copied = Disks()
        copied.by_node[3] = disks.copy(3)
        await cluster.start_node(3)
        await all_met(cluster, 3, 2)
        # The same incarnation, at another address.
        elsewhere = attrs.evolve(cluster.config.node(3), address=f"127.0.0.1:{free_ports(1)[0]}")
        config = attrs.evolve(cluster.config, nodes=(*cluster.config.nodes[:2], elsewhere))
        with pytest.raises(NodeStopped, match=r"another process runs as node 3: .* a store was copied"):
            await run_until_it_stops(config, 3, open_store=copied)
        assert not cluster.nodes[3]._server.ended.is_set()
        assert await cluster.client(3).decide("x", b"1", timeout_s=PATIENCE_S) == b"1"


async def test_restarts_and_reconnects_are_never_refused() -> None:
    said: list[str] = []
    disks = Disks()
    async with open_cluster(
        open_store=disks, on_event=lambda event: said.append(f"{event.action} {dict(event.arguments)}")
    ) as cluster:
        await until_ready(cluster.client(1), 1, 2, 3)
        for turn in range(9):
            node = 1 + turn % 3
            await cluster.stop_node(node)
            assert await cluster.client(1 + node % 3).decide(f"d{turn}", b"1", timeout_s=PATIENCE_S) == b"1"
            await cluster.start_node(node)
        for node in (1, 2, 3):
            assert await cluster.client(node).decide("end", b"1", timeout_s=PATIENCE_S) == b"1"
            await all_met(cluster, node, 4)
    assert not [line for line in said if "another process" in line or "old copy" in line]


# --- before the answer ------------------------------------------------------------------------------------


async def test_an_opening_is_on_disk_before_its_hello_is_answered() -> None:
    disk, gate = PowerCutDisk(), threading.Event()
    gate.set()

    def open_store(config: ClusterConfig, node: int) -> Store:
        return disk.open(
            cluster=config.id,
            node=node,
            protocol=config.protocol,
            before_sync=lambda: (gate.wait(PATIENCE_S), None)[1],
        )

    config = three()
    values = {**config.agreed(), "messages": Tables.of(basic).from_peer.digest()}
    try:
        async with open_node(config, 1, open_store=open_store) as one:
            await until(lambda: bool(disk.synced))
            gate.clear()
            hello = peer_hello("shop", 2, values, store_id=b"2" * 16, incarnation=7)
            async with stranger(one.address) as two:
                await two.send(HANDSHAKE_MESSAGES.encode([hello]))
                assert await two.is_open()
                with anyio.move_on_after(0.1) as waited:
                    await read_first(two.stream)
                assert waited.cancelled_caught, "answered, and a crash now would forget whom"
                assert not any(key.startswith(b"nK") for key in disk.synced)
                gate.set()
                with anyio.fail_after(PATIENCE_S):
                    assert isinstance(await read_first(two.stream), Hello)
                assert any(key.startswith(b"nK") for key in disk.synced)
    finally:
        gate.set()


# --- who is believed -------------------------------------------------------------------------------------


def refusal(store: str) -> Refused:
    return Refused("superseded", "node 1 runs on an old copy of its store: says who", bytes.fromhex(store))


async def test_a_stranger_that_calls_can_not_stop_a_node() -> None:
    """Anybody can say over an unproved connection that he is node 3, and refuse."""
    said: list[str] = []
    config = three()
    values = {**config.agreed(), "messages": Tables.of(basic).from_peer.digest()}
    async with open_node(config, 1, on_event=lambda e: said.append(str(e.arguments.get("text")))) as one:
        for store in (str(one.status()["store_id"]), "00" * 16):
            async with stranger(one.address) as three_:
                answer = await three_.greet(peer_hello("shop", 3, values, incarnation=2))
                assert isinstance(answer, Hello)
                await three_.send(HANDSHAKE_MESSAGES.encode([refusal(store)]))
                await three_.read_to_end()
        await until(lambda: sum("this node was refused" in text for text in said) == 2)
        assert one.status()["node"] == 1
        assert not one._server.ended.is_set()


@asynccontextmanager
async def refusing_peer(code: str, tls: TlsConfig | None = None, name: str = "") -> AsyncIterator[str]:
    """Something at an address that refuses whoever calls, naming the store that it called with."""
    from paxos.runtime.tls import Security

    security = Security(tls, name or 2)

    async def serve(plain: Any) -> None:
        async with plain:
            try:
                stream = await security.secure(plain, called=True)
                hello = await read_first(stream)
                if isinstance(hello, Hello) and hello.kind == Kind.PEER:
                    told = refusal(hello.store_id.hex())._replace(code=code)
                    await stream.send(HANDSHAKE_MESSAGES.encode([told]))
                    await stream.receive()
            except CONNECTION_ERRORS:
                return

    async with listening(serve) as address:
        yield address


def with_peer(config: ClusterConfig, address: str) -> ClusterConfig:
    one, two, three_ = config.nodes
    return attrs.evolve(config, nodes=(one, attrs.evolve(two, address=address), three_))


async def test_the_peer_s_own_address_is_believed() -> None:
    async with refusing_peer("superseded") as address:
        with pytest.raises(NodeStopped, match="old copy of its store: says who"):
            await run_until_it_stops(with_peer(three(), address), 1)


async def test_other_refusals_stop_nobody_and_show_in_the_status() -> None:
    async with (
        refusing_peer("mismatch") as address,
        open_node(with_peer(three(), address), 1) as one,
    ):

        def refused(peer: str) -> object:
            peers: Any = one.status()["peers"]
            return peers[peer]["refused"]

        await until(lambda: refused("2") is not None)
        assert refused("2") == "node 1 runs on an old copy of its store: says who"
        assert refused("3") is None
        assert not one._server.ended.is_set()


async def test_a_refused_node_is_shown_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with refusing_peer("mismatch") as address:
        config = with_peer(three(), address)
        async with open_node(config, 1) as one:
            peers: Any = one.status
            await until(lambda: peers()["peers"]["2"]["refused"] is not None)
            await anyio.to_thread.run_sync(main, ["status", "--cluster", one.address])
    assert "REFUSED by node 2: node 1 runs on an old copy of its store: says who" in capsys.readouterr().out


async def test_with_tls_only_the_peer_s_certificate_is_believed(tmp_path: Path) -> None:
    tls = make_certificates(tmp_path, [1, 2, 3], ["localhost", "127.0.0.1"])
    said: list[str] = []
    async with refusing_peer("superseded", tls, "client") as address:
        config = with_peer(three(tls=tls), address)
        async with open_node(config, 1, on_event=lambda e: said.append(str(e.arguments.get("text")))) as one:
            await until(lambda: any("refused by node 2" in text for text in said))
            peers: Any = one.status()["peers"]
            assert peers["2"]["refused"] is None
            assert not one._server.ended.is_set()
    async with refusing_peer("superseded", tls) as address:
        with pytest.raises(NodeStopped, match="says who"):
            await run_until_it_stops(with_peer(three(tls=tls), address), 1)


# --- real processes ---------------------------------------------------------------------------------------

LOOPS = ("asyncio", "trio")


async def start(processes: Processes, *nodes: int) -> None:
    await anyio.to_thread.run_sync(lambda: processes.start(*nodes))


async def ends(process: Process) -> int:
    return await anyio.to_thread.run_sync(process.wait)


async def stop(processes: Processes) -> None:
    for process in processes.nodes.values():
        process.terminate()
        assert await ends(process) == 0


@on_posix
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_members_and_quorums_can_not_be_changed_under_stores(tmp_path: Path) -> None:
    config = write_config(tmp_path, 5)
    assert config.path is not None
    five, first = config.nodes, attrs.evolve(config, nodes=config.nodes[:3])
    config.path.write_text(dump_cluster(first), encoding="utf-8")
    with Processes(first, LOOPS) as processes:
        await start(processes)
        async with connect(processes.addresses, timeout_s=60) as client:
            assert await client.decide("x", b"1") == b"1"
            await until_ready(client, 1, 2, 3)
        await stop(processes)
        fourth = attrs.evolve(five[3], id=4)
        changes = {
            "members 1, 2, 3 in the store, 1, 2, 4 in cluster.toml": attrs.evolve(
                first, nodes=(*five[:2], fourth)
            ),
            "members 1, 2, 3 in the store, 1, 2, 3, 4, 5 in cluster.toml": config,
            "flexible(1,2,3;phase1=3,phase2=1) in cluster.toml": attrs.evolve(
                first, quorums=QuorumSpec("flexible", {"phase1": 3, "phase2": 1})
            ),
        }
        for said, changed in changes.items():
            config.path.write_text(dump_cluster(changed), encoding="utf-8")
            for node, loop in ((1, "asyncio"), (2, "trio")):
                process = Process(changed, node, loop)
                try:
                    assert await ends(process) == EXIT_USAGE
                    assert said in process.log()
                finally:
                    process.close()
        # Without a majority of old members the new ones wait, and decide nothing.
        config.path.write_text(dump_cluster(config), encoding="utf-8")
        with Processes(config, LOOPS) as more:
            await start(more, 4, 5)
            async with connect(more.addresses[3:], timeout_s=0.5) as client:
                assert not (await client.status(4, timeout_s=60))["ready"]
                with pytest.raises(OutcomeUnknown):
                    await client.decide("x", b"2")
        config.path.write_text(dump_cluster(first), encoding="utf-8")
        await start(processes, 1, 2)
        async with connect(processes.addresses[:2], timeout_s=60) as client:
            assert await client.decide("x", b"2") == b"1"


@on_posix
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_old_copy_of_a_directory(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    store, backup = Path(config.node(3).store), tmp_path / "backup"
    with Processes(config, LOOPS) as processes:
        await start(processes)
        async with connect(processes.addresses, timeout_s=60) as client:
            await client.decide("a", b"1")
            await until_ready(client, 1, 2, 3)
            await stop(processes)
            shutil.copytree(store, backup)
            await start(processes)
            assert await client.decide("b", b"1") == b"1"
            for node in (1, 2, 3):
                await client.status(node)
            await stop(processes)
        shutil.rmtree(store)
        shutil.copytree(backup, store)
        # The peers have restarted since they met it; and the copy comes up in a process of the same number
        # of starts, then of more.
        await start(processes, 1, 2)
        await start(processes, 3)
        assert await ends(processes.nodes[3]) == EXIT_NODE_STOPPED
        log = processes.nodes[3].log()
        assert "another process runs as node 3" in log
        assert "put the newest copy back" in log
        for _ in range(2):
            again = Process(config, 3, "trio")
            try:
                assert await ends(again) == EXIT_USAGE
                assert "put the newest copy back" in again.log()
            finally:
                again.close()
        async with connect(processes.addresses[:2], timeout_s=60) as client:
            assert await client.decide("b", b"2") == b"1"


@on_posix
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_storm_of_kills(tmp_path: Path) -> None:
    """Killed at any moment and started at once: nobody is ever taken for an old copy of itself."""
    config = write_config(tmp_path)
    with Processes(config, LOOPS) as processes:
        await start(processes)
        async with connect(processes.addresses, timeout_s=60) as client:
            await until_ready(client, 1, 2, 3)
            for turn, victims in enumerate(((1,), (2, 3), (1, 2, 3), (3,), (1, 2))):
                for victim in victims:
                    processes.nodes[victim].kill()
                await start(processes, *victims)
                assert await client.decide(f"d{turn}", b"1") == b"1"
            for node in (1, 2, 3):
                status = await client.status(node)
                assert status["ready"]
        for process in processes.nodes.values():
            assert process.running
            assert "old copy" not in process.log()
            assert "another process runs" not in process.log()
