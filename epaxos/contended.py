"""Components among commands that all write one key: where everything conflicts, no graph is needed.

Two such commands always conflict, so one depends on another exactly if its dependencies cover it, and these
are prefixes. What a command leads to is then a prefix of each owner's commands. It is found by maxima of
dependencies alone, with a few steps for each component and owner, however many commands are in it.

The components are taken off from below, one after the other. Of each owner's commands the lowest that is left
is looked at. (Each command depends on the one before it of the same owner, so whatever leads to one leads to
all below it.) What the one leads to that has the fewest dependencies is the next component, if the lowest of
the other owners in it lead to all of it as well: then each of its commands leads to each.

So it is where of every two conflicting commands one depends on the other, which EPaxos sees to. This room
takes nobody's word for it: whatever is not as it should be, it leaves to the graph. It gives up at the first
component that it can not make out, so its work is linear in the number of commands.
"""

from collections.abc import Sequence
from operator import ge, gt
from typing import Final

from epaxos.graph import Node

__all__ = ["contended_components"]

#: Where an owner has nothing here: above all numbers.
_NOTHING: Final = 1 << 63


def contended_components(nodes: Sequence[Node], members: int) -> list[tuple[Node, ...]] | None:
    """The components among these, each after the one that it depends on.

    Args:
        nodes: all that is committed and not executed. What they depend on beside each other is executed, or
            touches nothing.
        members: how many owners there are.

    Returns:
        The components, each by rank and number; each depends on the one before it, and on others that come
        later in no way. None when they do not all write one key, or are no such sequence.
    """
    key = nodes[0].footprint.writes[:1]
    by_rank: list[list[Node]] = [[] for _ in range(members)]
    for node in nodes:
        rank, _, (_, writes, _, _, _), _, barrier = node
        if writes[:1] != key or barrier:
            return None
        by_rank[rank].append(node)
    if not key:
        return None
    for rank, own in enumerate(by_rank):
        if own:
            own.sort()  # by number, which no two have
            numbers = [number for _, number, _, _, _ in own]
            known = [deps[rank] for _, _, _, deps, _ in own]
            # Without a gap, and each depends on the one before it.
            if numbers[-1] - numbers[0] + 1 != len(own) or not all(map(ge, known[1:], numbers)):
                return None
            if len(own) == len(nodes) and all(map(gt, numbers, known)):
                return [(node,) for node in own]
    return _Rest(by_rank).take_off()


class _Rest:
    """What is not taken off yet.

    Args:
        by_rank: the commands of each owner, in order.
    """

    __slots__ = ("_by_rank", "_first", "_taken", "_tops")

    def __init__(self, by_rank: list[list[Node]]) -> None:
        self._by_rank = by_rank
        self._first = [own[0].number if own else _NOTHING for own in by_rank]
        self._tops = [own[-1].number if own else _NOTHING for own in by_rank]
        # All up to these numbers is taken off.
        self._taken = [first - 1 if first != _NOTHING else first for first in self._first]

    def take_off(self) -> list[tuple[Node, ...]] | None:
        """The components, from below; None when one can not be made out, or does not depend on the last."""
        found: list[tuple[Node, ...]] = []
        before = self._taken
        while self._taken != self._tops:
            taken = self._taken
            lowest, is_single = self._lowest()
            deps: Sequence[int] = lowest.deps
            if is_single:
                upto = [*taken]
                upto[lowest.rank] += 1
                component = [lowest]
            else:
                upto, deps = self._lead_to(lowest)
                component = []
                for rank, (own, first) in enumerate(zip(self._by_rank, self._first, strict=True)):
                    if taken[rank] < upto[rank]:
                        node = own[taken[rank] + 1 - first]
                        if node is not lowest and self._lead_to(node)[0] != upto:
                            return None
                        component += own[taken[rank] + 1 - first : upto[rank] + 1 - first]
            if found:
                for needed, low, high in zip(deps, before, taken, strict=True):
                    if low < high and needed > low:
                        break
                else:
                    return None
            found.append(tuple(component))
            before, self._taken = taken, upto
        return found

    def _lowest(self) -> tuple[Node, bool]:
        """Of each owner's lowest command the one with the fewest dependencies here; whether it has none."""
        taken, tops = self._taken, self._tops
        best: Node | None = None
        fewest = _NOTHING
        for own, first, low, top in zip(self._by_rank, self._first, taken, tops, strict=True):
            if low == top:
                continue
            node = own[low + 1 - first]
            weight = 0
            for needed, begin, end in zip(node.deps, taken, tops, strict=True):
                if needed > begin:
                    weight += (needed if needed < end else end) - begin
            if not weight:
                return node, True
            if weight < fewest:
                best, fewest = node, weight
        assert best is not None, "something is left"
        return best, False

    def _lead_to(self, node: Node) -> tuple[list[int], Sequence[int]]:
        """What a lowest command leads to: up to which number of each owner; and all dependencies of that."""
        done, upto, tops = self._taken, [*self._taken], self._tops
        upto[node.rank] += 1
        deps: Sequence[int] = node.deps
        while True:
            done = upto
            upto = [
                at if needed <= at else min(needed, top)
                for at, needed, top in zip(done, deps, tops, strict=True)
            ]
            if done == upto:
                return upto, deps
            rows = [
                each.deps
                for own, first, low, high in zip(self._by_rank, self._first, done, upto, strict=True)
                if low < high
                for each in own[low + 1 - first : high + 1 - first]
            ]
            deps = [*map(max, deps, *rows)]
