"""What must hold in every run of the log of Fast Paxos, by name, checked at every step.

Each invariant watches one run from outside: it sees the messages that nodes make, let go and take in, what
they apply, and what their disks hold, and keeps a *ghost* of the run, the few facts it needs of the past.
None of them uses the rules of the code that it judges: see `fastpaxos.ghosts` and `fastpaxos.log.ghosts`.

A message is *created* by a handler, *leaves* when its node lets it go (a reporting one, when the disk holds
what it reports), and is taken in by a later step; a crash loses what was created and had not left. A *life*
is the time between two starts of a node. A slot is *chosen* when votes of a quorum at one ballot for one
value have left, a fast quorum at a fast ballot; it is *committed* at a node when that node applies it.
"""

from typing import Final

from fastpaxos.ghosts import allowed, choosable_by_definition
from fastpaxos.invariants import QuorumsIntersect
from fastpaxos.log.acceptor_invariants import (
    DurableBeforeSend,
    OneVotePerRound,
    PromiseMonotone,
    PromiseTruthful,
    VoteAtMostPromise,
)
from fastpaxos.log.ghosts import Heard, RoundsOf, Votes, durable, replica_of
from fastpaxos.log.messages import (
    Accept,
    Chosen,
    Heartbeat,
    Prepare,
    Promise,
    Propose,
    Recover,
    Report,
    Voted,
)
from fastpaxos.log.records import COMPACTION_KEY, slot_key
from fastpaxos.rounds import OPEN, Rounds, coordinator
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.log_invariants import AppliedContiguous as AnyAppliedContiguous
from paxos.basic.log_invariants import AppliedPrefix, SlotAgreement, Stability, Validity, at_slot, commits
from paxos.basic.values import pack_value
from paxos.basic.watch import Watch
from paxos.contract import InvariantMaker, Step
from paxos.quorum import Phase, QuorumSystem

__all__ = [
    "INVARIANTS",
    "Agreement",
    "AnyOnlyIfFree",
    "AppliedContiguous",
    "AppliedPrefix",
    "BallotOwnership",
    "DurableBeforeSend",
    "FastChosen",
    "GapFilled",
    "LearnerSound",
    "OneValuePerBallot",
    "OneVotePerRound",
    "PickRule",
    "PickUnique",
    "PromiseMonotone",
    "PromiseTruthful",
    "QuorumsIntersect",
    "SlotAgreement",
    "Stability",
    "Validity",
    "VoteAtMostPromise",
    "VotesOnce",
    "VotesSafe",
]


# --- what is decided ------------------------------------------------------------------------------


class _Counted(Watch):
    """What votes that left have chosen."""

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._rounds = RoundsOf()
        self._votes = Votes(quorums)
        self._left = {Voted: self._vote}

    def _vote(self, step: Step, message: Voted) -> str | None:
        self._votes.add(step.node, message, self._rounds.see(step))
        return None


class Agreement(_Counted):
    """No two values are chosen for one slot, by votes that left at whatever ballots."""

    name = "Agreement"

    def _vote(self, step: Step, message: Voted) -> str | None:
        super()._vote(step, message)
        chosen = self._votes.chosen.get(message.slot, {})
        if len(chosen) > 1:
            said = [f"{value!r:.60} at {ballot}" for value, ballot in chosen.items()]
            return at_slot(step, message.slot, f"both are chosen: {' and '.join(said)}")
        return None


class LearnerSound(_Counted):
    """What a node commits in a slot is what was chosen there."""

    name = "LearnerSound"

    def _after(self, step: Step) -> str | None:
        for slot, command in commits(step):
            chosen = self._votes.chosen.get(slot, {})
            if pack_value(command) not in chosen:
                return at_slot(step, slot, f"commits {command!r:.80}; chosen is {chosen!r:.80}")
        return None


class FastChosen(_Counted):
    """What is announced as chosen has a full quorum's votes at one ballot for one value: at a fast ballot a
    fast quorum's."""

    name = "FastChosen"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._created = {Chosen: self._announced}

    def _announced(self, step: Step, message: Chosen) -> str | None:
        for slot, (ballot, value) in enumerate(message.entries, message.first):
            if value not in self._votes.chosen.get(slot, {}):
                votes = self._votes.of.get(slot, {})
                return at_slot(
                    step, slot, f"announces {value!r:.60} at {ballot}; the votes are {votes!r:.200}"
                )
        return None


