"""The calls of a client to a cluster that decides a log: requests that are carried out once, and queries.

Every request has a number, and keeps it on every node that it is tried on: that makes it one request,
however often it is sent.  Consecutive numbers travel together, and their results come back together, so that
a thousand requests cost a few messages.  The client says with each message up to which number it has all
results, so that nodes need not keep them.

A node that has forgotten the client (it was idle too long) carries out nothing of it.  The client then takes
a new name, and what was never sent before is sent under that.

A query changes nothing: it is just asked again.
"""

import os
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import anyio

from paxos.ballot import NodeId
from paxos.errors import OutcomeUnknown, PaxosError, Rejected, SessionExpired, Unreachable
from paxos.runtime.client_link import Link
from paxos.service.batches import MAX_RUN, Run
from paxos.service.log_messages import (
    AskBirth,
    Birth,
    Instruct,
    Level,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
    Results,
    SubmitMany,
)

__all__ = ["LogTraffic"]

#: Requests on their way at once, and about how many bytes of them; the others wait here.
_WINDOW: Final = 1000
_WINDOW_BYTES: Final = 2 << 20
#: A message is closed when its requests have so many bytes.
_MESSAGE_BYTES: Final = 128 << 10
#: The first pause and the longest before what was rejected is tried again, seconds.
_RETRY_S: Final = 0.02
_RETRY_MAX_S: Final = 0.25
#: The requests of one connection that a node lets wait are counted there; queries on their way at once.
_QUERY_WINDOW: Final = 256


class _Call:
    """Requests that somebody waits for, with consecutive numbers."""

    __slots__ = ("bodies", "detail", "done", "error", "first", "left", "results", "unknown")

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies
        self.first = 0
        self.left = len(bodies)
        self.results: list[bytes | None] = [None] * len(bodies)
        self.done = anyio.Event()
        self.error: PaxosError | None = None
        # Whether some attempt of some of them was sent and its outcome is not known.
        self.unknown = False
        # Why the last attempt was not taken.
        self.detail = ""


class _Name:
    """What the client is called, until nodes forget it.

    Attributes:
        id: 16 random bytes.
        birth: the number of the last marker when it was new; None while that is not known.
        calls: for each number without a result, whose it is.
        acknowledged: all numbers up to this one have a result, or nobody waits for it.
    """

    __slots__ = ("acknowledged", "birth", "calls", "id", "next")

    def __init__(self) -> None:
        self.id: bytes = os.urandom(16)
        self.birth: int | None = None
        self.next: int = 1
        self.calls: dict[int, _Call] = {}
        self.acknowledged: int = 0

    def number(self, call: _Call) -> range:
        """Give a call its numbers."""
        call.first = self.next
        numbers = range(self.next, self.next + len(call.bodies))
        self.next = numbers.stop
        self.calls.update(dict.fromkeys(numbers, call))
        return numbers

    def catch_up(self) -> int:
        """The number up to which all results are here."""
        # Numbers go in as they rise, and a dict keeps that order.
        self.acknowledged = next(iter(self.calls), self.next) - 1
        return self.acknowledged


class _Ask:
    """A query that somebody waits for."""

    __slots__ = ("detail", "done", "error", "message", "reply", "sent_at_s")

    def __init__(self, message: Query | Instruct) -> None:
        self.message = message
        self.done = anyio.Event()
        self.reply: QueryReply | None = None
        self.error: PaxosError | None = None
        self.sent_at_s = 0.0
        self.detail = ""


