"""The indexes of EPaxos against a list of instances that are compared one by one, and what they cost."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epaxos.conflicts import ConflictIndex
from paxos.command import ALL, NOTHING, Footprint
from tests.keytrees import lines, maximum, small_nodes

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

# Neighbours and prefixes, the lowest key there is, and enough of them that a small tree is several levels.
KEYS = [b"", b"\0", b"a", b"a\0", b"aa", b"ab", b"b", b"ba", b"c", b"d", b"e", b"f", b"\xff", b"\xff\xff"]
keys = st.sampled_from(KEYS)
ranges = st.tuples(keys, keys | st.none()).filter(lambda pair: pair[1] is None or pair[0] < pair[1])
point_footprints = st.builds(
    Footprint.of, reads=st.lists(keys, max_size=3), writes=st.lists(keys, max_size=3)
) | st.builds(lambda key: Footprint.of(writes=[key]), keys)
footprints = (
    point_footprints
    | st.builds(
        Footprint.of,
        reads=st.lists(keys, max_size=2),
        writes=st.lists(keys, max_size=2),
        read_ranges=st.lists(ranges, max_size=2),
        write_ranges=st.lists(ranges, max_size=2),
    )
    | st.sampled_from([ALL, NOTHING])
)


STEPS = ["join", "join", "add", "find", "hold", "release", "floor", "clone"]


class Oracle:
    """Every instance, as it came."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.instances: list[tuple[int, int, Footprint]] = []
        self.held: set[tuple[int, int]] = set()
        self.floor = (0,) * members

    def conflicts(self, footprint: Footprint) -> tuple[int, ...]:
        highest = list(self.floor)
        for rank, number, other in self.instances:
            if footprint.conflicts(other):
                highest[rank] = max(number, highest[rank])
        for rank, number in self.held:
            highest[rank] = max(number, highest[rank])
        return tuple(highest)


def numbers(members: int, high: int = 12) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(0, high)] * members)


class Step(NamedTuple):
    """One operation; which of the rest counts depends on `what`."""

    what: str
    rank: int
    number: int
    footprint: Footprint
    vector: tuple[int, ...]


def check_against_oracle(members: int, steps: Iterable[Step], looked_up: Iterable[Footprint]) -> None:
    """Run the steps on an index and on the list; whatever is looked up, on the way and then, is equal."""
    index, oracle = ConflictIndex(members), Oracle(members)
    for what, rank, number, footprint, vector in steps:
        if what == "join":
            assert index.join(rank, number, footprint, vector) == maximum(vector, oracle.conflicts(footprint))
            oracle.instances.append((rank, number, footprint))
        elif what == "add":
            index.add(rank, number, footprint)
            oracle.instances.append((rank, number, footprint))
        elif what == "find":
            assert index.conflicts(footprint) == oracle.conflicts(footprint)
        elif what == "hold":
            index.hold(rank, number)
            oracle.held.add((rank, number))
        elif what == "release":
            index.release(rank, number)
            oracle.held.discard((rank, number))
        elif what == "floor":
            index.raise_floor(vector)
            oracle.floor = maximum(vector, oracle.floor)
            assert index.floor == oracle.floor
        else:
            index = index.clone()
    for footprint in (ALL, NOTHING, *looked_up):
        assert index.conflicts(footprint) == oracle.conflicts(footprint)
    for key in KEYS:
        for point in (Footprint.of(reads=[key]), Footprint.of(writes=[key])):
            assert index.conflicts(point) == oracle.conflicts(point)


@pytest.mark.parametrize("members", [1, 3, 4])
@given(data=st.data())
def test_whatever_is_looked_up_is_as_in_a_list(members: int, data: st.DataObject) -> None:
    of = data.draw(st.sampled_from([point_footprints, footprints]))
    step = st.builds(
        Step,
        st.sampled_from(STEPS),
        st.integers(0, members - 1),
        st.integers(1, 12),
        of,
        numbers(members),
    )
    with small_nodes():
        check_against_oracle(members, data.draw(st.lists(step, max_size=25)), data.draw(st.lists(of)))


