"""Errors: what can go wrong, said by type.

Everything the library raises on purpose derives from `PaxosError`.  The types are split by *whose
fault* it is and by *what the caller may conclude*, because that is what a caller acts on: a rejected
operation certainly did not happen, an operation whose outcome is unknown may have, a configuration
error will not go away by trying again.
"""

from typing import Final

__all__ = [
    "ClusterMismatch",
    "ConfigurationError",
    "DiskLost",
    "NodeStopped",
    "NotTaken",
    "OutcomeUnknown",
    "PaxosError",
    "ProtocolBreach",
    "QuorumError",
    "RecordError",
    "Rejected",
    "SessionExpired",
    "StoreError",
    "StoreFailed",
    "StoreRefused",
    "Unreachable",
    "WireError",
]

#: The exit codes that the command line promises to scripts, by meaning.
EXIT_DONE: Final = 0
EXIT_NO: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_UNKNOWN: Final = 4
EXIT_CHECK_FAILED: Final = 5
EXIT_NODE_STOPPED: Final = 6
EXIT_INTERRUPTED: Final = 130


class PaxosError(Exception):
    """Base of every error the library raises on purpose.

    `exit_code` is what the command line exits with when the error reaches it.
    """

    exit_code: int = EXIT_NO


class ConfigurationError(PaxosError, ValueError):
    """A configuration, argument or file that can not work, whatever is tried again."""

    exit_code = EXIT_USAGE


class QuorumError(ConfigurationError):
    """A quorum system that does not intersect as its protocol needs, or does not exist."""


class ClusterMismatch(ConfigurationError):
    """Two ends of a connection belong to different clusters, protocols, groups or versions."""


class WireError(PaxosError):
    """Bytes from a peer or client that are not a frame, a message or a field as the format says.

    It costs the connection it came over, never the process.
    """


class RecordError(PaxosError):
    """A record read back from a store is not what was written: corrupted, or of a newer version."""

    exit_code = EXIT_USAGE


class ProtocolBreach(PaxosError):
    """A rule that makes the protocol safe was found broken: by a peer, or by this code. Never by bad luck.

    A role raises it and is unchanged. A node to which decisions turn out to differ (`Agreement`, `Stability`)
    stops rather than go on. A single message that breaks a rule (`OneValuePerBallot`) it refuses, tells in
    the event "breach", and goes on without: else one bad member could stop all others.
    """

    exit_code = EXIT_NODE_STOPPED


class Rejected(PaxosError):
    """The operation was certainly not applied and never will be under this request id."""

    exit_code = EXIT_NO


class NotTaken(Rejected):
    """No node took the operation while there was time: none led, or all were too busy.

    Nothing is wrong with it, and it was certainly not applied: ask again when a quorum is there.
    """

    exit_code = EXIT_UNREACHABLE


class OutcomeUnknown(PaxosError):
    """The operation may or may not have been applied; trying it again is safe."""

    exit_code = EXIT_UNKNOWN


class SessionExpired(OutcomeUnknown):
    """The cluster has forgotten a client that was idle for long, and with it what it had asked.

    An earlier attempt of the request may have been applied. A new request is a new one.
    """


class Unreachable(PaxosError):
    """No node of the cluster could be reached in time, so nothing was sent."""

    exit_code = EXIT_UNREACHABLE


class StoreError(PaxosError):
    """Something about a durable store."""

    exit_code = EXIT_NODE_STOPPED


class StoreRefused(StoreError):
    """A store was refused at start: another node's, another cluster's, newer, locked, corrupted."""

    exit_code = EXIT_USAGE


class StoreFailed(StoreError):
    """A store failed while the node ran (disk full, I/O error): the node stops."""


class NodeStopped(PaxosError):
    """A node stopped itself, because going on could lose or change a decision."""

    exit_code = EXIT_NODE_STOPPED


class DiskLost(NodeStopped):
    """A node stopped itself, because the others know it by another store: its disk was lost or exchanged."""
