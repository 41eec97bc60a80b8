"""Commands: what clients want decided, what it touches, and who asked.

The library never looks into a command.  It sees opaque bytes, a *footprint* that says which keys they
read and write, and a *request id* that says which client asked and makes a retry recognisable.
Protocols that order everything ignore the footprint; EPaxos orders only what conflicts; single-decree
protocols use the one key as the decree's name.
"""

import hashlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

from paxos.errors import ConfigurationError, WireError
from paxos.wire import expect_fields, take_bool, take_bytes, take_int

__all__ = [
    "ALL",
    "HOUSEKEEPING",
    "MARKER",
    "MAX_COMMAND_BYTES",
    "MAX_KEYS",
    "MAX_KEY_BYTES",
    "NOP",
    "NOTHING",
    "Command",
    "Footprint",
    "KeyRange",
    "RequestId",
    "digest_of",
    "is_marker",
    "pack_command",
    "take_command",
    "take_request_id",
]

#: The longest key (and decree name), in bytes.
MAX_KEY_BYTES: Final = 1024
#: The most keys and ranges one command may name.
MAX_KEYS: Final = 65_536
#: The longest command, in bytes.
MAX_COMMAND_BYTES: Final = 1 << 20

_CLIENT_BYTES: Final = 16
_DIGEST_BYTES: Final = 8
_MAX_SEQUENCE: Final = (1 << 63) - 1


class KeyRange(NamedTuple):
    """The keys from `low` up to but not including `high`; `high` None means no upper end."""

    low: bytes
    high: bytes | None = None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self.low <= key and (self.high is None or key < self.high)

    def overlaps(self, other: "KeyRange") -> bool:
        """Whether some key lies in both ranges."""
        return (self.high is None or other.low < self.high) and (other.high is None or self.low < other.high)


class Footprint(NamedTuple):
    """What a command reads and writes: point keys, half-open ranges, or everything.

    Use `Footprint.of` to build one from untrusted input; it checks and normalises.

    Args:
        reads: keys read, sorted, without repetition.
        writes: keys written, likewise.
        read_ranges: ranges read.
        write_ranges: ranges written.
        everything: the command conflicts with every other (`ALL`).
    """

    reads: tuple[bytes, ...] = ()
    writes: tuple[bytes, ...] = ()
    read_ranges: tuple[KeyRange, ...] = ()
    write_ranges: tuple[KeyRange, ...] = ()
    everything: bool = False

    @staticmethod
    def of(
        *,
        reads: Iterable[bytes] = (),
        writes: Iterable[bytes] = (),
        read_ranges: Iterable[tuple[bytes, bytes | None]] = (),
        write_ranges: Iterable[tuple[bytes, bytes | None]] = (),
    ) -> "Footprint":
        """A checked footprint.

        Raises:
            ConfigurationError: a key that is not bytes or too long, an empty range, too many keys.
        """
        footprint = Footprint(
            _keys(reads, "reads"),
            _keys(writes, "writes"),
            _ranges(read_ranges, "read_ranges"),
            _ranges(write_ranges, "write_ranges"),
        )
        named = sum(map(len, footprint[:4]))
        if named > MAX_KEYS:
            raise ConfigurationError(f"a footprint names {named} keys and ranges; the limit is {MAX_KEYS}")
        return footprint

    @property
    def writes_something(self) -> bool:
        """Whether the command can change state."""
        return self.everything or bool(self.writes or self.write_ranges)

    def conflicts(self, other: "Footprint") -> bool:
        """Whether one writes what the other reads or writes, so that their order matters.

        Source: Moraru et al., SOSP 2013, section 4.1 (command interference).
        """
        if self.everything or other.everything:
            # Only a command that touches nothing at all is indifferent to ALL.
            return self != NOTHING and other != NOTHING
        return (
            _touch(self.writes, self.write_ranges, other.writes, other.write_ranges)
            or _touch(self.writes, self.write_ranges, other.reads, other.read_ranges)
            or _touch(self.reads, self.read_ranges, other.writes, other.write_ranges)
        )


#: Conflicts with everything.
ALL: Final = Footprint(everything=True)
#: Touches nothing: the footprint of a no-op.
NOTHING: Final = Footprint()


class RequestId(NamedTuple):
    """Who asked, and for what: equal ids are the same request, however often it arrives.

    Args:
        client: 16 random bytes made by the client when it starts.
        birth: the number of the last barrier the client knew then; 0 where there are none.
        sequence: the client's own count of its requests, from 1.
        digest: 8 bytes of SHA-256 of the command, so that one number used for two commands
            makes two ids and not two replicas that disagree.
    """

    client: bytes
    birth: int
    sequence: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.client.hex()[:8]}#{self.sequence}"


class Command(NamedTuple):
    """Opaque bytes with their footprint and the request they answer.

    Args:
        request: the client's request id.
        footprint: what the payload reads and writes.
        payload: bytes only the state machine looks into.
    """

    request: RequestId
    footprint: Footprint
    payload: bytes


#: Decides nothing: fills a gap that no command may fill any more.
NOP: Final = Command(RequestId(b"\0" * _CLIENT_BYTES, 0, 0, b"\0" * _DIGEST_BYTES), NOTHING, b"")


#: The request id of what a service itself puts into a log begins with this client, which no real one is.
HOUSEKEEPING: Final = b"\xff" * _CLIENT_BYTES
#: The payload of a marker: a batch of kind 2 with nothing in it.
MARKER: Final = b"\x81\x02"


def is_marker(command: Command) -> bool:
    """Whether the command is a marker: a point in the order at which every replica has the same state.

    It touches everything. A protocol may forget what is behind one, once a snapshot at it is durable.
    """
    return command.payload == MARKER and command.request.client == HOUSEKEEPING


