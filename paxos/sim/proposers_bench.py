"""What it costs that several sites propose at once: how often they collide, and how long a decree then takes.

For each decree k of the sites propose at about the same time, each a value of its own; every set of k sites
has its turn. Virtual time, an acceptor at each site, no service time, disk delay or jitter: what is measured
is the protocol, and the figures are the same on every machine. One decree is over before the next begins.

A protocol says "collision" in an event where proposals of a fast ballot got in each other's way, and
"preempted" where one proposer outbid another.
"""

import heapq
import random
from collections.abc import Sequence
from itertools import combinations, count
from typing import Any, Final

import attrs

from paxos.ballot import NodeId
from paxos.command import Command, Footprint, RequestId, digest_of
from paxos.contract import Configuration, Decides, Instant, ProtocolDescription, find_protocol
from paxos.errors import ConfigurationError
from paxos.sim.topology import Topology

__all__ = ["ProposerFigures", "bench_proposers"]

_MS: Final = 1000.0
#: Virtual seconds between two decrees, in which nodes that were told nothing ask.
_APART_S: Final = 20.0
#: The most that one decree may take.
_MAX_STEPS: Final = 100_000


@attrs.frozen
class ProposerFigures:
    """What so many proposers at once came to.

    Args:
        protocol: which.
        variant: what was set otherwise than by default; empty for nothing.
        topology: its name.
        proposers: how many sites proposed each decree.
        decrees: how many there were.
        collided: percent of the decrees at which a collision was seen, or a proposer outbid.
        fast: percent that were decided by a fast ballot; of a protocol without, 0.
        learn_ms: until a proposer's site had learned what was chosen: median, and what 99 of 100 do not
            exceed.
        last_ms: until the last of all sites had, likewise.
        messages: between nodes, for each decree.
    """

    protocol: str
    variant: str
    topology: str
    proposers: int
    decrees: int
    collided: float
    fast: float
    learn_ms: tuple[float, float]
    last_ms: tuple[float, float]
    messages: float


class _Sites:
    """Replicas at the sites of a topology, and what is on its way between them."""

    def __init__(self, protocol: ProtocolDescription, topology: Topology, settings: Any, seed: int) -> None:
        self.members: tuple[NodeId, ...] = tuple(range(1, len(topology.sites) + 1))
        self._delay_s = [[each / _MS for each in row] for row in topology.one_way_ms]
        self._random = random.Random(seed)
        self._order = count()
        self._due: list[tuple[float, int, NodeId, Any]] = []
        self.learned_s: dict[bytes, dict[NodeId, float]] = {}
        self.collided: set[bytes] = set()
        self.fast: set[bytes] = set()
        self.messages = 0
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

    def propose(self, node: NodeId, command: Command, at_s: float) -> None:
        """Have a site propose at some time."""
        heapq.heappush(self._due, (at_s, next(self._order), node, command))

    def run(self, until_s: float) -> None:
        """Go on until then."""
        for _ in range(_MAX_STEPS):
            if not self._due or self._due[0][0] > until_s:
                return
            at_s, _, node, what = heapq.heappop(self._due)
            replica, now = self.replicas[node], Instant(at_s)
            if what is None:
                replica.tick(now)
            elif isinstance(what, Command):
                replica.submit((what,), now)
            else:
                replica.receive(what[0], what[1], now)
            self._take(node, at_s)
        raise ConfigurationError("the decrees of this run do not end")

    def _take(self, node: NodeId, at_s: float) -> None:
        effects = self.replicas[node].effects()
        for mark, _ in effects.applies:
            if isinstance(mark, bytes):
                self.learned_s.setdefault(mark, {})[node] = at_s
        for event in effects.events:
            decree = event.arguments.get("decree")
            if isinstance(decree, bytes):
                if event.action in ("collision", "preempted"):
                    self.collided.add(decree)
                elif event.action == "chosen" and event.arguments.get("fast"):
                    self.fast.add(decree)
        for recipient, message in effects.sends:
            self.messages += recipient != node
            delay_s = self._delay_s[node - 1][recipient - 1] if recipient != node else 0.0
            heapq.heappush(self._due, (at_s + delay_s, next(self._order), recipient, (node, message)))
        if effects.wake_at_s is not None:
            heapq.heappush(self._due, (effects.wake_at_s, next(self._order), node, None))


def bench_proposers(
    protocol: str,
    topology: str,
    proposers: int,
    *,
    decrees: int = 200,
    spread_ms: float = 0.0,
    seed: int = 1,
    settings: Any = None,
    variant: str = "",
) -> ProposerFigures:
    """Measure decrees that so many sites propose at once.

    Args:
        protocol: its name; it decides decrees.
        topology: its name; one node at each site.
        proposers: how many sites propose each decree.
        decrees: how many; at least every set of sites has its turn.
        spread_ms: each of them begins at a time drawn from that many milliseconds.
        seed: of what is drawn.
        settings: the protocol's own.
        variant: what that is called.

    Raises:
        ConfigurationError: the protocol decides no decrees, or there are not so many sites.
    """
    found, place = find_protocol(protocol), Topology.named(topology)
    if found.decides is not Decides.DECREES:
        raise ConfigurationError(f"{protocol} decides no decrees; proposers at once are measured by decrees")
    sites = _Sites(found, place, settings, seed)
    if not 1 <= proposers <= len(sites.members):
        raise ConfigurationError(f"there are {len(sites.members)} sites in {topology}, not {proposers}")
    drawn = random.Random(f"{seed}/{proposers}")
    sets = list(combinations(sites.members, proposers))
    decrees = max(decrees, len(sets))
    learn_s: list[float] = []
    last_s: list[float] = []
    for number in range(decrees):
        began_s = _APART_S * (number + 1)
        name = b"d%d" % number
        asked: dict[NodeId, float] = {}
        for node in sets[number % len(sets)]:
            asked[node] = at_s = began_s + drawn.uniform(0.0, spread_ms) / _MS
            value = b"%d of %d" % (number, node)
            request = RequestId(b"%016d" % node, 0, number + 1, digest_of(value))
            sites.propose(node, Command(request, Footprint(writes=(name,)), value), at_s)
        sites.run(began_s + _APART_S - 1.0)
        learned_s = sites.learned_s.get(name, {})
        if len(learned_s) < len(sites.members):
            raise ConfigurationError(f"decree {name!r} was not learned by all: {learned_s}")
        learn_s += [learned_s[node] - at_s for node, at_s in asked.items()]
        last_s.append(max(learned_s.values()) - min(asked.values()))
    return ProposerFigures(
        protocol=protocol,
        variant=variant,
        topology=topology,
        proposers=proposers,
        decrees=decrees,
        collided=100.0 * len(sites.collided) / decrees,
        fast=100.0 * len(sites.fast) / decrees,
        learn_ms=_two(learn_s),
        last_ms=_two(last_s),
        messages=sites.messages / decrees,
    )


def _two(took_s: Sequence[float]) -> tuple[float, float]:
    """The median, and what 99 of 100 do not exceed, milliseconds."""
    ordered = sorted(took_s)
    median, most = ordered[len(ordered) // 2], ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
    return round(_MS * median, 3), round(_MS * most, 3)
