"""What Hypothesis calls when it is imported, so that it knows the library's types.

`st.from_type(paxos.Ballot)`, and `@given` with annotations, then work without an import of this package.

Hypothesis calls it in every program that has this library installed, most of which do not use it.  So nothing
is imported here for its own sake: a type is registered when the module that defines it has been imported by
somebody, and what makes examples is loaded when the first example is asked for.
"""

import importlib.abc
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import Any, Final

__all__ = ["TYPES", "register"]

#: For each module the types in it, and the name in `paxos.testing.strategies` of what makes examples of each.
TYPES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "paxos.ballot": {"Ballot": "ballots"},
        "paxos.command": {
            "Command": "commands",
            "Footprint": "footprints",
            "KeyRange": "key_ranges",
            "RequestId": "request_ids",
        },
        "paxos.quorum": {
            "QuorumSystem": "quorum_systems",
            "Majority": "majorities",
            "FlexibleQuorums": "flexible_quorums",
            "FastQuorums": "fast_quorums",
            "WeightedQuorums": "weighted_quorums",
            "GridQuorums": "grid_quorums",
            "ExplicitQuorums": "explicit_quorums",
        },
        "paxos.basic.proposer": {"Proposer": "proposers"},
        "paxos.basic.settings": {"BasicSettings": "basic_settings"},
        "paxos.sim.faults": {
            "Faults": "fault_plans",
            "Crash": "crashes",
            "Cut": "cuts",
            "Pause": "pauses",
            "SlowNode": "slow_nodes",
            "Wipe": "wipes",
        },
        "paxos.sim.topology": {"Hardware": "hardware", "Topology": "topologies"},
        "paxos.sim.workload": {"Workload": "workloads"},
        "paxos.sim.moves": {"Asked": "requests", "Move": "moves"},
    }
)


def register() -> None:
    """Tell Hypothesis how to make examples of the library's types; what its entry point calls. Idempotent."""
    for module in TYPES:
        if module in sys.modules:
            _register_types_of(module)
    if not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())


def _register_types_of(module: str) -> None:
    from hypothesis import strategies as st

    for name, strategy in TYPES[module].items():
        kind = getattr(sys.modules[module], name, None)
        if kind is not None:  # of a module whose import is not over yet
            st.register_type_strategy(kind, _maker(strategy))


def _maker(name: str) -> Callable[[type[Any]], Any]:
    def make(kind: type[Any]) -> Any:
        from paxos.testing import strategies

        return getattr(strategies, name)()

    return make


class _Watcher(importlib.abc.MetaPathFinder):
    """Sees the first import of each module that has such types, and leaves it to the other finders."""

    def __init__(self) -> None:
        self._seen = {name for name in TYPES if name in sys.modules}
        self._lock = threading.Lock()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        with self._lock:
            if fullname not in TYPES or fullname in self._seen:
                return None
            self._seen.add(fullname)
        for finder in sys.meta_path:
            find: Any = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if finder is self or find is None else find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """Another loader; what it loads is registered, and shows no trace of this one."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the other loader does."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """As the other loader does; then its types are known."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register_types_of(module.__name__)
