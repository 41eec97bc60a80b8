"""Reads by index: what is confirmed, by whom and when, who shares a round, what is not answered."""

from multipaxos import MultiPaxosSettings
from multipaxos.messages import Accept, Accepted, Heartbeat, HeartbeatReply, ReadAt, ReadIndex
from paxos.contract import OutcomeKind
from paxos.quorum import FlexibleQuorums
from tests.multipaxos_net import Net


def settings(**changes: object) -> MultiPaxosSettings:
    return MultiPaxosSettings(**({"reserve_rounds": 4} | changes))  # type: ignore[arg-type]


def mark(net: Net, request: object) -> object:
    outcome = net.outcomes[request][1]  # type: ignore[index]
    assert outcome.kind is OutcomeKind.READY, outcome
    return outcome.mark


def test_a_read_at_the_leader_takes_one_round() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, b"a")
    net.deliver()
    request = net.read(leader)
    assert net.kind(request) is None
    net.deliver(Heartbeat)
    net.deliver(HeartbeatReply)
    assert mark(net, request) == 1
    assert net.violations == {}


def test_many_reads_share_a_round_and_the_next_wait_for_the_next() -> None:
    net = Net()
    leader = net.elect()
    net.deliver()
    first = net.read(leader)
    assert len(net.pick(Heartbeat)) == 2
    others = [net.read(leader) for _ in range(50)]
    assert len(net.pick(Heartbeat)) == 2
    net.deliver(Heartbeat)
    net.deliver(HeartbeatReply)
    assert mark(net, first) == 0
    # An answer to a heartbeat that was sent before they came is no confirmation for them.
    assert all(net.kind(request) is None for request in others)
    assert len(net.pick(Heartbeat)) == 2
    net.deliver()
    assert all(mark(net, request) == 0 for request in others)


def test_a_read_sees_what_was_committed_when_it_came() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, b"a", b"b")
    net.deliver(Accept)
    net.deliver(Accepted)
    request = net.read(leader)
    net.deliver()
    assert mark(net, request) == 2


def test_a_new_leader_serves_no_read_before_what_it_owes_is_committed() -> None:
    net = Net()
    old = net.elect()
    net.submit(old, b"a")
    net.deliver(Accept)
    net.deliver(Accepted)  # chosen, and acknowledged by the old leader alone
    assert net.applied(old) == [b"a"]
    net.crash(old)
    net.drop()
    net.until(lambda: net.leaders)
    new = net.leaders[0]
    net.drop(Accept)
    leader = net.nodes[new].leader
    assert leader is not None
    assert leader.owed == 1
    request = net.read(new)
    for _ in range(3):
        net.deliver(Heartbeat)
        net.deliver(HeartbeatReply)
        net.drop(Accept)
    assert net.kind(request) is None
    net.run(2.0)
    assert mark(net, request) == 1
    assert net.violations == {}


def test_a_deposed_leader_answers_no_read() -> None:
    net = Net()
    old = net.elect()
    net.isolate(old)
    late = net.read(old)
    net.settle(lambda: [n for n in net.leaders if n != old])
    (new,) = (n for n in net.leaders if n != old)
    net.submit(new, b"a")
    net.run(2.0)
    assert net.applied(new) == [b"a"]
    assert net.kind(late) is OutcomeKind.REJECTED
    assert net.violations == {}


def test_a_leader_that_others_left_behind_is_not_confirmed() -> None:
    """The schedule of the textbook: a partition, a new leader, a write there, a read here."""
    net = Net(5, settings=settings(election_max_s=100.0))
    old = net.elect(1)
    net.isolate(1, 2)
    net.now_s += 101.0
    net.advance(0.0, only=3)
    net.deliver()
    assert net.leaders == [1, 3]
    net.submit(3, b"new")
    net.deliver()
    assert net.applied(3) == [b"new"]
    request = net.read(old)
    net.deliver()  # node 2 answers, the others do not hear
    assert net.kind(request) is None
    net.cut.clear()
    net._act("tick", old, lambda replica: replica.tick(net.now))
    net.run(0.5)
    assert net.kind(request) is OutcomeKind.REJECTED
    assert net.violations == {}


def test_the_confirming_quorum_is_one_of_phase_two() -> None:
    net = Net(quorums=FlexibleQuorums((1, 2, 3, 4, 5), phase1=2, phase2=4))
    leader = net.elect()
    net.deliver()
    request = net.read(leader)
    answering = [n for n in net.everyone if n != leader]
    for node in answering[:2]:
        net.deliver(Heartbeat, to=node)
        net.deliver(HeartbeatReply, sender=node)
        assert net.kind(request) is None
    net.deliver(Heartbeat, to=answering[2])
    net.deliver(HeartbeatReply, sender=answering[2])
    assert mark(net, request) == 0


def test_a_small_phase_two_quorum_is_enough() -> None:
    net = Net(quorums=FlexibleQuorums((1, 2, 3, 4, 5), phase1=4, phase2=2))
    leader = net.elect()
    net.deliver()
    request = net.read(leader)
    other = leader % 5 + 1
    net.deliver(Heartbeat, to=other)
    net.deliver(HeartbeatReply, sender=other)
    assert mark(net, request) == 0


