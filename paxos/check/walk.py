"""Random walks over moves: how an untimed run is explored.

A walk asks for one number a move and goes where it says: mostly some message arrives, now and then a node
crashes or wakes.  0 is the boring move, the oldest message, so that a list of numbers that runs out ends as
a quiet run.
"""

from collections import Counter
from typing import Any, Final

import attrs

from paxos.contract import Decides
from paxos.sim import Choices, Violation, fields
from paxos.sim.moves import Asked
from paxos.sim.result import counted
from paxos.sim.runner import fewer_collections
from paxos.sim.stepper import Stepper
from paxos.sim.stepper_healing import ask_next

__all__ = ["Walk", "walk"]

_PARTS: Final = 1000
#: How much a walk may leave in flight: beyond it, arrivals take turns with all else.
_CROWDED: Final = 200
#: Of a log: one in so many requests is an earlier one that a client repeats.
_REPEATS: Final = 10
#: So many moves all has to settle in when it is healed and clients have asked again.
_HEAL_MOVES: Final = 10_000


def _share() -> Any:
    return attrs.field(default=0.0, validator=fields.share(0.5))


@attrs.frozen
class Walk:
    """What a random walk does.

    Args:
        moves: how many numbers it asks for at most.
        operations: requests of clients.
        names: decrees or keys they are about.
        reads: share of requests that only read.
        disorder: share of arrivals that take any message in flight and not the oldest.
        submit: share of moves at which a client asks; it also asks when nothing else is to do.
        tick: share at which a node is woken.
        crash: share at which a node crashes, what its disk had not synced being lost, torn or kept.
        restart: share at which a node that is down starts again.
        duplicate: share at which a message is copied.
        drop: share at which one is lost.
        wipe: share at which a node loses its disk; one node at most does.
        settle: at the end let everything work again and everything arrive; whoever waits must be answered.

    Raises:
        ConfigurationError: a field has a wrong type or is out of range; the message names it.
    """

    moves: int = attrs.field(default=200, validator=fields.count(0, 1_000_000))
    operations: int = attrs.field(default=4, validator=fields.count(0, 10_000))
    names: int = attrs.field(default=1, validator=fields.count(1, 10_000))
    reads: float = attrs.field(default=0.0, validator=fields.number(0, 1))
    disorder: float = attrs.field(default=0.5, validator=fields.number(0, 1))
    submit: float = attrs.field(default=0.05, validator=fields.share(0.5))
    tick: float = _share()
    crash: float = _share()
    restart: float = _share()
    duplicate: float = _share()
    drop: float = _share()
    wipe: float = _share()
    settle: bool = attrs.field(default=True, validator=fields.flag)


def walk(stepper: Stepper, plan: Walk, choices: Choices) -> None:
    """Walk, and judge where it ended; who has no answer when all is healed breaks `Liveness`.

    Args:
        stepper: fresh.
        plan: what to do how often.
        choices: decides; the same choices walk the same way.
    """
    members, draw = stepper.members, choices.draw
    log = stepper.protocol.decides is Decides.LOG
    ask = _ask_log if log else _ask_decree
    words: Counter[Asked] = Counter()
    for number in range(plan.operations):
        node = members[draw("client", len(members))]
        name = draw("name", plan.names)
        reads = bool(plan.reads) and choices.happens("read", plan.reads)
        asked = ask(number, name, reads, choices)
        if log and number and draw("again", _REPEATS) == _REPEATS - 1:
            asked = stepper.requests[draw("which", number)][1]
        elif log:
            words[asked] += 1
            # Without a number the same words would be the same request.
            asked = asked._replace(number=words[asked] if words[asked] > 1 else 0)
        stepper.requests.append((node, asked))
    waiting: list[str] = []
    with fewer_collections():
        _walk(stepper, plan, choices)
        if plan.settle:
            waiting = stepper.heal(_HEAL_MOVES)
    # What is wrong counts more than who waits.
    if not stepper.judge() and waiting:
        stepper.violations.append(Violation("Liveness", _sentence(waiting), stepper.steps))


def _sentence(waiting: list[str]) -> str:
    return (
        "everything works again, messages arrive, and who had no answer asked again, but "
        f"{counted(len(waiting), 'client')} {'has' if len(waiting) == 1 else 'have'} none after "
        f"{_HEAL_MOVES} moves: {', '.join(waiting[:5])}"
    )


