"""Backups: the whole replicated state as of a moment, handed to a client in pieces while the log goes on.

A client asks with queries of level BACKUP.  The first one names the backup; it waits like any linearizable
read, so what is cut then holds everything that was acknowledged before it was asked for.  Those after it ask
for pieces, in order, a few at a time.  Pieces are made as they are asked for: a client that is slow costs
the node a reference to what it has not taken, and no disk.

A backup belongs to the connection over which it was begun and ends with it; who was cut off begins anew.
Only a few are made at once, and one that nobody asks about for a while is given up.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from paxos.ballot import NodeId
from paxos.errors import NodeStopped, WireError
from paxos.service.log_messages import CHUNK_BYTES, Query, QueryReply, RefusedKind
from paxos.service.turn import ClientKey
from paxos.wire import dumps, expect_fields, loads_strict, take_bytes, take_int, take_list

__all__ = ["Backups", "Page", "first_question", "question", "take_page"]

#: Backups made at once, at most.
_MAX_BACKUPS: Final = 4
#: Pieces in one answer.
_PIECES: Final = 4
#: How long a backup may be left alone, seconds.
_PATIENCE_S: Final = 60.0
_MAX_NAME_BYTES: Final = 64
_MAX_INDEX: Final = 1 << 40


class Page(NamedTuple):
    """Consecutive pieces of a backup.

    Args:
        node: which node makes it.
        first: the number of the first piece.
        pieces: they; fewer than it might be only at the end.
        last: whether there are no more.
    """

    node: NodeId
    first: int
    pieces: list[bytes]
    last: bool


# --- the client's side -------------------------------------------------------------------------------


def first_question(name: bytes) -> bytes:
    """The query that begins a backup. `name`: 1 to 64 bytes, of this backup alone."""
    return dumps((name, None))


def question(name: bytes, index: int) -> bytes:
    """The query for piece `index` and those after it."""
    return dumps((name, index))


def take_page(answer: bytes) -> Page | None:
    """What a node answered; None when it knows of no such backup, or no more.

    Raises:
        WireError: it is no such answer.
    """
    fields = loads_strict(answer)
    if fields is None:
        return None
    node, first, pieces, last = expect_fields(fields, 4, "backup")
    return Page(
        take_int(node, "backup.node", 1, (1 << 31) - 1),
        take_int(first, "backup.first", 0, _MAX_INDEX),
        [
            take_bytes(piece, "backup.piece", CHUNK_BYTES)
            for piece in take_list(pieces, "backup.pieces", _PIECES)
        ],
        last is True,
    )


# --- the node's side ---------------------------------------------------------------------------------


class _Backup:
    """One that is being made."""

    __slots__ = ("asked_at_s", "next", "page", "pieces")

    def __init__(self, pieces: Iterator[bytes], now_s: float) -> None:
        self.pieces = pieces
        self.asked_at_s = now_s
        # The first piece of the newest page, and that page: it is asked for again when the answer is late.
        self.next = 0
        self.page: bytes | None = None


class Backups:
    """The backups that one node makes.

    Args:
        node: its id.
    """

    def __init__(self, node: NodeId) -> None:
        self._node = node
        self._backups: dict[tuple[ClientKey, bytes], _Backup] = {}

    def __len__(self) -> int:
        return len(self._backups)

    def go_on(self, client: ClientKey, query: Query, now_s: float) -> QueryReply | None:
        """The answer to a query for pieces; None to one that begins a backup, which must wait its turn."""
        try:
            name, index = _taken(query.body)
        except WireError as error:
            return QueryReply(query.sequence, RefusedKind.NEVER, None, str(error))
        if index is None:
            return None
        backup = self._backups.get((client, name))
        try:
            answer = None if backup is None else self._page(backup, index, now_s)
        except NodeStopped as error:
            del self._backups[client, name]
            return QueryReply(query.sequence, RefusedKind.NEVER, None, str(error))
        return QueryReply(query.sequence, 0, dumps(None) if answer is None else answer, "")

    def begin(
        self, client: ClientKey, query: Query, cut: Callable[[], Iterator[bytes]], now_s: float
    ) -> QueryReply:
        """Make the cut, and answer with the first page. A machine that raises costs no more than the backup.

        Args:
            client: who asked.
            query: what it asked.
            cut: gives the pieces of the state as it is now.
            now_s: monotonic seconds.
        """
        for key in [key for key, each in self._backups.items() if now_s > each.asked_at_s + _PATIENCE_S]:
            del self._backups[key]
        if len(self._backups) >= _MAX_BACKUPS:
            text = f"node {self._node} makes {len(self._backups)} backups already; try again later"
            return QueryReply(query.sequence, RefusedKind.REJECTED, None, text)
        name, _ = _taken(query.body)
        try:
            backup = _Backup(cut(), now_s)
            answer = self._page(backup, 0, now_s)
        except NodeStopped as error:
            return QueryReply(query.sequence, RefusedKind.NEVER, None, str(error))
        self._backups[client, name] = backup
        return QueryReply(query.sequence, 0, answer, "")

    def leave(self, client: ClientKey) -> None:
        """The client is gone, and what was made for it."""
        for key in [key for key in self._backups if key[0] == client]:
            del self._backups[key]

    def _page(self, backup: _Backup, index: int, now_s: float) -> bytes | None:
        backup.asked_at_s = now_s
        if backup.page is not None and index == backup.next:
            return backup.page
        if backup.page is not None and index != backup.next + _PIECES:
            return None
        pieces = list(islice(backup.pieces, _PIECES))
        backup.next = index
        backup.page = dumps((self._node, index, pieces, len(pieces) < _PIECES))
        return backup.page


def _taken(body: bytes) -> tuple[bytes, int | None]:
    name, index = expect_fields(loads_strict(body), 2, "backup")
    where = "backup.index"
    return (
        take_bytes(name, "backup.name", _MAX_NAME_BYTES),
        None if index is None else take_int(index, where, 0, _MAX_INDEX),
    )
