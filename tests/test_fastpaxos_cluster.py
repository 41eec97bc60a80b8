"""Fast Paxos on real sockets, and as a configuration file, the shell and drivers see it."""

import json
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from fastpaxos import FastPaxosSettings, protocol
from paxos.errors import ConfigurationError
from paxos.quorum import ExplicitQuorums, FlexibleQuorums, GridQuorums
from paxos.runtime import ClusterConfig, NodeConfig, open_cluster
from paxos.runtime.config import dump_cluster, parse_cluster

PATIENCE_S = 30.0


@pytest.mark.anyio
@pytest.mark.parametrize("recovery", ["coordinated", "uncoordinated"])
async def test_all_are_told_the_same_though_all_propose_at_once(recovery: str) -> None:
    told: dict[str, set[bytes]] = {}
    settings = FastPaxosSettings(recovery=recovery)
    async with open_cluster("fastpaxos", nodes=3, settings=settings) as cluster:

        async def propose(node: int, name: str) -> None:
            value = b"of %d" % node
            told.setdefault(name, set()).add(
                await cluster.client(node).decide(name, value, timeout_s=PATIENCE_S)
            )

        async with anyio.create_task_group() as group:
            for node in (1, 2, 3):
                for number in range(10):
                    group.start_soon(propose, node, f"d{number}")
        assert {len(values) for values in told.values()} == {1}
        for name, values in told.items():
            assert await cluster.client(2).decided(name) in values
        assert await cluster.client(1).decided("nothing") is None


@pytest.mark.anyio
async def test_with_a_node_down_the_others_decide_and_it_learns_when_it_is_back(tmp_path: Path) -> None:
    settings = FastPaxosSettings(patience_s=0.05, collisions_before_classic=1)
    async with open_cluster("fastpaxos", nodes=3, settings=settings, store=tmp_path) as cluster:
        assert await cluster.client(1).decide("a", b"v") == b"v"
        await cluster.stop_node(3)
        for name in ("b", "c", "d"):
            assert await cluster.client(2).decide(name, b"w", timeout_s=PATIENCE_S) == b"w"
        await cluster.start_node(3)
        for name, value in (("a", b"v"), ("b", b"w"), ("d", b"w")):
            assert await cluster.client(3).decided(name, timeout_s=PATIENCE_S) == value


NODES = tuple(NodeConfig(node, f"127.0.0.1:{7100 + node}", "memory") for node in (1, 2, 3))


def config(**more: Any) -> ClusterConfig:
    return ClusterConfig(id="shop", protocol="fastpaxos", nodes=NODES, **more)


@pytest.mark.once
def test_all_nodes_must_recover_alike() -> None:
    one = config()
    other = config(settings=FastPaxosSettings(recovery="uncoordinated"))
    assert one.agreed() != other.agreed()
    assert one.agreed() == config(settings=FastPaxosSettings(patience_s=3.0)).agreed()
    assert parse_cluster(dump_cluster(other), Path()).settings.recovery == "uncoordinated"


@pytest.mark.once
@pytest.mark.parametrize(
    ("table", "built"),
    [
        ('kind = "fast"', protocol.quorums([1, 2, 3])),
        ('kind = "flexible"\nphase1 = 3\nphase2 = 1\nfast = 2', FlexibleQuorums([1, 2, 3], 3, 1, 2)),
        (
            'kind = "explicit"\nphase1 = [[1, 2], [1, 3], [2, 3]]\nfast = [[1, 2, 3]]',
            ExplicitQuorums([1, 2, 3], [[1, 2], [1, 3], [2, 3]], None, [[1, 2, 3]]),
        ),
    ],
)
def test_quorums_in_a_cluster_file(table: str, built: object) -> None:
    text = dump_cluster(config()) + f"\n[cluster.quorums]\n{table}\n"
    assert parse_cluster(text, Path()).quorum_system() == built


@pytest.mark.once
def test_quorums_that_can_not_do_are_refused() -> None:
    text = (
        dump_cluster(config()) + '\n[cluster.quorums]\nkind = "flexible"\nphase1 = 2\nphase2 = 2\nfast = 2\n'
    )
    with pytest.raises(ConfigurationError, match="are quorums without a common member"):
        parse_cluster(text, Path())
    assert not GridQuorums([[1, 2]]).has_fast


@pytest.mark.once
def test_what_status_says() -> None:
    async def ask() -> dict[str, Any]:
        async with open_cluster("fastpaxos", nodes=3) as cluster:
            await cluster.client(1).decide("a", b"v")
            status: Any = await cluster.client(1).status(1)
            return attrs.asdict(status) if attrs.has(type(status)) else dict(status)

    said = json.dumps(anyio.run(ask), default=str)
    assert "1 decided" in said
    assert "fast ballots" in said
