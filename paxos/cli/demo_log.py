"""The demo of a replicated log: a key-value store whose leader is killed while clients write.

Every write stores a key of its own and adds one to a counter.  So in the end two things can be told: whether
something that was acknowledged is missing, and whether something was carried out twice because it was asked
again when the leader was gone.
"""

import hashlib
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import attrs

from paxos.ballot import NodeId
from paxos.cli.arguments import Target
from paxos.cli.calling import ask_statuses, leader_of
from paxos.cli.demo import CALL_S, LOOK_S, START_S, Demo, NodeState, everything, listed, wait_until_level
from paxos.cli.output import json_bytes, readable
from paxos.errors import Unreachable

if TYPE_CHECKING:
    from paxos.runtime.client import Client

__all__ = ["LogDemo"]

_COUNTER: Final = b"writes"
#: Writes under way at once.
_WINDOW: Final = 8
_SHOWN: Final = 5


@attrs.frozen
class LogRound:
    """One round of writes.

    Args:
        title: what it was about.
        nodes: at which nodes clients asked first.
        leader: the node that led when it began.
        writes: how many were acknowledged.
        took_s: for all of them, seconds.
        latencies_s: of each, seconds.
    """

    title: str
    nodes: tuple[NodeId, ...]
    leader: NodeId
    writes: int
    took_s: float
    latencies_s: tuple[float, ...]

    def figures(self) -> dict[str, object]:
        """Its figures, for JSON."""
        return {
            "title": self.title,
            "nodes": list(self.nodes),
            "leader": self.leader,
            "writes": self.writes,
            "writes_per_s": round(self.writes / self.took_s, 1),
            "p50_ms": round(1000 * statistics.median(self.latencies_s), 2),
            "max_ms": round(1000 * max(self.latencies_s), 2),
        }


