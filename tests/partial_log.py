"""The smallest protocol that orders only what conflicts: that of `instant_log`, with other marks.

Its one member applies what it is given in the order in which that comes; a test that wants another order
gives another. Marks are pairs of an owner and a number.
"""

from collections.abc import Callable
from typing import Any

import attrs

from paxos.command import ALL, Footprint, RequestId
from paxos.contract import Instant, Mark, Orders, StateMachine
from paxos.wire import dumps, loads_strict
from tests import instant_log
from tests.instant_log import Host, InstantLog


class PartialLog(InstantLog):
    """The replica."""

    def read(self, request: RequestId, now: Instant) -> None:
        """A read is a command here."""
        raise AssertionError(
            "a protocol that orders only what conflicts is not asked for the place of a read"
        )

    def _commit(self, upto: int) -> None:
        given = self._given
        super()._commit(upto)
        applies: list[Any] = self._effects.applies
        added = len(range(given + 1, upto + 1))
        applies[len(applies) - added :] = [
            ((self.node, slot), command) for slot, command in applies[len(applies) - added :]
        ]

    def compact(self, mark: Mark, now: Instant) -> None:
        """Forget what a snapshot covers."""
        super().compact(_number(mark), now)

    def install(self, mark: Mark, part: bytes, now: Instant) -> None:
        """Go on after a snapshot."""
        upto = _number(mark)
        self.installed.append((mark, part))
        self._effects.applies = [each for each in self._effects.applies if _number(each[0]) > upto]
        self._given = max(self._given, upto)
        self._last = max(self._last, upto)
        self.compact(mark, now)


def _number(mark: Any) -> int:
    number = mark[1] if isinstance(mark, tuple) else mark
    assert isinstance(number, int)
    return number


PROTOCOL = attrs.evolve(instant_log.PROTOCOL, name="partial", replica=PartialLog, orders=Orders.CONFLICTS)


class Keys:
    """A machine of which a command is a footprint in words, and the state what was done to each key.

    Words are "r" and a key, "w" and a key, "R" or "W" and two bounds, "#" and a number of keys, "all",
    "raise", "none", "long" or "odd".
    """

    def __init__(self) -> None:
        self.lines: dict[bytes, list[bytes]] = {}

    def apply(self, command: bytes) -> bytes:
        touched = self.footprint(command)
        found = [b"%s:%d" % (key, len(self.lines.get(key, ()))) for key in (*touched.reads, *touched.writes)]
        for key in touched.writes:
            self.lines.setdefault(key, []).append(command)
        return b" ".join(found)

    def footprint(self, command: bytes) -> Footprint:
        reads: list[bytes] = []
        writes: list[bytes] = []
        read_ranges: list[tuple[bytes, bytes | None]] = []
        write_ranges: list[tuple[bytes, bytes | None]] = []
        for word in command.split():
            if word == b"all":
                return ALL
            if word == b"raise":
                raise ValueError("no such thing")
            if word == b"none":
                return None  # type: ignore[return-value]
            if word == b"odd":
                return Footprint(writes=("text",))  # type: ignore[arg-type]
            if word == b"long":
                return Footprint(writes=(bytes(5000),))
            if word[:1] == b"r":
                reads.append(word[1:])
            elif word[:1] == b"w":
                writes.append(word[1:])
            elif word[:1] in b"RW":
                low, _, high = word[1:].partition(b"-")
                (read_ranges if word[:1] == b"R" else write_ranges).append((low, high or None))
            elif word[:1] == b"#":
                writes += [b"k%d" % number for number in range(int(word[1:]))]
        return Footprint.of(reads=reads, writes=writes, read_ranges=read_ranges, write_ranges=write_ranges)

    def query(self, query: bytes) -> bytes:
        return b" ".join(b"%s:%d" % (key, len(self.lines[key])) for key in sorted(self.lines))

    def snapshot(self) -> bytes:
        return dumps([[key, self.lines[key]] for key in sorted(self.lines)])

    def restore(self, snapshot: bytes) -> None:
        items: Any = loads_strict(snapshot)
        self.lines = dict(items)


def host(node: int = 1, machine: Callable[[], StateMachine] = Keys, **more: Any) -> Host:
    """A node of it."""
    return Host(node, protocol=PROTOCOL, machine=machine, **more)
