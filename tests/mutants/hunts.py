"""The hunt for one mutant: explore until a check finds it, and make what was found small."""

import time

import attrs

from paxos.check.explore import explore
from paxos.check.minimise import minimise
from paxos.check.scenario import Scenario
from tests.mutants.build import mutants
from tests.mutants.patches import Mutant

__all__ = ["Hunt", "hunt"]


@attrs.frozen
class Hunt:
    """How the hunt for one mutant ended.

    Args:
        mutant: its name.
        killed_by: the check that found it; None where it survived.
        sentence: what that check said.
        schedules: how many it took.
        found_at: messages delivered in the schedule that broke.
        deliveries: messages delivered in the minimised one.
        seconds: how long all of it took here.
        verdict: "killed", "survived", or "killed by another check".
        scenario: the minimised one, as its file holds it.
    """

    mutant: str
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
    if mutant.script:
        return _scripted(mutant)
    explored = explore(f"tests.mutants:{name}", mutant.budget, seed=seed, workers=0)
    took_s = round(time.perf_counter() - began_s, 1)
    if not explored.findings:
        return Hunt(name, None, "", explored.ran, 0, 0, took_s, "survived", "")
    finding = explored.findings[0]
    small = finding.minimised
    assert small is not None
    return Hunt(
        mutant=name,
        killed_by=finding.name,
        sentence=finding.sentence,
        schedules=finding.index + 1,
        found_at=small.deliveries_before,
        deliveries=small.deliveries,
        seconds=took_s,
        verdict="killed" if finding.name in mutant.oracles else "killed by another check",
        scenario=attrs.evolve(small.scenario, remark=mutant.sentence).dumps(),
    )


def _scripted(mutant: Mutant) -> Hunt:
    """Play the script that shows it."""
    scenario = Scenario(
        f"tests.mutants:{mutant.name}",
        3,
        schedule=mutant.script,
        eager=not any(line.startswith("sync") for line in mutant.script),
        remark=mutant.sentence,
    )
    played = scenario.run()
    violation, deliveries = played.violation, played.result.deliveries
    if violation is None:
        return Hunt(mutant.name, None, "", 1, deliveries, 0, 0.0, "survived", "")
    named = attrs.evolve(scenario, violation=violation.name, sentence=violation.sentence)
    small = minimise(named, accepted=(violation.name,))
    return Hunt(
        mutant=mutant.name,
        killed_by=violation.name,
        sentence=violation.sentence,
        schedules=1,
        found_at=deliveries,
        deliveries=small.deliveries,
        seconds=0.0,
        verdict="killed" if violation.name in mutant.oracles else "killed by another check",
        scenario=small.scenario.dumps(),
    )
