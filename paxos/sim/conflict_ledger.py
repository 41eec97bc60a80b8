"""The ledger of a log of which only conflicting commands have an order.

Every node applies such a log in an order of its own, and they agree wherever it matters.  The ledger notes in
which order anybody applied what conflicts, and complains at once about whoever does it differently.  Pairs of
commands are not looked at.  What touches everything (a marker, most often) cuts the log into *eras*, and each
command is in the same era everywhere.  Within an era each key has its writers in one order, and between two
of them a set of readers; a node that comes to the next writer must have applied all readers before it, and no
others later.  Who reads a range comes after the same writers of each key in it.  Only what writes ranges is
compared with each command of its era.

So the order in which commands were applied first by anybody is one that respects every conflict, and serves
as a witness: `conflict_verdict` carries the log out once more along it.

A node's life has *stretches*: one that begins at its start, and one after each snapshot that it installs.
Whatever is applied anywhere moves one clock, by which answers are put between what their node applied.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.command import Command, Footprint, digest_of
from paxos.contract import Decides, Event, Mark, Orders, ProtocolDescription
from paxos.errors import PaxosError
from paxos.service import MachineMaker, Node, Turn
from paxos.service.batches import Batch, BatchKind, read_batch
from paxos.service.conflicts import take_part
from paxos.service.footprints import Footprints, union
from paxos.service.snapshots import Content, read_content, read_snapshots
from paxos.sim.ledger import (
    Complaint,
    Ledger,
    LogLedger,
    RequestKey,
    State,
    requests_of,
    shown_command,
)
from paxos.wire import dumps

__all__ = ["ConflictLedger", "Cut", "Stretch", "ledger_of", "shown"]

_NOTHING: Final[frozenset[Any]] = frozenset()


def ledger_of(
    protocol: ProtocolDescription,
    asked: Mapping[tuple[bytes, int], bytes],
    seen: Counter[str],
    machine: MachineMaker,
) -> LogLedger | None:
    """The ledger for runs of a protocol; None for one that decides no log."""
    if protocol.decides is not Decides.LOG:
        return None
    if protocol.orders is Orders.TOTAL:
        return Ledger(asked, seen)
    return ConflictLedger(asked, seen, machine)


class Stretch:
    """What a node applied between two moments at which its state came from a snapshot, or from nothing.

    Attributes:
        node: which node.
        after: how many eras the state held at the beginning; the first for 0 is that of nothing.
        began: the ledger's clock then.
        marks: what was applied, in order.
        clocks: the ledger's clock after each.
        reads: of this node's own reads among it, the mark, by clock.
    """

    __slots__ = ("after", "began", "clocks", "marks", "node", "reads")

    def __init__(self, node: NodeId, after: int, began: int) -> None:
        self.node: NodeId = node
        self.after: int = after
        self.began: int = began
        self.marks: list[Mark] = []
        self.clocks: list[int] = []
        self.reads: dict[int, Mark] = {}


class Cut:
    """What a snapshot at a marker holds.

    Attributes:
        eras: how many eras are in it.
        node: who made it first.
        machine: the state machine's snapshot.
        number: of the marker.
    """

    __slots__ = ("eras", "machine", "node", "number")

    def __init__(self, eras: int, node: NodeId, machine: bytes, number: int) -> None:
        self.eras: int = eras
        self.node: NodeId = node
        self.machine: bytes = machine
        self.number: int = number


class _Key:
    """Who touched a key in an era: its writers in order, and before each of them, and last, the readers."""

    __slots__ = ("readers", "writers")

    def __init__(self) -> None:
        self.writers: list[Mark] = []
        self.readers: list[set[Mark]] = [set()]


class _Era:
    """What is applied between two commands that touch everything, the later one included."""

    __slots__ = ("behind", "end", "keys", "members", "writers_before")

    def __init__(self) -> None:
        #: With their footprints, in the order in which they were applied first.
        self.members: dict[Mark, Footprint] = {}
        self.keys: dict[bytes, _Key] = {}
        #: Of what reads ranges, how many writers of each key in them came before it.
        self.writers_before: dict[Mark, dict[bytes, int]] = {}
        #: Of what writes ranges, and of what conflicts with that: what it came after.
        self.behind: dict[Mark, frozenset[Mark]] = {}
        #: The command that ends it; None while it lasts.
        self.end: Mark = None


class _Position:
    """How far a node is in its era."""

    __slots__ = ("applied", "counts", "era", "own", "ranged", "stretch")

    def __init__(self, stretch: Stretch, own: bytes) -> None:
        self.stretch: Stretch = stretch
        #: By this client its own commands are known.
        self.own: bytes = own
        self.enter(stretch.after)

    def enter(self, era: int) -> None:
        self.era: int = era
        self.applied: dict[Mark, Footprint] = {}
        self.ranged: dict[Mark, Footprint] = {}
        # Of each key, how many writers were applied, and how many readers since.
        self.counts: dict[bytes, list[int]] = {}


class ConflictLedger:
    """See the room's header, and `LogLedger`.

    Args:
        asked: every request that clients made, by client and number; it grows during the run.
        seen: counts what is seen.
        machine: makes the state machine, which is asked what requests touch.

    Attributes:
        commands: what is applied at each mark, those that touch nothing included.
        order: the marks of the others, in the order in which they were applied first.
        states: what nodes held when they stopped.
        cuts: what snapshots hold.
        stretches: what nodes applied.
        ends: for each era that is over, how many of `order` were applied up to its end.
    """

    def __init__(
        self, asked: Mapping[tuple[bytes, int], bytes], seen: Counter[str], machine: MachineMaker
    ) -> None:
        self.commands: dict[Mark, Command] = {}
        # What kind of a batch each of them carries, no-ops left out.
        self._kinds: dict[Mark, BatchKind] = {}
        self.order: list[Mark] = []
        self.states: list[State] = []
        self.cuts: list[Cut] = []
        self.stretches: list[Stretch] = []
        self.ends: list[int] = []
        self._asked = asked
        self._seen = seen
        self._footprints: Callable[[Sequence[bytes]], tuple[Sequence[Footprint], dict[int, str]]]
        self._footprints = Footprints(machine()).of
        self._requests: set[RequestKey] = set()
        self._eras: list[_Era] = [_Era()]
        # In which era each command is.
        self._era_of: dict[Mark, int] = {}
        self._positions: dict[NodeId, _Position] = {}
        self._clock = 0
        # Of each node the clock before and after the last turn in which it applied something.
        self._spans: dict[NodeId, tuple[int, int]] = {}
        # Of each number of a marker: the digest of the snapshot made there, and by whom first.
        self._snapshots: dict[int, tuple[bytes, NodeId]] = {}
        self._wrong: Complaint = None

    # --- what is told -----------------------------------------------------------------------------------

    def begins(self, node: Node) -> None:
        """A node begins a life, and has not done anything yet."""
        service: Any = node.service
        self._wrong = self._wrong or self._begin(node.id, service.applied, node.identity.store_id)

    def observe(
        self,
        node: NodeId,
        applies: Sequence[tuple[Mark, Command]],
        events: Sequence[Event],
        durable: Mapping[bytes, bytes],
    ) -> Complaint:
        """A node's turn; name and sentence of what that breaks, or None."""
        if not applies and not events and self._wrong is None:
            return None
        wrong, self._wrong = self._wrong, None
        actions = {event.action for event in events}
        # What is applied in the turn in which a snapshot is installed comes after it.
        if wrong is None and "snapshot installed" in actions:
            wrong = self._took_snapshot(node, durable, installed=True)
        if wrong is None and applies:
            wrong = self.take(node, applies)
        if wrong is None and "snapshot" in actions:
            wrong = self._took_snapshot(node, durable, installed=False)
        return wrong

    def place_of(self, node: Node, turn: Turn) -> tuple[int, int]:
        """Between which clocks a node answered what it answers in a turn, after that was observed."""
        now = self._clock, self._clock
        # Where something broke, nothing may have been noted.
        return self._spans.get(node.id, now) if turn.applies else now

    def state_of(self, node: Node, when: str) -> State:
        """What a node holds now."""
        stretch = self._position(node.id).stretch
        number = self.stretches.index(stretch)
        return State(node.id, len(stretch.marks), node.machine.snapshot(), when, number)

    def holds(self, node: Node, when: str) -> None:
        """What a node holds now, at its end."""
        self.states.append(self.state_of(node, when))

    # --- the order ----------------------------------------------------------------------------------------

    def take(self, node: NodeId, applies: Sequence[tuple[Mark, Command]]) -> Complaint:
        """A node applied something; name and sentence of what that breaks, or None."""
        position, before = self._position(node), self._clock
        stretch = position.stretch
        self._spans[node] = before, before + len(applies)
        for mark, command in applies:
            self._clock += 1
            known = self.commands.get(mark)
            if known is None:
                self.commands[mark] = command
            elif known is not command and known != command:
                what = f"node {node} applied {shown_command(command)}, another node {shown_command(known)}"
                return "Agreement", f"{shown(mark)}: {what}"
            # What it carries is read once, and not at each node.
            kind = self._kinds.get(mark)
            batch = read_batch(command) if kind is None else None
            if batch is not None:
                self._kinds[mark] = kind = batch.kind
            if kind is None:
                continue
            stretch.marks.append(mark)
            stretch.clocks.append(self._clock)
            if kind is BatchKind.READ and command.request.client == position.own:
                stretch.reads[self._clock] = mark
            wrong = None if batch is None else self._note(mark, command, batch)
            wrong = wrong or self._place(node, position, mark, command.footprint)
            if wrong is not None:
                return wrong
        return None

    def _note(self, mark: Mark, command: Command, batch: Batch) -> Complaint:
        """Nobody applied it before."""
        if batch.kind is not BatchKind.REQUESTS:
            return None
        requests = requests_of(batch)
        for key, body in requests:
            if self._asked.get(key[:2]) != body:
                return (
                    "Validity",
                    f"{shown(mark)}: request {key[1]} of client {key[0]!r} is {body!r:.60}: never asked",
                )
            if key in self._requests:
                self._seen["retry deduplicated"] += 1
            self._requests.add(key)
        touched = union(self._footprints([body for _, body in requests])[0])
        if touched != command.footprint and not command.footprint.everything:
            what = f"says that it touches {command.footprint}, and what is in it touches {touched}"
            return "FootprintExact", f"{shown(mark)}: the command {what}"
        return None

    def _place(self, node: NodeId, position: _Position, mark: Mark, touched: Footprint) -> Complaint:
        """A node applies a command: in the same era as others, and there after the same conflicting ones."""
        number, era = position.era, self._eras[position.era]
        its = self._era_of.get(mark)
        if mark in position.applied or (its is not None and its < number):
            return "ExecutedOnce", f"node {node} applied {shown(mark)} twice"
        if (its is None and era.end is not None) or (its is not None and its > number):
            return self._crossed(
                era.end,
                f"node {node} applied {shown(mark)} before {shown(era.end)}, which touches everything, and "
                "others did not",
            )
        if its is None:
            self._era_of[mark] = number
            era.members[mark] = touched
            self.order.append(mark)
        position.applied[mark] = touched
        if touched.everything:
            return self._end_era(node, position, era, mark)
        wrong = self._place_by_key(node, position, era, mark, touched, its is None)
        if wrong is None and (touched[2] or touched[3] or position.ranged or era.behind):
            wrong = self._place_by_range(node, position, era, mark, touched, its is None)
        return wrong

    def _end_era(self, node: NodeId, position: _Position, era: _Era, mark: Mark) -> Complaint:
        """A node applies what touches everything: all that others applied before it must be applied here."""
        if era.end is None:
            era.end = mark
            self.ends.append(len(self.order))
            self._eras.append(_Era())
        if len(position.applied) < len(era.members):
            missing = next(each for each in era.members if each not in position.applied)
            return self._crossed(
                mark,
                f"node {node} applied {shown(mark)}, which touches everything, without {shown(missing)}, "
                "which others applied before it",
            )
        position.enter(position.era + 1)
        return None

    def _crossed(self, end: Mark, sentence: str) -> Complaint:
        batch = read_batch(self.commands[end])
        is_marker = batch is not None and batch.kind is BatchKind.MARKER
        return "BarrierCut" if is_marker else "ExecutionOrder", sentence

    def _place_by_key(
        self, node: NodeId, position: _Position, era: _Era, mark: Mark, touched: Footprint, is_new: bool
    ) -> Complaint:
        """Of each key the writers come in one order, and between two of them the same readers."""
        counts, keys = position.counts, era.keys
        for key in touched.writes:
            about, count = keys.get(key), counts.get(key)
            if about is None:
                about = keys[key] = _Key()
            if count is None:
                count = counts[key] = [0, 0]
            at = count[0]
            if at == len(about.writers):
                about.writers.append(mark)
                about.readers.append(set())
            if about.writers[at] != mark:
                return _swapped(node, mark, about.writers[at], f"write key {key!r:.60}")
            if count[1] < len(about.readers[at]):
                missing = next(each for each in about.readers[at] if each not in position.applied)
                return _swapped(node, mark, missing, f"touch key {key!r:.60}")
            count[0], count[1] = at + 1, 0
        for key in touched.reads:
            about = keys.setdefault(key, _Key())
            count = counts.setdefault(key, [0, 0])
            at = count[0]
            if is_new and at == len(about.writers):
                about.readers[at].add(mark)
            if mark not in about.readers[at]:
                # Elsewhere it came after the next writer, or before the last one.
                later = at < len(about.writers) and not any(mark in each for each in about.readers[:at])
                other = about.writers[at if later else at - 1]
                return _swapped(node, mark, other, f"touch key {key!r:.60}")
            count[1] += 1
        return None

    @staticmethod
    def _place_by_range(
        node: NodeId, position: _Position, era: _Era, mark: Mark, touched: Footprint, is_new: bool
    ) -> Complaint:
        """A range is read after the same writers of each key in it; one that is written takes every pair."""
        if touched.read_ranges:
            spans = touched.read_ranges
            found = {
                key: count[0]
                for key, count in position.counts.items()
                if count[0] and any(key in span for span in spans)
            }
            known = found if is_new else era.writers_before[mark]
            era.writers_before[mark] = known
            if found != known:
                key = next(key for key in sorted({*found, *known}) if found.get(key) != known.get(key))
                other = era.keys[key].writers[min(found.get(key, 0), known.get(key, 0))]
                return _swapped(node, mark, other, f"touch key {key!r:.60}")
        among = position.ranged
        if touched.write_ranges:
            among = position.applied
            position.ranged[mark] = touched
        behind = frozenset(other for other, its in among.items() if other != mark and its.conflicts(touched))
        if is_new and behind:
            era.behind[mark] = behind
        others = behind ^ era.behind.get(mark, _NOTHING)
        if not others:
            return None
        return _swapped(node, mark, next(each for each in era.members if each in others), "touch one key")

    # --- where nodes begin ----------------------------------------------------------------------------------

    def _position(self, node: NodeId) -> _Position:
        if node not in self._positions:
            self._begin(node, None, b"")
        return self._positions[node]

    def _begin(self, node: NodeId, mark: Mark, own: bytes) -> Complaint:
        """A node goes on after what is applied up to a marker; None for nothing."""
        after = 0
        if mark is not None:
            number = self._era_of.get(mark)
            if number is None or self._eras[number].end != mark:
                return "SnapshotExact", f"node {node} goes on after {shown(mark)}, which is no marker"
            after = number + 1
        self._clock += 1
        stretch = Stretch(node, after, self._clock)
        self.stretches.append(stretch)
        self._positions[node] = _Position(stretch, own)
        return None

    def _took_snapshot(self, node: NodeId, durable: Mapping[bytes, bytes], installed: bool) -> Complaint:
        """A node has a new snapshot on its disk."""
        try:
            snapshot, _, _ = read_snapshots(durable)
            if snapshot is None:
                return "SnapshotExact", f"node {node} says that a snapshot is on its disk; there is none"
            content: Content = read_content(snapshot)
            commands, _ = take_part(content.part)
        except PaxosError as error:
            return "SnapshotExact", f"node {node} says that a snapshot is on its disk: {error}"
        position = self._position(node)
        number = self._era_of.get(content.mark)
        if number is None or self._eras[number].end != content.mark:
            return (
                "SnapshotExact",
                f"snapshot {snapshot.number} of node {node} is at {shown(content.mark)}, which is no marker",
            )
        if commands != self.ends[number]:
            what = f"{self.ends[number]} were applied up to {shown(content.mark)}"
            return (
                "SnapshotExact",
                f"snapshot {snapshot.number} of node {node} says that it holds {commands} commands; {what}",
            )
        if installed:
            if number < position.era:
                what = f"node {node} becomes what a snapshot at {shown(content.mark)} says, and was further"
                return "SnapshotExact", what
            self._begin(node, content.mark, position.own)
        # Without what the protocol adds for itself, such as a promise, which is each node's own.
        state = digest_of(dumps((content.mark, content.sessions, content.machine)))
        digest, maker = self._snapshots.setdefault(snapshot.number, (state, node))
        if digest != state:
            return (
                "BarrierCut",
                f"the snapshots at marker {snapshot.number} of nodes {maker} and {node} differ",
            )
        if maker == node:
            self.cuts.append(Cut(number + 1, node, content.machine, snapshot.number))
        return None


def shown(mark: Mark) -> str:
    """A mark for people: that of an instance as its owner and its number."""
    if isinstance(mark, tuple):
        return f"instance {'.'.join(map(str, mark))}"
    return f"instance {mark}"


def _swapped(node: NodeId, mark: Mark, other: Mark, what: str) -> Complaint:
    both = f"{shown(mark)} and {shown(other)}, which both {what}"
    return "ExecutionOrder", f"node {node} applied {both}, in another order than other nodes"
