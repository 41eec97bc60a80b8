"""`run`: a whole comparison, spread over the cores."""

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from typing import Any, Final

import attrs

from paxos.check.workers import Inline, Processes
from paxos.compare.faults import Fault, find_faults
from paxos.compare.measure import measure, quorums_of
from paxos.compare.model import Comparison, Place
from paxos.compare.places import select
from paxos.compare.plan import Cell, Plan, cells_of, compared, default_protocols
from paxos.compare.topologies import find_place
from paxos.errors import ConfigurationError

__all__ = ["compare", "plan_of", "run"]

#: How long a run with faults takes if nothing else is said, seconds.
_FAULTY_S: Final = 30.0


def run(
    protocols: str | Sequence[str] | None = None,
    topology: str | Place = "nsdi21",
    conflict: float | Sequence[float] = 0,
    seed: int = 1,
    *,
    nodes: int | None = None,
    sites: Sequence[str] | None = None,
    leader: str | None = None,
    faults: str | Sequence[Fault] = (),
    workers: int | None = 1,
    executor: Executor | None = None,
    advance: Callable[[], None] | None = None,
    **more: Any,
) -> Comparison:
    """Run several protocols under the same load, in virtual time, and compare what comes of it.

    Args:
        protocols: names: "paxos" (every command is a decree of its own), "multipaxos", "fastpaxos" (its log),
            "epaxos", and whatever else is installed; None for the logs that come along.
        topology: a bundled one's name, `uniform:MS`, or a place.
        conflict: percent of the commands that touch one and the same key; several for a run each.
        seed: of all choices: the same gives the same comparison, byte for byte.
        nodes, sites, leader: see `find_place`.
        faults: presets by name, with commas between, such as "leader-killed"; or the faults themselves.
        workers: processes to spread the runs over; None for one on each core; 1 for none.
        executor: where to run instead.
        advance: called after each run.
        more: fields of `Plan`.

    Returns:
        What was found.

    Raises:
        ConfigurationError: something that can not work; the message says what.
        WrongRun: a protocol did something wrong.
    """
    if isinstance(topology, Place):
        place = select(topology, nodes=nodes, sites=sites, leader=leader)
    else:
        place = find_place(topology, nodes=nodes, sites=sites, leader=leader)
    plan = plan_of(
        protocols or default_protocols(), place, conflict=conflict, seed=seed, faults=faults, **more
    )
    return compare(plan, place, workers=workers, executor=executor, advance=advance)


def plan_of(
    protocols: str | Sequence[str], place: Place, faults: str | Sequence[Fault] = (), **more: Any
) -> Plan:
    """A plan for a place, whose faults are at its sites. Arguments and errors are those of `run`."""
    known = {field.name for field in attrs.fields(Plan)}
    unknown = [each for each in more if each not in known]
    if unknown:
        raise ConfigurationError(
            f"compare: there is no {unknown[0]!r:.60}; known are {', '.join(sorted(known))}"
        )
    plan = Plan(protocols=protocols, **more)
    for protocol in plan.protocols:
        quorums_of(compared(protocol), place, plan.failures)
    if faults:
        duration_s = plan.duration_s or _FAULTY_S
        found = find_faults(faults, place, duration_s)
        plan = attrs.evolve(plan, duration_s=duration_s, faults=found)
    return plan


def compare(
    plan: Plan,
    place: Place,
    *,
    workers: int | None = 1,
    executor: Executor | None = None,
    advance: Callable[[], None] | None = None,
) -> Comparison:
    """Carry out a plan at a place. Arguments and errors are those of `run`."""
    cells = cells_of(plan)
    runs: list[Any] = [None] * len(cells)
    pool = executor or (Inline() if workers == 1 or len(cells) == 1 else Processes(workers))
    try:
        under_way = [(at, pool.submit(_measured, plan, place, cells[at])) for at in _longest_first(cells)]
        for at, future in under_way:
            try:
                runs[at] = future.result()
            except BrokenExecutor as error:
                raise ConfigurationError(
                    f"compare: a process died while {cells[at]} or another run was under way, most likely "
                    "for want of memory; fewer commands or `workers=1` need less"
                ) from error
            if advance is not None:
                advance()
    finally:
        if executor is None:
            if isinstance(pool, Processes):
                pool.stop()
            else:
                pool.shutdown()
    return Comparison(place, plan.seed, plan.to_json(), tuple(runs))


def _measured(plan: Plan, place: Place, cell: Cell) -> Any:
    return measure(plan, place, cell)


def _longest_first(cells: Sequence[Cell]) -> list[int]:
    """What takes longest first, so that no core is left with it at the end.

    Conflicts cost messages, and where somebody leads there are fewest.
    """
    led = {name: compared(name).placed_bound_ms is not None for name in {cell.protocol for cell in cells}}
    return sorted(range(len(cells)), key=lambda at: (led[cells[at].protocol], -cells[at].conflict, at))
