"""Requests that are asked for again while they are under way: ordered once, and answered each time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epaxos.proposer import EPaxosProposer
from paxos import sim
from paxos.service import LogSettings
from paxos.service.batches import read_batch
from paxos.service.log_messages import RefusedKind, Results
from paxos.service.retries import UnderWay
from paxos.sim import Faults, Topology, Workload
from tests.instant_log import Host, Mode, make_run
from tests.partial_log import host

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def holding(here: Host) -> Host:
    """What its replica is given goes no further."""
    here.replica.mode = Mode.HOLD
    return here


def placed(here: Host) -> list[list[bytes]]:
    """The requests of each command that the replica was given."""
    found = []
    for command in here.replica._waiting:
        batch = read_batch(command)
        assert batch is not None
        found.append([body for run in batch.runs for body in run.bodies])
    return found


def released(here: Host) -> list[tuple[Any, Any]]:
    """Who is told what when the replica goes on."""
    here.replica.release()
    here.node.tick(here.now)
    here.answers.clear()
    while here.turn().held:
        here.synced()
    answers, here.answers = here.answers, []
    return answers


def test_what_is_asked_for_again_is_ordered_once_and_answered_to_both() -> None:
    here = holding(host())
    here.submit(1, b"wa", b"wb", client="first")
    for _ in range(20):
        assert here.submit(1, b"wa", b"wb", client="second") == []
    assert placed(here) == [[b"wa", b"wb"]]
    answers = released(here)
    assert [client for client, _ in answers].count("first") == 1
    assert ("first", Results(b"c" * 16, 1, [b"a:0", b"b:0"])) in answers
    told = [message for client, message in answers if client == "second"]
    assert sorted(told) == sorted([Results(b"c" * 16, 1, [b"a:0"]), Results(b"c" * 16, 2, [b"b:0"])] * 20)
    # Now it is a retry of what was carried out, as ever.
    (again,) = here.submit(1, b"wa", client="third")
    assert again == Results(b"c" * 16, 1, [b"a:0"])
    assert len(here.node.machine.lines[b"a"]) == 1


def test_of_a_run_only_the_rest_is_ordered() -> None:
    here = holding(host())
    here.submit(2, b"wb", b"wc", client="first")
    here.submit(1, b"wa", b"wb", b"wc", b"wd", client="second")
    assert placed(here) == [[b"wb", b"wc"], [b"wa"], [b"wd"]] or placed(here) == [
        [b"wb", b"wc"],
        [b"wa", b"wd"],
    ]
    answers = released(here)
    told = {"first": set[int](), "second": set[int]()}
    for client, message in answers:
        told[client] |= set(range(message.sequence, message.sequence + len(message.results)))
    assert told == {"first": {2, 3}, "second": {1, 2, 3, 4}}
    assert all(len(lines) == 1 for lines in here.node.machine.lines.values())


def test_another_command_under_the_same_number_is_none_that_was_asked_for() -> None:
    here = holding(host())
    here.submit(1, b"wa", client="first")
    here.submit(1, b"wz", client="second")
    assert placed(here) == [[b"wa"], [b"wz"]]
    answers = dict(released(here))
    assert answers["first"] == Results(b"c" * 16, 1, [b"a:0"])
    # The digest is part of a request's id, so these are two.
    assert answers["second"] == Results(b"c" * 16, 1, [b"z:0"])


def test_requests_of_other_clients_are_others() -> None:
    here = holding(host())
    here.submit(1, b"wa", client="first")
    here.submit(1, b"wa", client="second", name=b"d" * 16)
    assert len(placed(here)) == 2


@pytest.mark.parametrize(
    ("mode", "kind"), [(Mode.DOUBT, RefusedKind.UNKNOWN), (Mode.FOLLOW, RefusedKind.REDIRECT)]
)
def test_what_ends_without_being_carried_out_may_be_ordered_again(mode: Mode, kind: RefusedKind) -> None:
    here = holding(host())
    here.submit(1, b"wa", client="first")
    here.submit(1, b"wa", client="second")
    replica = here.replica
    waiting, replica._waiting = replica._waiting, []
    replica.mode = mode
    replica.submit(waiting, here.now)
    here.answers.clear()
    here.turn()
    told = {(client, message.kind) for client, message in here.answers}
    assert told == {("first", kind), ("second", kind)}
    here.answers.clear()
    replica.mode = Mode.LEAD
    assert here.submit(1, b"wa") == [Results(b"c" * 16, 1, [b"a:0"])]


def test_what_is_not_taken_says_nothing_of_what_is_under_way() -> None:
    here = holding(host(waiting_requests=1))
    here.replica.room = 1
    for number in (1, 2, 3):
        here.submit(number, b"wa", client="first")
    (refused,) = here.submit(1, b"wa", client="second")
    assert refused.kind is RefusedKind.REJECTED
    here.replica.room = 1000
    assert {(client, message.sequence) for client, message in released(here)} == {
        ("first", 1),
        ("first", 2),
        ("first", 3),
    }


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4), st.booleans()), max_size=12), st.data())
def test_everybody_is_answered_as_often_as_they_asked(asked: list[tuple[int, int, bool]], data: Any) -> None:
    """However runs overlap, and however they are cut before they are answered."""
    under_way = UnderWay()
    owed: dict[tuple[Any, int], int] = {}
    ordered: list[tuple[int, Any]] = []

    def end(number: int) -> None:
        client, run = ordered.pop(number)
        owed[client, run.sequence] -= 1
        assert len(run.bodies) == 1
        for again, first, last in under_way.ended(run):
            assert (first, last) == (0, 1)
            owed[again, run.sequence] -= 1

    for client, (first, count, is_odd) in enumerate(asked):
        bodies = [b"odd" if is_odd and first == number else b"even" for number in range(first, first + count)]
        for number in range(first, first + count):
            owed[client, number] = owed.get((client, number), 0) + 1
        for part in under_way.news(client, make_run(first, *bodies)):
            for index, body in enumerate(part.bodies):
                sequence = part.sequence + index
                ordered.append((client, make_run(sequence, body)))
        if ordered and data.draw(st.booleans()):
            end(data.draw(st.integers(0, len(ordered) - 1)))
    while ordered:
        end(0)
    assert not any(owed.values())
    assert under_way.is_idle


def test_clients_that_ask_again_and_again_do_not_multiply_what_is_sent() -> None:
    """Two of four nodes are lost, and for two minutes everybody asks again every half second."""
    result = sim.run(
        "epaxos",
        4,
        57_551_207_043_177,
        topology=Topology(name="lan", uniform_ms=0.1),
        faults=Faults(
            loss=0.384,
            jitter=1.365,
            skew_s=6.653,
            random_crashes=5,
            random_partitions=2,
            random_slow_nodes=9,
            random_wipes=1,
        ),
        workload=Workload(
            operations=16,
            clients=2,
            rate=200.0,
            names=12,
            reads=0.394,
            timeout_s=0.5,
            logged=1.0,
            scans=0.1,
            stale=0.2,
        ),
        log=LogSettings(marker_requests=10, pieces_asked=1, piece_s=0.001, repeat_s=1.0, queries=3),
        duration_s=3.0,
        grace_s=120.0,
        max_steps=30_000,
    )
    assert result.ok, result.violations
    assert result.seen["retry"] > 1000
    assert result.messages["PreAccept"] < 1000
    assert result.messages["Recover"] < 5000


def test_whoever_asked_for_what_a_snapshot_took_the_place_of_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Commands of a replica that was away, whose instances are gone when it has a snapshot installed."""
    dropped: list[int] = []
    drop = EPaxosProposer.drop

    def noted(self: EPaxosProposer, number: int) -> None:
        if number in self.own:
            dropped.append(number)
        drop(self, number)

    monkeypatch.setattr(EPaxosProposer, "drop", noted)
    for seed in (2, 17, 28, 33):
        result = sim.run(
            "epaxos",
            3,
            seed,
            faults=Faults(random_partitions=6, random_crashes=2, loss=0.05),
            # Only an answer makes clients ask again.
            workload=Workload(operations=120, clients=6, names=3, timeout_s=600.0),
            log=LogSettings(marker_requests=5, growth=0.0, piece_s=0.0, repeat_s=0.2),
            duration_s=8.0,
        )
        assert result.ok, (seed, result.violations)
        assert None not in {op.outcome for op in result.operations}
    assert len(dropped) > 3
