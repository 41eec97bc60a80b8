"""What a run of a log is judged by at its end.

The log itself is the witness: an order of all commands, which each node says it applied.  So no search is
needed to see whether the history is linearizable.  It is, if the order fits real time, if every answer is
what the state machine gives at that place of the order, and if every query that has to be linearizable was
answered from a state that holds all that was acknowledged before it was asked.

And nodes must hold, wherever one looks, what the log up to there gives: each request carried out once.

Where only conflicting commands have an order, `conflict_verdict` says what fits.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from paxos.contract import StateMachine
from paxos.sim.conflict_ledger import ConflictLedger
from paxos.sim.conflict_verdict import judge_conflicts
from paxos.sim.keyvalue_words import body_of
from paxos.sim.ledger import Fold, Ledger, LogLedger, State
from paxos.sim.log_answers import judge_commands, meant, said
from paxos.sim.result import QUERIES, Operation

__all__ = ["judge_log"]

_Complaint = tuple[str, str]


def judge_log(
    ledger: LogLedger,
    states: Sequence[State],
    operations: Sequence[Operation],
    make: Callable[[], StateMachine],
) -> Iterable[_Complaint]:
    """Names and sentences of what broke.

    Args:
        ledger: the log.
        states: what nodes hold at the end.
        operations: what clients did.
        make: makes the state machine.
    """
    if isinstance(ledger, ConflictLedger):
        yield from judge_conflicts(ledger, states, operations, make)
    elif isinstance(ledger, Ledger):
        yield from _judge_slots(ledger, states, operations, make)


def _judge_slots(
    ledger: Ledger,
    states: Sequence[State],
    operations: Sequence[Operation],
    make: Callable[[], StateMachine],
) -> Iterable[_Complaint]:
    """`judge_log` where all commands have one order."""
    missing = next((mark for mark in range(1, ledger.end + 1) if mark not in ledger.commands), None)
    if missing is not None:
        yield "AppliedContiguous", f"slot {missing} was applied nowhere, but slot {ledger.end} was"
        return
    fold = Fold(make)
    reads = _Reads(operations)
    held = sorted((*ledger.states, *states), key=lambda state: state.mark)
    at = 0
    for mark in range(ledger.end + 1):
        if mark:
            fold.apply(mark, ledger.commands[mark])
        while at < len(held) and held[at].mark == mark:
            if fold.machine.snapshot() != held[at].machine:
                yield _different(held[at], ledger, make)
                return
            at += 1
        reads.look(mark, fold.machine)
    if at < len(held):
        ahead = held[at]
        yield "AppliedPrefix", f"node {ahead.node} says that it applied {ahead.mark}, and nobody did"
        return
    yield from judge_commands(operations, fold, "slot {}".format)
    yield from _judge_order(operations, fold, reads)


def _different(state: State, ledger: Ledger, make: Callable[[], StateMachine]) -> _Complaint:
    """A node holds something else than the log gives: perhaps what comes twice was carried out twice."""
    twice = Fold(make, twice=True)
    for mark in range(1, state.mark + 1):
        twice.apply(mark, ledger.commands[mark])
    where = f"node {state.node} {state.when}, at slot {state.mark}"
    if twice.machine.snapshot() == state.machine:
        return "AtMostOnce", f"{where}, has carried out requests as often as they were retried"
    return "StateExact", f"{where}, holds another state than the log up to there gives"


class _Reads:
    """Where, between the marks at which it may have been answered, the state gives what a query was told."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._begin: dict[int, list[Operation]] = {}
        self._open: list[Operation] = []
        #: For each answered query, by identity: every mark that fits.
        self.fits: dict[int, list[int]] = {}
        for op in operations:
            if op.kind in QUERIES and op.outcome == "done" and op.place is not None:
                self._begin.setdefault(op.place[0], []).append(op)
                self.fits[id(op)] = []

    def look(self, mark: int, machine: StateMachine) -> None:
        """The state at the next mark."""
        self._open += self._begin.pop(mark, [])
        still = []
        for op in self._open:
            assert op.place is not None
            if meant(op.kind, machine.query(body_of(op.kind, op.name))) == op.out:
                self.fits[id(op)].append(mark)
            if op.place[1] > mark:
                still.append(op)
        self._open = still


def _judge_order(operations: Sequence[Operation], fold: Fold, reads: _Reads) -> Iterator[_Complaint]:
    """What was acknowledged before an operation was asked comes before it in the log."""
    acknowledged = _acknowledged(operations, fold, reads)
    after = 0
    last: dict[int, int] = {}
    at = 0
    for op in sorted(operations, key=lambda op: op.call_s):
        while at < len(acknowledged) and acknowledged[at][0] < op.call_s:
            after = max(after, acknowledged[at][1])
            at += 1
        # At one moment nobody knows what was first, unless one client did both.
        floor = max(after, last.get(op.client, 0))
        if op.outcome != "done":
            continue
        if op.request is not None:
            place = _place_of(op, fold)
            if place and place < floor:
                yield "RealTime", _sentence(op, f"is in slot {place}", floor)
        else:
            fits = reads.fits.get(id(op), [])
            if not fits:
                sentence = (
                    f"client {op.client} was told {op.out!r:.60} of {said(op)} by node {op.node}, which no "
                    f"state between slots {op.place} gives"
                )
                yield "AnswerExact", sentence
                continue
            if op.kind == "stale":
                continue
            place = next((mark for mark in fits if mark >= floor), 0)
            if not place and floor:
                yield "ReadFresh", _sentence(op, f"was answered from slot {fits[-1]}", floor)
                continue
        if op.return_s is not None:
            last[op.client] = max(last.get(op.client, 0), place)


def _acknowledged(operations: Sequence[Operation], fold: Fold, reads: _Reads) -> list[tuple[float, int]]:
    """When clients knew of which slot that it is applied, in order of time."""
    known = []
    for op in operations:
        if op.outcome != "done" or op.return_s is None or op.kind == "stale":
            continue
        fits = reads.fits.get(id(op), [])
        # Of a query the earliest place that explains it: nothing is held against a node that might be right.
        place = _place_of(op, fold) if op.request is not None else fits[0] if fits else 0
        known.append((op.return_s, place))
    return sorted(known)


def _place_of(op: Operation, fold: Fold) -> int:
    assert op.request is not None
    client, _, number, digest = op.request
    return fold.done.get((client, number, digest), (0, b""))[0]


def _sentence(op: Operation, where: str, floor: int) -> str:
    return (
        f"{said(op)} of client {op.client}, asked at {op.call_s:.6f} s, {where}, but slot {floor} was "
        "acknowledged to a client before"
    )
