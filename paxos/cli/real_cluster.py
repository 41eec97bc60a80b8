"""A protocol on real processes, with the distances of a topology between them.

Each replica is a process of its own, with its clients beside it, in this process.  What goes from one site to
another, of replicas as of clients, passes through a relay (`real_relay`), which hands it on when half of the
round trip is over; nothing needs to be privileged for that.  A client and the replica of its own site speak
directly.

Two things make real latency more than distance: what replicas, sockets and clients cost, which a *near*
cluster shows, where all call each other directly; and that the relay is later than it should be, which a
probe that goes through it shows while clients are at work.
"""

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import attrs
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.stapled import MultiListener

from paxos.ballot import NodeId
from paxos.check.history import Operation
from paxos.cli.arguments import Target
from paxos.cli.calling import ask_statuses
from paxos.cli.processes import NodeProcesses
from paxos.cli.real_relay import Ways, relay_process
from paxos.compare import Place
from paxos.compare.places import node_of
from paxos.contract import Decides
from paxos.errors import OutcomeUnknown, PaxosError, Unreachable
from paxos.runtime.config import ClusterConfig, NodeConfig, dump_cluster
from paxos.runtime.opening import connect
from paxos.runtime.ports import free_ports
from paxos.runtime.tasks import CONNECTION_ERRORS, task_scope
from paxos.runtime.timed import COMMITS, timed_name
from paxos.sim.mix import Mix, Planned

__all__ = ["Answered", "Load", "RealCluster", "real_cluster"]

#: How long starting, and a leader at the right site, may take, and how often one looks, seconds.
_START_S: Final = 20.0
_LEADER_S: Final = 20.0
_LOOK_S: Final = 0.05
_LOOK_LEADER_S: Final = 0.25
#: How long a call may take until it counts as unanswered, seconds.
_CALL_S: Final = 10.0
#: What the probe's way takes, one way, and its pause between two questions, seconds.
_PROBE_DELAY_S: Final = 0.01
_PROBE_PAUSE_S: Final = 0.02
_PROBE_BYTES: Final = 64
#: So many of the keys that were written last are read at every site in the end.
_READ_BACK: Final = 5
#: The "client" that the probe is.
_PROBE: Final = 0
_LOOPBACK: Final = "127.0.0.1"
_NS: Final = 1_000_000_000
_MS: Final = 1000.0


class Answered(NamedTuple):
    """One command that a client had answered.

    Args:
        node: beside which the client is.
        call_s, return_s: when it was asked and answered, monotonic seconds.
        reads: whether it only read.
    """

    node: NodeId
    call_s: float
    return_s: float
    reads: bool

    @property
    def took_ms(self) -> float:
        """How long it took, milliseconds."""
        return (self.return_s - self.call_s) * _MS


@attrs.frozen
class Load:
    """What clients ask.

    Args:
        mix: which keys, as simulated clients have them.
        clients: at each site.
        commands: of each site in all.
        value_bytes: of what is written.
        think_ms: pause after each answer, by node; empty for none.
        limit_s: nothing is asked after so long, seconds.
    """

    mix: Mix
    clients: int
    commands: int
    value_bytes: int
    think_ms: dict[NodeId, float]
    limit_s: float


@attrs.define
class Asked:
    """What came of a load.

    Attributes:
        answered: in the order in which answers came.
        unanswered: how many calls had no answer in time, or were refused.
        commits_ms: until the replica beside the client knew its command committed, by node; empty for a
            protocol whose events do not say.
        relay_ms: how late the relay was, one way, while clients were at work; empty without one.
        history: everything that clients did and were told, with reads of the last keys at every site.
    """

    answered: list[Answered] = attrs.field(factory=list)
    unanswered: int = 0
    commits_ms: dict[NodeId, list[float]] = attrs.field(factory=dict)
    relay_ms: list[float] = attrs.field(factory=list)
    history: list[Operation] = attrs.field(factory=list)


