"""A scenario: one run, whole, as a small file that people read, keep and run again.

There are three kinds, told apart by what a file holds.  A *timed* scenario holds the inputs of
`paxos.sim.run` and its list of choices.  A *walk* holds a plan of moves and the choices that it made.  A
*schedule* is the list of moves itself; it is what a violation of safety is shortened to.

What makes a run the same again is the list of choices or moves, not a seed: it keeps its meaning while the
protocol's messages stay the same.  So a file names the digest of the message table, and one that was
written for other messages is refused and not run into something else.
"""

import functools
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import attrs

import paxos.sim as sim
from paxos.check.history import history_of
from paxos.check.linearize import check_linearizable
from paxos.check.quorums import quorums_from_json, quorums_to_json
from paxos.check.recording import Record, Recorder, recorded, with_times
from paxos.check.walk import Walk, walk
from paxos.contract import Decides, ProtocolDescription, find_protocol
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem
from paxos.service import LogSettings
from paxos.sim import Choices, Faults, Hardware, Result, Topology, Violation, Workload, fields
from paxos.sim.choices import MAX_CHOICES
from paxos.sim.ledger import LOG_SETTINGS
from paxos.sim.moves import parse_move
from paxos.sim.questions import check_asked
from paxos.sim.stepper import Stepper
from paxos.sim.workload import LOG_FIELDS

__all__ = [
    "FATAL",
    "FORMAT",
    "LIVENESS",
    "Played",
    "Scenario",
    "library_version",
    "load_scenario",
    "pack_choices",
    "protocol_named",
]

#: The version of the file format.
FORMAT: Final = 1
#: What breaks when somebody waits too long; nothing of it is a mistake of what was decided.
LIVENESS: Final = frozenset({"Liveness", "Bounded"})
#: What a scenario is said to break that ended the process it ran in, and what that means.
FATAL: Final[Mapping[str, str]] = {
    "Killed": "it killed the process it ran in",
    "OutOfTime": "it ran out of time",
}

_MAX_FILE_BYTES: Final = 64 * 1024 * 1024
_MAX_LINES: Final = 100_000
_MAX_TEXT: Final = 10_000
_WIDTH: Final = 100
#: Of what clients did an order is looked for so long; a run has been judged by then without a search.
_MAX_STATES: Final = 200_000


@functools.lru_cache(maxsize=32)
def _installed(name: str) -> ProtocolDescription:
    return find_protocol(name)


