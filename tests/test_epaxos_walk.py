"""Random walks through every fault, with the invariants on. At length: `python -m tests.epaxos_walk`."""

import pytest

from tests import epaxos_walk
from tests.epaxos_walk import CLUSTERS, walk

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

#: Walks in which something rare happens: a recovery that waits for others.
WAITING = (95, 99)


@pytest.mark.parametrize("cluster", range(len(CLUSTERS)), ids=[str(each) for each in CLUSTERS])
def test_a_walk_through_every_fault(cluster: int) -> None:
    seen: set[str] = set()
    for seed in range(3):
        walked = walk(100 * cluster + seed, steps=300, cluster=cluster)
        seen |= {event.action for event in walked.net.events}
    assert {"slow path", "recovery"} <= seen
    assert "breach" not in seen


def test_walks_see_what_is_rare() -> None:
    seen: set[str] = set()
    for seed in WAITING:
        seen |= {event.action for event in walk(seed).net.events}
    assert {"validation", "waiting", "resubmitted", "component", "installed", "truncated"} <= seen


def test_the_command_walks_and_says_what_broke(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert epaxos_walk.main(["--seeds", "1", "--steps", "50"]) == 0
    assert capsys.readouterr().out.startswith("1 walks, ")
    monkeypatch.setattr(epaxos_walk.Walk, "is_quiet", lambda self: False)
    assert epaxos_walk.main(["--seeds", "1", "--steps", "5"]) == 5
    assert "1 broke something" in capsys.readouterr().out
