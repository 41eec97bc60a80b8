"""The proposer of Multi-Paxos: how a node becomes leader, and how a leader gets values chosen.

A *candidate* runs phase 1, once for the whole log: it asks a phase-1 quorum for their votes from the first
slot on that it does not know to be chosen. An acceptor's answer comes in pages and counts when the last has
come. From a quorum of them follows what the new leader owes: in every slot that was reported the value of
the highest ballot, in every gap below the highest of them a no-op, and nothing in slots that somebody
compacted, since those are chosen.

A *leader* runs phase 2 only, for many slots at a time. First it pays what it owes, in order; new commands
go above. It counts votes, and its commit index is the end of the slots it knows to be chosen without a gap:
those below its *floor*, which phase 1 told of, and those it counted itself. Nothing else may raise that
index, for it is sent out at this ballot, and a follower takes it to say that what this leader proposed was
chosen.

Source: Lamport, *Paxos Made Simple* (2001), section 3; phase quorums as in Howard, Malkhi, Spiegelman,
*Flexible Paxos* (2016).
"""

from collections import deque
from typing import Final, NamedTuple, Self

from multipaxos.context import NEVER_S
from multipaxos.messages import Accept, Prepare, Promise
from paxos.ballot import Ballot, NodeId
from paxos.basic.values import NOP_VALUE
from paxos.command import Command
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Candidate", "Debts", "Flight", "Leader", "Peer"]

_PHASE_1: Final = Phase.ONE
_PHASE_2: Final = Phase.TWO
# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


class Debts(NamedTuple):
    """What a new leader owes: what follows from a phase-1 quorum's promises.

    Args:
        floor: every slot up to this one is chosen; nothing is proposed there.
        values: what to propose in the slots right above, in order, before anything else.
        gaps: how many of them are no-ops for slots that nobody reported.
        source: who compacted up to the floor; None if the candidate itself knows all that is below.
    """

    floor: int
    values: tuple[bytes, ...]
    gaps: int
    source: NodeId | None


class Candidate:
    """Phase 1 of one ballot.

    Args:
        ballot: its ballot, of a round that is durably reserved.
        first: the first slot that it does not know to be chosen.
        quorums: the quorum system of the cluster.

    Attributes:
        repeat_at_s: when to ask again; `delay_s` after that.
        sent: whether the question has left; until then it waits for the disk.
    """

    __slots__ = (
        "_best",
        "_compacted",
        "_expected",
        "_pages",
        "_promised",
        "_quorums",
        "_source",
        "ballot",
        "delay_s",
        "first",
        "repeat_at_s",
        "sent",
    )

    def __init__(self, ballot: Ballot, first: int, quorums: QuorumSystem) -> None:
        self.ballot: Ballot = ballot
        self.first: int = first
        self._quorums = quorums
        self._promised: set[NodeId] = set()
        self._expected: dict[NodeId, int] = {}
        self._pages: dict[NodeId, list[Promise]] = {}
        self._best: dict[int, tuple[Ballot, bytes]] = {}
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
            self._count(sender, page)
        return None

    def _count(self, sender: NodeId, page: Promise) -> None:
        best = self._best
        for slot, ballot, value in page.entries:
            known = best.get(slot)
            # The vote of the highest ballot among the promises binds.
            if known is None or ballot > known[0]:
                best[slot] = (ballot, value)
        if page.compacted > self._compacted:
            self._compacted = page.compacted
            self._source = sender

    @property
    def is_elected(self) -> bool:
        """Whether a phase-1 quorum has promised, all pages told."""
        return self._quorums.is_quorum(self._promised, _PHASE_1)

    def question(self, member: NodeId) -> Prepare | None:
        """What awaits an answer of this member; None when it has told all."""
        if member in self._promised:
            return None
        return Prepare(self.ballot, self._expected.get(member, self.first))

    def debts(self) -> Debts:
        """What follows from the promises of a quorum."""
        floor, best = self._compacted, self._best
        top = max(best, default=floor)
        values = tuple(best[slot][1] if slot in best else NOP_VALUE for slot in range(floor + 1, top + 1))
        gaps = sum(slot not in best for slot in range(floor + 1, top + 1))
        return Debts(floor, values, gaps, self._source)

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)(self.ballot, self.first, self._quorums)
        other._promised = set(self._promised)
        other._expected = dict(self._expected)
        other._pages = {node: list(pages) for node, pages in self._pages.items()}
        other._best = dict(self._best)
        other._compacted, other._source = self._compacted, self._source
        other.repeat_at_s, other.delay_s, other.sent = self.repeat_at_s, self.delay_s, self.sent
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        pages = frozenset((node, tuple(pages)) for node, pages in self._pages.items())
        return (
            self.ballot,
            self.first,
            frozenset(self._promised),
            frozenset(self._expected.items()),
            pages,
            frozenset(self._best.items()),
            self._compacted,
            self.sent,
        )

    def __repr__(self) -> str:
        return f"<Candidate at {self.ballot}, promised by {sorted(self._promised)}>"


