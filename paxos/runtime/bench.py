"""How fast a cluster is on this machine: real processes, real sockets, a real disk.

Two questions, asked of the same cluster one after the other, because they have different answers: how many
decisions a second there are when many are under way at once, and how long one takes when nothing else is.
The cost of one sync of the same disk is measured in the same run, since every decision waits for two of
them in a row (a promise, then an acceptance) and the number means nothing without it.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import attrs

from paxos.runtime.bench_processes import bench_processes, measure_syncs, percentile
from paxos.runtime.client import Client
from paxos.runtime.opening import connect
from paxos.runtime.tasks import plain

__all__ = ["ClusterFigures", "benchmark_cluster"]


@attrs.frozen
class ClusterFigures:
    """What `benchmark_cluster` measured.

    Args:
        nodes: how many processes.
        loop: their event loop.
        in_flight: calls under way at once, for the throughput.
        value_bytes: length of each value.
        decided: decisions counted for the throughput.
        seconds: in how long.
        decisions_per_s: the throughput.
        latency_p50_ms: half of the calls of one client, one after the other, were faster.
        latency_p99_ms: 99 of 100 were faster.
        latency_calls: how many calls.
        sync_p50_ms: half of the syncs of 4 KiB appended to a file on the same disk were faster.
        sync_p99_ms: 99 of 100 were faster.
    """

    nodes: int
    loop: str
    in_flight: int
    value_bytes: int
    decided: int
    seconds: float
    decisions_per_s: float
    latency_p50_ms: float
    latency_p99_ms: float
    latency_calls: int
    sync_p50_ms: float
    sync_p99_ms: float


async def benchmark_cluster(
    *,
    nodes: int = 3,
    seconds: float = 5.0,
    in_flight: int = 512,
    value_bytes: int = 64,
    loop: str = "asyncio",
    directory: str | os.PathLike[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> ClusterFigures:
    """Start a cluster of real processes, measure it, and stop it.

    Args:
        nodes: how many.
        seconds: how long to measure each of throughput and latency, seconds.
        in_flight: calls under way at once, for the throughput.
        value_bytes: length of each value.
        loop: of the nodes: "asyncio", "uvloop" or "trio".
        directory: where their stores go, which is the disk that is measured; None for a temporary one.
        progress: called with the share that is done, 0 to 1, now and then.

    Raises:
        NodeStopped: a process did not come up or ended.
        PaxosError: a call failed.
    """
    tell = progress or (lambda share: None)
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as temporary:
        place = Path(temporary)
        sync_ms = await anyio.to_thread.run_sync(measure_syncs, place)
        tell(0.1)
        async with bench_processes(place, nodes, loop) as (config, _):
            addresses = [node.address for node in config.nodes]
            async with connect(addresses, cluster=config.id, timeout_s=60.0) as client:
                await client.decide("warm-up", b"w")
                tell(0.2)
                latencies_ms = await _one_by_one(client, seconds, value_bytes)
                tell(0.6)
                decided, took_s = await _many_at_once(client, seconds, in_flight, value_bytes)
                tell(1.0)
    return ClusterFigures(
        nodes=nodes,
        loop=loop,
        in_flight=in_flight,
        value_bytes=value_bytes,
        decided=decided,
        seconds=took_s,
        decisions_per_s=decided / took_s,
        latency_p50_ms=percentile(latencies_ms, 50),
        latency_p99_ms=percentile(latencies_ms, 99),
        latency_calls=len(latencies_ms),
        sync_p50_ms=percentile(sync_ms, 50),
        sync_p99_ms=percentile(sync_ms, 99),
    )


async def _one_by_one(client: Client, seconds: float, value_bytes: int) -> list[float]:
    """Latencies of one client that waits for each answer, milliseconds."""
    value = os.urandom(value_bytes)
    took_ms: list[float] = []
    started_s = time.perf_counter()
    while time.perf_counter() - started_s < seconds:
        before_s = time.perf_counter()
        await client.decide(f"one-{len(took_ms)}", value)
        took_ms.append(1000 * (time.perf_counter() - before_s))
    return took_ms


async def _many_at_once(
    client: Client, seconds: float, in_flight: int, value_bytes: int
) -> tuple[int, float]:
    """Decisions while so many calls are under way at any time, and in how many seconds."""
    value = os.urandom(value_bytes)
    decided = 0
    started_s = time.perf_counter()

    async def keep_calling(worker: int) -> None:
        nonlocal decided
        call = 0
        while time.perf_counter() - started_s < seconds:
            await client.decide(f"many-{worker}-{call}", value)
            call += 1
            decided += 1

    try:
        async with anyio.create_task_group() as group:
            for worker in range(in_flight):
                group.start_soon(keep_calling, worker)
    except BaseExceptionGroup as error:
        raise plain(error) from None
    return decided, time.perf_counter() - started_s
