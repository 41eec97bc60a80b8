"""What benchmarks of a cluster share: nodes as processes, how much processor time they took, and what a disk
can do."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Final

import anyio
import anyio.to_thread

from paxos.errors import NodeStopped
from paxos.runtime.config import ClusterConfig, NodeConfig, dump_cluster

__all__ = ["bench_processes", "cpu_seconds", "free_ports", "measure_syncs", "percentile", "resident_bytes"]

_STOP_S: Final = 10.0
_SYNCS: Final = 200
_SYNC_BYTES: Final = 4096


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


def free_ports(many: int) -> list[int]:
    """Ports of the loopback interface that nobody listens at now."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(many)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@asynccontextmanager
async def bench_processes(
    directory: Path, nodes: int, loop: str, protocol: str = "paxos", store: str = "sqlite"
) -> AsyncIterator[tuple[ClusterConfig, list[int]]]:
    """A cluster of real processes while the block runs: its configuration, and their ids.

    Args:
        directory: for stores and logs.
        nodes: how many.
        loop: their event loop: "asyncio", "uvloop" or "trio".
        protocol: what they run.
        store: "sqlite", or "memory".

    Raises:
        NodeStopped: one did not come up.
    """
    config = _configure(directory, nodes, protocol, store)
    running: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        stack.callback(_end, running)
        logs = [stack.enter_context((directory / f"{node}.log").open("w+b")) for node in config.members]
        for node, log in zip(config.members, logs, strict=True):
            running.append(_start(config, node, loop, log))
        for node, process, log in zip(config.members, running, logs, strict=True):
            await anyio.to_thread.run_sync(_wait_ready, node, process, log, abandon_on_cancel=True)
        yield config, [process.pid for process in running]


def _configure(directory: Path, nodes: int, protocol: str, store: str) -> ClusterConfig:
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
    )
    (directory / "cluster.toml").write_text(dump_cluster(config), encoding="utf-8")
    return config


def _start(config: ClusterConfig, node: int, loop: str, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "paxos.runtime", str(config.path), str(node), "--loop", loop]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)


def _wait_ready(node: int, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    assert process.stdout is not None
    if not process.stdout.readline().startswith(b"ready"):
        process.wait()
        log.seek(0)
        last = log.read().decode(errors="replace").strip().splitlines()[-1:]
        raise NodeStopped(f"node {node} did not come up: {' '.join(last) or 'it said nothing'}")


def _end(running: "list[subprocess.Popen[bytes]]") -> None:
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
