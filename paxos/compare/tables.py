"""A comparison as tables: titles, columns and rows of text, for a terminal or a page; and as CSV.

What a table leaves out the data have: a table is what fits beside each other and is looked at first.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from paxos.compare.model import Comparison, Latency, Run, Site

__all__ = ["Table", "csv_of", "headline", "tables_by_name", "tables_of"]

_ALL: Final = "all"


class Table(NamedTuple):
    """One table.

    Args:
        title: a sentence.
        columns: their headings.
        rows: cells as text; empty for what does not apply.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def headline(comparison: Comparison) -> str:
    """One line that says what was compared."""
    place, inputs = comparison.place, comparison.inputs
    asked = f"{inputs['duration_s']:g} s" if inputs["duration_s"] else f"{inputs['commands']} commands a site"
    load = "open loop" if inputs["rates"] else "closed loop"
    return (
        f"{place.name}: {', '.join(place.sites)}; {asked}, {load}; leader {place.leader} where there is one; "
        f"seed {comparison.seed}"
    )


def tables_of(comparison: Comparison, *, full: bool = False) -> tuple[Table, ...]:
    """Every table that has rows, in the order in which one reads them; with every replica's load if
    `full`."""
    made = (_latency, _cost, *((_load,) if full else ()), _slow, _faults)
    return tuple(table for make in made if (table := make(comparison)).rows)


def tables_by_name(comparison: Comparison) -> Mapping[str, Table]:
    """Every table, also without rows: latency, cost, load, slow, faults."""
    made = {"latency": _latency, "cost": _cost, "load": _load, "slow": _slow, "faults": _faults}
    return {name: make(comparison) for name, make in made.items()}


# --- what a run is called -----------------------------------------------------------------------------


def _names(comparison: Comparison) -> tuple[tuple[str, ...], Callable[[Run], tuple[str, ...]]]:
    """The columns that tell runs apart, and what a run has in them."""
    parts: list[tuple[str, Callable[[Run], str]]] = [("protocol", lambda run: run.protocol)]
    if len({run.conflict for run in comparison.runs}) > 1 or any(run.conflict for run in comparison.runs):
        parts.append(("conflicts", lambda run: f"{run.conflict:g} %"))
    if any(run.rate is not None for run in comparison.runs):
        parts.append(("offered/s", lambda run: "" if run.rate is None else f"{run.rate:g}"))
    elif len({run.clients for run in comparison.runs}) > 1:
        parts.append(("clients", lambda run: str(run.clients)))
    return tuple(name for name, _ in parts), lambda run: tuple(tell(run) for _, tell in parts)


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value == round(value) or value >= 1000 else f"{value:.1f}"


def _quantiles(latency: Latency | None) -> tuple[str, ...]:
    if latency is None:
        return ("", "", "", "")
    return tuple(map(_ms, (latency.p50, latency.p90, latency.p99, latency.max)))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0f} %"


# --- the tables -----------------------------------------------------------------------------------------


def _latency(comparison: Comparison) -> Table:
    named, name = _names(comparison)
    reads = any(site.read_ms is not None for run in comparison.runs for site in run.sites)
    contended = any(run.contended_bound_ms is not None for run in comparison.runs)
    columns = (
        *named,
        "site",
        "bound",
        *(("contended",) if contended else ()),
        *("commit p50", "p90", "p99", "max"),
        *("execute p50", "p90", "p99", "max"),
        *(("read p50", "p99") if reads else ()),
        "fast",
        "answered/s",
    )

    def row(run: Run, of: Run | Site, where: str, read: Latency | None) -> tuple[str, ...]:
        cells = (
            *name(run),
            where,
            _ms(of.bound_ms),
            *((_ms(of.contended_bound_ms),) if contended else ()),
            *_quantiles(of.commit_ms),
            *_quantiles(of.execute_ms),
        )
        if reads:
            cells += ("", "") if read is None else (_ms(read.p50), _ms(read.p99))
        return (*cells, _percent(of.fast_share), f"{of.commands_per_s:.0f}")

    rows = []
    for run in comparison.runs:
        rows += [row(run, site, site.name, site.read_ms) for site in run.sites]
        rows.append(row(run, run, _ALL, run.read_ms))
    return Table("Latency at each site, milliseconds:", columns, tuple(rows))


