"""What a replica keeps of a decree that it does not know to be decided: its roles, and who waits for it.

The acceptor and the tally are always there.  While this node wants the decree decided, one of three is at
work: its own value has gone straight to the acceptors (`proposed`), it is in the hands of the proposer that
proposes for all (`offered`), or a coordinator of its own is in a ballot.  The stage says what the decree's
deadline means, and with it what the next tick does.
"""

from collections.abc import Hashable
from typing import Final

from fastpaxos.acceptor import FastAcceptor
from fastpaxos.coordinator import Coordinator
from fastpaxos.learner import Tally
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.command import RequestId

__all__ = ["ASK", "BACKOFF", "IDLE", "PARKED", "PATIENCE", "PROPOSING", "REPEAT", "OpenDecree"]

# What an open decree's deadline means.
IDLE: Final = "idle"
PROPOSING: Final = "proposing"  # the own value is out: send it again, or begin a round
REPEAT: Final = "repeat"  # a coordinator's question is out: ask again
BACKOFF: Final = "backoff"  # outbid: begin a new round
PATIENCE: Final = "patience"  # handed to the proposer for all: propose by oneself
ASK: Final = "ask"  # voted, or saw votes, and heard no more: ask what became of it
PARKED: Final = "parked"  # waiting for a reservation of rounds to be durable

_TIMES: Final = ("stage", "deadline_s", "delay_s", "takeover_s")
_COUNTS: Final = ("attempt", "asked", "outbid", "errand")
_VALUES: Final = ("proposed", "offered", "waiting", "vouched", "collided", "missed")


class OpenDecree:
    """One decree that is not known to be decided.

    Args:
        acceptor: the node's own acceptor of it.
        tally: what counts its votes.
    """

    __slots__ = ("acceptor", "coordinator", "refused", "requests", "tally", *_TIMES, *_COUNTS, *_VALUES)

    def __init__(self, acceptor: FastAcceptor, tally: Tally[bytes]) -> None:
        self.acceptor: FastAcceptor = acceptor
        self.tally: Tally[bytes] = tally
        self.coordinator: Coordinator | None = None
        self.stage: str = IDLE
        self.deadline_s: float = 0.0
        self.delay_s: float = 0.0
        # When a proposer stops waiting for others and begins a round.
        self.takeover_s: float = 0.0
        # Rounds begun here; a read may only be answered by a phase 1 begun after the read came.
        self.attempt: int = 0
        self.outbid: int = 0
        self.asked: int = 0
        self.errand: int = 0
        # The own value that went to the acceptors; the one handed to the proposer for all.
        self.proposed: bytes | None = None
        self.offered: bytes | None = None
        # A value that a proposer sent when no ballot was open here.
        self.waiting: bytes | None = None
        # The highest ballot at which the own vote is known to be durable.
        self.vouched: Ballot = BOTTOM
        # The highest ballot that was seen to have collided.
        self.collided: Ballot = BOTTOM
        # Whether a fast ballot was given up here for want of votes.
        self.missed: bool = False
        # Who said that its ballot is not open, so that no proposal is voted for there.
        self.refused: set[NodeId] = set()
        # Who waits: None for a write, for a read the first attempt that may answer it.
        self.requests: dict[RequestId, int | None] = {}

    @property
    def at_work(self) -> bool:
        """Whether this node wants it decided."""
        return self.coordinator is not None or self.proposed is not None or self.offered is not None

    def clone(self) -> "OpenDecree":
        """An independent copy."""
        other = OpenDecree(self.acceptor.clone(), self.tally.clone())
        other.coordinator = self.coordinator.clone() if self.coordinator else None
        other.requests = dict(self.requests)
        other.refused = set(self.refused)
        for name in (*_TIMES, *_COUNTS, *_VALUES):
            setattr(other, name, getattr(self, name))
        return other

    def fingerprint(self) -> Hashable:
        """Equal for those that behave alike; times left out."""
        coordinator = self.coordinator.fingerprint() if self.coordinator else None
        # Attempts only matter relative to one another.
        waiting = frozenset((r, None if a is None else a - self.attempt) for r, a in self.requests.items())
        values = tuple(getattr(self, name) for name in _VALUES)
        held = (self.acceptor.record(), self.acceptor.opened, self.tally.fingerprint(), coordinator)
        return (*held, self.stage, self.errand > 0, values, waiting, frozenset(self.refused))
