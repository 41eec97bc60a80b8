"""Footprints of requests and of batches, asked of a machine that may be anybody's.

Where only conflicting commands have an order, a batch says what its requests touch together.  The machine
says so of each; what it says is checked here, since a footprint that other nodes refuse to read would never
be decided.  A machine that raises, or says something else than a footprint, costs the one request.

Two things are added to what the machine says.  A request that touches nothing, such as one that makes no
sense, still enters the client table: so it must not cross a marker, and reads the one key of its own that is
`TABLE`.  And more than a command can say is `ALL`, which is always right.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, overload

from paxos.command import (
    ALL,
    MAX_COMMAND_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    Footprint,
    KeyRange,
)
from paxos.contract import StateMachine

__all__ = ["MAX_FOOTPRINT_BYTES", "TABLE", "Footprints", "OneWriteEach", "as_read", "union", "weight"]

#: What touches more than so many bytes of keys touches everything: it travels beside the command itself.
MAX_FOOTPRINT_BYTES: Final = MAX_COMMAND_BYTES - (64 << 10)
# What a key, and a range, has beside its bytes, at most.
_KEY_BYTES: Final = 8
_RANGE_BYTES: Final = 16

#: Of what touches nothing but the client table: it conflicts with what touches everything.
TABLE: Final = Footprint((b"",))


class OneWriteEach(Sequence[Footprint]):
    """The footprints of commands that write one key each and touch nothing else, as most do.

    They are made when somebody looks at one; whoever joins them all looks at the keys.

    Args:
        keys: what they write, in order; checked.
    """

    __slots__ = ("keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys: Sequence[bytes] = keys

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Footprint: ...
    @overload
    def __getitem__(self, index: slice) -> "OneWriteEach": ...
    def __getitem__(self, index: int | slice) -> "Footprint | OneWriteEach":
        if isinstance(index, slice):
            return OneWriteEach(self.keys[index])
        return Footprint((), (self.keys[index],))

    def __iter__(self) -> Iterator[Footprint]:
        for key in self.keys:
            yield Footprint((), (key,))


class Footprints:
    """What requests and queries of one machine touch.

    A machine may say it of many commands at once, which is faster: `written_keys(commands)` gives the key
    that each of them writes, if each writes one and touches nothing else, or else None. It must say the same
    as `footprint`, and is not asked where a class derived from its own has a `footprint` of its own.

    Args:
        machine: the state machine.
    """

    def __init__(self, machine: StateMachine) -> None:
        self._footprint: Callable[[bytes], Footprint] = machine.footprint
        self._written_keys = _written_keys(machine)

    def of(self, bodies: Iterable[bytes]) -> tuple[Sequence[Footprint], dict[int, str]]:
        """The footprint of each command or query; and by index why there is none for some."""
        footprint, none = self._footprint, dict[int, str]()
        bodies = list(bodies)
        try:
            keys = None if self._written_keys is None else self._written_keys(bodies)
            if keys is not None and len(keys) == len(bodies) and _are_keys(keys):
                return OneWriteEach(keys), none
            found = [footprint(body) for body in bodies]
        except KeyboardInterrupt:
            raise
        except BaseException:
            found = []
        if _write_one_key_each(found):
            return found, none
        found = []
        append = found.append
        for body in bodies:
            try:
                one = footprint(body)
                if one.__class__ is not Footprint:
                    raise TypeError(f"it is {type(one).__name__}, not a Footprint")
                one = _checked(one)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                none[len(found)] = (
                    f"the state machine gives no footprint: {type(error).__name__}: {error!s:.200}"
                )
                one = TABLE
            append(one)
        return found, none


def _write_one_key_each(found: Sequence[Footprint]) -> bool:
    """Whether each of these is checked, and as it should be: as most are, and found out with few calls."""
    if set(map(type, found)) != {Footprint}:
        return False
    reads, writes, read_ranges, write_ranges, everything = zip(*found, strict=True)
    if any(everything) or any(reads) or any(read_ranges) or any(write_ranges):
        return False
    if set(map(type, writes)) != {tuple} or set(map(len, writes)) != {1}:
        return False
    return _are_keys([*chain.from_iterable(writes)])


def _are_keys(keys: Sequence[Any]) -> bool:
    return set(map(type, keys)) == {bytes} and max(map(len, keys)) <= MAX_KEY_BYTES


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
        return one if weight((one,))[1] <= MAX_FOOTPRINT_BYTES else ALL
    for key in (*reads, *writes):
        if key.__class__ is not bytes or len(key) > MAX_KEY_BYTES:
            return Footprint.of(reads=reads, writes=writes)  # it says what is wrong
    return one


def weight(footprints: Sequence[Footprint]) -> tuple[int, int]:
    """How many keys and ranges these name together, and how many bytes they take: at most."""
    if isinstance(footprints, OneWriteEach):
        return len(footprints.keys), _KEY_BYTES * len(footprints.keys) + sum(map(len, footprints.keys))
    reads, writes, read_ranges, write_ranges, _ = zip(*footprints, strict=True)
    keys = [*chain.from_iterable(reads), *chain.from_iterable(writes)]
    size = _KEY_BYTES * len(keys) + sum(map(len, keys))
    if not any(read_ranges) and not any(write_ranges):
        return len(keys), size
    ranges = [*chain.from_iterable(read_ranges), *chain.from_iterable(write_ranges)]
    size += sum(_RANGE_BYTES + len(low) + len(high or b"") for low, high in ranges)
    return len(keys) + len(ranges), size


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
    if isinstance(footprints, OneWriteEach):
        keys = sorted({*footprints.keys})
        return ALL if len(keys) > MAX_KEYS else Footprint((), tuple(keys))
    # Turned over: what all of them read, and so on.
    all_reads, all_writes, all_read_ranges, all_write_ranges, everything = zip(*footprints, strict=True)
    if any(everything):
        return ALL
    writes = {*chain.from_iterable(all_writes)}
    reads = {*chain.from_iterable(all_reads)} - writes
    read_ranges = _merged(chain.from_iterable(all_read_ranges))
    write_ranges = _merged(chain.from_iterable(all_write_ranges))
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


def _written_keys(machine: object) -> Callable[[Sequence[bytes]], Any] | None:
    """What the machine says of many commands at once; None when its `footprint` is of a class further down.

    Who writes only a new `footprint` means that to be asked.
    """
    if "footprint" not in getattr(machine, "__dict__", {}):
        for kind in type(machine).__mro__:
            if "written_keys" in vars(kind):
                break
            if "footprint" in vars(kind):
                return None
        found: Callable[[Sequence[bytes]], Any] | None = getattr(machine, "written_keys", None)
        return found
    return None
