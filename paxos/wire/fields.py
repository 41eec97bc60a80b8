"""Field checks: what a decoded value must be before a protocol sees it.

Each `take_*` function gives back what it was given, now with a type, or raises `WireError`.  `where` names
what is looked at, "Promise.ballot".  The happy path of each is one expression, because it runs for every
field of every message; the sentence for the error is made elsewhere, when it is needed.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.errors import WireError

__all__ = [
    "MAX_NODE",
    "MAX_ROUND",
    "MAX_STEP",
    "brief",
    "expect_fields",
    "pack_ballot_or_bottom",
    "take_ballot",
    "take_ballot_or_bottom",
    "take_bool",
    "take_bytes",
    "take_int",
    "take_list",
    "take_node",
    "take_optional_bytes",
    "take_text",
]

#: The highest round of a ballot.
MAX_ROUND: Final = (1 << 48) - 1
#: The highest id of a node.
MAX_NODE: Final = (1 << 31) - 1
#: The highest step of a ballot.
MAX_STEP: Final = (1 << 16) - 1

# A NamedTuple made by its class's own constructor costs twice as much.
_ballot: Final[Callable[[type[Ballot], Iterable[int]], Ballot]] = tuple.__new__


def expect_fields(value: object, count: int, where: str) -> list[Any]:
    """A list of exactly `count` items. Raises WireError."""
    if type(value) is list and len(value) == count:
        return value
    raise WireError(f"{where}: expected an array of {count} fields, got {brief(value)}")


def take_int(value: object, where: str, low: int, high: int) -> int:
    """An integer in `low..high`, and no bool. Raises WireError."""
    if type(value) is int and low <= value <= high:
        return value
    raise WireError(f"{where}: expected an integer in {_bound(low)}..{_bound(high)}, got {brief(value)}")


def take_bool(value: object, where: str) -> bool:
    """True or False. Raises WireError."""
    if value is True or value is False:
        return value
    raise WireError(f"{where}: expected true or false, got {brief(value)}")


def take_bytes(value: object, where: str, limit: int) -> bytes:
    """A byte string of at most `limit` bytes. Raises WireError."""
    if type(value) is bytes and len(value) <= limit:
        return value
    raise WireError(f"{where}: expected at most {limit} bytes, got {brief(value)}")


def take_optional_bytes(value: object, where: str, limit: int) -> bytes | None:
    """A byte string of at most `limit` bytes, or None. Raises WireError."""
    if value is None or (type(value) is bytes and len(value) <= limit):
        return value
    raise WireError(f"{where}: expected at most {limit} bytes or null, got {brief(value)}")


def take_text(value: object, where: str, limit_bytes: int) -> str:
    """Text of at most `limit_bytes` bytes in UTF-8. Raises WireError."""
    if type(value) is str and len(value) <= limit_bytes and (value.isascii() or _fits(value, limit_bytes)):
        return value
    raise WireError(f"{where}: expected text of at most {limit_bytes} bytes, got {brief(value)}")


def take_list(value: object, where: str, limit: int) -> list[Any]:
    """A list of at most `limit` items, which the caller checks. Raises WireError."""
    if type(value) is list and len(value) <= limit:
        return value
    raise WireError(f"{where}: expected an array of at most {limit} items, got {brief(value)}")


def take_node(value: object, where: str) -> NodeId:
    """A node's id, 1..2^31-1. Raises WireError."""
    if type(value) is int and 1 <= value <= MAX_NODE:
        return value
    raise WireError(f"{where}: expected a node id in 1..{_bound(MAX_NODE)}, got {brief(value)}")


def take_ballot(value: object, where: str) -> Ballot:
    """A ballot: `[round, node, step]`. Raises WireError."""
    if type(value) is list and len(value) == 3:
        round_, node, step = value
        if (
            type(round_) is type(node) is type(step) is int
            and 0 <= round_ <= MAX_ROUND
            and 0 <= node <= MAX_NODE
            and 0 <= step <= MAX_STEP
        ):
            return _ballot(Ballot, value)
    _refuse_ballot(value, where)


def take_ballot_or_bottom(value: object, where: str) -> Ballot:
    """A ballot, or null for `BOTTOM`. Raises WireError."""
    return BOTTOM if value is None else take_ballot(value, where)


def pack_ballot_or_bottom(ballot: Ballot) -> Ballot | None:
    """What `take_ballot_or_bottom` reads: null for `BOTTOM`, which is the only one with a negative round."""
    return None if ballot[0] < 0 else ballot


def _refuse_ballot(value: object, where: str) -> NoReturn:
    round_, node, step = expect_fields(value, 3, where)
    take_int(round_, f"{where}.round", 0, MAX_ROUND)
    take_int(node, f"{where}.node", 0, MAX_NODE)
    take_int(step, f"{where}.step", 0, MAX_STEP)
    raise AssertionError("the ballot is as it should be")


def _fits(text: str, limit_bytes: int) -> bool:
    try:
        return len(text.encode()) <= limit_bytes
    except UnicodeEncodeError:  # a lone surrogate: no UTF-8 can carry it
        return False


def _bound(number: int) -> str:
    """A bound as people write it: 2^48-1 and not 281474976710655."""
    for value, suffix in ((number, ""), (number + 1, "-1")):
        if value >= 1 << 16 and value & (value - 1) == 0:
            return f"2^{value.bit_length() - 1}{suffix}"
    return str(number)


def brief(value: object) -> str:
    """A few words for a value that may be huge, and whose own `repr` is not to be trusted."""
    if isinstance(value, list | tuple):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return f"a map of {len(value)}"
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= 32 else f"{value[:32]!r}... ({len(value)} long)"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, int | float):
        return repr(value)
    return f"a value of type {type(value).__name__}"
