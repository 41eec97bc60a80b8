"""Why there is no order: the smallest window of a history that can not be ordered, and a picture of it.

A search that fails has looked at everything up to one return, often thousands of operations, of which few
matter. Leaving some out must not make a violation of what is none: a read is only right because of the write
before it. So an operation is never simply taken away.  It is *excused*: it may take effect, once, with the
answer it got, at any moment at which it was under way, but it need not.  Whatever the history allowed, it
still allows with operations excused, since what really happened is one of the choices.  Therefore:

- If a set of operations can not be ordered, even with all others excused, the history can not be either.
  What is shown is such a set, so it is a genuine violation, whatever was left out.
- An operation that returned before the window begins can not take effect in it. What came before the window
  is the state in which it begins. Which one it was is not presumed: the window must fail from every state
  that the search met anywhere up to the violation, all of those that were possible at the window's beginning
  among them. (Where the window is the history's beginning, the state is the initial one.) So what is shown
  explains itself, and does not say "it is a stale read, because the state was another" without the write
  that made it so.
- Where that leaves more than a few operations, the states that were really possible there are presumed, if
  fewer operations fail from them; they are shown.

The set is 1-minimal: with any one of its operations excused, too, there is an order.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Final

import attrs

from paxos.check.history import Operation, readable_value
from paxos.check.models import Model
from paxos.check.ordering import NEVER, Found, Round, Span, rounds_of, search, spans_of

__all__ = ["HistoryViolation", "smallest_window"]

#: Windows up to this size are shown without presuming a state.
_FEW: Final = 6
#: Of all attempts to make a window smaller, together, and of one of them: configurations.
_TOTAL_STATES: Final = 1_000_000
_TRIAL_STATES: Final = 20_000
#: More states than these are not tried, each, as the one in which a window begins.
_STARTS: Final = 5_000
#: How long an example of an order is looked for.
_EXAMPLE_STATES: Final = 5_000
_SHOWN_STATES: Final = 4
_SHOWN_IN_PICTURE: Final = 40


@attrs.frozen
class HistoryViolation:
    """The smallest window of a history that can not be ordered.

    Args:
        part: what it is about: the key, or "the whole history".
        operations: those that no order fits, by call.
        context: some that were left out, but can have taken effect here, as the example has it, by call.
        left_out: how many operations of the same part are not among `operations`. None of them helps.
        before: the states in which the window can begin, described; at most a few.
        example: an order of all but one of the operations, with the states between, and the one that does
            not fit.
        minimal: whether every single operation was found needed. False when looking further took too long.
    """

    part: str
    operations: tuple[Operation, ...]
    context: tuple[Operation, ...]
    left_out: int
    before: tuple[str, ...]
    example: tuple[str, ...]
    minimal: bool

    @property
    def begins_s(self) -> float:
        """When its first operation was called, seconds."""
        return self.operations[0].call_s

    @property
    def ends_s(self) -> float:
        """When its last operation returned, seconds."""
        return max(operation.return_s or 0.0 for operation in self.operations)

    @property
    def sentence(self) -> str:
        """What is wrong, in words."""
        several = len(self.operations) > 1
        text = (
            f"{self.part}: no order explains {'these' if several else 'this one of'} "
            f"{len(self.operations) if several else len(self.operations) + self.left_out} "
            f"operation{'s' if several or self.left_out else ''}, "
            f"from {self.begins_s:.6f} s to {self.ends_s:.6f} s"
        )
        if self.left_out:
            text += (
                f"; the {self.left_out} others of this part can not help, whatever they did while under way"
                if self.left_out > 1
                else "; the other one of this part can not help, whatever it did while under way"
            )
        return text

    def __str__(self) -> str:
        lines = [self.sentence, "", self.picture(), ""]
        if len(self.before) == 1:
            lines.append(f"when it begins: {self.before[0]}")
        elif self.before:
            lines += ["when it begins, one of:", *(f"  {state}" for state in self.before)]
        lines += self.example
        if not self.minimal:
            lines.append("(there may be a smaller window: looking for it took too long)")
        return "\n".join(lines)

    def picture(self) -> str:
        """The operations as bars, a lane for each client, time to the right; and what each of them is.

        Columns are calls and returns in their order, not seconds. Letters mark what may have taken effect or
        not.
        """
        shown = [*self.operations, *self.context][:_SHOWN_IN_PICTURE]
        names = [str(number) for number in range(1, len(self.operations) + 1)]
        names += [chr(ord("a") + at % 26) for at in range(len(self.context))]
        lanes = _lanes(shown, names[: len(shown)])
        rows = [
            (name, _client(each), str(each), _when(each)) for name, each in zip(names, shown, strict=False)
        ]
        widths = [max(len(row[at]) for row in rows) for at in range(3)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            lanes.append(f"  {'  '.join([*cells, row[3]])}")
        hidden = len(self.operations) + len(self.context) - len(shown)
        return "\n".join([*lanes, *([f"  and {hidden} more"] if hidden else [])])

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {
            "part": self.part,
            "sentence": self.sentence,
            "operations": [{**operation.to_json(), "line": operation.line} for operation in self.operations],
            "context": [{**operation.to_json(), "line": operation.line} for operation in self.context],
            "left_out": self.left_out,
            "before": list(self.before),
            "example": list(self.example),
            "minimal": self.minimal,
        }


# --- the picture -------------------------------------------------------------------------------------


def _client(operation: Operation) -> str:
    name = operation.client
    return f"client {name if isinstance(name, int) else readable_value(name.encode(errors='replace'))}"


def _when(operation: Operation) -> str:
    back = f"to {operation.return_s:.6f} s" if operation.return_s is not None else "s, no return"
    where = f", line {operation.line}" if operation.line else ""
    return f"{operation.call_s:.6f} {back}{where}"


def _lanes(operations: Sequence[Operation], names: Sequence[str]) -> list[str]:
    """The bars."""
    spans = spans_of(operations)
    places = sorted({place for span in spans for place in (span.call, span.back) if place != NEVER})
    column = {place: at * max(3, min(8, 64 // len(places))) for at, place in enumerate(places)}
    edge = column[places[-1]] + 6
    lanes: list[tuple[str, str]] = []  # client, what is drawn
    for at in sorted(range(len(operations)), key=lambda each: spans[each].call):
        begin, end = column[spans[at].call], column.get(spans[at].back, edge)
        sure = "-" if names[at].isdigit() else "."
        bar = f"|{names[at].center(end - begin - 1, sure)}{'|' if spans[at].back != NEVER else '>'}"
        client = _client(operations[at])
        for number, (owner, drawn) in enumerate(lanes):
            if owner == client and len(drawn) <= begin:
                lanes[number] = (owner, drawn.ljust(begin) + bar)
                break
        else:
            lanes.append((client, " " * begin + bar))
    lanes.sort(key=lambda lane: lane[0])
    width = max(len(client) for client, _ in lanes)
    return [f"  {client.ljust(width)}  {drawn}" for client, drawn in lanes] + [""]


# --- the window --------------------------------------------------------------------------------------


def smallest_window(
    model: Model[Any],
    operations: Sequence[Operation],
    spans: Sequence[Span],
    rounds: Sequence[Round],
    found: Found,
    *,
    shown: Sequence[Operation],
) -> HistoryViolation:
    """The smallest window that can not be ordered, of a part for which a search failed.

    Args:
        model: the sequential model.
        operations: of the part.
        spans: theirs.
        rounds: theirs.
        found: what the search of them found: no order.
        shown: the operations as people know them, where the model resolved something.
    """
    windows = _Windows(model, operations, spans, rounds, found)
    window, minimal = windows.smallest(anywhere=True)
    if len(window) > _FEW:
        other, other_minimal = windows.smallest(anywhere=False)
        if len(other) < len(window):
            window, minimal = other, other_minimal
    window.sort(key=lambda index: spans[index].call)
    starts = windows.possible(window)
    told = _Example(model, operations, spans, window, windows.last, shown).lines(starts)
    example, context = told if told is not None else ((), ())
    keys = model.keys(operations[window[0]])
    return HistoryViolation(
        part=_name(keys),
        operations=tuple(shown[index] for index in window),
        context=tuple(shown[index] for index in context),
        left_out=len(operations) - len(window),
        before=_described(model, starts),
        example=example,
        minimal=minimal,
    )


def _name(keys: Any) -> str:
    if keys is None:
        return "the whole history"
    shown = [readable_value(key) for key in keys if key is not None]
    return ", ".join(shown) or "the whole history"


def _described(model: Model[Any], states: Sequence[Any]) -> tuple[str, ...]:
    shown = sorted(model.describe(state) for state in states[:_SHOWN_STATES])
    more = len(states) - len(shown)
    return (*shown, f"one of {more} other states") if more > 0 else tuple(shown)


class _Windows:
    """Tries sets of operations, the others excused.

    Args:
        as of `smallest_window`.
    """

    def __init__(
        self,
        model: Model[Any],
        operations: Sequence[Operation],
        spans: Sequence[Span],
        rounds: Sequence[Round],
        found: Found,
    ) -> None:
        self._model = model
        self._operations = operations
        self._spans = spans
        self._found = found
        self._places = [each.place for each in rounds]
        self._budget = _TOTAL_STATES
        #: Where the last return stands that matters.
        self.last: int = rounds[found.stuck].place
        #: Those that returned by then, in order of return: one of them, at least, is wrong.
        self._returned = [each.which for each in rounds[: found.stuck + 1]]
        self._sure = True

    def possible(self, window: Sequence[int]) -> list[Any]:
        """The states in which a window can begin, as the search found them."""
        at = bisect_left(self._places, min(self._spans[index].call for index in window))
        return list(self._found.arrived[at])

    def fails(self, window: Sequence[int], anywhere: bool) -> bool:
        """Whether these can not be ordered, the others excused. False, too, when that takes too long."""
        first = min(self._spans[index].call for index in window)
        at = bisect_left(self._places, first)
        starts = self._found.arrived[at]
        if at and anywhere and len(self._found.states) <= _STARTS:
            starts = self._found.states
        rounds = rounds_of(
            self._model, self._operations, self._spans, required=set(window), first=first, last=self.last
        )
        limit = min(self._budget, max(_TRIAL_STATES, 4 * self._found.visited))
        result = search(self._model, self._operations, rounds, starts, limit)
        self._budget -= min(result.visited, self._budget)
        if result.ok is None:
            self._sure = False
        return result.ok is False

    def smallest(self, anywhere: bool) -> tuple[list[int], bool]:
        """A 1-minimal set, the latest one: what returned last is kept longest; and whether it surely is.

        Args:
            anywhere: start it from every state of the search, not only from those possible where it begins.
        """
        returned = self._returned
        self._sure = True
        length = 1
        while length < len(returned) and not self.fails(returned[-length:], anywhere):
            length *= 2
        window = returned[-length:]
        if length >= len(returned) and not self.fails(window, anywhere):
            # The search itself found that they can not be ordered; what follows could not say it in time.
            return window, False
        size = max(len(window) // 2, 1)
        while True:
            at, before = 0, len(window)
            while at < len(window):
                smaller = window[:at] + window[at + size :]
                if smaller and self.fails(smaller, anywhere):
                    window = smaller
                else:
                    at += size
            if size > 1:
                size //= 2
            elif len(window) == before:
                return window, self._sure


# --- an example --------------------------------------------------------------------------------------


class _Example:
    """Looks for an order of all operations of a window but the last: what one would have thought.

    It is a plain search, without any of the tricks of the other one; windows are small. Excused operations
    are used where nothing else helps, as few as possible.
    """

    def __init__(
        self,
        model: Model[Any],
        operations: Sequence[Operation],
        spans: Sequence[Span],
        window: Sequence[int],
        last: int,
        shown: Sequence[Operation],
    ) -> None:
        self._model = model
        self._shown = shown
        self._operations = operations
        self._spans = spans
        self._window = window
        first = min(spans[index].call for index in window)
        self._excused = [
            index
            for index, span in enumerate(spans)
            if index not in window
            and span.back > first
            and span.call < last
            and not model.only_reads(operations[index])
        ]
        self._left = _EXAMPLE_STATES

    def lines(self, starts: Sequence[Hashable]) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
        """The example in words, and which excused operations it uses; None when there is no short one."""
        by_return = sorted(self._window, key=lambda index: -self._spans[index].back)
        for odd in by_return:
            for spare in range(3):
                others = frozenset(index for index in self._window if index != odd)
                for start in starts[:_SHOWN_STATES]:
                    for way in self._ways(others, start, spare):
                        if not way:
                            return None
                        return self._told(odd, start, way), tuple(
                            sorted((i for i, _ in way if i not in others), key=lambda i: self._spans[i].call)
                        )
        return None

    def _told(self, odd: int, start: Any, way: Sequence[tuple[int, Any]]) -> tuple[str, ...]:
        names = {
            index: str(number)
            for number, index in enumerate(sorted(self._window, key=lambda i: self._spans[i].call), 1)
        }
        used = sorted((i for i, _ in way if i not in names), key=lambda i: self._spans[i].call)
        names |= {index: chr(ord("a") + at) for at, index in enumerate(used)}
        words = [self._model.describe(start)]
        words += [f"{names[index]} -> {self._model.describe(state)}" for index, state in way]
        operation = self._shown[odd]
        return (f"for example: {', '.join(words)}; {names[odd]} ({operation}) fits nowhere in it",)

    def _ways(self, others: frozenset[int], start: Any, spare: int) -> Iterator[list[tuple[int, Any]]]:
        """Orders of `others` from `start`, with exactly `spare` excused operations among them."""
        stack: list[tuple[list[tuple[int, Any]], Any, frozenset[int], int]] = [([], start, others, spare)]
        while stack and self._left:
            self._left -= 1
            way, state, left, more = stack.pop()
            if not left:
                if not more:
                    yield way
                continue
            # Who returned before another was called goes before it.
            soonest = min(self._spans[index].back for index in left)
            done = {index for index, _ in way}
            latest = max((self._spans[index].call for index in done), default=-1)
            candidates = [index for index in left if self._spans[index].call < soonest]
            if more:
                candidates += [
                    index
                    for index in self._excused
                    if index not in done
                    and latest < self._spans[index].back
                    and self._spans[index].call < soonest
                ]
            for index in sorted(candidates, key=lambda each: -self._spans[each].back):
                for after in self._model.step(state, self._operations[index]):
                    stack.append(([*way, (index, after)], after, left - {index}, more - (index not in left)))
