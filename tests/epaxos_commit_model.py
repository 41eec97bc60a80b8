"""Commit and recovery of EPaxos as a small state machine, to be broken before it is built.

A cluster is one object, a message is a tuple in a list, a handler is a method, and every invariant is looked
at whenever something is decided or executed.  What the published protocol does not say is a switch (`Rules`):
how instances are truncated, what is remembered of them, what is durable when.  The rules as they are to be
built hold in every schedule that was tried; each switch turned the wrong way is broken by a script in
`epaxos_barrier_scripts`, which is how one knows that this model can fail.  Execution and barriers are in
`epaxos_barrier_model`.

Replicas are 0..n-1, an instance is (owner, number), dependencies are a number per replica.  Messages stay in
`sent`, and may be delivered again.  A disk is never behind, but where a switch says so.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import attrs

Id = tuple[int, int]
Deps = tuple[int, ...]

INITIAL, PREACCEPTED, ACCEPTED, COMMITTED = range(4)


class Broken(AssertionError):
    """An invariant does not hold; its name comes first."""


class Command(NamedTuple):
    """What is submitted: keys read and written, or everything."""

    name: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    everything: bool = False  # footprint ALL
    barrier: bool = False

    def conflicts(self, other: "Command") -> bool:
        if self is NOP or other is NOP:
            return False
        if self.everything or other.everything:
            return True
        return bool(self.writes & (other.reads | other.writes) or self.reads & other.writes)


NOP = Command("nop")


def write(name: str, *keys: str) -> Command:
    return Command(name, writes=frozenset(keys))


def read(name: str, *keys: str) -> Command:
    return Command(name, reads=frozenset(keys))


def barrier(name: str) -> Command:
    return Command(name, everything=True, barrier=True)


@attrs.frozen
class Rules:
    """How it is done; the defaults are how it is to be built.

    Args:
        truncate: "late": once n - f members executed the barrier durably.  "now": as soon as it was executed.
        remember: what is remembered of truncated instances.  "floor": the floor joins all dependencies.
            "index": the numbers of executed readers and writers of each key, for ever.  "layers": the same,
            one index for each cut, which n - f replace by the floor.  "flat": the same in one index, of which
            what is at or below the floor is replaced.  "barrier": only the barrier.
        install: which snapshots are sent, and what becomes of records that they cover.  "stable": only those
            truncated to.  The others send any: "keep" goes on with the records as they are, "answer" keeps
            them for the sake of other instances, and answers about them with the snapshot.
        early_floor: with "floor": who executed a barrier joins its floor at once.
        validate_gone: whether a validation looks at what was truncated.
        exceptions: whether what is below the floor and outside of the closure is kept.
        gone_by: "floor" or "deps", those of the barrier.
        cut: "component" or "inside", just after the first barrier of the component.
        answer_gone: whether messages about a gone instance are answered with a snapshot.
        own_first: the owner's record is on its disk before its PreAccept leaves.
        lost_numbers: numbers that a restarted owner finds no record of conflict with everything.
        fast_durable: the owner's fast commit is on its disk before it is sent.
        restarted_owner: the alternative: a restarted owner says so, and counts like any other.
        waits_less: with that, an owner is not counted in what a recovery waits with.
        resume: a restarted owner goes on with its ballot 0.
        validate_late: a Validate is taken after an Accept, too.
        nop_conflicts: an accepted no-op conflicts with everything until it is committed.
    """

    truncate: str = "late"
    remember: str = "floor"
    install: str = "stable"
    early_floor: bool = True
    validate_gone: bool = True
    exceptions: bool = True
    gone_by: str = "floor"
    cut: str = "component"
    answer_gone: bool = True
    own_first: bool = True
    lost_numbers: bool = True
    fast_durable: bool = True
    restarted_owner: bool = False
    waits_less: bool = False
    resume: bool = False
    validate_late: bool = False
    nop_conflicts: bool = True


@attrs.define
class Record:
    """What a replica knows of an instance."""

    phase: int = INITIAL
    bal: int = 0
    abal: int = -1
    cmd: Command | None = None
    deps: Deps = ()
    icmd: Command | None = None
    ideps: Deps = ()


@attrs.define
class Work:
    """What a replica is about to have committed."""

    stage: str
    bal: int
    cmd: Command
    deps: Deps
    got: dict[int, Any] = attrs.field(factory=dict)
    asked: frozenset[int] = frozenset()
    strong: int = 0
    against: dict[Id | None, bool] = attrs.field(factory=dict)


@attrs.frozen
class Snapshot:
    """The state at a cut, and all that must go with it."""

    barrier: Id
    record: tuple[Command, Deps]
    order: tuple[Id, ...]  # what was executed, in this order
    commands: tuple[Command, ...]
    floor: Deps
    exceptions: tuple[tuple[Id, Command, Deps], ...] = ()
    index: tuple[tuple[Id, tuple[tuple[Any, int], ...]], ...] = ()
    joined: Deps = ()


class Node:
    """What one replica holds."""

    def __init__(self, me: int, n: int) -> None:
        self.me = me
        self.used = 0
        self.records: dict[Id, Record] = {}
        self.soft: dict[Id, Record | None] = {}  # what the disk holds, where it is behind
        self.lost = (
            0  # the own numbers used in earlier lives; what is not known of may have been pre-accepted
        )
        self.restarted: set[Id] = set()  # instances pre-accepted in an earlier life
        self.work: dict[Id, Work] = {}
        self.waiting: dict[Id, int] = {}  # what others wait with
        self.order: list[Id] = []
        self.executed: set[Id] = (
            set()
        )  # all that ever was, here or in a snapshot: what truth is compared with
        self.ran: set[Id] = set()  # of what there is a record of; the rest is gone
        self.commands: dict[Id, Command] = {}  # of what was executed
        self.snapshots: list[Snapshot] = []  # taken, not truncated to yet
        self.done: dict[Id, set[int]] = {}  # who executed a barrier durably
        self.base: Snapshot | None = None  # the snapshot truncated to
        self.floor: Deps = (0,) * n
        self.installed: Snapshot | None = None  # one that is not stable yet
        self.joined: Deps = (0,) * n
        self.index: list[tuple[Id, dict[Any, int]]] = []  # a layer per cut, the oldest first


def joined(a: Deps, b: Deps) -> Deps:
    return tuple(map(max, a, b))


def within(inst: Id, deps: Deps) -> bool:
    return inst[1] <= deps[inst[0]]


def classes(command: Command, rank: int) -> Iterable[tuple[str, str, int]]:
    """Where the executed index has a command of that replica."""
    if command.everything:
        yield "all", "", rank
    for key in command.reads:
        yield "read", key, rank
    for key in command.writes:
        yield "write", key, rank


def touches(command: Command, kind: str, key: str) -> bool:
    """Whether a command conflicts with what stands in that place of the index."""
    if kind == "all" or command.everything:
        return True
    return key in command.writes or (kind == "write" and key in command.reads)


class Commits:
    """All replicas, the messages between them, and what is true of them together."""

    def __init__(self, n: int, f: int, e: int, rules: Rules | None = None) -> None:
        assert e <= f
        assert n >= max(2 * f + 1, 2 * e + f - 1)
        self.n, self.f, self.e = n, f, e
        self.rules = rules or Rules()
        self.nodes = [Node(me, n) for me in range(n)]
        self.sent: list[tuple[Any, ...]] = []  # (sort, source, target, inst, ...)
        self.known: set[tuple[Any, ...]] = set()
        self.ballots: dict[Id, int] = {}
        self.decided: dict[Id, tuple[Command, Deps]] = {}
        self.before: set[tuple[Id, Id]] = set()  # conflicting pairs, as somebody executed them
        self.cuts: dict[Id, frozenset[Id]] = {}
        self.answered: dict[Id, int] = {}  # executed somewhere: when
        self.submitted: dict[Id, int] = {}
        self.clock = 0
        self.probes: dict[str, int] = {}
        self.zero: Deps = (0,) * n
        self.enough = n - f  # so many answers are waited for before a recovery decides: as many or more

    # --- messages -------------------------------------------------------------------------------------

    def send(self, sort: str, source: int, target: int, inst: Id, *content: Any) -> None:
        message = (sort, source, target, inst, *content)
        if message not in self.known:
            self.known.add(message)
            self.sent.append(message)

    def tell(self, sort: str, source: int, inst: Id, *content: Any) -> None:
        for target in range(self.n):
            self.send(sort, source, target, inst, *content)

    def deliver(self, message: tuple[Any, ...]) -> None:
        sort, source, target, inst = message[:4]
        node = self.nodes[target]
        asked = sort in ("preaccept", "accept", "recover", "validate")
        gone = self.gone(node, inst) or (
            asked and self.rules.install == "answer" and self.covered(node, inst)
        )
        if gone and sort not in ("snapshot", "done", "waiting"):
            if asked:
                self.send_snapshot(node, source)
            return
        getattr(self, f"on_{sort}")(node, source, inst, *message[4:])

    def send_snapshot(self, node: Node, target: int) -> None:
        """Answer what concerns a gone instance; here nothing is ever gone."""

    def probe(self, name: str) -> None:
        self.probes[name] = self.probes.get(name, 0) + 1

    # --- what a replica knows -------------------------------------------------------------------------

    def record(self, node: Node, inst: Id) -> Record:
        found = node.records.get(inst)
        if found is None:
            found = node.records[inst] = Record(deps=self.zero, ideps=self.zero)
        return found

    def gone(self, node: Node, inst: Id) -> bool:
        if not self.rules.answer_gone:
            return False
        return within(inst, node.floor) and inst not in node.records

    def covered(self, node: Node, inst: Id) -> bool:
        """Whether an installed snapshot that is not stable yet has it, and its commit is not known here."""
        taken, found = node.installed, node.records.get(inst)
        if taken is None or not within(inst, taken.floor):
            return False
        return found is None or found.phase != COMMITTED

    def committed(self, node: Node, inst: Id) -> bool:
        found = node.records.get(inst)
        if node.installed is not None and self.covered(node, inst):
            return True
        return found.phase == COMMITTED if found is not None else within(inst, node.floor)

    def conflicts(self, node: Node, inst: Id, command: Command) -> Deps:
        """The dependencies of a command, as far as it is known here."""
        deps = list(node.joined)
        for other, record in node.records.items():
            if other[1] > deps[other[0]] and other != inst and record.cmd is not None:
                if record.cmd is NOP:
                    counts = record.phase != COMMITTED and self.rules.nop_conflicts
                else:
                    counts = record.cmd.conflicts(command)
                if counts:
                    deps[other[0]] = other[1]
        for _, layer in node.index:
            for (kind, key, rank), number in layer.items():
                if number > deps[rank] and touches(command, kind, key):
                    deps[rank] = number
        for number in range(deps[node.me] + 1, node.lost + 1):
            other = (node.me, number)
            own = node.records.get(other)
            if other != inst and (own.cmd is None if own is not None else not within(other, node.floor)):
                deps[node.me] = number
        return tuple(deps)

    def objects(self, node: Node, command: Command, deps: Deps) -> bool:
        """Whether something truncated here conflicts with the command and is not in the dependencies."""
        for _, layer in node.index:
            for (kind, key, rank), number in layer.items():
                if number > deps[rank] and touches(command, kind, key):
                    return True
        last = node.installed or node.base
        return last is not None and not within(last.barrier, deps)

    # --- owners ---------------------------------------------------------------------------------------

    def submit(self, me: int, command: Command) -> Id:
        node = self.nodes[me]
        node.used += 1
        inst = (me, node.used)
        deps = self.conflicts(node, inst, command)
        if command.barrier:
            deps = joined(deps, tuple(node.used - 1 if rank == me else 0 for rank in range(self.n)))
        if not self.rules.own_first:
            node.soft[inst] = None
        node.records[inst] = Record(PREACCEPTED, 0, -1, command, deps, command, deps)
        node.work[inst] = Work("preaccepting", 0, command, deps)
        self.clock += 1
        self.submitted[inst] = self.clock
        self.tell("preaccept", me, inst, command, deps)
        if self.rules.own_first:
            self.send("preacceptok", me, me, inst, deps)
        return inst

    def persist(self, me: int) -> None:
        """The disk of a replica catches up."""
        node = self.nodes[me]
        for inst in sorted(node.soft):
            if inst[0] == me and node.records[inst].phase == PREACCEPTED:
                self.send("preacceptok", me, me, inst, node.records[inst].deps)
        node.soft.clear()

    def on_preaccept(self, node: Node, source: int, inst: Id, command: Command, deps: Deps) -> None:
        record = self.record(node, inst)
        if record.bal or record.phase not in (INITIAL, PREACCEPTED) or node.me == inst[0]:
            return
        if record.phase == INITIAL:
            found = joined(deps, self.conflicts(node, inst, command))
            record.phase, record.cmd, record.deps = PREACCEPTED, command, found
            record.icmd, record.ideps = command, deps
        self.send("preacceptok", node.me, source, inst, record.deps)

    def on_preacceptok(self, node: Node, source: int, inst: Id, deps: Deps) -> None:
        work = self.stands(node, inst, "preaccepting", 0)
        if work is None:
            return
        work.got[source] = deps
        same = sum(each == work.deps for each in work.got.values())
        if node.me in work.got and same >= self.n - self.e:
            self.probe("fast")
            del node.work[inst]
            record = node.records[inst]
            if not self.rules.fast_durable:
                node.soft[inst] = attrs.evolve(record)
            record.phase = COMMITTED
            self.decide(inst, work.cmd, work.deps)
            self.tell("commit", node.me, inst, work.cmd, work.deps)

    def slow_path(self, me: int, inst: Id) -> None:
        node = self.nodes[me]
        work = self.stands(node, inst, "preaccepting", 0)
        if work is not None and me in work.got and len(work.got) >= self.n - self.f:
            self.probe("slow")
            deps = work.deps
            for each in work.got.values():
                deps = joined(deps, each)
            self.propose(node, inst, work.cmd, deps)

    def stands(self, node: Node, inst: Id, stage: str, bal: int) -> Work | None:
        work = node.work.get(inst)
        if work is None or work.stage != stage or work.bal != bal:
            return None
        record = self.record(node, inst)
        return None if record.bal > bal or record.phase == COMMITTED else work

    def propose(self, node: Node, inst: Id, command: Command, deps: Deps) -> None:
        work = node.work[inst] = Work("accepting", node.work[inst].bal, command, deps)
        if command is NOP:
            self.probe("nop")
        self.tell("accept", node.me, inst, work.bal, command, deps)

    def on_accept(self, node: Node, source: int, inst: Id, bal: int, command: Command, deps: Deps) -> None:
        record = self.record(node, inst)
        if record.phase == COMMITTED:
            self.send("commit", node.me, source, inst, record.cmd, record.deps)
        elif record.bal <= bal:
            record.phase, record.bal, record.abal, record.cmd, record.deps = ACCEPTED, bal, bal, command, deps
            node.soft.pop(inst, None)
            self.send("acceptok", node.me, source, inst, bal)

    def on_acceptok(self, node: Node, source: int, inst: Id, bal: int) -> None:
        work = node.work.get(inst)
        if work is None or work.stage != "accepting" or work.bal != bal:
            return
        work.got[source] = True
        if len(work.got) >= self.n - self.f:
            del node.work[inst]
            self.decide(inst, work.cmd, work.deps)
            self.tell("commit", node.me, inst, work.cmd, work.deps)

    def on_commit(self, node: Node, source: int, inst: Id, command: Command, deps: Deps) -> None:
        record = self.record(node, inst)
        if record.phase != COMMITTED:
            record.phase, record.cmd, record.deps = COMMITTED, command, deps
            node.work.pop(inst, None)
            node.soft.pop(inst, None)
            self.look_at_waits(node)

    # --- recovery -------------------------------------------------------------------------------------

    def recover(self, me: int, inst: Id) -> None:
        node = self.nodes[me]
        if self.committed(node, inst):
            return
        bal = self.ballots[inst] = self.ballots.get(inst, 0) + 1
        node.work[inst] = Work("recovering", bal, NOP, self.zero)
        self.probe("recovery")
        self.tell("recover", me, inst, bal)

    def on_recover(self, node: Node, source: int, inst: Id, bal: int) -> None:
        record = self.record(node, inst)
        if record.phase == COMMITTED:
            self.send("commit", node.me, source, inst, record.cmd, record.deps)
        elif record.bal < bal:
            record.bal = bal
            node.soft.pop(inst, None)
            own = inst[0] == node.me and self.rules.restarted_owner and inst in node.restarted
            answer = (record.abal, record.cmd, record.deps, record.icmd, record.ideps, record.phase, own)
            self.send("recoverok", node.me, source, inst, bal, *answer)

    def on_recoverok(self, node: Node, source: int, inst: Id, bal: int, *answer: Any) -> None:
        work = self.stands(node, inst, "recovering", bal)
        if work is not None:
            work.got[source] = answer
            if len(work.got) >= self.enough:
                self.decide_recovery(node, inst, work)
            return
        work = self.stands(node, inst, "waiting", bal)
        if work is not None and source not in work.asked:
            if answer[5] == ACCEPTED:
                self.propose(node, inst, answer[1], answer[2])
            elif source == inst[0] and not answer[6]:
                self.propose(node, inst, NOP, self.zero)

    def decide_recovery(self, node: Node, inst: Id, work: Work) -> None:
        accepted = [answer for answer in work.got.values() if answer[5] == ACCEPTED]
        if accepted:
            best = max(accepted, key=lambda answer: answer[0])
            self.propose(node, inst, best[1], best[2])
            return
        if inst[0] in work.got and not work.got[inst[0]][6]:
            self.propose(node, inst, NOP, self.zero)
            return
        strong = [each for each in work.got.values() if each[5] == PREACCEPTED and each[2] == each[4]]
        if len(strong) < len(work.got) - self.e:
            self.propose(node, inst, NOP, self.zero)
            return
        self.probe("validation")
        command, deps, asked = strong[0][3], strong[0][4], frozenset(work.got)
        node.work[inst] = Work("validating", work.bal, command, deps, asked=asked, strong=len(strong))
        for target in sorted(asked):
            self.send("validate", node.me, target, inst, work.bal, command, deps)

    def on_validate(self, node: Node, source: int, inst: Id, bal: int, command: Command, deps: Deps) -> None:
        record = self.record(node, inst)
        if record.phase == COMMITTED:
            self.send("commit", node.me, source, inst, record.cmd, record.deps)
            return
        if record.bal != bal or (record.phase == ACCEPTED and not self.rules.validate_late):
            return
        record.cmd, record.icmd, record.ideps = command, command, deps
        against: list[tuple[Id | None, bool]] = []
        for other, each in sorted(node.records.items()):
            if other == inst or within(other, deps):
                continue
            if each.phase == COMMITTED:
                assert each.cmd is not None
                if each.cmd.conflicts(command) and not within(inst, each.deps):
                    against.append((other, True))
            elif each.icmd is not None and each.icmd.conflicts(command) and not within(inst, each.ideps):
                against.append((other, False))
        if self.rules.validate_gone and self.objects(node, command, deps):
            against.append((None, True))
        self.send("validateok", node.me, source, inst, bal, tuple(against))

    def on_validateok(
        self, node: Node, source: int, inst: Id, bal: int, against: tuple[tuple[Id | None, bool], ...]
    ) -> None:
        work = self.stands(node, inst, "validating", bal)
        if work is None or source not in work.asked:
            return
        work.got[source] = True
        for other, committed in against:
            work.against[other] = work.against.get(other, False) or committed
        if work.asked - work.got.keys():
            return
        outside = any(other is not None and other[0] not in work.asked for other in work.against)
        if not work.against:
            self.probe("validated")
            self.propose(node, inst, work.cmd, work.deps)
        elif any(work.against.values()) or (work.strong == len(work.asked) - self.e and outside):
            self.propose(node, inst, NOP, self.zero)
        else:
            self.probe("wait")
            work.stage = "waiting"
            told = work.strong - (self.rules.waits_less and inst[0] in work.asked)
            self.tell("waiting", node.me, inst, told)
            self.look_at_waits(node)

    def on_waiting(self, node: Node, source: int, inst: Id, strong: int) -> None:
        node.waiting[inst] = max(node.waiting.get(inst, 0), strong)
        self.look_at_waits(node)

    def look_at_waits(self, node: Node) -> None:
        for inst in sorted(node.work):
            work = node.work.get(inst)
            if work is not None and work.stage == "waiting" and self.stands(node, inst, "waiting", work.bal):
                self.look_at_wait(node, inst, work)

    def look_at_wait(self, node: Node, inst: Id, work: Work) -> None:
        fits = 0
        for other in work.against:
            assert other is not None
            record = node.records.get(other)
            covered = self.rules.install != "answer" and self.covered(node, other)
            if (record is None and self.gone(node, other)) or covered:
                if node.installed is not None and self.rules.install == "answer":
                    continue  # not before the cut is stable
                if self.objects(node, work.cmd, work.deps):
                    self.propose(node, inst, NOP, self.zero)
                    return
                fits += 1
            elif record is not None and record.phase == COMMITTED:
                if record.cmd is not NOP and not within(inst, record.deps):
                    self.propose(node, inst, NOP, self.zero)
                    return
                fits += 1
            elif node.waiting.get(other, 0) > self.n - self.f - self.e:
                self.probe("yield")
                self.propose(node, inst, NOP, self.zero)
                return
        if fits == len(work.against):
            self.probe("resolved")
            self.propose(node, inst, work.cmd, work.deps)

    # --- crashes --------------------------------------------------------------------------------------

    def restart(self, me: int) -> None:
        node = self.nodes[me]
        for inst, record in node.soft.items():
            if record is None:
                del node.records[inst]
            else:
                node.records[inst] = record
                node.executed.discard(inst)
                node.ran.discard(inst)
        if node.soft:
            node.order = [inst for inst in node.order if inst in node.executed]
        node.soft.clear()
        node.work.clear()
        node.waiting.clear()
        own = [(me, number) for number in range(1, node.used + 1)]
        if self.rules.lost_numbers:
            node.lost = node.used
        for inst in own:
            record = node.records.get(inst)
            if record is not None and record.phase == PREACCEPTED and record.icmd is not None:
                node.restarted.add(inst)
                if self.rules.resume and record.bal == 0:
                    node.work[inst] = Work("preaccepting", 0, record.icmd, record.ideps, {me: record.deps})

    # --- what must hold -------------------------------------------------------------------------------

    def decide(self, inst: Id, command: Command, deps: Deps) -> None:
        found = self.decided.get(inst)
        if found is not None:
            if found != (command, deps):
                raise Broken(f"Agreement: {inst} is {found[0].name} {found[1]} and {command.name} {deps}")
            return
        for other, (each, others) in self.decided.items():
            if not command.conflicts(each) or within(other, deps) or within(inst, others):
                continue
            if not (self.behind(other, inst, deps) or self.behind(inst, other, others)):
                raise Broken(f"Visibility: {command.name} {inst} {deps} and {each.name} {other} {others}")
            self.probe("seen through a barrier")
        self.decided[inst] = (command, deps)

    def behind(self, inst: Id, other: Id, deps: Deps) -> bool:
        """Whether `other` with these dependencies comes after `inst` because of a barrier between them."""
        if self.rules.remember == "index":
            return False
        return any(within(each, deps) and inst in cut and other not in cut for each, cut in self.cuts.items())
