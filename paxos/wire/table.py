"""The message table: which messages there are, how each travels, and what each waits for.

One table describes a protocol's messages to everyone: to the wire (how to encode and decode them), to the
drivers (which of them report durable state and so wait for the disk) and to people (`describe`).  Tables
add up, so that a connection can carry a protocol's messages beside the service's own.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, NoReturn, TypeAlias, TypeVar

import attrs

from paxos.errors import ConfigurationError, WireError
from paxos.wire.cbor import MAX_ITEMS, count_items, dumps, loads_strict
from paxos.wire.fields import brief, take_int
from paxos.wire.frames import MAX_FRAME_BYTES, encode_frame

__all__ = [
    "MAX_BODY_BYTES_OF_MANY",
    "MAX_CLOCK",
    "MAX_EPOCH",
    "MAX_GROUP",
    "MAX_MESSAGES",
    "VERSION",
    "Envelope",
    "MessageTable",
    "MessageType",
    "UnpackFailed",
]

M = TypeVar("M")
_Pack: TypeAlias = Callable[[Any], tuple[object, ...]]

#: The version of the message format that this release speaks; first in every message.
VERSION: Final = 1
#: The most messages in one frame.
MAX_MESSAGES: Final = 4096
#: A body longer than this holds one message. No shorter body can have too many CBOR items, so that among
#: honest frames only the rare long ones need to be counted.
MAX_BODY_BYTES_OF_MANY: Final = MAX_ITEMS
#: The highest number of a replication group.
MAX_GROUP: Final = (1 << 32) - 1
#: The highest number of a membership.
MAX_EPOCH: Final = (1 << 32) - 1
#: The highest reading of a Lamport clock.
MAX_CLOCK: Final = (1 << 63) - 1

_MAX_TYPE: Final = 255
_HEADER_FIELDS: Final = 5
_ZERO: Final = 0


class UnpackFailed(WireError):
    """An `unpack` function raised something else than WireError.

    That is a bug of the function's author and not the sender's fault alone; even so it costs no more than
    the connection.  The original exception is the cause.
    """


class Envelope(NamedTuple):
    """A message as it arrived.

    Args:
        group: number of the replication group; 0 until there are more.
        epoch: number of the membership; 0 until it can change.
        clock: the sender's Lamport clock; 0 unless it is tracing.
        message: an instance of a type in the table that decoded it.
    """

    group: int
    epoch: int
    clock: int
    message: Any


# A NamedTuple made by its class's own constructor costs twice as much.
_envelope: Final[Callable[[type[Envelope], Iterable[object]], Envelope]] = tuple.__new__


def _is_type_number(_: object, attribute: "attrs.Attribute[int]", number: object) -> None:
    if type(number) is not int or not 1 <= number <= _MAX_TYPE:
        raise ConfigurationError(
            f"a message type's number is an integer in 1..{_MAX_TYPE}, not {brief(number)}"
        )


@attrs.frozen
class MessageType(Generic[M]):
    """One line of a protocol's table: how a type of message travels and what it waits for.

    Args:
        number: 1..255, the type's name on the wire; never given to another type later.
        type: the class of the messages.
        reports: whether a message *reports durable state* (a promise, an acceptance): it leaves only when
            all writes of its and earlier batches are on disk.  Every other message leaves at once.
        pack: the message's fields, of types that CBOR has.
        unpack: the message from a list of decoded fields; checks count, types and ranges, and raises
            WireError.

    Raises:
        ConfigurationError: `number` is out of range.
    """

    number: int = attrs.field(validator=_is_type_number)
    type: type[M]
    reports: bool
    pack: Callable[[M], tuple[object, ...]]
    unpack: Callable[[Sequence[object]], M]

    @property
    def name(self) -> str:
        """The class's name, as errors and tables give it."""
        return self.type.__name__


