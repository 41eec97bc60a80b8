"""What the clients of a simulated cluster do, as data.

Clients sit beside the nodes and decide or read named decrees; or, where a log is decided, they read and
write keys.  Every value proposed or put is unique, so that from a value alone one sees whose it was: that is
what makes a history checkable.
"""

from typing import Any, Final, Self

import attrs

from paxos.errors import ConfigurationError
from paxos.sim import fields
from paxos.sim.faults import parsed

__all__ = ["LOG_FIELDS", "Workload"]

#: What is of no effect where decrees are decided.
LOG_FIELDS: Final = ("increments", "deletes", "swaps", "logged", "scans", "stale")

_MAX_OPERATIONS: Final = 10_000_000


def _seconds(high: float, *, optional: bool = False) -> Any:
    return fields.number(0, high, unit="seconds", optional=optional)


@attrs.frozen
class Workload:
    """What clients do.

    Args:
        operations: how many there are in all.
        clients: closed loop: how many clients each node has; each waits for its answer, thinks, and goes on.
        think_s: closed loop: seconds a client thinks between two operations; None spreads the operations
            evenly over the run, so that faults meet work.
        rate: open loop: operations a second over the whole cluster, come what may; None for closed loop.
        names: how many decrees or keys there are; None gives every operation one of its own (no contention).
        window: an operation draws its decree or key among so many that are current; the window moves on with
            the run. None: among all of them. Small windows mean contention.
        reads: share of operations that only ask.
        value_bytes: length of a value proposed or put, at least what makes it unique.
        timeout_s: seconds after which a client tries another node, with the same request id.
        start_s: when clients begin, virtual seconds.
        audit: at the end, when all is healed, ask every node about what was decided.
        increments: of a log: share of writes, and of reads, that are about counters and not about values.
        deletes: of a log: share of the other writes that remove a key.
        swaps: of a log: share of those left that are a compare-and-swap.
        logged: of a log: share of reads that are commands of it; the others are queries.
        scans: of a log: share of reads that see several keys. A history with one is judged as a whole.
        stale: of a log: share of queries that may be answered with what is old.

    Raises:
        ConfigurationError: a field has a wrong type or is out of range; the message names it.
    """

    operations: int = attrs.field(default=60, validator=fields.count(0, _MAX_OPERATIONS))
    clients: int = attrs.field(default=2, validator=fields.count(1, 10_000))
    think_s: float | None = attrs.field(default=None, validator=_seconds(86_400, optional=True))
    rate: float | None = attrs.field(
        default=None, validator=fields.number(0.001, 1e6, unit="operations a second", optional=True)
    )
    names: int | None = attrs.field(default=12, validator=fields.count(1, _MAX_OPERATIONS, optional=True))
    window: int | None = attrs.field(default=None, validator=fields.count(1, _MAX_OPERATIONS, optional=True))
    reads: float = attrs.field(default=0.2, validator=fields.number(0, 1))
    value_bytes: int = attrs.field(default=16, validator=fields.count(1, 65_536))
    timeout_s: float = attrs.field(default=2.0, validator=fields.number(0.001, 3_600, unit="seconds"))
    start_s: float = attrs.field(default=0.0, validator=_seconds(86_400))
    audit: bool = attrs.field(default=True, validator=fields.flag)
    increments: float = attrs.field(default=0.2, validator=fields.number(0, 1))
    deletes: float = attrs.field(default=0.1, validator=fields.number(0, 1))
    swaps: float = attrs.field(default=0.25, validator=fields.number(0, 1))
    logged: float = attrs.field(default=0.2, validator=fields.number(0, 1))
    scans: float = attrs.field(default=0.05, validator=fields.number(0, 1))
    stale: float = attrs.field(default=0.2, validator=fields.number(0, 1))

    def __attrs_post_init__(self) -> None:
        if self.rate is not None and self.think_s is not None:
            raise ConfigurationError(
                "Workload: rate (open loop) and think_s (closed loop) exclude each other"
            )
        if self.window is not None and (self.names is None or self.window > self.names):
            raise ConfigurationError(
                f"Workload.window: {self.window} decrees can not be current out of {self.names}"
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
        return fields.from_plain(cls, parsed(data, "workload"), "workload")
