"""Every planted mistake is found, and every check is one that can fail.

The hunt itself is `python -m tests.mutants`.  Here its results are replayed: for each mutant a scenario that
once broke it, made small and kept in tests/mutants/scenarios/.  It must still break the mutant, in the same
way, and must not break the sound protocol.  Where no scenario can show a mistake a program does.
"""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import attrs
import pytest

import paxos.check.scenario
import paxos.sim.stepper
import paxos.sim.world
from paxos.check.scenario import Scenario, load_scenario
from paxos.contract import Invariant, InvariantMaker, Step
from tests import mutants as registry
from tests.mutants.__main__ import SCENARIOS, main
from tests.mutants.build import described, mutants, sound
from tests.mutants.directed import DIRECTED
from tests.mutants.hunts import hunt
from tests.mutants.patches import Mutant, Patch

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

NAMES = sorted(name for name, mutant in mutants().items() if not mutant.directed)
#: Those that a program shows.
PROGRAMS = sorted(name for name, mutant in mutants().items() if mutant.directed)


#: More messages than this are not kept, by protocol and how many ballots a mistake takes.
LONGEST = {
    ("paxos", 2): 25,
    ("paxos", 3): 40,
    ("fastpaxos", 2): 40,
    ("fastpaxos", 3): 40,
    ("fastpaxos-log", 2): 80,
    ("fastpaxos-log", 3): 80,
    ("multipaxos", 2): 80,
    ("multipaxos", 3): 80,
}


#: What needs clients that acknowledge, or for ever: no list of moves shows it.
TIMED = {"acknowledged_means_applied", "votes_asked_only_once"}


def kept(name: str) -> Scenario:
    return load_scenario(SCENARIOS / f"{name}.json")


def broken_property(scenario: Scenario) -> str | None:
    violation = scenario.run().violation
    return None if violation is None else violation.name


def test_there_are_enough_and_each_has_its_scenario() -> None:
    of = [mutant.protocol for mutant in mutants().values()]
    assert of.count("paxos") >= 15
    assert of.count("multipaxos") >= 20
    assert of.count("epaxos") >= 50
    assert of.count("fastpaxos") >= 15
    assert of.count("fastpaxos-log") >= 12
    assert len(of) == len(mutants())
    assert sorted(path.stem for path in SCENARIOS.glob("*.json")) == NAMES
    assert registry.stale_read is registry.stale_read
    with pytest.raises(AttributeError, match="there is no mutant 'nonesuch'"):
        registry.nonesuch  # noqa: B018


def test_the_documentation_counts_all_of_them() -> None:
    root = Path(__file__).parents[1]
    table = (root / "docs" / "mutants.md").read_text(encoding="utf-8")
    rows = re.findall(r"^    ([a-z]\w+) +[\w-]+ .* killed$", table, re.MULTILINE)
    assert sorted(rows) == sorted(mutants())
    assert f"    {len(rows)} of {len(rows)} killed\n" in table
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert f"(docs/mutants.md): {len(rows)} of those that were really made" in readme


@pytest.mark.parametrize("name", NAMES)
def test_the_scenario_breaks_the_mutant_and_not_the_protocol(name: str) -> None:
    scenario = kept(name)
    assert scenario.protocol == f"tests.mutants:{name}"
    assert scenario.violation in mutants()[name].oracles
    assert broken_property(scenario) == scenario.violation
    assert broken_property(attrs.evolve(scenario, protocol=sound(mutants()[name]).name)) is None


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_breaks_the_mutant_and_not_the_protocol(name: str) -> None:
    found = hunt(name)
    assert found.ok, found
    assert found.killed_by in mutants()[name].oracles
    assert DIRECTED[mutants()[name].directed](None)[0] == {}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_is_short(name: str) -> None:
    scenario = kept(name)
    if mutants()[name].protocol == "multipaxos" and scenario.kind == "timed":
        assert name in TIMED
    else:
        assert scenario.run().result.deliveries < LONGEST[mutants()[name].protocol, mutants()[name].ballots]


@pytest.mark.parametrize(
    "name", ["own_value_proposed", "vote_before_durable", "log_promise_before_durable", "log_ballot_reused"]
)
def test_the_hunt_finds_it_again(name: str) -> None:
    found = hunt(name)
    assert found.ok
    assert found.killed_by in mutants()[name].oracles
    assert found.deliveries < 25


