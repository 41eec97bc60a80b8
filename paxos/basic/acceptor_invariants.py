"""What must hold of every acceptor of Basic Paxos: what it remembers, and what its disk holds.

A message is *created* by a handler, *leaves* when its node lets it go (a reporting one, when the disk holds
what it reports), and is taken in by a later step.  A crash loses what was created and had not left, so only
what left binds a node over a restart.  A *life* is the time between two starts of a node.
"""

from functools import lru_cache

from paxos.ballot import BOTTOM, Ballot
from paxos.basic.acceptor import Acceptor, AcceptorRecord
from paxos.basic.messages import Accept, Accepted, Prepare, Promise, Reserved
from paxos.basic.records import RESERVATION_KEY, FoundRecords, acceptor_key, chosen_key, read_records
from paxos.basic.watch import HoldsDecrees, PerNode, Watch, at
from paxos.contract import Step
from paxos.errors import RecordError
from paxos.quorum import QuorumSystem

__all__ = [
    "DurableBeforeSend",
    "PromiseMonotone",
    "PromiseTruthful",
    "VoteAtMostPromise",
    "durable_acceptor",
]


# --- what the disk holds --------------------------------------------------------------------------


@lru_cache(maxsize=8192)
def _parse(key: bytes, data: bytes) -> FoundRecords:
    return read_records({key: data})


def durable_acceptor(step: Step, decree: bytes) -> AcceptorRecord | None:
    """What the node's disk holds of a decree's acceptor after the step; None for nothing."""
    key = acceptor_key(decree)
    data = step.durable.get(key)
    return None if data is None else _parse(key, data).acceptors[decree]


class DurableBeforeSend(Watch):
    """A message that counts leaves only when its node's disk holds what it reports.

    A Promise: a promise at or above its ballot, and the reported vote or a later one. An Accepted: a vote
    at or above its ballot. Both: or the decision, which replaces them. A Reserved, and a Prepare or Accept
    of the node's own ballot: a reservation that covers the round.
    """

    name = "DurableBeforeSend"
    _when = ()

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._left = {
            Promise: self._promise,
            Accepted: self._accepted,
            Prepare: self._question,
            Accept: self._question,
            Reserved: self._reserved,
        }

    def observe(self, step: Step) -> str | None:
        """See one step; a sentence naming what broke, or None."""
        try:
            return Watch.observe(self, step)
        except RecordError as error:
            return f"node {step.node}: its disk holds what no restart could read: {error}"

    def _promise(self, step: Step, message: Promise) -> str | None:
        decree, ballot, accepted_ballot, accepted_value = message
        record = durable_acceptor(step, decree)
        if record is None:
            if chosen_key(decree) in step.durable:
                return None
            return at(step, decree, f"a promise of {ballot} left, and the disk holds none")
        if record.promised < ballot:
            return at(
                step, decree, f"a promise of {ballot} left, and the disk holds one of {record.promised}"
            )
        vote = (record.accepted_ballot, record.accepted_value)
        if vote[0] < accepted_ballot or (vote[0] == accepted_ballot and vote[1] != accepted_value):
            return at(
                step, decree, f"a promise reports a vote at {accepted_ballot}, the disk one at {vote[0]}"
            )
        return None

    def _accepted(self, step: Step, message: Accepted) -> str | None:
        decree, ballot, value = message
        record = durable_acceptor(step, decree)
        if record is None:
            if chosen_key(decree) in step.durable:
                return None
            return at(step, decree, f"a vote at {ballot} left, and the disk holds none")
        if record.accepted_ballot < ballot:
            return at(
                step, decree, f"a vote at {ballot} left, and the disk holds one at {record.accepted_ballot}"
            )
        if record.accepted_ballot == ballot and record.accepted_value != value:
            return at(step, decree, f"a vote at {ballot} left, and the disk holds another value at it")
        return None

    def _question(self, step: Step, message: Prepare | Accept) -> str | None:
        round_ = message.ballot.round
        if round_ <= self._reservation(step):
            return None
        what = f"a {type(message).__name__} of {message.ballot} left"
        return at(
            step, message.decree, f"{what}, and the disk covers rounds up to {self._reservation(step)} only"
        )

    def _reserved(self, step: Step, message: Reserved) -> str | None:
        durable = self._reservation(step)
        if message.round <= durable:
            return None
        return (
            f"node {step.node}: rounds up to {message.round} count as reserved, "
            f"and the disk covers up to {durable}"
        )

    @staticmethod
    def _reservation(step: Step) -> int:
        data = step.durable.get(RESERVATION_KEY)
        return 0 if data is None else _parse(RESERVATION_KEY, data).reserved


# --- what an acceptor remembers ---------------------------------------------------------------------


def _acceptor(step: Step, decree: bytes) -> Acceptor | None:
    """The acceptor of an open decree after the step; None where the decision is known, or nothing is."""
    return step.replica.acceptor(decree) if isinstance(step.replica, HoldsDecrees) else None


def _is_decided(step: Step, decree: bytes) -> bool:
    return isinstance(step.replica, HoldsDecrees) and step.replica.chosen(decree) is not None


class _Promised:
    """The highest ballot an acceptor answered: created in this life, and left in any."""

    __slots__ = ("left", "now")

    def __init__(self) -> None:
        self.now: Ballot = BOTTOM
        self.left: Ballot = BOTTOM

    def restarted(self) -> None:
        self.now = self.left


