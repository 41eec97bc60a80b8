"""A replica of Multi-Paxos as its driver sees it: submitting, repeating, disk, restarts, snapshots."""

from collections import Counter

import pytest

from multipaxos import MultiPaxosReplica, MultiPaxosSettings, protocol
from multipaxos.messages import (
    Accept,
    Accepted,
    Chosen,
    Fetch,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    Promise,
    Reserved,
)
from multipaxos.records import (
    HINT_KEY,
    PROMISE_KEY,
    pack_hints,
    pack_part,
    pack_promise,
    pack_vote,
    slot_key,
)
from paxos.ballot import BOTTOM, Ballot
from paxos.basic import Chosen as BasicChosen
from paxos.basic.values import pack_value
from paxos.command import MAX_COMMAND_BYTES
from paxos.contract import Configuration, Decides, Instant, OutcomeKind, find_protocol
from paxos.errors import ConfigurationError, ProtocolBreach, RecordError
from paxos.quorum import FlexibleQuorums, Majority
from tests.multipaxos_net import Net, command


def settings(**changes: object) -> MultiPaxosSettings:
    return MultiPaxosSettings(**({"reserve_rounds": 4, "hint_slots": 4} | changes))  # type: ignore[arg-type]


def pack(number: int) -> bytes:
    return pack_value(command(number))


# --- submitting -----------------------------------------------------------------------------------------


def test_three_replicas_elect_a_leader_and_commit() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, *(b"%d" % n for n in range(100)))
    net.settle(lambda: all(len(net.applied(node)) == 100 for node in net.everyone), seconds=2)
    assert net.applied(1) == net.applied(2) == net.applied(3) == [b"%d" % n for n in range(100)]
    assert net.violations == {}


def test_they_survive_the_loss_of_the_leader() -> None:
    net = Net()
    first = net.elect()
    net.submit(first, b"a")
    net.run(0.5)
    net.submit(first, b"b")
    net.crash(first)
    net.settle(lambda: net.leaders)
    second = net.leaders[0]
    assert second != first
    net.submit(second, b"c")
    net.start(first)
    net.settle(lambda: all(b"c" in net.applied(node) for node in net.everyone))
    assert net.applied(1) == net.applied(2) == net.applied(3) == [b"a", b"b", b"c"]
    assert net.violations == {}


def test_one_replica_alone_needs_nobody() -> None:
    net = Net(1)
    net.advance(0.0)
    assert net.leaders == [1]
    net.submit(1, b"a")
    request = net.read(1)
    assert net.applied(1) == [b"a"]
    assert net.outcomes[request][1].mark == 1


def test_who_does_not_lead_names_the_leader() -> None:
    net = Net()
    (early,) = net.submit(2)
    assert net.kind(early) is OutcomeKind.REJECTED
    assert "no leader" in net.outcomes[early][1].reason
    leader = net.elect()
    (late,) = net.submit(leader % 3 + 1)
    assert net.outcomes[late][1].kind is OutcomeKind.REDIRECT
    assert net.outcomes[late][1].node == leader
    assert net.rooms[leader % 3 + 1] == net.settings.window


def test_the_window_bounds_what_is_in_flight() -> None:
    net = Net(settings=settings(window=3))
    leader = net.elect()
    assert net.rooms[leader] == 3
    requests = net.submit(leader, *(b"%d" % n for n in range(5)))
    assert [net.kind(r) for r in requests] == [None] * 3 + [OutcomeKind.REJECTED] * 2
    assert "no room" in net.outcomes[requests[4]][1].reason
    assert net.rooms[leader] == 0
    net.deliver()
    assert net.rooms[leader] == 3
    assert net.applied(leader) == [b"0", b"1", b"2"]


def test_the_bytes_in_flight_are_bounded_too() -> None:
    net = Net(settings=settings(window_bytes=1000))
    leader = net.elect()
    requests = net.submit(leader, bytes(900), bytes(900), bytes(1))
    assert [net.kind(request) for request in requests] == [None, None, OutcomeKind.REJECTED]
    assert net.rooms[leader] == 0
    net.deliver()
    assert net.rooms[leader] == net.settings.window


