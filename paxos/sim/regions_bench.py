"""What a protocol costs between regions: latency at each site, messages, and how much it gets through.

Two kinds of runs, both in virtual time, so the figures are the same on every machine.  *Sparse* ones ask now
and then and look at latency: what a command takes until its replica knows that it is decided (commit), and
until it is answered, which is after it was carried out (execution).  *Full* ones have so many clients at each
site that the busiest processor never rests, with so much processor time for each message and request: what
comes out is how the protocol spreads its work.

What a replica says of itself in events is looked at from outside: whoever knows when a decision is known at
its owner says "fast path" (numbers) and "slow commit" (instance). Of a protocol that does not, only the
answers are measured.
"""

from collections.abc import Sequence
from typing import Any, Final

import attrs

from paxos.ballot import NodeId
from paxos.command import Footprint
from paxos.contract import Configuration, Draw, Effects, Instant, ProtocolDescription, Records, find_protocol
from paxos.service import LogSettings
from paxos.service.footprints import union
from paxos.sim.result import Result
from paxos.sim.runner import run
from paxos.sim.topology import Hardware, Topology
from paxos.sim.workload import Workload

__all__ = ["RegionFigures", "SiteFigures", "bench_latency", "bench_throughput"]

_MS: Final = 1000.0
_TIMEOUT_S: Final = 60.0
_LONG_S: Final = 80_000.0
#: Clients begin when a leader was elected, where there is one.
_START_S: Final = 5.0
_HOT: Final = Footprint(writes=(b"hot",))


@attrs.frozen
class SiteFigures:
    """Latency at one site, milliseconds.

    Args:
        site: its name.
        bound_ms: what the topology allows where nothing conflicts; None where that is not known.
        commit_ms: until its replica knew of the decision: the median, and what 99 of 100 do not exceed; None
            where the protocol does not say.
        execute_ms: until it was answered, likewise.
        commands: how many.
    """

    site: str
    bound_ms: float | None
    commit_ms: tuple[float, float] | None
    execute_ms: tuple[float, float]
    commands: int


@attrs.frozen
class RegionFigures:
    """What one run showed.

    Args:
        protocol: which.
        topology: its name.
        conflict: percent of the commands that touch one key.
        variant: what was set otherwise than by default; empty for nothing.
        commands_per_s: a virtual second; of a full run.
        messages_per_command: between nodes, in the whole run, by type; those of time alone count as well.
        fast_share: of the commits that the protocol told of, how many took one round trip; None for none.
        sites: latency by site.
    """

    protocol: str
    topology: str
    conflict: int
    variant: str
    commands_per_s: float
    messages_per_command: dict[str, float]
    fast_share: float | None
    sites: tuple[SiteFigures, ...]


class _Watched:
    """A replica, and when it was given each command and knew that it was decided.

    So many percent of the commands, evenly spread, are made to touch one key more than they do.
    """

    def __init__(self, replica: Any, node: NodeId, conflict: int, now: Instant) -> None:
        self._replica = replica
        self._conflict = conflict
        self._submitted = 0
        self._node = node
        self._now_s = now.monotonic_s
        self._asked_s: dict[Any, float] = {}
        self._request_of: dict[int, Any] = {}
        self._committed_s: dict[int, float] = {}
        self.fast = 0
        self.slow = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replica, name)

    def submit(self, commands: Sequence[Any], now: Instant) -> None:
        self._now_s = now.monotonic_s
        share, given = self._conflict, []
        for command in commands:
            self._asked_s[command.request] = self._now_s
            before, self._submitted = self._submitted, self._submitted + 1
            if before * share // 100 != (before + 1) * share // 100:
                command = command._replace(footprint=union((command.footprint, _HOT)))
            given.append(command)
        self._replica.submit(given, now)

    def receive(self, sender: NodeId, message: Any, now: Instant) -> None:
        self._now_s = now.monotonic_s
        self._replica.receive(sender, message, now)

    def tick(self, now: Instant) -> None:
        self._now_s = now.monotonic_s
        self._replica.tick(now)

    def effects(self) -> Effects:
        effects: Effects = self._replica.effects()
        for event in effects.events:
            if event.action == "fast path":
                numbers: Any = event.arguments["numbers"]
                self.fast += len(numbers)
            elif event.action == "slow commit":
                instance: Any = event.arguments["instance"]
                numbers = (instance[1],)
                self.slow += 1
            else:
                continue
            self._committed_s |= dict.fromkeys(numbers, self._now_s)
        for mark, command in effects.applies:
            if type(mark) is tuple and mark[0] == self._node:
                self._request_of[mark[1]] = command.request
        return effects

    def commits_s(self) -> list[float]:
        """How long each of its commands took to be decided."""
        return [
            at_s - self._asked_s[request]
            for number, at_s in self._committed_s.items()
            if (request := self._request_of.get(number)) in self._asked_s
        ]


