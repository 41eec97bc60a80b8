"""A client: many calls at once over one connection, and over another node when that one is gone.

What is asked of a cluster depends on what it decides: `decide` and `decided` for named decrees; `submit`,
`query` and, of a key-value store, `put`, `get` and the rest for a log.
"""

import json
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Any, Final

import anyio

from paxos.ballot import NodeId
from paxos.command import MAX_COMMAND_BYTES
from paxos.errors import (
    ClusterMismatch,
    ConfigurationError,
    OutcomeUnknown,
    Rejected,
    Unreachable,
    WireError,
)
from paxos.runtime.client_decrees import DecreeTraffic
from paxos.runtime.client_link import Link, StatusTraffic
from paxos.runtime.client_log import LogTraffic
from paxos.runtime.tls import Security
from paxos.service import AskStatus, StatusReply, decide_request, decided_request
from paxos.service import keyvalue_answers as answers
from paxos.service import keyvalue_requests as requests
from paxos.service.backups import first_question, question, take_page
from paxos.service.keyvalue_answers import Change, Compacted, Items, Ran
from paxos.service.keyvalue_requests import Guard
from paxos.service.log_messages import Level
from paxos.service.revisions import Placed

__all__ = ["Client", "check_timeout"]

#: What `status` of one node asks with.
_ONE: Final = 0
#: How long a watch looks for a node that is there, seconds.
_NEWS_S: Final = 3600.0
#: Changes told at once.
_CHANGES: Final = 1000
#: How long a node that is behind what was seen elsewhere is left to catch up, seconds.
_BEHIND_S: Final = 0.05


