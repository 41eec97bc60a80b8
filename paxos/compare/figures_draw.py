"""The strokes of each figure: what is put on an empty matplotlib figure.

Everywhere the same signs: a protocol has its colour and marker, a commit is wide and pale, an execution thin
and strong upon it, so that both are seen where they are one.  Axes start where they must not to mislead, say
their unit, and say so when they are logarithmic.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from paxos.compare.figures_style import MARKERS, PALETTE, SERIES
from paxos.compare.model import CDF_PERCENTS, FaultEffect, Place, Run, Site

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from paxos.compare.presets import Row

__all__ = [
    "Looks",
    "draw_bars",
    "draw_cdf",
    "draw_lines",
    "draw_matrix",
    "draw_published",
    "draw_ranges",
    "draw_strips",
    "draw_timeline",
    "is_contended",
    "short_name",
]

_INK: Final = PALETTE["ink"].light
_MUTED: Final = PALETTE["muted"].light
_GRID: Final = PALETTE["grid"].light
_BLUE: Final = PALETTE["c1"].light
_SURFACE: Final = PALETTE["surface"].light
#: A wide and pale line, and a thin and strong one.
_WIDE: Final[Mapping[str, Any]] = {"linewidth": 5.0, "alpha": 0.32}
_THIN: Final[Mapping[str, Any]] = {"linewidth": 1.4}
_DOTTED: Final[Mapping[str, Any]] = {"linewidth": 1.6, "linestyle": ":"}
#: From which ratio of the largest to the smallest on an axis is logarithmic.
_LOGARITHMIC: Final = 12.0
#: What a letter takes of the height of a figure under which names stand upright.
_LETTER_IN: Final = 0.075
#: Letters below a figure that still stand beside each other.
_ROW: Final = 40
#: Letters of a site's name in a figure.
_NAME: Final = 16
#: Entries of a legend beside each other.
_COLUMNS: Final = 3
#: Levels of a strip: up to which share of the usual rate it is drawn in which strength.
_LEVELS: Final = ((0.0, 0.0), (1 / 3, 0.25), (2 / 3, 0.55), (float("inf"), 1.0))


class Looks(NamedTuple):
    """What tells protocols apart.

    Args:
        protocols: their names, in order.
    """

    protocols: tuple[str, ...]

    def colour(self, protocol: str) -> str:
        """Its colour, of a light page."""
        return PALETTE[SERIES[self.protocols.index(protocol) % len(SERIES)]].light

    def marker(self, protocol: str) -> str:
        """Its marker."""
        at = self.protocols.index(protocol)
        # After as many as there are colours another marker goes with each.
        return MARKERS[(at + at // len(SERIES)) % len(MARKERS)]

    def entries(self, shown: Sequence[str]) -> list[Any]:
        """Their entries of a legend."""
        from matplotlib.lines import Line2D

        return [
            Line2D([], [], color=self.colour(each), marker=self.marker(each), markersize=4.5, label=each)
            for each in shown
        ]


def short_name(name: str) -> str:
    """A site's name for a figure: both ends of a long one."""
    return name if len(name) <= _NAME else f"{name[: _NAME // 2]}…{name[-(_NAME // 2) + 1 :]}"


def _legend(figure: "Figure", *groups: Sequence[Any]) -> None:
    """A legend above, each group of entries on lines of its own."""
    from matplotlib.lines import Line2D

    lines: list[list[Any]] = []
    for group in groups:
        lines += [list(group[at : at + _COLUMNS]) for at in range(0, len(group), _COLUMNS)]
    if not lines:
        return
    columns = max(map(len, lines))
    # matplotlib fills column by column.
    handles = [
        line[at] if at < len(line) else Line2D([], [], linestyle="", color=_SURFACE, label=" ")
        for at in range(columns)
        for line in lines
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, borderpad=0)


def _sign(label: str, **how: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"color": _MUTED, "label": label, **how})


def _commit_and_execution() -> list[Any]:
    return [_sign("commit", **_WIDE), _sign("execution", **_THIN)]


