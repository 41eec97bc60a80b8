"""What must hold in every run of Multi-Paxos, by name, checked at every step.

Each invariant watches one run from outside: it sees the messages that nodes make, let go and take in, what
they apply, and what their disks hold, and keeps a *ghost* of the run, the few facts it needs of the past.
None of them trusts a replica's own bookkeeping where the messages tell as much.

Three words recur.  A message is *created* by a handler, *leaves* when its node lets it go (a reporting one,
when the disk holds what it reports), and is taken in by a later step; a crash loses what was created and had
not left.  A *life* is the time between two starts of a node.  A slot is *chosen* when votes of a phase-2
quorum at one ballot have left; it is *committed* at a node when that node applies it.

The names are those of the specification.
"""

from typing import Final

from multipaxos.acceptor_invariants import (
    DurableBeforeSend,
    PromiseMonotone,
    PromiseTruthful,
    VoteAtMostPromise,
)
from multipaxos.ghosts import LogWatch, at, durable, replica_of
from multipaxos.messages import Accept, Accepted, Chosen, Heartbeat, Prepare, Promise
from multipaxos.records import COMPACTION_KEY
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.log_invariants import AppliedContiguous as AnyAppliedContiguous
from paxos.basic.log_invariants import AppliedPrefix, SlotAgreement, Stability, Validity, commits
from paxos.basic.values import pack_value
from paxos.basic.watch import Watch
from paxos.contract import InvariantMaker, Step
from paxos.quorum import Phase, QuorumSystem

__all__ = [
    "INVARIANTS",
    "AcceptSafe",
    "Agreement",
    "AppliedContiguous",
    "AppliedPrefix",
    "BallotOwnership",
    "CommitAtBallot",
    "DurableBeforeSend",
    "GapFilled",
    "LeaderCompleteness",
    "OneValuePerBallot",
    "PromiseMonotone",
    "PromiseTruthful",
    "SlotAgreement",
    "Stability",
    "Validity",
    "VoteAtMostPromise",
    "VotesOnce",
]


# --- what is decided ------------------------------------------------------------------------------


class Agreement(LogWatch):
    """No two values are chosen for one slot, by votes that left at whatever ballots, or announced."""

    name = "Agreement"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._decided: dict[int, bytes] = {}
        self._created = {Chosen: self._announced}

    def _votes(self, step: Step, message: Accepted) -> str | None:
        for slot in self._ballots.vote(step, message):
            said = self._decide(step, slot, self._ballots.proposed[message.ballot, slot])
            if said is not None:
                return said
        return None

    def _announced(self, step: Step, message: Chosen) -> str | None:
        for slot, (_, value) in enumerate(message.entries, message.first):
            said = self._decide(step, slot, value)
            if said is not None:
                return said
        return None

    def _decide(self, step: Step, slot: int, value: bytes) -> str | None:
        known = self._decided.setdefault(slot, value)
        if known == value:
            return None
        return at(step, slot, f"{value!r:.60} is chosen, and {known!r:.60} was")


class AppliedContiguous(AnyAppliedContiguous):
    """A node applies slots in order, none left out, each once in a life; a snapshot stands for the rest."""

    def _snapshots(self, step: Step) -> set[int]:
        replica = replica_of(step)
        snapshots = {durable(step, COMPACTION_KEY).compacted}
        if replica is not None:
            snapshots.add(replica.acceptor.compacted)
        return snapshots


class CommitAtBallot(LogWatch):
    """A node commits in a slot only the value chosen there; a commit index counts its own ballot's choices.

    The index that a leader sends at a ballot is, above the floor that its phase 1 told of, only over slots
    chosen at that ballot.
    """

    name = "CommitAtBallot"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._counted: dict[Ballot, int] = {}
        self._created = {Accept: self._index, Heartbeat: self._index}

    def _index(self, step: Step, message: Accept | Heartbeat) -> str | None:
        replica = replica_of(step)
        if replica is None or replica.leader is None or replica.leader.ballot != message.ballot:
            return None
        ballot = message.ballot
        for slot in range(self._counted.setdefault(ballot, replica.leader.floor) + 1, message.committed + 1):
            if not self._ballots.is_chosen(ballot, slot):
                voters = sorted(self._ballots.voters(ballot, slot))
                return at(step, slot, f"counts as committed at {ballot}, where {voters} voted")
            self._counted[ballot] = slot
        return None

    def _after(self, step: Step) -> str | None:
        for slot, command in commits(step):
            chosen = self._ballots.chosen.get(slot)
            if chosen is None:
                return at(step, slot, f"commits {command!r:.80}, and nothing is chosen there")
            if pack_value(command) != chosen[1]:
                what = f"commits {command!r:.80}, and {chosen[1]!r:.60} was chosen at {chosen[0]}"
                return at(step, slot, what)
        return None


