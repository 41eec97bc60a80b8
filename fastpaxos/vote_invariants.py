"""What must hold of votes in Fast Paxos: that they are durable when they leave, safe, and counted in full.

A vote is *safe* at its ballot when nothing else was chosen at any lower one, nor will be. That is what every
rule of the protocol is for, and it is judged here by what all acceptors did, whoever knew of it.
"""

from fastpaxos.ghosts import RoundsOf
from fastpaxos.messages import Accept, Accepted, AnyValue, Chosen, Promise
from fastpaxos.rounds import OPEN, Rounds
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic import acceptor_invariants
from paxos.basic.acceptor_invariants import durable_acceptor
from paxos.basic.records import chosen_key
from paxos.basic.watch import Watch, at, decisions
from paxos.contract import Step
from paxos.quorum import Phase, QuorumSystem

__all__ = ["DurableBeforeSend", "FastChosen", "LearnerSound", "VotesSafe"]


class DurableBeforeSend(acceptor_invariants.DurableBeforeSend):
    """A message that counts leaves only when its node's disk holds what it reports.

    As in Basic Paxos; and an Accept only when the disk holds the sender's own vote for the same at that
    ballot, or one at a higher: only by that does a coordinator know, after a restart, what it proposed there.
    """

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._left = {**self._left, Accept: self._proposed, AnyValue: self._question}

    def _proposed(self, step: Step, message: Accept) -> str | None:
        decree, ballot, value = message
        record = durable_acceptor(step, decree)
        if record is None:
            if chosen_key(decree) in step.durable:
                return None
            return at(step, decree, f"an Accept of {ballot} left, and the disk holds no vote")
        if record.accepted_ballot < ballot:
            vote = record.accepted_ballot
            return at(step, decree, f"an Accept of {ballot} left, and the disk holds a vote at {vote}")
        if record.accepted_ballot == ballot and record.accepted_value != value:
            return at(
                step, decree, f"an Accept of {ballot} left, and the own vote there is for another value"
            )
        return self._question(step, message)


class _Ballots:
    """The votes of one decree that left, by ballot, and the highest ballot each acceptor joined."""

    __slots__ = ("joined", "votes")

    def __init__(self) -> None:
        self.votes: dict[Ballot, dict[NodeId, bytes]] = {}
        self.joined: dict[NodeId, Ballot] = {}


class VotesSafe(Watch):
    """For every vote (b, v) and every c < b nothing but v was chosen at c, or can be any more.

    At a c with votes: no other value has, of those who voted for it and those who may vote there yet, a
    quorum for c. At one without: a phase-1 quorum can not vote there any more.
    """

    name = "VotesSafe"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._rounds = RoundsOf()
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
        rounds = self._rounds.see(step)
        ghost = self._join(step, decree, ballot)
        votes = ghost.votes.setdefault(ballot, {})
        if votes.get(step.node) == value:
            return None
        votes[step.node] = value
        if ballot != OPEN and not self._is_joined(ghost, ballot, rounds):
            return at(step, decree, f"votes at {ballot}, which no phase-1 quorum has joined: {ghost.joined}")
        # The new vote must be safe below, and must not make a higher one unsafe.
        for other, others in ghost.votes.items():
            if other < ballot:
                said = self._safe(step, decree, ghost, (ballot, value), other, rounds)
            elif other > ballot:
                said = None
                for voted in dict.fromkeys(others.values()):
                    said = said or self._safe(step, decree, ghost, (other, voted), ballot, rounds)
            else:
                continue
            if said is not None:
                return said
        return None

    def _is_joined(self, ghost: _Ballots, ballot: Ballot, rounds: Rounds) -> bool:
        """Whether a phase-1 quorum can vote at no lower ballot that nobody voted at.

        Who voted at the one before has voted there, and between the two there is none.
        """
        before = rounds.predecessor(ballot)
        voters = ghost.votes.get(before, {}) if before is not None else {}
        joined = [node for node, highest in ghost.joined.items() if highest >= ballot or node in voters]
        return self._quorums.is_quorum(joined, Phase.ONE)

    def _safe(
        self,
        step: Step,
        decree: bytes,
        ghost: _Ballots,
        vote: tuple[Ballot, bytes],
        below: Ballot,
        rounds: Rounds,
    ) -> str | None:
        ballot, value = vote
        votes = ghost.votes[below]
        fast = below.step <= rounds.last_fast_step
        phase = Phase.FAST if fast else Phase.TWO
        free = [
            node
            for node in self._quorums.members
            if node not in votes and ghost.joined.get(node, BOTTOM) <= below
        ]
        others = {voted for voted in votes.values() if voted != value}
        # At a fast ballot they may yet vote for something that nobody has voted for.
        rivals = [[node for node, voted in votes.items() if voted == other] for other in sorted(others)]
        if fast:
            rivals.append([])
        for rival in rivals:
            if self._quorums.is_quorum([*rival, *free], phase):
                what = f"the vote for {value!r:.80} at {ballot} is unsafe at {below}"
                return at(step, decree, f"{what}: {sorted((*rival, *free))} may choose another; {votes}")
        return None


