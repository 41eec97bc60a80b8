"""One node, sans-I/O: a replica, what serves its clients, and its identity.

This is what every driver runs: the simulator, the explorer and the network call the same methods of
the same class.  A driver hands in messages, client requests and the time, then takes a `Turn`, which
says what to write, what to send at once, what to send when the writes are on disk, and what to tell
clients.

What clients get depends on what the protocol decides: named decrees (`DecreeService`), or a log of commands
for a state machine (`LogService`).  The rest is the same for both.
"""

import json
import struct
from collections.abc import Callable
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.contract import (
    Configuration,
    Decides,
    Draw,
    Effects,
    Instant,
    Message,
    ProtocolDescription,
    Records,
    Replica,
    StateMachine,
)
from paxos.errors import ConfigurationError, RecordError
from paxos.service.charter import charter_record, require_charter
from paxos.service.decree_service import DecreeService
from paxos.service.identity import IDENTITY_PREFIX, Identity
from paxos.service.log import LogService
from paxos.service.log_messages import (
    LOG_MESSAGES,
    SnapshotAsk,
    SnapshotChunk,
    SnapshotKept,
    SnapshotOffer,
)
from paxos.service.messages import SERVICE_MESSAGES, AskStatus, Introduce, Introduced, LostDisk, StatusReply
from paxos.service.settings import LogSettings
from paxos.service.snapshots import SNAPSHOT_PREFIX
from paxos.service.turn import ClientKey, Turn
from paxos.wire import MessageTable

__all__ = ["MachineMaker", "Node", "message_table", "replica_prefix"]

# Every message is looked up here: `isinstance` would take four times as long.
_IDENTITY_MESSAGES: Final = frozenset((Introduce, Introduced, LostDisk))
_OF_THE_NODE: Final = _IDENTITY_MESSAGES | {SnapshotOffer, SnapshotAsk, SnapshotChunk, SnapshotKept}
_new: Final = object.__new__

#: Makes a state machine that nothing was applied to.
MachineMaker = Callable[[], StateMachine]


def message_table(protocol: ProtocolDescription) -> MessageTable:
    """Every message that travels to or from a node of this protocol."""
    if protocol.decides is Decides.LOG:
        return protocol.messages + SERVICE_MESSAGES + LOG_MESSAGES
    return protocol.messages + SERVICE_MESSAGES


def replica_prefix(group: int, epoch: int) -> bytes:
    """What the keys of a replica's records begin with in the node's store."""
    return b"r" + struct.pack(">II", group, epoch)


