"""Schedules that random search does not find: each breaks one rule turned the wrong way, and no other."""

from collections.abc import Callable
from typing import Any, Final

from tests.epaxos_barrier_model import Cluster
from tests.epaxos_commit_model import ACCEPTED, Broken, Command, Id, Rules, barrier, write

Op = tuple[Any, ...]


class Script:
    """A cluster that is led by hand: messages go where the script says, and nowhere else."""

    def __init__(self, n: int, f: int, e: int, rules: Rules) -> None:
        self.cluster = Cluster(n, f, e, rules)
        self.dead: set[int] = set()
        self.ops: list[Op] = []  # as epaxos_barrier_search does them

    def submit(self, node: int, command: Command) -> Id:
        self.ops.append(("submit", node, command))
        return self.cluster.submit(node, command)

    def carry(self, sort: str, inst: Id, source: int, target: int) -> None:
        """Deliver the newest such message, if there is one and nobody concerned is dead."""
        if target in self.dead:
            return
        self.ops.append(("deliver", sort, source, target, inst))
        for message in reversed(self.cluster.sent):
            if message[:4] == (sort, source, target, inst):
                self.cluster.deliver(message)
                return

    def restart(self, node: int) -> None:
        self.ops.append(("restart", node))
        self.cluster.restart(node)

    def slow(self, inst: Id) -> None:
        self.ops.append(("slow", inst[0], inst))
        self.cluster.slow_path(inst[0], inst)

    def preaccept(self, inst: Id, *others: int) -> None:
        """The owner's PreAccept goes to these, one after the other, and their answers come back."""
        self.ops.append(("persist", inst[0]))
        self.cluster.persist(inst[0])
        self.carry("preacceptok", inst, inst[0], inst[0])
        for other in others:
            self.carry("preaccept", inst, inst[0], other)
            self.carry("preacceptok", inst, other, inst[0])

    def commit(self, inst: Id, source: int, *targets: int) -> None:
        for target in targets:
            self.carry("commit", inst, source, target)

    def accept(self, inst: Id, source: int, *targets: int) -> None:
        """An Accept goes to these, and their answers come back."""
        for target in targets:
            self.carry("accept", inst, source, target)
            self.carry("acceptok", inst, target, source)

    def recover(self, inst: Id, source: int, *targets: int) -> None:
        """A recovery, with the answers of these."""
        self.ops.append(("recover", source, inst))
        self.cluster.recover(source, inst)
        for target in targets:
            self.carry("recover", inst, source, target)
        for target in targets:
            self.carry("recoverok", inst, target, source)

    def validate(self, inst: Id, source: int, *targets: int) -> None:
        for target in targets:
            self.carry("validate", inst, source, target)
        for target in targets:
            self.carry("validateok", inst, target, source)

    def execute(self, *nodes: int) -> None:
        """All that can be executed there is."""
        for node in nodes:
            while ready := self.cluster.components(node):
                self.ops.append(("execute", node, 0))
                self.cluster.execute(node, ready[0])

    def done(self, inst: Id, *nodes: int) -> None:
        """These tell each other that they executed a barrier durably."""
        for source in nodes:
            for target in nodes:
                self.carry("done", inst, source, target)

    def truncate(self, *nodes: int) -> None:
        for node in nodes:
            self.ops.append(("truncate", node, -1))
            self.cluster.truncate(node)

    def catch_up(self, inst: Id, source: int, target: int) -> None:
        """A snapshot, at that barrier, is installed."""
        self.ops.append(("catch up", source, target))
        self.cluster.send_snapshot(self.cluster.nodes[source], target)
        self.carry("snapshot", inst, source, target)

    def settle(self, *alive: int) -> None:
        """The rest of the cluster is dead; these recover everything and exchange all messages."""
        self.dead = set(range(self.cluster.n)) - set(alive)
        cluster = self.cluster
        for _ in range(6):
            at = 0
            while at < len(cluster.sent):
                message = cluster.sent[at]
                at += 1
                if message[1] not in self.dead and message[2] not in self.dead:
                    self.ops.append(("deliver", *message[:4]))
                    cluster.deliver(message)
            self.execute(*alive)
            open_ids = [
                inst
                for inst in sorted(cluster.submitted)
                if any(not self.known(node, inst) for node in alive)
            ]
            if not open_ids:
                cluster.converged(alive)
            for inst in open_ids:
                for node in alive:
                    if not self.known(node, inst):
                        self.ops.append(("recover", node, inst))
                        cluster.recover(node, inst)
                        break

    def known(self, node: int, inst: Id) -> bool:
        return self.cluster.committed(self.cluster.nodes[node], inst)


