"""A map of sites that nobody told where they are: only how long it is from each to each.

A plane has too few directions for most matrices of round trips, so the map is what comes nearest, and the
page says so.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from paxos.compare.figures_draw import short_name
from paxos.compare.figures_style import PALETTE
from paxos.compare.model import Place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_map", "flat_positions"]

_INK: Final = PALETTE["ink"].light
_MUTED: Final = PALETTE["muted"].light
_GRID: Final = PALETTE["grid"].light
_BLUE: Final = PALETTE["c1"].light
#: How wide the sites stand apart.
_WIDTH_IN: Final = 3.4
_POINTS: Final = 72
#: About what a letter of a label takes, and a line, and half a site's mark; points.
_LETTER: Final = 5.6
_LINE: Final = 11.0
_MARK: Final = 4.5


def flat_positions(place: Place) -> list[tuple[float, float]]:
    """Where sites are on a plane whose distances are the round trips as nearly as can be.

    Classical scaling (Torgerson 1952), refined by majorisation (de Leeuw 1977). Turned so that the longest
    distance lies flat.

    Returns:
        Positions, milliseconds.
    """
    import numpy as np

    rtt = np.array(place.rtt_ms, dtype=float)
    many = len(rtt)
    centred = np.eye(many) - 1 / many
    _, vectors = np.linalg.eigh(-0.5 * centred @ rtt**2 @ centred)
    values = np.linalg.eigvalsh(-0.5 * centred @ rtt**2 @ centred)
    at = vectors[:, [-1, -2]] * np.sqrt(np.maximum(values[[-1, -2]], 0.0))

    def apart(points: Any) -> Any:
        return np.sqrt(((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=2))

    for _ in range(300):
        now = apart(at)
        ratio = np.divide(rtt, now, out=np.zeros_like(rtt), where=now > 1e-9)
        step = -ratio
        step[np.diag_indices(many)] = ratio.sum(axis=1)
        at = step @ at / many
    at -= at.mean(axis=0)
    # Mirrored the one way that does not hang on the sign that a solver happens to choose.
    _, _, axes = np.linalg.svd(at, full_matrices=False)
    at = at @ axes.T
    for column in range(2):
        first = next((value for value in at[:, column] if abs(value) > 1e-6), 1.0)
        at[:, column] *= -1 if first > 0 else 1
    return [(round(float(x), 1), round(float(y), 1)) for x, y in at]


def draw_map(figure: "Figure", place: Place, positions: Sequence[tuple[float, float]]) -> None:
    """The sites on a plane, with a rule to measure by."""
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_aspect("equal")
    xs, ys = [x for x, _ in positions], [y for _, y in positions]
    width, height = max(xs) - min(xs) or 1.0, max(ys) - min(ys)
    figure.set_figheight(min(max(_WIDTH_IN * height / width + 1.1, 1.6), 4.2))
    for at, (ax, ay) in enumerate(positions):
        for bx, by in positions[at + 1 :]:
            axes.plot([ax, bx], [ay, by], color=_GRID, linewidth=0.8, zorder=1)
    for name, (x, y) in zip(place.sites, positions, strict=True):
        leads = name == place.leader
        axes.plot([x], [y], "*" if leads else "o", markersize=12 if leads else 7, color=_BLUE, zorder=3)
    names = list(map(short_name, place.sites))
    labels = _labels(names, positions, _WIDTH_IN * _POINTS / width)
    for name, point, beside in zip(names, positions, labels, strict=True):
        axes.annotate(
            name,
            point,
            (beside.x, beside.y),
            textcoords="offset points",
            ha=beside.across,
            va=beside.up,
            zorder=4,
        )
    rule = next(
        (m * 10.0**p for p in range(4, -4, -1) for m in (5, 2, 1) if m * 10.0**p <= width / 3), width / 3
    )
    left, below = min(xs), min(ys) - 0.14 * width
    axes.plot([left, left + rule], [below, below], color=_INK, linewidth=1.6)
    axes.text(left, below - 0.02 * width, f"{rule:g} ms there and back", fontsize=8, va="top", color=_MUTED)
    axes.margins(0.14, 0.12)


# --- labels -------------------------------------------------------------------------------------------------


class _Box(NamedTuple):
    """A rectangle, points."""

    left: float
    low: float
    right: float
    high: float

    def common(self, other: "_Box") -> float:
        """The area that both cover."""
        across = min(self.right, other.right) - max(self.left, other.left)
        up = min(self.high, other.high) - max(self.low, other.low)
        return max(across, 0.0) * max(up, 0.0)


class _Beside(NamedTuple):
    """Where a label stands beside its point: its offset in points, and which of its edges is there."""

    x: float
    y: float
    across: Literal["left", "center", "right"]
    up: Literal["bottom", "center", "top"]

    def box(self, x: float, y: float, letters: int) -> _Box:
        """What a label of so many letters covers there."""
        wide = _LETTER * letters
        left = x + self.x - {"left": 0.0, "center": 0.5, "right": 1.0}[self.across] * wide
        low = y + self.y - {"bottom": 0.0, "center": 0.5, "top": 1.0}[self.up] * _LINE
        return _Box(left, low, left + wide, low + _LINE)


#: Above, below, to the right, to the left.
_BESIDE: Final = (
    _Beside(0, 6, "center", "bottom"),
    _Beside(0, -7, "center", "top"),
    _Beside(7, 0, "left", "center"),
    _Beside(-7, 0, "right", "center"),
)


def _labels(
    names: Sequence[str], positions: Sequence[tuple[float, float]], points_per_ms: float
) -> list[_Beside]:
    """Where names stand, so that none lies on another or on a point, as far as that can be."""
    at = [(x * points_per_ms, y * points_per_ms) for x, y in positions]
    taken = [_Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in at]
    found = []
    for name, (x, y) in zip(names, at, strict=True):
        boxes = [beside.box(x, y, len(name)) for beside in _BESIDE]
        covered = [sum(map(box.common, taken)) for box in boxes]
        best = covered.index(min(covered))
        taken.append(boxes[best])
        found.append(_BESIDE[best])
    return found
