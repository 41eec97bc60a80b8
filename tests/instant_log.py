"""The smallest protocol that decides a log: one member, which commits a command as soon as it is on its disk.

It keeps the contract of a replica to the letter and has no protocol in it, so that what is above a log can be
tested apart from every protocol. It can also behave as one that does not lead, holds commands back, or does
not know what became of them. `Host` runs a node of it by hand: its disk, its own messages, its restarts.
"""

import copy
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from typing import Any, NamedTuple, Self

import attrs

from paxos.ballot import NodeId
from paxos.command import Command, RequestId, pack_command, take_command
from paxos.contract import (
    Configuration,
    Decides,
    Draw,
    Effects,
    Instant,
    Mark,
    Message,
    Outcome,
    OutcomeKind,
    ProtocolDescription,
    Records,
    StateMachine,
    Status,
)
from paxos.errors import ConfigurationError
from paxos.quorum import Majority
from paxos.service import LogSettings, Node, Turn
from paxos.service.batches import marker_command, take_run
from paxos.service.log import LogService
from paxos.service.log_messages import Level, Query, SubmitMany
from paxos.wire import (
    MessageTable,
    MessageType,
    decode_record,
    dumps,
    encode_record,
    expect_fields,
    loads_strict,
    take_int,
)

_SLOT = b"a"
_COMPACTED = b"c"


class Mode(Enum):
    """How it treats what it is asked."""

    LEAD = "lead"
    FOLLOW = "follow"  # another node leads: ask that
    HOLD = "hold"  # take it, and do nothing with it until `release`
    DOUBT = "doubt"  # take it, and say that nobody knows what became of it
    REFUSE = "refuse"  # no room


class Kept(NamedTuple):
    """To itself: everything up to this slot is on disk."""

    slot: int


def _kept(fields: Sequence[object]) -> Kept:
    (slot,) = expect_fields(fields, 1, "Kept")
    return Kept(take_int(slot, "Kept.slot", 1, 1 << 60))


@attrs.frozen
class InstantSettings:
    """There is nothing to set."""


