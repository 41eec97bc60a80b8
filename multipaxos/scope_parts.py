"""The parts of Multi-Paxos's closed world: real acceptors of a log, and real candidates that become leaders.

As in `paxos.basic.scope_parts` a part has standings, which are values, and moves, each of which calls one
handler of the role on a copy. There is a leader part for each ballot; it never goes on to another, so that a
leader which crashes is one that does nothing any more. What a leader counts and what followers commit sends
nothing that changes an acceptor, so it is no part of a state: see `multipaxos.scope_invariants`.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from multipaxos.acceptor import LogAcceptor, LogRecord, PageLimits
from multipaxos.messages import MESSAGES, Accept, Accepted, Nack, Prepare, Promise
from multipaxos.proposer import Candidate, Leader
from paxos.ballot import Ballot, NodeId
from paxos.basic.scope_parts import Move, Part
from paxos.basic.values import pack_value, take_value
from paxos.command import NOTHING, Command, RequestId
from paxos.quorum import QuorumSystem

__all__ = ["FrozenRecord", "LeaderPart", "LogAcceptorPart", "LogAcceptorStanding", "say", "text", "value_of"]


class FrozenRecord(NamedTuple):
    """A `LogRecord` that can be told apart from others: its votes are (slot, ballot, value), slots rising."""

    promised: Ballot
    votes: tuple[tuple[int, Ballot, bytes], ...]
    compacted: int

    def vote(self, slot: int) -> tuple[Ballot, bytes] | None:
        """The vote in a slot."""
        return next(((ballot, value) for at, ballot, value in self.votes if at == slot), None)


def frozen(record: LogRecord) -> FrozenRecord:
    """A record as a value."""
    promised, votes, compacted = record
    return FrozenRecord(promised, tuple((slot, *vote) for slot, vote in sorted(votes.items())), compacted)


def _thawed(record: FrozenRecord) -> LogRecord:
    votes = {slot: (ballot, value) for slot, ballot, value in record.votes}
    return LogRecord(record.promised, votes, record.compacted)


def value_of(name: str) -> bytes:
    """The value that stands for a command of this name."""
    return pack_value(Command(RequestId(bytes(16), 0, 0, bytes(8)), NOTHING, name.encode()))


def text(value: bytes) -> str:
    """A value in words: its command's name, or that it is a no-op."""
    return take_value(value).payload.decode(errors="replace") if value else "no-op"


def say(message: Any) -> str:
    """A message in words, as short as can be."""
    if isinstance(message, Prepare):
        return f"Prepare {message.ballot} from slot {message.first} on"
    if isinstance(message, Promise):
        told = ", ".join(f"slot {slot}: {text(value)} at {ballot}" for slot, ballot, value in message.entries)
        more = f"; more from slot {message.following} on" if message.following else ""
        return f"Promise {message.ballot} ({told or 'no vote'}{more})"
    if isinstance(message, Accept):
        return f"Accept {message.ballot} slot {message.slot} {text(message.value)}"
    if isinstance(message, Accepted):
        return f"Accepted {message.ballot} slot {message.runs[0][0]}"
    return f"{type(message).__name__} {message.ballot}"


# --- acceptors --------------------------------------------------------------------------------------------


class LogAcceptorStanding(NamedTuple):
    """An acceptor, and its disk where it has one.

    Args:
        acceptor: the role.
        disk: what a start anew begins with; None for an empty disk.
        held: what waits for the disk, oldest first: a record, and the answer that reports it.
    """

    acceptor: LogAcceptor
    disk: FrozenRecord | None = None
    held: tuple[tuple[FrozenRecord, Any], ...] = ()

    @property
    def record(self) -> FrozenRecord:
        """All that the acceptor remembers."""
        return frozen(self.acceptor.record())


