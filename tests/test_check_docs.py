"""docs/history.md: its program runs, and its violation is what the command shows."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paxos.check.models import MODELS
from paxos.cli.command import main
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

_PAGE = (Path(__file__).resolve().parents[1] / "docs" / "history.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)


def test_the_violation_is_what_the_command_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (lines,) = _blocks("json")
    Path("stale.jsonl").write_text(lines, encoding="utf-8")
    assert main(["check", "--history", "stale.jsonl", "--model", "kv"]) == EXIT_CHECK_FAILED
    assert capsys.readouterr().out in _blocks("text")


def test_the_first_commands_do_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in _blocks("sh")[0].splitlines():
        assert main(line.split()[1:]) == EXIT_DONE
    # How many states it takes is the simulator's affair, which changes with its code.
    assert re.search(r"^run.jsonl: linearizable: \d+ operations in \d+ parts", capsys.readouterr().out, re.M)


def test_the_programs_run(capsys: pytest.CaptureFixture[str]) -> None:
    programs = _blocks("python")
    assert len(programs) == 2
    for program in programs:
        exec(compile(program, "docs/history.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out == "violation\n"


def test_the_operations_of_each_model_are_those_it_knows() -> None:
    table = re.findall(r"^\| `(\w+)` \| (`\w+`(?:, `\w+`)*) \| .*? \| .*? \|$", _PAGE, re.MULTILINE)
    listed: dict[str, set[str]] = {}
    for model, names in table:
        listed.setdefault(model, set()).update(re.findall(r"`(\w+)`", names))
    assert listed == {name: model.operations for name, model in MODELS.items()}


#: A history of each model with everything that its rows of the table tell of: op, key, value, old, out.
_TOLD: dict[str, list[tuple[Any, ...]]] = {
    "decree": [
        ("decide", "d", None, None, None),
        ("decide", "d", "a", None, "a"),
        ("decide", "d", "b", None, "a"),
    ],
    "register": [
        ("get", "k", None, None, None),
        ("cas", "k", "a", None, True),
        ("cas", "k", "b", "x", False),
        ("put", "k", "c", None, None),
        ("get", "k", None, None, "c"),
    ],
    "kv": [
        ("increment", "n", None, None, 1),
        ("increment", "n", 2, None, 3),
        ("get", "n", None, None, "3"),
        ("put", "a", "v", None, None),
        ("cas", "b", "w", None, True),
        ("scan", None, None, None, [["a", "v"], ["b", "w"], ["n", "3"]]),
        ("scan", ["a", "b"], None, None, [["a", "v"]]),
        ("scan", ["b", None], None, None, [["b", "w"], ["n", "3"]]),
        ("delete", "a", None, None, True),
        ("delete", "a", None, None, False),
        ("delete", "b", None, None, None),
        ("increment", "n", None, None, None),
    ],
    "log": [
        ("submit", None, "x", None, 0),
        ("submit", None, "y", None, None),
        ("get", 1, None, None, "y"),
        ("get", 2, None, None, None),
        ("scan", None, None, None, ["x", "y"]),
        ("scan", [0, 1], None, None, ["x"]),
        ("scan", [1, None], None, None, ["y"]),
    ],
}


@pytest.mark.parametrize("model", MODELS)
def test_what_the_table_tells_of_is_accepted(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = _TOLD[model]
    assert {op for op, *_ in told} == MODELS[model].operations
    fields = ("op", "key", "value", "old", "out")
    lines = [
        json.dumps({**dict(zip(fields, each, strict=True)), "client": 1, "call": at, "return": at + 0.5})
        for at, each in enumerate(told)
    ]
    file = tmp_path / "told.jsonl"
    file.write_text("\n".join(lines) + "\n")
    assert main(["check", "--history", str(file), "--model", model]) == EXIT_DONE, capsys.readouterr()
    file.write_text(lines[0].replace(f'"{told[0][0]}"', '"txn"') + "\n")
    assert main(["check", "--history", str(file), "--model", model]) == EXIT_USAGE
    assert "'txn' is not an operation of" in capsys.readouterr().err


def test_a_model_of_ones_own_is_found_in_the_directory_that_one_stands_in(tmp_path: Path) -> None:
    (tmp_path / "my_module.py").write_text(_blocks("python")[0].partition("history = [")[0])
    lines = [
        {
            "client": 1,
            "op": "enqueue",
            "key": None,
            "value": "a",
            "old": None,
            "call": 0,
            "return": 1,
            "out": None,
        },
        {
            "client": 2,
            "op": "dequeue",
            "key": None,
            "value": None,
            "old": None,
            "call": 2,
            "return": 3,
            "out": "a",
        },
    ]
    (tmp_path / "queue.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "paxos",
            "check",
            "--history",
            "queue.jsonl",
            "--model",
            "my_module:Queue",
        ],
        # As the installed command runs: where one stands is not on the path.
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == EXIT_DONE, done.stderr
    assert "2 operations" in done.stdout
