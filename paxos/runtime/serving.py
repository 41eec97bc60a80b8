"""Running one node as a process of its own: until a signal, or until it stops itself."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import anyio
import attrs

from paxos.ballot import NodeId
from paxos.runtime.config import ClusterConfig, load_cluster
from paxos.runtime.descriptors import needed, raise_limit
from paxos.runtime.events import OnEvent
from paxos.runtime.limits import Limits
from paxos.runtime.opening import RunningNode, open_node
from paxos.runtime.tasks import run_until_first
from paxos.runtime.trace_file import TraceFile

__all__ = ["NodeExit", "run_node"]


#: Objects made beyond those that went, until the collector looks for cycles.
_COLLECT_AFTER: Final = 50_000


@attrs.frozen
class NodeExit:
    """How a node's process came to its end.

    Args:
        node: which.
        signal: the name of the signal that stopped it: SIGTERM, SIGINT or SIGHUP.
        status: how it did at the end; empty when it had not yet started.
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
    trace_events: str | os.PathLike[str] | None = None,
    skip: tuple[bytes, int] | None = None,
) -> NodeExit:
    """Run one node until SIGTERM, SIGINT or SIGHUP, then stop it gracefully, in bounded time.

    Must run on the main thread, where Python takes signals.

    Args:
        config: the cluster's configuration, or the path of its file.
        node: which of its nodes; None when there is only one.
        on_event: called with each event.
        on_ready: called when it serves.
        limits: bounds; None for the defaults. `limits.stop_s` bounds the stop.
        trace_events: the file to which it adds what its handlers do, for trace validation; None for none.
        skip: as in `open_node`.

    Returns:
        Which signal it was.

    Raises:
        ConfigurationError, StoreRefused: it could not start.
        NodeStopped, StoreFailed, ProtocolBreach: it stopped by itself.
    """
    cluster = config if isinstance(config, ClusterConfig) else load_cluster(config)
    # This process is the node's own; a user's is left as it is.
    raise_limit(needed(limits or Limits(), len(cluster.nodes)))
    caught: list[str] = []
    ended: list[NodeExit] = []
    starting = anyio.CancelScope()
    asked: anyio.Event | None = None

    # Signals are taken from the very beginning: one that comes while the node starts ends the start.
    with ExitStack() as kept, anyio.open_signal_receiver(*_stop_signals()) as signals:
        trace: TraceFile | None = None
        if trace_events is not None:
            mine = cluster.members[0] if node is None else node
            trace = TraceFile(trace_events, mine, protocol=cluster.protocol, cluster=cluster.id)
            kept.enter_context(trace)

        async def wait_for_signals() -> None:
            async for each in signals:
                caught.append(signal.Signals(each).name)
                if asked is None:
                    starting.cancel()
                else:
                    asked.set()

        async def serve() -> None:
            nonlocal asked
            with starting:
                async with open_node(
                    cluster, node, on_event=on_event, limits=limits, trace=trace, skip=skip
                ) as running:
                    _spare_the_collector()
                    asked = anyio.Event()
                    if on_ready is not None:
                        on_ready(running)
                    await run_until_first(asked.wait, running.wait_stopped)
                    ended.append(NodeExit(running.id, caught[0] if caught else "", running.status()))

        await run_until_first(serve, wait_for_signals)
    return ended[0] if ended else NodeExit(node or cluster.members[0], caught[0], {})


def _spare_the_collector() -> None:
    """What was made until now stays until the end, and nodes make hardly a cycle: look for them rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])


def _stop_signals() -> tuple[signal.Signals, ...]:
    """What stops a node: SIGHUP too, which is what closing its terminal sends."""
    if sys.platform == "win32":
        return (signal.SIGINT,)
    return (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
