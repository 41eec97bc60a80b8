"""Basic Paxos with mistakes in it: what the explorer must find and the minimiser make short.

Each is a protocol of its own, named as `tests.planted:own_value`.
"""

import os
import sys
from typing import Any

import attrs

from paxos.ballot import BOTTOM
from paxos.basic import MESSAGES, Accepted, BasicReplica, Chosen, Learner, Proposer, protocol
from paxos.basic.proposer import ProposerState
from paxos.quorum import Phase, QuorumSystem
from paxos.wire import MessageTable

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
    "own_value",
]


class _Planted(BasicReplica):
    """A replica whose proposers and learners can be replaced."""

    proposer: type[Proposer] = Proposer
    learner: type[Learner] = Learner

    def _propose(self, state: Any, decree: bytes, value: bytes | None, now: Any) -> None:
        state.proposer = self.proposer(self._node, self._quorums, value, decree=decree, floor=self._floor)
        state.learner = self.learner(self._quorums, decree=decree)
        state.outbid = 0
        self._begin(state, state.proposer, decree, now)


class _OwnValueProposer(Proposer):
    """Proposes its own value although the promises held one."""

    def on_promise(self, sender, message):
        if self.value is not None:
            message = message._replace(accepted_ballot=BOTTOM, accepted_value=None)
        return super().on_promise(sender, message)


class _LowestProposer(Proposer):
    """Takes the accepted value of the lowest ballot. Two ballots can not show it."""

    def on_promise(self, sender, message):
        preparing = self.state is ProposerState.PREPARING and message.ballot == self.ballot
        if preparing and self._best > message.accepted_ballot > BOTTOM:
            self._best = BOTTOM
        elif preparing and message.accepted_ballot > self._best > BOTTOM:
            message = message._replace(accepted_ballot=BOTTOM, accepted_value=None)
        return super().on_promise(sender, message)


class _AcrossBallots(Learner):
    """Adds up votes of different ballots for one value."""

    def receive(self, sender, message):
        if message.__class__ is not Accepted or self.decision is not None:
            return None
        tally = self._tallies.setdefault(BOTTOM, (message.value, set()))
        if tally[0] != message.value:
            self._tallies[BOTTOM] = tally = (message.value, set())
        tally[1].add(sender)
        return self._decide(message) if self.quorums.is_quorum(tally[1], Phase.TWO) else None

    def _decide(self, message):
        from paxos.basic import Decision

        self.decision = Decision(message.decree, message.ballot, message.value)
        return self.decision


class _OwnValue(_Planted):
    proposer = _OwnValueProposer


class _Lowest(_Planted):
    proposer = _LowestProposer


class _Across(_Planted):
    learner = _AcrossBallots


class _Amnesiac(BasicReplica):
    """Forgets its promises and votes over a restart, but not its ballots."""

    def __init__(self, configuration, records, draw, now):
        super().__init__(configuration, {key: v for key, v in records.items() if key[:1] != b"A"}, draw, now)


class _Half(QuorumSystem):
    """Half of the members are a quorum: one too few."""

    def __init__(self, members):
        self.members = tuple(members)

    def is_quorum(self, nodes, phase=Phase.TWO):
        return len(set(nodes) & set(self.members)) >= len(self.members) // 2


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


def _early_table() -> MessageTable:
    return MessageTable(attrs.evolve(each, reports=each.name == "Reserved") for each in MESSAGES)


own_value = attrs.evolve(protocol, name="own_value", replica=_OwnValue)
lowest = attrs.evolve(protocol, name="lowest", replica=_Lowest)
across_ballots = attrs.evolve(protocol, name="across_ballots", replica=_Across)
amnesiac = attrs.evolve(protocol, name="amnesiac", replica=_Amnesiac)
half = attrs.evolve(protocol, name="half", quorums=_Half)
early = attrs.evolve(protocol, name="early", messages=_early_table())
deaf = attrs.evolve(protocol, name="deaf", replica=_Deaf)
fragile = attrs.evolve(protocol, name="fragile", replica=_Fragile)
fickle = attrs.evolve(protocol, name="fickle", replica=Fickle)
hangs = attrs.evolve(protocol, name="hangs", replica=_Hangs)
leaves = attrs.evolve(protocol, name="leaves", replica=_Leaves)
leaving = attrs.evolve(protocol, name="leaving", invariants=(_Leaving,))
deadly = attrs.evolve(protocol, name="deadly", replica=_Deadly)
#: Nobody watches it step by step: only what clients are told and nodes know can show the mistake.
blind = attrs.evolve(own_value, name="blind", invariants=())