def _ask_decree(number: int, name: int, reads: bool, choices: Choices) -> Asked:
    return (
        Asked("decided", b"d%d" % name, None)
        if reads
        else Asked("decide", b"d%d" % name, b"v%d" % (number + 1))
    )


def _ask_log(number: int, name: int, reads: bool, choices: Choices) -> Asked:
    """A command or a query of the key-value machine; every value is another one."""
    key = b"k%d" % name
    if reads:
        kind = ("read", "read", "get", "stale")[choices.draw("kind", 4)]
        return Asked(kind, (key, b"n%d" % name)[choices.draw("counter", 2)], None)
    kind = ("put", "put", "increment", "cas", "delete")[choices.draw("kind", 5)]
    if kind == "increment":
        return Asked(kind, b"n%d" % name, b"%d" % (number + 1))
    if kind == "cas":
        expected = choices.draw("expected", number + 1)
        return Asked(kind, key, b"v%d" % (number + 1), b"v%d" % expected if expected else None)
    return Asked(kind, key, b"v%d" % (number + 1) if kind == "put" else None)


def _walk(stepper: Stepper, plan: Walk, choices: Choices) -> None:
    draw = choices.draw
    limits, kinds = _table(plan)
    disordered = _PARTS - round(plan.disorder * _PARTS)
    for _ in range(plan.moves):
        if stepper.violations:
            break
        drawn = draw("move", _PARTS)
        pool = stepper.pool
        if drawn < limits[0]:
            first = _first_up(stepper)
            if first is not None:
                at = draw("which", len(pool)) if draw("order", _PARTS) >= disordered else first
                if not stepper.deliver_at(at) and len(pool) > _CROWDED:
                    stepper.drop_at(at)
            elif not ask_next(stepper) and not _idle(stepper):
                break
            continue
        kind = next(kind for limit, kind in zip(reversed(limits), kinds, strict=True) if drawn >= limit)
        _remarkable(stepper, kind, choices)


def _table(plan: Walk) -> tuple[list[int], list[str]]:
    """Thresholds for a number in 0..999: below the first of them, some message arrives."""
    kinds = ["wipe", "drop", "duplicate", "restart", "crash", "tick", "submit"]
    limits, above = [], _PARTS
    for kind in kinds:
        above -= round(getattr(plan, kind) * _PARTS)
        limits.append(max(above, 0))
    return limits[::-1], kinds


def _first_up(stepper: Stepper) -> int | None:
    """Where in the pool the oldest is that can arrive: what waits for a node that is down holds nobody up."""
    pool = stepper.pool
    if not pool or stepper.node(pool[0].recipient) is not None:
        return 0 if pool else None
    up = set(stepper.up())
    return next((at for at, flight in enumerate(stepper.pool) if flight.recipient in up), None)


def _idle(stepper: Stepper) -> bool:
    """Nothing is in flight and nobody asks: start what is down, or wake who waits; False for neither."""
    down, wakeable = stepper.down(), stepper.wakeable()
    if down:
        return stepper.restart(down[0])
    return bool(wakeable) and stepper.unanswered > 0 and stepper.tick(wakeable[0])


def _remarkable(stepper: Stepper, kind: str, choices: Choices) -> None:
    draw, pool = choices.draw, stepper.pool
    if kind == "submit":
        if stepper.requests:
            ask_next(stepper)
    elif kind in ("drop", "duplicate"):
        if pool:
            at = draw("which", len(pool))
            (stepper.drop_at if kind == "drop" else stepper.duplicate_at)(at)
    elif kind == "wipe":
        if not stepper.seen["wipe"]:
            stepper.wipe(stepper.members[draw("node", len(stepper.members))])
    else:
        nodes = (
            stepper.down() if kind == "restart" else stepper.wakeable() if kind == "tick" else stepper.up()
        )
        if nodes:
            node = nodes[draw("node", len(nodes))]
            if kind == "crash":
                unsynced = stepper.disk(node).unsynced
                keep = draw("keep", unsynced + 1) if unsynced else 0
                how = "lost" if not keep else "kept" if keep == unsynced else "torn"
                stepper.crash(node, how, keep)
            else:
                (stepper.restart if kind == "restart" else stepper.tick)(node)
