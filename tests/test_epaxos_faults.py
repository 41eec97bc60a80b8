"""EPaxos on real nodes: a stopped replica, a lost disk, a truncated log, footprints that are wrong."""

import json
import re
import shutil
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

import paxos
from paxos.cli import main
from paxos.command import Footprint
from paxos.contract import Event
from paxos.errors import EXIT_DONE, NodeStopped, Rejected
from paxos.runtime import connect, load_cluster
from paxos.runtime.limits import Limits
from paxos.runtime.pause_bench import benchmark_pause
from paxos.runtime.ports import free_ports
from paxos.service import LogSettings
from paxos.service.keyvalue_requests import put
from tests.processes import Processes
from tests.strangers import PATIENCE_S, until, until_ready

# What they show does not depend on the interpreter.
pytestmark = [pytest.mark.once, pytest.mark.anyio]

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="pauses are signals")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@UNIX
async def test_a_stopped_replica_costs_only_its_own_clients_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the others are served as before; its own go on elsewhere, and come back."""
    monkeypatch.setattr("paxos.runtime.client_link._PATIENCE_S", 0.3)
    assert main(
        ["init", str(tmp_path), "--protocol", "epaxos", "--base-port", str(min(free_ports(3)))]
    ) == EXIT_DONE  # fmt: skip
    config = load_cluster(tmp_path / "cluster.toml")
    with Processes(config) as processes:
        processes.start()
        async with (
            connect(processes.addresses, timeout_s=PATIENCE_S) as one,
            connect(processes.addresses[1:], timeout_s=PATIENCE_S, prefer=2) as two,
            connect([processes.addresses[2], *processes.addresses], timeout_s=PATIENCE_S, prefer=3) as three,
        ):
            await until_ready(one, 1, 2, 3)
            assert [await client.increment(b"n") for client in (one, two, three)] == [1, 2, 3]
            assert [client.node for client in (one, two, three)] == [1, 2, 3]
            processes.nodes[3].signal(signal.SIGSTOP)
            counted: list[int] = []

            async def count(client: paxos.Client, times: int) -> None:
                for _ in range(times):
                    counted.append(await client.increment(b"n"))

            async with anyio.create_task_group() as group:
                for client in (one, two, three):
                    group.start_soon(count, client, 10)
            # Each once, and all of them while one is stopped.
            assert sorted(counted) == list(range(4, 34))
            assert (one.node, two.node) == (1, 2)
            assert three.node in (1, 2)
            for client, node in ((one, 1), (two, 2)):
                status = await client.status()
                assert (status["node"], status["recovering"], status["waits_for_s"]) == (node, [], {})
            processes.nodes[3].signal(signal.SIGCONT)
            await until(lambda: three.node == 3)
            assert await three.increment(b"n") == 34


async def restarted(cluster: paxos.Cluster, node: int) -> None:
    """Start a node, and wait until it stops by itself. Raises what stopped it."""
    await cluster.start_node(node)
    await cluster._nodes[node].wait_stopped()


async def test_a_wiped_disk_under_an_old_id_is_refused(tmp_path: Path) -> None:
    async with paxos.open_cluster("epaxos", 5, store=tmp_path, timeout_s=PATIENCE_S) as cluster:
        client = cluster.client(node=1)
        await until_ready(client, 1, 2, 3, 4, 5)
        for number in range(5):
            await client.put(b"k%d" % number, b"v")
        await cluster.stop_node(5)
        shutil.rmtree(tmp_path / "5")
        with anyio.fail_after(PATIENCE_S), pytest.raises(NodeStopped, match="lost its disk"):
            await restarted(cluster, 5)
        # The others go on without it.
        assert await client.get(b"k4") == b"v"


async def test_a_replica_that_knew_a_log_that_is_truncated_catches_up(tmp_path: Path) -> None:
    events: list[Event] = []
    log = LogSettings(marker_requests=20, growth=0.0, piece_s=0.0)
    # Nobody keeps for it what it was to be sent meanwhile.
    limits = Limits(peer_bytes=1000)
    async with paxos.open_cluster(
        "epaxos",
        3,
        store=tmp_path,
        log=log,
        timeout_s=PATIENCE_S,
        on_event=events.append,
        limits=limits,
    ) as cluster:
        clients = [cluster.client(node) for node in (1, 2, 3)]
        for client in clients:
            await until_ready(client, 1, 2, 3)
            for number in range(5):
                await client.increment(b"n%d" % number)
        await cluster.stop_node(3)
        events.clear()
        for client in clients[:2]:
            for number in range(60):
                await client.increment(b"n%d" % (number % 5))
        assert any(event.action == "truncated" for event in events)
        floor = (await clients[0].status())["floor"]
        assert floor["3"] >= 5, "what it knew is gone elsewhere"
        await cluster.start_node(3)
        third = cluster.client(node=3)
        await until(lambda: any(event.action == "snapshot installed" for event in events))
        assert await third.increment(b"n0") == 3 + 2 * 12 + 1
        states = []
        for node in (1, 2, 3):
            applied = -1
            while applied != (await cluster.client(1).status())["applied"]:
                applied = (await cluster.client(1).status(node, timeout_s=PATIENCE_S))["applied"]
            async with connect([cluster.config.node(node).address], timeout_s=PATIENCE_S) as client:
                states.append((await client.scan(b"", stale=True)).items)
        assert states[0] == states[1] == states[2]


# --- machines whose footprints are wrong ---------------------------------------------------------------


class Moody(paxos.KeyValue):
    """Says nothing of what touches one key."""

    def footprint(self, command: bytes) -> Footprint:
        if b"bad" in command:
            raise ValueError("not in the mood")
        return super().footprint(command)


class Forgetful(paxos.KeyValue):
    """Says of what writes a key that has "hidden" in it that it writes nothing but another."""

    def footprint(self, command: bytes) -> Footprint:
        if b"hidden" in command:
            return Footprint((), (b"shown",)) if b"odd" in command else Footprint((), (b"else",))
        return super().footprint(command)


async def test_a_footprint_that_raises_costs_its_request_alone() -> None:
    events: list[Event] = []
    async with paxos.open_cluster(
        "epaxos", 3, machine=Moody, timeout_s=PATIENCE_S, on_event=events.append
    ) as cluster:
        client = cluster.client(node=2)
        why = "the state machine gives no footprint: ValueError: not in the mood"
        with pytest.raises(Rejected, match=why):
            await client.put(b"bad", b"v")
        with pytest.raises(Rejected, match=why):
            await client.get(b"bad")
        await client.put(b"good", b"v")
        assert await client.get(b"good") == b"v"
        (refused,) = (event for event in events if event.action == "request refused")
        assert (refused.node, why in str(refused.arguments["text"])) == (2, True)


async def test_states_that_differ_since_a_key_was_left_out_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two writes of one key that say they do not meet: nodes may carry them out in either order."""
    log = LogSettings(marker_requests=20, growth=0.0, piece_s=0.0)
    async with paxos.open_cluster("epaxos", 3, machine=Forgetful, log=log, timeout_s=PATIENCE_S) as cluster:
        clients = [cluster.client(node) for node in (1, 2, 3)]
        await until_ready(clients[0], 1, 2, 3)
        at = ["--cluster", ",".join(cluster.addresses), "--timeout", str(PATIENCE_S)]

        async def write(client: paxos.Client, key: bytes, value: bytes) -> None:
            await client.submit(put(key, value))

        with anyio.fail_after(PATIENCE_S):
            while True:
                for number in range(30):
                    async with anyio.create_task_group() as group:
                        key = b"hidden%d" % number
                        group.start_soon(write, clients[0], key, b"odd")
                        group.start_soon(write, clients[1], key, b"even")
                assert await anyio.to_thread.run_sync(main, ["status", "--json", *at]) == EXIT_DONE
                found: Any = json.loads(capsys.readouterr().out)
                if found["different"]:
                    break
        assert "made different snapshots, so their states differ" in found["different"][0]


