"""Who leads: silence, pre-votes, phase 1 in pages, stepping down, handing over, observers."""

import pytest

from multipaxos import MultiPaxosSettings
from multipaxos.messages import (
    Accept,
    Accepted,
    Heartbeat,
    Nack,
    Prepare,
    PreVote,
    PreVoted,
    Promise,
    TakeOver,
)
from multipaxos.records import MAX_HINTS
from paxos.ballot import Ballot
from paxos.basic.election import Role
from paxos.contract import Instant, OutcomeKind
from paxos.errors import ConfigurationError
from paxos.quorum import FlexibleQuorums
from tests.multipaxos_net import Net


def settings(**changes: object) -> MultiPaxosSettings:
    return MultiPaxosSettings(**({"reserve_rounds": 4} | changes))  # type: ignore[arg-type]


def test_a_new_cluster_elects_its_first_leader_soon() -> None:
    net = Net(5)
    start_s = net.now_s
    net.elect()
    assert net.now_s - start_s < 0.5
    assert len(net.happened("elected")) == 1


def test_a_silent_leader_is_replaced_within_the_longest_timeout_and_a_bit() -> None:
    net = Net(5, draw=lambda name, bound: bound - 1)
    first = net.elect()
    net.crash(first)
    start_s = net.now_s
    net.settle(lambda: net.leaders)
    assert net.settings.election_min_s <= net.now_s - start_s < net.settings.election_max_s + 0.3
    assert {event.arguments["leader"] for event in net.happened("leader silent")} == {first}
    assert net.happened("leader change")[-1].arguments["before"] == first


@pytest.mark.parametrize("drawn", [0, 100, 255])
def test_equal_draws_end_in_a_leader_too(drawn: int) -> None:
    net = Net(5, draw=lambda name, bound: drawn)
    for _ in range(3):
        first = net.elect()
        net.crash(first)
        net.settle(lambda: net.leaders)
        net.start(first)
    assert net.violations == {}


def test_nothing_happens_between_heartbeats_but_heartbeats() -> None:
    net = Net()
    net.elect()
    before = len(net.events)
    net.run(30.0)
    assert len(net.events) == before


# --- pre-votes ---------------------------------------------------------------------------------------


def test_a_node_that_was_cut_off_does_not_disturb_the_leader() -> None:
    net = Net(5)
    leader = net.elect()
    lonely = leader % 5 + 1
    promised = net.nodes[lonely].acceptor.promised
    net.isolate(lonely)
    net.run(20.0)
    assert net.nodes[lonely].election.role is Role.ASKING
    assert net.nodes[lonely].acceptor.promised == promised
    net.cut.clear()
    net.run(5.0)
    assert net.leaders == [leader]
    assert len(net.happened("elected")) == 1
    assert net.nodes[lonely].election.leader == leader


def test_a_node_that_hears_nobody_but_is_heard_does_not_disturb_the_leader() -> None:
    net = Net(3)
    leader = net.elect()
    deaf = leader % 3 + 1
    for other in net.everyone:
        net.cut.add((other, deaf))
    net.run(10.0)
    assert net.leaders == [leader]
    assert len(net.happened("elected")) == 1


def test_consent_is_given_when_no_leader_was_heard_of_lately_and_not_before() -> None:
    net = Net()
    leader = net.elect()
    asked, other = (net.nodes[n] for n in net.everyone if n != leader)
    promised = asked.acceptor.promised
    high = Ballot(promised.round + 1, other._context.node)
    before = asked.fingerprint()

    def answer(ballot: Ballot, later_s: float) -> PreVoted:
        asked.receive(ballot.node, PreVote(ballot), Instant(net.now_s + later_s))
        ((_, message),) = asked.effects().sends
        assert isinstance(message, PreVoted)
        return message

    assert not answer(high, net.settings.election_min_s - 0.1).granted
    assert answer(high, net.settings.election_min_s + 0.1).granted
    low = Ballot(promised.round, high.node)
    assert answer(low, 10.0) == PreVoted(low, low > promised, promised)
    assert asked.fingerprint() == before  # it binds to nothing
    net.nodes[leader].receive(high.node, PreVote(high), net.now)
    assert net.nodes[leader].effects().sends == [(high.node, PreVoted(high, False, promised))]


