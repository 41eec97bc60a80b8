"""What the strategies give is valid, of every kind, and known to Hypothesis by type."""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import paxos
from paxos.check import check_linearizable
from paxos.command import pack_command, take_command
from paxos.quorum import Phase, check_intersections
from paxos.sim import Crash, Faults, Hardware, Pause, SlowNode, Topology, Wipe, Workload, run
from paxos.sim.moves import Asked, Move, parse_move
from paxos.sim.stepper import Stepper
from paxos.testing import registration, strategies
from paxos.wire import dumps, loads_strict

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

ROOT = Path(paxos.__file__).parents[1]


@given(strategies.quorum_systems())
def test_quorum_systems_intersect(system: paxos.QuorumSystem) -> None:
    check_intersections(system, fast=system.has_fast)
    assert system.is_quorum(system.members, Phase.ONE)
    assert system.is_quorum(system.members, Phase.TWO)


@given(strategies.quorum_systems([2, 5, 9], fast=True))
def test_fast_systems_over_given_members(system: paxos.QuorumSystem) -> None:
    assert system.members == (2, 5, 9)
    assert system.has_fast


@pytest.mark.parametrize(
    "kind",
    ["Majority", "FlexibleQuorums", "FastQuorums", "WeightedQuorums", "GridQuorums", "ExplicitQuorums"],
)
def test_every_kind_of_quorum_system_is_among_them(kind: str) -> None:
    found = find(
        strategies.quorum_systems(range(1, 5)),
        lambda system: type(system) is getattr(paxos, kind),
        settings=settings(derandomize=True, database=None, max_examples=500),
    )
    assert found.members == (1, 2, 3, 4)


@given(strategies.ballots(bottom=True), strategies.ballots([3]))
def test_ballots(ballot: paxos.Ballot, own: paxos.Ballot) -> None:
    assert ballot >= paxos.BOTTOM
    assert own.node == 3
    assert own.above(3) > own


@given(strategies.commands())
def test_commands_survive_the_wire(command: paxos.Command) -> None:
    assert take_command(loads_strict(dumps(pack_command(command))), "command") == command


@given(strategies.footprints(), strategies.footprints())
def test_footprints_conflict_both_ways(one: paxos.Footprint, other: paxos.Footprint) -> None:
    assert one.conflicts(other) == other.conflicts(one)


@settings(max_examples=15)
@given(strategies.topologies(4), strategies.fault_plans(range(1, 5), 2.0), strategies.workloads(10))
def test_what_a_run_takes(topology: Topology, faults: Faults, workload: Workload) -> None:
    assert Faults.from_json(faults.to_json()) == faults
    result = run("paxos", 4, topology=topology, faults=faults, workload=workload, duration_s=2.0)
    assert result.violations == ()


@settings(max_examples=15)
@given(strategies.basic_settings(range(1, 4)), strategies.hardware())
def test_a_run_takes_any_settings_and_hardware(given: paxos.BasicSettings, machines: Hardware) -> None:
    work = Workload(operations=3)
    result = run("paxos", 3, settings=given, hardware=machines, workload=work, duration_s=1.0, grace_s=5.0)
    # Some wait long; nothing else may break.
    assert {violation.name for violation in result.violations} <= {"Liveness"}


@given(strategies.proposers([2, 5]))
def test_proposers_are_members_and_begin(proposer: paxos.Proposer) -> None:
    assert proposer.node in (2, 5)
    assert proposer.prepare().ballot.node == proposer.node


@given(st.data())
def test_happenings_are_of_the_given_members(data: st.DataObject) -> None:
    made: list[Crash | Pause | SlowNode | Wipe] = [
        data.draw(strategies.crashes([4, 9], 5.0)),
        data.draw(strategies.pauses([4, 9], 5.0)),
        data.draw(strategies.slow_nodes([4, 9], 5.0)),
        data.draw(strategies.wipes([4, 9], 5.0)),
    ]
    cut = data.draw(strategies.cuts([4, 9], 5.0))
    assert {each.node for each in made} | {*cut.from_nodes, *cut.to_nodes} <= {4, 9}
    assert all(each.at_s < 5.0 for each in (*made, cut))


@given(strategies.schedules())
def test_schedules_drive_the_directed_simulator(numbers: list[int]) -> None:
    asked = [(1, Asked("decide", b"d", b"a")), (2, Asked("decide", b"d", b"b"))]
    stepper = Stepper("paxos", 3, requests=asked)
    assert stepper.drive(numbers) <= len(numbers)
    assert stepper.judge() == []


@settings(max_examples=30)
@given(strategies.schedules(), st.lists(strategies.requests([b"d"], log=True), min_size=1, max_size=4))
def test_schedules_drive_a_cluster_with_a_log(numbers: list[int], asked: list[Asked]) -> None:
    stepper = Stepper("multipaxos", 3, requests=[(1 + at % 3, each) for at, each in enumerate(asked)])
    assert stepper.drive(numbers) == len(numbers)
    assert stepper.judge() == []


@given(strategies.moves() | strategies.moves(log=True))
def test_moves_are_lines(move: Move) -> None:
    assert parse_move(str(move)) == move


@pytest.mark.parametrize("kind", ["put", "increment", "cas", "delete", "get", "read", "stale"])
def test_clients_of_a_log_ask_everything(kind: str) -> None:
    found = find(
        strategies.moves([3], log=True),
        lambda move: move.asked is not None and move.asked.kind == kind and move.asked.number == 2,
        settings=settings(derandomize=True, database=None, max_examples=2000),
    )
    assert found.node == 3


@given(strategies.requests([b"d"], reads=False, log=True))
def test_clients_of_a_log_may_only_write(asked: Asked) -> None:
    assert asked.kind in ("put", "increment", "cas", "delete")


