"""What a run of a log is judged by at its end, where only conflicting commands have an order.

Nodes applied the log in orders of their own, and the ledger has made sure that these agree on what conflicts.
The order in which commands were applied first by anybody respects every conflict, too.  Along it the log is
carried out once more: what clients were told must be what comes out there.  A linearizable query is answered
at the place of its read, a command of the log; a stale one from the state in which its node was.

What each node held is compared with what its own order gives; if machines tell their footprints truly, that
is the same.

Real time: of two operations the one that was answered before the other was asked must not come after it.  It
is enough to look, for each, at the latest call among those that it depends on.  For if every operation was
answered after all that it depends on had been asked, then no circle of dependencies and of waiting for each
other's answers is possible: each step of such a circle would lead to a later moment.  So an order that
respects conflicts and real time exists, all answers are those of that order, and the history is linearizable.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from paxos.ballot import NodeId
from paxos.command import Footprint, KeyRange
from paxos.contract import Mark, StateMachine
from paxos.service.batches import BatchKind, read_batch
from paxos.service.footprints import Footprints, as_read
from paxos.sim.conflict_ledger import ConflictLedger, Stretch, shown
from paxos.sim.keyvalue_words import body_of
from paxos.sim.ledger import Fold, RequestKey, State, requests_of
from paxos.sim.log_answers import judge_commands, meant, said
from paxos.sim.result import QUERIES, Operation

__all__ = ["judge_conflicts"]

_Complaint: TypeAlias = tuple[str, str]
_Queries: TypeAlias = dict[Mark, list[Operation]]
_NEVER_S: Final = float("inf")
#: Members of a chain of dependencies that a sentence shows.
_SHOWN: Final = 6


def judge_conflicts(
    ledger: ConflictLedger,
    states: Sequence[State],
    operations: Sequence[Operation],
    make: Callable[[], StateMachine],
) -> Iterator[_Complaint]:
    """Names and sentences of what broke; see `log_verdict.judge_log`."""
    places = _Places(ledger, operations)
    if places.homeless:
        yield from places.homeless
        return
    fold = Fold(make)
    fits: dict[int, list[Mark]] = {}
    cuts = sorted(ledger.cuts, key=lambda cut: cut.eras)
    at = 0
    for number, mark in enumerate(ledger.order, 1):
        fold.apply(number, ledger.commands[mark])
        for op in places.at_reads.get(mark, ()):
            if meant(op.kind, fold.machine.query(body_of(op.kind, op.name))) == op.out:
                fits.setdefault(id(op), []).append(mark)
        while at < len(cuts) and ledger.ends[cuts[at].eras - 1] == number:
            cut = cuts[at]
            if fold.machine.snapshot() != cut.machine:
                state = State(cut.node, number, cut.machine, f"in its snapshot {cut.number}")
                yield _different(state, ledger.order[:number], ledger, make)
                return
            at += 1
    for complaint in _judge_stretches(ledger, (*ledger.states, *states), places, fold, make):
        yield complaint
        return

    def place(number: int) -> str:
        return shown(ledger.order[number - 1])

    yield from judge_commands(operations, fold, place)
    placed: _Queries = {}
    for op in places.queries:
        found = fits.get(id(op))
        if found:
            # The later one leaves out less of what was acknowledged before.
            placed.setdefault(found[-1], []).append(op)
            continue
        marks = " or ".join(shown(mark) for mark in places.reads_of[id(op)])
        yield "AnswerExact", f"{_told(op)}, which the state at its read, {marks}, does not give"
    yield from _judge_real_time(ledger, operations, fold, placed, make)


class _Places:
    """Where queries were answered: each by a read of its node, or, a stale one, in its node's own order.

    Attributes:
        queries: the linearizable ones.
        at_reads: they, by the reads at which each may have been answered.
        reads_of: those reads, by the query's identity.
        stale: by the number of a stretch: the others, with how many commands of it were applied before, at
            least and at most.
        homeless: complaints about linearizable queries that no read answered.
    """

    def __init__(self, ledger: ConflictLedger, operations: Sequence[Operation]) -> None:
        self.queries: list[Operation] = []
        self.at_reads: _Queries = {}
        self.reads_of: dict[int, list[Mark]] = {}
        self.stale: dict[int, list[tuple[int, int, Operation]]] = {}
        self.homeless: list[_Complaint] = []
        numbers: dict[NodeId, list[int]] = {}
        for number, stretch in enumerate(ledger.stretches):
            numbers.setdefault(stretch.node, []).append(number)
        for op in operations:
            if op.kind not in QUERIES or op.outcome != "done" or op.place is None or op.node is None:
                continue
            low, high = op.place
            its = numbers[op.node]
            number = its[bisect_right([ledger.stretches[each].began for each in its], low) - 1]
            stretch = ledger.stretches[number]
            if op.kind == "stale":
                window = bisect_right(stretch.clocks, low), bisect_right(stretch.clocks, high), op
                self.stale.setdefault(number, []).append(window)
                continue
            reads = [mark for clock, mark in stretch.reads.items() if low < clock <= high]
            if not reads:
                sentence = f"{_told(op)}, which asked for no place in the order for it"
                self.homeless.append(("ReadFresh", sentence))
                continue
            self.queries.append(op)
            self.reads_of[id(op)] = reads
            for mark in reads:
                self.at_reads.setdefault(mark, []).append(op)


def _judge_stretches(
    ledger: ConflictLedger,
    states: Sequence[State],
    places: _Places,
    fold: Fold,
    make: Callable[[], StateMachine],
) -> Iterator[_Complaint]:
    """Each node held what its own order gives, and answered stale queries from that."""
    held: dict[int, list[State]] = {}
    for state in states:
        held.setdefault(state.stretch, []).append(state)
    whole = fold.machine.snapshot()
    for number, stretch in enumerate(ledger.stretches):
        before = ledger.ends[stretch.after - 1] if stretch.after else 0
        stale = places.stale.get(number, [])
        its = held.get(number, [])
        if before + len(stretch.marks) == len(ledger.order) and not stale:
            # Nearly always, at the end. What is found otherwise is looked at more closely below.
            its = [each for each in its if each.mark < len(stretch.marks) or each.machine != whole]
        if its or stale:
            yield from _judge_stretch(ledger, stretch, ledger.order[:before], its, stale, make)


def _judge_stretch(
    ledger: ConflictLedger,
    stretch: Stretch,
    before: Sequence[Mark],
    held: Sequence[State],
    stale: Sequence[tuple[int, int, Operation]],
    make: Callable[[], StateMachine],
) -> Iterator[_Complaint]:
    fold = Fold(make)
    for at, mark in enumerate(before, 1):
        fold.apply(at, ledger.commands[mark])
    unexplained = dict.fromkeys(range(len(stale)))
    for done in range(len(stretch.marks) + 1):
        if done:
            fold.apply(len(before) + done, ledger.commands[stretch.marks[done - 1]])
        for state in held:
            if state.mark == done and fold.machine.snapshot() != state.machine:
                yield _different(state, [*before, *stretch.marks[:done]], ledger, make)
                return
        for index in list(unexplained):
            low, high, op = stale[index]
            if low <= done <= high:
                if meant(op.kind, fold.machine.query(body_of(op.kind, op.name))) == op.out:
                    del unexplained[index]
    for index in unexplained:
        yield "AnswerExact", f"{_told(stale[index][2])}, which no state that it was in then gives"


def _different(
    state: State, marks: Sequence[Mark], ledger: ConflictLedger, make: Callable[[], StateMachine]
) -> _Complaint:
    """A node holds something else than the log gives: perhaps what comes twice was carried out twice."""
    twice = Fold(make, twice=True)
    for at, mark in enumerate(marks, 1):
        twice.apply(at, ledger.commands[mark])
    after = f"after {shown(marks[-1])}" if marks else "before anything"
    where = f"node {state.node} {state.when}, {after}"
    if twice.machine.snapshot() == state.machine:
        return "AtMostOnce", f"{where}, has carried out requests as often as they were retried"
    return "StateExact", f"{where}, holds another state than what it applied gives"


# --- real time -----------------------------------------------------------------------------------------


class _Placed(NamedTuple):
    """An operation at its place in the order.

    Args:
        op: it; None for one that no client waits for.
        mark: of the command that carries it.
        latest_s: the latest call among its own and those of all that it depends on.
        origin: whose call that is, as an index.
        via: what it depends on directly, on the way there, as an index; its own for none.
    """

    op: Operation | None
    mark: Mark
    latest_s: float
    origin: int
    via: int


class _Order:
    """Operations in the order in which they were carried out, and for each the latest call that it needs."""

    def __init__(self) -> None:
        self.placed: list[_Placed] = []
        self._begin(-1)

    def _begin(self, floor: int) -> None:
        """From now on everything depends on that one."""
        self._floor = floor
        # Of what was called latest.
        self._top = floor
        self._writers: dict[bytes, int] = {}
        # Of those that read since, the one that needs the latest call.
        self._readers: dict[bytes, int] = {}
        self._range_writers: list[tuple[KeyRange, int]] = []
        self._range_readers: list[tuple[KeyRange, int]] = []

    def add(self, op: Operation | None, mark: Mark, touched: Footprint) -> _Placed:
        """The next operation."""
        placed, number = self.placed, len(self.placed)
        needs = self._top if touched.everything else self._floor
        for each in () if touched.everything else self._needed(touched):
            if needs < 0 or placed[each].latest_s > placed[needs].latest_s:
                needs = each
        called_s = op.call_s if op is not None else -_NEVER_S
        if needs >= 0 and placed[needs].latest_s >= called_s:
            one = _Placed(op, mark, placed[needs].latest_s, placed[needs].origin, needs)
        else:
            one = _Placed(op, mark, called_s, number, number)
        placed.append(one)
        if touched.everything:
            self._begin(number)
            return one
        if self._top < 0 or one.latest_s > placed[self._top].latest_s:
            self._top = number
        for key in touched.writes:
            self._writers[key] = number
            self._readers.pop(key, None)
        for key in touched.reads:
            other = self._readers.get(key, -1)
            if other < 0 or one.latest_s > placed[other].latest_s:
                self._readers[key] = number
        self._range_writers += [(each, number) for each in touched.write_ranges]
        self._range_readers += [(each, number) for each in touched.read_ranges]
        return one

    def _needed(self, touched: Footprint) -> Iterator[int]:
        """What it depends on directly, or something that depends on that."""
        reads, writes, read_ranges, write_ranges, _ = touched
        for key in (*reads, *writes):
            if key in self._writers:
                yield self._writers[key]
            yield from (number for each, number in self._range_writers if key in each)
        for key in writes:
            if key in self._readers:
                yield self._readers[key]
            yield from (number for each, number in self._range_readers if key in each)
        for span in (*read_ranges, *write_ranges):
            yield from (number for key, number in self._writers.items() if key in span)
            yield from (number for each, number in self._range_writers if each.overlaps(span))
        for span in write_ranges:
            yield from (number for key, number in self._readers.items() if key in span)
            yield from (number for each, number in self._range_readers if each.overlaps(span))

    def chain(self, number: int) -> str:
        """The commands from the origin of its latest call up to this one."""
        marks: list[Mark] = []
        while True:
            one = self.placed[number]
            if not marks or marks[-1] != one.mark:
                marks.append(one.mark)
            if one.via == number:
                break
            number = one.via
        marks.reverse()
        words = list(map(shown, marks))
        if len(words) > _SHOWN:
            words[_SHOWN // 2 : -_SHOWN // 2] = ["..."]
        return ", ".join(words)


def _judge_real_time(
    ledger: ConflictLedger,
    operations: Sequence[Operation],
    fold: Fold,
    queries: _Queries,
    make: Callable[[], StateMachine],
) -> Iterator[_Complaint]:
    """What was answered before an operation was asked does not come after it."""
    order, footprints = _Order(), Footprints(make())
    by_request = {
        (op.request.client, op.request.sequence, op.request.digest): op
        for op in operations
        if op.request is not None
    }
    numbers: dict[int, tuple[int, Footprint]] = {}
    for at, mark in enumerate(ledger.order, 1):
        for op, touched in _carried_out(ledger, mark, at, fold, by_request, queries, footprints):
            one = order.add(op, mark, touched)
            if op is None:
                continue
            numbers[id(op)] = len(order.placed) - 1, touched
            if op.outcome == "done" and op.return_s is not None and op.return_s < one.latest_s:
                earlier = order.placed[one.origin].op
                assert earlier is not None
                yield _too_late(op, earlier, order.chain(len(order.placed) - 1))
    yield from _judge_clients(operations, numbers, order)


def _carried_out(
    ledger: ConflictLedger,
    mark: Mark,
    at: int,
    fold: Fold,
    by_request: Mapping[RequestKey, Operation],
    queries: _Queries,
    footprints: Footprints,
) -> Iterator[tuple[Operation | None, Footprint]]:
    """What of a command took effect, with what it touches."""
    command = ledger.commands[mark]
    batch = read_batch(command)
    assert batch is not None, "what touches nothing is in no order"
    if batch.kind is not BatchKind.REQUESTS and batch.kind is not BatchKind.READ:
        yield None, command.footprint
    fresh = {key: body for key, body in requests_of(batch) if fold.done.get(key, (0, b""))[0] == at}
    touched, _ = footprints.of(list(fresh.values()))
    for key, one in zip(fresh, touched, strict=True):
        yield by_request.get(key), one
    for op in queries.get(mark, ()):
        (one,), _ = footprints.of([body_of(op.kind, op.name)])
        yield op, as_read(one)


def _too_late(op: Operation, earlier: Operation, chain: str) -> _Complaint:
    is_query = earlier.kind in QUERIES
    sentence = (
        f"{said(op)} of client {op.client} was answered at {op.return_s:.6f} s; after that, at "
        f"{earlier.call_s:.6f} s, client {earlier.client} asked for {said(earlier)}, which comes before it: "
        f"{chain}"
    )
    return "ReadFresh" if is_query else "RealTime", sentence


def _judge_clients(
    operations: Sequence[Operation], numbers: Mapping[int, tuple[int, Footprint]], order: _Order
) -> Iterator[_Complaint]:
    """What a client asked at the moment of its last answer comes after that, too.

    At one moment nobody else knows what was first.
    """
    last: dict[int, Operation] = {}
    for op in sorted(operations, key=lambda op: op.call_s):
        if id(op) not in numbers:
            continue
        before = last.get(op.client)
        if before is not None and before.return_s == op.call_s:
            (number, touched), (its, other) = numbers[id(op)], numbers[id(before)]
            if number < its and touched.conflicts(other):
                marks = f"{shown(order.placed[number].mark)}, {shown(order.placed[its].mark)}"
                yield _too_late(before, op, marks)
        if op.outcome == "done" and op.return_s is not None:
            last[op.client] = op


def _told(op: Operation) -> str:
    return f"client {op.client} was told {op.out!r:.60} of {said(op)} by node {op.node}"
