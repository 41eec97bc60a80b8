"""What all rooms of one replica of Multi-Paxos share."""

from multipaxos.settings import MultiPaxosSettings
from paxos.contract import Configuration, Draw
from paxos.contract.context import NEVER_S
from paxos.contract.context import Context as AnyContext

__all__ = ["NEVER_S", "Context"]


class Context(AnyContext[MultiPaxosSettings]):
    """Who a replica is, and the effects that gather.

    Args:
        configuration: with `MultiPaxosSettings`, or None for the defaults.
        draw: supplies randomness.

    Raises:
        ConfigurationError: the node is neither member nor observer, an observer is a member, or the settings
            are another protocol's.
    """

    __slots__ = ()

    def __init__(self, configuration: Configuration, draw: Draw) -> None:
        super().__init__(configuration, draw, MultiPaxosSettings, "Multi-Paxos")
