"""A replica of Fast Paxos in exact schedules: fast path, both recoveries, silence, contention, restarts."""

from itertools import permutations
from typing import Any

import pytest

from fastpaxos import FastPaxosReplica, FastPaxosSettings, protocol
from fastpaxos.messages import (
    MESSAGES,
    Accept,
    Accepted,
    AnyValue,
    Chosen,
    Forward,
    Prepare,
    Promise,
    Propose,
)
from fastpaxos.rounds import OPEN
from paxos.ballot import Ballot
from paxos.contract import Configuration, Instant, find_protocol
from paxos.errors import ConfigurationError, WireError
from paxos.quorum import FastQuorums, GridQuorums
from paxos.service import ReplyKind
from tests.cluster import Sent
from tests.fastpaxos_net import FastCluster

pytestmark = pytest.mark.once

D = b"d"


def cluster(nodes: int = 3, **settings: Any) -> FastCluster:
    return FastCluster(nodes, settings=FastPaxosSettings(**{"reserve_rounds": 8, **settings}))


def collide(c: FastCluster, first: dict[int, int]) -> list[Any]:
    """Nodes propose, and each acceptor sees the proposal of the one named first."""
    asked = [c.decide(node, "d", b"of %d" % node) for node in sorted(set(first.values()))]
    for node, proposer in first.items():
        c.deliver(Propose, proposer, node)
    c.deliver(Propose)
    return asked


# --- the fast path --------------------------------------------------------------------------------------


def test_two_message_delays_to_every_learner() -> None:
    c = cluster(5)
    asked = c.decide(2, "d", b"v")
    assert c.fast(2).acceptor(D) is not None
    c.deliver(Propose)
    c.deliver(Accepted)
    assert c.result(asked) == b"v"
    assert c.known(D) == dict.fromkeys(range(1, 6), b"v")
    assert {c.fast(node).chosen(D) for node in c.members} == {(OPEN, b"v")}
    assert not c.pick((Prepare, Promise, Accept, Chosen))
    assert c.violations == {}


def test_events_tell_what_was_fast_and_what_was_not() -> None:
    assert protocol.commits is not None
    c = cluster(3)
    c.settle(c.decide(2, "a", b"v"))
    told = [each for event in c.events for each in protocol.commits(event)]
    assert told == [(b"a", True, "")]  # by the node that was asked
    collide(c, {1: 1, 2: 2, 3: 3})
    c.settle()
    told = [each for event in c.events for each in protocol.commits(event)][1:]
    assert told == [(D, False, "collision")] * 3


def test_a_majority_is_not_enough_and_four_of_five_are() -> None:
    c = cluster(5)
    asked = c.decide(1, "d", b"v")
    c.deliver(Propose, to=(2, 3))
    c.deliver(Accepted)
    assert asked not in c.answers
    c.deliver(Propose, to=4)
    c.deliver(Accepted)
    assert c.result(asked) == b"v"
    assert c.fast(5).chosen(D) == (OPEN, b"v")  # that never voted


@pytest.mark.parametrize(("nodes", "down"), [(4, [4]), (5, [2]), (7, [7]), (8, [3, 8])])
def test_the_fast_path_is_taken_with_as_many_down_as_fast_quorums_survive(
    nodes: int, down: list[int]
) -> None:
    """FastPathTaken: nobody competes, and what is up is a fast quorum."""
    c = cluster(nodes)
    for node in down:
        c.crash(node)
    asked = c.decide(1, "d", b"v")
    c.deliver(Propose)
    c.deliver(Accepted)
    assert c.result(asked) == b"v"
    assert c.fast(1).chosen(D) == (OPEN, b"v")


def test_lost_messages_are_repeated_to_those_that_did_not_vote() -> None:
    c = cluster(3)
    asked = c.decide(1, "d", b"v")
    c.deliver(Propose, to=2)
    c.deliver(Accepted)
    c.drop()
    c.advance(0.26)
    assert [sent.recipient for sent in c.pick(Propose)] == [3]
    c.deliver()
    assert c.result(asked) == b"v"
    # Node 2 has missed its own news: it asks, and learns.
    assert c.known(D).keys() >= {1, 3}
    c.settle(c.decided(2, "d"))
    assert c.violations == {}


