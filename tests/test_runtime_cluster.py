"""A cluster in this process, on real sockets: what users open, call, cancel and close."""

import gc
import importlib.util
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import paxos
from paxos.basic import BasicSettings
from paxos.contract import Event
from paxos.errors import ClusterMismatch, ConfigurationError, OutcomeUnknown, Unreachable
from paxos.runtime import (
    ClusterConfig,
    NodeConfig,
    connect,
    connect_sync,
    open_cluster,
    open_cluster_sync,
    open_node,
)
from paxos.runtime.ports import free_ports
from tests.processes import write_config
from tests.strangers import stranger, submit, until

pytestmark = pytest.mark.anyio

#: Nothing here takes so long, unless it hangs.
PATIENCE_S = 30.0


async def together(*calls: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(call)


# --- deciding ----------------------------------------------------------------------------------------


async def test_decide_and_decided() -> None:
    async with open_cluster("paxos", nodes=3) as cluster:
        assert await cluster.client().decided("leader") is None
        assert await cluster.client(2).decide("leader", b"node-2") == b"node-2"
        assert await cluster.client(1).decide("leader", b"node-1") == b"node-2"
        for node in (1, 2, 3):
            assert await cluster.client(node).decided("leader") == b"node-2"
            assert await cluster.client(node).decided(b"leader") == b"node-2"
        assert await cluster.client().decide("empty", b"") == b""
        assert await cluster.client(3).decided("empty") == b""


@pytest.mark.parametrize("nodes", [1, 2, 5])
async def test_other_sizes(nodes: int) -> None:
    async with open_cluster(nodes=nodes) as cluster:
        assert await cluster.client().decide("x", b"1") == b"1"
        assert await cluster.client(nodes).decided("x") == b"1"


async def test_conflicting_clients_all_get_the_same() -> None:
    chosen: dict[int, set[bytes]] = {decree: set() for decree in range(20)}
    async with open_cluster() as cluster, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect(cluster.addresses[at:] + cluster.addresses[:at]))
            for at in (0, 1, 2, 0)
        ]

        async def propose(number: int) -> None:
            for decree in chosen:
                value = await clients[number].decide(f"d{decree}", b"from-%d" % number)
                chosen[decree].add(value)

        await together(*(lambda number=number: propose(number) for number in range(4)))
        assert {client.node for client in clients} == {1, 2, 3}
    assert [len(values) for values in chosen.values()] == [1] * 20


async def test_many_calls_over_one_connection() -> None:
    async with open_cluster() as cluster, connect(cluster.addresses) as client:
        answers: dict[int, bytes] = {}

        async def call(number: int) -> None:
            answers[number] = await client.decide(f"n{number}", b"%d" % number, timeout_s=PATIENCE_S)

        await together(*(lambda number=number: call(number) for number in range(2500)))
        assert answers == {number: b"%d" % number for number in range(2500)}
        assert (await client.status())["clients"] == 1


async def test_large_values_and_names() -> None:
    async with open_cluster() as cluster:
        client = cluster.client()
        value = bytes(range(256)) * 4096
        assert await client.decide(b"\xff" * 1024, value) == value
        assert await cluster.client(3).decided(b"\xff" * 1024) == value
        with pytest.raises(ConfigurationError, match="1048577 bytes"):
            await client.decide("x", value + b"1")
        with pytest.raises(ConfigurationError, match="takes 1 to 1024"):
            await client.decide("", b"1")
        with pytest.raises(ConfigurationError, match="value is bytes, not str"):
            await client.decide("x", "text")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="timeout_s"):
            await client.decide("x", b"1", timeout_s=0)


async def test_status() -> None:
    async with open_cluster() as cluster, connect(cluster.addresses) as client:
        await client.decide("x", b"1")
        status = await client.status(2)
        assert (status["node"], status["protocol"], status["ready"]) == (2, "paxos", True)
        assert set(status["peers"]) == {"1", "3"}
        assert (await client.status())["node"] == client.node == 1
        with pytest.raises(Unreachable, match="status of node 9: none of the addresses"):
            await client.status(9)


async def test_with_uvloop() -> None:
    pytest.importorskip("uvloop")

    def run() -> None:
        with open_cluster_sync(backend_options={"use_uvloop": True}) as cluster:
            decided.append(cluster.client().decide("x", b"1"))

    decided: list[bytes] = []
    await anyio.to_thread.run_sync(run)
    assert decided == [b"1"]


