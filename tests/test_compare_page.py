"""The report of a comparison: its page in a browser, its figures, and what it does with what is odd."""

import hashlib
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attrs
import pytest

from paxos import compare
from paxos.cli import main
from paxos.compare import Comparison, Place, Run
from paxos.compare.explain import explain_each
from paxos.compare.figures import FIGURE, pictures_of, pictures_of_rows
from paxos.compare.figures_map import flat_positions
from paxos.compare.figures_style import EXTRA, PALETTE, SERIES, rendered
from paxos.compare.files import write_files
from paxos.compare.presets import PresetResult, Row
from paxos.compare.report import figures_in, preset_report, report_of
from paxos.compare.running import plan_of
from paxos.errors import EXIT_DONE
from tests.browser import SCHEMES, WIDTHS, look_at

pytestmark = pytest.mark.once

plotted = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason=f"no figures without {EXTRA}"
)
SECTIONS = ("glance", "place", "sites", "cdf", "conflicts", "load", "faults", "cost", "method")
#: One of each kind of stroke.
KINDS = ("map", "matrix", "sites-0", "cdf-100", "conflicts-p50", "load-p99-0", "faults-rate-0",
         "faults-sites-0", "replicas-0")  # fmt: skip


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare.run(
        ["multipaxos", "epaxos"],
        "nsdi21",
        nodes=3,
        conflict=[0, 100],
        clients=[1, 3],
        faults="leader-killed",
        duration_s=3.0,
        timeout_ms=400,
        reads=20,
    )


@pytest.fixture(scope="module")
def report(comparison: Comparison) -> dict[str, bytes]:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip(f"no figures without {EXTRA}")
    return report_of(comparison)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra that draws is not installed."""
    monkeypatch.setattr("paxos.compare.report.can_draw", lambda: False)
    monkeypatch.setattr("paxos.compare.figures_style.can_draw", lambda: False)


class Page(HTMLParser):
    """The tags of a page; every one that is opened must be closed."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


# --- the page -------------------------------------------------------------------------------------------


def test_a_browser_shows_all_of_it_on_every_screen_and_asks_nobody(
    comparison: Comparison, report: dict[str, bytes], tmp_path: Path
) -> None:
    write_files(report, tmp_path / "report")
    text = report["index.html"].decode()
    looked = look_at(text, tmp_path / "report")
    assert looked.said == []
    assert len(looked.frames) == len(WIDTHS) * len(SCHEMES)
    tables = text.count("<table")
    assert tables > 7
    for frame, (width, scheme) in zip(looked.frames, itertools.product(WIDTHS, SCHEMES), strict=True):
        # As wide as the screen less a scroll bar, and nothing is wider.
        assert width - 20 <= frame["width"] == frame["needs"] <= width
        assert frame["asked"] == []
        assert frame["figures"] == figures_in(comparison)
        assert frame["tables"] == tables
        assert frame["smallest"] > 7.5
        assert frame["dark"] == (scheme == "dark")
    light, dark = looked.frames[:2]
    assert (light["page"], dark["page"]) == ("rgb(244, 246, 249)", "rgb(14, 18, 24)")
    assert (light["ink"], dark["ink"]) == ("rgb(26, 34, 48)", "rgb(232, 236, 242)")


