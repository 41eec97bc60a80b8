"""Values: what a slot of the log holds, as bytes that acceptors store and send as they are.

A value is one command, or nothing at all for a no-op.  It is made once, by the leader that the command was
submitted to, and read once at each replica, when the slot is applied; in between nobody looks into it.

    empty                                  a no-op
    client (16) | birth (8) | sequence (8) | digest (8) | 0 | payload
    client (16) | birth (8) | sequence (8) | digest (8) | 1 | length (4) | footprint as CBOR | payload

The second form is for commands that touch something.  A log orders everything, so it does not care what a
command touches; but a command comes out of the log as it went in.
"""

from functools import lru_cache
from struct import Struct
from typing import Final, NoReturn

from paxos.command import MAX_COMMAND_BYTES, NOP, NOTHING, Command, RequestId, take_command
from paxos.errors import WireError
from paxos.wire import dumps, loads_strict

__all__ = ["MAX_VALUE_BYTES", "NOP_VALUE", "check_value", "pack_value", "take_value"]

#: The longest value: a command of the longest payload, and as much again for what it says it touches.
MAX_VALUE_BYTES: Final = 2 * MAX_COMMAND_BYTES
#: The value of a slot that holds no command.
NOP_VALUE: Final = b""

_HEAD: Final = Struct(">16sQQ8sB")
_LENGTH: Final = Struct(">I")
_PLAIN: Final = 0
_FOOTPRINT: Final = 1
_SIGN: Final = 0x80
# Where in a value the highest bytes of birth and sequence are, and the byte that names the form.
_BIRTH: Final = 16
_SEQUENCE: Final = 24
_FORM: Final = 40

# What was taken from so many values is kept, of short ones: where nodes share a process, as simulated ones
# do, each of them takes what all of them apply.
_KEPT: Final = 1024
_KEPT_BYTES: Final = 1024

# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


def pack_value(command: Command) -> bytes:
    """The value that stands for `command`; every no-op is the empty one."""
    request, footprint, payload = command
    if footprint == NOTHING:
        if command == NOP:
            return NOP_VALUE
        return _HEAD.pack(*request, _PLAIN) + payload
    touched = dumps(footprint)
    return b"".join((_HEAD.pack(*request, _FOOTPRINT), _LENGTH.pack(len(touched)), touched, payload))


def take_value(value: bytes) -> Command:
    """The command that a checked value stands for.

    Raises:
        WireError: the value is none; `check_value` finds that out beforehand.
    """
    return _take(value) if len(value) > _KEPT_BYTES else _take_once(value)


def _take(value: bytes) -> Command:
    if not value:
        return NOP
    if len(value) < _HEAD.size or value[_FORM] != _PLAIN:
        return _take_long(value)
    client, birth, sequence, digest, _ = _HEAD.unpack_from(value)
    request = _new(RequestId, (client, birth, sequence, digest))
    return _new(Command, (request, NOTHING, value[_HEAD.size :]))


_take_once: Final = lru_cache(maxsize=_KEPT)(_take)


def check_value(value: object, where: str) -> bytes:
    """A value as it came from a peer or a disk, refused unless `take_value` can read it. Raises WireError."""
    if type(value) is not bytes:
        raise WireError(f"{where}: expected bytes, got {type(value).__name__}")
    size = len(value)
    if not size:
        return value
    if size < _HEAD.size:
        raise WireError(f"{where}: {size} bytes are too few for a command")
    if (value[_BIRTH] | value[_SEQUENCE]) & _SIGN:
        raise WireError(f"{where}: a birth or sequence number above 2^63-1")
    if value[_FORM] == _PLAIN:
        if size > _HEAD.size + MAX_COMMAND_BYTES:
            _refuse_size(where, size)
        return value
    if size > MAX_VALUE_BYTES:
        _refuse_size(where, size)
    try:
        _take_long(value)
    except WireError as error:
        raise WireError(f"{where}: {error}") from None
    return value


def _take_long(value: bytes) -> Command:
    """The command of a value that says what it touches. Raises WireError."""
    start = _HEAD.size + _LENGTH.size
    if len(value) < start or value[_FORM] != _FOOTPRINT:
        raise WireError("a command of no form that this release knows")
    *request, _ = _HEAD.unpack_from(value)
    (length,) = _LENGTH.unpack_from(value, _HEAD.size)
    if length > len(value) - start:
        raise WireError("a footprint longer than the command")
    footprint = loads_strict(value[start : start + length])
    return take_command([request, footprint, value[start + length :]], "command")


def _refuse_size(where: str, size: int) -> NoReturn:
    raise WireError(f"{where}: a command of {size} bytes; the limit is {MAX_COMMAND_BYTES}")
