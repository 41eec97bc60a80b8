"""`paxos bench regions`: a protocol between published regions, in virtual time, beside another one.

What is printed depends on the code alone and not on the machine.  Three tables: latency at each site for
several shares of conflicting commands; the same with what is meant to help against conflicts; and how much
gets through when each message and request takes a millisecond of a processor, with the other one beside it.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import attrs

from paxos.cli.output import Output
from paxos.contract import Orders, find_protocol

if TYPE_CHECKING:
    from paxos.sim.regions_bench import RegionFigures

__all__ = ["bench_regions"]

_PLACES: Final = ("nsdi21", "sosp13")
_CONFLICTS: Final = (0, 2, 100)
_OPERATIONS: Final = 1000
#: Of full runs, times as many: their middle is what counts.
_FULL: Final = 3
_SERVICE_S: Final = 0.001
_BESIDE: Final = "multipaxos"
#: What is set otherwise, where the protocol has it: seconds.
_FAST_WAIT_S: Final = 0.3
_COMMIT_DELAYS_S: Final = (0.0, 0.02)


def bench_regions(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    """Measure one protocol: arguments are `paxos bench`'s."""
    protocol = find_protocol(arguments.protocol)
    operations = arguments.operations or _OPERATIONS
    settings = {each.name for each in attrs.fields(protocol.settings)} if protocol.settings else set[str]()
    partial = protocol.orders is Orders.CONFLICTS
    shares = _CONFLICTS if partial else _CONFLICTS[:1]
    waits = [(_FAST_WAIT_S, share) for share in shares[1:] if "fast_wait_s" in settings]
    delays = [each for each in _COMMIT_DELAYS_S if "commit_delay_s" in settings]
    runs = len(_PLACES) * (len(shares) + len(waits)) + 1 + len(shares) + len(delays)
    with out.progress("regions", runs) as bar:
        plain, waiting, full = _measure(protocol.name, operations, shares, waits, delays, bar.advance)
    for place in _PLACES:
        found = [each for each in (*plain, *waiting) if each.topology == place]
        rows = [row for each in found for row in _latency_rows(each)]
        columns = ("conflicts", "site", "bound", "commit p50", "p99", "execute p50", "p99")
        out.table(f"{protocol.name} on {place}, milliseconds:", columns, rows)
    beside = full[0].commands_per_s
    through = [
        (
            each.protocol + (f", {each.variant}" if each.variant else ""),
            f"{each.conflict} %",
            f"{each.commands_per_s:.0f}",
            f"{each.commands_per_s / beside:.2f}",
            f"{sum(each.messages_per_command.values()):.2f}",
            f"{each.messages_per_command.get('Commit', 0):.2f}",
        )
        for each in full
    ]
    columns_of_full = (
        "what",
        "conflicts",
        "commands/s",
        f"times {_BESIDE}",
        "messages each",
        "of them Commit",
    )
    out.table(
        f"{_SERVICE_S * 1000:g} ms for each message and request, {_PLACES[0]}:", columns_of_full, through
    )
    return {
        "operations": operations,
        "latency": [attrs.asdict(each) for each in (*plain, *waiting)],
        "throughput": [attrs.asdict(each) for each in full],
    }


def _measure(
    name: str,
    operations: int,
    shares: tuple[int, ...],
    waits: list[tuple[float, int]],
    delays: list[float],
    tell: Callable[[], None],
) -> "tuple[list[RegionFigures], list[RegionFigures], list[RegionFigures]]":
    from paxos.sim.regions_bench import bench_latency, bench_throughput

    make = find_protocol(name).settings
    plain, waiting, full = [], [], []
    for place in _PLACES:
        for share in shares:
            plain.append(bench_latency(name, place, conflict=share, operations=operations))
            tell()
        for wait_s, share in waits:
            settings, how = make(fast_wait_s=wait_s), f"fast quorum waited for {wait_s:g} s"
            waiting.append(
                bench_latency(
                    name, place, conflict=share, operations=operations, settings=settings, variant=how
                )
            )
            tell()
    place, many = _PLACES[0], _FULL * operations
    full.append(bench_throughput(_BESIDE, place, operations=many, service_s=_SERVICE_S))
    tell()
    for share in shares:
        full.append(bench_throughput(name, place, conflict=share, operations=many, service_s=_SERVICE_S))
        tell()
    for delay_s in delays:
        settings, how = make(commit_delay_s=delay_s), f"commits wait {delay_s * 1000:g} ms"
        full.append(
            bench_throughput(
                name, place, operations=many, service_s=_SERVICE_S, settings=settings, variant=how
            )
        )
        tell()
    return plain, waiting, full


def _latency_rows(found: "RegionFigures") -> list[tuple[str, ...]]:
    what = f"{found.conflict} %" + (f", {found.variant}" if found.variant else "")
    if found.fast_share is not None:
        what += f"; {100 * found.fast_share:.0f} % fast"
    rows = []
    for site in found.sites:
        commit = ("", "") if site.commit_ms is None else tuple(f"{each:.0f}" for each in site.commit_ms)
        bound = "" if site.bound_ms is None else f"{site.bound_ms:.0f}"
        execute = tuple(f"{each:.0f}" for each in site.execute_ms)
        rows.append((what, site.site, bound, *commit, *execute))
    return rows
