"""One run of a comparison: a protocol simulated under one load, measured, and judged.

A run that did something wrong is never measured: it is an error that says what broke.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from paxos.ballot import NodeId
from paxos.check.history import history_of
from paxos.check.linearize import check_linearizable
from paxos.check.models import Decree, KeyValue
from paxos.compare.advise import systems_for
from paxos.compare.faults import effects_of, links_of, simulated
from paxos.compare.model import (
    Checked,
    FaultEffect,
    Latency,
    Load,
    Place,
    Run,
    Series,
    Site,
    Timeline,
    rounded,
)
from paxos.compare.places import bounds_ms, contended_bounds_ms, node_of, topology_of
from paxos.compare.plan import Cell, Plan, compared
from paxos.contract import Decides, Orders, ProtocolDescription
from paxos.errors import EXIT_CHECK_FAILED, ConfigurationError, PaxosError
from paxos.quorum import QuorumSystem
from paxos.service import LogSettings
from paxos.sim import Workload
from paxos.sim import run as simulate
from paxos.sim.meter import Meter, Metered, Study
from paxos.sim.result import Operation, Result

__all__ = ["START_S", "WrongRun", "carry_out", "measure", "quorums_of"]

#: Clients begin when a leader was elected, where there is one, virtual seconds.
START_S: Final = 5.0
_LONG_S: Final = 80_000.0
#: More commands than a run of some duration has time for.
_ENDLESS: Final = 10_000_000
#: Longer histories than that are not searched, nor for longer than through so many states.
_SEARCHED_MAX: Final = 20_000
_STATES_MAX: Final = 100_000
#: A run is cut into so many buckets for its time line, at most.
_BUCKETS: Final = 120
_MS: Final = 1000.0


class WrongRun(PaxosError):
    """A protocol did something wrong, so that nothing it was measured at means anything."""

    exit_code = EXIT_CHECK_FAILED


def measure(plan: Plan, place: Place, cell: Cell) -> Run:
    """Carry out one run.

    Raises:
        WrongRun: what must hold did not; the message says what broke.
        ConfigurationError: the protocol can not run so.
    """
    protocol = compared(cell.protocol)
    meter = Meter(protocol)
    result = carry_out(plan, place, cell, protocol, meter)
    quorums = quorums_of(protocol, place, plan.failures)
    bounds = (
        bounds_ms(protocol, place, meter.leader, quorums),
        contended_bounds_ms(protocol, place, meter.leader, quorums),
    )
    searched = _search(cell, protocol, result)
    return _Reading(plan, place, cell, protocol, result, meter, bounds, searched).run()


def _search(cell: Cell, protocol: ProtocolDescription, result: Result) -> int:
    """Look for an order of what the witness alone leaves something open of; how many operations it was.

    The witness explains every answer. What it can not tell is whether it is right itself, so keys that were
    read, or about which some client never knew the outcome, are put in order once more, by full search and
    without it. Where that meets its bound nothing is said: the witness stands.

    Raises:
        WrongRun: there is no order.
    """
    model = Decree() if protocol.decides is Decides.DECREES else KeyValue()
    history = history_of(result)
    open_keys = {each.key for each in history if each.return_s is None or each.value is None}
    part = [each for each in history if each.key in open_keys]
    if not part or len(part) > _SEARCHED_MAX:
        return 0
    verdict = check_linearizable(part, model, max_states=_STATES_MAX)
    if verdict.violation is not None:
        raise WrongRun(
            f"{cell}: no figures, for no order explains what clients were told: {verdict.violation}"
        )
    return verdict.operations if verdict.ok else 0


def carry_out(plan: Plan, place: Place, cell: Cell, protocol: ProtocolDescription, meter: Meter) -> Result:
    """Simulate one run, and judge it. Raises as `measure` does."""
    total = _ENDLESS if plan.duration_s is not None else plan.commands * len(place.sites)
    workload = Workload(
        operations=total,
        clients=cell.clients or 1,
        think_s=None if cell.rate is not None else plan.think_ms / _MS,
        rate=cell.rate,
        names=None,
        reads=0,
        value_bytes=plan.value_bytes,
        timeout_s=plan.timeout_ms / _MS,
        start_s=START_S,
        audit=False,
    )
    result = simulate(
        protocol,
        len(place.sites),
        plan.seed,
        topology=topology_of(place),
        workload=workload,
        hardware=plan.hardware(),
        faults=attrs.evolve(
            simulated(plan.faults, place, START_S), loss=plan.loss / 100, jitter=plan.jitter / 100
        ),
        duration_s=_LONG_S if plan.duration_s is None else START_S + plan.duration_s,
        quorums=quorums_of(protocol, place, plan.failures),
        log=LogSettings(),
        study=Study(
            meter,
            plan.mix(cell.conflict),
            node_of(place, place.leader),
            links_of(plan.faults, place, START_S),
        ),
        max_steps=1 << 60,
    )
    if result.violations:
        raise WrongRun(f"{cell}: no figures, for what must hold did not: {result.violations[0]}")
    return result


def quorums_of(protocol: ProtocolDescription, place: Place, failures: int | None) -> QuorumSystem:
    """The protocol's own quorums, or the fastest that survive so many failures.

    Raises:
        QuorumError, ConfigurationError: it has none for so many replicas, or so many failures.
    """
    if failures is None:
        return protocol.quorums(range(1, len(place.sites) + 1))
    systems = systems_for(protocol, len(place.sites), failures)
    if not systems:
        raise ConfigurationError(
            f"failures: {protocol.name} has no quorums of {len(place.sites)} replicas that survive {failures}"
        )
    return systems[0][1]


class _Reading:
    """What a measured run says."""

    def __init__(
        self,
        plan: Plan,
        place: Place,
        cell: Cell,
        protocol: ProtocolDescription,
        result: Result,
        meter: Meter,
        bounds: tuple[Mapping[str, float | None], Mapping[str, float | None]],
        searched: int,
    ) -> None:
        self._plan = plan
        self._place = place
        self._cell = cell
        self._protocol = protocol
        self._result = result
        self._meter = meter
        self._bounds = bounds
        self._searched = searched
        self._nodes: dict[str, NodeId] = {name: at for at, name in enumerate(place.sites, 1)}
        self._done = [op for op in result.operations if op.return_s is not None and op.outcome == "done"]
        returns = sorted(op.return_s or 0.0 for op in self._done)
        # The middle, when all clients are busy.
        low, high = len(returns) // 5, max(len(returns) * 4 // 5 - 1, 0)
        self._busy_s = (returns[low], returns[high]) if returns else (START_S, START_S)
        self._end_s = returns[-1] if returns else START_S
        # Messages, syncs and work are counted until everybody is answered, or clients stop asking: what is
        # answered later is none of the commands that they are divided by.
        self._counted_s = plan.duration_s or max(self._end_s - START_S, 1e-9)
        self._counted = max(sum(each - START_S <= self._counted_s + 1e-9 for each in returns), 1)

    def run(self) -> Run:
        sites = tuple(map(self._site, self._place.sites))
        many = self._counted
        meters = [self._meter.of(node) for node in self._nodes.values()]
        sent = {
            kind.__name__: (sum(each.sent[kind] for each in meters), self._meter.bytes_of(kind))
            for kind in sorted(
                {kind for each in meters for kind in each.sent}, key=lambda kind: kind.__name__
            )
        }
        bounds = [each.bound_ms for each in sites if each.bound_ms is not None]
        writes = [op for op in self._done if _is_write(op)]
        return Run(
            protocol=self._cell.protocol,
            conflict=self._cell.conflict,
            clients=self._cell.clients,
            rate=self._cell.rate,
            leader=None if self._meter.leader is None else self._place.sites[self._meter.leader - 1],
            sites=sites,
            commands=len(self._done),
            unanswered=len(self._result.operations) - len(self._done),
            commit_ms=Latency.of(list(map(self._commit_ms, writes))),
            execute_ms=Latency.of(list(map(_took_ms, writes))),
            bound_ms=rounded(sum(bounds) / len(bounds)) if bounds else None,
            commands_per_s=self._rate(self._done),
            fast_share=_fast_share(meters),
            slow=_summed([each.reasons for each in meters]),
            messages_per_command=rounded(sum(number for number, _ in sent.values()) / many),
            messages_by_type={name: rounded(number / many) for name, (number, _) in sent.items()},
            bytes_per_command=rounded(sum(number * size for number, size in sent.values()) / many),
            syncs_per_command=rounded(sum(each.syncs for each in meters) / many),
            components=dict(sorted(meters[0].components.items())),
            virtual_s=rounded(self._end_s - START_S),
            faults=self._faults(),
            timeline=self._timeline(),
            checked=self._checked(),
            read_ms=Latency.of([_took_ms(op) for op in self._done if not _is_write(op)]),
        )

    def _site(self, name: str) -> Site:
        node = self._nodes[name]
        mine = [op for op in self._done if op.home == node]
        writes = [op for op in mine if _is_write(op)]
        metered, (bound_ms, contended_ms) = self._meter.of(node), (each[name] for each in self._bounds)
        return Site(
            name=name,
            commands=len(mine),
            commit_ms=Latency.of(list(map(self._commit_ms, writes))),
            execute_ms=Latency.of(list(map(_took_ms, writes))),
            read_ms=Latency.of([_took_ms(op) for op in mine if not _is_write(op)]),
            bound_ms=None if bound_ms is None else rounded(bound_ms),
            commands_per_s=self._rate(mine),
            fast_share=_fast_share([metered]),
            slow=_summed([metered.reasons]),
            load=self._load(metered),
            contended_bound_ms=None if contended_ms is None else rounded(contended_ms),
        )

    def _load(self, metered: Metered) -> Load:
        many = self._counted
        sent = sum(number * self._meter.bytes_of(kind) for kind, number in metered.sent.items())
        return Load(
            received=rounded(metered.received / many),
            sent=rounded(sum(metered.sent.values()) / many),
            bytes_sent=rounded(sent / many),
            syncs=rounded(metered.syncs / many),
            busy=self._busy(metered),
        )

    def _busy(self, metered: Metered) -> float | None:
        if not self._plan.service_ms:
            return None
        return rounded(100 * metered.worked_s / self._counted_s)

    def _commit_ms(self, op: Operation) -> float:
        """What it would have taken had it been answered at the commit."""
        lag_s = 0.0
        if op.request is not None and op.node is not None:
            lag_s = self._meter.of(op.node).lags_s.get((op.request.client, op.request.sequence), 0.0)
        return _took_ms(op) - lag_s * _MS

    def _rate(self, done: Sequence[Operation]) -> float:
        """Answered a second, in the middle of the run."""
        low_s, high_s = self._busy_s
        if high_s <= low_s:
            return 0.0
        return rounded(sum(low_s < (op.return_s or 0.0) <= high_s for op in done) / (high_s - low_s))

    def _faults(self) -> tuple[FaultEffect, ...]:
        answered_s = {
            name: sorted((op.return_s or 0.0) - START_S for op in self._done if op.home == node)
            for name, node in self._nodes.items()
        }
        return effects_of(self._plan.faults, answered_s, self._plan.duration_s or 0.0)

    def _timeline(self) -> Timeline:
        length_s = max(self._end_s - START_S, 0.001)
        # A round length, of which the run has at most so many.
        bucket_s = next(
            size
            for size in (factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5))
            if size * _BUCKETS >= length_s
        )
        buckets = int(length_s / bucket_s) + 1
        sites = {}
        for name, node in self._nodes.items():
            took: list[list[float]] = [[] for _ in range(buckets)]
            for op in self._done:
                if op.home == node and op.return_s is not None:
                    took[min(int((op.return_s - START_S) / bucket_s), buckets - 1)].append(_took_ms(op))
            found = [Latency.of(each) for each in took]
            sites[name] = Series(
                tuple(map(len, took)),
                tuple(None if each is None else each.p50 for each in found),
                tuple(None if each is None else each.p99 for each in found),
            )
        return Timeline(rounded(bucket_s), sites)

    def _checked(self) -> Checked:
        if self._protocol.decides is Decides.DECREES:
            witness = "what each decree was decided as"
        elif self._protocol.orders is Orders.TOTAL:
            witness = "the log"
        else:
            witness = "an order of execution that respects all conflicts"
        return Checked(witness, len(self._done), self._searched)


def _is_write(op: Operation) -> bool:
    return op.value is not None


def _took_ms(op: Operation) -> float:
    return ((op.return_s or 0.0) - op.call_s) * _MS


def _fast_share(meters: Sequence[Metered]) -> float | None:
    fast = sum(each.commits[True] for each in meters)
    slow = sum(each.commits[False] for each in meters)
    return rounded(100 * fast / (fast + slow)) if fast + slow else None


def _summed(counts: Sequence[Any]) -> dict[str, int]:
    keys = sorted({key for each in counts for key in each})
    return {key: sum(each[key] for each in counts) for key in keys}
