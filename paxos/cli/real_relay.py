"""`python -m paxos.cli.real_relay`: a relay as a process of its own, for measurements of real nodes.

Its first line of input says who is where, and how late everything is to arrive; its one line of output says
at which port each finds each.  It ends when its input does, so it outlives nobody who started it.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

from paxos.ballot import NodeId
from paxos.cli.torture.network import Network
from paxos.errors import NodeStopped

__all__ = ["Ways", "main", "relay_process"]

#: From whom to whom.
Ways = tuple[NodeId, NodeId]
_LINE_BYTES: Final = 1 << 20
_STOP_S: Final = 2.0


@asynccontextmanager
async def relay_process(
    real: Mapping[NodeId, int], delays_s: Mapping[Ways, float]
) -> AsyncIterator[dict[Ways, int]]:
    """A relay while the block runs.

    Args:
        real: where each node really listens: the port, on the loopback interface.
        delays_s: of each way on which something goes, seconds; who is no node is a client.

    Returns:
        Where the first finds the second, by way.

    Raises:
        NodeStopped: it did not come up.
    """
    told = {"real": list(real.items()), "delays_s": [[*way, late_s] for way, late_s in delays_s.items()]}
    # A Ctrl-C in the terminal is for whoever started it.
    process = await anyio.open_process(
        [sys.executable, "-m", __name__], stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdin.send(json.dumps(told).encode() + b"\n")
        try:
            line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", _LINE_BYTES)
        except anyio.EndOfStream:
            raise NodeStopped("the relay of the measurement did not come up") from None
        yield {(source, target): port for source, target, port in json.loads(line)}
    finally:
        with anyio.CancelScope(shield=True):
            await process.stdin.aclose()
            with anyio.move_on_after(_STOP_S):
                await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def _relay(told: Mapping[str, list[list[float]]]) -> None:
    real = {int(node): int(port) for node, port in told["real"]}
    delays_s = {(int(source), int(target)): late_s for source, target, late_s in told["delays_s"]}
    everyone = {node for way in delays_s for node in way}
    async with anyio.create_task_group() as tasks:
        network = Network(real, sorted(everyone - set(real)))
        await network.open(tasks)
        for way, late_s in delays_s.items():
            network.slow([way], late_s)
        print(json.dumps([[*way, port] for way, port in network.ports.items()]), flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        tasks.cancel_scope.cancel()


def main() -> None:
    """Relay until nobody needs it any more."""
    anyio.run(_relay, json.loads(sys.stdin.readline()))


if __name__ == "__main__":
    main()
