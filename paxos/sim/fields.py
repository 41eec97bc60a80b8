"""What the data of a simulation is checked with, and how it goes to JSON and back.

Topologies, faults and workloads are attrs classes; each field names its check here.  A scenario file
is written by people and machines, so what is read back is checked as strictly as what a caller passes:
an unknown key, a wrong type or a number out of range is an error that says where.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from paxos.errors import ConfigurationError

__all__ = [
    "choice",
    "count",
    "flag",
    "freeze",
    "from_plain",
    "ids",
    "number",
    "plain",
    "share",
    "text",
    "tuple_of",
]

T = TypeVar("T")

_Check: TypeAlias = Callable[[object, "attrs.Attribute[Any]", Any], None]

#: The most items in any list of a scenario.
_MAX_ITEMS: Final = 10_000


def _where(instance: object, attribute: "attrs.Attribute[Any]") -> str:
    return f"{type(instance).__name__}.{attribute.name}"


def number(low: float, high: float, *, unit: str = "", optional: bool = False) -> _Check:
    """A finite number in low..high; None too if `optional`."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigurationError(
                f"{_where(instance, attribute)}: expected a number{unit and ' of ' + unit}, got {value!r:.60}"
            )
        if not low <= value <= high:
            raise ConfigurationError(
                f"{_where(instance, attribute)}: {value} is outside {low:g}..{high:g}{unit and ' ' + unit}"
            )

    return check


def share(high: float = 0.9) -> _Check:
    """A probability in thousandths, at most `high`: what always fails tests nothing."""
    base = number(0, high)

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        base(instance, attribute, value)
        if 0 < value < 0.001:
            raise ConfigurationError(
                f"{_where(instance, attribute)}: {value} is below 0.001, the smallest that is drawn"
            )

    return check


def count(low: int, high: int, *, optional: bool = False) -> _Check:
    """A whole number in low..high; None too if `optional`."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value is None and optional:
            return
        if type(value) is not int:
            raise ConfigurationError(
                f"{_where(instance, attribute)}: expected a whole number, got {value!r:.60}"
            )
        if not low <= value <= high:
            raise ConfigurationError(f"{_where(instance, attribute)}: {value} is outside {low}..{high}")

    return check


def text(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """A short, non-empty string."""
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise ConfigurationError(f"{_where(instance, attribute)}: expected a short text, got {value!r:.60}")


def choice(*allowed: str) -> _Check:
    """One of some words."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value not in allowed:
            raise ConfigurationError(
                f"{_where(instance, attribute)}: expected one of {', '.join(allowed)}; got {value!r:.60}"
            )

    return check


def flag(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """True or False."""
    if type(value) is not bool:
        raise ConfigurationError(f"{_where(instance, attribute)}: expected True or False, got {value!r:.60}")


def tuple_of(kind: type) -> _Check:
    """A tuple of instances of `kind` (`freeze` makes tuples of lists)."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if not isinstance(value, tuple) or len(value) > _MAX_ITEMS:
            raise ConfigurationError(
                f"{_where(instance, attribute)}: expected at most {_MAX_ITEMS} of {kind.__name__} in a list, "
                f"got {value!r:.60}"
            )
        for index, item in enumerate(value):
            if type(item) is not kind:
                raise ConfigurationError(
                    f"{_where(instance, attribute)}[{index}]: expected {kind.__name__}, got {item!r:.60}"
                )

    return check


def ids(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """A non-empty tuple of node ids."""
    if not isinstance(value, tuple) or not value or len(value) > _MAX_ITEMS:
        raise ConfigurationError(
            f"{_where(instance, attribute)}: expected a list of node ids, got {value!r:.60}"
        )
    for index, item in enumerate(value):
        if type(item) is not int or item < 1:
            raise ConfigurationError(
                f"{_where(instance, attribute)}[{index}]: expected a node's id, got {item!r:.60}"
            )


def freeze(value: Any) -> Any:
    """A list as a tuple; anything else as it is, for the check to judge."""
    return tuple(value) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A value as JSON carries it: attrs classes as objects, tuples as arrays."""
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def from_plain(kind: type[T], data: object, where: str) -> T:
    """The attrs class `kind` from what `plain` made of it; fields left out have their defaults.

    Raises:
        ConfigurationError: not an object, an unknown key, a missing one, or a value its field refuses.
    """
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"{where}: expected an object, got {data!r:.60}")
    fields = {field.name: field for field in attrs.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise ConfigurationError(f"{where}: unknown key {key!r:.60}; known are {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        if name not in data:
            if field.default is attrs.NOTHING:
                raise ConfigurationError(f"{where}: {name!r} is missing")
            continue
        value, inner = data[name], field.metadata.get("of")
        if inner is not None and isinstance(value, list | tuple):
            value = tuple(from_plain(inner, item, f"{where}.{name}[{i}]") for i, item in enumerate(value))
        values[name] = value
    return kind(**values)
