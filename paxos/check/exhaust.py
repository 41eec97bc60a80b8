"""Exhaustive search: every state of a small closed world, visited once.

What to search is a `Scope` (paxos/contract/scope.py): where it begins, what follows a state, what must hold
in every state.  The search is breadth first, so the first state in which something does not hold is one that
no shorter path leads to, and the path is the shortest counterexample there is.

Millions of states must fit in memory.  Of a state that has been expanded three things are kept: its
fingerprint in one set, and in two arrays the number of the state it came from and which of that state's
successors it was.  A path is found again by walking the arrays back to the beginning and doing the same
steps forward.  Whole states are held only of the two levels at which the search stands.

A fingerprint of `bytes` longer than 16 is replaced by its 16-byte BLAKE2b digest.  Two different states of n
then count as one with a probability of at most n * (n - 1) / 2**129, which the result states; any other
fingerprint is kept as it is, and the search is exact.
"""

import hashlib
import time
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import attrs

from paxos.contract.scope import Scope, ScopeMaker, ScopeSettings

__all__ = [
    "Counterexample",
    "OnProgress",
    "Scope",
    "ScopeMaker",
    "ScopeSettings",
    "SearchProgress",
    "SearchResult",
    "search",
]

S = TypeVar("S")

_DIGEST_BYTES: Final = 16
#: New states between two reports of progress.
_REPORT_STATES: Final = 20_000
_BEGINNING: Final = -1


class SearchProgress(NamedTuple):
    """How far a search has come.

    Args:
        states: different states reached.
        waiting: of these, how many were not yet expanded.
        transitions: steps taken.
        depth: steps from the beginning to the states that are being reached.
        elapsed_s: seconds since the search began.
    """

    states: int
    waiting: int
    transitions: int
    depth: int
    elapsed_s: float


#: Is told from time to time how far a search has come.
OnProgress: TypeAlias = Callable[[SearchProgress], object]


@attrs.frozen
class Counterexample:
    """A shortest path to a state in which something does not hold.

    Args:
        invariant: the name of what does not hold.
        what: a sentence naming what broke.
        steps: the path, in words; empty when a state to begin in is broken already.
    """

    invariant: str
    what: str
    steps: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """The path for people: numbered steps, and at the end what they lead to."""
        width = len(str(len(self.steps)))
        steps = (f"{number:>{width}}. {step}" for number, step in enumerate(self.steps, 1))
        return (*steps, f"{' ' * width}  {self.invariant} is broken: {self.what}")

    def to_json(self) -> dict[str, object]:
        """The same as JSON."""
        return {"invariant": self.invariant, "what": self.what, "steps": list(self.steps)}


