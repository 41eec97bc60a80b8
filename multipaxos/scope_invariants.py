"""What must hold in every state of Multi-Paxos's closed world, by the names that the specification uses too.

A leader that counts votes and a follower that hears of it change nothing for acceptors, so they are no part
of a state. Every state is judged together with everything that the real `Leader` can have counted by the
votes that left so far, in any order, and with everything that a real `LogLearner` at each acceptor can commit
by the commit indexes that follow, in any order. What a learner committed earlier it would commit again now,
since votes only give way to those of higher ballots; so no more than that need be looked at.

What an invariant needs of a state is cut out first, and the answer for that is worked out once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from multipaxos.context import Context
from multipaxos.learner import LogLearner
from multipaxos.messages import Accept, Accepted, Prepare, Promise
from multipaxos.proposer import Leader
from multipaxos.scope_parts import LeaderPart, LogAcceptorPart, say, text
from multipaxos.settings import MultiPaxosSettings
from paxos.ballot import Ballot, NodeId
from paxos.basic.scope_facts import FULL, WIDTH, Facts, Remembered, Sent
from paxos.basic.scope_parts import Broken, Part
from paxos.basic.values import NOP_VALUE, pack_value
from paxos.contract import Configuration
from paxos.quorum import Phase, QuorumSystem

__all__ = ["LogFacts", "LogJudge"]


class LogFacts(Facts):
    """What can be true in the world of a log, each fact one bit."""

    # Said again, so that every type checker knows what they are here.
    votes: int
    valued: int
    specified: int

    def __init__(self, first_bit: int) -> None:
        super().__init__(first_bit)
        #: By ballot: votes that left.
        self.votes_at: dict[Ballot, int] = {}

    def _sort(self, fact: Sent, bit: int) -> None:
        if fact.kind is Accepted:
            self.votes |= bit
            ballot = fact.message.ballot
            self.votes_at[ballot] = self.votes_at.get(ballot, 0) | bit
        if fact.kind in (Accept, Accepted):
            self.valued |= bit
        if fact.kind in (Promise, Accepted):
            self.answered[fact.part] = self.answered.get(fact.part, 0) | bit
        message: Any = fact.message
        if fact.kind is not Prepare or message.first == 1:
            self.specified |= bit


class _Index(NamedTuple):
    """A commit index that the leader of a ballot can have come to."""

    ballot: Ballot
    committed: int


class LogJudge:
    """Knows the invariants of one world.

    Args:
        facts: of the world.
        quorums: the quorum system.
        parts: everything that has a standing in a state, in order.
        values: what clients may ask for.
        learner: what learners are made of.
    """

    def __init__(
        self,
        facts: LogFacts,
        quorums: QuorumSystem,
        parts: Sequence[Part],
        values: Sequence[bytes],
        learner: type[LogLearner],
    ) -> None:
        self._facts = facts
        self._quorums = quorums
        self._parts = parts
        self._valid = frozenset((NOP_VALUE, *values))
        self._make_learner = learner
        self._standings: dict[tuple[int, int], Any] = {}
        self._acceptors = [at for at, part in enumerate(parts) if isinstance(part, LogAcceptorPart)]
        self._leaders = [at for at, part in enumerate(parts) if isinstance(part, LeaderPart)]
        self._flaws: dict[tuple[int, int], tuple[str, str]] = {}
        self._monotone: Remembered[str | None] = Remembered(self._find_promise_lower)
        self._chosen: Remembered[dict[int, set[bytes]]] = Remembered(self._find_chosen)
        self._two: Remembered[str | None] = Remembered(self._find_two_values)
        self._invalid: Remembered[str | None] = Remembered(self._find_invalid)
        self._reached: Remembered[set[int]] = Remembered(self._find_reached)
        self._indexes: Remembered[frozenset[_Index]] = Remembered(self._find_indexes)
        self._committed: Remembered[frozenset[tuple[int, bytes]]] = Remembered(self._find_committed)
        self.invariants: Mapping[str, Callable[[int], str | None]] = {
            "Agreement": self._agreement,
            "OneValuePerBallot": lambda state: (
                self._two(state & self._facts.valued) or self._flaw("OneValuePerBallot", state)
            ),
            "VoteAtMostPromise": lambda state: self._flaw("VoteAtMostPromise", state),
            "PromiseMonotone": self._promise_monotone,
            "LearnerSound": self._learner_sound,
            "Validity": lambda state: self._invalid(state & self._facts.valued),
            "HandlersAnswer": lambda state: self._flaw("HandlersAnswer", state),
        }

    # --- of a standing by itself --------------------------------------------------------------------------

    def standing(self, part: int, number: int, value: Any) -> None:
        """Look at a new standing of a part."""
        self._standings[part, number] = value
        name = self._parts[part].name
        if isinstance(value, Broken):
            self._flaws[part, number] = (value.invariant, f"{name}: {value.what}")
        elif part in self._acceptors:
            for record in filter(None, (value.record, value.disk)):
                for slot, ballot, _ in record.votes:
                    if ballot > record.promised:
                        what = f"{name} has a vote at {ballot} in slot {slot}, and promised {record.promised}"
                        self._flaws[part, number] = ("VoteAtMostPromise", what)

    def _flaw(self, name: str, state: int) -> str | None:
        if not self._flaws:
            return None
        for part in range(len(self._parts)):
            found = self._flaws.get((part, self._at(part, state)))
            if found is not None and found[0] == name:
                return found[1]
        return None

    def _at(self, part: int, state: int) -> int:
        return (state >> (part * WIDTH)) & FULL

    # --- of acceptors -------------------------------------------------------------------------------------

    def _promise_monotone(self, state: int) -> str | None:
        """An acceptor stands at or above every promise and vote that left it, over its restarts too."""
        for part in self._acceptors:
            answered = state & self._facts.answered.get(part, 0)
            said = self._monotone(part, self._at(part, state), answered)
            if said is not None:
                return said
        return None

    def _find_promise_lower(self, part: int, number: int, answered: int) -> str | None:
        standing = self._standings[part, number]
        if isinstance(standing, Broken):
            return None
        for _, fact in self._facts.of(answered):
            if fact.message.ballot > standing.record.promised:
                stands = f"{self._parts[part].name} stands at {standing.record.promised}"
                return f"{stands}, after {say(fact.message)} left it"
        return None

    # --- of values ----------------------------------------------------------------------------------------

    def _proposed(self, mask: int) -> dict[tuple[Ballot, int], set[bytes]]:
        proposed: dict[tuple[Ballot, int], set[bytes]] = {}
        for _, fact in self._facts.of(mask):
            if fact.kind is Accept:
                proposed.setdefault((fact.message.ballot, fact.message.slot), set()).add(fact.message.value)
        return proposed

    def _find_two_values(self, mask: int) -> str | None:
        for (ballot, slot), values in self._proposed(mask).items():
            if len(values) > 1:
                return f"both {_names(values)} are proposed at {ballot} in slot {slot}"
        return None

    def _find_invalid(self, mask: int) -> str | None:
        for (ballot, slot), values in self._proposed(mask).items():
            if not values <= self._valid:
                return f"nobody asked for {_names(values - self._valid)}, at {ballot} in slot {slot}"
        return None

    # --- of decisions -------------------------------------------------------------------------------------

    def _find_chosen(self, mask: int) -> dict[int, set[bytes]]:
        proposed = self._proposed(mask)
        voters: dict[tuple[Ballot, int], set[NodeId]] = {}
        for _, fact in self._facts.of(mask):
            if fact.kind is Accepted:
                key = (fact.message.ballot, fact.message.runs[0][0])
                voters.setdefault(key, set()).add(self._parts[fact.part].node)
        chosen: dict[int, set[bytes]] = {}
        for key, nodes in voters.items():
            if self._quorums.is_quorum(nodes, Phase.TWO):
                chosen.setdefault(key[1], set()).update(proposed.get(key, ()))
        return chosen

    def _agreement(self, state: int) -> str | None:
        """No two values are chosen in a slot."""
        for slot, values in self._chosen(state & self._facts.valued).items():
            if len(values) > 1:
                return f"both {_names(values)} are chosen in slot {slot}"
        return self._flaw("Agreement", state)

    def _learner_sound(self, state: int) -> str | None:
        """What a node commits in a slot was chosen there."""
        leaders = tuple(self._at(part, state) for part in self._leaders)
        indexes = self._indexes(leaders, state & self._facts.votes)
        if not indexes:
            return None
        chosen = self._chosen(state & self._facts.valued)
        for part in self._acceptors:
            for slot, value in self._committed(part, self._at(part, state), indexes):
                if value not in chosen.get(slot, ()):
                    told = ", ".join(f"{upto} of {ballot}" for ballot, upto in sorted(indexes))
                    return (
                        f"a learner at {self._parts[part].name} that hears of the commit indexes {told} "
                        f"commits {text(value)} in slot {slot}, for which no quorum voted at one ballot"
                    )
        return None

    def _find_indexes(self, leaders: tuple[int, ...], votes: int) -> frozenset[_Index]:
        """All that real leaders can come to by these votes, in any order."""
        found: set[_Index] = set()
        for part, number in zip(self._leaders, leaders, strict=True):
            standing = self._standings[part, number]
            if isinstance(standing, Leader):
                mine = votes & self._facts.votes_at.get(standing.ballot, 0)
                found |= {_Index(standing.ballot, upto) for upto in self._reached(part, number, mine)}
        return frozenset(found)

    def _find_reached(self, part: int, number: int, votes: int) -> set[int]:
        """All that one real leader can come to by these votes."""
        mine = [(self._parts[fact.part].node, fact.message) for _, fact in self._facts.of(votes)]
        return _counted(self._standings[part, number], mine)

    def _find_committed(
        self, part: int, number: int, indexes: frozenset[_Index]
    ) -> frozenset[tuple[int, bytes]]:
        """All that a real learner at this acceptor can commit by these indexes, in any order."""
        standing = self._standings[part, number]
        if isinstance(standing, Broken):
            return frozenset()
        configuration = Configuration(self._parts[part].node, self._quorums, MultiPaxosSettings())
        found: set[tuple[int, bytes]] = set()
        learners: dict[Any, LogLearner] = {}
        waiting = [self._make_learner()]
        for learner in waiting:  # grows while it is walked
            for ballot, upto in indexes:
                after, context = learner.clone(), Context(configuration, lambda name, bound: 0)
                after.hear(ballot, upto, None)
                after.advance(standing.acceptor, context, 0.0)
                found |= {(slot, pack_value(command)) for slot, command in _applied(context)}
                if learners.setdefault(after.fingerprint(), after) is after:
                    waiting.append(after)
        return frozenset(found)


def _counted(leader: Leader, votes: Sequence[tuple[NodeId, Accepted]]) -> set[int]:
    """The commit indexes that a leader can come to by these votes."""
    reached = {leader.committed} if leader.committed else set()
    known = {leader.fingerprint()}
    waiting = [leader]
    for each in waiting:  # grows while it is walked
        for sender, (_, runs) in votes:
            after = each.clone()
            for first, last in runs:
                if after.count(sender, first, last):
                    after.take_committed()
                    reached.add(after.committed)
            if after.fingerprint() not in known:
                known.add(after.fingerprint())
                waiting.append(after)
    return reached


def _applied(context: Context) -> list[tuple[Any, Any]]:
    return context.out.applies


def _names(values: set[bytes] | frozenset[bytes]) -> str:
    return " and ".join(sorted(map(text, values)))
