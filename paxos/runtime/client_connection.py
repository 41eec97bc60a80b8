"""One connection of a client to one node, from calling to the end of the handshake."""

import ssl
from typing import Final, NamedTuple

import anyio
from anyio.abc import ByteStream

from paxos.errors import ClusterMismatch, Unreachable, WireError
from paxos.runtime.config import Address
from paxos.runtime.events import printable
from paxos.runtime.handshake import (
    BUSY,
    HANDSHAKE_MESSAGES,
    MISMATCH,
    Hello,
    Kind,
    Refused,
    as_error,
    differences,
    read_first,
)
from paxos.runtime.sockets import watch_other_end
from paxos.runtime.tasks import CONNECTION_ERRORS, reason_of
from paxos.runtime.tls import Security

__all__ = ["Connected", "open_connection"]

#: Seconds for connecting, and again for the handshake.
_PATIENCE_S: Final = 5.0


class Connected(NamedTuple):
    """A connection that both sides agreed on.

    Args:
        stream: what it is.
        hello: what the node said of itself.
        far_s: how long it took to say so, seconds: a round trip, and little else.
    """

    stream: ByteStream
    hello: Hello
    far_s: float


async def open_connection(address: Address, security: Security, cluster: str) -> Connected:
    """Call a node.

    Args:
        address: where it listens.
        security: TLS, or none.
        cluster: the cluster's id, or empty when any will do.

    Raises:
        ClusterMismatch: it is not the node of a cluster that this client can talk to; trying again is no use.
        Unreachable: it does not answer, or not now.
    """
    try:
        with anyio.fail_after(_PATIENCE_S):
            stream: ByteStream = await anyio.connect_tcp(address.host, address.port)
    except TimeoutError as error:
        raise Unreachable(f"{address}: no answer within {_PATIENCE_S:g} s") from error
    except OSError as error:
        raise Unreachable(f"{address}: {reason_of(error)}") from error
    watch_other_end(stream)
    try:
        return await _greet(stream, address, security, cluster)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise


async def _greet(stream: ByteStream, address: Address, security: Security, cluster: str) -> Connected:
    mine = Hello(Kind.CLIENT, cluster, "", 0, b"", 0, b"", "")
    try:
        with anyio.fail_after(_PATIENCE_S):
            secured = await security.secure(stream, called=False)
            began_s = anyio.current_time()
            await secured.send(HANDSHAKE_MESSAGES.encode([mine]))
            answer = await read_first(secured)
            far_s = anyio.current_time() - began_s
    except ssl.SSLError as error:
        raise ClusterMismatch(f"{address}: TLS: {error.reason or error}") from error
    except WireError as error:
        text = printable(f"{address}: what answers there is no node of this release: {error}")
        raise ClusterMismatch(text) from error
    except TimeoutError as error:
        raise Unreachable(f"{address}: no answer to the handshake within {_PATIENCE_S:g} s") from error
    except CONNECTION_ERRORS as error:
        if security.on:
            hint = "a node that does not accept this client's certificate does that"
        else:
            hint = "a node that requires TLS does that to a plain connection"
        raise Unreachable(f"{address}: closed the connection in the handshake ({hint})") from error
    if isinstance(answer, Refused):
        text = f"{address}: {printable(answer.reason)}"
        raise Unreachable(text) if answer.code == BUSY else as_error(answer._replace(reason=text))
    refusal = printable(security.wrong_name(secured, answer.kind, answer.node) or differences(mine, answer))
    if refusal or answer.kind != Kind.PEER:
        with anyio.CancelScope(shield=True):
            await _say_no(secured, refusal)
        raise ClusterMismatch(f"{address}: {refusal or 'what answers there is no node'}")
    return Connected(secured, answer, far_s)


async def _say_no(stream: ByteStream, reason: str) -> None:
    """Tell the node why, if it still listens."""
    with anyio.move_on_after(1.0):
        try:
            await stream.send(HANDSHAKE_MESSAGES.encode([Refused(MISMATCH, reason[:4000])]))
        except CONNECTION_ERRORS:
            return
