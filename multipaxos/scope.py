"""The closed world of Multi-Paxos: real acceptors, candidates, leaders and learners of a short log.

The world has a few acceptors, one candidate for each ballot, a slot or two, and a few values. As in
`paxos.basic.scope`, one action is one call of one handler of the roles that everything else is built from,
and every order in which messages can be delivered is possible; messages stay deliverable, or are copies that
are lost and doubled; with "restart" acceptors crash and start anew from their disks.

**Projection.** With one slot Multi-Paxos is Paxos: what the specification knows of a state is which messages
left and what each acceptor's disk holds, and the projections must be exactly the reachable states of
Lamport's Paxos module. With more slots each slot by itself must go by that module: every step is checked to
be, in every slot, one of its steps or none (`refine`). Only that a vote in one slot raises the promise of all
is no step of that module; it is one of Voting, which that module implements. A promise on several pages
reports what it reports in several steps, so there no step is compared; that a page counts too early shows in
what is chosen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from multipaxos.acceptor import LogAcceptor, PageLimits
from multipaxos.learner import LogLearner
from multipaxos.messages import MESSAGES, Accept, Accepted, Nack, Prepare, Promise
from multipaxos.proposer import Candidate, Leader
from multipaxos.scope_invariants import LogFacts, LogJudge
from multipaxos.scope_parts import (
    FrozenRecord,
    LeaderPart,
    LogAcceptorPart,
    LogAcceptorStanding,
    text,
    value_of,
)
from paxos.ballot import BOTTOM, Ballot
from paxos.basic.scope_facts import FULL, WIDTH, Remembered, Sent
from paxos.basic.scope_parts import Broken, Part
from paxos.basic.scope_specification import SpecState, why_not
from paxos.basic.scope_world import World, world_bits
from paxos.contract.scope import ScopeSettings
from paxos.quorum import Majority, QuorumSystem

__all__ = ["MultiPaxosScope"]

#: What TLC finds for Lamport's Paxos module without symmetry: by acceptors, ballots and values.
_GOLDEN: Final[Mapping[tuple[int, int, int], int]] = {(3, 2, 2): 3_921, (3, 3, 2): 185_369}
_NOTHING: Final = FrozenRecord(BOTTOM, (), 0)


class MultiPaxosScope:
    """A closed world of Multi-Paxos. It is a `paxos.contract.Scope` whose states are ints.

    Args:
        settings: how small it is, and what goes wrong.
        page_slots: slots in a page of a promise; None for all of them.
        quorums: over acceptors 1, 2, ...; None for majorities.
        acceptor: what acceptors are made of.
        candidate: what candidates are made of.
        leader: what leaders are made of.
        learner: what learners are made of.
        waits: which answers of an acceptor wait for its disk.
    """

    def __init__(
        self,
        settings: ScopeSettings,
        *,
        page_slots: int | None = None,
        quorums: QuorumSystem | None = None,
        acceptor: type[LogAcceptor] = LogAcceptor,
        candidate: type[Candidate] = Candidate,
        leader: type[Leader] = Leader,
        learner: type[LogLearner] = LogLearner,
        waits: Callable[[Any], bool] = MESSAGES.reports,
    ) -> None:
        self.settings: ScopeSettings = settings
        self.quorums: QuorumSystem = quorums or Majority(range(1, settings.acceptors + 1))
        self.restarts: bool = "restart" in settings.faults
        copies = not settings.faults.isdisjoint(("loss", "duplication"))
        # A new leader proposes in all slots at once, to everybody.
        room = settings.in_flight or settings.acceptors * settings.slots
        self.in_flight: int = room if copies else 0
        self.slots: range = range(1, settings.slots + 1)
        self._is_paged = page_slots is not None and page_slots < settings.slots
        self._members = self.quorums.members
        values = tuple(value_of(chr(ord("a") + number)) for number in range(settings.values))
        pages = PageLimits(page_slots or settings.slots)
        window = settings.unsynced if self.restarts else 0
        parts: list[Part] = [LogAcceptorPart(node, acceptor, pages, window, waits) for node in self._members]
        parts += [
            LeaderPart(
                self.ballot(number), self.quorums, values, settings.slots, candidate, leader, bool(copies)
            )
            for number in range(settings.ballots)
        ]
        self.facts: LogFacts = LogFacts(world_bits(parts))
        self._judge = LogJudge(self.facts, self.quorums, parts, values, learner)
        self._world = World(
            parts,
            self.facts,
            self._audience,
            self._note,
            faults=settings.faults,
            in_flight=self.in_flight,
            unsent=Nack,
            delivers_unsent=False,
        )
        self._records: dict[FrozenRecord, int] = {}
        self._record_of: list[dict[int, int]] = [{} for _ in self._members]
        self._refine: Remembered[str | None] = Remembered(self._find_step_not_allowed)
        self._spec_state: Remembered[SpecState] = Remembered(self.spec_state)

    def ballot(self, number: int) -> Ballot:
        """The code's ballot for a number of the specification."""
        return Ballot(1 + number // len(self._members), self._members[number % len(self._members)])

    def number_of(self, ballot: Ballot) -> int:
        """The specification's number of a ballot; -1 for BOTTOM."""
        if ballot == BOTTOM:
            return -1
        return (ballot.round - 1) * len(self._members) + self._members.index(ballot.node)

    # --- the scope ----------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is in it, in a line for people."""
        settings = self.settings
        faults = ", ".join(sorted(settings.faults)) or "messages stay deliverable"
        slots = "1 slot" if settings.slots == 1 else f"{settings.slots} slots"
        return (
            f"Multi-Paxos, {slots}, {settings.acceptors} acceptors, ballots 0..{settings.ballots - 1}, "
            f"{settings.values} values; {faults}"
        )

    @property
    def expected(self) -> int | None:
        """The number that TLC finds for one slot, where one is known and the world is the specification's."""
        settings = self.settings
        if settings.faults or settings.slots > 1 or type(self.quorums) is not Majority:
            return None
        return _GOLDEN.get((settings.acceptors, settings.ballots, settings.values))

    @property
    def invariants(self) -> Mapping[str, Callable[[int], str | None]]:
        """What must hold in every state, by name."""
        return self._judge.invariants

    def initial(self) -> Iterator[int]:
        """Nobody has done anything."""
        acceptors = [part.start() for part in self._world.parts if isinstance(part, LogAcceptorPart)]
        yield self._world.begin([*acceptors, *([None] * self.settings.ballots)], ())

    def successors(self, state: int) -> list[tuple[str, int]]:
        """Each action that changes something: in words, and the state that it leads to."""
        return self._world.successors(state)

    def fingerprint(self, state: int) -> int:
        """The state itself: it is exact."""
        return state

    def project(self, state: int) -> int | None:
        """What the specification knows of it, of all slots; `spec_state` spells it out for one."""
        if self._is_paged:
            return None
        projected = state & self.facts.specified
        for number, records in enumerate(self._record_of):
            projected |= records[(state >> (number * WIDTH)) & FULL] << (number * WIDTH)
        return projected

    def describe(self, before: int, action: object, after: int) -> str:
        """A step in words."""
        return str(action)

    def refine(self, before: int, after: int) -> str | None:
        """Why the specification does not allow this step in some slot; None when it does."""
        was, is_ = self.project(before), self.project(after)
        return None if was == is_ else self._refine(was, is_)

    def _find_step_not_allowed(self, before: int, after: int) -> str | None:
        for slot in self.slots:
            was, is_ = self._spec_state(before, slot), self._spec_state(after, slot)
            if was == is_ or _only_joins(was, is_):
                continue
            said = why_not(was, is_, self.quorums)
            if said is not None:
                return f"slot {slot}: {said}"
        return None

    def spec_state(self, projected: int, slot: int) -> SpecState:
        """What a projection says of one slot, with the specification's own names."""
        records = list(self._records)
        bal, v_bal, val = [], [], []
        for number, _ in enumerate(self._members):
            record = records[(projected >> (number * WIDTH)) & FULL]
            vote = record.vote(slot)
            bal.append(self.number_of(record.promised))
            v_bal.append(self.number_of(vote[0]) if vote else -1)
            val.append(text(vote[1]) if vote else None)
        facts = [fact for _, fact in self.facts.of(projected & self.facts.specified)]
        # A vote's message says slot and ballot; what was voted for the proposal says.
        values = {fact.message[:2]: text(fact.message.value) for fact in facts if fact.kind is Accept}
        sent = (self._spec_message(fact, slot, values) for fact in facts)
        return SpecState(
            frozenset(each for each in sent if each is not None), tuple(bal), tuple(v_bal), tuple(val)
        )

    def _spec_message(
        self, fact: Sent, slot: int, values: Mapping[tuple[Ballot, int], str]
    ) -> tuple[object, ...] | None:
        """A message as the specification of one slot has it; None when it is of another slot."""
        message: Any = fact.message
        node, number = self._world.parts[fact.part].node, self.number_of(message.ballot)
        if isinstance(message, Prepare):
            return ("1a", number)
        if isinstance(message, Promise):
            told = {at: (self.number_of(ballot), text(value)) for at, ballot, value in message.entries}
            return ("1b", node, number, *told.get(slot, (-1, None)))
        if isinstance(message, Accept):
            return ("2a", number, text(message.value)) if message.slot == slot else None
        if isinstance(message, Accepted) and message.runs[0][0] == slot:
            return ("2b", node, number, values.get((message.ballot, slot)))
        return None

    # --- for the world ------------------------------------------------------------------------------------

    def _note(self, part: int, number: int, value: Any) -> None:
        """A part has a standing that it never had."""
        if part < len(self._members):
            record = _NOTHING if isinstance(value, Broken) else self._seen(value)
            self._record_of[part][number] = self._records.setdefault(record, len(self._records))
        self._judge.standing(part, number, value)

    def _seen(self, standing: LogAcceptorStanding) -> FrozenRecord:
        """What the specification sees: what the disk holds, or what is remembered where there is none."""
        return (standing.disk or _NOTHING) if self.restarts else standing.record

    def _audience(self, message: Any) -> Sequence[int]:
        """To which parts a message goes. Votes are counted when a state is judged."""
        acceptors = len(self._members)
        if isinstance(message, Prepare | Accept):
            return range(acceptors)
        if isinstance(message, Promise):
            return (acceptors + self.number_of(message.ballot),)
        return ()


def _only_joins(before: SpecState, after: SpecState) -> bool:
    """Whether nothing happened but that acceptors take part in nothing below a higher ballot."""
    return before._replace(max_bal=after.max_bal) == after and all(
        was <= is_ for was, is_ in zip(before.max_bal, after.max_bal, strict=True)
    )
