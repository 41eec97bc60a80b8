"""The books of a replica of named decrees: what is open, decided, waited for, due, and reserved.

It knows nothing of ballots but that their rounds are reserved, and nothing of messages but the answers that
follow from what is known: news of a decision. The replica is this and the handlers.
"""

import heapq
from collections.abc import Hashable
from typing import Final, Self

from fastpaxos.acceptor import FastAcceptor
from fastpaxos.collision import Contention
from fastpaxos.learner import Tally
from fastpaxos.messages import MAX_ROUND, Chosen, Reserved
from fastpaxos.open_decree import ASK, IDLE, OpenDecree
from fastpaxos.rounds import Rounds
from fastpaxos.settings import FastPaxosSettings
from fastpaxos.tracing import Tracer
from paxos.ballot import Ballot, NodeId
from paxos.basic.records import (
    RESERVATION_KEY,
    acceptor_key,
    chosen_key,
    pack_chosen,
    pack_reservation,
    read_records,
)
from paxos.basic.watch import HoldsDecrees
from paxos.command import NOP, Command, Footprint, RequestId
from paxos.contract import (
    Configuration,
    Draw,
    Effects,
    Instant,
    Mark,
    Outcome,
    OutcomeKind,
    Records,
    Status,
)
from paxos.contract.context import Context
from paxos.errors import ConfigurationError, ProtocolBreach

