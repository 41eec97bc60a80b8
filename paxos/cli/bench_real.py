"""`paxos bench real`: what `paxos compare` simulates, on real processes, and both side by side.

Replicas are processes, their sockets real ones of the loopback interface, and a relay lets
everything arrive as late as the topology says.  Clients ask what the simulated ones are asked.

Reality is slower than distances alone, and by how much is measured in the same go.  What replicas, sockets
and clients cost is what a command takes where all is near, asked at the same pace; how late the relay is, a
probe says while clients are at work.  The simulator is then told of a relay so late, since a command may
cross it twice or ten times; what that adds, and the cost without distances, is the *overhead* that is
printed.  Chance has a part, too, where commands collide: the simulator is asked with two other seeds.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from paxos.cli.output import Output
from paxos.errors import ConfigurationError, Unreachable

if TYPE_CHECKING:
    from paxos.cli.arguments import Parser
    from paxos.cli.real_cluster import Asked
    from paxos.compare import Comparison, Place, Plan, Run

__all__ = ["RealRun", "RealSite", "add_real_options", "bench_real"]

_TOPOLOGY: Final = "nsdi21"
_CONFLICTS: Final = (0, 100)
_CLIENTS: Final = 3
_COMMANDS: Final = 60
#: Each load stops asking after so long, seconds.
_LIMIT_S: Final = 15.0
#: More processes than that are no measurement on any one machine.
_SITES_MAX: Final = 15
#: Of the commands of each site so many are asked where all is near: one in so many, and at least so many.
_NEAR: Final = 3
_NEAR_LEAST: Final = 12
#: Other seeds that show what chance does.
_OTHER_SEEDS: Final = 2
#: The search for an order of what clients were told gives up there.
_STATES_MAX: Final = 100_000
#: A clock that ticks in milliseconds makes none sooner than that, milliseconds.
_TICK_MS: Final = 1.0
_MS: Final = 1000.0


def add_real_options(parser: "Parser") -> None:
    """Add what only `paxos bench real` takes."""
    from paxos.cli.arguments import count

    group = parser.add_argument_group("real only; what is named as in paxos compare is what it is there")
    group.add_argument("--topology", metavar="NAME|FILE", help=f"distances ({_TOPOLOGY})")
    group.add_argument("--sites", metavar="NAMES", help="these sites of it, with commas between")
    group.add_argument("--leader", metavar="SITE", help="who leads; or `best`")
    group.add_argument(
        "--clients", type=count(1, 1000), default=_CLIENTS, metavar="N", help=f"at each site ({_CLIENTS})"
    )
    group.add_argument(
        "--commands", type=count(1, 100_000), default=_COMMANDS, metavar="N",
        help=f"of each site, in each load ({_COMMANDS})",
    )  # fmt: skip
    group.add_argument("--reads", type=float, default=0.0, metavar="P", help="percent that only read (0)")
    group.add_argument(
        "--seed", type=count(0, 2**63 - 1), default=1, metavar="N", help="of what is asked (1)"
    )


# --- what is found -----------------------------------------------------------------------------------------


@attrs.frozen
class Both:
    """One latency, simulated and real, milliseconds.

    Args:
        simulated_p50, simulated_p99: of the comparison.
        real_p50, real_p99: of the processes.
    """

    simulated_p50: float
    simulated_p99: float
    real_p50: float
    real_p99: float


@attrs.frozen
class RealSite:
    """One site of one run, milliseconds.

    Args:
        name: the site.
        bound_ms, contended_bound_ms: the least that the distances allow a commit, and on the path that is
            taken where commands conflict or compete; None where the protocol does not say.
        commit: of writes. What the replica there measured, from the command's coming to its commit; where
            its events tell of no commit that is the execution.
        execute: of writes, as clients saw it.
        overhead_ms: what is to be expected of the real median above the simulated one: the cost without
            distances, and what a relay as late as it was in the median adds in the simulator.
        low_ms, high_ms: where the real median of execution may lie: from the least simulated median of three
            seeds, up to the greatest, with a relay as late as in one of a hundred cases, and with what one of
            a hundred commands took without distances.
        within: whether it does.
        commands: how many were answered.
    """

    name: str
    bound_ms: float | None
    contended_bound_ms: float | None
    commit: Both
    execute: Both
    overhead_ms: float
    low_ms: float
    high_ms: float
    within: bool
    commands: int


@attrs.frozen
class RealRun:
    """One protocol under one load.

    Args:
        protocol: which.
        conflict: percent.
        leader: where somebody leads.
        near_p50_ms, near_p99_ms: what a command takes on these processes without distances.
        relay_p50_ms, relay_p99_ms: how late the relay was, one way.
        simulated_per_s, real_per_s: commands answered a second, in the middle of the run.
        unanswered: commands without an answer in time.
        checked: how many operations of real clients were put in order by full search, with reads at every
            site in the end.
        sites: site by site.
    """

    protocol: str
    conflict: float
    leader: str | None
    near_p50_ms: float
    near_p99_ms: float
    relay_p50_ms: float
    relay_p99_ms: float
    simulated_per_s: float
    real_per_s: float
    unanswered: int
    checked: int
    sites: tuple[RealSite, ...]


# --- measuring ---------------------------------------------------------------------------------------------


def bench_real(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    """Measure: arguments are `paxos bench`'s."""
    place, plans = _plans(arguments)
    cells = [(plan, conflict) for plan in plans for conflict in plan.conflict]
    steps = sum(_asked(plan) * len(place.sites) for plan, _ in cells)
    runs: list[RealRun] = []
    with out.progress("real processes", steps) as bar:
        for plan in plans:
            runs += _measured(plan, place, arguments, bar.advance)
    _show(runs, out)
    within = [site.within for run in runs for site in run.sites]
    return {
        "topology": place.name,
        "sites": list(place.sites),
        "rtt_ms": [list(row) for row in place.rtt_ms],
        "leader": place.leader,
        "seed": arguments.seed,
        "clients": arguments.clients,
        "commands": arguments.commands,
        "within": sum(map(int, within)),
        "of": len(within),
        "runs": [attrs.asdict(run) for run in runs],
    }


