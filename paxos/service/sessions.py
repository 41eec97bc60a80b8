"""The client table: which requests were applied, and what they answered.

A client that hears no answer asks again, perhaps another node, perhaps after that node was restarted from
a snapshot.  So *that* a request was applied is part of the replicated state, as much as what it did.  For
each client the table holds which of its requests were applied, and the results that the client has not
acknowledged yet.

Three rules keep the table the same at every node, also under a protocol that applies commands which do
not conflict in different orders at different nodes:

- Nothing about one request is concluded from another one of the same client.
- A request's id includes a digest of the command.  One number that was used for two commands is two
  requests, and both are judged alike everywhere: digests are kept until a marker, which is ordered with
  everything, and only there a number stands for all requests that bear it.
- A client is forgotten only at a marker, by what the table itself says: nothing of it was applied since so
  many markers.  A client says when it was born, as the number of the last marker that it knew.  One that
  the table does not know and that is older than what the table remembers is refused: it may be one that
  was forgotten, and its request one that was applied.

An acknowledgement lets a node drop results.  It is never evidence that something was applied.

Source: the client table of Liskov and Cowling, *Viewstamped Replication Revisited* (2012), section 4.1,
for many requests at once and without a primary.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from paxos.errors import WireError
from paxos.service.batches import MAX_RUN, Run
from paxos.wire import expect_fields, take_bytes, take_int

__all__ = ["IDLE_MARKERS", "MAX_CLIENTS", "MAX_RESULT_BYTES", "Applied", "Refusal", "Session", "Sessions"]

#: A client is forgotten when nothing of it was applied for so many markers.
IDLE_MARKERS: Final = 64
#: More clients than this are not remembered at a marker; those that were idle longest go first.
MAX_CLIENTS: Final = 100_000

#: The longest answer of a state machine.
MAX_RESULT_BYTES: Final = 4 << 20

_DIGEST: Final = 8
_CLIENT_BYTES: Final = 16
_MAX_NUMBER: Final = (1 << 62) - 1

Apply: TypeAlias = Callable[[Sequence[bytes]], list[bytes]]


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
        results: of all of them; None when the client has acknowledged them.
    """

    first: int
    digests: bytes
    results: Sequence[bytes] | None

    @property
    def last(self) -> int:
        """The number of the last."""
        return self.first + len(self.digests) // _DIGEST - 1


