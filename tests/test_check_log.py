"""The directed simulator and the explorer on a protocol that decides a log."""

import json

import attrs
import pytest

from paxos.check import Scenario, Walk, chart_of, load_scenario, text_chart
from paxos.check.draw import scenario_of
from paxos.check.explore import explore
from paxos.check.minimise import minimise
from paxos.check.recording import schedule_of
from paxos.cli.command import main
from paxos.contract import Decides
from paxos.errors import ConfigurationError
from paxos.service import LogSettings
from paxos.sim import Faults, Workload
from paxos.sim.ledger import LOG_PROBES, LOG_SETTINGS, probes_of
from paxos.sim.moves import Asked, Move, parse_move
from paxos.sim.questions import LogWords, asked_of, words_of
from paxos.sim.stepper import Stepper

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

ASKED = [
    Asked("put", b"k", b"v"),
    Asked("delete", b"k", None),
    Asked("cas", b"k", b"w", b"v"),
    Asked("cas", b"k", b"w", None),
    Asked("cas", b"\xff", b'"', b"\x00"),
    Asked("increment", b"n", b"-3"),
    Asked("get", b"k", None),
    Asked("read", b"k", None),
    Asked("stale", b"k", None),
]


# --- words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_request_of_a_log_has_a_line_and_a_message(asked):
    move = Move("submit", 2, asked=asked)
    assert parse_move(str(move)) == move
    assert parse_move(f"2 forgets {asked}").asked == asked
    assert asked_of(LogWords().message_of(7, asked)) == asked


@pytest.mark.parametrize(
    "line",
    [
        '1 submits put "k"',
        '1 submits put "k" = v',
        '1 submits delete "k" = "v"',
        '1 submits cas "k" = "v"',
        '1 submits cas "k" if "v"',
        '1 submits get "k" if nothing',
        '1 submits steal "k"',
        '1 submits decide "d"',
        '1 submits decided "d" = "v"',
    ],
)
def test_what_is_no_request_is_refused(line):
    with pytest.raises(ConfigurationError, match=r"not a (request|move)"):
        parse_move(line)


def test_what_moves_have_no_words_for_is_none():
    assert words_of(b"") is None
    assert asked_of(Move("tick", 1)) is None
    message = LogWords().message_of(0, ASKED[0])
    run = message.run
    two = run._replace(bodies=[*run.bodies, *run.bodies], digests=run.digests * 2)
    assert asked_of(message._replace(run=two)) is None


# --- the directed simulator -------------------------------------------------------------------------


def test_what_clients_ask_is_carried_out_in_order():
    stepper = Stepper(
        "multipaxos", requests=[(1, each) for each in ASKED[:4]], log=LogSettings(marker_requests=2)
    )
    assert stepper.settle()
    assert stepper.judge() == []
    outs = {(op.kind, op.old): op.out for op in stepper.history()}
    assert outs["put", None] is None
    assert stepper.applied() == dict.fromkeys((1, 2, 3), 5) or len(set(stepper.applied().values())) == 1
    assert stepper.decisions() == {}
    assert stepper.result().applied == stepper.applied()
    assert {op.outcome for op in stepper.history()} == {"done"}


def leading(**more):
    """Three nodes; one of them leads."""
    stepper = Stepper("multipaxos", requests=[(1, Asked("put", b"first", b"1"))], eager=True, **more)
    assert stepper.settle()
    leader = stepper.history()[0].node
    assert leader is not None
    return stepper, leader, [node for node in stepper.members if node != leader]


def test_a_client_is_sent_on_to_the_leader():
    stepper, leader, others = leading()
    assert stepper.submit(others[0], Asked("put", b"k", b"v"))
    assert stepper.requests == [(leader, Asked("put", b"k", b"v"))]
    assert stepper.seen["redirected"] >= 1
    assert stepper.settle()
    assert stepper.history()[-1].outcome == "done"
    assert stepper.history()[-1].node == leader


def test_the_same_words_again_are_the_same_request():
    stepper, leader, _ = leading()
    for _ in range(3):
        stepper.submit(leader, Asked("increment", b"n", b"2"))
    stepper.submit(leader, Asked("increment", b"n", b"3"))
    assert stepper.settle()
    assert [op.out for op in stepper.history()[1:]] == [2, 5]
    assert stepper.seen["retry deduplicated"] == 2
    # A read that was answered is another one when it is asked again.
    for _ in range(2):
        stepper.submit(leader, Asked("read", b"n", None))
        assert stepper.settle()
    assert [op.out for op in stepper.history()[3:]] == [b"5", b"5"]
    assert stepper.judge() == []


def test_who_is_refused_asks_again_when_time_has_gone_on():
    stepper = Stepper("multipaxos")
    assert stepper.submit(2, Asked("put", b"k", b"v"))
    assert stepper.requests == []
    assert stepper.unanswered == 1
    assert stepper.tick(stepper.wakeable()[0])
    assert stepper.requests == [(2, Asked("put", b"k", b"v"))]
    assert stepper.settle()
    assert stepper.history()[0].outcome == "done"


def test_a_node_far_behind_is_sent_a_snapshot():
    stepper, leader, others = leading(log=LogSettings(marker_requests=2, piece_s=0))
    stepper.crash(others[0])
    for number in range(12):
        stepper.submit(leader, Asked("put", b"k%d" % (number % 3), b"v%d" % number))
        for _ in range(40):
            if stepper.pool and not stepper.deliver_at(0):
                stepper.drop_at(0)
        stepper.tick(leader)
    stepper.restart(others[0])
    for _ in range(600):
        if stepper.seen["snapshot installed"]:
            break
        if stepper.pool:
            stepper.deliver_at(0)
        else:
            stepper.tick(stepper.wakeable()[0])
    assert stepper.seen["snapshot installed"]
    assert stepper.judge() == []


