"""What `paxos bench regions` says: latency where everything conflicts, and how work is spread."""

import pytest

from epaxos import EPaxosSettings
from paxos.sim.regions_bench import RegionFigures, bench_latency, bench_throughput

pytestmark = pytest.mark.once

#: Two round trips on sosp13: the most that a commit takes where everything conflicts, milliseconds.
TWO_ROUND_TRIPS = {"VA": 170, "CA": 170, "OR": 160, "JP": 254, "EU": 312}


def commits_ms(found: RegionFigures) -> dict[str, tuple[float, float]]:
    """The median commit latency by site, and what 99 of 100 do not exceed."""
    return {site.site: site.commit_ms for site in found.sites if site.commit_ms is not None}


def test_where_everything_conflicts_a_commit_takes_two_round_trips_at_most() -> None:
    found = bench_latency("epaxos", "sosp13", conflict=100, operations=250)
    commits = commits_ms(found)
    assert commits.keys() == TWO_ROUND_TRIPS.keys()
    assert all(round(p99, 3) <= TWO_ROUND_TRIPS[site] for site, (_, p99) in commits.items())
    assert found.fast_share is not None
    assert found.fast_share < 0.5
    # Carrying out waits for what was decided elsewhere, so it takes longer.
    assert all(round(site.execute_ms[0] - commits[site.site][0], 3) >= 0 for site in found.sites)


def test_nothing_conflicts_and_one_round_trip_is_enough() -> None:
    found = bench_latency("epaxos", "sosp13", operations=100)
    assert {site.site: (site.bound_ms, site.bound_ms) for site in found.sites} == {
        site: (round(p50, 6), round(p99, 6)) for site, (p50, p99) in commits_ms(found).items()
    }
    assert found.fast_share == 1
    each = found.messages_per_command
    assert (each["PreAccept"], each["PreAcceptOK"]) == (4, 4)
    assert each["Commit"] <= 4
    assert "Accept" not in each


def test_commits_that_wait_for_more_save_messages_and_time() -> None:
    beside = bench_throughput("multipaxos", "nsdi21", operations=1200)
    at_once = bench_throughput(
        "epaxos", "nsdi21", operations=1200, settings=EPaxosSettings(commit_delay_s=0.0), variant="at once"
    )
    waiting = bench_throughput("epaxos", "nsdi21", operations=1200)
    assert round(at_once.messages_per_command["Commit"], 6) == 4
    assert waiting.messages_per_command["Commit"] < 3
    assert waiting.commands_per_s > at_once.commands_per_s
    assert waiting.commands_per_s > 2 * beside.commands_per_s
    assert beside.fast_share is None
