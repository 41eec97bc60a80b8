"""The calls of a client to a cluster that decides a log: requests that are carried out once, and queries.

Every request has a number, and keeps it on every node that it is tried on: that makes it one request,
however often it is sent.  Consecutive numbers travel together, and their results come back together, so that
a thousand requests cost a few messages.  The client says with each message up to which number it has all
results, so that nodes need not keep them.

A node that has forgotten the client (it was idle too long) carries out nothing of it.  When all that is on
its way has ended, the client takes a new name, and what was certainly not carried out is sent under that.

The requests of one call are carried out in their order, whatever is refused or lost meanwhile: of one call
there is one message on its way at a time.

A query changes nothing: it is just asked again.
"""

import os
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import anyio

from paxos.ballot import NodeId
from paxos.errors import (
    ClusterMismatch,
    ConfigurationError,
    NotTaken,
    OutcomeUnknown,
    PaxosError,
    Rejected,
    SessionExpired,
    Unreachable,
)
from paxos.runtime.client_gate import Gate
from paxos.runtime.client_link import Link
from paxos.service.batches import MAX_REQUEST_BYTES, MAX_RUN, Run
from paxos.service.log_messages import (
    AskBirth,
    Birth,
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
from paxos.service.revisions import where

__all__ = ["LogTraffic"]

#: Requests on their way at once, and about how many bytes of them; the others wait here.
_WINDOW: Final = 1000
_WINDOW_BYTES: Final = 2 << 20
#: A message is closed when its requests have so many bytes.
_MESSAGE_BYTES: Final = 128 << 10
#: The first pause and the longest before what was rejected is tried again, seconds.
_RETRY_S: Final = 0.02
_RETRY_MAX_S: Final = 0.25
#: Queries on their way at once; questions for news, which wait at the node, are not counted.
_QUERY_WINDOW: Final = 256
#: Questions for news at once. A node lets one connection have about so many.
_MAX_NEWS: Final = 1000


class _Call:
    """Requests that somebody waits for, with consecutive numbers."""

    __slots__ = ("bodies", "detail", "done", "error", "first", "left", "results", "size", "unknown")

    def __init__(self, bodies: Sequence[bytes], size: int) -> None:
        self.bodies = bodies
        self.size = size
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
        next: the number of the next request.
        calls: for each number without a result, whose it is.
        acknowledged: all numbers up to this one have a result, or nobody waits for it.
        forgotten: whether a node said that it knows the name no more.
    """

    __slots__ = ("acknowledged", "birth", "calls", "forgotten", "id", "next")

    def __init__(self) -> None:
        self.id: bytes = os.urandom(16)
        self.birth: int | None = None
        self.next: int = 1
        self.calls: dict[int, _Call] = {}
        self.acknowledged: int = 0
        self.forgotten: bool = False

    def number(self, call: _Call) -> range:
        """Give a call its numbers."""
        call.first = self.next
        numbers = range(self.next, self.next + len(call.bodies))
        self.next = numbers.stop
        self.calls.update(dict.fromkeys(numbers, call))
        return numbers

    def catch_up(self) -> int:
        """The number up to which all results are here."""
        # Each number is looked at once; the first key of a dict is searched among all that were deleted.
        calls, number, end = self.calls, self.acknowledged + 1, self.next
        while number < end and number not in calls:
            number += 1
        self.acknowledged = number - 1
        return self.acknowledged


class _Ask:
    """A query that somebody waits for."""

    __slots__ = ("detail", "done", "error", "for_news", "message", "place", "reply", "size")

    def __init__(self, message: Query | Instruct, place: int | None = None) -> None:
        self.message = message
        # The only place where it may be asked, or None; later, where it was answered.
        self.place = place
        self.for_news = isinstance(message, Query) and message.level == Level.NEWS
        self.size = len(message.body) if isinstance(message, Query) else 0
        self.done = anyio.Event()
        self.reply: QueryReply | None = None
        self.error: PaxosError | None = None
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
        # Questions for news: how many; those that wait at the node; those that nobody waits for any more.
        self._news = 0
        self._news_unsent: list[int] = []
        self._news_in_flight: set[int] = set()
        self._cancels: list[CancelQuery] = []
        # Since when a node that owes an answer has said nothing at all. Whoever asked may be gone meanwhile.
        self._silent_s: float | None = None
        self._gate = Gate()
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
            Rejected: no node will ever take them; certainly none was carried out.
            NotTaken: nor was one, since no node took them, or this client has too much under way already.
            Unreachable, ClusterMismatch: they could not be sent.
            ConfigurationError: one is too long.
        """
        if not bodies:
            return []
        longest = max(map(len, bodies))
        if longest > MAX_REQUEST_BYTES:
            raise ConfigurationError(
                f"{what}: a command of {longest} bytes; the limit is {MAX_REQUEST_BYTES}"
            )
        self._require_link(what)
        call = _Call(bodies, sum(map(len, bodies)))
        rest_s = await self._enter(len(bodies), call.size, what, limit_s)
        try:
            self._unsent.extend(self._name.number(call))
            self._link.wake()
            with anyio.move_on_after(rest_s):
                await call.done.wait()
            if call.left and call.error is None:
                raise self._too_late(call, what, limit_s)
            if call.error is not None:
                raise type(call.error)(f"{what}: {call.error}") from call.error
        finally:
            if call.left:
                self._forget(call)
            self._gate.leave(len(bodies), call.size)
        return call.results  # type: ignore[return-value]

    async def _enter(self, requests: int, size: int, what: str, limit_s: float) -> float:
        """Wait until there is room for so much; the seconds that are left then.

        Raises:
            NotTaken: there was none in time.
            Unreachable, ClusterMismatch: it is over meanwhile.
        """
        gate = self._gate
        if gate.enter_now(requests, size):
            return limit_s
        began_s = anyio.current_time()
        entered = False
        with anyio.move_on_after(limit_s):
            await gate.enter(requests, size)
            entered = True
        if not entered:
            if self._link.node is None:
                raise self._link.unreachable(what, limit_s)
            raise NotTaken(f"{what}: not sent within {limit_s:g} s: {gate}")
        try:
            self._require_link(what)
        except PaxosError:
            gate.leave(requests, size)
            raise
        return max(limit_s - (anyio.current_time() - began_s), 0)

    async def query(self, level: Level, body: bytes, what: str, limit_s: float, known: bytes = b"") -> bytes:
        """The answer to something that changes nothing.

        Args:
            level: how fresh it must be.
            body: the query.
            what: it is, for errors.
            limit_s: how long to try, seconds.
            known: NEWS: the answer that is not waited for.

        Raises:
            Unreachable: nobody answered in time. News are waited for longer, if a node knows of the question.
            NotTaken: every node was too busy, or not ready.
            Rejected: the machine can not answer it; this client asks for too many news at once.
            ClusterMismatch: no node there will ever answer.
        """
        self._sequence += 1
        reply = await self._ask(_Ask(Query(self._sequence, level, body, known)), what, limit_s)
        assert reply.result is not None
        return reply.result

    async def query_place(self, body: bytes, what: str, limit_s: float) -> tuple[bytes, int]:
        """The answer to a linearizable query, and at which place it was given. Raises as `query`."""
        self._sequence += 1
        ask = _Ask(Query(self._sequence, Level.LINEARIZABLE, body, b""))
        reply = await self._ask(ask, what, limit_s)
        assert reply.result is not None
        assert ask.place is not None, "it was answered somewhere"
        return reply.result, ask.place

    async def news(self, body: bytes, what: str, limit_s: float, known: bytes, place: int) -> bytes:
        """The answer at one place, when it is another than the known one.

        Raises:
            As `query`, and Rejected: another place is connected.
        """
        self._sequence += 1
        reply = await self._ask(_Ask(Query(self._sequence, Level.NEWS, body, known), place), what, limit_s)
        assert reply.result is not None
        return reply.result

    async def instruct(self, action: str, node: NodeId, what: str, limit_s: float) -> None:
        """Tell the node that leads to do something. Raises as `query`, and Rejected when it can not."""
        self._sequence += 1
        await self._ask(_Ask(Instruct(self._sequence, action, node)), what, limit_s)

    async def _ask(self, ask: _Ask, what: str, limit_s: float) -> QueryReply:
        self._require_link(what)
        if ask.for_news and self._news >= _MAX_NEWS:
            raise Rejected(
                f"{what}: this client waits for {self._news} pieces of news; open another for more"
            )
        rest_s, size = limit_s, ask.size
        if not ask.for_news:
            rest_s = await self._enter(1, size, what, limit_s)
        sequence = ask.message.sequence
        self._asks[sequence] = ask
        self._news += ask.for_news
        (self._news_unsent if ask.for_news else self._asks_unsent).append(sequence)
        self._link.wake()
        try:
            while True:
                with anyio.move_on_after(rest_s):
                    await ask.done.wait()
                if ask.done.is_set() or sequence not in self._news_in_flight:
                    break
            if ask.error is not None:
                raise type(ask.error)(f"{what}: {ask.error}") from ask.error
            if ask.reply is None:
                if ask.detail:
                    raise NotTaken(f"{what}: {ask.detail}")
                if sequence in self._asks_in_flight:
                    raise Unreachable(f"{what}: no node answered within {limit_s:g} s; is there a quorum?")
                raise self._link.unreachable(what, limit_s)
            return ask.reply
        finally:
            del self._asks[sequence]
            if ask.for_news:
                self._news -= 1
            else:
                self._gate.leave(1, size)
            self._asks_in_flight.pop(sequence, None)
            if sequence in self._news_in_flight:
                # Nothing may ever change there: the node would keep the question for as long as we are here.
                self._news_in_flight.remove(sequence)
                self._cancels.append(CancelQuery(sequence))
                self._link.wake()

    def _require_link(self, what: str) -> None:
        if self._link.closed:
            raise Unreachable(f"{what}: the client is closed")
        hopeless = self._link.hopeless()
        if hopeless is not None:
            raise hopeless

    def _forget(self, call: _Call) -> None:
        """Nobody waits for the rest of a call. What was sent of it may still be carried out."""
        calls = self._name.calls
        for number in range(call.first, call.first + len(call.bodies)):
            if calls.get(number) is call:
                del calls[number]
                self._landed(number, call)
        # What it took of the window is free for others.
        self._link.wake()

    def _too_late(self, call: _Call, what: str, limit_s: float) -> PaxosError:
        numbers = range(call.first, call.first + len(call.bodies))
        if call.unknown or call.left < len(call.bodies) or any(n in self._in_flight for n in numbers):
            done = len(call.bodies) - call.left
            of_many = f"{done} of {len(call.bodies)} were carried out; for the others " if done else ""
            return OutcomeUnknown(
                f"{what}: {of_many}no answer within {limit_s:g} s; it may have been carried out; a new call "
                "would be another request"
            )
        if call.detail:
            return NotTaken(f"{what}: {call.detail}")
        return self._link.unreachable(what, limit_s)

    # --- what the link calls ------------------------------------------------------------------------

    def gather(self, now_s: float) -> list[Any]:
        """What may be sent now."""
        if self._later_s is not None and now_s >= self._later_s:
            self._later_s = None
            self._unsent.extendleft(sorted(self._later, reverse=True))
            self._sort_asks(self._asks_later)
            self._later, self._asks_later = [], []
        messages: list[Any] = []
        if self._asks_unsent or self._news_unsent:
            self._gather_asks(messages, now_s)
        if self._cancels:
            messages += self._cancels
            self._cancels = []
        name = self._name
        if name.forgotten and not self._in_flight:
            self._rename()
            name = self._name
        if not self._unsent or name.forgotten:
            return messages
        if name.birth is None:
            if not self._asked_birth:
                self._asked_birth = True
                messages.append(AskBirth(0))
                self._owed(now_s)
            return messages
        while self._unsent and len(self._in_flight) < _WINDOW and self._in_flight_bytes < _WINDOW_BYTES:
            run = self._next_run(name, name.birth, now_s)
            if run is None:
                break
            messages.append(SubmitMany(run))
        return messages

    def _gather_asks(self, messages: list[Any], now_s: float) -> None:
        asks, unsent = self._asks, self._asks_unsent
        while unsent and len(self._asks_in_flight) < _QUERY_WINDOW:
            sequence = unsent.popleft()
            if sequence in asks:
                self._asks_in_flight[sequence] = now_s
                messages.append(asks[sequence].message)
                self._owed(now_s)
        for sequence in self._news_unsent:
            ask = asks.get(sequence)
            if ask is None:
                continue
            if ask.place not in (None, self._link.place):
                # What was counted elsewhere is not what this node counts.
                here, there = where(self._link.place), where(ask.place)
                ask.error = Rejected(
                    f"{here} numbers changes in its own order, and the revision is {there}'s: read the keys "
                    "anew, and watch from there"
                )
                ask.done.set()
                continue
            self._news_in_flight.add(sequence)
            messages.append(ask.message)
        self._news_unsent = []

    def _owed(self, now_s: float) -> None:
        """The node owes an answer from now on."""
        if self._silent_s is None:
            self._silent_s = now_s

    def _next_run(self, name: _Name, birth: int, now_s: float) -> Run | None:
        """Consecutive numbers from the front of what was not sent; None when that has to wait."""
        unsent, calls, in_flight = self._unsent, name.calls, self._in_flight
        while unsent and unsent[0] not in calls:
            unsent.popleft()  # nobody waits for it any more
        bodies: list[bytes] = []
        size, most, full = 0, min(MAX_RUN, _WINDOW - len(in_flight)), False
        first = number = unsent[0] if unsent else 0
        while not full and unsent and unsent[0] == number:
            call = calls.get(number)
            if call is None:
                break
            index, end = number - call.first, len(call.bodies)
            if end > 1:
                if call.left > end - index:
                    break  # what comes before it in the same call has no result yet
                # A call goes in one message if it can, since the rest of it would have to wait.
                if index == 0 and end <= _WINDOW and len(bodies) + end > most:
                    break
                if index == 0 and bodies and size + call.size > _MESSAGE_BYTES:
                    break
            while index < end and unsent and unsent[0] == number:
                body = call.bodies[index]
                if len(bodies) >= most or (bodies and size + len(body) > _MESSAGE_BYTES):
                    full = True
                    break
                bodies.append(body)
                size += len(body)
                in_flight[number] = now_s
                unsent.popleft()
                number += 1
                index += 1
        if not bodies:
            return None
        self._in_flight_bytes += size
        self._owed(now_s)
        return Run(name.id, birth, name.catch_up(), first, b"", bodies)

    def take(self, message: Any) -> bool:
        """Handle what a node sent."""
        kind = message.__class__
        if kind is Results:
            if message.client == self._name.id:
                self._take_results(message)
        elif kind is Refused:
            if message.kind == RefusedKind.WRONG:
                self._asked_birth = False
                self.fail(ClusterMismatch(message.detail))
            elif message.client == self._name.id:
                self._take_refused(message)
        elif kind is QueryReply:
            self._take_reply(message)
        elif kind is Birth:
            if self._name.birth is None:
                self._name.birth = message.markers
                self._link.wake()
        else:
            return False
        self._silent_s = None
        return True

    def _take_results(self, message: Results) -> None:
        calls, in_flight = self._name.calls, self._in_flight
        number, size = message.sequence, 0
        for result in message.results:
            if in_flight.pop(number, None) is not None:  # else nobody waits any more, or it came before
                call = calls.pop(number)
                index = number - call.first
                size += len(call.bodies[index])
                call.results[index] = result
                call.left -= 1
                if not call.left:
                    call.done.set()
            number += 1
        self._in_flight_bytes -= size
        self._pause_s = _RETRY_S
        self._link.content()
        if self._unsent or self._name.forgotten:
            self._link.wake()

    def _take_refused(self, message: Refused) -> None:
        kind, name = message.kind, self._name
        never: dict[_Call, None] = {}
        for number in range(message.sequence, message.sequence + message.requests):
            call = name.calls.get(number)
            if call is None or number not in self._in_flight:
                continue
            self._landed(number, call)
            if kind == RefusedKind.APPLIED:
                self._end(call, OutcomeUnknown(f"{message.detail}; it was carried out"))
            elif kind == RefusedKind.NEVER:
                never[call] = None
                continue
            elif kind == RefusedKind.EXPIRED:
                name.forgotten = True
            else:
                call.detail = message.detail
                if kind == RefusedKind.REDIRECT:
                    call.detail = f"sent on to node {message.detail}, and not taken there"
                elif kind == RefusedKind.UNKNOWN:
                    call.unknown = True
                self._later.append(number)
        for call in never:
            self._end(call, self._never(call, message.detail))
        if kind == RefusedKind.REDIRECT:
            self._redirect(message.detail)
        elif kind == RefusedKind.REJECTED:
            self._link.refused()
        if self._later:
            self._wait_a_little()
        self._link.wake()

    def _never(self, call: _Call, detail: str) -> PaxosError:
        """The error of a call of which some request will never be carried out."""
        done = len(call.bodies) - call.left
        numbers = range(call.first, call.first + len(call.bodies))
        if call.unknown:
            return OutcomeUnknown(f"{detail}; of an earlier attempt nothing is known")
        if done or any(number in self._in_flight for number in numbers):
            return OutcomeUnknown(
                f"{detail}; {done} of {len(call.bodies)} were carried out, others may have been"
            )
        return Rejected(detail)

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
        """Nodes have forgotten this client, and nothing of it is on its way.

        What was certainly not carried out can be asked for under a new name.
        """
        old, self._name = self._name, _Name()
        self._asked_birth = False
        anew = [call for call in dict.fromkeys(old.calls.values()) if call.error is None]
        self._unsent.clear()
        self._later = []
        for call in anew:
            done = len(call.bodies) - call.left
            if not call.unknown and not done:
                self._unsent.extend(self._name.number(call))
                continue
            what = f"{done} of {len(call.bodies)} were carried out" if done else ""
            if call.unknown:
                what += ", and of the others some may have been" if done else "it may have been carried out"
            why = "the cluster has forgotten this client, which was idle for long"
            self._end(call, SessionExpired(f"{why}; {what}"))

    @staticmethod
    def _end(call: _Call, error: PaxosError) -> None:
        if call.error is None:
            call.error = error
            call.done.set()

    def _take_reply(self, message: QueryReply) -> None:
        sequence = message.sequence
        if self._asks_in_flight.pop(sequence, None) is None and sequence not in self._news_in_flight:
            return  # nobody waits any more, or it came before
        self._news_in_flight.discard(sequence)
        ask = self._asks[sequence]
        if self._asks_unsent:
            self._link.wake()
        if message.kind == 0 and message.result is not None:
            ask.reply, ask.place = message, self._link.place
            ask.done.set()
            self._pause_s = _RETRY_S
            self._link.content()
        elif message.kind == RefusedKind.WRONG:
            self.fail(ClusterMismatch(message.detail))
        elif message.kind == RefusedKind.NEVER or (
            ask.message.__class__ is Instruct and message.kind != RefusedKind.REDIRECT
        ):
            ask.error = Rejected(message.detail)
            ask.done.set()
        else:
            ask.detail = message.detail
            self._asks_later.append(sequence)
            if message.kind == RefusedKind.REDIRECT:
                ask.detail = f"sent on to node {message.detail}, and not answered there"
                self._redirect(message.detail)
            else:
                self._link.refused()
            self._wait_a_little()

    def _sort_asks(self, sequences: Iterable[int]) -> None:
        """These are to be sent."""
        for sequence in sequences:
            ask = self._asks.get(sequence)
            if ask is not None:
                (self._news_unsent if ask.for_news else self._asks_unsent).append(sequence)

    def requeue(self) -> None:
        """What was on its way is sent again, before what was not."""
        for number in self._in_flight:
            call = self._name.calls.get(number)
            if call is not None:
                call.unknown = True
        self._unsent = deque(sorted([*self._in_flight, *self._unsent, *self._later]))
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self._asks_unsent.clear()
        self._news_unsent = []
        self._sort_asks(sequence for sequence, ask in self._asks.items() if not ask.done.is_set())
        self._asks_in_flight.clear()
        self._news_in_flight.clear()
        self._cancels = []
        self._later, self._asks_later, self._later_s = [], [], None
        self._asked_birth = False
        self._silent_s = None

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
        """Since when the node owes an answer, or has said nothing; who waits for news has time."""
        times = (
            next(iter(self._in_flight.values()), None),
            next(iter(self._asks_in_flight.values()), None),
            self._silent_s,
        )
        return min((time for time in times if time is not None), default=None)

    def next_s(self) -> float | None:
        """When what was not taken is tried again."""
        return self._later_s
