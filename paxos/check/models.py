"""Sequential models: what each operation would do and answer if operations came one at a time.

A history is linearizable when its operations can be put in one order, each somewhere between its call and
its return, in which a sequential model gives just the answers that clients got.  A model is small: an
initial state and `apply`.  Here are those of a register, of keys and values, of a log and of single
decisions; one's own is a subclass of `Model`, such as this queue:

    class Queue(Model[tuple[Value, ...]]):
        operations = frozenset({"enqueue", "dequeue"})

        def initial(self):
            return ()

        def apply(self, state, operation):
            if operation.op == "enqueue":
                return (*state, operation.value), None
            return (state[1:], state[0]) if state else (state, None)

States are values: hashable, compared by `==`, never changed.

Source: Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects", TOPLAS 12
(1990).
"""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

import attrs

from paxos.check.history import OPERATIONS, Operation, Value, readable_value
from paxos.errors import ConfigurationError

__all__ = ["MODELS", "Decree", "KeyValue", "Log", "Model", "Register", "find_model"]

S = TypeVar("S", bound=Hashable)


class Model(ABC, Generic[S]):
    """What operations do, one at a time. A subclass defines `initial`, and `apply` or `step`.

    `operations` names those it knows; a history with another one is refused.  An answer of None is taken for
    "told nothing" where `quiet` has the operation: any result may be behind it.
    """

    operations: ClassVar[frozenset[str]] = OPERATIONS
    quiet: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def initial(self) -> S:
        """The state before any operation."""

    def apply(self, state: S, operation: Operation) -> tuple[S, Value] | None:
        """What one operation does: the state after it, and its answer. None: it can not happen in `state`.

        Only what was asked may be looked at, never `out` or a time: the answer is compared by `step`.
        """
        raise NotImplementedError(f"{type(self).__name__}: define apply, or step where there is a choice")

    def step(self, state: S, operation: Operation) -> Collection[S]:
        """Every state in which `operation` can leave `state` with the answer it got; none when it can not.

        Define this instead of `apply` for a model that has a choice.  An operation with an unknown outcome
        (`operation.known` is false) got no answer, so any answer is possible.
        """
        found = self.apply(state, operation)
        if found is None:
            return ()
        after, out = found
        told = operation.out
        # By type too: Python takes 1 and True for equal.
        if not operation.known or (type(told) is type(out) and told == out):
            return (after,)
        return (after,) if told is None and operation.op in self.quiet else ()

    def keys(self, operation: Operation) -> Collection[Hashable] | None:
        """The independent parts of the state that an operation can see or change; None for all of it.

        Operations that share no part, directly or through others, are ordered apart from each other, which
        is much less work. That is sound because linearizability is local (Herlihy and Wing, theorem 1).
        """
        return None

    def only_reads(self, operation: Operation) -> bool:
        """Whether `operation`, with the answer it got, leaves every state as it is.

        Only for speed: false is always right. True for one that changes a state makes the checker wrong, so
        it looks, and raises.
        """
        return False

    def refuses(self, operation: Operation) -> str | None:
        """What is wrong with an operation that this model can make no sense of; None when it can."""
        return None

    def resolved(self, history: Sequence[Operation]) -> Sequence[Operation]:
        """The same operations in the same order, with what the history itself tells of unknown outcomes.

        Only for speed: `history` as it is, is always right. The result must be linearizable exactly when
        `history` is. It is asked for each part, as `keys` splits them.
        """
        return history

    def describe(self, state: S) -> str:
        """A state, for people."""
        return repr(state) if len(repr(state)) <= 60 else f"{repr(state)[:57]}..."


def _value_complaint(operation: Operation, name: str, *, optional: bool = False) -> str | None:
    value = getattr(operation, name)
    if type(value) in (bytes, int) or (optional and value is None):
        return None
    return f"{operation.op}: {name}: expected a string or a number, got {readable_value(value)}"


def _none_complaint(operation: Operation, *names: str) -> str | None:
    for name in names:
        if getattr(operation, name) is not None:
            return f"{operation.op}: {name}: expected null, got {readable_value(getattr(operation, name))}"
    return None


def _out_complaint(operation: Operation, *kinds: type) -> str | None:
    if not operation.known or operation.out is None or type(operation.out) in kinds:
        return None
    return f"{operation.op}: out: {readable_value(operation.out)} is not what it can answer"


