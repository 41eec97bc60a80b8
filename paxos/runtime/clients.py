"""A client's connection, seen from the node: read while it keeps within its bounds, written by its own task.

Every bound answers with back-pressure first: a client with too many requests, with large ones, or with
answers it does not take, is not read until that is better.  It is looked at now and then all the same, since
it may be gone.  What it sends meanwhile, far above a bound, is rejected without bothering the node.

What one client may do, a thousand may do at once, so all together have a budget as well.  It counts the
requests that wait, the answers that are not read, and the unfinished frames; what would go beyond it is
rejected, and when unfinished frames fill it, the one that began first is given up, since it may never be
finished.

A query of a few bytes may ask for megabytes, and a thousand of them come in one frame.  So the node asks the
connection before it makes an answer, and what it has made is owed to the client until the turn is over.
"""

from typing import Any, Final

import anyio
from anyio.abc import ByteStream

from paxos.contract import Decides
from paxos.errors import WireError
from paxos.runtime.engine import Engine
from paxos.runtime.limits import Limits
from paxos.runtime.outbox import ClientOutbox, send_all
from paxos.runtime.tables import Tables
from paxos.service import AskStatus, Cancel, Reply, ReplyKind, Submit
from paxos.service.log_messages import (
    AskBirth,
    CancelQuery,
    Instruct,
    Level,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
    Results,
    SubmitMany,
)
from paxos.service.messages import MAX_BODY_BYTES
from paxos.service.turn import Reader
from paxos.wire import MAX_BODY_BYTES_OF_MANY, FrameBuffer, MessageTable

__all__ = ["Budget", "ClientConnection", "unpack"]

_READ_BYTES: Final = 64 * 1024
#: What a request takes beside its body, about.
_REQUEST_BYTES: Final = 512
#: How long a client over its bounds is not read at a time, seconds: its end must still be noticed.
_PAUSE_S: Final = 1.0
#: The longest frame that a client has a reason to send: one with the largest request, or many small ones.
_FRAME_BYTES: Final = max(MAX_BODY_BYTES + 1024, MAX_BODY_BYTES_OF_MANY)


#: What a client is told of that it can not ask for here; no client is called so.
_NOBODY: Final = bytes(16)


class _Run:
    """Consecutive requests of one client, and how many answers to them are to come.

    Attributes:
        span: how many numbers they have.
        requests: how many were asked for; more than `span` when some were asked for again.
        left: how many have no answer.
        size: bytes of all of them.
    """

    __slots__ = ("left", "requests", "size", "span")

    def __init__(self, requests: int, size: int) -> None:
        self.requests = self.left = self.span = requests
        self.size = size


class Budget:
    """What all clients together may make the node keep.

    Args:
        limit_bytes: of requests without an answer, again of answers that wait to be read, and of unfinished
            frames.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._scopes: dict[object, anyio.CancelScope] = {}
        # Bytes of its unfinished frame, by client; the one that began first in front.
        self._unfinished: dict[object, int] = {}
        self._unfinished_bytes = 0
        #: Bytes of requests without an answer.
        self.requests_bytes = 0
        #: Bytes of answers that wait to be read.
        self.answers_bytes = 0

    @property
    def has_room_for_answers(self) -> bool:
        """Whether another answer may be made."""
        return self.answers_bytes < self._limit_bytes

    @property
    def spent(self) -> bool:
        """Whether no more requests should be read."""
        return self.requests_bytes >= self._limit_bytes

    def has_room(self, size: int) -> bool:
        """Whether a request of so many bytes may be taken; one alone always may."""
        return not self.requests_bytes or self.requests_bytes + size <= self._limit_bytes

    def enter(self, client: object, scope: anyio.CancelScope) -> None:
        """A client is there; it ends when its scope is cancelled."""
        self._scopes[client] = scope

    def leave(self, client: object) -> None:
        """A client is gone."""
        self.unfinished(client, 0)
        self._scopes.pop(client, None)

    def unfinished(self, client: object, size: int) -> None:
        """So many bytes of a client's next frame are there."""
        if client not in self._scopes:
            return  # given up already, and about to notice
        self._unfinished_bytes += size - self._unfinished.get(client, 0)
        if size:
            self._unfinished[client] = size
        else:
            self._unfinished.pop(client, None)
        while self._unfinished_bytes > self._limit_bytes:
            oldest = next(iter(self._unfinished))
            self._unfinished_bytes -= self._unfinished.pop(oldest)
            self._scopes.pop(oldest).cancel()


