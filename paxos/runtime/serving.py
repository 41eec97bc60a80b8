"""Running one node as a process of its own: until a signal, or until it stops itself."""

import os
import signal
import sys
from collections.abc import Callable

import anyio
import attrs

from paxos.ballot import NodeId
from paxos.runtime.config import ClusterConfig
from paxos.runtime.events import OnEvent
from paxos.runtime.limits import Limits
from paxos.runtime.opening import RunningNode, open_node
from paxos.runtime.tasks import run_until_first

__all__ = ["NodeExit", "run_node"]


@attrs.frozen
class NodeExit:
    """How a node's process came to its end.

    Args:
        node: which.
        signal: the name of the signal that stopped it: SIGTERM, SIGINT or SIGHUP.
        status: how it did at the end.
    """

    node: NodeId
    signal: str
    status: dict[str, object]


async def run_node(
    config: ClusterConfig | str | os.PathLike[str],
    node: NodeId | None = None,
    *,
    on_event: OnEvent | None = None,
    on_ready: Callable[[RunningNode], None] | None = None,
    limits: Limits | None = None,
) -> NodeExit:
    """Run one node until SIGTERM, SIGINT or SIGHUP, then stop it gracefully, in bounded time.

    Must run on the main thread, where Python takes signals.

    Args:
        config: the cluster's configuration, or the path of its file.
        node: which of its nodes; None when there is only one.
        on_event: called with each event.
        on_ready: called when it serves.
        limits: bounds; None for the defaults. `limits.stop_s` bounds the stop.

    Returns:
        Which signal it was.

    Raises:
        ConfigurationError, StoreRefused: it could not start.
        NodeStopped, StoreFailed, ProtocolBreach: it stopped by itself.
    """
    caught: list[str] = []

    # Signals are taken from the very beginning: one that comes while the node starts waits until it has.
    with anyio.open_signal_receiver(*_stop_signals()) as signals:

        async def wait_for_signal() -> None:
            async for each in signals:
                caught.append(signal.Signals(each).name)
                return

        async with open_node(config, node, on_event=on_event, limits=limits) as running:
            if on_ready is not None:
                on_ready(running)
            await run_until_first(wait_for_signal, running.wait_stopped)
            return NodeExit(running.id, caught[0] if caught else "", running.status())


def _stop_signals() -> tuple[signal.Signals, ...]:
    """What stops a node: SIGHUP too, which is what closing its terminal sends."""
    if sys.platform == "win32":
        return (signal.SIGINT,)
    return (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
