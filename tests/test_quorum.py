"""Quorum systems against an oracle: the rule of each, in one line, tried on every set of members.

The oracle knows nothing of the code: a `Rule` says for each phase which sets are quorums, and what is
smallest, what survives, what is best and what does not intersect is found by trying everything.
"""

import copy
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import combinations, product
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos import quorum as quorum_module
from paxos.ballot import NodeId
from paxos.errors import ConfigurationError, QuorumError
from paxos.quorum import (
    ExplicitQuorums,
    FastQuorums,
    FlexibleQuorums,
    GridQuorums,
    Majority,
    Phase,
    QuorumSystem,
    WeightedQuorums,
    check_intersections,
)

pytestmark = pytest.mark.once

Nodes = frozenset[NodeId]
CLASSIC = (Phase.ONE, Phase.TWO)


class Rule(NamedTuple):
    """What a system should be: how it is built, and which sets of its members are quorums."""

    build: Callable[[], QuorumSystem]
    members: tuple[NodeId, ...]
    quorums: Mapping[Phase, Callable[[Nodes], bool]]


class Own(QuorumSystem):
    """A user's system that implements nothing but what it must."""

    def __init__(self, rule: Rule) -> None:
        self.members = rule.members
        self.rule = rule

    def is_quorum(self, nodes: Collection[NodeId], phase: Phase = Phase.TWO) -> bool:
        if phase not in self.rule.quorums:
            raise QuorumError("no fast quorums")
        return self.rule.quorums[phase](frozenset(nodes) & frozenset(self.members))


def subsets(members: Iterable[NodeId]) -> list[Nodes]:
    ids = sorted(members)
    return [frozenset(chosen) for size in range(len(ids) + 1) for chosen in combinations(ids, size)]


def smallest(rule: Rule, phase: Phase) -> list[Nodes]:
    """Quorums without any quorum strictly inside; by size, then by ids, as `subsets` has them."""
    quorums = [nodes for nodes in subsets(rule.members) if rule.quorums[phase](nodes)]
    return [nodes for nodes in quorums if not any(other < nodes for other in quorums)]


def survives(rule: Rule, phase: Phase) -> int:
    everyone = frozenset(rule.members)
    fatal = [failed for failed in subsets(everyone) if not rule.quorums[phase](everyone - failed)]
    return min(len(failed) for failed in fatal) - 1


def apart(rule: Rule, phases: tuple[Phase, ...]) -> bool:
    """Whether quorums of these phases have no common member."""
    return any(
        not frozenset.intersection(*chosen) for chosen in product(*(smallest(rule, p) for p in phases))
    )


def is_safe(rule: Rule) -> bool:
    rules: list[tuple[Phase, ...]] = [CLASSIC]
    if Phase.FAST in rule.quorums:
        rules += [(Phase.ONE, Phase.FAST), (Phase.ONE, Phase.FAST, Phase.FAST)]
    return not any(apart(rule, phases) for phases in rules)


def badness(quorum: Nodes, distances: Mapping[NodeId, float]) -> tuple[float, int, Fraction, list[NodeId]]:
    finite = [Fraction(distances[node]) for node in quorum if distances[node] != math.inf]
    return (
        max(distances[n] for n in quorum),
        len(quorum) - len(finite),
        sum(finite, Fraction()),
        sorted(quorum),
    )


def assert_names_quorums_apart(rule: Rule, message: str) -> None:
    """The sets in the message are quorums of the phases it says, and have no common member."""
    named = [
        (Phase(phase), frozenset(map(int, ids.split(","))))
        for phase, ids in re.findall(r"(phase-1|phase-2|fast) \{([\d, ]+)\}", message)
    ]
    phases = tuple(phase for phase, _ in named)
    assert phases in (CLASSIC, (Phase.ONE, Phase.FAST), (Phase.ONE, Phase.FAST, Phase.FAST)), message
    for phase, nodes in named:
        assert nodes <= set(rule.members), message
        assert rule.quorums[phase](nodes), message
    assert not frozenset.intersection(*(nodes for _, nodes in named)), message


ids = st.integers(1, 30)
member_lists = st.lists(ids, min_size=1, max_size=6, unique=True)


def phases_of(
    one: Callable[[Nodes], bool], two: Callable[[Nodes], bool], fast: Callable[[Nodes], bool] | None
) -> dict[Phase, Callable[[Nodes], bool]]:
    return {Phase.ONE: one, Phase.TWO: two} | ({} if fast is None else {Phase.FAST: fast})


def at_least(threshold: int, weights: Mapping[NodeId, int]) -> Callable[[Nodes], bool]:
    return lambda nodes: sum(weights[node] for node in nodes) >= threshold


