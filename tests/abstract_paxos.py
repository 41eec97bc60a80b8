"""Lamport's Paxos module, enumerated: an oracle for what the real roles reach, written from the module alone.

A quorum's promises are read at once, there are no proposers and no learners, and messages only gather.
"""

from itertools import combinations
from typing import Any, NamedTuple


class State(NamedTuple):
    """The module's variables."""

    msgs: frozenset[tuple[Any, ...]]
    max_bal: tuple[int, ...]
    max_v_bal: tuple[int, ...]
    max_val: tuple[str | None, ...]


def reachable(acceptors: int, ballots: int, values: tuple[str, ...]) -> set[State]:
    """Every reachable state."""
    size = acceptors // 2 + 1
    quorums = [frozenset(each) for each in combinations(range(1, acceptors + 1), size)]
    start = State(frozenset(), (-1,) * acceptors, (-1,) * acceptors, (None,) * acceptors)
    seen, level = {start}, [start]
    while level:
        level = [after for state in level for after in steps(state, ballots, values, quorums)]
        level = list(set(level) - seen)
        seen.update(level)
    return seen


def steps(state, ballots, values, quorums):
    msgs, bal, v_bal, val = state
    for b in range(ballots):
        yield state._replace(msgs=msgs | {("1a", b)})
        if not any(m[:2] == ("2a", b) for m in msgs):
            for v in values:
                if any(shows_safe(msgs, quorum, b, v) for quorum in quorums):
                    yield state._replace(msgs=msgs | {("2a", b, v)})
    for a in range(1, len(bal) + 1):
        at = a - 1
        for m in msgs:
            if m[0] == "1a" and m[1] > bal[at]:
                promise = ("1b", a, m[1], v_bal[at], val[at])
                yield state._replace(msgs=msgs | {promise}, max_bal=put(bal, at, m[1]))
            elif m[0] == "2a" and m[1] >= bal[at]:
                vote = ("2b", a, m[1], m[2])
                after = (put(bal, at, m[1]), put(v_bal, at, m[1]), put(val, at, m[2]))
                yield State(msgs | {vote}, *after)


def shows_safe(msgs, quorum, b, v):
    promises = [m for m in msgs if m[0] == "1b" and m[1] in quorum and m[2] == b]
    if {m[1] for m in promises} != quorum:
        return False
    voted = [m for m in promises if m[3] >= 0]
    return not voted or any(m[4] == v and all(m[3] >= n[3] for n in voted) for m in voted)


def put(items, at, item):
    return (*items[:at], item, *items[at + 1 :])
