"""Revisions of a store as clients are told them: a count, and whose count it is where that matters.

A key-value store counts the commands that changed something.  Where all commands have one order, a number is
the same change at every node.  Where only conflicting ones have, two nodes may number two changes the other
way round, and so may one node after it was started again: then a number means something at one node, from
its start to its end, and nowhere else.  There a revision says both, the place above the count, so that who
asks at another place what came after it is refused, and does not miss a change.

    revision = place << 63 | count          place = which start of the node << 31 | node
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from paxos.ballot import NodeId
from paxos.contract import Orders
from paxos.service.keyvalue_requests import MAX_REVISION

__all__ = ["MAX_PLACED", "Placed", "orders_value", "place_of", "where"]

_ORDERS: Final = "orders"
_COUNT_BITS: Final = 63
_NODE_BITS: Final = 31
_INCARNATION_BITS: Final = 63
assert MAX_REVISION < 1 << _COUNT_BITS, "a count fits"

#: The highest revision.
MAX_PLACED: Final = (1 << (_COUNT_BITS + _NODE_BITS + _INCARNATION_BITS)) - 1


class Placed(NamedTuple):
    """A revision, taken apart.

    Args:
        place: where it holds; 0 for everywhere.
        number: how many commands had changed something there.
    """

    place: int
    number: int

    @classmethod
    def of(cls, revision: int) -> "Placed":
        """Take a revision apart; what is none is a count that nobody takes."""
        if type(revision) is not int or revision < 0:
            return cls(0, revision)
        return cls(revision >> _COUNT_BITS, revision & ((1 << _COUNT_BITS) - 1))

    @property
    def revision(self) -> int:
        """As one number. Those of one place rise by one with each change there."""
        return self.place << _COUNT_BITS | self.number


def orders_value(orders: Orders) -> dict[str, str]:
    """What a node says of its order in the handshake; nothing where everything has one."""
    return {} if orders is Orders.TOTAL else {_ORDERS: orders.value}


def where(place: int) -> str:
    """A place in words."""
    if not place:
        return "a cluster with one order"
    return f"node {place & ((1 << _NODE_BITS) - 1)} in its start {place >> _NODE_BITS}"


def place_of(node: NodeId, incarnation: int, values: Mapping[str, str]) -> int:
    """Where what a node tells holds.

    Args:
        node: its id.
        incarnation: which start of it, from 1.
        values: what it says in the handshake.
    """
    if values.get(_ORDERS, Orders.TOTAL.value) == Orders.TOTAL.value:
        return 0
    return incarnation << _NODE_BITS | node