def test_a_candidacy_needs_the_consent_of_a_phase_one_quorum() -> None:
    net = Net(quorums=FlexibleQuorums((1, 2, 3, 4), phase1=3, phase2=2))
    net.isolate(3)
    net.isolate(4)
    net.run(10.0)
    assert net.happened("campaign") == []
    net.cut = {pair for pair in net.cut if 4 in pair}
    net.settle(lambda: net.leaders)
    assert net.violations == {}


def test_late_consent_to_an_earlier_question_does_not_count() -> None:
    net = Net()
    net.advance(0.2, only=1)
    (asked, *_) = net.pick(PreVote)
    net.drop()
    net.advance(5.0, only=1)
    replica = net.nodes[1]
    roles = []
    for answer, sender in (
        (PreVoted(asked.message.ballot._replace(round=7), True, None), 2),
        (PreVoted(asked.message.ballot, False, None), 2),
        (PreVoted(asked.message.ballot, True, None), 4),
        (PreVoted(asked.message.ballot, True, None), 2),
    ):
        replica.receive(sender, answer, net.now)
        roles.append(replica.election.role)
    assert roles == [Role.ASKING] * 3 + [Role.CANDIDATE]


# --- phase 1 -----------------------------------------------------------------------------------------


def test_a_new_leader_reads_a_long_log_in_pages() -> None:
    net = Net(settings=settings(page_slots=3))
    first = net.elect()
    others = [n for n in net.everyone if n != first]
    net.submit(first, *(b"%d" % n for n in range(10)))
    net.deliver(Accept)
    net.crash(first)  # nobody learned what was chosen
    net.drop()
    net.settle(lambda: net.leaders)
    net.run(0.5)
    assert all(net.applied(node) == [b"%d" % n for n in range(10)] for node in others)
    assert net.happened("adopted")[-1].arguments["slots"] == 10
    assert net.violations == {}


def test_a_lost_page_is_asked_for_again() -> None:
    net = Net(settings=settings(page_slots=2))
    first = net.elect()
    net.submit(first, *(b"%d" % n for n in range(5)))
    net.deliver(Accept)
    net.crash(first)
    net.drop()
    net.until(lambda: net.pick(Promise))
    candidate = net.pick(Promise)[0].recipient
    for _ in range(3):
        net.drop(Promise)
        net.advance(net.settings.repeat_s, only=candidate)
        net.deliver(Prepare)
    net.settle(lambda: net.leaders == [candidate])
    net.run(0.5)
    assert net.applied(candidate) == [b"%d" % n for n in range(5)]
    assert net.violations == {}


def test_an_acceptor_that_moved_on_between_pages_is_not_counted() -> None:
    net = Net(settings=settings(page_slots=1))
    first = net.elect()
    net.submit(first, b"a", b"b")
    net.deliver(Accept)
    net.crash(first)
    net.drop()
    net.until(lambda: net.pick(Promise))
    sent = net.pick(Promise)[0]
    high = Ballot(sent.message.ballot.round + 5, first)
    net.nodes[sent.sender].receive(first, Prepare(high, 1), net.now)
    net.deliver(Promise)
    net.deliver(Prepare)
    assert net.pick(Nack, to=sent.recipient)
    net.deliver(Nack)
    assert net.leaders == []
    assert net.happened("preempted")
    net.settle(lambda: net.leaders)
    net.settle(lambda: net.applied(net.leaders[0]) == [b"a", b"b"])
    assert net.violations == {}


def test_a_candidate_that_is_outbid_gives_way_and_comes_back_higher() -> None:
    net = Net()
    high = Ballot(40, 3)
    for node in (2, 3):
        net.nodes[node].receive(3, Prepare(high, 1), net.now)
        net.nodes[node].effects()
    net.nodes[3].receive(3, Prepare(high, 1), net.now)
    net.elect(1)
    leader = net.nodes[1].leader or net.nodes[net.leaders[0]].leader
    assert leader is not None
    assert leader.ballot > high


