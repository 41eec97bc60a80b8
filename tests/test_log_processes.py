"""A log's real processes: a majority killed under load, and a request that the state machine raises on."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest

import paxos
from multipaxos import MultiPaxosSettings
from paxos.cli.processes import NodeProcesses
from paxos.errors import EXIT_NODE_STOPPED, OutcomeUnknown, PaxosError, Rejected, Unreachable
from paxos.runtime import ClusterConfig, NodeConfig, dump_cluster
from paxos.runtime.ports import free_ports

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

NODES = (1, 2, 3)
#: Nothing here takes so long, unless it hangs.
PATIENCE_S = 60.0

MACHINE = '''
import paxos

class Fragile(paxos.KeyValue):
    """Cannot carry out what has `poison` in it."""

    def apply(self, command):
        if b"poison" in command:
            raise ValueError("not this one")
        return super().apply(command)

    apply_many = None
'''


def configure(directory: Path, machine: str | None = None) -> ClusterConfig:
    nodes = tuple(
        NodeConfig(node, f"127.0.0.1:{port}", str(directory / "data" / str(node)))
        for node, port in zip(NODES, free_ports(3), strict=True)
    )
    soon = MultiPaxosSettings(heartbeat_s=0.05, election_min_s=0.3, election_max_s=0.6)
    config = ClusterConfig(id="shop", protocol="multipaxos", nodes=nodes, machine=machine, settings=soon)
    (directory / "cluster.toml").write_text(dump_cluster(config), encoding="utf-8")
    return config


def addresses(config: ClusterConfig) -> list[str]:
    return [node.address for node in config.nodes]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def wait_ready(config: ClusterConfig) -> None:
    """All of them must be up once before any may be away."""
    with paxos.connect_sync(addresses(config), timeout_s=1.0) as client:

        def are_ready() -> bool:
            try:
                return all(client.status(node)["ready"] for node in NODES)
            except PaxosError:
                return False

        wait_until(are_ready)


def test_a_majority_that_is_killed_and_started_again(tmp_path: Path) -> None:
    """In the middle of writes, twice: all that was acknowledged is there, and every increment counts once."""
    config = configure(tmp_path)
    told: list[int] = []
    asked = 0
    over = Event()

    def write() -> None:
        nonlocal asked
        with paxos.connect_sync(addresses(config), timeout_s=1.0) as client:
            while not over.is_set():
                asked += 1
                with suppress(OutcomeUnknown, Unreachable, Rejected):
                    told.append(client.increment(b"n"))

    with NodeProcesses(tmp_path / "cluster.toml", tmp_path, ("--log-level", "error")) as nodes:
        for node in NODES:
            nodes.start(node)
        wait_ready(config)
        writer = Thread(target=write)
        writer.start()
        try:
            for killed in ((1, 2), NODES):
                enough = len(told) + 30
                wait_until(lambda enough=enough: len(told) >= enough)  # type: ignore[misc]
                for node in killed:
                    nodes.nodes[node].kill()
                for node in killed:
                    nodes.start(node)
            enough = len(told) + 30
            wait_until(lambda: len(told) >= enough)
        finally:
            over.set()
            writer.join()
        for address in addresses(config):
            with paxos.connect_sync([address], timeout_s=PATIENCE_S) as client:
                total = int(client.get(b"n") or b"0")
                assert max(told) <= total <= asked
    assert len(told) == len(set(told))
    assert told == sorted(told)


def test_a_request_that_the_machine_raises_on_is_named_and_can_be_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fragile.py").write_text(MACHINE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    config = configure(tmp_path, "fragile:Fragile")
    file = tmp_path / "cluster.toml"
    with NodeProcesses(file, tmp_path) as nodes:
        for node in NODES:
            nodes.start(node)
        wait_ready(config)
        with paxos.connect_sync(addresses(config), timeout_s=PATIENCE_S) as client:
            client.put(b"before", b"1")
            with pytest.raises(OutcomeUnknown):
                client.put(b"k", b"poison", timeout_s=3.0)
        # Whoever comes to it stops rather than differ; the last one alone does not know that it is decided.
        wait_until(lambda: sum(nodes.nodes[node].running for node in NODES) <= 1)
        stopped = [node for node in NODES if not nodes.nodes[node].running]
        for node in stopped:
            assert nodes.nodes[node].wait(PATIENCE_S) == EXIT_NODE_STOPPED
    logs = {node: tmp_path / f"node-{node}.log" for node in NODES}
    said = logs[stopped[0]].read_text()
    found = re.search(r"can not carry out request (\d+) of client ([0-9a-f]{32}).*ValueError: not this", said)
    assert found is not None
    for node in stopped:
        assert f"paxos serve --skip {found[2]}:{found[1]}" in logs[node].read_text()
    with NodeProcesses(file, tmp_path, ("--skip", f"{found[2]}:{found[1]}")) as nodes:
        for node in NODES:
            nodes.start(node)
        with paxos.connect_sync(addresses(config), timeout_s=PATIENCE_S) as client:
            client.put(b"after", b"2")
            assert client.get(b"before") == b"1"
            assert client.get(b"k") is None
            for node in NODES:
                assert client.status(node)["leader"]
    assert any("counts as carried out by an operator's decision" in log.read_text() for log in logs.values())