class InstantLog:
    """The replica."""

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        self.node = configuration.node
        self.mode = Mode.LEAD
        self.leader: NodeId = 9
        self.room = 1000
        #: Reads are told a place that is not applied here yet, as a follower is by its leader.
        self.ahead = 0
        self.instructed: list[tuple[str, NodeId]] = []
        self.installed: list[tuple[Mark, bytes]] = []
        self.compacted = 0
        if _COMPACTED in records:
            (self.compacted,) = decode_record(records[_COMPACTED], 2, (1,), _COMPACTED)
        self._log: dict[int, Command] = {}
        for key, value in sorted(records.items()):
            if key.startswith(_SLOT):
                (command,) = decode_record(value, 1, (1,), key)
                self._log[int.from_bytes(key[1:], "big")] = take_command(command, "record")
        self._last = max(self._log, default=self.compacted)
        self._given = self.compacted
        self._waiting: list[Command] = []
        self._effects = Effects()
        self._commit(self._last)

    @property
    def slots(self) -> list[int]:
        """Those that were not forgotten."""
        return sorted(self._log)

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Each command is a slot."""
        if self.mode is Mode.HOLD:
            self._waiting += commands
        elif self.mode is Mode.LEAD:
            self._place(commands)
        else:
            self._effects.outcomes += [self._outcome(command.request) for command in commands]

    def release(self) -> None:
        """Lead, and begin with what was held back."""
        self.mode = Mode.LEAD
        waiting, self._waiting = self._waiting, []
        self._place(waiting)

    def learn(self, *commands: Command) -> None:
        """Others have decided these."""
        self._place(commands)

    def want_transfer(self, recipient: NodeId) -> None:
        """That node needs what is gone here."""
        self._effects.transfers.append((recipient, self.compacted))

    def _place(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self._last += 1
            self._log[self._last] = command
            record = encode_record(1, 1, [pack_command(command)])
            self._effects.writes.append((_SLOT + self._last.to_bytes(8, "big"), record))
        if commands:
            self._effects.sends.append((self.node, Kept(self._last)))

    def _outcome(self, request: RequestId) -> Outcome:
        if self.mode is Mode.FOLLOW:
            return Outcome(request, OutcomeKind.REDIRECT, node=self.leader)
        if self.mode is Mode.DOUBT:
            return Outcome(request, OutcomeKind.UNKNOWN, reason="deposed")
        return Outcome(request, OutcomeKind.REJECTED, reason="no room")

    def read(self, request: RequestId, now: Instant) -> None:
        """What is committed was given out before this is answered."""
        if self.mode is Mode.LEAD:
            self._effects.outcomes.append(Outcome(request, OutcomeKind.READY, mark=self._given + self.ahead))
        elif self.mode is not Mode.HOLD:
            self._effects.outcomes.append(self._outcome(request))

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Its own disk is all that it hears of."""
        assert sender == self.node
        self._commit(message.slot)

    def _commit(self, upto: int) -> None:
        for slot in range(self._given + 1, upto + 1):
            self._effects.applies.append((slot, self._log[slot]))
        self._given = max(self._given, upto)

    def tick(self, now: Instant) -> None:
        """Nothing is due, ever."""

    def compact(self, mark: Mark, now: Instant) -> None:
        """Forget what a snapshot covers."""
        assert isinstance(mark, int)
        for slot in [slot for slot in self._log if slot <= mark]:
            del self._log[slot]
            self._effects.writes.append((_SLOT + slot.to_bytes(8, "big"), None))
        self.compacted = max(self.compacted, mark)
        self._effects.writes.append((_COMPACTED, encode_record(2, 1, [self.compacted])))

    def part(self, mark: Mark) -> bytes:
        """Something that must come back."""
        return f"part {mark}".encode()

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """Go on after a snapshot, whatever was to be given out up to it."""
        assert isinstance(mark, int)
        self.installed.append((mark, part))
        self._effects.applies = [each for each in self._effects.applies if int(str(each[0])) > mark]
        self._given = max(self._given, mark)
        self._last = max(self._last, mark)
        self.compact(mark, now)

    def instruct(self, action: str, node: NodeId, now: Instant) -> None:
        """Knows one action."""
        if action != "transfer":
            raise ConfigurationError(f"there is no action {action!r}")
        self.instructed.append((action, node))

    def abandon(self, request: RequestId, now: Instant) -> None:
        """It goes on all the same."""

    def effects(self) -> Effects:
        """What has gathered."""
        effects, self._effects = self._effects, Effects()
        effects.room = 0 if self.mode is Mode.REFUSE else self.room - len(self._waiting)
        return effects

    def status(self) -> Status:
        """For people."""
        return Status("instant", self.node, f"{self._last} slots")

    def clone(self) -> Self:
        """A copy."""
        return copy.deepcopy(self)

    def fingerprint(self) -> Hashable:
        """All of it."""
        return self._last, self._given, self.compacted, self.mode


PROTOCOL = ProtocolDescription(
    name="instant",
    replica=InstantLog,
    settings=InstantSettings,
    messages=MessageTable((MessageType(1, Kept, reports=True, pack=tuple, unpack=_kept),)),
    decides=Decides.LOG,
    quorums=Majority,
)


