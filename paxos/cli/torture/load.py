"""The load of a campaign: clients that ask all the time, and write down what they asked and were told.

Several clients ask few keys, so that they get in each other's way; and the keys move on with time, so that
what has to be put in one order later stays small.  Some calls are given up before their answer comes.  What
was certainly not carried out is left out of the history; what may have been, or not, stays in it without an
answer.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio

from paxos.check.groups import bounds_of
from paxos.check.history import HistoryWriter, Operation, Value
from paxos.cli.torture.mirror import Mirror
from paxos.errors import ClusterMismatch, OutcomeUnknown, PaxosError, WireError
from paxos.runtime.client import Client
from paxos.runtime.opening import connect

__all__ = ["BALLAST", "END_S", "DecreeLoad", "KeyValueLoad", "Load", "Notebook"]

#: How long one generation of keys is in use, seconds; and groups in use at once.
_GENERATION_S: Final = 1.5
_GROUPS: Final = 3
_KEYS: Final = (b"a", b"b", b"c")
#: Large values under keys that stay: they make snapshots long.
BALLAST: Final = 48
_BALLAST_BYTES: Final = 4000
#: One in so many calls is given up early; is made of many at once.
_GIVEN_UP: Final = 40
_BURSTS: Final = 12
_BURST: Final = 8
#: Writes of a flood, and how long it takes until all have begun, seconds.
_FLOOD: Final = 30
_FLOOD_S: Final = 0.1
#: Pause between two calls of one client, at most; how long a call may take; how long a client lives: seconds.
_THINK_S: Final = 0.03
_CALL_S: Final = (0.5, 6.0)
_LIFE_S: Final = (3.0, 20.0)
#: How long a read may take when nothing goes wrong any more, seconds.
END_S: Final = 30.0
#: Names of decrees: so many are in use at a time, and so many are new each second.
_WINDOW: Final = 8
_NAMES_PER_S: Final = 10


class Notebook:
    """What clients asked and were told.

    Args:
        writer: of the history's file.
    """

    def __init__(self, writer: HistoryWriter) -> None:
        self._writer = writer
        self._started_s = anyio.current_time()
        self.history: list[Operation] = []
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        #: When answers came, seconds from the start.
        self.answered_s: list[float] = []

    @property
    def now_s(self) -> float:
        """Seconds from the start."""
        return anyio.current_time() - self._started_s

    def add(self, operation: Operation) -> None:
        """One more line."""
        self.history.append(operation)
        self._writer.write(operation)

    async def note(
        self,
        client: str,
        op: str,
        call: Callable[[], Awaitable[Value]],
        key: Value,
        value: Value = None,
        old: Value = None,
        give_up_s: float = 1e9,
    ) -> tuple[str, Value]:
        """Make a call, and write down what became of it.

        Args:
            client: who makes it. Who was left without an answer needs another name for the next call.
            op: which operation.
            call: makes it.
            key: with what.
            value: with what.
            old: with what.
            give_up_s: when to cancel it, seconds.

        Returns:
            Its outcome: "done", "unknown", "given up", "rejected" or "unanswered" (a read); and the answer.
        """
        reads = op in ("get", "scan") or (op == "decide" and value is None)
        call_s, out, outcome = self.now_s, None, "given up"
        try:
            with anyio.move_on_after(give_up_s):
                out = await call()
                outcome = "done"
        except OutcomeUnknown:
            outcome = "unknown"
        except (ClusterMismatch, WireError) as error:
            outcome = "unknown"
            self.wrong.append(f"client {client}: {op} {key!r}: {error}")
        except PaxosError:
            # Certainly not carried out; or a read, which does nothing.
            outcome = "unanswered" if reads else "rejected"
        self.outcomes[outcome] += 1
        if outcome == "done":
            return_s = self.now_s
            self.answered_s.append(return_s)
            self.add(Operation(client, op, key, value, old, call_s, return_s, out))
        elif outcome != "rejected" and not reads:
            self.add(Operation(client, op, key, value, old, call_s))
        return outcome, out


class Load:
    """Clients of one kind of cluster.

    Args:
        addresses: of the nodes, as clients find them.
        notebook: takes everything down.
        seed: of what is random.
    """

    def __init__(self, addresses: Sequence[str], notebook: Notebook, seed: int) -> None:
        self._addresses = list(addresses)
        self._notebook = notebook
        self._seed = seed

    async def run(self, number: int, until_s: float) -> None:
        """One client after the other, until then; each begins at another node."""
        draw = random.Random(f"{self._seed}/client/{number}")
        life = 0
        while self._notebook.now_s < until_s:
            life += 1
            order = draw.sample(self._addresses, len(self._addresses))
            ends_s = min(until_s, self._notebook.now_s + draw.uniform(*_LIFE_S))
            async with connect(order, timeout_s=_CALL_S[1]) as client:
                await self._live(f"{number}.{life}", client, draw, ends_s)

    async def _live(self, name: str, client: Client, draw: random.Random, ends_s: float) -> None:
        """One client's calls."""
        tries = 0
        while self._notebook.now_s < ends_s:
            tries += 1
            if draw.randrange(_BURSTS):
                await self.call(f"{name}.{tries}", client, draw)
            else:
                async with anyio.create_task_group() as group:
                    for each in range(_BURST):
                        # Drawn here, so that it does not depend on how the tasks take turns.
                        own = random.Random(draw.random())
                        group.start_soon(self.call, f"{name}.{tries}.{each}", client, own)
            await anyio.sleep(_THINK_S * draw.random())

    async def call(self, name: str, client: Client, draw: random.Random) -> None:
        """One call of a client, whose kind is drawn."""
        raise NotImplementedError("define it for the kind of cluster")

    @property
    def places(self) -> int:
        """How many reads `look_again` makes."""
        raise NotImplementedError("define it for the kind of cluster")

    async def touch(self, client: Client) -> None:
        """Have something done, which needs all that a working cluster needs."""
        raise NotImplementedError("define it for the kind of cluster")

    async def look_again(self, client: Client, advance: Callable[[], None]) -> None:
        """Read everything that was ever written, into the history."""
        raise NotImplementedError("define it for the kind of cluster")

    async def follow(self) -> None:
        """What else goes on beside the calls, until cancelled."""

    async def difference(self, client: Client) -> str:
        """What is wrong with what went on beside the calls, when nobody writes any more; empty if fine."""
        return ""

    @property
    def seen(self) -> dict[str, int]:
        """What of it is worth a figure, for the report."""
        return {}

    @staticmethod
    def _times(draw: random.Random) -> tuple[float, float]:
        """How long a call may take; and when it is given up, seconds."""
        limit_s = draw.uniform(*_CALL_S)
        return limit_s, (draw.uniform(0.0, 0.02) if draw.randrange(_GIVEN_UP) == 0 else 1e9)


