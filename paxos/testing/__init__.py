"""For those who test a protocol, state machine, store or transport of their own.

What the library is tested with itself.  The names resolve when they are first used, so that a store's
tests, say, need not load what tests a protocol.  What needs Hypothesis needs the extra `test`:
`pip install "paxos-family[test]"`.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from paxos.errors import ConfigurationError

if TYPE_CHECKING:
    from paxos.check.explore import explore
    from paxos.check.linearize import check_linearizable
    from paxos.check.minimise import minimise
    from paxos.sim.runner import run as simulate
    from paxos.testing import strategies
    from paxos.testing.machine import ProtocolStateMachine
    from paxos.testing.machines import StateMachineConformance
    from paxos.testing.stores import PowerCutDisk, PowerCutStore, StoreConformance
    from paxos.testing.transports import TransportConformance

__all__ = [
    "PowerCutDisk",
    "PowerCutStore",
    "ProtocolStateMachine",
    "StateMachineConformance",
    "StoreConformance",
    "TransportConformance",
    "check_linearizable",
    "explore",
    "minimise",
    "simulate",
    "strategies",
]

#: Where each name comes from: a module, and its name there; a module itself for none.
_HOME: Final = {
    "PowerCutDisk": ("paxos.testing.stores", "PowerCutDisk"),
    "PowerCutStore": ("paxos.testing.stores", "PowerCutStore"),
    "ProtocolStateMachine": ("paxos.testing.machine", "ProtocolStateMachine"),
    "StateMachineConformance": ("paxos.testing.machines", "StateMachineConformance"),
    "StoreConformance": ("paxos.testing.stores", "StoreConformance"),
    "TransportConformance": ("paxos.testing.transports", "TransportConformance"),
    "check_linearizable": ("paxos.check.linearize", "check_linearizable"),
    "explore": ("paxos.check.explore", "explore"),
    "minimise": ("paxos.check.minimise", "minimise"),
    "simulate": ("paxos.sim.runner", "run"),
    "strategies": ("paxos.testing.strategies", ""),
}
#: What can not be without Hypothesis.
_NEED_HYPOTHESIS: Final = frozenset({"ProtocolStateMachine", "StateMachineConformance", "strategies"})

# Where pytest runs, asserts there say what they compared. It has to know before the module is imported.
if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite(
        "paxos.testing.machines", "paxos.testing.stores", "paxos.testing.transports"
    )


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _NEED_HYPOTHESIS and find_spec("hypothesis") is None:
        raise ConfigurationError(
            f'paxos.testing.{name} needs Hypothesis, which is not installed: pip install "paxos-family[test]"'
        )
    module, inner = home
    found = import_module(module)
    return getattr(found, inner) if inner else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
