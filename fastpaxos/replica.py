"""The roles of Fast Paxos composed: a replica that holds any number of named decrees.

A decree is named by the one key of a command's footprint.  A command that writes its key wants its payload
chosen; one that only reads it wants to know what is chosen, and completes what it finds half accepted.

A value goes straight to all acceptors. Each votes for the first one it sees, and its vote goes to all
members: two message delays, and everybody has learned. Three things may come in between. *Collision*: the
votes show that nothing can be chosen any more, and the ballot after it recovers, by its coordinator or by the
acceptors themselves. *Silence*: votes are missing, so the proposer repeats, and then begins a round of its
own with phase 1. *Contention* of late: then ballots are classic for a while, through one proposer for all.

What keeps it safe over a restart is Basic Paxos's (records in the same effects as the answers that report
them, rounds reserved in blocks, own answers through a reporting message to oneself), and one thing more: an
Accept leaves only when the own vote at its ballot is durable. The ballots of recovery are computed and not
reserved, and the own acceptor's record is what tells whether one was used, and for what.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastpaxos.collision import has_collided, recover
from fastpaxos.coordinator import Coordinator, CoordinatorState
from fastpaxos.desk import Desk
from fastpaxos.messages import (
    Accept,
    Accepted,
    AnyValue,
    Ask,
    Chosen,
    Forward,
    Nack,
    Prepare,
    Promise,
    Propose,
    Reserved,
)
from fastpaxos.open_decree import BACKOFF, IDLE, PARKED, PATIENCE, PROPOSING, REPEAT, OpenDecree
from fastpaxos.rounds import coordinator
from paxos.ballot import Ballot, NodeId
from paxos.basic.records import acceptor_key, pack_acceptor
from paxos.command import Command, RequestId
from paxos.contract import Configuration, Draw, Instant, Message, Outcome, OutcomeKind, Records
from paxos.errors import ConfigurationError, ProtocolBreach
from paxos.quorum import Phase

__all__ = ["FastPaxosReplica"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__

#: `draw("backoff", _DRAWS)`: how finely the random part of a wait is cut.
_DRAWS: Final = 256
#: How often an errand of another node is repeated before it is dropped; that node acts by itself.
_ERRAND_REPEATS: Final = 6


class FastPaxosReplica(Desk):
    """One member's part of Fast Paxos over named decrees. See `paxos.contract.Replica`.

    Args:
        configuration: with `FastPaxosSettings`, or None for the defaults, and a quorum system with fast
            quorums.
        records: what the store held; empty for a node that is new.
        draw: supplies the random part of waits, as `draw("backoff", bound)`.
        now: the time at which it starts.

    Raises:
        ConfigurationError: the node is no member, the settings are another protocol's, or the quorum system
            has no fast quorums.
        RecordError: a record is corrupted or newer than this code.

    Source: Lamport, *Fast Paxos* (2006), section 3.
    """

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        super().__init__(configuration, records, draw, now)
        self._handlers: dict[type, Callable[[NodeId, Any, Instant], None]] = {
            Propose: self._on_propose,
            AnyValue: self._on_any,
            Prepare: self._on_prepare,
            Promise: self._on_promise,
            Accept: self._on_accept,
            Accepted: self._on_accepted,
            Nack: self._on_nack,
            Chosen: self._on_chosen,
            Forward: self._on_forward,
            Ask: self._on_ask,
            Reserved: self._on_reserved,
        }

    # --- called by the driver --------------------------------------------------------------

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Get each command's decree decided: with its payload if it writes, with nothing if it reads.

        Raises:
            ConfigurationError: a footprint that is not exactly one key.
        """
        for request, footprint, payload in commands:
            reads, writes = footprint.reads, footprint.writes
            if len(reads) + len(writes) != 1 or footprint[2:] != ((), (), False):
                raise ConfigurationError(
                    f"a decree is named by exactly one key; request {request} names {footprint}"
                )
            self._submit(request, (writes or reads)[0], payload if writes else None, now)

    def _submit(self, request: RequestId, decree: bytes, value: bytes | None, now: Instant) -> None:
        context = self._context
        if decree in self._chosen:
            context.out.outcomes.append(_new(Outcome, (request, OutcomeKind.READY, decree, None, "")))
            return
        if self._is_busy(decree):
            context.reject(request, f"node {self._node} already works on {self._working} decrees; try again")
            return
        state = self._state(decree)
        if self._trace is not None:
            self._trace.submitted(context.out.events, decree, value)
        state.requests[request] = None if value is not None else state.attempt + 1
        self._requests[request] = decree
        self._pursue(state, decree, value, now)

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message of a member; anything else changes nothing.

        Raises:
            ProtocolBreach: two different values turn out chosen for one decree. Going on would hide it. What
                one message alone gets wrong is refused, told in an event, and changes nothing: else any
                member could stop all others.
        """
        handler = self._handlers.get(message.__class__)
        if handler is None or sender not in self._context.members:
            reason = "not of this protocol" if handler is None else "not a member"
            self._context.event("refused", message.__class__.__name__, sender=sender, reason=reason)
            return
        handler(sender, message, now)

    def tick(self, now: Instant) -> None:
        """Repeat, begin a round, or give up, whatever is due."""
        wakes = self._wakes
        while wakes and wakes[0][0] <= now.monotonic_s:
            deadline_s, decree = heapq.heappop(wakes)
            state = self._open.get(decree)
            if state is not None and state.deadline_s == deadline_s and state.stage is not IDLE:
                self._due(state, decree, now)

    # --- wanting a decree decided -----------------------------------------------------------

    def _pursue(self, state: OpenDecree, decree: bytes, value: bytes | None, now: Instant) -> None:
        """Work on a decree, joining the work already under way."""
        if state.coordinator is not None:
            if value is not None:
                state.coordinator.offer(value)
            return
        if state.at_work:
            return  # a value is on its way; whoever joins is answered by its news
        self._working += 1
        contention = self._contention
        if contention.quiet(now.monotonic_s):
            self._context.event("fast", "submit", reason=f"quiet for {self._settings.quiet_s} s")
        if value is None:
            self._lead(state, decree, None, now)
        elif not contention.is_classic:
            self._propose(state, decree, value, now)
        elif self._node != self._context.members[0] and now.monotonic_s >= self._suspected_until_s:
            state.offered = value
            self._context.send(self._context.members[0], Forward(decree, value))
            self._wake(state, decree, PATIENCE, now.monotonic_s + self._settings.patience_s)
        else:
            self._lead(state, decree, value, now)

    def _propose(self, state: OpenDecree, decree: bytes, value: bytes, now: Instant) -> None:
        """Send a value straight to the acceptors; the own one answers through its disk."""
        state.proposed = value
        state.missed = False
        state.refused.clear()
        state.delay_s = self._settings.repeat_s
        state.takeover_s = now.monotonic_s + self._settings.patience_s * (1.0 + self._share())
        question = _new(Propose, (decree, value))
        if self._trace is not None:
            self._trace.asks(self._context.out.events, question)
        self._on_propose(self._node, question, now)
        self._context.send_members(question)
        self._wake(state, decree, PROPOSING, min(now.monotonic_s + state.delay_s, state.takeover_s))

    def _share(self) -> float:
        """From 0 to below 1, by rank and by draw, so that not all do the same at once."""
        members = self._context.members
        rank = members.index(self._node) / len(members)
        return (rank + self._context.draw("backoff", _DRAWS) / _DRAWS) % 1.0

    def _lead(self, state: OpenDecree, decree: bytes, value: bytes | None, now: Instant) -> None:
        """Begin a round of one's own. Whoever calls has counted the decree as worked on."""
        state.proposed = state.offered = None
        state.outbid = 0
        quorums = self._context.quorums
        state.coordinator = Coordinator(
            self._node, quorums, self._rounds, value, decree=decree, floor=self._floor
        )
        self._begin(state, state.coordinator, decree, now)

    def _begin(self, state: OpenDecree, leader: Coordinator, decree: bytes, now: Instant) -> None:
        """Start a round, once the disk holds a reservation that covers it."""
        settings = self._settings
        fast = settings.reopen and state.attempt == 0 and not self._contention.is_classic
        above = max(state.acceptor.promised, state.tally.highest or state.acceptor.promised)
        try:
            question = leader.prepare(above, fast=fast and leader.value is not None)
        except ProtocolBreach as end:
            self._despair(state, decree, str(end), now)
            return
        if question.ballot.round > self._highest:
            self._despair(state, decree, f"round {question.ballot.round} is beyond any honest use", now)
            return
        state.attempt += 1
        state.delay_s = settings.repeat_s
        state.takeover_s = now.monotonic_s + settings.patience_s * (1.0 + self._share())
        if question.ballot.round > self._durable:
            self._reserve(question.ballot.round)
            self._parked.append(decree)
            # No timer may wake it: a repetition now would send a ballot that the disk does not cover.
            state.stage, state.deadline_s = PARKED, float("inf")
            return
        self._ask_all(state, decree, question, now)

    def _ask_all(
        self, state: OpenDecree, decree: bytes, question: Prepare | Accept | AnyValue, now: Instant
    ) -> None:
        """Send a coordinator's question to every acceptor; the own one answers through its disk.

        An Accept goes to the own one first, and to the others when that one's vote is durable.
        """
        if self._trace is not None:
            self._trace.asks(self._context.out.events, question)
        if isinstance(question, Prepare):
            self._on_prepare(self._node, question, now)
            self._context.send_members(question)
        elif isinstance(question, AnyValue):
            self._context.send_members(question)
            self._on_any(self._node, question, now)
            self._send_own(state, decree, now)
        elif state.vouched == question.ballot:
            self._send_accept(question)
        else:
            self._on_accept(self._node, question, now)
        if self._open.get(decree) is state:
            self._wake(state, decree, REPEAT, now.monotonic_s + state.delay_s)

    def _send_own(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        """The coordinator of a ballot that it opened is a proposer like all others."""
        leader = state.coordinator
        if leader is not None and leader.value is not None:
            question = _new(Propose, (decree, leader.value))
            self._context.send_members(question)
            self._on_propose(self._node, question, now)

    def _due(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        stage = state.stage
        if stage not in (PROPOSING, PATIENCE, REPEAT, BACKOFF):
            state.asked += 1
            self._context.send_members(Ask(decree))
            self._ask_later(state, decree, now)
            return
        if not state.requests:
            # Nobody here waits. An errand is pursued a while; what is left half done anyone can complete.
            state.errand -= 1
            if state.errand <= 0:
                self._context.event("abandoned", "tick", decree=decree)
                self._stop_work(state, decree, now)
                return
        if stage is PATIENCE:
            # Only a hint, so a wrong suspicion costs a duel at most.
            self._suspected_until_s = now.monotonic_s + 10 * self._settings.patience_s
            self._context.event("suspected", "tick", decree=decree, suspect=self._context.members[0])
            self._lead(state, decree, state.offered, now)
        elif stage is PROPOSING:
            self._repeat_proposal(state, decree, now)
        else:
            self._repeat_question(state, decree, now)

    def _repeat_proposal(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        if now.monotonic_s >= state.takeover_s:
            self._take_over(state, decree, now)
            return
        assert state.proposed is not None
        voted = state.tally.votes(state.tally.highest) if state.tally.highest is not None else {}
        question = _new(Propose, (decree, state.proposed))
        for member in self._context.other_members:
            if member not in voted:
                self._context.send(member, question)
        state.delay_s = min(state.delay_s * 2, self._settings.repeat_max_s)
        self._wake(state, decree, PROPOSING, min(now.monotonic_s + state.delay_s, state.takeover_s))

    def _repeat_question(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        leader = state.coordinator
        assert leader is not None
        question = leader.question
        # An Accept may only be repeated as long as the own acceptor stands by it. Nobody else need refuse it.
        left = isinstance(question, Accept) and state.acceptor.promised > question.ballot
        if state.stage is BACKOFF or question is None or left:
            self._begin(state, leader, decree, now)
            return
        if isinstance(question, AnyValue) and now.monotonic_s >= state.takeover_s:
            self._give_up_fast(state, decree, leader.ballot, now)
            self._begin(state, leader, decree, now)
            return
        state.delay_s = min(state.delay_s * 2, self._settings.repeat_max_s)
        if not isinstance(question, Accept) or state.vouched == question.ballot:
            self._context.send_members(question)
        if isinstance(question, AnyValue):
            self._send_own(state, decree, now)
        self._wake(state, decree, REPEAT, now.monotonic_s + state.delay_s)

    def _take_over(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        """The fast ballot was waited for long enough: recover it from its votes, or begin a round."""
        value, ballot = state.proposed, state.tally.highest
        if not state.refused and (ballot is None or state.collided < ballot):
            self._give_up_fast(state, decree, ballot, now)
        if ballot is None or not self._recover(state, decree, ballot, now):
            self._lead(state, decree, value, now)
        elif state.stage is PROPOSING:
            self._await_recovery(state, decree, now)

    def _give_up_fast(self, state: OpenDecree, decree: bytes, ballot: Ballot | None, now: Instant) -> None:
        """Votes are missing: too few acceptors answer for a fast quorum, or messages were lost."""
        if not state.missed:
            state.missed = True
            self._context.event("missed", "tick", decree=decree, ballot=ballot)
            self._note_failure("fast quorums do not answer", now)

    def _note_failure(self, reason: str, now: Instant) -> None:
        if self._contention.collided(now.monotonic_s):
            self._context.event("classic", "collision", reason=reason)

    # --- the acceptor's side -------------------------------------------------------------------

    def _on_propose(self, sender: NodeId, message: Propose, now: Instant) -> None:
        decree, value = message
        if decree not in self._open and self._answered(sender, decree):
            return
        state = self._state(decree)
        before = state.acceptor.accepted_ballot
        reply = state.acceptor.on_propose(value)
        if isinstance(reply, Nack) and state.waiting is None:
            state.waiting = value
        self._answer(state, "Propose", sender, reply, before, now)

    def _on_any(self, sender: NodeId, message: AnyValue, now: Instant) -> None:
        decree, ballot = message
        if decree not in self._open and self._answered(sender, decree):
            return
        if not self._believes(sender, message, ballot):
            return
        state = self._state(decree)
        before = state.acceptor.accepted_ballot
        try:
            reply = state.acceptor.on_any(ballot)
        except ValueError as error:
            self._context.event("refused", "AnyValue", sender=sender, decree=decree, reason=str(error))
            return
        if reply is None:
            if self._trace is not None:
                self._trace.answered(self._context.out.events, "AnyValue", None, state.acceptor, True)
            value = state.proposed if state.proposed is not None else state.waiting
            if value is None:
                return
            reply = state.acceptor.on_propose(value)
        self._answer(state, "AnyValue", sender, reply, before, now)

    def _on_prepare(self, sender: NodeId, message: Prepare, now: Instant) -> None:
        decree = message.decree
        if decree not in self._open and self._answered(sender, decree):
            return
        if not self._believes(sender, message, message.ballot):
            return
        state = self._state(decree)
        acceptor = state.acceptor
        before = acceptor.promised
        reply = acceptor.on_prepare(message)
        if acceptor.promised != before:
            self._context.write(acceptor_key(decree), pack_acceptor(acceptor.record()))
        self._context.send(sender, reply)
        if self._trace is not None:
            changed = acceptor.promised != before
            self._trace.answered(self._context.out.events, "Prepare", reply, acceptor, changed)

    def _on_accept(self, sender: NodeId, message: Accept, now: Instant) -> None:
        decree = message.decree
        if decree not in self._open and self._answered(sender, decree):
            return
        if not self._believes(sender, message, message.ballot):
            return
        state = self._state(decree)
        before = state.acceptor.accepted_ballot
        try:
            reply = state.acceptor.on_accept(message)
        except ProtocolBreach as breach:
            # Refused and reported. It is the sender's breach; this acceptor's vote stands.
            self._context.event("breach", "Accept", sender=sender, decree=decree, reason=str(breach))
            return
        self._answer(state, "Accept", sender, reply, before, now)

    def _answer(
        self,
        state: OpenDecree,
        cause: str,
        sender: NodeId,
        reply: Accepted | Nack,
        before: Ballot,
        now: Instant,
    ) -> None:
        """A new vote goes to every member, who all learn by counting; anything else to who asked."""
        acceptor, decree = state.acceptor, reply.decree
        changed = acceptor.accepted_ballot != before
        if self._trace is not None:
            self._trace.answered(self._context.out.events, cause, reply, acceptor, changed)
        if not changed:
            self._context.send(sender, reply)
            return
        self._context.write(acceptor_key(decree), pack_acceptor(acceptor.record()))
        for member in self._context.members:
            self._context.send(member, reply)
        if state.stage is IDLE:
            self._ask_later(state, decree, now)

    def _believes(self, sender: NodeId, message: Prepare | Accept | AnyValue, ballot: Ballot) -> bool:
        """Whether a ballot is its sender's, exists, and is of a round that honest nodes can reach."""
        if ballot.round > self._highest:
            reason = f"round {ballot.round} is beyond any honest use; up to {self._highest} is believed"
        elif not self._rounds.is_ballot(ballot):
            reason = f"there is no ballot {ballot}"
        elif sender != coordinator(ballot, self._context.members):
            reason = f"ballot {ballot} is not its sender's"
        else:
            return True
        cause = message.__class__.__name__
        self._context.event("refused", cause, sender=sender, decree=message.decree, reason=reason)
        return False

    # --- votes, and what they lead to ---------------------------------------------------------

    def _on_accepted(self, sender: NodeId, message: Accepted, now: Instant) -> None:
        decree, ballot, value = message
        if decree in self._chosen:
            return
        if ballot.round > self._highest:
            self._context.event("refused", "Accepted", sender=sender, decree=decree, reason="no such round")
            return
        state = self._state(decree)
        counted = len(state.tally.votes(ballot))
        try:
            choice = state.tally.count(sender, ballot, value)
        except ProtocolBreach as breach:
            if state.tally.choice is not None:
                raise  # Agreement
            # Who votes twice, or otherwise than others at a classic ballot, is not counted.
            self._context.event("breach", "Accepted", sender=sender, decree=decree, reason=str(breach))
            return
        if self._trace is not None:
            self._trace.counted(self._context.out.events, sender, message, state.tally, counted)
        if choice is not None:
            fast = self._rounds.is_fast(ballot)
            why = "collision" if state.collided.round >= 0 else "missing votes" if state.missed else ""
            if not fast and not why:
                why = "classic ballot"
            self._context.event(
                "chosen",
                "Accepted",
                decree=decree,
                ballot=ballot,
                fast=fast,
                reason=why,
                waiting=len(state.requests),
            )
            if fast:
                self._contention.chose_fast()
            self._learn(decree, ballot, value)
            return
        if sender == self._node:
            self._on_vouched(state, decree, ballot)
        if state.stage is IDLE:
            self._ask_later(state, decree, now)
        if ballot > state.collided:
            self._look(state, decree, ballot, now)
        elif ballot == state.collided:
            self._recover(state, decree, ballot, now)

    def _on_vouched(self, state: OpenDecree, decree: bytes, ballot: Ballot) -> None:
        """The own vote is durable: an Accept that waited for it leaves."""
        if ballot <= state.vouched:
            return
        state.vouched = ballot
        leader = state.coordinator
        if leader is not None and leader.ballot == ballot and isinstance(leader.question, Accept):
            self._send_accept(leader.question)

    def _send_accept(self, question: Accept) -> None:
        self._context.send_members(question)
        if self._trace is not None:
            self._trace.sends(self._context.out.events, question)

    def _look(self, state: OpenDecree, decree: bytes, ballot: Ballot, now: Instant) -> None:
        """Whether a vote shows that its ballot has collided."""
        votes = state.tally.votes(ballot)
        if not self._rounds.is_fast(ballot) or not has_collided(votes, self._context.quorums):
            return
        state.collided = ballot
        self._context.event("collision", "Accepted", decree=decree, ballot=ballot, votes=len(votes))
        self._note_failure("proposals collide", now)
        self._recover(state, decree, ballot, now)
        if state.stage is PROPOSING:
            self._await_recovery(state, decree, now)

    def _await_recovery(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        """Others recover, or all acceptors do: give them their time."""
        state.takeover_s = now.monotonic_s + self._settings.recover_s * (1.0 + self._share())
        self._wake(state, decree, PROPOSING, state.takeover_s)

    def _recover(self, state: OpenDecree, decree: bytes, ballot: Ballot, now: Instant) -> bool:
        """Recover a fast ballot from its votes, if that is this node's part; whether it did."""
        following = self._rounds.successor(ballot)
        acceptor = state.acceptor
        if following is None or acceptor.promised > following:
            return False
        fast = self._rounds.is_fast(following)
        if not fast and coordinator(following, self._context.members) != self._node:
            return False
        if state.coordinator is not None and state.coordinator.ballot >= following:
            return False
        if fast and acceptor.accepted_ballot == following:
            return False
        found = recover(ballot, state.tally.votes(ballot), self._context.quorums, self._rounds)
        if found is None:
            return False
        value = found.pick.value
        assert value is not None
        self._context.event(
            "recovered", "Accepted", decree=decree, ballot=following, freedom=found.pick.freedom.value
        )
        if fast:
            before = acceptor.accepted_ballot
            reply = acceptor.on_accept(_new(Accept, (decree, following, value)))
            self._answer(state, "recovery", self._node, reply, before, now)
            return True
        if acceptor.accepted_ballot == following and acceptor.accepted_value is not None:
            value = acceptor.accepted_value  # used before, in this life or another: for this value
        self._adopt(state, decree, following, value, now)
        return True

    def _adopt(self, state: OpenDecree, decree: bytes, ballot: Ballot, value: bytes, now: Instant) -> None:
        """Propose, in the ballot that follows, what the votes of a fast ballot lead to."""
        if not state.at_work:
            self._working += 1
            state.errand = _ERRAND_REPEATS
        leader = state.coordinator
        if leader is None:
            own = state.proposed if state.proposed is not None else state.offered
            state.coordinator = leader = Coordinator(
                self._node, self._context.quorums, self._rounds, own, decree=decree, floor=self._floor
            )
        state.proposed = state.offered = None
        state.delay_s = self._settings.repeat_s
        self._ask_all(state, decree, leader.adopt(ballot, value), now)

    # --- the coordinator's side ---------------------------------------------------------------

    def _on_promise(self, sender: NodeId, message: Promise, now: Instant) -> None:
        state = self._open.get(message.decree)
        if state is None or state.coordinator is None:
            return
        leader = state.coordinator
        gathered = len(leader.gathered)
        try:
            question = leader.on_promise(sender, message)
        except ProtocolBreach as breach:
            self._context.event("breach", "Promise", sender=sender, decree=message.decree, reason=str(breach))
            return
        if self._trace is not None:
            self._trace.promised(self._context.out.events, sender, message, leader, gathered)
        if question is not None:
            state.delay_s = self._settings.repeat_s
            if isinstance(question, AnyValue):
                self._context.event("any", "Promise", decree=message.decree, ballot=message.ballot)
            elif question.value != leader.value:
                self._context.event("adopted", "Promise", decree=message.decree, ballot=message.ballot)
            self._ask_all(state, message.decree, question, now)
        elif leader.state is CoordinatorState.FREE:
            self._on_free(state, leader, message.decree, now)

    def _on_free(self, state: OpenDecree, leader: Coordinator, decree: bytes, now: Instant) -> None:
        """Phase 1 found no vote: nothing was chosen when it began, and reads from before then may say so."""
        if self._trace is not None:
            self._trace.ends(self._context.out.events, "Free", decree, leader.ballot)
        attempt = state.attempt
        done = [request for request, need in state.requests.items() if need is not None and need <= attempt]
        for request in done:
            del state.requests[request], self._requests[request]
            self._context.out.outcomes.append(_new(Outcome, (request, OutcomeKind.READY, decree, None, "")))
        self._context.event("undecided", "Promise", decree=decree, ballot=leader.ballot)
        if state.requests:
            # Reads that came while this phase 1 was under way need one of their own.
            self._begin(state, leader, decree, now)
        else:
            self._stop_work(state, decree, now)

    def _on_nack(self, sender: NodeId, message: Nack, now: Instant) -> None:
        state = self._open.get(message.decree)
        if state is None or not state.at_work:
            return
        if message.promised.round > self._highest:
            reason = f"round {message.promised.round} is beyond any honest use"
            self._context.event("refused", "Nack", sender=sender, decree=message.decree, reason=reason)
            return
        leader = state.coordinator
        if leader is None:
            self._on_refused(state, sender, message, now)
            return
        leader.on_nack(message)
        if leader.state is not CoordinatorState.PREEMPTED or state.stage in (BACKOFF, PARKED):
            return
        if self._trace is not None:
            self._trace.ends(self._context.out.events, "Preempt", message.decree, message.ballot)
        window_s = min(self._settings.backoff_s * 2.0**state.outbid, self._settings.backoff_max_s)
        state.outbid = min(state.outbid + 1, 32)
        self._context.event(
            "preempted", "Nack", decree=message.decree, ballot=message.ballot, by=message.promised
        )
        # Half a window at least; the rest by rank and by draw, so that even equal draws end a duel.
        self._wake(state, message.decree, BACKOFF, now.monotonic_s + window_s * (0.5 + self._share()))

    def _on_refused(self, state: OpenDecree, sender: NodeId, message: Nack, now: Instant) -> None:
        """The own proposal was refused: somebody began a round, and perhaps it came to nothing.

        As a reader's does. When no fast quorum is left that may vote for it, there is nothing to wait for.
        """
        if sender in state.refused or state.stage is not PROPOSING:
            return
        members, quorums = self._context.members, self._context.quorums
        left = [member for member in members if member not in state.refused]
        state.refused.add(sender)
        left_now = [member for member in left if member != sender]
        if quorums.is_quorum(left_now, Phase.FAST) or not quorums.is_quorum(left, Phase.FAST):
            return
        self._context.event("closed", "Nack", decree=message.decree, by=message.promised)
        at_s = now.monotonic_s + self._settings.backoff_s * (0.5 + self._share())
        state.takeover_s = min(state.takeover_s, at_s)
        self._wake(state, message.decree, PROPOSING, min(state.deadline_s, state.takeover_s))

    # --- errands, news, and rounds ------------------------------------------------------------------

    def _on_chosen(self, sender: NodeId, message: Chosen, now: Instant) -> None:
        decree, ballot, value = message
        self._learn(decree, ballot, value)

    def _on_forward(self, sender: NodeId, message: Forward, now: Instant) -> None:
        decree, value = message
        if self._answered(sender, decree) or self._is_busy(decree):
            return  # if this node is busy, the sender acts by itself when its patience ends
        state = self._state(decree)
        state.errand = _ERRAND_REPEATS
        leader = state.coordinator
        if leader is not None:
            if not leader.offer(value) and leader.value != value:
                self._note_failure("proposers compete", now)
        elif not state.at_work:
            self._working += 1
            self._lead(state, decree, value, now)

    def _on_ask(self, sender: NodeId, message: Ask, now: Instant) -> None:
        """Who asks is told the decision, or else the vote cast here: it may be all that it misses."""
        decree = message.decree
        if self._answered(sender, decree):
            return
        state = self._open.get(decree)
        if state is not None and state.acceptor.accepted_value is not None:
            acceptor = state.acceptor
            vote = (decree, acceptor.accepted_ballot, acceptor.accepted_value)
            self._context.send(sender, _new(Accepted, vote))

    def _on_reserved(self, sender: NodeId, message: Reserved, now: Instant) -> None:
        if sender != self._node:
            return  # only the own disk can say it
        self._durable = max(self._durable, message.round)
        parked, self._parked = self._parked, []
        for decree in parked:
            state = self._open.get(decree)
            if state is None or state.coordinator is None or state.stage is not PARKED:
                continue
            question = state.coordinator.question
            if question is None or question.ballot.round > self._durable:
                self._begin(state, state.coordinator, decree, now)
            else:
                self._ask_all(state, decree, question, now)