def _scale_ms(axis: Any, values: Sequence[float], label: str) -> None:
    """A scale of milliseconds that holds all values: from 0 on, or logarithmic where they are far apart."""
    from matplotlib.ticker import FixedLocator, NullLocator

    some = [each for each in values if each > 0]
    name = axis.axis_name
    low, high = (min(some), max(some)) if some else (1.0, 1.0)
    limits = getattr(axis.axes, f"set_{name}lim")
    if high / low <= _LOGARITHMIC or min(values, default=0.0) <= 0:
        limits(0, high * 1.06)
        axis.set_major_locator(_round_steps())
        axis.set_label_text(label)
        return
    getattr(axis.axes, f"set_{name}scale")("log")
    low, high = low / 1.15, high * 1.15
    limits(low, high)
    ticks = [m * 10.0**p for p in range(-4, 9) for m in (1, 2, 5)]
    seen = [each for each in ticks if low <= each <= high]
    if len(seen) > 7:
        seen = [each for each in seen if f"{each:e}".startswith("1")]
    axis.set_major_locator(FixedLocator(seen))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_label_text(f"{label} (logarithmic)")


def _round_steps() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10])


def _plain(axes: "Axes", *, x: bool = True, y: bool = True) -> None:
    """Ticks without lengths; grid lines only across the axes that are named."""
    axes.tick_params(length=0)
    axes.grid(visible=x, axis="x")
    axes.grid(visible=y, axis="y")


# --- latency ----------------------------------------------------------------------------------------------


def draw_ranges(figure: "Figure", looks: Looks, runs: Sequence[Run]) -> None:
    """For each site and protocol: bound, median commit, median and 99th percentile of execution."""
    axes = figure.add_subplot()
    _plain(axes, y=False)
    names = [short_name(site.name) for site in runs[0].sites]
    shown, step = [], 0.74 / len(runs)
    for at, run in enumerate(runs):
        colour, marker = looks.colour(run.protocol), looks.marker(run.protocol)
        for row, site in enumerate(run.sites):
            level = row + (at - (len(runs) - 1) / 2) * step
            shown += _draw_range(axes, site, level, colour, marker, step)
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color=_GRID, linewidth=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=_INK)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.spines["left"].set_visible(False)
    _scale_ms(axes.xaxis, shown, "milliseconds from asking")
    signs = [
        _sign("bound", marker="|", markersize=9, markeredgewidth=1.6, color=_INK, linestyle=""),
        _sign("commit p50", marker="o", markersize=5, linestyle=""),
        _sign("execution p50 to p99", marker="o", markersize=5, markerfacecolor=_SURFACE, linewidth=1.2),
    ]
    if any(is_contended(site) for run in runs for site in run.sites):
        signs.append(_sign("contended", color=_INK, linewidth=1.2, linestyle=(0, (1.4, 1.2))))
    if any(site.read_ms is not None for run in runs for site in run.sites):
        signs.append(_sign("read p50", marker="x", markersize=5, markeredgewidth=1.4, linestyle=""))
    _legend(figure, looks.entries([run.protocol for run in runs]), signs)


def _draw_range(axes: "Axes", site: Site, level: float, colour: str, marker: str, step: float) -> list[float]:
    """One line of it; the values on it."""
    shown = []
    if site.execute_ms is not None:
        shown += [site.execute_ms.p50, site.execute_ms.p99]
        axes.plot(shown, [level, level], color=colour, linewidth=1.2)
        axes.plot(
            [site.execute_ms.p50], [level], marker, markersize=5, color=colour, markerfacecolor=_SURFACE
        )
    if site.commit_ms is not None:
        shown.append(site.commit_ms.p50)
        axes.plot([site.commit_ms.p50], [level], marker, markersize=4.2, color=colour)
    if site.read_ms is not None:
        shown.append(site.read_ms.p50)
        axes.plot([site.read_ms.p50], [level], "x", markersize=5, markeredgewidth=1.4, color=colour)
    if site.bound_ms is not None:
        shown.append(site.bound_ms)
        axes.plot([site.bound_ms] * 2, [level - step * 0.46, level + step * 0.46], color=_INK, linewidth=1.6)
    if is_contended(site) and site.contended_bound_ms is not None:
        shown.append(site.contended_bound_ms)
        ends = [level - step * 0.4, level + step * 0.4]
        axes.plot([site.contended_bound_ms] * 2, ends, color=_INK, linewidth=1.2, linestyle=(0, (1.4, 1.2)))
    return shown


