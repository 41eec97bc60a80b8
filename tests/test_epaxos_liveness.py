"""EPaxos: nothing waits for ever, and nothing is asked for or kept for ever."""

from collections import Counter
from collections.abc import Iterable

import pytest

from epaxos.messages import Ask, Commit, Gossip, Known, Nack, PreAccept, Recover, Validate, Waiting
from tests.epaxos_net import Net, Sent
from tests.epaxos_script import Script

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


class Counted(Net):
    """It counts what is sent, by kind; gossip apart."""

    def __init__(self, nodes: int = 3) -> None:
        self.sent: Counter[str] = Counter()
        super().__init__(nodes)

    def post(self, sent: Iterable[Sent]) -> None:
        messages = list(sent)
        self.sent.update(
            type(each.message).__name__ for each in messages if not isinstance(each.message, Gossip)
        )
        super().post(messages)


def test_what_was_said_to_be_decided_is_not_asked_for_when_a_snapshot_holds_it() -> None:
    net = Counted()
    # Node 3 hears that it is decided, and not what; then nothing, until it is gone.
    net.write(1, b"k")
    net.lose(PreAccept, to=3)
    net.run(until=lambda: bool(net.find(Commit, 1, 3)))
    net.pass_on(Commit, 1, 3)
    net.lose(Ask)
    assert list(net.nodes[3].learner.news) == [(0, 1)]
    net.cut = {(3, 1), (3, 2), (1, 3), (2, 3)}
    net.barrier(1)
    net.run(2.0)
    assert net.seen("truncated") == 2
    net.cut.clear()
    net.run(5.0)
    assert net.seen("installed") == 1
    assert net.nodes[3].learner.news == {}
    net.sent.clear()
    net.run(10.0)
    assert net.sent == {}
    net.check()


def test_a_recovery_that_another_went_before_leaves_nothing_behind() -> None:
    s = Script(3)
    y = s.ask(1)
    s.recover(y, 2)
    s.recover(y, 3, 1)
    # The owner has joined the higher of the two ballots, and the lower one is told so.
    s.carry(Recover, y, 2, 1)
    s.carry(Nack, y, 1, 2)
    assert list(s.nodes[2].recoveries.seen) == [(0, 1)]
    s.accept(y, 3, 1)
    s.carry(Known, y, 3, 2)
    s.check()
    assert s.nodes[2].learner.executor.is_committed(0, 1)
    assert s.nodes[2].recoveries.seen == {}


def test_what_was_asked_for_and_came_is_not_asked_for_again() -> None:
    net = Counted()
    net.write(1, b"k")
    net.lose(PreAccept, to=3)
    net.run(until=lambda: bool(net.find(Commit, 1, 3)))
    net.pass_on(Commit, 1, 3)
    assert net.find(Ask, 3, 1)
    net.run(2.0)
    assert net.applied(3) == [b"1"]
    net.sent.clear()
    net.run(5.0)
    assert net.sent == {}
    net.check()


def truncated() -> Net:
    """Three members; 1 and 2 have truncated what 3 and the observer 4 have not heard of."""
    net = Net(3, observers=(4,))
    net.cut = {(one, other) for one in (1, 2) for other in (3, 4)} | {(3, 4), (4, 3)}
    net.write(1, b"k")
    net.barrier(1)
    net.run(2.0)
    assert net.seen("truncated") == 2
    net.network.clear()
    return net


def test_a_late_commit_of_what_is_gone_changes_nothing() -> None:
    for is_nop in (False, True):
        net = truncated()
        before = net.nodes[2].fingerprint()
        late = Commit(((1, 1, is_nop, (0, 0, 0)),))
        net.post([Sent(1, 2, late)])
        net.pass_on(Commit)
        assert net.nodes[2].fingerprint() == before
        net.check()


