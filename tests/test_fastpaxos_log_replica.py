"""Replicas of the log of Fast Paxos, message by message."""

import itertools
import random
from functools import partial

import pytest

from fastpaxos.log import FastLogReplica, FastLogSettings
from fastpaxos.log.messages import (
    Accept,
    Chosen,
    Fetch,
    Forward,
    Heartbeat,
    Nack,
    Prepare,
    Promise,
    Propose,
    ReadAt,
    ReadIndex,
    Recover,
    Voted,
)
from fastpaxos.rounds import OPEN
from paxos.ballot import Ballot
from paxos.basic.values import pack_value
from paxos.command import MAX_COMMAND_BYTES
from paxos.contract import Configuration, Instant, OutcomeKind
from paxos.errors import ConfigurationError, QuorumError, RecordError
from paxos.quorum import FlexibleQuorums, Majority
from tests.fastpaxos_log_net import Net, command

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

POLICIES = ("coordinated", "uncoordinated")


def settings(**changes: object) -> FastLogSettings:
    given = {"reserve_rounds": 4, "hint_slots": 4, "collisions_before_classic": 3} | changes
    return FastLogSettings(**given)  # type: ignore[arg-type]


def same_everywhere(net: Net, *payloads: bytes) -> list[bytes]:
    """Runs until these were applied at every node that is up; what was, there, the same at each."""
    net.settle(lambda: all(payload in net.applied(node) for node in net.nodes for payload in payloads))
    longest = max((net.applied(node) for node in net.nodes), key=len)
    net.settle(lambda: all(net.applied(node) == longest for node in net.nodes))
    assert net.violations == {}
    assert net.stopped == {}
    return longest


# --- fast -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proposer", [1, 2, 3, 4, 5])
def test_two_message_delays_from_any_node_to_all(proposer: int) -> None:
    net = Net(5)
    net.deliver()
    net.submit(proposer, b"x")
    net.deliver(Propose)
    assert {sent.recipient for sent in net.pick(Voted)} == {1, 2, 3, 4, 5}
    net.deliver(Voted)
    assert [net.applied(node) for node in net.everyone] == [[b"x"]] * 5
    assert net.network == []
    assert net.violations == {}


def test_nobody_need_coordinate() -> None:
    net = Net(5)
    net.crash(1)
    net.submit(3, b"x")
    net.deliver()
    assert [net.applied(node) for node in net.nodes] == [[b"x"]] * 4


def test_a_pipeline_of_commands() -> None:
    net = Net(3)
    payloads = [b"%d" % number for number in range(20)]
    net.submit(2, *payloads)
    net.deliver()
    assert [net.applied(node) for node in net.everyone] == [payloads] * 3


def test_a_node_alone() -> None:
    net = Net(1)
    net.submit(1, b"x", b"y")
    read = net.read(1)
    net.restart(1)
    net.submit(1, b"z")
    assert same_everywhere(net, b"z") == [b"x", b"y", b"z"]
    assert net.kind(read) is OutcomeKind.READY


def test_an_observer_proposes_and_learns_and_never_votes() -> None:
    net = Net(3, observers=(4,))
    net.submit(4, b"x")
    net.deliver()
    assert [net.applied(node) for node in net.everyone] == [[b"x"]] * 4
    read = net.read(4)
    net.deliver()
    assert net.kind(read) is OutcomeKind.READY
    assert not net.nodes[4].acceptor.slots[1].joined < OPEN  # it holds what was chosen
    assert not net.pick(Voted, sender=4)
    assert net.nodes[4].status().values["role"] == "observer"


# --- collisions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("many", [2, 3, 4, 5])
def test_so_many_sites_at_once(policy: str, many: int) -> None:
    seen: set[str] = set()
    for sites in itertools.combinations(range(1, 6), many):
        for seed in range(2):
            rnd = random.Random(seed)
            net = Net(5, settings=settings(recovery=policy, collisions_before_classic=0))
            net.deliver()
            payloads = [b"%d" % site for site in sites]
            for site, payload in zip(sites, payloads, strict=True):
                net.submit(site, payload)
            while net.network:  # in any order
                net.hand_over(net.network.pop(rnd.randrange(len(net.network))))
            applied = same_everywhere(net, *payloads)
            # Each once, and nothing else: nobody gave up.
            assert sorted(applied) == payloads
            seen |= {event.action for event in net.events}
    assert "lost slot" in seen
    how = {"collision", "recovered"} if policy == "coordinated" else {"recovered alone"}
    assert how <= seen


