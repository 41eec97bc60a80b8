"""Recoveries of EPaxos at every point at which one can be needed: enumerated, not sampled.

A run is deterministic: messages arrive oldest first, disks write when no message is on its way. It is
repeated up to its first, second, third step, and so on; there a node is killed, and the others have to finish
what it began.
"""

from collections.abc import Callable, Iterator

import attrs
import pytest

from epaxos import EPaxosSettings
from epaxos.messages import PreAccept
from paxos.ballot import NodeId
from tests.epaxos_net import Net, Sent, reads
from tests.epaxos_script import Script

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

#: Recoveries begin soon, so that little else happens before.
_SOON = EPaxosSettings(reserve_numbers=2, recover_s=0.5, recover_stagger_s=0.3, repeat_s=0.3)

#: The same, and few messages that are sent only now and then.
_SELDOM = attrs.evolve(_SOON, gossip_s=0.5)


def cluster(nodes: int) -> Net:
    """Replicas whose disks take their time: what a step asks to be written is written in one of its own."""
    net = Net(nodes, settings=_SOON)
    net.slow |= set(net.quorums.members)
    net.run()
    net.clone_every = 0
    return net


def fast(net: Net) -> None:
    net.write(1, b"k")


def slow(net: Net) -> None:
    """All others write the same, so that nobody agrees with the owner."""
    for node in reversed(net.quorums.members):
        net.write(node, b"k")


def a_barrier(net: Net) -> None:
    net.write(2, b"k")
    net.barrier(1)


def steps_of(nodes: int, begin: Callable[[Net], None]) -> int:
    """How many steps it takes until everybody knows everything."""
    net = cluster(nodes)
    begin(net)
    for count in range(10_000):
        if not (net.network or any(net.queues.values())):
            return count
        net.advance(net.now_s)
    raise AssertionError("it does not come to an end")


def finish(net: Net, alive: list[NodeId], seconds: float = 30.0) -> None:
    """The others finish by themselves; and then with everybody there."""

    def is_done(nodes: list[NodeId]) -> bool:
        replicas = [net.nodes[node] for node in nodes]
        tops = [max(replica.table.top[rank] for replica in replicas) for rank in range(len(net.everyone))]
        return all(
            replica.learner.executor.pending == 0
            and not replica.proposer.room
            and all(map(lambda have, need: have >= need, replica.learner.executor.frontier, tops))
            for replica in replicas
        )

    net.run(seconds, lambda: is_done(alive))
    net.check()
    assert is_done(alive), [net.nodes[node].status().summary for node in alive]
    assert len(net.states(alive)) == 1
    for node in net.everyone:
        if node not in net.nodes:
            net.start(node)
    net.run(seconds, lambda: is_done(list(net.everyone)))
    net.check()
    assert is_done(list(net.everyone))
    assert len(net.states()) == 1


def prefixes(nodes: int, begin: Callable[[Net], None], stride: int = 1) -> Iterator[Net]:
    """The run up to every step."""
    for count in range(0, steps_of(nodes, begin) + 1, stride):
        net = cluster(nodes)
        begin(net)
        for _ in range(count):
            net.advance(net.now_s)
        yield net


@pytest.mark.parametrize("lost", [False, True], ids=["sent arrives", "sent is lost"])
@pytest.mark.parametrize("kept", [False, True], ids=["unwritten", "written"])
@pytest.mark.parametrize(
    ("nodes", "begin", "stride"),
    [(3, fast, 1), (5, fast, 1), (3, slow, 1), (3, a_barrier, 1), (5, slow, 7)],
)
def test_the_owner_is_killed_at_every_step_of_commit(
    nodes: int, begin: Callable[[Net], None], stride: int, kept: bool, lost: bool
) -> None:
    count = 0
    for net in prefixes(nodes, begin, stride):
        kill(net, 1, kept, lost)
        finish(net, [node for node in net.everyone if node != 1])
        count += 1
    assert count > 10


