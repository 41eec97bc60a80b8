"""How fast a log is on this machine: real processes, real sockets, a real disk, and others beside it.

Everything is measured several times, in turn, so that a machine that becomes slower for a while does not
favour one over another, and the medians are compared.  The cost of one sync is measured in every round, and
for three at once as well, because that is what three nodes on one disk do: no durable command can be faster.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import attrs

from paxos.runtime.bench_others import etcd_commands_per_s, pysyncobj_commands_per_s
from paxos.runtime.bench_processes import (
    bench_processes,
    cpu_seconds,
    measure_syncs,
    percentile,
    resident_bytes,
    run_load,
)

__all__ = ["LogFigures", "benchmark_log"]

_NODES: Final = 3


@attrs.frozen
class LogFigures:
    """What one round measured of one contestant; None for what it does not have.

    Args:
        name: the contestant: "multipaxos, uvloop, sqlite", "etcd", ...
        commands_per_s: with deep pipelines.
        latency_ms: of one client, one command at a time: the median.
        sync_ms: of three at once on the same disk, in the same round: the median.
        cpu_us_per_command: processor time of each node for each command, the leader first, microseconds.
        client_cpu_us_per_command: of the loading process.
        resident_mb: memory of each node at the end, 10^6 bytes, the leader first.
    """

    name: str
    commands_per_s: float
    latency_ms: float | None = None
    sync_ms: float | None = None
    cpu_us_per_command: tuple[float, ...] = ()
    client_cpu_us_per_command: float | None = None
    resident_mb: tuple[float, ...] = ()


async def benchmark_log(
    *,
    protocol: str = "multipaxos",
    loops: Sequence[str] = ("asyncio",),
    stores: Sequence[str] = ("sqlite",),
    others: Sequence[str] = (),
    seconds: float = 5.0,
    repeats: int = 5,
    directory: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[LogFigures]:
    """Measure everything in turn, several times.

    Args:
        protocol: what our nodes run.
        loops: event loops of our nodes: "asyncio", "uvloop" or "trio".
        stores: of our nodes: "sqlite", "memory".
        others: of `bench_others.OTHERS`.
        seconds: of load for each, seconds; latency takes as long again.
        repeats: rounds.
        directory: on the disk to measure; None for a temporary one.
        progress: called with the name of each contestant when it is done.

    Returns:
        One value for each contestant and round, in the order in which they were measured.

    Raises:
        NodeStopped, PaxosError: something did not come up, or ended.
    """
    tell = progress or (lambda name: None)
    found = []
    for _ in range(repeats):
        for loop in loops:
            for store in stores:
                found.append(await _ours(protocol, loop, store, seconds, directory))
                tell(found[-1].name)
        for other in others:
            found.append(await anyio.to_thread.run_sync(_other, other, seconds, directory))
            tell(other)
    return found


def _other(name: str, seconds: float, directory: str | os.PathLike[str] | None) -> LogFigures:
    if name == "pysyncobj":
        return LogFigures("PySyncObj, in memory", pysyncobj_commands_per_s(seconds))
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as place:
        return LogFigures("etcd", etcd_commands_per_s(Path(place), seconds))


async def _ours(
    protocol: str, loop: str, store: str, seconds: float, directory: str | os.PathLike[str] | None
) -> LogFigures:
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as temporary:
        place = Path(temporary)
        sync_ms = await anyio.to_thread.run_sync(_three_syncs, place)
        async with bench_processes(place, _NODES, loop, protocol, store) as (config, pids):
            addresses = [node.address for node in config.nodes]
            alone = await run_load(addresses, "--one-by-one", "--seconds", str(seconds))
            before = [cpu_seconds(pid) for pid in pids]
            many = await run_load(addresses, "--seconds", str(seconds), "--warm-up", "1")
            # The leader first: it does most.
            order = sorted(range(_NODES), key=lambda at: addresses[at] != many["leader"])
            took = [_difference(cpu_seconds(pids[at]), before[at]) for at in order]
            resident = [resident_bytes(pids[at]) for at in order]
    total = many["total"]
    return LogFigures(
        name=f"{protocol}, {loop}, {store}",
        commands_per_s=many["commands_per_s"],
        latency_ms=alone["latency_p50_ms"],
        sync_ms=sync_ms,
        cpu_us_per_command=tuple(round(1e6 * each / total, 2) for each in took if each is not None),
        client_cpu_us_per_command=many["client_cpu_us_per_command"],
        resident_mb=tuple(round(each / 1e6, 1) for each in resident if each is not None),
    )


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _three_syncs(place: Path) -> float:
    """The median of a sync while two others sync as well, milliseconds."""
    directories = [place / f"sync-{at}" for at in range(_NODES)]
    for directory in directories:
        directory.mkdir()
    with ThreadPoolExecutor(_NODES) as pool:
        took = [each for several in pool.map(measure_syncs, directories) for each in several]
    return percentile(took, 50)
