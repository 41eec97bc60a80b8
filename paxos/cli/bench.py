"""`paxos bench`: how fast it is here.

Several things, each with its own question: `core` asks what the algorithm costs, `wire` what the format
costs, `sim` how much a simulation gets through, `cluster` what users get: real sockets, real disk; `log` the
same of a replicated log, with others beside it; `regions` what distance costs, `real` whether that is so on
real processes; `proposers` what contention costs; `memory` whether it stays bounded;
`pause` whether a node that is stopped slows the others; `history` how long the checker looks for an order.
"""

import argparse
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from paxos.cli.arguments import Commands, Parser, add_command, count, seconds
from paxos.cli.bench_contention import bench_contention
from paxos.cli.bench_memory import bench_memory
from paxos.cli.bench_pause import bench_pause
from paxos.cli.bench_proposers import bench_proposers
from paxos.cli.bench_real import add_real_options, bench_real
from paxos.cli.bench_regions import bench_regions
from paxos.cli.histories import bench_histories
from paxos.cli.output import Output, Progress
from paxos.errors import EXIT_DONE, ConfigurationError

if TYPE_CHECKING:
    from paxos.cli.measures import Measure
    from paxos.runtime.log_bench import LogFigures

__all__ = ["add"]

#: How long one measure takes, and each part of the cluster's, seconds.
_SECONDS: Final = 0.5
_CLUSTER_SECONDS: Final = 5.0
_COLUMNS: Final = ("what", "median", "range")
_NODES: Final = 3
#: What is about a log without a leader, if nothing else is said.
_USUAL: Final = {"regions": "epaxos", "memory": "epaxos", "pause": "epaxos,multipaxos"}


def add(commands: Commands) -> None:
    """Add `paxos bench`."""
    parser = add_command(
        commands,
        "bench",
        run,
        "measure how fast it is here",
        "  core       decisions a second by roles called directly: both phases, nothing stored\n"
        "  wire       messages encoded and decoded a second\n"
        "  sim        message deliveries simulated a second, trace and invariants off and on\n"
        "  explore    deliveries a second of random walks, and of Hypothesis drawing each step of them\n"
        "  cluster    decisions a second and their latency: loopback sockets, votes on the real disk\n"
        "  log        commands a second of a replicated log, and others beside it\n"
        "  catch-up   seconds that a node of a log takes to come back, and what snapshots and memory cost\n"
        "  regions    a log between published regions, in virtual time: latency, messages, and throughput\n"
        "  real       what `paxos compare` simulates, on real processes and a relay, side by side\n"
        "  proposers  decrees that several sites propose at once, in virtual time: collisions and latency\n"
        "  contention a log in which several sites place commands at once, likewise\n"
        "  memory     memory and disk over very many commands of a log, one node down for half of them\n"
        "  pause      what the clients of the others get done while one node is stopped, before and after\n"
        "  history    seconds to find that a history is linearizable\n\n"
        "What is given is the median of repeats taken in turn; the range says how quiet the machine was. For "
        "core, wire, sim and history a second is one of processor time, so that what else runs is left out; "
        "in core and wire the garbage collector rests, as with timeit. The cluster is measured once, in real "
        "time, and so is `real`, which prints by how much reality is slower than distances, measured in the "
        "same go: what commands take without distances, and how late its relay is.",
        "  paxos bench core\n"
        "  paxos bench core --repeats 9 --seconds 1\n"
        "  paxos bench cluster --loop uvloop --seconds 10\n"
        "  paxos bench cluster --directory /mnt/disk --json | jq .decisions_per_s\n"
        "  paxos bench real --topology pings.txt --protocols multipaxos,epaxos,paxos --conflict 0,2,100",
    )
    parser.add_argument(
        "what",
        choices=tuple(_BENCHES),
        metavar="WHAT",
        help="what to measure, one of the above",
    )
    parser.add_argument(
        "--repeats", type=count(1, 1000), default=5, metavar="N", help="how often, cluster once (5)"
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help="core, wire: about how long each (0.5); cluster (5); pause: each of "
        "three parts (5); real: at most, each load (15)",
    )
    parser.add_argument(
        "--nodes",
        type=count(1, 99),
        metavar="N",
        help="sim, explore, cluster, log, pause: nodes (3); real: the first so many sites",
    )
    parser.add_argument(
        "--operations",
        type=count(1, 100_000_000),
        metavar="N",
        help="in each run of sim (6000) and regions (1000), decrees of proposers (200), commands of "
        "contention (600), in each history (5000), commands of catch-up and memory (1000000)",
    )
    _add_cluster_options(parser)
    _add_log_options(parser)
    add_real_options(parser)
    _add_places(parser)