@pytest.mark.parametrize("model", ["decree", "register", "kv", "log"])
@settings(max_examples=25)
@given(data=st.data())
def test_good_histories_are_linearizable_and_broken_ones_are_not(model: str, data: st.DataObject) -> None:
    assert check_linearizable(data.draw(strategies.histories(model)), model).ok
    verdict = check_linearizable(data.draw(strategies.broken_histories(model)), model)
    assert not verdict.ok
    assert not verdict.gave_up


def test_strategies_refuse_what_can_not_be() -> None:
    with pytest.raises(paxos.ConfigurationError, match="no mistakes for model"):
        strategies.broken_histories("nonesuch")
    with pytest.raises(paxos.ConfigurationError, match="at least one"):
        strategies.quorum_systems([])


# --- known by type ------------------------------------------------------------------------------------

_BY_TYPE = """
import sys, hypothesis
from hypothesis import strategies as st
from paxos.testing.registration import register
{register}
assert "paxos.testing.strategies" not in sys.modules and "paxos.ballot" not in sys.modules
import paxos, importlib
from paxos.testing.registration import TYPES
for kind in [getattr(importlib.import_module(module), name) for module in TYPES for name in TYPES[module]]:
    made = []
    @hypothesis.settings(max_examples=3, database=None)
    @hypothesis.given(st.from_type(kind))
    def test(one):
        made.append(one)
    test()
    assert made and all(isinstance(each, kind) for each in made), (kind, made)
import importlib.machinery
assert type(sys.modules["paxos.ballot"].__spec__.loader) is importlib.machinery.SourceFileLoader
print("known")
"""


def _python(code: str, path: Path | None = None) -> str:
    place = os.pathsep.join(str(each) for each in (path, ROOT) if each is not None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": place, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_types_are_known_when_their_module_is_imported_later() -> None:
    assert _python(_BY_TYPE.format(register="register(); register()")) == "known\n"


def _declared() -> dict[tuple[str, str], str]:
    """The entry points that the project declares: those of the wheel, or of the source tree."""
    if os.environ.get("PAXOS_TEST_WHEEL") == "1":
        points = importlib.metadata.distribution("paxos-family").entry_points
        return {(point.group, point.name): point.value for point in points}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {"console_scripts": project["scripts"], **project["entry-points"]}
    return {(group, name): value for group, points in named.items() for name, value in points.items()}


def _check_fresh(installed: importlib.metadata.Distribution) -> None:
    """What was installed declares what the project declares now; Hypothesis reads that, not the sources."""
    found = {(point.group, point.name): point.value for point in installed.entry_points}
    stale = [
        f"[{group}] {name}"
        for (group, name), value in _declared().items()
        if found.get((group, name)) != value
    ]
    if stale:
        pytest.fail(
            f"the installed metadata of paxos-family {installed.version} is stale, it lacks "
            f"{', '.join(stale)}: install the project again (`pip install --no-deps --editable .`)",
            pytrace=False,
        )


def _stand_in(place: Path, entry_points: str) -> None:
    """A distribution as its installer leaves it."""
    card = place / "stand_in-1.dist-info"
    card.mkdir()
    (card / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1\n")
    (card / "entry_points.txt").write_text(entry_points)


def test_hypothesis_finds_the_registration_by_its_entry_point(tmp_path: Path) -> None:
    _stand_in(tmp_path, f"[hypothesis]\npaxos = {_declared()['hypothesis', 'paxos']}\n")
    assert _python(_BY_TYPE.format(register=""), tmp_path) == "known\n"


def test_hypothesis_finds_the_registration_of_what_is_installed() -> None:
    try:
        installed = importlib.metadata.distribution("paxos-family")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the project is not installed in this environment")
    _check_fresh(installed)
    assert _python(_BY_TYPE.format(register="")) == "known\n"


def test_metadata_that_is_stale_is_said_to_be(tmp_path: Path) -> None:
    lines: dict[str, list[str]] = {}
    for (group, name), value in _declared().items():
        if group != "hypothesis":
            lines.setdefault(group, []).append(f"{name} = {value}\n")
    _stand_in(tmp_path, "".join(f"[{group}]\n{''.join(found)}" for group, found in lines.items()))
    (installed,) = importlib.metadata.distributions(path=[str(tmp_path)])
    with pytest.raises(
        pytest.fail.Exception, match=r"stale, it lacks \[hypothesis\] paxos: install .* again"
    ):
        _check_fresh(installed)


def test_the_entry_point_is_declared() -> None:
    assert _declared()["hypothesis", "paxos"] == "paxos.testing.registration:register"


def test_every_type_that_is_registered_is_there_and_has_its_strategy() -> None:
    for module, names in registration.TYPES.items():
        found = __import__(module, fromlist=list(names))
        for name, strategy in names.items():
            assert isinstance(getattr(found, name), type), f"{module}.{name}"
            assert strategy in strategies.__all__


def test_without_hypothesis_the_extra_is_named() -> None:
    code = (
        "import sys\n"
        "import importlib.util, paxos.testing as t\n"
        "real = importlib.util.find_spec\n"
        "t.find_spec = lambda name: None if name == 'hypothesis' else real(name)\n"
        "t.StoreConformance, t.TransportConformance, t.check_linearizable\n"
        "t.simulate, t.explore, t.minimise\n"
        "assert 'hypothesis' not in sys.modules\n"
        "for name in ('strategies', 'ProtocolStateMachine', 'StateMachineConformance'):\n"
        "    try: getattr(t, name)\n"
        "    except t.ConfigurationError as error: assert 'paxos-family[test]' in str(error)\n"
        "    else: raise SystemExit(name)\n"
        "print('named')"
    )
    assert _python(code) == "named\n"
