"""Scenario files: what is saved is what runs again, and nothing else is taken for one."""

import json
from pathlib import Path
from typing import cast

import attrs
import pytest

from paxos.basic import BasicSettings
from paxos.check.draw import scenario_of
from paxos.check.quorums import quorums_from_json, quorums_to_json
from paxos.check.scenario import FORMAT, Scenario, load_scenario, pack_choices
from paxos.check.walk import Walk
from paxos.cli.command import main
from paxos.errors import EXIT_USAGE, ConfigurationError, QuorumError
from paxos.quorum import (
    ExplicitQuorums,
    FastQuorums,
    FlexibleQuorums,
    GridQuorums,
    Majority,
    QuorumSystem,
    WeightedQuorums,
)
from paxos.sim import Crash, Cut, Faults, Hardware, Topology, Workload
from paxos.sim.stepper import Stepper

COMMITTED = Path(__file__).parent / "mutants" / "scenarios"
SMALL = Workload(operations=6)
SCHEDULE = ('1 submits decide "d" = "a"', '1 -> 2 Prepare "d"', '2 -> 1 Promise "d"', "crash 2")
TIMED = Scenario(
    nodes=3,
    quorums=FlexibleQuorums([1, 2, 3], 2, 2),
    settings=BasicSettings(repeat_s=0.1),
    topology=Topology("two and one", ("a", "b", "c"), ((0, 1, 9), (1, 0, 9), (9, 9, 0))),
    hardware=Hardware(sync_s=0.002),
    faults=Faults(
        loss=0.1,
        crashes=[Crash(0.4, 2, 0.2, "torn")],
        partitions=[Cut(0.2, (1,), (2, 3), 0.3)],
        random_pauses=2,
    ),
    workload=Workload(operations=12, names=2, reads=0.3),
    duration_s=1.0,
    seed=5,
    remark="a made-up one: ü",
)


def _saved(scenario, tmp_path, name="s.json"):
    path = tmp_path / name
    scenario.save(path)
    return path


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(workload=SMALL),
        TIMED,
        attrs.evolve(TIMED, choices=(0, 0, 0, 5, 1, 1, 999)),
        Scenario(walk=Walk(moves=50, crash=0.1, restart=0.2), seed=3, nodes=5),
        Scenario(schedule=SCHEDULE, eager=True, violation="Agreement", sentence="never"),
        Scenario(protocol="tests.planted:own_value", workload=SMALL),
    ],
)
def test_what_is_saved_is_what_is_loaded(scenario, tmp_path):
    path = _saved(scenario, tmp_path)
    loaded = load_scenario(path)
    assert loaded.dumps() == path.read_text(encoding="utf-8") == scenario.dumps()
    assert loaded.run().result == scenario.run().result
    # Defaults are written out, so that other ones later change nothing.
    assert loaded.settings is not None
    assert attrs.evolve(loaded, settings=scenario.settings) == scenario


@pytest.mark.parametrize("index", range(24))
def test_drawn_scenarios_run_the_same_from_their_choices(index, tmp_path):
    scenario = attrs.evolve(scenario_of("paxos", 11, index), max_steps=3000)
    played = scenario.run()
    listed = attrs.evolve(scenario, choices=played.result.choices, seed=0)
    loaded = load_scenario(_saved(listed, tmp_path))
    assert loaded.run().result == played.result
    assert scenario_of("paxos", 11, index).dumps() == scenario_of("paxos", 11, index).dumps()


def test_replays_are_byte_identical(tmp_path):
    scenario = attrs.evolve(TIMED, choices=TIMED.run().result.choices)
    first, again = (load_scenario(_saved(scenario, tmp_path)).run(trace=True) for _ in range(2))
    assert first.result.trace
    assert first.result.trace == again.result.trace == TIMED.run(trace=True).result.trace


def test_recording_changes_nothing():
    for scenario in (
        TIMED,
        Scenario(walk=Walk(crash=0.05, restart=0.3), seed=1),
        Scenario(schedule=SCHEDULE),
    ):
        plain, recorded = scenario.run(), scenario.run(record=True)
        assert plain.result == recorded.result
        assert len(recorded.records) >= recorded.result.steps
        assert plain.records == ()


