"""Let the explorer hunt every mutant, and print which check killed it, how soon, and how small it gets.

    python -m tests.mutants                      all of them, a few minutes
    python -m tests.mutants --only stale_read    some of them
    python -m tests.mutants --save               and renew the scenarios in tests/mutants/scenarios/

A mutant that survives its budget, or that is killed by a check that is not among its oracles, is a failure:
exit code 5.  The second is not harmless: it says that somebody does not know what the mistake does.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import attrs

from paxos.check.explore import explore
from tests.mutants.build import mutants

SCENARIOS = Path(__file__).parent / "scenarios"
_COLUMNS = ("mutant", "killed by", "schedules", "deliveries", "seconds", "verdict")


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


def main(argv: Sequence[str] | None = None) -> int:
    """Hunt, print the table, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sorted(mutants()), metavar="NAME", help="these only")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the schedules (0)")
    parser.add_argument("--workers", type=int, default=None, metavar="N", help="processes (one a core)")
    parser.add_argument("--save", action="store_true", help=f"renew the scenarios in {SCENARIOS.name}/")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args(argv)
    names = arguments.only or list(mutants())
    hunts: dict[str, Hunt] = {}
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(hunt, name, arguments.seed) for name in names]
        for done in as_completed(waiting):
            each = done.result()
            hunts[each.mutant] = each
            print(f"{len(hunts)} of {len(names)}: {each.mutant}: {each.verdict}", file=sys.stderr, flush=True)
    ordered = [hunts[name] for name in names]
    if arguments.save:
        SCENARIOS.mkdir(exist_ok=True)
        for each in ordered:
            if each.ok:
                (SCENARIOS / f"{each.mutant}.json").write_text(each.scenario, encoding="utf-8")
    if arguments.json:
        print(json.dumps({"seed": arguments.seed, "mutants": [attrs.asdict(each) for each in ordered]}))
    else:
        _print(ordered)
    return 0 if all(each.ok for each in ordered) else 5


def _print(hunts: Sequence[Hunt]) -> None:
    rows = [_COLUMNS]
    for each in hunts:
        size = f"{each.found_at} -> {each.deliveries}" if each.killed_by else "-"
        rows.append(
            (each.mutant, each.killed_by or "-", str(each.schedules), size, f"{each.seconds:.1f}", each.verdict)
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"{sum(each.ok for each in hunts)} of {len(hunts)} killed")


if __name__ == "__main__":
    sys.exit(main())
