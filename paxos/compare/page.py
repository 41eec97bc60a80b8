"""The page of a comparison: one HTML file that needs nothing else and asks nobody for anything.

It reads from the answer to its grounds: what came out at a glance, then latency site by site, its spread,
what conflicts, load and faults do to it, what it costs, and last how all of it was measured.  Its own policy
forbids it to load or to run anything.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Final, NamedTuple

from paxos.compare.explain import Explanation
from paxos.compare.figures import Picture, base_load, base_runs, shown_rates
from paxos.compare.figures_draw import is_contended
from paxos.compare.figures_style import EXTRA, css_variables, inlined
from paxos.compare.model import Comparison, Latency, Run
from paxos.compare.page_parts import Cell, dot, figure, grid, matrix, plain_table, story
from paxos.compare.tables import Table, tables_by_name

__all__ = ["FIGURES", "page_of"]

#: Where the files of figures are, beside the page.
FIGURES: Final = "figures"
#: A table of more runs is folded away.
_FEW: Final = 12
#: What the bundled protocols are called in prose.
_TITLES: Final[Mapping[str, str]] = {
    "paxos": "Basic Paxos",
    "multipaxos": "Multi-Paxos",
    "fastpaxos": "Fast Paxos",
    "epaxos": "EPaxos",
}
_DATA: Final[Mapping[str, str]] = {"comparison.json": "all data, JSON", "comparison.csv": "each site, CSV"}


class _Section(NamedTuple):
    """A part of the page: what its address is, what it is called short and in full, and what is in it."""

    name: str
    short: str
    title: str
    html: str


def page_of(
    comparison: Comparison,
    drawn: Sequence[tuple[Picture, str]],
    *,
    can_draw: bool = True,
    title: str = "",
    tables: Sequence[Table] = (),
    links: Mapping[str, str] | None = None,
    explanations: Sequence[Explanation] = (),
) -> str:
    """The page.

    Args:
        comparison: what was found.
        drawn: figures and their SVG.
        can_draw: whether figures could be made; else the page says what for to install.
        title: what is shown; empty for the protocols' names.
        tables: shown before all else.
        links: other pages, by address: what they are called.
        explanations: of single commands.
    """
    return _Page(comparison, drawn, can_draw, title, tables, links or {}, explanations).html()


def _text(name: str) -> str:
    return files("paxos.compare").joinpath("data", name).read_text(encoding="utf-8")


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 or value == round(value) else f"{value:.1f}"


def _p50(latency: Latency | None) -> float | None:
    return None if latency is None else latency.p50


def _p99(latency: Latency | None) -> float | None:
    return None if latency is None else latency.p99


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


class _Page:
    """One page while it is made."""

    def __init__(
        self,
        comparison: Comparison,
        drawn: Sequence[tuple[Picture, str]],
        can_draw: bool,
        title: str,
        tables: Sequence[Table],
        links: Mapping[str, str],
        explanations: Sequence[Explanation],
    ) -> None:
        self._of = comparison
        self._explanations = explanations
        self._drawn = drawn
        self._can_draw = can_draw
        self._tables = tables
        self._links = links
        self._protocols = tuple(dict.fromkeys(run.protocol for run in comparison.runs))
        self._title = title or (
            _joined([_TITLES.get(each, each) for each in self._protocols])
            + (" compared" if len(self._protocols) > 1 else "")
        )
        self._faulty = any(run.faults for run in comparison.runs)
        self._named = tables_by_name(comparison)

    def html(self) -> str:
        sections = [each for each in self._sections() if each.html]
        style = Template(_text("page.css")).substitute(
            light=css_variables(dark=False), dark=css_variables(dark=True)
        )
        html = Template(_text("page.html")).substitute(
            title=escape(self._title),
            heading=escape(self._title),
            style=style,
            lead=self._lead(),
            contents="\n".join(
                f'<li><a href="#{each.name}">{escape(each.short)}</a></li>' for each in sections
            ),
            sections="\n".join(
                f'<section id="{each.name}" aria-labelledby="{each.name}-h">\n'
                f'<h2 id="{each.name}-h">{escape(each.title)}</h2>\n{each.html}\n</section>'
                for each in sections
            ),
            foot=self._foot(),
        )
        # A number and its unit stay on one line.
        return re.sub(r"(?<=[0-9]) (?=(?:%|ms|s)(?![a-z]))", "\N{NO-BREAK SPACE}", html)

    def _sections(self) -> Iterator[_Section]:
        yield _Section("published", "Published", "Beside what was published", self._published())
        yield _Section("glance", "At a glance", "At a glance", self._glance())
        yield _Section("place", "Topology", "Where the replicas are", self._place())
        yield _Section("sites", "Each site", "Latency at each site, against its bound", self._sites())
        yield _Section("cdf", "Distribution", "How latency is distributed", self._distribution())
        yield _Section("conflicts", "Conflicts", "What conflicts do", self._conflicts())
        yield _Section("load", "Load", "Throughput against latency", self._load())
        yield _Section("faults", "Faults", "Through the faults", self._faults())
        yield _Section("why", "Why slow", "Why was the slowest command slow?", self._why())
        yield _Section("cost", "Cost", "What a command costs", self._cost())
        yield _Section("method", "Method", "How this was measured", self._method())

    # --- the head ---------------------------------------------------------------------------------------

    def _lead(self) -> str:
        of, inputs = self._of, self._of.inputs
        leaders = {run.leader for run in of.runs if run.leader is not None}
        facts = [
            ("topology", of.place.name),
            ("sites", ", ".join(of.place.sites)),
            *((("leader", _joined(sorted(leaders))),) if leaders else ()),
            ("conflicts", ", ".join(f"{each:g} %" for each in sorted({run.conflict for run in of.runs}))),
            ("load", _loads(of)),
            *((("faults", "; ".join(_fault_names(of))),) if self._faulty else ()),
            ("asked", f"for {inputs['duration_s']:g} s" if inputs.get("duration_s") else _asked(of)),
            ("seed", str(of.seed)),
        ]
        listed = "".join(f"<li><b>{escape(name)}</b> {escape(value)}</li>\n" for name, value in facts)
        parts = [f'<ul class="facts">\n{listed}</ul>']
        if not self._can_draw:
            parts.append(
                f'<p class="warn">The figures are left out: what draws them is not installed. '
                f"<code>pip install '{EXTRA}'</code> installs it.</p>"
            )
        if self._links:
            others = ", ".join(
                f'<a href="{escape(where)}">{escape(name)}</a>' for where, name in self._links.items()
            )
            parts.append(f'<p class="lead">See also {others}.</p>')
        return "\n".join(parts)

    def _glance(self) -> str:
        found = "".join(f"<li>{each}</li>\n" for each in self._findings())
        return self._summary() + (f'\n<ul class="found">\n{found}</ul>' if found else "")

    def _published(self) -> str:
        tables = "\n".join(plain_table(each, self._protocols) for each in self._tables)
        drawn = self._figures("published")
        return f"{drawn}\n{_folded('In numbers', tables) if drawn else tables}" if tables else ""

    def _summary(self) -> str:
        heads = ["", "commit p50, ms", "execution p50, ms", "p99, ms", "bound, ms", "fast path", "answered/s"]
        if any(run.read_ms for run in self._of.runs):
            heads.insert(4, "read p50, ms")
        heads += ["messages", "bytes", "syncs"]
        if self._faulty:
            heads += ["longest silence, s", "recovered after, s"]
        groups: dict[str, list[list[Cell]]] = {}
        for conflict in sorted({run.conflict for run in self._of.runs}):
            runs = base_runs(self._of, conflict)
            groups[f"{conflict:g} % conflicts"] = self._summary_rows(runs)
        load = _load_name(*base_load(self._of))
        caption = (
            f"All sites together, {load}: latency of writes from asking; messages, bytes and syncs of all "
            "replicas, per command; the best of each group is underlined"
        )
        return grid(caption, heads, groups)

    def _summary_rows(self, runs: Sequence[Run]) -> list[list[Cell]]:
        closed = all(run.rate is None for run in runs)
        columns: list[tuple[Callable[[Run], float | None], Callable[[float | None], str], int]] = [
            (lambda run: _p50(run.commit_ms), _ms, -1),
            (lambda run: _p50(run.execute_ms), _ms, -1),
            (lambda run: _p99(run.execute_ms), _ms, -1),
            *(((_read_p50, _ms, -1),) if any(run.read_ms for run in self._of.runs) else ()),
            (lambda run: run.bound_ms, _ms, 0),
            (lambda run: run.fast_share, lambda value: "–" if value is None else f"{value:.0f} %", 0),
            # What arrives at some rate is answered at that rate.
            (lambda run: run.commands_per_s, lambda value: f"{value:.0f}", 1 if closed else 0),
            (lambda run: run.messages_per_command, lambda value: f"{value:.1f}", -1),
            (lambda run: run.bytes_per_command, lambda value: f"{value:.0f}", -1),
            (lambda run: run.syncs_per_command, lambda value: f"{value:.1f}", -1),
        ]
        if self._faulty:
            columns += [
                (_silence_s, lambda value: "–" if value is None else f"{value:.2f}", -1),
                (_recovery_s, lambda value: "not yet" if value is None else f"{value:.1f}", -1),
            ]
        rows = [[Cell(dot(run.protocol, self._protocols))] for run in runs]
        for value, shown, better in columns:
            found = [value(run) for run in runs]
            known = [each for each in found if each is not None]
            best = (min(known) if better < 0 else max(known)) if known and better else None
            for row, each in zip(rows, found, strict=True):
                # Who looks alike is as good, and where all do none is best.
                alike = best is not None and shown(each) == shown(best)
                row.append(Cell(shown(each), alike and len(set(map(shown, found))) > 1))
        return rows

    def _findings(self) -> Iterator[str]:
        """Sentences that the figures bear out, and no more than they do."""
        first: dict[str, list[str]] = {}
        for conflict in shown_rates(self._of):
            runs = [run for run in base_runs(self._of, conflict) if run.execute_ms is not None]
            if len(runs) > 1:
                best = min(runs, key=lambda run: _p50(run.execute_ms) or 0.0)
                first.setdefault(best.protocol, []).append(
                    f"at {conflict:g} % conflicts ({_ms(_p50(best.execute_ms))} ms)"
                )
        if first:
            parts = [f"{dot(each, self._protocols)} {_joined(at)}" for each, at in first.items()]
            yield f"Half of all answers are there soonest with {'; with '.join(parts)}."
        late = [
            (run, run.execute_ms.p50 - run.commit_ms.p50)
            for conflict in shown_rates(self._of)
            for run in base_runs(self._of, conflict)
            if run.commit_ms is not None and run.execute_ms is not None
        ]
        late = [(run, gap) for run, gap in late if run.commit_ms and gap > 0.1 * run.commit_ms.p50]
        for run, gap in late[:4]:
            yield (
                f"{dot(run.protocol, self._protocols)} executes later than it commits with "
                f"{run.conflict:g} % conflicts: the medians are {_ms(gap)} ms apart. "
                "Who waits for an answer waits for the execution."
            )
        if self._faulty:
            runs = base_runs(self._of, min(run.conflict for run in self._of.runs))
            silences = _joined(
                [f"{dot(run.protocol, self._protocols)} {_silence_s(run) or 0:.2f} s" for run in runs]
            )
            yield (
                "The longest time in which nobody anywhere was answered after a fault, with "
                f"{runs[0].conflict:g} % conflicts: {silences}."
            )

    # --- the parts ----------------------------------------------------------------------------------------

    def _figures(self, section: str) -> str:
        made = [
            figure(
                picture.title,
                inlined(svg, picture.name, picture.title, picture.words),
                {kind.upper(): f"{FIGURES}/{picture.name}.{kind}" for kind in ("svg", "png")},
            )
            for picture, svg in self._drawn
            if picture.section == section
        ]
        return '<div class="figures">\n' + "\n".join(made) + "\n</div>" if made else ""

    def _table(self, name: str, summary: str = "") -> str:
        table = self._named[name]
        if not table.rows:
            return ""
        html = plain_table(table, self._protocols)
        return _folded(summary, html) if summary else html

    def _place(self) -> str:
        place, drawn = self._of.place, self._figures("place")
        if len(place.sites) == 1:
            return f'<p class="lead">One replica, at {escape(place.sites[0])}.</p>'
        source = f" Distances: {escape(place.source)}." if place.source else ""
        words = (
            '<p class="lead">One replica at each site, with clients beside it; a message takes half of the '
            f"round trip.{source}</p>"
        )
        if not drawn:
            return f"{words}\n{matrix(place)}"
        note = (
            '<p class="note">The map puts sites on a plane so that the lines between them are as long as the '
            "round trips, as nearly as a plane allows; ★ leads where there is a leader. It knows nothing of "
            "geography.</p>"
        )
        return f"{words}\n{drawn}\n{note}\n{_folded('The round trips as a table', matrix(place))}"

    def _sites(self) -> str:
        words = (
            '<p class="lead">From asking until the commit, and until the command was executed, which is when '
            f"the client has its answer; {escape(_load_name(*base_load(self._of)))}. The upright bar is the "
            "bound: what the round trips imply for the protocol's usual path when nothing conflicts, nothing "
            "queues and nothing fails, with the leader where it was when clients began. "
            + (
                "The dotted bar (contended) is the bound of the path that is taken where commands "
                "conflict or compete.</p>"
                if self._contended()
                else "</p>"
            )
        )
        if self._below():
            words += (
                '<p class="note">Where a median is left of its bar, most commands took another path than '
                "the one that the bound is of, such as classic rounds behind a coordinator in place of fast "
                "ones: there the dotted bar is to be held against it.</p>"
            )
        if any(run.read_ms for run in self._of.runs):
            words += (
                '<p class="note">The bounds are of commits. Reads of a log with a leader share rounds, and '
                "one that comes while a round is under way waits for the next.</p>"
            )
        drawn = self._figures("sites")
        return f"{words}\n{drawn}\n{self._table('latency', 'Every site and run in numbers' if drawn else '')}"

    def _contended(self) -> bool:
        """Whether somewhere some commits took the path for conflicts."""
        runs = [run for conflict in shown_rates(self._of) for run in base_runs(self._of, conflict)]
        return any(is_contended(site) for run in runs for site in run.sites)

    def _below(self) -> bool:
        """Whether somewhere half of the commits were sooner than the usual path can be."""
        return any(
            site.commit_ms is not None
            and site.bound_ms is not None
            and site.commit_ms.p50 < site.bound_ms - 0.01
            for conflict in shown_rates(self._of)
            for run in base_runs(self._of, conflict)
            for site in run.sites
        )

    def _distribution(self) -> str:
        drawn = self._figures("cdf")
        if not drawn:
            return ""
        words = (
            '<p class="lead">What share of the commands took at most how long. The wide line is the commit, '
            "the thin one the execution; where one lies on the other, nothing waited after its commit."
            + (" Reads are dotted.</p>" if any(run.read_ms for run in self._of.runs) else "</p>")
        )
        single = self._figures("cdf-sites")
        return f"{words}\n{drawn}\n{_folded('Each site by itself', single) if single else ''}"

    def _conflicts(self) -> str:
        drawn = self._figures("conflicts")
        words = (
            '<p class="lead">A conflicting command touches one key that all sites share. Points are '
            "measured, lines between them only lead the eye; the scale is linear up to 1 % and "
            "logarithmic above.</p>"
        )
        slow = self._table("slow")
        return f"{words if drawn else ''}\n{drawn}\n{slow}" if drawn or slow else ""

    def _load(self) -> str:
        drawn = self._figures("load")
        if not drawn:
            return ""
        open_loop = any(run.rate is not None for run in self._of.runs)
        unit = "commands asked a second over all sites" if open_loop else "clients at each site"
        return (
            f'<p class="lead">Each point is a run with more load: {_loads(self._of)}. The number '
            f"at a line's end is of {unit}.</p>\n{drawn}"
        )

    def _faults(self) -> str:
        if not self._faulty:
            return ""
        drawn = self._figures("faults")
        listed = "".join(
            f"<li>At {fault.at_s:g} s: {escape(fault.what)}.</li>\n"
            for fault in next(run for run in self._of.runs if run.faults).faults
        )
        words = f'<ol class="lead">\n{listed}</ol>'
        note = (
            '<p class="note">Grey is when something is wrong. A line that is missing: nobody was answered. A '
            "strip is full where a site's clients are answered at two thirds or more of their usual rate, "
            "paler below, paler still below one third, and empty where nobody is. A client that hears "
            f"nothing for {self._of.inputs.get('timeout_ms', 0) / 1000:g} s asks another site.</p>"
        )
        return f"{words}\n{drawn}\n{note if drawn else ''}\n{self._table('faults')}"

    def _why(self) -> str:
        if not self._explanations:
            return ""
        load = _load_name(*base_load(self._of))
        words = (
            f'<p class="lead">The slowest write of each protocol at '
            f"{max(run.conflict for run in self._of.runs):g} % conflicts, {escape(load)}: who answered what "
            "when, and what its execution waited for. <code>paxos explain</code> tells of any other.</p>"
        )
        stories = [story(each, self._protocols) for each in self._explanations]
        return "\n".join([words, *stories])

    def _cost(self) -> str:
        words = (
            '<p class="lead">Messages between replicas, their bytes and the syncs of disks, for each command '
            "of anybody, with what time alone causes (heartbeats, gossip) included. The replica with the "
            "most to handle is the first to be full.</p>"
        )
        types = sorted(
            {kind for run in self._of.runs for kind in run.messages_by_type}, key=lambda each: each.lower()
        )
        rows: list[list[Cell]] = []
        shown = [run for conflict in shown_rates(self._of) for run in base_runs(self._of, conflict)]
        for kind in types:
            row = [Cell(escape(kind))]
            for run in shown:
                many = run.messages_by_type.get(kind)
                row.append(Cell("" if many is None else f"{many:.2f}" if many >= 0.005 else "&lt; 0.01"))
            rows.append(row)
        heads = ["", *(f"{run.protocol} {run.conflict:g} %" for run in shown)]
        by_type = grid("Messages per command, by type", heads, {"": rows}) if rows else ""
        return (
            f"{words}\n{self._figures('cost')}\n"
            f"{self._table('cost', 'Every run in numbers' if len(self._of.runs) > _FEW else '')}\n"
            f"{self._table('load', 'Every replica in numbers')}\n{_folded('Messages by type', by_type)}"
        )

    def _method(self) -> str:
        of = self._of
        words = (
            '<p class="lead">Every protocol ran on the code of real nodes, in virtual time, with the same '
            "sites, commands, faults and seed; the same inputs give this page again, byte for byte. Commit "
            "and execution are of writes. Throughput is of the middle three fifths of a run.</p>"
        )
        searched = sum(run.checked.searched for run in of.runs)
        checked = f"{sum(run.checked.operations for run in of.runs)} operations of {len(of.runs)} run"
        checked += "s" if len(of.runs) > 1 else ""
        witnesses = _joined(sorted({run.checked.witness for run in of.runs}))
        lines = {
            "Checked": f"{checked}, against {witnesses}"
            + (f"; {searched} of them by a full search" if searched else ""),
            **{name: _shown(value) for name, value in of.inputs.items() if value not in (None, [], ())},
            "seed": str(of.seed),
        }
        listed = "\n".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in lines.items()
        )
        left = sorted({run.conflict for run in of.runs} - set(shown_rates(of)))
        note = (
            f'<p class="note">Without figures of their own: {", ".join(f"{each:g} %" for each in left)} '
            "conflicts.</p>"
            if left
            else ""
        )
        return f"{words}\n{note}\n<dl>\n{listed}\n</dl>"

    def _foot(self) -> str:
        links = ", ".join(f'<a href="{name}">{what}</a>' for name, what in _DATA.items())
        return f"<p>The data: {links}. Made by <code>paxos compare</code>.</p>"


def _folded(summary: str, html: str) -> str:
    """What is shown when somebody asks for it."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{html}\n</details>"


