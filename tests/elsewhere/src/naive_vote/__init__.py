"""A vote in two phases, as one might write it first: ask all; when a majority says yes, it is decided.

Whoever has a proposal asks all nodes.  A node says yes unless it knows of a decision already, and writes its
vote down before it says so.  Who has a majority of yeses tells everybody what is decided.

It has no coordinator and no ballots, it works when one client asks at a time, and it is wrong.
"""

import copy
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Self

import attrs

from paxos.ballot import NodeId
from paxos.command import NOP, Command, Footprint, RequestId
from paxos.contract import (
    Configuration,
    Decides,
    Draw,
    Effects,
    Event,
    Instant,
    Mark,
    Outcome,
    OutcomeKind,
    ProtocolDescription,
    Records,
    Status,
    Step,
)
from paxos.errors import ConfigurationError
from paxos.quorum import Majority, QuorumSystem
from paxos.wire import MessageTable, MessageType, expect_fields, take_bytes

__all__ = ["Agreement", "Ask", "Decided", "VoteReplica", "VoteSettings", "Yes", "protocol"]


class Ask(NamedTuple):
    """May it be this?"""

    decree: bytes
    value: bytes


class Yes(NamedTuple):
    """It may, says the sender. It reports a vote on disk, so it waits until that is synced."""

    decree: bytes
    value: bytes


class Decided(NamedTuple):
    """It is this."""

    decree: bytes
    value: bytes


@attrs.frozen
class VoteSettings:
    """What can be set.

    Args:
        repeat_s: seconds after which a question without a majority is asked again.
    """

    repeat_s: float = 1.0


