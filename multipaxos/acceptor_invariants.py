"""What must hold of each acceptor of a log, by name: what it remembers, what its disk holds, what it tells.

See `multipaxos.invariants` for how a run is watched and what the words mean.
"""

from multipaxos.ghosts import at, durable, replica_of
from multipaxos.messages import (
    Accept,
    Accepted,
    Chosen,
    Heartbeat,
    Prepare,
    Promise,
    ReadIndex,
    Reserved,
)
from multipaxos.records import (
    COMPACTION_KEY,
    PROMISE_KEY,
    RESERVATION_KEY,
    slot_key,
)
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.watch import Watch
from paxos.contract import Step
from paxos.errors import RecordError
from paxos.quorum import QuorumSystem

__all__ = ["DurableBeforeSend", "PromiseMonotone", "PromiseTruthful", "VoteAtMostPromise"]


class DurableBeforeSend(Watch):
    """A message that counts leaves only when its node's disk holds what it reports.

    A Promise: a promise at or above its ballot, the compaction, and each reported vote or a later one. An
    Accepted: a vote at or above its ballot in each slot. Both: or a compaction that covers the slot, or what
    was chosen there, which takes the place of a vote and says as much. A
    Reserved, and a Prepare, Accept or Heartbeat of the node's own: a reservation that covers the round. A
    ReadIndex: one that covers its life.
    """

    name = "DurableBeforeSend"
    _when = ()

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._left = {
            Promise: self._promise,
            Accepted: self._accepted,
            Prepare: self._question,
            Accept: self._question,
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
        promised, compacted = durable(step, PROMISE_KEY).promised, durable(step, COMPACTION_KEY).compacted
        what = f"node {step.node}: a promise of {message.ballot} left"
        if promised < message.ballot:
            return f"{what}, and the disk holds one of {promised}"
        if compacted < message.compacted:
            return f"{what} that tells of a snapshot at {message.compacted}; the disk knows of {compacted}"
        for slot, ballot, _ in message.entries:
            held = _held(step, slot)
            if slot > compacted and held is not None and held < ballot:
                return at(step, slot, f"a promise reports a vote at {ballot}, the disk holds one at {held}")
        return None

    def _accepted(self, step: Step, message: Accepted) -> str | None:
        compacted = durable(step, COMPACTION_KEY).compacted
        for first, last in message.runs:
            for slot in range(max(first, compacted + 1), last + 1):
                held = _held(step, slot)
                if held is not None and held < message.ballot:
                    return at(step, slot, f"a vote at {message.ballot} left, the disk holds one at {held}")
        return None

    def _question(self, step: Step, message: Prepare | Accept | Heartbeat) -> str | None:
        reserved = durable(step, RESERVATION_KEY).reserved
        if message.ballot.round <= reserved:
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


def _held(step: Step, slot: int) -> Ballot | None:
    """The ballot of the vote that the disk holds in a slot; None if it holds what was chosen there."""
    found = durable(step, slot_key(slot))
    return None if slot in found.chosen else found.votes.get(slot, (BOTTOM, b""))[0]


class _Promised:
    """The highest ballot an acceptor answered: created in this life, and left in any."""

    __slots__ = ("left", "now")

    def __init__(self) -> None:
        self.now: Ballot = BOTTOM
        self.left: Ballot = BOTTOM


class PromiseMonotone(Watch):
    """An acceptor's promise never goes down and is never below an answer it gave, in whatever slot.

    Over a restart it is at least every promise and every vote that had left.
    """

    name = "PromiseMonotone"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._promised: dict[NodeId, _Promised] = {}
        self._created = {Promise: self._answers, Accepted: self._answers}
        self._left = {Promise: self._leaves, Accepted: self._leaves}

    def _before(self, step: Step) -> str | None:
        ghost = self._promised.setdefault(step.node, _Promised())
        if step.action == "crash":
            ghost.now = ghost.left
        return self._compare(step, ghost)

    def _answers(self, step: Step, message: Promise | Accepted) -> str | None:
        ghost = self._promised[step.node]
        ghost.now = max(ghost.now, message.ballot)
        return self._compare(step, ghost)

    def _leaves(self, step: Step, message: Promise | Accepted) -> str | None:
        ghost = self._promised[step.node]
        ghost.left = max(ghost.left, message.ballot)
        return None

    @staticmethod
    def _compare(step: Step, ghost: _Promised) -> str | None:
        replica = replica_of(step)
        if replica is None:
            return None
        promised = replica.acceptor.promised
        if promised < ghost.now:
            return f"node {step.node}: promised {ghost.now} and stands at {promised}"
        ghost.now = promised
        return None


class VoteAtMostPromise(Watch):
    """No vote of an acceptor is at a ballot above its promise."""

    name = "VoteAtMostPromise"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._created = {Accepted: self._voted, Promise: self._voted}

    def _voted(self, step: Step, message: Promise | Accepted) -> str | None:
        replica = replica_of(step)
        if replica is None or replica.acceptor.voted <= replica.acceptor.promised:
            return None
        promised = replica.acceptor.promised
        return f"node {step.node}: voted at {replica.acceptor.voted} and promised {promised}"


class _Votes:
    """The highest vote of an acceptor in each slot: cast in this life, and left in any; and its promise."""

    __slots__ = ("learned", "left", "now", "promised_left", "promised_now")

    def __init__(self) -> None:
        # In which slots it was told what was chosen, and at which ballots.
        self.learned: set[tuple[int, Ballot]] = set()
        self.now: dict[int, Ballot] = {}
        self.left: dict[int, Ballot] = {}
        self.promised_now: Ballot = BOTTOM
        self.promised_left: Ballot = BOTTOM

    def restarted(self) -> None:
        self.now = dict(self.left)
        self.promised_now = self.promised_left


class PromiseTruthful(Watch):
    """A page of a promise reports the acceptor's highest vote in each slot it spans, at its very value.

    It may report another ballot than the acceptor voted at, where it was told what was chosen, but nothing
    that nobody proposed; it leaves out no slot voted in, unless that is in a snapshot. And no vote below a
    ballot promised is cast later.
    """

    name = "PromiseTruthful"
    _when = ("crash", Chosen)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._votes: dict[NodeId, _Votes] = {}
        self._proposed: dict[tuple[Ballot, int], bytes] = {}
        self._created = {Accept: self._proposal, Promise: self._promise, Accepted: self._vote}
        self._left = {Promise: self._promise_left, Accepted: self._vote_left}

    def _of(self, node: NodeId) -> _Votes:
        return self._votes.setdefault(node, _Votes())

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._of(step.node).restarted()
        elif isinstance(step.message, Chosen):
            learned = self._of(step.node).learned
            learned.update(
                (slot, vote) for slot, (vote, _) in enumerate(step.message.entries, step.message.first)
            )
        return None

    def _proposal(self, step: Step, message: Accept) -> str | None:
        self._proposed.setdefault((message.ballot, message.slot), message.value)
        return None

    def _promise(self, step: Step, message: Promise) -> str | None:
        ballot, first, entries, following, compacted = message
        ghost = self._of(step.node)
        reported = {slot: (vote, value) for slot, vote, value in entries}
        for slot, (vote, value) in reported.items():
            if vote >= ballot:
                return at(step, slot, f"a promise of {ballot} reports a vote at {vote}")
            if len(self._quorums.members) == 1:
                # Who is alone sends no question to anybody: what it proposed is what it voted for.
                self._proposed.setdefault((vote, slot), value)
            if self._proposed.get((vote, slot)) != value:
                return at(step, slot, f"a promise reports {value!r:.60} at {vote}, which nobody proposed")
        for slot, vote in ghost.now.items():
            if slot < first or slot <= compacted or (following and slot >= following) or vote >= ballot:
                continue
            told = reported.get(slot, (BOTTOM, b""))[0]
            if told < vote and (slot, told) not in ghost.learned:
                return at(step, slot, f"a promise of {ballot} reports {told}, and there is a vote at {vote}")
        ghost.promised_now = max(ghost.promised_now, ballot)
        return None

    def _vote(self, step: Step, message: Accepted) -> str | None:
        ghost, ballot = self._of(step.node), message.ballot
        for first, last in message.runs:
            for slot in range(first, last + 1):
                if ballot > ghost.now.get(slot, BOTTOM):
                    if ballot < ghost.promised_now:
                        return at(step, slot, f"votes at {ballot} after it promised {ghost.promised_now}")
                    ghost.now[slot] = ballot
        return None

    def _promise_left(self, step: Step, message: Promise) -> str | None:
        ghost = self._of(step.node)
        ghost.promised_left = max(ghost.promised_left, message.ballot)
        return None

    def _vote_left(self, step: Step, message: Accepted) -> str | None:
        left = self._of(step.node).left
        for first, last in message.runs:
            for slot in range(first, last + 1):
                left[slot] = max(left.get(slot, BOTTOM), message.ballot)
        return None
