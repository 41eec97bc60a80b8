"""The replica of Basic Paxos and the node around it, over exact schedules and over random ones.

The cluster checks the replica's own books after every call and the invariants at every step, so a test
here ends with `assert_sound` and says for itself only what it is about.
"""

import random

import pytest

from paxos.ballot import BOTTOM, Ballot
from paxos.basic import (
    Accept,
    Accepted,
    Ask,
    BasicSettings,
    Chosen,
    Forward,
    Nack,
    Prepare,
    Promise,
    Reserved,
)
from paxos.basic.records import read_records
from paxos.errors import ProtocolBreach
from paxos.quorum import FlexibleQuorums, GridQuorums, Majority, QuorumSystem, WeightedQuorums
from paxos.service import AskStatus, ReplyKind, Submit, decide_request
from tests.cluster import PREFIX, Cluster, Sent, check_bookkeeping

THREE = Majority((1, 2, 3))


def assert_sound(c: Cluster) -> None:
    assert c.violations == {}
    assert c.stopped == {}
    assert c.stale_reads() == []


def decide_at(c: Cluster, node: int, *others: int, name: str = "x", value: bytes = b"v") -> None:
    """`node` gets `value` chosen with the votes of itself and `others`; nobody else hears of it."""
    c.decide(node, name, value)
    for kind, sender, to in (
        (Prepare, node, others),
        (Promise, others, node),
        (Accept, node, others),
        (Accepted, others, node),
    ):
        c.deliver(kind, sender, to)
    c.drop()
    assert c.replica(node).chosen(name.encode()) is not None


def actions(c: Cluster) -> list[str]:
    return [event.action for event in c.events]


# --- deciding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quorums",
    [
        Majority((1,)),
        Majority((1, 2)),
        Majority((1, 2, 3, 4, 5)),
        FlexibleQuorums((1, 2, 3, 4), phase1=3, phase2=2),
        FlexibleQuorums((1, 2, 3), phase1=1, phase2=3),
        GridQuorums(((1, 2), (3, 4))),
        WeightedQuorums({1: 3, 2: 1, 3: 1}),
        Majority((3, 7, 40)),
    ],
    ids=repr,
)
def test_every_node_gets_the_one_decision(quorums: QuorumSystem) -> None:
    c = Cluster(quorums=quorums)
    requests = [c.decide(node, "x", b"from %d" % node) for node in c.members]
    requests += [c.decided(node, "x") for node in c.members]
    c.settle()
    assert len({c.result(request) for request in requests}) == 1
    c.deliver()
    assert {c.nodes[node].machine.values()[b"x"] for node in c.members} == {c.result(requests[0])}
    assert_sound(c)


def test_decrees_are_independent() -> None:
    c = Cluster()
    requests = {
        name: c.decide(1 + n % 3, name, b"value of " + name.encode()) for n, name in enumerate("abcdef")
    }
    c.deliver()
    assert {name: c.result(request) for name, request in requests.items()} == {
        name: b"value of " + name.encode() for name in "abcdef"
    }
    assert c.nodes[2].machine.values().keys() == {b"%c" % letter for letter in b"abcdef"}
    assert_sound(c)


def test_deciding_again_returns_what_was_chosen() -> None:
    c = Cluster()
    c.decide(1, "x", b"first")
    c.deliver()
    for node in c.members:
        request = c.decide(node, "x", b"second")
        assert c.result(request) == b"first", "known here, so at once"
    assert_sound(c)


def test_empty_values_and_names_of_any_bytes() -> None:
    c = Cluster()
    name = "\u20ac\x00 A\x7f"
    request = c.decide(1, name, b"")
    c.deliver()
    assert c.result(request) == b""
    c.restart(2)
    assert c.replica(2).decrees() == {name.encode(): b""}
    assert_sound(c)


def test_a_value_chosen_unseen_is_the_one_decided() -> None:
    """1 dies when its value has a quorum's votes and nobody knows; whoever comes later completes it."""
    for later in ("decide", "read"):
        c = Cluster()
        c.decide(1, "x", b"v")
        c.deliver(Prepare, 1, 2)
        c.deliver(Promise, 2, 1)
        c.deliver(Accept, 1, 2)
        c.crash(1)
        c.drop()
        request = c.decided(3, "x") if later == "read" else c.decide(3, "x", b"w")
        c.settle()
        assert c.result(request) == b"v"
        assert "adopted" in actions(c)
        assert_sound(c)