class _Counted(Watch):
    """What is learned, and by which votes that had left."""

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._rounds = RoundsOf()
        self._votes: dict[tuple[bytes, Ballot, bytes], set[NodeId]] = {}
        self._chosen: dict[bytes, set[bytes]] = {}
        self._left = {Accepted: self._vote}
        self._created = {Chosen: self._announced}

    def _vote(self, step: Step, message: Accepted) -> str | None:
        decree, ballot, value = message
        voters = self._votes.setdefault((decree, ballot, value), set())
        if step.node not in voters:
            voters.add(step.node)
            if self._is_chosen(step, message):
                self._chosen.setdefault(decree, set()).add(value)
        return None

    def _is_chosen(self, step: Step, message: Accepted | Chosen) -> bool:
        fast = message.ballot.step <= self._rounds.see(step).last_fast_step
        voters = self._votes.get((message.decree, message.ballot, message.value), set())
        return self._quorums.is_quorum(voters, Phase.FAST if fast else Phase.TWO)

    def _announced(self, step: Step, message: Chosen) -> str | None:
        return None


class FastChosen(_Counted):
    """What is learned by votes of a fast ballot has a full fast quorum's: one ballot, one value."""

    name = "FastChosen"

    def _announced(self, step: Step, message: Chosen) -> str | None:
        decree, ballot, value = message
        if ballot.step > self._rounds.see(step).last_fast_step or self._is_chosen(step, message):
            return None
        voters = sorted(self._votes.get((decree, ballot, value), set()))
        return at(step, decree, f"announces {value!r:.80} as chosen at {ballot}, where {voters} voted for it")

    def _after(self, step: Step) -> str | None:
        message = step.message
        for decree, value in decisions(step):
            if isinstance(message, Accepted) and message.decree == decree:
                vote = message._replace(value=value)
                if message.ballot.step <= self._rounds.see(step).last_fast_step:
                    if not self._is_chosen(step, vote):
                        voters = sorted(self._votes.get((decree, message.ballot, value), set()))
                        what = f"decides {value!r:.80} at {message.ballot}, where {voters} voted for it"
                        return at(step, decree, what)
        return None


class LearnerSound(_Counted):
    """What is learned was chosen: some quorum's votes for it, at one ballot, had left."""

    name = "LearnerSound"

    def _announced(self, step: Step, message: Chosen) -> str | None:
        if self._is_chosen(step, message):
            return None
        what = f"announces {message.value!r:.80} as chosen at {message.ballot}, where no quorum voted for it"
        return at(step, message.decree, what)

    def _after(self, step: Step) -> str | None:
        for decree, value in decisions(step):
            if value not in self._chosen.get(decree, ()):
                what = f"applies {value!r:.80}, for which no quorum voted at any one ballot"
                return at(step, decree, what)
        return None
