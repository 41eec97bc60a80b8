"""Programs that show mistakes where no schedule of the simulator can: an observer, a client that uses a
number twice, a client that was away for long, a replica without its service.

Each is given a mutant, or None for the sound protocol, and returns what broke, by name of the check, and how
many messages it delivered.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from multipaxos import MultiPaxosReplica, MultiPaxosSettings
from multipaxos.messages import Accept, Accepted, Heartbeat, HeartbeatReply
from paxos.command import Command, digest_of
from paxos.contract import Effects, Instant, OutcomeKind
from paxos.service import LogSettings
from paxos.service.batches import Run, batch_command, marker_command
from paxos.service.keyvalue import KeyValue
from paxos.service.keyvalue_requests import increment
from paxos.service.log import LogService
from paxos.service.sessions import IDLE_MARKERS
from paxos.service.turn import Turn
from paxos.sim.ledger import Ledger, State
from paxos.sim.log_verdict import judge_log
from tests.multipaxos_net import Net, Sent
from tests.mutants.epaxos_directed import EPAXOS_DIRECTED
from tests.mutants.fastpaxos_log_directed import FASTPAXOS_LOG_DIRECTED
from tests.mutants.patches import Mutant

__all__ = ["DIRECTED"]

_Shown = tuple[dict[str, str], int]


class _Counted(Net):
    """Counts what is delivered."""

    delivered = 0

    def hand_over(self, sent: Sent) -> None:
        self.delivered += 1
        super().hand_over(sent)


def _net(mutant: Mutant | None, *nodes: int, lease_s: float = 0.0, **more: Any) -> _Counted:
    from tests.mutants.build import described

    make: Any = MultiPaxosReplica if mutant is None else described(mutant).replica
    settings = MultiPaxosSettings(
        reserve_rounds=4, hint_slots=1, lease_s=lease_s, lease_drift=0.1, election_max_s=0.85
    )
    net = _Counted(*nodes, make=make, settings=settings, **more)
    net.clone_every = 1 << 30
    return net


def _shown(net: _Counted) -> _Shown:
    broken = dict(net.violations)
    for node, error in net.stopped.items():
        broken.setdefault(str(error).partition(":")[0], f"node {node}: {error}")
    return broken, net.delivered


def _stand(net: Net, node: int) -> None:
    """The node stands for election until it leads, or nothing is left to deliver."""
    for _ in range(10):
        net.now_s += net.settings.election_max_s
        net.advance(0.0, only=node)
        while net.network and net.nodes[node].leader is None:
            net.hand_over(net.network.pop(0))
        if net.nodes[node].leader is not None:
            return
    raise AssertionError(f"node {node} is not elected")


def a_vote_of_an_observer(mutant: Mutant | None) -> _Shown:
    """Three members of which one lives, and an observer."""
    net = _net(mutant, 3, observers=(4,))
    net.elect(1)
    net.isolate(2)
    net.isolate(3)
    net.submit(1, b"a")
    net.deliver(Accept, to=4)
    net.deliver(Accepted, sender=4)
    return _shown(net)


def an_index_of_a_higher_ballot(mutant: Mutant | None) -> _Shown:
    """A leader that was cut off is sent a snapshot of what others chose meanwhile."""
    net = _net(mutant, 5)
    net.elect(1)
    net.deliver()
    net.submit(1, b"lost")
    net.deliver(Accept, to=2)
    net.drop()
    net.isolate(1, 2)
    _stand(net, 3)
    net.submit(3, b"chosen")
    net.deliver()
    net.snapshot(3)
    machine = net.machines[1]
    machine.mark, machine.state = net.machines[3].mark, list(net.machines[3].state)
    machine.snapshot = net.machines[3].snapshot
    part = net.machines[3].part
    net._act("install", 1, lambda replica: replica.install(machine.mark, part, net.now))
    net.advance(0.2, only=1)
    net.deliver(Heartbeat, sender=1, to=2)
    return _shown(net)


def what_a_deposed_leader_says(mutant: Mutant | None) -> _Shown:
    """A leader is deposed while its command is on the way to being chosen."""
    net = _net(mutant)
    net.elect(1)
    net.deliver()
    (request,) = net.submit(1, b"a")
    net.deliver(Accept)
    net.drop()
    _stand(net, 2)
    net.deliver()
    net.run(0.5)
    broken, deliveries = _shown(net)
    if net.kind(request) is OutcomeKind.REJECTED and b"a" in net.applied(2):
        broken["RejectedNotApplied"] = "a client was told that its command was rejected, and it is applied"
    return broken, deliveries


# --- leases -------------------------------------------------------------------------------------------------


def _overtaken(net: _Counted) -> _Shown:
    """Node 1 is cut off and asked for reads, while another is elected and takes a command."""
    net.isolate(1)
    for _ in range(300):
        net.now_s += 0.005
        for node in net.everyone:
            net.advance(0.0, only=node)
        net.deliver()
        for new in net.leaders:
            if new != 1 and b"after" not in net.applied(new):
                net.submit(new, b"after")
                net.deliver()
        if 1 in net.leaders:
            net.read(1)
    return _shown(net)


def _leased(mutant: Mutant | None, **more: Any) -> _Counted:
    net = _net(mutant, 3, lease_s=0.8, **more)
    net.elect(1)
    net.submit(1, b"before")
    net.run(0.3)
    return net


def a_slow_clock(mutant: Mutant | None) -> _Shown:
    """The leader's clock is slow, within the bound that is stated."""
    return _overtaken(_leased(mutant, rates={1: 0.92}))


