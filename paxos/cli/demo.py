"""`paxos demo`: a real cluster on this machine, nodes killed and started again, and nothing lost.

Several processes, real sockets, real disks.  What is told depends on the protocol; here is the story of one
that decides decrees, and what the stories of logs (`demo_log`, `demo_regions`) share with it.

At every node a client proposes its own value for the same names at the same time, so they contend; all must
be told the same.  Then one node is killed while others go on deciding, started again, and has to know every
decision, whichever node is asked; and what stands in the stores afterwards must say the same.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from paxos.ballot import NodeId
from paxos.cli.arguments import Commands, add_command, count
from paxos.cli.calling import ask_statuses
from paxos.cli.check import look_at_store
from paxos.cli.output import Output, json_bytes, readable
from paxos.cli.processes import NodeProcesses
from paxos.contract import Decides, Orders, find_protocol
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, ConfigurationError, PaxosError, Unreachable
from paxos.service.keyvalue_requests import MAX_LIMIT

if TYPE_CHECKING:
    from paxos.cli.arguments import Target
    from paxos.runtime.client import Client
    from paxos.runtime.config import ClusterConfig

__all__ = ["Demo", "NodeState", "add", "everything", "listed", "wait_until_level"]

#: How long starting, one decision, and stopping may take before the demo gives up, seconds.
START_S: Final = 20.0
CALL_S: Final = 20.0
LOOK_S: Final = 0.05
#: Decrees under way at once.
_WINDOW: Final = 8
_SHOWN: Final = 5
#: Without saying more: nodes and decisions in each round; of a log without a leader, regions and writes.
_NODES: Final = 3
_DECREES: Final = 40
_REGIONS: Final = 5
_WRITES: Final = 75


def add(commands: Commands) -> None:
    """Add `paxos demo`."""
    parser = add_command(
        commands,
        "demo",
        run,
        "see it work: real processes, some of them killed",
        "Starts nodes as processes of their own on loopback ports, with stores in a temporary directory. "
        "EPaxos: five replicas, as far from each other as five cloud regions, each with a client beside it; "
        "shows what a write takes in each region and what the distances allow, kills two replicas with "
        "SIGKILL, goes on, starts them again, and compares the states of all. Multi-Paxos: the leader is "
        "killed while clients write. Basic Paxos: clients contend at every node, and one is killed. Takes "
        "half a minute at most and leaves nothing behind. Exit code 5 if any two nodes differ.",
        "  paxos demo\n"
        "  paxos demo --protocol multipaxos\n"
        "  paxos demo --protocol paxos --nodes 5 --decrees 200\n"
        "  paxos demo --keep run && paxos log --store run/data/1      look at what is left",
    )
    parser.add_argument(
        "--nodes", type=count(3, 15), metavar="N", help=f"how many processes ({_NODES}; epaxos: {_REGIONS})"
    )
    parser.add_argument("--protocol", default="epaxos", metavar="NAME", help="what they run (epaxos)")
    parser.add_argument(
        "--decrees",
        "--writes",
        type=count(1, 10_000),
        metavar="N",
        help=f"how many decisions or writes in each round ({_DECREES}; epaxos: {_WRITES})",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="work in this new directory and leave it there"
    )


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Run the demo."""
    import anyio

    with _directory(arguments.keep) as directory:
        regions = find_protocol(arguments.protocol).orders is Orders.CONFLICTS
        nodes = arguments.nodes or (_REGIONS if regions else _NODES)
        decrees = arguments.decrees or (_WRITES if regions else _DECREES)
        config = _configuration(directory, arguments.protocol, nodes)
        options = ("--log-level", "warning")
        with NodeProcesses(directory / "cluster.toml", directory, options, regions) as processes:
            demo = _story(config, processes, decrees, out)
            anyio.run(demo.run)
            out.say("stopping all nodes and comparing their stores ...")
            codes = processes.stop()
        demo.compare_stores()
        ended_badly = {node: code for node, code in codes.items() if code}
        for node, code in ended_badly.items():
            demo.differences.append(f"node {node} ended with exit code {code}")
        demo.report()
        if arguments.keep is not None:
            out.say(f"left in {directory}: cluster.toml, data/, node-N.log")
        return EXIT_CHECK_FAILED if demo.differences else EXIT_DONE


