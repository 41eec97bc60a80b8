"""EPaxos under more load than it can carry out at once: keys that everybody writes, and no quorum at all."""

from collections.abc import Iterable

import pytest

from epaxos import EPaxosSettings
from epaxos.messages import PreAccept, Recover
from paxos import sim
from paxos.ballot import NodeId
from paxos.sim import Topology, Workload
from tests.epaxos_net import Sent, reads
from tests.epaxos_timed import Timed

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

#: How exactly it is seen when a command was answered, seconds.
_LOOK_S = 0.01


class Site:
    """The clients of one replica: when they asked for what, and were answered."""

    def __init__(self, net: Timed, node: NodeId) -> None:
        self.net, self.node = net, node
        self.asked: dict[int, float] = {}
        self.waits: dict[int, float] = {}
        self.answered: dict[int, float] = {}
        self._seen = 0

    def write(self, *keys: bytes) -> None:
        self._ask(self.net.write(self.node, *keys).sequence)

    def read(self, *keys: bytes) -> None:
        self._ask(self.net.submit(self.node, reads(*keys)).sequence)

    def _ask(self, number: int) -> None:
        self.asked[number] = self.waits[number] = self.net.now_s

    def note(self) -> None:
        """See what was carried out, and how long it took."""
        order = self.net.machines[self.node].order
        for _, command in order[self._seen :]:
            asked_s = self.waits.pop(command.request.sequence, None)
            if asked_s is not None:
                self.answered[command.request.sequence] = self.net.now_s - asked_s
        self._seen = len(order)


def sites_of(net: Timed) -> list[Site]:
    net.clone_every = 0
    return [Site(net, node) for node in net.everyone]


def pass_time(sites: list[Site], seconds: float) -> None:
    net = sites[0].net
    until_s = net.now_s + seconds
    while net.now_s < until_s:
        net.pass_time(min(net.now_s + _LOOK_S, until_s))
        for site in sites:
            if site.node in net.nodes:
                site.note()


def agreed(net: Timed) -> bool:
    return len({b"".join(net.applied(node)) for node in net.nodes}) == 1


@pytest.mark.parametrize(("nodes", "dies"), [(3, False), (5, False), (5, True)])
def test_a_key_that_everybody_writes(nodes: int, dies: bool) -> None:
    """Every command conflicts with every other, and is answered within a bounded time.

    Each node has as many as eight on their way, and submits the next when one is answered.
    """
    net = Timed(nodes, settings=EPaxosSettings(recover_s=0.5, recover_stagger_s=0.2))
    sites = sites_of(net)
    for beat in range(160):
        for site in sites if beat < 100 else ():
            if site.node in net.nodes and len(site.waits) < 8:
                site.write(b"hot")
        if dies and beat == 20:
            net.crash(nodes)
        pass_time(sites, 0.02 if beat < 100 else 0.1)
    net.check()
    living = [site for site in sites if site.node in net.nodes]
    assert not any(site.waits for site in living)
    assert sum(len(site.answered) for site in living) > 100
    # Two rounds of 0.14 s, and those of what came before; a dead owner costs a recovery as well.
    assert max(max(site.answered.values()) for site in living) < (2.0 if dies else 0.6)
    assert agreed(net)


#: How long clients go on asking, virtual seconds, without waiting for answers.
_LOAD_S = 4.0


@pytest.mark.parametrize(("nodes", "gap_s"), [(3, 0.02), (5, 0.04)])
def test_a_key_that_everybody_writes_without_waiting_for_answers(nodes: int, gap_s: float) -> None:
    """However long the load lasts, every command is answered within a bounded time while it does."""
    net = Timed(nodes)
    sites = sites_of(net)
    for beat in range(int(_LOAD_S / gap_s)):
        for site in sites:
            site.write(b"hot")
            if beat % 4 == site.node % 4:
                site.read(b"hot")
        pass_time(sites, gap_s)
        if beat * gap_s > _LOAD_S / 2:
            assert all(len(site.answered) > len(site.waits) for site in sites), (
                "answered while the load lasts"
            )
    pass_time(sites, 2.0)
    net.check()
    for site in sites:
        assert not site.waits
        assert max(site.answered.values()) < 1.2
    assert agreed(net)


