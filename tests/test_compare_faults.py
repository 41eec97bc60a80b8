"""Faults in a comparison: presets and files, where they happen, and what is said of what came of them."""

from pathlib import Path

import pytest

from paxos import compare
from paxos.compare import Fault, find_place
from paxos.compare.faults import PRESETS, effects_of, find_faults
from paxos.errors import ConfigurationError

pytestmark = pytest.mark.once

PLACE = find_place("nsdi21")


def test_presets_are_at_the_leader_or_beside_it() -> None:
    found = {name: find_faults(name, PLACE, 30.0) for name in PRESETS}
    assert [(each.kind, each.site) for each in found["leader-killed"]] == [("crash", "CA")]
    assert [(each.kind, each.site) for each in found["region-cut"]] == [("cut", "OR")]
    assert [(each.kind, each.site) for each in found["slow-replica"]] == [("slow", "OR")]
    assert [(each.kind, each.site, each.to) for each in found["lossy-link"]] == [("lossy", "CA", "OR")]
    assert [each.site for each in found["rolling-restart"]] == list(PLACE.sites)
    both = find_faults("region-cut:EU, lossy-link:JP-EU", PLACE, 30.0)
    assert {(each.kind, each.site) for each in both} == {("cut", "EU"), ("lossy", "JP")}
    assert find_faults("none", PLACE, 30.0) == ()


def test_a_plan_of_faults_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('[[fault]]\nkind = "pause"\nsite = "EU"\nat_s = 4\n[[fault]]\nkind = "crash"\nat_s = 1\n')
    assert find_faults(str(path), PLACE, 10.0) == (
        Fault("crash", "CA", 1, to="CA"),
        Fault("pause", "EU", 4, to="CA"),
    )
    path.write_text('[[fault]]\nkind = "flood"\n')
    with pytest.raises(ConfigurationError, match=r"Fault.kind: expected one of crash"):
        find_faults(str(path), PLACE, 10.0)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("leader-hugged", "no preset 'leader-hugged'; known are leader-killed, region-cut"),
        ("region-cut:XX", "no site 'XX'"),
        ("lossy-link:CA-XX", "'CA-XX' is no pair"),
        ([Fault("crash", "CA", 50.0)], "at 50 s: the run ends at 10 s"),
        ([Fault("lossy", "CA", 1.0, to="CA")], "two ends, and both are CA"),
        ("missing.toml", "missing.toml: can not be read"),
    ],
)
def test_what_can_not_happen_is_refused(named: str | list[Fault], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        find_faults(named, PLACE, 10.0)


def test_gaps_and_recovery_are_read_off_the_answers() -> None:
    steady = [each / 50 for each in range(1000)]
    # Nothing from 5 to 8 s at B, half the rate up to 12 s.
    hurt = [each for each in steady if each < 5 or each >= 12 or (each >= 8 and round(each * 50) % 2)]
    (effect,) = effects_of([Fault("crash", "B", 5.0, 4.0)], {"A": steady, "B": hurt}, 20.0)
    assert effect.unavailable_s["A"] == 0.02
    assert effect.unavailable_s["B"] == pytest.approx(3.0, abs=0.05)
    assert effect.all_unavailable_s == 0.02
    assert effect.recover_s == pytest.approx(7.0, abs=0.3)
    assert (effect.at_s, effect.until_s) == (5.0, 9.0)
    (never,) = effects_of([Fault("crash", "B", 5.0, 40.0)], {"A": steady, "B": steady[:200]}, 20.0)
    assert (never.recover_s, never.until_s) == (None, None)
    (nothing,) = effects_of([Fault("slow", "B", 5.0, 4.0)], {"A": steady, "B": steady}, 20.0)
    assert nothing.recover_s == 0


def test_a_dead_leader_is_missed_everywhere_and_a_dead_replica_at_its_site() -> None:
    found = compare.run(
        ["multipaxos", "epaxos"], "nsdi21", faults=[Fault("crash", at_s=3, for_s=3)], clients=2, duration_s=9
    )
    led, free = (found.find(each).faults[0] for each in ("multipaxos", "epaxos"))
    assert led.what == "the replica at CA dies, and comes back after 3 s"
    assert min(led.unavailable_s.values()) > 0.8
    assert free.unavailable_s["CA"] > 0.8
    assert max(each for site, each in free.unavailable_s.items() if site != "CA") < 0.8
    assert compare.Comparison.from_json(found.dumps()) == found
    # What is lost by a link between two others does not keep EPaxos at CA from its quorum.
    lossy = compare.run(
        ["epaxos"],
        "nsdi21",
        faults=[Fault("lossy", "JP", 1, 3, percent=100, to="EU")],
        clients=1,
        duration_s=5,
    )
    commit_ms = lossy.runs[0].site["CA"].commit_ms
    assert commit_ms is not None
    assert commit_ms.max == 64
    assert lossy.runs[0].faults[0].what == "100 % of messages between JP and EU are lost, for 3 s"


def test_a_replica_that_comes_back_holds_the_others_up_for_a_few_round_trips_only() -> None:
    """What EPaxos had reserved and lost is recovered more and more at a time, and not a few in each round."""
    run = compare.run("epaxos", faults="leader-killed", clients=5, duration_s=6).runs[0]
    (effect,) = run.faults
    assert effect.recover_s is not None
    assert effect.recover_s < 2.4  # the replica is back after 2.0
    assert max(effect.unavailable_s[site] for site in ("VA", "OR", "JP", "EU")) < 0.4
    back = int(4.0 / run.timeline.bucket_s)
    for site in ("VA", "OR", "JP", "EU"):
        commands = run.timeline.sites[site].commands[back:]
        assert sum(not each for each in commands) <= 3, site
