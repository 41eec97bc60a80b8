"""The explorer: what it finds, what it adds up, and that neither workers nor interruptions change it."""

import hashlib
import json

import attrs
import pytest

from paxos.basic import protocol
from paxos.check import spread
from paxos.check.draw import DRAWING, LARGE_EVERY, scenario_of
from paxos.check.explore import Exploration, Inline, explore, run_batch
from paxos.check.scenario import load_scenario
from paxos.cli import main
from paxos.cli.explore import _tell
from paxos.errors import ConfigurationError
from tests import planted

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def _totals(exploration):
    return exploration.tally, [(each.index, each.name) for each in exploration.findings], exploration.lost


def test_the_sound_protocol_passes_and_everything_is_reached():
    found = explore(schedules=120, seed=1, workers=0)
    assert found.ok
    assert found.missing == ()
    assert found.tally.schedules == 120
    assert set(found.tally.kinds) == {"timed", "walk"}
    assert min(found.tally.kinds.values()) > 30
    for name in ("crash", "restart", "partition", "lost", "duplicated", "reordered", "wipe", "writes lost"):
        assert found.tally.seen.get(name, 0) > 0
    # Only a node itself says Reserved; all else arrived from others and did something.
    assert {name for name, each in found.handlers.items() if not each.arrived} == {"Reserved"}
    assert {name for name, each in found.handlers.items() if each.walked and not each.did} == set()


def test_sizes_work_and_settings_differ():
    drawn = [scenario_of("paxos", 3, index) for index in range(200)]
    assert {scenario.nodes for scenario in drawn} == {1, 2, 3, 4, 5, 6, 7}
    sizes = [scenario.nodes for scenario in drawn]
    assert sizes.count(3) + sizes.count(5) > 80
    assert {type(each.quorums).__name__ for each in drawn} >= {
        "FlexibleQuorums",
        "WeightedQuorums",
        "NoneType",
    }
    assert any(each.settings is not None and each.settings.distinguished is not None for each in drawn)
    assert any(not each.liveness for each in drawn)
    assert {each.workload.names for each in drawn} >= {1, 12, None}
    assert all(scenario_of("paxos", 3, index, 4).nodes == 4 for index in range(20))
    assert scenario_of("paxos", 3, 0) != scenario_of("paxos", 4, 0)


@pytest.mark.parametrize("name", ["own_value", "half", "amnesiac", "fragile", "early", "leaves"])
def test_planted_bugs_are_found_made_small_and_saved(name, tmp_path):
    found = explore(f"tests.planted:{name}", 400, seed=1, workers=0, out=tmp_path)
    (finding,) = found.findings
    assert not found.ok
    assert finding.index == found.tally.schedules - 1  # it stopped there
    assert finding.minimised is not None
    assert finding.minimised.deliveries < 25
    (path,) = tmp_path.iterdir()
    assert finding.path == str(path)
    assert path.stat().st_size < 5000
    violation = load_scenario(path).run().violation
    assert violation is not None
    assert violation.name == finding.name


def test_it_goes_on_when_told_to():
    found = explore("tests.planted:half", 40, seed=2, workers=0, keep_going=True, minimised=False)
    assert found.tally.schedules == 40
    assert len(found.findings) > 1
    for finding in found.findings:
        assert finding.scenario.choices is not None
        violation = finding.scenario.run().violation
        assert violation is not None
        assert (violation.name, violation.sentence) == (finding.name, finding.sentence)


def test_batches_and_workers_change_nothing():
    alone = explore(schedules=24, seed=5, workers=0, nodes=3)
    assert _totals(explore(schedules=24, seed=5, workers=2, nodes=3, batch=5)) == _totals(alone)
    bad = explore("tests.planted:own_value", 96, seed=1, workers=0, minimised=False)
    assert _totals(
        explore("tests.planted:own_value", 96, seed=1, workers=0, batch=7, minimised=False)
    ) == _totals(bad)


