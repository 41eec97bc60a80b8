"""What a traced replica tells of its handlers, in the words of `specs/FastPaxosLog.tla`.

A traced replica is the replica itself, watched from outside: what a call changed, sent and wrote is compared
with what was there before, and each thing that it did becomes one event, named as the action of the
specification that it is. So a replica that does not trace knows nothing of traces. What changed nothing and
answered nothing is not told; what is asked again is told once.

`SPECIFICATION` ties the names: every action of the module is told here under the same name, but for Persist,
which happens between the driver and its disk (`Step.action` "durable"). Observers have no vote, and are not
in the specification: they are not traced.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from fastpaxos.log.candidate import Candidate
from fastpaxos.log.coordinator import Office
from fastpaxos.log.learner import Learned
from fastpaxos.log.messages import Chosen, Nack, Promise, Propose, Recover, Report, Voted
from fastpaxos.log.records import HINT_KEY
from fastpaxos.log.replica import FastLogReplica
from fastpaxos.log.settings import FastLogSettings
from fastpaxos.rounds import OPEN, Recovery, Rounds, coordinator
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.command import Command
from paxos.contract import (
    Configuration,
    Draw,
    Effects,
    Event,
    Instant,
    Mark,
    Message,
    Records,
    Specification,
)
from paxos.contract.traces import Given, PlainEvent, TraceForm, uncut
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem

__all__ = ["ACTIONS", "SPECIFICATION", "TracedReplica", "make_replica"]

#: Every action that is told.
ACTIONS: Final = frozenset(
    (
        *("Submit", "Propose", "Phase1a", "CountPage", "CountPromise", "Elected", "Repropose", "Phase2a"),
        *("AskSlot", "CountReport", "Recover", "Preempt", "Resign", "Phase1b", "MorePages", "Join"),
        *("ReportSlot", "Refuse", "Phase2b", "RecoverVote", "RepeatVote", "CountVote", "Learn"),
        *("LearnNews", "Tell", "Mark", "Snapshot", "Compact", "Install", "Restart"),
    )
)
#: Arguments of events that are slots, or count slots.
_SLOTS: Final = ("slot", "first", "following", "compacted", "floor", "committed", "hint")


# --- the form of the traces --------------------------------------------------------------------------


def _constants(events: Iterable[PlainEvent], quorums: QuorumSystem) -> dict[str, object]:
    """The last slot that is spoken of, the slots of a page, and of each ballot what it is.

    Of a ballot: whose it is, which one follows it where it is fast, and which one is its round's classic one.
    """
    last, found = 1, {OPEN}
    said: dict[str, set[int]] = {"page": set(), "fast_steps": set()}
    for event in events:
        last = max(last, *(event.get(name, 0) for name in _SLOTS))
        for name, values in said.items():
            values |= {event[name]} if name in event else set()
        for value in event.values():
            if isinstance(value, list) and len(value) == 3 and value[0] >= 0:
                found.add(Ballot(*value))
    for name, values in said.items():
        if len(values) > 1:
            raise ConfigurationError(
                f"traces of nodes that differ in {name}, {sorted(values)}, can not be checked together"
            )
    rounds = Rounds(*said["fast_steps"])
    for ballot in sorted(found):
        # All that a round has above this one.
        found |= {ballot._replace(step=step) for step in range(ballot.step, rounds.last_fast_step + 2)}
    # Sequences, by rank: TLC reads a function of hundreds of ballots with a recursion for each.
    ranked = sorted(found)
    begun = {ballot for ballot in ranked if ballot.round and ballot.step in (0, rounds.last_fast_step + 1)}
    return {
        "Last": last,
        "PageSize": max(said["page"], default=1),
        "Opening": OPEN,
        "Follows": tuple(rounds.successor(ballot) or BOTTOM for ballot in ranked),
        "Classics": tuple(rounds.classic(ballot.round, ballot.node) for ballot in ranked),
        "Owners": tuple(coordinator(ballot, quorums.members) for ballot in ranked),
        "Firsts": frozenset(begun),
    }


def _rough(nodes: int) -> FastLogSettings:
    """Settings in which rounds change often, and pages, notes and windows are small."""
    return FastLogSettings(
        recovery=(Recovery.UNCOORDINATED if nodes <= 3 else Recovery.COORDINATED).value,
        recover_s=0.03,
        collisions_before_classic=0,
        quiet_s=0.03,
        quiet_max_s=0.06,
        rival_s=0.02,
        heartbeat_s=0.04,
        election_min_s=0.2,
        election_max_s=0.4,
        repeat_s=0.3,
        repeat_max_s=0.6,
        fetch_s=0.01,
        window=6,
        page_slots=2,
        hint_slots=2,
        reserve_rounds=2,
    )


#: The module, and its actions as they are traced.
SPECIFICATION: Final = Specification(
    "FastPaxosLog",
    {name: name for name in sorted(ACTIONS)} | {"Persist": "durable"},
    TraceForm(
        cut=uncut,
        constants=_constants,
        words={"": "Nop"},
        settings=_rough,
        given={
            "None": Given.NONE,
            "Acceptor": Given.MEMBERS,
            "Quorum1": Given.PHASE_1,
            "Quorum2": Given.PHASE_2,
            "QuorumFast": Given.FAST,
            "Ballot": Given.BALLOTS,
            "Value": Given.VALUES,
            "Owner": "OwnerOf",
            "Fast": "IsFast",
            "Next1": "Following",
            "Classic": "ClassicOf",
            "First": "IsFirst",
            "Stands": "StandsEver",
        },
        ballot_fields=frozenset({"bal", "mbal", "prom", "promised"}),
        longest=160,
    ),
)


# --- the watched replica -----------------------------------------------------------------------------


class _Before(NamedTuple):
    """What a call found."""

    floor: Ballot
    compacted: int
    committed: int
    sends: int
    office: Office | None
    candidate: Candidate | None
    sent: bool
    flights: frozenset[tuple[int, Ballot]]


class TracedReplica(FastLogReplica):
    """A replica that tells, in events, what its handlers did. See `FastLogReplica`."""

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        super().__init__(configuration, records, draw, now)
        # What became known in the present call.
        self._learned: list[Learned] = []
        acceptor, learner = self._acceptor, self._learner
        held = [slot for slot in acceptor.slots if slot > acceptor.compacted]
        self._tell(
            "Restart",
            "start",
            promised=acceptor.floor,
            compacted=acceptor.compacted,
            committed=learner.committed,
            votes=sum(acceptor.slots[slot].accepted_value is not None for slot in held),
            alone=sum(acceptor.slots[slot].promised > BOTTOM for slot in held),
            page=self._context.settings.page_slots,
            fast_steps=self._context.rounds.last_fast_step,
        )

    def clone(self) -> "TracedReplica":
        """An independent copy, sharing only what never changes."""
        other = super().clone()
        other._learned = list(self._learned)
        return other

    def _tell(self, action: str, cause: str, **arguments: object) -> None:
        self._context.out.events.append(Event(action, self._context.node, arguments, cause, True))

    def _before(self) -> _Before:
        acceptor, candidate, office = self._acceptor, self.candidate, self._office
        return _Before(
            acceptor.floor,
            acceptor.compacted,
            self._learner.committed,
            len(self._context.out.sends),
            office,
            candidate,
            candidate is not None and candidate.sent,
            _flights(office),
        )

    # --- calls of the driver ------------------------------------------------------------------

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Take commands, to be placed in a slot each, or say why not."""
        pending = set(self._proposer.pending)
        super().submit(commands, now)
        for value in self._proposer.pending:
            if value not in pending:
                self._tell("Submit", "submit", value=_named(value))

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message of a member or observer; anything else changes nothing."""
        before = self._before()
        told = self._told_of(sender, message)
        super().receive(sender, message, now)
        told()
        self._told(before, message.__class__.__name__)

    def tick(self, now: Instant) -> None:
        """Send a heartbeat, recover, repeat, take over, or step down, whatever is due."""
        before = self._before()
        super().tick(now)
        self._told(before, "tick")

    def effects(self) -> Effects:
        """Take what has gathered."""
        before = self._before()
        effects = super().effects()
        self._told(before, "turn", effects.sends)
        if any(key == HINT_KEY for key, _ in effects.writes):
            self._tell("Mark", "turn", slot=self._learner._hint)
        # What is told of leaves now, so what is told must too.
        effects.events.extend(self._context.out.events)
        self._context.out.events.clear()
        return effects

    def part(self, mark: Mark) -> bytes:
        """What goes into a snapshot at slot `mark`, which is made now."""
        if type(mark) is int and mark > 0:
            self._tell("Snapshot", "part", slot=mark)
        return super().part(mark)

    def _snapshot(self, mark: Mark, cause: str, now_s: float) -> None:
        before = self._before()
        super()._snapshot(mark, cause, now_s)
        if self._learner.committed > before.committed and type(mark) is int and mark > before.committed:
            self._tell("Install", cause, slot=mark, committed=self._learner.committed)
        elif self._acceptor.compacted > before.compacted:
            self._tell("Compact", cause, slot=mark)

    # --- what a message brought ---------------------------------------------------------------

    def _told_of(self, sender: NodeId, message: Any) -> Callable[[], None]:
        """What to call after a message was handled, to tell what was counted of it."""
        self._learned.clear()
        if isinstance(message, Voted):
            return self._vote_told(sender, message)
        if isinstance(message, Promise):
            return self._promise_told(sender, message)
        if isinstance(message, Report):
            return self._report_told(sender, message)
        if isinstance(message, Nack):
            return self._nack_told(message)
        if isinstance(message, Chosen):
            return lambda: self._told_learned("LearnNews", "Chosen")
        return lambda: None

    def _learn(self, found: Sequence[Learned], cause: str, now_s: float) -> None:
        learner, compacted = self._learner, self._acceptor.compacted
        news = [
            each
            for each in found
            if each.slot > max(compacted, learner.committed) and each.slot not in learner.chosen
        ]
        super()._learn(found, cause, now_s)
        self._learned += news

    def _told_learned(self, action: str, cause: str) -> None:
        for slot, ballot, value in self._learned:
            self._tell(action, cause, slot=slot, ballot=ballot, value=_named(value))

    def _vote_told(self, sender: NodeId, message: Voted) -> Callable[[], None]:
        ballot, slot, value = message
        before = self._voters(slot, ballot)

        def told() -> None:
            after = self._voters(slot, ballot)
            if self._learned:
                after = {**before, sender: value}
            if len(after) > len(before):
                voters = frozenset(node for node, voted in after.items() if voted == value)
                self._tell(
                    "CountVote",
                    "Voted",
                    sender=sender,
                    ballot=ballot,
                    slot=slot,
                    value=_named(value),
                    voters=voters,
                )
            self._told_learned("Learn", "Voted")

        return told

    def _voters(self, slot: int, ballot: Ballot) -> dict[NodeId, bytes]:
        tally = self._learner.tallies.get(slot)
        return dict(tally.votes(ballot)) if tally is not None else {}

    def _promise_told(self, sender: NodeId, message: Promise) -> Callable[[], None]:
        candidate, office = self.candidate, self._office
        before = _pages(candidate, sender)

        def told() -> None:
            if candidate is None or _pages(candidate, sender) == before:
                return
            ballot, first, entries, following, compacted = message
            arguments: dict[str, object] = {
                "sender": sender,
                "ballot": ballot,
                "first": first,
                "following": following,
                "compacted": compacted,
                "told": len(entries),
            }
            if sender in candidate._promised:
                gathered = frozenset(candidate._promised)
                self._tell("CountPromise", "Promise", **arguments, gathered=gathered)
            else:
                self._tell("CountPage", "Promise", **arguments)
            if self._office is not office:
                self._told_office("Promise")

        return told

    def _told_office(self, cause: str) -> None:
        office = self._office
        if office is not None:
            self._tell("Elected", cause, ballot=office.ballot, floor=office.floor, first=office.first)

    def _report_told(self, sender: NodeId, message: Report) -> Callable[[], None]:
        ballot, slot, vote, value = message
        office = self._office
        asked = office is not None and office.recovery_ballot == ballot and slot in office.recoveries
        reports = dict(office.recoveries.get(slot, {})) if office is not None else {}

        def told() -> None:
            if asked and sender in self._context.members and sender not in reports:
                self._tell(
                    "CountReport",
                    "Report",
                    sender=sender,
                    ballot=ballot,
                    slot=slot,
                    vote=vote,
                    value=_named(value),
                )

        return told

    def _nack_told(self, message: Nack) -> Callable[[], None]:
        candidate, office = self.candidate, self._office

        def told() -> None:
            lost = office is not None and self._office is not office
            if lost or (candidate is not None and candidate.sent and self.candidate is not candidate):
                self._tell("Preempt", "Nack", ballot=message.ballot, promised=message.promised)

        return told

    # --- what a call did ----------------------------------------------------------------------

    def _send_proposal(self, proposal: Propose) -> None:
        ballot, slot, value = proposal
        self._tell("Propose", "turn", ballot=ballot, slot=slot, value=_named(value))
        super()._send_proposal(proposal)

    def _told(self, before: _Before, cause: str, sends: Sequence[tuple[NodeId, Any]] | None = None) -> None:
        """What a call did, by what it left: offices, promises, proposals, and what was sent."""
        acceptor, candidate, office = self._acceptor, self.candidate, self._office
        raised = acceptor.floor > before.floor
        begun = (
            candidate is not None and candidate.sent and not (candidate is before.candidate and before.sent)
        )
        if office is not None and office is not before.office and cause != "Promise":
            self._told_office(cause)
        if not raised and not begun and cause != "Nack":
            if before.office is not None and office is None:
                self._tell("Resign", cause, ballot=before.office.ballot)
            elif before.candidate is not None and before.sent and candidate is not before.candidate:
                if office is None:
                    self._tell("Resign", cause, ballot=before.candidate.ballot)
        if begun and candidate is not None:
            self._tell("Phase1a", cause, ballot=candidate.ballot, first=candidate.first)
        sent = (self._context.out.sends if sends is None else sends)[before.sends :]
        if raised and not any(isinstance(message, Promise) for _, message in sent):
            self._tell("Join", cause, ballot=acceptor.floor)
        if office is not None:
            self._told_flights(office, before, cause)
        self._told_sent(sent, raised, cause)

    def _told_flights(self, office: Office, before: _Before, cause: str) -> None:
        """What the coordinator proposed."""
        known = before.flights if office is before.office else frozenset()
        for slot, ballot in sorted(_flights(office) - known):
            if ballot != office.ballot:
                action = "Recover"
            else:
                action = "Repropose" if slot < office.first else "Phase2a"
            value = _named(office.flights[slot].value)
            self._tell(action, cause, ballot=ballot, slot=slot, value=value)

    def _told_sent(self, sent: Sequence[tuple[NodeId, Any]], raised: bool, cause: str) -> None:
        """Answers that were sent, and votes: those go to everybody, oneself included."""
        node = self._context.node
        cast = {message for recipient, message in sent if recipient == node and message.__class__ is Voted}
        asked: set[Recover] = set()
        for recipient, message in sent:
            kind = message.__class__
            if kind is Voted:
                if message not in cast:
                    self._told_vote("RepeatVote", cause, message)
                elif recipient == node:
                    alone = message.ballot.step and self._context.rounds.is_fast(message.ballot)
                    self._told_vote("RecoverVote" if alone else "Phase2b", cause, message)
            elif kind is Promise:
                self._told_promise("Phase1b" if raised else "MorePages", cause, message)
                raised = False
            elif kind is Report:
                if recipient == node:
                    self._told_question(Recover(message.ballot, message.slot), asked, cause)
                self._told_report(cause, message)
            elif kind is Recover:
                self._told_question(message, asked, cause)
            elif kind is Nack:
                self._tell("Refuse", cause, ballot=message.ballot, by=message.promised)
            elif kind is Chosen:
                for slot, (ballot, value) in enumerate(message.entries, message.first):
                    self._tell("Tell", cause, slot=slot, ballot=ballot, value=_named(value))

    def _told_vote(self, action: str, cause: str, message: Voted) -> None:
        ballot, slot, value = message
        self._tell(action, cause, ballot=ballot, slot=slot, value=_named(value))

    def _told_promise(self, action: str, cause: str, message: Promise) -> None:
        ballot, first, entries, following, compacted = message
        self._tell(
            action,
            cause,
            ballot=ballot,
            first=first,
            following=following,
            compacted=compacted,
            told=len(entries),
        )

    def _told_report(self, cause: str, message: Report) -> None:
        ballot, slot, vote, value = message
        self._tell("ReportSlot", cause, ballot=ballot, slot=slot, vote=vote, value=_named(value))

    def _told_question(self, question: Recover, asked: set[Recover], cause: str) -> None:
        if question not in asked:
            asked.add(question)
            self._tell("AskSlot", cause, ballot=question.ballot, slot=question.slot)


def _named(value: bytes | None) -> bytes | None:
    """A short name for a value; no name for a no-op, which is the empty one."""
    return blake2b(value, digest_size=6).hexdigest().encode() if value else value


def _flights(office: Office | None) -> frozenset[tuple[int, Ballot]]:
    """Where a coordinator has proposed something: slots and ballots."""
    if office is None:
        return frozenset()
    return frozenset((slot, flight.ballot) for slot, flight in office.flights.items())


def _pages(candidate: Candidate | None, sender: NodeId) -> tuple[int, bool]:
    """How many pages of a member were taken in, and whether its promise counts."""
    if candidate is None:
        return 0, False
    return len(candidate._pages.get(sender, ())), sender in candidate._promised


def make_replica(configuration: Configuration, records: Records, draw: Draw, now: Instant) -> FastLogReplica:
    """A replica, traced if that is what the configuration says and it has a vote. See `FastLogReplica`."""
    traced = configuration.trace and configuration.node in configuration.members
    make = TracedReplica if traced else FastLogReplica
    return make(configuration, records, draw, now)