def digest_of(payload: bytes) -> bytes:
    """The digest that a request id carries for `payload`: 8 bytes of its SHA-256."""
    return hashlib.sha256(payload).digest()[:_DIGEST_BYTES]


def _keys(keys: Iterable[bytes], where: str) -> tuple[bytes, ...]:
    if isinstance(keys, bytes | str):
        raise ConfigurationError(
            f"footprint {where}: expected a collection of keys, got the single {keys!r:.60}"
        )
    result = []
    for key in keys:
        if type(key) is not bytes:
            raise ConfigurationError(f"footprint {where}: a key must be bytes, got {type(key).__name__}")
        if len(key) > MAX_KEY_BYTES:
            raise ConfigurationError(
                f"footprint {where}: a key of {len(key)} bytes; the limit is {MAX_KEY_BYTES}"
            )
        result.append(key)
    return tuple(sorted(set(result)))


def _ranges(ranges: Iterable[tuple[bytes, bytes | None]], where: str) -> tuple[KeyRange, ...]:
    result = set()
    for pair in ranges:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ConfigurationError(f"footprint {where}: a range is a pair of keys, not {pair!r:.60}")
        low, high = pair
        _keys([low] if high is None else [low, high], where)
        if high is not None and not low < high:
            raise ConfigurationError(
                f"footprint {where}: the range from {low!r:.60} to {high!r:.60} is empty"
            )
        result.add(KeyRange(low, high))
    return tuple(sorted(result, key=lambda r: (r.low, r.high is None, r.high or b"")))


def _touch(
    keys: tuple[bytes, ...],
    ranges: tuple[KeyRange, ...],
    other_keys: tuple[bytes, ...],
    other_ranges: tuple[KeyRange, ...],
) -> bool:
    if keys and other_keys and not set(keys).isdisjoint(other_keys):
        return True
    return (
        any(key in r for r in ranges for key in other_keys)
        or any(key in r for r in other_ranges for key in keys)
        or any(r.overlaps(o) for r in ranges for o in other_ranges)
    )


# --- on the wire -------------------------------------------------------------------------------


def take_request_id(value: object, where: str) -> RequestId:
    """Check and build a request id from decoded CBOR. Raises WireError."""
    client, birth, sequence, digest = expect_fields(value, 4, where)
    if len(take_bytes(client, f"{where}.client", _CLIENT_BYTES)) != _CLIENT_BYTES:
        raise WireError(f"{where}.client: expected {_CLIENT_BYTES} bytes, got {len(client)}")
    if len(take_bytes(digest, f"{where}.digest", _DIGEST_BYTES)) != _DIGEST_BYTES:
        raise WireError(f"{where}.digest: expected {_DIGEST_BYTES} bytes, got {len(digest)}")
    return RequestId(
        client,
        take_int(birth, f"{where}.birth", 0, _MAX_SEQUENCE),
        take_int(sequence, f"{where}.sequence", 0, _MAX_SEQUENCE),
        digest,
    )


def pack_command(command: Command) -> tuple[object, ...]:
    """The fields of `command` as CBOR carries them."""
    return (command.request, command.footprint, command.payload)


def take_command(value: object, where: str) -> Command:
    """Check and build a command from decoded CBOR. Raises WireError."""
    request, footprint, payload = expect_fields(value, 3, where)
    return Command(
        take_request_id(request, f"{where}.request"),
        _take_footprint(footprint, f"{where}.footprint"),
        take_bytes(payload, f"{where}.payload", MAX_COMMAND_BYTES),
    )


def _take_footprint(value: object, where: str) -> Footprint:
    reads, writes, read_ranges, write_ranges, everything = expect_fields(value, 5, where)
    if take_bool(everything, f"{where}.everything"):
        if [reads, writes, read_ranges, write_ranges] != [[], [], [], []]:
            raise WireError(f"{where}: names keys beside everything")
        return ALL
    footprint = Footprint(
        _take_keys(reads, f"{where}.reads"),
        _take_keys(writes, f"{where}.writes"),
        _take_ranges(read_ranges, f"{where}.read_ranges"),
        _take_ranges(write_ranges, f"{where}.write_ranges"),
    )
    if sum(map(len, footprint[:4])) > MAX_KEYS:
        raise WireError(f"{where}: names more than {MAX_KEYS} keys and ranges")
    return footprint


def _take_keys(value: object, where: str) -> tuple[bytes, ...]:
    if type(value) is not list or len(value) > MAX_KEYS:
        raise WireError(f"{where}: expected a list of at most {MAX_KEYS} keys")
    keys = tuple(take_bytes(key, where, MAX_KEY_BYTES) for key in value)
    # Strictly rising is the one canonical form: equal footprints must be equal values everywhere.
    if any(a >= b for a, b in pairwise(keys)):
        raise WireError(f"{where}: keys are not strictly rising")
    return keys


def _take_ranges(value: object, where: str) -> tuple[KeyRange, ...]:
    if type(value) is not list or len(value) > MAX_KEYS:
        raise WireError(f"{where}: expected a list of at most {MAX_KEYS} ranges")
    ranges = []
    for item in value:
        low, high = expect_fields(item, 2, where)
        take_bytes(low, where, MAX_KEY_BYTES)
        if high is not None and low >= take_bytes(high, where, MAX_KEY_BYTES):
            raise WireError(f"{where}: an empty range")
        ranges.append(KeyRange(low, high))
    order = [(r.low, r.high is None, r.high or b"") for r in ranges]
    if any(a >= b for a, b in pairwise(order)):
        raise WireError(f"{where}: ranges are not strictly rising")
    return tuple(ranges)
