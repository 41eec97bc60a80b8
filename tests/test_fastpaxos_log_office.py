"""A coordinator of the log of Fast Paxos, and those that hear it: what each question is answered with."""

import pytest

from fastpaxos.log import FastLogReplica, FastLogSettings, Office
from fastpaxos.log.messages import (
    Accept,
    Chosen,
    Fetch,
    Forward,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    PreVote,
    PreVoted,
    Promise,
    Propose,
    ReadAt,
    Recover,
    Report,
    Reserved,
    TakeOver,
    Voted,
)
from fastpaxos.rounds import OPEN
from paxos.ballot import BOTTOM, Ballot
from paxos.basic.values import NOP_VALUE, pack_value
from paxos.contract import Configuration, Instant, OutcomeKind
from paxos.quorum import FastQuorums
from tests.fastpaxos_log_net import Net, command

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

V, W, X = (pack_value(command(900 + number)) for number in range(3))
HIGH = Ballot(50, 3, 1)


def made(nodes: int = 3, **given: object) -> Net:
    """A cluster in which the first member coordinates round 0."""
    settings = {"reserve_rounds": 4, "collisions_before_classic": 0, "quiet_s": 1000.0} | given
    net = Net(quorums=FastQuorums(range(1, nodes + 1)), settings=FastLogSettings(**settings))  # type: ignore[arg-type]
    net.deliver()
    return net


def office_of(net: Net, node: int) -> Office:
    office = net.nodes[node].office
    assert office is not None
    return office


def led(by: int, nodes: int = 3, **given: object) -> tuple[Net, Office]:
    """A cluster that is classic."""
    net = made(nodes, **given)
    net.elect(by)
    return net, office_of(net, by)


def accepts(net: Net) -> list[tuple[int, bytes]]:
    """Slots and values of the Accepts on their way, each once."""
    return list(dict.fromkeys((sent.message.slot, sent.message.value) for sent in net.pick(Accept)))


def later(net: Net, node: int, seconds: float) -> None:
    """Time goes on, and this node alone does what is due; all others answered it just before."""
    net.now_s += seconds
    office = net.nodes[node].office
    if office is not None:
        for other in net.everyone:
            if other != node:
                net.hand_over_message(other, node, HeartbeatReply(office.ballot, 1, 0, 0))
    net.tick(node)


# --- recovery of a slot -------------------------------------------------------------------------------


def collided(net: Net) -> None:
    for node, value in ((1, V), (2, W), (3, X)):
        net.hand_over_message(node, 1, Voted(OPEN, 1, value))


def test_a_slot_is_recovered_once() -> None:
    net = made(5)
    collided(net)
    assert len(net.happened("collision", 1)) == len(net.happened("recovered", 1)) == 1
    (once,) = accepts(net)
    net.drop()
    for node in (4, 5):
        net.hand_over_message(node, 1, Voted(OPEN, 1, V))
        net.hand_over_message(node, 1, Report(Ballot(0, 0, 1), 1, OPEN, V))
    assert len(net.happened("collision", 1)) == len(net.happened("recovered", 1)) == 1
    assert accepts(net) == []
    later(net, 1, 1.0)
    assert accepts(net) == [once]


def test_who_voted_is_not_asked_again() -> None:
    net = made(5)
    collided(net)
    ((slot, value),) = accepts(net)
    net.drop()
    net.hand_over_message(4, 1, Voted(Ballot(0, 0, 1), slot, value))
    later(net, 1, 1.0)
    assert [sent.recipient for sent in net.pick(Accept)] == [2, 3, 5]


def test_an_unanswered_recovery_is_asked_for_again_and_counts_its_own_ballot_only() -> None:
    net = made(5)
    net.hand_over_message(2, 1, Propose(OPEN, 1, V))
    net.drop()
    later(net, 1, 0.5)
    assert {sent.recipient for sent in net.pick(Recover)} == {2, 3, 4, 5}
    net.drop()
    for node in (2, 3, 4, 5):
        net.hand_over_message(node, 1, Report(HIGH, 1, BOTTOM, None))
    net.hand_over_message(6, 1, Report(Ballot(0, 0, 1), 1, BOTTOM, None))
    assert accepts(net) == []
    later(net, 1, 0.3)
    assert not net.pick(Recover)
    later(net, 1, 0.3)
    assert {sent.recipient for sent in net.pick(Recover)} == {2, 3, 4, 5}
    net.deliver(Recover, to=(2, 3))
    net.deliver(Report)
    assert accepts(net) == [(1, V)]


