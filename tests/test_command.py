"""The test command itself: what it finds, what it counts, and that nothing bad passes for good."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from tests.suite import command, environments, interpreters, stages
from tests.suite.environments import Environment
from tests.suite.interpreters import Interpreter
from tests.suite.stages import Counts, Plan, Result

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

OLD = Interpreter("/a/python3.11", (3, 11, 2))
NEW = Interpreter("/b/python3.11", (3, 11, 7))
NEXT = Interpreter("/c/python3.13", (3, 13, 0))
HERE = Interpreter(sys.executable, (3, sys.version_info[1], sys.version_info[2]))


def _fake_python(path: Path, facts: dict[str, object] | None) -> str:
    """An executable that answers the probe with these facts, or fails as a version manager's shim does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = "exit 127" if facts is None else f"echo '{json.dumps(facts)}'"
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def _facts(path: str, *version: int, **more: object) -> dict[str, object]:
    usual: dict[str, object] = {"release": "final", "implementation": "CPython", "free_threaded": False}
    return usual | {"path": path, "version": version, "missing": []} | more


def test_a_python_that_runs_says_what_it_is() -> None:
    interpreter, reason = interpreters.probe(sys.executable)
    assert interpreter is not None
    assert interpreter.version == tuple(sys.version_info[:3])
    assert reason == ""


@pytest.mark.skipif(os.name == "nt", reason="the fakes are shell scripts")
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"missing": ["ensurepip"]}, "has no ensurepip (on Debian: apt-get install python3-venv)"),
        ({"missing": ["sqlite3", "ssl"]}, "has no sqlite3, no ssl"),
        ({"implementation": "PyPy"}, "is PyPy, not CPython"),
        ({"release": "candidate"}, "is a pre-release (candidate)"),
        ({"free_threaded": True}, "is a free-threaded build"),
        ({}, ""),
    ],
)
def test_a_python_that_is_no_use_says_why(more: dict[str, object], reason: str, tmp_path: Path) -> None:
    path = _fake_python(tmp_path / "python3.12", _facts("/x/python3.12", 3, 12, 1, **more))
    assert interpreters.probe(path) == (Interpreter("/x/python3.12", (3, 12, 1)), reason)


@pytest.mark.skipif(os.name == "nt", reason="the fakes are shell scripts")
def test_a_search_looks_at_the_path_and_at_version_managers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = _fake_python(tmp_path / "shims" / "python3.12", None)
    pyenv = _fake_python(
        tmp_path / "pyenv" / "versions" / "3.12.1" / "bin" / "python3", _facts("/p", 3, 12, 1)
    )
    uv = _fake_python(tmp_path / "uv" / "cpython-3.13.0-linux" / "bin" / "python3", _facts("/u", 3, 13, 0))
    old = _fake_python(tmp_path / "bin" / "python3", _facts("/old", 3, 9, 2))
    monkeypatch.setattr(sys, "executable", old)
    environ = {
        "PATH": os.pathsep.join([str(tmp_path / "shims"), str(tmp_path / "bin")]),
        "PYENV_ROOT": str(tmp_path / "pyenv"),
        "UV_PYTHON_INSTALL_DIR": str(tmp_path / "uv"),
    }
    assert set(interpreters.candidates(environ)) >= {shim, pyenv, uv, old}
    expected = [Interpreter("/p", (3, 12, 1)), Interpreter("/u", (3, 13, 0))]
    assert interpreters.find(environ=environ).chosen == expected
    assert interpreters.find(["3.13"], environ).chosen == [Interpreter("/u", (3, 13, 0))]
    assert interpreters.find([uv]).chosen == [Interpreter("/u", (3, 13, 0))]
    with pytest.raises(LookupError, match=r"no usable Python 3\.14"):
        interpreters.find(["3.14"], environ)
    with pytest.raises(LookupError, match="does not run"):
        interpreters.find([shim])
    with pytest.raises(LookupError, match="not supported"):
        interpreters.find([old])


