"""Random walks: they go on whatever is down, and who waits for ever is found."""

import attrs

from paxos.check.draw import scenario_of
from paxos.check.minimise import minimise
from paxos.check.recording import _moves as moves_of
from paxos.check.scenario import Scenario
from paxos.check.walk import Walk, walk
from paxos.sim import Choices
from paxos.sim.moves import Asked
from paxos.sim.stepper import Stepper

ONCE = "tests.mutants:asks_only_once"
#: Half of the messages are lost.
LOSSY = Walk(moves=60, operations=2, drop=0.4, submit=0.1)


def _first_broken(protocol):
    walks = (Scenario(protocol=protocol, walk=LOSSY, seed=seed) for seed in range(100))
    return next((each for each in walks if each.run().violation is not None), None)


def test_a_walk_finds_who_waits_for_ever():
    found = _first_broken(ONCE)
    assert found is not None
    violation = found.run().violation
    assert violation is not None
    assert violation.name == "Liveness"
    assert 'decide "d0" = "v' in violation.sentence
    assert found.run().violation == violation
    # It is the mistake that makes it wait.
    assert attrs.evolve(found, protocol="paxos").run().violation is None
    # Where who waits does not count, nothing is wrong; and the file says so.
    calm = attrs.evolve(found, liveness=False)
    assert calm.run().violation is None
    assert Scenario.from_json(attrs.evolve(calm, choices=()).to_json()).liveness is False
    small = minimise(found)
    assert small.violation.name == "Liveness"
    assert small.deliveries <= small.deliveries_before


def test_sound_protocols_answer_everybody():
    for protocol, most in (("paxos", 120), ("multipaxos", 40)):
        drawn = (scenario_of(protocol, 11, index) for index in range(most))
        for scenario in drawn:
            if scenario.kind == "walk":
                assert scenario.run().violation is None, scenario.remark


def test_an_orderly_walk_does_not_wait_for_a_dead_node():
    stepper = Stepper("paxos", eager=True)
    stepper.play(['1 submits decide "d" = "a"', "crash 2"])
    assert stepper.pool[0].recipient == 2
    plan = Walk(moves=40, operations=0, disorder=0.0, submit=0.0, settle=False)
    walk(stepper, plan, Choices(0, ()))
    assert [op.outcome for op in stepper.history()] == ["done"]
    assert stepper.down() in ([], [2])


def test_a_walk_keeps_what_nobody_could_be_asked():
    stepper = Stepper("paxos")
    stepper.play(["crash 1", "crash 2", "crash 3"])
    stepper.requests.append((1, Asked("decide", b"d", b"a")))
    walk(stepper, Walk(moves=1, operations=0, submit=0.5, settle=False), Choices(0, (999,)))
    assert len(stepper.requests) == 1


def test_the_same_words_with_another_number_are_another_request():
    stepper = Stepper("multipaxos", 1, eager=True)
    lines = [
        '1 submits delete "k"',
        '1 submits delete "k" @2',
        '1 submits delete "k"',
        '1 submits delete "k" @2',
    ]
    assert stepper.play(lines) == []
    assert len(stepper.history()) == 2
    assert len({op.request for op in stepper.history()}) == 2
    assert [str(each) for each in stepper.asked()] == ['delete "k"', 'delete "k" @2']
    assert stepper.settle()


def test_walks_of_logs_ask_the_same_words_anew_and_now_and_then_again():
    plan = Walk(moves=0, operations=30, reads=0.3)
    same_words, repeats = 0, 0
    for seed in range(10):
        stepper = Stepper("multipaxos")
        walk(stepper, plan, Choices(seed))
        asked = stepper.asked()
        # Asked again it is the same question, unless it is a query that was answered.
        commands = [each for each in asked if each.kind not in ("read", "stale")]
        assert len(set(commands)) == len(commands)
        same_words += len(commands) - len({each._replace(number=0) for each in commands})
        repeats += 30 - len(asked)
    assert same_words > 30
    assert 10 < repeats < 60


def test_a_schedule_made_of_a_walk_asks_as_often():
    plan = Walk(moves=200, operations=12, reads=0.3, tick=0.02)
    scenario = Scenario(protocol="multipaxos", nodes=3, walk=plan, seed=1)
    played = scenario.run(record=True)
    bare = attrs.evolve(scenario, schedule=(), walk=None)
    stepper = bare.stepper()
    lines = [str(move) for move in moves_of(played.records, stepper) if stepper.do(move)]
    assert any(" @2" in line for line in lines)
    commands = [op.request for op in played.result.operations if op.request is not None]
    assert len([op for op in stepper.history() if op.request is not None]) == len(commands)