# --- nodes that go and come --------------------------------------------------------------------------


async def test_a_minority_may_be_away() -> None:
    async with open_cluster() as cluster:
        client = cluster.client(1)
        assert await client.decide("a", b"1") == b"1"
        await cluster.stop_node(1)
        assert await client.decide("b", b"2") == b"2"
        assert client.node != 1
        await cluster.start_node(1)
        await cluster.stop_node(2)
        assert await client.decide("c", b"3") == b"3"
        assert await cluster.client(1).decided("b") == b"2"
        assert sorted(cluster.nodes) == [1, 3]


async def test_all_nodes_restart_on_their_disks(tmp_path: Path) -> None:
    for round_ in range(2):
        async with open_cluster(store=tmp_path) as cluster:
            for decree in range(10):
                assert await cluster.client().decide(f"d{decree}", b"%d" % round_) == b"0"
            for node in (1, 2, 3):
                await cluster.stop_node(node)
                await cluster.start_node(node)
                assert await cluster.client(node).decided("d7") == b"0"


async def test_without_a_quorum_the_outcome_is_unknown() -> None:
    async with open_cluster() as cluster:
        client = cluster.client(1)
        await client.decide("known", b"1")
        await cluster.stop_node(2)
        await cluster.stop_node(3)
        with pytest.raises(OutcomeUnknown, match=r"decide 'x': no answer within 0\.3 s; it may have"):
            await client.decide("x", b"1", timeout_s=0.3)
        with pytest.raises(Unreachable, match="decided 'x': no node answered in time"):
            await client.decided("x", timeout_s=0.3)
        assert await client.decided("known") == b"1"
        await cluster.start_node(2)
        assert await client.decide("x", b"2", timeout_s=PATIENCE_S) in (b"1", b"2")


async def test_nobody_there() -> None:
    (port,) = free_ports(1)
    async with connect([f"127.0.0.1:{port}"], timeout_s=0.3) as client:
        with pytest.raises(Unreachable, match=rf"no node could be reached .*:{port}: Connection refused"):
            await client.decide("x", b"1")
        with pytest.raises(Unreachable, match=rf"status.*:{port}: Connection refused"):
            await client.status()
        with pytest.raises(Unreachable, match=rf"status of node 1: .*:{port}: Connection refused"):
            await client.status(1)


async def test_a_busy_node_is_asked_again() -> None:
    async with open_cluster(settings=BasicSettings(max_open=4)) as cluster:
        client = cluster.client()
        answers = []

        async def call(number: int) -> None:
            answers.append(await client.decide(f"n{number}", b"v", timeout_s=PATIENCE_S))

        await together(*(lambda number=number: call(number) for number in range(30)))
        assert answers == [b"v"] * 30


async def test_the_cluster_id_is_insisted_on() -> None:
    async with open_cluster(cluster="shop") as cluster:
        async with connect(cluster.addresses, cluster="shep") as client:
            with pytest.raises(ClusterMismatch, match="cluster is 'shop' here and 'shep' there"):
                await client.decide("x", b"1")
            with pytest.raises(ClusterMismatch, match="shep"):
                await client.status()
            with pytest.raises(ClusterMismatch, match="shep"):
                await client.status(2)
        async with open_cluster(cluster="other") as other:
            # It goes by the first that answers, and sticks to it.
            async with connect([cluster.addresses[0], other.addresses[0]], timeout_s=0.5) as client:
                await client.decide("x", b"1")
                for node in (1, 2, 3):
                    await cluster.stop_node(node)
                with pytest.raises(paxos.PaxosError):
                    await client.decide("y", b"1")
            assert await other.client().decided("y") is None


# --- cancelling --------------------------------------------------------------------------------------


async def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async with open_cluster() as cluster, connect(cluster.addresses) as client:
        await client.decide("warm", b"1")
        for round_ in range(30):
            names = [f"c{round_}-{number}" for number in range(5)]
            with anyio.move_on_after(0.0005 * round_):
                await together(*(lambda name=name: _decide(client, name) for name in names))
            # The next call gets its own answer, whatever the cancelled ones were about to get.
            assert await client.decide(f"mine-{round_}", b"%d" % round_) == b"%d" % round_
        assert (await client.status())["requests"] == 0


