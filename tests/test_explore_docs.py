"""docs/explore.md: what it quotes of a finding is what the explorer finds, saves, draws and runs again."""

import re
from pathlib import Path

import pytest

from paxos.cli.command import main
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "explore.md").read_text(encoding="utf-8")


def _quoted(command: str) -> str:
    """What the page shows that a command prints."""
    (shown,) = re.findall(rf"^    \$ {re.escape(command)}\n((?:    .*\n|\n)+)", PAGE, re.MULTILINE)
    return re.sub(r"^    ", "", shown, flags=re.MULTILINE).rstrip("\n") + "\n"


def test_the_finding_its_file_and_its_charts_are_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = "explore --protocol tests.planted:own_value --schedules 1000"
    assert main([*command.split(), "--workers", "0"]) == EXIT_CHECK_FAILED
    untimed = re.compile(r"^.* schedules/s, .*$", re.MULTILINE)
    shown = untimed.sub("(so long)", capsys.readouterr().out)
    assert shown == untimed.sub("(so long)", _quoted(f"paxos {command}"))
    (saved,) = Path("explored").iterdir()
    version = re.compile(r'^ "version": .*$', re.MULTILINE)
    assert version.sub("", saved.read_text(encoding="utf-8")) == version.sub("", _quoted(f"cat {saved}"))
    assert main(["replay", str(saved)]) == EXIT_CHECK_FAILED
    assert capsys.readouterr().out == _quoted(f"paxos replay {saved}")
    assert main(["replay", str(saved), "--chart", "svg", "--out", "chart.svg"]) == EXIT_CHECK_FAILED
    drawn = (DOCS / "explore-chart.svg").read_text(encoding="utf-8")
    assert Path("chart.svg").read_text(encoding="utf-8") == drawn


def test_the_program_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_, program) = PAGE.split("## From Python\n\n")
    code = re.sub(r"^    ", "", program, flags=re.MULTILINE)
    file = tmp_path / "failure.json"
    file.write_text(_quoted(re.findall(r"\$ (cat explored/.*)", PAGE)[0]), encoding="utf-8")
    exec(compile(code.replace("failure.json", str(file)), "<docs/explore.md>", "exec"), {"__name__": "page"})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("AcceptSafe (step 21): node 1, decree b'd'")
    assert "1 -> 2 Prepare" in second


def test_what_is_said_to_be_there_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--help"]) == EXIT_DONE
    known = capsys.readouterr().out
    named = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--chart", "--strict"}
    assert len(named) > 6
    for option in named - {"--repeats"}:
        assert option in known, option