class AppliedContiguous(AnyAppliedContiguous):
    """A node applies slots in order, none left out, each once in a life; a snapshot stands for the rest."""

    def _snapshots(self, step: Step) -> set[int]:
        replica = replica_of(step)
        snapshots = {durable(step, COMPACTION_KEY).compacted}
        if replica is not None:
            snapshots.add(replica.acceptor.compacted)
        return snapshots


class VotesSafe(_Counted):
    """For every vote (b, v) and every c < b nothing but v was chosen at c, or can be any more.

    It is judged by what all acceptors did, whoever knew of it: at c no other value has, of those who voted
    for it and those who may vote there yet, a quorum for c.
    """

    name = "VotesSafe"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._floors: dict[NodeId, Ballot] = {}
        self._alone: dict[tuple[NodeId, int], Ballot] = {}
        self._left = {Voted: self._vote, Promise: self._promise, Report: self._report}

    def _promise(self, step: Step, message: Promise) -> str | None:
        self._floors[step.node] = max(message.ballot, self._floors.get(step.node, BOTTOM))
        return None

    def _report(self, step: Step, message: Report) -> str | None:
        key = (step.node, message.slot)
        self._alone[key] = max(message.ballot, self._alone.get(key, BOTTOM))
        return None

    def _vote(self, step: Step, message: Voted) -> str | None:
        ballot, slot, value = message
        rounds = self._rounds.see(step)
        key = (step.node, slot)
        self._alone[key] = max(ballot, self._alone.get(key, BOTTOM))
        if not self._votes.add(step.node, message, rounds):
            return None
        for other, votes in self._votes.of[slot].items():
            for below, vote in (
                (other, (ballot, value)),
                *((ballot, (other, v)) for v in set(votes.values())),
            ):
                if below < vote[0]:
                    said = self._safe(step, slot, vote, below, rounds)
                    if said is not None:
                        return said
        return None

    def _safe(
        self, step: Step, slot: int, vote: tuple[Ballot, bytes], below: Ballot, rounds: Rounds
    ) -> str | None:
        votes, fast = self._votes.of[slot][below], below.step <= rounds.last_fast_step
        free = {
            node
            for node in self._quorums.members
            if node not in votes
            and max(self._floors.get(node, BOTTOM), self._alone.get((node, slot), BOTTOM)) <= below
        }
        others = {voted for voted in votes.values() if voted != vote[1]} | ({b"?"} if fast else set())
        for rival in sorted(others):
            may = free | {node for node, voted in votes.items() if voted == rival}
            if self._quorums.is_quorum(may, Phase.FAST if fast else Phase.TWO):
                what = f"the vote for {vote[1]!r:.60} at {vote[0]} is unsafe at {below}"
                return at_slot(step, slot, f"{what}: {sorted(may)} may choose another; {votes!r:.200}")
        return None


# --- what a coordinator, and a proposer, does ----------------------------------------------------------


class _Judged(Watch):
    """What a node proposes, judged by what it had taken in when it did."""

    _when = ("crash", Promise, Report, Voted, Chosen)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._rounds = RoundsOf()
        self._heard = Heard(quorums)

    def _before(self, step: Step) -> str | None:
        self._heard.see(step)
        return None


