"""State machines, found by name."""

from importlib import import_module
from typing import Final, cast

from paxos.errors import ConfigurationError
from paxos.service.keyvalue import KeyValue
from paxos.service.node import MachineMaker

__all__ = ["DEFAULT_MACHINE", "find_machine"]

#: The machine of a cluster whose configuration names none.
DEFAULT_MACHINE: Final = "kv"
_METHODS: Final = ("apply", "footprint", "query", "snapshot", "restore")


def find_machine(name: str) -> MachineMaker:
    """What makes the state machine called `name`: "kv", or "package.module:Class".

    Raises:
        ConfigurationError: there is none, or what the name leads to is none.
    """
    if name == DEFAULT_MACHINE:
        return KeyValue
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ConfigurationError(
            f"machine: {name!r:.80}: there is {DEFAULT_MACHINE!r}, and one of your own is named "
            "package.module:Class"
        )
    try:
        maker = import_module(module)
        for part in attribute.split("."):
            maker = getattr(maker, part)
    except Exception as error:  # whatever somebody's module raises when imported
        raise ConfigurationError(f"machine: {name!r:.80}: {type(error).__name__}: {error}") from error
    missing = [method for method in _METHODS if not callable(getattr(maker, method, None))]
    if not callable(maker) or missing:
        raise ConfigurationError(
            f"machine: {name!r:.80} is no state machine: it lacks {', '.join(missing) or 'a way to make one'}"
        )
    return cast("MachineMaker", maker)
