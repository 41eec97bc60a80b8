"""Traces written for TLC: a generated module, and the .cfg file that goes with it.

An event of a trace comes as JSON carries it.  Here its arguments become values of Python again
(`event_values`), the protocol says what the specification is to be given of them (`TraceForm.event`), and
that is written in TLA+.  On the way ballots become their ranks among all that occur, since TLC's numbers have
32 bits and a specification wants to count its ballots; and users' values become short names, since a value
may be anything.  For people it all goes the way back.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, count
from typing import Any, Final

import attrs

from paxos.ballot import Ballot, NodeId
from paxos.check.spec import describe_state
from paxos.check.tlaplus import Function, write_value
from paxos.check.tlc import State
from paxos.contract.traces import MAX_DEPTH, Given, PlainEvent, TraceForm
from paxos.quorum import Phase, QuorumSystem

__all__ = ["DATA", "Batch", "WrittenEvent", "event_values", "written"]

#: The name of the generated module.
DATA: Final = "TraceData"
_WORD: Final = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_NONE: Final = "none"
_PHASES: Final = {Given.PHASE_1: Phase.ONE, Given.PHASE_2: Phase.TWO, Given.FAST: Phase.FAST}


# --- from JSON ---------------------------------------------------------------------------------------


def event_values(event: PlainEvent) -> dict[str, Any]:
    """An event with its arguments as Python has them; see the table in `paxos.contract.traces`.

    A mapping becomes a `Function`, so that it can be in a set; a set a frozenset, a sequence a tuple.

    Raises:
        ValueError: something in it is no value of a trace.
    """
    values: dict[str, Any] = {}
    for name, value in event.items():
        if not _WORD.fullmatch(name):
            raise ValueError(f"{name!r:.60} is no name of an argument")
        if name == "action":
            if not isinstance(value, str) or not _WORD.fullmatch(value):
                raise ValueError(f"{value!r:.60} is no name of an action")
            values[name] = value
        else:
            values[name] = _value(value)
    return values


def _value(plain: Any, depth: int = 0) -> Any:
    if plain is None or type(plain) is int or type(plain) is bool:
        return plain
    if isinstance(plain, str):
        return plain.encode()
    if isinstance(plain, list) and len(plain) == 3 and all(type(part) is int for part in plain):
        return Ballot(*plain)
    if isinstance(plain, dict) and len(plain) == 1:
        ((kind, inside),) = plain.items()
        found = _single(kind, inside) if kind in ("word", "base64") else _nested(kind, inside, depth)
        if found is not None:
            return found
    raise ValueError(f"{plain!r:.60} is no value of a trace")


def _single(kind: str, inside: object) -> str | bytes | None:
    if not isinstance(inside, str):
        return None
    if kind == "word":
        return inside
    try:
        return base64.b64decode(inside, validate=True)
    except binascii.Error:
        return None


def _nested(kind: str, inside: Any, depth: int) -> Any:
    """A value that has others in it; None if this is none."""
    if depth >= MAX_DEPTH:
        raise ValueError(f"it has values in {depth} others")
    deeper = depth + 1
    if kind == "record" and isinstance(inside, dict):
        return Function({_name(key): _value(each, deeper) for key, each in inside.items()}, record=True)
    if not isinstance(inside, list):
        return None
    if kind == "nodes":
        return frozenset(inside) if all(type(each) is int for each in inside) else None
    if kind == "set":
        return frozenset(_value(each, deeper) for each in inside)
    if kind == "sequence":
        return tuple(_value(each, deeper) for each in inside)
    if kind == "function" and all(isinstance(pair, list) and len(pair) == 2 for pair in inside):
        return Function({_value(key, deeper): _value(each, deeper) for key, each in inside})
    return None


def _name(key: str) -> str:
    if not _WORD.fullmatch(key):
        raise ValueError(f"{key!r:.60} is no name of a field")
    return key


# --- for the specification -------------------------------------------------------------------------------


@attrs.frozen
class WrittenEvent:
    """An event as the specification is given it.

    Args:
        plain: what it was.
        fields: of the record that stands for it.
        ballots: that are in it.
        words: strings that are in it.
    """

    plain: PlainEvent
    fields: Mapping[str, object]
    ballots: frozenset[Ballot]
    words: frozenset[str]


def written(event: PlainEvent, quorums: QuorumSystem, form: TraceForm) -> WrittenEvent:
    """An event as the specification is given it.

    Raises:
        ValueError: no specification could be asked about it; the text says why.
    """
    try:
        values = event_values(event)
        members = quorums.members
        if values.get("node") not in members or values.get("sender", values["node"]) not in members:
            raise ValueError("it is not about nodes of this cluster")
        fields = form.event(values, quorums)
    except LookupError as error:
        raise ValueError(f"it has no {error}") from error
    if fields.get("action") != values.get("action"):
        raise ValueError("it has no action")
    ballots, words = _parts(fields)
    for ballot in ballots:
        # Node 0 owns the ballots that belong to nobody.
        if ballot.node not in members and ballot.node != 0:
            raise ValueError(f"ballot {ballot} is of no node of this cluster")
    return WrittenEvent(event, fields, ballots, words)


def _parts(value: object) -> tuple[frozenset[Ballot], frozenset[str]]:
    """The ballots and the strings that are in a value, of which each part can be written."""
    ballots: set[Ballot] = set()
    words: set[str] = set()

    def ballot_in(ballot: Ballot) -> int:
        if ballot.round >= 0:
            ballots.add(ballot)
        return 0

    def word_in(word: str) -> str:
        words.add(word)
        return word

    write_value(_renamed(value, ballot_in, lambda _: "", word_in))
    return frozenset(ballots), frozenset(words)


def _renamed(
    value: Any,
    ballot: Callable[[Ballot], int],
    text: Callable[[bytes], str],
    word: Callable[[str], str] = lambda word: word,
) -> Any:
    """A value in which ballots, users' values and None have become what they are in TLA+."""
    if value is None:
        return _NONE
    if isinstance(value, Ballot):
        return ballot(value)
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, str):
        return word(value)
    if isinstance(value, tuple | list):
        return tuple(_renamed(each, ballot, text, word) for each in value)
    if isinstance(value, frozenset | set):
        return frozenset(_renamed(each, ballot, text, word) for each in value)
    if isinstance(value, Mapping):
        return Function(
            {
                _renamed(key, ballot, text, word): _renamed(each, ballot, text, word)
                for key, each in value.items()
            }
        )
    return value


