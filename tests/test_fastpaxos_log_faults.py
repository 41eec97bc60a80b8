"""The log of Fast Paxos where somebody is gone for good, or says what can not be: it goes on."""

import pytest

from fastpaxos.log import FastLogSettings
from fastpaxos.log.candidate import Candidate
from fastpaxos.log.messages import (
    MAX_SLOT,
    Accept,
    Chosen,
    Fetch,
    Forward,
    Heartbeat,
    HeartbeatReply,
    Prepare,
    PreVote,
    PreVoted,
    Promise,
    Propose,
    TakeOver,
    Voted,
)
from fastpaxos.rounds import OPEN, Rounds
from paxos.ballot import Ballot
from paxos.basic.values import NOP_VALUE, pack_value
from paxos.errors import ProtocolBreach
from paxos.quorum import FastQuorums
from tests.fastpaxos_log_net import Net, command

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

VALUE = pack_value(command(7))


def led_by_one_that_lacks_what_another_compacted() -> Net:
    """Node 1 alone knows slots 1 to 8 to be chosen, and has forgotten them; node 2 was told so in phase 1."""
    net = Net(3)
    net.deliver()
    net.submit(1, *[b"%d" % number for number in range(8)])
    net.deliver(Propose)
    net.deliver(Voted, to=1)
    net.drop()
    assert net.snapshot(1) == 8
    net.tick(1)
    net.deliver(Heartbeat)
    net.drop()
    net.hand_over_message(1, 2, TakeOver(OPEN))
    net.deliver(Prepare)
    net.drop(Promise, sender=3)
    net.deliver(Promise)
    office = net.nodes[2].office
    assert office is not None
    assert office.floor == 8
    assert [sent.message for sent in net.pick(Fetch, sender=2, to=1)] == [Fetch(1, 8)]  # it asks at once
    return net


# --- gone for good --------------------------------------------------------------------------------------


def test_what_only_a_dead_node_compacted_holds_nobody_up() -> None:
    """A quorum lives, and has votes for all of it: phase 1 without the dead node finds them."""
    net = led_by_one_that_lacks_what_another_compacted()
    net.crash(1)
    net.drop()
    net.submit(3, b"x")
    net.settle(lambda: all(b"x" in net.applied(node) for node in net.nodes))
    assert net.applied(2)[:8] == [b"%d" % number for number in range(8)]
    (left,) = net.happened("stepped-down", 2)
    assert left.arguments["reason"] == "what is chosen up to slot 8 does not come from node 1"
    assert net.violations == {}


def test_who_has_what_the_coordinator_lacks_is_asked_to_coordinate() -> None:
    net = led_by_one_that_lacks_what_another_compacted()
    net.cut.add((2, 1))  # it hears nothing of what is asked for
    net.drop()
    net.now_s += net.settings.election_max_s
    for node in (1, 3):
        office = net.nodes[2].office
        assert office is not None
        reply = HeartbeatReply(office.ballot, 1, 0, 0)
        net.hand_over_message(node, 2, reply)
    net.tick(2)
    assert [sent.recipient for sent in net.pick(TakeOver)] == [1]
    assert net.nodes[2].office is None


def test_as_long_as_it_gets_on_it_stays_in_office() -> None:
    net = led_by_one_that_lacks_what_another_compacted()
    office = net.nodes[2].office
    assert office is not None
    net.crash(1)
    net.drop()
    for slot in range(1, 9):
        net.now_s += 1.0
        net.hand_over_message(3, 2, HeartbeatReply(office.ballot, 1, 0, 0))
        value = net.nodes[3].acceptor.slots[slot].accepted_value
        assert value is not None
        net.hand_over_message(3, 2, Chosen(slot, ((OPEN, value),)))
        net.tick(2)
    net.now_s += net.settings.election_max_s
    net.hand_over_message(3, 2, HeartbeatReply(office.ballot, 1, 0, 0))
    net.tick(2)
    assert net.nodes[2].office is office


def test_what_a_snapshot_covers_is_under_way_no_more() -> None:
    """The coordinator's own command is in the snapshot that it is sent: it does not keep it for ever."""
    net = Net(5)
    net.deliver()
    net.submit(5, b"mine")
    net.deliver(Propose)
    net.deliver(Voted, to=(1, 2, 3, 4))
    net.drop()
    net.hand_over_message(1, 5, TakeOver(OPEN))
    net.deliver(Prepare)
    net.deliver(Promise)
    net.drop()
    replica = net.nodes[5]
    office = replica.office
    assert office is not None
    assert list(office.flights) == [1]
    for node in (1, 2, 3, 4):
        assert net.snapshot(node) == 1
    net.hand_over_message(5, 1, Fetch(1, 1))
    net.bring()
    assert replica.learner.committed == 1
    assert list(office.flights) == [2]  # it is placed again, as if it were lost; which is no harm
    net.settle(lambda: not replica.proposer.pending)
    assert net.violations == {}


# --- what can not be ----------------------------------------------------------------------------------------


def test_who_says_it_is_far_ahead_costs_no_more_than_a_few_slots() -> None:
    net = Net(3)
    net.deliver()
    net.hand_over_message(2, 1, HeartbeatReply(OPEN, 1, MAX_SLOT, MAX_SLOT))
    learner = net.nodes[1].learner
    assert len(learner.since_s) <= 4 * net.settings.window
    net.submit(3, b"x")
    net.settle(lambda: all(b"x" in net.applied(node) for node in net.nodes))
    assert len(learner.since_s) <= 8 * net.settings.window
    assert net.violations == {}


