"""What is written to an idle connection at once: all, part or nothing of it, and what comes then."""

import socket
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from paxos.runtime.outbox import ClientOutbox, PeerOutbox, send_all
from paxos.runtime.sockets import direct_write

pytestmark = pytest.mark.anyio

#: What takes longer hangs.
_LIMIT_S = 30.0


class _Table:
    """Encodes messages that are bytes as themselves."""

    def encode(self, messages: list[Any]) -> bytes:
        return b"".join(getattr(message, "body", message) for message in messages)


class _Line:
    """A connection that takes at once as much as it is told to."""

    def __init__(self) -> None:
        self.takes = 1 << 30
        self.got = b""
        self.sent = 0

    def write(self, data: bytes) -> bytes | None:
        took, rest = data[: self.takes], data[self.takes :]
        self.got += took
        return rest or None

    def tell(self) -> None:
        self.sent += 1


def boxes() -> list[Any]:
    table: Any = _Table()
    return [PeerOutbox(table, 1 << 20, lambda dropped: None), ClientOutbox(table)]


class _Taker:
    """A sender that takes and has nowhere to send it."""

    def __init__(self, box: Any) -> None:
        self.box = box
        self.took: list[bytes] = []
        self.go_on = anyio.Event()
        self.go_on.set()

    async def run(self) -> None:
        while True:
            self.took.append(await self.box.take())
            await self.go_on.wait()


@pytest.mark.parametrize("kind", [0, 1])
async def test_an_idle_connection_takes_it_without_the_sender(kind: int) -> None:
    box, line = boxes()[kind], _Line()
    taker = _Taker(box)
    box.connect(line.write, line.tell)
    async with anyio.create_task_group() as group:
        # Nobody waits yet: it is the sender's.
        box.put(b"early ")
        box.flush()
        assert line.got == b""
        group.start_soon(taker.run)
        await anyio.wait_all_tasks_blocked()
        assert taker.took == [b"early "]
        for word in (b"one ", b"two "):
            box.put(word)
            box.put(word)
            box.flush()
            box.flush()
        assert (line.got, line.sent) == (b"one one two two ", 2)
        await anyio.wait_all_tasks_blocked()
        assert taker.took == [b"early "]
        assert box.queued_bytes == 0
        # While the sender is busy with something it is its own again, and in order.
        taker.go_on = anyio.Event()
        line.takes = 2
        for word in (b"abcd", b"e", b"f"):
            box.put(word)
            box.flush()
        await anyio.wait_all_tasks_blocked()
        box.put(b"g")
        box.flush()
        assert (line.got, taker.took) == (b"one one two two ab", [b"early ", b"cd"])
        taker.go_on.set()
        await anyio.wait_all_tasks_blocked()
        assert b"".join(taker.took) == b"early cdefg"
        group.cancel_scope.cancel()


@pytest.mark.parametrize("kind", [0, 1])
async def test_what_a_lost_connection_had_half_taken_does_not_come_on_the_next(kind: int) -> None:
    box, line = boxes()[kind], _Line()
    box.connect(line.write, None)
    # Its sender waits, and is gone before it can take the rest.
    box._waiting = anyio.Event()
    line.takes = 1
    box.put(b"lost")
    box.flush()
    assert box._waiting.is_set()
    box.put(b"kept")
    box.flush()
    box.disconnect()
    box._waiting = None
    assert line.got == b"l"
    other = _Taker(box)
    async with anyio.create_task_group() as group:
        group.start_soon(other.run)
        await anyio.wait_all_tasks_blocked()
        box.put(b" and more")
        box.flush()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert (line.got, b"".join(other.took)) == (b"l", b"kept and more")


async def connected(small: bool = False) -> tuple[SocketStream, SocketStream]:
    """Both ends of a connection; with little room in it if need be."""
    accepted: list[SocketStream] = []
    there = anyio.Event()

    async def accept(stream: SocketStream) -> None:
        accepted.append(stream)
        there.set()
        await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    caller: Any = None
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, accept)
        port = listener.extra(SocketAttribute.local_port)
        caller = await anyio.connect_tcp("127.0.0.1", port)
        if small:
            raw: Any = caller.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        await there.wait()
        group.cancel_scope.cancel()
    await listener.aclose()
    return caller, accepted[0]


async def read_exactly(stream: SocketStream, count: int) -> bytes:
    data = bytearray()
    with anyio.fail_after(_LIMIT_S):
        while len(data) < count:
            data += await stream.receive()
    return bytes(data)


async def test_a_real_connection_takes_bytes_at_once() -> None:
    one, other = await connected()
    async with one, other:
        write = direct_write(one)
        assert write is not None
        assert write(b"hello") is None
        assert await read_exactly(other, 5) == b"hello"


async def test_what_a_real_connection_does_not_take_comes_after_what_it_took() -> None:
    one, other = await connected(small=True)
    outbox = boxes()[0]
    words = [bytes([number]) * 400_000 for number in range(12)]
    async with one, other, anyio.create_task_group() as group:
        group.start_soon(send_all, one, outbox, 60.0)
        await anyio.wait_all_tasks_blocked()
        outbox._limit_bytes = 1 << 30
        for word in words:
            outbox.put(word)
            outbox.flush()
        assert await read_exactly(other, 4_800_000) == b"".join(words)
        # It is idle again.
        await anyio.wait_all_tasks_blocked()
        outbox.put(b"last")
        outbox.flush()
        assert await read_exactly(other, 4) == b"last"
        group.cancel_scope.cancel()


async def test_who_never_reads_is_given_up() -> None:
    outbox = boxes()[1]

    async def fill() -> None:
        await anyio.wait_all_tasks_blocked()
        outbox.put(b"x" * 30_000_000)
        outbox.flush()

    # Plain sockets: an event loop reads what comes before anybody asks it to.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = await anyio.connect_tcp(*listener.getsockname())
        other, _ = listener.accept()
        with other:
            async with one, anyio.create_task_group() as group:
                group.start_soon(fill)
                with anyio.move_on_after(_LIMIT_S) as limit, pytest.raises(TimeoutError):
                    await send_all(one, outbox, 0.05)
                assert not limit.cancelled_caught


async def test_a_connection_that_is_closed_takes_nothing() -> None:
    one, other = await connected()
    write = direct_write(one)
    assert write is not None
    await one.aclose()
    await other.aclose()
    assert write(b"data") == b"data"


async def test_a_stream_of_another_kind_is_left_alone() -> None:
    stream: Any = object()
    assert direct_write(stream) is None
