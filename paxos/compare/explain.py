"""Why one command took as long as it did: the path it took, told and drawn.

The run is made twice.  The first time says how long each command took, and which one is meant; the second,
which is the same run, writes down what happened while that one was under way.  What concerns it is told by
what messages call things: a `slot`, a decree, the `owner` and `number` of an instance, `entries` and `runs`
that name them.  A protocol from elsewhere that uses these words is explained, too; of another the
submission and the answer are shown.

Two answers with different `deps` disagree, and what the difference is names the commands that one of them had
seen and the other had not.  What its execution waited for is what the last message before it brought.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import attrs

from paxos.ballot import NodeId
from paxos.check.chart import CLIENTS, Chart, ChartEvent
from paxos.check.workers import Inline, Processes
from paxos.command import Command
from paxos.compare.measure import START_S, carry_out
from paxos.compare.model import Place, rounded
from paxos.compare.plan import Cell, Plan, cells_of, compared
from paxos.contract import Commitment, Effects, Event, Instant, Mark, Message, ProtocolDescription
from paxos.errors import ConfigurationError, NodeStopped
from paxos.service.batches import read_batch
from paxos.sim.meter import Meter
from paxos.sim.result import Operation, Result

__all__ = ["Explanation", "Reply", "explain", "explain_each"]

_MS: Final = 1000.0
#: A run that is made again for a report asks no more commands of each site than this.
_AGAIN_MAX: Final = 400
#: So many commands are named that one waited for, at most.
_NAMED: Final = 8


class _Seen(NamedTuple):
    """One thing that happened at a node while the command was under way."""

    at_s: float
    node: NodeId
    kind: str  # "receive", "submit", "apply" or "event"
    sender: NodeId | None = None
    message: Any = None
    mark: Mark = None
    event: Event | None = None
    turn: int = 0


@attrs.frozen
class Reply:
    """One answer that the command's owner had.

    Args:
        site: whose.
        kind: the message's type.
        at_ms: when it came, milliseconds after the command was asked for.
        agreed: whether it said what the owner had said; None where there is nothing to agree on.
        knew: the conflicting commands that it knew of and the owner did not.
    """

    site: str
    kind: str
    at_ms: float
    agreed: bool | None
    knew: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.agreed is None:
            return f"{self.at_ms:g} ms: {self.kind} of {self.site}"
        if self.agreed:
            return f"{self.at_ms:g} ms: {self.kind} of {self.site}, who agrees"
        return f"{self.at_ms:g} ms: {self.kind} of {self.site}, who knew of {', '.join(self.knew)}, too"


@attrs.frozen
class Explanation:
    """What became of one command.

    Args:
        protocol: which.
        command: in words.
        site: of the client that asked.
        at_s: when it asked, seconds after clients began.
        commit_ms: until the decision was known, to the client's ear.
        execute_ms: until it was answered.
        place: the command's place in the order: a slot, an instance, a decree; None where it is not known.
        path: which way it went, in a sentence.
        replies: what was answered to its owner, in order.
        waited_for: what its execution waited for after the commit, in order.
        recovered: whether somebody else had to finish it.
        chart: the same as a picture.
    """

    protocol: str
    command: str
    site: str
    at_s: float
    commit_ms: float
    execute_ms: float
    place: str | None
    path: str
    replies: tuple[Reply, ...]
    waited_for: tuple[str, ...]
    recovered: bool
    chart: Chart

    def to_json(self) -> dict[str, object]:
        """As JSON carries it."""
        return {
            "protocol": self.protocol,
            "command": self.command,
            "site": self.site,
            "at_s": self.at_s,
            "commit_ms": self.commit_ms,
            "execute_ms": self.execute_ms,
            "place": self.place,
            "path": self.path,
            "replies": [{**attrs.asdict(each), "knew": list(each.knew)} for each in self.replies],
            "waited_for": list(self.waited_for),
            "recovered": self.recovered,
            "chart": {
                "lanes": list(self.chart.lanes),
                "events": [list(event) for event in self.chart.events],
            },
        }

    def sentences(self) -> list[str]:
        """The explanation as text, line by line."""
        lines = [
            f"{self.command}, asked at {self.site} {self.at_s:g} s after the start, under {self.protocol}"
            + (f"; its place is {self.place}" if self.place else ""),
            f"committed after {self.commit_ms:g} ms, answered after {self.execute_ms:g} ms: {self.path}",
            *map(str, self.replies),
        ]
        if self.waited_for:
            lines.append(
                f"executed {self.execute_ms - self.commit_ms:.3g} ms after its commit. It waited for:"
            )
            lines += [f"  {each}" for each in self.waited_for]
        return lines


def explain(plan: Plan, place: Place, which: str = "slowest", site: str | None = None) -> Explanation:
    """Explain one command of the first run of a plan.

    Args:
        plan: the run is that of its first protocol, conflict rate and load.
        place: where.
        which: "slowest", "fastest" or "median" by execution; or a number, counting from 1 in order of asking.
        site: count only commands of this site's clients.

    Raises:
        ConfigurationError: there is no such command or site.
        WrongRun: the protocol did something wrong.
    """
    cell = cells_of(plan)[0]
    protocol = compared(cell.protocol)
    if site is not None and site not in place.sites:
        raise ConfigurationError(
            f"explain: topology {place.name!r} has no site {site!r:.60}; it has {', '.join(place.sites)}"
        )
    meter = Meter(protocol)
    result = carry_out(plan, place, cell, protocol, meter)
    wanted = _wanted(result, place, which, site)
    log = _Log(protocol, wanted.call_s, wanted.return_s or 0.0)
    carry_out(plan, place, cell, protocol, log)
    return _Story(protocol, place, cell, wanted, meter, log).told()


def explain_each(
    plan: Plan,
    place: Place,
    *,
    workers: int | None = 1,
    advance: Callable[[], None] | None = None,
) -> tuple[Explanation, ...]:
    """The slowest command of each protocol of a plan: at its highest conflict rate, under its lightest load.

    The runs are made again for it, with at most 400 commands of each site.

    Args:
        plan: which protocols, and under what.
        place: where.
        workers: processes to spread them over; None for one on each core.
        advance: called after each protocol.

    Raises:
        WrongRun: a protocol did something wrong.
    """
    lightest = attrs.evolve(
        plan,
        conflict=(max(plan.conflict),),
        clients=(min(plan.clients),),
        rates=tuple(sorted(plan.rates)[:1]),
        commands=min(plan.commands, _AGAIN_MAX),
    )
    plans = [attrs.evolve(lightest, protocols=(protocol,)) for protocol in plan.protocols]
    pool = Inline() if workers == 1 or len(plans) == 1 else Processes(workers)
    found = []
    try:
        for future in [pool.submit(_slowest, each, place) for each in plans]:
            explanation = future.result()
            found += [explanation] if explanation is not None else []
            if advance is not None:
                advance()
    finally:
        if isinstance(pool, Processes):
            pool.stop()
    return tuple(found)


def _slowest(plan: Plan, place: Place) -> Explanation | None:
    """None where no write was answered at all, as with reads alone."""
    try:
        return explain(plan, place)
    except ConfigurationError:
        return None


def _wanted(result: Result, place: Place, which: str, site: str | None) -> Operation:
    done = [
        op
        for op in result.operations
        if op.outcome == "done"
        and op.value is not None
        and (site is None or place.sites[op.home - 1] == site)
    ]
    if not done:
        raise ConfigurationError("explain: no command of that site was carried out")
    if which.isdecimal():
        if not 1 <= int(which) <= len(done):
            raise ConfigurationError(f"explain: there are commands 1 to {len(done)}, and no {which}")
        return done[int(which) - 1]
    ordered = sorted(done, key=lambda op: ((op.return_s or 0.0) - op.call_s, op.call_s))
    ends = {"slowest": ordered[-1], "fastest": ordered[0], "median": ordered[(len(ordered) - 1) // 2]}
    if which not in ends:
        raise ConfigurationError(f"explain: which is slowest, median, fastest or a number, not {which!r:.40}")
    return ends[which]


# --- what is written down ------------------------------------------------------------------------------


class _Log(Meter):
    """A meter that also writes down what happens in a stretch of time."""

    def __init__(self, protocol: ProtocolDescription, from_s: float, until_s: float) -> None:
        super().__init__(protocol)
        self.seen: list[_Seen] = []
        #: Before it too, since a command may wait for what came before.
        self.from_s = from_s
        self.until_s = until_s
        self._epoch_s: float | None = None

    def looked_at(self, replica: Any, node: NodeId, now: Instant) -> Any:
        # The first replicas are made when the run begins. One that was started again has a new monotonic
        # clock; its wall clock, which is no better than microseconds, tells by how much that differs.
        if self._epoch_s is None:
            self._epoch_s = now.wall_s - now.monotonic_s
        later_s = round(now.wall_s - self._epoch_s - now.monotonic_s, 6)
        return _Logging(replica, node, self, later_s, now)


class _Logging:
    """A replica whose handlers are written down. It has every other attribute and method of that."""

    def __init__(self, replica: Any, node: NodeId, log: _Log, later_s: float, now: Instant) -> None:
        self._replica = replica
        self._node = node
        self._log = log
        self._later_s = later_s
        self._now_s = now[0] + later_s
        self._turn = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replica, name)

    def _note(self, kind: str, **more: Any) -> None:
        # A hair's breadth for what is written as seconds there, and as nanoseconds elsewhere.
        if self._log.from_s - 1e-9 <= self._now_s <= self._log.until_s + 1e-9:
            self._log.seen.append(_Seen(self._now_s, self._node, kind, turn=self._turn, **more))

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        self._now_s = now[0] + self._later_s
        for command in commands:
            self._note("submit", message=command)
        self._replica.submit(commands, now)

    def receive(self, sender: NodeId, message: Message, now: Instant) -> None:
        self._now_s = now[0] + self._later_s
        self._note("receive", sender=sender, message=message)
        self._replica.receive(sender, message, now)

    def tick(self, now: Instant) -> None:
        self._now_s = now[0] + self._later_s
        self._replica.tick(now)

    def effects(self) -> Effects:
        effects: Effects = self._replica.effects()
        for event in effects.events:
            self._note("event", event=event)
        for mark, command in effects.applies:
            self._note("apply", mark=mark, message=command)
        self._turn += 1
        return effects


# --- what it means --------------------------------------------------------------------------------------


class _Story:
    """What was written down, as it concerns one command."""

    def __init__(
        self,
        protocol: ProtocolDescription,
        place: Place,
        cell: Cell,
        op: Operation,
        meter: Meter,
        log: _Log,
    ) -> None:
        self._protocol = protocol
        self._place = place
        self._cell = cell
        self._op = op
        self._log = log
        self._lag_s = 0.0
        if op.request is not None and op.node is not None:
            key = (op.request.client, op.request.sequence)
            self._lag_s = meter.of(op.node).lags_s.get(key, 0.0)
        self._mark: Mark = op.name if op.request is None else None
        for seen in log.seen:
            if (
                self._mark is None
                and seen.kind == "apply"
                and seen.node == op.node
                and self._is_it(seen.message)
            ):
                self._mark = seen.mark
        #: Who answers for it: of an instance its owner, else who told the client.
        self._owner: NodeId = op.node or op.home
        if isinstance(self._mark, tuple):
            self._owner = self._mark[0]

    def told(self) -> Explanation:
        op, mine = self._op, [seen for seen in self._log.seen if self._concerns(seen)]
        execute_ms = ((op.return_s or 0.0) - op.call_s) * _MS
        replies = tuple(self._replies(mine))
        recovered = any(seen.kind == "receive" and "Recover" in type(seen.message).__name__ for seen in mine)
        return Explanation(
            protocol=self._cell.protocol,
            command=f"{op.kind} {_text(op.name)}",
            site=self._site(op.home),
            at_s=rounded(op.call_s - START_S),
            commit_ms=rounded(execute_ms - self._lag_s * _MS),
            execute_ms=rounded(execute_ms),
            place=None if self._mark is None else self._named(self._mark),
            path=self._path(replies, recovered),
            replies=replies,
            waited_for=tuple(self._waited_for()) if self._lag_s > 0 else (),
            recovered=recovered,
            chart=self._chart(mine),
        )

    # --- what is about it ---------------------------------------------------------------------------

    def _is_it(self, command: Command) -> bool:
        request = self._op.request
        if request is None:
            return False
        try:
            batch = read_batch(command)
        except NodeStopped:
            return False
        return batch is not None and any(
            run.client == request.client and run.sequence <= request.sequence < run.sequence + len(run.bodies)
            for run in batch.runs
        )

    def _concerns(self, seen: _Seen) -> bool:
        if seen.kind == "submit":
            return self._is_it(seen.message) or (self._op.request is None and seen.node == self._op.home)
        if seen.kind == "apply":
            return seen.mark == self._mark
        if seen.kind == "event":
            assert seen.event is not None
            return self._event_concerns(seen.event)
        if seen.sender == seen.node:
            return False  # what the own disk reports
        return self._message_concerns(seen)

    def _event_concerns(self, event: Event) -> bool:
        about, mark = event.arguments, self._mark
        if about.get("instance") == mark or about.get("slot") == mark or about.get("decree") == mark:
            return mark is not None
        numbers = about.get("numbers")
        return (
            isinstance(mark, tuple)
            and event.node == mark[0]
            and isinstance(numbers, tuple)
            and mark[1] in numbers
        )

    def _message_concerns(self, seen: _Seen) -> bool:
        message, mark = seen.message, self._mark
        if mark is None:
            return False
        if self._carries(message):
            return True
        if isinstance(mark, tuple):
            owner, number = mark
            if getattr(message, "number", None) == number:
                # Who does not name the owner is it, if it brings the command, and else speaks to it.
                named = getattr(message, "owner", None)
                if named is None:
                    named = seen.sender if hasattr(message, "value") else seen.node
                return bool(named == owner)
            entries = getattr(message, "entries", ())
            return any(entry[:2] == (owner, number) for entry in entries)
        if getattr(message, "slot", None) == mark or getattr(message, "decree", None) == mark:
            return True
        runs = getattr(message, "runs", ())
        return isinstance(mark, int) and any(first <= mark <= last for first, last in runs)

    def _carries(self, message: Message) -> bool:
        """Whether the command itself is in it, wherever in the order it is to go."""
        value, op = getattr(message, "value", None), self._op
        return (
            isinstance(value, bytes)
            and op.request is not None
            and op.request.client in value
            and isinstance(op.value, bytes)
            and op.value in value
        )

    # --- in words -----------------------------------------------------------------------------------

    def _site(self, node: NodeId | None) -> str:
        return "?" if node is None else self._place.sites[node - 1]

    def _named(self, mark: Mark) -> str:
        if isinstance(mark, tuple):
            return f"{self._site(mark[0])}.{mark[1]}"
        return f"slot {mark}" if isinstance(mark, int) else _text(mark)

    def _ms(self, at_s: float) -> float:
        return rounded((at_s - self._op.call_s) * _MS)

    def _replies(self, mine: Sequence[_Seen]) -> Iterator[Reply]:
        asked = next((s.message.deps for s in mine if type(s.message).__name__ == "PreAccept"), None)
        for seen in mine:
            if seen.kind != "receive" or seen.node != self._owner:
                continue
            deps = getattr(seen.message, "deps", None)
            agreed, knew = None, tuple[str, ...]()
            if deps is not None and asked is not None and seen.sender is not None:
                agreed = deps == asked
                knew = tuple(self._difference(asked, deps))
            yield Reply(
                self._site(seen.sender), type(seen.message).__name__, self._ms(seen.at_s), agreed, knew
            )

    def _difference(self, asked: Sequence[int], deps: Sequence[int]) -> Iterator[str]:
        """The commands that `deps` has and `asked` has not."""
        for rank, (before, after) in enumerate(zip(asked, deps, strict=False)):
            if after > before:
                site = self._place.sites[rank]
                # What lies between need not all conflict; the last one does.
                yield f"{site}.{after}" if after == before + 1 else f"{site}.{before + 1} to {site}.{after}"

    def _path(self, replies: Sequence[Reply], recovered: bool) -> str:
        if recovered:
            return "its owner did not finish it, and another replica recovered it"
        if self._op.node is not None and self._op.node != self._op.home:
            where = self._site(self._op.node)
            return f"it went to {where}, which leads or was the next to ask, and the answer came from there"
        if any(reply.agreed is False for reply in replies):
            return (
                "the slow path: others knew of conflicting commands that the owner did not, so it asked twice"
            )
        if any(reply.agreed for reply in replies):
            return "the fast path: a fast quorum agreed with the owner, so one round trip was enough"
        told = self._commitment()
        if told is not None and told.fast is not None:
            return "the fast path" if told.fast else f"not the fast path: {told.reason or 'it says no more'}"
        return "one round of questions to a quorum, or as many as the protocol has"

    def _commitment(self) -> Commitment | None:
        """What the replica that was asked said of its commit, in the protocol's words."""
        commits = self._protocol.commits
        if commits is None:
            return None
        told = (
            commitment
            for seen in self._log.seen
            if seen.event is not None and seen.node == self._op.node
            for commitment in commits(seen.event)
        )
        return next((each for each in told if each.mark == self._mark), None)

    def _waited_for(self) -> Iterator[str]:
        """What came between the commit and the execution, at the replica that answered."""
        seen, node = self._log.seen, self._op.node
        turn = next(
            (s.turn for s in seen if s.kind == "apply" and s.node == node and s.mark == self._mark), None
        )
        if turn is None:
            return
        here = [each for each in seen if each.node == node and each.turn == turn]
        committed_s = next(s.at_s for s in here if s.kind == "apply") - self._lag_s
        for each in here:
            if each.kind == "receive":
                what = type(each.message).__name__
                who = "its own disk" if each.sender == node else self._site(each.sender)
                yield f"{what} of {who}, at {self._ms(each.at_s):g} ms, the last thing that was missing"
        sizes: list[Any] = [
            each.event.arguments["size"] for each in here if each.event and each.event.action == "component"
        ]
        if sizes:
            yield f"{max(sizes)} commands that depend on each other, and go together in one order"
        before = [each.mark for each in here if each.kind == "apply"]
        before = before[: before.index(self._mark)]
        if before:
            names = ", ".join(map(self._named, before[-_NAMED:]))
            more = f" and {len(before) - _NAMED} others" if len(before) > _NAMED else ""
            yield f"executed with it, and before it: {names}{more}"
        yield f"committed at {self._ms(committed_s):g} ms, executed at {self._ms(here[0].at_s):g} ms"

    # --- as a picture -------------------------------------------------------------------------------

    def _chart(self, mine: Sequence[_Seen]) -> Chart:
        lanes = (CLIENTS, *self._place.sites)
        op, rows = self._op, list[ChartEvent]()
        rows.append(ChartEvent("arrow", CLIENTS, f"0 ms {op.kind}", self._site(op.home)))
        for seen in mine:
            at, here = f"{self._ms(seen.at_s):g} ms", self._site(seen.node)
            if seen.kind == "receive":
                text = f"{at} {type(seen.message).__name__}"
                slot = getattr(seen.message, "slot", None)
                if slot is not None and slot != self._mark:
                    text += f" for slot {slot}"
                rows.append(ChartEvent("arrow", self._site(seen.sender), text, here))
            elif seen.kind == "event" and seen.event is not None:
                rows.append(ChartEvent("note", here, f"{at} {seen.event.action}"))
            elif seen.kind == "apply":
                rows.append(ChartEvent("decide", here, f"{at} executes {self._named(seen.mark)}"))
            elif seen.kind == "submit" and seen.node != op.home:
                rows.append(ChartEvent("note", here, f"{at} takes it"))
        end = f"{self._ms(op.return_s or 0.0):g} ms answer"
        rows.append(ChartEvent("arrow", self._site(op.node), end, CLIENTS))
        return Chart(
            lanes, tuple(rows), f"{self._cell.protocol}: {op.kind} {_text(op.name)} at {self._site(op.home)}"
        )


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
