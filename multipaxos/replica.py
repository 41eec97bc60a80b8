"""The rooms composed: one node's part of a replicated log.

A replica is a follower, stands for election, or leads.  It always holds the acceptor (what it promised and
voted), the learner (how far the log is committed) and the election (who leads); a candidate holds phase 1, a
leader phase 2, each for one ballot.  What is here is what crosses rooms: a message of a higher ballot ends
whatever this node was at a lower one, votes reach the counting leader by way of the disk, commit news makes
the learner apply.

Four things keep it safe over a restart. Records are written in the same effects as the answers that report
them. Ballot rounds are reserved on disk in blocks, and a Prepare leaves only inside a block known to be
durable. The own acceptor's answers go through reporting messages to oneself, so that the own vote counts
only when it is on disk. And what is applied again at the start is only what the disk itself says is chosen.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Self

from multipaxos.acceptor import LogAcceptor, LogRecord, PageLimits
from multipaxos.context import NEVER_S, Context
from multipaxos.learner import LogLearner
from multipaxos.lease import Grant
from multipaxos.messages import (
    Accept,
    Accepted,
    Chosen,
    Fetch,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    PreVote,
    PreVoted,
    Promise,
    ReadAt,
    ReadIndex,
    Release,
    Reserved,
    TakeOver,
)
from multipaxos.office import Office
from multipaxos.proposer import Candidate, Leader, Peer
from multipaxos.reads import Asked, FollowerReads
from multipaxos.records import (
    COMPACTION_KEY,
    PROMISE_KEY,
    RESERVATION_KEY,
    pack_compaction,
    pack_part,
    pack_promise,
    pack_vote,
    read_part,
    read_records,
    slot_key,
)
from paxos.ballot import Ballot, NodeId
from paxos.basic.election import Election, Role
from paxos.basic.reservation import Rounds
from paxos.command import Command, RequestId
from paxos.contract import (
    Configuration,
    Draw,
    Effects,
    Instant,
    Mark,
    Message,
    Outcome,
    OutcomeKind,
    Records,
    Status,
)
from paxos.errors import ConfigurationError, ProtocolBreach

__all__ = ["MultiPaxosReplica"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__
#: Records deleted in one batch, at most.
_DROP_AT_ONCE: Final = 4096


class MultiPaxosReplica:
    """One node's part of Multi-Paxos. See `paxos.contract.Replica`.

    Args:
        configuration: with `MultiPaxosSettings`, or None for the defaults.
        records: what the store held; empty for a node that is new.
        draw: supplies the random part of election timeouts, as `draw("election", bound)`.
        now: the time at which it starts.

    Raises:
        ConfigurationError: the node is neither member nor observer, or the settings are another protocol's.
        RecordError: a record is corrupted or newer than this code.

    Source: Lamport, *Paxos Made Simple*, section 3.
    """

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        self._context = context = Context(configuration, draw)
        settings = context.settings
        found = read_records(records)
        limits = PageLimits(settings.page_slots, settings.page_bytes)
        self._acceptor = LogAcceptor(LogRecord(found.promised, found.votes, found.compacted), limits)
        self._learner = LogLearner(found.compacted)
        self._learner.restore(self._acceptor, found.chosen, found.hints, context)
        self._rounds = Rounds(found.reserved, RESERVATION_KEY)
        self._rounds.reserve(self._rounds.life, context)
        self._election = Election(context, now.monotonic_s, is_new=not records)
        # What an earlier life granted is not known; it runs out in the time of a lease.
        waits_s = settings.lease_s if records else -NEVER_S
        self._grant = Grant(now.monotonic_s + waits_s)
        self._candidate: Candidate | None = None
        self._office: Office | None = None
        self._asking = FollowerReads()
        # The time of the last call, for `effects`, which is not told.
        self._now_s = now.monotonic_s
        self._handlers = self._make_handlers()

    def _make_handlers(self) -> dict[type, Callable[[NodeId, Any, float], None]]:
        return {
            Prepare: self._on_prepare,
            Promise: self._on_promise,
            Accept: self._on_accept,
            Accepted: self._on_accepted,
            Nack: self._on_nack,
            Heartbeat: self._on_heartbeat,
            HeartbeatReply: self._on_heartbeat_reply,
            Fetch: self._on_fetch,
            Chosen: self._on_chosen,
            PreVote: self._on_pre_vote,
            PreVoted: self._on_pre_voted,
            TakeOver: self._on_take_over,
            ReadIndex: self._on_read_index,
            ReadAt: self._on_read_at,
            Reserved: self._on_reserved,
            Release: self._on_release,
        }

    # --- called by the driver --------------------------------------------------------------

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Place each command in a slot of its own, or say why not and whom to ask."""
        if self._office is not None:
            self._office.submit(commands)
        else:
            for command in commands:
                self._refuse(command.request)

    def read(self, request: RequestId, now: Instant) -> None:
        """Find the slot up to which a read must see; a follower asks its leader."""
        self._now_s = now.monotonic_s
        if self._office is not None:
            taken = self._office.reads.add(request, self._context)
        elif self._election.leader is not None:
            taken = self._asking.add(request, self._context)
        else:
            self._refuse(request)
            return
        if not taken:
            many = self._context.settings.pending_reads
            self._context.reject(request, f"{many} reads wait at node {self._context.node}; try again")

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message of a member or observer; anything else changes nothing.

        Raises:
            ProtocolBreach: something else turns out chosen than what was committed here. Going on would hide
                it. What one message alone gets wrong is refused, told in an event, and changes nothing.
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
        """Send a heartbeat, repeat, stand for election, or step down, whatever is due."""
        self._now_s = now_s = now[0]
        office = self._office
        if office is not None:
            reason = office.tick(now_s)
            if reason:
                self._step_down(office, "stepped-down", reason, "tick", now_s)
        else:
            if now_s >= self._election.deadline_s:
                self._on_silence(now_s)
            candidate = self._candidate
            if candidate is not None and now_s >= candidate.repeat_at_s:
                self._repeat_prepare(candidate, now_s)
            if now_s >= self._asking.repeat_at_s:
                self._asking.repeat(self._rounds.life, self._election.leader, self._context, now_s)
        if now_s >= self._learner.fetch_at_s:
            self._learner.fetch(self._context, now_s)

    def compact(self, mark: Mark, now: Instant) -> None:
        """A snapshot at slot `mark` is durable: forget the slots that it covers."""
        self._snapshot(mark, "compact", now.monotonic_s)

    def part(self, mark: Mark) -> bytes:
        """The ballot promised here: no slot of the snapshot was chosen at a higher one, as far as is known.

        Who installs the snapshot joins it. Otherwise it could promise a lower ballot afterwards and report
        the slots as compacted, and the leader of that ballot would count them among what was chosen up to
        then; a follower that believes it would take a vote of its own, cast at a ballot between, for chosen.
        """
        return pack_part(self._acceptor.promised)

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """The state was replaced by a snapshot at slot `mark`: go on above it, and below no ballot of its.

        Raises:
            RecordError: `part` is not what `part` makes.
        """
        ballot = read_part(part)
        if ballot > self._acceptor.promised:
            self._join(ballot, "install", now.monotonic_s)
        # After a crash the snapshot may be newer than the log says: then what is inside was to be applied.
        applies: list[Any] = self._context.out.applies
        applies[:] = [each for each in applies if each[0] > mark]
        self._snapshot(mark, "install", now.monotonic_s)

    def instruct(self, action: str, node: NodeId, now: Instant) -> None:
        """Hand the leadership to `node`, with action "transfer".

        Raises:
            ConfigurationError: another action, a node that is no member, or this node does not lead.
        """
        context, office = self._context, self._office
        if action != "transfer":
            raise ConfigurationError(f"Multi-Paxos has no action {action!r:.40}; it has: transfer")
        if node not in context.members:
            raise ConfigurationError(f"node {node} can not lead: it is no member of {context.members}")
        if office is None:
            raise ConfigurationError(
                f"node {context.node} does not lead, so it has nothing to hand over; "
                f"the leader it knows of is {self._election.leader or 'none'}"
            )
        if node != context.node:
            office.hand_to(node, now.monotonic_s)

    def abandon(self, request: RequestId, now: Instant) -> None:
        """Nobody waits for this request: a read need not be answered. A command goes its way."""
        if self._office is not None:
            self._office.reads.drop(request)
        self._asking.drop(request)

    def effects(self) -> Effects:
        """Take what has gathered."""
        context, acceptor, office = self._context, self._acceptor, self._office
        if office is not None:
            office.conclude(self._now_s)
        elif self._asking.waiting and self._election.leader is not None and self._rounds.is_alive:
            self._asking.ask(self._rounds.life, self._election.leader, context, self._now_s)
        if acceptor.cast or acceptor.gathered:
            answers = acceptor.answers()
            if context.is_member:
                context.out.sends.extend([(answer[0][1], answer) for answer in answers])
        if acceptor.leaving:
            context.out.writes.extend((slot_key(slot), None) for slot in acceptor.drop(_DROP_AT_ONCE))
        out, context.out = context.out, Effects()
        out.wake_at_s = self._wake_at_s()
        out.room = context.settings.window if office is None else office.room
        return out

    def _wake_at_s(self) -> float | None:
        if self._acceptor.leaving:
            return 0.0  # at once: there is more to delete
        office, at_s = self._office, self._learner.fetch_at_s
        if office is not None:
            return min(at_s, office.leader.heartbeat_at_s, office.leader.heir_until_s)
        if self._candidate is not None:
            at_s = min(at_s, self._candidate.repeat_at_s)
        at_s = min(at_s, self._election.deadline_s, self._asking.repeat_at_s)
        return at_s if at_s < NEVER_S else None

    def status(self) -> Status:
        """Who leads, and how far this node is."""
        election, learner, leader = self._election, self._learner, self.leader
        values: dict[str, object] = {
            "role": election.role.value if self._context.is_member else "observer",
            "leader": election.leader,
            "ballot": str(self._acceptor.promised),
            "committed": learner.committed,
            "known": max(learner.known, learner.committed),
            "last": leader.last if leader else self._acceptor.highest,
            "compacted": self._acceptor.compacted,
            "slots": len(self._acceptor.votes),
            "in_flight": len(leader.flights) if leader else 0,
        }
        where = f"committed up to slot {learner.committed}"
        who = f"leader is node {election.leader}" if election.leader else "no leader known"
        return Status("multipaxos", self._context.node, f"{values['role']}, {who}, {where}", values)

    # --- what tools look at --------------------------------------------------------------

    @property
    def acceptor(self) -> LogAcceptor:
        """What this node promised and voted."""
        return self._acceptor

    @property
    def learner(self) -> LogLearner:
        """How far this node has committed the log."""
        return self._learner

    @property
    def election(self) -> Election:
        """Who leads, as far as this node knows."""
        return self._election

    @property
    def candidate(self) -> Candidate | None:
        """Phase 1, while this node runs one."""
        return self._candidate

    @property
    def leader(self) -> Leader | None:
        """Phase 2, while this node leads."""
        return self._office.leader if self._office is not None else None

    @property
    def log(self) -> dict[int, bytes]:
        """The values of all slots committed here that are not forgotten."""
        votes, acceptor = self._acceptor.votes, self._acceptor
        slots = range(acceptor.compacted + 1, self._learner.committed + 1)
        return {slot: votes[slot].accepted_value or b"" for slot in slots}

    def clone(self) -> Self:
        """An independent copy, sharing only what never changes."""
        other = object.__new__(type(self))
        mine = self._context
        other._context = Context(mine.configuration, mine.draw)
        for name in ("applies", "events", "outcomes", "sends", "transfers", "writes"):
            setattr(other._context.out, name, list(getattr(mine.out, name)))
        for name in ("_acceptor", "_learner", "_rounds", "_election", "_grant", "_asking"):
            setattr(other, name, getattr(self, name).clone())
        other._candidate = self._candidate.clone() if self._candidate else None
        other._office = None
        if self._office is not None:
            other._office = self._office.clone(other._context, other._acceptor, other._learner, other._grant)
        other._now_s = self._now_s
        other._handlers = other._make_handlers()
        return other

    def fingerprint(self) -> Hashable:
        """Equal for replicas that behave alike; times left out."""
        rooms = (
            self._acceptor,
            self._learner,
            self._rounds,
            self._election,
            self._grant,
            self._asking,
        )
        return (
            tuple(room.fingerprint() for room in rooms),
            self._candidate and self._candidate.fingerprint(),
            self._office and self._office.fingerprint(),
        )

    # --- ballots: who leads, and who did -------------------------------------------------------

    def _join(self, ballot: Ballot, cause: str, now_s: float) -> None:
        """Take part in nothing below `ballot`, which is above all joined: end whatever was at a lower one."""
        if self._office is not None:
            self._step_down(self._office, "deposed", f"ballot {ballot} was begun", cause, now_s)
        elif self._election.role is not Role.FOLLOWER or self._election.leader is not None:
            self._candidate = None
            self._election.follow_nobody(self._context, now_s)
        self._promise(ballot)

    def _promise(self, ballot: Ballot) -> None:
        self._acceptor.join(ballot)
        self._election.see(ballot)
        self._context.write(PROMISE_KEY, pack_promise(ballot))

    def _obey(self, sender: NodeId, ballot: Ballot, message: Message, now_s: float) -> bool:
        """Whether this comes from the leader of the highest ballot known here; then it is followed."""
        promised = self._acceptor.promised
        if ballot != promised or sender != self._election.leader:
            if sender != ballot.node or sender not in self._context.members:
                self._refused(sender, message, f"ballot {ballot} is not its own")
                return False
            if ballot < promised:
                if self._context.is_member:
                    self._context.send(sender, Nack(ballot, promised))
                return False
            if ballot > promised:
                if not self._believes(sender, message, ballot):
                    return False
                self._join(ballot, message.__class__.__name__, now_s)
            self._candidate = None
            self._asking.ask_again()
        self._election.hear(sender, now_s, self._context, ballot, message.__class__.__name__)
        return True

    def _believes(self, sender: NodeId, message: Message, ballot: Ballot) -> bool:
        """Whether the round is one that an honest node can have reached."""
        if ballot.round <= self._rounds.highest:
            return True
        self._refused(sender, message, f"round {ballot.round} is beyond any honest use")
        return False

    def _step_down(self, office: Office, action: str, reason: str, cause: str, now_s: float) -> None:
        """Lead no more."""
        self._office = None
        self._context.event(action, cause, ballot=office.leader.ballot, reason=reason)
        office.close(reason)
        self._election.follow_nobody(self._context, now_s)

    def _on_silence(self, now_s: float) -> None:
        """Nothing was heard of a leader, or the attempt to become one took too long."""
        context, election = self._context, self._election
        if election.leader is not None:
            context.event("leader silent", "tick", leader=election.leader)
        self._candidate = election.leader = None
        for request in self._asking.take_all():
            self._refuse(request)
        ballot = self._next_ballot() if context.is_member else None
        if ballot is None:
            election.follow_nobody(context, now_s)
        else:
            self._rounds.reserve(ballot.round, context)  # durable, with luck, when it is needed
            if election.ask(ballot, context, now_s):
                self._campaign("tick", now_s)

    def _next_ballot(self) -> Ballot | None:
        ballot = self._rounds.above(max(self._acceptor.promised, self._election.seen), self._context)
        if ballot is None:
            self._context.event("exhausted", "tick", seen=self._election.seen)
        return ballot

    def _campaign(self, cause: str, now_s: float) -> None:
        """Begin a ballot, once the disk holds a reservation that covers it."""
        if self._grant.binds(now_s):
            return  # it promised a leader not to
        ballot = self._next_ballot()
        if ballot is None:
            return
        context, election = self._context, self._election
        self._candidate = candidate = Candidate(ballot, self._learner.committed + 1, context.quorums)
        election.role, election.leader = Role.CANDIDATE, None
        election.draw(context, now_s)
        context.event("campaign", cause, ballot=ballot, first=candidate.first)
        if ballot.round > self._rounds.durable:
            self._rounds.reserve(ballot.round, context)
        else:
            self._prepare(candidate, now_s)

    def _prepare(self, candidate: Candidate, now_s: float) -> None:
        """1a: ask every acceptor; the own one answers through its disk."""
        question = Prepare(candidate.ballot, candidate.first)
        candidate.sent, candidate.delay_s = True, self._context.settings.repeat_s
        candidate.repeat_at_s = now_s + candidate.delay_s
        self._rounds.use(candidate.ballot)
        self._promise(candidate.ballot)
        self._context.send_members(question)
        self._ask_own(question)

    def _ask_own(self, question: Prepare) -> None:
        answer = self._acceptor.on_prepare(question)
        if isinstance(answer, Promise):
            self._context.send(self._context.node, answer)

    def _repeat_prepare(self, candidate: Candidate, now_s: float) -> None:
        for member in self._context.other_members:
            question = candidate.question(member)
            if question is not None:
                self._context.send(member, question)
        candidate.delay_s = min(candidate.delay_s * 2, self._context.settings.repeat_max_s)
        candidate.repeat_at_s = now_s + candidate.delay_s

    def _take_office(self, candidate: Candidate, now_s: float) -> None:
        """A phase-1 quorum has promised: lead."""
        context, learner, debts = self._context, self._learner, candidate.debts()
        peers = {node: Peer(now_s, context.settings.repeat_s) for node in context.other_members}
        leader = Leader(candidate.ballot, debts, context.quorums, peers)
        self._candidate = None
        self._office = office = Office(context, self._acceptor, learner, self._grant, leader)
        context.event("elected", "Promise", ballot=leader.ballot, floor=debts.floor, owed=len(debts.values))
        if len(debts.values) > debts.gaps:
            context.event("adopted", "Promise", ballot=leader.ballot, slots=len(debts.values) - debts.gaps)
        if debts.gaps:
            context.event("gap filled", "Promise", ballot=leader.ballot, slots=debts.gaps)
        self._election.lead(context, leader.ballot)
        for request in self._asking.take_all():
            office.reads.add(request, context)
        if debts.floor > learner.committed:
            # Chosen, and forgotten by somebody: it must come before anything can be applied.
            learner.hear(leader.ballot, debts.floor, debts.source or context.node)
            learner.advance(self._acceptor, context, now_s)
            learner.fetch(context, now_s)
        office.begin(now_s)

    # --- handlers: the acceptor's side -------------------------------------------------------

    def _on_prepare(self, sender: NodeId, message: Prepare, now_s: float) -> None:
        ballot, acceptor, context = message.ballot, self._acceptor, self._context
        if not context.is_member:
            return
        if sender != ballot.node or sender not in context.members:
            self._refused(sender, message, f"ballot {ballot} is not its own")
            return
        if not self._believes(sender, message, ballot):
            return
        if ballot >= acceptor.promised and self._grant.binds(now_s):
            # A leader counts on it; who asks repeats the question. At the ballot joined, too: who joins one
            # along with a snapshot has promised nobody anything.
            return
        if ballot > acceptor.promised:
            self._join(ballot, "Prepare", now_s)
        answer = acceptor.on_prepare(message)
        if isinstance(answer, Promise):
            # Who promised waits for the candidate as it would for a leader.
            self._election.deadline_s = now_s + self._election.timeout_s
        if answer is not None:
            context.send(sender, answer)

    def _on_accept(self, sender: NodeId, message: Accept, now_s: float) -> None:
        ballot, slot, value, committed = message
        election, acceptor, learner = self._election, self._acceptor, self._learner
        if ballot == acceptor.promised and sender == election.leader:
            election.heard_s = now_s
            election.deadline_s = now_s + election.timeout_s
        elif not self._obey(sender, ballot, message, now_s):
            return
        vote = acceptor.votes.get(slot)
        if vote is not None and slot <= learner.committed and vote.accepted_value != value:
            self._refused(sender, message, f"slot {slot} is committed with another value", "breach")
            return
        is_new = slot > acceptor.compacted and (vote is None or vote.accepted_ballot != ballot)
        try:
            acceptor.vote(ballot, slot, value)
        except ProtocolBreach as breach:
            self._refused(sender, message, str(breach), "breach")
            return
        if is_new:
            self._context.out.writes.append((slot_key(slot), pack_vote(ballot, value)))
        if committed > learner.known or learner.known > learner.committed:
            learner.hear(ballot, committed, sender)
            learner.advance(acceptor, self._context, now_s)

    def _on_heartbeat(self, sender: NodeId, message: Heartbeat, now_s: float) -> None:
        ballot, sequence, committed = message
        if self._obey(sender, ballot, message, now_s):
            learner = self._learner
            learner.hear(ballot, committed, sender)
            if learner.known > learner.committed:
                learner.advance(self._acceptor, self._context, now_s)
            # A grant from before the first record of this life is on disk would be forgotten in a crash.
            if sequence and (self._rounds.is_alive or not self._context.settings.lease_s):
                self._grant.give(ballot, now_s, self._context.settings)
                reply = _new(HeartbeatReply, (ballot, sequence, learner.committed))
                self._context.out.sends.append((sender, reply))

    def _on_take_over(self, sender: NodeId, message: TakeOver, now_s: float) -> None:
        if self._obey(sender, message.ballot, message, now_s) and self._context.is_member:
            self._campaign("TakeOver", now_s)

    # --- handlers: the candidate's and the leader's side -----------------------------------------

    def _on_promise(self, sender: NodeId, message: Promise, now_s: float) -> None:
        candidate = self._candidate
        if candidate is None or message.ballot != candidate.ballot:
            return
        question = candidate.on_promise(sender, message)
        # As long as pages come, phase 1 is under way and not stuck.
        self._election.deadline_s = now_s + self._election.timeout_s
        if question is not None:
            if sender == self._context.node:
                self._ask_own(question)
            else:
                self._context.send(sender, question)
        elif candidate.is_elected:
            self._take_office(candidate, now_s)

    def _on_accepted(self, sender: NodeId, message: Accepted, now_s: float) -> None:
        if self._office is not None:
            self._office.on_accepted(sender, message, now_s)

    def _on_nack(self, sender: NodeId, message: Nack, now_s: float) -> None:
        if sender not in self._context.members or not self._believes(sender, message, message.promised):
            return
        ballot, promised = message
        self._election.see(promised)
        office, candidate = self._office, self._candidate
        if promised <= ballot:
            return
        if office is not None and ballot == office.leader.ballot:
            self._step_down(office, "deposed", f"node {sender} joined {promised}", "Nack", now_s)
        elif candidate is not None and ballot == candidate.ballot:
            self._context.event("preempted", "Nack", ballot=ballot, by=promised)
            self._candidate = None
            self._election.follow_nobody(self._context, now_s)

    def _on_heartbeat_reply(self, sender: NodeId, message: HeartbeatReply, now_s: float) -> None:
        if self._office is not None:
            self._office.on_heartbeat_reply(sender, message, now_s)

    def _on_pre_vote(self, sender: NodeId, message: PreVote, now_s: float) -> None:
        context = self._context
        if context.is_member and sender in context.members:
            answer = self._election.consider(message, self._acceptor.promised, context, now_s)
            context.send(sender, answer)

    def _on_pre_voted(self, sender: NodeId, message: PreVoted, now_s: float) -> None:
        if sender not in self._context.members:
            return
        if message.promised is not None and not self._believes(sender, message, message.promised):
            return
        if self._election.on_pre_voted(sender, message, self._context):
            self._campaign("PreVoted", now_s)

    def _on_release(self, sender: NodeId, message: Release, now_s: float) -> None:
        if self._obey(sender, message.ballot, message, now_s):
            self._grant.release(message.ballot)

    def _on_reserved(self, sender: NodeId, message: Reserved, now_s: float) -> None:
        if sender != self._context.node:
            return  # only the own disk can say it
        self._rounds.on_reserved(message)
        candidate = self._candidate
        if candidate is not None and not candidate.sent:
            if candidate.ballot.round <= self._rounds.durable:
                self._prepare(candidate, now_s)

    # --- handlers: what was missed, and reads ------------------------------------------------------

    def _on_fetch(self, sender: NodeId, message: Fetch, now_s: float) -> None:
        self._learner.on_fetch(sender, message, self._acceptor, self._context, now_s)

    def _on_chosen(self, sender: NodeId, message: Chosen, now_s: float) -> None:
        if sender not in self._context.members:
            return
        highest = max((ballot for ballot, _ in message.entries), default=self._acceptor.promised)
        if not self._believes(sender, message, highest):
            return
        if highest > self._acceptor.promised:
            self._join(highest, "Chosen", now_s)
        self._learner.on_chosen(message, self._acceptor, self._context, now_s)

    def _on_read_index(self, sender: NodeId, message: ReadIndex, now_s: float) -> None:
        if self._office is not None:
            self._office.reads.add(Asked(sender, message.life, message.number), self._context)

    def _on_read_at(self, sender: NodeId, message: ReadAt, now_s: float) -> None:
        if sender in self._context.members:
            self._asking.on_read_at(message, self._rounds.life, self._context)

    # --- inside ------------------------------------------------------------------------------------

    def _snapshot(self, mark: Mark, cause: str, now_s: float) -> None:
        """All up to slot `mark` is durable in a snapshot: forget it, and be at least that far."""
        if type(mark) is not int or mark < 0:
            raise ConfigurationError(f"{cause}: the marks of Multi-Paxos are slots, not {mark!r:.80}")
        context, learner, office = self._context, self._learner, self._office
        if office is not None and mark > office.leader.committed:
            # Somebody committed what this leader did not, so somebody else leads.
            self._step_down(office, "deposed", f"slot {mark} was committed by another", cause, now_s)
        if self._acceptor.compact(mark):
            context.write(COMPACTION_KEY, pack_compaction(mark))
        if learner.skip(mark, now_s):
            context.event("installed", cause, slot=mark)
            learner.advance(self._acceptor, context, now_s)
        elif learner.committed > mark:
            learner.note(context)

    def _refuse(self, request: RequestId) -> None:
        """Send a request elsewhere, or say why it can not be taken."""
        context, node = self._context, self._election.leader
        if node is not None:
            context.out.outcomes.append(_new(Outcome, (request, OutcomeKind.REDIRECT, None, node, "")))
        else:
            context.reject(request, f"node {context.node} knows of no leader; try again")

    def _refused(self, sender: NodeId, message: Message, reason: str, action: str = "refused") -> None:
        self._context.event(action, message.__class__.__name__, sender=sender, reason=reason)