class _Stopping(Inline):
    """Somebody presses Control-C after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def submit(self, fn, /, *args, **kwargs):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_an_interrupted_exploration_goes_on_to_the_same_end(batches, tmp_path):
    state = tmp_path / "state.json"
    whole = explore(schedules=16, seed=4, nodes=2, workers=0, batch=4)
    first = explore(schedules=16, seed=4, nodes=2, batch=4, state=state, executor=_Stopping(batches))
    assert first.interrupted
    assert first.tally.schedules == 4 * batches
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    seen: list[int] = []
    second = explore(schedules=16, seed=4, nodes=2, workers=0, batch=4, state=state, advance=seen.append)
    assert not second.interrupted
    assert second == whole
    assert second.ran == 16 - 4 * batches
    assert sum(seen) == 16
    # Done is done; and more can be added.
    assert explore(schedules=16, seed=4, nodes=2, workers=0, batch=4, state=state).ran == 0
    more = explore(schedules=19, seed=4, nodes=2, workers=0, batch=4, state=state)
    assert more.ran == 3
    assert more.tally == explore(schedules=19, seed=4, nodes=2, workers=0).tally


def test_a_finding_is_remembered(tmp_path):
    state = tmp_path / "state.json"
    first = explore("tests.planted:half", 200, seed=1, workers=0, state=state)
    again = explore("tests.planted:half", 200, seed=1, workers=0, state=state)
    assert again == first
    assert again.ran == 0
    assert again.findings


@pytest.mark.parametrize("keep_going", [False, True])
def test_what_was_fixed_is_forgotten_and_the_search_goes_on(keep_going, tmp_path, capsys, monkeypatch):
    state, out = tmp_path / "state.json", tmp_path / "found"
    asked = {"seed": 1, "workers": 0, "state": state, "out": out, "keep_going": keep_going, "batch": 8}
    schedules = 200 if not keep_going else 24
    first = explore("tests.planted:half", schedules, **asked)
    assert first.findings
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert files
    monkeypatch.setattr(planted, "half", attrs.evolve(protocol, name="half"))
    found = explore("tests.planted:half", 40, **asked)
    assert found.fixed == tuple((each.index, each.name, each.sentence) for each in first.findings)
    assert found.ok
    assert found.tally.schedules == 40
    assert found.ran == 40 - first.tally.schedules
    assert json.loads(state.read_text())["tally"]["broken"] == []
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files
    _tell(found, 1.0)
    index, name = first.findings[0].index, first.findings[0].name
    assert f"fixed since: schedule {index}, run before, broke {name}: " in capsys.readouterr().out
    monkeypatch.setattr("paxos.check.explore.explore", lambda *_, **__: found)
    assert main(["explore", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fixed_since"][0]["schedule"] == index
    again = explore("tests.planted:half", 40, **asked)
    assert (again.ran, again.fixed) == (0, ())


def test_what_breaks_something_else_now_is_told_as_it_is_now(tmp_path, monkeypatch):
    state = tmp_path / "state.json"
    (first,) = explore("tests.planted:half", 200, seed=1, workers=0, state=state).findings
    data = json.loads(state.read_text())
    data["tally"]["broken"] = [[first.index, "Other", "something"]]
    state.write_text(json.dumps(data))
    found = explore("tests.planted:half", 200, seed=1, workers=0, state=state)
    assert found.findings == (first,)
    assert found.fixed == ()


def test_interrupted_while_it_looks_again_nothing_is_forgotten(tmp_path):
    state = tmp_path / "state.json"
    explore("tests.planted:half", 200, seed=1, workers=0, state=state)
    before = state.read_text()
    assert explore("tests.planted:half", 200, seed=1, state=state, executor=_Stopping(0)).interrupted
    assert state.read_text() == before


def test_schedules_are_drawn_as_the_version_of_the_drawing_says():
    """Where this fails schedules are other ones than before: give DRAWING the next number."""
    drawn = hashlib.sha256()
    for name in ("paxos", "multipaxos", "epaxos"):
        for index in range(60):
            data = scenario_of(name, 7, index).to_json()
            drawn.update(json.dumps({**data, "version": "", "messages": ""}, sort_keys=True).encode())
    assert (DRAWING, drawn.hexdigest()[:16]) == (3, "5def4a277b0f3d09")


def test_of_mixed_sizes_one_in_so_many_is_large():
    drawn = [scenario_of("epaxos", 7, index, sizes="mixed") for index in range(2 * LARGE_EVERY)]
    large = [index for index, each in enumerate(drawn) if each == scenario_of("epaxos", 7, index)]
    assert large == [LARGE_EVERY - 1, 2 * LARGE_EVERY - 1]
    small = [each for index, each in enumerate(drawn) if index not in large]
    assert small == [
        scenario_of("epaxos", 7, index, sizes="small") for index in range(len(drawn)) if index not in large
    ]
    assert {each.kind for each in small} == {"walk"}
    assert {each.nodes for each in small} == {3, 4, 5}
    plans = [each.walk for each in small if each.walk is not None]
    assert max(plan.moves for plan in plans) <= 100
    assert max(plan.operations for plan in plans) <= 6
    assert {plan.settle for plan in plans} == {True, False}
    for fault in ("crash", "drop", "duplicate", "restart", "tick", "wipe"):
        assert any(getattr(plan, fault) for plan in plans)
    # What a crash would leave to recover is little, whatever is drawn besides.
    assert {each.settings.reserve_numbers for each in small} == {1, 2}
    assert all(scenario_of("paxos", 7, index, 6, "small").nodes == 6 for index in range(8))


@pytest.mark.parametrize("name", ["paxos", "multipaxos", "fastpaxos", "fastpaxos-log", "epaxos"])
def test_small_schedules_break_nothing_and_are_not_empty(name):
    found = explore(name, 48, seed=2, workers=0, sizes="small")
    assert found.ok
    assert found.sizes == "small"
    assert found.tally.kinds == {"walk": 48}
    assert found.tally.gave_up == ()
    assert found.tally.steps > 48 * 30
    for probe in ("crash", "restart"):
        assert found.tally.seen[probe] > 48


def test_sizes_are_remembered(tmp_path):
    state = tmp_path / "state.json"
    first = explore(schedules=8, seed=4, workers=0, state=state, sizes="mixed")
    assert explore(schedules=8, seed=4, workers=0, state=state, sizes="mixed") == first
    with pytest.raises(ConfigurationError, match="its sizes is 'mixed', not 'large'"):
        explore(schedules=8, seed=4, workers=0, state=state)


@pytest.mark.parametrize("name", ["own_value", "half"])
def test_small_schedules_find_planted_bugs(name, tmp_path, capsys):
    command = ["explore", "--protocol", f"tests.planted:{name}", "--schedules", "2000", "--seed", "1"]
    assert main([*command, "--sizes", "small", "--workers", "0", "--out", str(tmp_path)]) == 5
    assert ", sizes small: " in capsys.readouterr().out
    (path,) = tmp_path.iterdir()
    assert load_scenario(path).run().violation is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data | {"seed": 5}, "of another exploration: its seed is 5, not 4"),
        (lambda data: data | {"messages": "other"}, "its messages is 'other'"),
        (lambda data: data | {"format": 9}, "its format is 9"),
        (lambda data: data | {"drawing": DRAWING - 1}, f"its drawing is {DRAWING - 1}, not {DRAWING}"),
        (lambda data: data | {"tally": {}}, "no state of an exploration: its tally: KeyError"),
        (
            lambda data: data | {"tally": data["tally"] | {"lost": "x"}},
            "no state of an exploration: its tally",
        ),
        (lambda data: data | {"next": "soon"}, "next: expected a whole number from 0, got 'soon'"),
        (lambda data: {}, "no state of an exploration: 'format', .*'tally' missing; name another file"),
        (lambda data: [], "no state of an exploration: expected an object"),
    ],
)
def test_another_state_is_refused(change, message, tmp_path):
    state = tmp_path / "state.json"
    explore(schedules=2, seed=4, workers=0, state=state)
    state.write_text(json.dumps(change(json.loads(state.read_text()))))
    with pytest.raises(ConfigurationError, match=message) as caught:
        explore(schedules=4, seed=4, workers=0, state=state)
    assert str(caught.value).startswith(f"state file {state}: ")
    assert "name another file" in str(caught.value)
    state.write_text(state.read_text()[:-5])
    with pytest.raises(ConfigurationError, match=r"not JSON, perhaps cut off: .*or remove it to begin anew"):
        explore(schedules=4, seed=4, workers=0, state=state)


def test_a_state_that_can_not_be_kept_is_refused_before_anything_is_run(tmp_path):
    with pytest.raises(ConfigurationError, match=r"there is no directory .*; make it, or name another file"):
        explore(schedules=4, workers=0, state=tmp_path / "nowhere" / "s.json", executor=_Stopping(0))
    with pytest.raises(ConfigurationError, match="can not be read: Is a directory; see to it, or name"):
        explore(schedules=4, workers=0, state=tmp_path)


def test_a_state_from_before_schedules_could_be_late_is_read(tmp_path):
    state = tmp_path / "state.json"
    first = explore(schedules=2, seed=4, workers=0, state=state)
    data = json.loads(state.read_text())
    assert data["tally"].pop("late") == []
    state.write_text(json.dumps(data))
    assert explore(schedules=2, seed=4, workers=0, state=state) == first


# --- arguments and mistakes --------------------------------------------------------------------------------


def test_a_bug_of_the_explorer_is_loud():
    with pytest.raises(ConfigurationError, match="no protocol named 'nonesuch'"):
        explore("nonesuch", 10)
    unit = spread.Unit(0, 4, run_batch, ("nonesuch", 0), (None, False))
    with pytest.raises(ConfigurationError, match="nonesuch"):
        list(spread.in_order(Inline(), [unit], owned=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedules": -1}, "schedules: expected a whole number in 1"),
        ({"schedules": "many"}, "schedules"),
        ({"workers": 2.5}, "workers"),
        ({"nodes": 0}, "nodes"),
        ({"seed": -1}, "seed"),
        ({"batch": 0}, "batch"),
        ({"sizes": "huge"}, "sizes: expected one of small, mixed, large, got 'huge'"),
        ({"schedules": 0}, r"schedules: expected a whole number in 1\.\."),
        ({"executor": 3}, r"executor: expected a concurrent\.futures\.Executor, got 3; for a number of proc"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        explore(**arguments)


# --- Dask ------------------------------------------------------------------------------------------------


def test_a_dask_cluster_explores_the_same():
    distributed = pytest.importorskip("distributed", reason="Dask's distributed is not installed")
    alone = explore(schedules=24, seed=5, workers=0, nodes=3)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, protocol="inproc://"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = explore(schedules=24, seed=5, nodes=3, executor=client.get_executor(), batch=8)
    assert isinstance(found, Exploration)
    assert _totals(found) == _totals(alone)


# --- the commands -----------------------------------------------------------------------------------------


def test_explore_and_replay(tmp_path, capsys):
    command = ["explore", "--protocol", "tests.planted:own_value", "--schedules", "60", "--seed", "1"]
    assert main([*command, "--workers", "0", "--out", str(tmp_path)]) == 5
    text = capsys.readouterr().out
    for part in (
        "schedules/s",
        "deliveries/s",
        "seen: ",
        "arrived: Prepare",
        "BROKEN",
        "VIOLATED  AcceptSafe",
    ):
        assert part in text
    (path,) = tmp_path.iterdir()
    assert f"run it again with `paxos replay {path}`" in text
    assert main(["replay", str(path)]) == 5
    assert "as expected: AcceptSafe broke" in capsys.readouterr().out
    outputs = []
    for _ in range(2):
        assert main(["replay", str(path), "--json"]) == 5
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])["got"] == "AcceptSafe"
    assert main(["replay", str(path), "--chart", "text"]) == 5
    assert "Promise" in capsys.readouterr().out
    picture = tmp_path / "chart.svg"
    assert main(["replay", str(path), "--chart", "svg", "--out", str(picture)]) == 5
    assert picture.read_text(encoding="utf-8").startswith("<svg")


def test_what_waits_for_ever_is_shown_as_a_chart_too(tmp_path, capsys):
    command = ["explore", "--protocol", "tests.planted:deaf", "--schedules", "20", "--seed", "1"]
    assert main([*command, "--workers", "0", "--out", str(tmp_path)]) == 5
    text = capsys.readouterr().out
    assert "own Promise 1.1 no vote" in text
    assert "the row above x " in text
    assert "VIOLATED  Liveness" in text
    (path,) = tmp_path.iterdir()
    assert main(["replay", str(path), "--chart", "svg", "--out", str(tmp_path / "chart.svg")]) == 5
    assert "the row above x " in (tmp_path / "chart.svg").read_text(encoding="utf-8")


def test_explore_says_it_in_json(capsys):
    assert main(["explore", "--schedules", "20", "--seed", "1", "--workers", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schedules"] == 20
    assert told["violations"] == told["killed"] == []
    assert told["handlers"]["Prepare"]["arrived"] > 0


def test_only_what_arrived_in_walks_is_said_to_have_done_nothing(capsys):
    """In timed runs nobody looks whether a message does something."""
    timed = next(n for n in range(99) if {scenario_of("paxos", 0, n + i).kind for i in (0, 1)} == {"timed"})
    tally = run_batch("paxos", 0, timed, timed + 2, None, True)
    assert sum(tally.received.values()) > 0
    assert tally.walked == tally.effective == {}
    found = Exploration("paxos", 0, 2, tally)
    assert all(each.walked == each.did == 0 for each in found.handlers.values())
    _tell(found, 1.0)
    assert "never did anything" not in capsys.readouterr().out
    idle = attrs.evolve(found, tally=tally._replace(walked={"Ask": 3, "Nack": 2}, effective={"Nack": 1}))
    _tell(idle, 1.0)
    assert "arrived in walks and never did anything there: Ask 3\n" in capsys.readouterr().out
    both = run_batch("paxos", 1, 0, 12, None, True)
    assert set(both.kinds) == {"timed", "walk"}
    assert all(both.effective[name] <= times <= both.received[name] for name, times in both.walked.items())
    assert sum(both.walked.values()) < sum(both.received.values())


def test_a_search_that_gave_up_is_no_sound_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("paxos.check.scenario._MAX_STATES", 1)
    command = ["explore", "--protocol", "multipaxos", "--schedules", "12", "--seed", "5", "--workers", "0"]
    command += ["--state", str(tmp_path / "state.json")]
    assert main([*command, "--json"]) == 0
    gave_up = json.loads(capsys.readouterr().out)["gave_up"]
    assert gave_up
    assert all(scenario_of("multipaxos", 5, index).run().gave_up for index in gave_up)
    assert main(command) == 0  # and it is remembered
    told = capsys.readouterr().out
    assert f"NOT KNOWN: whether clients saw one order in {len(gave_up)} schedules ({gave_up[0]}, " in told
    assert "nothing that must hold broke, as far as is known\n" in told


def test_a_replay_that_breaks_something_else_says_so(tmp_path, capsys):
    explore("tests.planted:own_value", 60, seed=1, workers=0, out=tmp_path)
    (path,) = tmp_path.iterdir()
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"protocol": "paxos"}))
    assert main(["replay", str(path)]) == 0
    assert "expected AcceptSafe to break, got nothing" in capsys.readouterr().out
    path.write_text(json.dumps(data | {"violation": "Agreement"}))
    assert main(["replay", str(path)]) == 5
    assert "expected Agreement to break, got AcceptSafe" in capsys.readouterr().out
    path.write_text(json.dumps(data | {"schedule": ["sync 2", *data["schedule"]]}))
    assert main(["replay", str(path)]) == 5
    assert "skipped: line 1, 'sync 2': it can not be made here" in capsys.readouterr().err
    assert main(["replay", str(path), "--strict"]) == 2
    assert "line 1, 'sync 2'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data", ["{", '{"format": 7}', '{"format": 1, "protocol": "x", "messages": "", "nodes": 3}']
)
def test_a_replay_of_no_scenario_is_one_line(data, tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text(data)
    assert main(["replay", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"paxos: {path}: ")
    assert error.count("\n") == 1
    assert main(["replay", str(path), "--out", "x.svg"]) == 2
