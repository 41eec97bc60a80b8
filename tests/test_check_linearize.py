"""The checker: against an oracle that tries every order, on planted mistakes, on what is right."""

import re
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.check import HistoryError, Operation, Verdict, check_linearizable, find_model, sample_history
from paxos.check.models import MODELS, KeyValue, Log, Register
from paxos.check.ordering import NEVER, rounds_of, search, spans_of
from paxos.check.window import HistoryViolation
from paxos.errors import ConfigurationError
from tests.histories import LATER_S, PLANTED, Forgetful, Planted, Queue, can_be_ordered, complaints_about

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

# --- the oracle agrees -------------------------------------------------------------------------------

_KEYS = (b"x", b"y")
_VALUES = (b"1", b"2")
_ASKED = {
    "decree": [("decide", {"key": 1, "value": 1}), ("decide", {"key": 1})],
    "register": [
        ("get", {"key": 1}),
        ("put", {"key": 1, "value": 1}),
        ("cas", {"key": 1, "value": 1, "old": 1}),
    ],
    "kv": [
        ("get", {"key": 1}),
        ("put", {"key": 1, "value": 1}),
        ("cas", {"key": 1, "value": 1, "old": 1}),
        ("delete", {"key": 1}),
        ("increment", {"key": 1}),
        ("scan", {}),
    ],
    "log": [("submit", {"value": 1}), ("get", {"place": 1}), ("scan", {})],
}
#: What an operation may be told at all.
_TOLD: dict[str, tuple[Any, ...]] = {
    "get": (None, *_VALUES),
    "cas": (True, False),
    "decide": _VALUES,
    "delete": (None, True, False),
    "increment": (None, 1, 2, 3),
    "submit": (None, 0, 1, 2),
    "scan": ((),),
}


@st.composite
def histories(draw: Any, model: str, right: int = 2) -> list[Operation]:
    """Few operations at few moments, told what some order of them gives; time may count for nothing."""
    asked = draw(st.lists(st.sampled_from(_ASKED[model]), min_size=1, max_size=6))
    operations = []
    for op, takes in asked:
        key = draw(st.sampled_from(_KEYS)) if "key" in takes else None
        if "place" in takes:
            key = draw(st.integers(0, 2))
        value = draw(st.sampled_from(_VALUES)) if "value" in takes else None
        old = draw(st.sampled_from((None, *_VALUES))) if "old" in takes else None
        call_s = draw(st.integers(0, 5))
        back_s = draw(st.one_of(st.none(), st.integers(call_s, 7), st.integers(call_s, 7)))
        client = draw(st.integers(0, 2))
        operations.append((Operation(client, op, key, value, old, float(call_s)), back_s))
    sequential = find_model(model)
    states: dict[Any, Any] = {}
    outs: list[Any] = [None] * len(operations)
    kept = draw(st.permutations(range(len(operations))))
    for at in kept[: draw(st.integers(0, len(kept))) or len(kept)]:
        operation = operations[at][0]
        part = operation.key if model in ("decree", "register") else None
        found = sequential.apply(states.get(part, sequential.initial()), operation)
        if found is not None:
            states[part], outs[at] = found
    history = []
    for (operation, back_s), out in zip(operations, outs, strict=True):
        told = attrs.evolve(operation, return_s=float(back_s), out=out) if back_s is not None else operation
        if operation.op == "cas" and told.known and not isinstance(out, bool):
            told = attrs.evolve(told, out=False)
        if operation.op == "scan" and told.known and out is None:
            told = attrs.evolve(told, out=())
        if operation.op == "decide" and operation.value is not None and told.known and out is None:
            told = attrs.evolve(told, out=draw(st.sampled_from(_VALUES)))
        if told.known and told.op in _TOLD and draw(st.integers(0, right)) == right:
            told = attrs.evolve(told, out=draw(st.sampled_from(_TOLD[told.op])))
        history.append(told)
    return history


@pytest.mark.parametrize("name", MODELS)
def test_a_brute_force_oracle_says_the_same(name: str) -> None:
    seen: dict[bool, int] = {True: 0, False: 0}

    @settings(max_examples=5 * settings().max_examples)
    @given(histories(name))
    def compare(history: list[Operation]) -> None:
        expected = _oracle(name, history)
        seen[expected] += 1
        verdict = check_linearizable(history, name)
        assert verdict.ok == expected
        assert not verdict.gave_up
        assert (verdict.violation is None) == expected

    compare()
    # A comparison of nothing but violations, or of none, shows little.
    assert min(seen.values()) >= 20, seen


