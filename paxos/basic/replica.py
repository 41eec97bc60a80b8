"""The three roles composed: a replica that holds any number of named decrees.

A decree is named by the one key of a command's footprint.  A command that writes its key wants its
payload chosen; one that only reads it wants to know what is chosen, proposes nothing of its own, and
completes what it finds half accepted.  What is chosen may be another's: every request for a decree
ends with the same value.

The life of a decree here: an *open* entry holds the acceptor, and, while this node wants the decree
decided, a proposer and a learner; once the decision is known only that is kept, and it answers every
later question.

Three things keep it safe over a restart.  The acceptor's record is written in the same effects as the
answer that reports it.  Ballot rounds are reserved on disk in blocks, and a Prepare leaves only inside
a block known to be durable, so no ballot is used twice.  The own acceptor's answers go through a
reporting message to oneself, so that the own vote counts only when it is on disk.
"""

import heapq
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Self

from paxos.ballot import Ballot, NodeId
from paxos.basic.acceptor import Acceptor
from paxos.basic.learner import Learner
from paxos.basic.messages import (
    MAX_ROUND,
    Accept,
    Accepted,
    Ask,
    Chosen,
    Forward,
    Nack,
    Prepare,
    Promise,
    Reserved,
)
from paxos.basic.open_decree import ASK, BACKOFF, IDLE, PARKED, PATIENCE, REPEAT, OpenDecree
from paxos.basic.proposer import Proposer, ProposerState
from paxos.basic.records import (
    RESERVATION_KEY,
    acceptor_key,
    chosen_key,
    pack_acceptor,
    pack_chosen,
    pack_reservation,
    read_records,
)
from paxos.basic.settings import BasicSettings
from paxos.basic.tracing import Tracer
from paxos.basic.watch import HoldsDecrees
from paxos.command import NOP, Command, Footprint, RequestId
from paxos.contract import (
    Configuration,
    Draw,
    Effects,
    Event,
    Instant,
    Mark,
    Message,
    Outcome,
    OutcomeKind,
    Records,
    Status,
)
from paxos.errors import ConfigurationError, ProtocolBreach