class Client:
    """Talks to a cluster; made by `connect` and `Cluster.client`, and safe to use from many tasks at once.

    Args:
        addresses: `host:port` of nodes, the one to use first in front.
        security: TLS, or none.
        cluster: the cluster's id; None to go by the first node that answers.
        timeout_s: how long a call takes at most unless it says otherwise, seconds.
        prefer: where nobody leads, the node to talk to while it can be reached; None for the nearest.

    Raises:
        ConfigurationError: no address, or one that is none.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        security: Security,
        cluster: str | None,
        timeout_s: float,
        prefer: NodeId | None = None,
    ) -> None:
        self._link = Link(addresses, security, cluster or "", prefer)
        self._status = StatusTraffic(self._link)
        self._decrees = DecreeTraffic(self._link)
        self._log = LogTraffic(self._link)
        self._timeout_s = check_timeout(timeout_s)

    @property
    def node(self) -> NodeId | None:
        """The node that is connected now, or None."""
        return self._link.node

    @property
    def cluster(self) -> str | None:
        """The cluster's id, or None while no node has been met and none was given."""
        return self._link.cluster or None

    async def run(self) -> None:
        """Keep a connection and carry calls over it, until cancelled."""
        await self._link.run()

    def _limit(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else check_timeout(timeout_s)

    # --- decrees ------------------------------------------------------------------------------------

    async def decide(self, name: str | bytes, value: bytes, *, timeout_s: float | None = None) -> bytes:
        """Get a value chosen for a name, and learn which: it may be another's.

        Args:
            name: of the decree, 1 to 1024 bytes in UTF-8.
            value: what to propose, at most 1 MiB.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            OutcomeUnknown: no answer in time; `value` may have been chosen, or may still be.
            NotTaken: every node was too busy, or not ready; certainly nothing was proposed.
            Unreachable: no node could be reached.
            ClusterMismatch: the nodes that answer are not this client's.
            ConfigurationError: a name or value that no node takes.
        """
        result = await self._decrees.submit(
            decide_request(name, value), f"decide {name!r:.80}", self._limit(timeout_s)
        )
        if result is None:
            raise WireError(f"decide {name!r:.80}: a node answered that nothing is decided")
        return result

    async def decided(self, name: str | bytes, *, timeout_s: float | None = None) -> bytes | None:
        """What is chosen for a name, or None when nothing was; proposes no value of its own.

        Args:
            name: of the decree.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            Unreachable: no node could be reached, or none that reaches a quorum.
            NotTaken: every node was too busy, or not ready.
            ClusterMismatch, ConfigurationError: as `decide`.
        """
        what = f"decided {name!r:.80}"
        try:
            return await self._decrees.submit(decided_request(name), what, self._limit(timeout_s))
        except OutcomeUnknown as error:
            # Nothing was asked to be done, so there is no outcome to be unsure of.
            if isinstance(error.__cause__, ClusterMismatch | Unreachable):
                raise error.__cause__ from None
            raise Unreachable(f"{what}: no node answered in time; it may not reach a quorum") from error

    # --- a log, whatever its state machine --------------------------------------------------------------

    async def submit(self, command: bytes, *, timeout_s: float | None = None) -> bytes:
        """Get a command carried out by the state machine, exactly once, and its answer.

        A client keeps 65,536 commands and queries without an answer, and 64 MiB of them. A call beyond that
        waits until there is room, in its turn, and for no longer than `timeout_s`.

        Args:
            command: bytes that the state machine understands, at most 1 MiB less 256 bytes.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            OutcomeUnknown: no answer in time; it may have been carried out, or may still be.
            NotTaken: every node was too busy, none leads, or this client has too much under way. Certainly
                nothing was done.
            Rejected: nor was it, and no node will ever take it, which is told at once.
            Unreachable: no node could be reached.
            ClusterMismatch: the nodes that answer are not this client's.
            ConfigurationError: a command that no node takes.
        """
        _check_command(command)
        return (await self._log.submit([command], "submit", self._limit(timeout_s)))[0]

    async def submit_many(self, commands: Iterable[bytes], *, timeout_s: float | None = None) -> list[bytes]:
        """Get commands carried out in this order, each exactly once, and their answers in the same order.

        Others' commands may come between them. It is far cheaper than many calls of `submit`.

        Args:
            commands: see `submit`.
            timeout_s: how long to try, seconds, all together; None for the client's own.

        Raises:
            OutcomeUnknown: not all were answered in time; it says how many were.
            NotTaken, Rejected, Unreachable, ClusterMismatch, ConfigurationError: as `submit`; none was
                carried out.
        """
        bodies = list(commands)
        for command in bodies:
            _check_command(command)
        return await self._log.submit(bodies, f"submit {len(bodies)} commands", self._limit(timeout_s))

    async def query(self, query: bytes, *, stale: bool = False, timeout_s: float | None = None) -> bytes:
        """The state machine's answer to something that changes nothing.

        Args:
            query: bytes that the state machine understands.
            stale: False for an answer that reflects all that was acknowledged before; True for what the
                connected node happens to know, without asking the others.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            Unreachable: no node could be reached, or none that reaches a quorum.
            NotTaken: every node was too busy, or not ready.
            ClusterMismatch, ConfigurationError: as `submit`.
        """
        _check_command(query)
        if len(query) > MAX_COMMAND_BYTES:
            raise ConfigurationError(f"a query of {len(query)} bytes; the limit is {MAX_COMMAND_BYTES}")
        level = Level.STALE if stale else Level.LINEARIZABLE
        return await self._log.query(level, query, "query", self._limit(timeout_s))

    async def transfer(self, node: NodeId, *, timeout_s: float | None = None) -> None:
        """Ask the leader to hand its leadership to another node. It has begun when this returns.

        Args:
            node: which.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            Rejected: it can not be done; why.
            Unreachable, ClusterMismatch: as `query`.
        """
        await self._log.instruct("transfer", node, f"transfer to node {node}", self._limit(timeout_s))

    # --- a key-value store ------------------------------------------------------------------------------

    async def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> None:
        """Store a value under a key. Arguments and errors: `paxos.KeyValue` and `submit`."""
        answers.stored(await self._write(requests.put(key, value), f"put {key!r:.80}", timeout_s))

    async def get(self, key: bytes, *, stale: bool = False, timeout_s: float | None = None) -> bytes | None:
        """The value under a key, or None. `stale`: see `query`, which it raises as."""
        return answers.got(await self._read(requests.get(key), f"get {key!r:.80}", stale, timeout_s))

    async def delete(self, key: bytes, *, timeout_s: float | None = None) -> bool:
        """Remove a key; whether it was there. Errors: as `submit`."""
        return answers.deleted(await self._write(requests.delete(key), f"delete {key!r:.80}", timeout_s))

    async def cas(
        self, key: bytes, expected: bytes | None, value: bytes | None, *, timeout_s: float | None = None
    ) -> bool:
        """Replace a value by another if it is the one expected; whether it was.

        Args:
            key: whose value.
            expected: the value that must be there; None for no value.
            value: the one to be there then; None for none.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            As `submit`.
        """
        body = requests.cas(key, expected, value)
        return answers.swapped(await self._write(body, f"cas {key!r:.80}", timeout_s))

    async def increment(self, key: bytes, delta: int = 1, *, timeout_s: float | None = None) -> int:
        """Add to the number under a key, 0 if there is none; the sum. Errors: as `submit`."""
        body = requests.increment(key, delta)
        return answers.incremented(await self._write(body, f"increment {key!r:.80}", timeout_s))

    async def scan(
        self,
        low: bytes = b"",
        high: bytes | None = None,
        limit: int = 1000,
        *,
        stale: bool = False,
        timeout_s: float | None = None,
    ) -> Items:
        """Keys from `low` up to, not including, `high` (None for all) and their values, in order of keys.

        Args:
            low: the first key.
            high: the first key beyond.
            limit: how many at most; the answer says whether there are more.
            stale: see `query`, which it raises as.
            timeout_s: how long to try, seconds; None for the client's own.
        """
        return answers.scanned(await self._read(requests.scan(low, high, limit), "scan", stale, timeout_s))

    async def transaction(
        self,
        guards: Iterable[Guard],
        then: Iterable[bytes],
        otherwise: Iterable[bytes] = (),
        *,
        timeout_s: float | None = None,
    ) -> Ran:
        """Carry out several operations at once, if all guards hold; else others.

        Args:
            guards: conditions, made by `paxos.keyvalue.equals`, `absent` and `exists`.
            then: requests to carry out when all hold, made by `paxos.keyvalue.put` and the others.
            otherwise: requests to carry out when one does not.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            As `submit`.
        """
        body = requests.transaction(guards, then, otherwise)
        return answers.ran(await self._write(body, "transaction", timeout_s))

    async def revision(self, *, timeout_s: float | None = None) -> int:
        """The revision of the store, which every command that changes it raises by one.

        What is asked of `watch(since=...)` with it begins with the first change after this call. Under a
        protocol that orders only what conflicts, as EPaxos does, it says in its upper bits at which node it
        holds, and which start of that: `paxos.service.revisions`.

        Args:
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            As `query`.
        """
        told, place = await self._log.query_place(requests.changes(None), "revision", self._limit(timeout_s))
        return Placed(place, answers.changed(told).now).revision

    async def watch(
        self, low: bytes = b"", high: bytes | None = None, *, since: int | None = None
    ) -> AsyncGenerator[Change, None]:
        """Changes of keys from `low` up to, not including, `high`, in order, as they come.

        They come from the connected node, and from another when that is gone; none is left out or told twice.
        Where only conflicting commands have one order (EPaxos), each node counts changes in its own: there a
        watch ends with Rejected when its node is gone, and has to begin anew. Whoever breaks off closes it:
        `async with contextlib.aclosing(client.watch()) as changes`.

        Args:
            low: the first key.
            high: the first key beyond; None for all.
            since: the revision after which to begin; None for what changes after the first change is asked
                for (by `async for`, or `anext`).

        Raises:
            Unreachable: no node could be reached for an hour.
            Rejected: changes so long ago are not kept; the message says from which revision on they are. Or
                the node that told of the revision is not the one that is connected now, where that matters.
                Or this client has a thousand watches already.
            ClusterMismatch: as `submit`.
        """
        with self._link.staying():
            place, after = Placed.of(await self.revision(timeout_s=_NEWS_S) if since in (None, 0) else since)
            after = after if since is None else Placed.of(since).number  # 0 is the beginning, anywhere
            while True:
                body = requests.changes(after, low, high, _CHANGES)
                nothing = answers.page_answer(after, after, ())
                found = answers.changed(await self._log.news(body, "watch", _NEWS_S, nothing, place))
                if isinstance(found, Compacted):
                    oldest = Placed(place, found.oldest).revision
                    raise Rejected(
                        f"watch: the changes after revision {Placed(place, after).revision} are not all "
                        f"kept; those after {oldest} are: read the keys anew, and watch from there"
                    )
                for change in found.changes:
                    if place:
                        change = change._replace(revision=Placed(place, change.revision).revision)
                    yield change
                if found.upto == after:
                    # This node is behind the one that told of that revision.
                    await anyio.sleep(_BEHIND_S)
                after = found.upto

    async def backup(self, *, timeout_s: float | None = None) -> AsyncIterator[bytes]:
        """The whole replicated state in pieces, client table included, for `paxos.runtime.write_backup`.

        It holds everything that was acknowledged before this was called. One node makes it, of its own state
        as of one moment, while the cluster goes on.

        Args:
            timeout_s: how long each piece may take, seconds; None for the client's own.

        Raises:
            Unreachable: no node could be reached, or the one that made it is gone: begin anew.
            NotTaken: every node was too busy, or not ready.
            ClusterMismatch: as `submit`.
        """
        name, index, limit_s = os.urandom(16), 0, self._limit(timeout_s)
        body = first_question(name)
        with self._link.staying():
            while True:
                page = take_page(await self._log.query(Level.BACKUP, body, "backup", limit_s))
                if page is None:
                    raise Unreachable("backup: the node that made it is gone; begin anew")
                for piece in page.pieces:
                    yield piece
                if page.last:
                    return
                index += len(page.pieces)
                body = question(name, index)

    async def _write(self, body: bytes, what: str, timeout_s: float | None) -> bytes:
        return (await self._log.submit([body], what, self._limit(timeout_s)))[0]

    async def _read(self, body: bytes, what: str, stale: bool, timeout_s: float | None) -> bytes:
        level = Level.STALE if stale else Level.LINEARIZABLE
        return await self._log.query(level, body, what, self._limit(timeout_s))

    # --- any cluster --------------------------------------------------------------------------------

    async def status(self, node: NodeId | None = None, *, timeout_s: float | None = None) -> dict[str, Any]:
        """How a node does.

        Args:
            node: which; None for the one that is connected.
            timeout_s: how long to try, seconds; None for the client's own.

        Raises:
            Unreachable: it could not be reached.
            ClusterMismatch: the nodes that answer are not this client's.
        """
        limit_s = self._limit(timeout_s)
        answer: list[bytes] = []
        with anyio.move_on_after(limit_s):
            if node is None or node == self.node:
                answer = await self._status.ask()
            else:
                reply = await self._link.ask_node(node, AskStatus(_ONE), "status")
                answer = [reply.body] if isinstance(reply, StatusReply) else []
        if not answer:
            raise self._link.unreachable("status" if node is None else f"status of node {node}", limit_s)
        status = json.loads(answer[0])
        if not isinstance(status, dict):
            raise WireError("StatusReply.body: not a JSON object")
        return status


def _check_command(command: object) -> None:
    if type(command) is not bytes:
        raise ConfigurationError(f"a command is bytes, not {type(command).__name__}")


def check_timeout(timeout_s: object) -> float:
    """A time limit, in seconds. Raises ConfigurationError."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not timeout_s > 0:
        raise ConfigurationError(f"timeout_s: expected seconds above 0, got {timeout_s!r}")
    try:
        return float(timeout_s)
    except OverflowError:
        return math.inf  # a number beyond all floats
