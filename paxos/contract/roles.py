"""The three roles, as every protocol of the family offers them.

Lamport's roles (*Paxos Made Simple*, 2.1) are the vocabulary users bring along: a *proposer* gets a
value chosen, an *acceptor* remembers, a *learner* finds out.  Each is a deterministic object that is
called with a message and returns a message; who carries messages, and where, is the caller's affair.

An acceptor's answers *report durable state*: whoever carries them puts `Acceptor.record()` on disk
first.  Replicas (`paxos.contract.Replica`) do that by type; a caller of bare roles does it by hand.
"""

from typing import Protocol, TypeVar

from paxos.ballot import Ballot, NodeId

__all__ = ["AcceptorRole", "LearnerRole", "ProposerRole"]

Question = TypeVar("Question", contravariant=True)
Reply = TypeVar("Reply", covariant=True)
Record = TypeVar("Record", covariant=True)
Answer = TypeVar("Answer", contravariant=True)
Ask = TypeVar("Ask", covariant=True)
Vote = TypeVar("Vote", contravariant=True)
Found = TypeVar("Found", covariant=True)


class ProposerRole(Protocol[Answer, Ask]):
    """Gets one value chosen: asks the acceptors, and asks again as their answers direct.

    What it returns goes to every acceptor; what it is given are their answers.
    """

    @property
    def ballot(self) -> Ballot:
        """The ballot under way, or BOTTOM before the first."""
        ...

    def prepare(self, above: Ballot = ...) -> Ask:
        """Begin a new ballot above every one seen and `above`; what it returns goes to all acceptors."""
        ...

    def receive(self, sender: NodeId, message: Answer) -> Ask | None:
        """Count one answer of acceptor `sender`; when a quorum is complete, the next question."""
        ...


class AcceptorRole(Protocol[Question, Reply, Record]):
    """The durable memory of a protocol."""

    @property
    def promised(self) -> Ballot:
        """The highest ballot joined."""
        ...

    def receive(self, sender: NodeId, message: Question) -> Reply | None:
        """The answer to one question, to be sent only when `record()` is durable; None for silence."""
        ...

    def record(self) -> Record:
        """What must be on disk before the last answer leaves; enough to rebuild the acceptor."""
        ...


class LearnerRole(Protocol[Vote, Found]):
    """Finds out what was chosen, by counting votes of one ballot and value."""

    def receive(self, sender: NodeId, message: Vote) -> Found | None:
        """Count one vote of acceptor `sender`; what was chosen, when this vote completes a quorum."""
        ...
