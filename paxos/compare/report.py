"""The report of a comparison: a page, its figures and its data, as files by name.

    write_files(report_of(comparison), Path("report"))

What `--out` writes is made here in memory, all of it, before anything touches the disk.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from paxos.compare.explain import Explanation
from paxos.compare.figures import Picture, pictures_of, pictures_of_rows
from paxos.compare.figures_style import can_draw, rendered
from paxos.compare.model import Comparison
from paxos.compare.page import FIGURES, page_of
from paxos.compare.tables import Table, csv_of

if TYPE_CHECKING:
    from paxos.compare.presets import PresetResult

__all__ = ["COMPARISON", "FIGURES", "figures_in", "preset_report", "report_of"]

#: The data; a directory that has it was written by this.
COMPARISON: Final = "comparison.json"
_PAGE: Final = "index.html"


def figures_in(*comparisons: Comparison) -> int:
    """How many figures the reports of these have; none where the extra that draws is not installed."""
    return sum(len(pictures_of(each)) for each in comparisons) if can_draw() else 0


def report_of(
    comparison: Comparison,
    *,
    title: str = "",
    tables: Sequence[Table] = (),
    pictures: Sequence[Picture] = (),
    links: Mapping[str, str] | None = None,
    explanations: Sequence[Explanation] = (),
    advance: Callable[[], None] | None = None,
) -> dict[str, bytes]:
    """Every file of a report, by name.

    Args:
        comparison: what was found.
        title: what the page is called; empty for the protocols' names.
        tables, pictures: what the page shows first, beside the comparison's own.
        links: other pages that it names, by address.
        explanations: of single commands, as `paxos.compare.explain.explain_each` gives them.
        advance: called after each figure.

    Returns:
        The page, the data, and, where the extra `plot` is installed, each figure as SVG and as PNG. The same
        comparison gives the same bytes.
    """
    contents = {
        COMPARISON: comparison.dumps().encode() + b"\n",
        "comparison.csv": csv_of(comparison).encode(),
    }
    drawn = []
    for picture in [*pictures, *pictures_of(comparison)] if can_draw() else []:
        made = rendered(picture.draw, picture.height_in)
        contents[f"{FIGURES}/{picture.name}.svg"] = made.svg.encode()
        contents[f"{FIGURES}/{picture.name}.png"] = made.png
        drawn.append((picture, made.svg))
        if advance is not None:
            advance()
    page = page_of(
        comparison,
        drawn,
        can_draw=can_draw(),
        title=title,
        tables=tables,
        links=links,
        explanations=explanations,
    )
    # The page is last: who finds it finds all that it speaks of.
    contents[_PAGE] = page.encode()
    return contents


def preset_report(result: "PresetResult", advance: Callable[[], None] | None = None) -> dict[str, bytes]:
    """Every file of a preset's report: its main comparison, and the others in directories of their own.

    Args:
        result: what the preset gave.
        advance: called after each figure.
    """
    from paxos.compare.presets import table_of

    main, *others = result.comparisons
    contents: dict[str, bytes] = {}
    links = {}
    for number, other in enumerate(others, 2):
        part = f"part-{number}"
        links[f"{part}/{_PAGE}"] = f"the same with {len(other.place.sites)} sites"
        back = {f"../{_PAGE}": "all of it"}
        made = report_of(other, title=result.title, links=back, advance=advance)
        contents |= {f"{part}/{name}": content for name, content in made.items()}
    return contents | report_of(
        main,
        title=result.title,
        tables=(table_of(result),),
        pictures=pictures_of_rows(result.rows),
        links=links,
        advance=advance,
    )