async def _decide(client: paxos.Client, name: str) -> None:
    await client.decide(name, b"cancelled")


async def test_a_cancelled_call_is_taken_back_at_the_node() -> None:
    async with open_cluster() as cluster, connect(cluster.addresses[:1]) as client:
        await client.decide("warm", b"1")
        await cluster.stop_node(2)
        await cluster.stop_node(3)
        with anyio.move_on_after(0.2):
            await client.decide("x", b"1")
        engine = cluster.nodes[1]._server._engine
        assert engine is not None
        await until(lambda: engine.status()["requests"] == 0)


async def test_a_client_that_is_gone_is_forgotten() -> None:
    async with open_cluster() as cluster:
        await cluster.client().decide("warm", b"1")
        await cluster.stop_node(2)
        await cluster.stop_node(3)
        engine = cluster.nodes[1]._server._engine
        assert engine is not None
        async with stranger(cluster.addresses[0]) as gone:
            await gone.greet()
            await gone.ask(submit(1, "x"), submit(2, "y"))
            await until(lambda: engine.status()["requests"] == 2)
            # No farewell, just the end of the connection.
        await until(lambda: engine.status()["requests"] == 0)


async def test_calls_end_when_their_client_is_closed() -> None:
    errors: list[Exception] = []

    async def call(client: paxos.Client) -> None:
        with pytest.raises(paxos.PaxosError) as caught:
            await client.decide("x", b"1", timeout_s=PATIENCE_S)
        errors.append(caught.value)

    async with anyio.create_task_group() as group:
        async with open_cluster() as cluster, connect(cluster.addresses) as client:
            await client.decide("warm", b"1")
            await cluster.stop_node(2)
            await cluster.stop_node(3)
            group.start_soon(call, client)
            await anyio.sleep(0.2)
        with pytest.raises(Unreachable, match="the client is closed"):
            await client.decide("y", b"1")
    assert [type(error) for error in errors] == [OutcomeUnknown]


# --- one cause, one exception ------------------------------------------------------------------------


class Mine(Exception):
    """Raised by a user."""


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    error = Mine("1")
    with pytest.raises(Mine) as caught:
        async with open_cluster():
            raise error
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    with pytest.raises(Mine):
        await _decide_and_fail()
    group = ExceptionGroup("the user's own", [Mine("2")])
    with pytest.raises(ExceptionGroup) as caught_group:
        async with open_cluster(nodes=1):
            raise group
    assert caught_group.value is group


async def _decide_and_fail() -> None:
    async with open_cluster() as cluster, connect(cluster.addresses) as client:
        await client.decide("x", b"1")
        raise Mine


async def test_what_a_call_raises_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        async with connect(["127.0.0.1:1"], timeout_s=0.1) as client:
            await client.decide("x", b"1")
    config = write_config(tmp_path, 1)
    with pytest.raises(Mine):
        async with open_node(config):
            raise Mine


async def test_cancelling_the_block_ends_everything() -> None:
    before = threading.active_count()
    with anyio.move_on_after(0.3) as scope:
        async with open_cluster() as cluster, connect(cluster.addresses) as client:
            while True:
                await client.decide("x", b"1")
                await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    # Cancelled while it is being opened, too.
    for step in range(10):
        with anyio.move_on_after(0.002 * step):
            async with open_cluster():
                pass
    gc.collect()
    assert threading.active_count() <= before + 45  # the event loop's own workers, idle


async def test_a_node_that_is_cancelled_while_it_starts_lets_go_of_its_store(tmp_path: Path) -> None:
    config = write_config(tmp_path, 1)
    for step in range(25):
        with anyio.move_on_after(0.001 * step):
            async with open_node(config):
                await anyio.sleep_forever()
    async with open_node(config) as node, connect([node.address]) as client:
        assert await client.decide("x", b"1") == b"1"


