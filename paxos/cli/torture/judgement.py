"""The judgement of a campaign, when everything is healed.

All nodes must come up, answer, reach the same mark and hold the same; also after all of them are killed at
once and started again, so that they have nothing but their disks.  Where only conflicting commands have one
order, what nodes remember of clients is put together in another order at each until a marker is applied: so
it is compared as it would be then.  Everything that was ever written is read
once more, into the history; and the history as a whole must be linearizable.  So nothing that was
acknowledged is lost, nothing that was rejected is there, and every counter has the sum of its increments.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import anyio
import anyio.from_thread
import anyio.to_thread

from paxos.ballot import NodeId
from paxos.check.groups import KeyGroups
from paxos.check.history import Operation
from paxos.check.linearize import Verdict, check_linearizable
from paxos.check.models import Decree, Model
from paxos.cli.torture.load import END_S, Load, Notebook
from paxos.cli.torture.nodes import Fleet, LogLine
from paxos.cli.torture.watch import Watch
from paxos.contract import Decides, Orders
from paxos.errors import PaxosError
from paxos.runtime.backup_files import read_pieces
from paxos.runtime.opening import connect
from paxos.service.sessions import Sessions

__all__ = ["Judge", "check_history", "compare_snapshots", "digest_at_marker"]

#: How long a cluster that is whole may take until all nodes serve and hold the same, seconds.
_SETTLE_S: Final = 60.0
_LOOK_S: Final = 0.1
_PAGE: Final = 200
#: A history of a campaign needs far fewer; beyond, the search would take minutes, and then be given up.
_MAX_STATES: Final = 1_000_000


class Judge:
    """See the room's header.

    Args:
        fleet: the nodes.
        watch: asks them how they do.
        load: knows what was written.
        notebook: the history.
        wrong: where complaints go.
    """

    def __init__(self, fleet: Fleet, watch: Watch, load: Load, notebook: Notebook, wrong: list[str]) -> None:
        self._fleet = fleet
        self._watch = watch
        self._load = load
        self._notebook = notebook
        self._wrong = wrong
        #: The mark that all reached; None where there is none, or not all did.
        self.applied: object = None
        #: Keys that every node holds.
        self.keys: int = 0
        #: Whether all held the same after all were killed and started again.
        self.restored: bool = False
        #: What the check of the history says.
        self.verdict: dict[str, Any] = {}

    async def judge(self, tell: Callable[[str, float], None]) -> None:
        """Look at everything."""
        tell("all is healed", 0.0)
        if await self._settle("when all was healed"):
            await self._look_again(tell)
            before = await self._compare("at the end")
            for node in self._fleet.ports:
                self._fleet.kill(node)
            self._watch.statuses.clear()
            for node in self._fleet.ports:
                self._fleet.start(node)
            if await self._settle("after all were killed and started again"):
                if self._fleet.decides is Decides.DECREES:
                    await self._look_again(tell)
                after = await self._compare("after all were killed and started again")
                self.restored = before is not None and before == after
                if not self.restored:
                    self._wrong.append("after all were killed and started again they hold something else")
        # They would only be disturbed by how busy this process is now: their connections go through it.
        await self._fleet.stop_all()
        await self._check(tell)

    # --- the nodes ------------------------------------------------------------------------------------

    async def _settle(self, when: str) -> bool:
        """Wait until all serve and are equally far; whether that came."""
        marks: list[object] = []
        with anyio.move_on_after(_SETTLE_S):
            # Somebody must lead, and say so, before it is known how far the log goes.
            try:
                async with connect(self._addresses(), timeout_s=2 * _SETTLE_S) as client:
                    await self._load.touch(client)
            except PaxosError as error:
                self._wrong.append(f"{when}: {error}")
                return False
            while True:
                await anyio.sleep(_LOOK_S)
                statuses = self._watch.statuses
                marks = [statuses[node].get("applied") for node in sorted(statuses)]
                if self._watch.all_ready and len(set(map(str, marks))) == 1:
                    self.applied = marks[0]
                    return True
        for node in self._fleet.ports:
            self._fleet.look(node)
        up = ", ".join(map(str, sorted(self._watch.statuses))) or "none"
        self._wrong.append(f"{when}: not all nodes serve and are equally far within {_SETTLE_S:g} s: "
                           f"nodes that answer: {up}; they applied {marks}")  # fmt: skip
        return False

    async def _look_again(self, tell: Callable[[str, float], None]) -> None:
        looked, total = 0, max(self._load.places, 1)

        def advance() -> None:
            nonlocal looked
            looked += 1
            tell("everything is read again", min(looked / total, 1.0))

        ways = [self._addresses()]
        if self._fleet.decides is Decides.DECREES:
            ways = [[address] for address in self._addresses()]
            total *= len(ways)
        before = self._notebook.outcomes["unanswered"]
        for addresses in ways:
            async with connect(addresses, timeout_s=END_S) as client:
                await self._load.look_again(client, advance)
        unanswered = self._notebook.outcomes["unanswered"] - before
        if unanswered:
            self._wrong.append(f"{unanswered} reads were not answered when all was healed")
        async with connect(self._addresses(), timeout_s=END_S) as client:
            try:
                difference = await self._load.difference(client)
            except PaxosError as error:
                difference = str(error)
        if difference:
            self._wrong.append(difference)

    async def _compare(self, when: str) -> str | None:
        """Whether all nodes hold the same; a digest of that."""
        if self._fleet.decides is Decides.DECREES:
            return ""  # every node was asked for every name: that is in the history
        states, backups = {}, {}
        try:
            for node in self._fleet.ports:
                states[node], keys = await self._state(node)
                backups[node] = await self._backup(node)
                self.keys = keys
        except PaxosError as error:
            self._wrong.append(f"{when}: a node does not say what it holds: {error}")
            return None
        for what, found in (("keys", states), ("states with their client tables", backups)):
            if len(set(found.values())) > 1:
                shown = ", ".join(f"node {node} {digest[:12]}" for node, digest in found.items())
                self._wrong.append(f"{when}: nodes differ in their {what}: digests {shown}")
                return None
        return states[min(states)]

    async def _state(self, node: NodeId) -> tuple[str, int]:
        """A digest of all keys and values that one node holds, by its own word; and how many there are."""
        digest, low, keys = hashlib.sha256(), b"", 0
        async with connect([self._fleet.address(node)], timeout_s=END_S) as client:
            while True:
                found = await client.scan(low, None, _PAGE, stale=True)
                keys += len(found.items)
                digest.update(repr(found.items).encode())
                if not found.more:
                    return digest.hexdigest(), keys
                low = found.items[-1][0] + b"\0"

    async def _backup(self, node: NodeId) -> str:
        """A digest of everything replicated that one node holds."""
        async with connect([self._fleet.address(node)], timeout_s=END_S) as client:
            pieces = [piece async for piece in client.backup()]
        if self._fleet.orders is Orders.CONFLICTS:
            return digest_at_marker(pieces)
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        return digest.hexdigest()

    def _addresses(self) -> list[str]:
        return [self._fleet.address(node) for node in self._fleet.ports]

    # --- the history ----------------------------------------------------------------------------------

    async def _check(self, tell: Callable[[str, float], None]) -> None:
        history = self._notebook.history
        checked = 0

        def advance(many: int) -> None:
            nonlocal checked
            checked += many
            anyio.from_thread.run_sync(tell, "the history is checked", checked / max(len(history), 1))

        verdict = await anyio.to_thread.run_sync(check_history, history, self._fleet.decides, advance)
        self.verdict = {**verdict.to_json(), "text": str(verdict)}
        if not verdict.ok:
            self._wrong.append(str(verdict))
        if not self._notebook.outcomes["done"]:
            self._wrong.append("no call was answered, so nothing was tried")


def digest_at_marker(pieces: list[bytes]) -> str:
    """A digest of the state in a backup, as it would be if a marker were applied next.

    How many commands a node has applied is left out: a backup is itself one.
    """
    content = read_pieces(pieces)
    sessions = Sessions()
    sessions.unpack(content.sessions)
    sessions.mark()
    digest = hashlib.sha256(content.machine)
    for item in sessions.pack():
        digest.update(repr(item).encode())
    return digest.hexdigest()


def compare_snapshots(made: Mapping[NodeId, Iterable[LogLine]]) -> tuple[int, list[str]]:
    """Whether nodes that made a snapshot at one marker made the same, byte by byte.

    Args:
        made: of each node, what its log says of them.

    Returns:
        Of how many markers several nodes made the same; and complaints.
    """
    by_marker: dict[int, dict[str, set[NodeId]]] = {}
    for node, lines in made.items():
        for line in lines:
            number, digest = line.arguments["number"], line.arguments["digest"]
            by_marker.setdefault(number, {}).setdefault(digest, set()).add(node)
    equal, wrong = 0, []
    for number, digests in sorted(by_marker.items()):
        equal += any(len(nodes) > 1 for nodes in digests.values())
        if len(digests) > 1:
            shown = ", ".join(f"{sorted(nodes)} {digest[:12]}" for digest, nodes in digests.items())
            wrong.append(f"snapshot {number}: nodes differ in what they made at one marker: {shown}")
    return equal, wrong


def check_history(
    history: Sequence[Operation], decides: Decides, advance: Callable[[int], None] | None = None
) -> Verdict:
    """Whether what the clients of a campaign were told can be: see `paxos.check.check_linearizable`.

    Args:
        history: what they asked and were told, the last reads included.
        decides: what the cluster decides.
        advance: told, now and then, how many operations more have been put in order.
    """
    model: Model[Any] = KeyGroups() if decides is Decides.LOG else Decree()
    return check_linearizable(history, model, max_states=_MAX_STATES, advance=advance)
