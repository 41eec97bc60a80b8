"""`paxos bench`: how fast it is here.

Four things, each with its own question: `core` asks what the algorithm costs, `wire` what the format costs,
`sim` how much a simulation gets through, `cluster` what users get: real sockets, real disk.
"""

import argparse
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from paxos.cli.arguments import Commands, add_command, count, seconds
from paxos.cli.output import Output
from paxos.errors import EXIT_DONE

if TYPE_CHECKING:
    from paxos.cli.measures import Measure

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add `paxos bench`."""
    parser = add_command(
        commands,
        "bench",
        run,
        "measure how fast it is here",
        "  core     decisions a second by roles called directly: both phases, nothing stored\n"
        "  wire     messages encoded and decoded a second\n"
        "  sim      message deliveries simulated a second, trace and invariants off and on\n"
        "  cluster  decisions a second and their latency: loopback sockets, votes on the real disk\n\n"
        "What is given is the median of repeats taken in turn; the range says how quiet the machine was.",
        "  paxos bench core\n  paxos bench core --repeats 9 --seconds 1\n  paxos bench cluster --json | jq .",
    )
    parser.add_argument(
        "what", choices=tuple(_BENCHES), metavar="core|wire|sim|cluster", help="what to measure"
    )
    parser.add_argument("--repeats", type=count(1, 1000), default=5, metavar="N", help="how often (5)")
    parser.add_argument(
        "--seconds", type=seconds, default=0.5, metavar="S", help="about how long each takes, seconds (0.5)"
    )
    parser.add_argument("--nodes", type=count(1, 99), default=3, metavar="N", help="sim, cluster: nodes (3)")


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Measure, and print what came out."""
    measured = _BENCHES[arguments.what](arguments, out)
    machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    out.result({"bench": arguments.what, "machine": machine, **measured}, f"on {machine}")
    return EXIT_DONE


def _core(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    from paxos.cli.measures import core_measures

    return _rates("roles called directly", core_measures(), arguments, out)


def _wire(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    from paxos.cli.measures import wire_measures

    return _rates("the wire format", wire_measures(), arguments, out)


def _rates(
    title: str, measures: "Sequence[Measure]", arguments: argparse.Namespace, out: Output
) -> dict[str, object]:
    from paxos.cli.measures import repeat

    with out.progress(title, len(measures) * arguments.repeats) as bar:
        rates = repeat(measures, arguments.repeats, arguments.seconds, bar.advance)
    rows = [
        (rate.name, f"{rate.median:,.0f} {rate.unit}/s", f"{rate.low:,.0f} to {rate.high:,.0f}")
        for rate in rates
    ]
    out.table(f"{title}, median of {arguments.repeats}:", ("what", "median", "range"), rows)
    return {"repeats": arguments.repeats, "rates": [attrs.asdict(rate) for rate in rates]}


_BENCHES: Final[Mapping[str, Callable[[argparse.Namespace, Output], Mapping[str, object]]]] = {
    "core": _core,
    "wire": _wire,
}