class Node:
    """One member of a cluster, without its clock, sockets and disk.

    Args:
        protocol: what it runs.
        configuration: its replica's.
        store_id: 16 random bytes, made with the store.
        records: everything the store held.
        draw: supplies randomness.
        now: the time.
        machine: makes the state machine of a protocol that decides a log.
        log: settings of the service of a log.
        machine_name: what the state machine is called, which must not change under a store.
        skip: the client and number of a request of a log that counts as carried out, with an empty answer, if
            the state machine raises on it. An operator decides so, and starts every node with it.

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
        machine: MachineMaker | None = None,
        log: LogSettings | None = None,
        machine_name: str = "",
        skip: tuple[bytes, int] | None = None,
    ) -> None:
        self.protocol: ProtocolDescription = protocol
        self.id: NodeId = configuration.node
        self._machine_name = machine_name
        self._prefix = replica_prefix(configuration.group, configuration.epoch)
        self._reporting = protocol.messages.reporting | SERVICE_MESSAGES.reporting
        if protocol.decides is Decides.LOG:
            self._reporting |= LOG_MESSAGES.reporting
        require_charter(protocol, configuration, records, machine=machine_name)
        self.identity: Identity = Identity(
            configuration.node,
            configuration.members,
            store_id,
            records,
            now.monotonic_s,
            configuration.observers,
        )
        if not records:
            # Before the replica's first record, in the same batch or an earlier one.
            self.identity.writes.insert(0, charter_record(protocol, configuration, machine_name))
        cut = len(self._prefix)
        own, snapshots = {}, {}
        for key, value in records.items():
            if key.startswith(self._prefix):
                own[key[cut:]] = value
            elif key.startswith(SNAPSHOT_PREFIX):
                snapshots[key] = value
            elif not key.startswith(IDENTITY_PREFIX):
                raise RecordError(f"record {key!r:.80}: of no replica that node {self.id} is configured for")
        self.replica: Replica = protocol.replica(configuration, own, draw, now)
        #: Whether the replica is given requests; before, they only wait.
        self._begun = self.identity.introduced
        self.service: DecreeService | LogService
        if protocol.decides is Decides.DECREES:
            self.service = DecreeService(self.replica, self._begun)
        elif machine is None:
            raise ConfigurationError(f"protocol {protocol.name!r} decides a log: it needs a state machine")
        else:
            self.service = LogService(
                self.id,
                self.replica,
                machine(),
                log or LogSettings(),
                store_id,
                snapshots,
                now,
                self._begun,
                skip,
                protocol.orders,
                configuration.members,
            )

    @property
    def machine(self) -> Any:
        """What holds the state: a `DecreeBook`, or the state machine."""
        return self.service.machine

    # --- called by the driver -------------------------------------------------------------------

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message of the member `sender`, which the driver has authenticated.

        Raises:
            ProtocolBreach, NodeStopped: the node must stop; the error says why.
        """
        kind = message.__class__
        if kind not in _OF_THE_NODE:
            if self.identity.introduced or sender == self.id:
                # What the own disk reports is said once, and not a vote: it always gets through.
                self.replica.receive(sender, message, now)
            # Else dropped: nothing may be promised yet, and every question is repeated.
        elif kind in _IDENTITY_MESSAGES:
            self.identity.receive(sender, message)
            self._begin_when_introduced(now)
        else:
            self.service.receive(sender, message, now)

    def request(self, client: ClientKey, message: Message, now: Instant) -> None:
        """Handle one message of a client; the driver hands answers to `client` back to it."""
        if isinstance(message, AskStatus):
            body = json.dumps(self.status(), sort_keys=True).encode()
            self.service.answers.append((client, StatusReply(message.sequence, body)))
        else:
            why_not_yet = "" if self._begun else self._waiting_for()
            self.service.request(client, message, now, why_not_yet)

    def disconnect(self, client: ClientKey, now: Instant) -> None:
        """The client is gone: nobody waits for its requests."""
        self.service.disconnect(client, now)

    def tick(self, now: Instant) -> None:
        """Do what is due. Legal at any time."""
        self.identity.tick(now.monotonic_s)
        self._begin_when_introduced(now)
        self.service.tick(now)
        if self.identity.introduced:
            self.replica.tick(now)

    def turn(self) -> Turn:
        """Take what is to be done."""
        service = self.service
        service.flush()
        effects = self.replica.effects()
        # Every field is set here; those that `__init__` makes would be thrown away, once for each message.
        turn = _new(Turn)
        turn.writes, turn.sends, turn.held, turn.answers = [], [], [], []
        turn.applies, turn.events = effects.applies, effects.events
        turn.wake_at_s = effects.wake_at_s
        if effects.writes or effects.sends:
            self._carry(effects, turn)
        while service.settle(effects, turn):
            # The replica was told something, and may want something for it.
            effects = self.replica.effects()
            turn.applies += effects.applies
            turn.events += effects.events
            turn.wake_at_s = effects.wake_at_s
            self._carry(effects, turn)
        identity = self.identity
        if identity.wake_at_s is not None or identity.writes or identity.sends:
            self._take_identity(turn)
        return turn

    def _carry(self, effects: Effects, turn: Turn) -> None:
        """What the replica wants written and sent."""
        if effects.writes:
            prefix, writes = self._prefix, turn.writes
            for key, value in effects.writes:
                writes.append((prefix + key, value))
        if effects.sends:
            reporting, own, sends, held = self._reporting, self.id, turn.sends, turn.held
            for send in effects.sends:
                # What goes to oneself takes the way through the disk queue, whatever its type.
                (held if send[1].__class__ in reporting or send[0] == own else sends).append(send)

    def status(self) -> dict[str, object]:
        """How the node does, for people and tools: JSON-able."""
        status = self.replica.status()
        return {
            "node": self.id,
            "protocol": status.protocol,
            "ready": self.identity.introduced,
            "summary": status.summary if self.identity.introduced else self._waiting_for(),
            "store_id": self.identity.store_id.hex(),
            **({"machine": self._machine_name} if self._machine_name else {}),
            **self.service.status(),
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
            self.service.begin(now)