def containing(sets: Iterable[Iterable[NodeId]]) -> Callable[[Nodes], bool]:
    frozen = [frozenset(each) for each in sets]
    return lambda nodes: any(each <= nodes for each in frozen)


def threshold_rule(
    build: Callable[[], QuorumSystem], weights: Mapping[NodeId, int], one: int, two: int, fast: int | None
) -> Rule:
    third = None if fast is None else at_least(fast, weights)
    return Rule(
        build, tuple(sorted(weights)), phases_of(at_least(one, weights), at_least(two, weights), third)
    )


@st.composite
def flexible_rules(draw: st.DrawFn) -> Rule:
    members = draw(member_lists)
    sizes = st.integers(1, len(members))
    one, two, fast = draw(sizes), draw(sizes), draw(st.none() | sizes)
    weights = dict.fromkeys(members, 1)
    return threshold_rule(lambda: FlexibleQuorums(members, one, two, fast), weights, one, two, fast)


@st.composite
def fast_rules(draw: st.DrawFn) -> Rule:
    members = draw(member_lists)
    sizes = st.integers(1, len(members))
    classic, fast = draw(sizes), draw(sizes)
    weights = dict.fromkeys(members, 1)
    return threshold_rule(lambda: FastQuorums(members, classic, fast), weights, classic, classic, fast)