class Flight:
    """A slot that was proposed and is not below the commit index yet.

    Attributes:
        value: what was proposed.
        command: the command that it stands for, when it was submitted here; None for what was owed.
        voters: who voted for it; None once it is chosen.
    """

    __slots__ = ("command", "value", "voters")

    def __init__(self, value: bytes, command: Command | None) -> None:
        self.value: bytes = value
        self.command: Command | None = command
        self.voters: set[NodeId] | None = set()


class Peer:
    """What a leader knows of another member.

    Attributes:
        heard_s: when it last answered at this ballot.
        sequence: the number of the last heartbeat it answered.
        committed: how far it is.
        repeat_at_s: when to repeat what it has not voted on; `delay_s` after that.
        sent: slots up to this one were sent to it before the last repetition was due.
    """

    __slots__ = ("committed", "delay_s", "heard_s", "repeat_at_s", "sent", "sequence")

    def __init__(self, now_s: float, delay_s: float) -> None:
        self.heard_s: float = now_s
        self.sequence: int = 0
        self.committed: int = 0
        self.delay_s: float = delay_s
        self.repeat_at_s: float = now_s + delay_s
        self.sent: int = 0

    def clone(self) -> "Peer":
        """An independent copy."""
        other = Peer(self.heard_s, self.delay_s)
        for name in ("sequence", "committed", "repeat_at_s", "sent"):
            setattr(other, name, getattr(self, name))
        return other


