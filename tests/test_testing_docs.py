"""docs/testing.md: its programs run, and the chart is what the explorer shows."""

import importlib
import inspect
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from paxos.cli.command import main
from paxos.errors import EXIT_CHECK_FAILED
from paxos.testing import StateMachineConformance, strategies
from paxos.testing.registration import TYPES

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
VOTE = ROOT / "tests" / "elsewhere" / "src" / "naive_vote" / "__init__.py"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _in_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(VOTE.parents[1]))


def test_the_programs_run(capsys: pytest.CaptureFixture[str]) -> None:
    explorer, script, log_script, counters, _, _, drawn = _blocks("python")
    for program in (explorer, script, log_script, drawn):
        exec(compile(program, "<docs/testing.md>", "exec"), {"__name__": "page"})
    shown = capsys.readouterr().out
    assert shown.startswith("Agreement 2\n")
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


def test_the_suites_for_stores_and_transports_run(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "page"}
    for program in _blocks("python")[4:6]:
        exec(compile(program, "<docs/testing.md>", "exec"), namespace)
    suites = [namespace[name]() for name in ("TestMyStore", "TestMyTransport")]
    tests = [getattr(suite, name) for suite in suites for name in dir(suite) if name.startswith("test_")]
    assert len(tests) > 25
    for number, test in enumerate(tests):
        (place := tmp_path / str(number)).mkdir()
        # What a machine on the page does not have, such as queries, is no test of it.
        with suppress(pytest.skip.Exception):
            test(**dict.fromkeys(inspect.signature(test).parameters, place))


def test_the_types_that_are_registered_are_those_that_are_listed() -> None:
    listed = PAGE[PAGE.index("These types are registered") : PAGE.index("Acceptors, learners and messages")]
    found: dict[str, str] = {}
    for line in listed.replace("\n  ", " ").splitlines():
        if line.startswith("- in "):
            module, *names = re.findall(r"`([\w.]+)`", line)
            found |= dict.fromkeys(names, module)
    assert found.keys() == {name for names in TYPES.values() for name in names}
    for name, module in found.items():
        assert getattr(importlib.import_module(module), name).__name__ == name


def test_every_strategy_is_on_the_page() -> None:
    kinds = {name for name in strategies.__all__ if name.endswith("_quorums")} | {"majorities"}
    for name in set(strategies.__all__) - kinds:
        assert f"`{name}`" in PAGE


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