class ClientConnection(Reader):
    """One client's connection; also what the node knows the client by.

    Args:
        stream: connected, and past the handshake.
        engine: the node.
        tables: which messages each side may send.
        limits: bounds.
        budget: shared by all clients.
    """

    def __init__(
        self, stream: ByteStream, engine: Engine, tables: Tables, limits: Limits, budget: Budget
    ) -> None:
        self._stream = stream
        self._engine = engine
        self._tables = tables
        self._limits = limits
        self._budget = budget
        self._may_read = anyio.Event()
        # Requests without an answer, by what their answers name, each with its bytes; and runs of requests.
        # Questions for news may stay open for days: they do not keep the client from being read.
        self._open: dict[Any, int] = {}
        self._news: dict[int, int] = {}
        self._runs: dict[tuple[bytes, int], _Run] = {}
        self._open_requests = 0
        self._open_bytes = 0
        # Bytes of the answers to queries that were made and are not in the outbox yet.
        self._owed_bytes = 0
        #: How often it asked how the node does and has not been sent the answer.
        self.asked: int = 0
        self.outbox: _CountedOutbox = _CountedOutbox(tables.to_client, self)

    @property
    def keeps_up(self) -> bool:
        """Whether the node may make another answer for it."""
        waiting = self.outbox.queued_bytes + self._owed_bytes
        return waiting < 2 * self._limits.client_bytes and self._budget.has_room_for_answers

    def owe(self, size: int) -> None:
        """The node has made an answer of so many bytes, which comes into the outbox."""
        self._owed_bytes += size
        self._budget.answers_bytes += size

    def paid(self, size: int) -> None:
        """It has come."""
        self._owed_bytes -= size
        self._budget.answers_bytes -= size

    def queued(self, size: int) -> None:
        """So many bytes more wait to be read."""
        self._budget.answers_bytes += size

    def gone(self) -> None:
        """The connection has ended, and what waits with it."""
        self._budget.answers_bytes -= self._owed_bytes + self.outbox.queued_bytes
        self._budget.leave(self)

    def ended(self, request: Any) -> None:
        """A request has its answer, or nobody waits for it."""
        size = self._open.pop(request, None)
        if size is not None:
            self._count(-1, -size)
        elif self._news:
            size = self._news.pop(request, None)
            if size is not None:
                self._budget.requests_bytes -= size

    def ended_run(self, client: bytes, sequence: int, requests: int) -> None:
        """So many consecutive requests of a run have their answers."""
        run = self._runs.get((client, sequence))
        first = sequence
        if run is None:
            # Answered piece by piece, which is rare.
            for (each, first), run in self._runs.items():
                if each == client and first <= sequence < first + run.span:
                    break
            else:
                return
        run.left -= requests
        if run.left <= 0:
            del self._runs[(client, first)]
            self._count(-run.requests, -run.size)

    def _count(self, requests: int, size: int) -> None:
        self._open_requests += requests
        self._open_bytes += size
        self._budget.requests_bytes += size
        if requests < 0:
            self._may_read.set()

    def _begun(self, request: Any, size: int) -> None:
        self.ended(request)
        self._open[request] = size
        self._count(1, size)

    def _begun_run(self, client: bytes, sequence: int, requests: int, size: int) -> None:
        again = self._runs.get((client, sequence))
        if again is None:
            self._runs[(client, sequence)] = _Run(requests, size)
        else:
            # It is asked for once more before it was answered, and every time will be.
            again.span = max(again.span, requests)
            again.requests += requests
            again.left += requests
            again.size += size
        self._count(requests, size)

    def _begun_news(self, sequence: int, size: int) -> None:
        self._news[sequence] = size
        self._budget.requests_bytes += size

    def _over(self, times: int = 1) -> bool:
        """Whether the client has so many times what it should have."""
        return (
            self._open_requests + self.asked >= times * self._limits.client_requests
            or self._open_bytes >= times * self._limits.client_bytes
            or self.outbox.queued_bytes >= times * self._limits.client_bytes
        )

    def _wait_first(self) -> bool:
        return self._over() or self._budget.spent or not self._engine.room.is_set()

    async def read(self) -> None:
        """Hand over what the client asks, while it keeps within its bounds.

        Raises:
            WireError: it sent what it should not.
        """
        buffer = FrameBuffer(_FRAME_BYTES)
        try:
            while True:
                if self._wait_first():
                    await self._pause()
                self._take(buffer, await self._stream.receive(_READ_BYTES))
        finally:
            for each in (*self._open, *self._news):
                self.ended(each)
            for (client, sequence), run in tuple(self._runs.items()):
                self.ended_run(client, sequence, run.left)

    def _take(self, buffer: FrameBuffer, data: bytes) -> None:
        """Handle what was read; nothing of it is kept here while the client says no more."""
        messages: list[Any] = []
        for body in buffer.feed(data):
            messages += unpack(self._tables.from_client, body)
        self._budget.unfinished(self, buffer.pending)
        if messages:
            self._engine.request(self, self._within_bounds(messages))

    async def _pause(self) -> None:
        """Wait until the client is within its bounds again, or a while: it may be gone meanwhile."""
        with anyio.move_on_after(_PAUSE_S):
            while self._wait_first():
                if not self._engine.room.is_set():
                    await self._engine.room.wait()
                elif self._over():
                    self._may_read = anyio.Event()
                    await self._may_read.wait()
                else:
                    # The others have spent what there is: nobody tells when that is better.
                    await anyio.sleep(_PAUSE_S / 20)

    def _within_bounds(self, messages: list[Any]) -> list[Any]:
        """What the node is to see: requests far above a bound are rejected here. Raises WireError."""
        taken = []
        accepts = self._engine.node.service.accepts
        for message in messages:
            kind = message.__class__
            if kind not in accepts and kind is not AskStatus:
                self._tell_other_kind(message)
                continue
            if kind is SubmitMany:
                run = message.run
                requests = len(run.bodies)
                size = sum(map(len, run.bodies)) + _REQUEST_BYTES + 64 * requests
                text = self._refusal(size)
                if text:
                    why = RefusedKind.REJECTED
                    self.outbox.reject(Refused(run.client, run.sequence, requests, why, text))
                    continue
                self._begun_run(run.client, run.sequence, requests, size)
            elif kind is Submit:
                size = len(message.body) + _REQUEST_BYTES
                text = self._refusal(size)
                if text:
                    self.outbox.reject(Reply(message.request, ReplyKind.REJECTED, None, text))
                    continue
                self._begun(message.request, size)
            elif kind is Query:
                if not self._take_query(message):
                    continue
            elif kind is Cancel:
                self.ended(message.request)
            elif kind is CancelQuery:
                # Another query is answered all the same, and soon.
                if message.sequence in self._news:
                    self.ended(message.sequence)
            elif self.asked >= 2 * self._limits.client_requests:
                raise WireError(f"it asked {self.asked} times how the node does before it read an answer")
            else:
                self.asked += 1
            taken.append(message)
        return taken

    def _take_query(self, query: Query) -> bool:
        """Whether the node is to see it. Raises WireError."""
        if query.sequence in self._open or query.sequence in self._news:
            raise WireError(f"Query.sequence: {query.sequence} is that of a query without an answer")
        size = len(query.body) + len(query.known) + _REQUEST_BYTES
        text = self._refusal(size)
        if query.level == Level.NEWS and not text and len(self._news) >= self._limits.client_requests:
            text = f"this connection waits for {len(self._news)} pieces of news; use another for more"
        if text:
            self.outbox.reject(QueryReply(query.sequence, RefusedKind.REJECTED, None, text))
        elif query.level == Level.NEWS:
            self._begun_news(query.sequence, size)
        else:
            self._begun(query.sequence, size)
        return not text

    def _tell_other_kind(self, message: Any) -> None:
        """No node of this cluster takes such a message, and another try is no use. Raises WireError."""
        protocol = self._engine.node.protocol
        what = "a log of commands" if protocol.decides is Decides.LOG else "named decrees"
        text = f"this cluster runs {protocol.name}, which decides {what}; it takes nothing else"
        kind = message.__class__
        if self.outbox.queued_bytes >= 2 * self._limits.client_bytes:
            raise WireError(f"it asks for what it can not have, and does not read that {text}")
        if kind is SubmitMany:
            run = message.run
            self.outbox.reject(Refused(run.client, run.sequence, len(run.bodies), RefusedKind.WRONG, text))
        elif kind is AskBirth:
            self.outbox.reject(Refused(_NOBODY, 0, 1, RefusedKind.WRONG, text))
        elif kind is Query or kind is Instruct:
            self.outbox.reject(QueryReply(message.sequence, RefusedKind.WRONG, None, text))
        elif kind is Submit:
            self.outbox.reject(Reply(message.request, ReplyKind.WRONG, None, text))

    def _refusal(self, size: int) -> str:
        """Why a request of so many bytes is not taken; empty when it is."""
        if self._over(2):
            return f"this connection has {self._open_requests} requests without an answer; wait for some"
        if not self._budget.has_room(size):
            return "this node's clients wait for as many answers as it can keep requests for; try again later"
        return ""

    async def write(self) -> None:
        """Send answers as they come.

        Raises:
            TimeoutError: the client does not take them.
        """
        await send_all(self._stream, self.outbox, self._limits.send_s, self._may_read_on)

    def _may_read_on(self) -> None:
        self._may_read.set()


