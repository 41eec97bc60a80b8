"""Whoever asks all nodes how they do, over and over: who leads, who is ready, and how far each is."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import anyio

from paxos.ballot import NodeId
from paxos.errors import PaxosError
from paxos.runtime.client import Client
from paxos.runtime.opening import connect

__all__ = ["Watch"]

_ASK_S: Final = 0.15
_ANSWER_S: Final = 1.0


class Watch:
    """See the room's header.

    Args:
        addresses: where each node really listens.
    """

    def __init__(self, addresses: Mapping[NodeId, str]) -> None:
        self._addresses = dict(addresses)
        #: What each said last; nothing while it does not answer.
        self.statuses: dict[NodeId, dict[str, Any]] = {}
        self._clients: dict[NodeId, Client] = {}

    async def run(self) -> None:
        """Ask, until cancelled."""
        async with anyio.create_task_group() as group:
            for node, address in self._addresses.items():
                group.start_soon(self._ask, node, address)

    async def _ask(self, node: NodeId, address: str) -> None:
        async with connect([address], timeout_s=_ANSWER_S) as client:
            self._clients[node] = client
            while True:
                try:
                    self.statuses[node] = await client.status()
                except PaxosError:
                    self.statuses.pop(node, None)
                await anyio.sleep(_ASK_S)

    @property
    def all_ready(self) -> bool:
        """Whether every node answers and takes part."""
        return len(self.statuses) == len(self._addresses) and all(
            status.get("ready") for status in self.statuses.values()
        )

    @property
    def leader(self) -> NodeId | None:
        """The node that leads, as far as that is known; None where nobody leads."""
        leading = [
            (_round(status.get("ballot")), node)
            for node, status in self.statuses.items()
            if status.get("role") == "leader"
        ]
        return max(leading)[1] if leading else None

    async def transfer(self, node: NodeId) -> None:
        """Ask the leader to hand over to a node, if that can be."""
        leader = self.leader
        if leader is not None:
            with suppress(PaxosError):
                await self._clients[leader].transfer(node, timeout_s=_ANSWER_S)


def _round(ballot: object) -> tuple[int, ...]:
    """A ballot as numbers, from how it is written; nothing for none."""
    return tuple(int(part) for part in str(ballot).replace(".", " ").split() if part.isdecimal())
