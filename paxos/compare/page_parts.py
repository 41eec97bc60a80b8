"""The parts of the page: tables, figures and marks as HTML.

Whatever comes from outside (a site's name, a protocol's) is escaped here and nowhere else: what these
functions take is text, and what they give is HTML.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

from paxos.check.chart_svg import svg_chart
from paxos.compare.explain import Explanation
from paxos.compare.figures_style import PALETTE, SERIES
from paxos.compare.model import Place
from paxos.compare.tables import Table

__all__ = ["Cell", "dot", "figure", "grid", "matrix", "plain_table", "scrolled", "story"]

_NUMBER: Final = re.compile(r"-?\d[\d.]*( %| ms| s)?|not yet|-?")
#: Columns that name what a row is about.
_NAMING: Final = ("protocol", "conflicts", "offered/s", "clients", "site", "replica")
_ALL: Final = "all"


class Cell(NamedTuple):
    """One cell of a table.

    Args:
        html: what is in it.
        best: whether it is marked as the best of its kind.
    """

    html: str
    best: bool = False


def dot(protocol: str, protocols: Sequence[str]) -> str:
    """A protocol's name with its colour before it."""
    colour = SERIES[list(protocols).index(protocol) % len(SERIES)]
    assert colour in PALETTE
    return f'<span class="of" style="--dot: var(--{colour})">{escape(protocol)}</span>'


def scrolled(caption: str, inside: str, kind: str = "") -> str:
    """A table that scrolls by itself where the screen is narrow, also by keyboard; its caption stays."""
    label = escape(caption)
    return (
        f'<p class="caption">{label}</p>\n'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
        f'<table class="{kind}" aria-label="{label}">\n{inside}</table></div>'
    )


def plain_table(table: Table, protocols: Sequence[str]) -> str:
    """A table as a terminal has it, with numbers to the right."""
    numeric = [
        all(_NUMBER.fullmatch(row[at]) for row in table.rows) and table.columns[at] not in _NAMING
        for at in range(len(table.columns))
    ]
    long = [max((len(row[at]) for row in table.rows), default=0) > 44 for at in range(len(table.columns))]

    def cell(at: int, text: str) -> str:
        names = table.columns[at] == "protocol" and text in protocols
        shown = dot(text, protocols) if names else escape(text)
        if at == 0:
            return f'<th scope="row" class="first">{shown}</th>'
        kind = "n" if numeric[at] else "long" if long[at] else ""
        return f'<td class="{kind}">{shown}</td>' if kind else f"<td>{shown}</td>"

    heads = "".join(
        f'<th scope="col" class="{"first" if at == 0 else "n" if numeric[at] else ""}">{escape(name)}</th>'
        for at, name in enumerate(table.columns)
    )
    body = "".join(
        f"<tr{' class=all' if _ALL in row[:4] else ''}>{''.join(map(cell, range(len(row)), row))}</tr>\n"
        for row in table.rows
    )
    return scrolled(
        table.title.removesuffix(":"),
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>",
    )


def grid(
    caption: str,
    heads: Sequence[str],
    groups: Mapping[str, Sequence[Sequence[Cell]]],
    span: Callable[[str], str] = escape,
) -> str:
    """A table whose rows stand in groups; the first cell of each row names it.

    Args:
        caption: what it shows.
        heads: of the columns.
        groups: rows by what their group is called; an empty name for no heading.
        span: how a group's name becomes HTML.
    """
    bodies = []
    for name, rows in groups.items():
        lines = []
        if name:
            lines.append(
                f'<tr class="group"><th scope="rowgroup" colspan="{len(heads)}">{span(name)}</th></tr>'
            )
        for row in rows:
            first, *others = row
            cells = "".join(
                f'<td class="n{" best" if each.best else ""}">{each.html}</td>' for each in others
            )
            lines.append(f'<tr><th scope="row" class="first">{first.html}</th>{cells}</tr>')
        bodies.append("<tbody>\n" + "\n".join(lines) + "\n</tbody>")
    head = "".join(
        f'<th scope="col" class="{"n" if at else "first"}">{escape(name)}</th>'
        for at, name in enumerate(heads)
    )
    return scrolled(caption, f"<thead><tr>{head}</tr></thead>\n" + "\n".join(bodies))


def matrix(place: Place) -> str:
    """The round trips as a table, the darker the longer."""
    most = max((each for row in place.rtt_ms for each in row), default=0.0) or 1.0
    heads = "".join(f'<th scope="col" class="n">{escape(name)}</th>' for name in place.sites)
    lines = []
    for name, row in zip(place.sites, place.rtt_ms, strict=True):
        cells = "".join(
            '<td class="self"></td>'
            if other == name
            else f'<td style="--part: {5 + 40 * rtt_ms / most:.0f}">{rtt_ms:g}</td>'
            for other, rtt_ms in zip(place.sites, row, strict=True)
        )
        star = " ★" if name == place.leader else ""
        lines.append(f'<tr><th scope="row" class="first">{escape(name)}{star}</th>{cells}</tr>')
    caption = "Round trips between the sites, milliseconds; ★ leads where there is a leader"
    body = "\n".join(lines)
    return scrolled(
        caption,
        f'<thead><tr><td class="first"></td>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>',
        "matrix",
    )


def story(found: Explanation, protocols: Sequence[str]) -> str:
    """What became of one command: in words, and folded away as a chart of its messages.

    Args:
        found: what is known of it.
        protocols: of the page, in order of their colours.
    """
    asked, path, *more = found.sentences()
    replies = "".join(f"<li>{escape(line)}</li>\n" for line in more if not line.startswith("  "))
    waits = "".join(f"<li>{escape(line.strip())}</li>\n" for line in more if line.startswith("  "))
    # Its own style would be one for the whole page; the page has one for it, in the page's colours.
    chart = re.sub(r"<style>.*?</style>\n?", "", svg_chart(found.chart), flags=re.DOTALL)
    label = f"Messages of the slowest command under {found.protocol}"
    chart = chart.replace('role="img"', f'role="img" aria-label="{escape(label)}"', 1)
    return (
        f"<h3>{dot(found.protocol, protocols)}</h3>\n<p>{escape(asked)}.</p>\n<p>{escape(path)}.</p>\n"
        f'<ul class="found">\n{replies}</ul>\n'
        + (f'<ul class="found">\n{waits}</ul>\n' if waits else "")
        + f"<details>\n<summary>{escape(label)}, one by one</summary>\n"
        f'<div class="scroll chart" role="region" tabindex="0" aria-label="{escape(label)}">\n{chart}</div>\n'
        "</details>"
    )


def figure(title: str, svg: str, files: Mapping[str, str]) -> str:
    """A drawn figure under its title, and where its files are.

    Args:
        title: plain text.
        svg: as `figures_style.inlined` gives it.
        files: addresses by what the link says.
    """
    links = " ".join(
        f'<a href="{escape(where)}" aria-label="{escape(title)}, as {name}">{name}</a>'
        for name, where in files.items()
    )
    return (
        f'<figure><figcaption><span>{escape(title)}</span> <span class="files">{links}</span></figcaption>\n'
        f"{svg}</figure>"
    )
