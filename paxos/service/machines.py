"""State machines, found by name."""

from importlib import import_module
from typing import Final, cast

from paxos.contract import StateMachine
from paxos.errors import ConfigurationError
from paxos.service.keyvalue import KeyValue
from paxos.service.node import MachineMaker

__all__ = ["DEFAULT_MACHINE", "find_machine", "machine_name"]

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


def machine_name(machine: str | type[StateMachine]) -> str:
    """The name by which `find_machine` finds a state machine: "kv", or "package.module:Class".

    Every node of a cluster is started by that name, and it is written into the stores; so a class must be
    where its name says.

    Raises:
        ConfigurationError: it is no class, or another one, or none, is found under its name.
    """
    if isinstance(machine, str):
        return machine
    if not isinstance(machine, type):
        raise ConfigurationError(f"machine: expected a class or a name, got {type(machine).__name__}")
    if machine is KeyValue:
        return DEFAULT_MACHINE
    name = f"{machine.__module__}:{machine.__qualname__}"
    try:
        found = find_machine(name)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error}; a state machine has to be a class at the top of a module that can be imported"
        ) from error
    if found is not machine:
        raise ConfigurationError(f"machine: {name!r:.80} is the name of another class; name them apart")
    return name
