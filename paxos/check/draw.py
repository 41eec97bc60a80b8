"""Which schedule has which number: cluster, work, faults and settings, drawn from a seed.

Schedule number i of seed s is a scenario, the same on every machine, whatever was run before it.  There are
two sizes.  Of *large* ones half are timed runs and half are walks; everything is drawn so that most runs are
calm, some are hard and a few are strange, because a mistake shows in one of these and nobody knows in which.
*Small* ones are walks of a few dozen moves, with few commands in few nodes and a fault every now and then: a
mistake that shows at all shows in few steps mostly, and there are ten of these for the time of a large one.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TypeVar

import attrs

from paxos.check.scenario import Scenario, protocol_named
from paxos.check.walk import Walk
from paxos.contract import Decides, ProtocolDescription
from paxos.errors import ConfigurationError, QuorumError
from paxos.quorum import (
    ExplicitQuorums,
    FastQuorums,
    FlexibleQuorums,
    GridQuorums,
    Majority,
    QuorumSystem,
    WeightedQuorums,
)
from paxos.service import LogSettings, wipes_detected
from paxos.sim import Faults, Hardware, Topology, Workload
from paxos.wire import MessageTable

__all__ = ["DRAWING", "LARGE", "LARGE_EVERY", "SIZES", "scenario_of"]

T = TypeVar("T")

#: The version of the drawing. It is another one when a number gives another schedule than before, or when a
#: walk or a timed run makes something else of its seed: what was remembered of numbers is of no use then.
DRAWING: Final = 3
#: What may be drawn: small schedules, small ones with a large one now and then, or large ones.
SMALL: Final = "small"
MIXED: Final = "mixed"
LARGE: Final = "large"
SIZES: Final = (SMALL, MIXED, LARGE)
#: Where sizes are mixed each schedule of so many is a large one, the others are small.
LARGE_EVERY: Final = 128
#: Cluster sizes, by how often they are drawn.
_SIZES: Final = (1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5, 6, 7)
_SMALL_SIZES: Final = (3, 3, 3, 3, 3, 4, 5, 5)
#: So many small ones are healed at the end, and whoever waits must be answered: that takes longer than the
#: walk itself.
_SETTLED: Final = 0.3
#: Of no effect in walks, and made once: checking all of it takes longer than drawing one.
_OF_TIMED_RUNS: Final[Mapping[str, Any]] = {
    "topology": Topology.named("lan"),
    "hardware": Hardware(),
    "faults": Faults(),
    "workload": Workload(),
}
#: What a setting is multiplied by.
_FACTORS: Final = (0.001, 0.01, 0.1, 0.5, 2.0, 10.0, 100.0)
#: Grace for whoever waits, virtual seconds; it costs nothing.
_GRACE_S: Final = 120.0
_MAX_STEPS: Final = 100_000
#: A log's nodes talk all the time, and where they do so a thousand times a second nothing more is learned.
_MAX_LOG_STEPS: Final = 60_000
#: A client that goes to the next node sooner than so many decisions take need never get an answer: each of
#: its attempts outbids the one before.
_PATIENCE: Final = 2.0


def scenario_of(
    protocol: str, seed: int, index: int, nodes: int | None = None, sizes: str = LARGE
) -> Scenario:
    """The scenario that has a number.

    Args:
        protocol: its name.
        seed: of the exploration.
        index: the number, from 0.
        nodes: always so many; None to draw it.
        sizes: one of `SIZES`.

    Raises:
        ConfigurationError: there is no such protocol.
    """
    rng = random.Random(f"{seed}/{index}")
    found = protocol_named(protocol)
    if sizes == SMALL or (sizes == MIXED and (index + 1) % LARGE_EVERY):
        return _small(rng, protocol, found, nodes, f"small schedule {index} of seed {seed}")
    size = max(rng.choice(_SIZES), found.least_nodes) if nodes is None else nodes
    quorums = _quorums(rng, found, size)
    settings, hasty = _settings(rng, found, size)
    base = Scenario(
        protocol=protocol,
        nodes=size,
        quorums=quorums,
        settings=settings,
        seed=rng.getrandbits(48),
        remark=f"schedule {index} of seed {seed}",
        liveness=not hasty,
        grace_s=_GRACE_S,
        max_steps=_MAX_STEPS,
    )
    decides_log = found.decides is Decides.LOG
    if decides_log:
        base = attrs.evolve(base, log=_log(rng), max_steps=_MAX_LOG_STEPS)
    if rng.random() < 0.5:
        plan = _walk(rng)
        if decides_log:
            plan = attrs.evolve(plan, operations=rng.randint(1, 12), reads=_some(rng, 0.7, 0.1, 0.6))
        return attrs.evolve(base, walk=plan, eager=rng.random() < 0.3)
    duration_s = rng.choice((1.0, 3.0, 10.0))
    topology, hardware, workload = _topology(rng, size), _hardware(rng), _workload(rng, duration_s)
    if decides_log:
        workload = _mixed(rng, workload)
    return attrs.evolve(
        base,
        topology=topology,
        hardware=hardware,
        faults=_faults(rng, duration_s, size),
        workload=workload,
        duration_s=duration_s,
        liveness=not hasty and workload.timeout_s >= _PATIENCE * _decision_s(topology, hardware),
    )


def _small(
    rng: random.Random, protocol: str, found: ProtocolDescription, nodes: int | None, remark: str
) -> Scenario:
    """A short walk: few commands in few nodes, and nearly always something goes wrong."""
    size = max(rng.choice(_SMALL_SIZES), found.least_nodes) if nodes is None else nodes
    quorums = _quorums(rng, found, size)
    settings, hasty = _settings(rng, found, size) if rng.random() < 0.5 else (None, False)
    settings = _spared(rng, found, settings)
    plan = Walk(
        moves=rng.choice((15, 30, 40, 60, 60, 100)),
        operations=rng.randint(1, 6),
        names=rng.choice((1, 1, 1, 1, 2)),
        reads=_some(rng, 0.3, 0.2, 0.6),
        disorder=rng.choice((0.0, 0.1, 0.5, 1.0, 1.0)),
        submit=round(rng.uniform(0.02, 0.3), 3),
        tick=_some(rng, 0.9, 0.03, 0.3),
        crash=_some(rng, 0.6, 0.01, 0.12),
        restart=_some(rng, 0.7, 0.02, 0.25),
        duplicate=_some(rng, 0.3, 0.02, 0.15),
        drop=_some(rng, 0.5, 0.02, 0.3),
        wipe=_some(rng, 0.05, 0.01, 0.05),
        settle=rng.random() < _SETTLED,
    )
    return Scenario(
        protocol=protocol,
        nodes=size,
        quorums=quorums,
        settings=settings,
        seed=rng.getrandbits(48),
        remark=remark,
        liveness=not hasty,
        walk=plan,
        eager=rng.random() < 0.4,
        log=_log(rng) if found.decides is Decides.LOG else None,
        messages=_digest(found.messages),
        **_OF_TIMED_RUNS,
    )


@lru_cache(maxsize=32)
def _digest(messages: MessageTable) -> str:
    return messages.digest()


def _log(rng: random.Random) -> LogSettings:
    """The service of a log: mostly such that there are snapshots, now and then with next to no room."""
    return LogSettings(
        marker_requests=rng.choice((1, 2, 3, 5, 10, 20, 50, 1000)),
        piece_s=rng.choice((0.0, 0.001, 0.05)),
        pieces_asked=rng.choice((1, 2, 8)),
        repeat_s=rng.choice((0.05, 0.5, 1.0)),
        waiting_requests=rng.choice((1, 3, 16_384, 16_384, 16_384)),
        queries=rng.choice((1, 3, 16_384, 16_384, 16_384)),
    )


def _mixed(rng: random.Random, workload: Workload) -> Workload:
    """What clients of the key-value machine do, each kind of it sometimes much and sometimes not at all."""
    large = rng.random() < 0.05
    return attrs.evolve(
        workload,
        operations=workload.operations * rng.choice((1, 1, 2, 4)),
        names=4 if large else workload.names,
        window=None if large else workload.window,
        value_bytes=60_000 if large else workload.value_bytes,
        increments=rng.choice((0.0, 0.2, 0.5)),
        deletes=rng.choice((0.0, 0.1, 0.3)),
        swaps=rng.choice((0.0, 0.25, 0.7)),
        logged=rng.choice((0.0, 0.2, 1.0)),
        scans=rng.choice((0.0, 0.0, 0.1)),
        stale=rng.choice((0.0, 0.2, 0.5)),
    )


def _decision_s(topology: Topology, hardware: Hardware) -> float:
    """About how long one decision takes: two round trips, a sync at each end of both, and the processors."""
    slowest_ms = max((delay for row in topology.one_way_ms for delay in row), default=topology.uniform_ms)
    return 4 * slowest_ms / 1e3 + 4 * hardware.sync_s + 40 * hardware.service_s


def _some(rng: random.Random, share: float, low: float, high: float) -> float:
    """Nothing mostly, else something from low to high, in thousandths."""
    return 0.0 if rng.random() >= share else round(rng.uniform(low, high), 3)


def _quorums(rng: random.Random, protocol: ProtocolDescription, size: int) -> QuorumSystem | None:
    """Another quorum system than the default now and then, where the protocol takes others."""
    members = range(1, size + 1)
    if type(protocol.quorums(members)) is FastQuorums:
        return None if rng.random() < 0.75 else _fast_quorums(rng, size)
    if rng.random() < 0.75:
        return None
    if protocol.failure_quorums is not None:
        return _failure_quorums(rng, protocol.failure_quorums, members)
    if type(protocol.quorums(members)) is not Majority:
        return None
    kind = rng.randrange(4)
    if kind == 0:
        phase1 = rng.randint(1, size)
        return FlexibleQuorums(members, phase1, size + 1 - phase1)
    if kind == 1:
        return WeightedQuorums({node: rng.choice((1, 1, 2, 3)) for node in members})
    if kind == 2 and size in (4, 6):
        half = size // 2
        return GridQuorums([list(members)[:half], list(members)[half:]])
    hub = rng.randint(1, size)
    return ExplicitQuorums(members, [sorted({hub, node}) for node in members])


def _failure_quorums(
    rng: random.Random, make: Callable[[Sequence[int], int, int], QuorumSystem], members: Sequence[int]
) -> QuorumSystem:
    """One of those that so many members can have, named by how many may fail."""
    found = []
    for failures in range(len(members)):
        for fast_failures in range(failures + 1):
            with suppress(QuorumError):
                found.append(make(members, failures, fast_failures))
    return rng.choice(found)


def _fast_quorums(rng: random.Random, size: int) -> QuorumSystem:
    """A quorum system with fast quorums that are larger, smaller, or of other weight than the default's."""
    members = range(1, size + 1)
    kind = rng.randrange(3)
    if kind == 0:
        phase1 = rng.randint(1, size)
        return FlexibleQuorums(members, phase1, size + 1 - phase1, (2 * size - phase1) // 2 + 1)
    weights = {node: rng.choice((1, 1, 2, 3)) if kind == 1 else 1 for node in members}
    if kind == 2:
        weights[rng.randint(1, size)] = max(1, size - 2)
    whole = sum(weights.values())
    phase1 = rng.randint(whole // 2 + 1, whole)
    return WeightedQuorums(weights, phase1, whole + 1 - phase1, (2 * whole - phase1) // 2 + 1)


def _settings(rng: random.Random, protocol: ProtocolDescription, size: int) -> tuple[Any, bool]:
    """Settings, and whether some of their times are not such that everyone is answered in the end.

    Only what the settings' own checks let pass is drawn: they say what is allowed. A field may name values
    worth trying, as `metadata={"explore": (...)}`.
    """
    kind = protocol.settings
    if rng.random() < 0.6 or not attrs.has(kind):
        return None, False
    try:
        settings: Any = kind()
    except (TypeError, ConfigurationError):
        return None, False
    hasty = False
    for field in attrs.fields(kind):
        if rng.random() >= 0.35:
            continue
        value = getattr(settings, field.name)
        drawn = _drawn(rng, field, value, size)
        if drawn is None or drawn == value:
            continue
        try:
            settings = attrs.evolve(settings, **{field.name: drawn})
        except ConfigurationError:
            continue
        hasty = hasty or isinstance(value, float)
    return settings, hasty


def _spared(rng: random.Random, protocol: ProtocolDescription, settings: Any) -> Any:
    """Settings under which a short run is not mostly about one thing.

    A field says so by naming the values, as `metadata={"explore_small": (...)}`.
    """
    kind: Any = protocol.settings
    if not attrs.has(kind):
        return settings
    for field in attrs.fields(kind):
        choices: Sequence[Any] | None = field.metadata.get("explore_small")
        if choices is not None:
            base: Any = kind() if settings is None else settings
            settings = attrs.evolve(base, **{field.name: rng.choice(tuple(choices))})
    return settings


def _drawn(rng: random.Random, field: "attrs.Attribute[Any]", value: object, size: int) -> Any:
    choices: Sequence[Any] | None = field.metadata.get("explore")
    if choices is not None:
        return rng.choice(tuple(choices))
    if isinstance(value, bool):
        return rng.random() < 0.5
    if isinstance(value, float):
        return value * rng.choice(_FACTORS)
    if isinstance(value, int):
        return rng.choice((0, 1, 2, 3, value, 2 * value))
    if value is None and "NodeId" in str(field.type):
        return rng.randint(1, size)
    return int(rng.randint(1, size)) if value is None and "int" in str(field.type) else None


def _walk(rng: random.Random) -> Walk:
    rough = rng.random() < 0.8
    return Walk(
        moves=rng.choice((60, 150, 300, 600)),
        operations=rng.randint(1, 8),
        names=rng.choice((1, 1, 1, 2, 3)),
        reads=_some(rng, 0.4, 0.1, 0.6),
        disorder=rng.choice((0.0, 0.1, 0.5, 1.0)),
        submit=round(rng.uniform(0.01, 0.2), 3),
        tick=_some(rng, 0.9, 0.005, 0.2),
        crash=_some(rng, 0.6 * rough, 0.002, 0.08),
        restart=_some(rng, 0.9 * rough, 0.01, 0.2),
        duplicate=_some(rng, 0.4 * rough, 0.005, 0.1),
        drop=_some(rng, 0.4 * rough, 0.005, 0.2),
        wipe=_some(rng, 0.1 * rough, 0.002, 0.02),
    )


def _topology(rng: random.Random, size: int) -> Topology:
    kind = rng.random()
    if kind < 0.4:
        return Topology.named("lan")
    if kind < 0.7:
        return Topology.uniform(rng.choice((0.0, 1.0, 20.0, 100.0)))
    sites = tuple(f"s{number}" for number in range(size))
    rows = tuple(tuple(0.0 if a == b else round(rng.uniform(0.1, 150), 1) for b in sites) for a in sites)
    return Topology("drawn", sites, rows)


def _hardware(rng: random.Random) -> Hardware:
    return Hardware(
        sync_s=rng.choice((0.0, 0.0005, 0.0005, 0.02, 0.2)), service_s=rng.choice((0.0, 0.0, 0.0, 0.001))
    )


def _faults(rng: random.Random, duration_s: float, size: int) -> Faults:
    if rng.random() < 0.15:
        return Faults()
    hard = rng.random() < 0.3
    most = 12 if hard else 4

    def times(share: float) -> int:
        return rng.randint(1, most) if rng.random() < share else 0

    return Faults(
        loss=_some(rng, 0.5, 0.01, 0.4 if hard else 0.15),
        duplicate=_some(rng, 0.4, 0.01, 0.2),
        reorder=_some(rng, 0.4, 0.01, 0.3),
        jitter=_some(rng, 0.5, 0.1, 3.0),
        slow_disk=_some(rng, 0.3, 0.05, 0.5),
        slow_disk_s=rng.choice((0.01, 0.1, 0.5)),
        skew_s=_some(rng, 0.2, 0.1, 10.0),
        drift=_some(rng, 0.2, 0.001, 0.1),
        random_crashes=times(0.6),
        random_partitions=times(0.5),
        random_pauses=times(0.3),
        random_slow_nodes=times(0.15),
        random_wipes=1 if rng.random() < 0.06 and wipes_detected(size) else 0,
    )


def _workload(rng: random.Random, duration_s: float) -> Workload:
    operations = rng.choice((3, 8, 20, 40))
    names: int | None = rng.choice((1, 1, 2, 4, 12, None))
    think_s = rng.choice((None, None, None, 0.0, 0.05))
    rate = rng.choice((operations / duration_s, 200.0)) if think_s is None and rng.random() < 0.2 else None
    return Workload(
        operations=operations,
        clients=rng.choice((1, 2, 4)),
        think_s=think_s,
        rate=rate,
        names=names,
        window=None if names is None or rng.random() < 0.6 else rng.randint(1, names),
        reads=_some(rng, 0.6, 0.1, 0.7),
        value_bytes=rng.choice((1, 16, 200)),
        timeout_s=rng.choice((0.05, 0.5, 2.0)),
    )
