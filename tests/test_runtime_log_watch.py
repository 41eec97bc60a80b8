"""Queries and watches, at nodes of a log that answer what real ones would not."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from paxos.errors import (
    ClusterMismatch,
    Rejected,
    Unreachable,
)
from paxos.runtime import Client, connect
from paxos.service import keyvalue_answers as answers
from paxos.service.keyvalue_answers import Change
from paxos.service.keyvalue_requests import changes, parse_changes
from paxos.service.log_messages import (
    AskBirth,
    CancelQuery,
    Level,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
)
from tests.false_logs import ONE, FalseNode, at_rest, hang_up, met, silence
from tests.strangers import false_node, until

pytestmark = [pytest.mark.anyio, pytest.mark.once]


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that soon tries another node."""
    monkeypatch.setattr("paxos.runtime.client_link._PATIENCE_S", 0.3)


# --- queries -----------------------------------------------------------------------------------------


async def test_a_query_is_asked_again_until_the_end() -> None:
    def busy(query: Any) -> Sequence[Any]:
        return [QueryReply(query.sequence, RefusedKind.REJECTED, None, "busy just now")]

    def nonsense(query: Any) -> Sequence[Any]:
        return [QueryReply(query.sequence, 0, None, "")]

    node = FalseNode(queries=[busy, nonsense, hang_up, busy])
    async with met(node) as client:
        assert await client.query(b"q") == b"answer to q"
        node.query_script = [busy] * 1000
        with pytest.raises(Rejected, match=r"^query: busy just now$"):
            await client.query(b"q", timeout_s=1.0)
        node.query_script = [silence] * 1000
        with pytest.raises(Unreachable, match=r"get b'k': no node answered within 1 s; is there a quorum\?"):
            await client.get(b"k", timeout_s=1.0)
        assert at_rest(client)
    assert {query.level for query in node.queries} == {Level.LINEARIZABLE}


async def test_answers_to_no_query() -> None:
    def behave(query: Any) -> Sequence[Any]:
        own = QueryReply(query.sequence, 0, b"own", "")
        return [own._replace(sequence=99, result=b"foreign"), own, own._replace(result=b"again")]

    async with met(FalseNode(queries=[behave] * 9)) as client:
        for _ in range(9):
            assert await client.query(b"q") == b"own"


async def test_stale_by_name() -> None:
    node = FalseNode()
    async with met(node) as client:
        await client.query(b"q", stale=True)
        assert node.queries[-1].level == Level.STALE


async def test_instructions() -> None:
    node = FalseNode()
    async with met(node) as client:
        await client.transfer(2)
    assert [(each.action, each.node) for each in node.instructions] == [("transfer", 2)]


# --- news --------------------------------------------------------------------------------------------


class NewsNode(FalseNode):
    """One key changes at every revision; who asks for news above the last one waits."""

    def __init__(self, revision: int, oldest: int = 0) -> None:
        super().__init__()
        self.revision = revision
        self.oldest = oldest
        self.waiting: dict[int, Any] = {}

    def __call__(self, message: Any, stream: Any) -> Sequence[Any]:
        if not isinstance(message, Query):
            if isinstance(message, CancelQuery):
                self.waiting.pop(message.sequence, None)
            return super().__call__(message, stream)
        self.queries.append(message)
        asked = parse_changes(message.body)
        assert asked is not None
        answer = self.answer(asked.after)
        if answer == message.known:
            self.connections.append(stream)
            self.waiting[message.sequence] = stream
            return []
        return [QueryReply(message.sequence, 0, answer, "")]

    def answer(self, after: int | None) -> bytes:
        if after is None:
            return answers.page_answer(self.revision, self.revision, ())
        if after < self.oldest:
            return answers.compacted_answer(self.oldest, self.revision)
        known = [(each, (b"k", b"%d" % each)) for each in range(after + 1, self.revision + 1)]
        return answers.page_answer(max(after, self.revision), self.revision, known)


async def first_change(client: Client, since: int | None = None) -> Change:
    """The first change that a watch tells of."""
    async with aclosing(client.watch(since=since)) as watch:
        return await anext(watch)


