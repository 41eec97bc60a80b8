"""The learner of Multi-Paxos: what is committed, in which order it is applied, and how gaps are filled.

A slot is *committed* here when this node holds its value, knows that value to be chosen, and has committed
every slot below.  It is applied at once, so one number says how far the node is: the commit index.

A follower learns what is chosen from its leader, by a commit index sent at the leader's ballot b.  That index
does not say *what* was chosen.  If this node voted in a slot at b or above, then its vote is for what was
chosen; if it did not, its vote may be for something else, and it asks for the value.  So what is known of the
log is a pair, a *hint*: all slots up to `known` are chosen, and votes at `known_ballot` or above are for what
was chosen.
"""

from collections.abc import Iterable
from typing import Final, Self

from multipaxos.acceptor import LogAcceptor
from multipaxos.context import NEVER_S, Context
from multipaxos.messages import Chosen, Fetch
from multipaxos.records import HINT_KEY, MAX_HINTS, Hint, pack_hints, pack_vote, slot_key
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.values import take_value
from paxos.command import Command
from paxos.errors import ProtocolBreach

__all__ = ["LogLearner"]

_new: Final = tuple.__new__


class LogLearner:
    """How far one node has committed the log, and what it knows beyond.

    Attributes:
        committed: every slot up to this one was committed here, and applied, or is in the snapshot.
        known: every slot up to this one is chosen.
        known_ballot: votes at this ballot or above, in slots up to `known`, are for what was chosen.
        source: whom to ask first for what is missing; None for anybody.
        fetch_at_s: when to ask for it.
    """

    __slots__ = (
        "_attempt",
        "_delay_s",
        "_hinted",
        "_hints",
        "_wishes",
        "committed",
        "fetch_at_s",
        "known",
        "known_ballot",
        "source",
    )

    def __init__(self, committed: int = 0) -> None:
        self.committed: int = committed
        self.known: int = committed
        self.known_ballot: Ballot = BOTTOM
        self.source: NodeId | None = None
        self.fetch_at_s: float = NEVER_S
        self._delay_s = 0.0
        self._attempt = 0
        self._hints: list[Hint] = []
        self._hinted = committed
        # To whom a snapshot was wished, and not to be wished again before; how long after that.
        self._wishes: dict[NodeId, tuple[float, float]] = {}

    # --- committing ------------------------------------------------------------------------------

    def restore(
        self, acceptor: LogAcceptor, chosen: frozenset[int], hints: list[Hint], context: Context
    ) -> None:
        """Commit again what the own disk says is chosen."""
        slot = self.committed
        for ballot, upto in hints:
            while slot < upto:
                vote = acceptor.votes.get(slot + 1)
                if vote is None or vote.accepted_value is None:
                    break
                if vote.accepted_ballot < ballot and slot + 1 not in chosen:
                    break
                slot += 1
                context.out.applies.append((slot, take_value(vote.accepted_value)))
            else:
                continue
            break
        self.committed = self._hinted = slot
        self.known = max(slot, self.known)
        self._hints = list(hints)

    def hear(self, ballot: Ballot, committed: int, source: NodeId | None) -> None:
        """The leader of `ballot`, which this node follows, says that slots up to `committed` are chosen."""
        if committed >= self.known:
            self.known, self.known_ballot = committed, ballot
        self.source = source

    def advance(self, acceptor: LogAcceptor, context: Context, now_s: float) -> None:
        """Commit what is known and held; ask, soon, for what is known and not held."""
        votes, applies = acceptor.votes, context.out.applies
        slot, known, ballot = self.committed, self.known, self.known_ballot
        while slot < known:
            vote = votes.get(slot + 1)
            if vote is None or vote.accepted_value is None or vote.accepted_ballot < ballot:
                break
            slot += 1
            applies.append((slot, take_value(vote.accepted_value)))
        self.committed = slot
        if slot == known:
            self.fetch_at_s = NEVER_S
        elif self.fetch_at_s == NEVER_S:
            self._attempt, self._delay_s = 0, context.settings.repeat_s
            self.fetch_at_s = now_s + context.settings.fetch_s
        if slot - self._hinted >= context.settings.hint_slots:
            self.note(context)

    def take(self, taken: Iterable[tuple[int, Command]], ballot: Ballot, context: Context) -> None:
        """Commit slots that this node, as leader of `ballot`, knows to be chosen: those next in order."""
        applies = context.out.applies
        for one in taken:
            applies.append(one)
            self.committed = one[0]
        self.known, self.known_ballot = self.committed, ballot
        if self.committed - self._hinted >= context.settings.hint_slots:
            self.note(context)

    def note(self, context: Context) -> None:
        """Write down how far the log is known to be committed."""
        hints, hint = self._hints, (self.known_ballot, self.committed)
        if self.committed > self._hinted and self.known_ballot > BOTTOM:
            while hints and hints[-1][0] >= hint[0]:
                hints.pop()
            hints.append(hint)
            del hints[:-MAX_HINTS]
            context.write(HINT_KEY, pack_hints(hints))
            self._hinted = self.committed

    def skip(self, slot: int, now_s: float) -> bool:
        """A snapshot up to `slot` is in place of what was applied; whether that is beyond what was."""
        if slot <= self.committed:
            return False
        self.committed = self._hinted = slot
        if self.known < slot:
            self.known = slot
        if self.known == slot:
            self.fetch_at_s = NEVER_S
        elif self.fetch_at_s < NEVER_S:
            self.fetch_at_s = now_s  # what was missing has come: go on at once
        return True

    # --- asking for what is missing ------------------------------------------------------------------

    def fetch(self, context: Context, now_s: float) -> None:
        """Ask for what is missing: the source first, then every other member in turn."""
        if self.known <= self.committed:
            self.fetch_at_s = NEVER_S
            return
        whom = context.other_members
        if not whom:
            self.fetch_at_s = NEVER_S
            return
        start = whom.index(self.source) if self.source in whom else 0
        # Every second question goes to the source, which most likely has it.
        turn = 0 if self._attempt % 2 == 0 else self._attempt // 2 + 1
        context.send(whom[(start + turn) % len(whom)], Fetch(self.committed + 1, self.known))
        self._attempt += 1
        self.fetch_at_s = now_s + self._delay_s
        self._delay_s = min(self._delay_s * 2, context.settings.repeat_max_s)

    def on_chosen(self, message: Chosen, acceptor: LogAcceptor, context: Context, now_s: float) -> None:
        """Take in values that a member says were chosen, at ballots that the acceptor has joined.

        Raises:
            ProtocolBreach: something else is committed here.
        """
        before = self.committed
        for slot, (ballot, value) in enumerate(message.entries, message.first):
            if slot > self.known:
                break
            vote = acceptor.votes.get(slot)
            if slot <= self.committed:
                if vote is not None and vote.accepted_value != value and slot > acceptor.compacted:
                    raise ProtocolBreach(
                        f"Agreement: node {context.node} committed slot {slot}, and hears that something "
                        "else was chosen there; a member lost its disk, or is not what it says"
                    )
                continue
            if slot != self.committed + 1:
                break
            acceptor.learn(slot, ballot, value)
            context.write(slot_key(slot), pack_vote(ballot, value, chosen=True))
            context.out.applies.append((slot, take_value(value)))
            self.committed = slot
        if self.committed > before:
            context.event("fetched", "Chosen", first=before + 1, last=self.committed)
            self.advance(acceptor, context, now_s)
            if self.known > self.committed:
                self._attempt, self._delay_s = 0, context.settings.repeat_s
                self.fetch(context, now_s)

    # --- giving others what they miss ------------------------------------------------------------------

    def on_fetch(
        self, sender: NodeId, message: Fetch, acceptor: LogAcceptor, context: Context, now_s: float
    ) -> None:
        """Answer with a page of what is committed here, or have a snapshot sent where it is forgotten."""
        first, last = message
        if first <= acceptor.compacted:
            not_before_s, delay_s = self._wishes.get(sender, (0.0, context.settings.repeat_s))
            if now_s >= not_before_s:
                self._wishes[sender] = (now_s + delay_s, min(delay_s * 2, context.settings.repeat_max_s))
                context.out.transfers.append((sender, acceptor.compacted))
                context.event("snapshot wanted", "Fetch", recipient=sender, slot=acceptor.compacted)
            return
        self._wishes.pop(sender, None)
        entries: list[tuple[Ballot, bytes]] = []
        size = 0
        for slot in range(first, min(last, self.committed) + 1):
            vote = acceptor.votes.get(slot)
            if vote is None or vote.accepted_value is None:
                break
            size += len(vote.accepted_value)
            if entries and (len(entries) >= acceptor.limits.slots or size > acceptor.limits.bytes):
                break
            entries.append((vote.accepted_ballot, vote.accepted_value))
        if entries:
            context.send(sender, Chosen(first, tuple(entries)))

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)(self.committed)
        other.known, other.known_ballot, other.source = self.known, self.known_ballot, self.source
        other.fetch_at_s, other._delay_s, other._attempt = self.fetch_at_s, self._delay_s, self._attempt
        other._hints, other._hinted = list(self._hints), self._hinted
        other._wishes = dict(self._wishes)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        waits = self.fetch_at_s < NEVER_S
        hints = (tuple(self._hints), self._hinted)
        return (self.committed, self.known, self.known_ballot, self.source, waits, self._attempt, hints)
