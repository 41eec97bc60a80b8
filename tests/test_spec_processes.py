"""What three real processes did, one of them killed and started again, is a behaviour of the specification.

The processes are those of `paxos serve`, with real sockets and stores.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import epaxos
import fastpaxos.log
import paxos
from epaxos import EPaxosSettings
from fastpaxos.log import FastLogSettings
from multipaxos import MultiPaxosSettings, protocol
from multipaxos.tracing import SPECIFICATION
from paxos.check.spec_traces import check_traces
from paxos.check.trace_files import merge_trace_files
from paxos.runtime import ClusterConfig, dump_cluster
from paxos.service import LogSettings
from tests.processes import write_config
from tests.tlc import require_tlc

NODES = (1, 2, 3)


class _Nodes:
    """`paxos serve --trace-events` for each node; none is left behind."""

    def __init__(self, config: ClusterConfig, place: Path) -> None:
        self._config = config
        self._place = place
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *nodes: int) -> None:
        for node in nodes:
            command = [sys.executable, "-m", "paxos", "serve", "--config", str(self._config.path)]
            command += ["--node", str(node), "--trace-events", str(self.file(node))]
            with (self._place / f"{node}.log").open("ab") as log:
                self._running[node] = subprocess.Popen(command, stderr=log, stdout=log, env=os.environ)

    def file(self, node: int) -> Path:
        return self._place / f"{node}.jsonl"

    def kill(self, node: int) -> None:
        process = self._running.pop(node)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        assert [process.wait(30) for process in self._running.values()] == [0] * len(self._running)

    def __enter__(self) -> "_Nodes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.mark.once
def test_the_merged_trace_of_three_real_processes_is_a_behaviour(tmp_path):
    tlc = require_tlc()
    config = write_config(tmp_path)
    addresses = [node.address for node in config.nodes]
    with _Nodes(config, tmp_path) as nodes:
        nodes.start(*NODES)
        # Every decree is wanted at all nodes at once, by clients that know nothing of each other.
        for decree in range(8):
            _decide_everywhere(addresses, f"d{decree}")
        nodes.kill(3)
        with paxos.connect_sync(addresses[:2]) as client:
            assert client.decide("without-3", b"x", timeout_s=30) == b"x"
        nodes.start(3)
        with paxos.connect_sync([addresses[2]]) as client:
            assert client.decide("with-3", b"y", timeout_s=30) == b"y"
            assert client.decided("without-3", timeout_s=30) == b"x"
        nodes.stop()
    files = [nodes.file(node) for node in NODES]
    restarts = [json.loads(line) for line in files[2].read_text().splitlines() if '"Restart"' in line]
    assert len([event for event in restarts if "decree" not in event]) == 2
    traces = merge_trace_files(files, config.quorum_system())
    report = check_traces(tlc, traces)
    assert report.rejections == ()
    assert report.traces == 10
    assert report.actions["Learn"] >= 10
    # The clocks matter: with one node's set back, effects stand before their causes.
    lines = [json.loads(line) for line in files[0].read_text().splitlines()]
    files[0].write_text("".join(json.dumps({**line, "clock": 0}) + "\n" for line in lines))
    assert check_traces(tlc, merge_trace_files(files, config.quorum_system()), explain=0).rejections


@pytest.mark.once
def test_the_merged_trace_of_three_real_processes_with_a_log_is_a_behaviour(tmp_path):
    tlc = require_tlc()
    config = attrs.evolve(
        write_config(tmp_path),
        protocol="multipaxos",
        settings=MultiPaxosSettings(hint_slots=2, page_slots=2),
        log=LogSettings(marker_requests=4, growth=0.0),
    )
    assert config.path is not None
    assert SPECIFICATION is protocol.specification
    config.path.write_text(dump_cluster(config), encoding="utf-8")
    addresses = [node.address for node in config.nodes]
    with _Nodes(config, tmp_path) as nodes:
        files = [nodes.file(node) for node in NODES]
        nodes.start(*NODES)
        with paxos.connect_sync(addresses) as client:
            for number in range(8):
                client.put(b"%d" % number, b"before", timeout_s=30)
            leader = _leader(files)
            nodes.kill(leader)
            for number in range(8):
                client.put(b"%d" % number, b"without", timeout_s=30)
            nodes.start(leader)
            client.put(b"end", b"with", timeout_s=30)
        with paxos.connect_sync([addresses[leader - 1]]) as client:
            assert client.get(b"end", timeout_s=30) == b"with"
        nodes.stop()
    form = SPECIFICATION.traces
    traces = merge_trace_files(files, config.quorum_system(), form)
    report = check_traces(tlc, traces, "multipaxos")
    assert report.rejections == ()
    assert report.traces == 1
    wanted = {"Restart", "Phase1a", "Elected", "Phase2a", "Commit", "FollowerCommit", "Snapshot", "Compact"}
    assert wanted <= report.actions.keys()
    assert report.actions["Restart"] == 4
    # The clocks matter: with one node's set back, effects stand before their causes.
    lines = [json.loads(line) for line in files[0].read_text().splitlines()]
    files[0].write_text("".join(json.dumps({**line, "clock": 0}) + "\n" for line in lines))
    wrong = merge_trace_files(files, config.quorum_system(), form)
    assert check_traces(tlc, wrong, "multipaxos", explain=0).rejections


@pytest.mark.once
def test_the_merged_trace_of_three_real_processes_without_a_leader_is_a_behaviour(tmp_path):
    tlc = require_tlc()
    # What is recovered is recovered soon, and few numbers are reserved: TLC looks at all that there are.
    settings = EPaxosSettings(reserve_numbers=2, recover_s=0.3, recover_stagger_s=0.1, gossip_s=0.1)
    config = attrs.evolve(write_config(tmp_path), protocol="epaxos", settings=settings)
    assert config.path is not None
    config.path.write_text(dump_cluster(config), encoding="utf-8")
    addresses = [node.address for node in config.nodes]
    with _Nodes(config, tmp_path) as nodes:
        files = [nodes.file(node) for node in NODES]
        nodes.start(*NODES)
        _put_everywhere(addresses, 2)
        nodes.kill(2)
        # Whatever of it is not decided is recovered, for these wait for it.
        _put_everywhere([addresses[0], addresses[2]], 2)
        nodes.start(2)
        _put_everywhere(addresses, 1)
        nodes.stop()
    assert epaxos.protocol.specification is not None
    form = epaxos.protocol.specification.traces
    report = check_traces(tlc, merge_trace_files(files, config.quorum_system(), form), "epaxos")
    assert report.rejections == ()
    assert report.traces == 1
    assert {"Restart", "Submit", "PreAccept", "CountPreAccept", "LearnCommit"} <= report.actions.keys()
    assert report.actions["Restart"] == 4
    assert report.actions["Submit"] >= 13
    # The clocks matter: with one node's set back, effects stand before their causes.
    lines = [json.loads(line) for line in files[0].read_text().splitlines()]
    files[0].write_text("".join(json.dumps({**line, "clock": 0}) + "\n" for line in lines))
    wrong = merge_trace_files(files, config.quorum_system(), form)
    assert check_traces(tlc, wrong, "epaxos", explain=0).rejections


@pytest.mark.once
def test_the_merged_trace_of_three_real_processes_with_a_fast_log_is_a_behaviour(tmp_path):
    tlc = require_tlc()
    config = attrs.evolve(
        write_config(tmp_path),
        protocol="fastpaxos-log",
        settings=FastLogSettings(),
        log=LogSettings(marker_requests=4, growth=0.0),
    )
    assert config.path is not None
    config.path.write_text(dump_cluster(config), encoding="utf-8")
    addresses = [node.address for node in config.nodes]
    with _Nodes(config, tmp_path) as nodes:
        files = [nodes.file(node) for node in NODES]
        nodes.start(*NODES)
        _put_everywhere(addresses, 2)
        nodes.kill(1)  # which coordinates first
        _put_everywhere(addresses[1:], 1)
        nodes.start(1)
        _put_everywhere(addresses[:1], 1)
        nodes.stop()
    assert fastpaxos.log.protocol.specification is not None
    form = fastpaxos.log.protocol.specification.traces
    report = check_traces(tlc, merge_trace_files(files, config.quorum_system(), form), "fastpaxos-log")
    assert report.rejections == ()
    assert {
        "Restart",
        "Propose",
        "Phase1a",
        "Elected",
        "Phase2b",
        "Learn",
        "Snapshot",
    } <= report.actions.keys()
    assert report.actions["Restart"] == 4
    assert report.actions["Submit"] >= 9


def _put_everywhere(addresses: list[str], times: int) -> None:
    """Clients at all nodes write one key, so often, at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    def put(address: str) -> None:
        with paxos.connect_sync([address]) as client:
            for _ in range(times):
                client.put(b"k", address.encode(), timeout_s=30)

    with ThreadPoolExecutor(len(addresses)) as pool:
        list(pool.map(put, addresses))


def _leader(files: list[Path]) -> int:
    """Who was elected last."""
    lines = [line for file in files for line in file.read_text().splitlines() if '"Elected"' in line]
    last = max(map(json.loads, lines), key=lambda event: event["clock"])
    return int(last["node"])


def _decide_everywhere(addresses: list[str], decree: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def decide(address: str) -> bytes:
        with paxos.connect_sync([address]) as client:
            return client.decide(decree, address.encode(), timeout_s=30)

    with ThreadPoolExecutor(len(addresses)) as pool:
        assert len(set(pool.map(decide, addresses))) == 1


@pytest.mark.parametrize("text", ["no trace\n", '{"clock": "x"}\n'])
def test_a_trace_file_that_is_none_is_refused(tmp_path, capsys, text):
    from paxos.cli import main

    config = write_config(tmp_path, 1)
    (tmp_path / "1.jsonl").write_text(text)
    arguments = ["serve", "--config", str(config.path), "--node", "1"]
    assert main([*arguments, "--trace-events", str(tmp_path / "1.jsonl")]) == 2
    assert "1.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
