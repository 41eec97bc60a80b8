"""EPaxos at the mercy of a random number generator: every fault there is, and then none.

    python -m tests.epaxos_walk --seeds 1000           walks 0 to 999, and what happened in them
    python -m tests.epaxos_walk --first 5000 --seeds 1  one of them

A walk is a function of its number. It draws a cluster, its settings and how unruly everything is, makes some
hundred random moves, and ends with faults that stop, though sometimes as many members as may fail stay dead:
then everything is decided, carried out, and the same at every node that lives; nothing is asked any more, and
little is kept. The invariants are looked at after every step. Exit code 5 when something breaks.
"""

import argparse
import random
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from epaxos import EPaxosQuorums, EPaxosSettings
from epaxos.messages import Gossip
from paxos.command import ALL, Footprint
from tests.epaxos_net import Net, Sent, reads, writes

#: Clusters: members, f, e, observers. None for the usual f and e.
CLUSTERS: Final = (
    (3, None, None, 0),
    (5, None, None, 0),
    (3, None, None, 1),
    (4, None, None, 0),
    (5, 2, 1, 0),
    (7, None, None, 0),
    (5, 1, 1, 1),
    (8, 3, 3, 0),
    (7, 3, 2, 0),
)


class Asking(Net):
    """It remembers what is said beside gossip."""

    def __init__(self, **more: Any) -> None:
        self.questions: list[Sent] = []
        super().__init__(**more)

    def post(self, sent: Iterable[Sent]) -> None:
        messages = list(sent)
        self.questions += [each for each in messages if not isinstance(each.message, Gossip)]
        super().post(messages)