def kill(net: Net, node: NodeId, kept: bool, lost: bool) -> None:
    """A node dies; what its disk was to write is written or not, what it sent arrives or not."""
    net.crash(node, keep=len(net.queues[node]) if kept else 0)
    if lost:
        net.lose(sender=node)
    for each in net.slow & set(net.nodes):
        net.slow.discard(each)


# --- a recovery that is killed -----------------------------------------------------------------------


def recovering(nodes: int, knows: tuple[NodeId, ...], conflict: bool = False) -> Net:
    """The owner is dead, some have pre-accepted, and 2 has begun to recover."""
    net = cluster(nodes)
    net.slow.clear()
    if conflict:
        net.write(nodes, b"k")
        net.lose()
        net.crash(nodes)
    net.write(1, b"k")
    for node in knows:
        for sent in net.find(PreAccept, 1, node):
            net.deliver(sent)
    net.lose()
    net.crash(1)
    net.slow |= set(net.nodes)
    begin_recovery(net, 2)
    return net


def begin_recovery(net: Net, node: NodeId) -> None:
    net._act("tick", node, lambda r: r.recoveries.start(0, 1, r.context, net.now_s))


@pytest.mark.parametrize("lost", [False, True], ids=["sent arrives", "sent is lost"])
@pytest.mark.parametrize(
    ("nodes", "knows", "conflict"),
    [(3, (), False), (3, (2,), False), (5, (2, 3), False), (5, (3,), False)],
)
def test_the_recoverer_is_killed_at_every_step_of_recovery(
    nodes: int, knows: tuple[NodeId, ...], conflict: bool, lost: bool
) -> None:
    count = 0
    while True:
        net = recovering(nodes, knows, conflict)
        for _ in range(count):
            net.advance(net.now_s)
        is_over = not (net.network or any(net.queues.values()))
        kill(net, 2, False, lost)
        if len(net.nodes) < net.quorums.classic:
            net.start(1)
        finish(net, list(net.nodes))
        if is_over:
            break
        count += 1
    assert count > 8


@pytest.mark.parametrize(("nodes", "knows"), [(3, (2,)), (5, (2, 3)), (5, (3,))])
def test_two_recoverers_duel_from_every_step_on(nodes: int, knows: tuple[NodeId, ...]) -> None:
    count = 0
    while True:
        net = recovering(nodes, knows)
        for _ in range(count):
            net.advance(net.now_s)
        is_over = not (net.network or any(net.queues.values()))
        for _ in range(3):
            # Both again and again, each above what it has heard of.
            for node in (3, 2):
                net.nodes[node].recoveries.running.clear()
                begin_recovery(net, node)
                net.advance(net.now_s)
        net.slow.clear()
        finish(net, list(net.nodes))
        if is_over:
            break
        count += 1
    assert count > 8


# --- waiting ---------------------------------------------------------------------------------------------


def test_recoveries_that_wait_for_each_other_end() -> None:
    settings = EPaxosSettings(
        reserve_numbers=1, recover_s=20.0, recover_max_s=30.0, repeat_s=10.0, repeat_max_s=20.0, gossip_s=5.0
    )
    s = Script(5, settings=settings)
    y, x = s.ask(1), s.ask(5)
    s.carry(PreAccept, y, 1, 2)
    s.carry(PreAccept, x, 5, 4)
    # Each asks the other's owner, who knows of a conflict, and not the own.
    s.recover(y, 2, 5, 3)
    s.recover(x, 4, 1, 3)
    s.validate(y, 2, 5, 3)
    s.validate(x, 4, 1, 3)
    stages = {n: [each.stage for each in s.nodes[n].recoveries.running.values()] for n in (2, 4)}
    assert stages == {2: ["waiting"], 4: ["waiting"]}
    s.waiting(y, 2, 4)
    s.waiting(x, 4, 2)
    assert s.nodes[2].recoveries.running
    assert s.nodes[4].recoveries.running
    s.crash(1)
    s.crash(5)
    s.network.clear()
    Net.run(_unscripted(s), 3 * settings.recover_max_s)
    assert s.violations == {}
    for node in (2, 3, 4):
        assert s.nodes[node].learner.executor.frontier[0] >= 1
        assert s.nodes[node].learner.executor.frontier[4] >= 1
        assert not s.nodes[node].recoveries.running


