"""Multi-Paxos with mistakes planted, as protocols of their own: for tests that name a protocol."""

from typing import Any

import attrs

from multipaxos import MultiPaxosReplica, protocol
from paxos.command import RequestId
from paxos.contract import Instant, Outcome, OutcomeKind, ProtocolDescription

__all__ = ["lost_votes", "mute", "stale_reads"]


class _Stale(MultiPaxosReplica):
    """Answers reads from whatever it has applied."""

    def read(self, request: RequestId, now: Instant) -> None:
        self._context.out.outcomes.append(Outcome(request, OutcomeKind.READY, None))


class _Amnesiac(MultiPaxosReplica):
    """A restarted node forgets the votes that it cast."""

    def __init__(self, configuration: Any, records: Any, draw: Any, now: Any) -> None:
        kept = {key: value for key, value in records.items() if key[:1] != b"a"}
        super().__init__(configuration, kept, draw, now)


class _Mute(MultiPaxosReplica):
    """Never lets go of what was decided."""

    def receive(self, sender: Any, message: Any, now: Instant) -> None:
        if type(message).__name__ != "Accepted":
            super().receive(sender, message, now)


stale_reads: ProtocolDescription = attrs.evolve(protocol, name="stale-reads", replica=_Stale)
mute: ProtocolDescription = attrs.evolve(protocol, name="mute", replica=_Mute)
lost_votes: ProtocolDescription = attrs.evolve(protocol, name="lost-votes", replica=_Amnesiac, invariants=())
