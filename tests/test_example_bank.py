"""The bank of examples/bank.py: money moves and never changes, whichever node is away."""

import importlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

import paxos
from paxos.runtime import ClusterConfig, NodeConfig, connect, open_node
from paxos.runtime.ports import free_ports

pytestmark = [pytest.mark.anyio, pytest.mark.once]

EXAMPLES = Path(__file__).parent.parent / "examples"
TOTAL = 400


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example as somebody has it who runs it: a module of its own."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("bank")
    del sys.modules["bank"]


def test_the_machine_keeps_its_promises(bank: ModuleType) -> None:
    """Money is neither made nor lost, and nothing raises; a restored one goes on as the first would."""
    draw = random.Random(1)
    machine = bank.Bank()
    for account in bank.ACCOUNTS:
        assert machine.apply(bank.command("open", account, 100)) == b"done"
    assert machine.apply(bank.command("open", "alice", 1)) == b"refused"
    answers: dict[bytes, int] = {}
    for _ in range(2000):
        payer, payee = (draw.choice([*bank.ACCOUNTS, "nobody"]) for _ in range(2))
        answer = machine.apply(bank.command("move", payer, payee, draw.randint(-5, 60)))
        answers[answer] = answers.get(answer, 0) + 1
        assert sum(machine.balances.values()) == TOTAL
        assert min(machine.balances.values()) >= 0
    assert answers.keys() == {b"done", b"refused"}
    other = bank.Bank()
    other.restore(machine.snapshot())
    assert other.balances == machine.balances
    for nonsense in (
        b"",
        b"\xff",
        b"[]",
        b"17",
        b'["move"]',
        b'["move", "alice", "bob", "1"]',
        b'["open", 1, 1]',
        b"[" * 900_000,
    ):
        assert machine.apply(nonsense) == b"refused"
        assert machine.footprint(nonsense) == paxos.ALL
    # Two such would have a sum that Python does not write down, and no node could make a snapshot of it.
    assert machine.apply(b'["open", "rich", %s]' % (b"9" * 4300)) == b"refused"
    assert machine.balances == other.balances


def test_footprints_name_what_is_touched(bank: ModuleType) -> None:
    machine = bank.Bank()
    moved = machine.footprint(bank.command("move", "bob", "alice", 5))
    assert moved == machine.footprint(bank.command("move", "alice", "bob", 7))
    assert moved == paxos.Footprint((b"alice", b"bob"), (b"alice", b"bob"))
    assert not moved.conflicts(machine.footprint(bank.command("move", "carol", "dave", 5)))
    assert moved.conflicts(machine.footprint(bank.command("open", "bob", 5)))
    assert moved.conflicts(machine.footprint(bank.command("balances")))


async def test_the_total_never_changes(bank: ModuleType) -> None:
    """Tellers at every node, and somebody who looks, while each node in turn stops and comes back."""
    async with paxos.open_cluster("multipaxos", 3, machine=bank.Bank, timeout_s=30.0) as cluster:
        assert cluster.config.machine == "bank:Bank"
        client = cluster.client()
        opened = await client.submit_many([bank.command("open", each, 100) for each in bank.ACCOUNTS])
        assert opened == [b"done"] * 4
        done: list[int] = []
        looks: list[int] = []

        async def teller(node: int) -> None:
            done.append(await bank.transfer_at_random(cluster.client(node), random.Random(node), 60))

        async def look() -> None:
            while len(done) < 3:
                balances = json.loads(await cluster.client(2).query(b"balances"))
                looks.append(sum(balances.values()))

        async def mishaps() -> None:
            for node in (1, 2, 3):
                await cluster.stop_node(node)
                await cluster.start_node(node)

        async with anyio.create_task_group() as group:
            for node in (1, 2, 3):
                group.start_soon(teller, node)
            group.start_soon(look)
            group.start_soon(mishaps)
        assert sum(done) > 20
        assert set(looks) == {TOTAL}
        found = [await cluster.client(node).query(b"balances") for node in (1, 2, 3)]
        assert len(set(found)) == 1
        assert sum(json.loads(found[0]).values()) == TOTAL


async def test_nodes_that_are_told_its_name(bank: ModuleType, tmp_path: Path) -> None:
    """As in cluster.toml, on disk: the accounts are there after a restart."""
    (port,) = free_ports(1)
    node = NodeConfig(1, f"127.0.0.1:{port}", str(tmp_path / "1"))
    config = ClusterConfig("bank", "multipaxos", (node,), machine="bank:Bank")
    async with open_node(config), connect([node.address], timeout_s=30.0) as client:
        assert await client.submit(bank.command("open", "alice", 7)) == b"done"
    async with open_node(config), connect([node.address], timeout_s=30.0) as client:
        assert json.loads(await client.query(b"balances")) == {"alice": 7}
        assert await client.submit(bank.command("open", "alice", 8)) == b"refused"


async def test_the_example_runs(bank: ModuleType, capfd: pytest.CaptureFixture[Any]) -> None:
    await bank.main()
    said, _ = capfd.readouterr()
    assert said.count("total 400") == 3
