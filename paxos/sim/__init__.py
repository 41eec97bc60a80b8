"""The simulator: whole clusters in virtual time, with every fault, deterministic."""

from paxos.sim.choices import Choices
from paxos.sim.faults import Crash, Cut, Faults, Pause, SlowNode, Wipe, fault_names
from paxos.sim.result import Operation, Result, Violation
from paxos.sim.runner import run
from paxos.sim.topology import Hardware, Topology, topology_names
from paxos.sim.workload import Workload

__all__ = [
    "Choices",
    "Crash",
    "Cut",
    "Faults",
    "Hardware",
    "Operation",
    "Pause",
    "Result",
    "SlowNode",
    "Topology",
    "Violation",
    "Wipe",
    "Workload",
    "fault_names",
    "run",
    "topology_names",
]
