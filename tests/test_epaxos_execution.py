"""Execution of EPaxos: against an oracle that walks the whole graph each time, and counted in steps."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from random import Random

import pytest

from epaxos import execution
from epaxos.contended import contended_components
from epaxos.execution import Cut, Executor
from epaxos.graph import Chain, Node, Vertex
from paxos.command import ALL, NOTHING, Footprint
from paxos.errors import ProtocolBreach
from tests.epaxos_oracle import Id, Oracle, Shape, graph, history

pytestmark = pytest.mark.once

A = Footprint.of(writes=[b"a"])
B = Footprint.of(writes=[b"b"])
READ_A = Footprint.of(reads=[b"a"])

SHAPES = [
    Shape(3, 4, 1),
    Shape(2, 7, 1),
    Shape(3, 3, 3),
    Shape(5, 2, 2),
    Shape(3, 4, 3, noops_in_ten=3),
    Shape(3, 4, 3, all_in_ten=3, noops_in_ten=1),
    Shape(3, 4, 4, ranges_in_ten=5, all_in_ten=1),
    Shape(5, 3, 4, ranges_in_ten=2, all_in_ten=1, noops_in_ten=2, barriers=True),
    Shape(3, 4, 2, all_in_ten=4, barriers=True),
    Shape(1, 6, 2, all_in_ten=1, barriers=True),
    Shape(7, 2, 2, all_in_ten=1, noops_in_ten=1),
]


CUT_SHAPES = [
    Shape(5, 4, 8, ranges_in_ten=1, all_in_ten=1, noops_in_ten=2, barriers=True),
    Shape(3, 6, 6, all_in_ten=1, barriers=True),
]


def executed_by(executor: Executor) -> list[tuple[Node, ...]]:
    """What an executor executes, over all barriers."""
    return list(until_nothing(executor))


def until_nothing(executor: Executor) -> Iterator[tuple[Node, ...]]:
    while components := executor.run():
        assert not any(node.barrier for nodes in components[:-1] for node in nodes)
        yield from components


def check_against(oracle: Oracle, executor: Executor) -> None:
    """All that an executor says of itself."""
    unexecuted = oracle.unexecuted()
    assert executor.pending == len(unexecuted)
    for rank in range(oracle.members):
        numbers = {i[1] for i in oracle.committed if i[0] == rank}
        frontier = next(n for n in range(len(numbers) + 1) if n + 1 not in numbers)
        assert executor.frontier[rank] == frontier
        top = max((number for r, number in oracle.executed if r == rank), default=0)
        assert executor.executed_top[rank] == top
        for number in range(1, max(numbers, default=0) + 2):
            committed = oracle.committed.get((rank, number))
            assert executor.is_committed(rank, number) == (committed is not None)
            done = committed is not None and committed not in unexecuted
            assert executor.is_executed(rank, number) == done
    waits = oracle.waits()
    assert sorted(executor.waits(100)) == sorted(waits)
    lowest = {rank: min(n for r, n in waits if r == rank) for rank, _ in waits}
    assert sorted(executor.waits()) == sorted(lowest.items())


def ran(nodes: Iterable[Node], members: int, together: int = 1) -> tuple[list[Id], Executor]:
    """The order in which an executor of its own executes, and the executor."""
    executor = Executor(members)
    order: list[Id] = []
    for at, node in enumerate(nodes):
        executor.commit(*node)
        if at % together == 0:
            order.extend((n.rank, n.number) for component in executed_by(executor) for n in component)
    order.extend((n.rank, n.number) for component in executed_by(executor) for n in component)
    return order, executor


# --- what executes, and in which order ---------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_executes_at_each_moment_is_what_the_oracle_says(
    shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    components = sizes = 0
    for seed in range(100):
        random = Random(seed)
        # Graphs as small as these have no long ways to shorten, unless all are.
        monkeypatch.setattr(execution, "_LONG_WAY", random.choice([1, 32]))
        nodes = graph(random, shape)
        for _ in range(2):
            random.shuffle(nodes)
            patience = random.choice([1.0, 1.0, 0.3])
            oracle, executor = Oracle(shape.members), Executor(shape.members)
            for node in nodes:
                oracle.commit(node)
                executor.commit(*node)
                if random.random() < 0.2:
                    executor.commit(*random.choice(list(oracle.committed.values())))
                if random.random() < patience:
                    copy = executor.clone()
                    assert copy.fingerprint() == executor.fingerprint()
                    found = executor.run()
                    assert found == oracle.run()
                    assert copy.run() == found
                    assert copy.fingerprint() == executor.fingerprint()
                    if random.random() < 0.3:
                        executor = copy
                    components += len(found)
                    sizes += sum(map(len, found))
                    check_against(oracle, executor)
            while found := oracle.run():
                assert executor.run() == found
            assert executor.run() == []
            check_against(oracle, executor)
            assert not oracle.unexecuted()
            assert_nothing_is_left(executor)
    assert components > 200
    assert shape.members == 1 or sizes > components


def test_longer_histories_execute_as_the_oracle_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_LONG_WAY", 3)
    shape = Shape(5, 0, 3, ranges_in_ten=1, noops_in_ten=1)
    sizes: list[int] = []
    largest = 0
    for seed in range(12):
        random = Random(f"history {seed}")
        nodes = history(random, shape, 80)
        delay = random.choice([3, 20, 80])
        late = [at + random.random() * delay * (random.random() < 0.2) for at in range(len(nodes))]
        oracle, executor = Oracle(5), Executor(5)
        for _, node in sorted(zip(late, nodes, strict=True)):
            oracle.commit(node)
            executor.commit(*node)
            if random.random() < 0.5:
                found = oracle.run()
                assert executor.run() == found
                sizes.extend(map(len, found))
                largest = max(largest, len(found))
        assert executor.run() == oracle.run()
        check_against(oracle, executor)
        assert executor.pending == 0
    assert largest > 10
    assert sum(size > 1 for size in sizes) > 20


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_conflicting_commands_execute_in_the_same_order_everywhere(shape: Shape) -> None:
    for seed in range(100):
        random = Random(f"order {seed}")
        nodes = graph(random, shape)
        by_id = {(node.rank, node.number): node for node in nodes}
        orders = []
        for _ in range(4):
            random.shuffle(nodes)
            order, executor = ran(nodes, shape.members, random.choice([1, 1, 3, 100]))
            assert executor.pending == 0
            assert sorted(order) == sorted(i for i in by_id if by_id[i].footprint != NOTHING)
            orders.append(
                [
                    (one, other)
                    for at, one in enumerate(order)
                    for other in order[at + 1 :]
                    if by_id[one].footprint.conflicts(by_id[other].footprint)
                ]
            )
        assert all(set(pairs) == set(orders[0]) for pairs in orders)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_order_of_learning_leaves_no_trace(shape: Shape) -> None:
    for seed in range(60):
        random = Random(f"trace {seed}")
        nodes = graph(random, shape)
        half = nodes[: random.randint(0, len(nodes))]
        executors = []
        for _ in range(3):
            random.shuffle(half)
            executors.append(ran(half, shape.members, random.choice([1, 2, 100]))[1])
        prints = [executor.fingerprint() for executor in executors]
        assert prints[0] == prints[1] == prints[2]
        assert len(set(prints)) == 1
        for node in nodes:
            for executor in executors:
                executor.commit(*node)
            runs = [executed_by(executor) for executor in executors]
            assert runs[0] == runs[1] == runs[2]


def test_reads_do_not_wait_for_reads_and_writes_wait_for_both() -> None:
    executor = Executor(3)
    executor.commit(0, 1, READ_A, (0, 0, 1))
    executor.commit(1, 1, READ_A, (1, 0, 0))
    # The first waits for an instance that is not committed; the second reads, and does not wait for it.
    assert [c[0][:2] for c in executor.run()] == [(1, 1)]
    executor.commit(1, 2, A, (1, 1, 0))
    assert executor.run() == []
    assert executor.waits() == [(2, 1)]
    executor.commit(2, 1, B, (0, 0, 0))
    assert [c[0][:2] for c in executor.run()] == [(0, 1), (2, 1), (1, 2)]


def test_write_waits_for_a_read_below_others_that_executed_before_it() -> None:
    executor = Executor(4)
    executor.commit(0, 1, READ_A, (0, 1, 0, 0))
    executor.commit(0, 2, READ_A, (0, 0, 0, 0))
    executor.commit(0, 3, READ_A, (0, 0, 1, 0))
    executor.commit(0, 4, READ_A, (0, 0, 1, 0))
    assert [c[0][:2] for c in executor.run()] == [(0, 2)]
    executor.commit(3, 1, A, (4, 0, 0, 0))
    assert executor.run() == []
    executor.commit(2, 1, NOTHING, (0, 0, 0, 0))
    assert [c[0][:2] for c in executor.run()] == [(0, 3), (0, 4)]
    executor.commit(1, 1, NOTHING, (0, 0, 0, 0))
    assert [c[0][:2] for c in executor.run()] == [(0, 1), (3, 1)]


def test_prefix_is_awaited_though_nothing_in_it_conflicts() -> None:
    executor = Executor(2)
    executor.commit(0, 1, A, (0, 2))
    executor.commit(1, 2, B, (0, 1))
    assert executor.run() == []
    assert executor.waits() == [(1, 1)]
    executor.commit(1, 1, NOTHING, (0, 0))
    assert [c[0][:2] for c in executor.run()] == [(0, 1), (1, 2)]


def any_dependencies(random: Random) -> list[Node]:
    """Nearly all write one key, and depend on whatever it is: some on each other, some on none."""
    members, most, share = random.choice([1, 2, 3, 4]), random.choice([2, 3, 8]), random.random()
    nodes = []
    for rank in range(members):
        for number in range(1, most + 1):
            about = random.randint(0, most) if random.random() < share else number - 1
            deps = [max(min(about + random.choice([-1, 0, 0, 0, 1]), most), 0) for _ in range(members)]
            deps[rank] = number - 1 if random.random() < 0.9 else about
            deps += [0] * (4 - members)
            nodes.append(Node(rank, number, random.choice([A] * 30 + [READ_A]), tuple(deps), False))
    random.shuffle(nodes)
    return nodes


def test_what_writes_one_key_executes_as_the_graph_says(monkeypatch: pytest.MonkeyPatch) -> None:
    made_out = []

    def tried(nodes: Sequence[Node], members: int) -> list[tuple[Node, ...]] | None:
        components = contended_components(nodes, members)
        made_out.append(components is not None)
        return components

    for seed in range(400):
        nodes = any_dependencies(Random(seed))
        for together in (1, 5, len(nodes)):
            monkeypatch.setattr(execution, "contended_components", tried)
            order, _ = ran(nodes, 4, together)
            monkeypatch.setattr(execution, "contended_components", lambda nodes, members: None)
            assert ran(nodes, 4, together)[0] == order
    assert 200 < sum(made_out) < len(made_out) - 200


def test_no_op_is_in_no_component_and_closes_gaps() -> None:
    executor = Executor(2)
    executor.commit(0, 1, NOTHING, (0, 0))
    assert executor.run() == []
    assert executor.is_executed(0, 1)
    assert (executor.frontier, executor.executed_top, executor.pending) == ([1, 0], [0, 0], 0)
    executor.commit(1, 2, NOTHING, (0, 0))
    assert executor.is_executed(1, 2)
    assert not executor.is_committed(1, 1)
    executor.commit(1, 1, A, (1, 0))
    assert executor.frontier == [1, 2]
    assert len(executor.run()) == 1
    assert executor.executed_top == [0, 1]


def test_instance_executes_above_the_frontier_of_its_owner() -> None:
    executor = Executor(2)
    executor.commit(0, 3, B, (0, 0))
    assert [c[0].number for c in executor.run()] == [3]
    assert executor.frontier == [0, 0]
    assert executor.is_executed(0, 3)
    assert executor.waits() == []
    executor.commit(0, 3, B, (0, 0))
    assert executor.run() == []
    executor.commit(0, 2, B, (1, 0))
    executor.commit(1, 1, B, (3, 0))
    assert executor.run() == []
    assert executor.waits() == [(0, 1)]
    executor.commit(0, 1, A, (0, 0))
    assert [[node[:2] for node in c] for c in executor.run()] == [[(0, 1)], [(0, 2)], [(1, 1)]]


def test_own_number_in_own_dependencies_is_no_obstacle() -> None:
    executor = Executor(2)
    executor.commit(0, 1, A, (1, 0))
    executor.commit(0, 2, A, (3, 0))
    assert [c[0].number for c in executor.run()] == [1]
    executor.commit(0, 3, A, (2, 0))
    assert [[node.number for node in c] for c in executor.run()] == [[2, 3]]


def test_component_goes_by_rank_and_number_with_barriers_last() -> None:
    executor = Executor(3)
    all_of = (2, 2, 2)
    for rank in (2, 0, 1):
        for number in (2, 1):
            executor.commit(rank, number, ALL, all_of, barrier=rank < 2 and number == 1)
    (component,) = executor.run()
    assert [node[:2] for node in component] == [(0, 2), (1, 2), (2, 1), (2, 2), (0, 1), (1, 1)]


def test_dependencies_for_another_number_of_members_are_refused() -> None:
    executor = Executor(3)
    with pytest.raises(ProtocolBreach, match="2 dependencies among 3 members"):
        executor.commit(0, 1, A, (0, 0))
    assert not executor.is_committed(0, 1)
    assert (executor.pending, executor.frontier) == (0, [0, 0, 0])


def test_command_of_a_thousand_keys_meets_each_of_them() -> None:
    executor = Executor(3)
    keys = [b"%d" % i for i in range(1000)]
    for number, key in enumerate(keys, 1):
        executor.commit(0, number, Footprint.of(writes=[key]), (0, 1 if number > 1 else 0, 0))
    assert [c[0][:2] for c in executor.run()] == [(0, 1)]
    executor.commit(1, 1, Footprint.of(writes=keys), (1000, 0, 0))
    executor.commit(2, 1, Footprint.of(reads=keys), (0, 1, 0))
    (component, last) = executor.run()
    assert [node[:2] for node in component] == [*((0, n) for n in range(2, 1001)), (1, 1)]
    assert last[0][:2] == (2, 1)
    assert executor.steps < 20_000
    assert_nothing_is_left(executor)


# --- barriers, snapshots, copies ---------------------------------------------------------------------


def test_run_ends_with_a_barrier_and_goes_on() -> None:
    executor = Executor(2)
    executor.commit(0, 1, A, (0, 0))
    executor.commit(1, 1, ALL, (1, 0), barrier=True)
    executor.commit(0, 2, A, (1, 1))
    executor.commit(0, 3, B, (1, 1))
    assert [c[0][:2] for c in executor.run()] == [(0, 1), (1, 1)]
    assert executor.cut() == Cut((1, 1), ())
    assert [c[0][:2] for c in executor.run()] == [(0, 2), (0, 3)]
    assert executor.run() == []


def test_cut_names_what_comes_after_the_barrier_below_its_floor() -> None:
    executor = Executor(3)
    # The barrier needs (2, 1), which needs (0, 3), which needs the barrier. (0, 1) is after the barrier and
    # nothing to the others; (0, 2) is a no-op, (0, 4) above the floor.
    executor.commit(0, 1, A, (0, 1, 0))
    executor.commit(0, 2, NOTHING, (0, 0, 0))
    executor.commit(0, 3, B, (0, 1, 0))
    executor.commit(0, 4, B, (3, 1, 0))
    executor.commit(1, 1, ALL, (0, 0, 1), barrier=True)
    executor.commit(2, 1, B, (3, 0, 0))
    (component,) = executor.run()
    assert [node[:2] for node in component] == [(0, 3), (2, 1), (1, 1)]
    assert executor.cut() == Cut((3, 1, 1), (Node(0, 1, A, (0, 1, 0), False),))
    assert [c[0][:2] for c in executor.run()] == [(0, 1), (0, 4)]


@pytest.mark.parametrize("shape", CUT_SHAPES, ids=str)
def test_snapshot_is_as_good_as_what_it_stands_for(shape: Shape) -> None:
    cuts = exceptional = 0
    for seed in range(600):
        random = Random(f"cut {seed}")
        nodes = graph(random, shape)
        source = Executor(shape.members)
        random.shuffle(nodes)
        # One that has all executes up to a barrier; one that has some of it, and lags, installs the cut.
        for node in nodes:
            source.commit(*node)
        before: list[Node] = []
        while components := source.run():
            before.extend(node for component in components for node in component)
            if not components[-1][-1].barrier:
                break
            floor, exceptions = source.cut()
            cuts += 1
            exceptional += len(exceptions)
            ids = {node[:2] for node in before}
            assert list(floor) == [
                max((n for r, n in ids if r == rank), default=0) for rank in range(shape.members)
            ]
            low = [n for n in nodes if n.number <= floor[n.rank] and n.footprint != NOTHING]
            assert set(exceptions) == {node for node in low if node[:2] not in ids}
            known = random.sample(nodes, random.randint(0, len(nodes)))
            lagging = ran(known, shape.members)[1]
            if all(lagging.is_executed(*node[:2]) for node in before):
                continue
            fresh = Executor(shape.members)
            for executor in (lagging, fresh):
                executor.install(floor, exceptions)
                assert all(executor.is_executed(*node[:2]) for node in before)
                assert not any(executor.is_executed(*node[:2]) for node in exceptions)
                assert all(executor.is_committed(rank, n) for rank, n in enumerate(floor) if n)
                assert all(executor.is_committed(*node[:2]) for node in known if executor is lagging)
            copy = source.clone()
            for node in random.sample(nodes, len(nodes)):
                lagging.commit(*node)
                fresh.commit(*node)
            assert executed_by(lagging) == executed_by(fresh) == executed_by(copy)
            assert lagging.fingerprint() == fresh.fingerprint() == copy.fingerprint()
    assert cuts > 100
    assert exceptional > 15


def test_installing_drops_what_waited_below_the_floor_and_keeps_the_rest() -> None:
    executor = Executor(2)
    executor.commit(0, 2, A, (1, 9))
    executor.commit(0, 4, A, (3, 2))
    executor.commit(1, 3, B, (0, 0))
    assert len(executor.run()) == 1
    assert executor.waits() == [(0, 1), (1, 1)]
    exception = (0, 1, B, (0, 2), False)
    executor.install((3, 1), [exception, exception])
    assert (executor.frontier, executor.executed_top, executor.pending) == ([4, 1], [3, 3], 2)
    # The dependency on (1, 9) went with the instance that had it.
    assert executor.waits(10) == [(1, 2)]
    executor.commit(0, 2, A, (1, 9))
    executor.commit(1, 2, NOTHING, (0, 0))
    assert [c[0][:2] for c in executor.run()] == [(0, 1), (0, 4)]


def test_snapshot_that_contradicts_what_was_executed_is_refused() -> None:
    executor = Executor(2)
    executor.commit(0, 1, A, (0, 0))
    executor.run()
    before = executor.fingerprint()
    for wrong in ((0, 1, A, (0, 1), False), (0, 3, A, (0, 1), False), (1, 1, A, (0, 1, 1), False)):
        with pytest.raises(ProtocolBreach, match="a snapshot puts instance"):
            executor.install((2, 1), [wrong])
        assert executor.fingerprint() == before


def test_copy_is_independent() -> None:
    executor = Executor(2)
    executor.commit(0, 1, A, (0, 1))
    executor.commit(0, 3, A, (2, 1))
    assert executor.run() == []
    copy = executor.clone()
    before = executor.fingerprint()
    copy.commit(1, 1, A, (0, 0))
    assert [c[0][:2] for c in copy.run()] == [(1, 1), (0, 1)]
    assert executor.fingerprint() == before != copy.fingerprint()
    assert executor.run() == []
    assert executor.waits() == [(0, 2), (1, 1)]
    executor.commit(1, 1, A, (0, 0))
    assert [c[0][:2] for c in executor.run()] == [(1, 1), (0, 1)]
    assert executor.fingerprint() == copy.fingerprint()


# --- how much work it is, and how much stays ----------------------------------------------------------


def held_by(executor: Executor) -> list[object]:
    """Every object that is kept by an executor."""
    kept = {id(executor)}
    held: list[object] = [executor]
    for thing in held:
        for referent in gc.get_referents(thing):
            if id(referent) not in kept and not isinstance(referent, type):
                kept.add(id(referent))
                held.append(referent)
    return held


def assert_nothing_is_left(executor: Executor) -> None:
    """Of what is executed only a few numbers are kept."""
    assert executor.pending == 0
    held = held_by(executor)
    assert not [thing for thing in held if isinstance(thing, Vertex | Node)]
    # Those for ranges and for everything; none for a key, or for all instances.
    assert sum(isinstance(thing, Chain) for thing in held) == 2 * len(executor.frontier)
    # So the next command does not come into the graph.
    assert not executor._graph.touches(A)
    assert len(held) < 30 + len(executor.frontier) * 20


def orders_of(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    return {
        "forward": list(nodes),
        "reverse": list(reversed(nodes)),
        "random": Random(1).sample(nodes, len(nodes)),
        "by rank": sorted(nodes),
    }


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize(
    ("together", "length"),
    [
        pytest.param(1, 100_000, marks=pytest.mark.slow, id="one by one"),
        pytest.param(1 << 60, 20_000, id="at once"),
    ],
)
def test_chain(order: str, together: int, length: int) -> None:
    chain = [Node(0, n, A, (n - 1, 0, 0), False) for n in range(1, length + 1)]
    executed, executor = ran(orders_of(chain)[order], 3, together)
    assert executed == [(0, n) for n in range(1, length + 1)]
    assert executor.steps < 5 * length
    assert_nothing_is_left(executor)


def everyone_on_everyone(rounds: int, members: int) -> list[Node]:
    return [Node(r, n, A, (rounds,) * members, False) for n in range(1, rounds + 1) for r in range(members)]


def sliding(rounds: int, members: int, window: int) -> list[Node]:
    return [
        Node(r, n, A, (min(rounds, n + window),) * members, False)
        for n in range(1, rounds + 1)
        for r in range(members)
    ]


def jittered(rounds: int, members: int, most: int, footprint: Footprint) -> list[Node]:
    """Each depends on what it saw of the others, a little more or less than they saw of it."""
    random = Random(7)
    return [
        Node(
            r,
            n,
            footprint,
            tuple(
                n - 1 if other == r else max(0, min(rounds, n + random.randint(-most, most)))
                for other in range(members)
            ),
            False,
        )
        for n in range(1, rounds + 1)
        for r in range(members)
    ]


@pytest.mark.parametrize("order", ["forward", "reverse", "random", "by rank"])
@pytest.mark.parametrize("kind", ["everyone", "next", "far", "saw", "all"])
def test_component_of_ten_thousand(kind: str, order: str) -> None:
    nodes = {
        "everyone": lambda: everyone_on_everyone(2000, 5),
        "next": lambda: sliding(2000, 5, 1),
        "far": lambda: sliding(2000, 5, 40),
        "saw": lambda: jittered(2000, 5, 3, A),
        "all": lambda: jittered(2000, 5, 3, ALL),
    }[kind]()
    executed, executor = ran(orders_of(nodes)[order], 5)
    if kind in ("everyone", "next", "far"):
        assert executed == [(node.rank, node.number) for node in sorted(nodes)]
    assert len(executed) == len(set(executed)) == 10_000
    assert executor.steps < 60 * len(nodes)
    assert_nothing_is_left(executor)


def take_the_long_way(length: int) -> int:
    """The steps of a chain blocked from its upper end on, each below the next, and met from above."""
    executor = Executor(3)
    for number in range(1, length + 1):
        executor.commit(0, number, A, (number - 1, length - number + 1, 0))
    for number in range(1, length):
        executor.commit(1, number, B, (0, number - 1, 0))
        executor.commit(2, number, A, (length, 0, number - 1))
        assert len(executor.run()) == 1
    assert executor.pending == 2 * length - 1
    steps = executor.steps
    executor.commit(1, length, B, (0, length - 1, 0))
    assert len(executor.run()) == 2 * length
    assert_nothing_is_left(executor)
    return steps


def test_long_way_to_a_root_is_made_short(monkeypatch: pytest.MonkeyPatch) -> None:
    for length in (500, 3000):
        assert take_the_long_way(length) < 40 * length
    # Not by itself: without that, as many steps are taken for each as are left of the chain.
    monkeypatch.setattr(execution, "_LONG_WAY", 1 << 60)
    assert take_the_long_way(500) > 500 * 500 / 2


def test_what_is_blocked_is_not_walked_again() -> None:
    """Thousands wait for one, and then for another, and so on; each time one moves on, not all."""
    executor = Executor(2)
    waiting = 2000
    for number in range(1, waiting + 1):
        executor.commit(0, number, A, (number - 1, number))
    for number in range(1, waiting + 1):
        before = executor.steps
        executor.commit(1, number, B, (0, number - 1))
        assert [c[0][:2] for c in executor.run()] == [(0, number), (1, number)]
        assert executor.steps - before < 20
    assert_nothing_is_left(executor)


def test_what_stays_of_a_chain_that_is_never_empty_does_not_grow() -> None:
    executor = Executor(2)
    for number in range(1, 3000):
        executor.commit(0, number, READ_A, (0, number))
        executor.run()
        executor.commit(1, number - 1, NOTHING, (0, 0))
        assert len(executor.run()) == (number > 1)
        if number % 500 == 0:
            assert sum(isinstance(thing, Vertex | Node) for thing in held_by(executor)) < 100


def test_what_stays_behind_one_that_is_stuck_does_not_grow() -> None:
    """One instance never gets ready, another waits for it, and all others pass by on the same keys."""
    executor = Executor(3)
    executor.commit(0, 1, Footprint.of(reads=[b"x"], writes=[b"a"]), (0, 1, 1))
    executor.commit(1, 2, READ_A, (1, 0, 0))
    sizes = []
    for number in range(2, 3000):
        executor.commit(0, number, Footprint.of(reads=[b"x", b"a"]), (0, 0, 0))
        executor.commit(2, number, ALL if number % 10 == 0 else B, (0, 0, 0))
        while executor.run():
            pass
        if number % 500 == 0:
            sizes.append(len(held_by(executor)))
            # What is executed above a gap is one number each.
            assert sum(isinstance(thing, Vertex | Node) for thing in held_by(executor)) < 100
    assert executor.pending == 2
    assert max(sizes) - min(sizes) < 2 * 3000