def a_late_grant(mutant: Mutant | None) -> _Shown:
    """What the others granted is a while on its way to the leader."""
    net = _leased(mutant)
    net.advance(net.settings.heartbeat_s, only=1)
    net.deliver(Heartbeat)
    net.now_s += 0.5
    net.deliver(HeartbeatReply)
    return _overtaken(net)


def a_grantor_that_restarts(mutant: Mutant | None) -> _Shown:
    """One node hears nothing of the leader and stands for election; the other restarts after it granted."""
    net = _leased(mutant)
    net.cut |= {(1, 3), (3, 1)}
    net.run(1.5)
    net.isolate(1)
    net.restart(2)
    return _overtaken(net)


# --- the service alone, above a log that is given -----------------------------------------------------------


class _Given:
    """A replica that has decided a log beforehand, and takes nothing."""

    def submit(self, commands: object, now: object) -> None:
        return None

    read = abandon = install = compact = submit

    def part(self, mark: object) -> bytes:
        return b""


def _carried_out(mutant: Mutant | None, log: Mapping[int, Command], asked: Mapping[Any, bytes]) -> _Shown:
    """What the verdict says of a node whose service is given a log."""
    from tests.mutants.build import patched_service

    make = LogService if mutant is None else patched_service(mutant)
    now = Instant(0.0)
    replica: Any = _Given()
    service = make(1, replica, KeyValue(), LogSettings(), b"n" * 16, {}, now)
    effects = Effects()
    effects.applies = list(log.items())
    effects.room = 0
    service.settle(effects, Turn())
    ledger = Ledger(asked, Counter())
    ledger.commands.update(log)
    states = [State(1, len(log), service.machine.snapshot(), "at the end")]
    return dict(judge_log(ledger, states, (), KeyValue)), 0


def _run(number: int, body: bytes) -> Run:
    return Run(b"c" * 16, 0, 0, number, digest_of(body), [body])


def a_forgotten_client(mutant: Mutant | None) -> _Shown:
    """A client was away for so many markers that it is forgotten, and asks for the same again."""
    body = increment(b"n", 1)
    first = batch_command(b"n" * 16, 1, [_run(1, body)])
    log = {1: first}
    for number in range(1, IDLE_MARKERS + 2):
        log[1 + number] = marker_command(1, number)
    log[len(log) + 1] = batch_command(b"n" * 16, 2, [_run(1, body)])
    return _carried_out(mutant, log, {})


def a_number_used_twice(mutant: Mutant | None) -> _Shown:
    """A client uses one number for two commands, at two nodes."""
    runs = [_run(1, increment(b"n", 1)), _run(1, increment(b"m", 2))]
    log = {slot: batch_command(b"n" * 16, slot, [run]) for slot, run in enumerate(runs, 1)}
    return _carried_out(mutant, log, {})


DIRECTED: Final[Mapping[str, Callable[[Mutant | None], _Shown]]] = (
    {
        direct.__name__: direct
        for direct in (
            a_vote_of_an_observer,
            an_index_of_a_higher_ballot,
            what_a_deposed_leader_says,
            a_slow_clock,
            a_late_grant,
            a_grantor_that_restarts,
            a_forgotten_client,
            a_number_used_twice,
        )
    }
    | EPAXOS_DIRECTED
    | FASTPAXOS_LOG_DIRECTED
)
