"""EPaxos: what an installed snapshot changes, and what it must not; whose snapshots count."""

from contextlib import suppress

import pytest

from epaxos.instances import COMMITTED, InstanceId
from epaxos.messages import Accept, Gossip, PreAccept, PreAcceptOK
from paxos.ballot import NodeId
from paxos.command import MARKER, is_marker
from paxos.contract import Effects
from paxos.errors import ConfigurationError
from tests.epaxos_net import Net, writes
from tests.epaxos_script import Script

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def decided(s: Script, inst: InstanceId, *others: int) -> None:
    s.preaccept(inst, *others)
    s.accept(inst, inst.owner, *others)
    s.commit(inst, inst.owner, *others)


def test_the_snapshot_of_an_observer_does_not_count() -> None:
    s = Script(3, observers=(4,))
    y, b = s.ask(1), s.bar(1)
    for inst in (y, b):
        s.preaccept(inst, 2)
    assert s.seen("barrier") == 1
    s.snapshot(1, 4)
    s.gossip(4, to=(1,))
    assert s.seen("installed") == 1
    assert s.seen("truncated") == 0, "of three members one has it, and an observer"
    for inst in (y, b):
        s.commit(inst, 1, 2)
    s.gossip(2, to=(1,))
    assert s.nodes[1].table.is_gone(0, y.number)
    s.settle(1, 2, 3)
    s.check()


def test_what_a_member_said_of_its_snapshots_before_takes_nothing_back() -> None:
    s = Script(3)
    decided(s, s.ask(1), 2, 3)
    decided(s, s.bar(1), 2)
    s.gossip(2)
    old = next(each for each in reversed(s.sent) if isinstance(each.message, Gossip) and each.sender == 2)
    decided(s, s.bar(1), 2)
    s.gossip(2, to=(3,))
    s.deliver(old._replace(recipient=3), keep=True)
    s.snapshot(1, 3)
    s.gossip(3)
    # The newer one of 2 counts, and with its own it is a quorum.
    assert s.nodes[3].barriers.truncated == (3, 0, 0)


def test_who_installs_a_snapshot_takes_its_floor_into_all_dependencies() -> None:
    s = Script(3)
    decided(s, s.ask(2, writes(b"a")), 1)
    decided(s, s.bar(1), 2)
    s.snapshot(1, 3)
    x = s.ask(3, writes(b"b"))
    instance = s.nodes[3].table.find(2, x.number)
    assert instance is not None
    assert instance.initial_deps == (1, 1, 0)
    s.settle(1, 2, 3)
    s.check()


def test_what_was_heard_of_above_the_floor_is_recovered_after_an_installation() -> None:
    s = Script(3)
    decided(s, s.ask(1), 2)
    decided(s, s.bar(1), 2)
    # Node 3 alone knows of another one, and its owner is lost.
    later = s.ask(1)
    s.carry(PreAccept, later, 1, 3)
    s.snapshot(2, 3)
    s.kill(1)
    for _ in range(3):
        s.now_s += 1000.0
        s.tick(3)
    assert s.seen("recovery") > 0, "of what it alone has heard of"
    s.settle(2, 3)
    s.check()


def test_a_cut_that_becomes_stable_does_not_lower_the_floor_of_a_later_snapshot() -> None:
    s = Script(5)
    first, y = s.bar(1), s.ask(1)
    decided(s, first, 2, 3, 4)
    decided(s, y, 2, 3)
    decided(s, s.bar(1), 2, 3)
    assert s.nodes[4].table.find(0, y.number) is None
    s.snapshot(2, 4)
    assert s.nodes[4].table.floor == (3, 0, 0, 0, 0)
    # Of the others it has heard only that they have the first.
    for node in (1, 2):
        s._act("receive", 4, lambda r, n=node: r.receive(n, Gossip((1,) * 5, (1, 0, 0, 0, 0)), s.now))  # type: ignore[misc]
    assert s.nodes[4].barriers.truncated == (1, 0, 0, 0, 0)
    assert s.nodes[4].table.floor == (3, 0, 0, 0, 0)
    assert s.nodes[4].table.is_gone(0, y.number), "and is never made anew"