# --- one decision ------------------------------------------------------------------------------------

#: Nothing, or the one thing that was decided.
_Chosen: TypeAlias = "tuple[Value, ...]"


class Decree(Model[_Chosen]):
    """Named decisions, each made once: the first `decide` wins, and everyone is told its value.

    `key` is the decree's name, `value` what was proposed, `out` what is chosen. A `decide` with no value
    reads: it proposes nothing, and is told null while nothing is chosen.
    """

    operations: ClassVar[frozenset[str]] = frozenset({"decide"})

    def initial(self) -> _Chosen:
        """Undecided."""
        return ()

    def apply(self, state: _Chosen, operation: Operation) -> tuple[_Chosen, Value] | None:
        """Decide what is open; tell what is decided."""
        if not state and operation.value is not None:
            state = (operation.value,)
        return state, (state[0] if state else None)

    def keys(self, operation: Operation) -> Collection[Hashable]:
        """Decrees know nothing of each other."""
        return (operation.key,)

    def only_reads(self, operation: Operation) -> bool:
        """A read; also a proposal whose client was told another's value, which did not win."""
        return operation.value is None or (operation.known and operation.out != operation.value)

    def refuses(self, operation: Operation) -> str | None:
        """A value proposed is one, and whoever proposes is told one."""
        if operation.value is not None and operation.known and operation.out is None:
            return "decide: out: it proposed a value, so it must have been told one; null answers a read only"
        return (
            _value_complaint(operation, "value", optional=True)
            or _none_complaint(operation, "old")
            or _out_complaint(operation, bytes, int)
        )

    def describe(self, state: _Chosen) -> str:
        """`undecided`, or the value."""
        return f"decided: {readable_value(state[0])}" if state else "undecided"


# --- registers ---------------------------------------------------------------------------------------


class Register(Model[Value]):
    """Registers, each a `key` of its own (null for the only one), each absent at first.

    - `get`: `out` is the value, null for absent.
    - `put`: `value` is written; `out` is null.
    - `cas`: `value` is written if `old` (null for absent) is there; `out` says whether.
    """

    operations: ClassVar[frozenset[str]] = frozenset({"get", "put", "cas"})

    def initial(self) -> Value:
        """Absent."""
        return None

    def apply(self, state: Value, operation: Operation) -> tuple[Value, Value] | None:
        """Read, write, or compare and write."""
        if operation.op == "get":
            return state, state
        if operation.op == "put":
            return operation.value, None
        same = type(state) is type(operation.old) and state == operation.old
        return (operation.value if same else state), same

    def keys(self, operation: Operation) -> Collection[Hashable]:
        """Registers know nothing of each other."""
        return (operation.key,)

    def only_reads(self, operation: Operation) -> bool:
        """A read, or a compare-and-swap that found something else."""
        return operation.op == "get" or (operation.op == "cas" and operation.out is False)

    def refuses(self, operation: Operation) -> str | None:
        """Each operation has what it takes."""
        if operation.op == "get":
            return _none_complaint(operation, "value", "old") or _out_complaint(operation, bytes, int)
        if operation.op == "put":
            return (
                _value_complaint(operation, "value")
                or _none_complaint(operation, "old")
                or _out_complaint(operation)
            )
        if operation.known and type(operation.out) is not bool:
            return f"cas: out: expected true or false, got {readable_value(operation.out)}"
        return _value_complaint(operation, "value") or _value_complaint(operation, "old", optional=True)

    def resolved(self, history: Sequence[Operation]) -> Sequence[Operation]:
        """Writes without an answer, those made equal that nobody could tell apart."""
        return _resolved_writes(history)

    def describe(self, state: Value) -> str:
        """The value, or `absent`."""
        return "absent" if state is None else _shown(state)


#: Stands for a value or entry that nobody read: none of a history is a list.
_NEVER_READ: Final[Value] = (b"never read",)


def _shown(value: Value) -> str:
    return "a value that nobody read" if value == _NEVER_READ else readable_value(value)