def test_a_command_that_is_too_large_is_refused_with_the_limit() -> None:
    net = Net()
    leader = net.elect()
    largest, larger = net.submit(leader, bytes(MAX_COMMAND_BYTES), bytes(MAX_COMMAND_BYTES + 1))
    net.deliver()
    assert net.kind(largest) is None
    assert net.machines[leader].mark == 1
    assert str(MAX_COMMAND_BYTES) in net.outcomes[larger][1].reason


# --- messages -------------------------------------------------------------------------------------------


def test_a_steady_state_needs_no_message_for_a_commit() -> None:
    net = Net()
    leader = net.elect()
    sent: Counter[str] = Counter()
    net.submit(leader, b"first")
    for number in range(20):
        # The next slot is under way before the votes for this one come.
        net.deliver(Accept)
        net.submit(leader, b"%d" % number)
        votes = net.pick(Accepted)
        sent.update(type(one.message).__name__ for one in net.network)
        for one in votes:
            net.network.remove(one)
            net.hand_over(one)
    assert sent == {"Accept": 2 * 20, "Accepted": 2 * 20}
    assert net.machines[leader].mark == 20
    assert net.violations == {}


def test_followers_apply_soon_when_nothing_follows() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, b"last")
    net.deliver()  # no time passes
    assert all(net.applied(node) == [b"last"] for node in net.everyone)


def test_votes_of_one_turn_are_told_in_one_message() -> None:
    net = Net()
    leader = net.elect()
    follower = net.nodes[leader % 3 + 1]
    ballot = follower.acceptor.promised
    for slot in (1, 2, 3, 5):
        follower.receive(leader, Accept(ballot, slot, b"", 0), net.now)
    effects = follower.effects()
    assert effects.sends == [(leader, Accepted(ballot, ((1, 3), (5, 5))))]
    assert len(effects.writes) == 4


def test_a_lost_question_is_repeated_and_a_lost_vote_too() -> None:
    for lost in (Accept, Accepted):
        net = Net()
        leader = net.elect()
        net.submit(leader, b"a")
        if lost is Accepted:
            net.deliver(Accept)
        net.drop(lost)
        net.run(2 * net.settings.repeat_s + 0.2)
        assert all(net.applied(node) == [b"a"] for node in net.everyone), lost
        assert net.violations == {}


def test_repetitions_to_a_dead_follower_are_few_and_end() -> None:
    net = Net(5, settings=settings(repeat_slots=4))
    leader = net.elect()
    dead = leader % 5 + 1
    net.isolate(dead)
    net.submit(leader, *(b"%d" % n for n in range(50)))
    net.drop(Accept, to=dead)
    net.run(1.0)
    repeated = net.pick(Accept, to=dead)
    assert repeated == []
    peer = net.nodes[leader].leader
    assert peer is not None
    assert peer.flights == {}  # nothing is kept for its sake


def test_a_follower_asks_for_what_it_missed() -> None:
    net = Net(settings=settings(page_slots=3))
    leader = net.elect()
    late = leader % 3 + 1
    net.submit(leader, *(b"%d" % n for n in range(10)))
    net.drop(Accept, to=late)
    net.run(1.0)
    assert net.applied(late) == net.applied(leader)
    assert len(net.happened("fetched", late)) == 4
    assert net.violations == {}


def test_a_gap_that_closes_by_itself_is_not_asked_for() -> None:
    net = Net()
    leader = net.elect()
    late = leader % 3 + 1
    net.submit(leader, b"a")
    net.submit(leader, b"b")
    (first,) = net.pick(Accept, to=late)[:1]
    net.network.remove(first)
    net.deliver()  # the second, and the news that both are chosen
    assert net.applied(late) == []
    net.hand_over(first)
    assert net.applied(late) == [b"a", b"b"]
    net.advance(net.settings.fetch_s * 2)
    assert net.pick(Fetch) == []


def test_what_one_source_does_not_answer_another_is_asked() -> None:
    net = Net()
    leader = net.elect()
    late, other = (n for n in net.everyone if n != leader)
    net.submit(leader, b"a")
    net.drop(Accept, to=late)
    net.cut.add((late, leader))
    net.deliver(sender=leader)
    net.deliver(sender=other)
    net.deliver(sender=leader)
    for _ in range(40):
        net.advance(0.05)
        net.deliver()
    assert net.applied(late) == [b"a"]