def _add_places(parser: Parser) -> None:
    parser.add_argument(
        "--chart", metavar="FILE", help="proposers, contention: draw what was measured, as SVG"
    )
    parser.add_argument(
        "--directory",
        metavar="DIR",
        help="cluster, log, real, pause: on the disk to measure (a temporary one)",
    )


def _add_cluster_options(parser: Parser) -> None:
    cluster = parser.add_argument_group("cluster only")
    cluster.add_argument(
        "--loop",
        choices=("asyncio", "uvloop", "trio"),
        default="asyncio",
        help="of the nodes, of `real` too (asyncio)",
    )
    cluster.add_argument(
        "--in-flight", type=count(1, 100_000), default=512, metavar="N", help="calls under way at once (512)"
    )
    cluster.add_argument(
        "--value-bytes", type=count(1, 1 << 20), default=64, metavar="N", help="length of a value (64)"
    )


def _add_log_options(parser: Parser) -> None:
    log = parser.add_argument_group("log, and others as they say")
    log.add_argument(
        "--protocol",
        "--protocols",
        metavar="P,P",
        help="what our nodes run; catch-up, memory, regions: one (multipaxos; regions, memory: epaxos; "
        "pause: epaxos,multipaxos; real: the logs that come along)",
    )
    log.add_argument(
        "--conflicts",
        "--conflict",
        type=_percentages,
        metavar="N,N",
        help="percent of the commands that touch one key, for what orders only what conflicts (0; real: "
        "0,100)",
    )
    log.add_argument(
        "--outstanding", type=count(3, 1_000_000), default=1500, metavar="N", help="commands at once (1500)"
    )
    log.add_argument(
        "--loops", default="asyncio", metavar="L,L", help="event loops, of asyncio, uvloop and trio (asyncio)"
    )
    log.add_argument(
        "--batching", default="together", metavar="B,B", help="of together and apart, likewise (together)"
    )
    log.add_argument(
        "--stores", metavar="S,S", help="of sqlite and memory (sqlite); real: one of them (memory)"
    )
    log.add_argument(
        "--others", action="store_true", help="PySyncObj and etcd as well, where they are installed"
    )