def _resolved_writes(history: Sequence[Operation]) -> Sequence[Operation]:
    """Writes without an answer, those made equal that nobody could tell apart.

    Values of such writes that nobody saw and nobody compared with could as well be one value; and then it
    does not matter which of those writes took effect. A key with increments is left alone: they write values
    unseen.
    """
    counted = {operation.key for operation in history if operation.op == "increment"}
    told: set[tuple[Value, Value]] = set()
    for operation in history:
        told.update(_seen_values(operation))
    return [
        attrs.evolve(operation, value=_NEVER_READ)
        if not operation.known
        and operation.op in ("put", "cas")
        and operation.key not in counted
        and (operation.key, operation.value) not in told
        else operation
        for operation in history
    ]


def _seen_values(operation: Operation) -> Iterator[tuple[Value, Value]]:
    """The keys and values that a client was told of, or asked for."""
    if operation.op == "get":
        yield operation.key, operation.out
    elif operation.op == "cas":
        yield operation.key, operation.old
    elif operation.op == "scan" and isinstance(operation.out, tuple):
        for pair in operation.out:
            assert isinstance(pair, tuple)
            yield pair[0], pair[1]


# --- keys and values ---------------------------------------------------------------------------------

#: Keys and values, in order of keys: equal contents are equal states.
_Contents: TypeAlias = "tuple[tuple[bytes, Value], ...]"
_NUMBER: Final = re.compile(rb"-?\d{1,40}")


class KeyValue(Model[_Contents]):
    """Keys and values, all absent at first.

    `get`, `put` and `cas` are those of `Register`. Beside them:

    - `delete`: `out` says whether the key was there; null tells nothing.
    - `increment`: adds `value` (null for 1) to a number, absent being 0; `out` is the sum, null tells
      nothing. The key then holds the sum's digits as a string, as `get` shows. Where no number is, it can
      not happen.
    - `scan`: `key` is `[low, high]`, the keys from low up to but not including high, high null for no end;
      or null for all keys. `out` is a list of `[key, value]`, in order of keys.

    Keys are ordered apart from each other unless the history has a scan: that sees many keys at one moment,
    so all have to be ordered as one. Transactions are left to a model of one's own, which knows their
    language.
    """

    operations: ClassVar[frozenset[str]] = frozenset({"get", "put", "delete", "cas", "increment", "scan"})
    quiet: ClassVar[frozenset[str]] = frozenset({"delete", "increment"})

    def __init__(self) -> None:
        self._register: Register = Register()

    def initial(self) -> _Contents:
        """Empty."""
        return ()

    def apply(self, state: _Contents, operation: Operation) -> tuple[_Contents, Value] | None:
        """Read, write, or both."""
        if operation.op == "scan":
            return state, _scanned(state, operation.key)
        key = operation.key
        assert isinstance(key, bytes)
        found: Value = None
        for name, value in state:
            if name == key:
                found = value
        if operation.op == "delete":
            return _with(state, key, None), found is not None
        if operation.op == "increment":
            total = _number(found)
            if total is None:
                return None
            total += 1 if operation.value is None else int(operation.value)  # type: ignore[arg-type]
            return _with(state, key, b"%d" % total), total
        done = self._register.apply(found, operation)
        if done is None:
            return None
        after, out = done
        return (state if after is found else _with(state, key, after)), out

    def keys(self, operation: Operation) -> Collection[Hashable] | None:
        """One key; a scan may see any."""
        return None if operation.op == "scan" else (operation.key,)

    def only_reads(self, operation: Operation) -> bool:
        """A read, a scan, a compare-and-swap that found something else, a delete that found nothing."""
        return operation.op in ("get", "scan") or (
            operation.op in ("cas", "delete") and operation.out is False
        )

    def refuses(self, operation: Operation) -> str | None:
        """Each operation has what it takes."""
        if operation.op == "scan":
            return _scan_complaint(operation)
        if type(operation.key) is not bytes:
            return f"{operation.op}: key: expected a string, got {readable_value(operation.key)}"
        if operation.op == "delete":
            return _none_complaint(operation, "value", "old") or _out_complaint(operation, bool)
        if operation.op == "increment":
            if type(operation.value) is not int and operation.value is not None:
                return f"increment: value: expected a number, got {readable_value(operation.value)}"
            return _none_complaint(operation, "old") or _out_complaint(operation, int)
        return self._register.refuses(operation)

    def resolved(self, history: Sequence[Operation]) -> Sequence[Operation]:
        """Writes without an answer, those made equal that nobody could tell apart."""
        return _resolved_writes(history)

    def describe(self, state: _Contents) -> str:
        """Keys and values, or `empty`."""
        shown = [f"{readable_value(key)} = {_shown(value)}" for key, value in state[:8]]
        return ", ".join([*shown, *(["..."] if len(state) > 8 else [])]) or "empty"


