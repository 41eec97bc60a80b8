"""The four stages: lint, types, wheel, suite. Each gives a Result; none raises for a mere failure.

lint    ruff check and ruff format --check over the whole tree
types   mypy --strict and pyright over the source tree, and pyright --verifytypes over the installed packages:
        every public name must have a known type
suite   pytest over the source tree: everything that the wheel's stage does not run right after it
wheel   pytest over the installed wheel: the tests marked `public`, from a copy of tests/ in a directory where
        the source tree can not be imported

The lint and types stages run once, on the lowest version that is tested; suite and wheel on each. No test
runs twice on one version, and on later versions what is marked `once` is left out.
pytest's own numbers come from its JUnit report. Its exit code 5, no tests at all, is a failure like any
other.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.suite.environments import BUILD, PACKAGES, ROOT, Environment, child_environ, say

# A run that hangs is ended, so that it costs a build minutes and not its whole allowance.
STAGE_TIMEOUT_S = 1500.0
WORKERS_MAX = 4


class Counts(NamedTuple):
    """What pytest counted."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: object) -> "Counts":
        """The sum, field by field."""
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


class Result(NamedTuple):
    """How one stage went: its name, the Python, whether it is good, its time, and the counts if any."""

    stage: str
    version: str
    ok: bool
    duration_s: float
    counts: Counts | None = None
    detail: str = ""


class Plan(NamedTuple):
    """What the pytest stages are told: leave slow tests out, how many workers, arguments handed on,
    whether to leave out what an earlier Python has shown already, and whether the wheel's stage follows.
    """

    quick: bool
    workers: int
    arguments: tuple[str, ...]
    again: bool = False
    wheel_follows: bool = False


def timed(
    stage: str, environment: Environment, step: Callable[[], tuple[bool, Counts | None, str]]
) -> Result:
    """Run one stage under a heading and take its time."""
    title = f"{stage} on {environment.interpreter}"
    print(f"\n=== {title} {'=' * max(3, 100 - len(title))}", flush=True)
    start = time.monotonic()
    ok, counts, detail = step()
    return Result(stage, environment.interpreter.full, ok, time.monotonic() - start, counts, detail)


def lint(environment: Environment) -> Result:
    """ruff: the rules, and the format."""

    def step() -> tuple[bool, Counts | None, str]:
        failed = []
        for arguments in (["check"], ["format", "--check"]):
            if run(
                environment, [environment.python, "-m", "ruff", *arguments, "--output-format=concise", "."]
            ):
                failed.append(f"ruff {arguments[0]}")
        return not failed, None, ", ".join(failed)

    return timed("lint", environment, step)


def types(environment: Environment) -> Result:
    """mypy --strict, pyright, and the completeness of the public types."""

    def step() -> tuple[bool, Counts | None, str]:
        failed = []
        say("mypy --strict")
        if run(environment, [environment.python, "-m", "mypy", "--strict"]):
            failed.append("mypy")
        say("pyright")
        if run(environment, _pyright(environment, "--project", str(ROOT / "pyproject.toml"))):
            failed.append("pyright")
        for package in PACKAGES:
            if not verify_types(environment, package):
                failed.append(f"verifytypes {package}")
        return not failed, None, ", ".join(failed)

    return timed("types", environment, step)