def test_a_lost_message_is_asked_for_again() -> None:
    for lost in (Prepare, Promise, Accept, Accepted):
        c = Cluster()
        request = c.decide(1, "x", b"v")
        for _ in range(8):
            c.drop(lost)
            if not c.network:
                break
            c.hand_over(c.network.pop(0))
        c.drop()
        assert request not in c.answers
        c.settle()
        assert c.result(request) == b"v", lost
        assert_sound(c)


def test_questions_are_repeated_less_and_less_often_and_unchanged() -> None:
    c = Cluster(settings=BasicSettings(repeat_s=1, repeat_max_s=4))
    c.decide(1, "x", b"v")
    questions = set(c.pick(Prepare, 1))
    c.drop()
    asked_at_s = []
    for _ in range(160):
        c.advance(0.125, only=1)
        if c.network:
            asked_at_s.append(c.now_s - 100)
            assert set(c.network) == questions
            c.drop()
    assert asked_at_s == [1, 3, 7, 11, 15, 19]


# --- reading --------------------------------------------------------------------------------------


def test_reading_an_undecided_decree_proposes_nothing() -> None:
    c = Cluster()
    request = c.decided(2, "x")
    c.deliver()
    assert c.result(request) is None
    assert "undecided" in actions(c)
    assert all(c.replica(node).chosen(b"x") is None for node in c.members)
    records = [
        read_records({k[len(PREFIX) :]: v for k, v in c.disks[n].items() if k[:1] == b"r"}) for n in (1, 3)
    ]
    assert [found.acceptors[b"x"].accepted_value for found in records] == [None, None]
    request = c.decide(1, "x", b"v")
    c.deliver()
    assert c.result(request) == b"v", "and stays free for who comes"
    assert_sound(c)


def test_a_read_is_not_answered_by_a_phase_one_that_began_before_it() -> None:
    c = Cluster()
    first = c.decided(1, "x")
    c.deliver(Prepare, 1, 3)
    c.drop()
    waiting = [Sent(3, 1, Promise(b"x", Ballot(1, 1), BOTTOM, None))]
    decide_at(c, 2, 3)
    second = c.decided(1, "x")
    for sent in waiting:
        c.hand_over(sent)
    assert c.result(first) is None, "it began before the decision, so it may say so"
    assert second not in c.answers
    c.settle()
    assert c.result(second) == b"v"
    assert_sound(c)


def test_a_write_that_joins_a_read_in_phase_two_is_not_lost() -> None:
    """1 reads and finds 3's vote; a write joins; 1 is outbid, and its next phase 1 finds no vote at all."""
    c = Cluster(5)
    c.decide(3, "x", b"theirs")
    c.deliver(Prepare, 3, (4, 5))
    c.deliver(Promise, (4, 5), 3)
    c.drop()
    c.slow.add(1)  # so that its own promise and vote come too late to be counted
    c.decided(1, "x")
    c.hand_over(Sent(3, 1, Nack(b"x", Ballot(1, 1), Ballot(1, 3))))
    c.drop()
    c.advance(0.3, only=1)
    c.deliver(Prepare, 1, (2, 3, 4))
    c.deliver(Promise, (2, 3, 4), 1)
    assert {sent.message.value for sent in c.pick(Accept, 1)} == {b"theirs"}
    c.drop()
    write = c.decide(1, "x", b"mine")
    c.hand_over(Sent(5, 1, Nack(b"x", Ballot(2, 1), Ballot(2, 5))))
    c.advance(0.3, only=1)
    c.deliver(Prepare, 1, (2, 4, 5))
    c.deliver(Promise, (2, 4, 5), 1)
    assert {sent.message.value for sent in c.pick(Accept, 1)} == {b"mine"}
    c.slow.clear()
    c.flush(1)
    c.settle()
    assert c.result(write) == b"mine"
    assert_sound(c)


# --- contention -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [2, 3, 5, 7])
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_duels_end(nodes: int, seed: int | None) -> None:
    """Every node proposes at once, and messages take turns, so that each spoils the others' ballots."""
    rnd = random.Random(seed)
    c = Cluster(nodes, draw=lambda name, bound: 0 if seed is None else rnd.randrange(bound))
    requests = [c.decide(node, "x", b"%d" % node) for node in c.members]
    for _ in range(2000):
        # Synchronous rounds of 10 ms: the worst that fair scheduling does to duelling proposers.
        batch, c.network = c.network, []
        for sent in batch:
            c.hand_over(sent)
        c.advance(0.01)
        if len(c.answers) == nodes:
            break
    assert len({c.result(request) for request in requests}) == 1
    assert_sound(c)


# --- the distinguished proposer -------------------------------------------------------------------


