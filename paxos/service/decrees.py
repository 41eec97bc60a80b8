"""The machine that comes built in for protocols that decide decrees: a book of names and values.

A client's request is one of two: *decide* a name with a value, or read what is *decided*.  The book
turns it into a command whose footprint is the one key, and remembers what was chosen.
"""

from typing import Final

from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES, Command, Footprint, RequestId
from paxos.contract import Mark
from paxos.errors import ConfigurationError, ProtocolBreach, Rejected, WireError
from paxos.wire import dumps, expect_fields, loads_strict, take_bytes, take_int

__all__ = ["DecreeBook", "decide_request", "decided_request", "decree_key"]

_DECIDE: Final = 1
_DECIDED: Final = 2
# A tuple, since every request passes here: isinstance against a union is five times slower.
_BYTES: Final = (bytes, bytearray, memoryview)

# Called directly for every request: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


def decree_key(name: str | bytes) -> bytes:
    """A decree's name as the library carries it: UTF-8.

    Raises:
        ConfigurationError: empty, too long, or not text that UTF-8 can carry.
    """
    if isinstance(name, str):
        try:
            key = name.encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"decree name {name!r:.80}: not valid Unicode text: {error.reason}"
            ) from error
    elif isinstance(name, bytes):
        key = name
    else:
        raise ConfigurationError(f"a decree's name is a str or bytes, not {type(name).__name__}")
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        raise ConfigurationError(f"decree name {name!r:.80}: {len(key)} bytes; it takes 1 to {MAX_KEY_BYTES}")
    return key


def decide_request(name: str | bytes, value: bytes) -> bytes:
    """The body of a request to decide `name`, with `value` if the choice is still free.

    Raises:
        ConfigurationError: a name or value that is not bytes, or too long.
    """
    if not isinstance(value, _BYTES):
        raise ConfigurationError(f"decree {name!r:.80}: a value is bytes, not {type(value).__name__}")
    value = bytes(value)
    if len(value) > MAX_COMMAND_BYTES:
        raise ConfigurationError(
            f"decree {name!r:.80}: a value of {len(value)} bytes; the limit is {MAX_COMMAND_BYTES}"
        )
    return dumps((_DECIDE, decree_key(name), value))


def decided_request(name: str | bytes) -> bytes:
    """The body of a request to read what is decided for `name`.

    Raises:
        ConfigurationError: see `decree_key`.
    """
    return dumps((_DECIDED, decree_key(name), b""))


class DecreeBook:
    """Names and what was chosen for them."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def command(self, request: RequestId, body: bytes) -> Command:
        """A client's request as a command.

        Raises:
            Rejected: the body is not a request of this machine.
        """
        try:
            kind, name, value = expect_fields(loads_strict(body), 3, "request")
            name = take_bytes(name, "request.name", MAX_KEY_BYTES)
            value = take_bytes(value, "request.value", MAX_COMMAND_BYTES)
            if not name:
                raise WireError("request.name: a decree's name is not empty")
            if take_int(kind, "request.kind", _DECIDE, _DECIDED) == _DECIDE:
                return _new(Command, (request, _new(Footprint, ((), (name,), (), (), False)), value))
            return _new(Command, (request, _new(Footprint, ((name,), (), (), (), False)), b""))
        except WireError as error:
            raise Rejected(f"not a request for decrees: {error}") from error

    def apply(self, mark: Mark, command: Command) -> None:
        """Enter what was chosen for the decree named `mark`.

        Raises:
            ProtocolBreach: another value stands there already.
        """
        if not isinstance(mark, bytes):
            raise ProtocolBreach(f"a decree is applied under its name, not {mark!r:.80}")
        if self._values.setdefault(mark, command.payload) != command.payload:
            raise ProtocolBreach(f"Stability: decree {mark!r:.80} was decided, and decided again differently")

    def answer(self, command: Command) -> bytes | None:
        """What the command's client is told: the chosen value; None for undecided."""
        footprint = command.footprint
        return self._values.get((footprint.writes or footprint.reads)[0])

    def values(self) -> dict[bytes, bytes]:
        """Every decision, by name."""
        return dict(self._values)
