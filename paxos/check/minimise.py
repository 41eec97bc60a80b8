"""The minimiser: from a run in which something broke to a scenario in which one can see it.

A violation of safety becomes a schedule: the run is written down move by move, and moves are taken out
until none can be.  A violation of liveness stays a timed run: small runs are tried from scratch, and where
none breaks the same, the run's own inputs are made smaller (fewer nodes, operations and faults, a shorter
time) and its choices fewer and lower.

Whatever is tried is run for real, and counts only when the violation of the same name comes again, in a run
that is no longer: smaller inputs may well lead to a longer one.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import product
from typing import Any, Final, TypeAlias

import attrs

from paxos.check.scenario import LIVENESS, Played, Scenario, protocol_named
from paxos.check.shorten import Budget, cost, shorten, to_schedule
from paxos.check.walk import Walk
from paxos.contract import Decides
from paxos.errors import ConfigurationError
from paxos.sim import Faults, Hardware, Topology, Violation, Workload

__all__ = ["BUDGET", "Minimised", "NotRepeated", "minimise"]

#: Steps of nodes that a minimisation may take: some seconds.
BUDGET: Final = 600_000
#: A schedule with more arrivals than this is also looked for from scratch, on small clusters.
_ENOUGH: Final = 24
#: Or with more moves than this.
_MANY: Final = 40
#: Seeds that are tried for a smaller run in which other choices lead elsewhere.
_SEEDS: Final = 3
_WALKS: Final = 400
#: Seeds with which each small run is tried where somebody waits for ever, and how many steps it may take.
_WAIT_SEEDS: Final = 6
_WAIT_STEPS: Final = 5000
_WAIT_FOUND: Final = 5
#: What goes wrong in them; the plainest first.
_ROUGH: Final = (
    Faults(),
    Faults(loss=0.2),
    Faults(random_crashes=1),
    Faults(random_partitions=1),
    Faults(loss=0.1, random_crashes=2, random_partitions=1),
    Faults(jitter=2.0, reorder=0.2, duplicate=0.2),
)
#: How long a run is: messages delivered, steps, choices; the first that differs decides.
_Length: TypeAlias = tuple[int, int, int]
#: Operations, share of reads, and nodes.
_FEW: Final = ((1, 0.0, 3), (2, 0.0, 3), (3, 0.5, 3), (4, 0.0, 2), (4, 0.3, 5))


class NotRepeated(ConfigurationError):
    """A scenario does not break what it is said to break; made by a run, that run does not repeat itself."""


@attrs.frozen
class Minimised:
    """What came of it.

    Args:
        scenario: the smallest found that breaks the same.
        violation: what it breaks.
        steps_before: steps of the run at the beginning.
        steps: of the scenario.
        deliveries_before: messages that arrived from another node, at the beginning.
        deliveries: in the scenario.
        runs: how many were tried.
        spent: steps they took in all.
    """

    scenario: Scenario
    violation: Violation
    steps_before: int
    steps: int
    deliveries_before: int
    deliveries: int
    runs: int
    spent: int


def minimise(
    scenario: Scenario,
    *,
    accepted: Collection[str] = (),
    budget: int = BUDGET,
    advance: Callable[[int], None] | None = None,
) -> Minimised:
    """Make a scenario that breaks something small. A pure function of its arguments.

    Args:
        scenario: any kind; it breaks something.
        accepted: names of violations that count as the same; the one it breaks alone for none.
        budget: steps of nodes that may be spent.
        advance: called with numbers of steps as they are spent, for a progress bar.

    Raises:
        NotRepeated: the scenario breaks nothing, or nothing of `accepted`; or it does not always.
    """
    played = scenario.run()
    violation = played.violation
    names = frozenset(accepted) or frozenset({violation.name} if violation is not None else ())
    if violation is None or violation.name not in names:
        what = "nothing" if violation is None else f"{violation.name}, not {', '.join(sorted(names))}"
        raise NotRepeated(f"the scenario breaks {what}: there is nothing to minimise")
    purse = Budget(budget, advance)
    purse.spend(played.result.steps)
    # From now on what it did is what counts, not the seed that led there.
    current = scenario
    if scenario.schedule is None:
        current = attrs.evolve(scenario, choices=played.result.choices, seed=0)
    found = _shortest(current, names, purse)
    after = found.run()
    if after.violation is None or after.violation.name not in names:
        raise NotRepeated(
            "the minimised scenario did not break the same when it was run again: the protocol or its "
            "invariants are not deterministic"
        )
    remark = scenario.remark + (" " if scenario.remark else "")
    note = f"minimised from {played.result.steps} steps"
    if found.schedule is None and purse.why:
        note += f"; no schedule: {purse.why}"
    return Minimised(
        scenario=attrs.evolve(found.expecting(after.violation), remark=f"{remark}({note})"),
        violation=after.violation,
        steps_before=played.result.steps,
        steps=after.result.steps,
        deliveries_before=played.result.deliveries,
        deliveries=after.result.deliveries,
        runs=purse.runs,
        spent=purse.spent,
    )


def _shortest(current: Scenario, names: frozenset[str], purse: Budget) -> Scenario:
    if names & LIVENESS:
        longest = _length(current.run())
        small = [_smaller(each, names, purse) for each in _waiting(current, names, purse)]
        lengths = [_length(each.run()) for each in small]
        if not small or min(lengths) > longest:
            return _smaller(current, names, purse)
        return small[lengths.index(min(lengths))]
    schedule = current if current.schedule is not None else to_schedule(current, names, purse)
    if schedule is None and _decides_log(current):
        # Who leads when hangs on clocks and chance, which a list of moves has not: look from scratch first.
        schedule = _searched(current, names, purse)
    if schedule is None:
        # Clocks or queues matter to it. A smaller run may do without.
        half = Budget(max((purse.steps - purse.spent) // 2, 0))
        current = _smaller(current, names, half)
        purse.spend(half.spent)
        schedule = to_schedule(current, names, purse)
    if schedule is None:
        other = _searched(current, names, purse)
        return other if other is not None and cost(other)[0] <= _length(current.run())[0] else current
    best = shorten(schedule, names, purse)
    if cost(best)[0] > _ENOUGH or cost(best)[1] > _MANY:
        other = _searched(best, names, purse)
        if other is not None and sum(cost(other)) < sum(cost(best)):
            best = other
    return best


def _waiting(scenario: Scenario, names: frozenset[str], purse: Budget) -> list[Scenario]:
    """Small timed runs in which somebody waits for ever too, from scratch: the first that are found.

    A run that is timed gives its inputs up only one by one, and with each the rest goes another way; to wait
    for ever often takes much less than the run in which it was seen.
    """
    limit = Budget(max((purse.steps - purse.spent) // 3, 0))
    found: list[Scenario] = []
    for attempt in _small_runs(scenario, names):
        if not limit.left or len(found) == _WAIT_FOUND:
            break
        try:
            played = attempt.run()
        except ConfigurationError:
            continue  # settings that name a node that is left out
        limit.spend(played.result.steps)
        if played.violation is not None and played.violation.name in names:
            found.append(attrs.evolve(attempt, choices=played.result.choices, seed=0))
    purse.spend(limit.spent)
    return found


def _small_runs(scenario: Scenario, names: frozenset[str]) -> Iterator[Scenario]:
    """Few nodes, a quiet network, little that goes wrong; with default settings and with those it had."""
    # Too many steps are no waiting, where those are not what is looked for.
    max_steps = scenario.max_steps if "Bounded" in names else min(scenario.max_steps, _WAIT_STEPS)
    for seed in range(_WAIT_SEEDS):
        for faults, (operations, reads, size) in product(_ROUGH, _FEW):
            few = Workload(
                operations=operations,
                clients=1,
                names=1,
                reads=reads,
                value_bytes=1,
                think_s=0.05,
                audit=False,
            )
            plain = attrs.evolve(
                scenario,
                nodes=min(size, scenario.nodes),
                quorums=None,
                settings=None,
                walk=None,
                topology=Topology.named("lan"),
                hardware=Hardware(),
                faults=faults,
                workload=few,
                duration_s=1.0,
                grace_s=30.0,
                max_steps=max_steps,
                choices=None,
                seed=seed,
            )
            yield plain
            if scenario.settings is not None:
                yield attrs.evolve(plain, settings=scenario.settings)


def _decides_log(scenario: Scenario) -> bool:
    return protocol_named(scenario.protocol).decides is Decides.LOG


def _searched(scenario: Scenario, names: frozenset[str], purse: Budget) -> Scenario | None:
    """Walks on small clusters: the same violation from scratch, where it takes less."""
    limit = Budget(max((purse.steps - purse.spent) // 2, 0))
    best: Scenario | None = None
    longer = _decides_log(scenario)
    for number in range(_WALKS):
        if not limit.left or (best is not None and cost(best)[0] <= _ENOUGH and cost(best)[1] <= _MANY):
            break
        rough = number % 2 * 0.03
        plan = Walk(
            moves=60 + number % 5 * 30,
            operations=2 + number % 3,
            tick=0.04,
            crash=rough,
            restart=5 * rough,
            settle=False,
        )
        if longer:
            plan = attrs.evolve(plan, moves=2 * plan.moves, operations=3 + number % 6, reads=0.35)
        size = min(3, scenario.nodes)
        small = attrs.evolve(
            scenario,
            nodes=size,
            quorums=None,
            settings=None,
            walk=plan,
            schedule=None,
            choices=None,
            seed=number,
        )
        played = small.run()
        limit.spend(played.result.steps)
        if played.violation is not None and played.violation.name in names:
            schedule = to_schedule(attrs.evolve(small, choices=played.result.choices), names, limit)
            if schedule is not None:
                found = shorten(schedule, names, limit)
                best = found if best is None or cost(found) < cost(best) else best
    purse.spend(limit.spent)
    return best


# --- inputs made smaller ---------------------------------------------------------------------------------


def _smaller(scenario: Scenario, names: frozenset[str], purse: Budget) -> Scenario:
    """Inputs one after the other as small as will do, then the choices."""
    changed = True
    played = scenario.run()
    purse.spend(played.result.steps)
    length = _length(played)
    if names == frozenset({"Liveness"}):
        # A run that takes longer than this one is no smaller.
        scenario = attrs.evolve(scenario, max_steps=min(scenario.max_steps, played.result.steps + 1000))
    while changed and purse.left:
        changed = False
        for candidate in _candidates(scenario):
            found = _breaks(candidate, names, purse, length)
            if found is not None:
                (scenario, length), changed = found, True
                break
    return _fewer_choices(scenario, names, purse, length)


def _length(played: Played) -> _Length:
    result = played.result
    return result.deliveries, result.steps, len(result.choices)


def _breaks(
    candidate: Scenario, names: frozenset[str], purse: Budget, longest: _Length
) -> tuple[Scenario, _Length] | None:
    """The candidate with choices with which it breaks the same: its own, none, or a few others; its length.

    Args:
        candidate: what to try.
        names: of violations that count.
        purse: what may be spent.
        longest: a run that is longer does not count.
    """
    tried: list[tuple[int, tuple[int, ...] | None]] = [(0, candidate.choices), (0, ())]
    if not names & LIVENESS:  # such runs are long, and wait for ever whatever is chosen
        tried += ((seed, None) for seed in range(_SEEDS))
    for seed, choices in tried:
        if not purse.left:
            return None
        attempt = attrs.evolve(candidate, seed=seed, choices=choices)
        try:
            played = attempt.run()
        except ConfigurationError:
            return None  # the inputs do not fit together
        purse.spend(played.result.steps)
        if played.violation is not None and played.violation.name in names and _length(played) <= longest:
            return attrs.evolve(attempt, seed=0, choices=played.result.choices), _length(played)
    return None


def _candidates(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios a little smaller, the most promising first."""
    if scenario.walk is not None:
        least = Walk(moves=0, operations=0, disorder=0.0, submit=0.0)
        for walk in _smaller_values(scenario.walk, least):
            yield attrs.evolve(scenario, walk=walk)
        yield from _fewer_nodes(scenario)
        return
    quiet = Workload(
        operations=1,
        clients=1,
        names=1,
        reads=0.0,
        value_bytes=1,
        audit=False,
        think_s=scenario.workload.think_s,
    )
    if _decides_log(scenario):
        quiet = attrs.evolve(quiet, increments=0.0, deletes=0.0, swaps=0.0, logged=0.0, scans=0.0, stale=0.0)
    for workload in _smaller_values(scenario.workload, quiet):
        yield attrs.evolve(scenario, workload=workload)
    for faults in _smaller_values(scenario.faults, Faults()):
        yield attrs.evolve(scenario, faults=faults)
    yield from _fewer_nodes(scenario)
    if scenario.topology != Topology.named("lan"):
        yield attrs.evolve(scenario, topology=Topology.named("lan"))
    if scenario.hardware != Hardware():
        yield attrs.evolve(scenario, hardware=Hardware())
    for duration_s in (1.0, scenario.duration_s / 2):
        if 0.1 <= duration_s < scenario.duration_s:
            yield attrs.evolve(scenario, duration_s=duration_s)
    if scenario.grace_s > 30.0:
        yield attrs.evolve(scenario, grace_s=30.0)