def verify_types(environment: Environment, package: str) -> bool:
    """Whether every public name of the installed package has a known type; the others are printed."""
    nowhere = BUILD / "nowhere"  # a directory with no sources in it, or they would be looked at instead
    nowhere.mkdir(parents=True, exist_ok=True)
    command = _pyright(environment, "--verifytypes", package, "--ignoreexternal", "--outputjson")
    done = subprocess.run(
        command,
        cwd=nowhere,
        env=_activated(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    try:
        report = json.loads(done.stdout)["typeCompleteness"]
    except (ValueError, KeyError):
        heard = f"{done.stdout}{done.stderr}"
        say(f"pyright --verifytypes {package} gave no report (exit {done.returncode}):\n{heard}")
        return False
    complaints = complain_about_types(package, report)
    known = report["exportedSymbolCounts"]["withKnownType"]
    say(f"pyright --verifytypes {package}: {known} public names, {len(complaints)} complaints")
    for complaint in complaints:
        say(f"  {complaint}")
    return not complaints


def complain_about_types(package: str, report: Mapping[str, object]) -> list[str]:
    """What pyright's completeness report holds against the package, in sentences; nothing if complete."""
    complaints = []
    if report.get("packageName") != package or not report.get("pyTypedPath"):
        complaints.append(f"{package} is not an installed package with a py.typed")
    symbols = report.get("symbols")
    consequences = []
    for symbol in symbols if isinstance(symbols, list) else []:
        if symbol["isExported"] and not (symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"]):
            messages = [each["message"].split("\n")[0] for each in symbol.get("diagnostics", [])]
            if messages:
                complaints.append(f"{symbol['name']}: {'; '.join(messages)}")
            else:
                consequences.append(f"{symbol['name']}: type unknown")
    # A class with an unknown attribute has no message of its own: it is told only when nothing explains it.
    return complaints or consequences


def _pyright(environment: Environment, *arguments: str) -> list[str]:
    return [environment.python, "-m", "pyright", *arguments]


def _activated(environment: Environment) -> dict[str, str]:
    """The variables of a child as if the environment were activated: pyright takes `python` from PATH."""
    here = str(Path(environment.python).parent)
    path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    # node comes from its wheel and pyright from its own: nothing is downloaded, no newer version looked for.
    return child_environ(
        PATH=path, VIRTUAL_ENV=str(environment.directory), PYRIGHT_PYTHON_IGNORE_WARNINGS="1"
    )


def suite(environment: Environment, plan: Plan) -> Result:
    """The tests over the source tree: the whole of tests/, unless the wheel's stage runs the public ones."""

    def step() -> tuple[bool, Counts | None, str]:
        # Commands that the tests start import the sources too, wherever they are started.
        markers = ["not public"] if plan.wheel_follows else []
        return pytest("suite", environment, plan, ROOT, markers, {"PYTHONPATH": str(ROOT)})

    return timed("suite", environment, step)


def wheel(environment: Environment, plan: Plan) -> Result:
    """The tests of the public API over the installed wheel."""

    def step() -> tuple[bool, Counts | None, str]:
        place = BUILD / "wheel-tests" / environment.interpreter.full
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(ROOT / "tests", place / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
            shutil.copy(ROOT / name, place / name)
        shutil.copytree(ROOT / "docs", place / "docs")
        return pytest("wheel", environment, plan, place, ["public"], {"PAXOS_TEST_WHEEL": "1"})

    return timed("wheel", environment, step)


def pytest(
    stage: str,
    environment: Environment,
    plan: Plan,
    directory: Path,
    selected: Sequence[str],
    variables: Mapping[str, str],
) -> tuple[bool, Counts | None, str]:
    """Run pytest in a directory; give whether it is good, its counts, and a word on what is not good."""
    report = BUILD / "reports" / f"{stage}-{environment.interpreter.full}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    markers = list(selected)
    if plan.quick:
        markers.append("not slow")
    if plan.again:
        markers.append("not once")
    command = [environment.python, "-m", "pytest", "-q", f"--junitxml={report}"]
    if markers:
        command += ["-m", " and ".join(markers)]
    if plan.workers > 1:
        command += ["-n", str(plan.workers), "--dist", "worksteal"]
    code = run(environment, [*command, *plan.arguments], cwd=directory, variables=variables)
    counts = read_report(report)
    detail = ""
    if code:
        detail = {1: "tests failed", 2: "interrupted", 5: "no tests"}.get(code, f"pytest exit {code}")
    elif counts is None or not counts.passed:
        detail = "no test passed"
    return not detail, counts, detail


def read_report(path: Path) -> Counts | None:
    """The counts of a JUnit report; None when there is none that can be read."""
    try:
        suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return None
    total, failed, skipped = 0, 0, 0
    for one in suites:
        total += int(one.get("tests", "0"))
        failed += int(one.get("failures", "0")) + int(one.get("errors", "0"))
        skipped += int(one.get("skipped", "0"))
    return Counts(max(0, total - failed - skipped), failed, skipped)


def run(
    environment: Environment,
    command: Sequence[str],
    *,
    cwd: Path = ROOT,
    variables: Mapping[str, str] | None = None,
    timeout_s: float = STAGE_TIMEOUT_S,
) -> int:
    """Run a command with its output shown as it comes; give its exit code, 124 when it had to be ended."""
    environ = _activated(environment) | dict(variables or {})
    grouped = os.name != "nt"
    with subprocess.Popen(
        command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, start_new_session=grouped
    ) as child:
        try:
            return child.wait(timeout_s)
        except BaseException as error:
            # Its own children too: a worker or a node that is left behind would disturb what comes next.
            if grouped:
                os.killpg(child.pid, signal.SIGKILL)
            else:
                child.kill()
            child.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            say(f"ended after {timeout_s:.0f} s: {' '.join(command)}")
            return 124
