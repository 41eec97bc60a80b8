"""What a run costs, measured from outside: commits, messages, bytes, syncs, components.

A meter stands between a node and its replica.  It sees what the replica is given and what it wants, and
changes neither, so a measured run is the same run.  When a command is committed the replica's events say, in
words that the protocol explains (`ProtocolDescription.commits`); when it is carried out, `applies` says.
What lies between is the *lag*, and a client's latency less the lag is what the commit alone would have taken.
A protocol that knows of no commit before it carries it out has no lag.

Bytes are weighed: of each type of message the first few, and then every seventeenth, are encoded as they
travel.  Numbers of replicas seldom share a factor with that, so all recipients and owners come in turn.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import attrs

from paxos.ballot import NodeId
from paxos.command import Command
from paxos.contract import (
    Commitment,
    Configuration,
    Draw,
    Effects,
    Event,
    Instant,
    Mark,
    Message,
    ProtocolDescription,
    Records,
)
from paxos.errors import NodeStopped
from paxos.service.batches import read_batch
from paxos.sim.mix import Mix

__all__ = ["LossyLink", "Meter", "Metered", "Study"]

#: Of each type of message the first so many are weighed, and then every so manieth.
_WEIGHED_FIRST: Final = 64
_WEIGHED_EVERY: Final = 17
#: The event of a component of several commands, and the argument that says how many they are.
_COMPONENT: Final = "component"


@attrs.define
class Metered:
    """What was seen at one node, over all its lives.

    Attributes:
        received: protocol messages that it was given by other nodes.
        sent: those that it sent, by type.
        syncs: of its disk.
        worked_s: how long its processor was at work, where messages take time.
        commits: its commands that it knew to be committed: fast, not fast, and where there is no difference.
        reasons: why commands were not fast, in the protocol's words.
        components: of commands that were carried out together: how many components there were of each size.
        lags_s: of requests, by client and number, the seconds between commit and execution here.
    """

    received: int = 0
    sent: Counter[type] = attrs.field(factory=Counter)
    syncs: int = 0
    worked_s: float = 0.0
    commits: Counter[bool | None] = attrs.field(factory=Counter)
    reasons: Counter[str] = attrs.field(factory=Counter)
    components: Counter[int] = attrs.field(factory=Counter)
    lags_s: dict[tuple[bytes, int], float] = attrs.field(factory=dict)


class Meter:
    """Measures one run of a protocol.

    Args:
        protocol: which.

    Attributes:
        nodes: what was seen, by node.
        leader: who said that it leads when clients began; None for nobody.
        counts: whether what happens counts: from when clients begin until everybody is answered.
    """

    def __init__(self, protocol: ProtocolDescription) -> None:
        self.nodes: dict[NodeId, Metered] = {}
        self.leader: NodeId | None = None
        self.counts: bool = False
        self._protocol = protocol
        #: Messages sent, by type: which of them are weighed follows from that.
        self.sent: Counter[type] = Counter()
        self._weighed: Counter[type] = Counter()
        self._weights: Counter[type] = Counter()

    @property
    def protocol(self) -> ProtocolDescription:
        """The protocol, with replicas that are measured."""
        make = self._protocol.replica

        def replica(configuration: Configuration, records: Records, draw: Draw, now: Instant) -> Any:
            made = self.looked_at(make(configuration, records, draw, now), configuration.node, now)
            return _Metering(made, configuration.node, self, self._protocol.commits, now)

        return attrs.evolve(self._protocol, replica=replica)

    def looked_at(self, replica: Any, node: NodeId, now: Instant) -> Any:
        """The replica as it is measured. Who wants to see more puts something else around it."""
        return replica

    def of(self, node: NodeId) -> Metered:
        """What was seen at a node."""
        found = self.nodes.get(node)
        if found is None:
            found = self.nodes[node] = Metered()
        return found

    def synced(self, node: NodeId) -> None:
        """A sync of its disk has begun."""
        if self.counts:
            self.of(node).syncs += 1

    def weigh(self, message: Message) -> None:
        """Encode a message, to see how long those of its type are."""
        kind = message.__class__
        self._weighed[kind] += 1
        self._weights[kind] += len(self._protocol.messages.encode((message,)))

    def bytes_of(self, kind: type) -> float:
        """How long messages of a type are, on average."""
        return self._weights[kind] / max(self._weighed[kind], 1)


class LossyLink(NamedTuple):
    """A link that loses messages one way for a while.

    Args:
        at_s: from when on, virtual seconds.
        for_s: for how long.
        sender, recipient: the link.
        share: of its messages that are lost.
    """

    at_s: float
    for_s: float
    sender: NodeId
    recipient: NodeId
    share: float


@attrs.frozen
class Study:
    """A run that is made to measure something.

    Args:
        meter: measures it; made for this run and its protocol.
        mix: what clients ask: writes that put values, linearizable reads. Of the workload only counts, times
            and lengths are of effect.
        leader: who is to lead when clients begin, in a protocol in which somebody does.
        lossy: links that lose messages for a while.
    """

    meter: Meter
    mix: Mix
    leader: NodeId
    lossy: tuple[LossyLink, ...] = ()


class _Metering:
    """A replica, measured. It has every other attribute and method of that."""

    def __init__(
        self,
        replica: Any,
        node: NodeId,
        meter: Meter,
        commits: Callable[[Event], Sequence[Commitment]] | None,
        now: Instant,
    ) -> None:
        self._replica = replica
        self._node = node
        self._meter = meter
        self._own = meter.of(node)
        self._commits = commits
        self._now_s = now[0]
        # When what is not carried out yet was known to be committed.
        self._committed_s: dict[Mark, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replica, name)

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        self._now_s = now[0]
        self._replica.submit(commands, now)

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        self._now_s = now[0]
        if sender != self._node and self._meter.counts:
            self._own.received += 1
        self._replica.receive(sender, message, now)

    def tick(self, now: Instant) -> None:
        self._now_s = now[0]
        self._replica.tick(now)

    def effects(self) -> Effects:
        effects: Effects = self._replica.effects()
        if effects.events:
            self._note(effects.events)
        if effects.applies and self._committed_s:
            self._apply(effects.applies)
        if effects.sends and self._meter.counts:
            node, sent, meter = self._node, self._own.sent, self._meter
            counts = meter.sent
            for to, message in effects.sends:
                if to != node:
                    kind = message.__class__
                    sent[kind] += 1
                    number = counts[kind]
                    counts[kind] = number + 1
                    if number < _WEIGHED_FIRST or not number % _WEIGHED_EVERY:
                        meter.weigh(message)
        return effects

    def _note(self, events: Sequence[Event]) -> None:
        own, commits = self._own, self._commits
        for event in events:
            if event.action == _COMPONENT:
                size = event.arguments.get("size")
                if type(size) is int:
                    own.components[size] += 1
            if commits is not None:
                for mark, fast, reason in commits(event):
                    own.commits[fast] += 1
                    if reason:
                        own.reasons[reason] += 1
                    self._committed_s.setdefault(mark, self._now_s)

    def _apply(self, applies: Sequence[tuple[Mark, Command]]) -> None:
        """What was carried out later than it was committed."""
        for mark, command in applies:
            at_s = self._committed_s.pop(mark, None)
            if at_s is None or at_s >= self._now_s:
                continue
            try:
                batch = read_batch(command)
            except NodeStopped:
                continue  # no batch of the service; whoever carries it out will say so
            for run in batch.runs if batch is not None else ():
                for index in range(len(run.bodies)):
                    self._own.lags_s[run.client, run.sequence + index] = self._now_s - at_s
