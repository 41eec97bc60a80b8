"""The hunt for one mutant: explore until a check finds it, and make what was found small."""

import time
from collections.abc import Callable
from typing import Any, Final

import attrs

from paxos.check.explore import explore
from paxos.check.minimise import BUDGET, Minimised, minimise
from paxos.check.scenario import Scenario
from paxos.check.walk import walk
from paxos.contract import Decides
from paxos.sim import Choices, Violation
from paxos.sim.moves import Move
from tests.mutants.build import mutants, sound
from tests.mutants.directed import DIRECTED
from tests.mutants.patches import Mutant

__all__ = ["Hunt", "hunt", "on_ground"]

#: Steps that making a scenario of a log small may take. Its nodes talk all the time.
_LOG_STEPS: Final = BUDGET // 4


@attrs.frozen
class Hunt:
    """How the hunt for one mutant ended.

    Args:
        mutant: its name.
        protocol: of which it is a mutant.
        how: "explored", "walks" on prepared ground, a "script", or "directed" by a program.
        killed_by: the check that found it; None where it survived.
        sentence: what that check said.
        schedules: how many it took.
        found_at: messages delivered in the schedule that broke.
        deliveries: messages delivered in the minimised one.
        seconds: how long all of it took here.
        verdict: "killed", "survived", or "killed by another check".
        scenario: the minimised one, as its file holds it; empty where a program directs it.
    """

    mutant: str
    protocol: str
    how: str
    killed_by: str | None
    sentence: str
    schedules: int
    found_at: int
    deliveries: int
    seconds: float
    verdict: str
    scenario: str

    @property
    def ok(self) -> bool:
        return self.verdict == "killed"


def hunt(name: str, seed: int = 0) -> Hunt:
    """Explore until something breaks, or the budget is used up."""
    mutant = mutants()[name]
    began_s = time.perf_counter()
    if mutant.directed:
        found = _directed(mutant)
    elif mutant.script:
        found = _scripted(mutant)
    elif mutant.ground is not None:
        found = _walked(mutant, seed)
    else:
        found = _explored(mutant, seed)
    return attrs.evolve(found, seconds=round(time.perf_counter() - began_s, 1))


def _survived(mutant: Mutant, how: str, schedules: int) -> Hunt:
    return Hunt(mutant.name, mutant.protocol, how, None, "", schedules, 0, 0, 0.0, "survived", "")


def _killed(mutant: Mutant, how: str, violation: Violation, schedules: int) -> Hunt:
    return attrs.evolve(
        _survived(mutant, how, schedules),
        killed_by=violation.name,
        sentence=violation.sentence,
        verdict="killed" if violation.name in mutant.oracles else "killed by another check",
    )


def _small(hunted: Hunt, mutant: Mutant, small: Minimised) -> Hunt:
    return attrs.evolve(
        hunted,
        found_at=small.deliveries_before,
        deliveries=small.deliveries,
        scenario=attrs.evolve(small.scenario, remark=mutant.sentence).dumps(),
    )


def _budget(mutant: Mutant) -> int:
    return _LOG_STEPS if sound(mutant).decides is Decides.LOG else BUDGET


def _explored(mutant: Mutant, seed: int) -> Hunt:
    """Let the explorer draw whatever it draws."""
    explored = explore(
        f"tests.mutants:{mutant.name}", mutant.budget, seed=seed, workers=0, budget=_budget(mutant)
    )
    if not explored.findings:
        return _survived(mutant, "explored", explored.ran)
    finding = explored.findings[0]
    found = _killed(mutant, "explored", Violation(finding.name, finding.sentence, 0), finding.index + 1)
    assert finding.minimised is not None
    return _small(found, mutant, finding.minimised)


def on_ground(mutant: Mutant, number: int) -> Scenario:
    """The walk of that number on the mutant's ground."""
    ground = mutant.ground
    assert ground is not None
    return Scenario(
        f"tests.mutants:{mutant.name}",
        ground.nodes,
        quorums=ground.quorums,
        settings=ground.settings,
        log=ground.log,
        walk=ground.walk,
        eager=ground.eager,
        seed=number,
    )


