"""Schedules about barriers and what is truncated, each of which shows one mistake in EPaxos, or several.

Most of them were found by argument, and broke an earlier version of the rules. See
`tests.mutants.epaxos_scripts`.
"""

from typing import Final

from epaxos.instances import InstanceId
from epaxos.messages import PreAccept, PreAcceptOK
from tests.epaxos_net import writes
from tests.epaxos_script import Played, Script

__all__ = ["BARRIERS"]


def index_reset(s: Script) -> None:
    """n = 3: who executed a barrier forgets what came before it."""
    x = s.ask(2)
    s.preaccept(x, 1, 3)
    s.commit(x, 2, 1)
    b = s.bar(1)
    s.preaccept(b, 2)
    s.commit(b, 1, 2)
    s.commit(x, 2, 1)
    s.gossip(1, 2)
    y = s.ask(1)
    s.preaccept(y, 2)
    s.settle(2, 3)


def barrier_over(s: Script, *executing: int) -> tuple[InstanceId, InstanceId]:
    """n = 5: y commits fast at 1, 2, 3, known only where a barrier over it is executed."""
    y = s.ask(1)
    s.preaccept(y, 2, 3)
    for node in executing:
        s.carry(PreAccept, y, 1, node)
    s.commit(y, 1, *executing)
    b = s.bar(2)
    s.preaccept(b, 1, 5, 4)
    s.accept(b, 2, 1, 5, 4)
    s.commit(b, 2, *executing)
    s.gossip(*executing)
    return y, b


def validation_blind(s: Script) -> None:
    """n = 5: what was truncated speaks against a recovery."""
    y = s.ask(1)
    s.preaccept(y, 2, 3)
    s.commit(y, 1, 1, 2)
    b = s.bar(2)
    s.preaccept(b, 1, 5)
    s.preaccept(b, 4)
    s.accept(b, 2, 1, 5, 4)
    s.commit(b, 2, 1, 2)
    s.gossip(1, 2)
    x = s.ask(4)
    s.preaccept(x, 5)
    s.kill(4)
    s.recover(x, 5, 1, 2)
    s.validate(x, 5, 1, 2)
    s.accept(x, 5, 1, 2)
    s.kill(1, 2)
    s.dead.discard(4)
    s.start(4)
    s.commit(x, 5, 5, 4)
    s.settle(3, 4, 5)


def the_barrier_is_asked(s: Script) -> None:
    """n = 5: a recovery of what conflicts with the truncated is contradicted by the barrier alone."""
    y = s.ask(1)
    s.preaccept(y, 2, 3)
    x = s.ask(4)
    s.carry(PreAccept, x, 4, 5)
    b = s.bar(2)
    s.preaccept(b, 1, 3)
    s.commit(y, 1, 2, 3, 5)
    s.carry(PreAccept, y, 1, 5)
    s.commit(y, 1, 5)
    s.commit(b, 2, 1, 3, 5)
    s.carry(PreAccept, b, 2, 5)
    s.commit(b, 2, 5)
    s.gossip(1, 2, 3)
    s.gossip(1, 2, 3)
    s.kill(4, 3)
    s.recover(x, 5, 1, 2)
    s.validate(x, 5, 1, 2)
    s.accept(x, 5, 1, 2)
    s.dead.clear()
    s.settle(1, 2, 3, 4, 5)


def no_floor(s: Script) -> None:
    """n = 5: what was truncated is forgotten in dependencies, though n - f executed the barrier."""
    barrier_over(s, 1, 2, 5)
    x = s.ask(4)
    s.preaccept(x, 1, 5)
    s.kill(1, 4)
    s.recover(x, 5, 2, 3)
    s.validate(x, 5, 2, 3)
    s.accept(x, 5, 2, 3)
    s.settle(2, 3, 5)


def gone_anew(s: Script) -> None:
    """n = 3: a replica is asked about an instance that it truncated."""
    y = s.ask(1)
    s.preaccept(y, 2)
    s.commit(y, 1, 2)
    b = s.bar(1)
    s.preaccept(b, 2)
    s.commit(b, 1, 2)
    s.gossip(1, 2)
    s.gossip(1, 2)
    s.recover(y, 3, 2)
    s.accept(y, 3, 2)
    s.settle(2, 3)


