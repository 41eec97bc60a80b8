"""The search for an order: just-in-time linearization, with memory.

Operations are looked at in the order in which they *returned*.  When one returns, it must have taken effect,
so this is the moment at which orders part: either it took effect by now, or it does now, after any choice of
the others that are under way.  None is made to take effect before that is needed (just in time), which keeps
the number of cases small.  What is left to remember of a case, a *configuration*, is the state, and which of
the operations still under way have taken effect: two orders that lead to the same configuration have the
same future, so each is followed once.

Six things make it fast, and none changes the answer.

- Sets of operations are bits of an int. Only operations under way have a bit, so ints stay small.
- An operation that only reads takes effect as soon as it fits: having it behind one is never worse.
- One that may take effect but need not (its outcome is unknown) and would change nothing, does not.
- Of two configurations that differ only in such operations, the one that has used fewer of them can do
  whatever the other can, and the other is dropped.
- Before one that returns, only those are tried that share a key with it, or with another that does: the
  order of the rest makes no difference to it. (A pending scan shares keys with all.)
- Of two operations with unknown outcomes that ask the same, the one called first goes first: they can stand
  in for each other.

Operations meet at equal times.  Then nobody knows which came first, so a call counts as before a return: no
violation is ever seen for want of a finer clock.  Only where one client does one thing after another, its
own order stands.

Sources: Wing and Gong, "Testing and verifying concurrent objects", JPDC 17 (1993): the search; Lowe,
"Testing for linearizability", CCPE 29 (2017): just-in-time linearization, configurations remembered.
"""

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from paxos.check.history import HistoryError, Operation
from paxos.check.models import Model

__all__ = [
    "NEVER",
    "Found",
    "Round",
    "Span",
    "orderly_clients",
    "own_order",
    "rounds_of",
    "search",
    "spans_of",
]

#: The return of an operation whose outcome is unknown, as a place among calls and returns.
NEVER: Final = 1 << 60
#: For each configuration that may be visited, so many may be met that were met before, and cost time as well.
_TRIES: Final = 20


class Span(NamedTuple):
    """Where an operation's call and return stand among all calls and returns of its history.

    Args:
        call: place of its call.
        back: place of its return; `NEVER` for an unknown outcome.
        after: the index of the operation before it, of the same client, that returned at the very time of
            this one's call; -1 for none.
    """

    call: int
    back: int
    after: int


class _Pending(NamedTuple):
    """An operation under way, by its index.

    `need` is the bit of a required one that goes before it, `alike` that of an option; 0 for none.
    """

    which: int
    bit: int
    need: int
    alike: int = 0


_Several = tuple[_Pending, ...]


class Round(NamedTuple):
    """One return, and who was under way then.

    Args:
        which: the index of the operation that returns.
        bit: its bit, in the set of its kind.
        required: whether it must have taken effect. One that is not may have done so until now.
        reads: the required ones under way that only read.
        writes: the other required ones, soonest return first.
        options: those that need not take effect.
        place: where the return stands.
    """

    which: int
    bit: int
    required: bool
    reads: _Several
    writes: _Several
    options: _Several
    place: int


def spans_of(operations: Sequence[Operation], after: Mapping[int, int] | None = None) -> list[Span]:
    """The places of calls and returns, by index.

    Args:
        operations: in any order; at equal times, what one client did stands in its order.
        after: what `own_order` gave; None to find it here.
    """
    # Of returns at one time, that of the first call comes first, so that one client's come in its order.
    events: list[tuple[float, int, float, int]] = []
    for index, operation in enumerate(operations):
        events.append((operation.call_s, 0, operation.call_s, index))
        if operation.return_s is not None:
            events.append((operation.return_s, 1, operation.call_s, index))
    events.sort()
    places: dict[tuple[int, int], int] = {(kind, index): at for at, (_, kind, _, index) in enumerate(events)}
    if after is None:
        after = own_order(operations, orderly_clients(operations))
    return [
        Span(places[0, index], places.get((1, index), NEVER), after.get(index, -1))
        for index in range(len(operations))
    ]


