"""How long a decree takes on published latencies, where nobody competes: exactly what the matrix allows.

One proposer at a time, an acceptor at each site, votes sent to all, no service time, disk delay or jitter.
The proposer's site learns after one round trip to the fast quorum nearest to it; the last site when the
fourth of the votes has reached it.
"""

from typing import Any

import attrs
import pytest

from fastpaxos import FastPaxosSettings, protocol
from paxos import sim
from paxos.ballot import NodeId
from paxos.contract import Configuration, Draw, Effects, Instant, Records
from paxos.quorum import FlexibleQuorums, QuorumSystem, WeightedQuorums
from paxos.sim import Hardware, Topology, Workload

pytestmark = pytest.mark.once

NSDI21 = Topology.named("nsdi21")
#: CA, VA, OR, JP, EU: where a value is proposed, until that site, and until the last one, has learned it.
PROPOSER_MS = (98, 77, 91, 146, 137)
LAST_MS = (107, 107, 103, 146, 137)


class _Timed:
    """A replica that notes when it learned what."""

    def __init__(self, replica: Any, learned: dict[bytes, dict[NodeId, float]], node: NodeId) -> None:
        self._replica, self._learned, self._node, self._now_s = replica, learned, node, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replica, name)

    def receive(self, sender: NodeId, message: Any, now: Instant) -> None:
        self._now_s = now.monotonic_s
        self._replica.receive(sender, message, now)

    def effects(self) -> Effects:
        effects: Effects = self._replica.effects()
        for mark, _ in effects.applies:
            assert isinstance(mark, bytes)
            self._learned.setdefault(mark, {})[self._node] = self._now_s
        return effects


def learn_ms(quorums: QuorumSystem | None = None, **settings: Any) -> list[tuple[float, float]]:
    """For a decree proposed at each site in turn: until that site learned, and until the last one did."""
    learned: dict[bytes, dict[NodeId, float]] = {}

    def replica(configuration: Configuration, records: Records, draw: Draw, now: Instant) -> Any:
        made = protocol.replica(configuration, records, draw, now)
        return _Timed(made, learned, configuration.node)

    result = sim.run(
        attrs.evolve(protocol, replica=replica, invariants=()),
        nodes=5,
        topology=NSDI21,
        workload=Workload(operations=5, clients=1, names=None, reads=0, start_s=2, audit=False),
        hardware=Hardware(sync_s=0),
        settings=FastPaxosSettings(**settings),
        quorums=quorums,
        choices=[],
    )
    assert not result.violations
    assert [operation.home for operation in result.operations] == [1, 2, 3, 4, 5]
    found = []
    for operation in result.operations:
        assert operation.return_s is not None
        times = learned[operation.name]
        assert len(times) == 5
        took = [round((at_s - operation.call_s) * 1000, 3) for _, at_s in sorted(times.items())]
        assert took[operation.home - 1] == round((operation.return_s - operation.call_s) * 1000, 3)
        found.append((took[operation.home - 1], max(took)))
    return found


@pytest.mark.parametrize("recovery", ["coordinated", "uncoordinated"])
def test_two_message_delays_to_every_learner(recovery: str) -> None:
    found = learn_ms(recovery=recovery)
    assert tuple(own for own, _ in found) == PROPOSER_MS
    assert tuple(last for _, last in found) == LAST_MS


def test_the_bound_is_what_is_measured() -> None:
    quorums = protocol.quorums([1, 2, 3, 4, 5])
    assert protocol.bound_ms is not None
    for node, (own, _) in enumerate(learn_ms(), 1):
        rtt_ms = lambda a, b: 2 * NSDI21.one_way_ms[a - 1][b - 1]  # noqa: E731
        assert protocol.bound_ms(node, [1, 2, 3, 4, 5], rtt_ms, quorums) == own


def test_a_larger_phase_1_quorum_buys_nearer_fast_quorums() -> None:
    # Three of five, with all five in phase 1; and where OR has most of the weight.
    small = learn_ms(FlexibleQuorums([1, 2, 3, 4, 5], 5, 3, 3))
    assert [own for own, _ in small] == [64, 64, 59, 98, 129]
    weighted = learn_ms(WeightedQuorums({1: 1, 2: 1, 3: 3, 4: 1, 5: 1}, 5, 4, 5))
    assert [own for own, _ in weighted] == [64, 64, 59, 98, 129]


def test_the_disk_is_waited_for_once() -> None:
    for sync_s in (0.0, 0.01):
        result = sim.run(
            "fastpaxos",
            nodes=5,
            topology=NSDI21,
            workload=Workload(operations=1, clients=1, names=None, reads=0, start_s=2, audit=False),
            hardware=Hardware(sync_s=sync_s),
            choices=[],
        )
        (operation,) = result.operations
        assert operation.return_s is not None
        assert operation.return_s - operation.call_s == pytest.approx(0.098 + sync_s, abs=1e-9)
