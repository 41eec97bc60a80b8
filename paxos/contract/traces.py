"""Traces: the events of handlers, as data that files and checkers share.

A replica that is configured with `trace` makes one `Event` for each thing a handler did, named as in the
protocol's specification, with the state that the specification knows as it is afterwards.  Here such an
event becomes plain data, the same whether it comes from a simulated run or from the file of a real node.

What an argument may be: a ballot, bytes, a number, None, or a set of node ids.  Bytes are text where they
are valid UTF-8, else `{"base64": ...}`; a ballot is a list of its three numbers; a set of nodes is
`{"nodes": [...]}`.  The argument `decree` says which decree the event is about; an event without one is
about all decrees that the node has not named since.
"""

import base64
from collections.abc import Mapping
from typing import Any

from paxos.ballot import Ballot
from paxos.contract.replica import Event

__all__ = ["plain_event"]


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
