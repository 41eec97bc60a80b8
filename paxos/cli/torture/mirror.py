"""A mirror of the store: read once, then kept by what a client is told of changes.

Whoever watches is told every change, in order, once, from whatever node it is connected to.  Every revision
changes something and all keys are watched, so revisions that are told rise by one; and in the end the
mirror holds what the store does.  Where only conflicting commands have one order that is so at one node, and
whoever has to go to another begins anew.
"""

import random
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

import anyio

from paxos.errors import PaxosError, Rejected
from paxos.runtime.client import Client
from paxos.runtime.opening import connect
from paxos.service.revisions import Placed

__all__ = ["Mirror"]

_PAGE: Final = 200
_CALL_S: Final = 5.0
#: How long one client watches, seconds; then another goes on where it was.
_LIFE_S: Final = (2.0, 15.0)
_PAUSE_S: Final = 0.1


class Mirror:
    """See the room's header.

    Args:
        addresses: of the nodes, as clients find them.
        wrong: where complaints go.
        seed: of what is random.
    """

    def __init__(self, addresses: Sequence[str], wrong: list[str], seed: int) -> None:
        self._addresses = list(addresses)
        self._wrong = wrong
        self._draw = random.Random(f"{seed}/mirror")
        self._since: int | None = None
        #: What it holds.
        self.state: dict[bytes, bytes] = {}
        #: The last revision it was told of.
        self.revision: int = -1
        #: How often it had to begin anew, since changes so long ago were not kept where it asked.
        self.begun: int = 0
        #: Changes it was told.
        self.changes: int = 0

    async def run(self) -> None:
        """Follow the store, until cancelled."""
        while True:
            order = self._draw.sample(self._addresses, len(self._addresses))
            try:
                async with connect(order, timeout_s=_CALL_S) as client:
                    with anyio.move_on_after(self._draw.uniform(*_LIFE_S)):
                        await self._follow(client)
            except Rejected:
                self._since = None
            except PaxosError:
                await anyio.sleep(_PAUSE_S)  # nobody is there; it is asked again

    async def _follow(self, client: Client) -> None:
        if self._since is None:
            await self._begin(client)
        assert self._since is not None
        async with aclosing(client.watch(since=self._since)) as changes:
            async for change in changes:
                told = change.revision
                if told not in (self.revision, self.revision + 1):
                    self._wrong.append(f"watch: told of revision {told} after {self.revision}")
                self.changes += 1
                # All of a revision comes at once, but may be cut off between: it is told again then.
                self._since, self.revision = told - 1, told
                if change.value is None:
                    self.state.pop(change.key, None)
                else:
                    self.state[change.key] = change.value

    async def _begin(self, client: Client) -> None:
        """Read everything. What changes meanwhile is told afterwards, and is what it is then."""
        since, low, state = await client.revision(), b"", dict[bytes, bytes]()
        while True:
            found = await client.scan(low, None, _PAGE)
            state.update(found.items)
            if not found.more:
                break
            low = found.items[-1][0] + b"\0"
        self.state, self._since, self.revision = state, since, since
        self.begun += 1

    async def difference(self, client: Client, limit_s: float) -> str:
        """What it holds and the store does not, or the reverse; empty if all fits. Nobody writes meanwhile.

        Args:
            client: of the cluster.
            limit_s: how long to wait until it has been told everything, seconds.
        """
        now = Placed.of(await client.revision()).number
        for _ in range(int(limit_s / _PAUSE_S)):
            # All nodes count the same, when nobody writes.
            if Placed.of(self.revision).number >= now:
                break
            await anyio.sleep(_PAUSE_S)
        told = Placed.of(self.revision).number
        if told != now:
            return f"watch: told up to revision {told} of {now} within {limit_s:g} s"
        other = Mirror(self._addresses, self._wrong, 0)
        await other._begin(client)
        keys = sorted(key for key in self.state.keys() | other.state.keys()
                      if self.state.get(key) != other.state.get(key))  # fmt: skip
        if not keys:
            return ""
        key = keys[0]
        return (
            f"watch: told of {self.state.get(key)!r:.80} as the last value of {key!r}, and it is "
            f"{other.state.get(key)!r:.80}; {len(keys)} keys differ"
        )