class RealCluster:
    """Replicas as processes, one at each site; made by `real_cluster`.

    Args:
        place: where they are.
        config: where they really listen.
        processes: starts them.
        ports: at which the relay listens, by way; None where they call each other directly.
    """

    def __init__(
        self,
        place: Place,
        config: ClusterConfig,
        processes: NodeProcesses,
        ports: Mapping[Ways, int] | None,
    ) -> None:
        self._place = place
        self._config = config
        self._processes = processes
        self._ports = ports
        self._decrees = config.description().decides is Decides.DECREES
        self._target = Target(tuple(node.address for node in config.nodes), None, 1.0, config)
        self._loads = 0

    # --- starting -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all replicas, and have the right one lead.

        Raises:
            NodeStopped: one ended.
            Unreachable: one did not come up, or does not lead, in time.
        """
        members = self._config.members
        for node in members:
            nodes = tuple(
                each if each.id == node else attrs.evolve(each, address=self._address(node, each.id))
                for each in self._config.nodes
            )
            text = dump_cluster(attrs.evolve(self._config, nodes=nodes))
            self._processes.config_of(node).write_text(text, encoding="utf-8")
            self._processes.start(node)
        deadline_s = time.monotonic() + _START_S
        while True:
            self._processes.require_running(members)
            found = await ask_statuses(self._target)
            if all(status.get("ready") for status in found):
                break
            if time.monotonic() > deadline_s:
                raise Unreachable(f"{self._config.protocol}: not all nodes were ready within {_START_S:g} s")
            await anyio.sleep(_LOOK_S)
        await self._place_leader()

    async def _place_leader(self) -> None:
        """Where somebody leads, have it be the topology's leader."""
        wanted = node_of(self._place, self._place.leader)
        deadline_s = time.monotonic() + _LEADER_S
        while time.monotonic() < deadline_s:
            found = await ask_statuses(self._target)
            if not any("leader" in status for status in found):
                return
            named = {status.get("leader") for status in found}
            if named == {wanted}:
                return
            leader = next(iter(named))
            if len(named) == 1 and leader:
                address = self._config.node(leader).address
                async with connect([address], cluster=self._config.id, timeout_s=1.0) as client:
                    with suppress(PaxosError):  # it is asked again
                        await client.transfer(wanted)
            await anyio.sleep(_LOOK_LEADER_S)
        raise Unreachable(f"the replica at {self._place.leader} does not lead within {_LEADER_S:g} s")

    def _address(self, source: NodeId, target: NodeId) -> str:
        """Where `source` finds `target`; the client beside node n is -n."""
        if self._ports is None or abs(source) == target:
            return self._config.node(target).address
        return f"{_LOOPBACK}:{self._ports[source, target]}"

    # --- clients ------------------------------------------------------------------------------------

    async def ask(self, load: Load, advance: Callable[[], None]) -> Asked:
        """Have clients at every site ask, all of them at once.

        Args:
            load: what.
            advance: called after each answer.
        """
        self._loads += 1
        sessions = load.clients * len(self._config.members)
        total = load.commands * len(self._config.members)
        found, planned = Asked(), Planned(load.mix)
        waiting, go, probed = _Count(sessions), anyio.Event(), anyio.Event()
        before: dict[NodeId, list[float]] = {}
        async with task_scope() as tasks:
            if self._ports is not None:
                echo = self._config.members[-1] + 1
                tasks.start_soon(_probe, self._ports, echo, found.relay_ms, go, probed)
            async with anyio.create_task_group() as group:
                for index in range(sessions):
                    share = total // sessions + (index < total % sessions)
                    session = _Session(self, load, planned, index, share, self._loads)
                    group.start_soon(session.run, found, waiting, go, advance)
                await waiting.none.wait()
                before = await self._commits()
                go.set()
            if self._ports is not None:
                await probed.wait()  # few commands may be answered sooner
            tasks.cancel_scope.cancel()
        for node, took_ms in (await self._commits()).items():
            found.commits_ms[node] = took_ms[len(before.get(node, ())) :]
        await self._read_back(found)
        self._processes.require_running(self._config.members)
        return found

    async def _read_back(self, found: Asked) -> None:
        """Ask at every site for what was written last, wherever."""
        keys = list(dict.fromkeys(each.key for each in reversed(found.history) if each.value is not None))

        async def read(node: NodeId) -> None:
            async with self.open(node) as client:
                for key in keys[:_READ_BACK]:
                    with suppress(PaxosError):
                        await self.call(client, found, -node, key, None)

        async with anyio.create_task_group() as group:
            for node in self._config.members:
                group.start_soon(read, node)

    async def call(self, client: Any, found: Asked, who: int, key: Any, value: bytes | None) -> None:
        """Write a value, or read without one, and note what was asked and told.

        Raises:
            PaxosError: no answer, or none that says it was done.
        """
        out: bytes | None = None
        op = "decide" if self._decrees else "get" if value is None else "put"
        call_s = time.monotonic()
        try:
            if self._decrees:
                out = await (client.decided(key) if value is None else client.decide(key, value))
            elif value is None:
                out = await client.get(key)
            else:
                await client.put(key, value)
        except OutcomeUnknown:
            # Of what was certainly not done, and of a read, nothing is to be noted.
            found.history.append(Operation(who, op, key, value, call_s=call_s))
            raise
        done_s = time.monotonic()
        found.history.append(Operation(who, op, key, value, call_s=call_s, return_s=done_s, out=out))

    async def _commits(self) -> dict[NodeId, list[float]]:
        """All that the replicas tell of commits; nothing where they do not."""
        found = await ask_statuses(self._target)
        return {status["node"]: status[COMMITS] for status in found if COMMITS in status}

    def open(self, node: NodeId) -> Any:
        """A client beside a node, which goes to the next nearest where it must."""
        at = node - 1
        order = sorted(self._config.members, key=lambda each: (self._place.rtt_ms[at][each - 1], each))
        addresses = [self._address(-node, other) for other in order]
        return connect(addresses, cluster=self._config.id, timeout_s=_CALL_S, prefer=node)

    @property
    def decrees(self) -> bool:
        """Whether every command is a decree of its own."""
        return self._decrees

    @property
    def sites(self) -> int:
        """How many there are."""
        return len(self._config.members)