def protocol_named(name: str) -> ProtocolDescription:
    """The protocol of that name; looking through installed distributions takes long and is done once.

    Raises:
        ConfigurationError: there is none.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"protocol: expected a name, got {name!r:.60}")
    return find_protocol(name) if ":" in name else _installed(name)


@functools.cache
def library_version() -> str:
    """The version of the installed library, as scenarios name it."""
    try:
        return importlib.metadata.version("paxos-family")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


class Played(NamedTuple):
    """What came of running a scenario.

    Args:
        result: the run.
        skipped: numbers, from 1, of the lines of the schedule that could not be made.
        records: the steps, when they were asked for.
        effective: for walks and schedules: messages that made a node do something, by type.
        gave_up: whether the search for an order of what clients did met its bound: whether that was
            linearizable is not known.
        truncated: whether there were more steps than `records` holds; it is the end that is missing.
    """

    result: Result
    skipped: tuple[int, ...] = ()
    records: tuple[Record, ...] = ()
    effective: Mapping[str, int] = {}
    gave_up: bool = False
    truncated: bool = False

    @property
    def violation(self) -> Violation | None:
        """The first thing that broke."""
        return self.result.violations[0] if self.result.violations else None


def _optional(check: Any) -> Any:
    return attrs.validators.optional(check)


def _text(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ConfigurationError(f"Scenario.{attribute.name}: expected a text, got {value!r:.60}")


def _kind(kind: type) -> Any:
    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, kind):
            raise ConfigurationError(
                f"Scenario.{attribute.name}: expected {kind.__name__}, got {value!r:.60}"
            )

    return check


def _choices(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, tuple) or len(value) > MAX_CHOICES:
        raise ConfigurationError(f"Scenario.choices: expected a list of whole numbers, got {value!r:.60}")
    for index, each in enumerate(value):
        if type(each) is not int or each < 0:
            raise ConfigurationError(
                f"Scenario.choices[{index}]: expected a whole number from 0, got {each!r:.60}"
            )


def _schedule(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, tuple) or len(value) > _MAX_LINES:
        raise ConfigurationError(f"Scenario.schedule: expected at most {_MAX_LINES} lines, got {value!r:.60}")
    for index, line in enumerate(value):
        try:
            parse_move(line)
        except ConfigurationError as error:
            raise ConfigurationError(f"schedule, line {index + 1}: {error}") from error


def _check_asked(decides: Decides, schedule: Sequence[str]) -> None:
    for number, line in enumerate(schedule, 1):
        asked = parse_move(line).asked
        if asked is not None:
            try:
                check_asked(decides, asked)
            except ConfigurationError as error:
                raise ConfigurationError(f"schedule, line {number}, {line!r:.80}: {error}") from error


@attrs.frozen
class Scenario:
    """One run, whole.

    Args:
        protocol: its name, as `find_protocol` takes it.
        nodes: how many.
        quorums: the quorum system; the protocol's default for None.
        settings: the protocol's own; None for its defaults.
        log: settings of the service of a log; None for those of the simulator.
        topology, hardware, faults, workload, duration_s, grace_s, max_steps: of a timed run, see
            `paxos.sim.run`.
        liveness: whether an operation without an answer counts; settings drawn to be extreme may make one
            wait for ever, and break nothing.
        seed: of the choices, where these are not listed.
        choices: the choices to make, zeros follow; None to draw them from `seed`.
        walk: makes it a random walk.
        schedule: makes it a list of moves, a line each.
        eager: of a walk or schedule: disks sync at once.
        violation: name of what is expected to break; empty for nothing.
        sentence: what broke, when it was found.
        remark: for people.
        version: of the library that made it.
        messages: digest of the protocol's message table.

    Raises:
        ConfigurationError: a field has a wrong type or is out of range; the message names it.
    """

    protocol: str = attrs.field(default="paxos", validator=fields.text)
    nodes: int = attrs.field(default=3, validator=fields.count(1, 100))
    quorums: QuorumSystem | None = attrs.field(default=None, validator=_optional(_kind(QuorumSystem)))
    settings: Any = None
    log: LogSettings | None = attrs.field(default=None, validator=_optional(_kind(LogSettings)))
    topology: Topology = attrs.field(factory=lambda: Topology.named("lan"), validator=_kind(Topology))
    hardware: Hardware = attrs.field(factory=Hardware, validator=_kind(Hardware))
    faults: Faults = attrs.field(factory=Faults, validator=_kind(Faults))
    workload: Workload = attrs.field(factory=Workload, validator=_kind(Workload))
    duration_s: float = attrs.field(default=10.0, validator=fields.number(0.001, 86_400, unit="seconds"))
    grace_s: float = attrs.field(default=120.0, validator=fields.number(0.001, 86_400, unit="seconds"))
    max_steps: int = attrs.field(default=200_000, validator=fields.count(1, 1_000_000_000))
    liveness: bool = attrs.field(default=True, validator=fields.flag)
    seed: int = attrs.field(default=0, validator=fields.count(0, (1 << 63) - 1))
    choices: tuple[int, ...] | None = attrs.field(
        default=None, converter=fields.freeze, validator=_optional(_choices)
    )
    walk: Walk | None = attrs.field(default=None, validator=_optional(_kind(Walk)))
    schedule: tuple[str, ...] | None = attrs.field(
        default=None, converter=fields.freeze, validator=_optional(_schedule)
    )
    eager: bool = attrs.field(default=False, validator=fields.flag)
    violation: str = attrs.field(default="", validator=_text)
    sentence: str = attrs.field(default="", validator=_text)
    remark: str = attrs.field(default="", validator=_text)
    version: str = attrs.field(factory=library_version, validator=_text)
    messages: str = attrs.field(
        default=attrs.Factory(lambda self: protocol_named(self.protocol).messages.digest(), takes_self=True),
        validator=_text,
    )

    def __attrs_post_init__(self) -> None:
        if self.walk is not None and self.schedule is not None:
            raise ConfigurationError("Scenario: it is a walk or a schedule, not both")
        if self.quorums is not None and len(self.quorums.members) != self.nodes:
            raise ConfigurationError(f"Scenario.quorums: {self.quorums!r:.80} is not over {self.nodes} nodes")
        if self.schedule:
            _check_asked(protocol_named(self.protocol).decides, self.schedule)

    @property
    def kind(self) -> str:
        """ "timed", "walk" or "schedule"."""
        return "schedule" if self.schedule is not None else "walk" if self.walk is not None else "timed"

    @property
    def length(self) -> int:
        """How long its list is: lines of a schedule, or choices."""
        return len(self.schedule) if self.schedule is not None else len(self.choices or ())

    # --- running it ----------------------------------------------------------------------------------

    def run(self, *, record: bool = False, trace: bool = False) -> Played:
        """Run it: equal scenarios give equal results.

        Args:
            record: keep every step, for a chart.
            trace: of a timed run: its trace, one JSON line a step.

        Raises:
            ConfigurationError: it can not work as it is.
        """
        if self.kind == "timed":
            return self._run_timed(record, trace)
        recorder = Recorder() if record else None
        stepper = self.stepper(recorder)
        source = Choices(self.seed, self.choices)
        skipped: list[int] = []
        if self.schedule is not None:
            skipped = stepper.play(self.schedule)
            stepper.judge()
        elif self.walk is not None:
            walk(stepper, self.walk, source)
        result, gave_up = self._judged(stepper.result(source.recorded))
        records = tuple(recorder.records) if recorder is not None else ()
        lines = tuple(index + 1 for index in skipped)
        truncated = recorder is not None and recorder.truncated
        return Played(result, lines, records, dict(stepper.effective), gave_up, truncated)

    def stepper(self, recorder: Recorder | None = None) -> Stepper:
        """The cluster of this scenario, to be moved by hand."""
        return Stepper(
            protocol_named(self.protocol),
            self.nodes,
            quorums=self.quorums,
            settings=self.settings,
            log=self.log,
            eager=self.eager,
            observers=() if recorder is None else (recorder,),
        )

    def _run_timed(self, record: bool, trace: bool) -> Played:
        protocol, recorder = protocol_named(self.protocol), None
        if record:
            protocol, recorder = recorded(protocol, quiet=not trace)
        result = sim.run(
            protocol,
            self.nodes,
            self.seed,
            topology=self.topology,
            faults=self.faults,
            workload=self.workload,
            hardware=self.hardware,
            duration_s=self.duration_s,
            grace_s=self.grace_s,
            choices=self.choices,
            settings=self.settings,
            quorums=self.quorums,
            log=self.log,
            max_steps=self.max_steps,
            trace=trace or record,
        )
        judged, gave_up = self._judged(result)
        if recorder is None:
            return Played(judged, gave_up=gave_up)
        # The trace is where times stand; whoever did not ask for it is not given it.
        records = with_times(recorder.records, result.trace or b"")
        judged = judged if trace else attrs.evolve(judged, trace=None)
        return Played(judged, records=records, gave_up=gave_up, truncated=recorder.truncated)

    def _judged(self, result: Result) -> tuple[Result, bool]:
        """The result with what the histories say, without what does not count; whether a search gave up."""
        gave_up = False
        violations = result.violations
        if not self.liveness:
            violations = tuple(each for each in violations if each.name not in LIVENESS)
        if not violations:
            violations, gave_up = _linearizable(protocol_named(self.protocol), result)
        return attrs.evolve(result, violations=violations), gave_up

    def expecting(self, violation: Violation | None) -> Self:
        """The same with what was found to break as what is expected."""
        if violation is None:
            return attrs.evolve(self, violation="", sentence="")
        return attrs.evolve(self, violation=violation.name, sentence=violation.sentence)

    # --- files ---------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        data: dict[str, object] = {
            "format": FORMAT,
            "version": self.version,
            "protocol": self.protocol,
            "messages": self.messages,
            "violation": self.violation,
            "sentence": self.sentence,
            "remark": self.remark,
            "nodes": self.nodes,
            "quorums": None if self.quorums is None else quorums_to_json(self.quorums),
            "settings": fields.plain(self._settings()),
        }
        decides_log = protocol_named(self.protocol).decides is Decides.LOG
        if decides_log:
            data["log"] = fields.plain(LOG_SETTINGS if self.log is None else self.log)
        if self.schedule is not None:
            return {**data, "eager": self.eager, "schedule": list(self.schedule)}
        data["seed"] = self.seed
        data["choices"] = None if self.choices is None else pack_choices(self.choices)
        if self.walk is not None:
            data["liveness"] = self.liveness
            return {**data, "eager": self.eager, "walk": fields.plain(self.walk)}
        for name in ("liveness", "duration_s", "grace_s", "max_steps"):
            data[name] = getattr(self, name)
        for name in _PARTS:
            data[name] = getattr(self, name).to_json()
        if not decides_log:
            data["workload"] = {k: v for k, v in self.workload.to_json().items() if k not in LOG_FIELDS}
        return data

    def _settings(self) -> Any:
        # Written out whole, so that other defaults in a later version change nothing.
        return protocol_named(self.protocol).settings() if self.settings is None else self.settings

    @classmethod
    def from_json(cls, data: object) -> Self:
        """From what `to_json` gave.

        Raises:
            ConfigurationError: it is another version's, for an unknown protocol or for other messages, or a
                key or value is not as it should be; the message says which.
        """
        if not isinstance(data, Mapping) or "format" not in data:
            raise ConfigurationError("no scenario: expected an object with the key 'format'")
        if data["format"] != FORMAT or type(data["format"]) is not int:
            raise ConfigurationError(
                f"format: a scenario of version {data['format']!r:.20}; this release reads version {FORMAT}"
            )
        known = {field.name for field in attrs.fields(cls)} | {"format"}
        for key in data:
            if key not in known:
                raise ConfigurationError(f"unknown key {key!r:.60}; known are {', '.join(sorted(known))}")
        for key in ("protocol", "messages", "nodes"):
            if key not in data:
                raise ConfigurationError(f"{key!r} is missing")
        if type(data["nodes"]) is not int:
            raise ConfigurationError(f"nodes: expected a whole number, got {data['nodes']!r:.60}")
        _check_form(data)
        protocol = protocol_named(data["protocol"])
        _check_messages(protocol, data)
        _check_whole(protocol, data)
        values: dict[str, Any] = {key: value for key, value in data.items() if key not in ("format", *_PARTS)}
        values |= {name: kind.from_json(data[name]) for name, kind in _PARTS.items() if name in data}
        if values.get("quorums") is not None:
            values["quorums"] = quorums_from_json(
                values["quorums"], values["nodes"], protocol.failure_quorums
            )
        if values.get("settings") is not None:
            values["settings"] = fields.from_plain(protocol.settings, values["settings"], "settings")
        if values.get("log") is not None:
            values["log"] = fields.from_plain(LogSettings, values["log"], "log")
        if values.get("walk") is not None:
            values["walk"] = fields.from_plain(Walk, values["walk"], "walk")
        if values.get("choices") is not None:
            values["choices"] = _unpack_choices(values["choices"])
        return cls(**values)

    def dumps(self) -> str:
        """The file's text; equal scenarios give equal texts."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            ConfigurationError: it can not be written.
        """
        try:
            Path(path).write_text(self.dumps(), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{path}: can not be written: {error.strerror}") from error


_PARTS: Final[Mapping[str, Any]] = {
    "topology": Topology,
    "hardware": Hardware,
    "faults": Faults,
    "workload": Workload,
}
#: What a file of every kind holds, beside what makes it one of its kind.
_ALWAYS: Final = ("version", "violation", "sentence", "remark", "quorums", "settings")
#: Without these a file holds no timed run.
_TIMED: Final = ("choices", "duration_s", "grace_s", "max_steps", *_PARTS)


def load_scenario(path: str | Path) -> Scenario:
    """The scenario in a file.

    Raises:
        ConfigurationError: there is none in it that this release can run; one line says what is wrong where.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: can not be read: {error.strerror}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{path}: longer than {_MAX_FILE_BYTES} bytes, so it is no scenario")
    try:
        return Scenario.from_json(json.loads(data, object_pairs_hook=_object))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: no scenario: not JSON, perhaps cut off: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ConfigurationError(f"the key {double!r:.60} is there twice: take out the one that is wrong")
    return found


