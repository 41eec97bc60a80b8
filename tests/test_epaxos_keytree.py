"""Ordered trees of keys, against a function of keys; and in how many places they look."""

from random import Random

import pytest

from epaxos import keytree
from epaxos.keytree import PointTree, SpanTree
from tests.keytrees import lines, maximum, small_nodes

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

# More of them than nodes of the smallest size hold in four levels; the trees begin with the first.
MANY_KEYS = [b"", *(b"%02d" % n for n in range(60))]


def some_range(random: Random) -> tuple[bytes, bytes | None]:
    at = random.randrange(len(MANY_KEYS))
    to = random.randrange(at + 1, len(MANY_KEYS) + 1)
    return MANY_KEYS[at], MANY_KEYS[to] if to < len(MANY_KEYS) else None


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_of_ranges_is_a_function_of_keys(seed: int) -> None:
    random = Random(seed)
    with small_nodes():
        for _ in range(12):
            tree, function = SpanTree(2), {key: [0, 0] for key in MANY_KEYS}
            for number in random.sample(range(1, 100), 70):
                low, high = some_range(random)
                # Mostly narrow ones: boundaries come between the marks of wide ones.
                if random.random() < 0.8:
                    high = low + b"+" if low else MANY_KEYS[1]
                place = random.randrange(2)
                tree.assign(low, high, (place,), number)
                for key, value in function.items():
                    if low <= key and (high is None or key < high):
                        value[place] = max(number, value[place])
                low, high = some_range(random)
                within = [value for key, value in function.items() if low <= key and (not high or key < high)]
                assert maximum(*tree.over(low, high)) == maximum(*within)
            for key, value in function.items():
                assert maximum(*tree.at(key)) == tuple(value)
                assert maximum(*tree.over(key, key + b"\0")) == tuple(value)
            assert tree.over(b"5", b"5") == []
            assert list(tree.clone().segments()) == list(tree.segments())


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_of_points_has_each_key_once(seed: int) -> None:
    random = Random(seed)
    with small_nodes():
        for _ in range(12):
            names = random.sample(MANY_KEYS, len(MANY_KEYS))
            points = {key: [random.randrange(5), 0] for key in names[: random.randrange(20)]}
            tree = PointTree(2, sorted(points.items()))
            for number in random.sample(range(1, 100), 70):
                key, place = random.choice(names), random.randrange(2)
                vector = points.setdefault(key, [0, 0])
                vector[place] = max(number, vector[place])
                tree.raised(key, vector, (place,), number)
                low, high = some_range(random)
                within = [value for key, value in points.items() if low <= key and (not high or key < high)]
                assert maximum([0, 0], *tree.over(low, high)) == maximum([0, 0], *within)
            assert len(tree) == len(points.keys() | {b""})
            assert maximum([0, 0], *tree.over(b"", b"\0")) == tuple(points.get(b"", [0, 0]))


@pytest.mark.parametrize("low", [b"", b"000007", b"005000"])
def test_a_range_is_looked_up_at_few_places(low: bytes) -> None:
    tree = PointTree(2, [(b"%06d" % n, [n, 0]) for n in range(20_000)])
    # Two paths of at most four levels; on each level a node's children at one side of it.
    bound = 2 * 4 * keytree.FANOUT
    for high in (None, b"000008", b"010000", b"019999"):
        if high is None or low < high:
            assert 0 < len(tree.over(low, high)) < bound


def test_a_scan_is_added_in_few_steps_though_thousands_of_boundaries_lie_in_it() -> None:
    many, tree = 5_000, SpanTree(2)
    for n in range(many):
        tree.assign(b"%06d" % n, b"%06d+" % n, (0,), n)
    assert len(tree) > 9_000
    wide = lines(lambda: tree.assign(b"000001", None, (0, 1), many))
    assert wide < many / 4
    assert len(tree.over(b"000001", None)) < 2 * 4 * keytree.FANOUT
    assert max(vector[1] for vector in tree.at(b"003333")) == many
    assert all(vector[1] == 0 for vector in tree.at(b"000000+"))
    # What the scan has covered is one segment again.
    assert len(list(tree.segments())) == 1
    assert len(tree.clone()) == 2
