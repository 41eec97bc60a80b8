"""What watches a run: an invariant is shown every step that can concern it, and what it says is told."""

from collections import Counter
from typing import Any

import attrs
import pytest

from paxos.basic import MESSAGES
from paxos.basic.watch import Watch
from paxos.check.walk import Walk, walk
from paxos.contract import Invariant, InvariantMaker, Outline, ProtocolDescription, Step
from paxos.sim import Choices, Violation
from paxos.sim.stepper import Stepper
from tests.mutants.build import described, mutants

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

PLAN = Walk(
    moves=300, operations=8, names=2, reads=0.2, tick=0.03, crash=0.02, restart=0.1, duplicate=0.02, drop=0.02
)


class _ShownAll:
    """The same invariant, without a word of what concerns it."""

    def __init__(self, sound: Invariant) -> None:
        self.name: str = sound.name
        self.observe = sound.observe


def _shown_all(make: InvariantMaker) -> InvariantMaker:
    return lambda quorums: _ShownAll(make(quorums))


def _walked(protocol: ProtocolDescription, seed: int) -> list[Violation]:
    stepper = Stepper(protocol, 3)
    walk(stepper, PLAN, Choices(seed))
    return stepper.violations


@pytest.mark.parametrize(("of", "walks"), [("paxos", 6), ("multipaxos", 1)])
def test_nothing_is_missed_by_showing_invariants_what_concerns_them(of: str, walks: int) -> None:
    found: Counter[str] = Counter()
    for name, mutant in sorted(mutants().items()):
        if mutant.protocol != of or mutant.directed:
            continue
        broken = described(mutant)
        shown_all = attrs.evolve(broken, invariants=tuple(map(_shown_all, broken.invariants)))
        for seed in range(walks):
            violations = _walked(broken, seed)
            assert violations == _walked(shown_all, seed), name
            found.update(each.name for each in violations)
    assert len(found) > 4, found


class _Counts(Watch):
    name = "Counts"

    def __init__(self, quorums: Any) -> None:
        super().__init__(quorums)
        self.seen: Counter[str] = Counter()

    def _before(self, step: Step) -> str | None:
        self.seen[step.action] += 1
        return None


class _CountsCrashes(_Counts):
    _when = ("crash",)


class _CountsAgain(_CountsCrashes):
    def _before(self, step: Step) -> str | None:
        return super()._before(step)


class _Observes(_CountsCrashes):
    def observe(self, step: Step) -> str | None:
        return super().observe(step)


class _Never(_Counts):
    def concerns(self, outline: Outline) -> bool:
        return False


class _CountsSubmissions(_CountsCrashes):
    submissions = True


def _shown(kind: type[_Counts]) -> Counter[str]:
    stepper = Stepper("paxos", 3, observers=[counts := kind(None)])
    for seed in range(3):
        stepper.play(['1 submits decide "d" = "a"', "tick 1", "crash 2", "restart 2"])
        draws = Choices(seed)
        stepper.drive([draws.draw("move", 3) for _ in range(60)], faults=False)
    assert stepper.settle()
    return counts.seen


def test_whoever_does_not_say_what_concerns_it_is_shown_all() -> None:
    everything = _shown(_Counts)
    assert everything.keys() == {"request", "receive", "tick", "durable", "crash", "restart"}
    assert _shown(_CountsCrashes) == {"crash": everything["crash"]}
    # What the class above said was of another `_before`, or of another `observe`.
    assert _shown(_CountsAgain) == everything
    assert _shown(_Observes) == everything
    assert _shown(_Never) == {}
    # Clients of decrees submit whatever they ask.
    both = _shown(_CountsSubmissions)
    assert both.keys() == {"crash", "request"}
    assert (both["crash"], both["request"]) == (everything["crash"], everything["request"])


def test_what_is_asked_of_an_outline() -> None:
    kinds = {each.type for each in MESSAGES}
    asked: list[Outline] = []

    class Asks(_Counts):
        def concerns(self, outline: Outline) -> bool:
            asked.append(outline)
            return True

    _shown(Asks)
    # A few, of hundreds of steps.
    assert 10 < len(asked) < 40
    assert {each.action for each in asked} >= {"request", "receive", "durable", "crash"}
    assert all(each.created <= kinds and each.left <= kinds for each in asked)
    assert all((each.action == "receive") == (each.received is not None) for each in asked)
    assert any(len(each.left) == 1 for each in asked)
    assert any(each.applied for each in asked)
