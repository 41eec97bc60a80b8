"""What must hold of each acceptor of a log of Fast Paxos: what it remembers, what its disk holds, what it
tells.

See `fastpaxos.log.invariants` for how a run is watched and what the words mean.
"""

from collections.abc import Collection
from typing import ClassVar

from fastpaxos.log.ghosts import durable, replica_of
from fastpaxos.log.messages import (
    Accept,
    Heartbeat,
    Prepare,
    Promise,
    ReadIndex,
    Recover,
    Report,
    Reserved,
    Voted,
)
from fastpaxos.log.records import COMPACTION_KEY, FLOOR_KEY, RESERVATION_KEY, SlotRecord, slot_key
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.log_invariants import at_slot
from paxos.basic.watch import Watch
from paxos.contract import Step
from paxos.errors import RecordError
from paxos.quorum import QuorumSystem

__all__ = ["DurableBeforeSend", "OneVotePerRound", "PromiseMonotone", "PromiseTruthful", "VoteAtMostPromise"]


class DurableBeforeSend(Watch):
    """A message that counts leaves only when its node's disk holds what it reports.

    A Promise: a floor at or above its ballot, the compaction, and each reported vote or a later one. A
    Voted: a vote at or above its ballot. A Report: a promise or vote at or above its ballot. All: or a
    compaction that covers the slot, or what was chosen there. A Reserved, and whatever a coordinator sends:
    a reservation that covers the round, and one that covers this life where the round is nobody's. A
    ReadIndex: its life.
    """

    name = "DurableBeforeSend"
    _when = ()

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._left = {
            Promise: self._promise,
            Voted: self._voted,
            Report: self._report,
            Prepare: self._question,
            Accept: self._question,
            Recover: self._question,
            Heartbeat: self._question,
            Reserved: self._reserved,
            ReadIndex: self._life,
        }

    def observe(self, step: Step) -> str | None:
        """See one step; a sentence naming what broke, or None."""
        try:
            return super().observe(step)
        except RecordError as error:
            return f"node {step.node}: its disk holds what no restart could read: {error}"

    def _promise(self, step: Step, message: Promise) -> str | None:
        floor, compacted = durable(step, FLOOR_KEY).floor, durable(step, COMPACTION_KEY).compacted
        what = f"node {step.node}: a promise of {message.ballot} left"
        if floor < message.ballot:
            return f"{what}, and the disk holds one of {floor}"
        if compacted < message.compacted:
            return f"{what} that tells of a snapshot at {message.compacted}; the disk knows of {compacted}"
        for slot, ballot, _ in message.entries:
            held = _held(step, slot)
            if slot > compacted and not held.chosen and held.ballot < ballot:
                what = f"a promise reports a vote at {ballot}, the disk holds one at {held.ballot}"
                return at_slot(step, slot, what)
        return None

    def _voted(self, step: Step, message: Voted) -> str | None:
        held = _held(step, message.slot)
        if message.slot <= durable(step, COMPACTION_KEY).compacted or held.chosen:
            return None
        if held.ballot < message.ballot:
            what = f"a vote at {message.ballot} left, the disk holds one at {held.ballot}"
            return at_slot(step, message.slot, what)
        return None

    def _report(self, step: Step, message: Report) -> str | None:
        held, floor = _held(step, message.slot), durable(step, FLOOR_KEY).floor
        if message.slot <= durable(step, COMPACTION_KEY).compacted or held.chosen:
            return None
        if max(held.promised, held.ballot, floor) < message.ballot:
            what = f"a promise of {message.ballot} left, the disk holds one of {held.promised}"
            return at_slot(step, message.slot, what)
        return None

    def _question(self, step: Step, message: Prepare | Accept | Recover | Heartbeat) -> str | None:
        reserved = durable(step, RESERVATION_KEY).reserved
        if max(message.ballot.round, 1) <= reserved:
            return None
        what = f"a {type(message).__name__} of {message.ballot} left"
        return f"node {step.node}: {what}, and the disk covers rounds up to {reserved} only"

    def _reserved(self, step: Step, message: Reserved) -> str | None:
        reserved = durable(step, RESERVATION_KEY).reserved
        if message.round <= reserved:
            return None
        return f"node {step.node}: rounds up to {message.round} count as reserved, the disk covers {reserved}"

    def _life(self, step: Step, message: ReadIndex) -> str | None:
        reserved = durable(step, RESERVATION_KEY).reserved
        if message.life <= reserved:
            return None
        return f"node {step.node}: asks for a read in life {message.life}, the disk covers {reserved}"


