"""Programs that show mistakes in the log of Fast Paxos after which nothing wrong is said, and nothing
happens.

Each is given a mutant, or None for the sound protocol, and returns what broke, by name of the check, and how
many messages it delivered.
"""

from collections.abc import Callable
from typing import Any, Final

from fastpaxos.log import FastLogReplica, FastLogSettings
from fastpaxos.log.messages import (
    Heartbeat,
    Prepare,
    Promise,
    Propose,
    ReadAt,
    ReadIndex,
    TakeOver,
    Voted,
)
from fastpaxos.rounds import OPEN
from tests.fastpaxos_log_net import Net, Sent
from tests.mutants.patches import Mutant

__all__ = ["FASTPAXOS_LOG_DIRECTED"]

_Shown = tuple[dict[str, str], int]
#: What takes longer than so many seconds does not happen.
_LONG_S: Final = 10.0


class _Counted(Net):
    """Counts what is delivered."""

    delivered = 0

    def hand_over(self, sent: Sent) -> None:
        self.delivered += 1
        super().hand_over(sent)


def _net(mutant: Mutant | None, nodes: int, **more: Any) -> _Counted:
    from tests.mutants.build import described

    make: Any = FastLogReplica if mutant is None else described(mutant).replica
    settings = FastLogSettings(reserve_rounds=4, collisions_before_classic=0)
    net = _Counted(nodes, make=make, settings=settings, **more)
    net.clone_every = 1 << 30
    net.deliver()
    return net


def _shown(net: _Counted, *payloads: bytes) -> _Shown:
    """What broke; that a payload is not applied everywhere is against `Liveness`."""
    broken = dict(net.violations)
    for payload in payloads:
        missing = [node for node in net.nodes if payload not in net.applied(node)]
        if missing:
            broken.setdefault("Liveness", f"{payload!r} is not applied at {missing}")
    return broken, net.delivered


def who_loses_a_slot(mutant: Mutant | None) -> _Shown:
    """Two nodes want one slot, and one of them has it by four votes of five."""
    net = _net(mutant, 5)
    net.submit(1, b"a")
    net.submit(2, b"b")
    net.deliver(Propose, sender=1, to=(3, 4, 5))
    net.run(_LONG_S, step_s=0.1)
    return _shown(net, b"a", b"b")


def a_gap_below_a_command(mutant: Mutant | None) -> _Shown:
    """An observer's first proposal is lost, its second arrives, and it is gone."""
    net = _net(mutant, 3, observers=(4,))
    net.submit(4, b"lost", b"kept")
    for sent in net.pick(Propose):
        if sent.message.slot == 1:
            net.network.remove(sent)
    net.crash(4)
    net.run(_LONG_S, step_s=0.1)
    return _shown(net, b"kept")


def a_slot_beside_a_collision(mutant: Mutant | None) -> _Shown:
    """One slot collides and is recovered; another command takes two message delays all the same."""
    net = _net(mutant, 5)
    for site in (1, 2, 3):
        net.submit(site)
    net.deliver()
    net.submit(4, b"x")
    net.deliver(Propose)
    net.deliver(Voted)
    return _shown(net, b"x")


def what_only_a_dead_node_compacted(mutant: Mutant | None) -> _Shown:
    """One node knows a slot to be chosen, and forgets it; it tells so a candidate, and dies."""
    net = _net(mutant, 3)
    net.submit(1, b"x")
    net.deliver(Propose)
    net.deliver(Voted, to=1)
    net.drop()
    net.snapshot(1)
    net.tick(1)
    net.deliver(Heartbeat)
    net.drop()
    net.hand_over_message(1, 2, TakeOver(OPEN))
    net.deliver(Prepare)
    net.drop(Promise, sender=3)
    net.deliver(Promise)
    net.crash(1)
    net.run(_LONG_S, step_s=0.1)
    return _shown(net, b"x")


def a_read_after_an_answer(mutant: Mutant | None) -> _Shown:
    """A command is applied, and so answered, at one node; the others have voted, and heard of no votes.

    An observer, which has no vote of its own to tell by, asks them.
    """
    net = _net(mutant, 5, observers=(6,))
    net.submit(1, b"x")
    net.deliver(Propose)
    net.deliver(Voted, to=1)
    net.drop()
    assert net.applied(1) == [b"x"]
    net.read(6)
    net.deliver(ReadIndex, to=(2, 3, 4))
    net.deliver(ReadAt)
    return _shown(net)


#: By name.
FASTPAXOS_LOG_DIRECTED: Final[dict[str, Callable[[Mutant | None], _Shown]]] = {
    program.__name__: program
    for program in (
        who_loses_a_slot,
        a_gap_below_a_command,
        a_slot_beside_a_collision,
        what_only_a_dead_node_compacted,
        a_read_after_an_answer,
    )
}
