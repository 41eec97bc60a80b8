"""Planted bugs, found in long runs and made so short that one can see them."""

import attrs
import pytest

import paxos.check.minimise as room
from paxos.basic import BasicSettings
from paxos.check.ddmin import ddmin
from paxos.check.draw import scenario_of
from paxos.check.minimise import minimise
from paxos.check.scenario import Scenario
from paxos.check.shorten import Budget, shorten, to_schedule
from paxos.check.walk import Walk
from paxos.errors import ConfigurationError
from paxos.sim import Faults, Hardware, Workload
from paxos.sim.moves import parse_move

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

#: Much contention on five nodes, and everything goes wrong.
HARD = Scenario(
    nodes=5,
    settings=BasicSettings(repeat_s=0.1),
    hardware=Hardware(sync_s=0.01),
    faults=Faults(random_crashes=12, random_partitions=3, loss=0.1, reorder=0.1, duplicate=0.05),
    workload=Workload(operations=150, clients=3, names=30, window=4, reads=0.1),
)


def _long_run(name, seed):
    """A run in which the bug shows late; the seed was looked for once."""
    scenario = attrs.evolve(HARD, protocol=f"tests.planted:{name}", seed=seed, messages=_digest(name))
    result = scenario.run().result
    assert result.violations
    return scenario, result


def _digest(name):
    return Scenario(protocol=f"tests.planted:{name}").messages


@pytest.mark.parametrize(
    ("name", "seed", "violations", "most"),
    [
        ("own_value", 9, {"AcceptSafe"}, 24),
        ("blind", 0, {"Agreement", "Stability"}, 24),
        ("half", 3, {"Agreement"}, 24),
        ("across_ballots", 12, {"VotesOnce"}, 24),
    ],
)
def test_a_bug_in_a_run_of_a_thousand_steps_becomes_a_few_messages(name, seed, violations, most):
    scenario, result = _long_run(name, seed)
    assert result.steps >= 1000
    small = minimise(scenario, accepted=violations)
    assert small.violation.name in violations
    assert small.deliveries <= most
    assert small.deliveries < small.deliveries_before
    assert (small.steps_before, small.deliveries_before) == (result.steps, result.deliveries)
    # Everything a reader needs is in the file, and it breaks the same anywhere.
    again = Scenario.from_json(small.scenario.to_json())
    assert again.kind == "schedule"
    played = again.run()
    assert played.skipped == ()
    assert played.violation == small.violation
    assert small.scenario.violation == small.violation.name
    assert "minimised from" in small.scenario.remark
    # No line of it can be left out.
    lines = again.schedule or ()
    for at in range(len(lines)):
        fewer = attrs.evolve(again, schedule=lines[:at] + lines[at + 1 :]).run().violation
        assert fewer is None or fewer.name not in violations
    # The sound protocol does not break in it.
    sound = attrs.evolve(again, protocol="paxos")
    assert name in ("half",) or sound.run().violation is None


def test_a_bug_that_takes_three_ballots():
    scenario = scenario_of("tests.planted:lowest", 1, 137)
    small = minimise(scenario)
    assert small.steps_before >= 1000
    assert small.violation.name == "AcceptSafe"
    assert small.deliveries < 40
    assert small.scenario.run().violation == small.violation
    assert attrs.evolve(small.scenario, protocol="paxos").run().violation is None


def test_a_forgotten_promise_and_a_message_before_its_disk():
    for name, most in (("amnesiac", 4), ("early", 1), ("fragile", 4)):
        scenario, _ = _long_run(name, 1)
        small = minimise(scenario)
        assert small.scenario.kind == "schedule"
        assert small.deliveries <= most
        assert len(small.scenario.schedule or ()) <= 8


