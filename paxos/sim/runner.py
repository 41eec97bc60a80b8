"""`run`: one simulated run, from its inputs to its result."""

import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import attrs

from paxos.contract import Configuration, Decides, ProtocolDescription, find_protocol
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem
from paxos.service import LogSettings, MachineMaker
from paxos.service.keyvalue import KeyValue
from paxos.sim.choices import Choices
from paxos.sim.faults import Faults
from paxos.sim.ledger import LOG_SETTINGS
from paxos.sim.meter import Study
from paxos.sim.result import Result
from paxos.sim.topology import Hardware, Topology
from paxos.sim.workload import Workload
from paxos.sim.world import World

__all__ = ["run"]

T = TypeVar("T")

_MAX_NODES: Final = 100


def run(
    protocol: str | ProtocolDescription = "paxos",
    nodes: int = 3,
    seed: int = 7,
    *,
    topology: str | Topology = "lan",
    faults: str | Faults | None = None,
    workload: Workload | None = None,
    hardware: Hardware | None = None,
    duration_s: float = 10.0,
    grace_s: float = 120.0,
    choices: Sequence[int] | None = None,
    settings: Any = None,
    quorums: QuorumSystem | None = None,
    machine: MachineMaker | None = None,
    log: LogSettings | None = None,
    max_steps: int = 20_000_000,
    trace: bool = False,
    check: bool = True,
    study: Study | None = None,
) -> Result:
    """Simulate one run of a cluster. It is a pure function of its arguments.

    Args:
        protocol: its name, or its description.
        nodes: how many; their ids are 1, 2, 3, ... unless `quorums` says otherwise.
        seed: of the choices; of no effect beside `choices`.
        topology: delays between the nodes, or the name of published ones.
        faults: what goes wrong, or names as `Faults.named` takes them; None for nothing.
        workload: what clients do.
        hardware: disks, processors and links.
        duration_s: virtual seconds of work and faults. A run without faults to come ends when its work does.
        grace_s: virtual seconds within which, once faults ended, whoever waits must be answered.
        choices: the choices of an earlier run, to be made again; zeros follow when they run out.
        settings: the protocol's own settings.
        quorums: the quorum system; the protocol's default for None.
        machine: makes the state machine of a log: `KeyValue` for None, or what understands its requests.
        log: settings of the service of a log; for None some that make snapshots often.
        max_steps: a run that takes more is reported as one that does not end.
        trace: write the run down, one JSON line a step.
        check: check invariants at every step and the history at the end. It changes nothing in the run.
        study: measure the run, and have its clients keep to a plan; then only the history is checked.

    Returns:
        What happened; look at `violations`.

    Raises:
        ConfigurationError: an argument that can not work; the message says which.
    """
    started_s = time.perf_counter()
    found = _protocol(protocol)
    system = _quorums(found, nodes, quorums)
    place, wrong, work, machines = _data(topology, faults, workload, hardware)
    maker, service = _log_parts(machine, log)
    _check_limits(duration_s, grace_s, max_steps)
    place.check(len(system.members))
    wrong.check(system.members, duration_s)
    if work.start_s >= duration_s:
        raise ConfigurationError(f"Workload.start_s: {work.start_s} s is after the run's {duration_s} s")
    source = Choices(seed, choices)
    configurations = [Configuration(node, system, settings, trace=trace) for node in system.members]
    world = World(
        found, configurations, place, machines, wrong, work, source,
        machine=maker, log=service, duration_s=duration_s, grace_s=grace_s, max_steps=max_steps,
        trace=trace, check=check, study=study,
    )  # fmt: skip
    with fewer_collections(long=study is not None):
        world.run()
    return attrs.evolve(_result(world, source), wall_s=time.perf_counter() - started_s)


def _protocol(protocol: object) -> ProtocolDescription:
    found = find_protocol(protocol) if isinstance(protocol, str) else protocol
    if not isinstance(found, ProtocolDescription):
        raise ConfigurationError(f"protocol: expected a name or a description, got {found!r:.60}")
    return found


@contextlib.contextmanager
def fewer_collections(*, long: bool = False) -> Iterator[None]:
    """A run makes many small values and hardly a cycle: looking for cycles is a third of its time.

    Args:
        long: a run that keeps nearly all that it makes; looking through that again and again finds nothing.
    """
    thresholds = gc.get_threshold()
    if thresholds[0]:
        if long:
            gc.set_threshold(max(thresholds[0], 2_000_000), 1000, 1000)
        else:
            gc.set_threshold(max(thresholds[0], 200_000), *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _result(world: World, source: Choices) -> Result:
    messages = {kind.__name__: times for kind, times in world.messages.items()}
    return Result(
        protocol=world.protocol.name,
        nodes=world.quorums.members,
        virtual_s=world.now_ns / 1e9,
        steps=world.steps,
        deliveries=sum(messages.values()),
        messages=dict(sorted(messages.items())),
        decisions=world.decisions(),
        operations=world.clients.history(),
        seen=dict(sorted(world.seen.items())),
        choices=source.recorded,
        violations=tuple(world.violations),
        stopped={site.id: site.stopped for site in world.sites.values() if site.stopped is not None},
        trace=world.trace.bytes() if world.trace is not None else None,
        events=tuple(world.traced),
        applied=world.applied() if world.protocol.decides is Decides.LOG else None,
    )


def _check_limits(duration_s: object, grace_s: object, max_steps: object) -> None:
    _seconds("duration_s", duration_s)
    _seconds("grace_s", grace_s)
    if type(max_steps) is not int or max_steps < 1:
        raise ConfigurationError(f"max_steps: expected a whole number from 1 on, got {max_steps!r:.60}")


def _log_parts(machine: MachineMaker | None, log: object) -> tuple[MachineMaker, LogSettings]:
    if machine is not None and not callable(machine):
        raise ConfigurationError(f"machine: expected what makes a state machine, got {machine!r:.60}")
    if log is not None and not isinstance(log, LogSettings):
        raise ConfigurationError(f"log: expected LogSettings, got {log!r:.60}")
    return machine or KeyValue, log or LOG_SETTINGS


def _data(
    topology: object, faults: object, workload: object, hardware: object
) -> tuple[Topology, Faults, Workload, Hardware]:
    place = Topology.named(topology) if isinstance(topology, str) else topology
    wrong = Faults.named(faults) if isinstance(faults, str) else Faults() if faults is None else faults
    work = Workload() if workload is None else workload
    machines = Hardware() if hardware is None else hardware
    return _of(Topology, place), _of(Faults, wrong), _of(Workload, work), _of(Hardware, machines)


def _of(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        raise ConfigurationError(f"{kind.__name__.lower()}: expected {kind.__name__}, got {value!r:.60}")
    return value


def _quorums(protocol: ProtocolDescription, nodes: int, quorums: QuorumSystem | None) -> QuorumSystem:
    if type(nodes) is not int or not 1 <= nodes <= _MAX_NODES:
        raise ConfigurationError(f"nodes: expected a number in 1..{_MAX_NODES}, got {nodes!r:.60}")
    if quorums is None:
        return protocol.quorums(range(1, nodes + 1))
    if not isinstance(quorums, QuorumSystem):
        raise ConfigurationError(f"quorums: expected a quorum system, got {quorums!r:.60}")
    if len(quorums.members) != nodes:
        raise ConfigurationError(f"quorums: {quorums!r} has {len(quorums.members)} members, nodes is {nodes}")
    return quorums


def _seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise ConfigurationError(f"{name}: expected seconds in 0..86400, got {value!r:.60}")
