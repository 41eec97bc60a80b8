"""Moves: what can happen next in an untimed run, each a line that people read and programs parse.

    1 submits decide "d" = "a"      a client asks node 1
    2 submits decided "d"           a client asks node 2 what is decided
    1 submits put "k" = "v"         a client of a log; also `delete "k"`, `increment "n" = "1"`,
                                    `cas "k" = "w" if "v"` (or `if nothing`), `get "k"`; these are commands
    1 submits delete "k" @2         the same words, but not the same request: without a number, or with the
                                    same, a client asks again what it had asked
    2 submits read "k"              a query, linearizable; `stale "k"` is one that need not be
    1 -> 2 Prepare "d"              the oldest such message in flight arrives
    1 -> 2 Prepare "d" #2           the one after it
    duplicate 1 -> 2 Prepare "d"    another copy of it is in flight
    drop 1 -> 2 Prepare "d"         it is lost
    sync 2                          the sync under way on the disk of node 2 is done
    tick 3                          time goes on to when node 3 wants to be woken
    crash 2                         node 2 is gone, with what its disk had not synced
    crash 2 torn 1                  the same, but the first batch of that survived
    crash 2 kept                    the same, but all of it survived
    wipe 2                          node 2 is gone, and with it its disk
    restart 2                       it starts again from its disk
    1 forgets decide "d" = "a"      the client that asked node 1 is gone

A message is named by its type and its *topic*, the decree, slot or instance that it is about, because
these stay the same when other moves are taken out of a list; its ballot does not.
"""

import functools
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from paxos.ballot import NodeId
from paxos.errors import ConfigurationError

__all__ = ["MOVE_KINDS", "Asked", "Move", "parse_move", "quoted", "topic_of"]

#: Every kind of move.
MOVE_KINDS: Final = (
    "submit", "deliver", "duplicate", "drop", "sync", "tick", "crash", "wipe", "restart", "forget",
)  # fmt: skip
#: Fields that say what a message is about, the first that there is.
_TOPICS: Final = ("decree", "slot", "instance")

_NODE: Final = r"(?P<node>[1-9][0-9]{0,9})"
_ASKED: Final = r"(?P<asked>(?:decided?|put|delete|cas|increment|get|read|stale) .+)"
_LINES: Final = (
    (re.compile(rf"{_NODE} submits {_ASKED}"), "submit"),
    (re.compile(rf"{_NODE} forgets {_ASKED}"), "forget"),
    (
        re.compile(
            rf"(?P<verb>duplicate |drop )?(?P<sender>[1-9][0-9]{{0,9}}) -> {_NODE} "
            r"(?P<type>[A-Za-z_]\w{0,60})(?: (?P<topic>(?!#).{1,4000}?))?(?: #(?P<nth>[1-9][0-9]{0,5}))?"
        ),
        "deliver",
    ),
    (re.compile(rf"sync {_NODE}"), "sync"),
    (re.compile(rf"tick {_NODE}"), "tick"),
    (re.compile(rf"crash {_NODE}(?: (?P<unsynced>lost|kept|torn (?P<keep>[0-9]{{1,6}})))?"), "crash"),
    (re.compile(rf"wipe {_NODE}"), "wipe"),
    (re.compile(rf"restart {_NODE}"), "restart"),
)
_QUOTED: Final = r'(?:hex)?"(?:[^"\\]|\\.)*"'
_REQUEST: Final = re.compile(
    rf"(?P<kind>[a-z]+) (?P<name>{_QUOTED})(?: = (?P<value>{_QUOTED}))?(?: if (?P<old>{_QUOTED}|nothing))?"
    r"(?: @(?P<number>[1-9][0-9]{0,5}))?"
)
#: Whether a question says a value, and what is expected.
_SAYS: Final = {
    "decide": (True, False), "decided": (False, False), "put": (True, False), "delete": (False, False),
    "cas": (True, True), "increment": (True, False), "get": (False, False), "read": (False, False),
    "stale": (False, False),
}  # fmt: skip


class Asked(NamedTuple):
    """What a client asks.

    Args:
        kind: "decide", or "decided" for a read; of a log "put", "delete", "cas", "increment", "get", or a
            query: "read" or "stale".
        name: the decree's, or the key.
        value: what is proposed, put or added; None for what has none.
        old: of a cas: what it expects; None for absent.
        number: tells requests of the same words apart; 0 for none.
    """

    kind: str
    name: bytes
    value: bytes | None
    old: bytes | None = None
    number: int = 0

    def __str__(self) -> str:
        tail = "" if self.value is None else f" = {quoted(self.value)}"
        if self.kind == "cas":
            tail += f" if {'nothing' if self.old is None else quoted(self.old)}"
        return f"{self.kind} {quoted(self.name)}{tail}" + (f" @{self.number}" if self.number else "")