# --- words --------------------------------------------------------------------------------------------------


def _load_name(clients: int | None, rate: float | None) -> str:
    if rate is not None:
        return f"{rate:g} commands a second arrive over all sites"
    return f"{clients} {'client' if clients == 1 else 'clients'} at each site"


def _loads(comparison: Comparison) -> str:
    rates = sorted({run.rate for run in comparison.runs if run.rate is not None})
    if rates:
        return f"{', '.join(f'{each:g}' for each in rates)} commands a second, open loop"
    clients = sorted({run.clients or 0 for run in comparison.runs})
    return f"{', '.join(map(str, clients))} {'client' if clients == [1] else 'clients'} a site, closed loop"


def _asked(comparison: Comparison) -> str:
    return f"{comparison.inputs.get('commands')} commands a site"


def _fault_names(comparison: Comparison) -> list[str]:
    run = next(run for run in comparison.runs if run.faults)
    return [f"at {each.at_s:g} s, {each.what}" for each in run.faults[:3]] + (
        [f"and {len(run.faults) - 3} more"] if len(run.faults) > 3 else []
    )


def _read_p50(run: Run) -> float | None:
    return _p50(run.read_ms)


def _silence_s(run: Run) -> float | None:
    return max((each.all_unavailable_s for each in run.faults), default=None)


def _recovery_s(run: Run) -> float | None:
    """After the last fault that it recovered from; None where one lasts."""
    found = [each.recover_s for each in run.faults]
    return None if None in found or not found else max(each or 0.0 for each in found)


def _shown(value: object) -> str:
    if isinstance(value, list | tuple) and all(isinstance(each, str | int | float) for each in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