def _plans(arguments: argparse.Namespace) -> "tuple[Place, list[Plan]]":
    """A plan for each protocol; one that orders all commands is measured at the first conflict rate only."""
    from paxos.cli.compare import in_words_of_arguments
    from paxos.compare import find_place
    from paxos.compare.plan import compared, default_protocols
    from paxos.compare.running import plan_of
    from paxos.contract import Orders

    def make() -> "tuple[Place, list[Plan]]":
        place = find_place(
            arguments.topology or _TOPOLOGY,
            nodes=arguments.nodes,
            sites=None if arguments.sites is None else arguments.sites.split(","),
            leader=arguments.leader,
        )
        if len(place.sites) > _SITES_MAX:
            raise ConfigurationError(
                f"{len(place.sites)} sites would be as many processes; name at most {_SITES_MAX} with --sites"
            )
        protocols = arguments.protocol.split(",") if arguments.protocol else default_protocols()
        if arguments.stores not in (None, "memory", "sqlite"):
            raise ConfigurationError(f"--stores: memory or sqlite, not {arguments.stores!r:.60}")
        if len(set(protocols)) < len(protocols):
            raise ConfigurationError(f"--protocol: one name twice in {arguments.protocol!r:.100}")
        plans = []
        for name in protocols:
            rates = arguments.conflicts or _CONFLICTS
            partial = compared(name).orders is Orders.CONFLICTS
            plans.append(
                plan_of(
                    [name],
                    place,
                    conflict=rates if partial else rates[:1],
                    clients=arguments.clients,
                    commands=arguments.commands,
                    reads=arguments.reads,
                    seed=arguments.seed,
                )
            )
        return place, plans

    found: tuple[Place, list[Plan]] = in_words_of_arguments(make)
    return found


def _asked(plan: "Plan") -> int:
    """How many commands each site asks of a protocol under one load, far and near."""
    return plan.commands + _near_commands(plan)


