"""Processes of the explorer that die, hang or are left alone, and protocols that end or fool them."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from paxos import sim
from paxos.basic import protocol as basic
from paxos.check.draw import scenario_of
from paxos.check.explore import explore
from paxos.check.minimise import NotRepeated, minimise
from paxos.check.scenario import load_scenario
from paxos.check.workers import Inline, Processes
from paxos.cli import main
from paxos.errors import ConfigurationError
from paxos.sim.stepper import Stepper
from tests import planted

ENDLESS = ("--schedules", "100000", "--nodes", "1", "--workers", "2")
#: Schedule 0 of these seeds has a Nack, at which some protocols do what they should not.
WALK, TIMED = 1, 5


def test_a_worker_that_dies_is_survived_and_its_schedule_named(tmp_path):
    found = explore("tests.planted:deadly", 6, seed=2, workers=2, keep_going=True, out=tmp_path, batch=3)
    assert found.tally.schedules + len(found.lost) == 6
    assert found.lost
    assert not any(each.late for each in found.lost)
    assert found.again == ((0, 5),)
    assert not found.ok
    assert found.findings == ()
    killers = [index for index in range(6) if _is_outbid(index)]
    assert [each.index for each in found.lost] == killers
    saved = [load_scenario(str(each.path)) for each in found.lost]
    assert [each.remark.split(":")[0] for each in saved] == [
        f"schedule {index} of seed 2" for index in killers
    ]
    assert {each.violation for each in saved} == {"Killed"}
    assert saved[0].dumps() == found.lost[0].scenario.dumps()


def _is_outbid(index):
    """Whether the schedule has a Nack, at which this protocol ends its process; the sound one counts them."""
    played = scenario_of("paxos", 2, index).run()
    return played.result.messages.get("Nack", 0) > 0


class _Broken(Inline):
    """A pool that breaks for some numbers, whatever comes with them."""

    def __init__(self, *numbers):
        self.numbers = numbers
        self.calls = []

    def submit(self, fn, /, *args, **kwargs):
        first, last = args[2], args[3]
        self.calls.append((first, last))
        if any(first <= number < last for number in self.numbers):
            future: Future[object] = Future()
            future.set_exception(BrokenExecutor("a process died"))
            return future
        return super().submit(fn, *args, **kwargs)


def test_only_the_schedule_that_kills_is_lost():
    executor = _Broken(5, 17)
    found = explore(schedules=24, seed=1, executor=executor, batch=8, keep_going=True)
    assert [each.index for each in found.lost] == [5, 17]
    assert found.tally.schedules == 22
    assert (5, 6) in executor.calls
    assert (8, 16) in executor.calls
    assert (9, 10) not in executor.calls  # the batch between was never suspected
    assert found.again == ((0, 7), (16, 23))
    stopped = explore(schedules=24, seed=1, executor=_Broken(5), batch=8)
    assert stopped.tally.schedules == 5


def test_a_given_executor_that_takes_no_more_work_is_told_of(tmp_path, capsys):
    state = tmp_path / "state.json"
    asked = {"seed": 2, "keep_going": True, "batch": 3, "state": state}
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, context) as executor,
        pytest.raises(ConfigurationError, match="it takes no more work") as caught,
    ):
        explore("tests.planted:deadly", 6, executor=executor, **asked)
    assert "executor ProcessPoolExecutor: a worker of it died" in str(caught.value)
    assert re.search(r"schedules (0 to 2, )?3 to 5 were under way|schedules 0 to 2 were", str(caught.value))
    # With processes that can be made anew the same search goes on.
    found = explore("tests.planted:deadly", 6, workers=1, **asked)
    assert found.tally.schedules + len(found.lost) == 6
    assert found.lost


def test_a_worker_killed_from_outside_costs_nothing_and_is_told(capsys, monkeypatch):
    whole = explore(schedules=40, seed=5, nodes=1, workers=0)
    killed: list[int] = []

    def kill_one(schedules):
        if not killed:
            killed.append(schedules)
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    found = explore(schedules=40, seed=5, nodes=1, workers=2, batch=4, advance=kill_one)
    assert killed
    assert found == whole
    assert found.ok
    assert found.again
    assert all(0 <= first <= last < 40 for first, last in found.again)
    monkeypatch.setattr("paxos.check.explore.explore", lambda *_, **__: found)
    assert main(["explore", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run_again"] == [{"first": first, "last": last} for first, last in found.again]
    assert main(["explore"]) == 0
    assert "a worker died; schedules " in capsys.readouterr().out


# --- schedules that never end ---------------------------------------------------------------------------


def test_a_schedule_that_never_ends_is_given_up_and_named(tmp_path, capfd):
    command = ["explore", "--protocol", "tests.planted:hangs", "--schedules", "1", "--workers", "1"]
    more = ["--seed", str(WALK), "--out", str(tmp_path), "--schedule-timeout", "0.5"]
    assert main([*command, *more]) == 5
    (path,) = tmp_path.iterdir()
    told = capfd.readouterr()
    assert "OUT OF TIME: schedule 0 took longer than 0.5 s (--schedule-timeout)" in told.out
    assert str(path) in told.out
    assert "in _on_nack" in told.err  # where it was
    scenario = load_scenario(path)
    assert (scenario.violation, scenario.sentence) == ("OutOfTime", "it ran out of time")
    assert main([*command, *more, "--json"]) == 5
    assert json.loads(capfd.readouterr().out)["killed"] == [
        {"schedule": 0, "scenario": str(path), "out_of_time": True}
    ]


@pytest.mark.parametrize("limit_s", [0, -1, "soon", True, 1e9])
def test_a_limit_that_is_none_is_refused(limit_s, capsys):
    with pytest.raises(ConfigurationError, match="schedule_timeout_s: expected seconds above 0"):
        explore(schedules=1, workers=0, schedule_timeout_s=limit_s)
    assert main(["explore", "--schedule-timeout", str(limit_s)]) == 2
    assert "expected seconds" in capsys.readouterr().err


def test_a_replay_says_first_that_it_may_end_at_once(tmp_path):
    found = explore("tests.planted:deadly", 1, seed=WALK, workers=1, out=tmp_path)
    (lost,) = found.lost
    command = [sys.executable, "-m", "paxos", "replay", str(lost.path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 9
    assert "given up when it was found: it killed the process it ran in; if this command" in ended.stderr


# --- who asked is gone, or in a hurry ----------------------------------------------------------------------


def _exploring(tmp_path):
    """The command, as soon as it has saved how far it came; its workers hold its standard error open."""
    state = tmp_path / "state.json"
    command = [sys.executable, "-m", "paxos", "explore", *ENDLESS, "--state", str(state)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return process, state


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_it_ends_cleanly_and_the_state_goes_on(number, tmp_path):
    process, state = _exploring(tmp_path)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from" in error
    assert "Traceback" not in error
    done = json.loads(state.read_text())["next"]
    assert done > 0
    assert explore(schedules=done, nodes=1, state=state, workers=0).ran == 0


def test_killed_it_leaves_no_workers_behind(tmp_path):
    process, _ = _exploring(tmp_path)
    process.kill()
    # Its end comes when nobody holds standard error any more, the workers included.
    _, error = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert "Traceback" not in error


def test_a_pool_that_is_stopped_waits_for_nothing():
    pool = Processes(1)
    assert pool.submit(os.getpid).result(timeout=60) != os.getpid()
    under_way = pool.submit(time.sleep, 100_000)
    while not under_way.running():
        time.sleep(0.01)  # what has not begun would only be cancelled
    pool.stop()
    assert under_way.done()
    with pytest.raises((BrokenExecutor, CancelledError)):
        under_way.result()
    assert pool.submit(os.getpid).result(timeout=60) != os.getpid()
    pool.shutdown()


# --- protocols that end their process, and those that do not repeat ----------------------------------------


@pytest.mark.parametrize("seed", [WALK, TIMED])
def test_a_handler_that_ends_the_program_is_a_violation(seed):
    found = explore("tests.planted:leaves", 1, seed=seed, workers=0, minimised=False)
    (finding,) = found.findings
    assert finding.name == "SystemExit"
    assert "stopped: outbid (_on_nack, line" in finding.sentence


@pytest.mark.parametrize("seed", [WALK, TIMED])
@pytest.mark.parametrize(
    ("protocol", "name", "sentence"),
    [
        ("leaving", "Leaving-raised", r"invariant Leaving raised SystemExit: 3 \(observe, line \d+\)"),
        ("mistaken", "Mistaken-raised", r"invariant Mistaken raised KeyError: b'd\d+' \(observe, line \d+\)"),
        ("yes", "Yes", "invariant Yes returned True: it is to return None, or a sentence"),
        ("wordy", "Wordy", "word word .* \\.\\.\\.$"),
    ],
)
def test_an_invariant_with_a_mistake_in_it_is_named_and_its_schedule_saved(
    protocol, name, sentence, seed, tmp_path
):
    named = f"tests.planted:{protocol}"
    found = explore(named, 20, seed=seed, workers=0, out=tmp_path)
    (finding,) = found.findings
    assert finding.name == name
    assert re.match(sentence, finding.sentence)
    assert finding.minimised is not None
    assert finding.minimised.deliveries <= 1
    path = Path(str(finding.path))
    again = load_scenario(path).run()
    assert again.violation is not None
    assert (again.violation.name, path.parent) == (name, tmp_path)


@pytest.mark.parametrize("start", [Stepper, lambda protocol: sim.run(protocol, duration_s=1.0)])
def test_what_is_no_invariant_is_refused_by_name(start):
    with pytest.raises(ConfigurationError, match="'x': its invariant _Unmade can not be made: ValueE"):
        start(attrs.evolve(basic, name="x", invariants=(cast(Any, _Unmade),)))
    with pytest.raises(ConfigurationError, match=r"'y': .*_Unnamed object.* is no invariant: it needs a n"):
        start(attrs.evolve(basic, name="y", invariants=(cast(Any, _Unnamed),)))


class _Unmade:
    name = "Unmade"

    def __init__(self, quorums):
        raise ValueError("no")


class _Unnamed:
    def __init__(self, quorums):
        pass

    def observe(self, step):
        return None


@pytest.mark.parametrize(("times", "minimised"), [(1, True), (2, True), (1, False)])
def test_what_does_not_repeat_is_found_and_kept(times, minimised, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planted.Fickle, "left", times)
    found = explore("tests.planted:fickle", 1, seed=WALK, workers=0, minimised=minimised, out=tmp_path)
    (finding,) = found.findings
    assert not found.ok
    assert (finding.name, finding.repeated, finding.minimised) == ("KeyError", False, None)
    saved = load_scenario(str(finding.path))
    drawn = scenario_of("tests.planted:fickle", WALK, 0)
    assert (saved.kind, saved.seed, saved.choices) == (drawn.kind, drawn.seed, None)
    assert saved.remark.endswith("it did not break again when it was run again")
    monkeypatch.setattr("paxos.check.explore.explore", lambda *_, **__: found)
    assert main(["explore"]) == 5
    told = capsys.readouterr().out
    assert "schedule 0: KeyError: node" in told
    assert "the protocol or its invariants are not deterministic" in told
    assert main(["explore", "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["violations"][0]["repeated"] is False


def test_what_does_not_repeat_takes_the_place_of_no_file(tmp_path, monkeypatch):
    drawn = scenario_of("tests.planted:fickle", WALK, 0)
    there = tmp_path / "tests-planted-fickle-1-0-KeyError.json"
    attrs.evolve(drawn, remark="found before, and small").save(there)
    before = there.read_bytes()
    monkeypatch.setattr(planted.Fickle, "left", 1)
    found = explore("tests.planted:fickle", 1, seed=WALK, workers=0, out=tmp_path)
    (finding,) = found.findings
    assert not finding.repeated
    assert there.read_bytes() == before
    assert finding.path == str(tmp_path / "tests-planted-fickle-1-0-KeyError.unrepeated.json")
    assert load_scenario(finding.path).remark.endswith("it did not break again when it was run again")


def test_the_minimiser_names_what_does_not_repeat(monkeypatch):
    monkeypatch.setattr(planted.Fickle, "left", 1)
    scenario = scenario_of("tests.planted:fickle", WALK, 0)
    with pytest.raises(NotRepeated, match="did not break the same when it was run again"):
        minimise(scenario)
