"""Where the nodes are and how fast their machines are.

A topology gives the one-way delay between any two sites.  Published measurements between regions come
along (`regions.toml`); `lan` is a room of machines on one switch.  Hardware is what every machine has:
a disk that takes a while to sync, a processor that takes a while for each message, a link of some
bandwidth.
"""

import functools
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final, Self

import attrs

from paxos.ballot import NodeId
from paxos.errors import ConfigurationError
from paxos.sim import fields

__all__ = ["Hardware", "Topology", "topology_names"]

#: One-way delay within a local network, milliseconds.
_LAN_MS: Final = 0.1
_MAX_DELAY_MS: Final = 60_000.0
_MAX_SITES: Final = 1_000


def _names(value: Sequence[str]) -> tuple[str, ...]:
    return fields.freeze(value)  # type: ignore[no-any-return]


def _matrix(value: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    given: Any = value
    rows: Any = tuple(map(fields.freeze, given)) if isinstance(given, list | tuple) else given
    return rows  # type: ignore[no-any-return]


@attrs.frozen
class Topology:
    """One-way delays between sites.

    Args:
        name: what people call it.
        sites: the sites' names; the i-th node of a cluster is at the i-th site. Empty: any number of
            nodes, all `uniform_ms` apart.
        one_way_ms: row by row, from one site to another, milliseconds; need not be symmetric.
        uniform_ms: the delay between any two nodes where no sites are named, milliseconds.

    Raises:
        ConfigurationError: names that are no names, a matrix of the wrong shape, or a delay that is not
            a number of milliseconds in 0..60000.
    """

    name: str = attrs.field(validator=fields.text)
    sites: tuple[str, ...] = attrs.field(default=(), converter=_names)
    one_way_ms: tuple[tuple[float, ...], ...] = attrs.field(default=(), converter=_matrix)
    uniform_ms: float = attrs.field(default=_LAN_MS, validator=fields.number(0, _MAX_DELAY_MS, unit="ms"))

    def __attrs_post_init__(self) -> None:
        sites, matrix = self.sites, self.one_way_ms
        if not isinstance(sites, tuple) or not all(isinstance(site, str) and site for site in sites):
            raise ConfigurationError(f"topology {self.name!r}: sites are a list of names, not {sites!r:.80}")
        if len(set(sites)) != len(sites) or len(sites) > _MAX_SITES:
            raise ConfigurationError(f"topology {self.name!r}: two sites of one name, or over {_MAX_SITES}")
        if not isinstance(matrix, tuple) or len(matrix) != len(sites):
            raise ConfigurationError(
                f"topology {self.name!r}: one_way_ms needs a row for each of its {len(sites)} sites"
            )
        for site, row in zip(sites, matrix, strict=True):
            if not isinstance(row, tuple) or len(row) != len(sites):
                raise ConfigurationError(
                    f"topology {self.name!r}: the delays from {site} are not a row of {len(sites)} numbers"
                )
            for delay in row:
                if (
                    isinstance(delay, bool)
                    or not isinstance(delay, int | float)
                    or not 0 <= delay <= _MAX_DELAY_MS
                ):
                    raise ConfigurationError(
                        f"topology {self.name!r}: a delay from {site} is {delay!r:.60}, "
                        f"not milliseconds in 0..{_MAX_DELAY_MS:g}"
                    )

    @classmethod
    def uniform(cls, one_way_ms: float, name: str = "uniform") -> Self:
        """Any number of nodes, all `one_way_ms` apart.

        Raises:
            ConfigurationError: the delay is not milliseconds in 0..60000.
        """
        return cls(name, uniform_ms=one_way_ms)

    @classmethod
    def named(cls, name: str) -> Self:
        """One that comes along: `lan`, or published delays between regions; see `topology_names`.

        Raises:
            ConfigurationError: there is none of that name.
        """
        if name == "lan":
            return cls("lan", uniform_ms=_LAN_MS)
        table = cls.table(name)
        sites = tuple(table["sites"])
        return cls(name, sites, _one_way(sites, table))

    @staticmethod
    def table(name: str) -> Mapping[str, Any]:
        """What is written of published delays: `sites`, `source`, `leader` where there is one, and more.

        Raises:
            ConfigurationError: there is none of that name.
        """
        table: dict[str, Any] | None = _regions().get(name)
        if table is None:
            raise ConfigurationError(
                f"no topology named {name!r:.60}; known are {', '.join(topology_names())}"
            )
        return table

    def delay_ms(self, sender: NodeId, recipient: NodeId, members: tuple[NodeId, ...]) -> float:
        """One way from one member to another, milliseconds; 0 to itself.

        Raises:
            ConfigurationError: more members than sites, or a node that is no member.
        """
        self.check(len(members))
        if sender not in members or recipient not in members:
            raise ConfigurationError(f"nodes {sender} and {recipient} are not both among {members}")
        if sender == recipient:
            return 0.0
        if not self.sites:
            return self.uniform_ms
        return self.one_way_ms[members.index(sender)][members.index(recipient)]

    def rtt_ms(self, one: NodeId, other: NodeId, members: tuple[NodeId, ...]) -> float:
        """There and back, milliseconds. Raises as `delay_ms` does."""
        return self.delay_ms(one, other, members) + self.delay_ms(other, one, members)

    def check(self, nodes: int) -> None:
        """Whether so many nodes fit.

        Raises:
            ConfigurationError: they do not.
        """
        if self.sites and nodes > len(self.sites):
            raise ConfigurationError(
                f"topology {self.name!r} has {len(self.sites)} sites ({', '.join(self.sites)}); "
                f"{nodes} nodes do not fit"
            )

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        data: dict[str, object] = fields.plain(self)
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """From what `to_json` gave. Raises ConfigurationError, saying where."""
        return fields.from_plain(cls, data, "topology")


@attrs.frozen
class Hardware:
    """What every machine has.

    Args:
        sync_s: seconds one sync of the disk takes, however much was gathered for it.
        service_s: seconds of processor time each message and request takes; they queue for it.
        bandwidth_bytes_s: bytes a second that one link carries one way; None for no limit.
    """

    sync_s: float = attrs.field(default=0.0005, validator=fields.number(0, 60, unit="seconds"))
    service_s: float = attrs.field(default=0.0, validator=fields.number(0, 10, unit="seconds"))
    bandwidth_bytes_s: float | None = attrs.field(
        default=None, validator=fields.number(100, 1e12, unit="bytes a second", optional=True)
    )

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        data: dict[str, object] = fields.plain(self)
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """From what `to_json` gave. Raises ConfigurationError, saying where."""
        return fields.from_plain(cls, data, "hardware")


def topology_names() -> tuple[str, ...]:
    """The topologies that come along."""
    return ("lan", *_regions())


@functools.cache
def _regions() -> dict[str, Any]:
    return tomllib.loads(resources.files("paxos.sim").joinpath("regions.toml").read_text(encoding="utf-8"))


def _one_way(sites: tuple[str, ...], table: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    """Half of each round trip, from named pairs or from the upper triangle of the matrix."""
    rtt: dict[tuple[str, str], float] = {}
    if "upper" in table:
        for row, (site, values) in enumerate(zip(sites, table["upper"], strict=False)):
            for other, value in zip(sites[row + 1 :], values, strict=True):
                rtt[site, other] = value
    else:
        for pair, value in table["rtt"].items():
            one, _, other = pair.partition("-")
            rtt[one, other] = value
    half = {pair: value / 2 for pair, value in rtt.items()}
    half |= {(other, one): value for (one, other), value in half.items()}
    return tuple(tuple(0.0 if a == b else half[a, b] for b in sites) for a in sites)
