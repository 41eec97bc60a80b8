"""The coordinator of Fast Paxos: how a round is begun, opened to all, or carried through.

One coordinator works on one decree, a ballot at a time. It comes to a ballot in one of two ways: by phase 1,
asking a phase-1 quorum for its votes, in a round of its own; or by recovery, from votes at the ballot before,
which stand for that quorum's promises. Then it proposes the value that the rule leaves it (2a), or, at a fast
ballot that is free, says Any, so that proposers send theirs straight to the acceptors.

When to do so, when to ask again and how long to back off is the caller's affair; what may be proposed is
decided here. One thing it can not see to: an Accept leaves when the coordinator's own acceptor has voted for
it durably. Recovery's ballots are computed, not reserved, so after a restart only that vote says whether, and
with what, the ballot was used.

Source: Lamport, *Fast Paxos* (2006), sections 3.1 to 3.3.
"""

import copy
from typing import Final, Self

from fastpaxos.choosing import Freedom, Report, pick
from fastpaxos.messages import MAX_ROUND, Accept, AnyValue, Nack, Prepare, Promise
from fastpaxos.rounds import Rounds
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.proposer import ProposerState
from paxos.errors import ProtocolBreach
from paxos.quorum import QuorumSystem

__all__ = ["Coordinator", "CoordinatorState"]

_new: Final = tuple.__new__

#: Where a ballot stands; as Basic Paxos's proposer has it, and `Coordinator.opened` beside.
CoordinatorState = ProposerState


class Coordinator:
    """Gets a value chosen for one decree, in ballots of its own.

    Args:
        node: the coordinator's own id.
        quorums: the quorum system of the cluster, with fast quorums.
        rounds: which ballots are fast.
        value: what to propose where the choice is free; None proposes nothing of its own and only completes
            what it finds half accepted (reading a decree).
        decree: the decree's name; empty where there is only one.
        floor: every ballot that this node may ever have begun by phase 1 is at or below it.

    Attributes:
        ballot: the one under way; BOTTOM before the first.
        proposed: the value sent in it; None before.
        state: where it stands.
        opened: whether the ballot was opened to all by Any.

    Source: Lamport, *Fast Paxos*, section 3.1.
    """

    __slots__ = (
        "_highest",
        "_reports",
        "ballot",
        "decree",
        "node",
        "opened",
        "proposed",
        "quorums",
        "rounds",
        "state",
        "value",
    )

    def __init__(
        self,
        node: NodeId,
        quorums: QuorumSystem,
        rounds: Rounds,
        value: bytes | None = None,
        *,
        decree: bytes = b"",
        floor: Ballot = BOTTOM,
    ) -> None:
        self.node: NodeId = node
        self.quorums: QuorumSystem = quorums
        self.rounds: Rounds = rounds
        self.value: bytes | None = value
        self.decree: bytes = decree
        self.ballot: Ballot = BOTTOM
        self.proposed: bytes | None = None
        self.state: ProposerState = ProposerState.IDLE
        self.opened: bool = False
        self._highest: Ballot = floor
        self._reports: dict[NodeId, Report[bytes]] = {}

    def prepare(self, above: Ballot = BOTTOM, *, fast: bool = False) -> Prepare:
        """1a: begin a new round, above all this coordinator has seen and above `above`.

        Returns:
            What to send to every acceptor, the own one included.

        Raises:
            ProtocolBreach: the rounds are exhausted, which no honest cluster lives to see.
        """
        round_ = max(self._highest[0], above[0], 0) + 1
        if round_ > MAX_ROUND:
            raise ProtocolBreach(f"decree {self.decree!r:.80}: round {round_} is beyond any honest use")
        of = self.rounds.fast if fast else self.rounds.classic
        self._start(of(round_, self.node), ProposerState.PREPARING)
        return _new(Prepare, (self.decree, self.ballot))

    def adopt(self, ballot: Ballot, value: bytes) -> Accept:
        """2a of a recovery: propose what the votes of the ballot before `ballot` lead to."""
        self._start(ballot, ProposerState.ACCEPTING)
        self.proposed = value
        return _new(Accept, (self.decree, ballot, value))

    def _start(self, ballot: Ballot, state: ProposerState) -> None:
        self.ballot = ballot
        if ballot > self._highest:
            self._highest = ballot
        self.state = state
        self.proposed = None
        self.opened = False
        self._reports = {}

    def on_promise(self, sender: NodeId, message: Promise) -> Accept | AnyValue | None:
        """Count a promise; at a phase-1 quorum choose what the rule allows.

        Promises of earlier ballots, repeated ones and those of non-members change nothing.

        Returns:
            2a, to send to every acceptor, when the quorum is complete and there is something to propose, or
            the ballot is fast and free; else None. Look at `state` for what came of it.

        Raises:
            ProtocolBreach: acceptors reported what can not be. The promise is not counted.
        """
        decree, ballot, accepted_ballot, accepted_value = message
        if (
            ballot != self.ballot
            or self.state is not ProposerState.PREPARING
            or sender not in self.quorums.members
            or decree != self.decree
        ):
            return None
        reports = {**self._reports, sender: (accepted_ballot, accepted_value)}
        picked = pick(reports, self.quorums, self.rounds)
        self._reports = reports
        if picked is None:
            return None
        if picked.freedom is not Freedom.FREE:
            self.proposed = picked.value
        elif self.value is None and not self.rounds.is_fast(ballot):
            self.state = ProposerState.FREE
            return None
        elif self.rounds.is_fast(ballot):
            self.state = ProposerState.ACCEPTING
            self.opened = True
            return _new(AnyValue, (decree, ballot))
        else:
            self.proposed = self.value
        self.state = ProposerState.ACCEPTING
        assert self.proposed is not None
        return _new(Accept, (decree, ballot, self.proposed))

    def on_nack(self, message: Nack) -> None:
        """Note a higher ballot; if the refused question was the current one, the ballot is over."""
        decree, ballot, promised = message
        if decree != self.decree or promised.round >= MAX_ROUND:
            return
        if promised > self._highest:
            self._highest = promised
        if ballot == self.ballot and promised > ballot and self.state is not ProposerState.FREE:
            self.state = ProposerState.PREEMPTED

    def offer(self, value: bytes) -> bool:
        """Give one that has no value of its own one to propose; whether it was taken."""
        if self.value is not None:
            return False
        self.value = value
        return True

    @property
    def gathered(self) -> tuple[NodeId, ...]:
        """Whose promises of the present ballot were counted."""
        return tuple(self._reports)

    @property
    def question(self) -> Prepare | Accept | AnyValue | None:
        """What awaits answers, to be repeated unchanged; None when nothing does."""
        if self.state is ProposerState.PREPARING:
            return Prepare(self.decree, self.ballot)
        if self.state is not ProposerState.ACCEPTING:
            return None
        if self.opened:
            return AnyValue(self.decree, self.ballot)
        return Accept(self.decree, self.ballot, self.proposed) if self.proposed is not None else None

    def clone(self) -> Self:
        """An independent copy."""
        other = copy.copy(self)
        other._reports = dict(self._reports)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        reports = frozenset(self._reports.items())
        held = (self.node, self.value, self.ballot, self.proposed, self.state, self.opened, self._highest)
        return (*held, reports)

    def __repr__(self) -> str:
        return f"<Coordinator {self.node} {self.decree!r:.40} {self.state.value} at {self.ballot}>"
