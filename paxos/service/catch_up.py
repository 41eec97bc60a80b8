"""Making snapshots, keeping the newest, and handing it to nodes that lag behind.

One snapshot is made at a time, a step every few milliseconds or every few thousand requests, so that it
takes a small share of the node's time however large it is.  When it is on disk the log before it may go; the
pieces of the one before go in the same write, or one after the other at the same pace if there are many.

Who lags behind is offered the newest snapshot and asks for its pieces.  While it asks, the log after that
snapshot is kept, or it would lag behind again as soon as it has all: a node that stops asking is waited
for only so long; and one that says that it has all, for as long as it takes to ask for the log after that.
"""

import logging
from collections.abc import Iterator
from typing import Final, NamedTuple

from paxos.ballot import NodeId
from paxos.contract import Event, Instant, Mark, Message, Records, StateMachine
from paxos.errors import RecordError, WireError
from paxos.service.log_messages import (
    SnapshotAsk,
    SnapshotChunk,
    SnapshotKept,
    SnapshotOffer,
)
from paxos.service.sessions import Sessions
from paxos.service.settings import LogSettings
from paxos.service.snapshots import (
    Content,
    Incoming,
    Snapshot,
    SnapshotWriter,
    Writes,
    deletions,
    read_content,
    read_snapshots,
)

__all__ = ["CatchUp", "Taken"]

#: How long a node that was offered a snapshot is waited for after it last asked, seconds.
_PATIENCE_S: Final = 10.0
#: The same after it said that it has all of it on disk.
_LOG_PATIENCE_S: Final = 2.0
#: Who has sent no piece for so many repetitions is given up for another that offers its own.
_REPEATS: Final = 3
#: The same for another that offers the very same.
_REPEATS_OF_SAME: Final = 1
_NEVER_S: Final = float("inf")
#: A step takes about as long as so many requests, divided by the share of the node's time that it may take.
_STEP_REQUESTS: Final = 3000
#: A pause is stretched so many times at most; and not at all for so many steps, with which most are done.
_STRETCH: Final = 5.0
_FIRST_STEPS: Final = 16
#: Pieces removed in one write, at most: a store takes its time for each, and clients wait for the write.
_REMOVED_AT_ONCE: Final = 8


class Taken(NamedTuple):
    """What is to be done about snapshots.

    Args:
        writes: durable records.
        sends: messages; a `SnapshotKept` when the writes are on disk.
        events: what happened.
        compact: what came up to this mark may be forgotten; None for nothing.
        wake_at_s: when to tick next, monotonic seconds, or None.
    """

    writes: Writes
    sends: list[tuple[NodeId, Message]]
    events: list[Event]
    compact: Mark
    wake_at_s: float | None


class _Serving:
    """A snapshot on its way to another node."""

    __slots__ = ("snapshot", "until_s")

    def __init__(self, snapshot: Snapshot, now_s: float) -> None:
        self.snapshot = snapshot
        self.until_s = now_s + _PATIENCE_S


class _Pace:
    """How long to pause between two steps.

    As long as is set, where the node has the time for it.  Steps that come so often while few requests are
    carried out may be the cause: on a machine that has other work, a node gets a part of the time, and the
    steps would take most of that.  How busy a machine is can not be seen from here; how much was carried out
    since the last step can.  So the pause is stretched until enough was; not without bound, or a snapshot of
    a node that has little to do would take for ever; and not at all when nobody is disturbed.

    Args:
        piece_s: the pause that is set, seconds.
    """

    __slots__ = ("_at_s", "_piece_s", "_requests", "_steps")

    def __init__(self, piece_s: float) -> None:
        self._piece_s = piece_s
        self._at_s = 0.0
        self._requests = 0
        self._steps = 0

    def begin(self) -> None:
        """A snapshot begins."""
        self._steps = 0

    def pause_s(self, now_s: float, requests: int) -> float:
        """After a step: seconds until the next. `requests`: carried out until now."""
        took_s, self._at_s = now_s - self._at_s, now_s
        done, self._requests = requests - self._requests, requests
        self._steps += 1
        if self._steps <= _FIRST_STEPS or done <= 0:
            return self._piece_s
        return min(max(took_s * _STEP_REQUESTS / done, self._piece_s), _STRETCH * self._piece_s)