@pytest.mark.parametrize("members", [2, 3, 5])
@pytest.mark.parametrize("ranges", [False, True])
def test_whatever_is_looked_up_is_as_in_a_list_many_times(members: int, ranges: bool) -> None:
    random = Random(members)

    def step() -> Step:
        return Step(
            random.choice(STEPS),
            random.randrange(members),
            random.randint(1, 25),
            some_footprint(random, KEYS, ranges=ranges),
            tuple(random.randint(-20, 15) for _ in range(members)),
        )

    with small_nodes():
        for _ in range(150):
            steps = [step() for _ in range(random.randrange(40))]
            check_against_oracle(members, steps, [some_footprint(random, KEYS) for _ in range(8 * ranges)])


def some_footprint(random: Random, names: Sequence[bytes], ranges: bool = True) -> Footprint:
    """Mostly one key or a few; some ranges, narrow, wide and open; now and then all or nothing."""
    kind = random.random()
    if kind < 0.06:
        return random.choice([ALL, NOTHING])
    point = random.choices(names, k=random.choice([1, 1, 1, 2, 5]))
    if kind < 0.5 or (kind > 0.75 and not ranges):
        return Footprint.of(writes=point)
    if kind < 0.75:
        return Footprint.of(reads=point[1:], writes=point[:1])
    at = random.randrange(len(names) - 1)
    high = random.choice([None, names[-1], names[min(at + random.randrange(1, 30), len(names) - 1)]])
    span = [(names[at], high)] if high is None or names[at] < high else [(names[at], names[-1])]
    return Footprint.of(read_ranges=span) if kind < 0.88 else Footprint.of(reads=point, write_ranges=span)


