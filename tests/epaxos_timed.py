"""Replicas of EPaxos whose messages take their time: links between sites, in virtual time.

Otherwise like `tests.epaxos_net`: a disk writes at once, and nothing happens by itself but what is due.
"""

from collections.abc import Iterable

from paxos.ballot import NodeId
from tests.epaxos_net import Net, Sent


class Timed(Net):
    """Messages take their time, and links are first in, first out."""

    delay_s = 0.05

    def start(self, node: NodeId) -> None:
        if not hasattr(self, "arrivals"):
            self.arrivals: list[tuple[float, int, Sent]] = []
            self.posted = 0
        super().start(node)

    def post(self, sent: Iterable[Sent]) -> None:
        for each in sent:
            self.posted += 1
            delay_s = self.delay_s * (1 + (each.sender * 7 + each.recipient * 3) % 5 / 10)
            self.arrivals.append((self.now_s + delay_s, self.posted, each))

    def pass_time(self, end_s: float) -> None:
        """Whatever happens up to then."""
        while True:
            arrives = min(self.arrivals, default=None)
            due = [(at_s, n) for n, at_s in self.wakes.items() if n in self.nodes and at_s is not None]
            wakes = min(due, default=None)
            if arrives is not None and arrives[0] <= end_s and (wakes is None or arrives[0] <= wakes[0]):
                self.arrivals.remove(arrives)
                self.now_s = max(self.now_s, arrives[0])
                self.deliver(arrives[2], keep=True)
            elif wakes is not None and wakes[0] <= end_s:
                self.now_s = max(self.now_s, wakes[0])
                self.tick(wakes[1])
            else:
                self.now_s = max(self.now_s, end_s)
                return
