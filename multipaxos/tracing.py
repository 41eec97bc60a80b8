"""What a traced replica tells of its handlers, in the words of `specs/MultiPaxos.tla`.

A traced replica is the replica itself, whose handlers are watched: what a handler changed, wrote and sent is
compared with what was there before, and each thing that it did becomes one event, named as the action of the
specification that it is.  So the hot path of a replica that does not trace knows nothing of traces.  What
changed nothing and answered nothing is not told.

`SPECIFICATION` ties the names: every action of the module is told here under the same name, but for Persist,
which happens between the driver and its disk (`Step.action` "durable").  Observers have no vote, and are not
in the specification: they are not traced.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from multipaxos.learner import LogLearner
from multipaxos.messages import (
    Accept,
    Accepted,
    Chosen,
    Fetch,
    Heartbeat,
    Nack,
    Prepare,
    Promise,
    Release,
    TakeOver,
)
from multipaxos.office import Office
from multipaxos.proposer import Candidate, Flight, Leader
from multipaxos.records import HINT_KEY
from multipaxos.replica import MultiPaxosReplica
from multipaxos.settings import MultiPaxosSettings
from paxos.ballot import Ballot, NodeId
from paxos.command import Command
from paxos.contract import Configuration, Draw, Effects, Event, Instant, Mark, Records, Specification
from paxos.contract.traces import PlainEvent, TraceForm, uncut
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem

__all__ = ["SPECIFICATION", "TracedReplica", "make_replica"]

#: Arguments of events that are slots, or count slots.
_SLOTS: Final = ("slot", "first", "following", "compacted", "floor", "committed")


def _constants(events: Iterable[PlainEvent], quorums: QuorumSystem) -> dict[str, int]:
    """The last slot that is spoken of, and how many slots a page has, which nodes tell when they start."""
    last, pages = 1, set()
    for event in events:
        last = max(last, *(event.get(name, 0) for name in _SLOTS))
        pages |= {event["page"]} if "page" in event else set()
    if len(pages) > 1:
        raise ConfigurationError(
            f"traces of nodes whose page_slots are different, {sorted(pages)}, can not be checked together"
        )
    return {"Last": last, "PageSize": max(pages, default=1)}


def _rough(nodes: int) -> MultiPaxosSettings:
    """Settings in which elections are frequent, and pages, hints and windows are small."""
    return MultiPaxosSettings(
        heartbeat_s=0.06,
        election_min_s=0.15,
        election_max_s=0.3,
        repeat_s=0.08,
        repeat_max_s=0.16,
        fetch_s=0.01,
        window=6,
        page_slots=2,
        hint_slots=2,
        reserve_rounds=2,
    )


#: The module, and its actions as they are traced.
SPECIFICATION: Final = Specification(
    "MultiPaxos",
    {
        name: name
        for name in (
            "Submit",
            "Phase1a",
            "CountPage",
            "CountPromise",
            "Elected",
            "Repropose",
            "Phase2a",
            "Preempt",
            "Resign",
            "Phase1b",
            "MorePages",
            "Phase2b",
            "RepeatVote",
            "Join",
            "Refuse",
            "CountVote",
            "Commit",
            "FollowerCommit",
            "LearnNews",
            "Tell",
            "Mark",
            "Snapshot",
            "Compact",
            "Install",
            "Restart",
        )
    }
    | {"Persist": "durable"},
    TraceForm(uncut, _constants, {"": "Nop"}, _rough),
)


class _Before(NamedTuple):
    """What a handler found: the promise, how far the log was committed, and how much waited to go out."""

    promised: Ballot
    committed: int
    compacted: int
    writes: int
    sends: int


class TracedReplica(MultiPaxosReplica):
    """A replica that tells, in events, what its handlers did. See `MultiPaxosReplica`."""

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        super().__init__(configuration, records, draw, now)
        promised, votes, compacted = self._acceptor.record()
        self._tell(
            "Restart",
            "start",
            promised=promised,
            compacted=compacted,
            committed=self._learner.committed,
            votes=len(votes),
            page=self._context.settings.page_slots,
        )

    def _tell(self, action: str, cause: str, **arguments: object) -> None:
        self._context.out.events.append(Event(action, self._context.node, arguments, cause, True))

    def _before(self) -> _Before:
        out, acceptor = self._context.out, self._acceptor
        return _Before(
            acceptor.promised, self._learner.committed, acceptor.compacted, len(out.writes), len(out.sends)
        )

    def _value(self, slot: int) -> bytes | None:
        vote = self._acceptor.votes.get(slot)
        return vote.accepted_value if vote is not None else None

    # --- acceptors ---------------------------------------------------------------------------

    def _told_refusals(self, before: _Before, cause: str) -> None:
        """Refusals that were sent."""
        for _, message in self._context.out.sends[before.sends :]:
            if message.__class__ is Nack:
                self._tell("Refuse", cause, ballot=message.ballot, by=message.promised)

    def _told_promises(self, before: _Before, cause: str) -> None:
        """Promises that were sent, or pages of them."""
        first = before.promised < self._acceptor.promised
        for _, message in self._context.out.sends[before.sends :]:
            if message.__class__ is Promise:
                ballot, start, entries, following, compacted = message
                self._tell(
                    "Phase1b" if first else "MorePages",
                    cause,
                    ballot=ballot,
                    first=start,
                    following=following,
                    compacted=compacted,
                    told=len(entries),
                )

    def _on_prepare(self, sender: NodeId, message: Prepare, now_s: float) -> None:
        before = self._before()
        super()._on_prepare(sender, message, now_s)
        self._told_refusals(before, "Prepare")
        self._told_promises(before, "Prepare")

    def _on_accept(self, sender: NodeId, message: Accept, now_s: float) -> None:
        ballot, slot, value, _ = message
        acceptor, before = self._acceptor, self._before()
        vote = acceptor.votes.get(slot)
        voted, cast = vote.accepted_ballot if vote is not None else None, len(acceptor.cast)
        super()._on_accept(sender, message, now_s)
        joined = acceptor.promised > before.promised
        self._told_refusals(before, "Accept")
        if len(acceptor.cast) > (0 if joined else cast):
            again = slot > acceptor.compacted and voted == ballot
            action = "RepeatVote" if again else "Phase2b"
            self._tell(action, "Accept", ballot=ballot, slot=slot, value=_named(value))
        elif joined:
            self._tell("Join", "Accept", ballot=ballot)
        self._told_commits(before.committed, before, "Accept")

    def _join(self, ballot: Ballot, cause: str, now_s: float) -> None:
        super()._join(ballot, cause, now_s)
        if cause in ("Heartbeat", "TakeOver", "Release"):
            self._tell("Join", cause, ballot=ballot)

    def _on_heartbeat(self, sender: NodeId, message: Heartbeat, now_s: float) -> None:
        before = self._before()
        super()._on_heartbeat(sender, message, now_s)
        self._told_refusals(before, "Heartbeat")
        self._told_commits(before.committed, before, "Heartbeat")

    def _on_take_over(self, sender: NodeId, message: TakeOver, now_s: float) -> None:
        before = self._before()
        super()._on_take_over(sender, message, now_s)
        self._told_refusals(before, "TakeOver")

    def _on_release(self, sender: NodeId, message: Release, now_s: float) -> None:
        before = self._before()
        super()._on_release(sender, message, now_s)
        self._told_refusals(before, "Release")

    # --- candidates --------------------------------------------------------------------------

    def _prepare(self, candidate: Candidate, now_s: float) -> None:
        before = self._before()
        super()._prepare(candidate, now_s)
        self._tell("Phase1a", "campaign", ballot=candidate.ballot, first=candidate.first)
        self._told_promises(before, "campaign")

    def _on_promise(self, sender: NodeId, message: Promise, now_s: float) -> None:
        before, candidate = self._before(), self._candidate
        pages = _pages(candidate, sender)
        super()._on_promise(sender, message, now_s)
        if candidate is not None and _pages(candidate, sender) != pages:
            self._told_page(sender, message, candidate)
        self._told_promises(before, "Promise")
        if self._office is not None and candidate is not None and self._candidate is None:
            leader = self._office.leader
            self._tell(
                "Elected",
                "Promise",
                ballot=leader.ballot,
                floor=leader.floor,
                owed=leader.owed - leader.floor,
            )
            self._told_commits(before.committed, before, "Promise")
            self._told_places(leader, leader.floor, "Promise")

    def _told_page(self, sender: NodeId, message: Promise, candidate: Candidate) -> None:
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

    def _on_silence(self, now_s: float) -> None:
        candidate = self._candidate
        if candidate is not None and candidate.sent:
            self._tell("Resign", "tick", ballot=candidate.ballot)
        super()._on_silence(now_s)

    def _on_nack(self, sender: NodeId, message: Nack, now_s: float) -> None:
        candidate, office = self._candidate, self._office
        super()._on_nack(sender, message, now_s)
        if self._office is not office or (self._candidate is not candidate and candidate and candidate.sent):
            self._tell("Preempt", "Nack", ballot=message.ballot, promised=message.promised)

    # --- leaders -----------------------------------------------------------------------------

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Place each command in a slot of its own, or say why not and whom to ask."""
        last = self._last()
        super().submit(commands, now)
        if self._office is not None:
            self._told_places(self._office.leader, last, "submit")

    def effects(self) -> Effects:
        """Take what has gathered."""
        last = self._last()
        effects = super().effects()
        if self._office is not None:
            self._told_places(self._office.leader, last, "turn")
        # The proposals leave now, so what is told of them must too.
        effects.events.extend(self._context.out.events)
        self._context.out.events.clear()
        return effects

    def _last(self) -> int:
        return self._office.leader.last if self._office is not None else 0

    def _told_places(self, leader: Leader, last: int, cause: str) -> None:
        """What the leader proposed above slot `last`, and voted for."""
        for slot in range(last + 1, leader.last + 1):
            flight = leader.flights[slot]
            if flight.command is not None:
                self._tell("Submit", cause, value=_named(flight.value))
            action = "Repropose" if flight.command is None else "Phase2a"
            what: dict[str, object] = {"ballot": leader.ballot, "slot": slot, "value": _named(flight.value)}
            self._tell(action, cause, **what)
            vote = self._acceptor.votes.get(slot)
            if vote is not None and vote.accepted_ballot == leader.ballot:
                self._tell("Phase2b", cause, **what)

    def _step_down(self, office: Office, action: str, reason: str, cause: str, now_s: float) -> None:
        super()._step_down(office, action, reason, cause, now_s)
        if cause in ("tick", "compact"):
            self._tell("Resign", cause, ballot=office.leader.ballot)

    def _on_accepted(self, sender: NodeId, message: Accepted, now_s: float) -> None:
        before, office = self._before(), self._office
        if office is None:
            return
        leader = office.leader
        index, counted = leader.committed, _counted(leader, message)
        super()._on_accepted(sender, message, now_s)
        for slot, (flight, voters) in counted.items():
            now = frozenset(flight.voters) if flight.voters is not None else voters | {sender}
            if now != voters:
                self._tell(
                    "CountVote", "Accepted", sender=sender, ballot=message.ballot, slot=slot, voters=now
                )
        done = before.committed
        for slot in range(index + 1, leader.committed + 1):
            self._tell("Commit", "Accepted", ballot=leader.ballot, slot=slot)
            done += slot == done + 1
        self._told_commits(done, before, "Accepted")

    # --- learners ----------------------------------------------------------------------------

    def _told_commits(self, committed: int, before: _Before, cause: str) -> None:
        """What was committed above slot `committed`, and whether that was noted on disk."""
        for slot in range(committed + 1, self._learner.committed + 1):
            self._tell("FollowerCommit", cause, slot=slot, value=_named(self._value(slot)))
        self._told_mark(before, cause)

    def _told_mark(self, before: _Before, cause: str) -> None:
        learner: LogLearner = self._learner
        if any(key == HINT_KEY for key, _ in self._context.out.writes[before.writes :]):
            self._tell("Mark", cause, ballot=learner.known_ballot, slot=learner.committed)

    def _on_fetch(self, sender: NodeId, message: Fetch, now_s: float) -> None:
        before = self._before()
        super()._on_fetch(sender, message, now_s)
        for _, answer in self._context.out.sends[before.sends :]:
            if answer.__class__ is Chosen:
                for slot, (_, value) in enumerate(answer.entries, answer.first):
                    self._tell("Tell", "Fetch", slot=slot, value=_named(value))

    def _on_chosen(self, sender: NodeId, message: Chosen, now_s: float) -> None:
        before, known = self._before(), self._learner.known
        super()._on_chosen(sender, message, now_s)
        done = before.committed
        for slot, (ballot, value) in enumerate(message.entries, message.first):
            if slot == done + 1 <= known and slot <= self._learner.committed:
                self._tell("LearnNews", "Chosen", slot=slot, vote=ballot, value=_named(value))
                done = slot
        self._told_commits(done, before, "Chosen")

    # --- snapshots ---------------------------------------------------------------------------

    def part(self, mark: Mark) -> bytes:
        """What goes into a snapshot at slot `mark`, which is made now."""
        part = super().part(mark)
        if type(mark) is int and mark > 0:
            self._tell("Snapshot", "part", slot=mark, promised=self._acceptor.promised)
        return part

    def compact(self, mark: Mark, now: Instant) -> None:
        """A snapshot at slot `mark` is durable: forget the slots that it covers."""
        before = self._before()
        super().compact(mark, now)
        self._told_snapshot(mark, before, "compact")

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """The state was replaced by a snapshot at slot `mark`: go on above it, and below no ballot of its."""
        before = self._before()
        super().install(mark, part, now)
        self._told_snapshot(mark, before, "install")

    def _told_snapshot(self, mark: Any, before: _Before, cause: str) -> None:
        done = before.committed
        if mark > done:
            self._tell("Install", cause, slot=mark, promised=self._acceptor.promised)
            done = mark
        elif self._acceptor.compacted > before.compacted:
            self._tell("Compact", cause, slot=mark)
        self._told_commits(done, before, cause)