class PickRule(_Judged):
    """A coordinator proposes a value only when the rule leaves it, by what a phase-1 quorum reported to it.

    So does an acceptor that votes in uncoordinated recovery, by the votes that it had heard of.
    """

    name = "PickRule"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._proposed: set[tuple[object, ...]] = set()
        self._asked: set[tuple[object, ...]] = set()
        self._created = {Propose: self._propose, Accept: self._accept, Voted: self._vote}

    def _propose(self, step: Step, message: Propose) -> str | None:
        self._asked.add(tuple(message))
        return None

    def _accept(self, step: Step, message: Accept) -> str | None:
        if tuple(message) in self._proposed:
            return None
        self._proposed.add(tuple(message))
        self._asked.add(tuple(message))
        return self._conclude(step, *message, "proposes")

    def _vote(self, step: Step, message: Voted) -> str | None:
        if tuple(message) in self._asked or len(self._quorums.members) == 1:
            return None
        # Nobody asked for it: it is the acceptor's own recovery, or told again.
        self._asked.add(tuple(message))
        if message.ballot.step == 0:
            return at_slot(step, message.slot, f"votes at {message.ballot} for what nobody proposed")
        return self._conclude(step, *message, "votes for")

    def _conclude(self, step: Step, ballot: Ballot, slot: int, value: bytes, what: str) -> str | None:
        rounds, told = self._rounds.see(step), ""
        for reports in self._heard.bases(step.node, ballot, slot, rounds):
            values = allowed(reports, self._quorums, rounds)
            if values is None or value in values:
                return None
            told = f", which told it {reports!r:.200}"
        return at_slot(step, slot, f"{what} {value!r:.60} at {ballot} by leave of no phase-1 quorum{told}")


class PickUnique(_Judged):
    """At most one value is choosable by what a phase-1 quorum reports of a fast ballot."""

    name = "PickUnique"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._created = {Accept: self._accept}

    def _accept(self, step: Step, message: Accept) -> str | None:
        ballot, slot, _ = message
        rounds = self._rounds.see(step)
        for reports in self._heard.bases(step.node, ballot, slot, rounds):
            highest = max(vote for vote, _ in reports.values())
            if highest == BOTTOM or highest.step > rounds.last_fast_step:
                continue
            voted = sorted({v for vote, v in reports.values() if vote == highest and v is not None})
            found = [v for v in voted if choosable_by_definition(reports, highest, v, self._quorums)]
            if len(found) > 1:
                return at_slot(step, slot, f"{found!r:.80} may all have been chosen at {highest}: {reports}")
        return None


class AnyOnlyIfFree(_Judged):
    """A fast ballot is opened only in slots above all that a phase-1 quorum reported, or had compacted.

    And only there does anybody propose in it: the first ballot is open everywhere, and to all.
    """

    name = "AnyOnlyIfFree"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._open: dict[Ballot, int] = {}
        self._created = {Heartbeat: self._any, Propose: self._propose}

    def _any(self, step: Step, message: Heartbeat) -> str | None:
        ballot, _, _, first = message
        rounds = self._rounds.see(step)
        if ballot == OPEN or ballot.step > rounds.last_fast_step or self._open.get(ballot) == first:
            return None
        if ballot in self._open:
            was = self._open[ballot]
            return f"node {step.node}: opens {ballot} from slot {first} on, and from {was} on before"
        promises = self._heard.promises(step.node, ballot)
        free = [
            node
            for node, (votes, compacted) in promises.items()
            if max(votes, default=0) < first and compacted < first
        ]
        if self._quorums.is_quorum(free, Phase.ONE):
            self._open[ballot] = first
            return None
        told = {node: (max(votes, default=0), done) for node, (votes, done) in promises.items()}
        return f"node {step.node}: opens {ballot} from slot {first} on, and was told of {told}"

    def _propose(self, step: Step, message: Propose) -> str | None:
        ballot, slot, _ = message
        if ballot == OPEN:
            return None
        first = self._open.get(ballot)
        if first is None or slot < first:
            return at_slot(step, slot, f"proposes at {ballot}, which is open from {first} on")
        return None


class GapFilled(Watch):
    """In a round that begins classic the coordinator proposes slot after slot, and leaves no gap."""

    name = "GapFilled"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._last: dict[Ballot, int] = {}
        self._created = {Accept: self._proposal}

    def _proposal(self, step: Step, message: Accept) -> str | None:
        replica, (ballot, slot, _) = replica_of(step), message
        if replica is None or replica.office is None or replica.office.is_fast:
            return None
        if ballot != replica.office.ballot:
            return None
        last = self._last.get(ballot, replica.office.floor)
        if slot > last + 1 and not all(
            each in replica.learner.chosen or each <= replica.learner.committed
            for each in range(last + 1, slot)
        ):
            return at_slot(step, slot, f"is proposed at {ballot} after slot {last}")
        self._last[ballot] = max(last, slot)
        return None


