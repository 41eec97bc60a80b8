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

from paxos.contract import Orders, find_protocol
from paxos.runtime.bench_others import etcd_commands_per_s, pysyncobj_commands_per_s
from paxos.runtime.bench_processes import (
    bench_processes,
    cpu_seconds,
    measure_syncs,
    percentile,
    resident_bytes,
    run_load,
)
from paxos.service import LogSettings

__all__ = ["LogFigures", "benchmark_log"]

_SYNCS_AT_ONCE: Final = 3
_CONNECTIONS: Final = 3
_BATCHING: Final = LogSettings().batching


@attrs.frozen
class LogFigures:
    """What one round measured of one contestant; None for what it does not have.

    Args:
        name: the contestant: "multipaxos, uvloop, sqlite", "epaxos, asyncio, sqlite, 2 % conflicts", ...
        commands_per_s: with deep pipelines.
        latency_ms: of one client, one command at a time: the median.
        loaded_ms: of all of them with deep pipelines: the median.
        sync_ms: of three at once on the same disk, in the same round: the median.
        cpu_us_per_command: processor time of each node for each command, the leader first, microseconds.
        client_cpu_us_per_command: of the loading process.
        resident_mb: memory of each node at the end, 10^6 bytes, the leader first.
    """

    name: str
    commands_per_s: float
    latency_ms: float | None = None
    loaded_ms: float | None = None
    sync_ms: float | None = None
    cpu_us_per_command: tuple[float, ...] = ()
    client_cpu_us_per_command: float | None = None
    resident_mb: tuple[float, ...] = ()


async def benchmark_log(
    *,
    protocols: Sequence[str] = ("multipaxos",),
    nodes: int = 3,
    conflicts: Sequence[int] = (0,),
    batching: Sequence[str] = (_BATCHING,),
    in_flight: int = 1500,
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
        protocols: what our nodes run. Where nobody leads there are clients at every node.
        nodes: how many there are of ours.
        conflicts: percent of the commands that touch one key; what orders everything is measured once.
        batching: of `LogSettings`; what orders everything is measured once.
        in_flight: commands under way at once, in all.
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
        for ours in _contestants(protocols, nodes, conflicts, batching, loops, stores):
            found.append(await _measure(ours, in_flight, seconds, directory))
            tell(found[-1].name)
        for other in others:
            found.append(await anyio.to_thread.run_sync(_other, other, seconds, directory))
            tell(other)
    return found


@attrs.frozen
class _Ours:
    """One of ours: what its nodes run, and how many percent of the commands touch one key."""

    protocol: str
    nodes: int
    conflicts: int
    batching: str
    loop: str
    store: str

    @property
    def name(self) -> str:
        """What it is called in a table."""
        partial = find_protocol(self.protocol).orders is Orders.CONFLICTS
        share = f", {self.conflicts} % conflicts" if partial else ""
        share += f", batches {self.batching}" if partial and self.batching != _BATCHING else ""
        return f"{self.protocol}, {self.loop}, {self.store}{share}"


def _contestants(
    protocols: Sequence[str],
    nodes: int,
    conflicts: Sequence[int],
    batching: Sequence[str],
    loops: Sequence[str],
    stores: Sequence[str],
) -> list[_Ours]:
    found = []
    for protocol in protocols:
        partial = find_protocol(protocol).orders is Orders.CONFLICTS
        ways = [(share, how) for share in conflicts for how in batching] if partial else [(0, _BATCHING)]
        for loop in loops:
            for store in stores:
                found += [_Ours(protocol, nodes, *way, loop, store) for way in ways]
    return found


def _other(name: str, seconds: float, directory: str | os.PathLike[str] | None) -> LogFigures:
    if name == "pysyncobj":
        return LogFigures("PySyncObj, in memory", pysyncobj_commands_per_s(seconds))
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as place:
        return LogFigures("etcd", etcd_commands_per_s(Path(place), seconds))


async def _measure(
    ours: _Ours, in_flight: int, seconds: float, directory: str | os.PathLike[str] | None
) -> LogFigures:
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as temporary:
        place = Path(temporary)
        sync_ms = await anyio.to_thread.run_sync(_three_syncs, place)
        log = LogSettings(batching=ours.batching)
        cluster = bench_processes(place, ours.nodes, ours.loop, ours.protocol, ours.store, log)
        async with cluster as (config, pids):
            addresses = [node.address for node in config.nodes]
            alone = await run_load(addresses, "--one-by-one", "--seconds", str(seconds))
            before = [cpu_seconds(pid) for pid in pids]
            load = {
                "seconds": seconds,
                "warm-up": 1,
                "conflicts": ours.conflicts,
                "connections": _CONNECTIONS,
                "outstanding": max(in_flight // _CONNECTIONS, 1),
            }
            many = await run_load(addresses, *(f"--{name}={value}" for name, value in load.items()))
            # The leader first, if there is one: it does most.
            order = sorted(range(ours.nodes), key=lambda at: addresses[at] != many["leader"])
            took = [_difference(cpu_seconds(pids[at]), before[at]) for at in order]
            resident = [resident_bytes(pids[at]) for at in order]
    total = many["total"]
    return LogFigures(
        name=ours.name,
        commands_per_s=many["commands_per_s"],
        latency_ms=alone["latency_p50_ms"],
        loaded_ms=many["latency_p50_ms"],
        sync_ms=sync_ms,
        cpu_us_per_command=tuple(round(1e6 * each / total, 2) for each in took if each is not None),
        client_cpu_us_per_command=many["client_cpu_us_per_command"],
        resident_mb=tuple(round(each / 1e6, 1) for each in resident if each is not None),
    )


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _three_syncs(place: Path) -> float:
    """The median of a sync while two others sync as well, milliseconds."""
    directories = [place / f"sync-{at}" for at in range(_SYNCS_AT_ONCE)]
    for directory in directories:
        directory.mkdir()
    with ThreadPoolExecutor(_SYNCS_AT_ONCE) as pool:
        took = [each for several in pool.map(measure_syncs, directories) for each in several]
    return percentile(took, 50)
