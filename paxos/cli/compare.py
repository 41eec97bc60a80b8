"""`paxos compare`: several protocols under the same load, in virtual time, side by side.

What is printed depends on the arguments alone and not on the machine: the same command gives the same tables
and files, byte for byte, wherever it runs.
"""

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paxos.cli.arguments import Commands, Parser, UsageError, add_command, count
from paxos.cli.output import Output
from paxos.errors import EXIT_DONE, ConfigurationError

if TYPE_CHECKING:
    from paxos.compare import Comparison, Place, Plan

__all__ = ["add", "add_load", "add_machines", "add_places", "in_words_of_arguments", "numbers", "planned"]

_TOPOLOGY: Final = "nsdi21"


def numbers(text: str) -> tuple[float, ...]:
    """Several numbers with commas between; whole ones stay whole."""
    try:
        found = [float(part) for part in text.split(",")]
        if not all(map(math.isfinite, found)):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between, not {text!r}") from None
    return tuple(int(each) if each == int(each) else each for each in found)


def add(commands: Commands) -> None:
    """Add `paxos compare`."""
    parser = add_command(
        commands,
        "compare",
        run,
        "compare protocols: the same regions, commands and faults",
        "Runs each protocol on the code of real nodes in virtual time, and shows latency at each site "
        "(commit and execution apart, beside the least that the distances allow), throughput, what a command "
        "costs, and what faults did. Every run is checked: where something that must hold did not, there are "
        "no figures, and the exit code is 5.\n\n"
        "A topology is a bundled one (see `paxos compare --topologies`), uniform:MS for one with that round "
        "trip everywhere, or a file: TOML with sites and rtt, CSV, or a matrix of pings; - is stdin.",
        "  paxos compare --topology nsdi21 --conflict 0,2,100\n"
        "  paxos compare --topology my.csv --leader best --protocols epaxos,multipaxos,paxos\n"
        "  paxos compare --faults leader-killed --duration 30 --out report/\n"
        "  paxos compare --clients 1,5,20,80 --service 0.5      throughput against latency\n"
        "  paxos compare --preset sosp13-fig4",
    )
    parser.add_argument(
        "--protocols", default=None, metavar="NAMES", help="with commas between (the logs that come along)"
    )
    parser.add_argument("--preset", metavar="NAME", help="a comparison that is ready: see --presets")
    parser.add_argument("--presets", action="store_true", help="list them, and stop")
    parser.add_argument("--topologies", action="store_true", help="list the bundled ones, and stop")
    parser.add_argument("--seed", type=count(0, 2**63 - 1), default=1, metavar="N", help="of all choices (1)")
    add_places(parser)
    add_load(parser)
    add_machines(parser)
    files = parser.add_argument_group("what comes of it")
    files.add_argument("--out", type=Path, metavar="DIR", help="write a page, figures, JSON and CSV there")
    files.add_argument("--full", action="store_true", help="also what each replica does")
    files.add_argument("--csv", action="store_true", help="CSV on standard output, and no tables")
    files.add_argument(
        "--workers", type=count(1, 1024), metavar="N", help="processes (as many as there are cores)"
    )


def add_places(parser: Parser) -> None:
    """Add what says where the replicas are."""
    group = parser.add_argument_group("where")
    group.add_argument("--topology", metavar="NAME|FILE", help=f"distances ({_TOPOLOGY})")
    group.add_argument("--nodes", type=count(1, 100), metavar="N", help="its first so many sites")
    group.add_argument("--sites", metavar="NAMES", help="these sites of it, with commas between")
    group.add_argument(
        "--failures", type=count(0, 100), metavar="F", help="the fastest quorums that survive so many"
    )
    group.add_argument("--leader", metavar="SITE", help="who leads; or `best` (the topology's own, or best)")


def add_load(parser: Parser) -> None:
    """Add what says what clients do."""
    group = parser.add_argument_group("what clients do; rates are percentages")
    group.add_argument(
        "--conflict", type=numbers, metavar="P,P", help="of commands on one and the same key, a run each (0)"
    )
    group.add_argument("--clients", type=numbers, metavar="N,N", help="closed loop: at each site (10)")
    group.add_argument("--rate", type=numbers, metavar="R,R", help="open loop: commands a second, Poisson")
    group.add_argument("--commands", type=count(1, 1_000_000), metavar="N", help="of each site (200)")
    group.add_argument("--duration", type=float, metavar="S", help="ask for so long instead, virtual seconds")
    group.add_argument("--think", type=float, metavar="MS", help="pause after each answer (0)")
    group.add_argument("--reads", type=float, metavar="P", help="of commands that only read (0)")
    group.add_argument(
        "--keys",
        metavar="SPREAD",
        help="of the others: unique, uniform:N, zipf:N:THETA, hotspot:N:HOT:SECONDS",
    )
    group.add_argument("--size", type=count(1, 65_536), metavar="BYTES", help="of what is written (16)")
    group.add_argument("--batch", type=count(1, 10_000), metavar="N", help="commands that go together (1)")
    group.add_argument("--timeout", type=float, metavar="MS", help="then a client asks elsewhere (5000)")


