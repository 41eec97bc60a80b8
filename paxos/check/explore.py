"""The explorer: runs schedule after schedule and looks for one in which something breaks.

Schedule number i of seed s is always the same (`paxos.check.draw`), so an exploration is a range of
numbers.  It is cut into batches, which an executor runs wherever it likes; their results are taken in the
order of their numbers, whatever the order in which they come.  So the totals, the first violation and the
state that a later run goes on from depend on nothing but protocol, seed and number of schedules.

A process that dies takes only its batches with it.  These are run again, one schedule at a time, and the
schedule that kills is named and kept.  So is one that takes too long: its process is ended.
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

from paxos.check.draw import DRAWING, LARGE, SIZES, scenario_of
from paxos.check.minimise import BUDGET, Minimised, NotRepeated, minimise
from paxos.check.scenario import FATAL, Scenario, protocol_named
from paxos.check.spread import Killed, Unit, in_order
from paxos.check.workers import Inline, Processes, in_time
from paxos.errors import ConfigurationError
from paxos.sim.ledger import probes_of
from paxos.sim.runner import fewer_collections

__all__ = ["Exploration", "Finding", "Handled", "Inline", "Lost", "Tally", "explore", "run_batch"]

#: Schedules in one batch: a fraction of a second.
BATCH: Final = 16
#: The longest that one schedule may take in a process of the pool, seconds: far longer than any does.
TIMEOUT_S: Final = 120.0
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
        late: those of the lost ones that took too long.
        gave_up: schedules in which the search for an order of what clients did met its bound, so that
            nothing is known of that order; nothing else broke there.
        walked: messages received in walks, by type: what `effective` is a part of.
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
    late: tuple[int, ...] = ()
    gave_up: tuple[int, ...] = ()
    walked: Mapping[str, int] = {}

    def __add__(self, other: object) -> "Tally":
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(*(_sum(mine, its) for mine, its in zip(self, other, strict=True)))


NOTHING: Final = Tally(0, 0, 0, {}, {}, {}, {}, (), ())


def _sum(one: Any, *others: Any) -> Any:
    if isinstance(one, Mapping):
        added = Counter(one)
        for other in others:
            added.update(other)
        return dict(sorted(added.items()))
    for other in others:
        one += other
    return one


class Handled(NamedTuple):
    """How often messages of one type came from another node.

    Args:
        arrived: in all schedules.
        walked: in walks only; elsewhere nobody looks whether a message does something.
        did: of those in walks, how many did something.
    """

    arrived: int
    walked: int
    did: int


@attrs.frozen
class Finding:
    """A schedule in which something broke.

    Args:
        index: its number.
        name: of what broke.
        sentence: what broke, where.
        scenario: the schedule.
        minimised: what it was made small to; None where that was not asked for, or it did not repeat.
        path: where it was saved; None where it was not.
        repeated: whether it broke again when it was run again. If not, the protocol or its invariants are not
            deterministic, and the scenario is what was drawn.
    """

    index: int
    name: str
    sentence: str
    scenario: Scenario
    minimised: Minimised | None = None
    path: str | None = None
    repeated: bool = True


@attrs.frozen
class Lost:
    """A schedule that killed the process it ran in, or took too long there.

    Args:
        index: its number.
        scenario: the schedule; running it may kill.
        path: where it was saved; None where it was not.
        late: whether it took too long.
    """

    index: int
    scenario: Scenario
    path: str | None = None
    late: bool = False


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
        again: `(first, last)` of the schedules that were run again, because a process died with them under
            way; this time, and not part of equality.
        fixed: `(index, name, sentence)` of what broke in an earlier run and, run again now, does not; this
            time, and not part of equality.
        sizes: of the schedules.
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
    again: tuple[tuple[int, int], ...] = attrs.field(default=(), eq=False)
    fixed: tuple[tuple[int, str, str], ...] = attrs.field(default=(), eq=False)
    sizes: str = LARGE

    @property
    def ok(self) -> bool:
        """Whether nothing broke and nothing was lost."""
        return not self.findings and not self.lost

    @property
    def missing(self) -> tuple[str, ...]:
        """Probes of the protocol that were never hit."""
        probes = probes_of(protocol_named(self.protocol))
        return tuple(probe for probe in probes if not self.tally.seen.get(probe))

    @property
    def handlers(self) -> dict[str, Handled]:
        """For every message type of the protocol, how often one arrived, and how often one did something."""
        names = [each.name for each in protocol_named(self.protocol).messages]
        tally = self.tally
        counts = (tally.received, tally.walked, tally.effective)
        return {name: Handled(*(count.get(name, 0) for count in counts)) for name in names}


def run_batch(
    protocol: str,
    seed: int,
    first: int,
    last: int,
    nodes: int | None,
    keep_going: bool,
    sizes: str = LARGE,
) -> Tally:
    """Run schedules `first` to `last - 1`; up to the first that breaks something, unless `keep_going`.

    It is what travels to workers: a function of a module, with plain arguments.
    """
    # Between schedules, too: the first look after one would go through all that it left.
    with fewer_collections():
        tallies = []
        for index in range(first, last):
            tallies.append(_run_one(index, scenario_of(protocol, seed, index, nodes, sizes)))
            if tallies[-1].broken and not keep_going:
                break
        # Added up once: for short schedules it would be a good part of their time.
        return Tally(*map(_sum, NOTHING, *tallies))


def _run_one(index: int, scenario: Scenario) -> Tally:
    with in_time():
        played = scenario.run()
    result, violation = played.result, played.violation
    broken = () if violation is None else ((index, violation.name, violation.sentence),)
    return Tally(
        1,
        result.steps,
        result.deliveries,
        result.seen,
        result.messages,
        played.effective,
        {scenario.kind: 1},
        broken,
        (),
        gave_up=(index,) if played.gave_up and violation is None else (),
        walked={} if scenario.kind == "timed" else result.messages,
    )


def explore(
    protocol: str = "paxos",
    schedules: int = 1000,
    *,
    seed: int = 0,
    workers: int | None = None,
    nodes: int | None = None,
    sizes: str = LARGE,
    keep_going: bool = False,
    minimised: bool = True,
    out: str | Path | None = None,
    state: str | Path | None = None,
    executor: Executor | None = None,
    batch: int = BATCH,
    budget: int = BUDGET,
    schedule_timeout_s: float = TIMEOUT_S,
    advance: Callable[[int], None] | None = None,
) -> Exploration:
    """Run schedules until something breaks, or all are done.

    Args:
        protocol: its name, as `find_protocol` takes it; workers find it by that.
        schedules: how many.
        seed: which; equal seeds give equal schedules.
        workers: processes; None for one on each core, 0 for none but this one.
        nodes: always so many; None to draw it.
        sizes: "large" schedules, "small" ones, or "mixed": of 128 one large, the others small.
        keep_going: go on after something broke.
        minimised: make what broke small.
        out: a directory to which scenarios are saved.
        state: a file that remembers how far it came; when there, it goes on from it. What had broken is
            run again first, and dropped if it does not break any more.
        executor: where to run batches instead; it is not shut down. A Dask cluster's, for instance.
        batch: schedules in one unit of work.
        budget: steps that making one scenario small may take.
        schedule_timeout_s: the longest that one schedule may take, seconds; then its process is ended, its
            stack written to standard error, and the schedule given up. Only in processes started here.
        advance: called with numbers of schedules as they are done.

    Returns:
        What it came to. An interruption ends it early, with `interrupted` set.

    Raises:
        ConfigurationError: an argument that can not work, or a state file of another exploration.
    """
    protocol_named(protocol)
    _check(schedules, seed, workers, nodes, batch)
    _check_sizes(sizes)
    _check_where(schedule_timeout_s, executor)
    began_s = time.perf_counter()
    progress = _Progress(protocol, seed, nodes, sizes, keep_going, batch, state)
    before = progress.tally
    spread = executor or (Inline() if workers == 0 else Processes(workers, schedule_timeout_s))
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
        again=tuple(progress.again),
        fixed=tuple(progress.fixed),
        sizes=sizes,
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
    if advance is not None and progress.tally.schedules:
        advance(min(progress.next, schedules))
    try:
        _look_again(progress, spread)
    except BaseException as error:
        if isinstance(spread, Processes) and owned:
            spread.stop()
        if isinstance(error, KeyboardInterrupt):
            return True
        raise
    end = 0 if progress.done else schedules
    units = (
        Unit(first, min(first + progress.batch, end), run_batch, *progress.arguments)
        for first in range(progress.next, end, progress.batch)
    )
    results = in_order(spread, units, owned=owned, again=progress.runs_again)
    try:
        for unit, came in results:
            progress.take(unit, _lost(unit.first, came) if isinstance(came, Killed) else came)
            if advance is not None:
                advance(unit.last - unit.first)
            if progress.done:
                break
    except KeyboardInterrupt:
        return True
    finally:
        # First what must not be lost if somebody is in a greater hurry still.
        progress.save()
        results.close()
    return False


def _look_again(progress: "_Progress", spread: Executor) -> None:
    """Run again what broke in an earlier run: the protocol may be another one since."""
    units = [Unit(index, index + 1, run_batch, *progress.arguments) for index, _, _ in progress.tally.broken]
    again = {}
    for unit, came in in_order(spread, units, owned=False):
        again[unit.first] = _lost(unit.first, came) if isinstance(came, Killed) else came
    if again:
        progress.looked_again(again)
        progress.save()


def _lost(index: int, killed: Killed) -> Tally:
    return NOTHING._replace(lost=(index,), late=(index,) if killed.late else ())


def _check(schedules: object, seed: object, workers: object, nodes: object, batch: object) -> None:
    for name, value, low, high in (
        ("schedules", schedules, 1, _MAX_SCHEDULES),
        ("seed", seed, 0, 1 << 63),
        ("workers", 1 if workers is None else workers, 0, 1024),
        ("nodes", 1 if nodes is None else nodes, 1, 100),
        ("batch", batch, 1, 100_000),
    ):
        if type(value) is not int or not low <= value <= high:
            raise ConfigurationError(f"{name}: expected a whole number in {low}..{high}, got {value!r:.40}")


def _check_sizes(sizes: str) -> None:
    if sizes not in SIZES:
        raise ConfigurationError(f"sizes: expected one of {', '.join(SIZES)}, got {sizes!r:.40}")


def _check_where(seconds: object, executor: object) -> None:
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise ConfigurationError(
            f"executor: expected a concurrent.futures.Executor, got {executor!r:.60}; for a number of "
            "processes give workers"
        )
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 86_400:
        raise ConfigurationError(
            f"schedule_timeout_s: expected seconds above 0, at most 86400, got {seconds!r:.40}"
        )


def _with_scenarios(
    exploration: Exploration, nodes: int | None, minimised: bool, out: str | Path | None, budget: int
) -> Exploration:
    """The same with the scenarios of what broke, made small and saved."""
    protocol, seed, sizes = exploration.protocol, exploration.seed, exploration.sizes
    findings, lost = [], []
    for index, name, sentence in exploration.tally.broken:
        drawn = scenario_of(protocol, seed, index, nodes, sizes)
        scenario = attrs.evolve(drawn, violation=name, sentence=sentence)
        kept, small, repeated = _small(scenario, minimised, budget)
        path = _saved(kept, out, f"{_stem(protocol)}-{seed}-{index}-{_stem(name)}.json", spare=not repeated)
        findings.append(Finding(index, name, sentence, kept, small, path, repeated))
    for index in exploration.tally.lost:
        late = index in exploration.tally.late
        name = "OutOfTime" if late else "Killed"
        scenario = scenario_of(protocol, seed, index, nodes, sizes)
        remark = f"{scenario.remark}: {FATAL[name]}"
        scenario = attrs.evolve(scenario, violation=name, sentence=FATAL[name], remark=remark)
        path = _saved(scenario, out, f"{_stem(protocol)}-{seed}-{index}-killed.json")
        lost.append(Lost(index, scenario, path, late))
    return attrs.evolve(exploration, findings=tuple(findings), lost=tuple(lost))


def _small(scenario: Scenario, minimised: bool, budget: int) -> tuple[Scenario, Minimised | None, bool]:
    """What is kept of a schedule in which something broke, what it was made small to, whether it repeated."""
    try:
        if minimised:
            small = minimise(scenario, accepted=(scenario.violation,), budget=budget)
            return small.scenario, small, True
        # With its choices listed, since they and not the seed are what repeats it.
        played = scenario.run()
        if played.violation is not None and played.violation.name == scenario.violation:
            return attrs.evolve(scenario, choices=played.result.choices, seed=0), None, True
    except NotRepeated:
        pass
    remark = f"{scenario.remark}: it did not break again when it was run again"
    return attrs.evolve(scenario, remark=remark), None, False


def _stem(protocol: str) -> str:
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in protocol)


def _saved(scenario: Scenario, out: str | Path | None, name: str, spare: bool = False) -> str | None:
    """Save it, and say where; a file that is there is spared where the scenario may not repeat."""
    if out is None:
        return None
    directory = Path(out)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{out}: can not be made a directory: {error.strerror}") from error
    path = directory / name
    if spare and path.exists():
        path = path.with_suffix(".unrepeated.json")
    scenario.save(path)
    return str(path)


class _Progress:
    """How far an exploration came, and the file that remembers it."""

    def __init__(
        self,
        protocol: str,
        seed: int,
        nodes: int | None,
        sizes: str,
        keep_going: bool,
        batch: int,
        path: str | Path | None,
    ) -> None:
        self.tally: Tally = NOTHING
        self.next: int = 0
        self.batch: int = batch
        #: Ranges of schedules that were run again.
        self.again: list[tuple[int, int]] = []
        #: What broke in an earlier run and does not now.
        self.fixed: list[tuple[int, str, str]] = []
        #: What `run_batch` takes before and after the numbers.
        self.arguments: tuple[tuple[Any, ...], tuple[Any, ...]] = (
            (protocol, seed),
            (nodes, keep_going, sizes),
        )
        self._keep_going = keep_going
        self._path = None if path is None else Path(path)
        self._saved_s = time.monotonic()
        self._what: dict[str, object] = {
            "format": _STATE_FORMAT,
            "protocol": protocol,
            "messages": protocol_named(protocol).messages.digest(),
            "drawing": DRAWING,
            "seed": seed,
            "nodes": nodes,
            "sizes": sizes,
            "keep_going": keep_going,
            "batch": batch,
        }
        if self._path is None:
            return
        if self._path.exists():
            self._load(self._path)
        elif not self._path.parent.is_dir():
            raise ConfigurationError(
                f"state file {self._path}: there is no directory {self._path.parent}; make it, or name "
                "another file"
            )

    @property
    def done(self) -> bool:
        """Whether nothing more should be run: something broke, or killed its process."""
        return bool(self.tally.broken or self.tally.lost) and not self._keep_going

    def runs_again(self, index: int) -> None:
        """A schedule is run again, because a process died with it under way."""
        if self.again and self.again[-1][1] == index - 1:
            self.again[-1] = (self.again[-1][0], index)
        else:
            self.again.append((index, index))

    def looked_again(self, again: Mapping[int, Tally]) -> None:
        """What had broken was run again, each alone: keep what it breaks now, drop what is sound."""
        tally = self.tally
        broken: tuple[tuple[int, str, str], ...] = ()
        for index, name, sentence in tally.broken:
            now = again[index]
            broken += now.broken
            tally = tally._replace(lost=tally.lost + now.lost, late=tally.late + now.late)
            if not now.broken and not now.lost:
                self.fixed.append((index, name, sentence))
        if self.fixed and not self._keep_going:
            # Its batch ended with it: what comes after was not run.
            self.next = self.fixed[0][0] + 1
        self.tally = tally._replace(broken=broken)

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
            raise ConfigurationError(
                f"state file {self._path}: can not be written: {error.strerror}; see to it, or name "
                "another file"
            ) from error

    def _load(self, path: Path) -> None:
        try:
            data = json.loads(path.read_bytes())
        except OSError as error:
            raise ConfigurationError(
                f"state file {path}: can not be read: {error.strerror}; see to it, or name another file"
            ) from error
        except (ValueError, RecursionError) as error:
            raise _no_state(path, f"not JSON, perhaps cut off: {error}") from error
        if not isinstance(data, Mapping):
            raise _no_state(path, f"expected an object, got {data!r:.40}")
        missing = [key for key in (*self._what, "next", "tally") if key not in data]
        if missing:
            raise _no_state(path, f"{', '.join(map(repr, missing))} missing")
        for key, mine in self._what.items():
            if data[key] != mine:
                raise ConfigurationError(
                    f"state file {path}: of another exploration: its {key} is {data[key]!r:.70}, not "
                    f"{mine!r:.70}; give the arguments that it was begun with, or name another file"
                )
        if type(data["next"]) is not int or data["next"] < 0:
            raise _no_state(path, f"next: expected a whole number from 0, got {data['next']!r:.40}")
        self.next = data["next"]
        try:
            self.tally = _tally_of(data["tally"])
        except (ValueError, KeyError, TypeError) as error:
            raise _no_state(path, f"its tally: {error!r:.80}") from error


def _no_state(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"state file {path}: no state of an exploration: {what}; name another file, or remove it to begin "
        "anew"
    )


def _tally_of(data: Any) -> Tally:
    """A tally that was saved. Earlier releases saved less: not who was late, gave up, or arrived in walks."""

    def named(part: str) -> dict[str, int]:
        return {str(name): int(times) for name, times in dict(data[part]).items()}

    return Tally(
        schedules=int(data["schedules"]),
        steps=int(data["steps"]),
        deliveries=int(data["deliveries"]),
        seen=named("seen"),
        received=named("received"),
        effective=named("effective"),
        kinds=named("kinds"),
        broken=tuple((int(index), str(name), str(sentence)) for index, name, sentence in data["broken"]),
        lost=tuple(map(int, data["lost"])),
        late=tuple(map(int, data.get("late", ()))),
        gave_up=tuple(map(int, data.get("gave_up", ()))),
        walked=named("walked") if "walked" in data else {},
    )
