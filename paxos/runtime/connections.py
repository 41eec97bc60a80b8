"""Who calls this node: strangers until they have said who they are, then peers or clients.

A connection is a task that ends when the connection does.  A stranger has a few seconds, and there are a
bounded number of them: the one that has waited longest makes room.  A peer's connection is only read; what
goes to that peer goes over the connection that this node opened.  A client's is read while the client keeps
within its bounds, and written by a task of its own.

Whatever a stranger, peer or client sends wrong costs this one connection and one line in the log.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio.abc import ByteStream

from paxos.ballot import NodeId
from paxos.command import RequestId
from paxos.errors import WireError
from paxos.runtime.engine import Engine
from paxos.runtime.events import EventSink
from paxos.runtime.handshake import (
    BUSY,
    DUPLICATE,
    HANDSHAKE_MESSAGES,
    LOST_DISK,
    MALFORMED,
    MISMATCH,
    REFUSED_MESSAGES,
    Doorkeeper,
    Hello,
    Kind,
    Refused,
    read_first,
)
from paxos.runtime.limits import Limits
from paxos.runtime.outbox import ClientOutbox
from paxos.runtime.tables import Tables
from paxos.runtime.tasks import CONNECTION_ERRORS, reason_of, run_until_first
from paxos.runtime.tls import Security
from paxos.service import Cancel, Reply, ReplyKind, Submit
from paxos.wire import FrameBuffer, MessageTable

__all__ = ["Inbound"]

_READ_BYTES: Final = 64 * 1024
#: How long a client over its bounds is not read at a time, seconds: its end must still be noticed.
_PAUSE_S: Final = 1.0
_FAREWELL_S: Final = 1.0
#: So many different refusals are counted.
_REFUSALS_MAX: Final = 64
#: The first two bytes of a TLS connection.
_TLS_HELLO: Final = b"\x16\x03"


class Inbound:
    """Every connection that was opened to one node.

    Args:
        engine: the node.
        doorkeeper: decides who may come in.
        security: TLS, or none.
        tables: which messages each side may send.
        limits: bounds.
        events: where to report.
        met: called with the id of a peer that has just connected.
        lost_disk: called with the reason when a peer says that this node lost its disk.
    """

    def __init__(
        self,
        engine: Engine,
        doorkeeper: Doorkeeper,
        security: Security,
        tables: Tables,
        limits: Limits,
        events: EventSink,
        met: Callable[[NodeId], None],
        lost_disk: Callable[[Refused], None],
    ) -> None:
        self._engine = engine
        self._doorkeeper = doorkeeper
        self._security = security
        self._tables = tables
        self._limits = limits
        self._events = events
        self._met = met
        self._lost_disk = lost_disk
        # Strangers, the longest waiting first.
        self._strangers: dict[object, anyio.CancelScope] = {}
        self._peers: dict[NodeId, anyio.CancelScope] = {}
        # How often each was given, by its sentence; the latest last.
        self._refusals: dict[str, int] = {}

    async def serve(self, stream: ByteStream) -> None:
        """Serve one connection until it ends; never raises for what the other side does."""
        try:
            await self._serve(stream)
        except WireError as error:
            self._refused(f"a connection was closed: {error}")
        except CONNECTION_ERRORS as error:
            self._events.say("disconnected", f"a connection ended: {reason_of(error)}", level=logging.DEBUG)
        finally:
            await _close(stream)

    async def _serve(self, stream: ByteStream) -> None:
        token = object()
        hello: Hello | None = None
        secured = stream
        with anyio.move_on_after(self._limits.handshake_s) as scope:
            self._strangers[token] = scope
            if len(self._strangers) > self._limits.half_open:
                oldest = next(iter(self._strangers))
                self._strangers.pop(oldest).cancel()
            try:
                secured = await self._security.secure(stream, called=True)
                hello = await self._greet(secured)
            except OSError as error:
                if self._security.on:
                    self._refused(f"a connection was closed: TLS: {error}")
                raise
            finally:
                self._strangers.pop(token, None)
        if scope.cancelled_caught:
            self._refused("a connection was closed: it did not say in time who it is", level=logging.INFO)
        if hello is None or scope.cancelled_caught:
            return
        try:
            if hello.kind == Kind.PEER:
                await self._serve_peer(secured, hello)
            else:
                await self._serve_client(secured)
        finally:
            await _close(secured)

    def _refused(self, text: str, level: int = logging.WARNING) -> None:
        self._events.say("refused", text, level=level)

    # --- strangers ----------------------------------------------------------------------------------

    async def _greet(self, stream: ByteStream) -> Hello | None:
        """Hear who it is and answer; None when it was refused."""
        try:
            hello = await read_first(stream)
        except WireError as error:
            await self._refuse(stream, Refused(MALFORMED, f"not a handshake of this release: {error}"[:4000]))
            return None
        if isinstance(hello, Refused):
            raise WireError("a connection began with Refused")
        refusal = self._doorkeeper.admit(hello)
        wrong_name = self._security.wrong_name(stream, hello.kind, hello.node)
        if wrong_name:
            who = self._doorkeeper.mine.node
            refusal = Refused(MISMATCH, f"node {who} refuses a connection: {wrong_name}")
        elif refusal is None and hello.kind == Kind.CLIENT and self._is_full():
            refusal = Refused(BUSY, f"{len(self._engine.clients)} clients are connected; try another node")
        if refusal is not None:
            await self._refuse(stream, refusal)
            return None
        await stream.send(HANDSHAKE_MESSAGES.encode([self._doorkeeper.mine]))
        return hello

    def _is_full(self) -> bool:
        return len(self._engine.clients) >= self._limits.clients

    async def _refuse(self, stream: ByteStream, refusal: Refused) -> None:
        if self._is_news(refusal):
            self._refused(f"a connection was refused: {refusal.reason}")
        with suppress(*CONNECTION_ERRORS), anyio.move_on_after(_FAREWELL_S):
            await stream.send(HANDSHAKE_MESSAGES.encode([refusal]))

    def _is_news(self, refusal: Refused) -> bool:
        """Whether to say so: a node that does not belong here calls again and again, all day long."""
        if refusal.code not in (MISMATCH, DUPLICATE, LOST_DISK):
            return True
        count = self._refusals.pop(refusal.reason, 0) + 1
        self._refusals[refusal.reason] = count
        if len(self._refusals) > _REFUSALS_MAX:
            del self._refusals[next(iter(self._refusals))]
        return count & (count - 1) == 0

    # --- peers --------------------------------------------------------------------------------------

    async def _serve_peer(self, stream: ByteStream, hello: Hello) -> None:
        peer = hello.node
        older = self._peers.get(peer)
        if older is not None:
            # The peer calls again only when it has given its old connection up.
            older.cancel()
        with anyio.CancelScope() as scope:
            self._peers[peer] = scope
            try:
                self._met(peer)
                await self._read_peer(stream, peer)
            except WireError as error:
                self._refused(f"node {peer} sent what it should not; its connection was closed: {error}")
            finally:
                if self._peers.get(peer) is scope:
                    del self._peers[peer]

    async def _read_peer(self, stream: ByteStream, peer: NodeId) -> None:
        buffer = FrameBuffer()
        table, receive = self._tables.from_peer, self._engine.receive
        first = True
        while True:
            bodies = buffer.feed(await stream.receive(_READ_BYTES))
            messages: list[Any] = []
            for body in bodies:
                if first:
                    first = False
                    if self._heard_refusal(body):
                        return
                messages += _unpack(table, body)
            if messages:
                receive(peer, messages)

    def _heard_refusal(self, body: bytes) -> bool:
        """Whether the caller, having seen who we are, refuses."""
        try:
            refused = REFUSED_MESSAGES.decode(body)[0].message
        except WireError:
            return False  # the usual case: a protocol's message; whatever else it is, the next step says
        self._refused(f"this node was refused: {refused.reason}")
        if refused.code == LOST_DISK:
            self._lost_disk(refused)
        return True

    # --- clients ------------------------------------------------------------------------------------

    async def _serve_client(self, stream: ByteStream) -> None:
        client = _ClientConnection(stream, self._engine, self._tables, self._limits)
        self._engine.clients[client] = client.outbox
        try:
            await run_until_first(client.read, client.write)
        except WireError as error:
            self._refused(f"a client sent what it should not; its connection was closed: {error}")
        except TimeoutError:
            self._refused("a client's connection was closed: it does not read its answers")
        finally:
            self._engine.disconnect(client)


class _ClientConnection:
    """One client's connection; also what the node knows the client by."""

    def __init__(self, stream: ByteStream, engine: Engine, tables: Tables, limits: Limits) -> None:
        self._stream = stream
        self._engine = engine
        self._tables = tables
        self._limits = limits
        self._may_read = anyio.Event()
        self._open: set[RequestId] = set()
        self.outbox = _CountedOutbox(self)

    def answered(self, request: RequestId) -> None:
        """A request has its answer."""
        self._open.discard(request)
        self._may_read.set()

    def taken(self) -> None:
        """Answers were sent."""
        self._may_read.set()

    def _over(self) -> bool:
        return (
            len(self._open) >= self._limits.client_requests
            or self.outbox.queued_bytes >= self._limits.client_bytes
            or not self._engine.room.is_set()
        )

    async def read(self) -> None:
        """Hand over what the client asks, while it keeps within its bounds."""
        buffer = FrameBuffer()
        table, request = self._tables.from_client, self._engine.request
        while True:
            if self._over():
                await self._pause()
            data = await self._stream.receive(_READ_BYTES)
            messages: list[Any] = []
            for body in buffer.feed(data):
                messages += _unpack(table, body)
            if messages:
                request(self, self._within_bounds(messages))

    async def _pause(self) -> None:
        """Wait until the client is within its bounds again, or a while: it may be gone meanwhile."""
        with anyio.move_on_after(_PAUSE_S):
            while self._over():
                if not self._engine.room.is_set():
                    await self._engine.room.wait()
                else:
                    self._may_read = anyio.Event()
                    await self._may_read.wait()

    def _within_bounds(self, messages: list[Any]) -> list[Any]:
        """What the node is to see: requests far above the bound are rejected here."""
        limit = 2 * self._limits.client_requests
        taken = []
        for message in messages:
            if message.__class__ is Submit:
                if len(self._open) >= limit:
                    text = f"this connection has {len(self._open)} requests without an answer; wait for some"
                    self.outbox.reject(message.request, text)
                    continue
                self._open.add(message.request)
            elif message.__class__ is Cancel:
                self._open.discard(message.request)
            taken.append(message)
        return taken

    async def write(self) -> None:
        """Send answers as they come.

        Raises:
            TimeoutError: the client does not take them.
        """
        while True:
            data = await self.outbox.take()
            with anyio.fail_after(self._limits.send_s):
                await self._stream.send(data)
            self.taken()


class _CountedOutbox(ClientOutbox):
    """A client's answers, which count down its open requests."""

    def __init__(self, client: _ClientConnection) -> None:
        super().__init__(client._tables.to_client)
        self._client = client

    def put(self, message: Any) -> None:
        super().put(message)
        if message.__class__ is Reply:
            self._client.answered(message.request)

    def reject(self, request: RequestId, reason: str) -> None:
        """An answer that the node need not make."""
        super().put(Reply(request, ReplyKind.REJECTED, None, reason))
        self.flush()


def _unpack(table: MessageTable, body: bytes) -> list[Any]:
    """The messages in a frame's body. Raises WireError."""
    messages = []
    for group, epoch, _, message in table.decode(body):
        if group or epoch:
            raise WireError(f"a message for group {group}, epoch {epoch}; this node has group 0, epoch 0")
        messages.append(message)
    return messages


async def _close(stream: ByteStream) -> None:
    """Close without waiting for the other side."""
    with anyio.CancelScope(shield=True), suppress(*CONNECTION_ERRORS):
        await anyio.aclose_forcefully(stream)
