"""What can have happened in the closed world of a fast log, and the real roles that are made of it.

A state is a set of facts: what left acceptors and coordinators, and what acceptors wrote without telling
anybody. An acceptor's records follow from these, so it needs no place of its own; they are what a crash
leaves, so a restart changes nothing. `Known` sorts the facts of one state, once.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from fastpaxos.log.acceptor import LogAcceptor
from fastpaxos.log.records import SlotRecord
from fastpaxos.rounds import OPEN, Rounds
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.values import take_value

__all__ = [
    "Asked",
    "Compacted",
    "Fact",
    "Known",
    "Learned",
    "Opened",
    "Promised",
    "Reported",
    "Voted",
    "text",
]


class Promised(NamedTuple):
    """1b: an acceptor promised a ballot for all slots, and told of its votes."""

    node: NodeId
    ballot: Ballot
    entries: tuple[tuple[int, Ballot, bytes], ...]
    compacted: int


class Reported(NamedTuple):
    """1b of one slot: an acceptor promised a ballot there, and told of its vote."""

    node: NodeId
    ballot: Ballot
    slot: int
    vote: Ballot
    value: bytes | None


class Voted(NamedTuple):
    """2b: an acceptor voted."""

    node: NodeId
    ballot: Ballot
    slot: int
    value: bytes


class Asked(NamedTuple):
    """2a: a ballot's coordinator asked for votes."""

    ballot: Ballot
    slot: int
    value: bytes


class Opened(NamedTuple):
    """Phase 1 of a ballot is done: it is free from a slot on."""

    ballot: Ballot
    first: int


class Learned(NamedTuple):
    """An acceptor keeps what was chosen in the place of its vote for something else."""

    node: NodeId
    slot: int
    ballot: Ballot
    value: bytes


class Compacted(NamedTuple):
    """An acceptor has a snapshot, of its own or installed, in the place of slots."""

    node: NodeId
    slot: int


Fact: TypeAlias = Promised | Reported | Voted | Asked | Opened | Learned | Compacted


def text(value: bytes | None) -> str:
    """A value in words: its command's name, or that it is a no-op, or nothing."""
    if value is None:
        return "nothing"
    return take_value(value).payload.decode(errors="replace") if value else "no-op"


class Known:
    """The facts of one state, sorted.

    Attributes:
        promised, reported, voted, asked, opened, learned, compacted: the facts of each kind.
    """

    __slots__ = ("_records", "asked", "compacted", "learned", "opened", "promised", "reported", "voted")

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.promised: list[Promised] = []
        self.reported: list[Reported] = []
        self.voted: list[Voted] = []
        self.asked: list[Asked] = []
        self.opened: list[Opened] = []
        self.learned: list[Learned] = []
        self.compacted: list[Compacted] = []
        self._records: dict[NodeId, tuple[Ballot, dict[int, SlotRecord], int]] = {}
        for fact in facts:
            if isinstance(fact, Promised):
                self.promised.append(fact)
            elif isinstance(fact, Reported):
                self.reported.append(fact)
            elif isinstance(fact, Voted):
                self.voted.append(fact)
            elif isinstance(fact, Asked):
                self.asked.append(fact)
            elif isinstance(fact, Opened):
                self.opened.append(fact)
            elif isinstance(fact, Learned):
                self.learned.append(fact)
            else:
                self.compacted.append(fact)

    def records(self, node: NodeId) -> tuple[Ballot, dict[int, SlotRecord], int]:
        """What a node's disk holds: floor, slots, and up to where it has a snapshot."""
        found = self._records.get(node)
        if found is None:
            self._records[node] = found = self._made(node)
        return found

    def _made(self, node: NodeId) -> tuple[Ballot, dict[int, SlotRecord], int]:
        floor = max((each.ballot for each in self.promised if each.node == node), default=OPEN)
        compacted = max((each.slot for each in self.compacted if each.node == node), default=0)
        alone: dict[int, Ballot] = {}
        for report in self.reported:
            if report.node == node:
                alone[report.slot] = max(report.ballot, alone.get(report.slot, BOTTOM))
        slots: dict[int, SlotRecord] = {slot: SlotRecord(b, BOTTOM, None, False) for slot, b in alone.items()}
        for vote in self.voted:
            if vote.node == node:
                held = slots.get(vote.slot)
                if held is None or vote.ballot > held.ballot:
                    promised = alone.get(vote.slot, BOTTOM)
                    slots[vote.slot] = SlotRecord(promised, vote.ballot, vote.value, False)
        for each in self.learned:
            if each.node == node:
                promised = alone.get(each.slot, BOTTOM)
                slots[each.slot] = SlotRecord(promised, each.ballot, each.value, True)
        return floor, {slot: slots[slot] for slot in sorted(slots) if slot > compacted}, compacted

    def acceptor(self, make: type[LogAcceptor], rounds: Rounds, node: NodeId) -> LogAcceptor:
        """A node's acceptor, as it starts from its disk."""
        floor, slots, compacted = self.records(node)
        return make(rounds, floor, dict(slots), compacted)

    def votes(self, ballot: Ballot, slot: int) -> dict[NodeId, bytes]:
        """The votes at a ballot in a slot."""
        return {each.node: each.value for each in self.voted if each.ballot == ballot and each.slot == slot}

    def ballots(self, slot: int) -> Sequence[Ballot]:
        """The ballots at which anybody voted in a slot."""
        return sorted({each.ballot for each in self.voted if each.slot == slot})
