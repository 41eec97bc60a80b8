"""Traces: the events of handlers, as data that files and checkers share.

A replica that is configured with `trace` makes one `Event` for each thing a handler did, named as in the
protocol's specification, with the state that the specification knows as it is afterwards.  Here such an
event becomes plain data, the same whether it comes from a simulated run or from the file of a real node.

What an argument may be: a ballot, bytes, a number, None, or a set of node ids.  Bytes are text where they
are valid UTF-8, else `{"base64": ...}`; a ballot is a list of its three numbers; a set of nodes is
`{"nodes": [...]}`.  The argument `decree` says which decree the event is about; an event without one is
about all decrees that the node has not named since.

How a run becomes traces the protocol says, by a `TraceForm`: where every decree is an instance of the
protocol by itself, a run is cut into one trace for each; a log is one trace, uncut.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from paxos.ballot import Ballot, NodeId
from paxos.contract.replica import Event

__all__ = ["PlainEvent", "TraceForm", "by_decree", "plain_event", "uncut"]

#: A trace event as JSON carries it.
PlainEvent: TypeAlias = Mapping[str, Any]


def plain_event(event: Event) -> dict[str, Any]:
    """A trace event as JSON carries it.

    Raises:
        TypeError: an argument is of a type that traces do not have.
    """
    arguments: Mapping[str, object] = event.arguments
    return {
        "action": event.action,
        "node": event.node,
        **{name: _plain(value) for name, value in arguments.items()},
    }


def _plain(value: object) -> object:
    if value is None or type(value) is int:
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Ballot):
        return list(value)
    if isinstance(value, frozenset):
        return {"nodes": sorted(value)}
    raise TypeError(f"a trace event has no {type(value).__name__}: {value!r:.60}")


def _key(decree: object) -> str:
    return decree if isinstance(decree, str) else json.dumps(decree, sort_keys=True)


def by_decree(events: Iterable[PlainEvent]) -> dict[str, tuple[PlainEvent, ...]]:
    """The events of each decree, in order, under the decree's name.

    An event without a decree, the last that a restarting node tells, belongs to every decree that the node
    had told of and did not name when it restarted: of those its disk holds nothing.
    """
    traces: dict[str, list[PlainEvent]] = {}
    known: dict[NodeId, set[str]] = {}
    named: dict[NodeId, set[str]] = {}
    for event in events:
        node = event["node"]
        mine = known.setdefault(node, set())
        restarted = named.setdefault(node, set())
        if "decree" in event:
            decree = _key(event["decree"])
            mine.add(decree)
            if event["action"] == "Restart":
                restarted.add(decree)
            traces.setdefault(decree, []).append(event)
        else:
            for decree in sorted(mine - restarted):
                traces[decree].append(event)
            restarted.clear()
    return {decree: tuple(each) for decree, each in traces.items()}


def uncut(events: Iterable[PlainEvent]) -> dict[str, tuple[PlainEvent, ...]]:
    """All events as one trace, which needs no name."""
    return {"": tuple(events)}


def _no_constants(events: Iterable[PlainEvent]) -> Mapping[str, int]:
    return {}


@attrs.frozen
class TraceForm:
    """How the runs of a protocol become traces, and what the specification must be told of them.

    Args:
        cut: the traces of a run, each under the name of what it is about, from the run's events in order.
        constants: numbers that the specification is a function of, by name, from all events of all traces.
        words: values with a meaning of their own, in plain form, each with the constant that stands for it.
        settings: the protocol's own settings, by the number of nodes, for runs whose traces tell much: where
            much happens within a hundred events. None for the usual ones.
    """

    cut: Callable[[Iterable[PlainEvent]], Mapping[str, tuple[PlainEvent, ...]]] = by_decree
    constants: Callable[[Iterable[PlainEvent]], Mapping[str, int]] = _no_constants
    words: Mapping[str, str] = attrs.field(factory=dict)
    settings: Callable[[int], object] | None = None
