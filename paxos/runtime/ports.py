"""Ports of the loopback interface for clusters that are made for a demo, a benchmark or a test."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["free_ports"]

#: Ports below are of services that are known by them.
_PORTS_FROM: Final = 10_000


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface, one after the other, at which nobody listens.

    They are none of those that the system gives to whoever asks for any: those are taken by the next
    connection or listener that comes along. Somebody could still take one before it is used; the node that
    wanted it then says so and ends.

    Args:
        count: how many.

    Raises:
        OSError: there is nothing free.
    """
    last = _first_given_port() - count
    # Where to begin differs from one process to the next, and may: nothing depends on it.
    begin = _PORTS_FROM + int.from_bytes(os.urandom(4), "big") % (last - _PORTS_FROM)
    for first in (*range(begin, last, count), *range(_PORTS_FROM, begin, count)):
        ports = [*range(first, first + count)]
        if all(map(_is_free, ports)):
            return ports
    raise OSError(f"no {count} free ports between {_PORTS_FROM} and {last + count}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _first_given_port() -> int:
    """The lowest port that the system gives to those who leave the choice to it."""
    with suppress(OSError, ValueError):
        words = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
        if int(words[0]) > 2 * _PORTS_FROM:
            return int(words[0])
    return 32768  # lower than anywhere else
