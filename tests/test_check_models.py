"""The models, one operation at a time; and the histories that are made of them."""

from itertools import pairwise
from typing import Any

import attrs
import pytest

from paxos.check import Decree, KeyValue, Log, Model, Operation, Register, find_model, sample_history
from paxos.check.models import MODELS
from paxos.errors import ConfigurationError
from tests.histories import Queue


def _told(model: Model[Any], *asked: tuple[Any, ...]) -> list[Any]:
    """What a model answers, from its initial state on."""
    state, outs = model.initial(), []
    for op, *rest in asked:
        found = model.apply(state, Operation(0, op, *rest))
        outs.append("impossible" if found is None else found[1])
        state = state if found is None else found[0]
        hash(state)
    return outs


def test_a_decree() -> None:
    asked = [("decide", b"x"), ("decide", b"x", b"1"), ("decide", b"x", b"2"), ("decide", b"x")]
    assert _told(Decree(), *asked) == [None, b"1", b"1", b"1"]


def test_a_register() -> None:
    asked = [
        ("get", None), ("cas", None, b"1", b"0"), ("cas", None, b"1", None), ("put", None, b"2"),
        ("get", None), ("cas", None, b"3", b"2"), ("get", None),
    ]  # fmt: skip
    assert _told(Register(), *asked) == [None, False, True, None, b"2", True, b"3"]


def test_keys_and_values() -> None:
    asked = [
        ("get", b"a"), ("put", b"b", b"1"), ("put", b"a", b"2"), ("scan",), ("delete", b"b"),
        ("delete", b"b"), ("get", b"b"), ("cas", b"b", b"3", None), ("scan", (b"b", None)),
        ("scan", (b"a", b"b")),
        ("scan", (b"", b"a")),
    ]  # fmt: skip
    assert _told(KeyValue(), *asked) == [
        None, None, None, ((b"a", b"2"), (b"b", b"1")), True, False,
        None, True, ((b"b", b"3"),), ((b"a", b"2"),), (),
    ]  # fmt: skip


def test_increments() -> None:
    asked = [
        ("increment", b"n"), ("increment", b"n", 5), ("get", b"n"), ("put", b"n", b"-3"),
        ("increment", b"n", 1), ("put", b"n", 40), ("increment", b"n", 2), ("put", b"n", b"words"),
        ("increment", b"n"), ("get", b"n"),
    ]  # fmt: skip
    expected = [1, 6, b"6", None, -2, None, 42, None, "impossible", b"words"]
    assert _told(KeyValue(), *asked) == expected


def test_a_log() -> None:
    asked = [
        ("get", 0), ("submit", None, b"a"), ("submit", None, b"b"), ("submit", None, b"a"),
        ("get", 1), ("get", 3), ("scan",), ("scan", (1, None)), ("scan", (0, 2)), ("scan", (7, 9)),
    ]  # fmt: skip
    assert _told(Log(), *asked) == [
        None, 0, 1, 2, b"b", None, (b"a", b"b", b"a"), (b"b", b"a"), (b"a", b"b"), (),
    ]  # fmt: skip


def test_equal_logs_are_equal_states() -> None:
    log = Log()
    first, second = Operation(0, "submit", None, b"a"), Operation(1, "submit", None, b"b")

    def after(*operations: Operation) -> int:
        state = log.initial()
        for operation in operations:
            found = log.apply(state, operation)
            assert found is not None
            state = found[0]
        return state

    assert after(first, second) == after(first, second)
    assert after(first, second) != after(second, first)
    assert log.describe(after(first, second, first, first, first)) == "5 entries: ..., b, a, a, a"
    assert log.describe(0) == "no entries"


@pytest.mark.parametrize(
    ("model", "operation", "states"),
    [
        (Register(), Operation(0, "put", None, b"1", None, 0, 1), 1),
        (Register(), Operation(0, "get", None, None, None, 0, 1, b"1"), 0),
        (Register(), Operation(0, "get", None, None, None, 0, 1, None), 1),
        (Register(), Operation(0, "get"), 1),
        (Register(), Operation(0, "cas", None, b"1", None, 0, 1, False), 0),
        (KeyValue(), Operation(0, "delete", b"k", None, None, 0, 1, None), 1),
        (KeyValue(), Operation(0, "delete", b"k", None, None, 0, 1, True), 0),
        (KeyValue(), Operation(0, "increment", b"k", None, None, 0, 1, 1), 1),
        # 1 and True are equal to Python.
        (KeyValue(), Operation(0, "increment", b"k", None, None, 0, 1, True), 0),
        (Log(), Operation(0, "submit", None, b"a", None, 0, 1, None), 1),
        (Log(), Operation(0, "submit", None, b"a", None, 0, 1, 1), 0),
        (Log(), Operation(0, "get", 0, None, None, 0, 1, None), 1),
    ],
)
def test_a_step_compares_the_answer(model: Model[Any], operation: Operation, states: int) -> None:
    assert len(model.step(model.initial(), operation)) == states


