"""Advice in closed form: the simulator measures what is computed, and no choice that was not made is
better."""

import json

import pytest

from paxos import compare
from paxos.cli import main
from paxos.compare import Choice, advise, find_place
from paxos.compare.advise import systems_for
from paxos.contract import find_protocol
from paxos.errors import EXIT_DONE, EXIT_USAGE, ConfigurationError
from paxos.quorum import Phase

pytestmark = pytest.mark.once

PROTOCOLS = ["multipaxos", "epaxos", "paxos"]


@pytest.mark.parametrize(
    ("topology", "failures"), [("nsdi21", 1), ("nsdi21", 2), ("tempo2021", 2), ("uniform:70", 1)]
)
def test_the_simulator_measures_what_is_computed(topology: str, failures: int) -> None:
    place = find_place(topology)
    for choice in advise(place, failures, PROTOCOLS).choices:
        found = compare.run(
            [choice.protocol],
            place,
            failures=failures,
            leader=choice.leader,
            clients=1,
            commands=4,
            think_ms=900,
        )
        measured = {site.name: site.commit_ms and site.commit_ms.max for site in found.runs[0].sites}
        assert measured == choice.sites_ms
        assert found.runs[0].leader == choice.leader


def test_the_best_leader_is_the_best_when_all_are_simulated() -> None:
    place = find_place("nsdi21")
    leaders = advise(place, 2, ["multipaxos"]).leaders["multipaxos"]
    assert leaders[0].leader == "OR"
    means = []
    for choice in leaders:
        run = compare.run(["multipaxos"], place, leader=choice.leader, clients=1, commands=3).runs[0]
        assert run.commit_ms is not None
        means.append(run.commit_ms.mean)
        assert run.commit_ms.mean == pytest.approx(choice.mean_ms)
    assert means == sorted(means)
    assert len(means) == 5


def test_two_rounds_are_what_conflicts_cost_at_most() -> None:
    place = find_place("nsdi21")
    (choice,) = advise(place, 2, ["epaxos"]).choices
    run = compare.run(["epaxos"], place, conflict=100, clients=2, commands=60, failures=2).runs[0]
    assert run.commit_ms is not None
    assert choice.conflict_ms is not None
    assert choice.mean_ms < run.commit_ms.mean <= choice.conflict_ms


def test_smaller_quorums_are_bought_with_fewer_failures() -> None:
    place = find_place("nsdi21")
    one, two = (advise(place, failures, ["multipaxos"]).choices[0] for failures in (1, 2))
    assert (one.quorums, two.quorums) == ("phase 1 4, phase 2 2 of 5", "3 of 5")
    assert one.mean_ms < two.mean_ms
    # Conflicts are nothing to it.
    assert (one.conflict_ms, two.conflict_ms) == (one.mean_ms, two.mean_ms)
    assert advise(place, 2).breaks_even(advise(place, 2, ["epaxos"]).choices[0], two) == pytest.approx(
        44.9, abs=0.1
    )
    for failures in (0, 1, 2):
        for protocol in PROTOCOLS:
            for _, system in systems_for(find_protocol(protocol), 5, failures):
                assert min(system.survives(phase) for phase in (Phase.ONE, Phase.TWO)) >= failures
    # What survives two survives one, and is faster in EPaxos: the fast quorum is smaller.
    assert [advise(place, failures, ["epaxos"]).choices[0].mean_ms for failures in (1, 2)] == [82.8, 82.8]


def test_what_is_left_after_failures_is_the_worst_case() -> None:
    place = find_place("nsdi21")
    (choice,) = advise(place, 1, ["multipaxos"]).choices
    # Without OR, the nearest to everything, the best is VA, which then has CA in its quorum.
    assert choice.failed_ms == pytest.approx((64 + (64 + 64) + (146 + 64) + (77 + 64)) / 4)


def test_weights_move_the_leader() -> None:
    place = find_place("nsdi21")
    assert advise(place, 2, ["multipaxos"]).choices[0].leader == "OR"
    assert advise(place, 2, ["multipaxos"], {"EU": 20, "VA": 1}).choices[0].leader == "EU"
    for weights, message in (
        ({"XX": 1}, "no site 'XX'"),
        ({"CA": -1}, "-1 is no weight"),
        ({"CA": 0}, "some site"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            advise(place, 2, ["multipaxos"], weights)


def test_where_means_break_even() -> None:
    def choice(mean_ms: float, conflict_ms: float | None) -> Choice:
        return Choice("p", None, "", {}, mean_ms, mean_ms, conflict_ms, None)

    advice = advise(find_place("nsdi21"), 2, ["epaxos"])
    assert advice.breaks_even(choice(80, 160), choice(120, 120)) == 50
    assert advice.breaks_even(choice(80, 100), choice(120, 120)) is None
    assert advice.breaks_even(choice(120, 120), choice(80, 160)) is None
    assert advice.breaks_even(choice(80, None), choice(120, 120)) is None


def test_the_command_advises_and_checks_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "--topology", "nsdi21", "--check", "--json"]) == EXIT_DONE
    found = json.loads(capsys.readouterr().out)
    assert [each["protocol"] for each in found["choices"]] == ["epaxos", "fastpaxos", "multipaxos"]
    assert [each["agrees"] for each in found["checked"]] == [True, True, True]
    assert found["checked"][1]["measured_ms"] == found["choices"][1]["sites_ms"]
    assert main(["advise", "--failures", "2", "--protocols", "multipaxos,epaxos"]) == EXIT_DONE
    assert "better above" in capsys.readouterr().out
    for arguments in (
        ["--failures", "3"],
        ["--weights", "CA"],
        ["--topology", "mars"],
        ["--protocols", "none"],
    ):
        assert main(["advise", *arguments]) == EXIT_USAGE
        assert capsys.readouterr().err.startswith("paxos: ")
