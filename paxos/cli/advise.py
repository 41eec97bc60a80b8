"""`paxos advise`: what the distances between some places say about how to run a log there.

Closed form, so at once: the best leader, the best quorums and the best protocol, for each site and over
all, and what each other choice costs.  `--check` runs the best ones in the simulator, which must say the
same.
"""

import argparse
from typing import TYPE_CHECKING, Final

from paxos.cli.arguments import Commands, UsageError, add_command, count
from paxos.cli.output import Output
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE

if TYPE_CHECKING:
    from paxos.compare import Advice, Choice

__all__ = ["add"]

#: Commands a second over all sites, at random: so few that hardly one meets another; and for each site.
_SELDOM: Final = 0.25
_COMMANDS: Final = 20


def add(commands: Commands) -> None:
    """Add `paxos advise`."""
    parser = add_command(
        commands,
        "advise",
        run,
        "the best leader, quorums and protocol for some places",
        "Computes from the round trips alone what a commit takes at each site, for every protocol, place of "
        "a leader and quorum system that survives so many failures. The best is the least mean over the "
        "sites; each other choice is shown with what it costs more. What conflicts cost, and what is left "
        "when that many replicas have failed, stands beside it.",
        "  paxos advise --topology nsdi21 --failures 2\n"
        "  paxos advise --topology aws2020 --failures 1 --weights us-east-1=5,eu-west-1=2\n"
        "  paxos advise --topology pings.txt --check",
    )
    parser.add_argument("--topology", default="nsdi21", metavar="NAME|FILE", help="as of compare (nsdi21)")
    parser.add_argument("--nodes", type=count(1, 100), metavar="N", help="its first so many sites")
    parser.add_argument("--sites", metavar="NAMES", help="these sites of it, with commas between")
    parser.add_argument("--failures", type=count(0, 100), metavar="F", help="to survive (as many as can be)")
    parser.add_argument("--protocols", metavar="NAMES", help="with commas between (the logs that come along)")
    parser.add_argument("--weights", metavar="SITE=W,...", help="how much is asked at each site (the same)")
    parser.add_argument("--check", action="store_true", help="run the best in the simulator, too")


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Advise, and perhaps check."""
    from paxos.compare import advise, find_place

    place = find_place(
        arguments.topology,
        nodes=arguments.nodes,
        sites=None if arguments.sites is None else arguments.sites.split(","),
    )
    protocols = None if arguments.protocols is None else arguments.protocols.split(",")
    advice = advise(place, arguments.failures, protocols, _weights(arguments.weights))
    _show(advice, out)
    checked, wrong = _checked(advice, out) if arguments.check else (None, 0)
    out.result(advice.to_json() | ({} if checked is None else {"checked": checked}))
    return EXIT_CHECK_FAILED if wrong else EXIT_DONE


def _weights(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    found: dict[str, float] = {}
    for part in text.split(","):
        site, _, weight = part.rpartition("=")
        try:
            found[site] = float(weight)
        except ValueError:
            raise UsageError(f"--weights: {part!r:.60} is no SITE=NUMBER") from None
    return found


def _show(advice: "Advice", out: Output) -> None:
    best = advice.choices[0]
    rows = []
    for choice in advice.choices:
        even = advice.breaks_even(best, choice)
        rows.append(
            (
                choice.protocol,
                choice.leader or "",
                choice.quorums,
                *(f"{choice.sites_ms[site]:g}" for site in advice.place.sites),
                f"{choice.mean_ms:.1f}",
                f"{choice.worst_ms:g}",
                "" if choice is best else f"+{choice.mean_ms - best.mean_ms:.1f}",
                "" if choice.conflict_ms is None else f"{choice.conflict_ms:.1f}",
                "" if even is None or choice is best else f"{even:.0f} %",
                "" if choice.failed_ms is None else f"{choice.failed_ms:.1f}",
            )
        )
    columns = (
        *("protocol", "leader", "quorums", *advice.place.sites, "mean", "worst", "costs"),
        *("all conflict", "better above", f"{advice.failures} failed"),
    )
    title = (
        f"{advice.place.name}, to survive {advice.failures}: a commit at each site, milliseconds; best first:"
    )
    out.table(title, columns, rows)
    _show_leaders(advice, out)
    by_name = {choice.protocol: choice for choice in advice.choices}
    sites = [
        (
            site,
            name,
            f"{by_name[name].sites_ms[site]:g}",
            _more(best.sites_ms[site] - by_name[name].sites_ms[site]),
        )
        for site, name in advice.site_best.items()
    ]
    out.table("The fastest for each site alone:", ("site", "protocol", "ms", f"{best.protocol} costs"), sites)


def _more(extra_ms: float) -> str:
    return f"+{extra_ms:g}" if extra_ms > 0 else ""


def _show_leaders(advice: "Advice", out: Output) -> None:
    for name, choices in advice.leaders.items():
        best: Choice = choices[0]
        rows = [
            (
                choice.leader,
                choice.quorums,
                f"{choice.mean_ms:.1f}",
                f"{choice.worst_ms:g}",
                _costs(choice, best),
            )
            for choice in choices
        ]
        out.table(f"{name} led from each site:", ("leader", "quorums", "mean", "worst", "costs"), rows)


def _costs(choice: "Choice", best: "Choice") -> str:
    return "" if choice is best else f"+{choice.mean_ms - best.mean_ms:.1f}"


def _checked(advice: "Advice", out: Output) -> tuple[list[dict[str, object]], int]:
    """The best ones in the simulator: what they were computed to take, and what they took."""
    from paxos.compare import run as compare

    found: list[dict[str, object]] = []
    wrong = 0
    for choice in advice.choices:
        comparison = compare(
            [choice.protocol],
            advice.place,
            leader=choice.leader,
            failures=advice.failures,
            rates=[_SELDOM],
            commands=_COMMANDS,
        )
        measured = {
            site.name: None if site.commit_ms is None else site.commit_ms.p50
            for site in comparison.runs[0].sites
        }
        # At a site where nothing was asked nothing can be told.
        agrees = all(took_ms in (None, choice.sites_ms[site]) for site, took_ms in measured.items())
        wrong += not agrees
        found.append({"protocol": choice.protocol, "measured_ms": measured, "agrees": agrees})
    rows = [(each["protocol"], "yes" if each["agrees"] else f"NO: {each['measured_ms']}") for each in found]
    out.table("The simulator measures the same:", ("protocol", ""), rows)
    return found, wrong
