"""What all rooms of one replica of the log of Fast Paxos share."""

from fastpaxos.log.settings import FastLogSettings
from fastpaxos.rounds import Rounds
from paxos.contract import Configuration, Draw
from paxos.contract.context import NEVER_S
from paxos.contract.context import Context as AnyContext
from paxos.quorum import check_intersections

__all__ = ["NEVER_S", "Context"]


class Context(AnyContext[FastLogSettings]):
    """Who a replica is, which ballots are fast, and the effects that gather.

    Args:
        configuration: with `FastLogSettings`, or None for the defaults.
        draw: supplies randomness.

    Raises:
        ConfigurationError: the node is neither member nor observer, an observer is a member, or the settings
            are another protocol's.
        QuorumError: the quorums do not intersect as fast ballots need, or there are no fast ones.
    """

    __slots__ = ("rounds",)

    def __init__(self, configuration: Configuration, draw: Draw) -> None:
        super().__init__(configuration, draw, FastLogSettings, "the log of Fast Paxos")
        check_intersections(configuration.quorums, fast=True)
        self.rounds: Rounds = self.settings.rounds
