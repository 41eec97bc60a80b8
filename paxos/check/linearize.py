"""Is a history linearizable? Split it, look for an order of each part, and show why there is none.

`check_linearizable` answers one of three things, and never one for another: an order exists for every part;
for one part there is none, and here is the smallest window of it; or the search was given up at its bound,
and nothing is known of what is left.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import attrs

from paxos.check.history import HistoryError, Operation
from paxos.check.models import Model, find_model
from paxos.check.ordering import orderly_clients, own_order, rounds_of, search, spans_of
from paxos.check.window import HistoryViolation, smallest_window
from paxos.errors import ConfigurationError
from paxos.sim.result import counted

__all__ = ["MAX_STATES", "Verdict", "check_linearizable"]

#: How many configurations are visited before the search is given up: about a minute, and half a gigabyte.
MAX_STATES: Final = 2_000_000
#: How many, to see a violation without what a model resolved.
_EXPLAIN_STATES: Final = 50_000


@attrs.frozen
class Verdict:
    """What became of a check.

    Args:
        ok: every part of the history was put in order. False when one can not be, and when the search gave
            up.
        gave_up: the search met its bound: whether the history is linearizable is not known.
        operations: how many were there.
        unknown: how many of them have an unknown outcome.
        partitions: parts that were ordered apart from each other.
        ordered: parts for which an order was found.
        states: configurations visited by the search.
        unsplit: why the history is one part, where that is for one operation's sake; None otherwise.
        violation: the smallest window that can not be ordered; None when there is none.
    """

    ok: bool
    gave_up: bool
    operations: int
    unknown: int
    partitions: int
    ordered: int
    states: int
    unsplit: str | None = None
    violation: HistoryViolation | None = None

    @property
    def outcome(self) -> str:
        """`linearizable`, `violation` or `gave up`."""
        return "linearizable" if self.ok else "violation" if self.violation is not None else "gave up"

    def __str__(self) -> str:
        parts = f"{counted(self.operations, 'operation')} in {counted(self.partitions, 'part')}"
        if self.ok:
            visited = f"{counted(self.states, 'state')} visited"
            return f"linearizable: {parts}, {self.unknown} with unknown outcome, {visited}"
        if self.violation is not None:
            return f"not linearizable: {parts}\n{self.violation}"
        return (
            f"gave up after {counted(self.states, 'state')}: of {parts}, {self.ordered} "
            f"{'is' if self.ordered == 1 else 'are'} linearizable and the rest is not known; "
            "allow more states"
        )

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {
            "outcome": self.outcome,
            "operations": self.operations,
            "unknown": self.unknown,
            "partitions": self.partitions,
            "ordered": self.ordered,
            "states": self.states,
            "unsplit": self.unsplit,
            "violation": None if self.violation is None else self.violation.to_json(),
        }


def check_linearizable(
    history: Sequence[Operation],
    model: Model[Any] | str,
    *,
    max_states: int = MAX_STATES,
    advance: Callable[[int], None] | None = None,
) -> Verdict:
    """Whether the operations can be put in one order that respects real time and that the model allows.

    Args:
        history: what clients did and were told, in any order. At equal times nobody knows what came first,
            unless one client did both: then the order in `history` counts.
        model: what operations do, one at a time; or its name, as `find_model` takes it.
        max_states: how many configurations to visit before giving up.
        advance: told, now and then, how many operations more have been put in order.

    Raises:
        HistoryError: an operation that the model does not know; the message names it.
        ConfigurationError: there is no such model, or `max_states` is not positive.

    Source: Herlihy and Wing, TOPLAS 12 (1990); paxos.check.ordering has the algorithm and its sources.
    """
    found = find_model(model) if isinstance(model, str) else model
    if not isinstance(found, Model):
        raise ConfigurationError(f"model: expected a paxos.check.Model or the name of one, got {model!r:.60}")
    if type(max_states) is not int or max_states < 1:
        raise ConfigurationError(f"max_states: expected a whole number from 1 on, got {max_states!r:.60}")
    _require_known(history, found)
    parts, unsplit = _split(history, found)
    orderly = orderly_clients(history)
    unknown = sum(not operation.known for operation in history)
    states = ordered = 0
    violation = None
    # Small parts first: what is easy to say is said before a bound is met.
    for part in sorted(parts, key=len):
        resolved = list(found.resolved(part))
        # A client's own order is that of what it knew, before anything was resolved.
        after = own_order(part, orderly)
        spans = spans_of(resolved, after)
        rounds = rounds_of(found, resolved, spans)
        result = search(found, resolved, rounds, [found.initial()], max_states - states)
        states += result.visited
        if result.ok is None:
            break
        if not result.ok:
            violation = _explained(found, part, after) or smallest_window(
                found, resolved, spans, rounds, result, shown=part
            )
            break
        ordered += 1
        if advance is not None:
            advance(len(part))
    return Verdict(
        ok=ordered == len(parts),
        gave_up=ordered < len(parts) and violation is None,
        operations=len(history),
        unknown=unknown,
        partitions=len(parts),
        ordered=ordered,
        states=min(states, max_states),
        unsplit=unsplit,
        violation=violation,
    )


def _explained(
    model: Model[Any], part: Sequence[Operation], after: Mapping[int, int]
) -> HistoryViolation | None:
    """The smallest window of a part with nothing resolved, if the search fails on that, too, in time."""
    spans = spans_of(part, after)
    rounds = rounds_of(model, part, spans)
    result = search(model, part, rounds, [model.initial()], _EXPLAIN_STATES)
    return smallest_window(model, part, spans, rounds, result, shown=part) if result.ok is False else None


def _require_known(history: Sequence[Operation], model: Model[Any]) -> None:
    name = type(model).__name__
    for index, operation in enumerate(history):
        if operation.op not in model.operations:
            complaint: str | None = (
                f"{operation.op!r:.40} is not an operation of {name}; "
                f"it knows {', '.join(sorted(model.operations))}"
            )
        else:
            complaint = model.refuses(operation)
        if complaint is not None:
            where = f"line {operation.line}" if operation.line else f"operation {index}"
            raise HistoryError(f"{where}: {complaint}")


def _split(history: Sequence[Operation], model: Model[Any]) -> tuple[list[list[Operation]], str | None]:
    """The operations in parts that share no key, each in the history's order; and why it is but one."""
    touched = [model.keys(operation) for operation in history]
    for operation, keys in zip(history, touched, strict=True):
        if keys is None:
            by_key = any(each is not None for each in touched)
            reason = f"{operation} sees all keys at one moment, so all operations are ordered as one"
            return [list(history)], reason if by_key else None
    leaders: dict[Hashable, Hashable] = {}

    def leader(key: Hashable) -> Hashable:
        found = key
        while leaders.setdefault(found, found) != found:
            found = leaders[found]
        while leaders[key] != found:  # shorten the way for the next one
            leaders[key], key = found, leaders[key]
        return found

    for keys in touched:
        first, *others = keys or [()]
        for other in others:
            leaders[leader(other)] = leader(first)
    parts: dict[Hashable, list[Operation]] = {}
    for operation, keys in zip(history, touched, strict=True):
        parts.setdefault(leader(next(iter(keys or [()]))), []).append(operation)
    return list(parts.values()), None
