"""What is compared: everything that a comparison is a function of, checked before anything runs.

The same plan for every protocol.  Rates that people think of as percentages are percentages.
"""

from collections.abc import Sequence
from typing import Any, Final

import attrs

from paxos.compare.faults import Fault
from paxos.contract import ProtocolDescription, find_protocol, protocol_names
from paxos.errors import ConfigurationError
from paxos.sim import fields
from paxos.sim.mix import Mix
from paxos.sim.topology import Hardware

__all__ = ["Cell", "Plan", "cells_of", "compared", "default_protocols"]

_MAX_VALUES: Final = 100
#: What the log of a protocol of decrees is called: its name, and this.
_LOG: Final = "-log"
_MAX_COMMANDS: Final = 1_000_000


def _several(check: Any) -> Any:
    """A check of each of some values; at least one, and none twice."""

    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        name = f"{type(instance).__name__}.{attribute.name}"
        if not isinstance(value, tuple) or not 1 <= len(value) <= _MAX_VALUES:
            raise ConfigurationError(f"{name}: expected 1 to {_MAX_VALUES} values, got {value!r:.60}")
        for each in value:
            check(instance, attribute, each)
        if len(set(value)) < len(value):
            raise ConfigurationError(f"{name}: one value twice in {value!r:.100}")

    return validate


def _names(value: "str | Sequence[str]") -> tuple[str, ...]:
    return tuple(value.split(",")) if isinstance(value, str) else tuple(value)


def _numbers(value: "float | Sequence[float]") -> tuple[float, ...]:
    return (value,) if isinstance(value, int | float) else tuple(value)


def _counts(value: "int | Sequence[int]") -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _faults(value: Sequence[Fault]) -> tuple[Fault, ...]:
    return tuple(value)


