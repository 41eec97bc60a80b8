"""Schedules that break a log which forgets a rule: each was somebody's bug."""

from multipaxos import MultiPaxosReplica, MultiPaxosSettings
from multipaxos.messages import Accept, Accepted, Chosen, Fetch, Heartbeat, Prepare, Promise
from paxos.ballot import Ballot
from paxos.contract import OutcomeKind
from paxos.quorum import FlexibleQuorums
from tests.multipaxos_net import Net, command


def settings(**changes: object) -> MultiPaxosSettings:
    return MultiPaxosSettings(**({"reserve_rounds": 4, "hint_slots": 4} | changes))  # type: ignore[arg-type]


def stand(net: Net, node: int) -> None:
    """The node stands for election now, whatever the others heard lately, and until it leads."""
    net.drop()
    for _ in range(10):
        net.now_s += net.settings.election_max_s
        net._act("tick", node, lambda replica: replica.tick(net.now))
        while net.network and net.nodes[node].leader is None:
            net.hand_over(net.network.pop(0))
        if net.network:
            return
    raise AssertionError(f"node {node} is not elected")


def place(net: Net, leader: int, payload: bytes, *voters: int) -> None:
    """The leader proposes a command, and of the others only these see it. Nobody's votes arrive."""
    net.deliver()
    net.submit(leader, payload)
    for voter in voters:
        net.deliver(Accept, to=voter)
    net.drop()


def everywhere(net: Net) -> list[list[bytes]]:
    """What every node has applied when all live and are well; it is the same."""
    net.cut.clear()
    for node in net.everyone:
        if node not in net.nodes:
            net.start(node)
    net.submit(net.elect(), b"end")
    net.settle(lambda: all(b"end" in net.applied(node) for node in net.everyone))
    assert net.violations == {}
    assert net.stopped == {}
    return [net.applied(node) for node in net.everyone]


def test_what_one_acceptor_has_from_a_higher_ballot_wins() -> None:
    """Figure 8 of Raft's paper in Paxos's terms: old votes at a low ballot, newer ones at a higher."""
    net = Net(5)
    net.elect(1)
    place(net, 1, b"one", 2)
    net.isolate(1, 2)
    stand(net, 5)
    place(net, 5, b"five")  # nobody but itself
    net.cut.clear()
    net.crash(5)
    stand(net, 1)  # it owes "one", at a higher ballot now
    net.deliver(Accept, to=(2, 3))
    net.deliver(Accepted)
    net.drop()
    assert net.applied(1) == [b"one"]
    net.crash(1)
    net.start(5)
    net.run(0.5)
    assert everywhere(net) == [[b"one", b"end"]] * 5


def test_without_that_vote_the_other_may_win() -> None:
    net = Net(5)
    net.elect(1)
    place(net, 1, b"one", 2)
    net.isolate(1, 2)
    stand(net, 5)
    place(net, 5, b"five")
    net.cut.clear()
    net.crash(1)
    net.crash(2)
    stand(net, 5)
    net.run(0.5)
    assert everywhere(net) == [[b"five", b"end"]] * 5


def test_a_commit_index_does_not_commit_what_was_voted_at_a_lower_ballot() -> None:
    net = Net(settings=settings(hint_slots=1))
    net.elect(1)
    place(net, 1, b"lost")  # node 1 alone voted for it
    net.isolate(1)
    stand(net, 2)
    net.submit(2, b"chosen")
    net.deliver()
    assert net.applied(2) == net.applied(3) == [b"chosen"]
    net.cut.clear()
    net.drop()
    net.advance(net.settings.heartbeat_s, only=2)
    net.deliver(Heartbeat, to=1)
    # The index says that slot 1 is chosen, and node 1 holds a vote there: of another ballot.
    assert net.nodes[1].learner.known == 1
    assert net.applied(1) == []
    net.advance(net.settings.fetch_s, only=1)
    assert net.pick(Fetch, sender=1)
    net.deliver(Fetch)
    net.deliver(Chosen)
    assert net.applied(1) == [b"chosen"]
    net.restart(1)
    assert net.applied(1) == [b"chosen"]  # its disk says that this one was chosen
    assert everywhere(net) == [[b"chosen", b"end"]] * 3


