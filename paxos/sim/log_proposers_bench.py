"""What it costs that several sites place commands in one log at the same time: collisions and latency.

Each of k sites submits commands of its own, at times that are drawn; every set of k sites has its turn, in a
cluster of its own. Virtual time, a replica at each site, no service, service time, disk delay or jitter: what
is measured is the protocol, and the figures are the same on every machine.

A site whose replica takes no commands asks the one that it is sent to, and hears back from there: so a log
with a leader can stand beside one without. Of collisions a protocol tells in events: "lost slot" for a
command that has to be placed once more, "collision" and "recovered alone" for a slot whose votes chose
nothing.
"""

import heapq
import random
from collections.abc import Sequence
from itertools import combinations, count
from typing import Any, Final

import attrs

from paxos.ballot import NodeId
from paxos.command import NOTHING, Command, RequestId, digest_of
from paxos.contract import (
    Configuration,
    Decides,
    Instant,
    Orders,
    OutcomeKind,
    ProtocolDescription,
    find_protocol,
)
from paxos.errors import ConfigurationError
from paxos.sim.topology import Topology

__all__ = ["LogProposerFigures", "bench_log_proposers"]

_MS: Final = 1000.0
#: Sites begin when a leader was elected, where there is one, and was put in its place.
_START_S: Final = 10.0
_TRANSFER_S: Final = 4.0
#: Who was refused asks again after so long.
_AGAIN_S: Final = 0.05
#: After the last command so much longer, for what is still on its way.
_LONG_S: Final = 60.0
_MAX_STEPS: Final = 10_000_000


@attrs.frozen
class LogProposerFigures:
    """What so many sites at once came to.

    Args:
        protocol: which.
        variant: what was set otherwise than by default; empty for nothing.
        topology: its name.
        proposers: how many sites submitted commands.
        commands: how many there were.
        collided: slots whose votes chose nothing by themselves, for each 100 commands.
        lost: slots lost to another command, for each 100 commands.
        learn_ms: until the site that submitted a command had applied it, or was told so: median, and what 99
            of 100 do not exceed.
        messages: between nodes, for each command; those of time alone count as well.
    """

    protocol: str
    variant: str
    topology: str
    proposers: int
    commands: int
    collided: float
    lost: float
    learn_ms: tuple[float, float]
    messages: float


class _Sites:
    """Replicas at the sites of a topology, commands, and what is on its way."""

    def __init__(
        self,
        protocol: ProtocolDescription,
        topology: Topology,
        settings: Any,
        leader: NodeId | None,
        seed: int,
    ) -> None:
        self.members: tuple[NodeId, ...] = tuple(range(1, len(topology.sites) + 1))
        self._delay_s = [[each / _MS for each in row] for row in topology.one_way_ms]
        self._random = random.Random(seed)
        self._order = count()
        self._due: list[tuple[float, int, NodeId, Any]] = []
        self._home: dict[RequestId, NodeId] = {}
        self._at: dict[RequestId, NodeId] = {}
        self._commands: dict[RequestId, Command] = {}
        self.learned_s: dict[RequestId, float] = {}
        self.seen: dict[str, int] = {}
        self.messages = 0
        self._counts = False
        # When each node is to be woken next.
        self._wakes_s: dict[NodeId, float] = {}
        quorums = protocol.quorums(self.members)
        self.replicas = {
            node: protocol.replica(
                Configuration(node, quorums, settings),
                {},
                lambda _, bound: self._random.randrange(bound),
                Instant(0.0),
            )
            for node in self.members
        }
        for node in self.members:
            self._take(node, 0.0)
        if leader is not None:
            self.run(_TRANSFER_S)
            for node in self.members:
                if self.replicas[node].status().values.get("leader") == node != leader:
                    self.replicas[node].instruct("transfer", leader, Instant(_TRANSFER_S))
                    self._take(node, _TRANSFER_S)
        self.run(_START_S - 1.0)
        self._counts = True

    def submit(self, node: NodeId, command: Command, at_s: float) -> None:
        """Have a site submit a command at some time."""
        self._home[command.request] = node
        self._commands[command.request] = command
        self._push(at_s, node, command)

    def _push(self, at_s: float, node: NodeId, what: Any) -> None:
        heapq.heappush(self._due, (at_s, next(self._order), node, what))

    def run(self, until_s: float, until_learned: int | None = None) -> None:
        """Go on until then, or until so many commands were learned by who asked."""
        for _ in range(_MAX_STEPS):
            if not self._due or self._due[0][0] > until_s or len(self.learned_s) == until_learned:
                return
            at_s, _, node, what = heapq.heappop(self._due)
            replica, now = self.replicas[node], Instant(at_s)
            if what is None:
                if at_s != self._wakes_s.get(node):
                    continue  # it was to be woken earlier, and was
                del self._wakes_s[node]
                replica.tick(now)
            elif isinstance(what, Command):
                self._at[what.request] = node
                replica.submit((what,), now)
            else:
                replica.receive(what[0], what[1], now)
            self._take(node, at_s)
        raise ConfigurationError("the commands of this run do not end")

    def _away_s(self, node: NodeId, other: NodeId) -> float:
        return self._delay_s[node - 1][other - 1] if node != other else 0.0

    def _take(self, node: NodeId, at_s: float) -> None:
        effects = self.replicas[node].effects()
        for _, command in effects.applies:
            home = self._home.get(command.request)
            if home is not None and self._at[command.request] == node:
                self.learned_s.setdefault(command.request, at_s + self._away_s(node, home))
        for outcome in effects.outcomes:
            command = self._commands[outcome.request]
            if outcome.kind is OutcomeKind.REDIRECT and outcome.node is not None:
                self._push(at_s + self._away_s(node, outcome.node), outcome.node, command)
            elif outcome.kind is OutcomeKind.REJECTED:
                self._push(at_s + _AGAIN_S, node, command)
        if self._counts:
            for event in effects.events:
                self.seen[event.action] = self.seen.get(event.action, 0) + 1
            self.messages += sum(recipient != node for recipient, _ in effects.sends)
        for recipient, message in effects.sends:
            self._push(at_s + self._away_s(node, recipient), recipient, (node, message))
        if effects.wake_at_s is not None:
            wake_s = max(effects.wake_at_s, at_s)
            if wake_s < self._wakes_s.get(node, float("inf")):
                self._wakes_s[node] = wake_s
                self._push(wake_s, node, None)


