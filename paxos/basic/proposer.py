"""The proposer of Basic Paxos: how a value gets chosen.

One proposer works on one decree.  Each attempt is a ballot: phase 1 asks a phase-1 quorum what it has
voted for, phase 2 asks a phase-2 quorum to vote for the value that the answers leave it free, or
oblige it, to propose.  When to start an attempt, when to ask again and how long to back off is the
caller's affair; what may be proposed is decided here.

Source: Lamport, *Paxos Made Simple* (2001), section 2.2, P2c; phase quorums as in Howard, Malkhi,
Spiegelman, *Flexible Paxos* (2016).
"""

import copy
from enum import Enum
from typing import Final, NoReturn, Self

from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.messages import MAX_ROUND, Accept, Accepted, Nack, Prepare, Promise
from paxos.errors import ConfigurationError, ProtocolBreach
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Proposer", "ProposerState"]

_new: Final = tuple.__new__
_PHASE_1: Final = Phase.ONE


class ProposerState(Enum):
    """Where an attempt stands."""

    IDLE = "idle"  # no ballot yet
    PREPARING = "preparing"  # phase 1 under way
    ACCEPTING = "accepting"  # phase 2 under way
    FREE = "free"  # phase 1 found nothing, and there is no own value to propose
    PREEMPTED = "preempted"  # an acceptor joined a higher ballot


class Proposer:
    """Gets a value chosen for one decree.

    Args:
        node: the proposer's own id; it makes its ballots its own.
        quorums: the quorum system of the cluster.
        value: what to propose when phase 1 leaves the choice free; None proposes nothing of its
            own and only completes what it finds half accepted (reading a decree).
        decree: the decree's name; empty where there is only one.
        floor: every ballot this node may ever have used for the decree is at or below it. After a
            restart this is what keeps one ballot from carrying two values.

    Raises:
        ConfigurationError: `node` is not a member of the quorum system, or `value` is not bytes.

    Source: Lamport, *Paxos Made Simple*, section 2.2.
    """

    __slots__ = (
        "_best",
        "_highest",
        "_promises",
        "ballot",
        "decree",
        "node",
        "proposed",
        "quorums",
        "state",
        "value",
    )

    def __init__(
        self,
        node: NodeId,
        quorums: QuorumSystem,
        value: bytes | None = None,
        *,
        decree: bytes = b"",
        floor: Ballot = BOTTOM,
    ) -> None:
        if node not in quorums.members:
            raise ConfigurationError(f"proposer {node} is not a member of {quorums.describe()}")
        if value.__class__ is not bytes and value is not None and not isinstance(value, bytes):
            _refuse_value(value)
        self.node: NodeId = node
        self.quorums: QuorumSystem = quorums
        self.value: bytes | None = value
        self.decree: bytes = decree
        self.ballot: Ballot = BOTTOM
        #: The value sent in phase 2 of the current ballot; None before phase 2.
        self.proposed: bytes | None = None
        self.state: ProposerState = ProposerState.IDLE
        self._highest: Ballot = floor
        self._promises: set[NodeId] = set()
        self._best: Ballot = BOTTOM

    def prepare(self, above: Ballot = BOTTOM) -> Prepare:
        """1a: begin a new ballot, above all this proposer has seen and above `above`.

        Returns:
            What to send to every acceptor, the own one included.

        Raises:
            ProtocolBreach: the rounds are exhausted, which no honest cluster lives to see.
        """
        highest = self._highest if self._highest >= above else above
        round_ = max(highest[0], 0) + 1
        if round_ > MAX_ROUND:
            raise ProtocolBreach(f"decree {self.decree!r:.80}: round {round_} is beyond any honest use")
        self.ballot = self._highest = ballot = _new(Ballot, (round_, self.node, 0))
        self.state = ProposerState.PREPARING
        self.proposed = None
        self._promises = set()
        self._best = BOTTOM
        return _new(Prepare, (self.decree, ballot))

    def receive(self, sender: NodeId, message: Promise | Accepted | Nack) -> Accept | None:
        """Take in one answer of acceptor `sender`.

        Answers to earlier ballots, repeated answers and answers of non-members change nothing. Votes
        are a learner's to count and are ignored here.

        Returns:
            2a, to send to every acceptor, when a phase-1 quorum is complete and there is something to
            propose; else None. Look at `state` for what came of it.
        """
        kind = message.__class__
        if kind is Promise:
            return self.on_promise(sender, message)  # type: ignore[arg-type]
        if kind is Nack and sender in self.quorums.members:
            self.on_nack(message)  # type: ignore[arg-type]
        return None

    def on_promise(self, sender: NodeId, message: Promise) -> Accept | None:
        """Count a promise; at a quorum choose what P2c allows."""
        decree, ballot, accepted_ballot, accepted_value = message
        if (
            ballot != self.ballot
            or self.state is not ProposerState.PREPARING
            or sender not in self.quorums.members
            or decree != self.decree
        ):
            return None
        if accepted_ballot > self._best:
            # The vote of the highest ballot among the promises binds; `proposed` holds it until phase 2.
            self._best = accepted_ballot
            self.proposed = accepted_value
        promises = self._promises
        promises.add(sender)
        if not self.quorums.is_quorum(promises, _PHASE_1):
            return None
        if self.proposed is None:
            if self.value is None:
                self.state = ProposerState.FREE
                return None
            self.proposed = self.value
        self.state = ProposerState.ACCEPTING
        return _new(Accept, (self.decree, ballot, self.proposed))

    def on_nack(self, message: Nack) -> None:
        """Note a higher ballot; if the refused question was the current one, the attempt is over."""
        decree, ballot, promised = message
        # Above the last round there is none to go to, so a nack that names it, or more, tells nothing of use.
        if decree != self.decree or promised.round >= MAX_ROUND:
            return
        if promised > self._highest:
            self._highest = promised
        # The own answer may already be a quorum's: a single nack does not tell. But going on at a ballot
        # that somebody outbid mostly fails, and stopping is always safe.
        if ballot == self.ballot and promised > ballot and self.state is not ProposerState.FREE:
            self.state = ProposerState.PREEMPTED

    def offer(self, value: bytes) -> bool:
        """Give a proposer that has no value of its own one to propose, while it may still matter.

        While phase 1 is under way it is proposed in this ballot, if that leaves the choice free; later, in
        the next one, should this one be outbid.

        Returns:
            Whether it was taken; False when there is an own value already.

        Raises:
            ConfigurationError: it is not bytes.
        """
        if not isinstance(value, bytes):
            _refuse_value(value)
        if self.value is not None:
            return False
        self.value = value
        return True

    @property
    def question(self) -> Prepare | Accept | None:
        """What awaits answers, to be repeated unchanged; None when nothing does."""
        if self.state is ProposerState.PREPARING:
            return Prepare(self.decree, self.ballot)
        if self.state is ProposerState.ACCEPTING and self.proposed is not None:
            return Accept(self.decree, self.ballot, self.proposed)
        return None

    def clone(self) -> Self:
        """An independent copy."""
        other = copy.copy(self)
        other._promises = set(self._promises)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for proposers that behave alike."""
        promises = frozenset(self._promises)
        return (
            self.node,
            self.value,
            self.ballot,
            self.proposed,
            self.state,
            self._highest,
            promises,
            self._best,
        )

    def __repr__(self) -> str:
        return f"<Proposer {self.node} {self.decree!r:.40} {self.state.value} at {self.ballot}>"


def _refuse_value(value: object) -> NoReturn:
    raise ConfigurationError(f"a proposer proposes bytes, not {type(value).__name__}: {value!r:.40}")
