"""The end of the rounds: one bound for wire, disk and roles, and no message alone pushes a node there."""

from collections.abc import Callable
from typing import Any

import pytest

from paxos import wire
from paxos.ballot import BOTTOM, Ballot
from paxos.basic import (
    MESSAGES,
    Accept,
    Accepted,
    Acceptor,
    AcceptorRecord,
    BasicSettings,
    Chosen,
    Forward,
    Learner,
    Nack,
    Prepare,
    Promise,
    Proposer,
    messages,
    records,
)
from paxos.basic.messages import MAX_ROUND
from paxos.basic.records import acceptor_key, pack_acceptor, pack_reservation, read_records
from paxos.errors import ProtocolBreach, RecordError, WireError
from paxos.quorum import Majority
from paxos.service import ReplyKind
from tests.cluster import PREFIX, Cluster, Sent

D = b"d"
LAST = Ballot(MAX_ROUND, 2)
BEYOND = Ballot(MAX_ROUND + 1, 2)
#: What a liar says who wants the others to run out of rounds.
FAR = Ballot((1 << 47) - 1, 3)


def assert_sound(c: Cluster) -> None:
    assert not c.stopped
    assert not c.violations


# --- one bound -------------------------------------------------------------------------------------------


def test_there_is_one_bound() -> None:
    assert messages.MAX_ROUND is wire.MAX_ROUND
    assert read_records({b"R": pack_reservation(MAX_ROUND)}).reserved == MAX_ROUND
    with pytest.raises(RecordError, match="2\\^48-1"):
        read_records({b"R": pack_reservation(MAX_ROUND + 1)})
    assert records.RESERVATION_KEY == b"R"


@pytest.mark.parametrize(
    "make",
    [
        lambda ballot: Prepare(D, ballot),
        lambda ballot: Promise(D, ballot, BOTTOM, None),
        lambda ballot: Accept(D, ballot, b"v"),
        lambda ballot: Accepted(D, ballot, b"v"),
        lambda ballot: Nack(D, ballot, Ballot(1, 1)),
        lambda ballot: Nack(D, Ballot(1, 1), ballot),
        lambda ballot: Chosen(D, ballot, b"v"),
    ],
)
def test_no_message_goes_beyond_it(make: Callable[[Ballot], Any]) -> None:
    def travelled(message: Any) -> Any:
        (envelope,) = MESSAGES.decode(MESSAGES.encode([message])[wire.FRAME_HEADER_BYTES :])
        return envelope.message

    assert travelled(make(LAST)) == make(LAST)
    with pytest.raises(WireError, match=r"round: expected an integer in 0\.\.2\^48-1"):
        travelled(make(BEYOND))


def test_no_role_goes_beyond_it() -> None:
    acceptor = Acceptor(D, AcceptorRecord(Ballot(1, 1), BOTTOM, None))
    for question in (Prepare(D, BEYOND), Accept(D, BEYOND, b"v")):
        with pytest.raises(ValueError, match="the highest there is"):
            acceptor.receive(2, question)
    assert acceptor.record() == AcceptorRecord(Ballot(1, 1), BOTTOM, None)
    assert acceptor.receive(2, Prepare(D, LAST)) == Promise(D, LAST, BOTTOM, None)

    proposer = Proposer(1, Majority([1, 2, 3]), b"v", decree=D)
    ballot = proposer.prepare().ballot
    before = proposer.fingerprint()
    for promised in (LAST, BEYOND):
        proposer.receive(2, Nack(D, ballot, promised))
        assert proposer.fingerprint() == before
    with pytest.raises(ProtocolBreach, match="beyond any honest use"):
        proposer.prepare(LAST)
    assert proposer.fingerprint() == before

    learner = Learner(Majority([1, 2, 3]), decree=D)
    assert [learner.receive(node, Accepted(D, BEYOND, b"v")) for node in (1, 2, 3)] == [None] * 3
    assert learner.decision is None


# --- nobody is pushed there ------------------------------------------------------------------------------


@pytest.mark.parametrize("ballot", [LAST, FAR])
@pytest.mark.parametrize(
    "question", [lambda ballot: Prepare(b"x", ballot), lambda ballot: Accept(b"x", ballot, b"w")]
)
def test_a_question_from_far_beyond_is_refused(question: Callable[[Ballot], Any], ballot: Ballot) -> None:
    c = Cluster()
    before = c.replica(1).fingerprint(), dict(c.disks[1])
    for node in (1, 2):
        c.hand_over(Sent(3, node, question(ballot)))
    assert c.network == []
    assert (c.replica(1).fingerprint(), c.disks[1]) == before
    refused = [event for event in c.events if event.action == "refused"]
    assert [event.arguments["sender"] for event in refused] == [3, 3]
    assert "beyond any honest use" in str(refused[0].arguments["reason"])
    asked = c.decide(1, "x", b"v")
    c.settle(asked)
    assert c.result(asked) == b"v"
    assert_sound(c)


def test_who_knows_the_decision_tells_it_at_any_round() -> None:
    c = Cluster()
    c.settle(c.decide(1, "x", b"v"))
    c.deliver()
    c.hand_over(Sent(3, 1, Prepare(b"x", FAR)))
    assert [type(sent.message) for sent in c.network] == [Chosen]


