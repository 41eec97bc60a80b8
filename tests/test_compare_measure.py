"""The figures of a run, computed once more in another way: from what clients did and what replicas sent."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import attrs
import pytest

import epaxos
import multipaxos
from paxos import compare
from paxos.compare import Latency, Run, WrongRun, measure
from paxos.compare.measure import START_S
from paxos.compare.plan import Cell
from paxos.contract import ProtocolDescription
from paxos.service.batches import read_batch
from paxos.sim.result import Operation, Result

pytestmark = pytest.mark.once

_EPOCH_S = 1_700_000_000.0


class Sent(NamedTuple):
    """One message as it left, or one that came: `to` is None then."""

    at_s: float
    node: int
    to: int | None
    kind: str
    size: int


class Notes:
    """What replicas were seen to do, by virtual time."""

    def __init__(self) -> None:
        self.messages: list[Sent] = []
        self.commits: list[tuple[int, Any, bool | None, float]] = []
        self.applied: dict[tuple[int, bytes, int], tuple[Any, float]] = {}


NOTES = Notes()


class _Watched:
    """A replica that is looked at, by other eyes than the meter's."""

    def __init__(self, protocol: ProtocolDescription, replica: Any, node: int) -> None:
        self._protocol, self._replica, self._node = protocol, replica, node
        self._at_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replica, name)

    def submit(self, commands: Any, now: Any) -> None:
        self._at_s = now.wall_s - _EPOCH_S
        self._replica.submit(commands, now)

    def receive(self, sender: int, message: Any, now: Any) -> None:
        self._at_s = now.wall_s - _EPOCH_S
        if sender != self._node:
            NOTES.messages.append(Sent(self._at_s, self._node, None, type(message).__name__, 0))
        self._replica.receive(sender, message, now)

    def tick(self, now: Any) -> None:
        self._at_s = now.wall_s - _EPOCH_S
        self._replica.tick(now)

    def effects(self) -> Any:
        effects = self._replica.effects()
        for to, message in effects.sends:
            if to != self._node:
                size = len(self._protocol.messages.encode((message,)))
                NOTES.messages.append(Sent(self._at_s, self._node, to, type(message).__name__, size))
        for event in effects.events:
            for told in self._protocol.commits(event) if self._protocol.commits else ():
                NOTES.commits.append((self._node, told.mark, told.fast, self._at_s))
        for mark, command in effects.applies:
            batch = read_batch(command)
            for run in batch.runs if batch is not None else ():
                for index in range(len(run.bodies)):
                    key = (self._node, run.client, run.sequence + index)
                    NOTES.applied[key] = mark, self._at_s
        return effects


def _watched(protocol: ProtocolDescription) -> ProtocolDescription:
    def make(configuration: Any, *rest: Any) -> Any:
        return _Watched(protocol, protocol.replica(configuration, *rest), configuration.node)

    return attrs.evolve(protocol, replica=make)


watched_epaxos = _watched(epaxos.protocol)
watched_multipaxos = _watched(multipaxos.protocol)


def measured(monkeypatch: pytest.MonkeyPatch, protocol: str, **more: Any) -> tuple[Run, Result]:
    """A run, and what it was made of."""
    NOTES.__init__()  # type: ignore[misc]
    found: list[Result] = []
    simulate: Any = measure.__dict__["simulate"]

    def kept(*arguments: Any, **named: Any) -> Result:
        found.append(simulate(*arguments, **named))
        return found[-1]

    monkeypatch.setattr(measure, "simulate", kept)
    run = compare.run([f"tests.test_compare_measure:watched_{protocol}"], **more).runs[0]
    return run, found[0]


def at_most(values: Sequence[float], percent: float) -> float:
    """The least of them that so many percent do not exceed."""
    return next(
        each for each in sorted(values) if sum(v <= each for v in values) * 100 >= percent * len(values)
    )


def same(latency: Latency | None, took_ms: Sequence[float]) -> None:
    if not took_ms:
        assert latency is None
        return
    assert latency is not None
    values = [round(each, 3) for each in took_ms]
    assert (latency.p50, latency.p90, latency.p99) == tuple(at_most(values, each) for each in (50, 90, 99))
    assert latency.max == max(values)
    assert latency.mean == pytest.approx(sum(values) / len(values), abs=1e-3)


def took(op: Operation) -> float:
    assert op.return_s is not None
    return (op.return_s - op.call_s) * 1000


