"""The proposer of the log: how a command that was submitted here comes into a slot.

In a fast ballot that is open a replica puts a command into the next slot that it believes free, and asks
every acceptor itself. Where another command is chosen there it *lost* the slot, and is placed again, at the
next one free. In a classic ballot the command goes to the coordinator, which places it. In between, while
phase 1 is under way and nobody says which it will be, it waits.

A command that was placed may be chosen in the slot it was placed in whatever becomes of the ballot, and
placed again, in another as well. That is no harm, since a request is applied once; but it is a slot for
nothing. So a command that a new coordinator may have found waits until its slot is decided.

Nothing here is durable: who asked is told by what is applied, and asks elsewhere if this node dies.
"""

from itertools import islice
from typing import Final, NamedTuple, Self

from fastpaxos.log.context import NEVER_S, Context
from fastpaxos.log.messages import Forward, Propose
from fastpaxos.rounds import OPEN
from paxos.ballot import Ballot, NodeId
from paxos.basic.values import MAX_VALUE_BYTES, pack_value
from paxos.command import MAX_COMMAND_BYTES, Command

__all__ = ["LogProposer", "Pending", "View"]

_new: Final = tuple.__new__


class View(NamedTuple):
    """In which ballot commands are placed, as far as this node knows.

    Args:
        ballot: with which the round began.
        is_fast: whether it is fast.
        first: from which slot on it is open, or free; 0 while phase 1 is under way.
        coordinator: whose it is.
    """

    ballot: Ballot
    is_fast: bool
    first: int
    coordinator: NodeId | None


class Pending:
    """A command that was submitted here and is not known to be chosen.

    Attributes:
        value: it, as a slot holds it.
        slot: where it was placed last; 0 for nowhere, -1 for with the coordinator.
        ballot: in which ballot that was.
        repeat_at_s: when to ask again; `delay_s` after that.
        lost: whether it lost a slot.
    """

    __slots__ = ("ballot", "delay_s", "lost", "repeat_at_s", "slot", "value")

    def __init__(self, value: bytes) -> None:
        self.value: bytes = value
        self.slot: int = 0
        self.ballot: Ballot = OPEN
        self.repeat_at_s: float = NEVER_S
        self.delay_s: float = 0.0
        self.lost: bool = False

    def clone(self) -> "Pending":
        """An independent copy."""
        other = Pending(self.value)
        other.slot, other.ballot, other.lost = self.slot, self.ballot, self.lost
        other.repeat_at_s, other.delay_s = self.repeat_at_s, self.delay_s
        return other


