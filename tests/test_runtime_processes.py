"""Nodes in real processes, with real sockets and a real disk: killed, restarted, stopped."""

import re
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from paxos.errors import Unreachable
from paxos.runtime import connect, make_certificates
from paxos.runtime.handshake import Hello, Refused
from paxos.runtime.ports import free_ports
from tests.processes import Process, Processes, write_config
from tests.strangers import stranger, until_ready

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="signals are what this is about"),
]

PATIENCE_S = 60.0
#: The loops under test are those of the nodes.
LOOPS = ("asyncio", "uvloop", "trio")


@pytest.fixture
def anyio_backend() -> str:
    """The loop of the clients, of which there are tests enough elsewhere."""
    return "asyncio"


async def start(processes: Processes, *nodes: int) -> None:
    await anyio.to_thread.run_sync(lambda: processes.start(*nodes))


async def wait(process: Process) -> int:
    return await anyio.to_thread.run_sync(process.wait)


async def test_kill_and_restart(tmp_path: Path) -> None:
    """What was decided is decided, whoever was killed meanwhile."""
    config = write_config(tmp_path)
    with Processes(config, LOOPS) as processes:
        await start(processes)
        async with connect(processes.addresses, timeout_s=PATIENCE_S) as client:
            assert await client.decide("a", b"1") == b"1"
            await until_ready(client, 1, 2, 3)
            for victim in (1, 2, 3):
                processes.nodes[victim].kill()
                assert await client.decide(f"without-{victim}", b"%d" % victim) == b"%d" % victim
                await start(processes, victim)
                status = await client.status(victim)
                assert status["ready"]
            # All at once.
            for node in (1, 2, 3):
                processes.nodes[node].kill()
            await start(processes)
            for address in processes.addresses:
                async with connect([address], timeout_s=PATIENCE_S) as one:
                    assert await one.decide("a", b"2") == b"1"
                    for victim in (1, 2, 3):
                        assert await one.decided(f"without-{victim}") == b"%d" % victim