def _near_commands(plan: "Plan") -> int:
    return min(max(plan.commands // _NEAR, _NEAR_LEAST), plan.commands)


def _measured(
    plan: "Plan", place: "Place", arguments: argparse.Namespace, advance: Callable[[], None]
) -> Iterator[RealRun]:
    """One protocol: simulated, near, far, and simulated again with what was found."""
    import anyio

    from paxos.compare import compare

    simulated = compare(plan, place)
    near, far = anyio.run(_both, plan, place, simulated, arguments, advance)
    for at, conflict in enumerate(plan.conflict):
        took = [each.took_ms for each in near[at].answered]
        late = far[at].relay_ms
        if not took or not late or not far[at].answered:
            raise Unreachable(f"{plan.protocols[0]} at {conflict:g} % conflicts: no command was answered")
        one = attrs.evolve(plan, conflict=(conflict,))
        seeds = [attrs.evolve(one, seed=(plan.seed + more) % 2**63) for more in range(_OTHER_SEEDS + 1)]
        usual = compare(one, _later(place, _percentile(late, 50)))
        others = [compare(each, place) for each in seeds[1:]]
        worse = [compare(each, _later(place, _percentile(late, 99))) for each in seeds]
        yield _run(place, simulated.runs[at], usual, others, worse, near[at], far[at])


async def _both(
    plan: "Plan",
    place: "Place",
    simulated: "Comparison",
    arguments: argparse.Namespace,
    advance: Callable[[], None],
) -> "tuple[list[Asked], list[Asked]]":
    from paxos.cli.real_cluster import Load, real_cluster
    from paxos.compare.plan import compared

    name = plan.protocols[0]
    installed = name if ":" in name else compared(name).name
    found: list[list[Asked]] = []
    for far in (False, True):
        loads = []
        opened = real_cluster(
            installed,
            place,
            far=far,
            loop=arguments.loop,
            store=arguments.stores or "memory",
            directory=arguments.directory,
        )
        async with opened as cluster:
            for at, conflict in enumerate(plan.conflict):
                sites = enumerate(simulated.runs[at].sites, 1)
                # At the same pace, where all is near: distance becomes a pause.
                pauses = {node: each.execute_ms.p50 for node, each in sites if each.execute_ms is not None}
                load = Load(
                    mix=plan.mix(conflict),
                    clients=plan.clients[0],
                    commands=plan.commands if far else _near_commands(plan),
                    value_bytes=plan.value_bytes,
                    think_ms={} if far else pauses,
                    limit_s=arguments.seconds or _LIMIT_S,
                )
                loads.append(await cluster.ask(load, advance))
        found.append(loads)
    return found[0], found[1]


def _later(place: "Place", late_ms: float) -> "Place":
    """The place with every way between two sites so much longer."""
    rows = tuple(
        tuple(each + 2 * late_ms if a != b else each for b, each in enumerate(row))
        for a, row in enumerate(place.rtt_ms)
    )
    return attrs.evolve(place, rtt_ms=rows)


def _percentile(values: Sequence[float], percent: float) -> float:
    from paxos.compare import Latency

    found = Latency.of(values)
    assert found is not None, "there is at least one"
    return found.p50 if percent == 50 else found.p99


# --- putting side by side ----------------------------------------------------------------------------------


def _run(
    place: "Place",
    simulated: "Run",
    usual: "Comparison",
    others: "Sequence[Comparison]",
    worse: "Sequence[Comparison]",
    near: "Asked",
    far: "Asked",
) -> RealRun:
    near_ms = [each.took_ms for each in near.answered]
    near_p50, near_p99 = _percentile(near_ms, 50), _percentile(near_ms, 99)
    sites = []
    for node, site in enumerate(simulated.sites, 1):
        took = [each.took_ms for each in far.answered if each.node == node and not each.reads]
        if not took or site.execute_ms is None or site.commit_ms is None:
            continue

        def median(found: "Comparison", name: str = site.name) -> float:
            latency = found.runs[0].site[name].execute_ms
            return latency.p50 if latency is not None else 0.0

        low = min([site.execute_ms.p50, *map(median, others)])
        high = max(map(median, worse)) + near_p99
        real_p50 = _percentile(took, 50)
        sites.append(
            RealSite(
                name=site.name,
                bound_ms=site.bound_ms,
                contended_bound_ms=site.contended_bound_ms,
                commit=_side_by_side(site.commit_ms, far.commits_ms.get(node) or took),
                execute=_side_by_side(site.execute_ms, took),
                overhead_ms=round(median(usual) - site.execute_ms.p50 + near_p50, 3),
                low_ms=round(low, 3),
                high_ms=round(high, 3),
                within=low - _TICK_MS <= real_p50 <= high + _TICK_MS,
                commands=len(took),
            )
        )
    return RealRun(
        protocol=simulated.protocol,
        conflict=simulated.conflict,
        leader=simulated.leader,
        near_p50_ms=near_p50,
        near_p99_ms=near_p99,
        relay_p50_ms=_percentile(far.relay_ms, 50),
        relay_p99_ms=_percentile(far.relay_ms, 99),
        simulated_per_s=simulated.commands_per_s,
        real_per_s=_rate([each.return_s for each in far.answered]),
        unanswered=far.unanswered,
        checked=_checked(simulated.protocol, [near, far]),
        sites=tuple(sites),
    )


def _checked(protocol: str, asked: "Sequence[Asked]") -> int:
    """Look for an order that explains what real clients were told; how many operations it has.

    Raises:
        WrongRun: there is none.
    """
    from paxos.check.linearize import check_linearizable
    from paxos.check.models import Decree, KeyValue
    from paxos.compare import WrongRun
    from paxos.compare.plan import compared
    from paxos.contract import Decides

    model = Decree() if compared(protocol).decides is Decides.DECREES else KeyValue()
    ordered = 0
    for each in asked:
        verdict = check_linearizable(each.history, model, max_states=_STATES_MAX)
        if verdict.violation is not None:
            raise WrongRun(
                f"{protocol}: no figures, for no order explains what real clients were told: "
                f"{verdict.violation}"
            )
        ordered += verdict.operations if verdict.ok else 0
    return ordered


def _side_by_side(simulated: Any, real: Sequence[float]) -> Both:
    return Both(simulated.p50, simulated.p99, _percentile(real, 50), _percentile(real, 99))


def _rate(returns_s: Sequence[float]) -> float:
    """Answered a second in the middle three fifths, as comparisons have it."""
    ordered = sorted(returns_s)
    low_s, high_s = ordered[len(ordered) // 5], ordered[max(len(ordered) * 4 // 5 - 1, 0)]
    if high_s <= low_s:
        return 0.0
    return round(sum(low_s < each <= high_s for each in ordered) / (high_s - low_s), 1)


# --- showing -----------------------------------------------------------------------------------------------


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _show(runs: Sequence[RealRun], out: Output) -> None:
    several = len({run.conflict for run in runs}) > 1 or any(run.conflict for run in runs)

    def name(run: RealRun) -> tuple[str, ...]:
        return (run.protocol, f"{run.conflict:g} %") if several else (run.protocol,)

    named = ("protocol", "conflicts") if several else ("protocol",)
    rows = []
    for run in runs:
        for site in run.sites:
            commit, execute = site.commit, site.execute
            rows.append(
                (
                    *name(run),
                    site.name,
                    _ms(site.bound_ms),
                    _ms(site.contended_bound_ms),
                    *map(_ms, (commit.simulated_p50, commit.real_p50)),
                    *map(_ms, (commit.simulated_p99, commit.real_p99)),
                    *map(_ms, (execute.simulated_p50, execute.real_p50)),
                    *map(_ms, (execute.simulated_p99, execute.real_p99)),
                    f"{execute.real_p50 - execute.simulated_p50:+.1f}",
                    _ms(site.overhead_ms),
                    f"{site.low_ms:.1f} to {site.high_ms:.1f}",
                    "yes" if site.within else "NO",
                )
            )
    columns = (
        *named, "site", "bound", "contended", "commit p50", "real", "p99", "real",
        "execute p50", "real", "p99", "real", "more", "overhead", "to be expected", "is it",
    )  # fmt: skip
    title = "Latency at each site, simulated and beside it on real processes, milliseconds:"
    out.table(title, columns, rows)
    within = [site.within for run in runs for site in run.sites]
    out.say(
        f"the real median is where the overhead puts it at {sum(map(int, within))} of {len(within)} sites"
    )
    costs = [
        (
            *name(run),
            *(f"{each:.2f}" for each in (run.near_p50_ms, run.near_p99_ms)),
            *(f"{each:.2f}" for each in (run.relay_p50_ms, run.relay_p99_ms)),
        )
        for run in runs
    ]
    heads = (*named, "without distances p50", "p99", "relay late, one way p50", "p99")
    out.table("What measuring really costs, milliseconds:", heads, costs)
    rates = [
        (
            *name(run),
            f"{run.simulated_per_s:.1f}",
            f"{run.real_per_s:.1f}",
            f"{100 * run.real_per_s / run.simulated_per_s:.0f} %" if run.simulated_per_s else "",
            str(run.unanswered),
            str(run.checked),
        )
        for run in runs
    ]
    heads = (*named, "simulated", "real", "", "unanswered", "operations put in order")
    out.table("Commands answered a second:", heads, rates)