def test_lines_that_can_not_be_made_are_named():
    lines = ("sync 3", *SCHEDULE, '1 -> 3 Nonesuch "d"')
    played = Scenario(schedule=lines).run()
    assert played.skipped == (1, 4, 6)  # the promise waits for its disk
    assert played.violation is None


def test_settings_that_may_wait_for_ever_break_no_liveness():
    deaf = Scenario(protocol="tests.planted:deaf", workload=Workload(operations=1, reads=0.0), max_steps=4000)
    assert deaf.run().violation is not None
    assert attrs.evolve(deaf, liveness=False).run().violation is None


def test_choices_are_written_short():
    assert pack_choices(()) == []
    assert pack_choices((0, 0, 0, 5, 7, 7)) == ["3*0 5 2*7"]
    many = tuple(n * 977 % 1000 for n in range(5000))
    lines = pack_choices(many)
    assert max(map(len, lines)) <= 104
    data = {**Scenario().to_json(), "choices": lines}
    assert Scenario.from_json(data).choices == many


SYSTEMS: list[QuorumSystem] = [
    Majority([1, 2, 3]),
    FlexibleQuorums([1, 2, 3, 4], 3, 2),
    FlexibleQuorums([1, 2, 3, 4], 3, 2, 3),
    FastQuorums([1, 2, 3, 4, 5]),
    WeightedQuorums({1: 2, 2: 1, 3: 1}),
    GridQuorums([[1, 2], [3, 4]]),
    ExplicitQuorums([1, 2, 3], [[1, 2], [2, 3]], [[2], [1, 3]]),
]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: type(system).__name__)
def test_quorum_systems_go_there_and_back(system):
    data = json.loads(json.dumps(quorums_to_json(system)))
    assert quorums_from_json(data, len(system.members)) == system


def test_quorums_named_by_failures_are_made_by_the_protocol_that_has_them():
    drawn = (scenario_of("epaxos", 5, index) for index in range(60))
    scenario = next(each for each in drawn if each.quorums is not None)
    data = json.loads(scenario.dumps())
    assert data["quorums"]["kind"] == "failures"
    assert Scenario.from_json(data).quorums == scenario.quorums
    with pytest.raises(ConfigurationError, match="whose 'kind' is majority"):
        quorums_from_json(data["quorums"], scenario.nodes)
    data["quorums"]["failures"] = scenario.nodes
    with pytest.raises(QuorumError, match="may fail, not"):
        Scenario.from_json(data)


class _Own(QuorumSystem):
    def __init__(self):
        self.members = (1, 2, 3)

    def is_quorum(self, nodes, phase=None):
        return {1, 2} <= set(nodes) or {2, 3} <= set(nodes)


def test_a_quorum_system_of_ones_own_is_saved_as_its_sets():
    back = quorums_from_json(quorums_to_json(_Own()), 3)
    assert back.smallest_quorums() == _Own().smallest_quorums()


def _change(**changes):
    def change(data):
        for key, value in changes.items():
            data[key] = value
        return json.dumps(data)

    return change