def test_values_are_handed_to_the_distinguished_proposer() -> None:
    c = Cluster(settings=BasicSettings(distinguished=2))
    requests = [c.decide(node, "x", b"%d" % node) for node in (1, 3)]
    assert {type(sent.message) for sent in c.network} == {Forward}
    assert {sent.recipient for sent in c.network} == {2}
    read = c.decided(1, "x")
    c.deliver()
    assert {c.result(request) for request in (*requests, read)} == {b"1"}
    assert "preempted" not in actions(c)
    assert_sound(c)


def test_without_the_distinguished_proposer_a_node_proposes_by_itself() -> None:
    c = Cluster(settings=BasicSettings(distinguished=2, patience_s=1))
    c.crash(2)
    request = c.decide(1, "x", b"v")
    c.deliver()
    c.advance(0.9)
    c.deliver()
    assert request not in c.answers
    c.advance(0.2)
    c.deliver()
    assert c.result(request) == b"v"
    second = c.decide(1, "y", b"w")
    c.deliver()
    assert c.result(second) == b"w", "suspected now, it is not waited for again"
    c.start(2)
    c.now_s += 20
    c.decide(1, "z", b"u")
    assert c.pick(Forward, 1, 2), "and later it is trusted again"
    c.deliver()
    assert_sound(c)


def test_an_errand_is_dropped_when_it_does_not_succeed() -> None:
    c = Cluster(settings=BasicSettings(distinguished=2, repeat_s=0.1, repeat_max_s=0.1, patience_s=60))
    c.decide(1, "x", b"v")
    c.deliver(Forward)
    assert c.replica(2).status().values["working"] == 1
    for _ in range(10):
        c.drop()
        c.advance(0.1, only=2)
    assert c.replica(2).status().values["working"] == 0
    assert "abandoned" in actions(c)
    assert_sound(c)


def test_an_abandoned_request_in_anothers_hands_is_not_taken_up_again() -> None:
    c = Cluster(settings=BasicSettings(distinguished=2, patience_s=1))
    c.decide(1, "x", b"v")
    c.nodes[1].disconnect("client", c.now)
    c.drop()
    c.advance(1.1, only=1)
    assert c.network == []
    assert c.replica(1).status().values["open"] == 0
    assert "suspected" not in actions(c)


# --- who waits, and who does not ------------------------------------------------------------------


def test_what_nobody_waits_for_is_not_repeated() -> None:
    c = Cluster()
    first, second = c.decide(1, "x", b"v", "alice"), c.decided(1, "x", "bob")
    c.drop()
    c.nodes[1].disconnect("alice", c.now)
    c.advance(0.3, only=1)
    assert c.pick(Prepare, 1), "bob still waits"
    c.drop()
    c.nodes[1].disconnect("bob", c.now)
    c.advance(10, only=1)
    assert c.network == []
    assert c.replica(1).status().values["working"] == 0
    c.deliver()
    assert first not in c.answers
    assert second not in c.answers
    third = c.decide(1, "x", b"w")
    c.settle(third)
    assert c.result(third) == b"w"
    assert_sound(c)


def test_a_request_that_comes_when_the_last_one_left_is_served() -> None:
    """Whatever the abandoned work was waiting for: an answer, the end of a backoff, the disk."""
    for moment in ("repeat", "backoff", "parked"):
        c = Cluster()
        if moment == "parked":
            c.restart(1)
            c.crash(1)
            c.slow.add(1)
            c.start(1)
        if moment == "backoff":
            c.decide(3, "x", b"w")
            c.drop()
            c.nodes[3].disconnect("client", c.now)
        c.decide(1, "x", b"v")
        if moment == "backoff":
            c.deliver(Prepare, 1, 3)
            c.deliver(Nack, 3, 1)
        c.drop()
        assert c.replica(1)._open[b"x"].stage == moment
        c.nodes[1].disconnect("client", c.now)
        request = c.decide(1, "x", b"later")
        c.slow.clear()
        c.flush(1)
        c.settle(request)
        assert c.result(request) in (b"v", b"later")
        assert_sound(c)


def test_above_the_bound_a_node_is_busy_and_forgets_whom_it_refused() -> None:
    c = Cluster(settings=BasicSettings(max_open=2))
    requests = [c.decide(1, name, b"v") for name in "abc"]
    reply, _ = c.answers[requests[2]]
    assert reply.kind == ReplyKind.REJECTED
    assert "works on 2 decrees" in reply.detail
    assert c.replica(1).status().values["open"] == 2
    joined = c.decided(1, "a")
    assert joined not in c.answers, "joining what is under way costs nothing"
    c.hand_over(Sent(2, 1, Forward(b"d", b"v")))
    assert c.replica(1).status().values["open"] == 2
    c.deliver()
    assert [c.result(request) for request in (*requests[:2], joined)] == [b"v"] * 3
    again = c.decide(1, "c", b"v")
    c.deliver()
    assert c.result(again) == b"v"
    assert_sound(c)