@st.composite
def weighted_rules(draw: st.DrawFn) -> Rule:
    weights = draw(st.dictionaries(ids, st.integers(0, 5), min_size=1, max_size=6))
    total = sum(weights.values())
    if total == 0:
        total = weights[min(weights)] = 1
    # Near the half and the three quarters, so that many are just safe or just not.
    near_half = st.integers(max(1, total // 2 - 2), min(total, total // 2 + 2))
    near_most = st.integers(max(1, total * 3 // 4 - 1), total)
    one, two, fast = draw(near_half), draw(near_half), draw(st.none() | near_most)
    return threshold_rule(lambda: WeightedQuorums(weights, one, two, fast), weights, one, two, fast)


@st.composite
def explicit_rules(draw: st.DrawFn) -> Rule:
    members = draw(st.lists(ids, min_size=2, max_size=6, unique=True))
    large = st.sets(st.sampled_from(members), min_size=(len(members) + 1) // 2)
    one, two = draw(st.lists(large, min_size=1, max_size=4)), draw(st.lists(large, min_size=1, max_size=4))
    larger = st.sets(st.sampled_from(members), min_size=max(1, len(members) - 1))
    fast = draw(st.none() | st.lists(larger, min_size=1, max_size=3))
    third = None if fast is None else containing(fast)
    return Rule(
        lambda: ExplicitQuorums(members, one, two, fast),
        tuple(sorted(members)),
        phases_of(containing(one), containing(two), third),
    )


@st.composite
def grid_rules(draw: st.DrawFn) -> Rule:
    down, across = draw(st.sampled_from([(1, 1), (1, 4), (3, 1), (2, 2), (2, 3), (3, 2)]))
    members = draw(st.lists(ids, min_size=down * across, max_size=down * across, unique=True))
    rows = [members[row * across : (row + 1) * across] for row in range(down)]
    columns = [members[column::across] for column in range(across)]
    return Rule(
        lambda: GridQuorums(rows),
        tuple(sorted(members)),
        phases_of(containing(rows), containing(columns), None),
    )


@st.composite
def majority_rules(draw: st.DrawFn) -> Rule:
    members = draw(member_lists)
    count = len(members)
    half = count // 2 + 1
    fast = min(size for size in range(1, count + 1) if half + 2 * size > 2 * count)
    return threshold_rule(lambda: Majority(members), dict.fromkeys(members, 1), half, half, fast)


KINDS: dict[str, st.SearchStrategy[Rule]] = {
    "majority": majority_rules(),
    "flexible": flexible_rules(),
    "fast": fast_rules(),
    "weighted": weighted_rules(),
    "explicit": explicit_rules(),
    "grid": grid_rules(),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def drawn_systems(data: st.DataObject, kind: str) -> Iterator[tuple[Rule, QuorumSystem]]:
    """A safe system and, by the same rule, one of a user's own; nothing if the rule is not safe."""
    rule = data.draw(KINDS[kind])
    if is_safe(rule):
        yield rule, rule.build()
        yield rule, Own(rule)


@every_kind
@given(data=st.data())
def test_refused_exactly_when_quorums_are_apart_and_such_quorums_are_named(kind: str, data: st.DataObject):
    rule = data.draw(KINDS[kind])
    if is_safe(rule):
        system = rule.build()
        assert system.members == rule.members
        check_intersections(system, fast=system.has_fast)
        check_intersections(Own(rule), fast=Phase.FAST in rule.quorums)
        return
    with pytest.raises(QuorumError) as refused:
        rule.build()
    assert_names_quorums_apart(rule, str(refused.value))
    with pytest.raises(QuorumError) as refused_own:
        check_intersections(Own(rule), fast=Phase.FAST in rule.quorums)
    assert_names_quorums_apart(rule, str(refused_own.value))


@every_kind
@given(data=st.data())
def test_a_set_is_a_quorum_when_the_rule_says_so(kind: str, data: st.DataObject):
    for rule, system in drawn_systems(data, kind):
        strangers = [max(rule.members) + 1, max(rule.members) + 2]
        for phase, nodes in product(rule.quorums, subsets(rule.members)):
            expected = rule.quorums[phase](nodes)
            assert expected == any(each <= nodes for each in system.smallest_quorums(phase))
            several: list[Collection[NodeId]] = [nodes, set(nodes), [*nodes, *nodes], [*strangers, *nodes]]
            several += [dict.fromkeys(nodes), dict.fromkeys(nodes).keys(), nodes.union(strangers)]
            for asked in several:
                assert system.is_quorum(asked, phase) is expected
            assert system.is_quorum(nodes) is rule.quorums[Phase.TWO](nodes)


@every_kind
@given(data=st.data())
def test_the_smallest_quorums_are_those_without_a_smaller_one(kind: str, data: st.DataObject):
    for rule, system in drawn_systems(data, kind):
        for phase in rule.quorums:
            assert list(system.smallest_quorums(phase)) == smallest(rule, phase)
        sizes = {phase: min(map(len, smallest(rule, phase))) for phase in rule.quorums}
        assert system.sizes == sizes
        assert system.has_fast == (Phase.FAST in rule.quorums)


@every_kind
@given(data=st.data())
def test_it_survives_as_many_failures_as_trying_all_says(kind: str, data: st.DataObject):
    for rule, system in drawn_systems(data, kind):
        for phase in rule.quorums:
            assert system.survives(phase) == survives(rule, phase)


@every_kind
@given(data=st.data())
def test_the_best_quorum_is_the_best_of_all(kind: str, data: st.DataObject):
    # Few values, for ties; and such that sums in floats are wrong: 0.1 + 0.2 > 0.3, 1e16 + 1.0 == 1e16.
    distance = st.sampled_from([0, 0.1, 0.2, 0.3, 1.0, 1e16, 5e-324, 1e308, math.inf]) | st.floats(0, 100)
    for rule, system in drawn_systems(data, kind):
        distances = {node: data.draw(distance, label=f"distance of {node}") for node in rule.members}
        for phase in rule.quorums:
            best = min(smallest(rule, phase), key=lambda quorum: badness(quorum, distances))
            assert system.best_quorum(distances.__getitem__, phase) == best


@every_kind
@given(data=st.data())
def test_a_copy_is_equal_wherever_it_is_made(kind: str, data: st.DataObject):
    rule = data.draw(KINDS[kind])
    if not is_safe(rule):
        rule = majority_rule_of(rule.members)
    system = rule.build()
    sent = ForkingPickler.loads(ForkingPickler.dumps(system))  # as a process pool sends it
    for other in (rule.build(), copy.deepcopy(system), copy.copy(system), sent):
        assert other == system
        assert hash(other) == hash(system)
        assert repr(other) == repr(system)
        assert other.describe() == system.describe()
        for nodes in subsets(rule.members):
            assert other.is_quorum(nodes, Phase.ONE) == rule.quorums[Phase.ONE](nodes)


def majority_rule_of(members: tuple[NodeId, ...]) -> Rule:
    half, weights = len(members) // 2 + 1, dict.fromkeys(members, 1)
    return threshold_rule(lambda: Majority(members), weights, half, half, None)


@given(member_lists, st.randoms(use_true_random=False))
def test_the_order_in_which_a_system_is_written_does_not_matter(members: list[NodeId], random: Any):
    shuffled = random.sample(members, len(members))
    sets = [random.sample(members, len(members) // 2 + 1) for _ in range(3)] + [members]
    assert Majority(shuffled) == Majority(members)
    assert FastQuorums(shuffled) == FastQuorums(members)
    assert WeightedQuorums({n: n for n in shuffled}) == WeightedQuorums({n: n for n in members})
    assert ExplicitQuorums(shuffled, map(reversed, reversed(sets))) == ExplicitQuorums(members, sets, sets)


@pytest.mark.parametrize(
    ("system", "text"),
    [
        (Majority([3, 1, 2]), "majority(1,2,3)"),
        (FlexibleQuorums([1, 2, 3, 4], 3, 2), "flexible(1,2,3,4;phase1=3,phase2=2)"),
        (FlexibleQuorums([1, 2, 3, 4], 4, 2, 3), "flexible(1,2,3,4;phase1=4,phase2=2,fast=3)"),
        (FastQuorums([1, 2, 3]), "fast(1,2,3;phase1=2,phase2=2,fast=3)"),
        (GridQuorums([[4, 3], [2, 1]]), "grid(1,2/3,4)"),
        (WeightedQuorums({2: 1, 1: 2, 3: 0}), "weighted(1:2,2,3:0;phase1=2,phase2=2)"),
        (WeightedQuorums({1: 1, 2: 1}, 2, 1, 2), "weighted(1,2;phase1=2,phase2=1,fast=2)"),
        (ExplicitQuorums([1, 2], [[1, 2], [2]], [[2]]), "explicit(1,2;phase1={2};phase2={2})"),
        (ExplicitQuorums([1, 2], [[1]], fast=[[2, 1]]), "explicit(1,2;phase1={1};phase2={1};fast={1,2})"),
        (Own(majority_rule_of((1, 2))), "own(1,2;phase1={1,2};phase2={1,2})"),
    ],
)
def test_the_description_is_canonical(system: QuorumSystem, text: str):
    assert system.describe() == text
    assert hash(system) == hash(system)


def test_equal_means_the_same_kind_and_the_same_description():
    systems: list[QuorumSystem] = [
        Majority([1, 2, 3]),
        Majority([1, 2, 4]),
        FlexibleQuorums([1, 2, 3], 2, 2),
        FlexibleQuorums([1, 2, 3], 3, 1),
        FlexibleQuorums([1, 2, 3], 2, 2, 3),
        FastQuorums([1, 2, 3]),
        GridQuorums([[1, 2], [3, 4]]),
        GridQuorums([[1, 3], [2, 4]]),
        WeightedQuorums({1: 1, 2: 1, 3: 1}),
        WeightedQuorums({1: 1, 2: 1, 3: 0}),
        ExplicitQuorums([1, 2, 3], [[1, 2]]),
        ExplicitQuorums([1, 2, 3], [[1]]),
        Own(majority_rule_of((1, 2, 3))),
    ]
    assert len(set(systems)) == len(systems)
    assert all((a == b) == (a is b) for a, b in product(systems, systems))
    assert Majority([1]) != "majority(1)"
    assert Own(majority_rule_of((1, 2))) == Own(majority_rule_of((1, 2)))
    # The same rows and the same columns, listed in another order.
    assert GridQuorums([[1, 2, 3], [4, 5, 6]]) == GridQuorums([[6, 4, 5], [3, 1, 2]])
    assert GridQuorums([[1, 2, 3], [4, 5, 6]]) != GridQuorums([[1, 2, 3], [5, 4, 6]])


def test_a_repr_shows_the_system_and_stays_short():
    assert repr(Majority([1, 2, 3])) == "<Majority majority(1,2,3)>"
    assert repr(Own(majority_rule_of((1, 2)))) == "<Own over {1, 2}>"
    assert len(repr(Majority(range(1, 500)))) < 250


def test_the_sizes_are_attributes_and_nothing_can_be_changed():
    system = FlexibleQuorums([1, 2, 3, 4], phase1=3, phase2=2)
    assert (system.phase1, system.phase2, system.fast) == (3, 2, None)
    weighted = WeightedQuorums({2: 5, 1: 0})
    assert dict(weighted.weights) == {1: 0, 2: 5}
    assert GridQuorums([[4, 3], [2, 1]]).rows == ((1, 2), (3, 4))
    assert ExplicitQuorums([1, 2], [[1]]).phase1 == (frozenset({1}),)
    with pytest.raises(AttributeError, match="can not be changed"):
        system.phase2 = 1
    with pytest.raises(TypeError):
        weighted.weights[1] = 3  # type: ignore[index]


@pytest.mark.parametrize(
    ("count", "classic", "fast"),
    [(1, 1, 1), (2, 2, 2), (3, 2, 3), (4, 3, 3), (5, 3, 4), (6, 4, 5), (7, 4, 6), (9, 5, 7), (11, 6, 9)],
)
def test_the_fast_quorums_of_majorities(count: int, classic: int, fast: int):
    members = range(1, count + 1)
    expected = {Phase.ONE: classic, Phase.TWO: classic, Phase.FAST: fast}
    assert FastQuorums(members).sizes == expected
    assert Majority(members).sizes == expected
    assert FastQuorums(members, classic, fast) == FastQuorums(members)
    assert Majority(members).survives(Phase.FAST) == count - fast
    assert FastQuorums(members, classic=count).fast == count // 2 + 1
    if fast > 1:  # and one less is refused
        with pytest.raises(QuorumError, match="fast"):
            FastQuorums(members, fast=fast - 1)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: FlexibleQuorums([1, 2, 3, 4], 2, 2), "phase-1 {1, 2} and phase-2 {3, 4}"),
        (lambda: FlexibleQuorums([7, 5, 9], 1, 2), "phase-1 {5} and phase-2 {7, 9}"),
        (lambda: FlexibleQuorums([1, 2, 3, 4], 2, 3, 2), "phase-1 {1, 2} and fast {3, 4}"),
        (lambda: FastQuorums([1, 2, 3], fast=2), "phase-1 {1, 2}, fast {1, 3} and fast {2, 3}"),
        (lambda: WeightedQuorums({1: 2, 2: 1, 3: 1}, 2, 2), "phase-1 {1} and phase-2 {2, 3}"),
        (lambda: WeightedQuorums({1: 4, 2: 4, 3: 3, 4: 3, 5: 2, 6: 2}, 9, 9), "and phase-2 {2, 4, 6}"),
        (lambda: ExplicitQuorums([1, 2, 3], [[2, 1]], [[1, 2], [3]]), "phase-1 {1, 2} and phase-2 {3}"),
    ],
)
def test_the_refusal_names_the_quorums(build: Callable[[], QuorumSystem], named: str):
    with pytest.raises(QuorumError) as refused:
        build()
    assert named in str(refused.value)
    assert "every phase-1 quorum must meet" in str(refused.value)


def test_low_thresholds_are_fine_when_no_actual_quorums_are_apart():
    # 4 + 5 is not more than 9, but a quorum of either phase has two of three members.
    assert WeightedQuorums({1: 3, 2: 3, 3: 3}, 4, 5).survives() == 1
    # 7 + 2 * 7 is not more than 2 * 12, but a quorum of any phase has three of four members.
    assert WeightedQuorums({1: 3, 2: 3, 3: 3, 4: 3}, 7, 7, 7).has_fast


@pytest.mark.parametrize(
    "system",
    [
        FlexibleQuorums([1, 2, 3], 2, 2),
        GridQuorums([[1, 2], [3, 4]]),
        GridQuorums([range(1, 6), range(6, 11)]),
        WeightedQuorums({1: 1, 2: 1}),
        WeightedQuorums(dict.fromkeys(range(1, 12), 1)),
        ExplicitQuorums([1, 2, 3], [[1, 2]]),
    ],
    ids=str,
)
def test_without_fast_quorums_whoever_asks_for_them_is_told(system: QuorumSystem):
    asked: list[Callable[[], object]] = [
        lambda: system.is_quorum({1, 2, 3}, Phase.FAST),
        lambda: system.is_quorum([], Phase.FAST),
        lambda: system.smallest_quorums(Phase.FAST),
        lambda: system.survives(Phase.FAST),
        lambda: system.best_quorum(float, Phase.FAST),
        lambda: check_intersections(system, fast=True),
    ]
    assert not system.has_fast
    check_intersections(system)
    for ask in asked:
        with pytest.raises(QuorumError, match=r"no quorums for Phase\.FAST; fast ballots need"):
            ask()


@pytest.mark.parametrize("phase", [2, "phase-2", None])
def test_what_is_no_phase_is_refused(phase: Any):
    for system in (Majority([1, 2, 3]), GridQuorums([[1, 2]]), WeightedQuorums({1: 1})):
        with pytest.raises(QuorumError, match="no quorums for"):
            system.is_quorum({1, 2}, phase)


BAD_MEMBERS: dict[str, tuple[Any, str]] = {
    "none": ([], "from 1 to 1,000 members, not 0"),
    "too many": (range(1, 1002), "from 1 to 1,000 members, not 1,001"),
    "twice": ([1, 2, 1], "has 1 twice"),
    "zero": ([0, 1], "int from 1; the list of members has 0"),
    "negative": ([-1], "has -1"),
    "bool": ([True, 2], "has True"),
    "float": ([1.0, 2], "has 1.0"),
    "text": ("12", "has '1'"),
    "nothing": (None, "members must be a collection, not None"),
    "a count": (3, "members must be a collection, not 3"),
}
BUILDERS: dict[str, Callable[[Any], QuorumSystem]] = {
    "Majority": Majority,
    "FlexibleQuorums": lambda members: FlexibleQuorums(members, 1, 1),
    "FastQuorums": FastQuorums,
    "ExplicitQuorums": lambda members: ExplicitQuorums(members, [[1]]),
}


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("case", BAD_MEMBERS)
def test_bad_members_are_refused(builder: str, case: str):
    members, message = BAD_MEMBERS[case]
    with pytest.raises(QuorumError, match=re.escape(message)) as refused:
        BUILDERS[builder](members)
    assert str(refused.value).startswith(f"{builder}: ")
    assert isinstance(refused.value, ConfigurationError)
    assert isinstance(refused.value, ValueError)


BAD: dict[str, tuple[Callable[..., QuorumSystem], tuple[Any, ...], str]] = {
    "size 0": (FlexibleQuorums, ([1, 2, 3], 0, 3), "phase1 must be an int from 1 to 3, not 0"),
    "size above n": (FlexibleQuorums, ([1, 2, 3], 3, 4), "phase2 must be an int from 1 to 3, not 4"),
    "size bool": (FlexibleQuorums, ([1, 2, 3], 3, True), "phase2 must be an int from 1 to 3, not True"),
    "size float": (FlexibleQuorums, ([1, 2, 3], 2.0, 2), "phase1 must be an int from 1 to 3, not 2.0"),
    "classic 0": (FastQuorums, ([1, 2, 3], 0), "classic must be an int from 1 to 3, not 0"),
    "classic text": (FastQuorums, ([1, 2, 3], "2"), "classic must be an int from 1 to 3, not '2'"),
    "classic low": (FastQuorums, ([1, 2, 3, 4], 2), "phase-1 {1, 2} and phase-2 {3, 4}"),
    "fast 0": (FastQuorums, ([1, 2, 3], 2, 0), "fast must be an int from 1 to 3, not 0"),
    "no rows": (GridQuorums, ([],), "from 1 to 1,000 members, not 0"),
    "empty rows": (GridQuorums, ([[], []],), "from 1 to 1,000 members, not 0"),
    "ragged": (GridQuorums, ([[1, 2], [3]],), "rows of one length, not of 2, 1"),
    "grid twice": (GridQuorums, ([[1, 2], [2, 3]],), "has 2 twice"),
    "grid bool": (GridQuorums, ([[True, 2]],), "has True"),
    "grid flat": (GridQuorums, ([1, 2],), "a row must be a collection, not 1"),
    "no weights": (WeightedQuorums, ({},), "from 1 to 1,000 members, not 0"),
    "weights list": (WeightedQuorums, ([1, 2],), "weights must map node ids to weights, not be [1, 2]"),
    "weight negative": (WeightedQuorums, ({1: 1, 2: -1},), "weight of node 2 must be an int from 0, not -1"),
    "weight float": (WeightedQuorums, ({1: 1.5},), "weight of node 1 must be an int from 0, not 1.5"),
    "weight bool": (WeightedQuorums, ({1: True},), "weight of node 1 must be an int from 0, not True"),
    "all zero": (WeightedQuorums, ({1: 0, 2: 0},), "every weight is 0"),
    "threshold 0": (WeightedQuorums, ({1: 1, 2: 2}, 0, 3), "phase1 must be an int from 1 to 3, not 0"),
    "threshold high": (WeightedQuorums, ({1: 1, 2: 2}, 4), "phase1 must be an int from 1 to 3, not 4"),
    "threshold bool": (WeightedQuorums, ({1: 1}, True), "phase1 must be an int from 1 to 1, not True"),
    "threshold fast": (WeightedQuorums, ({1: 1}, 1, 1, 2), "fast must be an int from 1 to 1, not 2"),
    "unknown": (ExplicitQuorums, ([1, 2], [[1, 9]]), "{1, 9}, names 9: no member of {1, 2}"),
    "unknown two": (ExplicitQuorums, ([1, 2], [[1]], [[1], [3]]), "a phase-2 quorum, {3}, names 3"),
    "unknown fast": (ExplicitQuorums, ([1, 2], [[1]], None, [[8]]), "a fast quorum, {8}, names 8"),
    "empty quorum": (ExplicitQuorums, ([1, 2], [[1], []]), "a phase-1 quorum is empty"),
    "no quorums": (ExplicitQuorums, ([1, 2], []), "there are no phase-1 quorums"),
    "no quorums fast": (ExplicitQuorums, ([1, 2], [[1]], [[1]], []), "there are no fast quorums"),
    "quorum twice": (ExplicitQuorums, ([1, 2], [[1, 1]]), "a phase-1 quorum has 1 twice"),
    "quorum bool": (ExplicitQuorums, ([1, 2], [[True]]), "a phase-1 quorum has True"),
    "quorum flat": (ExplicitQuorums, ([1, 2], [1, 2]), "a phase-1 quorum must be a collection, not 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_parameters_are_refused(case: str):
    build, arguments, message = BAD[case]
    with pytest.raises(QuorumError, match=re.escape(message)):
        build(*arguments)


@pytest.mark.parametrize("value", [math.nan, -1.0, -math.inf])
@pytest.mark.parametrize(
    "system", [Majority([1, 2, 3]), WeightedQuorums({1: 1, 2: 1, 3: 1}), GridQuorums([[1, 2, 3]])], ids=str
)
def test_a_distance_that_is_none_is_refused(system: QuorumSystem, value: float):
    with pytest.raises(QuorumError, match=f"the distance of node 3 must be 0 or more, not {value}"):
        system.best_quorum(lambda node: value if node == 3 else 1.0)


class Fault(NamedTuple):
    """A way in which a user's system is wrong, as a subclass, and what is said of it."""

    members: tuple[NodeId, ...]
    is_quorum: Callable[[tuple[NodeId, ...], Collection[NodeId]], bool]
    smallest: list[set[NodeId]] | None
    message: str


def more_than_half(members: tuple[NodeId, ...], nodes: Collection[NodeId]) -> bool:
    return 2 * len(set(nodes) & set(members)) > len(members)


def counted(members: tuple[NodeId, ...], nodes: Collection[NodeId]) -> bool:
    return len([node for node in nodes if node in members]) > 1


HALF = more_than_half
FAULTS: dict[str, Fault] = {
    "accepts more": Fault(
        (1, 2, 3), lambda _, nodes: len({1, 2} & {*nodes}) == 1, [{1}], "must be False of {2}"
    ),
    "denies all": Fault((1, 2), lambda _, nodes: {1, 2} & {*nodes} == {1}, [{1}], "must be True of {1, 2}"),
    "counts strangers": Fault((1, 2, 3), lambda _, nodes: len(set(nodes)) > 1, None, "strangers"),
    "counts duplicates": Fault((1, 2, 3), counted, None, "duplicates"),
    "lists too few": Fault((1, 2, 3), HALF, [{1, 2}], "must be False of {1, 3} in phase-1"),
    "lists too much": Fault((1, 2, 3), HALF, [{1}, {2, 3}], "must be True of {1} in phase-1"),
    "lists none": Fault((1, 2, 3), HALF, [], "the phase-1 quorums are none"),
    "lists the empty set": Fault((1, 2, 3), HALF, [set()], "not all of them are sets of members"),
    "lists strangers": Fault((1, 2, 3), HALF, [{1, 9}], "not all of them are sets of members"),
    "never": Fault((1, 2, 3), lambda _, nodes: False, None, "the phase-1 quorums are none"),
    "always": Fault((1, 2, 3), lambda _, nodes: True, None, "not all of them are sets of members"),
    "members unsorted": Fault((2, 1), HALF, None, "must be an ascending tuple, not (2, 1)"),
    "members none": Fault((), HALF, None, "from 1 to 1,000 members"),
    "apart": Fault((1, 2), lambda _, nodes: bool({1, 2} & {*nodes}), None, "phase-1 {1} and phase-2 {2}"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_system_of_ones_own_is_not_believed(case: str):
    fault = FAULTS[case]

    class Faulty(QuorumSystem):
        members = fault.members

        def is_quorum(self, nodes: Collection[NodeId], phase: Phase = Phase.TWO) -> bool:
            return fault.is_quorum(self.members, nodes)

        def smallest_quorums(self, phase: Phase = Phase.TWO) -> tuple[Nodes, ...]:
            listed = fault.smallest
            return super().smallest_quorums(phase) if listed is None else tuple(map(frozenset, listed))

    with pytest.raises(QuorumError, match=re.escape(fault.message)):
        check_intersections(Faulty())


def test_a_subclass_of_ours_is_checked_like_ones_own():
    class Sloppy(Majority):
        def is_quorum(self, nodes: Collection[NodeId], phase: Phase = Phase.TWO) -> bool:
            return bool(self._set.intersection(nodes))

    class Plain(FastQuorums):
        pass

    with pytest.raises(QuorumError, match="Sloppy: is_quorum"):
        check_intersections(Sloppy([1, 2, 3]))
    check_intersections(Plain(range(1, 6)), fast=True)
    assert Plain([1, 2, 3]) != FastQuorums([1, 2, 3])


def test_large_systems_by_size_and_weight_answer_all_but_the_list():
    members = range(1, 31)
    sized, weighted = Majority(members), WeightedQuorums({node: 1 + node % 2 for node in members})
    assert sized.best_quorum(lambda node: abs(node - 10)) == set(range(2, 18))
    # Of a weight of 45 it takes 23: from 3 to 17 is 23, and without an odd end too little.
    assert weighted.best_quorum(lambda node: abs(node - 10)) == set(range(3, 18))
    assert [system.sizes[Phase.TWO] for system in (sized, weighted)] == [16, 12]
    assert [system.survives() for system in (sized, weighted)] == [14, 11]
    for system in (sized, weighted):
        with pytest.raises(QuorumError, match=r"more than 100,000 smallest phase-2 quorums"):
            system.smallest_quorums()


@pytest.mark.parametrize("count", [10, 12])
def test_beyond_the_tables_the_answers_are_the_same(count: int):
    members = range(1, count + 1)
    sized = FlexibleQuorums(members, count - 2, 3)
    same: list[QuorumSystem] = [
        WeightedQuorums(dict.fromkeys(members, 2), 2 * (count - 2), 6),
        ExplicitQuorums(members, combinations(members, count - 2), combinations(members, 3)),
    ]
    for system, phase in product(same, CLASSIC):
        assert system.smallest_quorums(phase) == sized.smallest_quorums(phase)
        assert system.survives(phase) == sized.survives(phase)
        assert system.best_quorum(float, phase) == sized.best_quorum(float, phase)
        for size in range(count + 1):
            nodes = frozenset(range(count - size + 1, count + 3))
            assert system.is_quorum(nodes, phase) == sized.is_quorum(nodes, phase)
    grid = GridQuorums([range(1, 6), range(6, 11), range(11, 16)])
    assert [grid.survives(phase) for phase in CLASSIC] == [2, 4]
    assert grid.is_quorum(range(5, 12), Phase.ONE)
    assert not grid.is_quorum(set(range(1, 16)) - {1, 7, 13}, Phase.ONE)
    assert grid.is_quorum(set(range(1, 16)) - {1, 7, 13}, Phase.TWO)


def test_a_large_refusal_names_the_quorums_too():
    members = range(1, 301)
    rule = threshold_rule(
        lambda: FlexibleQuorums(members, 151, 150, 220), dict.fromkeys(members, 1), 151, 150, 220
    )
    with pytest.raises(QuorumError) as refused:
        rule.build()
    assert_names_quorums_apart(rule, str(refused.value))
    weights = {node: node for node in range(1, 41)}
    rule = threshold_rule(lambda: WeightedQuorums(weights, 410, 410), weights, 410, 410, None)
    with pytest.raises(QuorumError) as refused:
        rule.build()
    assert_names_quorums_apart(rule, str(refused.value))


def test_searches_are_bounded(monkeypatch: pytest.MonkeyPatch):
    members = range(1, 9)
    own = Own(majority_rule_of(tuple(members)))
    explicit = ExplicitQuorums(members, combinations(members, 5))
    weighted = WeightedQuorums({node: 2**node for node in members})
    with monkeypatch.context() as patch:
        patch.setattr(quorum_module, "_MAX_STATES", 20)
        for search in (own.smallest_quorums, own.survives, explicit.survives):
            with pytest.raises(QuorumError, match="too many phase-2 quorums to search"):
                search()
        with pytest.raises(QuorumError, match="takes too long to find out"):
            WeightedQuorums(weighted.weights, 200, 200)
        with pytest.raises(QuorumError, match="too many and too different"):
            weighted.best_quorum(lambda node: 1.0, Phase.ONE)
    with monkeypatch.context() as patch:
        patch.setattr(quorum_module, "_MAX_COMPARISONS", 1000)
        with pytest.raises(QuorumError, match="more than 1,000 combinations of quorums"):
            ExplicitQuorums(members, combinations(members, 5))
        with pytest.raises(QuorumError, match="more than 1,000 quorums to compare"):
            ExplicitQuorums(members, [*combinations(members, 4), *combinations(members, 5)])
    with monkeypatch.context() as patch:
        patch.setattr(quorum_module, "MAX_QUORUMS", 20)
        with pytest.raises(QuorumError, match="more than 20 smallest phase-1 quorums"):
            ExplicitQuorums(members, combinations(members, 5))
        with pytest.raises(QuorumError, match="more than 20 smallest phase-1 quorums"):
            Majority(members).smallest_quorums(Phase.ONE)
    check_intersections(own)
