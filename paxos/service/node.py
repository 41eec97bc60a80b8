"""One node, sans-I/O: a replica, its state machine, its clients, and its identity.

This is what every driver runs: the simulator, the explorer and the network call the same methods of
the same class.  A driver hands in messages, client requests and the time, then takes a `Turn`, which
says what to write, what to send at once, what to send when the writes are on disk, and what to tell
clients.
"""

import json
import struct
from collections.abc import Hashable
from typing import Any, Final, TypeAlias

from paxos.ballot import NodeId
from paxos.command import Command, RequestId, digest_of
from paxos.contract import (
    Configuration,
    Decides,
    Draw,
    Event,
    Instant,
    Mark,
    Message,
    Outcome,
    OutcomeKind,
    ProtocolDescription,
    Records,
    Replica,
)
from paxos.errors import ConfigurationError, RecordError, Rejected
from paxos.service.charter import charter_record, require_charter
from paxos.service.decrees import DecreeBook
from paxos.service.identity import IDENTITY_PREFIX, Identity
from paxos.service.messages import (
    SERVICE_MESSAGES,
    AskStatus,
    Cancel,
    Introduce,
    Introduced,
    LostDisk,
    Reply,
    ReplyKind,
    StatusReply,
    Submit,
)
from paxos.wire import MessageTable

__all__ = ["ClientKey", "Node", "Turn", "message_table", "replica_prefix"]

#: Whatever the driver knows a client's connection by.
ClientKey: TypeAlias = Hashable

# Every message is looked up here: `isinstance` would take four times as long.
_IDENTITY_MESSAGES: Final = frozenset((Introduce, Introduced, LostDisk))
_new: Final = object.__new__
_new_tuple: Final = tuple.__new__
#: Requests kept while the node may not vote yet, and bytes of their commands.
_MAX_EARLY: Final = 4096
_MAX_EARLY_BYTES: Final = 64 << 20


def message_table(protocol: ProtocolDescription) -> MessageTable:
    """Every message that travels to or from a node of this protocol."""
    return protocol.messages + SERVICE_MESSAGES


def replica_prefix(group: int, epoch: int) -> bytes:
    """What the keys of a replica's records begin with in the node's store."""
    return b"r" + struct.pack(">II", group, epoch)


class Turn:
    """What a node wants done since the last turn.

    Attributes:
        writes: durable records `(key, value or None)`, as one atomic batch.
        sends: `(recipient, message)`, never to itself: they leave at once.
        held: `(recipient, message)`: they leave when the writes of this and of every earlier turn
            are on disk; those to the node itself come back through `Node.receive`.
        answers: `(client, message)` for connected clients: they leave at once.
        applies: `(mark, command)` in execution order, already applied to the machine.
        events: what happened.
        wake_at_s: monotonic seconds at which to call `tick`, or None.
        room: commands it would take now; 0 means stop reading clients.
    """

    __slots__ = ("answers", "applies", "events", "held", "room", "sends", "wake_at_s", "writes")

    def __init__(self) -> None:
        self.writes: list[tuple[bytes, bytes | None]] = []
        self.sends: list[tuple[NodeId, Message]] = []
        self.held: list[tuple[NodeId, Message]] = []
        self.answers: list[tuple[ClientKey, Message]] = []
        self.applies: list[tuple[Mark, Command]] = []
        self.events: list[Event] = []
        self.wake_at_s: float | None = None
        self.room: int = 0


