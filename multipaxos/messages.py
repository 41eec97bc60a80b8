"""What travels in Multi-Paxos, and which of it reports durable state.

Five messages are those of Basic Paxos, for a whole log at once: Prepare asks for a promise that covers every
slot from one on, Promise gives it in pages, Accept asks for a vote in one slot, Accepted tells of votes in
many, and Nack says that a question came too late.  Heartbeat and its reply keep a leader in office, carry
the commit index when nothing else does, and confirm reads.  Fetch and Chosen bring a node what it missed.
PreVote, PreVoted and TakeOver are about who leads next, Release ends a lease; ReadIndex and ReadAt let a
follower serve reads. Reserved tells a replica that its own disk holds a reservation of rounds.

A commit index (`committed`) in a message of ballot b counts slots chosen at ballots up to b only.

Messages are NamedTuples; the class tells them apart, so compare them together with their class.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from paxos.ballot import Ballot
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
    "Accepted",
    "Chosen",
    "Fetch",
    "Heartbeat",
    "HeartbeatReply",
    "MultiPaxosMessage",
    "Nack",
    "PreVote",
    "PreVoted",
    "Prepare",
    "Promise",
    "ReadAt",
    "ReadIndex",
    "Release",
    "Reserved",
    "TakeOver",
]

#: The highest slot there is. Slots are numbered from 1.
MAX_SLOT: Final = (1 << 62) - 1
#: The most slots in one page, and the most runs of slots in one Accepted.
MAX_ENTRIES: Final = 16_384


class Prepare(NamedTuple):
    """1a: "promise to take part in nothing below `ballot`, and tell me your votes from slot `first` on"."""

    ballot: Ballot
    first: int


class Promise(NamedTuple):
    """1b: promised, with a page of votes.

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


class Accept(NamedTuple):
    """2a: "vote for `value` in `slot` at `ballot`"; and news of what is committed."""

    ballot: Ballot
    slot: int
    value: bytes
    committed: int


class Accepted(NamedTuple):
    """2b: the acceptor voted at `ballot` in these slots: (first, last) of each run, rising."""

    ballot: Ballot
    runs: tuple[tuple[int, int], ...]


class Nack(NamedTuple):
    """A question at `ballot` came too late: the acceptor stands at `promised`. Counts for nothing."""

    ballot: Ballot
    promised: Ballot


class Heartbeat(NamedTuple):
    """The leader of `ballot` is in office. Numbered from 1 in its ballot; 0 asks for no answer."""

    ballot: Ballot
    sequence: int
    committed: int


class HeartbeatReply(NamedTuple):
    """When this was sent no ballot above `ballot` had been joined; `committed` is how far the node is."""

    ballot: Ballot
    sequence: int
    committed: int


class Fetch(NamedTuple):
    """Asks for the chosen values of slots `first` to `last`."""

    first: int
    last: int


class Chosen(NamedTuple):
    """What was chosen from slot `first` on, without gaps: a ballot at which it is safe, and the value."""

    first: int
    entries: tuple[tuple[Ballot, bytes], ...]


class TakeOver(NamedTuple):
    """The leader of `ballot` asks the recipient to lead in its place."""

    ballot: Ballot


class ReadIndex(NamedTuple):
    """Asks the leader for a slot that reads begun before this was sent must see. Two numbers name it."""

    life: int
    number: int


class ReadAt(NamedTuple):
    """The answer to a ReadIndex of the same name."""

    life: int
    number: int
    slot: int


class Release(NamedTuple):
    """The leader of `ballot` holds no lease any more, and will not again at this ballot."""

    ballot: Ballot


MultiPaxosMessage: TypeAlias = (
    Prepare
    | Promise
    | Accept
    | Accepted
    | Nack
    | Heartbeat
    | HeartbeatReply
    | Fetch
    | Chosen
    | PreVote
    | PreVoted
    | TakeOver
    | ReadIndex
    | ReadAt
    | Reserved
    | Release
)

# Called directly for every message: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__
_B = TypeVar("_B", PreVote, TakeOver, Release)
_N = TypeVar("_N", Heartbeat, HeartbeatReply)


def _slot(value: object, where: str, low: int = 1) -> int:
    return take_int(value, where, low, MAX_SLOT)


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


def _accept(fields: Sequence[object]) -> Accept:
    ballot, slot, value, committed = expect_fields(fields, 4, "Accept")
    return _new(
        Accept,
        (
            take_ballot(ballot, "Accept.ballot"),
            take_int(slot, "Accept.slot", 1, MAX_SLOT),
            check_value(value, "Accept.value"),
            take_int(committed, "Accept.committed", 0, MAX_SLOT),
        ),
    )


