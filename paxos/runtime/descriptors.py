"""How many files and sockets a process may have open, and what follows for a node.

A system gives a process a bounded number of descriptors.  A node that has used up all of them can not reach
its peers, so it never lets callers have the last ones: its store, its peers and its listeners come first.
"""

import sys
from contextlib import suppress
from typing import Final

import attrs

from paxos.runtime.limits import Limits

if sys.platform != "win32":  # which has no such limit
    import resource

__all__ = ["available", "fit", "needed", "raise_limit"]

#: Kept from callers: the store's files, listeners, the event loop's own, and those who are just leaving.
_RESERVED: Final = 64
#: And for each member: the connection from it, the one to it, and the ones before.
_PER_MEMBER: Final = 4
#: As good as unbounded.
_MANY: Final = 1 << 20


def available() -> int:
    """How many descriptors this process may have."""
    if sys.platform == "win32":
        return _MANY
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY if soft == resource.RLIM_INFINITY else min(soft, _MANY)


def needed(limits: Limits, members: int) -> int:
    """How many descriptors a node of so many members uses at most."""
    return int(limits.clients + limits.half_open) + _RESERVED + _PER_MEMBER * members


def raise_limit(wanted: int) -> None:
    """Ask the system for so many descriptors for this process, or as many as it may have."""
    if sys.platform == "win32" or available() >= wanted:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    with suppress(OSError, ValueError):  # some systems have a limit beside the one that they show
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def fit(limits: Limits, members: int, descriptors: int) -> Limits:
    """Bounds with which a node gets by on so many descriptors.

    Args:
        limits: as wanted.
        members: of the cluster.
        descriptors: of the process, for this node.
    """
    if needed(limits, members) <= descriptors:
        return limits
    room = max(descriptors - _RESERVED - _PER_MEMBER * members, 2)
    half_open = max(min(int(limits.half_open), room // 4), 1)
    clients = max(min(int(limits.clients), room - half_open), 1)
    return attrs.evolve(limits, half_open=half_open, clients=clients)
