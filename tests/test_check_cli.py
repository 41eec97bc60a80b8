"""`paxos check --history`, `paxos bench history`, and histories written by `paxos simulate`."""

import json
from pathlib import Path
from typing import Any

import pytest

from paxos.check import Operation, sample_history, write_history
from paxos.cli.command import main
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_UNKNOWN, EXIT_USAGE
from tests.histories import PLANTED

Capture = pytest.CaptureFixture[str]


def _json(capsys: Capture) -> Any:
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return json.loads(printed)


def test_a_simulated_history_is_checked(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "run.jsonl")
    assert main(["simulate", "--faults", "all", "--seed", "3", "--history", path, "--json"]) == EXIT_DONE
    capsys.readouterr()
    assert main(["check", "--history", path, "--model", "decree"]) == EXIT_DONE
    assert f"{path}: linearizable: " in capsys.readouterr().out
    assert main(["check", "--history", path, "--model", "decree", "--json"]) == EXIT_DONE
    found = _json(capsys)
    assert found["outcome"] == "linearizable"
    assert found["operations"] == len(Path(path).read_text().splitlines())
    assert (found["path"], found["model"], found["violation"]) == (path, "decree", None)


def test_a_violation_is_shown(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "bad.jsonl"
    write_history(path, PLANTED["a stale read"].history)
    assert main(["check", "--history", str(path), "--model", "register"]) == EXIT_CHECK_FAILED
    text = capsys.readouterr().out
    assert "not linearizable: 403 operations in 5 parts" in text
    assert "  client 1  |---1---|\n  client 2                  |---2---|\n" in text
    assert "put x 2: done  1002.000000 to 1003.000000 s, line 402" in text
    assert main(["check", "--history", str(path), "--model", "register", "--json"]) == EXIT_CHECK_FAILED
    found = _json(capsys)
    assert found["outcome"] == "violation"
    assert [each["line"] for each in found["violation"]["operations"]] == [402, 403]


def test_giving_up_is_neither(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "hard.jsonl")
    write_history(path, sample_history("kv", 300, 20, 1))
    arguments = ["check", "--history", path, "--model", "kv", "--max-states", "50"]
    assert main(arguments) == EXIT_UNKNOWN
    assert "gave up after 50 states" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == EXIT_UNKNOWN
    assert _json(capsys)["outcome"] == "gave up"


def test_a_history_that_is_not_split_says_why(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "scans.jsonl")
    write_history(path, sample_history("kv", 50, 2, 3, scans=0.2, unknown=0.0))
    assert main(["check", "--history", path, "--model", "kv"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert "(not split: scan: [" in text
    assert "sees all keys at one moment" in text


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (b'{"client": 1}\n', ["--model", "kv"], "history: line 1: op is missing; key is missing"),
        (b"{\n", ["--model", "kv"], "line 1: not JSON"),
        (b"", ["--model", "kv"], "holds no operation, so there is nothing to check"),
        (None, ["--model", "kv"], "history: can not be read: No such file"),
        (b"", [], "--history needs --model: decree, register, kv, log"),
        (b"", ["--model", "raft"], "no model named 'raft'"),
        (b"", ["--model", "absent:Model"], "ModuleNotFoundError"),
        (b"", ["--model", "kv", "--max-states", "0"], "1..1000000000"),
        (b"", ["--model", "kv", "--list"], "neither with --history"),
        (b"", ["--model", "kv", "--node", "1"], "neither with --history"),
        (b"", ["--model", "kv", "--store", "x"], "not allowed with"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    content: bytes | None, arguments: list[str], words: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "history"
    if content is not None:
        path.write_bytes(content)
    assert main(["check", "--history", str(path), *arguments]) == EXIT_USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err.splitlines()[-1]


def test_an_operation_that_the_model_does_not_know_is_named_by_its_line(
    tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "history"
    write_history(path, [Operation(0, "get", b"x"), Operation(0, "decide", b"x")])
    assert main(["check", "--history", str(path), "--model", "kv"]) == EXIT_USAGE
    words = f"paxos: {path}: line 2: 'decide' is not an operation of KeyValue"
    assert capsys.readouterr().err.startswith(words)


def test_a_model_needs_a_history(capsys: Capture) -> None:
    assert main(["check", "--store", "x", "--model", "kv"]) == EXIT_USAGE
    assert "--model and --max-states go with --history" in capsys.readouterr().err


def test_a_model_of_ones_own(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "queue.jsonl"
    write_history(
        path,
        [
            Operation(0, "enqueue", None, b"a", None, 0, 1),
            Operation(0, "enqueue", None, b"b", None, 2, 3),
            Operation(1, "dequeue", None, None, None, 4, 5, b"b"),
        ],
    )
    assert main(["check", "--history", str(path), "--model", "tests.histories:Queue"]) == EXIT_CHECK_FAILED
    assert "dequeue: b" in capsys.readouterr().out


def test_the_benchmark(capsys: Capture) -> None:
    assert main(["bench", "history", "--repeats", "1", "--operations", "200"]) == EXIT_DONE
    assert "200 operations, 10 clients, 10 keys, median of 1:" in capsys.readouterr().out
    assert main(["bench", "history", "--repeats", "1", "--operations", "200", "--json"]) == EXIT_DONE
    found = _json(capsys)
    assert (found["bench"], found["operations"]) == ("history", 200)
    assert {each["model"] for each in found["histories"]} == {"kv", "register", "decree", "log"}
    assert all(each["states"] > 0 for each in found["histories"])


def test_a_model_of_ones_own_that_fails_is_named(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_model.py").write_text(
        "from paxos.check import Model\n"
        "class Failing(Model):\n"
        "    operations = frozenset({'decide'})\n"
        "    def initial(self): return 0\n"
        "    def apply(self, state, operation): raise RuntimeError('boom')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = str(tmp_path / "history.jsonl")
    assert main(["simulate", "--history", path, "--operations", "5"]) == 0
    capsys.readouterr()
    assert main(["check", "--history", path, "--model", "failing_model:Failing"]) == 2
    assert "paxos: model failing_model:Failing: it failed on" in capsys.readouterr().err
