"""Faults as data, the same for every protocol.

Some faults are properties of the whole run: what share of messages is lost, how far clocks are off.
Others happen at a time, to a node: a crash, a cut link, a pause.  Those are either said exactly, which
is how a regression test fixes a story, or only counted (`random_crashes=4`), and then a plan is drawn
from the run's choices.  Both end in one plan, in order of time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeAlias

import attrs

from paxos.ballot import NodeId
from paxos.errors import ConfigurationError
from paxos.service import wipes_detected
from paxos.sim import fields
from paxos.sim.choices import PARTS, Choices

__all__ = ["Crash", "Cut", "Faults", "Happening", "Pause", "SlowNode", "Wipe", "fault_names", "plan_of"]

_DAY_S: Final = 86_400.0
_AT: Final = fields.number(0, _DAY_S, unit="seconds")
_FOR: Final = fields.number(0, _DAY_S, unit="seconds")
_AFTER: Final = fields.number(0, _DAY_S, unit="seconds", optional=True)
_NODE: Final = fields.count(1, 1 << 31)
_UNSYNCED: Final = ("lost", "torn", "kept")
_WHEN: Final = ("now", "writing")
_MAX_RANDOM: Final = 100
#: Wider clusters are split by drawing for their first members only: a draw has so many bits.
_SPLIT_MAX: Final = 40


@attrs.frozen
class Crash:
    """A node stops without warning and starts again from what its disk holds.

    Args:
        at_s: when, virtual seconds.
        node: which.
        restart_after_s: how long it stays down; None until faults end.
        unsynced: what becomes of writes that no sync covered: all "lost", "torn" (the earliest batches
            survive, how many is drawn), or all "kept". Messages that waited for them are lost in any case.
        when: "now": at that time; "writing": from that time on, the first time its disk is at work.
    """

    at_s: float = attrs.field(validator=_AT)
    node: NodeId = attrs.field(validator=_NODE)
    restart_after_s: float | None = attrs.field(default=None, validator=_AFTER)
    unsynced: str = attrs.field(default="lost", validator=fields.choice(*_UNSYNCED))
    when: str = attrs.field(default="now", validator=fields.choice(*_WHEN))


@attrs.frozen
class Wipe:
    """A node crashes and starts again with an empty disk. It must find out and stop.

    Who remembers its store tells it, so there must be somebody left who does: more wipes than
    `paxos.service.wipes_detected` counts (none in a cluster of one, one of two) are outside of what any
    node here promises, and a run with them is refused.

    Args:
        at_s: when, virtual seconds.
        node: which.
        restart_after_s: how long it stays down; None until faults end.
    """

    at_s: float = attrs.field(validator=_AT)
    node: NodeId = attrs.field(validator=_NODE)
    restart_after_s: float | None = attrs.field(default=None, validator=_AFTER)


# Converters, one for each type: a generic one would leave checkers of types nothing to check.


def _node_ids(value: Sequence[NodeId]) -> tuple[NodeId, ...]:
    return fields.freeze(value)  # type: ignore[no-any-return]


@attrs.frozen
class Cut:
    """Every message from some nodes to some others is lost. The way back works unless it is cut too.

    Args:
        at_s: when, virtual seconds.
        from_nodes: senders.
        to_nodes: recipients.
        heal_after_s: for how long; None until faults end.
    """

    at_s: float = attrs.field(validator=_AT)
    from_nodes: tuple[NodeId, ...] = attrs.field(converter=_node_ids, validator=fields.ids)
    to_nodes: tuple[NodeId, ...] = attrs.field(converter=_node_ids, validator=fields.ids)
    heal_after_s: float | None = attrs.field(default=None, validator=_AFTER)


@attrs.frozen
class Pause:
    """A node stands still (a stopped process, a long collection) and then does all that came meanwhile.

    Args:
        at_s: when, virtual seconds.
        node: which.
        for_s: for how long.
    """

    at_s: float = attrs.field(validator=_AT)
    node: NodeId = attrs.field(validator=_NODE)
    for_s: float = attrs.field(validator=_FOR)


@attrs.frozen
class SlowNode:
    """A node takes `service_s` seconds of processor time for each message and request.

    Args:
        at_s: when, virtual seconds.
        node: which.
        for_s: for how long.
        service_s: seconds for each.
    """

    at_s: float = attrs.field(validator=_AT)
    node: NodeId = attrs.field(validator=_NODE)
    for_s: float = attrs.field(validator=_FOR)
    service_s: float = attrs.field(validator=fields.number(0, 10, unit="seconds"))


#: What a plan is made of.
Happening: TypeAlias = Crash | Wipe | Cut | Pause | SlowNode


def _crashes(value: Sequence[Crash]) -> tuple[Crash, ...]:
    return fields.freeze(value)  # type: ignore[no-any-return]


def _cuts(value: Sequence[Cut]) -> tuple[Cut, ...]:
    return fields.freeze(value)  # type: ignore[no-any-return]


def _pauses(value: Sequence[Pause]) -> tuple[Pause, ...]:
    return fields.freeze(value)  # type: ignore[no-any-return]


def _slow_nodes(value: Sequence[SlowNode]) -> tuple[SlowNode, ...]:
    return fields.freeze(value)  # type: ignore[no-any-return]


def _wipes(value: Sequence[Wipe]) -> tuple[Wipe, ...]:
    return fields.freeze(value)  # type: ignore[no-any-return]


def _random() -> Any:
    return attrs.field(default=0, validator=fields.count(0, _MAX_RANDOM))


def _share() -> Any:
    return attrs.field(default=0.0, validator=fields.share())


@attrs.frozen
class Faults:
    """Everything that may go wrong in a run.

    Args:
        loss: share of messages between nodes that are lost, in thousandths, at most 0.9.
        duplicate: share that arrive twice.
        reorder: share that are late and may be overtaken; all others keep their order on each link.
        jitter: up to this multiple of the nominal delay is added to each message.
        slow_disk: share of syncs that are slow.
        slow_disk_s: how long a slow sync takes at most, seconds.
        skew_s: up to how far each node's wall clock is off, seconds.
        drift: up to what fraction each node's clocks run fast or slow (0.01: one percent).
        crashes: nodes that stop and start again.
        partitions: links that are cut, one way.
        pauses: nodes that stand still.
        slow_nodes: nodes that are slow.
        wipes: nodes that lose their disk.
        random_crashes: at most so many crashes more are drawn.
        random_partitions: at most so many cuts more.
        random_pauses: at most so many pauses more.
        random_slow_nodes: at most so many slow nodes more.
        random_wipes: at most so many wipes more.

    Raises:
        ConfigurationError: a field has a wrong type or is out of range; the message names it.
    """

    loss: float = _share()
    duplicate: float = _share()
    reorder: float = _share()
    jitter: float = attrs.field(default=0.0, validator=fields.number(0, 100))
    slow_disk: float = _share()
    slow_disk_s: float = attrs.field(default=0.1, validator=fields.number(0, 60, unit="seconds"))
    skew_s: float = attrs.field(default=0.0, validator=fields.number(0, _DAY_S, unit="seconds"))
    drift: float = attrs.field(default=0.0, validator=fields.number(0, 0.5))
    crashes: tuple[Crash, ...] = attrs.field(
        default=(), converter=_crashes, validator=fields.tuple_of(Crash), metadata={"of": Crash}
    )
    partitions: tuple[Cut, ...] = attrs.field(
        default=(), converter=_cuts, validator=fields.tuple_of(Cut), metadata={"of": Cut}
    )
    pauses: tuple[Pause, ...] = attrs.field(
        default=(), converter=_pauses, validator=fields.tuple_of(Pause), metadata={"of": Pause}
    )
    slow_nodes: tuple[SlowNode, ...] = attrs.field(
        default=(), converter=_slow_nodes, validator=fields.tuple_of(SlowNode), metadata={"of": SlowNode}
    )
    wipes: tuple[Wipe, ...] = attrs.field(
        default=(), converter=_wipes, validator=fields.tuple_of(Wipe), metadata={"of": Wipe}
    )
    random_crashes: int = _random()
    random_partitions: int = _random()
    random_pauses: int = _random()
    random_slow_nodes: int = _random()
    random_wipes: int = _random()

    def __attrs_post_init__(self) -> None:
        if self.loss + self.duplicate + self.reorder > 0.95:
            raise ConfigurationError(
                "Faults: loss, duplicate and reorder add up to more than 0.95; some messages must get through"
            )

    @classmethod
    def named(cls, names: str) -> Self:
        """The faults that a comma-separated list names, at rates that a short run feels.

        "none" is no fault, "all" is every one but a lost disk; see `fault_names`.

        Raises:
            ConfigurationError: an unknown name; the known ones are listed.
        """
        if not isinstance(names, str):
            raise ConfigurationError(f"faults: expected names such as crash,loss; got {names!r:.60}")
        values: dict[str, Any] = {}
        for name in filter(None, (part.strip() for part in names.split(","))):
            if name == "all":
                values |= {key: rate for each in _ALL for key, rate in _NAMED[each].items()}
            elif name in _NAMED:
                values |= _NAMED[name]
            elif name != "none":
                raise ConfigurationError(f"no fault named {name!r:.60}; known are {', '.join(fault_names())}")
        return cls(**values)

    @property
    def happenings(self) -> tuple[Happening, ...]:
        """What is said to happen at a time, in order of the fields."""
        return (*self.crashes, *self.partitions, *self.pauses, *self.slow_nodes, *self.wipes)

    def check(self, members: tuple[NodeId, ...], duration_s: float) -> None:
        """Whether they fit a run of so long over these members.

        Raises:
            ConfigurationError: something happens to a node that is no member, or after the end; or more nodes
                lose their disk than find out.
        """
        self._check_wipes(len(members))
        for happening in self.happenings:
            what = type(happening).__name__
            named = (
                {*happening.from_nodes, *happening.to_nodes}
                if isinstance(happening, Cut)
                else {happening.node}
            )
            strangers = sorted(named - set(members))
            if strangers:
                raise ConfigurationError(
                    f"{what} at {happening.at_s} s: node {strangers[0]} is not one of {members}"
                )
            if happening.at_s >= duration_s:
                raise ConfigurationError(
                    f"{what} at {happening.at_s} s: faults end at {duration_s} s; make the run longer"
                )

    def _check_wipes(self, members: int) -> None:
        wiped, most = len({wipe.node for wipe in self.wipes}) + self.random_wipes, wipes_detected(members)
        if wiped > most:
            raise ConfigurationError(
                f"wipe: {wiped} disk{'' if wiped == 1 else 's'} may be lost, but in a cluster of {members} "
                + (
                    "nobody would notice: no other node remembers the store"
                    if most == 0
                    else f"that is certainly noticed of no more than {most}, since the others must remember"
                )
                + "; leave wipes out, or take more nodes"
            )

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        data: dict[str, object] = fields.plain(self)
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """From what `to_json` gave; a str or bytes is parsed first.

        Raises:
            ConfigurationError: not JSON, an unknown key, or a value that its field refuses.
        """
        return fields.from_plain(cls, parsed(data, "faults"), "faults")


_NAMED: Final[Mapping[str, Mapping[str, Any]]] = {
    "crash": {"random_crashes": 6},
    "partition": {"random_partitions": 5},
    "loss": {"loss": 0.05},
    "duplicate": {"duplicate": 0.05},
    "reorder": {"reorder": 0.1},
    "jitter": {"jitter": 0.5},
    "slow-disk": {"slow_disk": 0.1, "slow_disk_s": 0.2},
    "clock": {"skew_s": 5.0, "drift": 0.05},
    "pause": {"random_pauses": 4},
    "slow-node": {"random_slow_nodes": 3},
    "wipe": {"random_wipes": 1},
}
_ALL: Final = tuple(name for name in _NAMED if name != "wipe")


def fault_names() -> tuple[str, ...]:
    """What `Faults.named` knows."""
    return (*_NAMED, "all", "none")


def parsed(data: object, where: str) -> object:
    """Parsed JSON of a str or bytes; anything else as it is. Raises ConfigurationError."""
    if isinstance(data, str | bytes):
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{where}: not JSON: {error}") from error
    return data


def plan_of(
    faults: Faults, members: tuple[NodeId, ...], duration_s: float, choices: Choices
) -> list[Happening]:
    """All that will happen, said or drawn, in order of time."""
    plan: list[Happening] = list(faults.happenings)
    kinds: tuple[tuple[int, Callable[..., tuple[Happening, ...]]], ...] = (
        (faults.random_crashes, _draw_crash),
        (faults.random_partitions, _draw_cut),
        (faults.random_pauses, _draw_pause),
        (faults.random_slow_nodes, _draw_slow_node),
        (faults.random_wipes, _draw_wipe),
    )
    for most, make in kinds:
        for _ in range(most):
            # Three out of four happen; 0, as everywhere, is that nothing does.
            if choices.draw("happens", 4):
                at_s = duration_s * choices.draw("at", PARTS) / PARTS
                plan.extend(make(at_s, members, duration_s, choices))
    plan.sort(key=lambda happening: happening.at_s)
    return plan


def _draw_member(members: tuple[NodeId, ...], choices: Choices) -> NodeId:
    return members[choices.draw("node", len(members))]


def _draw_length_s(duration_s: float, choices: Choices) -> float:
    """Up to a third of the run: several faults overlap, and there is time between them."""
    return duration_s * (choices.draw("length", PARTS) + 1) / (3 * PARTS)


def _draw_crash(
    at_s: float, members: tuple[NodeId, ...], duration_s: float, choices: Choices
) -> tuple[Happening, ...]:
    node = _draw_member(members, choices)
    length_s = _draw_length_s(duration_s, choices)
    unsynced = _UNSYNCED[choices.draw("unsynced", len(_UNSYNCED))]
    return (Crash(at_s, node, length_s, unsynced, _WHEN[choices.draw("when", len(_WHEN))]),)


def _draw_wipe(
    at_s: float, members: tuple[NodeId, ...], duration_s: float, choices: Choices
) -> tuple[Happening, ...]:
    return (Wipe(at_s, _draw_member(members, choices), _draw_length_s(duration_s, choices)),)


def _draw_pause(
    at_s: float, members: tuple[NodeId, ...], duration_s: float, choices: Choices
) -> tuple[Happening, ...]:
    return (Pause(at_s, _draw_member(members, choices), _draw_length_s(duration_s, choices)),)


def _draw_slow_node(
    at_s: float, members: tuple[NodeId, ...], duration_s: float, choices: Choices
) -> tuple[Happening, ...]:
    node = _draw_member(members, choices)
    length_s = _draw_length_s(duration_s, choices)
    return (SlowNode(at_s, node, length_s, (choices.draw("service", PARTS) + 1) / (50 * PARTS)),)


def _draw_cut(
    at_s: float, members: tuple[NodeId, ...], duration_s: float, choices: Choices
) -> tuple[Happening, ...]:
    """The cluster in two sides, and either both hear nothing of the other, or one."""
    wide = members[:_SPLIT_MAX]
    if len(wide) == 1:
        return ()
    length_s = _draw_length_s(duration_s, choices)
    mask = choices.draw("side", (1 << len(wide)) - 2) + 1
    side = tuple(node for bit, node in enumerate(wide) if mask >> bit & 1)
    others = tuple(node for node in members if node not in side)
    away, back = Cut(at_s, side, others, length_s), Cut(at_s, others, side, length_s)
    return ((away, back), (away,), (back,))[choices.draw("direction", 3)]
