"""A simulated run as a whole: nodes that come and go, what goes wrong, and the phases up to the verdict.

First there is work, and faults.  Then everything heals, and whoever waits must be answered.  Then, if the
workload says so, every node is asked what it knows.  Then the last messages arrive, and the run is judged.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Final

from paxos.ballot import NodeId
from paxos.contract import Configuration, Decides, ProtocolDescription
from paxos.errors import ConfigurationError, DiskLost
from paxos.quorum import Phase
from paxos.service import LogSettings, MachineMaker, Node, message_table, replica_prefix
from paxos.sim.choices import PARTS, Choices
from paxos.sim.clients import Clients
from paxos.sim.conflict_ledger import ledger_of
from paxos.sim.decree_desk import DecreeDesk
from paxos.sim.disk import Disk
from paxos.sim.faults import Crash, Cut, Faults, Happening, Pause, SlowNode, Wipe, plan_of
from paxos.sim.ledger import applied_of, service_probes, taken_commands
from paxos.sim.log_desk import LogDesk
from paxos.sim.log_verdict import judge_log
from paxos.sim.loop import NEVER, NS, Loop, Site, complaint_of
from paxos.sim.meter import Meter, Study
from paxos.sim.mix import Planned
from paxos.sim.network import Network
from paxos.sim.result import counted
from paxos.sim.topology import Hardware, Topology
from paxos.sim.verdict import judge_decisions, judge_history
from paxos.sim.watch import Trace, Watch
from paxos.sim.workload import Workload

__all__ = ["World"]

#: After the last answer, how long the last messages are followed.
_SETTLE_NS: Final = 3 * NS
#: How often, before clients begin, one looks whether the right node leads.
_PLACEMENTS: Final = 10
#: How often one looks whether all nodes of a log have come as far as each other.
_LOOK_NS: Final = NS // 2


class World(Loop):
    """One run, from start to verdict. See `paxos.sim.run` for the arguments."""

    def __init__(
        self,
        protocol: ProtocolDescription,
        configurations: list[Configuration],
        topology: Topology,
        hardware: Hardware,
        faults: Faults,
        workload: Workload,
        choices: Choices,
        *,
        machine: MachineMaker | None,
        log: LogSettings | None,
        duration_s: float,
        grace_s: float,
        max_steps: int,
        trace: bool,
        check: bool,
        study: Study | None = None,
    ) -> None:
        first = configurations[0]
        members, quorums, group, epoch = first.members, first.quorums, first.group, first.epoch
        watched = check and study is None and bool(protocol.invariants)
        prefix = replica_prefix(group, epoch) if watched else None
        seen = Counter(dict.fromkeys(protocol.probes, 0))
        planned = None if study is None else Planned(study.mix)
        desk: DecreeDesk | LogDesk = DecreeDesk(workload, choices, planned)
        ledger = None
        if protocol.decides is Decides.LOG:
            desk = LogDesk(workload, choices, planned)
            if check and machine is not None:
                ledger = ledger_of(protocol, desk.asked, seen, machine)
                seen.update(dict.fromkeys(service_probes(protocol), 0))
        if study is not None:
            protocol = study.meter.protocol
        super().__init__(
            {each.node: Site(each, _store_id(each.node, 0), Disk(prefix)) for each in configurations},
            Network(topology, hardware, members, faults, choices, message_table(protocol), seen),
            faults,
            choices,
            seen,
            sync_s=hardware.sync_s,
            max_steps=max_steps,
            trace=Trace() if trace else None,
            watch=Watch(protocol, quorums, group, epoch) if watched else None,
            ledger=ledger,
        )
        self.protocol = protocol
        self.quorums = quorums
        self._machine = machine
        self._log = log
        self._desk = desk
        self._service_s = hardware.service_s
        self._workload = workload
        self._check = check
        self._grace_ns = int(grace_s * NS)
        self._phase = "work"
        self._noun = "decree" if protocol.decides is Decides.DECREES else "key"
        self._set_clocks()
        plan = plan_of(faults, members, duration_s, choices)
        self._to_come = len(plan)
        for site in self.sites.values():
            self._set_service(site, 0)
            self.at(0, self._start, site, "start")
        for happening in plan:
            self.at(round(happening.at_s * NS), self._happen, happening)
        self.at(int(duration_s * NS), self._heal)
        if study is not None:
            self._study(study)
        self.clients: Clients = Clients(self, workload, desk, int(duration_s * NS), planned)

    def _study(self, study: Study) -> None:
        """Have the run measured, and the right node lead when clients begin."""
        self.meter: Meter | None = study.meter
        if study.leader not in self.sites:
            raise ConfigurationError(f"leader: node {study.leader!r:.40} is none of {list(self.sites)}")
        self._place(self.sites[study.leader])
        self.at(int(self._workload.start_s * NS), self._count, study.meter)
        self.gathers: bool = study.mix.batch > 1
        for link in study.lossy:
            ends_s = link.at_s + link.for_s
            self.at(int(link.at_s * NS), self.network.lose, link.sender, link.recipient, link.share)
            self.at(int(ends_s * NS), self.network.lose, link.sender, link.recipient, 0.0)

    def _place(self, wanted: Site) -> None:
        begins_ns = int(self._workload.start_s * NS)
        if self.now_ns >= begins_ns or self._phase != "work":
            return
        for site in self.sites.values():
            values = {} if site.node is None else site.node.replica.status().values
            if site.node is None or values.get("leader") != site.id or site is wanted:
                continue
            with contextlib.suppress(ConfigurationError):
                site.node.replica.instruct("transfer", wanted.id, self.clock(site))
                self.carry_out(site, site.node.turn(), "tick", None, None, None)
        self.at(self.now_ns + max(begins_ns // _PLACEMENTS, 1), self._place, wanted)

    def _count(self, meter: Meter) -> None:
        """Clients begin."""
        meter.counts = True
        for site in self.sites.values():
            site.worked_ns = 0
            if site.node is not None and site.node.replica.status().values.get("leader") == site.id:
                meter.leader = site.id

    def _set_clocks(self) -> None:
        for site in self.sites.values():
            if self._faults.skew_s:
                site.skew_s = self._faults.skew_s * self._signed("skew")
            if self._faults.drift:
                site.clock_rate = 1.0 + self._faults.drift * self._signed("drift")

    def _signed(self, name: str) -> float:
        """From -1 to 1; 0 for 0."""
        drawn = self.choices.draw(name, 2 * PARTS + 1)
        return (drawn + 1) // 2 / PARTS * (1 if drawn % 2 else -1)

    # --- nodes come and go ---------------------------------------------------------------------------

    def _start(self, site: Site, action: str) -> None:
        if site.node is not None or site.stopped is not None:
            return
        site.life += 1
        site.born_ns = self.now_ns
        site.odd_clock = bool(site.born_ns or self._faults.skew_s or self._faults.drift)
        site.wake_s, site.wanted_ns, site.timer_ns = None, NEVER, NEVER
        site.free_ns = site.paused_ns = 0
        try:
            site.node = node = Node(
                self.protocol,
                site.configuration,
                site.store_id,
                dict(site.disk.durable),
                self.choices.draw,
                self.clock(site),
                self._machine,
                self._log,
            )
            if self.ledger is not None:
                self.ledger.begins(node)
                taken_commands(node)
            turn = node.turn()
        except (Exception, SystemExit) as error:
            if isinstance(error, ConfigurationError) and action == "start":
                raise
            self.failed(site, error)
            return
        self.carry_out(site, turn, action, None, None, None)

    def _restart(self, site: Site, life: int) -> None:
        if site.life == life:
            self._start(site, "restart")

    def _down(self, site: Site, unsynced: str) -> None:
        """The node is gone, and with it all that was not on its disk."""
        batches = site.disk.unsynced
        keep = 0
        if unsynced == "kept":
            keep = batches
        elif unsynced == "torn":
            keep = self.choices.draw("torn", batches + 1)
        if batches > keep:
            self.seen["writes lost"] += batches - keep
        if keep:
            self.seen["writes kept"] += keep
        if self.ledger is not None and site.node is not None and site.stopped is None:
            self.ledger.holds(site.node, "before it crashed")
        site.disk.crash(keep)
        site.node = None
        self.clients.broken(site)

    def failed(self, site: Site, error: Exception | SystemExit) -> None:
        """A node raised: it stops, and unless it lost its disk that breaks a promise."""
        site.stopped = f"{type(error).__name__}: {error}"
        self._down(site, "lost")
        self.crashed(site)
        if isinstance(error, DiskLost) and site.wiped:
            self.seen["stopped"] += 1
            if not self._quorate():
                self._finish()
        else:
            self.violate(*complaint_of(site.id, error))

    # --- faults -----------------------------------------------------------------------------------------

    def _happen(self, happening: Happening) -> None:
        self._to_come -= 1
        if self._phase != "work":
            return
        if isinstance(happening, Cut):
            self.seen["partition"] += 1
            self.network.cut(happening)
            if happening.heal_after_s is not None:
                self.at(self.now_ns + round(happening.heal_after_s * NS), self.network.mend, happening)
        else:
            site = self.sites[happening.node]
            if site.node is not None:
                self._happen_to(site, happening)
        if self.trace is not None and not isinstance(happening, Crash | Wipe):
            self.trace.line(self.steps, self.now_ns, type(happening).__name__, what=str(happening))
        if not self.clients.waiting:
            self.settled()

    def _happen_to(self, site: Site, happening: Crash | Wipe | Pause | SlowNode) -> None:
        if isinstance(happening, Pause):
            self.seen["pause"] += 1
            site.hindered = True
            site.paused_ns = max(site.paused_ns, self.now_ns + round(happening.for_s * NS))
            return
        if isinstance(happening, SlowNode):
            self.seen["slow node"] += 1
            self._set_service(site, round(happening.service_s * NS))
            self.at(self.now_ns + round(happening.for_s * NS), self._set_service, site, 0)
            return
        if isinstance(happening, Crash) and happening.when == "writing":
            site.doom = happening
        else:
            self._crash(site, happening)

    def doomed(self, site: Site, crash: Crash, sync_ns: int) -> None:
        """It crashes somewhere between here and the end of the sync."""
        site.doom = None
        moment_ns = sync_ns * self.choices.draw("moment", PARTS) // PARTS
        self.at(self.now_ns + moment_ns, self._crash_writing, site, crash, site.life)

    def _crash_writing(self, site: Site, crash: Crash, life: int) -> None:
        if self._phase == "work" and site.node is not None and site.life == life:
            self._crash(site, crash)

    def _crash(self, site: Site, crash: Crash | Wipe) -> None:
        self.seen["crash" if isinstance(crash, Crash) else "wipe"] += 1
        self._down(site, crash.unsynced if isinstance(crash, Crash) else "lost")
        self.crashed(site)
        if isinstance(crash, Wipe):
            site.disk.wipe()
            site.store_id = _store_id(site.id, site.life)
            site.wiped = True
        if crash.restart_after_s is not None:
            self.at(self.now_ns + round(crash.restart_after_s * NS), self._restart, site, site.life)

    def _set_service(self, site: Site, extra_ns: int) -> None:
        site.service_ns = round(self._service_s * NS) + extra_ns
        # Once hindered, a node keeps its queue's order; so the flag stays.
        site.hindered = site.hindered or site.service_ns > 0

    # --- phases ---------------------------------------------------------------------------------------------

    def settled(self) -> None:
        """No client waits just now: perhaps the phase is over."""
        if self._phase == "work":
            if self.clients.exhausted and not self._to_come:
                self._heal()
        elif self._phase == "drain":
            self._phase = "audit"
            if self._workload.audit:
                self.clients.audit()
            if not self.clients.waiting:
                self.settled()
        elif self._phase == "audit":
            self._phase = "settle"
            self.at(self.now_ns + _SETTLE_NS, self._finish_when_even)

    def _finish_when_even(self) -> None:
        """The end, as soon as all nodes of a log have come as far as each other."""
        if len(set(self.applied().values())) > 1 and not self.over:
            self.at(self.now_ns + _LOOK_NS, self._finish_when_even)
        else:
            self._finish()

    def _heal(self) -> None:
        """Faults are over: all that is broken works again, and whoever waits must be answered."""
        if self._phase != "work":
            return
        self._phase = "drain"
        if self.meter is not None:
            self.meter.counts = False
            for site in self.sites.values():
                # What still waits in its queue it has not worked at yet.
                left_ns = max(site.free_ns - max(self.now_ns, site.paused_ns), 0)
                self.meter.of(site.id).worked_s = max(site.worked_ns - left_ns, 0) / NS
        self.clients.end()
        self.network.heal()
        self._slow_disks = False
        for site in self.sites.values():
            site.paused_ns = min(site.paused_ns, self.now_ns)
            site.doom = None
            self._set_service(site, 0)
            self._start(site, "restart")
        self.at(self.now_ns + self._grace_ns, self._out_of_time)
        if not self.clients.waiting:
            self.settled()

    def _quorate(self) -> bool:
        """Whether the nodes that have not stopped for good can decide anything."""
        alive = {site.id for site in self.sites.values() if site.stopped is None}
        if len(alive) < len(self.sites):
            # A node that is new needs more than a quorum before it may vote.
            alive = {
                site.id
                for site in self.sites.values()
                if site.id in alive and (site.node is None or site.node.identity.introduced)
            }
        return all(self.quorums.is_quorum(alive, phase) for phase in (Phase.ONE, Phase.TWO))

    def _out_of_time(self) -> None:
        if self.clients.waiting and self._quorate():
            stuck = next(op for op in self.clients.history() if op.outcome is None)
            self.violate(
                "Liveness",
                f"{counted(self.clients.waiting, 'operation')} unanswered {self._grace_ns / NS:.0f} s after "
                f"faults ended; the first is of client {stuck.client} on {self._noun} {stuck.name!r:.60}, "
                f"called at {stuck.call_s:.6f} s",
            )
        applied = self.applied()
        if not self.violations and len(set(applied.values())) > 1 and self._quorate():
            come = ", ".join(f"node {node} at {mark}" for node, mark in applied.items())
            self.violate(
                "Liveness",
                f"{self._grace_ns / NS:.0f} s after faults ended not all nodes applied the same: {come}",
            )
        self._finish()

    def _finish(self) -> None:
        if self.over:
            return
        self.over = True
        if self._check:
            self._judge()

    def _judge(self) -> None:
        history = self.clients.history()
        judged: list[Iterable[tuple[str, str]]]
        if self.ledger is not None and self._machine is not None:
            states = [
                self.ledger.state_of(site.node, "at the end")
                for site in self.sites.values()
                if site.node is not None
            ]
            judged = [judge_log(self.ledger, states, history, self._machine)]
            if isinstance(self._desk, LogDesk):
                judged.append(self._desk.complaints())
        else:
            decisions = self.decisions()
            judged = [judge_decisions(decisions), judge_history(history, decisions)]
        for complaints in judged:
            for name, sentence in complaints:
                self.violate(name, sentence)

    def decisions(self) -> dict[NodeId, dict[bytes, bytes]]:
        """What every running node knows of decrees."""
        if self.protocol.decides is Decides.LOG:
            return {}
        return {site.id: site.node.machine.values() for site in self.sites.values() if site.node is not None}

    def applied(self) -> dict[NodeId, int]:
        """How far every running node has applied the log; empty where none is decided."""
        if self.protocol.decides is not Decides.LOG:
            return {}
        return {
            site.id: applied_of(site.node)
            for site in self.sites.values()
            if site.node is not None and (site.node.identity.introduced or not site.wiped)
        }


def _store_id(node: NodeId, life: int) -> bytes:
    return hashlib.sha256(b"store %d %d" % (node, life)).digest()[:16]
