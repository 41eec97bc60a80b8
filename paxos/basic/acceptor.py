"""The acceptor of Basic Paxos: what is remembered, and the two rules for changing it.

This is the acceptor the rest of the family is composed of.  It holds one promise and one vote, and
the whole safety of Paxos rests on two comparisons made here and on the answers leaving only after the
state they report is on disk.

Source: Lamport, *Paxos Made Simple* (2001), section 2.2, P1a and P2.
"""

from typing import Final, NamedTuple, Self

from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.messages import Accept, Accepted, Nack, Prepare, Promise
from paxos.errors import ProtocolBreach

__all__ = ["Acceptor", "AcceptorRecord"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


class AcceptorRecord(NamedTuple):
    """What an acceptor puts on disk.

    Args:
        promised: the highest ballot joined.
        accepted_ballot: the ballot of the last vote; BOTTOM for none.
        accepted_value: its value; None for none.
    """

    promised: Ballot
    accepted_ballot: Ballot
    accepted_value: bytes | None


class Acceptor:
    """Remembers one promise and one vote, for one decree.

    An answer it returns reports durable state: put `record()` on disk before sending it.

    Args:
        decree: the decree's name; empty where there is only one.
        record: what `record()` gave before a restart; None for an acceptor that is new.

    Source: Lamport, *Paxos Made Simple*, section 2.2.
    """

    __slots__ = ("accepted_ballot", "accepted_value", "decree", "promised")

    def __init__(self, decree: bytes = b"", record: AcceptorRecord | None = None) -> None:
        self.decree: bytes = decree
        self.promised: Ballot = BOTTOM
        self.accepted_ballot: Ballot = BOTTOM
        self.accepted_value: bytes | None = None
        if record is not None:
            self.promised, self.accepted_ballot, self.accepted_value = record

    def receive(self, sender: NodeId, message: Prepare | Accept) -> Promise | Accepted | Nack:
        """The answer to one question; to be sent to `sender` once `record()` is durable.

        Raises:
            ProtocolBreach: see `on_accept`.
            ValueError: the message is for another decree.
            TypeError: the message is not a question to an acceptor.
        """
        kind = message.__class__
        if message[0] != self.decree:
            raise ValueError(
                f"a message for decree {message[0]!r:.80} came to the acceptor of {self.decree!r:.80}"
            )
        if kind is Prepare:
            return self.on_prepare(message)  # type: ignore[arg-type]
        if kind is Accept:
            return self.on_accept(message)  # type: ignore[arg-type]
        raise TypeError(f"an acceptor is asked Prepare or Accept, not {kind.__name__}")

    def on_prepare(self, message: Prepare) -> Promise | Accepted | Nack:
        """1b: promise a ballot above every one joined, and report the last vote.

        The same Prepare again gets the same Promise again, unless a vote was cast at that very ballot
        since: a promise never reports a vote at its own ballot, so then the vote itself is answered.
        """
        decree, ballot = message
        promised = self.promised
        if ballot > promised:
            self.promised = ballot
        elif ballot != promised:
            return _new(Nack, (decree, ballot, promised))
        elif self.accepted_ballot == ballot and self.accepted_value is not None:
            return _new(Accepted, (decree, ballot, self.accepted_value))
        return _new(Promise, (decree, ballot, self.accepted_ballot, self.accepted_value))

    def on_accept(self, message: Accept) -> Accepted | Nack:
        """2b: vote, unless a higher ballot was joined. A vote is never replaced at its own ballot.

        Raises:
            ProtocolBreach: another value was voted for at this ballot, so that its proposer used one
                ballot for two values. The acceptor is unchanged.
        """
        decree, ballot, value = message
        if ballot < self.promised:
            return _new(Nack, (decree, ballot, self.promised))
        if ballot == self.accepted_ballot and value != self.accepted_value:
            raise ProtocolBreach(
                f"OneValuePerBallot: decree {decree!r:.80} was asked to accept two values at ballot {ballot}"
            )
        self.promised = self.accepted_ballot = ballot
        self.accepted_value = value
        return _new(Accepted, (decree, ballot, value))

    def record(self) -> AcceptorRecord:
        """What must be on disk before the last answer leaves."""
        return AcceptorRecord(self.promised, self.accepted_ballot, self.accepted_value)

    def clone(self) -> Self:
        """An independent copy."""
        return type(self)(self.decree, self.record())

    def __repr__(self) -> str:
        vote = (
            f"voted {self.accepted_value!r:.40} at {self.accepted_ballot}"
            if self.accepted_value is not None
            else "no vote"
        )
        return f"<Acceptor {self.decree!r:.40} promised {self.promised}, {vote}>"
