"""What clients ask of the key-value machine, as bytes.

A request is an op byte and what the operation takes.  These bytes are in logs on disk, so they do not
change:

    put          'p' | length of the key, 2 bytes | key | value
    get          'g' | key
    delete       'd' | key
    cas          'c' | length of the key, 2 | flags, 1 | length of the expected value, 4
                     | key | expected value | value
    increment    'i' | delta, 8 bytes, signed | key
    scan         's' | CBOR [low, high or null, limit]
    transaction  't' | CBOR [[[key, guard], ...], [request, ...], [request, ...]]
    changes      'w' | CBOR [revision or null, low, high or null, limit]

Numbers are big-endian.  Bit 0 of the flags of a cas says that a value is expected, bit 1 that there is one to
store.  The guard of a key is the value it must have, null for absent, true for any value; the requests
inside a transaction are those of put, get, delete and increment.

Builders check what they are given and raise `ConfigurationError`: that is a mistake of the caller.  `parse_*`
read what may be anybody's bytes and give None for what is no such request: the machine answers that it is
refused, and stays as it was.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES
from paxos.errors import ConfigurationError, WireError
from paxos.wire import dumps, loads_strict

__all__ = [
    "MAX_DELTA",
    "MAX_LIMIT",
    "MAX_OPERATIONS",
    "Cas",
    "Changes",
    "Guard",
    "Scan",
    "Simple",
    "Transaction",
    "absent",
    "cas",
    "changes",
    "delete",
    "equals",
    "exists",
    "get",
    "increment",
    "parse_cas",
    "parse_changes",
    "parse_scan",
    "parse_simple",
    "parse_transaction",
    "put",
    "scan",
    "transaction",
]

#: The most items that a scan, and changes that a look at the changes, may ask for.
MAX_LIMIT: Final = 32_768
#: The most guards and operations in one transaction, both branches together.
MAX_OPERATIONS: Final = 1024
#: The most that an increment adds; it takes away at most one more.
MAX_DELTA: Final = (1 << 63) - 1
#: The highest revision.
MAX_REVISION: Final = (1 << 63) - 1

# Letters, so that a log shows what is in it. The same byte is never a request and an answer.
PUT: Final = 0x70
GET: Final = 0x67
DELETE: Final = 0x64
CAS: Final = 0x63
INCREMENT: Final = 0x69
SCAN: Final = 0x73
TRANSACTION: Final = 0x74
CHANGES: Final = 0x77

#: Where the key of a put begins, and the furthest that it ends.
PUT_HEAD: Final = 3
PUT_KEY_END: Final = PUT_HEAD + MAX_KEY_BYTES

_PUT: Final = struct.Struct(">BH")
_CAS: Final = struct.Struct(">BHBI")
_CAS_HEAD: Final = _CAS.size
_EXPECTED: Final = 1
_STORED: Final = 2
_INCREMENT: Final = struct.Struct(">Bq")
_INCREMENT_HEAD: Final = _INCREMENT.size

_DEFAULT_LIMIT: Final = 1000

#: A condition on one key: `equals`, `absent` or `exists`. True stands for any value, None for none.
Guard: TypeAlias = tuple[bytes, bytes | bool | None]


class Simple(NamedTuple):
    """A put, get, delete or increment.

    Args:
        op: which, as the op byte.
        key: the one key it is about.
        value: what a put stores; empty otherwise.
        delta: what an increment adds; 0 otherwise.
    """

    op: int
    key: bytes
    value: bytes = b""
    delta: int = 0


class Cas(NamedTuple):
    """A compare-and-swap; None is for absent, on both sides."""

    key: bytes
    expected: bytes | None
    value: bytes | None


class Scan(NamedTuple):
    """The keys from `low` up to but not including `high`, the first `limit` of them."""

    low: bytes
    high: bytes | None
    limit: int


class Transaction(NamedTuple):
    """`then` if all guards hold, else `otherwise`."""

    guards: tuple[Guard, ...]
    then: tuple[Simple, ...]
    otherwise: tuple[Simple, ...]


class Changes(NamedTuple):
    """The changes after revision `after` to keys of a range, `limit` of them; None: from now on."""

    after: int | None
    low: bytes
    high: bytes | None
    limit: int


# Called directly where it is hot: a NamedTuple's own constructor is a Python function.
_cas: Final[Callable[[type[Cas], tuple[object, ...]], Cas]] = tuple.__new__
_simple: Final[Callable[[type[Simple], tuple[object, ...]], Simple]] = tuple.__new__


# --- building ----------------------------------------------------------------------------------------


def put(key: bytes, value: bytes) -> bytes:
    """Store `value` under `key`, whatever was there.

    Raises:
        ConfigurationError: a key that is not 1 to `MAX_KEY_BYTES` bytes; a request above `MAX_COMMAND_BYTES`.
    """
    _check_key(key, "put")
    _check_value(value, "put")
    return _bounded(_PUT.pack(PUT, len(key)) + key + value, "put", key)


def get(key: bytes) -> bytes:
    """The value under `key`.

    Raises:
        ConfigurationError: see `put`.
    """
    _check_key(key, "get")
    return b"g" + key


def delete(key: bytes) -> bytes:
    """Remove `key` and its value.

    Raises:
        ConfigurationError: see `put`.
    """
    _check_key(key, "delete")
    return b"d" + key


def cas(key: bytes, expected: bytes | None, value: bytes | None) -> bytes:
    """Compare and swap: if `key` has the value `expected`, store `value`. None is for absent, on both sides.

    Raises:
        ConfigurationError: see `put`.
    """
    _check_key(key, "cas")
    flags = 0
    for bit, each in ((_EXPECTED, expected), (_STORED, value)):
        if each is not None:
            _check_value(each, "cas")
            flags |= bit
    before, after = expected or b"", value or b""
    return _bounded(_CAS.pack(CAS, len(key), flags, len(before)) + key + before + after, "cas", key)


def increment(key: bytes, delta: int = 1) -> bytes:
    """Add `delta`, which may be negative, to the decimal number under `key`; an absent one is 0.

    Raises:
        ConfigurationError: a bad key, see `put`; `delta` is no integer of 64 bits.
    """
    _check_key(key, "increment")
    _check_int(delta, "increment: delta", -MAX_DELTA - 1, MAX_DELTA)
    return _INCREMENT.pack(INCREMENT, delta) + key


def scan(low: bytes = b"", high: bytes | None = None, limit: int = _DEFAULT_LIMIT) -> bytes:
    """The first `limit` keys from `low` up to but not including `high` (None: no upper end), with values.

    Raises:
        ConfigurationError: bounds that are not bytes, too long, or hold nothing between them; a limit that is
            not 1 to `MAX_LIMIT`.
    """
    _check_range(low, high, limit, "scan")
    return b"s" + dumps((low, high, limit))


def equals(key: bytes, value: bytes) -> Guard:
    """The guard that `key` has the value `value`.

    Raises:
        ConfigurationError: see `put`.
    """
    _check_key(key, "equals")
    _check_value(value, "equals")
    return (key, value)


def absent(key: bytes) -> Guard:
    """The guard that there is no `key`.

    Raises:
        ConfigurationError: see `put`.
    """
    _check_key(key, "absent")
    return (key, None)


def exists(key: bytes) -> Guard:
    """The guard that there is a `key`, whatever its value.

    Raises:
        ConfigurationError: see `put`.
    """
    _check_key(key, "exists")
    return (key, True)


def transaction(guards: Iterable[Guard], then: Iterable[bytes], otherwise: Iterable[bytes] = ()) -> bytes:
    """If all guards hold, carry out the requests of `then`, else those of `otherwise`: all of them or none.

    Each request sees what those before it did.  They are requests of `put`, `get`, `delete` and
    `increment`.

    Raises:
        ConfigurationError: a guard not made by `equals`, `absent` or `exists`; another request inside; more
            than `MAX_OPERATIONS` of all; nothing at all; longer than `MAX_COMMAND_BYTES`.
    """
    if isinstance(then, bytes | str) or isinstance(otherwise, bytes | str):
        raise ConfigurationError("transaction: expected a collection of requests, got a single one")
    conditions, branches = list(guards), (list(then), list(otherwise))
    for guard in conditions:
        if _guard(list(guard) if isinstance(guard, tuple) else None) is None:
            raise ConfigurationError(f"transaction: {guard!r:.80} is no guard: use equals, absent or exists")
    for request in (*branches[0], *branches[1]):
        if type(request) is not bytes or parse_simple(request) is None:
            raise ConfigurationError(
                f"transaction: {request!r:.80} is no request of put, get, delete or increment"
            )
    count = len(conditions) + len(branches[0]) + len(branches[1])
    if not 1 <= count <= MAX_OPERATIONS:
        raise ConfigurationError(
            f"transaction: {count} guards and requests in all; it takes 1 to {MAX_OPERATIONS}"
        )
    return _bounded(b"t" + dumps((conditions, *branches)), "transaction", b"")


def changes(
    after: int | None, low: bytes = b"", high: bytes | None = None, limit: int = _DEFAULT_LIMIT
) -> bytes:
    """The changes of revisions above `after` to the keys of a range; with None: which revision it is now.

    It is a query and no command: which change has which number is not part of the replicated state.

    Raises:
        ConfigurationError: a revision that is negative or no integer; the rest as in `scan`.
    """
    if after is not None:
        _check_int(after, "changes: after", 0, MAX_REVISION)
    _check_range(low, high, limit, "changes")
    return b"w" + dumps((after, low, high, limit))


def _check_key(key: object, where: str) -> None:
    if type(key) is not bytes:
        raise ConfigurationError(f"{where}: a key is bytes, not {type(key).__name__}")
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        raise ConfigurationError(
            f"{where}: a key of {len(key)} bytes ({key[:40]!r}...); it takes 1 to {MAX_KEY_BYTES}"
        )


def _check_value(value: object, where: str) -> None:
    if type(value) is not bytes:
        raise ConfigurationError(f"{where}: a value is bytes, not {type(value).__name__}")


def _check_int(value: object, where: str, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ConfigurationError(f"{where}: expected an integer in {low}..{high}, got {value!r:.60}")


def _check_range(low: object, high: object, limit: object, where: str) -> None:
    for bound in (low,) if high is None else (low, high):
        if type(bound) is not bytes or len(bound) > MAX_KEY_BYTES:
            raise ConfigurationError(f"{where}: a bound is at most {MAX_KEY_BYTES} bytes, got {bound!r:.60}")
    if isinstance(low, bytes) and isinstance(high, bytes) and not low < high:
        raise ConfigurationError(f"{where}: the range from {low!r:.60} to {high!r:.60} is empty")
    _check_int(limit, f"{where}: limit", 1, MAX_LIMIT)


def _bounded(request: bytes, where: str, key: bytes) -> bytes:
    if len(request) > MAX_COMMAND_BYTES:
        of_key = f" for key {key!r:.60}" if key else ""
        raise ConfigurationError(
            f"{where}{of_key}: a request of {len(request)} bytes; the limit is {MAX_COMMAND_BYTES}"
        )
    return request


# --- reading -----------------------------------------------------------------------------------------


def parse_simple(request: bytes) -> Simple | None:
    """A put, get, delete or increment; None for anything else."""
    size = len(request)
    if not 1 < size <= MAX_COMMAND_BYTES:
        return None
    op = request[0]
    if op == PUT:
        if size <= PUT_HEAD:
            return None
        end = PUT_HEAD + (request[1] << 8 | request[2])
        if not (PUT_HEAD < end <= size and end <= PUT_KEY_END):
            return None
        return _simple(Simple, (PUT, request[PUT_HEAD:end], request[end:], 0))
    if op in (GET, DELETE):
        return _simple(Simple, (op, request[1:], b"", 0)) if size <= 1 + MAX_KEY_BYTES else None
    if op == INCREMENT and _INCREMENT_HEAD < size <= _INCREMENT_HEAD + MAX_KEY_BYTES:
        delta = _INCREMENT.unpack_from(request)[1]
        return _simple(Simple, (INCREMENT, request[_INCREMENT_HEAD:], b"", delta))
    return None


def parse_cas(request: bytes) -> Cas | None:
    """A compare-and-swap; None for anything else."""
    size = len(request)
    if not _CAS_HEAD < size <= MAX_COMMAND_BYTES:
        return None
    op, of_key, flags, of_expected = _CAS.unpack_from(request)
    key_end = _CAS_HEAD + of_key
    end = key_end + of_expected
    if op != CAS or not 1 <= of_key <= MAX_KEY_BYTES or end > size:
        return None
    key = request[_CAS_HEAD:key_end]
    if flags == _EXPECTED | _STORED:
        return _cas(Cas, (key, request[key_end:end], request[end:]))
    # One request has one form: what is absent has no bytes.
    if flags > _STORED or (not flags & _EXPECTED and of_expected) or (not flags & _STORED and end != size):
        return None
    return Cas(
        key,
        request[key_end:end] if flags & _EXPECTED else None,
        request[end:] if flags & _STORED else None,
    )


def parse_scan(request: bytes) -> Scan | None:
    """A scan; None for anything else."""
    fields = _fields(request, SCAN, 3)
    if fields is None:
        return None
    low, high, limit = fields
    return Scan(low, high, limit) if _is_range(low, high, limit) else None  # type: ignore[arg-type]


def parse_changes(request: bytes) -> Changes | None:
    """A look at the changes; None for anything else."""
    fields = _fields(request, CHANGES, 4)
    if fields is None:
        return None
    after, low, high, limit = fields
    if not (after is None or (type(after) is int and 0 <= after <= MAX_REVISION)):
        return None
    return Changes(after, low, high, limit) if _is_range(low, high, limit) else None  # type: ignore[arg-type]


def parse_transaction(request: bytes) -> Transaction | None:
    """A transaction; None for anything else."""
    fields = _fields(request, TRANSACTION, 3)
    if fields is None:
        return None
    lists = [each for each in fields if type(each) is list]
    if len(lists) != 3 or not 1 <= sum(map(len, lists)) <= MAX_OPERATIONS:
        return None
    guards = [_guard(each) for each in lists[0]]
    branches = [
        [parse_simple(each) if type(each) is bytes else None for each in branch] for branch in lists[1:]
    ]
    if None in guards or None in branches[0] or None in branches[1]:
        return None
    return Transaction(
        tuple(each for each in guards if each is not None),
        tuple(each for each in branches[0] if each is not None),
        tuple(each for each in branches[1] if each is not None),
    )


def _fields(request: bytes, op: int, count: int) -> Sequence[object] | None:
    if not 1 < len(request) <= MAX_COMMAND_BYTES or request[0] != op:
        return None
    try:
        fields = loads_strict(request[1:])
    except WireError:
        return None
    return fields if type(fields) is list and len(fields) == count else None


def _guard(value: object) -> Guard | None:
    if type(value) is not list or len(value) != 2:
        return None
    key, state = value
    if type(key) is not bytes or not 1 <= len(key) <= MAX_KEY_BYTES:
        return None
    return (key, state) if state is None or state is True or type(state) is bytes else None


def _is_range(low: object, high: object, limit: object) -> bool:
    return (
        type(low) is bytes
        and len(low) <= MAX_KEY_BYTES
        and (high is None or (type(high) is bytes and len(high) <= MAX_KEY_BYTES and low < high))
        and type(limit) is int
        and 1 <= limit <= MAX_LIMIT
    )