class KeyValueLoad(Load):
    """Clients of a key-value store."""

    def __init__(self, addresses: Sequence[str], notebook: Notebook, seed: int) -> None:
        super().__init__(addresses, notebook, seed)
        self._seen: dict[bytes, Value] = {}
        self._groups: dict[bytes, None] = {}
        # Of each client that counts: the counter in use.
        self._counters: Counter[int] = Counter()
        self._counting: set[int] = set()
        self._mirror = Mirror(addresses, notebook.wrong, seed)

    async def call(self, name: str, client: Client, draw: random.Random) -> None:
        """Get, put, swap, increment, delete, scan; count; or move ballast."""
        kind = draw.choices(
            ("get", "put", "cas", "increment", "delete", "scan", "count", "ballast", "flood"),
            (48, 40, 40, 20, 10, 12, 24, 6, 1),
        )[0]
        now_s = self._notebook.now_s
        group = b"g%d-%d" % (int(now_s / _GENERATION_S), draw.randrange(_GROUPS))
        if kind == "ballast":
            group = b"ballast%d" % draw.randrange(BALLAST)
        if kind == "flood":
            await self._flood(name, client, draw)
            return
        self._groups[group] = None
        if kind == "count":
            await self._count(name, client, draw)
        elif kind == "scan":
            await self._scan(name, client, group, *self._times(draw))
        elif kind == "increment":
            await self._increment(name, client, group + b":n", draw)
        elif kind == "ballast":
            value = f"{name} ".encode() + b"." * _BALLAST_BYTES
            await self._put(name, client, group + b":v", value, draw)
        else:
            await self._on_key(kind, name, client, group + b":" + draw.choice(_KEYS), draw)

    async def _on_key(self, kind: str, name: str, client: Client, key: bytes, draw: random.Random) -> None:
        value = name.encode()
        limit_s, give_up_s = self._times(draw)
        note = self._notebook.note
        if kind == "put":
            await self._put(name, client, key, value, draw)
        elif kind == "get":
            outcome, out = await note(
                name, "get", lambda: client.get(key, timeout_s=limit_s), key, give_up_s=give_up_s
            )
            if outcome == "done":
                self._seen[key] = out
        elif kind == "delete":
            await note(
                name, "delete", lambda: client.delete(key, timeout_s=limit_s), key, give_up_s=give_up_s
            )
        else:
            old = self._seen.get(key)
            assert old is None or isinstance(old, bytes)
            outcome, out = await note(
                name,
                "cas",
                lambda: client.cas(key, old, value, timeout_s=limit_s),
                key,
                value,
                old,
                give_up_s,
            )
            if outcome == "done" and out is True:
                self._seen[key] = value

    async def _put(self, name: str, client: Client, key: bytes, value: bytes, draw: random.Random) -> None:
        limit_s, give_up_s = self._times(draw)
        await self._notebook.note(
            name, "put", lambda: client.put(key, value, timeout_s=limit_s), key, value, give_up_s=give_up_s
        )
        self._seen[key] = value

    async def _flood(self, name: str, client: Client, draw: random.Random) -> None:
        """Many writes, one shortly after the other: they are in many slots, all on their way at once.

        Each has a group of its own: of many writes without an answer in one, no order would be found in time.
        """

        async def put(number: int, after_s: float, own: random.Random) -> None:
            await anyio.sleep(after_s)
            group = f"flood{name}-{number}".encode()
            self._groups[group] = None
            await self._put(f"{name}.f{number}", client, group + b":v", b"%d" % number, own)

        async with anyio.create_task_group() as tasks:
            for number in range(_FLOOD):
                after_s = _FLOOD_S * draw.random()
                tasks.start_soon(put, number, after_s, random.Random(draw.random()))

    async def _scan(
        self, name: str, client: Client, group: bytes, limit_s: float, give_up_s: float = 1e9
    ) -> None:
        low, high = bounds_of(group)

        async def scan() -> Value:
            return (await client.scan(low, high, timeout_s=limit_s)).items

        await self._notebook.note(name, "scan", scan, (low, high), give_up_s=give_up_s)

    async def _increment(self, name: str, client: Client, key: bytes, draw: random.Random) -> str:
        limit_s, give_up_s = self._times(draw)
        outcome, _ = await self._notebook.note(
            name, "increment", lambda: client.increment(key, timeout_s=limit_s), key, 1, give_up_s=give_up_s
        )
        return outcome

    async def _count(self, name: str, client: Client, draw: random.Random) -> None:
        """Add one to a counter that nobody else adds to.

        An increment without an answer was carried out or not; after one a new counter is begun. So each has
        one such at most, and at the end its sum is known, but for that one.
        """
        number = draw.randrange(64)
        if number in self._counting:
            return
        self._counting.add(number)
        try:
            group = b"count%d-%d" % (number, self._counters[number])
            self._groups[group] = None
            outcome = await self._increment(name, client, group + b":n", draw)
            if outcome in ("unknown", "given up"):
                self._counters[number] += 1
        finally:
            self._counting.discard(number)

    async def follow(self) -> None:
        """Somebody watches."""
        await self._mirror.run()

    async def difference(self, client: Client) -> str:
        """Whether who watched knows what is there."""
        return await self._mirror.difference(client, END_S)

    @property
    def seen(self) -> dict[str, int]:
        """What who watched was told."""
        return {"changes told": self._mirror.changes, "watches begun": self._mirror.begun}

    @property
    def places(self) -> int:
        """A scan for each group."""
        return len(self._groups)

    async def touch(self, client: Client) -> None:
        """Write where nobody else does."""
        await client.put(b"touched:", b"")

    async def look_again(self, client: Client, advance: Callable[[], None]) -> None:
        """Scan every group."""
        groups = list(self._groups)

        async def look(number: int) -> None:
            while groups:
                await self._scan(f"end.{number}.{len(groups)}", client, groups.pop(), END_S)
                advance()

        async with anyio.create_task_group() as tasks:
            for number in range(_BURST):
                tasks.start_soon(look, number)


