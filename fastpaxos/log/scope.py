"""The closed world of the log of Fast Paxos: the real roles, a few acceptors, slots and ballots, every order
of everything.

One action is one thing that a node does: promise a ballot for all slots or for one, vote, recover a slot from
votes, learn what was chosen, compact, or coordinate what a phase-1 quorum's answers leave. What may be done
the roles decide (`LogAcceptor`, `Candidate`, `Office`, `recover`, `Tally`): no copy of their rules is made
here. Any node may propose any value at any time in an open ballot. Messages stay deliverable, in any order
and any number of times; that one is lost is that it is never delivered.

**A state is one int**, the set of facts so far: see `fastpaxos.log.scope_facts`. Acceptors restart from their
disks at any time, which changes nothing. Candidates may act on any quorum's promises, and count any of those
that an acceptor gave; they ask from slot 1 on, since they know nothing. An office lasts as long as it has
done nothing twice: what it proposed it remembers, as a round has one life. A round is begun once.

Ballots are counted as in `fastpaxos.scope`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any, Final

from fastpaxos.collision import Recovered, recover
from fastpaxos.log.acceptor import LogAcceptor
from fastpaxos.log.candidate import Candidate, Debts
from fastpaxos.log.context import Context
from fastpaxos.log.coordinator import Mood, Office
from fastpaxos.log.learner import LogLearner
from fastpaxos.log.messages import Accept, Prepare, Promise, Recover, Report
from fastpaxos.log.messages import Voted as Vote
from fastpaxos.log.proposer import LogProposer, View
from fastpaxos.log.scope_facts import (
    Asked,
    Compacted,
    Fact,
    Known,
    Learned,
    Opened,
    Promised,
    Reported,
    Voted,
    text,
)
from fastpaxos.log.scope_invariants import Judge
from fastpaxos.log.settings import FastLogSettings
from fastpaxos.rounds import OPEN, Recovery, Rounds, coordinator
from fastpaxos.scope import FastScope
from paxos.ballot import Ballot, NodeId
from paxos.basic.values import pack_value
from paxos.command import NOTHING, Command, RequestId
from paxos.contract import Configuration
from paxos.contract.scope import ScopeSettings
from paxos.errors import ProtocolBreach
from paxos.quorum import FastQuorums, Phase, QuorumSystem

__all__ = ["FastLogScope"]

_NAMES: Final = "abcdefgh"

#: An action in words, and the facts that it adds.
_Action = tuple[str, tuple[Fact, ...]]


def _value(name: str) -> bytes:
    return pack_value(Command(RequestId(bytes(16), 0, 0, bytes(8)), NOTHING, name.encode()))


class FastLogScope:
    """A closed world of the log of Fast Paxos. It is a `paxos.contract.Scope` whose states are ints.

    Args:
        settings: how small it is; without faults, see above.
        recovery: how collisions are recovered from.
        quorums: over acceptors 1, 2, ...; None for `FastQuorums`.
        ballots: the ballots there are, if not the first so many.
        learns: whether acceptors hear of what was chosen.
        compacts: whether they compact what was chosen, or install it.
        acceptor: what acceptors are made of.
        candidate: what candidates are made of.
        office: what coordinators are made of.

    Raises:
        ConfigurationError: the quorums are over other acceptors, or faults are asked for.
    """

    def __init__(
        self,
        settings: ScopeSettings,
        *,
        recovery: Recovery = Recovery.COORDINATED,
        quorums: QuorumSystem | None = None,
        ballots: Sequence[Ballot] | None = None,
        learns: bool = True,
        compacts: bool = True,
        acceptor: type[LogAcceptor] = LogAcceptor,
        candidate: type[Candidate] = Candidate,
        office: type[Office] = Office,
    ) -> None:
        # It says what is wrong with them, and counts ballots.
        named = FastScope(
            ScopeSettings(settings.acceptors, settings.ballots, settings.values, settings.faults),
            rounds=Rounds.of(recovery),
            quorums=quorums or FastQuorums(range(1, settings.acceptors + 1)),
            ballots=ballots,
        )
        self.settings: ScopeSettings = settings
        self.rounds: Rounds = named.rounds
        self.quorums: QuorumSystem = named.quorums
        self.ballots: tuple[Ballot, ...] = named.ballots
        self.values: tuple[bytes, ...] = tuple(map(_value, _NAMES[: settings.values]))
        self.slots: range = range(1, settings.slots + 1)
        self._learns, self._compacts = learns, compacts
        self._acceptor, self._candidate, self._office = acceptor, candidate, office
        self._settings = FastLogSettings(recovery=recovery.value)
        self._ones = [
            frozenset(nodes)
            for size in range(1, settings.acceptors + 1)
            for nodes in combinations(self.quorums.members, size)
            if self.quorums.is_quorum(nodes, Phase.ONE)
        ]
        self._bits: dict[tuple[str, Fact], int] = {}
        self._facts: list[Fact] = []
        self._last: tuple[int, Known] = (0, Known(()))
        self._debts: dict[tuple[Promised, ...], Debts] = {}
        self._recovered: dict[tuple[Any, ...], bytes | None] = {}
        self._alone: dict[tuple[Any, ...], Recovered | None] = {}
        self._judge = Judge(self.quorums, self.rounds, self.ballots, self.slots)

    # --- the scope ----------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is in it, in a line for people."""
        names = " ".join(map(str, self.ballots))
        slots = "1 slot" if len(self.slots) == 1 else f"{len(self.slots)} slots"
        told = [name for name, is_so in (("learn", self._learns), ("compact", self._compacts)) if is_so]
        more = f"nodes restart{', ' if told else ''}{' and '.join(told)}"
        return (
            f"the log of Fast Paxos, {slots}, {self.quorums.describe()}, ballots {names}, "
            f"{len(self.values)} values; messages stay deliverable, {more}"
        )

    @property
    def expected(self) -> int | None:
        """No count is known from elsewhere."""
        return None

    @property
    def invariants(self) -> Mapping[str, Callable[[int], str | None]]:
        """What must hold in every state, by name."""
        return {
            name: lambda state, holds=holds: holds(self._known(state))  # type: ignore[misc]
            for name, holds in self._judge.invariants.items()
        }

    def initial(self) -> Iterator[int]:
        """Nobody has done anything."""
        yield 0

    def successors(self, state: int) -> list[tuple[str, int]]:
        """Each action that changes something: in words, and the state that it leads to."""
        known = self._known(state)
        found: dict[int, str] = {}
        for what, facts in self._actions(known):
            after = state
            for fact in facts:
                after |= self._bit(fact)
            if after != state:
                found.setdefault(after, what)
        return [(what, after) for after, what in found.items()]

    def fingerprint(self, state: int) -> int:
        """The state itself: it is exact."""
        return state

    def project(self, state: int) -> int:
        """All of it: what left is what a specification knows."""
        return state

    def refine(self, before: int, after: int) -> str | None:
        """Nothing to compare with."""
        return None

    def describe(self, before: int, action: object, after: int) -> str:
        """A step in words."""
        return str(action)

    def _bit(self, fact: Fact) -> int:
        key = (fact.__class__.__name__, fact)  # tuples of equal fields are equal, whatever their class
        bit = self._bits.get(key)
        if bit is None:
            bit = self._bits[key] = 1 << len(self._facts)
            self._facts.append(fact)
        return bit

    def _known(self, state: int) -> Known:
        if self._last[0] != state:  # every invariant asks for the same one
            facts, left = [], state
            while left:
                low = left & -left
                facts.append(self._facts[low.bit_length() - 1])
                left ^= low
            self._last = (state, Known(facts))
        return self._last[1]

    # --- what can happen ----------------------------------------------------------------------------------

    def _actions(self, known: Known) -> Iterator[_Action]:
        chosen = self._judge.chosen(known)
        for node in self.quorums.members:
            acceptor = known.acceptor(self._acceptor, self.rounds, node)
            yield from self._promises(node, acceptor, known)
            yield from self._votes(node, acceptor, known)
            yield from self._reports(node, acceptor, known)
            yield from self._recovers_alone(node, acceptor, known)
            if self._learns:
                yield from self._learning(node, acceptor, known, chosen)
            if self._compacts:
                yield from self._compaction(node, acceptor, chosen)
        yield from self._elections(known)
        yield from self._recoveries(known)
        yield from self._placing(known)

    def _promises(self, node: NodeId, acceptor: LogAcceptor, known: Known) -> Iterator[_Action]:
        begun = {each.ballot for each in known.promised}
        for ballot in self.ballots:
            if not ballot.node or ballot < acceptor.floor:
                continue
            if ballot.step not in (0, self.rounds.last_fast_step + 1):
                continue
            if any(each[:2] == ballot[:2] and each != ballot for each in begun):
                continue  # a round is begun once: fast, or classic at once
            reply = acceptor.clone().on_prepare(Prepare(ballot, 1))
            if isinstance(reply, Promise):
                fact = Promised(node, ballot, reply.entries, reply.compacted)
                yield f"acceptor {node} promises {ballot}: {_told(fact)}", (fact,)

    def _votes(self, node: NodeId, acceptor: LogAcceptor, known: Known) -> Iterator[_Action]:
        for ballot, first in ((OPEN, 1), *known.opened):
            if self.rounds.is_fast(ballot):
                for slot in self.slots[first - 1 :]:
                    for value in self.values:
                        yield from self._vote(node, acceptor, ballot, slot, value, "as proposed")
        for ballot, slot, value in known.asked:
            yield from self._vote(node, acceptor, ballot, slot, value, "as asked")

    def _vote(
        self, node: NodeId, acceptor: LogAcceptor, ballot: Ballot, slot: int, value: bytes, why: str
    ) -> Iterator[_Action]:
        if ballot not in self.ballots:
            return
        try:
            cast = acceptor.clone().vote(ballot, slot, value)
        except ProtocolBreach:
            return
        if cast:
            what = f"acceptor {node} votes for {text(value)} at {ballot} in slot {slot}, {why}"
            yield what, (Voted(node, ballot, slot, value),)

    def _classics(self, known: Known) -> Iterator[tuple[Ballot, int]]:
        """The classic ballots in which slots may be recovered, and from which slot on nothing is owed."""
        for ballot, first in (Opened(OPEN, 1), *known.opened):
            classic = self.rounds.classic(ballot.round, ballot.node)
            if self.rounds.is_fast(ballot) and classic in self.ballots:
                yield classic, first

    def _reports(self, node: NodeId, acceptor: LogAcceptor, known: Known) -> Iterator[_Action]:
        for ballot, _ in self._classics(known):
            for slot in self.slots:
                held = acceptor.slots.get(slot)
                if held is not None and held.chosen:
                    continue  # who knows tells what was chosen
                reply = acceptor.clone().on_recover(Recover(ballot, slot))
                if isinstance(reply, Report):
                    told = f"{text(reply.value)} at {reply.vote}"
                    yield (
                        f"acceptor {node} promises {ballot} in slot {slot}, {told}",
                        (Reported(node, ballot, slot, reply.vote, reply.value),),
                    )

    def _recovers_alone(self, node: NodeId, acceptor: LogAcceptor, known: Known) -> Iterator[_Action]:
        for ballot in self.ballots:
            following = self.rounds.successor(ballot)
            if following is None or not self.rounds.is_fast(following):
                continue
            for slot in self.slots:
                votes = known.votes(ballot, slot)
                for quorum in self._ones:
                    if quorum <= votes.keys():
                        heard = tuple((each, votes[each]) for each in sorted(quorum))
                        found = self._concluded(ballot, heard)
                        if found is not None and found.pick.value is not None:
                            yield from self._vote(
                                node, acceptor, found.ballot, slot, found.pick.value, "by votes"
                            )

    def _concluded(self, ballot: Ballot, heard: tuple[tuple[NodeId, bytes], ...]) -> Recovered | None:
        key = (ballot, heard)
        if key not in self._alone:
            self._alone[key] = None
            try:
                self._alone[key] = recover(ballot, dict(heard), self.quorums, self.rounds)
            except ProtocolBreach as breach:
                self._judge.breach = str(breach)
        return self._alone[key]

    def _learning(
        self, node: NodeId, acceptor: LogAcceptor, known: Known, chosen: Mapping[int, Mapping[bytes, Ballot]]
    ) -> Iterator[_Action]:
        """By votes, or told by somebody who holds it at whatever ballot."""
        for slot, values in chosen.items():
            held = acceptor.slots.get(slot)
            if slot <= acceptor.compacted or (held is not None and held.chosen):
                continue
            for value, ballot in values.items():
                told = {ballot}
                for other in self.quorums.members:
                    record = known.records(other)[1].get(slot)
                    if record is not None and record.value == value:
                        told.add(record.ballot)
                for each in sorted(told):
                    if acceptor.clone().learn(slot, each, value):
                        what = (
                            f"node {node} hears that {text(value)} was chosen in slot {slot}, told at {each}"
                        )
                        yield what, (Learned(node, slot, each, value),)

    def _compaction(
        self, node: NodeId, acceptor: LogAcceptor, chosen: Mapping[int, Mapping[bytes, Ballot]]
    ) -> Iterator[_Action]:
        for slot in self.slots:
            if not chosen.get(slot):
                return
            if acceptor.clone().compact(slot):
                yield f"node {node} has a snapshot up to slot {slot}", (Compacted(node, slot),)

    # --- coordinators -------------------------------------------------------------------------------------

    def _elections(self, known: Known) -> Iterator[_Action]:
        """Phase 1 is done, once for each ballot: what it obliges to is proposed."""
        done = {each.ballot for each in known.opened}
        for ballot in self.ballots:
            given: dict[NodeId, list[Promised]] = {}
            for each in known.promised if ballot not in done else ():
                if each.ballot == ballot:
                    given.setdefault(each.node, []).append(each)
            for quorum in self._ones if given else ():
                if quorum <= given.keys():
                    for heard in product(*(sorted(given[node]) for node in sorted(quorum))):
                        debts = self._owed(ballot, heard)
                        if debts is not None:
                            yield self._taking_office(ballot, debts)

    def _owed(self, ballot: Ballot, heard: tuple[Promised, ...]) -> Debts | None:
        if heard not in self._debts:
            candidate = self._candidate(ballot, 1, self.quorums, self.rounds)
            for node, _, entries, compacted in heard:
                candidate.on_promise(node, Promise(ballot, 1, entries, 0, compacted))
            try:
                self._debts[heard] = candidate.debts()
            except ProtocolBreach as breach:
                self._judge.breach = str(breach)
        return self._debts.get(heard)

    def _taking_office(self, ballot: Ballot, debts: Debts) -> _Action:
        owed = [
            Asked(ballot, slot, value)
            for slot, value in enumerate(debts.values, debts.floor + 1)
            if slot in self.slots
        ]
        names = ", ".join(f"slot {slot}: {text(value)}" for _, slot, value in owed)
        opens = f"coordinator {ballot.node} opens {ballot} from slot {debts.first} on"
        return f"{opens}, and proposes {names or 'nothing'}", (Opened(ballot, debts.first), *owed)

    def _recoveries(self, known: Known) -> Iterator[_Action]:
        """A slot is recovered by votes at the ballot before, and by reports."""
        for ballot, first in self._classics(known):
            before = self.rounds.predecessor(ballot)
            for slot in self.slots:
                if before is None or any(each[:2] == (ballot, slot) for each in known.asked):
                    continue
                votes = known.votes(before, slot)
                reports = {
                    each.node: (each.vote, each.value)
                    for each in known.reported
                    if each.ballot == ballot and each.slot == slot
                }
                for value in self._left(ballot, first, slot, votes, reports):
                    what = f"the coordinator of {ballot} proposes {text(value)} in slot {slot}"
                    yield what, (Asked(ballot, slot, value),)

    def _left(
        self,
        ballot: Ballot,
        first: int,
        slot: int,
        votes: Mapping[NodeId, bytes],
        reports: Mapping[NodeId, tuple[Ballot, bytes | None]],
    ) -> list[bytes]:
        """What any quorum's votes and reports leave to propose."""
        found: dict[bytes, None] = {}
        nodes = sorted(votes.keys() | reports.keys())
        kinds = [
            [kind for kind, of in (("vote", votes), ("report", reports)) if node in of] for node in nodes
        ]
        for quorum in self._ones:
            if not quorum <= set(nodes):
                continue
            for chosen in product(*(kind for node, kind in zip(nodes, kinds, strict=True) if node in quorum)):
                heard = tuple(
                    (node, kind, votes[node] if kind == "vote" else reports[node])
                    for node, kind in zip(sorted(quorum), chosen, strict=True)
                )
                key = (ballot, first, slot, heard)
                if key not in self._recovered:
                    self._recovered[key] = self._settled(*key)
                value = self._recovered[key]
                if value is not None:
                    found[value] = None
        return list(found)

    def _settled(
        self, ballot: Ballot, first: int, slot: int, heard: tuple[tuple[NodeId, str, Any], ...]
    ) -> bytes | None:
        """What a real office that was told these votes and reports of a slot proposes there."""
        node = coordinator(ballot, self.quorums.members)
        context = Context(Configuration(node, self.quorums, self._settings), lambda name, bound: 0)
        learner, acceptor = LogLearner(), self._acceptor(self.rounds)
        proposer = LogProposer(View(OPEN, True, 1, node))
        begun = ballot._replace(step=0)
        debts = Debts(first - 1, (), 0, None)
        office = self._office(context, acceptor, learner, proposer, Mood(self._settings), begun, debts, 0.0)
        before = self.rounds.predecessor(ballot)
        assert before is not None
        office.recoveries[slot] = {}
        try:
            for sender, kind, what in heard:
                if kind == "vote":
                    learner.count(sender, Vote(before, slot, what), context, 0.0)
                else:
                    office.on_report(sender, Report(ballot, slot, *what), 0.0)
            if slot in office.recoveries:
                office.on_vote(before, slot, 0.0)
        except ProtocolBreach as breach:
            self._judge.breach = str(breach)
            return None
        for _, message in context.out.sends:
            if isinstance(message, Accept) and message.slot == slot and message.ballot == ballot:
                return message.value
        flight = office.flights.get(slot)
        return None if flight is None else flight.value

    def _placing(self, known: Known) -> Iterator[_Action]:
        """In a classic ballot the coordinator places whatever it is given, slot after slot."""
        for ballot, first in known.opened:
            if self.rounds.is_fast(ballot):
                continue
            placed = [each.slot for each in known.asked if each.ballot == ballot]
            slot = max([first - 1, *placed]) + 1
            if slot in self.slots:
                for value in self.values:
                    what = f"coordinator {ballot.node} places {text(value)} in slot {slot} at {ballot}"
                    yield what, (Asked(ballot, slot, value),)


def _told(fact: Promised) -> str:
    told = ", ".join(f"slot {slot}: {text(value)} at {ballot}" for slot, ballot, value in fact.entries)
    return (told or "no vote") + (f", slots up to {fact.compacted} compacted" if fact.compacted else "")
