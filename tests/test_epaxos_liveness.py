"""EPaxos: nothing waits for ever, and nothing is asked for or kept for ever."""

from collections import Counter

import pytest

from epaxos.messages import Ask, Commit, Gossip, PreAccept
from tests.epaxos_net import Net

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def in_transit(net: Net, for_s: float) -> Counter[type]:
    """What is sent in the next seconds, by kind; gossip apart."""
    sent: Counter[type] = Counter()
    post = net.post

    def counted(some: object) -> None:
        messages = list(some)  # type: ignore[call-overload]
        sent.update(type(each.message) for each in messages)
        post(messages)

    net.post = counted  # type: ignore[method-assign]
    net.run(for_s)
    net.post = post  # type: ignore[method-assign]
    assert sent.pop(Gossip) > 0
    return sent


def test_what_was_said_to_be_decided_is_not_asked_for_when_a_snapshot_holds_it() -> None:
    net = Net(3)
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
    assert in_transit(net, 10.0) == {}
    net.check()