@pytest.mark.parametrize("policy", POLICIES)
def test_a_slot_that_is_flooded(policy: str) -> None:
    """Somebody sends many values for one slot to everybody: one is chosen, and the log goes on."""
    net = Net(5, settings=settings(recovery=policy))
    net.deliver()
    rnd = random.Random(1)
    for number in range(40):
        for node in rnd.sample(range(1, 6), 5):
            net.hand_over_message(3, node, Propose(OPEN, 1, pack_value(command(1000 + number))))
            # What nobody submitted must not count as invented.
    net.submit(2, b"x")
    net.settle(lambda: all(b"x" in net.applied(node) for node in net.nodes))
    assert {name for name in net.violations if name != "Validity"} <= {"PickRule"}
    assert len({tuple(net.applied(node)) for node in net.nodes}) == 1


def test_a_loser_is_placed_again() -> None:
    net = Net(5)
    net.deliver()
    net.submit(1, b"a")
    net.submit(2, b"b")
    net.deliver(Propose, sender=1, to=(3, 4, 5))  # four for "a"
    net.deliver()
    assert same_everywhere(net, b"a", b"b") == [b"a", b"b"]
    assert [event.arguments["slot"] for event in net.happened("lost slot", 2)] == [1]
    assert not net.happened("collision")


def test_a_collision_is_recovered_without_phase_1_where_votes_stand_for_it() -> None:
    net = Net(5)
    net.deliver()
    for site in (1, 2, 3):
        net.submit(site)
    net.deliver(Propose)
    net.deliver(Voted)
    assert net.happened("collision", 1)
    assert net.happened("recovered", 1)
    assert not net.pick(Recover)
    assert {sent.message.ballot for sent in net.pick(Accept)} == {Ballot(0, 0, 1)}


def test_a_gap_ends_as_a_no_op() -> None:
    net = Net(3, observers=(4,))
    net.deliver()
    net.submit(4, b"lost", b"kept")
    for sent in net.pick(Propose):
        if sent.message.slot == 1:
            net.network.remove(sent)
    net.crash(4)
    net.deliver()
    assert net.applied(1) == []
    net.settle(lambda: all(net.applied(node) == [b"kept"] for node in net.nodes))
    assert [len(net.machines[node].state) for node in net.nodes] == [2, 2, 2]
    assert net.happened("overdue", 1)
    assert net.violations == {}


def test_lost_votes_are_made_good() -> None:
    net = Net(3)
    net.deliver()
    net.submit(2, b"x")
    net.deliver(Propose)
    net.drop(Voted)
    assert same_everywhere(net, b"x") == [b"x"]


# --- classic, and fast again -----------------------------------------------------------------------------


def collide(net: Net) -> None:
    """Three nodes propose at once, and none of their values has a fast quorum."""
    for site in (1, 2, 3):
        net.submit(site)
    net.deliver()


def test_after_several_collisions_it_is_classic_and_fast_again_when_quiet() -> None:
    net = Net(5, settings=settings(collisions_before_classic=1, quiet_s=1.0))
    net.deliver()
    collide(net)
    collide(net)
    net.run(0.2)
    assert net.happened("fell back", 1)
    assert [net.mode(node) for node in net.nodes] == ["classic"] * 5
    net.submit(4, b"x")
    assert {sent.recipient for sent in net.pick(Forward)} == {1}
    net.deliver()
    assert all(b"x" in net.applied(node) for node in net.nodes)
    net.settle(lambda: [net.mode(node) for node in net.nodes] == ["fast"] * 5)
    assert net.happened("fast again", 1)
    net.submit(5, b"y")
    assert net.pick(Propose, sender=5)
    same_everywhere(net, b"y")


def test_as_long_as_nodes_compete_it_stays_classic() -> None:
    net = Net(5, settings=settings(collisions_before_classic=1, quiet_s=0.5, rival_s=0.25))
    net.deliver()
    collide(net)
    net.run(0.2)
    for _ in range(20):
        net.submit(2)
        net.submit(3)
        net.run(0.1)
    assert net.mode(1) == "classic"
    net.settle(lambda: net.mode(1) == "fast")
    assert net.violations == {}


def test_each_time_it_waits_longer() -> None:
    net = Net(5, settings=settings(collisions_before_classic=1, quiet_s=0.5))
    net.deliver()
    waited = []
    for _ in range(3):
        collide(net)
        net.settle(lambda: net.mode(1) == "classic")
        since_s = net.now_s
        net.settle(lambda: net.mode(1) == "fast")
        waited.append(net.now_s - since_s)
    assert waited[0] < waited[1] < waited[2]


