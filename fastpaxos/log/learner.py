"""The learner of the log: what is chosen in each slot, in which order it is applied, and how gaps are filled.

Everybody is told of every vote, and counts: a slot is *chosen* when a quorum voted for one value there at
one ballot. It is *committed* here when it is chosen and so is every slot below; then it is applied at once,
so one number says how far the node is. Being chosen is for ever, so that number needs no ballot when others
are told.

Who hears that others are further asks for what it misses. Whatever is learned goes to the acceptor's room,
which is the log: there it takes the place of a vote for something else.
"""

from typing import Final, NamedTuple, Self

from fastpaxos.learner import Tally
from fastpaxos.log.acceptor import LogAcceptor
from fastpaxos.log.context import NEVER_S, Context
from fastpaxos.log.messages import Chosen, Fetch, Voted
from fastpaxos.log.records import HINT_KEY, pack_hint, pack_slot, slot_key
from paxos.ballot import Ballot, NodeId
from paxos.basic.values import take_value
from paxos.errors import ProtocolBreach

__all__ = ["Learned", "LogLearner"]

#: Votes are counted for slots so many windows above the last one committed.
HORIZON_WINDOWS: Final = 4
#: The same in slots, for a learner by itself.
_HORIZON: Final = 4096


class Learned(NamedTuple):
    """What was chosen in a slot, and by votes of which ballot."""

    slot: int
    ballot: Ballot
    value: bytes