class PromiseMonotone(Watch):
    """An acceptor's promise never goes down and is never below an answer it gave.

    Over a restart it is at least every promise and every vote that had left.
    """

    name = "PromiseMonotone"
    _when = ("crash", "restart", Prepare, Accept)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._promised = PerNode(_Promised, _Promised.restarted)
        self._created = {Promise: self._answers, Accepted: self._answers}
        self._left = {Promise: self._leaves, Accepted: self._leaves}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._promised.crashed(step.node)
        elif step.action == "restart":
            for decree, ghost in self._promised.all_of(step.node).items():
                said = self._compare(step, decree, ghost)
                if said is not None:
                    return said
        elif isinstance(step.message, (Prepare, Accept)):
            decree = step.message.decree
            return self._compare(step, decree, self._promised.of(step.node, decree))
        return None

    def _answers(self, step: Step, message: Promise | Accepted) -> str | None:
        ghost = self._promised.of(step.node, message.decree)
        if message.ballot > ghost.now:
            ghost.now = message.ballot
        return self._compare(step, message.decree, ghost)

    def _leaves(self, step: Step, message: Promise | Accepted) -> str | None:
        ghost = self._promised.of(step.node, message.decree)
        if message.ballot > ghost.left:
            ghost.left = message.ballot
        return None

    @staticmethod
    def _compare(step: Step, decree: bytes, ghost: _Promised) -> str | None:
        acceptor = _acceptor(step, decree)
        if acceptor is None:
            if ghost.now == BOTTOM or _is_decided(step, decree):
                return None
            return at(step, decree, f"promised {ghost.now} and remembers nothing")
        if acceptor.promised < ghost.now:
            return at(step, decree, f"promised {ghost.now} and stands at {acceptor.promised}")
        ghost.now = acceptor.promised
        return None


class VoteAtMostPromise(Watch):
    """An acceptor's vote is never at a ballot above its promise."""

    name = "VoteAtMostPromise"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._created = {Accepted: self._voted, Promise: self._voted}

    def _voted(self, step: Step, message: Promise | Accepted) -> str | None:
        acceptor = _acceptor(step, message.decree)
        if acceptor is None or acceptor.accepted_ballot <= acceptor.promised:
            return None
        what = f"voted at {acceptor.accepted_ballot} and promised {acceptor.promised}"
        return at(step, message.decree, what)


class _Votes:
    """What an acceptor voted and promised: in this life; what left in any; and what it may yet remember."""

    __slots__ = ("cast", "left", "now", "promises_left", "promises_now")

    def __init__(self) -> None:
        self.cast: dict[Ballot, bytes] = {}  # every vote ever made: it may have survived a crash unsent
        self.now: set[Ballot] = set()
        self.left: set[Ballot] = set()
        # (ballot, ballot of the vote reported): between them no vote may come any more.
        self.promises_now: set[tuple[Ballot, Ballot]] = set()
        self.promises_left: set[tuple[Ballot, Ballot]] = set()

    def restarted(self) -> None:
        self.now = set(self.left)
        self.promises_now = set(self.promises_left)


class PromiseTruthful(Watch):
    """A promise reports the acceptor's highest vote below it, and no vote between the two is cast later."""

    name = "PromiseTruthful"
    _when = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._votes = PerNode(_Votes, _Votes.restarted)
        self._created = {Promise: self._promise, Accepted: self._vote}
        self._left = {Promise: self._promise_left, Accepted: self._vote_left}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._votes.crashed(step.node)
        return None

    def _promise(self, step: Step, message: Promise) -> str | None:
        decree, ballot, accepted_ballot, accepted_value = message
        if accepted_ballot >= ballot:
            return at(step, decree, f"a promise of {ballot} reports a vote at {accepted_ballot}")
        ghost = self._votes.of(step.node, decree)
        if (ballot, accepted_ballot) in ghost.promises_now:
            return None  # the same answer again; what may not come between is watched since the first
        if accepted_ballot != BOTTOM and ghost.cast.get(accepted_ballot) != accepted_value:
            return at(step, decree, f"a promise reports a vote at {accepted_ballot} that was never cast")
        highest = BOTTOM
        for vote in ghost.now:
            if highest < vote < ballot:
                highest = vote
        if accepted_ballot < highest:
            what = f"a promise of {ballot} reports its vote at {accepted_ballot} and not the one at {highest}"
            return at(step, decree, what)
        ghost.promises_now.add((ballot, accepted_ballot))
        return None

    def _vote(self, step: Step, message: Accepted) -> str | None:
        decree, ballot, value = message
        ghost = self._votes.of(step.node, decree)
        if ballot in ghost.now:
            return None
        for promised, reported in ghost.promises_now:
            if reported < ballot < promised:
                what = f"votes at {ballot} after it promised {promised} and reported {reported}"
                return at(step, decree, what)
        ghost.now.add(ballot)
        ghost.cast[ballot] = value
        return None

    def _promise_left(self, step: Step, message: Promise) -> str | None:
        ghost = self._votes.of(step.node, message.decree)
        ghost.promises_left.add((message.ballot, message.accepted_ballot))
        return None

    def _vote_left(self, step: Step, message: Accepted) -> str | None:
        self._votes.of(step.node, message.decree).left.add(message.ballot)
        return None
