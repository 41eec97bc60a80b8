"""Whether the files of TLS belong together: found out with a handshake in memory, no socket needed.

A node's certificate is shown to itself, each side trusting the cluster's authority only, so it is checked
as strictly as a connection is; then the name in it is compared with what a node's must say.
"""

import ssl
from typing import TYPE_CHECKING, Any, Final

from paxos.errors import ConfigurationError

if TYPE_CHECKING:
    from paxos.runtime.config import TlsConfig

__all__ = ["complaint_about"]

#: A handshake takes two flights each way; more turns than this means that it goes nowhere.
_TURNS_MAX: Final = 10


def complaint_about(files: "TlsConfig", node: int) -> str:
    """What would keep a node from using these files, in one sentence; empty when nothing would.

    Args:
        files: the node's own paths.
        node: its id.
    """
    from paxos.runtime.tls import Security, node_name

    try:
        Security(files, node)
        names = _names_shown(files)
    except ConfigurationError as error:
        return str(error)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        return f"{files.certificate}: not accepted under {files.ca}: {reason}"
    if node_name(node) not in names:
        return f"{files.certificate}: is for {', '.join(names) or 'nobody'}, not for {node_name(node)}"
    return ""


def _names_shown(files: "TlsConfig") -> tuple[str, ...]:
    """The DNS names that the other side of a handshake sees.

    Raises:
        ssl.SSLError: the handshake failed.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = _context(ssl.PROTOCOL_TLS_SERVER, files).wrap_bio(to_server, to_client, server_side=True)
    client = _context(ssl.PROTOCOL_TLS_CLIENT, files).wrap_bio(to_client, to_server)
    waiting = {server, client}
    for _ in range(_TURNS_MAX):
        for side in (client, server):
            if side in waiting:
                try:
                    side.do_handshake()
                    waiting.discard(side)
                except ssl.SSLWantReadError:
                    pass
    if waiting:
        raise ssl.SSLError(1, "the handshake did not end")
    certificate: dict[str, Any] = dict(server.getpeercert() or {})
    return tuple(value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")


def _context(purpose: int, files: "TlsConfig") -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=files.ca)
    context.load_cert_chain(files.certificate, files.key)
    return context
