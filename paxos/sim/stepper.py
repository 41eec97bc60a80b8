"""The directed simulator: no clock, one move at a time, and whoever drives it decides which.

The same nodes, disks and invariants as in a timed run (`paxos.sim.run`), but nothing happens by itself.
Messages in flight, syncs under way and requests of clients wait until somebody moves them, in any order: a
schedule that a minimiser shortened, a random walk, Hypothesis, or a person at a prompt.

Time stands still, and goes on only when a node is woken (`tick`), then at once to when that node wanted it.
The nodes begin *acquainted*: each is durably known to the others, as in a cluster that had started before,
so that a schedule holds the protocol's messages and no introductions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from paxos.ballot import NodeId
from paxos.command import Command
from paxos.contract import (
    Configuration,
    Decides,
    Event,
    Instant,
    Invariant,
    Message,
    ProtocolDescription,
    find_protocol,
)
from paxos.errors import ConfigurationError, DiskLost
from paxos.quorum import QuorumSystem
from paxos.service import (
    LogSettings,
    MachineMaker,
    Node,
    Turn,
    charter_record,
    replica_prefix,
    wipes_detected,
)
from paxos.service.keyvalue import KeyValue
from paxos.sim.conflict_ledger import ledger_of
from paxos.sim.disk import Disk
from paxos.sim.ledger import LOG_SETTINGS, LogLedger, applied_of, service_probes, taken_commands
from paxos.sim.log_verdict import judge_log
from paxos.sim.loop import NO_TURN, complaint_of
from paxos.sim.moves import Asked, Move, parse_move
from paxos.sim.questions import DecreeWords, LogWords, Questions, check_asked
from paxos.sim.result import Operation, Result, Violation
from paxos.sim.stepper_healing import heal, settle
from paxos.sim.stepper_parts import Flight, Place, acquaintance, boring, given, overflowing, store_id_of
from paxos.sim.verdict import judge_decisions, judge_history
from paxos.sim.watch import Watch

__all__ = ["Flight", "Stepper"]

_EPOCH_S: Final = 1_700_000_000.0
#: More than any schedule for people; beyond it the oldest messages are lost.
_MAX_FLIGHTS: Final = 4096


class Stepper:
    """A cluster that is moved by hand.

    Args:
        protocol: its name, or its description.
        nodes: how many; their ids are 1, 2, 3, ... unless `quorums` says otherwise.
        quorums: the quorum system; the protocol's default for None.
        settings: the protocol's own settings; None for its defaults.
        requests: `(node, what)` that clients may ask; `enabled` offers them in order. `submit` needs none.
        eager: disks sync at once, so that nobody needs to move them; a crash then loses nothing.
        check: show every step to the protocol's invariants.
        observers: invariants beside the protocol's own, shown every step before them.
        trace: nodes also give an event for each handler run; see `on_event`.
        draw: supplies the nodes' randomness; None for always 0.
        on_event: called with each event of a node.
        machine: makes the state machine of a log: `KeyValue` for None, or what understands its requests.
        log: settings of the service of a log; for None some that make snapshots often.

    Attributes:
        pool: what is in flight, oldest first. Look, and move it by index with `deliver_at` and the like.
        violations: what broke; once there is one, nothing moves any more.
        steps: how often a node, or its disk, was touched.
        deliveries: messages that one node got from another.
        received: those by type.
        effective: those that made the node write, send, report or wait for something, by type.
        seen: how often each event of the replicas was seen.
        moved: how many moves were made.

    Raises:
        ConfigurationError: an argument that can not work.
    """

    def __init__(
        self,
        protocol: str | ProtocolDescription = "paxos",
        nodes: int = 3,
        *,
        quorums: QuorumSystem | None = None,
        settings: Any = None,
        requests: Iterable[tuple[NodeId, Asked]] = (),
        eager: bool = False,
        check: bool = True,
        observers: Sequence[Invariant] = (),
        trace: bool = False,
        draw: Callable[[str, int], int] | None = None,
        on_event: Callable[[Event], None] | None = None,
        machine: MachineMaker | None = None,
        log: LogSettings | None = None,
    ) -> None:
        self.protocol: ProtocolDescription = (
            find_protocol(protocol) if isinstance(protocol, str) else protocol
        )
        if type(nodes) is not int or not 1 <= nodes <= 100:
            raise ConfigurationError(f"nodes: expected a number in 1..100, got {nodes!r:.60}")
        self.quorums: QuorumSystem = (
            self.protocol.quorums(range(1, nodes + 1)) if quorums is None else quorums
        )
        self.members: tuple[NodeId, ...] = self.quorums.members
        self.requests: list[tuple[NodeId, Asked]] = list(requests)
        if type(eager) is not bool:
            raise ConfigurationError(f"eager: expected True or False, got {eager!r:.60}")
        self.eager: bool = eager
        self.pool: list[Flight] = []
        self.violations: list[Violation] = []
        self.steps: int = 0
        self.moved: int = 0
        self.deliveries: int = 0
        self.received: Counter[str] = Counter()
        self.effective: Counter[str] = Counter()
        self.seen: Counter[str] = Counter(dict.fromkeys(self.protocol.probes, 0))
        self._draw: Callable[[str, int], int] = boring if draw is None else draw
        self._on_event = on_event
        self._now_s = 0.0
        self._now = Instant(0.0, _EPOCH_S, 0.0)
        self._own: list[tuple[Place, int, Message]] = []
        # How many syncs are in the pool.
        self._syncs = 0
        self._machine: MachineMaker = machine or KeyValue
        self._log: LogSettings = log or LOG_SETTINGS
        self._ledger: LogLedger | None = None
        self._questions: Questions = self._first_questions(check)
        invariants = (*(given(each) for each in observers), *(self.protocol.invariants if check else ()))
        self._observed = bool(invariants) or self._ledger is not None
        self._watch: Watch | None = None
        if invariants:
            self._watch = Watch(attrs.evolve(self.protocol, invariants=invariants), self.quorums, 0, 0)
        self._sites: dict[NodeId, Place] = {}
        known = acquaintance(self.members)
        for node in self.members:
            configuration = Configuration(node, self.quorums, settings, trace=trace)
            disk = Disk(replica_prefix(0, 0) if self._observed else None)
            disk.durable.update([charter_record(self.protocol, configuration), *known[node].items()])
            self._sites[node] = Place(configuration, disk)
        self._begin()

    def _first_questions(self, check: bool) -> Questions:
        if self.protocol.decides is Decides.DECREES:
            return Questions(DecreeWords())
        words = LogWords()
        if check:
            self._ledger = ledger_of(self.protocol, words.asked, self.seen, self._machine)
            self.seen.update(dict.fromkeys(service_probes(self.protocol), 0))
        return Questions(words)

    def _begin(self) -> None:
        """All nodes start, and their disks are quiet before the first move."""
        eager, self.eager = self.eager, True
        for site in self._sites.values():
            self._start(site, "restart", first=True)
            self._rest()
        self.eager = eager
        self.steps = 0

    # --- looking -----------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether something broke: nothing moves any more."""
        return bool(self.violations)

    @property
    def now_s(self) -> float:
        """What every clock shows, seconds."""
        return self._now_s

    def node(self, node: NodeId) -> Node | None:
        """The node there, to be looked at; None while it is down."""
        return self._sites[node].node

    def disk(self, node: NodeId) -> Disk:
        """Its disk, to be looked at."""
        return self._sites[node].disk

    def up(self) -> list[NodeId]:
        """The nodes that run."""
        return [site.id for site in self._sites.values() if site.node is not None]

    def down(self) -> list[NodeId]:
        """The nodes that are down and may start again."""
        return [site.id for site in self._sites.values() if site.node is None and site.stopped is None]

    def wakeable(self) -> list[NodeId]:
        """The nodes that want to be woken some time, the soonest first."""
        waiting = [
            (s.wake_s, s.id) for s in self._sites.values() if s.node is not None and s.wake_s is not None
        ]
        return [node for _, node in sorted(waiting)]

    @property
    def unanswered(self) -> int:
        """How many requests have no answer."""
        return self._questions.unanswered

    def asked(self) -> list[Asked]:
        """What clients asked, in the order of `history`."""
        return self._questions.asked()

    @property
    def quiet(self) -> bool:
        """Whether nothing is in flight and nobody waits."""
        return not self.pool and not self.requests and not self.unanswered

    def enabled(self, faults: bool = True) -> list[Move]:
        """Every move that can be made now, the least remarkable first.

        Messages and syncs come first, oldest first, then the next request, then ticks; with `faults` also
        restarts, crashes, and copies and losses of messages.
        """
        moves: list[Move] = []
        messages: list[Move] = []
        named: Counter[tuple[NodeId, NodeId, str, str]] = Counter()
        for flight in self.pool:
            if flight.message is None:
                moves.append(Move("sync", flight.recipient))
                continue
            name = (flight.sender, flight.recipient, type(flight.message).__name__, flight.topic)
            named[name] += 1
            move = Move("deliver", name[1], name[0], name[2], name[3], named[name])
            messages.append(move)
            if self._sites[flight.recipient].node is not None:
                moves.append(move)
        if self.requests and self._sites[self.requests[0][0]].node is not None:
            moves.append(Move("submit", self.requests[0][0], asked=self.requests[0][1]))
        moves += (Move("tick", node) for node in self.wakeable())
        if faults:
            moves += (Move("restart", node) for node in self.down())
            for node in self.up():
                moves.append(Move("crash", node))
                unsynced = self._sites[node].disk.unsynced
                moves += (Move("crash", node, unsynced="torn", keep=keep) for keep in range(1, unsynced))
                if unsynced:
                    moves.append(Move("crash", node, unsynced="kept"))
            moves += (move._replace(kind=kind) for kind in ("duplicate", "drop") for move in messages)
        return moves

    # --- moving ---------------------------------------------------------------------------------------

    def do(self, move: Move | str) -> bool:
        """Make a move, or the one that a line says; whether it could be made.

        Raises:
            ConfigurationError: the line says no move, or what clients of such a protocol do not ask.
        """
        if isinstance(move, str):
            move = parse_move(move)
        kind, node = move.kind, move.node
        if self.violations or node not in self._sites:
            return False
        if kind == "deliver":
            at = self.find(move)
            return at is not None and self.deliver_at(at)
        if kind in ("drop", "duplicate"):
            at = self.find(move)
            if at is None:
                return False
            (self.drop_at if kind == "drop" else self.duplicate_at)(at)
            return True
        if kind == "sync":
            for at, flight in enumerate(self.pool):
                if flight.message is None and flight.recipient == node:
                    return self.deliver_at(at)
            return False
        if kind in ("submit", "forget"):
            asked = move.asked
            return asked is not None and (self.submit if kind == "submit" else self.forget)(node, asked)
        if kind == "crash":
            return self.crash(node, move.unsynced, move.keep)
        return {"tick": self.tick, "wipe": self.wipe, "restart": self.restart}[kind](node)

    def play(self, lines: Iterable[str | Move]) -> list[int]:
        """Make moves one after the other; the indexes of those that could not be made and were skipped.

        Raises:
            ConfigurationError: a line says no move.
        """
        skipped = []
        for index, line in enumerate(lines):
            if not self.do(line) and not self.violations:
                skipped.append(index)
        return skipped

    def drive(self, numbers: Iterable[int], faults: bool = True) -> int:
        """Make a move for each number, an index into `enabled` modulo its length; 0 is boring.

        Returns:
            How many could be made before nothing was left to do.
        """
        made = 0
        for number in numbers:
            moves = [] if self.violations else self.enabled(faults)
            if not moves or not self.do(moves[number % len(moves)]):
                break
            made += 1
        return made

    def settle(self, most: int = 2000) -> bool:
        """Let all that is broken work again and everything arrive in order, until nobody waits.

        Args:
            most: moves at most.

        Returns:
            Whether everything submitted was answered and nothing is left in flight.
        """
        return settle(self, most)

    def heal(self, most: int = 2000) -> list[str]:
        """Let all settle, let those ask again who have no answer, and let all settle, in `most` moves.

        Returns:
            What has no answer still; nothing when something broke, or too few nodes are left to answer.
        """
        return heal(self, most)

    def find(self, move: Move) -> int | None:
        """Where in the pool the message is that a move names; None if it is not there."""
        left = move.nth
        sender, recipient, name, topic = move.sender, move.node, move.type, move.topic
        for at, flight in enumerate(self.pool):
            if (
                flight.recipient == recipient
                and flight.sender == sender
                and type(flight.message).__name__ == name
                and (not topic or flight.topic == topic)
            ):
                left -= 1
                if not left:
                    return at
        return None

    def deliver_at(self, at: int) -> bool:
        """What waits at this place of the pool arrives; False while its node is down."""
        flight = self.pool[at]
        site = self._sites[flight.recipient]
        node, message = site.node, flight.message
        if node is None or self.violations:
            return False
        del self.pool[at]
        self.moved += 1
        if message is None:
            self._syncs -= 1
            self._synced(site)
        else:
            name = type(message).__name__
            self.deliveries += 1
            self.received[name] += 1
            turn = self._call(site, node.receive, flight.sender, message, self._now)
            if turn is not None:
                did = turn.writes or turn.sends or turn.held or turn.events or turn.applies
                if did or turn.wake_at_s != site.wake_s:
                    self.effective[name] += 1
                self._carry_out(site, turn, "receive", flight.sender, message)
        self._rest()
        return True

    def drop_at(self, at: int) -> None:
        """The message at this place of the pool is lost; a sync is not."""
        if self.pool[at].message is not None:
            self.moved += 1
            del self.pool[at]

    def duplicate_at(self, at: int) -> None:
        """Another copy of the message at this place of the pool is in flight, right behind it."""
        flight = self.pool[at]
        if flight.message is not None:
            self.moved += 1
            self.pool.insert(at + 1, Flight(flight.sender, flight.recipient, flight.message))

    def submit(self, node: NodeId, asked: Asked) -> bool:
        """A client asks a node; the same proposal again is the same request, as a client repeats it.

        Raises:
            ConfigurationError: clients of such a protocol do not ask that.
        """
        check_asked(self.protocol.decides, asked)
        site = self._sites[node]
        if site.node is None or self.violations:
            return False
        if self.requests and self.requests[0] == (node, asked):
            del self.requests[0]
        self.moved += 1
        number, message = self._questions.ask(node, asked, self.moved)
        submitted = self._questions.words.submitted(site.node, message) if self._observed else None
        turn = self._call(site, site.node.request, number, message, self._now)
        if turn is not None:
            shown = None if self._ledger is None else message
            self._carry_out(site, turn, "request", None, shown, submitted)
        self._rest()
        return True

    def forget(self, node: NodeId, asked: Asked) -> bool:
        """The client that asked is gone; False if nobody asked that."""
        site, number = self._sites[node], self._questions.number_of(asked)
        if site.node is None or number is None or self.violations:
            return False
        self.moved += 1
        turn = self._call(site, site.node.disconnect, number, self._now)
        if turn is not None:
            self._carry_out(site, turn, "tick", None, None)
        self._rest()
        return True

    def tick(self, node: NodeId) -> bool:
        """Time goes on to when a node wants to be woken; False if it does not want to."""
        site = self._sites[node]
        if site.node is None or site.wake_s is None or self.violations:
            return False
        self.moved += 1
        if site.wake_s > self._now_s:
            self._now_s = site.wake_s
            self._now = Instant(self._now_s, _EPOCH_S + self._now_s, 0.0)
        later, self._questions.later = self._questions.later, []
        self.requests += later
        turn = self._call(site, site.node.tick, self._now)
        if turn is not None:
            self._carry_out(site, turn, "tick", None, None)
        self._rest()
        return True

    def crash(self, node: NodeId, unsynced: str = "lost", keep: int = 0) -> bool:
        """A node is gone; of batches not synced none ("lost"), the first `keep` ("torn") or all are kept."""
        site = self._sites[node]
        if site.node is None or self.violations:
            return False
        self.moved += 1
        self.seen["crash"] += 1
        batches = site.disk.unsynced
        self._down(site, {"lost": 0, "torn": min(keep, batches), "kept": batches}[unsynced])
        return True

    def survivors(self, node: NodeId, records: Mapping[bytes, bytes]) -> int:
        """How many batches must survive a crash for the replica's records to be these; 0 if none fits."""
        disk, prefix = self._sites[node].disk, replica_prefix(0, 0)
        held = {key: value for key, value in disk.durable.items() if key.startswith(prefix)}
        wanted = {prefix + key: value for key, value in records.items()}
        for keep, writes in enumerate(disk.batches):
            if held == wanted:
                return keep
            for key, value in writes:
                if value is None:
                    held.pop(key, None)
                elif key.startswith(prefix):
                    held[key] = value
        return disk.unsynced if held == wanted else 0

    def wipe(self, node: NodeId) -> bool:
        """A node is gone, and so is its disk: it must find out and stop. Not when nobody could tell it."""
        site = self._sites[node]
        forgetful = sum(each.wiped for each in self._sites.values() if each is not site)
        if self.violations or site.stopped is not None or forgetful >= wipes_detected(len(self.members)):
            return False
        self.moved += 1
        self.seen["wipe"] += 1
        if site.node is not None:
            self._down(site, 0)
        site.disk.wipe()
        site.store_id = store_id_of(node, site.life)
        site.wiped = True
        return True

    def restart(self, node: NodeId) -> bool:
        """A node that is down starts again."""
        site = self._sites[node]
        if site.node is not None or site.stopped is not None or self.violations:
            return False
        self.moved += 1
        self.seen["restart"] += 1
        self._start(site, "restart")
        self._rest()
        return True

    # --- what comes of it ----------------------------------------------------------------------------

    def judge(self) -> list[Violation]:
        """What broke, also by what clients were told and nodes know so far."""
        if not self.violations:
            decisions, history = self.decisions(), self.history()
            judged = [judge_decisions(decisions), judge_history(history, decisions)]
            if self.protocol.decides is Decides.LOG:
                judged = []
            if self._ledger is not None:
                states = [self._ledger.state_of(node, "at the end") for node in self._running()]
                judged = [judge_log(self._ledger, states, history, self._machine)]
            for complaints in judged:
                for name, sentence in complaints:
                    self.violations.append(Violation(name, sentence, self.steps))
        return self.violations

    def _running(self) -> list[Node]:
        return [site.node for site in self._sites.values() if site.node is not None]

    def history(self) -> tuple[Operation, ...]:
        """What clients did, in order of call. Times are numbers of moves, an answer half of one later."""
        return self._questions.history()

    def decisions(self) -> dict[NodeId, dict[bytes, bytes]]:
        """What every running node knows of decrees."""
        if self.protocol.decides is Decides.LOG:
            return {}
        return {node.id: node.machine.values() for node in self._running()}

    def applied(self) -> dict[NodeId, int]:
        """How far every running node has applied the log; empty where none is decided."""
        if self.protocol.decides is not Decides.LOG:
            return {}
        return {node.id: applied_of(node) for node in self._running()}

    def result(self, choices: Sequence[int] = ()) -> Result:
        """The run so far, as a timed run would give it; its times are numbers of moves."""
        return Result(
            protocol=self.protocol.name,
            nodes=self.members,
            virtual_s=self._now_s,
            steps=self.steps,
            deliveries=self.deliveries,
            messages=dict(sorted(self.received.items())),
            decisions=self.decisions(),
            operations=self.history(),
            seen=dict(sorted(self.seen.items())),
            choices=tuple(choices),
            violations=tuple(self.violations),
            stopped={site.id: site.stopped for site in self._sites.values() if site.stopped is not None},
            applied=self.applied() if self.protocol.decides is Decides.LOG else None,
        )

    # --- inside -----------------------------------------------------------------------------------------

    def _start(self, site: Place, action: str, first: bool = False) -> None:
        site.life += 1
        site.wake_s = None
        try:
            site.node = Node(
                self.protocol, site.configuration, site.store_id, dict(site.disk.durable), self._draw,
                self._now, self._machine, self._log,
            )  # fmt: skip
            if self._ledger is not None:
                self._ledger.begins(site.node)
                taken_commands(site.node)
            turn = site.node.turn()
        except (Exception, SystemExit) as error:
            if first and isinstance(error, ConfigurationError):
                raise
            self._failed(site, error)
            return
        self._carry_out(site, turn, action, None, None)

    def _call(self, site: Place, handler: Callable[..., None], *arguments: Any) -> Turn | None:
        """Call a node; its turn, or None when it raised: that is a finding about the node."""
        try:
            handler(*arguments)
            return site.node.turn() if site.node is not None else None
        except (Exception, SystemExit) as error:
            self._failed(site, error)
            return None

    def _failed(self, site: Place, error: Exception | SystemExit) -> None:
        site.stopped = f"{type(error).__name__}: {error}"
        self._down(site, 0)
        if isinstance(error, DiskLost) and site.wiped:
            self.seen["stopped"] += 1
        else:
            self._violate(*complaint_of(site.id, error))

    def _violate(self, name: str, sentence: str) -> None:
        self.violations.append(Violation(name, sentence, self.steps))

    def _down(self, site: Place, keep: int) -> None:
        if self._ledger is not None and site.node is not None and site.stopped is None:
            self._ledger.holds(site.node, "before it crashed")
        site.disk.crash(keep)
        site.node = None
        site.wake_s = None
        self.pool = [f for f in self.pool if f.message is not None or f.recipient != site.id]
        self._syncs = sum(f.message is None for f in self.pool)
        self.steps += 1
        if self._observed:
            self._observe(site, "crash", None, None, NO_TURN, [], None)

    def _carry_out(
        self,
        site: Place,
        turn: Turn,
        action: str,
        sender: NodeId | None,
        message: Message | None,
        submitted: Command | None = None,
    ) -> None:
        self.steps += 1
        left = turn.sends
        if turn.writes or turn.held:
            disk = site.disk
            if disk.take(turn.writes, turn.held):
                left = turn.sends + turn.held
            elif disk.start():
                self.pool.append(Flight(0, site.id, None))
                self._syncs += 1
        if left:
            self._leave(site, left)
        for event in turn.events:
            if not event.trace:
                self.seen[event.action] += 1
            if self._on_event is not None:
                self._on_event(event)
        site.wake_s = turn.wake_at_s
        if self._observed:
            self._observe(site, action, sender, message, turn, left, submitted)
        for client, reply in turn.answers:
            self._answered(client, site, reply, turn)

    def _leave(self, site: Place, messages: Sequence[tuple[NodeId, Message]]) -> None:
        me, pool = site.id, self.pool
        for to, message in messages:
            if to == me:
                self._own.append((site, site.life, message))
            else:
                pool.append(Flight(me, to, message))
        if len(pool) > _MAX_FLIGHTS:
            self.seen["overflow"] += overflowing(pool, len(pool) - _MAX_FLIGHTS)

    def _synced(self, site: Place) -> None:
        released = site.disk.finish()
        if site.disk.start():
            self.pool.append(Flight(0, site.id, None))
            self._syncs += 1
        self._leave(site, released)
        self.steps += 1
        if self._observed:
            self._observe(site, "durable", None, None, NO_TURN, released, None)

    def _rest(self) -> None:
        """What a node says to itself arrives at once; where disks are eager, so does what they hold."""
        while not self.violations:
            if self._own:
                site, life, message = self._own.pop(0)
                if site.node is not None and site.life == life:
                    turn = self._call(site, site.node.receive, site.id, message, self._now)
                    if turn is not None:
                        self._carry_out(site, turn, "receive", site.id, message)
                continue
            if not self.eager or not self._syncs:
                return
            at = next(at for at, flight in enumerate(self.pool) if flight.message is None)
            self._syncs -= 1
            self._synced(self._sites[self.pool.pop(at).recipient])

    def _observe(
        self,
        site: Place,
        action: str,
        sender: NodeId | None,
        message: Message | None,
        turn: Turn,
        left: Sequence[tuple[NodeId, Message]],
        submitted: Command | None,
    ) -> None:
        node = site.node
        if site.wiped and (node is None or not node.identity.introduced):
            return  # it may not vote, and nobody expects it to remember
        broken = None
        if self._watch is not None:
            replica = node.replica if node is not None else None
            placed = () if self._ledger is None or node is None else taken_commands(node)
            broken = self._watch.observe(
                action, site.id, sender, message, turn, left, submitted, replica, site.disk.replica_records,
                placed,
            )  # fmt: skip
        if broken is None and self._ledger is not None:
            broken = self._ledger.observe(site.id, turn.applies, turn.events, site.disk.durable)
        if broken is not None:
            self._violate(*broken)

    def _answered(self, client: Any, site: Place, reply: Message, turn: Turn) -> None:
        ledger = self._ledger
        place = None if ledger is None or site.node is None else ledger.place_of(site.node, turn)
        following = self._questions.heard(client, site.id, reply, self.moved, place)
        if following is not None and following[0] in self._sites:
            self.seen["redirected"] += 1
            self.requests.insert(0, following)