def test_the_newest_patch_stands_for_its_version() -> None:
    found = interpreters.choose([(OLD, ""), (NEXT, ""), (NEW, ""), (OLD, "")])
    assert found.chosen == [NEW, NEXT]
    assert found.left_out == [(str(OLD), "3.11.7 stands for 3.11")]
    assert interpreters.absent_versions(found) == ["3.12"]


def test_an_older_patch_is_taken_when_the_newest_is_no_use() -> None:
    found = interpreters.choose([(OLD, ""), (NEW, "has no ssl")])
    assert found.chosen == [OLD]
    assert found.left_out == [(str(NEW), "has no ssl")]


def test_requirements_follow_included_groups() -> None:
    project = {
        "project": {"dependencies": ["a>=1"]},
        "dependency-groups": {"test": ["t", "a>=1"], "lint": ["l"], "dev": [{"include-group": "test"}, "d"]},
    }
    assert environments.requirements(project, ["dev"]) == ["a>=1", "t", "d"]
    assert environments.requirements(project, ["test", "lint"]) == ["a>=1", "t", "l"]
    assert "ruff" in " ".join(environments.requirements(environments.read_project(), ["dev"]))


def test_a_child_does_not_see_what_would_lead_it_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing")
    assert not {"PYTHONPATH", "PYTEST_ADDOPTS"} & set(environments.child_environ(A="b"))
    assert environments.child_environ(A="b")["A"] == "b"


def test_a_wheel_that_lacks_something_or_has_too_much_is_refused() -> None:
    good = [f"{package}/{name}" for package in environments.PACKAGES for name in ("__init__.py", "py.typed")]
    good += [f"p-1.dist-info/{name}" for name in ("METADATA", "licenses/LICENSE", "entry_points.txt")]
    assert environments.complain_about_wheel(good) == []
    for name in good:
        if not name.endswith("METADATA"):
            assert len(environments.complain_about_wheel([each for each in good if each != name])) == 1
    assert environments.complain_about_wheel([*good, "tests/test_a.py"]) == ["tests should not be there"]


def test_a_public_name_without_a_known_type_is_named() -> None:
    known = {"name": "p.a", "isExported": True, "isTypeKnown": True, "isTypeAmbiguous": False}
    unknown = known | {
        "name": "p.b",
        "isTypeKnown": False,
        "diagnostics": [{"message": "no annotation\nat all"}],
    }
    ambiguous = known | {"name": "p.c", "isTypeAmbiguous": True, "diagnostics": []}
    inner = unknown | {"name": "q.d", "isExported": False}
    report = {
        "packageName": "p",
        "pyTypedPath": "/x/p/py.typed",
        "symbols": [known, unknown, ambiguous, inner],
    }
    assert stages.complain_about_types("p", report) == ["p.b: no annotation"]
    assert stages.complain_about_types("p", report | {"symbols": [ambiguous]}) == ["p.c: type unknown"]
    assert stages.complain_about_types("p", report | {"symbols": [known]}) == []
    assert len(stages.complain_about_types("p", {"packageName": "p", "symbols": []})) == 1


def test_counts_come_from_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    suite = '<testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10"/>'
    report.write_text(f"<testsuites>{suite}</testsuites>")
    assert stages.read_report(report) == Counts(passed=4, failed=3, skipped=3)
    assert stages.read_report(tmp_path / "none.xml") is None
    report.write_text("<testsuites")
    assert stages.read_report(report) is None