@pytest.mark.parametrize("promised", [LAST, FAR])
def test_a_nack_from_far_beyond_is_not_followed(promised: Ballot) -> None:
    c = Cluster()
    asked = c.decide(1, "x", b"v")
    (prepare,) = c.pick(Prepare, 1, 3)
    c.hand_over(Sent(3, 1, Nack(b"x", prepare.message.ballot, promised)))
    c.settle(asked)
    assert c.result(asked) == b"v"
    reserved = c.replica(1).status().values["reserved_round"]
    assert isinstance(reserved, int)
    assert reserved < 100, "the reservation is for all decrees: one must not lift it to the end"
    # And so nothing of it is left after a restart.
    c.restart(1)
    c.deliver()
    again = c.decide(1, "y", b"w")
    c.settle(again)
    assert c.result(again) == b"w"
    assert_sound(c)


def test_an_honest_nack_is_followed_however_far() -> None:
    """A node that was started very often is above one that never was."""
    c = Cluster()
    asked = c.decide(1, "x", b"v")
    (prepare,) = c.pick(Prepare, 1, 3)
    c.hand_over(Sent(3, 1, Nack(b"x", prepare.message.ballot, Ballot(10**9, 3))))
    c.settle(asked)
    assert c.result(asked) == b"v"
    assert c.replica(2).chosen(b"x") == (Ballot(10**9 + 1, 1), b"v")
    assert c.violations == {}


# --- at the end ------------------------------------------------------------------------------------------


def with_records(c: Cluster, node: int, found: dict[bytes, bytes]) -> None:
    """The node starts again, and finds these on its disk."""
    c.crash(node)
    c.disks[node] |= {PREFIX + key: value for key, value in found.items()}
    c.start(node)
    c.deliver()


@pytest.mark.parametrize("promised", [LAST, FAR])
def test_a_decree_without_rounds_concerns_no_other(promised: Ballot) -> None:
    """Such a promise can be on the disks of those who took it from an earlier release."""
    c = Cluster()
    with_records(c, 1, {acceptor_key(b"x"): pack_acceptor(AcceptorRecord(promised, BOTTOM, None))})
    for asked in (c.decide(1, "x", b"v"), c.decided(1, "x")):
        reply, _ = c.answers[asked]
        assert reply.kind == ReplyKind.REJECTED
        assert "node 1 can not get decree b'x' decided: " in reply.detail
        assert "is beyond any honest use; ask another node" in reply.detail
    assert [event.arguments["decree"] for event in c.events if event.action == "exhausted"] == [b"x"] * 2
    other = c.decide(1, "y", b"w")
    c.settle(other)
    assert c.result(other) == b"w"
    # Of the others two are a quorum, and then the node knows too.
    elsewhere = c.decide(2, "x", b"u")
    c.settle(elsewhere)
    c.deliver()
    assert c.result(elsewhere) == b"u"
    assert c.replica(1).chosen(b"x") == (Ballot(1, 2), b"u")
    assert_sound(c)


def test_a_node_without_rounds_votes_and_learns_and_stays() -> None:
    c = Cluster()
    with_records(c, 1, {b"R": pack_reservation(MAX_ROUND)})
    asked = c.decide(1, "x", b"v")
    assert c.answers[asked][0].kind == ReplyKind.REJECTED
    elsewhere = c.decide(2, "x", b"u")
    c.deliver(Prepare, 2, 1)
    c.deliver(Promise, 1, 2)
    c.deliver(Accept, 2, 1)
    c.deliver(Accepted, 1, 2)
    assert c.result(elsewhere) == b"u", "by votes of nodes 1 and 2"
    c.restart(1)
    assert_sound(c)


def test_what_was_proposed_before_the_end_may_be_chosen() -> None:
    """Then it is not rejected: its outcome is unknown."""
    c = Cluster()
    with_records(c, 1, {b"R": pack_reservation(MAX_ROUND - 2)})
    asked = c.decide(1, "x", b"v")
    (prepare,) = c.pick(Prepare, 1, 3)
    assert prepare.message.ballot == Ballot(MAX_ROUND - 1, 1)
    c.hand_over(Sent(2, 1, Prepare(b"x", LAST)))
    c.hand_over(Sent(3, 1, Nack(b"x", prepare.message.ballot, Ballot(MAX_ROUND - 1, 3))))
    c.drop()
    c.advance(1.0, only=1)
    reply, _ = c.answers[asked]
    assert reply.kind == ReplyKind.UNKNOWN
    assert c.stopped == {}


def test_what_was_handed_on_before_the_end_may_be_chosen() -> None:
    c = Cluster(settings=BasicSettings(distinguished=2))
    with_records(c, 1, {b"R": pack_reservation(MAX_ROUND)})
    asked = c.decide(1, "x", b"v")
    assert c.pick(Forward, 1, 2)
    c.drop()
    c.advance(1.0, only=1)
    assert c.answers[asked][0].kind == ReplyKind.UNKNOWN


def test_a_copy_believes_what_the_original_does() -> None:
    c = Cluster()
    with_records(c, 1, {b"R": pack_reservation(1 << 41)})
    other = c.replica(1).clone()
    question = Prepare(b"x", Ballot((1 << 41) + 7, 2))
    other.receive(2, question, c.now)
    c.replica(1).receive(2, question, c.now)
    assert other.fingerprint() == c.replica(1).fingerprint()
    assert other.acceptor(b"x") is not None
