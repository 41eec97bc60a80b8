"""What users open: a connection to a cluster, one node of it, or a whole cluster in this process.

Each is an `async with` that owns every task it starts: when the block is left, however, the tasks have
ended, in bounded time, and what comes out is the exception that the block raised, or the one that stopped
a node, as it is.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import SocketListener, TaskGroup

from paxos.ballot import NodeId
from paxos.contract import StateMachine, find_protocol
from paxos.errors import ConfigurationError, NodeStopped
from paxos.runtime.client import Client
from paxos.runtime.config import ClusterConfig, NodeConfig, QuorumSpec, TlsConfig, load_cluster
from paxos.runtime.events import OnEvent
from paxos.runtime.limits import Limits
from paxos.runtime.node_server import (
    NodeServer,
    StoreOpener,
    close_listeners,
    listen,
    open_configured_store,
)
from paxos.runtime.store import MemoryDisk, Store
from paxos.runtime.tasks import task_scope
from paxos.runtime.tls import Security
from paxos.runtime.trace_file import TraceFile
from paxos.service.machines import machine_name
from paxos.service.settings import LogSettings

__all__ = ["Cluster", "RunningNode", "connect", "open_cluster", "open_node"]

_LOOPBACK: Final = "127.0.0.1"
_TIMEOUT_S: Final = 10.0
#: How long an address may stay taken before a restarted node gives up, seconds.
_REBIND_S: Final = 2.0


# --- a connection ------------------------------------------------------------------------------------


@asynccontextmanager
async def connect(
    addresses: Sequence[str],
    *,
    tls: TlsConfig | None = None,
    cluster: str | None = None,
    timeout_s: float = _TIMEOUT_S,
    prefer: NodeId | None = None,
) -> AsyncIterator[Client]:
    """A client of the cluster whose nodes listen at these addresses.

    It connects to one node and goes on to the next when that one is gone.  No node need be up yet: a call
    waits for one, as long as it has time.  Where nobody leads (EPaxos), any node serves any client: there it
    goes to the nearest, by measured round trips, from that to the next nearest, and back when it can.

    Args:
        addresses: `host:port` of some or all nodes. Where the leader is, if it is none of these, they say;
            nodes that are not named here are of no help when these are all gone.
        tls: the files of mutual TLS; `{id}` in them stands for `client`. None for plain connections.
        cluster: the cluster's id, to be sure of it; None to go by the first node that answers.
        timeout_s: how long a call takes at most unless it says otherwise, seconds.
        prefer: the id of the node to talk to, where nobody leads, while it can be reached; None for the
            nearest. Where somebody leads, the leader is talked to.

    Raises:
        ConfigurationError: an address that is none, or a TLS file that can not be used.
    """
    client = Client(addresses, Security(tls, "client"), cluster, timeout_s, prefer)
    async with task_scope() as tasks:
        tasks.start_soon(client.run)
        yield client


# --- one node ----------------------------------------------------------------------------------------


class RunningNode:
    """One node of a real cluster, running in this process; made by `open_node`."""

    def __init__(self, server: NodeServer) -> None:
        self._server = server
        self._told = False

    @property
    def id(self) -> NodeId:
        """The node's id."""
        return self._server.id

    @property
    def config(self) -> ClusterConfig:
        """The cluster's configuration."""
        return self._server.config

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._server.node_config.address

    def status(self) -> dict[str, object]:
        """How it does: JSON-able."""
        return self._server.status()

    def stop(self) -> None:
        """Ask it to stop; `wait_stopped` says when it has."""
        self._server.stop()

    async def wait_stopped(self) -> None:
        """Wait until it has stopped.

        Raises:
            PaxosError: it stopped by itself; why.
        """
        await self._server.ended.wait()
        if self._server.failure is not None:
            self._told = True
            raise self._server.failure

    async def run(self, listeners: Sequence[SocketListener] | None, ready: "_Ready") -> None:
        """Run the node; what it raises is kept for its holder."""
        try:
            await self._server.run(listeners, ready.event)
        except Exception as error:
            ready.error = error
            if self._server.failure is None:
                self._server.failure = error
        finally:
            ready.event.set()

    @property
    def is_untold(self) -> bool:
        """Whether it stopped by itself and nobody has heard why."""
        return self._server.failure is not None and not self._told

    def check(self) -> None:
        """Raise why it stopped by itself, unless somebody has been told."""
        if self._server.failure is not None and not self._told:
            self._told = True
            raise self._server.failure


class _Ready:
    """Whether a node came up."""

    def __init__(self) -> None:
        self.event: anyio.Event = anyio.Event()
        self.error: Exception | None = None