def exception(s: Script) -> InstanceId:
    """n = 5: b over y over 3.2; 3.1, which does not conflict with y, comes after b. 5 knows little."""
    e = s.ask(3)
    g = s.ask(3, writes(b"l"))
    s.carry(PreAccept, g, 3, 2)
    y = s.ask(2, writes(b"l"))
    s.preaccept(y, 1, 4)
    b = s.bar(1)
    s.preaccept(b, 4, 5)
    s.preaccept(e, 1, 4)
    s.accept(e, 3, 1, 4)
    s.preaccept(g, 5)
    s.carry(PreAcceptOK, g, 2, 3)
    s.accept(g, 3, 2, 5)
    for inst in (y, b, e, g):
        for target in (1, 2, 3, 4):
            s.carry(PreAccept, inst, inst.owner, target)
        s.commit(inst, inst.owner, 1, 2, 3, 4)
    return b


def exception_kept(s: Script) -> None:
    """n = 5: an instance below the floor is carried out after the barrier."""
    exception(s)
    s.gossip(1, 2, 3)
    s.settle(1, 2, 3, 4, 5)


def exception_installed(s: Script) -> None:
    """n = 5: a snapshot is installed, of a barrier with an exception."""
    exception(s)
    s.gossip(1, 2, 3)
    s.gossip(1, 2, 3)
    s.settle(1, 2, 5)


def in_a_component(s: Script) -> None:
    """n = 3: a barrier and a write of a higher id that depend on each other. 3 installs the snapshot."""
    b = s.bar(1)
    x = s.ask(2)
    s.carry(PreAccept, b, 1, 2)
    s.carry(PreAccept, x, 2, 1)
    s.carry(PreAcceptOK, b, 2, 1)
    s.carry(PreAcceptOK, x, 1, 2)
    s.accept(b, 1, 2)
    s.accept(x, 2, 1)
    s.commit(b, 1, 2)
    s.commit(x, 2, 1)
    s.gossip(1, 2)
    s.gossip(1, 2)
    s.snapshot(1, 3)
    s.settle(1, 2, 3)


def installed_early(s: Script) -> None:
    """n = 5: 3 installs a snapshot that holds y, which it has pre-accepted and not heard the end of."""
    y = s.ask(1)
    s.preaccept(y, 2, 3)
    s.commit(y, 1, 2)
    b = s.bar(2)
    s.preaccept(b, 1, 4, 5)
    s.accept(b, 2, 1, 4, 5)
    s.commit(b, 2, 1)
    s.snapshot(2, 3)
    s.gossip(1, 2, 3, to=(1, 2))
    x = s.ask(4)
    s.preaccept(x, 5)
    s.kill(4)
    s.recover(x, 5, 1, 2)
    s.validate(x, 5, 1, 2)
    s.accept(x, 5, 1, 2)
    s.kill(1, 2)
    s.dead.discard(4)
    s.start(4)
    s.recover(y, 5, 3, 4)
    s.validate(y, 5, 3, 4)
    s.accept(y, 5, 3, 4)
    s.settle(3, 4, 5)


def waits_for_what_is_covered(s: Script) -> None:
    """n = 5: who installed a snapshot recovers x, and waits for y, which the snapshot holds."""
    y = s.ask(1)
    s.preaccept(y, 2, 3)
    s.commit(y, 1, 2)
    b = s.bar(2)
    s.preaccept(b, 1, 4, 5)
    s.accept(b, 2, 1, 4, 5)
    s.commit(b, 2, 1)
    x = s.ask(4)
    s.preaccept(x, 5)
    s.snapshot(2, 3)
    s.kill(4)
    s.recover(x, 3, 4, 5)
    s.recover(x, 3, 1, 5)
    s.validate(x, 3, 1, 5)
    s.accept(x, 3, 1, 5)
    s.dead.clear()
    s.settle(1, 2, 3, 4, 5)


#: All of them, by name.
BARRIERS: Final[dict[str, Played]] = {
    "index_reset": Played(index_reset),
    "validation_blind": Played(validation_blind, 5),
    "the_barrier_is_asked": Played(the_barrier_is_asked, 5),
    "no_floor": Played(no_floor, 5),
    "gone_anew": Played(gone_anew),
    "exception_kept": Played(exception_kept, 5),
    "exception_installed": Played(exception_installed, 5),
    "installed_early": Played(installed_early, 5),
    "waits_for_what_is_covered": Played(waits_for_what_is_covered, 5),
    "in_a_component": Played(in_a_component),
}