# --- restarts -------------------------------------------------------------------------------------


def test_a_restart_goes_on_from_the_records_alone() -> None:
    c = Cluster()
    decide_at(c, 1, 2)
    c.decide(1, "y", b"w")
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.deliver(Accept, 1, 2)
    c.decide(3, "z", b"u")
    c.deliver(Prepare, 3, 2)
    c.drop()
    before = {decree: c.replica(2).acceptor(decree) for decree in (b"x", b"y", b"z")}
    records = {decree: one.record() for decree, one in before.items() if one is not None}
    assert len(records) == 3
    c.restart(2)
    after = {decree: c.replica(2).acceptor(decree) for decree in records}
    assert {decree: one.record() for decree, one in after.items() if one is not None} == records
    c.restart(1)
    assert c.replica(1).decrees() == {b"x": b"v"}
    assert c.replica(1).acceptor(b"x") is None, "the decision took the acceptor's place"
    assert_sound(c)


def test_rounds_after_a_restart_are_above_every_round_before() -> None:
    c = Cluster(settings=BasicSettings(reserve_rounds=3))
    last = 0
    for life in range(5):
        c.decide(1, "x", b"%d" % life)
        rounds = {sent.message.ballot.round for sent in c.pick(Prepare, 1)}
        assert min(rounds) > last
        c.drop()
        for _ in range(life):
            c.hand_over(Sent(2, 1, Nack(b"x", Ballot(max(rounds), 1), Ballot(max(rounds) + 2, 2))))
            c.advance(5, only=1)
            rounds |= {sent.message.ballot.round for sent in c.pick(Prepare, 1)}
            c.drop()
        last = max(rounds)
        c.restart(1)
    assert_sound(c)


def test_a_prepare_waits_until_its_round_is_reserved_on_disk_whatever_the_clock_says() -> None:
    """The timer of an earlier stage must not send a ballot that the disk does not cover yet."""
    c = Cluster()
    c.decide(2, "x", b"w")
    c.deliver(Prepare, 2, 3)
    c.deliver(Promise, 3, 2)
    c.deliver(Accept, 2, 1)
    c.drop()
    c.crash(1)
    c.slow.add(1)
    c.start(1)  # having voted, it will ask after 1 s what became of it
    request = c.decide(1, "x", b"v")
    for _ in range(20):
        c.advance(1, only=1)
    assert not c.pick(Prepare)
    assert c.violations == {}
    c.slow.clear()
    c.flush(1)
    assert c.pick(Prepare, 1)
    c.settle()
    assert c.result(request) == b"w", "2 is alive, or 1's own vote told"
    assert_sound(c)


def test_reads_in_a_row_never_outrun_the_reservation() -> None:
    """A free phase 1 begins the next one while the timer of the first is still set."""
    c = Cluster(settings=BasicSettings(reserve_rounds=1))
    c.decided(1, "x")
    c.slow.add(1)
    for _ in range(4):
        c.deliver(Prepare, 1, (2, 3))
        c.decided(1, "x")
        c.deliver(Promise, (2, 3), 1)
        c.advance(5, only=1)
        c.drop(Prepare, 1, 3)
    assert "DurableBeforeSend" not in c.violations
    c.slow.clear()
    c.flush(1)
    c.settle()
    assert_sound(c)


# --- news, strangers and breaches -----------------------------------------------------------------


def test_a_voter_that_hears_no_more_asks_and_is_told() -> None:
    c = Cluster(settings=BasicSettings(ask_s=1, ask_tries=2))
    decide_at(c, 1, 2)
    assert c.replica(2).chosen(b"x") is None
    c.advance(0.9, only=2)
    assert c.network == []
    c.advance(0.2, only=2)
    assert {(sent.recipient, sent.message) for sent in c.network} == {(1, Ask(b"x")), (3, Ask(b"x"))}
    c.deliver()
    assert c.replica(2).chosen(b"x") == (Ballot(1, 1), b"v")
    assert c.replica(3).chosen(b"x") is None, "it never voted and never asked"
    assert_sound(c)


