"""docs/history.md: its program runs, and its violation is what the command shows."""

import re
from pathlib import Path

import pytest

from paxos.cli.command import main
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE

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
