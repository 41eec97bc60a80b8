"""Protocols compared: the same regions, the same commands, the same faults, and what comes of it.

    comparison = paxos.compare.run(["multipaxos", "epaxos"], topology="nsdi21", conflict=[0, 2, 100], seed=1)
    comparison.find("epaxos", 0).site["CA"].commit_ms.p50

Everything runs in virtual time on the code that real nodes run, and is judged: a protocol that does something
wrong has no figures.
"""

from paxos.compare.advise import Advice, Choice, advise
from paxos.compare.faults import Fault
from paxos.compare.measure import WrongRun
from paxos.compare.model import (
    CDF_PERCENTS,
    Checked,
    Comparison,
    FaultEffect,
    Latency,
    Load,
    Place,
    Run,
    Series,
    Site,
    Timeline,
)
from paxos.compare.places import even_place
from paxos.compare.plan import Plan
from paxos.compare.running import compare, run
from paxos.compare.topologies import find_place, read_place

__all__ = [
    "CDF_PERCENTS",
    "Advice",
    "Checked",
    "Choice",
    "Comparison",
    "Fault",
    "FaultEffect",
    "Latency",
    "Load",
    "Place",
    "Plan",
    "Run",
    "Series",
    "Site",
    "Timeline",
    "WrongRun",
    "advise",
    "compare",
    "even_place",
    "find_place",
    "read_place",
    "run",
]
