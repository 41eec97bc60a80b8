"""Values of a protocol's own in traces: records, functions, pairs and sets of them, from the code to TLC."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest

from paxos.ballot import BOTTOM, Ballot
from paxos.basic import protocol
from paxos.check.spec_batch import Batch, event_values, written
from paxos.check.spec_traces import check_traces, traces_of_events
from paxos.check.tlaplus import Function, parse_value, write_value
from paxos.contract import Event, ProtocolDescription, Specification
from paxos.contract.traces import MAX_DEPTH, Given, TraceForm, plain_event, uncut
from paxos.errors import ConfigurationError, QuorumError
from paxos.quorum import FastQuorums, FlexibleQuorums, Majority, QuorumSystem
from tests.tlc import require_tlc

THREE = Majority([1, 2, 3])


class _Instance(NamedTuple):
    owner: int
    number: int


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = (value,)
    return value


# --- TLA+ -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "TRUE"),
        (-1, "-1"),
        ("accepted", '"accepted"'),
        ('a "b\\', '"a \\"b\\\\"'),
        (frozenset({2, 1}), "{1, 2}"),
        ((1, (2, "x")), '<<1, <<2, "x">>>>'),
        (Function({"deps": (), "phase": "x"}, True), '[deps |-> <<>>, phase |-> "x"]'),
        # A word of the language is no name of a field.
        (Function({"IF": 1, "a": 2}), '("IF" :> 1 @@ "a" :> 2)'),
        (Function({(1, 2): 3, (2, 1): -4}), "(<<1, 2>> :> 3 @@ <<2, 1>> :> -4)"),
        (frozenset({Function({"a": frozenset({(1, 5)})}, True)}), "{[a |-> {<<1, 5>>}]}"),
    ],
)
def test_a_value_is_written_as_it_is_read(value: object, text: str) -> None:
    assert write_value(value) == text
    assert parse_value(text) == value


def test_a_function_of_the_first_numbers_is_a_sequence() -> None:
    assert write_value({2: "b", 1: "a"}) == '<<"a", "b">>'
    assert write_value({}) == "<<>>"
    assert write_value({1: "a", 3: "b"}) == '(1 :> "a" @@ 3 :> "b")'


@pytest.mark.parametrize("value", [2**31, "é", "a\nb", 1.5, None, (1, {"a": 2**40}), b"x"])
def test_what_tlc_has_no_value_for_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="has no"):
        write_value(value)


# --- JSON -----------------------------------------------------------------------------------------------

_ARGUMENTS: dict[str, object] = {
    "value": b"x",
    "odd": b"\xff",
    "none": None,
    "fast": True,
    "phase": "pre-accepted",
    "ballot": Ballot(3, 1, 2),
    "instance": _Instance(1, 5),
    "members": frozenset({3, 1}),
    "ids": frozenset({(2, 1), (1, 7)}),
    "deps": {1: 0, 3: 2, 2: 9},
    "votes": {(1, 5): {"vbal": BOTTOM, "cmd": None}, (2, 1): {"vbal": Ballot(0, 2), "cmd": b"y"}},
    "empty": {},
    "records": [{"cmd": b"x", "deps": (0, 0, 1)}, {"cmd": b"y", "deps": (1, 0, 0)}],
}


def test_arguments_of_every_kind_go_through_json_and_back() -> None:
    plain = plain_event(Event("PreAccept", 1, _ARGUMENTS, "submit", True))
    assert plain["value"] == "x"
    assert plain["phase"] == {"word": "pre-accepted"}
    assert plain["members"] == {"nodes": [1, 3]}
    assert plain["ids"] == {"set": [{"sequence": [1, 7]}, {"sequence": [2, 1]}]}
    assert plain["deps"] == {"function": [[1, 0], [2, 9], [3, 2]]}
    values = event_values(json.loads(json.dumps(plain)))
    records = values.pop("records")
    assert records == tuple(_ARGUMENTS["records"])  # type: ignore[arg-type]
    assert values == {"action": "PreAccept", "node": 1} | {
        name: value for name, value in _ARGUMENTS.items() if name != "records"
    }
    # The order of a set or a mapping tells nothing.
    again = {**_ARGUMENTS, "deps": {3: 2, 2: 9, 1: 0}, "ids": frozenset({(1, 7), (2, 1)})}
    assert plain_event(Event("PreAccept", 1, again, "submit", True)) == plain


@pytest.mark.parametrize(
    "value", [1.5, [1, 2], {"sequence": 3}, {"function": [[1]]}, {"nodes": ["x"]}, {"odd": []}, {"word": 1},
              {"base64": "?"}, {"record": {"a b": 1}}, {"set": [], "nodes": []}, {}],
)  # fmt: skip
def test_what_is_no_value_of_a_trace_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is no "):
        event_values({"action": "Tell", "node": 1, "value": value})


def test_values_nested_too_deep_are_refused_on_both_ways() -> None:
    def of(depth: int) -> Event:
        return Event("Tell", 1, {"value": _nested(depth)}, "x", True)

    event = plain_event(of(MAX_DEPTH))
    assert event_values(event)["value"] == _nested(MAX_DEPTH)
    with pytest.raises(TypeError, match=f"no values in {MAX_DEPTH} others"):
        plain_event(of(MAX_DEPTH + 1))
    with pytest.raises(ValueError, match=f"values in {MAX_DEPTH} others"):
        event_values({**event, "value": {"sequence": [event["value"]]}})


# --- a specification of its own ----------------------------------------------------------------------------

_SPEC = r"""
---- MODULE Vectors ----
(* Replicas note commands under the names of instances, each with what is known of all owners before. *)
EXTENDS Integers, Sequences
CONSTANTS Replica, Command, Fast, Conflicting, Nop, None
VARIABLES notes, highest
vars == <<notes, highest>>
Init == /\ notes = [r \in Replica |-> <<>>]
        /\ highest = [r \in Replica |-> [o \in Replica |-> 0]]
