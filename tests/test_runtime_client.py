"""A client against nodes that answer what a real one would not: late, twice, not now, elsewhere, never."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

from paxos.errors import ClusterMismatch, OutcomeUnknown, Rejected, Unreachable
from paxos.runtime import Client, connect
from paxos.runtime.handshake import BUSY, HANDSHAKE_MESSAGES, MISMATCH, Hello, Refused, read_first
from paxos.service import Cancel, Reply, ReplyKind, Submit
from tests.strangers import CLIENT, PATIENCE_S, false_node, listening, peer_hello, until

pytestmark = pytest.mark.anyio

ONE = peer_hello("shop", 1, {})
TWO = peer_hello("shop", 2, {})


def done(request: Any, result: bytes | None = b"done") -> Reply:
    return Reply(request, ReplyKind.DONE, result, "")


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that soon tries another node."""
    monkeypatch.setattr("paxos.runtime.client_link._PATIENCE_S", 0.3)


class Script:
    """Answers each request for a decree by what is left of its script; keeps what it was sent."""

    def __init__(self, *kinds: ReplyKind | None, detail: str = "busy just now") -> None:
        self.kinds = list(kinds)
        self.detail = detail
        self.requests: list[Any] = []
        self.cancelled: list[Any] = []
        self.connections: set[Any] = set()

    def __call__(self, message: Any, stream: Any) -> Sequence[Any]:
        self.connections.add(stream)
        if isinstance(message, Cancel):
            self.cancelled.append(message.request)
        if not isinstance(message, Submit):
            return []
        self.requests.append(message.request)
        kind = self.kinds.pop(0) if self.kinds else ReplyKind.DONE
        if kind is None:
            return []
        if kind is ReplyKind.DONE:
            return [done(message.request)]
        return [Reply(message.request, kind, None, self.detail)]


@asynccontextmanager
async def two_nodes(first: Any, second: Any, hello: Hello = TWO) -> AsyncIterator[Client]:
    """A client of two false nodes that it meets in this order."""
    async with AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(false_node(first, ONE)),
            await stack.enter_async_context(false_node(second, hello)),
        ]
        yield await stack.enter_async_context(connect(addresses))


async def test_not_now_is_asked_again_under_the_same_id() -> None:
    script = Script(ReplyKind.REJECTED, ReplyKind.REJECTED, ReplyKind.UNKNOWN)
    async with false_node(script, ONE) as address, connect([address]) as client:
        assert await client.decide("x", b"1", timeout_s=PATIENCE_S) == b"done"
    assert len(script.requests) == 4
    assert len(set(script.requests)) == 1


async def test_rejected_to_the_end() -> None:
    script = Script(*[ReplyKind.REJECTED] * 1000)
    async with false_node(script, ONE) as address, connect([address], timeout_s=1.0) as client:
        with pytest.raises(Rejected, match="decide 'x': busy just now"):
            await client.decide("x", b"1")
        with pytest.raises(Rejected, match="decided 'x': busy just now"):
            await client.decided("x")


async def test_rejected_after_an_unknown_outcome_is_unknown() -> None:
    script = Script(ReplyKind.UNKNOWN, *[ReplyKind.REJECTED] * 1000)
    async with false_node(script, ONE) as address, connect([address], timeout_s=1.0) as client:
        with pytest.raises(OutcomeUnknown, match="it may have been carried out"):
            await client.decide("x", b"1")


async def test_rejected_after_a_lost_connection_is_unknown() -> None:
    """Who was asked first may have carried it out."""
    first = True

    def behave(message: Any, stream: Any) -> Sequence[Any]:
        nonlocal first
        if not isinstance(message, Submit):
            return []
        if first:
            first = False
            raise anyio.EndOfStream
        return [Reply(message.request, ReplyKind.REJECTED, None, "busy just now")]

    async with false_node(behave, ONE) as address, connect([address], timeout_s=1.2) as client:
        with pytest.raises(OutcomeUnknown, match="it may have been carried out"):
            await client.decide("x", b"1")
    assert not first


@asynccontextmanager
async def refusing_after_the_first() -> AsyncIterator[str]:
    """A node that takes one request, breaks off, and is another cluster's from then on."""
    served = 0

    async def serve(stream: Any) -> None:
        nonlocal served
        served += 1
        async with stream:
            await read_first(stream)
            if served > 1:
                await stream.send(HANDSHAKE_MESSAGES.encode([Refused(MISMATCH, "cluster is 'shep' here")]))
                return
            await stream.send(HANDSHAKE_MESSAGES.encode([ONE]))
            assert await stream.receive()

    async with listening(serve) as address:
        yield address


async def test_refused_everywhere_after_an_unknown_outcome_is_unknown() -> None:
    async with refusing_after_the_first() as address, connect([address]) as client:
        with pytest.raises(OutcomeUnknown, match=r"decide 'x': it was sent, .* cluster is 'shep' here"):
            await client.decide("x", b"1", timeout_s=PATIENCE_S)
        # The next one was never sent; and who only asked has no outcome to be unsure of.
        with pytest.raises(ClusterMismatch, match="cluster is 'shep' here"):
            await client.decide("y", b"1", timeout_s=PATIENCE_S)
    async with refusing_after_the_first() as address, connect([address]) as client:
        with pytest.raises(ClusterMismatch, match="cluster is 'shep' here"):
            await client.decided("x", timeout_s=PATIENCE_S)