def test_who_asks_what_was_decided_where_it_is_gone_is_given_the_snapshot() -> None:
    net = truncated()
    # An observer recovers nothing: it has to be told.
    net.post([Sent(4, 1, Ask(1, 1, 2))])
    net.pass_on(Ask)
    assert [transfer.recipient for transfer in net.transfers] == [4]
    net.cut.clear()
    net.run(2.0)
    assert len(net.states()) == 1
    net.check()


def test_who_spoke_last_is_asked_since_others_may_be_gone() -> None:
    net = Net(3, observers=(4,))
    net.cut = {(node, 4) for node in (1, 2, 3)}
    for number in range(3):
        net.write(1, b"%d" % number)
    net.run(1.0)
    # The first of those who know it all says so to the observer, and is gone; the others say the same later.
    net.cut = {(2, 4), (3, 4)}
    net.run(until=lambda: bool(net.find(Gossip, 1, 4)), for_s=2.0)
    net.pass_on(Gossip, 1, 4)
    net.crash(1)
    net.cut.clear()
    net.run(3.0)
    assert len(net.applied(4)) == 3
    net.check()


def sent_later(s: Script, node: int, kind: type) -> list[int]:
    """To whom messages of a kind go when it is time to ask again."""
    count = len(s.sent)
    s.now_s += s.settings.repeat_s + 1
    s.tick(node)
    return [each.recipient for each in s.sent[count:] if isinstance(each.message, kind)]


def test_a_validation_is_asked_for_again_of_who_has_not_answered() -> None:
    s = Script(5)
    y = s.ask(1)
    s.preaccept(y, 2)
    s.kill(1)
    s.recover(y, 3, 2, 4)
    assert s.nodes[3].recoveries.running[0, 1].stage == "validating"
    s.validate(y, 3, 2)
    assert sent_later(s, 3, Validate) == [4]
    s.validate(y, 3, 4)
    assert s.nodes[3].recoveries.running[0, 1].stage == "accepting"
    s.settle(2, 3, 4, 5)
    s.check()


def waiting() -> Script:
    """Of five, 2 recovers what 3 knows of 1, and waits for what 4 knows of 5, which conflicts with it."""
    s = Script(5)
    y, x = s.ask(1), s.ask(5)
    s.carry(PreAccept, y, 1, 3)
    s.carry(PreAccept, x, 5, 4)
    s.kill(1)
    s.recover(y, 2, 3, 5)
    s.validate(y, 2, 3, 5)
    assert s.nodes[2].recoveries.running[0, 1].stage == "waiting"
    return s


def test_a_recovery_that_waits_says_so_again_and_recovers_what_it_waits_for() -> None:
    s = waiting()
    assert sent_later(s, 2, Waiting) == [1, 3, 4, 5]
    assert sorted(s.nodes[2].recoveries.running) == [(0, 1), (4, 1)]
    s.settle(2, 3, 4, 5)
    s.check()


def test_an_attempt_that_takes_too_long_is_begun_anew_above_it() -> None:
    s = waiting()
    before = s.nodes[2].recoveries.running[0, 1].ballot
    s.now_s += s.settings.recover_max_s
    s.tick(2)
    again = s.nodes[2].recoveries.running[0, 1]
    assert (again.stage, again.ballot > before) == ("asking", True)
    s.settle(2, 3, 4, 5)
    s.check()


def test_what_a_recovery_waits_for_may_have_been_decided_while_it_validated() -> None:
    s = Script(5)
    y, x = s.ask(1), s.ask(5)
    s.carry(PreAccept, y, 1, 3)
    s.carry(PreAccept, x, 5, 4)
    s.kill(1)
    s.recover(y, 2, 3, 5)
    s.validate(y, 2, 5)
    # Before the last answer x is decided, and comes after y.
    s.preaccept(x, 4, 2)
    s.accept(x, 5, 4, 2)
    s.commit(x, 5, 2)
    s.validate(y, 2, 3)
    recovery = s.nodes[2].recoveries.running[0, 1]
    assert recovery.choice == (False, (0,) * 5)
    s.settle(2, 3, 4, 5)
    s.check()
