"""Multi-Paxos, one rule at a time, on three and more replicas in the palm of the hand."""

from tests.multipaxos_net import Net


def test_three_replicas_elect_a_leader_and_commit() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, *(b"%d" % n for n in range(100)))
    net.settle(lambda: all(len(net.applied(node)) == 100 for node in net.everyone), seconds=2)
    assert net.applied(1) == net.applied(2) == net.applied(3) == [b"%d" % n for n in range(100)]
    assert net.violations == {}


def test_they_survive_the_loss_of_the_leader() -> None:
    net = Net()
    first = net.elect()
    net.submit(first, b"a")
    net.run(0.5)
    net.submit(first, b"b")
    net.crash(first)
    net.settle(lambda: net.leaders)
    second = net.leaders[0]
    assert second != first
    net.submit(second, b"c")
    net.start(first)
    net.settle(lambda: all(b"c" in net.applied(node) for node in net.everyone))
    assert net.applied(1) == net.applied(2) == net.applied(3) == [b"a", b"b", b"c"]
    assert net.violations == {}
