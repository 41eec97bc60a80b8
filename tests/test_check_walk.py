"""Random walks: they go on whatever is down, and who waits for ever is found."""

import attrs

from paxos.check.draw import scenario_of
from paxos.check.minimise import minimise
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
