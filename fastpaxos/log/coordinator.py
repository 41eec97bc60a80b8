"""A coordinator in office: what the one node does whose round it is.

It says so in heartbeats; that is Any, where its ballot is fast. It pays what phase 1 obliged it to. In a
fast ballot it then has nothing to do but watch: where votes have collided, or a slot that was heard of is
not decided in time, it *recovers* the slot. It does so in the classic ballot of its own round, in that slot
alone, and once: from the votes of the last fast step, which stand for promises of that ballot, or by asking
each acceptor. In a classic ballot it places what others forward to it, and leaves no gap.

After several recoveries in a row, or when no fast quorum answers, it *wishes* to go classic, and when nobody
competed for a while, to be fast again; either is another round, with phase 1.

A round is coordinated in the life of the node that began it, and no further: what it proposed in which slot
stands in memory, and after a restart the round is above all before. Round 0 is nobody's; the first member
coordinates it in its first life.

Source: Lamport, *Fast Paxos* (2006), sections 2.2 and 3.1.
"""

from collections import deque
from typing import Final, NamedTuple, Self

from fastpaxos.choosing import Report as Reported
from fastpaxos.choosing import pick
from fastpaxos.collision import Contention, has_collided
from fastpaxos.log.acceptor import LogAcceptor
from fastpaxos.log.candidate import Debts
from fastpaxos.log.context import NEVER_S, Context
from fastpaxos.log.learner import LogLearner
from fastpaxos.log.messages import Accept, Heartbeat, HeartbeatReply, Nack, Recover, Report, TakeOver
from fastpaxos.log.proposer import LogProposer
from fastpaxos.log.settings import FastLogSettings
from fastpaxos.log.votes import cast, write_slot
from fastpaxos.rounds import coordinator
from paxos.ballot import Ballot, NodeId
from paxos.basic.values import NOP_VALUE
from paxos.quorum import Phase

__all__ = ["Flight", "Mood", "Office", "Wish"]

_new: Final = tuple.__new__


class Wish(NamedTuple):
    """That the round be followed by another: whether a fast one, and why."""

    fast: bool
    reason: str


class Mood:
    """Whether to be fast, over the rounds of one coordinator.

    Attributes:
        contention: counts what speaks against it.
        quiet_s: how long nobody may compete before it is fast again.
    """

    __slots__ = ("_fast_since_s", "_settings", "contention", "quiet_s")

    def __init__(self, settings: FastLogSettings) -> None:
        self._settings = settings
        # Half of it: it is doubled when ballots stop being fast.
        self.quiet_s: float = settings.quiet_s / 2
        self.contention: Contention = Contention(settings.collisions_before_classic, self.quiet_s)
        self._fast_since_s = -NEVER_S

    def turn(self, fast: bool, now_s: float) -> None:
        """A round begins, fast or classic."""
        settings = self._settings
        if fast:
            self._fast_since_s = now_s
        elif now_s < self._fast_since_s + settings.quiet_max_s:
            # It was fast lately, and that did not last.
            self.quiet_s = min(2 * self.quiet_s, settings.quiet_max_s)
        else:
            self.quiet_s = settings.quiet_s
        self.contention = Contention(settings.collisions_before_classic, self.quiet_s)
        if not fast:
            self.contention.force(now_s)

    def clone(self) -> "Mood":
        """An independent copy."""
        other = Mood(self._settings)
        other.quiet_s, other._fast_since_s = self.quiet_s, self._fast_since_s
        other.contention = self.contention.clone()
        return other


class Flight:
    """A value that the coordinator proposed itself, in a slot in which nothing is known to be chosen.

    Attributes:
        ballot: at which.
        value: what.
        repeat_at_s: when to ask again; `delay_s` after that.
    """

    __slots__ = ("ballot", "delay_s", "repeat_at_s", "value")

    def __init__(self, ballot: Ballot, value: bytes, now_s: float, delay_s: float) -> None:
        self.ballot: Ballot = ballot
        self.value: bytes = value
        self.delay_s: float = delay_s
        self.repeat_at_s: float = now_s + delay_s

    def clone(self) -> "Flight":
        """An independent copy."""
        other = Flight(self.ballot, self.value, 0.0, self.delay_s)
        other.repeat_at_s = self.repeat_at_s
        return other