class LogDemo(Demo):
    """The demo's story for a protocol that keeps a log. Arguments: as `Demo`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        addresses = tuple(node.address for node in self.config.nodes)
        self._target = Target(addresses, None, 1.0, self.config)
        self.log_rounds: list[LogRound] = []
        self.states: list[NodeState] = []
        #: What was acknowledged, by key.
        self.written: dict[bytes, bytes] = {}

    async def run(self) -> None:
        """Everything that needs a running cluster.

        Raises:
            NodeStopped: a node ended that should not have.
        """
        out = self.out
        started_s = time.perf_counter()
        out.say(f"starting {len(self.members)} nodes, each a process with a port and a disk of its own ...")
        for node in self.members:
            self.processes.start(node)
        await self.wait_until_ready(self.members)
        for node in self.members:
            place = self.config.node(node)
            out.say(
                f"  node {node}: process {self.processes.nodes[node].pid}, {place.address}, {place.store}"
            )
        leader = await self._leader(self.members)
        out.say(f"  node {leader} leads after {time.perf_counter() - started_s:.2f} s")
        out.say(f"round 1: clients at all nodes write {self.decrees} keys ...")
        await self._write_round("all nodes up", 1, self.members, leader)
        self.victim = leader
        out.say(f"round 2: the same; node {leader}, which leads, is killed (SIGKILL) on the way ...")
        await self._write_round(f"leader {leader} killed", 2, self.members, leader, leader)
        others = [node for node in self.members if node != leader]
        after = await self._leader(others)
        out.say(f"  node {after} leads now")
        out.say(f"starting node {leader} again, and round 3 at all nodes ...")
        self.processes.start(leader)
        await self.wait_until_ready([leader])
        await self._write_round(f"node {leader} back", 3, self.members, after)
        out.say("waiting until every node has applied everything, and asking each for all that it has ...")
        await self._compare_states()

    # --- steps --------------------------------------------------------------------------------------

    async def _leader(self, nodes: Sequence[NodeId]) -> NodeId:
        """The node that leads, as soon as one does."""
        import anyio

        deadline_s = time.monotonic() + START_S
        while True:
            self.processes.require_running(nodes)
            leader = leader_of(await ask_statuses(self._target))
            if leader is not None:
                return int(leader["node"])
            if time.monotonic() > deadline_s:
                raise Unreachable(f"no node led within {START_S:g} s")
            await anyio.sleep(LOOK_S)

    async def _write_round(
        self,
        title: str,
        number: int,
        nodes: Sequence[NodeId],
        leader: NodeId,
        victim: NodeId | None = None,
    ) -> None:
        """Write `decrees` keys, the clients of all nodes by turns."""
        import anyio

        from paxos.runtime.opening import connect

        latencies_s: list[float] = []
        turn = iter(range(1, self.decrees + 1))
        half = self.decrees // 2 + 1

        async def write(client: "Client", node: NodeId, at: int) -> None:
            key, value = b"round-%d/key-%d" % (number, at), b"by the client of node %d" % node
            asked_s = time.perf_counter()
            await client.put(key, value)
            self.written[key] = value
            await client.increment(_COUNTER)
            latencies_s.append((time.perf_counter() - asked_s) / 2)

        async def work(clients: "list[tuple[NodeId, Client]]") -> None:
            for at in turn:
                if victim is not None and at == half:
                    self.processes.nodes[victim].kill()
                node, client = clients[at % len(clients)]
                await write(client, node, at)
                bar.advance()

        started_s = time.perf_counter()
        with self.out.progress(title, self.decrees) as bar:
            async with AsyncExitStack() as stack:
                clients = []
                for node in nodes:
                    first = self.config.node(node).address
                    addresses = [first, *self._target.addresses]
                    client = connect(addresses, cluster=self.config.id, timeout_s=CALL_S)
                    clients.append((node, await stack.enter_async_context(client)))
                async with anyio.create_task_group() as group:
                    for _ in range(_WINDOW):
                        group.start_soon(work, clients)
        took_s = time.perf_counter() - started_s
        made = LogRound(title, tuple(nodes), leader, len(latencies_s), took_s, tuple(latencies_s))
        self.log_rounds.append(made)
        figures = made.figures()
        self.out.say(
            f"  {made.writes} written in {took_s:.2f} s: {figures['writes_per_s']} a second, "
            f"median {figures['p50_ms']} ms, slowest {figures['max_ms']} ms"
        )

    async def _compare_states(self) -> None:
        """Compare what each node itself has with what was acknowledged."""
        from paxos.runtime.opening import connect

        await wait_until_level(self.processes, self.members, self._target)
        for node in self.members:
            async with connect([self.config.node(node).address], timeout_s=CALL_S) as client:
                found = await everything(client)
                status = await client.status()
            counter = int(found.pop(_COUNTER, b"0"))
            digest = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]
            self.states.append(NodeState(node, status["applied"], len(found), counter, digest))
            self._judge(node, found, counter)

    def _judge(self, node: NodeId, found: dict[bytes, bytes], counter: int) -> None:
        keys = sorted(self.written.keys() | found.keys())
        self.count_readings(len(keys))
        for key in keys:
            if found.get(key) != self.written.get(key):
                self.differences.append(
                    f"{readable(key)}: node {node} has {found.get(key)!r}, acknowledged was "
                    f"{self.written.get(key)!r}"
                )
        if counter != len(self.written):
            self.differences.append(
                f"node {node} counted {counter} writes; {len(self.written)} were acknowledged, each once"
            )

    def compare_stores(self) -> None:
        """Read every store back, as a restart would."""
        self.read_stores()

    # --- telling ------------------------------------------------------------------------------------

    def report(self) -> None:
        """The result."""
        figures = [made.figures() for made in self.log_rounds]
        columns = ("round", "leader", "writes", "a second", "median ms", "slowest ms")
        names = ("leader", "writes", "writes_per_s", "p50_ms", "max_ms")
        rows = [
            (f"{number}: {one['title']}", *(one[name] for name in names))
            for number, one in enumerate(figures, 1)
        ]
        self.out.table("what was written:", columns, rows)
        self.out.table(
            "what each node has:",
            ("node", "applied to slot", "keys", "writes counted", "digest"),
            [attrs.astuple(state) for state in self.states],
        )
        for difference in self.differences:
            self.out.say(f"DIFFERENT: {difference}")
        same = "all the same" if not self.differences else f"{len(self.differences)} DIFFERENT"
        result = {
            "nodes": len(self.members),
            "writes": len(self.written),
            "killed": self.victim,
            "rounds": figures,
            "states": [attrs.asdict(state) for state in self.states],
            "compared": self.compared,
            "differences": self.differences,
            "sample": [
                {"key": json_bytes(key), "value": json_bytes(value)}
                for key, value in list(self.written.items())[:_SHOWN]
            ],
        }
        self.out.result(
            result,
            f"{len(self.written)} acknowledged writes compared on nodes {listed(self.members)}, and each "
            "counted "
            f"once: {same}",
        )
