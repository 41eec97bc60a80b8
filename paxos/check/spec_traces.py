"""Trace validation: was what the real code did a behaviour of the specification?

A traced run, simulated or of real processes, is a list of events, one for each thing that a handler did (see
`paxos.contract.traces`).  The protocol says how such a list becomes traces: one for each decree, or a whole
log.  Hundreds of traces go into one generated module, `Traces == <<...>>`, and TLC walks them all in one run
of Java: every event must be a step of the action that it names, with the arguments and to the state that it
names.

What is not a behaviour is rejected, and the first event that does not fit is named, with the state of its
node before it.

The module of a specification, `Paxos`, has a companion `PaxosTraces` that says what an event means.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import attrs

from paxos.check.spec import work_directory
from paxos.check.spec_batch import DATA, Batch, WrittenEvent, written
from paxos.check.tlc import Tlc, TlcReport
from paxos.contract import Event, ProtocolDescription, Specification, find_protocol
from paxos.contract.traces import PlainEvent, TraceForm, plain_event
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem

__all__ = [
    "Rejection",
    "Trace",
    "TraceReport",
    "check_traces",
    "trace_origin",
    "traces_of_events",
]

_PROGRESS: Final = re.compile(r"<<(\d+), (\d+)>>")
#: Quorums are listed one by one, so there can not be many nodes.
_MAX_NODES: Final = 9


@attrs.frozen
class Trace:
    """What happened to one decree, or to one log.

    Args:
        origin: where it is from, for people: the run, and which decree.
        events: in an order that agrees with what caused what; as `plain_event` makes them.
        quorums: of the cluster.
        open_files: files of nodes that may have done more than their files say, each with how many of these
            events are surely not after that.
    """

    origin: str
    events: tuple[PlainEvent, ...]
    quorums: QuorumSystem
    open_files: tuple[tuple[str, int], ...] = ()


@attrs.frozen
class Rejection:
    """A trace that is no behaviour of the specification.

    Args:
        trace: its place in the list that was checked, from 1.
        origin: where it is from.
        event: the place of the first event that does not fit, from 1.
        what: that event.
        state: what the specification knows of its node just before, for people; empty if not looked at.
        open_files: files that end before that event without having been ended: if one of them was cut short,
            the event may fit to what is missing.
    """

    trace: int
    origin: str
    event: int
    what: PlainEvent
    state: str = ""
    open_files: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = json.dumps(self.what, ensure_ascii=False)
        text = f"trace {self.trace} ({self.origin}), event {self.event} does not fit: {told}"
        if self.state:
            text += f"\n{self.state}"
        for name in self.open_files:
            text += (
                f"\n  {name} ends before that, and not as the file of a node that was stopped: if it was cut "
                "short, give all of it; if its node was killed, start and stop it once more with that file"
            )
        return text


@attrs.frozen
class TraceReport:
    """What came of checking traces.

    Args:
        traces: how many there were.
        events: how many events in all.
        shortest: events of the shortest trace.
        actions: how often each action was seen.
        rejections: the traces that are no behaviours.
        duration_s: seconds it took, Java's start included.
    """

    traces: int
    events: int
    shortest: int
    actions: Mapping[str, int]
    rejections: tuple[Rejection, ...]
    duration_s: float

    @property
    def ok(self) -> bool:
        """Whether all are behaviours of the specification."""
        return not self.rejections

    @property
    def in_doubt(self) -> bool:
        """Whether some are rejected, and all of those only where a file may have been cut short."""
        return not self.ok and all(each.open_files for each in self.rejections)

    def to_json(self) -> dict[str, Any]:
        """As JSON carries it."""
        return {
            "traces": self.traces,
            "events": self.events,
            "shortest": self.shortest,
            "actions": dict(self.actions),
            "rejections": [
                {
                    "trace": each.trace,
                    "origin": each.origin,
                    "event": each.event,
                    "what": dict(each.what),
                    "open_files": list(each.open_files),
                }
                for each in self.rejections
            ],
            "seconds": round(self.duration_s, 3),
        }


# --- from events ------------------------------------------------------------------------------------------


def traces_of_events(
    origin: str, events: Iterable[Event], quorums: QuorumSystem, form: TraceForm | None = None
) -> list[Trace]:
    """The traces of one run, from the events that it gathered.

    Args:
        origin: names the run.
        events: `Result.events` of a simulated run, or the like.
        quorums: of the cluster.
        form: of the protocol's traces; None for one trace of each decree.
    """
    cuts = (form or TraceForm()).cut(plain_event(event) for event in events if event.trace)
    return [Trace(trace_origin(origin, name), each, quorums) for name, each in cuts.items()]


def trace_origin(origin: str, name: str) -> str:
    """Where a trace is from: the run, and which decree, if it is about one."""
    return f"{origin}, decree {name}" if name else origin


# --- checking --------------------------------------------------------------------------------------------


def check_traces(
    tlc: Tlc,
    traces: Sequence[Trace],
    protocol: str | ProtocolDescription = "paxos",
    *,
    directory: Path | None = None,
    timeout_s: float = 600.0,
    explain: int = 5,
) -> TraceReport:
    """Have TLC check that each trace is a behaviour of the protocol's specification.

    Args:
        tlc: Java and TLC.
        traces: any number; those of one quorum system go into one run of Java.
        protocol: whose traces they are.
        directory: where the modules are; None for the ones that came with the package.
        timeout_s: seconds after which a run of Java is ended.
        explain: of how many rejected traces of each shape of cluster the state is looked at too; each takes a
            run of Java.

    Raises:
        ConfigurationError: there are no traces, the protocol has no specification, a cluster is too large, or
            TLC could not evaluate an event.
    """
    description = find_protocol(protocol) if isinstance(protocol, str) else protocol
    if description.specification is None:
        raise ConfigurationError(
            f"protocol {description.name!r} has no specification to check traces against"
        )
    if not traces:
        raise ConfigurationError("no traces to check")
    groups: dict[str, list[tuple[int, Trace]]] = {}
    for at, trace in enumerate(traces):
        groups.setdefault(trace.quorums.describe(), []).append((at, trace))
    started_s = time.monotonic()
    checker = _Checker(tlc, description.specification, directory, timeout_s, explain)
    # Clusters of different shapes side by side: each walk is a Java of its own, with one thread.
    with ThreadPoolExecutor(min(len(groups), os.cpu_count() or 1), "traces") as pool:
        rejections = [each for found in pool.map(checker.check, groups.values()) for each in found]
    counts: dict[str, int] = {}
    for trace in traces:
        for event in trace.events:
            counts[event["action"]] = counts.get(event["action"], 0) + 1
    return TraceReport(
        traces=len(traces),
        events=sum(counts.values()),
        shortest=min(len(trace.events) for trace in traces),
        actions=dict(sorted(counts.items())),
        rejections=tuple(sorted(rejections, key=lambda each: each.trace)),
        duration_s=time.monotonic() - started_s,
    )


class _Checker:
    """Checks traces, those of clusters of one shape at a time."""

    def __init__(
        self,
        tlc: Tlc,
        specification: Specification,
        directory: Path | None,
        timeout_s: float,
        explain: int,
    ) -> None:
        self._tlc = tlc
        self._companion = f"{specification.module}Traces"
        self._form = specification.traces
        self._directory = directory
        self._timeout_s = timeout_s
        self._explain = explain

    def check(self, traces: Sequence[tuple[int, Trace]]) -> list[Rejection]:
        """The rejections among these traces, each with its place in the caller's list."""
        quorums = traces[0][1].quorums
        if len(quorums.members) > _MAX_NODES:
            raise ConfigurationError(f"traces of more than {_MAX_NODES} nodes can not be checked")
        batch = Batch(quorums, [self._written(trace)[0] for _, trace in traces], self._form)
        reached = self._reached(batch, len(traces))
        rejections: list[Rejection] = []
        for (at, trace), steps in zip(traces, reached, strict=True):
            if steps < len(trace.events):
                state = ""
                if len(rejections) < self._explain:
                    state = self._state(trace, steps)
                open_files = tuple(name for name, before in trace.open_files if steps >= before)
                event = trace.events[steps]
                rejections.append(Rejection(at + 1, trace.origin, steps + 1, event, state, open_files))
        return rejections

    def _written(self, trace: Trace) -> tuple[list[WrittenEvent], str]:
        """The events before the first that no specification could be asked about, and why that one is."""
        events: list[WrittenEvent] = []
        for event in trace.events:
            try:
                events.append(written(event, trace.quorums, self._form))
            except ValueError as error:
                return events, str(error)
        return events, ""

    def _reached(self, batch: Batch, count: int) -> list[int]:
        """For each trace how many of its events were steps."""
        report = self._run(batch)
        if not report.ok:
            raise ConfigurationError(f"the traces could not be checked: {report.sentence}")
        reached = [0] * count
        for line in report.printed:
            found = _PROGRESS.fullmatch(line.strip())
            if found:
                trace, event = int(found[1]) - 1, int(found[2])
                reached[trace] = max(reached[trace], event)
        return reached

    def _state(self, trace: Trace, steps: int) -> str:
        """What the specification knows of an event's node just before it."""
        events, why = self._written(trace)
        if len(events) <= steps:
            return f"  {why}"
        batch = Batch(trace.quorums, [events[: steps + 1]], self._form)
        report = self._run(batch, stop=steps + 1)
        if not report.counterexample:
            return ""
        return batch.readable(report.counterexample[-1], trace.events[steps]["node"])

    def _run(self, batch: Batch, *, stop: int = 0) -> TlcReport:
        """Walk the traces; if `stop` is not 0, up to that event, where the counterexample ends."""
        with work_directory(self._directory) as place:
            (place / f"{DATA}.tla").write_text(batch.module(stop), encoding="utf-8")
            (place / f"{DATA}.cfg").write_text(batch.config(stop), encoding="utf-8")
            return self._tlc.run(
                place,
                self._companion,
                f"{DATA}.cfg",
                coverage=False,
                timeout_s=self._timeout_s,
            )