def _story(config: "ClusterConfig", processes: NodeProcesses, decrees: int, out: Output) -> "Demo":
    if config.description().orders is Orders.CONFLICTS:
        from paxos.cli.demo_regions import RegionDemo

        return RegionDemo(config, processes, decrees, out)
    if config.description().decides is Decides.LOG:
        from paxos.cli.demo_log import LogDemo

        return LogDemo(config, processes, decrees, out)
    return Demo(config, processes, decrees, out)


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """Where the demo works; removed afterwards unless it is to be kept."""
    if keep is not None:
        try:
            keep.mkdir(parents=True)
        except OSError as error:
            raise ConfigurationError(f"--keep {keep}: can not be made: {error.strerror}") from error
        yield keep
        return
    directory = Path(tempfile.mkdtemp(prefix="paxos-demo-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _configuration(directory: Path, protocol: str, nodes: int) -> "ClusterConfig":
    from paxos.runtime.config import ClusterConfig, NodeConfig, dump_cluster
    from paxos.runtime.ports import free_ports

    config = ClusterConfig(
        id="demo",
        protocol=protocol,
        nodes=tuple(
            NodeConfig(node, f"127.0.0.1:{port}", str(directory / "data" / str(node)))
            for node, port in enumerate(free_ports(nodes), 1)
        ),
        path=directory / "cluster.toml",
    )
    (directory / "cluster.toml").write_text(dump_cluster(config), encoding="utf-8")
    return config


@attrs.frozen
class Round:
    """One round of decisions.

    Args:
        title: what it was about.
        nodes: at which nodes clients proposed.
        decided: what was chosen, by name.
        took_s: for all of them, seconds.
        latencies_s: of each call, seconds.
    """

    title: str
    nodes: tuple[NodeId, ...]
    decided: dict[bytes, bytes]
    took_s: float
    latencies_s: tuple[float, ...]

    def figures(self) -> dict[str, object]:
        """Its figures, for JSON."""
        wins = Counter(_author(value) for value in self.decided.values())
        return {
            "title": self.title,
            "nodes": list(self.nodes),
            "decrees": len(self.decided),
            "decided_per_s": round(len(self.decided) / self.took_s, 1),
            "p50_ms": round(1000 * statistics.median(self.latencies_s), 2),
            "max_ms": round(1000 * max(self.latencies_s), 2),
            "won_by_node": dict(sorted(wins.items())),
        }


def _author(value: bytes) -> str:
    return value.decode().rpartition(" ")[2]


class Demo:
    """The demo's story, told while it happens.

    Args:
        config: the cluster.
        processes: starts its nodes.
        decrees: how many in each round.
        out: where to tell.
    """

    def __init__(self, config: "ClusterConfig", processes: NodeProcesses, decrees: int, out: Output) -> None:
        self.config = config
        self.processes = processes
        self.decrees = decrees
        self.out = out
        self.members: tuple[NodeId, ...] = config.members
        self.victim: NodeId = self.members[-1]
        self.rounds: list[Round] = []
        self.decided: dict[bytes, bytes] = {}
        #: Every way in which two nodes or clients were found to differ; there must be none.
        self.differences: list[str] = []
        self.compared: int = 0

    async def run(self) -> None:
        """Everything that needs a running cluster.

        Raises:
            NodeStopped: a node ended that should not have.
        """
        out, victim = self.out, self.victim
        others = self.members[:-1]
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
        out.say(f"  ready after {time.perf_counter() - started_s:.2f} s")
        out.say(f"round 1: clients at all nodes propose for the same {self.decrees} names at once ...")
        self._tell(await self._round("all nodes up", 1, self.members, None))
        out.say(
            f"round 2: the same at nodes {listed(others)}; node {victim} is killed (SIGKILL) on the way ..."
        )
        self._tell(await self._round(f"node {victim} killed", 2, others, victim))
        out.say(f"starting node {victim} again, and round 3 at all nodes ...")
        self.processes.start(victim)
        await self.wait_until_ready([victim])
        self._tell(await self._round(f"node {victim} back", 3, self.members, None))
        out.say(f"asking every node for all {len(self.decided)} decisions ...")
        await self._compare_nodes()

    def read_stores(self) -> None:
        """Read every store back, as a restart would: what is damaged is a difference."""
        for node in self.members:
            try:
                look = look_at_store(self.config.node(node).store)
            except PaxosError as error:
                self.differences.append(str(error))
                continue
            self.differences.extend(f"{look.report.where}: {text}" for text in look.report.damaged)

    def count_readings(self, readings: int) -> None:
        """So many more values were compared."""
        self.compared += readings

    # --- steps --------------------------------------------------------------------------------------

    async def wait_until_ready(self, nodes: Sequence[NodeId]) -> None:
        """Wait until these nodes vote; fail at once when one of them ends."""
        import anyio

        from paxos.runtime.opening import connect

        deadline_s = time.monotonic() + START_S
        for node in nodes:
            async with connect([self.config.node(node).address], timeout_s=LOOK_S * 10) as client:
                while True:
                    self.processes.require_running(nodes)
                    try:
                        if (await client.status())["ready"]:
                            break
                    except Unreachable:
                        pass
                    if time.monotonic() > deadline_s:
                        raise Unreachable(f"node {node} was not ready within {START_S:g} s")
                    await anyio.sleep(LOOK_S)

    async def _round(self, title: str, number: int, nodes: Sequence[NodeId], victim: NodeId | None) -> Round:
        """Decide `decrees` names, every node's client proposing for each of them at the same time."""
        import anyio

        from paxos.runtime.opening import connect

        latencies_s: list[float] = []
        told: dict[bytes, dict[NodeId, bytes]] = {}
        turn = iter(range(1, self.decrees + 1))
        half = self.decrees // 2 + 1

        async def propose(client: "Client", node: NodeId, name: bytes) -> None:
            asked_s = time.perf_counter()
            told.setdefault(name, {})[node] = await client.decide(name, name + b" by node-%d" % node)
            latencies_s.append(time.perf_counter() - asked_s)

        async def work(clients: dict[NodeId, "Client"]) -> None:
            for at in turn:
                if victim is not None and at == half:
                    self.processes.nodes[victim].kill()
                async with anyio.create_task_group() as group:
                    for node, client in clients.items():
                        group.start_soon(propose, client, node, b"round-%d/decree-%d" % (number, at))
                bar.advance()

        started_s = time.perf_counter()
        with self.out.progress(title, self.decrees) as bar:
            async with AsyncExitStack() as stack:
                clients = {
                    node: await stack.enter_async_context(
                        connect([self.config.node(node).address], cluster="demo", timeout_s=CALL_S)
                    )
                    for node in nodes
                }
                async with anyio.create_task_group() as group:
                    for _ in range(_WINDOW):
                        group.start_soon(work, clients)
        took_s = time.perf_counter() - started_s
        decided = {name: self._same(name, answers) for name, answers in told.items()}
        self.decided.update(decided)
        made = Round(title, tuple(nodes), decided, took_s, tuple(latencies_s))
        self.rounds.append(made)
        return made

    def _same(self, name: bytes, answers: dict[NodeId, bytes]) -> bytes:
        """The one value that every client was told for a name."""
        value = next(iter(answers.values()))
        proposed = {name + b" by node-%d" % node for node in answers}
        for node, other in answers.items():
            if other != value or other not in proposed:
                self.differences.append(f"{readable(name)}: node {node} told {other!r}, another {value!r}")
        return value

    async def _compare_nodes(self) -> None:
        """Ask every node for every decision."""
        from paxos.runtime.opening import connect

        for node in self.members:
            async with connect([self.config.node(node).address], timeout_s=CALL_S) as client:
                for name, value in self.decided.items():
                    found = await client.decided(name)
                    self.compared += 1
                    if found != value:
                        self.differences.append(f"{readable(name)}: node {node} has {found!r}, not {value!r}")

    def compare_stores(self) -> None:
        """Read every store back, as a restart would: what stands there must not differ."""
        for node in self.members:
            try:
                look = look_at_store(self.config.node(node).store)
            except PaxosError as error:
                self.differences.append(str(error))
                continue
            self.differences += [f"{look.report.where}: {text}" for text in look.report.damaged]
            for name, value in look.decided.items():
                self.compared += 1
                if self.decided.get(name) != value:
                    self.differences.append(f"{readable(name)}: the store of node {node} has {value!r}")

    # --- telling ------------------------------------------------------------------------------------

    def _tell(self, made: Round) -> None:
        figures = made.figures()
        out = self.out
        out.say(
            f"  {figures['decrees']} decided in {made.took_s:.2f} s: {figures['decided_per_s']} a second, "
            f"median {figures['p50_ms']} ms, slowest {figures['max_ms']} ms"
        )
        for name, value in list(made.decided.items())[:_SHOWN]:
            out.say(
                f"    {readable(name)}: {_author(value)} won, and all {len(made.nodes)} clients were told so"
            )
        if len(made.decided) > _SHOWN:
            out.say(f"    ... and {len(made.decided) - _SHOWN} more")

    def report(self) -> None:
        """The result."""
        figures = [made.figures() for made in self.rounds]
        columns = ("round", "at nodes", "decided", "a second", "median ms", "slowest ms", "won by")
        rows = []
        for number, one in enumerate(figures, 1):
            won = one["won_by_node"]
            assert isinstance(won, dict)
            winners = ", ".join(f"{name} {times}" for name, times in won.items())
            nodes = listed(self.rounds[number - 1].nodes)
            speed = [one[name] for name in ("decrees", "decided_per_s", "p50_ms", "max_ms")]
            rows.append((f"{number}: {one['title']}", nodes, *speed, winners))
        self.out.table("what was decided:", columns, rows)
        for difference in self.differences:
            self.out.say(f"DIFFERENT: {difference}")
        same = "all the same" if not self.differences else f"{len(self.differences)} DIFFERENT"
        result = {
            "nodes": len(self.members),
            "decisions": len(self.decided),
            "killed": self.victim,
            "rounds": figures,
            "compared": self.compared,
            "differences": self.differences,
            "sample": [
                {"name": json_bytes(name), "value": json_bytes(value)}
                for name, value in list(self.decided.items())[:_SHOWN]
            ],
        }
        self.out.result(
            result,
            f"{len(self.decided)} decisions compared on {len(self.members)} nodes and their disks, "
            f"{self.compared} readings: {same}",
        )


def listed(nodes: Sequence[NodeId]) -> str:
    """Nodes, for people."""
    return ", ".join(map(str, nodes))


# --- of a log ----------------------------------------------------------------------------------------


@attrs.frozen
class NodeState:
    """What one node holds in the end.

    Args:
        node: its id.
        applied: up to which slot, or how many commands.
        keys: how many keys it has.
        counter: how many writes it counted.
        digest: of all keys and values.
    """

    node: NodeId
    applied: int
    keys: int
    counter: int
    digest: str


async def everything(client: "Client") -> dict[bytes, bytes]:
    """All that the node has by itself, whoever leads: that is what stale means."""
    found: dict[bytes, bytes] = {}
    low, more = b"", True
    while more:
        items, more = await client.scan(low, limit=MAX_LIMIT, stale=True)
        found.update(items)
        low = items[-1][0] + b"\0" if items else low
    return found


async def wait_until_level(processes: NodeProcesses, nodes: Sequence[NodeId], target: "Target") -> None:
    """Wait until every node has applied what the others have."""
    import anyio

    deadline_s = time.monotonic() + START_S
    while True:
        processes.require_running(nodes)
        applied = {status.get("applied") for status in await ask_statuses(target)}
        if len(applied) == 1 and None not in applied:
            return
        if time.monotonic() > deadline_s:
            raise Unreachable(f"the nodes were not level within {START_S:g} s: {applied}")
        await anyio.sleep(LOOK_S)