def test_so_many_slots_are_seen_to_at_a_time() -> None:
    net = made(repeat_slots=2)
    for slot in range(1, 6):
        net.hand_over_message(2, 1, Propose(OPEN, slot, V))
    net.drop()
    for slots in ({1, 2}, {3, 4}, {5}):
        later(net, 1, 0.5 if slots == {1, 2} else 0.1)
        assert {sent.message.slot for sent in net.pick(Recover)} == slots
        net.drop()


def test_nothing_is_proposed_where_something_is_chosen() -> None:
    net, office = led(2, window=1)
    office.debts.extend((V, W))
    net.hand_over_message(3, 2, Chosen(1, ((OPEN, X),)))
    net.nodes[2].effects()
    assert net.nodes[2].learner.committed == 1
    assert all(slot > 1 for slot in office.flights)


# --- a classic round ----------------------------------------------------------------------------------


def test_a_forwarded_command_is_placed_once_in_the_ballot_it_was_sent_for() -> None:
    net, office = led(2, window=3)
    for ballot in (HIGH, OPEN):
        net.hand_over_message(3, 2, Forward(ballot, V))
    assert accepts(net) == []
    for value in (V, V, W):
        net.hand_over_message(3, 2, Forward(office.ballot, value))
    assert accepts(net) == [(1, V), (2, W)]
    for value in (X, NOP_VALUE):
        net.hand_over_message(3, 2, Forward(office.ballot, value))
    assert accepts(net) == [(1, V), (2, W), (3, X)]  # there is no room for more
    net.deliver()
    assert office.flights == {}
    # What is decided is forgotten: asked again it is placed again, and applied once by its id.
    net.hand_over_message(3, 2, Forward(office.ballot, V))
    assert accepts(net) == [(4, V)]


def test_a_fast_ballot_takes_nothing_forwarded() -> None:
    net = made()
    net.hand_over_message(2, 1, Forward(OPEN, V))
    assert accepts(net) == []


def test_what_is_owed_comes_before_what_is_forwarded() -> None:
    net = made(window=2, election_max_s=2.0)
    for slot, value in enumerate((V, W, X), 1):
        for node in (2, 3):
            net.hand_over_message(1, node, Propose(OPEN, slot, value))
    net.drop()
    net.isolate(1)
    net.now_s += 2.0
    net.tick(2)
    for kind in (PreVote, PreVoted, Prepare, Promise):
        net.deliver(kind)
    office = office_of(net, 2)
    assert accepts(net) == [(1, V), (2, W)]
    net.hand_over_message(3, 2, Forward(office.ballot, NOP_VALUE))
    assert accepts(net) == [(1, V), (2, W)]
    assert list(office.debts) == [X]
    net.deliver()
    assert office.next == 4


def test_a_slot_that_phase_1_did_not_see_ends_as_a_no_op() -> None:
    net, office = led(2)
    net.drop()
    later_slot = 3
    net.hand_over_message(3, 2, HeartbeatReply(office.ballot, 1, 0, later_slot))
    later(net, 2, 1.0)
    assert accepts(net) == [(slot, NOP_VALUE) for slot in range(1, later_slot + 1)]


# --- in office, and out of it -------------------------------------------------------------------------


def test_a_refusal_ends_a_round_only_if_another_was_begun() -> None:
    net = made()
    for promised in (Ballot(0, 0, 1), OPEN, BOTTOM):
        net.hand_over_message(2, 1, Nack(OPEN, promised))
        assert net.nodes[1].office is not None
    net.hand_over_message(2, 1, Nack(OPEN, HIGH))
    assert net.nodes[1].office is None
    assert net.nodes[1].election.seen == HIGH


