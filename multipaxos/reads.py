"""Linearizable reads without a slot of their own: the read index.

A leader that is asked for a read takes its commit index, and has a phase-2 quorum confirm that it still
leads: nobody in that quorum had joined a higher ballot when it answered a heartbeat that was sent after the
read came. So no later leader can have committed anything before, and the index covers whatever was
acknowledged when the read began. Until every slot that its phase 1 reported, or left as a gap, is
committed, a new leader does not know what its predecessor acknowledged, and reads wait.

Many reads share one round: those that come while one is under way wait for the next.  A follower asks its
leader for an index, for many reads at once, and the two numbers in its question keep an answer to an earlier
question, or to an earlier life of the follower, from serving later reads.

Source: Ongaro, *Consensus: Bridging Theory and Practice* (2014), section 6.4. The quorum is one of phase 2,
which meets the phase-1 quorum of every later leader.
"""

from collections import deque
from typing import Final, NamedTuple, Self

from multipaxos.context import NEVER_S, Context
from multipaxos.messages import ReadAt, ReadIndex
from multipaxos.proposer import Leader
from paxos.ballot import NodeId
from paxos.command import RequestId
from paxos.contract import Outcome, OutcomeKind

__all__ = ["Asked", "FollowerReads", "LeaderReads"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


class Asked(NamedTuple):
    """A follower's question, as its leader keeps it: who, and the two numbers."""

    node: NodeId
    life: int
    number: int


class LeaderReads:
    """Reads that wait for confirmation at a leader; made anew for every leadership.

    Attributes:
        waiting: reads that need a round begun after they came.
    """

    __slots__ = ("_round", "waiting")

    def __init__(self) -> None:
        self.waiting: list[RequestId | Asked] = []
        # The round under way: the heartbeat that must be answered, the index, and whose it is.
        self._round: tuple[int, int, list[RequestId | Asked]] | None = None

    def add(self, read: RequestId | Asked, context: Context) -> bool:
        """Keep a read until it is confirmed; False when too many wait."""
        if len(self.waiting) >= context.settings.pending_reads:
            return False
        self.waiting.append(read)
        return True

    def wants_round(self, leader: Leader) -> bool:
        """Whether a heartbeat should be sent for reads that wait."""
        return bool(self.waiting) and self._round is None and leader.committed >= leader.owed

    def begin(self, leader: Leader) -> None:
        """The heartbeat numbered `leader.sequence` is sent now, and every read that came is before it."""
        self._round = (leader.sequence, leader.committed, self.waiting)
        self.waiting = []

    def finish(self, leader: Leader, context: Context) -> None:
        """Answer the reads of the round, once it is confirmed."""
        if self._round is None or not leader.is_confirmed(self._round[0]):
            return
        _, slot, reads = self._round
        self._round = None
        self._answer(reads, slot, context)

    def serve(self, leader: Leader, context: Context) -> None:
        """Answer the reads that wait, without a round: no other leader can have committed anything."""
        reads, self.waiting = self.waiting, []
        self._answer(reads, leader.committed, context)

    @staticmethod
    def _answer(reads: list[RequestId | Asked], slot: int, context: Context) -> None:
        for read in reads:
            if isinstance(read, Asked):
                context.send(read.node, ReadAt(read.life, read.number, slot))
            else:
                context.out.outcomes.append(_new(Outcome, (read, OutcomeKind.READY, slot, None, "")))

    def drop(self, request: RequestId) -> None:
        """Nobody waits for this read any more."""
        for reads in (self.waiting, self._round[2] if self._round else []):
            if request in reads:
                reads.remove(request)

    def take_all(self) -> list[RequestId]:
        """This node's own reads that wait; they are kept no longer."""
        reads = (self._round[2] if self._round else []) + self.waiting
        self.waiting, self._round = [], None
        return [read for read in reads if not isinstance(read, Asked)]

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)()
        other.waiting = list(self.waiting)
        if self._round is not None:
            sequence, slot, reads = self._round
            other._round = (sequence, slot, list(reads))
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        under_way = self._round and (*self._round[:2], tuple(self._round[2]))
        return (tuple(self.waiting), under_way)


class FollowerReads:
    """Reads of a node that does not lead: it asks the leader for their index.

    Attributes:
        waiting: reads that no question is out for.
        repeat_at_s: when to repeat the question that is out.
    """

    __slots__ = ("_asked", "_delay_s", "_number", "repeat_at_s", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[RequestId] = deque()
        # The reads of the question that is out.
        self._asked: list[RequestId] = []
        self._number = 0
        self._delay_s = 0.0
        self.repeat_at_s: float = NEVER_S

    def add(self, request: RequestId, context: Context) -> bool:
        """Keep a read until the leader named its index; False when too many wait."""
        if len(self.waiting) + len(self._asked) >= context.settings.pending_reads:
            return False
        self.waiting.append(request)
        return True

    def ask(self, life: int, leader: NodeId, context: Context, now_s: float) -> None:
        """Ask for all reads that wait, unless a question is out."""
        if self.waiting and not self._asked:
            self._asked, self.waiting = list(self.waiting), deque()
            self._number += 1
            self._delay_s = context.settings.repeat_s
            self.repeat_at_s = now_s + self._delay_s
            context.send(leader, ReadIndex(life, self._number))

    def repeat(self, life: int, leader: NodeId | None, context: Context, now_s: float) -> None:
        """Ask again, unless nobody waits."""
        if not self._asked:
            self.repeat_at_s = NEVER_S
            return
        if leader is not None:
            context.send(leader, ReadIndex(life, self._number))
        self._delay_s = min(self._delay_s * 2, context.settings.repeat_max_s)
        self.repeat_at_s = now_s + self._delay_s

    def on_read_at(self, message: ReadAt, life: int, context: Context) -> None:
        """The leader named a slot for the question that is out; anything else changes nothing."""
        if not self._asked or message.life != life or message.number != self._number:
            return
        for request in self._asked:
            outcome = _new(Outcome, (request, OutcomeKind.READY, message.slot, None, ""))
            context.out.outcomes.append(outcome)
        self._asked = []
        self.repeat_at_s = NEVER_S

    def drop(self, request: RequestId) -> None:
        """Nobody waits for this read any more."""
        if request in self.waiting:
            self.waiting.remove(request)
        if request in self._asked:
            self._asked.remove(request)

    def ask_again(self) -> None:
        """Another node leads: what was asked of the one before is asked of it."""
        self.waiting.extendleft(reversed(self._asked))
        self._asked = []
        self.repeat_at_s = NEVER_S

    def take_all(self) -> list[RequestId]:
        """The reads that wait; they are kept no longer."""
        reads = [*self._asked, *self.waiting]
        self._asked, self.waiting = [], deque()
        self.repeat_at_s = NEVER_S
        return reads

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)()
        other.waiting, other._asked = deque(self.waiting), list(self._asked)
        other._number, other._delay_s = self._number, self._delay_s
        other.repeat_at_s = self.repeat_at_s
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (tuple(self.waiting), tuple(self._asked), self._number)
