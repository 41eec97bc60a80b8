"""What travels in the log of Fast Paxos, and which of it reports durable state.

Propose carries a command straight from the replica it was submitted to, to all acceptors, for a slot at a
fast ballot that is open there. Voted is an acceptor's vote, told to everybody: that is how all learn what
is chosen, two message delays after it was proposed.

Prepare and Promise are phase 1, for all slots at once and in pages; Recover and Report are phase 1 of one
slot. Accept asks for a vote for the one value that the coordinator may propose. Nack says that a question
came too late. Heartbeat and its reply keep a coordinator in office, and say from which slot on its ballot
is open: that is Any. In a classic ballot Forward brings commands to it.

Fetch and Chosen bring a node what it missed. PreVote, PreVoted and TakeOver are about who coordinates next;
ReadIndex and ReadAt find a read's place. Reserved tells a replica that its own disk holds a reservation of
rounds.

That a slot is chosen is said without a ballot: it stays so. Messages are NamedTuples; the class tells them
apart, so compare them together with their class.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from paxos.ballot import BOTTOM, Ballot
from paxos.basic.election import PreVote, PreVoted
from paxos.basic.messages import Reserved
from paxos.basic.values import check_value
from paxos.errors import WireError
from paxos.wire import (
    MAX_ROUND,
    MessageTable,
    MessageType,
    expect_fields,
    take_ballot,
    take_bool,
    take_int,
    take_list,
)

__all__ = [
    "MAX_ENTRIES",
    "MAX_SLOT",
    "MESSAGES",
    "Accept",
    "Chosen",
    "FastLogMessage",
    "Fetch",
    "Forward",
    "Heartbeat",
    "HeartbeatReply",
    "Nack",
    "PreVote",
    "PreVoted",
    "Prepare",
    "Promise",
    "Propose",
    "ReadAt",
    "ReadIndex",
    "Recover",
    "Report",
    "Reserved",
    "TakeOver",
    "Voted",
]

#: The highest slot there is. Slots are numbered from 1.
MAX_SLOT: Final = (1 << 62) - 1
#: The most slots in one page.
MAX_ENTRIES: Final = 16_384


class Propose(NamedTuple):
    """To an acceptor: "vote for `value` in `slot`, if you voted for nothing there at the open `ballot`"."""

    ballot: Ballot
    slot: int
    value: bytes


class Accept(NamedTuple):
    """2a, from the coordinator: "vote for `value` in `slot` at `ballot`"."""

    ballot: Ballot
    slot: int
    value: bytes


class Voted(NamedTuple):
    """2b, to everybody: the sender voted for `value` in `slot` at `ballot`."""

    ballot: Ballot
    slot: int
    value: bytes


class Prepare(NamedTuple):
    """1a: "promise to take part in nothing below `ballot`, and tell me your votes from slot `first` on"."""

    ballot: Ballot
    first: int


class Promise(NamedTuple):
    """1b: promised for all slots, with a page of votes.

    Args:
        ballot: the ballot promised, at which the acceptor stands.
        first: the slot that the question named.
        entries: (slot, ballot, value) of its votes from `first` on, slots rising.
        following: the slot at which the next page begins; 0 when this is the last.
        compacted: every slot up to this one is chosen, and known here from a snapshot only.
    """

    ballot: Ballot
    first: int
    entries: tuple[tuple[int, Ballot, bytes], ...]
    following: int
    compacted: int


class Recover(NamedTuple):
    """1a of one slot: "take part in nothing below `ballot` in `slot`, and tell me your vote there"."""

    ballot: Ballot
    slot: int


class Report(NamedTuple):
    """1b of one slot: promised, and the vote there.

    Args:
        ballot: the ballot promised in the slot.
        slot: which.
        vote: the ballot of the acceptor's vote there; BOTTOM for none.
        value: its value; None for none.
    """

    ballot: Ballot
    slot: int
    vote: Ballot
    value: bytes | None


class Nack(NamedTuple):
    """A question at `ballot` came too late: the acceptor stands at `promised`. Counts for nothing."""

    ballot: Ballot
    promised: Ballot


class Heartbeat(NamedTuple):
    """The coordinator of `ballot` is in office, and phase 1 of it is done.

    Args:
        ballot: with which its round began. If it is fast this is Any, for slots from `first` on.
        sequence: its number, from 1 in each ballot.
        committed: every slot up to this one is chosen, and known at the sender.
        first: what phase 1 reported was in slots below this one.
    """

    ballot: Ballot
    sequence: int
    committed: int
    first: int


class HeartbeatReply(NamedTuple):
    """The node stands at `ballot`; how far it is, and the last slot that it voted in or knows of."""

    ballot: Ballot
    sequence: int
    committed: int
    highest: int


class Forward(NamedTuple):
    """To the coordinator of the classic `ballot`: a command to place."""

    ballot: Ballot
    value: bytes


class Fetch(NamedTuple):
    """Asks for the chosen values of slots `first` to `last`."""

    first: int
    last: int


class Chosen(NamedTuple):
    """What was chosen from slot `first` on, without gaps: a ballot at which it is safe, and the value."""

    first: int
    entries: tuple[tuple[Ballot, bytes], ...]


class TakeOver(NamedTuple):
    """The coordinator of `ballot` asks the recipient to coordinate in its place."""

    ballot: Ballot


class ReadIndex(NamedTuple):
    """Asks for the last slot that the recipient voted in or knows of. Two numbers name the question."""

    life: int
    number: int


class ReadAt(NamedTuple):
    """The answer to a ReadIndex of the same name."""

    life: int
    number: int
    slot: int


FastLogMessage: TypeAlias = (
    Propose
    | Accept
    | Voted
    | Prepare
    | Promise
    | Recover
    | Report
    | Nack
    | Heartbeat
    | HeartbeatReply
    | Forward
    | Fetch
    | Chosen
    | PreVote
    | PreVoted
    | TakeOver
    | ReadIndex
    | ReadAt
    | Reserved
)

# Called directly for every message: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


def _slot(value: object, where: str, low: int = 1) -> int:
    return take_int(value, where, low, MAX_SLOT)


def _value_in_slot(kind: type[Any]) -> Callable[[Sequence[object]], Any]:
    """What unpacks a message of a ballot, a slot and a value."""
    name = kind.__name__
    where_ballot, where_slot, where_value = f"{name}.ballot", f"{name}.slot", f"{name}.value"

    def unpack(fields: Sequence[object]) -> Any:
        ballot, slot, value = expect_fields(fields, 3, name)
        return _new(
            kind,
            (
                take_ballot(ballot, where_ballot),
                take_int(slot, where_slot, 1, MAX_SLOT),
                check_value(value, where_value),
            ),
        )

    return unpack


def _prepare(fields: Sequence[object]) -> Prepare:
    ballot, first = expect_fields(fields, 2, "Prepare")
    return Prepare(take_ballot(ballot, "Prepare.ballot"), _slot(first, "Prepare.first"))


def _promise(fields: Sequence[object]) -> Promise:
    ballot, first, items, following, compacted = expect_fields(fields, 5, "Promise")
    ballot = take_ballot(ballot, "Promise.ballot")
    first = _slot(first, "Promise.first")
    following = _slot(following, "Promise.following", 0)
    entries = []
    last = first - 1
    for item in take_list(items, "Promise.entries", MAX_ENTRIES):
        slot, vote, value = expect_fields(item, 3, "Promise.entry")
        slot = _slot(slot, "Promise.entry.slot", last + 1)
        vote = take_ballot(vote, "Promise.entry.ballot")
        if vote >= ballot:
            raise WireError("Promise: reports a vote at or above its own ballot")
        entries.append((slot, vote, check_value(value, "Promise.entry.value")))
        last = slot
    if following and following <= max(first, last):
        raise WireError("Promise.following: the next page begins inside this one")
    return _new(Promise, (ballot, first, tuple(entries), following, _slot(compacted, "Promise.compacted", 0)))


def _recover(fields: Sequence[object]) -> Recover:
    ballot, slot = expect_fields(fields, 2, "Recover")
    return Recover(take_ballot(ballot, "Recover.ballot"), _slot(slot, "Recover.slot"))


def _report(fields: Sequence[object]) -> Report:
    ballot, slot, vote, value = expect_fields(fields, 4, "Report")
    ballot, slot = take_ballot(ballot, "Report.ballot"), _slot(slot, "Report.slot")
    if value is None:
        if vote is not None:
            raise WireError("Report: a vote at a ballot, and for nothing")
        return Report(ballot, slot, BOTTOM, None)
    vote = take_ballot(vote, "Report.vote")
    if vote >= ballot:
        raise WireError("Report: tells of a vote at or above its own ballot")
    return Report(ballot, slot, vote, check_value(value, "Report.value"))


def _pack_report(report: Report) -> tuple[object, ...]:
    ballot, slot, vote, value = report
    return (ballot, slot, None if value is None else vote, value)


def _nack(fields: Sequence[object]) -> Nack:
    ballot, promised = expect_fields(fields, 2, "Nack")
    return Nack(take_ballot(ballot, "Nack.ballot"), take_ballot(promised, "Nack.promised"))


def _ballot_and_numbers(kind: type[Any], *names: str) -> Callable[[Sequence[object]], Any]:
    """What unpacks a message of a ballot, and natural numbers."""
    where = [f"{kind.__name__}.{name}" for name in names]

    def unpack(fields: Sequence[object]) -> Any:
        ballot, *values = expect_fields(fields, 1 + len(where), kind.__name__)
        ballot = take_ballot(ballot, f"{kind.__name__}.ballot")
        return kind(ballot, *map(lambda value, name: take_int(value, name, 0, MAX_SLOT), values, where))

    return unpack


def _numbers(kind: type[Any], *names: str) -> Callable[[Sequence[object]], Any]:
    """What unpacks a message of nothing but natural numbers."""
    where = [f"{kind.__name__}.{name}" for name in names]

    def unpack(fields: Sequence[object]) -> Any:
        values = expect_fields(fields, len(where), kind.__name__)
        return kind(*map(lambda value, name: take_int(value, name, 0, MAX_SLOT), values, where))

    return unpack


def _forward(fields: Sequence[object]) -> Forward:
    ballot, value = expect_fields(fields, 2, "Forward")
    return Forward(take_ballot(ballot, "Forward.ballot"), check_value(value, "Forward.value"))


def _fetch(fields: Sequence[object]) -> Fetch:
    first, last = expect_fields(fields, 2, "Fetch")
    first = _slot(first, "Fetch.first")
    return Fetch(first, _slot(last, "Fetch.last", first))


def _chosen(fields: Sequence[object]) -> Chosen:
    first, items = expect_fields(fields, 2, "Chosen")
    entries = []
    for item in take_list(items, "Chosen.entries", MAX_ENTRIES):
        ballot, value = expect_fields(item, 2, "Chosen.entry")
        ballot = take_ballot(ballot, "Chosen.entry.ballot")
        entries.append((ballot, check_value(value, "Chosen.entry.value")))
    return Chosen(_slot(first, "Chosen.first"), tuple(entries))


def _pre_voted(fields: Sequence[object]) -> PreVoted:
    ballot, granted, promised = expect_fields(fields, 3, "PreVoted")
    ballot = take_ballot(ballot, "PreVoted.ballot")
    granted = take_bool(granted, "PreVoted.granted")
    return PreVoted(ballot, granted, None if promised is None else take_ballot(promised, "PreVoted.promised"))


def _reserved(fields: Sequence[object]) -> Reserved:
    (reserved,) = expect_fields(fields, 1, "Reserved")
    return Reserved(take_int(reserved, "Reserved.round", 0, MAX_ROUND))


_beat: Final = _ballot_and_numbers(Heartbeat, "sequence", "committed", "first")
_reply: Final = _ballot_and_numbers(HeartbeatReply, "sequence", "committed", "highest")

#: Reporting: Voted, Promise and Report, because others count them; Reserved, because the node itself does. A
#: Prepare's ballot lies in a reservation that is already durable; a ballot of round 0 is coordinated only in
#: the first life of the lowest member, after that life is durable. A Propose and a Heartbeat are at a ballot
#: that a quorum's disks promised, a Chosen and a commit index are implied by a quorum's durable votes. A
#: ReadAt tells of no less than the votes that had left. Nobody counts the rest.
MESSAGES: Final = MessageTable(
    (
        MessageType(1, Propose, reports=False, pack=tuple, unpack=_value_in_slot(Propose)),
        MessageType(2, Accept, reports=False, pack=tuple, unpack=_value_in_slot(Accept)),
        MessageType(3, Voted, reports=True, pack=tuple, unpack=_value_in_slot(Voted)),
        MessageType(4, Prepare, reports=False, pack=tuple, unpack=_prepare),
        MessageType(5, Promise, reports=True, pack=tuple, unpack=_promise),
        MessageType(6, Recover, reports=False, pack=tuple, unpack=_recover),
        MessageType(7, Report, reports=True, pack=_pack_report, unpack=_report),
        MessageType(8, Nack, reports=False, pack=tuple, unpack=_nack),
        MessageType(9, Heartbeat, reports=False, pack=tuple, unpack=_beat),
        MessageType(10, HeartbeatReply, reports=False, pack=tuple, unpack=_reply),
        MessageType(11, Forward, reports=False, pack=tuple, unpack=_forward),
        MessageType(12, Fetch, reports=False, pack=tuple, unpack=_fetch),
        MessageType(13, Chosen, reports=False, pack=tuple, unpack=_chosen),
        MessageType(14, PreVote, reports=False, pack=tuple, unpack=_ballot_and_numbers(PreVote)),
        MessageType(15, PreVoted, reports=False, pack=tuple, unpack=_pre_voted),
        MessageType(16, TakeOver, reports=False, pack=tuple, unpack=_ballot_and_numbers(TakeOver)),
        MessageType(17, ReadIndex, reports=False, pack=tuple, unpack=_numbers(ReadIndex, "life", "number")),
        MessageType(18, ReadAt, reports=False, pack=tuple, unpack=_numbers(ReadAt, "life", "number", "slot")),
        MessageType(19, Reserved, reports=True, pack=tuple, unpack=_reserved),
    )
)
