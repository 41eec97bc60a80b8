"""Basic Paxos at the mercy of a random number generator: every fault there is, and then none."""

import random

import pytest

from paxos.basic import (
    BasicSettings,
)
from paxos.quorum import FlexibleQuorums, Majority, QuorumSystem
from tests.cluster import Cluster

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

THREE = Majority((1, 2, 3))


class Walk:
    """A cluster at the mercy of a random number generator: every fault there is, and the clients' whims."""

    def __init__(self, seed: int, quorums: QuorumSystem) -> None:
        self.rnd = rnd = random.Random(seed)
        settings = BasicSettings(
            reserve_rounds=rnd.choice((1, 2, 8)),
            distinguished=rnd.choice((None, None, *quorums.members[:2])),
            max_open=rnd.choice((1, 2, 100)),
            ask_s=0.2,
            patience_s=0.1,
        )
        self.c = Cluster(quorums=quorums, settings=settings, draw=lambda name, bound: rnd.randrange(bound))
        self.names = ("a", "b")[: rnd.choice((1, 2))]

    def step(self, count: int) -> None:
        rnd, c = self.rnd, self.c
        up = list(c.nodes)
        down = [node for node in c.members if node not in c.nodes]
        chance = rnd.random()
        if chance < 0.5 and c.network:
            sent = c.network[rnd.randrange(min(len(c.network), rnd.choice((1, 3, 1000))))]
            if rnd.random() > 0.1:
                c.network.remove(sent)
            if rnd.random() > 0.1:
                c.hand_over(sent)
        elif chance < 0.6 and up:
            node, name = rnd.choice(up), rnd.choice(self.names)
            if rnd.random() < 0.5:
                c.decide(node, name, b"%d" % count)
            else:
                c.decided(node, name)
        elif chance < 0.72 and up:
            self.disk(rnd.choice(up))
        elif chance < 0.77 and up:
            node = rnd.choice(up)
            c.crash(node, keep=rnd.randrange(len(c.queues[node]) + 1))
        elif chance < 0.83 and down:
            c.start(rnd.choice(down))
        elif chance < 0.97:
            c.advance(rnd.choice((0.01, 0.05, 0.3, 1.0)), only=rnd.choice([None, *up]))
        elif up:
            c.nodes[rnd.choice(up)].disconnect("client", c.now)

    def disk(self, node: int) -> None:
        c, chance = self.c, self.rnd.random()
        if chance < 0.2:
            c.slow.add(node)
        elif chance < 0.3:
            c.slow.discard(node)
            c.flush(node)
        else:
            c.flush(node, self.rnd.randrange(len(c.queues[node]) + 1))

    def recover(self) -> None:
        """Faults stop, every node lives: whoever asks now is answered."""
        c = self.c
        for node in c.members:
            if node not in c.nodes:
                c.start(node)
            c.slow.clear()
            c.flush(node)
        asked = [c.decide(node, name, b"last of %d" % node) for node in c.members for name in self.names]
        asked += [c.decided(node, name) for node in c.members for name in self.names]
        c.settle(*asked, seconds=400)
        assert not [request for request in asked if request not in c.answers]


@pytest.mark.parametrize(
    "quorums",
    [THREE, Majority((1, 2, 3, 4, 5)), FlexibleQuorums((1, 2, 3, 4), phase1=3, phase2=2)],
    ids=repr,
)
def test_a_walk_through_every_fault(quorums: QuorumSystem) -> None:
    seen: set[str] = set()
    for seed in range(40):
        walk = Walk(seed, quorums)
        for count in range(250):
            walk.step(count)
        walk.recover()
        assert walk.c.violations == {}, f"seed {seed}"
        assert walk.c.stopped == {}, f"seed {seed}"
        assert walk.c.stale_reads() == [], f"seed {seed}"
        seen |= {event.action for event in walk.c.events}
    assert {"chosen", "adopted", "preempted", "undecided", "abandoned", "suspected"} <= seen
