"""Quorum systems: which sets of nodes are enough.

A protocol of the Paxos family never asks "did a majority answer?" but "is this set a quorum of that
phase?".  What makes it safe is only how quorums of different phases meet (Howard, Malkhi, Spiegelman,
*Flexible Paxos*, 2016; Lamport, *Fast Paxos*, 2006):

- every phase-1 quorum meets every phase-2 quorum;
- every phase-1 quorum meets every fast quorum, and the *intersection* of any two fast quorums.

Every constructor here proves these rules or refuses and names quorums that break them;
`check_intersections` does the same for a system of your own.

A *smallest* quorum stops being one when any member is taken out.  All answers are exact and deterministic,
and what could take exponential work is bounded: beyond the bound the answer is an error, never a guess.
"""

# ruff: noqa: D102 - an overriding method is documented where it is first defined, in `QuorumSystem`

import abc
import enum
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, combinations, groupby, islice, product
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar

from paxos.ballot import NodeId
from paxos.errors import QuorumError

__all__ = [
    "ExplicitQuorums",
    "FastQuorums",
    "FlexibleQuorums",
    "GridQuorums",
    "Majority",
    "Phase",
    "QuorumSystem",
    "WeightedQuorums",
    "check_intersections",
]

# Limits: members, and smallest quorums listed for a phase; in searches states held, and quorums compared.
MAX_MEMBERS: Final = 1_000
MAX_QUORUMS: Final = 100_000
_MAX_STATES: Final = 100_000
_MAX_COMPARISONS: Final = 50_000_000

# Up to this many members the quorums that are not sizes are kept in tables, so that `is_quorum` costs
# no more than for sizes; and up to this many a user's own system is tried on every set of members.
_TABLE_MEMBERS: Final = 9
_TRIED_MEMBERS: Final = 10

_T = TypeVar("_T")
_Quorums = tuple[frozenset[NodeId], ...]
_Sets = Iterable[Iterable[NodeId]]
_Ids = Iterable[NodeId]


class Phase(enum.Enum):
    """What a quorum is for.  The values are what messages for people call it."""

    ONE = "phase-1"  #: promises: phase 1 of any ballot
    TWO = "phase-2"  #: acceptances: phase 2 of a classic ballot
    FAST = "fast"  #: acceptances: phase 2 of a fast ballot (Fast Paxos)

    if not TYPE_CHECKING:  # or every type that names a Phase counts as partially unknown
        __hash__ = object.__hash__  # in C; Enum's own would cost as much as the rest of `is_quorum`


