"""What a run gives: everything that happened, as values.

All of it but the wall time is a pure function of the run's inputs and choices, and equality leaves the
wall time out, so two runs can be compared with `==`.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

from paxos.ballot import NodeId
from paxos.command import RequestId
from paxos.contract import Event

__all__ = ["QUERIES", "Operation", "Result", "Violation", "bytes_as_json", "counted"]

#: Reads of a log that are no command of it, and what they are in a history: a "read" and a "look" are
#: linearizable, a "stale" read is not, and stands in no history.
QUERIES: Final[Mapping[str, str]] = {"read": "get", "look": "scan", "stale": "get"}


def counted(number: int, noun: str) -> str:
    """A number of things, as people say it: "1 schedule", "2 schedules"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@attrs.frozen
class Violation:
    """Something that must hold did not.

    Args:
        name: of the property, as the specification has it.
        sentence: what broke, where.
        step: the number of the step at which it was seen, from 1.
    """

    name: str
    sentence: str
    step: int

    def __str__(self) -> str:
        return f"{self.name} (step {self.step}): {self.sentence}"


@attrs.frozen
class Operation:
    """One operation of one client.

    Args:
        client: which.
        kind: of decrees "decide", or "decided" for a read; of a log "put", "get", "delete", "cas",
            "increment" or "scan", or one of `QUERIES`, which are reads that are no command of the log.
        name: the decree's; the key; of a scan `(low, high)`.
        value: what was proposed or put, the number added; None for what has none.
        call_s: when it was asked, virtual seconds.
        return_s: when it was answered; None while unanswered.
        outcome: "done", "rejected", "unknown" or "refused" (by the state machine); None while unanswered.
        out: "done": what is chosen, None for undecided; or what the machine answered.
        node: who answered.
        home: the node beside the client.
        old: of a cas: what it expects; None for absent.
        request: of a command of a log: its id.
        place: of a query of a log: the first and the last mark at which it may have been answered.
    """

    client: int
    kind: str
    name: Any
    value: Any
    call_s: float
    return_s: float | None
    outcome: str | None
    out: Any
    node: NodeId | None
    home: NodeId
    old: bytes | None = None
    request: RequestId | None = None
    place: tuple[int, int] | None = None

    @property
    def happened(self) -> bool:
        """Whether it may have taken effect, or shows a moment of the state: what a history is made of."""
        return self.outcome not in ("rejected", "refused") and self.kind != "stale"

    @property
    def op(self) -> str:
        """What a history file calls it: a read of a decree is a decide that proposes nothing."""
        return "decide" if self.kind == "decided" else QUERIES.get(self.kind, self.kind)

    def to_json(self) -> dict[str, object]:
        """One line of a history file; the value of a read is null."""
        return {
            "client": self.client,
            "op": self.op,
            "key": _as_json(self.name),
            "value": _as_json(self.value),
            "old": _as_json(self.old),
            "call": self.call_s,
            "return": self.return_s if self.outcome == "done" else None,
            "out": _as_json(self.out),
        }


@attrs.frozen
class Result:
    """One run.

    Args:
        protocol: its name.
        nodes: ids of the members.
        virtual_s: virtual seconds it took.
        steps: events that some node took part in.
        deliveries: messages that arrived at a running node from another one.
        messages: those by type.
        decisions: for each node that runs at the end, the decrees it knows; none where a log is decided.
        operations: what clients did, in order of call: the history.
        seen: how often each event of the replicas and each fault of the run was seen, by name.
        choices: the choices that were made; passed to `run` they give the same run again.
        violations: what broke; empty when all is well.
        stopped: nodes that stopped themselves, and why.
        trace: JSON lines, one for each step, when asked for.
        events: what the handlers of a traced run told, in order, for trace validation.
        applied: of a log: for each node that runs at the end, how far it has applied the log.
        wall_s: seconds the run took on this machine; not part of equality.
    """

    protocol: str
    nodes: tuple[NodeId, ...]
    virtual_s: float
    steps: int
    deliveries: int
    messages: Mapping[str, int]
    decisions: Mapping[NodeId, Mapping[bytes, bytes]]
    operations: tuple[Operation, ...]
    seen: Mapping[str, int]
    choices: tuple[int, ...]
    violations: tuple[Violation, ...]
    stopped: Mapping[NodeId, str]
    trace: bytes | None = None
    events: tuple[Event, ...] = ()
    applied: Mapping[NodeId, int] | None = None
    wall_s: float = attrs.field(default=0.0, eq=False)

    @property
    def ok(self) -> bool:
        """Whether nothing broke."""
        return not self.violations

    @property
    def missing_probes(self) -> tuple[str, ...]:
        """Probes of the protocol that the run never saw, filled in by `seen` holding them at 0."""
        return tuple(sorted(name for name, times in self.seen.items() if not times))

    def history(self) -> bytes:
        """The history as JSON lines, without operations that did not happen and reads that may be stale."""
        lines = (json.dumps(op.to_json(), sort_keys=True) for op in self.operations if op.happened)
        return b"".join(line.encode() + b"\n" for line in lines)

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON carries them, without trace, history and wall time."""
        outcomes = [op.outcome or "unanswered" for op in self.operations]
        return {
            "protocol": self.protocol,
            "nodes": list(self.nodes),
            "virtual_s": self.virtual_s,
            "steps": self.steps,
            "deliveries": self.deliveries,
            "messages": dict(self.messages),
            "operations": {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
            **self._known(),
            "seen": dict(self.seen),
            "violations": [attrs.asdict(violation) for violation in self.violations],
            "stopped": {str(node): reason for node, reason in self.stopped.items()},
        }

    def _known(self) -> dict[str, object]:
        if self.applied is None:
            return {"decided": len({name for known in self.decisions.values() for name in known})}
        return {"applied": {str(node): mark for node, mark in self.applied.items()}}


def _as_json(value: Any) -> object:
    if isinstance(value, bytes):
        return bytes_as_json(value)
    return [_as_json(each) for each in value] if isinstance(value, tuple) else value


def bytes_as_json(value: bytes) -> object:
    """Bytes as JSON carries them: a string when they are UTF-8, else an object with base64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
