"""What `paxos bench proposers` measured, drawn: latency and collisions by how many sites propose at once.

Two panels beside each other, a line for each thing measured; scalable, of plain shapes and text, and the same
for the same figures.
"""

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["draw_lines"]

_WIDTH: Final = 380
_HEIGHT: Final = 260
_LEFT: Final = 52
_TOP: Final = 34
_LEGEND: Final = 18
_FONT: Final = 'font-family="sans-serif" font-size="12"'
#: Told apart also by those who see few colours.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#666666", "#e69f00")
_TICKS: Final = 4


def draw_lines(panels: Sequence[tuple[str, Sequence[tuple[str, Sequence[float]]]]], first: int = 1) -> str:
    """An SVG with a panel for each title, and in it a line for each name, over `first`, `first` + 1, ..."""
    names = [name for name, _ in panels[0][1]]
    height = _TOP + _HEIGHT + 44 + _LEGEND * len(names)
    width = len(panels) * (_LEFT + _WIDTH + 20)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (title, lines) in enumerate(panels):
        out += _panel(title, lines, number * (_LEFT + _WIDTH + 20) + _LEFT, first)
    for number, name in enumerate(names):
        y = _TOP + _HEIGHT + 50 + number * _LEGEND
        colour = _COLOURS[number % len(_COLOURS)]
        out.append(f'<path d="M{_LEFT} {y - 4}h24" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{_LEFT + 32}" y="{y}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _panel(title: str, lines: Sequence[tuple[str, Sequence[float]]], left: int, first: int) -> list[str]:
    most = max((value for _, values in lines for value in values), default=0.0)
    step = next(
        unit
        for unit in (5, 10, 25, 50, 75, 100, 125, 150, 200, 250, 500, 1000, 10**9)
        if unit * _TICKS >= most
    )
    top, steps = step * _TICKS, max(len(values) for _, values in lines) - 1
    bottom = _TOP + _HEIGHT

    def at(place: int, value: float) -> tuple[float, float]:
        return round(left + 20 + place * (_WIDTH - 40) / max(steps, 1), 1), round(
            bottom - _HEIGHT * value / top, 1
        )

    out = [f'<text x="{left}" y="{_TOP - 14}" font-weight="bold">{escape(title)}</text>']
    for tick in range(_TICKS + 1):
        _, y = at(0, tick * step)
        out.append(f'<line x1="{left}" y1="{y}" x2="{left + _WIDTH}" y2="{y}" stroke="#dddddd"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tick * step}</text>')
    for place in range(steps + 1):
        x, _ = at(place, 0)
        out.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{first + place}</text>')
    for number, (_, values) in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [at(place, value) for place, value in enumerate(values)]
        path = " ".join(f"{x},{y}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
    return out
