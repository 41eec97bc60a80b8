"""The quorums of EPaxos: two numbers of failures, and what follows from them.

Of n replicas, f may fail without stopping the protocol, and e of them without stopping the fast path.  A
classic quorum is what is left when f have failed, a fast quorum what is left when e have.  Not every pair
will do.  Two classic quorums must meet; and a recovery that asks n - f replicas must be able to tell whether
a fast quorum may have formed, which takes n >= 2e + f - 1.

These are not the fast quorums of Fast Paxos, where any two of them have to meet inside every classic one:
in EPaxos an instance has one owner, so two commands never compete for it.
"""

from collections.abc import Callable, Collection
from typing import Final

from paxos.ballot import NodeId
from paxos.errors import QuorumError
from paxos.quorum import Phase, QuorumSystem

__all__ = ["EPaxosQuorums"]

_LEAST_MEMBERS: Final = 3


class EPaxosQuorums(QuorumSystem):
    """Classic quorums of n - f replicas, fast ones of n - e.

    Args:
        members: node ids, in any order; at least three.
        failures: f, how many may fail without stopping the protocol; None for as many as n allows,
            floor((n - 1) / 2).
        fast_failures: e, how many may fail without stopping the fast path, at most f; None for the half of
            f + 1, rounded up, or for as many as n allows where that is less.

    Raises:
        QuorumError: bad members, or a pair (f, e) with which n replicas can not decide safely.

    Source: Ryabinin, Gotsman and Sutra, *Making Democracy Work: Fixing and Simplifying Egalitarian Paxos*,
        2025: n >= max(2f + 1, 2e + f - 1), which they show to be as few as possible.
    """

    members: tuple[NodeId, ...]
    failures: int
    fast_failures: int

    def __init__(
        self, members: Collection[NodeId], failures: int | None = None, fast_failures: int | None = None
    ) -> None:
        ids = sorted(members)
        if len(set(ids)) != len(ids) or not all(type(node) is int and node >= 1 for node in ids):
            raise QuorumError(f"EPaxosQuorums: members must be different ids from 1, not {ids!r:.200}")
        n = len(ids)
        if n < _LEAST_MEMBERS:
            raise QuorumError(f"EPaxosQuorums: EPaxos needs at least {_LEAST_MEMBERS} replicas, not {n}")
        f = (n - 1) // 2 if failures is None else failures
        if type(f) is not int or f < 0:
            raise QuorumError(f"EPaxosQuorums: failures must be a whole number from 0, not {f!r:.40}")
        if 2 * f + 1 > n:
            raise QuorumError(
                f"EPaxosQuorums: with {n} replicas at most {(n - 1) // 2} may fail, not {f}: "
                f"two classic quorums of {n - f} need not meet"
            )
        most = min(f, (n + 1 - f) // 2)
        e = min((f + 2) // 2, most) if fast_failures is None else fast_failures
        if type(e) is not int or not 0 <= e <= f:
            raise QuorumError(
                f"EPaxosQuorums: fast_failures must be a whole number from 0 to failures, {f}, not {e!r:.40}"
            )
        if 2 * e + f - 1 > n:
            raise QuorumError(
                f"EPaxosQuorums: with {n} replicas and {f} failures the fast path survives at most {most}, "
                f"not {e}: a recovery that asks {n - f} replicas could not tell whether a fast quorum of "
                f"{n - e} formed"
            )
        for name, value in (("members", tuple(ids)), ("failures", f), ("fast_failures", e)):
            object.__setattr__(self, name, value)
        sizes = {Phase.ONE: n - f, Phase.TWO: n - f, Phase.FAST: n - e}
        object.__setattr__(self, "_sizes", sizes)
        object.__setattr__(self, "_set", frozenset(ids))

    _sizes: dict[Phase, int]
    _set: frozenset[NodeId]

    @property
    def classic(self) -> int:
        """How many replicas a classic quorum has, n - f."""
        return self._sizes[Phase.TWO]

    @property
    def fast(self) -> int:
        """How many replicas a fast quorum has, n - e."""
        return self._sizes[Phase.FAST]

    def is_quorum(self, nodes: Collection[NodeId], phase: Phase = Phase.TWO) -> bool:
        """Whether at least as many members as the phase needs are among `nodes`."""
        size = self._sizes[phase]
        return len(nodes) >= size and len(self._set.intersection(nodes)) >= size

    def survives(self, phase: Phase = Phase.TWO) -> int:
        """The largest k such that after the failure of *any* k members some quorum of `phase` remains."""
        return len(self.members) - self._sizes[phase]

    def best_quorum(self, distance: Callable[[NodeId], float], phase: Phase = Phase.TWO) -> frozenset[NodeId]:
        """The smallest quorum of `phase` whose farthest member is nearest; see `QuorumSystem.best_quorum`."""
        far = {node: distance(node) for node in self.members}
        for node, each in far.items():
            if not each >= 0:
                raise QuorumError(f"{self.describe()}: node {node} is {each} away; it must be 0 or more")
        nearest = sorted(self.members, key=lambda node: (far[node], node))
        return frozenset(nearest[: self._sizes[phase]])

    def describe(self) -> str:
        """What the system is, in one line."""
        ids = ",".join(map(str, self.members))
        return f"epaxos({ids};failures={self.failures},fast_failures={self.fast_failures})"

    def __repr__(self) -> str:
        return f"<EPaxosQuorums {self.describe()}>"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("EPaxosQuorums can not be changed: its quorums are proved to intersect")
