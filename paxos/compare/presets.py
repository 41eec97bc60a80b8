"""Comparisons that are ready: figures of papers, made again, beside what was printed there.

`sosp13-fig4`: commit latency over a wide area, figure 4 of Moraru, Andersen and Kaminsky, *There Is More
Consensus in Egalitarian Parliaments* (SOSP 2013).  `nsdi21`: what the distances of Tollman, Park and
Ousterhout, *EPaxos Revisited* (NSDI 2021), imply without conflicts, exactly.  `conflict`: what that paper
is about, commit beside execution as conflicts rise.

Figure 4 at 100 % conflicts is no figure of this EPaxos.  The one of 2013 commits fast when the replies of a
quorum are equal to each other.  EPaxos*, which is here since the other lost agreement, asks them to equal
what the owner itself said first: where every command conflicts that is seldom so, and nearly all take two
round trips. So there the bound beside the measured is that of the slow path.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final

import attrs

from paxos.compare.model import Comparison, Place, Run, Site, rounded
from paxos.compare.places import rtt_of
from paxos.compare.running import run
from paxos.compare.tables import Table
from paxos.contract import find_protocol
from paxos.errors import ConfigurationError
from paxos.quorum import Phase
from paxos.sim import Topology

__all__ = ["PRESETS", "PresetResult", "Row", "run_preset", "slow_bound_ms", "table_of"]

#: How far a median may be from one that was read off a bar of a figure, milliseconds.
WITHIN_MS: Final = 10.0
_TWO_ROUNDS: Final = "EPaxos* needs replies equal to the owner's, so nearly all take two round trips"
_PRINTED: Final = "the distances that the paper prints allow no more"
_CONFLICTS: Final = (0, 2, 5, 10, 25, 50, 100)
#: Commands a second over all sites, arriving at random: well below what anything saturates at.
_RATE: Final = 200


@attrs.frozen
class Row:
    """One bar of a figure.

    Args:
        sites: how many there are.
        protocol: which.
        conflict: percent.
        site: where.
        published_ms, published_p99_ms: what the paper has, the median and the 99th percentile; None for none.
        measured_ms, measured_p99_ms: what was measured here.
        bound_ms: the least that the distances allow, of the path that nearly all commands take.
        agrees: whether the measured median is where it should be; None where nothing is said of that.
        note: why it is not compared with the published, or how.
    """

    sites: int
    protocol: str
    conflict: float
    site: str
    published_ms: float | None
    published_p99_ms: float | None
    measured_ms: float
    measured_p99_ms: float
    bound_ms: float | None
    agrees: bool | None
    note: str = ""


@attrs.frozen
class PresetResult:
    """What a preset gave.

    Args:
        name: of the preset.
        title: what is shown.
        comparisons: what was measured; the first is the main one.
        rows: the bars; none for a preset without published ones.
    """

    name: str
    title: str
    comparisons: tuple[Comparison, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, object]:
        """The main comparison as JSON, with the rows, and the other comparisons as `more`."""
        main, *others = self.comparisons
        return {
            **main.to_json(),
            "preset": self.name,
            "rows": [attrs.asdict(row) for row in self.rows],
            "more": [each.to_json() for each in others],
        }


def run_preset(
    name: str,
    *,
    seed: int = 1,
    commands: int | None = None,
    workers: int | None = 1,
    executor: Executor | None = None,
    advance: Callable[[], None] | None = None,
) -> PresetResult:
    """Carry a preset out.

    Args:
        name: one of `PRESETS`.
        seed: of all choices.
        commands: of each site; None for as many as the preset has.
        workers, executor, advance: as of `paxos.compare.run`.

    Raises:
        ConfigurationError: there is no such preset.
        WrongRun: a protocol did something wrong.
    """
    if name not in PRESETS:
        raise ConfigurationError(f"no preset named {name!r:.60}; known are {', '.join(PRESETS)}")
    title, _, make = PRESETS[name]

    def measure(protocols: Sequence[str], topology: str, **more: Any) -> Comparison:
        more.setdefault("commands", 400)
        if commands is not None:
            more["commands"] = commands
        return run(
            protocols, topology, seed=seed, workers=workers, executor=executor, advance=advance, **more
        )

    comparisons, rows = make(measure)
    return PresetResult(name, title, tuple(comparisons), tuple(rows))


_Measure = Callable[..., Comparison]
_Made = tuple[list[Comparison], list[Row]]


# --- nsdi21 ---------------------------------------------------------------------------------------------


def _nsdi21(measure: _Measure) -> _Made:
    found = measure(["epaxos", "multipaxos"], "nsdi21", commands=100)
    rows = []
    for protocol, expected in Topology.table("nsdi21")["expected"].items():
        for site in found.find(protocol).sites:
            measured = _measured(site)
            exact = measured == (expected[site.name], expected[site.name])
            rows.append(
                _row(found, found.find(protocol), site, expected[site.name], None, site.bound_ms, exact)
            )
    return [found], rows


# --- figure 4 of SOSP 2013 ------------------------------------------------------------------------------


def _figure_4(measure: _Measure) -> _Made:
    published = Topology.table("sosp13")["published"]
    three, five = published["three_sites"], published["five_sites"]
    conflicts = (0, 2, 100)
    both = [
        (measure(["epaxos", "multipaxos"], "sosp13", conflict=conflicts), five),
        (measure(["epaxos", "multipaxos"], "sosp13", sites=three["sites"], conflict=conflicts), three),
    ]
    rows: list[Row] = []
    for found, bars in both:
        for protocol in ("epaxos", "multipaxos"):
            # Conflicts are nothing to Multi-Paxos.
            for conflict in conflicts if protocol == "epaxos" else (0,):
                key = f"epaxos_{conflict}" if protocol == "epaxos" else protocol
                rows += _bars(found, found.find(protocol, conflict), bars.get(key, {}))
    return [found for found, _ in both], rows


def _bars(found: Comparison, run_: Run, bars: Mapping[str, Sequence[float]]) -> list[Row]:
    rows = []
    for site in run_.sites:
        p50, p99 = bars.get(site.name, (None, None))
        if run_.protocol == "epaxos" and run_.conflict == 100:
            bound_ms = slow_bound_ms(found.place, site.name)
            agrees = site.commit_ms is not None and site.commit_ms.max <= bound_ms
            rows.append(_row(found, run_, site, p50, p99, bound_ms, agrees, _TWO_ROUNDS))
            continue
        wanted = site.bound_ms if p50 is None else p50
        agrees = wanted is not None and abs(_measured(site)[0] - wanted) <= WITHIN_MS
        if run_.protocol == "multipaxos" and not agrees and site.bound_ms == _measured(site)[0]:
            # A bar with another distance than the one that is printed beside it.
            rows.append(_row(found, run_, site, p50, p99, site.bound_ms, None, _PRINTED))
        else:
            rows.append(_row(found, run_, site, p50, p99, site.bound_ms, agrees))
    return rows


def slow_bound_ms(place: Place, site: str) -> float:
    """What EPaxos takes at most at a site where commands conflict and nothing fails: two rounds,
    milliseconds.

    The first waits for a fast quorum, the second for a classic one.
    """
    nodes = range(1, len(place.sites) + 1)
    quorums, between = find_protocol("epaxos").quorums(nodes), rtt_of(place.rtt_ms)
    own = place.sites.index(site) + 1
    quorum = [quorums.best_quorum(lambda node: between(own, node), each) for each in (Phase.FAST, Phase.TWO)]
    return rounded(sum(max(between(own, node) for node in each) for each in quorum))


# --- commit beside execution ----------------------------------------------------------------------------


def _under_conflict(measure: _Measure) -> _Made:
    return [measure(["epaxos", "multipaxos"], "nsdi21", conflict=_CONFLICTS, rates=[_RATE])], []


#: Presets by name: a title, how many runs they have, and what makes them.
PRESETS: Final[Mapping[str, tuple[str, int, Callable[[_Measure], _Made]]]] = {
    "sosp13-fig4": (
        "Commit latency, figure 4 of EPaxos (SOSP 2013): published, measured here, and the bound",
        12,
        _figure_4,
    ),
    "nsdi21": ("Commit latency that the distances of EPaxos Revisited (NSDI 2021) imply", 2, _nsdi21),
    "conflict": (
        "Commit and execution under conflicts, as in EPaxos Revisited (NSDI 2021)",
        2 * len(_CONFLICTS),
        _under_conflict,
    ),
}


# --- rows -------------------------------------------------------------------------------------------------


def _measured(site: Site) -> tuple[float, float]:
    assert site.commit_ms is not None, "every site asked for something"
    return site.commit_ms.p50, site.commit_ms.p99


def _row(
    found: Comparison,
    run_: Run,
    site: Site,
    p50: float | None,
    p99: float | None,
    bound_ms: float | None,
    agrees: bool | None,
    note: str = "",
) -> Row:
    measured = _measured(site)
    return Row(
        len(found.place.sites),
        run_.protocol,
        run_.conflict,
        site.name,
        p50,
        p99,
        *measured,
        bound_ms,
        agrees,
        note,
    )


def table_of(result: PresetResult) -> Table:
    """The rows for a terminal; without rows, commit beside execution by conflict rate."""
    if not result.rows:
        return _commit_and_execution(result)

    def ms(value: float | None) -> str:
        return "" if value is None else f"{value:g}"

    notes: list[str] = []
    rows = []
    for row in result.rows:
        if row.note and row.note not in notes:
            notes.append(row.note)
        mark = {True: "yes", False: "NO", None: ""}[row.agrees]
        rows.append(
            (
                str(row.sites),
                row.protocol,
                f"{row.conflict:g} %" if row.protocol == "epaxos" else "",
                row.site,
                *map(ms, (row.published_ms, row.published_p99_ms, row.measured_ms, row.measured_p99_ms)),
                ms(row.bound_ms),
                mark + (f" ({notes.index(row.note) + 1})" if row.note else ""),
            )
        )
    columns = (
        "sites",
        "protocol",
        "conflicts",
        "site",
        "published",
        "p99",
        "measured",
        "p99",
        "bound",
        "agrees",
    )
    remarks = "".join(f"; ({number}) {note}" for number, note in enumerate(notes, 1))
    return Table(f"{result.title}, milliseconds{remarks}:", columns, tuple(rows))


def _commit_and_execution(result: PresetResult) -> Table:
    rows = []
    for run_ in result.comparisons[0].runs:
        if run_.commit_ms is not None and run_.execute_ms is not None:
            commit, execute = run_.commit_ms, run_.execute_ms
            figures = (commit.p50, execute.p50, commit.p99, execute.p99)
            share = "" if run_.fast_share is None else f"{run_.fast_share:.0f} %"
            rows.append((run_.protocol, f"{run_.conflict:g} %", *(f"{each:.0f}" for each in figures), share))
    columns = ("protocol", "conflicts", "commit p50", "execute p50", "commit p99", "execute p99", "fast")
    return Table(f"{result.title}, milliseconds:", columns, tuple(rows))
