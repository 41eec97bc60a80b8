"""Footprints of requests and of batches, asked of a machine that may be anybody's.

Where only conflicting commands have an order, a batch says what its requests touch together.  The machine
says so of each; what it says is checked here, since a footprint that other nodes refuse to read would never
be decided.  A machine that raises, or says something else than a footprint, costs the one request.

Two things are added to what the machine says.  A request that touches nothing, such as one that makes no
sense, still enters the client table: so it must not cross a marker, and reads the one key of its own that is
`TABLE`.  And more than a command can say is `ALL`, which is always right.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from paxos.command import (
    ALL,
    MAX_COMMAND_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    Footprint,
    KeyRange,
)
from paxos.contract import StateMachine

__all__ = ["TABLE", "Footprints", "as_read", "union", "weight"]

#: Of what touches nothing but the client table: it conflicts with what touches everything.
TABLE: Final = Footprint((b"",))


class Footprints:
    """What requests and queries of one machine touch.

    Args:
        machine: the state machine.
    """

    def __init__(self, machine: StateMachine) -> None:
        self._footprint: Callable[[bytes], Footprint] = machine.footprint

    def of(self, bodies: Iterable[bytes]) -> tuple[list[Footprint], dict[int, str]]:
        """The footprint of each command or query; and by index why there is none for some."""
        footprint, none = self._footprint, dict[int, str]()
        found: list[Footprint] = []
        append = found.append
        for body in bodies:
            try:
                one = footprint(body)
                if one.__class__ is not Footprint:
                    raise TypeError(f"it is {type(one).__name__}, not a Footprint")
                reads, writes, read_ranges, write_ranges, everything = one
                # Most touch one key.
                if not (reads or read_ranges or write_ranges or everything) and len(writes) == 1:
                    (key,) = writes
                    if key.__class__ is not bytes or len(key) > MAX_KEY_BYTES:
                        one = _checked(one)
                else:
                    one = _checked(one)
            except Exception as error:
                none[len(found)] = (
                    f"the state machine gives no footprint: {type(error).__name__}: {error!s:.200}"
                )
                one = TABLE
            append(one)
        return found, none


def _checked(one: Footprint) -> Footprint:
    """The same, checked. Raises what shows that it is none."""
    if one.everything:
        return ALL
    named = sum(map(len, one[:4]))
    if not named:
        return TABLE
    if named > MAX_KEYS:
        return ALL
    reads, writes, read_ranges, write_ranges, _ = one
    if read_ranges or write_ranges or named > 2:
        one = Footprint.of(reads=reads, writes=writes, read_ranges=read_ranges, write_ranges=write_ranges)
        return one if weight(one)[1] <= MAX_COMMAND_BYTES else ALL
    for key in (*reads, *writes):
        if key.__class__ is not bytes or len(key) > MAX_KEY_BYTES:
            return Footprint.of(reads=reads, writes=writes)  # it says what is wrong
    return one


def weight(one: Footprint) -> tuple[int, int]:
    """How many keys and ranges are named, and how many bytes they have."""
    reads, writes, read_ranges, write_ranges, _ = one
    size = sum(map(len, reads)) + sum(map(len, writes))
    for low, high in (*read_ranges, *write_ranges):
        size += len(low) + len(high or b"")
    return len(reads) + len(writes) + len(read_ranges) + len(write_ranges), size


def as_read(one: Footprint) -> Footprint:
    """What a query with this footprint reads: it changes nothing, whatever its machine says."""
    if one.everything or not (one.writes or one.write_ranges):
        return one
    return Footprint(
        tuple(sorted({*one.reads, *one.writes})),
        (),
        _merged((*one.read_ranges, *one.write_ranges)),
    )


def union(footprints: Sequence[Footprint]) -> Footprint:
    """What all of these touch together, in the one form that it has.

    A key that is written and read counts as written: a write conflicts with whatever a read does.

    Args:
        footprints: of commands, as `Footprints.of` gives them; at least one.
    """
    reads: set[bytes] = set()
    writes: set[bytes] = set()
    ranged: list[Footprint] = []
    for one in footprints:
        if one[4]:
            return ALL
        if one[0]:
            reads.update(one[0])
        writes.update(one[1])
        if one[2] or one[3]:
            ranged.append(one)
    reads -= writes
    read_ranges = _merged([each for one in ranged for each in one[2]])
    write_ranges = _merged([each for one in ranged for each in one[3]])
    if len(reads) + len(writes) + len(read_ranges) + len(write_ranges) > MAX_KEYS:
        return ALL
    return Footprint(tuple(sorted(reads)), tuple(sorted(writes)), read_ranges, write_ranges)


def _merged(ranges: Iterable[KeyRange]) -> tuple[KeyRange, ...]:
    """Ranges that overlap or touch as one."""
    merged: list[KeyRange] = []
    for low, high in sorted(ranges, key=lambda each: each.low):
        if not merged or (merged[-1].high is not None and merged[-1].high < low):
            merged.append(KeyRange(low, high))
        elif merged[-1].high is not None and (high is None or high > merged[-1].high):
            merged[-1] = KeyRange(merged[-1].low, high)
    return tuple(merged)
