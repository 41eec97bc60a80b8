"""`paxos bench memory`: whether memory and disk stay bounded while a node is down, and when it is back."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from paxos.cli.output import Output

__all__ = ["bench_memory"]

_COMMANDS: Final = 1_000_000


def bench_memory(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    """Measure; arguments are `paxos bench`'s."""
    import anyio

    from paxos.runtime.memory_bench import MemorySample, benchmark_memory
    from paxos.runtime.tasks import require_backend

    require_backend(arguments.loop)
    commands, shown = arguments.operations or _COMMANDS, 0
    with out.progress("memory and disk", 100) as bar:

        def tell(share: float) -> None:
            nonlocal shown
            bar.advance(round(100 * share) - shown)
            shown = round(100 * share)

        async def main() -> list[MemorySample]:
            return await benchmark_memory(
                protocol=arguments.protocol,
                commands=commands,
                loop=arguments.loop,
                directory=arguments.directory,
                progress=tell,
            )

        found = anyio.run(main)
    rows = []
    for at in range(0, len(found), 3):
        three = found[at : at + 3]
        rows.append(
            (
                f"{three[0].commands:,}",
                f"{three[0].seconds:.0f}",
                _three(three, "resident_mb"),
                _three(three, "store_mb"),
                _three(three, "instances"),
                _three(three, "conflict_entries"),
            )
        )
    columns = ("commands", "s", "resident, MB", "store, MB", "instances", "conflict entries")
    title = f"{arguments.protocol}, 3 processes, the last one down from a quarter to three quarters:"
    out.table(title, columns, rows)
    return {"protocol": arguments.protocol, "samples": [attrs.asdict(each) for each in found]}


def _three(found: Sequence[object], name: str) -> str:
    values = [getattr(each, name) for each in found]
    return " ".join("-" if value is None else f"{value:.0f}" for value in values)
