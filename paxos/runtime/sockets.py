"""What is asked of every TCP socket: to find out when the machine at the other end is gone.

A machine that loses its power, or a network that is cut, says nothing: a connection to it stays open for as
long as nobody sends, and for a quarter of an hour when somebody does.
"""

import socket
from contextlib import suppress
from typing import Any, Final

import anyio.abc

__all__ = ["watch_other_end"]

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