def test_an_index_of_an_old_leader_is_not_heard() -> None:
    net = Net()
    net.elect(1)
    place(net, 1, b"a", 2)
    old = net.nodes[1].acceptor.promised
    high = Ballot(old.round + 1, 3)
    follower = net.nodes[2]
    follower.receive(3, Prepare(high, 1), net.now)
    follower.effects()
    follower.receive(1, Heartbeat(old, 9, 1), net.now)
    follower.receive(1, Accept(old, 2, b"", 1), net.now)
    assert follower.learner.known == 0
    assert not follower.effects().applies


def test_a_new_leader_leaves_no_gap_and_fills_it_before_anything_new() -> None:
    net = Net()
    net.elect(1)
    net.submit(1, b"a", b"b", b"c")
    for sent in net.pick(Accept):
        if sent.message.slot != 3:
            net.network.remove(sent)
    net.deliver(Accept)  # nodes 2 and 3 hold the third only
    net.crash(1)
    net.drop()
    stand(net, 2)
    (request,) = net.submit(2, b"new")
    slots = [sent.message.slot for sent in net.pick(Accept, to=3)]
    assert slots == [1, 2, 3, 4]
    assert net.kind(request) is None
    net.deliver()
    assert net.happened("gap filled")[-1].arguments["slots"] == 2
    assert net.applied(2) == net.applied(3) == [b"c", b"new"]
    assert net.machines[2].mark == 4
    assert everywhere(net) == [[b"c", b"new", b"end"]] * 3


def test_what_does_not_fit_into_the_window_is_still_repaired_first() -> None:
    net = Net(settings=settings(window=2))
    net.elect(1)
    for number in range(6):
        net.submit(1, b"%d" % number)
        net.deliver(Accept, to=3)
        net.deliver(Accepted)
        net.drop()
    assert net.machines[1].mark == 6
    assert net.machines[2].mark == 0
    net.crash(1)
    net.drop()
    stand(net, 2)
    assert net.rooms[2] == 0
    (request,) = net.submit(2, b"early")
    assert net.kind(request) is OutcomeKind.REJECTED
    net.run(0.5)
    assert everywhere(net) == [[*(b"%d" % number for number in range(6)), b"end"]] * 3


def test_a_command_that_comes_with_the_votes_is_not_placed_before_what_is_owed() -> None:
    net = Net(settings=settings(window=2))
    net.elect(1)
    for number in range(6):
        net.submit(1, b"%d" % number)
        net.deliver(Accept, to=3)
        net.deliver(Accepted)
        net.drop()
    net.crash(1)
    stand(net, 2)
    net.deliver(Accept, to=3)
    votes = net.pick(Accepted, to=2)[0]
    new = command(99, b"new")

    def in_one_turn(replica: MultiPaxosReplica) -> None:
        replica.receive(3, votes.message, net.now)
        replica.submit((new,), net.now)

    net._act("receive", 2, in_one_turn, 3, votes.message)
    assert net.kind(new.request) is OutcomeKind.REJECTED
    net.run(0.5)
    assert everywhere(net) == [[*(b"%d" % number for number in range(6)), b"end"]] * 3


def test_nothing_is_proposed_in_slots_that_somebody_compacted() -> None:
    net = Net()
    net.elect(1)
    net.crash(3)
    net.submit(1, *(b"%d" % number for number in range(5)))
    net.deliver()
    net.snapshot(1)
    net.snapshot(2)
    place(net, 1, b"tail", 2)
    net.crash(1)
    net.start(3)
    stand(net, 3)  # with node 2, which has forgotten slots 1 to 5
    leader = net.nodes[3].leader
    assert leader is not None
    assert (leader.floor, leader.owed) == (5, 6)
    read = net.read(3)
    (request,) = net.submit(3, b"new")
    assert {sent.message.slot for sent in net.pick(Accept)} == {6, 7}
    # It leads, but it neither applies nor serves before the snapshot has come.
    for _ in range(20):
        net.deliver()
        net.advance(0.02)
    assert net.leaders == [3]
    assert net.machines[3].mark == 0
    assert leader.committed == 7
    assert net.transfers
    net.bring()
    net.deliver()
    assert net.applied(3) == [*(b"%d" % number for number in range(5)), b"tail", b"new"]
    assert net.outcomes[read][1].mark in (6, 7)
    assert net.kind(request) is None
    assert len(everywhere(net)[0]) == 8