class DecreeLoad(Load):
    """Clients of a cluster that decides names."""

    def __init__(self, addresses: Sequence[str], notebook: Notebook, seed: int) -> None:
        super().__init__(addresses, notebook, seed)
        self._names: dict[str, None] = {}

    async def call(self, name: str, client: Client, draw: random.Random) -> None:
        """Decide, or read."""
        first = int(self._notebook.now_s * _NAMES_PER_S)
        decree = f"d{first + draw.randrange(_WINDOW)}"
        self._names[decree] = None
        limit_s, give_up_s = self._times(draw)
        value = None if draw.randrange(4) == 0 else name.encode()
        await self._decide(name, client, decree, value, limit_s, give_up_s)

    async def _decide(
        self,
        name: str,
        client: Client,
        decree: str,
        value: bytes | None,
        limit_s: float,
        give_up_s: float = 1e9,
    ) -> None:
        async def decide() -> Value:
            if value is None:
                return await client.decided(decree, timeout_s=limit_s)
            return await client.decide(decree, value, timeout_s=limit_s)

        await self._notebook.note(name, "decide", decide, decree.encode(), value, give_up_s=give_up_s)

    @property
    def places(self) -> int:
        """A read for each name."""
        return len(self._names)

    async def touch(self, client: Client) -> None:
        """Decide what nobody else does."""
        await client.decide("touched", b"")

    async def look_again(self, client: Client, advance: Callable[[], None]) -> None:
        """Read every name."""
        names = list(self._names)

        async def look(number: int) -> None:
            while names:
                await self._decide(f"end.{number}.{len(names)}", client, names.pop(), None, END_S)
                advance()

        async with anyio.create_task_group() as tasks:
            for number in range(_BURST):
                tasks.start_soon(look, number)