class QuorumSystem(abc.ABC):
    """Which sets of `members` are quorums, by phase.

    A system of your own sets `members` and implements `is_quorum`; everything else follows from these,
    and may be overridden where you know a quicker way.  Call `check_intersections` on it before use:
    building it proves nothing.  Systems are equal when they have the same type and description.

    Attributes:
        members: node ids (ints from 1), ascending, without duplicates, not empty.
    """

    members: tuple[NodeId, ...]

    @abc.abstractmethod
    def is_quorum(self, nodes: Collection[NodeId], phase: Phase = Phase.TWO) -> bool:
        """Whether the members among `nodes` are a quorum of `phase`.

        It is called for every reply of every protocol.  It must be monotone (a superset of a quorum is
        a quorum), and nodes that are no members, or are named twice, must not count.

        Args:
            nodes: node ids; a set or frozenset is answered fastest, then a dict or its keys, then a list.
            phase: what the quorum is for.

        Raises:
            QuorumError: `phase` is FAST and the system has no fast quorums.  So raises every method.
        """

    def smallest_quorums(self, phase: Phase = Phase.TWO) -> _Quorums:
        """All quorums of `phase` that contain no smaller one, by size and then by ids.

        Raises:
            QuorumError: there are more than `MAX_QUORUMS`, or finding them takes too long.
        """
        return _ordered({quorum for _, quorum in _failures(self, phase) if quorum is not None})

    def survives(self, phase: Phase = Phase.TWO) -> int:
        """The largest k such that after the failure of *any* k members some quorum of `phase` remains.

        Raises:
            QuorumError: finding it takes too long.
        """
        fatal = (failed for failed, left in _failures(self, phase) if left is None)
        return next(fatal, len(self.members) + 1) - 1

    def best_quorum(self, distance: Callable[[NodeId], float], phase: Phase = Phase.TWO) -> frozenset[NodeId]:
        """The smallest quorum of `phase` whose farthest member is nearest.

        Ties go to the least sum of distances, then to the lowest ids (compared as ascending lists).
        Sums are exact; of two infinite sums the one with fewer infinite terms is less.

        Args:
            distance: how far a member is, in any unit: 0 or more, `math.inf` for one out of reach.

        Raises:
            QuorumError: a distance is NaN or negative, or as `smallest_quorums` does.
        """
        costs = _costs(self, distance)

        def rank(quorum: frozenset[NodeId]) -> tuple[float, int, int, list[NodeId]]:
            distances, infinite, exact = zip(*(costs[node] for node in quorum), strict=True)
            return max(distances), sum(infinite), sum(exact), sorted(quorum)

        return min(self.smallest_quorums(phase), key=rank)

    @property
    def has_fast(self) -> bool:
        """Whether `Phase.FAST` may be asked for: whether fast ballots are possible."""
        try:
            return self.is_quorum(self.members, Phase.FAST)
        except QuorumError:
            return False

    @property
    def sizes(self) -> dict[Phase, int]:
        """How many nodes the smallest quorum of each phase has; without `Phase.FAST` if there is none."""
        # Where all are equally far, the least sum of distances is the least number of nodes.
        return {phase: len(self.best_quorum(lambda _: 1.0, phase)) for phase in _phases(self.has_fast)}

    def describe(self) -> str:
        """A canonical text, the same wherever and however an equal system is built.

        Nodes compare it when they meet, so it holds all that distinguishes this system from others of
        its type.  Unless overridden it lists the smallest quorums: `mine(1,2;phase1={1,2};phase2={1}{2})`.
        """
        parts = [_commas(self.members)]
        for phase in _phases(self.has_fast):
            quorums = "".join(f"{{{_commas(sorted(quorum))}}}" for quorum in self.smallest_quorums(phase))
            parts.append(f"{phase.value.replace('-', '')}={quorums}")
        return f"{self._name}({';'.join(parts)})"

    @property
    def _name(self) -> str:
        return type(self).__name__.removesuffix("Quorums").lower()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.describe() == other.describe()

    def __hash__(self) -> int:
        return hash(self.describe())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {_braces(self.members)}>"

    def _within(self, alive: frozenset[NodeId], phase: Phase) -> frozenset[NodeId] | None:
        """Some smallest quorum inside `alive`, or None: while one remains without it, the highest id goes."""
        if not self.is_quorum(alive, phase):
            return None
        for node in sorted(alive, reverse=True):
            if self.is_quorum(alive - {node}, phase):
                alive -= {node}
        return alive


class _GivenQuorums(QuorumSystem, Generic[_T]):
    """A system given by one parameter for each phase, a threshold or a list of sets; it never changes."""

    phase1: _T
    phase2: _T
    fast: _T | None
    _set: frozenset[NodeId]
    _given: dict[Phase, _T]
    _tables: dict[Phase, frozenset[frozenset[NodeId]]]

    def _fill(self, members: tuple[NodeId, ...], phase1: _T, phase2: _T, fast: _T | None) -> None:
        given = {Phase.ONE: phase1, Phase.TWO: phase2} | ({} if fast is None else {Phase.FAST: fast})
        _assign(self, members=members, phase1=phase1, phase2=phase2, fast=fast)
        _assign(self, _set=frozenset(members), _given=given, _tables={})
        if len(members) <= _TABLE_MEMBERS and type(self).is_quorum is _GivenQuorums.is_quorum:
            for phase in given:
                self._tables[phase] = frozenset(h for h in _subsets(members) if self._covers(h, phase))

    def _of(self, phase: Phase) -> _T:
        given = self._given.get(phase)
        return _refuse_phase(self, phase) if given is None else given

    @abc.abstractmethod
    def _covers(self, held: frozenset[NodeId], phase: Phase) -> bool:
        """Whether the members `held` are a quorum, the slow way; refuses phases there are not."""

    def is_quorum(self, nodes: Collection[NodeId], phase: Phase = Phase.TWO) -> bool:
        table = self._tables.get(phase)
        held = self._set.intersection(nodes)
        return held in table if table is not None else self._covers(held, phase)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe():.200}>"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} can not be changed: its quorums are proved to intersect")


