"""The demo of a log without a leader: five regions, each with a replica that serves the clients beside it.

The processes and their disks are real, and so are the connections; what goes over them arrives as late as
between the cloud regions that were measured (`paxos.sim.regions.toml`, "nsdi21").  So what a write takes can
be held against what the distances allow: without conflicts the round trip to the nearest fast quorum.

Every write stores a key of its own and adds one to a counter of its region, in one transaction.  So in the
end it can be told whether something that was acknowledged is missing, and whether something was carried out
twice because its client asked another replica again when its own was killed.
"""

import hashlib
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from paxos import keyvalue
from paxos.ballot import NodeId
from paxos.cli.arguments import Target
from paxos.cli.calling import ask_statuses
from paxos.cli.demo import CALL_S, Demo, NodeState, everything, listed, wait_until_level
from paxos.cli.output import readable
from paxos.cli.torture.network import Network
from paxos.errors import ConfigurationError
from paxos.runtime.config import dump_cluster
from paxos.runtime.opening import connect
from paxos.sim.topology import Topology

if TYPE_CHECKING:
    from paxos.runtime.client import Client

__all__ = ["RegionDemo", "RegionRound"]

_TOPOLOGY: Final = "nsdi21"
_SHARED: Final = b"everybody"
#: So many times fewer writes are in a round of one key: each takes several round trips.
_CONFLICTS: Final = 2
#: Writes of each client until two replicas are killed, and how far the next ones have come then, seconds.
_BEFORE: Final = 2
_ON_THE_WAY_S: Final = 0.01


@attrs.frozen
class RegionRound:
    """What writes took in one round.

    Args:
        title: what it was about.
        writes: how many were acknowledged.
        allowed_ms: of each region, what the distances allow, milliseconds.
        commit_ms: of each node that is up, until its own commands were committed: median, milliseconds.
        answer_ms: of the client in each region, until its write was carried out and answered: median.
        slowest_ms: of the client in each region, the longest.
    """

    title: str
    writes: int
    allowed_ms: dict[NodeId, float]
    commit_ms: dict[NodeId, float]
    answer_ms: dict[NodeId, float]
    slowest_ms: dict[NodeId, float]

    def to_json(self, names: dict[NodeId, str]) -> dict[str, object]:
        """By the regions' names."""

        def by_name(values: dict[NodeId, float]) -> dict[str, float]:
            return {names[node]: round(value, 1) for node, value in values.items()}

        return {
            "title": self.title,
            "writes": self.writes,
            "allowed_ms": by_name(self.allowed_ms),
            "commit_ms": by_name(self.commit_ms),
            "answer_ms": by_name(self.answer_ms),
            "slowest_ms": by_name(self.slowest_ms),
        }


