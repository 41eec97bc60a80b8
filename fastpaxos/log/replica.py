"""The rooms composed: one node's part of a log of Fast Paxos.

A replica always holds the acceptor (what it promised and voted, and the log), the learner (what is chosen,
and how far the log is committed), the proposer (commands on their way into slots), reads, and the election
(who coordinates). One node in office holds the coordination of its round; one that would be holds phase 1.

While a fast ballot is open commands need no coordinator: a replica asks the acceptors for a slot itself, and
all learn from their votes. What is here is what crosses rooms: a vote that is counted may complete a slot,
which frees or costs a command, lets the learner apply, and ends a recovery.

Four things keep it safe over a restart. Records are written in the same effects as the answers that report
them. Ballot rounds are reserved on disk in blocks, and a Prepare leaves only inside a block known to be
durable. The own acceptor's answers go through reporting messages to oneself, so that the own vote counts only
when it is on disk. And a round is coordinated only in the life that began it.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Self

from fastpaxos.log.acceptor import LogAcceptor, PageLimits
from fastpaxos.log.campaign import Campaign, view_of
from fastpaxos.log.candidate import Candidate, Debts
from fastpaxos.log.context import NEVER_S, Context
from fastpaxos.log.coordinator import Mood, Office
from fastpaxos.log.learner import HORIZON_WINDOWS, Learned, LogLearner
from fastpaxos.log.messages import (
    Accept,
    Chosen,
    Fetch,
    Forward,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    PreVote,
    PreVoted,
    Promise,
    Propose,
    ReadAt,
    ReadIndex,
    Recover,
    Report,
    Reserved,
    TakeOver,
    Voted,
)
from fastpaxos.log.proposer import LogProposer, View
from fastpaxos.log.reads import QuorumReads
from fastpaxos.log.records import (
    COMPACTION_KEY,
    RESERVATION_KEY,
    pack_compaction,
    read_records,
    slot_key,
)
from fastpaxos.log.votes import cast, recover_alone, write_slot
from fastpaxos.rounds import OPEN, coordinator
from paxos.ballot import Ballot, NodeId
from paxos.basic.election import Election
from paxos.basic.reservation import Rounds
from paxos.command import Command, RequestId
from paxos.contract import Configuration, Draw, Effects, Instant, Mark, Message, Records, Status
from paxos.errors import ConfigurationError, ProtocolBreach, RecordError

__all__ = ["FastLogReplica"]

_new: Final = tuple.__new__
#: Records deleted in one batch, at most.
_DROP_AT_ONCE: Final = 4096
#: What is owed in round 0: nothing.
_NOTHING_OWED: Final = Debts(0, (), 0, None)


class FastLogReplica:
    """One node's part of the log of Fast Paxos. See `paxos.contract.Replica`.

    Args:
        configuration: with `FastLogSettings`, or None for the defaults.
        records: what the store held; empty for a node that is new.
        draw: supplies the random part of election timeouts, as `draw("election", bound)`.
        now: the time at which it starts.

    Raises:
        ConfigurationError: the node is neither member nor observer, or the settings are another protocol's.
        QuorumError: the quorums do not intersect as fast ballots need.
        RecordError: a record is corrupted or newer than this code.

    Source: Lamport, *Fast Paxos* (2006), section 3.1.
    """

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        self._context = context = Context(configuration, draw)
        settings, now_s = context.settings, now.monotonic_s
        found = read_records(records)
        limits = PageLimits(settings.page_slots, settings.page_bytes)
        self._acceptor = LogAcceptor(context.rounds, found.floor, found.slots, found.compacted, limits)
        self._learner = LogLearner(found.compacted, HORIZON_WINDOWS * settings.window)
        self._learner.restore(self._acceptor, found.hint, context, now_s)
        reservation = Rounds(found.reserved, RESERVATION_KEY)
        reservation.reserve(reservation.life, context)
        # Only the first life of the first member coordinates round 0, in which everything starts.
        self._is_first = not records and context.node == context.members[0]
        election = Election(context, now_s, is_new=False)
        if self._is_first:
            election.deadline_s = now_s + election.timeout_s
        self._office: Office | None = None
        self._mood = Mood(settings)
        self._reads = QuorumReads()
        self._proposer = LogProposer(view_of(found.floor, context))
        self._proposer.saw(self._learner.highest)
        self._campaign = Campaign(
            context, self._acceptor, self._learner, self._proposer, reservation, election
        )
        # The time of the last call, for `effects`, which is not told.
        self._now_s = now_s
        self._handlers = self._make_handlers()

    def _make_handlers(self) -> dict[type, Callable[[NodeId, Any, float], None]]:
        return {
            Propose: self._on_propose,
            Accept: self._on_accept,
            Voted: self._on_voted,
            Prepare: self._on_prepare,
            Promise: self._on_promise,
            Recover: self._on_recover,
            Report: self._on_report,
            Nack: self._on_nack,
            Heartbeat: self._on_heartbeat,
            HeartbeatReply: self._on_heartbeat_reply,
            Forward: self._on_forward,
            Fetch: self._on_fetch,
            Chosen: self._on_chosen,
            PreVote: self._on_pre_vote,
            PreVoted: self._on_pre_voted,
            TakeOver: self._on_take_over,
            ReadIndex: self._on_read_index,
            ReadAt: self._on_read_at,
            Reserved: self._on_reserved,
        }

    # --- called by the driver --------------------------------------------------------------

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Take commands, to be placed in a slot each, or say why not."""
        self._now_s = now.monotonic_s
        for command in commands:
            self._proposer.submit(command, self._context)

    def read(self, request: RequestId, now: Instant) -> None:
        """Find the slot up to which a read must see."""
        self._now_s = now.monotonic_s
        self._reads.add(request, self._context)

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message of a member or observer; anything else changes nothing.

        Raises:
            ProtocolBreach: something else turns out chosen than what was committed here, or reports of a
                quorum can not be what they are. Going on would hide it. What one message alone gets wrong
                is refused, told in an event, and changes nothing.
        """
        handler = self._handlers.get(message.__class__)
        if handler is None:
            self._refused(sender, message, "not of this protocol")
        elif sender not in self._context.everyone:
            self._refused(sender, message, "neither a member nor an observer")
        else:
            self._now_s = now_s = now[0]
            handler(sender, message, now_s)

    def tick(self, now: Instant) -> None:
        """Send a heartbeat, recover, repeat, take over, or step down, whatever is due."""
        self._now_s = now_s = now[0]
        office = self._office
        if office is not None:
            reason = office.tick(now_s)
            if reason:
                self._step_down(office, "stepped-down", reason, "tick", now_s)
        else:
            self._campaign.tick(now_s)
        if now_s >= self._reads.repeat_at_s:
            self._reads.repeat(self._reservation.life, self._context, now_s)
        if now_s >= self._proposer.repeat_at_s:
            for proposal in self._proposer.repeat(self._context, now_s):
                self._repeat_proposal(proposal)
        if now_s >= self._learner.fetch_at_s:
            self._learner.fetch(self._context, now_s)

    def compact(self, mark: Mark, now: Instant) -> None:
        """A snapshot at slot `mark` is durable: forget the slots that it covers."""
        self._snapshot(mark, "compact", now.monotonic_s)

    def part(self, mark: Mark) -> bytes:
        """Nothing: that the slots of a snapshot are chosen is said without a ballot, and holds at each.

        So who installs it need not join any. And all nodes make the same of one marker, byte by byte.
        """
        return b""

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """The state was replaced by a snapshot at slot `mark`: go on above it.

        Raises:
            RecordError: `part` is not empty.
        """
        if part:
            raise RecordError(f"a snapshot of the log of Fast Paxos has no part of its own, not {part!r:.40}")
        # After a crash the snapshot may be newer than the log says: then what is inside was to be applied.
        applies: list[Any] = self._context.out.applies
        applies[:] = [each for each in applies if each[0] > mark]
        self._snapshot(mark, "install", now.monotonic_s)

    def instruct(self, action: str, node: NodeId, now: Instant) -> None:
        """Have `node` coordinate in the place of this node, with action "transfer".

        Raises:
            ConfigurationError: another action, a node that is no member, or this node does not coordinate.
        """
        context, office = self._context, self._office
        if action != "transfer":
            raise ConfigurationError(f"the log of Fast Paxos has no action {action!r:.40}; it has: transfer")
        if node not in context.members:
            raise ConfigurationError(f"node {node} can not coordinate: it is no member of {context.members}")
        if office is None:
            raise ConfigurationError(
                f"node {context.node} does not coordinate, so it has nothing to hand over; "
                f"the coordinator it knows of is {self.election.leader or 'none'}"
            )
        if node != context.node:
            office.hand_to(node)

    def abandon(self, request: RequestId, now: Instant) -> None:
        """Nobody waits for this request: a read need not be answered. A command goes its way."""
        self._reads.drop(request)

    def effects(self) -> Effects:
        """Take what has gathered."""
        context, acceptor, office, now_s = self._context, self._acceptor, self._office, self._now_s
        if office is not None and office.wish is not None:
            self._begin_again(office, now_s)
            office = self._office
        if office is not None:
            office.conclude(now_s)
        if self._proposer.queue:
            reach = self._learner.committed + context.settings.window
            for proposal in self._proposer.place(reach, context, now_s):
                self._send_proposal(proposal)
        if self._reads.waiting and self._reservation.is_alive:
            self._reads.ask(self._reservation.life, self._highest, context, now_s)
        if acceptor.leaving:
            context.out.writes.extend((slot_key(slot), None) for slot in acceptor.drop(_DROP_AT_ONCE))
        self._learner.settle(context)
        out, context.out = context.out, Effects()
        out.wake_at_s = self._wake_at_s()
        out.room = self._proposer.room(context)
        return out

    def _wake_at_s(self) -> float | None:
        if self._acceptor.leaving:
            return 0.0  # at once: there is more to delete
        at_s = min(self._learner.fetch_at_s, self._reads.repeat_at_s, self._proposer.repeat_at_s)
        if self._office is not None:
            return min(at_s, self._office.heartbeat_at_s)
        if self.candidate is not None:
            at_s = min(at_s, self.candidate.repeat_at_s)
        at_s = min(at_s, self.election.deadline_s)
        return at_s if at_s < NEVER_S else None

    def status(self) -> Status:
        """Who coordinates, whether ballots are fast, and how far this node is."""
        election, learner, view = self.election, self._learner, self._proposer.view
        mode = ("fast" if view.is_fast else "classic") if view.first else "in between"
        values: dict[str, object] = {
            "role": election.role.value if self._context.is_member else "observer",
            "leader": election.leader,
            "mode": mode,
            "ballot": str(self._acceptor.floor),
            "committed": learner.committed,
            "known": max(learner.known, learner.committed),
            "last": self._highest,
            "compacted": self._acceptor.compacted,
            "slots": len(self._acceptor.slots),
            "in_flight": len(self._proposer.pending),
        }
        where = f"committed up to slot {learner.committed}"
        who = f"coordinator is node {election.leader}" if election.leader else "no coordinator known"
        summary = f"{values['role']}, {mode}, {who}, {where}"
        return Status("fastpaxos-log", self._context.node, summary, values)

    # --- what tools look at --------------------------------------------------------------

    @property
    def acceptor(self) -> LogAcceptor:
        """What this node promised and voted."""
        return self._acceptor

    @property
    def learner(self) -> LogLearner:
        """What this node knows to be chosen."""
        return self._learner

    @property
    def proposer(self) -> LogProposer:
        """Commands on their way into slots."""
        return self._proposer

    @property
    def election(self) -> Election:
        """Who coordinates, as far as this node knows."""
        return self._campaign.election

    @property
    def candidate(self) -> Candidate | None:
        """Phase 1, while this node runs one."""
        return self._campaign.candidate

    @property
    def office(self) -> Office | None:
        """The coordination of a round, while it is this node's."""
        return self._office

    @property
    def log(self) -> dict[int, bytes]:
        """The values of all slots committed here that are not forgotten."""
        slots, acceptor = self._acceptor.slots, self._acceptor
        held = range(acceptor.compacted + 1, self._learner.committed + 1)
        return {slot: slots[slot].accepted_value or b"" for slot in held}

    @property
    def _reservation(self) -> Rounds:
        return self._campaign.reservation

    @property
    def _highest(self) -> int:
        """The last slot that this node voted in, or knows to be chosen."""
        return max(self._acceptor.highest, self._learner.committed)

    def clone(self) -> Self:
        """An independent copy, sharing only what never changes."""
        other = object.__new__(type(self))
        mine = self._context
        other._context = Context(mine.configuration, mine.draw)
        for name in ("applies", "events", "outcomes", "sends", "transfers", "writes"):
            setattr(other._context.out, name, list(getattr(mine.out, name)))
        for name in ("_acceptor", "_learner", "_proposer", "_reads", "_mood"):
            setattr(other, name, getattr(self, name).clone())
        other._campaign = self._campaign.clone(
            other._context, other._acceptor, other._learner, other._proposer
        )
        other._office = None
        if self._office is not None:
            other._office = self._office.clone(
                other._context, other._acceptor, other._learner, other._proposer, other._mood
            )
        other._is_first, other._now_s = self._is_first, self._now_s
        other._handlers = other._make_handlers()
        return other

    def fingerprint(self) -> Hashable:
        """Equal for replicas that behave alike; times left out."""
        rooms = (self._acceptor, self._learner, self._proposer, self._reads, self._campaign)
        return (
            tuple(room.fingerprint() for room in rooms),
            self._office and self._office.fingerprint(),
            self._is_first,
        )

    # --- proposals and votes -------------------------------------------------------------------

    def _send_proposal(self, proposal: Propose) -> None:
        """Ask every acceptor for a slot, the own one included."""
        self._learner.mention(proposal.slot, self._now_s)
        self._context.send_members(proposal)
        cast(self._context, self._acceptor, *proposal)

    def _repeat_proposal(self, proposal: Propose) -> None:
        """Ask those again that have not voted; where all have, all: one may know what came of it."""
        tally, members = self._learner.tallies.get(proposal.slot), self._context.other_members
        voted = tally.votes(proposal.ballot) if tally is not None else {}
        for member in [each for each in members if each not in voted] or members:
            self._context.send(member, proposal)
        cast(self._context, self._acceptor, *proposal)

    def _on_propose(self, sender: NodeId, message: Propose, now_s: float) -> None:
        ballot, slot, _ = message
        context = self._context
        if ballot.step != 0 or not context.rounds.is_fast(ballot):
            self._refused(sender, message, f"ballot {ballot} is open to nobody")
            return
        if self._believes(sender, message, ballot) and self._is_near(sender, message, slot):
            self._vote(sender, message, now_s)

    def _on_accept(self, sender: NodeId, message: Accept, now_s: float) -> None:
        ballot, slot, value = message
        context, election = self._context, self.election
        if sender != coordinator(ballot, context.members) or sender not in context.members:
            self._refused(sender, message, f"ballot {ballot} is not its own")
            return
        if not self._believes(sender, message, ballot) or not self._is_near(sender, message, slot):
            return
        if sender == election.leader and ballot[:2] == self._acceptor.floor[:2]:
            election.heard_s = now_s
            election.deadline_s = now_s + election.timeout_s
        self._vote(sender, message, now_s)
        if not self._learner.knows(slot):
            # What is chosen here was told before its like was submitted again: that needs a slot of its own.
            self._proposer.placed(slot, value, ballot)

    def _is_near(self, sender: NodeId, message: Message, slot: int) -> bool:
        """Whether a slot is near enough to what is committed to be taken part in."""
        if self._learner.in_reach(slot):
            return True
        self._refused(sender, message, f"slot {slot} is too far above what is committed")
        return False

    def _vote(self, sender: NodeId, message: Propose | Accept, now_s: float) -> None:
        """2b; or the answer given before, or why there is none."""
        ballot, slot, value = message
        context, acceptor, learner = self._context, self._acceptor, self._learner
        learner.mention(slot, now_s)
        self._proposer.saw(slot)
        if not context.is_member:
            return
        try:
            if cast(context, acceptor, ballot, slot, value):
                return
        except ProtocolBreach as breach:
            self._refused(sender, message, str(breach), "breach")
            return
        if learner.tell(sender, slot, acceptor, context):
            return
        if slot <= acceptor.compacted:
            learner.on_fetch(sender, Fetch(slot, slot), acceptor, context, now_s)
            return
        promised, held = acceptor.promised(slot), acceptor.slots.get(slot)
        if ballot < promised:
            context.send(sender, Nack(ballot, promised))
        if held is not None and held.accepted_value is not None and held.accepted_ballot >= ballot:
            context.send(sender, Voted(held.accepted_ballot, slot, held.accepted_value))

    def _on_voted(self, sender: NodeId, message: Voted, now_s: float) -> None:
        context, learner = self._context, self._learner
        ballot, slot, _ = message
        if sender not in context.members or not self._believes(sender, message, ballot):
            return
        if not learner.in_reach(slot):
            return
        self._proposer.saw(slot)
        try:
            learned = learner.count(sender, message, context, now_s)
        except ProtocolBreach as breach:
            # Who votes twice, or otherwise than others at a classic ballot, is not counted.
            self._refused(sender, message, str(breach), "breach")
            return
        if learned is not None:
            self._learn((learned,), "Voted", now_s)
            return
        if slot in learner.tallies:
            if self._office is not None:
                self._office.on_vote(ballot, slot, now_s)
            if context.is_member and recover_alone(context, self._acceptor, learner, ballot, slot):
                context.event("recovered alone", "Voted", slot=slot, ballot=ballot)

    def _learn(self, found: Sequence[Learned], cause: str, now_s: float) -> None:
        """Something is chosen in some slots: commit what is next in order."""
        context, learner, proposer = self._context, self._learner, self._proposer
        for learned in found:
            if learner.learn(learned, self._acceptor, context):
                slot, ballot, value = learned
                proposer.chosen(slot, value, ballot if cause == "Voted" else None, context)
                if self._office is not None:
                    self._office.learned(slot, ballot if cause == "Voted" else None)
        learner.advance(context, now_s)

    def _on_recover(self, sender: NodeId, message: Recover, now_s: float) -> None:
        ballot, slot = message
        context, acceptor = self._context, self._acceptor
        if not context.is_member:
            return
        if sender != coordinator(ballot, context.members) or context.rounds.is_fast(ballot):
            self._refused(sender, message, f"ballot {ballot} is not its own to recover in")
            return
        if not self._believes(sender, message, ballot) or not self._is_near(sender, message, slot):
            return
        if self._learner.tell(sender, slot, acceptor, context):
            return
        if slot <= acceptor.compacted:
            self._learner.on_fetch(sender, Fetch(slot, slot), acceptor, context, now_s)
            return
        answer = acceptor.on_recover(message)
        if isinstance(answer, Report):
            self._learner.mention(slot, now_s)
            write_slot(context, acceptor, slot)
        if answer is not None:
            context.send(sender, answer)

    def _on_report(self, sender: NodeId, message: Report, now_s: float) -> None:
        if self._office is not None:
            self._office.on_report(sender, message, now_s)

    # --- ballots: who coordinates, and who did ---------------------------------------------------

    def _join(self, ballot: Ballot, cause: str, now_s: float) -> None:
        """Take part in nothing below `ballot`, in any slot: end whatever was at a lower one."""
        if self._office is not None:
            self._step_down(self._office, "deposed", f"ballot {ballot} was begun", cause, now_s)
        else:
            self._campaign.follow_nobody(now_s)
        self._campaign.promise(ballot)

    def _believes(self, sender: NodeId, message: Message, ballot: Ballot) -> bool:
        """Whether there is such a ballot, and an honest node can have reached its round."""
        if not self._context.rounds.is_ballot(ballot):
            self._refused(sender, message, f"there is no ballot {ballot}")
            return False
        if ballot.round <= self._reservation.highest:
            return True
        self._refused(sender, message, f"round {ballot.round} is beyond any honest use")
        return False

    def _step_down(self, office: Office, action: str, reason: str, cause: str, now_s: float) -> None:
        """Coordinate no more."""
        self._office = None
        self._context.event(action, cause, ballot=office.ballot, reason=reason)
        self.election.follow_nobody(self._context, now_s)

    def _begin_again(self, office: Office, now_s: float) -> None:
        """Another round, of the other kind, of the node that coordinates already."""
        wish = office.wish
        assert wish is not None
        self._office = None
        action = "fast again" if wish.fast else "fell back"
        self._context.event(action, "tick", ballot=office.ballot, reason=wish.reason)
        self._campaign.begin(action, now_s, fast=wish.fast)

    def _take_office(self, ballot: Ballot, debts: Debts, cause: str, now_s: float) -> None:
        """Phase 1 is done, or there is none to do: coordinate."""
        context, learner = self._context, self._learner
        self._campaign.candidate = None
        fast = context.rounds.is_fast(ballot)
        self._mood.turn(fast, now_s)
        self._office = office = Office(
            context, self._acceptor, learner, self._proposer, self._mood, ballot, debts, now_s
        )
        context.event("elected", cause, ballot=ballot, floor=debts.floor, owed=len(debts.values))
        if len(debts.values) > debts.gaps:
            context.event("adopted", cause, ballot=ballot, slots=len(debts.values) - debts.gaps)
        if debts.gaps:
            context.event("gap filled", cause, ballot=ballot, slots=debts.gaps)
        self.election.lead(context, ballot)
        self._proposer.turn_to(View(ballot, fast, debts.first, context.node))
        if debts.floor > learner.committed:
            # Chosen, and forgotten by somebody: it must come before anything can be applied.
            learner.hear(debts.floor, debts.source or context.node, context, now_s)
            learner.fetch(context, now_s)
        office.begin(now_s)

    # --- handlers: phase 1 and office ----------------------------------------------------------------

    def _on_prepare(self, sender: NodeId, message: Prepare, now_s: float) -> None:
        ballot, acceptor, context = message.ballot, self._acceptor, self._context
        if not context.is_member:
            return
        if sender != ballot.node or sender not in context.members:
            self._refused(sender, message, f"ballot {ballot} is not its own")
            return
        if not self._believes(sender, message, ballot):
            return
        if ballot > acceptor.floor and ballot >= acceptor.joined:
            self._join(ballot, "Prepare", now_s)
        answer = acceptor.on_prepare(message)
        if isinstance(answer, Promise):
            # Who promised waits for the candidate as it would for a coordinator.
            self.election.deadline_s = now_s + self.election.timeout_s
        if answer is not None:
            context.send(sender, answer)

    def _on_promise(self, sender: NodeId, message: Promise, now_s: float) -> None:
        debts = self._campaign.on_promise(sender, message, now_s)
        if debts is not None:
            self._take_office(message.ballot, debts, "Promise", now_s)

    def _on_heartbeat(self, sender: NodeId, message: Heartbeat, now_s: float) -> None:
        ballot, sequence, committed, first = message
        context, acceptor, election = self._context, self._acceptor, self.election
        if sender != coordinator(ballot, context.members) or sender not in context.members:
            self._refused(sender, message, f"ballot {ballot} is not its own")
            return
        if ballot < acceptor.floor:
            if context.is_member:
                context.send(sender, Nack(ballot, acceptor.floor))
            return
        if not self._believes(sender, message, ballot):
            return
        if ballot > acceptor.floor:
            self._join(ballot, "Heartbeat", now_s)
        self._campaign.candidate = None
        election.hear(sender, now_s, context, ballot, "Heartbeat")
        view = View(ballot, context.rounds.is_fast(ballot), first, sender)
        if view != self._proposer.view:
            self._proposer.turn_to(view)
        self._learner.hear(committed, sender, context, now_s)
        reply = (ballot, sequence, self._learner.committed, self._highest)
        context.out.sends.append((sender, _new(HeartbeatReply, reply)))

    def _on_heartbeat_reply(self, sender: NodeId, message: HeartbeatReply, now_s: float) -> None:
        if self._office is not None:
            self._office.on_heartbeat_reply(sender, message, now_s)

    def _on_forward(self, sender: NodeId, message: Forward, now_s: float) -> None:
        office = self._office
        if office is not None and message.ballot == office.ballot:
            office.on_forward(sender, message.value, now_s)

    def _on_nack(self, sender: NodeId, message: Nack, now_s: float) -> None:
        if sender not in self._context.members or not self._believes(sender, message, message.promised):
            return
        ballot, promised = message
        self.election.see(promised)
        office = self._office
        if promised <= ballot:
            return
        if office is not None and office.outbid(message):
            self._step_down(office, "deposed", f"node {sender} joined {promised}", "Nack", now_s)
        else:
            self._campaign.preempted(ballot, promised, now_s)

    def _on_pre_vote(self, sender: NodeId, message: PreVote, now_s: float) -> None:
        self._campaign.on_pre_vote(sender, message, now_s)

    def _on_pre_voted(self, sender: NodeId, message: PreVoted, now_s: float) -> None:
        if sender not in self._context.members:
            return
        if message.promised is None or self._believes(sender, message, message.promised):
            self._campaign.on_pre_voted(sender, message, now_s)

    def _on_take_over(self, sender: NodeId, message: TakeOver, now_s: float) -> None:
        ballot = message.ballot
        if sender == self.election.leader and ballot == self._acceptor.floor and self._context.is_member:
            self._campaign.begin("TakeOver", now_s)

    def _on_reserved(self, sender: NodeId, message: Reserved, now_s: float) -> None:
        if sender != self._context.node:
            return  # only the own disk can say it
        self._campaign.on_reserved(message, now_s)
        if self._is_first and self._reservation.is_alive:
            self._is_first = False
            if self._acceptor.floor == OPEN and self.candidate is None:
                self._take_office(OPEN, _NOTHING_OWED, "Reserved", now_s)

    # --- handlers: what was missed, and reads ------------------------------------------------------

    def _on_fetch(self, sender: NodeId, message: Fetch, now_s: float) -> None:
        self._learner.on_fetch(sender, message, self._acceptor, self._context, now_s)

    def _on_chosen(self, sender: NodeId, message: Chosen, now_s: float) -> None:
        if sender not in self._context.members:
            return
        if not all(self._believes(sender, message, ballot) for ballot, _ in message.entries):
            return
        before = self._learner.committed
        entries = enumerate(message.entries, message.first)
        found = [Learned(slot, *entry) for slot, entry in entries if self._learner.in_reach(slot)]
        self._learn(found, "Chosen", now_s)
        self._learner.fetched(before, self._context, now_s)

    def _on_read_index(self, sender: NodeId, message: ReadIndex, now_s: float) -> None:
        if self._context.is_member:
            self._context.send(sender, ReadAt(message.life, message.number, self._highest))

    def _on_read_at(self, sender: NodeId, message: ReadAt, now_s: float) -> None:
        if sender in self._context.members:
            self._reads.on_read_at(sender, message, self._reservation.life, self._context)

    # --- inside ------------------------------------------------------------------------------------

    def _snapshot(self, mark: Mark, cause: str, now_s: float) -> None:
        """All up to slot `mark` is durable in a snapshot: forget it, and be at least that far."""
        if type(mark) is not int or mark < 0:
            raise ConfigurationError(f"{cause}: the marks of a log of slots are slots, not {mark!r:.80}")
        context, learner = self._context, self._learner
        if self._acceptor.compact(mark):
            context.write(COMPACTION_KEY, pack_compaction(mark))
        if learner.skip(mark, now_s):
            context.event("installed", cause, slot=mark)
            self._proposer.forget(mark, context)
            if self._office is not None:
                self._office.forget(mark)
            learner.advance(context, now_s)

    def _refused(self, sender: NodeId, message: Message, reason: str, action: str = "refused") -> None:
        self._context.event(action, message.__class__.__name__, sender=sender, reason=reason)
