"""What travels in Basic Paxos, and which of it reports durable state.

Six messages serve one decree: the two questions of the proposer (Prepare, Accept), the acceptor's
answers (Promise, Accepted, Nack) and the news (Chosen).  Three more belong to a replica that holds
many decrees: Forward hands a value to the distinguished proposer, Ask asks for news of a decree that
was voted in and went quiet, and Reserved tells a replica that its own disk holds a reservation of
rounds.

Every message names its decree: bytes, empty where there is only one.  Messages are NamedTuples; the
class tells them apart, so compare them together with their class.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from paxos.ballot import BOTTOM, Ballot
from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES
from paxos.errors import WireError
from paxos.wire import (
    MAX_ROUND,
    MessageTable,
    MessageType,
    expect_fields,
    pack_ballot_or_bottom,
    take_ballot,
    take_bytes,
    take_int,
)

__all__ = [
    "MAX_ROUND",
    "MESSAGES",
    "Accept",
    "Accepted",
    "Ask",
    "BasicMessage",
    "Chosen",
    "Forward",
    "Nack",
    "Prepare",
    "Promise",
    "Reserved",
]


class Prepare(NamedTuple):
    """1a: "promise to take part in nothing below `ballot`, and tell me your last vote"."""

    decree: bytes
    ballot: Ballot


class Promise(NamedTuple):
    """1b: promised; with the acceptor's vote of the highest ballot below, BOTTOM and None for none."""

    decree: bytes
    ballot: Ballot
    accepted_ballot: Ballot
    accepted_value: bytes | None


class Accept(NamedTuple):
    """2a: "vote for `value` at `ballot`"."""

    decree: bytes
    ballot: Ballot
    value: bytes


class Accepted(NamedTuple):
    """2b: the acceptor's vote. Learners count it."""

    decree: bytes
    ballot: Ballot
    value: bytes


class Nack(NamedTuple):
    """A question at `ballot` came too late: the acceptor stands at `promised`. Counts for nothing."""

    decree: bytes
    ballot: Ballot
    promised: Ballot


class Chosen(NamedTuple):
    """News: `value` was chosen, by votes of `ballot`."""

    decree: bytes
    ballot: Ballot
    value: bytes


class Forward(NamedTuple):
    """Asks the distinguished proposer to propose `value`."""

    decree: bytes
    value: bytes


class Ask(NamedTuple):
    """Asks whoever knows what was chosen for news."""

    decree: bytes


class Reserved(NamedTuple):
    """To oneself: the disk holds that all rounds up to `round` may be used by this node."""

    round: int


_V = TypeVar("_V", "Accept", "Accepted", "Chosen")
# Called directly for every message: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__

BasicMessage: TypeAlias = Prepare | Promise | Accept | Accepted | Nack | Chosen | Forward | Ask | Reserved


def _prepare(fields: Sequence[object]) -> Prepare:
    decree, ballot = expect_fields(fields, 2, "Prepare")
    decree = take_bytes(decree, "Prepare.decree", MAX_KEY_BYTES)
    return _new(Prepare, (decree, take_ballot(ballot, "Prepare.ballot")))


def _promise(fields: Sequence[object]) -> Promise:
    decree, ballot, accepted_ballot, accepted_value = expect_fields(fields, 4, "Promise")
    if (accepted_ballot is None) != (accepted_value is None):
        raise WireError("Promise: a vote has both a ballot and a value, or neither")
    decree = take_bytes(decree, "Promise.decree", MAX_KEY_BYTES)
    ballot = take_ballot(ballot, "Promise.ballot")
    if accepted_ballot is None:
        return _new(Promise, (decree, ballot, BOTTOM, None))
    accepted_ballot = take_ballot(accepted_ballot, "Promise.accepted_ballot")
    accepted_value = take_bytes(accepted_value, "Promise.accepted_value", MAX_COMMAND_BYTES)
    if accepted_ballot >= ballot:
        raise WireError("Promise: reports a vote at or above its own ballot")
    return _new(Promise, (decree, ballot, accepted_ballot, accepted_value))


def _pack_promise(promise: Promise) -> tuple[object, ...]:
    decree, ballot, accepted_ballot, accepted_value = promise
    return (decree, ballot, pack_ballot_or_bottom(accepted_ballot), accepted_value)


def _with_value(kind: type[_V]) -> Callable[[Sequence[object]], _V]:
    """What unpacks a message of a decree, a ballot and a value."""
    name = kind.__name__
    in_decree, in_ballot, in_value = f"{name}.decree", f"{name}.ballot", f"{name}.value"

    def unpack(fields: Sequence[object]) -> _V:
        decree, ballot, value = expect_fields(fields, 3, name)
        decree = take_bytes(decree, in_decree, MAX_KEY_BYTES)
        ballot = take_ballot(ballot, in_ballot)
        return _new(kind, (decree, ballot, take_bytes(value, in_value, MAX_COMMAND_BYTES)))

    return unpack


def _nack(fields: Sequence[object]) -> Nack:
    decree, ballot, promised = expect_fields(fields, 3, "Nack")
    return Nack(
        take_bytes(decree, "Nack.decree", MAX_KEY_BYTES),
        take_ballot(ballot, "Nack.ballot"),
        take_ballot(promised, "Nack.promised"),
    )


def _forward(fields: Sequence[object]) -> Forward:
    decree, value = expect_fields(fields, 2, "Forward")
    return Forward(
        take_bytes(decree, "Forward.decree", MAX_KEY_BYTES),
        take_bytes(value, "Forward.value", MAX_COMMAND_BYTES),
    )


def _ask(fields: Sequence[object]) -> Ask:
    (decree,) = expect_fields(fields, 1, "Ask")
    return Ask(take_bytes(decree, "Ask.decree", MAX_KEY_BYTES))


def _reserved(fields: Sequence[object]) -> Reserved:
    (reserved,) = expect_fields(fields, 1, "Reserved")
    return Reserved(take_int(reserved, "Reserved.round", 0, MAX_ROUND))


#: Reporting: Promise and Accepted, because others count them; Reserved, because the node itself does.
#: A Prepare's ballot lies in a reservation that is already durable; a Chosen is implied by a quorum's
#: durable votes; a Nack is counted by nobody.
MESSAGES: Final = MessageTable(
    (
        MessageType(1, Prepare, reports=False, pack=tuple, unpack=_prepare),
        MessageType(2, Promise, reports=True, pack=_pack_promise, unpack=_promise),
        MessageType(3, Accept, reports=False, pack=tuple, unpack=_with_value(Accept)),
        MessageType(4, Accepted, reports=True, pack=tuple, unpack=_with_value(Accepted)),
        MessageType(5, Nack, reports=False, pack=tuple, unpack=_nack),
        MessageType(6, Chosen, reports=False, pack=tuple, unpack=_with_value(Chosen)),
        MessageType(7, Forward, reports=False, pack=tuple, unpack=_forward),
        MessageType(8, Ask, reports=False, pack=tuple, unpack=_ask),
        MessageType(9, Reserved, reports=True, pack=tuple, unpack=_reserved),
    )
)
