"""The acceptor of Multi-Paxos: one promise over many votes.

It is Basic Paxos's acceptor with the two halves taken apart: the promise is held once, for every slot there
is and will be, and each slot has a `paxos.basic.Vote`, to which the promise is handed in. So one phase 1 is
the phase 1 of every slot, and a leader needs it once.

A promise tells of every vote from a slot on, and the log may be long, so it is given in pages, one for each
question. The acceptor need not remember where a candidate is: a page is good when the acceptor still stands
at the candidate's ballot, because then it has cast no vote below that ballot since it gave the first one.

Votes are told of many at a time: `answers` gives what was cast since it was asked last, in one message for
each ballot.

What a snapshot covers is forgotten. A slot that was *compacted* was chosen, so it needs no vote any more,
and a promise says up to where that goes.

Source: Lamport, *Paxos Made Simple* (2001), sections 2.2 and 3.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, Self, TypeAlias

from multipaxos.messages import MAX_ENTRIES, Accept, Accepted, Nack, Prepare, Promise
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.acceptor import Vote
from paxos.errors import ProtocolBreach
from paxos.wire import MAX_ROUND

__all__ = ["LogAcceptor", "LogRecord", "PageLimits"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__
#: Bytes that an entry takes in a page beside its value.
_ENTRY_BYTES: Final = 24

_Answer: TypeAlias = Promise | Accepted | Nack


class PageLimits(NamedTuple):
    """How much goes into one page: slots, and bytes; a page has at least one slot, however large."""

    slots: int = 4096
    bytes: int = 1 << 20


class LogRecord(NamedTuple):
    """What an acceptor of a log needs of its disk.

    Args:
        promised: the highest ballot joined.
        votes: ballot and value of the vote in each slot above `compacted`.
        compacted: every slot up to this one was chosen and is in a snapshot.
    """

    promised: Ballot
    votes: dict[int, tuple[Ballot, bytes]]
    compacted: int


class LogAcceptor:
    """Remembers one promise and, per slot, one vote.

    An answer it returns reports durable state: what changed must be on disk before it is sent.

    Args:
        record: what was on disk before a restart; None for an acceptor that is new.
        limits: of a page.

    Attributes:
        promised: the highest ballot joined.
        votes: the vote in each slot, for slots above `compacted`; slots below may still be on their way out.
        compacted: every slot up to this one was chosen and is in a snapshot.
        highest: no slot above this one has a vote.
        voted: no slot's vote is at a ballot above this one.
        cast: slots voted in since `answers` was called, all at the ballot that is promised.
        gathered: what else `answers` has to give: votes cast since then at ballots before.
        leaving: slots whose records are still to be deleted, highest first.

    Source: Lamport, *Paxos Made Simple*, section 3.
    """

    __slots__ = (
        "cast",
        "compacted",
        "gathered",
        "highest",
        "leaving",
        "limits",
        "promised",
        "voted",
        "votes",
    )

    def __init__(self, record: LogRecord | None = None, limits: PageLimits | None = None) -> None:
        promised, votes, compacted = record or LogRecord(BOTTOM, {}, 0)
        self.votes: dict[int, Vote[bytes]] = {slot: Vote(*vote) for slot, vote in votes.items()}
        self.compacted: int = compacted
        self.limits: PageLimits = limits or PageLimits()
        self.highest: int = max(votes, default=compacted)
        self.voted: Ballot = max((ballot for ballot, _ in votes.values()), default=BOTTOM)
        # A vote is a promise too.
        self.promised: Ballot = max(promised, self.voted)
        self.leaving: list[int] = []
        self.cast: list[int] = []
        self.gathered: list[Accepted] = []
        if compacted:
            self._leave()

    def receive(self, sender: NodeId, message: Prepare | Accept) -> _Answer | None:
        """The answer to one question; None for silence.

        Raises:
            ProtocolBreach: see `on_accept`.
            TypeError: the message is not a question to an acceptor.
        """
        if isinstance(message, Prepare):
            return self.on_prepare(message)
        if isinstance(message, Accept):
            return self.on_accept(message)
        raise TypeError(f"an acceptor answers a Prepare or an Accept, and was given {message!r:.80}")

    def on_prepare(self, message: Prepare) -> Promise | Nack | None:
        """1b: promise a ballot above every one joined, for all slots, and report a page of votes.

        Silence is the answer to a candidate that is already past phase 1: a promise never reports a vote at
        its own ballot.

        Raises:
            ValueError: the round is above `MAX_ROUND`, so that no ballot could be above it.
        """
        ballot, first = message
        if not self.join(ballot):
            return _new(Nack, (ballot, self.promised))
        if self.voted >= ballot:
            return None
        votes, (most_slots, most_bytes) = self.votes, self.limits
        entries: list[tuple[int, Ballot, bytes]] = []
        size = 0
        low = max(first, self.compacted + 1)
        slots: Iterable[int] = range(low, self.highest + 1)
        if self.highest - low > 2 * len(votes):
            slots = sorted(slot for slot in votes if slot >= low)  # few, and far between
        for slot in slots:
            vote = votes.get(slot)
            if vote is None or vote.accepted_value is None:
                continue
            size += _ENTRY_BYTES + len(vote.accepted_value)
            if entries and (len(entries) >= most_slots or size > most_bytes):
                return _new(Promise, (ballot, first, tuple(entries), slot, self.compacted))
            entries.append((slot, vote.accepted_ballot, vote.accepted_value))
        return _new(Promise, (ballot, first, tuple(entries), 0, self.compacted))

    def on_accept(self, message: Accept) -> Accepted | Nack:
        """2b: vote in a slot, unless a higher ballot was joined.

        Raises:
            ProtocolBreach, ValueError: see `vote`.
        """
        ballot, slot, value, _ = message
        if self.vote(ballot, slot, value):
            self.cast.pop()  # it is answered here
            return _new(Accepted, (ballot, ((slot, slot),)))
        return _new(Nack, (ballot, self.promised))

    def join(self, ballot: Ballot) -> bool:
        """Take part in nothing below `ballot` any more; False when a higher one was joined.

        Raises:
            ValueError: the round is above `MAX_ROUND`, so that no ballot could be above it. Nothing changes.
        """
        if ballot > self.promised:
            if ballot[0] > MAX_ROUND:
                raise ValueError(f"round {ballot[0]} is above {MAX_ROUND}, the highest there is")
            self._gather()
            self.promised = ballot
        return ballot == self.promised

    def vote(self, ballot: Ballot, slot: int, value: bytes) -> bool:
        """The rule of 2b: vote, unless a higher ballot was joined. Returns whether the vote is cast.

        A slot that was compacted was chosen, with this value or the proposer could not propose it: the vote
        is cast, and nothing of it need be remembered.

        Raises:
            ProtocolBreach: another value was voted for in this slot at this ballot. Nothing changes.
            ValueError: as `join`.
        """
        if ballot != self.promised and not self.join(ballot):
            return False
        if slot <= self.compacted:
            self.cast.append(slot)
            return True
        votes = self.votes
        vote = votes.get(slot)
        if vote is None:
            votes[slot] = vote = Vote()
            if slot > self.highest:
                self.highest = slot
        try:
            vote.cast(ballot, ballot, value)
        except ProtocolBreach as breach:
            raise ProtocolBreach(f"{breach} in slot {slot}") from None
        self.voted = ballot
        self.cast.append(slot)
        return True

    def answers(self) -> list[Accepted]:
        """What to tell the owner of each ballot of the votes cast since the last call; each told once."""
        self._gather()
        answers, self.gathered = self.gathered, []
        return answers

    def _gather(self) -> None:
        cast = self.cast
        if cast:
            self.cast = []
            runs = _runs(cast)
            for start in range(0, len(runs), MAX_ENTRIES):
                self.gathered.append(
                    _new(Accepted, (self.promised, tuple(runs[start : start + MAX_ENTRIES])))
                )

    def learn(self, slot: int, ballot: Ballot, value: bytes) -> None:
        """Keep what was chosen in a slot, in the place of the vote; `ballot` is one at which it is safe.

        From then on a promise reports it as a vote. That is sound: whoever takes it up proposes what was
        chosen, and no vote for anything else is at a ballot as high. A ballot above the promise is joined.
        """
        self.votes[slot] = Vote(ballot, value)
        self.highest = max(self.highest, slot)
        self.voted = max(self.voted, ballot)
        self.join(ballot)

    def compact(self, slot: int) -> bool:
        """Forget all slots up to `slot`, which are chosen and in a durable snapshot; whether that is news."""
        if slot <= self.compacted:
            return False
        self.compacted = slot
        self.highest = max(self.highest, slot)
        self._leave()
        return True

    def _leave(self) -> None:
        # What was leaving already is still in `votes`, as far as it was not taken.
        self.leaving = sorted((slot for slot in self.votes if slot <= self.compacted), reverse=True)

    def drop(self, most: int) -> list[int]:
        """Up to `most` slots whose records are to be deleted now; memory forgets them at the same time."""
        leaving = self.leaving
        dropped = leaving[-most:]
        if dropped:
            del leaving[-most:]
            for slot in dropped:
                del self.votes[slot]
        return dropped

    def record(self) -> LogRecord:
        """What must be on disk before the last answer leaves."""
        votes = {
            slot: (vote.accepted_ballot, vote.accepted_value)
            for slot, vote in self.votes.items()
            if slot > self.compacted and vote.accepted_value is not None
        }
        return LogRecord(self.promised, votes, self.compacted)

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)(None, self.limits)
        other.promised, other.compacted = self.promised, self.compacted
        other.highest, other.voted = self.highest, self.voted
        other.votes = {slot: Vote(v.accepted_ballot, v.accepted_value) for slot, v in self.votes.items()}
        other.leaving = list(self.leaving)
        other.cast, other.gathered = list(self.cast), list(self.gathered)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for acceptors that behave alike."""
        promised, votes, compacted = self.record()
        return (
            promised,
            frozenset(votes.items()),
            compacted,
            tuple(self.leaving),
            self.voted,
            tuple(self.cast),
        )

    def __repr__(self) -> str:
        return f"<LogAcceptor promised {self.promised}, {len(self.votes)} votes, compacted {self.compacted}>"


def _runs(slots: list[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive slots, rising."""
    first, last = slots[0], slots[-1]
    if last - first == len(slots) - 1 and all(map(_precedes, slots, slots[1:])):
        return [(first, last)]
    runs: list[tuple[int, int]] = []
    for slot in sorted(set(slots)):
        if runs and slot == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], slot)
        else:
            runs.append((slot, slot))
    return runs


def _precedes(slot: int, following: int) -> bool:
    return slot + 1 == following
