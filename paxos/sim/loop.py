"""The event loop of a simulated run: virtual time, and what happens to a node.

Everything that will happen is in one heap, as tuples `(time, number, kind, ...)`: the number makes the
order of what happens at the same time that of its making, so nothing depends on chance or on addresses.
Times are whole nanoseconds, so sums of delays are exact.

The nodes are `paxos.service.Node`, the same class that runs on real sockets.  For each step a node is
called, its turn taken and carried out: writes and what waits for them go to the disk, the rest leaves at
once.  Which nodes there are, what goes wrong and when the run is over is told in `world`.
"""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.command import Command
from paxos.contract import Configuration, Event, Instant, Message
from paxos.errors import PaxosError, ProtocolBreach
from paxos.service import Node, Turn
from paxos.sim.choices import PARTS, Choices
from paxos.sim.clients import Clients, Session
from paxos.sim.disk import Disk
from paxos.sim.faults import Crash, Faults
from paxos.sim.ledger import LogLedger, taken_commands
from paxos.sim.meter import Meter
from paxos.sim.network import Network
from paxos.sim.result import Violation
from paxos.sim.watch import Trace, Watch, raised_at

__all__ = ["NEVER", "NO_TURN", "NS", "Loop", "Site", "complaint_of"]

#: Nanoseconds in a second.
NS: Final = 1_000_000_000
#: Later than everything.
NEVER: Final = 1 << 62
#: What a step brings in which no node was called.
NO_TURN: Final = Turn()
#: The wall clock when a run starts: some fixed time, seconds since the Unix epoch.
_EPOCH_S: Final = 1_700_000_000.0

# Kinds of events. In the first seven the fourth field is a Site.
_DELIVER: Final = 0
_HANDLE: Final = 1
_SELF: Final = 2
_DISK: Final = 3
_WAKE: Final = 4
_REQUEST: Final = 5
_HANG_UP: Final = 6
_CALL: Final = 7

_instant: Final = tuple.__new__
_NODE_FILE: Final = Node.receive.__code__.co_filename


class Site:
    """One node's place: its machine, which stays, and the node on it, which comes and goes."""

    __slots__ = (
        "born_ns", "clock_rate", "configuration", "disk", "doom", "free_ns", "hindered", "id", "life", "node",
        "odd_clock", "paused_ns", "service_ns", "skew_s", "store_id", "stopped", "timer_ns", "wake_s",
        "wanted_ns", "wiped", "worked_ns",
    )  # fmt: skip

    def __init__(self, configuration: Configuration, store_id: bytes, disk: Disk) -> None:
        self.id: NodeId = configuration.node
        self.configuration: Configuration = configuration
        self.store_id: bytes = store_id
        self.disk: Disk = disk
        self.node: Node | None = None
        #: Counts starts: what belongs to an earlier life is void.
        self.life: int = 0
        #: Why it stopped itself; None while it did not.
        self.stopped: str | None = None
        self.clock_rate: float = 1.0
        self.skew_s: float = 0.0
        #: A crash that waits for its disk to be at work.
        self.doom: Crash | None = None
        #: Whether it lost its disk once: it must not vote then, and nobody expects it to remember.
        self.wiped: bool = False
        #: Whether its clocks are not virtual time itself.
        self.odd_clock: bool = False
        self.born_ns: int = 0
        self.wake_s: float | None = None
        self.wanted_ns: int = NEVER
        self.timer_ns: int = NEVER
        #: Whether messages queue here: the node is slow, or stands still.
        self.hindered: bool = False
        self.service_ns: int = 0
        self.free_ns: int = 0
        self.paused_ns: int = 0
        #: How long its processor was at work.
        self.worked_ns: int = 0