PreAccept(r, id, note) ==
  /\ id \notin DOMAIN notes[r]
  /\ \A o \in Replica : note.deps[o] <= highest[r][o]
  /\ \A o \in Replica : (<<note.cmd, note.cmd>> \in Conflicting) => note.deps[o] = highest[r][o]
  /\ notes' = [notes EXCEPT ![r] = [i \in DOMAIN @ \cup {id} |-> IF i = id THEN note ELSE @[i]]]
  /\ highest' = [highest EXCEPT ![r][id[1]] = id[2]]
Commit(r, id, voters) ==
  /\ id \in DOMAIN notes[r]
  /\ voters \in Fast
  /\ notes' = [notes EXCEPT ![r][id].phase = "committed"]
  /\ UNCHANGED highest
====
"""
_COMPANION = r"""
---- MODULE VectorsTraces ----
EXTENDS Vectors, TLC, TraceData
VARIABLES trace, next
Event == Traces[trace][next]
Fits(e) ==
  CASE e.action = "PreAccept" -> /\ PreAccept(e.node, e.id, e.note)
                                 /\ DOMAIN notes'[e.node] = e.ids
                                 /\ (e.note.cmd = Nop) = e.empty
                                 /\ e.note.bal \in {0, -1}
                                 /\ e.missing = None
    [] e.action = "Commit" -> Commit(e.node, e.id, e.voters) /\ notes'[e.node] = e.all
    [] OTHER -> FALSE
TraceInit == Init /\ trace \in DOMAIN Traces /\ next = 1
TraceNext == /\ next <= Len(Traces[trace])
             /\ Fits(Event)
             /\ UNCHANGED trace
             /\ next' = next + 1
             /\ PrintT(<<trace, next>>)