def test_only_what_is_committed_is_told_as_chosen() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, b"a")
    net.deliver()
    net.submit(leader, b"not yet")
    replica = net.nodes[leader]
    replica.receive(leader % 3 + 1, Fetch(1, 2), net.now)
    ((_, answer),) = replica.effects().sends
    assert answer == Chosen(1, ((replica.acceptor.promised, replica.log[1]),))
    replica.receive(leader % 3 + 1, Fetch(2, 2), net.now)
    assert replica.effects().sends == []


def test_strangers_change_nothing() -> None:
    net = Net(3, observers=(4,))
    leader = net.elect()
    follower = net.nodes[leader % 3 + 1]
    ballot = follower.acceptor.promised
    high = Ballot(ballot.round + 1, 9)
    before = follower.fingerprint()
    for message in (
        Prepare(high, 1),
        Accept(high, 1, b"", 1),
        Heartbeat(high, 1, 5),
        Nack(ballot, high),
        Chosen(1, ((ballot, b""),)),
        Promise(ballot, 1, (), 0, 0),
    ):
        for sender in (9, 4):
            follower.receive(sender, message, net.now)
        # Nor does a member's that is about another's ballot.
        if not isinstance(message, Nack | Chosen):
            follower.receive(leader % 3 + 2 if leader % 3 + 2 <= 3 else 1, message, net.now)
    follower.receive(leader, BasicChosen(b"", ballot, b""), net.now)
    effects = follower.effects()
    assert follower.fingerprint() == before
    assert not effects.sends
    assert not effects.writes
    assert not effects.applies
    assert {event.action for event in effects.events} == {"refused"}


def test_votes_of_an_observer_do_not_count() -> None:
    net = Net(3, observers=(4, 5))
    leader = net.elect()
    net.submit(leader, b"a")
    net.drop(Accept)
    replica = net.nodes[leader]
    for observer in (4, 5):
        replica.receive(observer, Accepted(replica.acceptor.promised, ((1, 1),)), net.now)
        replica.receive(observer, HeartbeatReply(replica.acceptor.promised, 1, 0), net.now)
    assert replica.learner.committed == 0


def test_a_round_that_nobody_can_have_reached_is_not_followed() -> None:
    net = Net()
    leader = net.elect()
    replica = net.nodes[leader]
    other = leader % 3 + 1
    far = Ballot(1 << 47, other)
    promised = replica.acceptor.promised
    for message in (
        Prepare(far, 1),
        Accept(far, 1, b"", 0),
        Heartbeat(far, 1, 0),
        Nack(promised, far),
        Chosen(1, ((far, b""),)),
    ):
        replica.receive(other, message, net.now)
    assert replica.acceptor.promised == promised
    assert replica.leader is not None
    assert replica.election.seen == promised


# --- breaches -----------------------------------------------------------------------------------------


def test_two_values_at_one_ballot_are_refused_and_told() -> None:
    net = Net()
    leader = net.elect()
    follower = net.nodes[leader % 3 + 1]
    ballot = follower.acceptor.promised
    follower.receive(leader, Accept(ballot, 1, b"", 0), net.now)
    follower.effects()
    follower.receive(leader, Accept(ballot, 1, pack(1), 0), net.now)
    effects = follower.effects()
    assert [event.action for event in effects.events] == ["breach"]
    assert not effects.sends
    assert not effects.writes
    assert follower.acceptor.votes[1].accepted_value == b""


def test_another_value_for_a_committed_slot_is_never_voted_for() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, b"a")
    net.deliver()
    follower = net.nodes[leader % 3 + 1]
    high = Ballot(follower.acceptor.promised.round + 1, leader)
    follower.receive(leader, Accept(high, 1, pack(7), 0), net.now)
    assert [event.action for event in follower.effects().events][-1] == "breach"
    assert follower.log[1] == net.nodes[leader].log[1]


def test_news_of_another_decision_stops_the_node() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, b"a")
    net.deliver()
    follower = net.nodes[leader % 3 + 1]
    with pytest.raises(ProtocolBreach, match=r"Agreement.*slot 1"):
        follower.receive(leader, Chosen(1, ((follower.acceptor.promised, pack(7)),)), net.now)


