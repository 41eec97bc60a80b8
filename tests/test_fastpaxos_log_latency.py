"""How long a command takes on published latencies, with one proposing site at a time: exactly two delays."""

import pytest

from paxos import sim
from paxos.contract import find_protocol
from paxos.service import LogSettings
from paxos.sim import Hardware, Topology, Workload

pytestmark = pytest.mark.once

#: A round trip to the nearest fast quorum, milliseconds.
NSDI21 = {"CA": 98, "VA": 77, "OR": 91, "JP": 146, "EU": 137}


def latencies_ms(place: str) -> dict[str, set[float]]:
    """All latencies of writes, by site, to a thousandth of a millisecond."""
    topology = Topology.named(place)
    workload = Workload(
        operations=40,
        rate=0.5,
        names=None,
        reads=0,
        increments=0,
        deletes=0,
        swaps=0,
        audit=False,
        timeout_s=60,
        start_s=5,
    )
    result = sim.run(
        "fastpaxos-log",
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


def test_the_site_that_proposes_learns_after_a_round_trip_to_a_fast_quorum() -> None:
    assert latencies_ms("nsdi21") == {site: {ms} for site, ms in NSDI21.items()}


@pytest.mark.parametrize("place", ["nsdi21", "sosp13"])
def test_the_bound_is_what_is_measured(place: str) -> None:
    topology, protocol = Topology.named(place), find_protocol("fastpaxos-log")
    ids = list(range(1, len(topology.sites) + 1))
    assert protocol.bound_ms is not None
    found = latencies_ms(place)
    for node, site in zip(ids, topology.sites, strict=True):
        bound_ms = protocol.bound_ms(
            node, ids, lambda a, b: 2 * topology.one_way_ms[a - 1][b - 1], protocol.quorums(ids)
        )
        assert found[site] == {bound_ms}