def test_a_coordinator_that_nobody_answers_steps_down() -> None:
    net, office = led(2)
    net.isolate(2)
    net.run(net.settings.election_max_s / 2, step_s=0.1)
    assert net.nodes[2].office is office
    for _ in range(10):
        net.now_s += 0.1
        for node in (1, 3):
            # An answer to another round keeps nobody in office.
            net.nodes[2].receive(node, HeartbeatReply(OPEN, 1, 0, 0), net.now)
        net.tick(2)
    (left,) = net.happened("stepped-down", 2)
    assert left.arguments == {"ballot": office.ballot, "reason": "no quorum answers"}


def test_an_old_coordinator_is_told_that_another_round_was_begun() -> None:
    net = made()
    net.hand_over_message(3, 2, Prepare(HIGH, 1))
    net.drop()
    net.hand_over_message(1, 2, Heartbeat(OPEN, 9, 0, 1))
    ((_, recipient, nack),) = net.pick(Nack)
    assert (recipient, nack) == (1, Nack(OPEN, HIGH))
    assert not net.pick(HeartbeatReply)


def test_who_missed_phase_1_joins_by_the_heartbeat() -> None:
    net = made()
    net.hand_over_message(3, 2, Heartbeat(HIGH, 1, 0, 1))
    replica = net.nodes[2]
    assert replica.acceptor.floor == HIGH
    assert replica.election.leader == 3
    net.restart(2)
    assert net.nodes[2].acceptor.floor == HIGH


def test_a_candidate_gives_way_to_who_is_in_office() -> None:
    net = made()
    net.now_s += 10.0
    net.hand_over_message(1, 2, TakeOver(OPEN))
    candidate = net.nodes[2].candidate
    assert candidate is not None
    net.hand_over_message(1, 2, Nack(candidate.ballot, BOTTOM))
    net.hand_over_message(1, 2, Nack(candidate.ballot, OPEN))
    assert net.nodes[2].candidate is candidate
    net.hand_over_message(3, 2, Heartbeat(HIGH, 1, 0, 1))
    assert net.nodes[2].candidate is None


def test_only_who_coordinates_asks_another_to_take_over() -> None:
    net = made()
    net.tick(1)
    net.deliver()
    for sender, ballot in ((3, OPEN), (1, HIGH)):
        net.hand_over_message(sender, 2, TakeOver(ballot))
        assert net.nodes[2].candidate is None
    net.hand_over_message(1, 2, TakeOver(OPEN))
    assert net.nodes[2].candidate is not None


def test_the_heir_is_asked_when_it_has_all_that_is_committed() -> None:
    net = made()
    net.isolate(3)
    net.submit(1)
    net.settle(lambda: net.nodes[1].learner.committed == 1)
    office = office_of(net, 1)
    net.hand_over_to(1, 3)
    assert not net.pick(TakeOver)
    net.cut.clear()
    net.hand_over_message(3, 1, HeartbeatReply(office.ballot, 1, 1, 1))
    assert {sent.recipient for sent in net.pick(TakeOver)} == {3}


def test_a_coordinator_fetches_what_others_know() -> None:
    net = made()
    net.submit(2, b"x")
    net.deliver(Propose)
    net.drop(Voted, to=1)
    net.deliver(Voted)
    net.drop()
    net.hand_over_message(2, 1, HeartbeatReply(OPEN, 1, 1, 1))
    net.now_s += net.settings.fetch_s
    net.tick(1)
    ((_, recipient, question),) = net.pick(Fetch)
    assert (recipient, question) == (2, Fetch(1, 1))
    net.deliver()
    assert net.applied(1) == [b"x"]


@pytest.mark.parametrize("begun", [False, True])
def test_round_0_is_coordinated_in_the_first_life_unless_another_was_begun(begun: bool) -> None:
    now = Instant(0.0)
    configuration = Configuration(1, FastQuorums((1, 2, 3)))
    replica = FastLogReplica(configuration, {}, lambda name, bound: 0, now)
    assert replica.office is None  # its life is not on disk yet
    if begun:
        replica.receive(3, Prepare(HIGH, 1), now)
    replica.receive(1, Reserved(1), now)
    assert (replica.office is None) == begun