class LogProposer:
    """Commands that were submitted here and are on their way into the log.

    Args:
        view: in which ballot commands are placed at first.

    Attributes:
        view: in which ballot commands are placed.
        pending: by value, in the order of their submission.
        mine: what was placed in each slot last.
        next: the slot that is believed free, with all above it.
        size_bytes: what is pending.
        queue: the pending that are placed nowhere, by value.
        repeat_at_s: when to look for what to repeat.
    """

    __slots__ = ("mine", "next", "pending", "queue", "repeat_at_s", "size_bytes", "view")

    def __init__(self, view: View) -> None:
        self.view: View = view
        self.pending: dict[bytes, Pending] = {}
        self.mine: dict[int, bytes] = {}
        self.next: int = 1
        self.size_bytes: int = 0
        self.queue: dict[bytes, Pending] = {}
        self.repeat_at_s: float = NEVER_S

    # --- what is submitted, and what becomes of it -------------------------------------------------------

    def room(self, context: Context) -> int:
        """Commands that would be taken now."""
        settings = context.settings
        if self.size_bytes >= settings.window_bytes:
            return 0
        return max(settings.window - len(self.pending), 0)

    def submit(self, command: Command, context: Context) -> None:
        """Take a command, or say why not."""
        if len(command.payload) > MAX_COMMAND_BYTES:
            size = f"a command of {len(command.payload)} bytes; the limit is {MAX_COMMAND_BYTES}"
            context.reject(command.request, size)
            return
        if self.room(context) <= 0:
            waiting = f"{len(self.pending)} commands of {self.size_bytes} bytes are on their way"
            context.reject(command.request, f"node {context.node} has no room: {waiting}; try again")
            return
        value = pack_value(command)
        if len(value) > MAX_VALUE_BYTES:
            size = f"a command of {len(value)} bytes with what it touches; the limit is {MAX_VALUE_BYTES}"
            context.reject(command.request, size)
            return
        if value not in self.pending:
            self.pending[value] = self.queue[value] = Pending(value)
            self.size_bytes += len(value)

    def saw(self, slot: int) -> None:
        """A slot is taken, by whomever."""
        if slot >= self.next:
            self.next = slot + 1

    def chosen(self, slot: int, value: bytes, ballot: Ballot | None, context: Context) -> None:
        """Something was chosen in a slot: if it is of here that is the end of it, if not it may have lost.

        Args:
            slot: where.
            value: what.
            ballot: by votes of which ballot; None where another node told.
            context: the replica's.
        """
        self.saw(slot)
        pending = self.pending.pop(value, None)
        if pending is not None:
            self.size_bytes -= len(value)
            self.queue.pop(value, None)
            context.event("chosen", "Voted", slot=slot, reason=self._slow(pending, ballot))
        placed = self.mine.pop(slot, None)
        if placed is None or placed == value:
            return
        lost = self.pending.get(placed)
        if lost is not None and lost.slot == slot:
            lost.lost = True
            self._queue(lost)
            context.event("lost slot", "Voted", slot=slot)

    def _slow(self, pending: Pending, ballot: Ballot | None) -> str:
        """Why a command took longer than two message delays; empty if it did not."""
        if ballot is None:
            return "told"
        if pending.lost:
            return "lost a slot"
        if not self.view.is_fast:
            return "classic"
        return "recovered" if ballot.step else ""

    def forget(self, slot: int, context: Context) -> None:
        """All slots up to this one are in a snapshot: what was placed there is chosen or it is lost."""
        for each in [each for each in self.mine if each <= slot]:
            value = self.mine.pop(each)
            pending = self.pending.get(value)
            if pending is not None and pending.slot == each:
                self._queue(pending)
        self.saw(slot)

    def _queue(self, pending: Pending) -> None:
        """It is placed nowhere, and is to be."""
        pending.slot = 0
        self.queue[pending.value] = pending

    def _is_at(self, slot: int, value: bytes) -> bool:
        pending = self.pending.get(value)
        return pending is not None and pending.slot == slot

    # --- placing -------------------------------------------------------------------------------------------

    def turn_to(self, view: View) -> None:
        """Another ballot, or the same, of which phase 1 is done."""
        before, self.view = self.view, view
        if view.first and view.is_fast:
            self.next = max(self.next, view.first)
        if view == before or not view.first:
            return
        for pending in self.pending.values():
            # What phase 1 found, or may have, is decided there; wait for that. The rest is free.
            if pending.slot and pending.ballot != view.ballot and not 0 < pending.slot < view.first:
                self._queue(pending)
        # Also what stays where it was placed, because only the coordinator is news, may lose its slot yet.
        self.mine = {slot: v for slot, v in self.mine.items() if slot < view.first or self._is_at(slot, v)}

    def place(self, reach: int, context: Context, now_s: float) -> list[Propose]:
        """Put what waits into slots, or send it to the coordinator.

        Args:
            reach: the last slot that may be proposed in now.
            context: the replica's.
            now_s: the time.

        Returns:
            What every acceptor is to be asked; in a classic ballot what there is to send is sent.
        """
        view = self.view
        if not self.queue or not view.first:
            return []
        proposals: list[Propose] = []
        if not view.is_fast:
            if view.coordinator is not None and view.coordinator != context.node:
                for pending in self.take(len(self.queue), context, now_s):
                    pending.slot = -1
                    context.send(view.coordinator, _new(Forward, (view.ballot, pending.value)))
            return proposals
        for pending in self.take(reach + 1 - self.next, context, now_s):
            pending.slot = self.next
            self.next += 1
            self.mine[pending.slot] = pending.value
            proposals.append(_new(Propose, (view.ballot, pending.slot, pending.value)))
        return proposals

    def take(self, most: int, context: Context, now_s: float) -> list[Pending]:
        """The first of what waits, so much at most: whoever takes it places it now."""
        if most <= 0:
            return []
        taken = list(islice(self.queue.values(), most))
        for pending in taken:
            del self.queue[pending.value]
            pending.ballot = self.view.ballot
            pending.delay_s = context.settings.repeat_s
            pending.repeat_at_s = now_s + pending.delay_s
        if taken:
            self.repeat_at_s = min(self.repeat_at_s, now_s + context.settings.repeat_s)
        return taken

    def placed(self, slot: int, value: bytes, ballot: Ballot) -> None:
        """The coordinator put a value into a slot; it may be one of here."""
        self.saw(slot)
        pending = self.pending.get(value)
        if pending is not None and pending.slot < 0:
            pending.slot, pending.ballot = slot, ballot
            self.mine[slot] = value

    def repeat(self, context: Context, now_s: float) -> list[Propose]:
        """Ask again what was not answered; in a classic ballot what there is to send is sent."""
        view = self.view
        proposals: list[Propose] = []
        next_s = NEVER_S
        for pending in self.pending.values():
            if now_s >= pending.repeat_at_s:
                if view.is_fast and 0 < view.first <= pending.slot and pending.ballot == view.ballot:
                    proposals.append(_new(Propose, (view.ballot, pending.slot, pending.value)))
                elif pending.slot > 0 and pending.ballot == view.ballot:
                    pass  # the coordinator has put it there, and sees to it
                elif pending.slot and not view.is_fast and view.coordinator is not None:
                    # The coordinator knows what it has already.
                    context.send(view.coordinator, _new(Forward, (view.ballot, pending.value)))
                pending.delay_s = min(pending.delay_s * 2, context.settings.repeat_max_s)
                pending.repeat_at_s = now_s + pending.delay_s
            next_s = min(next_s, pending.repeat_at_s)
        # Not for each of them at a time of its own.
        self.repeat_at_s = max(next_s, now_s + context.settings.repeat_s / 2)
        if not self.pending:
            self.repeat_at_s = NEVER_S
        return proposals

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)(self.view)
        other.pending = {value: pending.clone() for value, pending in self.pending.items()}
        other.queue = {value: other.pending[value] for value in self.queue}
        other.mine = dict(self.mine)
        for name in ("next", "repeat_at_s", "size_bytes"):
            setattr(other, name, getattr(self, name))
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        pending = tuple((each.value, each.slot, each.ballot) for each in self.pending.values())
        return (self.view, pending, tuple(self.queue), frozenset(self.mine.items()), self.next)
