"""Traces: the events of handlers, as data that files and checkers share.

A replica that is configured with `trace` makes one `Event` for each thing a handler did, named as in the
protocol's specification, with the state that the specification knows as it is afterwards.  Here such an
event becomes plain data, the same whether it comes from a simulated run or from the file of a real node.

What an argument may be, and what it is in JSON and in TLA+:

    value of Python            in JSON                          in TLA+
    None                       null                             "none"
    bool, int                  itself                           itself; numbers of 32 bits
    bytes: a user's value      its text if it is valid UTF-8,   a short string, another for each other value
                               else {"base64": ...}
    str: a word of the         {"word": "accepted"}             that string
    specification
    Ballot                     [round, node, step]              its rank among the ballots of all traces; -1
                                                                for one below all, such as BOTTOM
    frozenset of numbers       {"nodes": [1, 2]}                a set
    any other set              {"set": [...]}                   a set
    tuple, list                {"sequence": [...]}              a sequence; a pair is one of two elements
    dict with names for keys   {"record": {"deps": ...}}        a record
    dict with other keys       {"function": [[key, value]]}     a function

They nest to any depth that a person can still read (`MAX_DEPTH`).  A NamedTuple other than a ballot is a
tuple; as a record it goes in as `value._asdict()`.  The argument `decree` says which decree the event is
about; an event without one is about all decrees that the node has not named since.

How a run becomes traces the protocol says, by a `TraceForm`: where every decree is an instance of the
protocol by itself, a run is cut into one trace for each; a log is one trace, uncut.
"""

import base64
import enum
import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import attrs

from paxos.ballot import Ballot, NodeId
from paxos.contract.replica import Event
from paxos.quorum import QuorumSystem

__all__ = [
    "MAX_DEPTH",
    "Given",
    "PlainEvent",
    "TraceForm",
    "by_decree",
    "plain_event",
    "same_arguments",
    "uncut",
]

#: How deep values may be nested in an argument of an event.
MAX_DEPTH: Final = 12

#: A trace event as JSON carries it.
PlainEvent: TypeAlias = Mapping[str, Any]


def plain_event(event: Event) -> dict[str, Any]:
    """A trace event as JSON carries it.

    Raises:
        TypeError: an argument is of a type that traces do not have, or nested deeper than `MAX_DEPTH`.
    """
    arguments: Mapping[str, object] = event.arguments
    return {
        "action": event.action,
        "node": event.node,
        **{name: _plain(value) for name, value in arguments.items()},
    }


def _plain(value: object, depth: int = 0) -> object:
    if value is None or type(value) is int or type(value) is bool:
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Ballot):
        return list(value)
    if isinstance(value, str):
        return {"word": value}
    if depth >= MAX_DEPTH:
        raise TypeError(f"a trace event has no values in {depth} others: {value!r:.60}")
    if isinstance(value, frozenset | set):
        if all(type(each) is int for each in value):
            return {"nodes": sorted(value)}
        return {"set": sorted((_plain(each, depth + 1) for each in value), key=_key)}
    if isinstance(value, tuple | list):
        return {"sequence": [_plain(each, depth + 1) for each in value]}
    if isinstance(value, Mapping):
        if value and all(isinstance(key, str) for key in value):
            return {"record": {key: _plain(each, depth + 1) for key, each in value.items()}}
        pairs = [[_plain(key, depth + 1), _plain(each, depth + 1)] for key, each in value.items()]
        return {"function": sorted(pairs, key=_key)}
    raise TypeError(f"a trace event has no {type(value).__name__}: {value!r:.60}")


def _key(plain: object) -> str:
    return plain if isinstance(plain, str) else json.dumps(plain, sort_keys=True)


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


class Given(enum.Enum):
    """What is known of the cluster and of the traces, for constants of the specification."""

    MEMBERS = "members"  #: the set of node ids
    PHASE_1 = "phase-1 quorums"  #: a set of sets of node ids, every superset included
    PHASE_2 = "phase-2 quorums"  #: the same
    FAST = "fast quorums"  #: the same; only for quorum systems that have them
    BALLOTS = "ballots"  #: the ranks of all ballots that occur: `0..n`
    OWNER = "owner"  #: an operator, `Owner(b)`: the node of the ballot with that rank
    VALUES = "values"  #: the set of all users' values that occur
    NONE = "none"  #: what None is


#: The constants of `Paxos` and `MultiPaxos`.
_USUAL: Final[Mapping[str, Given | str]] = MappingProxyType(
    {
        "None": Given.NONE,
        "Acceptor": Given.MEMBERS,
        "Quorum1": Given.PHASE_1,
        "Quorum2": Given.PHASE_2,
        "Ballot": Given.BALLOTS,
        "Owner": Given.OWNER,
        "Value": Given.VALUES,
    }
)


def _no_constants(events: Iterable[PlainEvent], quorums: QuorumSystem) -> Mapping[str, object]:
    return {}


def same_arguments(event: Mapping[str, Any], quorums: QuorumSystem) -> Mapping[str, object]:
    """An event as it is, without its decree: that is what a trace is about."""
    return {name: value for name, value in event.items() if name != "decree"}


@attrs.frozen
class TraceForm:
    """How the runs of a protocol become traces, and what the specification must be told of them.

    Args:
        cut: the traces of a run, each under the name of what it is about, from the run's events in order.
        constants: constants of the specification that depend on the traces, by name, from all events of all
            traces; each of any value that an argument may have. Raises ConfigurationError for traces that
            can not be checked together.
        words: users' values with a meaning of their own, in plain form, each with the constant that stands
            for it.
        settings: the protocol's own settings, by the number of nodes, for runs whose traces tell much: where
            much happens within a hundred events. None for the usual ones.
        given: constants of the specification, each with what it is here; a str names an operator of the
            module `...Traces`.
        event: what the module `...Traces` is given of an event: the fields of a record, from the event with
            its arguments as Python has them (a set a frozenset, a sequence a tuple, a record or a function a
            Mapping that can be hashed, a user's value bytes). `action` must be among them, and stay. Raises
            ValueError or LookupError for an event that no specification could be asked about.
        ballot_fields: fields of the specification's records that hold the rank of a ballot: there people are
            shown the ballot.
        markers: whether the specification knows of the markers of a log's service, and of the snapshots that
            are made there; if not, the runs whose traces are checked have none.
        longest: the most events of a trace of a log that are walked; the beginning of a behaviour is one.
        view: an operator of the module `...Traces` by which states are told apart, where that is quicker
            than by all that they hold; empty for the latter.
    """

    cut: Callable[[Iterable[PlainEvent]], Mapping[str, tuple[PlainEvent, ...]]] = by_decree
    constants: Callable[[Iterable[PlainEvent], QuorumSystem], Mapping[str, object]] = _no_constants
    words: Mapping[str, str] = attrs.field(factory=dict)
    settings: Callable[[int], object] | None = None
    given: Mapping[str, Given | str] = _USUAL
    event: Callable[[Mapping[str, Any], QuorumSystem], Mapping[str, object]] = same_arguments
    ballot_fields: frozenset[str] = frozenset({"bal", "vbal", "mbal", "best", "promised"})
    markers: bool = True
    longest: int = 150
    view: str = ""