def _oracle(name: str, history: Sequence[Operation]) -> bool:
    """The oracle, of the whole at once where the model knows the whole, else of each object."""
    model = find_model(name)
    if name not in ("decree", "register"):
        return can_be_ordered(model, history)
    # A client's own order counts over all objects, so they are told apart by what is allowed, not by
    # cutting.
    return all(
        can_be_ordered(
            model,
            history,
            required=[at for at, op in enumerate(history) if op.key == key and op.known],
            allowed=[at for at, op in enumerate(history) if op.key == key],
        )
        for key in _KEYS
    )


@pytest.mark.parametrize("name", ["register", "kv"])
def test_a_window_fails_and_nothing_in_it_is_needless(name: str) -> None:
    """By the oracle, too, it can not be ordered, and with any one of its operations excused it can."""
    windows: list[int] = []

    @settings(max_examples=5 * settings().max_examples)
    @given(
        histories(name, right=1).map(
            lambda history: [attrs.evolve(op, key=_KEYS[0]) for op in history if op.op != "scan"]
        )
    )
    def look(history: list[Operation]) -> None:
        model = find_model(name)
        verdict = check_linearizable(history, model)
        if verdict.violation is None:
            return
        assert verdict.violation.minimal
        spans = spans_of(history)
        rounds = rounds_of(model, history, spans)
        found = search(model, history, rounds, [model.initial()], 10**6)
        last = rounds[found.stuck].place
        left = list(range(len(history)))
        window = []
        for operation in verdict.violation.operations:
            at = next(at for at in left if history[at] == operation)
            left.remove(at)
            window.append(at)

        def fits(required: list[int]) -> bool:
            first = min(spans[at].call for at in required)
            begins = not any(each.place < first for each in rounds)
            return can_be_ordered(
                model,
                # Who returns after the violation may take effect, but need not.
                [attrs.evolve(op, client=at) for at, op in enumerate(history)],
                required=required,
                allowed=[at for at, span in enumerate(spans) if span.call < last and span.back >= first],
                starts=[model.initial()] if begins else found.states,
            )

        windows.append(len(window))
        if any(span.after >= 0 for span in spans):
            return  # a client's own order counts at equal times, which `fits` leaves out
        assert not fits(window)
        if len(window) > 1:
            assert all(fits([other for other in window if other != at]) for at in window)

    look()
    assert len(windows) >= 30
    assert {1, 2} <= set(windows)


# --- planted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_a_planted_mistake_is_found_and_nothing_else(planted: Planted) -> None:
    verdict = check_linearizable(planted.history, planted.model)
    assert verdict.ok == planted.ok
    assert verdict.outcome == ("linearizable" if planted.ok else "violation")
    assert verdict.operations == len(planted.history)
    if planted.ok:
        assert verdict.violation is None
        assert verdict.ordered == verdict.partitions
        return
    assert verdict.violation is not None
    assert verdict.violation.minimal
    assert len(verdict.violation.operations) <= 4
    if planted.window:
        begin_s = planted.history[-1].call_s - planted.history[-1].call_s % 1000
        assert tuple(op.call_s - begin_s for op in verdict.violation.operations) == planted.window


def test_the_real_checker_gets_every_planted_history_right() -> None:
    assert list(complaints_about(_real)) == []


def _real(history: Sequence[Operation], model: str) -> bool:
    return check_linearizable(history, model).ok


def _ignores_time(history: Sequence[Operation], model: str) -> bool:
    # Of everything at once there are too many orders: only what was planted counts.
    planted = [op for op in history if op.call_s >= LATER_S or len(history) < 10]
    return _real([attrs.evolve(op, call_s=0.0, return_s=9e9) if op.known else op for op in planted], model)


def _only_the_last(history: Sequence[Operation], model: str) -> bool:
    return check_linearizable(history[-1:], model).ok