# --- who asks -----------------------------------------------------------------------------------------


def test_a_candidate_waits_for_its_reservation_and_goes_on_when_it_is_on_disk() -> None:
    net = made(reserve_rounds=1)
    net.slow.add(2)
    net.hand_over_message(3, 2, Heartbeat(HIGH, 1, 0, 1))
    net.drop()
    net.hand_over_message(3, 2, TakeOver(HIGH))
    assert net.nodes[2].candidate is not None
    assert not net.pick(Prepare)
    # That another says so is nothing.
    net.hand_over_message(3, 2, Reserved(HIGH.round + 9))
    assert not net.pick(Prepare)
    net.slow.clear()
    net.flush(2)
    assert {sent.recipient for sent in net.pick(Prepare)} == {1, 3}
    assert net.violations == {}


@pytest.mark.parametrize("how", ["voted", "told"])
def test_a_round_begins_above_all_that_was_heard_of(how: str) -> None:
    net = made()
    if how == "voted":
        net.hand_over_message(3, 2, Accept(HIGH, 4, V))
    else:
        net.hand_over_message(1, 2, Nack(OPEN, HIGH))
    net.hand_over_message(1, 2, TakeOver(OPEN))
    candidate = net.nodes[2].candidate
    assert candidate is not None
    assert candidate.ballot.round == HIGH.round + 1


def test_each_page_gives_phase_1_more_time() -> None:
    net = made()
    net.hand_over_message(1, 2, TakeOver(OPEN))
    candidate = net.nodes[2].candidate
    assert candidate is not None
    for page in range(1, 6):
        net.now_s += net.settings.election_min_s * 0.9
        net.hand_over_message(1, 2, Promise(candidate.ballot, page, ((page, OPEN, V),), page + 1, 0))
        net.tick(2)
        assert net.nodes[2].candidate is candidate
    net.hand_over_message(1, 2, Promise(HIGH, 6, (), 0, 0))
    assert net.nodes[2].candidate is candidate


def test_a_proposal_is_repeated_to_those_that_have_not_voted() -> None:
    net = made(5)
    net.submit(2, b"x")
    value = net.pick(Propose)[0].message.value
    net.drop()
    for voters, asked in (((), {1, 3, 4, 5}), ((1, 4), {3, 5}), ((3, 5), {1, 3, 4, 5})):
        for node in voters:
            # All but one of them voted for another, so that it is not decided.
            net.hand_over_message(node, 2, Voted(OPEN, 1, value if node == 1 else V))
        net.drop()
        later(net, 2, net.settings.repeat_max_s)
        assert {sent.recipient for sent in net.pick(Propose)} == asked
        net.drop()


def test_what_the_coordinator_has_placed_is_not_forwarded_again() -> None:
    net, office = led(2)
    net.submit(3, b"x")
    ((_, recipient, forward),) = net.pick(Forward)
    assert (recipient, forward.ballot) == (2, office.ballot)
    net.deliver(Forward)
    net.deliver(Accept, to=3)
    net.drop()
    later(net, 3, net.settings.repeat_max_s)
    assert not net.pick(Forward)


@pytest.mark.parametrize("word", ["Promise", "Accept"])
def test_who_hears_of_a_round_under_way_does_not_stand(word: str) -> None:
    net, office = led(2)
    net.drop()
    election = net.nodes[3].election
    net.now_s = election.deadline_s - 0.01
    if word == "Accept":
        net.hand_over_message(2, 3, Accept(office.ballot, 1, V))
    else:
        net.hand_over_message(1, 3, Prepare(HIGH._replace(node=1), 1))
    assert election.deadline_s >= net.now_s + net.settings.election_min_s


def test_a_refused_candidate_changes_no_promise() -> None:
    net = made()
    net.hand_over_message(3, 2, Accept(HIGH, 7, V))
    net.hand_over_message(1, 2, Prepare(Ballot(4, 1, 1), 1))
    assert {sent.message for sent in net.pick(Nack, to=1)} == {Nack(Ballot(4, 1, 1), HIGH)}
    assert net.nodes[2].acceptor.floor == OPEN


