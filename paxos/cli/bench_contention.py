"""`paxos bench contention`: one log in which several sites place commands at once, in virtual time.

What is printed depends on the code alone and not on the machine: for one to all sites submitting, now and
then and often, how many slots collide and are lost, and how long a command takes, by fast ballots with each
kind of recovery, with classic rounds after collisions, and behind a leader.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from paxos.cli.output import Output
from paxos.contract import find_protocol

if TYPE_CHECKING:
    from paxos.sim.log_proposers_bench import LogProposerFigures

__all__ = ["bench_contention"]

_PLACE: Final = "nsdi21"
_SITES: Final = 5
_COMMANDS: Final = 600
#: Seconds between two commands of one site, on average.
_APART_S: Final = (1.0, 0.1)
#: The site that makes the mean least behind a leader.
_LEADER: Final = 3
#: What is measured: protocol, what it is called, settings, and who leads.
_VARIANTS: Final[tuple[tuple[str, str, Mapping[str, Any], int | None], ...]] = (
    ("fastpaxos-log", "coordinated", {"collisions_before_classic": 0}, None),
    (
        "fastpaxos-log",
        "uncoordinated",
        {"collisions_before_classic": 0, "recovery": "uncoordinated"},
        None,
    ),
    ("fastpaxos-log", "classic after 3", {"collisions_before_classic": 3}, None),
    ("fastpaxos-log", "classic after 1", {}, None),
    ("multipaxos", "led from OR", {}, _LEADER),
)


def bench_contention(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    """Measure a log into which several sites write at once: arguments are `paxos bench`'s."""
    from paxos.sim.log_proposers_bench import bench_log_proposers as measure

    commands = arguments.operations or _COMMANDS
    figures: list[tuple[float, LogProposerFigures]] = []
    with out.progress("contention", len(_VARIANTS) * len(_APART_S) * _SITES) as bar:
        for protocol, variant, changed, leader in _VARIANTS:
            settings = find_protocol(protocol).settings(**changed)
            for apart_s in _APART_S:
                for proposers in range(1, _SITES + 1):
                    found = measure(
                        protocol,
                        _PLACE,
                        proposers,
                        commands=commands,
                        apart_s=apart_s,
                        settings=settings,
                        leader=leader,
                        variant=variant,
                    )
                    figures.append((apart_s, found))
                    bar.advance()
    columns = ("what", "sites", "collisions", "slots lost", "applied p50", "p99", "messages")
    for apart_s in _APART_S:
        rows = [_row(each) for of, each in figures if of == apart_s]
        out.table(
            f"a log on {_PLACE}, a command of each site every {apart_s:g} s; for 100 commands, and "
            "milliseconds:",
            columns,
            rows,
        )
    if arguments.chart:
        from paxos.cli.proposers_chart import draw_lines

        Path(arguments.chart).write_text(draw_lines(_panels(figures)), encoding="utf-8")
    return {
        "commands": commands,
        "contention": [{"apart_s": apart_s, **attrs.asdict(each)} for apart_s, each in figures],
    }


def _panels(
    figures: "list[tuple[float, LogProposerFigures]]",
) -> list[tuple[str, list[tuple[str, list[float]]]]]:
    """What is drawn: the median latency, for each rate."""
    panels = []
    for apart_s in _APART_S:
        of: dict[str, list[float]] = {}
        for apart, each in figures:
            if apart == apart_s:
                of.setdefault(f"{each.protocol}, {each.variant}", []).append(each.learn_ms[0])
        panels.append(
            (f"applied after, ms (median); a command of each site every {apart_s:g} s", list(of.items()))
        )
    return panels


def _row(each: "LogProposerFigures") -> tuple[str, ...]:
    return (
        f"{each.protocol}, {each.variant}",
        str(each.proposers),
        f"{each.collided:.1f}",
        f"{each.lost:.1f}",
        *(f"{ms:.0f}" for ms in each.learn_ms),
        f"{each.messages:.0f}",
    )