async def test_an_address_that_is_taken(tmp_path: Path) -> None:
    config = write_config(tmp_path, 1)
    async with open_node(config) as node:
        other = ClusterConfig("test", "paxos", (NodeConfig(1, node.address, str(tmp_path / "other")),))
        with pytest.raises(ConfigurationError) as caught:
            async with open_node(other):
                raise AssertionError("two nodes at one address")
    text = str(caught.value)
    assert text.startswith(f"node 1: can not listen at {node.address}: Address already in use; ")
    assert "\n" not in text
    assert caught.value.exit_code == 2
    # An address of another machine.
    other = ClusterConfig("test", "paxos", (NodeConfig(1, "192.0.2.1:7101", "memory"),))
    with pytest.raises(ConfigurationError, match=r"can not listen at 192.0.2.1:7101: Cannot assign"):
        async with open_node(other):
            raise AssertionError("listens at another machine's address")


async def test_one_node_of_a_file(tmp_path: Path) -> None:
    config = write_config(tmp_path, 3)
    with pytest.raises(ConfigurationError, match="say which node to run"):
        async with open_node(config):
            raise AssertionError("which?")
    with pytest.raises(ConfigurationError, match="there is no node 4"):
        async with open_node(config, 4):
            raise AssertionError("which?")
    async with AsyncExitStack() as stack:
        path = tmp_path / "cluster.toml"
        nodes = [await stack.enter_async_context(open_node(path, node)) for node in (1, 2, 3)]
        async with connect([node.address for node in config.nodes]) as client:
            assert await client.decide("x", b"1") == b"1"
        assert [node.status()["node"] for node in nodes] == [1, 2, 3]
        nodes[0].stop()
        await nodes[0].wait_stopped()


async def test_events_are_told() -> None:
    events: list[Event] = []

    def subscriber(event: Event) -> None:
        events.append(event)
        raise Mine("a subscriber's mistake is not the node's")

    async with open_cluster(on_event=subscriber) as cluster:
        await cluster.client().decide("x", b"1")
    actions = {event.action for event in events}
    assert {"started", "connected", "chosen", "stopped"} <= actions
    chosen = next(event for event in events if event.action == "chosen")
    assert (chosen.node, chosen.arguments["decree"]) == (1, b"x")


# --- without async -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_the_sync_facade(backend: str) -> None:
    def use() -> None:
        with open_cluster_sync(backend=backend) as cluster:
            client = cluster.client()
            assert client.decide("x", b"1") == b"1"
            cluster.stop_node(1)
            with connect_sync(cluster.addresses, backend=backend) as other:
                assert other.decided("x") == b"1"
                assert other.decided("y") is None
                assert other.status(2)["node"] == 2
            cluster.start_node(1)
            assert cluster.client(1).decided("x") == b"1"
            assert len(cluster.config.nodes) == 3
            with pytest.raises(ConfigurationError, match="there is no node 4"):
                cluster.client(4)
        with pytest.raises(Mine), open_cluster_sync(nodes=1, backend=backend):
            raise Mine

    await anyio.to_thread.run_sync(use)
    assert threading.main_thread().is_alive()


async def test_arguments_that_can_not_be() -> None:
    with pytest.raises(ConfigurationError, match="at least one node"):
        async with connect([]):
            raise AssertionError
    with pytest.raises(ConfigurationError, match="expected a list of host:port"):
        async with connect("127.0.0.1:7101"):
            raise AssertionError
    with pytest.raises(ConfigurationError, match="expected host:port"):
        async with connect(["localhost"]):
            raise AssertionError
    with pytest.raises(ConfigurationError, match="nodes: expected a whole number from 1, got 0"):
        async with open_cluster(nodes=0):
            raise AssertionError
    with pytest.raises(ConfigurationError, match="no protocol named 'paxoss'"):
        async with open_cluster("paxoss"):
            raise AssertionError


def test_the_sync_facade_after_its_end() -> None:
    with paxos.open_cluster_sync(nodes=1) as cluster:
        client = cluster.client()
        assert client.decide("a", b"1") == b"1"
    for call in (
        lambda: client.decide("a", b"1"),
        client.status,
        cluster.client,
        lambda: cluster.stop_node(1),
    ):
        with pytest.raises(Unreachable, match="it is closed: its `with` block has ended"):
            call()


def test_a_loop_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    curio = paxos.open_cluster_sync(nodes=1, backend="curio")
    with pytest.raises(ConfigurationError, match="expected asyncio or trio, got 'curio'"), curio:
        pass
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    trio = paxos.connect_sync(["127.0.0.1:1"], backend="trio")
    with pytest.raises(ConfigurationError, match=r"pip install 'paxos-family\[trio\]'"), trio:
        pass
