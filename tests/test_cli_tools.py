"""`paxos simulate` and `paxos bench`: what they print and write, and that they find what is planted."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from paxos.ballot import BOTTOM
from paxos.basic import Accepted, Acceptor, Nack, Prepare, Promise
from paxos.cli import main
from paxos.cli.measures import Measure, core_measures, decide_once, repeat, wire_measures
from paxos.cli.timeline import timeline
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE, ProtocolBreach
from paxos.quorum import Majority
from paxos.runtime import bench as runtime_bench
from paxos.runtime.bench import ClusterFigures

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

Capture = pytest.CaptureFixture[str]


def json_of(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


# --- simulate ----------------------------------------------------------------------------------------


def test_a_run_is_told_and_is_the_same_again(capsys: Capture) -> None:
    arguments = ["simulate", "--seed", "7", "--faults", "crash,partition,loss"]
    assert main([*arguments, "--json"]) == EXIT_DONE
    first = json_of(capsys)
    assert main([*arguments, "--json"]) == EXIT_DONE
    assert json_of(capsys) == first
    (run,) = first["runs"]
    assert (first["protocol"], first["broken"], run["seed"], run["ok"]) == ("paxos", 0, 7, True)
    assert run["deliveries"] > 0
    assert main(arguments) == EXIT_DONE
    text = capsys.readouterr().out
    assert f"{run['deliveries']} messages delivered" in text
    assert "nothing that must hold broke" in text


def test_many_runs(capsys: Capture) -> None:
    assert main(["simulate", "--runs", "3", "--seed", "5", "--faults", "all", "--json"]) == EXIT_DONE
    assert [run["seed"] for run in json_of(capsys)["runs"]] == [5, 6, 7]
    assert main(["simulate", "--runs", "3", "--operations", "5"]) == EXIT_DONE
    assert capsys.readouterr().out == "3 runs, 0 broke something\n"


@pytest.mark.parametrize(
    "more",
    ["--seed 9", "--seed 7", "--nodes 3", "--protocol paxos", "--faults none", "--topology lan", "--runs 1"]
    + ["--duration 10", "--operations 3"],
)
def test_a_replay_is_not_told_what_the_file_says(more: str, capsys: Capture, tmp_path: Path) -> None:
    saved = str(tmp_path / "run.json")
    assert main(["simulate", "--operations", "3", "--save", saved]) == EXIT_DONE
    capsys.readouterr()
    assert main(["simulate", "--replay", saved, *more.split()]) == EXIT_USAGE
    assert f"{more.split()[0]} does not go with --replay" in capsys.readouterr().err


def test_a_saved_run_is_made_again(capsys: Capture, tmp_path: Path) -> None:
    saved, history, trace = (str(tmp_path / name) for name in ("run.json", "history", "trace"))
    arguments = ["simulate", "--faults", "crash,duplicate", "--nodes", "5", "--operations", "30", "--json"]
    # Another seed than the replay's own: what is made again comes from the choices alone.
    assert (
        main([*arguments, "--seed", "11", "--save", saved, "--history", history, "--trace", trace])
        == EXIT_DONE
    )
    first = json_of(capsys)
    lines = [json.loads(line) for line in Path(history).read_text().splitlines()]
    assert {line["op"] for line in lines} == {"decide"}
    assert lines[0].keys() == {"client", "op", "key", "value", "old", "call", "return", "out"}
    steps = Path(trace).read_bytes()
    assert main(["simulate", "--replay", saved, "--trace", trace, "--json"]) == EXIT_DONE
    again = json_of(capsys)
    assert again["runs"][0] == first["runs"][0] | {"seed": None}
    assert Path(trace).read_bytes() == steps


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no saved run"),
        ('{"protocol": "paxos"}', "no saved run"),
        ({"protocol": 3}, "protocol: expected str, got 3"),
        ({"nodes": True}, "nodes: expected int, got True"),
        ({"nodes": 0}, "nodes"),
        ({"operations": "many"}, "operations: expected int or null"),
        ({"operations": -1}, "operations"),
        ({"choices": [1, None]}, "choices: expected a list"),
        ({"choices": {}}, "choices: expected a list"),
        ({"faults": "gremlins"}, "gremlins"),
    ],
)
def test_a_file_that_is_no_saved_run(content: Any, words: str, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    if isinstance(content, dict):
        assert main(["simulate", "--operations", "3", "--save", str(path)]) == EXIT_DONE
        content = json.dumps(json.loads(path.read_text()) | content)
    path.write_text(content)
    capsys.readouterr()
    assert main(["simulate", "--replay", str(path)]) == EXIT_USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_a_file_that_can_not_be_written(capsys: Capture, tmp_path: Path) -> None:
    assert main(["simulate", "--operations", "3", "--save", str(tmp_path)]) == EXIT_USAGE
    assert "can not be written: Is a directory" in capsys.readouterr().err


def forgetful(self: Acceptor, message: Prepare) -> Promise | Accepted | Nack:
    """An acceptor that promises without saying what it voted for."""
    decree, ballot = message
    if ballot < self.promised:
        return Nack(decree, ballot, self.promised)
    self.promised = ballot
    return Promise(decree, ballot, BOTTOM, None)


def test_a_planted_bug_is_a_violation(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Acceptor, "on_prepare", forgetful)
    assert main(["simulate", "--faults", "loss,crash", "--runs", "10", "--json"]) == EXIT_CHECK_FAILED
    found = json_of(capsys)
    assert 0 < found["broken"] <= 10
    broken = next(run for run in found["runs"] if not run["ok"])
    assert broken["violations"][0]["sentence"]
    path, seed = str(tmp_path / "run.json"), str(broken["seed"])
    arguments = ["simulate", "--faults", "loss,crash", "--seed", seed, "--save", path]
    assert main(arguments) == EXIT_CHECK_FAILED
    captured = capsys.readouterr()
    assert f"seed {seed}: violated: {broken['violations'][0]['name']}" in captured.err
    assert "BROKEN" in captured.out
    assert main(["simulate", "--replay", path]) == EXIT_CHECK_FAILED


def test_the_timeline_has_a_column_for_each_node(capsys: Capture) -> None:
    assert main(["simulate", "--faults", "crash,partition", "--seed", "7", "--timeline"]) == EXIT_DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["node", "1", "node", "2", "node", "3"]
    column = lines[0].index("node 2")
    crash = next(number for number, line in enumerate(lines) if "CRASH" in line)
    down = lines[crash].index("CRASH")
    assert lines[crash + 1][down : down + 1] in ("", " ")
    assert any("RESTART" in line for line in lines[crash:])
    assert any(line[column:].startswith("Promise") for line in lines)
    assert any(" ---- Cut(" in line for line in lines)


def test_the_words_of_a_timeline() -> None:
    steps = [
        {"step": 1, "at_ns": 0, "action": "start", "node": 1},
        {"step": 2, "at_ns": 1500, "action": "receive", "node": 2, "sender": 1,
         "message": {"type": "Chosen", "decree": "d"}, "applies": [["d", "blue"]]},
        {"step": 3, "at_ns": 2000, "action": "durable", "node": 2},
        {"step": 4, "at_ns": 10**9, "action": "crash", "node": 2},
        {"step": 5, "at_ns": 10**9, "action": "tick", "node": 1, "sends": [[2, "Prepare"], [1, "Reserved"]]},
    ]  # fmt: skip
    trace = "".join(json.dumps(step) + "\n" for step in steps).encode()
    assert [line.split() for line in timeline(trace, (1, 2))][1:] == [
        ["0.000000", "s", "start", "|"],
        ["0.000002", "s", "|", "Chosen", "d", "<1", "=d"],
        ["1.000000", "s", "|", "CRASH"],
        ["1.000000", "s", "tick", ">2"],
    ]


# --- bench -------------------------------------------------------------------------------------------


class Clock:
    """A clock that a measure moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def measure(self, name: str, seconds_each: list[float]) -> Measure:
        """Takes so long for each piece of work: first while it is sized, then in each repeat."""
        costs = iter(seconds_each)
        last = seconds_each[-1]

        def work(number: int) -> None:
            self.now_s += number * next(costs, last)

        return Measure(name, "things", work)