@attrs.frozen
class SearchResult:
    """What a search found.

    Args:
        title: what was searched.
        states: different states reached.
        transitions: steps from one state to another, those to states reached before included.
        projected: different projections of the states reached; None when nothing was projected.
        depth: steps from the beginning to the farthest states reached.
        elapsed_s: how long it took, seconds.
        finished: whether every state was reached and expanded. A search ends early at its limit, and at the
            first thing that does not hold.
        expected: how many projections there must be, where that is known.
        counterexample: the shortest path to something that does not hold, or None.
        collision_bound: at most this probable is it that two different states were taken for one.
        projections: the projections.
    """

    title: str
    states: int
    transitions: int
    projected: int | None
    depth: int
    elapsed_s: float
    finished: bool
    expected: int | None
    counterexample: Counterexample | None
    collision_bound: float
    projections: frozenset[Hashable] = attrs.field(repr=False)

    @property
    def missed(self) -> bool:
        """Whether the search is complete and found another number of projections than it must."""
        return self.finished and self.expected is not None and self.projected != self.expected

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong. That is a proof only when `finished` is true, too."""
        return self.counterexample is None and not self.missed

    def to_json(self) -> dict[str, object]:
        """The result as JSON, projections left out."""
        found = self.counterexample
        return {
            "scope": self.title,
            "states": self.states,
            "projected": self.projected,
            "expected": self.expected,
            "transitions": self.transitions,
            "depth": self.depth,
            "elapsed_s": round(self.elapsed_s, 3),
            "finished": self.finished,
            "collision_bound": self.collision_bound,
            "ok": None if self.ok and not self.finished else self.ok,
            "counterexample": None if found is None else found.to_json(),
        }


def search(
    scope: Scope[S], limit: int | None = None, progress: OnProgress | None = None, refine: bool = False
) -> SearchResult:
    """Visit every state of `scope`, or as many as `limit` allows, and check what must hold in each.

    Args:
        scope: the closed world.
        limit: the most different states to reach; None for no limit. It bounds memory: a state takes
            roughly 160 bytes when its fingerprint is an int of 16 to 32 bytes.
        progress: called from time to time.
        refine: whether to check each step, too: that it is one which the specification allows. What is not
            is reported under the name "Refinement".
    """
    return _Search(scope, limit, progress, refine).run()


class _Stop(Exception):
    """The search ends before every state was reached."""


class _Search(Generic[S]):
    """One search under way."""

    def __init__(self, scope: Scope[S], limit: int | None, progress: OnProgress | None, refine: bool) -> None:
        self._scope = scope
        self._limit = limit
        self._progress = progress
        self._refine = refine
        self._invariants = tuple(scope.invariants.items())
        self._seen: set[Hashable] = set()
        self._digests = False
        # Of every state, in the order in which they were reached: from which state, by which successor.
        self._parents: array[int] = array("q")
        self._choices: array[int] = array("I")
        self._projections: set[Hashable] = set()
        self._transitions = 0
        self._depth = 0
        self._found: Counterexample | None = None
        self._began_s = time.perf_counter()

    def run(self) -> SearchResult:
        """Search level by level, and say what came of it."""
        finished = True
        try:
            level = self._reach(
                (_BEGINNING, number, state) for number, state in enumerate(self._scope.initial())
            )
            self._expand(level)
        except _Stop:
            finished = False
        count = len(self._parents)
        return SearchResult(
            title=self._scope.title,
            states=count,
            transitions=self._transitions,
            projected=len(self._projections) or None,
            depth=self._depth,
            elapsed_s=time.perf_counter() - self._began_s,
            finished=finished,
            expected=self._scope.expected,
            counterexample=self._found,
            collision_bound=count * (count - 1) / 2.0**129 if self._digests else 0.0,
            projections=frozenset(self._projections),
        )

    def _expand(self, level: list[S]) -> None:
        """Reach everything that can be reached from `level`, the states at one distance."""
        successors = self._scope.successors
        first = 0
        while level:
            self._depth += 1
            steps = (
                (parent, number, after)
                for parent, state in enumerate(level, first)
                for number, (_, after) in enumerate(successors(state))
            )
            following = self._reach(self._refined(level, first, steps) if self._refine else steps)
            first += len(level)
            level = following
        self._depth -= 1

    def _refined(
        self, level: list[S], first: int, steps: Iterable[tuple[int, int, S]]
    ) -> Iterator[tuple[int, int, S]]:
        """The same steps, each checked against the specification."""
        refine = self._scope.refine
        for parent, number, after in steps:
            said = refine(level[parent - first], after)
            if said is not None:
                self._found = self._retrace("Refinement", said, [number], parent)
                raise _Stop
            yield parent, number, after

    def _reach(self, found: Iterable[tuple[int, int, S]]) -> list[S]:
        """Take in states found, each with where it was found from; gives those that are new."""
        seen, fingerprint, project = self._seen, self._scope.fingerprint, self._scope.project
        parents, choices, projections = self._parents, self._choices, self._projections
        limit = self._limit
        new: list[S] = []
        count = 0
        try:
            for parent, number, state in found:
                count += 1
                key = fingerprint(state)
                if key.__class__ is bytes:
                    key = self._digested(key)
                if key in seen:
                    continue
                if limit is not None and len(seen) >= limit:
                    raise _Stop
                seen.add(key)
                parents.append(parent)
                choices.append(number)
                new.append(state)
                projected = project(state)
                if projected is not None:
                    projections.add(projected)
                for name, check in self._invariants:
                    said = check(state)
                    if said is not None:
                        self._found = self._retrace(name, said, (), len(parents) - 1)
                        raise _Stop
                if len(seen) % _REPORT_STATES == 0:
                    self._report(len(new), count)
        finally:
            if self._depth:  # to begin somewhere is no step
                self._transitions += count
        return new

    def _digested(self, key: Hashable) -> Hashable:
        if not isinstance(key, bytes) or len(key) <= _DIGEST_BYTES:
            return key
        self._digests = True
        return hashlib.blake2b(key, digest_size=_DIGEST_BYTES).digest()

    def _report(self, waiting: int, count: int) -> None:
        if self._progress is not None:
            elapsed_s = time.perf_counter() - self._began_s
            transitions = self._transitions + count
            self._progress(SearchProgress(len(self._seen), waiting, transitions, self._depth, elapsed_s))

    def _retrace(self, name: str, what: str, last: Sequence[int], at: int) -> Counterexample:
        """The path to state number `at` and the `last` steps from there, done again from the beginning."""
        numbers = [*last]
        while at != _BEGINNING:
            numbers.append(self._choices[at])
            at = self._parents[at]
        scope: Scope[Any] = self._scope
        state = _at(scope.initial(), numbers.pop())
        steps: list[str] = []
        while numbers:
            action, after = _at(scope.successors(state), numbers.pop())
            steps.append(scope.describe(state, action, after))
            state = after
        return Counterexample(name, what, tuple(steps))


def _at(items: Iterable[Any], number: int) -> Any:
    for at, item in enumerate(items):
        if at == number:
            return item
    raise IndexError(f"a scope that gave {number + 1} items or more gives fewer when asked again")
