"""The same for those who do not write `async`: a thread with an event loop behind plain calls.

`connect_sync` and `open_cluster_sync` are `connect` and `open_cluster` with the same arguments; what they
give has the same methods, without `await`.  They may be called from many threads at once.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from paxos.ballot import NodeId
from paxos.contract import StateMachine
from paxos.errors import Unreachable
from paxos.runtime.client import Client
from paxos.runtime.config import ClusterConfig, QuorumSpec, TlsConfig
from paxos.runtime.events import OnEvent
from paxos.runtime.limits import Limits
from paxos.runtime.opening import Cluster, connect, open_cluster
from paxos.runtime.tasks import require_backend
from paxos.service.keyvalue_answers import Change, Items, Ran
from paxos.service.keyvalue_requests import Guard
from paxos.service.settings import LogSettings

__all__ = ["SyncClient", "SyncCluster", "SyncWatch", "connect_sync", "open_cluster_sync"]

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

    # --- a log, whatever its state machine ------------------------------------------------------------

    def submit(self, command: bytes, *, timeout_s: float | None = None) -> bytes:
        """Get a command carried out, exactly once, and its answer; see `Client.submit`."""
        return _call(self._portal, lambda: self._client.submit(command, timeout_s=timeout_s))

    def submit_many(self, commands: Iterable[bytes], *, timeout_s: float | None = None) -> list[bytes]:
        """Get commands carried out in this order, and their answers; see `Client.submit_many`."""
        # Taken here: whatever gives them may belong to the caller's thread.
        bodies = list(commands)
        return _call(self._portal, lambda: self._client.submit_many(bodies, timeout_s=timeout_s))

    def query(self, query: bytes, *, stale: bool = False, timeout_s: float | None = None) -> bytes:
        """The answer to something that changes nothing; see `Client.query`."""
        return _call(self._portal, lambda: self._client.query(query, stale=stale, timeout_s=timeout_s))

    def transfer(self, node: NodeId, *, timeout_s: float | None = None) -> None:
        """Ask the leader to hand its leadership to another node; see `Client.transfer`."""
        _call(self._portal, lambda: self._client.transfer(node, timeout_s=timeout_s))

    # --- a key-value store ----------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> None:
        """Store a value under a key; see `Client.put`."""
        _call(self._portal, lambda: self._client.put(key, value, timeout_s=timeout_s))

    def get(self, key: bytes, *, stale: bool = False, timeout_s: float | None = None) -> bytes | None:
        """The value under a key, or None; see `Client.get`."""
        return _call(self._portal, lambda: self._client.get(key, stale=stale, timeout_s=timeout_s))

    def delete(self, key: bytes, *, timeout_s: float | None = None) -> bool:
        """Remove a key; whether it was there; see `Client.delete`."""
        return _call(self._portal, lambda: self._client.delete(key, timeout_s=timeout_s))

    def cas(
        self, key: bytes, expected: bytes | None, value: bytes | None, *, timeout_s: float | None = None
    ) -> bool:
        """Replace a value if it is the one expected; whether it was; see `Client.cas`."""
        return _call(self._portal, lambda: self._client.cas(key, expected, value, timeout_s=timeout_s))

    def increment(self, key: bytes, delta: int = 1, *, timeout_s: float | None = None) -> int:
        """Add to the number under a key; the sum; see `Client.increment`."""
        return _call(self._portal, lambda: self._client.increment(key, delta, timeout_s=timeout_s))

    def scan(
        self,
        low: bytes = b"",
        high: bytes | None = None,
        limit: int = 1000,
        *,
        stale: bool = False,
        timeout_s: float | None = None,
    ) -> Items:
        """Keys of a range and their values, in order; see `Client.scan`."""
        return _call(
            self._portal, lambda: self._client.scan(low, high, limit, stale=stale, timeout_s=timeout_s)
        )

    def transaction(
        self,
        guards: Iterable[Guard],
        then: Iterable[bytes],
        otherwise: Iterable[bytes] = (),
        *,
        timeout_s: float | None = None,
    ) -> Ran:
        """Carry out several operations at once if all guards hold, else others; see `Client.transaction`."""
        all_of = list(guards), list(then), list(otherwise)
        return _call(self._portal, lambda: self._client.transaction(*all_of, timeout_s=timeout_s))

    def revision(self, *, timeout_s: float | None = None) -> int:
        """How many commands have changed the store so far; see `Client.revision`."""
        return _call(self._portal, lambda: self._client.revision(timeout_s=timeout_s))

    def watch(self, low: bytes = b"", high: bytes | None = None, *, since: int | None = None) -> "SyncWatch":
        """Changes of keys of a range, as they come: an iterator; see `Client.watch`.

        With `since=None` it begins with what changes after the first call of `next`; to begin now, give
        `since=client.revision()`.
        """
        return SyncWatch(self._client, self._portal, low, high, since)

    # --- any cluster ----------------------------------------------------------------------------------

    def status(self, node: NodeId | None = None, *, timeout_s: float | None = None) -> dict[str, Any]:
        """How a node does; see `Client.status`."""
        return _call(self._portal, lambda: self._client.status(node, timeout_s=timeout_s))


class SyncWatch:
    """An iterator of changes, made by `SyncClient.watch`; as a context manager, it ends with the block.

    `next` waits for the next change. Another thread may call `close`, which ends a `next` that waits.
    """

    def __init__(
        self, client: Client, portal: BlockingPortal, low: bytes, high: bytes | None, since: int | None
    ) -> None:
        self._portal = portal
        self._changes = client.watch(low, high, since=since)
        self._waiting: anyio.CancelScope | None = None
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        change = _call(self._portal, self._next)
        if change is None:
            raise StopIteration
        return change

    def close(self) -> None:
        """Wait for no more. Closing again does nothing."""
        _call(self._portal, self._close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What ends the block may also have ended the client: then there is nothing left to close.
        with suppress(Unreachable):
            self.close()

    async def _next(self) -> Change | None:
        if self._closed:
            return None
        with anyio.CancelScope() as scope:
            self._waiting = scope
            try:
                return await anext(self._changes, None)
            finally:
                self._waiting = None
        return None

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            await self._changes.aclose()


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
    prefer: NodeId | None = None,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
) -> Iterator[SyncClient]:
    """`connect` for plain threads.

    Args:
        addresses: see `connect`; likewise `tls`, `cluster`, `timeout_s` and `prefer`.
        tls: see `connect`.
        cluster: see `connect`.
        timeout_s: see `connect`.
        prefer: see `connect`.
        backend: the event loop in the background: "asyncio" or "trio".
        backend_options: its options, as `anyio.run` takes them.

    Raises:
        ConfigurationError: see `connect`; or there is no such backend.
    """
    require_backend(backend)
    opened = connect(addresses, tls=tls, cluster=cluster, timeout_s=timeout_s, prefer=prefer)
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
    machine: str | type[StateMachine] | None = None,
    settings: Any = None,
    log: LogSettings | None = None,
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
        log: see `open_cluster`.
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
        log=log,
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
