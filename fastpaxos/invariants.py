"""What must hold in every run of Fast Paxos for named decrees, by name, checked at every step.

Those of Basic Paxos that speak of messages alone hold as they are: `Agreement`, `Validity`, `Stability`,
`PromiseMonotone`, `VoteAtMostPromise`, `PromiseTruthful`. Here are those that fast ballots make different, or
add. As there, a message is *created* by a handler, *leaves* when its node lets it go, and is taken in by a
later step; what left binds a node over a restart.

None of them uses the rules of the code that it judges: see `fastpaxos.ghosts`.
"""

from itertools import product
from typing import Final

from fastpaxos.ghosts import Heard, RoundsOf, choosable_by_definition
from fastpaxos.messages import Accept, Accepted, AnyValue, Prepare, Promise
from fastpaxos.rounds import OPEN, coordinator
from fastpaxos.vote_invariants import DurableBeforeSend, FastChosen, LearnerSound, VotesSafe
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.acceptor_invariants import PromiseMonotone, PromiseTruthful, VoteAtMostPromise
from paxos.basic.invariants import Agreement, Stability, Validity
from paxos.basic.watch import Watch, at, decisions
from paxos.contract import InvariantMaker, Step
from paxos.errors import QuorumError
from paxos.quorum import Phase, QuorumSystem, check_intersections

__all__ = [
    "INVARIANTS",
    "AnyOnlyIfFree",
    "BallotOwnership",
    "OneValuePerBallot",
    "OneVotePerRound",
    "PickRule",
    "PickUnique",
    "QuorumsIntersect",
    "VotesOnce",
]

#: Up to so many members the three-way rule is looked at quorum by quorum.
_ENUMERATED: Final = 9


