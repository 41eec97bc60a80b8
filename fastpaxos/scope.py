"""The closed world of Fast Paxos: the real roles, a few acceptors, a few ballots, every order of everything.

One action is one thing that a node does: promise a ballot, vote as a proposer or a coordinator asks, recover
a ballot from votes, open a ballot or propose at it by what a phase-1 quorum promised. What may be done the
roles decide (`FastAcceptor`, `Coordinator`, `recover`, `Tally`): no copy of their rules is made here. Any
node may propose any value at any time. Messages stay deliverable, in any order and any number of times, as in
the specifications: that one is lost is that it is never delivered.

**A state is one int**: the set of what left acceptors and coordinators so far. An acceptor's record is the
highest ballot that it promised or voted at, and its last vote, so it needs no place of its own; it is what a
crash leaves, so a restart of an acceptor changes nothing. Coordinators remember nothing at all: at any time
one may act on any quorum's answers, as one does that has just come back. What keeps it from using a ballot
twice is what keeps the real one from it: phase 1's ballots are not begun again, and where it recovers its own
acceptor votes first.

Ballots are counted in their order: (0, 0, 0) and its recoveries, then rounds of nodes 1, 2, ... in turn, each
with all its steps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple, TypeAlias

from fastpaxos.acceptor import FastAcceptor
from fastpaxos.choosing import voters_by_value
from fastpaxos.collision import Recovered, recover
from fastpaxos.coordinator import Coordinator
from fastpaxos.learner import Tally
from fastpaxos.messages import Accept, Accepted, AnyValue, Prepare, Promise
from fastpaxos.rounds import OPEN, Rounds, coordinator
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.acceptor import AcceptorRecord
from paxos.contract.scope import ScopeSettings
from paxos.errors import ConfigurationError, ProtocolBreach
from paxos.quorum import FastQuorums, Phase, QuorumSystem

__all__ = ["FastScope"]

_VALUES: Final = (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h")


class _Promised(NamedTuple):
    """1b: an acceptor promised a ballot, and said how it last voted."""

    node: NodeId
    ballot: Ballot
    accepted_ballot: Ballot
    accepted_value: bytes | None


class _Voted(NamedTuple):
    """2b: an acceptor voted."""

    node: NodeId
    ballot: Ballot
    value: bytes


class _Asked(NamedTuple):
    """2a: a ballot's coordinator asked for votes for a value, or, with None, opened the ballot to all."""

    ballot: Ballot
    value: bytes | None


_Fact: TypeAlias = _Promised | _Voted | _Asked
_Known: TypeAlias = tuple[tuple[_Promised, ...], tuple[_Voted, ...], tuple[_Asked, ...]]