def test_a_rate_is_the_median_of_repeats_taken_in_turn() -> None:
    clock = Clock()
    done: list[float] = []
    # The first call sizes the work: 1/8 s reaches an eighth of the second asked for.
    measures = [clock.measure("a", [0.125, 0.125, 0.25, 0.5]), clock.measure("b", [0.5])]
    first, second = repeat(measures, 3, 1.0, lambda: done.append(clock()), clock)
    assert (first.median, first.low, first.high, first.repeats) == (4.0, 2.0, 8.0, 3)
    assert (second.name, second.unit, second.median) == ("b", "things", 2.0)
    assert done == [2.625 + x for x in (-1.0, 0.0, 2.0, 3.0, 7.0, 8.0)]


def test_the_core_benchmark_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [measure.name for measure in core_measures()] == ["3 acceptors", "5 acceptors"]
    for measure in core_measures():
        measure.work(2)
    decide_once(Majority((1, 2, 3)))
    monkeypatch.setattr(Acceptor, "on_accept", lambda self, message: Accepted(b"", message.ballot, b"red"))
    with pytest.raises(ProtocolBreach, match="the benchmark decided"):
        decide_once(Majority((1, 2, 3)))


def test_the_wire_benchmark_handles_at_least_what_it_counts() -> None:
    measures = wire_measures()
    assert [measure.name for measure in measures] == [
        "encode, 1 message a frame",
        "decode, 1 message a frame",
        "encode, 64 messages a frame",
        "decode, 64 messages a frame",
    ]
    for measure in measures:
        measure.work(65)


