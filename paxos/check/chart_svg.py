"""Message-sequence charts as SVG: one self-contained file for a page, readable on light and dark ground.

Written by hand, without a library: rectangles, lines and texts.  Colours follow the reader's preference
where the viewer knows it, and are dark on light where it does not.
"""

import textwrap
from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

from paxos.check.chart import CLIENTS, Chart, ChartEvent

__all__ = ["svg_chart"]

_ROW: Final = 30
_TOP: Final = 64
_MARGIN: Final = 90
#: About how wide a character is, pixels.
_CHARACTER: Final = 7.0
_GAP_MIN: Final = 130
_GAP_MAX: Final = 260

_STYLE: Final = """
text { font: 12px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #1f2328; }
.ground { fill: #ffffff; }
.lane { stroke: #8c959f; stroke-width: 1; }
.down { stroke: #8c959f; stroke-width: 1; stroke-dasharray: 2 6; }
.head { fill: #eaeef2; stroke: #8c959f; }
.arrow { stroke: #0550ae; stroke-width: 1.4; fill: none; }
.tip { fill: #0550ae; }
.client { stroke: #57606a; stroke-dasharray: 5 3; }
.clienttip { fill: #57606a; }
.halo { fill: #ffffff; }
.decide { fill: #1a7f37; }
.crash { fill: #cf222e; }
.note { fill: #57606a; }
.broken { fill: #ffebe9; stroke: #cf222e; }
.title { font-weight: bold; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .ground, .halo { fill: #0d1117; }
  .head { fill: #21262d; }
  .arrow { stroke: #79c0ff; } .tip { fill: #79c0ff; }
  .client { stroke: #8b949e; } .clienttip, .note { fill: #8b949e; }
  .decide { fill: #3fb950; } .crash { fill: #ff7b72; }
  .broken { fill: #3d1518; stroke: #ff7b72; }
}
"""


def svg_chart(chart: Chart) -> str:
    """The chart as an SVG document."""
    gap = _gap(chart)
    places = {lane: _MARGIN + at * gap for at, lane in enumerate(chart.lanes)}
    width = round(max(places.values()) + _MARGIN + 60)
    bottom = _TOP + _ROW * (len(chart.events) + 1)
    broken = textwrap.wrap(chart.broken, max(int((width - 60) / _CHARACTER), 30))
    height = bottom + 16 + (20 * len(broken) + 34 if broken else 0)
    box = f'width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(chart.title or 'message sequence chart')}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" {box}/>',
        _text(14, 20, chart.title, "title"),
    ]
    parts += _lanes(chart, places, bottom)
    for row, event in enumerate(chart.events):
        parts += _row(event, places, _TOP + _ROW * (row + 1))
    if broken:
        box = f'width="{width - 28}" height="{20 * len(broken) + 30}"'
        parts.append(f'<rect class="broken" x="14" y="{bottom}" {box} rx="6"/>')
        parts.append(_text(28, bottom + 20, "violated", "title"))
        parts += [_text(28, bottom + 40 + 20 * at, line) for at, line in enumerate(broken)]
    return "\n".join([*filter(None, parts), "</svg>"]) + "\n"


def _gap(chart: Chart) -> float:
    """How far lanes are apart: so far that what is written between two fits."""
    position = {lane: at for at, lane in enumerate(chart.lanes)}
    need = float(_GAP_MIN)
    for event in chart.events:
        if event.kind == "arrow":
            hops = max(abs(position[event.to] - position[event.lane]), 1)
            need = max(need, (len(event.text) * _CHARACTER + 44) / hops)
    return min(need, _GAP_MAX)


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    if not text:
        return ""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _lanes(chart: Chart, places: Mapping[str, float], bottom: float) -> list[str]:
    parts = []
    for lane, x in places.items():
        since, up = float(_TOP), True
        for row, event in enumerate(chart.events):
            if event.lane == lane and event.kind in ("crash", "restart"):
                y = _TOP + _ROW * (row + 1)
                parts.append(_life(x, since, y, up))
                since, up = y, event.kind == "restart"
        parts.append(_life(x, since, bottom - 8, up))
        parts.append(f'<rect class="head" x="{x - 46:.1f}" y="{_TOP - 28}" width="92" height="26" rx="5"/>')
        parts.append(_text(x, _TOP - 11, lane, "", "middle"))
    return parts


def _life(x: float, begin: float, end: float, up: bool) -> str:
    return f'<line class="{"lane" if up else "down"}" x1="{x:.1f}" y1="{begin}" x2="{x:.1f}" y2="{end}"/>'


def _row(event: ChartEvent, places: Mapping[str, float], y: float) -> list[str]:
    if event.kind == "gap":
        return [_text(14, y, f"... {event.text} ...", "note")]
    x = places[event.lane]
    if event.kind == "arrow":
        return _arrow(x, places[event.to], y, event)
    marks = {"decide": "★", "crash": "✗", "restart": "▲"}
    kind = event.kind if event.kind in ("decide", "crash") else "note"
    text = f"{marks.get(event.kind, '')} {event.text}".strip()
    wide = len(text) * _CHARACTER + 8
    halo = f'<rect class="halo" x="{x + 9:.1f}" y="{y - 11}" width="{wide:.1f}" height="16"/>'
    dot = f'<circle class="{kind}" cx="{x:.1f}" cy="{y - 4}" r="{5 if kind != "note" else 3.5}"/>'
    return [halo, dot, _text(x + 12, y, text, kind)]


def _arrow(begin: float, end: float, y: float, event: ChartEvent) -> list[str]:
    right = end > begin
    tip = end - 9 if right else end + 9
    client = event.lane == CLIENTS
    kind = "arrow client" if client else "arrow"
    line = f'<line class="{kind}" x1="{begin:.1f}" y1="{y}" x2="{tip:.1f}" y2="{y}"/>'
    head = (
        f'<path class="{"clienttip" if client else "tip"}" '
        f'd="M {end:.1f} {y} L {tip:.1f} {y - 4.5} L {tip:.1f} {y + 4.5} Z"/>'
    )
    wide = len(event.text) * _CHARACTER
    # Beside its sender, where the eye begins to read the row; on the lanes it crosses it needs a ground.
    x = begin + 12 if right else begin - 12 - wide
    halo = f'<rect class="halo" x="{x - 2:.1f}" y="{y - 18}" width="{wide + 4:.1f}" height="14"/>'
    return [line, head, halo, _text(x, y - 6, event.text)]