async def test_sent_elsewhere_to_the_end_is_no_rejection() -> None:
    """Where it was sent on to nobody listens: nobody refused it either."""
    script = Script(*[ReplyKind.REDIRECT] * 1000, detail="7")
    async with false_node(script, ONE) as address, connect([address], timeout_s=1.0) as client:
        with pytest.raises(Unreachable, match="decide 'x': "):
            await client.decide("x", b"1")
    assert script.requests


async def test_no_answer_at_one_node_is_tried_at_the_next() -> None:
    silent, other = Script(*[None] * 1000), Script()
    async with two_nodes(silent, other) as client:
        assert await client.decide("x", b"1", timeout_s=PATIENCE_S) == b"done"
        assert client.node == 2
    assert silent.requests == other.requests


async def test_no_answer_anywhere() -> None:
    silent = Script(*[None] * 1000)
    async with false_node(silent, ONE) as address, connect([address], timeout_s=1.0) as client:
        with pytest.raises(OutcomeUnknown):
            await client.decide("x", b"1")
        with pytest.raises(Unreachable, match="may not reach a quorum"):
            await client.decided("x")
        await until(lambda: len(set(silent.cancelled)) == 2)
    # More than once, if the client lost patience meanwhile.
    assert list(dict.fromkeys(silent.cancelled)) == list(dict.fromkeys(silent.requests))


async def test_a_redirect_is_followed() -> None:
    elsewhere, other = Script(ReplyKind.REDIRECT, detail="2"), Script()
    async with two_nodes(elsewhere, other) as client:
        assert await client.decide("x", b"1", timeout_s=PATIENCE_S) == b"done"
        assert client.node == 2
        assert await client.decide("y", b"1", timeout_s=PATIENCE_S) == b"done"


async def test_answers_to_nobody() -> None:
    """Late, doubled and foreign answers are given to no call."""
    earlier: list[Any] = []

    def behave(message: Any, stream: Any) -> Sequence[Any]:
        if not isinstance(message, Submit):
            return []
        stale = [done(request, b"stale") for request in earlier]
        foreign = done(message.request._replace(sequence=99), b"foreign")
        earlier.append(message.request)
        own = done(message.request, b"%d" % message.request.sequence)
        return [*stale, foreign, own, done(message.request, b"again")]

    async with false_node(behave, ONE) as address, connect([address]) as client:
        for sequence in range(1, 6):
            assert await client.decide("x", b"1") == b"%d" % sequence


async def test_a_node_that_answers_nonsense_is_left() -> None:
    def behave(message: Any, stream: Any) -> Sequence[Any]:
        return [done(message.request)._replace(kind=77)] if isinstance(message, Submit) else []

    async with two_nodes(behave, Script()) as client:
        assert await client.decide("x", b"1", timeout_s=PATIENCE_S) == b"done"
        assert client.node == 2


async def test_refused_by_a_busy_node() -> None:
    refused = Refused(BUSY, "1024 clients are connected; try another node")
    async with false_node(Script(), refused) as first:
        async with connect([first], timeout_s=1.0) as client:
            with pytest.raises(Unreachable, match="1024 clients are connected"):
                await client.decide("x", b"1")
        async with false_node(Script(), TWO) as second, connect([first, second]) as client:
            assert await client.decide("x", b"1") == b"done"


async def test_something_else_answers() -> None:
    async with false_node(Script(), CLIENT) as address, connect([address]) as client:
        with pytest.raises(ClusterMismatch, match="what answers there is no node"):
            await client.decide("x", b"1")

    async def web_server(stream: Any) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(web_server) as address, connect([address]) as client:
        with pytest.raises(ClusterMismatch, match="is no node of this release: a frame declares"):
            await client.decide("x", b"1")


async def test_another_cluster_at_a_second_address() -> None:
    script, strange = Script(None), Script()
    async with two_nodes(script, strange, TWO._replace(cluster="shep")) as client:
        # The first does not answer; the second is of another cluster; so the first again.
        assert await client.decide("x", b"1", timeout_s=PATIENCE_S) == b"done"
    assert strange.requests == []
    assert len(script.connections) == 2


async def test_more_calls_than_are_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its window a client keeps calls back; one that was never sent is certainly not carried out."""
    monkeypatch.setattr("paxos.runtime.client_link._PATIENCE_S", PATIENCE_S)
    silent = Script(*[None] * 5000)
    async with false_node(silent, ONE) as address, connect([address], timeout_s=PATIENCE_S) as client:
        async with anyio.create_task_group() as group:
            for number in range(1000):
                group.start_soon(client.decide, f"n{number}", b"1")
            await until(lambda: len(silent.requests) == 1000)
            with pytest.raises(Unreachable, match=r"not sent within 0\.2 s: earlier requests still wait"):
                await client.decide("kept back", b"1", timeout_s=0.2)
            assert len(silent.requests) == 1000
            group.cancel_scope.cancel()
        silent.kinds.clear()
        assert await client.decide("x", b"1") == b"done"
