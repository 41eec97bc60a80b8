"""The same for those who do not write `async`: a thread with an event loop behind plain calls.

`connect_sync` and `open_cluster_sync` are `connect` and `open_cluster` with the same arguments; what they
give has the same methods, without `await`.  They may be called from many threads at once.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from paxos.ballot import NodeId
from paxos.errors import Unreachable
from paxos.runtime.client import Client
from paxos.runtime.config import ClusterConfig, QuorumSpec, TlsConfig
from paxos.runtime.events import OnEvent
from paxos.runtime.limits import Limits
from paxos.runtime.opening import Cluster, connect, open_cluster
from paxos.runtime.tasks import require_backend

__all__ = ["SyncClient", "SyncCluster", "connect_sync", "open_cluster_sync"]

T = TypeVar("T")


class SyncClient:
    """`Client`, called from a thread; made by `connect_sync` and `SyncCluster.client`."""

    def __init__(self, client: Client, portal: BlockingPortal) -> None:
        self._client = client
        self._portal = portal

    def decide(self, name: str | bytes, value: bytes, *, timeout_s: float | None = None) -> bytes:
        """Get a value chosen for a name, and learn which; see `Client.decide`."""
        return _call(self._portal, lambda: self._client.decide(name, value, timeout_s=timeout_s))

    def decided(self, name: str | bytes, *, timeout_s: float | None = None) -> bytes | None:
        """What is chosen for a name, or None; see `Client.decided`."""
        return _call(self._portal, lambda: self._client.decided(name, timeout_s=timeout_s))

    def status(self, node: NodeId | None = None, *, timeout_s: float | None = None) -> dict[str, Any]:
        """How a node does; see `Client.status`."""
        return _call(self._portal, lambda: self._client.status(node, timeout_s=timeout_s))


class SyncCluster:
    """`Cluster`, called from a thread; made by `open_cluster_sync`."""

    def __init__(self, cluster: Cluster, portal: BlockingPortal) -> None:
        self._cluster = cluster
        self._portal = portal

    @property
    def config(self) -> ClusterConfig:
        """The cluster's configuration, with the real addresses."""
        return self._cluster.config

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the nodes listen, by ascending id."""
        return self._cluster.addresses

    def client(self, node: NodeId | None = None) -> SyncClient:
        """A client that lives as long as the cluster; see `Cluster.client`."""
        return SyncClient(_call(self._portal, lambda: self._open_client(node)), self._portal)

    def stop_node(self, node: NodeId) -> None:
        """Stop a node; see `Cluster.stop_node`."""
        _call(self._portal, lambda: self._cluster.stop_node(node))

    def start_node(self, node: NodeId) -> None:
        """Start a node that was stopped; see `Cluster.start_node`."""
        _call(self._portal, lambda: self._cluster.start_node(node))

    async def _open_client(self, node: NodeId | None) -> Client:
        return self._cluster.client(node)


def _call(portal: BlockingPortal, call: Callable[[], Awaitable[T]]) -> T:
    """Call something on the loop's thread, as long as there is one."""
    called = False

    async def run() -> T:
        nonlocal called
        called = True
        return await call()

    try:
        return portal.call(run)
    except RuntimeError as error:
        # The portal says only this of itself, and in these words.
        if called or "portal is not running" not in str(error):
            raise
        raise Unreachable("it is closed: its `with` block has ended; open another one") from error


@contextmanager
def connect_sync(
    addresses: Sequence[str],
    *,
    tls: TlsConfig | None = None,
    cluster: str | None = None,
    timeout_s: float = 10.0,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
) -> Iterator[SyncClient]:
    """`connect` for plain threads.

    Args:
        addresses: see `connect`; likewise `tls`, `cluster` and `timeout_s`.
        tls: see `connect`.
        cluster: see `connect`.
        timeout_s: see `connect`.
        backend: the event loop in the background: "asyncio" or "trio".
        backend_options: its options, as `anyio.run` takes them.

    Raises:
        ConfigurationError: see `connect`; or there is no such backend.
    """
    require_backend(backend)
    opened = connect(addresses, tls=tls, cluster=cluster, timeout_s=timeout_s)
    with (
        start_blocking_portal(backend, dict(backend_options or {})) as portal,
        portal.wrap_async_context_manager(opened) as client,
    ):
        yield SyncClient(client, portal)


@contextmanager
def open_cluster_sync(
    protocol: str = "paxos",
    nodes: int = 3,
    *,
    store: str | os.PathLike[str] = "memory",
    machine: str | None = None,
    settings: Any = None,
    quorums: QuorumSpec | None = None,
    tls: TlsConfig | None = None,
    cluster: str = "local",
    timeout_s: float = 10.0,
    on_event: OnEvent | None = None,
    limits: Limits | None = None,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
) -> Iterator[SyncCluster]:
    """`open_cluster` for plain threads.

    Args:
        protocol: see `open_cluster`; likewise the others, but for the last two.
        nodes: see `open_cluster`.
        store: see `open_cluster`.
        machine: see `open_cluster`.
        settings: see `open_cluster`.
        quorums: see `open_cluster`.
        tls: see `open_cluster`.
        cluster: see `open_cluster`.
        timeout_s: see `open_cluster`.
        on_event: see `open_cluster`; called on the event loop's thread.
        limits: see `open_cluster`.
        backend: the event loop in the background: "asyncio" or "trio".
        backend_options: its options, as `anyio.run` takes them.

    Raises:
        ConfigurationError, StoreRefused, PaxosError: see `open_cluster`; or there is no such backend.
    """
    require_backend(backend)
    opened = open_cluster(
        protocol,
        nodes,
        store=store,
        machine=machine,
        settings=settings,
        quorums=quorums,
        tls=tls,
        cluster=cluster,
        timeout_s=timeout_s,
        on_event=on_event,
        limits=limits,
    )
    with (
        start_blocking_portal(backend, dict(backend_options or {})) as portal,
        portal.wrap_async_context_manager(opened) as made,
    ):
        yield SyncCluster(made, portal)