def committed(op: Operation) -> float:
    """How long it took less what lay between commit and execution where it was answered."""
    assert op.request is not None
    assert op.node is not None
    mark, applied_s = NOTES.applied[op.node, op.request.client, op.request.sequence]
    known_s = [at_s for node, its, _, at_s in NOTES.commits if (node, its) == (op.node, mark)]
    return took(op) - (applied_s - min([*known_s, applied_s])) * 1000


@pytest.mark.parametrize("protocol", ["epaxos", "multipaxos"])
def test_latencies_counts_and_shares_are_those_of_what_was_done(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    run, result = measured(
        monkeypatch, protocol, conflict=40, reads=25, clients=4, commands=40, batch=2, nodes=3
    )
    done = result.operations
    assert run.commands == len(done) == 120
    writes, reads = ([op for op in done if (op.value is not None) is wanted] for wanted in (True, False))
    assert len(reads) > 10
    same(run.execute_ms, list(map(took, writes)))
    same(run.read_ms, list(map(took, reads)))
    same(run.commit_ms, list(map(committed, writes)))
    assert (protocol == "multipaxos") is (run.commit_ms == run.execute_ms)
    commits = Counter((node, fast) for node, _, fast, _ in NOTES.commits)
    for node, site in enumerate(run.sites, 1):
        assert site.commands == sum(op.home == node for op in done) == 40
        same(site.execute_ms, [took(op) for op in writes if op.home == node])
        same(site.read_ms, [took(op) for op in reads if op.home == node])
        same(site.commit_ms, [committed(op) for op in writes if op.home == node])
        fast, slow = commits[node, True], commits[node, False]
        assert site.fast_share == (round(100 * fast / (fast + slow), 3) if fast + slow else None)
        assert sum(site.slow.values()) == slow
    assert len({site.fast_share for site in run.sites}) == (3 if protocol == "epaxos" else 1)
    bounds = [site.bound_ms for site in run.sites if site.bound_ms is not None]
    assert run.bound_ms == pytest.approx(sum(bounds) / 3, abs=1e-3)
    ends = sorted(op.return_s - START_S for op in done if op.return_s is not None)
    assert run.virtual_s == round(ends[-1], 3)
    middle = ends[24:96]
    assert run.commands_per_s == pytest.approx(
        sum(middle[0] < each <= middle[-1] for each in ends) / (middle[-1] - middle[0]), abs=1e-3
    )


def test_messages_bytes_and_syncs_are_those_that_were_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    run, result = measured(monkeypatch, "multipaxos", clients=1, commands=8, nodes=3, value_bytes=900)
    end_s = max(op.return_s or 0.0 for op in result.operations)
    # A wall clock of this century is good for a quarter of a microsecond.
    seen = [each for each in NOTES.messages if START_S - 1e-6 <= each.at_s <= end_s + 1e-6]
    sent = [each for each in seen if each.to is not None]
    by_type = Counter(each.kind for each in sent)
    assert max(by_type.values()) < 64  # so each of them was weighed
    assert run.messages_by_type == {kind: round(many / 24, 3) for kind, many in by_type.items()}
    assert run.messages_per_command == round(len(sent) / 24, 3)
    assert run.bytes_per_command == pytest.approx(sum(each.size for each in sent) / 24, abs=0.01)
    # What is written goes to two others, at its length.
    assert run.bytes_per_command > 1800
    for node, site in enumerate(run.sites, 1):
        assert site.load.received == round(sum(e.node == node and e.to is None for e in seen) / 24, 3)
        assert site.load.sent == round(sum(each.node == node for each in sent) / 24, 3)
    assert sum(site.load.bytes_sent for site in run.sites) == pytest.approx(run.bytes_per_command, abs=0.01)
    # Each acceptor writes down each command.
    assert [site.load.syncs for site in run.sites] == [pytest.approx(1, abs=0.2)] * 3
    assert run.syncs_per_command == pytest.approx(3, abs=0.3)


def test_a_timeline_has_every_answer_in_its_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    run, result = measured(monkeypatch, "multipaxos", clients=2, duration_s=3.3, nodes=3, conflict=100)
    bucket_s = run.timeline.bucket_s
    assert bucket_s == 0.05
    for node, (name, series) in enumerate(run.timeline.sites.items(), 1):
        mine = [op for op in result.operations if op.home == node]
        assert sum(series.commands) == len(mine) == run.site[name].commands
        for at, many in enumerate(series.commands):
            inside = [
                op for op in mine if at <= math.floor(((op.return_s or 0.0) - START_S) / bucket_s) < at + 1
            ]
            assert many == len(inside)
            values = [round(took(op), 3) for op in inside]
            assert series.execute_p50_ms[at] == (at_most(values, 50) if values else None)
            assert series.execute_p99_ms[at] == (at_most(values, 99) if values else None)


def test_throughput_is_what_clients_who_wait_only_for_answers_get() -> None:
    """Four at each of five sites, 100 ms beside the leader and 200 ms elsewhere."""
    run = compare.run("multipaxos", "uniform:100", clients=4, duration_s=8).runs[0]
    assert run.commands_per_s == pytest.approx(120, rel=0.03)
    assert [site.commands_per_s for site in run.sites] == [
        pytest.approx(40, rel=0.05), *[pytest.approx(20, rel=0.05)] * 4
    ]  # fmt: skip


def test_a_processor_is_busy_for_what_it_is_asked_and_no_more_than_always() -> None:
    """5 ms for each of 100 commands a second, and for each of 400, of which half are answered later."""
    half, full = compare.run(
        "multipaxos", "uniform:50", nodes=1, rates=[100, 400], service_ms=5, duration_s=5, timeout_ms=60_000
    ).runs
    # And for the first question of each client, which makes it known.
    assert half.site["s1"].load.busy == pytest.approx(half.commands * 0.1, rel=0.05)
    assert full.site["s1"].load.busy == pytest.approx(100, abs=1)
    # A command costs the same whether or not there are too many.
    assert full.syncs_per_command == pytest.approx(half.syncs_per_command, rel=0.03)


def test_what_is_slow_takes_as_long_as_it_is_told_to() -> None:
    def leaders(**more: Any) -> Latency:
        run = compare.run("multipaxos", "uniform:50", nodes=3, clients=1, commands=30, **more).runs[0]
        found = run.site["s1"].commit_ms
        assert found is not None
        return found

    assert leaders().max == 50
    # Two acceptors write at the same time, and the nearest quorum is the leader and one of them.
    assert leaders(disk_ms=8).p50 == pytest.approx(58, abs=0.01)
    late = leaders(jitter=40)
    assert 52 < late.p50 < late.max <= 50 * 1.4
    slow = compare.run("multipaxos", "uniform:50", nodes=3, clients=1, commands=9, think_ms=450).runs[0]
    assert slow.site["s1"].commands_per_s == pytest.approx(2, rel=0.35)
    assert slow.virtual_s == pytest.approx(9 * 0.1 + 8 * 0.45, abs=0.26)
    lost = compare.run("epaxos", "uniform:50", nodes=3, clients=2, commands=80, loss=20).runs[0]
    sent, received = (sum(getattr(each.load, way) for each in lost.sites) for way in ("sent", "received"))
    assert received / sent == pytest.approx(0.8, abs=0.04)


def test_an_answer_that_no_order_explains_is_refused_though_the_witness_is_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, result = measured(monkeypatch, "multipaxos", conflict=100, reads=40, clients=2, commands=10, nodes=3)
    cell = Cell("multipaxos", 100, 2, None)
    assert measure._search(cell, multipaxos.protocol, result) == 30
    at, read = [(at, op) for at, op in enumerate(result.operations) if op.value is None and op.out][-1]
    first = next(op for op in result.operations if op.value is not None)
    assert read.out != first.value
    wrong = [*result.operations]
    wrong[at] = attrs.evolve(read, out=first.value)
    with pytest.raises(WrongRun, match="multipaxos at 100 % conflicts, 2 clients at each site: no figures"):
        measure._search(cell, multipaxos.protocol, attrs.evolve(result, operations=tuple(wrong)))
    # A command of which nobody knows whether it was done has its key searched, too.
    _, result = measured(monkeypatch, "multipaxos", clients=1, commands=2, nodes=3)
    assert measure._search(cell, multipaxos.protocol, result) == 0
    last = attrs.evolve(result.operations[-1], return_s=None, outcome="unknown", out=None)
    open_one = attrs.evolve(result, operations=(*result.operations[:-1], last))
    assert measure._search(cell, multipaxos.protocol, open_one) == 1