def bench_log_proposers(
    protocol: str,
    topology: str,
    proposers: int,
    *,
    commands: int = 400,
    apart_s: float = 1.0,
    seed: int = 1,
    settings: Any = None,
    leader: NodeId | None = None,
    variant: str = "",
) -> LogProposerFigures:
    """Measure commands that so many sites submit at once.

    Args:
        protocol: its name; it decides a log of one order.
        topology: its name; one node at each site.
        proposers: how many sites submit.
        commands: how many in all, about.
        apart_s: seconds between two commands of a site, on average: drawn from half to one and a half.
        seed: of what is drawn.
        settings: the protocol's own.
        leader: who should lead; None for whoever does.
        variant: what that is called.

    Raises:
        ConfigurationError: the protocol has no log of one order, or there are not so many sites.
    """
    found, place = find_protocol(protocol), Topology.named(topology)
    if found.decides is not Decides.LOG or found.orders is not Orders.TOTAL:
        raise ConfigurationError(f"{protocol} has no log of one order, so nothing competes for its slots")
    members = range(1, len(place.sites) + 1)
    if not 1 <= proposers <= len(members):
        raise ConfigurationError(f"there are {len(members)} sites in {topology}, not {proposers}")
    drawn = random.Random(f"{seed}/{proposers}")
    sets = list(combinations(members, proposers))
    each = max(commands // (len(sets) * proposers), 1)
    took_s: list[float] = []
    collided = lost = messages = 0
    for chosen in sets:
        sites = _Sites(found, place, settings, leader, seed)
        asked_s: dict[RequestId, float] = {}
        for node in chosen:
            at_s = _START_S + drawn.uniform(0.0, apart_s)
            for number in range(each):
                payload = b"%d of %d" % (number, node)
                request = RequestId(b"%016d" % node, 0, number + 1, digest_of(payload))
                asked_s[request] = at_s
                sites.submit(node, Command(request, NOTHING, payload), at_s)
                at_s += drawn.uniform(0.5, 1.5) * apart_s
        sites.run(max(asked_s.values()) + _LONG_S, len(asked_s))
        if len(sites.learned_s) < len(asked_s):
            raise ConfigurationError(f"{len(asked_s) - len(sites.learned_s)} commands were not learned")
        took_s += [sites.learned_s[request] - at_s for request, at_s in asked_s.items()]
        collided += sites.seen.get("collision", 0) + sites.seen.get("recovered alone", 0) // len(members)
        lost += sites.seen.get("lost slot", 0)
        messages += sites.messages
    return LogProposerFigures(
        protocol=protocol,
        variant=variant,
        topology=topology,
        proposers=proposers,
        commands=len(took_s),
        collided=round(100.0 * collided / len(took_s), 1),
        lost=round(100.0 * lost / len(took_s), 1),
        learn_ms=_two(took_s),
        messages=round(messages / len(took_s), 1),
    )


def _two(took_s: Sequence[float]) -> tuple[float, float]:
    """The median, and what 99 of 100 do not exceed, milliseconds."""
    ordered = sorted(took_s)
    median, most = ordered[len(ordered) // 2], ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
    return round(_MS * median, 3), round(_MS * most, 3)
