"""What a run did, written down step by step: what charts are drawn from and schedules are made of.

A `Recorder` is an invariant that never breaks.  Shown every step of a run, timed or moved by hand, it keeps
the few facts that somebody may ask for later.  A run without one pays nothing.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import attrs

from paxos.ballot import NodeId
from paxos.command import Command
from paxos.contract import (
    Configuration,
    Invariant,
    InvariantMaker,
    Message,
    ProtocolDescription,
    Replica,
    Step,
)
from paxos.quorum import QuorumSystem
from paxos.service import Introduce
from paxos.service.log_messages import Query, SubmitMany
from paxos.sim.moves import Asked, Move, topic_of
from paxos.sim.questions import asked_of
from paxos.sim.stepper import Stepper

__all__ = ["Record", "Recorder", "asked_in", "recorded", "schedule_of", "with_times"]

#: What one schedule is made of at most. The end of a longer run is not kept, and there it broke: it can not
#: be made a schedule.
_MAX_RECORDS: Final = 200_000
#: How many syncs one may stand for.
_MAX_SYNCS: Final = 4
_SERVICE: Final = Introduce.__module__
#: How many moves are tried as the last one, when a run did not tell.
_MAX_LAST: Final = 30


#: Of a log: which requests were asked with the same words, in order.
_Requests: TypeAlias = dict[Asked, list[Hashable]]


class Record(NamedTuple):
    """One step of a run.

    Args:
        action: as in `paxos.contract.Step`.
        node: where.
        sender: of a message that was received.
        message: that message; of a log also what a client sent.
        submitted: what a client asked.
        applies: what the step decided: mark and payload.
        durable: "crash" and "durable": what is on the replica's disk then.
        busy: whether it made or let go any message of the protocol.
        first: "restart": whether it is the node's first start.
        at_s: of a timed run: virtual seconds from its start.
    """

    action: str
    node: NodeId
    sender: NodeId | None
    message: Message | None
    submitted: Command | None
    applies: tuple[tuple[Any, bytes], ...]
    durable: Mapping[bytes, bytes] | None
    busy: bool = False
    first: bool = False
    at_s: float | None = None


class Recorder:
    """Writes every step down.

    Attributes:
        name: as every invariant has one.
        records: the steps so far; the first 200000 of a longer run.
        truncated: whether there were more.
    """

    name: str = "Recorder"

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.truncated: bool = False
        self._started: set[NodeId] = set()
        self._disks: dict[NodeId, dict[bytes, bytes]] = {}

    def observe(self, step: Step) -> str | None:
        """Write one step down; nothing breaks."""
        if len(self.records) >= _MAX_RECORDS:
            self.truncated = True
        else:
            applies = tuple((mark, command.payload) for mark, command in step.applies) if step.applies else ()
            durable = self._durable(step) if step.action in ("crash", "durable") else None
            first = step.node not in self._started
            self._started.add(step.node)
            # What nodes say to get to know each other is no message of the protocol.
            busy = bool(
                step.writes or any(type(m).__module__ != _SERVICE for _, m in (*step.created, *step.left))
            )
            self.records.append(
                Record(
                    step.action,
                    step.node,
                    step.sender,
                    step.message,
                    step.submitted,
                    applies,
                    durable,
                    busy,
                    first,
                )
            )
        return None

    def _durable(self, step: Step) -> Mapping[bytes, bytes]:
        before = self._disks.get(step.node)
        if before is None or before != step.durable:
            before = self._disks[step.node] = dict(step.durable)
        return before


def recorded(protocol: ProtocolDescription, *, quiet: bool = False) -> tuple[ProtocolDescription, Recorder]:
    """The protocol with a recorder before its invariants, and the recorder.

    Args:
        protocol: what is run.
        quiet: its replicas tell no events, though the run is traced.
    """
    recorder = Recorder()

    def make(quorums: QuorumSystem) -> Invariant:
        return recorder

    def replica(configuration: Configuration, *more: Any) -> Replica:
        return protocol.replica(attrs.evolve(configuration, trace=False), *more)

    makers: tuple[InvariantMaker, ...] = (make, *protocol.invariants)
    return attrs.evolve(protocol, invariants=makers, replica=replica if quiet else protocol.replica), recorder


def with_times(records: Sequence[Record], trace: bytes) -> tuple[Record, ...]:
    """The steps of a timed run with their times, which stand in its trace: invariants are told none.

    Args:
        records: of the run.
        trace: of the same run, one JSON line a step. It may have more steps than were shown to invariants.
    """
    lines = map(json.loads, trace.splitlines())
    timed = []
    for record in records:
        for line in lines:
            action = "restart" if line["action"] == "start" else line["action"]
            if (action, line.get("node"), line.get("sender")) == (record.action, record.node, record.sender):
                timed.append(record._replace(at_s=line["at_ns"] / 1e9))
                break
    return (*timed, *records[len(timed) :])


def schedule_of(
    records: Sequence[Record], make: Callable[[], Stepper], accepted: frozenset[str]
) -> tuple[str, ...] | None:
    """A recorded run as moves, if these break the same.

    Every step is made again by hand where that is possible: a message is found by its content.  What timed
    runs have and moves have not (introductions, queues, clocks that differ) is left out, so the result is
    tried before it is given.

    Args:
        records: of a run.
        make: makes the stepper on which it is tried.
        accepted: names of the violations that count.

    Returns:
        The lines of the schedule; None when it does not break the same.
    """
    stepper = make()
    lines: list[str] = []
    for move in _moves(records, stepper):
        if stepper.do(move):
            lines.append(str(move))
            if stepper.violations:
                break
    if not stepper.judge():
        return _last_move(make, lines, records, accepted)
    return tuple(lines) if stepper.violations[0].name in accepted else None


def _last_move(
    make: Callable[[], Stepper], lines: list[str], records: Sequence[Record], accepted: frozenset[str]
) -> tuple[str, ...] | None:
    """A node that raises shows only its end, not what it was called with: every move there is tried."""
    if not records or records[-1].action != "crash":
        return None
    if lines and lines[-1].startswith("crash"):
        lines = lines[:-1]
    stepper = make()
    stepper.play(lines)
    kinds = ("deliver", "sync", "submit", "tick", "restart")
    there = [move for move in stepper.enabled() if move.node == records[-1].node and move.kind in kinds]
    # What came last is most often what was sent last.
    for move in there[: -_MAX_LAST - 1 : -1]:
        other = make()
        other.play(lines)
        if other.do(move) and other.judge() and other.violations[0].name in accepted:
            return (*lines, str(move))
    return None


def _moves(records: Sequence[Record], stepper: Stepper) -> Iterator[Move]:
    """The moves of a recorded run, one after the other, each by what is in flight when it is asked for."""
    # A message that arrives more often than it is in flight was copied, or repeated at another time.
    to_come = Counter(map(_content, records))
    # A node that is not yet known to the others drops what it hears, and keeps what it is asked.
    awake = _awake(records)
    early: dict[NodeId, list[Move]] = defaultdict(list)
    asked: _Requests = defaultdict(list)
    for index, record in enumerate(records):
        if index < awake.get(record.node, len(records)) and record.action in ("request", "receive", "tick"):
            if record.action == "request":
                early[record.node] += _move_of(record, stepper, asked)
            continue
        yield from early.pop(record.node, ())
        content = _content(record)
        to_come[content] -= 1
        for move in _move_of(record, stepper, asked):
            if move.kind == "deliver" and to_come[content] > 0:
                yield move._replace(kind="duplicate")
            yield move


def _awake(records: Sequence[Record]) -> dict[NodeId, int]:
    """Since which step each node takes part: the first in which it said or wrote anything of the protocol."""
    awake: dict[NodeId, int] = {}
    for index, record in enumerate(records):
        if (record.busy or record.applies) and record.action not in ("restart", "durable"):
            awake.setdefault(record.node, index)
    return awake


def _content(record: Record) -> Hashable:
    message: Any = record.message
    if message is None or record.action == "request":
        return None
    try:
        hash(message)
    except TypeError:  # there are lists in it
        return (record.sender, record.node, type(message), repr(message))
    return (record.sender, record.node, type(message), message)


def _move_of(record: Record, stepper: Stepper, requests: _Requests) -> Iterator[Move]:
    action, node = record.action, record.node
    if action == "durable":
        yield from _syncs(record, stepper)
    elif action == "receive":
        move = None if record.sender == node else _delivery(record, stepper)
        if move is not None:
            yield move
    elif action == "request":
        asked = asked_in(record)
        if asked is not None:
            yield Move("submit", node, asked=_numbered(asked, record.message, requests))
    elif action == "crash":
        yield _crash(record, stepper)
    elif action in ("tick", "restart"):
        yield Move(action, node)


def _numbered(asked: Asked, message: Message | None, requests: _Requests) -> Asked:
    """Requests of a log that have the same words, told apart: the second of them is number 2."""
    if isinstance(message, SubmitMany):
        name: Hashable = message.run.request(0)
    elif isinstance(message, Query):
        name = message.sequence
    else:
        return asked
    known = requests[asked]
    if name not in known:
        known.append(name)
    return asked._replace(number=known.index(name) + 1 if name != known[0] else 0)


def _delivery(record: Record, stepper: Stepper) -> Move | None:
    """The message of the same content, and where there is none the oldest of its kind."""
    message = record.message
    name, topic = type(message).__name__, topic_of(message)
    nth, found = 0, 0
    for flight in stepper.pool:
        if (
            flight.recipient == record.node
            and flight.sender == record.sender
            and type(flight.message) is type(message)
            and flight.topic == topic
        ):
            nth += 1
            if not found and flight.message == message:
                found = nth
    if not found or record.sender is None:
        return None
    return Move("deliver", record.node, record.sender, name, topic, found)


def asked_in(record: Record) -> Asked | None:
    """What a client asked in a step; None for what moves have no words for."""
    command = record.submitted
    if command is None:
        return asked_of(record.message)
    footprint = command.footprint
    if footprint.writes:
        return Asked("decide", footprint.writes[0], command.payload)
    return Asked("decided", footprint.reads[0], None)


def _syncs(record: Record, stepper: Stepper) -> Iterator[Move]:
    """As many syncs as it takes until the disk holds the same: other writes may have joined in one."""
    disk = stepper.disk(record.node)
    for number in range(_MAX_SYNCS):
        if disk.replica_records == record.durable and (number or not record.busy):
            return
        yield Move("sync", record.node)


def _crash(record: Record, stepper: Stepper) -> Move:
    """How many batches survived is seen by what the disk held afterwards."""
    batches = stepper.disk(record.node).unsynced
    keep = stepper.survivors(record.node, record.durable or {}) if batches else 0
    if not keep:
        return Move("crash", record.node)
    if keep == batches:
        return Move("crash", record.node, unsynced="kept")
    return Move("crash", record.node, unsynced="torn", keep=keep)