def own_order(operations: Sequence[Operation], orderly: Collection[int | str]) -> dict[int, int]:
    """For operations called at the very time of their client's last return: the one that returned.

    Args:
        operations: of one part.
        orderly: what `orderly_clients` gave, of the whole history.
    """
    return {
        second: first
        for client, indices in _by_client(operations).items()
        if client in orderly
        for first, second in pairwise(indices)
        if operations[first].return_s == operations[second].call_s
    }


def orderly_clients(operations: Sequence[Operation]) -> frozenset[int | str]:
    """The clients that never have two operations under way, so that their own order counts at equal times.

    An operation without an answer does not count: its client gave up waiting, nobody knows when.
    """
    found: set[int | str] = set()
    for client, indices in _by_client(operations).items():
        returns = (operations[first].return_s for first in indices)
        calls = (operations[second].call_s for second in indices[1:])
        if all(back is not None and back <= call for back, call in zip(returns, calls, strict=False)):
            found.add(client)
    return frozenset(found)


def _by_client(operations: Sequence[Operation]) -> dict[int | str, list[int]]:
    """The operations of each client whose outcome is known, in order of call."""
    found: dict[int | str, list[int]] = {}
    for index in sorted(range(len(operations)), key=lambda each: (operations[each].call_s, each)):
        if operations[index].known:
            found.setdefault(operations[index].client, []).append(index)
    return found