class _ThresholdQuorums(_GivenQuorums[int]):
    """Members whose weights add up to a threshold are a quorum."""

    _weights: dict[NodeId, int]

    def _set_up(self, weights: dict[NodeId, int], phase1: int, phase2: int, fast: int | None) -> None:
        total = sum(weights.values())
        for name, threshold in (("phase1", phase1), ("phase2", phase2), ("fast", fast)):
            if threshold is not None:
                _check_range(self, name, threshold, total)
        _assign(self, _weights=weights)
        self._fill(tuple(weights), phase1, phase2, fast)
        _check_thresholds(self)

    def _covers(self, held: frozenset[NodeId], phase: Phase) -> bool:
        return sum(map(self._weights.__getitem__, held)) >= self._of(phase)

    def _heaviest_first(self) -> list[tuple[NodeId, int]]:
        """Members that count.  In this order a set that *just* reached a threshold is a smallest
        quorum: the last one in is the lightest, and without it the threshold was not reached."""
        counting = (item for item in self._weights.items() if item[1])
        return sorted(counting, key=lambda item: (-item[1], item[0]))

    def smallest_quorums(self, phase: Phase = Phase.TWO) -> _Quorums:
        threshold, heavy = self._of(phase), self._heaviest_first()
        behind = [*accumulate((weight for _, weight in reversed(heavy)), initial=0)][::-1]
        found: list[frozenset[NodeId]] = []
        stack: list[tuple[int, int, tuple[NodeId, ...]]] = [(0, 0, ())]
        while stack:
            index, held, chosen = stack.pop()
            if held + behind[index] < threshold:
                continue  # so every path that goes on ends in a quorum, and the work is in proportion
            node, weight = heavy[index]
            stack.append((index + 1, held, chosen))
            if held + weight < threshold:
                stack.append((index + 1, held + weight, (*chosen, node)))
            else:
                found.append(frozenset((*chosen, node)))
                _check_limit(self, len(found), MAX_QUORUMS, f"smallest {phase.value} quorums to list")
        return _ordered(found)

    def describe(self) -> str:
        weights = ",".join(f"{n}:{weight}" if weight != 1 else f"{n}" for n, weight in self._weights.items())
        fast = "" if self.fast is None else f",fast={self.fast}"
        return f"{self._name}({weights};phase1={self.phase1},phase2={self.phase2}{fast})"

    def survives(self, phase: Phase = Phase.TWO) -> int:
        left = accumulate(sorted(self._weights.values()))  # the worst that failures can do: the lightest stay
        threshold = self._of(phase)
        return len(self.members) - next(count for count, held in enumerate(left, 1) if held >= threshold)

    def best_quorum(self, distance: Callable[[NodeId], float], phase: Phase = Phase.TWO) -> frozenset[NodeId]:
        costs, threshold = _costs(self, distance), self._of(phase)
        nearest = sorted(self.members, key=lambda node: costs[node][0])
        reached = accumulate(self._weights[node] for node in nearest)
        radius = next(costs[n][0] for n, held in zip(nearest, reached, strict=True) if held >= threshold)
        # Every quorum inside the radius reaches it, so only the sum and the ids are left to decide: a
        # knapsack, with the best set for every weight short of the threshold.  A set is a number whose
        # highest bit is the lowest id, negative so that less is better; such ranks compare the same
        # before and after the same nodes join, which is what makes keeping one set a weight exact.
        bits = {node: 1 << place for place, node in enumerate(reversed(self.members))}
        short: dict[int, tuple[int, int, int]] = {0: (0, 0, 0)}
        best: list[tuple[int, int, int]] = []
        for node, weight in (item for item in self._heaviest_first() if costs[item[0]][0] <= radius):
            for held, (infinite, exact, chosen) in list(short.items()):
                joined = (infinite + costs[node][1], exact + costs[node][2], chosen - bits[node])
                if held + weight >= threshold:
                    best = [min(joined, *best)] if best else [joined]
                else:
                    short[held + weight] = min(joined, short.get(held + weight, joined))
            if len(short) > _MAX_STATES:
                _fail(self, "the weights are too many and too different to find the best quorum")
        return frozenset(node for node in self.members if -best[0][2] & bits[node])


