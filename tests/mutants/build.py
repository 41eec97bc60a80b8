"""Makes a protocol of a mutant: the modules of the sound one, loaded again with other words in them."""

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

import attrs

from paxos.basic import MESSAGES, BasicReplica, protocol
from paxos.contract import ProtocolDescription
from paxos.quorum import Phase, QuorumSystem
from paxos.wire import MessageTable
from tests.mutants.patches import BASIC, Mutant, Patch

__all__ = ["HalfQuorums", "described", "mutants"]

#: The modules with rules in them, each after those it imports.
_MODULES = ("acceptor", "proposer", "learner", "replica")


class HalfQuorums(QuorumSystem):
    """Half of the members are a quorum: one too few."""

    def __init__(self, members: Iterable[int]) -> None:
        self.members: tuple[int, ...] = tuple(members)

    def is_quorum(self, nodes: Iterable[int], phase: Phase = Phase.TWO) -> bool:
        return len(set(nodes) & set(self.members)) >= max(1, len(self.members) // 2)


def mutants() -> Mapping[str, Mutant]:
    """All of them, by name."""
    return {mutant.name: mutant for mutant in BASIC}


def described(mutant: Mutant) -> ProtocolDescription:
    """The protocol with the mistake in it.

    Raises:
        LookupError: the words that a patch replaces are not there, or more than once.
    """
    description = attrs.evolve(protocol, name=mutant.name)
    if mutant.early:
        table = MessageTable(
            attrs.evolve(each, reports=each.reports and each.name not in mutant.early) for each in MESSAGES
        )
        description = attrs.evolve(description, messages=table)
    if mutant.half:
        description = attrs.evolve(description, quorums=HalfQuorums)
    if mutant.patches:
        patched = _patched(mutant.patches).BasicReplica
        # Invariants look into what they know to be a replica of Basic Paxos, so it must be one.
        replica = type(mutant.name, (patched, BasicReplica), {})
        description = attrs.evolve(description, replica=replica)
    return description


def _patched(patches: Iterable[Patch]) -> ModuleType:
    """The module of the replica, made of patched sources; the sound modules stay as they are."""
    kept = {name: import_module(f"paxos.basic.{name}") for name in _MODULES}
    texts = {name: Path(str(module.__file__)).read_text(encoding="utf-8") for name, module in kept.items()}
    for patch in patches:
        found = texts[patch.module].count(patch.old)
        if found != 1:
            raise LookupError(f"{patch.module}: {found} times there, not once: {patch.old!r}")
        texts[patch.module] = texts[patch.module].replace(patch.old, patch.new)
    try:
        for name, text in texts.items():
            module = ModuleType(f"paxos.basic.{name}")
            module.__file__ = kept[name].__file__
            # Where the modules after it look for it.
            sys.modules[module.__name__] = module
            exec(compile(text, f"<mutant of {module.__name__}>", "exec"), module.__dict__)
        return sys.modules["paxos.basic.replica"]
    finally:
        sys.modules.update({module.__name__: module for module in kept.values()})
