"""How long a command takes on published latencies, where nothing overlaps: exactly what the matrix allows.

Measured open loop and so sparse that no two commands overlap, without jitter, loss, service time or disk
delay: from a client's asking at a site until it is answered there, which without conflicts is when the site
knows of the commit.
"""

import pytest

from paxos import sim
from paxos.contract import find_protocol
from paxos.service import LogSettings
from paxos.sim import Hardware, Topology, Workload

pytestmark = pytest.mark.once

NSDI21 = {"CA": 64, "VA": 64, "OR": 59, "JP": 98, "EU": 129}
#: Medians that the paper's bars show, without conflicts and with 2 %.
SOSP13 = {"VA": 80, "CA": 77, "OR": 80, "JP": 134, "EU": 150}


def latencies_ms(protocol: str, place: str, *, names: int | None) -> dict[str, set[float]]:
    """All latencies of writes, by site, to a thousandth of a millisecond."""
    topology = Topology.named(place)
    workload = Workload(
        operations=40,
        rate=0.5,
        names=names,
        reads=0,
        increments=0,
        deletes=0,
        swaps=0,
        audit=False,
        timeout_s=60,
        start_s=5,
    )
    result = sim.run(
        protocol,
        nodes=len(topology.sites),
        topology=topology,
        workload=workload,
        duration_s=1000,
        # No marker comes in between.
        log=LogSettings(),
        hardware=Hardware(sync_s=0),
    )
    assert not result.violations
    found: dict[str, set[float]] = {site: set() for site in topology.sites}
    for operation in result.operations:
        assert operation.return_s is not None
        assert operation.node is not None
        site = topology.sites[operation.node - 1]
        found[site].add(round((operation.return_s - operation.call_s) * 1000, 3))
    return found


@pytest.mark.parametrize("names", [None, 1], ids=["different keys", "one key"])
def test_a_commit_takes_a_round_trip_to_the_second_nearest(names: int | None) -> None:
    # One key makes no difference where nothing overlaps: everybody knows the command before.
    assert latencies_ms("epaxos", "nsdi21", names=names) == {site: {ms} for site, ms in NSDI21.items()}


def test_the_published_medians_are_within_ten_milliseconds() -> None:
    found = latencies_ms("epaxos", "sosp13", names=None)
    for site, published_ms in SOSP13.items():
        (ms,) = found[site]
        assert abs(ms - published_ms) <= 10, site


@pytest.mark.parametrize("place", ["nsdi21", "sosp13"])
def test_the_bound_is_what_is_measured(place: str) -> None:
    topology, protocol = Topology.named(place), find_protocol("epaxos")
    ids = range(1, len(topology.sites) + 1)
    quorums = protocol.quorums(list(ids))
    assert protocol.bound_ms is not None
    found = latencies_ms("epaxos", place, names=None)
    for node, site in zip(ids, topology.sites, strict=True):
        bound_ms = protocol.bound_ms(
            node, list(ids), lambda a, b: 2 * topology.one_way_ms[a - 1][b - 1], quorums
        )
        assert found[site] == {bound_ms}
