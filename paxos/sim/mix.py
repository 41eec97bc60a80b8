"""Which keys clients touch when protocols are compared: the same for every one of them.

A run's choices are drawn by everybody who takes part, so two protocols that draw differently would be asked
different things.  A mix is a plan besides: what the k-th command of a client is follows from the mix, the
client and k alone and, where hot keys move, from the time.  So do the moments at which clients begin, and
those at which commands arrive where they come whether or not earlier ones were answered.
"""

import random
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import attrs

from paxos.ballot import NodeId
from paxos.sim import fields

__all__ = ["Asked", "Mix", "Planned"]

_NS: Final = 1_000_000_000
#: The one key that conflicting commands share.
HOT: Final = b"hot"


@attrs.frozen
class Mix:
    """Which key each command is about, which of them only read, and when they come where that is planned.

    Args:
        conflict: percent of commands that are about one and the same key.
        spread: which key each of the others is about: "unique", one of its own; "uniform", any of `keys`;
            "zipf", of which the i-th is as frequent as 1 / i**`theta`; "hotspot", `hot_percent` of them any
            of `hot_keys` in a row, which move on by so many every `move_s`, and the rest any of `keys`.
        reads: percent of commands that only read; the others put a value.
        keys: how many there are, unless each command has its own.
        theta: of "zipf".
        hot_keys, hot_percent, move_s: of "hotspot".
        batch: so many clients of a node begin at one moment; what is asked of a node at one moment goes into
            its log together.
        stagger_s: the clients of a closed loop begin within so many seconds, so that they are not in step.
        seed: makes another choice of the same kind.

    Raises:
        ConfigurationError: a field has a wrong type or is out of range; the message names it.
    """

    conflict: float = attrs.field(default=0.0, validator=fields.number(0, 100, unit="percent"))
    spread: str = attrs.field(
        default="unique", validator=fields.choice("unique", "uniform", "zipf", "hotspot")
    )
    reads: float = attrs.field(default=0.0, validator=fields.number(0, 100, unit="percent"))
    keys: int = attrs.field(default=10_000, validator=fields.count(1, 1_000_000))
    theta: float = attrs.field(default=0.99, validator=fields.number(0.01, 10))
    hot_keys: int = attrs.field(default=10, validator=fields.count(1, 1_000_000))
    hot_percent: float = attrs.field(default=90.0, validator=fields.number(0, 100, unit="percent"))
    move_s: float = attrs.field(default=5.0, validator=fields.number(0.001, 86_400, unit="seconds"))
    batch: int = attrs.field(default=1, validator=fields.count(1, 10_000))
    stagger_s: float = attrs.field(default=0.25, validator=fields.number(0, 3_600, unit="seconds"))
    seed: int = attrs.field(default=1, validator=fields.count(0, 2**63 - 1))

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        data: dict[str, object] = fields.plain(self)
        return data


class Asked:
    """What the next command of a client is: `key`, and whether it `reads`."""

    __slots__ = ("key", "reads")

    def __init__(self, key: bytes, reads: bool) -> None:
        self.key: bytes = key
        self.reads: bool = reads


class Planned:
    """A mix at work in one run.

    Args:
        mix: what is planned.
    """

    def __init__(self, mix: Mix) -> None:
        self.mix: Mix = mix
        self._clients: dict[int, random.Random] = {}
        self._arrivals: dict[NodeId, random.Random] = {}
        self._cumulated: Sequence[float] = ()
        if mix.spread == "zipf":
            self._cumulated = list(accumulate(1 / rank**mix.theta for rank in range(1, mix.keys + 1)))

    def next(self, client: int, sequence: int, now_ns: int) -> Asked:
        """The command of a client that is its `sequence`-th."""
        source = self._clients.get(client)
        if source is None:
            # A text is a seed that is the same on every machine.
            source = self._clients[client] = random.Random(f"{self.mix.seed} client {client}")
        draw = source.random
        mix = self.mix
        # As many draws for each command, whatever it turns out to be.
        is_hot, is_read, which = draw() * 100 < mix.conflict, draw() * 100 < mix.reads, draw()
        if is_hot:
            return Asked(HOT, is_read)
        if mix.spread == "unique":
            return Asked(b"c%d.%d" % (client, sequence), is_read)
        return Asked(b"k%d" % self._key(which, draw(), now_ns), is_read)

    def _key(self, which: float, other: float, now_ns: int) -> int:
        mix = self.mix
        if mix.spread == "zipf":
            return bisect_left(self._cumulated, which * self._cumulated[-1])
        if mix.spread == "hotspot" and other * 100 < mix.hot_percent:
            moved = int(now_ns / (mix.move_s * _NS)) * mix.hot_keys
            return (moved + int(which * mix.hot_keys)) % mix.keys
        return int(which * mix.keys)

    def begin_ns(self, node: NodeId, number: int) -> int:
        """How much later than it may the `number`-th client of a node begins, from 0 on: nanoseconds."""
        source = random.Random(f"{self.mix.seed} node {node} group {number // self.mix.batch}")
        return int(source.random() * self.mix.stagger_s * _NS)

    def pause_ns(self, node: NodeId, rate: float) -> int:
        """Until the next command arrives at a node where `rate` a second do: nanoseconds, at least one."""
        source = self._arrivals.get(node)
        if source is None:
            source = self._arrivals[node] = random.Random(f"{self.mix.seed} node {node}")
        return max(int(source.expovariate(rate) * _NS), 1)