@pytest.mark.parametrize("seed", range(2))
def test_thousands_of_keys_are_looked_up_as_in_a_list(seed: int) -> None:
    random, members = Random(seed), 3 + 2 * (seed % 2)
    index, oracle = ConflictIndex(members), Oracle(members)
    names = sorted({random.randbytes(random.choice([1, 2, 8])) for _ in range(4_000)})
    # A foundation of single writes, so that the tree of points is built in bulk and has three levels.
    for at, name in enumerate(names):
        index.add(at % members, at // members + 1, Footprint.of(writes=[name]))
        oracle.instances.append((at % members, at // members + 1, Footprint.of(writes=[name])))
    next_number = len(names)
    for step in range(400):
        next_number += 1
        rank, footprint = random.randrange(members), some_footprint(random, names)
        if step % 8 == 0:
            deps = tuple(random.randrange(next_number) for _ in range(members))
            expected = maximum(deps, oracle.conflicts(footprint))
            assert index.join(rank, next_number, footprint, deps) == expected
        else:
            index.add(rank, next_number, footprint)
        oracle.instances.append((rank, next_number, footprint))
        if step == 200:
            oracle.floor = tuple(random.randrange(1, len(names) // members) for _ in range(members))
            index.raise_floor(oracle.floor)


@given(order=st.randoms(use_true_random=False), footprint=footprints, deps=numbers(3))
def test_an_instance_is_no_conflict_of_its_own(
    order: Any, footprint: Footprint, deps: tuple[int, ...]
) -> None:
    others = [Footprint.of(writes=KEYS), Footprint.of(read_ranges=[(b"", None)])]
    for known in ([], others[:1], others):
        index = ConflictIndex(3)
        for number, other in enumerate(known, 1):
            index.add(order.randrange(3), number, other)
        before = index.conflicts(footprint)
        assert index.join(1, 100, footprint, deps) == maximum(deps, before)
        assert 100 not in before


def test_an_instance_below_another_of_its_rank_is_in_the_prefix() -> None:
    index, write = ConflictIndex(3), Footprint.of(writes=[b"k"])
    assert index.join(0, 7, write, (0, 0, 0)) == (0, 0, 0)
    # The higher one is a conflict, and the prefix up to it has this one in it.
    assert index.join(0, 5, write, (0, 0, 0)) == (7, 0, 0)
    assert index.join(2, 1, Footprint.of(reads=[b"k"]), (0, 3, 0)) == (7, 3, 0)
    assert index.conflicts(Footprint.of(reads=[b"k"])) == (7, 0, 0)
    assert index.conflicts(write) == (7, 0, 1)


def test_what_is_held_conflicts_with_everything_until_it_is_released() -> None:
    index = ConflictIndex(3)
    index.hold(1, 5)
    index.hold(1, 9)
    index.hold(1, 9)
    everything = [ALL, NOTHING, Footprint.of(reads=[b"k"]), Footprint.of(write_ranges=[(b"a", b"b")])]
    assert {index.conflicts(footprint) for footprint in everything} == {(0, 9, 0)}
    index.release(1, 9)
    index.release(1, 7)
    assert {index.conflicts(footprint) for footprint in everything} == {(0, 5, 0)}
    # It was accepted with its command after all: only that conflicts.
    index.add(1, 5, Footprint.of(writes=[b"k"]))
    index.release(1, 5)
    assert index.conflicts(Footprint.of(reads=[b"k"])) == (0, 5, 0)
    assert index.conflicts(Footprint.of(reads=[b"l"])) == (0, 0, 0)
    assert index.conflicts(NOTHING) == (0, 0, 0)
    # What conflicts with everything by itself goes on doing so.
    index.add(1, 8, ALL)
    index.hold(1, 7)
    index.release(1, 7)
    assert index.conflicts(Footprint.of(reads=[b"l"])) == (0, 8, 0)


def test_what_is_at_or_below_the_floor_is_gone_from_memory() -> None:
    index = ConflictIndex(3)
    for number in range(1, 1_001):
        key = b"%d" % number
        index.add(number % 3, number, Footprint.of(writes=[key], read_ranges=[(key, key + b"5")]))
    index.add(0, 1_000, ALL)
    index.conflicts(Footprint.of(reads=[b"x"], read_ranges=[(b"", None)]))
    assert index.entries > 2_000
    index.raise_floor((1_000, 1_000, 999))
    # What is left: the last instance of rank 1, if it were above; 1000 % 3 == 1, and the floor has it.
    assert index.entries == 0
    assert index.conflicts(NOTHING) == index.conflicts(ALL) == (1_000, 1_000, 999)
    # And what comes late to be at or below it does not come back.
    index.add(2, 999, Footprint.of(writes=[b"k"], write_ranges=[(b"a", b"b")]))
    assert index.join(2, 998, Footprint.of(writes=[b"k"]), (1, 1, 1_001)) == (1_000, 1_000, 1_001)
    assert index.join(1, 998, Footprint.of(writes=[b"k", b"l"]), (0, 0, 0)) == (1_000, 1_000, 999)
    index.hold(0, 1_000)
    assert index.entries == 0
    fresh = ConflictIndex(3)
    fresh.raise_floor((1_000, 1_000, 999))
    assert index.fingerprint() == fresh.fingerprint()
    # A floor does not fall, and what is above it stays.
    index.add(2, 1_002, Footprint.of(writes=[b"k"], read_ranges=[(b"b", b"c")]))
    index.raise_floor((5, 5, 1_001))
    assert index.floor == (1_000, 1_000, 1_001)
    assert index.conflicts(Footprint.of(reads=[b"k"])) == (1_000, 1_000, 1_002)
    assert index.conflicts(Footprint.of(writes=[b"bb"])) == (1_000, 1_000, 1_002)
    assert index.conflicts(Footprint.of(writes=[b"c"])) == (1_000, 1_000, 1_001)
    with pytest.raises(ValueError, match="a floor of 2 numbers for 3 members"):
        index.raise_floor((2_000, 2_000))


def test_memory_is_bounded_where_the_floor_keeps_up() -> None:
    random, index = Random(4), ConflictIndex(3)
    most = 0
    for number in range(1, 3_001):
        key = random.randbytes(6)
        wide = [(key, key + b"\xff")] if number % 5 == 0 else []
        index.join(number % 3, number, Footprint.of(writes=[key], write_ranges=wide), (0, 0, 0))
        if number % 100 == 0:
            index.raise_floor((number - 50,) * 3)
            most = max(most, index.entries)
    # Fifty keys, and of ten ranges both ends, and the left end of everything.
    assert most <= 50 + 2 * 10 + 1


added = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12), footprints), max_size=12)


@given(instances=added, later=added, random=st.randoms(use_true_random=False))
def test_fingerprints_and_copies(instances: Any, later: Any, random: Any) -> None:
    with small_nodes():
        one, other = ConflictIndex(3), ConflictIndex(3)
        for rank, number, footprint in instances:
            one.add(rank, number, footprint)
        shuffled = list(instances)
        random.shuffle(shuffled)
        for rank, number, footprint in shuffled:
            other.conflicts(footprint)
            other.add(rank, number, footprint)
        assert one.fingerprint() == other.fingerprint()
        assert hash(one.fingerprint()) == hash(other.fingerprint())
        # A copy goes its own way.
        copy, before = one.clone(), one.fingerprint()
        assert copy.fingerprint() == before
        for rank, number, footprint in later:
            copy.add(rank, number + 12, footprint)
            other.add(rank, number + 12, footprint)
        assert one.fingerprint() == before
        assert copy.fingerprint() == other.fingerprint()
        assert (copy.fingerprint() == before) == all(footprint == NOTHING for _, _, footprint in later)


def test_a_copy_holds_and_bears_a_floor_of_its_own() -> None:
    index = ConflictIndex(3)
    index.hold(0, 3)
    index.raise_floor((0, 2, 0))
    copy = index.clone()
    assert copy.fingerprint() == index.fingerprint()
    copy.hold(2, 4)
    assert copy.fingerprint() != index.fingerprint()
    copy.raise_floor((0, 5, 0))
    copy.release(0, 3)
    assert index.conflicts(NOTHING) == (3, 2, 0)
    assert copy.conflicts(NOTHING) == (0, 5, 4)


# --- what it costs -------------------------------------------------------------------------------


class Counted(bytes):
    """A key that counts how often keys are hashed and compared."""

    hashed = 0
    compared = 0

    def __hash__(self) -> int:
        Counted.hashed += 1
        return super().__hash__()

    def __lt__(self, other: bytes) -> bool:
        Counted.compared += 1
        return super().__lt__(other)


def filled(many: int) -> ConflictIndex:
    index = ConflictIndex(3)
    for number in range(1, many + 1):
        index.add(number % 3, number, Footprint(writes=(Counted(b"%06d" % number),)))
    return index


def test_a_point_key_costs_the_same_however_many_there_are() -> None:
    costs = []
    for many in (10, 10_000):
        index = filled(many)
        for wanted in (b"%06d" % 7, b"%06d" % (many + 1)):
            for footprint in (
                Footprint(writes=(Counted(wanted),)),
                Footprint(reads=(Counted(wanted),)),
                Footprint(writes=(Counted(wanted), Counted(wanted + b"+"))),
            ):
                copy = index.clone()
                Counted.hashed = Counted.compared = 0
                count = lines(lambda copy=copy, footprint=footprint: copy.join(0, 1, footprint, (0, 0, 0)))  # type: ignore[misc]
                named = len(footprint.reads) + len(footprint.writes)
                # Looked up, looked up to be raised, and stored if it is new.
                assert Counted.hashed <= 3 * named
                # Nothing is sorted for who uses no ranges.
                assert Counted.compared == 0
                costs.append(count)
    assert costs[: len(costs) // 2] == costs[len(costs) // 2 :]


def test_many_keys_of_one_command_cost_in_proportion() -> None:
    index = filled(1_000)
    few, many = (
        Footprint(reads=tuple(b"%06d" % n for n in range(1, size)), writes=(b"%06d" % size,))
        for size in (100, 800)
    )
    cost_of_few = lines(lambda: index.join(0, 2_001, few, (0, 0, 0)))
    cost_of_many = lines(lambda: index.join(0, 2_002, many, (0, 0, 0)))
    assert 7 * cost_of_few < cost_of_many <= 8 * cost_of_few


@pytest.mark.parametrize("low", [b"", b"000007", b"005000"])
def test_the_keys_are_put_in_order_once(low: bytes) -> None:
    many = 20_000
    index = filled(many)
    scan = Footprint.of(read_ranges=[(low, b"019000")])
    first = lines(lambda: index.conflicts(scan))
    assert index.conflicts(scan) == tuple(max(n for n in range(1, 19_000) if n % 3 == r) for r in range(3))
    # The first lookup puts the keys in order, once; those after it do not.
    assert lines(lambda: index.conflicts(scan)) < many / 20 < many < first


def test_holding_many_costs_no_walk_over_them() -> None:
    index = ConflictIndex(3)
    for number in range(1, 10_001):
        index.hold(1, number)
    assert lines(lambda: index.hold(1, 20_000)) < 20
    assert lines(lambda: index.release(1, 20_000)) < 20
    assert index.conflicts(NOTHING) == (0, 10_000, 0)
