"""What waits to leave: for a peer, bounded by dropping the oldest; for a client, bounded by not reading on.

Both gather messages while their connection is busy and hand all of it to the connection at once, so that
the number of writes follows from how fast the other side takes them and not from how many messages there
are.  A turn of the node puts its messages and then calls `flush`, once.

While the connection is idle, what is flushed is written there and then: an answer that waits for the sender's
turn waits as long as a fast disk takes.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NoReturn

import anyio
from anyio.abc import ByteStream

from paxos.runtime.sockets import DirectWrite, direct_write
from paxos.service.log_messages import Results
from paxos.wire import MessageTable

__all__ = ["TAKE_BYTES", "ClientOutbox", "PeerOutbox", "send_all"]

#: About so much is handed to a connection at once; more only makes whoever is cancelled lose more.
TAKE_BYTES: Final = 1 << 20
#: Messages that are kept unencoded at most, while the sender is about to run.
_FRESH_MAX: Final = 4096
#: What a reply takes beside its result, about.
_REPLY_BYTES: Final = 96


class _Outbox(ABC):
    """What both have: a sender, or a connection that takes at once what there is."""

    def __init__(self) -> None:
        # Set to wake the sender; None while it is busy or there is none.
        self._waiting: anyio.Event | None = None
        self._direct: DirectWrite | None = None
        self._sent: Callable[[], None] | None = None
        # What the connection did not take at once.
        self._rest: bytes | None = None

    def connect(self, direct: DirectWrite | None, sent: Callable[[], None] | None) -> None:
        """A sender begins.

        Args:
            direct: writes to its connection.
            sent: called whenever that took something at once.
        """
        self._direct, self._sent = direct, sent

    def disconnect(self) -> None:
        """The sender has ended; what its connection has not taken is lost with it."""
        self._direct = self._sent = self._rest = None

    async def take(self) -> bytes:
        """Wait until there is something, and take some of it: whole frames, oldest first.

        After something that a connection took only in part, the rest of that, which may be empty.
        """
        while self._rest is None and self._is_empty():
            self._waiting = waiting = anyio.Event()
            try:
                await waiting.wait()
            finally:
                self._waiting = None
        if self._rest is not None:
            rest, self._rest = self._rest, None
            return rest
        return self._next()

    def _hand_over(self, waiting: anyio.Event) -> None:
        """The sender waits: write what there is, or wake it."""
        if waiting.is_set() or self._is_empty():
            return
        if self._direct is not None:
            self._rest = self._direct(self._next())
            if self._rest is None:
                if self._sent is not None:
                    self._sent()
                if self._is_empty():
                    return
        waiting.set()

    @abstractmethod
    def _is_empty(self) -> bool: ...

    @abstractmethod
    def _next(self) -> bytes:
        """The oldest of what there is, encoded."""


class PeerOutbox(_Outbox):
    """Messages for one peer, whether it is connected or not.

    While the sender waits for work, messages stay objects, and one frame is made of all that came until it
    runs.  While it is busy or the peer is away, each turn's messages are encoded, because only encoded they
    can be counted; beyond `limit_bytes` the oldest go.  Whoever needed them repeats.

    Args:
        table: encodes.
        limit_bytes: the most that waits, bytes.
        on_drop: called with the number of messages dropped so far, whenever it grew.
    """

    def __init__(self, table: MessageTable, limit_bytes: int, on_drop: Callable[[int], None]) -> None:
        super().__init__()
        self._table = table
        self._limit_bytes = limit_bytes
        self._on_drop = on_drop
        self._fresh: list[Any] = []
        self._sealed: deque[tuple[bytes, int]] = deque()
        #: Whether the peer is connected now; kept here by whoever calls it.
        self.connected = False
        #: Why the peer refused this node when it was last called; empty when it did not. Kept there, too.
        self.refused: str = ""
        #: Where the peer listens. Kept there, too.
        self.address: str = ""
        #: Encoded bytes that wait.
        self.queued_bytes: int = 0
        #: Messages dropped since the start.
        self.dropped: int = 0
        #: Messages handed to a connection since the start.
        self.sent: int = 0

    def put(self, message: Any) -> None:
        """Add a message; `flush` must follow before the node's turn is over."""
        self._fresh.append(message)

    def flush(self) -> None:
        """Everything of this turn has been put."""
        if self._waiting is not None and len(self._fresh) < _FRESH_MAX:
            self._hand_over(self._waiting)
        elif self._fresh:
            self._seal()

    def _seal(self) -> None:
        fresh, self._fresh = self._fresh, []
        data = self._table.encode(fresh)
        self._sealed.append((data, len(fresh)))
        self.queued_bytes += len(data)
        if self.queued_bytes > self._limit_bytes:
            before = self.dropped
            # The newest stays, even when it alone is more than the limit.
            while self.queued_bytes > self._limit_bytes and len(self._sealed) > 1:
                data, count = self._sealed.popleft()
                self.queued_bytes -= len(data)
                self.dropped += count
            if self.dropped > before:
                self._on_drop(self.dropped)

    def _is_empty(self) -> bool:
        return not (self._fresh or self._sealed)

    def _next(self) -> bytes:
        if self._fresh:
            self._seal()
        chunks: list[bytes] = []
        size = 0
        while self._sealed and (not chunks or size + len(self._sealed[0][0]) <= TAKE_BYTES):
            data, count = self._sealed.popleft()
            chunks.append(data)
            size += len(data)
            self.sent += count
        self.queued_bytes -= size
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class ClientOutbox(_Outbox):
    """Answers for one client's connection.

    Nothing is dropped: there is at most one answer for each request, and requests are bounded.  An answer
    that waits holds only what the node's memory holds anyway; it is encoded when the connection takes it.

    Args:
        table: encodes.
    """

    def __init__(self, table: MessageTable) -> None:
        super().__init__()
        self._table = table
        self._answers: deque[Any] = deque()
        #: About so many bytes wait.
        self.queued_bytes: int = 0

    def put(self, message: Any) -> None:
        """Add an answer."""
        self._answers.append(message)
        self.queued_bytes += _size(message)

    def flush(self) -> None:
        """Everything of this turn has been put."""
        if self._waiting is not None:
            self._hand_over(self._waiting)

    def _is_empty(self) -> bool:
        return not self._answers

    def _next(self) -> bytes:
        answers = self._answers
        taken: list[Any] = []
        size = 0
        while answers and (not taken or size + _size(answers[0]) <= TAKE_BYTES):
            size += _size(answers[0])
            taken.append(answers.popleft())
        self.queued_bytes -= size
        return self._table.encode(taken)


async def send_all(
    stream: ByteStream,
    outbox: PeerOutbox | ClientOutbox,
    send_s: float,
    sent: Callable[[], None] | None = None,
) -> NoReturn:
    """Send what an outbox is given, as it comes.

    Args:
        stream: where to.
        outbox: what.
        send_s: seconds in which the other side must take what is sent.
        sent: called whenever it has.

    Raises:
        TimeoutError: it did not.
    """
    outbox.connect(direct_write(stream), sent)
    try:
        # One scope whose deadline comes and goes: to make a scope for each send costs more than the send.
        with anyio.CancelScope() as scope:
            while True:
                data = await outbox.take()
                scope.deadline = anyio.current_time() + send_s
                await stream.send(data)
                scope.deadline = math.inf
                if sent is not None:
                    sent()
    finally:
        outbox.disconnect()
    raise TimeoutError


def _size(message: Any) -> int:
    """About how many bytes an answer takes."""
    if message.__class__ is Results:
        return _REPLY_BYTES + 8 * len(message.results) + sum(map(len, message.results))
    body = getattr(message, "result", None) or getattr(message, "body", None)
    return _REPLY_BYTES + (len(body) if body is not None else 0)
