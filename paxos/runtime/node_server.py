"""One node of a real cluster: the tasks around its engine, from opening to a bounded end.

    listeners ── Inbound ──┐                        ┌── Caller (one for each peer) ── sockets
                           ├──> Engine ── outboxes ─┤
    clock ─────────────────┘        └── Disk        └── clients' connections

A node ends in one of three ways.  Asked to stop, it closes its ears first, finishes the batch that is on its
way to the disk, and closes the store; that takes a bounded time.  Cancelled, it does the same.  When it must
not go on (the disk failed, a rule is broken, its disk was lost) it stops by itself and keeps the error for
whoever waits for it.
"""

import logging
import os
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias, cast

import anyio
import anyio.to_thread
import attrs
from anyio.abc import SocketListener, TaskGroup

from paxos.ballot import NodeId
from paxos.contract import Configuration, Draw, Records
from paxos.errors import ConfigurationError, DiskLost, NodeStopped, RecordError, StoreError, StoreRefused
from paxos.runtime.config import Address, ClusterConfig, NodeConfig, parse_address
from paxos.runtime.connections import Inbound
from paxos.runtime.descriptors import available, fit
from paxos.runtime.disk import Disk
from paxos.runtime.engine import Engine, read_clocks
from paxos.runtime.events import EventSink, OnEvent
from paxos.runtime.handshake import (
    BOOT_BYTES,
    LOST_DISK,
    SUPERSEDED,
    Doorkeeper,
    Hello,
    Kind,
    Refused,
    pack_values,
)
from paxos.runtime.limits import Limits
from paxos.runtime.outbox import PeerOutbox
from paxos.runtime.peers import Caller
from paxos.runtime.store import Store, open_store
from paxos.runtime.tables import Tables
from paxos.runtime.tasks import plain, reason_of
from paxos.runtime.threads import run_in_daemon
from paxos.runtime.tls import Security
from paxos.runtime.trace_file import ClockedTable, TraceFile
from paxos.service import Node, lost_disk, require_charter
from paxos.service.revisions import orders_value

__all__ = ["NodeServer", "StoreOpener", "close_listeners", "listen", "open_configured_store"]

#: Opens the store of one node of a configuration.
StoreOpener: TypeAlias = Callable[[ClusterConfig, NodeId], Store]

#: How long to wait when the system has no room for another connection, seconds.
_ACCEPT_PAUSE_S: Final = 0.1
#: Connections that the system keeps for us until they are accepted.
_BACKLOG: Final = 1024


def open_configured_store(config: ClusterConfig, node: NodeId) -> Store:
    """The store that a configuration names for a node. Raises as `open_store`."""
    return open_store(config.node(node).store, cluster=config.id, node=node, protocol=config.protocol)


async def listen(host: str, port: int, node: NodeId) -> list[SocketListener]:
    """Listen at an address, port 0 for any.

    Raises:
        ConfigurationError: the address is taken, or not this machine's; one line.
    """
    try:
        multi = await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"node {node}: can not listen at {Address(host, port)}: {reason_of(error)}; "
            "stop what uses the address, or change it"
        ) from error
    # Each of them is a socket's; anyio declares no more than that it listens.
    return cast("list[SocketListener]", list(multi.listeners))


async def close_listeners(listeners: Sequence[SocketListener]) -> None:
    """Stop listening, also when cancelled."""
    with anyio.CancelScope(shield=True):
        for listener in listeners:
            await listener.aclose()