__all__ = ["Desk"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__
#: A round so far above all that this node reserved is no honest one, and is not followed: a decree at such
#: a round would take the reservation, which is for all decrees, to the end of the rounds. Rounds rise by one
#: for each duel, by one reservation for each restart: honest nodes are a million restarts away from it.
_LEAP_ROUNDS: Final = 1 << 40
_FIELDS: Final = ("_working", "_suspected_until_s", "_floor", "_reserved", "_durable", "_highest")


class Desk(HoldsDecrees):
    """Open decrees and decisions, and who waits for what.

    Args:
        configuration: with `FastPaxosSettings`, or None for the defaults.
        records: what the store held; empty for a node that is new.
        draw: supplies the random part of waits.
        now: the time at which it starts.

    Raises:
        ConfigurationError: the node is no member, the settings are another protocol's, or the quorum system
            has no fast quorums.
        RecordError: a record is corrupted or newer than this code.
    """

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        self._context = context = Context(configuration, draw, FastPaxosSettings, "Fast Paxos")
        if not context.is_member:
            raise ConfigurationError(
                f"node {context.node} is not one of the members {context.members}; who decides decrees votes"
            )
        if not context.quorums.has_fast:
            raise ConfigurationError(
                f"Fast Paxos needs a quorum system with fast quorums, which "
                f"{context.quorums.describe():.200} is not"
            )
        self._settings: FastPaxosSettings = context.settings
        self._node: NodeId = context.node
        self._rounds: Rounds = context.settings.rounds
        self._open: dict[bytes, OpenDecree] = {}
        self._chosen: dict[bytes, tuple[Ballot, bytes]] = {}
        self._requests: dict[RequestId, bytes] = {}
        self._wakes: list[tuple[float, bytes]] = []
        self._working = 0
        self._suspected_until_s = 0.0
        self._parked: list[bytes] = []
        self._contention = Contention(self._settings.collisions_before_classic, self._settings.quiet_s)
        self._trace = Tracer(context.node) if configuration.trace else None
        found = read_records(records)
        if self._trace is not None:
            self._trace.restarted(context.out.events, found)
        #: Every round this node may have begun before this start is at or below it.
        self._floor = Ballot(found.reserved, context.members[-1] + 1)
        self._reserved = self._durable = found.reserved
        #: The highest round that is believed.
        self._highest = min(found.reserved + _LEAP_ROUNDS, MAX_ROUND)
        for decree, (ballot, value) in found.chosen.items():
            self._chosen[decree] = (ballot, value)
            context.out.applies.append((decree, _decided_command(decree, value)))
        for decree, record in found.acceptors.items():
            if decree not in self._chosen:
                state = self._state(decree, FastAcceptor(self._rounds, decree, record))
                state.vouched = record.accepted_ballot
                self._ask_later(state, decree, now)
        self._reserve(found.reserved + 1)

    # --- called by the driver --------------------------------------------------------------

    def read(self, request: RequestId, now: Instant) -> None:
        """Decrees are independent, so there is no place in an order to wait for.

        Raises:
            ConfigurationError: always; read a decree with a command that has its name as read footprint.
        """
        raise ConfigurationError(f"request {request}: a decree is read by a command that reads its name")

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
        raise ConfigurationError(f"Fast Paxos has no action {action!r:.40}")

    def abandon(self, request: RequestId, now: Instant) -> None:
        """Nobody waits for this request: stop repeating for its sake alone."""
        decree = self._requests.pop(request, None)
        if decree is not None:
            del self._open[decree].requests[request]

    def effects(self) -> Effects:
        """Take what has gathered."""
        out, self._context.out = self._context.out, Effects()
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
        """How many decrees are decided, open, and worked on; and whether ballots are fast."""
        values: dict[str, object] = {
            "decided": len(self._chosen),
            "open": len(self._open),
            "working": self._working,
            "waiting": len(self._requests),
            "reserved_round": self._durable,
            "recovery": self._settings.recovery,
            "ballots": "classic" if self._contention.is_classic else "fast",
            "collisions_in_a_row": self._contention.collisions,
        }
        summary = f"{len(self._chosen)} decided, {self._working} in progress, {values['ballots']} ballots"
        return Status("fastpaxos", self._node, summary, values)

    # --- what tools look at --------------------------------------------------------------

    @property
    def rounds(self) -> Rounds:
        """Which ballots are fast."""
        return self._rounds

    def acceptor(self, decree: bytes) -> FastAcceptor | None:
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
        other = type(self)(self._context.configuration, {}, self._context.draw, Instant(0.0))
        other._context.out = Effects()
        for name in ("applies", "events", "outcomes", "sends", "transfers", "writes"):
            setattr(other._context.out, name, list(getattr(self._context.out, name)))
        other._open = {decree: state.clone() for decree, state in self._open.items()}
        other._chosen = dict(self._chosen)
        other._requests = dict(self._requests)
        other._wakes = list(self._wakes)
        other._parked = list(self._parked)
        other._contention = self._contention.clone()
        for name in _FIELDS:
            setattr(other, name, getattr(self, name))
        return other

    def fingerprint(self) -> Hashable:
        """Equal for replicas that behave alike; times left out."""
        opened = frozenset((decree, state.fingerprint()) for decree, state in self._open.items())
        rounds = (self._floor, self._reserved, self._durable)
        return (opened, frozenset(self._chosen.items()), rounds, self._contention.fingerprint())

    # --- open decrees, and when they are due -------------------------------------------------------

    def _state(self, decree: bytes, acceptor: FastAcceptor | None = None) -> OpenDecree:
        state = self._open.get(decree)
        if state is None:
            acceptor = acceptor or FastAcceptor(self._rounds, decree)
            self._open[decree] = state = OpenDecree(acceptor, Tally(self._context.quorums, self._rounds))
        return state

    def _is_busy(self, decree: bytes) -> bool:
        """Whether there is no room for one more decree. It opens nothing: a refusal leaves no trace."""
        if self._working < self._settings.max_open:
            return False
        state = self._open.get(decree)
        return state is None or not state.at_work

    def _wake(self, state: OpenDecree, decree: bytes, stage: str, at_s: float) -> None:
        state.stage = stage
        state.deadline_s = at_s
        heapq.heappush(self._wakes, (at_s, decree))

    def _ask_later(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        """Having voted, or seen votes, and heard no more, ask what became of it; ever less often."""
        voted = state.acceptor.accepted_value is not None or state.tally.highest is not None
        if voted and state.asked < self._settings.ask_tries:
            self._wake(state, decree, ASK, now.monotonic_s + self._settings.ask_s * 2.0**state.asked)
        else:
            state.stage = IDLE

    def _stop_work(self, state: OpenDecree, decree: bytes, now: Instant) -> None:
        if self._trace is not None and state.coordinator is not None:
            self._trace.ends(self._context.out.events, "Stop", decree, state.coordinator.ballot)
        state.coordinator = state.proposed = state.offered = None
        state.errand = state.outbid = state.asked = 0
        state.stage = IDLE
        self._working -= 1
        if state.acceptor.promised.round < 0 and state.tally.highest is None:
            del self._open[decree]  # nothing was asked of anyone: nothing to remember
        else:
            self._ask_later(state, decree, now)

    def _despair(self, state: OpenDecree, decree: bytes, why: str, now: Instant) -> None:
        """There is no round left to go on with. Who waits is told so; other decrees are not concerned."""
        # What was proposed here before may still be chosen.
        kept = state.attempt == 0 and state.coordinator is not None and state.coordinator.value is None
        kind = OutcomeKind.REJECTED if kept else OutcomeKind.UNKNOWN
        reason = f"node {self._node} can not get decree {decree!r:.80} decided: {why}; ask another node"
        for request in state.requests:
            del self._requests[request]
            self._context.out.outcomes.append(Outcome(request, kind, reason=reason))
        state.requests.clear()
        self._context.event("exhausted", "propose", decree=decree, reason=why)
        self._stop_work(state, decree, now)

    # --- rounds -----------------------------------------------------------------------------------

    def _reserve(self, round_: int) -> None:
        if round_ > self._reserved:
            self._reserved = min(round_ + self._settings.reserve_rounds, MAX_ROUND)
            self._highest = min(self._reserved + _LEAP_ROUNDS, MAX_ROUND)
            self._context.write(RESERVATION_KEY, pack_reservation(self._reserved))
            self._context.send(self._node, Reserved(self._reserved))

    # --- decisions --------------------------------------------------------------------------------

    def _answered(self, sender: NodeId, decree: bytes) -> bool:
        """Where the decision is known, it is the answer to every question about the decree."""
        chosen = self._chosen.get(decree)
        if chosen is None:
            return False
        ballot, value = chosen
        if sender != self._node:
            self._context.send(sender, _new(Chosen, (decree, ballot, value)))
            if self._trace is not None:
                self._trace.told(self._context.out.events, decree, value)
        return True

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
        out = self._context.out
        state = self._open.pop(decree, None)
        if self._trace is not None:
            self._trace.learned(out.events, decree, value, state.tally.choice if state is not None else None)
        if state is not None:
            self._working -= state.at_work
            for request in state.requests:
                del self._requests[request]
                out.outcomes.append(_ready(request, decree))
            if state.acceptor.promised.round >= 0:
                out.writes.append((acceptor_key(decree), None))
        self._chosen[decree] = (ballot, value)
        out.writes.append((chosen_key(decree), pack_chosen(ballot, value)))
        out.applies.append((decree, _decided_command(decree, value)))


def _ready(request: RequestId, decree: bytes) -> Outcome:
    return _new(Outcome, (request, OutcomeKind.READY, decree, None, ""))


def _decided_command(decree: bytes, value: bytes) -> Command:
    return _new(Command, (NOP.request, _new(Footprint, ((), (decree,), (), (), False)), value))