def test_without_a_fast_quorum_it_is_classic_and_a_majority_is_enough() -> None:
    net = Net(3)
    net.deliver()
    net.crash(3)
    net.submit(2, b"x")
    assert same_everywhere(net, b"x") == [b"x"]
    net.settle(lambda: [net.mode(node) for node in (1, 2)] == ["classic"] * 2)
    (reason,) = [event.arguments["reason"] for event in net.happened("fell back")]
    assert reason == "no fast quorum answers"
    net.start(3)
    net.settle(lambda: net.mode(3) == "fast")
    net.submit(3, b"y")
    assert same_everywhere(net, b"y") == [b"x", b"y"]


# --- who coordinates -------------------------------------------------------------------------------------


def test_a_dead_coordinator_is_replaced_and_what_it_left_is_repaired() -> None:
    net = Net(5)
    net.deliver()
    for site in (2, 3, 4):
        net.submit(site, b"%d" % site)
    net.deliver(Propose)
    net.crash(1)
    net.deliver()
    assert net.applied(2) == []  # nobody is there to recover
    same_everywhere(net, b"2", b"3", b"4")
    assert net.happened("leader change")
    assert net.happened("adopted")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("back", [False, True], ids=["stays down", "comes back"])
def test_a_coordinator_killed_at_every_step_of_a_recovery(policy: str, back: bool) -> None:
    """Between collision and recovery, during recovery, and after: at each message that is delivered."""
    seen: set[tuple[str, int]] = set()
    for at in range(0, 60, 2):
        net = Net(5, settings=settings(recovery=policy))
        net.deliver()
        for site in (2, 3, 4):
            net.submit(site, b"%d" % site)
        for _ in range(at):
            if net.network:
                net.hand_over(net.network.pop(0))
        net.crash(1)
        net.deliver()
        if back:
            net.start(1)
        applied = same_everywhere(net, b"2", b"3", b"4")
        assert sorted(set(applied)) == [b"2", b"3", b"4"]
        seen |= {(event.action, event.node) for event in net.events}
    assert (("recovered", 1) if policy == "coordinated" else ("recovered alone", 5)) in seen
    assert {node for action, node in seen if action == "adopted"}


def test_a_coordinator_killed_between_any_and_the_first_vote() -> None:
    """Its fast ballot is open to those that were told, in whatever order: each subset of them."""
    for told in itertools.chain.from_iterable(itertools.combinations((1, 3, 4, 5), k) for k in range(5)):
        net = Net(5, settings=settings(quiet_s=0.3))
        net.deliver()
        net.submit(2, b"before")
        net.deliver()
        net.elect(2)
        net.until(partial(net.happened, "fast again", 2))
        net.until(lambda: net.coordinators)  # noqa: B023 - called here and now
        office = net.nodes[2].office
        assert office is not None
        assert office.is_fast
        beats = [sent for sent in net.pick(Heartbeat, sender=2) if sent.message.ballot == office.ballot]
        assert {sent.recipient for sent in beats} == {1, 3, 4, 5}
        net.drop()
        net.crash(2)
        for sent in beats:
            if sent.recipient in told:
                net.hand_over(sent)
        for site in told:
            net.submit(site, b"%d" % site)
        net.submit(5, b"after")
        same_everywhere(net, b"before", b"after", *(b"%d" % site for site in told))


def test_a_round_is_coordinated_in_one_life_only() -> None:
    net = Net(3)
    net.deliver()
    assert net.coordinators == [1]
    net.restart(1)
    net.deliver()
    assert net.coordinators == []  # round 0 was the first life's
    net.submit(2, b"x")  # which is no obstacle
    net.deliver()
    assert [net.applied(node) for node in net.nodes] == [[b"x"]] * 3
    net.settle(net.all_follow)
    assert net.nodes[net.coordinators[0]].acceptor.floor.round > 0
    assert net.violations == {}


def test_the_coordination_is_handed_over() -> None:
    net = Net(3)
    net.deliver()
    net.hand_over_to(1, 3)
    net.settle(lambda: net.coordinators == [3])
    net.submit(1, b"x")
    assert same_everywhere(net, b"x") == [b"x"]
    for action, node, what in (("dance", 2, "has no action"), ("transfer", 9, "no member")):
        with pytest.raises(ConfigurationError, match=what):
            net.nodes[3].instruct(action, node, net.now)
    with pytest.raises(ConfigurationError, match="the coordinator it knows of is 3"):
        net.nodes[1].instruct("transfer", 2, net.now)