class QuorumsIntersect(Watch):
    """Every phase-1 quorum meets every phase-2 quorum, and what any two fast quorums have in common."""

    name = "QuorumsIntersect"
    _when = ("restart",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._said: str | None = _apart(quorums)

    def observe(self, step: Step) -> str | None:
        """See one step; a sentence naming what broke, or None."""
        return self._said


def _apart(quorums: QuorumSystem) -> str | None:
    if len(quorums.members) > _ENUMERATED:
        try:
            check_intersections(quorums, fast=True)
        except QuorumError as error:
            return str(error)
        return None
    sets = [
        frozenset(node for place, node in enumerate(quorums.members) if number >> place & 1)
        for number in range(1, 1 << len(quorums.members))
    ]
    ones, twos, fasts = (_least([s for s in sets if quorums.is_quorum(s, phase)]) for phase in Phase)
    for one in ones:
        for two in twos:
            if not one & two:
                return f"phase-1 quorum {sorted(one)} and phase-2 quorum {sorted(two)} are apart"
        for first, second in product(fasts, repeat=2):
            if not one & first & second:
                what = f"fast quorums {sorted(first)} and {sorted(second)}"
                return f"phase-1 quorum {sorted(one)} does not meet what {what} share"
    return None


def _least(sets: list[frozenset[NodeId]]) -> list[frozenset[NodeId]]:
    return [each for each in sets if not any(other < each for other in sets)]


class OneVotePerRound(Watch):
    """An acceptor votes for one value at a ballot, fast or classic; over a restart too, for what had left."""

    name = "OneVotePerRound"
    _when = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._now: dict[NodeId, dict[tuple[bytes, Ballot], bytes]] = {}
        self._ever: dict[NodeId, dict[tuple[bytes, Ballot], bytes]] = {}
        self._created = {Accepted: self._vote}
        self._left = {Accepted: self._vote_left}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._now[step.node] = dict(self._ever.get(step.node, {}))
        return None

    def _vote(self, step: Step, message: Accepted) -> str | None:
        decree, ballot, value = message
        known = self._now.setdefault(step.node, {}).setdefault((decree, ballot), value)
        if known == value:
            return None
        return at(step, decree, f"votes at {ballot} for {value!r:.80}, and voted there for {known!r:.80}")

    def _vote_left(self, step: Step, message: Accepted) -> str | None:
        self._ever.setdefault(step.node, {})[message.decree, message.ballot] = message.value
        return self._vote(step, message)


class OneValuePerBallot(Watch):
    """One *classic* ballot of a decree carries one value; at any ballot its coordinator proposes one.

    Looked at as messages leave: a vote that a crash took back, before anybody heard of it, binds nobody.
    """

    name = "OneValuePerBallot"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._rounds = RoundsOf()
        self._values: dict[tuple[bytes, Ballot], bytes] = {}
        self._left = {Accept: self._carries, Accepted: self._carries}

    def _carries(self, step: Step, message: Accept | Accepted) -> str | None:
        decree, ballot, value = message
        if ballot.step <= self._rounds.see(step).last_fast_step and isinstance(message, Accepted):
            return None
        known = self._values.setdefault((decree, ballot), value)
        if known == value:
            return None
        what = f"{type(message).__name__} of {ballot} carries {value!r:.80}, and {known!r:.80}"
        return at(step, decree, what)


class BallotOwnership(Watch):
    """Only its coordinator uses a ballot; one that is begun by phase 1 in one of its lives only.

    A recovery's ballot may be used again after a restart: for the same value, as `OneValuePerBallot` sees to.
    """

    name = "BallotOwnership"
    _when = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._now: dict[tuple[NodeId, bytes], Ballot] = {}
        self._earlier: dict[tuple[NodeId, bytes], Ballot] = {}
        self._left = {Prepare: self._question, AnyValue: self._question, Accept: self._accept}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            for key in [key for key in self._now if key[0] == step.node]:
                self._earlier[key] = max(self._earlier.get(key, BOTTOM), self._now.pop(key))
        return None

    def _accept(self, step: Step, message: Accept) -> str | None:
        ballot = message.ballot
        if coordinator(ballot, self._quorums.members) == step.node and ballot != OPEN:
            return None
        return at(step, message.decree, f"sends Accept of {ballot}, which is not its own")

    def _question(self, step: Step, message: Prepare | AnyValue) -> str | None:
        decree, ballot = message[:2]
        what = f"sends {type(message).__name__} of {ballot}"
        if ballot.node != step.node:
            return at(step, decree, f"{what}, which is not its own")
        key = (step.node, decree)
        if ballot <= self._earlier.get(key, BOTTOM):
            return at(step, decree, f"{what}, and used {self._earlier[key]} before it restarted")
        self._now[key] = max(self._now.get(key, BOTTOM), ballot)
        return None


class _Judged(Watch):
    """What a node proposes, judged by what it had heard when it did."""

    _when = ("crash", Promise, Accepted)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._rounds = RoundsOf()
        self._heard = Heard(quorums)

    def _before(self, step: Step) -> str | None:
        self._heard.see(step)
        return None

    def _after(self, step: Step) -> str | None:
        for decree, _ in decisions(step):
            self._heard.forget(step.node, decree)
        return None


class PickRule(_Judged):
    """A value is proposed, or voted for in uncoordinated recovery, only when the rule leaves it.

    By promises of that very ballot from a phase-1 quorum, or by votes at the one immediately before; taken in
    by the node that concludes, in this life. Or it is what that node itself voted for there before.
    """

    name = "PickRule"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._voted: set[tuple[NodeId, bytes, Ballot, bytes]] = set()
        self._asked: set[tuple[bytes, Ballot, bytes]] = set()
        self._opened: set[tuple[bytes, Ballot]] = set()
        self._created = {Accept: self._accept, Accepted: self._vote}
        self._left = {AnyValue: self._any}

    def _any(self, step: Step, message: AnyValue) -> str | None:
        self._opened.add((message.decree, message.ballot))
        return None

    def _accept(self, step: Step, message: Accept) -> str | None:
        decree, ballot, value = message
        if (step.node, decree, ballot, value) not in self._voted and (
            decree,
            ballot,
            value,
        ) not in self._asked:
            said = self._conclude(step, decree, ballot, value, "proposes")
            if said is not None:
                return said
        self._asked.add((decree, ballot, value))
        return None

    def _vote(self, step: Step, message: Accepted) -> str | None:
        decree, ballot, value = message
        key = (step.node, decree, ballot, value)
        if key in self._voted:
            return None
        self._voted.add(key)
        received = step.message
        if isinstance(received, Accept) and received.ballot == ballot and received.value == value:
            return None
        if ballot == OPEN or (decree, ballot) in self._opened:
            return None  # any proposer's
        return self._conclude(step, decree, ballot, value, "votes for")

    def _conclude(self, step: Step, decree: bytes, ballot: Ballot, value: bytes, what: str) -> str | None:
        rounds = self._rounds.see(step)
        if self._heard.permits(step.node, decree, ballot, value, rounds):
            return None
        before = rounds.predecessor(ballot)
        told = dict(self._heard.promises(step.node, decree, ballot))
        votes = dict(self._heard.votes(step.node, decree, before)) if before is not None else {}
        heard = f"heard promises {told} and, of the ballot before, votes {votes}"
        return at(step, decree, f"{what} {value!r:.80} at {ballot}; it {heard}"[:600])


class PickUnique(_Judged):
    """At most one value is choosable by what a phase-1 quorum reports of a fast ballot."""

    name = "PickUnique"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._created = {Accept: self._accept}

    def _accept(self, step: Step, message: Accept) -> str | None:
        rounds = self._rounds.see(step)
        for reports in self._heard.bases(step.node, message.decree, message.ballot, rounds):
            highest = max(ballot for ballot, _ in reports.values())
            if highest == BOTTOM or highest.step > rounds.last_fast_step:
                continue
            voted = sorted({v for ballot, v in reports.values() if ballot == highest and v is not None})
            found = [v for v in voted if choosable_by_definition(reports, highest, v, self._quorums)]
            if len(found) > 1:
                return at(step, message.decree, f"{found} may all have been chosen at {highest}: {reports}")
        return None


class AnyOnlyIfFree(_Judged):
    """A fast ballot is opened only when a phase-1 quorum reported no vote at all; and only then is it open.

    A vote at a fast ballot, but for the first, follows its coordinator's Any or Accept, or is the voter's own
    recovery, which `PickRule` judges.
    """

    name = "AnyOnlyIfFree"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._told: set[tuple[bytes, Ballot]] = set()
        self._created = {AnyValue: self._any, Accepted: self._vote}
        self._left = {AnyValue: self._opens, Accept: self._opens}

    def _opens(self, step: Step, message: AnyValue | Accept) -> str | None:
        self._told.add((message.decree, message.ballot))
        return None

    def _any(self, step: Step, message: AnyValue) -> str | None:
        decree, ballot = message
        rounds = self._rounds.see(step)
        if ballot.step > rounds.last_fast_step:
            return at(step, decree, f"opens {ballot}, which is classic")
        self._told.add((decree, ballot))
        for reports in self._heard.bases(step.node, decree, ballot, rounds):
            if all(vote == BOTTOM for vote, _ in reports.values()):
                return None
        told = dict(self._heard.promises(step.node, decree, ballot))
        return at(step, decree, f"opens {ballot} to all, and heard {told}")

    def _vote(self, step: Step, message: Accepted) -> str | None:
        decree, ballot, _ = message
        rounds = self._rounds.see(step)
        if ballot == OPEN or ballot.step or ballot.step > rounds.last_fast_step:
            return None
        if (decree, ballot) in self._told or isinstance(step.message, Accept) or ballot.node == step.node:
            return None
        return at(step, decree, f"votes at {ballot}, which nobody opened")


class VotesOnce(_Judged):
    """A node that concludes had answers of enough *different members*, each counted once per ballot."""

    name = "VotesOnce"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._voted: set[tuple[NodeId, bytes, Ballot]] = set()
        self._created = {Accept: self._accept, Accepted: self._vote}

    def _vote(self, step: Step, message: Accepted) -> str | None:
        self._voted.add((step.node, message.decree, message.ballot))
        return None

    def _accept(self, step: Step, message: Accept) -> str | None:
        decree, ballot, _ = message
        if (step.node, decree, ballot) in self._voted:
            return None  # made when it voted itself, with these answers, or in an earlier life
        if any(True for _ in self._heard.bases(step.node, decree, ballot, self._rounds.see(step))):
            return None
        return at(step, decree, f"proposes at {ballot} with no phase-1 quorum's answers")

    def _after(self, step: Step) -> str | None:
        message, rounds = step.message, self._rounds.see(step)
        for decree, value in decisions(step):
            if isinstance(message, Accepted) and decree == message.decree:
                ballot = message.ballot
                heard = self._heard.votes(step.node, decree, ballot)
                voters = [node for node, report in heard.items() if report == (ballot, value)]
                fast = ballot.step <= rounds.last_fast_step
                if not self._quorums.is_quorum(voters, Phase.FAST if fast else Phase.TWO):
                    what = f"decides with votes at {ballot} of {sorted(voters)} alone"
                    return at(step, decree, what)
        return super()._after(step)


#: Every invariant of Fast Paxos for named decrees.
INVARIANTS: Final[tuple[InvariantMaker, ...]] = (
    QuorumsIntersect,
    Agreement,
    Validity,
    Stability,
    DurableBeforeSend,
    VotesOnce,
    OneVotePerRound,
    OneValuePerBallot,
    BallotOwnership,
    PromiseMonotone,
    VoteAtMostPromise,
    PromiseTruthful,
    AnyOnlyIfFree,
    PickRule,
    PickUnique,
    VotesSafe,
    FastChosen,
    LearnerSound,
)
