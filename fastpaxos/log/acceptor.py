"""The acceptor of the log: one promise for all slots, a higher one for a slot alone, and a vote for each.

The *floor* is the promise of phase 1, for every slot there is and will be. A slot of its own may have a
higher one: a vote there is a promise, and so is the answer to a Recover. They must not raise the floor: one
collision would end the fast ballot of every slot.

At a fast ballot the acceptor votes for the first value that reaches it. A Propose says by itself that its
ballot is open in its slot: who sends one was told so by the coordinator, after phase 1 had shown that nothing
was voted for there below.

A promise tells of every vote from a slot on, in pages, one for each question. The acceptor need not remember
where a candidate is: a page is good when the acceptor still stands at the candidate's ballot, because then it
has cast no vote below that ballot since it gave the first one. A candidate is refused as long as a promise
above its ballot was given in any slot whatever.

What is known to be chosen in a slot takes the place of another vote there, and is voted against no more; what
a snapshot covers is forgotten, and voted on no more.

Source: Lamport, *Fast Paxos* (2006), section 3.1; for many slots at once *Paxos Made Simple* (2001),
section 3.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from fastpaxos.acceptor import FastVote
from fastpaxos.log.messages import Nack, Prepare, Promise, Recover, Report
from fastpaxos.log.records import SlotRecord
from fastpaxos.rounds import OPEN, Rounds
from paxos.ballot import BOTTOM, Ballot
from paxos.errors import ProtocolBreach
from paxos.wire import MAX_ROUND

__all__ = ["LogAcceptor", "PageLimits", "SlotVote"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__
#: Bytes that an entry takes in a page beside its value.
_ENTRY_BYTES: Final = 24


class PageLimits(NamedTuple):
    """How much goes into one page: slots, and bytes; a page has at least one slot, however large."""

    slots: int = 4096
    bytes: int = 1 << 20


class SlotVote(FastVote[bytes]):
    """What an acceptor holds of one slot.

    Attributes:
        promised: a promise for this slot alone; BOTTOM for none. A vote is one too.
        chosen: whether the value is known to be what was chosen; then the ballot is one at which it is safe.
    """

    __slots__ = ("chosen", "promised")

    def __init__(self, record: SlotRecord | None = None) -> None:
        if record is None:
            super().__init__()
            self.promised: Ballot = BOTTOM
            self.chosen: bool = False
        else:
            super().__init__(record.ballot, record.value)
            self.promised = record.promised
            self.chosen = record.chosen

    @property
    def joined(self) -> Ballot:
        """The highest ballot taken part in, in this slot alone."""
        return max(self.promised, self.accepted_ballot)

    def record(self) -> SlotRecord:
        """What must be on disk."""
        return SlotRecord(self.promised, self.accepted_ballot, self.accepted_value, self.chosen)


class LogAcceptor:
    """Remembers a floor and, per slot, a promise and a vote.

    What it returns reports durable state: what changed must be on disk before it is sent.

    Args:
        rounds: which ballots are fast.
        floor: the promise for all slots that was on disk.
        slots: the slots' records that were on disk.
        compacted: every slot up to this one was chosen and is in a snapshot.
        limits: of a page.

    Attributes:
        floor: the promise for all slots.
        slots: what is held of each slot above `compacted`; slots below may still be on their way out.
        compacted: every slot up to this one was chosen and is in a snapshot.
        highest: no slot above this one has a vote, or is known to be chosen.
        joined: the highest ballot promised in any slot.
        voted: no slot's vote is at a ballot above this one.
        leaving: slots whose records are still to be deleted, highest first.

    Source: Lamport, *Fast Paxos*, section 3.1.
    """

    __slots__ = ("compacted", "floor", "highest", "joined", "leaving", "limits", "rounds", "slots", "voted")

    def __init__(
        self,
        rounds: Rounds,
        floor: Ballot = OPEN,
        slots: dict[int, SlotRecord] | None = None,
        compacted: int = 0,
        limits: PageLimits | None = None,
    ) -> None:
        self.rounds: Rounds = rounds
        self.floor: Ballot = floor
        self.slots: dict[int, SlotVote] = {slot: SlotVote(each) for slot, each in (slots or {}).items()}
        self.compacted: int = compacted
        self.limits: PageLimits = limits or PageLimits()
        held = [slot for slot, each in self.slots.items() if each.accepted_value is not None]
        self.highest: int = max(held, default=0)
        self.highest = max(self.highest, compacted)
        self.voted: Ballot = max((each.accepted_ballot for each in self.slots.values()), default=BOTTOM)
        self.joined: Ballot = max([floor, *(each.joined for each in self.slots.values())])
        self.leaving: list[int] = []
        if compacted:
            self._leave()

    # --- promises ----------------------------------------------------------------------------------

    def promised(self, slot: int) -> Ballot:
        """Nothing below this is taken part in, in this slot."""
        vote = self.slots.get(slot)
        return self.floor if vote is None else max(self.floor, vote.promised, vote.accepted_ballot)

    def join(self, ballot: Ballot) -> bool:
        """Take part in nothing below `ballot` any more, in any slot; whether that raised the floor.

        Raises:
            ValueError: there is no such ballot. Nothing changes.
        """
        if ballot <= self.floor:
            return False
        self._check(ballot)
        self.floor = ballot
        if ballot > self.joined:
            self.joined = ballot
        return True

    def on_prepare(self, message: Prepare) -> Promise | Nack | None:
        """1b for all slots: raise the floor, and report a page of votes.

        Silence is the answer to a candidate that is already past phase 1: a promise never reports a vote at
        its own ballot.

        Raises:
            ValueError: there is no such ballot. Nothing changes.
        """
        ballot, first = message
        if ballot < self.joined:
            # A promise above it, be it for one slot: what it would report there is not for this candidate.
            return _new(Nack, (ballot, self.joined))
        self.join(ballot)
        if self.voted >= ballot:
            return None
        slots, (most_slots, most_bytes) = self.slots, self.limits
        entries: list[tuple[int, Ballot, bytes]] = []
        size = 0
        low = max(first, self.compacted + 1)
        wanted: Iterable[int] = range(low, self.highest + 1)
        if self.highest - low > 2 * len(slots):
            wanted = sorted(slot for slot in slots if slot >= low)  # few, and far between
        for slot in wanted:
            vote = slots.get(slot)
            if vote is None or vote.accepted_value is None:
                continue
            size += _ENTRY_BYTES + len(vote.accepted_value)
            if entries and (len(entries) >= most_slots or size > most_bytes):
                return _new(Promise, (ballot, first, tuple(entries), slot, self.compacted))
            entries.append((slot, vote.accepted_ballot, vote.accepted_value))
        return _new(Promise, (ballot, first, tuple(entries), 0, self.compacted))

    def on_recover(self, message: Recover) -> Report | Nack | None:
        """1b for one slot: promise there alone, and report the vote.

        Silence is the answer where the slot is forgotten, or a vote at this very ballot was cast.

        Raises:
            ValueError: there is no such ballot. Nothing changes.
        """
        ballot, slot = message
        promised = self.promised(slot)
        if ballot < promised:
            return _new(Nack, (ballot, promised))
        if slot <= self.compacted:
            return None
        self._check(ballot)
        vote = self._slot(slot)
        if vote.accepted_ballot == ballot:
            return None
        vote.promised = ballot
        if ballot > self.joined:
            self.joined = ballot
        return _new(Report, (ballot, slot, vote.accepted_ballot, vote.accepted_value))

    # --- votes -------------------------------------------------------------------------------------

    def vote(self, ballot: Ballot, slot: int, value: bytes) -> bool:
        """The rule of 2b: vote, unless a higher ballot was joined or it is too late. Whether it is cast now.

        It is too late where something is known to be chosen, and where there is a vote at this ballot: that
        is never replaced.

        Raises:
            ProtocolBreach: another value was voted for in this slot at this classic ballot. Nothing changes.
            ValueError: there is no such ballot. Nothing changes.
        """
        if slot <= self.compacted:
            return False
        vote = self.slots.get(slot)
        if vote is not None:
            if vote.chosen or ballot < vote.promised or ballot < vote.accepted_ballot:
                return False
            if ballot == vote.accepted_ballot:
                if value != vote.accepted_value and not self.rounds.is_fast(ballot):
                    raise ProtocolBreach(
                        f"OneValuePerBallot: asked to accept two values at ballot {ballot} in slot {slot}"
                    )
                return False
        if ballot < self.floor:
            return False
        self._check(ballot)
        vote = self._slot(slot)
        vote.cast_at(self.floor, ballot, value, self.rounds)
        self.voted = max(self.voted, ballot)
        if ballot > self.joined:
            self.joined = ballot
        self.highest = max(self.highest, slot)
        return True

    def learn(self, slot: int, ballot: Ballot, value: bytes) -> bool:
        """Keep what was chosen in a slot, in the place of a vote for something else; `ballot` is where.

        From then on a promise reports it as a vote. That is sound: whoever takes it up proposes what was
        chosen, and whatever else can be picked from votes as high is the same.

        Returns:
            Whether the slot's record changed in what matters; else the vote was for it already.
        """
        vote = self._slot(slot)
        self.highest = max(self.highest, slot)
        if vote.accepted_value == value:
            vote.chosen = True
            return False
        vote.accepted_ballot, vote.accepted_value, vote.chosen = ballot, value, True
        # A candidate at or below that ballot was told of another vote here, or is to be told of none.
        self.voted = max(self.voted, ballot)
        self.joined = max(self.joined, ballot)
        return True

    def _slot(self, slot: int) -> SlotVote:
        vote = self.slots.get(slot)
        if vote is None:
            self.slots[slot] = vote = SlotVote()
        return vote

    def _check(self, ballot: Ballot) -> None:
        if not self.rounds.is_ballot(ballot) or not 0 <= ballot[0] <= MAX_ROUND:
            raise ValueError(f"there is no ballot {ballot}")

    # --- forgetting ----------------------------------------------------------------------------------

    def compact(self, slot: int) -> bool:
        """Forget all slots up to `slot`, which are chosen and in a durable snapshot; whether that is news."""
        if slot <= self.compacted:
            return False
        self.compacted = slot
        self.highest = max(self.highest, slot)
        self._leave()
        return True

    def _leave(self) -> None:
        # What was leaving already is still in `slots`, as far as it was not taken.
        self.leaving = sorted((slot for slot in self.slots if slot <= self.compacted), reverse=True)

    def drop(self, most: int) -> list[int]:
        """Up to `most` slots whose records are to be deleted now; memory forgets them at the same time."""
        leaving = self.leaving
        dropped = leaving[-most:]
        if dropped:
            del leaving[-most:]
            for slot in dropped:
                del self.slots[slot]
        return dropped

    # --- copies ----------------------------------------------------------------------------------------

    def clone(self) -> Self:
        """An independent copy."""
        slots = {slot: vote.record() for slot, vote in self.slots.items()}
        other = type(self)(self.rounds, self.floor, slots, self.compacted, self.limits)
        other.highest, other.joined, other.voted = self.highest, self.joined, self.voted
        other.leaving = list(self.leaving)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for acceptors that behave alike."""
        slots = frozenset((slot, vote.record()) for slot, vote in self.slots.items())
        return (self.floor, slots, self.compacted, self.highest, self.joined, self.voted, tuple(self.leaving))

    def __repr__(self) -> str:
        return f"<LogAcceptor floor {self.floor}, {len(self.slots)} slots, compacted {self.compacted}>"