# --- what a leader does -----------------------------------------------------------------------------


class LeaderCompleteness(LogWatch):
    """A new leader owes every slot that was chosen below its ballot, or knows it to be chosen."""

    name = "LeaderCompleteness"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._seen: set[Ballot] = set()

    def _before(self, step: Step) -> str | None:
        super()._before(step)
        replica = replica_of(step)
        leader = replica.leader if replica is not None else None
        if leader is None or leader.ballot in self._seen:
            return None
        self._seen.add(leader.ballot)
        for slot, (ballot, _) in self._ballots.chosen.items():
            if slot > leader.owed and ballot < leader.ballot:
                what = f"was chosen at {ballot}; the leader of {leader.ballot} owes up to {leader.owed} only"
                return at(step, slot, what)
        return None


class GapFilled(LogWatch):
    """A leader proposes slot after slot, and begins where all below is chosen: it leaves no gap."""

    name = "GapFilled"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._last: dict[Ballot, int] = {}
        self._created = {Accept: self._proposal}

    def _proposal(self, step: Step, message: Accept) -> str | None:
        ballot, slot = message[:2]
        last = self._last.get(ballot)
        if last is not None and slot <= last:
            return None  # repeated
        self._last[ballot] = slot
        below = self._ballots.upto if last is None else last
        if slot <= below + 1:
            return None
        return at(step, slot, f"is proposed at {ballot}, and slot {below + 1} is neither proposed nor chosen")


class AcceptSafe(Watch):
    """A value is proposed in a slot only when promises that left a phase-1 quorum show it safe there.

    Safe: some phase-1 quorum promised this very ballot, each in pages that span the slot, and of the votes
    they reported there the one at the highest ballot is for this value; or they reported none, and then the
    slot is above every reported one or the value is the no-op; and nobody of the quorum compacted the slot.
    Source: *Paxos Made Simple*, P2c, and section 3 for the gaps.
    """

    name = "AcceptSafe"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._pages: dict[Ballot, dict[NodeId, dict[int, Promise]]] = {}
        self._proposed: set[tuple[Ballot, int, bytes]] = set()
        self._left = {Promise: self._promise}
        self._created = {Accept: self._accept}

    def _promise(self, step: Step, message: Promise) -> str | None:
        pages = self._pages.setdefault(message.ballot, {}).setdefault(step.node, {})
        pages.setdefault(message.first, message)
        return None

    def _accept(self, step: Step, message: Accept) -> str | None:
        ballot, slot, value, _ = message
        if (ballot, slot, value) in self._proposed:
            return None
        self._proposed.add((ballot, slot, value))
        told = {
            node: _vote_in(pages, slot)
            for node, pages in self._pages.get(ballot, {}).items()
            if node in self._quorums.members
        }
        whole = {node: vote for node, vote in told.items() if vote is not None}
        for highest in {BOTTOM} | {vote for vote, voted, _ in whole.values() if voted == value}:
            silent = [node for node, (vote, _, _) in whole.items() if vote <= highest]
            if not self._quorums.is_quorum(silent, Phase.ONE):
                continue
            below = [node for node in silent if whole[node][2] < slot]
            if highest > BOTTOM or not value or self._quorums.is_quorum(below, Phase.ONE):
                return None
        votes = {node: vote and str(vote[0]) for node, vote in sorted(told.items())}
        return at(step, slot, f"{value!r:.60} is proposed at {ballot}; the promises tell of votes at {votes}")


def _vote_in(pages: dict[int, Promise], slot: int) -> tuple[Ballot, bytes | None, int] | None:
    """An acceptor's vote in a slot and the highest slot it voted in; None if not all its pages are there."""
    ballot_of, value_of, highest = BOTTOM, None, 0
    following = min(pages)
    while following:
        page = pages.get(following)
        if page is None:
            return None
        if page.compacted >= slot:
            return None  # chosen: nothing may be proposed on its word
        for voted_in, ballot, value in page.entries:
            highest = max(highest, voted_in)
            if voted_in == slot:
                ballot_of, value_of = ballot, value
        following = page.following
    return ballot_of, value_of, highest