class Leader:
    """Phase 2 of one ballot, for many slots at a time.

    Args:
        ballot: its ballot, promised by a phase-1 quorum.
        debts: what follows from those promises.
        quorums: the quorum system of the cluster.
        peers: the other members.

    Attributes:
        committed: the commit index: every slot up to this one is chosen, at this ballot or below.
        last: the last slot proposed or below the floor.
        floor: what was chosen before; nothing is proposed at or below it.
        debts: values still to be proposed, in order, before any new command.
        owed: the last slot that phase 1 reported or left as a gap: reads wait until it is committed.
        flights: the slots from `committed` + 1 to `last`.
        flight_bytes: what they hold.
        sequence: the number of the last heartbeat that asked for an answer.
        told: the highest commit index that was sent to all.
        heir: to whom the leadership is being handed; None for nobody.
    """

    __slots__ = (
        "debts",
        "_quorums",
        "ballot",
        "committed",
        "flight_bytes",
        "flights",
        "floor",
        "heartbeat_at_s",
        "heir",
        "heir_until_s",
        "last",
        "node",
        "owed",
        "peers",
        "sequence",
        "source",
        "told",
    )

    def __init__(
        self, ballot: Ballot, debts: Debts, quorums: QuorumSystem, peers: dict[NodeId, Peer]
    ) -> None:
        self.ballot: Ballot = ballot
        self.node: NodeId = ballot.node
        self.floor: int = debts.floor
        self.source: NodeId | None = debts.source
        self.owed: int = debts.floor + len(debts.values)
        self.committed: int = debts.floor
        self.last: int = debts.floor
        self.flights: dict[int, Flight] = {}
        self.flight_bytes: int = 0
        self.peers: dict[NodeId, Peer] = peers
        self.sequence: int = 0
        self.told: int = 0
        self.heartbeat_at_s: float = 0.0
        self.heir: NodeId | None = None
        self.heir_until_s: float = NEVER_S
        self.debts: deque[bytes] = deque(debts.values)
        self._quorums = quorums

    def propose(self, value: bytes, command: Command | None) -> Accept:
        """2a for the next slot: what to send to every acceptor and learner."""
        self.last = slot = self.last + 1
        self.flights[slot] = Flight(value, command)
        self.flight_bytes += len(value)
        self.told = committed = self.committed
        return _new(Accept, (self.ballot, slot, value, committed))

    def count(self, sender: NodeId, first: int, last: int) -> bool:
        """Count the votes of a member in these slots; whether the commit index may rise.

        Slots that are not in flight are passed over: the run may say anything.
        """
        flights, quorums = self.flights, self._quorums
        committed = self.committed
        if first <= committed:
            first = committed + 1
        if last > self.last:
            last = self.last
        for slot in range(first, last + 1):
            flight = flights[slot]
            voters = flight.voters
            if voters is None:
                continue
            voters.add(sender)
            if quorums.is_quorum(voters, _PHASE_2):
                flight.voters = None
        head = flights.get(committed + 1)
        return head is not None and head.voters is None

    def take_committed(self) -> list[tuple[int, Flight]]:
        """The slots right above the commit index that are chosen; the index is raised over them."""
        flights, slot = self.flights, self.committed
        taken: list[tuple[int, Flight]] = []
        size = 0
        while True:
            flight = flights.get(slot + 1)
            if flight is None or flight.voters is not None:
                break
            slot += 1
            del flights[slot]
            size += len(flight.value)
            taken.append((slot, flight))
        self.committed = slot
        self.flight_bytes -= size
        return taken

    def unheard(self, peer: NodeId, upto: int, most: int, most_bytes: int) -> list[Accept]:
        """Questions that a peer has not answered, of slots up to `upto`, in order: so many, or so many bytes.

        At least one, if there is any.
        """
        accepts: list[Accept] = []
        size = 0
        for slot in range(self.committed + 1, min(upto, self.last) + 1):
            flight = self.flights[slot]
            if flight.voters is not None and peer not in flight.voters:
                accepts.append(_new(Accept, (self.ballot, slot, flight.value, self.committed)))
                size += len(flight.value)
                if len(accepts) >= most or size >= most_bytes:
                    break
        return accepts

    def is_confirmed(self, sequence: int) -> bool:
        """Whether a phase-2 quorum, this node included, answered the heartbeat of this number or a later."""
        nodes = {node for node, peer in self.peers.items() if peer.sequence >= sequence}
        nodes.add(self.node)
        return self._quorums.is_quorum(nodes, _PHASE_2)

    def is_heard(self, since_s: float) -> bool:
        """Whether a phase-2 quorum, this node included, was heard of since then."""
        nodes = {node for node, peer in self.peers.items() if peer.heard_s >= since_s}
        nodes.add(self.node)
        return self._quorums.is_quorum(nodes, _PHASE_2)

    def clone(self) -> Self:
        """An independent copy."""
        debts = Debts(self.floor, tuple(self.debts), 0, self.source)
        peers = {node: peer.clone() for node, peer in self.peers.items()}
        other = type(self)(self.ballot, debts, self._quorums, peers)
        for slot, flight in self.flights.items():
            other.flights[slot] = copied = Flight(flight.value, flight.command)
            copied.voters = None if flight.voters is None else set(flight.voters)
        for name in ("owed", "committed", "last", "flight_bytes", "sequence", "told", "heartbeat_at_s"):
            setattr(other, name, getattr(self, name))
        other.heir, other.heir_until_s = self.heir, self.heir_until_s
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        flights = tuple(
            (slot, flight.value, flight.command, None if flight.voters is None else frozenset(flight.voters))
            for slot, flight in sorted(self.flights.items())
        )
        peers = tuple((node, peer.sequence, peer.committed) for node, peer in sorted(self.peers.items()))
        scalars = (self.committed, self.last, self.floor, self.owed, self.sequence, self.told, self.heir)
        return (self.ballot, scalars, flights, peers, tuple(self.debts))

    def __repr__(self) -> str:
        return f"<Leader at {self.ballot}, {self.committed} of {self.last} slots committed>"
