"""History files: what is written can be read, what is read is what was written, and what is bad is named."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.check import (
    HistoryError,
    HistoryWriter,
    Operation,
    check_linearizable,
    history_of,
    read_history,
    sample_history,
    write_history,
)
from paxos.check.history import FIELDS, OPERATIONS, parse_history, readable_value
from paxos.errors import EXIT_USAGE, ConfigurationError
from paxos.sim import Operation as Simulated
from paxos.sim import Workload, run

_LINE: dict[str, Any] = {
    "client": 3, "op": "cas", "key": "k", "value": "b", "old": "a", "call": 0.25, "return": 0.5, "out": True,
}  # fmt: skip


def _parsed(**changes: Any) -> Operation:
    data = _LINE | {name.rstrip("_"): value for name, value in changes.items()}
    return parse_history([json.dumps(data).encode()])[0]


# --- the promised shape ------------------------------------------------------------------------------


def test_a_line_has_the_promised_fields() -> None:
    operation = Operation(3, "cas", b"k", b"b", b"a", 0.25, 0.5, True)
    assert operation.to_json() == _LINE
    assert tuple(operation.to_json()) == FIELDS
    assert FIELDS == ("client", "op", "key", "value", "old", "call", "return", "out")
    promised = "get, put, delete, cas, scan, increment, txn, submit, decide"
    assert set(promised.split(", ")) == OPERATIONS
    assert _parsed() == operation


def test_an_unknown_outcome_is_a_null_return() -> None:
    operation = _parsed(return_=None, out=None)
    assert not operation.known
    assert operation.return_s is None
    assert operation.to_json()["return"] is None
    assert _parsed().known


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (-12, -12),
        ("text", b"text"),
        ("", b""),
        ("\u00e9\u2713", "\u00e9\u2713".encode()),
        ({"base64": "//8="}, b"\xff\xff"),
        ([], ()),
        (["k", None, [1, {"base64": "/w=="}]], (b"k", None, (1, b"\xff"))),
    ],
)
def test_values_of_json(data: object, value: object) -> None:
    operation = _parsed(value=data, old=data, key=data, out=data)
    for found in (operation.value, operation.old, operation.key, operation.out):
        assert found == value
        assert type(found) is type(value)
    assert operation.to_json()["value"] == data


_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@given(st.data())
def test_what_is_written_is_read(data: st.DataObject) -> None:
    call_s = data.draw(st.floats(0, 1e9))
    back_s = data.draw(st.none() | st.floats(call_s, 1e10))
    operation = Operation(
        data.draw(st.integers() | st.text(st.characters(codec="utf-8"))),
        data.draw(st.sampled_from(sorted(OPERATIONS))),
        key=data.draw(_values),
        value=data.draw(_values),
        old=data.draw(_values),
        call_s=call_s,
        return_s=back_s,
        out=None if back_s is None else data.draw(_values),
    )
    line = json.dumps(operation.to_json(), allow_nan=False).encode()
    assert parse_history([line]) == (operation,)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = sample_history("kv", 200, unknown=0.1)
    write_history(tmp_path / "whole", history)
    with HistoryWriter(tmp_path / "bit by bit") as writer:
        for operation in history:
            writer.write(operation)
            # It is there at once: a process that is killed leaves what it wrote.
        assert read_history(tmp_path / "bit by bit") == history
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "bit by bit").read_bytes()
    assert [op.line for op in read_history(tmp_path / "whole")] == list(range(1, 201))
    assert (tmp_path / "whole").read_bytes().endswith(b"\n")


def test_the_history_of_a_simulated_run_is_the_one_in_its_file() -> None:
    result = run(seed=4, faults="crash,loss", workload=Workload(operations=80, names=6, reads=0.4))
    history = history_of(result)
    assert len(history) > 80  # the audit asks, too
    assert parse_history(result.history().splitlines()) == history
    assert {op.op for op in history} == {"decide"}
    assert any(op.value is None for op in history)
    assert check_linearizable(history, "decree").ok


def test_what_was_rejected_is_left_out_and_what_has_no_answer_is_unknown() -> None:
    result = run(seed=1, workload=Workload(operations=3, audit=False))
    done = Simulated(0, "decide", b"a", b"1", 0.0, 1.0, "done", b"1", 1, 1)
    operations = (
        done,
        attrs.evolve(done, name=b"rejected", outcome="rejected", out=None),
        attrs.evolve(done, name=b"unknown", outcome="unknown", out=None),
        attrs.evolve(done, name=b"waiting", outcome=None, return_s=None, out=None),
        attrs.evolve(done, name=b"read", kind="decided", value=None, out=None),
    )
    result = attrs.evolve(result, operations=operations)
    history = history_of(result)
    assert [(op.key, op.known) for op in history] == [
        (b"a", True), (b"unknown", False), (b"waiting", False), (b"read", True)
    ]  # fmt: skip
    assert parse_history(result.history().splitlines()) == history


# --- what is bad -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "expected an object with client, op, key"),
        (b"3", "expected an object"),
        (b"{}", "client is missing; op is missing; key is missing"),
        (b'{"client": 1, "client": 1}', "a field is there twice"),
        (b"NaN", "NaN is no number of JSON"),
        (b'{"a": 1e999}', "is missing"),
    ],
)
def test_a_line_that_is_no_operation(line: bytes, words: str) -> None:
    with pytest.raises(HistoryError) as caught:
        parse_history([json.dumps(_LINE).encode(), line])
    assert "history: line 2: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extra": 1}, "'extra' is no field of a history"),
        ({"client": 1.5}, "client: expected a number or a name, got 1.5"),
        ({"client": True}, "client: expected a number or a name"),
        ({"client": None}, "client: "),
        ({"op": "read"}, "op: 'read' is not one of cas, decide, delete, get"),
        ({"op": ["get"]}, "op: ['get'] is not one of"),
        ({"op": None}, "op: None"),
        ({"call": None}, "call: expected seconds, got None"),
        ({"call": "0"}, "call: expected seconds"),
        ({"call": True}, "call: expected seconds"),
        ({"call": -1}, "call: expected seconds from 0 on, got -1.0"),
        ({"call": 10**39}, "return: 0.5 s is not after call"),
        ({"return": 0.1}, "return: 0.1 s is not after call, 0.25 s"),
        ({"return": False}, "return: expected seconds"),
        ({"return": None}, "out: True is an answer, but return says that none came"),
        ({"out": 0.5}, "out: 0.5 is not a whole number; write it as a string"),
        ({"key": {"base64": "?"}}, "key: base64: "),
        ({"key": {"base64": 3}}, "key: expected null, true"),
        ({"key": {"hex": "00"}}, "key: expected null, true"),
        ({"value": [[[[[[[[[1]]]]]]]]]}, "value: lists in lists, more than 8 deep"),
        ({"value": "\ud800"}, "value: not valid Unicode text"),
    ],
)
def test_a_field_that_is_not_what_it_should_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(HistoryError) as caught:
        parse_history([json.dumps(_LINE | changes).encode()])
    assert str(caught.value).startswith("history: line 1: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_times_are_finite(number: str) -> None:
    with pytest.raises(HistoryError, match="line 1"):
        parse_history([json.dumps(_LINE).replace("0.25", number).encode()])
    with pytest.raises(HistoryError):
        Operation(0, "get", call_s=float(number.replace("1e999", "inf")))


def test_every_bad_line_is_counted_and_the_first_are_named() -> None:
    good = json.dumps(_LINE).encode()
    with pytest.raises(HistoryError) as caught:
        parse_history([good, b"{", good, *[b"[]"] * 9], where="run.jsonl")
    message = str(caught.value)
    assert message.startswith("run.jsonl: line 2: not JSON")
    assert all(f"line {number}: " in message for number in (4, 5, 6, 7))
    assert message.endswith("; and 5 more bad lines")
    assert caught.value.exit_code == EXIT_USAGE
    assert isinstance(caught.value, ConfigurationError)


def test_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(json.dumps(_LINE | {"value": "x" * 5_000_000}).encode())
    with pytest.raises(HistoryError, match="line 1: longer than 4194304 bytes"):
        read_history(path)
    with pytest.raises(HistoryError, match="a number of 50 digits; the limit is 40"):
        parse_history([json.dumps(_LINE | {"value": 10**49}).encode()])
    monkeypatch.setattr("paxos.check.history._MAX_OPERATIONS", 3)
    with pytest.raises(HistoryError, match="more than 3 operations"):
        parse_history([json.dumps(_LINE).encode()] * 4)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="absent: can not be read: No such file"):
        read_history(tmp_path / "absent")
    with pytest.raises(HistoryError, match="can not be written"):
        write_history(tmp_path / "absent" / "file", [])
    with pytest.raises(HistoryError, match="can not be written"):
        HistoryWriter(tmp_path)


def test_a_model_may_bring_operations_of_its_own() -> None:
    line = json.dumps(_LINE | {"op": "enqueue"}).encode()
    with pytest.raises(HistoryError, match="'enqueue' is not one of"):
        parse_history([line])
    assert parse_history([line], OPERATIONS | {"enqueue"})[0].op == "enqueue"


# --- for people --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (Operation(0, "get", b"k", None, None, 0, 1, b"v"), "get k: v"),
        (Operation(0, "get", b"k", None, None, 0, 1, None), "get k: absent"),
        (Operation(0, "put", b"k", b"v", None, 0, 1), "put k v: done"),
        (Operation(0, "put", b"k", b"v"), "put k v: no answer"),
        (Operation(0, "cas", b"k", b"v", None, 0, 1, False), "cas k nothing -> v: no"),
        (Operation(0, "cas", b"k", b"v", b"u", 0, 1, True), "cas k u -> v: yes"),
        (Operation(0, "decide", b"k", None, None, 0, 1, None), "decide k: undecided"),
        (Operation(0, "scan", None, None, None, 0, 1, ((b"a", b"1"), (b"b", 2))), "scan: [[a, 1], [b, 2]]"),
        (Operation(0, "increment", b"n", 5, None, 0, 1, 7), "increment n 5: 7"),
    ],
)
def test_an_operation_in_words(operation: Operation, text: str) -> None:
    assert str(operation) == text


def test_values_in_words() -> None:
    assert readable_value(b"\xff\n") == "b'\\xff\\n'"
    assert readable_value(b"") == "''"
    assert readable_value(b" x") == "' x'"
    assert readable_value(b"x" * 99) == "x" * 21 + "..."
    assert readable_value(None) == "nothing"
