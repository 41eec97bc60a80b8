"""Which leader, which quorums, which protocol: what the distances alone say, in closed form.

For every protocol, every place of a leader and every quorum system that survives so many failures, the
latency of a commit at each site follows from the round trips, where nothing conflicts and nothing queues.
The best is the least mean over the sites, weighted by how much is asked there.  What that leaves out is
said beside it: what commits take when commands conflict, and what is left when as many replicas as that
have failed, whichever.

The simulator agrees, and a test says so: there a commit takes what is computed here, to the microsecond.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Final

import attrs

from paxos.ballot import NodeId
from paxos.compare.model import Place, rounded
from paxos.compare.places import rtt_of
from paxos.compare.plan import compared, default_protocols
from paxos.contract import ProtocolDescription
from paxos.errors import ConfigurationError, QuorumError
from paxos.quorum import FastQuorums, FlexibleQuorums, Majority, Phase, QuorumSystem

__all__ = ["Advice", "Choice", "advise", "systems_for"]

#: So many ways to fail are looked at, at most.
_WAYS_MAX: Final = 5_000

_Distance = Callable[[NodeId, NodeId], float]


@attrs.frozen
class Choice:
    """One way to run a protocol somewhere.

    Args:
        protocol: which.
        leader: who leads; None for a protocol in which no place is better than another.
        quorums: in words.
        sites_ms: what a commit takes at each site, without conflicts, milliseconds.
        mean_ms: over the sites, weighted.
        worst_ms: at the worst site.
        conflict_ms: the mean where every command conflicts; the same where that is nothing to the protocol,
            and None where it depends on more than distances, as what collides in Fast Paxos does.
        failed_ms: the mean over the sites left when as many as are to be survived have failed, those whose
            loss hurts most, and a new leader is well placed; None where that is too much to compute.
    """

    protocol: str
    leader: str | None
    quorums: str
    sites_ms: Mapping[str, float]
    mean_ms: float
    worst_ms: float
    conflict_ms: float | None
    failed_ms: float | None

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {**attrs.asdict(self), "sites_ms": dict(self.sites_ms)}


@attrs.frozen
class Advice:
    """What to run at a place.

    Args:
        place: where.
        failures: how many replicas may fail.
        choices: the best way to run each protocol, the best of them first.
        leaders: for each protocol that has a leader the same with every other place for it, best first.
        site_best: for each site the protocol that is fastest there, of `choices`.
    """

    place: Place
    failures: int
    choices: tuple[Choice, ...]
    leaders: Mapping[str, tuple[Choice, ...]]
    site_best: Mapping[str, str]

    def breaks_even(self, one: Choice, other: Choice) -> float | None:
        """From how many percent of conflicting commands on the mean of `other` is less; None for never."""
        if one.conflict_ms is None or other.conflict_ms is None:
            return None
        gain, loss = other.mean_ms - one.mean_ms, one.conflict_ms - one.mean_ms
        steeper = loss - (other.conflict_ms - other.mean_ms)
        if gain < 0 or steeper <= 0 or gain > steeper:
            return None
        return rounded(100 * gain / steeper)

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {
            "topology": self.place.name,
            "sites": list(self.place.sites),
            "failures": self.failures,
            "choices": [each.to_json() for each in self.choices],
            "leaders": {name: [each.to_json() for each in others] for name, others in self.leaders.items()},
            "site_best": dict(self.site_best),
        }


def advise(
    place: Place,
    failures: int | None = None,
    protocols: Sequence[str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Advice:
    """What the distances say.

    Args:
        place: where the replicas are.
        failures: how many of them may fail; None for as many as any majority survives.
        protocols: which to look at; None for those that are compared if nothing is said.
        weights: how much is asked at each site, in any unit; None for the same everywhere.

    Raises:
        ConfigurationError: more failures than anything survives, an unknown site or protocol, or a weight
            that is none.
    """
    nodes = len(place.sites)
    most = (nodes - 1) // 2
    failures = most if failures is None else failures
    if type(failures) is not int or not 0 <= failures <= most:
        raise ConfigurationError(f"failures: {nodes} replicas survive 0 to {most}, not {failures!r:.40}")
    shares = _shares(place, weights)
    choices: list[Choice] = []
    leaders: dict[str, tuple[Choice, ...]] = {}
    for name in protocols or default_protocols():
        found = _choices(name, compared(name), place, failures, shares)
        if not found:
            continue
        choices.append(found[0])
        if found[0].leader is not None:
            best_at = {choice.leader: choice for choice in reversed(found)}
            leaders[name] = tuple(sorted(best_at.values(), key=_rank))
    if not choices:
        raise ConfigurationError(f"no protocol of {protocols!r:.100} survives {failures} of {nodes} failing")
    choices.sort(key=_rank)
    site_best = {
        site: min(choices, key=lambda choice, site=site: choice.sites_ms[site]).protocol  # type: ignore[misc]
        for site in place.sites
    }
    return Advice(place, failures, tuple(choices), leaders, site_best)


def _rank(choice: Choice) -> tuple[float, float]:
    return choice.mean_ms, choice.worst_ms


def _shares(place: Place, weights: Mapping[str, float] | None) -> dict[str, float]:
    given = dict.fromkeys(place.sites, 1.0) if weights is None else dict(weights)
    for site, weight in given.items():
        if site not in place.sites:
            raise ConfigurationError(
                f"weights: topology {place.name!r} has no site {site!r:.60}; it has {', '.join(place.sites)}"
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise ConfigurationError(f"weights: {weight!r:.40} is no weight of {site}")
    total = sum(given.values())
    if not total > 0:
        raise ConfigurationError("weights: some site must be asked for something")
    return {site: given.get(site, 0.0) / total for site in place.sites}


# --- quorums --------------------------------------------------------------------------------------------


def systems_for(protocol: ProtocolDescription, nodes: int, failures: int) -> list[tuple[str, QuorumSystem]]:
    """The quorum systems of a protocol that survive so many failures, each in words.

    A protocol whose quorums are named by failures has one for each number of failures that its fast path
    survives. One that goes by majorities has sized ones, too: a phase 2 of `failures` + 1 replicas, which
    is what every command waits for, and a phase 1 of all but `failures`.
    """
    members, systems = range(1, nodes + 1), list[tuple[str, QuorumSystem]]()
    if protocol.failure_quorums is not None:
        for survived in range(failures, (nodes - 1) // 2 + 1):
            for fast in range(survived, -1, -1):
                try:
                    system = protocol.failure_quorums(members, survived, fast)
                except QuorumError:
                    continue
                systems.append((_words(system, nodes), system))
        return sorted(systems, key=lambda each: _smallness(each[1]))
    try:
        system = protocol.quorums(members)
    except QuorumError:
        return []
    sized = type(system) is Majority and failures + 1 < nodes // 2 + 1
    if sized:
        flexible = FlexibleQuorums(members, phase1=nodes - failures, phase2=failures + 1)
        systems.append((f"phase 1 {nodes - failures}, phase 2 {failures + 1} of {nodes}", flexible))
    if min(system.survives(phase) for phase in (Phase.ONE, Phase.TWO)) >= failures:
        systems.append((_words(system, nodes), system))
    return systems


def _smallness(system: QuorumSystem) -> tuple[int, int]:
    """Smaller is faster: how many members a commit waits for, first where there is a fast path, then at
    most."""
    classic = len(system.members) - system.survives(Phase.TWO)
    return len(system.members) - system.survives(Phase.FAST) if system.has_fast else classic, classic


def _has_fast_path(protocol: ProtocolDescription, system: QuorumSystem) -> bool:
    """Whether there is one that conflicts take away: quorums of its own kind say so, majorities do not."""
    return system.has_fast and (protocol.failure_quorums is not None or type(system) is FastQuorums)


def _words(system: QuorumSystem, nodes: int) -> str:
    if type(system) is Majority:
        return f"{nodes // 2 + 1} of {nodes}"
    sizes = system.sizes
    if not sizes:
        return system.describe()
    fast = f", fast {sizes[Phase.FAST]}" if system.has_fast and Phase.FAST in sizes else ""
    return f"{sizes[Phase.TWO]} of {nodes}{fast}"


# --- latency --------------------------------------------------------------------------------------------


def _choices(
    name: str, protocol: ProtocolDescription, place: Place, failures: int, shares: Mapping[str, float]
) -> list[Choice]:
    """Every way to run one protocol, the best first."""
    nodes = range(1, len(place.sites) + 1)
    between = rtt_of(place.rtt_ms)
    found = []
    for words, system in systems_for(protocol, len(nodes), failures):
        failed = _failed_ms(protocol, system, place, failures)
        for leader in nodes if protocol.placed_bound_ms is not None else (None,):
            took = [_commit_ms(protocol, system, node, leader, between, nodes) for node in nodes]
            if any(each is None for each in took):
                continue
            sites_ms = {site: rounded(each or 0.0) for site, each in zip(place.sites, took, strict=True)}
            mean_ms = sum(sites_ms[site] * shares[site] for site in place.sites)
            conflict_ms: float | None = mean_ms
            if _has_fast_path(protocol, system):
                slow = [_slow_ms(protocol, system, node, between) for node in nodes]
                conflict_ms = None
                if all(each is not None for each in slow):
                    each_ms = zip(slow, shares.values(), strict=True)
                    conflict_ms = sum((each or 0.0) * share for each, share in each_ms)
            found.append(
                Choice(
                    protocol=name,
                    leader=None if leader is None else place.sites[leader - 1],
                    quorums=words,
                    sites_ms=sites_ms,
                    mean_ms=rounded(mean_ms),
                    worst_ms=max(sites_ms.values()),
                    conflict_ms=None if conflict_ms is None else rounded(conflict_ms),
                    failed_ms=failed,
                )
            )
    return sorted(found, key=_rank)


def _commit_ms(
    protocol: ProtocolDescription,
    system: QuorumSystem,
    node: NodeId,
    leader: NodeId | None,
    between: _Distance,
    alive: Sequence[NodeId],
) -> float | None:
    """At one site, without conflicts; the slow path's where no fast quorum is left; None where nothing is
    known."""
    if leader is not None and protocol.placed_bound_ms is not None:
        return protocol.placed_bound_ms(leader, node, alive, between, system)
    if protocol.bound_ms is None:
        return None
    took = protocol.bound_ms(node, alive, between, system)
    if math.isinf(took):
        slow = _slow_ms(protocol, system, node, between, first=Phase.TWO)
        return took if slow is None else slow
    return took


def _slow_ms(
    protocol: ProtocolDescription,
    system: QuorumSystem,
    node: NodeId,
    between: _Distance,
    first: Phase = Phase.FAST,
) -> float | None:
    """Where commands conflict: a round to a fast quorum and one to a classic one; None where it is nothing
    to it."""
    if protocol.failure_quorums is None or not system.has_fast:
        return None
    total = 0.0
    for phase in (first, Phase.TWO):
        total += max(
            between(node, other) for other in system.best_quorum(lambda to: between(node, to), phase)
        )
    return total


def _failed_ms(
    protocol: ProtocolDescription, system: QuorumSystem, place: Place, failures: int
) -> float | None:
    """The mean when the worst `failures` replicas have failed, over the sites left, a new leader well
    placed."""
    nodes = range(1, len(place.sites) + 1)
    between = rtt_of(place.rtt_ms)
    if math.comb(len(nodes), failures) * len(nodes) > _WAYS_MAX:
        return None
    worst = 0.0
    for down in combinations(nodes, failures):
        alive = [node for node in nodes if node not in down]

        def distance(a: NodeId, b: NodeId, down: Sequence[NodeId] = down) -> float:
            return math.inf if a in down or b in down else between(a, b)

        means = []
        for leader in alive if protocol.placed_bound_ms is not None else (None,):
            took = [_commit_ms(protocol, system, node, leader, distance, alive) for node in alive]
            if any(each is None for each in took):
                return None
            means.append(sum(each or 0.0 for each in took) / len(alive))
        worst = max(worst, min(means))
    return None if math.isinf(worst) else rounded(worst)