class WeightedQuorums(_ThresholdQuorums):
    """Members whose weights add up to a threshold (Gifford, *Weighted Voting for Replicated Data*, 1979).

    Thresholds that add up to more than the whole weight always intersect; lower ones are accepted when
    no two (for the fast rule: three) actual quorums are apart, which is found out exactly.

    Args:
        weights: the weight of each member; 0 for one that never counts.
        phase1, phase2: the weight of a quorum; None for the least that is more than half.
        fast: the weight of a fast quorum; None for a system without.

    Raises:
        QuorumError: bad members, weights or thresholds; or quorums that do not intersect, or may not: with
            low thresholds and many different weights that can take too long to find out.
    """

    def __init__(
        self,
        weights: Mapping[NodeId, int],
        phase1: int | None = None,
        phase2: int | None = None,
        fast: int | None = None,
    ) -> None:
        if not isinstance(weights, Mapping):
            _fail(self, f"weights must map node ids to weights, not be {weights!r}")
        ascending = {node: weights[node] for node in _members(self, weights)}
        for node, weight in ascending.items():
            if type(weight) is not int or weight < 0:
                _fail(self, f"the weight of node {node} must be an int from 0, not {weight!r}")
        half = sum(ascending.values()) // 2 + 1
        if not any(ascending.values()):
            _fail(self, "every weight is 0, so nothing could ever be a quorum")
        self._set_up(ascending, half if phase1 is None else phase1, half if phase2 is None else phase2, fast)

    @property
    def weights(self) -> Mapping[NodeId, int]:
        """The weight of each member, by ascending id; read only."""
        return MappingProxyType(self._weights)


class _SizedQuorums(_ThresholdQuorums):
    """Any `phase1`, `phase2` or `fast` members are a quorum."""

    def is_quorum(self, nodes: Collection[NodeId], phase: Phase = Phase.TWO) -> bool:
        size = self._given.get(phase)
        if size is None:
            _refuse_phase(self, phase)
        # Most replies leave their quorum incomplete, and then the length alone says so.
        return len(nodes) >= size and len(self._set.intersection(nodes)) >= size

    def _set_up_fast(self, members: _Ids, classic: int | None, fast: int | None) -> None:
        weights = dict.fromkeys(_members(self, members), 1)
        classic = len(weights) // 2 + 1 if classic is None else classic
        _check_range(self, "classic", classic, len(weights))
        least = (2 * len(weights) - classic) // 2 + 1  # with classic + 2 * fast > 2n
        self._set_up(weights, classic, classic, least if fast is None else fast)


class Majority(_SizedQuorums):
    """More than half of the members, for phase 1 and phase 2 (Lamport, *Paxos Made Simple*, 2001).

    A fast quorum is the smallest size with |Q1| + 2|Q2f| > 2n: 3 of 3, 4 of 5, 6 of 7.

    Args:
        members: node ids, in any order.

    Raises:
        QuorumError: no members, a duplicate, or an id that is no int from 1.
    """

    def __init__(self, members: _Ids) -> None:
        self._set_up_fast(members, None, None)

    def describe(self) -> str:
        return f"majority({_commas(self.members)})"


