"""The network of a campaign: every connection goes through this process, which can cut it.

Each node is told addresses of the others at which nobody but this room listens; it hands on what it reads
to where the node really is.  Every ordered pair of nodes has an address of its own, so it is known whose
connection it is; clients come through as node 0.  What goes from one node to another, in whichever
connection, is a *way*: it can be slow, or take nothing for a while.  As with TCP nothing is lost as long as
the connection stays: what a way did not take comes late, unless the connection is broken meanwhile.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup
from anyio.streams.stapled import MultiListener

from paxos.ballot import NodeId
from paxos.runtime.tasks import CONNECTION_ERRORS, run_until_first

__all__ = ["CLIENTS", "Network"]

#: The "node" that all clients are.
CLIENTS: Final = 0
_LOOPBACK: Final = "127.0.0.1"
_READ_BYTES: Final = 64 * 1024
#: Reads that are on their way at once in one direction of a connection; beyond, it is not read.
_PIECES: Final = 64


class _Way:
    """From one node to another."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._open = anyio.Event()
        self._open.set()

    def stall(self) -> None:
        """Take nothing from now on."""
        if self._open.is_set():
            self._open = anyio.Event()

    def resume(self) -> None:
        """Take it again."""
        self._open.set()

    async def pass_through(self, due_s: float) -> None:
        """Wait until what is due then may arrive."""
        while True:
            await self._open.wait()
            now_s = anyio.current_time()
            if now_s >= due_s:
                return
            await anyio.sleep(due_s - now_s)


class Network:
    """All connections of one cluster.

    Args:
        real: where each node really listens: the port, on the loopback interface.
        outsiders: who else calls nodes, under ids that are no node's.
    """

    def __init__(self, real: dict[NodeId, int], outsiders: Sequence[NodeId] = (CLIENTS,)) -> None:
        self._real = real
        everyone = (*outsiders, *real)
        self._ways = {(a, b): _Way() for a in everyone for b in everyone if a != b}
        self._cut: set[tuple[NodeId, NodeId]] = set()
        self._connections: dict[tuple[NodeId, NodeId], set[anyio.CancelScope]] = {}
        #: Where `source` finds `target`, by (source, target).
        self.ports: dict[tuple[NodeId, NodeId], int] = {}

    async def open(self, tasks: TaskGroup) -> None:
        """Listen for every pair, until the tasks are cancelled."""
        for source, target in self._ways:
            if target not in self._real:
                continue
            listener = await anyio.create_tcp_listener(local_host=_LOOPBACK, local_port=0)
            self.ports[source, target] = listener.extra(SocketAttribute.local_port)
            self._connections[source, target] = set()

            async def carry(near: SocketStream, source: NodeId = source, target: NodeId = target) -> None:
                await self._carry(near, source, target)

            tasks.start_soon(_serve, listener, carry)

    def address(self, source: NodeId, target: NodeId) -> str:
        """Where `source` finds `target`."""
        return f"{_LOOPBACK}:{self.ports[source, target]}"

    # --- what can go wrong --------------------------------------------------------------------------

    def stall(self, ways: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Let these ways take nothing."""
        for way in ways:
            self._ways[way].stall()

    def slow(self, ways: Iterable[tuple[NodeId, NodeId]], delay_s: float) -> None:
        """Let what takes these ways arrive later."""
        for way in ways:
            self._ways[way].delay_s = delay_s

    def cut(self, ways: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Break the connections that were made these ways, and let none be made."""
        chosen = list(ways)
        self._cut.update(chosen)
        self.reset(chosen)

    def reset(self, ways: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Break the connections that were made these ways."""
        for way in ways:
            for scope in list(self._connections.get(way, ())):
                scope.cancel()

    def heal(self, ways: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Let these ways be as at first."""
        for each in ways:
            self._cut.discard(each)
            way = self._ways[each]
            way.delay_s = 0.0
            way.resume()

    def heal_all(self) -> None:
        """Let all be as at first."""
        self.heal(self._ways)

    # --- carrying -----------------------------------------------------------------------------------

    async def _carry(self, near: SocketStream, source: NodeId, target: NodeId) -> None:
        connections = self._connections[source, target]
        scope = anyio.CancelScope()
        connections.add(scope)
        try:
            with scope:
                if (source, target) not in self._cut:
                    # A packet that is lost is also the first one.
                    await self._ways[source, target].pass_through(0.0)
                    await self._join(near, source, target)
        except CONNECTION_ERRORS:
            pass  # whoever sees it calls again
        finally:
            connections.discard(scope)
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(near)

    async def _join(self, near: SocketStream, source: NodeId, target: NodeId) -> None:
        far = await anyio.connect_tcp(_LOOPBACK, self._real[target])
        try:
            await run_until_first(
                lambda: _pump(near, far, self._ways[source, target]),
                lambda: _pump(far, near, self._ways[target, source]),
            )
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(far)


async def _serve(
    listener: MultiListener[SocketStream], carry: Callable[[SocketStream], Awaitable[None]]
) -> None:
    async with listener:
        await listener.serve(carry)


async def _pump(source: SocketStream, sink: SocketStream, way: _Way) -> None:
    """Carry one direction until its source ends and everything has arrived."""
    put, take = anyio.create_memory_object_stream[tuple[float, bytes]](_PIECES)

    async def read() -> None:
        try:
            while True:
                data = await source.receive(_READ_BYTES)
                await put.send((anyio.current_time() + way.delay_s, data))
        except CONNECTION_ERRORS:
            put.close()

    with put, take:
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            async for due_s, data in take:
                await way.pass_through(due_s)
                await sink.send(data)
            await way.pass_through(0.0)  # the end of a connection, too, has to arrive
            group.cancel_scope.cancel()
