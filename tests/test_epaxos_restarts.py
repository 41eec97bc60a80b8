"""EPaxos: what a replica has to know again after a restart, beside what was decided."""

import pytest

from epaxos import EPaxosSettings
from epaxos.instances import ACCEPTED, Instance, InstanceId
from epaxos.messages import Accept, AcceptOK
from epaxos.records import instance_key, pack_instance, read_records
from paxos.ballot import Ballot
from paxos.errors import RecordError
from tests.epaxos_net import Net, Sent, writes
from tests.epaxos_script import Script

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def held(s: Script, node: int, inst: InstanceId) -> Instance:
    instance = s.nodes[node].table.find(inst.owner - 1, inst.number)
    assert instance is not None
    return instance


def no_op_accepted() -> tuple[Script, InstanceId]:
    """Of three, 3 recovers what it has not heard of, and 2 accepts the no-op; 1 did not know more."""
    s = Script(3)
    y = s.ask(1)
    s.recover(y, 3, 2)
    s.carry(Accept, y, 3, 2)
    assert (held(s, 2, y).phase, held(s, 2, y).is_nop) == (ACCEPTED, True)
    return s, y


def test_an_accepted_no_op_conflicts_with_everything_after_a_restart_too() -> None:
    s, y = no_op_accepted()
    s.restart(2)
    x = s.ask(2, writes(b"other"))
    deps = held(s, 2, x).initial_deps
    assert deps is not None
    assert deps[0] == y.number
    s.settle(1, 2, 3)
    s.check()


def test_a_vote_cast_before_a_restart_is_the_same_afterwards() -> None:
    s, y = no_op_accepted()
    s.restart(2)
    vote = next(each.message for each in reversed(s.sent) if isinstance(each.message, AcceptOK))
    count = len(s.sent)
    s.late(Accept, y, 3, 2)
    assert [each.message for each in s.sent[count:]] == [vote]
    # Another choice at the same ballot is nobody's honest question.
    first = next(each.message for each in s.sent if isinstance(each.message, Accept))
    other = first._replace(is_nop=False, value=held(s, 1, y).value)
    disk = dict(s.disks[2])
    s.hand_over(Sent(3, 2, other))
    assert s.seen("breach") == 1
    assert s.disks[2] == disk


def test_a_no_op_that_lost_conflicts_with_nothing_any_more() -> None:
    s = Script(5)
    y = s.ask(1, writes(b"k"))
    # 2 accepts a no-op at the ballot of 5; somebody with a higher one has found that the command is to be.
    s.recover(y, 5, 2, 4)
    s.carry(Accept, y, 5, 2)
    assert s.nodes[2].table.index.conflicts(writes(b"other"))[0] == y.number
    ballot = held(s, 2, y).ballot.above(3)
    s.hand_over(Sent(3, 2, Accept(1, y.number, ballot, False, (0,) * 5, held(s, 1, y).value)))
    assert not held(s, 2, y).is_nop
    assert s.nodes[2].table.index.conflicts(writes(b"other"))[0] == 0
    assert s.nodes[2].table.index.conflicts(writes(b"k"))[0] == y.number


def test_own_numbers_of_an_earlier_life_conflict_until_all_of_them_are_decided() -> None:
    net = Net(3, settings=EPaxosSettings(reserve_numbers=8))
    net.restart(1)
    replica = net.nodes[1]
    last = replica.table.orphans
    assert last > 1
    # The last one is decided first, as a no-op that everybody accepted.
    replica.recoveries.start(0, last, replica.context, net.now_s)
    net.tick(1)
    net.run(until=lambda: replica.learner.executor.is_committed(0, last))
    assert not replica.learner.executor.is_committed(0, 1)
    assert replica.table.index.conflicts(writes(b"k"))[0] == last
    net.run(20.0)
    assert replica.table.orphans == 0
    assert replica.table.index.conflicts(writes(b"k"))[0] == 0
    net.check()


def test_a_vote_that_was_cast_nowhere_is_a_damaged_record() -> None:
    instance = Instance(0, 1, Ballot(0, 1))
    instance.phase, instance.is_nop, instance.deps = ACCEPTED, True, (0, 0, 0)
    with pytest.raises(RecordError, match="accepted above what was joined, or nowhere"):
        read_records({instance_key(1, 1): pack_instance(instance)})
    instance.accepted_ballot = Ballot(1, 2)
    with pytest.raises(RecordError, match="accepted above what was joined, or nowhere"):
        read_records({instance_key(1, 1): pack_instance(instance)})
    instance.ballot = instance.accepted_ballot
    (found,) = read_records({instance_key(1, 1): pack_instance(instance)}).instances.values()
    assert (found.phase, found.accepted) == (ACCEPTED, Ballot(1, 2))


def test_what_an_earlier_life_left_is_finished_without_waiting_for_it() -> None:
    net = Net(3, settings=EPaxosSettings(reserve_numbers=8, recover_s=60.0, recover_max_s=60.0))
    net.write(1, b"k")
    net.run(1.0)
    net.restart(1)
    assert net.nodes[1].table.orphans > 1
    # Nobody would know sooner that it is to be finished, and all commands here wait for it.
    net.run(2.0)
    assert net.nodes[1].table.orphans == 0
    net.check()
