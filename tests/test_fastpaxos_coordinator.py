"""A coordinator of one decree, and its desk: which ballots it takes, what it waits for, what it keeps."""

import pytest

from fastpaxos import Coordinator, FastPaxosSettings
from fastpaxos.coordinator import CoordinatorState
from fastpaxos.messages import (
    MAX_ROUND,
    Accept,
    Accepted,
    AnyValue,
    Ask,
    Chosen,
    Forward,
    Nack,
    Prepare,
    Promise,
    Propose,
)
from fastpaxos.rounds import OPEN, Rounds
from paxos.ballot import BOTTOM, Ballot
from paxos.basic.records import acceptor_key
from paxos.quorum import FastQuorums
from tests.cluster import Sent
from tests.fastpaxos_net import FastCluster

pytestmark = pytest.mark.once

D = b"d"


def coordinator(value: bytes | None = b"own", floor: Ballot = BOTTOM, nodes: int = 3) -> Coordinator:
    return Coordinator(1, FastQuorums(range(1, nodes + 1)), Rounds(), value, decree=D, floor=floor)


def cluster(nodes: int = 3, **settings: object) -> FastCluster:
    given = {"reserve_rounds": 8} | settings
    return FastCluster(nodes, settings=FastPaxosSettings(**given))  # type: ignore[arg-type]


# --- which ballots ----------------------------------------------------------------------------------------


def test_no_ballot_is_taken_twice() -> None:
    leader = coordinator(floor=Ballot(9, 4))
    assert [leader.prepare().ballot.round for _ in range(3)] == [10, 11, 12]
    assert leader.prepare(above=Ballot(20, 2)).ballot == Ballot(21, 1, 1)
    assert leader.prepare(fast=True).ballot == Ballot(22, 1, 0)
    assert leader.adopt(Ballot(30, 1, 1), b"v") == Accept(D, Ballot(30, 1, 1), b"v")
    assert leader.prepare().ballot.round == 31


def test_a_refusal_ends_the_ballot_it_is_of_and_is_remembered() -> None:
    leader = coordinator()
    ballot = leader.prepare().ballot
    for other in (
        Nack(b"other", ballot, Ballot(7, 2, 1)),
        Nack(D, ballot, ballot),
        Nack(D, ballot, OPEN),
        Nack(D, ballot, Ballot(MAX_ROUND, 2, 1)),
    ):
        leader.on_nack(other)
        assert leader.question == Prepare(D, ballot)
    leader.on_nack(Nack(D, OPEN, Ballot(5, 2, 1)))
    assert leader.question == Prepare(D, ballot)
    leader.on_nack(Nack(D, ballot, Ballot(3, 2, 1)))
    assert leader.state is CoordinatorState.PREEMPTED
    assert leader.question is None
    assert leader.prepare().ballot.round == 6


def test_promises_of_others_and_of_other_ballots_do_not_count() -> None:
    leader = coordinator()
    ballot = leader.prepare().ballot
    assert leader.on_promise(1, Promise(D, ballot, BOTTOM, None)) is None
    assert leader.on_promise(1, Promise(D, ballot, BOTTOM, None)) is None
    assert leader.on_promise(4, Promise(D, ballot, OPEN, b"strange")) is None
    assert leader.on_promise(2, Promise(D, OPEN, BOTTOM, None)) is None
    assert leader.on_promise(2, Promise(b"other", ballot, OPEN, b"strange")) is None
    assert leader.gathered == (1,)
    assert leader.on_promise(2, Promise(D, ballot, OPEN, b"v")) == Accept(D, ballot, b"v")
    assert leader.on_promise(3, Promise(D, ballot, OPEN, b"w")) is None
    assert leader.question == Accept(D, ballot, b"v")


def test_a_fast_ballot_is_opened_where_nothing_was_voted_for_and_else_bound() -> None:
    leader = coordinator()
    ballot = leader.prepare(fast=True).ballot
    leader.on_promise(1, Promise(D, ballot, BOTTOM, None))
    assert leader.on_promise(2, Promise(D, ballot, BOTTOM, None)) == AnyValue(D, ballot)
    assert leader.question == AnyValue(D, ballot)
    ballot = leader.prepare(fast=True).ballot
    leader.on_promise(1, Promise(D, ballot, BOTTOM, None))
    assert leader.on_promise(2, Promise(D, ballot, OPEN, b"v")) == Accept(D, ballot, b"v")


def test_who_only_reads_proposes_what_it_finds_and_nothing_else() -> None:
    leader = coordinator(None)
    ballot = leader.prepare().ballot
    leader.on_promise(1, Promise(D, ballot, BOTTOM, None))
    assert leader.on_promise(2, Promise(D, ballot, BOTTOM, None)) is None
    assert leader.state is CoordinatorState.FREE
    assert leader.question is None
    assert leader.offer(b"v")
    assert not leader.offer(b"w")
    ballot = leader.prepare().ballot
    leader.on_promise(1, Promise(D, ballot, BOTTOM, None))
    assert leader.on_promise(2, Promise(D, ballot, BOTTOM, None)) == Accept(D, ballot, b"v")


# --- what it waits for --------------------------------------------------------------------------------------