# --- stepping down -----------------------------------------------------------------------------------


def test_a_leader_that_lost_its_quorum_steps_down_and_says_what_it_does_not_know() -> None:
    net = Net(5)
    leader = net.elect()
    minority = leader % 5 + 1
    net.isolate(leader, minority)
    (lost,) = net.submit(leader, b"lost")
    read = net.read(leader)
    net.run(net.settings.election_max_s + 0.5)
    assert net.happened("stepped-down", leader)
    assert net.kind(lost) is OutcomeKind.UNKNOWN
    assert net.kind(read) is OutcomeKind.REJECTED
    (refused,) = net.submit(leader, b"refused")
    assert net.kind(refused) is OutcomeKind.REJECTED
    net.settle(lambda: net.leaders)
    net.submit(net.leaders[0], b"kept")
    net.cut.clear()
    net.settle(lambda: all(b"kept" in net.applied(node) for node in net.everyone))
    assert b"lost" not in net.applied(1)
    assert net.violations == {}


def test_a_deposed_leader_ends_what_it_placed_with_unknown() -> None:
    net = Net()
    old = net.elect()
    new = old % 3 + 1
    net.isolate(old)
    (request,) = net.submit(old, b"a")
    net.settle(lambda: new in net.leaders or len(net.leaders) == 2, seconds=5)
    net.cut.clear()
    net.settle(lambda: net.kind(request) is not None)
    assert net.kind(request) is OutcomeKind.UNKNOWN
    assert net.happened("deposed", old) or net.happened("stepped-down", old)
    assert net.violations == {}


def test_who_sees_a_higher_ballot_sends_nothing_more_at_its_own() -> None:
    net = Net()
    old = net.elect()
    high = Ballot(net.nodes[old].acceptor.promised.round + 1, old % 3 + 1)
    for message, sender in (
        (Prepare(high, 1), high.node),
        (Nack(net.nodes[old].acceptor.promised, high), high.node),
        (Heartbeat(high, 1, 0), high.node),
        (Accept(high, 1, b"", 0), high.node),
    ):
        twin = net.nodes[old].clone()
        twin.receive(sender, message, net.now)
        assert twin.leader is None, message
        twin.tick(net.now._replace(monotonic_s=net.now_s + 0.5))
        sends = [sent for _, sent in twin.effects().sends]
        assert not [
            one for one in sends if isinstance(one, Accept | Heartbeat | Accepted) and one.ballot < high
        ]


def test_an_old_nack_does_not_depose() -> None:
    net = Net()
    leader = net.elect()
    replica = net.nodes[leader]
    ballot = replica.acceptor.promised
    other = leader % 3 + 1
    replica.receive(other, Nack(Ballot(0, leader), ballot), net.now)
    replica.receive(other, Nack(ballot, ballot), net.now)
    assert replica.leader is not None


# --- handing over ------------------------------------------------------------------------------------


def hand_over(net: Net, leader: int, heir: int) -> None:
    net._act("instruct", leader, lambda replica: replica.instruct("transfer", heir, net.now))


def test_the_leadership_is_handed_over_without_waiting() -> None:
    net = Net()
    old = net.elect()
    heir = old % 3 + 1
    net.submit(old, b"a")
    hand_over(net, old, heir)
    start_s = net.now_s
    (refused,) = net.submit(old, b"b")
    assert net.kind(refused) is OutcomeKind.REJECTED
    assert f"node {heir}" in net.outcomes[refused][1].reason
    assert net.rooms[old] == 0
    net.deliver()
    assert net.leaders == [heir]
    assert net.now_s == start_s
    assert net.applied(heir) == [b"a"]
    assert net.happened("campaign", heir)[-1].cause == "TakeOver"
    assert not [o for _, o in net.outcomes.values() if o.kind is OutcomeKind.UNKNOWN]
    assert net.violations == {}


def test_an_heir_that_is_behind_catches_up_first() -> None:
    net = Net()
    old = net.elect()
    heir = old % 3 + 1
    net.submit(old, *(b"%d" % n for n in range(5)))
    net.drop(Accept, to=heir)
    hand_over(net, old, heir)
    net.deliver()
    assert net.leaders == [old]
    assert net.pick(TakeOver) == []
    net.run(1.0)
    assert net.leaders == [heir]
    assert net.violations == {}