class Loop:
    """Virtual time, and the nodes in it.

    Args:
        sites: the nodes' places, by id.
        network: the links between them.
        faults: what goes wrong with disks and clocks.
        choices: decides what goes wrong when.
        seen: counts what is seen, by name.
        sync_s: seconds one sync of a disk takes.
        max_steps: the most steps of a run.
        trace: writes the steps down, if it is wanted.
        watch: shows them to the invariants, if that is wanted.
        ledger: keeps the log, where one is decided and it is wanted.
    """

    #: Set by who makes the run, since clients need the loop.
    clients: Clients

    def __init__(
        self,
        sites: dict[NodeId, Site],
        network: Network,
        faults: Faults,
        choices: Choices,
        seen: Counter[str],
        *,
        sync_s: float,
        max_steps: int,
        trace: Trace | None,
        watch: Watch | None,
        ledger: LogLedger | None = None,
    ) -> None:
        self.sites = sites
        self.network = network
        self.choices = choices
        self.seen = seen
        self.trace = trace
        self.now_ns: int = 0
        self.steps: int = 0
        self.messages: defaultdict[type, int] = defaultdict(int)
        self.violations: list[Violation] = []
        #: What traced handlers told, in order.
        self.traced: list[Event] = []
        self.over: bool = False
        self._faults = faults
        self._slow_disks = faults.slow_disk > 0
        self._watch = watch
        self.ledger = ledger
        #: Measures the run, if that is wanted.
        self.meter: Meter | None = None
        #: Whether what is asked of a node at one moment goes into its log together.
        self.gathers: bool = False
        self._observed = trace is not None or watch is not None or ledger is not None
        # A ledger by itself wants to see nothing but what is applied, and told of.
        self._ledger_only = trace is None and watch is None
        self._commands = watch is not None and ledger is None
        self._max_steps = max_steps
        self._sync_ns = round(sync_s * NS)
        # A disk that takes no time is done at once in runs that measure: an event less for every write.
        self._at_once = not self._sync_ns and not self._slow_disks
        self._slow_disk_ns = round(faults.slow_disk_s * NS)
        self._heap: list[Any] = []
        self._number = itertools.count(1).__next__
        self._handlers: tuple[Callable[[Any], None], ...] = (
            self._deliver, self._handle, self._receive_own, self._synced,
            self._woken, self._requested, self._hung_up, self._called,
        )  # fmt: skip

    def failed(self, site: Site, error: Exception | SystemExit) -> None:
        """A node raised. Who makes the run says what that means."""
        raise error

    def doomed(self, site: Site, crash: Crash, sync_ns: int) -> None:
        """A node that should crash while it writes has begun to. Who makes the run sees to it."""

    def violate(self, name: str, sentence: str) -> None:
        """Something that must hold does not: the run ends here."""
        self.violations.append(Violation(name, sentence, self.steps))
        self.over = True

    # --- time ------------------------------------------------------------------------------------

    def at(self, when_ns: int, call: Callable[..., None], *arguments: object) -> None:
        """Call something at a time."""
        heapq.heappush(self._heap, (when_ns, self._number(), _CALL, call, arguments))

    def request_at(self, when_ns: int, session: Session, message: Message) -> None:
        """A client's question reaches the node it asks."""
        heapq.heappush(self._heap, (when_ns, self._number(), _REQUEST, session.site, session, message, 0))

    def hang_up(self, site: Site, index: int) -> None:
        """A client closes its connection to a node."""
        heapq.heappush(self._heap, (self.now_ns, self._number(), _HANG_UP, site, index, None, 0))

    def run(self) -> None:
        """Until it is over."""
        while not self.over and self._heap:
            self._run()

    def _run(self) -> None:
        heap, pop, handlers, deliver = self._heap, heapq.heappop, self._handlers, self._deliver
        event: Any = None
        try:
            while heap and not self.over:
                event = pop(heap)
                self.now_ns = event[0]
                kind = event[2]
                if kind:
                    handlers[kind](event)
                else:
                    deliver(event)
        except (Exception, SystemExit) as error:
            # What a node raises, to end the program too, is a finding about that node; what is wrong here
            # should stay loud.
            if event[2] == _CALL or not _raised_by_node(error):
                raise
            self.failed(event[3], error)

    def clock(self, site: Site) -> Instant:
        """What the node's clocks show now."""
        now_s = self.now_ns * 1e-9
        if not site.odd_clock:
            return _instant(Instant, (now_s, _EPOCH_S + now_s, 0.0))
        local_s = (self.now_ns - site.born_ns) * 1e-9 * site.clock_rate
        wall_s = _EPOCH_S + now_s * site.clock_rate + site.skew_s
        error_s = self._faults.skew_s + now_s * self._faults.drift
        return _instant(Instant, (local_s, wall_s, error_s))

    # --- messages, disk, time: what happens to a node ------------------------------------------------

    def _deliver(self, event: Any) -> None:
        now_ns, _, _, site, sender, message, sent_ns = event
        node = site.node
        if node is None or (site.hindered and self._queued(_HANDLE, event, sent_ns)):
            return
        self.messages[message.__class__] += 1
        if site.odd_clock:
            now = self.clock(site)
        else:
            # As `clock` does it; this is the busiest line of a run, and a call is a tenth of it.
            now_s = now_ns * 1e-9
            now = _instant(Instant, (now_s, _EPOCH_S + now_s, 0.0))
        node.receive(sender, message, now)
        self.carry_out(site, node.turn(), "receive", sender, message, sent_ns)

    def _handle(self, event: Any) -> None:
        _, _, _, site, sender, message, sent_ns = event
        node = site.node
        if node is None or self._paused(event):
            return
        self.messages[message.__class__] += 1
        node.receive(sender, message, self.clock(site))
        self.carry_out(site, node.turn(), "receive", sender, message, sent_ns)

    def _receive_own(self, event: Any) -> None:
        _, _, _, site, life, message, sent_ns = event
        node = site.node
        if site.life != life or node is None or self._paused(event):
            return
        node.receive(site.id, message, self.clock(site))
        self.carry_out(site, node.turn(), "receive", site.id, message, sent_ns)

    def _synced(self, event: Any) -> None:
        site = event[3]
        if site.life != event[4] or site.node is None or self._paused(event):
            return
        disk = site.disk
        released = disk.finish()
        if disk.start():
            self._sync(site)
        self._leave(site, released)
        self.steps += 1
        if self._observed and not self._ledger_only:
            self.observe(site, "durable", None, None, None, NO_TURN, released, None)

    def crashed(self, site: Site) -> None:
        """Count a node's end as a step, and show it."""
        self.steps += 1
        if self._observed:
            self.observe(site, "crash", None, None, None, NO_TURN, [], None)

    def _woken(self, event: Any) -> None:
        _, _, _, site, life, _, _ = event
        if site.life != life or site.node is None or site.timer_ns != event[0]:
            return
        if site.hindered and self.now_ns < site.paused_ns:
            site.timer_ns = site.paused_ns
        else:
            site.timer_ns = NEVER
            if self.now_ns >= site.wanted_ns:
                node = site.node
                node.tick(self.clock(site))
                self.carry_out(site, node.turn(), "tick", None, None, None)
                return
            if site.wanted_ns == NEVER:
                return
            site.timer_ns = site.wanted_ns
        heapq.heappush(self._heap, (site.timer_ns, self._number(), _WAKE, site, life, None, 0))

    def _requested(self, event: Any) -> None:
        if self.gathers:
            self._requested_together(event)
            return
        _, _, _, site, session, message, queued = event
        if not self.clients.expects(session, message) or session.site is not site:
            return
        if site.node is None or not self._connected(session.home, site):
            self.clients.refused(session)
            return
        if site.hindered and (self._paused(event) if queued else self._queued(_REQUEST, event, 1)):
            return
        node = site.node
        submitted = node.machine.command(message.request, message.body) if self._commands else None
        node.request(session.index, message, self.clock(site))
        self.carry_out(site, node.turn(), "request", None, message, None, submitted)

    def _requested_together(self, event: Any) -> None:
        """All that is asked of a node at this moment, as one piece of work."""
        now_ns, _, _, site, session, message, queued = event
        asked: list[tuple[Session, Message]] = queued or [(session, message)]
        heap = self._heap
        while not queued and heap and heap[0][0] == now_ns and heap[0][2] == _REQUEST:
            # What waited its turn already is a piece of work of its own.
            if heap[0][3] is not site or heap[0][6]:
                break
            other = heapq.heappop(heap)
            asked.append((other[4], other[5]))
        asked = [each for each in asked if self.clients.expects(*each) and each[0].site is site]
        if site.node is not None:
            if (
                asked
                and site.hindered
                and (self._paused(event) if queued else self._queued(_REQUEST, event, asked))
            ):
                return
        node, now = site.node, self.clock(site)
        for each, question in asked:
            if node is None or not self._connected(each.home, site):
                self.clients.refused(each)
            else:
                node.request(each.index, question, now)
        if node is not None and asked:
            self.carry_out(site, node.turn(), "request", None, asked[0][1], None)

    def _connected(self, home: Site, site: Site) -> bool:
        return home is site or (
            self.network.reaches(home.id, site.id) and self.network.reaches(site.id, home.id)
        )

    def _hung_up(self, event: Any) -> None:
        site = event[3]
        if site.node is not None and not self._paused(event):
            site.node.disconnect(event[4], self.clock(site))
            self.carry_out(site, site.node.turn(), "tick", None, None, None)

    @staticmethod
    def _called(event: Any) -> None:
        event[3](*event[4])

    def _queued(self, kind: int, event: Any, last: Any) -> bool:
        """Let what came wait its turn at a slow or paused node; False when it need not wait."""
        site = event[3]
        begins = max(self.now_ns, site.free_ns, site.paused_ns)
        site.free_ns = ends = begins + site.service_ns
        site.worked_ns += site.service_ns
        if ends <= self.now_ns:
            return False
        heapq.heappush(self._heap, (ends, self._number(), kind, site, event[4], event[5], last))
        return True

    def _paused(self, event: Any) -> bool:
        """Put off what happens inside a node that stands still."""
        site = event[3]
        if not site.hindered or self.now_ns >= site.paused_ns:
            return False
        heapq.heappush(self._heap, (site.paused_ns, self._number(), *event[2:]))
        return True

    # --- carrying out what a node wants ------------------------------------------------------------

    def carry_out(
        self,
        site: Site,
        turn: Turn,
        action: str,
        sender: NodeId | None,
        message: Message | None,
        sent_ns: int | None,
        submitted: Command | None = None,
    ) -> None:
        """Do what a node wants after a step."""
        self.steps += 1
        if self.steps >= self._max_steps:
            self.violate("Bounded", f"no end within {self._max_steps} steps, at {self.now_ns / NS:.3f} s")
        sends, held = turn.sends, turn.held
        left = sends
        writes = turn.writes
        if writes or held:
            disk, meter = site.disk, self.meter
            if meter is not None and self._at_once and site.doom is None and disk.write_at_once(writes):
                if writes:
                    meter.synced(site.id)
                left = sends + held
            elif disk.take(writes, held):
                left = sends + held
            elif not disk.working and disk.start():
                self._sync(site)
        if left:
            self._leave(site, left)
        if turn.events:
            self._note(turn.events)
        wake_s = turn.wake_at_s
        if wake_s != site.wake_s or site.wanted_ns <= self.now_ns:
            self._set_wake(site, wake_s)
        if self._observed and (turn.applies or turn.events or not self._ledger_only):
            self.observe(site, action, sender, message, sent_ns, turn, left, submitted)
        if turn.answers:
            self._answer(site, turn)

    def _answer(self, site: Site, turn: Turn) -> None:
        place = None if self.ledger is None or site.node is None else self.ledger.place_of(site.node, turn)
        for index, reply in turn.answers:
            session = self.clients.session(index)  # type: ignore[arg-type]
            if session.home is site:
                self.clients.answered(session, site, reply, place)
            elif self._connected(site, session.home):
                delay = self.network.delays_ns[site.id][session.home.id]
                self.at(self.now_ns + delay, self.clients.answered, session, site, reply, place)

    def _leave(self, site: Site, messages: list[tuple[NodeId, Message]]) -> None:
        """Messages leave a node, those to itself only when the disk says so."""
        heap, push, number, now = self._heap, heapq.heappush, self._number, self.now_ns
        me, sites = site.id, self.sites
        if self.network.plain:
            delays = self.network.delays_ns[me]
            for to, message in messages:
                if to == me:
                    push(heap, (now, number(), _SELF, site, site.life, message, now))
                else:
                    push(heap, (now + delays[to], number(), _DELIVER, sites[to], me, message, now))
            return
        route = self.network.route
        for to, message in messages:
            if to == me:
                push(heap, (now, number(), _SELF, site, site.life, message, now))
            else:
                for when in route(me, to, message, now):
                    push(heap, (when, number(), _DELIVER, sites[to], me, message, now))

    def _sync(self, site: Site) -> None:
        takes = self._sync_ns
        if self.meter is not None:
            self.meter.synced(site.id)
        if self._slow_disks:
            if self.choices.happens("slow disk", self._faults.slow_disk):
                self.seen["slow sync"] += 1
                takes += self._slow_disk_ns * (self.choices.draw("sync", PARTS) + 1) // PARTS
        if site.doom is not None:
            self.doomed(site, site.doom, takes)
        heapq.heappush(self._heap, (self.now_ns + takes, self._number(), _DISK, site, site.life, None, 0))

    def _set_wake(self, site: Site, wake_s: float | None) -> None:
        if wake_s is None:
            site.wake_s, site.wanted_ns = None, NEVER
            return
        if wake_s != site.wake_s:
            site.wake_s = wake_s
            site.wanted_ns = site.born_ns + int(wake_s / site.clock_rate * NS) + 1
        if site.wanted_ns <= self.now_ns:
            # What is due already is done in the next nanosecond, so that time goes on.
            site.wanted_ns = self.now_ns + 1
        if site.wanted_ns < site.timer_ns:
            site.timer_ns = site.wanted_ns
            heapq.heappush(self._heap, (site.wanted_ns, self._number(), _WAKE, site, site.life, None, 0))

    def _note(self, events: list[Event]) -> None:
        seen = self.seen
        for event in events:
            if event.trace:
                self.traced.append(event)
            else:
                seen[event.action] += 1

    def observe(
        self,
        site: Site,
        action: str,
        sender: NodeId | None,
        message: Message | None,
        sent_ns: int | None,
        turn: Turn,
        left: list[tuple[NodeId, Message]],
        submitted: Command | None,
    ) -> None:
        """Show a step to whoever watches."""
        if self.trace is not None:
            self.trace.step(self.steps, self.now_ns, action, site.id, sender, message, sent_ns, turn, left)
        if self._watch is not None and not (site.wiped and _is_new(site)):
            broken = self._watch.observe(
                "restart" if action == "start" else action,
                site.id,
                sender,
                message if action == "receive" or self.ledger is not None else None,
                turn,
                left,
                submitted,
                site.node.replica if site.node is not None else None,
                site.disk.replica_records,
                () if self.ledger is None or site.node is None else taken_commands(site.node),
            )
            if broken is not None:
                self.violate(*broken)
        if self.ledger is not None and (turn.applies or turn.events):
            broken = self.ledger.observe(site.id, turn.applies, turn.events, site.disk.durable)
            if broken is not None:
                self.violate(*broken)


def _is_new(site: Site) -> bool:
    """Whether the node there, if any, is not yet known to the others and so may not vote."""
    return site.node is None or not site.node.identity.introduced


def _raised_by_node(error: BaseException) -> bool:
    """Whether it came out of a node's code, and not of what runs or watches it."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _NODE_FILE:
            return True
        trace = trace.tb_next
    return False


def complaint_of(node: NodeId, error: Exception | SystemExit) -> tuple[str, str]:
    """What it breaks that a node raised: a name and a sentence."""
    if isinstance(error, ProtocolBreach):
        name, _, sentence = str(error).partition(": ")
        if name.isidentifier() and sentence:
            return name, f"node {node}: {sentence}"
        return "ProtocolBreach", f"node {node}: {error}"
    where = "" if isinstance(error, PaxosError) else f" ({raised_at(error)})"
    return type(error).__name__, f"node {node} stopped: {error}{where}"