def _held(step: Step, slot: int) -> SlotRecord:
    """What the disk holds of a slot."""
    found = durable(step, slot_key(slot)).slots
    return found.get(slot, SlotRecord(BOTTOM, BOTTOM, None, False))


class OneVotePerRound(Watch):
    """An acceptor votes for one value at a ballot of a slot; over a restart too, for what had left."""

    name = "OneVotePerRound"
    _when = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._now: dict[NodeId, dict[tuple[int, Ballot], bytes]] = {}
        self._ever: dict[NodeId, dict[tuple[int, Ballot], bytes]] = {}
        self._created = {Voted: self._vote}
        self._left = {Voted: self._vote_left}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._now[step.node] = dict(self._ever.get(step.node, {}))
        return None

    def _vote(self, step: Step, message: Voted) -> str | None:
        ballot, slot, value = message
        known = self._now.setdefault(step.node, {}).setdefault((slot, ballot), value)
        if known == value:
            return None
        return at_slot(step, slot, f"votes at {ballot} for {value!r:.60}, and voted there for {known!r:.60}")

    def _vote_left(self, step: Step, message: Voted) -> str | None:
        self._ever.setdefault(step.node, {})[message.slot, message.ballot] = message.value
        return self._vote(step, message)


class _Joined:
    """What one acceptor promised: for all slots, and in each; and its highest vote in each."""

    __slots__ = ("floor", "slots", "votes")

    def __init__(self) -> None:
        self.floor: Ballot = BOTTOM
        self.slots: dict[int, Ballot] = {}
        self.votes: dict[int, tuple[Ballot, bytes]] = {}

    def of(self, slot: int) -> Ballot:
        return max(self.floor, self.slots.get(slot, BOTTOM))

    def take(self, message: Promise | Report | Voted) -> None:
        if isinstance(message, Promise):
            self.floor = max(self.floor, message.ballot)
        else:
            self.slots[message.slot] = max(self.slots.get(message.slot, BOTTOM), message.ballot)
        if isinstance(message, Voted) and message.ballot > self.votes.get(message.slot, (BOTTOM, b""))[0]:
            self.votes[message.slot] = (message.ballot, message.value)

    def copy(self) -> "_Joined":
        other = _Joined()
        other.floor, other.slots, other.votes = self.floor, dict(self.slots), dict(self.votes)
        return other


class _Joining(Watch):
    """What acceptors promised and voted: in this life, and in any what had left."""

    _when: ClassVar[Collection[str | type]] = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._now: dict[NodeId, _Joined] = {}
        self._ever: dict[NodeId, _Joined] = {}
        self._created = {Promise: self._made, Report: self._made, Voted: self._made}
        self._left = {Promise: self._leaves, Report: self._leaves, Voted: self._leaves}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._now[step.node] = self._ever.setdefault(step.node, _Joined()).copy()
        return None

    def _made(self, step: Step, message: Promise | Report | Voted) -> str | None:
        ghost = self._now.setdefault(step.node, _Joined())
        said = self._judge(step, ghost, message)
        ghost.take(message)
        return said

    def _leaves(self, step: Step, message: Promise | Report | Voted) -> str | None:
        self._ever.setdefault(step.node, _Joined()).take(message)
        return None

    def _judge(self, step: Step, ghost: _Joined, message: Promise | Report | Voted) -> str | None:
        return None


