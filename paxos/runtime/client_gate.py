"""The gate of a client: how much it keeps for its callers at once, and who waits until there is room.

A call that is awaited holds its own request, and nothing here can keep a program from starting a million of
them.  What is bounded is what the client itself keeps and has under way for them; who comes when that is
full waits outside, in order, for as long as the call has time.  So a program that asks for more than the
cluster takes is slowed down to what it takes, and sees in time that it is too much.
"""

from collections import OrderedDict
from typing import Final

import anyio

__all__ = ["MAX_WAITING", "MAX_WAITING_BYTES", "Gate"]

#: Requests of one client without an answer, and bytes of them; a single call that is larger goes alone.
MAX_WAITING: Final = 65_536
MAX_WAITING_BYTES: Final = 64 << 20


class Gate:
    """Lets in what fits, in order.

    Args:
        requests: so many at once.
        size: so many bytes of them.
    """

    def __init__(self, requests: int = MAX_WAITING, size: int = MAX_WAITING_BYTES) -> None:
        self._max_requests = requests
        self._max_bytes = size
        # Who waits, in order, for how many requests of how many bytes; whoever gives up is found at once.
        self._outside: OrderedDict[anyio.Event, tuple[int, int]] = OrderedDict()
        #: Requests inside, and their bytes.
        self.requests: int = 0
        self.bytes: int = 0

    @property
    def outside(self) -> int:
        """How many calls wait to be let in."""
        return len(self._outside)

    def _fits(self, requests: int, size: int) -> bool:
        return not self.requests or (
            self.requests + requests <= self._max_requests and self.bytes + size <= self._max_bytes
        )

    def enter_now(self, requests: int, size: int) -> bool:
        """Go in if there is room and nobody waits; whether it was so."""
        if self._outside or not self._fits(requests, size):
            return False
        self.requests += requests
        self.bytes += size
        return True

    async def enter(self, requests: int, size: int) -> None:
        """Go in when there is room and whoever came before is in."""
        if self.enter_now(requests, size):
            return
        event = anyio.Event()
        self._outside[event] = (requests, size)
        try:
            await event.wait()
        except BaseException:
            if event.is_set():
                self.leave(requests, size)
            else:
                del self._outside[event]
                self._let_in()
            raise

    def leave(self, requests: int, size: int) -> None:
        """So much is done with."""
        self.requests -= requests
        self.bytes -= size
        if self._outside:
            self._let_in()

    def _let_in(self) -> None:
        outside = self._outside
        while outside:
            event, (requests, size) = next(iter(outside.items()))
            if not self._fits(requests, size):
                break
            del outside[event]
            self.requests += requests
            self.bytes += size
            event.set()

    def __str__(self) -> str:
        return (
            f"this client has {self.requests} requests of {self.bytes} bytes without an answer, which is as "
            f"much as it keeps ({self._max_requests} requests, {self._max_bytes} bytes)"
        )