# --- the disk -----------------------------------------------------------------------------------------


def test_the_own_vote_counts_when_it_is_on_the_disk() -> None:
    net = Net()
    leader = net.elect()
    other, third = (n for n in net.everyone if n != leader)
    net.slow.add(leader)
    net.isolate(third)
    net.submit(leader, b"a")
    net.deliver()
    assert net.applied(leader) == net.applied(other) == []
    net.flush(leader)
    assert net.applied(leader) == [b"a"]


def test_a_leader_with_a_slow_disk_commits_by_the_others() -> None:
    net = Net()
    leader = net.elect()
    net.slow.add(leader)
    net.submit(leader, b"a")
    net.deliver()
    assert all(net.applied(node) == [b"a"] for node in net.everyone)
    net.crash(leader)
    net.settle(lambda: net.leaders)
    net.submit(net.leaders[0], b"b")
    net.slow.clear()
    net.start(leader)
    net.settle(lambda: all(net.applied(node) == [b"a", b"b"] for node in net.everyone))
    assert net.violations == {}


def test_a_vote_leaves_when_it_is_on_the_disk() -> None:
    net = Net()
    leader = net.elect()
    other, third = (n for n in net.everyone if n != leader)
    net.slow.add(other)
    net.isolate(third)
    net.submit(leader, b"a")
    net.deliver()
    assert net.applied(leader) == []
    net.crash(other)
    net.start(other)
    assert other not in {sent.sender for sent in net.pick(Accepted)}
    net.slow.clear()
    net.run(1.0)
    assert net.applied(leader) == [b"a"]
    assert net.violations == {}


def test_no_prepare_leaves_before_its_round_is_reserved() -> None:
    net = Net(settings=settings(reserve_rounds=1))
    net.slow.add(1)
    net.restart(1)
    net.advance(5.0, only=1)
    net.deliver()
    assert net.happened("campaign", 1)
    assert net.pick(Prepare, sender=1) == []
    net.flush(1)
    assert net.pick(Prepare, sender=1) != []


def test_no_ballot_is_used_in_two_lives() -> None:
    net = Net(settings=settings(reserve_rounds=3))
    used: list[Ballot] = []
    for _ in range(6):
        node = net.elect(1)
        leader = net.nodes[node].leader
        assert leader is not None
        assert leader.ballot not in used
        used.append(leader.ballot)
        net.restart(node)
    assert net.violations == {}


def test_a_reservation_counts_when_the_own_disk_says_so() -> None:
    net = Net()
    replica = net.nodes[1]
    before = replica.fingerprint()
    replica.receive(2, Reserved(1000), net.now)
    assert replica.fingerprint() == before


# --- restarts --------------------------------------------------------------------------------------------


def test_a_restarted_replica_applies_what_its_disk_says_is_chosen() -> None:
    net = Net(settings=settings(hint_slots=4))
    leader = net.elect()
    for number in range(10):
        net.submit(leader, b"%d" % number)
        net.deliver()
    for node in net.everyone:
        net.crash(node)
    for node in net.everyone:
        net.start(node)
        assert net.applied(node) == [b"%d" % number for number in range(8)]
    net.elect()
    net.run(1.0)
    assert all(net.applied(node) == [b"%d" % number for number in range(10)] for node in net.everyone)
    assert net.violations == {}


def test_a_hint_is_no_reason_to_apply_a_vote_of_a_lower_ballot() -> None:
    net = Net()
    low, high = Ballot(1, 1), Ballot(2, 2)
    records = {
        slot_key(1): pack_vote(high, pack(1)),
        slot_key(2): pack_vote(low, pack(2)),
        slot_key(3): pack_vote(high, pack(3)),
        HINT_KEY: pack_hints([(high, 3)]),
    }
    replica = MultiPaxosReplica(Configuration(1, net.quorums, net.settings), records, net.draws, net.now)
    assert [mark for mark, _ in replica.effects().applies] == [1]
    records[slot_key(2)] = pack_vote(low, pack(2), chosen=True)
    replica = MultiPaxosReplica(Configuration(1, net.quorums, net.settings), records, net.draws, net.now)
    assert replica.effects().applies == [(slot, command(slot)) for slot in (1, 2, 3)]


