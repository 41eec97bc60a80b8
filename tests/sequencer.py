"""A toy that orders only what conflicts: one member numbers all commands, and all apply them as they like.

The lowest member gives each command that it is sent a number, once that is on its disk.  Every node applies
commands out of their turn now and then, but never one before another that conflicts with it and has a lower
number.  So it looks from above like a protocol without a leader, and there is nothing in it that could be
wrong: what a run finds, is wrong in the service, the machine, or the judgement. Marks are the node that asked
and the number.
"""

import copy
from collections.abc import Hashable, Sequence
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
    Orders,
    Outcome,
    OutcomeKind,
    ProtocolDescription,
    Records,
    Status,
)
from paxos.errors import ConfigurationError
from paxos.quorum import Majority
from paxos.service.batches import is_marker
from paxos.wire import (
    MessageTable,
    MessageType,
    decode_record,
    encode_record,
    expect_fields,
    take_int,
    take_node,
)

_SLOT = b"a"
_COMPACTED = b"c"
_REPEAT_S = 0.3
_AT_ONCE = 40
#: A marker so soon after another is not needed.
_SURPLUS = 6
_TOP = 1 << 60


class Propose(NamedTuple):
    """To the one who numbers."""

    command: Command


class Surplus(NamedTuple):
    """A marker was not needed. Its number in its maker's count, and life."""

    birth: int
    sequence: int
    digest: int


class Decided(NamedTuple):
    """A command has a number, durably."""

    slot: int
    owner: NodeId
    command: Command


class Ask(NamedTuple):
    """From which number on a node knows nothing."""

    slot: int


@attrs.frozen
class SequencerSettings:
    """There is nothing to set."""


def _decided(fields: Sequence[object]) -> Decided:
    slot, owner, command = expect_fields(fields, 3, "Decided")
    return Decided(
        take_int(slot, "Decided.slot", 1, _TOP),
        take_node(owner, "Decided.owner"),
        take_command(command, "Decided.command"),
    )


def _propose(fields: Sequence[object]) -> Propose:
    (command,) = expect_fields(fields, 1, "Propose")
    return Propose(take_command(command, "Propose.command"))


def _ask(fields: Sequence[object]) -> Ask:
    (slot,) = expect_fields(fields, 1, "Ask")
    return Ask(take_int(slot, "Ask.slot", 1, _TOP))


def _surplus(fields: Sequence[object]) -> Surplus:
    birth, sequence, digest = expect_fields(fields, 3, "Surplus")
    return Surplus(
        take_int(birth, "Surplus.birth", 0, _TOP),
        take_int(sequence, "Surplus.sequence", 0, _TOP),
        take_int(digest, "Surplus.digest", 0, _TOP),
    )


