"""What `paxos bench core` and `paxos bench wire` measure, as functions that give a rate.

Whatever runs here is what users run: the real roles, the real messages, the real codec.  A rate is taken
over a fixed amount of work and in processor time, so that what else the machine does is left out; the
command repeats all of them in turn and takes the median of each, so that a machine that becomes slower for
a while does not favour one over another.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from paxos.ballot import BOTTOM, Ballot
from paxos.basic import Accept, Accepted, Acceptor, Learner, Prepare, Promise, Proposer, protocol
from paxos.command import RequestId, digest_of
from paxos.errors import ProtocolBreach
from paxos.quorum import Majority
from paxos.service import Submit, decide_request, message_table
from paxos.wire import FrameBuffer, MessageTable

__all__ = ["Measure", "Rate", "core_measures", "repeat", "wire_measures"]

_VALUE: Final = b"blue"
_DECREE: Final = b"leader"


@attrs.frozen
class Measure:
    """One thing to measure.

    Args:
        name: what it is.
        unit: what is counted.
        work: does that many and returns when they are done.
    """

    name: str
    unit: str
    work: Callable[[int], None]


@attrs.frozen
class Rate:
    """What came out.

    Args:
        name, unit: of the measure.
        median: per second.
        low, high: the slowest and the fastest repeat, per second.
        repeats: how many repeats.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    repeats: int


def repeat(
    measures: Sequence[Measure],
    repeats: int,
    seconds: float,
    done: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.process_time,
) -> list[Rate]:
    """Take every measure in turn, `repeats` times, and give the median rate of each.

    Args:
        measures: what to measure.
        repeats: rounds over all of them.
        seconds: about how long one measure takes, seconds.
        done: called after each measure.
        clock: seconds that never go back; processor time unless a test says otherwise.
    """
    counts = [_count_for(measure, seconds, clock) for measure in measures]
    rates: list[list[float]] = [[] for _ in measures]
    for _ in range(repeats):
        for measure, number, found in zip(measures, counts, rates, strict=True):
            with _no_garbage_collection():
                start_s = clock()
                measure.work(number)
                found.append(number / (clock() - start_s))
            done()
    return [
        Rate(measure.name, measure.unit, statistics.median(found), min(found), max(found), repeats)
        for measure, found in zip(measures, rates, strict=True)
    ]


def _count_for(measure: Measure, seconds: float, clock: Callable[[], float]) -> int:
    """How much work takes about that long; the first runs also warm up."""
    number = 1
    while True:
        start_s = clock()
        measure.work(number)
        took_s = clock() - start_s
        if took_s >= seconds / 8 or number >= 1 << 30:
            return max(1, round(number * seconds / max(took_s, 1e-9)))
        number *= 2


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """As `timeit` does: a collection belongs to all the work before it, not to what it interrupts."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# --- core --------------------------------------------------------------------------------------------


def core_measures() -> list[Measure]:
    """Decisions by roles that are called directly: both phases, every message delivered, nothing stored."""
    return [_decisions(acceptors) for acceptors in (3, 5)]


def _decisions(acceptors: int) -> Measure:
    quorums = Majority(range(1, acceptors + 1))

    def work(number: int) -> None:
        for _ in range(number):
            decide_once(quorums)

    return Measure(f"{acceptors} acceptors", "decisions", work)


def decide_once(quorums: Majority) -> None:
    """One decree from nothing to decided, between fresh roles; what is measured is this."""
    acceptors = [(node, Acceptor()) for node in quorums.members]
    proposer = Proposer(1, quorums, _VALUE)
    learner = Learner(quorums)
    prepare = proposer.prepare()
    accept = None
    for node, acceptor in acceptors:
        question = proposer.receive(node, acceptor.receive(1, prepare))
        if question is not None:
            accept = question
    decision = None
    for node, acceptor in acceptors:
        vote = acceptor.receive(1, accept)  # type: ignore[arg-type]
        decision = learner.receive(node, vote) or decision
    if decision is None or decision.value != _VALUE:
        raise ProtocolBreach(f"the benchmark decided {decision!r}")


# --- wire --------------------------------------------------------------------------------------------


def wire_measures() -> list[Measure]:
    """Encoding and decoding of the messages that a decision takes, one to a frame and many to a frame."""
    table = message_table(protocol)
    ballot, value = Ballot(7, 2), bytes(64)
    body = decide_request(_DECREE, value)
    kinds: list[object] = [
        Prepare(_DECREE, ballot),
        Promise(_DECREE, ballot, BOTTOM, None),
        Accept(_DECREE, ballot, value),
        Accepted(_DECREE, ballot, value),
    ]
    messages = [*kinds, Submit(RequestId(b"c" * 16, 0, 1, digest_of(body)), body)]
    found = []
    for batch in (1, 64):
        found += _wire_pair(table, messages, batch)
    return found


def _wire_pair(table: MessageTable, messages: Sequence[object], batch: int) -> list[Measure]:
    frames = [[messages[(at + more) % len(messages)] for more in range(batch)] for at in range(len(messages))]
    encoded = [table.encode(frame) for frame in frames]
    kinds = len(frames)

    def encode(number: int) -> None:
        for at in range(-(-number // batch)):
            table.encode(frames[at % kinds])

    def decode(number: int) -> None:
        for at in range(-(-number // batch)):
            for body in FrameBuffer().feed(encoded[at % kinds]):
                table.decode(body)

    many = "1 message a frame" if batch == 1 else f"{batch} messages a frame"
    return [Measure(f"encode, {many}", "messages", encode), Measure(f"decode, {many}", "messages", decode)]
