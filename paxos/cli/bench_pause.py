"""`paxos bench pause`: whether one node that is stopped slows the clients of the others."""

import argparse
from collections.abc import Mapping
from typing import Final

import attrs

from paxos.cli.output import Output

__all__ = ["bench_pause"]

_SECONDS: Final = 5.0


def bench_pause(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    """Measure; arguments are `paxos bench`'s."""
    import anyio

    from paxos.runtime.pause_bench import PausePhase, benchmark_pause
    from paxos.runtime.tasks import require_backend

    require_backend(arguments.loop)
    protocols = arguments.protocol.split(",")
    runs = [(protocol, conflicts) for protocol in protocols for conflicts in arguments.conflicts]
    rows, found = [], []
    with out.progress("one stopped", 100) as bar:
        shown = 0
        for at, (protocol, conflicts) in enumerate(runs):

            def tell(share: float, before: int = at) -> None:
                nonlocal shown
                reached = round(100 * (before + share) / len(runs))
                bar.advance(reached - shown)
                shown = reached

            async def main(protocol: str = protocol, conflicts: int = conflicts) -> list[PausePhase]:
                return await benchmark_pause(
                    protocol=protocol,
                    nodes=arguments.nodes,
                    seconds=arguments.seconds or _SECONDS,
                    conflicts=conflicts,
                    loop=arguments.loop,
                    directory=arguments.directory,
                    progress=tell,
                )

            for phase in anyio.run(main):
                found.append({"protocol": protocol, "conflicts": conflicts, **attrs.asdict(phase)})
                rows.append(
                    (
                        f"{protocol}, {conflicts} % conflicts, {phase.name}",
                        f"{phase.commands_per_s:,.0f}",
                        f"{phase.median_ms:.0f}",
                        f"{phase.most_ms:.0f}",
                    )
                )
    columns = ("what", "commands/s", "median, ms", "longest, ms")
    out.table(
        f"{arguments.nodes} processes, the last one stopped; clients at the others, 8 calls each:",
        columns,
        rows,
    )
    return {"nodes": arguments.nodes, "phases": found}