class Peer:
    """When another node answered last, which heartbeat, and how far it is."""

    __slots__ = ("committed", "heard_s")

    def __init__(self, now_s: float) -> None:
        self.heard_s: float = now_s
        self.committed: int = 0

    def clone(self) -> "Peer":
        """An independent copy."""
        other = Peer(self.heard_s)
        other.committed = self.committed
        return other


class Office:
    """The coordination of one round.

    Args:
        context, acceptor, learner, proposer, mood: the replica's.
        ballot: with which the round began.
        debts: what follows from its phase 1.
        now_s: the time.

    Attributes:
        is_fast: whether it began with a fast ballot.
        recovery_ballot: the classic ballot of the round.
        floor: what was chosen before; nothing is proposed at or below it.
        source: who compacted up to the floor; None if this node knew all that is below.
        first: nothing was reported from this slot on.
        next: in a classic ballot: the next slot to place something in.
        debts: values still to be proposed, in order.
        flights: what it proposed in which slot.
        recoveries: slots for which acceptors are being asked: what each reported; and since when.
        peers: the other nodes.
        sequence: the number of the last heartbeat.
        wish: what round should follow this one; None for none.
        heir: who is asked to take over; None for nobody.
    """

    __slots__ = (
        "_acceptor",
        "_asked_s",
        "_context",
        "_flying",
        "_lack",
        "_last_source",
        "_learner",
        "_proposer",
        "ballot",
        "debts",
        "first",
        "flights",
        "floor",
        "heartbeat_at_s",
        "heir",
        "is_fast",
        "mood",
        "next",
        "peers",
        "recoveries",
        "recovery_ballot",
        "sequence",
        "source",
        "wish",
    )

    def __init__(
        self,
        context: Context,
        acceptor: LogAcceptor,
        learner: LogLearner,
        proposer: LogProposer,
        mood: Mood,
        ballot: Ballot,
        debts: Debts,
        now_s: float,
    ) -> None:
        self._context = context
        self._acceptor = acceptor
        self._learner = learner
        self._proposer = proposer
        self.mood: Mood = mood
        self.ballot: Ballot = ballot
        self.is_fast: bool = context.rounds.is_fast(ballot)
        self.recovery_ballot: Ballot = context.rounds.classic(ballot.round, ballot.node)
        self.floor: int = debts.floor
        self.source: NodeId | None = debts.source
        self.first: int = debts.first
        self.next: int = debts.floor + 1
        self.debts: deque[bytes] = deque(debts.values)
        self.flights: dict[int, Flight] = {}
        self._flying: set[bytes] = set()
        self.recoveries: dict[int, dict[NodeId, Reported[bytes]]] = {}
        self._asked_s: dict[int, float] = {}
        self.peers: dict[NodeId, Peer] = {node: Peer(now_s) for node in context.others}
        self.sequence: int = 0
        self.heartbeat_at_s: float = now_s
        self.wish: Wish | None = None
        self.heir: NodeId | None = None
        # Whose command came last, and when.
        self._last_source: tuple[NodeId, float] = (0, -NEVER_S)
        # Until when what is chosen below the floor must come, and how far this node was when that was set.
        self._lack: tuple[float, int] = (NEVER_S, 0)

    @property
    def coordinator(self) -> NodeId:
        """Whose round it is."""
        return coordinator(self.ballot, self._context.members)

    # --- proposing ---------------------------------------------------------------------------------------

    def begin(self, now_s: float) -> None:
        """Say that phase 1 is done, and propose what it obliged to."""
        self._wait_for_floor(now_s)
        self._beat(now_s)
        self._pay(now_s)

    def _wait_for_floor(self, now_s: float) -> None:
        """Until all up to the floor is here, it must get on."""
        done, patience_s = self._learner.committed, self._context.settings.election_max_s
        self._lack = (now_s + patience_s if done < self.floor else NEVER_S, done)

    def _room(self) -> int:
        """Slots that may be proposed in now."""
        done = max(self._learner.committed, self.floor)
        return done + self._context.settings.window - self.next + 1

    def _pay(self, now_s: float) -> None:
        """Propose what phase 1 obliged to, as far as the window allows."""
        room = self._room()
        while self.debts and room > 0:
            self._place(self.debts.popleft(), now_s)
            room -= 1

    def _place(self, value: bytes, now_s: float) -> int:
        slot, self.next = self.next, self.next + 1
        self._propose(self.ballot, slot, value, now_s)
        return slot

    def _propose(self, ballot: Ballot, slot: int, value: bytes, now_s: float) -> None:
        """2a: of one ballot and slot there is one value; what is chosen needs none."""
        learner = self._learner
        if learner.knows(slot):
            return
        flight = self.flights.get(slot)
        if flight is not None and flight.ballot >= ballot:
            return
        if flight is not None:
            self._flying.discard(flight.value)
        self.flights[slot] = Flight(ballot, value, now_s, self._context.settings.repeat_s)
        self._flying.add(value)
        self.recoveries.pop(slot, None)
        learner.mention(slot, now_s)
        self._proposer.placed(slot, value, ballot)
        self._context.send_members(_new(Accept, (ballot, slot, value)))
        cast(self._context, self._acceptor, ballot, slot, value)

    def conclude(self, now_s: float) -> None:
        """At the end of a turn: pay debts, and in a classic ballot place what was submitted here."""
        if self.debts:
            self._pay(now_s)
        if not self.is_fast and not self.debts and self._proposer.queue:
            for pending in self._proposer.take(self._room(), self._context, now_s):
                pending.slot = -1
                if pending.value not in self._flying:
                    self._compete(self._context.node, now_s)
                    self._place(pending.value, now_s)

    def on_forward(self, sender: NodeId, value: bytes, now_s: float) -> None:
        """A command of another node, to be placed; one that is under way already is not placed again."""
        if self.is_fast or self.debts or value in self._flying or self._room() <= 0:
            return
        self._compete(sender, now_s)
        self._place(value, now_s)

    def _compete(self, source: NodeId, now_s: float) -> None:
        """A command came from a node: two nodes' so close together would collide in a fast ballot."""
        last, at_s = self._last_source
        if source != last and now_s < at_s + self._context.settings.rival_s:
            self.mood.contention.collided(now_s)
        self._last_source = (source, now_s)

    # --- votes and recovery --------------------------------------------------------------------------------

    def on_vote(self, ballot: Ballot, slot: int, now_s: float) -> None:
        """A vote was counted, and nothing is known to be chosen: recover, if nothing can be any more."""
        context, learner = self._context, self._learner
        if not self.is_fast or ballot[:2] != self.ballot[:2]:
            return
        if slot in self.recoveries:
            self._try(slot, now_s)
        elif context.rounds.successor(ballot) == self.recovery_ballot and slot >= self.first:
            tally = learner.tallies.get(slot)
            if tally is not None and has_collided(tally.votes(ballot), context.quorums):
                if slot not in self.flights:
                    # The votes may be a quorum's promises of the next ballot; else the others' are to come.
                    self.recoveries[slot] = {}
                    self._asked_s[slot] = now_s
                    context.event("collision", "Voted", slot=slot, ballot=ballot)
                    self._count("collisions in a row", now_s)
                    self._try(slot, now_s)

    def _count(self, what: str, now_s: float) -> None:
        contention = self.mood.contention
        if contention.collided(now_s):
            self.wish = Wish(False, f"{contention.collisions} {what}")

    def _ask(self, slot: int, now_s: float) -> None:
        """Phase 1 of one slot, in the round's classic ballot."""
        question = Recover(self.recovery_ballot, slot)
        self._asked_s[slot] = now_s
        context, acceptor = self._context, self._acceptor
        context.send_members(question)
        answer = acceptor.on_recover(question)
        if isinstance(answer, Report):
            write_slot(context, acceptor, slot)
            context.send(context.node, answer)

    def on_report(self, sender: NodeId, message: Report, now_s: float) -> None:
        """An acceptor's promise for one slot."""
        ballot, slot, vote, value = message
        reports = self.recoveries.get(slot)
        if reports is None or ballot != self.recovery_ballot or sender not in self._context.members:
            return
        reports[sender] = (vote, value)
        self._try(slot, now_s)

    def _try(self, slot: int, now_s: float) -> None:
        """Propose in the classic ballot what a phase-1 quorum's reports leave to pick.

        Raises:
            ProtocolBreach: as `fastpaxos.choosing.pick`.
        """
        context, learner = self._context, self._learner
        before = context.rounds.predecessor(self.recovery_ballot)
        tally = learner.tallies.get(slot)
        reports: dict[NodeId, Reported[bytes]] = {}
        if tally is not None and before is not None:
            # A vote (2b) there stands for a promise (1b) of the ballot that follows immediately.
            reports = {node: (before, value) for node, value in tally.votes(before).items()}
        reports.update(self.recoveries[slot])
        picked = pick(reports, context.quorums, context.rounds)
        if picked is None:
            return
        value = NOP_VALUE if picked.value is None else picked.value
        context.event("recovered", "Report", slot=slot, ballot=self.recovery_ballot, how=picked.freedom.value)
        self._propose(self.recovery_ballot, slot, value, now_s)

    def learned(self, slot: int, ballot: Ballot | None) -> None:
        """Something is chosen in a slot; by votes of a ballot, or told by another node (None)."""
        flight = self.flights.pop(slot, None)
        if flight is not None:
            self._flying.discard(flight.value)
        self.recoveries.pop(slot, None)
        self._asked_s.pop(slot, None)
        if ballot is not None and self.is_fast and self._context.rounds.is_fast(ballot):
            self.mood.contention.chose_fast()

    def forget(self, slot: int) -> None:
        """All slots up to this one are in a snapshot: nothing is under way there any more."""
        for each in [each for each in (*self.flights, *self.recoveries) if each <= slot]:
            self.learned(each, None)

    # --- staying in office --------------------------------------------------------------------------------

    def _beat(self, now_s: float) -> None:
        self.sequence += 1
        self.heartbeat_at_s = now_s + self._context.settings.heartbeat_s
        beat = (self.ballot, self.sequence, self._learner.committed, self.first)
        self._context.send_others(_new(Heartbeat, beat))

    def on_heartbeat_reply(self, sender: NodeId, message: HeartbeatReply, now_s: float) -> None:
        """A node stands at this ballot; what it knows of is to be decided."""
        peer = self.peers.get(sender)
        if peer is None or message.ballot != self.ballot:
            return
        peer.heard_s = now_s
        peer.committed = max(peer.committed, message.committed)
        learner, context = self._learner, self._context
        learner.hear(message.committed, sender, context, now_s)
        learner.mention_near(message.highest, now_s)
        self._hand_over()

    def hears(self, phase: Phase, since_s: float) -> bool:
        """Whether a quorum, this node included, was heard of since then."""
        nodes = {node for node, peer in self.peers.items() if peer.heard_s >= since_s}
        nodes.add(self._context.node)
        return self._context.quorums.is_quorum(nodes, phase)

    def tick(self, now_s: float) -> str:
        """Send a heartbeat, recover and repeat, when due; why to coordinate no more, or nothing."""
        settings = self._context.settings
        if now_s < self.heartbeat_at_s:
            return ""
        if not self.hears(Phase.TWO, now_s - settings.election_max_s):
            return "no quorum answers"
        if now_s >= self._lack[0]:
            if self._learner.committed == self._lack[1]:
                return self._give_up()
            self._wait_for_floor(now_s)
        self._beat(now_s)
        self._look(now_s)
        if self.is_fast:
            if not self.hears(Phase.FAST, now_s - settings.election_min_s):
                self.wish = Wish(False, "no fast quorum answers")
        elif self.mood.contention.is_classic and not self.debts:
            if now_s >= self.mood.contention.quiet_at_s and self.hears(
                Phase.FAST, now_s - settings.election_min_s
            ):
                self.wish = Wish(True, f"nobody competed for {self.mood.quiet_s:g} s")
        self._hand_over()
        return ""

    def _give_up(self) -> str:
        """What is chosen below the floor does not come: let who has it coordinate, if it is there; else
        phase 1 without it finds less compacted. The reason."""
        if self.source in self.peers:
            self._context.send(self.source, TakeOver(self.ballot))
        return f"what is chosen up to slot {self.floor} does not come from node {self.source}"

    def _look(self, now_s: float) -> None:
        """See to slots that were heard of and are not decided in time."""
        settings, learner = self._context.settings, self._learner
        left = settings.repeat_slots
        for slot, since_s in sorted(learner.since_s.items()):
            if left <= 0:
                return
            # What others know to be chosen is asked for first.
            patience_s = settings.recover_s * (1 if slot > learner.known else 4)
            if slot <= self.floor or slot in learner.chosen or now_s < since_s + patience_s:
                continue
            left -= self._see_to(slot, now_s)

    def _see_to(self, slot: int, now_s: float) -> bool:
        """Get a slot decided; whether something was done."""
        flight, settings = self.flights.get(slot), self._context.settings
        if flight is not None and (not self.is_fast or flight.ballot == self.recovery_ballot):
            if now_s < flight.repeat_at_s:
                return False
            self._repeat(slot, flight, now_s)
        elif self.is_fast:
            if self.next <= slot < self.first:
                return False  # it is owed, and waits for room
            if slot not in self.recoveries:
                self.recoveries[slot] = {}
                self._context.event("overdue", "tick", slot=slot, ballot=self.ballot)
                self._count("slots in a row were not decided in time", now_s)
                self._ask(slot, now_s)
                self._try(slot, now_s)
            elif now_s >= self._asked_s.get(slot, 0.0) + settings.repeat_s:
                self._ask(slot, now_s)
            else:
                return False
        elif not self.debts and self.next <= slot:
            # Somebody voted there in a ballot before, unseen by phase 1: so nothing is chosen there.
            if self._room() <= 0:
                return False
            self._place(NOP_VALUE, now_s)
        else:
            return False
        return True

    def _repeat(self, slot: int, flight: Flight, now_s: float) -> None:
        tally = self._learner.tallies.get(slot)
        voted = tally.votes(flight.ballot) if tally is not None else {}
        for member in self._context.other_members:
            if member not in voted:
                self._context.send(member, _new(Accept, (flight.ballot, slot, flight.value)))
        flight.delay_s = min(flight.delay_s * 2, self._context.settings.repeat_max_s)
        flight.repeat_at_s = now_s + flight.delay_s

    def hand_to(self, heir: NodeId) -> None:
        """Ask another node to take over, as soon as it has what is committed here."""
        self.heir = heir
        self._context.event("transfer", "instruct", heir=heir, ballot=self.ballot)
        self._hand_over()

    def _hand_over(self) -> None:
        heir = self.heir
        if heir is not None and self.peers[heir].committed >= self._learner.committed:
            self._context.send(heir, TakeOver(self.ballot))

    def outbid(self, message: Nack) -> bool:
        """Whether a Nack says that another round was begun, of another coordinator or of none."""
        return message.promised[:2] != self.ballot[:2] and message.promised > self.recovery_ballot

    # --- copies -------------------------------------------------------------------------------------------

    def clone(
        self, context: Context, acceptor: LogAcceptor, learner: LogLearner, proposer: LogProposer, mood: Mood
    ) -> Self:
        """An independent copy, in the midst of the copies of the other rooms."""
        debts = Debts(self.floor, (), 0, self.source)
        other = type(self)(context, acceptor, learner, proposer, mood, self.ballot, debts, 0.0)
        other.debts, other._flying = deque(self.debts), set(self._flying)
        other.flights = {slot: flight.clone() for slot, flight in self.flights.items()}
        other.recoveries = {slot: dict(reports) for slot, reports in self.recoveries.items()}
        other._asked_s = dict(self._asked_s)
        other.peers = {node: peer.clone() for node, peer in self.peers.items()}
        for name in ("first", "next", "sequence", "heartbeat_at_s", "wish", "heir", "_lack", "_last_source"):
            setattr(other, name, getattr(self, name))
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        flights = frozenset((slot, flight.ballot, flight.value) for slot, flight in self.flights.items())
        recoveries = frozenset((slot, frozenset(told.items())) for slot, told in self.recoveries.items())
        scalars = (self.ballot, self.floor, self.first, self.next, self.sequence, self.wish, self.heir)
        contention = self.mood.contention.fingerprint()
        return (scalars, tuple(self.debts), flights, recoveries, contention)