async def test_watch_goes_on_at_another_node_without_loss_or_double() -> None:
    """The second node is behind the first when the client comes to it."""
    first, second = NewsNode(5), NewsNode(3)
    async with met(first, second) as client:
        changes_seen: list[int] = []

        async def watch() -> None:
            async for change in client.watch(since=2):
                assert change.value == b"%d" % change.revision
                changes_seen.append(change.revision)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await until(lambda: bool(first.waiting))
            assert changes_seen == [3, 4, 5]
            await anyio.aclose_forcefully(next(iter(first.waiting.values())))
            await until(lambda: len(second.queries) >= 3)
            assert changes_seen == [3, 4, 5]
            second.revision = 8
            await until(lambda: bool(second.waiting))
            assert changes_seen == [3, 4, 5, 6, 7, 8]
            group.cancel_scope.cancel()
        await until(lambda: not second.waiting)
        assert at_rest(client)


async def test_watch_from_now() -> None:
    node = NewsNode(5)
    async with met(node) as client, anyio.create_task_group() as group:
        changes_seen: list[int] = []

        async def watch() -> None:
            async for change in client.watch(b"a", b"z"):
                changes_seen.append(change.revision)

        group.start_soon(watch)
        await until(lambda: bool(node.waiting))
        assert node.queries[0] == Query(1, Level.LINEARIZABLE, changes(None))
        assert changes_seen == []
        group.cancel_scope.cancel()


async def test_watch_what_is_no_longer_kept() -> None:
    async with met(NewsNode(9, oldest=6)) as client:
        with pytest.raises(
            Rejected, match=r"after revision 2 are not all kept; those after 6 are: read the keys"
        ):
            await first_change(client, since=2)
        assert (await first_change(client, since=6)).revision == 7


async def test_watching_for_longer_than_a_node_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """That nothing changes is no error, and no reason to try another node."""
    monkeypatch.setattr("paxos.runtime.client._NEWS_S", 0.1)
    node = NewsNode(5)
    async with met(node) as client, anyio.create_task_group() as group:
        told: list[int] = []

        async def watch() -> None:
            told.append((await first_change(client)).revision)

        group.start_soon(watch)
        await until(lambda: bool(node.waiting))
        await anyio.sleep(0.5)
        assert len(node.queries) == 2
        assert len(set(node.connections)) == 1
        (sequence,) = node.waiting
        node.revision = 6
        reply = QueryReply(sequence, 0, node.answer(5), "")
        client._log.take(reply)
        await until(lambda: told == [6])


async def test_a_watch_that_is_closed_leaves_nothing_behind() -> None:
    node = NewsNode(5)
    async with met(node) as client:
        for _ in range(3):
            async with aclosing(client.watch(since=4)) as watch:
                assert (await anext(watch)).revision == 5
                with anyio.move_on_after(0.05):
                    await anext(watch)
        await until(lambda: not node.waiting)
        assert at_rest(client)


async def test_watches_do_not_keep_queries_back_and_are_bounded() -> None:
    node = NewsNode(5)
    async with met(node) as client:
        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(first_change, client, 5)
            await until(lambda: len(node.waiting) == 1000)
            assert await client.revision() == 5
            with pytest.raises(Rejected, match="waits for 1000 pieces of news; open another for more"):
                await first_change(client, 5)
            group.cancel_scope.cancel()
        await until(lambda: not node.waiting)
        assert at_rest(client)


# --- the wrong cluster -------------------------------------------------------------------------------


async def test_a_cluster_that_never_takes_it_is_told_at_once() -> None:
    def wrong(message: Any, stream: Any) -> Sequence[Any]:
        text = "this cluster runs paxos"
        if isinstance(message, AskBirth):
            return [Refused(bytes(16), 0, 1, RefusedKind.WRONG, text)]
        return [QueryReply(message.sequence, RefusedKind.WRONG, None, text)]

    async with false_node(wrong, ONE) as address, connect([address], timeout_s=60) as client:
        for _ in range(3):
            with pytest.raises(ClusterMismatch, match=r"^submit: this cluster runs paxos"):
                await client.submit(b"x")
        with pytest.raises(ClusterMismatch, match=r"^query: this cluster runs paxos"):
            await client.query(b"x")
        with pytest.raises(ClusterMismatch, match=r"^transfer to node 2: this cluster runs paxos"):
            await client.transfer(2)
        assert at_rest(client)
