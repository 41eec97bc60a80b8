"""Starting and stopping the nodes of a cluster in this process: cancelled, at once, and after a failure."""

import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from paxos.errors import StoreFailed
from paxos.runtime import Cluster, ClusterConfig, MemoryDisk, open_cluster
from paxos.runtime.store import Store
from paxos.testing import PowerCutDisk
from tests.strangers import PATIENCE_S, stranger

pytestmark = pytest.mark.anyio


async def _listens(cluster: Cluster, node: int) -> bool:
    try:
        async with stranger(cluster.addresses[node - 1]):
            return True
    except OSError:
        return False


class _HeldUp:
    """Opens stores in memory; the next ones only when they are let go."""

    def __init__(self) -> None:
        self.disks: dict[int, MemoryDisk] = {}
        self.go = threading.Event()
        self.go.set()
        self.came = threading.Event()

    def __call__(self, config: ClusterConfig, node: int) -> Store:
        self.came.set()
        if not self.go.wait(PATIENCE_S):
            raise OSError("nobody let it go")
        disk = self.disks.setdefault(node, MemoryDisk())
        return disk.open(cluster=config.id, node=node, protocol=config.protocol)

    def hold(self) -> None:
        self.go.clear()
        self.came.clear()


async def test_a_start_that_is_cancelled_leaves_no_node() -> None:
    opener = _HeldUp()
    async with open_cluster(open_store=opener) as cluster:
        await cluster.client(2).decide("a", b"1")
        await cluster.stop_node(1)
        opener.hold()
        async with anyio.create_task_group() as group:
            group.start_soon(cluster.start_node, 1)
            await anyio.to_thread.run_sync(opener.came.wait)
            group.cancel_scope.cancel()
            opener.go.set()
        assert sorted(cluster.nodes) == [2, 3]
        assert not opener.disks[1].in_use
        assert not await _listens(cluster, 1)
        await cluster.start_node(1)
        assert await cluster.client(1).decided("a") == b"1"
        await cluster.stop_node(1)
        assert not await _listens(cluster, 1)


async def test_a_start_that_is_cancelled_at_any_step_leaves_no_node(tmp_path: Path) -> None:
    async with open_cluster(store=tmp_path) as cluster:
        await cluster.client(2).decide("a", b"1")
        await cluster.stop_node(1)
        for step in range(12):
            with anyio.move_on_after(0.002 * step):
                await cluster.start_node(1)
            assert await _listens(cluster, 1) == (1 in cluster.nodes)
            await cluster.stop_node(1)
        await cluster.start_node(1)
        assert await cluster.client(1).decided("a") == b"1"


async def test_starts_and_stops_of_one_node_at_once() -> None:
    opener = _HeldUp()
    async with open_cluster(open_store=opener) as cluster:
        for _ in range(3):
            async with anyio.create_task_group() as group:
                for act in (cluster.stop_node, cluster.start_node, cluster.start_node, cluster.stop_node):
                    group.start_soon(act, 3)
            assert await _listens(cluster, 3) == (3 in cluster.nodes) == opener.disks[3].in_use
        await cluster.start_node(3)
        assert await cluster.client(3).decide("a", b"1") == b"1"


async def test_a_stop_waits_for_the_start_before_it() -> None:
    opener = _HeldUp()
    async with open_cluster(open_store=opener) as cluster:
        await cluster.stop_node(3)
        opener.hold()
        async with anyio.create_task_group() as group:
            group.start_soon(cluster.start_node, 3)
            await anyio.to_thread.run_sync(opener.came.wait)
            group.start_soon(cluster.stop_node, 3)
            await anyio.wait_all_tasks_blocked()
            opener.go.set()
        assert sorted(cluster.nodes) == [1, 2]
        assert not await _listens(cluster, 3)


async def test_a_failure_is_told_at_the_end_when_the_node_was_started_over_it() -> None:
    disks: dict[int, PowerCutDisk] = {}
    with pytest.raises(StoreFailed, match="the power was cut"):
        await _start_over_a_failure(disks)


async def _start_over_a_failure(disks: dict[int, PowerCutDisk]) -> None:
    def opener(config: ClusterConfig, node: int) -> Any:
        disk = disks.setdefault(node, PowerCutDisk())
        return disk.open(cluster=config.id, node=node, protocol=config.protocol)

    async with open_cluster(open_store=opener) as cluster:
        await cluster.client(2).decide("a", b"1")
        disks[1].power_cut()
        await cluster.client(2).decide("b", b"2")
        with anyio.fail_after(PATIENCE_S):
            await cluster.nodes[1]._server.ended.wait()
        await cluster.start_node(1)
        assert await cluster.client(1).decided("b") == b"2"
