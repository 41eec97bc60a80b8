"""Let the explorer hunt every mutant, and print which check killed it, how soon, and how small it gets.

    python -m tests.mutants                          all of them, some ten minutes
    python -m tests.mutants --protocol multipaxos    those of one protocol
    python -m tests.mutants --only stale_read        some of them
    python -m tests.mutants --save                   and renew the scenarios in tests/mutants/scenarios/

A mutant that survives its budget, or that is killed by a check that is not among its oracles, is a failure:
exit code 5.  The second is not harmless: it says that somebody does not know what the mistake does.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import attrs

from tests.mutants.build import mutants
from tests.mutants.hunts import Hunt, hunt

SCENARIOS = Path(__file__).parent / "scenarios"
_COLUMNS = ("mutant", "protocol", "killed by", "how", "schedules", "deliveries", "seconds", "verdict")


def main(argv: Sequence[str] | None = None) -> int:
    """Hunt, print the table, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sorted(mutants()), metavar="NAME", help="these only")
    protocols = sorted({mutant.protocol for mutant in mutants().values()})
    parser.add_argument("--protocol", choices=protocols, help="mutants of this one only")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the schedules (0)")
    parser.add_argument("--workers", type=int, default=None, metavar="N", help="processes (one a core)")
    parser.add_argument("--save", action="store_true", help=f"renew the scenarios in {SCENARIOS.name}/")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args(argv)
    names = [
        name
        for name, mutant in mutants().items()
        if name in (arguments.only or mutants()) and arguments.protocol in (None, mutant.protocol)
    ]
    if not names:
        parser.error(f"none of {', '.join(arguments.only)} is a mutant of {arguments.protocol}")
    hunts: dict[str, Hunt] = {}
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(hunt, name, arguments.seed) for name in names]
        for done in as_completed(waiting):
            each = done.result()
            hunts[each.mutant] = each
            if arguments.save and each.ok and each.scenario:
                SCENARIOS.mkdir(exist_ok=True)
                (SCENARIOS / f"{each.mutant}.json").write_text(each.scenario, encoding="utf-8")
            print(f"{len(hunts)} of {len(names)}: {each.mutant}: {each.verdict}", file=sys.stderr, flush=True)
    ordered = [hunts[name] for name in names]
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
            (
                each.mutant,
                each.protocol,
                each.killed_by or "-",
                each.how,
                str(each.schedules),
                size,
                f"{each.seconds:.1f}",
                each.verdict,
            )
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"{sum(each.ok for each in hunts)} of {len(hunts)} killed")


if __name__ == "__main__":
    sys.exit(main())