def test_a_mutant_that_survives_fails_the_hunt(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Mutant("own_value_proposed", "Nothing is wrong with it.", (), budget=3)
    monkeypatch.setattr("tests.mutants.hunts.mutants", lambda: {"own_value_proposed": sound})
    monkeypatch.setattr("tests.mutants.hunts.explore", _explore_the_sound_one)
    assert hunt("own_value_proposed").verdict == "survived"
    assert not hunt("own_value_proposed").ok


def _explore_the_sound_one(_protocol: str, *arguments: object, **named: object) -> object:
    from paxos.check.explore import explore

    return explore("paxos", *arguments, **named)  # type: ignore[arg-type]


def test_words_that_are_gone_are_missed() -> None:
    gone = Mutant("gone", "", (), (Patch("acceptor", "no such words", ""),))
    with pytest.raises(LookupError, match="acceptor: 0 times there, not once: 'no such words'"):
        described(gone)


def test_the_command_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nonesuch"])
    assert "own_value_proposed" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--only", "own_value_proposed", "--protocol", "multipaxos"])
    assert "none of own_value_proposed is a mutant of multipaxos" in capsys.readouterr().err


#: Where a run is judged by more than invariants: what stands there as a text may be the name of a check.
_JUDGES = (*sorted(Path(paxos.sim.__file__).parent.glob("*.py")), Path(paxos.check.scenario.__file__))
_TEXTS = {
    node.value
    for path in _JUDGES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
}


@pytest.mark.parametrize("name", sorted(mutants()))
def test_every_oracle_is_the_name_of_a_check(name: str) -> None:
    mutant = mutants()[name]
    protocol = sound(mutant)
    invariants = {make(protocol.quorums([1, 2, 3])).name for make in protocol.invariants}
    assert mutant.oracles
    assert set(mutant.oracles) - invariants - _TEXTS == set()


# --- checks that can not fail ----------------------------------------------------------------------------


class _Dropped:
    """An invariant whose result is dropped: the commonest bug of all."""

    def __init__(self, sound: Invariant) -> None:
        self._sound = sound
        self.name: str = sound.name

    def observe(self, step: Step) -> str | None:
        self._sound.observe(step)
        return None


#: Each invariant that the kept scenarios rely on, by protocol, with a mutant that it kills.
_OWN = {
    (each.name, make(each.quorums([1, 2, 3])).name): make
    for each in {mutant.protocol: sound(mutant) for mutant in mutants().values()}.values()
    for make in each.invariants
}
#: What the acceptor itself reports, before any invariant looks.
_REFUSED = {"fastlog_recovery_picks_again"}
_KILLERS = {
    (mutants()[name].protocol, kept(name).violation): name
    for name in NAMES
    if name not in _REFUSED and (sound(mutants()[name]).name, kept(name).violation) in _OWN
}


@pytest.mark.parametrize(("protocol", "name"), sorted(_KILLERS))
def test_an_invariant_that_drops_its_result_is_noticed(
    protocol: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the check broken the scenario ends otherwise than its file says, if only by the last judge."""
    mutant = mutants()[_KILLERS[protocol, name]]
    scenario = kept(mutant.name)
    dropped: list[InvariantMaker] = [lambda quorums: _Dropped(_OWN[protocol, name](quorums))]
    others = [make for (of, other), make in _OWN.items() if of == protocol and other != name]
    broken = attrs.evolve(described(mutant), invariants=(*dropped, *others))
    monkeypatch.setattr(registry, "broken", broken, raising=False)
    seen = scenario.run().violation
    assert seen is not None
    assert attrs.evolve(scenario, protocol="tests.mutants:broken").run().violation != seen
    assert seen.name == name


#: What only the verdict on a log says, with a mutant that it kills.
_JUDGED = {
    kept(name).violation: name
    for name in NAMES
    if kept(name).violation in ("ReadFresh", "AtMostOnce", "StateExact", "AnswerExact", "Durability")
    and mutants()[name].protocol == "multipaxos"
}


def _accept_everything(*_: object) -> Iterable[tuple[str, str]]:
    return ()


@pytest.mark.parametrize("name", sorted(_JUDGED))
def test_a_verdict_on_logs_that_accepts_everything_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = kept(_JUDGED[name])
    assert broken_property(scenario) == name
    monkeypatch.setattr(paxos.sim.stepper, "judge_log", _accept_everything)
    monkeypatch.setattr(paxos.sim.world, "judge_log", _accept_everything)
    assert broken_property(scenario) != name