class PromiseMonotone(_Joining):
    """A promise never goes down, for all slots or for one, over a restart too as far as it had left."""

    name = "PromiseMonotone"
    _when = ("crash", "restart", "receive", "tick", "request", "durable")

    def _before(self, step: Step) -> str | None:
        super()._before(step)
        replica = replica_of(step)
        ghost = self._now.get(step.node)
        if replica is None or ghost is None:
            return None
        if replica.acceptor.floor < ghost.floor:
            return f"node {step.node}: promised {ghost.floor} and stands at {replica.acceptor.floor}"
        message = step.message
        if isinstance(message, Report | Voted | Accept | Recover) and message.slot in ghost.slots:
            slot, held = message.slot, replica.acceptor.slots.get(message.slot)
            if slot <= replica.acceptor.compacted or (held is not None and held.chosen):
                return None
            if replica.acceptor.promised(slot) < ghost.slots[slot]:
                what = f"promised {ghost.slots[slot]} and stands at {replica.acceptor.promised(slot)}"
                return at_slot(step, slot, what)
        return None


class VoteAtMostPromise(_Joining):
    """No vote is cast below a promise given before, for all slots or for this one.

    A vote told again is below, and was cast before: it is one that had been told.
    """

    name = "VoteAtMostPromise"

    def _judge(self, step: Step, ghost: _Joined, message: Promise | Report | Voted) -> str | None:
        if not isinstance(message, Voted):
            return None
        ballot, slot, _ = message
        if ballot >= ghost.of(slot) or ghost.votes.get(slot, (BOTTOM, b""))[0] >= ballot:
            return None
        if _held(step, slot).ballot >= ballot:
            return None  # it was cast in an earlier life, and never left
        return at_slot(step, slot, f"votes at {ballot}, and had promised {ghost.of(slot)}")


class PromiseTruthful(_Joining):
    """A promise reports the acceptor's highest vote, for one slot or for each that its page spans.

    Or what it was told was chosen there. It leaves out no slot voted in, unless that is in a snapshot.
    """

    name = "PromiseTruthful"

    def _judge(self, step: Step, ghost: _Joined, message: Promise | Report | Voted) -> str | None:
        if isinstance(message, Report):
            if message.vote >= message.ballot:
                return at_slot(step, message.slot, f"a promise of {message.ballot} reports {message.vote}")
            return self._compare(step, ghost, message.slot, (message.vote, message.value), message.ballot)
        if not isinstance(message, Promise):
            return None
        ballot, first, entries, following, compacted = message
        told = {slot: (vote, value) for slot, vote, value in entries}
        for slot, (vote, _) in told.items():
            if vote >= ballot:
                return at_slot(step, slot, f"a promise of {ballot} reports a vote at {vote}")
        for slot in ghost.votes:
            if slot < first or slot <= compacted or (following and slot >= following):
                continue
            said = self._compare(step, ghost, slot, told.get(slot, (BOTTOM, None)), ballot)
            if said is not None:
                return said
        return None

    def _compare(
        self, step: Step, ghost: _Joined, slot: int, told: tuple[Ballot, bytes | None], promised: Ballot
    ) -> str | None:
        replica = replica_of(step)
        held = None if replica is None else replica.acceptor.slots.get(slot)
        cast = ghost.votes.get(slot, (BOTTOM, None))
        if cast[0] >= promised or (held is not None and held.chosen and told[1] == held.accepted_value):
            return None
        if told[0] < cast[0] or (told[0] == cast[0] and told[1] != cast[1]):
            what = f"a promise of {promised} reports {told[1]!r:.60} at {told[0]}"
            return at_slot(step, slot, f"{what}, and there is a vote for {cast[1]!r:.60} at {cast[0]}")
        return None