class VotesOnce(_Judged):
    """A node that commits had heard of votes of enough *different members* at one ballot, or was told."""

    name = "VotesOnce"
    _when = _Judged._when

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._told: dict[NodeId, set[int]] = {}

    def _before(self, step: Step) -> str | None:
        super()._before(step)
        if step.action == "crash":
            self._told.pop(step.node, None)
        elif isinstance(step.message, Chosen):
            first = step.message.first
            told = self._told.setdefault(step.node, set())
            told.update(range(first, first + len(step.message.entries)))
        return None

    def _after(self, step: Step) -> str | None:
        rounds = self._rounds.see(step)
        for slot, command in commits(step):
            if step.action in ("restart", "install") or slot in self._told.get(step.node, ()):
                continue
            held = durable(step, slot_key(slot)).slots.get(slot)
            if held is not None and held.chosen:
                continue  # it was told in an earlier life, and wrote that down
            value = pack_value(command)
            heard = [(ballot, votes) for ballot, votes in self._heard.voted(step.node, slot)]
            if not any(self._is_enough(ballot, votes, value, rounds) for ballot, votes in heard):
                return at_slot(step, slot, f"commits {value!r:.60} having heard of {heard!r:.200} alone")
        return None

    def _is_enough(self, ballot: Ballot, votes: dict[NodeId, bytes], value: bytes, rounds: Rounds) -> bool:
        phase = Phase.FAST if ballot.step <= rounds.last_fast_step else Phase.TWO
        return self._quorums.is_quorum({node for node, voted in votes.items() if voted == value}, phase)


class OneValuePerBallot(Watch):
    """A classic ballot carries one value in a slot; at any ballot its coordinator proposes one."""

    name = "OneValuePerBallot"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._rounds = RoundsOf()
        self._values: dict[tuple[Ballot, int], bytes] = {}
        self._created = {Accept: self._carries, Voted: self._carries}

    def _carries(self, step: Step, message: Accept | Voted) -> str | None:
        ballot, slot, value = message
        if isinstance(message, Voted) and ballot.step <= self._rounds.see(step).last_fast_step:
            return None
        known = self._values.setdefault((ballot, slot), value)
        if known == value:
            return None
        what = f"{type(message).__name__} of {ballot} carries {value!r:.60}, and {known!r:.60} before"
        return at_slot(step, slot, what)


class BallotOwnership(Watch):
    """Only its coordinator uses a round, and in one of its lives only."""

    name = "BallotOwnership"
    _when = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        # The rounds used in this life, and in the lives before.
        self._now: dict[NodeId, int] = {}
        self._earlier: dict[NodeId, int] = {}
        self._left = {Prepare: self._uses, Accept: self._uses, Recover: self._uses, Heartbeat: self._uses}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            used = self._now.pop(step.node, -1)
            self._earlier[step.node] = max(used, self._earlier.get(step.node, -1))
        return None

    def _uses(self, step: Step, message: Prepare | Accept | Recover | Heartbeat) -> str | None:
        ballot = message.ballot
        what = f"node {step.node}: sends a {type(message).__name__} of {ballot}"
        if coordinator(ballot, self._quorums.members) != step.node:
            return f"{what}, which is not its own"
        earlier = self._earlier.get(step.node, -1)
        if ballot.round <= earlier:
            return f"{what}, and had used rounds up to {earlier} before it restarted"
        self._now[step.node] = max(ballot.round, self._now.get(step.node, -1))
        return None


#: Every invariant of the log of Fast Paxos.
INVARIANTS: Final[tuple[InvariantMaker, ...]] = (
    QuorumsIntersect,
    Agreement,
    SlotAgreement,
    Validity,
    Stability,
    AppliedContiguous,
    AppliedPrefix,
    LearnerSound,
    FastChosen,
    VotesSafe,
    PickRule,
    PickUnique,
    AnyOnlyIfFree,
    GapFilled,
    DurableBeforeSend,
    VotesOnce,
    OneVotePerRound,
    OneValuePerBallot,
    BallotOwnership,
    PromiseMonotone,
    VoteAtMostPromise,
    PromiseTruthful,
)
