"""Connections made by hand, byte by byte, and a node that is none: for tests of the runtime."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc

from paxos.command import RequestId, digest_of
from paxos.errors import WireError
from paxos.runtime import Client
from paxos.runtime.handshake import HANDSHAKE_MESSAGES, Hello, Kind, Refused, pack_values, read_first
from paxos.runtime.tables import FROM_CLIENT, TO_CLIENT
from paxos.runtime.tasks import CONNECTION_ERRORS
from paxos.service import Submit, decide_request
from paxos.wire import FrameBuffer

#: Nothing here takes so long, unless it hangs.
PATIENCE_S = 20.0
CLIENT = Hello(Kind.CLIENT, "", "", 0, b"", 0, b"", "")


async def until(condition: Callable[[], bool], every_s: float = 0.005) -> None:
    """Wait until something is so that nobody tells us of. Raises TimeoutError when it never is."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(every_s)


async def until_ready(client: Client, *nodes: int) -> None:
    """Wait until these nodes may vote; before, nobody may be away."""
    for node in nodes:
        with anyio.fail_after(3 * PATIENCE_S):
            while not (await client.status(node, timeout_s=PATIENCE_S))["ready"]:  # noqa: ASYNC110
                await anyio.sleep(0.02)


def submit(sequence: int, name: str, value: bytes = b"v") -> Submit:
    """A request to decide."""
    body = decide_request(name, value)
    return Submit(RequestId(b"stranger".ljust(16, b"."), 0, sequence, digest_of(body)), body)


def peer_hello(cluster: str, node: int, values: dict[str, str], **changed: Any) -> Hello:
    """What a node of a cluster says first."""
    hello = Hello(Kind.PEER, cluster, "paxos", node, b"s" * 16, 1, b"b" * 8, pack_values(values))
    return hello._replace(**changed)


class Stranger:
    """One raw connection."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self._buffer = FrameBuffer()
        self._messages: list[Any] = []

    async def send(self, data: bytes) -> None:
        """Send bytes; that the other side is gone already is no error."""
        try:
            await self.stream.send(data)
        except CONNECTION_ERRORS:
            return

    async def greet(self, hello: Hello = CLIENT) -> Hello | Refused:
        """Say hello and hear the answer."""
        await self.send(HANDSHAKE_MESSAGES.encode([hello]))
        with anyio.fail_after(PATIENCE_S):
            return await read_first(self.stream)

    async def ask(self, *messages: Any) -> None:
        """Send a client's messages."""
        await self.send(FROM_CLIENT.encode(messages))

    async def answer(self) -> Any:
        """The next answer of a node to a client."""
        with anyio.fail_after(PATIENCE_S):
            while not self._messages:
                for body in self._buffer.feed(await self.stream.receive()):
                    self._messages += [envelope.message for envelope in TO_CLIENT.decode(body)]
        return self._messages.pop(0)

    async def read_to_end(self) -> bytes:
        """Everything until the other side closes the connection. Raises TimeoutError if it does not."""
        data = b""
        with anyio.fail_after(PATIENCE_S):
            while True:
                try:
                    data += await self.stream.receive()
                except CONNECTION_ERRORS:
                    return data

    async def is_open(self) -> bool:
        """Whether the other side has not closed it, as far as can be seen in a moment."""
        with anyio.move_on_after(0.05):
            await self.read_to_end()
            return False
        return True


@asynccontextmanager
async def stranger(address: str) -> AsyncIterator[Stranger]:
    """A raw connection to a node."""
    host, _, port = address.rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        yield Stranger(stream)


@asynccontextmanager
async def false_node(
    behave: Callable[[Any, anyio.abc.SocketStream], Sequence[Any]], hello: Hello | Refused
) -> AsyncIterator[str]:
    """Something that answers like a node at the address given: `hello` first, then what `behave` says.

    Args:
        behave: called with each message of a client; what it returns is sent.
        hello: the answer to the handshake.
    """

    async def serve(stream: anyio.abc.SocketStream) -> None:
        buffer = FrameBuffer()
        async with stream:
            try:
                await read_first(stream)
                await stream.send(HANDSHAKE_MESSAGES.encode([hello]))
                while True:
                    for body in buffer.feed(await stream.receive()):
                        for envelope in FROM_CLIENT.decode(body):
                            await stream.send(TO_CLIENT.encode(behave(envelope.message, stream)))
            except (*CONNECTION_ERRORS, WireError):
                return

    async with listening(serve) as address:
        yield address


@asynccontextmanager
async def listening(
    serve: Callable[[anyio.abc.SocketStream], Awaitable[None]], port: int = 0
) -> AsyncIterator[str]:
    """A server at the address given; leaving it forgets its connections."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        try:
            yield f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        finally:
            group.cancel_scope.cancel()
