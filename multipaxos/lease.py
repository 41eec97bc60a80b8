"""Leases: reads without a round, for as long as nobody else can lead. Off unless set; they rest on clocks.

A *grantor* that answers a heartbeat promises no ballot above that one, and does not stand for election
itself, until `lease_s` have passed on its own clock since the heartbeat came. A leader that holds the grants
of a phase-2 quorum, its own included, knows that no phase-1 quorum promises another ballot meanwhile; so its
commit index covers all that was acknowledged, and a read needs no confirmation.

Both measure time on clocks of their own, so what is compared is durations, and the clocks' *rates* must agree
within the stated bound. The leader counts from before it sent the heartbeat and shortens the lease by the
bound; the grantor counts from receipt. A grant is not written down: a grantor that restarts may have given
one, and waits a whole lease before it promises anything. Handing over the leadership ends the lease first:
the leader serves no reads by it any more, and releases who granted.

Source: Gray and Cheriton, *Leases* (1989); Ongaro, *Consensus: Bridging Theory and Practice* (2014), section
6.4.1, with the phase-2 quorums of *Flexible Paxos* and the restart rule of its own.
"""

import copy
from collections import deque
from typing import Final, Self

from multipaxos.context import NEVER_S
from multipaxos.settings import MultiPaxosSettings
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Grant", "Lease"]

#: Heartbeats of which the leader remembers when it sent them; an answer to an older one grants nothing.
_REMEMBERED: Final = 256


class Grant:
    """What a node promised to a leader, about ballots above the leader's.

    Args:
        waits_until_s: what an earlier life may have granted runs out by then, whoever releases what.

    Attributes:
        until_s: what was granted in this life runs out then.
        released: no heartbeat of this ballot asks for a grant any more.
    """

    __slots__ = ("_waits_until_s", "released", "until_s")

    def __init__(self, waits_until_s: float = -NEVER_S) -> None:
        self._waits_until_s = waits_until_s
        self.until_s: float = -NEVER_S
        self.released: Ballot = BOTTOM

    def binds(self, now_s: float) -> bool:
        """Whether no ballot may be promised now."""
        return now_s < self.until_s or now_s < self._waits_until_s

    def give(self, ballot: Ballot, now_s: float, settings: MultiPaxosSettings) -> None:
        """A heartbeat of this ballot came that asks for an answer."""
        if settings.lease_s and ballot != self.released:
            self.until_s = max(self.until_s, now_s + settings.lease_s)

    def release(self, ballot: Ballot) -> None:
        """The leader of this ballot, the one that was granted to, holds no lease any more."""
        self.released = ballot
        self.until_s = -NEVER_S

    def clone(self) -> Self:
        """An independent copy."""
        return copy.copy(self)

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (self.until_s > -NEVER_S, self.released)


class Lease:
    """What a leader holds of grants; made anew for every leadership.

    Attributes:
        ended: whether it is given up for the rest of the leadership.
    """

    __slots__ = ("_granted_s", "_sent", "ended")

    def __init__(self) -> None:
        self.ended: bool = False
        self._sent: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)
        # For each grantor when the last heartbeat that it answered was sent.
        self._granted_s: dict[NodeId, float] = {}

    def send(self, sequence: int, now_s: float) -> None:
        """The heartbeat of this number is sent, now or a little later."""
        self._sent.append((sequence, now_s))

    def answer(self, grantor: NodeId, sequence: int) -> None:
        """A member answered the heartbeat of this number, and so granted."""
        for sent, sent_s in self._sent:
            if sent == sequence:
                self._granted_s[grantor] = max(self._granted_s.get(grantor, -NEVER_S), sent_s)
                return

    def holds(
        self, leader: NodeId, quorums: QuorumSystem, settings: MultiPaxosSettings, now_s: float
    ) -> bool:
        """Whether no other leader can have committed anything before `now_s`."""
        if self.ended or not settings.lease_s:
            return False
        lasts_s = settings.lease_s * (1.0 - settings.lease_drift)
        grantors = {node for node, sent_s in self._granted_s.items() if now_s < sent_s + lasts_s}
        # The leader's own acceptor granted when the last heartbeat was sent.
        if self._sent and now_s < self._sent[-1][1] + lasts_s:
            grantors.add(leader)
        return quorums.is_quorum(grantors, Phase.TWO)

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)()
        other.ended = self.ended
        other._sent, other._granted_s = self._sent.copy(), dict(self._granted_s)
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (self.ended, frozenset(self._granted_s))
