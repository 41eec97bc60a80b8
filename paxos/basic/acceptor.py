"""The acceptor of Basic Paxos: what is remembered, and the two rules for changing it.

This is the acceptor the rest of the family is composed of.  It holds one promise and one vote, and
the whole safety of Paxos rests on two comparisons made here and on the answers leaving only after the
state they report is on disk.  An acceptor of a log holds one promise over many votes: `Vote` is the part of
which it has many, with the rule of phase 2, to which the promise is handed in.

Source: Lamport, *Paxos Made Simple* (2001), section 2.2, P1a and P2.
"""

from typing import Final, Generic, NamedTuple, NoReturn, Self, TypeVar, overload

from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.messages import MAX_ROUND, Accept, Accepted, Nack, Prepare, Promise
from paxos.errors import ProtocolBreach

__all__ = ["Acceptor", "AcceptorRecord", "Vote"]

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__
_Value = TypeVar("_Value")


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


_NEW: Final = AcceptorRecord(BOTTOM, BOTTOM, None)


class Vote(Generic[_Value]):
    """One vote, and the rule by which it is cast: what an acceptor has one of for each decree or slot.

    Attributes:
        accepted_ballot: the ballot of the last vote; BOTTOM for none.
        accepted_value: its value; None for none.

    Source: Lamport, *Paxos Made Simple*, section 2.2, P1a for the promise that is handed in.
    """

    __slots__ = ("accepted_ballot", "accepted_value")

    def __init__(self, accepted_ballot: Ballot = BOTTOM, accepted_value: _Value | None = None) -> None:
        self.accepted_ballot: Ballot = accepted_ballot
        self.accepted_value: _Value | None = accepted_value

    def cast(self, promised: Ballot, ballot: Ballot, value: _Value) -> bool:
        """Vote for `value` at `ballot`, unless `promised` is above; a vote is never replaced at its ballot.

        Returns:
            Whether the vote is cast, now or before. The promise must then be raised to `ballot`.

        Raises:
            ProtocolBreach: another value was voted for at this ballot, so that its proposer used one
                ballot for two values. The vote is unchanged.
        """
        if ballot < promised:
            return False
        if ballot == self.accepted_ballot and value != self.accepted_value:
            raise ProtocolBreach(f"OneValuePerBallot: asked to accept two values at ballot {ballot}")
        self.accepted_ballot = ballot
        self.accepted_value = value
        return True


class Acceptor(Vote[bytes]):
    """Remembers one promise and one vote, for one decree.

    An answer it returns reports durable state: put `record()` on disk before sending it.

    Args:
        decree: the decree's name; empty where there is only one.
        record: what `record()` gave before a restart; None for an acceptor that is new.

    Source: Lamport, *Paxos Made Simple*, section 2.2.
    """

    __slots__ = ("decree", "promised")

    def __init__(self, decree: bytes = b"", record: AcceptorRecord | None = None) -> None:
        record = record or _NEW
        super().__init__(record.accepted_ballot, record.accepted_value)
        self.decree: bytes = decree
        self.promised: Ballot = record.promised

    @overload
    def receive(self, sender: NodeId, message: Accept) -> Accepted | Nack: ...

    @overload
    def receive(self, sender: NodeId, message: Prepare | Accept) -> Promise | Accepted | Nack: ...

    def receive(self, sender: NodeId, message: Prepare | Accept) -> Promise | Accepted | Nack:
        """The answer to one question; to be sent to `sender` once `record()` is durable.

        Raises:
            ProtocolBreach: see `on_accept`.
            ValueError: the message is for another decree, or of a round above `MAX_ROUND`.
            TypeError: the message is not a question to an acceptor.
        """
        kind = message.__class__
        if kind is Prepare:
            if message[0] == self.decree:
                return self.on_prepare(message)  # type: ignore[arg-type]
        elif kind is Accept:
            if message[0] == self.decree:
                return self.on_accept(message)  # type: ignore[arg-type]
        else:
            raise TypeError(f"an acceptor answers a Prepare or an Accept, and was given {message!r:.80}")
        raise ValueError(
            f"a message for decree {message[0]!r:.80} came to the acceptor of {self.decree!r:.80}"
        )

    def on_prepare(self, message: Prepare) -> Promise | Accepted | Nack:
        """1b: promise a ballot above every one joined, and report the last vote.

        The same Prepare again gets the same Promise again, unless a vote was cast at that very ballot
        since: a promise never reports a vote at its own ballot, so then the vote itself is answered.

        Raises:
            ValueError: the round is above `MAX_ROUND`, so that no ballot could be above it. The acceptor is
                unchanged.
        """
        decree, ballot = message
        promised = self.promised
        if ballot > promised:
            if ballot[0] > MAX_ROUND:
                _refuse_round(message)
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
            ValueError: as `on_prepare`.
        """
        decree, ballot, value = message
        promised = self.promised
        if ballot > promised and ballot[0] > MAX_ROUND:
            _refuse_round(message)
        try:
            if not self.cast(promised, ballot, value):
                return _new(Nack, (decree, ballot, promised))
        except ProtocolBreach as breach:
            raise ProtocolBreach(f"{breach} for decree {decree!r:.80}") from None
        self.promised = ballot
        return _new(Accepted, (decree, ballot, value))

    def record(self) -> AcceptorRecord:
        """What must be on disk before the last answer leaves."""
        return _new(AcceptorRecord, (self.promised, self.accepted_ballot, self.accepted_value))

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


def _refuse_round(message: Prepare | Accept) -> NoReturn:
    raise ValueError(
        f"decree {message.decree!r:.80}: {type(message).__name__} at round {message.ballot.round}; "
        f"the highest there is is {MAX_ROUND}"
    )