def test_when_the_heir_is_dead_the_leader_goes_on() -> None:
    net = Net()
    old = net.elect()
    heir = old % 3 + 1
    net.crash(heir)
    hand_over(net, old, heir)
    net.run(net.settings.transfer_s + 0.2)
    assert net.happened("transfer failed", old)
    assert net.leaders == [old]
    net.submit(old, b"a")
    net.deliver()
    assert net.applied(old) == [b"a"]


def test_what_can_not_be_handed_over_is_refused() -> None:
    net = Net(3, observers=(4,))
    leader = net.elect()
    with pytest.raises(ConfigurationError, match="no action 'promote'"):
        net.nodes[leader].instruct("promote", 1, net.now)
    with pytest.raises(ConfigurationError, match="node 4 can not lead"):
        net.nodes[leader].instruct("transfer", 4, net.now)
    with pytest.raises(ConfigurationError, match="does not lead"):
        net.nodes[leader % 3 + 1].instruct("transfer", leader, net.now)
    net.nodes[leader].instruct("transfer", leader, net.now)  # it has it already
    assert net.nodes[leader].effects().events == []


def test_only_the_leader_hands_over() -> None:
    net = Net()
    leader = net.elect()
    other, third = (n for n in net.everyone if n != leader)
    ballot = net.nodes[other].acceptor.promised
    net.nodes[other].receive(third, TakeOver(ballot), net.now)
    net.nodes[other].receive(third, TakeOver(Ballot(ballot.round - 1, third)), net.now)
    assert net.nodes[other].election.role is Role.FOLLOWER


# --- observers ---------------------------------------------------------------------------------------


def test_an_observer_learns_and_never_votes() -> None:
    net = Net(3, observers=(4, 5))
    leader = net.elect()
    net.submit(leader, *(b"%d" % n for n in range(5)))
    net.deliver()
    assert net.applied(4) == net.applied(5) == net.applied(leader)
    for member in net.everyone[:3]:
        net.crash(member)
    net.run(10.0)
    assert net.happened("campaign", 4) == net.happened("campaign", 5) == []
    assert net.nodes[4].election.leader is None
    (refused,) = net.submit(4)
    assert net.kind(refused) is OutcomeKind.REJECTED
    for member in net.everyone[:3]:
        net.start(member)
    net.restart(4)
    net.submit(net.elect(), b"more")
    net.settle(lambda: all(b"more" in net.applied(node) for node in net.everyone))
    assert net.violations == {}


def test_an_observer_that_missed_much_gets_it() -> None:
    net = Net(3, observers=(4,))
    leader = net.elect()
    net.crash(4)
    net.submit(leader, *(b"%d" % n for n in range(5)))
    net.run(0.5)
    for node in net.nodes:
        net.snapshot(node)
    net.submit(leader, b"tail")
    net.start(4)
    net.settle(lambda: net.applied(4) == net.applied(leader))
    assert net.violations == {}


# --- what a restart finds -----------------------------------------------------------------------------


def test_a_long_office_leaves_one_hint_and_many_offices_no_more_than_there_may_be() -> None:
    net = Net(settings=settings(hint_slots=1))
    for node, slots in ((1, 3), (2, 2 * MAX_HINTS)):
        leader = net.elect(node)
        for number in range(slots):
            net.submit(leader, b"%d %d" % (leader, number))
            net.deliver()
    done = net.applied(1)
    assert len(done) == 3 + 2 * MAX_HINTS
    net.restart(1)
    assert net.applied(1) == done, "the first office is not forgotten over the length of the second"
    for number in range(MAX_HINTS + 4):
        net.submit(net.elect(number % 3 + 1), b"%d" % number)
        net.deliver()
    assert len(net.happened("elected")) > MAX_HINTS
    for node in net.everyone:
        net.restart(node)  # it can read what it wrote
    net.elect()
    net.settle(lambda: all(net.applied(node)[: len(done)] == done for node in net.everyone))
    assert net.violations == {}