# --- the module --------------------------------------------------------------------------------------


class Batch:
    """Traces of one cluster's shape as a module.

    Args:
        quorums: of the cluster.
        traces: what is to be walked.
        form: of the protocol's traces.
    """

    def __init__(
        self, quorums: QuorumSystem, traces: Sequence[Sequence[WrittenEvent]], form: TraceForm
    ) -> None:
        self._quorums = quorums
        self._form = form
        self._constants = form.constants((event.plain for trace in traces for event in trace), quorums)
        ballots, strings = _parts(self._constants)
        every = [event for trace in traces for event in trace]
        occurring = ballots.union(*(event.ballots for event in every))
        self._ranks: dict[Ballot, int] = {ballot: rank for rank, ballot in enumerate(sorted(occurring))}
        self._taken = strings.union(*(event.words for event in every))
        #: Users' values, as people are shown them, each with its short name.
        self._values: dict[str, str] = {}
        self._next = 1
        self._definitions = {name: self._text(value) for name, value in self._constants.items()}
        self._traces = [
            "<<" + ",\n  ".join(self._text(event.fields) for event in trace) + ">>" for trace in traces
        ]

    def _text(self, value: object) -> str:
        return write_value(_renamed(value, self._rank, self._short))

    def _rank(self, ballot: Ballot) -> int:
        return self._ranks[ballot] if ballot.round >= 0 else -1

    def _short(self, value: bytes) -> str:
        try:
            name = value.decode()
        except UnicodeDecodeError:
            name = json.dumps({"base64": base64.b64encode(value).decode()})
        if name in self._form.words:
            return self._form.words[name].lower()
        known = self._values.get(name)
        if known is None:
            # A name that no other value has, and that is no word of the specification.
            at = next(at for at in count(self._next) if f"v{at}" not in self._taken)
            self._next = at + 1
            known = self._values[name] = f"v{at}"
        return known

    def _sets(self, phase: Phase) -> str:
        members = self._quorums.members
        sets = (each for size in range(1, len(members) + 1) for each in combinations(members, size))
        quorums = (frozenset(each) for each in sets if self._quorums.is_quorum(each, phase))
        return write_value(frozenset(quorums))

    def _given(self, name: str, given: Given) -> str:
        """The definition of what stands for a constant of that name."""
        if given in _PHASES:
            return f"The{name} == {self._sets(_PHASES[given])}"
        if given is Given.MEMBERS:
            return f"The{name} == {write_value(frozenset(self._quorums.members))}"
        if given is Given.BALLOTS:
            return f"The{name} == 0..{len(self._ranks) - 1}"
        if given is Given.OWNER:
            owners = [ballot.node for ballot in sorted(self._ranks)] or [0]
            return f"The{name}s == {write_value(owners)}\nThe{name}(b) == The{name}s[b + 1]"
        if given is Given.VALUES:
            return f"The{name} == {write_value(frozenset(self._values.values()))}"
        return f"The{name} == {write_value(_NONE)}"

    def module(self, stop: int) -> str:
        """The module. TLC works out what a module itself defines once, and not at each use."""
        given = [
            self._given(name, each) for name, each in self._form.given.items() if isinstance(each, Given)
        ]
        return "\n".join(
            [
                f"---- MODULE {DATA} ----",
                "EXTENDS Integers, TLC",
                *given,
                *(f"The{name} == {text}" for name, text in self._definitions.items()),
                f"Until == {stop}",
                "Traces == <<",
                ",\n".join(self._traces),
                ">>",
                "====",
                "",
            ]
        )

    def config(self, stop: int) -> str:
        """The .cfg file that goes with it."""
        given = self._form.given
        lines = [
            f"  {name} <- {each if isinstance(each, str) else f'The{name}'}" for name, each in given.items()
        ]
        lines += [f'  {name} = "{name.lower()}"' for name in self._form.words.values()]
        lines += [f"  {name} <- The{name}" for name in self._definitions]
        if stop:
            lines.append("INVARIANT Unreached")
        if self._form.view:
            lines.append(f"VIEW {self._form.view}")
        return "\n".join(["INIT TraceInit", "NEXT TraceNext", "CONSTANTS", *lines, ""])

    # --- for people ----------------------------------------------------------------------------------

    def readable(self, state: State, node: NodeId) -> str:
        """What a state holds of a node, with ballots and values as they were."""
        ballots = dict(enumerate(map(str, sorted(self._ranks)))) | {-1: _NONE}
        values = {name: self._with_ballots(value, ballots) for name, value in state.values.items()}
        text = describe_state(attrs.evolve(state, values=values), str(node))
        originals = {short: value for value, short in self._values.items()}
        return re.sub(r"\bv\d+\b", lambda found: originals.get(found[0], found[0]), text)

    def _with_ballots(self, value: Any, ballots: Mapping[int, str]) -> Any:
        """A value of TLA+ with ballots in place of their ranks."""
        if isinstance(value, Function):
            fields = self._form.ballot_fields
            items = {
                key: ballots.get(each, each)
                if key in fields and isinstance(each, int)
                else self._with_ballots(each, ballots)
                for key, each in value.items()
            }
            return Function(items, value.record)
        if isinstance(value, frozenset):
            return frozenset(self._with_ballots(each, ballots) for each in value)
        if isinstance(value, tuple):
            return tuple(self._with_ballots(each, ballots) for each in value)
        return value
