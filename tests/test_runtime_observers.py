"""Observers: nodes that learn what the others decide, answer reads, and never vote."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import paxos
from paxos.ballot import NodeId
from paxos.errors import ConfigurationError
from paxos.runtime import ClusterConfig, NodeConfig
from paxos.runtime.config import dump_cluster, parse_cluster
from paxos.runtime.opening import RunningNode
from paxos.runtime.ports import free_ports
from paxos.service import Identity, Introduce, Introduced
from tests.cluster import store_id

OBSERVER = 4


def configuration(observers: tuple[NodeId, ...] = (OBSERVER,), protocol: str = "multipaxos") -> ClusterConfig:
    ports = free_ports(4)
    nodes = tuple(
        NodeConfig(node, f"127.0.0.1:{port}", "memory", observer=node in observers)
        for node, port in enumerate(ports, 1)
    )
    return ClusterConfig(id="watched", protocol=protocol, nodes=nodes)


@pytest.mark.anyio
async def test_an_observer_answers_reads_and_is_in_no_quorum() -> None:
    config = configuration()
    addresses = [node.address for node in config.nodes]
    async with AsyncExitStack() as stack:
        nodes: dict[NodeId, RunningNode] = {
            node: await stack.enter_async_context(paxos.open_node(config, node)) for node in config.members
        }
        client = await stack.enter_async_context(paxos.connect(addresses, timeout_s=20))
        await client.put(b"k", b"v")
        watching = await stack.enter_async_context(paxos.connect([addresses[-1]], timeout_s=20))
        assert await watching.get(b"k") == b"v", "a linearizable read at the observer"
        assert await watching.get(b"k", stale=True) == b"v"
        assert nodes[OBSERVER].status()["role"] == "observer"
        # With one of the three that vote it is not a majority of anything.
        leader = nodes[1].status()["leader"]
        for node in (1, 2, 3):
            if node != leader:
                nodes[node].stop()
                await nodes[node].wait_stopped()
        with pytest.raises((paxos.OutcomeUnknown, paxos.Unreachable, paxos.Rejected)):
            await client.put(b"k", b"w", timeout_s=1.0)
        assert await watching.get(b"k", stale=True) == b"v"


def test_an_observer_needs_no_witnesses_and_is_none() -> None:
    watcher = Identity(OBSERVER, (1, 2, 3), store_id(OBSERVER), {}, 0.0, (OBSERVER,))
    assert watcher.introduced
    voter = Identity(1, (1, 2, 3), store_id(1), {}, 0.0, (OBSERVER,))
    voter.sends.clear()
    voter.receive(OBSERVER, Introduced(store_id(1)))
    voter.receive(2, Introduced(store_id(1)))
    assert not voter.introduced, "two members must know it, and an observer is no member"
    voter.receive(OBSERVER, Introduce(store_id(OBSERVER)))
    assert voter.known(OBSERVER) == store_id(OBSERVER)
    voter.receive(3, Introduced(store_id(1)))
    assert voter.introduced


def test_a_cluster_file_names_observers() -> None:
    config = configuration()
    again = parse_cluster(dump_cluster(config), Path("cluster.toml"))
    assert again.observers == (OBSERVER,)
    assert again.voters == (1, 2, 3)
    assert again.agreed()["observers"] == "4"
    with pytest.raises(ConfigurationError, match="at least one has to vote"):
        configuration((1, 2, 3, 4))
    with pytest.raises(ConfigurationError, match="has no observers"):
        configuration(protocol="paxos")
    with pytest.raises(ConfigurationError, match="expected true or false, got 1"):
        parse_cluster(dump_cluster(config).replace("observer = true", "observer = 1"), Path("cluster.toml"))
