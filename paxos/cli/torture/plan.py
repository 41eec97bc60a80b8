"""What goes wrong, and when: drawn before anything runs, so that a seed names one plan.

Two things go wrong side by side.  Processes are killed, stopped, paused; meanwhile connections are cut,
slowed, or lose what goes one way.  Either comes one after the other, with a little quiet between, and ends
by itself.

A plan names nodes by their ids.  Where it is the leader's turn, the node that leads then takes the place of
the first one named; who that is, and how the processes race, is the machine's own affair.
"""

import random
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

import attrs

from paxos.ballot import NodeId

__all__ = ["Fault", "Kind", "draw_plan"]


class Kind(StrEnum):
    """What can go wrong."""

    KILL = "kill"
    STOP = "stop"
    PAUSE = "pause"
    TRANSFER = "transfer"
    CUT = "cut"
    SPLIT = "split"
    MUTE = "mute"
    DEAFEN = "deafen"
    SLOW = "slow"
    CLIENTS = "clients"


@attrs.frozen
class Fault:
    """One thing that goes wrong.

    Args:
        at_s: when, seconds from the start.
        kind: what: `kill` (kill -9, and started again), `stop` (SIGTERM, and started again), `pause`
            (SIGSTOP, SIGCONT), `transfer` (no fault: the leadership is handed to the node), `cut` (all
            connections of the nodes to others break, and none can be made), `split` (the same between two
            nodes only), `mute` (what they send gets lost), `deafen` (what they are sent gets lost), `slow`
            (what they send and are sent takes longer), `clients` (connections of clients to them break once).
        nodes: whom it befalls.
        leader: whether the node that leads then takes the place of the first.
        lasts_s: for how long, seconds.
        late: whether what was lost on the way arrives in the end after all.
    """

    at_s: float
    kind: Kind
    nodes: tuple[NodeId, ...]
    leader: bool
    lasts_s: float
    late: bool

    @property
    def of_processes(self) -> bool:
        """Whether it befalls processes, not connections."""
        return self.kind in _PROCESSES


_PROCESSES: Final = (Kind.KILL, Kind.STOP, Kind.PAUSE, Kind.TRANSFER)
_CONNECTIONS: Final = (Kind.CUT, Kind.SPLIT, Kind.MUTE, Kind.DEAFEN, Kind.SLOW, Kind.CLIENTS)
_WEIGHTS: Final = {Kind.KILL: 10, Kind.STOP: 3, Kind.PAUSE: 5, Kind.TRANSFER: 2}
#: One in so many kills takes a majority, or all.
_MAJORITY: Final = 8
#: One in so many faults lasts long, so that what the others forget meanwhile has to come as a snapshot.
_LONG: Final = 7
_LONG_S: Final = (4.0, 9.0)
_FIRST_S: Final = 0.8
#: Quiet between two faults, seconds: of processes, and of connections.
_QUIET_S: Final = ((0.3, 3.0), (0.5, 4.0))


def draw_plan(seed: int, nodes: Sequence[NodeId], seconds: float) -> tuple[Fault, ...]:
    """Everything that goes wrong, in order of time.

    Args:
        seed: of what is random.
        nodes: the cluster's.
        seconds: when the last of it is over, at the latest.
    """
    found: list[Fault] = []
    for lane, kinds in enumerate((_PROCESSES, _CONNECTIONS)):
        draw = random.Random(f"{seed}/{lane}")
        at_s = _FIRST_S * (1 + lane)
        for fault in _lane(draw, kinds, nodes):
            fault = attrs.evolve(fault, at_s=round(at_s, 3))
            if at_s + fault.lasts_s > seconds:
                break
            found.append(fault)
            at_s += fault.lasts_s + draw.uniform(*_QUIET_S[lane])
    return tuple(sorted(found, key=lambda fault: fault.at_s))


def _lane(draw: random.Random, kinds: Sequence[Kind], nodes: Sequence[NodeId]) -> Iterator[Fault]:
    minority = max((len(nodes) - 1) // 2, 1)
    # Whatever the seed, even the shortest campaign kills the leader.
    kind, first = kinds[0], True
    while True:
        many = draw.randint(1, minority)
        if kind is Kind.KILL and not first and draw.randrange(_MAJORITY) == 0:
            many = draw.randint(minority + 1, len(nodes))
        elif kind is Kind.SPLIT:
            many = min(2, len(nodes))
        elif kind is Kind.TRANSFER:
            many = 1
        elif kind is Kind.SLOW and draw.randrange(2):
            many = len(nodes)
        long = not first and draw.randrange(_LONG) == 0
        yield Fault(
            at_s=0.0,
            kind=kind,
            nodes=tuple(draw.sample(list(nodes), many)),
            leader=kind is not Kind.TRANSFER and (first or draw.randrange(2) == 0),
            lasts_s=round(draw.uniform(*(_LONG_S if long else (0.1, 2.0))), 3),
            late=draw.randrange(2) == 0,
        )
        weights = [_WEIGHTS.get(each, 2) for each in kinds]
        (kind,), first = draw.choices(kinds, weights), False
