"""Mutual TLS: who is at the other end, proved by a certificate.

With TLS on, both sides of every connection show a certificate signed by the cluster's authority, and its
subject alternative name says who they are, as a DNS name:

    node-2              node 2, and nobody else
    client-anything     a client

A node's certificate is no client's, nor the other way round.  The names are no hosts, so no host name is
checked: what counts is that who claims in the handshake to be node 2 has a certificate for `node-2`.
"""

import ssl
from typing import Any, Final

from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from paxos.ballot import NodeId
from paxos.errors import ConfigurationError
from paxos.runtime.config import TlsConfig
from paxos.runtime.handshake import Kind

__all__ = ["CLIENT_PREFIX", "Security", "certificate_names", "node_name"]

#: What the name in a client's certificate begins with.
CLIENT_PREFIX: Final = "client-"


def node_name(node: NodeId) -> str:
    """The name in a node's certificate."""
    return f"node-{node}"


class Security:
    """How one party secures its connections.

    Args:
        tls: its files; None for plain connections.
        who: a node's id, or "client": what `{id}` in the files' names stands for.

    Raises:
        ConfigurationError: a file can not be read, or is not what it should be; the message names it.
    """

    def __init__(self, tls: TlsConfig | None, who: NodeId | str) -> None:
        self._server: ssl.SSLContext | None = None
        self._client: ssl.SSLContext | None = None
        if tls is not None:
            files = tls.for_node(who)
            files.require_readable()
            self._server = _context(ssl.PROTOCOL_TLS_SERVER, files)
            # No tickets: nobody resumes, and each would be a write of its own.
            self._server.num_tickets = 0
            self._client = _context(ssl.PROTOCOL_TLS_CLIENT, files)

    @property
    def on(self) -> bool:
        """Whether connections are secured."""
        return self._server is not None

    async def secure(self, stream: ByteStream, *, called: bool) -> ByteStream:
        """The stream to use in place of a connected one.

        Args:
            stream: connected.
            called: whether this side was called.

        Raises:
            ssl.SSLError: the other side has no certificate of the cluster's authority, or speaks no TLS.
        """
        context = self._server if called else self._client
        if context is None:
            return stream
        return await TLSStream.wrap(
            stream, server_side=called, ssl_context=context, standard_compatible=False
        )

    def wrong_name(self, stream: ByteStream, kind: int, node: NodeId) -> str:
        """What is wrong with the certificate of who says it is `kind` and `node`; empty if nothing."""
        if self._server is None:
            return ""
        names = certificate_names(stream)
        shown = ", ".join(names) or "no name"
        if kind == Kind.PEER and node_name(node) not in names:
            return f"who says to be node {node} has a certificate for {shown}, not {node_name(node)}"
        if kind == Kind.CLIENT and not any(name.startswith(CLIENT_PREFIX) for name in names):
            return f"a client has a certificate for {shown}, not {CLIENT_PREFIX}..."
        return ""


def certificate_names(stream: ByteStream) -> tuple[str, ...]:
    """The DNS names in the other side's certificate."""
    certificate: Any = stream.extra(TLSAttribute.peer_certificate) or {}
    return tuple(str(value) for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")


def _context(purpose: int, files: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Set in this order: without host names first, since a node's name is no host.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cafile=files.ca)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"tls: ca file {files.ca}: no certificates in it: {error}") from error
    try:
        # Without a password callback a protected key would ask on the terminal.
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"tls: certificate {files.certificate} with key {files.key}: can not be used: {error}"
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key is protected by a password; store it without one, readable by the node alone")