def _moves_of(scenario: Scenario) -> Scenario:
    """A walk as the schedule of the very moves that it made."""
    assert scenario.walk is not None
    stepper = scenario.stepper()
    lines: list[str] = []

    def named(kind: str, make: Callable[[int], bool | None]) -> Callable[[int], bool | None]:
        def move(at: int) -> bool | None:
            flights, flight = stepper.pool[: at + 1], stepper.pool[at]
            line = Move("sync", flight.recipient)
            if flight.message is not None:
                name = (flight.sender, type(flight.message).__name__, flight.topic)
                alike = [each for each in flights if each.recipient == flight.recipient and each.message]
                nth = [(each.sender, type(each.message).__name__, each.topic) for each in alike].count(name)
                line = Move(kind, flight.recipient, *name, nth)
            lines.append(str(line))
            return make(at)

        return move

    def told(kind: str, make: Callable[..., bool]) -> Callable[..., bool]:
        def move(node: int, *more: Any) -> bool:
            fields = ("asked",) if kind == "submit" else ("unsynced", "keep")
            lines.append(str(Move(kind, node, **dict(zip(fields, more, strict=False)))))
            return make(node, *more)

        return move

    for kind in ("deliver", "drop", "duplicate"):
        setattr(stepper, f"{kind}_at", named(kind, getattr(stepper, f"{kind}_at")))
    for kind in ("submit", "tick", "crash", "restart"):
        setattr(stepper, kind, told(kind, getattr(stepper, kind)))
    walk(stepper, scenario.walk, Choices(scenario.seed, scenario.choices))
    return attrs.evolve(scenario, walk=None, choices=None, seed=0, schedule=tuple(lines))


def _walked(mutant: Mutant, seed: int) -> Hunt:
    """Walk after walk on the ground that was prepared."""
    for number in range(mutant.budget):
        scenario = on_ground(mutant, seed * mutant.budget + number)
        played = scenario.run()
        if played.violation is not None:
            found = _killed(mutant, "walks", played.violation, number + 1)
            named = _moves_of(attrs.evolve(scenario, choices=played.result.choices))
            named = named.expecting(played.violation)
            small = minimise(named, accepted=(played.violation.name,), budget=_budget(mutant))
            return _small(found, mutant, small)
    return _survived(mutant, "walks", mutant.budget)


def _scripted(mutant: Mutant) -> Hunt:
    """Play the script that shows it."""
    ground = mutant.ground
    scenario = Scenario(
        f"tests.mutants:{mutant.name}",
        3 if ground is None else ground.nodes,
        quorums=None if ground is None else ground.quorums,
        settings=None if ground is None else ground.settings,
        log=None if ground is None else ground.log,
        schedule=mutant.script,
        eager=not any(line.startswith("sync") for line in mutant.script),
        remark=mutant.sentence,
    )
    played = scenario.run()
    if played.violation is None:
        return attrs.evolve(_survived(mutant, "script", 1), found_at=played.result.deliveries)
    named = scenario.expecting(played.violation)
    small = minimise(named, accepted=(played.violation.name,), budget=_budget(mutant))
    return _small(_killed(mutant, "script", played.violation, 1), mutant, small)


def _directed(mutant: Mutant) -> Hunt:
    """Run the program that shows it."""
    direct: Callable[[Mutant | None], tuple[dict[str, str], int]] = DIRECTED[mutant.directed]
    violations, deliveries = direct(mutant)
    if not violations:
        return _survived(mutant, "directed", 1)
    # Whatever else broke in the same run is a consequence, or came later.
    name = next((each for each in violations if each in mutant.oracles), next(iter(violations)))
    found = _killed(mutant, "directed", Violation(name, violations[name], 0), 1)
    return attrs.evolve(found, found_at=deliveries, deliveries=deliveries)