def _without(key):
    def change(data):
        del data[key]
        return json.dumps(data)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: json.dumps(data)[:200], "not JSON, perhaps cut off"),
        (lambda data: "", "not JSON"),
        (lambda data: "[]", "expected an object with the key 'format'"),
        (lambda data: "[" * 100_000, "not JSON"),
        (_change(format=FORMAT + 1), "a scenario of version 2; this release reads version 1"),
        (_change(format="1"), "a scenario of version '1'"),
        (_change(protocol="nonesuch"), "no protocol named 'nonesuch' is installed"),
        (_change(protocol=["paxos"]), "protocol: expected a name"),
        (_change(protocol="tests.nowhere:protocol"), "tests.nowhere"),
        (_change(messages="0" * 64), "when protocol 'paxos' had other messages"),
        (_without("messages"), "'messages' is missing"),
        (_without("nodes"), "'nodes' is missing"),
        (_change(colour="red"), "unknown key 'colour'; known are"),
        (_change(nodes="three"), "nodes: expected a whole number, got 'three'"),
        (_change(nodes=2), "quorums: 3 members, and 'nodes' is 2"),
        (_change(quorums={"kind": "cabal"}), "quorums: expected an object whose 'kind' is majority"),
        (
            _change(quorums={"kind": "majority", "size": 2, "members": [1]}),
            "quorums: majority: .* 'size'; known are 'members'",
        ),
        (
            _change(quorums={"kind": "flexible", "phase1": 2, "phase2": 2}),
            "quorums: flexible: 'members' missing; it is made of 'members', 'phase1', 'phase2'",
        ),
        (_change(quorums={"kind": "weighted"}), "quorums: weighted: 'weights' missing"),
        (
            _change(quorums={"kind": "flexible", "members": [1, 2, 3], "phase1": 1, "phase2": 1}),
            "common member",
        ),
        (_change(settings={"repeat": 1}), "settings: unknown key 'repeat'"),
        (_change(settings={"repeat_s": "soon"}), "repeat_s: expected seconds"),
        (_change(faults={"loss": 2}), "Faults.loss: 2 is outside"),
        (_change(faults=3), "faults: expected an object"),
        (_change(workload={"operations": "many"}), "Workload.operations: expected a whole number"),
        (_change(topology={"name": "x", "sites": ["a"]}), "one_way_ms needs a row"),
        (_change(duration_s=None), "duration_s: expected a number"),
        (_change(choices="123"), "choices: expected a list of texts"),
        (_change(choices=["3*", "x"]), "choices, line 1: '3\\*'"),
        (_change(choices=["-1"]), "choices, line 1: '-1'"),
        (_change(choices=["99999999*0"]), "choices: more than"),
        (
            _change(choices=None, schedule=["sync 1", "hop 2"], eager=True),
            "schedule, line 2: not a move: 'hop 2'",
        ),
        (_change(schedule="sync 1", eager=True), "Scenario.schedule: expected at most"),
        (_change(schedule=[7], eager=True), "schedule, line 1: not a move: 7"),
        (_change(walk={"moves": -1}, eager=True), "Walk.moves: -1 is outside"),
        (_change(walk={}, schedule=[], eager=True), "a walk or a schedule, not both"),
        (_change(violation=7), "Scenario.violation: expected a text"),
        (_change(eager="yes"), "Scenario.eager: expected True or False"),
    ],
)
def test_what_is_no_scenario_is_refused_in_one_line(change, message, tmp_path):
    path = tmp_path / "broken.json"
    path.write_text(change(json.loads(attrs.evolve(TIMED, choices=(1, 2)).dumps())), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_scenario(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 900


@pytest.mark.parametrize(
    ("scenario", "lost", "message"),
    [
        (Scenario(schedule=SCHEDULE), "schedule", "neither a schedule .'schedule' is missing. nor a walk"),
        (Scenario(walk=Walk(), choices=(1,)), "walk", "nor a walk .'walk' is missing."),
        (Scenario(walk=Walk(), choices=(1,)), "choices", "'choices' is missing: it is a walk without"),
        *(
            (attrs.evolve(TIMED, choices=(1,)), key, f"nor a timed run .'{key}' missing.")
            for key in ("choices", "workload", "faults", "topology", "hardware", "duration_s", "grace_s")
        ),
    ],
)
def test_a_part_that_was_lost_makes_no_other_kind_of_run(scenario, lost, message):
    data = scenario.to_json()
    assert Scenario.from_json(data).kind == scenario.kind
    without = {key: value for key, value in data.items() if key != lost}
    with pytest.raises(ConfigurationError, match=message):
        Scenario.from_json(without)


@pytest.mark.parametrize("protocol", ["paxos", "multipaxos"])
@pytest.mark.parametrize("kind", [{"schedule": ()}, {"walk": Walk(), "choices": (1,)}, {"choices": (1,)}])
def test_no_key_that_was_lost_becomes_a_default(kind, protocol):
    scenario = Scenario(protocol=protocol, eager=False, liveness=False, **kind)
    data = scenario.to_json()
    assert Scenario.from_json(data).to_json() == data
    for lost in data:
        without = {key: value for key, value in data.items() if key != lost}
        with pytest.raises(ConfigurationError, match=lost):
            Scenario.from_json(without)


def test_settings_that_an_earlier_release_did_not_know_have_their_defaults():
    data = attrs.evolve(TIMED, choices=(1,)).to_json()
    for part in ("settings", "faults", "workload", "hardware"):
        inner = dict(cast(dict[str, object], data[part]))
        inner.popitem()
        data[part] = inner
    found = Scenario.from_json(data)
    assert found.settings.reserve_rounds == BasicSettings().reserve_rounds
    assert (found.faults.loss, found.settings.repeat_s) == (0.1, 0.1)


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "double.json"
    text = Scenario(schedule=SCHEDULE, eager=True).dumps()
    path.write_text(text.replace(' "eager": true,', ' "eager": true,\n "eager": false,'), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"double.json: the key 'eager' is there twice"):
        load_scenario(path)


@pytest.mark.parametrize(
    ("protocol", "line", "message"),
    [
        ("multipaxos", '2 submits increment "n" = "x"', "increment b'n': expected a whole number of 64 bits"),
        ("multipaxos", '2 submits increment "n" = "1.5"', "expected a whole number of 64 bits to add"),
        ("multipaxos", '2 submits increment "n" = "9223372036854775808"', "delta: expected an integer in -9"),
        ("multipaxos", f'2 submits increment "n" = "{"9" * 5000}"', "expected a whole number of 64 bits"),
        ("multipaxos", '2 submits put "" = "x"', "a key of 0 bytes"),
        ("multipaxos", '2 submits decide "d" = "a"', "can not ask 'decide' here: the protocol decides a log"),
        ("multipaxos", '2 forgets decided "d"', "can not ask 'decided' here: the protocol decides a log"),
        ("paxos", '2 submits put "k" = "v"', "can not ask 'put' here: the protocol decides decrees"),
        ("paxos", '2 submits stale "k"', "can not ask 'stale' here: the protocol decides decrees"),
        ("paxos", '2 submits decide "" = "v"', "decree name b'': 0 bytes"),
    ],
)
def test_what_clients_of_a_protocol_do_not_ask_is_refused(protocol, line, message, tmp_path, capsys):
    path = tmp_path / "asks.json"
    data = {**Scenario(protocol=protocol, schedule=()).to_json(), "schedule": ["sync 1", line]}
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(f"{path}: schedule, line 2, '2 ")
    assert main(["replay", str(path)]) == EXIT_USAGE
    assert str(caught.value) in capsys.readouterr().err
    # By hand as well; then nothing has happened.
    stepper = Stepper(protocol, eager=True)
    if " submits " in line:
        with pytest.raises(ConfigurationError, match=message):
            stepper.do(line)
    assert (stepper.history(), stepper.moved, stepper.unanswered) == ((), 0, 0)


def test_an_increment_may_take_away(tmp_path):
    lines = ('1 submits increment "n" = "-7"', '1 submits increment "n" = "-9223372036854775808"')
    scenario = Scenario(protocol="multipaxos", nodes=1, schedule=lines, eager=True)
    scenario.save(tmp_path / "minus.json")
    first, second = load_scenario(tmp_path / "minus.json").run().result.operations
    assert (first.value, second.value) == (-7, -(1 << 63))


@pytest.mark.parametrize("path", sorted(COMMITTED.glob("*.json")), ids=lambda path: path.stem)
def test_committed_scenarios_are_complete(path):
    assert load_scenario(path).dumps() == path.read_text(encoding="utf-8")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="can not be read: No such file"):
        load_scenario(tmp_path / "absent.json")
    with pytest.raises(ConfigurationError, match="can not be written: No such file"):
        Scenario().save(tmp_path / "nowhere" / "x.json")