class FlexibleQuorums(_SizedQuorums):
    """A size for each phase (Howard, Malkhi, Spiegelman, *Flexible Paxos*, 2016).

    Args:
        members: node ids, in any order.
        phase1, phase2: nodes in a quorum; together they must exceed the number n of members.
        fast: nodes in a fast quorum, with phase1 + 2 * fast > 2n; None for a system without.

    Raises:
        QuorumError: bad members or sizes, or sizes whose quorums do not intersect.
    """

    def __init__(self, members: _Ids, phase1: int, phase2: int, fast: int | None = None) -> None:
        self._set_up(dict.fromkeys(_members(self, members), 1), phase1, phase2, fast)


class FastQuorums(_SizedQuorums):
    """One size for both classic phases and one for fast ballots (Lamport, *Fast Paxos*, 2006).

    Args:
        members: node ids, in any order.
        classic: nodes in a phase-1 or phase-2 quorum; None for a majority.
        fast: nodes in a fast quorum; None for the smallest size with classic + 2 * fast > 2n.

    Raises:
        QuorumError: bad members or sizes, or sizes whose quorums do not intersect.
    """

    def __init__(self, members: _Ids, classic: int | None = None, fast: int | None = None) -> None:
        self._set_up_fast(members, classic, fast)


class _ListedQuorums(_GivenQuorums[_Quorums]):
    """A set is a quorum when it contains one of those listed."""

    def smallest_quorums(self, phase: Phase = Phase.TWO) -> _Quorums:
        return self._of(phase)

    def _covers(self, held: frozenset[NodeId], phase: Phase) -> bool:
        return True in map(held.issuperset, self._of(phase))

    def _within(self, alive: frozenset[NodeId], phase: Phase) -> frozenset[NodeId] | None:
        return next(filter(alive.issuperset, self._of(phase)), None)


class GridQuorums(_ListedQuorums):
    """A full row for phase 1, a full column for phase 2 (*Flexible Paxos*, 2016); no fast quorums.

    Args:
        rows: node ids, in rows of one length.  The attribute has the lowest id's row in ascending order,
            then the first column: grids of the same rows and columns, listed differently, are equal.

    Raises:
        QuorumError: bad members, or rows of different lengths.
    """

    rows: tuple[tuple[NodeId, ...], ...]

    def __init__(self, rows: Sequence[Sequence[NodeId]]) -> None:
        grid = [_tuple(self, "a row", row) for row in _tuple(self, "rows", rows)]
        if len({len(row) for row in grid}) > 1:
            _fail(self, f"a grid needs rows of one length, not of {', '.join(str(len(row)) for row in grid)}")
        members = _members(self, [node for row in grid for node in row])
        lead = next(row for row in grid if members[0] in row)
        columns = sorted(range(len(lead)), key=lead.__getitem__)
        grid = sorted(tuple(row[column] for column in columns) for row in grid)
        _assign(self, rows=tuple(grid))
        down, across = _ordered(map(frozenset, grid)), _ordered(map(frozenset, zip(*grid, strict=True)))
        self._fill(members, down, across, None)  # nothing to check: a row and a column always meet

    def survives(self, phase: Phase = Phase.TWO) -> int:
        return len(self._of(phase)) - 1  # one failure in each: they share no member

    def describe(self) -> str:
        return f"grid({'/'.join(map(_commas, self.rows))})"


class ExplicitQuorums(_ListedQuorums):
    """Any sets, listed.

    Args:
        members: node ids, in any order.
        phase1: the phase-1 quorums; what contains one is a quorum too, and is left out if listed.
        phase2: the phase-2 quorums; None for the same as in phase 1.
        fast: the fast quorums; None for a system without.

    Raises:
        QuorumError: bad members, no or empty or unknown quorums, too many, or some do not intersect.
    """

    def __init__(
        self, members: _Ids, phase1: _Sets, phase2: _Sets | None = None, fast: _Sets | None = None
    ) -> None:
        members = _members(self, members)
        one = _listed(self, members, Phase.ONE, phase1)
        two = one if phase2 is None else _listed(self, members, Phase.TWO, phase2)
        self._fill(members, one, two, None if fast is None else _listed(self, members, Phase.FAST, fast))
        _check_sets(self, fast is not None)


