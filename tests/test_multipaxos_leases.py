"""Reads by lease: when there is one, what it forbids to others, what ends it, what clocks must keep to."""

import pytest

from multipaxos import MultiPaxosSettings
from multipaxos.messages import Heartbeat, HeartbeatReply, Prepare, Promise, Release
from multipaxos.records import pack_part
from paxos.ballot import Ballot
from paxos.contract import OutcomeKind
from paxos.errors import ConfigurationError
from paxos.quorum import FlexibleQuorums
from tests.multipaxos_net import Net

LEASE_S, DRIFT = 0.8, 0.1


def settings(**changes: object) -> MultiPaxosSettings:
    given = {"reserve_rounds": 4, "lease_s": LEASE_S, "lease_drift": DRIFT, **changes}
    return MultiPaxosSettings(**given)  # type: ignore[arg-type]


def is_read_at_once(net: Net, node: int) -> bool:
    """Whether a read is answered without a word of anybody."""
    return net.kind(net.read(node)) is OutcomeKind.READY


def test_a_read_under_a_lease_needs_nobody() -> None:
    net = Net(settings=settings())
    leader = net.elect()
    net.submit(leader, b"a")
    net.run(0.2)
    net.drop()
    request = net.read(leader)
    assert net.outcomes[request][1].mark == 1
    assert net.network == []
    assert net.violations == {}


def test_a_follower_is_told_an_index_at_once_too() -> None:
    net = Net(settings=settings())
    leader = net.elect()
    net.run(0.2)
    request = net.read(leader % 3 + 1)
    net.drop(Heartbeat)
    net.deliver()
    assert net.kind(request) is OutcomeKind.READY


def test_there_is_none_unless_it_is_set() -> None:
    net = Net()
    leader = net.elect()
    net.run(0.2)
    assert not is_read_at_once(net, leader)
    with pytest.raises(ConfigurationError, match="lease_s"):
        settings(lease_s=0.9)
    with pytest.raises(ConfigurationError, match="lease_drift"):
        settings(lease_drift=1.0)


def test_it_is_counted_from_before_the_heartbeat_and_shortened() -> None:
    lasts_s = LEASE_S * (1 - DRIFT)
    for after_s, holds in ((lasts_s - 0.01, True), (lasts_s + 0.01, False)):
        net = Net(settings=settings())
        leader = net.elect()
        net.drop()
        net.run(0.2)
        net.drop()
        net.advance(net.settings.heartbeat_s, only=leader)
        sent_s = net.now_s
        net.deliver(Heartbeat)
        net.now_s = sent_s + after_s - 0.005  # the answers are late
        net.deliver(HeartbeatReply)
        net.now_s = sent_s + after_s
        assert is_read_at_once(net, leader) is holds


def test_a_phase_two_quorum_must_have_granted() -> None:
    net = Net(quorums=FlexibleQuorums((1, 2, 3, 4, 5), phase1=2, phase2=4), settings=settings())
    leader = net.elect()
    net.run(2.0)
    net.drop()
    others = [node for node in net.everyone if node != leader]
    net.isolate(others[0], others[1])
    net.run(LEASE_S)
    assert not is_read_at_once(net, leader)
    net.cut.clear()
    net.run(0.3)
    assert is_read_at_once(net, leader)


def test_a_grantor_promises_no_other_ballot() -> None:
    net = Net(settings=settings())
    leader = net.elect()
    net.run(0.2)
    grantor, other = (node for node in net.everyone if node != leader)
    high = Ballot(net.nodes[leader].acceptor.promised.round + 1, other)
    granted_s = net.now_s
    for node in (leader, grantor):
        replica = net.nodes[node].clone()
        replica.receive(other, Prepare(high, 1), net.now)
        assert replica.effects().sends == []
        assert replica.acceptor.promised < high
        later = net.now._replace(monotonic_s=granted_s + LEASE_S + 0.01)
        replica.receive(other, Prepare(high, 1), later)
        assert [type(sent) for _, sent in replica.effects().sends] == [Promise]


def test_a_grantor_that_restarts_waits_a_whole_lease() -> None:
    net = Net(settings=settings())
    leader = net.elect()
    net.run(0.2)
    grantor, other = (node for node in net.everyone if node != leader)
    high = Ballot(net.nodes[leader].acceptor.promised.round + 1, other)
    net.isolate(grantor)
    net.now_s += 0.3
    net.restart(grantor)
    for after_s, promises in ((LEASE_S - 0.01, False), (LEASE_S + 0.01, True)):
        replica = net.nodes[grantor].clone()
        # Nobody can release it from what it does not know.
        replica.receive(leader, Release(replica.acceptor.promised), net.now)
        replica.receive(other, Prepare(high, 1), net.now._replace(monotonic_s=net.now_s + after_s))
        assert (replica.acceptor.promised == high) is promises