# --- one promise for all slots, and one for each -----------------------------------------------------------


def test_a_recovery_leaves_the_fast_ballot_of_other_slots_open() -> None:
    net = Net(5)
    net.deliver()
    collide(net)
    assert net.happened("recovered", 1)
    assert {net.nodes[node].acceptor.floor for node in net.nodes} == {OPEN}
    net.submit(4, b"x")
    net.deliver(Propose)
    net.deliver(Voted)
    assert all(b"x" in net.applied(node) for node in net.nodes)
    assert len(net.happened("campaign")) == 0


def test_phase_1_ends_the_fast_ballot_of_every_slot() -> None:
    net = Net(3, observers=(4,))
    net.deliver()
    net.submit(4, b"late")
    late = net.pick(Propose)
    net.drop()
    net.isolate(4)
    net.elect(2)
    net.cut.clear()
    for sent in late:
        net.hand_over(sent)
    nacks = net.pick(Nack, to=4)
    assert len(nacks) == 3
    assert {sent.message.ballot for sent in nacks} == {OPEN}
    assert same_everywhere(net, b"late") == [b"late"]


def test_a_candidate_below_a_promise_for_one_slot_is_refused() -> None:
    net = Net(5)
    net.deliver()
    net.hand_over_message(4, 2, Accept(Ballot(3, 4, 1), 7, b""))
    assert net.nodes[2].acceptor.floor == OPEN
    net.hand_over_message(3, 2, Prepare(Ballot(2, 3, 1), 1))
    (nack,) = net.pick(Nack, to=3)
    assert nack.message.promised == Ballot(3, 4, 1)
    net.hand_over_message(5, 2, Prepare(Ballot(4, 5, 1), 1))
    (promise,) = net.pick(Promise, to=5)
    assert promise.message.entries == ((7, Ballot(3, 4, 1), b""),)


# --- restarts, compaction, reads ------------------------------------------------------------------------


def test_all_nodes_restart_and_nothing_is_lost() -> None:
    net = Net(3)
    net.submit(1, *[b"%d" % number for number in range(30)])
    net.deliver()
    before = net.applied(2)
    for node in net.everyone:
        net.crash(node)
    for node in net.everyone:
        net.start(node)
    assert net.applied(1)  # what its own disk proves
    net.submit(2, b"more")
    assert same_everywhere(net, b"more") == [*before, b"more"]


def test_a_replica_behind_compaction_is_sent_a_snapshot() -> None:
    net = Net(5)
    net.deliver()
    net.crash(5)
    net.submit(1, *[b"%d" % number for number in range(12)])
    net.deliver()
    for node in (1, 2, 3, 4):
        assert net.snapshot(node) == 12
        assert net.nodes[node].acceptor.compacted == 12
        net.advance(0.0)
    net.start(5)
    # It believes slot 1 free.
    net.submit(5, b"late")
    assert net.pick(Propose, sender=5)[0].message.slot == 1
    applied = same_everywhere(net, b"late")
    assert applied[-1] == b"late"
    assert net.happened("installed", 5)


def test_a_coordinator_behind_compaction_installs_before_it_applies() -> None:
    net = Net(5)
    net.deliver()
    net.isolate(5)
    net.submit(1, *[b"%d" % number for number in range(8)])
    net.deliver()
    for node in (1, 2, 3, 4):
        net.snapshot(node)
    net.cut.clear()
    net.crash(1)
    net.elect(5)
    assert net.nodes[5].office is not None
    assert net.nodes[5].office.floor == 8
    net.submit(5, b"x")
    assert same_everywhere(net, b"x")[-1] == b"x"


def test_a_read_sees_what_was_acknowledged_and_asks_a_quorum() -> None:
    net = Net(5)
    net.deliver()
    net.isolate(5)
    net.submit(1, b"x")
    net.deliver()
    net.cut.clear()
    net.drop()
    read = net.read(5)
    assert {sent.recipient for sent in net.pick(ReadIndex)} == {1, 2, 3, 4}
    net.deliver(ReadIndex, to=(1, 2))
    assert net.kind(read) is None
    net.deliver(ReadAt)
    assert net.kind(read) is OutcomeKind.READY
    assert net.outcomes[read][1].mark == 1
    assert same_everywhere(net, b"x") == [b"x"]


