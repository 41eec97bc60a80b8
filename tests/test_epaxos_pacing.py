"""EPaxos: what is held back, until when, and what never is."""

import pytest

from epaxos.pacing import Pacing
from paxos.command import Command
from tests.epaxos_net import command, marker, reads, writes

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def paced(*own: Command) -> tuple[Pacing, dict[int, tuple[Command, bytes]]]:
    """These were decided at 0 s, a second after they were proposed, and none is executed."""
    held = {number: (each, b"") for number, each in enumerate(own, 1)}
    pacing = Pacing(held)
    for number in held:
        pacing.decided(number, 1.0, 0.0)
    return pacing, held


def end(pacing: Pacing, own: dict[int, tuple[Command, bytes]], number: int) -> list[Command]:
    """It is executed; what is let go then."""
    del own[number]
    pacing.ended(number)
    return [each.command for each in pacing.release()] if pacing.eased else []


def test_it_is_held_back_after_as_long_as_the_commit_took_and_what_conflicts_alone() -> None:
    pacing, _ = paced(command(1, writes(b"a")))
    assert not pacing.must_wait(command(2, writes(b"a")), 0.9)
    assert pacing.must_wait(command(2, writes(b"a")), 1.0)
    assert pacing.must_wait(command(3, reads(b"a")), 1.0)
    assert not pacing.must_wait(command(4, writes(b"b")), 1.0)


def test_what_waits_for_another_one_that_is_overdue_is_not_let_go() -> None:
    pacing, own = paced(command(1, writes(b"a")), command(2, writes(b"b")))
    waiting = [command(3, writes(b"a")), command(4, writes(b"b")), command(5, writes(b"a", b"b"))]
    for each in waiting:
        assert pacing.must_wait(each, 2.0)
        pacing.hold(each, b"")
    assert end(pacing, own, 1) == waiting[:1]
    assert pacing.must_wait(command(6, reads(b"b")), 2.0)
    # It conflicts with one that is held back.
    assert pacing.must_wait(command(7, reads(b"a")), 2.0)
    assert end(pacing, own, 2) == waiting[1:]
    assert not pacing.must_wait(command(8, writes(b"a", b"b")), 2.0)


def test_markers_hold_nothing_back_and_are_not_held_back() -> None:
    pacing, own = paced(marker(1), command(2, writes(b"a")))
    assert not pacing.must_wait(command(3, writes(b"b")), 5.0), "a marker conflicts with everything"
    assert pacing.must_wait(command(4, writes(b"a")), 5.0)
    assert not pacing.must_wait(marker(5), 5.0)
    assert end(pacing, own, 1) == []
    assert not pacing.eased


def test_what_was_executed_in_time_holds_nothing_back() -> None:
    pacing, own = paced(command(1, writes(b"a")), command(2, writes(b"b")))
    assert end(pacing, own, 1) == []
    assert not pacing.must_wait(command(3, writes(b"a")), 5.0)
    # How long is waited is as long as it took, but for what took no time at all.
    own[4] = (command(4, writes(b"c")), b"")
    pacing.decided(4, 0.0, 5.0)
    assert not pacing.must_wait(command(5, writes(b"c")), 5.01)
    assert pacing.must_wait(command(6, writes(b"c")), 5.02)
