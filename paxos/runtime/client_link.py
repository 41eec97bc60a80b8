"""The link of a client to its cluster: one connection at a time, and another when that one is gone.

One task holds the connection.  It sends what gathers, as much at once as there is, and hands over what
comes.  When the connection breaks, when somebody has waited too long for this node, or when a node sends us
elsewhere, it goes on to the next node, and whatever has no answer is sent again.  What that is, and what an
answer means, is the affair of the `Traffic`s that use the link.

A user need not name every node.  Sent on to one that is at none of the addresses, the link asks the node that
sent it where that is, and from then on has one address more.

Where nobody leads, the next node is the next nearest, and when there is a clearly nearer one than that which
is connected, or the one that the user wants is back, the link goes there (`client_nearest`).  It does so
between requests: it sends no more until all that it sent is answered.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import anyio
from anyio.abc import ByteStream

from paxos.ballot import NodeId
from paxos.errors import ClusterMismatch, ConfigurationError, PaxosError, Unreachable, WireError
from paxos.runtime.client_connection import open_connection
from paxos.runtime.client_nearest import Nearness
from paxos.runtime.config import parse_address
from paxos.runtime.handshake import Hello, unpack_values
from paxos.runtime.tables import FROM_CLIENT, TO_CLIENT
from paxos.runtime.tasks import CONNECTION_ERRORS, run_until_first
from paxos.runtime.tls import Security
from paxos.service import AskStatus, StatusReply
from paxos.service.revisions import place_of
from paxos.wire import FrameBuffer

__all__ = ["Link", "Traffic"]

_READ_BYTES: Final = 256 * 1024
#: How long the oldest request may wait before another node is tried, seconds: at first, and at most.
_PATIENCE_S: Final = 2.0
_PATIENCE_MAX_S: Final = 30.0
_LOOK_S: Final = 0.1
#: Pause after every node was tried in vain, seconds: at first, and at most.
_PAUSE_S: Final = 0.02
_PAUSE_MAX_S: Final = 1.0
#: A node that has taken nothing for so long, seconds, and says so, is left for another: it may be
#: one that hears nobody, while the others go on.
_REFUSED_S: Final = 0.5
#: The longest pause when nodes send us to one another, seconds; it begins when all had their turn.
_SENT_ON_MAX_S: Final = 0.25
#: Addresses that are learned from nodes, at most: more than a cluster has members.
_LEARNED_MAX: Final = 64
#: A client that lives for no longer than this does not look for a nearer node, seconds.
_SETTLED_S: Final = 1.0
#: How long the link waits, sending nothing, until all is answered and it can go to another node, seconds.
_DRAIN_S: Final = 1.0
#: The shortest time between two looks for a nearer node, seconds.
_LOOK_NEARER_S: Final = 0.1


class Traffic(Protocol):
    """What goes over a link: requests of one kind, and their answers."""

    def gather(self, now_s: float) -> list[Any]:
        """What may be sent now, over the connection there is."""
        ...

    def take(self, message: Any) -> bool:
        """Handle what a node sent; whether it was this traffic's."""
        ...

    def requeue(self) -> None:
        """The connection is gone: what was on its way is sent again, before what was not."""
        ...

    def fail(self, error: PaxosError) -> None:
        """No node will ever take anything: everybody who waits is told."""
        ...

    def close(self) -> None:
        """The client is closed: everybody who waits is told."""
        ...

    def oldest_s(self) -> float | None:
        """Since when the node owes an answer, or has said nothing though it does; None when it owes none."""
        ...

    def next_s(self) -> float | None:
        """When there will be something to send again, at the latest; None when that is not known."""
        ...


