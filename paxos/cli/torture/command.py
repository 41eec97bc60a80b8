"""The command: takes the arguments, runs one campaign, and tells what came of it."""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from paxos.cli.arguments import Commands, add_command, count, seconds
from paxos.cli.output import Output
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, ConfigurationError

if TYPE_CHECKING:
    from paxos.cli.torture.campaign import Report

__all__ = ["add"]

_STEPS: Final = 1000


def add(commands: Commands) -> None:
    """Add `paxos torture`."""
    parser = add_command(
        commands,
        "torture",
        run,
        "kill, pause and cut off real nodes under load, and check what they said",
        "Starts a cluster of processes on this machine, each with a store of its own, and clients that work "
        "on few keys. Meanwhile nodes are killed (kill -9: any minority, now and then a majority), paused, "
        "stopped and started again, and connections between them are broken, slowed, or lose what goes one "
        "way. Then all is healed: every node must come up, reach the same mark and hold the same, also after "
        "all were killed at once; and the history of what clients asked and were told must be "
        "linearizable.\n\n"
        "The seed names a plan of what goes wrong and when; how processes race is this machine's own affair, "
        "so a run is not repeated by its seed. Logs, stores, the plan, the history and the report stay in "
        "the directory. Exit code 5 when anything was wrong; the smallest part of a history that can not be "
        "is shown.",
        "  paxos torture                               three nodes, a minute\n"
        "  paxos torture --nodes 5 --seconds 1800 --seed 7 --directory run7\n"
        "  paxos torture --protocol paxos              decrees instead of a log\n"
        "  paxos check --history run7/history.jsonl --model paxos.check.groups:KeyGroups",
    )
    parser.add_argument(
        "--protocol", default="multipaxos", metavar="NAME", help="what nodes run (multipaxos)"
    )
    parser.add_argument("--nodes", type=count(1, 9), default=3, metavar="N", help="how many (3)")
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=60.0,
        metavar="S",
        help="of work and trouble (60); 1800 is thorough",
    )
    parser.add_argument("--seed", type=count(0, 2**63 - 1), default=1, metavar="N", help="of the plan (1)")
    parser.add_argument(
        "--clients", type=count(1, 100), default=6, metavar="N", help="that work at the same time (6)"
    )
    parser.add_argument(
        "--usual-bounds",
        action="store_true",
        help="leave the nodes' settings as they are; else small ones are drawn, so that snapshots are made "
        "and sent all the time",
    )
    parser.add_argument("--history", type=Path, metavar="FILE", help="write the history there")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="for all that is kept; new or empty (a temporary one)"
    )


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Run a campaign, and tell."""
    import anyio

    from paxos.cli.torture.campaign import Campaign, run_campaign
    from paxos.contract import find_protocol

    if sys.platform == "win32":
        raise ConfigurationError("torture pauses processes by signals that Windows does not have")
    find_protocol(arguments.protocol)
    campaign = Campaign(
        directory=_directory(arguments.directory),
        protocol=arguments.protocol,
        nodes=arguments.nodes,
        seconds=arguments.seconds,
        seed=arguments.seed,
        clients=arguments.clients,
        small=not arguments.usual_bounds,
        history=arguments.history,
    )
    out.say(f"everything is kept in {campaign.directory}")
    with out.progress("torture", _STEPS) as bar:
        report = anyio.run(run_campaign, campaign, _teller(bar.advance, out))
    out.result(attrs.asdict(report), _text(report))
    for complaint in report.wrong:
        out.say(f"wrong: {complaint}")
    return EXIT_CHECK_FAILED if report.wrong else EXIT_DONE


def _directory(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="paxos-torture-"))
    if given.exists() and (not given.is_dir() or any(given.iterdir())):
        raise ConfigurationError(f"--directory {given}: is there already; give a new or an empty one")
    return given


def _teller(advance: Callable[[int], None], out: Output) -> Callable[[str, float], None]:
    """Shows how far it is: most of the bar is the trouble, the last tenths are what comes after it."""
    parts = {"everything goes wrong": (0.0, 0.8), "everything is read again": (0.8, 0.1)}
    shown, said = 0, ""

    def tell(what: str, share: float) -> None:
        nonlocal shown, said
        if what != said:
            said = what
            if sys.stderr.isatty() and importlib.util.find_spec("rich") is None:
                out.say(what)
        begins, lasts = parts.get(what, (0.9, 0.1))
        at = round(_STEPS * (begins + lasts * min(share, 1.0)))
        if at > shown:
            advance(at - shown)
            shown = at

    return tell


def _text(report: "Report") -> str:
    campaign, verdict = report.campaign, report.verdict

    def listed(counts: dict[str, int]) -> str:
        return ", ".join(f"{name} {many}" for name, many in counts.items()) or "none"

    size = f"{campaign['nodes']} nodes, {campaign['seconds']:g} s, seed {campaign['seed']}"
    lines = [
        f"{campaign['protocol']}, {size}",
        f"  calls              {listed(report.operations)}",
        f"  faults             {listed(report.faults)}",
        f"  seen               {listed(report.seen)}",
        f"  longest silence    {report.longest_silence_s:.2f} s without an answer to any client",
    ]
    if report.applied is not None:
        lines.append(
            f"  at the end         all applied up to {report.applied}; {report.keys} keys, equal everywhere"
        )
    if report.restored:
        lines.append("  all killed         the same is there again")
    lines.append(f"  history            {str(verdict.get('text', 'not checked')).splitlines()[0]}")
    lines.append("WRONG: see below" if report.wrong else "nothing that must hold broke")
    return "\n".join(lines)