def test_hints_of_many_leaders_are_kept_apart() -> None:
    net = Net(settings=settings(hint_slots=1))
    for number in range(6):
        node = net.elect(number % 3 + 1)
        net.submit(node, b"%d" % number)
        net.deliver()
    for node in net.everyone:
        net.restart(node)
        assert net.applied(node) == [b"%d" % number for number in range(6)]
    assert net.violations == {}


def test_all_die_and_nothing_acknowledged_is_lost() -> None:
    net = Net(5, settings=settings(hint_slots=1000))
    net.submit(net.elect(), *(b"%d" % n for n in range(20)))
    net.run(0.5)
    for node in net.everyone:
        net.crash(node)
    for node in (1, 3, 5):
        net.start(node)
    net.settle(lambda: net.leaders and all(len(net.applied(node)) == 20 for node in (1, 3, 5)))
    assert net.violations == {}


# --- snapshots --------------------------------------------------------------------------------------------


def test_compaction_forgets_what_a_snapshot_covers() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, *(b"%d" % n for n in range(20)))
    net.run(0.5)
    assert net.snapshot(leader) == 20
    assert not [key for key in net.disks[leader] if key[:1] == b"a"]
    net.submit(leader, b"more")
    net.run(0.5)
    net.restart(leader)
    assert net.applied(leader) == [b"%d" % n for n in range(20)]
    net.settle(lambda: all(b"more" in net.applied(node) for node in net.everyone))
    assert net.violations == {}


def test_deletions_are_bounded_in_a_batch() -> None:
    net = Net()
    replica = net.nodes[1]
    ballot = Ballot(1, 2)
    for slot in range(1, 10_001):
        replica.receive(2, Accept(ballot, slot, b"", slot - 1), net.now)
    replica.effects()
    replica.compact(9_999, net.now)
    batches = []
    for _ in range(4):
        effects = replica.effects()
        batches.append(sum(value is None for _, value in effects.writes))
        if batches[-1]:
            assert effects.wake_at_s == 0.0 or sum(batches) == 9_999
    assert batches == [4096, 4096, 1807, 0]


def test_a_follower_far_behind_gets_a_snapshot_and_goes_on() -> None:
    net = Net()
    leader = net.elect()
    late = leader % 3 + 1
    net.crash(late)
    net.submit(leader, *(b"%d" % n for n in range(20)))
    net.run(0.5)
    for node in net.nodes:
        net.snapshot(node)
    net.submit(leader, b"tail")
    net.start(late)
    net.settle(lambda: b"tail" in net.applied(late))
    assert net.happened("installed", late)
    assert net.applied(late) == net.applied(leader)
    assert net.violations == {}


def test_the_wish_for_a_snapshot_is_repeated_now_and_then() -> None:
    net = Net()
    leader = net.elect()
    late = leader % 3 + 1
    net.crash(late)
    net.submit(leader, b"a")
    net.run(0.5)
    for node in net.nodes:
        net.snapshot(node)
    net.start(late)
    wishes = 0
    for _ in range(200):  # ten seconds in which no snapshot arrives
        net.deliver()
        wishes += len(net.transfers)
        net.transfers.clear()
        net.advance(0.05)
    assert 2 <= wishes <= 20
    net.settle(lambda: net.applied(late) == [b"a"])


def test_a_snapshot_ahead_of_the_log_is_taken_over_at_the_start() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, b"a", b"b")
    net.run(0.5)
    late = leader % 3 + 1
    machine = net.machines[late]
    machine.snapshot = (machine.mark, tuple(machine.state))
    net.crash(late)
    net.disks[late] = {key: value for key, value in net.disks[late].items() if key[:1] not in (b"a", b"h")}
    net.start(late)  # the service tells it of the snapshot
    assert net.nodes[late].learner.committed == 2
    net.submit(leader, b"c")
    net.settle(lambda: net.applied(late) == [b"a", b"b", b"c"])


