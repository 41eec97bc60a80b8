"""What snapshots cost the throughput of a log: clusters that differ only in how often they make one.

One never makes any, one makes one after the other without a pause, and one has the settings that a cluster
has by default.  All hold the same state, and take the same load in turn, several times; while one is measured
the others are stopped, so that they cost nothing.  So a machine that becomes slower for a while favours none
of them, and the medians can be compared.
"""

import os
import signal
import statistics
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from paxos.errors import PaxosError
from paxos.runtime.bench_processes import Nodes, bench_nodes, cpu_seconds, fill, run_load
from paxos.runtime.opening import connect
from paxos.service import LogSettings

__all__ = ["MODES", "NO_MARKERS", "SnapshotFigures", "benchmark_snapshots"]

#: Never reached: no markers, and so no snapshots.
NO_MARKERS: Final = LogSettings(marker_requests=1 << 40, marker_bytes=1 << 40)
#: How often a cluster makes snapshots, by name.
MODES: Final[dict[str, LogSettings]] = {
    "never": NO_MARKERS,
    # A marker that comes while one is being made begins none: so the next begins soon after the last.
    "back to back": LogSettings(marker_requests=20_000, growth=0),
    "default": LogSettings(),
}
#: After a cluster was stopped: so long until its nodes have agreed again who leads.
_SETTLE_S: Final = 1.5
_LOOK_S: Final = 0.25


@attrs.frozen
class SnapshotFigures:
    """What `benchmark_snapshots` measured of one cluster.

    Args:
        mode: of `MODES`.
        keys: in its state.
        commands_per_s: the median of the rounds.
        rounds: each of them.
        cpu_us_per_command: processor time of all nodes together for each command, microseconds: the median;
            None where the system does not say.
        being_made: in which share of the looks at the leader a snapshot was being made.
    """

    mode: str
    keys: int
    commands_per_s: float
    rounds: tuple[float, ...]
    cpu_us_per_command: float | None
    being_made: float


class _Contestant:
    """One cluster, and what was measured of it."""

    def __init__(self, mode: str, nodes: Nodes) -> None:
        self.nodes = nodes
        self.mode = mode
        self.rounds: list[float] = []
        self.cpu_us: list[float] = []
        self.looks: list[bool] = []
        self._addresses = [node.address for node in nodes.config.nodes]

    async def measure(self, seconds: float) -> None:
        """Load it for so long."""
        self.signal(signal.SIGCONT)
        await anyio.sleep(_SETTLE_S)
        before_s = self._cpu_s()
        found: dict[str, Any] = {}
        async with anyio.create_task_group() as group:
            group.start_soon(self._look)
            found = await run_load(self._addresses, "--seconds", str(seconds), "--warm-up", "1")
            group.cancel_scope.cancel()
        self.cpu_us.append(1e6 * (self._cpu_s() - before_s) / found["total"])
        self.rounds.append(found["commands_per_s"])
        self.signal(signal.SIGSTOP)

    def _cpu_s(self) -> float:
        return sum(cpu_seconds(pid) or 0.0 for pid in self.nodes.pids if pid is not None)

    async def _look(self) -> None:
        """Whether a snapshot is being made, now and then."""
        async with connect(self._addresses, timeout_s=60.0) as client:
            while True:
                await anyio.sleep(_LOOK_S)
                try:
                    self.looks.append((await client.status())["snapshot_being_made"] is not None)
                except PaxosError:
                    continue

    def signal(self, which: int) -> None:
        """Send one to each node."""
        for pid in self.nodes.pids:
            if pid is not None:
                os.kill(pid, which)

    def figures(self, keys: int) -> SnapshotFigures:
        """What came out."""
        looks = self.looks or [False]
        return SnapshotFigures(
            mode=self.mode,
            keys=keys,
            commands_per_s=statistics.median(self.rounds),
            rounds=tuple(self.rounds),
            cpu_us_per_command=statistics.median(self.cpu_us) or None,
            being_made=sum(looks) / len(looks),
        )


@asynccontextmanager
async def _contestant(
    mode: str, keys: int, loop: str, protocol: str, directory: str | os.PathLike[str] | None
) -> AsyncIterator[_Contestant]:
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as place:
        async with bench_nodes(Path(place), 3, loop, protocol, log=MODES[mode]) as nodes:
            contestant = _Contestant(mode, nodes)
            try:
                await fill([node.address for node in nodes.config.nodes], keys)
                contestant.signal(signal.SIGSTOP)
                yield contestant
            finally:
                contestant.signal(signal.SIGCONT)


async def benchmark_snapshots(
    *,
    protocol: str = "multipaxos",
    keys: int = 1_000_000,
    seconds: float = 5.0,
    repeats: int = 5,
    loop: str = "asyncio",
    directory: str | os.PathLike[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[SnapshotFigures]:
    """Start the clusters, of three real processes each, measure them in turn, and stop them.

    Args:
        protocol: what they run.
        keys: in the state of each, of 16 bytes, with values of 16 bytes.
        seconds: of load for each, in each round.
        repeats: rounds.
        loop: of the nodes: "asyncio", "uvloop" or "trio".
        directory: on the disk to measure; None for a temporary one.
        progress: called with the share that is done, 0 to 1, now and then.

    Returns:
        One value for each of `MODES`.

    Raises:
        NodeStopped: a process did not come up or ended.
        PaxosError: a call failed.
    """
    tell = progress or (lambda share: None)
    steps, done = len(MODES) * (repeats + 1), 0
    async with AsyncExitStack() as stack:
        contestants = []
        for mode in MODES:
            contestants.append(
                await stack.enter_async_context(_contestant(mode, keys, loop, protocol, directory))
            )
            done += 1
            tell(done / steps)
        for _ in range(repeats):
            for contestant in contestants:
                await contestant.measure(seconds)
                done += 1
                tell(done / steps)
        return [each.figures(keys) for each in contestants]
