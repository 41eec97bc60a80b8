"""What a run gives: everything that happened, as values.

All of it but the wall time is a pure function of the run's inputs and choices, and equality leaves the
wall time out, so two runs can be compared with `==`.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

import attrs

from paxos.ballot import NodeId
from paxos.contract import Event

__all__ = ["Operation", "Result", "Violation", "bytes_as_json"]


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
        kind: "decide", or "decided" for a read.
        name: the decree's.
        value: what was proposed; None for a read.
        call_s: when it was asked, virtual seconds.
        return_s: when it was answered; None while unanswered.
        outcome: "done", "rejected" or "unknown"; None while unanswered.
        out: "done": what is chosen; None for undecided.
        node: who answered.
        home: the node beside the client.
    """

    client: int
    kind: str
    name: bytes
    value: bytes | None
    call_s: float
    return_s: float | None
    outcome: str | None
    out: bytes | None
    node: NodeId | None
    home: NodeId

    def to_json(self) -> dict[str, object]:
        """One line of a history file; the value of a read is null."""
        return {
            "client": self.client,
            "op": "decide",
            "key": bytes_as_json(self.name),
            "value": None if self.value is None else bytes_as_json(self.value),
            "old": None,
            "call": self.call_s,
            "return": self.return_s if self.outcome == "done" else None,
            "out": None if self.out is None else bytes_as_json(self.out),
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
        decisions: for each node that runs at the end, the decrees it knows.
        operations: what clients did, in order of call: the history.
        seen: how often each event of the replicas and each fault of the run was seen, by name.
        choices: the choices that were made; passed to `run` they give the same run again.
        violations: what broke; empty when all is well.
        stopped: nodes that stopped themselves, and why.
        trace: JSON lines, one for each step, when asked for.
        events: what the handlers of a traced run told, in order, for trace validation.
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
        """The history as JSON lines; rejected operations, which did not happen, are left out."""
        lines = (
            json.dumps(op.to_json(), sort_keys=True) for op in self.operations if op.outcome != "rejected"
        )
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
            "decided": len({name for known in self.decisions.values() for name in known}),
            "seen": dict(self.seen),
            "violations": [attrs.asdict(violation) for violation in self.violations],
            "stopped": {str(node): reason for node, reason in self.stopped.items()},
        }


def bytes_as_json(value: bytes) -> object:
    """Bytes as JSON carries them: a string when they are UTF-8, else an object with base64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