def _fewer_nodes(scenario: Scenario) -> Iterator[Scenario]:
    for size in sorted({1, 2, 3, scenario.nodes - 1}):
        if 0 < size < scenario.nodes:
            yield _on_fewer_nodes(scenario, size)
    if scenario.quorums is not None:
        yield attrs.evolve(scenario, quorums=None)
    if scenario.settings is not None:
        yield attrs.evolve(scenario, settings=None)
    if scenario.log is not None:
        yield attrs.evolve(scenario, log=None)


def _on_fewer_nodes(scenario: Scenario, size: int) -> Scenario:
    old = scenario.faults
    faults = attrs.evolve(
        old,
        crashes=tuple(each for each in old.crashes if each.node <= size),
        pauses=tuple(each for each in old.pauses if each.node <= size),
        slow_nodes=tuple(each for each in old.slow_nodes if each.node <= size),
        wipes=tuple(each for each in old.wipes if each.node <= size),
        partitions=tuple(each for each in old.partitions if max((*each.from_nodes, *each.to_nodes)) <= size),
    )
    return attrs.evolve(
        scenario, nodes=size, quorums=None, topology=Topology.named("lan"), faults=faults, settings=None
    )


def _smaller_values(value: Any, least: Any) -> Iterator[Any]:
    """The value with one field at its least, then with one field halfway there, or a list without an item."""
    names = [
        field.name
        for field in attrs.fields(type(value))
        if getattr(value, field.name) != getattr(least, field.name)
    ]
    for name in names:
        yield from _evolved(value, name, getattr(least, name))
    for name in names:
        now, end = getattr(value, name), getattr(least, name)
        if isinstance(now, tuple):
            for at in range(len(now)):
                yield from _evolved(value, name, now[:at] + now[at + 1 :])
        elif type(now) is int and type(end) is int and now - end > 1:
            yield from _evolved(value, name, (now + end) // 2)
            yield from _evolved(value, name, now - 1)


def _evolved(value: Any, name: str, new: object) -> Iterator[Any]:
    try:
        yield attrs.evolve(value, **{name: new})
    except ConfigurationError:
        return  # one field alone can not have it


def _fewer_choices(scenario: Scenario, names: frozenset[str], purse: Budget, length: _Length) -> Scenario:
    """Choices cut off at the end, and made 0 block by block; never in a run that is longer than `length`."""

    def holds(choices: tuple[int, ...]) -> Scenario | None:
        nonlocal length
        if not purse.left:
            return None
        attempt = attrs.evolve(scenario, choices=choices)
        played = attempt.run()
        purse.spend(played.result.steps)
        good = played.violation is not None and played.violation.name in names
        if not good or _length(played) > length:
            return None
        length = _length(played)
        return attrs.evolve(attempt, choices=played.result.choices)

    low, high = 0, len(scenario.choices or ())
    while low < high:
        middle = (low + high) // 2
        found = holds((scenario.choices or ())[:middle])
        if found is None:
            low = middle + 1
        else:
            scenario = found
            high = min(middle, len(found.choices or ()))
    size = max(len(scenario.choices or ()) // 2, 1)
    while purse.left and scenario.choices:
        for at in range(0, len(scenario.choices), size):
            now = scenario.choices or ()
            zeroed = (*now[:at], *([0] * len(now[at : at + size])), *now[at + size :])
            if zeroed != now:
                scenario = holds(zeroed) or scenario
        if size == 1:
            break
        size = max(size // 4, 1)
    return scenario
