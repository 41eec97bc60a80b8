"""`paxos explore`: runs schedule after schedule, looking for one in which something breaks.

A long search can be stopped and gone on with (--state); what it finds is made small, shown as a chart and
saved as a scenario that `paxos replay` runs.
"""

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from paxos.cli.arguments import Commands, add_command, count, seconds
from paxos.cli.output import Output
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE

if TYPE_CHECKING:
    from paxos.check.explore import Exploration, Finding

__all__ = ["add", "look_here"]

_MOST: Final = 1_000_000_000
_TIMEOUT_S: Final = 120.0
_LONGEST_S: Final = 86_400
#: Of a run that was not made a schedule so many rows are shown here; `paxos replay` shows more.
_ROWS: Final = 60
#: Of many schedules that have something in common so many are named.
_NAMED: Final = 8


def add(commands: Commands) -> None:
    """Add `paxos explore`."""
    parser = add_command(
        commands,
        "explore",
        run,
        "search for a schedule in which something breaks",
        "Runs schedules: clusters of all sizes, workloads from none to much contention, faults of every "
        "kind, extreme settings. Half of them are timed as `paxos simulate` does it, half are walks in "
        "which any message may arrive next. Schedule number i of a seed is the same everywhere. "
        "Invariants are checked at every step, and at the end what clients were told.\n\n"
        "At the first violation it stops, makes the run small, shows it as a chart and saves it; exit "
        "code 5. Interrupted, by Ctrl-C or SIGTERM, it exits with 130, and with --state it goes on from "
        "there the next time.",
        "  paxos explore --schedules 10000\n"
        "  paxos explore --nodes 5 --seed 3 --out found/                 save what it finds there\n"
        "  paxos explore --schedules 1000000 --sizes mixed --state search.json    stop it, start it again\n"
        "  paxos explore --protocol my.package:protocol                  one that is not installed",
    )
    parser.add_argument(
        "--protocol",
        default="paxos",
        metavar="NAME",
        help="what it runs; or package.module:attribute (paxos)",
    )
    parser.add_argument(
        "--schedules", type=count(1, _MOST), default=1000, metavar="N", help="how many (1000)"
    )
    parser.add_argument(
        "--seed", type=count(0, 2**63 - 1), default=0, metavar="N", help="of the schedules (0)"
    )
    parser.add_argument(
        "--workers", type=count(0, 1024), metavar="N", help="processes; 0 for this one only (one a core)"
    )
    parser.add_argument("--nodes", type=count(1, 100), metavar="N", help="always so many (drawn, 1 to 7)")
    parser.add_argument(
        "--sizes",
        choices=("small", "mixed", "large"),
        default="large",
        help="of the schedules: small ones are short walks, many a second; mixed: 1 of 128 is large (large)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to save what breaks (explored)")
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="remember how far it came, and go on from it"
    )
    parser.add_argument(
        "--schedule-timeout",
        type=_limit,
        default=_TIMEOUT_S,
        metavar="S",
        help=f"give a schedule up that takes longer, real seconds; not with --workers 0 ({_TIMEOUT_S:g})",
    )
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")


def _limit(text: str) -> float:
    value = seconds(text)
    if value > _LONGEST_S:
        raise argparse.ArgumentTypeError(f"expected seconds, at most {_LONGEST_S}, not {text!r}")
    return value


@contextlib.contextmanager
def _stops_are_interrupts() -> Iterator[None]:
    """Who asks the command to stop, by whatever signal, is heard as Ctrl-C is."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []  # only there can signals be taken
    before = {signal.Signals[name]: signal.signal(signal.Signals[name], _interrupt) for name in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def look_here(protocol: str) -> None:
    """A protocol named by its module may lie in the directory that one stands in."""
    if ":" in protocol and "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Explore, and tell."""
    from paxos.check.explore import explore
    from paxos.sim.result import counted

    look_here(arguments.protocol)
    with (
        _stops_are_interrupts(),
        out.progress(f"exploring {arguments.protocol}", arguments.schedules) as bar,
    ):
        found = explore(
            arguments.protocol,
            arguments.schedules,
            seed=arguments.seed,
            workers=arguments.workers,
            nodes=arguments.nodes,
            sizes=arguments.sizes,
            keep_going=arguments.keep_going,
            out=arguments.out or "explored",
            state=arguments.state,
            schedule_timeout_s=arguments.schedule_timeout,
            advance=bar.advance,
        )
    if found.interrupted:
        more = f"; the same command goes on from {arguments.state}" if arguments.state else ""
        out.say(f"paxos: interrupted after {counted(found.tally.schedules, 'schedule')}{more}")
        raise KeyboardInterrupt
    if not out.as_json:
        _tell(found, arguments.schedule_timeout)
        for finding in found.findings:
            _show(finding)
    out.result(_json(found))
    return EXIT_DONE if found.ok else EXIT_CHECK_FAILED