def test_a_node_that_never_answers_stays_a_timed_run_and_becomes_small():
    scenario = attrs.evolve(
        scenario_of("tests.planted:deaf", 1, 0),
        walk=None,
        nodes=2,
        quorums=None,
        settings=None,
        liveness=True,
        duration_s=3.0,
        grace_s=20.0,
        workload=Workload(operations=4, clients=1, names=3),
        faults=Faults(random_crashes=3, loss=0.05),
    )
    small = minimise(scenario)
    assert small.violation.name == "Liveness"
    assert small.scenario.kind == "timed"
    assert small.scenario.nodes == 1
    assert small.scenario.workload.operations == 1
    assert small.scenario.faults == Faults()
    assert small.scenario.choices == ()
    assert small.steps < 100 < small.steps_before


def test_who_waits_for_ever_in_a_hard_run_waits_so_in_a_small_one():
    scenario = scenario_of("tests.mutants:asks_only_once", 3, 68)
    assert (scenario.kind, scenario.nodes, scenario.workload.operations) == ("timed", 5, 8)
    small = minimise(scenario)
    assert small.violation.name == "Liveness"
    assert small.deliveries_before > 300
    assert small.deliveries <= 12
    assert small.scenario.nodes <= 3
    assert small.scenario.workload.operations <= 2
    assert small.scenario.run().violation == small.violation
    # It is the mistake that makes it wait, not that it has little time.
    assert attrs.evolve(small.scenario, protocol="paxos").run().violation is None
    assert minimise(scenario) == small


def test_equal_scenarios_become_equal_ones_and_a_budget_ends_the_search():
    scenario, result = _long_run("own_value", 9)
    first, again = minimise(scenario), minimise(scenario)
    assert first == again
    spent: list[int] = []
    short = minimise(scenario, budget=result.steps * 4, advance=spent.append)
    assert short.violation.name == "AcceptSafe"
    assert short.spent == sum(spent) < first.spent
    assert short.steps_before >= short.steps


def test_walks_become_schedules():
    walk = Walk(
        moves=400, operations=6, names=2, disorder=0.8, crash=0.02, restart=0.2, tick=0.05, duplicate=0.02
    )
    walks = (
        Scenario(protocol="tests.planted:own_value", nodes=5, walk=walk, seed=seed) for seed in range(60)
    )
    small = minimise(next(scenario for scenario in walks if scenario.run().violation is not None))
    assert small.scenario.kind == "schedule"
    assert small.deliveries <= 12
    assert small.scenario.eager
    asked = [parse_move(line).asked for line in small.scenario.schedule or ()]
    assert {each.name for each in asked if each is not None} == {b"d"}
    assert {each.value for each in asked if each is not None} <= {b"v1", b"v2"}


def test_another_violation_is_not_taken_for_the_same():
    scenario, result = _long_run("own_value", 9)
    with pytest.raises(ConfigurationError, match="breaks AcceptSafe, not Agreement"):
        minimise(scenario, accepted={"Agreement"})
    with pytest.raises(ConfigurationError, match="breaks nothing: there is nothing to minimise"):
        minimise(Scenario(workload=Workload(operations=2)))
    schedule = to_schedule(
        attrs.evolve(scenario, choices=result.choices), frozenset({"Agreement"}), Budget(10**6)
    )
    assert schedule is None


def test_a_run_whose_end_was_not_kept_says_so(monkeypatch):
    scenario, result = _long_run("own_value", 9)
    scenario = attrs.evolve(scenario, choices=result.choices)
    budget = Budget(10**6)
    assert to_schedule(scenario, frozenset({"AcceptSafe"}), budget) is not None
    assert budget.why == ""
    assert to_schedule(scenario, frozenset({"Agreement"}), budget) is None
    assert budget.why == "as a list of moves it does not break the same"
    monkeypatch.setattr("paxos.check.recording._MAX_RECORDS", 20)
    played = scenario.run(record=True)
    assert played.truncated
    assert len(played.records) == 20
    assert played.records == attrs.evolve(scenario).run(record=True).records
    assert to_schedule(scenario, frozenset({"AcceptSafe"}), budget) is None
    assert budget.why == "it is longer than the 20 steps that are kept, and broke after them"
    small = minimise(scenario, budget=1).scenario
    assert small.kind == "timed"
    assert small.remark.endswith(f"; no schedule: {budget.why})")