def test_a_voter_that_gets_no_news_falls_silent() -> None:
    c = Cluster(settings=BasicSettings(ask_s=1, ask_tries=3))
    decide_at(c, 1, 2)
    asked = 0
    for _ in range(100):
        c.advance(1, only=2)
        asked += len(c.pick(Ask))
        c.drop()
    assert asked == 6
    assert c.nodes[2].turn().wake_at_s is None


def test_every_question_about_a_known_decree_is_answered_with_the_decision() -> None:
    c = Cluster()
    decide_at(c, 1, 2)
    for question in (
        Prepare(b"x", Ballot(9, 3)),
        Accept(b"x", Ballot(9, 3), b"w"),
        Ask(b"x"),
        Forward(b"x", b"w"),
    ):
        c.hand_over(Sent(3, 1, question))
        assert c.network == [Sent(1, 3, Chosen(b"x", Ballot(1, 1), b"v"))]
        c.drop()
    assert c.replica(1).acceptor(b"x") is None
    c.hand_over(Sent(3, 2, Ask(b"never heard of")))
    assert c.network == []
    assert_sound(c)


def test_strangers_and_strange_messages_change_nothing() -> None:
    c = Cluster()
    c.decide(1, "x", b"v")
    before = c.replica(1).fingerprint()
    ballot = Ballot(9, 9)
    for message in (
        Prepare(b"x", ballot),
        Accept(b"x", ballot, b"w"),
        Promise(b"x", Ballot(1, 1), BOTTOM, None),
        Accepted(b"x", Ballot(1, 1), b"v"),
        Nack(b"x", Ballot(1, 1), ballot),
        Chosen(b"x", ballot, b"w"),
        Forward(b"y", b"w"),
        Reserved(1000),
    ):
        c.hand_over(Sent(9, 1, message))
        assert c.replica(1).fingerprint() == before, message
    c.hand_over(Sent(2, 1, AskStatus(1)))
    assert c.replica(1).fingerprint() == before
    assert [e.arguments["reason"] for e in c.events if e.action == "refused"] == ["not a member"] * 8 + [
        "not of this protocol"
    ]
    assert c.network == c.pick(Prepare, 1)


def test_two_values_at_one_ballot_are_reported_and_change_nothing() -> None:
    c = Cluster()
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.deliver(Accept, 1, 2)
    c.hand_over(Sent(1, 2, Accept(b"x", Ballot(1, 1), b"w")))
    acceptor = c.replica(2).acceptor(b"x")
    assert acceptor is not None
    assert acceptor.accepted_value == b"v"
    c.hand_over(Sent(3, 1, Accepted(b"x", Ballot(1, 1), b"w")))
    breaches = [e for e in c.events if e.action == "breach"]
    assert [(e.cause, e.arguments["sender"]) for e in breaches] == [("Accept", 1), ("Accepted", 3)]
    c.deliver()
    assert c.replica(3).chosen(b"x") == (Ballot(1, 1), b"v")
    assert_sound(c)


def test_two_decisions_stop_the_node_that_hears_of_them() -> None:
    c = Cluster()
    decide_at(c, 1, 2)
    c.hand_over(Sent(3, 1, Chosen(b"x", Ballot(5, 3), b"v")))
    assert c.stopped == {}, "the same value at another ballot is no contradiction"
    c.hand_over(Sent(3, 1, Chosen(b"x", Ballot(5, 3), b"w")))
    assert isinstance(c.stopped[1], ProtocolBreach)
    assert "Agreement" in str(c.stopped[1])


def test_a_copy_behaves_alike_and_goes_its_own_way() -> None:
    c = Cluster()
    c.decide(1, "x", b"v")
    c.decided(1, "y")
    c.deliver(Prepare, 1, 2)
    promises = c.pick(Promise, 2, 1)
    one = c.replica(1)
    other = one.clone()
    assert other.fingerprint() == one.fingerprint()
    check_bookkeeping(other)
    before = one.fingerprint()
    for sent in promises:
        other.receive(2, sent.message, c.now)
    assert one.fingerprint() == before != other.fingerprint()
    assert one.effects().sends == []
    assert {type(m) for _, m in other.effects().sends} == {Accept, Accepted}
    for sent in promises:
        one.receive(2, sent.message, c.now)
    assert one.fingerprint() == other.fingerprint()
    check_bookkeeping(other)


def test_submits_are_idempotent_for_the_replica() -> None:
    c = Cluster()
    request = c.decide(1, "x", b"v")
    c.nodes[1].request("elsewhere", Submit(request, decide_request("x", b"v")), c.now)
    c.deliver()
    assert c.result(request) == b"v"
    assert c.replica(1).status().values["waiting"] == 0
    assert_sound(c)