def _watched(
    protocol: ProtocolDescription, conflict: int, into: dict[NodeId, list[_Watched]]
) -> ProtocolDescription:
    make: Any = protocol.replica

    def replica(configuration: Configuration, records: Records, draw: Draw, now: Instant) -> Any:
        made = _Watched(make(configuration, records, draw, now), configuration.node, conflict, now)
        into.setdefault(configuration.node, []).append(made)
        return made

    return attrs.evolve(protocol, replica=replica)


def bench_latency(
    protocol: str,
    topology: str,
    *,
    conflict: int = 0,
    clients: int = 10,
    operations: int = 2000,
    think_s: float = 1.0,
    seed: int = 1,
    settings: Any = None,
    log: LogSettings | None = None,
    variant: str = "",
) -> RegionFigures:
    """Latency at each site, with some clients there that think between their commands.

    Args:
        protocol: its name.
        topology: its name; one node at each site.
        conflict: percent of the commands that touch one key.
        clients: at each site.
        operations: in all.
        think_s: between a client's answer and its next command, seconds.
        seed: of the choices.
        settings: the protocol's own.
        log: of the service.
        variant: what that is called.
    """
    workload = _workload(operations, clients, think_s)
    return _measure(protocol, topology, conflict, workload, Hardware(sync_s=0), seed, settings, log, variant)


def bench_throughput(
    protocol: str,
    topology: str,
    *,
    conflict: int = 0,
    clients: int = 20,
    operations: int = 4000,
    service_s: float = 0.001,
    seed: int = 1,
    settings: Any = None,
    log: LogSettings | None = None,
    variant: str = "",
) -> RegionFigures:
    """How much gets through when each message and request takes processor time, and clients never think.

    Args:
        protocol, topology, conflict, seed, settings, log, variant: as of `bench_latency`.
        clients: at each site.
        operations: in all.
        service_s: processor time that each message and request takes, seconds.
    """
    workload = _workload(operations, clients, 0.0)
    hardware = Hardware(sync_s=0, service_s=service_s)
    return _measure(protocol, topology, conflict, workload, hardware, seed, settings, log, variant)


def _workload(operations: int, clients: int, think_s: float) -> Workload:
    return Workload(
        operations=operations,
        clients=clients,
        think_s=think_s,
        names=None,
        reads=0,
        increments=0,
        deletes=0,
        swaps=0,
        audit=False,
        timeout_s=_TIMEOUT_S,
        start_s=_START_S,
    )


def _measure(
    name: str,
    place: str,
    conflict: int,
    workload: Workload,
    hardware: Hardware,
    seed: int,
    settings: Any,
    log: LogSettings | None,
    variant: str,
) -> RegionFigures:
    topology, protocol = Topology.named(place), find_protocol(name)
    watched: dict[NodeId, list[_Watched]] = {}
    result = run(
        _watched(protocol, conflict, watched),
        len(topology.sites),
        seed,
        topology=topology,
        workload=workload,
        hardware=hardware,
        duration_s=_LONG_S,
        settings=settings,
        log=log or LogSettings(),
        check=False,
        max_steps=1 << 40,
    )
    lives = [life for several in watched.values() for life in several]
    fast, slow = sum(life.fast for life in lives), sum(life.slow for life in lives)
    done = sorted(each.return_s for each in result.operations if each.return_s is not None)
    # The middle, when all clients are busy.
    first, last = done[len(done) // 5], done[len(done) * 4 // 5]
    middle = len(done) * 4 // 5 - len(done) // 5
    return RegionFigures(
        protocol=name,
        topology=place,
        conflict=conflict,
        variant=variant,
        commands_per_s=middle / max(last - first, 1e-9),
        messages_per_command={kind: many / len(done) for kind, many in sorted(result.messages.items())},
        fast_share=fast / (fast + slow) if fast + slow else None,
        sites=_by_site(protocol, topology, result, watched),
    )


def _by_site(
    protocol: ProtocolDescription, topology: Topology, result: Result, watched: dict[NodeId, list[_Watched]]
) -> tuple[SiteFigures, ...]:
    ids = list(result.nodes)
    quorums = protocol.quorums(ids)
    figures = []
    for node, site in zip(ids, topology.sites, strict=True):
        executed = [
            each.return_s - each.call_s
            for each in result.operations
            if each.home == node and each.return_s is not None
        ]
        committed = [took_s for life in watched[node] for took_s in life.commits_s()]
        bound_ms = None
        if protocol.bound_ms is not None:
            bound_ms = protocol.bound_ms(
                node, ids, lambda a, b: 2 * topology.one_way_ms[a - 1][b - 1], quorums
            )
        figures.append(
            SiteFigures(site, bound_ms, _two(committed) if committed else None, _two(executed), len(executed))
        )
    return tuple(figures)


def _two(took_s: Sequence[float]) -> tuple[float, float]:
    """The median, and what 99 of 100 do not exceed, milliseconds."""
    ordered = sorted(took_s)
    return _MS * ordered[len(ordered) // 2], _MS * ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
