"""A client: many calls at once over one connection, and over another node when that one is gone.

A call has a request id, and keeps it on every node that it is tried on, so that trying again is the same
request and not a second one.  A call ends in one of four ways: with its result; `Rejected`, when no node
took it and it was certainly not carried out; `OutcomeUnknown`, when it was sent and nobody said what became
of it; `Unreachable`, when it could not be sent at all, or only wanted to know something.

One task holds the connection.  It sends what gathers, as much at once as there is; matches answers by
request id; and when the connection breaks, or a call has waited too long, it goes on to the next node and
sends again whatever has no answer.
"""

import json
import os
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import anyio
from anyio.abc import ByteStream

from paxos.ballot import NodeId
from paxos.command import RequestId, digest_of
from paxos.errors import (
    ClusterMismatch,
    ConfigurationError,
    OutcomeUnknown,
    PaxosError,
    Rejected,
    Unreachable,
    WireError,
)
from paxos.runtime.client_connection import open_connection
from paxos.runtime.config import parse_address
from paxos.runtime.tables import FROM_CLIENT, TO_CLIENT
from paxos.runtime.tasks import CONNECTION_ERRORS, run_until_first
from paxos.runtime.tls import Security
from paxos.service import (
    AskStatus,
    Cancel,
    Reply,
    ReplyKind,
    StatusReply,
    Submit,
    decide_request,
    decided_request,
)
from paxos.wire import FrameBuffer

__all__ = ["Client", "check_timeout"]

#: Requests on their way at once; the others wait here. A node reads no more of one client anyway.
_WINDOW: Final = 1000
#: About so much is sent at once.
_SEND_BYTES: Final = 1 << 20
_READ_BYTES: Final = 64 * 1024
#: How long the oldest call may wait before another node is tried, seconds: at first, and at most.
_PATIENCE_S: Final = 2.0
_PATIENCE_MAX_S: Final = 30.0
_LOOK_S: Final = 0.1
#: Pause after every node was tried in vain, seconds: at first, and at most.
_PAUSE_S: Final = 0.02
_PAUSE_MAX_S: Final = 1.0
#: The longest pause before a rejected call is tried again, seconds.
_RETRY_MAX_S: Final = 0.25


class _Call:
    """A call that somebody waits for."""

    __slots__ = ("done", "error", "reply", "sent_at_s", "submit", "unknown")

    def __init__(self, submit: Submit) -> None:
        self.submit = submit
        self.done = anyio.Event()
        self.reply: Reply | None = None
        self.error: PaxosError | None = None
        self.sent_at_s = 0.0
        # Whether some attempt was sent and its outcome is not known.
        self.unknown = False


