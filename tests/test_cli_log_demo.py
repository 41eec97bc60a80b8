"""The demo of a log: the leader is killed, nothing is lost or done twice, and a difference is seen."""

import json
from pathlib import Path
from typing import Any

import pytest

from paxos.cli import main
from paxos.cli.check import look_at_store
from paxos.cli.demo_log import LogDemo
from paxos.cli.output import Output
from paxos.cli.processes import NodeProcesses
from paxos.errors import EXIT_DONE
from paxos.runtime.config import load_cluster

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def test_the_demo_kills_the_leader_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = tmp_path / "kept"
    asked = ["demo", "--protocol", "multipaxos", "--writes", "12", "--keep", str(keep), "--json"]
    assert main(asked) == EXIT_DONE
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["nodes"], found["writes"], found["differences"]) == (3, 36, [])
    first, second, third = found["rounds"]
    assert found["killed"] == second["leader"] != third["leader"]
    assert first["leader"] == second["leader"]
    assert f"node {third['leader']} leads now" in captured.err
    assert [one["writes"] for one in found["rounds"]] == [12, 12, 12]
    assert len(found["states"]) == 3
    assert {(state["keys"], state["counter"]) for state in found["states"]} == {(36, 36)}
    assert len({(state["applied"], state["digest"]) for state in found["states"]}) == 1
    assert found["compared"] == 3 * 36
    config = load_cluster(keep / "cluster.toml")
    looks = {node.id: look_at_store(node.store) for node in config.nodes}
    assert looks[found["killed"]].report.card.incarnation == 2
    assert all(look.report.sound and look.log is not None for look in looks.values())


def test_the_demo_sees_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cluster.toml"
    assert main(["init", str(tmp_path), "--protocol", "multipaxos"]) == EXIT_DONE
    config: Any = load_cluster(path)
    demo = LogDemo(config, NodeProcesses(path, tmp_path), 2, Output(as_json=False))
    demo.written = {b"a": b"1", b"b": b"2"}
    demo._judge(1, {b"a": b"1", b"b": b"2"}, 2)
    assert demo.differences == []
    demo._judge(2, {b"a": b"1", b"c": b"3"}, 3)
    assert demo.differences == [
        "b: node 2 has None, acknowledged was b'2'",
        "c: node 2 has b'3', acknowledged was None",
        "node 2 counted 3 writes; 2 were acknowledged, each once",
    ]
    capsys.readouterr()
    demo.report()
    captured = capsys.readouterr()
    assert "DIFFERENT: b: node 2 has None" in captured.err
    assert "3 DIFFERENT" in captured.out