def _json(found: "Exploration") -> dict[str, object]:
    tally = found.tally
    return {
        "protocol": found.protocol,
        "seed": found.seed,
        "sizes": found.sizes,
        "schedules": tally.schedules,
        "kinds": dict(tally.kinds),
        "steps": tally.steps,
        "deliveries": tally.deliveries,
        "seconds": round(found.seconds, 3),
        "schedules_per_s": round(found.ran / max(found.seconds, 1e-9), 1),
        "deliveries_per_s": round(found.ran_deliveries / max(found.seconds, 1e-9), 1),
        "seen": dict(tally.seen),
        "never_seen": list(found.missing),
        "handlers": {
            name: {"arrived": each.arrived, "arrived_in_walks": each.walked, "did_in_walks": each.did}
            for name, each in found.handlers.items()
        },
        "gave_up": list(tally.gave_up),
        "fixed_since": [
            {"schedule": index, "name": name, "sentence": sentence} for index, name, sentence in found.fixed
        ],
        "violations": [
            {
                "schedule": finding.index,
                "name": finding.name,
                "sentence": finding.sentence,
                "repeated": finding.repeated,
                "scenario": finding.path,
                "deliveries": None if finding.minimised is None else finding.minimised.deliveries,
                "deliveries_before": None
                if finding.minimised is None
                else finding.minimised.deliveries_before,
            }
            for finding in found.findings
        ],
        "killed": [
            {"schedule": lost.index, "scenario": lost.path, "out_of_time": lost.late} for lost in found.lost
        ],
        "run_again": [{"first": first, "last": last} for first, last in found.again],
    }


def _tell(found: "Exploration", timeout_s: float) -> None:
    from paxos.sim.result import counted

    tally, seconds = found.tally, max(found.seconds, 1e-9)
    kinds = ", ".join(f"{number} {kind}" for kind, number in tally.kinds.items())
    before = tally.schedules - found.ran
    sizes = "" if found.sizes == "large" else f", sizes {found.sizes}"
    print(
        f"{found.protocol}, seed {found.seed}{sizes}: {counted(tally.schedules, 'schedule')} ({kinds})"
        + (f", {before} of them before" if before else "")
        + f", {counted(tally.deliveries, 'message')} delivered, {counted(tally.steps, 'step')}\n"
        f"{found.ran / seconds:,.0f} schedules/s, {found.ran_deliveries / seconds:,.0f} deliveries/s "
        f"over {found.seconds:.1f} s"
    )
    seen = ", ".join(f"{name} {times}" for name, times in tally.seen.items() if times)
    print(f"seen: {seen or 'nothing of note'}")
    if found.missing:
        print(f"never seen: {', '.join(found.missing)}")
    handlers = ", ".join(f"{name} {each.arrived}" for name, each in found.handlers.items() if each.arrived)
    print(f"arrived: {handlers}")
    silent = [name for name, each in found.handlers.items() if not each.arrived]
    idle = [f"{name} {each.walked}" for name, each in found.handlers.items() if each.walked and not each.did]
    if silent:
        print(f"never arrived from another node: {', '.join(silent)}")
    if idle:
        print(f"arrived in walks and never did anything there: {', '.join(idle)}")
    for index, name, sentence in found.fixed:
        print(
            f"fixed since: schedule {index}, run before, broke {name}: {sentence}; run again now, it breaks "
            "nothing (if the code is the same, it is not deterministic)"
        )
    for first, last in found.again:
        which = f"schedules {first} to {last} were" if last > first else f"schedule {first} was"
        print(f"a worker died; {which} run again")
    for lost in found.lost:
        if lost.late:
            print(
                f"OUT OF TIME: schedule {lost.index} took longer than {timeout_s:g} s (--schedule-timeout), "
                f"so its process was ended; where it was is on standard error; saved as {lost.path}"
            )
        else:
            print(f"KILLED: schedule {lost.index} killed the process it ran in; saved as {lost.path}")
    if tally.gave_up:
        some = ", ".join(map(str, tally.gave_up[:_NAMED])) + (", ..." if len(tally.gave_up) > _NAMED else "")
        print(
            f"NOT KNOWN: whether clients saw one order in {counted(len(tally.gave_up), 'schedule')} "
            f"({some}): the search for it gave up"
        )
    if found.findings:
        print("BROKEN: see below")
    else:
        where = ", in those that could be run" if found.lost else ""
        where += ", as far as is known" if tally.gave_up else ""
        print(f"nothing that must hold broke{where}")


def _show(finding: "Finding") -> None:
    from paxos.check.chart import chart_of, text_chart
    from paxos.sim.result import counted

    small = finding.minimised
    print(f"\nschedule {finding.index}: {finding.name}: {finding.sentence}")
    if small is not None:
        print(
            f"minimised: {small.deliveries_before} deliveries in {counted(small.steps_before, 'step')} to "
            f"{small.deliveries} in {small.steps}; {counted(small.runs, 'run')}"
        )
    if not finding.repeated:
        print(
            "it did not break again when the same schedule was run again: the protocol or its invariants are "
            "not deterministic (a clock, randomness, the order of a set, something kept between runs); so it "
            "could not be made small, and may not break when it is replayed"
        )
    if finding.path is not None:
        print(f"saved: {finding.path}; run it again with `paxos replay {finding.path}`")
    if not finding.repeated:
        return  # another run than the one that broke something explains nothing
    # A schedule was made short; what waits too long is a whole run.
    most = 400 if finding.scenario.kind == "schedule" else _ROWS
    played = finding.scenario.run(record=True)
    print()
    print(text_chart(chart_of(played, disks=not finding.scenario.eager, most=most)), end="")
