"""The runtime: what drives a node in the real world, with its sockets, its disk and its clock.

config.py, config_values.py    the cluster file
store.py, sqlite_*.py          what a node must not forget
opening.py, blocking.py        what users open: `connect`, `open_node`, `open_cluster`, and without async
serving.py, __main__.py        one node as a process
client.py, client_connection.py
node_server.py                 one node: the tasks around its engine
engine.py                      its heart: no await in it
connections.py, peers.py       who calls, and whom it calls
clients.py                     what a client's connection may do
handshake.py, tls.py           who is there
disk.py, outbox.py, limits.py  group commit; what waits to leave; bounds
tasks.py, events.py, tables.py
"""

from paxos.runtime.blocking import SyncClient, SyncCluster, connect_sync, open_cluster_sync
from paxos.runtime.certificates import make_certificates
from paxos.runtime.client import Client
from paxos.runtime.config import (
    Address,
    ClusterConfig,
    NodeConfig,
    QuorumSpec,
    TlsConfig,
    dump_cluster,
    load_cluster,
)
from paxos.runtime.events import OnEvent
from paxos.runtime.limits import Limits
from paxos.runtime.node_server import StoreOpener
from paxos.runtime.opening import Cluster, RunningNode, connect, open_cluster, open_node
from paxos.runtime.serving import NodeExit, run_node
from paxos.runtime.store import (
    MemoryDisk,
    MemoryStore,
    Store,
    StoreCard,
    StoreReport,
    inspect_store,
    open_store,
)

__all__ = [
    "Address",
    "Client",
    "Cluster",
    "ClusterConfig",
    "Limits",
    "MemoryDisk",
    "MemoryStore",
    "NodeConfig",
    "NodeExit",
    "OnEvent",
    "QuorumSpec",
    "RunningNode",
    "Store",
    "StoreCard",
    "StoreOpener",
    "StoreReport",
    "SyncClient",
    "SyncCluster",
    "TlsConfig",
    "connect",
    "connect_sync",
    "dump_cluster",
    "inspect_store",
    "load_cluster",
    "make_certificates",
    "open_cluster",
    "open_cluster_sync",
    "open_node",
    "open_store",
    "run_node",
]
