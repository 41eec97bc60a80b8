"""A few nodes of Fast Paxos in the palm of the hand, and all that happens at the mercy of a draw."""

import random
from typing import Any

from fastpaxos import FastPaxosReplica, FastPaxosSettings, protocol
from paxos.ballot import NodeId
from paxos.quorum import FastQuorums, QuorumSystem
from tests.cluster import Cluster

__all__ = ["FastCluster", "Walk"]


class FastCluster(Cluster):
    """Nodes 1..n of Fast Paxos for named decrees, introduced to one another, with empty disks."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        quorums: QuorumSystem | None = None,
        settings: FastPaxosSettings | None = None,
        **more: Any,
    ) -> None:
        super().__init__(
            quorums=quorums or FastQuorums(range(1, nodes + 1)),
            settings=settings or FastPaxosSettings(reserve_rounds=8),
            protocol=protocol,
            **more,
        )

    def check(self, node: NodeId) -> None:
        check_bookkeeping(self.fast(node))

    def fast(self, node: NodeId) -> FastPaxosReplica:
        replica = self.nodes[node].replica
        assert isinstance(replica, FastPaxosReplica)
        return replica

    def known(self, name: bytes) -> dict[NodeId, bytes]:
        """Which nodes know the decision, and what they know."""
        return {node: self.fast(node).decrees()[name] for node in self.nodes if self.fast(node).chosen(name)}

    def did(self, action: str) -> int:
        """How often an event was told of."""
        return sum(event.action == action for event in self.events)


def check_bookkeeping(replica: FastPaxosReplica) -> None:
    """What the replica's own books must say, whatever happens outside."""
    at_work = [state for state in replica._open.values() if state.at_work]
    assert replica._working == len(at_work)
    waiting = {r: decree for decree, state in replica._open.items() for r in state.requests}
    assert waiting == replica._requests
    wakes = set(replica._wakes)
    for decree, state in replica._open.items():
        ways = (state.coordinator is not None) + (state.proposed is not None) + (state.offered is not None)
        assert ways <= 1
        if state.requests:
            assert ways, f"{decree!r}: requests wait and nobody works"
        timed = (state.deadline_s, decree) in wakes
        if state.coordinator is not None:
            parked = state.stage == "parked" and decree in replica._parked and not timed
            assert parked or (state.stage in ("repeat", "backoff") and timed), f"{decree!r}: {state.stage}"
        elif state.proposed is not None:
            assert state.stage == "proposing"
            assert timed
        elif state.offered is not None:
            assert state.stage == "patience"
            assert timed
        else:
            assert state.stage == "idle" or (state.stage == "ask" and timed), f"{decree!r}: {state.stage}"


class Walk:
    """A cluster at the mercy of a random number generator: every fault there is, and the clients' whims."""

    def __init__(self, seed: int, quorums: QuorumSystem, **set_: Any) -> None:
        self.rnd = rnd = random.Random(seed)
        settings = FastPaxosSettings(
            recovery=rnd.choice(("coordinated", "uncoordinated")),
            reserve_rounds=rnd.choice((1, 2, 8)),
            collisions_before_classic=rnd.choice((0, 1, 3)),
            quiet_s=rnd.choice((0.1, 5.0)),
            reopen=rnd.random() < 0.5,
            max_open=rnd.choice((1, 2, 100)),
            ask_s=0.2,
            patience_s=rnd.choice((0.05, 0.3)),
            recover_s=0.1,
            **set_,
        )
        self.c = FastCluster(
            quorums=quorums, settings=settings, draw=lambda name, bound: rnd.randrange(bound)
        )
        self.names = ("a", "b")[: rnd.choice((1, 2))]

    def step(self, count: int) -> None:
        rnd, c = self.rnd, self.c
        up = list(c.nodes)
        down = [node for node in c.members if node not in c.nodes]
        chance = rnd.random()
        if chance < 0.6 and c.network:
            sent = c.network[rnd.randrange(min(len(c.network), rnd.choice((1, 3, 1000))))]
            if rnd.random() > 0.1:
                c.network.remove(sent)
            if rnd.random() > 0.1:
                c.hand_over(sent)
        elif chance < 0.66 and up:
            node, name = rnd.choice(up), rnd.choice(self.names)
            if rnd.random() < 0.7:
                c.decide(node, name, b"%d" % count)
            else:
                c.decided(node, name)
        elif chance < 0.77 and up:
            self.disk(rnd.choice(up))
        elif chance < 0.81 and up:
            node = rnd.choice(up)
            c.crash(node, keep=rnd.randrange(len(c.queues[node]) + 1))
        elif chance < 0.88 and down:
            c.start(rnd.choice(down))
        elif chance < 0.98:
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
