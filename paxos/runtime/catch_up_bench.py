"""What a log costs in time and memory besides commands: snapshots, restarts, and nodes that come late.

One node is killed when the cluster is up.  The others take a number of small commands, each to a key of its
own; then it comes back and gets what it missed through a snapshot.  Then a node is killed whose commands are
all inside its snapshot, and started again; then once more, with a number of commands logged after it.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from paxos.errors import NodeStopped
from paxos.runtime.bench_processes import Nodes, bench_nodes, fill, resident_bytes
from paxos.runtime.opening import connect
from paxos.runtime.snapshot_bench import NO_MARKERS
from paxos.service import LogSettings
from paxos.service.keyvalue_requests import put

__all__ = ["CatchUpFigures", "benchmark_catch_up"]

_LIMIT_S: Final = 120.0
_LOOK_S: Final = 0.02
_VALUE_BYTES: Final = 16


@attrs.frozen
class CatchUpFigures:
    """What `benchmark_catch_up` measured.

    Args:
        commands: how many, each to a key of its own.
        fresh_s: a node that missed all of it: seconds from its start until it had applied it.
        restart_s: a node that had all of it in its snapshot: seconds from its start until it had applied it.
        logged: commands logged after its snapshot, before it was restarted again.
        logged_restart_s: the same with those.
        resident_mb: memory of the nodes after all commands, 10^6 bytes.
    """

    commands: int
    fresh_s: float
    restart_s: float
    logged: int
    logged_restart_s: float
    resident_mb: tuple[float, ...]


async def benchmark_catch_up(
    *,
    protocol: str = "multipaxos",
    commands: int = 1_000_000,
    logged: int = 100_000,
    loop: str = "asyncio",
    directory: str | os.PathLike[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> CatchUpFigures:
    """Start clusters of three real processes, measure, and stop them.

    Args:
        protocol: what they run.
        commands: how many there are to catch up with.
        logged: commands after the last snapshot.
        loop: of the nodes: "asyncio", "uvloop" or "trio".
        directory: on the disk to measure; None for a temporary one.
        progress: called with the share that is done, 0 to 1, now and then.

    Raises:
        NodeStopped: a process did not come up or ended.
        PaxosError: a call failed.
    """
    tell = progress or (lambda share: None)
    # Markers so often that a snapshot is nearly always being made.
    often = LogSettings(marker_requests=max(commands // 20, 1), growth=0)
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as place:
        async with bench_nodes(Path(place), 3, loop, protocol, log=often) as nodes:
            run = _Run(nodes, commands, tell, 0.0, 0.6)
            late = await run.kill_a_follower()
            await run.fill()
            resident = tuple(round((resident_bytes(pid) or 0) / 1e6, 1) for pid in nodes.pids if pid)
            fresh_s = await run.bring_back(late)
            await run.wait_for_snapshot(late)
            restart_s = await run.restart(late)
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as place:
        async with bench_nodes(Path(place), 3, loop, protocol, log=NO_MARKERS) as nodes:
            run = _Run(nodes, logged, tell, 0.9, 0.95)
            await run.fill()
            logged_restart_s = await run.restart(await run.a_follower())
    tell(1.0)
    return CatchUpFigures(commands, fresh_s, restart_s, logged, logged_restart_s, resident)


class _Run:
    """Work with one cluster."""

    def __init__(
        self, nodes: Nodes, commands: int, tell: Callable[[float], None], from_: float, upto: float
    ) -> None:
        self._nodes = nodes
        self._commands = commands
        self._progress = (tell, from_, upto)
        self._addresses = [node.address for node in nodes.config.nodes]

    async def fill(self) -> None:
        """Put so many keys."""
        tell, from_, upto = self._progress
        await fill(self._addresses, self._commands, lambda share: tell(from_ + share * (upto - from_)))

    async def a_follower(self) -> int:
        """A node that does not lead."""
        async with connect(self._addresses, timeout_s=_LIMIT_S) as client:
            while True:
                status = await client.status()
                leader = status.get("leader")
                if isinstance(leader, int):
                    return next(node for node in self._nodes.config.members if node != leader)
                await anyio.sleep(_LOOK_S)

    async def kill_a_follower(self) -> int:
        """As `kill -9` does."""
        node = await self.a_follower()
        self._nodes.kill(node)
        return node

    async def restart(self, node: int) -> float:
        """Kill a node and start it: seconds until it has applied what the others have."""
        self._nodes.kill(node)
        return await self.bring_back(node)

    async def bring_back(self, node: int) -> float:
        """Start a node: seconds until it has applied what the others have."""
        others = [address for at, address in enumerate(self._addresses, 1) if at != node]
        async with connect(others, timeout_s=_LIMIT_S) as client:
            target = (await client.status())["applied"]
        started_s = time.perf_counter()
        await self._nodes.start(node)
        await self._until(node, lambda status: _at_least(status.get("applied"), target))
        return time.perf_counter() - started_s

    async def wait_for_snapshot(self, node: int) -> None:
        """Until what a node applied is in its snapshot; more commands are put until the next one is due."""
        body = put(b"more", os.urandom(_VALUE_BYTES))
        async with connect(self._addresses, timeout_s=_LIMIT_S) as client:
            while True:
                status = await client.status(node)
                if status["snapshot_being_made"]:
                    await anyio.sleep(_LOOK_S)
                elif status["snapshot"] == status["markers"]:
                    return
                else:
                    await client.submit_many([body] * 1000)

    async def _until(self, node: int, holds: Callable[[dict[str, Any]], bool]) -> None:
        deadline_s = time.monotonic() + _LIMIT_S
        async with connect([self._addresses[node - 1]], timeout_s=_LIMIT_S) as client:
            while not holds(await client.status()):
                if time.monotonic() > deadline_s:
                    raise NodeStopped(f"node {node} did not catch up within {_LIMIT_S:g} s")
                await anyio.sleep(_LOOK_S)


def _at_least(applied: object, target: object) -> bool:
    return isinstance(applied, int) and isinstance(target, int) and applied >= target