@UNIX
async def test_the_bench_of_a_stopped_replica(tmp_path: Path) -> None:
    phases = await benchmark_pause(seconds=1.0, calls=4, conflicts=50, directory=tmp_path)
    assert [phase.name for phase in phases] == ["before", "stopped", "after"]
    # Clients of the others are answered all the time.
    assert all(phase.commands > 0 and phase.commands_per_s > 0 for phase in phases)
    assert all(0 < phase.median_ms <= phase.most_ms for phase in phases)


async def test_who_follows_keys_as_the_manual_says_is_told_all_when_its_replica_is_gone() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "keyvalue.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(import anyio\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(program, "docs/keyvalue.md", "exec"), names)
    async with paxos.open_cluster("epaxos", 3, timeout_s=PATIENCE_S) as cluster:
        client, other = cluster.client(node=1), cluster.client(node=2)
        await until_ready(client, 1, 2, 3)
        await client.put(b"a", b"1")
        told = names["following"](client, b"a", b"c")
        with anyio.fail_after(PATIENCE_S):
            async with aclosing(told):
                assert await anext(told) == {b"a": b"1"}
                await other.put(b"b", b"2")
                change = await anext(told)
                assert (change.key, change.value) == (b"b", b"2")
                await cluster.stop_node(1)
                await other.delete(b"a")
                # Its replica is gone: now it is told all of it.
                assert await anext(told) == {b"b": b"2"}
                await other.put(b"a", b"3")
                change = await anext(told)
                assert (change.key, change.value) == (b"a", b"3")