BROKEN = {
    "accepts everything": lambda history, model: True,
    "refuses everything": lambda history, model: False,
    "ignores the order of real time": _ignores_time,
    "takes unknown for never": lambda history, model: _real([op for op in history if op.known], model),
    "takes unknown for done at once": lambda history, model: _real(
        [attrs.evolve(op, return_s=op.call_s) if not op.known and op.op == "put" else op for op in history],
        model,
    ),
    "takes unknown for done within a second": lambda history, model: _real(
        [
            attrs.evolve(op, return_s=op.call_s + 1.0, out=op.value if op.op == "decide" else None)
            if not op.known and op.op in ("put", "decide")
            else op
            for op in history
        ],
        model,
    ),
    "forgets answers of reads": lambda history, model: _real(
        [op for op in history if not (op.op in ("get", "scan") or (op.op == "decide" and op.value is None))],
        model,
    ),
    "takes equal times for an order": lambda history, model: _real(
        [attrs.evolve(op, return_s=op.return_s - 1e-6) if op.known else op for op in history],
        model,
    ),
    "knows no client's own order": lambda history, model: _real(
        [attrs.evolve(op, client=at) for at, op in enumerate(history)], model
    ),
    "looks at the end only": _only_the_last,
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_checker_is_noticed(broken: str) -> None:
    assert next(complaints_about(BROKEN[broken]), None) is not None


# --- what is right passes ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(12))
def test_what_a_model_did_is_linearizable(name: str, seed: int) -> None:
    history = sample_history(name, 300, 2 + seed, 1 + seed % 5, seed, unknown=0.05)
    verdict = check_linearizable(history, name)
    assert verdict.ok, verdict
    assert verdict.operations == 300
    assert verdict.unknown == sum(not op.known for op in history)


def test_scans_are_ordered_with_everything() -> None:
    history = sample_history("kv", 600, 8, 6, 2, scans=0.05, unknown=0.0)
    verdict = check_linearizable(history, "kv")
    assert verdict.ok
    assert verdict.partitions == 1
    assert verdict.unsplit is not None
    assert "scan" in verdict.unsplit
    without = [op for op in history if op.op != "scan"]
    assert check_linearizable(without, "kv").partitions == 6
    assert check_linearizable(without, "kv").unsplit is None


def test_five_thousand_operations_of_ten_clients_on_ten_keys() -> None:
    history = sample_history("kv", 5000, 10, 10)
    verdict = check_linearizable(history, "kv")
    assert verdict.ok
    assert verdict.partitions == 10
    # Not a time, which is the machine's: a state costs some microseconds.
    assert verdict.states < 20_000


def test_a_long_history_needs_no_deep_stack() -> None:
    history = [Operation(0, "increment", b"n", None, None, at, at + 0.5, at + 1) for at in range(8_000)]
    assert check_linearizable(history, "kv").ok
    history[-1] = attrs.evolve(history[-1], out=7)
    verdict = check_linearizable(history, "kv")
    assert verdict.violation is not None
    assert len(verdict.violation.operations) <= 2


def test_many_unknown_operations_at_once() -> None:
    history = [Operation(at, "put", b"x", b"%d" % at, None, 0.0) for at in range(50)]
    history += [
        Operation(0, "get", b"x", None, None, at, at + 0.5, b"%d" % (at * 7 % 50)) for at in range(1, 48)
    ]
    assert check_linearizable(history, "register", max_states=100_000).ok
    history.append(Operation(0, "get", b"x", None, None, 300.0, 301.0, b"0"))
    history.append(Operation(0, "get", b"x", None, None, 302.0, 303.0, b"7"))
    # The only write of 7 is used up, and overwritten by 0.
    assert check_linearizable(history, "register", max_states=100_000).outcome == "violation"


def test_what_readers_saw_of_appends_without_an_answer() -> None:
    log = Log()
    history = [
        Operation(0, "submit", None, b"seen", None, 0),
        Operation(1, "submit", None, b"not seen", None, 1),
        Operation(2, "submit", None, b"quiet", None, 2, 3, None),
        Operation(3, "get", 4, None, None, 5, 8, b"seen"),
        Operation(3, "scan", (3, None), None, None, 6, 7, (b"quiet", b"seen")),
    ]
    seen, unseen, quiet, *reads = log.resolved(history)
    assert seen == attrs.evolve(history[0], return_s=7, out=4)
    assert (unseen.known, isinstance(unseen.value, tuple)) == (False, True)
    assert quiet == attrs.evolve(history[2], out=3)
    assert reads == history[3:]
    # Where it is seen in two places, before its call, or may be another's, nothing is concluded.
    for line in (
        Operation(4, "get", 1, None, None, 5, 8, b"seen"),
        Operation(4, "submit", None, b"seen", None, 9, 10, 7),
    ):
        assert log.resolved([*history, line])[0] == history[0]
    early = attrs.evolve(history[0], call_s=9)
    assert log.resolved([early, *history[1:]])[0] == early


def test_writes_without_an_answer_that_nobody_could_tell_apart() -> None:
    history = [
        Operation(0, "put", b"x", b"1", None, 0),
        Operation(0, "cas", b"x", b"2", b"3", 0),
        Operation(0, "put", b"x", b"3", None, 0),
        Operation(0, "put", b"x", b"4", None, 0),
        Operation(0, "put", b"y", b"4", None, 0),
        Operation(0, "put", b"n", b"5", None, 0),
        Operation(1, "get", b"y", None, None, 1, 2, b"1"),
        Operation(1, "scan", None, None, None, 3, 4, ((b"x", b"4"),)),
        Operation(1, "increment", b"n"),
    ]
    resolved = KeyValue().resolved(history)
    equal = resolved[0].value
    assert isinstance(equal, tuple)
    # 3 is compared with, 4 is seen at x but not at y, and what increments write is not known.
    assert [op.value for op in resolved[:6]] == [equal, equal, b"3", b"4", equal, b"5"]
    assert [attrs.evolve(op, value=None) for op in resolved] == [
        attrs.evolve(op, value=None) for op in history
    ]
    known = [attrs.evolve(op, return_s=9, out=True if op.op == "cas" else None) for op in history[:6]]
    assert Register().resolved(known) == known


def test_what_is_resolved_is_in_nobodys_order() -> None:
    # The append has no answer, so its client's read of that instant does not come before it.
    history = [
        Operation(1, "get", 0, None, None, 0, 1, b"a"),
        Operation(1, "submit", None, b"a", None, 1),
    ]
    assert check_linearizable(history, "log").ok


def test_a_violation_is_shown_as_it_happened_not_as_it_was_resolved() -> None:
    history = [
        Operation(0, "submit", None, b"a", None, 0),
        Operation(1, "get", 0, None, None, 1, 2, b"a"),
        Operation(1, "get", 0, None, None, 3, 4, None),
    ]
    violation = check_linearizable(history, "log").violation
    assert violation is not None
    assert {*violation.operations, *violation.context} <= set(history)


# --- the verdict -------------------------------------------------------------------------------------


def _hopeless() -> list[Operation]:
    """Writes all at once, then a read of what none of them wrote: every order has to be tried."""
    history = [Operation(at, "put", b"x", b"%d" % at, None, 0.0, 10.0) for at in range(12)]
    return [*history, Operation(99, "get", b"x", None, None, 11.0, 12.0, b"another")]


def test_giving_up_is_no_verdict() -> None:
    verdict = check_linearizable(_hopeless(), "register", max_states=500)
    assert not verdict.ok
    assert verdict.gave_up
    assert verdict.violation is None
    assert verdict.outcome == "gave up"
    assert verdict.states == 500
    assert "gave up after 500 states" in str(verdict)


def test_giving_up_leaves_room_for_what_is_easy() -> None:
    easy = sample_history("kv", 200, 4, 4, unknown=0.0)
    hard = [attrs.evolve(op, key=b"hard") for op in sample_history("kv", 400, 20, 1, 3)]
    verdict = check_linearizable([*hard, *easy], "kv", max_states=450)
    assert verdict.gave_up
    assert (verdict.ordered, verdict.partitions) == (4, 5)
    assert "4 are linearizable and the rest is not known" in str(verdict)


def test_an_empty_history_is_one() -> None:
    verdict = check_linearizable([], "kv")
    assert verdict == Verdict(True, False, 0, 0, 0, 0, 0)


def test_parts_are_told_as_they_are_ordered() -> None:
    told: list[int] = []
    history = sample_history("kv", 200, 4, 4)
    assert check_linearizable(history, "kv", advance=told.append).ok
    assert sum(told) == 200
    assert told == sorted(told)


def test_a_verdict_as_json() -> None:
    planted = PLANTED["a stale read"]
    found = check_linearizable(planted.history, "register").to_json()
    assert found["outcome"] == "violation"
    violation = found["violation"]
    assert isinstance(violation, dict)
    assert [each["out"] for each in violation["operations"]] == [None, "1"]
    assert violation["part"] == "x"
    assert check_linearizable([], "kv").to_json()["violation"] is None


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Operation(0, "enqueue", None, b"1", line=7), "line 7: 'enqueue' is not an operation of Register"),
        (
            Operation(0, "put", b"x", None),
            "operation 1: put: value: expected a string or a number",
        ),
        (Operation(0, "cas", b"x", b"1", b"0", 0, 1, b"yes"), "out: expected true or false"),
    ],
)
def test_what_a_model_does_not_know_is_refused(operation: Operation, words: str) -> None:
    with pytest.raises(HistoryError, match=re.escape(words)):
        check_linearizable([Operation(0, "get", b"x"), operation], "register")


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no model named 'raft'"):
        check_linearizable([], "raft")
    with pytest.raises(ConfigurationError, match="max_states"):
        check_linearizable([], "kv", max_states=0)
    with pytest.raises(ConfigurationError, match=r"expected a paxos\.check\.Model"):
        check_linearizable([], dict)  # type: ignore[arg-type]