class LogLearner:
    """How far one node has committed the log, and what it knows beyond.

    Args:
        committed: every slot up to this one is in the snapshot.
        horizon: so many slots above what is chosen may be taken part in.

    Attributes:
        committed: every slot up to this one was committed here, and applied, or is in the snapshot.
        known: every slot up to this one is chosen, as far as anybody said.
        chosen: values of slots above `committed` + 1 that are known to be chosen.
        tallies: the votes in slots above `committed` in which nothing is known to be chosen.
        highest: the last slot that was heard of in any way.
        since_s: for each slot above `committed` in which nothing is known to be chosen: since when it was
            heard of, or of one above it. Of those that others know to be chosen only the next `horizon`.
        source: whom to ask first for what is missing; None for anybody.
        fetch_at_s: when to ask for it.
    """

    __slots__ = (
        "_attempt",
        "_delay_s",
        "_hint",
        "_horizon",
        "_settled",
        "_wishes",
        "chosen",
        "committed",
        "fetch_at_s",
        "highest",
        "known",
        "since_s",
        "source",
        "tallies",
    )

    def __init__(self, committed: int = 0, horizon: int = _HORIZON) -> None:
        self._horizon = horizon
        self.committed: int = committed
        self.known: int = committed
        self.highest: int = committed
        self.chosen: dict[int, bytes] = {}
        self.tallies: dict[int, Tally[bytes]] = {}
        self.since_s: dict[int, float] = {}
        self.source: NodeId | None = None
        self.fetch_at_s: float = NEVER_S
        self._delay_s = 0.0
        self._attempt = 0
        # How far the last note says it is, and how far it may say: what was committed before this turn.
        self._hint = committed
        self._settled = committed
        # To whom a snapshot was wished, and not to be wished again before; how long after that.
        self._wishes: dict[NodeId, tuple[float, float]] = {}

    # --- committing ------------------------------------------------------------------------------

    def restore(self, acceptor: LogAcceptor, hint: int, context: Context, now_s: float) -> None:
        """Commit again what the own disk says is chosen."""
        slot = self.committed
        while True:
            vote = acceptor.slots.get(slot + 1)
            if vote is None or vote.accepted_value is None or not (vote.chosen or slot < hint):
                break
            slot += 1
            vote.chosen = True
            context.out.applies.append((slot, take_value(vote.accepted_value)))
        self.committed = self._hint = self._settled = slot
        self.known = self.highest = slot
        for above, vote in acceptor.slots.items():
            if above > slot and vote.chosen and vote.accepted_value is not None:
                self.chosen[above] = vote.accepted_value
        self.mention(acceptor.highest, now_s)

    def mention(self, slot: int, now_s: float) -> None:
        """Somebody voted in this slot, or knows of it: it is to be decided, and all below it."""
        if slot > self.highest:
            low, self.highest = self.highest, slot
            near = self.committed + self._horizon
            self._watch(low + 1, min(slot, near), now_s)
            # What is known to be chosen will come; be it a million slots, they are not all kept in mind.
            known = max(near, self.known)
            self._watch(max(low, known) + 1, min(slot, known + self._horizon), now_s)

    def mention_near(self, slot: int, now_s: float) -> None:
        """Somebody says that it knows of this slot; as far as it is near."""
        self.mention(min(slot, self.committed + self._horizon), now_s)

    def _watch(self, first: int, last: int, now_s: float) -> None:
        """From now on these slots are waited for."""
        for slot in range(max(first, self.committed + 1), last + 1):
            if slot not in self.chosen:
                self.since_s.setdefault(slot, now_s)

    def knows(self, slot: int) -> bool:
        """Whether it is known what is chosen in a slot."""
        return slot <= self.committed or slot in self.chosen

    def in_reach(self, slot: int) -> bool:
        """Whether a slot is near enough to be taken part in."""
        return slot <= max(self.committed, self.known) + self._horizon

    def count(self, sender: NodeId, vote: Voted, context: Context, now_s: float) -> Learned | None:
        """Count one vote; what was chosen, when this vote completes it.

        Raises:
            ProtocolBreach: as `fastpaxos.learner.Tally.count`, with the slot.
        """
        ballot, slot, value = vote
        if self.knows(slot) or not self.in_reach(slot):
            return None
        self.mention(slot, now_s)
        tally = self.tallies.get(slot)
        if tally is None:
            self.tallies[slot] = tally = Tally(context.quorums, context.rounds)
        try:
            choice = tally.count(sender, ballot, value)
        except ProtocolBreach as breach:
            raise ProtocolBreach(f"{breach}, in slot {slot}") from None
        return None if choice is None else Learned(slot, choice.ballot, choice.value)

    def learn(self, learned: Learned, acceptor: LogAcceptor, context: Context) -> bool:
        """Something is known to be chosen in a slot; whether that is news.

        Raises:
            ProtocolBreach: something else is known to be chosen there.
        """
        slot, ballot, value = learned
        if slot <= acceptor.compacted:
            return False
        known = self.chosen.get(slot)
        if known is None and slot <= self.committed:
            known = acceptor.slots[slot].accepted_value
        if known is not None:
            if known != value:
                raise ProtocolBreach(
                    f"Agreement: node {context.node} knows slot {slot} to be chosen, and hears that "
                    "something else was; a member lost its disk, or is not what it says"
                )
            return False
        self.chosen[slot] = value
        self.tallies.pop(slot, None)
        self.since_s.pop(slot, None)
        if acceptor.learn(slot, ballot, value):
            vote = acceptor.slots[slot]
            record = pack_slot(vote.promised, vote.accepted_ballot, value, chosen=True)
            context.write(slot_key(slot), record)
        return True

    def advance(self, context: Context, now_s: float) -> None:
        """Commit what is chosen and next in order; ask, soon, for what is known of and not held."""
        applies, chosen = context.out.applies, self.chosen
        slot = self.committed
        while (value := chosen.pop(slot + 1, None)) is not None:
            slot += 1
            applies.append((slot, take_value(value)))
        self._go_on(slot, now_s)
        self._schedule(context, now_s)

    def _go_on(self, slot: int, now_s: float) -> None:
        """All up to this slot is committed."""
        near, self.committed = self.committed + self._horizon, slot
        self.known, self.highest = max(self.known, slot), max(self.highest, slot)
        self._watch(near + 1, min(self.highest, slot + self._horizon), now_s)

    def _schedule(self, context: Context, now_s: float) -> None:
        if self.committed >= self.known:
            self.fetch_at_s = NEVER_S
        elif self.fetch_at_s == NEVER_S:
            self._attempt, self._delay_s = 0, context.settings.repeat_s
            self.fetch_at_s = now_s + context.settings.fetch_s

    def settle(self, context: Context) -> None:
        """At the end of a turn: write down, now and then, how far the log was committed before it."""
        if self._settled - self._hint >= context.settings.hint_slots:
            self._hint = self._settled
            context.write(HINT_KEY, pack_hint(self._hint))
        self._settled = self.committed

    def hear(self, committed: int, source: NodeId, context: Context, now_s: float) -> None:
        """Another node says that all slots up to `committed` are chosen."""
        if committed > self.known:
            self.known, self.source = committed, source
            self.mention(min(committed, self.committed + context.settings.window), now_s)
        self._schedule(context, now_s)

    def skip(self, slot: int, now_s: float) -> bool:
        """A snapshot up to `slot` is in place of what was applied; whether that is beyond what was."""
        for old in [each for each in self.since_s if each <= slot]:
            del self.since_s[old]
        if slot <= self.committed:
            return False
        self.chosen = {each: value for each, value in self.chosen.items() if each > slot}
        self.tallies = {each: tally for each, tally in self.tallies.items() if each > slot}
        self._hint = self._settled = slot
        self._go_on(slot, now_s)
        if self.known == slot:
            self.fetch_at_s = NEVER_S
        elif self.fetch_at_s < NEVER_S:
            self.fetch_at_s = now_s  # what was missing has come: go on at once
        return True

    # --- asking for what is missing ------------------------------------------------------------------

    def fetch(self, context: Context, now_s: float) -> None:
        """Ask for what is missing: the source first, then every other member in turn."""
        whom = context.other_members
        if self.known <= self.committed or not whom:
            self.fetch_at_s = NEVER_S
            return
        start = whom.index(self.source) if self.source in whom else 0
        # Every second question goes to the source, which most likely has it.
        turn = 0 if self._attempt % 2 == 0 else self._attempt // 2 + 1
        context.send(whom[(start + turn) % len(whom)], Fetch(self.committed + 1, self.known))
        self._attempt += 1
        self.fetch_at_s = now_s + self._delay_s
        self._delay_s = min(self._delay_s * 2, context.settings.repeat_max_s)

    def fetched(self, before: int, context: Context, now_s: float) -> None:
        """What was asked for has come, and was committed above slot `before`: ask for the next."""
        if self.committed > before:
            context.event("fetched", "Chosen", first=before + 1, last=self.committed)
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
            vote = acceptor.slots[slot]
            assert vote.accepted_value is not None
            size += len(vote.accepted_value)
            if entries and (len(entries) >= acceptor.limits.slots or size > acceptor.limits.bytes):
                break
            entries.append((vote.accepted_ballot, vote.accepted_value))
        if entries:
            context.send(sender, Chosen(first, tuple(entries)))

    def tell(self, recipient: NodeId, slot: int, acceptor: LogAcceptor, context: Context) -> bool:
        """Tell what was chosen in one slot, if that is known and held here; whether it was."""
        vote = acceptor.slots.get(slot)
        if slot <= acceptor.compacted or vote is None or not vote.chosen or vote.accepted_value is None:
            return False
        context.send(recipient, Chosen(slot, ((vote.accepted_ballot, vote.accepted_value),)))
        return True

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)(self.committed, self._horizon)
        for name in ("known", "highest", "source", "fetch_at_s", "_delay_s", "_attempt", "_hint", "_settled"):
            setattr(other, name, getattr(self, name))
        other.chosen, other.since_s = dict(self.chosen), dict(self.since_s)
        other.tallies = {slot: tally.clone() for slot, tally in self.tallies.items()}
        other._wishes = dict(self._wishes)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        tallies = frozenset((slot, tally.fingerprint()) for slot, tally in self.tallies.items())
        scalars = (self.committed, self.known, self.highest, self.source, self._hint, self._settled)
        waits = self.fetch_at_s < NEVER_S
        return (
            scalars,
            frozenset(self.chosen.items()),
            tallies,
            frozenset(self.since_s),
            waits,
            self._attempt,
        )