def test_elections_do_not_wait_for_it() -> None:
    net = Net(5, settings=settings())
    net.run(1.0)
    first = net.elect()
    net.crash(first)
    start_s = net.now_s
    net.settle(lambda: net.leaders)
    assert net.now_s - start_s < net.settings.election_max_s + 0.3


def test_handing_over_ends_it_first() -> None:
    net = Net(settings=settings())
    leader = net.elect()
    net.run(0.5)
    heir = leader % 3 + 1
    assert is_read_at_once(net, leader)
    net._act("instruct", leader, lambda replica: replica.instruct("transfer", heir, net.now))
    assert not is_read_at_once(net, leader)
    start_s = net.now_s
    net.settle(lambda: net.leaders == [heir])
    assert net.now_s - start_s < 0.3
    net.run(0.5)
    assert is_read_at_once(net, heir)
    assert net.violations == {}


def test_a_release_that_was_lost_is_said_again() -> None:
    """Else every heartbeat has the heir promise to the leader anew, and it can never stand for election."""
    net = Net(settings=settings())
    leader = net.elect()
    net.run(0.5)
    heir = leader % 3 + 1
    net._act("instruct", leader, lambda replica: replica.instruct("transfer", heir, net.now))
    net.drop(Release)
    net.run(net.settings.heartbeat_s * 3)
    assert net.leaders == [heir]
    assert net.happened("transfer failed") == []


def test_after_a_transfer_that_failed_there_is_none_in_this_office() -> None:
    net = Net(settings=settings())
    leader = net.elect()
    net.run(0.5)
    heir = leader % 3 + 1
    net.crash(heir)
    net._act("instruct", leader, lambda replica: replica.instruct("transfer", heir, net.now))
    net.run(net.settings.transfer_s + 0.5)
    assert net.leaders == [leader]
    request = net.read(leader)
    assert net.kind(request) is None
    net.deliver()
    assert net.kind(request) is OutcomeKind.READY


def test_a_new_leader_pays_before_it_reads_by_lease() -> None:
    net = Net(settings=settings(window=1))
    leader = net.elect()
    net.submit(leader, b"a")
    net.run(0.2)
    replica = net.nodes[leader]
    assert replica.leader is not None
    replica.leader.owed = 2  # as if phase 1 had told of one more
    assert not is_read_at_once(net, leader)


def stale_reads(rate: float) -> str | None:
    """The leader's clock runs at this rate; it is cut off, another is elected, and clients ask both."""
    net = Net(settings=settings(election_max_s=0.85), rates={1: rate})
    old = net.elect(1)
    net.submit(old, b"before")
    net.run(0.3)
    net.isolate(old)
    for _ in range(300):
        net.now_s += 0.005
        for node in net.everyone:
            net.advance(0.0, only=node)
        net.deliver()
        for new in net.leaders:
            if new != old and not net.applied(new)[1:]:
                net.submit(new, b"after")
                net.deliver()
        if old in net.leaders:
            net.read(old)
    assert b"after" in net.applied(2) + net.applied(3)
    others = {name: said for name, said in net.violations.items() if name != "ReadFresh"}
    assert others == {}
    return net.violations.get("ReadFresh")


@pytest.mark.parametrize("rate", [0.92, 1.0, 1.3])
def test_within_the_bound_no_read_is_stale(rate: float) -> None:
    assert stale_reads(rate) is None


def test_beyond_the_bound_a_stale_read_is_found() -> None:
    said = stale_reads(0.5)
    assert said is not None
    assert "node 1 answers a read at 1, and 2 was applied" in said


def test_a_snapshot_of_one_that_joined_a_higher_ballot_does_not_release_its_receiver() -> None:
    """Who promised to a candidate may send its snapshot to a grantor: that joins, and promises nothing."""
    net = Net(settings=settings())
    leader = net.elect()
    net.submit(leader, b"a")
    net.run(0.2)
    grantor, other = (node for node in net.everyone if node != leader)
    high = Ballot(net.nodes[leader].acceptor.promised.round + 1, other)
    replica, granted_s = net.nodes[grantor], net.now_s
    replica.install(1, pack_part(high), net.now)
    assert replica.acceptor.promised == high
    replica.effects()
    for after_s, kinds in ((0.0, []), (LEASE_S + 0.01, [Promise])):
        replica.receive(other, Prepare(high, 1), net.now._replace(monotonic_s=granted_s + after_s))
        assert [type(sent) for _, sent in replica.effects().sends] == kinds


def test_nothing_is_granted_before_the_disk_would_know_of_an_earlier_life() -> None:
    """Else a node that dies before its first record is written forgets that it may have granted something."""
    net = Net(settings=settings())
    net.slow.add(3)
    net.crash(3)
    net.disks[3].clear()
    net.start(3)
    leader = net.elect(1)
    net.run(0.3)
    assert leader == 1
    assert net.disks[3] == {}
    net.isolate(2)
    net.run(LEASE_S)
    assert not is_read_at_once(net, leader), "node 3 would not remember"
    net.slow.clear()
    net.flush(3)
    net.run(0.3)
    assert is_read_at_once(net, leader)