def test_the_slowest_command_of_each_protocol_is_told_in_words_and_as_a_chart(
    undrawn: None, tmp_path: Path
) -> None:
    place = compare.find_place("nsdi21", sites=["CA", "VA", "EU"])
    plan = plan_of(["epaxos", "fastpaxos"], place, conflict=[0, 100], clients=[2, 4], commands=12)
    told = explain_each(plan, place)
    assert [each.protocol for each in told] == ["epaxos", "fastpaxos"]
    assert told == explain_each(plan, place)
    assert "slow path" in told[0].path
    assert "not the fast path: " in told[1].path
    found = compare.run(["epaxos", "fastpaxos"], place, conflict=[0, 100], clients=[2, 4], commands=12)
    slowest = found.find("epaxos", 100, 2).execute_ms
    assert slowest is not None
    assert told[0].execute_ms == slowest.max
    text = report_of(found, explanations=told)["index.html"].decode()
    page = Page(text)
    assert [each["id"] for each in page.all("section")][-3:] == ["why", "cost", "method"]
    # A style in the midst of the page would be one for all of it.
    assert len(page.all("style")) == 1
    charts = page.all("svg")
    assert [each["aria-label"] for each in charts] == [
        "Messages of the slowest command under epaxos", "Messages of the slowest command under fastpaxos"
    ]  # fmt: skip
    assert f"answered after {told[0].execute_ms:g}\N{NO-BREAK SPACE}ms" in text
    assert all(line.strip() in text.replace("\N{NO-BREAK SPACE}", " ") for line in told[0].waited_for)
    (tmp_path / "index.html").write_text(text, encoding="utf-8")
    looked = look_at(text, tmp_path)
    assert looked.said == []
    # What is wide scrolls by itself.
    assert all(frame["needs"] <= frame["width"] for frame in looked.frames)


def test_the_browser_sees_what_a_page_must_not_do(
    comparison: Comparison, undrawn: None, tmp_path: Path
) -> None:
    wrong = (
        '<div style="width: 1500px">wide</div><img src="https://example.org/x.png" alt="">'
        "<script>throw new Error()</script>"
    )
    page = report_of(comparison)["index.html"].decode().replace("<main>", f"<main>{wrong}")
    (tmp_path / "index.html").write_text(page)
    looked = look_at(page, tmp_path)
    assert all(frame["width"] < frame["needs"] for frame in looked.frames)
    assert all(frame["asked"] == ["https://example.org/x.png"] for frame in looked.frames)
    # In each frame, and in the page as it is opened from disk.
    for what in ("Loading the image", "Executing inline script"):
        assert sum(what in line for line in looked.said) == len(looked.frames) + 1


def test_the_page_needs_nothing_but_the_files_beside_it(report: dict[str, bytes]) -> None:
    text = report["index.html"].decode()
    page = Page(text)
    assert not page.all("script", "link", "img", "iframe", "object", "embed", "base", "form")
    assert not [each for _, each in page.tags if "src" in each or any(name.startswith("on") for name in each)]
    policies = [each["content"] for each in page.all("meta") if "http-equiv" in each]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    names = [each["id"] for _, each in page.tags if "id" in each]
    assert len(set(names)) == len(names)
    for _, attributes in page.tags:
        for where in filter(None, (attributes.get("href"), attributes.get("xlink:href"))):
            assert where.removeprefix("#") in (names if where.startswith("#") else report)
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in names
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{name}" for name in names}
    # What a class of software looks for in links and styles: nothing leads away.
    assert re.findall(r"(?:href|src|url|import)\W{0,3}https?:", text) == []


def test_every_part_is_there_and_can_be_heard(comparison: Comparison, report: dict[str, bytes]) -> None:
    text = report["index.html"].decode()
    page = Page(text)
    assert [each["id"] for each in page.all("section")] == list(SECTIONS)
    assert page.tags[0] == ("html", {"lang": "en"})
    figures = page.all("svg")
    assert len(figures) == len(pictures_of(comparison)) == figures_in(comparison) > 20
    assert all(each["role"] == "img" and each["aria-labelledby"] for each in figures)
    assert all(len(picture.words) > 40 for picture in pictures_of(comparison))
    assert all(each["scope"] in ("col", "row", "rowgroup") for each in page.all("th"))
    scrolled = [each for each in page.all("div") if each.get("class") == "scroll"]
    assert len(scrolled) == len(page.all("table"))
    assert all(each["tabindex"] == "0" and each["aria-label"] for each in scrolled)
    # What was measured is what is told: a median of the data stands in the table.
    run = comparison.find("epaxos", 100, 1)
    assert run.execute_ms is not None
    assert f">{run.execute_ms.p50:.0f}<" in text or f">{run.execute_ms.p50:.1f}<" in text