def test_a_leader_that_waits_for_a_snapshot_places_no_more_than_a_window() -> None:
    net = Net(settings=settings(window=4))
    net.elect(1)
    net.crash(3)
    net.submit(1, b"a", b"b")
    net.deliver()
    net.snapshot(1)
    net.snapshot(2)
    net.crash(1)
    net.start(3)
    stand(net, 3)
    kinds = []
    for number in range(8):
        (request,) = net.submit(3, b"%d" % number)
        net.deliver()
        kinds.append(net.kind(request))
    assert kinds == [None] * 4 + [OutcomeKind.REJECTED] * 4
    net.run(0.5)
    assert net.rooms[3] == 4
    assert net.applied(3) == [b"a", b"b", b"0", b"1", b"2", b"3"]


def test_a_snapshot_beyond_what_a_leader_counted_ends_its_office() -> None:
    """Else it would send an index that counts what others chose at a higher ballot than its own."""
    net = Net(5)
    net.elect(1)
    place(net, 1, b"lost", 2)
    net.isolate(1, 2)
    net.now_s += net.settings.election_max_s
    net._act("tick", 3, lambda replica: replica.tick(net.now))
    net.until(lambda: net.nodes[3].leader is not None)
    net.submit(3, b"chosen")
    net.deliver()
    assert net.applied(3) == [b"chosen"]
    net.snapshot(3)
    assert net.leaders == [1, 3]
    # Node 1 still leads at its old ballot when a snapshot of the others reaches it.
    machine = net.machines[1]
    machine.mark, machine.state = net.machines[3].mark, list(net.machines[3].state)
    machine.snapshot = net.machines[3].snapshot
    machine.part = net.machines[3].part
    net._act("install", 1, lambda replica: replica.install(1, machine.part, net.now))
    assert net.leaders == [3]
    assert net.nodes[2].learner.known == 0
    net.advance(0.2, only=1)
    assert not [sent for sent in net.pick((Heartbeat, Accept), sender=1) if sent.message.committed]
    assert everywhere(net) == [[b"chosen", b"end"]] * 5


def test_a_compacted_slot_is_voted_for_without_being_remembered() -> None:
    """The leader needs the vote of one that has forgotten the slot, or nobody may ever complete it."""
    net = Net()
    net.elect(1)
    net.submit(1, b"a", b"b")
    net.deliver(Accept)
    net.deliver(Accepted)
    net.deliver(Heartbeat, to=2)
    assert net.applied(2) == [b"a", b"b"]
    net.snapshot(2)
    net.crash(1)
    net.drop()
    net.cut |= {(2, 3), (3, 2)}
    net.start(1)
    net.cut.clear()
    net.crash(2)
    stand(net, 3)  # with node 1
    net.drop()
    net.crash(1)
    net.start(2)
    net.run(1.0)
    assert net.applied(3) == [b"a", b"b"]
    assert everywhere(net) == [[b"a", b"b", b"end"]] * 3


def test_the_phase_one_quorum_of_four_meets_every_pair_that_chose() -> None:
    net = Net(quorums=FlexibleQuorums((1, 2, 3, 4, 5), phase1=4, phase2=2))
    net.elect(1)
    net.submit(1, b"a")
    net.deliver(Accept, to=2)
    net.deliver(Accepted)
    assert net.applied(1) == [b"a"]
    net.crash(1)
    net.drop()
    net.now_s += 5.0
    net.slow.add(2)
    net._act("tick", 5, lambda replica: replica.tick(net.now))
    net.deliver()
    # Three have promised; the fourth is the one that voted, and its disk is slow.
    assert net.leaders == []
    assert net.happened("campaign", 5)
    net.slow.clear()
    net.flush(2)
    net.deliver()
    assert net.leaders == [5]
    net.run(0.5)
    assert net.applied(5) == [b"a"]
    assert everywhere(net) == [[b"a", b"end"]] * 5