class CatchUp:
    """The snapshots of one node.

    Args:
        node: its id.
        settings: periods and bounds.
        records: what the store holds of snapshots.
        now: the time.

    Raises:
        RecordError: a record is damaged.
    """

    def __init__(self, node: NodeId, settings: LogSettings, records: Records, now: Instant) -> None:
        self._node = node
        self._settings = settings
        self._now_s = now.monotonic_s
        #: Whether `take` would give nothing, for sure: looked at after each message that a node takes in.
        self.is_idle: bool = False
        self._writes: Writes = []
        self._sends: list[tuple[NodeId, Message]] = []
        self._events: list[Event] = []
        snapshot, incoming, stale = read_snapshots(records)
        self._writes += stale
        self._snapshot: Snapshot | None = snapshot
        self._marks: dict[int, Mark] = {}
        #: What the store's snapshot holds; None when there is none.
        self.content: Content | None = None
        if snapshot is not None:
            try:
                self.content = read_content(snapshot)
            except WireError as error:
                raise RecordError(f"snapshot {snapshot.number}: {error}") from error
            self._marks[snapshot.number] = self.content.mark
        self._writer: SnapshotWriter | None = None
        # Removals of old pieces that are still to be written, the first ones last. What is lost of them in a
        # crash is found at the next start.
        self._removals: Writes = []
        # When the next step is due, of a snapshot or of removing one.
        self._step_at_s = _NEVER_S
        self._pace = _Pace(settings.piece_s)
        # Complete and on its way to the disk; and what is in it, if it is another node's.
        self._finishing: Snapshot | None = None
        self._arrived: Content | None = None
        # Whoever sent what is here of it may go on with it, so others wait.
        self._incoming: Incoming | None = incoming
        self._source: NodeId | None = None
        # Who offered it, and so may be asked for pieces of it.
        self._sources: set[NodeId] = set()
        self._asked: set[int] = set()
        self._repeat_at_s = _NEVER_S
        # When the source is given up, if nothing comes from it.
        self._doubt_at_s = self._now_s + _REPEATS * settings.repeat_s
        self._serving: dict[NodeId, _Serving] = {}
        # What may be forgotten once nobody is served.
        self._compact: Mark = None

    # --- making one ---------------------------------------------------------------------------------

    @property
    def snapshot_bytes(self) -> int:
        """How large the newest snapshot is; 0 when there is none."""
        return 0 if self._snapshot is None else sum(map(len, self._snapshot.chunks))

    def begin(self, mark: Mark, part: bytes, sessions: Sessions, machine: StateMachine, now: Instant) -> bool:
        """At a marker: begin a snapshot of the state as it is now; False when one is being made already."""
        self._now_s, self.is_idle = now.monotonic_s, False
        if self._incoming is not None and self._incoming.number <= sessions.markers:
            self._drop_incoming()  # this node has caught up by itself
        if self._writer is not None or self._finishing is not None:
            return False
        self._writer = SnapshotWriter(mark, part, sessions, machine)
        self._marks[self._writer.number] = mark
        self._step_at_s = self._now_s
        self._pace.begin()
        return True

    def _step(self, requests: int) -> None:
        """Remove a piece that is no longer needed, or go on with the snapshot that is being made."""
        self._step_at_s = self._now_s + self._pace.pause_s(self._now_s, requests)
        if self._removals:
            self._writes.append(self._removals.pop())
        elif self._writer is not None:
            writes, snapshot = self._writer.step()
            self._writes += writes
            if snapshot is not None:
                self._writer = None
                self._finish(snapshot)
        if self._writer is None and not self._removals:
            self._step_at_s = _NEVER_S

    def _remove(self, removals: Writes) -> None:
        """Remove pieces, some at once and the others at the pace of the steps."""
        self._writes += removals[:_REMOVED_AT_ONCE]
        if len(removals) > _REMOVED_AT_ONCE:
            self._removals[:0] = removals[: _REMOVED_AT_ONCE - 1 : -1]
            self._step_at_s = min(self._step_at_s, self._now_s + self._settings.piece_s)

    def _finish(self, snapshot: Snapshot, arrived: Content | None = None) -> None:
        """All of it is written, but for the removal of the one before."""
        for old in (self._snapshot, self._finishing):
            if old is not None:
                self._remove(deletions(old.number, len(old.chunks)))
        self._finishing, self._arrived = snapshot, arrived
        self._sends.append((self._node, SnapshotKept(snapshot.number)))

    # --- what comes in ------------------------------------------------------------------------------

    def receive(self, sender: NodeId, message: Message, markers: int, now: Instant) -> Content | None:
        """Handle a message; what to become, when the snapshot of another node is here and on disk.

        Args:
            sender: who sent it.
            message: about snapshots.
            markers: how many markers were applied here.
            now: the time.
        """
        self._now_s, self.is_idle = now.monotonic_s, False
        if message.__class__ is SnapshotKept:
            if sender == self._node:
                return self._kept(message.number, markers)
            self._has_arrived(sender, message.number)
        if message.__class__ is SnapshotOffer:
            self._on_offer(sender, message, markers)
        elif message.__class__ is SnapshotAsk:
            self._on_ask(sender, message)
        elif message.__class__ is SnapshotChunk:
            self._on_chunk(sender, message, markers)
        return None

    def _kept(self, number: int, markers: int) -> Content | None:
        snapshot = self._finishing
        if snapshot is None or snapshot.number != number:
            return None
        arrived = self._arrived
        self._finishing, self._arrived, self._snapshot = None, None, snapshot
        if arrived is not None:
            self._marks[number] = arrived.mark
        self._forget_marks(number)
        if arrived is None or number <= markers:  # this node made it, or has caught up by itself meanwhile
            self._compact = self._marks[number]
            self._tell(
                "snapshot",
                f"snapshot {number} is on disk: {len(snapshot.chunks)} pieces",
                number=number,
                digest=snapshot.digest.hex(),
            )
            return None
        self._compact = None
        self._tell("snapshot installed", f"snapshot {number} of another node is installed")
        return arrived

    def _forget_marks(self, number: int) -> None:
        for old in [each for each in self._marks if each < number]:
            del self._marks[old]

    # --- behind others ------------------------------------------------------------------------------

    def _on_offer(self, sender: NodeId, offer: SnapshotOffer, markers: int) -> None:
        self._compare(sender, offer)
        if offer.number <= markers or self._finishing is not None:
            return
        incoming = self._incoming
        if incoming is not None:
            if incoming.is_offered(offer.number, offer.chunks, offer.digest):
                self._sources.add(sender)
                # Where several offer it again and again, one that sends is not left for another: all that it
                # was asked for would be asked for once more, and where the way is long never come.
                silence_s = (_REPEATS - _REPEATS_OF_SAME) * self._settings.repeat_s
                if self._source is None or self._now_s >= self._doubt_at_s - silence_s:
                    self._ask_from(sender)
                return
            if self._now_s < self._doubt_at_s:
                return  # it is coming in well, or was before a restart: another one would only be later
            self._writes += incoming.discard()
        self._sources.clear()
        self._incoming = incoming = Incoming(offer.number, offer.chunks, offer.digest)
        self._writes += incoming.begin()
        self._tell("snapshot wanted", f"node {sender} sends snapshot {offer.number}: {offer.chunks} pieces")
        self._ask_from(sender)

    def _compare(self, sender: NodeId, offer: SnapshotOffer) -> None:
        """What two nodes made at one marker must be the same."""
        own = self._snapshot
        if own is not None and own.number == offer.number and own.digest != offer.digest:
            self._tell(
                "states differ",
                f"node {sender} made another snapshot {offer.number} than this node: their states differ, as "
                "when a state machine is not deterministic, or its footprints leave out a key",
                logging.ERROR,
            )

    def _ask_from(self, source: NodeId) -> None:
        self._source = source
        self._sources.add(source)
        self._hope()
        self._asked.clear()
        self._ask_more()

    def _hope(self) -> None:
        """The source is there."""
        self._doubt_at_s = self._now_s + _REPEATS * self._settings.repeat_s

    def _ask_more(self) -> None:
        incoming, source = self._incoming, self._source
        if incoming is None or source is None:
            return
        for index in incoming.missing(self._settings.pieces_asked):
            if index not in self._asked:
                self._asked.add(index)
                self._sends.append((source, SnapshotAsk(incoming.number, index)))
        self._repeat_at_s = self._now_s + self._settings.repeat_s

    def _on_chunk(self, sender: NodeId, chunk: SnapshotChunk, markers: int) -> None:
        incoming = self._incoming
        if incoming is None or sender not in self._sources or chunk.number != incoming.number:
            return
        if sender == self._source:
            self._hope()
        elif chunk.data is None:
            return  # it has another one by now, which is nothing to who is asked
        if chunk.number <= markers or chunk.data is None:
            self._drop_incoming()
            return
        self._asked.discard(chunk.piece)
        self._writes += incoming.take(chunk.piece, chunk.data)
        if len(incoming.chunks) < incoming.count:
            self._ask_more()
            return
        snapshot = incoming.finish()
        content = _readable(snapshot) if snapshot is not None else None
        if snapshot is None or content is None:
            self._tell(
                "snapshot refused",
                f"snapshot {incoming.number} of node {sender} is not what its digest says: asked for anew",
                logging.WARNING,
            )
            self._drop_incoming()
            return
        if self._writer is not None:
            self._remove(self._writer.discard())  # what it makes is older
            self._writer = None
        self._writes += incoming.adopt()
        self._incoming, self._source, self._repeat_at_s = None, None, _NEVER_S
        self._finish(snapshot, content)
        # Whoever kept the log for it until now may soon stop.
        self._sends += [(source, SnapshotKept(snapshot.number)) for source in sorted(self._sources)]
        self._sources.clear()

    def _drop_incoming(self) -> None:
        if self._incoming is not None:
            self._writes += self._incoming.discard()
        self._incoming, self._source, self._repeat_at_s = None, None, _NEVER_S
        self._asked.clear()
        self._sources.clear()

    # --- ahead of others ----------------------------------------------------------------------------

    def offer(self, recipient: NodeId, now: Instant) -> None:
        """A node needs what is gone from the log: offer it the newest snapshot."""
        self._now_s, self.is_idle = now.monotonic_s, False
        serving = self._serving.get(recipient)
        snapshot = self._snapshot
        if serving is not None and not self._is_over(serving):
            # It may have much of that one already, and the log after it is still here.
            snapshot = serving.snapshot
        if snapshot is None:
            return
        if serving is None or serving.snapshot is not snapshot:
            self._serving[recipient] = _Serving(snapshot, self._now_s)
        message = SnapshotOffer(snapshot.number, len(snapshot.chunks), snapshot.digest)
        self._sends.append((recipient, message))

    def _on_ask(self, sender: NodeId, ask: SnapshotAsk) -> None:
        serving = self._serving.get(sender)
        snapshot = self._snapshot
        if serving is not None and serving.snapshot.number == ask.number:
            snapshot = serving.snapshot
        if snapshot is None or snapshot.number != ask.number or ask.piece >= len(snapshot.chunks):
            self._sends.append((sender, SnapshotChunk(ask.number, ask.piece, None)))
            return
        if serving is None or serving.snapshot is not snapshot:
            self._serving[sender] = _Serving(snapshot, self._now_s)
        else:
            serving.until_s = self._now_s + _PATIENCE_S
        self._sends.append((sender, SnapshotChunk(ask.number, ask.piece, snapshot.chunks[ask.piece])))

    def _has_arrived(self, node: NodeId, number: int) -> None:
        """A node has all of a snapshot on its disk, and asks for the log after it now."""
        serving = self._serving.get(node)
        if serving is not None and serving.snapshot.number == number:
            serving.until_s = min(serving.until_s, self._now_s + _LOG_PATIENCE_S)

    # --- time, and what is to be done ---------------------------------------------------------------

    def tick(self, now: Instant, requests: int) -> None:
        """Do what is due. `requests`: carried out by this node until now."""
        self._now_s, self.is_idle = now.monotonic_s, False
        if self._now_s >= self._step_at_s:
            self._step(requests)
        if self._now_s >= self._repeat_at_s:
            self._asked.clear()
            self._ask_more()
        for node in [each for each, serving in self._serving.items() if self._is_over(serving)]:
            del self._serving[node]

    def _is_over(self, serving: _Serving) -> bool:
        return self._now_s >= serving.until_s

    def _wakes(self) -> Iterator[float]:
        yield self._step_at_s
        yield self._repeat_at_s
        for serving in self._serving.values():
            yield serving.until_s

    def take(self) -> Taken:
        """What is to be done."""
        compact = None
        if self._compact is not None and not self._serving:
            compact, self._compact = self._compact, None
        wake_at_s = min(self._wakes())
        taken = Taken(
            self._writes, self._sends, self._events, compact, None if wake_at_s == _NEVER_S else wake_at_s
        )
        self._writes, self._sends, self._events = [], [], []
        self.is_idle = self._compact is None and not self._serving and wake_at_s == _NEVER_S
        return taken

    def _tell(self, action: str, sentence: str, level: int = logging.INFO, **about: object) -> None:
        arguments = {"text": sentence, "level": level, **about}
        self._events.append(Event(action, self._node, arguments, "snapshot"))

    def status(self) -> dict[str, object]:
        """For people and tools: JSON-able."""
        incoming = self._incoming
        return {
            "snapshot": self._snapshot.number if self._snapshot is not None else None,
            "snapshot_digest": self._snapshot.digest.hex() if self._snapshot is not None else None,
            "snapshot_pieces": len(self._snapshot.chunks) if self._snapshot is not None else 0,
            "snapshot_being_made": self._writer.number if self._writer is not None else None,
            "snapshot_coming": None
            if incoming is None
            else {"number": incoming.number, "pieces": incoming.count, "here": len(incoming.chunks)},
            "snapshot_serving": {str(node): each.snapshot.number for node, each in self._serving.items()},
        }


def _readable(snapshot: Snapshot) -> Content | None:
    """What is in a snapshot that came from elsewhere; None if it is nothing that this release can become."""
    try:
        content = read_content(snapshot)
        Sessions().unpack(content.sessions)
    except WireError:
        return None
    return content