class FastScope:
    """A closed world of Fast Paxos. It is a `paxos.contract.Scope` whose states are ints.

    Args:
        settings: how small it is; without faults, see above.
        rounds: which ballots are fast; None for coordinated recovery.
        quorums: over acceptors 1, 2, ...; None for `FastQuorums`.
        ballots: the ballots there are, if not the first so many.
        acceptor: what acceptors are made of.
        coordinator: what coordinators are made of.
        recovery: how a ballot is recovered from its votes.

    Raises:
        ConfigurationError: the quorums are over other acceptors, or faults or slots are asked for.
    """

    def __init__(
        self,
        settings: ScopeSettings,
        *,
        rounds: Rounds | None = None,
        quorums: QuorumSystem | None = None,
        ballots: Sequence[Ballot] | None = None,
        acceptor: type[FastAcceptor] = FastAcceptor,
        coordinator: type[Coordinator] = Coordinator,
        recovery: Callable[..., Recovered | None] = recover,
    ) -> None:
        if settings.slots != 1:
            raise ConfigurationError(f"named decrees have no slots: {settings.slots} of them make no world")
        if settings.faults:
            raise ConfigurationError(
                "this world has no faults to choose: messages stay deliverable, and restarts are in it"
            )
        self.settings: ScopeSettings = settings
        self.rounds: Rounds = rounds or Rounds()
        self.quorums: QuorumSystem = quorums or FastQuorums(range(1, settings.acceptors + 1))
        if self.quorums.members != tuple(range(1, settings.acceptors + 1)):
            raise ConfigurationError(
                f"a scope's acceptors are 1..{settings.acceptors}, not those of {self.quorums.describe()}"
            )
        self.values: tuple[bytes, ...] = _VALUES[: settings.values]
        self.ballots: tuple[Ballot, ...] = tuple(ballots or self._first(settings.ballots))
        self._acceptor = acceptor
        self._coordinator = coordinator
        self._recover = recovery
        self._bits: dict[tuple[int, _Fact], int] = {}
        self._facts: list[_Fact] = []
        self._ones = [
            frozenset(nodes)
            for size in range(1, settings.acceptors + 1)
            for nodes in combinations(self.quorums.members, size)
            if self.quorums.is_quorum(nodes, Phase.ONE)
        ]
        self._breach: str | None = None
        self._last: tuple[int, _Known] = (0, ((), (), ()))
        self._picked: dict[tuple[Ballot, tuple[_Promised, ...], bytes], Accept | AnyValue | None] = {}
        self._recovered: dict[tuple[Ballot, tuple[_Voted, ...]], tuple[Ballot, bytes] | None] = {}

    def _first(self, number: int) -> Iterator[Ballot]:
        steps = range(self.rounds.last_fast_step + 2)
        begins = [OPEN, *(Ballot(1 + at // 7, 1 + at % 7) for at in range(7 * number))]
        owned = (each for each in begins if each.node <= len(self.quorums.members))
        every = (Ballot(each.round, each.node, step) for each in owned for step in steps)
        return (each for _, each in zip(range(number), every, strict=False))

    # --- the scope ----------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is in it, in a line for people."""
        names = " ".join(map(str, self.ballots))
        return (
            f"Fast Paxos, {self.quorums.describe()}, ballots {names}, {len(self.values)} values; "
            "messages stay deliverable, nodes restart"
        )

    @property
    def expected(self) -> int | None:
        """No count is known from elsewhere."""
        return None

    @property
    def invariants(self) -> Mapping[str, Callable[[int], str | None]]:
        """What must hold in every state, by name."""
        return {
            "Agreement": self._agreement,
            "OneVotePerRound": self._one_vote,
            "OneValuePerBallot": self._one_value,
            "PickUnique": lambda _: self._breach,
            "VotesSafe": self._votes_safe,
            "LearnerSound": self._learner_sound,
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

    # --- states -----------------------------------------------------------------------------------------

    def _bit(self, fact: _Fact) -> int:
        key = (len(fact), fact)  # which tells the classes apart: tuples of equal fields are equal
        bit = self._bits.get(key)
        if bit is None:
            bit = self._bits[key] = 1 << len(self._facts)
            self._facts.append(fact)
        return bit

    def _known(self, state: int) -> _Known:
        if self._last[0] != state:  # every invariant asks for the same one
            self._last = (state, self._look_up(state))
        return self._last[1]

    def _look_up(self, state: int) -> _Known:
        promised: list[_Promised] = []
        voted: list[_Voted] = []
        asked: list[_Asked] = []
        while state:
            low = state & -state
            fact = self._facts[low.bit_length() - 1]
            if isinstance(fact, _Promised):
                promised.append(fact)
            elif isinstance(fact, _Voted):
                voted.append(fact)
            else:
                asked.append(fact)
            state ^= low
        return tuple(promised), tuple(voted), tuple(asked)

    def _record(self, node: NodeId, known: _Known) -> AcceptorRecord:
        """What the acceptor's disk holds: all that it has answered follows from it, and it from that."""
        vote, value, promised = BOTTOM, None, BOTTOM
        for each in known[1]:
            if each.node == node and each.ballot > vote:
                vote, value = each.ballot, each.value
        for one in known[0]:
            if one.node == node and one.ballot > promised:
                promised = one.ballot
        return AcceptorRecord(max(promised, vote), vote, value)

    # --- what can happen ----------------------------------------------------------------------------------

    def _actions(self, known: _Known) -> Iterator[tuple[str, tuple[_Fact, ...]]]:
        records = {node: self._record(node, known) for node in self.quorums.members}
        recoveries = list(self._recoveries(known))
        for node, record in records.items():
            yield from self._promises(node, record)
            yield from self._votes(node, record, known)
            for following, value in recoveries:
                if self.rounds.is_fast(following):
                    yield from self._vote(node, record, Accept(b"", following, value), "picks by votes, and")
        for following, value in recoveries:
            if not self.rounds.is_fast(following):
                node = coordinator(following, self.quorums.members)
                yield from self._propose(node, records[node], following, value)
        yield from self._conclusions(known, records)

    def _make(self, record: AcceptorRecord) -> FastAcceptor:
        return self._acceptor(self.rounds, b"", record)

    def _promises(self, node: NodeId, record: AcceptorRecord) -> Iterator[tuple[str, tuple[_Fact, ...]]]:
        for ballot in self.ballots:
            if ballot.node and ballot > record.promised:
                if ballot.step in (0, self.rounds.last_fast_step + 1):
                    reply = self._make(record).on_prepare(Prepare(b"", ballot))
                    if isinstance(reply, Promise):
                        fact = _Promised(node, ballot, reply.accepted_ballot, reply.accepted_value)
                        yield f"acceptor {node} promises {ballot}, {_vote(reply)}", (fact,)

    def _votes(
        self, node: NodeId, record: AcceptorRecord, known: _Known
    ) -> Iterator[tuple[str, tuple[_Fact, ...]]]:
        opened = [OPEN, *(each.ballot for each in known[2] if each.value is None)]
        for ballot in opened:
            for value in self.values:
                acceptor = self._make(record)
                acceptor.opened = ballot
                reply = acceptor.on_propose(value)
                if isinstance(reply, Accepted):
                    what = f"acceptor {node} votes for {reply.value.decode()} at {reply.ballot}, as proposed"
                    yield what, (_Voted(node, reply.ballot, reply.value),)
        for asked in known[2]:
            if asked.value is not None:
                yield from self._vote(node, record, Accept(b"", asked.ballot, asked.value), "is asked, and")

    def _vote(
        self, node: NodeId, record: AcceptorRecord, message: Accept, why: str
    ) -> Iterator[tuple[str, tuple[_Fact, ...]]]:
        if message.ballot not in self.ballots:
            return
        try:
            reply = self._make(record).on_accept(message)
        except ProtocolBreach:
            return
        if isinstance(reply, Accepted):
            what = f"acceptor {node} {why} votes for {reply.value.decode()} at {reply.ballot}"
            yield what, (_Voted(node, reply.ballot, reply.value),)

    def _recoveries(self, known: _Known) -> Iterator[tuple[Ballot, bytes]]:
        """What any node may conclude from votes at a ballot: the one that follows, and a value."""
        by_ballot: dict[Ballot, list[_Voted]] = {}
        for each in known[1]:
            if self.rounds.is_fast(each.ballot):
                by_ballot.setdefault(each.ballot, []).append(each)
        found: dict[tuple[Ballot, bytes], None] = {}
        for ballot, votes in by_ballot.items():
            nodes = {each.node for each in votes}
            for quorum in self._ones:
                if quorum <= nodes:
                    heard = tuple(sorted(each for each in votes if each.node in quorum))
                    concluded = self._recovery(ballot, heard)
                    if concluded is not None and concluded[0] in self.ballots:
                        found[concluded] = None
        return iter(found)

    def _recovery(self, ballot: Ballot, heard: tuple[_Voted, ...]) -> tuple[Ballot, bytes] | None:
        key = (ballot, heard)
        if key not in self._recovered:
            votes = {each.node: each.value for each in heard}
            self._recovered[key] = found = None
            try:
                found = self._recover(ballot, votes, self.quorums, self.rounds)
            except ProtocolBreach as breach:
                self._breach = str(breach)
            if found is not None and found.pick.value is not None:
                self._recovered[key] = (found.ballot, found.pick.value)
        return self._recovered[key]

    def _propose(
        self, node: NodeId, record: AcceptorRecord, ballot: Ballot, value: bytes
    ) -> Iterator[tuple[str, tuple[_Fact, ...]]]:
        """A coordinator proposes: its own acceptor votes first, and says what was proposed before."""
        if record.accepted_ballot == ballot and record.accepted_value is not None:
            value = record.accepted_value
        for _, facts in self._vote(node, record, Accept(b"", ballot, value), ""):
            what = f"coordinator {node} proposes {value.decode()} at {ballot}"
            yield what, (*facts, _Asked(ballot, value))

    def _conclusions(
        self, known: _Known, records: Mapping[NodeId, AcceptorRecord]
    ) -> Iterator[tuple[str, tuple[_Fact, ...]]]:
        """Phase 2a of rounds that were begun with phase 1: once for each ballot."""
        begun = {each.ballot for each in known[2]}
        for ballot in self.ballots:
            promises = [each for each in known[0] if each.ballot == ballot]
            nodes = {each.node for each in promises}
            for quorum in self._ones if promises and ballot not in begun else ():
                if not quorum <= nodes:
                    continue
                heard = tuple(sorted(each for each in promises if each.node in quorum))
                for value in self.values:
                    question = self._conclude(ballot, heard, value)
                    if isinstance(question, AnyValue):
                        yield f"coordinator {ballot.node} opens {ballot} to all", (_Asked(ballot, None),)
                    elif question is not None:
                        yield from self._propose(ballot.node, records[ballot.node], ballot, question.value)

    def _conclude(
        self, ballot: Ballot, heard: tuple[_Promised, ...], value: bytes
    ) -> Accept | AnyValue | None:
        key = (ballot, heard, value)
        if key not in self._picked:
            made = self._coordinator(ballot.node, self.quorums, self.rounds, value)
            made.prepare(Ballot(ballot.round - 1, 0), fast=self.rounds.is_fast(ballot))
            question = None
            for each in heard:
                promise = Promise(b"", ballot, each.accepted_ballot, each.accepted_value)
                question = question or made.on_promise(each.node, promise)
            self._picked[key] = question
        return self._picked[key]

    # --- what must hold -----------------------------------------------------------------------------------

    def _chosen(self, voted: Sequence[_Voted]) -> dict[bytes, Ballot]:
        chosen: dict[bytes, Ballot] = {}
        for ballot in self.ballots:
            phase = Phase.FAST if ballot.step <= self.rounds.last_fast_step else Phase.TWO
            votes = ((each.node, each.value) for each in voted if each.ballot == ballot)
            for value, nodes in voters_by_value(votes).items():
                if self.quorums.is_quorum(nodes, phase):
                    chosen.setdefault(value, ballot)
        return chosen

    def _agreement(self, state: int) -> str | None:
        """No two values are chosen."""
        chosen = self._chosen(self._known(state)[1])
        return None if len(chosen) < 2 else f"chosen are {chosen}"

    def _one_vote(self, state: int) -> str | None:
        """An acceptor votes for one value at a ballot."""
        seen: dict[tuple[NodeId, Ballot], bytes] = {}
        for node, ballot, value in self._known(state)[1]:
            if seen.setdefault((node, ballot), value) != value:
                return f"acceptor {node} voted twice at {ballot}"
        return None

    def _one_value(self, state: int) -> str | None:
        """A classic ballot has one value."""
        seen: dict[Ballot, bytes] = {}
        for _, ballot, value in self._known(state)[1]:
            if ballot.step > self.rounds.last_fast_step and seen.setdefault(ballot, value) != value:
                return f"there are votes for two values at {ballot}"
        return None

    def _votes_safe(self, state: int) -> str | None:
        """Where there is a vote, nothing else was or can be chosen at a lower ballot."""
        known = self._known(state)
        voted = known[1]
        joined = {node: self._record(node, known).promised for node in self.quorums.members}
        for vote in voted:
            for below in self.ballots:
                if below < vote.ballot:
                    said = self._unsafe(vote, below, voted, joined)
                    if said is not None:
                        return said
        return None

    def _unsafe(
        self, vote: _Voted, below: Ballot, voted: Sequence[_Voted], joined: Mapping[NodeId, Ballot]
    ) -> str | None:
        fast = below.step <= self.rounds.last_fast_step
        votes = {each.node: each.value for each in voted if each.ballot == below}
        free = [node for node, highest in joined.items() if node not in votes and highest <= below]
        others = {value for value in votes.values() if value != vote.value}
        if fast or not votes:
            others.add(b"?")
        for other in sorted(others):
            nodes = [*free, *(node for node, value in votes.items() if value == other)]
            if self.quorums.is_quorum(nodes, Phase.FAST if fast else Phase.TWO):
                what = f"a vote for {vote.value.decode()} at {vote.ballot}"
                return f"{what}; {sorted(nodes)} may choose another at {below}"
        return None

    def _learner_sound(self, state: int) -> str | None:
        """What a learner that hears all votes learns was chosen."""
        voted = self._known(state)[1]
        tally = Tally[bytes](self.quorums, self.rounds)
        try:
            for node, ballot, value in voted:
                tally.count(node, ballot, value)
        except ProtocolBreach as breach:
            return str(breach)
        chosen = self._chosen(voted)
        if tally.choice is None:
            return f"a learner does not learn {chosen}" if chosen else None
        return None if tally.choice.value in chosen else f"a learner learns {tally.choice}"


def _vote(reply: Promise) -> str:
    if reply.accepted_value is None:
        return "having voted for nothing"
    return f"having voted for {reply.accepted_value.decode()} at {reply.accepted_ballot}"
