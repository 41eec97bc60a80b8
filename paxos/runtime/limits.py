"""What bounds a node, in one place: each limit with its purpose and unit.

Whoever can open a connection can try to exhaust a node; every one of these is the answer to one way of
trying.  They are generous for honest use, and none has to do with safety.
"""

from collections.abc import Callable

import attrs

from paxos.errors import ConfigurationError

__all__ = ["Limits"]


def _positive(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigurationError(f"{attribute.name}: expected a number above 0, got {value!r}")


def _number(default: float) -> float:
    field: Callable[..., float] = attrs.field
    return field(default=default, validator=_positive)


@attrs.frozen
class Limits:
    """Bounds of one node.

    Args:
        handshake_s: seconds that a new connection has to say who it is.
        half_open: connections at once that have not said it yet; beyond, the oldest is closed.
        clients: connections of clients at once; beyond, a new one is refused. Fewer, of these and of
            `half_open`, where the system allows a process fewer files and sockets.
        client_requests: requests of one client's connection without an answer, and questions how the node
            does; beyond, it is not read.
        client_bytes: requests without an answer, and answers that wait to be read, of one client, bytes;
            beyond, it is not read, and beyond twice as many of the latter its queries are rejected.
        all_clients_bytes: requests without an answer of all clients, bytes; beyond, none is read, and what
            was read already is rejected. The same again for answers that wait to be read; beyond, queries
            are rejected; and for frames of theirs that are not complete; beyond, the oldest of these
            connections is closed.
        send_s: seconds in which whoever is at the other end must take what is sent, before it is closed.
        disk_bytes: what waits for the disk or is being written, bytes; beyond, neither peers nor clients are
            read until it has caught up. A frame that was begun is still taken from each.
        peer_bytes: messages that wait for one peer, bytes; beyond, the oldest are dropped.
        connect_s: seconds for opening a connection to a peer.
        reconnect_s: the first pause before calling a peer again, seconds; then twice as long each time.
        reconnect_max_s: the longest such pause, seconds.
        stop_s: seconds for a graceful stop: the batch on its way to the disk, then closing.
    """

    handshake_s: float = _number(5.0)
    half_open: float = _number(128)
    clients: float = _number(1024)
    client_requests: float = _number(1024)
    client_bytes: float = _number(4 << 20)
    all_clients_bytes: float = _number(256 << 20)
    send_s: float = _number(10.0)
    disk_bytes: float = _number(64 << 20)
    peer_bytes: float = _number(16 << 20)
    connect_s: float = _number(5.0)
    reconnect_s: float = _number(0.05)
    reconnect_max_s: float = _number(2.0)
    stop_s: float = _number(5.0)
