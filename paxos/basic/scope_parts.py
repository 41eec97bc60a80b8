"""The parts of the closed world: a real role in each, and what it can do next.

A *part* is a place in the world (acceptor 2, proposer 1, the learner); its *standing* is a value: the role
as it stands, with what the world keeps beside it.  A part says which *moves* a standing has: on its own
(begin a ballot, sync, start anew) and on a message.  A move calls one handler of the role, on a copy, so
that standings never change; it gives the new standing and what leaves.

Where roles restart, what they remember is what a disk holds.  An acceptor's answers wait in a queue with
the record that they report; a sync makes the oldest record durable and lets its answer go, and a start anew
loses the queue.  Which answers wait is read from the message table.  A proposer's disk holds the round it
used last, and a Prepare leaves only with its round there; the next life is given that as its floor.
"""

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from paxos.ballot import Ballot, NodeId
from paxos.basic.acceptor import Acceptor, AcceptorRecord
from paxos.basic.learner import Learner
from paxos.basic.messages import MESSAGES, Accept, Accepted, Nack, Prepare, Promise
from paxos.basic.proposer import Proposer, ProposerState
from paxos.errors import ProtocolBreach
from paxos.quorum import QuorumSystem

__all__ = [
    "BREACHES",
    "AcceptorPart",
    "AcceptorStanding",
    "Broken",
    "LearnerPart",
    "Move",
    "Part",
    "ProposerPart",
    "ProposerStanding",
    "RoleMessage",
    "say",
]

RoleMessage: TypeAlias = Prepare | Promise | Accept | Accepted | Nack

#: The invariants that a role itself may find broken; it names them at the start of what it raises.
BREACHES: Final = ("Agreement", "OneValuePerBallot")


class Broken(NamedTuple):
    """Where a role stands that raised: nowhere.

    Args:
        invariant: what it says is broken; "HandlersAnswer" when it names nothing.
        what: what it raised.
    """

    invariant: str
    what: str


class Move(NamedTuple):
    """One thing that a part can do.

    Args:
        what: in words.
        standing: where the part stands afterwards.
        sends: what leaves.
        submits: the value that a client submits in this move, or None.
    """

    what: str
    standing: Any
    sends: tuple[Any, ...] = ()
    submits: bytes | None = None


class Part:
    """A place in the world that a role stands in.

    Args:
        name: in words, as "acceptor 2".
        node: the node that it is a role of; 0 for a learner, which is anybody's.
    """

    def __init__(self, name: str, node: NodeId) -> None:
        self.name: str = name
        self.node: NodeId = node

    def say(self, message: Any) -> str:
        """A message in words, as short as can be."""
        return say(message)

    def key(self, standing: Any) -> Hashable:
        """Equal for standings that behave alike."""
        return standing if isinstance(standing, Broken) else self._key(standing)

    def on_its_own(self, standing: Any) -> Sequence[Move]:
        """What it can do without a message."""
        return () if isinstance(standing, Broken) else tuple(self._on_its_own(standing))

    def on_message(self, standing: Any, sender: NodeId, message: RoleMessage) -> Move | None:
        """What it does on a message; None when it does no more."""
        if isinstance(standing, Broken):
            return None
        try:
            return self._on_message(standing, sender, message)
        except Exception as error:  # whatever the role raises, the way there is wanted
            return Move(f"{self.name} gives up", _broken(error))

    def _key(self, standing: Any) -> Hashable:
        raise NotImplementedError("a part defines _key()")

    def _on_its_own(self, standing: Any) -> Iterable[Move]:
        raise NotImplementedError("a part defines _on_its_own()")

    def _on_message(self, standing: Any, sender: NodeId, message: RoleMessage) -> Move | None:
        raise NotImplementedError("a part defines _on_message()")


