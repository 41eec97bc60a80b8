"""What benchmarks of a cluster share: nodes as processes, how much processor time they took, and what a disk
can do."""

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from paxos.errors import NodeStopped
from paxos.runtime.client import Client
from paxos.runtime.config import ClusterConfig, NodeConfig, dump_cluster
from paxos.runtime.opening import connect
from paxos.runtime.ports import free_ports
from paxos.service import LogSettings
from paxos.service.keyvalue_requests import put

__all__ = [
    "Nodes",
    "bench_nodes",
    "bench_processes",
    "cpu_seconds",
    "fill",
    "measure_syncs",
    "percentile",
    "resident_bytes",
    "run_load",
]

_STOP_S: Final = 10.0
_SYNCS: Final = 200
_SYNC_BYTES: Final = 4096
#: Puts given to a client's call when a state is filled, calls under way at once, and how long one may take.
_CHUNK: Final = 10_000
_CALLS: Final = 4
_FILL_S: Final = 120.0
_VALUE_BYTES: Final = 16


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def measure_syncs(directory: Path) -> list[float]:
    """How long it takes to append a page to a file and sync it, milliseconds."""
    took_ms: list[float] = []
    page = os.urandom(_SYNC_BYTES)
    descriptor = os.open(directory / "sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for _ in range(_SYNCS):
            started_s = time.perf_counter()
            os.write(descriptor, page)
            os.fsync(descriptor)
            took_ms.append(1000 * (time.perf_counter() - started_s))
    finally:
        os.close(descriptor)
    return took_ms


def cpu_seconds(pid: int) -> float | None:
    """Processor time that a process has taken, seconds; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    ticks: int = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks


def resident_bytes(pid: int) -> int | None:
    """Memory that a process has resident, bytes; None where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    page: int = os.sysconf("SC_PAGE_SIZE")
    return pages * page


# --- load --------------------------------------------------------------------------------------------


async def fill(addresses: Sequence[str], keys: int, progress: Callable[[float], None] | None = None) -> float:
    """Put so many keys of 16 bytes, each once; commands a second.

    Args:
        addresses: of a log's nodes.
        keys: how many.
        progress: called with the share that is sent, 0 to 1, now and then.

    Raises:
        PaxosError: a call failed.
    """
    value = os.urandom(_VALUE_BYTES)
    async with connect(addresses, timeout_s=_FILL_S) as client:
        await client.put(b"warm up", value)
        started_s = time.perf_counter()
        async with anyio.create_task_group() as group:
            limiter = anyio.Semaphore(_CALLS)
            for first in range(0, keys, _CHUNK):
                await limiter.acquire()
                last = min(first + _CHUNK, keys)
                bodies = [put(b"key%013d" % number, value) for number in range(first, last)]
                group.start_soon(_submit, client, bodies, limiter)
                if progress is not None:
                    progress(first / keys)
        return keys / (time.perf_counter() - started_s)


async def _submit(client: Client, bodies: list[bytes], limiter: anyio.Semaphore) -> None:
    try:
        await client.submit_many(bodies)
    finally:
        limiter.release()


async def run_load(addresses: Sequence[str], *options: str) -> dict[str, Any]:
    """Run `python -m paxos.runtime.load` on these nodes, and what it printed.

    Raises:
        NodeStopped: it failed.
    """
    command = [sys.executable, "-m", "paxos.runtime.load", "--cluster", ",".join(addresses), *options]
    ended = await anyio.run_process(command, check=False)
    if ended.returncode:
        raise NodeStopped(f"the load ended: {ended.stderr.decode(errors='replace').strip()[-400:]}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


# --- nodes -------------------------------------------------------------------------------------------


class Nodes:
    """Nodes as processes; made by `bench_nodes`.

    Args:
        config: the cluster's.
        loop: their event loop.
        directory: for logs.
    """

    def __init__(self, config: ClusterConfig, loop: str, directory: Path) -> None:
        self.config: ClusterConfig = config
        self._loop = loop
        self._directory = directory
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def pids(self) -> list[int | None]:
        """The process id of each node, by ascending node id; None where none runs."""
        running = [self._running.get(node) for node in self.config.members]
        return [None if process is None else process.pid for process in running]

    def spawn(self, node: int) -> None:
        """Start a node's process, without waiting for it."""
        command = [sys.executable, "-m", "paxos.runtime", str(self.config.path), str(node)]
        with (self._directory / f"{node}.log").open("ab") as log:
            self._running[node] = subprocess.Popen(
                [*command, "--loop", self._loop], stdout=subprocess.PIPE, stderr=log
            )

    async def wait_ready(self, node: int) -> None:
        """Wait until a node serves. Raises NodeStopped when it ends instead."""
        await anyio.to_thread.run_sync(self._wait_ready, node, abandon_on_cancel=True)

    async def start(self, node: int) -> None:
        """Start a node and wait until it serves. Raises NodeStopped when it does not."""
        self.spawn(node)
        await self.wait_ready(node)

    def kill(self, node: int) -> None:
        """End a node as `kill -9` does."""
        process = self._running.pop(node)
        process.kill()
        process.communicate()

    def end(self) -> None:
        """End all of them."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _wait_ready(self, node: int) -> None:
        process = self._running[node]
        assert process.stdout is not None
        if not process.stdout.readline().startswith(b"ready"):
            process.wait()
            said = (self._directory / f"{node}.log").read_text(errors="replace").strip().splitlines()[-1:]
            raise NodeStopped(f"node {node} did not come up: {' '.join(said) or 'it said nothing'}")


@asynccontextmanager
async def bench_nodes(
    directory: Path,
    nodes: int,
    loop: str,
    protocol: str = "paxos",
    store: str = "sqlite",
    log: LogSettings | None = None,
) -> AsyncIterator[Nodes]:
    """A cluster of real processes while the block runs.

    Args:
        directory: for stores and logs.
        nodes: how many.
        loop: their event loop: "asyncio", "uvloop" or "trio".
        protocol: what they run.
        store: "sqlite", or "memory".
        log: settings of the service of a log.

    Raises:
        NodeStopped: one did not come up.
    """
    running = Nodes(_configure(directory, nodes, protocol, store, log), loop, directory)
    try:
        for node in running.config.members:
            running.spawn(node)
        for node in running.config.members:
            await running.wait_ready(node)
        yield running
    finally:
        running.end()


@asynccontextmanager
async def bench_processes(
    directory: Path,
    nodes: int,
    loop: str,
    protocol: str = "paxos",
    store: str = "sqlite",
    log: LogSettings | None = None,
) -> AsyncIterator[tuple[ClusterConfig, list[int]]]:
    """As `bench_nodes`, for processes that are all left alone: their configuration, and their ids."""
    async with bench_nodes(directory, nodes, loop, protocol, store, log) as running:
        yield running.config, [pid for pid in running.pids if pid is not None]


def _configure(
    directory: Path, nodes: int, protocol: str, store: str, log: LogSettings | None
) -> ClusterConfig:
    """A configuration with ports that are free now."""
    ports = free_ports(nodes)
    config = ClusterConfig(
        id="bench",
        protocol=protocol,
        nodes=tuple(
            NodeConfig(
                node, f"127.0.0.1:{port}", "memory" if store == "memory" else str(directory / str(node))
            )
            for node, port in enumerate(ports, 1)
        ),
        path=directory / "cluster.toml",
        log=log,
    )
    (directory / "cluster.toml").write_text(dump_cluster(config), encoding="utf-8")
    return config
