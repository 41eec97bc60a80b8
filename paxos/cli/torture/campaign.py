"""A campaign: real processes under load, with everything going wrong; then everything that was said is
compared.

    directory/  cluster file, log and store of each node; plan.json; history.jsonl; report.json

The plan is drawn first (`plan`), and carried out here: on processes (`nodes`) and on their connections
(`network`), while clients work (`load`).  When it is over all is healed, and what is left is judged
(`judgement`).
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import anyio
import attrs
from anyio.abc import TaskGroup

from paxos.ballot import NodeId
from paxos.check.history import HistoryWriter
from paxos.cli.torture.judgement import Judge, compare_snapshots
from paxos.cli.torture.load import DecreeLoad, KeyValueLoad, Load, Notebook
from paxos.cli.torture.network import CLIENTS, Network
from paxos.cli.torture.nodes import Fleet, LogLine, log_lines, steady_ports
from paxos.cli.torture.plan import Fault, Kind, draw_plan
from paxos.cli.torture.watch import Watch
from paxos.contract import Decides
from paxos.errors import Unreachable

__all__ = ["Campaign", "Report", "run_campaign"]

#: How long a cluster that is whole may take until it serves, seconds.
_READY_S: Final = 60.0
_LOOK_S: Final = 0.05
#: How much later what is slow arrives, seconds.
_SLOW_S: Final = (0.005, 0.15)
#: Transfers of leadership are tried for so long, seconds.
_TRANSFER_S: Final = 2.0
#: Events of nodes' logs that are counted, and what they are called in the report.
_COUNTED: Final = {
    "elected": "leaders elected",
    "snapshot": "snapshots made",
    "snapshot wanted": "snapshot transfers begun",
    "snapshot installed": "snapshots installed",
}
#: Events that no node has a reason for, when all of them run the same code and nobody else is there.
_BAD_EVENTS: Final = ("breach", "refused", "snapshot refused", "query failed", "request skipped")
#: Lines of a log that show something wrong, at most so many of each node.
_BAD_LINES: Final = 5


@attrs.frozen
class Campaign:
    """What to do.

    Args:
        directory: where everything is kept.
        protocol: what the nodes run.
        nodes: how many.
        seconds: how long clients work and things go wrong.
        seed: of what is random.
        clients: how many work at once.
        small: whether nodes get small bounds, drawn from the seed, so that all of them are met.
        history: where the history goes; None for the directory.
    """

    directory: Path
    protocol: str = "multipaxos"
    nodes: int = 3
    seconds: float = 60.0
    seed: int = 1
    clients: int = 6
    small: bool = True
    history: Path | None = None


@attrs.define
class Report:
    """What happened, and what was wrong.

    Args:
        campaign: what was done, by name.
        operations: calls by outcome.
        faults: what went wrong, by kind.
        seen: what nodes wrote into their logs, and what who watched was told, by what it is called.
        longest_silence_s: the longest time without an answer to anybody, seconds.
        applied: the mark that all nodes reached at the end.
        keys: keys that all nodes hold at the end.
        restored: whether they held the same after all were killed and started again.
        verdict: what the check of the history says.
        wrong: everything that must not be; empty when all is well.
    """

    campaign: dict[str, object]
    operations: dict[str, int] = attrs.field(factory=dict)
    faults: dict[str, int] = attrs.field(factory=dict)
    seen: dict[str, int] = attrs.field(factory=dict)
    longest_silence_s: float = 0.0
    applied: object = None
    keys: int = 0
    restored: bool = False
    verdict: dict[str, Any] = attrs.field(factory=dict)
    wrong: list[str] = attrs.field(factory=list)


async def run_campaign(campaign: Campaign, tell: Callable[[str, float], None] = lambda _, __: None) -> Report:
    """Run it, to the end.

    Args:
        campaign: what to do.
        tell: told what is being done, and what share of that is done.

    Raises:
        ConfigurationError: the protocol, or the directory, can not be used.
        Unreachable: the cluster did not come up before anything went wrong.
    """
    campaign.directory.mkdir(parents=True, exist_ok=True)
    draw = random.Random(f"{campaign.seed}/nodes")
    nodes = range(1, campaign.nodes + 1)
    plan = draw_plan(campaign.seed, nodes, campaign.seconds)
    ports = dict(zip(nodes, steady_ports(campaign.nodes, random.Random()), strict=True))
    fleet = Fleet(campaign.directory, campaign.protocol, ports, draw, campaign.small)
    _write_plan(campaign, plan)
    described = {**attrs.asdict(campaign), "directory": str(campaign.directory), "settings": fleet.settings}
    described["history"] = str(campaign.history or campaign.directory / "history.jsonl")
    report = Report(described)
    with fleet, HistoryWriter(str(described["history"])) as writer:
        async with anyio.create_task_group() as tasks:
            network = Network(ports)
            await network.open(tasks)
            fleet.configure(network)
            trouble = _Trouble(campaign, fleet, network, report, plan)
            await trouble.run(tasks, writer, tell)
            tasks.cancel_scope.cancel()
        report.wrong += fleet.wrong
    _read_logs(fleet, report)
    text = json.dumps(attrs.asdict(report), indent=1, default=str)
    (campaign.directory / "report.json").write_text(text + "\n", encoding="utf-8")
    return report


def _write_plan(campaign: Campaign, plan: Sequence[Fault]) -> None:
    text = "".join(json.dumps(attrs.asdict(fault)) + "\n" for fault in plan)
    (campaign.directory / "plan.jsonl").write_text(text, encoding="utf-8")


class _Trouble:
    """One campaign under way."""

    def __init__(
        self, campaign: Campaign, fleet: Fleet, network: Network, report: Report, plan: Sequence[Fault]
    ) -> None:
        self._campaign = campaign
        self._fleet = fleet
        self._network = network
        self._report = report
        self._plan = plan
        self._nodes = list(fleet.ports)
        self._watch = Watch({node: fleet.address(node) for node in self._nodes})
        self._faults: Counter[str] = Counter()

    async def run(self, tasks: TaskGroup, writer: HistoryWriter, tell: Callable[[str, float], None]) -> None:
        """From the first start to the judgement."""
        campaign, fleet, network = self._campaign, self._fleet, self._network
        for node in self._nodes:
            fleet.start(node)
        tasks.start_soon(self._watch.run)
        await self._until_ready()
        notebook = Notebook(writer)
        make: type[Load] = KeyValueLoad if fleet.decides is Decides.LOG else DecreeLoad
        addresses = [network.address(CLIENTS, node) for node in self._nodes]
        load = make(addresses, notebook, campaign.seed)
        tasks.start_soon(load.follow)
        async with anyio.create_task_group() as work:
            for number in range(campaign.clients):
                work.start_soon(load.run, number, campaign.seconds)
            for of_processes in (True, False):
                lane = [fault for fault in self._plan if fault.of_processes is of_processes]
                work.start_soon(self._carry_out, lane, notebook)
            while notebook.now_s < campaign.seconds:
                tell("everything goes wrong", notebook.now_s / campaign.seconds)
                await anyio.sleep(min(0.5, campaign.seconds / 100))
        report = self._report
        report.longest_silence_s = round(_longest_gap(notebook.answered_s, campaign.seconds), 3)
        report.faults = dict(sorted(self._faults.items()))
        await self._heal()
        judge = Judge(fleet, self._watch, load, notebook, report.wrong)
        await judge.judge(tell)
        report.applied, report.keys, report.restored = judge.applied, judge.keys, judge.restored
        report.operations = dict(sorted(notebook.outcomes.items()))
        report.verdict = judge.verdict
        report.seen = load.seen
        report.wrong += notebook.wrong

    async def _until_ready(self) -> None:
        with anyio.move_on_after(_READY_S):
            while not self._watch.all_ready:
                for node in self._nodes:
                    self._fleet.look(node)
                if self._fleet.wrong:
                    break
                await anyio.sleep(_LOOK_S)
            else:
                return
        why = "; ".join(self._fleet.wrong) or f"not within {_READY_S:g} s; see {self._fleet.directory}"
        raise Unreachable(f"the cluster did not come up: {why}")

    async def _heal(self) -> None:
        self._network.heal_all()
        for node in self._nodes:
            self._fleet.resume(node)
            self._fleet.look(node)
            if not self._fleet.processes[node].running:
                self._fleet.start(node)

    # --- what goes wrong ------------------------------------------------------------------------------

    async def _carry_out(self, lane: Sequence[Fault], notebook: Notebook) -> None:
        for fault in lane:
            await anyio.sleep(max(fault.at_s - notebook.now_s, 0))
            if fault.at_s + fault.lasts_s > self._campaign.seconds:
                return
            self._faults[self._name(fault)] += 1
            nodes = self._befallen(fault)
            if fault.of_processes:
                await self._on_processes(fault, nodes)
            else:
                await self._on_connections(fault, nodes)

    def _name(self, fault: Fault) -> str:
        many = len(fault.nodes)
        is_majority = fault.kind is Kind.KILL and 2 * many > len(self._nodes)
        return f"{fault.kind} of a majority" if is_majority else str(fault.kind)

    def _befallen(self, fault: Fault) -> list[NodeId]:
        nodes, leader = list(fault.nodes), self._watch.leader
        if fault.leader and leader is not None and leader not in nodes:
            nodes[0] = leader
        return nodes

    async def _on_processes(self, fault: Fault, nodes: Sequence[NodeId]) -> None:
        fleet = self._fleet
        if fault.kind is Kind.TRANSFER:
            with anyio.move_on_after(_TRANSFER_S):
                await self._watch.transfer(nodes[0])
        elif fault.kind is Kind.PAUSE:
            for node in nodes:
                fleet.pause(node)
            await anyio.sleep(fault.lasts_s)
            for node in nodes:
                fleet.resume(node)
        else:
            for node in nodes:
                if fault.kind is Kind.KILL:
                    fleet.kill(node)
                else:
                    await fleet.stop(node)
            await anyio.sleep(fault.lasts_s)
            for node in nodes:
                fleet.start(node)

    async def _on_connections(self, fault: Fault, nodes: Sequence[NodeId]) -> None:
        network, kind = self._network, fault.kind
        ways = self._ways(kind, nodes)
        if kind is Kind.CLIENTS:
            network.reset(ways)
            return
        if kind in (Kind.MUTE, Kind.DEAFEN):
            network.stall(ways)
        elif kind is Kind.SLOW:
            low_s, high_s = _SLOW_S
            network.slow(ways, low_s + (high_s - low_s) * (fault.lasts_s % 1))
        elif fault.late:
            network.stall(ways)  # nobody is told that nothing arrives
        else:
            network.cut(ways)
        await anyio.sleep(fault.lasts_s)
        if not fault.late and kind is not Kind.SLOW:
            network.reset(ways)
            network.reset([(target, source) for source, target in ways])
        network.heal(ways)

    def _ways(self, kind: Kind, nodes: Sequence[NodeId]) -> list[tuple[NodeId, NodeId]]:
        befallen, everyone = set(nodes), self._nodes
        if kind is Kind.CLIENTS:
            return [(CLIENTS, node) for node in nodes]
        if kind is Kind.SPLIT:
            return [(a, b) for a in nodes for b in nodes if a != b]
        away = [(a, b) for a in befallen for b in everyone if b not in befallen]
        back = [(b, a) for a, b in away]
        if kind is Kind.MUTE:
            return away
        if kind is Kind.DEAFEN:
            return back
        if kind is Kind.SLOW:
            return [(a, b) for a in everyone for b in everyone if a != b and {a, b} & befallen]
        return away + back


def _longest_gap(moments_s: Sequence[float], until_s: float) -> float:
    """The longest time between two answers."""
    moments = [0.0, *sorted(moment for moment in moments_s if moment < until_s), until_s]
    return max(after - before for before, after in pairwise(moments))


def _read_logs(fleet: Fleet, report: Report) -> None:
    """Count what the nodes tell, and look for what they should not have to."""
    seen: Counter[str] = Counter()
    made: dict[NodeId, list[LogLine]] = {}
    for node in fleet.ports:
        bad, made[node] = 0, []
        for line in log_lines(fleet.log(node)):
            # What a replica wants for another is no transfer yet.
            if line.event in _COUNTED and "recipient" not in line.arguments:
                seen[_COUNTED[line.event]] += 1
            if line.event == "snapshot":
                made[node].append(line)
            if line.level in ("error", "critical", "none") or line.event in _BAD_EVENTS:
                bad += 1
                if bad <= _BAD_LINES:
                    report.wrong.append(f"log of node {node}: {line.text:.500}")
    seen["snapshots of one marker equal"], wrong = compare_snapshots(made)
    report.wrong += wrong
    report.seen |= dict(sorted(seen.items()))
