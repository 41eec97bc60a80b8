"""Histories: what clients asked, when, and what they were told; as values and as files.

A history file has one JSON object a line, each with the same eight fields:

    {"client": 3, "op": "cas", "key": "k", "value": "b", "old": "a", "call": 0.2, "return": 0.3, "out": true}

- `client` is a number or a name; `op` says what was asked; `key`, `value` and `old` are what it was asked
  with.
- `call` and `return` are seconds from the run's start, all on one monotonic clock.
- `out` is the answer. Where the outcome is unknown (no answer came), `return` and `out` are null: the
  operation may have taken effect at any time after its call, or never.
- An operation that was rejected certainly did not happen, and is left out.

Strings stand for the bytes of their UTF-8, and other bytes are written {"base64": "..."}.  So a string is
never told apart from its bytes, and in Python every one of them is `bytes`; lists are tuples.

A checker that misreads its input accepts anything.  Reading is therefore strict: a line with a field too
many, one too few, or of the wrong type is not guessed at but refused, with its number.
"""

import base64
import binascii
import json
import math
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeAlias

import attrs

from paxos.errors import ConfigurationError

if TYPE_CHECKING:
    from paxos.sim import Result

__all__ = [
    "FIELDS",
    "OPERATIONS",
    "HistoryError",
    "HistoryWriter",
    "Operation",
    "Value",
    "history_of",
    "parse_history",
    "read_history",
    "readable_value",
    "write_history",
]

#: What a key, value or answer can be. JSON's strings are bytes here, its lists tuples.
Value: TypeAlias = "bool | int | bytes | tuple[Value, ...] | None"

#: The operations that history files know; a model of one's own may add to them.
OPERATIONS: Final = frozenset({"get", "put", "delete", "cas", "scan", "increment", "txn", "submit", "decide"})
#: The fields of a line, in the order in which they are written.
FIELDS: Final = ("client", "op", "key", "value", "old", "call", "return", "out")

_MAX_LINE_BYTES: Final = 4 << 20
_MAX_OPERATIONS: Final = 2_000_000
_MAX_DEPTH: Final = 8
_MAX_INTEGER_DIGITS: Final = 40
#: What an answer of null means, for people; for operations not named here, that it was done.
_TOLD_NOTHING: Final = {"get": "absent", "decide": "undecided"}
#: So many bad lines are named in one message.
_NAMED: Final = 5


class HistoryError(ConfigurationError):
    """A history that is none: a file's bad lines, or an operation that the model does not know."""


