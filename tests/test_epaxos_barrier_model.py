"""The rules of EPaxos and its barriers hold in a model, and each mistake is found by its script."""

import pytest

from tests.epaxos_barrier_scripts import RULES, SCRIPTS, SOUND, play, recorded
from tests.epaxos_barrier_search import main, replay, shortest, walk_at_random, walk_near
from tests.epaxos_commit_model import Broken

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_mistake_is_found_by_its_script(name):
    played, broken = play(name, RULES[name])
    assert broken.partition(":")[0] == SCRIPTS[name][4]
    assert len(played.ops) > 10


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("rules", SOUND)
def test_no_script_breaks_rules_that_hold(name, rules):
    assert play(name, RULES[rules])[1] == ""


@pytest.mark.parametrize("nodes", [3, 5])
@pytest.mark.parametrize("rules", SOUND)
def test_random_schedules_break_nothing(rules, nodes):
    probes = {
        name for seed in range(150) for name in walk_at_random(nodes, RULES[rules], seed).cluster.probes
    }
    assert {"fast", "slow", "nop", "validated", "wait", "cut", "truncate"} <= probes


@pytest.mark.parametrize("rules", SOUND)
def test_schedules_near_the_scripts_break_nothing(rules):
    probes: set[str] = set()
    for seed, (n, f, e, ops) in enumerate(recorded() * 15):
        probes |= walk_near(n, f, e, ops, RULES[rules], seed).cluster.probes.keys()
    assert {"component", "exception", "install", "wait", "resolved"} <= probes


def test_random_search_finds_a_mistake_and_shortens_it(capsys):
    assert main(["--rules", "gone anew", "--schedules", "2000"]) == 1
    told = capsys.readouterr().out
    assert "Agreement" in told or "FloorCommitted" in told or "Converged" in told
    assert "truncate" in told
    rules = RULES["fast commit lost"]
    ops: list[tuple[object, ...]] = []
    for seed in range(2000):
        try:
            walk_at_random(3, rules, seed)
        except Broken as broken:
            ops = broken.walk.ops  # type: ignore[attr-defined]
            break
    few = shortest(3, rules, ops)
    assert len(few) < len(ops)
    assert replay(3, rules, few)
    assert not replay(3, RULES["floor"], few)


def test_the_search_says_what_it_did(capsys):
    assert main(["--schedules", "30", "--near"]) == 0
    assert "30 schedules" in capsys.readouterr().out