class Session:
    """What is remembered of one client.

    Attributes:
        last: the number of markers when something of it was last applied.
        acknowledged: it has the results up to this number.
        highest: no request of a higher number was applied.
        settled: numbers applied and acknowledged before the last marker, as `[low, high]`, rising, apart.
            Whatever bears such a number was applied.
        held: what is remembered of all others, by rising first number.
    """

    __slots__ = ("acknowledged", "held", "highest", "last", "settled")

    def __init__(self, last: int) -> None:
        self.last: int = last
        self.acknowledged: int = 0
        self.highest: int = 0
        self.settled: list[list[int]] = []
        self.held: list[Held] = []

    def note(self, first: int, digests: bytes, results: Sequence[bytes]) -> None:
        """Remember that these were applied."""
        held = Held(first, digests, results)
        if first > self.highest:
            self.held.append(held)
        else:
            self.held.insert(bisect_right(self.held, first, key=_first), held)
        self.highest = max(self.highest, held.last)

    def is_settled(self, number: int) -> bool:
        """Whether the number stands for a request applied before the last marker."""
        at = bisect_right(self.settled, number, key=_low) - 1
        return at >= 0 and number <= self.settled[at][1]

    def find(self, number: int, digest: bytes) -> tuple[bool, bytes | None]:
        """Whether that very request is remembered, and its result if that is."""
        for held in self._about(number):
            index = number - held.first
            if held.digests[_DIGEST * index : _DIGEST * (index + 1)] == digest:
                return True, None if held.results is None else held.results[index]
        return False, None

    def _about(self, number: int) -> Iterator[Held]:
        """What is held that has the number in it: more than one if a number was used more than once."""
        for held in reversed(self.held[: bisect_right(self.held, number, key=_first)]):
            if held.first + MAX_RUN <= number:
                return
            if number <= held.last:
                yield held

    def is_reused(self, number: int, digest: bytes) -> bool:
        """Whether the number was used for another request, as far as that is remembered."""
        about = list(self._about(number))
        return bool(about) and not self.find(number, digest)[0]

    def acknowledge(self, number: int) -> None:
        """The client has these results: they need not be kept. Digests are, until a marker."""
        if number <= self.acknowledged:
            return
        self.acknowledged = number
        held = self.held
        for index, each in enumerate(held):
            if each.first > number:
                break
            # A run of which the client lacks something is kept whole.
            if each.results is not None and each.last <= number:
                held[index] = each._replace(results=None)

    def settle(self) -> None:
        """At a marker: of what is acknowledged, only the numbers are kept."""
        kept = []
        for each in self.held:
            if each.results is None:
                _add(self.settled, each.first, each.last)
            else:
                kept.append(each)
        self.held = kept


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

    def apply(self, run: Run, apply: Apply, *, remember: bool = True) -> Applied:
        """Carry out those requests of a run that were not yet, and say what each one answered.

        Args:
            run: consecutive requests of one client, at their place in the order.
            apply: carries out commands, one after the other.
            remember: whether they may be carried out only once; what changes nothing may be again.
        """
        client, birth, acknowledged, sequence, digests, bodies = run
        if not remember:
            return list(apply(bodies))
        session = self._sessions.get(client)
        if session is None:
            if not self.horizon <= birth <= self.markers:
                return [self._stranger(birth)] * len(bodies)
            session = self._sessions[client] = Session(self.markers)
        session.last = self.markers
        if acknowledged > session.acknowledged:
            session.acknowledge(acknowledged)
        if sequence > session.highest:
            # Nearly always: all of it is new.
            results = apply(bodies)
            session.note(sequence, digests, results)
            return results
        return [self._apply_one(session, run, index, apply) for index in range(len(bodies))]

    def _apply_one(self, session: Session, run: Run, index: int, apply: Apply) -> bytes | Refusal:
        number = run.sequence + index
        digest = run.digests[_DIGEST * index : _DIGEST * (index + 1)]
        known, result = session.find(number, digest)
        if result is not None:
            return result
        if known or session.is_settled(number):
            return Refusal(f"request {number} was carried out, and its result acknowledged", applied=True)
        (result,) = apply([run.bodies[index]])
        session.note(number, digest, [result])
        return result

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
        for session in sessions.values():
            session.settle()

    # --- in a snapshot -------------------------------------------------------------------------------

    def pack(self) -> Iterator[tuple[object, ...]]:
        """The table as items that CBOR has, the same for equal tables. Later changes do not show in it."""
        items: list[tuple[object, ...]] = [(self.markers, self.horizon)]
        for client in sorted(self._sessions):
            session = self._sessions[client]
            items.append(
                (
                    client,
                    session.last,
                    session.acknowledged,
                    session.highest,
                    tuple(map(tuple, session.settled)),
                    tuple(session.held),
                )
            )
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
        for item in source:
            client, last, acknowledged, highest, settled, held = expect_fields(item, 6, "session")
            session = Session(take_int(last, "session.last", 0, _MAX_NUMBER))
            session.acknowledged = take_int(acknowledged, "session.acknowledged", 0, _MAX_NUMBER)
            session.highest = take_int(highest, "session.highest", 0, _MAX_NUMBER)
            session.settled = [_take_interval(each) for each in _take_list(settled, "session.settled")]
            session.held = [_take_held(each) for each in _take_list(held, "session.held")]
            self._sessions[take_bytes(client, "session.client", _CLIENT_BYTES)] = session


def _take_list(value: object, where: str) -> list[object]:
    if type(value) is not list:
        raise WireError(f"{where}: expected a list")
    return value


def _take_interval(value: object) -> list[int]:
    low, high = expect_fields(value, 2, "session.settled")
    low = take_int(low, "session.settled.low", 1, _MAX_NUMBER)
    return [low, take_int(high, "session.settled.high", low, _MAX_NUMBER)]


def _take_held(value: object) -> Held:
    first, digests, results = expect_fields(value, 3, "session.held")
    digests = take_bytes(digests, "session.held.digests", _DIGEST * MAX_RUN)
    if not digests or len(digests) % _DIGEST:
        raise WireError(f"session.held.digests: {len(digests)} bytes are not a number of digests")
    if results is not None:
        results = [
            take_bytes(result, "session.held.result", MAX_RESULT_BYTES)
            for result in _take_list(results, "session.held.results")
        ]
        if len(results) != len(digests) // _DIGEST:
            raise WireError(f"session.held: {len(results)} results of {len(digests) // _DIGEST} requests")
    return Held(take_int(first, "session.held.first", 1, _MAX_NUMBER), digests, results)