def test_who_knows_the_decision_answers_with_it() -> None:
    c = cluster(3)
    c.settle(c.decide(1, "d", b"v"))
    later = c.decide(2, "d", b"w")
    c.settle(later)
    assert c.result(later) == b"v"
    assert c.did("chosen") == 3


# --- collisions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", list(permutations((1, 2, 3))))
def test_coordinated_recovery(first: tuple[int, int, int]) -> None:
    c = cluster(3)
    asked = collide(c, dict(zip((1, 2, 3), first, strict=True)))
    c.deliver(Accepted)  # everybody sees the collision, and node 1 votes in the next ballot
    assert c.did("collision") == 3
    assert c.did("recovered") == 1
    c.deliver(Accept)
    c.deliver(Accepted)
    ballot, value = c.fast(1).chosen(D) or (OPEN, b"")
    assert ballot == Ballot(0, 0, 1)
    assert value in {b"of 1", b"of 2", b"of 3"}
    c.deliver()
    assert {c.result(request) for request in asked} == {value}
    assert c.violations == {}
    assert not c.did("preempted")


@pytest.mark.parametrize("nodes", [3, 4, 5])
def test_uncoordinated_recovery_converges_at_the_next_ballot(nodes: int) -> None:
    """Two proposers, and everybody sees all votes: all acceptors pick the same, one more delay later."""
    c = cluster(nodes, recovery="uncoordinated")
    asked = collide(c, {node: 1 + node % 2 for node in range(1, nodes + 1)})
    c.deliver(Accepted)
    assert c.did("recovered") == nodes
    c.deliver(Accepted)
    assert {c.fast(node).chosen(D) for node in c.members} == {(Ballot(0, 0, 1), b"of 1")}
    c.deliver()
    assert {c.result(request) for request in asked} == {b"of 1"}
    assert c.violations == {}
    assert not c.did("preempted")


def test_acceptors_that_saw_different_votes_pick_differently_and_go_on() -> None:
    c = cluster(3, recovery="uncoordinated")
    asked = [c.decide(node, "d", b"of %d" % node) for node in (1, 2, 3)]
    c.drop(Propose)
    # Each hears of one vote more than its own, so that 2 takes another value along than 1 and 3.
    for voter, learner in ((2, 1), (3, 2), (1, 3)):
        c.deliver(Accepted, voter, learner)
    second = {(sent.sender, sent.message.value) for sent in c.pick(Accepted) if sent.message.ballot.step}
    assert second == {(1, b"of 1"), (2, b"of 2"), (3, b"of 1")}
    c.deliver()
    assert {c.fast(node).chosen(D) for node in c.members} == {(Ballot(0, 0, 2), b"of 1")}
    assert {c.result(request) for request in asked} == {b"of 1"}
    assert c.violations == {}


def test_after_the_last_fast_step_the_coordinator_recovers() -> None:
    c = cluster(3, recovery="uncoordinated")
    last = Ballot(0, 0, 3)
    for node in (2, 3):
        for to in (1, 2):
            c.hand_over(Sent(node, to, Accepted(D, last, b"of %d" % node)))
    assert {sent.sender for sent in c.pick(Accept)} == {1}
    assert {sent.message for sent in c.pick(Accept)} == {Accept(D, Ballot(0, 0, 4), b"of 2")}


def test_a_coordinator_whose_acceptor_went_on_to_another_round_goes_on_too() -> None:
    """Its Accept was lost, and is not repeated since its acceptor voted higher up: so nobody refuses it."""
    c = cluster(3)
    first = collide(c, {1: 1, 2: 2, 3: 3})
    c.deliver(Accepted)
    assert c.pick(Accept, 1)
    c.drop()
    c.advance(1.6, only=3)
    c.deliver(Prepare, 3)
    c.deliver(Promise, to=3)
    c.deliver(Accept, 3)
    c.deliver(Accepted, to=(2, 3))
    c.drop()
    assert c.known(D).keys() == {2, 3}
    c.settle(first[0])
    assert c.result(first[0]) == c.known(D)[2]
    assert c.violations == {}


def test_what_may_have_been_chosen_is_recovered() -> None:
    """Four of five voted for v; three of them are heard, and the one that voted otherwise."""
    c = cluster(5)
    first, other = c.decide(2, "d", b"v"), c.decide(5, "d", b"a")
    c.deliver(Propose, 2, (1, 3, 4))
    c.drop()
    c.settle(first, other)
    assert c.result(first) == c.result(other) == b"v"
    assert c.violations == {}


