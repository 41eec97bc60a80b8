"""How figures look, and how matplotlib makes SVG and PNG of them.

One palette serves light and dark pages: a figure is drawn in the light colours, and where its SVG stands in a
page each colour becomes the page's own (`var(--c1)`), which follows the reader's choice.  The colours are
apart for people who are colour-blind, and what a colour says a marker or the order says too.

The same figure gives the same bytes: no dates, no random identifiers, nothing of the user's own settings.
Only this room and `figures_draw` know matplotlib, which is an extra; it is imported when something is drawn.
"""

import importlib.util
import io
import re
import warnings
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "EXTRA",
    "MARKERS",
    "PALETTE",
    "SERIES",
    "Colour",
    "Drawn",
    "can_draw",
    "css_variables",
    "inlined",
    "rendered",
]

#: What to install for figures.
EXTRA: Final = "paxos-family[plot]"


class Colour(NamedTuple):
    """One colour: as `#rrggbb` on a light page and on a dark one."""

    light: str
    dark: str


#: Every colour of a figure, by the name that it has in a page.
PALETTE: Final[Mapping[str, Colour]] = {
    "surface": Colour("#fffffe", "#171c24"),
    "ink": Colour("#1a2230", "#e8ecf2"),
    "muted": Colour("#566173", "#a3aebd"),
    "grid": Colour("#dde2ea", "#343d4a"),
    # Blue, orange, green, purple, ochre, steel: apart in lightness too, which everybody sees.
    "c1": Colour("#0b3fb5", "#5c92ff"),
    "c2": Colour("#e35f0e", "#ff7a52"),
    "c3": Colour("#14997a", "#4fdfa8"),
    "c4": Colour("#5c1a55", "#e29ada"),
    "c5": Colour("#675310", "#eed94a"),
    "c6": Colour("#246d8c", "#d3f3fa"),
}
#: The colours of protocols, in order, and their markers.
SERIES: Final = tuple(name for name in PALETTE if name.startswith("c"))
MARKERS: Final = ("o", "s", "^", "D", "v", "P")

_WIDTH_IN: Final = 4.3
_PNG_DPI: Final = 200
_FONTS: Final = "'DejaVu Sans', Verdana, sans-serif"
_SETTINGS: Final[Mapping[str, object]] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "paxos-family",
    "figure.facecolor": PALETTE["surface"].light,
    "savefig.facecolor": PALETTE["surface"].light,
    "axes.facecolor": PALETTE["surface"].light,
    "axes.edgecolor": PALETTE["grid"].light,
    "axes.labelcolor": PALETTE["muted"].light,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": PALETTE["grid"].light,
    "grid.linewidth": 0.7,
    "text.color": PALETTE["ink"].light,
    "xtick.color": PALETTE["grid"].light,
    "ytick.color": PALETTE["grid"].light,
    "xtick.labelcolor": PALETTE["muted"].light,
    "ytick.labelcolor": PALETTE["muted"].light,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "lines.solid_capstyle": "butt",
}


class Drawn(NamedTuple):
    """A figure as files have it.

    Args:
        svg: with light colours, on its own.
        png: the same as a raster.
    """

    svg: str
    png: bytes


def can_draw() -> bool:
    """Whether the extra that draws is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def rendered(draw: "Callable[[Figure], None]", height_in: float) -> Drawn:
    """Draw one figure.

    Args:
        draw: puts everything on an empty figure.
        height_in: how high it is, inches; all are of one width, which a phone can show.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A site's name may have letters that the raster's font lacks; the SVG is shown in the reader's own.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)  # type: ignore[arg-type]  # the names are plain strings here
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure)
        vector, raster = io.StringIO(), io.BytesIO()
        # By the canvases themselves: `savefig` draws everything once more each time, to measure it.
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(vector, metadata={"Date": None, "Creator": None})
        # Everything has its place now; to find it again would take most of the time.
        figure.set_layout_engine("none")
        figure.set_dpi(_PNG_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.print_png(raster, metadata={"Software": None})
    return Drawn(_tidied(vector.getvalue()), raster.getvalue())


def _tidied(svg: str) -> str:
    """Without the prologue that browsers do not need, and with fonts to fall back on."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = svg.replace("'DejaVu Sans'", _FONTS)
    # What nothing refers to is no more than weight.
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    # Hundredths of a point are finer than any eye, and do not hang on the last digit of a sum.
    svg = re.sub(r' d="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    return re.sub(r"\n\s*", "\n", svg)


def inlined(svg: str, name: str, title: str, described: str) -> str:
    """An SVG for the midst of a page: in its colours, with names of its own, and with words for who hears it.

    Args:
        svg: of `rendered`.
        name: of the figure, no other on the page has it.
        title: of the figure.
        described: what it shows, in a sentence or more.
    """
    for token, colour in PALETTE.items():
        svg = svg.replace(colour.light, f"var(--{token})")
    svg = re.sub(r' id="([^"]*)"', rf' id="{name}-\1"', svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", svg)
    box = re.search(r'viewBox="([^"]*)"', svg)
    opening = (
        f'<svg viewBox="{box[1] if box else ""}" role="img" '
        f'aria-labelledby="{name}-title {name}-words" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-words">{escape(described)}</desc>'
    )
    return re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1)


def css_variables(*, dark: bool) -> str:
    """The palette as CSS declares it."""
    return " ".join(
        f"--{token}: {colour.dark if dark else colour.light};" for token, colour in PALETTE.items()
    )
