"""How a command asks a running cluster: one client, one call long; and every node by itself, for its status.

What an argument stands for is here too: any bytes can be given, as the command line has them or on standard
input.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from paxos.cli.arguments import Target
from paxos.command import MAX_COMMAND_BYTES
from paxos.contract import Decides
from paxos.errors import ConfigurationError, PaxosError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from paxos.runtime.client import Client

__all__ = [
    "ask_statuses",
    "call",
    "key_of",
    "leader_of",
    "open_client",
    "require_log",
    "statuses",
    "value_of",
]

#: What stands for standard input.
STDIN: Final = "-"

T = TypeVar("T")


def open_client(target: Target, address: str | None = None) -> "AbstractAsyncContextManager[Client]":
    """A client of the cluster, or of the one node at an address; an async context manager."""
    from paxos.runtime.opening import connect

    addresses = target.addresses if address is None else (address,)
    cluster = target.config.id if target.config else None
    return connect(
        addresses, tls=target.tls, cluster=cluster, timeout_s=target.timeout_s, prefer=target.prefer
    )


def call(target: Target, use: "Callable[[Client], Awaitable[T]]") -> T:
    """What `use` makes of a client of the cluster."""
    import anyio

    async def main() -> T:
        async with open_client(target) as client:
            return await use(client)

    return anyio.run(main)


def require_log(target: Target, what: str) -> None:
    """Refuse to ask a cluster for what its protocol does not do, where the cluster file says which it has.

    Raises:
        ConfigurationError: it decides decrees.
    """
    config = target.config
    if config is not None and config.description().decides is not Decides.LOG:
        raise ConfigurationError(
            f"{config.where}protocol {config.protocol} decides {config.description().decides.value} and "
            "keeps "
            f"no log, so it has no `{what}`; it has `decide` and `decided`"
        )


def statuses(target: Target) -> list[dict[str, Any]]:
    """What each node says of itself, or why it says nothing, in the order of the addresses."""
    import anyio

    return anyio.run(ask_statuses, target)


async def ask_statuses(target: Target) -> list[dict[str, Any]]:
    """`statuses`, where an event loop runs already."""
    import anyio

    ids: dict[str, int] = {node.address: node.id for node in target.config.nodes} if target.config else {}
    found: dict[str, dict[str, Any]] = {}

    async def ask(address: str) -> None:
        try:
            async with open_client(target, address) as client:
                found[address] = {"address": address, "reachable": True, **await client.status()}
        except PaxosError as error:
            reason = " ".join(str(error).split())
            # The address has a place of its own; what comes after it is what is wrong.
            reason = reason.partition(f"{address}: ")[2] or reason.removeprefix("status: ")
            found[address] = {
                "address": address, "reachable": False, "node": ids.get(address), "error": reason
            }  # fmt: skip

    async with anyio.create_task_group() as group:
        for address in target.addresses:
            group.start_soon(ask, address)
    return [found[address] for address in target.addresses]


def leader_of(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The status of the node that leads, out of all statuses; None when none says that it does.

    Two may say so for a while, when one has not heard yet that it was deposed: then it is the one that most
    nodes take for it.
    """
    followed = [status.get("leader") for status in found]
    leading = [status for status in found if status.get("role") == "leader"]
    return max(leading, key=lambda status: followed.count(status["node"]), default=None)


def key_of(text: str) -> bytes:
    """The bytes that an argument is."""
    return os.fsencode(text)


def value_of(text: str) -> bytes:
    """The bytes that an argument stands for: its own, or for `-` those on standard input.

    Raises:
        ConfigurationError: standard input is closed, or longer than a command may be.
    """
    if text != STDIN:
        return os.fsencode(text)
    if sys.stdin is None:
        raise ConfigurationError("standard input is closed, and the value - is read from there")
    data = sys.stdin.buffer.read(MAX_COMMAND_BYTES + 1)
    if len(data) > MAX_COMMAND_BYTES:
        raise ConfigurationError(f"standard input: the value is longer than {MAX_COMMAND_BYTES} bytes")
    return data
