"""The explorer: runs schedule after schedule and looks for one in which something breaks.

Schedule number i of seed s is always the same (`paxos.check.draw`), so an exploration is a range of
numbers.  It is cut into batches, which an executor runs wherever it likes; their results are taken in the
order of their numbers, whatever the order in which they come.  So the totals, the first violation and the
state that a later run goes on from depend on nothing but protocol, seed and number of schedules.

A process that dies takes only its batches with it.  These are run again, one schedule at a time, and the
schedule that kills is named and kept.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final, NamedTuple

import attrs

from paxos.check.draw import scenario_of
from paxos.check.minimise import BUDGET, Minimised, minimise
from paxos.check.scenario import Scenario, protocol_named
from paxos.check.spread import Inline, Processes, Unit, in_order
from paxos.errors import ConfigurationError

__all__ = ["Exploration", "Finding", "Inline", "Lost", "Tally", "explore", "run_batch"]

#: Schedules in one batch: a fraction of a second.
BATCH: Final = 16
#: The version of the state file.
_STATE_FORMAT: Final = 1
#: The state is written so often at most, seconds.
_SAVE_EVERY_S: Final = 1.0
_MAX_SCHEDULES: Final = 1_000_000_000


class Tally(NamedTuple):
    """What schedules added up to; every part is a plain value, so that it travels between processes.

    Args:
        schedules: how many.
        steps: of nodes and disks.
        deliveries: messages that one node got from another.
        seen: events of the replicas and faults, by name.
        received: messages, by type.
        effective: those that made a node do something, by type; seen in walks only.
        kinds: schedules by kind.
        broken: `(index, name, sentence)` of each schedule in which something broke.
        lost: indexes of the schedules that killed the process they ran in.
    """

    schedules: int
    steps: int
    deliveries: int
    seen: Mapping[str, int]
    received: Mapping[str, int]
    effective: Mapping[str, int]
    kinds: Mapping[str, int]
    broken: tuple[tuple[int, str, str], ...]
    lost: tuple[int, ...]

    def __add__(self, other: object) -> "Tally":
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(*(_sum(mine, its) for mine, its in zip(self, other, strict=True)))


NOTHING: Final = Tally(0, 0, 0, {}, {}, {}, {}, (), ())


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        added = Counter(one)
        added.update(other)
        return dict(sorted(added.items()))
    return one + other


@attrs.frozen
class Finding:
    """A schedule in which something broke.

    Args:
        index: its number.
        name: of what broke.
        sentence: what broke, where.
        scenario: the schedule.
        minimised: what it was made small to; None where that was not asked for.
        path: where it was saved; None where it was not.
    """

    index: int
    name: str
    sentence: str
    scenario: Scenario
    minimised: Minimised | None = None
    path: str | None = None


@attrs.frozen
class Lost:
    """A schedule that killed the process it ran in.

    Args:
        index: its number.
        scenario: the schedule; running it may kill.
        path: where it was saved; None where it was not.
    """

    index: int
    scenario: Scenario
    path: str | None = None


@attrs.frozen
class Exploration:
    """What an exploration came to.

    Args:
        protocol: its name.
        seed: of the schedules.
        wanted: how many schedules there should be.
        tally: what they added up to.
        findings: what broke, in order of number.
        lost: what killed its process.
        interrupted: whether it was broken off.
        seconds: how long it took here, this time; not part of equality.
        ran: schedules run this time, the others being remembered.
        ran_deliveries: messages delivered in those.
    """

    protocol: str
    seed: int
    wanted: int
    tally: Tally
    findings: tuple[Finding, ...] = ()
    lost: tuple[Lost, ...] = ()
    interrupted: bool = False
    seconds: float = attrs.field(default=0.0, eq=False)
    ran: int = attrs.field(default=0, eq=False)
    ran_deliveries: int = attrs.field(default=0, eq=False)

    @property
    def ok(self) -> bool:
        """Whether nothing broke and nothing was lost."""
        return not self.findings and not self.lost

    @property
    def missing(self) -> tuple[str, ...]:
        """Probes of the protocol that were never hit."""
        return tuple(p for p in protocol_named(self.protocol).probes if not self.tally.seen.get(p))

    @property
    def handlers(self) -> dict[str, tuple[int, int]]:
        """For every message type of the protocol, how often one arrived, and how often one did something."""
        names = [each.name for each in protocol_named(self.protocol).messages]
        tally = self.tally
        return {name: (tally.received.get(name, 0), tally.effective.get(name, 0)) for name in names}


def run_batch(protocol: str, seed: int, first: int, last: int, nodes: int | None, keep_going: bool) -> Tally:
    """Run schedules `first` to `last - 1`; up to the first that breaks something, unless `keep_going`.

    It is what travels to workers: a function of a module, with plain arguments.
    """
    total = NOTHING
    for index in range(first, last):
        scenario = scenario_of(protocol, seed, index, nodes)
        played = scenario.run()
        result, violation = played.result, played.violation
        broken = () if violation is None else ((index, violation.name, violation.sentence),)
        total += Tally(
            1,
            result.steps,
            result.deliveries,
            result.seen,
            result.messages,
            played.effective,
            {scenario.kind: 1},
            broken,
            (),
        )
        if broken and not keep_going:
            break
    return total


def explore(
    protocol: str = "paxos",
    schedules: int = 1000,
    *,
    seed: int = 0,
    workers: int | None = None,
    nodes: int | None = None,
    keep_going: bool = False,
    minimised: bool = True,
    out: str | Path | None = None,
    state: str | Path | None = None,
    executor: Executor | None = None,
    batch: int = BATCH,
    budget: int = BUDGET,
    advance: Callable[[int], None] | None = None,
) -> Exploration:
    """Run schedules until something breaks, or all are done.

    Args:
        protocol: its name, as `find_protocol` takes it; workers find it by that.
        schedules: how many.
        seed: which; equal seeds give equal schedules.
        workers: processes; None for one on each core, 0 for none but this one.
        nodes: always so many; None to draw it.
        keep_going: go on after something broke.
        minimised: make what broke small.
        out: a directory to which scenarios are saved.
        state: a file that remembers how far it came; when there, it goes on from it.
        executor: where to run batches instead; it is not shut down. A Dask cluster's, for instance.
        batch: schedules in one unit of work.
        budget: steps that making one scenario small may take.
        advance: called with numbers of schedules as they are done.

    Returns:
        What it came to. An interruption ends it early, with `interrupted` set.

    Raises:
        ConfigurationError: an argument that can not work, or a state file of another exploration.
    """
    protocol_named(protocol)
    _check(schedules, seed, workers, nodes, batch)
    began_s = time.perf_counter()
    progress = _Progress(protocol, seed, nodes, keep_going, batch, state)
    before = progress.tally
    if advance is not None and before.schedules:
        advance(min(progress.next, schedules))
    spread = executor if executor is not None else Inline() if workers == 0 else Processes(workers)
    interrupted = _run(progress, spread, executor is None, schedules, advance)
    total = progress.tally
    exploration = Exploration(
        protocol,
        seed,
        schedules,
        total,
        interrupted=interrupted,
        seconds=time.perf_counter() - began_s,
        ran=total.schedules - before.schedules,
        ran_deliveries=total.deliveries - before.deliveries,
    )
    return exploration if interrupted else _with_scenarios(exploration, nodes, minimised, out, budget)


def _run(
    progress: "_Progress",
    spread: Executor,
    owned: bool,
    schedules: int,
    advance: Callable[[int], None] | None,
) -> bool:
    """Run what is left to run; whether it was interrupted."""
    end = 0 if progress.done else schedules
    units = (
        Unit(first, min(first + progress.batch, end), run_batch, *progress.arguments)
        for first in range(progress.next, end, progress.batch)
    )
    results = in_order(spread, units, owned=owned)
    try:
        for unit, tally in results:
            progress.take(unit, tally if tally is not None else NOTHING._replace(lost=(unit.first,)))
            if advance is not None:
                advance(unit.last - unit.first)
            if progress.done:
                break
    except KeyboardInterrupt:
        return True
    finally:
        results.close()
        progress.save()
    return False


def _check(schedules: object, seed: object, workers: object, nodes: object, batch: object) -> None:
    for name, value, low, high in (
        ("schedules", schedules, 0, _MAX_SCHEDULES),
        ("seed", seed, 0, 1 << 63),
        ("workers", 1 if workers is None else workers, 0, 1024),
        ("nodes", 1 if nodes is None else nodes, 1, 100),
        ("batch", batch, 1, 100_000),
    ):
        if type(value) is not int or not low <= value <= high:
            raise ConfigurationError(f"{name}: expected a whole number in {low}..{high}, got {value!r:.40}")


def _with_scenarios(
    exploration: Exploration, nodes: int | None, minimised: bool, out: str | Path | None, budget: int
) -> Exploration:
    """The same with the scenarios of what broke, made small and saved."""
    protocol, seed = exploration.protocol, exploration.seed
    findings, lost = [], []
    for index, name, sentence in exploration.tally.broken:
        scenario = attrs.evolve(scenario_of(protocol, seed, index, nodes), violation=name, sentence=sentence)
        small = minimise(scenario, accepted=(name,), budget=budget) if minimised else None
        kept = small.scenario if small is not None else _listed(scenario)
        path = _saved(kept, out, f"{_stem(protocol)}-{seed}-{index}-{name}.json")
        findings.append(Finding(index, name, sentence, kept, small, path))
    for index in exploration.tally.lost:
        scenario = scenario_of(protocol, seed, index, nodes)
        scenario = attrs.evolve(scenario, remark=f"{scenario.remark}: it killed the process it ran in")
        path = _saved(scenario, out, f"{_stem(protocol)}-{seed}-{index}-killed.json")
        lost.append(Lost(index, scenario, path))
    return attrs.evolve(exploration, findings=tuple(findings), lost=tuple(lost))


def _listed(scenario: Scenario) -> Scenario:
    """With its choices listed, since they and not the seed are what repeats it."""
    return attrs.evolve(scenario, choices=scenario.run().result.choices, seed=0)


def _stem(protocol: str) -> str:
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in protocol)


def _saved(scenario: Scenario, out: str | Path | None, name: str) -> str | None:
    if out is None:
        return None
    directory = Path(out)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{out}: can not be made a directory: {error.strerror}") from error
    path = directory / name
    scenario.save(path)
    return str(path)


class _Progress:
    """How far an exploration came, and the file that remembers it."""

    def __init__(
        self,
        protocol: str,
        seed: int,
        nodes: int | None,
        keep_going: bool,
        batch: int,
        path: str | Path | None,
    ) -> None:
        self.tally: Tally = NOTHING
        self.next: int = 0
        self.batch: int = batch
        #: What `run_batch` takes before and after the numbers.
        self.arguments: tuple[tuple[Any, ...], tuple[Any, ...]] = ((protocol, seed), (nodes, keep_going))
        self._keep_going = keep_going
        self._path = None if path is None else Path(path)
        self._saved_s = time.monotonic()
        self._what: dict[str, object] = {
            "format": _STATE_FORMAT,
            "protocol": protocol,
            "messages": protocol_named(protocol).messages.digest(),
            "seed": seed,
            "nodes": nodes,
            "keep_going": keep_going,
            "batch": batch,
        }
        if self._path is not None and self._path.exists():
            self._load(self._path)

    @property
    def done(self) -> bool:
        """Whether nothing more should be run: something broke, or killed its process."""
        return bool(self.tally.broken or self.tally.lost) and not self._keep_going

    def take(self, unit: Unit, tally: Tally) -> None:
        """A batch is done; it is the next one."""
        self.tally += tally
        self.next = unit.last
        if self._path is not None and time.monotonic() - self._saved_s > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self._path is None:
            return
        self._saved_s = time.monotonic()
        data = {**self._what, "next": self.next, "tally": self.tally._asdict()}
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            beside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            os.replace(beside, self._path)
        except OSError as error:
            raise ConfigurationError(f"{self._path}: can not be written: {error.strerror}") from error

    def _load(self, path: Path) -> None:
        try:
            data = json.loads(path.read_bytes())
            what = {key: data[key] for key in self._what}
            self.next = int(data["next"])
            tally = dict(data["tally"])
            tally["broken"] = tuple(tuple(each) for each in tally["broken"])
            tally["lost"] = tuple(tally["lost"])
            self.tally = Tally(**tally)
        except OSError as error:
            raise ConfigurationError(f"{path}: can not be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path}: no state of an exploration: {error!r:.80}") from error
        for key, mine in self._what.items():
            if what[key] != mine:
                raise ConfigurationError(
                    f"{path}: of another exploration: its {key} is {what[key]!r:.70}, not {mine!r:.70}"
                )