def _named(value: bytes | None) -> bytes | None:
    """A short name for a value; no name for a no-op, which is the empty one."""
    return blake2b(value, digest_size=6).hexdigest().encode() if value else value


def _pages(candidate: Candidate | None, sender: NodeId) -> tuple[int, bool]:
    """How many pages of a member were taken in, and whether its promise counts."""
    if candidate is None:
        return 0, False
    return len(candidate._pages.get(sender, ())), sender in candidate._promised


def _counted(leader: Leader, message: Accepted) -> dict[int, tuple[Flight, frozenset[NodeId]]]:
    """The slots that an answer may be counted in, each with who voted there before."""
    found: dict[int, tuple[Flight, frozenset[NodeId]]] = {}
    for first, last in message.runs:
        for slot in range(max(first, leader.committed + 1), min(last, leader.last) + 1):
            flight = leader.flights[slot]
            if flight.voters is not None:
                found[slot] = (flight, frozenset(flight.voters))
    return found


def make_replica(
    configuration: Configuration, records: Records, draw: Draw, now: Instant
) -> MultiPaxosReplica:
    """A replica, traced if that is what the configuration says and it has a vote. See `MultiPaxosReplica`."""
    traced = configuration.trace and configuration.node in configuration.members
    make = TracedReplica if traced else MultiPaxosReplica
    return make(configuration, records, draw, now)