async def test_sigterm_ends_a_node_in_bounded_time(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with Processes(config, LOOPS) as processes:
        await start(processes)
        async with connect(processes.addresses, timeout_s=PATIENCE_S) as client:
            await client.decide("a", b"1")

            async def keep_deciding() -> None:
                number = 0
                while True:
                    number += 1
                    await client.decide(f"d{number}", b"1")

            async with anyio.create_task_group() as group:
                group.start_soon(keep_deciding)
                await anyio.sleep(0.2)
                for node, number in ((1, signal.SIGTERM), (2, signal.SIGINT)):
                    processes.nodes[node].signal(number)
                    assert await wait(processes.nodes[node]) == 0
                    assert "stopped" in processes.nodes[node].log()
                    await start(processes, node)
                group.cancel_scope.cancel()
            # Also in the middle of nothing, and with connections that say nothing.
            async with await anyio.connect_tcp("127.0.0.1", config.node(3).port):
                processes.nodes[3].terminate()
                assert await wait(processes.nodes[3]) == 0


async def test_a_node_without_its_disk_stops(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with Processes(config) as processes:
        await start(processes)
        async with connect(processes.addresses, timeout_s=PATIENCE_S) as client:
            await client.decide("a", b"1")
            await until_ready(client, 1, 2, 3)
            processes.nodes[2].kill()
            (tmp_path / "data" / "2").rename(tmp_path / "old")
            await start(processes, 2)
            assert await wait(processes.nodes[2]) == 6
            error = processes.nodes[2].log().splitlines()[-1]
            assert re.match(r"error: node 2 lost its disk: node [13] knows it by store [0-9a-f]{32}, ", error)
            # With the old disk it is welcome again.
            (tmp_path / "data" / "2").rename(tmp_path / "new")
            (tmp_path / "old").rename(tmp_path / "data" / "2")
            await start(processes, 2)
            assert (await client.status(2))["ready"]


async def test_what_keeps_a_node_from_starting(tmp_path: Path) -> None:
    config = write_config(tmp_path, 1)
    with Processes(config) as processes:
        await start(processes)
        # The same again: its address is taken, and so would be its store.
        other = Process(config, 1)
        assert await wait(other) == 2
        assert re.fullmatch(r"error: node 1: can not listen at .*: Address already in use; .*\n", other.log())
        other.close()
        missing = Process(config, 7)
        assert await wait(missing) == 2
        assert re.fullmatch(r"error: .*there is no node 7; .*\n", missing.log())
        missing.close()


async def test_processes_with_tls(tmp_path: Path) -> None:
    tls = make_certificates(tmp_path / "tls", [1, 2, 3])
    config = write_config(tmp_path, tls=tls)
    with Processes(config, LOOPS) as processes:
        await start(processes)
        async with connect(processes.addresses, tls=config.tls, timeout_s=PATIENCE_S) as client:
            assert await client.decide("a", b"1") == b"1"
        async with connect(processes.addresses, timeout_s=0.3) as plain:
            with pytest.raises(Unreachable, match="requires TLS"):
                await plain.decided("a")


async def test_a_node_with_few_descriptors_keeps_some_for_itself(tmp_path: Path) -> None:
    config = write_config(tmp_path, 1)
    process = Process(config, 1, descriptors=100)
    address = config.node(1).address
    try:
        await anyio.to_thread.run_sync(process.wait_ready)
        assert "may have 100 files and sockets open, so at most 24 clients are served" in process.log()
        async with connect([address], timeout_s=PATIENCE_S) as client, AsyncExitStack() as stack:
            await client.decide("a", b"1")
            for _ in range(150):
                await stack.enter_async_context(stranger(address))
            answers = [await (await stack.enter_async_context(stranger(address))).greet() for _ in range(30)]
            assert [type(answer) for answer in answers] == [Hello] * 23 + [Refused] * 7
            assert await client.decide("b", b"2") == b"2"
        async with connect([address], timeout_s=PATIENCE_S) as client:
            assert await client.decided("b") == b"2"
        assert "could not be accepted" not in process.log()
        process.terminate()
        assert await wait(process) == 0
    finally:
        process.close()


_HANGING = """
import sys, time
from functools import partial
import anyio
from paxos.errors import PaxosError
from paxos.runtime import ClusterConfig, Limits, MemoryDisk, NodeConfig, open_node, run_node, serving

class Hanging:
    def __init__(self, store):
        self.card, self.load, self.close = store.card, store.load, store.close

    def write(self, batch):
        print("hangs", flush=True)
        time.sleep(3600)

def opener(config, node):
    store = MemoryDisk().open(cluster=config.id, node=node, protocol=config.protocol)
    if sys.argv[2] == "write":
        return Hanging(store)
    print("hangs", flush=True)
    time.sleep(3600)

serving.open_node = partial(open_node, open_store=opener)
nodes = (NodeConfig(1, "127.0.0.1:" + sys.argv[3], "memory"),)
config = ClusterConfig(id="test", protocol="paxos", nodes=nodes)
backend = "trio" if sys.argv[1] == "trio" else "asyncio"
options = {"use_uvloop": sys.argv[1] == "uvloop"} if backend == "asyncio" else {}
run = partial(run_node, config, 1, limits=Limits(stop_s=0.2))
try:
    print(anyio.run(run, backend=backend, backend_options=options))
except PaxosError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("what", ["write", "open"])
@pytest.mark.parametrize("loop", LOOPS)
async def test_a_disk_that_hangs_does_not_keep_the_process(loop: str, what: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    command = [sys.executable, "-W", "error", "-c", _HANGING, loop, what, str(free_ports(1)[0])]
    async with await anyio.open_process(command, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        try:
            with anyio.fail_after(PATIENCE_S):
                assert (await process.stdout.receive()).startswith(b"hangs")
                process.terminate()
                text = b"".join([chunk async for chunk in process.stdout]).decode()
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
    if what == "write":
        assert "the disk did not finish a batch in time" in text
        assert process.returncode == 6
    else:
        assert text.strip() == "NodeExit(node=1, signal='SIGTERM', status={})"
        assert process.returncode == 0
