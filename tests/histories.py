"""What the checker is judged by: an oracle that tries every order, and histories whose verdict is known.

The oracle knows nothing of rounds, bits or memory: it puts operations one after another in every way that
real time allows. Planted histories are hundreds of operations long, right by construction, but for one
mistake.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import attrs

from paxos.check.history import Operation
from paxos.check.models import Model, Register
from paxos.check.sample import sample_history

_Op = Operation


# --- the oracle --------------------------------------------------------------------------------------


def precedes(history: Sequence[Operation], first: int, second: int) -> bool:
    """Whether one operation was over when the other was asked."""
    one, other = history[first], history[second]
    if one.return_s is None or one.return_s > other.call_s:
        return False
    return one.return_s < other.call_s or (
        one.client == other.client
        and other.known
        and (one.call_s, first) < (other.call_s, second)
        and _one_at_a_time(history, one.client)
    )


def _one_at_a_time(history: Sequence[Operation], client: int | str) -> bool:
    mine = sorted(
        ((op.call_s, at, op.return_s) for at, op in enumerate(history) if op.client == client and op.known)
    )
    return all(one[2] is not None and one[2] <= other[0] for one, other in pairwise(mine))


def can_be_ordered(
    model: Model[Any],
    history: Sequence[Operation],
    *,
    required: Collection[int] | None = None,
    allowed: Collection[int] | None = None,
    starts: Iterable[Any] | None = None,
) -> bool:
    """Whether some order explains the history, found by trying all of them.

    Args:
        model: the model.
        history: the operations.
        required: those that must take effect; None for all whose outcome is known.
        allowed: those that may; None for all.
        starts: states to begin with; None for the initial one.
    """
    needed = {at for at, op in enumerate(history) if op.known} if required is None else set(required)
    there = set(range(len(history))) if allowed is None else set(allowed)
    before = {at: {other for other in there if precedes(history, other, at)} for at in there}

    def goes_on(state: Any, placed: list[int]) -> bool:
        left = needed - set(placed)
        if not left:
            return True
        for at in there - set(placed):
            if before[at] & left or any(at in before[other] for other in placed):
                continue
            if any(goes_on(after, [*placed, at]) for after in model.step(state, history[at])):
                return True
        return False

    return any(goes_on(state, []) for state in ([model.initial()] if starts is None else starts))


# --- histories whose verdict is known ----------------------------------------------------------------


class Planted(NamedTuple):
    """A history, its model, whether it is linearizable, and the calls (seconds) of its smallest window."""

    history: tuple[Operation, ...]
    model: str
    ok: bool
    window: tuple[float, ...] = ()


#: When samples are over: what is planted after it meets nothing that is still under way, but unknown ones.
LATER_S = 1000.0


def _after(model: str, *planted: Operation, seed: int = 5) -> tuple[Operation, ...]:
    """Hundreds of right operations, then these, whose times count from the end of those."""
    shifted = [
        attrs.evolve(
            op,
            call_s=op.call_s + LATER_S,
            return_s=None if op.return_s is None else op.return_s + LATER_S,
        )
        for op in planted
    ]
    return (*sample_history(model, 400, 6, 4, seed), *shifted)


def _spoilt(
    model: str, spoils: Callable[[Sequence[Operation]], tuple[int, Operation]], seed: int = 8
) -> tuple[Operation, ...]:
    """Hundreds of right operations, one of which is told something else."""
    history = list(sample_history(model, 600, 8, 3, seed, unknown=0.01))
    at, operation = spoils(history)
    history[at] = operation
    return tuple(history)


def _stale(history: Sequence[Operation]) -> tuple[int, Operation]:
    """A read that is told a value which was overwritten long before."""
    at = max(at for at, op in enumerate(history) if op.op == "get" and op.known and op.key == b"k1")
    old = next(op.value for op in history if op.op == "put" and op.known and op.key == b"k1")
    return at, attrs.evolve(history[at], out=old)


def _invented(history: Sequence[Operation]) -> tuple[int, Operation]:
    at = [at for at, op in enumerate(history) if op.op == "get" and op.known][200]
    return at, attrs.evolve(history[at], out=b"never written")


def _split(history: Sequence[Operation]) -> tuple[int, Operation]:
    """One who proposed is told another value than the rest, one that was proposed: its own."""
    at = [at for at, op in enumerate(history) if op.known and op.value not in (None, op.out)][100]
    return at, attrs.evolve(history[at], out=history[at].value)


def _moved(history: Sequence[Operation]) -> tuple[int, Operation]:
    """An append that is told a place which is another's."""
    at = [at for at, op in enumerate(history) if op.op == "submit" and op.known][150]
    assert isinstance(history[at].out, int)
    return at, attrs.evolve(history[at], out=history[at].out - 1)  # type: ignore[operator]