def _listed(system: QuorumSystem, members: Collection[NodeId], phase: Phase, quorums: _Sets) -> _Quorums:
    """The smallest of the quorums that a user listed, checked."""
    what, found = f"a {phase.value} quorum", set[frozenset[NodeId]]()
    for given in _tuple(system, f"the {phase.value} quorums", quorums):
        nodes = _tuple(system, what, given)
        if not nodes:
            _fail(system, f"{what} is empty")
        _check_ids(system, nodes, what)
        unknown = sorted(set(nodes).difference(members))
        if unknown:
            _fail(system, f"{what}, {_braces(nodes)}, names {unknown[0]}: no member of {_braces(members)}")
        found.add(frozenset(nodes))
        _check_limit(system, len(found), MAX_QUORUMS, f"smallest {phase.value} quorums to list")
    if not found:
        _fail(system, f"there are no {phase.value} quorums, so nothing could be decided")
    smallest: list[frozenset[NodeId]] = []
    for _, group in groupby(_ordered(found), key=len):  # sets of one size do not contain each other
        alike = list(group)
        _check_limit(system, len(alike) * len(smallest), _MAX_COMPARISONS, "quorums to compare")
        smallest += [quorum for quorum in alike if True not in map(quorum.issuperset, smallest)]
    return tuple(smallest)


# The phases whose quorums must have a common member, without and with fast ballots.
_CLASSIC_RULES: Final[tuple[tuple[Phase, ...], ...]] = ((Phase.ONE, Phase.TWO),)
_FAST_RULES: Final = (*_CLASSIC_RULES, (Phase.ONE, Phase.FAST), (Phase.ONE, Phase.FAST, Phase.FAST))
_OURS: Final = (Majority, FlexibleQuorums, FastQuorums, WeightedQuorums, GridQuorums, ExplicitQuorums)


def check_intersections(system: QuorumSystem, fast: bool = False) -> None:
    """Proves that the quorums of `system` intersect as the protocols need, or refuses.

    Every phase-1 quorum must meet every phase-2 quorum, and with `fast` also every fast quorum and what any
    two of these have in common.  The systems of this module were proved when they were built.  One of your
    own is checked through its `smallest_quorums`, which up to 10 members must agree with its `is_quorum`.

    Args:
        system: any quorum system.
        fast: whether it is to be used for fast ballots.

    Raises:
        QuorumError: naming the quorums that do not intersect; or `system` contradicts itself, has no
            fast quorums, or has too many quorums to be checked.
    """
    if fast and not system.has_fast:
        _refuse_phase(system, Phase.FAST)
    if type(system) not in _OURS:  # a subclass of one of ours is not: it may have overridden anything
        if _members(system, system.members) != system.members:
            _fail(system, f"members must be an ascending tuple, not {system.members!r}")
        for phase in _phases(fast):
            _check_account(system, phase)
        _check_sets(system, fast)


def _phases(fast: bool) -> tuple[Phase, ...]:
    return tuple(Phase) if fast else (Phase.ONE, Phase.TWO)


def _check_sets(system: QuorumSystem, fast: bool) -> None:
    """The rules over all smallest quorums; others only contain more.  What some of them have in common
    meets every quorum of the last phase when the members outside it contain none."""
    everyone = frozenset(system.members)
    for phases in _FAST_RULES if fast else _CLASSIC_RULES:
        *lists, last = (system.smallest_quorums(phase) for phase in phases)
        searched = len(last) if isinstance(system, _ListedQuorums) else 10  # 10: about one `is_quorum`
        combinations_ = math.prod(map(len, lists)) * searched
        _check_limit(system, combinations_, _MAX_COMPARISONS, "combinations of quorums")
        for quorums in product(*lists):
            apart = system._within(everyone.difference(frozenset.intersection(*quorums)), phases[-1])
            if apart is not None:
                _refuse_quorums(system, phases, [*quorums, apart])