def add_machines(parser: Parser) -> None:
    """Add what says how fast machines and links are, and what goes wrong."""
    group = parser.add_argument_group("machines, links, and what goes wrong")
    group.add_argument("--service", type=float, metavar="MS", help="processor time of a message (0)")
    group.add_argument("--disk", type=float, metavar="MS", help="time of a sync (0)")
    group.add_argument("--bandwidth", type=float, metavar="MBIT", help="of each link, one way (no limit)")
    group.add_argument("--jitter", type=float, metavar="P", help="of its delay a message is late at most (0)")
    group.add_argument("--loss", type=float, metavar="P", help="of messages that are lost (0)")
    group.add_argument(
        "--faults",
        metavar="NAMES|FILE",
        help="leader-killed, region-cut, slow-replica, lossy-link, rolling-restart; "
        "with :SITE for another one; or a TOML file of [[fault]]",
    )


#: Arguments, and the fields of a plan that they are.
_FIELDS: Final = {
    "conflict": "conflict",
    "clients": "clients",
    "rate": "rates",
    "commands": "commands",
    "duration": "duration_s",
    "think": "think_ms",
    "reads": "reads",
    "size": "value_bytes",
    "batch": "batch",
    "timeout": "timeout_ms",
    "failures": "failures",
    "service": "service_ms",
    "disk": "disk_ms",
    "bandwidth": "bandwidth_mbit_s",
    "jitter": "jitter",
    "loss": "loss",
}


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Compare, and show it."""
    if arguments.topologies:
        return _list_topologies(out)
    if arguments.presets:
        return _list_presets(out)
    if arguments.preset is not None:
        return _run_preset(arguments, out)
    if arguments.csv and out.as_json:
        raise UsageError("--csv and --json are two forms of one result; choose one")
    plan, place = in_words_of_arguments(lambda: planned(arguments))
    from paxos.compare.explain import explain_each
    from paxos.compare.files import check_directory
    from paxos.compare.report import report_of

    if arguments.out is not None:
        check_directory(arguments.out)
    comparison = carried_out(plan, place, arguments.workers, out)
    if arguments.out is not None:
        with out.progress("explaining", len(plan.protocols)) as bar:
            told = explain_each(plan, place, workers=arguments.workers, advance=bar.advance)
        write(
            arguments.out,
            [comparison],
            lambda advance: report_of(comparison, explanations=told, advance=advance),
            out,
        )
    show(comparison, arguments.csv, arguments.full, out)
    return EXIT_DONE


def planned(arguments: argparse.Namespace) -> "tuple[Plan, Place]":
    """What the arguments ask for.

    Raises:
        ConfigurationError: something that can not work; the message says what.
    """
    from paxos.compare import find_place
    from paxos.compare.plan import default_protocols
    from paxos.compare.running import plan_of

    place = find_place(
        arguments.topology or _TOPOLOGY,
        nodes=arguments.nodes,
        sites=None if arguments.sites is None else arguments.sites.split(","),
        leader=arguments.leader,
    )
    fields = {field: getattr(arguments, name) for name, field in _FIELDS.items()}
    given = {field: value for field, value in fields.items() if value is not None}
    if arguments.keys is not None:
        given |= _spread(arguments.keys)
    protocols = arguments.protocols or default_protocols()
    return plan_of(protocols, place, seed=arguments.seed, faults=arguments.faults or (), **given), place


def carried_out(plan: "Plan", place: "Place", workers: int | None, out: Output) -> "Comparison":
    """The comparison, with a bar while it runs."""
    from paxos.compare import compare
    from paxos.compare.plan import cells_of

    with out.progress("comparing", len(cells_of(plan))) as bar:
        return compare(plan, place, workers=workers, advance=bar.advance)


def show(comparison: "Comparison", as_csv: bool, full: bool, out: Output) -> None:
    """On standard output, in the form that is wanted."""
    from paxos.compare.tables import csv_of, headline, tables_of

    if as_csv:
        out.raw(csv_of(comparison).encode())
        return
    if not out.as_json:
        print(headline(comparison))
    for table in tables_of(comparison, full=full):
        out.table(table.title, table.columns, table.rows)
    out.result(comparison.to_json())


def write(
    directory: Path,
    comparisons: "Sequence[Comparison]",
    make: Callable[[Callable[[], None]], Mapping[str, bytes]],
    out: Output,
) -> None:
    """Write a report, with a bar while its figures are drawn.

    Args:
        directory: where.
        comparisons: what it is about.
        make: its files by name; called with what to call after each figure.
        out: the way out.
    """
    from paxos.compare.figures_style import EXTRA, can_draw
    from paxos.compare.files import write_files
    from paxos.compare.report import figures_in

    if not can_draw():
        out.say(f"the report has no figures: pip install '{EXTRA}' installs what draws them")
    with out.progress("drawing", figures_in(*comparisons)) as bar:
        contents = make(bar.advance)
    write_files(contents, directory)
    out.say(f"wrote {directory / 'index.html'}")


def _run_preset(arguments: argparse.Namespace, out: Output) -> int:
    from paxos.compare.files import check_directory
    from paxos.compare.presets import PRESETS, run_preset, table_of
    from paxos.compare.report import preset_report

    given = (*_FIELDS, "protocols", "topology", "keys", "faults", "leader", "sites", "nodes")
    refused = [name for name in given if name != "commands" and getattr(arguments, name) is not None]
    if refused or arguments.csv:
        raise UsageError(f"--{(refused or ['csv'])[0]} does not go with --preset, which says all of it")
    if arguments.out is not None:
        check_directory(arguments.out)
    runs = PRESETS[arguments.preset][1] if arguments.preset in PRESETS else 1
    with out.progress(arguments.preset, runs) as bar:
        result = run_preset(
            arguments.preset,
            seed=arguments.seed,
            commands=arguments.commands,
            workers=arguments.workers,
            advance=bar.advance,
        )
    if arguments.out is not None:
        write(arguments.out, result.comparisons, lambda advance: preset_report(result, advance), out)
    out.table(*table_of(result))
    out.result(result.to_json())
    return EXIT_DONE


def _list_presets(out: Output) -> int:
    from paxos.compare.presets import PRESETS

    out.table("Presets:", ("name", "what it shows"), [(name, each[0]) for name, each in PRESETS.items()])
    out.result({"presets": {name: each[0] for name, each in PRESETS.items()}})
    return EXIT_DONE


def _list_topologies(out: Output) -> int:
    from paxos.compare import find_place
    from paxos.compare.topologies import known_places

    rows, listed = [], []
    for name in known_places()[:-1]:
        place = find_place(name)
        listed.append(
            {"name": name, "sites": list(place.sites), "leader": place.leader, "source": place.source}
        )
        rows.append((name, len(place.sites), ", ".join(place.sites), place.leader, place.source))
    out.table("Topologies:", ("name", "sites", "", "leader", "source"), rows)
    out.result({"topologies": listed})
    return EXIT_DONE


def _spread(text: str) -> dict[str, Any]:
    """`zipf:1000:0.9` as fields of a plan."""
    name, *values = text.split(":")
    takes: dict[str, tuple[tuple[str, Callable[[str], float]], ...]] = {
        "unique": (),
        "uniform": (("keys", int),),
        "zipf": (("keys", int), ("theta", float)),
        "hotspot": (("keys", int), ("hot_keys", int), ("move_s", float)),
    }
    if name not in takes or len(values) > len(takes[name]):
        raise UsageError(
            f"--keys: {text!r:.60} is none of unique, uniform:N, zipf:N:THETA, hotspot:N:HOT:SECONDS"
        )
    given: dict[str, Any] = {"spread": name}
    for (field, number), value in zip(takes[name], values, strict=False):
        try:
            given[field] = number(value)
        except ValueError:
            raise UsageError(f"--keys: {value!r:.60} in {text!r:.60} is no number") from None
    return given


def in_words_of_arguments(make: Callable[[], Any]) -> Any:
    """What people typed is called as they typed it."""
    try:
        return make()
    except ConfigurationError as error:
        arguments = {field: name for name, field in _FIELDS.items()}
        text = re.sub(
            r"\b(?:Plan|Mix|Hardware)\.(\w+)",
            lambda found: f"--{arguments.get(found[1], found[1])}",
            str(error),
        )
        raise UsageError(text) from error