@pytest.mark.parametrize(
    ("source", "good", "counts", "detail"),
    [
        ("def test_a():\n    assert 1 + 1 == 2", True, Counts(1, 0, 0), ""),
        ("def test_a():\n    assert 1 + 1 == 3", False, Counts(0, 1, 0), "tests failed"),
        ("x = 1", False, Counts(0, 0, 0), "no tests"),
        ("import nothing_of_this_name", False, Counts(0, 1, 0), "interrupted"),
        (
            "import pytest\n@pytest.mark.skip\ndef test_a():\n    assert f",
            False,
            Counts(0, 0, 1),
            "no test passed",
        ),
    ],
)
def test_a_run_is_good_only_when_something_passed_and_nothing_failed(
    source: str, good: bool, counts: Counts, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "BUILD", tmp_path / "build")
    (tmp_path / "test_planted.py").write_text(source)
    environment = Environment(Path(sys.executable).parents[1], HERE)
    plan = Plan(quick=False, workers=1, arguments=("-p", "no:cacheprovider"))
    assert stages.pytest("suite", environment, plan, tmp_path, [], {}) == (good, counts, detail)


_ALL_KINDS = """
import pytest

def test_plain():
    assert True

@pytest.mark.public
def test_public():
    assert True

@pytest.mark.once
def test_once():
    assert True

@pytest.mark.once
@pytest.mark.public
def test_both():
    assert True
"""


@pytest.mark.parametrize(
    ("again", "wheel_follows", "suite", "wheel"),
    [
        # Each test runs in one stage, and in one only.
        (False, True, 2, 2),
        (False, False, 4, None),
        (True, True, 1, 1),
        (True, False, 2, None),
    ],
)
def test_each_test_runs_once_and_on_a_later_python_those_that_depend_on_it(
    again: bool,
    wheel_follows: bool,
    suite: int,
    wheel: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stages, "BUILD", tmp_path / "build")
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    for name in ("README.md", "CHANGELOG.md"):
        (tmp_path / name).write_text("")
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["public", "once"]\n')
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_planted.py").write_text(_ALL_KINDS)
    environment = Environment(Path(sys.executable).parents[1], HERE)
    plan = Plan(False, 1, ("-p", "no:cacheprovider"), again=again, wheel_follows=wheel_follows)
    assert stages.suite(environment, plan).counts == Counts(suite, 0, 0)
    if wheel is not None:
        assert stages.wheel(environment, plan).counts == Counts(wheel, 0, 0)


def test_a_command_that_hangs_is_ended() -> None:
    environment = Environment(Path(sys.executable).parents[1], HERE)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert stages.run(environment, sleep, timeout_s=0.2) == 124


def test_the_command_line_is_taken_apart() -> None:
    options, handed_on = command.parse(
        ["--python", "3.12", "--only", "suite", "--", "-k", "ballot", "--", "-x"]
    )
    assert (options.python, options.only, options.quick) == (["3.12"], ["suite"], False)
    assert handed_on == ("-k", "ballot", "--", "-x")
    assert command.parse([])[1] == ()
    with pytest.raises(SystemExit):
        command.parse(["--only", "nonsense"])


def test_the_summary_names_what_failed_and_ends_with_the_counts() -> None:
    results = [
        Result("lint", "3.11.7", True, 1.0),
        Result("suite", "3.11.7", True, 2.0, Counts(5, 0, 1)),
        Result("suite", "3.13.0", False, 3.0, Counts(4, 1, 1), "tests failed"),
    ]
    lines = command.summary(results, 6.4)
    assert lines[-1] == "9 passed, 1 failed, 2 skipped"
    assert lines[-2] == "stages failed: suite 3.13.0; 6 s"
    assert command.summary(results[:2], 3.0)[-2] == "every stage ok; 3 s"


@pytest.mark.parametrize(
    ("results", "code"), [([], 1), ([True], 0), ([True, False], 1)], ids=["nothing ran", "good", "one failed"]
)
def test_the_exit_code_is_zero_only_when_all_is_good(
    results: list[bool], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_choose", lambda options: [HERE])
    monkeypatch.setattr(command, "_run", lambda *_: [Result("lint", "", ok, 0.0) for ok in results])
    assert command.main([]) == code


def test_a_machine_without_a_usable_python_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--python", "2.7"]) == 2
    assert "no usable Python 2.7" in capsys.readouterr().out
