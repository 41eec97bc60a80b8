"""Values of TLA+: written for TLC, read from what it prints, compared state by state, and shown to people.

A number is an int, a string or a model value a str, a boolean a bool, a set a frozenset, a sequence a tuple,
and a record or function a `Mapping`, here `Function`, which can be an element of a set.  In TLA+ a record is
a function of strings, and a sequence one of the numbers from 1: which of them is written does not matter.
"""

import re
from collections.abc import Hashable, Iterator, Mapping, Set
from typing import Any, Final, TypeAlias

from paxos.errors import ConfigurationError

__all__ = ["Function", "Value", "differences", "parse_value", "show", "write_value"]

#: A value of TLA+ in Python.
Value: TypeAlias = Hashable

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+)|(?P<name>\w+)"""
    r"""|(?P<sign><<|>>|\|->|:>|@@|[\[\]{}(),]))"""
)

_FIELD: Final = re.compile(r"[a-z][a-zA-Z0-9_]*")
#: What TLC's strings may hold.
_STRING: Final = re.compile(r"[ -~]*")
#: TLC counts in 32 bits.
_MAX_NUMBER: Final = 2**31 - 1


class Function(Mapping[Any, Any]):
    """A record or a function: a mapping that can be hashed.

    Args:
        items: its pairs.
        record: whether its keys are names of fields; that is for showing it, and equality leaves it out.
    """

    __slots__ = ("_hash", "_items", "record")

    def __init__(self, items: Mapping[Any, Any], record: bool = False) -> None:
        self.record: bool = record
        self._items = dict(items)
        self._hash = hash(frozenset(self._items.items()))

    def __getitem__(self, key: Any) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Function({self._items!r})"


class _Reader:
    """Reads one value; each method consumes what it reads."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._kind = ""
        self._word = ""
        self.advance()

    def advance(self) -> None:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            if self._text[self._at :].strip():
                raise self.wrong("no part of a value")
            self._kind = self._word = ""
            return
        self._at = found.end()
        self._kind = found.lastgroup or ""
        self._word = found.group(self._kind)

    def wrong(self, what: str) -> ConfigurationError:
        rest = self._text[max(self._at - 20, 0) : self._at + 20]
        return ConfigurationError(f"not a value of TLA+: {what} near {rest!r}")

    @property
    def done(self) -> bool:
        return not self._kind

    def take(self, sign: str) -> None:
        if self._word != sign or self._kind != "sign":
            raise self.wrong(f"expected {sign}")
        self.advance()

    def _is(self, sign: str) -> bool:
        return self._kind == "sign" and self._word == sign

    def value(self) -> Any:
        kind, word = self._kind, self._word
        if kind == "number":
            self.advance()
            return int(word)
        if kind == "text":
            self.advance()
            return re.sub(r"\\(.)", r"\1", word[1:-1])
        if kind == "name":
            self.advance()
            return {"TRUE": True, "FALSE": False}.get(word, word)
        if word == "{":
            return frozenset(self._items("{", "}"))
        if word == "<<":
            return tuple(self._items("<<", ">>"))
        if word == "[":
            return self._record()
        if word == "(":
            return self._function()
        raise self.wrong("expected a value")

    def _items(self, opening: str, closing: str) -> list[Any]:
        self.take(opening)
        items: list[Any] = []
        while not self._is(closing):
            if items:
                self.take(",")
            items.append(self.value())
        self.take(closing)
        return items

    def _record(self) -> Function:
        self.take("[")
        items: dict[str, Any] = {}
        while not self._is("]"):
            if items:
                self.take(",")
            name = self._word
            self.advance()
            self.take("|->")
            items[name] = self.value()
        self.take("]")
        return Function(items, record=True)

    def _function(self) -> Function:
        self.take("(")
        items: dict[Any, Any] = {}
        while not self._is(")"):
            if items:
                self.take("@@")
            key = self.value()
            self.take(":>")
            items[key] = self.value()
        self.take(")")
        return Function(items)


def parse_value(text: str) -> Any:
    """The value that TLC printed.

    Raises:
        ConfigurationError: it is none that is known here.
    """
    reader = _Reader(text)
    value = reader.value()
    if not reader.done:
        raise reader.wrong("something follows the value")
    return value


def write_value(value: object) -> str:
    """A value as an expression of TLA+, for a module that extends `Integers` and `TLC`.

    Args:
        value: a bool, int, str, or any set, tuple, list or mapping of such, nested as one likes.

    Raises:
        ValueError: TLC has no such number, string or type.
    """
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        if abs(value) > _MAX_NUMBER:
            raise ValueError(f"TLC has no numbers as large as {value}")
        return str(value)
    if isinstance(value, str):
        if not _STRING.fullmatch(value):
            raise ValueError(f"TLC has no strings such as {value!r:.60}")
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Set):
        return "{" + ", ".join(sorted(map(write_value, value))) + "}"
    if isinstance(value, tuple | list):
        return "<<" + ", ".join(map(write_value, value)) + ">>"
    if isinstance(value, Mapping):
        return _write_function(value)
    raise ValueError(f"TLA+ has no {type(value).__name__}: {value!r:.60}")


def _write_function(value: Mapping[Any, Any]) -> str:
    if all(type(key) is int for key in value) and sorted(value) == list(range(1, len(value) + 1)):
        return write_value([value[key] for key in sorted(value)])  # the empty one too
    # Names in lower case are no words of the language.
    if all(isinstance(key, str) and _FIELD.fullmatch(key) for key in value):
        return "[" + ", ".join(f"{key} |-> {write_value(each)}" for key, each in value.items()) + "]"
    pairs = sorted(f"{write_value(key)} :> {write_value(each)}" for key, each in value.items())
    return "(" + " @@ ".join(pairs) + ")"


def show(value: Any) -> str:
    """A value in a few characters; a record with a `type` as a message: `1b(acc n1, bal 0)`."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{show(key)} {show(each)}" for key, each in value.items() if key != "type")
        return f"{show(value['type'])}({inside})" if "type" in value else f"[{inside}]"
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(map(show, value))) + "}"
    if isinstance(value, tuple):
        return "<" + ", ".join(map(show, value)) + ">"
    return str(value)


def differences(before: Any, after: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Where two values differ, innermost first: `("mem[n1].bal", "-1 -> 0")`, `("msgs", "+ 1a(bal 0)")`."""
    if before == after:
        return
    if isinstance(before, Function) and isinstance(after, Function) and before.keys() == after.keys():
        for key in after:
            place = f"{where}.{key}" if after.record else f"{where}[{show(key)}]"
            yield from differences(before[key], after[key], place)
    elif isinstance(before, frozenset) and isinstance(after, frozenset):
        for sign, items in (("+", after - before), ("-", before - after)):
            for item in sorted(map(show, items)):
                yield where, f"{sign} {item}"
    else:
        yield where, f"{show(before)} -> {show(after)}"
