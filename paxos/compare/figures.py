"""Which figures a comparison has, and what each says in words.

A comparison of several conflict rates, loads and faults has more to show than a page bears.  So latency is
shown at the lightest load for each of a few conflict rates, what a load does on figures of its own, and what
is left out is in the tables and the data.  Nothing here needs what draws: a figure is a name, words, and the
strokes to come.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from paxos.compare import figures_draw as draw
from paxos.compare.figures_map import draw_map, flat_positions
from paxos.compare.model import Comparison, Latency, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from paxos.compare.presets import Row

__all__ = [
    "FIGURE",
    "MAX_RATES",
    "Picture",
    "base_load",
    "base_runs",
    "pictures_of",
    "pictures_of_rows",
    "shown_rates",
]

#: What the files of figures are called.
FIGURE: Final = re.compile(
    r"(map|matrix|(sites|cdf|conflicts|load|faults|replicas|published)-[a-z0-9-]+)\.(svg|png)"
)

#: Figures that are made for each conflict rate are made for at most so many.
MAX_RATES: Final = 4
#: CDFs of single sites are made for at most so many sites.
_MAX_SITES: Final = 10
_HEIGHT_IN: Final = 3.0


class Picture(NamedTuple):
    """A figure to be drawn.

    Args:
        section: of the page, where it belongs.
        name: of its files, letters, digits and hyphens.
        title: what it shows.
        words: what can be read off it, for who does not see it.
        height_in: inches.
        draw: the strokes.
    """

    section: str
    name: str
    title: str
    words: str
    height_in: float
    draw: "Callable[[Figure], None]"


def base_load(comparison: Comparison) -> tuple[int | None, float | None]:
    """The lightest load: clients at each site, or commands a second."""
    loads = {(run.clients, run.rate) for run in comparison.runs}
    return min(loads, key=lambda load: (load[0] or 0, load[1] or 0.0))


def base_runs(comparison: Comparison, conflict: float) -> list[Run]:
    """One run of each protocol: at the lightest load and this conflict rate."""
    load = base_load(comparison)
    return [run for run in comparison.runs if run.conflict == conflict and (run.clients, run.rate) == load]


def shown_rates(comparison: Comparison) -> tuple[float, ...]:
    """The conflict rates that have figures of their own: all, or some from the least to the greatest."""
    rates = sorted({run.conflict for run in comparison.runs})
    if len(rates) <= MAX_RATES:
        return tuple(rates)
    return tuple(rates[round(at * (len(rates) - 1) / (MAX_RATES - 1))] for at in range(MAX_RATES))


def pictures_of(comparison: Comparison) -> list[Picture]:
    """Every figure of a comparison, in the order in which one looks at them."""
    looks = draw.Looks(tuple(dict.fromkeys(run.protocol for run in comparison.runs)))
    return [
        *_of_place(comparison),
        *_of_latency(comparison, looks),
        *_of_conflicts(comparison, looks),
        *_of_load(comparison, looks),
        *_of_faults(comparison, looks),
        *_of_cost(comparison, looks),
    ]


def _at(comparison: Comparison, conflict: float) -> str:
    """What sets the figure of one conflict rate apart."""
    if len({run.conflict for run in comparison.runs}) == 1 and not conflict:
        return ""
    return f", {conflict:g} % conflicts"


def _part(conflict: float) -> str:
    return f"{conflict:g}".replace(".", "-")


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:.0f} ms" if value >= 10 else f"{value:g} ms"


def _p50(latency: Latency | None) -> float | None:
    return None if latency is None else latency.p50


def _p99(latency: Latency | None) -> float | None:
    return None if latency is None else latency.p99


def _sentence(parts: Sequence[str]) -> str:
    return "; ".join(parts) + "."


def pictures_of_rows(rows: "Sequence[Row]") -> list[Picture]:
    """What a paper printed beside what was measured: a figure for each number of sites."""
    pictures = []
    looks = draw.Looks(tuple(dict.fromkeys(row.protocol for row in rows)))
    for many in dict.fromkeys(row.sites for row in rows):
        mine = sorted((row for row in rows if row.sites == many), key=lambda row: _first(rows, row.site))
        words = _sentence(
            [
                f"{row.protocol}, {row.conflict:g} % conflicts, {row.site}: published "
                f"{_ms(row.published_ms)}, measured {_ms(row.measured_ms)}, bound {_ms(row.bound_ms)}"
                for row in mine
            ]
        )
        pictures.append(
            Picture(
                "published",
                f"published-{many}",
                f"{many} sites",
                words,
                1.1 + 0.17 * len(mine),
                partial(draw.draw_published, looks=looks, rows=mine),
            )
        )
    return pictures


def _first(rows: "Sequence[Row]", site: str) -> int:
    return next(at for at, row in enumerate(rows) if row.site == site)


# --- where ------------------------------------------------------------------------------------------------


def _of_place(comparison: Comparison) -> Iterator[Picture]:
    place = comparison.place
    many = len(place.sites)
    pairs = [
        f"{place.sites[a]} to {place.sites[b]} {_ms(place.rtt_ms[a][b])}"
        for a in range(many)
        for b in range(a + 1, many)
    ]
    words = _sentence([f"Round trips: {', '.join(pairs[:60])}", f"the leader is at {place.leader}"])
    if many > 2:
        yield Picture("place", "map", "Distances between the sites", words, 3.4, partial(_map, place))
    if 1 < many <= 20:
        height_in = 1.2 + 0.36 * min(many, 9)
        yield Picture(
            "place",
            "matrix",
            "Round trips, milliseconds",
            words,
            height_in,
            lambda figure: draw.draw_matrix(figure, place),
        )


def _map(place: Any, figure: "Figure") -> None:
    draw_map(figure, place, flat_positions(place))


# --- latency ----------------------------------------------------------------------------------------------


def _of_latency(comparison: Comparison, looks: draw.Looks) -> Iterator[Picture]:
    for conflict in shown_rates(comparison):
        runs, at = base_runs(comparison, conflict), _at(comparison, conflict)
        words = _sentence(
            [
                f"{run.protocol} at {site.name}: commit {_ms(_p50(site.commit_ms))} in the median, execution "
                f"{_ms(_p50(site.execute_ms))}, its 99th percentile {_ms(_p99(site.execute_ms))}, "
                f"bound {_ms(site.bound_ms)}"
                + (f", contended {_ms(site.contended_bound_ms)}" if draw.is_contended(site) else "")
                + ("" if site.read_ms is None else f", reads {_ms(site.read_ms.p50)}")
                for run in runs
                for site in run.sites
            ]
        )
        height_in = 1.35 + 0.15 * max(len(runs), 2) * len(comparison.place.sites)
        yield Picture(
            "sites",
            f"sites-{_part(conflict)}",
            f"Latency at each site{at}",
            words,
            height_in,
            partial(draw.draw_ranges, looks=looks, runs=runs),
        )
    for conflict in shown_rates(comparison):
        runs, at = base_runs(comparison, conflict), _at(comparison, conflict)
        yield Picture(
            "cdf",
            f"cdf-{_part(conflict)}",
            f"All sites{at}",
            _cdf_words(runs),
            _HEIGHT_IN,
            partial(draw.draw_cdf, looks=looks, runs=runs),
        )
    yield from _of_single_sites(comparison, looks)


def _cdf_words(runs: Sequence[Run]) -> str:
    parts = []
    for run in runs:
        of = (("commits", run.commit_ms), ("executions", run.execute_ms), ("reads", run.read_ms))
        for what, latency in of:
            if latency is not None:
                parts.append(
                    f"of {run.protocol} half of the {what} took at most {_ms(latency.p50)}, "
                    f"90 % {_ms(latency.p90)}, 99 % {_ms(latency.p99)}, all {_ms(latency.max)}"
                )
    return _sentence(parts)


def _of_single_sites(comparison: Comparison, looks: draw.Looks) -> Iterator[Picture]:
    """CDFs of each site: at the highest conflict rate, where there is most to see."""
    conflict = max(run.conflict for run in comparison.runs)
    runs = base_runs(comparison, conflict)
    for name in comparison.place.sites[:_MAX_SITES] if len(comparison.place.sites) > 1 else ():
        sites = [(run.protocol, run.site[name]) for run in runs]
        words = _sentence(
            [
                f"{protocol}: half of the commits took at most {_ms(_p50(site.commit_ms))}, half of the "
                f"executions {_ms(_p50(site.execute_ms))}"
                for protocol, site in sites
            ]
        )
        number = comparison.place.sites.index(name) + 1
        yield Picture(
            "cdf-sites",
            f"cdf-{_part(conflict)}-site-{number}",
            f"{name}{_at(comparison, conflict)}",
            words,
            _HEIGHT_IN,
            partial(draw.draw_cdf, looks=looks, runs=sites),
        )


# --- conflicts and load --------------------------------------------------------------------------------


def _of_conflicts(comparison: Comparison, looks: draw.Looks) -> Iterator[Picture]:
    rates = sorted({run.conflict for run in comparison.runs})
    if len(rates) < 2:
        return
    load = base_load(comparison)
    runs = {
        protocol: sorted(
            (run for run in comparison.runs if run.protocol == protocol and (run.clients, run.rate) == load),
            key=lambda run: run.conflict,
        )
        for protocol in looks.protocols
    }
    of: tuple[tuple[str, str, Callable[[Latency | None], float | None]], ...] = (
        ("p50", "Median latency", _p50),
        ("p99", "99th percentile of latency", _p99),
    )
    for name, title, value in of:
        lines, parts = [], []
        for protocol, mine in runs.items():
            lines.append(draw.Line(protocol, [(run.conflict, value(run.commit_ms)) for run in mine], True))
            lines.append(draw.Line(protocol, [(run.conflict, value(run.execute_ms)) for run in mine]))
            for run in mine:
                parts.append(
                    f"{protocol} at {run.conflict:g} %: commit {_ms(value(run.commit_ms))}, "
                    f"execution {_ms(value(run.execute_ms))}"
                )
        yield Picture(
            "conflicts",
            f"conflicts-{name}",
            title,
            _sentence(parts),
            _HEIGHT_IN,
            partial(
                draw.draw_lines,
                looks=looks,
                lines=lines,
                x="% of commands that conflict",
                y="milliseconds from asking",
                percents=rates,
            ),
        )
    yield from _of_fast_path(looks, runs, rates)


def _of_fast_path(
    looks: draw.Looks, runs: Mapping[str, Sequence[Run]], rates: Sequence[float]
) -> Iterator[Picture]:
    """How many commits are fast; of protocols that have a fast path."""
    shares = {
        protocol: mine for protocol, mine in runs.items() if any(run.fast_share is not None for run in mine)
    }
    if shares:
        parts = [
            f"{protocol} at {run.conflict:g} %: {run.fast_share or 0:.0f} %"
            for protocol, mine in shares.items()
            for run in mine
        ]
        lines = [
            draw.Line(protocol, [(run.conflict, run.fast_share) for run in mine])
            for protocol, mine in shares.items()
        ]
        yield Picture(
            "conflicts",
            "conflicts-fast",
            "Commits on the fast path",
            _sentence(parts),
            _HEIGHT_IN,
            partial(
                draw.draw_lines,
                looks=looks,
                lines=lines,
                x="% of commands that conflict",
                y="% of commits",
                percents=rates,
                shares=True,
            ),
        )


def _of_load(comparison: Comparison, looks: draw.Looks) -> Iterator[Picture]:
    if len({(run.clients, run.rate) for run in comparison.runs}) < 2:
        return
    of: tuple[tuple[str, str, Callable[[Latency | None], float | None]], ...] = (
        ("p50", "Median latency", _p50),
        ("p99", "99th percentile", _p99),
    )
    for conflict in shown_rates(comparison):
        runs = {
            protocol: sorted(
                (run for run in comparison.runs if (run.protocol, run.conflict) == (protocol, conflict)),
                key=lambda run: (run.clients or 0, run.rate or 0.0),
            )
            for protocol in looks.protocols
        }
        for name, title, value in of:
            lines, parts = [], []
            for protocol, mine in runs.items():
                points = [(run.commands_per_s, value(run.execute_ms)) for run in mine]
                marks = [
                    f"{run.clients if run.rate is None else run.rate:g}" if at == len(mine) - 1 else ""
                    for at, run in enumerate(mine)
                ]
                lines.append(draw.Line(protocol, points, marks=marks))
                for run in mine:
                    parts.append(
                        f"{protocol} with {_load_of(run)}: {run.commands_per_s:.0f} commands a second, "
                        f"{_ms(value(run.execute_ms))}"
                    )
            yield Picture(
                "load",
                f"load-{name}-{_part(conflict)}",
                f"{title}{_at(comparison, conflict)}",
                _sentence(parts),
                _HEIGHT_IN,
                partial(
                    draw.draw_lines,
                    looks=looks,
                    lines=lines,
                    x="commands answered a second, all sites",
                    y="milliseconds until the answer",
                ),
            )


def _load_of(run: Run) -> str:
    return f"{run.rate:g} asked a second" if run.rate is not None else f"{run.clients} clients a site"


# --- faults -----------------------------------------------------------------------------------------------


def _of_faults(comparison: Comparison, looks: draw.Looks) -> Iterator[Picture]:
    if not any(run.faults for run in comparison.runs):
        return
    for conflict in shown_rates(comparison):
        runs, at = base_runs(comparison, conflict), _at(comparison, conflict)
        # When clients stop asking, what is left over comes in, which is nobody's rate.
        end_s = min(comparison.inputs.get("duration_s") or run.virtual_s for run in runs)
        words = _sentence(
            [
                f"{run.protocol}: {fault.what}, at {fault.at_s:g} s; nobody was answered for "
                f"{fault.all_unavailable_s:g} s, and all was as before "
                + ("not yet at the end" if fault.recover_s is None else f"after {fault.recover_s:g} s")
                for run in runs
                for fault in run.faults
            ]
        )
        yield Picture(
            "faults",
            f"faults-rate-{_part(conflict)}",
            f"Commands answered{at}",
            words,
            _HEIGHT_IN,
            partial(
                draw.draw_timeline,
                looks=looks,
                runs=runs,
                values=partial(_rates, end_s),
                end_s=end_s,
                y="commands answered a second",
                milliseconds=False,
            ),
        )
        yield Picture(
            "faults",
            f"faults-latency-{_part(conflict)}",
            f"Latency at the slowest site{at}",
            words,
            _HEIGHT_IN,
            partial(
                draw.draw_timeline,
                looks=looks,
                runs=runs,
                values=partial(_slowest, end_s),
                end_s=end_s,
                y="ms until the answer, p99",
                milliseconds=True,
            ),
        )
        height_in = 0.6 + len(runs) * (0.42 + 0.15 * len(comparison.place.sites))
        yield Picture(
            "faults",
            f"faults-sites-{_part(conflict)}",
            f"Who was answered where{at}",
            words,
            height_in,
            partial(draw.draw_strips, looks=looks, runs=runs, end_s=end_s),
        )


def _whole(run: Run, end_s: float) -> int:
    """How many buckets were over when clients stopped."""
    many = max((len(series.commands) for series in run.timeline.sites.values()), default=0)
    return min(many, int(end_s / run.timeline.bucket_s + 1e-9))


def _rates(end_s: float, run: Run) -> Sequence[float | None]:
    return [
        sum(series.commands[at] for series in run.timeline.sites.values()) / run.timeline.bucket_s
        for at in range(_whole(run, end_s))
    ]


def _slowest(end_s: float, run: Run) -> Sequence[float | None]:
    found = []
    for at in range(_whole(run, end_s)):
        values = [series.execute_p99_ms[at] for series in run.timeline.sites.values()]
        found.append(max((value for value in values if value is not None), default=None))
    return found


# --- cost ---------------------------------------------------------------------------------------------------


def _of_cost(comparison: Comparison, looks: draw.Looks) -> Iterator[Picture]:
    for conflict in shown_rates(comparison):
        runs, at = base_runs(comparison, conflict), _at(comparison, conflict)
        words = _sentence(
            [
                f"{run.protocol}: "
                + ", ".join(f"{site.name} {site.load.received + site.load.sent:.1f}" for site in run.sites)
                for run in runs
            ]
        )
        height_in = 0.95 + 0.14 * max(len(runs), 2) * len(comparison.place.sites)
        yield Picture(
            "cost",
            f"replicas-{_part(conflict)}",
            f"What each replica handles{at}",
            words,
            height_in,
            partial(
                draw.draw_bars,
                looks=looks,
                runs=runs,
                value=lambda site: site.load.received + site.load.sent,
                x="messages in and out, per command of anybody",
            ),
        )