def test_clients_of_five_regions_who_write_one_key_and_do_not_wait() -> None:
    """The same between five regions, with the service and its batches: 200 requests a second."""
    result = sim.run(
        "epaxos",
        5,
        3,
        topology=Topology.named("nsdi21"),
        workload=Workload(
            operations=600, clients=5, rate=200.0, names=1, reads=0.2, logged=1.0, timeout_s=2.0, audit=False
        ),
        duration_s=5.0,
        check=False,
    )
    assert result.ok, result.violations
    waits = [op.return_s - op.call_s for op in result.operations if op.return_s is not None]
    assert len(waits) == 600
    # Two rounds of 0.26 s at most, and as much for what came before. Nobody asks again.
    assert max(waits) < 1.1
    assert "retry" not in result.seen


def test_what_is_held_back_holds_back_nothing_else_and_keeps_its_order() -> None:
    net = Timed(3, settings=EPaxosSettings(recover_s=1.0, recover_stagger_s=0.2))
    sites = sites_of(net)
    one, _, three = sites
    # The third node's write is known to the first alone; so what conflicts waits until it is recovered.
    three.write(b"a")
    net.pass_time(net.now_s + 0.001)
    net.arrivals = [each for each in net.arrivals if each[2].recipient == 1]
    pass_time(sites, 0.1)
    net.crash(3)
    one.write(b"a", b"b")
    pass_time(sites, 0.4)
    proposer = net.nodes[1].proposer
    assert net.nodes[1].learner.executor.pending == 1
    one.write(b"a")
    one.write(b"c")
    one.write(b"b", b"c")
    one.read(b"c")
    held = [each.command.footprint.writes for each in proposer.pacing.held]
    assert held == [(b"a",), (b"b", b"c"), ()]
    assert proposer.room == 5
    marker = net.barrier(1)
    assert len(proposer.pacing.held) == 3, "a barrier is not held back"
    twin = net.nodes[1].clone()
    assert twin.fingerprint() == net.nodes[1].fingerprint()
    assert twin.status().values["held_back"] == 3
    pass_time(sites[:2], 0.3)
    # What has to do with none of it was answered meanwhile.
    assert [len(one.answered), len(one.waits)] == [1, 4]
    pass_time(sites[:2], 4.0)
    net.check()
    assert not one.waits
    assert not proposer.pacing.held
    order = [command.request.sequence for _, command in net.machines[1].order]
    assert [number for number in order if number in one.answered] == [4, 2, 3, 5, 6]
    assert marker.sequence in order
    assert agreed(net)
    # And now nothing is.
    one.write(b"a")
    assert not proposer.pacing.held


# --- no quorum ---------------------------------------------------------------------------------------------


class Counted(Timed):
    """Counts what is sent."""

    sent = 0

    def post(self, sent: Iterable[Sent]) -> None:
        some = list(sent)
        self.sent += sum(isinstance(each.message, PreAccept | Recover) for each in some)
        super().post(some)


def test_while_no_quorum_answers_little_is_asked_and_then_everything_is_finished_soon() -> None:
    """Two of three replicas are lost with hundreds of instances under way at each of the three."""
    net = Counted(3)
    sites = sites_of(net)
    one, _, three = sites
    for site in (one, three):
        for _ in range(400):
            site.write(b"%d" % len(site.asked))
    # Some of the third node's reach the first. Of the first node's nothing is known elsewhere.
    net.arrivals = [each for each in net.arrivals if each[2][:2] == (3, 1)]
    pass_time([one], 0.1)
    net.crash(2)
    net.crash(3)
    pass_time([one], 20.0)
    sent = net.sent
    pass_time([one], 20.0)
    # To two members; a few own ones, and a few of the third node's: each at least every eight seconds.
    assert 20 < net.sent - sent < 500
    assert len(net.nodes[1].recoveries.running) == 8
    assert len(one.waits) == 400
    net.start(2)
    # One is repeated within eight seconds; and then it goes twice as fast with every round trip.
    pass_time([one], 16.0)
    net.check()
    assert not one.waits
    assert net.nodes[1].learner.executor.frontier[2] == 400
    assert not net.nodes[1].recoveries.running
    assert agreed(net)


def test_what_a_lost_member_leaves_behind_is_recovered_in_a_few_round_trips() -> None:
    net = Timed(3)
    sites = sites_of(net)
    for _ in range(300):
        sites[2].write(b"hot")
    net.arrivals = [each for each in net.arrivals if each[2][:2] == (3, 1)]
    pass_time(sites, 0.1)
    net.crash(3)
    sites[0].write(b"hot")
    pass_time(sites[:2], 6.0)
    net.check()
    assert not sites[0].waits
    assert sites[0].answered[301] < 3.5
    assert agreed(net)
