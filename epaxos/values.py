"""Values: a command as the bytes that replicas send and store, made once by its owner.

    client (16) | birth (8) | sequence (8) | digest (8) | form (1) | footprint | payload

The footprint comes before the payload, since every replica has to read it and only the state machine reads
the payload:

    form 0    nothing is touched
    form 1    everything is touched
    form 2    how many keys are read (4), and written (4) | the length of each (2) | the keys; read ones first
    form 3    length (4) | the footprint as CBOR: one that names ranges

Keys are in strictly rising order, which makes equal footprints equal values everywhere.
"""

import struct
from operator import lt
from struct import Struct
from typing import Final

from paxos.command import (
    ALL,
    MAX_COMMAND_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    NOTHING,
    Command,
    Footprint,
    RequestId,
    take_command,
)
from paxos.errors import WireError
from paxos.wire import dumps, loads_strict

__all__ = ["MAX_VALUE_BYTES", "pack_value", "take_value"]

#: The longest value: a command of the longest payload, and as much again for what it says it touches.
MAX_VALUE_BYTES: Final = 2 * MAX_COMMAND_BYTES

_HEAD: Final = Struct(">16sQQ8sB")
_COUNTS: Final = Struct(">II")
_LENGTH: Final = Struct(">I")
# What comes before the key of a command that names one, and the commonest by far: head, counts, its length.
_ONE_KEY: Final = Struct(">16sQQ8sBIIH")
_NOTHING: Final = 0
_ALL: Final = 1
_KEYS: Final = 2
_RANGES: Final = 3
_MAX_SEQUENCE: Final = (1 << 63) - 1
# Where the counts of keys are.
_AT_COUNTS: Final = _HEAD.size

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


def pack_value(command: Command) -> bytes:
    """The value that stands for `command`."""
    request, footprint, payload = command
    reads, writes, read_ranges, write_ranges, everything = footprint
    if everything:
        return _HEAD.pack(*request, _ALL) + payload
    if read_ranges or write_ranges:
        touched = dumps(footprint)
        return b"".join((_HEAD.pack(*request, _RANGES), _LENGTH.pack(len(touched)), touched, payload))
    if not reads and not writes:
        return _HEAD.pack(*request, _NOTHING) + payload
    keys = reads + writes
    if len(keys) == 1:
        key = keys[0]
        return _ONE_KEY.pack(*request, _KEYS, len(reads), len(writes), len(key)) + key + payload
    counts, sizes = _COUNTS.pack(len(reads), len(writes)), [*map(len, keys)]
    if sizes.count(sizes[0]) == len(sizes):
        lengths = sizes[0].to_bytes(2, "big") * len(sizes)
    else:
        lengths = struct.pack(f">{len(sizes)}H", *sizes)
    return b"".join((_HEAD.pack(*request, _KEYS), counts, lengths, *keys, payload))


def take_value(value: bytes, where: str = "value") -> Command:
    """The command that a value stands for, checked. Raises WireError."""
    if len(value) > MAX_VALUE_BYTES:
        raise WireError(
            f"{where}: a command of {len(value)} bytes, keys included; the limit is {MAX_VALUE_BYTES}"
        )
    try:
        if len(value) >= _ONE_KEY.size:
            client, birth, sequence, digest, form, reads, writes, length = _ONE_KEY.unpack_from(value)
            at = _ONE_KEY.size + length
            if (
                form == _KEYS
                and reads + writes == 1
                and length <= MAX_KEY_BYTES
                and at <= len(value) <= at + MAX_COMMAND_BYTES
                and birth <= _MAX_SEQUENCE
                and sequence <= _MAX_SEQUENCE
            ):
                key = (value[_ONE_KEY.size : at],)
                footprint = _new(Footprint, ((), key, (), (), False) if writes else (key, (), (), (), False))
                request = _new(RequestId, (client, birth, sequence, digest))
                return _new(Command, (request, footprint, value[at:]))
        client, birth, sequence, digest, form = _HEAD.unpack_from(value)
        request = _new(RequestId, (client, birth, sequence, digest))
        if birth > _MAX_SEQUENCE or sequence > _MAX_SEQUENCE:
            raise WireError(f"{where}: a birth or sequence number above 2^63-1")
        if form == _KEYS:
            footprint, at = _take_keys(value, where)
        elif form == _NOTHING:
            footprint, at = NOTHING, _AT_COUNTS
        elif form == _ALL:
            footprint, at = ALL, _AT_COUNTS
        elif form == _RANGES:
            return _take_ranges(value, request, where)
        else:
            raise WireError(f"{where}: a command of no form that this release knows")
    except struct.error:
        raise WireError(f"{where}: {len(value)} bytes are too few for a command") from None
    payload = value[at:]
    if len(payload) > MAX_COMMAND_BYTES:
        raise WireError(f"{where}: a command of {len(payload)} bytes; the limit is {MAX_COMMAND_BYTES}")
    return _new(Command, (request, footprint, payload))


def _take_keys(value: bytes, where: str) -> tuple[Footprint, int]:
    reads, writes = _COUNTS.unpack_from(value, _AT_COUNTS)
    count = reads + writes
    if not 0 < count <= MAX_KEYS:
        raise WireError(f"{where}: a footprint of {count} keys; the limit is {MAX_KEYS}")
    at = _AT_COUNTS + _COUNTS.size
    begin = at + 2 * count
    packed = value[at:begin]
    # Keys are often equally long: that is seen, and they are cut, without looking at each. If they are not,
    # they are cut in one go by a form that nobody keeps.
    if packed == packed[:2] * count:
        longest = int.from_bytes(packed[:2], "big")
        form, end = f"{longest}s" * count, begin + longest * count
    else:
        lengths = struct.unpack(f">{count}H", packed)
        longest = max(lengths)
        form, end = "".join(map("%ds".__mod__, lengths)), begin + sum(lengths)
    if end > len(value):
        raise WireError(f"{where}: a footprint longer than the command")
    if longest > MAX_KEY_BYTES:
        raise WireError(f"{where}: a key of more than {MAX_KEY_BYTES} bytes")
    keys = Struct(form).unpack_from(value, begin)
    read, written = keys[:reads], keys[reads:]
    # Strictly rising is the one canonical form: equal footprints must be equal values everywhere.
    if not all(map(lt, read, read[1:])) or not all(map(lt, written, written[1:])):
        raise WireError(f"{where}: keys are not strictly rising")
    return _new(Footprint, (read, written, (), (), False)), end


def _take_ranges(value: bytes, request: RequestId, where: str) -> Command:
    (length,) = _LENGTH.unpack_from(value, _AT_COUNTS)
    start = _AT_COUNTS + _LENGTH.size
    if length > len(value) - start:
        raise WireError(f"{where}: a footprint longer than the command")
    footprint = loads_strict(value[start : start + length])
    command = take_command([list(request), footprint, value[start + length :]], where)
    _, _, read_ranges, write_ranges, everything = command.footprint
    if everything or not (read_ranges or write_ranges):
        # The one canonical form again.
        raise WireError(f"{where}: a footprint without ranges in the form for ranges")
    return command
