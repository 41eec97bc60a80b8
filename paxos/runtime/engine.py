"""The synchronous heart of a running node: one `Node`, and where its turns go.

Everything here happens between two awaits of somebody else.  A connection hands in the messages of one
chunk that it read; the node handles them all; then its one turn is carried out: sends go to the peers'
outboxes, writes and held messages to the disk, answers to the clients' outboxes.  Nothing here waits, so
nothing here needs a lock, and no message costs a switch of tasks.

Whatever the node raises stops it: the engine keeps the error, tells its owner, and from then on does
nothing, since a node in an unknown state must not speak.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

import anyio

from paxos.ballot import NodeId
from paxos.contract import Instant
from paxos.errors import NodeStopped, PaxosError
from paxos.runtime.disk import Disk
from paxos.runtime.events import EventSink
from paxos.runtime.outbox import ClientOutbox, PeerOutbox
from paxos.service import AskStatus, ClientKey, Node, StatusReply

__all__ = ["Engine", "read_clocks"]

#: An alarm is moved only for a gain above this, seconds.
_SOONER_S: Final = 0.001
_FAR_S: Final = 3600.0

_Messages: TypeAlias = Iterable[Any]


def elapsed_s() -> float:
    """Seconds on a clock that never goes back, and goes on while the machine sleeps, where there is one.

    A leader that slept through its lease must know. `time.monotonic` would not tell it: what Linux and macOS
    give for that stands still meanwhile.
    """
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


def read_clocks() -> Instant:
    """The time, as nodes are told it; nobody here knows how wrong the wall clock is."""
    return Instant(elapsed_s(), time.time())


class _Bell:
    """Goes to the disk like a message of the node to itself, and rings when it comes back."""

    __slots__ = ("rung",)

    def __init__(self) -> None:
        self.rung = anyio.Event()


class Engine:
    """Drives one node.

    Args:
        node: the node, just made.
        peers: an outbox for each other member.
        events: where to report.
        failed: called once, with the error that stopped the node.

    Attributes:
        clocks: what the node is told of the time.
    """

    def __init__(
        self,
        node: Node,
        peers: dict[NodeId, PeerOutbox],
        events: EventSink,
        failed: Callable[[Exception], None],
    ) -> None:
        self.node = node
        self.clocks: Callable[[], Instant] = read_clocks
        self.peers = peers
        self.clients: dict[ClientKey, ClientOutbox] = {}
        self.disk: Disk | None = None
        #: Set while the replica takes requests, and the disk.
        self.room: anyio.Event = anyio.Event()
        self.room.set()
        self.stopped: bool = False
        self._events = events
        self._failed = failed
        self._to_self: list[Any] = []
        self._wake_at_s: float | None = None
        self._sleeping_until_s = 0.0
        self._alarm = anyio.Event()

    # --- what comes in ------------------------------------------------------------------------------

    def start(self, disk: Disk) -> None:
        """Carry out what the node wanted when it was made."""
        self.disk = disk
        self._step(lambda now: None)

    def receive(self, sender: NodeId, messages: _Messages) -> None:
        """Messages of a peer, in order."""
        if self.stopped:
            return
        now = self.clocks()
        node = self.node
        try:
            for message in messages:
                node.receive(sender, message, now)
            self._pump(now)
        except Exception as error:
            self.stop(error)

    def request(self, client: ClientKey, messages: _Messages) -> None:
        """Messages of a client, in order."""
        if self.stopped:
            return
        now = self.clocks()
        node = self.node
        status = b""
        try:
            for message in messages:
                if message.__class__ is AskStatus:
                    # Outside the node, since it is also about what the node does not know. Made once, however
                    # often these messages ask.
                    status = status or json.dumps(self.status(), sort_keys=True).encode()
                    self._answer([(client, StatusReply(message.sequence, status))])
                else:
                    node.request(client, message, now)
            self._pump(now)
        except Exception as error:
            self.stop(error)

    def disconnect(self, client: ClientKey) -> None:
        """A client's connection is gone."""
        self.clients.pop(client, None)
        self._step(lambda now: self.node.disconnect(client, now))

    def released(self, held: Sequence[tuple[NodeId, Any]]) -> None:
        """What these messages report is on disk: they may leave."""
        self._step(lambda now: self._send(held))

    def touch(self) -> None:
        """Carry out what was changed in the node by other ways than these."""
        self._step(lambda now: None)

    def written(self) -> anyio.Event:
        """Set when all that the node wanted written so far is on disk; never when it has stopped."""
        bell = _Bell()
        self._step(lambda now: self._ring_when_written(bell))
        return bell.rung

    def give_up(self, error: NodeStopped) -> None:
        """Stop because of this, and see to it that the store is not used again."""
        if not self.stopped:
            self.node.identity.give_up(str(error))
            self.touch()
            self.stop(error)

    def status(self) -> dict[str, object]:
        """How the node does, its connections and its disk included: JSON-able."""
        status = self.node.status()
        status["clients"] = len(self.clients)
        status["peers"] = {
            str(peer): {
                "address": box.address,
                "connected": box.connected,
                "queued_bytes": box.queued_bytes,
                "sent": box.sent,
                "dropped": box.dropped,
                "refused": box.refused or None,
            }
            for peer, box in self.peers.items()
        }
        if self.disk is not None:
            status["disk"] = {
                "batches": self.disk.batches,
                "records": self.disk.records,
                "mean_ms": round(1000 * self.disk.total_s / max(self.disk.batches, 1), 3),
                "slowest_ms": round(1000 * self.disk.slowest_s, 3),
                "queued_bytes": self.disk.queued_bytes,
                "writing_ms": round(1000 * self.disk.writing_s, 3),
            }
        return status

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits for the disk that no messages should be read now."""
        return self.disk is not None and self.disk.full

    async def wait_for_disk(self) -> None:
        """Return when the engine is not crowded."""
        while self.disk is not None and self.disk.full:
            await self.disk.room.wait()

    # --- time ---------------------------------------------------------------------------------------

    async def run_clock(self) -> None:
        """Tick the node when it is due, until cancelled."""
        ticked_at_s = -math.inf
        while not self.stopped:
            if self.is_crowded:
                # What it repeats or begins anew would only wait as well.
                await self.wait_for_disk()
            now_s = self.clocks().monotonic_s
            # At most one tick a millisecond, whatever is asked for.
            not_before_s = min(ticked_at_s, now_s) + _SOONER_S
            wake_at_s = self._wake_at_s
            if wake_at_s is not None and max(wake_at_s, not_before_s) <= now_s:
                self._wake_at_s = None
                self._step(self.node.tick)
                ticked_at_s = now_s
                continue
            self._alarm = anyio.Event()
            self._sleeping_until_s = now_s + _FAR_S if wake_at_s is None else max(wake_at_s, not_before_s)
            with anyio.move_on_after(self._sleeping_until_s - now_s):
                await self._alarm.wait()

    # --- inside -------------------------------------------------------------------------------------

    def stop(self, error: Exception) -> None:
        """Go no further, because of this."""
        if self.stopped:
            return
        self.stopped = True
        if not isinstance(error, PaxosError):
            wrapped = NodeStopped(
                f"node {self.node.id} stopped: {type(error).__name__}: {error}; this is a bug in the node"
            )
            wrapped.__cause__ = error
            error = wrapped
        self._failed(error)

    def _step(self, call: Callable[[Instant], None]) -> None:
        if self.stopped:
            return
        now = self.clocks()
        try:
            call(now)
            self._pump(now)
        except Exception as error:
            self.stop(error)

    def _pump(self, now: Instant) -> None:
        """Carry out the node's turn, and those that follow from its messages to itself."""
        node = self.node
        while True:
            turn = node.turn()
            if turn.sends:
                self._send(turn.sends)
            if turn.answers:
                self._answer(turn.answers)
            if turn.events:
                self._events.pass_on(turn.events)
            self._wake_at_s = turn.wake_at_s
            has_room = turn.room > 0 and not self.is_crowded
            if has_room is not self.room.is_set():
                self._set_room(has_room)
            # Before the disk's thread is woken, which would run in its way.
            for box in self.peers.values():
                box.flush()
            # Last, because it may hand held messages straight back.
            if turn.writes or turn.held:
                assert self.disk is not None
                self._hold(self.disk, turn.writes, turn.held)
            if not self._to_self:
                break
            mine, self._to_self = self._to_self, []
            for message in mine:
                if message.__class__ is _Bell:
                    message.rung.set()
                else:
                    node.receive(node.id, message, now)
        for box in self.peers.values():
            box.flush()
        wake_at_s = self._wake_at_s
        if wake_at_s is not None and wake_at_s < self._sleeping_until_s - _SOONER_S:
            self._alarm.set()

    def _ring_when_written(self, bell: _Bell) -> None:
        # First the node's own turn, so that what it has just noted goes before.
        self._pump(self.clocks())
        assert self.disk is not None
        self._hold(self.disk, [], [(self.node.id, bell)])

    def _hold(
        self, disk: Disk, writes: list[tuple[bytes, bytes | None]], held: list[tuple[NodeId, Any]]
    ) -> None:
        """Give the disk what this turn writes and what must wait for it."""
        free = disk.add(writes, held)
        if free:
            self._send(free)
        elif disk.full and self.room.is_set():
            self._set_room(False)

    def _send(self, sends: Sequence[tuple[NodeId, Any]]) -> None:
        peers, me = self.peers, self.node.id
        for recipient, message in sends:
            if recipient == me:
                self._to_self.append(message)
            else:
                peers[recipient].put(message)

    def _answer(self, answers: Sequence[tuple[ClientKey, Any]]) -> None:
        touched = set()
        for client, message in answers:
            box = self.clients.get(client)
            if box is not None:
                box.put(message)
                touched.add(box)
        for box in touched:
            box.flush()

    def _set_room(self, there_is: bool) -> None:
        if there_is:
            self.room.set()
        else:
            self.room = anyio.Event()
