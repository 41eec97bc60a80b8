"""What must hold in every run of Basic Paxos, by name, checked at every step.

Each invariant watches one run from outside: it sees the messages that nodes make, let go and take in, what
they apply, and what their disks hold, and keeps a *ghost* of the run, the few facts it needs of the past.
None of them trusts a replica's own bookkeeping where the messages tell as much.

Three words recur.  A message is *created* by a handler, *leaves* when its node lets it go (a reporting one,
when the disk holds what it reports), and is taken in by a later step; a crash loses what was created and
had not left, so only what left binds a node over a restart.  A *life* is the time between two starts of a
node.  A *decree* is decided on its own, so every ghost is kept by decree.

The names are those of the specification.  A step costs a look-up by the class of each message.
"""

import abc
from typing import Final

from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.acceptor_invariants import (
    DurableBeforeSend,
    PromiseMonotone,
    PromiseTruthful,
    VoteAtMostPromise,
)
from paxos.basic.messages import Accept, Accepted, Chosen, Prepare, Promise
from paxos.basic.watch import HoldsDecrees, PerNode, Watch, at, decisions
from paxos.contract import InvariantMaker, Step
from paxos.quorum import Phase, QuorumSystem

__all__ = [
    "INVARIANTS",
    "AcceptSafe",
    "Agreement",
    "BallotOwnership",
    "DurableBeforeSend",
    "LearnerSound",
    "OneValuePerBallot",
    "PromiseMonotone",
    "PromiseTruthful",
    "Stability",
    "Validity",
    "VoteAtMostPromise",
    "VotesOnce",
    "VotesSafe",
]


# --- what is decided ------------------------------------------------------------------------------


class _Decisions(Watch):
    """What must hold of every decision, be it applied or announced."""

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._created = {Chosen: self._announced}

    def _announced(self, step: Step, message: Chosen) -> str | None:
        return self._decide(step, message.decree, message.value)

    def _after(self, step: Step) -> str | None:
        for decree, value in decisions(step):
            said = self._decide(step, decree, value)
            if said is not None:
                return said
        return None

    @abc.abstractmethod
    def _decide(self, step: Step, decree: bytes, value: bytes) -> str | None:
        """A decision was seen; what broke, or None."""


class Agreement(_Decisions):
    """No two decisions of one decree differ, whoever made them, applied or announced."""

    name = "Agreement"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._decided: dict[bytes, tuple[bytes, NodeId]] = {}

    def _decide(self, step: Step, decree: bytes, value: bytes) -> str | None:
        known, node = self._decided.setdefault(decree, (value, step.node))
        if known == value:
            return None
        return at(step, decree, f"decides {value!r:.80}, and node {node} decided {known!r:.80}")