def test_a_late_collision_finds_the_round_taken_over() -> None:
    """The coordinator's acceptor has joined a higher round: its votes of the first ballot count no more."""
    c = cluster(3)
    collide(c, {1: 1, 2: 2, 3: 3})
    votes = c.pick(Accepted, to=1)
    c.drop(Accepted)
    reader = c.decided(3, "d")
    c.advance(1.5, only=3)
    c.deliver(Prepare)
    for sent in votes:
        c.hand_over(sent)
    assert not c.pick(Accept, 1)
    c.settle(reader)
    assert c.violations == {}


# --- silence, contention -------------------------------------------------------------------------------


def test_with_a_node_down_a_classic_round_decides_and_then_all_are_classic() -> None:
    c = cluster(3, collisions_before_classic=2)
    c.crash(3)
    first = c.decide(2, "a", b"v")
    c.settle(first)
    second = c.decide(2, "b", b"v")
    c.settle(second)
    assert c.did("missed") == 2
    assert [event.node for event in c.events if event.action == "classic"] == [2]
    began_s = c.now_s
    third = c.decide(2, "c", b"v")
    assert c.pick(Forward, 2, 1)
    c.settle(third)
    assert c.now_s == began_s  # it waits for nobody
    assert {c.result(request) for request in (first, second, third)} == {b"v"}
    assert c.fast(2).status().values["ballots"] == "classic"
    assert c.violations == {}
    c.start(3)
    c.advance(5.1)
    fourth = c.decide(2, "e", b"w")
    assert c.pick(Propose, 2)
    assert c.did("fast") == 1
    c.settle(fourth)
    assert c.fast(1).chosen(b"e") == (OPEN, b"w")


def test_the_one_that_proposes_for_all_is_not_waited_for_when_dead() -> None:
    c = cluster(5, collisions_before_classic=1)
    c.fast(4)._contention.force(c.now_s)
    c.crash(1)
    asked = c.decide(4, "d", b"v")
    c.settle(asked)
    assert c.result(asked) == b"v"
    assert c.did("suspected") == 1
    again = c.decide(4, "e", b"w")
    assert c.pick(Prepare, 4)  # at once
    c.settle(again)


def test_any_opens_a_round_to_all_proposers() -> None:
    c = cluster(5, reopen=True)
    c.fast(2)._contention.force(c.now_s)
    asked = c.decide(2, "d", b"of 2")
    c.deliver(Forward)
    c.deliver(Prepare)
    c.deliver(Promise)
    assert c.did("any") == 1
    assert {sent.message for sent in c.pick(AnyValue)} == {AnyValue(D, Ballot(1, 1))}
    c.drop(Propose, 1)
    c.deliver(AnyValue)
    other = c.decide(3, "d", b"of 3")
    c.deliver(Propose)
    c.deliver()
    # Node 1 voted for what it was given, the others for what reached them.
    assert c.fast(3).chosen(D) == (Ballot(1, 1), b"of 3")
    assert c.result(other) == c.result(asked) == b"of 3"
    assert c.violations == {}


def test_an_open_round_that_gets_no_votes_is_given_up_for_a_classic_one() -> None:
    c = cluster(3, reopen=True)
    c.crash(3)
    c.fast(2)._contention.force(c.now_s)
    asked = c.decide(2, "d", b"v")
    c.settle(asked)
    assert c.result(asked) == b"v"
    ballot, _ = c.fast(1).chosen(D) or (OPEN, b"")
    assert ballot.step == 1
    assert c.violations == {}


# --- reading ---------------------------------------------------------------------------------------------


def test_a_read_finds_nothing_and_proposes_nothing() -> None:
    c = cluster(3)
    asked = c.decided(2, "d")
    c.settle(asked)
    assert c.result(asked) is None
    assert not c.pick(Propose)
    later = c.decide(1, "d", b"v")
    c.settle(later)
    assert c.result(later) == b"v"


def test_who_proposes_after_a_read_does_not_wait_for_nothing() -> None:
    """The read's round closed the fast ballot, and ended: the proposer begins one at once."""
    c = cluster(5)
    asked = c.decided(2, "d")
    c.settle(asked)
    assert c.result(asked) is None
    began_s = c.now_s
    later = c.decide(1, "d", b"v")
    c.settle(later, step_s=0.01)
    assert c.result(later) == b"v"
    assert c.did("closed") == 1
    assert c.now_s - began_s <= 2 * c.settings.backoff_s
    assert c.did("missed") == 0  # nothing was amiss with fast ballots
    assert c.violations == {}