class Link:
    """See the room's header.

    Args:
        addresses: `host:port` of nodes, the one to use first in front.
        security: TLS, or none.
        cluster: the cluster's id; empty to go by the first node that answers.
        prefer: where nobody leads, the node to talk to while it can be reached; None for the nearest.

    Raises:
        ConfigurationError: no address, or one that is none.
    """

    def __init__(
        self, addresses: Sequence[str], security: Security, cluster: str, prefer: NodeId | None = None
    ) -> None:
        if isinstance(addresses, str):
            raise ConfigurationError(f"addresses: expected a list of host:port, got the single {addresses!r}")
        self._addresses = tuple(dict.fromkeys(parse_address(address) for address in addresses))
        if not self._addresses:
            raise ConfigurationError("addresses: a client needs the address of at least one node")
        self._security = security
        self._cluster = cluster
        self._traffics: list[Traffic] = []
        self._work = anyio.Event()
        self._errors: dict[int, PaxosError] = {}
        self._patience_s = _PATIENCE_S
        # How many addresses nodes told us, behind the user's own.
        self._learned = 0
        # Which node is at which address, as far as that is known; and where a node sent us.
        self._met: dict[NodeId, int] = {}
        self._leave = anyio.Event()
        self._wanted: NodeId | None = None
        # How often we were sent elsewhere since a node answered as it should.
        self._sent_on = 0
        # Since when the node has said that it takes nothing; None when it took something after.
        self._refused_s: float | None = None
        self._nearness = Nearness(len(self._addresses), prefer)
        # Where to go, in place of the next nearest; how many need the node that is connected to stay.
        self._go_to: int | None = None
        self._needed = 0
        # Whether nothing is sent until all is answered; whether silence ended the last connection.
        self._draining = False
        self._was_silent = False
        #: The node that is connected now, or None.
        self.node: NodeId | None = None
        #: Where revisions hold that it tells; 0 for everywhere.
        self.place: int = 0
        #: Whether it is over.
        self.closed: bool = False

    @property
    def cluster(self) -> str:
        """The cluster's id; empty while that is not known."""
        return self._cluster

    def carry(self, traffic: Traffic) -> None:
        """From now on this is carried, too."""
        self._traffics.append(traffic)

    # --- what traffics call -------------------------------------------------------------------------

    def wake(self) -> None:
        """There is something to send."""
        self._work.set()

    def content(self) -> None:
        """The node answers as it should: be as patient with it as at first."""
        self._patience_s = _PATIENCE_S
        self._sent_on = 0
        self._refused_s = None

    def refused(self) -> None:
        """The node does not take what it was sent, for now: when it goes on so, another one is asked."""
        now_s = anyio.current_time()
        if self._refused_s is None:
            self._refused_s = now_s
        elif now_s - self._refused_s >= _REFUSED_S and len(self._addresses) > 1:
            self._was_silent = True
            self.redirect(None)

    def redirect(self, node: NodeId | None) -> None:
        """The node sends us to another one."""
        if node != self.node and not self._leave.is_set():
            self._wanted = node
            self._sent_on += 1
            self._leave.set()

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Until the block ends the link goes to no nearer node: what is under way is this one's alone."""
        self._needed += 1
        try:
            yield
        finally:
            self._needed -= 1

    def unreachable(self, what: str, limit_s: float) -> Unreachable:
        """The error for something that was not sent in time."""
        if self.node is not None:
            return Unreachable(f"{what}: not sent within {limit_s:g} s: earlier requests still wait")
        why = "; ".join(str(error) for error in self._errors.values()) or "no answer yet"
        return Unreachable(f"{what}: no node could be reached within {limit_s:g} s: {why}")

    def hopeless(self) -> ClusterMismatch | None:
        """The error to give, when every node there is refused us for a reason that stays."""
        errors = list(self._errors.values())
        if len(errors) < len(self._addresses) or not all(isinstance(e, ClusterMismatch) for e in errors):
            return None
        return ClusterMismatch("; ".join(map(str, errors)))

    # --- the task that holds the connection ---------------------------------------------------------

    async def run(self) -> None:
        """Keep a connection and carry what there is over it, until cancelled."""
        at, tries, pause_s = 0, 0, _PAUSE_S
        try:
            while True:
                try:
                    stream, hello, far_s = await open_connection(
                        self._addresses[at], self._security, self._cluster
                    )
                except PaxosError as error:
                    self._errors[at] = error
                    self._give_up_if_hopeless()
                    self._nearness.failed(at, anyio.current_time())
                    tries += 1
                    if tries % len(self._addresses) == 0:
                        await anyio.sleep(pause_s)
                        pause_s = min(2 * pause_s, _PAUSE_MAX_S)
                else:
                    tries, pause_s = 0, _PAUSE_S
                    self._errors.clear()
                    self._cluster, self.node, self.place = hello.cluster, hello.node, _place(hello)
                    self._met[hello.node] = at
                    self._nearness.answered(at, hello.node, far_s, anyio.current_time())
                    await self._use(stream, at)
                    if self._sent_on >= len(self._addresses):
                        await self._look_up(at)
                    if self._sent_on > len(self._addresses):
                        # They do not agree on who leads, or it is where it can not be reached from here.
                        times = self._sent_on - len(self._addresses) - 1
                        await anyio.sleep(min(_PAUSE_S * 2 ** min(times, 10), _SENT_ON_MAX_S))
                at = self._next(at)
        finally:
            self.closed = True
            for traffic in self._traffics:
                traffic.close()

    def _next(self, at: int) -> int:
        """Where to go from an address."""
        wanted, self._wanted = self._wanted, None
        go_to, self._go_to = self._go_to, None
        if go_to is not None:
            return go_to
        after = self._nearness.after(at) if self.place else (at + 1) % len(self._addresses)
        return self._met.get(wanted or 0, after)

    async def _look_up(self, at: int) -> None:
        """Ask the node at an address where that one is to which it sent us, if we do not know."""
        wanted = self._wanted
        if wanted is None or wanted in self._met or self._learned == _LEARNED_MAX:
            return
        try:
            stream, _, _ = await open_connection(self._addresses[at], self._security, self._cluster)
        except PaxosError:
            return  # another node is tried, or this one again
        try:
            status = await _ask_status(stream)
            address = parse_address(status["peers"][str(wanted)]["address"])
        except (PaxosError, ValueError, LookupError, TypeError, *CONNECTION_ERRORS):
            return  # it does not know either
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
        if address not in self._addresses:
            self._addresses = (*self._addresses, address)
            self._nearness.add()
            self._learned += 1
        self._met[wanted] = self._addresses.index(address)

    async def _use(self, stream: ByteStream, at: int) -> None:
        """Carry what there is until the connection ends or patience does, or there is a nearer node."""
        self._leave, self._refused_s = anyio.Event(), None
        self._draining = self._was_silent = False
        began_s = anyio.current_time()
        try:
            await run_until_first(
                lambda: self._write(stream),
                lambda: self._read(stream),
                self._lose_patience,
                self._leave.wait,
                lambda: self._look_for_nearer(at),
            )
        except (WireError, *CONNECTION_ERRORS):
            pass  # whatever it was, the next node is tried
        finally:
            self.node = None
            if self._go_to is None:
                now_s = anyio.current_time()
                self._nearness.left(at, now_s - began_s, self._was_silent, now_s)
            for traffic in self._traffics:
                traffic.requeue()
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)

    def _give_up_if_hopeless(self) -> None:
        hopeless = self.hopeless()
        if hopeless is not None:
            for traffic in self._traffics:
                traffic.fail(hopeless)

    async def _write(self, stream: ByteStream) -> None:
        while True:
            now_s = anyio.current_time()
            messages = []
            if not self._draining:
                messages = [message for traffic in self._traffics for message in traffic.gather(now_s)]
            if messages:
                await stream.send(FROM_CLIENT.encode(messages))
                continue
            self._work = anyio.Event()
            times = [next_s for traffic in self._traffics if (next_s := traffic.next_s()) is not None]
            if times:
                with anyio.move_on_after(max(min(times) - now_s, 0)):
                    await self._work.wait()
            else:
                await self._work.wait()

    async def _read(self, stream: ByteStream) -> None:
        buffer = FrameBuffer()
        while True:
            for body in buffer.feed(await stream.receive(_READ_BYTES)):
                for envelope in TO_CLIENT.decode(body):
                    for traffic in self._traffics:
                        if traffic.take(envelope.message):
                            break

    async def _lose_patience(self) -> None:
        """Return when the oldest request has waited too long for this node."""
        while True:
            await anyio.sleep(_LOOK_S)
            sent = [at_s for traffic in self._traffics if (at_s := traffic.oldest_s()) is not None]
            if sent and anyio.current_time() - min(sent) > self._patience_s:
                self._patience_s = min(2 * self._patience_s, _PATIENCE_MAX_S)
                self._was_silent = True
                return

    # --- a nearer node ------------------------------------------------------------------------------

    async def _look_for_nearer(self, at: int) -> None:
        """Return when it is time to go to a nearer node; never, where somebody leads."""
        nearness = self._nearness
        if not self.place or len(self._addresses) == 1 or nearness.is_wanted(at):
            await anyio.sleep_forever()
        await anyio.sleep(_SETTLED_S)
        while True:
            now_s = anyio.current_time()
            async with anyio.create_task_group() as group:
                for each in nearness.due(now_s):
                    group.start_soon(self._measure, each)
            better = nearness.better(at, anyio.current_time())
            if better is not None and not self._needed and await self._drain():
                self._go_to = better
                return
            pause_s = nearness.next_s() - anyio.current_time()
            await anyio.sleep(max(pause_s if better is None else _DRAIN_S, _LOOK_NEARER_S))

    async def _measure(self, at: int) -> None:
        """How far the node at an address is, if it takes part."""
        try:
            stream, hello, far_s = await open_connection(self._addresses[at], self._security, self._cluster)
        except PaxosError:
            self._nearness.failed(at, anyio.current_time())
            return
        ready = False
        try:
            ready = (await _ask_status(stream)).get("ready") is True
        except (WireError, ValueError, *CONNECTION_ERRORS):
            pass  # it is no node to go to
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
        if ready:
            self._met[hello.node] = at
            self._nearness.answered(at, hello.node, far_s, anyio.current_time())
        else:
            self._nearness.failed(at, anyio.current_time())

    async def _drain(self) -> bool:
        """Send nothing until all is answered; whether it was, and nobody needs this node, soon enough."""
        self._draining = True
        with anyio.move_on_after(_DRAIN_S):
            while not self._needed:
                if all(traffic.oldest_s() is None for traffic in self._traffics):
                    return True
                await anyio.sleep(_PAUSE_S / 4)
        self._draining = False
        self.wake()
        return False

    # --- one node, apart from all others ------------------------------------------------------------

    async def ask_node(self, node: NodeId, question: Any, what: str) -> Any:
        """Ask one node over a connection of its own, trying each address until it is found.

        Args:
            node: which.
            question: a message that is answered by one message.
            what: what is asked, for the error.

        Raises:
            Unreachable, ClusterMismatch: it could not be asked; why.
        """
        errors: list[PaxosError] = []
        for address in self._addresses:
            try:
                stream, hello, _ = await open_connection(address, self._security, self._cluster)
            except PaxosError as error:
                errors.append(error)
                continue
            try:
                if hello.node == node:
                    return await _ask(stream, question)
            except CONNECTION_ERRORS as error:
                errors.append(Unreachable(f"{address}: {error!r:.80}"))
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.aclose_forcefully(stream)
        why = "; ".join(map(str, errors)) or "none of the addresses is its"
        mismatch = errors and all(isinstance(error, ClusterMismatch) for error in errors)
        raise (ClusterMismatch if mismatch else Unreachable)(f"{what} of node {node}: {why}")