def _check_thresholds(system: _ThresholdQuorums) -> None:
    """The rules as packing: quorums have no common member exactly when every member is left out of one
    of them, that is, when all members can be dealt into bins, one for each quorum, such that what
    remains outside a bin still has the weight of its quorum."""
    total, everyone = sum(system._weights.values()), frozenset(system.members)
    for phases in _CLASSIC_RULES if system.fast is None else _FAST_RULES:
        bins = _deal(system, [total - system._of(phase) for phase in phases])
        if bins is not None:
            quorums = [system._within(everyone - out, phase) for out, phase in zip(bins, phases, strict=True)]
            _refuse_quorums(system, phases, [quorum or () for quorum in quorums])


def _deal(system: _ThresholdQuorums, capacities: Sequence[int]) -> list[set[NodeId]] | None:
    """Deals all members into bins, each of at most that weight; None if there is no way to."""
    heavy = system._heaviest_first()
    if sum(capacities) < sum(weight for _, weight in heavy):
        return None  # the usual case: the thresholds alone show that the quorums intersect
    states: dict[tuple[int, ...], tuple[int, ...]] = {(0,) * len(capacities): ()}  # loads: bins so far
    for _, weight in heavy:
        grown: dict[tuple[int, ...], tuple[int, ...]] = {}
        for loads, dealt in states.items():
            for bin_ in reversed(range(len(capacities))):  # so that the first quorum has the first members
                if loads[bin_] + weight <= capacities[bin_]:
                    load = (*loads[:bin_], loads[bin_] + weight, *loads[bin_ + 1 :])
                    grown.setdefault(load, (*dealt, bin_))
        if len(grown) > _MAX_STATES:
            _fail(system, "thresholds this low may leave quorums apart, and that takes too long to find out")
        # Where all weigh the same, one way to go on is as good as any other.
        states = grown if heavy[0][1] != heavy[-1][1] else dict(islice(grown.items(), 1))
    bins: list[set[NodeId]] = [set() for _ in capacities]
    for dealt in islice(states.values(), 1):
        for (node, _), bin_ in zip(heavy, dealt, strict=True):
            bins[bin_].add(node)
    return bins if states else None


def _check_account(system: QuorumSystem, phase: Phase) -> None:
    """Whether a user's `is_quorum` is monotone and tells the same story as its `smallest_quorums`."""
    smallest, members, last = system.smallest_quorums(phase), system.members, system.members[-1]
    if not smallest or not all(quorum and quorum.issubset(members) for quorum in smallest):
        _fail(system, f"the {phase.value} quorums are none, or not all of them are sets of members")
    for nodes in _subsets(members) if len(members) <= _TRIED_MEMBERS else smallest[:MAX_MEMBERS]:
        holds = True in map(nodes.issuperset, smallest)
        disturbed = [*nodes, *nodes, *range(last + 1, last + 1 + len(members))]
        if system.is_quorum(nodes, phase) != holds or system.is_quorum(disturbed, phase) != holds:
            which = f"{_braces(nodes)} in {phase.value}, with duplicates and strangers too"
            _fail(system, f"is_quorum() must be {holds} of {which}, by what smallest_quorums() lists")


def _failures(system: QuorumSystem, phase: Phase) -> Iterator[tuple[int, frozenset[NodeId] | None]]:
    """Fails members in every way that matters, fewest first: (failed, a smallest quorum left or None).

    Only a failure inside the quorum that is left changes anything, so these are the only ones tried;
    and a smallest quorum other than that one lacks some member of it, so every one turns up.
    """
    if not isinstance(phase, Phase):
        _refuse_phase(system, phase)
    states, tried, failed = {frozenset(system.members)}, 0, 0
    while states:
        fewer: set[frozenset[NodeId]] = set()
        for alive in states:
            quorum = system._within(alive, phase)
            yield failed, quorum
            fewer.update(alive - {node} for node in quorum or ())
            if tried + len(fewer) > _MAX_STATES:
                _fail(system, f"too many {phase.value} quorums to search for; override what asks for them")
        states, tried, failed = fewer, tried + len(fewer), failed + 1