@attrs.frozen
class Operation:
    """One operation of one client.

    Args:
        client: which client, a number or a name.
        op: what was asked: one of `OPERATIONS`, or what the model knows beside them.
        key: what it was about.
        value: what it was asked with: the value put, the value proposed.
        old: for `cas`, what was expected; None for absent.
        call_s: when it was asked, seconds from the run's start.
        return_s: when it was answered, on the same clock; None when its outcome is unknown.
        out: the answer; None when the outcome is unknown.
        line: where it stands in its file, from 1; 0 when it comes from none. Not part of equality.

    Raises:
        HistoryError: a time that is none, or an answer without a return.
    """

    client: int | str
    op: str
    key: Value = None
    value: Value = None
    old: Value = None
    call_s: float = 0.0
    return_s: float | None = None
    out: Value = None
    line: int = attrs.field(default=0, eq=False)

    def __attrs_post_init__(self) -> None:
        call, back = self.call_s, self.return_s
        # One comparison refuses NaN and the infinities too.
        if not 0 <= call < math.inf:
            raise HistoryError(f"call: expected seconds from 0 on, got {call!r:.40}")
        if back is None:
            if self.out is not None:
                raise HistoryError(f"out: {self.out!r:.40} is an answer, but return says that none came")
        elif not call <= back < math.inf:
            raise HistoryError(f"return: {back!r:.40} s is not after call, {call!r:.40} s")

    @property
    def known(self) -> bool:
        """Whether an answer came. Else it may have taken effect, at any time after its call."""
        return self.return_s is not None

    @property
    def asked(self) -> str:
        """What was asked, in words."""
        words = [self.op]
        if self.key is not None:
            words.append(readable_value(self.key))
        if self.op == "cas" or self.old is not None:
            words.append(f"{readable_value(self.old)} -> {readable_value(self.value)}")
        elif self.value is not None:
            words.append(readable_value(self.value))
        return " ".join(words)

    def __str__(self) -> str:
        if not self.known:
            return f"{self.asked}: no answer"
        if self.out is None:
            return f"{self.asked}: {_TOLD_NOTHING.get(self.op, 'done')}"
        return f"{self.asked}: {readable_value(self.out)}"

    def to_json(self) -> dict[str, object]:
        """The fields of its line, as JSON carries them."""
        return {
            "client": self.client,
            "op": self.op,
            "key": _to_json(self.key),
            "value": _to_json(self.value),
            "old": _to_json(self.old),
            "call": self.call_s,
            "return": self.return_s,
            "out": _to_json(self.out),
        }

    @classmethod
    def from_json(cls, data: object, line: int = 0, operations: Collection[str] = OPERATIONS) -> Self:
        """From the fields of a line.

        Args:
            data: what JSON gave.
            line: its number.
            operations: what `op` may be.

        Raises:
            HistoryError: it is no operation; the message names the field.
        """
        if not isinstance(data, dict):
            raise HistoryError(f"expected an object with {', '.join(FIELDS)}, got {_short(data)}")
        if data.keys() != set(FIELDS):
            missing = [name for name in FIELDS if name not in data]
            unknown = sorted(str(name) for name in data.keys() - set(FIELDS))
            complaints = [f"{name} is missing" for name in missing]
            complaints += [f"{name!r:.40} is no field of a history" for name in unknown]
            raise HistoryError("; ".join(complaints[:_NAMED]))
        client, op = data["client"], data["op"]
        if type(client) not in (int, str):
            raise HistoryError(f"client: expected a number or a name, got {_short(client)}")
        if not isinstance(op, str) or op not in operations:
            known = ", ".join(sorted(operations))
            raise HistoryError(f"op: {_short(op)} is not one of {known}")
        return cls(
            client,
            op,
            _from_json(data["key"], "key"),
            _from_json(data["value"], "value"),
            _from_json(data["old"], "old"),
            call_s=_seconds(data["call"], "call"),
            return_s=None if data["return"] is None else _seconds(data["return"], "return"),
            out=_from_json(data["out"], "out"),
            line=line,
        )


# --- reading -----------------------------------------------------------------------------------------


def read_history(
    path: str | os.PathLike[str], operations: Collection[str] = OPERATIONS
) -> tuple[Operation, ...]:
    """Read a history file.

    Args:
        path: of the file.
        operations: what `op` may be: `OPERATIONS`, and what a model knows beside them.

    Returns:
        Its operations, in the file's order.

    Raises:
        HistoryError: it can not be read, or lines of it are bad; the message names them.
    """
    try:
        with Path(path).open("rb") as file:
            return parse_history(iter(lambda: file.readline(_MAX_LINE_BYTES + 2), b""), operations, str(path))
    except OSError as error:
        raise HistoryError(f"{path}: can not be read: {error.strerror}") from error


def parse_history(
    lines: Iterable[bytes], operations: Collection[str] = OPERATIONS, where: str = "history"
) -> tuple[Operation, ...]:
    """The operations on lines of JSON.

    Args:
        lines: each one object; `data.splitlines()` for bytes.
        operations: what `op` may be.
        where: what messages call the whole.

    Raises:
        HistoryError: some lines are bad; the message names the first few, and how many there are.
    """
    found: list[Operation] = []
    complaints: list[str] = []
    bad = 0
    for number, line in enumerate(lines, 1):
        if number > _MAX_OPERATIONS:
            raise HistoryError(f"{where}: more than {_MAX_OPERATIONS} operations; check it in parts")
        try:
            found.append(Operation.from_json(_parsed(line), number, operations))
        except HistoryError as error:
            bad += 1
            if len(complaints) < _NAMED:
                complaints.append(f"line {number}: {error}")
    if bad:
        more = f"; and {bad - len(complaints)} more bad lines" if bad > len(complaints) else ""
        raise HistoryError(f"{where}: {'; '.join(complaints)}{more}")
    return tuple(found)


