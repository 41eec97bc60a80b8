"""What a replica keeps of a decree that it does not know to be decided: its roles, and who waits for it.

The acceptor is always there.  While this node wants the decree decided, so are a proposer and a learner.  The
stage says what the decree's deadline means, and with it what the next tick does.
"""

from collections.abc import Hashable
from typing import Final

from paxos.basic.acceptor import Acceptor
from paxos.basic.learner import Learner
from paxos.basic.proposer import Proposer
from paxos.command import RequestId

__all__ = ["ASK", "BACKOFF", "IDLE", "PARKED", "PATIENCE", "REPEAT", "OpenDecree"]

# What an open decree's deadline means.
IDLE: Final = "idle"
REPEAT: Final = "repeat"  # a question is out: ask again
BACKOFF: Final = "backoff"  # outbid: begin a new ballot
PATIENCE: Final = "patience"  # handed to the distinguished proposer: propose by oneself
ASK: Final = "ask"  # voted, and heard no more: ask what became of it
PARKED: Final = "parked"  # waiting for a reservation of rounds to be durable


class OpenDecree:
    """One decree that is not known to be decided.

    Args:
        acceptor: the node's own acceptor of it.
    """

    __slots__ = (
        "acceptor",
        "asked",
        "attempt",
        "deadline_s",
        "delay_s",
        "errand",
        "learner",
        "offered",
        "outbid",
        "proposer",
        "requests",
        "stage",
    )

    def __init__(self, acceptor: Acceptor) -> None:
        self.acceptor: Acceptor = acceptor
        self.proposer: Proposer | None = None
        self.learner: Learner | None = None
        self.stage: str = IDLE
        self.deadline_s: float = 0.0
        self.delay_s: float = 0.0
        # Ballots begun here; a read may only be answered by a phase 1 begun after the read came.
        self.attempt: int = 0
        self.outbid: int = 0
        self.asked: int = 0
        self.errand: int = 0
        # The value handed to the distinguished proposer.
        self.offered: bytes | None = None
        # Who waits: None for a write, for a read the first attempt that may answer it.
        self.requests: dict[RequestId, int | None] = {}

    def clone(self) -> "OpenDecree":
        """An independent copy."""
        other = OpenDecree(self.acceptor.clone())
        other.proposer = self.proposer.clone() if self.proposer else None
        other.learner = self.learner.clone() if self.learner else None
        other.requests = dict(self.requests)
        for name in ("stage", "deadline_s", "delay_s", "attempt", "asked", "outbid", "errand", "offered"):
            setattr(other, name, getattr(self, name))
        return other

    def fingerprint(self) -> Hashable:
        """Equal for those that behave alike; times left out."""
        proposer = self.proposer.fingerprint() if self.proposer else None
        learner = self.learner.fingerprint() if self.learner else None
        # Attempts only matter relative to one another.
        waiting = frozenset((r, None if a is None else a - self.attempt) for r, a in self.requests.items())
        return (self.acceptor.record(), proposer, learner, self.stage, self.errand > 0, self.offered, waiting)
