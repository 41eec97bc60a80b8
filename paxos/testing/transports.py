"""Tests that any transport must pass, to carry what nodes and clients say to each other.

What the library needs of a transport is a byte stream, `anyio.abc.ByteStream`, between two nodes: it runs its
own frames, handshake and, where asked for, TLS over that.  So a transport of your own (a tunnel, a proxy, an
interposer that delays, another kind of socket) is tried as connected pairs of streams:

    class TestMyTransport(TransportConformance):
        @asynccontextmanager
        async def connected(self):
            async with my_listener() as listener:
                one = await my_connect(listener.address)
                other = await listener.accept()
                try:
                    yield one, other
                finally:
                    await aclose_forcefully(one)
                    await aclose_forcefully(other)

What a stream must do is what TCP does: bytes arrive in order, unchanged and once; a receiver that is slow
makes the sender wait; an end that is closed is seen at the other.  It may break at any time: the library
calls again, and the protocols bear that messages are lost.  What no protocol bears is bytes in another order
within one stream, and what none notices is a connection that is dead and says nothing.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from importlib.util import find_spec
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from paxos.runtime.tasks import CONNECTION_ERRORS, plain
from paxos.wire import FrameBuffer, encode_frame

__all__ = ["TransportConformance"]

_READ_BYTES: Final = 64 * 1024
#: Longer than any transport may buffer for a receiver that does not read.
_FLOOD_BYTES: Final = 48 << 20
_CHUNK: Final = b"\x5a" * (256 * 1024)


class TransportConformance:
    """What the library needs of a transport, as tests for pytest to collect in a subclass.

    A subclass says how two streams are connected. Each test runs on every event loop of `backends`.
    """

    #: Event loops to try; None for asyncio, and trio where it is installed.
    backends: tuple[str, ...] | None = None
    #: A test that takes longer hangs, seconds.
    patience_s: float = 60.0

    def connected(self) -> AbstractAsyncContextManager[tuple[ByteStream, ByteStream]]:
        """Two ends of a new connection, open within `async with`; afterwards nothing of it is left."""
        raise NotImplementedError(f"{type(self).__name__} says how two ends are connected: define connected")

    # ---- what is sent arrives

    def test_bytes_arrive_in_order(self) -> None:
        """Unchanged and once, however they were cut when they were sent."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            sent = _chunks(1)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_send_all, one, sent)
                received = await _receive(other, sum(map(len, sent)))
                _require_equal(received, b"".join(sent))

        self._run(check)

    def test_frames_arrive_in_order(self) -> None:
        """Both ways at once: hundreds of the library's own frames, from one byte to many thousands."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            there, back = _chunks(2), _chunks(3)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_send_all, one, [encode_frame(body) for body in there])
                tasks.start_soon(_send_all, other, [encode_frame(body) for body in back])
                tasks.start_soon(_expect_frames, other, there)
                tasks.start_soon(_expect_frames, one, back)

        self._run(check)

    def test_receiving_takes_no_more_than_was_asked_for(self) -> None:
        """And never nothing: an empty chunk would be taken for the end by whoever counts bytes."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            expected = random.Random(4).randbytes(5_000)
            await one.send(expected)
            received = b""
            while len(received) < len(expected):
                chunk = await other.receive(7)
                assert 1 <= len(chunk) <= 7, f"asked for at most 7 bytes, got {len(chunk)}"
                received += chunk
            _require_equal(received, expected)

        self._run(check)

    def test_connections_know_nothing_of_each_other(self) -> None:
        """What is said on one is not heard on another."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            async with self.connected() as (third, fourth):
                for number in range(20):
                    await one.send(b"first %02d" % number)
                    await third.send(b"other %02d" % number)
                assert await _receive(other, 160) == b"".join(b"first %02d" % n for n in range(20))
                assert await _receive(fourth, 160) == b"".join(b"other %02d" % n for n in range(20))

        self._run(check)

    # ---- a slow receiver

    def test_a_receiver_that_is_slow_makes_the_sender_wait(self) -> None:
        """Else a node that stands still would fill the memory of all others. Nothing of it is lost."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            count, done = _FLOOD_BYTES // len(_CHUNK), list[int]()
            # A handshake comes first; some streams read ahead without bound until they are read at all.
            await one.send(b"first word")
            assert await _receive(other, 10) == b"first word"

            async def flood() -> None:
                for number in range(count):
                    await one.send(_CHUNK)
                    done.append(number)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(flood)
                await anyio.wait_all_tasks_blocked()
                held = len(done)
                assert held < count, f"it took {_FLOOD_BYTES} bytes that nobody reads"
                left = count * len(_CHUNK)
                while left:
                    chunk = await other.receive(_READ_BYTES)
                    assert chunk.count(_CHUNK[:1]) == len(chunk), "bytes changed on the way"
                    left -= len(chunk)

        self._run(check)

    def test_both_ends_may_send_before_either_reads(self) -> None:
        """A stream that can not send while it waits to receive would stop two nodes for ever."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            received: dict[str, bytes] = {}

            async def read(name: str, end: ByteStream) -> None:
                received[name] = await _receive(end, len(_CHUNK) * 8)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, "one", one)
                tasks.start_soon(read, "other", other)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(_send_all, one, [_CHUNK] * 8)
                tasks.start_soon(_send_all, other, [_CHUNK] * 8)
            assert received["one"] == received["other"] == _CHUNK * 8

        self._run(check)

    # ---- cancellation

    def test_a_receive_that_is_cancelled_loses_nothing(self) -> None:
        """What comes later is received by the next."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            for number in range(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(other.receive, _READ_BYTES)
                    await anyio.wait_all_tasks_blocked()
                    tasks.cancel_scope.cancel()
                await one.send(b"after %d" % number)
                assert await _receive(other, 7) == b"after %d" % number

        self._run(check)

    def test_a_send_that_waits_can_be_cancelled(self) -> None:
        """The library gives a connection up whose other side does not read; it must not wait for it."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_send_all, one, [_CHUNK] * (_FLOOD_BYTES // len(_CHUNK)))
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            await anyio.aclose_forcefully(one)

        self._run(check)

    # ---- the end

    def test_an_end_that_is_closed_is_seen_at_the_other(self) -> None:
        """After all that was sent before."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            await one.send(b"last words")
            await one.aclose()
            assert await _receive(other, 10) == b"last words"
            await _require_ended(other)

        self._run(check)

    def test_an_end_that_is_given_up_is_seen_at_the_other(self) -> None:
        """Also by a receive that waits already."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_require_ended, other)
                await anyio.wait_all_tasks_blocked()
                await anyio.aclose_forcefully(one)

        self._run(check)

    def test_sending_to_an_end_that_is_gone_fails(self) -> None:
        """Soon, and with one of the errors that the library knows for a connection that broke."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            await anyio.aclose_forcefully(other)
            try:
                for _ in range(_FLOOD_BYTES // len(_CHUNK)):
                    await one.send(_CHUNK)
                    await anyio.lowlevel.checkpoint()
            except CONNECTION_ERRORS:
                return
            raise AssertionError(f"it took {_FLOOD_BYTES} bytes for an end that is closed")

        self._run(check)

    def test_a_closed_end_does_nothing_more(self) -> None:
        """It says so, and closing again is no error."""

        async def check(one: ByteStream, other: ByteStream) -> None:
            await anyio.aclose_forcefully(one)
            await one.aclose()
            await _require_ended(one)
            try:
                await one.send(b"more")
            except CONNECTION_ERRORS:
                return
            raise AssertionError("a closed end takes bytes")

        self._run(check)

    # ---- inside

    def _run(self, check: Callable[[ByteStream, ByteStream], Awaitable[None]]) -> None:
        """Run a check over a new connection on each event loop."""
        backends = self.backends
        if backends is None:
            backends = ("asyncio", "trio") if find_spec("trio") is not None else ("asyncio",)
        for backend in backends:
            anyio.run(self._checked, check, backend, backend=backend)

    async def _checked(
        self, check: Callable[[ByteStream, ByteStream], Awaitable[None]], backend: str
    ) -> None:
        try:
            with anyio.fail_after(self.patience_s):
                async with self.connected() as (one, other):
                    await check(one, other)
        except TimeoutError as error:
            raise AssertionError(
                f"on {backend}: it hangs; nothing came of it in {self.patience_s} s"
            ) from error
        except BaseExceptionGroup as group:
            raise plain(group) from group


def _chunks(seed: int) -> list[bytes]:
    """Short and long ones, none of them empty."""
    source = random.Random(seed)
    sizes = [source.choice((1, 2, 100, 1_000, 20_000)) + source.randrange(100) for _ in range(300)]
    return [source.randbytes(size) for size in (*sizes, 700_000, 1, 300_000)]


async def _send_all(stream: ByteStream, chunks: list[bytes]) -> None:
    for chunk in chunks:
        await stream.send(chunk)


async def _receive(stream: ByteStream, size: int) -> bytes:
    """So many bytes, no more: the rest stays in the stream."""
    received = bytearray()
    while len(received) < size:
        try:
            chunk = await stream.receive(min(_READ_BYTES, size - len(received)))
        except anyio.EndOfStream as error:
            raise AssertionError(f"it ended after {len(received)} of {size} bytes") from error
        assert chunk, "it received nothing, and says so as if it were something"
        received += chunk
    return bytes(received)


async def _expect_frames(stream: ByteStream, bodies: list[bytes]) -> None:
    buffer, received = FrameBuffer(), list[bytes]()
    while len(received) < len(bodies):
        received += buffer.feed(await stream.receive(_READ_BYTES))
    for number, (got, sent) in enumerate(zip(received, bodies, strict=True)):
        assert got == sent, f"frame {number} is not what was sent {number}th"


async def _require_ended(stream: ByteStream) -> None:
    """Receiving says that there is no more."""
    with suppress(*CONNECTION_ERRORS):
        chunk = await stream.receive(_READ_BYTES)
        raise AssertionError(f"an end that is closed received {chunk!r:.40}")


def _require_equal(received: bytes, sent: bytes) -> None:
    if received != sent:
        at = next((at for at, (a, b) in enumerate(zip(received, sent, strict=False)) if a != b), len(sent))
        raise AssertionError(f"byte {at} of {len(sent)} is not what was sent: reordered, lost or changed")
