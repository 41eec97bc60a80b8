"""The acceptor of Fast Paxos: Basic Paxos's, that also votes for what proposers send it directly.

Promises are Basic Paxos's, and so are votes at classic ballots. At a fast ballot the acceptor votes for the
first value that it sees, and the vote is never replaced: asked again, with whatever value, it answers with
the vote already cast. What it may vote for at a fast ballot reaches it in one of three ways: a proposer's own
value, when the ballot is *open* (the first one is by definition, another when its coordinator said Any); the
coordinator's, when that was bound to one; or, in uncoordinated recovery, what it picks itself from the votes
of the ballot before.

`FastVote` is what there is one of for each decree or slot; the promise is handed in. `FastAcceptor` is one
decree's, with a promise of its own.

Source: Lamport, *Fast Paxos* (2006), section 3.1, phases 1b and 2b.
"""

from typing import Final, Self, TypeVar

from fastpaxos.rounds import OPEN, Rounds
from paxos.ballot import Ballot
from paxos.basic.acceptor import Acceptor, AcceptorRecord, Vote
from paxos.basic.messages import MAX_ROUND, Accept, Accepted, Nack, Prepare, Promise

__all__ = ["FastAcceptor", "FastVote"]

_V = TypeVar("_V")
_new: Final = tuple.__new__


class FastVote(Vote[_V]):
    """One vote, and the rule by which it is cast at classic and fast ballots.

    Source: Lamport, *Fast Paxos*, section 3.1, phase 2b.
    """

    __slots__ = ()

    def cast_at(self, promised: Ballot, ballot: Ballot, value: _V, rounds: Rounds) -> bool:
        """Vote for `value` at `ballot`, unless `promised` is above; a vote is never replaced at its ballot.

        Returns:
            Whether there is a vote at `ballot`, cast now or before; at a fast ballot perhaps for another
            value than this one: look. The promise must then be raised to `ballot`.

        Raises:
            ProtocolBreach: another value was voted for at this classic ballot. The vote is unchanged.
        """
        if ballot == self.accepted_ballot and ballot >= promised and rounds.is_fast(ballot):
            return True
        return self.cast(promised, ballot, value)


class FastAcceptor(Acceptor, FastVote[bytes]):
    """Remembers one promise and one vote, for one decree.

    An answer it returns reports durable state: put `record()` on disk before sending it.

    Args:
        rounds: which ballots are fast.
        decree: the decree's name; empty where there is only one.
        record: what `record()` gave before a restart; None for an acceptor that is new.

    Attributes:
        opened: the highest fast ballot known to be open to all. It need not be durable: who forgot it votes
            for nothing there until told again.

    Source: Lamport, *Fast Paxos*, section 3.1.
    """

    __slots__ = ("opened", "rounds")

    def __init__(self, rounds: Rounds, decree: bytes = b"", record: AcceptorRecord | None = None) -> None:
        super().__init__(decree, record)
        self.rounds: Rounds = rounds
        self.opened: Ballot = OPEN

    def on_prepare(self, message: Prepare) -> Promise | Accepted | Nack:
        """1b, as Basic Paxos has it.

        Raises:
            ValueError: the round is above `MAX_ROUND`, or there is no such ballot. Nothing is changed.
        """
        self._check(message.ballot)
        return super().on_prepare(message)

    def on_accept(self, message: Accept) -> Accepted | Nack:
        """2b: vote as asked, unless a higher ballot was joined; at a fast ballot the first vote stays.

        Raises:
            ProtocolBreach: another value was voted for at this classic ballot. Nothing is changed.
            ValueError: as `on_prepare`.
        """
        decree, ballot, _ = message
        self._check(ballot)
        if ballot == self.accepted_ballot == self.promised and self.rounds.is_fast(ballot):
            assert self.accepted_value is not None
            return _new(Accepted, (decree, ballot, self.accepted_value))
        return super().on_accept(message)

    def on_any(self, ballot: Ballot) -> Accepted | Nack | None:
        """The coordinator of a fast ballot opens it to all.

        Returns:
            The vote, if it was cast there already; Nack when a higher ballot was joined; else None: the next
            proposal will be voted for.

        Raises:
            ValueError: the ballot is not fast, or as `on_prepare`. Nothing is changed.
        """
        self._check(ballot)
        if not self.rounds.is_fast(ballot):
            raise ValueError(f"Any opens a fast ballot, and {ballot} is classic")
        if ballot < self.promised:
            return _new(Nack, (self.decree, ballot, self.promised))
        if ballot > self.opened:
            self.opened = ballot
        if self.accepted_ballot == ballot and self.accepted_value is not None:
            return _new(Accepted, (self.decree, ballot, self.accepted_value))
        return None

    def on_propose(self, value: bytes) -> Accepted | Nack:
        """2b for a proposer's own value: vote for it if the ballot joined is open and has no vote yet.

        Returns:
            The vote at the ballot joined, whosever value it is for; Nack, at the ballot that was open, when
            one was joined that is not.
        """
        ballot = self.opened
        if ballot < self.promised:
            if self.accepted_ballot == self.promised and self.accepted_value is not None:
                return _new(Accepted, (self.decree, self.accepted_ballot, self.accepted_value))
            return _new(Nack, (self.decree, ballot, self.promised))
        return self.on_accept(_new(Accept, (self.decree, ballot, value)))

    def _check(self, ballot: Ballot) -> None:
        if not self.rounds.is_ballot(ballot) or ballot[0] > MAX_ROUND:
            raise ValueError(f"decree {self.decree!r:.80}: there is no ballot {ballot}")

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)(self.rounds, self.decree, self.record())
        other.opened = self.opened
        return other
