"""Makes a protocol of a mutant: the modules of the sound one, loaded again with other words in them.

A mistake may also be in the service that stands above every log. A node makes its service itself, and no
protocol says which; so the room of the node is told here to look whether its replica brings one.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import attrs

import epaxos
import fastpaxos
import fastpaxos.log
import multipaxos
import paxos.basic
import paxos.service.node as node_room
from epaxos import EPaxosReplica
from fastpaxos import FastPaxosReplica
from fastpaxos.log import FastLogReplica
from multipaxos import MultiPaxosReplica
from paxos.basic import BasicReplica
from paxos.contract import ProtocolDescription
from paxos.quorum import Phase, QuorumSystem
from paxos.service.log import LogService
from paxos.wire import MessageTable
from tests.mutants.epaxos_patches import EPAXOS
from tests.mutants.fastpaxos_log_patches import FASTPAXOS_LOG
from tests.mutants.fastpaxos_patches import FASTPAXOS
from tests.mutants.log_patches import MULTIPAXOS
from tests.mutants.patches import BASIC, Mutant, Patch
from tests.mutants.service_patches import SERVICE

__all__ = ["HalfQuorums", "described", "mutants", "patched_service", "sound"]


class _Base(NamedTuple):
    """What mistakes are planted in.

    Args:
        protocol: the sound one.
        package: where its modules are.
        modules: those with rules in them, each after those it imports; one of another package with its dots.
        replica: the class of its replicas.
    """

    protocol: ProtocolDescription
    package: str
    modules: tuple[str, ...]
    replica: type[Any]


_BASES: Final = {
    "paxos": _Base(
        paxos.basic.protocol, "paxos.basic", ("acceptor", "proposer", "learner", "replica"), BasicReplica
    ),
    "multipaxos": _Base(
        multipaxos.protocol,
        "multipaxos",
        ("acceptor", "learner", "lease", "proposer", "reads", "paxos.basic.reservation", "office", "replica"),
        MultiPaxosReplica,
    ),
    "fastpaxos": _Base(
        fastpaxos.protocol,
        "fastpaxos",
        (
            "rounds",
            "choosing",
            "collision",
            "learner",
            "acceptor",
            "coordinator",
            "open_decree",
            "desk",
            "replica",
        ),
        FastPaxosReplica,
    ),
    "fastpaxos-log": _Base(
        fastpaxos.log.protocol,
        "fastpaxos.log",
        (
            "acceptor",
            "learner",
            "votes",
            "candidate",
            "proposer",
            "reads",
            "campaign",
            "coordinator",
            "replica",
        ),
        FastLogReplica,
    ),
    "epaxos": _Base(
        epaxos.protocol,
        "epaxos",
        (
            "conflicts",
            "table",
            "execution",
            "barrier",
            "acceptor",
            "learner",
            "proposer",
            "recovery",
            "replica",
        ),
        EPaxosReplica,
    ),
}
#: The rooms of the service of a log, each after those it imports. A patch says "service." before the name.
_SERVICE: Final = ("sessions", "snapshots", "catch_up", "queries", "log")


class HalfQuorums(QuorumSystem):
    """Half of the members are a quorum: one too few."""

    def __init__(self, members: Iterable[int]) -> None:
        self.members: tuple[int, ...] = tuple(members)

    def is_quorum(self, nodes: Iterable[int], phase: Phase = Phase.TWO) -> bool:
        return len(set(nodes) & set(self.members)) >= max(1, len(self.members) // 2)


def mutants() -> Mapping[str, Mutant]:
    """All of them, by name."""
    return {
        mutant.name: mutant for mutant in (*BASIC, *MULTIPAXOS, *FASTPAXOS, *FASTPAXOS_LOG, *EPAXOS, *SERVICE)
    }


def sound(mutant: Mutant) -> ProtocolDescription:
    """The protocol that it is a mistake in."""
    return _BASES[mutant.protocol].protocol


def described(mutant: Mutant) -> ProtocolDescription:
    """The protocol with the mistake in it.

    Raises:
        LookupError: the words that a patch replaces are not there, or more than once.
    """
    base = _BASES[mutant.protocol]
    description = attrs.evolve(base.protocol, name=mutant.name)
    if mutant.early:
        table = MessageTable(
            attrs.evolve(each, reports=each.reports and each.name not in mutant.early)
            for each in base.protocol.messages
        )
        description = attrs.evolve(description, messages=table)
    if mutant.half:
        description = attrs.evolve(description, quorums=HalfQuorums)
    own = [patch for patch in mutant.patches if not patch.module.startswith("service.")]
    replica = base.replica
    if own:
        patched = getattr(_patched(base.package, base.modules, own)["replica"], replica.__name__)
        # Invariants look into what they know to be a replica of the protocol, so it must be one.
        replica = type(mutant.name, (patched, replica), {})
    if len(own) < len(mutant.patches):
        vars(node_room)["LogService"] = _chosen_service
        replica = type(mutant.name, (replica,), {"planted_service": patched_service(mutant)})
    return attrs.evolve(description, replica=replica)


def patched_service(mutant: Mutant) -> type[LogService]:
    """The service of a log with the mistake in it."""
    patches = [
        patch._replace(module=patch.module.removeprefix("service."))
        for patch in mutant.patches
        if patch.module.startswith("service.")
    ]
    touched = {patch.module for patch in patches}
    first = next(at for at, name in enumerate(_SERVICE) if name in touched)
    patched = _patched("paxos.service", _SERVICE[first:], patches)["log"].LogService
    return type(mutant.name, (patched, LogService), {})


def _chosen_service(node: int, replica: Any, *arguments: Any) -> LogService:
    make: Callable[..., LogService] = getattr(replica, "planted_service", LogService)
    return make(node, replica, *arguments)


def _patched(package: str, names: Sequence[str], patches: Iterable[Patch]) -> dict[str, ModuleType]:
    """The modules, made of patched sources; the sound ones stay as they are."""
    kept = {name: import_module(name if "." in name else f"{package}.{name}") for name in names}
    texts = {name: Path(str(module.__file__)).read_text(encoding="utf-8") for name, module in kept.items()}
    for patch in patches:
        found = texts[patch.module].count(patch.old)
        if found != 1:
            raise LookupError(f"{patch.module}: {found} times there, not once: {patch.old!r}")
        texts[patch.module] = texts[patch.module].replace(patch.old, patch.new)
    made: dict[str, ModuleType] = {}
    try:
        for name, text in texts.items():
            module = ModuleType(kept[name].__name__)
            module.__file__ = kept[name].__file__
            # Where the modules after it look for it.
            sys.modules[module.__name__] = made[name] = module
            exec(compile(text, f"<mutant of {module.__name__}>", "exec"), module.__dict__)
        return made
    finally:
        sys.modules.update({module.__name__: module for module in kept.values()})