class MessageTable:
    """All the messages of a protocol, or of several: encodes and decodes frames of them.

    Args:
        types: in any order.

    Raises:
        ConfigurationError: two types share a number or a class; both are named.
    """

    def __init__(self, types: Iterable[MessageType[Any]]) -> None:
        self.types: Final = tuple(sorted(types, key=lambda one: one.number))
        by_number: dict[int, MessageType[Any]] = {}
        by_class: dict[type[Any], MessageType[Any]] = {}
        for one in self.types:
            other = by_number.setdefault(one.number, one)
            if other is not one:
                raise ConfigurationError(
                    f"messages {other.name} and {one.name} both have number {one.number}"
                )
            other = by_class.setdefault(one.type, one)
            if other is not one:
                raise ConfigurationError(
                    f"message {one.name} has two numbers: {other.number} and {one.number}"
                )
        #: The classes whose messages report durable state; for a driver's hot loop.
        self.reporting: Final = frozenset(one.type for one in self.types if one.reports)
        self._packers = self._heads(0, 0, 0)
        self._unpackers = {one.number: one.unpack for one in self.types}

    def __add__(self, other: "MessageTable") -> "MessageTable":
        return MessageTable(self.types + other.types)

    def __iter__(self) -> Iterator[MessageType[Any]]:
        return iter(self.types)

    def __contains__(self, kind: object) -> bool:
        return kind in self._packers

    def __len__(self) -> int:
        return len(self.types)

    def __repr__(self) -> str:
        return f"<MessageTable: {self._names()}>"

    def reports(self, message: object) -> bool:
        """Whether `message` reports durable state and so waits for the disk."""
        return type(message) in self.reporting

    def encode(
        self,
        messages: Iterable[object],
        *,
        group: int = 0,
        epoch: int = 0,
        clock: int = 0,
        max_bytes: int = MAX_FRAME_BYTES,
    ) -> bytes:
        """`messages` as whole frames, in order: one where they fit, more where they do not, none for none.

        Args:
            messages: instances of types in this table.
            group: number of the replication group, 0..2^32-1.
            epoch: number of the membership, 0..2^32-1.
            clock: the sender's Lamport clock, 0..2^63-1; 0 unless it is tracing.
            max_bytes: the longest body the receiver takes.

        Raises:
            ConfigurationError: a message's type is not in the table.
            WireError: one message alone passes a bound, or has a field that CBOR has no form for.
        """
        if not (0 <= group <= MAX_GROUP and 0 <= epoch <= MAX_EPOCH and 0 <= clock <= MAX_CLOCK):
            _refuse_header([VERSION, group, epoch, 1, clock])
        packers = self._heads(group, epoch, clock) if group or epoch or clock else self._packers
        items: list[tuple[object, ...]] = []
        for message in messages:
            packer = packers.get(type(message))
            if packer is None:
                raise ConfigurationError(
                    f"{type(message).__name__} is no message of this table, which has: {self._names()}"
                )
            head, pack = packer
            items.append(head + pack(message))
        return self._frames(items, max_bytes) if items else b""

    def _heads(self, group: int, epoch: int, clock: int) -> dict[type[Any], tuple[tuple[object, ...], _Pack]]:
        """By class: what such a message starts with, and what packs the rest."""
        return {one.type: ((VERSION, group, epoch, one.number, clock), one.pack) for one in self.types}

    def _frames(self, items: list[tuple[object, ...]], max_bytes: int) -> bytes:
        if len(items) <= MAX_MESSAGES:
            body = dumps(items)
            if len(body) <= max_bytes and len(body) <= MAX_BODY_BYTES_OF_MANY:
                return encode_frame(body)
            if len(items) == 1:
                if len(body) > max_bytes:
                    name = self._name(items[0][3])
                    raise WireError(f"{name}: {len(body)} bytes are too many for a frame of {max_bytes}")
                count_items(body)
                return encode_frame(body)
        half = len(items) // 2
        return self._frames(items[:half], max_bytes) + self._frames(items[half:], max_bytes)

    def decode(self, body: bytes) -> list[Envelope]:
        """The messages in a frame's body, every field checked.

        Raises:
            WireError: anything is not as the format and the table say.
        """
        items = loads_strict(body)
        if type(items) is not list or not 0 < len(items) <= MAX_MESSAGES:
            raise WireError(f"a frame holds an array of 1 to {MAX_MESSAGES} messages, not {brief(items)}")
        if len(body) > MAX_BODY_BYTES_OF_MANY and len(items) > 1:
            raise WireError(
                f"a frame of {len(body)} bytes holds {len(items)} messages; "
                f"above {MAX_BODY_BYTES_OF_MANY} bytes it holds one"
            )
        unpackers, one, zero = self._unpackers, VERSION, _ZERO
        envelopes: list[Envelope] = []
        for item in items:
            if type(item) is not list or len(item) < _HEADER_FIELDS:
                _refuse_header(item)
            version, group, epoch, number, clock, *fields = item
            # Small integers are one object each, so the usual header is known by looking; whatever is not
            # known so is tested.  One type test for all: with `==` alone, True and 1.0 would do for 1.
            usual = version is one and group is epoch is clock is zero and type(number) is int
            if not usual and not (
                type(version) is type(group) is type(epoch) is type(number) is type(clock) is int
                and version == VERSION
                and 0 <= group <= MAX_GROUP
                and 0 <= epoch <= MAX_EPOCH
                and 0 <= clock <= MAX_CLOCK
            ):
                _refuse_header(item)
            unpack = unpackers.get(number)
            if unpack is None:
                raise WireError(f"unknown message type {brief(number)}; known are {self._names()}")
            try:
                message = unpack(fields)
            except WireError:
                raise
            except Exception as error:
                raise UnpackFailed(f"{self._name(number)}: {type(error).__name__}: {error!s:.200}") from error
            envelopes.append(_envelope(Envelope, (group, epoch, clock, message)))
        return envelopes

    def _name(self, number: object) -> str:
        return next(one.name for one in self.types if one.number == number)

    def _names(self) -> str:
        return ", ".join(f"{one.number} {one.name}" for one in self.types) or "none"

    def describe(self) -> str:
        """The table as Markdown, for people."""
        lines = ["| number | message | fields | leaves |", "|---:|---|---|---|"]
        for one in self.types:
            fields = ", ".join(_field_names(one.type)) or "none"
            leaves = "when its writes are on disk" if one.reports else "at once"
            lines.append(f"| {one.number} | `{one.name}` | {fields} | {leaves} |")
        return "\n".join(lines) + "\n"

    def digest(self) -> str:
        """64 hex digits, equal where tables agree on version, numbers, names, fields and what waits."""
        return hashlib.sha256(f"{VERSION}\n{self.describe()}".encode()).hexdigest()


def _field_names(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a NamedTuple, an attrs class, a dataclass or a class with slots."""
    if hasattr(kind, "_fields"):
        return tuple(kind._fields)
    if attrs.has(kind):
        return tuple(field.name for field in attrs.fields(kind))
    return tuple(getattr(kind, "__dataclass_fields__", getattr(kind, "__slots__", ())))


def _refuse_header(item: object) -> NoReturn:
    """Say which of the five fields that every message starts with is wrong."""
    if type(item) is not list or len(item) < _HEADER_FIELDS:
        raise WireError(f"a message is an array of at least {_HEADER_FIELDS} items, not {brief(item)}")
    version, group, epoch, number, clock = item[:_HEADER_FIELDS]
    if type(version) is int and version != VERSION:
        raise WireError(f"message version {brief(version)}; this release speaks version {VERSION}")
    take_int(version, "message.version", VERSION, VERSION)
    take_int(group, "message.group", 0, MAX_GROUP)
    take_int(epoch, "message.epoch", 0, MAX_EPOCH)
    take_int(number, "message.type", 1, _MAX_TYPE)
    take_int(clock, "message.clock", 0, MAX_CLOCK)
    raise AssertionError("the header is as it should be")