def pack_choices(choices: Sequence[int]) -> list[str]:
    """Choices as lines of text: numbers with spaces between, `17*0` for seventeen zeros."""
    parts: list[str] = []
    at = 0
    while at < len(choices):
        value, end = choices[at], at + 1
        while end < len(choices) and choices[end] == value:
            end += 1
        parts.append(f"{value}" if end == at + 1 else f"{end - at}*{value}")
        at = end
    lines, line = [], ""
    for part in parts:
        if line and len(line) + len(part) >= _WIDTH:
            lines.append(line)
            line = ""
        line += (" " if line else "") + part
    return [*lines, line] if line else lines


def _unpack_choices(lines: object) -> tuple[int, ...]:
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ConfigurationError(f"choices: expected a list of texts, got {lines!r:.60}")
    choices: list[int] = []
    for number, line in enumerate(lines, 1):
        for part in line.split():
            times, _, value = part.rpartition("*")
            if not value.isdecimal() or not (times or "1").isdecimal() or len(part) > 40:
                raise ConfigurationError(f"choices, line {number}: {part!r:.40} is neither 5 nor 17*5")
            if len(choices) + int(times or 1) > MAX_CHOICES:
                raise ConfigurationError(f"choices: more than {MAX_CHOICES}")
            choices += [int(value)] * int(times or 1)
    return tuple(choices)