class LogAcceptorPart(Part):
    """An acceptor of a log.

    Args:
        node: its node.
        make: what makes one, as `LogAcceptor` does.
        pages: of a promise.
        window: how many answers can wait for its disk at once; 0 for an acceptor that never restarts.
        waits: which answers wait for the disk.
    """

    def __init__(
        self,
        node: NodeId,
        make: type[LogAcceptor],
        pages: PageLimits,
        window: int,
        waits: Callable[[Any], bool] = MESSAGES.reports,
    ) -> None:
        super().__init__(f"acceptor {node}", node)
        self._make = make
        self._pages = pages
        self._window = window
        self._waits = waits

    def say(self, message: Any) -> str:
        """A message in words."""
        return say(message)

    def start(self) -> LogAcceptorStanding:
        """An acceptor that is new."""
        return LogAcceptorStanding(self._make(None, self._pages))

    def _key(self, standing: LogAcceptorStanding) -> Hashable:
        return (standing.record, standing.acceptor.voted, standing.disk, standing.held)

    def _on_its_own(self, standing: LogAcceptorStanding) -> Iterator[Move]:
        if not self._window:
            return
        acceptor, disk, held = standing
        if held:
            record, answer = held[0]
            what = f"{self.name}'s disk has come so far: {say(answer)} leaves"
            yield Move(what, LogAcceptorStanding(acceptor, record, held[1:]), (answer,))
        again = self._make(_thawed(disk) if disk is not None else None, self._pages)
        what = f"{self.name} crashes and starts anew, standing at {again.promised}"
        yield Move(what, LogAcceptorStanding(again, disk))

    def _on_message(self, standing: LogAcceptorStanding, sender: NodeId, message: Any) -> Move | None:
        acceptor, disk, held = standing
        acceptor = acceptor.clone()
        answer = acceptor.receive(sender, message)
        what = f"{self.name} takes in {say(message)}: {say(answer) if answer is not None else 'silence'}"
        if answer is None or isinstance(answer, Nack):
            return Move(what, LogAcceptorStanding(acceptor, disk, held))
        if not self._window or not self._waits(answer):
            return Move(what, LogAcceptorStanding(acceptor, disk, held), (answer,))
        # The same again waits once: it leaves with the first.
        entry = (frozen(acceptor.record()), answer)
        if entry in held or len(held) == self._window:
            return None
        standing = LogAcceptorStanding(acceptor, disk, (*held, entry))
        return Move(f"{what}, waiting for the disk", standing)


# --- leaders ----------------------------------------------------------------------------------------------


class LeaderPart(Part):
    """The candidate of one ballot, which becomes its leader; its standing is that role, or None before.

    Args:
        ballot: which.
        quorums: the quorum system.
        values: what clients may ask for.
        slots: how many it may propose in.
        candidate: what candidates are made of.
        leader: what leaders are made of.
        repeats: whether it asks again while it waits for answers.
    """

    def __init__(
        self,
        ballot: Ballot,
        quorums: QuorumSystem,
        values: Sequence[bytes],
        slots: int,
        candidate: type[Candidate],
        leader: type[Leader],
        repeats: bool,
    ) -> None:
        super().__init__(f"node {ballot.node}", ballot.node)
        self.ballot: Ballot = ballot
        self._quorums = quorums
        self._values = tuple(values)
        self._slots = slots
        self._make_candidate = candidate
        self._make_leader = leader
        self._repeats = repeats

    def say(self, message: Any) -> str:
        """A message in words."""
        return say(message)

    def _key(self, standing: Candidate | Leader | None) -> Hashable:
        return None if standing is None else (type(standing), standing.fingerprint())

    def _on_its_own(self, standing: Candidate | Leader | None) -> Iterator[Move]:
        if standing is None:
            question = Prepare(self.ballot, 1)
            what = f"{self.name} stands for election: {say(question)}"
            yield Move(what, self._make_candidate(self.ballot, 1, self._quorums), (question,))
        elif isinstance(standing, Candidate):
            if self._repeats:
                for again in dict.fromkeys(map(standing.question, self._quorums.members)):
                    if again is not None:
                        yield Move(f"{self.name} asks again: {say(again)}", standing, (again,))
        else:
            if standing.last < self._slots:
                for value in self._values:
                    leader = standing.clone()
                    accept = leader.propose(value, None)
                    yield Move(f"{self.name} is asked for {text(value)}: {say(accept)}", leader, (accept,))
            if self._repeats:
                for accept in standing.unheard(0, self._slots, self._slots, 1 << 20):
                    yield Move(f"{self.name} asks again: {say(accept)}", standing, (accept,))

    def _on_message(self, standing: Candidate | Leader | None, sender: NodeId, message: Any) -> Move | None:
        if not isinstance(standing, Candidate) or not isinstance(message, Promise):
            return None
        candidate = standing.clone()
        question = candidate.on_promise(sender, message)
        what = f"{self.name} takes in {say(message)} from acceptor {sender}"
        if question is not None:
            return Move(f"{what}: {say(question)}", candidate, (question,))
        if not candidate.is_elected:
            return Move(what, candidate)
        leader = self._make_leader(self.ballot, candidate.debts(), self._quorums, {})
        accepts = []
        while leader.debts:  # what is owed goes out before anything else can happen
            accepts.append(leader.propose(leader.debts.popleft(), None))
        owed = "; ".join(map(say, accepts)) or "owes nothing"
        return Move(f"{what} and leads: {owed}", leader, tuple(accepts))
