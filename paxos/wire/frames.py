"""Frames: where one body ends and the next begins, and whether it arrived as it was sent.

A body travels behind eight bytes, its length and its CRC-32.  The reading side is a buffer that is fed
whatever the socket gave and hands out whole, checked bodies; a stream that broke once stays broken, since
nobody knows where its next frame would start.
"""

import struct
from typing import Final, NoReturn
from zlib import crc32

from paxos.errors import WireError

__all__ = ["FRAME_HEADER_BYTES", "MAX_FRAME_BYTES", "FrameBuffer", "encode_frame"]

#: Length and checksum, in front of every body.
FRAME_HEADER_BYTES: Final = 8
#: The longest body that is read or written unless a caller says otherwise.
MAX_FRAME_BYTES: Final = 8 << 20

_HEADER: Final = struct.Struct(">II")


def encode_frame(body: bytes) -> bytes:
    """`body` behind its length and checksum.

    Raises:
        WireError: `body` is empty, or longer than four bytes can say.
    """
    if not 0 < len(body) < 1 << 32:
        raise WireError(f"a frame's body has 1 to 2^32-1 bytes; this one has {len(body)}")
    return _HEADER.pack(len(body), crc32(body)) + body


class FrameBuffer:
    """Cuts a stream of bytes into checked bodies; keeps the unfinished end for the next read.

    It holds at most one incomplete frame, so its memory is bounded by `max_bytes` and one read.  A byte is
    copied a constant number of times, however small the reads are that bring a large frame.

    Args:
        max_bytes: the longest body taken.
    """

    __slots__ = ("_broken", "_max_bytes", "_tail", "_wanted")

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._tail = bytearray()
        self._wanted = FRAME_HEADER_BYTES  # looking at the tail is of no use before it has this many bytes
        self._broken = ""

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame, kept for the next read."""
        return len(self._tail)

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes, in order.

        Raises:
            WireError: a frame is empty, longer than the bound, or its checksum does not match; every later
                call raises the same.
        """
        if self._broken:
            raise WireError(self._broken)
        tail = self._tail
        if not tail:
            bodies, used = self._cut(data)
            if used < len(data):
                tail += memoryview(data)[used:]
            return bodies
        tail += data
        if len(tail) < self._wanted:
            return []
        with memoryview(tail) as view:
            bodies, used = self._cut(view)
        if used:
            del tail[:used]
        return bodies

    def _cut(self, data: bytes | memoryview) -> tuple[list[bytes], int]:
        """All whole bodies at the start of `data`, and how many bytes they and their headers took."""
        bodies: list[bytes] = []
        start, end = 0, len(data)
        self._wanted = FRAME_HEADER_BYTES
        while end - start >= FRAME_HEADER_BYTES:
            length, checksum = _HEADER.unpack_from(data, start)
            if not 0 < length <= self._max_bytes:
                self._break(f"a frame declares a body of {length} bytes; it has 1 to {self._max_bytes}")
            stop = start + FRAME_HEADER_BYTES + length
            if stop > end:
                self._wanted = stop - start
                break
            body = bytes(data[start + FRAME_HEADER_BYTES : stop])
            found = crc32(body)
            if found != checksum:
                self._break(
                    f"a frame of {length} bytes has checksum {found:08x}, its header says {checksum:08x}: "
                    "damaged on the way, or no frame"
                )
            bodies.append(body)
            start = stop
        return bodies, start

    def _break(self, why: str) -> NoReturn:
        self._broken = why
        self._tail = bytearray()
        raise WireError(why)