def _broken(error: Exception) -> Broken:
    text = str(error)
    name = text.partition(":")[0]
    if isinstance(error, ProtocolBreach) and name in BREACHES:
        return Broken(name, text.partition(": ")[2])
    return Broken("HandlersAnswer", f"{type(error).__name__}: {text}")


# --- acceptors --------------------------------------------------------------------------------------------


class AcceptorStanding(NamedTuple):
    """An acceptor, and its disk where it has one.

    Args:
        acceptor: the role.
        disk: the record that a start anew begins with; None for an empty disk.
        held: what waits for the disk, oldest first: a record, the answer that reports it, and the answer's
            class, by which answers with equal fields are told apart.
    """

    acceptor: Acceptor
    disk: AcceptorRecord | None = None
    held: tuple[tuple[AcceptorRecord, RoleMessage, type], ...] = ()

    @property
    def record(self) -> AcceptorRecord:
        """All that the acceptor remembers, taken from itself."""
        acceptor = self.acceptor
        return AcceptorRecord(acceptor.promised, acceptor.accepted_ballot, acceptor.accepted_value)


class AcceptorPart(Part):
    """An acceptor.

    Args:
        node: its node.
        make: what makes one, from a decree and a record.
        window: how many answers can wait for its disk at once, before it takes in no more that would; 0 for
            an acceptor that never restarts, where the disk makes no difference.
        waits: which answers wait for the disk.
    """

    def __init__(
        self,
        node: NodeId,
        make: type[Acceptor],
        window: int,
        waits: Callable[[RoleMessage], bool] = MESSAGES.reports,
    ) -> None:
        super().__init__(f"acceptor {node}", node)
        self._make = make
        self._window = window
        self._waits = waits

    def start(self) -> AcceptorStanding:
        """An acceptor that is new."""
        return AcceptorStanding(self._make())

    def _key(self, standing: AcceptorStanding) -> Hashable:
        return (standing.record, standing.disk, standing.held)

    def _on_its_own(self, standing: AcceptorStanding) -> Iterator[Move]:
        if not self._window:
            return
        acceptor, disk, held = standing
        if held:
            record, answer, _ = held[0]
            what = f"{self.name}'s disk has come so far: {say(answer)} leaves"
            yield Move(what, AcceptorStanding(acceptor, record, held[1:]), (answer,))
        again = AcceptorStanding(self._make(acceptor.decree, disk), disk)
        yield Move(f"{self.name} crashes and starts anew, standing at {again.acceptor.promised}", again)

    def _on_message(self, standing: AcceptorStanding, sender: NodeId, message: RoleMessage) -> Move | None:
        acceptor, disk, held = standing
        acceptor = copy.copy(acceptor)
        answer = acceptor.receive(sender, message)  # type: ignore[arg-type]
        what = f"{self.name} takes in {say(message)}: {say(answer)}"
        if not self._window or not self._waits(answer):
            return Move(what, AcceptorStanding(acceptor, disk, held), (answer,))
        # The same again waits once: it leaves with the first.
        entry = (acceptor.record(), answer, answer.__class__)
        if entry in held or len(held) == self._window:
            return None
        held = (*held, entry)
        return Move(f"{what}, waiting for the disk", AcceptorStanding(acceptor, disk, held))


# --- proposers --------------------------------------------------------------------------------------------


class ProposerStanding(NamedTuple):
    """A proposer, and the highest round its disk says it used."""

    proposer: Proposer
    used: int = 0


