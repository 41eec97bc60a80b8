"""The service of a log: a replica's commands become the state of a machine, and answers for clients.

Requests of clients gather until the turn ends, and go to the replica as one command (`batches`).  What the
replica has decided is applied here, each request exactly once (`sessions`); whoever asked through this node
is answered then.  At markers the state is put into a snapshot (`snapshots`), and a node that lags behind
what the others keep is sent one.

Nothing in this room knows which protocol orders the commands.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.command import Command, RequestId
from paxos.contract import (
    Effects,
    Event,
    Instant,
    Mark,
    Message,
    Outcome,
    OutcomeKind,
    Records,
    Replica,
    StateMachine,
)
from paxos.errors import ConfigurationError, NodeStopped, RecordError
from paxos.service.backups import Backups
from paxos.service.batches import (
    FILL_BYTES,
    MAX_REQUEST_BYTES,
    BatchKind,
    Run,
    batch_command,
    cut_run,
    is_housekeeping,
    marker_command,
    read_batch,
    run_bytes,
    skip_command,
)
from paxos.service.catch_up import CatchUp
from paxos.service.log_messages import (
    CHUNK_BYTES,
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
from paxos.service.messages import Cancel, Reply, ReplyKind, Submit
from paxos.service.sessions import MAX_RESULT_BYTES, Refusal, Session, Sessions
from paxos.service.settings import LogSettings
from paxos.service.snapshots import Content, snapshot_pieces
from paxos.service.turn import ClientKey, Turn

__all__ = ["LogService"]

#: A client may have so many requests without acknowledging a result.
_MAX_UNACKNOWLEDGED: Final = 65_536
#: Results travel in messages of about so many bytes.
_ANSWER_BYTES: Final = 1 << 18
_DIGEST: Final = 8
#: What a request takes in the log beside its bytes, about.
_REQUEST_BYTES: Final = 16
_NO_DIGEST: Final = b"\0" * _DIGEST

_REFUSED_BY_OUTCOME: Final = {
    OutcomeKind.REJECTED: RefusedKind.REJECTED,
    OutcomeKind.UNKNOWN: RefusedKind.UNKNOWN,
    OutcomeKind.REDIRECT: RefusedKind.REDIRECT,
}

_new: Final = tuple.__new__


class _NotCarriedOut(Exception):
    """The machine raised, or its answer is none.

    Args:
        number: of the request; of the first that it may be.
        last: of the last that it may be.
    """

    def __init__(self, number: int, last: int, why: str) -> None:
        super().__init__(why)
        self.number = number
        self.last = last


class LogService:
    """The clients, the machine and the snapshots of one node.

    Args:
        node: its id.
        replica: what orders commands; just made.
        machine: the state machine; just made.
        settings: bounds and periods.
        own_id: 16 bytes by which this node's own requests to the replica are told from others'.
        records: what the store holds of snapshots.
        now: the time.
        begun: whether the replica may be given requests from the start.
        skip: the client and number of a request that counts as carried out, with an empty answer, if the
            machine raises on it. An operator's decision, to be given to every node.

    Raises:
        RecordError: a snapshot record is damaged.
    """

    #: What clients may send it.
    accepts: Final = frozenset((SubmitMany, Query, CancelQuery, AskBirth, Instruct))

    def __init__(
        self,
        node: NodeId,
        replica: Replica,
        machine: StateMachine,
        settings: LogSettings,
        own_id: bytes,
        records: Records,
        now: Instant,
        begun: bool = True,
        skip: tuple[bytes, int] | None = None,
    ) -> None:
        self.machine: StateMachine = machine
        self.sessions: Sessions = Sessions()
        #: The mark of what was applied last; None before the first.
        self.applied: Mark = None
        #: Requests applied in this life.
        self.requests: int = 0
        #: The commands given to the replica, where a driver wants to know and made it a list.
        self.placed: list[Command] | None = None
        self._node = node
        self._replica = replica
        self._settings = settings
        self._own_id = own_id
        self._now = now
        self._sequence = 0
        self._apply_many: Callable[[Sequence[bytes]], list[bytes]] | None = getattr(
            machine, "apply_many", None
        )
        # Requests that no command carries yet, and what they add up to.
        self._gathered: list[tuple[ClientKey, Run]] = []
        self._gathered_requests = 0
        self._gathered_bytes = 0
        # Commands that the replica has, by their id: what is in them, and who asked.
        self._submitted: dict[RequestId, list[tuple[ClientKey, Run]]] = {}
        self._begun = begun
        self._room = 1
        # Queries that no read carries yet; those that wait for the replica; those that wait for news.
        self._asked: list[tuple[ClientKey, Query]] = []
        self._reads: dict[RequestId, list[tuple[ClientKey, Query]]] = {}
        self._watching: list[tuple[ClientKey, Query]] = []
        self._waiting_queries = 0
        # Queries whose place in the order is known, and not yet reached here.
        self._ready: list[tuple[Mark, list[tuple[ClientKey, Query]]]] = []
        # Requests and bytes applied since the last marker, and how many are due for one.
        self._since_marker = [0, 0]
        # About so many bytes of log there are since the last snapshot.
        self._logged_bytes = 0
        self._mark_at = [settings.marker_requests, settings.marker_bytes]
        self._marker: RequestId | None = None
        # Requests that count as carried out if the machine raises on them; None is any digest.
        self._skips: dict[tuple[bytes, int], bytes | None] = {} if skip is None else {skip: None}
        # One that was, and that the log does not say so of yet; the command that would; when to try again.
        self._unlogged: RequestId | None = None
        self._skip: RequestId | None = None
        self._skip_at = 0
        self._events: list[Event] = []
        self.answers: list[tuple[ClientKey, Message]] = []
        self._backups = Backups(node)
        self._catch_up = CatchUp(node, settings, records, now)
        content = self._catch_up.content
        if content is not None:
            self._restore(content, now)

    # --- what comes in ------------------------------------------------------------------------------

    def begin(self, now: Instant) -> None:
        """The replica takes requests from now on."""
        self._now = now
        self._begun = True

    def request(self, client: ClientKey, message: Message, now: Instant, why_not_yet: str = "") -> None:
        """Handle one message of a client."""
        self._now = now
        kind = message.__class__
        if kind is SubmitMany:
            self._submit(client, message.run, why_not_yet)
        elif kind is Query:
            self._query(client, message)
        elif kind is CancelQuery:
            gone = (client, message.sequence)
            self._watching = [each for each in self._watching if (each[0], each[1].sequence) != gone]
        elif kind is AskBirth:
            self.answers.append((client, Birth(message.sequence, self.sessions.markers)))
        elif kind is Instruct:
            self._instruct(client, message, now)
        elif kind is Submit:
            text = "this cluster decides a log of commands, and no decrees"
            self.answers.append((client, Reply(message.request, ReplyKind.REJECTED, None, text)))
        elif kind is not Cancel:
            raise ConfigurationError(f"{kind.__name__} is not a message of a log's client")

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message of a member about snapshots."""
        self._now = now
        content = self._catch_up.receive(sender, message, self.sessions.markers, now)
        if content is not None:
            self._restore(content, now)

    def tick(self, now: Instant) -> None:
        """Do what is due."""
        self._now = now
        self._catch_up.tick(now)

    def disconnect(self, client: ClientKey, now: Instant) -> None:
        """The client is gone: what it asked goes on, and nobody is told."""
        self._watching = [each for each in self._watching if each[0] != client]
        self._backups.leave(client)

    def _submit(self, client: ClientKey, run: Run, why_not_yet: str) -> None:
        size = run_bytes(run)
        why = self._why_not(run, size, why_not_yet)
        if why:
            self._refuse(client, run, RefusedKind.REJECTED, why)
            return
        self._gathered_requests += len(run.bodies)
        for piece in cut_run(run):
            self._gathered.append((client, piece))
            self._gathered_bytes += run_bytes(piece)

    def _why_not(self, run: Run, size: int, why_not_yet: str) -> str:
        settings = self._settings
        if size > MAX_REQUEST_BYTES:
            for index, body in enumerate(run.bodies):
                if len(body) > MAX_REQUEST_BYTES:
                    number = run.sequence + index
                    return f"request {number} has {len(body)} bytes; the limit is {MAX_REQUEST_BYTES}"
        if (
            self._gathered_requests + len(run.bodies) > 2 * settings.waiting_requests
            or self._gathered_bytes + size > 2 * settings.waiting_bytes
        ) and self._gathered:
            return why_not_yet or (
                f"node {self._node} has {self._gathered_requests} requests waiting to be ordered; "
                "try again later"
            )
        session = self.sessions.get(run.client)
        if session is not None:
            last = run.sequence + len(run.bodies) - 1
            if last > max(session.acknowledged, run.acknowledged) + _MAX_UNACKNOWLEDGED:
                return f"the client has {_MAX_UNACKNOWLEDGED} requests whose results it has not acknowledged"
            if run.sequence <= session.highest:
                return self._reused(session, run)
        return ""

    @staticmethod
    def _reused(session: Session, run: Run) -> str:
        for index in range(len(run.bodies)):
            digest = run.digests[_DIGEST * index : _DIGEST * (index + 1)]
            number = run.sequence + index
            if session.is_reused(number, digest):
                return f"request {number} of this client was another command; a number is used once"
        return ""

    def _query(self, client: ClientKey, query: Query) -> None:
        if self._waiting_queries + len(self._watching) >= self._settings.queries:
            text = f"node {self._node} has {self._waiting_queries} queries waiting; try again later"
            self.answers.append((client, QueryReply(query.sequence, RefusedKind.REJECTED, None, text)))
        elif query.level == Level.STALE:
            self._answer_query(client, query)
        elif query.level == Level.NEWS:
            if not self._tell_news(client, query):
                self._watching.append((client, query))
        elif query.level == Level.BACKUP and (
            reply := self._backups.go_on(client, query, self._now.monotonic_s)
        ):
            self.answers.append((client, reply))
        else:
            self._asked.append((client, query))
            self._waiting_queries += 1

    def _instruct(self, client: ClientKey, message: Instruct, now: Instant) -> None:
        try:
            self._replica.instruct(message.action, message.node, now)
        except ConfigurationError as error:
            leader = self._replica.status().values.get("leader")
            if type(leader) is int and leader != self._node:
                # It would know better; and so does it, if what is asked for can not be done.
                reply = QueryReply(message.sequence, RefusedKind.REDIRECT, None, str(leader))
            else:
                reply = QueryReply(message.sequence, RefusedKind.REJECTED, None, str(error)[:1000])
        else:
            reply = QueryReply(message.sequence, 0, b"", "")
        self.answers.append((client, reply))

    # --- to the replica -----------------------------------------------------------------------------

    def flush(self) -> None:
        """Give the replica what has gathered, as far as it has room."""
        if not self._begun:
            return
        if self._asked:
            asked, self._asked = self._asked, []
            self._sequence += 1
            request = _new(RequestId, (self._own_id, 0, self._sequence, _NO_DIGEST))
            self._reads[request] = asked
            self._replica.read(request, self._now)
        if not self._gathered or self._room <= 0:
            return
        commands: list[Command] = []
        gathered, at = self._gathered, 0
        while at < len(gathered) and len(commands) < self._room:
            first, size = at, 0
            while at < len(gathered):
                size += run_bytes(gathered[at][1])
                if size > FILL_BYTES and at > first:
                    break
                at += 1
            part = gathered[first:at]
            self._sequence += 1
            command = batch_command(self._own_id, self._sequence, [run for _, run in part])
            self._submitted[command.request] = part
            commands.append(command)
        del gathered[:at]
        self._gathered_requests = sum(len(run.bodies) for _, run in gathered)
        self._gathered_bytes = sum(run_bytes(run) for _, run in gathered)
        self._room -= len(commands)
        self._place(commands)

    def _place(self, commands: Sequence[Command]) -> None:
        if self.placed is not None:
            self.placed += commands
        self._replica.submit(commands, self._now)

    @property
    def room(self) -> int:
        """Requests that would be taken now."""
        settings = self._settings
        if self._gathered_bytes >= settings.waiting_bytes:
            return 0
        return max(settings.waiting_requests - self._gathered_requests, 0)

    # --- from the replica ---------------------------------------------------------------------------

    def settle(self, effects: Effects, turn: Turn) -> bool:
        """Take in what the replica decided, and tell clients; whether the replica was told something."""
        told = False
        if effects.applies:
            self._apply(effects.applies)
        for outcome in effects.outcomes:
            self._conclude(outcome)
        if self._ready:
            self._answer_ready()
        for recipient, _ in effects.transfers:
            self._catch_up.offer(recipient, self._now)
        self._room = effects.room
        if self._since_marker[0] >= self._mark_at[0] or self._since_marker[1] >= self._mark_at[1]:
            told = self._mark()
        if self._unlogged is not None:
            told |= self._log_skip(self._unlogged)
        if self._gathered and self._room > 0 and self._begun:
            self.flush()
            told = True
        if not self._catch_up.is_idle:
            told |= self._take_snapshots(turn)
        if self.answers:
            turn.answers += self.answers
            self.answers = []
        if self._events:
            turn.events += self._events
            self._events = []
        turn.room = self.room
        return told

    def _take_snapshots(self, turn: Turn) -> bool:
        taken = self._catch_up.take()
        turn.writes += taken.writes
        for send in taken.sends:
            (turn.held if send[0] == self._node else turn.sends).append(send)
        turn.events += taken.events
        if taken.wake_at_s is not None and (turn.wake_at_s is None or taken.wake_at_s < turn.wake_at_s):
            turn.wake_at_s = taken.wake_at_s
        if taken.compact is not None:
            self._replica.compact(taken.compact, self._now)
        return taken.compact is not None

    def _apply(self, applies: Sequence[tuple[Mark, Command]]) -> None:
        """What was decided, in order.

        Raises:
            NodeStopped: the machine can not carry out a request, or a command is none this release knows.
        """
        for _, command in applies:
            # What comes later in the order may say of a request that it need not be carried out.
            if is_housekeeping(command):
                self._note_skip(command)
        for mark, command in applies:
            mine = self._submitted.pop(command.request, None)
            if mine is not None:
                for client, run in mine:
                    self._answer(client, run, self._apply_run(mark, run))
                self.applied = mark
                continue
            batch = read_batch(command)
            self.applied = mark
            if batch is None:
                continue
            if batch.kind is BatchKind.REQUESTS:
                for run in batch.runs:
                    self._apply_run(mark, run)
            elif batch.kind is BatchKind.MARKER:
                self._apply_marker(mark, command)
            elif batch.skipped == self._unlogged:
                self._unlogged = None
        if self._watching:
            self._watching = [each for each in self._watching if not self._tell_news(*each)]

    def _apply_run(self, mark: Mark, run: Run) -> list[Any]:
        try:
            if self._skips and any(client == run.client for client, _ in self._skips):
                applied = [self._apply_or_skip(mark, run, index) for index in range(len(run.bodies))]
            else:
                applied = self.sessions.apply(run, self._carry_out)
        except _NotCarriedOut as error:
            which = f"{error.number}" if error.number == error.last else f"{error.number}..{error.last}"
            raise NodeStopped(
                f"the state machine can not carry out request {which} of client {run.client.hex()}, at "
                f"{mark}: {error}; every node stops there rather than diverge, until all are started with "
                f"that request to be skipped (paxos serve --skip {run.client.hex()}:{error.number})"
            ) from error.__cause__
        since = self._since_marker
        since[0] += len(applied)
        since[1] += sum(map(len, run.bodies))
        self.requests += len(applied)
        return applied

    def _carry_out(self, first: int, bodies: Sequence[bytes]) -> list[bytes]:
        """The machine's answers. Raises _NotCarriedOut."""
        results: list[bytes] = []
        try:
            if self._apply_many is not None:
                results = self._apply_many(bodies)
            else:
                apply, append = self.machine.apply, results.append
                for body in bodies:
                    append(apply(body))
        except Exception as error:
            number = first + len(results)
            last = number if self._apply_many is None else first + len(bodies) - 1
            raise _NotCarriedOut(number, last, f"{type(error).__name__}: {error!s:.200}") from error
        if len(results) != len(bodies):
            why = f"it gave {len(results)} answers to {len(bodies)} commands"
            raise _NotCarriedOut(first, first + len(bodies) - 1, why)
        if set(map(type, results)) != {bytes}:
            for number, result in enumerate(results, first):
                if type(result) is not bytes:
                    raise _NotCarriedOut(number, number, f"its answer is {type(result).__name__}, not bytes")
        return results

    def _answer(self, client: ClientKey, run: Run, applied: list[Any]) -> None:
        if Refusal not in set(map(type, applied)):
            if sum(map(len, applied)) <= _ANSWER_BYTES:
                self.answers.append((client, _new(Results, (run.client, run.sequence, applied))))
                return
            for first, results in _in_messages(applied):
                self.answers.append((client, Results(run.client, run.sequence + first, results)))
            return
        for index, each in enumerate(applied):
            number = run.sequence + index
            if each.__class__ is not Refusal:
                self.answers.append((client, Results(run.client, number, [each])))
                continue
            kind = RefusedKind.REJECTED
            if each.applied:
                kind = RefusedKind.APPLIED
            elif each.expired:
                kind = RefusedKind.EXPIRED
            self.answers.append((client, Refused(run.client, number, 1, kind, each.reason)))

    def _refuse(self, client: ClientKey, run: Run, kind: RefusedKind, detail: str) -> None:
        self.answers.append((client, Refused(run.client, run.sequence, len(run.bodies), kind, detail)))

    def _conclude(self, outcome: Outcome) -> None:
        """The end of a command or a read that does not follow from what is applied."""
        request = outcome.request
        if request == self._marker:
            self._marker = None
            return
        if request == self._skip:
            self._skip = None
            return
        queries = self._reads.pop(request, None)
        if queries is not None:
            self._conclude_read(queries, outcome)
            return
        mine = self._submitted.pop(request, None)
        if mine is None:
            return
        kind = _REFUSED_BY_OUTCOME[outcome.kind]
        detail = str(outcome.node) if kind is RefusedKind.REDIRECT else outcome.reason
        for client, run in mine:
            self._refuse(client, run, kind, detail)

    def _conclude_read(self, queries: list[tuple[ClientKey, Query]], outcome: Outcome) -> None:
        if outcome.kind is OutcomeKind.READY:
            self._ready.append((outcome.mark, queries))
            return
        self._waiting_queries -= len(queries)
        kind = _REFUSED_BY_OUTCOME[outcome.kind]
        detail = str(outcome.node) if kind is RefusedKind.REDIRECT else outcome.reason
        for client, query in queries:
            self.answers.append((client, QueryReply(query.sequence, kind, None, detail)))

    def _answer_ready(self) -> None:
        """Answer the queries whose place in the order is reached. A follower may be told its before it is."""
        applied: Any = self.applied
        waiting, self._ready = self._ready, []
        for mark, queries in waiting:
            # Of a log that has nothing in it the place is 0, and nothing is applied.
            if mark not in (None, 0) and (applied is None or mark > applied):
                self._ready.append((mark, queries))
                continue
            self._waiting_queries -= len(queries)
            for client, query in queries:
                self._answer_query(client, query)

    def _answer_query(self, client: ClientKey, query: Query) -> None:
        if query.level == Level.BACKUP:
            self.answers.append(
                (client, self._backups.begin(client, query, self._cut, self._now.monotonic_s))
            )
            return
        self.answers.append((client, self._ask_machine(query)))

    def _cut(self) -> Iterator[bytes]:
        """The pieces of the state as it is now."""
        part = self._replica.part(self.applied)
        return snapshot_pieces(self.applied, part, self.sessions, self.machine)

    def _ask_machine(self, query: Query) -> QueryReply:
        """What the machine answers. One that it can not answer costs its client, and never the node.

        Nothing follows from a query, so no node diverges; and a client asks the next node what one refused.
        """
        try:
            answer = self.machine.query(query.body)
            if type(answer) is not bytes:
                raise TypeError(f"its answer is {type(answer).__name__}, not bytes")
        except Exception as error:
            why = f"the state machine can not answer the query: {type(error).__name__}: {error!s:.200}"
            self._tell("query failed", why)
            return QueryReply(query.sequence, RefusedKind.REJECTED, None, why)
        if len(answer) > MAX_RESULT_BYTES:
            why = f"the answer has {len(answer)} bytes; the limit is {MAX_RESULT_BYTES}"
            return QueryReply(query.sequence, RefusedKind.REJECTED, None, why)
        return QueryReply(query.sequence, 0, answer, "")

    def _tell_news(self, client: ClientKey, query: Query) -> bool:
        reply = self._ask_machine(query)
        if reply.result == query.known:
            return False
        self.answers.append((client, reply))
        return True

    def _tell(self, action: str, sentence: str) -> None:
        self._events.append(Event(action, self._node, {"text": sentence, "level": logging.WARNING}, "log"))

    # --- requests that the machine can not carry out --------------------------------------------------

    def _note_skip(self, command: Command) -> None:
        batch = read_batch(command)
        if batch is not None and batch.skipped is not None:
            client, _, number, digest = batch.skipped
            self._skips.setdefault((client, number), digest)

    def _apply_or_skip(self, mark: Mark, run: Run, index: int) -> Any:
        """Carry out one request; if the machine raises and an operator has decided so, it counts as done.

        What a machine changes before it raises is the same at every node, as all that it does.
        """
        request = run.request(index)
        one = Run(
            run.client, run.birth, run.acknowledged, request.sequence, request.digest, [run.bodies[index]]
        )
        try:
            (applied,) = self.sessions.apply(one, self._carry_out)
        except _NotCarriedOut as error:
            if self._skips.get((run.client, request.sequence), _NO_DIGEST) not in (None, request.digest):
                raise
            (applied,) = self.sessions.apply(one, lambda first, bodies: [b""])
            if self._skips[run.client, request.sequence] is None:
                self._unlogged = request
            self._tell(
                "request skipped",
                f"request {request.sequence} of client {run.client.hex()}, at {mark}, counts as carried out "
                f"by an operator's decision; {error}",
            )
        return applied

    def _log_skip(self, skipped: RequestId) -> bool:
        """Have the decision put into the log, for nodes that come there later; whether it was asked for."""
        if self._skip is not None or self._room <= 0 or not self._begun or self.requests < self._skip_at:
            return False
        self._sequence += 1
        command = skip_command(self._node, self._sequence, skipped)
        self._skip = command.request
        # Whoever is refused asks again only after a while.
        self._skip_at = self.requests + max(self._settings.marker_requests // 8, 1)
        self._room -= 1
        self._place([command])
        return True

    # --- markers and snapshots ----------------------------------------------------------------------

    def _mark(self) -> bool:
        """Ask for a marker; whether it was. Where there is a leader only its node's wish is granted."""
        if self._marker is not None or self._room <= 0 or not self._begun:
            return False
        self._sequence += 1
        command = marker_command(self._node, self._sequence)
        self._marker = command.request
        # Whoever is refused asks again only after a while.
        settings = self._settings
        self._mark_at = [
            self._since_marker[0] + max(settings.marker_requests // 8, 1),
            self._since_marker[1] + max(settings.marker_bytes // 8, 1),
        ]
        self._room -= 1
        self._place([command])
        return True

    def _apply_marker(self, mark: Mark, command: Command) -> None:
        if command.request == self._marker:
            self._marker = None
        self._logged_bytes += self._since_marker[1] + _REQUEST_BYTES * self._since_marker[0]
        self._start_counting()
        self.sessions.mark()
        # A snapshot costs as much as the state is large. Made whenever the log has grown by that, it costs
        # each request a constant share, and the log is never much longer than the state.
        due_bytes = self._settings.growth * self._catch_up.snapshot_bytes - CHUNK_BYTES
        if self._logged_bytes >= due_bytes and self._catch_up.begin(
            mark, self._replica.part(mark), self.sessions, self.machine, self._now
        ):
            self._logged_bytes = 0

    def _restore(self, content: Content, now: Instant) -> None:
        """Become what a snapshot says. Raises RecordError."""
        try:
            self.sessions.unpack(content.sessions)
            self.machine.restore(content.machine)
        except Exception as error:
            raise RecordError(
                f"snapshot {content.number}: node {self._node} can not become what it says: "
                f"{type(error).__name__}: {error!s:.200}"
            ) from error
        self.applied = content.mark
        self._start_counting()
        self._marker = self._skip = None
        # What was submitted may be in the snapshot, and would never be applied here.
        submitted, self._submitted = self._submitted, {}
        for mine in submitted.values():
            for client, run in mine:
                self._refuse(client, run, RefusedKind.UNKNOWN, f"node {self._node} lagged behind; ask again")
        self._replica.install(content.mark, content.part, now)

    def _start_counting(self) -> None:
        self._since_marker = [0, 0]
        self._mark_at = [self._settings.marker_requests, self._settings.marker_bytes]

    def status(self) -> dict[str, object]:
        """For people and tools: JSON-able."""
        return {
            "applied": self.applied if isinstance(self.applied, int | str) else str(self.applied),
            "applied_requests": self.requests,
            "waiting_requests": self._gathered_requests,
            "sessions": len(self.sessions),
            "markers": self.sessions.markers,
            **self._catch_up.status(),
        }


def _in_messages(results: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Results, cut to what fits into a message: the index of the first, and they."""
    first, size = 0, 0
    for index, result in enumerate(results):
        if size + len(result) > _ANSWER_BYTES and index > first:
            yield first, results[first:index]
            first, size = index, 0
        size += len(result)
    yield first, results[first:]