def _accepted(fields: Sequence[object]) -> Accepted:
    ballot, items = expect_fields(fields, 2, "Accepted")
    ballot = take_ballot(ballot, "Accepted.ballot")
    runs = []
    last = 0
    for item in take_list(items, "Accepted.runs", MAX_ENTRIES):
        low, high = expect_fields(item, 2, "Accepted.run")
        low = _slot(low, "Accepted.run.first", last + 1)
        last = _slot(high, "Accepted.run.last", low)
        runs.append((low, last))
    return _new(Accepted, (ballot, tuple(runs)))


def _nack(fields: Sequence[object]) -> Nack:
    ballot, promised = expect_fields(fields, 2, "Nack")
    return Nack(take_ballot(ballot, "Nack.ballot"), take_ballot(promised, "Nack.promised"))


def _beat(kind: type[_N]) -> Callable[[Sequence[object]], _N]:
    """What unpacks a message of a ballot, a sequence number and a commit index."""
    name = kind.__name__

    def unpack(fields: Sequence[object]) -> _N:
        ballot, sequence, committed = expect_fields(fields, 3, name)
        ballot = take_ballot(ballot, f"{name}.ballot")
        sequence = take_int(sequence, f"{name}.sequence", 0, MAX_SLOT)
        return _new(kind, (ballot, sequence, _slot(committed, f"{name}.committed", 0)))

    return unpack


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


def _only_ballot(kind: type[_B]) -> Callable[[Sequence[object]], _B]:
    """What unpacks a message of a ballot and nothing else."""
    name = kind.__name__

    def unpack(fields: Sequence[object]) -> _B:
        (ballot,) = expect_fields(fields, 1, name)
        return _new(kind, (take_ballot(ballot, f"{name}.ballot"),))

    return unpack


def _pre_voted(fields: Sequence[object]) -> PreVoted:
    ballot, granted, promised = expect_fields(fields, 3, "PreVoted")
    ballot = take_ballot(ballot, "PreVoted.ballot")
    granted = take_bool(granted, "PreVoted.granted")
    return PreVoted(ballot, granted, None if promised is None else take_ballot(promised, "PreVoted.promised"))


def _numbers(kind: type[Any], *names: str) -> Callable[[Sequence[object]], Any]:
    """What unpacks a message of nothing but natural numbers."""
    where = [f"{kind.__name__}.{name}" for name in names]

    def unpack(fields: Sequence[object]) -> Any:
        values = expect_fields(fields, len(where), kind.__name__)
        return kind(*map(lambda value, name: take_int(value, name, 0, MAX_SLOT), values, where))

    return unpack


def _reserved(fields: Sequence[object]) -> Reserved:
    (reserved,) = expect_fields(fields, 1, "Reserved")
    return Reserved(take_int(reserved, "Reserved.round", 0, MAX_ROUND))


#: Reporting: Promise and Accepted, because others count them; Reserved, because the node itself does. A
#: Prepare's ballot lies in a reservation that is already durable, an Accept's and a Heartbeat's ballot was
#: promised by a quorum's disks, a Chosen and a commit index are implied by a quorum's durable votes.
#: A HeartbeatReply says that no higher ballot had been joined *before it was sent*: true of what the disk
#: held then, whatever a crash undoes later. Nobody counts the rest.
MESSAGES: Final = MessageTable(
    (
        MessageType(1, Prepare, reports=False, pack=tuple, unpack=_prepare),
        MessageType(2, Promise, reports=True, pack=tuple, unpack=_promise),
        MessageType(3, Accept, reports=False, pack=tuple, unpack=_accept),
        MessageType(4, Accepted, reports=True, pack=tuple, unpack=_accepted),
        MessageType(5, Nack, reports=False, pack=tuple, unpack=_nack),
        MessageType(6, Heartbeat, reports=False, pack=tuple, unpack=_beat(Heartbeat)),
        MessageType(7, HeartbeatReply, reports=False, pack=tuple, unpack=_beat(HeartbeatReply)),
        MessageType(8, Fetch, reports=False, pack=tuple, unpack=_fetch),
        MessageType(9, Chosen, reports=False, pack=tuple, unpack=_chosen),
        MessageType(10, PreVote, reports=False, pack=tuple, unpack=_only_ballot(PreVote)),
        MessageType(11, PreVoted, reports=False, pack=tuple, unpack=_pre_voted),
        MessageType(12, TakeOver, reports=False, pack=tuple, unpack=_only_ballot(TakeOver)),
        MessageType(13, ReadIndex, reports=False, pack=tuple, unpack=_numbers(ReadIndex, "life", "number")),
        MessageType(14, ReadAt, reports=False, pack=tuple, unpack=_numbers(ReadAt, "life", "number", "slot")),
        MessageType(15, Reserved, reports=True, pack=tuple, unpack=_reserved),
        MessageType(16, Release, reports=False, pack=tuple, unpack=_only_ballot(Release)),
    )
)