class VotesOnce(Watch):
    """A node that concludes had answers of enough *different members*, each counted once per ballot.

    It looks at what came in where the conclusion is drawn: a leader is made only with every page of the
    promises of a phase-1 quorum taken in, a slot is committed by it only with votes of its ballot from a
    phase-2 quorum taken in. And nobody votes or promises but members.
    """

    name = "VotesOnce"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._pages: dict[tuple[NodeId, Ballot], dict[NodeId, int]] = {}
        self._votes: dict[tuple[NodeId, Ballot, int], set[NodeId]] = {}
        self._committed: dict[tuple[NodeId, Ballot], int] = {}
        self._created = {Promise: self._voice, Accepted: self._voice}

    def _voice(self, step: Step, message: Promise | Accepted) -> str | None:
        if step.node in self._quorums.members:
            return None
        return f"node {step.node}: answers with a {type(message).__name__}, and is no member"

    def _before(self, step: Step) -> str | None:
        node, sender, message = step.node, step.sender, step.message
        if sender in self._quorums.members:
            if isinstance(message, Promise):
                # For each member the slot at which its next page begins; 0 when the last was taken in.
                expected = self._pages.setdefault((node, message.ballot), {})
                if expected.get(sender, message.first) == message.first:
                    expected[sender] = message.following
            elif isinstance(message, Accepted):
                for first, last in message.runs:
                    for slot in range(first, last + 1):
                        self._votes.setdefault((node, message.ballot, slot), set()).add(sender)
        replica = replica_of(step)
        leader = replica.leader if replica is not None else None
        return None if leader is None else self._look(step, leader.ballot, leader.floor, leader.committed)

    def _look(self, step: Step, ballot: Ballot, floor: int, committed: int) -> str | None:
        key = (step.node, ballot)
        before = self._committed.get(key)
        if before is None:
            whole = [node for node, following in self._pages.get(key, {}).items() if not following]
            if not self._quorums.is_quorum(whole, Phase.ONE):
                return f"node {step.node}: leads at {ballot} with whole promises of {sorted(whole)} alone"
            before = floor
        for slot in range(before + 1, committed + 1):
            voters = self._votes.get((step.node, ballot, slot), set())
            if not self._quorums.is_quorum(voters, Phase.TWO):
                return at(step, slot, f"commits with votes at {ballot} of {sorted(voters)} alone")
        self._committed[key] = committed
        return None


class OneValuePerBallot(Watch):
    """One ballot carries one value in a slot."""

    name = "OneValuePerBallot"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._values: dict[tuple[Ballot, int], bytes] = {}
        self._created = {Accept: self._carries}

    def _carries(self, step: Step, message: Accept) -> str | None:
        ballot, slot, value, _ = message
        known = self._values.setdefault((ballot, slot), value)
        if known == value:
            return None
        return at(step, slot, f"an Accept of {ballot} carries {value!r:.60}, and another {known!r:.60}")


class BallotOwnership(Watch):
    """Only its node uses a ballot, and in one of the node's lives only."""

    name = "BallotOwnership"
    _when = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        # The highest ballot used in this life, and in the lives before.
        self._now: dict[NodeId, Ballot] = {}
        self._before_now: dict[NodeId, Ballot] = {}
        self._left = {Prepare: self._uses, Accept: self._uses, Heartbeat: self._uses}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            used = self._now.pop(step.node, BOTTOM)
            self._before_now[step.node] = max(used, self._before_now.get(step.node, BOTTOM))
        return None

    def _uses(self, step: Step, message: Prepare | Accept | Heartbeat) -> str | None:
        ballot = message.ballot
        what = f"node {step.node}: sends a {type(message).__name__} of {ballot}"
        if ballot.node != step.node or ballot.step != 0:
            return f"{what}, which is not its own"
        before = self._before_now.get(step.node, BOTTOM)
        if ballot <= before:
            return f"{what}, and had used up to {before} before it restarted"
        self._now[step.node] = max(ballot, self._now.get(step.node, BOTTOM))
        return None


#: Every invariant of Multi-Paxos.
INVARIANTS: Final[tuple[InvariantMaker, ...]] = (
    Agreement,
    SlotAgreement,
    Validity,
    Stability,
    AppliedContiguous,
    AppliedPrefix,
    CommitAtBallot,
    LeaderCompleteness,
    GapFilled,
    DurableBeforeSend,
    VotesOnce,
    OneValuePerBallot,
    BallotOwnership,
    PromiseMonotone,
    VoteAtMostPromise,
    PromiseTruthful,
    AcceptSafe,
)
