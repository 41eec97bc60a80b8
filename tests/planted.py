"""Basic Paxos with mistakes in it: what the explorer must find and the minimiser make short.

Each is a protocol of its own, named as `tests.planted:own_value`.  The mistakes that readers of the paper
make are those of `tests.mutants`; beside them are nodes that try the tools: they raise, hang, or end the
program.
"""

import os
import sys

import attrs

from paxos.basic import MESSAGES, Accepted, BasicReplica, Chosen, protocol
from paxos.contract import ProtocolDescription
from paxos.wire import MessageTable
from tests.mutants.build import described, mutants

__all__ = [
    "across_ballots",
    "amnesiac",
    "blind",
    "deadly",
    "deaf",
    "early",
    "fickle",
    "fragile",
    "half",
    "hangs",
    "leaves",
    "leaving",
    "lowest",
    "mistaken",
    "own_value",
    "wordy",
    "yes",
]


class _Amnesiac(BasicReplica):
    """Forgets its promises and votes over a restart, but not its ballots."""

    def __init__(self, configuration, records, draw, now):
        super().__init__(configuration, {key: v for key, v in records.items() if key[:1] != b"A"}, draw, now)


class _Deaf(BasicReplica):
    """Never hears a vote, so never decides."""

    def receive(self, sender, message, now):
        if not isinstance(message, Accepted | Chosen):
            super().receive(sender, message, now)


class _Fragile(BasicReplica):
    """Raises when it is outbid."""

    def _on_nack(self, sender, message, now):
        raise KeyError("nonesuch")


class _Deadly(BasicReplica):
    """Takes its process with it when it is outbid; a node alone never is."""

    def _on_nack(self, sender, message, now):
        os._exit(9)


class Fickle(BasicReplica):
    """Raises when it is outbid, but only so often in one process."""

    left: int = 1

    def _on_nack(self, sender, message, now):
        if Fickle.left:
            Fickle.left -= 1
            raise KeyError("now and then")
        super()._on_nack(sender, message, now)


class _Hangs(BasicReplica):
    """Never comes back when it is outbid."""

    def _on_nack(self, sender, message, now):
        while True:
            self.outbid = True


class _Leaves(BasicReplica):
    """Ends the program when it is outbid."""

    def _on_nack(self, sender, message, now):
        sys.exit("outbid")


class _Leaving:
    """An invariant that ends the program."""

    name = "Leaving"

    def __init__(self, quorums):
        del quorums

    def observe(self, step):
        sys.exit(3)


class _Mistaken:
    """An invariant that raises: it looks for what it never noted."""

    name = "Mistaken"

    def __init__(self, quorums):
        self._known = {}

    def observe(self, step):
        for mark, command in step.applies:
            if self._known[mark] != command:
                return "never"
        return None


class _Yes:
    """An invariant that says yes and no."""

    name = "Yes"

    def __init__(self, quorums):
        del quorums

    def observe(self, step):
        return bool(step.applies) or None


class _Wordy:
    """An invariant that says more than a scenario holds."""

    name = "Wordy"

    def __init__(self, quorums):
        del quorums

    def observe(self, step):
        return "word " * 100_000 if step.applies else None


def _mutant(name: str, mistake: str) -> ProtocolDescription:
    """One of the mistakes that every check is tried on."""
    return attrs.evolve(described(mutants()[mistake]), name=name)


def _early_table() -> MessageTable:
    return MessageTable(attrs.evolve(each, reports=each.name == "Reserved") for each in MESSAGES)


own_value = _mutant("own_value", "own_value_proposed")
lowest = _mutant("lowest", "lowest_vote_binds")
across_ballots = _mutant("across_ballots", "votes_across_ballots")
half = _mutant("half", "half_is_a_quorum")
amnesiac = attrs.evolve(protocol, name="amnesiac", replica=_Amnesiac)
early = attrs.evolve(protocol, name="early", messages=_early_table())
deaf = attrs.evolve(protocol, name="deaf", replica=_Deaf)
fragile = attrs.evolve(protocol, name="fragile", replica=_Fragile)
fickle = attrs.evolve(protocol, name="fickle", replica=Fickle)
hangs = attrs.evolve(protocol, name="hangs", replica=_Hangs)
leaves = attrs.evolve(protocol, name="leaves", replica=_Leaves)
leaving = attrs.evolve(protocol, name="leaving", invariants=(_Leaving,))
mistaken = attrs.evolve(protocol, name="mistaken", invariants=(_Mistaken,))
yes = attrs.evolve(protocol, name="yes", invariants=(_Yes,))
wordy = attrs.evolve(protocol, name="wordy", invariants=(_Wordy,))
deadly = attrs.evolve(protocol, name="deadly", replica=_Deadly)
#: Nobody watches it step by step: only what clients are told and nodes know can show the mistake.
blind = attrs.evolve(own_value, name="blind", invariants=())