class _Count:
    """How many are still to come."""

    def __init__(self, many: int) -> None:
        self._left = many
        self.none = anyio.Event()

    def one_less(self) -> None:
        self._left -= 1
        if not self._left:
            self.none.set()


class _Session:
    """One client, which asks what the simulated one of the same number asks."""

    def __init__(
        self, cluster: RealCluster, load: Load, planned: Planned, index: int, commands: int, tag: int
    ) -> None:
        self._cluster = cluster
        self._load = load
        self._planned = planned
        self._index = index
        self._node: NodeId = index % cluster.sites + 1
        self._number = index // cluster.sites
        self._commands = commands
        # What an earlier load wrote is none of this one's conflicts.
        self._tag = b"%d/" % tag

    async def run(self, found: Asked, waiting: _Count, go: anyio.Event, advance: Callable[[], None]) -> None:
        think_s = self._load.think_ms.get(self._node, 0.0) / _MS
        async with self._cluster.open(self._node) as client:
            # The first call looks for who leads, and tells the cluster of the client.
            await self._call(client, found, b"warm-up", -1, reads=False)
            waiting.one_less()
            await go.wait()
            begun_s = time.monotonic()
            await anyio.sleep(self._planned.begin_ns(self._node, self._number) / _NS)
            for sequence in range(self._commands):
                call_s = time.monotonic()
                if call_s - begun_s > self._load.limit_s:
                    return
                asked = self._planned.next(self._index, sequence, int((call_s - begun_s) * _NS))
                try:
                    await self._call(client, found, asked.key, sequence, asked.reads)
                except PaxosError:
                    found.unanswered += 1
                else:
                    found.answered.append(Answered(self._node, call_s, time.monotonic(), asked.reads))
                advance()
                if think_s:
                    await anyio.sleep(think_s)

    async def _call(self, client: Any, found: Asked, key: bytes, sequence: int, reads: bool) -> None:
        value = (b"%d.%d" % (self._index, sequence + 1)).ljust(self._load.value_bytes, b"~")
        if self._cluster.decrees:
            # Each has its own; of one that was decided before is asked.
            key = b"d%d.%d" % (self._index, sequence + (not reads))
        await self._cluster.call(client, found, self._index, self._tag + key, None if reads else value)


# --- how late the relay is -------------------------------------------------------------------------------