Unreached == next # Until
====
"""


def _own_names(event: Mapping[str, Any], quorums: QuorumSystem) -> dict[str, object]:
    """What the code calls an instance is an id in the module, and nobody tells it what is missing."""
    fields = {name: value for name, value in event.items() if name != "instance"}
    return {**fields, "id": event["instance"], "missing": None}


def _conflicts(events: object, quorums: QuorumSystem) -> dict[str, object]:
    return {"Conflicting": frozenset({(b"x", b"x"), (b"", b"")})}


_FORM = TraceForm(
    uncut,
    _conflicts,
    {"": "Nop"},
    given={
        "None": Given.NONE,
        "Replica": Given.MEMBERS,
        "Command": Given.VALUES,
        "Fast": Given.FAST,
    },
    event=_own_names,
)
_VECTORS: ProtocolDescription = attrs.evolve(protocol, specification=Specification("Vectors", {}, _FORM))
_QUORUMS = FastQuorums([1, 2, 3], fast=3)


def _events() -> list[Event]:
    first, second = _Instance(2, 1), _Instance(1, 1)
    one = {"cmd": b"x", "deps": {1: 0, 2: 0, 3: 0}, "bal": Ballot(0, 1), "phase": "pre-accepted"}
    two = {"cmd": b"", "deps": {1: 0, 2: 1, 3: 0}, "bal": BOTTOM, "phase": "pre-accepted"}
    told: list[tuple[str, dict[str, object]]] = [
        ("PreAccept", {"instance": first, "note": one, "ids": {first}, "empty": False}),
        ("PreAccept", {"instance": second, "note": two, "ids": {first, second}, "empty": True}),
        (
            "Commit",
            {
                "instance": first,
                "voters": frozenset({1, 2, 3}),
                "all": {first: {**one, "phase": "committed"}, second: two},
            },
        ),
    ]
    return [Event(action, 1, arguments, "", True) for action, arguments in told]


def _changed(at: int, **arguments: object) -> list[Event]:
    events = _events()
    events[at] = events[at]._replace(arguments={**events[at].arguments, **arguments})
    return events


@pytest.mark.once
def test_a_specification_of_vectors_and_records_is_walked(tmp_path: Path) -> None:
    tlc = require_tlc()
    (tmp_path / "Vectors.tla").write_text(_SPEC.lstrip())
    (tmp_path / "VectorsTraces.tla").write_text(_COMPANION.lstrip())
    blind: Any = _events()[1].arguments["note"]
    wrong = {
        # A conflict was missed.
        2: _changed(1, note={**blind, "deps": {1: 0, 2: 0, 3: 0}}),
        3: _changed(2, voters=frozenset({1, 2})),
        1: _changed(0, ids=frozenset({(2, 2)})),
    }
    runs = [_events(), *wrong.values(), _changed(1, note={**blind, "bal": 2**40}), _events()[:2]]
    traces = [
        trace
        for number, events in enumerate(runs)
        for trace in traces_of_events(f"run {number}", events, _QUORUMS, _FORM)
    ]
    report = check_traces(tlc, traces, _VECTORS, directory=tmp_path)
    told = {rejection.origin: (rejection.event, rejection.state) for rejection in report.rejections}
    assert {name: event for name, (event, _) in told.items()} == {
        "run 1": 2,
        "run 2": 3,
        "run 3": 1,
        "run 4": 2,
    }
    # People are shown the user's value and the ballot, and what could not be written.
    state = told["run 1"][1]
    assert "  highest[1] = <0, 1, 0>\n  notes[1] = [<2, 1> [" in state
    assert all(part in state for part in ("cmd x", "bal 0.1", "deps <0, 0, 0>", "phase pre-accepted"))
    assert told["run 4"][1] == f"  TLC has no numbers as large as {2**40}"


def test_an_event_that_the_protocol_can_not_map_is_said_to_be_one() -> None:
    event = plain_event(_events()[0])
    assert written(event, _QUORUMS, _FORM).fields["id"] == (2, 1)
    assert written(event, _QUORUMS, _FORM).ballots == {Ballot(0, 1)}
    with pytest.raises(ValueError, match="it has no 'instance'"):
        written({name: each for name, each in event.items() if name != "instance"}, _QUORUMS, _FORM)
    with pytest.raises(ValueError, match="not about nodes of this cluster"):
        written({**event, "node": 4}, _QUORUMS, _FORM)
    with pytest.raises(ValueError, match=r"ballot 1\.7 is of no node"):
        written({**event, "note": [1, 7, 0]}, _QUORUMS, _FORM)
    nameless = attrs.evolve(_FORM, event=lambda event, quorums: {})
    with pytest.raises(ValueError, match="no action"):
        written(event, _QUORUMS, nameless)


def test_names_of_values_are_no_words_of_the_specification() -> None:
    events = [
        {"action": "Tell", "node": 1, "value": value, "phase": {"word": "v1"}} for value in ("a", "b", "a")
    ]
    text = Batch(THREE, [[written(event, THREE, TraceForm()) for event in events]], TraceForm()).module(0)
    told = [line for line in text.splitlines() if "action" in line]
    assert [line.count('value |-> "v2"') for line in told] == [1, 0, 1]
    assert 'value |-> "v3"' in told[1]
    assert 'TheValue == {"v2", "v3"}' in text
    assert "TheQuorum1 == {{1, 2, 3}, {1, 2}, {1, 3}, {2, 3}}" in text


def test_a_cluster_without_fast_quorums_has_none_to_give() -> None:
    with pytest.raises(QuorumError):
        Batch(FlexibleQuorums([1, 2, 3], 2, 2), [], _FORM).module(0)
    assert "TheFast == {{1, 2, 3}}" in Batch(_QUORUMS, [], _FORM).module(0)
    assert issubclass(QuorumError, ConfigurationError)


def test_an_operator_of_the_companion_may_stand_for_a_constant() -> None:
    form = attrs.evolve(_FORM, given={**_FORM.given, "Conflict": "TheConflict", "Owner": Given.OWNER})
    event = written(plain_event(_events()[0]), _QUORUMS, form)
    batch = Batch(_QUORUMS, [[event]], form)
    assert "  Conflict <- TheConflict\n" in batch.config(0)
    assert "TheConflict ==" not in batch.module(0)
    assert "TheOwner(b) == TheOwners[b + 1]" in batch.module(0)
    assert 'TheConflicting == {<<"nop", "nop">>, <<"v1", "v1">>}' in batch.module(0)
