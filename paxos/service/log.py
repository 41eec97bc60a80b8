"""The service of a log: a replica's commands become the state of a machine, and answers for clients.

Requests of clients gather until the turn ends (`gathering`), and go to the replica as one command (`batches`)
or a few.  What the replica has decided is applied here, each request exactly once (`sessions`); whoever asked
through this node is answered then, and so is whoever only wanted to know something (`queries`).  At markers
the state is put into a snapshot (`snapshots`), and a node that lags behind what the others keep is sent one.

Nothing in this room knows which protocol orders the commands: only whether it orders all of them, or those
that conflict (`conflicts`).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.command import HOUSEKEEPING, Command, RequestId
from paxos.contract import (
    Effects,
    Event,
    Instant,
    Mark,
    Message,
    Orders,
    Outcome,
    Records,
    Replica,
    StateMachine,
)
from paxos.errors import ConfigurationError, NodeStopped, RecordError
from paxos.service.admission import NotTaken, look_at
from paxos.service.batches import (
    BatchKind,
    Run,
    batch_command,
    marker_command,
    read_batch,
    read_command,
    run_bytes,
    run_piece,
    skip_command,
)
from paxos.service.catch_up import CatchUp
from paxos.service.conflicts import Conflicts, pack_part, take_part
from paxos.service.gathering import ByConflict, InOrder
from paxos.service.log_messages import (
    CHUNK_BYTES,
    AskBirth,
    Birth,
    CancelQuery,
    Instruct,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
    Results,
    SnapshotKept,
    SubmitMany,
)
from paxos.service.messages import Cancel, Reply, ReplyKind, Submit
from paxos.service.queries import REFUSED_BY_OUTCOME, Queries
from paxos.service.retries import UnderWay
from paxos.service.sessions import Refusal, Sessions
from paxos.service.settings import LogSettings
from paxos.service.snapshots import Content, snapshot_pieces
from paxos.service.turn import ClientKey, Turn

__all__ = ["LogService"]

#: Results travel in messages of about so many bytes.
_ANSWER_BYTES: Final = 1 << 18
_DIGEST: Final = 8
#: What a request takes in the log beside its bytes, about.
_REQUEST_BYTES: Final = 16
_NO_DIGEST: Final = b"\0" * _DIGEST

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
        orders: in which order the replica's commands come.
        members: ids of the nodes that vote, ascending; where only conflicting commands have an order.

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
        orders: Orders = Orders.TOTAL,
        members: Sequence[NodeId] = (),
    ) -> None:
        self.machine: StateMachine = machine
        self.sessions: Sessions = Sessions()
        #: The mark of what was applied last; None before the first.
        self.applied: Mark = None
        #: Commands that are in the state, where only conflicting ones have an order.
        self.commands: int = 0
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
        self._conflicts: Conflicts | None = None
        # Requests that no command carries yet.
        self._gathered: InOrder | ByConflict = InOrder()
        if orders is Orders.CONFLICTS:
            self._conflicts = Conflicts(node, members, machine, settings, records)
            self._gathered = ByConflict(self._conflicts.hot)
        self._life = 0 if self._conflicts is None else self._conflicts.life
        self._written_life = not self._life
        self._reads_first = False
        # What is not ordered once more if it is asked for again. (Where a leader may be deposed, nobody
        # says of what it was given whether that will be ordered.)
        self._under_way = UnderWay()
        # Commands that the replica has, by their id: what is in them, and who asked.
        self._submitted: dict[RequestId, list[tuple[ClientKey, Run]]] = {}
        self._begun = begun
        self._room = 1
        # Requests, their bytes and their results' since the last marker, and how many are due for one.
        self._since_marker = [0, 0, 0]
        # About so many bytes of log there are since the last snapshot.
        self._logged_bytes = 0
        self._mark_at = [0, 0, 0]
        self._start_counting()
        self._marker: RequestId | None = None
        # Requests that count as carried out if the machine raises on them; None is any digest.
        self._skips: dict[tuple[bytes, int], bytes | None] = {} if skip is None else {skip: None}
        # One that was, and that the log does not say so of yet; the command that would; when to try again.
        self._unlogged: RequestId | None = None
        self._skip: RequestId | None = None
        self._skip_at = 0
        self._events: list[Event] = []
        self.answers: list[tuple[ClientKey, Message]] = []
        self._queries = Queries(node, machine, settings.queries, self._cut, self.answers, self._events)
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
            self._queries.ask(client, message, now.monotonic_s)
        elif kind is CancelQuery:
            self._queries.cancel(client, message.sequence)
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
        self._catch_up.tick(now, self.requests)

    def disconnect(self, client: ClientKey, now: Instant) -> None:
        """The client is gone: what it asked goes on, and nobody is told."""
        self._queries.leave(client)

    def _submit(self, client: ClientKey, run: Run, why_not_yet: str) -> None:
        refused = self._why_not(run, run_bytes(run), why_not_yet)
        if refused is not None:
            first, kind, why = refused
            self._refuse(client, run_piece(run, first, len(run.bodies)), kind, why)
            if not first:
                return
            run = run_piece(run, 0, first)
        gathered = self._gathered
        if isinstance(gathered, InOrder):
            gathered.add(client, run)
        elif self._conflicts is not None:
            for part in self._under_way.news(client, run):
                self._submit_by_conflict(client, part, gathered, self._conflicts)

    def _submit_by_conflict(
        self, client: ClientKey, run: Run, gathered: ByConflict, conflicts: Conflicts
    ) -> None:
        """Gather a run with what its requests touch; one of which the machine does not say it is refused."""
        touched, none = conflicts.footprints.of(run.bodies)
        if not none:
            gathered.add(client, run, touched)
            return
        first = 0
        for index, why in (*none.items(), (len(touched), "")):
            if index > first:
                gathered.add(client, run_piece(run, first, index), touched[first:index])
            if why:
                self._tell("request refused", f"request {run.sequence + index} of {run.client.hex()}: {why}")
                self._end_refused(client, run_piece(run, index, index + 1), RefusedKind.NEVER, why)
            first = index + 1

    def _why_not(self, run: Run, size: int, why_not_yet: str) -> NotTaken | None:
        settings, gathered = self._settings, self._gathered
        if (
            gathered.requests + len(run.bodies) > 2 * settings.waiting_requests
            or gathered.size_bytes + size > 2 * settings.waiting_bytes
        ) and gathered.requests:
            why = why_not_yet or (
                f"node {self._node} has {gathered.requests} requests waiting to be ordered; try again later"
            )
            return NotTaken(0, RefusedKind.REJECTED, why)
        return look_at(run, size, self.sessions.get(run.client))

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
        if self._queries.asked:
            self._read()
        if not self._gathered.requests or self._room <= 0:
            return
        commands: list[Command] = []
        for part, footprint in self._gathered.take(self._room):
            self._sequence += 1
            command = batch_command(
                self._own_id, self._sequence, [run for _, run in part], footprint, self._life
            )
            self._submitted[command.request] = part
            commands.append(command)
        self._room -= len(commands)
        self._place(commands)

    def _read(self) -> None:
        """Have the replica find the places of the queries that were asked."""
        conflicts = self._conflicts
        if conflicts is None:
            self._sequence += 1
            request = _new(RequestId, (self._own_id, 0, self._sequence, _NO_DIGEST))
            self._queries.wait_for(request, self._queries.take_asked())
            self._replica.read(request, self._now)
            return
        room = self._room
        if self._gathered.requests and room > 0:
            # Half of it each; of what can not be halved the one more who had less the last time.
            self._reads_first = not self._reads_first
            room = (room + self._reads_first) // 2
        if room <= 0:
            return
        commands: list[Command] = []
        for asked, footprint in self._queries.take_by_footprint(conflicts.footprints, conflicts.hot, room):
            self._sequence += 1
            command = read_command(self._own_id, self._life, self._sequence, footprint)
            self._queries.wait_for(command.request, asked)
            commands.append(command)
        self._room -= len(commands)
        if commands:
            self._place(commands)

    def _place(self, commands: Sequence[Command]) -> None:
        if self.placed is not None:
            self.placed += commands
        self._replica.submit(commands, self._now)

    # --- from the replica ---------------------------------------------------------------------------

    def settle(self, effects: Effects, turn: Turn) -> bool:
        """Take in what the replica decided, and tell clients; whether the replica was told something."""
        told = False
        if effects.applies:
            self._apply(effects.applies)
        if effects.outcomes:
            for outcome in effects.outcomes:
                self._conclude(outcome)
        queries, gathered = self._queries, self._gathered
        if queries.ready:
            queries.answer_ready(self.applied, self._now.monotonic_s)
        if effects.transfers:
            for recipient, _ in effects.transfers:
                self._catch_up.offer(recipient, self._now)
        self._room = effects.room
        since, due = self._since_marker, self._mark_at
        if since[0] >= due[0] or since[1] >= due[1] or since[2] >= due[2]:
            told = self._mark()
        if self._unlogged is not None:
            told |= self._log_skip(self._unlogged)
        if (gathered.requests or queries.asked) and self._room > 0 and self._begun:
            self.flush()
            told = True
        if not self._catch_up.is_idle:
            told |= self._take_snapshots(turn)
        if self.answers:
            turn.answers += self.answers
            self.answers.clear()
        if self._events:
            turn.events += self._events
            self._events.clear()
        if not self._written_life and self._conflicts is not None:
            self._written_life = True
            turn.writes.append(self._conflicts.write)
        settings = self._settings
        turn.room = room = settings.waiting_requests - gathered.requests
        if room < 0 or gathered.size_bytes >= settings.waiting_bytes:
            turn.room = 0
        return told

    def _take_snapshots(self, turn: Turn) -> bool:
        taken = self._catch_up.take()
        turn.writes += taken.writes
        for send in taken.sends:
            (turn.held if send[1].__class__ is SnapshotKept else turn.sends).append(send)
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
            if command[0][0] == HOUSEKEEPING:
                self._note_skip(command)
        for mark, command in applies:
            mine = self._submitted.pop(command.request, None)
            if mine is not None:
                for client, run in mine:
                    applied = self._apply_run(mark, run)
                    self._answer(client, run, applied)
                    for again, first, end in self._under_way.ended(run):
                        self._answer(again, run_piece(run, first, end), applied[first:end])
                self.applied = mark
                self.commands += 1
                continue
            batch = read_batch(command)
            self.applied = mark
            if batch is None:
                continue
            self.commands += 1
            if batch.kind is BatchKind.REQUESTS:
                for run in batch.runs:
                    self._apply_run(mark, run)
                if self._conflicts is not None and self._conflicts.hot is not None:
                    self._conflicts.hot.note(command.footprint)
            elif batch.kind is BatchKind.READ:
                self._queries.answer_read(command.request, self._now.monotonic_s)
            elif batch.kind is BatchKind.MARKER:
                self._apply_marker(mark, command)
            elif batch.skipped == self._unlogged:
                self._unlogged = None
        if self._queries.watching:
            self._queries.tell_news()

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
        since[2] += sum(map(len, applied))
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
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too: it is the machine's, and would end the node unnamed
            number = first + len(results)
            last = number if self._apply_many is None else first + len(bodies) - 1
            raise _NotCarriedOut(number, last, f"{type(error).__name__}: {error!s:.200}") from error
        if len(results) == 1 == len(bodies) and type(results[0]) is bytes:
            return results  # the commonest
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
            kind = RefusedKind.NEVER
            if each.applied:
                kind = RefusedKind.APPLIED
            elif each.expired:
                kind = RefusedKind.EXPIRED
            self.answers.append((client, Refused(run.client, number, 1, kind, each.reason)))

    def _refuse(self, client: ClientKey, run: Run, kind: RefusedKind, detail: str) -> None:
        self.answers.append((client, Refused(run.client, run.sequence, len(run.bodies), kind, detail)))

    def _end_refused(self, client: ClientKey, run: Run, kind: RefusedKind, detail: str) -> None:
        """Refuse what was taken before."""
        self._refuse(client, run, kind, detail)
        for again, first, end in self._under_way.ended(run):
            self._refuse(again, run_piece(run, first, end), kind, detail)

    def _conclude(self, outcome: Outcome) -> None:
        """The end of a command or a read that does not follow from what is applied."""
        request = outcome.request
        if request == self._marker:
            self._marker = None
            return
        if request == self._skip:
            self._skip = None
            return
        if self._queries.conclude(outcome):
            return
        mine = self._submitted.pop(request, None)
        if mine is None:
            return
        kind = REFUSED_BY_OUTCOME[outcome.kind]
        detail = str(outcome.node) if kind is RefusedKind.REDIRECT else outcome.reason
        for client, run in mine:
            self._end_refused(client, run, kind, detail)

    def _cut(self) -> Iterator[bytes]:
        """The pieces of the state as it is now."""
        if self._conflicts is None:
            part = self._replica.part(self.applied)
            return snapshot_pieces(self.applied, part, self.sessions, self.machine)
        # It is of no place that anything else could be said of. Who begins with it begins an empty log.
        return snapshot_pieces(None, pack_part(self.commands, b""), self.sessions, self.machine)

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
        command = skip_command(self._node, self._sequence, skipped, self._life)
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
        command = marker_command(self._node, self._sequence, self._life)
        self._marker = command.request
        # Whoever is refused asks again only after a while.
        settings = self._settings
        more = (settings.marker_requests, settings.marker_bytes, settings.marker_bytes)
        self._mark_at = [
            since + max(each // 8, 1) for since, each in zip(self._since_marker, more, strict=True)
        ]
        self._room -= 1
        self._place([command])
        return True

    def _apply_marker(self, mark: Mark, command: Command) -> None:
        if command.request == self._marker or self._conflicts is not None:
            # Where every node's wish is granted another's will do, and the own may be dropped.
            self._marker = None
        self._logged_bytes += self._since_marker[1] + _REQUEST_BYTES * self._since_marker[0]
        self.sessions.mark()
        self._start_counting()
        # A snapshot costs as much as the state is large. Made whenever the log has grown by that, it costs
        # each request a constant share, and the log is never much longer than the state.
        due_bytes = self._settings.growth * self._catch_up.snapshot_bytes - CHUNK_BYTES
        if self._logged_bytes >= due_bytes and self._catch_up.begin(
            mark, self._part(mark), self.sessions, self.machine, self._now
        ):
            self._logged_bytes = 0

    def _part(self, mark: Mark) -> bytes:
        """What a snapshot at a marker holds beside the state."""
        part = self._replica.part(mark)
        return part if self._conflicts is None else pack_part(self.commands, part)

    def _restore(self, content: Content, now: Instant) -> None:
        """Become what a snapshot says. Raises RecordError."""
        part = content.part
        if self._conflicts is not None:
            self.commands, part = take_part(part)
        try:
            self.sessions.unpack(content.sessions)
            self.machine.restore(content.machine)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
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
                why = f"node {self._node} lagged behind; ask again"
                self._end_refused(client, run, RefusedKind.UNKNOWN, why)
        if self._conflicts is not None:
            self._queries.lose_reads(f"node {self._node} lagged behind; ask again")
            if content.mark is None:
                return  # a backup of another cluster, with which the log of this one begins
        self._replica.install(content.mark, part, now)

    def _start_counting(self) -> None:
        settings, waits = self._settings, 1.0
        if self._conflicts is not None:
            waits += self._conflicts.patience(self.sessions.markers)
        self._since_marker = [0, 0, 0]
        size = int(settings.marker_bytes * waits)
        self._mark_at = [int(settings.marker_requests * waits), size, size]

    @property
    def progress(self) -> int:
        """How far the log is applied: equal at nodes that have come as far as each other."""
        if self._conflicts is not None:
            return self.commands
        return self.applied if isinstance(self.applied, int) else 0

    def status(self) -> dict[str, object]:
        """For people and tools: JSON-able."""
        return {
            "applied": self._applied_status(),
            "applied_requests": self.requests,
            "waiting_requests": self._gathered.requests,
            "sessions": len(self.sessions),
            "markers": self.sessions.markers,
            **self._catch_up.status(),
        }

    def _applied_status(self) -> object:
        if self._conflicts is not None:
            return self.commands
        return self.applied if isinstance(self.applied, int | str) else str(self.applied)


def _in_messages(results: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Results, cut to what fits into a message: the index of the first, and they."""
    first, size = 0, 0
    for index, result in enumerate(results):
        if size + len(result) > _ANSWER_BYTES and index > first:
            yield first, results[first:index]
            first, size = index, 0
        size += len(result)
    yield first, results[first:]
