"""A protocol of another distribution, a vote without ballots: found by name, and found out by every tool."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from paxos.check import chart_of, load_scenario, text_chart
from paxos.contract import find_protocol, protocol_names
from paxos.sim import Workload
from paxos.testing import ProtocolStateMachine, explore, minimise, simulate

ELSEWHERE = Path(__file__).parent / "elsewhere"
SOURCE = ELSEWHERE / "src"
NAME = "naive_vote:protocol"


@pytest.fixture(autouse=True)
def _in_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SOURCE))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an installer leaves of it: a card, and the entry points as its pyproject.toml has them."""
    project = tomllib.loads((ELSEWHERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    card = tmp_path / "site" / f"naive_vote-{project['version']}.dist-info"
    card.mkdir(parents=True)
    (card / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (card / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(card.parent))
    return card.parent


def test_it_works_while_nobody_disturbs_it() -> None:
    lines = ['1 submits decide "d" = "a"', "sync 1", '1 -> 2 Ask "d"', "sync 2", '2 -> 1 Yes "d"', "sync 1"]
    stepper = ProtocolStateMachine.play(NAME, lines)
    assert stepper.decisions()[1] == {b"d": b"a"}
    assert stepper.settle()
    assert set(map(str, stepper.decisions().values())) == {"{b'd': b'a'}"}


@pytest.mark.usefixtures("installed")
def test_installed_it_has_a_name() -> None:
    assert "naive-vote" in protocol_names()
    assert find_protocol("naive-vote").name == "naive-vote"


def test_the_simulator_sees_the_flaw() -> None:
    result = simulate(NAME, 3, seed=1, workload=Workload(operations=12, names=2, think_s=0.0))
    assert result.violations[0].name == "Agreement"


def test_the_explorer_finds_it_and_the_minimiser_shows_it(tmp_path: Path) -> None:
    found = explore(NAME, 100, workers=0, out=tmp_path).findings[0]
    assert found.name == "Agreement"
    assert found.minimised is not None
    assert found.minimised.deliveries <= 4
    scenario = load_scenario(str(found.path))
    assert len(scenario.schedule or ()) <= 8
    chart = text_chart(chart_of(scenario.run(record=True)))
    assert chart.count("★ decides") == 2
    assert "VIOLATED  Agreement" in chart


def test_a_finding_can_be_made_small_later() -> None:
    raw = explore(NAME, 100, workers=0, minimised=False).findings[0].scenario
    assert minimise(raw).deliveries <= 4


def test_the_state_machine_finds_it() -> None:
    with pytest.raises(AssertionError, match="Agreement"):
        run_state_machine_as_test(
            ProtocolStateMachine.of(NAME, eager=True),
            settings=settings(max_examples=100, phases=[Phase.generate]),
        )


def test_the_script_of_the_documentation_shows_it() -> None:
    script = """
        1 submits decide "d" = "a"
        1 -> 2 Ask "d"
        2 -> 1 Yes "d"
        3 submits decide "d" = "b"
        3 -> 2 Ask "d"
        2 -> 3 Yes "d"
    """
    with pytest.raises(AssertionError, match="node 3 decides b'b', node 1 decided b'a'"):
        ProtocolStateMachine.play(NAME, script.splitlines(), eager=True)


def test_the_command_line_finds_it_by_its_installed_name(installed: Path, tmp_path: Path) -> None:
    place = os.pathsep.join([str(installed), str(SOURCE), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "paxos", "explore", "--protocol", "naive-vote", "--schedules", "50", "--json",
         "--workers", "1", "--out", str(tmp_path / "found")],
        env=os.environ | {"PYTHONPATH": place},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert "Agreement" in done.stdout
    assert json.loads(done.stdout)["protocol"] == "naive-vote"


@pytest.mark.parametrize(
    ("command", "code"),
    [(["simulate", "--seed", "1"], 0), (["explore", "--schedules", "9", "--workers", "0"], 5)],
)
def test_where_it_is_not_installed_its_module_names_it(command: list[str], code: int, tmp_path: Path) -> None:
    # As the installed command runs: the directory that one stands in is not on the path.
    place = os.pathsep.join(each for each in sys.path if each and Path(each).resolve() != SOURCE.resolve())
    (tmp_path / "naive_vote.py").write_bytes((SOURCE / "naive_vote" / "__init__.py").read_bytes())
    done = subprocess.run(
        [sys.executable, "-P", "-m", "paxos", *command, "--protocol", NAME],
        env=os.environ | {"PYTHONPATH": place},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