def test_a_schedule_can_be_made_shorter_too():
    scenario = Scenario(
        protocol="tests.planted:half",
        nodes=4,
        eager=True,
        schedule=(
            '3 submits decide "x" = "c"',
            '1 submits decide "d" = "a"',
            '3 -> 1 Prepare "x"',
            'duplicate 1 -> 3 Prepare "d"',
            "crash 4",
            "restart 4",
            '1 -> 2 Prepare "d"',
            '2 -> 1 Promise "d"',
            '1 -> 2 Accept "d"',
            '2 -> 1 Accepted "d"',
            '4 submits decide "d" = "b"',
            '4 -> 3 Prepare "d"',
            '3 -> 4 Promise "d"',
            '4 -> 3 Accept "d"',
            '3 -> 4 Accepted "d"',
        ),
    )
    settled = minimise(scenario)
    assert settled.violation.name == "Agreement"
    assert settled.scenario.schedule == ('1 submits decide "d" = "v1"', '2 submits decide "d" = "v2"')
    assert settled.scenario.nodes == 2


@pytest.mark.parametrize("way", ["_waiting", "_candidates"])
def test_inputs_of_a_longer_run_are_not_smaller_ones(way, monkeypatch):
    scenario = Scenario(
        protocol="tests.planted:deaf", workload=Workload(operations=2), duration_s=1.0, grace_s=5.0
    )
    longer = attrs.evolve(scenario, workload=Workload(operations=9), duration_s=3.0)
    before, after = scenario.run().result, longer.run().result
    assert after.deliveries > before.deliveries
    longer = attrs.evolve(longer, choices=after.choices)
    for each in ("_waiting", "_candidates"):
        monkeypatch.setattr(room, each, lambda *_, found=each == way: [longer] if found else [])
    small = minimise(scenario, budget=10 * before.steps)
    assert small.violation.name == "Liveness"
    assert small.scenario.workload == scenario.workload
    assert (small.deliveries, small.steps) <= (before.deliveries, before.steps)


def test_choices_of_a_longer_run_are_not_fewer_ones(monkeypatch):
    scenario = Scenario(protocol="tests.planted:deaf", workload=Workload(operations=1), grace_s=1.0)
    real = scenario.run()
    tried = []

    def run(self):
        """Every 0 that takes the place of another choice makes the run longer, but for the last."""
        tried.append(self.choices)
        deliveries = 100 - sum(map(bool, self.choices)) if self.choices[:3] != (5, 6, 7) else 90
        return real._replace(
            result=attrs.evolve(real.result, choices=self.choices, deliveries=deliveries, steps=7)
        )

    monkeypatch.setattr(Scenario, "run", run)
    begun = attrs.evolve(scenario, choices=(5, 6, 7, 8, 9))
    small = room._fewer_choices(begun, frozenset({"Liveness"}), Budget(1000), (90, 7, 5))
    assert small.choices == (5, 6, 7)
    assert (5, 0, 7) in tried


def test_shorten_keeps_what_a_budget_leaves_no_room_for():
    scenario = attrs.evolve(Scenario(protocol="tests.planted:half"), schedule=('1 submits decide "d" = "a"',))
    assert shorten(scenario, frozenset({"Agreement"}), Budget(0)) == scenario


# --- the algorithm alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize("needed", [[], [7], [0, 99], [3, 4, 5], [10, 50, 90], list(range(0, 100, 9))])
def test_ddmin_finds_exactly_what_is_needed(needed):
    tried = []

    def keeps(items):
        tried.append(len(items))
        return items if set(needed) <= set(items) else None

    assert ddmin(range(100), keeps) == needed
    assert len(tried) < 900


def test_ddmin_takes_what_had_no_effect_out_at_once():
    calls = []

    def keeps(items):
        calls.append(items)
        return [item for item in items if item % 10 == 0] if {20, 30} <= set(items) else None

    assert ddmin(list(range(100)), keeps) == [20, 30]
    assert len(calls) < 30


def test_ddmin_ends_when_nothing_is_allowed_any_more():
    assert ddmin([1, 2, 3], lambda items: None) == [1, 2, 3]