def test_reads_share_a_question_and_late_answers_serve_nobody() -> None:
    net = Net(3)
    net.deliver()
    first = net.read(2)
    later = [net.read(2), net.read(2)]
    answers = [ReadAt(sent.message.life, sent.message.number, 0) for sent in net.pick(ReadIndex)]
    net.deliver()
    assert net.kind(first) is OutcomeKind.READY
    assert all(net.kind(each) is OutcomeKind.READY for each in later)
    last = net.read(2)
    for answer in answers:
        net.hand_over_message(1, 2, answer)
    assert net.kind(last) is None
    net.deliver()
    assert net.kind(last) is OutcomeKind.READY


def test_a_read_waits_for_a_slot_that_only_one_voted_in_and_that_is_recovered() -> None:
    net = Net(5)
    net.deliver()
    net.submit(2, b"half")
    net.drop()  # but its own vote is cast
    net.crash(1)
    read = net.read(2)
    net.deliver()
    assert net.outcomes[read][1].mark == 1
    assert net.applied(2) == []
    assert same_everywhere(net, b"half") == [b"half"]


# --- bad input ---------------------------------------------------------------------------------------------


def test_what_nobody_may_send_changes_nothing() -> None:
    net = Net(3, observers=(4,))
    net.deliver()
    value = pack_value(command(7))
    before = net.nodes[2].fingerprint()
    far = net.settings.window * 10
    for sender, message in (
        (3, Accept(Ballot(5, 1, 1), 1, value)),  # not its ballot
        (3, Heartbeat(Ballot(0, 0, 0), 1, 0, 1)),
        (3, Heartbeat(Ballot(1, 1, 0), 1, 0, 1)),
        (3, Prepare(Ballot(1, 1, 1), 1)),
        (3, Recover(Ballot(1, 1, 1), 1)),
        (1, Recover(Ballot(0, 0, 0), 1)),  # it is fast
        (1, Propose(Ballot(1, 1, 1), 1, value)),  # it is classic
        (1, Propose(OPEN, far, value)),
        (1, Accept(Ballot(1, 1, 1), far, value)),
        (1, Propose(Ballot(1, 1, 9), 1, value)),  # no such ballot
        (1, Accept(Ballot(1 << 50, 1, 1), 1, value)),
        (4, Voted(OPEN, 1, value)),  # an observer
        (9, Propose(OPEN, 1, value)),  # a stranger
        (4, Chosen(1, ((OPEN, value),))),
        (3, "what"),
    ):
        net.hand_over_message(sender, 2, message)
        assert net.nodes[2].fingerprint() == before, message
    assert net.network == []
    assert net.violations == {}


def test_commands_that_are_too_much() -> None:
    net = Net(3, settings=settings(window=2))
    net.isolate(1)
    for _ in range(4):
        net.submit(1)
    assert [outcome.kind for _, outcome in net.outcomes.values()] == [OutcomeKind.REJECTED] * 2
    (request,) = net.submit(2, b"x" * (MAX_COMMAND_BYTES + 1))
    assert net.kind(request) is OutcomeKind.REJECTED
    reads = [net.read(1) for _ in range(3)]
    assert all(net.kind(read) is None for read in reads)


def test_too_many_reads_are_refused() -> None:
    net = Net(3, settings=settings(pending_reads=1))
    net.isolate(1)
    assert net.kind(net.read(1)) is None
    assert net.kind(net.read(1)) is OutcomeKind.REJECTED


def test_what_a_replica_can_not_be_made_of() -> None:
    now = Instant(0.0)

    def make(configuration: Configuration, records: dict[bytes, bytes]) -> FastLogReplica:
        return FastLogReplica(configuration, records, lambda name, bound: 0, now)

    with pytest.raises(QuorumError, match="fast"):
        make(Configuration(1, FlexibleQuorums((1, 2, 3), phase1=2, phase2=2)), {})
    with pytest.raises(RecordError, match="not a record of the log"):
        make(Configuration(1, Majority((1, 2, 3))), {b"zz": b"1"})
    replica = make(Configuration(1, Majority((1, 2, 3))), {})
    with pytest.raises(ConfigurationError, match="slots"):
        replica.compact("everything", now)
    with pytest.raises(RecordError, match="no part of its own"):
        replica.install(3, b"part", now)


def test_a_fetch_of_what_is_not_known_is_not_answered() -> None:
    net = Net(3)
    net.deliver()
    net.hand_over_message(2, 1, Fetch(1, 5))
    assert net.network == []
    net.submit(2, b"x")
    net.deliver()
    net.hand_over_message(2, 1, Fetch(1, 5))
    (sent,) = net.network
    assert [value for _, value in sent.message.entries] == [net.nodes[1].log[1]]