class Move(NamedTuple):
    """One thing that happens. `str()` gives its line.

    Args:
        kind: one of `MOVE_KINDS`.
        node: where; of a message the recipient.
        sender: of a message; 0 otherwise.
        type: of a message: its class's name.
        topic: of a message: what it is about, as `topic_of` gives it; empty for nothing.
        nth: of a message: which of those that fit, the oldest is 1.
        asked: "submit" and "forget": what.
        unsynced: "crash": what becomes of writes not synced: "lost", "torn" or "kept".
        keep: "torn": how many batches survive.
    """

    kind: str
    node: NodeId
    sender: NodeId = 0
    type: str = ""
    topic: str = ""
    nth: int = 1
    asked: Asked | None = None
    unsynced: str = "lost"
    keep: int = 0

    def __str__(self) -> str:
        kind = self.kind
        if self.sender:
            verb = "" if kind == "deliver" else f"{kind} "
            topic = f" {self.topic}" if self.topic else ""
            nth = f" #{self.nth}" if self.nth > 1 else ""
            return f"{verb}{self.sender} -> {self.node} {self.type}{topic}{nth}"
        if self.asked is not None:
            return f"{self.node} {kind}s {self.asked}"
        if kind == "crash" and self.unsynced != "lost":
            return f"crash {self.node} {self.unsynced}" + (f" {self.keep}" if self.unsynced == "torn" else "")
        return f"{kind} {self.node}"


@functools.lru_cache(maxsize=4096)
def parse_move(line: str) -> Move:
    """The move that a line says.

    Raises:
        ConfigurationError: it says none.
    """
    if isinstance(line, str):
        for pattern, kind in _LINES:
            found = pattern.fullmatch(line)
            if found is not None:
                return _move(kind, found.groupdict())
    raise ConfigurationError(
        f"not a move: {line!r:.120}; moves look like '1 -> 2 Prepare', 'crash 2 lost', 'sync 2', 'tick 3', "
        "'restart 2' or '1 submits decide \"name\" = \"value\"'"
    )


def _move(kind: str, parts: Mapping[str, Any]) -> Move:
    node = int(parts["node"])
    if kind in ("submit", "forget"):
        return Move(kind, node, asked=_asked(parts["asked"]))
    if kind == "deliver":
        kind = (parts["verb"] or kind).strip()
        sender = int(parts["sender"])
        return Move(kind, node, sender, parts["type"], parts["topic"] or "", int(parts["nth"] or 1))
    if kind == "crash":
        unsynced = (parts["unsynced"] or "lost").split()[0]
        return Move(kind, node, unsynced=unsynced, keep=int(parts["keep"] or 0))
    return Move(kind, node)


def _asked(text: str) -> Asked:
    found = _REQUEST.fullmatch(text)
    says = None if found is None else (found["value"] is not None, found["old"] is not None)
    if found is None or _SAYS.get(found["kind"]) != says:
        raise ConfigurationError(
            f'not a request: {text!r:.120}; write decide "name" = "value", or decided "name"; of a log '
            'put "key" = "value", delete "key", cas "key" = "value" if "old", increment "key" = "1", '
            'get "key", read "key" or stale "key"'
        )
    kind, name, value, old, number = found.groups()
    return Asked(
        kind,
        _unquoted(name),
        None if value is None else _unquoted(value),
        None if old in (None, "nothing") else _unquoted(old),
        int(number or 0),
    )


@functools.lru_cache(maxsize=4096)
def quoted(value: bytes) -> str:
    """Bytes in quotes: their text where it can be printed, else hexadecimal digits."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\n"
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else f'hex"{value.hex()}"'


def _unquoted(text: str) -> bytes:
    try:
        if text.startswith("hex"):
            return bytes.fromhex(text[4:-1])
        return str(json.loads(text)).encode()
    except ValueError as error:
        raise ConfigurationError(f"not a quoted text: {text!r:.80}") from error


def topic_of(message: Any) -> str:
    """What a message is about: its decree, slot or instance as text; empty for none."""
    for name in _TOPICS:
        value = getattr(message, name, None)
        if value is not None:
            return (
                quoted(value)
                if isinstance(value, bytes)
                else ".".join(map(str, value))
                if isinstance(value, tuple)
                else str(value)
            )
    return ""