class Validity(_Decisions):
    """What is decided was submitted by some client for that decree."""

    name = "Validity"
    _when = ("request",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._submitted: dict[bytes, set[bytes]] = {}

    def _before(self, step: Step) -> str | None:
        if step.submitted is not None:
            for decree in step.submitted.footprint.writes:
                self._submitted.setdefault(decree, set()).add(step.submitted.payload)
        return None

    def _decide(self, step: Step, decree: bytes, value: bytes) -> str | None:
        if value in self._submitted.get(decree, ()):
            return None
        return at(step, decree, f"decides {value!r:.80}, which nobody submitted for it")


class Stability(_Decisions):
    """A node's decision never changes, over its restarts too."""

    name = "Stability"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._decided: dict[NodeId, dict[bytes, bytes]] = {}

    def _after(self, step: Step) -> str | None:
        said = super()._after(step)
        if said is not None:
            return said
        if step.action == "restart" and isinstance(step.replica, HoldsDecrees):
            for decree, value in step.replica.decrees().items():
                said = self._decide(step, decree, value)
                if said is not None:
                    return said
        return None

    def _decide(self, step: Step, decree: bytes, value: bytes) -> str | None:
        known = self._decided.setdefault(step.node, {}).setdefault(decree, value)
        if known == value:
            return None
        return at(step, decree, f"decides {value!r:.80} after it had decided {known!r:.80}")


# --- what is counted, and what is proposed ----------------------------------------------------------


class VotesOnce(Watch):
    """A node that concludes had answers of enough *different members*, each counted once per ballot.

    It looks at what came in where the conclusion is drawn: an Accept is made only with promises of its
    ballot from a phase-1 quorum taken in, a decision only with votes of one ballot from a phase-2 quorum,
    or on somebody's news. `AcceptSafe` and `LearnerSound` look at what left the acceptors.
    """

    name = "VotesOnce"
    _when = ("crash", Promise, Accepted)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._heard: dict[tuple[NodeId, bytes, Ballot, type], set[NodeId]] = {}
        self._keys: dict[NodeId, dict[bytes, set[tuple[NodeId, bytes, Ballot, type]]]] = {}
        self._created = {Accept: self._accept}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            # What was taken in before is not counted in the next life.
            for keys in self._keys.pop(step.node, {}).values():
                for key in keys:
                    del self._heard[key]
            return None
        message, sender = step.message, step.sender
        if isinstance(message, (Promise, Accepted)) and sender in self._quorums.members:
            decree, ballot = message[:2]
            key = (step.node, decree, ballot, message.__class__)
            heard = self._heard.get(key)
            if heard is None:
                self._heard[key] = heard = set()
                self._keys.setdefault(step.node, {}).setdefault(decree, set()).add(key)
            heard.add(sender)
        return None

    def _accept(self, step: Step, message: Accept) -> str | None:
        if message.ballot.node != step.node:
            return None
        heard = self._heard.get((step.node, message.decree, message.ballot, Promise), set())
        if self._quorums.is_quorum(heard, Phase.ONE):
            return None
        return at(
            step, message.decree, f"proposes at {message.ballot} with promises of {sorted(heard)} alone"
        )

    def _after(self, step: Step) -> str | None:
        message = step.message
        for decree, _ in decisions(step):
            if isinstance(message, Accepted) and decree == message.decree:
                heard = self._heard.get((step.node, decree, message.ballot, Accepted), set())
                if not self._quorums.is_quorum(heard, Phase.TWO):
                    what = f"decides with votes at {message.ballot} of {sorted(heard)} alone"
                    return at(step, decree, what)
            # Decided: the node counts nothing for it any more.
            for key in self._keys.get(step.node, {}).pop(decree, ()):
                del self._heard[key]
        return None


class OneValuePerBallot(Watch):
    """One ballot of a decree carries one value, in every proposal and every vote."""

    name = "OneValuePerBallot"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._values: dict[tuple[bytes, Ballot], bytes] = {}
        self._created = {Accept: self._carries, Accepted: self._carries}

    def _carries(self, step: Step, message: Accept | Accepted) -> str | None:
        decree, ballot, value = message
        known = self._values.setdefault((decree, ballot), value)
        if known == value:
            return None
        return at(
            step, decree, f"{type(message).__name__} of {ballot} carries {value!r:.80}, and {known!r:.80}"
        )


class _Used:
    """The highest ballot a node used for a decree: in this life, and in the lives before."""

    __slots__ = ("before", "now")

    def __init__(self) -> None:
        self.now: Ballot = BOTTOM
        self.before: Ballot = BOTTOM

    def restarted(self) -> None:
        self.before = max(self.before, self.now)
        self.now = BOTTOM


class BallotOwnership(Watch):
    """Only its node uses a ballot, and in one of the node's lives only."""

    name = "BallotOwnership"
    _when = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._used = PerNode(_Used, _Used.restarted)
        self._left = {Prepare: self._question, Accept: self._question}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._used.crashed(step.node)
        return None

    def _question(self, step: Step, message: Prepare | Accept) -> str | None:
        decree, ballot = message[:2]
        what = f"sends {type(message).__name__} of {ballot}"
        if ballot.node != step.node or ballot.step != 0:
            return at(step, decree, f"{what}, which is not its own")
        used = self._used.of(step.node, decree)
        if ballot <= used.before:
            return at(step, decree, f"{what}, and had used up to {used.before} before it restarted")
        used.now = max(used.now, ballot)
        return None


# --- why it is safe -----------------------------------------------------------------------------------


class AcceptSafe(Watch):
    """A value is proposed only when promises that left a phase-1 quorum show it safe.

    Safe: some phase-1 quorum promised this very ballot, and of the votes its members reported the one at
    the highest ballot is for this value; or they reported none. Source: *Paxos Made Simple*, P2c.
    """

    name = "AcceptSafe"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._promises: dict[tuple[bytes, Ballot], dict[NodeId, tuple[Ballot, bytes | None]]] = {}
        self._proposed: dict[tuple[bytes, Ballot], bytes] = {}
        self._left = {Promise: self._promise}
        self._created = {Accept: self._accept}

    def _promise(self, step: Step, message: Promise) -> str | None:
        promises = self._promises.setdefault((message.decree, message.ballot), {})
        promises[step.node] = (message.accepted_ballot, message.accepted_value)
        return None

    def _accept(self, step: Step, message: Accept) -> str | None:
        decree, ballot, value = message
        if self._proposed.get((decree, ballot)) == value:
            return None
        self._proposed[decree, ballot] = value
        promises = self._promises.get((decree, ballot), {})
        candidates = {BOTTOM} | {vote for vote, voted in promises.values() if voted == value}
        for highest in candidates:
            silent = [node for node, (vote, _) in promises.items() if vote <= highest]
            if self._quorums.is_quorum(silent, Phase.ONE):
                return None
        told = {node: str(vote) for node, (vote, _) in sorted(promises.items())}
        return at(
            step, decree, f"proposes {value!r:.80} at {ballot}; the promises, with their votes, are {told}"
        )


class _Ballots:
    """The votes of one decree that left, by ballot, and the highest ballot each acceptor joined."""

    __slots__ = ("joined", "votes")

    def __init__(self) -> None:
        self.votes: dict[Ballot, dict[NodeId, bytes]] = {}
        self.joined: dict[NodeId, Ballot] = {}


class VotesSafe(Watch):
    """For every vote (b, v) and every c < b some phase-1 quorum voted v at c or can not vote at c any more.

    Source: the inductive invariant of Lamport's Paxos specification, with the phases' own quorums.
    """

    name = "VotesSafe"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._ballots: dict[bytes, _Ballots] = {}
        self._left = {Promise: self._promise, Accepted: self._vote}

    def _join(self, step: Step, decree: bytes, ballot: Ballot) -> _Ballots:
        ghost = self._ballots.get(decree)
        if ghost is None:
            self._ballots[decree] = ghost = _Ballots()
        if ballot > ghost.joined.get(step.node, BOTTOM):
            ghost.joined[step.node] = ballot
        return ghost

    def _promise(self, step: Step, message: Promise) -> str | None:
        self._join(step, message.decree, message.ballot)
        return None

    def _vote(self, step: Step, message: Accepted) -> str | None:
        decree, ballot, value = message
        ghost = self._join(step, decree, ballot)
        votes = ghost.votes.setdefault(ballot, {})
        if votes.get(step.node) == value:
            return None
        votes[step.node] = value
        # At ballots where nobody voted, promises alone must be enough; just below b they are fewest.
        joined = [node for node, highest in ghost.joined.items() if highest >= ballot]
        if not self._quorums.is_quorum(joined, Phase.ONE):
            what = f"votes at {ballot}, which only {sorted(joined)} have joined"
            return at(step, decree, what)
        # The new vote must be safe below, and must not make a higher one unsafe.
        for other, others in ghost.votes.items():
            if other < ballot:
                said = self._safe(step, decree, ghost, (ballot, value), other)
            elif other > ballot:
                said = self._safe(step, decree, ghost, (other, next(iter(others.values()))), ballot)
            else:
                continue
            if said is not None:
                return said
        return None

    def _safe(
        self, step: Step, decree: bytes, ghost: _Ballots, vote: tuple[Ballot, bytes], below: Ballot
    ) -> str | None:
        ballot, value = vote
        votes = ghost.votes[below]
        good = [
            node
            for node, joined in ghost.joined.items()
            if (votes[node] == value if node in votes else joined > below)
        ]
        if self._quorums.is_quorum(good, Phase.ONE):
            return None
        what = f"the vote for {value!r:.80} at {ballot} is unsafe at {below}: only {sorted(good)} bear it out"
        return at(step, decree, what)


class LearnerSound(Watch):
    """What is learned was chosen: a phase-2 quorum's votes for it, at one ballot, had left.

    That they were durable when they left is `DurableBeforeSend`.
    """

    name = "LearnerSound"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._votes: dict[tuple[bytes, Ballot, bytes], set[NodeId]] = {}
        self._chosen: dict[bytes, set[bytes]] = {}
        self._left = {Accepted: self._vote}
        self._created = {Chosen: self._announced}

    def _vote(self, step: Step, message: Accepted) -> str | None:
        decree, ballot, value = message
        voters = self._votes.setdefault((decree, ballot, value), set())
        if step.node not in voters:
            voters.add(step.node)
            if self._quorums.is_quorum(voters, Phase.TWO):
                self._chosen.setdefault(decree, set()).add(value)
        return None

    def _announced(self, step: Step, message: Chosen) -> str | None:
        decree, ballot, value = message
        voters = self._votes.get((decree, ballot, value), set())
        if self._quorums.is_quorum(voters, Phase.TWO):
            return None
        what = f"announces {value!r:.80} as chosen at {ballot}, where {sorted(voters)} voted"
        return at(step, decree, what)

    def _after(self, step: Step) -> str | None:
        for decree, value in decisions(step):
            if value not in self._chosen.get(decree, ()):
                what = f"applies {value!r:.80}, for which no phase-2 quorum voted at any one ballot"
                return at(step, decree, what)
        return None


#: Every invariant of Basic Paxos.
INVARIANTS: Final[tuple[InvariantMaker, ...]] = (
    Agreement,
    Validity,
    Stability,
    DurableBeforeSend,
    VotesOnce,
    OneValuePerBallot,
    BallotOwnership,
    PromiseMonotone,
    VoteAtMostPromise,
    PromiseTruthful,
    AcceptSafe,
    VotesSafe,
    LearnerSound,
)