@attrs.frozen
class Plan:
    """What is compared.

    Args:
        protocols: names, in the order in which they are shown.
        conflict: percent of the commands that touch one and the same key, one run each.
        clients: closed loop: how many clients each site has, one run each.
        rates: open loop: commands a second that arrive over all sites, at random (Poisson), one run each;
            then `clients` and `think_ms` are of no effect. Empty for closed loop.
        commands: how many each site's clients ask in all; of no effect with `duration_s`.
        duration_s: for how long they ask, virtual seconds; None for until `commands` are asked.
        think_ms: closed loop: pause between an answer and the next command.
        reads: percent of commands that only read.
        spread: which keys the commands touch that do not conflict: "unique", "uniform", "zipf" or "hotspot".
        keys, theta, hot_keys, hot_percent, move_s: of that; see `paxos.sim.mix.Mix`.
        value_bytes: of what is written.
        batch: clients of a site that ask at one moment, and whose commands go together.
        service_ms: processor time that each message and request takes at a replica.
        disk_ms: what a sync of a disk takes.
        bandwidth_mbit_s: of each link, one way; None for no limit.
        jitter: percent of its delay that a message is late at most.
        loss: percent of the messages between replicas that are lost.
        failures: how many replicas may fail, and the quorums are the fastest that survive that; None for the
            protocol's own quorums.
        timeout_ms: after which a client asks another site.
        faults: what goes wrong, at real sites; see `paxos.compare.faults`. With faults `duration_s` counts.
        seed: of all choices.

    Raises:
        ConfigurationError: a field has a wrong type or is out of range; the message names it.
    """

    protocols: tuple[str, ...] = attrs.field(converter=_names, validator=_several(fields.text))
    conflict: tuple[float, ...] = attrs.field(
        default=(0,), converter=_numbers, validator=_several(fields.number(0, 100, unit="percent"))
    )
    clients: tuple[int, ...] = attrs.field(
        default=(10,), converter=_counts, validator=_several(fields.count(1, 10_000))
    )
    rates: tuple[float, ...] = attrs.field(default=(), converter=_numbers)
    commands: int = attrs.field(default=200, validator=fields.count(1, _MAX_COMMANDS))
    duration_s: float | None = attrs.field(
        default=None, validator=fields.number(0.1, 10_000, unit="seconds", optional=True)
    )
    think_ms: float = attrs.field(default=0.0, validator=fields.number(0, 1e6, unit="ms"))
    reads: float = attrs.field(default=0.0, validator=fields.number(0, 100, unit="percent"))
    spread: str = attrs.field(default="unique")
    keys: int = attrs.field(default=10_000)
    theta: float = attrs.field(default=0.99)
    hot_keys: int = attrs.field(default=10)
    hot_percent: float = attrs.field(default=90.0)
    move_s: float = attrs.field(default=5.0)
    value_bytes: int = attrs.field(default=16, validator=fields.count(1, 65_536))
    batch: int = attrs.field(default=1, validator=fields.count(1, 10_000))
    service_ms: float = attrs.field(default=0.0, validator=fields.number(0, 10_000, unit="ms"))
    disk_ms: float = attrs.field(default=0.0, validator=fields.number(0, 60_000, unit="ms"))
    bandwidth_mbit_s: float | None = attrs.field(
        default=None, validator=fields.number(0.001, 1e6, unit="Mbit a second", optional=True)
    )
    jitter: float = attrs.field(default=0.0, validator=fields.number(0, 10_000, unit="percent"))
    loss: float = attrs.field(default=0.0, validator=fields.number(0, 90, unit="percent"))
    failures: int | None = attrs.field(default=None, validator=fields.count(0, 100, optional=True))
    timeout_ms: float = attrs.field(default=5_000.0, validator=fields.number(1, 3.6e6, unit="ms"))
    faults: tuple[Fault, ...] = attrs.field(default=(), converter=_faults)
    seed: int = attrs.field(default=1, validator=fields.count(0, 2**63 - 1))

    def __attrs_post_init__(self) -> None:
        for each in self.rates:
            if isinstance(each, bool) or not isinstance(each, int | float) or not 0.001 <= each <= 1e6:
                raise ConfigurationError(f"Plan.rates: {each!r:.60} is no number of commands a second")
        if self.faults and self.duration_s is None:
            raise ConfigurationError("Plan.faults: a run with faults needs a duration_s")
        if self.spread == "hotspot" and self.hot_keys > self.keys:
            raise ConfigurationError(f"Plan.keys: {self.hot_keys} hot ones of only {self.keys}")
        self.mix(0)
        self.hardware()

    def mix(self, conflict: float) -> Mix:
        """Which keys are touched, at one conflict rate."""
        return Mix(
            conflict=conflict,
            spread=self.spread,
            reads=self.reads,
            keys=self.keys,
            theta=self.theta,
            hot_keys=self.hot_keys,
            hot_percent=self.hot_percent,
            move_s=self.move_s,
            batch=self.batch,
            seed=self.seed,
        )

    def hardware(self) -> Hardware:
        """Disks, processors and links."""
        limit = self.bandwidth_mbit_s
        return Hardware(
            sync_s=self.disk_ms / 1000,
            service_s=self.service_ms / 1000,
            bandwidth_bytes_s=None if limit is None else limit * 1e6 / 8,
        )

    def to_json(self) -> dict[str, object]:
        """As JSON carries it, the seed left out, which a comparison has by itself."""
        data: dict[str, object] = fields.plain(self)
        del data["seed"]
        return data


@attrs.frozen
class Cell:
    """One run of a plan.

    Args:
        protocol: its name.
        conflict: percent.
        clients: closed loop: at each site; None for open loop.
        rate: open loop: commands a second; None for closed loop.
    """

    protocol: str
    conflict: float
    clients: int | None
    rate: float | None

    def __str__(self) -> str:
        load = f"{self.clients} clients at each site" if self.rate is None else f"{self.rate:g} commands/s"
        return f"{self.protocol} at {self.conflict:g} % conflicts, {load}"


def cells_of(plan: Plan) -> list[Cell]:
    """The runs of a plan, in the order in which they are shown."""
    loads: list[tuple[int | None, float | None]] = [(None, rate) for rate in plan.rates]
    loads = loads or [(clients, None) for clients in plan.clients]
    return [
        Cell(protocol, conflict, clients, rate)
        for protocol in plan.protocols
        for conflict in plan.conflict
        for clients, rate in loads
    ]


def compared(name: str) -> ProtocolDescription:
    """The protocol that is meant by a name: of one that decides decrees its log, where that is installed.

    Raises:
        ConfigurationError: it is not installed; the known ones are named.
    """
    log = f"{name}{_LOG}"
    if ":" not in name and log in protocol_names():
        return find_protocol(log)
    return find_protocol(name)


def default_protocols() -> tuple[str, ...]:
    """The logs that come along."""
    fast = ("fastpaxos",) if f"fastpaxos{_LOG}" in protocol_names() else ()
    return ("multipaxos", *fast, "epaxos")
