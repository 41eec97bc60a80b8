"""The client table against a naive oracle; the same table at a marker in any order; nothing twice, ever."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paxos.command import digest_of
from paxos.errors import WireError
from paxos.service import sessions as module
from paxos.service.batches import MAX_RUN, Run, run_digests
from paxos.service.sessions import MAX_KEPT_BYTES, MAX_RESULT_BYTES, Refusal, Session, Sessions
from paxos.wire import MAX_ITEMS, dumps, loads_strict

ALICE, BOB = b"a" * 16, b"b" * 16


def name(index: int) -> bytes:
    return bytes([index]) * 16


def make(sequence: int, *bodies: bytes, client: bytes = ALICE, birth: int = 0, acknowledged: int = 0) -> Run:
    return Run(client, birth, acknowledged, sequence, run_digests(bodies), list(bodies))


def answer(body: bytes) -> bytes:
    return b"did " + body


class Worker:
    """What carries out commands: an answer follows from its command, so any order gives the same answers."""

    def __init__(self) -> None:
        self.done: list[tuple[int, bytes]] = []

    def __call__(self, first: int, bodies: Sequence[bytes]) -> list[bytes]:
        self.done += enumerate(bodies, first)
        return [answer(body) for body in bodies]


def packed(table: Sessions) -> bytes:
    return b"".join(dumps(item) for item in table.pack())


def again(table: Sessions, **bounds: int) -> Sessions:
    """The same table, out of a snapshot."""
    other = Sessions(**bounds)
    other.unpack([loads_strict(dumps(item)) for item in table.pack()])
    assert packed(other) == packed(table)
    return other


# --- against an oracle that keeps everything -----------------------------------------------------------


class Oracle:
    """The rules, with sets and no thought of memory."""

    def __init__(self, idle_markers: int, max_clients: int, max_intervals: int) -> None:
        self.bounds = idle_markers, max_clients, max_intervals
        self.markers = self.horizon = 0
        self.last: dict[bytes, int] = {}
        self.acknowledged: Counter[bytes] = Counter()
        self.applied: dict[tuple[bytes, int, bytes], bytes] = {}
        self.settled: set[tuple[bytes, int]] = set()
        self.floor: Counter[bytes] = Counter()

    def apply(self, run: Run) -> list[str]:
        """Of each request: "new", "known", "settled", "closed" or "stranger"."""
        client = run.client
        if client not in self.last and not self.horizon <= run.birth <= self.markers:
            return ["stranger"] * len(run.bodies)
        self.last[client] = self.markers
        self.acknowledged[client] = max(self.acknowledged[client], run.acknowledged)
        fates = []
        for number, body in enumerate(run.bodies, run.sequence):
            key = (client, number, digest_of(body))
            if key in self.applied:
                fates.append("known")
            elif (client, number) in self.settled:
                fates.append("settled")
            elif number <= self.floor[client]:
                fates.append("closed")
            else:
                self.applied[key] = answer(body)
                fates.append("new")
        return fates

    def mark(self) -> None:
        idle_markers, max_clients, max_intervals = self.bounds
        self.markers += 1
        self.horizon = max(self.horizon, self.markers - idle_markers)
        if len(self.last) > max_clients:
            first_out = sorted(self.last.values(), reverse=True)[max_clients]
            self.horizon = max(self.horizon, min(first_out + 1, self.markers - 1))
        for client in [client for client, last in self.last.items() if last < self.horizon]:
            del self.last[client], self.acknowledged[client]
            self.floor[client] = 0
            self.applied = {key: value for key, value in self.applied.items() if key[0] != client}
            self.settled = {key for key in self.settled if key[0] != client}
        for client, number, digest in list(self.applied):
            result = self.applied[client, number, digest]
            if number <= self.acknowledged[client] or len(result) > module.MAX_RESULT_BYTES:
                self.settled.add((client, number))
                del self.applied[client, number, digest]
        for client in self.last:
            self._keep_within_bounds(client)
            numbers = sorted(number for one, number in self.settled if one == client)
            ends = [number for number in numbers if number + 1 not in numbers]
            if len(ends) > max_intervals:
                gone = ends[-max_intervals - 1]
                self.floor[client] = max(self.floor[client], gone)
                self.settled = {key for key in self.settled if key[0] != client or key[1] > gone}

    def _keep_within_bounds(self, client: bytes) -> None:
        mine = {key: result for key, result in self.applied.items() if key[0] == client}
        while sum(map(len, mine.values())) > module.MAX_KEPT_BYTES:
            lowest = min(number for _, number, _ in mine)
            self.settled.add((client, lowest))
            for key in [key for key in mine if key[1] == lowest]:
                del mine[key], self.applied[key]


class Do(NamedTuple):
    """One thing that happens to a table: a run, or a marker, or a restart from a snapshot."""

    what: str
    client: int = 0
    sequence: int = 1
    variants: tuple[int, ...] = ()
    acknowledged: int = 0


RUNS = st.builds(
    Do,
    st.just("run"),
    client=st.integers(0, 3),
    sequence=st.integers(1, 9),
    variants=st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=1, max_size=4).map(tuple),
    acknowledged=st.sampled_from([0, 0, 1, 3, 5, 12]),
)
DOINGS = st.lists(
    RUNS | st.builds(Do, st.sampled_from(["mark", "mark", "restart", "reborn"]), st.integers(0, 3))
)


def run_of(do: Do, client: bytes, birth: int) -> Run:
    # The third variant has an answer that is too long for the bound below.
    texts = [b"%d" % number + (b"", b"!", b"?" * 40)[v] for number, v in enumerate(do.variants, do.sequence)]
    return make(do.sequence, *texts, client=client, birth=birth, acknowledged=do.acknowledged)


@pytest.fixture(autouse=True, scope="module")
def _small_bounds() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_RESULT_BYTES", 20)
        patch.setattr(module, "MAX_INTERVALS", 2)
        patch.setattr(module, "MAX_KEPT_BYTES", 22)
        yield


@given(DOINGS)
@example([Do("run", 0, n, (0,), 12) for n in (1, 3, 5, 7)] + [Do("mark"), Do("run", 0, 1, (0,))])
@example(
    [Do("run", 0, 1, (0,) * 4), Do("run", 0, 5, (0,) * 3), Do("run", 0, 2, (1, 1)), Do("mark")]
    + [Do("run", 0, 1, (0,) * 4), Do("run", 0, 5, (0,) * 3), Do("mark"), Do("run", 0, 3, (1, 0, 0))]
)
@example(
    [Do("run", 0, 2, (0,)), Do("run", 0, 4, (0,), 0), Do("run", 0, 9, (2,)), Do("run", 0, 7, (2,))]
    + [Do("run", 0, 5, (2,)), Do("mark"), Do("run", 0, 20, (2,), 2), Do("run", 0, 22, (2,), 2), Do("mark")]
    + [Do("run", 0, 3, (0,)), Do("run", 0, 5, (2,)), Do("run", 0, 5, (0,))]
)
def test_the_table_does_what_the_rules_say(doings: list[Do]) -> None:
    bounds = {"idle_markers": 2, "max_clients": 2}
    table, oracle = Sessions(**bounds), Oracle(2, 2, 2)
    births = {index: (name(index), 0) for index in range(4)}
    ever: Counter[tuple[bytes, int, bytes]] = Counter()
    for do in doings:
        if do.what == "mark":
            table.mark()
            oracle.mark()
        elif do.what == "restart":
            table = again(table, **bounds)
        elif do.what == "reborn":
            births[do.client] = (name(10 + len(births)), table.markers)
            births[len(births)] = births[do.client]
        else:
            run = run_of(do, *births[do.client])
            worker = Worker()
            applied = table.apply(run, worker)
            fates = oracle.apply(run)
            wanted = [
                (n, b)
                for n, b, f in zip(range(run.sequence, 99), run.bodies, fates, strict=False)
                if f == "new"
            ]
            assert worker.done == wanted
            ever.update((run.client, n, b) for n, b in worker.done)
            for number, body, fate, told in zip(
                range(run.sequence, 99), run.bodies, fates, applied, strict=False
            ):
                expect_told(told, fate, body, number, oracle.acknowledged[run.client])
        assert (table.markers, table.horizon, len(table)) == (
            oracle.markers,
            oracle.horizon,
            len(oracle.last),
        )
        for client in oracle.last:
            expect_counted(table.get(client))
    assert not ever or max(ever.values()) == 1


def expect_counted(session: Session | None) -> None:
    """Results are counted as they come and go; here they are counted anew."""
    assert session is not None
    held = [result for each in session.held for result in each.results or ()]
    others = [result for results in session.others.values() for result in results.values()]
    assert session.kept_bytes == sum(len(result) for result in held + others if result is not None)
    assert session.kept_above(session.acknowledged) == session.kept_bytes


def expect_told(told: object, fate: str, body: bytes, number: int, acknowledged: int) -> None:
    if fate in ("new", "known"):
        if isinstance(told, Refusal):
            # The result is gone only for a reason.
            assert told.applied
            assert not told.expired
            assert len(answer(body)) > module.MAX_RESULT_BYTES or (fate == "known" and number <= acknowledged)
        else:
            assert told == answer(body)
    else:
        assert isinstance(told, Refusal)
        assert told.applied == (fate == "settled")
        assert told.expired == (fate in ("closed", "stranger"))


def test_results_that_nobody_acknowledges_are_bounded_at_a_marker() -> None:
    table, worker = Sessions(), Worker()
    table.apply(make(1, *[b"%d" % number for number in range(1, 8)]), worker)
    session = table.get(ALICE)
    assert session is not None
    assert session.kept_bytes == 7 * len(answer(b"1"))
    # What its client has is not counted against it, though it says so only now.
    assert session.kept_above(7) == 0
    assert session.kept_above(6) == session.kept_bytes
    table.mark()
    assert session.kept_bytes == 4 * len(answer(b"1")) <= module.MAX_KEPT_BYTES
    # The first ones are gone; that they were carried out is not.
    (told,) = table.apply(make(3, b"3"), worker)
    assert told.applied
    assert table.apply(make(4, b"4"), worker) == [answer(b"4")]
    assert len(worker.done) == 7


def test_results_of_all_clients_are_bounded_at_a_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(answer(b"1"))
    monkeypatch.setattr(module, "MAX_ALL_KEPT_BYTES", 6 * size)
    table, worker = Sessions(), Worker()
    for client, many in ((0, 1), (1, 4), (2, 2), (3, 4), (4, 1)):
        table.apply(make(1, *[b"%d" % number for number in range(many)], client=name(client)), worker)
    table.mark()
    kept = {client: table.get(name(client)).kept_bytes // size for client in range(5)}  # type: ignore[union-attr]
    # Who keeps most loses all, and nobody more than needed.
    assert kept == {0: 1, 1: 0, 2: 2, 3: 0, 4: 1}
    # That it was carried out is not forgotten.
    done = len(worker.done)
    told = table.apply(make(1, *[b"%d" % number for number in range(4)], client=name(1)), worker)
    assert [each.applied for each in told] == [True] * 4
    assert table.apply(make(1, b"0", b"1", client=name(2)), worker) == [answer(b"0"), answer(b"1")]
    assert len(worker.done) == done
    # What comes after is kept as before.
    table.apply(make(5, b"5", client=name(1)), worker)
    table.mark()
    assert table.apply(make(5, b"5", client=name(1)), worker) == [answer(b"5")]
    again(table)


# --- BarrierCut: any order between two markers ----------------------------------------------------------


@given(st.lists(st.lists(RUNS, max_size=7), min_size=1, max_size=4), st.randoms(use_true_random=False))
@example([[Do("run", 0, 1, (0, 0, 0)), Do("run", 0, 4, (0, 0, 0)), Do("run", 1, 1, (0,))]], random.Random(1))
@example([[Do("run", 0, 1, (0, 0)), Do("run", 0, 3, (0, 0), 1)]], random.Random(2))
def test_in_any_order_the_table_is_the_same_at_the_marker(epochs: list[list[Do]], rng: random.Random) -> None:
    one, other = Sessions(2, 3), Sessions(2, 3)
    done_by_one, done_by_other = Worker(), Worker()
    for epoch in epochs:
        shuffled = list(epoch)
        rng.shuffle(shuffled)
        for table, worker, doings in ((one, done_by_one, epoch), (other, done_by_other, shuffled)):
            for do in doings:
                table.apply(run_of(do, name(do.client), 0), worker)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "MAX_ALL_KEPT_BYTES", 30)
                table.mark()
        assert sorted(done_by_one.done) == sorted(done_by_other.done)
        assert packed(one) == packed(other)
    assert packed(again(one)) == packed(other)


def test_two_runs_are_kept_alike_whichever_came_first_and_however_they_were_cut() -> None:
    tables = []
    for runs in (
        [make(1, b"1", b"2", b"3"), make(4, b"4", b"5"), make(6, b"6", acknowledged=2)],
        [make(6, b"6", acknowledged=2), make(4, b"4", b"5"), make(1, b"1", b"2", b"3")],
        [make(5, b"5"), make(6, b"6"), make(1, b"1", b"2"), make(3, b"3", b"4", acknowledged=2)],
    ):
        table, worker = Sessions(), Worker()
        for run in runs:
            table.apply(run, worker)
        table.mark()
        assert table.apply(make(1, b"another"), worker)[0].applied
        tables.append(packed(table))
    assert tables[0] == tables[1] == tables[2]


# --- the rules, one by one -----------------------------------------------------------------------------


def test_a_retry_gets_the_result_until_it_is_acknowledged_and_is_never_carried_out_again() -> None:
    table, worker = Sessions(), Worker()
    first = make(1, b"x", b"y")
    assert table.apply(first, worker) == [b"did x", b"did y"]
    assert table.apply(first, worker) == [b"did x", b"did y"]
    table.apply(make(3, b"z", acknowledged=2), worker)
    for _ in range(3):
        for told in table.apply(first, worker):
            assert told.applied
            assert not told.expired
        table.mark()
    assert worker.done == [(1, b"x"), (2, b"y"), (3, b"z")]


def test_an_acknowledgement_is_no_evidence_that_something_was_applied() -> None:
    table, worker = Sessions(), Worker()
    table.apply(make(5, b"five", acknowledged=4), worker)
    for _ in range(3):
        table.mark()
    assert table.apply(make(2, b"two"), worker) == [b"did two"]
    assert table.apply(make(2, b"two"), worker)[0].applied
    assert worker.done == [(5, b"five"), (2, b"two")]


def test_a_number_used_twice_is_two_requests_until_a_marker_and_one_from_then_on() -> None:
    table, worker = Sessions(), Worker()
    table.apply(make(1, b"x"), worker)
    session = table.get(ALICE)
    assert session is not None
    assert session.is_reused(1, digest_of(b"y"))
    assert not session.is_reused(1, digest_of(b"x"))
    assert not session.is_reused(2, digest_of(b"y"))
    table.apply(make(2, b"two", acknowledged=1), worker)
    assert table.apply(make(1, b"y"), worker) == [b"did y"]
    assert table.apply(make(1, b"y"), worker) in ([b"did y"], [Refusal(ANY_REASON, True)])
    table.mark()
    assert table.apply(make(1, b"w"), worker)[0].applied
    assert worker.done == [(1, b"x"), (2, b"two"), (1, b"y")]


ANY_REASON: Any = type("Any", (), {"__eq__": lambda self, other: True, "__hash__": None})()


def test_a_client_that_was_forgotten_is_refused_and_not_taken_for_a_new_one() -> None:
    table, worker = Sessions(idle_markers=3), Worker()
    table.apply(make(1, b"x"), worker)
    for _ in range(3):
        table.mark()
        assert table.apply(make(1, b"x"), Worker()) == [b"did x"]
        # A retry that is answered from the table is a sign of life, too.
    for _ in range(4):
        table.mark()
    assert table.get(ALICE) is None
    for _ in range(3):
        (told,) = table.apply(make(1, b"x"), worker)
        assert told.expired
        assert not told.applied
        assert "forgotten" in told.reason
        table = again(table, idle_markers=3)
        table.mark()
    assert worker.done == [(1, b"x")]


def test_one_born_at_the_horizon_is_taken_and_one_from_the_future_is_not() -> None:
    table, worker = Sessions(idle_markers=2), Worker()
    for _ in range(5):
        table.mark()
    assert table.horizon == 3
    assert table.apply(make(1, b"x", client=name(1), birth=2), worker)[0].expired
    assert table.apply(make(1, b"x", client=name(2), birth=3), worker) == [b"did x"]
    assert table.apply(make(1, b"x", client=name(3), birth=5), worker) == [b"did x"]
    (told,) = table.apply(make(1, b"x", client=name(4), birth=6), worker)
    assert not told.expired
    assert not told.applied
    assert "born at marker 6; there were 5" in told.reason


def test_too_many_clients_push_the_idle_ones_out_and_those_stay_out() -> None:
    table, worker = Sessions(idle_markers=50, max_clients=3), Worker()
    for index in range(3):
        table.apply(make(1, b"x", client=name(index)), worker)
        table.mark()
    # Three are remembered. Five more come, and one of the three is busy.
    for index in range(10, 15):
        table.apply(make(1, b"x", client=name(index), birth=3), worker)
    table.apply(make(2, b"y", client=name(2)), worker)
    table.mark()
    # What was busy since the last marker stays whatever it is; the bound is kept at the next one.
    assert sorted(index for index in range(16) if table.get(name(index))) == [2, 10, 11, 12, 13, 14]
    assert table.horizon == 3
    before = list(worker.done)
    for index in range(2):
        assert table.apply(make(1, b"x", client=name(index)), worker)[0].expired
    assert worker.done == before
    # One that was born in time is taken, however many there are.
    assert table.apply(make(1, b"z", client=name(20), birth=3), worker) == [b"did z"]
    table.mark()
    assert len(table) == 1
    assert table.horizon == 4


@given(st.lists(st.integers(0, 7) | st.just(-1), max_size=60))
def test_with_more_clients_than_there_is_room_for_nothing_is_carried_out_twice(steps: list[int]) -> None:
    table, done = Sessions(idle_markers=4, max_clients=2), Counter[tuple[int, bytes]]()
    for step in steps:
        if step < 0:
            table.mark()
            table = again(table, idle_markers=4, max_clients=2)
            continue
        worker = Worker()
        table.apply(make(1, b"x", client=name(step), birth=0), worker)
        done.update((step, body) for _, body in worker.done)
    assert not done or max(done.values()) == 1


# --- bounds ----------------------------------------------------------------------------------------


def test_an_answer_that_is_too_long_is_said_to_be_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESULT_BYTES", 10)
    table, worker = Sessions(), Worker()
    run = make(1, b"x", b"a longer one", b"z")
    told = table.apply(run, worker)
    assert told[0] == b"did x"
    assert told[2] == b"did z"
    assert told[1].applied
    assert "request 2 was carried out; its result of 16 bytes is not kept" in told[1].reason
    assert table.apply(run, worker)[1].applied
    other = again(table)
    for each in (table, other):
        each.mark()
        assert [type(one) for one in each.apply(run, worker)] == [bytes, Refusal, bytes]
    assert packed(table) == packed(other)
    assert len(worker.done) == 3


def test_numbers_left_out_are_closed_when_there_are_too_many_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INTERVALS", 3)
    table, worker = Sessions(), Worker()
    table.apply(make(2, b"late"), worker)
    for number in range(10, 20, 2):
        table.apply(make(number, b"x", acknowledged=1), worker)
    table.apply(make(30, b"x", acknowledged=0), worker)
    session = table.get(ALICE)
    assert session is not None
    table.mark()
    assert session.floor == 0
    # Held ones are no gaps. Now all but those are settled.
    table.apply(make(31, b"x", acknowledged=40), worker)
    table.mark()
    assert session.settled == [[16, 16], [18, 18], [30, 31]]
    assert session.floor == 14
    for number in (1, 2, 11, 14):
        (told,) = table.apply(make(number, b"new"), worker)
        assert told.expired
        assert "closed" in told.reason
    assert table.apply(make(15, b"new"), worker) == [b"did new"]
    assert [number for number, _ in worker.done] == [2, 10, 12, 14, 16, 18, 30, 31, 15]


def test_a_floor_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INTERVALS", 1)
    table, worker = Sessions(), Worker()
    monkeypatch.setattr(module, "MAX_RESULT_BYTES", 5)
    for number, body in ((1, b"1"), (10, b"long"), (12, b"long")):
        table.apply(make(number, body), worker)
    table.mark()
    session = table.get(ALICE)
    assert session is not None
    assert (session.floor, session.settled) == (10, [[12, 12]])
    table.apply(make(14, b"x", acknowledged=1), worker)
    table.mark()
    assert session.floor == 10
    assert table.apply(make(9, b"x"), worker)[0].expired


def test_nothing_that_a_client_does_makes_a_table_that_can_not_be_read_back() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_INTERVALS", 2_000)
        patch.setattr(module, "MAX_RESULT_BYTES", MAX_RESULT_BYTES)
        table = Sessions()
        worker = Worker()
        # Every second number, acknowledged: as many intervals as there may be, and more.
        for number in range(1, 2 * 2_500, 2):
            table.apply(make(number, b"", acknowledged=number), worker)
        # Many results that are not acknowledged; the highest numbers; one number a hundred times.
        for first in range(200_000, 200_000 + 8 * MAX_RUN, MAX_RUN):
            table.apply(make(first, *([b"x"] * MAX_RUN), client=BOB), worker)
        table.apply(make((1 << 62) - 2, b"x", b"y", client=BOB), worker)
        for index in range(100):
            table.apply(make(7, b"%d" % index, client=name(1)), worker)
        again(table)
        table.mark()
        items = list(table.pack())
        again(table)
    assert max(count(item) for item in items) < MAX_ITEMS / 10
    assert max(count(item) for item in items if len(item) == 8) < 10
    assert max(len(dumps(item)) for item in items) < 5 << 20


def test_long_results_are_packed_in_several_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESULT_BYTES", MAX_RESULT_BYTES)
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", MAX_KEPT_BYTES)
    table = Sessions()
    table.apply(make(1, *[b"x"] * 20), lambda first, bodies: [bytes(200_000)] * len(bodies))
    for _ in range(2):
        assert max(len(dumps(item)) for item in table.pack()) < 500_000
        assert len(list(table.pack())) == 12
        again(table)
        table.mark()
    session = table.get(ALICE)
    assert session is not None
    assert [held.first for held in session.held] == list(range(1, 21, 2))


def count(item: object) -> int:
    return 1 + sum(map(count, item)) if isinstance(item, tuple | list) else 1


def test_what_is_acknowledged_is_let_go_at_once() -> None:
    table, worker = Sessions(), Worker()
    session = None
    for number in range(1, 500):
        table.apply(make(number, b"x", acknowledged=number - 1), worker)
        session = table.get(ALICE)
        assert session is not None
        assert sum(held.results is not None for held in session.held) == 1
    assert session is not None
    table.apply(make(700, b"x"), worker)
    table.apply(make(600, b"x", acknowledged=650), worker)
    assert [held.first for held in session.held if held.results is not None] == [700]
    table.apply(make(300, b"other"), worker)
    table.mark()
    assert session.settled == [[1, 499], [600, 600]]
    assert [held.first for held in session.held] == [700]


# --- hostile tables ----------------------------------------------------------------------------------

GOOD = [0, 0, 1, 0, b"", 1, 0]
HELD = [1, b"d" * 8, [b"r"]]


@pytest.mark.parametrize(
    ("items", "finds"),
    [
        ([], "sessions: expected an array of 2"),
        ([[1]], "sessions: expected an array of 2"),
        ([[-1, 0]], "sessions.markers"),
        ([[0, True]], "sessions.horizon"),
        ([[0, 0], [ALICE]], "session: expected an array of 8"),
        ([[0, 0], [ALICE[1:], *GOOD], HELD], "session.client"),
        ([[0, 0], ["x" * 16, *GOOD], HELD], "session.client"),
        ([[0, 0], [BOB, *GOOD], HELD, [ALICE, *GOOD], HELD], "not in order"),
        ([[0, 0], [ALICE, *GOOD], HELD, [ALICE, *GOOD], HELD], "not in order"),
        ([[0, 0], [ALICE, *GOOD]], "session.held: expected an array of 3"),
        ([[0, 0], [ALICE, *GOOD], [0, b"d" * 8, [b"r"]]], "session.held.first"),
        ([[0, 0], [ALICE, *GOOD], [1, b"d" * 7, [b"r"]]], "are not a number of digests"),
        ([[0, 0], [ALICE, *GOOD], [1, b"", []]], "are not a number of digests"),
        ([[0, 0], [ALICE, *GOOD], [1, b"d" * 8, []]], "0 results of 1 requests"),
        ([[0, 0], [ALICE, *GOOD], [1, b"d" * 8, ["r"]]], "session.held.result"),
        ([[0, 0], [ALICE, *GOOD], [1, b"d" * 8, 5]], "session.held.results"),
        ([[0, 0], [ALICE, *GOOD[:5], 2, 0], HELD, HELD], "not rising and apart"),
        ([[0, 0], [ALICE, 0, 0, 1, 0, bytes(15), 0, 0]], "not a number of intervals"),
        ([[0, 0], [ALICE, 0, 0, 1, 0, bytes(16), 0, 0]], "rising and apart"),
        ([[0, 0], [ALICE, 0, 0, 1, 0, b"\xff" * 16, 0, 0]], "rising and apart"),
        ([[0, 0], [ALICE, -1, *GOOD[1:]], HELD], "session.last"),
        ([[0, 0], [ALICE, 0, -1, *GOOD[2:]], HELD], "session.acknowledged"),
        ([[0, 0], [ALICE, 0, 0, 1.0, *GOOD[3:]], HELD], "session.highest"),
        ([[0, 0], [ALICE, 0, 0, 1, -1, *GOOD[4:]], HELD], "session.floor"),
        ([[0, 0], [ALICE, *GOOD[:5], -1, 0]], "session.helds"),
        ([[0, 0], [ALICE, *GOOD[:5], 0, True]], "session.others"),
        ([[0, 0], [ALICE, *GOOD[:6], 1], HELD], "session.other: expected|session.other.digest"),
        ([[0, 0], [ALICE, *GOOD[:6], 1], HELD, [0, b"d" * 8, b""]], "session.other.number"),
        ([[0, 0], [ALICE, *GOOD[:6], 1], HELD, [1, b"d", b""]], "session.other.digest"),
        ([[0, 0], [ALICE, *GOOD[:6], 1], HELD, [1, b"d" * 8, 1]], "session.other.result"),
    ],
)
def test_a_table_that_is_none_is_refused(items: list[object], finds: str) -> None:
    with pytest.raises(WireError, match=finds):
        Sessions().unpack(items)


def test_a_table_that_is_one_is_taken() -> None:
    table = Sessions()
    table.unpack([[0, 0], [ALICE, *GOOD], HELD, [BOB, *GOOD[:6], 1], HELD, [1, b"e" * 8, None]])
    assert len(table) == 2
    again(table)