class Sequencer:
    """The replica."""

    def __init__(self, configuration: Configuration, records: Records, draw: Draw, now: Instant) -> None:
        self.node = configuration.node
        self._members = configuration.members
        self._head = configuration.members[0]
        self._draw = draw
        self._compacted = 0
        if _COMPACTED in records:
            (self._compacted,) = decode_record(records[_COMPACTED], 2, (1,), _COMPACTED)
        self._log: dict[int, tuple[NodeId, Command]] = {}
        for key, value in sorted(records.items()):
            if key.startswith(_SLOT):
                owner, command = decode_record(value, 1, (1,), key)
                self._log[int.from_bytes(key[1:], "big")] = owner, take_command(command, "record")
        # All up to here are known; what is applied of them; what is put off.
        self._known = self._compacted
        self._applied: set[int] = set()
        self._held: set[int] = set()
        self._pending: dict[RequestId, Command] = {}
        self._effects = Effects()
        self._repeat_at_s = now.monotonic_s
        self._advance(now)

    # --- called by the driver ----------------------------------------------------------------------

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        """Each command gets a number of its own."""
        for command in commands:
            self._pending[command.request] = command
            self._propose(self.node, command, now)
        self._repeat_at_s = now.monotonic_s + _REPEAT_S

    def read(self, request: RequestId, now: Instant) -> None:
        """A read is a command here."""
        raise AssertionError("not asked of a protocol that orders only what conflicts")

    def _propose(self, owner: NodeId, command: Command, now: Instant) -> None:
        if self.node != self._head:
            self._effects.sends.append((self._head, Propose(command)))
            return
        if any(each.request == command.request for _, each in self._log.values()):
            return
        if is_marker(command) and any(
            is_marker(each) for slot, (_, each) in self._log.items() if slot > self._last - _SURPLUS
        ):
            request = command.request
            answer = Surplus(request.birth, request.sequence, int.from_bytes(request.digest, "big"))
            self._effects.sends.append((owner, answer))
            return
        slot = self._last + 1
        self._keep(slot, owner, command)
        for member in self._members:
            self._effects.sends.append((member, Decided(slot, owner, command)))

    @property
    def _last(self) -> int:
        return max(self._log, default=self._compacted)

    def _keep(self, slot: int, owner: NodeId, command: Command) -> None:
        self._log[slot] = owner, command
        record = encode_record(1, 1, [owner, pack_command(command)])
        self._effects.writes.append((_SLOT + slot.to_bytes(8, "big"), record))

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        """Handle one message."""
        if isinstance(message, Propose):
            if self.node == self._head:
                self._propose(sender, message.command, now)
        elif isinstance(message, Decided):
            if message.slot > self._compacted and message.slot not in self._log:
                self._keep(message.slot, message.owner, message.command)
            if sender == self._head:
                self._advance(now, message.slot)
        elif isinstance(message, Ask):
            self._tell(sender, message.slot)
        elif isinstance(message, Surplus):
            for request in [each for each in self._pending if _is_named(each, message)]:
                del self._pending[request]
                self._effects.outcomes.append(Outcome(request, OutcomeKind.REJECTED, reason="not needed"))

    def _tell(self, sender: NodeId, slot: int) -> None:
        if slot <= self._compacted:
            self._effects.transfers.append((sender, None))
        for each in range(max(slot, self._compacted + 1), min(slot + _AT_ONCE, self._known + 1)):
            self._effects.sends.append((sender, Decided(each, *self._log[each])))

    def tick(self, now: Instant) -> None:
        """What was put off is put off no longer; questions are repeated."""
        if self._held:
            self._held.clear()
            self._apply()
        if now.monotonic_s >= self._repeat_at_s:
            self._repeat_at_s = now.monotonic_s + _REPEAT_S
            if self.node != self._head:
                self._effects.sends.append((self._head, Ask(self._known + 1)))
                for command in list(self._pending.values())[:_AT_ONCE]:
                    self._effects.sends.append((self._head, Propose(command)))

    # --- the order ---------------------------------------------------------------------------------------

    def _advance(self, now: Instant, upto: int = _TOP) -> None:
        """More may be known without a gap; the one who numbers waits for its disk."""
        while self._known + 1 in self._log and (self.node != self._head or self._known < upto):
            self._known += 1
            if self._draw("hold", 4):
                self._held.add(self._known)
        self._apply()

    def _waiting(self) -> list[int]:
        return [slot for slot in range(self._compacted + 1, self._known + 1) if slot not in self._applied]

    def _may_pass(self, slot: int, waiting: Sequence[int]) -> bool:
        """Whether nothing that waits and has a lower number conflicts with it."""
        touched = self._log[slot][1].footprint
        return not any(self._log[other][1].footprint.conflicts(touched) for other in waiting if other < slot)

    def _apply(self) -> None:
        while True:
            waiting = self._waiting()
            ready = [slot for slot in waiting if slot not in self._held and self._may_pass(slot, waiting)]
            if not ready:
                return
            self._apply_one(ready[-1] if self._draw("last", 2) else ready[0])

    def _apply_one(self, slot: int) -> None:
        owner, command = self._log[slot]
        self._applied.add(slot)
        self._pending.pop(command.request, None)
        self._effects.applies.append(((owner, slot), command))

    # --- snapshots -----------------------------------------------------------------------------------------

    def compact(self, mark: Mark, now: Instant) -> None:
        """Forget what a snapshot covers."""
        upto = _slot_of(mark)
        for slot in [slot for slot in self._log if slot <= upto]:
            del self._log[slot]
            self._effects.writes.append((_SLOT + slot.to_bytes(8, "big"), None))
        self._compacted = max(self._compacted, upto)
        self._applied = {slot for slot in self._applied if slot > upto}
        self._held = {slot for slot in self._held if slot > upto}
        self._effects.writes.append((_COMPACTED, encode_record(2, 1, [self._compacted])))

    def part(self, mark: Mark) -> bytes:
        """Something that must come back."""
        return b"%d" % _slot_of(mark)

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """Go on after a snapshot."""
        upto = _slot_of(mark)
        if part != b"%d" % upto:
            raise ConfigurationError(f"the part of {mark} is {part!r}")
        self._effects.applies = [each for each in self._effects.applies if _slot_of(each[0]) > upto]
        self._known = max(self._known, upto)
        self._pending.clear()
        self.compact(mark, now)
        self._advance(now)

    # --- the rest ------------------------------------------------------------------------------------------

    def instruct(self, action: str, node: NodeId, now: Instant) -> None:
        """Knows no action."""
        raise ConfigurationError(f"there is no action {action!r}")

    def abandon(self, request: RequestId, now: Instant) -> None:
        """It goes on all the same."""

    def effects(self) -> Effects:
        """What has gathered."""
        effects, self._effects = self._effects, Effects()
        effects.room = max(60 - len(self._pending), 0)
        # What is put off waits only for somebody to look.
        effects.wake_at_s = self._repeat_at_s - _REPEAT_S / 2 if self._held else self._repeat_at_s
        return effects

    def status(self) -> Status:
        """For people."""
        return Status("sequencer", self.node, f"{self._known} numbers")

    def clone(self) -> Self:
        """A copy."""
        return copy.deepcopy(self)

    def fingerprint(self) -> Hashable:
        """All of it."""
        return self._known, self._compacted, tuple(sorted(self._applied)), tuple(self._pending)


def _is_named(request: RequestId, answer: Surplus) -> bool:
    digest = int.from_bytes(request.digest, "big")
    return (request.birth, request.sequence, digest) == answer


def _slot_of(mark: Any) -> int:
    slot = mark[1]
    assert isinstance(slot, int)
    return slot


PROTOCOL = ProtocolDescription(
    name="sequencer",
    replica=Sequencer,
    settings=SequencerSettings,
    messages=MessageTable(
        (
            MessageType(
                1, Propose, reports=False, pack=lambda m: (pack_command(m.command),), unpack=_propose
            ),
            MessageType(
                2,
                Decided,
                reports=True,
                pack=lambda m: (m.slot, m.owner, pack_command(m.command)),
                unpack=_decided,
            ),
            MessageType(3, Ask, reports=False, pack=tuple, unpack=_ask),
            MessageType(4, Surplus, reports=False, pack=tuple, unpack=_surplus),
        )
    ),
    decides=Decides.LOG,
    quorums=Majority,
    orders=Orders.CONFLICTS,
)
