"""docs/testing.md: its programs run, and the chart is what the explorer shows."""

import re
from pathlib import Path

import pytest

from paxos.cli.command import main
from paxos.errors import EXIT_CHECK_FAILED
from paxos.testing import StateMachineConformance

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
VOTE = ROOT / "tests" / "elsewhere" / "src" / "naive_vote" / "__init__.py"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _in_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(VOTE.parents[1]))


def test_the_programs_run(capsys: pytest.CaptureFixture[str]) -> None:
    explorer, script, counters, strategies = _blocks("python")
    for program in (explorer, script, strategies):
        exec(compile(program, "<docs/testing.md>", "exec"), {"__name__": "page"})
    shown = capsys.readouterr().out
    assert shown.startswith("Agreement 4\n")
    assert shown.count("★ decides") == 2
    exec(compile(counters, "<docs/testing.md>", "exec"), namespace := {"__name__": "page"})
    suite: StateMachineConformance = namespace["TestCounters"]()  # type: ignore[operator]
    for name in dir(StateMachineConformance):
        # In another process there is no such page.
        if name.startswith("test_") and "another_process" not in name:
            getattr(suite, name)()
    mistaken = counters.replace(
        'ALL if verb == b"reset"', 'Footprint.of(writes=[b"reset"]) if verb == b"reset"'
    )
    exec(compile(mistaken, "<docs/testing.md>", "exec"), namespace)
    with pytest.raises(AssertionError) as found:
        namespace["TestCounters"]().test_commands_that_do_not_conflict_commute()  # type: ignore[operator]
    assert str(found.value).splitlines()[0] in "".join(_blocks("text"))


def test_the_chart_is_what_the_explorer_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["explore", "--protocol", "naive_vote:protocol", "--schedules", "1000", "--workers", "0"]
    assert main(asked) == EXIT_CHECK_FAILED
    shown = capsys.readouterr().out
    chart = shown[shown.index("clients ") :]
    assert chart in "".join(_blocks("text"))


def test_what_is_quoted_of_the_vote_is_in_it() -> None:
    source = re.sub(r'"""[^"]*"""\n\s*', "", VOTE.read_text(encoding="utf-8"))
    heart = _blocks("py")[0].splitlines()[1:-1]
    assert heart
    for line in heart:
        assert line in source