PLANTED: Mapping[str, Planted] = {
    # --- mistakes
    "a stale read": Planted(
        _after(
            "register",
            _Op(0, "put", b"x", b"1", None, 0, 1),
            _Op(1, "put", b"x", b"2", None, 2, 3),
            _Op(2, "get", b"x", None, None, 4, 5, b"1"),
        ),
        "register", False, (2, 4),
    ),
    "a stale read among others": Planted(_spoilt("kv", _stale), "kv", False),
    "a read of a value never written": Planted(_spoilt("kv", _invented), "kv", False),
    "a lost update": Planted(
        _after(
            "kv",
            *(_Op(0, "increment", b"n", None, None, at, at + 0.5, at + 1) for at in range(50)),
            _Op(1, "increment", b"n", None, None, 60, 63, 51),
            _Op(2, "increment", b"n", None, None, 61, 64, 51),
            *(_Op(0, "increment", b"n", None, None, at, at + 0.5, at - 18) for at in range(70, 90)),
        ),
        "kv", False, (60, 61),
    ),
    "a write that is lost": Planted(
        _after(
            "kv",
            _Op(0, "put", b"x", b"1", None, 0, 1),
            _Op(1, "get", b"x", None, None, 2, 3, None),
        ),
        "kv", False, (0, 2),
    ),
    "a split decision": Planted(_spoilt("decree", _split), "decree", False),
    "a decision that is taken back": Planted(
        _after(
            "decree",
            _Op(0, "decide", b"x", b"1", None, 0, 1, b"1"),
            _Op(1, "decide", b"x", None, None, 2, 3, None),
        ),
        "decree", False, (0, 2),
    ),
    "a decision before it was proposed": Planted(
        _after(
            "decree",
            _Op(1, "decide", b"x", None, None, 0, 1, b"1"),
            _Op(0, "decide", b"x", b"1", None, 2, 3, b"1"),
        ),
        "decree", False, (0,),
    ),
    "two compare-and-swaps of one value succeed": Planted(
        _after(
            "kv",
            _Op(0, "put", b"lock", b"free", None, 0, 1),
            _Op(1, "cas", b"lock", b"mine", b"free", 2, 5, True),
            _Op(2, "cas", b"lock", b"yours", b"free", 3, 6, True),
        ),
        "kv", False, (2, 3),
    ),
    "an unknown write is seen, then not": Planted(
        _after(
            "register",
            _Op(0, "put", b"x", b"1", None, 0, 1),
            _Op(1, "put", b"x", b"2", None, 2),
            _Op(2, "get", b"x", None, None, 3, 4, b"2"),
            _Op(3, "get", b"x", None, None, 5, 6, b"1"),
        ),
        "register", False, (3, 5),
    ),
    "an unknown write is seen before its call": Planted(
        _after(
            "register",
            _Op(2, "get", b"x", None, None, 0, 1, b"2"),
            _Op(1, "put", b"x", b"2", None, 2),
        ),
        "register", False, (0,),
    ),
    "an unknown compare-and-swap happens twice": Planted(
        _after(
            "kv",
            _Op(0, "put", b"x", b"1", None, 0, 1),
            _Op(1, "cas", b"x", b"2", b"1", 2),
            _Op(2, "get", b"x", None, None, 3, 4, b"2"),
            _Op(0, "put", b"x", b"1", None, 5, 6),
            _Op(2, "get", b"x", None, None, 7, 8, b"2"),
        ),
        "kv", False,
    ),
    "a client does not see its own write of that instant": Planted(
        _after(
            "register",
            _Op(0, "put", b"x", b"1", None, 0, 1),
            _Op(0, "get", b"x", None, None, 1, 2, None),
        ),
        "register", False, (0, 1),
    ),
    "a scan sees two moments": Planted(
        (
            _Op(0, "put", b"a", b"1", None, 0, 1),
            _Op(0, "put", b"b", b"1", None, 2, 3),
            _Op(1, "scan", None, None, None, 1.5, 4, ((b"b", b"1"),)),
        ),
        "kv", False,
    ),
    "two entries in one place": Planted(_spoilt("log", _moved, seed=3), "log", False),
    "an entry that is gone": Planted(
        (
            _Op(0, "submit", None, b"a", None, 0, 1, 0),
            _Op(1, "get", 0, None, None, 2, 3, None),
        ),
        "log", False, (0, 2),
    ),
    "two readers see two orders": Planted(
        (
            _Op(0, "submit", None, b"a", None, 0, 9),
            _Op(1, "submit", None, b"b", None, 0, 9),
            _Op(2, "scan", None, None, None, 1, 2, (b"a",)),
            _Op(3, "scan", None, None, None, 3, 4, (b"b", b"a")),
        ),
        "log", False, (1, 3),
    ),
    # --- and none
    "all is well": Planted(_after("register"), "register", True),
    "an unknown write is never seen": Planted(
        _after(
            "register",
            _Op(0, "put", b"x", b"1", None, 0, 1),
            _Op(1, "put", b"x", b"2", None, 2),
            _Op(2, "get", b"x", None, None, 3, 4, b"1"),
        ),
        "register", True,
    ),
    "an unknown write is seen long after": Planted(
        _after(
            "register",
            _Op(0, "put", b"x", b"1", None, 0, 1),
            _Op(1, "put", b"x", b"2", None, 2),
            _Op(2, "get", b"x", None, None, 3, 4, b"1"),
            _Op(2, "get", b"x", None, None, 5, 6, b"2"),
        ),
        "register", True,
    ),
    "an unknown proposal is chosen": Planted(
        _after(
            "decree",
            _Op(0, "decide", b"x", b"1", None, 0),
            _Op(1, "decide", b"x", b"2", None, 5, 6, b"1"),
        ),
        "decree", True,
    ),
    "two writes at once, seen in both orders before they return": Planted(
        _after(
            "register",
            _Op(0, "put", b"x", b"1", None, 0, 9),
            _Op(1, "put", b"x", b"2", None, 0, 9),
            _Op(2, "get", b"x", None, None, 1, 2, b"2"),
            _Op(2, "get", b"x", None, None, 3, 4, b"1"),
        ),
        "register", True,
    ),
    "two clients meet at one instant": Planted(
        _after(
            "register",
            _Op(0, "put", b"x", b"1", None, 0, 1),
            _Op(1, "get", b"x", None, None, 1, 2, None),
        ),
        "register", True,
    ),
    "a read while it is written": Planted(
        _after(
            "kv",
            _Op(0, "put", b"x", b"1", None, 0, 5),
            _Op(1, "get", b"x", None, None, 1, 2, None),
            _Op(1, "get", b"x", None, None, 3, 4, b"1"),
        ),
        "kv", True,
    ),
    "an append whose place was not told": Planted(
        (
            _Op(0, "submit", None, b"a", None, 0, 1),
            _Op(1, "submit", None, b"b", None, 2, 3, 1),
            _Op(1, "scan", None, None, None, 4, 5, (b"a", b"b")),
        ),
        "log", True,
    ),
}  # fmt: skip


def complaints_about(check: Callable[[Sequence[Operation], str], bool]) -> Iterator[str]:
    """What a checker gets wrong of the planted histories, by name."""
    for name, planted in PLANTED.items():
        if check(planted.history, planted.model) != planted.ok:
            yield name


# --- a model of one's own ----------------------------------------------------------------------------


class Queue(Model[tuple[Any, ...]]):
    """First in, first out, as a user would write it."""

    operations = frozenset({"enqueue", "dequeue"})

    def initial(self) -> tuple[Any, ...]:
        return ()

    def apply(self, state: tuple[Any, ...], operation: Operation) -> tuple[tuple[Any, ...], Any]:
        if operation.op == "enqueue":
            return (*state, operation.value), None
        return (state[1:], state[0]) if state else (state, None)


class Forgetful(Register):
    """A register that may lose a write: a model with a choice."""

    def step(self, state: Any, operation: Operation) -> Collection[Any]:
        kept = super().step(state, operation)
        return (*kept, state) if operation.op == "put" else kept