# --- who is asked -------------------------------------------------------------------------------------


def test_who_asks_again_is_told_the_vote_or_what_was_chosen() -> None:
    net = made()
    net.hand_over_message(2, 3, Propose(OPEN, 1, V))
    net.drop()
    net.hand_over_message(1, 3, Propose(OPEN, 1, W))
    assert [tuple(sent) for sent in net.network] == [(3, 1, Voted(OPEN, 1, V))]
    net.drop()
    net.hand_over_message(1, 3, Recover(Ballot(0, 0, 1), 1))
    net.drop()
    net.hand_over_message(2, 3, Propose(OPEN, 1, W))
    assert [tuple(sent) for sent in net.network] == [
        (3, 2, Nack(OPEN, Ballot(0, 0, 1))),
        (3, 2, Voted(OPEN, 1, V)),
    ]
    net.drop()
    net.hand_over_message(1, 3, Chosen(1, ((OPEN, V),)))
    for question in (Propose(OPEN, 1, W), Recover(Ballot(0, 0, 1), 1), Accept(Ballot(0, 0, 1), 1, W)):
        net.hand_over_message(1, 3, question)
        assert [tuple(sent) for sent in net.network] == [(3, 1, Chosen(1, ((OPEN, V),)))]
        net.drop()


def test_who_asks_for_what_is_forgotten_is_sent_the_snapshot() -> None:
    for question in (Propose(OPEN, 1, W), Recover(Ballot(0, 0, 1), 1), Accept(Ballot(0, 0, 1), 1, W)):
        net = made()
        net.hand_over_message(1, 3, Chosen(1, ((OPEN, V),)))
        net.snapshot(3)
        net.advance(0.0)
        net.drop()
        net.hand_over_message(1, 3, question)
        assert [(each.recipient, each.mark) for each in net.transfers] == [(1, 1)]
        assert not net.pick((Voted, Report, Nack), sender=3)


def test_no_proposer_opens_a_later_step() -> None:
    """Where acceptors recover by themselves, the steps after the first are fast, and open to nobody."""
    net = made(5, recovery="uncoordinated")
    net.hand_over_message(2, 3, Propose(Ballot(0, 0, 1), 1, V))
    assert net.nodes[3].acceptor.slots == {}


def test_acceptors_recover_by_themselves_only_what_has_collided() -> None:
    net = made(5, recovery="uncoordinated")
    for node in (1, 2, 3):
        net.hand_over_message(node, 5, Voted(OPEN, 1, V))
    assert net.nodes[5].acceptor.slots == {}
    for node in (1, 2, 3):
        net.hand_over_message(node, 5, Voted(OPEN, 2, (V, W, X)[node - 1]))
    assert net.nodes[5].acceptor.slots[2].accepted_ballot == Ballot(0, 0, 1)


def test_an_observers_answer_counts_for_no_read() -> None:
    net = Net(3, observers=(4,))
    net.deliver()
    read = net.read(2)
    life = net.pick()[0].message.life
    net.hand_over_message(4, 2, ReadAt(life, 1, 0))
    assert net.kind(read) is None
    net.hand_over_message(3, 2, ReadAt(life, 1, 0))
    assert net.kind(read) is OutcomeKind.READY


def test_what_a_newer_snapshot_holds_is_not_applied_again_after_a_restart() -> None:
    net = made(hint_slots=2)
    net.submit(2, *[b"%d" % number for number in range(9)])
    net.deliver()
    configuration = Configuration(3, net.quorums, net.settings)
    replica = FastLogReplica(configuration, dict(net.disks[3]), lambda name, bound: 0, Instant(0.0))
    held = replica.learner.committed
    assert held > 4
    replica.install(4, b"", Instant(0.0))  # and the node died before its log heard of it
    assert [mark for mark, _ in replica.effects().applies] == list(range(5, held + 1))
    assert replica.acceptor.compacted == 4