def test_without_what_draws_there_are_the_tables_and_a_word_about_it(
    comparison: Comparison, undrawn: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report_of(comparison)
    assert sorted(found) == ["comparison.csv", "comparison.json", "index.html"]
    text = found["index.html"].decode()
    page = Page(text)
    assert f"pip install '{EXTRA}'" in text
    assert not page.all("svg")
    assert not page.all("figure")
    assert len(page.all("table")) > 7
    assert Comparison.from_json(found["comparison.json"]) == comparison
    arguments = ["--protocols", "paxos", "--commands", "4", "--clients", "2", "--workers", "1"]
    assert main(["compare", *arguments, "--out", str(tmp_path / "report")]) == EXIT_DONE
    assert EXTRA in capsys.readouterr().err
    assert (tmp_path / "report" / "index.html").exists()


def test_what_looks_alike_is_marked_alike_and_a_bound_that_is_passed_is_explained(
    comparison: Comparison, undrawn: None
) -> None:
    one, other = (comparison.find(each, 0, 1) for each in ("multipaxos", "epaxos"))
    one = attrs.evolve(one, messages_per_command=3.001, syncs_per_command=2.0, bytes_per_command=100)
    other = attrs.evolve(other, messages_per_command=3.0, syncs_per_command=1.5, bytes_per_command=100)

    def page(*runs: Run) -> str:
        return report_of(attrs.evolve(comparison, runs=runs))["index.html"].decode()

    def glance(*runs: Run) -> str:
        return page(*runs).split("</section>")[0]

    text = glance(one, other)
    assert text.count('<td class="n">3.0</td>') == 2
    assert text.count('<td class="n">100</td>') == 2
    assert ('<td class="n best">1.5</td>' in text, '<td class="n best">2.0</td>' in text) == (True, False)
    third = attrs.evolve(one, protocol="third", messages_per_command=9.0)
    assert glance(one, other, third).count('<td class="n best">3.0</td>') == 2
    for bound_ms, passed in ((0.0, False), (9999.0, True)):
        sites = tuple(attrs.evolve(each, bound_ms=bound_ms) for each in one.sites)
        assert ("left of its bar" in page(attrs.evolve(one, sites=sites))) == passed


# --- what is odd ------------------------------------------------------------------------------------------


def _renamed(comparison: Comparison, names: dict[str, str]) -> Comparison:
    """With other names for its sites and protocols."""
    text = comparison.dumps()
    for name, other in names.items():
        text = text.replace(json.dumps(name), json.dumps(other))
    return Comparison.from_json(text)


@plotted
def test_names_are_text_whatever_is_in_them(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {
        "CA": "<script>alert(1)</script>",
        "VA": "\"'&amp; $x_{1}$ \\frac",
        "OR": "東京" * 40,
        "epaxos": "<b>mine</b>",
    }
    named = _renamed(comparison, odd)
    kept = [each for each in pictures_of(named) if each.name in KINDS]
    monkeypatch.setattr("paxos.compare.report.pictures_of", lambda _: kept)
    report = report_of(named)
    assert len(kept) == len(KINDS)
    page = Page(report["index.html"].decode())
    assert not page.all("script")
    assert len(page.all("b")) == report["index.html"].count(b"<b>")
    assert b"&lt;b&gt;mine" in report["index.html"]
    for picture in kept:
        svg = report[f"figures/{picture.name}.svg"].decode()
        assert "<script" not in svg
        assert Page(svg).all("svg")


@plotted
def test_no_conflicts_no_faults_no_writes_and_one_site_make_a_page_too(comparison: Comparison) -> None:
    run = comparison.find("multipaxos", 0, 1)
    site = attrs.evolve(run.sites[0], commit_ms=None, execute_ms=None, read_ms=None, bound_ms=None)
    silent = attrs.evolve(
        run, sites=(site,), commit_ms=None, execute_ms=None, read_ms=None, bound_ms=None, faults=()
    )
    place = Place("alone", (site.name,), ((0.0,),), site.name)
    report = report_of(attrs.evolve(comparison, place=place, runs=(silent,)))
    page = Page(report["index.html"].decode())
    assert [each["id"] for each in page.all("section")] == [
        "glance",
        "place",
        "sites",
        "cdf",
        "cost",
        "method",
    ]


def test_a_map_keeps_distances_that_a_plane_can_have() -> None:
    side, across = 30.0, 50.0
    rtt = ((0.0, side, 40.0), (side, 0.0, across), (40.0, across, 0.0))
    place = Place("triangle", ("a", "b", "c"), rtt, "a")
    found = flat_positions(place)
    for (one, a), (other, b) in itertools.combinations(enumerate(found), 2):
        assert ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5 == pytest.approx(rtt[one][other], abs=0.2)


# --- figures ----------------------------------------------------------------------------------------------


@plotted
def test_figures_are_files_in_colours_of_the_palette(report: dict[str, bytes]) -> None:
    vectors = {name: data.decode() for name, data in report.items() if name.endswith(".svg")}
    assert len(vectors) > 20
    light = {colour.light for colour in PALETTE.values()}
    for name, svg in vectors.items():
        assert FIGURE.fullmatch(name.removeprefix("figures/"))
        assert set(re.findall(r"#[0-9a-fA-F]{6}\b", svg)) <= light
        assert report[f"{name.removesuffix('svg')}png"].startswith(b"\x89PNG")
        # An axis says what it is and in what unit.
        if not name.startswith(("figures/map", "figures/matrix")):
            assert re.search(r"millisec|ms |% of|seconds|a second|per command", svg)
    # On the page they are in its colours, so that they turn dark with it.
    inline = "".join(re.findall(r"<svg.*?</svg>", report["index.html"].decode(), re.DOTALL))
    assert "var(--c1)" in inline
    assert not re.search(r"#[0-9a-fA-F]{6}\b", inline)


_AGAIN = """
import hashlib, sys
from paxos.compare import Comparison
from paxos.compare.figures import pictures_of
from paxos.compare.figures_style import rendered
for picture in pictures_of(Comparison.from_json(sys.stdin.read())):
    if picture.name in sys.argv[1:]:
        drawn = rendered(picture.draw, picture.height_in)
        print(picture.name, hashlib.sha256(drawn.svg.encode() + drawn.png).hexdigest())
"""


@plotted
def test_the_same_comparison_gives_the_same_bytes(comparison: Comparison, report: dict[str, bytes]) -> None:
    names = ["map", "cdf-100", "faults-sites-0"]
    ran = subprocess.run(
        [sys.executable, "-c", _AGAIN, *names],
        input=comparison.dumps(),
        env={**os.environ, "PYTHONHASHSEED": "77", "SOURCE_DATE_EPOCH": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    drawn = {
        name: hashlib.sha256(report[f"figures/{name}.svg"] + report[f"figures/{name}.png"]).hexdigest()
        for name in names
    }
    assert dict(line.split() for line in ran.stdout.splitlines()) == drawn
    # No date, no version, nothing of whoever drew it.
    for name, data in report.items():
        assert b"matplotlib.org" not in data, name
        assert str(Path.home()).encode() not in data, name


def _linear(part: str) -> float:
    value = int(part, 16) / 255
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _rgb(colour: str) -> tuple[float, float, float]:
    return _linear(colour[1:3]), _linear(colour[3:5]), _linear(colour[5:7])


def _contrast(one: str, other: str) -> float:
    """As WCAG 2 has it: 1 for the same, 21 for black on white."""
    lights = sorted(
        (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05 for r, g, b in map(_rgb, (one, other))), reverse=True
    )
    return lights[0] / lights[1]


#: How three kinds of colour-blind people see linear red, green and blue (Machado, Oliveira, Fernandes 2009).
SEEN: dict[str, tuple[tuple[float, ...], ...]] = {
    "everybody": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900),
    ),
}  # fmt: skip


def _lab(colour: str, seen: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    """In CIE L*a*b*, where a distance of about 2 can just be told."""
    r, g, b = (
        max(sum(weight * part for weight, part in zip(row, _rgb(colour), strict=True)), 0) for row in seen
    )
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (each ** (1 / 3) if each > 0.008856 else 7.787 * each + 16 / 116 for each in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("mode", SCHEMES)
def test_colours_stand_out_and_are_told_apart_by_colour_blind_people(mode: str) -> None:
    pick: Callable[[Any], str] = lambda colour: getattr(colour, mode)  # noqa: E731
    surface = pick(PALETTE["surface"])
    for name, colour in PALETTE.items():
        if name not in ("surface", "grid"):
            assert _contrast(pick(colour), surface) >= (4.5 if name in ("ink", "muted") else 3.0), name
    for who, seen in SEEN.items():
        for one, other in itertools.combinations(SERIES, 2):
            a, b = (_lab(pick(PALETTE[each]), seen) for each in (one, other))
            # The first four are those of the bundled protocols.
            least = 25 if {one, other} <= set(SERIES[:4]) else 12
            assert sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5 >= least, (who, one, other)


# --- files ------------------------------------------------------------------------------------------------


def test_a_report_takes_the_place_of_an_older_one_and_of_nothing_else(
    comparison: Comparison, undrawn: None, tmp_path: Path
) -> None:
    old = {**report_of(comparison), "figures/cdf-7.svg": b"<svg/>", "figures/cdf-7.png": b"old"}
    write_files(old, tmp_path / "report")
    (tmp_path / "report" / "figures" / "my-own.svg").write_text("mine")
    (tmp_path / "report" / "notes.txt").write_text("mine")
    write_files({**report_of(comparison), "figures/cdf-0.svg": b"<svg/>"}, tmp_path / "report")
    kept = {str(each.relative_to(tmp_path / "report")) for each in (tmp_path / "report").rglob("*.*")}
    assert kept == {
        "comparison.csv", "comparison.json", "index.html", "notes.txt", "figures/cdf-0.svg",
        "figures/my-own.svg",
    }  # fmt: skip
    assert [each.name for each in tmp_path.iterdir()] == ["report"]


@plotted
def test_nothing_is_written_where_a_figure_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("paxos.compare.report.rendered", fail)
    arguments = ["--protocols", "paxos", "--commands", "4", "--clients", "2", "--workers", "1"]
    assert main(["compare", *arguments, "--out", str(tmp_path / "report")]) != EXIT_DONE
    assert list(tmp_path.iterdir()) == []


# --- presets ----------------------------------------------------------------------------------------------


@plotted
def test_a_preset_has_a_page_for_each_comparison_and_what_was_published_first(
    comparison: Comparison, undrawn: None
) -> None:
    rows = (
        Row(3, "epaxos", 0, "CA", 77, 93, 85, 85, 85, True),
        Row(3, "epaxos", 100, "CA", None, None, 170, 170, 170, True, "two round trips"),
    )
    result = PresetResult("some", "A figure of a paper", (comparison, comparison), rows)
    report = preset_report(result)
    page, part = report["index.html"].decode(), report["part-2/index.html"].decode()
    assert 'href="part-2/index.html"' in page
    assert 'href="../index.html"' in part
    assert "<h1>A figure of a paper</h1>" in page
    assert page.index('id="published"') < page.index('id="glance"')
    assert "two round trips" in page
    assert 'id="published"' not in part
    (picture,) = pictures_of_rows(rows)
    svg = rendered(picture.draw, picture.height_in).svg
    assert "published" in svg
    assert "measured" in svg
    assert "CA  epaxos 100 %" in svg