def test_a_model_that_calls_a_write_a_read_is_found_out() -> None:
    class Careless(Queue):
        def only_reads(self, operation: Operation) -> bool:
            return True

    with pytest.raises(HistoryError, match=r"Careless.only_reads holds enqueue 1: done for a read"):
        check_linearizable([Operation(0, "enqueue", None, b"1", None, 0, 1)], Careless())


# --- models of one's own -----------------------------------------------------------------------------


def _queue(*told: tuple[str, Any, float, float | None]) -> list[Operation]:
    return [
        Operation(
            at,
            op,
            None,
            value if op == "enqueue" else None,
            None,
            call,
            back,
            None if op == "enqueue" else value,
        )
        for at, (op, value, call, back) in enumerate(told)
    ]


def test_a_queue() -> None:
    fair = _queue(
        ("enqueue", b"a", 0, 1), ("enqueue", b"b", 2, 3), ("dequeue", b"a", 4, 5), ("dequeue", b"b", 4, 5)
    )
    assert check_linearizable(fair, Queue()).ok
    unfair = _queue(("enqueue", b"a", 0, 1), ("enqueue", b"b", 2, 3), ("dequeue", b"b", 4, 5))
    verdict = check_linearizable(unfair, "tests.histories:Queue")
    assert verdict.violation is not None
    assert verdict.violation.part == "the whole history"
    lost = _queue(("enqueue", b"a", 0, None), ("enqueue", b"b", 2, 3), ("dequeue", b"b", 4, 5))
    assert check_linearizable(lost, Queue()).ok


