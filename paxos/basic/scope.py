"""The closed world of Basic Paxos: real acceptors, proposers and learners, and nothing else.

The world has a few acceptors and proposers, a bounded number of ballots and a few values.  One action is
one call of one handler, of the roles that everything else is built from: no copy of the rules is made here.
Every order in which messages can be delivered is possible, so an exhaustive search of this world sees
everything that these roles can do with so many ballots.

The network is one of two.  Without the faults "loss" and "duplication" a message that left stays
deliverable, in any order and any number of times, as in the specifications: that a message is lost is that
it is never delivered.  With either of them every copy is under way by itself, of which there is room for a
few; it is taken out when it is delivered, and can vanish ("loss") or be delivered and stay under way
("duplication": any number of copies, one after the other).  Proposers ask again.  With "restart" acceptors
and proposers crash and start anew from their disks.

A learner sends nothing, so it is no part of a state: every state is judged together with everything that
the real learner can have come to by the votes that left so far, in any order, each any number of times.

**A state is one int**, to be quick and small; see `paxos.basic.scope_world`, which knows parts, messages and
faults, and nothing of what they mean.

**Projection.**  Ballot b of the specification is the code's ballot (1 + b // w, 1 + b % w), for w proposers.
What the specification knows of a state is which messages left, and for each acceptor what its *disk* holds:
without restarts that is what it remembers.  Where every ballot has a proposer of its own, over every
assignment of own values to them, the projections are exactly the reachable states of Lamport's Paxos module.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final

from paxos.ballot import BOTTOM, Ballot
from paxos.basic.acceptor import Acceptor, AcceptorRecord
from paxos.basic.learner import Learner
from paxos.basic.messages import MESSAGES, Accept, Accepted, Nack, Prepare, Promise
from paxos.basic.proposer import Proposer
from paxos.basic.scope_facts import FULL, WIDTH, Facts, Remembered, Sent, Submitted
from paxos.basic.scope_invariants import Judge
from paxos.basic.scope_parts import AcceptorPart, LearnerPart, Part, ProposerPart, RoleMessage
from paxos.basic.scope_specification import SpecState, why_not
from paxos.basic.scope_world import World, world_bits
from paxos.contract.scope import ScopeSettings
from paxos.errors import ConfigurationError
from paxos.quorum import Majority, QuorumSystem

__all__ = ["BasicScope"]

#: What TLC finds for Lamport's Paxos module without symmetry: by acceptors, ballots and values.
_GOLDEN: Final[Mapping[tuple[int, int, int], int]] = {(3, 2, 2): 3_921, (3, 3, 2): 185_369}
_VALUES: Final = (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h")


class BasicScope:
    """A closed world of Basic Paxos. It is a `paxos.contract.Scope` whose states are ints.

    Args:
        settings: how small it is, and what goes wrong.
        proposers: how many. None for one for each ballot, or, where they restart, for at most two, so that a
            new life finds a ballot of its own. With fewer proposers than ballots a proposer that is outbid
            goes on to its next.
        quorums: over acceptors 1, 2, ...; None for majorities.
        own_values: the assignments of own values to proposers in which the world may begin; None for all.
        nacks: whether acceptors' refusals are delivered; None for only where copies are under way. The
            specification knows none: without a further ballot to go on to they add states and no behaviour.
        acceptor: what acceptors are made of.
        proposer: what proposers are made of.
        learner: what learners are made of.
        waits: which answers of an acceptor wait for its disk.

    Raises:
        ConfigurationError: the quorums are over other acceptors, there are too many proposers, or slots.
    """

    def __init__(
        self,
        settings: ScopeSettings,
        *,
        proposers: int | None = None,
        quorums: QuorumSystem | None = None,
        own_values: Iterable[Sequence[bytes]] | None = None,
        nacks: bool | None = None,
        acceptor: type[Acceptor] = Acceptor,
        proposer: type[Proposer] = Proposer,
        learner: type[Learner] = Learner,
        waits: Callable[[RoleMessage], bool] = MESSAGES.reports,
    ) -> None:
        if settings.slots != 1:
            raise ConfigurationError(f"Basic Paxos has no slots: {settings.slots} of them make no world")
        self.settings: ScopeSettings = settings
        self.quorums: QuorumSystem = quorums or Majority(range(1, settings.acceptors + 1))
        if self.quorums.members != tuple(range(1, settings.acceptors + 1)):
            raise ConfigurationError(
                f"a scope's acceptors are 1..{settings.acceptors}, not those of {self.quorums.describe()}"
            )
        self.faults: frozenset[str] = settings.faults
        self.restarts: bool = "restart" in self.faults
        #: How many copies of messages can be under way at once; 0 where messages stay deliverable.
        self.in_flight: int = (
            0
            if self.faults.isdisjoint(("loss", "duplication"))
            else (settings.in_flight or settings.acceptors)
        )
        self.proposers: int = proposers or (min(2, settings.ballots) if self.restarts else settings.ballots)
        if self.proposers < settings.ballots and self.proposers > settings.acceptors:
            raise ConfigurationError(
                f"{self.proposers} proposers that share {settings.ballots} ballots need as many acceptors"
            )
        self.nacks: bool = bool(self.in_flight) if nacks is None else nacks
        self.values: tuple[bytes, ...] = _VALUES[: settings.values]
        everything = product(self.values, repeat=self.proposers)
        self._own_values = tuple(map(tuple, everything if own_values is None else own_values))
        self._is_complete = own_values is None
        self._round_size = min(self.proposers, settings.acceptors)
        parts: list[Part] = [
            AcceptorPart(node, acceptor, settings.unsynced if self.restarts else 0, waits)
            for node in self.quorums.members
        ]
        parts += [self._proposer_part(number, proposer) for number in range(self.proposers)]
        self.facts: Facts = Facts(world_bits(parts))
        self._world = World(
            parts,
            self.facts,
            self._audience,
            self._note,
            faults=self.faults,
            in_flight=self.in_flight,
            unsent=Nack,
            delivers_unsent=self.nacks,
        )
        self._judge = Judge(self.facts, self.quorums, parts, LearnerPart(learner, self.quorums))
        self._refine: Remembered[str | None] = Remembered(self._find_step_not_allowed)
        self._records: dict[AcceptorRecord, int] = {}
        self._record_of: list[dict[int, int]] = [{} for _ in self.quorums.members]
        acceptors = len(self.quorums.members)
        self._acceptor_bits = (1 << (acceptors * WIDTH)) - 1

    def _proposer_part(self, number: int, make: type[Proposer]) -> ProposerPart:
        members = self.quorums.members
        shared = self.proposers < self.settings.ballots
        name = f"proposer {number + 1}" if shared or self.restarts else f"proposer of ballot {number}"
        return ProposerPart(
            name,
            members[number % len(members)],
            make,
            self.quorums,
            number // len(members),
            lambda ballot: self.number_of(ballot) < self.settings.ballots,
            self.values if self.restarts else (),
            bool(self.in_flight),
        )

    def number_of(self, ballot: Ballot) -> int:
        """The specification's number of a ballot; -1 for BOTTOM."""
        return -1 if ballot.round < 0 else (ballot.round - 1) * self._round_size + ballot.node - 1

    # --- the scope ----------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is in it, in a line for people."""
        settings = self.settings
        faults = ", ".join(sorted(self.faults)) or "messages stay deliverable"
        return (
            f"Basic Paxos, {settings.acceptors} acceptors, {self.proposers} proposers, "
            f"ballots 0..{settings.ballots - 1}, {settings.values} values; {faults}"
        )

    @property
    def expected(self) -> int | None:
        """The number that TLC finds, where one is known and the world is the specification's."""
        settings = self.settings
        if (
            self.faults
            or not self._is_complete
            or self.proposers != settings.ballots
            or type(self.quorums) is not Majority
        ):
            return None
        return _GOLDEN.get((settings.acceptors, settings.ballots, settings.values))

    @property
    def invariants(self) -> Mapping[str, Callable[[int], str | None]]:
        """What must hold in every state, by name."""
        return self._judge.invariants

    def initial(self) -> Iterator[int]:
        """Nobody has done anything; the proposers' own values are assigned in every way."""
        acceptors = len(self.quorums.members)
        for values in self._own_values:
            standings: list[Any] = []
            for number, each in enumerate(self._world.parts):
                part: Any = each
                own = isinstance(part, ProposerPart)
                standings.append(part.start(values[number - acceptors]) if own else part.start())
            yield self._world.begin(standings, map(Submitted, values))

    def successors(self, state: int) -> list[tuple[str, int]]:
        """Each action that changes something: in words, and the state that it leads to."""
        return self._world.successors(state)

    def fingerprint(self, state: int) -> int:
        """The state itself: it is exact."""
        return state

    def project(self, state: int) -> int:
        """What the specification knows of it; `spec_state` spells it out."""
        if not self.restarts:
            return state & (self._acceptor_bits | self.facts.specified)
        projected = state & self.facts.specified
        for number, records in enumerate(self._record_of):
            projected |= records[(state >> (number * WIDTH)) & FULL] << (number * WIDTH)
        return projected

    def describe(self, before: int, action: object, after: int) -> str:
        """A step in words."""
        return str(action)

    def spec_state(self, projected: int) -> SpecState:
        """A projection, with the specification's own names."""
        records = list(self._records)
        bal, v_bal, val = [], [], []
        for number, _ in enumerate(self.quorums.members):
            at = (projected >> (number * WIDTH)) & FULL
            record = records[at if self.restarts else self._record_of[number][at]]
            bal.append(self.number_of(record.promised))
            v_bal.append(self.number_of(record.accepted_ballot))
            val.append(None if record.accepted_value is None else record.accepted_value.decode())
        msgs = frozenset(
            self._spec_message(fact) for _, fact in self.facts.of(projected & self.facts.specified)
        )
        return SpecState(msgs, tuple(bal), tuple(v_bal), tuple(val))

    def _spec_message(self, fact: Sent) -> tuple[object, ...]:
        message, node, number = fact.message, self._world.parts[fact.part].node, self.number_of
        if isinstance(message, Prepare):
            return ("1a", number(message.ballot))
        if isinstance(message, Promise):
            value = None if message.accepted_value is None else message.accepted_value.decode()
            return ("1b", node, number(message.ballot), number(message.accepted_ballot), value)
        if isinstance(message, Accept):
            return ("2a", number(message.ballot), message.value.decode())
        if isinstance(message, Accepted):
            return ("2b", node, number(message.ballot), message.value.decode())
        raise TypeError(f"the specification knows no {fact.kind.__name__}")

    def refine(self, before: int, after: int) -> str | None:
        """Why Lamport's module does not allow this step; None when it does, or sees no change."""
        return self._refine(self.project(before), self.project(after))

    def _find_step_not_allowed(self, before: int, after: int) -> str | None:
        if before == after:
            return None
        return why_not(self.spec_state(before), self.spec_state(after), self.quorums)

    # --- for the world --------------------------------------------------------------------------------------

    def _note(self, part: int, number: int, value: Any) -> None:
        """A part has a standing that it never had."""
        if isinstance(self._world.parts[part], AcceptorPart):
            record = _seen_record(value, self.restarts)
            self._record_of[part][number] = self._records.setdefault(record, len(self._records))
        self._judge.standing(part, number, value)

    def _audience(self, message: Any) -> Sequence[int]:
        """To which parts a message goes."""
        acceptors = len(self.quorums.members)
        if isinstance(message, Prepare | Accept):
            return range(acceptors)
        if isinstance(message, Accepted) and self.in_flight:
            return ()  # proposers ignore votes; where messages stay it costs nothing to show it
        return (acceptors + self.number_of(message.ballot) % self.proposers,)


def _seen_record(standing: Any, on_disk: bool) -> AcceptorRecord:
    """What an acceptor's standing says to the specification: what its disk holds, or what it remembers."""
    if on_disk:
        return standing.disk or AcceptorRecord(BOTTOM, BOTTOM, None)
    record: AcceptorRecord = standing.record
    return record
