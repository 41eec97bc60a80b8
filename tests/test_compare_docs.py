"""docs/compare.md: its tables are what the commands print, and its command lines are taken."""

import re
from pathlib import Path

import pytest

from paxos import compare
from paxos.cli.command import build_parser
from paxos.compare import Latency, advise, find_place
from paxos.compare.faults import PRESETS as FAULTS
from paxos.compare.presets import PRESETS

pytestmark = pytest.mark.once

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "compare.md").read_text(encoding="utf-8")


def rows_after(words: str) -> list[list[str]]:
    """The rows of the first table after these words, without its head."""
    lines = PAGE[PAGE.index(words) :].splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("|"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first + 2 :]]
    return rows[: next(at for at, line in enumerate([*lines[first + 2 :], ""]) if not line.startswith("|"))]


def test_the_latencies_are_what_is_measured() -> None:
    found = compare.run(["multipaxos", "epaxos"], conflict=[0, 2, 100], commands=100)

    def ms(latency: Latency | None, *names: str) -> str:
        assert latency is not None
        return ", ".join(f"{getattr(latency, name):.0f}" for name in names)

    expected = []
    for site in found.place.sites:
        none, few, full = (found.find("epaxos", share).site[site] for share in (0, 2, 100))
        expected.append(
            [
                site,
                f"{none.bound_ms:.0f}",
                ms(none.commit_ms, "p50"),
                ms(few.commit_ms, "p50", "p99"),
                ms(few.execute_ms, "p99"),
                ms(full.commit_ms, "p50"),
                ms(full.execute_ms, "p50", "p99"),
                ms(found.find("multipaxos", 0).site[site].commit_ms, "p50"),
            ]
        )
    assert rows_after("Medians of 100 commands a site") == expected


def test_the_advice_is_what_is_computed() -> None:
    names = {"epaxos": "EPaxos", "fastpaxos": "Fast Paxos", "multipaxos": "Multi-Paxos"}
    choices = advise(find_place("nsdi21"), 2, list(names)).choices
    assert rows_after("paxos advise --topology nsdi21 --failures 2") == [
        [
            names[choice.protocol],
            choice.leader or "",
            choice.quorums,
            f"{choice.mean_ms:.1f}",
            f"{choice.worst_ms:.0f}",
            "" if choice.conflict_ms is None else f"{choice.conflict_ms:.1f}",
            "" if choice.failed_ms is None else f"{choice.failed_ms:.1f}",
        ]
        for choice in choices
    ]


def test_every_command_line_is_taken() -> None:
    lines = re.findall(r"^    paxos ((?:compare|advise|explain|bench) .*)$", PAGE, re.MULTILINE)
    assert len(lines) > 8
    parser = build_parser()
    for line in lines:
        arguments = parser.parse_args(line.split())
        assert getattr(arguments, "preset", None) in (None, *PRESETS)
    assert all(f"`{name}`" in PAGE for name in FAULTS)
