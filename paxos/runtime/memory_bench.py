"""Whether memory and disk stay bounded: very many commands, and one node down for half of them.

Three processes take commands, each to one of a limited number of keys.  When a quarter is done one node is
killed, after three quarters it is started again.  Now and then it is noted how much memory each process has
resident, how long the files of its store are, and what its replica says that it holds.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from paxos.errors import PaxosError
from paxos.runtime.bench_processes import Nodes, bench_nodes, resident_bytes
from paxos.runtime.opening import connect
from paxos.runtime.tasks import task_scope
from paxos.service import LogSettings
from paxos.service.keyvalue_requests import put

__all__ = ["MemorySample", "benchmark_memory"]

_NODES: Final = 3
# Small, so that there are many commands of the log, and not only many requests.
_CHUNK: Final = 100
_CALLS: Final = 64
_LIMIT_S: Final = 120.0
_LOOK_S: Final = 0.1
_VALUE_BYTES: Final = 16
_STATUS_S: Final = 5.0


@attrs.frozen
class MemorySample:
    """What one node had at one moment; None for what a node that is down does not have, or does not say.

    Args:
        commands: how many were done then.
        seconds: since the first.
        node: its id.
        resident_mb: memory, 10^6 bytes.
        store_mb: the files of its store, 10^6 bytes.
        applied: requests that it has carried out.
        instances: commands of the log that its replica holds.
        conflict_entries: keys that its replica knows to conflict with something.
    """

    commands: int
    seconds: float
    node: int
    resident_mb: float | None
    store_mb: float
    applied: int | None
    instances: int | None
    conflict_entries: int | None


async def benchmark_memory(
    *,
    protocol: str = "epaxos",
    commands: int = 1_000_000,
    keys: int = 10_000,
    samples: int = 20,
    loop: str = "asyncio",
    directory: str | os.PathLike[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[MemorySample]:
    """Start three real processes, give them work, and look.

    Args:
        protocol: what they run.
        commands: in all; the last node is down from a quarter of them to three quarters.
        keys: so many different ones.
        samples: how often to look, beside the end.
        loop: of the nodes.
        directory: on the disk to use; None for a temporary one.
        progress: called with the share that is done.

    Raises:
        NodeStopped: a process did not come up or ended.
        PaxosError: a call failed, or the node that was down did not catch up.
    """
    tell = progress or (lambda share: None)
    often = LogSettings(marker_requests=max(commands // 20, 1), growth=0)
    found: list[MemorySample] = []
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as place:
        async with bench_nodes(Path(place), _NODES, loop, protocol, log=often) as nodes:
            last = nodes.config.members[-1]
            addresses = [node.address for node in nodes.config.nodes]
            started_s = time.perf_counter()
            done = 0
            for part in range(samples):
                if part == samples // 4:
                    nodes.kill(last)
                elif part == samples * 3 // 4:
                    await nodes.start(last)
                upto = commands * (part + 1) // samples
                # The node that goes away is nobody's own.
                await _put(addresses[:-1], done, upto, keys)
                done = upto
                found += await _look(nodes, Path(place), done, started_s)
                tell(done / commands)
            await _until_level(addresses)
            found += await _look(nodes, Path(place), done, started_s)
    return found


async def _put(addresses: list[str], first: int, last: int, keys: int) -> None:
    value = os.urandom(_VALUE_BYTES)
    async with (
        connect(addresses, timeout_s=_LIMIT_S) as one,
        connect(addresses[::-1], timeout_s=_LIMIT_S) as other,
        task_scope() as group,
    ):
        limiter = anyio.Semaphore(_CALLS)

        async def submit(client: Any, bodies: list[bytes]) -> None:
            try:
                await client.submit_many(bodies)
            finally:
                limiter.release()

        for at in range(first, last, _CHUNK):
            await limiter.acquire()
            bodies = [put(b"key%013d" % (n % keys), value) for n in range(at, min(at + _CHUNK, last))]
            group.start_soon(submit, other if at // _CHUNK % 2 else one, bodies)


async def _status(address: str, timeout_s: float = _STATUS_S) -> dict[str, Any]:
    try:
        async with connect([address], timeout_s=timeout_s) as client:
            status: dict[str, Any] = await client.status()
            return status
    except PaxosError:
        return {}


async def _look(nodes: Nodes, place: Path, done: int, started_s: float) -> list[MemorySample]:
    found = []
    for id_, node, pid in zip(nodes.config.members, nodes.config.nodes, nodes.pids, strict=True):
        status = {} if pid is None else await _status(node.address)
        resident = None if pid is None else resident_bytes(pid)
        files = [each.stat().st_size for each in (place / str(id_)).rglob("*") if each.is_file()]
        found.append(
            MemorySample(
                commands=done,
                seconds=time.perf_counter() - started_s,
                node=id_,
                resident_mb=None if resident is None else resident / 1e6,
                store_mb=sum(files) / 1e6,
                applied=status.get("applied"),
                instances=status.get("instances"),
                conflict_entries=status.get("conflict_entries"),
            )
        )
    return found


async def _until_level(addresses: list[str]) -> None:
    """Until all nodes have carried out the same."""
    deadline_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline_s:
        applied = {(await _status(address)).get("applied") for address in addresses}
        if len(applied) == 1 and None not in applied:
            return
        await anyio.sleep(_LOOK_S)
    raise PaxosError(f"the node that was down did not catch up within {_LIMIT_S:g} s")
