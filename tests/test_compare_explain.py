"""One command explained: what is told agrees with what was measured, and names who disagreed about what."""

import json
from pathlib import Path
from typing import Any

import pytest

from paxos import compare
from paxos.check.chart import text_chart
from paxos.cli import main
from paxos.compare import Fault, find_place
from paxos.compare.explain import Explanation, explain
from paxos.compare.running import plan_of
from paxos.errors import EXIT_DONE, EXIT_USAGE, ConfigurationError

pytestmark = pytest.mark.once

PLACE = find_place("nsdi21")


def explained(protocol: str, which: str = "slowest", site: str | None = None, **more: Any) -> Explanation:
    return explain(plan_of([protocol], PLACE, **{"commands": 20, "clients": 2, **more}), PLACE, which, site)


def test_a_fast_command_has_the_replies_of_a_fast_quorum() -> None:
    found = explained("epaxos", "median", site="CA")
    assert (found.commit_ms, found.execute_ms, found.waited_for) == (64, 64, ())
    assert "fast path" in found.path
    assert [(reply.site, reply.at_ms, reply.agreed) for reply in found.replies] == [
        ("OR", 26, True),
        ("VA", 64, True),
    ]
    assert found.place is not None
    assert found.place.startswith("CA.")
    chart = text_chart(found.chart)
    assert "26 ms PreAcceptOK" in chart
    assert f"executes {found.place}" in chart


def test_a_slow_command_says_who_knew_of_what_and_what_it_waited_for() -> None:
    found = explained("epaxos", conflict=100)
    assert "slow path" in found.path
    disagreed = [reply for reply in found.replies if reply.agreed is False]
    assert disagreed
    assert all(reply.knew and all("." in each for each in reply.knew) for reply in disagreed)
    assert [reply.kind for reply in found.replies].count("AcceptOK") >= 2
    assert found.execute_ms > found.commit_ms
    assert any("the last thing that was missing" in each for each in found.waited_for)
    text = "\n".join(found.sentences())
    assert f"committed after {found.commit_ms:g} ms, answered after {found.execute_ms:g} ms" in text
    # It is the slowest of what `compare` measured.
    run = compare.run(["epaxos"], PLACE, conflict=100, commands=20, clients=2).runs[0]
    assert run.execute_ms is not None
    assert run.execute_ms.max == found.execute_ms


@pytest.mark.parametrize(
    ("protocol", "kinds"), [("multipaxos", {"Accepted"}), ("paxos", {"Promise", "Accepted"})]
)
def test_other_protocols_are_explained_by_what_they_call_things(protocol: str, kinds: set[str]) -> None:
    found = explained(protocol, "3", site="JP")
    assert {reply.kind for reply in found.replies} == kinds
    assert found.execute_ms == {"multipaxos": 162, "paxos": 196}[protocol]
    assert ("went to CA" in found.path) is (protocol == "multipaxos")


def test_what_another_replica_finished_is_said_so() -> None:
    # VA dies with commands of its own that others know of and nobody decided.
    found = explained("epaxos", site="VA", faults=[Fault("crash", "VA", 1.0, 8.0)], duration_s=4, clients=5)
    assert found.recovered
    assert "recovered" in found.path


def test_what_is_not_there_is_refused() -> None:
    for which, message in (("9999", "commands 1 to 100"), ("worst", "slowest, median, fastest")):
        with pytest.raises(ConfigurationError, match=message):
            explained("epaxos", which)
    with pytest.raises(ConfigurationError, match="no site 'XX'"):
        explained("epaxos", site="XX")


def test_the_command_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg = tmp_path / "why.svg"
    arguments = ["explain", "--commands", "10", "--conflict", "100", "--clients", "2"]
    assert main([*arguments, "--svg", str(svg)]) == EXIT_DONE
    assert "It waited for:" in capsys.readouterr().out
    assert svg.read_text(encoding="utf-8").startswith("<svg")
    assert main([*arguments, "--json"]) == EXIT_DONE
    assert json.loads(capsys.readouterr().out)["chart"]["lanes"] == ["clients", *PLACE.sites]
    assert main([*arguments, "--protocols", "epaxos,multipaxos"]) == EXIT_USAGE
    assert "one protocol" in capsys.readouterr().err


def test_what_a_replica_does_after_a_restart_is_seen_at_its_time() -> None:
    """Its monotonic clock began anew; what it told others who wait for it comes when it came."""
    crash = Fault("crash", "CA", 1.0, 1.0)
    found = explained("epaxos", site="VA", faults=[crash], duration_s=3.5, clients=5)
    assert found.at_s > 1.5
    assert any(reply.site == "CA" and reply.agreed is False for reply in found.replies)
    (waited, *_) = found.waited_for
    assert "the last thing that was missing" in waited
    lanes = {event.lane for event in found.chart.events if event.kind == "arrow" and event.to == "CA"}
    assert {"VA"} <= lanes
    assert any(event.kind == "decide" and event.lane == "CA" for event in found.chart.events)