async def _start(
    tasks: TaskGroup, server: NodeServer, listeners: Sequence[SocketListener] | None
) -> RunningNode:
    """Start a node and wait until it serves. Cancelled, it stops the node and waits until it has ended.

    Raises:
        ConfigurationError, StoreRefused: it could not start.
        PaxosError: it stopped by itself, or was stopped, before it served.
    """
    node, ready = RunningNode(server), _Ready()
    tasks.start_soon(node.run, listeners, ready)
    try:
        await ready.event.wait()
    except BaseException:
        await _stop([node])
        raise
    if ready.error is not None:
        raise ready.error
    if server.ended.is_set():
        node.check()
        raise NodeStopped(f"node {node.id} was stopped while it started")
    return node


async def _stop(nodes: Sequence[RunningNode]) -> None:
    """Stop nodes gracefully; each bounds its own stop."""
    with anyio.CancelScope(shield=True):
        for node in nodes:
            node.stop()
        for node in nodes:
            await node._server.ended.wait()


@asynccontextmanager
async def open_node(
    config: ClusterConfig | str | os.PathLike[str],
    node: NodeId | None = None,
    *,
    on_event: OnEvent | None = None,
    limits: Limits | None = None,
    open_store: StoreOpener = open_configured_store,
    trace: TraceFile | None = None,
    skip: tuple[bytes, int] | None = None,
) -> AsyncIterator[RunningNode]:
    """Run one node of a real cluster while the block runs.

    Args:
        config: the cluster's configuration, or the path of its file.
        node: which of its nodes; None when there is only one.
        on_event: called with each event, at once, on the event loop.
        limits: bounds; None for the defaults.
        open_store: opens the store in place of the one the configuration names.
        trace: what its handlers do is written there, for trace validation; None for no tracing.
        skip: the client and number of a request that counts as carried out, with an empty answer, if the
            state machine raises on it: an operator's decision, to be given to every node of the cluster.

    Raises:
        ConfigurationError: the configuration can not work, or the address is taken.
        StoreRefused: the store is not this node's, is in use, or is damaged.
        NodeStopped, StoreFailed, ProtocolBreach: at the end of the block, when the node stopped by itself and
            nobody heard of it through `wait_stopped`.
    """
    cluster = config if isinstance(config, ClusterConfig) else load_cluster(config)
    if node is None:
        if len(cluster.nodes) > 1:
            raise ConfigurationError(f"{cluster.where}say which node to run; there are {cluster.members}")
        node = cluster.members[0]
    server = NodeServer(
        cluster, node, on_event=on_event, limits=limits, opener=open_store, trace=trace, skip=skip
    )
    async with task_scope() as tasks:
        running = await _start(tasks, server, None)
        try:
            yield running
        finally:
            await _stop([running])
        running.check()


# --- a cluster in this process -----------------------------------------------------------------------