def _with(state: _Contents, key: bytes, value: Value) -> _Contents:
    rest = [pair for pair in state if pair[0] != key]
    if value is not None:
        rest.append((key, value))
        rest.sort(key=lambda pair: pair[0])
    return tuple(rest)


def _scanned(state: _Contents, bounds: Value) -> Value:
    if bounds is None:
        return state
    assert isinstance(bounds, tuple)
    low, high = bounds
    assert isinstance(low, bytes)
    return tuple(pair for pair in state if low <= pair[0] and (not isinstance(high, bytes) or pair[0] < high))


def _scan_complaint(operation: Operation) -> str | None:
    bounds, out = operation.key, operation.out
    if bounds is not None and not (
        isinstance(bounds, tuple)
        and len(bounds) == 2
        and isinstance(bounds[0], bytes)
        and isinstance(bounds[1], bytes | None)
    ):
        return f"scan: key: expected [low, high] or null, got {readable_value(bounds)}"
    if operation.known and not (
        isinstance(out, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in out)
    ):
        return f"scan: out: expected a list of [key, value], got {readable_value(out)}"
    return _none_complaint(operation, "value", "old")


def _number(value: Value) -> int | None:
    """The number that a value is; 0 for an absent one, None for what is no number."""
    if value is None or type(value) is int:
        return value or 0
    return int(value) if isinstance(value, bytes) and _NUMBER.fullmatch(value) else None


# --- a log -------------------------------------------------------------------------------------------


class Log(Model[int]):
    """One log of entries, numbered from 0.

    - `submit`: `value` is appended; `out` is its number, null when that was not told.
    - `get`: `key` is a number, `out` the entry there, null past the end.
    - `scan`: `key` is `[low, high]`, the entries from low up to but not including high, high null for the
      end; or null for all. `out` is the list of them.

    A state is the number of a node in a tree of all the logs that were met, each node an entry after its
    parent: an append makes one small node instead of a copy of the log, and equal logs are equal numbers.
    """

    operations: ClassVar[frozenset[str]] = frozenset({"submit", "get", "scan"})
    quiet: ClassVar[frozenset[str]] = frozenset({"submit"})

    def __init__(self) -> None:
        self._children: dict[tuple[int, Value], int] = {}
        self._parents: list[int] = [0]
        self._entries: list[Value] = [None]
        self._lengths: list[int] = [0]

    def initial(self) -> int:
        """Empty."""
        return 0

    def apply(self, state: int, operation: Operation) -> tuple[int, Value] | None:
        """Append or read."""
        length = self._lengths[state]
        if operation.op == "submit":
            key = (state, operation.value)
            after = self._children.get(key)
            if after is None:
                after = self._children[key] = len(self._parents)
                self._parents.append(state)
                self._entries.append(operation.value)
                self._lengths.append(length + 1)
            return after, length
        if operation.op == "get":
            assert isinstance(operation.key, int)
            found = self._range(state, operation.key, operation.key + 1)
            return state, (found[0] if found else None)
        bounds = (0, None) if operation.key is None else operation.key
        assert isinstance(bounds, tuple)
        low, high = bounds
        assert isinstance(low, int)
        return state, self._range(state, low, high if isinstance(high, int) else length)

    def _range(self, state: int, low: int, high: int) -> tuple[Value, ...]:
        entries: list[Value] = []
        while self._lengths[state] > low:
            if self._lengths[state] <= high:
                entries.append(self._entries[state])
            state = self._parents[state]
        return tuple(reversed(entries))

    def only_reads(self, operation: Operation) -> bool:
        """All but `submit`."""
        return operation.op != "submit"

    def refuses(self, operation: Operation) -> str | None:
        """Each operation has what it takes."""
        if operation.op == "submit":
            return (
                _value_complaint(operation, "value")
                or _none_complaint(operation, "key", "old")
                or _out_complaint(operation, int)
            )
        if complaint := _none_complaint(operation, "value", "old"):
            return complaint
        key, out = operation.key, operation.out
        if operation.op == "get":
            if type(key) is not int or key < 0:
                return f"get: key: expected a number from 0 on, got {readable_value(key)}"
            return _out_complaint(operation, bytes, int)
        if key is not None and not (
            isinstance(key, tuple)
            and len(key) == 2
            and type(key[0]) is int
            and key[0] >= 0
            and type(key[1]) in (int, type(None))
        ):
            return f"scan: key: expected [low, high] or null, got {readable_value(key)}"
        if operation.known and not isinstance(out, tuple):
            return f"scan: out: expected a list of entries, got {readable_value(out)}"
        return None

    def resolved(self, history: Sequence[Operation]) -> Sequence[Operation]:
        """Appends whose clients were told nothing, with what readers saw of them.

        An entry that was appended once and read at a place is there for good, from the reader's return at
        the latest. Entries of appends without an answer that nobody ever read could as well be equal; and
        then it does not matter which of them fills a gap, which spares the search all orders of them.
        """
        seen: dict[Value, tuple[set[int], float]] = {}
        for operation in history:
            if operation.return_s is not None and operation.op != "submit":
                for place, entry in _read_entries(operation):
                    places, soonest_s = seen.get(entry, (set(), operation.return_s))
                    seen[entry] = ({*places, place}, min(soonest_s, operation.return_s))
        appended = Counter(operation.value for operation in history if operation.op == "submit")
        return [
            operation
            if operation.op != "submit" or operation.out is not None
            else _resolved_append(operation, seen.get(operation.value), appended[operation.value])
            for operation in history
        ]

    def describe(self, state: int) -> str:
        """Its length and last entries."""
        length = self._lengths[state]
        last = [_shown(entry) for entry in self._range(state, max(length - 4, 0), length)]
        cut = "..., " if length > 4 else ""
        return f"{length} entries: {cut}{', '.join(last)}" if length else "no entries"