def test_a_node_a_million_slots_behind_keeps_few_of_them_in_mind() -> None:
    """It votes beside the others meanwhile, and when it has caught up it waits for what is not decided."""
    net = Net(3, settings=FastLogSettings(window=8))
    net.deliver()
    head = 1_000_000
    net.hand_over_message(1, 3, Heartbeat(OPEN, 1, head, 1))
    net.hand_over_message(2, 3, Propose(OPEN, head + 3, VALUE))
    replica = net.nodes[3]
    assert replica.acceptor.slots[head + 3].accepted_value == VALUE
    learner = replica.learner
    assert set(learner.since_s) == {*range(1, 33), *range(head + 1, head + 4)}
    net.machines[3].mark = head - 40
    replica.install(head - 40, b"", net.now)
    replica.effects()
    assert set(learner.since_s) == {*range(head - 39, head - 7), *range(head + 1, head + 4)}
    replica.receive(1, Chosen(head - 39, tuple((OPEN, NOP_VALUE) for _ in range(20))), net.now)
    replica.effects()
    assert learner.committed == head - 20
    assert set(learner.since_s) == set(range(head - 19, head + 4))


def test_votes_far_above_what_is_committed_are_not_kept() -> None:
    net = Net(3, settings=FastLogSettings(window=8))
    net.deliver()
    before = net.nodes[2].fingerprint()
    for sender in (1, 3):
        for slot in (33, 1 << 40, MAX_SLOT):
            net.hand_over_message(sender, 2, Voted(OPEN, slot, VALUE))
    assert net.nodes[2].fingerprint() == before
    net.hand_over_message(1, 2, Voted(OPEN, 32, VALUE))
    assert list(net.nodes[2].learner.tallies) == [32]


def test_a_member_that_votes_twice_stops_nobody() -> None:
    net = Net(3)
    net.deliver()
    for value in (VALUE, NOP_VALUE):
        net.hand_over_message(3, 2, Voted(OPEN, 1, value))
    assert [event.cause for event in net.happened("breach", 2)] == ["Voted"]
    for node, value in ((1, VALUE), (3, NOP_VALUE)):
        net.hand_over_message(node, 2, Voted(Ballot(0, 0, 1), 1, value))
    assert len(net.happened("breach", 2)) == 2
    assert net.applied(2) == []
    assert net.stopped == {}


def test_a_report_far_above_all_others_is_no_honest_one() -> None:
    ballot = Ballot(1, 1, 1)
    candidate = Candidate(ballot, 1, FastQuorums((1, 2, 3)), Rounds())
    candidate.on_promise(1, Promise(ballot, 1, (), 0, 0))
    candidate.on_promise(2, Promise(ballot, 1, ((MAX_SLOT, OPEN, VALUE),), 0, 0))
    assert candidate.is_elected
    with pytest.raises(ProtocolBreach, match="not what it says"):
        candidate.debts()


def test_thousands_of_slots_are_open_at_once() -> None:
    """All of a window, of three nodes: placed again, repaired by another coordinator, in pages."""
    net = Net(3, settings=FastLogSettings(window=2048, page_slots=500, reserve_rounds=4))
    net.clone_every = 1 << 30
    net.invariants = []
    net.deliver()
    net.submit(1, *[b"%d" % number for number in range(2048)])
    net.deliver(Propose, to=3)
    net.crash(1)
    net.drop()
    net.submit(2, b"x")
    net.settle(lambda: all(b"x" in net.applied(node) for node in net.nodes), step_s=0.1)
    assert sum(payload != b"x" for payload in net.applied(3)) == 2048
    assert len(net.nodes[2].learner.since_s) == 0


def test_a_coordinators_question_for_another_life_is_nobodys() -> None:
    """What is said to be of this node's own round does not come from it: it has never heard of it."""
    net = Net(3)
    net.deliver()
    net.hand_over_message(2, 3, Accept(Ballot(2, 3, 1), 1, VALUE))
    net.hand_over_message(2, 3, Heartbeat(Ballot(2, 3, 1), 1, 0, 1))
    assert [event.action for event in net.events if event.node == 3][-2:] == ["refused", "refused"]
    assert net.nodes[3].acceptor.slots == {}


def test_what_a_node_knows_to_be_chosen_is_placed_anew_when_it_is_submitted_again() -> None:
    """A restarted node may name a request as it did before; a coordinator that still fills that slot with it
    has it under way, but this node will hear of the slot no more.
    """
    net = Net(3, settings=FastLogSettings(reserve_rounds=4, collisions_before_classic=0))
    net.deliver()
    first, again = command(1, b"x"), command(1, b"x")
    net._act("request", 2, lambda r: r.submit((first,), net.clock(2)), submitted=first)
    net.deliver(Propose)
    net.deliver(Voted, to=2)
    assert net.applied(2) == [b"x"]
    net.drop()
    net.now_s = net.nodes[3].election.deadline_s
    net.tick(3)
    for kind in (PreVote, PreVoted, Prepare, Promise, Heartbeat):
        net.deliver(kind)
    assert net.pick(Accept, to=2)
    net._act("request", 2, lambda r: r.submit((again,), net.clock(2)), submitted=again)
    net.deliver(Forward)
    net.deliver(Accept, to=2)
    net.settle(lambda: not net.nodes[2].proposer.pending)
    net.run(1.0)
    assert net.violations == {}
    assert net.applied(1) == net.applied(2) == net.applied(3) == [b"x", b"x"]