async def _probe(
    ports: Mapping[Ways, int], echo: NodeId, late_ms: list[float], go: anyio.Event, probed: anyio.Event
) -> None:
    """Ask the echo directly and through the relay in turn, from when clients begin; what the relay adds to
    its delay, for each way, milliseconds. `probed` is set when there is something."""
    await go.wait()
    async with (
        await anyio.connect_tcp(_LOOPBACK, ports[echo, echo]) as direct,
        await anyio.connect_tcp(_LOOPBACK, ports[_PROBE, echo]) as relayed,
    ):
        while True:
            plain_s, through_s = await _round_trip(direct), await _round_trip(relayed)
            # What the echo itself takes is no fault of the relay's.
            late_ms.append(max(through_s - 2 * _PROBE_DELAY_S - plain_s, 0.0) / 2 * _MS)
            probed.set()
            await anyio.sleep(_PROBE_PAUSE_S)


async def _serve_echo(listener: MultiListener[SocketStream]) -> None:
    async with listener:
        await listener.serve(_echo)


async def _echo(stream: SocketStream) -> None:
    with suppress(*CONNECTION_ERRORS):
        async with stream:
            while True:
                await stream.send(await stream.receive(_PROBE_BYTES))


async def _round_trip(stream: SocketStream) -> float:
    began_s = time.perf_counter()
    await stream.send(bytes(_PROBE_BYTES))
    left = _PROBE_BYTES
    while left:
        left -= len(await stream.receive(left))
    return time.perf_counter() - began_s


# --- opening ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def real_cluster(
    protocol: str, place: Place, *, far: bool, loop: str, store: str, directory: str | None
) -> AsyncIterator[RealCluster]:
    """A protocol on processes while the block runs; none is left after it, whatever happens.

    Args:
        protocol: its name.
        place: where the replicas are.
        far: whether what goes between sites takes half of their round trip; else all call each other
            directly.
        loop: of the replicas: "asyncio", "uvloop" or "trio".
        store: "memory", or "sqlite" for real disks.
        directory: for stores and logs; None for a temporary one.

    Raises:
        NodeStopped, Unreachable: it did not come up.
    """
    members = range(1, len(place.sites) + 1)
    backend = ("--uvloop",) if loop == "uvloop" else ("--backend", loop)
    with tempfile.TemporaryDirectory(prefix="paxos-bench-", dir=directory) as temporary:
        base = Path(temporary)
        config = ClusterConfig(
            id="bench",
            protocol=timed_name(protocol),
            nodes=tuple(
                NodeConfig(
                    node, f"{_LOOPBACK}:{port}", "memory" if store == "memory" else str(base / str(node))
                )
                for node, port in zip(members, free_ports(len(members)), strict=True)
            ),
            path=base / "cluster.toml",
        )
        options = ("--log-level", "warning", *backend)
        with NodeProcesses(base / "cluster.toml", base, options, each=True) as processes:
            async with AsyncExitStack() as stack:
                ports = await stack.enter_async_context(_relay(config, place)) if far else None
                cluster = RealCluster(place, config, processes, ports)
                await cluster.start()
                yield cluster


@asynccontextmanager
async def _relay(config: ClusterConfig, place: Place) -> AsyncIterator[Mapping[Ways, int]]:
    """What carries everything between sites, as late as their distance says, and an echo behind it."""
    members: Sequence[NodeId] = config.members
    echo = members[-1] + 1
    delays_s: dict[Ways, float] = {(_PROBE, echo): _PROBE_DELAY_S, (echo, _PROBE): _PROBE_DELAY_S}
    for one in members:
        for other in members:
            if one != other:
                late_s = place.rtt_ms[one - 1][other - 1] / 2 / _MS
                delays_s |= dict.fromkeys([(one, other), (-one, other), (other, -one)], late_s)
    async with task_scope() as tasks:
        listener = await anyio.create_tcp_listener(local_host=_LOOPBACK, local_port=0)
        port = listener.extra(SocketAttribute.local_port)
        tasks.start_soon(_serve_echo, listener)
        real = {node.id: node.port for node in config.nodes} | {echo: port}
        async with relay_process(real, delays_s) as ports:
            yield {**ports, (echo, echo): port}
        tasks.cancel_scope.cancel()
