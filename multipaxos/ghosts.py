"""What the invariants of Multi-Paxos keep of a run: who proposed what, who voted, and what that chose.

The facts come from messages alone, as their nodes let them go.  An Accepted names slots and not values, so a
vote's value is that of the proposal at its ballot; that there is one only is an invariant of its own.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from multipaxos.messages import Accept, Accepted
from multipaxos.records import FoundRecords, read_records, slot_key
from multipaxos.replica import MultiPaxosReplica
from paxos.ballot import Ballot, NodeId
from paxos.basic.watch import Watch
from paxos.contract import Outline, Step
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Ballots", "LogWatch", "at", "durable", "replica_of"]


@lru_cache(maxsize=8192)
def _parse(key: bytes, data: bytes) -> FoundRecords:
    return read_records({key: data})


def durable(step: Step, key: bytes) -> FoundRecords:
    """What the node's disk holds under a key, after the step."""
    data = step.durable.get(key)
    return read_records({}) if data is None else _parse(key, data)


def replica_of(step: Step) -> MultiPaxosReplica | None:
    """The replica after the step, if it is one of Multi-Paxos and up."""
    return step.replica if isinstance(step.replica, MultiPaxosReplica) else None


def at(step: Step, slot: int, what: str) -> str:
    """`what` broke, and where."""
    return f"node {step.node}, slot {slot}: {what}"


class Ballots:
    """Proposals and votes by ballot and slot, and what was chosen.

    Attributes:
        proposed: value by (ballot, slot).
        chosen: for each slot the lowest ballot at which a phase-2 quorum voted, and the value.
        upto: every slot up to this one is chosen.
    """

    def __init__(self, quorums: QuorumSystem) -> None:
        self._quorums = quorums
        self.proposed: dict[tuple[Ballot, int], bytes] = {}
        self.chosen: dict[int, tuple[Ballot, bytes]] = {}
        self.upto: int = 0
        self._voters: dict[tuple[Ballot, int], set[NodeId]] = {}

    def propose(self, accept: Accept) -> bytes:
        """A proposal was made; the value that its ballot first carried in its slot."""
        return self.proposed.setdefault((accept.ballot, accept.slot), accept.value)

    def vote(self, step: Step, accepted: Accepted) -> list[int]:
        """Votes left the node of the step; the slots in which they complete a quorum."""
        completed: list[int] = []
        ballot, node = accepted.ballot, step.node
        for first, last in accepted.runs:
            for slot in range(first, last + 1):
                voters = self._voters.setdefault((ballot, slot), set())
                if node in voters:
                    continue
                had = self._quorums.is_quorum(voters, Phase.TWO)
                voters.add(node)
                if not had and self._quorums.is_quorum(voters, Phase.TWO):
                    completed.append(slot)
                    self._choose(step, ballot, slot)
        return completed

    def _choose(self, step: Step, ballot: Ballot, slot: int) -> None:
        if (ballot, slot) not in self.proposed:
            # Who is alone sends no question to anybody: what it proposed is what it voted for.
            held = durable(step, slot_key(slot)).votes.get(slot, (ballot, b""))
            self.proposed[ballot, slot] = held[1]
        known = self.chosen.get(slot)
        if known is None or ballot < known[0]:
            self.chosen[slot] = (ballot, self.proposed[ballot, slot])
        while self.upto + 1 in self.chosen:
            self.upto += 1

    def voters(self, ballot: Ballot, slot: int) -> set[NodeId]:
        """Whose votes at this ballot left."""
        return self._voters.get((ballot, slot), set())

    def is_chosen(self, ballot: Ballot, slot: int) -> bool:
        """Whether a phase-2 quorum voted at this very ballot."""
        return self._quorums.is_quorum(self.voters(ballot, slot), Phase.TWO)


class LogWatch(Watch):
    """An invariant that looks at proposals and at votes that left."""

    _when = ()

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._ballots = Ballots(quorums)
        self._left: Mapping[type, Any] = {Accepted: self._votes}

    def concerns(self, outline: Outline) -> bool:
        """Whether steps of this outline can be anything to it; no others need be shown."""
        return Accept in outline.created or super().concerns(outline)

    def _before(self, step: Step) -> str | None:
        # Before any vote is counted, which may leave in the step in which its proposal is made.
        for _, message in step.created:
            if message.__class__ is Accept:
                self._ballots.propose(message)
        return None

    def _votes(self, step: Step, message: Accepted) -> str | None:
        self._ballots.vote(step, message)
        return None
