"""Runs to take traces from: short, contended and full of faults, so that a hundred events tell a long story.

In a quiet run a decree is decided in some twenty events, and such a trace shows little.  Here several clients
at each node want the same few decrees, most messages are lost, doubled or late, nodes crash while they write,
links are cut, and back-off is too short to end duels soon.  A run that decides a log is one trace, of which
the first events are kept: so all begins at once there, snapshots are made after a request or two, and leaders
hold out only for some slots.

In a log without a leader the story is in what is recovered.  An owner that is asked itself what became of its
command settles the matter; so some nodes are heard there and hear nothing, and others have to find out.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Final

from paxos.check.spec_traces import Trace, traces_of_events
from paxos.contract import Decides, Orders, ProtocolDescription, Specification, find_protocol
from paxos.errors import ConfigurationError
from paxos.service import LogSettings
from paxos.sim import Faults, Topology, Workload, run
from paxos.sim.faults import Cut

__all__ = ["MIN_EVENTS", "simulated_traces"]

#: The fewest events of a trace that is kept.
MIN_EVENTS: Final = 100
#: Longer traces are cut here: the beginning of a behaviour is one.
_MAX_EVENTS: Final = 150
#: So many runs in a row without one long trace, and there are none to be had.
_FRUITLESS_MAX: Final = 200
#: Where there is no leader a command takes part in twice as much.
_MAX_LEADERLESS_EVENTS: Final = 300
_DURATION_S: Final = 3.0
_LEADERLESS_DURATION_S: Final = 1.0
_TOPOLOGY: Final = Topology("far", uniform_ms=60.0)
_NEAR: Final = Topology("near", uniform_ms=40.0)
_DECREES: Final = Workload(
    operations=60, names=2, clients=3, think_s=0.02, reads=0.3, timeout_s=0.3, audit=False
)
_LEADERLESS: Final = Workload(
    operations=12, names=2, clients=1, think_s=0.2, reads=0.0, timeout_s=1.0, start_s=0.3, audit=False
)
_LOG: Final = Workload(operations=60, names=4, clients=2, think_s=0.02, reads=0.0, timeout_s=0.4, audit=False)
#: A snapshot after every second request.
_LOG_SERVICE: Final = LogSettings(marker_requests=2, growth=0.0, piece_s=0.0, repeat_s=0.1)
_NO_MARKERS: Final = LogSettings(repeat_s=0.1)


def _heard_and_deaf(nodes: int, seed: int) -> Faults:
    """As many nodes as may fail hear nothing from when clients begin, and others hear them."""
    members = range(1, nodes + 1)
    deaf = [(seed + at) % nodes + 1 for at in range((nodes - 1) // 2)]
    return Faults(
        loss=0.05,
        duplicate=0.05,
        reorder=0.2,
        jitter=1.0,
        slow_disk=0.1,
        slow_disk_s=0.05,
        random_crashes=2,
        partitions=tuple(Cut(0.3, tuple(n for n in members if n != node), (node,), 0.8) for node in deaf),
    )


def _faults(description: ProtocolDescription, nodes: int, seed: int) -> Faults:
    if description.orders is Orders.CONFLICTS:
        return _heard_and_deaf(nodes, seed)
    if description.decides is Decides.LOG:
        return Faults(
            loss=0.15,
            duplicate=0.1,
            reorder=0.2,
            jitter=1.0,
            slow_disk=0.3,
            slow_disk_s=0.1,
            random_crashes=16,
            random_partitions=4,
        )
    # With fewer nodes a quorum answers sooner, so more must be lost to keep it from deciding at once.
    loss = 0.45 if nodes <= 3 else 0.35
    return Faults(
        loss=loss,
        duplicate=0.1,
        reorder=0.2,
        jitter=1.0,
        slow_disk=0.3,
        slow_disk_s=0.2,
        random_crashes=24,
        random_partitions=6,
    )


def simulated_traces(
    protocol: str | ProtocolDescription = "paxos",
    *,
    nodes: int = 3,
    count: int = 100,
    min_events: int = MIN_EVENTS,
    seed: int = 1,
    on_trace: Callable[[], None] | None = None,
) -> list[Trace]:
    """Traces of simulated runs with faults: the same ones for the same arguments.

    Args:
        protocol: its name, or its description.
        nodes: of each cluster.
        count: how many traces.
        min_events: the fewest events of each; shorter ones are left out.
        seed: of the first run; the others follow it.
        on_trace: called for each trace found.

    Raises:
        ConfigurationError: the protocol has no specification, or its runs give no such traces.
    """
    description = find_protocol(protocol) if isinstance(protocol, str) else protocol
    if description.specification is None:
        raise ConfigurationError(
            f"protocol {description.name!r} has no specification to check traces against"
        )
    found: list[Trace] = []
    fruitless = 0
    for traces in _runs(description, description.specification, nodes, seed):
        long = [trace for trace in traces if len(trace.events) >= min_events]
        fruitless = 0 if long else fruitless + 1
        if fruitless >= _FRUITLESS_MAX:
            break
        for trace in long:
            found.append(trace)
            if on_trace is not None:
                on_trace()
            if len(found) >= count:
                return found
    raise ConfigurationError(
        f"protocol {description.name!r}: {fruitless} runs in a row gave no trace of {min_events} events or "
        f"more ({len(found)} found before); ask for shorter ones"
    )


def _runs(
    description: ProtocolDescription, specification: Specification, nodes: int, seed: int
) -> Iterator[list[Trace]]:
    """The traces of run after run, without end."""
    quorums, form = description.quorums(range(1, nodes + 1)), specification.traces
    is_log, is_leaderless = description.decides is Decides.LOG, description.orders is Orders.CONFLICTS
    most = _MAX_LEADERLESS_EVENTS if is_leaderless else form.longest if is_log else _MAX_EVENTS
    log_workload = _LEADERLESS if is_leaderless else _LOG
    for each in itertools.count(seed):
        result = run(
            description,
            nodes,
            each,
            faults=_faults(description, nodes, each),
            workload=log_workload if is_log else _DECREES,
            settings=form.settings(nodes) if form.settings is not None else None,
            topology=_NEAR if is_leaderless else _TOPOLOGY,
            duration_s=_LEADERLESS_DURATION_S if is_leaderless else _DURATION_S,
            log=(_LOG_SERVICE if form.markers else _NO_MARKERS) if is_log else None,
            trace=True,
            check=False,
        )
        traces = traces_of_events(f"{nodes} nodes, seed {each}", result.events, quorums, form)
        yield [Trace(trace.origin, trace.events[:most], quorums) for trace in traces]
