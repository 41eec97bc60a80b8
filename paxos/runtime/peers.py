"""Calling the other nodes: for each peer one connection of ours, over which all that goes to it leaves.

Connections break and peers are away; then this calls again, after a pause that doubles and is partly
random, or at once when the peer itself is heard of.  Meanwhile the peer's outbox keeps what it can.
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
from paxos.runtime.events import EventSink
from paxos.runtime.handshake import (
    HANDSHAKE_MESSAGES,
    LOST_DISK,
    MISMATCH,
    Doorkeeper,
    Hello,
    Kind,
    Refused,
    read_first,
)
from paxos.runtime.limits import Limits
from paxos.runtime.outbox import PeerOutbox
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
        lost_disk: called with the reason when the peer says that this node lost its disk.
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
        lost_disk: Callable[[Refused], None],
    ) -> None:
        self._peer = peer
        self._address = parse_address(address)
        self._outbox = outbox
        self._doorkeeper = doorkeeper
        self._security = security
        self._limits = limits
        self._draw = draw
        self._events = events
        self._lost_disk = lost_disk
        self._nudge = anyio.Event()
        self._last_text = ""
        self._secured: ByteStream

    def nudge(self) -> None:
        """The peer was heard of: do not wait any longer before calling it."""
        self._nudge.set()

    async def run(self) -> None:
        """Call the peer, again and again, until cancelled."""
        pause_s = self._limits.reconnect_s
        while True:
            text = "the connection ended"
            met = False
            try:
                stream = await self._connect()
                try:
                    met = await self._greet(stream)
                    if met:
                        await self._use()
                    else:
                        text = ""  # said already
                finally:
                    await anyio.aclose_forcefully(stream)
            except WireError as error:
                text = f"it sent what it should not: {error}"
            except TimeoutError:
                text = "it did not answer, or take what it was sent, in time"
            except anyio.EndOfStream:
                text = "it closed the connection"
            except CONNECTION_ERRORS as error:
                text = reason_of(error)
            if met:
                pause_s = self._limits.reconnect_s
                self._last_text = ""
            if text:
                self._report(text)
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, self._limits.reconnect_max_s)

    async def _pause(self, pause_s: float) -> None:
        # Between half and the whole: nodes that lost each other at once do not call at once.
        share = 0.5 + 0.5 * self._draw("reconnect", _DRAWS) / _DRAWS
        self._nudge = anyio.Event()
        with anyio.move_on_after(pause_s * share):
            await self._nudge.wait()

    async def _connect(self) -> ByteStream:
        with anyio.fail_after(self._limits.connect_s):
            return await anyio.connect_tcp(self._address.host, self._address.port)

    async def _greet(self, stream: ByteStream) -> bool:
        """Say who we are and hear who it is; whether both agreed to go on."""
        with anyio.fail_after(self._limits.handshake_s):
            self._secured = stream = await self._security.secure(stream, called=False)
            await stream.send(HANDSHAKE_MESSAGES.encode([self._doorkeeper.mine]))
            answer = await read_first(stream)
            if isinstance(answer, Refused):
                self._heard(answer)
                return False
            refusal = self._refusal(stream, answer)
            if refusal is not None:
                await stream.send(HANDSHAKE_MESSAGES.encode([refusal]))
                self._say_once("refused", refusal.reason)
                return False
        return True

    def _refusal(self, stream: ByteStream, answer: Hello) -> Refused | None:
        if answer.kind != Kind.PEER:
            return Refused(MISMATCH, "a node that is called answers as one")
        wrong_name = self._security.wrong_name(stream, answer.kind, answer.node)
        if wrong_name:
            return Refused(MISMATCH, f"node {self._doorkeeper.mine.node} refuses who it called: {wrong_name}")
        return self._doorkeeper.admit(answer, self._peer)

    def _heard(self, refused: Refused) -> None:
        self._say_once("refused", f"refused by node {self._peer}: {refused.reason}")
        if refused.code == LOST_DISK:
            self._lost_disk(refused)

    async def _use(self) -> None:
        self._outbox.connected = True
        self._events.say("connected", f"connected to node {self._peer}", peer=self._peer)
        try:
            await run_until_first(self._write, self._watch)
        finally:
            self._outbox.connected = False

    async def _write(self) -> None:
        stream, outbox, send_s = self._secured, self._outbox, self._limits.send_s
        while True:
            data = await outbox.take()
            with anyio.fail_after(send_s):
                await stream.send(data)

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