@pytest.mark.parametrize(
    ("model", "operation", "words"),
    [
        (Decree(), Operation(0, "decide", b"x", True, None), "value: expected a string or a number, got yes"),
        (Decree(), Operation(0, "decide", b"x", b"1", b"0"), "old: expected null"),
        (Decree(), Operation(0, "decide", b"x", b"1", None, 0, 1, None), "must have been told one"),
        (Decree(), Operation(0, "decide", b"x", None, None, 0, 1, ()), "is not what it can answer"),
        (Register(), Operation(0, "get", None, b"1"), "value: expected null"),
        (Register(), Operation(0, "get", None, None, None, 0, 1, True), "yes is not what it can answer"),
        (Register(), Operation(0, "put", None, None), "value: expected a string or a number"),
        (Register(), Operation(0, "put", None, b"1", None, 0, 1, True), "put: out"),
        (
            Register(),
            Operation(0, "cas", None, b"1", None, 0, 1, None),
            "expected true or false, got nothing",
        ),
        (Register(), Operation(0, "cas", None, None, b"1"), "cas: value"),
        (KeyValue(), Operation(0, "get", None), "key: expected a string, got nothing"),
        (KeyValue(), Operation(0, "get", 3), "key: expected a string, got 3"),
        (KeyValue(), Operation(0, "delete", b"k", b"1"), "delete: value: expected null"),
        (KeyValue(), Operation(0, "delete", b"k", None, None, 0, 1, b"1"), "delete: out"),
        (KeyValue(), Operation(0, "increment", b"k", b"1"), "increment: value: expected a number"),
        (KeyValue(), Operation(0, "increment", b"k", None, None, 0, 1, b"1"), "increment: out"),
        (KeyValue(), Operation(0, "scan", b"k"), "scan: key: expected [low, high] or null"),
        (KeyValue(), Operation(0, "scan", (None, b"k")), "scan: key: expected [low, high] or null"),
        (KeyValue(), Operation(0, "scan", None, None, None, 0, 1, None), "expected a list of [key, value]"),
        (
            KeyValue(),
            Operation(0, "scan", None, None, None, 0, 1, (b"k",)),
            "expected a list of [key, value]",
        ),
        (Log(), Operation(0, "submit", b"k", b"1"), "submit: key: expected null"),
        (Log(), Operation(0, "submit", None, None), "submit: value"),
        (Log(), Operation(0, "get", -1), "expected a number from 0 on, got -1"),
        (Log(), Operation(0, "scan", (0, b"1")), "scan: key"),
        (Log(), Operation(0, "scan", None, None, None, 0, 1, b"1"), "scan: out"),
    ],
)
def test_what_makes_no_sense_is_refused(model: Model[Any], operation: Operation, words: str) -> None:
    assert words in str(model.refuses(operation))


@pytest.mark.parametrize("name", MODELS)
def test_reads_are_reads_and_every_operation_of_a_sample_is_accepted(name: str) -> None:
    model = find_model(name)
    reads = 0
    for operation in sample_history(name, 400, scans=0.05, unknown=0.05):
        assert model.refuses(operation) is None
        assert operation.op in model.operations
        if model.only_reads(operation) and operation.known:
            reads += 1
            state = model.initial()
            assert all(after == state for after in model.step(state, attrs.evolve(operation)))
    assert reads > 50


def test_a_model_by_name() -> None:
    assert isinstance(find_model("kv"), KeyValue)
    assert isinstance(find_model("tests.histories:Queue"), Queue)
    for name, words in (
        ("raft", "no model named 'raft'; known: decree, register, kv, log, or package.module:Class"),
        ("absent.module:Model", "ModuleNotFoundError"),
        ("tests.histories:Absent", "AttributeError"),
        ("tests.histories:Planted", "TypeError"),
        ("tests.histories:PLANTED", "a dict, not a subclass of paxos.check.Model"),
        ("paxos.check.models:Model", "TypeError"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            find_model(name)
        assert words in str(caught.value)


def test_a_model_without_rules_says_what_to_define() -> None:
    class Empty(Model[int]):
        def initial(self) -> int:
            return 0

    with pytest.raises(NotImplementedError, match="Empty: define apply, or step where there is a choice"):
        Empty().step(0, Operation(0, "get"))
    assert Empty().describe(0) == "0"
    assert len(Empty().describe(10**99)) == 60


# --- samples -----------------------------------------------------------------------------------------


def test_a_sample_is_the_same_every_time() -> None:
    assert sample_history("kv", 200, seed=3) == sample_history("kv", 200, seed=3)
    assert sample_history("kv", 200, seed=3) != sample_history("kv", 200, seed=4)


def test_a_sample_is_what_was_asked_for() -> None:
    history = sample_history("kv", 2000, 7, 5, scans=0.1, unknown=0.1)
    assert len(history) == 2000
    assert {op.client for op in history} == set(range(7))
    assert {op.key for op in history if op.op != "scan"} == {b"k%d" % key for key in range(5)}
    assert 150 < sum(not op.known for op in history) < 250
    assert 150 < sum(op.op == "scan" for op in history) < 250
    assert [op.call_s for op in history] == sorted(op.call_s for op in history)
    overlaps = sum(
        first.return_s is not None and first.return_s > second.call_s for first, second in pairwise(history)
    )
    assert overlaps > 1000


@pytest.mark.parametrize(
    "changes",
    [{"model": "raft"}, {"clients": 0}, {"keys": 0}, {"operations": -1}, {"unknown": 1.5}, {"scans": -0.1}],
)
def test_a_sample_that_can_not_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        sample_history(**changes)
