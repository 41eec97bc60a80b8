"""What all rooms of one replica of EPaxos share: who it is, and where each member stands in dependencies."""

from epaxos.instances import Choice, Deps, no_op
from epaxos.messages import MAX_MEMBERS
from epaxos.quorums import EPaxosQuorums
from epaxos.settings import EPaxosSettings
from paxos.ballot import Ballot, NodeId
from paxos.contract import Configuration, Draw
from paxos.contract.context import NEVER_S
from paxos.contract.context import Context as AnyContext
from paxos.errors import ConfigurationError

__all__ = ["NEVER_S", "Context"]


class Context(AnyContext[EPaxosSettings]):
    """Who a replica is, and the effects that gather.

    Args:
        configuration: with `EPaxosQuorums`, and `EPaxosSettings` or None for the defaults.
        draw: supplies randomness.

    Attributes:
        rank: of each member, its place in dependencies.
        own_rank: this replica's; -1 for an observer.
        lowest: of each member, the ballot at which it proposes its own instances.
        classic, fast: how many replicas the quorums have.
        failures, fast_failures: f and e.
        no_op: the choice that nothing is carried out.

    Raises:
        ConfigurationError: the node is neither member nor observer, an observer is a member, there are too
            many members, or the settings or the quorums are another protocol's.
    """

    __slots__ = (
        "classic",
        "failures",
        "fast",
        "fast_failures",
        "lowest",
        "no_op",
        "own_rank",
        "rank",
    )

    def __init__(self, configuration: Configuration, draw: Draw) -> None:
        super().__init__(configuration, draw, EPaxosSettings, "EPaxos")
        quorums = configuration.quorums
        if not isinstance(quorums, EPaxosQuorums):
            raise ConfigurationError(
                f"the quorums of EPaxos are given by how many replicas may fail (EPaxosQuorums), not by "
                f"{quorums.describe():.200}"
            )
        if len(self.members) > MAX_MEMBERS:
            raise ConfigurationError(f"EPaxos has at most {MAX_MEMBERS} members, not {len(self.members)}")
        self.rank: dict[NodeId, int] = {node: rank for rank, node in enumerate(self.members)}
        self.own_rank: int = self.rank.get(self.node, -1)
        self.lowest: tuple[Ballot, ...] = tuple(Ballot(0, node) for node in self.members)
        self.classic: int = quorums.classic
        self.fast: int = quorums.fast
        self.failures: int = quorums.failures
        self.fast_failures: int = quorums.fast_failures
        self.no_op: Choice = no_op(len(self.members))

    def fits(self, deps: Deps) -> bool:
        """Whether dependencies are of this cluster: one number for each member."""
        return len(deps) == len(self.members)

    def name(self, rank: int, number: int) -> str:
        """An instance, for people."""
        return f"{self.members[rank]}.{number}"