def test_a_promise_that_was_forgotten_would_have_been_broken() -> None:
    """An acceptor restarts between its promise and an old leader's question."""
    net = Net()
    net.elect(1)
    net.isolate(1)
    stand(net, 2)
    net.cut.clear()
    net.drop()
    net.restart(3)
    net.submit(1, b"old")
    net.deliver(Accept, sender=1, to=3)
    assert net.pick(Accepted, sender=3) == []
    net.run(2.0)
    assert everywhere(net)[0][-1:] == [b"end"]


def test_a_late_page_of_an_earlier_candidacy_is_not_counted() -> None:
    net = Net(settings=settings(page_slots=1))
    net.elect(1)
    place(net, 1, b"a", 2, 3)
    net.crash(1)
    net.now_s += 5.0
    net._act("tick", 2, lambda replica: replica.tick(net.now))
    net.until(lambda: net.pick(Promise, sender=3))
    (late,) = net.pick(Promise, sender=3)
    net.drop()
    net.now_s += 5.0
    net._act("tick", 2, lambda replica: replica.tick(net.now))
    net.until(lambda: len(net.happened("campaign", 2)) == 2)
    net.drop()
    net.hand_over(late)
    assert net.nodes[2].leader is None
    net.run(5.0)
    assert everywhere(net) == [[b"a", b"end"]] * 3


def lacking(net: Net) -> None:
    """Node 2 leads and lacks two slots, chosen with its vote: only node 1 knows, and has forgotten them."""
    net.elect(1)
    net.submit(1, b"a", b"b")
    net.deliver(Accept)
    net.deliver(Accepted, sender=2)
    assert net.applied(1) == [b"a", b"b"]
    net.snapshot(1)
    net.restart(1)
    net.cut |= {(2, 3), (3, 2)}
    stand(net, 2)
    net.cut.clear()
    leader = net.nodes[2].leader
    assert leader is not None
    assert (leader.floor, net.nodes[2].learner.committed) == (2, 0)


def test_a_leader_that_can_not_get_what_it_lacks_makes_room_for_the_one_that_has_it() -> None:
    net = Net(settings=settings(lease_s=0.5))
    lacking(net)
    for _ in range(100):  # and no snapshot ever arrives
        net.deliver()
        net.advance(0.02)
    assert net.leaders == [1]
    assert [event.arguments["reason"] for event in net.happened("stepped-down", 2)] == [
        "what is chosen up to slot 2 does not come from node 1"
    ]
    assert everywhere(net) == [[b"a", b"b", b"end"]] * 3


def test_what_only_a_dead_node_knows_to_be_chosen_is_chosen_anew() -> None:
    net = Net()
    lacking(net)
    net.crash(1)
    net.drop()
    net.submit(2, b"c")
    net.settle(lambda: net.applied(2) == net.applied(3) == [b"a", b"b", b"c"], seconds=10)
    assert everywhere(net) == [[b"a", b"b", b"c", b"end"]] * 3


def test_a_leader_that_gets_what_it_lacks_page_by_page_goes_on() -> None:
    net = Net()
    lacking(net)
    office, learner = net.nodes[2]._office, net.nodes[2].learner
    assert office is not None
    reasons = []
    for committed in (1, 1, 2, 2, 2):
        net.now_s += net.settings.election_max_s
        learner.committed = committed
        for peer in office.leader.peers.values():
            peer.heard_s = net.now_s
        reasons.append(bool(office.tick(net.now_s)))
    assert reasons == [False, True, False, False, False]


def test_what_is_chosen_beyond_what_a_node_was_told_is_left_for_later() -> None:
    """It answers an earlier life. Taken, it would be in a hint whose ballot says nothing of that slot."""
    net = Net()
    net.elect(1)
    net.submit(1, b"a", b"b")
    net.deliver(Accept, to=2)
    net.deliver(Accepted, sender=2)
    values = tuple((Ballot(1, 1), value) for value in net.nodes[1].log.values())
    assert len(values) == 2
    late = net.nodes[3]
    assert late.learner.known == 0
    late.receive(1, Chosen(1, values), net.now)
    assert late.effects().applies == []
    assert everywhere(net) == [[b"a", b"b", b"end"]] * 3
