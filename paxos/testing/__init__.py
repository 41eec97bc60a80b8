"""For those who test a protocol, state machine, store or transport of their own.

What the library is tested with itself.  The names resolve when they are first used, so that a store's
tests, say, need not load what tests a protocol.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paxos.testing.stores import PowerCutDisk, PowerCutStore, StoreConformance

__all__ = ["PowerCutDisk", "PowerCutStore", "StoreConformance"]

# Where pytest runs, asserts there say what they compared. It has to know before the module is imported.
if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite("paxos.testing.stores")

_ROOMS = {
    "PowerCutDisk": "paxos.testing.stores",
    "PowerCutStore": "paxos.testing.stores",
    "StoreConformance": "paxos.testing.stores",
}


def __getattr__(name: str) -> Any:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(room), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