class Walk:
    """A cluster, and what befalls it.

    Args:
        seed: the walk's number.
        cluster: which of `CLUSTERS`; drawn if None.
    """

    def __init__(self, seed: int, cluster: int | None = None) -> None:
        self.rnd = rnd = random.Random(seed)
        nodes, failures, fast, observers = CLUSTERS[seed % len(CLUSTERS) if cluster is None else cluster]
        settings = EPaxosSettings(
            reserve_numbers=rnd.choice((1, 2, 8)),
            recover_at_once=rnd.choice((1, 4, 256)),
            page_instances=rnd.choice((1, 3, 1000)),
            fast_wait_s=rnd.choice((0.0, 0.0, 0.2)),
            window=rnd.choice((2, 1000)),
            recover_s=rnd.choice((0.3, 1.0, 5.0)),
        )
        quorums = EPaxosQuorums(range(1, nodes + 1), failures, fast)
        self.net = net = Asking(
            quorums=quorums,
            observers=tuple(range(nodes + 1, nodes + observers + 1)),
            settings=settings,
            draw=lambda name, bound: rnd.randrange(bound),
        )
        net.clone_every = rnd.choice((0, 0, 17))
        net.snapshots = rnd.random() < 0.8
        # What travels once more, long after it arrived.
        self.past: list[Sent] = []
        # How unruly the network is: mostly in order, so that something gets done, or not at all.
        self.reach = rnd.choice((1, 3, 1000))
        self.loss = rnd.choice((0.0, 0.02, 0.2))
        self.crashes = rnd.choice((0.0, 0.004, 0.02))
        self.keys = [b"k%d" % at for at in range(rnd.choice((1, 2, 5)))]
        self.barriers = rnd.choice((0.0, 0.05, 0.3))

    # --- moves -----------------------------------------------------------------------------------------

    def step(self) -> None:
        rnd, net = self.rnd, self.net
        up = list(net.nodes)
        down = [node for node in net.everyone if node not in net.nodes]
        chance = rnd.random()
        if chance < self.crashes:
            self.fail(up)
        elif chance < 0.72:
            self.pass_one()
        elif chance < 0.82 and up:
            self.submit(rnd.choice(up))
        elif chance < 0.84:
            self.disk(rnd.choice(net.everyone))
        elif chance < 0.86 and down:
            net.start(rnd.choice(down))
        elif chance < 0.88 and net.transfers:
            net.install(rnd.choice(net.transfers))
        elif chance < 0.885:
            self.cut()
        elif up:
            net.now_s += rnd.choice((0.01, 0.05, 0.3, 1.5))
            net.tick(rnd.choice(up))

    def fail(self, up: Sequence[int]) -> None:
        """A node crashes, as long as a quorum is left, or restarts."""
        rnd, net = self.rnd, self.net
        members = [node for node in up if node in net.quorums.members]
        node = rnd.choice(up) if up else 0
        if node:
            keep = rnd.randrange(len(net.queues[node]) + 1)
            net.crash(node, keep)
            if len(members) <= net.quorums.classic or rnd.random() < 0.5:
                net.start(node)

    def pass_one(self) -> None:
        rnd, net = self.rnd, self.net
        for _ in range(rnd.choice((1, 1, 5, 20))):
            if rnd.random() < 0.03 and self.past:
                net.deliver(rnd.choice(self.past), keep=True)
            if not net.network:
                return
            sent = net.network[rnd.randrange(min(len(net.network), self.reach))]
            if rnd.random() < self.loss:
                net.network.remove(sent)
            else:
                net.deliver(sent, keep=rnd.random() < 0.03)
            if len(self.past) < 500:
                self.past.append(sent)
            else:
                self.past[rnd.randrange(500)] = sent

    def submit(self, node: int) -> None:
        rnd, net = self.rnd, self.net
        if rnd.random() < self.barriers:
            net.barrier(node)
            return
        some = rnd.sample(self.keys, min(len(self.keys), rnd.choice((1, 1, 2))))
        chance = rnd.random()
        if chance < 0.6:
            footprint = writes(*some)
        elif chance < 0.85:
            footprint = reads(*some)
        elif chance < 0.93:
            footprint = Footprint.of(reads=some[:1], writes=some[1:], write_ranges=[(b"k1", b"k3")])
        elif chance < 0.97:
            footprint = Footprint.of(read_ranges=[(b"k0", b"k2")])
        else:
            footprint = ALL
        net.submit(node, footprint)

    def disk(self, node: int) -> None:
        net, chance = self.net, self.rnd.random()
        if chance < 0.2:
            net.slow.add(node)
        elif node in net.nodes:
            if chance < 0.4:
                net.slow.discard(node)
            for _ in range(self.rnd.randrange(len(net.queues[node]) + 1)):
                net.sync(node)

    def cut(self) -> None:
        net = self.net
        if net.cut or self.rnd.random() < 0.3:
            net.cut.clear()
            return
        node = self.rnd.choice(net.everyone)
        net.cut |= {(node, other) for other in net.everyone} | {(other, node) for other in net.everyone}

    # --- the end ---------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Faults stop, and a quorum lives: everything is decided and carried out, everywhere the same."""
        net, members = self.net, self.net.quorums.members
        dead = self.rnd.sample(members, len(members) - net.quorums.classic) if self.rnd.random() < 0.4 else []
        net.cut.clear()
        net.slow.clear()
        for node in net.everyone:
            if node in dead:
                if node in net.nodes:
                    net.crash(node)
                continue
            if node not in net.nodes:
                net.start(node)
            while net.queues[node]:
                net.sync(node)
        net.run(60.0, self.is_quiet)
        last = [net.submit(node, ALL) for node in members if node not in dead]
        net.run(60.0, self.is_quiet)
        net.check()
        assert self.is_quiet(), [replica.status().summary for replica in net.nodes.values()]
        assert len(net.states()) == 1, "the states differ"
        if not net.snapshots:
            for node in net.nodes:
                done = {command.request for _, command in net.machines[node].order}
                assert done >= set(last), f"node {node} has not carried everything out"
        self.clear_up()

    def clear_up(self) -> None:
        """After a few barriers little is kept, and nobody asks anybody anything."""
        net = self.net
        net.snapshots = True
        for node in [node for node in net.nodes if node in net.quorums.members]:
            net.barrier(node)
            net.run(3.0)
        before = len(net.questions)
        net.run(5.0)
        assert len(net.questions) == before, net.questions[before:]
        net.check()
        for replica in net.nodes.values():
            table, recoveries, proposer = replica.table, replica.recoveries, replica.proposer
            left = (
                replica.learner.news,
                recoveries.running,
                recoveries.seen,
                proposer.own,
                proposer.pacing.held,
            )
            assert not any(left), left
            assert table.orphans == 0
            # No-ops that nothing of the same owner came after stay until something does.
            kept = sum(not each.is_nop or each.number <= table.floor[each.rank] for each in table)
            assert kept <= 2 * len(net.quorums.members), f"{kept} instances are kept"

    def is_quiet(self) -> bool:
        """Whether nothing is on its way, and every node has carried out the same."""
        net = self.net
        if net.network or net.transfers:
            return False
        first, *rest = (replica.learner.executor for replica in net.nodes.values())
        return not any(replica.proposer.room for replica in net.nodes.values()) and all(
            each.frontier == first.frontier and not each.pending for each in (first, *rest)
        )


def walk(seed: int, steps: int = 400, cluster: int | None = None) -> Walk:
    """One walk, to its end. Raises AssertionError if something breaks."""
    one = Walk(seed, cluster)
    for _ in range(steps):
        one.step()
        if one.net.violations:
            break
    one.net.check()
    one.recover()
    return one


def main(argv: Sequence[str] | None = None) -> int:
    """Walk, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.epaxos_walk", description="Walk at random.")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first walk (0)")
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many (100)")
    parser.add_argument("--steps", type=int, default=400, metavar="N", help="random moves in each (400)")
    arguments = parser.parse_args(argv)
    seen: Counter[str] = Counter()
    calls = broken = 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        try:
            done = walk(seed, arguments.steps)
        except Exception:
            print(f"walk {seed} of {arguments.steps} steps:", file=sys.stderr)
            traceback.print_exc(limit=-3)
            broken += 1
            continue
        calls += done.net.calls
        seen.update(event.action for event in done.net.events if not event.trace)
    told = ", ".join(f"{name} {count}" for name, count in sorted(seen.items()))
    print(f"{arguments.seeds} walks, {calls} calls of replicas, {broken} broke something; {told}")
    return 5 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