class _CountedOutbox(ClientOutbox):
    """A client's answers, which end its requests."""

    def __init__(self, table: MessageTable, client: ClientConnection) -> None:
        super().__init__(table)
        self._client = client

    def _next(self) -> bytes:
        before = self.queued_bytes
        data = super()._next()
        self._client.queued(self.queued_bytes - before)
        if not self._answers:
            self._client.asked = 0
        return data

    def put(self, message: Any) -> None:
        self._add(message)
        kind = message.__class__
        if kind is Results:
            self._client.ended_run(message.client, message.sequence, len(message.results))
        elif kind is Reply:
            self._client.ended(message.request)
        elif kind is QueryReply:
            if message.result:
                self._client.paid(len(message.result))
            self._client.ended(message.sequence)
        elif kind is Refused:
            self._client.ended_run(message.client, message.sequence, message.requests)

    def reject(self, answer: Any) -> None:
        """An answer that the node need not make."""
        self._add(answer)
        self.flush()

    def _add(self, message: Any) -> None:
        before = self.queued_bytes
        super().put(message)
        self._client.queued(self.queued_bytes - before)


def unpack(table: MessageTable, body: bytes) -> list[Any]:
    """The messages in a frame's body. Raises WireError."""
    messages = []
    for group, epoch, _, message in table.decode(body):
        if group or epoch:
            raise WireError(f"a message for group {group}, epoch {epoch}; this node has group 0, epoch 0")
        messages.append(message)
    return messages