class _Bits:
    """Hands out bits, the lowest free one first, so that sets stay small ints."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next: int = 1

    def take(self) -> int:
        if self._free:
            return self._free.pop()
        bit, self._next = self._next, self._next << 1
        return bit

    def give(self, bit: int) -> None:
        self._free.append(bit)


def rounds_of(
    model: Model[Any],
    operations: Sequence[Operation],
    spans: Sequence[Span],
    *,
    required: Collection[int] | None = None,
    first: int = 0,
    last: int = NEVER,
) -> list[Round]:
    """The returns of a history, in order, each with who was under way.

    Args:
        model: tells reads from writes.
        operations: all of them.
        spans: theirs.
        required: indices of those that must take effect; None for all whose outcome is known. The others may
            take effect once, while under way, or not at all.
        first: what returned before this place is left out.
        last: returns after this place are left out, and who returns there may take effect but need not.
    """
    if required is None:
        required = {index for index, span in enumerate(spans) if span.back != NEVER}
    way = _UnderWay(
        model, operations, spans, frozenset(index for index in required if spans[index].back <= last)
    )
    for _, is_return, index in _in_order(spans, first, last):
        if is_return:
            way.back(index)
        else:
            way.call(index)
    return way.rounds


class _UnderWay:
    """Who is under way, as calls and returns go by.

    Args:
        model: tells reads from writes.
        operations: all of them.
        spans: theirs.
        required: those that must take effect.
    """

    def __init__(
        self,
        model: Model[Any],
        operations: Sequence[Operation],
        spans: Sequence[Span],
        required: frozenset[int],
    ) -> None:
        self._model = model
        self._operations = operations
        self._spans = spans
        self._required = required
        self._areas = [model.keys(operation) for operation in operations]
        self._has_parts = len({None if area is None else tuple(area) for area in self._areas}) > 1
        self._reads: dict[int, _Pending] = {}
        self._writes: dict[int, _Pending] = {}
        self._options: dict[int, _Pending] = {}
        self._bits, self._option_bits = _Bits(), _Bits()
        #: The last one called, of options without an end that ask the same.
        self._alike: dict[Hashable, int] = {}
        #: The three kinds as a round shows them; None after a change.
        self._shown: tuple[_Several, _Several, _Several] | None = None
        self.rounds: list[Round] = []

    def call(self, index: int) -> None:
        """An operation begins."""
        self._shown = None
        operation, span = self._operations[index], self._spans[index]
        only_reads = self._model.only_reads(operation)
        before = self._reads.get(span.after) or self._writes.get(span.after)
        need = before.bit if before else 0
        if index in self._required:
            place = self._reads if only_reads else self._writes
            place[index] = _Pending(index, self._bits.take(), need)
        elif not only_reads:
            alike = 0
            if span.back == NEVER:
                same = (operation.op, operation.key, operation.value, operation.old)
                if same in self._alike:
                    alike = self._options[self._alike[same]].bit
                self._alike[same] = index
            self._options[index] = _Pending(index, self._option_bits.take(), need, alike)

    def back(self, index: int) -> None:
        """An operation returns: a round."""
        required = index in self._required
        place = self._options if not required else self._reads if index in self._reads else self._writes
        if index not in place:
            return  # a read that need not be: left out
        if self._shown is None:
            soonest = sorted(self._writes.values(), key=lambda each: self._spans[each.which].back)
            self._shown = (tuple(self._reads.values()), tuple(soonest), tuple(self._options.values()))
        near = _near(index, *self._shown, self._areas) if self._has_parts else self._shown
        pending = place.pop(index)
        self.rounds.append(Round(index, pending.bit, required, *near, self._spans[index].back))
        self._shown = None
        (self._bits if required else self._option_bits).give(pending.bit)
        for kind in (self._reads, self._writes, self._options):  # whoever came right after it is free now
            for each in kind.values():
                if required and each.need and self._spans[each.which].after == index:
                    kind[each.which] = each._replace(need=0)


def _near(
    index: int,
    reads: _Several,
    writes: _Several,
    options: _Several,
    areas: Sequence[Collection[Hashable] | None],
) -> tuple[_Several, _Several, _Several]:
    """Who can matter to the return of `index`: whoever shares a key with it, also through others.

    The rest could as well take effect after it, with the same answers, and so need not be tried before.
    """
    reach, everywhere = set(areas[index] or ()), areas[index] is None
    waiting = [*reads, *writes, *options]
    while not everywhere:
        apart = []
        for each in waiting:
            area = areas[each.which]
            if area is None:
                everywhere = True
            elif reach.isdisjoint(area):
                apart.append(each)
            else:
                reach.update(area)
        if len(apart) == len(waiting):
            break
        waiting = apart
    if everywhere:
        return reads, writes, options
    return (
        reads,
        tuple(each for each in writes if not reach.isdisjoint(areas[each.which] or ())),
        tuple(each for each in options if not reach.isdisjoint(areas[each.which] or ())),
    )


def _in_order(spans: Sequence[Span], first: int, last: int) -> list[tuple[int, bool, int]]:
    """Calls and returns by their places, of what returns at `first` or later, up to `last`."""
    events: list[tuple[int, bool, int]] = []
    for index, span in enumerate(spans):
        if span.back >= first and span.call <= last:
            events.append((span.call, False, index))
            if span.back <= last:
                events.append((span.back, True, index))
    events.sort()
    return events


# --- the search --------------------------------------------------------------------------------------


class Found(NamedTuple):
    """What a search found.

    Args:
        ok: whether there is an order; None when it gave up.
        visited: configurations.
        stuck: when there is none, the number of the first round that no order survives.
        arrived: for each round reached, the states in which it can begin.
        states: every state met.
    """

    ok: bool | None
    visited: int
    stuck: int
    arrived: list[set[Any]]
    states: set[Any]


class _TooMany(Exception):
    pass


#: A state, the required operations under way that took effect, and the others.
_Configuration = tuple[Any, int, int]
#: For a state and required operations, the smallest sets of others that it was met with.
_Seen = dict[tuple[Any, int], tuple[int, ...]]


def search(
    model: Model[Any],
    operations: Sequence[Operation],
    rounds: Sequence[Round],
    starts: Iterable[Any],
    limit: int,
) -> Found:
    """Look for an order.

    Args:
        model: the sequential model.
        operations: what the rounds speak of.
        rounds: the returns.
        starts: the states in which the first round may begin.
        limit: give up after so many configurations.
    """
    looking = _Search(model, operations, rounds, limit)
    try:
        ok: bool | None = looking.run(starts)
    except _TooMany:
        ok = None
    arrived = [{state for state, _ in seen} for seen in looking.arrived]
    states = set().union(*arrived, *({state for state, _ in seen} for seen in looking.left))
    deepest = max((at for at, seen in enumerate(looking.arrived) if seen), default=0)
    return Found(ok, looking.visited, deepest, arrived[: deepest + 1], states)


class _Search:
    """One search. Depth first over the rounds, on a stack of its own; breadth first within a round.

    Within a round the orders with the fewest operations come first, so that of two configurations the one
    that used fewer options is met first and keeps the other out.
    """

    def __init__(
        self, model: Model[Any], operations: Sequence[Operation], rounds: Sequence[Round], limit: int
    ) -> None:
        self._model = model
        self._operations = operations
        self._rounds = rounds
        self._limit = limit
        self._steps: list[dict[Any, Collection[Any]]] = [{} for _ in operations]
        self.visited: int = 0
        self._tried = 0
        #: Configurations in which each round began, and those in which its return was waited for.
        self.arrived: list[_Seen] = [{} for _ in rounds]
        self.left: list[_Seen] = [{} for _ in rounds]

    def run(self, starts: Iterable[Any]) -> bool:
        """Whether there is an order."""
        stack: list[Iterator[_Configuration]] = [iter([(state, 0, 0) for state in starts])]
        rounds = len(self._rounds)
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
            elif len(stack) > rounds:
                return True
            elif self._is_new(self.arrived[len(stack) - 1], found):
                stack.append(self._returned(len(stack) - 1, found))
        return False

    def _is_new(self, seen: _Seen, found: _Configuration) -> bool:
        # Whatever is in `seen` was followed to its end in vain, or is being followed by our own caller, who
        # meets each configuration of a round before those that it leads to: never is one dropped for its own
        # sake.
        self._tried += 1
        if self._tried > _TRIES * self._limit:
            raise _TooMany
        state, done, used = found
        key = (state, done)
        known = seen.get(key)
        if known is None:
            seen[key] = (used,)
        else:
            for other in known:
                if other & used == other:
                    return False
            seen[key] = (*(other for other in known if used & other != used), used)
        self.visited += 1
        if self.visited > self._limit:
            raise _TooMany
        return True

    def _returned(self, at: int, found: _Configuration) -> Iterator[_Configuration]:
        """Every configuration after a round, for one before it."""
        mine = self._rounds[at]
        state, done, used = found
        done = self._read(mine, state, done)
        if mine.required:
            if done & mine.bit:
                yield state, done & ~mine.bit, used
                return
        else:
            yield state, done, used & ~mine.bit
            if used & mine.bit:
                return
        # Whoever returns has not taken effect yet: now it does, after any choice of the others. Each choice
        # is looked at when it is made, so that a short one is found before all as short are extended.
        seen = self.left[at]
        begin = (state, done, used)
        if not self._is_new(seen, begin):
            return
        yield from self._last(mine, begin)
        queue = deque([begin])
        while queue:
            for found in self._extended(mine, queue.popleft()):
                if self._is_new(seen, found):
                    state, done, used = found
                    if mine.required and done & mine.bit:  # a read that fits here
                        yield state, done & ~mine.bit, used
                    else:
                        yield from self._last(mine, found)
                        queue.append(found)

    def _last(self, mine: Round, found: _Configuration) -> Iterator[_Configuration]:
        """Whoever returns takes effect, if it changes something."""
        state, done, used = found
        for each in mine.writes if mine.required else mine.options:
            if each.which == mine.which:
                if done & each.need == each.need and used & each.alike == each.alike:
                    for after in self._step(each.which, state):
                        yield after, done, used
                return

    def _extended(self, mine: Round, found: _Configuration) -> Iterator[_Configuration]:
        """Somebody else takes effect."""
        state, done, used = found
        for each in mine.writes:
            if each.which != mine.which and not done & each.bit and done & each.need == each.need:
                for after in self._step(each.which, state):
                    yield after, self._read(mine, after, done | each.bit), used
        for each in mine.options:
            if (
                each.which != mine.which
                and not used & each.bit
                and done & each.need == each.need
                and used & each.alike == each.alike
            ):
                for after in self._step(each.which, state):
                    if after != state:
                        yield after, self._read(mine, after, done), used | each.bit

    def _read(self, mine: Round, state: Any, done: int) -> int:
        """Let every read take effect that fits."""
        for each in mine.reads:
            if not done & each.bit and done & each.need == each.need:
                after = self._step(each.which, state)
                if after:
                    if any(other != state for other in after):
                        raise HistoryError(
                            f"{type(self._model).__name__}.only_reads holds "
                            f"{self._operations[each.which]} for a read, "
                            f"but it leads from {state!r:.60} to {after!r:.60}"
                        )
                    done |= each.bit
        return done

    def _step(self, index: int, state: Any) -> Collection[Any]:
        steps = self._steps[index]
        found = steps.get(state)
        if found is None:
            found = steps[state] = tuple(self._model.step(state, self._operations[index]))
        return found