class Ledger:
    """A machine that remembers all that it was told, in order, and so notices whatever comes twice."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def apply(self, command: bytes) -> bytes:
        if command.startswith(b"raise"):
            raise ValueError("no such thing")
        if command == b"none":
            return None  # type: ignore[return-value]
        self.lines.append(command)
        if command.startswith(b"long "):
            return bytes(int(command[5:]))
        return b"%d %s" % (len(self.lines), command)

    def footprint(self, command: bytes) -> Any:
        raise AssertionError("a log that orders everything does not ask")

    def query(self, query: bytes) -> bytes:
        if query == b"raise":
            raise ValueError("no such question")
        if query.startswith(b"long "):
            return bytes(int(query[5:]))
        return b"%d" % len(self.lines)

    def snapshot(self) -> bytes:
        return dumps(self.lines)

    def restore(self, snapshot: bytes) -> None:
        lines: Any = loads_strict(snapshot)
        self.lines = lines


class Host:
    """One node with its disk. `run` lets it go on until it has no more to say to itself."""

    def __init__(
        self,
        node: NodeId = 1,
        *,
        machine: Callable[[], StateMachine] = Ledger,
        members: tuple[NodeId, ...] | None = None,
        skip: tuple[bytes, int] | None = None,
        protocol: ProtocolDescription | None = None,
        **settings: Any,
    ) -> None:
        self.id = node
        self._protocol = protocol or PROTOCOL
        self.disk: dict[bytes, bytes] = {}
        self.now_s = 100.0
        self.answers: list[tuple[Any, Any]] = []
        self.sent: list[tuple[NodeId, Message]] = []
        self.events: list[Any] = []
        self.skip = skip
        self.slow = False
        self._held: list[tuple[NodeId, Message]] = []
        self._members = members or (node,)
        self._machine = machine
        self._settings = LogSettings(**{"piece_s": 0, "growth": 0, **settings})
        self.start()

    def start(self) -> None:
        """Begin a life with what is on disk."""
        self._held.clear()
        self.node = Node(
            self._protocol,
            Configuration(self.id, Majority(self._members)),
            bytes([self.id]) * 16,
            dict(self.disk),
            lambda name, bound: 0,
            self.now,
            machine=self._machine,
            log=self._settings,
            skip=self.skip,
        )

    @property
    def now(self) -> Instant:
        return Instant(self.now_s)

    @property
    def service(self) -> LogService:
        assert isinstance(self.node.service, LogService)
        return self.node.service

    @property
    def replica(self) -> InstantLog:
        assert isinstance(self.node.replica, InstantLog)
        return self.node.replica

    @property
    def lines(self) -> list[bytes]:
        machine = self.node.machine
        assert isinstance(machine, Ledger)
        return machine.lines

    def turn(self) -> Turn:
        """One turn, carried out; what waits for the disk stays there while that is slow."""
        turn = self.node.turn()
        for key, value in turn.writes:
            if value is None:
                self.disk.pop(key, None)
            else:
                self.disk[key] = value
        self._held += turn.held
        assert all(recipient != self.id for recipient, _ in turn.sends)
        self.sent += turn.sends
        self.answers += turn.answers
        self.events += turn.events
        return turn

    def run(self) -> list[Any]:
        """What clients were told until nothing more happens by itself: messages."""
        for _ in range(1000):
            turn = self.turn()
            if self.slow or not self._held:
                break
            self.synced()
        else:
            raise AssertionError("it does not end")
        assert turn.wake_at_s is None or turn.wake_at_s >= 0
        return self.told()

    def synced(self) -> None:
        """The disk holds all that there is, and what waited for it leaves."""
        held, self._held = self._held, []
        for recipient, message in held:
            if recipient == self.id:
                self.node.receive(self.id, message, self.now)
            else:
                self.sent.append((recipient, message))

    def told(self) -> list[Any]:
        """What clients were told since the last time: messages."""
        answers, self.answers = self.answers, []
        return [message for _, message in answers]

    def wait(self, seconds: float = 0.0, ticks: int = 1) -> list[Any]:
        """Let time pass."""
        told = []
        for _ in range(ticks):
            self.now_s += seconds
            self.node.tick(self.now)
            told += self.run()
        return told

    def ask(self, message: Message, client: Hashable = "client") -> list[Any]:
        """What clients are told after this message of one."""
        self.node.request(client, message, self.now)
        return self.run()

    def submit(self, sequence: int, *bodies: bytes, client: Hashable = "client", **more: Any) -> list[Any]:
        """Requests of one client."""
        return self.ask(SubmitMany(make_run(sequence, *bodies, **more)), client)

    def query(self, body: bytes = b"", level: Level = Level.LINEARIZABLE, known: bytes = b"") -> list[Any]:
        """A query of a client."""
        return self.ask(Query(7, level, body, known))

    def marker(self) -> None:
        """Have a marker decided, and the snapshot at it made to its end."""
        self.replica.learn(marker_command(self.id, 1000))
        self.run()
        self.wait(ticks=200)

    def take(self, sender: NodeId, message: Message) -> list[Any]:
        """A message of another node arrives."""
        self.node.receive(sender, message, self.now)
        return self.run()


def make_run(
    sequence: int, *bodies: bytes, name: bytes = b"c" * 16, birth: int = 0, acknowledged: int = 0
) -> Any:
    """A run as a node makes it of what a client sent."""
    return take_run(name, birth, acknowledged, sequence, list(bodies))
