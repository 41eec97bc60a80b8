"""Random schedules for the barrier model, and schedules near those that are known to break something.

    python -m tests.epaxos_barrier_search --schedules 100000 --rules floor --nodes 5

Each schedule ends with f replicas dead for good: the others recover all that is open and must come to the
same end, which is where most of what went wrong before shows.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.epaxos_barrier_model import Cluster
from tests.epaxos_commit_model import Broken, Command, Id, Rules, barrier, read, write

Op = tuple[Any, ...]

SIZES: Final[dict[int, tuple[int, int]]] = {3: (1, 1), 4: (1, 1), 5: (2, 2), 7: (3, 2)}


class Walk:
    """One schedule: operations as they were done, so that it can be done again or nearly so."""

    def __init__(self, n: int, rules: Rules, draw: random.Random, f: int = 0, e: int = 0) -> None:
        self.draw = draw
        if not f:
            f, e = SIZES[n]
        self.cluster = Cluster(n, f, e, rules)
        self.ops: list[Op] = []
        self.commands = 0
        self.dead: set[int] = set()
        self.cut_off: set[tuple[int, int]] = set()
        self.fresh = 0  # where the messages begin that were not delivered in order yet

    # --- operations -----------------------------------------------------------------------------------

    def do(self, op: Op) -> None:
        """Do what can be done of it; the rest of a changed schedule may not fit."""
        self.ops.append(op)
        cluster = self.cluster
        kind, *rest = op
        if kind == "deliver":
            for message in reversed(cluster.sent):
                if message[:4] == op[1:5]:
                    if message[1] not in self.dead and message[2] not in self.dead:
                        cluster.deliver(message)
                    return
        elif kind == "submit":
            cluster.submit(rest[0], rest[1])
        elif kind == "execute":
            ready = cluster.components(rest[0])
            if ready:
                cluster.execute(rest[0], ready[rest[1] % len(ready)])
        elif kind == "recover":
            if rest[1] in cluster.submitted:
                cluster.recover(rest[0], rest[1])
        elif kind == "slow":
            cluster.slow_path(rest[0], rest[1])
        elif kind == "truncate":
            cluster.truncate(rest[0], rest[1] if len(cluster.nodes[rest[0]].snapshots) > -rest[1] - 1 else -1)
        elif kind == "restart":
            cluster.restart(rest[0])
        elif kind == "persist":
            cluster.persist(rest[0])
        elif kind == "catch up":
            cluster.send_snapshot(cluster.nodes[rest[0]], rest[1])
        elif kind == "enough":
            cluster.enough = rest[0]
        elif kind == "converged":
            if all(self.everywhere(inst, rest) for inst in cluster.submitted):
                cluster.converged(rest)

    def command(self) -> Command:
        self.commands += 1
        name = f"c{self.commands}"
        at = self.draw.random()
        if at < 0.3:
            return barrier(name)
        if at < 0.35:
            return Command(name, everything=True)
        if at < 0.45:
            return read(name, self.draw.choice("ab"))
        if at < 0.55:
            return write(name, "a", "b")
        return write(name, self.draw.choice("aab"))

    def random_op(self, weights: dict[str, float], most: int) -> None:
        draw, cluster = self.draw, self.cluster
        n = cluster.n
        kind = draw.choices(list(weights), list(weights.values()))[0]
        if kind == "submit":
            if self.commands < most:
                self.do(("submit", draw.randrange(n), self.command()))
        elif kind == "deliver":
            if cluster.sent:
                self.do(("deliver", *self.pick()[:4]))
        elif kind == "stream":
            self.stream(draw.randrange(1, 12))
        elif kind == "recover":
            if cluster.submitted:
                self.do(("recover", draw.randrange(n), draw.choice(list(cluster.submitted))))
        elif kind == "slow":
            if cluster.submitted:
                inst = draw.choice(list(cluster.submitted))
                self.do(("slow", inst[0], inst))
        elif kind == "truncate":
            self.do(("truncate", draw.randrange(n), draw.choice((-1, -1, -2))))
        elif kind == "catch up":
            self.do(("catch up", draw.randrange(n), draw.randrange(n)))
        elif kind == "execute":
            node = draw.randrange(n)
            for _ in range(draw.choice((1, 1, 5))):
                self.do(("execute", node, draw.randrange(3)))
        elif kind == "links":
            self.cut_off = {
                (a, b) for a in range(n) for b in range(n) if a != b and draw.random() < weights["links"] * 4
            }
        elif kind == "calm":
            self.calm()
        elif kind == "enough":
            self.do(("enough", draw.randrange(n - cluster.f, n + 1)))
        else:
            self.do((kind, draw.randrange(n)))

    def pick(self) -> tuple[Any, ...]:
        """A message: mostly a new one."""
        sent, draw = self.cluster.sent, self.draw
        if draw.random() < 0.9:
            at = len(sent) - 1 - int(draw.expovariate(1 / 6))
            return sent[max(at, 0)]
        return draw.choice(sent)

    def stream(self, count: int) -> None:
        """Messages in the order in which they were sent, where links are up; what is not carried is lost."""
        sent = self.cluster.sent
        while count and self.fresh < len(sent):
            message = sent[self.fresh]
            self.fresh += 1
            if (message[1], message[2]) not in self.cut_off:
                self.do(("deliver", *message[:4]))
                count -= 1

    def calm(self) -> None:
        """Some replicas hear of all that was sent lately, execute what they can, and perhaps truncate."""
        draw, cluster = self.draw, self.cluster
        group = set(draw.sample(range(cluster.n), draw.randrange(2, cluster.n + 1)))
        at = max(0, len(cluster.sent) - draw.choice((20, 80)))
        most = len(cluster.sent) + 200
        while at < min(len(cluster.sent), most):
            message = cluster.sent[at]
            at += 1
            if message[1] in group and message[2] in group:
                self.do(("deliver", *message[:4]))
        truncating = draw.random() < 0.7
        for node in sorted(group):
            for _ in range(20):
                if not cluster.components(node):
                    break
                self.do(("execute", node, draw.randrange(3)))
        for source in sorted(group):
            for message in [each for each in cluster.sent[at:] if each[0] == "done" and each[1] == source]:
                if message[2] in group:
                    self.do(("deliver", *message[:4]))
        if truncating:
            for node in sorted(group):
                if draw.random() < 0.7:
                    self.do(("truncate", node, -1))

    def settle(self, rounds: int = 5) -> None:
        """f replicas die for good; the others recover all that is open."""
        draw, cluster = self.draw, self.cluster
        alive = sorted(draw.sample(range(cluster.n), cluster.n - cluster.f))
        self.dead = set(range(cluster.n)) - set(alive)
        self.cut_off = set()
        cluster.enough = cluster.n - cluster.f
        for _ in range(rounds):
            at = max(0, len(cluster.sent) - 300)
            while at < len(cluster.sent):
                message = cluster.sent[at]
                at += 1
                if message[1] not in self.dead and message[2] not in self.dead:
                    self.ops.append(("deliver", *message[:4]))
                    cluster.deliver(message)
            for node in alive:
                for _ in range(40):
                    if not cluster.components(node):
                        break
                    self.do(("execute", node, 0))
            open_ids = [inst for inst in cluster.submitted if not self.everywhere(inst, alive)]
            if not open_ids:
                self.do(("converged", *alive))
                return
            draw.shuffle(open_ids)
            for inst in open_ids:
                asker = draw.choice(
                    [each for each in alive if not cluster.committed(cluster.nodes[each], inst)]
                )
                self.do(("recover", asker, inst))
        self.cluster.probe("unsettled")

    def everywhere(self, inst: Id, alive: Sequence[int]) -> bool:
        return all(self.cluster.committed(self.cluster.nodes[each], inst) for each in alive)


def walk_at_random(n: int, rules: Rules, seed: int, steps: int = 120) -> Walk:
    """A schedule from nothing: with weights that differ from schedule to schedule."""
    draw = random.Random(seed)
    walk = Walk(n, rules, draw)
    weights = {
        "submit": 0.5 + draw.random(),
        "deliver": draw.choice((1.0, 4.0, 8.0)),
        "stream": draw.choice((1.0, 3.0)),
        "calm": draw.choice((0.1, 0.5, 1.0)),
        "recover": draw.choice((0.05, 0.3, 0.8)),
        "slow": draw.choice((0.1, 1.0)),
        "execute": 1.0 + 2 * draw.random(),
        "truncate": draw.choice((0.3, 1.0)),
        "restart": draw.choice((0.0, 0.1, 0.3)),
        "persist": 0.5,
        "catch up": draw.choice((0.0, 0.2)),
        "links": draw.choice((0.0, 0.05, 0.1)),
        "enough": draw.choice((0.0, 0.1)),
    }
    most = draw.randrange(3, 9)
    _run(walk, lambda: _random_part(walk, weights, most, draw.randrange(20, steps)))
    return walk


def _random_part(walk: Walk, weights: dict[str, float], most: int, steps: int) -> None:
    for _ in range(steps):
        walk.random_op(weights, most)
    walk.settle()


def walk_near(n: int, f: int, e: int, ops: Sequence[Op], rules: Rules, seed: int) -> Walk:
    """A known schedule with a few changes, and a random end."""
    draw = random.Random(seed)
    walk = Walk(n, rules, draw, f, e)
    changed = list(ops)
    for _ in range(draw.choice((0, 1, 1, 2, 3, 5))):
        at = draw.randrange(len(changed))
        how = draw.randrange(4)
        if how == 0:
            del changed[at]
        elif how == 1:
            changed.insert(draw.randrange(len(changed)), changed[at])
        elif how == 2:
            changed[at:at] = [("random",)] * draw.randrange(1, 4)
        else:
            other = draw.randrange(len(changed))
            changed[at], changed[other] = changed[other], changed[at]
        if not changed:
            break
    weights = {"submit": 0.3, "deliver": 3.0, "stream": 1.0, "recover": 0.5, "slow": 0.2, "execute": 2.0}
    weights |= {
        "truncate": 1.0,
        "restart": 0.1,
        "persist": 0.3,
        "catch up": 0.2,
        "links": 0.05,
        "enough": 0.05,
    }

    def run() -> None:
        for op in changed[: draw.randrange(len(changed) // 2, len(changed) + 1)]:
            if op == ("random",):
                walk.random_op(weights, 9)
            else:
                if op[0] == "submit":
                    walk.commands += 1
                walk.do(op)
        _random_part(walk, weights, walk.commands + draw.randrange(3), draw.randrange(30))

    _run(walk, run)
    return walk


def _run(walk: Walk, act: Callable[[], None]) -> None:
    try:
        act()
    except Broken as broken:
        broken.walk = walk  # type: ignore[attr-defined]
        raise


def replay(n: int, rules: Rules, ops: Sequence[Op], f: int = 0, e: int = 0) -> str:
    """What a schedule breaks, or nothing."""
    walk = Walk(n, rules, random.Random(0), f, e)
    try:
        for op in ops:
            walk.do(op)
    except Broken as broken:
        return str(broken)
    return ""


def shortest(n: int, rules: Rules, ops: Sequence[Op], f: int = 0, e: int = 0) -> list[Op]:
    """A schedule without the operations that it does not need to break something."""
    kept = list(ops)
    size = len(kept) // 2
    while size:
        at = 0
        while at < len(kept):
            tried = kept[:at] + kept[at + size :]
            if replay(n, rules, tried, f, e):
                kept = tried
            else:
                at += size
        size //= 2
    return kept


def main(arguments: Sequence[str]) -> int:
    from tests.epaxos_barrier_scripts import RULES, recorded

    parser = argparse.ArgumentParser(description="Random schedules of barriers in EPaxos.")
    parser.add_argument("--rules", default="floor", choices=list(RULES))
    parser.add_argument("--nodes", type=int, default=3, choices=list(SIZES))
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--near", action="store_true", help="near the scripts, instead of from nothing")
    asked = parser.parse_args(arguments)
    rules = RULES[asked.rules]
    probes: dict[str, int] = {}
    started = time.monotonic()
    near = recorded() if asked.near else []
    for count in range(asked.schedules):
        seed = asked.seed + count
        n, (f, e) = asked.nodes, SIZES[asked.nodes]
        try:
            if near:
                n, f, e, ops = near[count % len(near)]
                walk = walk_near(n, f, e, ops, rules, seed)
            else:
                walk = walk_at_random(n, rules, seed)
        except Broken as broken:
            ops = shortest(n, rules, broken.walk.ops, f, e)  # type: ignore[attr-defined]
            print(f"seed {seed}: n = {n}: {broken}")
            for op in ops[:200]:
                print("  ", *op)
            return 1
        for name, times in walk.cluster.probes.items():
            probes[name] = probes.get(name, 0) + (times > 0)
    print(f"{asked.schedules} schedules in {time.monotonic() - started:.0f} s: nothing is broken")
    print(", ".join(f"{name} {times}" for name, times in sorted(probes.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
