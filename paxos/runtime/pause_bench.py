"""Whether one node that is stopped slows the clients of the others.

Processes run, with a client at each but the last.  Each client has a few calls under way, and makes the next
when one is answered.  After a while the last node is stopped (SIGSTOP): it holds its connections, and does
nothing.  Then it goes on.  What the clients of the others got done before, meanwhile and afterwards is told.
"""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import attrs

from paxos.errors import ConfigurationError
from paxos.runtime.bench_processes import Nodes, bench_nodes, percentile
from paxos.runtime.client import Client
from paxos.runtime.opening import connect
from paxos.runtime.tasks import task_scope

__all__ = ["PausePhase", "benchmark_pause"]

_LIMIT_S: Final = 60.0
_VALUE_BYTES: Final = 16
#: Keys of each client's own.
_KEYS: Final = 1000


@attrs.frozen
class PausePhase:
    """What the clients of the other nodes got done in one part of the time.

    Args:
        name: "before", "stopped" or "after".
        seconds: how long it was.
        commands: answered in it.
        median_ms: half of them took no longer.
        most_ms: the slowest of them; one that was answered later counts where it was answered.
    """

    name: str
    seconds: float
    commands: int
    median_ms: float
    most_ms: float

    @property
    def commands_per_s(self) -> float:
        """Commands answered a second."""
        return self.commands / self.seconds


async def benchmark_pause(
    *,
    protocol: str = "epaxos",
    nodes: int = 3,
    seconds: float = 5.0,
    calls: int = 8,
    conflicts: int = 0,
    loop: str = "asyncio",
    directory: str | os.PathLike[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[PausePhase]:
    """Start real processes, give them work, stop one, and let it go on.

    Args:
        protocol: what they run.
        nodes: how many.
        seconds: how long each of the three parts is.
        calls: under way at once at each client.
        conflicts: percent of the commands that put one key; the others put keys of their client's own.
        loop: of the nodes.
        directory: on the disk to use; None for a temporary one.
        progress: called with the share that is done.

    Raises:
        ConfigurationError: this system can not stop a process.
        NodeStopped: a process did not come up or ended.
        PaxosError: a call failed.
    """
    if not hasattr(signal, "SIGSTOP"):
        raise ConfigurationError("a process is stopped by a signal that this system does not have")
    tell = progress or (lambda share: None)
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as place:
        async with bench_nodes(Path(place), nodes, loop, protocol) as running:
            return await _measure(running, seconds, calls, conflicts, tell)


async def _measure(
    running: Nodes, seconds: float, calls: int, conflicts: int, tell: Callable[[float], None]
) -> list[PausePhase]:
    took_ms: list[float] = []
    phases = []
    others, last = running.config.nodes[:-1], running.pids[-1]
    assert last is not None, "all of them run"
    async with task_scope() as group:
        for node in others:
            group.start_soon(_work, [node.address], calls, conflicts, node.id, took_ms)
        await anyio.sleep(min(seconds, 1.0))  # until all are there
        try:
            for name, sign in (("before", None), ("stopped", signal.SIGSTOP), ("after", signal.SIGCONT)):
                if sign is not None:
                    os.kill(last, sign)
                took_ms.clear()
                began_s = time.perf_counter()
                await anyio.sleep(seconds)
                now_s, done = time.perf_counter(), took_ms.copy()
                phases.append(
                    PausePhase(
                        name,
                        now_s - began_s,
                        len(done),
                        percentile(done, 50) if done else float("nan"),
                        max(done, default=float("nan")),
                    )
                )
                tell(len(phases) / 3)
        finally:
            os.kill(last, signal.SIGCONT)
    return phases


async def _work(addresses: list[str], calls: int, conflicts: int, number: int, took_ms: list[float]) -> None:
    """One client's calls, for ever."""
    value = os.urandom(_VALUE_BYTES)

    async def put_on(client: Client, first: int) -> None:
        at = first
        while True:
            is_hot = at * conflicts // 100 != (at + 1) * conflicts // 100
            key = b"hot" if is_hot else b"%d/%d" % (number, at % _KEYS)
            began_s = time.perf_counter()
            await client.put(key, value)
            took_ms.append(1000 * (time.perf_counter() - began_s))
            at += calls

    async with connect(addresses, timeout_s=_LIMIT_S) as client, anyio.create_task_group() as group:
        for first in range(calls):
            group.start_soon(put_on, client, first)