def _place(hello: Hello) -> int:
    return place_of(hello.node, hello.incarnation, unpack_values(hello.values))


async def _ask(stream: ByteStream, question: Any) -> Any:
    buffer = FrameBuffer()
    await stream.send(FROM_CLIENT.encode([question]))
    while True:
        for body in buffer.feed(await stream.receive(_READ_BYTES)):
            for envelope in TO_CLIENT.decode(body):
                return envelope.message


async def _ask_status(stream: ByteStream) -> dict[str, Any]:
    """How the node at the other end does; empty when it does not say so in time. Raises ValueError."""
    reply = None
    with anyio.move_on_after(_PATIENCE_S):
        reply = await _ask(stream, AskStatus(0))
    try:
        status = json.loads(reply.body) if isinstance(reply, StatusReply) else {}
    except RecursionError as error:
        raise ValueError("no status is so deep") from error
    return status if isinstance(status, dict) else {}


class StatusTraffic:
    """Questions how the connected node does.

    Args:
        link: carries them.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sequence = 0
        self._asks: dict[int, tuple[anyio.Event, list[bytes]]] = {}
        self._unsent: list[int] = []
        link.carry(self)

    async def ask(self) -> list[bytes]:
        """Ask whichever node is connected; nothing when the client was closed.

        Raises:
            ClusterMismatch: no node there is will ever answer.
        """
        hopeless = self._link.hopeless()
        if hopeless is not None:
            raise hopeless
        self._sequence += 1
        sequence = self._sequence
        event, answer = self._asks[sequence] = (anyio.Event(), [])
        self._unsent.append(sequence)
        self._link.wake()
        try:
            await event.wait()
        finally:
            del self._asks[sequence]
        return answer

    def gather(self, now_s: float) -> list[Any]:
        """What may be sent now."""
        unsent, self._unsent = self._unsent, []
        return [AskStatus(each) for each in unsent if each in self._asks]

    def take(self, message: Any) -> bool:
        """Handle what a node sent."""
        if message.__class__ is not StatusReply:
            return False
        ask = self._asks.get(message.sequence)
        if ask is not None:
            ask[1].append(message.body)
            ask[0].set()
        return True

    def requeue(self) -> None:
        """Ask the next node."""
        self._unsent = list(self._asks)

    def fail(self, error: PaxosError) -> None:
        """They go on waiting, for as long as they have time."""

    def close(self) -> None:
        """Tell those who wait."""
        for event, _ in self._asks.values():
            event.set()

    def oldest_s(self) -> float | None:
        """Nobody loses patience for these."""
        return None

    def next_s(self) -> float | None:
        """Nothing comes by itself."""
        return None