def test_a_snapshot_that_was_begun_before_a_later_one_was_installed_is_no_cut() -> None:
    s = Script(3)
    s.slow.add(3)
    decided(s, s.bar(1), 2, 3)
    second = s.bar(2)
    decided(s, second, 1)
    s.snapshot(2, 3)
    # Its own, of the first one, is on its disk only now.
    assert s.queues[3]
    for _ in range(len(s.queues[3])):
        s.sync(3)
    last = s.nodes[3].barriers.last
    assert last is not None
    assert last.mark == second


class Parts(Net):
    """Whenever something is applied, it is tried whether the last barrier's part is to be had."""

    def __init__(self) -> None:
        self.cut_at: object = None
        self.had: list[bytes] = []
        super().__init__()
        self.snapshots = False

    def _apply(self, node: NodeId, effects: Effects) -> tuple[object, bytes, bytes] | None:
        for mark, command in effects.applies if node == 1 else ():
            if is_marker(command):
                self.cut_at = mark
            if self.cut_at is not None:
                with suppress(ConfigurationError):
                    self.nodes[node].part(self.cut_at)
                    self.had.append(command.payload)
        return super()._apply(node, effects)


def test_the_part_of_a_snapshot_is_given_at_its_barrier_alone() -> None:
    net = Parts()
    net.write(1, b"k")
    net.barrier(1)
    net.run(1.0)
    net.write(1, b"k")
    net.run(1.0)
    assert net.had == [MARKER]
    net.check()


def test_what_waits_behind_a_barrier_is_carried_out_at_once() -> None:
    s = Script(3)
    b, z = s.bar(1), s.ask(1)
    for inst in (b, z):
        s.carry(PreAccept, inst, 1, 2)
        s.carry(PreAccept, inst, 1, 3)
    for inst in (z, b):
        s.carry(PreAcceptOK, inst, 2, 1)
        s.accept(inst, 1, 2)
    # What comes after the barrier is not in its snapshot, and waits for nothing else.
    assert [mark for mark, _ in s.machines[1].order] == [(1, b.number), (1, z.number)]
    s.check()


def own_exception(s: Script) -> InstanceId:
    """n = 5: what 3 proposed comes after a barrier and is below its floor; others decided it."""
    e, g = s.ask(3), s.ask(3, writes(b"l"))
    s.carry(PreAccept, g, 3, 2)
    y = s.ask(2, writes(b"l"))
    s.preaccept(y, 1, 4)
    b = s.bar(1)
    s.preaccept(b, 4, 5)
    s.preaccept(e, 1, 4)
    s.carry(Accept, e, 3, 1)
    s.carry(Accept, e, 3, 4)
    s.preaccept(g, 5)
    s.carry(PreAcceptOK, g, 2, 3)
    s.accept(g, 3, 2, 5)
    s.recover(e, 4, 1, 2)
    s.accept(e, 4, 1, 2)
    for inst, teller in ((y, 2), (b, 1), (e, 4), (g, 3)):
        for target in (1, 2, 4):
            if target != inst.owner:
                s.carry(PreAccept, inst, inst.owner, target)
        s.commit(inst, teller, 1, 2, 4)
    return e


def test_an_own_command_that_a_snapshot_puts_after_its_barrier_is_proposed_no_longer() -> None:
    s = Script(5)
    e = own_exception(s)
    assert e.number in s.nodes[3].proposer.proposals
    s.snapshot(1, 3)
    assert e.number not in s.nodes[3].proposer.proposals
    assert [tuple(mark) for mark, _ in s.machines[3].order][-1] == tuple(e)
    s.settle(1, 2, 3, 4, 5)
    s.check()


def test_what_a_snapshot_puts_after_its_barrier_is_on_the_disk_of_who_installed_it() -> None:
    s = Script(5)
    e = own_exception(s)
    s.snapshot(1, 5)
    s.restart(5)
    instance = s.nodes[5].table.find(2, e.number)
    assert instance is not None
    assert instance.phase == COMMITTED
    s.settle(1, 2, 3, 4, 5)
    s.check()


def test_an_owner_that_asks_about_what_an_installed_snapshot_holds_is_given_it() -> None:
    s = Script(5)
    y = s.ask(1)
    s.preaccept(y, 2, 3)
    s.commit(y, 1, 2)
    decided(s, s.bar(2), 1, 4, 5)
    s.snapshot(2, 3)
    count = len(s.sent)
    s.late(PreAccept, y, 1, 3)
    assert s.sent[count:] == []
    assert [(each.recipient, each.mark) for each in s.transfers] == [(1, (2, 1))]
    s.settle(1, 2, 3, 4, 5)
    s.check()