def test_an_accept_waits_for_the_vote_at_its_own_ballot_and_not_for_an_older_one() -> None:
    c = cluster()
    c.slow.add(1)
    for node in (1, 2, 3):
        c.decide(node, "d", b"of %d" % node)
    c.deliver(Accepted, sender=(2, 3), to=1)
    assert c.did("recovered") == 1
    c.flush(1, 2)
    assert c.pick(Accepted, sender=1)  # in the fast ballot
    c.advance(0.3, only=1)
    assert not c.pick(Accept)
    c.flush(1)
    assert {sent.recipient for sent in c.pick(Accept)} == {2, 3}
    assert c.violations == {}


def test_a_collision_that_too_few_votes_show_is_recovered_when_enough_have_come() -> None:
    """Of seven nodes six must vote alike: three different votes collide, and four are a phase-1 quorum."""
    c = cluster(7)
    for node in (2, 3, 4, 5):
        c.decide(node, "d", b"of %d" % node)
    for node in (2, 3, 4):
        c.hand_over(Sent(node, 1, Accepted(D, OPEN, b"of %d" % node)))
    assert c.did("collision") == 1
    assert c.did("recovered") == 0
    c.hand_over(Sent(5, 1, Accepted(D, OPEN, b"of 5")))
    assert c.did("recovered") == 1
    assert c.pick(Accept, sender=1)


def test_a_read_is_answered_by_a_phase_1_that_began_after_it_came() -> None:
    c = cluster()
    first = c.decided(2, "d")
    c.deliver(Prepare)
    second = c.decided(2, "d")
    c.deliver(Promise)
    assert first in c.answers
    assert second not in c.answers
    assert c.pick(Prepare, sender=2)
    c.settle(second)
    assert c.result(second) is None


def test_a_proposal_that_came_before_any_is_voted_for_when_any_comes() -> None:
    c = cluster()
    c.hand_over(Sent(3, 2, Prepare(D, Ballot(1, 3, 0))))
    c.hand_over(Sent(1, 2, Propose(D, b"early")))
    c.hand_over(Sent(1, 2, Propose(D, b"late")))
    assert {sent.message for sent in c.pick(Nack, to=1)} == {Nack(D, OPEN, Ballot(1, 3, 0))}
    assert not c.pick(Accepted)
    c.hand_over(Sent(3, 2, AnyValue(D, Ballot(1, 3, 0))))
    assert {sent.message for sent in c.pick(Accepted)} == {Accepted(D, Ballot(1, 3, 0), b"early")}


def test_who_did_not_answer_once_is_not_waited_for_at_the_next_decree() -> None:
    c = cluster(5)
    c.crash(1)
    c.fast(2)._contention.force(c.now_s)
    asked = c.decide(2, "d", b"v")
    assert c.pick(Forward, sender=2, to=1)
    c.settle(asked)
    assert c.did("suspected") == 1
    c.fast(2)._contention.force(c.now_s)
    c.drop()
    again = c.decide(2, "e", b"v")
    assert not c.pick(Forward)
    assert c.pick(Prepare, sender=2)
    c.settle(again)


# --- what is kept, and told ---------------------------------------------------------------------------


def test_who_voted_and_was_restarted_asks_what_became_of_it() -> None:
    c = cluster()
    c.decide(1, "d", b"v")
    c.deliver(Propose, to=2)
    c.drop()
    c.restart(2)
    c.drop()
    c.advance(c.settings.ask_s, only=2)
    assert {sent.recipient for sent in c.pick(Ask)} == {1, 3}


def test_of_a_decided_decree_no_vote_is_kept_and_every_question_is_answered() -> None:
    c = cluster()

    def votes() -> list[bytes]:
        return [key for node in c.members for key in c.disks[node] if key.endswith(acceptor_key(D))]

    asked = c.decide(1, "d", b"v")
    c.deliver(Propose)
    assert len(votes()) == 3
    c.settle(asked)
    c.deliver()
    assert votes() == []
    ballot = Ballot(5, 3, 1)
    for question in (
        Propose(D, b"w"),
        Forward(D, b"w"),
        Ask(D),
        Prepare(D, ballot),
        Accept(D, ballot, b"w"),
        AnyValue(D, Ballot(5, 3, 0)),
    ):
        c.hand_over(Sent(3, 2, question))
        assert [(sent.recipient, sent.message) for sent in c.network] == [(3, Chosen(D, OPEN, b"v"))]
        c.drop()


def test_after_a_restart_rounds_are_above_all_that_were_begun() -> None:
    c = cluster(reserve_rounds=1)
    begun = []
    for _ in range(3):
        c.decided(2, "d")
        c.deliver(Prepare, to=1)
        begun += [sent.message.ballot.round for sent in c.pick(Prepare, to=3)]
        c.drop()
        c.restart(2)
        c.drop()
    assert begun == sorted(set(begun))
    assert len(begun) == 3
    assert c.violations == {}


def test_a_round_that_left_before_the_own_promise_was_durable_is_not_begun_again() -> None:
    """The reservation is on disk, and all else that the node did was lost."""
    c = cluster()
    c.slow.add(2)
    c.decided(2, "d")
    begun = [sent.message.ballot.round for sent in c.pick(Prepare, to=3)]
    assert begun == [1]
    c.crash(2)
    c.drop()
    c.slow.clear()
    c.start(2)
    c.decided(2, "d")
    (again,) = [sent.message.ballot.round for sent in c.pick(Prepare, to=3)]
    assert again > 1
    assert c.violations == {}