def test_who_installs_a_snapshot_joins_its_ballot() -> None:
    """Else it promises a lower one and reports the slots as compacted, as if they were chosen up to that."""
    maker = Net()
    maker.elect(1)
    maker.submit(1, b"a")
    maker.run(0.5)
    high = maker.nodes[1].acceptor.promised
    part = maker.nodes[1].part(1)
    net = Net()
    replica = net.nodes[2]
    replica.install(1, part, net.now)
    out = replica.effects()
    assert (PROMISE_KEY, pack_promise(high)) in out.writes
    low = Ballot(high.round - 1, 3, 0)
    replica.receive(3, Prepare(low, 1), net.now)
    assert [message for _, message in replica.effects().sends] == [Nack(low, high)]
    replica.receive(3, Prepare(Ballot(high.round, 3, 0), 1), net.now)
    assert [message.compacted for _, message in replica.effects().sends] == [1]
    replica.install(2, pack_part(BOTTOM), net.now)
    assert replica.acceptor.promised == Ballot(high.round, 3, 0), "an older promise changes nothing"
    with pytest.raises(RecordError, match="the part of a snapshot"):
        replica.install(3, part[:-1], net.now)


def test_installing_never_goes_back() -> None:
    net = Net()
    leader = net.elect()
    net.submit(leader, *(b"%d" % n for n in range(5)))
    net.run(0.5)
    replica = net.nodes[leader % 3 + 1]
    replica.install(3, b"", net.now)
    assert replica.learner.committed == 5
    assert replica.acceptor.compacted == 3
    assert replica.part(3) == pack_part(replica.acceptor.promised)
    assert replica.log.keys() == {4, 5}
    with pytest.raises(ConfigurationError, match="slots"):
        replica.compact("three", net.now)


# --- configuration -----------------------------------------------------------------------------------------


def test_the_protocol_is_found_by_its_name() -> None:
    assert find_protocol("multipaxos") is protocol
    assert protocol.decides is Decides.LOG
    assert protocol.settings is MultiPaxosSettings
    assert len({make(Majority((1,))).name for make in protocol.invariants}) == len(protocol.invariants)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"node": 4}, "none of the members"),
        ({"observers": (3, 4)}, "both members and observers"),
        ({"settings": "fast"}, "MultiPaxosSettings"),
    ],
)
def test_a_configuration_that_can_not_work_is_refused(change: dict[str, object], why: str) -> None:
    arguments: dict[str, object] = {"node": 1, "quorums": Majority((1, 2, 3)), **change}
    with pytest.raises(ConfigurationError, match=why):
        MultiPaxosReplica(Configuration(**arguments), {}, lambda name, bound: 0, Instant(0.0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"heartbeat_s": 0.0}, "heartbeat_s"),
        ({"heartbeat_s": 2.0}, "must rise"),
        ({"election_min_s": 2.0}, "must rise"),
        ({"window": 0}, "window"),
        ({"window": 1.5}, "window"),
        ({"page_slots": True}, "page_slots"),
        ({"repeat_s": float("nan")}, "repeat_s"),
    ],
)
def test_settings_that_can_not_work_are_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        settings(**change)


def test_the_bound_is_to_the_leader_and_to_its_quorum() -> None:
    rtt = {(1, 2): 10.0, (1, 3): 100.0, (2, 3): 90.0}

    def between(a: int, b: int) -> float:
        return rtt[min(a, b), max(a, b)]

    assert protocol.bound_ms is not None
    sites = (1, 2, 3)
    # Node 2 is the best leader: its nearest quorum is node 1.
    assert [protocol.bound_ms(site, sites, between, Majority(sites)) for site in sites] == [20.0, 10.0, 100.0]
    all_three = FlexibleQuorums(sites, phase1=1, phase2=3)
    assert protocol.bound_ms(2, sites, between, all_three) == 90.0


def test_status_says_who_leads_and_how_far() -> None:
    net = Net(3, observers=(4,))
    leader = net.elect()
    net.submit(leader, b"a")
    net.deliver()
    status = net.nodes[leader].status()
    assert (status.values["role"], status.values["leader"], status.values["committed"]) == (
        "leader",
        leader,
        1,
    )
    assert net.nodes[4].status().values["role"] == "observer"
    assert f"leader is node {leader}" in net.nodes[4].status().summary