def _costs(system: QuorumSystem, distance: Callable[[NodeId], float]) -> dict[NodeId, tuple[float, int, int]]:
    """The distance of each member, and what it adds to a sum: infinite terms, and 2**-1074ths, exactly."""
    if not callable(distance):
        _fail(system, f"best_quorum() takes a function of a node, then a phase; not first {distance!r:.80}")
    costs: dict[NodeId, tuple[float, int, int]] = {}
    for node in system.members:
        value = float(distance(node))
        if not value >= 0:  # NaN compares false with everything
            _fail(system, f"the distance of node {node} must be 0 or more, not {value!r}")
        above, below = (0, 1) if value == math.inf else value.as_integer_ratio()
        costs[node] = (value, int(value == math.inf), above * (2**1074 // below))
    return costs


def _subsets(members: Sequence[NodeId]) -> Iterator[frozenset[NodeId]]:
    for size in range(len(members) + 1):
        yield from map(frozenset, combinations(members, size))


def _assign(system: QuorumSystem, **fields: object) -> None:
    """Sets fields of an instance that never changes, while it is made."""
    for name, value in fields.items():
        object.__setattr__(system, name, value)


def _tuple(system: QuorumSystem, what: str, items: Iterable[_T]) -> tuple[_T, ...]:
    if not isinstance(items, Iterable):
        _fail(system, f"{what} must be a collection, not {items!r}")
    return tuple(items)


def _check_ids(system: QuorumSystem, ids: Collection[NodeId], what: str) -> None:
    seen: set[NodeId] = set()
    for node in ids:
        if type(node) is not int or node < 1:  # True is an int too, and a mistake here
            _fail(system, f"a node id must be an int from 1; {what} has {node!r}")
        if node in seen:
            _fail(system, f"{what} has {node} twice")
        seen.add(node)


def _members(system: QuorumSystem, members: _Ids) -> tuple[NodeId, ...]:
    ids = _tuple(system, "members", members)
    if not 1 <= len(ids) <= MAX_MEMBERS:
        _fail(system, f"there must be from 1 to {MAX_MEMBERS:,} members, not {len(ids):,}")
    _check_ids(system, ids, "the list of members")
    return tuple(sorted(ids))


def _check_range(system: QuorumSystem, what: str, value: int, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        _fail(system, f"{what} must be an int from 1 to {most}, not {value!r}")


def _check_limit(system: QuorumSystem, count: int, most: int, what: str) -> None:
    if count > most:
        _fail(system, f"more than {most:,} {what}; sizes or weights may do instead of sets")


def _refuse_phase(system: QuorumSystem, phase: Phase) -> NoReturn:
    why = "fast ballots need a system that has fast quorums"
    _fail(system, f"there are no quorums for {phase!s:.80}; {why}, and a phase is Phase.ONE, TWO or FAST")


def _refuse_quorums(system: QuorumSystem, phases: Sequence[Phase], quorums: _Sets) -> NoReturn:
    named = [f"{phase.value} {_braces(quorum)}" for phase, quorum in zip(phases, quorums, strict=True)]
    apart = f"{', '.join(named[:-1])} and {named[-1]} are quorums without a common member"
    met = f"every {phases[1].value} quorum" if len(phases) == 2 else "what any two fast quorums share"
    _fail(system, f"{apart}, so two values could be chosen; every phase-1 quorum must meet {met}")


def _fail(system: QuorumSystem, what: str) -> NoReturn:
    raise QuorumError(f"{type(system).__name__}: {what}")


def _ordered(quorums: Iterable[frozenset[NodeId]]) -> _Quorums:
    return tuple(sorted(quorums, key=lambda quorum: (len(quorum), sorted(quorum))))


def _commas(nodes: Iterable[NodeId]) -> str:
    return ",".join(map(str, nodes))


def _braces(nodes: Iterable[NodeId]) -> str:
    return f"{{{', '.join(map(str, sorted(nodes)))}}}"