def is_contended(site: Site) -> bool:
    """Whether some commits here took the path that another bound is of."""
    return site.contended_bound_ms is not None and site.fast_share is not None and site.fast_share < 100


def draw_published(figure: "Figure", looks: Looks, rows: "Sequence[Row]") -> None:
    """Medians of commit latency: what was printed, what was measured, and the bound; a line for each bar."""
    axes = figure.add_subplot()
    _plain(axes, y=False)
    shown: list[float] = []
    several = {row.protocol for row in rows if row.conflict}
    for level, row in enumerate(rows):
        colour, marker = looks.colour(row.protocol), looks.marker(row.protocol)
        if row.published_ms is not None:
            axes.plot([row.published_ms, row.measured_ms], [level] * 2, color=colour, linewidth=1)
            axes.plot(
                [row.published_ms], [level], marker, markersize=6, color=colour, markerfacecolor=_SURFACE
            )
        axes.plot([row.measured_ms], [level], marker, markersize=4.2, color=colour)
        if row.bound_ms is not None:
            axes.plot([row.bound_ms] * 2, [level - 0.38, level + 0.38], color=_INK, linewidth=1.6)
        shown += [each for each in (row.published_ms, row.measured_ms, row.bound_ms) if each is not None]
        if level and row.site != rows[level - 1].site:
            axes.axhline(level - 0.5, color=_GRID, linewidth=0.7)
    names = [
        f"{short_name(row.site)}  {row.protocol}"
        + (f" {row.conflict:g} %" if row.protocol in several else "")
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    _scale_ms(axes.xaxis, shown, "milliseconds from asking to the commit")
    signs = [
        _sign("bound", marker="|", markersize=9, markeredgewidth=1.6, color=_INK, linestyle=""),
        _sign("measured", marker="o", markersize=5, linestyle=""),
        _sign("published", marker="o", markersize=6, markerfacecolor=_SURFACE, linestyle=""),
    ]
    _legend(figure, signs)


def draw_cdf(figure: "Figure", looks: Looks, runs: Sequence[Run | tuple[str, Site]]) -> None:
    """What share of the commands took no longer than how long: commit, execution and reads."""
    axes = figure.add_subplot()
    _plain(axes)
    protocols: list[str] = []
    values: list[float] = []
    shown: list[Run | Site] = []
    for each in runs:
        protocol, of = each if isinstance(each, tuple) else (each.protocol, each)
        protocols.append(protocol)
        shown.append(of)
        for latency, how in ((of.commit_ms, _WIDE), (of.execute_ms, _THIN), (of.read_ms, _DOTTED)):
            if latency is not None:
                values += latency.cdf
                axes.plot(
                    latency.cdf, CDF_PERCENTS, color=looks.colour(protocol), drawstyle="steps-post", **how
                )
    _scale_ms(axes.xaxis, values, "milliseconds from asking")
    axes.set_ylim(0, 100.8)
    axes.set_yticks([0, 25, 50, 75, 90, 100])
    axes.set_ylabel("% of commands, at most so long")
    signs = _commit_and_execution() if any(of.execute_ms for of in shown) else []
    signs += [_sign("read", **_DOTTED)] if any(of.read_ms for of in shown) else []
    _legend(figure, looks.entries(protocols), signs)


class Line(NamedTuple):
    """One line of `draw_lines`.

    Args:
        protocol: whose.
        points: x and y; y is None for nothing there.
        wide: pale and wide, as commits are; else thin.
        marks: what stands at each point; empty for nothing.
    """

    protocol: str
    points: Sequence[tuple[float, float | None]]
    wide: bool = False
    marks: Sequence[str] = ()


def draw_lines(
    figure: "Figure",
    looks: Looks,
    lines: Sequence[Line],
    x: str,
    y: str,
    *,
    percents: Sequence[float] = (),
    shares: bool = False,
) -> None:
    """Lines through points: latency against something, or shares.

    Args:
        figure, looks: where, how.
        lines: what.
        x, y: what the axes are.
        percents: the values on a horizontal axis of percentages, whose small ones are drawn apart; empty for
            a common axis from 0 on.
        shares: whether the vertical axis is of percentages; else of milliseconds.
    """
    axes = figure.add_subplot()
    _plain(axes)
    for line in lines:
        across = [at for at, _ in line.points]
        up = [float("nan") if value is None else value for _, value in line.points]
        colour, marker = looks.colour(line.protocol), looks.marker(line.protocol)
        if line.wide:
            axes.plot(across, up, color=colour, **_WIDE)
        else:
            axes.plot(across, up, color=colour, marker=marker, markersize=4.5, **_THIN)
        for at, value, text in zip(across, up, line.marks, strict=False):
            axes.annotate(
                text, (at, value), (4, -3), textcoords="offset points", fontsize=8, color=_MUTED, va="top"
            )
    if percents:
        _scale_percents(axes, percents)
        axes.set_xlabel(x)
    else:
        axes.set_xlim(0, max((at for line in lines for at, _ in line.points), default=1) * 1.12)
        axes.xaxis.set_major_locator(_round_steps())
        axes.set_xlabel(x)
    if shares:
        axes.set_ylim(0, 104)
        axes.set_ylabel(y)
    else:
        _scale_ms(axes.yaxis, [value for line in lines for _, value in line.points if value is not None], y)
    shown = tuple(dict.fromkeys(line.protocol for line in lines))
    _legend(figure, looks.entries(shown), _commit_and_execution() if any(e.wide for e in lines) else ())


def _scale_percents(axes: "Axes", percents: Sequence[float]) -> None:
    """From 0 to 100 with room for small ones: linear to 1, logarithmic above; ticks where values are."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("symlog", linthresh=1.0, linscale=0.6)
    axes.set_xlim(-0.06, max(max(percents), 1) * 1.15)
    axes.xaxis.set_major_locator(FixedLocator(sorted(percents)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


# --- time -------------------------------------------------------------------------------------------------


def _shade(axes: "Axes", faults: Sequence[FaultEffect], end_s: float) -> None:
    """When something was wrong, and which fault it was."""
    for number, fault in enumerate(faults, 1):
        until_s = end_s if fault.until_s is None else fault.until_s
        axes.axvspan(fault.at_s, until_s, color=_MUTED, alpha=0.13, linewidth=0, zorder=0)
        axes.axvline(fault.at_s, color=_MUTED, linewidth=1)
        axes.annotate(
            str(number),
            (fault.at_s, 1),
            (3, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8,
            color=_MUTED,
            va="top",
        )


def _time(axes: "Axes", end_s: float) -> None:
    axes.set_xlim(0, end_s)
    axes.xaxis.set_major_locator(_round_steps())


def draw_timeline(
    figure: "Figure",
    looks: Looks,
    runs: Sequence[Run],
    values: "Callable[[Run], Sequence[float | None]]",
    end_s: float,
    y: str,
    *,
    milliseconds: bool,
) -> None:
    """A value of each protocol, bucket by bucket, and when something was wrong."""
    axes = figure.add_subplot()
    _plain(axes, x=False)
    seen: list[float] = []
    for run in runs:
        found = [float("nan") if value is None else value for value in values(run)]
        edges = [at * run.timeline.bucket_s for at in range(len(found) + 1)]
        seen += [value for value in found if value == value]
        axes.stairs(found, edges, baseline=None, color=looks.colour(run.protocol), linewidth=1.5)
    if milliseconds:
        _scale_ms(axes.yaxis, seen, y)
    else:
        axes.set_ylim(0, max(seen, default=1.0) * 1.12)
        axes.yaxis.set_major_locator(_round_steps())
        axes.set_ylabel(y)
    _shade(axes, runs[0].faults, end_s)
    _time(axes, end_s)
    axes.set_xlabel("seconds since clients began")
    from matplotlib.lines import Line2D

    entries = [Line2D([], [], color=looks.colour(run.protocol), label=run.protocol) for run in runs]
    _legend(figure, entries)


def draw_strips(figure: "Figure", looks: Looks, runs: Sequence[Run], end_s: float) -> None:
    """For each protocol and site a strip: strong where clients there are answered as before the fault."""
    grid: Any = figure.subplots(len(runs), 1, sharex=True, squeeze=False)
    for axes, run in zip([row[0] for row in grid], runs, strict=True):
        _plain(axes, x=False, y=False)
        calm_s = min((fault.at_s for fault in run.faults), default=end_s)
        for row, (_, series) in enumerate(run.timeline.sites.items()):
            usual = _usual(series.commands, run.timeline.bucket_s, calm_s)
            for strength, spans in _spans(series.commands, run.timeline.bucket_s, usual, end_s).items():
                axes.broken_barh(
                    spans, (row - 0.36, 0.72), color=looks.colour(run.protocol), alpha=strength, linewidth=0
                )
        names = list(map(short_name, run.timeline.sites))
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_title(run.protocol, loc="left", color=_INK, pad=3)
        _shade(axes, run.faults, end_s)
        _time(axes, end_s)
    grid[-1][0].set_xlabel("seconds since clients began")


def _usual(commands: Sequence[int], bucket_s: float, calm_s: float) -> float:
    """What a bucket has when nothing is wrong; the first is left out, in which clients only begin."""
    calm = commands[1 : max(int(calm_s / bucket_s + 1e-9), 2)]
    return sum(calm) / len(calm) if calm else 0.0


def _spans(
    commands: Sequence[int], bucket_s: float, usual: float, end_s: float
) -> dict[float, list[tuple[float, float]]]:
    """By strength the spans that are drawn in it: begin and length, seconds."""
    spans: dict[float, list[tuple[float, float]]] = {}
    before = None
    for at, count in enumerate(commands):
        begin_s = at * bucket_s
        length_s = min(bucket_s, end_s - begin_s)
        if length_s <= 0:
            break
        share = count / usual if usual else float(count > 0)
        strength = next(strength for level, strength in _LEVELS if share <= level)
        if strength:
            mine = spans.setdefault(strength, [])
            if strength == before:
                begin, length = mine.pop()
                mine.append((begin, length + length_s))
            else:
                mine.append((begin_s, length_s))
        before = strength
    return spans


# --- what a replica does ---------------------------------------------------------------------------------


def draw_bars(
    figure: "Figure", looks: Looks, runs: Sequence[Run], value: "Callable[[Site], float]", x: str
) -> None:
    """A bar for each site and protocol."""
    axes = figure.add_subplot()
    _plain(axes, y=False)
    names = [short_name(site.name) for site in runs[0].sites]
    step, most = 0.78 / len(runs), 0.0
    for at, run in enumerate(runs):
        for row, site in enumerate(run.sites):
            level, found = row + (at - (len(runs) - 1) / 2) * step, value(site)
            most = max(most, found)
            axes.barh(level, found, step * 0.86, color=looks.colour(run.protocol))
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=_INK)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_xlim(0, (most or 1.0) * 1.04)
    axes.xaxis.set_major_locator(_round_steps())
    axes.set_xlabel(x)
    from matplotlib.patches import Patch

    _legend(figure, [Patch(color=looks.colour(run.protocol), label=run.protocol) for run in runs])


# --- where the sites are ---------------------------------------------------------------------------------


def draw_matrix(figure: "Figure", place: Place) -> None:
    """Round trips: a square of numbers, the darker the longer."""
    from matplotlib.patches import Rectangle

    axes = figure.add_subplot()
    _plain(axes, x=False, y=False)
    most = max((each for row in place.rtt_ms for each in row), default=0.0) or 1.0
    many, small = len(place.sites), len(place.sites) > 8
    for y, row in enumerate(place.rtt_ms):
        for x, rtt_ms in enumerate(row):
            if x != y:
                axes.add_patch(
                    Rectangle(
                        (x - 0.48, y - 0.48), 0.96, 0.96, color=_BLUE, alpha=0.05 + 0.45 * rtt_ms / most
                    )
                )
                axes.text(
                    x, y, f"{rtt_ms:g}", ha="center", va="center", fontsize=6.5 if small else 8.5, color=_INK
                )
    axes.set_xlim(-0.5, many - 0.5)
    axes.set_ylim(many - 0.5, -0.5)
    axes.set_aspect("equal")
    names = list(map(short_name, place.sites))
    turned = max(map(len, names)) * many > _ROW
    if turned:
        figure.set_figheight(figure.get_figheight() + _LETTER_IN * max(map(len, names)))
    axes.set_xticks(range(many), names, rotation=90 if turned else 0)
    axes.set_yticks(range(many), names)
    axes.tick_params(labelcolor=_INK, top=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
