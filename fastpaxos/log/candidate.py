"""Phase 1 for all slots at once: how a node comes to coordinate a round of its own.

A candidate asks a phase-1 quorum for their votes from the first slot on that it does not know to be chosen.
An acceptor's answer comes in pages and counts when the last has come. From a quorum of them follows what
the new coordinator owes: in every slot that was reported the value that Fast Paxos's rule picks, in every
gap below the highest of them a no-op, and nothing in slots that somebody compacted, since those are chosen.
The slots above are free: there a fast ballot may be opened to all.

Source: Lamport, *Fast Paxos* (2006), section 3.1; for many slots at once *Paxos Made Simple* (2001),
section 3.
"""

from typing import Final, NamedTuple, Self

from fastpaxos.choosing import Freedom, Report, pick
from fastpaxos.log.context import NEVER_S
from fastpaxos.log.messages import Prepare, Promise
from fastpaxos.rounds import Rounds
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.values import NOP_VALUE
from paxos.errors import ProtocolBreach
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Candidate", "Debts"]

_ONE: Final = Phase.ONE
_SILENT: Final = (BOTTOM, None)
#: More slots than this are never open at once, however wide the window.
_MOST_GAPS: Final = 4 * 65_536


class Debts(NamedTuple):
    """What a new coordinator owes: what follows from a phase-1 quorum's promises.

    Args:
        floor: every slot up to this one is chosen; nothing is proposed there.
        values: what to propose in the slots right above, in order.
        gaps: how many of them are no-ops for slots that nobody reported.
        source: who compacted up to the floor; None if the candidate itself knows all that is below.
    """

    floor: int
    values: tuple[bytes, ...]
    gaps: int
    source: NodeId | None

    @property
    def first(self) -> int:
        """The first slot in which nothing is owed, nor in any above."""
        return self.floor + len(self.values) + 1


class Candidate:
    """Phase 1 of one round.

    Args:
        ballot: with which the round begins; of a round that is durably reserved.
        first: the first slot that it does not know to be chosen.
        quorums: the quorum system of the cluster.
        rounds: which ballots are fast.

    Attributes:
        repeat_at_s: when to ask again; `delay_s` after that.
        sent: whether the question has left; until then it waits for the disk.
    """

    __slots__ = (
        "_compacted",
        "_expected",
        "_pages",
        "_promised",
        "_quorums",
        "_reports",
        "_rounds",
        "_source",
        "ballot",
        "delay_s",
        "first",
        "repeat_at_s",
        "sent",
    )

    def __init__(self, ballot: Ballot, first: int, quorums: QuorumSystem, rounds: Rounds) -> None:
        self.ballot: Ballot = ballot
        self.first: int = first
        self._quorums = quorums
        self._rounds = rounds
        self._promised: set[NodeId] = set()
        self._expected: dict[NodeId, int] = {}
        self._pages: dict[NodeId, list[Promise]] = {}
        # By slot and node, of those whose promise is whole.
        self._reports: dict[int, dict[NodeId, Report[bytes]]] = {}
        self._compacted = first - 1
        self._source: NodeId | None = None
        self.repeat_at_s: float = NEVER_S
        self.delay_s: float = 0.0
        self.sent: bool = False

    def on_promise(self, sender: NodeId, message: Promise) -> Prepare | None:
        """Take in one page of an acceptor's answer; what to ask it next, or None.

        Pages of other ballots, repeated pages, pages out of order and those of non-members change nothing.
        """
        if (
            message.ballot != self.ballot
            or sender not in self._quorums.members
            or sender in self._promised
            or message.first != self._expected.get(sender, self.first)
        ):
            return None
        pages = self._pages.setdefault(sender, [])
        pages.append(message)
        if message.following:
            self._expected[sender] = message.following
            return Prepare(self.ballot, message.following)
        # All pages have come, and the acceptor stood at this ballot for each: now the promise counts.
        self._promised.add(sender)
        for page in self._pages.pop(sender):
            for slot, ballot, value in page.entries:
                self._reports.setdefault(slot, {})[sender] = (ballot, value)
            if page.compacted > self._compacted:
                self._compacted = page.compacted
                self._source = sender
        return None

    @property
    def is_elected(self) -> bool:
        """Whether a phase-1 quorum has promised, all pages told."""
        return self._quorums.is_quorum(self._promised, _ONE)

    def question(self, member: NodeId) -> Prepare | None:
        """What awaits an answer of this member; None when it has told all."""
        if member in self._promised:
            return None
        return Prepare(self.ballot, self._expected.get(member, self.first))

    def debts(self) -> Debts:
        """What follows from the promises of a quorum.

        Raises:
            ProtocolBreach: as `fastpaxos.choosing.pick`; or a slot was reported so far above all others that
                nobody honest voted there.
        """
        floor, reports = self._compacted, self._reports
        values: list[bytes] = []
        gaps = 0
        for slot in range(floor + 1, max(reports, default=floor) + 1):
            told = reports.get(slot, {})
            picked = pick(
                {node: told.get(node, _SILENT) for node in self._promised}, self._quorums, self._rounds
            )
            if picked is None or picked.freedom is Freedom.FREE or picked.value is None:
                values.append(NOP_VALUE)
                gaps += 1
                if gaps > _MOST_GAPS:
                    raise ProtocolBreach(
                        f"phase 1 of {self.ballot} was told of a vote in slot {max(reports)}, and of none in "
                        f"{gaps} slots below; a member is not what it says"
                    )
            else:
                values.append(picked.value)
        return Debts(floor, tuple(values), gaps, self._source)

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)(self.ballot, self.first, self._quorums, self._rounds)
        other._promised = set(self._promised)
        other._expected = dict(self._expected)
        other._pages = {node: list(pages) for node, pages in self._pages.items()}
        other._reports = {slot: dict(told) for slot, told in self._reports.items()}
        other._compacted, other._source = self._compacted, self._source
        other.repeat_at_s, other.delay_s, other.sent = self.repeat_at_s, self.delay_s, self.sent
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        pages = frozenset((node, tuple(pages)) for node, pages in self._pages.items())
        reports = frozenset((slot, frozenset(told.items())) for slot, told in self._reports.items())
        promised, expected = frozenset(self._promised), frozenset(self._expected.items())
        return (self.ballot, self.first, promised, expected, pages, reports, self._compacted, self.sent)

    def __repr__(self) -> str:
        return f"<Candidate at {self.ballot}, promised by {sorted(self._promised)}>"
