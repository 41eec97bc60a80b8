"""What sockets can do that streams do not offer.

A machine that loses its power, or a network that is cut, says nothing: a connection to it stays open for as
long as nobody sends, and for a quarter of an hour when somebody does.  So every socket is asked to find out
when the machine at the other end is gone.

To send through a stream is to switch tasks, twice for each message when nothing else goes on.  Most of the
time the system would take a few hundred bytes at once; so they are offered to it first.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import anyio.abc

__all__ = ["DirectWrite", "direct_write", "watch_other_end"]

#: The system asks the other machine after so many seconds of silence, then so often, and gives up after
#: so many questions.
_IDLE_S: Final = 15
_INTERVAL_S: Final = 5
_QUESTIONS: Final = 3
#: What was sent must be acknowledged within this, seconds.
_SENT_S: Final = _IDLE_S + _INTERVAL_S * _QUESTIONS

#: Option by name, since not every platform has each.
_OPTIONS: Final = (
    ("TCP_KEEPIDLE", _IDLE_S),
    ("TCP_KEEPALIVE", _IDLE_S),  # the same on a Mac
    ("TCP_KEEPINTVL", _INTERVAL_S),
    ("TCP_KEEPCNT", _QUESTIONS),
    ("TCP_USER_TIMEOUT", 1000 * _SENT_S),
)


def watch_other_end(stream: anyio.abc.ByteStream) -> None:
    """Let a connection end when the machine at the other end has not answered for half a minute."""
    raw: Any = stream.extra(anyio.abc.SocketAttribute.raw_socket, None)
    if raw is None:
        return
    # What a platform does not offer is done without; a connection that is gone shows soon enough.
    with suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        option = getattr(socket, name, None)
        if option is not None:
            with suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, option, value)


#: Offers bytes to a connection here and now. What it gives back is to be sent through the stream, even if it
#: is nothing: then all was taken, and part of it waits in this process. None says that all has left.
DirectWrite: TypeAlias = Callable[[bytes], bytes | None]


def direct_write(stream: anyio.abc.ByteStream) -> DirectWrite | None:
    """What writes to a connection without a switch of tasks; None where there is no such way, as with TLS.

    It may be called only while nobody is inside `stream.send`. It raises nothing: whoever sends the usual way
    what it did not take finds out why.
    """
    transport: Any = getattr(stream, "_transport", None)
    if hasattr(transport, "get_write_buffer_size"):  # of asyncio

        def write(data: bytes) -> bytes | None:
            if transport.is_closing() or transport.get_write_buffer_size():
                return data
            transport.write(data)
            return b"" if transport.get_write_buffer_size() else None

        return write
    raw: Any = getattr(stream, "_raw_socket", None)
    if isinstance(raw, socket.socket) and raw.gettimeout() == 0:  # of trio, which keeps nothing back

        def send(data: bytes) -> bytes | None:
            try:
                sent = raw.send(data)
            except OSError:
                return data
            return data[sent:] if sent < len(data) else None

        return send
    return None