def test_a_model_with_a_choice() -> None:
    history = [
        Operation(0, "put", b"x", b"1", None, 0, 1),
        Operation(0, "put", b"x", b"2", None, 2, 3),
        Operation(0, "get", b"x", None, None, 4, 5, b"1"),
    ]
    assert not check_linearizable(history, "register").ok
    assert check_linearizable(history, Forgetful()).ok
    history.append(Operation(0, "get", b"x", None, None, 6, 7, b"2"))
    assert not check_linearizable(history, Forgetful()).ok


class Together(Register):
    """Registers, with a read of several at one moment: key is a list of keys, out that of their values."""

    operations = frozenset({"put", "scan"})

    def initial(self) -> Any:
        return ()

    def apply(self, state: Any, operation: Operation) -> tuple[Any, Any]:
        held = dict(state)
        if operation.op == "put":
            return tuple(sorted((held | {operation.key: operation.value}).items())), None
        assert isinstance(operation.key, tuple)
        return state, tuple(held.get(key) for key in operation.key)

    def keys(self, operation: Operation) -> Any:
        return operation.key if operation.op == "scan" else (operation.key,)

    def only_reads(self, operation: Operation) -> bool:
        return operation.op == "scan"

    def refuses(self, operation: Operation) -> str | None:
        return None

    def resolved(self, history: Sequence[Operation]) -> Sequence[Operation]:
        return history


def test_keys_that_others_tie_together_are_ordered_together() -> None:
    # In this order, though the last is the first to return: c, what reads b and c, b, what reads a and b, a.
    history = [
        Operation(0, "scan", (b"b", b"c"), None, None, 0, 9, (None, b"1")),
        Operation(1, "scan", (b"a", b"b"), None, None, 0.1, 9, (None, b"1")),
        Operation(2, "put", b"c", b"1", None, 0.2, 9),
        Operation(3, "put", b"b", b"1", None, 0.3, 9),
        Operation(4, "put", b"a", b"1", None, 0.4, 1),
        Operation(5, "put", b"z", b"1", None, 0, 9),
    ]
    verdict = check_linearizable(history, Together())
    assert verdict.ok
    assert verdict.partitions == 2
    history[3] = attrs.evolve(history[3], call_s=2.0)  # too late for the read that saw a's absence
    assert not check_linearizable(history, Together()).ok
    assert not can_be_ordered(Together(), history)


