"""The log of Fast Paxos at the mercy of a random number generator: every fault there is, and then none."""

import random
from functools import partial

import pytest

from fastpaxos.log import FastLogSettings
from paxos.quorum import ExplicitQuorums, FastQuorums, FlexibleQuorums, QuorumSystem
from tests.fastpaxos_log_net import Net

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

SYSTEMS: list[tuple[QuorumSystem, tuple[int, ...]]] = [
    (FastQuorums((1, 2, 3)), ()),
    (FastQuorums((1, 2, 3)), (4,)),
    (FastQuorums((1, 2, 3, 4)), ()),
    (FastQuorums((1, 2, 3, 4, 5)), ()),
    (FlexibleQuorums((1, 2, 3, 4, 5), phase1=4, phase2=2, fast=4), ()),
    (ExplicitQuorums((1, 2, 3, 4), [{1, 2}, {1, 3}, {2, 3, 4}], fast=[{1, 2, 3}, {1, 2, 4}]), ()),
]


class Walk:
    """Replicas at the mercy of a random number generator, and the clients' whims."""

    def __init__(self, seed: int, quorums: QuorumSystem, observers: tuple[int, ...]) -> None:
        self.rnd = rnd = random.Random(seed)
        settings = FastLogSettings(
            recovery=rnd.choice(("coordinated", "uncoordinated")),
            collisions_before_classic=rnd.choice((0, 2, 5)),
            quiet_s=rnd.choice((0.1, 1.0)),
            recover_s=rnd.choice((0.05, 0.4)),
            reserve_rounds=rnd.choice((1, 2, 8)),
            window=rnd.choice((2, 8, 1000)),
            page_slots=rnd.choice((1, 2, 100)),
            hint_slots=rnd.choice((1, 3, 100)),
            pending_reads=rnd.choice((1, 100)),
            repeat_slots=rnd.choice((1, 100)),
        )
        self.net = Net(
            quorums=quorums,
            observers=observers,
            settings=settings,
            draw=lambda name, bound: rnd.randrange(bound),
        )
        # How unruly the network is: mostly in order, so that something gets done, or not at all.
        self.reach = rnd.choice((1, 2, 1000))
        self.loss = rnd.choice((0.0, 0.02, 0.2))

    def step(self) -> None:
        rnd, net = self.rnd, self.net
        up = list(net.nodes)
        down = [node for node in net.everyone if node not in net.nodes]
        chance = rnd.random()
        if chance < 0.72:
            self.pass_one()
        elif chance < 0.80 and up:
            net.submit(rnd.choice(up))
        elif chance < 0.83 and up:
            net.read(rnd.choice(up))
        elif chance < 0.86 and up:
            self.disk(rnd.choice(up))
        elif chance < 0.87 and up:
            node = rnd.choice(up)
            net.crash(node, keep=rnd.randrange(len(net.queues[node]) + 1))
        elif chance < 0.90 and down:
            net.start(rnd.choice(down))
        elif chance < 0.91 and up:
            net.snapshot(rnd.choice(up))
        elif chance < 0.92:
            net.bring()
        elif chance < 0.925:
            self.cut()
        elif chance < 0.93 and net.coordinators:
            net.hand_over_to(rnd.choice(net.coordinators), rnd.choice(net.quorums.members))
        else:
            net.advance(rnd.choice((0.01, 0.05, 0.2, 0.5)), only=rnd.choice([None, None, *up]))

    def pass_one(self) -> None:
        rnd, net = self.rnd, self.net
        for _ in range(rnd.choice((1, 1, 5, 20))):
            if not net.network:
                return
            sent = net.network[rnd.randrange(min(len(net.network), self.reach))]
            if rnd.random() > 0.05:
                net.network.remove(sent)
            if rnd.random() >= self.loss:
                net.hand_over(sent)

    def disk(self, node: int) -> None:
        net, chance = self.net, self.rnd.random()
        if chance < 0.2:
            net.slow.add(node)
        elif chance < 0.5:
            net.slow.discard(node)
            net.flush(node)
        else:
            net.flush(node, self.rnd.randrange(len(net.queues[node]) + 1))

    def cut(self) -> None:
        if self.net.cut or self.rnd.random() < 0.3:
            self.net.cut.clear()
        elif self.rnd.random() < 0.5:
            self.net.isolate(self.rnd.choice(self.net.everyone))
        else:
            pair = self.rnd.sample(self.net.everyone, 2)
            self.net.cut.add((pair[0], pair[1]))

    def everywhere(self, payload: bytes) -> bool:
        return all(payload in self.net.applied(node) for node in self.net.everyone)

    def recover(self) -> None:
        """Faults stop, every node lives: what is submitted anywhere is applied everywhere."""
        net = self.net
        net.cut.clear()
        net.slow.clear()
        for node in net.everyone:
            if node not in net.nodes:
                net.start(node)
            net.flush(node)
        for number, node in enumerate(net.everyone):
            last = b"last %d" % number
            for _ in range(100):
                (request,) = net.submit(node, last)
                if net.kind(request) is None:
                    break
                net.run(0.1)  # it has no room
            net.settle(partial(self.everywhere, last))
        reads = [net.read(node) for node in net.everyone]
        net.settle(lambda: all(request in net.outcomes for request in reads))
        longest = max(len(net.machines[node].state) for node in net.everyone)
        net.settle(lambda: all(len(net.machines[node].state) >= longest for node in net.everyone))
        states = [net.machines[node].state[:longest] for node in net.everyone]
        assert all(state == states[0] for state in states)


