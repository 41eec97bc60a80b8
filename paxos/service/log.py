"""The service of a log: a replica's commands become the state of a machine, and answers for clients.

Requests of clients gather until the turn ends, and go to the replica as one command (`batches`).  What the
replica has decided is applied here, each request exactly once (`sessions`); whoever asked through this node
is answered then.  At markers the state is put into a snapshot (`snapshots`), and a node that lags behind
what the others keep is sent one.

Nothing in this room knows which protocol orders the commands.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.command import Command, RequestId
from paxos.contract import (
    Effects,
    Instant,
    Mark,
    Message,
    Outcome,
    OutcomeKind,
    Records,
    Replica,
    StateMachine,
)
from paxos.errors import ConfigurationError, NodeStopped
from paxos.service.batches import (
    FILL_BYTES,
    BatchKind,
    Run,
    batch_command,
    marker_command,
    read_batch,
)
from paxos.service.catch_up import CatchUp
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
from paxos.service.sessions import Refusal, Session, Sessions
from paxos.service.settings import LogSettings
from paxos.service.snapshots import Content
from paxos.service.turn import ClientKey, Turn

__all__ = ["LogService"]

#: A client may have so many requests without acknowledging a result.
_MAX_UNACKNOWLEDGED: Final = 65_536
#: The number of digits that `applied` keeps of a request in an error.
_SHOWN: Final = 80
_DIGEST: Final = 8

_REFUSED_BY_OUTCOME: Final = {
    OutcomeKind.REJECTED: RefusedKind.REJECTED,
    OutcomeKind.UNKNOWN: RefusedKind.UNKNOWN,
    OutcomeKind.REDIRECT: RefusedKind.REDIRECT,
}

_new: Final = tuple.__new__


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

    Raises:
        RecordError: a snapshot record is damaged.
    """

    #: What clients may send it.
    accepts: Final = frozenset((SubmitMany, Query, AskBirth, Instruct))

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
    ) -> None:
        self.machine: StateMachine = machine
        self.sessions: Sessions = Sessions()
        #: The mark of what was applied last; None before the first.
        self.applied: Mark = None
        #: Requests applied in this life.
        self.requests: int = 0
        self._node = node
        self._replica = replica
        self._settings = settings
        self._own_id = own_id
        self._now = now
        self._sequence = 0
        self._apply_many: Callable[[Sequence[bytes]], list[bytes]] = getattr(
            machine, "apply_many", self._each
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
        self._since_marker = [0, 0]
        self._mark_at = settings.marker_requests
        self._marker: RequestId | None = None
        self.answers: list[tuple[ClientKey, Message]] = []
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
            self._submit(client, message.run)
        elif kind is Query:
            self._query(client, message)
        elif kind is AskBirth:
            self.answers.append((client, Birth(message.sequence, self.sessions.markers)))
        elif kind is Instruct:
            self._instruct(client, message, now)
        else:
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

    def _submit(self, client: ClientKey, run: Run) -> None:
        size = sum(map(len, run.bodies))
        why = self._why_not(run, size)
        if why:
            self._refuse(client, run, RefusedKind.REJECTED, why)
            return
        self._gathered.append((client, run))
        self._gathered_requests += len(run.bodies)
        self._gathered_bytes += size

    def _why_not(self, run: Run, size: int) -> str:
        settings = self._settings
        if (
            self._gathered_requests + len(run.bodies) > 2 * settings.waiting_requests
            or self._gathered_bytes + size > 2 * settings.waiting_bytes
        ):
            return (
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
        else:
            self._asked.append((client, query))
            self._waiting_queries += 1

    def _instruct(self, client: ClientKey, message: Instruct, now: Instant) -> None:
        try:
            self._replica.instruct(message.action, message.node, now)
        except ConfigurationError as error:
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
            request = self._own_request()
            self._reads[request] = asked
            self._replica.read(request, self._now)
        if not self._gathered or self._room <= 0:
            return
        commands: list[Command] = []
        gathered, at = self._gathered, 0
        while at < len(gathered) and len(commands) < self._room:
            first, size = at, 0
            while at < len(gathered) and size < FILL_BYTES:
                size += sum(map(len, gathered[at][1].bodies))
                at += 1
            part = gathered[first:at]
            request = self._own_request()
            self._submitted[request] = part
            commands.append(batch_command(request, [run for _, run in part]))
        del gathered[:at]
        self._gathered_requests = sum(len(run.bodies) for _, run in gathered)
        self._gathered_bytes = sum(sum(map(len, run.bodies)) for _, run in gathered)
        self._room -= len(commands)
        self._replica.submit(commands, self._now)

    def _own_request(self) -> RequestId:
        self._sequence += 1
        return _new(RequestId, (self._own_id, 0, self._sequence, b"\0" * _DIGEST))

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
        for recipient, _ in effects.transfers:
            self._catch_up.offer(recipient, self._now)
        self._room = effects.room
        if self._since_marker[0] >= self._mark_at or self._since_marker[1] >= self._settings.marker_bytes:
            told = self._mark()
        if self._gathered and self._room > 0 and self._begun:
            self.flush()
            told = True
        if not self._catch_up.is_idle:
            told |= self._take_snapshots(turn)
        if self.answers:
            turn.answers += self.answers
            self.answers = []
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
        if self._watching:
            self._watching = [each for each in self._watching if not self._tell_news(*each)]

    def _apply_run(self, mark: Mark, run: Run) -> list[Any]:
        try:
            applied = self.sessions.apply(run, self._apply_many)
        except Exception as error:
            last = run.sequence + len(run.bodies) - 1
            raise NodeStopped(
                f"the state machine can not carry out a request of client {run.client.hex()}, number "
                f"{run.sequence}..{last}, at {mark}: {type(error).__name__}: {error!s:.200}; every node "
                "stops there rather than diverge"
            ) from error
        since = self._since_marker
        since[0] += len(applied)
        since[1] += sum(map(len, run.bodies))
        self.requests += len(applied)
        return applied

    def _each(self, bodies: Sequence[bytes]) -> list[bytes]:
        apply = self.machine.apply
        return [apply(body) for body in bodies]

    def _answer(self, client: ClientKey, run: Run, applied: list[Any]) -> None:
        if Refusal not in set(map(type, applied)):
            self.answers.append((client, _new(Results, (run.client, run.sequence, applied))))
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
        self._waiting_queries -= len(queries)
        if outcome.kind is OutcomeKind.READY:
            for client, query in queries:
                self._answer_query(client, query)
            return
        kind = _REFUSED_BY_OUTCOME[outcome.kind]
        detail = str(outcome.node) if kind is RefusedKind.REDIRECT else outcome.reason
        for client, query in queries:
            self.answers.append((client, QueryReply(query.sequence, kind, None, detail)))

    def _answer_query(self, client: ClientKey, query: Query) -> None:
        self.answers.append((client, QueryReply(query.sequence, 0, self._ask_machine(query.body), "")))

    def _ask_machine(self, body: bytes) -> bytes:
        try:
            return self.machine.query(body)
        except Exception as error:
            raise NodeStopped(
                f"the state machine can not answer the query {body!r:.{_SHOWN}}: {type(error).__name__}: "
                f"{error!s:.200}"
            ) from error

    def _tell_news(self, client: ClientKey, query: Query) -> bool:
        answer = self._ask_machine(query.body)
        if answer == query.known:
            return False
        self.answers.append((client, QueryReply(query.sequence, 0, answer, "")))
        return True

    # --- markers and snapshots ----------------------------------------------------------------------

    def _mark(self) -> bool:
        """Ask for a marker; whether it was. Where there is a leader only its node's wish is granted."""
        if self._marker is not None or self._room <= 0:
            return False
        self._sequence += 1
        command = marker_command(self._node << 40 | self._sequence)
        self._marker = command.request
        # Whoever is refused asks again only after a while.
        self._mark_at = self._since_marker[0] + max(self._settings.marker_requests // 8, 1)
        self._room -= 1
        self._replica.submit([command], self._now)
        return True

    def _apply_marker(self, mark: Mark, command: Command) -> None:
        if command.request == self._marker:
            self._marker = None
        self._since_marker = [0, 0]
        self._mark_at = self._settings.marker_requests
        self.sessions.mark()
        self._catch_up.begin(mark, self._replica.part(mark), self.sessions, self.machine, self._now)

    def _restore(self, content: Content, now: Instant) -> None:
        """Become what a snapshot says."""
        self.sessions.unpack(content.sessions)
        self.machine.restore(content.machine)
        self.applied = content.mark
        self._since_marker = [0, 0]
        self._mark_at = self._settings.marker_requests
        self._replica.install(content.mark, content.part, now)

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
