"""How a cluster that is moved by hand is healed: all works again, and whoever waits must be answered.

Nodes that are down start, messages arrive in order, and time goes on as soon as nothing else can happen.
Clients do what clients do: who finds a node gone goes to the next, and who got no answer, because a crash
took it, asks again.  Nothing here is chosen, so what nodes draw is all that two healings differ in.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from paxos.ballot import NodeId
from paxos.contract import Decides
from paxos.quorum import Phase

if TYPE_CHECKING:
    from paxos.sim.stepper import Stepper

__all__ = ["ask_next", "heal", "settle"]

#: How often clients are sent on, and nothing else happens, before time goes on.
_PATIENCE: Final = 20
#: Moves after which a client asks again, and so many more for each that has not asked yet, up to a bound.
#: Nodes of a log talk for ever: they tell not that one is lost.
_BEFORE_ASKING: Final = 100
_BEFORE_EACH: Final = 30
_BEFORE_ASKING_MAX: Final = 1000


def ask_next(stepper: "Stepper") -> bool:
    """The next client asks; if its node does not run, the next node that does. False while none runs."""
    up = stepper.up()
    if not up or not stepper.requests or stepper.over:
        return False
    node, asked = stepper.requests[0]
    if node not in up:
        node = next((other for other in up if other > node), up[0])
        stepper.requests[0] = (node, asked)
    return stepper.submit(node, asked)


def settle(stepper: "Stepper", most: int) -> bool:
    """See `Stepper.settle`."""
    for node in stepper.down():
        stepper.restart(node)
    sent_on = 0
    # Wake-ups of nodes that have nothing to do for a client never end: they do not count.
    while not stepper.over and most > 0:
        most -= 1
        if stepper.pool:
            if not stepper.deliver_at(0):
                stepper.drop_at(0)
            continue
        wakeable = stepper.wakeable()
        if stepper.requests and (sent_on < _PATIENCE or not wakeable):
            if not ask_next(stepper):
                break
            # Two nodes that send a client to each other learn better only when time goes on.
            sent_on = 0 if stepper.pool else sent_on + 1
        elif (stepper.requests or stepper.unanswered) and wakeable:
            stepper.tick(wakeable[0])
            sent_on = 0
        else:
            break
    return not stepper.over and stepper.quiet


def heal(stepper: "Stepper", most: int) -> list[str]:
    """See `Stepper.heal`."""
    settle(stepper, min(most, _BEFORE_ASKING + _BEFORE_EACH * len(stepper.requests), _BEFORE_ASKING_MAX))
    if stepper.over or not stepper.unanswered or not _quorate(stepper):
        return []
    waiting = [n for n, op in enumerate(stepper.history()) if op.outcome is None]
    asked_at = dict(_ask_again(stepper, n) for n in waiting)
    settle(stepper, most)
    # A node that lost its disk takes questions until the others have told it so, and then stops for good:
    # who asked there finds it gone, and goes to the next one.
    for _ in stepper.members:
        up = stepper.up()
        gone = [n for n in _unanswered(stepper, asked_at) if asked_at[n] not in up]
        if stepper.over or not gone or not _quorate(stepper):
            break
        for n in gone:
            del asked_at[n]
        asked_at.update(_ask_again(stepper, n) for n in gone)
        settle(stepper, most)
    if stepper.over:
        return []
    return [str(stepper.asked()[n]) for n in _unanswered(stepper, asked_at)]


def _ask_again(stepper: "Stepper", number: int) -> tuple[int, NodeId]:
    """Operation `number` is asked again; the number of that question, and the node that has it."""
    op, asked, up = stepper.history()[number], stepper.asked()[number], stepper.up()
    # Where it was asked first: a node that owes an answer is not helped by another one.
    node = op.home if op.home in up else up[0]
    stepper.submit(node, asked)
    # A proposal repeated is the same request; a read of a decree is asked anew.
    repeated = op.value is not None or stepper.protocol.decides is Decides.LOG
    return (number if repeated else len(stepper.history()) - 1), node


def _unanswered(stepper: "Stepper", numbers: Iterable[int]) -> list[int]:
    history = stepper.history()
    return [n for n in numbers if history[n].outcome is None]


def _quorate(stepper: "Stepper") -> bool:
    """Whether the nodes that have not stopped for good can decide anything."""
    alive = set()
    for each in stepper.up():
        node = stepper.node(each)
        if node is not None and node.identity.introduced:
            alive.add(each)
    return all(stepper.quorums.is_quorum(alive, phase) for phase in (Phase.ONE, Phase.TWO))