class NodeServer:
    """Runs one node; see the room's header.

    Args:
        config: the cluster's.
        node: which of its nodes.
        on_event: called with each event.
        limits: bounds.
        opener: opens the store.
        trace: what handlers do is written there; None for a node that does not trace.
        skip: the client and number of a request that counts as carried out if the state machine raises on it.
        sharing: how many nodes there are in this process, which share its descriptors.

    Raises:
        ConfigurationError: there is no such node, or a file of its TLS can not be used.
    """

    def __init__(
        self,
        config: ClusterConfig,
        node: NodeId,
        *,
        on_event: OnEvent | None = None,
        limits: Limits | None = None,
        opener: StoreOpener = open_configured_store,
        trace: TraceFile | None = None,
        skip: tuple[bytes, int] | None = None,
        sharing: int = 1,
    ) -> None:
        self.config = config
        self.node_config: NodeConfig = config.node(node)
        self.id = node
        self.events: EventSink = EventSink(node, on_event, trace)
        wanted = limits or Limits()
        #: The bounds that were asked for, or lower ones where the system does not allow as many connections.
        self.limits: Limits = fit(wanted, len(config.nodes), available() // sharing)
        self._has_fewer = self.limits != wanted
        #: Why the node stopped by itself; None while it has not.
        self.failure: Exception | None = None
        #: Set when the node has ended, however.
        self.ended: anyio.Event = anyio.Event()
        self._opener = opener
        self._security = Security(config.tls, node)
        self._protocol = config.description()
        self._tables = Tables.of(self._protocol)
        self._trace = trace
        self._skip = skip
        if trace is not None:
            clocked = ClockedTable(self._tables.from_peer, trace)
            self._tables = attrs.evolve(self._tables, from_peer=clocked)
        self._stop = anyio.Event()
        self._random = random.Random()
        self._engine: Engine | None = None
        self._callers: dict[NodeId, Caller] = {}

    # --- what its holder calls ----------------------------------------------------------------------

    async def run(
        self, listeners: Sequence[SocketListener] | None = None, ready: anyio.Event | None = None
    ) -> None:
        """Open the store and serve until stopped. May be called once.

        Args:
            listeners: already listening at the node's address; None to listen here. Closed at the end.
            ready: set when the node serves.

        Raises:
            ConfigurationError, StoreRefused, RecordError: it could not start.
            PaxosError: it stopped by itself; the same as `failure`.
        """
        ears = list(listeners) if listeners is not None else []
        try:
            if listeners is None:
                address = parse_address(self.node_config.address)
                ears = await listen(address.host, address.port, self.id)
            store = await self._open_store()
            disk: Disk | None = None
            try:
                disk = await self._assemble(store)
                await self._serve(ears, disk, ready)
            finally:
                if disk is None:
                    # One that is still being read is closed at the end of the process.
                    with suppress(StoreError), anyio.CancelScope(shield=True):
                        with anyio.move_on_after(self.limits.stop_s):
                            await run_in_daemon(store.close, "paxos-store-close")
                else:
                    await disk.close()
                self.events.say("stopped", "stopped", level=logging.INFO)
        finally:
            await close_listeners(ears)
            self.ended.set()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Ask the node to end; `ended` says when it has."""
        self._stop.set()

    def status(self) -> dict[str, object]:
        """How the node does: JSON-able.

        Raises:
            NodeStopped: it does not run.
        """
        if self._engine is None:
            raise NodeStopped(f"node {self.id} does not run")
        return self._engine.status()

    # --- starting -----------------------------------------------------------------------------------

    async def _open_store(self) -> Store:
        # An opening is not cut short, except that a disk which hangs must not keep the node from ending.
        return await run_in_daemon(
            partial(self._opener, self.config, self.id),
            "paxos-store-open",
            dispose=lambda store: store.close(),
            grace_s=self.limits.stop_s,
        )

    async def _assemble(self, store: Store) -> Disk:
        """Build everything from what the store holds."""
        records = await run_in_daemon(store.load, "paxos-store-load", grace_s=self.limits.stop_s)
        store_id = bytes.fromhex(store.card.store_id)
        draw: Draw = lambda _, bound: self._random.randrange(bound)  # noqa: E731
        node = self._make_node(store_id, records, draw)
        mine = Hello(
            Kind.PEER,
            self.config.id,
            self.config.protocol,
            self.id,
            store_id,
            store.card.incarnation,
            os.urandom(BOOT_BYTES),
            pack_values(
                {
                    **self.config.agreed(),
                    **orders_value(self.config.description().orders),
                    "messages": self._tables.from_peer.digest(),
                }
            ),
        )
        boxes = {
            peer: PeerOutbox(self._tables.from_peer, int(self.limits.peer_bytes), self._drop_reporter(peer))
            for peer in self.config.members
            if peer != self.id
        }
        self._engine = engine = Engine(node, boxes, self.events, self._fail)
        doorkeeper = Doorkeeper(mine, self.config.members, node.identity, engine.touch)
        for peer, box in boxes.items():
            box.address = self.config.node(peer).address
            self._callers[peer] = Caller(
                peer,
                box.address,
                box,
                doorkeeper,
                self._security,
                self.limits,
                draw,
                self.events,
                self._refused,
            )
        self._inbound = Inbound(
            engine,
            doorkeeper,
            self._security,
            self._tables,
            self.limits,
            self.events,
            lambda hello: self._callers[hello.node].nudge(hello),
            self._refused,
        )
        if self._has_fewer:
            self._tell_of_few_descriptors()
        disk = Disk(
            store, engine.released, engine.stop, self.events, self.limits.disk_bytes, drained=engine.touch
        )
        engine.start(disk)
        self.events.say(
            "started",
            f"serves at {self.node_config.address}: store {self.node_config.store}, "
            f"incarnation {store.card.incarnation}, {len(records)} records",
            incarnation=store.card.incarnation,
        )
        return disk

    def _make_node(self, store_id: bytes, records: Records, draw: Draw) -> Node:
        """The node that was in the store. Raises StoreRefused."""
        config, configuration = self.config, self._configuration()
        asked = "the configuration" if config.path is None else config.path.name
        machine_name = config.machine or ""
        try:
            # The node sees to it as well, but does not know where the configuration came from.
            require_charter(self._protocol, configuration, records, asked, machine_name)
            return Node(
                self._protocol,
                configuration,
                store_id,
                records,
                draw,
                read_clocks(),
                machine=config.machine_maker(),
                log=config.log,
                machine_name=machine_name,
                skip=self._skip,
            )
        except (RecordError, StoreRefused) as error:
            raise StoreRefused(f"store {self.node_config.store}: {error}") from error

    def _tell_of_few_descriptors(self) -> None:
        self.events.say(
            "descriptors",
            f"this process may have {available()} files and sockets open, so at most "
            f"{self.limits.clients:g} clients are served; raise the limit (ulimit -n) for more",
        )

    def _configuration(self) -> Configuration:
        return Configuration(
            self.id,
            self.config.quorum_system(),
            self.config.settings,
            trace=self._trace is not None,
            observers=self.config.observers,
        )

    def _drop_reporter(self, peer: NodeId) -> Callable[[int], None]:
        reported = 0

        def report(dropped: int) -> None:
            nonlocal reported
            # Said when it has doubled: a peer that is away for hours is not worth a line for each message.
            if dropped >= 2 * reported:
                reported = dropped
                self.events.say(
                    "dropped",
                    f"the queue to node {peer} is full: {dropped} oldest messages dropped so far",
                    level=logging.WARNING,
                    peer=peer,
                    dropped=dropped,
                )

        return report

    # --- serving ------------------------------------------------------------------------------------

    async def _serve(self, ears: list[SocketListener], disk: Disk, ready: anyio.Event | None) -> None:
        engine = self._engine
        assert engine is not None
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(disk.run)
                group.start_soon(engine.run_clock)
                for caller in self._callers.values():
                    group.start_soon(caller.run)
                for ear in ears:
                    group.start_soon(self._accept, ear, group)
                try:
                    if ready is not None:
                        ready.set()
                    await self._stop.wait()
                    await close_listeners(ears)
                finally:
                    # The shield of the disk's own scope outlasts the cancellation of everything else.
                    disk.finish(self.limits.stop_s)
                    group.cancel_scope.cancel()
        except BaseExceptionGroup as error:
            raise plain(error) from None
        finally:
            engine.stopped = True

    async def _accept(self, ear: SocketListener, group: TaskGroup) -> None:
        has_failed = False
        while True:
            try:
                stream = await ear.accept()
            except anyio.ClosedResourceError:
                return
            except (OSError, anyio.BrokenResourceError) as error:
                # Too many open files, or a caller that was gone before it was accepted.
                if not has_failed:
                    text = f"a connection could not be accepted: {reason_of(error)}"
                    self.events.say("accept", text, level=logging.WARNING)
                has_failed = True
                await anyio.sleep(_ACCEPT_PAUSE_S)
                continue
            has_failed = False
            group.start_soon(self._inbound.serve, stream)

    def _fail(self, error: Exception) -> None:
        """Stop by itself."""
        if self.failure is None:
            self.failure = error
            self.events.say("failed", f"stops itself: {error}", level=logging.CRITICAL)
        self._stop.set()

    def _refused(self, peer: NodeId, refused: Refused) -> None:
        """A peer refuses this node. What it says about this node's store may be reason to stop."""
        engine = self._engine
        if engine is None or engine.stopped:
            return
        identity = engine.node.identity
        if refused.code == SUPERSEDED and refused.store_id == identity.store_id:
            # The one that is refused stops, whatever it has voted: the peer will not count it again, and
            # others that have not met the newer copy would.
            engine.give_up(NodeStopped(refused.reason))
        elif refused.code == LOST_DISK and not identity.introduced:
            # Who may vote already is sure of its own.
            text = refused.reason
            if not text.startswith(f"node {self.id} lost its disk"):
                text = lost_disk(self.id, identity.store_id, peer, refused.store_id)
            engine.stop(DiskLost(text))
