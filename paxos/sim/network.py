"""The simulated network: when, how often and whether a message arrives.

A link keeps its messages in order, as a connection does, except for those that the fault of reordering
makes late.  While nothing can go wrong (`plain`) the event loop does not come here at all and adds the
nominal delay itself.
"""

from collections import Counter
from typing import Final

from paxos.ballot import NodeId
from paxos.contract import Message
from paxos.sim.choices import PARTS, Choices
from paxos.sim.faults import Cut, Faults
from paxos.sim.topology import Hardware, Topology
from paxos.wire import MessageTable

__all__ = ["Network"]

_NS: Final = 1_000_000_000
_MS: Final = 1_000_000


class Network:
    """The links between the members.

    Args:
        topology: nominal delays.
        hardware: the bandwidth of a link.
        members: the nodes, ascending.
        faults: what goes wrong with messages.
        choices: decides what goes wrong when.
        table: the messages, to know how long they are.
        seen: counts what went wrong.
    """

    def __init__(
        self,
        topology: Topology,
        hardware: Hardware,
        members: tuple[NodeId, ...],
        faults: Faults,
        choices: Choices,
        table: MessageTable,
        seen: Counter[str],
    ) -> None:
        self.delays_ns: dict[NodeId, dict[NodeId, int]] = {
            a: {b: round(topology.delay_ms(a, b, members) * _MS) for b in members} for a in members
        }
        self._choices = choices
        self._table = table
        self._seen = seen
        self._jitter = faults.jitter
        self._lost_from = PARTS - round(faults.loss * PARTS)
        self._twice_from = self._lost_from - round(faults.duplicate * PARTS)
        self._late_from = self._twice_from - round(faults.reorder * PARTS)
        bandwidth = hardware.bandwidth_bytes_s
        self._ns_per_byte = _NS / bandwidth if bandwidth else 0.0
        self._cuts: Counter[tuple[NodeId, NodeId]] = Counter()
        # Of links that lose more than the others: how many thousandths.
        self._lossy: Counter[tuple[NodeId, NodeId]] = Counter()
        self._last: dict[tuple[NodeId, NodeId], int] = {}
        self._free: dict[tuple[NodeId, NodeId], int] = {}
        self._healed = False
        #: Whether every message takes the nominal delay and nothing more.
        self.plain: bool = False
        self._judge()

    def _judge(self) -> None:
        # Once a link had jitter, the order on it is kept by what was promised to earlier messages.
        faulty = self._late_from < PARTS or self._jitter > 0
        self.plain = not (faulty or self._ns_per_byte or +self._cuts or self._lossy)

    def lose(self, sender: NodeId, recipient: NodeId, share: float) -> None:
        """A link loses this share of its messages from now on, beside what all links lose; 0 for none."""
        self._lossy[sender, recipient] = 0 if self._healed else round(share * PARTS)
        self._lossy = +self._lossy
        self._judge()

    def cut(self, cut: Cut) -> None:
        """Messages one way are lost from now on."""
        self._cuts.update((a, b) for a in cut.from_nodes for b in cut.to_nodes if a != b)
        self._judge()

    def mend(self, cut: Cut) -> None:
        """The cut is over; another one of the same link goes on."""
        if not self._healed:
            self._cuts.subtract((a, b) for a in cut.from_nodes for b in cut.to_nodes if a != b)
            self._judge()

    def heal(self) -> None:
        """Faults are over: from now on every message arrives, once, in order."""
        self._healed = True
        self._cuts.clear()
        self._lossy.clear()
        self._judge()

    def reaches(self, sender: NodeId, recipient: NodeId) -> bool:
        """Whether the link is not cut."""
        return self._cuts[sender, recipient] <= 0

    def route(self, sender: NodeId, recipient: NodeId, message: Message, now_ns: int) -> tuple[int, ...]:
        """When the message arrives: once, twice, or, if it is lost, never."""
        link = (sender, recipient)
        if self._cuts and self._cuts[link] > 0:
            self._seen["cut"] += 1
            return ()
        if self._lossy and self._lossy[link] and self._choices.draw("lossy", PARTS) < self._lossy[link]:
            self._seen["lost"] += 1
            return ()
        nominal = self.delays_ns[sender][recipient]
        at = self._departs(link, message, now_ns) + nominal
        if self._healed:
            return (self._in_order(link, at),)
        fate = self._choices.draw("message", PARTS) if self._late_from < PARTS else 0
        if fate >= self._lost_from:
            self._seen["lost"] += 1
            return ()
        if self._jitter:
            at += int(nominal * self._jitter * self._choices.draw("jitter", PARTS) / PARTS)
        if fate >= self._twice_from:
            self._seen["duplicated"] += 1
            at = self._in_order(link, at)
            return (at, at + self._lateness(nominal))
        if fate >= self._late_from:
            self._seen["reordered"] += 1
            return (at + self._lateness(nominal),)
        return (self._in_order(link, at),)

    def _departs(self, link: tuple[NodeId, NodeId], message: Message, now_ns: int) -> int:
        if not self._ns_per_byte:
            return now_ns
        length = len(self._table.encode((message,)))
        self._free[link] = departs = max(now_ns, self._free.get(link, 0)) + int(length * self._ns_per_byte)
        return departs

    def _in_order(self, link: tuple[NodeId, NodeId], at: int) -> int:
        self._last[link] = at = max(at, self._last.get(link, 0))
        return at

    def _lateness(self, nominal: int) -> int:
        """Long enough to be overtaken by several others, there and back."""
        return (4 * nominal + _MS) * (self._choices.draw("late", PARTS) + 1) // PARTS
