"""The calls of a client to a cluster that decides decrees.

A call has a request id, and keeps it on every node that it is tried on, so that trying again is the same
request and not a second one.  A call ends in one of four ways: with its result; `NotTaken`, when no node
took it and it was certainly not carried out; `OutcomeUnknown`, when it was sent and nobody said what became
of it; `Unreachable`, when it could not be sent at all, or only wanted to know something.
"""

import os
from collections import deque
from typing import Any, Final

import anyio

from paxos.command import RequestId, digest_of
from paxos.errors import ClusterMismatch, NotTaken, OutcomeUnknown, PaxosError, Unreachable
from paxos.runtime.client_link import Link
from paxos.service import Cancel, Reply, ReplyKind, Submit

__all__ = ["DecreeTraffic"]

#: Requests on their way at once; the others wait here. A node reads no more of one client anyway.
_WINDOW: Final = 1000
#: About so much is sent at once.
_SEND_BYTES: Final = 1 << 20
#: The first pause and the longest before a rejected call is tried again, seconds.
_RETRY_S: Final = 0.02
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


class DecreeTraffic:
    """Requests for decrees.

    Args:
        link: carries them.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._id = os.urandom(16)
        self._sequence = 0
        self._calls: dict[RequestId, _Call] = {}
        self._unsent: deque[_Call] = deque()
        # On the connection there is now, oldest first.
        self._in_flight: dict[RequestId, _Call] = {}
        self._cancels: list[Cancel] = []
        # Since when a node that owes an answer has said nothing at all. Whoever asked may be gone meanwhile.
        self._silent_s: float | None = None
        link.carry(self)

    async def submit(self, body: bytes, what: str, limit_s: float) -> bytes | None:
        """Try one request until it has an answer.

        Args:
            body: the request.
            what: it is, for errors.
            limit_s: how long to try, seconds.

        Raises:
            OutcomeUnknown, NotTaken, Unreachable, ClusterMismatch: see the room's header.
        """
        link = self._link
        self._sequence += 1
        request = RequestId(self._id, 0, self._sequence, digest_of(body))
        call = self._calls[request] = _Call(Submit(request, body))
        pause_s = _RETRY_S
        try:
            with anyio.move_on_after(limit_s):
                while True:
                    if link.closed:
                        raise self._ended(call, what, Unreachable(f"{what}: the client is closed"))
                    hopeless = link.hopeless()
                    if hopeless is not None:
                        raise self._ended(call, what, hopeless)
                    call.done = anyio.Event()
                    self._unsent.append(call)
                    link.wake()
                    await call.done.wait()
                    if call.error is not None:
                        raise self._ended(call, what, call.error)
                    reply = call.reply
                    if reply is not None and reply.kind == ReplyKind.DONE:
                        return reply.result
                    if reply is not None and reply.kind == ReplyKind.WRONG:
                        raise self._ended(call, what, ClusterMismatch(f"{what}: {reply.detail}"))
                    # Not now: what this client asks is always well formed, so a refusal is one of load.
                    await anyio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _RETRY_MAX_S)
            raise self._too_late(call, what, limit_s)
        finally:
            del self._calls[request]
            if self._in_flight.pop(request, None) is not None:
                self._cancels.append(Cancel(request))
                link.wake()

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
            return self._link.unreachable(what, limit_s)
        if call.reply.kind == ReplyKind.REJECTED:
            return NotTaken(f"{what}: {call.reply.detail}")
        # A node that sends a request elsewhere did nothing with it, and promises nothing.
        return Unreachable(
            f"{what}: sent on to node {call.reply.detail}, not taken there within {limit_s:g} s"
        )

    # --- what the link calls ------------------------------------------------------------------------

    def gather(self, now_s: float) -> list[Any]:
        """What may be sent now."""
        messages: list[Any] = [*self._cancels]
        self._cancels.clear()
        size = 0
        while self._unsent and len(self._in_flight) < _WINDOW and size < _SEND_BYTES:
            call = self._unsent.popleft()
            request = call.submit.request
            if self._calls.get(request) is call:  # else nobody waits any more
                call.sent_at_s = now_s
                self._in_flight[request] = call
                messages.append(call.submit)
                size += len(call.submit.body)
                if self._silent_s is None:
                    self._silent_s = now_s
        return messages

    def take(self, message: Any) -> bool:
        """Handle what a node sent."""
        if message.__class__ is not Reply:
            return False
        self._silent_s = None
        call = self._in_flight.pop(message.request, None)
        if call is None:
            return True  # cancelled meanwhile
        if len(self._in_flight) == _WINDOW - 1 or not self._in_flight:
            self._link.wake()
        if message.kind == ReplyKind.DONE:
            self._link.content()
        elif message.kind == ReplyKind.REDIRECT:
            self._link.redirect(int(message.detail) if message.detail.isdecimal() else None)
        elif message.kind == ReplyKind.UNKNOWN:
            call.unknown = True
        call.reply = message
        call.done.set()
        return True

    def requeue(self) -> None:
        """What was on its way is sent again, before what was not."""
        for call in self._in_flight.values():
            call.unknown = True
        self._unsent.extendleft(reversed(self._in_flight.values()))
        self._in_flight.clear()
        self._cancels.clear()
        self._silent_s = None

    def fail(self, error: PaxosError) -> None:
        """Tell everybody who waits."""
        for call in self._calls.values():
            call.error = error
            call.done.set()
        self._unsent.clear()

    def close(self) -> None:
        """Tell everybody who waits."""
        unknown = OutcomeUnknown("the client was closed before the answer came; trying again is safe")
        unsent = Unreachable("the client was closed before the request was sent")
        for call in self._calls.values():
            call.error = unknown if call.unknown or call.submit.request in self._in_flight else unsent
            call.done.set()

    def oldest_s(self) -> float | None:
        """When the oldest request on its way was sent, or since when the node says nothing."""
        oldest = next(iter(self._in_flight.values()), None)
        times = (self._silent_s, None if oldest is None else oldest.sent_at_s)
        return min((time for time in times if time is not None), default=None)

    def next_s(self) -> float | None:
        """Who waits for another try waits by itself."""
        return None
