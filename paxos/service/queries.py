"""Queries of clients: what changes nothing, answered by one node from its state.

A linearizable query waits for its place in the order.  Where all commands have one order the replica says up
to where this node must have applied it (`Replica.read`); where only conflicting ones have, a command that
reads what the query reads is that place, and the query is answered right where it is applied.  All queries
of a turn share one such place, but for those that touch everything.

A stale query is answered at once, and one for news as soon as the answer is another than the client knows.

Who does not read its answers is made no more of them, and told to ask again: an answer may be a million times
as long as its query, and is made when its turn comes, so that a bound on queries would be none on memory.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from paxos.ballot import NodeId
from paxos.command import ALL, Footprint, RequestId
from paxos.contract import Event, Mark, Message, Outcome, OutcomeKind, StateMachine
from paxos.service.backups import Backups
from paxos.service.batches import FILL_BYTES
from paxos.service.footprints import Footprints, as_read, union, weight
from paxos.service.gathering import MAX_BATCH_KEYS, HotKeys
from paxos.service.log_messages import Level, Query, QueryReply, RefusedKind
from paxos.service.sessions import MAX_RESULT_BYTES
from paxos.service.turn import ClientKey, Reader

__all__ = ["REFUSED_BY_OUTCOME", "Asked", "Queries"]

#: A query, and who asked.
Asked: TypeAlias = tuple[ClientKey, Query]

# Groups of queries that are apart from those about keys.
_OF_ALL: Final = -1
_OF_RANGES: Final = -2

#: What a client is told of an outcome that is no answer.
REFUSED_BY_OUTCOME: Final = {
    OutcomeKind.REJECTED: RefusedKind.REJECTED,
    OutcomeKind.UNKNOWN: RefusedKind.UNKNOWN,
    OutcomeKind.REDIRECT: RefusedKind.REDIRECT,
}


class Queries:
    """The queries of one node's clients.

    Args:
        node: its id.
        machine: what answers.
        most: queries that wait at most; beyond, they are rejected.
        cut: the pieces of the whole state as it is now, for backups.
        answers: where answers go.
        events: where what happens goes.
    """

    def __init__(
        self,
        node: NodeId,
        machine: StateMachine,
        most: int,
        cut: Callable[[], Iterator[bytes]],
        answers: list[tuple[ClientKey, Message]],
        events: list[Event],
    ) -> None:
        self._node = node
        self._machine = machine
        self._most = most
        self._cut = cut
        self._answers = answers
        self._events = events
        #: Those that no read carries yet.
        self.asked: list[Asked] = []
        #: Those that wait for news.
        self.watching: list[Asked] = []
        #: Those whose place in the order is known, and not yet reached here.
        self.ready: list[tuple[Mark, list[Asked]]] = []
        # Those that wait for the replica, by the read that carries them.
        self._reads: dict[RequestId, list[Asked]] = {}
        self._waiting = 0
        self._backups = Backups(node)

    # --- what comes in ------------------------------------------------------------------------------

    def ask(self, client: ClientKey, query: Query, now_s: float) -> None:
        """A client asks. The time is monotonic seconds."""
        if self._waiting + len(self.watching) >= self._most:
            text = f"node {self._node} has {self._waiting} queries waiting; try again later"
            self._answers.append((client, QueryReply(query.sequence, RefusedKind.REJECTED, None, text)))
        elif query.level == Level.STALE:
            self._answer(client, query, now_s)
        elif query.level == Level.NEWS:
            if not self._tell_news(client, query):
                self.watching.append((client, query))
        elif query.level == Level.BACKUP and (reply := self._go_on(client, query, now_s)):
            self._answers.append((client, reply))
        else:
            self.asked.append((client, query))
            self._waiting += 1

    def cancel(self, client: ClientKey, sequence: int) -> None:
        """The client no longer waits for news."""
        gone = (client, sequence)
        self.watching = [each for each in self.watching if (each[0], each[1].sequence) != gone]

    def leave(self, client: ClientKey) -> None:
        """The client is gone: what it asked goes on, and nobody is told."""
        self.watching = [each for each in self.watching if each[0] != client]
        self._backups.leave(client)

    # --- to the replica and back ------------------------------------------------------------------------

    def take_asked(self) -> list[Asked]:
        """All that no read carries yet."""
        asked, self.asked = self.asked, []
        return asked

    def take_by_footprint(
        self, footprints: Footprints, hot: HotKeys | None, room: int
    ) -> list[tuple[list[Asked], Footprint]]:
        """The same, those together that one read is to carry, with what it reads: so many reads at most.

        One of which the machine does not say what it reads is refused.

        Args:
            footprints: says it.
            hot: keys to keep apart, as for commands; None for none.
            room: how many reads there may be; what is left waits.
        """
        asked = self.take_asked()
        touched, none = footprints.of([query.body for _, query in asked])
        reads: list[tuple[list[Asked], list[Footprint]]] = []
        # Of each group the read that is being filled, how many keys it names, and their bytes.
        open_reads: dict[int, tuple[int, int, int]] = {}
        for index, (each, one) in enumerate(zip(asked, touched, strict=True)):
            if each[1].level == Level.BACKUP:
                # It is not for the machine to say: the state of all of it is wanted.
                one = ALL
            elif index in none:
                self._waiting -= 1
                self._answers.append((each[0], self._failed(each[1], none[index])))
                continue
            one = as_read(one)
            group, (more, more_bytes) = _group(one, hot), weight((one,))
            at, keys, size = open_reads.get(group, (-1, 0, 0))
            keys, size = keys + more, size + more_bytes
            if at < 0 or keys > MAX_BATCH_KEYS or size > FILL_BYTES:
                if len(reads) == room:
                    self.asked.append(each)
                    continue
                at, keys, size = len(reads), more, more_bytes
                reads.append(([], []))
            open_reads[group] = at, keys, size
            reads[at][0].append(each)
            reads[at][1].append(one)
        return [(members, union(read)) for members, read in reads]

    def wait_for(self, read: RequestId, asked: list[Asked]) -> None:
        """The replica was given a read that carries these."""
        self._reads[read] = asked

    def conclude(self, outcome: Outcome) -> bool:
        """What the replica says of a read; False if it is of none."""
        queries = self._reads.pop(outcome.request, None)
        if queries is None:
            return False
        if outcome.kind is OutcomeKind.READY:
            self.ready.append((outcome.mark, queries))
            return True
        kind = REFUSED_BY_OUTCOME[outcome.kind]
        self._refuse(queries, kind, str(outcome.node) if kind is RefusedKind.REDIRECT else outcome.reason)
        return True

    def lose_reads(self, why: str) -> None:
        """Nobody knows whether any read that the replica was given is still to come."""
        reads, self._reads = self._reads, {}
        for queries in reads.values():
            self._refuse(queries, RefusedKind.UNKNOWN, why)

    def _refuse(self, queries: Sequence[Asked], kind: RefusedKind, detail: str) -> None:
        self._waiting -= len(queries)
        for client, query in queries:
            self._answers.append((client, QueryReply(query.sequence, kind, None, detail)))

    # --- answers ----------------------------------------------------------------------------------------

    def answer_read(self, read: RequestId, now_s: float) -> None:
        """A read is applied: what it carries is answered, if it is one of this node and this life."""
        queries = self._reads.pop(read, ())
        self._waiting -= len(queries)
        for client, query in queries:
            self._answer(client, query, now_s)

    def answer_ready(self, applied: Any, now_s: float) -> None:
        """Answer those whose place in the order is reached. A follower may be told its before it is.

        Args:
            applied: the mark of what was applied last, a number; None before the first.
            now_s: monotonic seconds.
        """
        waiting, self.ready = self.ready, []
        for mark, queries in waiting:
            # Of a log that has nothing in it the place is 0, and nothing is applied.
            if mark not in (None, 0) and (applied is None or mark > applied):
                self.ready.append((mark, queries))
                continue
            self._waiting -= len(queries)
            for client, query in queries:
                self._answer(client, query, now_s)

    def tell_news(self) -> None:
        """Something was applied: tell those who wait for that, if it changes their answer."""
        self.watching = [each for each in self.watching if not self._tell_news(*each)]

    def _answer(self, client: ClientKey, query: Query, now_s: float) -> None:
        reply = self._not_now(client, query)
        if reply is not None:
            pass
        elif query.level == Level.BACKUP:
            reply = self._owed(client, self._backups.begin(client, query, self._cut, now_s))
        else:
            reply = self._owed(client, self._ask_machine(query))
        self._answers.append((client, reply))

    def _go_on(self, client: ClientKey, query: Query, now_s: float) -> QueryReply | None:
        reply = self._not_now(client, query)
        if reply is None and (reply := self._backups.go_on(client, query, now_s)) is not None:
            self._owed(client, reply)
        return reply

    def _tell_news(self, client: ClientKey, query: Query) -> bool:
        reply = self._not_now(client, query)
        if reply is None:
            reply = self._ask_machine(query)
            if reply.result == query.known:
                return False
            self._owed(client, reply)
        self._answers.append((client, reply))
        return True

    def _not_now(self, client: ClientKey, query: Query) -> QueryReply | None:
        """What a client is told that does not read; None to others."""
        if not isinstance(client, Reader) or client.keeps_up:
            return None
        text = f"node {self._node} has made more answers than are read; try again"
        return QueryReply(query.sequence, RefusedKind.REJECTED, None, text)

    @staticmethod
    def _owed(client: ClientKey, reply: QueryReply) -> QueryReply:
        if isinstance(client, Reader) and reply.result:
            client.owe(len(reply.result))
        return reply

    def _ask_machine(self, query: Query) -> QueryReply:
        """What the machine answers. One that it can not answer costs its client, and never the node.

        Nothing follows from a query, so no node diverges; and any other node would say the same.
        """
        try:
            answer = self._machine.query(query.body)
            if type(answer) is not bytes:
                raise TypeError(f"its answer is {type(answer).__name__}, not bytes")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return self._failed(
                query, f"the state machine can not answer the query: {type(error).__name__}: {error!s:.200}"
            )
        if len(answer) > MAX_RESULT_BYTES:
            why = f"the answer has {len(answer)} bytes; the limit is {MAX_RESULT_BYTES}"
            return QueryReply(query.sequence, RefusedKind.NEVER, None, why)
        return QueryReply(query.sequence, 0, answer, "")

    def _failed(self, query: Query, why: str) -> QueryReply:
        what = {"text": why, "level": logging.WARNING}
        self._events.append(Event("query failed", self._node, what, "log"))
        return QueryReply(query.sequence, RefusedKind.NEVER, None, why)


def _group(one: Footprint, hot: HotKeys | None) -> int:
    """Which queries share a read with one of this footprint."""
    if one.everything:
        # It waits for everything, and is not waited for by others.
        return _OF_ALL
    if hot is None:
        return 0
    return _OF_RANGES if one.read_ranges else hot.group(one.reads)