def _read_entries(operation: Operation) -> Iterator[tuple[int, Value]]:
    """The entries that a read or scan was told, with their places."""
    if operation.op == "get":
        if operation.out is not None:
            assert isinstance(operation.key, int)
            yield operation.key, operation.out
        return
    low = operation.key[0] if isinstance(operation.key, tuple) else 0
    assert isinstance(low, int)
    assert isinstance(operation.out, tuple)
    yield from enumerate(operation.out, low)


def _resolved_append(operation: Operation, seen: tuple[set[int], float] | None, appended: int) -> Operation:
    """An append that was told no place, with what is known of it."""
    if seen is None:
        return operation if operation.known else attrs.evolve(operation, value=_NEVER_READ)
    places, soonest_s = seen
    if appended > 1 or len(places) > 1 or soonest_s < operation.call_s:
        return operation  # the search will find what is wrong, if anything is
    back_s = soonest_s if operation.return_s is None else operation.return_s
    return attrs.evolve(operation, return_s=back_s, out=places.pop())


# --- by name -----------------------------------------------------------------------------------------

#: The models that have a short name.
MODELS: Final[Mapping[str, type[Model[Any]]]] = {
    "decree": Decree,
    "register": Register,
    "kv": KeyValue,
    "log": Log,
}


def find_model(name: str) -> Model[Any]:
    """The model called `name`: one of `MODELS`, or "package.module:Class" for one's own.

    Raises:
        ConfigurationError: there is none, or what the name leads to is no model.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        if name not in MODELS:
            known = ", ".join(MODELS)
            raise ConfigurationError(
                f"no model named {name!r:.80}; known: {known}, or package.module:Class for one of your own"
            )
        return MODELS[name]()
    try:
        found = getattr(import_module(module), attribute)
        model = found() if isinstance(found, type) else found
    except Exception as error:  # whatever somebody's module raises
        raise ConfigurationError(f"model {name!r:.80}: {type(error).__name__}: {error}") from error
    if not isinstance(model, Model):
        raise ConfigurationError(
            f"model {name!r:.80}: a {type(model).__name__}, not a subclass of paxos.check.Model"
        )
    return model