class LogTraffic:
    """Requests and queries to a log.

    Args:
        link: carries them.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._name = _Name()
        self._asked_birth = False
        # Numbers that are not on their way, oldest first; those that are, with when they were sent.
        self._unsent: deque[int] = deque()
        self._in_flight: dict[int, float] = {}
        self._in_flight_bytes = 0
        # What was not taken is tried again then.
        self._later: list[int] = []
        self._later_s: float | None = None
        self._pause_s = _RETRY_S
        self._sequence = 0
        self._asks: dict[int, _Ask] = {}
        self._asks_unsent: deque[int] = deque()
        self._asks_in_flight: dict[int, float] = {}
        self._asks_later: list[int] = []
        link.carry(self)

    # --- what the client calls ----------------------------------------------------------------------

    async def submit(self, bodies: Sequence[bytes], what: str, limit_s: float) -> list[bytes]:
        """Get requests carried out, in this order, each once, and their results.

        Args:
            bodies: the requests.
            what: they are, for errors.
            limit_s: how long to try, seconds.

        Raises:
            OutcomeUnknown: some were sent, and nobody said what became of them.
            Rejected: no node took them; certainly none was carried out.
            Unreachable, ClusterMismatch: they could not be sent.
        """
        if not bodies:
            return []
        self._require_link(what)
        call = _Call(bodies)
        self._unsent.extend(self._name.number(call))
        self._link.wake()
        name = self._name
        try:
            with anyio.move_on_after(limit_s):
                await call.done.wait()
            if call.left and call.error is None:
                raise self._too_late(call, what, limit_s)
            if call.error is not None:
                raise type(call.error)(f"{what}: {call.error}") from call.error
        finally:
            if call.left:
                self._forget(name, call)
        return call.results  # type: ignore[return-value]

    async def query(self, level: Level, body: bytes, what: str, limit_s: float, known: bytes = b"") -> bytes:
        """The answer to something that changes nothing.

        Args:
            level: how fresh it must be.
            body: the query.
            what: it is, for errors.
            limit_s: how long to try, seconds.
            known: NEWS: the answer that is not waited for.

        Raises:
            Unreachable: nobody answered in time.
            Rejected: every node was too busy, or not ready.
            ClusterMismatch: no node there will ever answer.
        """
        self._sequence += 1
        reply = await self._ask(_Ask(Query(self._sequence, level, body, known)), what, limit_s)
        assert reply.result is not None
        return reply.result

    async def instruct(self, action: str, node: NodeId, what: str, limit_s: float) -> None:
        """Tell the node that leads to do something. Raises as `query`, and Rejected when it can not."""
        self._sequence += 1
        await self._ask(_Ask(Instruct(self._sequence, action, node)), what, limit_s)

    async def _ask(self, ask: _Ask, what: str, limit_s: float) -> QueryReply:
        self._require_link(what)
        sequence = ask.message.sequence
        self._asks[sequence] = ask
        self._asks_unsent.append(sequence)
        self._link.wake()
        try:
            with anyio.move_on_after(limit_s):
                await ask.done.wait()
            if ask.error is not None:
                raise ask.error
            if ask.reply is None:
                if ask.detail:
                    raise Rejected(f"{what}: {ask.detail}")
                if sequence in self._asks_in_flight:
                    raise Unreachable(f"{what}: no node answered within {limit_s:g} s; is there a quorum?")
                raise self._link.unreachable(what, limit_s)
            return ask.reply
        finally:
            del self._asks[sequence]
            self._asks_in_flight.pop(sequence, None)

    def _require_link(self, what: str) -> None:
        if self._link.closed:
            raise Unreachable(f"{what}: the client is closed")
        hopeless = self._link.hopeless()
        if hopeless is not None:
            raise hopeless

    def _forget(self, name: _Name, call: _Call) -> None:
        """Nobody waits for the rest of a call. What was sent of it may still be carried out."""
        for number in range(call.first, call.first + len(call.bodies)):
            if name.calls.pop(number, None) is not None and name is self._name:
                self._landed(number, call)

    def _too_late(self, call: _Call, what: str, limit_s: float) -> PaxosError:
        numbers = range(call.first, call.first + len(call.bodies))
        if call.unknown or call.left < len(call.bodies) or any(n in self._in_flight for n in numbers):
            done = len(call.bodies) - call.left
            of_many = f"{done} of {len(call.bodies)} were carried out; of the others " if done else ""
            return OutcomeUnknown(
                f"{what}: {of_many}no answer within {limit_s:g} s; it may have been carried out; a new call "
                "would be another request"
            )
        if call.detail:
            return Rejected(f"{what}: {call.detail}")
        return self._link.unreachable(what, limit_s)

    # --- what the link calls ------------------------------------------------------------------------

    def gather(self, now_s: float) -> list[Any]:
        """What may be sent now."""
        if self._later_s is not None and now_s >= self._later_s:
            self._later_s = None
            self._unsent.extendleft(sorted(self._later, reverse=True))
            self._asks_unsent.extend(self._asks_later)
            self._later, self._asks_later = [], []
        messages: list[Any] = []
        while self._asks_unsent and len(self._asks_in_flight) < _QUERY_WINDOW:
            sequence = self._asks_unsent.popleft()
            ask = self._asks.get(sequence)
            if ask is not None:
                self._asks_in_flight[sequence] = now_s
                messages.append(ask.message)
        if not self._unsent:
            return messages
        if self._name.birth is None:
            if not self._asked_birth:
                self._asked_birth = True
                messages.append(AskBirth(0))
            return messages
        while self._unsent and len(self._in_flight) < _WINDOW and self._in_flight_bytes < _WINDOW_BYTES:
            run = self._next_run(now_s)
            if run is not None:
                messages.append(SubmitMany(run))
        return messages

    def _next_run(self, now_s: float) -> Run | None:
        """Consecutive numbers from the front of what was not sent."""
        name, unsent, calls = self._name, self._unsent, self._name.calls
        first = unsent.popleft()
        call = calls.get(first)
        if call is None:
            return None  # nobody waits for it any more
        bodies: list[bytes] = []
        size, number = 0, first
        most = min(MAX_RUN, max(_WINDOW - len(self._in_flight), 1))
        while True:
            body = call.bodies[number - call.first]
            bodies.append(body)
            size += len(body)
            self._in_flight[number] = now_s
            number += 1
            if len(bodies) >= most or size >= _MESSAGE_BYTES or not unsent or unsent[0] != number:
                break
            if not call.first <= number < call.first + len(call.bodies):
                following = calls.get(number)
                if following is None:
                    break
                call = following
            unsent.popleft()
        self._in_flight_bytes += size
        assert name.birth is not None
        return Run(name.id, name.birth, name.catch_up(), first, b"", bodies)

    def take(self, message: Any) -> bool:
        """Handle what a node sent."""
        kind = message.__class__
        if kind is Results:
            if message.client == self._name.id:
                self._take_results(message)
        elif kind is Refused:
            if message.client == self._name.id:
                self._take_refused(message)
        elif kind is QueryReply:
            self._take_reply(message)
        elif kind is Birth:
            if self._name.birth is None:
                self._name.birth = message.markers
                self._link.wake()
        else:
            return False
        return True

    def _take_results(self, message: Results) -> None:
        calls = self._name.calls
        number = message.sequence
        was_full = len(self._in_flight) >= _WINDOW or self._in_flight_bytes >= _WINDOW_BYTES
        for result in message.results:
            call = calls.pop(number, None)
            if call is not None:  # else nobody waits any more, or it came before
                index = number - call.first
                call.results[index] = result
                call.left -= 1
                if not call.left:
                    call.done.set()
                if self._in_flight.pop(number, None) is not None:
                    self._in_flight_bytes -= len(call.bodies[index])
            number += 1
        self._pause_s = _RETRY_S
        self._link.content()
        if was_full and self._unsent:
            self._link.wake()

    def _take_refused(self, message: Refused) -> None:
        kind = message.kind
        numbers = range(message.sequence, message.sequence + message.requests)
        if kind == RefusedKind.EXPIRED:
            self._rename()
            return
        for number in numbers:
            call = self._name.calls.get(number)
            if call is None or number not in self._in_flight:
                continue
            self._landed(number, call)
            if kind == RefusedKind.APPLIED:
                self._end(call, OutcomeUnknown(f"{message.detail}; it was carried out"))
                continue
            call.detail = message.detail
            if kind == RefusedKind.UNKNOWN:
                call.unknown = True
            if kind == RefusedKind.REDIRECT:
                call.detail = f"sent on to node {message.detail}"
                self._unsent.append(number)
            else:
                self._later.append(number)
        if kind == RefusedKind.REDIRECT:
            self._unsent = deque(sorted(self._unsent))
            self._redirect(message.detail)
        elif self._later:
            self._wait_a_little()

    def _landed(self, number: int, call: _Call) -> None:
        if self._in_flight.pop(number, None) is not None:
            self._in_flight_bytes -= len(call.bodies[number - call.first])

    def _redirect(self, detail: str) -> None:
        self._link.redirect(int(detail) if detail.isdecimal() else None)

    def _wait_a_little(self) -> None:
        if self._later_s is None:
            self._later_s = anyio.current_time() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _RETRY_MAX_S)
            self._link.wake()

    def _rename(self) -> None:
        """Nodes have forgotten this client. What was never sent before can be asked under a new name."""
        old, self._name = self._name, _Name()
        self._asked_birth = False
        anew = [call for call in dict.fromkeys(old.calls.values()) if call.error is None]
        self._unsent.clear()
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self._later = []
        for call in anew:
            if call.unknown or call.left < len(call.bodies):
                self._end(
                    call,
                    SessionExpired(
                        "the cluster has forgotten this client, which was idle for long; an earlier attempt "
                        "may have been carried out"
                    ),
                )
            else:
                self._unsent.extend(self._name.number(call))
        self._link.wake()

    @staticmethod
    def _end(call: _Call, error: PaxosError) -> None:
        if call.error is None:
            call.error = error
            call.done.set()

    def _take_reply(self, message: QueryReply) -> None:
        ask = self._asks.get(message.sequence)
        if self._asks_in_flight.pop(message.sequence, None) is None or ask is None:
            return
        if message.kind == 0:
            ask.reply = message
            ask.done.set()
            self._link.content()
        elif message.kind == RefusedKind.REDIRECT:
            self._asks_unsent.append(message.sequence)
            self._redirect(message.detail)
        elif ask.message.__class__ is Instruct:
            ask.error = Rejected(message.detail)
            ask.done.set()
        else:
            ask.detail = message.detail
            self._asks_later.append(message.sequence)
            self._wait_a_little()

    def requeue(self) -> None:
        """What was on its way is sent again, before what was not."""
        for number in self._in_flight:
            call = self._name.calls.get(number)
            if call is not None:
                call.unknown = True
        self._unsent = deque(sorted([*self._in_flight, *self._unsent, *self._later]))
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self._asks_unsent = deque(sorted(self._asks))
        self._asks_in_flight.clear()
        self._later, self._asks_later, self._later_s = [], [], None
        self._asked_birth = False

    def fail(self, error: PaxosError) -> None:
        """Tell everybody who waits."""
        for call in dict.fromkeys(self._name.calls.values()):
            self._end(call, error if not call.unknown else OutcomeUnknown(f"it was sent; then: {error}"))
        for ask in self._asks.values():
            ask.error = error
            ask.done.set()

    def close(self) -> None:
        """Tell everybody who waits."""
        for number, call in self._name.calls.items():
            if call.unknown or number in self._in_flight:
                self._end(call, OutcomeUnknown("the client was closed before the answer came"))
        for call in dict.fromkeys(self._name.calls.values()):
            self._end(call, Unreachable("the client was closed before the request was sent"))
        for ask in self._asks.values():
            ask.error = ask.error or Unreachable("the client was closed before the answer came")
            ask.done.set()

    def oldest_s(self) -> float | None:
        """When the oldest on its way was sent; who waits for news has time."""
        times = [next(iter(self._in_flight.values()), None)]
        for sequence, sent_s in self._asks_in_flight.items():
            message = self._asks[sequence].message if sequence in self._asks else None
            if message is not None and getattr(message, "level", Level.STALE) != Level.NEWS:
                times.append(sent_s)
                break
        known = [time for time in times if time is not None]
        return min(known) if known else None

    def next_s(self) -> float | None:
        """When what was not taken is tried again."""
        return self._later_s