def _check_form(data: Mapping[str, Any]) -> None:
    """What makes it a schedule, a walk or a timed run must be there."""
    if data.get("schedule") is not None:
        return
    if data.get("walk") is not None:
        if "choices" not in data:
            raise ConfigurationError("'choices' is missing: it is a walk without the choices that it makes")
        return
    missing = [key for key in _TIMED if key not in data]
    if missing:
        raise ConfigurationError(
            "neither a schedule ('schedule' is missing) nor a walk ('walk' is missing) nor a timed run "
            f"({', '.join(map(repr, missing))} missing): restore what was lost, or find what broke anew"
        )


def _check_whole(protocol: ProtocolDescription, data: Mapping[str, Any]) -> None:
    """Every key that is written for its kind must be there: nothing lost becomes a default."""
    keys = [*_ALWAYS]
    if protocol.decides is Decides.LOG:
        keys.append("log")
    if data.get("schedule") is not None:
        keys.append("eager")
    elif data.get("walk") is not None:
        keys += ("eager", "seed", "liveness")
    else:
        keys += ("seed", "liveness")
    missing = [key for key in keys if key not in data]
    if missing:
        raise ConfigurationError(
            f"{', '.join(map(repr, missing))} missing: restore what was lost, or find what broke anew"
        )


def _check_messages(protocol: ProtocolDescription, data: Mapping[str, Any]) -> None:
    if data["messages"] != protocol.messages.digest():
        raise ConfigurationError(
            f"messages: made by version {data.get('version')!r:.20}, when protocol {protocol.name!r:.60} had "
            "other messages; the same choices would be another run now"
        )


def _linearizable(protocol: ProtocolDescription, result: Result) -> tuple[tuple[Violation, ...], bool]:
    """What a search for an order of all that clients did finds, and whether it gave up.

    It judges what no invariant looks at.
    """
    model = "decree" if protocol.decides is Decides.DECREES else "kv"
    verdict = check_linearizable(history_of(result), model, max_states=_MAX_STATES)
    if verdict.violation is None:
        return (), verdict.gave_up
    return (Violation("Linearizability", verdict.violation.sentence, result.steps),), verdict.gave_up