class Node:
    """One member of a cluster, without its clock, sockets and disk.

    Args:
        protocol: what it runs.
        configuration: its replica's.
        store_id: 16 random bytes, made with the store.
        records: everything the store held.
        draw: supplies randomness.
        now: the time.

    Raises:
        RecordError: a record is damaged, unknown, or newer than this code.
        StoreRefused: the store was used with other members or quorums, or its peers know a newer copy of it.
        ConfigurationError: the configuration does not fit the protocol.
    """

    def __init__(
        self,
        protocol: ProtocolDescription,
        configuration: Configuration,
        store_id: bytes,
        records: Records,
        draw: Draw,
        now: Instant,
    ) -> None:
        if protocol.decides is not Decides.DECREES:
            raise ConfigurationError(f"protocol {protocol.name!r} decides a log; this version hosts decrees")
        self.protocol: ProtocolDescription = protocol
        self.id: NodeId = configuration.node
        self._prefix = replica_prefix(configuration.group, configuration.epoch)
        self._reporting = message_table(protocol).reporting
        require_charter(protocol, configuration, records)
        self.identity: Identity = Identity(
            configuration.node, configuration.members, store_id, records, now.monotonic_s
        )
        if not records:
            # Before the replica's first record, in the same batch or an earlier one.
            self.identity.writes.insert(0, charter_record(protocol, configuration))
        cut = len(self._prefix)
        own = {}
        for key, value in records.items():
            if key.startswith(self._prefix):
                own[key[cut:]] = value
            elif not key.startswith(IDENTITY_PREFIX):
                raise RecordError(f"record {key!r:.80}: of no replica that node {self.id} is configured for")
        self.replica: Replica = protocol.replica(configuration, own, draw, now)
        self.machine: DecreeBook = DecreeBook()
        self._waiting: dict[RequestId, tuple[ClientKey, Command]] = {}
        self._clients: dict[ClientKey, set[RequestId]] = {}
        # Whether the replica is given requests; before, they only wait, and so many bytes do.
        self._begun = self.identity.introduced
        self._early_bytes = 0
        # What clients are told beside what the next effects bring.
        self._answers: list[tuple[ClientKey, Message]] = []

    # --- called by the driver -------------------------------------------------------------------

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message of the member `sender`, which the driver has authenticated.

        Raises:
            ProtocolBreach, NodeStopped: the node must stop; the error says why.
        """
        if message.__class__ in _IDENTITY_MESSAGES:
            self.identity.receive(sender, message)  # type: ignore[arg-type]
            self._begin_when_introduced(now)
        elif self.identity.introduced or sender == self.id:
            # What the own disk reports is said once, and not a vote: it always gets through.
            self.replica.receive(sender, message, now)
        # Else dropped: nothing may be promised yet, and every question is repeated.

    def request(self, client: ClientKey, message: Message, now: Instant) -> None:
        """Handle one message of a client; the driver hands answers to `client` back to it."""
        if isinstance(message, Submit):
            self._submit(client, message, now)
        elif isinstance(message, Cancel):
            if message.request in self._clients.get(client, ()):
                self._forget(message.request, now)
        elif isinstance(message, AskStatus):
            body = json.dumps(self.status(), sort_keys=True).encode()
            self._answers.append((client, StatusReply(message.sequence, body)))
        else:
            raise ConfigurationError(f"{type(message).__name__} is not a client's message")

    def disconnect(self, client: ClientKey, now: Instant) -> None:
        """The client is gone: nobody waits for its requests."""
        for request in tuple(self._clients.get(client, ())):
            self._forget(request, now)

    def tick(self, now: Instant) -> None:
        """Do what is due. Legal at any time."""
        self.identity.tick(now.monotonic_s)
        self._begin_when_introduced(now)
        if self.identity.introduced:
            self.replica.tick(now)

    def turn(self) -> Turn:
        """Take what is to be done."""
        effects = self.replica.effects()
        # Every field is set here; those that `__init__` makes would be thrown away, once for each message.
        turn = _new(Turn)
        writes: list[tuple[bytes, bytes | None]] = []
        sends: list[tuple[NodeId, Message]] = []
        held: list[tuple[NodeId, Message]] = []
        turn.writes, turn.sends, turn.held = writes, sends, held
        turn.answers, self._answers = self._answers, []
        turn.applies, turn.events = effects.applies, effects.events
        turn.wake_at_s, turn.room = effects.wake_at_s, effects.room
        if effects.writes:
            prefix = self._prefix
            for key, value in effects.writes:
                writes.append((prefix + key, value))
        if effects.sends:
            reporting, own = self._reporting, self.id
            for send in effects.sends:
                # What goes to oneself takes the way through the disk queue, whatever its type.
                (held if send[1].__class__ in reporting or send[0] == own else sends).append(send)
        if effects.applies:
            apply = self.machine.apply
            for mark, command in effects.applies:
                apply(mark, command)
        if effects.outcomes:
            for outcome in effects.outcomes:
                self._conclude(outcome, turn)
        identity = self.identity
        if identity.wake_at_s is not None or identity.writes or identity.sends:
            self._take_identity(turn)
        return turn

    def status(self) -> dict[str, object]:
        """How the node does, for people and tools: JSON-able."""
        status = self.replica.status()
        return {
            "node": self.id,
            "protocol": status.protocol,
            "ready": self.identity.introduced,
            "summary": status.summary if self.identity.introduced else self._waiting_for(),
            "store_id": self.identity.store_id.hex(),
            "requests": len(self._waiting),
            **status.values,
        }

    # --- inside -------------------------------------------------------------------------------------

    def _waiting_for(self) -> str:
        missing, needed = self.identity.missing, self.identity.needed
        who = f"node {missing[0]}"
        if len(missing) > 1:
            who = f"{needed} more of nodes {', '.join(map(str, missing))}"
        have = "has" if needed == 1 else "have"
        return (
            f"first start: waiting until {who} {have} recorded this node's store; it votes on nothing before"
        )

    def _take_identity(self, turn: Turn) -> None:
        identity = self.identity
        if identity.writes or identity.sends:
            turn.writes += identity.writes
            for send in identity.sends:
                (turn.held if send[1].__class__ in self._reporting else turn.sends).append(send)
            identity.writes, identity.sends = [], []
        if identity.wake_at_s is not None:
            turn.wake_at_s = identity.wake_at_s

    def _begin_when_introduced(self, now: Instant) -> None:
        if not self._begun and self.identity.introduced:
            self._begun = True
            self._early_bytes = 0
            self.replica.submit([command for _, command in self._waiting.values()], now)

    def _submit(self, client: ClientKey, message: Submit, now: Instant) -> None:
        request, body = message
        try:
            if digest_of(body) != request.digest:
                raise Rejected(f"request {request}: its id was made for another body")
            command = self.machine.command(request, body)
            if not self._begun:
                self._make_room_for(command)
        except Rejected as error:
            self._answers.append((client, Reply(request, ReplyKind.REJECTED, None, str(error)[:1000])))
            return
        again = self._waiting.get(request)
        if again is not None:
            # A retry: its newest connection gets the answer.
            self._drop(request)
        self._waiting[request] = (client, command)
        self._clients.setdefault(client, set()).add(request)
        if again is None and self._begun:
            self.replica.submit((command,), now)

    def _make_room_for(self, command: Command) -> None:
        """Count a command that must wait for the introduction. Raises Rejected."""
        again = command.request in self._waiting
        early_bytes = self._early_bytes + len(command.payload)
        if not again and (len(self._waiting) >= _MAX_EARLY or early_bytes > _MAX_EARLY_BYTES):
            raise Rejected(self._waiting_for())
        self._early_bytes = early_bytes

    def _forget(self, request: RequestId, now: Instant) -> None:
        if self._drop(request) is not None:
            self.replica.abandon(request, now)

    def _drop(self, request: RequestId) -> tuple[ClientKey, Command] | None:
        waiting = self._waiting.pop(request, None)
        if waiting is not None:
            if not self._begun:
                self._early_bytes -= len(waiting[1].payload)
            mine = self._clients[waiting[0]]
            mine.discard(request)
            if not mine:
                del self._clients[waiting[0]]
        return waiting

    def _conclude(self, outcome: Outcome, turn: Turn) -> None:
        waiting = self._drop(outcome.request)
        if waiting is None:
            return
        client, command = waiting
        reply: Any
        if outcome.kind is OutcomeKind.READY:
            answer = self.machine.answer(command)
            reply = _new_tuple(Reply, (outcome.request, ReplyKind.DONE, answer, ""))
        elif outcome.kind is OutcomeKind.REJECTED:
            reply = Reply(outcome.request, ReplyKind.REJECTED, None, outcome.reason)
        elif outcome.kind is OutcomeKind.REDIRECT:
            reply = Reply(outcome.request, ReplyKind.REDIRECT, None, str(outcome.node))
        else:
            reply = Reply(outcome.request, ReplyKind.UNKNOWN, None, outcome.reason)
        turn.answers.append((client, reply))
