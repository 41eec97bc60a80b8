"""The command line against running nodes: some in this process, some in processes of their own."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import paxos
from paxos.cli import demo, main
from paxos.cli.check import StoreLook, look_at_store
from paxos.cli.processes import NodeProcess, NodeProcesses
from paxos.errors import (
    EXIT_CHECK_FAILED,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_NO,
    EXIT_UNKNOWN,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    NodeStopped,
    StoreRefused,
)
from paxos.runtime.certificates import make_certificates
from paxos.runtime.config import dump_cluster, load_cluster
from paxos.runtime.ports import free_ports

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

Capture = pytest.CaptureFixture[str]

#: How long anything below may take before the test gives up, seconds.
PATIENCE_S = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[paxos.Cluster | Any]:
    """Three nodes in this process."""
    with paxos.open_cluster_sync("paxos", nodes=3, cluster="shop") as opened:
        yield opened


@pytest.fixture
def at(cluster: Any) -> list[str]:
    """The arguments that name the cluster."""
    return ["--cluster", ",".join(cluster.addresses)]


def json_of(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


# --- decide and decided ------------------------------------------------------------------------------


def test_decide_prints_what_was_chosen_and_nothing_else(at: list[str], capfdbinary: Any) -> None:
    assert main(["decide", "plain", "first", *at]) == EXIT_DONE
    assert capfdbinary.readouterr() == (b"first", b"")
    assert main(["decide", "plain", "second", *at]) == EXIT_DONE
    assert capfdbinary.readouterr() == (b"first", b"")
    assert main(["decided", "plain", *at]) == EXIT_DONE
    assert capfdbinary.readouterr() == (b"first", b"")


def test_decided_says_no_when_nothing_is(at: list[str], capfdbinary: Any) -> None:
    assert main(["decided", "nobody asked", *at]) == EXIT_NO
    assert capfdbinary.readouterr() == (b"", b"")
    assert main(["decided", "nobody asked", *at, "--json"]) == EXIT_NO
    assert json.loads(capfdbinary.readouterr().out) == {
        "name": "nobody asked",
        "decided": False,
        "value": None,
    }


def test_any_bytes_pass_through(at: list[str], capfdbinary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    value = bytes(range(256)) + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(value)))
    name = os.fsdecode(b"odd \xff name")
    assert main(["decide", name, "-", *at]) == EXIT_DONE
    assert capfdbinary.readouterr() == (value, b"")
    assert main(["decided", name, *at, "--json"]) == EXIT_DONE
    found = json.loads(capfdbinary.readouterr().out)
    assert found["name"] == {"base64": "b2RkIP8gbmFtZQ=="}
    assert found["value"].keys() == {"base64"}


def test_decide_as_json_says_whose_value_it_is(at: list[str], capsys: Capture) -> None:
    assert main(["decide", "whose", "mine", *at, "--json"]) == EXIT_DONE
    assert json_of(capsys) == {"name": "whose", "value": "mine", "ours": True}
    assert main(["decide", "whose", "yours", *at, "--json"]) == EXIT_DONE
    assert json_of(capsys) == {"name": "whose", "value": "mine", "ours": False}


def test_a_value_too_long_is_refused(at: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes((1 << 20) + 1))))
    assert main(["decide", "long", "-", *at]) == EXIT_USAGE
    assert "longer than 1048576 bytes" in capsys.readouterr().err


def test_nobody_there_is_unreachable(capsys: Capture) -> None:
    (port,) = free_ports(1)
    for arguments in (["decide", "a", "b"], ["decided", "a"], ["status"]):
        nowhere = [*arguments, "--cluster", f"127.0.0.1:{port}", "--timeout", "0.2"]
        assert main([*nowhere, "--json"]) == EXIT_UNREACHABLE
        found = json_of(capsys)
        if arguments != ["status"]:
            assert found["error"]["type"] == "Unreachable"
            assert str(port) in found["error"]["message"]


def test_without_a_quorum(capsys: Capture) -> None:
    with paxos.open_cluster_sync("paxos", nodes=3) as opened:
        at = ["--cluster", ",".join(opened.addresses), "--timeout", "1"]
        assert main(["decide", "before", "yes", *at]) == EXIT_DONE
        opened.stop_node(2)
        opened.stop_node(3)
        capsys.readouterr()
        assert main(["decided", "after", *at]) == EXIT_UNREACHABLE
        assert "may not reach a quorum" in capsys.readouterr().err
        assert main(["decide", "after", "yes", *at]) == EXIT_UNKNOWN
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "trying again is safe" in captured.err


def test_a_file_of_another_cluster(cluster: Any, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(dump_cluster(cluster.config))
    assert main(["decide", "file", "yes", "--config", str(path)]) == EXIT_DONE
    assert capsys.readouterr().out == "yes"
    path.write_text(dump_cluster(cluster.config).replace('"shop"', '"other"'))
    assert main(["decide", "file", "yes", "--config", str(path)]) == EXIT_USAGE
    message = capsys.readouterr().err
    assert "'shop'" in message
    assert "'other'" in message


def test_with_tls(tmp_path: Path, capsys: Capture) -> None:
    tls = make_certificates(tmp_path, [1, 2, 3])
    with paxos.open_cluster_sync("paxos", nodes=3, tls=tls) as opened:
        at = ["--cluster", ",".join(opened.addresses), "--timeout", "5"]
        files = ["--ca", tls.ca, "--certificate", str(tmp_path / "node-client.pem")]
        files += ["--key", str(tmp_path / "node-client.key")]
        assert main(["decide", "tls", "yes", *at, *files]) == EXIT_DONE
        assert capsys.readouterr().out == "yes"
        path = tmp_path / "cluster.toml"
        path.write_text(dump_cluster(opened.config))
        assert main(["decided", "tls", "--config", str(path)]) == EXIT_DONE
        assert capsys.readouterr().out == "yes"
        assert main(["decided", "tls", *at[:-1], "0.5"]) == EXIT_UNREACHABLE
        assert "requires TLS" in capsys.readouterr().err
        files[-1] = files[-1].replace("client", "1")
        assert main(["decided", "tls", *at, *files]) == EXIT_USAGE


# --- status ------------------------------------------------------------------------------------------


def test_status_lists_every_node(cluster: Any, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "cluster.toml"
    (port,) = free_ports(1)
    node = f'\n[[node]]\nid = 4\naddress = "127.0.0.1:{port}"\nstore = "memory"\n'
    path.write_text(dump_cluster(cluster.config) + node)
    assert main(["status", "--config", str(path), "--timeout", "1"]) == EXIT_DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 of 4 nodes reached:"
    assert [line.split()[:3] for line in lines[2:5]] == [
        [str(number), address, "yes"] for number, address in enumerate(cluster.addresses, 1)
    ]
    assert lines[5].split()[:3] == ["4", f"127.0.0.1:{port}", "-"]
    assert lines[5].count(str(port)) == 1, "the address stands in its own column"
    assert "refused" in lines[5]
    assert main(["status", "--config", str(path), "--timeout", "1", "--json"]) == EXIT_DONE
    found = json_of(capsys)
    assert found["reached"] == 3
    assert [node["reachable"] for node in found["nodes"]] == [True, True, True, False]
    assert found["nodes"][0]["protocol"] == "paxos"
    assert found["nodes"][3]["node"] == 4


# --- serve -------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A cluster file for three nodes on free ports."""
    path = tmp_path / "cluster.toml"
    nodes = "".join(
        f'[[node]]\nid = {node}\naddress = "127.0.0.1:{port}"\nstore = "data/{node}"\n'
        for node, port in enumerate(free_ports(3), 1)
    )
    path.write_text(f'[cluster]\nid = "shop"\nprotocol = "paxos"\n{nodes}')
    return path