class ProposerPart(Part):
    """A proposer.

    Args:
        name: in words.
        node: its node.
        make: what makes one, as `Proposer` does.
        quorums: the quorum system.
        floor: the round that its first ballot is above.
        in_scope: whether the world has room for a ballot.
        values: the values that a start anew may be asked to propose; empty for one that never restarts.
        repeats: whether it asks again while it waits for answers.
    """

    def __init__(
        self,
        name: str,
        node: NodeId,
        make: type[Proposer],
        quorums: QuorumSystem,
        floor: int,
        in_scope: Callable[[Ballot], bool],
        values: Sequence[bytes] = (),
        repeats: bool = False,
    ) -> None:
        super().__init__(name, node)
        self._make = make
        self._quorums = quorums
        self._floor = floor
        self._in_scope = in_scope
        self._values = tuple(values)
        self._repeats = repeats

    def start(self, value: bytes) -> ProposerStanding:
        """A proposer that is new, with a value of its own."""
        return self._life(value, self._floor)

    def _life(self, value: bytes, used: int) -> ProposerStanding:
        # Above every ballot of that round, whoever's: the rule that keeps a life's ballots its own.
        floor = Ballot(used, self._quorums.members[-1] + 1)
        return ProposerStanding(self._make(self.node, self._quorums, value, floor=floor), used)

    def _key(self, standing: ProposerStanding) -> Hashable:
        return (standing.proposer.fingerprint(), standing.used)

    def _on_its_own(self, standing: ProposerStanding) -> Iterator[Move]:
        proposer, used = standing
        if proposer.state in (ProposerState.IDLE, ProposerState.PREEMPTED):
            begun = proposer.clone()
            prepare = begun.prepare()
            if self._in_scope(prepare.ballot):
                what = f"{self.name} begins ballot {prepare.ballot}: {say(prepare)}"
                yield Move(what, ProposerStanding(begun, prepare.ballot.round), (prepare,))
        question = proposer.question
        if self._repeats and question is not None:
            yield Move(f"{self.name} asks again: {say(question)}", standing, (question,))
        if proposer.state is not ProposerState.IDLE:
            for value in self._values:
                what = f"{self.name} crashes and starts anew above round {used}, asked for {_text(value)}"
                yield Move(what, self._life(value, used), submits=value)

    def _on_message(self, standing: ProposerStanding, sender: NodeId, message: RoleMessage) -> Move:
        proposer = standing.proposer.clone()
        question = proposer.receive(sender, message)  # type: ignore[arg-type]
        what = f"{self.name} takes in {say(message)} from acceptor {sender}"
        standing = ProposerStanding(proposer, standing.used)
        if question is None:
            return Move(what, standing)
        return Move(f"{what}: {say(question)}", standing, (question,))


# --- learners ---------------------------------------------------------------------------------------------


class LearnerPart(Part):
    """A learner; its standing is the learner itself.

    Args:
        make: what makes one, as `Learner` does.
        quorums: the quorum system.
    """

    def __init__(self, make: type[Learner], quorums: QuorumSystem) -> None:
        super().__init__("the learner", 0)
        self._make = make
        self._quorums = quorums

    def start(self) -> Learner:
        """A learner that knows nothing."""
        return self._make(self._quorums)

    def _key(self, standing: Learner) -> Hashable:
        return standing.fingerprint()

    def _on_its_own(self, standing: Learner) -> tuple[Move, ...]:
        return ()

    def _on_message(self, standing: Learner, sender: NodeId, message: RoleMessage) -> Move:
        learner = standing.clone()
        decision = learner.receive(sender, message)  # type: ignore[arg-type]
        what = f"{self.name} takes in {say(message)} from acceptor {sender}"
        if decision is not None:
            what = f"{what} and learns {_text(decision.value)}"
        return Move(what, learner)


# --- in words ---------------------------------------------------------------------------------------------


def say(message: RoleMessage) -> str:
    """A message in words, as short as can be."""
    if isinstance(message, Promise):
        vote = "no vote"
        if message.accepted_value is not None:
            vote = f"voted {_text(message.accepted_value)} at {message.accepted_ballot}"
        return f"Promise {message.ballot} ({vote})"
    if isinstance(message, Accept | Accepted):
        return f"{type(message).__name__} {message.ballot} {_text(message.value)}"
    if isinstance(message, Nack):
        return f"Nack {message.ballot} (promised {message.promised})"
    return f"{type(message).__name__} {message.ballot}"


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
