"""The client table: which requests were applied, and what they answered.

A client that hears no answer asks again, perhaps another node, perhaps after that node was restarted from
a snapshot.  So *that* a request was applied is part of the replicated state, as much as what it did.  For
each client the table holds which of its requests were applied, and the results that the client has not
acknowledged yet.

Three rules keep the table the same at every node, also under a protocol that applies commands which do
not conflict in different orders at different nodes:

- Nothing about one request is concluded from another one of the same client; and what is left at a marker
  does not depend on which of them came first, nor on how the client had put them together.
- A request's id includes a digest of the command.  One number that was used for two commands is two
  requests, and both are judged alike everywhere: digests are kept until a marker, which is ordered with
  everything, and only there a number stands for all requests that bear it.
- A client is forgotten only at a marker, by what the table itself says: nothing of it was applied since so
  many markers.  A client says when it was born, as the number of the last marker that it knew.  One that
  the table did not know at the last marker and that is older than what the table remembers is refused: it
  may be one that was forgotten, and its request one that was applied.

An acknowledgement lets a node drop results.  It is never evidence that something was applied.

Source: the client table of Liskov and Cowling, *Viewstamped Replication Revisited* (2012), section 4.1,
for many requests at once and without a primary.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

from paxos.errors import WireError
from paxos.service.batches import MAX_RUN, Run
from paxos.wire import expect_fields, take_bytes, take_int, take_list, take_optional_bytes

__all__ = [
    "IDLE_MARKERS",
    "MAX_ALL_KEPT_BYTES",
    "MAX_CLIENTS",
    "MAX_INTERVALS",
    "MAX_KEPT_BYTES",
    "MAX_RESULT_BYTES",
    "Applied",
    "Apply",
    "Refusal",
    "Session",
    "Sessions",
]

#: A client is forgotten when nothing of it was applied for so many markers.
IDLE_MARKERS: Final = 64
#: More clients than this are not remembered at a marker; those that were idle longest go first.
MAX_CLIENTS: Final = 100_000

#: The longest answer of a state machine that is kept and sent.
MAX_RESULT_BYTES: Final = 4 << 20
#: Of one client so many bytes of results are kept over a marker that it has not acknowledged; the lowest
#: numbers lose theirs first.
MAX_KEPT_BYTES: Final = 32 << 20
#: And so many of all clients together, of which there may be any number: those that keep most lose all first.
MAX_ALL_KEPT_BYTES: Final = 256 << 20
#: Of one client so many intervals of settled numbers are remembered at a marker; the lowest go first.
MAX_INTERVALS: Final = 65_536

_DIGEST: Final = 8
_CLIENT_BYTES: Final = 16
_MAX_NUMBER: Final = (1 << 62) - 1
#: What is held together at a marker is closed when its results have so many bytes.
_GROUP_BYTES: Final = 1 << 18
_INTERVAL: Final = Struct(">QQ")

_new: Final = tuple.__new__

#: Carries out commands, one after the other; the first one's number comes with them.
Apply: TypeAlias = Callable[[int, Sequence[bytes]], list[bytes]]


class Refusal(NamedTuple):
    """A request that was ordered and not carried out.

    Args:
        reason: one sentence for a person.
        applied: whether an earlier attempt of it was carried out; its result is gone.
        expired: whether the client is not known, or no more. This attempt was certainly not carried out, and
            under another client's id it can be asked anew; of an earlier attempt nothing is known.
    """

    reason: str
    applied: bool = False
    expired: bool = False


#: For each request of a run, in order: its result (bytes), or a `Refusal`.
Applied: TypeAlias = list[Any]


class Held(NamedTuple):
    """Requests that were applied together, and what is remembered of them.

    Args:
        first: the number of the first.
        digests: of all of them, one after the other.
        results: of all of them, None in it for one that is gone; None when the client has acknowledged them.
    """

    first: int
    digests: bytes
    results: Sequence[bytes | None] | None

    @property
    def last(self) -> int:
        """The number of the last."""
        return self.first + len(self.digests) // _DIGEST - 1

    @property
    def size(self) -> int:
        """Bytes of the results that are kept."""
        results = self.results
        if results is None:
            return 0
        try:
            return sum(map(len, results))  # type: ignore[arg-type]
        except TypeError:
            return sum(len(result) for result in results if result is not None)


class Session:
    """What is remembered of one client.

    Attributes:
        since: the number of markers when it came into the table; -1 for long ago.
        last: the number of markers when something of it was last applied.
        acknowledged: it has the results up to this number.
        highest: no request of a higher number was applied.
        floor: nothing is remembered of numbers up to this one, and nothing with such a number is applied.
        settled: numbers applied and acknowledged before the last marker, as `[low, high]`, rising, apart.
            Whatever bears such a number was applied.
        held: what is remembered of all others, by rising first number; no number is in two of them.
        others: of numbers that are held and were used again: by number and digest, the results.
        kept_bytes: of all results that are kept.
    """

    __slots__ = (
        "_changed",
        "_released",
        "acknowledged",
        "floor",
        "held",
        "highest",
        "kept_bytes",
        "last",
        "others",
        "settled",
        "since",
    )

    def __init__(self, last: int, since: int = -1) -> None:
        self.since: int = since
        self.last: int = last
        self.acknowledged: int = 0
        self.highest: int = 0
        self.floor: int = 0
        self.settled: list[list[int]] = []
        self.held: list[Held] = []
        self.others: dict[int, dict[bytes, bytes | None]] = {}
        self.kept_bytes: int = 0
        # Of `held`, at least so many from the start have no results that an acknowledgement could drop.
        self._released = 0
        # Whether there is something to settle.
        self._changed = True

    def note(self, first: int, digests: bytes, results: Sequence[bytes | None]) -> None:
        """Remember that these were applied; none of their numbers is remembered yet."""
        self._changed = True
        last = first + len(results) - 1
        held = _new(Held, (first, digests, results if last > self.acknowledged else None))
        if held[2] is not None:
            self.kept_bytes += held.size
        if first > self.highest:
            self.held.append(held)
        else:
            self.held.insert(bisect_right(self.held, first, key=_first), held)
        if last > self.highest:
            self.highest = last

    def note_again(self, number: int, digest: bytes, result: bytes | None) -> None:
        """Remember that this was applied; its number may be held for another command."""
        if self._at(number) is None:
            self.note(number, digest, [result])
        else:
            self._changed = True
            self.others.setdefault(number, {})[digest] = result
            self.kept_bytes += len(result or b"")

    def is_settled(self, number: int) -> bool:
        """Whether the number stands for a request applied before the last marker."""
        at = bisect_right(self.settled, number, key=_low) - 1
        return at >= 0 and number <= self.settled[at][1]

    def is_free(self, first: int, last: int) -> bool:
        """Whether nothing is remembered of any of these numbers."""
        if first > self.highest:
            return True
        if first <= self.floor:
            return False
        at = bisect_right(self.held, last, key=_first) - 1
        if at >= 0 and self.held[at].last >= first:
            return False
        at = bisect_right(self.settled, last, key=_low) - 1
        return at < 0 or self.settled[at][1] < first

    def find(self, number: int, digest: bytes) -> tuple[bool, bytes | None]:
        """Whether that very request is remembered, and its result if that is."""
        held = self._at(number)
        if held is None:
            return False, None
        index = number - held.first
        if held.digests[_DIGEST * index : _DIGEST * (index + 1)] == digest:
            return True, None if held.results is None else held.results[index]
        others = self.others.get(number, {})
        return digest in others, others.get(digest)

    def _at(self, number: int) -> Held | None:
        """What is held that has the number in it."""
        at = bisect_right(self.held, number, key=_first) - 1
        return self.held[at] if at >= 0 and number <= self.held[at].last else None

    def is_reused(self, number: int, digest: bytes) -> bool:
        """Whether the number was used for another request, as far as that is remembered."""
        return self._at(number) is not None and not self.find(number, digest)[0]

    def acknowledge(self, number: int) -> None:
        """The client has these results: they need not be kept. Digests are, until a marker."""
        if number <= self.acknowledged:
            return
        self._changed = True
        self.acknowledged = number
        held, at = self.held, self._released
        # A run of which the client lacks something is kept whole.
        while at < len(held):
            first, digests, results = held[at]
            if first + len(digests) // _DIGEST - 1 > number:
                break
            if results is not None:
                self.kept_bytes -= held[at].size
                held[at] = _new(Held, (first, digests, None))
            at += 1
        self._released = at

    def kept_above(self, number: int) -> int:
        """Bytes of results that would be kept if all up to this number were acknowledged."""
        kept = self.kept_bytes
        for at in range(self._released, len(self.held)):
            if self.held[at].last > number:
                break
            kept -= self.held[at].size
        return kept

    def settle(self, most: int | None = None) -> None:
        """At a marker: of what is acknowledged, only the numbers are kept; and of what is too much.

        What is left must follow from what was applied and acknowledged, and not from the order: so whatever
        was applied together is taken apart, and put together anew.

        Args:
            most: bytes of results that may be kept; None for as many as of any client.
        """
        if not self._changed and most is None:
            return
        self._changed = False
        rest: list[tuple[int, bytes, bytes]] = []
        for each in self.held:
            if each.results is None or each.last <= self.acknowledged:
                _add(self.settled, each.first, each.last)
                continue
            for index, result in enumerate(each.results):
                digest = each.digests[_DIGEST * index : _DIGEST * (index + 1)]
                self._settle_one(each.first + index, digest, result, rest)
        for number, results in self.others.items():
            for digest, result in results.items():
                self._settle_one(number, digest, result, rest)
        rest.sort()
        self.held, self.others, self._released = [], {}, 0
        self._hold(self._within_bounds(rest, MAX_KEPT_BYTES if most is None else most))
        if len(self.settled) > MAX_INTERVALS:
            gone = self.settled[:-MAX_INTERVALS]
            del self.settled[: len(gone)]
            # Numbers below it that were held may be settled only now: it never falls.
            self.floor = max(self.floor, gone[-1][1])

    def _within_bounds(
        self, rest: list[tuple[int, bytes, bytes]], most: int
    ) -> list[tuple[int, bytes, bytes]]:
        """What is kept of results that are not acknowledged; of the others that they were carried out."""
        kept = sum(len(result) for _, _, result in rest)
        first = 0
        while kept > most:
            number = rest[first][0]
            _add(self.settled, number, number)
            # All that bear the number: it stands for every one of them.
            while first < len(rest) and rest[first][0] == number:
                kept -= len(rest[first][2])
                first += 1
        self.kept_bytes = kept
        return rest[first:] if first else rest

    def _settle_one(
        self, number: int, digest: bytes, result: bytes | None, rest: list[tuple[int, bytes, bytes]]
    ) -> None:
        if result is None or number <= self.acknowledged:
            _add(self.settled, number, number)
        else:
            rest.append((number, digest, result))

    def _hold(self, rest: list[tuple[int, bytes, bytes]]) -> None:
        """Put together what has consecutive numbers."""
        first, size = 0, 0
        digests: list[bytes] = []
        results: list[bytes] = []
        for number, digest, result in rest:
            if digests and number == first + len(digests) - 1:
                self.others.setdefault(number, {})[digest] = result
                continue
            if (
                not digests
                or number != first + len(digests)
                or len(digests) >= MAX_RUN
                or size >= _GROUP_BYTES
            ):
                if digests:
                    self.held.append(Held(first, b"".join(digests), results))
                first, size, digests, results = number, 0, [], []
            digests.append(digest)
            results.append(result)
            size += len(result)
        if digests:
            self.held.append(Held(first, b"".join(digests), results))


def _in_parts(held: Held) -> Iterator[Held]:
    """What is held, cut where it would be closed at a marker."""
    first, digests, results = held
    if results is not None:
        start, size = 0, 0
        for index, result in enumerate(results):
            if size >= _GROUP_BYTES:
                yield Held(first + start, digests[_DIGEST * start : _DIGEST * index], results[start:index])
                start, size = index, 0
            size += len(result or b"")
        digests, results, first = digests[_DIGEST * start :], results[start:], first + start
    yield Held(first, digests, results)


def _others(session: Session) -> list[tuple[int, bytes, bytes | None]]:
    """Numbers that were used again, in order."""
    return [
        (number, digest, result)
        for number, results in sorted(session.others.items())
        for digest, result in sorted(results.items())
    ]


def _client(item: tuple[bytes, Session]) -> bytes:
    return item[0]


def _first(held: Held) -> int:
    return held.first


def _low(interval: list[int]) -> int:
    return interval[0]


def _add(intervals: list[list[int]], low: int, high: int) -> None:
    """Add an interval; what touches becomes one."""
    at = bisect_right(intervals, low, key=_low)
    if at and intervals[at - 1][1] >= low - 1:
        at -= 1
        intervals[at][1] = max(intervals[at][1], high)
    else:
        intervals.insert(at, [low, high])
    while at + 1 < len(intervals) and intervals[at + 1][0] <= intervals[at][1] + 1:
        intervals[at][1] = max(intervals[at][1], intervals.pop(at + 1)[1])


class Sessions:
    """All clients that are remembered.

    Args:
        idle_markers: a client is forgotten when nothing of it was applied for so many markers. The same at
            every node, as everything that decides what is applied.
        max_clients: more are not remembered at a marker. The same at every node, too.
    """

    def __init__(self, idle_markers: int = IDLE_MARKERS, max_clients: int = MAX_CLIENTS) -> None:
        self._idle_markers = idle_markers
        self._max_clients = max_clients
        self._sessions: dict[bytes, Session] = {}
        #: How many markers were applied.
        self.markers: int = 0
        #: A client that is not in the table and was born before this marker is refused.
        self.horizon: int = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, client: bytes) -> Session | None:
        """What is remembered of a client."""
        return self._sessions.get(client)

    def apply(self, run: Run, apply: Apply) -> Applied:
        """Carry out those requests of a run that were not yet, and say what each one answered.

        Args:
            run: consecutive requests of one client, at their place in the order.
            apply: carries out commands, one after the other.
        """
        client, birth, acknowledged, sequence, digests, bodies = run
        session = self._sessions.get(client)
        if session is None or session.since == self.markers:
            # Which request of a client is its first may differ from node to node, between two markers. One
            # that says two births is nevertheless told the same everywhere.
            if not self.horizon <= birth <= self.markers:
                return [self._stranger(birth)] * len(bodies)
            if session is None:
                session = self._sessions[client] = Session(self.markers, self.markers)
        session.last = self.markers
        if acknowledged > session.acknowledged:
            session.acknowledge(acknowledged)
        if sequence > session.highest or session.is_free(sequence, sequence + len(bodies) - 1):
            # Nearly always: all of it is new.
            results = apply(sequence, bodies)
            answers = _kept(results, sequence)
            kept: Sequence[bytes | None] = results
            if answers is not results:
                kept = [answer if type(answer) is bytes else None for answer in answers]
            session.note(sequence, digests, kept)
            return answers
        return [self._apply_one(session, run, index, apply) for index in range(len(bodies))]

    def _apply_one(self, session: Session, run: Run, index: int, apply: Apply) -> bytes | Refusal:
        number = run.sequence + index
        digest = run.digests[_DIGEST * index : _DIGEST * (index + 1)]
        known, result = session.find(number, digest)
        if result is not None:
            return result
        if known or session.is_settled(number):
            return Refusal(
                f"request {number} was carried out, and its result is no longer kept", applied=True
            )
        if number <= session.floor:
            return Refusal(
                f"the client left so many numbers out that those up to {session.floor} are closed",
                expired=True,
            )
        answer: bytes | Refusal = _kept(apply(number, [run.bodies[index]]), number)[0]
        session.note_again(number, digest, answer if type(answer) is bytes else None)
        return answer

    def _stranger(self, birth: int) -> Refusal:
        if birth > self.markers:
            return Refusal(f"the client says that it was born at marker {birth}; there were {self.markers}")
        return Refusal(
            f"the client is not known, or no more: it was born at marker {birth}, and who had nothing "
            f"carried out since marker {self.horizon} is forgotten",
            expired=True,
        )

    def mark(self) -> None:
        """A marker is applied: forget what need not be remembered. The same at every node."""
        self.markers += 1
        self.horizon = max(self.horizon, self.markers - self._idle_markers)
        sessions = self._sessions
        if len(sessions) > self._max_clients:
            # So many that something of them was applied since, and no more; the busiest stay whatever it is.
            lasts = sorted((session.last for session in sessions.values()), reverse=True)
            self.horizon = max(self.horizon, min(lasts[self._max_clients] + 1, self.markers - 1))
        for client in [client for client, session in sessions.items() if session.last < self.horizon]:
            del sessions[client]
        kept = 0
        for session in sessions.values():
            session.settle()
            kept += session.kept_bytes
        if kept > MAX_ALL_KEPT_BYTES:
            self._release(kept)

    def _release(self, kept: int) -> None:
        """All clients together have so many bytes of results, which is too much."""
        most_first = sorted((-session.kept_bytes, client) for client, session in self._sessions.items())
        for size, client in most_first:
            self._sessions[client].settle(0)
            kept += size
            if kept <= MAX_ALL_KEPT_BYTES:
                return

    # --- in a snapshot -------------------------------------------------------------------------------

    def pack(self) -> Iterator[tuple[object, ...]]:
        """The table as items that CBOR has, at a marker the same for equal tables; later changes do not show.

        What clients have sent may be a lot and is theirs to choose; no item is so long or has so many parts
        that it could not be read back.
        """
        items: list[tuple[object, ...]] = [(self.markers, self.horizon)]
        # All of it in one go, with everybody waiting: nothing is looked into that need not be.
        for client, session in sorted(self._sessions.items(), key=_client):
            held, others = session.held, _others(session) if session.others else []
            if session.kept_bytes >= _GROUP_BYTES:
                held = [part for each in held for part in _in_parts(each)]
            items.append(
                (
                    client,
                    session.last,
                    session.acknowledged,
                    session.highest,
                    session.floor,
                    b"".join([_INTERVAL.pack(low, high) for low, high in session.settled]),
                    len(held),
                    len(others),
                )
            )
            items += held
            items += others
        return iter(items)

    def unpack(self, items: Iterable[object]) -> None:
        """Become what `pack` gave.

        Raises:
            WireError: it is nothing that `pack` gives.
        """
        source = iter(items)
        markers, horizon = expect_fields(next(source, None), 2, "sessions")
        self.markers = take_int(markers, "sessions.markers", 0, _MAX_NUMBER)
        self.horizon = take_int(horizon, "sessions.horizon", 0, _MAX_NUMBER)
        self._sessions = {}
        before = b""
        for item in source:
            client, *fields, held, others = expect_fields(item, 8, "session")
            if len(take_bytes(client, "session.client", _CLIENT_BYTES)) != _CLIENT_BYTES or client <= before:
                raise WireError("session.client: not 16 bytes, or not in order")
            before = client
            session = self._sessions[client] = _take_session(fields)
            session.held = [
                _take_held(next(source, None)) for _ in range(take_int(held, "session.helds", 0, _MAX_NUMBER))
            ]
            if any(one.last >= other.first for one, other in pairwise(session.held)):
                raise WireError("session.held: not rising and apart")
            for _ in range(take_int(others, "session.others", 0, _MAX_NUMBER)):
                number, digest, result = _take_other(next(source, None))
                session.others.setdefault(number, {})[digest] = result
            session.kept_bytes = sum(one.size for one in session.held) + sum(
                len(result or b"") for results in session.others.values() for result in results.values()
            )


def _kept(results: list[bytes], first: int) -> Applied:
    """What the machine answered; instead of what is too long, that it is."""
    if max(map(len, results), default=0) <= MAX_RESULT_BYTES:
        return results
    return [
        result
        if len(result) <= MAX_RESULT_BYTES
        else Refusal(
            f"request {first + index} was carried out; its result of {len(result)} bytes is not kept, "
            f"since the limit is {MAX_RESULT_BYTES}",
            applied=True,
        )
        for index, result in enumerate(results)
    ]


def _take_intervals(value: object) -> list[list[int]]:
    data = take_bytes(value, "session.settled", _INTERVAL.size * MAX_INTERVALS)
    if len(data) % _INTERVAL.size:
        raise WireError(f"session.settled: {len(data)} bytes are not a number of intervals")
    intervals = [list(each) for each in _INTERVAL.iter_unpack(data)]
    before = -1
    for low, high in intervals:
        if not before + 1 < low <= high <= _MAX_NUMBER:
            raise WireError("session.settled: the intervals are not rising and apart")
        before = high
    return intervals


def _take_session(fields: list[Any]) -> Session:
    last, acknowledged, highest, floor, settled = fields
    session = Session(take_int(last, "session.last", 0, _MAX_NUMBER))
    session.acknowledged = take_int(acknowledged, "session.acknowledged", 0, _MAX_NUMBER)
    session.highest = take_int(highest, "session.highest", 0, _MAX_NUMBER)
    session.floor = take_int(floor, "session.floor", 0, _MAX_NUMBER)
    session.settled = _take_intervals(settled)
    return session


def _take_held(value: object) -> Held:
    first, digests, results = expect_fields(value, 3, "session.held")
    digests = take_bytes(digests, "session.held.digests", _DIGEST * MAX_RUN)
    if not digests or len(digests) % _DIGEST:
        raise WireError(f"session.held.digests: {len(digests)} bytes are not a number of digests")
    if results is not None:
        results = [
            take_optional_bytes(result, "session.held.result", MAX_RESULT_BYTES)
            for result in take_list(results, "session.held.results", MAX_RUN)
        ]
        if len(results) != len(digests) // _DIGEST:
            raise WireError(f"session.held: {len(results)} results of {len(digests) // _DIGEST} requests")
    return Held(take_int(first, "session.held.first", 1, _MAX_NUMBER), digests, results)


def _take_other(value: object) -> tuple[int, bytes, bytes | None]:
    number, digest, result = expect_fields(value, 3, "session.other")
    if len(take_bytes(digest, "session.other.digest", _DIGEST)) != _DIGEST:
        raise WireError(f"session.other.digest: expected {_DIGEST} bytes")
    return (
        take_int(number, "session.other.number", 1, _MAX_NUMBER),
        digest,
        take_optional_bytes(result, "session.other.result", MAX_RESULT_BYTES),
    )