def _cost(comparison: Comparison) -> Table:
    named, name = _names(comparison)
    columns = (
        *named,
        *("answered/s", "messages", "bytes", "syncs", "busiest", "components", "largest", "checked by"),
    )
    rows = []
    for run in comparison.runs:
        components = sum(run.components.values())
        rows.append(
            (
                *name(run),
                f"{run.commands_per_s:.0f}",
                f"{run.messages_per_command:.1f}",
                f"{run.bytes_per_command:.0f}",
                f"{run.syncs_per_command:.1f}",
                _busiest(run),
                str(components or ""),
                str(max(run.components)) if components else "",
                run.checked.witness + (f", {run.checked.searched} searched" if run.checked.searched else ""),
            )
        )
    return Table("What a command costs:", columns, tuple(rows))


def _busiest(run: Run) -> str:
    """The replica with the most messages, and what share of all of them it has."""
    total = sum(site.load.sent + site.load.received for site in run.sites)
    if not total:
        return ""
    busiest = max(run.sites, key=lambda site: site.load.sent + site.load.received)
    share = 100 * (busiest.load.sent + busiest.load.received) / total
    return f"{busiest.name} {share:.0f} %"


def _load(comparison: Comparison) -> Table:
    named, name = _names(comparison)
    busy = any(site.load.busy is not None for run in comparison.runs for site in run.sites)
    columns = (*named, "replica", "received", "sent", "bytes sent", "syncs", *(("busy",) if busy else ()))
    rows = tuple(
        (
            *name(run),
            site.name,
            f"{site.load.received:.2f}",
            f"{site.load.sent:.2f}",
            f"{site.load.bytes_sent:.0f}",
            f"{site.load.syncs:.2f}",
            *((_percent(site.load.busy),) if busy else ()),
        )
        for run in comparison.runs
        for site in run.sites
    )
    return Table("What each replica does for a command of anybody:", columns, rows)


def _slow(comparison: Comparison) -> Table:
    named, name = _names(comparison)
    rows = tuple(
        (*name(run), reason, str(times), _percent(100 * times / max(run.commands, 1)))
        for run in comparison.runs
        for reason, times in run.slow.items()
    )
    return Table("Why commands were not fast:", (*named, "reason", "commands", "of all"), rows)


def _faults(comparison: Comparison) -> Table:
    named, name = _names(comparison)
    rows = []
    for run in comparison.runs:
        for effect in run.faults:
            worst = max(effect.unavailable_s, key=lambda site: effect.unavailable_s[site])
            rows.append(
                (
                    *name(run),
                    f"{effect.at_s:g}",
                    effect.what,
                    f"{effect.all_unavailable_s:.2f}",
                    f"{worst} {effect.unavailable_s[worst]:.2f}",
                    "not yet" if effect.recover_s is None else f"{effect.recover_s:.2f}",
                )
            )
    columns = (*named, "at s", "fault", "nobody answered, s", "worst site, s", "as before after, s")
    return Table("What faults did:", columns, tuple(rows))


# --- CSV ------------------------------------------------------------------------------------------------

_OF_LATENCY: Final = ("p50", "p90", "p99", "max", "mean")


def csv_of(comparison: Comparison) -> str:
    """A line for each run and site, and one for all sites of a run together, with every figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(_lines(comparison.runs))
    return text.getvalue()


def _lines(runs: Iterable[Run]) -> Iterator[Sequence[object]]:
    latencies = [f"{what}_ms_{each}" for what in ("commit", "execute", "read") for each in _OF_LATENCY]
    yield (
        *("protocol", "conflict", "clients", "rate", "leader", "site", "commands", "commands_per_s"),
        *("bound_ms", "contended_bound_ms", *latencies, "fast_share"),
        *("messages_received", "messages_sent", "bytes_sent", "syncs", "busy"),
    )
    for run in runs:
        before = (run.protocol, run.conflict, run.clients, run.rate, run.leader)
        for site in run.sites:
            load = site.load
            yield _filled(
                (
                    *(*before, site.name, site.commands, site.commands_per_s),
                    *(site.bound_ms, site.contended_bound_ms),
                ),
                (site.commit_ms, site.execute_ms, site.read_ms),
                (site.fast_share, load.received, load.sent, load.bytes_sent, load.syncs, load.busy),
            )
        yield _filled(
            (*before, _ALL, run.commands, run.commands_per_s, run.bound_ms, run.contended_bound_ms),
            (run.commit_ms, run.execute_ms, run.read_ms),
            (
                run.fast_share,
                run.messages_per_command,
                run.messages_per_command,
                run.bytes_per_command,
                run.syncs_per_command,
                None,
            ),
        )


def _filled(
    before: Sequence[object], latencies: Sequence[Latency | None], after: Sequence[object]
) -> Sequence[object]:
    values = [getattr(each, name, None) for each in latencies for name in _OF_LATENCY]
    return ["" if each is None else each for each in (*before, *values, *after)]
