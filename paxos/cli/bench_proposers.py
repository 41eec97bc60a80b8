"""`paxos bench proposers`: decrees that several sites propose at once, in virtual time.

What is printed depends on the code alone and not on the machine: for one to all sites proposing, how often
they collide and how long it takes, by fast ballots with each kind of recovery, and by classic ones.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from paxos.cli.output import Output
from paxos.contract import find_protocol

if TYPE_CHECKING:
    from paxos.sim.proposers_bench import ProposerFigures

__all__ = ["bench_proposers"]

_PLACE: Final = "nsdi21"
_SITES: Final = 5
_DECREES: Final = 200
#: Proposers begin together, or within so many milliseconds.
_SPREADS_MS: Final = (0.0, 100.0)
#: Where one proposes for all, it is the site that makes the mean least.
_LEADER: Final = 3
_FOREVER_S: Final = 86_400.0
#: What is measured: protocol, what it is called, settings.
_VARIANTS: Final[tuple[tuple[str, str, Mapping[str, Any]], ...]] = (
    ("fastpaxos", "coordinated", {"collisions_before_classic": 0}),
    ("fastpaxos", "uncoordinated", {"collisions_before_classic": 0, "recovery": "uncoordinated"}),
    ("fastpaxos", "classic after 3 collisions", {"quiet_s": _FOREVER_S}),
    ("paxos", "each by itself", {}),
    ("paxos", "one for all", {"distinguished": _LEADER}),
)


def bench_proposers(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    """Measure decrees proposed by several sites at once: arguments are `paxos bench`'s."""
    from paxos.sim.proposers_bench import bench_proposers as measure

    decrees = arguments.operations or _DECREES
    figures: list[tuple[float, ProposerFigures]] = []
    with out.progress("proposers", len(_VARIANTS) * len(_SPREADS_MS) * _SITES) as bar:
        for protocol, variant, changed in _VARIANTS:
            settings = find_protocol(protocol).settings(**changed)
            for spread_ms in _SPREADS_MS:
                for proposers in range(1, _SITES + 1):
                    found = measure(
                        protocol,
                        _PLACE,
                        proposers,
                        decrees=decrees,
                        spread_ms=spread_ms,
                        settings=settings,
                        variant=variant,
                    )
                    figures.append((spread_ms, found))
                    bar.advance()
    columns = ("what", "proposers", "collide", "fast", "learn p50", "p99", "last p50", "p99", "messages")
    for spread_ms in _SPREADS_MS:
        rows = [_row(each) for of, each in figures if of == spread_ms]
        when = "together" if not spread_ms else f"within {spread_ms:g} ms"
        out.table(f"decrees on {_PLACE}, proposed {when}, milliseconds:", columns, rows)
    if arguments.chart:
        from paxos.cli.proposers_chart import draw_lines

        Path(arguments.chart).write_text(draw_lines(_panels(figures)), encoding="utf-8")
    return {
        "decrees": decrees,
        "proposers": [{"spread_ms": spread_ms, **attrs.asdict(each)} for spread_ms, each in figures],
    }


def _panels(
    figures: "Sequence[tuple[float, ProposerFigures]]",
) -> list[tuple[str, list[tuple[str, list[float]]]]]:
    """What is drawn: of what was proposed within some time, the median and how much collided."""
    lasting = [each for spread_ms, each in figures if spread_ms]
    names = dict.fromkeys(f"{each.protocol}, {each.variant}" for each in lasting)
    of = {name: [each for each in lasting if f"{each.protocol}, {each.variant}" == name] for name in names}
    when = f"proposers within {_SPREADS_MS[-1]:g} ms"
    return [
        (
            f"learned after, ms (median); {when}",
            [(n, [e.learn_ms[0] for e in found]) for n, found in of.items()],
        ),
        (f"collided or outbid, %; {when}", [(n, [e.collided for e in found]) for n, found in of.items()]),
    ]


def _row(each: "ProposerFigures") -> tuple[str, ...]:
    return (
        f"{each.protocol}, {each.variant}",
        str(each.proposers),
        f"{each.collided:.0f} %",
        f"{each.fast:.0f} %",
        *(f"{ms:.1f}" for ms in (*each.learn_ms, *each.last_ms)),
        f"{each.messages:.1f}",
    )
