"""What the library needs of a transport: two of its own pass, and each promise broken is noticed."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream, SocketAttribute

from paxos.errors import WireError
from paxos.testing.transports import TransportConformance

_BUFFER_BYTES = 100_000


class TestTcpConforms(TransportConformance):
    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        accepted: list[ByteStream] = []
        came, over = anyio.Event(), anyio.Event()

        async def serve(stream: ByteStream) -> None:
            accepted.append(stream)
            came.set()
            await over.wait()

        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, serve)
            port = listener.extra(SocketAttribute.local_port)
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await came.wait()
            try:
                yield stream, accepted[0]
            finally:
                over.set()
                for each in (stream, *accepted):
                    await anyio.aclose_forcefully(each)
                tasks.cancel_scope.cancel()


class _Pipe:
    """One direction: bytes that wait, and whether either end is gone."""

    def __init__(self) -> None:
        self.held = bytearray()
        self.changed = anyio.Event()
        self.no_writer = False
        self.no_reader = False

    def news(self) -> None:
        changed, self.changed = self.changed, anyio.Event()
        changed.set()


class MemoryStream(ByteStream):
    """An end of two pipes, as it should be; subclasses break one promise each."""

    def __init__(self, inward: _Pipe, outward: _Pipe) -> None:
        self.inward, self.outward = inward, outward
        self.closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self.closed:
            if self.inward.held:
                chunk = bytes(self.inward.held[:max_bytes])
                del self.inward.held[:max_bytes]
                self.inward.news()
                return chunk
            if self.inward.no_writer:
                raise anyio.EndOfStream
            await self.inward.changed.wait()
        raise anyio.ClosedResourceError

    async def send(self, item: bytes) -> None:
        view = memoryview(item)
        await anyio.lowlevel.checkpoint()
        while True:
            if self.closed:
                raise anyio.ClosedResourceError
            if self.outward.no_reader:
                raise anyio.BrokenResourceError
            room = self.room()
            self.outward.held += view[:room]
            view = view[room:]
            self.outward.news()
            if not view:
                return
            await self.outward.changed.wait()

    def room(self) -> int:
        return max(_BUFFER_BYTES - len(self.outward.held), 0)

    async def send_eof(self) -> None:
        self.outward.no_writer = True
        self.outward.news()

    async def aclose(self) -> None:
        self.closed = True
        self.outward.no_writer = self.inward.no_reader = True
        self.outward.news()
        self.inward.news()


class Conformance(TransportConformance):
    stream: type[MemoryStream] = MemoryStream
    patience_s = 2.0

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        there, back = _Pipe(), _Pipe()
        one, other = self.stream(back, there), self.stream(there, back)
        try:
            yield one, other
        finally:
            await MemoryStream.aclose(one)
            await MemoryStream.aclose(other)


class TestMemoryConforms(Conformance):
    patience_s = 60.0


# --- broken ones -------------------------------------------------------------------------------------


class _Reorders(MemoryStream):
    async def send(self, item: bytes) -> None:
        if len(item) == 1 and len(self.outward.held) > 8:
            self.outward.held[:0] = item
            self.outward.news()
        else:
            await super().send(item)


class _Greedy(MemoryStream):
    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await super().receive(65536)


class _Empty(MemoryStream):
    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self.inward.held and not self.inward.no_writer and not self.closed:
            with anyio.move_on_after(0):
                return await super().receive(max_bytes)
            return b""
        return await super().receive(max_bytes)


class _Bottomless(MemoryStream):
    def room(self) -> int:
        return 1 << 40


class _OneWay(MemoryStream):
    """Does not send while it receives."""

    receiving = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        self.receiving = True
        try:
            return await super().receive(max_bytes)
        finally:
            self.receiving = False

    async def send(self, item: bytes) -> None:
        while self.receiving:
            await self.inward.changed.wait()
        await super().send(item)


class _Forgetful(MemoryStream):
    """A receive that is cancelled takes what comes next with it."""

    owed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            chunk = await super().receive(max_bytes)
        except anyio.get_cancelled_exc_class():
            self.owed = True
            raise
        if self.owed:
            self.owed = False
            return await super().receive(max_bytes)
        return chunk


class _Hasty(MemoryStream):
    """Closing throws away what was sent last."""

    async def aclose(self) -> None:
        self.outward.held.clear()
        await super().aclose()


class _Silent(MemoryStream):
    """Nobody hears that it was closed."""

    async def aclose(self) -> None:
        self.closed = True


class _Undead(MemoryStream):
    """Takes what is sent, closed or not."""

    async def send(self, item: bytes) -> None:
        if not self.closed:
            await super().send(item)


class _Strange(MemoryStream):
    """Raises what nobody expects of a connection."""

    async def send(self, item: bytes) -> None:
        if self.outward.no_reader:
            raise KeyError("gone")
        await super().send(item)


class _Corrupts(MemoryStream):
    """Every long chunk has one bit wrong."""

    async def send(self, item: bytes) -> None:
        await super().send(item if len(item) < 20_000 else bytes([item[0] ^ 1]) + item[1:])


BROKEN: Mapping[type[MemoryStream], str] = {
    _Reorders: "test_bytes_arrive_in_order",
    _Corrupts: "test_frames_arrive_in_order",
    _Greedy: "test_receiving_takes_no_more_than_was_asked_for",
    _Empty: "test_bytes_arrive_in_order",
    _Bottomless: "test_a_receiver_that_is_slow_makes_the_sender_wait",
    _OneWay: "test_both_ends_may_send_before_either_reads",
    _Forgetful: "test_a_receive_that_is_cancelled_loses_nothing",
    _Hasty: "test_an_end_that_is_closed_is_seen_at_the_other",
    _Silent: "test_an_end_that_is_given_up_is_seen_at_the_other",
    _Undead: "test_a_closed_end_does_nothing_more",
    _Strange: "test_sending_to_an_end_that_is_gone_fails",
}


@pytest.mark.parametrize(
    ("stream", "test"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", value)
)
def test_a_broken_promise_is_noticed(stream: type[MemoryStream], test: str) -> None:
    suite = Conformance()
    suite.stream = stream
    suite.patience_s = 0.5
    check: Callable[[], Any] = getattr(suite, test)
    with pytest.raises((AssertionError, KeyError, WireError)):
        check()


def test_mixed_up_frames_and_mixed_up_connections_are_noticed() -> None:
    class Swapped(Conformance):
        """What is said on one connection is heard on the one before."""

        def __init__(self) -> None:
            self.before: list[_Pipe] = []

        @asynccontextmanager
        async def connected(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
            there, back = _Pipe(), _Pipe()
            self.before.append(there)
            yield MemoryStream(back, self.before[0]), MemoryStream(there, back)

    suite = Swapped()
    suite.backends = ("asyncio",)
    suite.patience_s = 0.5
    with pytest.raises(AssertionError):
        suite.test_connections_know_nothing_of_each_other()


def test_a_suite_without_a_subject_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="define connected"):
        TransportConformance().connected()