def index_reset(s: Script) -> None:
    """n = 3: a replica that executed a barrier forgets what came before it."""
    x = s.submit(1, write("x", "k"))
    s.preaccept(x, 0, 2)
    s.commit(x, 1, 0)
    b = s.submit(0, barrier("b"))
    s.preaccept(b, 1)
    s.commit(b, 0, 0, 1)
    s.commit(x, 1, 1)
    s.execute(0, 1)
    s.done(b, 0, 1)
    s.truncate(0, 1)
    y = s.submit(0, write("y", "k"))
    s.preaccept(y, 1)
    s.settle(1, 2)


def validation_blind(s: Script) -> None:
    """n = 5: what was truncated speaks against a recovery, and must be asked."""
    y = s.submit(0, write("y", "k"))
    s.preaccept(y, 1, 2)
    s.commit(y, 0, 0, 1)
    b = s.submit(1, barrier("b"))
    s.preaccept(b, 0, 4)
    s.preaccept(b, 3)
    s.commit(b, 1, 0, 1)
    s.execute(0, 1)
    s.done(b, 0, 1)
    s.truncate(0, 1)
    x = s.submit(3, write("x", "k"))
    s.preaccept(x, 4)
    s.dead = {3}
    s.recover(x, 4, 0, 1, 4)
    s.validate(x, 4, 0, 1, 4)
    s.accept(x, 4, 0, 1, 4)
    s.dead |= {0, 1}
    s.dead.discard(3)
    s.commit(x, 4, 4, 3)
    s.settle(2, 3, 4)


def late_validate(s: Script) -> None:
    """n = 3: a Validate that is delivered twice, once after the Accept."""
    y = s.submit(0, write("y", "k"))
    s.carry("preacceptok", y, 0, 0)
    s.carry("preaccept", y, 0, 1)
    z = s.submit(2, write("z", "k"))
    s.recover(y, 1, 1, 2)
    s.validate(y, 1, 1, 2)
    s.carry("recover", y, 1, 0)
    s.carry("recoverok", y, 0, 1)
    s.accept(y, 1, 1, 2)
    s.commit(y, 1, 1)
    s.carry("validate", y, 1, 2)
    del z
    s.settle(0, 2)


def fast_commit_lost(s: Script) -> None:
    """n = 3: an owner tells of its fast commit, and restarts without it."""
    y = s.submit(0, write("y", "k"))
    s.preaccept(y, 1)
    s.commit(y, 0, 1)
    s.restart(0)
    s.recover(y, 2, 0, 2)
    s.accept(y, 2, 0, 2)


def owner_forgets(s: Script) -> None:
    """n = 5: an owner sends its PreAccept, and restarts without a record of it."""
    y = s.submit(0, write("y", "k"))
    s.carry("preaccept", y, 0, 1)
    s.carry("preaccept", y, 0, 2)
    s.restart(0)
    x = s.submit(3, write("x", "k"))
    s.preaccept(x, 0, 4)
    s.settle(1, 2, 4)


def owner_counted(s: Script) -> None:
    """n = 5: a restarted owner counts like any other, also in what its recovery waits with."""
    y = s.submit(0, write("y", "k"))
    s.preaccept(y, 1)
    s.restart(0)
    x = s.submit(2, write("x", "k"))
    s.preaccept(x, 3, 4)
    s.recover(y, 1, 0, 1, 3)
    s.validate(y, 1, 0, 1, 3)
    s.recover(x, 3, 1, 3, 4)
    s.validate(x, 3, 1, 3, 4)
    s.carry("waiting", y, 1, 3)
    s.accept(x, 3, 1, 3, 4)
    s.settle(1, 3, 4)