class VoteReplica:
    """One node's part; see `paxos.contract.Replica`."""

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        self._node = configuration.node
        self._quorums = configuration.quorums
        self._repeat_s = (configuration.settings or VoteSettings()).repeat_s
        self._decided = {key[1:]: value for key, value in records.items() if key[:1] == b"D"}
        # What this node asks for, who said yes, and when to ask again.
        self._asked: dict[bytes, bytes] = {}
        self._yes: dict[bytes, set[NodeId]] = {}
        self._again_s: dict[bytes, float] = {}
        self._waiting: dict[RequestId, bytes] = {}
        self._out = Effects()
        for decree, value in self._decided.items():
            self._out.applies.append((decree, _command(decree, value)))

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Ask everybody; a read is answered only when the decision is known here."""
        for request, footprint, payload in commands:
            decree = (footprint.writes or footprint.reads)[0]
            if decree in self._decided:
                self._out.outcomes.append(Outcome(request, OutcomeKind.READY, mark=decree))
            elif footprint.reads:
                reason = f"node {self._node} knows of no decision"
                self._out.outcomes.append(Outcome(request, OutcomeKind.REJECTED, reason=reason))
            else:
                self._waiting[request] = decree
                if decree not in self._asked:
                    self._asked[decree] = payload
                    self._yes[decree] = set()
                    self._ask(decree, now)

    def read(self, request: RequestId, now: Instant) -> None:
        """Decrees have no order in which to read."""
        self._out.outcomes.append(Outcome(request, OutcomeKind.REJECTED, reason="read a decree by its name"))

    def receive(self, sender: NodeId, message: Any, now: Instant) -> None:
        """Vote, count, or hear."""
        decree, value = message
        if isinstance(message, Ask):
            if decree in self._decided:
                self._out.sends.append((sender, Decided(decree, self._decided[decree])))
            else:
                self._out.writes.append((b"V" + decree, value))
                self._out.sends.append((sender, Yes(decree, value)))
        elif isinstance(message, Yes):
            if decree not in self._decided and self._asked.get(decree) == value:
                self._yes[decree].add(sender)
                if self._quorums.is_quorum(self._yes[decree]):
                    self._decide(decree, value, "Yes")
                    for member in self._quorums.members:
                        if member != self._node:
                            self._out.sends.append((member, Decided(decree, value)))
        elif decree not in self._decided:
            self._decide(decree, value, "Decided")

    def tick(self, now: Instant) -> None:
        """Ask again where too few answered."""
        for decree, again_s in list(self._again_s.items()):
            if again_s <= now.monotonic_s:
                self._ask(decree, now)

    def compact(self, mark: Mark, now: Instant) -> None:
        """Nothing is forgotten."""

    def part(self, mark: Mark) -> bytes:
        """Nothing is added."""
        return b""

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """Nothing is installed."""

    def instruct(self, action: str, node: NodeId, now: Instant) -> None:
        """There is nothing to instruct it to."""
        raise ConfigurationError(f"a naive vote has no action {action!r}")

    def abandon(self, request: RequestId, now: Instant) -> None:
        """The question stays asked."""
        self._waiting.pop(request, None)

    def effects(self) -> Effects:
        """Take what has gathered."""
        out, self._out = self._out, Effects()
        out.wake_at_s = min(self._again_s.values(), default=None)
        out.room = 1000
        return out

    def status(self) -> Status:
        """How many decrees are decided here."""
        return Status("naive-vote", self._node, f"{len(self._decided)} decided")

    def clone(self) -> Self:
        """A copy."""
        return copy.deepcopy(self)

    def fingerprint(self) -> Hashable:
        """What it remembers."""
        yes = frozenset((decree, frozenset(nodes)) for decree, nodes in self._yes.items())
        return frozenset(self._decided.items()), frozenset(self._asked.items()), yes

    def _ask(self, decree: bytes, now: Instant) -> None:
        self._again_s[decree] = now.monotonic_s + self._repeat_s
        for member in self._quorums.members:
            self._out.sends.append((member, Ask(decree, self._asked[decree])))

    def _decide(self, decree: bytes, value: bytes, cause: str) -> None:
        self._decided[decree] = value
        self._again_s.pop(decree, None)
        self._out.writes.append((b"D" + decree, value))
        self._out.applies.append((decree, _command(decree, value)))
        self._out.events.append(Event("decided", self._node, {"decree": decree, "value": value}, cause))
        for request in [each for each, its in self._waiting.items() if its == decree]:
            del self._waiting[request]
            self._out.outcomes.append(Outcome(request, OutcomeKind.READY, mark=decree))


class Agreement:
    """No two nodes apply different values for one decree."""

    name = "Agreement"

    def __init__(self, quorums: QuorumSystem) -> None:
        self._first: dict[Mark, tuple[NodeId, bytes]] = {}

    def observe(self, step: Step) -> str | None:
        """See one step."""
        for mark, command in step.applies:
            node, value = self._first.setdefault(mark, (step.node, command.payload))
            if value != command.payload:
                return f"node {step.node} decides {command.payload!r}, node {node} decided {value!r}"
        return None


def _command(decree: bytes, value: bytes) -> Command:
    return Command(NOP.request, Footprint(writes=(decree,)), value)


def _unpack(kind: Callable[[bytes, bytes], Any]) -> Callable[[Sequence[object]], Any]:
    def unpack(fields: Sequence[object]) -> Any:
        decree, value = expect_fields(fields, 2, "message")
        return kind(take_bytes(decree, "decree", 1024), take_bytes(value, "value", 1 << 20))

    return unpack


#: The vote as drivers and tools see it.
protocol: ProtocolDescription = ProtocolDescription(
    name="naive-vote",
    replica=VoteReplica,
    settings=VoteSettings,
    messages=MessageTable(
        [
            MessageType(1, Ask, False, tuple, _unpack(Ask)),
            MessageType(2, Yes, True, tuple, _unpack(Yes)),
            MessageType(3, Decided, True, tuple, _unpack(Decided)),
        ]
    ),
    decides=Decides.DECREES,
    quorums=Majority,
    invariants=(Agreement,),
    probes=("decided",),
    documentation="Ask everybody; when a majority says yes, it is decided. It has no ballots, and is wrong.",
)
