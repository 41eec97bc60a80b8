"""Where the replicas are: from a bundled topology, an even one, or what somebody measured.

Inside, a place has one round trip for each pair of sites.  What comes from outside is checked here, and
refused with the place in it that is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from paxos.ballot import NodeId
from paxos.compare.model import Place
from paxos.contract import ProtocolDescription
from paxos.errors import ConfigurationError
from paxos.quorum import Majority, Phase, QuorumSystem
from paxos.sim import Topology

__all__ = [
    "MAX_SITES",
    "best_leader",
    "bounds_ms",
    "contended_bounds_ms",
    "even_place",
    "make_place",
    "node_of",
    "rtt_of",
    "select",
    "topology_of",
]

#: A comparison of more replicas than that is of no use to anybody.
MAX_SITES: Final = 100
#: How even topologies are called: the round trip follows, in milliseconds.
EVEN: Final = "uniform:"


def even_place(rtt_ms: float, nodes: int) -> Place:
    """So many sites, s1, s2, ..., all `rtt_ms` there and back apart.

    Raises:
        ConfigurationError: too many sites, or a distance that is none.
    """
    if not 0 < rtt_ms <= 120_000 or type(nodes) is not int or not 1 <= nodes <= MAX_SITES:
        raise ConfigurationError(
            f"an even topology has 1 to {MAX_SITES} sites above 0 ms apart, not {nodes!r:.40} sites "
            f"{rtt_ms} ms apart"
        )
    names = [f"s{number}" for number in range(1, nodes + 1)]
    matrix = [[0.0 if a == b else rtt_ms for b in names] for a in names]
    return make_place(f"{EVEN}{rtt_ms:g}", names, matrix, None, "")


def make_place(
    name: str, sites: Sequence[str], rtt_ms: Sequence[Sequence[float]], leader: str | None, source: str
) -> Place:
    """A place, checked; without a leader's name it gets the best one.

    Raises:
        ConfigurationError: too few or too many sites, or a leader that is none of them.
    """
    if not 1 <= len(sites) <= MAX_SITES:
        raise ConfigurationError(f"topology {name!r}: 1 to {MAX_SITES} sites, not {len(sites)}")
    rows = tuple(tuple(map(float, row)) for row in rtt_ms)
    if leader is None:
        leader = sites[best_leader(rows, None) - 1]
    elif leader not in sites:
        raise ConfigurationError(f"topology {name!r}: leader {leader!r:.60} is none of {', '.join(sites)}")
    return Place(name, tuple(sites), rows, leader, source)


def select(
    place: Place,
    *,
    nodes: int | None = None,
    sites: Sequence[str] | None = None,
    leader: str | None = None,
) -> Place:
    """Some sites of a place, and who leads there.

    Raises:
        ConfigurationError: it has no such site, or not so many.
    """
    chosen = list(place.sites if sites is None else sites)
    unknown = [each for each in chosen if each not in place.sites]
    if unknown:
        raise ConfigurationError(
            f"topology {place.name!r} has no site {unknown[0]!r:.60}; it has {', '.join(place.sites)}"
        )
    if len(set(chosen)) < len(chosen):
        raise ConfigurationError(f"topology {place.name!r}: a site is named twice in {', '.join(chosen)}")
    if nodes is not None:
        if not 1 <= nodes <= len(chosen):
            raise ConfigurationError(f"topology {place.name!r} has {len(chosen)} sites, not {nodes}")
        chosen = chosen[:nodes]
    at = [place.sites.index(each) for each in chosen]
    rows = [[place.rtt_ms[a][b] for b in at] for a in at]
    if leader == "best":
        leader = None
    elif leader is None and place.leader in chosen:
        leader = place.leader
    return make_place(place.name, chosen, rows, leader, place.source)


# --- in terms of nodes: the i-th site is node i, from 1 on --------------------------------------------


def node_of(place: Place, site: str) -> NodeId:
    """The node at a site.

    Raises:
        ConfigurationError: there is no such site.
    """
    if site not in place.sites:
        raise ConfigurationError(
            f"topology {place.name!r} has no site {site!r:.60}; it has {', '.join(place.sites)}"
        )
    return place.sites.index(site) + 1


def rtt_of(rtt_ms: Sequence[Sequence[float]]) -> Callable[[NodeId, NodeId], float]:
    """There and back between two nodes, milliseconds; 0 to itself."""
    return lambda a, b: 0.0 if a == b else rtt_ms[a - 1][b - 1]


def topology_of(place: Place) -> Topology:
    """As the simulator has it: half a round trip each way."""
    return Topology(place.name, place.sites, tuple(tuple(each / 2 for each in row) for row in place.rtt_ms))


def best_leader(rtt_ms: Sequence[Sequence[float]], quorums: QuorumSystem | None) -> NodeId:
    """Where a leader makes the mean commit latency over all sites least; the first of several.

    A commit takes a round trip to the leader, and the leader's to its nearest phase-2 quorum.

    Args:
        rtt_ms: between the sites, milliseconds.
        quorums: of the nodes; majorities for None.
    """
    nodes = range(1, len(rtt_ms) + 1)
    system, between = quorums or Majority(nodes), rtt_of(rtt_ms)

    def total_ms(leader: NodeId) -> float:
        quorum = system.best_quorum(lambda node: between(leader, node), Phase.TWO)
        own = max(between(leader, node) for node in quorum)
        return sum(between(client, leader) + own for client in nodes)

    return min(nodes, key=lambda node: (total_ms(node), node))


def bounds_ms(
    protocol: ProtocolDescription, place: Place, leader: NodeId | None, quorums: QuorumSystem
) -> Mapping[str, float | None]:
    """For each site the least that a commit takes there, without conflicts, milliseconds.

    Args:
        protocol: which.
        place: where.
        leader: who leads, if the protocol has a leader.
        quorums: of the nodes.
    """
    nodes, between = range(1, len(place.sites) + 1), rtt_of(place.rtt_ms)
    placed, free = protocol.placed_bound_ms, protocol.bound_ms
    if placed is not None and leader is not None:
        return {
            site: placed(leader, node, nodes, between, quorums)
            for node, site in zip(nodes, place.sites, strict=True)
        }
    if free is None:
        return dict.fromkeys(place.sites)
    return {site: free(node, nodes, between, quorums) for node, site in zip(nodes, place.sites, strict=True)}


def contended_bounds_ms(
    protocol: ProtocolDescription, place: Place, leader: NodeId | None, quorums: QuorumSystem
) -> Mapping[str, float | None]:
    """The same for the path that is taken where commands conflict or compete; None where there is no other.

    Arguments are those of `bounds_ms`.
    """
    nodes, between, bound = range(1, len(place.sites) + 1), rtt_of(place.rtt_ms), protocol.contended_bound_ms
    if bound is None or len(nodes) < 2:
        return dict.fromkeys(place.sites)
    return {
        site: bound(leader, node, nodes, between, quorums)
        for node, site in zip(nodes, place.sites, strict=True)
    }