@pytest.mark.parametrize(("quorums", "observers"), SYSTEMS, ids=repr)
def test_a_walk_through_every_fault(quorums: QuorumSystem, observers: tuple[int, ...]) -> None:
    seen: set[str] = set()
    for seed in range(8):
        walk = Walk(seed, quorums, observers)
        for _ in range(700):
            walk.step()
        walk.recover()
        assert walk.net.violations == {}, f"seed {seed}"
        assert walk.net.stopped == {}, f"seed {seed}"
        seen |= {event.action for event in walk.net.events}
    assert {"elected", "leader change", "adopted", "fetched", "installed", "lost slot"} <= seen
    assert {"collision", "recovered", "recovered alone", "overdue", "fell back", "fast again"} <= seen
    assert "breach" not in seen


class LackingWalk(Walk):
    """Nodes compact often and hear little, and who compacted what a new coordinator lacks dies for good."""

    def __init__(self, seed: int, quorums: QuorumSystem, observers: tuple[int, ...]) -> None:
        super().__init__(seed, quorums, observers)
        self.loss = 0.2
        self.net.invariants, self.net.clone_every = [], 1 << 30

    def step(self) -> None:
        if self.rnd.random() < 0.02 and self.net.nodes:
            self.net.snapshot(self.rnd.choice(list(self.net.nodes)))
        super().step()

    @property
    def source(self) -> int | None:
        """Who has what a coordinator lacks, and is up."""
        for replica in self.net.nodes.values():
            office = replica.office
            if office is not None and replica.learner.committed < office.floor:
                return office.source if office.source in self.net.nodes else None
        return None

    def lose(self, node: int) -> None:
        """It dies, with all that it sent; every other node lives."""
        net = self.net
        net.crash(node)
        net.transfers.clear()
        net.drop(sender=node)
        net.cut.clear()
        net.slow.clear()
        for other in net.everyone:
            if other != node:
                if other not in net.nodes:
                    net.start(other)
                net.flush(other)


# Some of the walks in which the others were stuck for good, when a coordinator waited for what it lacks.
@pytest.mark.parametrize(("system", "seed"), [(0, 54), (1, 97), (3, 158)])
def test_a_quorum_goes_on_without_who_has_what_its_coordinator_lacks(system: int, seed: int) -> None:
    walk = LackingWalk(seed, *SYSTEMS[system])
    while (source := walk.source) is None:
        walk.step()
    walk.lose(source)
    net = walk.net
    submitter = max(net.nodes)
    for _ in range(100):
        if net.kind(net.submit(submitter, b"last")[0]) is None:
            break
        net.run(0.1)  # it has no room
    net.settle(lambda: all(b"last" in net.applied(node) for node in net.nodes))
    assert net.stopped == {}
