"""Schedules made short: fewer moves, fewer nodes, smaller names, the same violation.

Every candidate is played on a fresh cluster; moves that can not be made any more are skipped, so any part
of a schedule is a schedule.  Nothing here is random.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Final

import attrs

from paxos.ballot import NodeId
from paxos.check.ddmin import ddmin
from paxos.check.recording import schedule_of
from paxos.check.scenario import Scenario
from paxos.errors import ConfigurationError
from paxos.sim.moves import Asked, Move, parse_move

__all__ = ["Budget", "cost", "shorten", "to_schedule"]

#: What a fresh cluster costs, in steps.
_FRESH: Final = 12
#: The most sets of nodes that are tried.
_MAX_SETS: Final = 60


class Budget:
    """How much may be tried: steps of nodes, so that the same search ends at the same place everywhere.

    Args:
        steps: how many.
        advance: called with every number of steps spent.

    Attributes:
        spent: steps so far.
        runs: runs so far.
        why: why the last run that should be made a schedule is none; empty when it is one.
    """

    def __init__(self, steps: int, advance: Callable[[int], None] | None = None) -> None:
        self.steps: int = steps
        self.spent: int = 0
        self.runs: int = 0
        self.why: str = ""
        self._advance = advance

    @property
    def left(self) -> bool:
        """Whether anything is left of it."""
        return self.spent < self.steps

    def spend(self, steps: int) -> None:
        """So many more steps were taken, in one run."""
        self.spent += steps
        self.runs += 1
        if self._advance is not None:
            self._advance(steps)


def cost(scenario: Scenario) -> tuple[int, int]:
    """How long a schedule is: messages that arrive at another node, and moves in all."""
    lines = scenario.schedule or ()
    return (sum(parse_move(line).kind == "deliver" for line in lines), len(lines))


def to_schedule(scenario: Scenario, accepted: frozenset[str], budget: Budget) -> Scenario | None:
    """A timed run or a walk as a schedule that breaks the same; None when it does not as one.

    Args:
        scenario: it breaks one of `accepted`.
        accepted: names of violations.
        budget: what may be spent; for None it holds the reason, in `why`.
    """
    played = scenario.run(record=True)
    budget.spend(2 * played.result.steps)
    bare = attrs.evolve(scenario, schedule=(), walk=None, choices=None, liveness=True)
    lines = schedule_of(played.records, bare.stepper, accepted)
    if lines is None:
        budget.why = (
            f"it is longer than the {len(played.records)} steps that are kept, and broke after them"
            if played.truncated
            else "as a list of moves it does not break the same"
        )
        return None
    budget.why = ""
    return attrs.evolve(bare, schedule=lines, eager=scenario.eager if scenario.kind == "walk" else False)


def shorten(scenario: Scenario, accepted: frozenset[str], budget: Budget) -> Scenario:
    """A schedule that breaks the same and from which no move can be taken.

    Args:
        scenario: a schedule that breaks one of `accepted`.
        accepted: names of violations.
        budget: what may be spent; when it is at an end, so far as it came.
    """
    best = scenario
    while True:
        before = cost(best)
        for reduce in (_fewer_topics, _eager, _fewer_nodes, _without_kinds, _fewer_moves, _plainer):
            best = reduce(best, accepted, budget)
        if cost(best) >= before or not budget.left:
            return _renamed(best, accepted, budget)


# --- trying --------------------------------------------------------------------------------------------


def _played(
    scenario: Scenario, moves: Sequence[Move], accepted: frozenset[str], budget: Budget
) -> list[Move] | None:
    """The moves that could be made, up to the one that broke something; None if that is not accepted."""
    if not budget.left:
        return None
    try:
        stepper = scenario.stepper()
    except ConfigurationError:
        return None  # settings that name a node that is left out
    made: list[Move] = []
    for move in moves:
        if stepper.do(move):
            made.append(move)
            if stepper.violations:
                break
    broken = stepper.violations or stepper.judge()
    budget.spend(_FRESH + stepper.steps)
    return made if broken and broken[0].name in accepted else None


def _moves(scenario: Scenario) -> list[Move]:
    return [parse_move(line) for line in scenario.schedule or ()]


def _with(scenario: Scenario, moves: Sequence[Move]) -> Scenario:
    return attrs.evolve(scenario, schedule=tuple(map(str, moves)))


def _try(
    scenario: Scenario, moves: Sequence[Move], accepted: frozenset[str], budget: Budget
) -> Scenario | None:
    made = _played(scenario, moves, accepted, budget)
    return None if made is None else _with(scenario, made)


# --- ways to make it smaller ---------------------------------------------------------------------------


def _fewer_moves(scenario: Scenario, accepted: frozenset[str], budget: Budget) -> Scenario:
    left = ddmin(_moves(scenario), lambda moves: _played(scenario, moves, accepted, budget))
    return _with(scenario, left)


def _topic(move: Move) -> str:
    if move.asked is not None:
        # What a client of a log asks has no slot yet.
        named = move.asked.kind in ("decide", "decided")
        return str(Asked("decided", move.asked.name, None)).partition(" ")[2] if named else ""
    return move.topic


def _fewer_topics(scenario: Scenario, accepted: frozenset[str], budget: Budget) -> Scenario:
    """One decree, slot or instance alone; and what is about none of them."""
    moves = _moves(scenario)
    topics = dict.fromkeys(filter(None, map(_topic, reversed(moves))))
    for topic in topics if len(topics) > 1 else ():
        found = _try(scenario, [move for move in moves if _topic(move) in ("", topic)], accepted, budget)
        if found is not None:
            return found
    return scenario


def _eager(scenario: Scenario, accepted: frozenset[str], budget: Budget) -> Scenario:
    """Disks that sync at once: two moves fewer in most exchanges."""
    if scenario.eager:
        return scenario
    moves = [move for move in _moves(scenario) if move.kind != "sync"]
    return _try(attrs.evolve(scenario, eager=True), moves, accepted, budget) or scenario


def _without_kinds(scenario: Scenario, accepted: frozenset[str], budget: Budget) -> Scenario:
    """All moves of one kind at once: two that only make sense together go together."""
    for kinds in (("crash", "wipe", "restart"), ("duplicate", "drop"), ("forget",), ("tick",)):
        moves = _moves(scenario)
        fewer = [move for move in moves if move.kind not in kinds]
        if len(fewer) < len(moves):
            scenario = _try(scenario, fewer, accepted, budget) or scenario
    return scenario


def _fewer_nodes(scenario: Scenario, accepted: frozenset[str], budget: Budget) -> Scenario:
    """As few nodes as will do, with the default quorums; of the nodes those that take part most."""
    moves = _moves(scenario)
    busy: dict[NodeId, int] = dict.fromkeys(range(1, scenario.nodes + 1), 0)
    for move in moves:
        for node in {move.node, move.sender} - {0}:
            if node in busy:
                busy[node] += 1
    by_busy = sorted(busy, key=lambda node: (-busy[node], node))
    for size in range(1, scenario.nodes):
        smaller = attrs.evolve(scenario, nodes=size, quorums=None)
        for _, kept in zip(range(_MAX_SETS), combinations(by_busy, size), strict=False):
            found = _try(smaller, _renumbered(moves, sorted(kept)), accepted, budget)
            if found is not None:
                return found
    if scenario.quorums is not None:
        plain = attrs.evolve(scenario, quorums=None)
        return _try(plain, moves, accepted, budget) or scenario
    return scenario


def _renumbered(moves: Sequence[Move], kept: Sequence[NodeId]) -> list[Move]:
    new = {node: number for number, node in enumerate(kept, 1)}
    return [
        move._replace(node=new[move.node], sender=new.get(move.sender, 0))
        for move in moves
        if move.node in new and (move.sender in new or not move.sender)
    ]


def _plainer(scenario: Scenario, accepted: frozenset[str], budget: Budget) -> Scenario:
    """Default settings, lower numbers, plain crashes, requests of one node by another."""
    if scenario.settings is not None:
        scenario = _try(attrs.evolve(scenario, settings=None), _moves(scenario), accepted, budget) or scenario
    at = 0
    while at < len(scenario.schedule or ()) and budget.left:
        moves = _moves(scenario)
        for other in _plainer_moves(moves[at]):
            found = _try(scenario, [*moves[:at], other, *moves[at + 1 :]], accepted, budget)
            # A move that is skipped is no smaller one, unless nobody needed it.
            if found is not None and cost(found) <= cost(scenario):
                scenario = found
                break
        at += 1
    return scenario


def _plainer_moves(move: Move) -> Iterator[Move]:
    if move.kind == "crash" and move.unsynced != "lost":
        yield move._replace(unsynced="lost", keep=0)
    if move.asked is not None and move.asked.number:
        yield move._replace(asked=move.asked._replace(number=0))
    for nth in range(1, move.nth):
        yield move._replace(nth=nth)


def _renamed(scenario: Scenario, accepted: frozenset[str], budget: Budget) -> Scenario:
    """Short names for decrees and values, in the order in which they come."""
    moves = _moves(scenario)
    asked = [move.asked for move in moves if move.asked is not None]
    names = _short(list(dict.fromkeys(each.name for each in asked)), b"d")
    said = (value for each in asked for value in _values(each) if value is not None)
    values = _short(list(dict.fromkeys(said)), b"v")
    topics = {_topic_of(old): _topic_of(new) for old, new in names.items()}
    renamed = []
    for move in moves:
        if move.asked is not None:
            kind, name, value, old, _ = move.asked
            value = values.get(value, value) if kind != "increment" and value is not None else value
            old = None if old is None else values[old]
            move = move._replace(asked=move.asked._replace(name=names[name], value=value, old=old))
        renamed.append(move._replace(topic=topics.get(move.topic, move.topic)))
    made = _played(scenario, renamed, accepted, Budget(1 << 40))
    return _with(scenario, renamed) if made == renamed else scenario


def _values(asked: Asked) -> tuple[bytes | None, ...]:
    """What it says that is no more than a name. What is added is more."""
    return (asked.old,) if asked.kind == "increment" else (asked.value, asked.old)


def _topic_of(name: bytes) -> str:
    return _topic(Move("submit", 1, asked=Asked("decided", name, None)))


def _short(found: Sequence[bytes], letter: bytes) -> dict[bytes, bytes]:
    if len(found) == 1 and letter == b"d":
        return {found[0]: b"d"}
    return {each: letter + b"%d" % number for number, each in enumerate(found, 1)}