def _percentages(text: str) -> tuple[int, ...]:
    try:
        found = tuple(map(int, text.split(",")))
    except ValueError:
        found = (-1,)
    if not all(0 <= each <= 100 for each in found):
        raise argparse.ArgumentTypeError(f"expected percentages as in 0,2,100, got {text!r:.40}")
    return found


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Measure, and print what came out."""
    if arguments.what != "real":
        arguments.protocol = arguments.protocol or _USUAL.get(arguments.what, "multipaxos")
        arguments.nodes = arguments.nodes or _NODES
        arguments.conflicts = arguments.conflicts or (0,)
        arguments.stores = arguments.stores or "sqlite"
    measured = _BENCHES[arguments.what](arguments, out)
    machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    out.result({"bench": arguments.what, "machine": machine, **measured}, f"on {machine}")
    return EXIT_DONE


def _core(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    from paxos.cli.log_measures import log_measures
    from paxos.cli.measures import core_measures

    return _rates("roles called directly", core_measures() + log_measures(), arguments, out)


def _wire(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    from paxos.cli.measures import wire_measures

    return _rates("the wire format", wire_measures(), arguments, out)


def _rates(
    title: str, measures: "Sequence[Measure]", arguments: argparse.Namespace, out: Output
) -> dict[str, object]:
    from paxos.cli.measures import repeat

    with out.progress(title, len(measures) * arguments.repeats) as bar:
        rates = repeat(measures, arguments.repeats, arguments.seconds or _SECONDS, bar.advance)
    rows = [
        (rate.name, f"{rate.median:,.0f} {rate.unit}/s", f"{rate.low:,.0f} to {rate.high:,.0f}")
        for rate in rates
    ]
    out.table(f"{title}, median of {arguments.repeats}:", _COLUMNS, rows)
    return {"repeats": arguments.repeats, "rates": [attrs.asdict(rate) for rate in rates]}


def _sim(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    from paxos.sim.bench import run_benchmark

    with out.progress("the simulator", 2 * arguments.repeats) as bar:
        found = run_benchmark(arguments.nodes, arguments.operations or 6000, arguments.repeats, bar.advance)
    rows = [
        (rate.name, f"{rate.median:,.0f} deliveries/s", f"{rate.low:,.0f} to {rate.high:,.0f}")
        for rate in (found.plain, found.watched)
    ]
    out.table(f"{found.nodes} simulated nodes, median of {arguments.repeats}:", _COLUMNS, rows)
    return {"repeats": arguments.repeats, **attrs.asdict(found)}


def _explore(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    from paxos.check.explore_bench import run_benchmark

    measured: dict[str, object] = {}
    rows = []
    with out.progress("the explorer", 4 * arguments.repeats) as bar:
        for check, what in ((False, "invariants off"), (True, "invariants on")):
            found = run_benchmark(
                nodes=arguments.nodes, repeats=arguments.repeats, check=check, advance=bar.advance
            )
            for rate in (found.bare, found.drawn):
                per_s = f"{rate.median:,.0f} deliveries/s"
                rows.append((f"{rate.name}, {what}", per_s, f"{rate.low:,.0f} to {rate.high:,.0f}"))
            rows.append((f"ratio, {what}", f"{found.ratio:.1f}", ""))
            measured[what.replace(" ", "_")] = attrs.asdict(found)
    out.table(f"walks on {arguments.nodes} nodes, median of {arguments.repeats}:", _COLUMNS, rows)
    return {"repeats": arguments.repeats, **measured}


def _by_share(bar: Progress) -> Callable[[float], None]:
    """What a measure with a share of its work done calls, for a bar of 100."""
    shown = 0

    def tell(share: float) -> None:
        nonlocal shown
        bar.advance(round(100 * share) - shown)
        shown = round(100 * share)

    return tell


def _cluster(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    import anyio

    from paxos.runtime.bench import ClusterFigures, benchmark_cluster
    from paxos.runtime.tasks import require_backend

    require_backend(arguments.loop)
    with out.progress("a cluster of real processes", 100) as bar:

        async def main() -> ClusterFigures:
            return await benchmark_cluster(
                nodes=arguments.nodes,
                seconds=arguments.seconds or _CLUSTER_SECONDS,
                in_flight=arguments.in_flight,
                value_bytes=arguments.value_bytes,
                loop=arguments.loop,
                directory=arguments.directory,
                progress=_by_share(bar),
            )

        found = anyio.run(main)
    alone = f"{found.latency_p50_ms:.2f} ms"
    sync = f"{found.sync_p50_ms:.2f} ms"
    rows = [
        (f"decisions, {found.in_flight} under way at once", f"{found.decisions_per_s:,.0f} /s", ""),
        ("one decision, nothing else under way, median", alone, f"{found.latency_p99_ms:.2f} ms"),
        ("one sync of the same disk, median", sync, f"{found.sync_p99_ms:.2f} ms"),
    ]
    title = f"{found.nodes} processes on {found.loop}, loopback sockets, sqlite stores:"
    out.table(title, ("what", "here", "99 of 100 within"), rows)
    return attrs.asdict(found)


def _log(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    import anyio

    from paxos.contract import Orders, find_protocol
    from paxos.runtime.bench_others import OTHERS, why_not
    from paxos.runtime.log_bench import LogFigures, benchmark_log
    from paxos.runtime.tasks import require_backend

    loops, stores = arguments.loops.split(","), arguments.stores.split(",")
    protocols, batching = arguments.protocol.split(","), arguments.batching.split(",")
    for loop in loops:
        require_backend(loop)
    if unknown := set(stores) - {"sqlite", "memory"}:
        raise ConfigurationError(f"--stores: there is no {unknown.pop()!r}; there are sqlite and memory")
    others = []
    for other in OTHERS if arguments.others else ():
        why = why_not(other)
        if why:
            out.say(f"left out: {why}")
        else:
            others.append(other)
    shares = [
        len(arguments.conflicts) * len(batching) if find_protocol(each).orders is Orders.CONFLICTS else 1
        for each in protocols
    ]
    if unknown := set(batching) - {"together", "apart"}:
        raise ConfigurationError(f"--batching: there is no {unknown.pop()!r}; there are together and apart")
    contestants = sum(shares) * len(loops) * len(stores) + len(others)
    with out.progress("logs of real processes", contestants * arguments.repeats) as bar:

        async def main() -> list[LogFigures]:
            return await benchmark_log(
                protocols=protocols,
                nodes=arguments.nodes,
                conflicts=arguments.conflicts,
                batching=batching,
                in_flight=arguments.outstanding,
                loops=loops,
                stores=stores,
                others=others,
                seconds=arguments.seconds or _CLUSTER_SECONDS,
                repeats=arguments.repeats,
                directory=arguments.directory,
                progress=lambda name: bar.advance(),
            )

        found = anyio.run(main)
    names = list(dict.fromkeys(each.name for each in found))
    rows = [_log_row(name, [each for each in found if each.name == name]) for name in names]
    columns = (
        "what",
        "commands/s",
        "range",
        "alone, ms",
        "loaded, ms",
        "3 syncs, ms",
        "CPU, us each",
        "MB each",
    )
    title = f"{arguments.nodes} nodes of their own processes, median of {arguments.repeats}:"
    out.table(title, columns, rows)
    return {"repeats": arguments.repeats, "rounds": [attrs.asdict(each) for each in found]}


def _catch_up(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    import anyio

    from paxos.runtime.catch_up_bench import CatchUpFigures, benchmark_catch_up
    from paxos.runtime.snapshot_bench import SnapshotFigures, benchmark_snapshots
    from paxos.runtime.tasks import require_backend

    require_backend(arguments.loop)
    commands = arguments.operations or 1_000_000
    with out.progress("nodes that come back, and snapshots", 100) as bar:
        tell = _by_share(bar)

        async def main() -> tuple[CatchUpFigures, list[SnapshotFigures]]:
            common = {
                "protocol": arguments.protocol,
                "loop": arguments.loop,
                "directory": arguments.directory,
            }
            return await benchmark_catch_up(
                commands=commands, progress=lambda share: tell(share / 3), **common
            ), await benchmark_snapshots(
                keys=commands,
                seconds=arguments.seconds or _CLUSTER_SECONDS,
                repeats=arguments.repeats,
                progress=lambda share: tell((1 + 2 * share) / 3),
                **common,
            )

        found, snapshots = anyio.run(main)
    rows = [
        (f"a node that missed all {found.commands:,}: s", f"{found.fresh_s:.2f}"),
        ("a node that has them in its snapshot: s", f"{found.restart_s:.2f}"),
        (f"a node that has {found.logged:,} in its log and no snapshot: s", f"{found.logged_restart_s:.2f}"),
        ("MB of each node after all of them", " ".join(f"{each:.0f}" for each in found.resident_mb)),
    ]
    out.table(f"3 processes on {arguments.loop}, sqlite stores, keys of 16 bytes:", ("what", "here"), rows)
    plain = snapshots[0].commands_per_s
    rates = [
        (
            each.mode,
            f"{each.commands_per_s:,.0f}",
            f"{min(each.rounds):,.0f} to {max(each.rounds):,.0f}",
            f"{100 * (each.commands_per_s / plain - 1):+.1f} %",
            f"{100 * each.being_made:.0f} %",
        )
        for each in snapshots
    ]
    columns = ("snapshots", "commands/s", "range", "change", "of the time being made")
    out.table(f"with {commands:,} keys, median of {arguments.repeats} rounds in turn:", columns, rates)
    return {
        **attrs.asdict(found),
        "repeats": arguments.repeats,
        "snapshots": [attrs.asdict(e) for e in snapshots],
    }


def _log_row(name: str, rounds: "Sequence[LogFigures]") -> tuple[str, ...]:
    rates = [each.commands_per_s for each in rounds]
    alone = [each.latency_ms for each in rounds if each.latency_ms is not None]
    loaded = [each.loaded_ms for each in rounds if each.loaded_ms is not None]
    syncs = [each.sync_ms for each in rounds if each.sync_ms is not None]
    middle = sorted(rounds, key=lambda each: each.commands_per_s)[len(rounds) // 2]
    return (
        name,
        f"{statistics.median(rates):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{statistics.median(alone):.2f}" if alone else "",
        f"{statistics.median(loaded):.0f}" if loaded else "",
        f"{statistics.median(syncs):.2f}" if syncs else "",
        " ".join(f"{each:.1f}" for each in middle.cpu_us_per_command),
        " ".join(f"{each:.0f}" for each in middle.resident_mb),
    )


_BENCHES: Final[Mapping[str, Callable[[argparse.Namespace, Output], Mapping[str, object]]]] = {
    "core": _core,
    "wire": _wire,
    "sim": _sim,
    "explore": _explore,
    "cluster": _cluster,
    "log": _log,
    "catch-up": _catch_up,
    "regions": bench_regions,
    "real": bench_real,
    "proposers": bench_proposers,
    "contention": bench_contention,
    "memory": bench_memory,
    "pause": bench_pause,
    "history": bench_histories,
}