class Cluster:
    """Several nodes in this process, on real sockets; made by `open_cluster`."""

    def __init__(
        self,
        config: ClusterConfig,
        tasks: TaskGroup,
        opener: StoreOpener,
        on_event: OnEvent | None,
        limits: Limits | None,
        timeout_s: float,
    ) -> None:
        self._config = config
        self._tasks = tasks
        self._opener = opener
        self._on_event = on_event
        self._limits = limits
        self._timeout_s = timeout_s
        self._clients: dict[NodeId | None, Client] = {}
        self._nodes: dict[NodeId, RunningNode] = {}
        # Starting and stopping a node are done one after the other.
        self._turns: dict[NodeId, anyio.Lock] = {node: anyio.Lock() for node in config.members}
        # Those that ended, as far as nobody may have heard why.
        self._leftover: list[RunningNode] = []

    @property
    def config(self) -> ClusterConfig:
        """The cluster's configuration, with the real addresses."""
        return self._config

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the nodes listen, by ascending id; what `connect` takes."""
        return tuple(node.address for node in self._config.nodes)

    @property
    def nodes(self) -> Mapping[NodeId, RunningNode]:
        """The nodes that run now, by id."""
        return dict(self._nodes)

    def client(self, node: NodeId | None = None) -> Client:
        """A client that lives as long as the cluster; asked again, the same one.

        Args:
            node: the node to talk to while it is up; None for the first. Where somebody leads, that one has
                the last word.

        Raises:
            ConfigurationError: there is no such node.
        """
        if node not in self._clients:
            first = [] if node is None else [self._config.node(node).address]
            security = Security(self._config.tls, "client")
            prefer = self._config.members[0] if node is None else node
            client = Client([*first, *self.addresses], security, self._config.id, self._timeout_s, prefer)
            self._clients[node] = client
            self._tasks.start_soon(client.run)
        return self._clients[node]

    async def stop_node(self, node: NodeId) -> None:
        """Stop a node as SIGTERM would. Stopping one that is stopped does nothing.

        Raises:
            ConfigurationError: there is no such node.
            PaxosError: it had stopped by itself; why.
        """
        self._config.node(node)
        async with self._turns[node]:
            running = self._nodes.pop(node, None)
            if running is not None:
                await _stop([running])
                running.check()

    async def start_node(self, node: NodeId) -> None:
        """Start a node that was stopped, with the store that it had. Starting one that runs does nothing.

        One that stopped by itself is started as well; if nobody has heard why it stopped, the cluster's block
        says so at its end.  Cancelled, it leaves a node that does not run.

        Raises:
            ConfigurationError: there is no such node, or its address was taken meanwhile.
            StoreRefused: its store is not what it was.
        """
        self._config.node(node)
        async with self._turns[node]:
            running = self._nodes.get(node)
            if running is not None:
                if not running._server.ended.is_set():
                    return
                ended = self._nodes.pop(node)
                if ended.is_untold and not self._leftover:
                    self._leftover.append(ended)
            await self._start_node(node, await self._listen_again(node))

    async def _listen_again(self, node: NodeId) -> list[SocketListener]:
        # Somebody's outgoing connection may have the port for a moment.
        config = self._config.node(node)
        deadline_s = anyio.current_time() + _REBIND_S
        while True:
            try:
                return await listen(config.host, config.port, node)
            except ConfigurationError:
                if anyio.current_time() > deadline_s:
                    raise
                await anyio.sleep(0.05)

    async def _start_node(self, node: NodeId, listeners: Sequence[SocketListener]) -> None:
        try:
            server = NodeServer(
                self._config,
                node,
                on_event=self._on_event,
                limits=self._limits,
                opener=self._opener,
                sharing=len(self._config.nodes),
            )
        except BaseException:
            await close_listeners(listeners)
            raise
        self._nodes[node] = await _start(self._tasks, server, listeners)

    async def _close(self) -> None:
        nodes = list(self._nodes.values())
        await _stop(nodes)
        self._nodes.clear()
        self._leftover += nodes

    def _check(self) -> None:
        for node in self._leftover:
            node.check()


@asynccontextmanager
async def open_cluster(
    protocol: str = "paxos",
    nodes: int = 3,
    *,
    store: str | os.PathLike[str] = "memory",
    machine: str | type[StateMachine] | None = None,
    settings: Any = None,
    log: LogSettings | None = None,
    quorums: QuorumSpec | None = None,
    tls: TlsConfig | None = None,
    cluster: str = "local",
    timeout_s: float = _TIMEOUT_S,
    on_event: OnEvent | None = None,
    limits: Limits | None = None,
    open_store: StoreOpener | None = None,
) -> AsyncIterator[Cluster]:
    """A whole cluster in this process, on real sockets of the loopback interface, while the block runs.

    Args:
        protocol: its name.
        nodes: how many; their ids are 1, 2, 3, ...
        store: "memory", which lasts as long as the block, or a directory that gets one for each node.
        machine: the state machine of a protocol that decides a log: a class at the top of a module, or its
            name, "package.module:Class"; None for `paxos.KeyValue`.
        settings: the protocol's settings; None for its defaults.
        log: settings of the service of a log; None for its defaults.
        quorums: the quorum system; None for the protocol's own.
        tls: the files of mutual TLS; None for plain connections.
        cluster: the cluster's id.
        timeout_s: how long a client's call takes at most unless it says otherwise, seconds.
        on_event: called with each event of every node, at once, on the event loop.
        limits: bounds; None for the defaults.
        open_store: opens the stores in place of `store`.

    Raises:
        ConfigurationError, StoreRefused: the cluster can not start.
        PaxosError: at the end of the block, when a node stopped by itself and nobody heard of it.
    """
    if type(nodes) is not int or nodes < 1:
        raise ConfigurationError(f"nodes: expected a whole number from 1, got {nodes!r}")
    find_protocol(protocol)
    async with AsyncExitStack() as stack:
        ears: dict[NodeId, list[SocketListener]] = {}
        configs = []
        for node in range(1, nodes + 1):
            ears[node] = await listen(_LOOPBACK, 0, node)
            stack.push_async_callback(close_listeners, ears[node])
            port = ears[node][0].extra(anyio.abc.SocketAttribute.local_port)
            place = "memory" if str(store) == "memory" else str(Path(store) / str(node))
            configs.append(NodeConfig(node, f"{_LOOPBACK}:{port}", place))
        config = ClusterConfig(
            id=cluster,
            protocol=protocol,
            nodes=tuple(configs),
            machine=None if machine is None else machine_name(machine),
            tls=tls,
            quorums=quorums,
            settings=settings,
            log=log,
        )
        tasks = await stack.enter_async_context(task_scope())
        made = Cluster(config, tasks, open_store or _opener(store), on_event, limits, timeout_s)
        try:
            for node, listeners in ears.items():
                await made._start_node(node, listeners)
            yield made
        finally:
            await made._close()
        made._check()


def _opener(store: str | os.PathLike[str]) -> StoreOpener:
    return _MemoryStores() if str(store) == "memory" else open_configured_store


class _MemoryStores:
    """Stores in memory that outlast their node, so that it can be restarted."""

    def __init__(self) -> None:
        self._disks: dict[NodeId, MemoryDisk] = {}

    def __call__(self, config: ClusterConfig, node: NodeId) -> Store:
        disk = self._disks.setdefault(node, MemoryDisk())
        return disk.open(cluster=config.id, node=node, protocol=config.protocol)
