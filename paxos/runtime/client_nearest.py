"""Which node a client talks to where every node serves its clients: the nearest, and when to go there.

How far a node is, is how long it takes to answer a handshake; the least of the last few counts, since all
else is chance.  A client stays where it is unless another node is clearly nearer, or is the one that its user
wants; what differs by less than a few milliseconds is not worth a change.  A node that broke off, or was
silent, is left alone for a while, and for longer each time, so that one which answers handshakes and carries
out nothing does not get the client back again and again.

Times are monotonic seconds and come from outside.
"""

from collections import deque
from typing import Final

from paxos.ballot import NodeId

__all__ = ["Nearness"]

#: Another node must be nearer by so much, seconds, and by this share.
_CLEARLY_S: Final = 0.005
_CLEARLY: Final = 0.75
#: So many measurements count, and so many there must be before one goes by them.
_KEPT: Final = 5
_ENOUGH: Final = 3
#: Seconds between the first ones of a node, and between later ones.
_SOON_S: Final = 0.2
_SELDOM_S: Final = 60.0
#: How long a node is left alone that broke off, or can not be reached; and one that was silent: at first, and
#: at most, seconds.
_BROKE_S: Final = (0.5, 15.0)
_SILENT_S: Final = (4.0, 60.0)
#: Who stayed so long with a node has forgiven it, seconds.
_FORGIVEN_S: Final = 30.0


class _Place:
    """What is known of one address."""

    __slots__ = ("avoid_s", "avoid_until_s", "measured_at_s", "node", "samples_s")

    def __init__(self) -> None:
        self.node: NodeId | None = None
        self.samples_s: deque[float] = deque(maxlen=_KEPT)
        self.measured_at_s = float("-inf")
        self.avoid_s = 0.0
        self.avoid_until_s = float("-inf")

    @property
    def far_s(self) -> float:
        """How far it is; infinite while that is not known."""
        return min(self.samples_s, default=float("inf"))


class Nearness:
    """How far the nodes at a client's addresses are.

    Args:
        many: how many addresses there are; they are known by their place in the list.
        prefer: the node to talk to while it can be reached; None for the nearest.
    """

    def __init__(self, many: int, prefer: NodeId | None = None) -> None:
        self.prefer = prefer
        self._places = [_Place() for _ in range(many)]

    def add(self) -> None:
        """There is one address more."""
        self._places.append(_Place())

    # --- what is learned ------------------------------------------------------------------------------

    def answered(self, at: int, node: NodeId, far_s: float, now_s: float) -> None:
        """The node at an address answered a handshake after so long."""
        place = self._places[at]
        if place.node != node:
            place.samples_s.clear()
        place.node = node
        place.samples_s.append(far_s)
        place.measured_at_s = now_s

    def failed(self, at: int, now_s: float) -> None:
        """The node at an address could not be reached."""
        self._avoid(at, _BROKE_S, now_s)

    def left(self, at: int, stayed_s: float, silent: bool, now_s: float) -> None:
        """The client had to leave a node.

        Args:
            at: where it was.
            stayed_s: for how long.
            silent: whether it did not answer, or took nothing; else the connection broke.
            now_s: monotonic seconds.
        """
        if stayed_s >= _FORGIVEN_S:
            self._places[at].avoid_s = 0.0
        self._avoid(at, _SILENT_S if silent else _BROKE_S, now_s)

    def _avoid(self, at: int, bounds_s: tuple[float, float], now_s: float) -> None:
        place, (least_s, most_s) = self._places[at], bounds_s
        place.avoid_s = min(max(2 * place.avoid_s, least_s), most_s)
        place.avoid_until_s = now_s + place.avoid_s
        place.measured_at_s = now_s

    # --- what follows ---------------------------------------------------------------------------------

    def is_wanted(self, at: int) -> bool:
        """Whether the node at an address is the one to talk to while it can be reached."""
        return self.prefer is not None and self._places[at].node == self.prefer

    def _rank(self, at: int) -> tuple[bool, float, int]:
        return (not self.is_wanted(at), self._places[at].far_s, at)

    def after(self, at: int) -> int:
        """Where to go from an address that does not do: the next nearest; from the farthest, the nearest."""
        order = sorted(range(len(self._places)), key=self._rank)
        return order[(order.index(at) + 1) % len(order)]

    def better(self, at: int, now_s: float) -> int | None:
        """Where to go from an address that does, if anywhere: to who is wanted, or is clearly nearer."""
        here = self._places[at]
        if self.is_wanted(at):
            return None
        open_ = [
            other
            for other, place in enumerate(self._places)
            if other != at and place.node is not None and place.node != here.node
            and now_s >= place.avoid_until_s and place.samples_s
        ]  # fmt: skip
        if not open_:
            return None
        best = min(open_, key=self._rank)
        place = self._places[best]
        if self.is_wanted(best):
            return best
        enough = len(place.samples_s) >= _ENOUGH and len(here.samples_s) >= _ENOUGH
        return best if enough and place.far_s < min(here.far_s - _CLEARLY_S, _CLEARLY * here.far_s) else None

    def due(self, now_s: float) -> list[int]:
        """Which addresses to measure now."""
        return [at for at in range(len(self._places)) if now_s >= self._due_s(at)]

    def next_s(self) -> float:
        """When the next one is due."""
        return min(map(self._due_s, range(len(self._places))))

    def _due_s(self, at: int) -> float:
        place = self._places[at]
        if place.avoid_until_s > place.measured_at_s:
            return place.avoid_until_s
        return place.measured_at_s + (_SOON_S if len(place.samples_s) < _ENOUGH else _SELDOM_S)
