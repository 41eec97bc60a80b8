"""What the key-value machine answers, as bytes, and what a client makes of them.

An answer is a letter and what belongs to it.  Answers are remembered for retries and are part of snapshots,
so these bytes do not change either:

    'O'  done                             put
    'V'  value                            get, of a key that is there
    'A'  absent                           get, of one that is not
    'Y'  yes    'N'  no                   delete (was it there?), cas (was it swapped?)
    'I'  the sum in decimal digits        increment
    'S'  CBOR [[key, value, key, value, ...], more]                       scan
    'T'  CBOR [whether the guards held, [answer, ...]]                    transaction
    'W'  CBOR [upto, now, more, [[revision, [key, value or null, ...]], ...]]   changes
    'C'  CBOR [oldest, now]               changes, of a revision that is no longer held
    'R'  why, in UTF-8                    anything: refused, and nothing was changed

One function for each operation reads its answers.  A refusal it raises as `Rejected`; what is no answer to
that operation at all as `WireError`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn

from paxos.errors import Rejected, WireError
from paxos.service.keyvalue_requests import MAX_REVISION
from paxos.wire import dumps, expect_fields, loads_strict, take_bool, take_int

__all__ = [
    "Change",
    "Compacted",
    "Items",
    "Page",
    "Ran",
    "changed",
    "deleted",
    "got",
    "incremented",
    "ran",
    "refusal",
    "scanned",
    "stored",
    "swapped",
]

DONE: Final = b"O"
ABSENT: Final = b"A"
YES: Final = b"Y"
NO: Final = b"N"
_VALUE: Final = 0x56
_REFUSED: Final = 0x52

#: What the machine refuses, and why. The sentences are in logs, and equal at every node: none is made of
#: what another library says.
MALFORMED: Final = b"Rnot a command of the key-value machine"
NOT_A_QUERY: Final = b"Rit would change something: a command, and no query"
NOT_A_COMMAND: Final = b"Rthe changes are asked by a query, not by a command"
NO_NUMBER: Final = b"Rincrement: the value is not a decimal number of 64 bits"
OVERFLOW: Final = b"Rincrement: the sum does not fit in 64 bits"
TOO_LONG: Final = b"Rtransaction: what it would answer or change is longer than a command may be"


class Items(NamedTuple):
    """What a scan found.

    Args:
        items: keys and values, in order of keys.
        more: whether the range holds more; go on from the last key followed by a zero byte.
    """

    items: tuple[tuple[bytes, bytes], ...]
    more: bool


class Ran(NamedTuple):
    """What a transaction did.

    Args:
        held: whether all guards held, so that `then` was carried out, and not `otherwise`.
        answers: one for each request carried out, each for the function of its operation.
    """

    held: bool
    answers: tuple[bytes, ...]


class Change(NamedTuple):
    """A key that got another value at a revision; None when it was deleted."""

    revision: int
    key: bytes
    value: bytes | None


class Page(NamedTuple):
    """Some of the changes, in order; all of a revision or none of it.

    Args:
        changes: those to keys in the range.
        upto: every change up to this revision was looked at: ask for those after it next.
        now: the revision of the machine.
        more: whether there are revisions above `upto` already.
    """

    changes: tuple[Change, ...]
    upto: int
    now: int
    more: bool


class Compacted(NamedTuple):
    """Changes that were asked for are no longer held: read the keys anew, and go on after `now`.

    Args:
        oldest: the lowest revision after which the machine still has all changes.
        now: the revision of the machine.
    """

    oldest: int
    now: int


# --- reading -----------------------------------------------------------------------------------------


def refusal(answer: bytes) -> str | None:
    """Why a request was refused; None when it was not."""
    return answer[1:].decode("utf-8", "replace") if answer[:1] == b"R" else None


def got(answer: bytes) -> bytes | None:
    """The value that a get found, None for absent.

    Raises:
        Rejected: the machine refused the request.
        WireError: no answer to a get.
    """
    if answer and answer[0] == _VALUE:
        return answer[1:]
    return None if answer == ABSENT else _bad(answer, "a get")


def stored(answer: bytes) -> None:
    """A put that was done.

    Raises:
        Rejected: the machine refused the request.
        WireError: no answer to a put.
    """
    if answer != DONE:
        _bad(answer, "a put")


def deleted(answer: bytes) -> bool:
    """Whether there was something to delete.

    Raises:
        Rejected: the machine refused the request.
        WireError: no answer to a delete.
    """
    return _yes(answer, "a delete")


def swapped(answer: bytes) -> bool:
    """Whether a compare-and-swap found what it expected.

    Raises:
        Rejected: the machine refused the request.
        WireError: no answer to a cas.
    """
    return _yes(answer, "a cas")


def incremented(answer: bytes) -> int:
    """The number that an increment left.

    Raises:
        Rejected: the machine refused the request.
        WireError: no answer to an increment.
    """
    if answer[:1] == b"I":
        number = number_of(answer[1:])
        if number is not None:
            return number
    _bad(answer, "an increment")


def scanned(answer: bytes) -> Items:
    """What a scan found.

    Raises:
        Rejected: the machine refused the request.
        WireError: no answer to a scan.
    """
    flat, more = _fields(answer, b"S", 2, "a scan")
    pairs = _pairs(flat, "a scan")
    return Items(
        tuple((key, value) for key, value in pairs if value is not None), take_bool(more, "scan.more")
    )


def ran(answer: bytes) -> Ran:
    """What a transaction did.

    Raises:
        Rejected: the machine refused the request.
        WireError: no answer to a transaction.
    """
    held, answers = _fields(answer, b"T", 2, "a transaction")
    if type(answers) is not list or not all(type(each) is bytes for each in answers):
        _bad(answer, "a transaction")
    return Ran(take_bool(held, "transaction.held"), tuple(answers))


def changed(answer: bytes) -> Page | Compacted:
    """What changed.

    Raises:
        Rejected: the machine refused the request.
        WireError: no answer to a look at the changes.
    """
    if answer[:1] == b"C":
        oldest, now = _fields(answer, b"C", 2, "changes")
        return Compacted(
            take_int(oldest, "changes.oldest", 0, MAX_REVISION), take_int(now, "changes.now", 0, MAX_REVISION)
        )
    upto, now, more, revisions = _fields(answer, b"W", 4, "changes")
    if type(revisions) is not list:
        raise WireError("the answer to changes has no list of revisions")
    found = []
    for each in revisions:
        revision, flat = expect_fields(each, 2, "changes.revision")
        take_int(revision, "changes.revision", 1, MAX_REVISION)
        found += [Change(revision, key, value) for key, value in _pairs(flat, "changes", holes=True)]
    return Page(
        tuple(found),
        take_int(upto, "changes.upto", 0, MAX_REVISION),
        take_int(now, "changes.now", 0, MAX_REVISION),
        take_bool(more, "changes.more"),
    )


# --- building, for the machine -----------------------------------------------------------------------


def value_answer(value: bytes | None) -> bytes:
    """The answer of a get."""
    return ABSENT if value is None else b"V" + value


def items_answer(flat: Sequence[bytes], more: bool) -> bytes:
    """The answer of a scan: keys and values by turns."""
    return b"S" + dumps((flat, more))


def ran_answer(held: bool, answers: Sequence[bytes]) -> bytes:
    """The answer of a transaction."""
    return b"T" + dumps((held, answers))


def page_answer(upto: int, now: int, revisions: Sequence[tuple[int, Sequence[bytes | None]]]) -> bytes:
    """The answer with some changes."""
    return b"W" + dumps((upto, now, upto < now, revisions))


def compacted_answer(oldest: int, now: int) -> bytes:
    """The answer where changes are gone."""
    return b"C" + dumps((oldest, now))


_MAX_DIGITS: Final = 20
_MAX_NUMBER: Final = (1 << 63) - 1


def number_of(text: bytes) -> int | None:
    """The number that decimal digits say; None for what is no number of 64 bits, or not in its one form."""
    if not 0 < len(text) <= _MAX_DIGITS or not text.lstrip(b"-").isdigit():
        return None
    try:
        number = int(text)
    except ValueError:  # two signs
        return None
    return number if -_MAX_NUMBER - 1 <= number <= _MAX_NUMBER and b"%d" % number == text else None


# --- inside ------------------------------------------------------------------------------------------


def _bad(answer: bytes, where: str) -> NoReturn:
    why = refusal(answer)
    if why is not None:
        raise Rejected(f"the key-value machine refused {where}: {why}")
    raise WireError(f"{answer[:40]!r} is no answer to {where}")


def _yes(answer: bytes, where: str) -> bool:
    if answer != YES and answer != NO:
        _bad(answer, where)
    return answer == YES


def _fields(answer: bytes, letter: bytes, count: int, where: str) -> list[object]:
    if answer[:1] != letter:
        _bad(answer, where)
    fields: list[object] = expect_fields(loads_strict(answer[1:]), count, f"the answer to {where}")
    return fields


def _pairs(flat: object, where: str, *, holes: bool = False) -> list[tuple[bytes, bytes | None]]:
    if type(flat) is not list or len(flat) % 2:
        raise WireError(f"the answer to {where} has no list of keys and values")
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    for key, value in pairs:
        if type(key) is not bytes or not (type(value) is bytes or (holes and value is None)):
            raise WireError(f"the answer to {where} has a key or value that is not bytes")
    return pairs