def owner_resumes(s: Script) -> None:
    """n = 3: an owner proposed a union, restarts, and counts pre-acceptances again."""
    z = s.submit(2, write("z", "k"))
    y = s.submit(0, write("y", "k"))
    s.preaccept(y, 2)
    s.slow(y)
    s.carry("accept", y, 0, 2)
    s.restart(0)
    s.preaccept(y, 1)
    assert s.cluster.nodes[2].records[y].phase == ACCEPTED
    del z
    s.settle(1, 2)


def barrier_over(s: Script, *executing: int) -> tuple[Id, Id]:
    """n = 5: y commits fast at 0, 1, 2, known only where a barrier over it executes."""
    y = s.submit(0, write("y", "k"))
    s.preaccept(y, 1, 2)
    s.commit(y, 0, *executing)
    b = s.submit(1, barrier("b"))
    s.preaccept(b, 0, 4, 3)
    s.commit(b, 1, *executing)
    s.execute(*executing)
    s.done(b, *executing)
    s.truncate(*executing)
    return y, b


def no_floor(s: Script) -> None:
    """n = 5: what was truncated is forgotten in dependencies, though n - f executed the barrier."""
    barrier_over(s, 0, 1, 4)
    x = s.submit(3, write("x", "k"))
    s.preaccept(x, 0, 4)
    s.dead = {0, 3}
    s.recover(x, 4, 1, 2, 4)
    s.validate(x, 4, 1, 2, 4)
    s.accept(x, 4, 1, 2, 4)
    s.settle(1, 2, 4)


def gone_anew(s: Script) -> None:
    """n = 3: a replica is asked about an instance that it truncated."""
    y = s.submit(0, write("y", "k"))
    s.preaccept(y, 1)
    s.commit(y, 0, 0, 1)
    b = s.submit(0, barrier("b"))
    s.preaccept(b, 1)
    s.commit(b, 0, 0, 1)
    s.execute(0, 1)
    s.done(b, 0, 1)
    s.truncate(0, 1)
    s.settle(1, 2)


def exception(s: Script) -> tuple[Id, Id]:
    """n = 5: b over y over (2, 2); (2, 1), which does not conflict with y, comes after b. 4 knows little."""
    e = s.submit(2, write("e", "k"))
    g = s.submit(2, write("g", "l"))
    s.carry("preaccept", g, 2, 1)
    y = s.submit(1, write("y", "l"))
    s.preaccept(y, 0, 3)
    b = s.submit(0, barrier("b"))
    s.preaccept(b, 3, 4)
    s.preaccept(e, 0, 3)
    s.slow(e)
    s.accept(e, 2, 2, 0, 3)
    s.preaccept(g, 4)
    s.carry("preacceptok", g, 1, 2)
    s.slow(g)
    s.accept(g, 2, 2, 1, 4)
    for inst in (y, b, e, g):
        s.commit(inst, inst[0], 0, 1, 2, 3)
    return b, e


def exception_installed(s: Script) -> None:
    """n = 5: a snapshot is installed, of a barrier in a component, with an exception."""
    b, _ = exception(s)
    s.execute(0, 1, 2)
    s.done(b, 0, 1, 2)
    s.truncate(0, 1, 2)
    s.catch_up(b, 0, 4)
    s.settle(0, 1, 4)


def installed_early(s: Script) -> None:
    """n = 5: 2 pre-accepted y, and installs a snapshot that has it; with 2 it is on n - f disks."""
    y = s.submit(0, write("y", "k"))
    s.preaccept(y, 1, 2)
    s.commit(y, 0, 0, 1)
    b = s.submit(1, barrier("b"))
    s.preaccept(b, 0, 4, 3)
    s.commit(b, 1, 0, 1)
    s.execute(0, 1)
    s.catch_up(b, 0, 2)
    s.done(b, 0, 1)
    for target in (0, 1):
        s.carry("done", b, 2, target)
    s.truncate(0, 1)
    x = s.submit(3, write("x", "k"))
    s.preaccept(x, 4)
    s.dead = {3}
    s.recover(x, 4, 0, 1, 4)
    s.validate(x, 4, 0, 1, 4)
    s.accept(x, 4, 0, 1, 4)
    s.commit(x, 4, 4)
    s.dead = {0, 1}
    s.recover(y, 4, 2, 3, 4)
    s.validate(y, 4, 2, 3, 4)
    s.accept(y, 4, 2, 3, 4)
    s.settle(2, 3, 4)