def wait_until_ready(files: Path, capsys: Capture) -> None:
    """Until every node votes."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        main(["status", "--config", str(files), "--json", "--timeout", "1"])
        nodes = json_of(capsys)["nodes"]
        if all(node.get("ready") for node in nodes):
            return
        assert time.monotonic() < deadline_s, nodes
        time.sleep(0.05)


def serve(files: Path, node: int, *options: str, **how: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "paxos", "serve", "--config", str(files), "--node", str(node), *options]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **{**pipes, **how})


def end(process: "subprocess.Popen[str]", number: int) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def test_nodes_of_every_kind_serve_together_and_stop_when_told(files: Path, capsys: Capture) -> None:
    nodes = [
        serve(files, 1, "--log-json"),
        serve(files, 2, "--backend", "trio", "--json", "--log-level", "error"),
        serve(files, 3, "--uvloop", "--stop-with-stdin"),
    ]
    try:
        wait_until_ready(files, capsys)
        assert main(["decide", "who", "me", "--config", str(files)]) == EXIT_DONE
        assert capsys.readouterr().out == "me"
        code, out, err = end(nodes[0], signal.SIGTERM)
        assert (code, out) == (EXIT_DONE, "")
        lines = [json.loads(line) for line in err.splitlines()]
        assert {"started", "connected", "stopped"} <= {line["event"] for line in lines}
        assert all(line["node"] == 1 and line["level"] and line["time"].endswith("Z") for line in lines)
        code, out, err = end(nodes[1], signal.SIGINT)
        assert (code, err) == (EXIT_INTERRUPTED, "")
        ended = json.loads(out)
        assert (ended["node"], ended["signal"], ended["status"]["ready"]) == (2, "SIGINT", True)
        out, err = nodes[2].communicate(timeout=PATIENCE_S)  # closes its standard input
        assert (nodes[2].returncode, out) == (EXIT_DONE, "")
        assert "node 3: serves at" in err
    finally:
        for node in nodes:
            node.kill()
            node.communicate()
    for node_id in (1, 2, 3):
        look = look_at_store(load_cluster(files).node(node_id).store)
        assert look.report.clean
        assert look.decided in ({b"who": b"me"}, {})


def test_what_keeps_a_node_from_starting(files: Path, capsys: Capture) -> None:
    config = load_cluster(files)
    first = serve(files, 1)
    try:
        assert first.stderr is not None
        assert "serves at" in first.stderr.readline()
        assert main(["serve", "--config", str(files), "--node", "1", "--log-level", "error"]) == EXIT_USAGE
        message = capsys.readouterr().err
        assert config.node(1).address in message or "in use" in message
        assert message.count("\n") == 1
    finally:
        end(first, signal.SIGTERM)
    other = files.with_name("other.toml")
    other.write_text(files.read_text().replace('"shop"', '"other"'))
    assert main(["serve", "--config", str(other), "--node", "1", "--log-level", "error"]) == EXIT_USAGE
    assert "belongs to cluster 'shop', not 'other'" in capsys.readouterr().err
    assert main(["serve", "--config", str(files), "--node", "9"]) == EXIT_USAGE
    assert "there is no node 9; the nodes are 1, 2, 3" in capsys.readouterr().err


def test_a_wiped_disk_stops_its_node(files: Path, tmp_path: Path, capsys: Capture) -> None:
    config = load_cluster(files)
    with NodeProcesses(files, tmp_path) as nodes:
        for node in config.members:
            nodes.start(node)
        wait_until_ready(files, capsys)
        nodes.stop([3])
        Path(config.node(3).store).rename(tmp_path / "elsewhere")
        again = serve(files, 3, "--log-level", "error")
        out, err = again.communicate(timeout=PATIENCE_S)
        assert again.returncode == 6
        assert out == ""
        assert "node 3 lost its disk" in err
        assert nodes.stop([1, 2]) == {1: EXIT_DONE, 2: EXIT_DONE}


# --- processes ---------------------------------------------------------------------------------------


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_no_node_outlives_whoever_started_it(files: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from paxos.cli.processes import NodeProcess\n"
        "node = NodeProcess(1, Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(node.pid, flush=True); time.sleep(600)"
    )
    log = tmp_path / "log"
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(files), str(log)], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    deadline_s = time.monotonic() + PATIENCE_S
    while "serves at" not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    store = load_cluster(files).node(1).store
    with pytest.raises(StoreRefused, match=f"in use by process {pid}"):
        look_at_store(store)
    starter.kill()
    starter.communicate()
    # Its id may stay for long, until somebody collects it; its hold on the store ends when it does.
    while True:
        try:
            assert look_at_store(store).report.sound
            break
        except StoreRefused:
            if time.monotonic() > deadline_s:
                os.kill(pid, signal.SIGKILL)  # it holds the store, so the id is still its own
                pytest.fail("the node outlived whoever started it")
            time.sleep(0.02)


def test_a_node_that_ends_says_why(tmp_path: Path) -> None:
    node = NodeProcess(1, tmp_path / "absent.toml", tmp_path / "log")
    assert node.wait(PATIENCE_S) == EXIT_USAGE
    assert not node.running
    with pytest.raises(NodeStopped, match=r"node 1 ended with exit code 2: .*absent\.toml: no such file"):
        node.require_running()


# --- demo --------------------------------------------------------------------------------------------


def test_the_demo_shows_that_nothing_is_lost(tmp_path: Path, capsys: Capture) -> None:
    keep = tmp_path / "kept"
    assert (
        main(["demo", "--protocol", "paxos", "--decrees", "12", "--keep", str(keep), "--json"]) == EXIT_DONE
    )
    captured = capsys.readouterr()
    assert "round 2" in captured.err
    found = json.loads(captured.out)
    assert (found["nodes"], found["decisions"], found["killed"]) == (3, 36, 3)
    assert found["differences"] == []
    # Every node was asked for everything, and a quorum's stores hold it.
    assert found["compared"] >= 3 * 36 + 2 * 36
    assert [one["nodes"] for one in found["rounds"]] == [[1, 2, 3], [1, 2], [1, 2, 3]]
    assert all(one["decrees"] == 12 and one["decided_per_s"] > 0 for one in found["rounds"])
    assert found["sample"][0]["value"].startswith("round-1/decree-")
    config = load_cluster(keep / "cluster.toml")
    looks = [look_at_store(node.store) for node in config.nodes]
    assert len(looks[0].decided) >= 30
    assert looks[2].report.card.incarnation == 2
    assert all(look.report.clean and look.report.sound for look in looks)


def test_the_demo_sees_a_difference(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def forged(url: str) -> StoreLook:
        look = look_at_store(url)
        if url.endswith("/2"):
            look.decided[b"round-1/decree-1"] = b"another"
        return look

    monkeypatch.setattr(demo, "look_at_store", forged)
    assert main(["demo", "--protocol", "paxos", "--decrees", "2"]) == EXIT_CHECK_FAILED
    captured = capsys.readouterr()
    assert "DIFFERENT: round-1/decree-1: the store of node 2 has b'another'" in captured.err
    assert "1 DIFFERENT" in captured.out


def test_the_demo_cleans_up_when_interrupted(tmp_path: Path) -> None:
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "paxos", "demo", "--protocol", "paxos", "--decrees", "10000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    assert process.stderr is not None
    pids: list[int] = []
    guard = threading.Timer(PATIENCE_S, process.kill)
    guard.start()
    try:
        for line in process.stderr:
            if ": process " in line:
                pids.append(int(line.split(": process ")[1].split(",")[0]))
            if line.startswith("round 1"):
                break
        assert len(pids) == 3
        code, out, _ = end(process, signal.SIGINT)
    finally:
        guard.cancel()
        process.kill()
        process.communicate()
    assert (code, out) == (EXIT_INTERRUPTED, "")
    assert not any(map(running, pids))
    assert list(tmp_path.glob("paxos-demo-*")) == []