class RegionDemo(Demo):
    """The demo's story for a log that nobody leads. Arguments: as `Demo`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._topology = Topology.named(_TOPOLOGY)
        if len(self.members) > len(self._topology.sites):
            raise ConfigurationError(
                f"--nodes {len(self.members)}: the demo has {len(self._topology.sites)} regions"
            )
        self.names: dict[NodeId, str] = dict(zip(self.members, self._topology.sites, strict=False))
        self._target = Target(tuple(node.address for node in self.config.nodes), None, 1.0, self.config)
        self._quorums = self.config.quorum_system()
        ports = {node.id: node.port for node in self.config.nodes}
        # The client beside node n is called -n.
        self._network = Network(ports, [-node for node in self.members])
        self.each: int = max(self.decrees // len(self.members), 4)
        # As many as may be down, from the second node on, every other one.
        self.victims: tuple[NodeId, ...] = self.members[1::2][: (len(self.members) - 1) // 2]
        self.region_rounds: list[RegionRound] = []
        self.states: list[NodeState] = []
        #: What was acknowledged: by key, and how often each counter was raised.
        self.written: dict[bytes, bytes] = {}
        self.counted: dict[bytes, int] = {}

    # --- distances ------------------------------------------------------------------------------------

    def _rtt_ms(self, one: NodeId, other: NodeId) -> float:
        return self._topology.rtt_ms(one, other, self.members)

    def nearest(self, node: NodeId, down: Sequence[NodeId] = ()) -> list[NodeId]:
        """The nodes that are up, by their distance from one of them."""
        up = [each for each in self.members if each not in down]
        return sorted(up, key=lambda each: (self._rtt_ms(node, each) if each != node else 0.0, each))

    def allowed_ms(self, node: NodeId, down: Sequence[NodeId] = ()) -> float:
        """What the client in a node's region has to wait at least, when nothing conflicts."""
        serving = self.nearest(node, down)[0]
        bound_ms = self.config.description().bound_ms
        assert bound_ms is not None, "the protocol says how fast it is"

        def rtt_ms(one: NodeId, other: NodeId) -> float:
            return math.inf if one in down or other in down else self._rtt_ms(one, other)

        there = 0.0 if serving == node else self._rtt_ms(node, serving)
        return there + bound_ms(serving, self.members, rtt_ms, self._quorums)

    def _delay(self) -> None:
        """Let everything arrive as late as between the regions."""
        for one in self.members:
            for other in self.members:
                if one != other:
                    delay_s = self._topology.delay_ms(one, other, self.members) / 1000
                    self._network.slow([(one, other), (-one, other), (other, -one)], delay_s)

    # --- the story ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Everything that needs a running cluster.

        Raises:
            NodeStopped: a node ended that should not have.
        """
        async with anyio.create_task_group() as tasks:
            await self._network.open(tasks)
            self._delay()
            await self._story()
            tasks.cancel_scope.cancel()

    async def _story(self) -> None:
        out, victims = self.out, self.victims
        started_s = time.perf_counter()
        out.say(
            f"starting {len(self.members)} nodes, each a process with a port and a disk of its own; between "
            f"them it is as far as between the regions of {_TOPOLOGY} ..."
        )
        for node in self.members:
            self._write_config(node)
            self.processes.start(node)
        await self.wait_until_ready(self.members)
        for node in self.members:
            place, name = self.config.node(node), self.names[node]
            far = ", ".join(
                f"{self.names[other]} {self._rtt_ms(node, other):g} ms" for other in self.nearest(node)[1:]
            )
            pid = self.processes.nodes[node].pid
            out.say(f"  node {node}: process {pid}, {place.address}, {name}; {far}")
        out.say(f"  ready after {time.perf_counter() - started_s:.2f} s")
        out.say(f"round 1: in each region a client writes {self.each} keys of its own to its replica ...")
        await self._region_round("no conflicts", 1, self._write)
        out.say("round 2: all of them add to one counter, so every write conflicts with all others ...")
        await self._region_round("one key", 2, self._add)
        dead = " and ".join(f"{self.names[node]} (node {node})" for node in victims)
        out.say(f"round 3: as the first; {dead} are killed (SIGKILL) on the way ...")
        await self._region_round(f"{len(victims)} killed", 3, self._write, victims)
        out.say(f"starting nodes {listed(victims)} again, and round 4, as the first ...")
        for node in victims:
            self.processes.start(node)
        await self.wait_until_ready(victims)
        await self._region_round("all back", 4, self._write)
        out.say("waiting until every node has carried out all, and asking each for all that it has ...")
        await self._compare_states()

    def _write_config(self, node: NodeId) -> None:
        """The cluster file of one node: it finds the others through the network."""
        nodes = tuple(
            each if each.id == node else attrs.evolve(each, address=self._network.address(node, each.id))
            for each in self.config.nodes
        )
        text = dump_cluster(attrs.evolve(self.config, nodes=nodes))
        self.processes.config_of(node).write_text(text, encoding="utf-8")

    # --- writes ---------------------------------------------------------------------------------------

    async def _write(self, client: "Client", node: NodeId, name: bytes) -> None:
        """A key of its own, and one more on the region's own counter."""
        counter = b"writes/" + self.names[node].encode()
        key, value = b"keys/" + name, b"by the client in " + self.names[node].encode()
        await client.transaction([], [keyvalue.put(key, value), keyvalue.increment(counter)])
        self.written[key] = value
        self.counted[counter] = self.counted.get(counter, 0) + 1

    async def _add(self, client: "Client", node: NodeId, name: bytes) -> None:
        """One more on the counter of all."""
        await client.increment(_SHARED)
        self.counted[_SHARED] = self.counted.get(_SHARED, 0) + 1

    async def _region_round(
        self,
        title: str,
        number: int,
        write: "Callable[[Client, NodeId, bytes], Awaitable[None]]",
        victims: Sequence[NodeId] = (),
    ) -> None:
        """The client of each region writes, one write after the other."""
        shared = number == 2
        each = max(self.each // _CONFLICTS, 3) if shared else self.each
        times_ms: dict[NodeId, list[float]] = {node: [] for node in self.members}
        # Before two are killed all have written a little; then they go on, and it happens on the way.
        arrived, go_on, done = 0, anyio.Event(), 0

        async def kill() -> None:
            await go_on.wait()
            await anyio.sleep(_ON_THE_WAY_S)
            for victim in victims:
                self.processes.nodes[victim].kill()

        async def work(node: NodeId, client: "Client") -> None:
            nonlocal arrived, done
            for at in range(each):
                if victims and at == _BEFORE:
                    arrived += 1
                    if arrived == len(self.members):
                        go_on.set()
                    await go_on.wait()
                asked_s = time.perf_counter()
                await write(client, node, b"%d/%s/%d" % (number, self.names[node].encode(), at))
                if not victims or at > _BEFORE:
                    times_ms[node].append(1000 * (time.perf_counter() - asked_s))
                done += 1
                bar.advance()

        with self.out.progress(title, each * len(self.members)) as bar:
            async with AsyncExitStack() as stack:
                clients = {}
                for node in self.members:
                    addresses = [self._network.address(-node, other) for other in self.nearest(node)]
                    client = connect(addresses, cluster=self.config.id, timeout_s=CALL_S)
                    clients[node] = await stack.enter_async_context(client)
                async with anyio.create_task_group() as group:
                    if victims:
                        group.start_soon(kill)
                    for node, client_ in clients.items():
                        group.start_soon(work, node, client_)
        trips = 2 if shared else 1
        allowed = {node: trips * self.allowed_ms(node, victims) for node in self.members}
        answers = {node: statistics.median(times) for node, times in times_ms.items() if times}
        slowest = {node: max(times) for node, times in times_ms.items() if times}
        made = RegionRound(title, done, allowed, await self._commits_ms(victims), answers, slowest)
        self.region_rounds.append(made)
        shown = ", ".join(
            f"{self.names[node]} {answer:.0f} ({allowed[node]:g})" for node, answer in answers.items()
        )
        self.out.say(f"  {done} writes; median ms until the answer (and what the distances allow): {shown}")

    async def _commits_ms(self, down: Sequence[NodeId]) -> dict[NodeId, float]:
        """What the nodes say of the last commands of their own clients."""
        found = {status["node"]: status for status in await ask_statuses(self._target)}
        return {
            node: found[node]["latency_ms"]["commit"]
            for node in self.members
            if node not in down and "commit" in found.get(node, {}).get("latency_ms", {})
        }

    # --- the end --------------------------------------------------------------------------------------

    async def _compare_states(self) -> None:
        """Compare what each node itself has with what was acknowledged."""
        await wait_until_level(self.processes, self.members, self._target)
        for node in self.members:
            async with connect([self.config.node(node).address], timeout_s=CALL_S) as client:
                found = await everything(client)
                status = await client.status()
            digest = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]
            counted = sum(int(value) for key, value in found.items() if key in self.counted)
            self.states.append(NodeState(node, status["applied"], len(found), counted, digest))
            self.judge(node, found)
        digests = {state.digest for state in self.states}
        if len(digests) > 1:
            self.differences.append(f"the nodes hold {len(digests)} different states")

    def judge(self, node: NodeId, found: dict[bytes, bytes]) -> None:
        """Compare what one node has with what was acknowledged, each write once."""
        wanted = self.written | {key: b"%d" % times for key, times in self.counted.items()}
        keys = sorted(wanted.keys() | found.keys())
        self.count_readings(len(keys))
        for key in keys:
            if found.get(key) != wanted.get(key):
                self.differences.append(
                    f"{readable(key)}: node {node} has {found.get(key)!r}, acknowledged was "
                    f"{wanted.get(key)!r}"
                )

    def compare_stores(self) -> None:
        """Read every store back, as a restart would."""
        self.read_stores()

    def report(self) -> None:
        """The result."""
        alone, shared, killed, back = self.region_rounds
        rows = [
            (
                self.names[node],
                *(_cell(values, node) for values in (alone.allowed_ms, alone.commit_ms, alone.answer_ms)),
                *(_cell(values, node) for values in (shared.allowed_ms, shared.commit_ms, shared.answer_ms)),
                *(_cell(values, node) for values in (killed.allowed_ms, killed.answer_ms)),
                _cell(back.answer_ms, node),
            )
            for node in self.members
        ]
        dead = ", ".join(self.names[node] for node in self.victims)
        columns = ("region", "allowed", "commit", "answer", "one key: allowed", "commit", "answer",
                   f"{dead} killed: allowed", "answer", "all back: answer")  # fmt: skip
        self.out.table("what a write takes in each region, median, milliseconds:", columns, rows)
        self.out.table(
            "what each node has:",
            ("node", "region", "commands applied", "keys", "writes counted", "digest"),
            [
                (state.node, self.names[state.node], state.applied, state.keys, state.counter, state.digest)
                for state in self.states
            ],
        )
        for difference in self.differences:
            self.out.say(f"DIFFERENT: {difference}")
        same = "all the same" if not self.differences else f"{len(self.differences)} DIFFERENT"
        writes = sum(self.counted.values())
        result = {
            "nodes": len(self.members),
            "regions": list(self.names.values()),
            "topology": _TOPOLOGY,
            "writes": writes,
            "killed": list(self.victims),
            "rounds": [made.to_json(self.names) for made in self.region_rounds],
            "states": [attrs.asdict(state) for state in self.states],
            "compared": self.compared,
            "differences": self.differences,
        }
        what = f"{writes} acknowledged writes compared on nodes {listed(self.members)}"
        self.out.result(result, f"{what}, and each counted once: {same}")


def _cell(values: dict[NodeId, float], node: NodeId) -> str:
    return f"{values[node]:.0f}" if node in values else "-"