def test_a_lost_round_is_made_good_by_the_next_heartbeat() -> None:
    net = Net()
    leader = net.elect()
    net.deliver()
    request = net.read(leader)
    net.drop(Heartbeat)
    net.run(0.3)
    assert mark(net, request) == 0


def test_too_many_reads_are_refused() -> None:
    net = Net(settings=settings(pending_reads=3))
    leader = net.elect()
    net.deliver()
    first = net.read(leader)
    requests = [net.read(leader) for _ in range(5)]
    refused = [request for request in requests if net.kind(request) is OutcomeKind.REJECTED]
    assert refused == requests[3:]
    net.deliver()
    assert {mark(net, request) for request in (first, *requests[:3])} == {0}


# --- at followers ------------------------------------------------------------------------------------------


def test_a_follower_asks_the_leader_once_for_many() -> None:
    net = Net(3, observers=(4,))
    leader = net.elect()
    net.submit(leader, b"a")
    net.deliver()
    for node in (leader % 3 + 1, 4):
        first = net.read(node)
        others = [net.read(node) for _ in range(20)]
        assert len(net.pick(ReadIndex)) == 1
        net.deliver(ReadIndex)
        net.deliver(Heartbeat)
        net.deliver(HeartbeatReply)
        net.deliver(ReadAt)
        assert mark(net, first) == 1
        assert len(net.pick(ReadIndex)) == 1
        net.deliver()
        assert {mark(net, request) for request in others} == {1}
    assert net.violations == {}


def test_a_lost_question_for_an_index_is_repeated() -> None:
    net = Net()
    leader = net.elect()
    for lost in (ReadIndex, ReadAt):
        request = net.read(leader % 3 + 1)
        if lost is ReadAt:
            net.deliver(ReadIndex)
            net.deliver(Heartbeat)
            net.deliver(HeartbeatReply)
        net.drop(lost)
        net.run(1.0)
        assert mark(net, request) == 0


def test_another_leader_is_asked_at_once() -> None:
    net = Net()
    old = net.elect()
    net.submit(old, b"a")
    net.run(0.3)
    heir, asking = (node for node in net.everyone if node != old)
    lost, kept = net.read(asking), net.read(heir)
    net.drop(ReadIndex)
    start_s = net.now_s
    net._act("instruct", old, lambda replica: replica.instruct("transfer", heir, net.now))
    net.deliver()
    assert net.leaders == [heir]
    assert net.now_s == start_s
    assert (mark(net, lost), mark(net, kept)) == (1, 1)
    assert net.violations == {}


def test_who_loses_its_leader_refuses_what_it_asked() -> None:
    net = Net()
    old = net.elect()
    net.isolate(old)
    asking = old % 3 + 1
    request = net.read(asking)
    net.settle(lambda: [n for n in net.leaders if n != old])
    net.run(1.0)
    # It had to give up on the old leader before it could know the new one.
    assert net.kind(request) is OutcomeKind.REJECTED
    again = net.read(asking)
    net.run(0.5)
    assert mark(net, again) == net.machines[asking].mark


def test_an_answer_to_another_question_or_life_serves_no_read() -> None:
    net = Net()
    leader = net.elect()
    node = leader % 3 + 1
    request = net.read(node)
    (sent,) = net.pick(ReadIndex)
    life, number = sent.message
    replica = net.nodes[node]
    for wrong in (ReadAt(life, number + 1, 0), ReadAt(life - 1, number, 0), ReadAt(life + 1, number, 0)):
        replica.receive(leader, wrong, net.now)
        assert replica.effects().outcomes == []
    net.restart(node)
    net.deliver()
    assert net.kind(request) is None  # nobody is there any more to be answered
    net.run(0.2)
    net.read(node)
    (sent,) = net.pick(ReadIndex)
    assert sent.message.life != life


def test_no_question_leaves_before_the_life_is_on_the_disk() -> None:
    net = Net()
    leader = net.elect()
    node = leader % 3 + 1
    net.slow.add(node)
    net.restart(node)
    net.run(0.3)
    request = net.read(node)
    assert net.pick(ReadIndex) == []
    net.slow.clear()
    net.flush(node)
    net.run(0.3)
    assert mark(net, request) == 0
    assert net.violations == {}


def test_who_knows_of_no_leader_refuses_reads() -> None:
    net = Net()
    request = net.read(2)
    assert net.kind(request) is OutcomeKind.REJECTED
    leader = net.elect()
    node = leader % 3 + 1
    net.isolate(node)
    request = net.read(node)
    net.run(net.settings.election_max_s + 0.1)
    assert net.kind(request) is OutcomeKind.REJECTED


def test_an_abandoned_read_is_not_answered() -> None:
    net = Net()
    leader = net.elect()
    net.deliver()
    for node in (leader, leader % 3 + 1):
        net.read(node)  # its round is under way
        request = net.read(node)
        net.nodes[node].abandon(request, net.now)
        net.run(0.5)
        assert net.kind(request) is None
