"""Who calls this node: strangers until they have said who they are, then peers or clients.

A connection is a task that ends when the connection does.  A stranger has a few seconds, and there are a
bounded number of them: the one that has waited longest makes room.  A peer's connection is only read; what
goes to that peer goes over the connection that this node opened.  What a client may do is in `clients.py`.

Whatever a stranger, peer or client sends wrong costs this one connection and one line in the log.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio.abc import ByteStream

from paxos.ballot import NodeId
from paxos.errors import WireError
from paxos.runtime.clients import Budget, ClientConnection, unpack
from paxos.runtime.engine import Engine
from paxos.runtime.events import EventSink, printable
from paxos.runtime.handshake import (
    BUSY,
    DUPLICATE,
    HANDSHAKE_MESSAGES,
    LOST_DISK,
    MALFORMED,
    MISMATCH,
    REFUSED_MESSAGES,
    SUPERSEDED,
    Doorkeeper,
    Hello,
    Kind,
    Refused,
    read_first,
)
from paxos.runtime.limits import Limits
from paxos.runtime.sockets import watch_other_end
from paxos.runtime.tables import Tables
from paxos.runtime.tasks import CONNECTION_ERRORS, reason_of, run_until_first
from paxos.runtime.tls import Security
from paxos.wire import FrameBuffer

__all__ = ["Inbound"]

_READ_BYTES: Final = 64 * 1024
_FAREWELL_S: Final = 1.0
#: So many different refusals are counted.
_REFUSALS_MAX: Final = 64


class Inbound:
    """Every connection that was opened to one node.

    Args:
        engine: the node.
        doorkeeper: decides who may come in.
        security: TLS, or none.
        tables: which messages each side may send.
        limits: bounds.
        events: where to report.
        met: called with what a peer said that has just connected.
        refused: called with what a peer says when it calls and then refuses this node.
    """

    def __init__(
        self,
        engine: Engine,
        doorkeeper: Doorkeeper,
        security: Security,
        tables: Tables,
        limits: Limits,
        events: EventSink,
        met: Callable[[Hello], None],
        refused: Callable[[NodeId, Refused], None],
    ) -> None:
        self._engine = engine
        self._doorkeeper = doorkeeper
        self._security = security
        self._tables = tables
        self._limits = limits
        self._events = events
        self._met = met
        self._was_refused = refused
        self._budget = Budget(int(limits.all_clients_bytes))
        # Strangers, the longest waiting first.
        self._strangers: dict[object, anyio.CancelScope] = {}
        self._peers: dict[NodeId, anyio.CancelScope] = {}
        # The opening of its store with which each peer called last, and whether it is on disk.
        self._openings: dict[NodeId, tuple[tuple[int, bytes], anyio.Event]] = {}
        # How often each was given, by its sentence; the latest last.
        self._refusals: dict[str, int] = {}

    async def serve(self, stream: ByteStream) -> None:
        """Serve one connection until it ends; never raises for what the other side does."""
        watch_other_end(stream)
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
            elif not self._is_full():  # others may have come while it was answered
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
        # The name first: the doorkeeper remembers what it is told of nodes.
        wrong_name = self._security.wrong_name(stream, hello.kind, hello.node)
        refusal: Refused | None
        if wrong_name:
            who = self._doorkeeper.mine.node
            refusal = Refused(MISMATCH, f"node {who} refuses a connection: {wrong_name}")
        else:
            refusal = self._doorkeeper.admit(hello)
        if refusal is None and hello.kind == Kind.CLIENT and self._is_full():
            refusal = Refused(BUSY, f"{len(self._engine.clients)} clients are connected; try another node")
        if refusal is not None:
            await self._refuse(stream, refusal)
            return None
        if hello.kind == Kind.PEER:
            # Which opening of its store this is must be on disk before anything that it says is heard.
            await self._noted(hello)
        await stream.send(HANDSHAKE_MESSAGES.encode([self._doorkeeper.mine]))
        return hello

    async def _noted(self, hello: Hello) -> None:
        opening = (hello.incarnation, hello.boot)
        noted = self._openings.get(hello.node)
        if noted is None or noted[0] != opening:
            # Kept, so that on a slow disk a second call finds written what the first had no time to wait for.
            noted = self._openings[hello.node] = (opening, self._engine.written())
        await noted[1].wait()

    def _is_full(self) -> bool:
        return len(self._engine.clients) >= self._limits.clients

    async def _refuse(self, stream: ByteStream, refusal: Refused) -> None:
        if self._is_news(refusal):
            self._refused(f"a connection was refused: {refusal.reason}")
        with suppress(*CONNECTION_ERRORS), anyio.move_on_after(_FAREWELL_S):
            await stream.send(HANDSHAKE_MESSAGES.encode([refusal]))

    def _is_news(self, refusal: Refused) -> bool:
        """Whether to say so: a node that does not belong here calls again and again, all day long."""
        if refusal.code not in (MISMATCH, DUPLICATE, LOST_DISK, SUPERSEDED):
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
                self._met(hello)
                await self._read_peer(stream, peer)
            except WireError as error:
                self._refused(f"node {peer} sent what it should not; its connection was closed: {error}")
            finally:
                if self._peers.get(peer) is scope:
                    del self._peers[peer]

    async def _read_peer(self, stream: ByteStream, peer: NodeId) -> None:
        buffer = FrameBuffer()
        engine, table, receive = self._engine, self._tables.from_peer, self._engine.receive
        first = True
        while True:
            if engine.is_crowded:
                await engine.wait_for_disk()
            bodies = buffer.feed(await stream.receive(_READ_BYTES))
            messages: list[Any] = []
            for body in bodies:
                if first:
                    first = False
                    if self._heard_refusal(peer, body):
                        return
                messages += unpack(table, body)
            if messages:
                receive(peer, messages)

    def _heard_refusal(self, peer: NodeId, body: bytes) -> bool:
        """Whether the caller, having seen who we are, refuses."""
        try:
            refused = REFUSED_MESSAGES.decode(body)[0].message
        except WireError:
            return False  # the usual case: a protocol's message; whatever else it is, the next step says
        refused = refused._replace(reason=printable(refused.reason))
        self._refused(f"this node was refused: {refused.reason}")
        # It may stop this node. Anybody can call and say so; proof is a certificate, or an answer at the
        # peer's own address, where this node calls as well and hears the same.
        if self._security.on:
            self._was_refused(peer, refused)
        return True

    # --- clients ------------------------------------------------------------------------------------

    async def _serve_client(self, stream: ByteStream) -> None:
        client = ClientConnection(stream, self._engine, self._tables, self._limits, self._budget)
        self._engine.clients[client] = client.outbox
        try:
            with anyio.CancelScope() as scope:
                self._budget.enter(client, scope)
                await run_until_first(client.read, client.write)
            if scope.cancelled_caught:
                self._refused("a client's connection was closed: too many large requests arrive at once")
        except WireError as error:
            self._refused(f"a client sent what it should not; its connection was closed: {error}")
        except TimeoutError:
            self._refused("a client's connection was closed: it does not read its answers")
        finally:
            client.gone()
            self._engine.disconnect(client)


async def _close(stream: ByteStream) -> None:
    """Close without waiting for the other side."""
    with anyio.CancelScope(shield=True), suppress(*CONNECTION_ERRORS):
        await anyio.aclose_forcefully(stream)