# --- the window ----------------------------------------------------------------------------------------


def test_a_window_that_could_not_be_made_small_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxos.check.window._TOTAL_STATES", 0)
    planted = PLANTED["a lost update"]
    violation = check_linearizable(planted.history, planted.model).violation
    assert violation is not None
    assert not violation.minimal
    assert len(violation.operations) == 52  # everything that had returned by then
    assert str(violation).endswith("(there may be a smaller window: looking for it took too long)")
    assert "and 12 more" in str(violation)


def test_with_too_many_states_a_window_begins_in_those_possible_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paxos.check.window._STARTS", 0)
    planted = PLANTED["a decision that is taken back"]
    violation = check_linearizable(planted.history, planted.model).violation
    assert violation is not None
    assert violation.minimal
    assert len(violation.operations) == 1
    assert violation.before == ("decided: 1",)


# --- the picture -------------------------------------------------------------------------------------


def _violation(name: str) -> HistoryViolation:
    planted = PLANTED[name]
    violation = check_linearizable(planted.history, planted.model).violation
    assert violation is not None
    return violation


_STALE = (
    "x: no order explains these 2 operations, from 1002.000000 s to 1005.000000 s; the other one of this "
    "part can not help, whatever it did while under way"
)


def test_the_picture_of_a_stale_read() -> None:
    assert str(_violation("a stale read")).splitlines() == [
        _STALE,
        "",
        "  client 1  |---1---|",
        "  client 2                  |---2---|",
        "",
        "  1  client 1  put x 2: done  1002.000000 to 1003.000000 s",
        "  2  client 2  get x: 1       1004.000000 to 1005.000000 s",
        "",
        "when it begins: 1",
        "for example: 1, 1 -> 2; 2 (get x: 1) fits nowhere in it",
    ]


def test_the_picture_shows_what_is_unknown() -> None:
    violation = _violation("an unknown write is seen, then not")
    assert [op.value for op in violation.context] == [b"2"]
    text = str(violation)
    assert "a  client 1  put x 2: no answer" in text
    assert "|...." in text
    assert "for example: 1, a -> 2, 1 -> 2; 2 (get x: 1) fits nowhere in it" in text


def test_a_window_of_one_says_so() -> None:
    violation = _violation("a decision before it was proposed")
    assert violation.sentence.startswith("x: no order explains this one of 2 operations, from 1000.000000 s")
    assert violation.before == ("undecided",)
    assert (violation.begins_s, violation.ends_s) == (1000.0, 1001.0)


def test_a_client_with_much_under_way_has_several_lanes() -> None:
    history = [
        Operation("c", "decide", b"x", b"1", None, 0.0, 3.0, b"1"),
        Operation("c", "decide", b"x", b"2", None, 1.0, 4.0, b"2"),
    ]
    violation = check_linearizable(history, "decree").violation
    assert violation is not None
    assert [line for line in violation.picture().splitlines() if line.startswith("  client c")] == [
        "  client c  |-------1-------|",
        "  client c          |-------2-------|",
    ]


def test_names_and_values_do_not_reach_the_terminal_raw() -> None:
    history = [Operation("\x1b[2J", "get", b"\x1b[H", None, None, 0.0, 1.0, b"\x07")]
    text = str(check_linearizable(history, "register"))
    assert text.replace("\n", "").isprintable()
    assert "client '\\x1b[2J'" in text


# --- the places of calls and returns -----------------------------------------------------------------


def test_at_equal_times_calls_come_first() -> None:
    spans = spans_of(
        [Operation(0, "put", None, b"1", None, 0, 1), Operation(1, "get", None, None, None, 1, 2)]
    )
    assert spans[1].call < spans[0].back
    assert spans[1].after == -1
    assert spans_of([Operation(0, "get")])[0].back == NEVER


def test_one_clients_own_order_counts_unless_it_does_two_things_at_once() -> None:
    first, second = Operation(0, "put", None, b"1", None, 0, 1), Operation(0, "get", None, None, None, 1, 2)
    assert spans_of([first, second])[1].after == 0
    assert spans_of([second, first])[0].after == 1
    assert not check_linearizable([first, second], "register").ok
    both = Operation(0, "get", None, None, None, 0.5, 3)
    elsewhere = attrs.evolve(both, key=b"y")
    assert check_linearizable([first, second, elsewhere], "register").ok
    assert [span.after for span in spans_of([first, second, both])] == [-1, -1, -1]