#: All ways of doing it, by name.
RULES: Final[dict[str, Rules]] = {
    "floor": Rules(),
    "floor, late": Rules(early_floor=False),
    "index for ever": Rules(truncate="now", remember="index"),
    "layers": Rules(truncate="now", remember="layers"),
    "unrecorded numbers": Rules(own_first=False),
    "restarted owner waits less": Rules(restarted_owner=True, waits_less=True, fast_durable=False),
    "unstable snapshots": Rules(install="answer"),
    # and the mistakes
    "installed and asked": Rules(install="keep"),
    "index reset": Rules(truncate="now", remember="barrier"),
    "validation blind": Rules(truncate="now", remember="index", validate_gone=False),
    "late Validate": Rules(validate_late=True),
    "fast commit lost": Rules(fast_durable=False),
    "owner forgets": Rules(own_first=False, lost_numbers=False),
    "restarted owner counts": Rules(restarted_owner=True),
    "owner resumes": Rules(resume=True),
    "floor without n - f": Rules(truncate="now", remember="floor"),
    "n - f without floor": Rules(remember="barrier"),
    "flat index": Rules(truncate="now", remember="flat"),
    "cut inside": Rules(cut="inside"),
    "exceptions lost": Rules(exceptions=False),
    "gone by deps": Rules(gone_by="deps", early_floor=False),
    "gone anew": Rules(answer_gone=False),
    "no-op forgotten": Rules(nop_conflicts=False),
}

#: Which of them hold.
SOUND: Final = (
    "floor",
    "floor, late",
    "index for ever",
    "layers",
    "unrecorded numbers",
    "unstable snapshots",
)

#: The script for a mistake, n, f, e, and the invariant that it breaks.
SCRIPTS: Final[dict[str, tuple[Callable[[Script], None], int, int, int, str]]] = {
    "index reset": (index_reset, 3, 1, 1, "Agreement"),
    "validation blind": (validation_blind, 5, 2, 2, "Visibility"),
    "late Validate": (late_validate, 3, 1, 1, "Agreement"),
    "fast commit lost": (fast_commit_lost, 3, 1, 1, "Agreement"),
    "owner forgets": (owner_forgets, 5, 2, 2, "Agreement"),
    "restarted owner counts": (owner_counted, 5, 2, 2, "Agreement"),
    "installed and asked": (installed_early, 5, 2, 2, "Agreement"),
    "owner resumes": (owner_resumes, 3, 1, 1, "Agreement"),
    "floor without n - f": (validation_blind, 5, 2, 2, "Agreement"),
    "n - f without floor": (no_floor, 5, 2, 2, "Agreement"),
    "gone anew": (gone_anew, 3, 1, 1, "Agreement"),
    "exceptions lost": (exception_installed, 5, 2, 2, "Converged"),
    "gone by deps": (exception_installed, 5, 2, 2, "ExecutedOnce"),
    "cut inside": (exception_installed, 5, 2, 2, "ExecutionOrder"),
}


def play(name: str, rules: Rules) -> tuple[Script, str]:
    """The script for a mistake, under these rules: how it went, and what it broke, or nothing."""
    script, n, f, e, _ = SCRIPTS[name]
    played = Script(n, f, e, rules)
    try:
        script(played)
    except Broken as broken:
        return played, str(broken)
    return played, ""


def recorded() -> list[tuple[int, int, int, list[Op]]]:
    """The scripts as schedules: n, f, e, and what is done under the rules that they break."""
    return [(*SCRIPTS[name][1:4], play(name, RULES[name])[0].ops) for name in SCRIPTS]
