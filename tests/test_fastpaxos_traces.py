"""What a traced replica of Fast Paxos tells: enough to know its state. It changes nothing that it does."""

from typing import Any

import pytest

from fastpaxos.tracing import ACTIONS
from paxos.ballot import NodeId
from paxos.contract import Configuration, Event
from paxos.quorum import FastQuorums
from paxos.service import Node
from tests.fastpaxos_net import FastCluster, Walk

pytestmark = pytest.mark.once


class Traced(FastCluster):
    """Nodes that trace. What they tell is kept apart, by node."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.told: list[Event] = []
        super().__init__(*arguments, **named)

    def start(self, node: NodeId) -> None:
        configuration = Configuration(node, self.quorums, self.settings, trace=True)
        records = dict(self.disks[node])
        self.nodes[node] = Node(self.protocol, configuration, self.stores[node], records, self.draw, self.now)
        self._act("restart", node, lambda n: None)

    def check(self, node: NodeId) -> None:
        super().check(node)
        new = [event for event in self.events if event.trace]
        self.events = [event for event in self.events if not event.trace]
        self.told += new


class TracedWalk(Walk):
    """The same walk as another's, traced."""

    def __init__(self, seed: int, traced: bool) -> None:
        super().__init__(seed, FastQuorums([1, 2, 3]))
        if traced:
            settings, draw = self.c.settings, self.c.draw
            self.c = Traced(quorums=self.c.quorums, settings=settings, draw=draw)


def walked(seed: int, traced: bool) -> FastCluster:
    walk = TracedWalk(seed, traced)
    for count in range(250):
        walk.step(count)
    return walk.c


@pytest.mark.parametrize("seed", range(8))
def test_tracing_changes_nothing(seed: int) -> None:
    plain, traced = walked(seed, False), walked(seed, True)
    assert traced.disks == plain.disks
    assert traced.network == plain.network
    assert [event for event in traced.events if not event.trace] == plain.events
    assert {node: traced.fast(node).fingerprint() for node in traced.nodes} == {
        node: plain.fast(node).fingerprint() for node in plain.nodes
    }


def test_the_events_tell_what_acceptors_remember_and_learners_know() -> None:
    seen: set[str] = set()
    for seed in range(30):
        c = walked(seed, True)
        assert isinstance(c, Traced)
        told = c.told + [event for event in c.events if event.trace]
        records: dict[tuple[NodeId, bytes], tuple[Any, ...]] = {}
        learned: dict[NodeId, dict[bytes, bytes]] = {}
        votes: dict[NodeId, dict[Any, set[NodeId]]] = {}
        for event in told:
            said: Any = event.arguments
            if event.action == "Restart":
                if "decree" not in said:
                    continue
                if said["chosen"] is not None:
                    learned.setdefault(event.node, {})[said["decree"]] = said["chosen"]
            if "promised" in said:
                records[event.node, said["decree"]] = (said["promised"], said["vote"], said["voted"])
            elif event.action in ("Learn", "LearnNews"):
                learned.setdefault(event.node, {})[said["decree"]] = said["value"]
            elif event.action == "CountVote":
                key = (said["decree"], said["ballot"], said["value"])
                votes.setdefault(event.node, {})[key] = set(said["voters"])
                assert said["sender"] in said["voters"]
        seen |= {event.action for event in told}
        for node in c.nodes:
            replica = c.fast(node)
            assert replica.decrees().items() <= learned.get(node, {}).items()
            for decree, state in replica._open.items():
                if state.acceptor.promised.round >= 0:
                    assert records[node, decree] == tuple(state.acceptor.record())
                for ballot in state.tally.ballots:
                    for voter, value in state.tally.votes(ballot).items():
                        assert voter in votes[node][decree, ballot, value]
    assert seen <= ACTIONS
    assert not ACTIONS - seen