class Client:
    """Talks to a cluster; made by `connect` and `Cluster.client`, and safe to use from many tasks at once.

    Args:
        addresses: `host:port` of nodes, the one to use first in front.
        security: TLS, or none.
        cluster: the cluster's id; None to go by the first node that answers.
        timeout_s: how long a call takes at most unless it says otherwise, seconds.

    Raises:
        ConfigurationError: no address, or one that is none.
    """

    def __init__(
        self, addresses: Sequence[str], security: Security, cluster: str | None, timeout_s: float
    ) -> None:
        if isinstance(addresses, str):
            raise ConfigurationError(f"addresses: expected a list of host:port, got the single {addresses!r}")
        self._addresses = tuple(dict.fromkeys(parse_address(address) for address in addresses))
        if not self._addresses:
            raise ConfigurationError("addresses: a client needs the address of at least one node")
        self._security = security
        self._cluster = cluster or ""
        self._timeout_s = check_timeout(timeout_s)
        self._id = os.urandom(16)
        self._sequence = 0
        self._calls: dict[RequestId, _Call] = {}
        self._unsent: deque[_Call] = deque()
        # On the connection there is now, oldest first.
        self._in_flight: dict[RequestId, _Call] = {}
        self._cancels: list[Cancel] = []
        self._asks: dict[int, tuple[anyio.Event, list[bytes]]] = {}
        self._asks_unsent: list[int] = []
        self._work = anyio.Event()
        self._errors: dict[int, PaxosError] = {}
        self._closed = False
        self._patience_s = _PATIENCE_S
        # Which node is at which address, as far as that is known; and where a node sent us.
        self._met: dict[NodeId, int] = {}
        self._redirected = anyio.Event()
        self._wanted: NodeId | None = None
        #: The node that is connected now, or None.
        self.node: NodeId | None = None

    # --- what users call ----------------------------------------------------------------------------

    async def decide(self, name: str | bytes, value: bytes, *, timeout_s: float | None = None) -> bytes:
        """Get a value chosen for a name, and learn which: it may be another's.

        Args:
            name: of the decree, 1 to 1024 bytes in UTF-8.
            value: what to propose, at most 1 MiB.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            OutcomeUnknown: no answer in time; `value` may have been chosen, or may still be.
            Rejected: every node was too busy, or not ready; certainly nothing was proposed.
            Unreachable: no node could be reached.
            ClusterMismatch: the nodes that answer are not this client's.
            ConfigurationError: a name or value that no node takes.
        """
        result = await self._submit(decide_request(name, value), f"decide {name!r:.80}", timeout_s)
        if result is None:
            raise WireError(f"decide {name!r:.80}: a node answered that nothing is decided")
        return result

    async def decided(self, name: str | bytes, *, timeout_s: float | None = None) -> bytes | None:
        """What is chosen for a name, or None when nothing was; proposes no value of its own.

        Args:
            name: of the decree.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            Unreachable: no node could be reached, or none that reaches a quorum.
            Rejected: every node was too busy, or not ready.
            ClusterMismatch, ConfigurationError: as `decide`.
        """
        what = f"decided {name!r:.80}"
        try:
            return await self._submit(decided_request(name), what, timeout_s)
        except OutcomeUnknown as error:
            # Nothing was asked to be done, so there is no outcome to be unsure of.
            if isinstance(error.__cause__, ClusterMismatch | Unreachable):
                raise error.__cause__ from None
            raise Unreachable(f"{what}: no node answered in time; it may not reach a quorum") from error

    async def status(self, node: NodeId | None = None, *, timeout_s: float | None = None) -> dict[str, Any]:
        """How a node does.

        Args:
            node: which; None for the one that is connected.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            Unreachable: it could not be reached.
            ClusterMismatch: the nodes that answer are not this client's.
        """
        limit_s = self._limit(timeout_s)
        answer: list[bytes] = []
        with anyio.move_on_after(limit_s):
            if node is None or node == self.node:
                answer = await self._ask_here()
            else:
                answer = [await self._ask_node(node)]
        if not answer:
            raise self._unreachable("status" if node is None else f"status of node {node}", limit_s)
        status = json.loads(answer[0])
        if not isinstance(status, dict):
            raise WireError("StatusReply.body: not a JSON object")
        return status

    # --- calls --------------------------------------------------------------------------------------

    def _limit(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else check_timeout(timeout_s)

    async def _submit(self, body: bytes, what: str, timeout_s: float | None) -> bytes | None:
        """Try one request until it has an answer."""
        limit_s = self._limit(timeout_s)
        self._sequence += 1
        request = RequestId(self._id, 0, self._sequence, digest_of(body))
        call = self._calls[request] = _Call(Submit(request, body))
        pause_s = _PAUSE_S
        try:
            with anyio.move_on_after(limit_s):
                while True:
                    if self._closed:
                        raise self._ended(call, what, Unreachable(f"{what}: the client is closed"))
                    hopeless = self._hopeless()
                    if hopeless is not None:
                        raise self._ended(call, what, hopeless)
                    call.done = anyio.Event()
                    self._unsent.append(call)
                    self._work.set()
                    await call.done.wait()
                    if call.error is not None:
                        raise self._ended(call, what, call.error)
                    reply = call.reply
                    if reply is not None and reply.kind == ReplyKind.DONE:
                        return reply.result
                    # Not now: what this client asks is always well formed, so a refusal is one of load.
                    await anyio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _RETRY_MAX_S)
            raise self._too_late(call, what, limit_s)
        finally:
            del self._calls[request]
            if self._in_flight.pop(request, None) is not None:
                self._cancels.append(Cancel(request))
                self._work.set()

    @staticmethod
    def _ended(call: _Call, what: str, error: PaxosError) -> PaxosError:
        """What the caller may conclude when an attempt ended so: it says nothing of earlier attempts."""
        if not call.unknown or isinstance(error, OutcomeUnknown):
            return error
        unknown = OutcomeUnknown(
            f"{what}: it was sent, and may have been carried out; trying it again ended so: {error}"
        )
        unknown.__cause__ = error
        return unknown

    def _too_late(self, call: _Call, what: str, limit_s: float) -> PaxosError:
        if call.unknown or call.submit.request in self._in_flight:
            return OutcomeUnknown(
                f"{what}: no answer within {limit_s:g} s; it may have been carried out; trying again is safe"
            )
        if call.reply is None:
            return self._unreachable(what, limit_s)
        if call.reply.kind == ReplyKind.REJECTED:
            return Rejected(f"{what}: {call.reply.detail}")
        # A node that sends a request elsewhere did nothing with it, and promises nothing.
        return Unreachable(
            f"{what}: sent on to node {call.reply.detail}, not taken there within {limit_s:g} s"
        )

    def _unreachable(self, what: str, limit_s: float) -> Unreachable:
        if self.node is not None:
            return Unreachable(f"{what}: not sent within {limit_s:g} s: earlier requests still wait")
        why = "; ".join(str(error) for error in self._errors.values()) or "no answer yet"
        return Unreachable(f"{what}: no node could be reached within {limit_s:g} s: {why}")

    def _hopeless(self) -> ClusterMismatch | None:
        """The error to give, when every node there is refused us for a reason that stays."""
        errors = list(self._errors.values())
        if len(errors) < len(self._addresses) or not all(isinstance(e, ClusterMismatch) for e in errors):
            return None
        return ClusterMismatch("; ".join(map(str, errors)))

    def _require_hope(self) -> None:
        hopeless = self._hopeless()
        if hopeless is not None:
            raise hopeless

    # --- the task that holds the connection ---------------------------------------------------------

    async def run(self) -> None:
        """Keep a connection and carry calls over it, until cancelled."""
        at, tries, pause_s = 0, 0, _PAUSE_S
        try:
            while True:
                try:
                    stream, hello = await open_connection(self._addresses[at], self._security, self._cluster)
                except PaxosError as error:
                    self._errors[at] = error
                    self._give_up_if_hopeless()
                    tries += 1
                    if tries % len(self._addresses) == 0:
                        await anyio.sleep(pause_s)
                        pause_s = min(2 * pause_s, _PAUSE_MAX_S)
                else:
                    tries, pause_s = 0, _PAUSE_S
                    self._errors.clear()
                    self._cluster, self.node = hello.cluster, hello.node
                    self._met[hello.node] = at
                    await self._use(stream)
                wanted, self._wanted = self._wanted, None
                at = self._met.get(wanted or 0, (at + 1) % len(self._addresses))
        finally:
            self._close()

    async def _use(self, stream: ByteStream) -> None:
        """Carry calls until the connection ends or patience does."""
        self._redirected = anyio.Event()
        try:
            await run_until_first(
                lambda: self._write(stream),
                lambda: self._read(stream),
                self._lose_patience,
                self._redirected.wait,
            )
        except (WireError, *CONNECTION_ERRORS):
            pass  # whatever it was, the next node is tried
        finally:
            self.node = None
            self._requeue()
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)

    def _requeue(self) -> None:
        """What was on its way is sent again, before what was not."""
        for call in self._in_flight.values():
            call.unknown = True
        self._unsent.extendleft(reversed(self._in_flight.values()))
        self._in_flight.clear()
        self._cancels.clear()
        self._asks_unsent = list(self._asks)

    def _give_up_if_hopeless(self) -> None:
        hopeless = self._hopeless()
        if hopeless is not None:
            self._fail_all(hopeless)

    def _fail_all(self, error: PaxosError) -> None:
        for call in self._calls.values():
            call.error = error
            call.done.set()
        self._unsent.clear()

    def _close(self) -> None:
        self._closed = True
        unknown = OutcomeUnknown("the client was closed before the answer came; trying again is safe")
        unsent = Unreachable("the client was closed before the request was sent")
        for call in self._calls.values():
            call.error = unknown if call.unknown or call.submit.request in self._in_flight else unsent
            call.done.set()
        for event, _ in self._asks.values():
            event.set()

    async def _write(self, stream: ByteStream) -> None:
        while True:
            messages = self._gather()
            if messages:
                await stream.send(FROM_CLIENT.encode(messages))
            else:
                self._work = anyio.Event()
                await self._work.wait()

    def _gather(self) -> list[Any]:
        """What may be sent now."""
        messages: list[Any] = [*self._cancels, *map(AskStatus, self._asks_unsent)]
        self._cancels.clear()
        self._asks_unsent.clear()
        now_s, size = anyio.current_time(), 0
        while self._unsent and len(self._in_flight) < _WINDOW and size < _SEND_BYTES:
            call = self._unsent.popleft()
            request = call.submit.request
            if self._calls.get(request) is call:  # else nobody waits any more
                call.sent_at_s = now_s
                self._in_flight[request] = call
                messages.append(call.submit)
                size += len(call.submit.body)
        return messages

    async def _read(self, stream: ByteStream) -> None:
        buffer = FrameBuffer()
        while True:
            for body in buffer.feed(await stream.receive(_READ_BYTES)):
                for envelope in TO_CLIENT.decode(body):
                    self._take(envelope.message)

    def _take(self, message: Reply | StatusReply) -> None:
        if isinstance(message, StatusReply):
            ask = self._asks.get(message.sequence)
            if ask is not None:
                ask[1].append(message.body)
                ask[0].set()
            return
        call = self._in_flight.pop(message.request, None)
        if call is None:
            return  # cancelled meanwhile
        if len(self._in_flight) == _WINDOW - 1 or not self._in_flight:
            self._work.set()
        if message.kind == ReplyKind.DONE:
            self._patience_s = _PATIENCE_S
        elif message.kind == ReplyKind.REDIRECT:
            self._wanted = int(message.detail) if message.detail.isdecimal() else None
            self._redirected.set()
        elif message.kind == ReplyKind.UNKNOWN:
            call.unknown = True
        call.reply = message
        call.done.set()

    async def _lose_patience(self) -> None:
        """Return when the oldest call has waited too long for this node."""
        while True:
            await anyio.sleep(_LOOK_S)
            oldest = next(iter(self._in_flight.values()), None)
            if oldest is not None and anyio.current_time() - oldest.sent_at_s > self._patience_s:
                self._patience_s = min(2 * self._patience_s, _PATIENCE_MAX_S)
                return

    # --- status -------------------------------------------------------------------------------------

    async def _ask_here(self) -> list[bytes]:
        """Ask whichever node is connected; nothing when the client was closed."""
        self._require_hope()
        self._sequence += 1
        sequence = self._sequence
        event, answer = self._asks[sequence] = (anyio.Event(), [])
        self._asks_unsent.append(sequence)
        self._work.set()
        try:
            await event.wait()
        finally:
            del self._asks[sequence]
        return answer

    async def _ask_node(self, node: NodeId) -> bytes:
        """Ask one node over a connection of its own, trying each address until it is found."""
        errors: list[PaxosError] = []
        for address in self._addresses:
            try:
                stream, hello = await open_connection(address, self._security, self._cluster)
            except PaxosError as error:
                errors.append(error)
                continue
            try:
                if hello.node == node:
                    return await _ask(stream)
            except CONNECTION_ERRORS as error:
                errors.append(Unreachable(f"{address}: {error!r:.80}"))
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.aclose_forcefully(stream)
        why = "; ".join(map(str, errors)) or "none of the addresses is its"
        mismatch = errors and all(isinstance(error, ClusterMismatch) for error in errors)
        raise (ClusterMismatch if mismatch else Unreachable)(f"status of node {node}: {why}")


async def _ask(stream: ByteStream) -> bytes:
    buffer = FrameBuffer()
    await stream.send(FROM_CLIENT.encode([AskStatus(0)]))
    while True:
        for body in buffer.feed(await stream.receive(_READ_BYTES)):
            for envelope in TO_CLIENT.decode(body):
                if isinstance(envelope.message, StatusReply):
                    return envelope.message.body


def check_timeout(timeout_s: object) -> float:
    """A time limit, in seconds. Raises ConfigurationError."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not timeout_s > 0:
        raise ConfigurationError(f"timeout_s: expected seconds above 0, got {timeout_s!r}")
    return float(timeout_s)