@pytest.mark.parametrize("what", ["core", "wire"])
def test_bench_prints_rates(what: str, capsys: Capture) -> None:
    arguments = ["bench", what, "--seconds", "0.002"]
    assert main([*arguments, "--repeats", "2", "--json"]) == EXIT_DONE
    found = json_of(capsys)
    assert (found["bench"], found["repeats"]) == (what, 2)
    assert found["machine"].startswith("Python 3.")
    for rate in found["rates"]:
        assert 0 < rate["low"] <= rate["median"] <= rate["high"]
    assert main([*arguments, "--repeats", "1"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert found["rates"][0]["name"] in text
    assert "\non Python 3." in text


def test_bench_of_the_simulator(capsys: Capture) -> None:
    assert main(["bench", "sim", "--repeats", "1", "--operations", "40", "--json"]) == EXIT_DONE
    found = json_of(capsys)
    assert found["plain"]["median"] > 0
    assert found["watched"]["median"] > 0
    assert main(["bench", "sim", "--repeats", "1", "--operations", "40"]) == EXIT_DONE
    assert "trace and invariants on" in capsys.readouterr().out


def test_bench_of_a_cluster(capsys: Capture, tmp_path: Path) -> None:
    arguments = ["bench", "cluster", "--seconds", "0.2", "--in-flight", "8", "--directory", str(tmp_path)]
    assert main([*arguments, "--json"]) == EXIT_DONE
    found = json_of(capsys)
    assert (found["bench"], found["nodes"], found["loop"], found["in_flight"]) == ("cluster", 3, "asyncio", 8)
    assert found["decisions_per_s"] > 0
    assert found["latency_p50_ms"] > 0
    assert list(tmp_path.iterdir()) == []


def test_bench_of_a_cluster_as_a_table(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {field.name: 1.5 for field in attrs.fields(ClusterFigures)}
    figures = ClusterFigures(**{**fields, "nodes": 5, "loop": "trio", "decisions_per_s": 1234.4})  # type: ignore[arg-type]

    async def measured(**options: Any) -> ClusterFigures:
        options["progress"](0.5)
        assert (options["nodes"], options["loop"], options["seconds"]) == (5, "trio", 5.0)
        return figures

    monkeypatch.setattr(runtime_bench, "benchmark_cluster", measured)
    assert main(["bench", "cluster", "--nodes", "5", "--loop", "trio"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert "5 processes on trio" in text
    assert "1,234 /s" in text
