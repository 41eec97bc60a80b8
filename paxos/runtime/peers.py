"""Calling the other nodes: for each peer one connection of ours, over which all that goes to it leaves.

Connections break and peers are away; then this calls again, after a pause that doubles and is partly
random, or at once when the peer itself is heard of.  Meanwhile the peer's outbox keeps what it can.

A peer whose machine lost its power never closed the connection to it.  It is heard of when it calls, in
another life than the one that was greeted here; then the old connection is given up.
"""

import logging
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import ByteStream

from paxos.ballot import NodeId
from paxos.contract import Draw
from paxos.errors import WireError
from paxos.runtime.config import parse_address
from paxos.runtime.events import EventSink, printable
from paxos.runtime.handshake import (
    HANDSHAKE_MESSAGES,
    MISMATCH,
    Doorkeeper,
    Hello,
    Kind,
    Refused,
    read_first,
)
from paxos.runtime.limits import Limits
from paxos.runtime.outbox import PeerOutbox, send_all
from paxos.runtime.sockets import watch_other_end
from paxos.runtime.tasks import CONNECTION_ERRORS, reason_of, run_until_first
from paxos.runtime.tls import Security

__all__ = ["Caller"]

#: How finely the random part of a pause is cut.
_DRAWS: Final = 256


class Caller:
    """Keeps one peer connected.

    Args:
        peer: whom to call.
        address: where it listens, `host:port`.
        outbox: what it is to be sent.
        doorkeeper: knows who we are, and decides whether it is who we meant.
        security: TLS, or none.
        limits: bounds.
        draw: supplies the random part of a pause.
        events: where to report.
        refused: called with what the peer says when it refuses this node.
    """

    def __init__(
        self,
        peer: NodeId,
        address: str,
        outbox: PeerOutbox,
        doorkeeper: Doorkeeper,
        security: Security,
        limits: Limits,
        draw: Draw,
        events: EventSink,
        refused: Callable[[NodeId, Refused], None],
    ) -> None:
        self._peer = peer
        self._address = parse_address(address)
        self._outbox = outbox
        self._doorkeeper = doorkeeper
        self._security = security
        self._limits = limits
        self._draw = draw
        self._events = events
        self._refused = refused
        self._nudge = anyio.Event()
        self._last_text = ""
        self._secured: ByteStream
        # Who answered last, and what ends the connection to it.
        self._greeted: Hello | None = None
        self._call = anyio.CancelScope()

    def nudge(self, hello: Hello) -> None:
        """The peer was heard of: do not wait any longer before calling it.

        Args:
            hello: what it said of itself. When it is in another life than the one that is connected, this
                node calls again.
        """
        self._nudge.set()
        if self._greeted is not None and _life(self._greeted) != _life(hello):
            self._call.cancel()

    async def run(self) -> None:
        """Call the peer, again and again, until cancelled."""
        pause_s = self._limits.reconnect_s
        while True:
            # Whoever is heard of from here on is called without a pause.
            self._nudge = anyio.Event()
            text = "it was started again"
            with anyio.CancelScope() as self._call:
                text = await self._call_once()
            if self._greeted is not None:
                pause_s = self._limits.reconnect_s
                self._last_text = ""
                self._greeted = None
            if text:
                self._report(text)
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, self._limits.reconnect_max_s)

    async def _call_once(self) -> str:
        """Call the peer and stay connected; why that ended, or nothing when it was said already."""
        try:
            stream = await self._connect()
            try:
                if not await self._greet(stream):
                    return ""
                await self._use()
            finally:
                await anyio.aclose_forcefully(stream)
        except WireError as error:
            return f"it sent what it should not: {error}"
        except TimeoutError:
            return "it did not answer, or take what it was sent, in time"
        except anyio.EndOfStream:
            return "it closed the connection"
        except CONNECTION_ERRORS as error:
            return reason_of(error)
        return "the connection ended"

    async def _pause(self, pause_s: float) -> None:
        # Between half and the whole: nodes that lost each other at once do not call at once.
        share = 0.5 + 0.5 * self._draw("reconnect", _DRAWS) / _DRAWS
        with anyio.move_on_after(pause_s * share):
            await self._nudge.wait()

    async def _connect(self) -> ByteStream:
        with anyio.fail_after(self._limits.connect_s):
            stream = await anyio.connect_tcp(self._address.host, self._address.port)
        watch_other_end(stream)
        return stream

    async def _greet(self, stream: ByteStream) -> bool:
        """Say who we are and hear who it is; whether both agreed to go on."""
        with anyio.fail_after(self._limits.handshake_s):
            self._secured = stream = await self._security.secure(stream, called=False)
            await stream.send(HANDSHAKE_MESSAGES.encode([self._doorkeeper.mine]))
            answer = await read_first(stream)
            if isinstance(answer, Refused):
                self._heard(stream, answer._replace(reason=printable(answer.reason)))
                return False
            refusal = self._refusal(stream, answer)
            if refusal is not None:
                await stream.send(HANDSHAKE_MESSAGES.encode([refusal]))
                self._say_once("refused", refusal.reason)
                return False
            self._greeted = answer
        return True

    def _refusal(self, stream: ByteStream, answer: Hello) -> Refused | None:
        if answer.kind != Kind.PEER:
            return Refused(MISMATCH, "a node that is called answers as one")
        wrong_name = self._security.wrong_name(stream, answer.kind, answer.node)
        if wrong_name:
            return Refused(MISMATCH, f"node {self._doorkeeper.mine.node} refuses who it called: {wrong_name}")
        return self._doorkeeper.admit(answer, self._peer)

    def _heard(self, stream: ByteStream, refused: Refused) -> None:
        self._say_once("refused", f"refused by node {self._peer}: {refused.reason}")
        # It may stop this node, so it is believed only from who proves to be that peer, where proof is asked.
        if not self._security.wrong_name(stream, Kind.PEER, self._peer):
            self._outbox.refused = refused.reason
            self._refused(self._peer, refused)

    async def _use(self) -> None:
        self._outbox.connected, self._outbox.refused = True, ""
        self._events.say("connected", f"connected to node {self._peer}", peer=self._peer)
        try:
            await run_until_first(self._write, self._watch)
        finally:
            self._outbox.connected = False

    async def _write(self) -> None:
        await send_all(self._secured, self._outbox, self._limits.send_s)

    async def _watch(self) -> None:
        """Notice the end of the connection: the peer says nothing on it."""
        data = await self._secured.receive(1)
        raise WireError(f"the first byte is {data.hex()}, and a node that was called has nothing more to say")

    def _report(self, text: str) -> None:
        where = f"node {self._peer} at {self._address}"
        self._say_once("unreachable", f"{where}: {text}; calling again")

    def _say_once(self, action: str, text: str) -> None:
        # Every attempt of a long absence would say the same.
        if text != self._last_text:
            self._last_text = text
            self._events.say(action, text, level=logging.WARNING, peer=self._peer)


def _life(hello: Hello) -> tuple[bytes, int, bytes]:
    """One opening of a store by one process."""
    return hello.store_id, hello.incarnation, hello.boot