def test_a_read_completes_what_it_finds() -> None:
    c = cluster(3)
    c.decide(1, "d", b"v")
    c.deliver(Propose, to=2)
    c.drop()
    asked = c.decided(3, "d")
    c.settle(asked)
    assert c.result(asked) == b"v"
    assert c.violations == {}


# --- restarts ----------------------------------------------------------------------------------------------


def test_a_vote_survives_and_is_not_cast_again() -> None:
    c = cluster(3)
    c.decide(1, "d", b"v")
    c.deliver(Propose, to=2)
    c.drop()
    c.restart(2)
    asked = c.decide(3, "d", b"w")
    c.deliver(Propose, 3, 2)
    acceptor = c.fast(2).acceptor(D)
    assert acceptor is not None
    assert acceptor.record() == (OPEN, OPEN, b"v")
    c.settle(asked)
    assert c.violations == {}


def test_the_accept_waits_for_the_own_vote() -> None:
    c = cluster(3)
    c.slow.add(1)
    collide(c, {1: 1, 2: 2, 3: 3})
    c.flush(1)
    c.deliver(Accepted)
    assert c.did("recovered") == 1
    assert not c.pick(Accept)
    c.flush(1)
    assert {sent.recipient for sent in c.pick(Accept)} == {2, 3}
    assert c.violations == {}


def test_a_clone_goes_on_by_itself() -> None:
    c = cluster(3)
    c.decide(1, "d", b"v")
    replica = c.fast(1)
    copy = replica.clone()
    assert copy.fingerprint() == replica.fingerprint()
    copy.receive(1, Accepted(D, OPEN, b"v"), c.now)
    copy.receive(2, Accepted(D, OPEN, b"v"), c.now)
    copy.receive(3, Accepted(D, OPEN, b"v"), c.now)
    assert copy.decrees() == {D: b"v"}
    assert replica.decrees() == {}
    assert copy.fingerprint() != replica.fingerprint()


# --- limits, messages, and what is refused ------------------------------------------------------------------


def test_too_many_decrees_are_refused() -> None:
    c = cluster(3, max_open=1)
    c.decide(1, "a", b"v")
    refused = c.decide(1, "b", b"v")
    reply, _ = c.answers[refused]
    assert reply.kind is ReplyKind.REJECTED
    assert b"b" not in c.fast(1)._open


@pytest.mark.parametrize(
    "message", [Propose(D, b"v"), AnyValue(D, Ballot(3, 2)), Accept(D, Ballot(0, 0, 1), b"v")]
)
def test_messages_travel(message: Any) -> None:
    kind = next(each for each in MESSAGES if each.type is type(message))
    fields = [list(field) if isinstance(field, Ballot) else field for field in kind.pack(message)]
    assert kind.unpack(fields) == message


@pytest.mark.parametrize("fields", [[], [b"d"], ["d", b"v"], [b"d", b"v", 1], [b"d", b"x" * (1 << 25)]])
def test_a_bad_propose_is_refused(fields: list[Any]) -> None:
    kind = next(each for each in MESSAGES if each.type is Propose)
    with pytest.raises(WireError, match="Propose"):
        kind.unpack(fields)


def test_what_it_is_built_of() -> None:
    assert find_protocol("fastpaxos") is protocol
    assert protocol.quorums([1, 2, 3, 4]) == FastQuorums([1, 2, 3, 4], 3, 3)
    assert len({make(FastQuorums([1, 2, 3])).name for make in protocol.invariants}) == len(
        protocol.invariants
    )
    grid = Configuration(1, GridQuorums([[1, 2], [3, 4]]))
    with pytest.raises(ConfigurationError, match="needs a quorum system with fast quorums"):
        FastPaxosReplica(grid, {}, lambda name, bound: 0, Instant(0.0))
    with pytest.raises(ConfigurationError, match="recovery: expected one of coordinated, uncoordinated"):
        FastPaxosSettings(recovery="none")
    stranger = Configuration(4, FastQuorums([1, 2, 3]), observers=(4,))
    with pytest.raises(ConfigurationError, match="node 4 is not one of the members"):
        FastPaxosReplica(stranger, {}, lambda name, bound: 0, Instant(0.0))
