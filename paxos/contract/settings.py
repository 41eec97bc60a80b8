"""What settings are checked with: a protocol's own settings class names these as its validators.

Each refuses what can not work in one line that names the setting, what was given and what would do.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import attrs

from paxos.errors import ConfigurationError

__all__ = ["count", "seconds"]

_Check: TypeAlias = Callable[[object, "attrs.Attribute[float]", float], None]
_CheckCount: TypeAlias = Callable[[object, "attrs.Attribute[int]", int], None]


def seconds(low: float, high: float) -> _Check:
    """A validator of seconds from `low` to `high`."""

    def check(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ConfigurationError(f"{attribute.name}: expected seconds, got {value!r}")
        if not low <= value <= high:
            raise ConfigurationError(f"{attribute.name}: {value} s is outside {low}..{high} s")

    return check


def count(low: int, high: int) -> _CheckCount:
    """A validator of whole numbers from `low` to `high`."""

    def check(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
        if type(value) is not int:
            raise ConfigurationError(f"{attribute.name}: expected a whole number, got {value!r}")
        if not low <= value <= high:
            raise ConfigurationError(f"{attribute.name}: {value} is outside {low}..{high}")

    return check
