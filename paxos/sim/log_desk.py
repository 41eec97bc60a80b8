"""The desk for logs: clients of the key-value machine, as a careful client of a log behaves.

A client that is new asks first how many markers there were (`AskBirth`): that is its birth, and goes with
every request.  A request bears the client's id and a number, and keeps both however often and wherever it
is asked again.  With each request goes how far the client has all results.  One that was forgotten by the
cluster (`EXPIRED`) begins anew under another id.

Reads are commands of the log, or queries: linearizable ones, or stale ones, whose answers may be old.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from paxos.command import RequestId, digest_of
from paxos.contract import Message
from paxos.errors import Rejected, WireError
from paxos.service.batches import Run
from paxos.service.log_messages import (
    AskBirth,
    Birth,
    Level,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
    Results,
    SubmitMany,
)
from paxos.sim.choices import Choices
from paxos.sim.desk import (
    AGAIN,
    DONE,
    ELSEWHERE,
    LATE,
    REDIRECT,
    REFUSED,
    REJECTED,
    UNKNOWN,
    Answer,
    Ongoing,
    Session,
    name_of,
)
from paxos.sim.keyvalue_words import COMMANDS, body_of, meaning_of
from paxos.sim.mix import Planned
from paxos.sim.workload import Workload

__all__ = ["LogDesk", "run_of"]

_LATE: Final = Answer(LATE)
_AGAIN: Final = Answer(AGAIN)
_ELSEWHERE: Final = Answer(ELSEWHERE)
#: Keys of counters, and of everything else: an increment needs a number.
_COUNTER: Final = b"n%d"
_KEY: Final = b"k%d"
#: One of so many answers that say nothing about the outcome is one too many for a client.
_RESIGNS: Final = 4


class _Client:
    """What a session remembers as a client of a log."""

    __slots__ = ("acknowledged", "birth", "generation", "id", "number", "queries")

    def __init__(self, index: int, generation: int) -> None:
        self.generation: int = generation
        self.id: bytes = b"c%09d.%05d" % (index, generation)
        self.birth: int | None = None
        self.number: int = 0
        self.acknowledged: int = 0
        self.queries: int = 0


class LogDesk:
    """What clients of a log say and hear.

    Args:
        workload: what they do.
        choices: decides which.
        planned: decides which instead, if there is such a plan.

    Attributes:
        asked: every request that a client made, by client and number: so one sees what nobody asked.
        lost: operations whose result was said to be acknowledged, though no client had it.
    """

    def __init__(self, workload: Workload, choices: Choices, planned: Planned | None = None) -> None:
        self.asked: dict[tuple[bytes, int], bytes] = {}
        self.lost: list[Ongoing] = []
        self._workload = workload
        self._choices = choices
        self._planned = planned
        #: What was last told of each key, by anybody.
        self._told: dict[bytes, bytes | None] = {}

    # --- what is said -------------------------------------------------------------------------------

    def invent(self, session: Session, begun: int, now_ns: int) -> Ongoing:
        """A write or a read of one key, or a scan."""
        work, choices = self._workload, self._choices
        if self._planned is not None:
            asked = self._planned.next(session.index, session.sequence, now_ns)
            if asked.reads:
                return self._ask(session, "read", asked.key, None, None, now_ns)
            value = (b"%d.%d" % (session.index, session.sequence + 1)).ljust(work.value_bytes, b"~")
            return self._ask(session, "put", asked.key, value, None, now_ns)
        number = name_of(begun, work.names, work.window, work.operations, choices.draw)
        if work.reads and choices.happens("read", work.reads):
            return self._read(session, number, now_ns)
        if choices.happens("increment", work.increments):
            return self._ask(session, "increment", _COUNTER % number, 1 + session.sequence % 5, None, now_ns)
        if choices.happens("delete", work.deletes):
            return self._ask(session, "delete", _KEY % number, None, None, now_ns)
        key = _KEY % number
        value = (b"%d.%d" % (session.index, session.sequence + 1)).ljust(work.value_bytes, b"~")
        if choices.happens("cas", work.swaps):
            return self._ask(session, "cas", key, value, self._told.get(key), now_ns)
        return self._ask(session, "put", key, value, None, now_ns)

    def _read(self, session: Session, number: int, now_ns: int) -> Ongoing:
        work, choices = self._workload, self._choices
        in_log = choices.happens("logged", work.logged)
        if choices.happens("scan", work.scans):
            low = _KEY % number
            bounds = (low[:-1] or b"k", None if choices.draw("scan", 2) else b"l")
            return self._ask(session, "scan" if in_log else "look", bounds, None, None, now_ns)
        key = (_COUNTER if choices.happens("increment", work.increments) else _KEY) % number
        if in_log:
            return self._ask(session, "get", key, None, None, now_ns)
        kind = "stale" if choices.happens("stale", work.stale) else "read"
        return self._ask(session, kind, key, None, None, now_ns)

    def reading(self, session: Session, name: Any, now_ns: int) -> Ongoing:
        """What a key holds, linearizably."""
        return self._ask(session, "read", name, None, None, now_ns)

    def audited(self, operations: Iterable[Ongoing]) -> Sequence[Any]:
        """The keys to which clients were told that something was done."""
        writes = (op.name for op in operations if op.outcome == DONE and op.request is not None)
        return list(dict.fromkeys(name for name in writes if isinstance(name, bytes)))

    def _ask(
        self, session: Session, kind: str, name: Any, value: Any, old: bytes | None, now_ns: int
    ) -> Ongoing:
        session.sequence += 1
        body = body_of(kind, name, value, old)
        client = self._client(session)
        if kind in COMMANDS:
            op = Ongoing(session, kind, name, value, None, now_ns)
            self._submit(client, op, body)
        else:
            client.queries += 1
            level = Level.STALE if kind == "stale" else Level.LINEARIZABLE
            op = Ongoing(session, kind, name, value, Query(client.queries, level, body), now_ns)
        op.old = old
        return op

    def _submit(self, client: _Client, op: Ongoing, body: bytes) -> None:
        """The next request of a client: what to send, and before that, who it is."""
        client.number += 1
        self.asked[client.id, client.number] = body
        op.request = RequestId(client.id, client.birth or 0, client.number, digest_of(body))
        if client.birth is None:
            op.message = AskBirth(client.number)
        else:
            op.message = run_of(op.request, client.acknowledged, body)

    @staticmethod
    def _client(session: Session) -> _Client:
        if session.memory is None:
            session.memory = _Client(session.index, 0)
        client: _Client = session.memory
        return client

    # --- what is heard ------------------------------------------------------------------------------

    def heard(self, session: Session, op: Ongoing, reply: Message) -> Answer:
        """What a message is to the operation: its end, or where or what to ask next."""
        client = self._client(session)
        kind = reply.__class__
        if kind is QueryReply:
            return self._replied(op, reply)
        if kind is Birth:
            return self._born(client, op, reply)
        request = op.request
        if request is None or (reply.client, reply.sequence) != (request.client, request.sequence):
            return _LATE
        if kind is Results:
            return _told(op, reply.results[0])
        assert kind is Refused
        return self._refused(session, client, op, reply)

    def _born(self, client: _Client, op: Ongoing, reply: Birth) -> Answer:
        request = op.request
        if op.message.__class__ is not AskBirth or request is None or reply.sequence != request.sequence:
            return _LATE
        client.birth = reply.markers
        op.request = request._replace(birth=reply.markers)
        op.message = run_of(op.request, client.acknowledged, self.asked[client.id, client.number])
        return _AGAIN

    def _refused(self, session: Session, client: _Client, op: Ongoing, reply: Refused) -> Answer:
        if reply.kind == RefusedKind.REDIRECT:
            return Answer(REDIRECT, node=reply.detail)
        if reply.kind == RefusedKind.REJECTED:
            return _ELSEWHERE
        if reply.kind == RefusedKind.NEVER:
            return Answer(REJECTED)
        if reply.kind == RefusedKind.UNKNOWN:
            op.unknown = True
            return Answer(UNKNOWN) if self._choices.draw("resign", _RESIGNS) == _RESIGNS - 1 else _ELSEWHERE
        if reply.kind == RefusedKind.APPLIED:
            self.lost.append(op)
            return Answer(UNKNOWN)
        # Forgotten. What was asked before may have been carried out; what was not can be asked anew.
        session.memory = new = _Client(session.index, client.generation + 1)
        if op.unknown:
            return Answer(UNKNOWN)
        self._submit(new, op, self.asked[client.id, client.number])
        return _AGAIN

    def _replied(self, op: Ongoing, reply: QueryReply) -> Answer:
        query = op.message
        if query.__class__ is not Query or query.sequence != reply.sequence:
            return _LATE
        if not reply.kind:
            return _told(op, reply.result or b"")
        if reply.kind == RefusedKind.REDIRECT:
            return Answer(REDIRECT, node=reply.detail)
        if reply.kind == RefusedKind.NEVER:
            return Answer(REJECTED)
        # A read may be asked as often as one likes.
        return _ELSEWHERE

    def complaints(self) -> Iterable[tuple[str, str]]:
        """What nodes told clients that can not be."""
        for op in self.lost:
            sentence = (
                f"client {op.session.index} was told that it has the result of {op.kind} {op.name!r:.40}, "
                "but nobody had told it before"
            )
            yield "ResultKept", sentence

    def ended(self, session: Session, op: Ongoing) -> None:
        """Its number is acknowledged with the next request; what it told is expected by a later cas."""
        client = self._client(session)
        if op.request is not None and op.request.client == client.id:
            client.acknowledged = client.number
        if op.outcome != DONE or not isinstance(op.name, bytes):
            return
        if op.kind in ("put", "cas") and op.out is not False:
            self._told[op.name] = op.value
        elif op.kind in ("get", "read", "stale") and isinstance(op.out, bytes | None):
            self._told[op.name] = op.out


def run_of(request: RequestId, acknowledged: int, body: bytes) -> SubmitMany:
    """The message of one request of a client."""
    client, birth, number, digest = request
    return SubmitMany(Run(client, birth, acknowledged, number, digest, [body]))


def _told(op: Ongoing, answer: bytes) -> Answer:
    try:
        return Answer(DONE, meaning_of(op.kind, answer))
    except Rejected:
        return Answer(REFUSED)
    except WireError as error:
        return Answer(DONE, f"no answer to a {op.kind}: {error}".encode())
