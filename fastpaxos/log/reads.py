"""Linearizable reads without a slot of their own, at any node and with no leader: ask a quorum.

A replica asks all members for the last slot that each voted in, or knows of. Whatever was acknowledged when
the read began was chosen by a quorum, fast or classic, and a phase-1 quorum meets every one of these: so the
highest slot that such a quorum names is not below any of them, and a state that has applied everything up to
it is fresh. Slots named that nothing is chosen in yet are recovered by the coordinator, like any other.

Many reads share one question: those that come while one is out wait for the next. The two numbers in a
question keep an answer to an earlier one, or to an earlier life of this node, from serving later reads.

The answer tells of votes in memory, of which some may be lost in a crash: it names too much then, and never
too little, since a vote that somebody counted was on disk.
"""

from collections import deque
from typing import Final, Self

from fastpaxos.log.context import NEVER_S, Context
from fastpaxos.log.messages import ReadAt, ReadIndex
from paxos.ballot import NodeId
from paxos.command import RequestId
from paxos.contract import Outcome, OutcomeKind
from paxos.quorum import Phase

__all__ = ["QuorumReads"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


class QuorumReads:
    """Reads that wait for their place.

    Attributes:
        waiting: reads that no question is out for.
        repeat_at_s: when to repeat the question that is out.
    """

    __slots__ = ("_answers", "_asked", "_delay_s", "_number", "repeat_at_s", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[RequestId] = deque()
        # The reads of the question that is out, and what was answered.
        self._asked: list[RequestId] = []
        self._answers: dict[NodeId, int] = {}
        self._number = 0
        self._delay_s = 0.0
        self.repeat_at_s: float = NEVER_S

    def add(self, request: RequestId, context: Context) -> None:
        """Keep a read until its place is known, unless too many wait."""
        many = context.settings.pending_reads
        if len(self.waiting) + len(self._asked) >= many:
            context.reject(request, f"{many} reads wait at node {context.node}; try again")
        else:
            self.waiting.append(request)

    @property
    def is_asking(self) -> bool:
        """Whether a question is out."""
        return bool(self._asked)

    def ask(self, life: int, highest: int, context: Context, now_s: float) -> None:
        """Ask for all reads that wait, unless a question is out.

        Args:
            life: the number of this node's life, durable.
            highest: the last slot that this node voted in or knows of.
            context: the replica's.
            now_s: the time.
        """
        while self.waiting and not self._asked:
            self._asked, self.waiting = list(self.waiting), deque()
            self._number += 1
            self._answers = {}
            self._delay_s = context.settings.repeat_s
            self.repeat_at_s = now_s + self._delay_s
            context.send_members(ReadIndex(life, self._number))
            if context.is_member:
                self._count(context.node, highest, context)

    def repeat(self, life: int, context: Context, now_s: float) -> None:
        """Ask those again that have not answered, unless nobody waits."""
        if not self._asked:
            self.repeat_at_s = NEVER_S
            return
        for member in context.other_members:
            if member not in self._answers:
                context.send(member, ReadIndex(life, self._number))
        self._delay_s = min(self._delay_s * 2, context.settings.repeat_max_s)
        self.repeat_at_s = now_s + self._delay_s

    def on_read_at(self, sender: NodeId, message: ReadAt, life: int, context: Context) -> int:
        """A member answered; the slot that the reads of the question wait for, when this completes a quorum.

        An answer to another question, or of another life, changes nothing.
        """
        if not self._asked or message.life != life or message.number != self._number:
            return 0
        return self._count(sender, message.slot, context)

    def _count(self, sender: NodeId, slot: int, context: Context) -> int:
        self._answers[sender] = slot
        if not context.quorums.is_quorum(self._answers.keys(), Phase.ONE):
            return 0
        mark = max(self._answers.values())
        for request in self._asked:
            context.out.outcomes.append(_new(Outcome, (request, OutcomeKind.READY, mark, None, "")))
        self._asked = []
        self.repeat_at_s = NEVER_S
        return mark

    def drop(self, request: RequestId) -> None:
        """Nobody waits for this read any more."""
        if request in self.waiting:
            self.waiting.remove(request)
        if request in self._asked:
            self._asked.remove(request)

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)()
        other.waiting, other._asked = deque(self.waiting), list(self._asked)
        other._answers, other._number = dict(self._answers), self._number
        other._delay_s, other.repeat_at_s = self._delay_s, self.repeat_at_s
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        answers = frozenset(self._answers.items()) if self._asked else frozenset()
        return (tuple(self.waiting), tuple(self._asked), answers, self._number)