def _parsed(line: bytes) -> object:
    if len(line) > _MAX_LINE_BYTES:
        raise HistoryError(f"longer than {_MAX_LINE_BYTES} bytes")
    if not line.strip():
        raise HistoryError("empty")
    try:
        return json.loads(line, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        if isinstance(error, HistoryError):
            raise
        raise HistoryError(f"not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise HistoryError("a field is there twice")
    return found


def _constant(name: str) -> NoReturn:
    raise HistoryError(f"{name} is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_INTEGER_DIGITS:
        raise HistoryError(f"a number of {len(digits)} digits; the limit is {_MAX_INTEGER_DIGITS}")
    return int(digits)


def _seconds(value: object, name: str) -> float:
    if type(value) not in (int, float):
        raise HistoryError(f"{name}: expected seconds, got {_short(value)}")
    assert isinstance(value, int | float)
    return float(value)


def _from_json(data: object, name: str, depth: int = 0) -> Value:
    """A key, value or answer."""
    if data is None or isinstance(data, bool | int):
        return data
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError as error:
            raise HistoryError(f"{name}: not valid Unicode text: {error.reason}") from error
    if isinstance(data, list):
        if depth == _MAX_DEPTH:
            raise HistoryError(f"{name}: lists in lists, more than {_MAX_DEPTH} deep")
        return tuple(_from_json(each, name, depth + 1) for each in data)
    if isinstance(data, dict) and data.keys() == {"base64"} and isinstance(data["base64"], str):
        try:
            return base64.b64decode(data["base64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise HistoryError(f"{name}: base64: {error}") from error
    if isinstance(data, float):
        # Equal floats are seldom meant: 0.1 + 0.2 is not 0.3, and the checker would say so.
        raise HistoryError(f"{name}: {data!r} is not a whole number; write it as a string")
    raise HistoryError(f'{name}: expected null, true, false, a number, a string, a list or {{"base64": ...}}')


def _to_json(value: Value) -> object:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, tuple):
        return [_to_json(each) for each in value]
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def readable_value(value: Value, limit: int = 24) -> str:
    """A key, value or answer for people: text where it is some, `nothing` for None.

    Args:
        value: what to show.
        limit: what is longer is cut, characters.
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        text = f"[{', '.join(readable_value(each, limit) for each in value[:limit])}]"
        limit *= 8
    elif isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = repr(value)
        if not text.isprintable() or not text or text != text.strip():
            text = repr(text)
    else:
        text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


# --- writing -----------------------------------------------------------------------------------------


class HistoryWriter:
    """Writes a history file while it is being made; each operation is in the file when `write` returns.

    Use it as a context manager. Operations may come in any order; the one in which they end is usual.

    Args:
        path: of the file, which is made anew.

    Raises:
        HistoryError: the file can not be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            # Not buffered: a process that is killed has written all that it was told.
            self._file: Any = Path(path).open("wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise HistoryError(f"{path}: can not be written: {error.strerror}") from error

    def write(self, operation: Operation) -> None:
        """Add one operation."""
        self._file.write(_line(operation))

    def close(self) -> None:
        """No more will come."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def write_history(path: str | os.PathLike[str], operations: Iterable[Operation]) -> None:
    """Write a whole history.

    Raises:
        HistoryError: the file can not be written.
    """
    try:
        with Path(path).open("wb") as file:
            for operation in operations:
                file.write(_line(operation))
    except OSError as error:
        raise HistoryError(f"{path}: can not be written: {error.strerror}") from error


def _line(operation: Operation) -> bytes:
    return json.dumps(operation.to_json(), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def history_of(result: "Result") -> tuple[Operation, ...]:
    """The history of a simulated run: the same operations that its history file holds, in the same order.

    Args:
        result: what `paxos.sim.run` gave.
    """
    return tuple(
        Operation(
            client=done.client,
            op=done.op,
            key=done.name,
            value=done.value,
            old=done.old,
            call_s=done.call_s,
            return_s=done.return_s if done.outcome == "done" else None,
            out=done.out if done.outcome == "done" else None,
        )
        for done in result.operations
        if done.happened
    )
