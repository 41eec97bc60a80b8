"""How a node comes to coordinate a round: silence, consent, a reserved ballot, and phase 1.

It holds the election (who coordinates, as far as this node knows), the rounds that this node has reserved,
and phase 1 while one is under way. A node that takes over begins a classic round, which needs no more than
a majority and repairs what was left half done; going fast again is for later.
"""

from fastpaxos.log.acceptor import LogAcceptor
from fastpaxos.log.candidate import Candidate, Debts
from fastpaxos.log.context import Context
from fastpaxos.log.learner import LogLearner
from fastpaxos.log.messages import Prepare, PreVote, PreVoted, Promise, Reserved
from fastpaxos.log.proposer import LogProposer, View
from fastpaxos.log.records import FLOOR_KEY, pack_floor
from fastpaxos.rounds import OPEN
from paxos.ballot import Ballot, NodeId
from paxos.basic.election import Election, Role
from paxos.basic.reservation import Rounds

__all__ = ["Campaign", "view_of"]


def view_of(floor: Ballot, context: Context) -> View:
    """In which ballot to place commands, as long as its coordinator has not said more."""
    return View(floor, context.rounds.is_fast(floor), 1 if floor == OPEN else 0, None)


class Campaign:
    """Who coordinates, and what this node does to be the one.

    Args:
        context, acceptor, learner, proposer: the replica's.
        reservation: the rounds that this node may use.
        election: who coordinates, as far as this node knows.

    Attributes:
        candidate: phase 1, while this node runs one.
    """

    __slots__ = ("_acceptor", "_context", "_learner", "_proposer", "candidate", "election", "reservation")

    def __init__(
        self,
        context: Context,
        acceptor: LogAcceptor,
        learner: LogLearner,
        proposer: LogProposer,
        reservation: Rounds,
        election: Election,
    ) -> None:
        self._context = context
        self._acceptor = acceptor
        self._learner = learner
        self._proposer = proposer
        self.reservation: Rounds = reservation
        self.election: Election = election
        self.candidate: Candidate | None = None

    def promise(self, ballot: Ballot) -> None:
        """Take part in nothing below `ballot`, in any slot."""
        if self._acceptor.join(ballot):
            self._context.write(FLOOR_KEY, pack_floor(ballot))
        self.election.see(ballot)
        self._proposer.turn_to(view_of(ballot, self._context))

    def follow_nobody(self, now_s: float) -> None:
        """Neither coordinate nor stand any more, if this node did, and forget who does."""
        election = self.election
        if election.role is not Role.FOLLOWER or election.leader is not None:
            self.candidate = None
            election.follow_nobody(self._context, now_s)

    def on_silence(self, now_s: float) -> None:
        """Nothing was heard of a coordinator, or the attempt to become one took too long."""
        context, election = self._context, self.election
        if election.leader is not None:
            context.event("leader silent", "tick", leader=election.leader)
        self.candidate = election.leader = None
        ballot = self._next_ballot() if context.is_member else None
        if ballot is None:
            election.follow_nobody(context, now_s)
        else:
            self.reservation.reserve(ballot.round, context)  # durable, with luck, when it is needed
            if election.ask(ballot, context, now_s):
                self.begin("tick", now_s)

    def _next_ballot(self) -> Ballot | None:
        above = max(self._acceptor.joined, self.election.seen)
        ballot = self.reservation.above(above, self._context)
        if ballot is None:
            self._context.event("exhausted", "tick", seen=self.election.seen)
        return ballot

    def begin(self, cause: str, now_s: float, fast: bool = False) -> None:
        """Begin a round, once the disk holds a reservation that covers it."""
        context, election, found = self._context, self.election, self._next_ballot()
        if found is None:
            election.follow_nobody(context, now_s)
            return
        rounds = context.rounds
        ballot = (rounds.fast if fast else rounds.classic)(found.round, found.node)
        self.candidate = candidate = Candidate(ballot, self._learner.committed + 1, context.quorums, rounds)
        election.role, election.leader = Role.CANDIDATE, None
        election.draw(context, now_s)
        context.event("campaign", cause, ballot=ballot, first=candidate.first)
        if ballot.round > self.reservation.durable:
            self.reservation.reserve(ballot.round, context)
        else:
            self._prepare(candidate, now_s)

    def _prepare(self, candidate: Candidate, now_s: float) -> None:
        """1a: ask every acceptor; the own one answers through its disk."""
        question = Prepare(candidate.ballot, candidate.first)
        candidate.sent, candidate.delay_s = True, self._context.settings.repeat_s
        candidate.repeat_at_s = now_s + candidate.delay_s
        self.reservation.use(candidate.ballot)
        self.promise(candidate.ballot)
        self._context.send_members(question)
        self._ask_own(question)

    def _ask_own(self, question: Prepare) -> None:
        answer = self._acceptor.on_prepare(question)
        if isinstance(answer, Promise):
            self._context.send(self._context.node, answer)

    def tick(self, now_s: float) -> None:
        """Stand, or ask again, when due."""
        if now_s >= self.election.deadline_s:
            self.on_silence(now_s)
        candidate = self.candidate
        if candidate is not None and now_s >= candidate.repeat_at_s:
            for member in self._context.other_members:
                question = candidate.question(member)
                if question is not None:
                    self._context.send(member, question)
            candidate.delay_s = min(candidate.delay_s * 2, self._context.settings.repeat_max_s)
            candidate.repeat_at_s = now_s + candidate.delay_s

    def on_promise(self, sender: NodeId, message: Promise, now_s: float) -> Debts | None:
        """Count a page of a promise; what follows from phase 1, when this completes it.

        Raises:
            ProtocolBreach: as `Candidate.debts`.
        """
        candidate = self.candidate
        if candidate is None or message.ballot != candidate.ballot:
            return None
        question = candidate.on_promise(sender, message)
        # As long as pages come, phase 1 is under way and not stuck.
        self.election.deadline_s = now_s + self.election.timeout_s
        if question is not None:
            if sender == self._context.node:
                self._ask_own(question)
            else:
                self._context.send(sender, question)
        elif candidate.is_elected:
            return candidate.debts()
        return None

    def preempted(self, ballot: Ballot, by: Ballot, now_s: float) -> None:
        """An acceptor joined a ballot above the one that phase 1 is under way for."""
        if self.candidate is not None and ballot == self.candidate.ballot:
            self._context.event("preempted", "Nack", ballot=ballot, by=by)
            self.candidate = None
            self.election.follow_nobody(self._context, now_s)

    def on_pre_vote(self, sender: NodeId, message: PreVote, now_s: float) -> None:
        """Another member would stand: say whether that is welcome."""
        context = self._context
        if context.is_member and sender in context.members:
            context.send(sender, self.election.consider(message, self._acceptor.floor, context, now_s))

    def on_pre_voted(self, sender: NodeId, message: PreVoted, now_s: float) -> None:
        """A member's consent, or not: with a quorum's, stand."""
        if self.election.on_pre_voted(sender, message, self._context):
            self.begin("PreVoted", now_s)

    def on_reserved(self, message: Reserved, now_s: float) -> None:
        """The own disk holds a reservation: what waited for it goes on."""
        self.reservation.on_reserved(message)
        candidate = self.candidate
        if candidate is not None and not candidate.sent:
            if candidate.ballot.round <= self.reservation.durable:
                self._prepare(candidate, now_s)

    def clone(
        self, context: Context, acceptor: LogAcceptor, learner: LogLearner, proposer: LogProposer
    ) -> "Campaign":
        """An independent copy, in the midst of the copies of the other rooms."""
        other = Campaign(
            context, acceptor, learner, proposer, self.reservation.clone(), self.election.clone()
        )
        other.candidate = self.candidate.clone() if self.candidate else None
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        candidate = self.candidate and self.candidate.fingerprint()
        return (self.reservation.fingerprint(), self.election.fingerprint(), candidate)
