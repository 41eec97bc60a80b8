"""Recoveries of EPaxos at every point at which one can be needed: enumerated, not sampled.

A run is deterministic: messages arrive oldest first, disks write when no message is on its way. It is
repeated up to its first, second, third step, and so on; there a node is killed, and the others have to finish
what it began.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

import attrs
import pytest

from epaxos import EPaxosSettings
from epaxos.instances import InstanceId
from epaxos.messages import PreAccept
from paxos.ballot import NodeId
from tests.epaxos_net import Net, Sent, reads, writes
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


def contested(net: Net) -> None:
    """Two write the same, and the first of these does not get the fast path."""
    net.write(max(net.quorums.members), b"k")
    net.write(1, b"k")


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


def prefixes(nodes: int, begin: Callable[[Net], None]) -> Iterator[Net]:
    """The run up to every step."""
    for count in range(steps_of(nodes, begin) + 1):
        net = cluster(nodes)
        begin(net)
        for _ in range(count):
            net.advance(net.now_s)
        yield net


@pytest.mark.parametrize("lost", [False, True], ids=["sent arrives", "sent is lost"])
@pytest.mark.parametrize("kept", [False, True], ids=["unwritten", "written"])
@pytest.mark.parametrize(
    ("nodes", "begin"),
    [(3, fast), (5, fast), (3, slow), (5, contested), (3, a_barrier)],
)
def test_the_owner_is_killed_at_every_step_of_commit(
    nodes: int, begin: Callable[[Net], None], kept: bool, lost: bool
) -> None:
    count = 0
    for net in prefixes(nodes, begin):
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


def recovering(nodes: int, knows: tuple[NodeId, ...]) -> Net:
    """The owner is dead, some have pre-accepted, and 2 has begun to recover."""
    net = cluster(nodes)
    net.slow.clear()
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
@pytest.mark.parametrize(("nodes", "knows"), [(3, ()), (3, (2,)), (5, (2, 3)), (5, (3,))])
def test_the_recoverer_is_killed_at_every_step_of_recovery(
    nodes: int, knows: tuple[NodeId, ...], lost: bool
) -> None:
    count = 0
    while True:
        net = recovering(nodes, knows)
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


@pytest.mark.parametrize("lost", [False, True], ids=["sent arrives", "sent is lost"])
@pytest.mark.parametrize(("nodes", "begins"), [(3, range(16)), (5, (2, 9, 18))])
def test_the_owner_is_killed_at_every_step_of_a_recovery_that_began_while_it_lived(
    nodes: int, begins: Iterable[int], lost: bool
) -> None:
    """Somebody suspects the owner after so many steps of its commit; both go on, and then it dies."""
    runs = 0
    for begin in begins:
        for count in range(10_000):
            net = cluster(nodes)
            fast(net)
            for _ in range(begin):
                net.advance(net.now_s)
            begin_recovery(net, 2)
            for _ in range(count):
                net.advance(net.now_s)
            is_over = not (net.network or any(net.queues.values()))
            kill(net, 1, False, lost)
            finish(net, [node for node in net.everyone if node != 1])
            runs += 1
            if is_over:
                break
    assert runs > 60


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


#: Nothing is repeated or recovered for a while.
_LATER = EPaxosSettings(
    reserve_numbers=1, recover_s=20.0, recover_max_s=30.0, repeat_s=10.0, repeat_max_s=20.0, gossip_s=5.0
)


def test_recoveries_that_wait_for_each_other_end() -> None:
    s = Script(5, settings=_LATER)
    y, x = s.ask(1), s.ask(5)
    s.carry(PreAccept, y, 1, 2)
    s.carry(PreAccept, x, 5, 4)
    # Each asks the other's owner, who knows of a conflict, and not the own.
    s.recover(y, 2, 5, 3)
    s.recover(x, 4, 1, 3)
    s.validate(y, 2, 5, 3)
    s.validate(x, 4, 1, 3)
    s.waiting(y, 2, 4)
    s.waiting(x, 4, 2)
    assert waiting_at(s) == {2: {y: {x}}, 4: {x: {y}}}
    end(s, 1, 5)


def waiting_at(s: Script) -> dict[NodeId, dict[InstanceId, set[InstanceId]]]:
    """Which recoveries wait, where, and for what."""

    def name(key: tuple[int, int]) -> InstanceId:
        return InstanceId(s.quorums.members[key[0]], key[1])

    return {
        node: {
            name(key): {name(each) for each in recovery.conflicts}
            for key, recovery in replica.recoveries.running.items()
            if recovery.stage == "waiting"
        }
        for node, replica in s.nodes.items()
        if replica.recoveries.running
    }


def end(s: Script, *dead: NodeId) -> list[NodeId]:
    """These die, and what was on its way is lost; the others, given back, come to an end by themselves."""
    for node in dead:
        s.crash(node)
    s.network.clear()
    net = _unscripted(s)
    alive = list(net.nodes)

    def is_done() -> bool:
        return not net.network and not any(
            replica.recoveries.running or replica.learner.executor.pending or s.open_at([node])
            for node, replica in net.nodes.items()
        )

    net.run(8 * _LATER.recover_max_s, is_done)
    s.check()
    assert is_done(), {node: net.nodes[node].status().values for node in alive}
    assert len(net.states()) == 1
    return alive


#: Which recoveries ask whom, when they wait for each other in a ring: owner, who pre-accepted, who is asked.
#: Whoever is asked first recovers.
_RINGS: dict[tuple[int, int], list[tuple[NodeId, tuple[NodeId, ...], tuple[NodeId, ...]]]] = {
    # Four of five: those that are opposite do not conflict, and know each other's.
    (5, 4): [(1, (3,), (3, 2, 4)), (2, (4,), (4, 1, 3)), (3, (1,), (1, 2, 4)), (4, (2,), (2, 1, 3))],
    # Three of nine, where a classic quorum has five and may lack three of a fast one.
    (9, 3): [
        (1, (4, 5), (4, 5, 2, 3, 6)),
        (2, (6, 7), (6, 7, 3, 1, 8)),
        (3, (8, 9), (8, 9, 1, 2, 4)),
    ],
}


def ring_of(nodes: int, length: int) -> Script:
    """Recoveries of which each waits for the next, and the last for the first."""
    s = Script(nodes, settings=_LATER)
    ring = _RINGS[nodes, length]
    named = {
        owner: s.ask(owner, writes(b"k%d" % owner, b"k%d" % (owner % length + 1))) for owner, _, _ in ring
    }
    for owner, knows, _ in ring:
        for other in knows:
            s.carry(PreAccept, named[owner], owner, other)
    for owner, _, asked in ring:
        s.recover(named[owner], *asked)
    for owner, _, asked in ring:
        s.validate(named[owner], *asked)
    for owner, _, asked in ring:
        s.waiting(named[owner], asked[0], *(node for node in s.everyone if node != asked[0]))
    waits = {inst: names for found in waiting_at(s).values() for inst, names in found.items()}
    assert set(waits) == set(named.values())
    for owner, inst in named.items():
        neighbours = {named[owner % length + 1], named[(owner - 2) % length + 1]}
        assert waits[inst] == neighbours
    return s


@pytest.mark.parametrize(("nodes", "length"), sorted(_RINGS))
def test_a_ring_of_recoveries_that_wait_for_each_other_ends_whoever_dies(nodes: int, length: int) -> None:
    """Any of those that may die, of the owners of what waits: none, one, and so on."""
    most = min(Net(nodes).quorums.failures, length)
    for count in range(most + 1):
        for dead in combinations(range(1, length + 1), count):
            assert {*end(ring_of(nodes, length), *dead)}.isdisjoint(dead)


def waiting_recovery() -> Net:
    """Of five the first is dead; 2 recovers what 3 knows, and will have to wait for that of 5."""
    net = cluster(5)
    net.slow.clear()
    for node, other in ((1, 3), (5, 4)):
        net.write(node, b"k")
        for sent in net.find(PreAccept, node, other):
            net.deliver(sent)
        net.lose()
    net.crash(1)
    net.slow |= set(net.nodes)
    net.cut.add((2, 4))
    begin_recovery(net, 2)
    return net


@pytest.mark.parametrize("lost", [False, True], ids=["sent arrives", "sent is lost"])
@pytest.mark.parametrize("dies", [2, 5], ids=["who waits", "who is waited for"])
def test_a_death_at_every_step_of_a_recovery_that_waits(dies: NodeId, lost: bool) -> None:
    count = waited = 0
    while True:
        net = waiting_recovery()
        for _ in range(count):
            net.advance(net.now_s)
        is_over = not (net.network or any(net.queues.values()))
        waited += net.seen("waiting")
        kill(net, dies, False, lost)
        net.cut.clear()
        finish(net, list(net.nodes))
        if is_over:
            break
        count += 1
    assert count > 12
    assert waited


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
