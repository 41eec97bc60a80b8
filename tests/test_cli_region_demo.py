"""The demo of a log without a leader: two replicas are killed, nothing is lost or done twice."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from paxos.cli import main
from paxos.cli.check import look_at_store
from paxos.cli.demo_regions import RegionDemo
from paxos.cli.output import Output
from paxos.cli.processes import NodeProcesses
from paxos.errors import EXIT_DONE, EXIT_USAGE
from paxos.runtime.config import load_cluster

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

REGIONS = ["CA", "VA", "OR", "JP", "EU"]


def test_the_demo_kills_two_regions_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = tmp_path / "kept"
    assert main(["demo", "--writes", "20", "--keep", str(keep), "--json"]) == EXIT_DONE
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["nodes"], found["regions"], found["killed"]) == (5, REGIONS, [2, 4])
    assert found["differences"] == []
    assert [one["writes"] for one in found["rounds"]] == [20, 15, 20, 20]
    assert found["writes"] == 75
    alone, shared, killed, back = found["rounds"]
    assert alone["allowed_ms"] == dict(zip(REGIONS, (64, 64, 59, 98, 129), strict=True))
    assert shared["allowed_ms"] == dict(zip(REGIONS, (128, 128, 118, 196, 258), strict=True))
    # To the farther of the two that are left; and who was killed is served by its nearest neighbour.
    assert killed["allowed_ms"] == dict(zip(REGIONS, (137, 59 + 129, 129, 91 + 129, 137), strict=True))
    # Nothing arrives before the distances allow it.
    for one in (alone, killed, back):
        assert set(one["answer_ms"]) == set(REGIONS)
        assert all(one["answer_ms"][name] >= one["allowed_ms"][name] for name in REGIONS)
    assert all(alone["commit_ms"][name] <= alone["answer_ms"][name] for name in REGIONS)
    assert set(killed["commit_ms"]) == {"CA", "OR", "EU"}
    # 20 keys in each round of keys, a counter in each region, and the one of all.
    assert {(state["keys"], state["counter"]) for state in found["states"]} == {(66, 75)}
    assert len({(state["applied"], state["digest"]) for state in found["states"]}) == 1
    config = load_cluster(keep / "cluster.toml")
    looks = [look_at_store(node.store) for node in config.nodes]
    assert [look.report.card.incarnation for look in looks] == [1, 2, 1, 2, 1]
    assert all(look.report.sound for look in looks)


def make_demo(tmp_path: Path, nodes: int = 5) -> RegionDemo:
    path = tmp_path / "cluster.toml"
    assert main(["init", str(tmp_path), "--protocol", "epaxos", "--nodes", str(nodes)]) == EXIT_DONE
    config: Any = load_cluster(path)
    return RegionDemo(config, NodeProcesses(path, tmp_path), 5, Output(as_json=False))


def test_the_demo_knows_what_the_distances_allow(tmp_path: Path) -> None:
    demo = make_demo(tmp_path, 3)
    assert demo.names == {1: "CA", 2: "VA", 3: "OR"}
    assert demo.victims == (2,)
    assert [demo.allowed_ms(node) for node in (1, 2, 3)] == [26, 59, 26]
    assert [demo.allowed_ms(node, (2,)) for node in (1, 2, 3)] == [26, 59 + 26, 26]
    assert demo.allowed_ms(1, (2, 3)) == math.inf
    assert demo.nearest(2, (3,)) == [2, 1]


def test_the_demo_sees_a_difference(tmp_path: Path) -> None:
    demo = make_demo(tmp_path)
    demo.written, demo.counted = {b"a": b"1"}, {b"everybody": 2}
    demo.judge(1, {b"a": b"1", b"everybody": b"2"})
    assert demo.differences == []
    demo.judge(2, {b"everybody": b"3", b"c": b"4"})
    assert demo.differences == [
        "a: node 2 has None, acknowledged was b'1'",
        "c: node 2 has b'4', acknowledged was None",
        "everybody: node 2 has b'3', acknowledged was b'2'",
    ]


def test_there_are_five_regions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--nodes", "6"]) == EXIT_USAGE
    assert "--nodes 6: the demo has 5 regions" in capsys.readouterr().err