def _unscripted(s: Script) -> Net:
    """From now on messages arrive by themselves."""
    s.post = s.network.extend  # type: ignore[method-assign, assignment]
    return s


@pytest.mark.parametrize("ring", [3, 4, 5])
def test_rings_of_conflicts_are_recovered(ring: int) -> None:
    """Each owner is known to its successor alone, then all of as many as may be die."""
    net = Net(7, settings=_SOON)
    for node in range(1, ring + 1):
        net.write(node, b"k%d" % node, b"k%d" % (node % ring + 1))
        for sent in net.find(PreAccept, node, node % ring + 1) + net.find(PreAccept, node, 7):
            net.deliver(sent)
    net.lose()
    for node in (1, 2, 3):
        net.crash(node)
    finish(net, [4, 5, 6, 7], seconds=60.0)
    assert net.seen("recovered") >= 3


# --- late duplicates -------------------------------------------------------------------------------------


def everything(net: Net) -> None:
    """A run with every kind of message: both paths, a recovery that validates, a barrier, one who asks."""
    net.write(1, b"k")
    net.write(3, b"k")
    net.submit(2, reads(b"k"))
    net.run()
    net.write(1, b"l")
    for sent in net.find(PreAccept, 1, 2):
        net.deliver(sent)
    net.lose()
    net.crash(1)
    net.run(1.5)
    net.barrier(2)
    net.run()
    net.start(1)
    net.write(3, b"k", b"m")
    net.run(1.0)


class Recorded(Net):
    """Keeps what is delivered; and delivers one message once more, after so many more."""

    late: tuple[int, int] | None = None

    def deliver(self, sent: Sent, keep: bool = False) -> None:
        if not keep:
            self.past.append(sent)
        super().deliver(sent, keep)
        if self.late is not None and len(self.past) == self.late[1] and not keep:
            self.deliver(self.past[self.late[0]], keep=True)

    def start(self, node: NodeId) -> None:
        if not hasattr(self, "past"):
            self.past: list[Sent] = []
        super().start(node)


def late_duplicates(stride: int) -> tuple[int, set[str]]:
    """Every message once more, at every later point, or some; how many runs, and which kinds of messages."""
    first = Recorded(3, settings=_SELDOM)
    everything(first)
    first.check()
    kinds = {type(sent.message).__name__ for sent in first.past}
    runs = 0
    for index in range(len(first.past)):
        for point in range(index + 1 + index % stride, len(first.past) + 1, stride):
            net = Recorded(3, settings=_SELDOM)
            net.clone_every = 0
            net.late = (index, point)
            everything(net)
            net.run(20.0, lambda net=net: _is_still(net))  # type: ignore[misc]
            net.check()
            assert len(net.states()) == 1, (index, point)
            runs += 1
    return runs, kinds


def _is_still(net: Net) -> bool:
    return not net.network and all(
        not replica.learner.executor.pending and not replica.proposer.room for replica in net.nodes.values()
    )


def test_messages_that_come_once_more_change_nothing() -> None:
    runs, kinds = late_duplicates(stride=61)
    assert runs > 80
    assert {"PreAccept", "PreAcceptOK", "Accept", "AcceptOK", "Commit", "Gossip", "Recover"} <= kinds
    assert {"RecoverOK", "Validate", "ValidateOK", "Known"} <= kinds


def test_the_kinds_of_recovery_are_those_of_the_rules() -> None:
    """Nobody knows it: a no-op; somebody accepted it: that; it may have been committed fast: it is asked."""
    for knows, validates in (((), False), ((2,), True)):
        net = recovering(3, knows)
        net.slow.clear()
        finish(net, [2, 3])
        assert bool(net.seen("validation")) == validates
        assert bool(net.applied(3)) == validates