__all__ = ["BasicReplica"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__

#: `draw("backoff", _DRAWS)`: how finely the random part of a backoff is cut.
_DRAWS: Final = 256
#: The deadline of a decree that waits for the disk and not for the clock.
_NEVER_S: Final = float("inf")
#: How often an errand of another node is repeated before it is dropped; that node proposes by itself.
_ERRAND_REPEATS: Final = 6
#: A round so far above all that this node reserved is no honest one, and is not followed: a decree at such
#: a round would take the reservation, which is for all decrees, to the end of the rounds. Rounds rise by one
#: for each duel, by one reservation for each restart: honest nodes are a million restarts away from it.
_LEAP_ROUNDS: Final = 1 << 40


class BasicReplica(HoldsDecrees):
    """One member's part of Basic Paxos over named decrees. See `paxos.contract.Replica`.

    Args:
        configuration: with `BasicSettings`, or None for the defaults.
        records: what the store held; empty for a node that is new.
        draw: supplies the random part of backoffs, as `draw("backoff", bound)`.
        now: the time at which it starts.

    Raises:
        ConfigurationError: the node is no member, or the settings are another protocol's.
        RecordError: a record is corrupted or newer than this code.

    Source: Lamport, *Paxos Made Simple*, sections 2.2 to 2.5.
    """

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        settings = configuration.settings if configuration.settings is not None else BasicSettings()
        if not isinstance(settings, BasicSettings):
            raise ConfigurationError(
                f"Basic Paxos is configured by BasicSettings, not {type(settings).__name__}"
            )
        if configuration.node not in configuration.members:
            raise ConfigurationError(
                f"node {configuration.node} is not one of the members {configuration.members}"
            )
        if settings.distinguished is not None and settings.distinguished not in configuration.members:
            raise ConfigurationError(
                f"distinguished: node {settings.distinguished} is no member of {configuration.members}"
            )
        self._configuration = configuration
        self._settings = settings
        self._node = configuration.node
        self._quorums = configuration.quorums
        self._members = configuration.members
        self._others = tuple(member for member in configuration.members if member != self._node)
        self._draw = draw
        self._trace = Tracer(self._node) if configuration.trace else None
        self._out = Effects()
        self._open: dict[bytes, OpenDecree] = {}
        self._chosen: dict[bytes, tuple[Ballot, bytes]] = {}
        self._requests: dict[RequestId, bytes] = {}
        self._wakes: list[tuple[float, bytes]] = []
        self._working = 0
        self._suspected_until_s = 0.0
        self._parked: list[bytes] = []
        found = read_records(records)
        if self._trace is not None:
            self._trace.restarted(self._out.events, found)
        #: Every round this node may have used before this start is at or below it.
        self._floor = Ballot(found.reserved, self._members[-1] + 1)
        self._reserved = self._durable = found.reserved
        #: The highest round that is believed.
        self._highest = min(found.reserved + _LEAP_ROUNDS, MAX_ROUND)
        for decree, (ballot, value) in found.chosen.items():
            self._chosen[decree] = (ballot, value)
            self._out.applies.append((decree, _decided_command(decree, value)))
        for decree, record in found.acceptors.items():
            if decree not in self._chosen:
                self._open[decree] = state = OpenDecree(Acceptor(decree, record))
                self._ask_later(state, decree, now)
        self._reserve(found.reserved + 1)
        self._handlers: dict[type, Callable[[NodeId, Any, Instant], None]] = {
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
        if decree in self._chosen:
            self._out.outcomes.append(_ready(request, decree))
            return
        if self._is_busy(decree):
            reason = f"node {self._node} already works on {self._working} decrees; try again"
            self._out.outcomes.append(Outcome(request, OutcomeKind.REJECTED, reason=reason))
            return
        state = self._state(decree)
        if self._trace is not None:
            self._trace.submitted(self._out.events, decree, value)
        state.requests[request] = None if value is not None else state.attempt + 1
        self._requests[request] = decree
        self._pursue(state, decree, value, now)

    def read(self, request: RequestId, now: Instant) -> None:
        """Decrees are independent, so there is no place in an order to wait for.

        Raises:
            ConfigurationError: always; read a decree with a command that has its name as read footprint.
        """
        raise ConfigurationError(f"request {request}: a decree is read by a command that reads its name")

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message of a member; anything else changes nothing.

        Raises:
            ProtocolBreach: two different values turn out chosen for one decree. Going on would hide it. What
                one message alone gets wrong (two values at one ballot, a round that nobody has reached) is
                refused, told in an event, and changes nothing: else any member could stop all others.
        """
        if sender not in self._members:
            self._event("refused", message.__class__.__name__, sender=sender, reason="not a member")
            return
        handler = self._handlers.get(message.__class__)
        if handler is None:
            self._event("refused", message.__class__.__name__, sender=sender, reason="not of this protocol")
            return
        handler(sender, message, now)

    def tick(self, now: Instant) -> None:
        """Repeat, begin again, or give up, whatever is due."""
        wakes = self._wakes
        while wakes and wakes[0][0] <= now.monotonic_s:
            deadline_s, decree = heapq.heappop(wakes)
            state = self._open.get(decree)
            if state is not None and state.deadline_s == deadline_s and state.stage is not IDLE:
                self._due(state, decree, now)

    def compact(self, mark: Mark, now: Instant) -> None:
        """Nothing to forget: every decision is kept, since every decree can be read for ever."""

    def part(self, mark: Mark) -> bytes:
        """Nothing: there are no snapshots of decrees."""
        return b""

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """Nothing to do: decisions arrive one by one."""

    def instruct(self, action: str, node: NodeId, now: Instant) -> None:
        """There is nothing to instruct it to.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"Basic Paxos has no action {action!r:.40}")

    def abandon(self, request: RequestId, now: Instant) -> None:
        """Nobody waits for this request: stop repeating for its sake alone."""
        decree = self._requests.pop(request, None)
        if decree is not None:
            del self._open[decree].requests[request]

    def effects(self) -> Effects:
        """Take what has gathered."""
        out, self._out = self._out, Effects()
        wakes = self._wakes
        while wakes:
            deadline_s, decree = wakes[0]
            state = self._open.get(decree)
            if state is not None and state.deadline_s == deadline_s and state.stage is not IDLE:
                out.wake_at_s = deadline_s
                break
            heapq.heappop(wakes)
        room = self._settings.max_open - self._working
        out.room = room if room > 0 else 0
        return out

    def status(self) -> Status:
        """How many decrees are decided, open, and worked on."""
        values: dict[str, object] = {
            "decided": len(self._chosen),
            "open": len(self._open),
            "working": self._working,
            "waiting": len(self._requests),
            "reserved_round": self._durable,
            "distinguished": self._settings.distinguished,
        }
        summary = f"{len(self._chosen)} decided, {self._working} in progress"
        return Status("paxos", self._node, summary, values)

    # --- what tools look at --------------------------------------------------------------

    def acceptor(self, decree: bytes) -> Acceptor | None:
        """The acceptor of a decree that is not known to be decided here; None when there is none."""
        state = self._open.get(decree)
        return state.acceptor if state else None

    def chosen(self, decree: bytes) -> tuple[Ballot, bytes] | None:
        """Ballot and value known to be chosen; None while unknown here."""
        return self._chosen.get(decree)

    def decrees(self) -> dict[bytes, bytes]:
        """Every decision known here, by name."""
        return {decree: value for decree, (_, value) in self._chosen.items()}

    def clone(self) -> Self:
        """An independent copy, sharing only what never changes."""
        other = type(self)(self._configuration, {}, self._draw, Instant(0.0))
        other._out = Effects()
        for name in ("applies", "events", "outcomes", "sends", "transfers", "writes"):
            setattr(other._out, name, list(getattr(self._out, name)))
        other._open = {decree: state.clone() for decree, state in self._open.items()}
        other._chosen = dict(self._chosen)
        other._requests = dict(self._requests)
        other._wakes = list(self._wakes)
        other._parked = list(self._parked)
        for name in ("_working", "_suspected_until_s", "_floor", "_reserved", "_durable", "_highest"):
            setattr(other, name, getattr(self, name))
        return other

    def fingerprint(self) -> Hashable:
        """Equal for replicas that behave alike; times left out."""
        opened = frozenset((decree, state.fingerprint()) for decree, state in self._open.items())
        return (opened, frozenset(self._chosen.items()), self._floor, self._reserved, self._durable)

    # --- wanting a decree decided -----------------------------------------------------------

    def _state(self, decree: bytes) -> OpenDecree:
        state = self._open.get(decree)
        if state is None:
            self._open[decree] = state = OpenDecree(Acceptor(decree))
        return state

    @staticmethod
    def _at_work(state: OpenDecree) -> bool:
        return state.proposer is not None or state.offered is not None

    def _is_busy(self, decree: bytes) -> bool:
        """Whether there is no room for one more decree. It opens nothing: a refusal leaves no trace."""
        if self._working < self._settings.max_open:
            return False
        state = self._open.get(decree)
        return state is None or not self._at_work(state)

    def _pursue(self, state: OpenDecree, decree: bytes, value: bytes | None, now: Instant) -> None:
        """Work on a decree, joining the work already under way."""
        if state.proposer is not None:
            if value is not None:
                state.proposer.offer(value)
            return
        if state.offered is not None:
            return  # in the distinguished proposer's hands; a read that joins is answered by its news
        self._working += 1
        distinguished = self._settings.distinguished
        if (
            value is not None
            and distinguished is not None
            and distinguished != self._node
            and now.monotonic_s >= self._suspected_until_s
        ):
            state.offered = value
            self._out.sends.append((distinguished, Forward(decree, value)))
            self._wake(state, decree, PATIENCE, now.monotonic_s + self._settings.patience_s)
            return
        self._propose(state, decree, value, now)

    def _propose(self, state: OpenDecree, decree: bytes, value: bytes | None, now: Instant) -> None:
        state.proposer = Proposer(self._node, self._quorums, value, decree=decree, floor=self._floor)
        state.learner = Learner(self._quorums, decree=decree)
        state.outbid = 0
        self._begin(state, state.proposer, decree, now)

    def _begin(self, state: OpenDecree, proposer: Proposer, decree: bytes, now: Instant) -> None:
        """Start a ballot, once the disk holds a reservation that covers it."""
        # The own acceptor joined every ballot this node began for the decree in this life; `floor`
        # covers the lives before.
        try:
            question = proposer.prepare(state.acceptor.promised)
        except ProtocolBreach as end:
            self._despair(state, decree, str(end), now)
            return
        if question.ballot.round > self._highest:
            self._despair(state, decree, f"round {question.ballot.round} is beyond any honest use", now)
            return
        state.attempt += 1
        state.delay_s = self._settings.repeat_s
        if question.ballot.round > self._durable:
            self._reserve(question.ballot.round)
            self._parked.append(decree)
            # No timer may wake it: a repetition now would send a ballot that the disk does not cover.
            state.stage, state.deadline_s = PARKED, _NEVER_S
            return
        self._ask_all(state, decree, question, now)

    def _reserve(self, round_: int) -> None:
        if round_ > self._reserved:
            self._reserved = min(round_ + self._settings.reserve_rounds, MAX_ROUND)
            self._highest = min(self._reserved + _LEAP_ROUNDS, MAX_ROUND)
            self._out.writes.append((RESERVATION_KEY, pack_reservation(self._reserved)))
            self._out.sends.append((self._node, Reserved(self._reserved)))

    def _despair(self, state: OpenDecree, decree: bytes, why: str, now: Instant) -> None:
        """There is no round left to go on with. Who waits is told so; other decrees are not concerned."""
        # What was proposed here before, or handed to the distinguished proposer, may still be chosen.
        kept = state.attempt == 0 and self._settings.distinguished in (None, self._node)
        kind = OutcomeKind.REJECTED if kept else OutcomeKind.UNKNOWN
        reason = f"node {self._node} can not get decree {decree!r:.80} decided: {why}; ask another node"
        for request in state.requests:
            del self._requests[request]
            self._out.outcomes.append(Outcome(request, kind, reason=reason))
        state.requests.clear()
        self._event("exhausted", "propose", decree=decree, reason=why)
        self._stop_work(state, decree, now)

    def _ask_all(self, state: OpenDecree, decree: bytes, question: Prepare | Accept, now: Instant) -> None:
        """Send a question to every acceptor; the own one answers through its disk."""
        sends = self._out.sends
        if self._trace is not None:
            self._trace.asks(self._out.events, question)
        if isinstance(question, Prepare):
            self._on_prepare(self._node, question, now)
        else:
            self._on_accept(self._node, question, now)
        for member in self._others:
            sends.append((member, question))
        self._wake(state, decree, REPEAT, now.monotonic_s + state.delay_s)

    def _wake(self, state: OpenDecree, decree: bytes, stage: str, at_s: float) -> None:
        state.stage = stage
        state.deadline_s = at_s
        heapq.heappush(self._wakes, (at_s, decree))

    def _due(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        stage, proposer = state.stage, state.proposer
        if stage is PATIENCE:
            if not state.requests and not state.errand:
                self._stop_work(state, decree, now)
                return
            # Only a hint, so a wrong suspicion costs a duel at most.
            self._suspected_until_s = now.monotonic_s + 10 * self._settings.patience_s
            value, state.offered = state.offered, None
            self._event("suspected", "tick", decree=decree, suspect=self._settings.distinguished)
            self._propose(state, decree, value, now)
            return
        if stage is ASK:
            state.asked += 1
            self._out.sends.extend((member, Ask(decree)) for member in self._others)
            self._ask_later(state, decree, now)
            return
        if proposer is None:
            state.stage = IDLE
            return
        if not state.requests:
            # Nobody here waits. An errand is pursued a while; what is left half done anyone can complete.
            state.errand -= 1
            if state.errand <= 0:
                self._event("abandoned", "tick", decree=decree, ballot=proposer.ballot)
                self._stop_work(state, decree, now)
                return
        if stage is BACKOFF:
            self._begin(state, proposer, decree, now)
            return
        question = proposer.question
        if question is None:
            self._begin(state, proposer, decree, now)
            return
        self._out.sends.extend((member, question) for member in self._others)
        state.delay_s = min(state.delay_s * 2, self._settings.repeat_max_s)
        self._wake(state, decree, REPEAT, now.monotonic_s + state.delay_s)

    def _stop_work(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        if self._trace is not None:
            self._trace.stops(self._out.events, decree, state.proposer)
        state.proposer = state.learner = state.offered = None
        state.errand = state.outbid = state.asked = 0
        state.stage = IDLE
        self._working -= 1
        if state.acceptor.promised.round < 0:
            del self._open[decree]  # nothing was asked of anyone: nothing to remember
        else:
            self._ask_later(state, decree, now)

    def _ask_later(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        """Having voted and heard no more, ask what became of it; less and less often, then not at all."""
        if state.acceptor.accepted_value is not None and state.asked < self._settings.ask_tries:
            self._wake(state, decree, ASK, now.monotonic_s + self._settings.ask_s * 2.0**state.asked)
        else:
            state.stage = IDLE

    # --- the acceptor's side -------------------------------------------------------------------

    def _on_prepare(self, sender: NodeId, message: Prepare, now: Instant) -> None:
        decree, out = message.decree, self._out
        state = self._open.get(decree)
        if state is None and self._answered(sender, decree):
            return
        if message.ballot[0] > self._highest:
            self._disbelieve(sender, message, message.ballot)
            return
        if state is None:
            self._open[decree] = state = OpenDecree(Acceptor(decree))
        acceptor = state.acceptor
        before = acceptor.promised
        reply = acceptor.on_prepare(message)
        if acceptor.promised != before:
            out.writes.append((acceptor_key(decree), pack_acceptor(acceptor.record())))
        out.sends.append((sender, reply))
        if self._trace is not None:
            self._trace.answered(out.events, message, reply, acceptor, acceptor.promised != before)

    def _on_accept(self, sender: NodeId, message: Accept, now: Instant) -> None:
        decree, out = message.decree, self._out
        state = self._open.get(decree)
        if state is None and self._answered(sender, decree):
            return
        if message.ballot[0] > self._highest:
            self._disbelieve(sender, message, message.ballot)
            return
        if state is None:
            self._open[decree] = state = OpenDecree(Acceptor(decree))
        acceptor = state.acceptor
        before = acceptor.accepted_ballot
        try:
            reply = acceptor.on_accept(message)
        except ProtocolBreach as breach:
            # Refused and reported. It is the sender's breach; this acceptor's vote stands.
            self._event("breach", "Accept", sender=sender, decree=decree, reason=str(breach))
            return
        if acceptor.accepted_ballot != before:
            out.writes.append((acceptor_key(decree), pack_acceptor(acceptor.record())))
        out.sends.append((sender, reply))
        if state.stage is IDLE:
            self._ask_later(state, decree, now)
        if self._trace is not None:
            self._trace.answered(out.events, message, reply, acceptor, acceptor.accepted_ballot != before)

    def _disbelieve(self, sender: NodeId, message: Prepare | Accept | Nack, ballot: Ballot) -> None:
        """A round that no honest node can have reached is not followed there."""
        reason = f"round {ballot.round} is beyond any honest use; up to {self._highest} is believed"
        cause = message.__class__.__name__
        self._event("refused", cause, sender=sender, decree=message.decree, reason=reason)

    def _answered(self, sender: NodeId, decree: bytes) -> bool:
        """Where the decision is known, it is the answer to every question about the decree."""
        chosen = self._chosen.get(decree)
        if chosen is None:
            return False
        ballot, value = chosen
        self._out.sends.append((sender, _new(Chosen, (decree, ballot, value))))
        if self._trace is not None:
            self._trace.told(self._out.events, decree, value)
        return True

    # --- the proposer's and the learner's side ---------------------------------------------------

    def _on_promise(self, sender: NodeId, message: Promise, now: Instant) -> None:
        state = self._open.get(message.decree)
        if state is None or state.proposer is None:
            return
        proposer = state.proposer
        if self._trace is not None:
            self._trace.gathers(proposer)
        question = proposer.on_promise(sender, message)
        if self._trace is not None:
            self._trace.promise_gathered(self._out.events, sender, message, proposer)
        if question is not None:
            state.delay_s = self._settings.repeat_s
            if question.value != proposer.value:
                self._event("adopted", "Promise", decree=message.decree, ballot=message.ballot)
            self._ask_all(state, message.decree, question, now)
        elif proposer.state is ProposerState.FREE:
            self._on_free(state, proposer, message.decree, now)

    def _on_free(self, state: OpenDecree, proposer: Proposer, decree: bytes, now: Instant) -> None:
        """Phase 1 found no vote: nothing was chosen when it began, and reads from before then may say so."""
        if self._trace is not None:
            self._trace.free(self._out.events, proposer)
        attempt = state.attempt
        done = [request for request, need in state.requests.items() if need is not None and need <= attempt]
        for request in done:
            del state.requests[request], self._requests[request]
            self._out.outcomes.append(_ready(request, decree))
        self._event("undecided", "Promise", decree=decree, ballot=proposer.ballot)
        if state.requests:
            # Reads that came while this phase 1 was under way need one of their own.
            self._begin(state, proposer, decree, now)
        else:
            self._stop_work(state, decree, now)

    def _on_accepted(self, sender: NodeId, message: Accepted, now: Instant) -> None:
        state = self._open.get(message.decree)
        if state is None or state.learner is None:
            return
        if self._trace is not None:
            self._trace.gathers(state.learner)
        try:
            decision = state.learner.receive(sender, message)
        except ProtocolBreach as breach:
            if state.learner.decision is not None:
                raise  # Agreement
            # OneValuePerBallot: who voted otherwise than others at its ballot is not counted.
            self._event("breach", "Accepted", sender=sender, decree=message.decree, reason=str(breach))
            return
        if self._trace is not None:
            self._trace.vote_gathered(self._out.events, sender, message, state.learner)
        if decision is not None:
            decree, ballot, value = decision
            self._event("chosen", "Accepted", decree=decree, ballot=ballot, attempts=state.attempt)
            self._learn(decree, ballot, value)
            news, sends = _new(Chosen, (decree, ballot, value)), self._out.sends
            for member in self._others:
                sends.append((member, news))

    def _on_nack(self, sender: NodeId, message: Nack, now: Instant) -> None:
        state = self._open.get(message.decree)
        if state is None or state.proposer is None:
            return
        if message.promised.round > self._highest:
            self._disbelieve(sender, message, message.promised)
            return
        proposer = state.proposer
        proposer.on_nack(message)
        if proposer.state is not ProposerState.PREEMPTED or state.stage in (BACKOFF, PARKED):
            return
        if self._trace is not None:
            self._trace.preempted(self._out.events, message)
        window_s = min(self._settings.backoff_s * 2.0**state.outbid, self._settings.backoff_max_s)
        state.outbid = min(state.outbid + 1, 32)
        # Half a window at least; the rest by rank and by draw, so that even equal draws end a duel.
        rank = self._members.index(self._node) / len(self._members)
        share = (rank + self._draw("backoff", _DRAWS) / _DRAWS) % 1.0
        self._event("preempted", "Nack", decree=message.decree, ballot=message.ballot, by=message.promised)
        self._wake(state, message.decree, BACKOFF, now.monotonic_s + window_s * (0.5 + share))

    def _on_chosen(self, sender: NodeId, message: Chosen, now: Instant) -> None:
        decree, ballot, value = message
        self._learn(decree, ballot, value)

    def _learn(self, decree: bytes, ballot: Ballot, value: bytes) -> None:
        known = self._chosen.get(decree)
        if known is not None:
            if known[1] != value:
                raise ProtocolBreach(
                    f"Agreement: node {self._node} knows decree {decree!r:.80} decided at {known[0]} "
                    f"and hears of another value decided at {ballot}; "
                    "a member lost its disk, or is not what it says"
                )
            return
        out = self._out
        state = self._open.pop(decree, None)
        if self._trace is not None:
            self._trace.learned(out.events, decree, value, state.learner if state is not None else None)
        if state is not None:
            self._working -= self._at_work(state)
            for request in state.requests:
                del self._requests[request]
                out.outcomes.append(_ready(request, decree))
            if state.acceptor.promised.round >= 0:
                out.writes.append((acceptor_key(decree), None))
        self._chosen[decree] = (ballot, value)
        out.writes.append((chosen_key(decree), pack_chosen(ballot, value)))
        out.applies.append((decree, _decided_command(decree, value)))

    # --- errands, news, and rounds ------------------------------------------------------------------

    def _on_forward(self, sender: NodeId, message: Forward, now: Instant) -> None:
        if self._answered(sender, message.decree):
            return
        if self._is_busy(message.decree):
            return  # the sender proposes by itself when its patience ends
        state = self._state(message.decree)
        state.errand = _ERRAND_REPEATS
        if state.proposer is None and state.offered is None:
            self._working += 1
            self._propose(state, message.decree, message.value, now)
        elif state.proposer is not None:
            state.proposer.offer(message.value)

    def _on_ask(self, sender: NodeId, message: Ask, now: Instant) -> None:
        self._answered(sender, message.decree)

    def _on_reserved(self, sender: NodeId, message: Reserved, now: Instant) -> None:
        if sender != self._node:
            return  # only the own disk can say it
        self._durable = max(self._durable, message.round)
        parked, self._parked = self._parked, []
        for decree in parked:
            state = self._open.get(decree)
            if state is None or state.proposer is None or state.stage is not PARKED:
                continue
            question = state.proposer.question
            if question is None or question.ballot.round > self._durable:
                self._begin(state, state.proposer, decree, now)
            else:
                self._ask_all(state, decree, question, now)

    def _event(self, action: str, cause: str, **arguments: object) -> None:
        self._out.events.append(_new(Event, (action, self._node, arguments, cause, False)))


def _ready(request: RequestId, decree: bytes) -> Outcome:
    return _new(Outcome, (request, OutcomeKind.READY, decree, None, ""))


def _decided_command(decree: bytes, value: bytes) -> Command:
    return _new(Command, (NOP.request, _new(Footprint, ((), (decree,), (), (), False)), value))