# --- scenarios --------------------------------------------------------------------------------------


def test_probes_and_settings_of_a_log():
    scenario = Scenario(protocol="multipaxos")
    assert json.loads(scenario.dumps())["log"]["marker_requests"] == LOG_SETTINGS.marker_requests
    assert "log" not in Scenario().to_json()
    again = Scenario.from_json(json.loads(attrs.evolve(scenario, log=LogSettings(marker_requests=7)).dumps()))
    assert again.log == LogSettings(marker_requests=7)
    with pytest.raises(ConfigurationError, match="marker_requests"):
        Scenario.from_json({**scenario.to_json(), "log": {"marker_requests": 0}})
    with pytest.raises(ConfigurationError, match=r"Scenario\.log: expected LogSettings"):
        Scenario(protocol="multipaxos", log=3)  # type: ignore[arg-type]
    found = scenario.stepper().protocol
    assert found.decides is Decides.LOG
    assert probes_of(found) == (*found.probes, *LOG_PROBES)


def test_drawn_scenarios_of_a_log_are_the_same_again_and_of_all_kinds():
    drawn = [scenario_of("multipaxos", 3, number) for number in range(60)]
    assert drawn == [scenario_of("multipaxos", 3, number) for number in range(60)]
    assert {scenario.kind for scenario in drawn} == {"timed", "walk"}
    assert all(scenario.log is not None for scenario in drawn)
    assert len({scenario.log.marker_requests for scenario in drawn if scenario.log is not None}) > 4
    assert len({scenario.workload.swaps for scenario in drawn}) > 1
    for scenario in drawn[:4]:
        assert Scenario.from_json(json.loads(scenario.dumps())).dumps() == scenario.dumps()
        assert scenario.run().result == scenario.run().result


def test_exploring_finds_nothing_where_nothing_is_wrong():
    found = explore("multipaxos", 60, seed=5, workers=0)
    assert found.ok, found.findings
    assert found.tally.schedules == 60
    assert set(LOG_PROBES) - set(found.missing), "of some of them, at least"
    assert found.tally.seen["snapshot"] > 0
    assert found.tally.seen["retry deduplicated"] > 0
    assert found.handlers["Accept"].did > 0


def test_a_timed_run_that_was_recorded_is_drawn():
    scenario = Scenario(
        protocol="multipaxos", seed=4, faults=Faults(random_crashes=2), workload=Workload(operations=12)
    )
    played = scenario.run(record=True)
    assert played.violation is None
    text = text_chart(chart_of(played))
    assert 'put "k' in text
    assert "applies 1: " in text
    assert "marker" in text or "increment" in text
    # It breaks nothing, so it is no schedule that does.
    assert schedule_of(played.records, scenario.stepper, frozenset({"Agreement"})) is None


@pytest.mark.parametrize(
    ("name", "violation"),
    [("stale_reads", "ReadFresh"), ("lost_votes", "SlotAgreement")],
)
def test_what_is_planted_is_found_made_short_and_breaks_again(name, violation, tmp_path):
    found = explore(f"tests.planted_log:{name}", 200, seed=0, workers=0, out=tmp_path)
    (finding,) = found.findings
    assert finding.repeated
    assert finding.minimised is not None
    small = finding.minimised.scenario
    assert small.kind == "schedule"
    assert finding.name == small.violation == violation
    assert finding.minimised.deliveries <= 12
    assert small.schedule is not None
    assert len(small.schedule) <= 24
    assert finding.path is not None
    again = load_scenario(finding.path)
    assert again.dumps() == small.dumps()
    broken = again.run().violation
    assert broken is not None
    assert broken.name == violation
    assert main(["replay", finding.path, "--chart", "text"]) == 5


def test_a_walk_becomes_a_schedule():
    walk = Walk(moves=300, operations=6, reads=0.5, tick=0.05)
    scenarios = (
        Scenario(protocol="tests.planted_log:stale_reads", walk=walk, seed=seed) for seed in range(220, 280)
    )
    scenario = next(each for each in scenarios if each.run().violation is not None)
    small = minimise(scenario)
    assert small.violation.name == "ReadFresh"
    assert small.scenario.kind == "schedule"
    assert small.deliveries <= 12


# --- commands ---------------------------------------------------------------------------------------


def test_simulate_explore_and_replay_from_the_shell(tmp_path, capsys):
    saved, history = tmp_path / "run.json", tmp_path / "history.jsonl"
    command = ["simulate", "--protocol", "multipaxos", "--faults", "crash,loss", "--operations", "30"]
    assert main([*command, "--save", str(saved), "--history", str(history), "--timeline"]) == 0
    said = capsys.readouterr().out
    assert "slots up to" in said
    assert 'request put "k' in said
    assert main(["simulate", "--replay", str(saved), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures["runs"][0]["applied"]) == {"1", "2", "3"}
    assert main(["check", "--history", str(history), "--model", "kv"]) == 0
    capsys.readouterr()
    explored = ["explore", "--protocol", "multipaxos", "--schedules", "12", "--workers", "0", "--seed", "5"]
    assert main([*explored, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "nothing that must hold broke" in said
