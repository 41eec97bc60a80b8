"""The roles of Multi-Paxos by themselves: what an acceptor remembers, a candidate owes, a leader counts."""

import pytest

from multipaxos import Candidate, Debts, Leader, LogAcceptor, LogRecord
from multipaxos.acceptor import PageLimits
from multipaxos.messages import Accept, Accepted, Nack, Prepare, Promise
from multipaxos.proposer import Peer
from paxos.ballot import BOTTOM, Ballot
from paxos.errors import ProtocolBreach
from paxos.quorum import FlexibleQuorums, Majority
from paxos.wire import MAX_ROUND

LOW, MID, HIGH = Ballot(1, 1), Ballot(2, 2), Ballot(3, 3)
THREE = Majority((1, 2, 3))


def accept(ballot: Ballot, slot: int, value: bytes = b"v") -> Accept:
    return Accept(ballot, slot, value, 0)


def promise(
    *entries: tuple[int, Ballot, bytes], first: int = 1, then: int = 0, compacted: int = 0
) -> Promise:
    return Promise(HIGH, first, entries, then, compacted)


# --- the acceptor -----------------------------------------------------------------------------------


def test_one_promise_covers_every_slot() -> None:
    acceptor = LogAcceptor()
    assert acceptor.receive(2, Prepare(MID, 5)) == Promise(MID, 5, (), 0, 0)
    for slot in (1, 5, 1000):
        assert acceptor.receive(1, accept(LOW, slot)) == Nack(LOW, MID)
        assert acceptor.receive(2, accept(MID, slot)) == Accepted(MID, ((slot, slot),))
    assert acceptor.receive(1, Prepare(LOW, 1)) == Nack(LOW, MID)


def test_an_accept_above_the_promise_is_a_promise_too() -> None:
    acceptor = LogAcceptor()
    assert acceptor.vote(HIGH, 7, b"v")
    assert acceptor.receive(1, accept(MID, 8)) == Nack(MID, HIGH)


def test_a_promise_reports_every_vote_from_a_slot_on() -> None:
    acceptor = LogAcceptor()
    for slot in (1, 3, 4):
        acceptor.vote(LOW, slot, b"%d" % slot)
    acceptor.vote(MID, 3, b"new")
    answer = acceptor.receive(3, Prepare(HIGH, 2))
    assert answer == Promise(HIGH, 2, ((3, MID, b"new"), (4, LOW, b"4")), 0, 0)
    assert acceptor.receive(3, Prepare(HIGH, 2)) == answer


def test_a_promise_never_reports_a_vote_at_its_own_ballot() -> None:
    acceptor = LogAcceptor()
    acceptor.receive(3, Prepare(HIGH, 1))
    acceptor.vote(HIGH, 1, b"v")
    assert acceptor.receive(3, Prepare(HIGH, 1)) is None
    assert acceptor.receive(3, Prepare(HIGH, 2)) is None


def test_a_long_promise_comes_in_pages() -> None:
    acceptor = LogAcceptor(None, PageLimits(slots=2, bytes=1000))
    for slot in range(1, 6):
        acceptor.vote(LOW, slot, b"v")
    pages, first = [], 1
    while first:
        page = acceptor.receive(2, Prepare(MID, first))
        assert isinstance(page, Promise)
        pages.append(page)
        first = page.following
    assert [[slot for slot, _, _ in page.entries] for page in pages] == [[1, 2], [3, 4], [5]]


def test_a_page_is_bounded_in_bytes_and_has_a_slot_at_least() -> None:
    acceptor = LogAcceptor(None, PageLimits(slots=100, bytes=1000))
    for slot, size in ((1, 400), (2, 500), (3, 5000), (4, 10)):
        acceptor.vote(LOW, slot, bytes(size))
    first, found = 1, []
    while first:
        page = acceptor.receive(2, Prepare(MID, first))
        assert isinstance(page, Promise)
        found.append([slot for slot, _, _ in page.entries])
        first = page.following
    assert found == [[1, 2], [3], [4]]


def test_votes_far_between_are_found_without_counting_up_to_them() -> None:
    acceptor = LogAcceptor(None, PageLimits(slots=2, bytes=1000))
    slots = [5, 1 << 40, 1 << 60, 1 << 61]
    for slot in slots:
        acceptor.vote(LOW, slot, b"v")
    first, found = 2, []
    while first:
        page = acceptor.receive(2, Prepare(MID, first))
        assert isinstance(page, Promise)
        found += [slot for slot, _, _ in page.entries]
        first = page.following
    assert found == slots


def test_a_page_is_only_for_the_ballot_at_which_the_acceptor_stands() -> None:
    acceptor = LogAcceptor(None, PageLimits(slots=1, bytes=1000))
    acceptor.vote(LOW, 1, b"v")
    acceptor.vote(LOW, 2, b"v")
    page = acceptor.receive(2, Prepare(MID, 1))
    assert isinstance(page, Promise)
    acceptor.receive(3, Prepare(HIGH, 1))
    assert acceptor.receive(2, Prepare(MID, page.following)) == Nack(MID, HIGH)


def test_a_vote_is_never_replaced_at_its_own_ballot() -> None:
    acceptor = LogAcceptor()
    acceptor.vote(LOW, 4, b"v")
    assert acceptor.receive(1, accept(LOW, 4)) == Accepted(LOW, ((4, 4),))
    with pytest.raises(ProtocolBreach, match=r"OneValuePerBallot.*slot 4"):
        acceptor.vote(LOW, 4, b"w")
    assert acceptor.votes[4].accepted_value == b"v"
    assert acceptor.vote(MID, 4, b"w")


def test_a_round_above_which_there_is_none_is_refused() -> None:
    acceptor = LogAcceptor()
    with pytest.raises(ValueError, match="round"):
        acceptor.receive(1, Prepare(Ballot(MAX_ROUND + 1, 1), 1))
    with pytest.raises(ValueError, match="round"):
        acceptor.receive(1, accept(Ballot(MAX_ROUND + 1, 1), 1))
    assert acceptor.promised == BOTTOM
    with pytest.raises(TypeError, match="Prepare or an Accept"):
        acceptor.receive(1, Nack(LOW, MID))  # type: ignore[arg-type]


def test_what_was_compacted_is_not_reported_and_needs_no_vote() -> None:
    acceptor = LogAcceptor()
    for slot in range(1, 6):
        acceptor.vote(LOW, slot, b"v")
    assert acceptor.compact(3)
    assert not acceptor.compact(2)
    answer = acceptor.receive(2, Prepare(MID, 1))
    assert answer == Promise(MID, 1, ((4, LOW, b"v"), (5, LOW, b"v")), 0, 3)
    assert acceptor.vote(MID, 2, b"v")
    assert acceptor.record().votes.keys() == {4, 5}


def test_what_was_compacted_goes_a_page_at_a_time() -> None:
    acceptor = LogAcceptor()
    for slot in range(1, 6):
        acceptor.vote(LOW, slot, b"v")
    acceptor.compact(2)
    acceptor.compact(4)
    assert sorted(acceptor.drop(3)) == [1, 2, 3]
    assert acceptor.leaving
    assert acceptor.drop(3) == [4]
    assert not acceptor.leaving
    assert acceptor.votes.keys() == {5}


def test_an_acceptor_is_rebuilt_from_its_record() -> None:
    acceptor = LogAcceptor()
    for slot in range(1, 6):
        acceptor.vote(LOW, slot, b"v")
    acceptor.receive(3, Prepare(HIGH, 1))
    acceptor.compact(2)
    again = LogAcceptor(acceptor.record())
    assert again.record() == acceptor.record()
    assert again.receive(1, accept(MID, 9)) == Nack(MID, HIGH)
    assert again.receive(3, Prepare(HIGH, 1)) == acceptor.receive(3, Prepare(HIGH, 1))


def test_a_vote_survives_a_promise_record_that_was_lost() -> None:
    assert LogAcceptor(LogRecord(LOW, {1: (MID, b"v")}, 0)).receive(1, accept(LOW, 2)) == Nack(LOW, MID)


def test_votes_are_told_once_in_runs_and_by_ballot() -> None:
    acceptor = LogAcceptor()
    for slot in (3, 4, 6, 5, 9, 3):
        acceptor.vote(LOW, slot, b"v")
    acceptor.vote(MID, 10, b"v")
    acceptor.vote(MID, 12, b"v")
    assert acceptor.answers() == [Accepted(LOW, ((3, 6), (9, 9))), Accepted(MID, ((10, 10), (12, 12)))]
    assert acceptor.answers() == []
    assert not acceptor.cast


def test_what_was_learned_is_reported_like_a_vote() -> None:
    acceptor = LogAcceptor()
    acceptor.vote(LOW, 1, b"mine")
    acceptor.learn(1, MID, b"chosen")
    assert acceptor.promised == MID
    assert acceptor.receive(3, Prepare(HIGH, 1)) == Promise(HIGH, 1, ((1, MID, b"chosen"),), 0, 0)


# --- the candidate ----------------------------------------------------------------------------------


def test_the_vote_of_the_highest_ballot_binds() -> None:
    candidate = Candidate(HIGH, 1, THREE)
    candidate.on_promise(1, promise((1, MID, b"mid"), (2, LOW, b"two")))
    assert not candidate.is_elected
    candidate.on_promise(2, promise((1, LOW, b"low"), (2, MID, b"new")))
    assert candidate.is_elected
    assert candidate.debts() == Debts(0, (b"mid", b"new"), 0, None)


def test_gaps_below_the_highest_reported_slot_are_filled() -> None:
    candidate = Candidate(HIGH, 3, THREE)
    candidate.on_promise(1, promise((4, LOW, b"four"), first=3))
    candidate.on_promise(2, promise((7, LOW, b"seven"), first=3))
    assert candidate.debts() == Debts(2, (b"", b"four", b"", b"", b"seven"), 3, None)


def test_a_promise_counts_when_its_last_page_has_come() -> None:
    candidate = Candidate(HIGH, 1, THREE)
    candidate.on_promise(3, promise())
    assert candidate.on_promise(1, promise((1, LOW, b"a"), then=2)) == Prepare(HIGH, 2)
    assert not candidate.is_elected
    assert candidate.question(1) == Prepare(HIGH, 2)
    assert candidate.question(2) == Prepare(HIGH, 1)
    assert candidate.question(3) is None
    candidate.on_promise(1, promise((2, LOW, b"b"), first=2))
    assert candidate.is_elected
    assert candidate.debts().values == (b"a", b"b")


def test_pages_out_of_order_or_repeated_do_not_count() -> None:
    candidate = Candidate(HIGH, 1, THREE)
    candidate.on_promise(3, promise())
    assert candidate.on_promise(1, promise((2, LOW, b"b"), first=2)) is None
    assert not candidate.is_elected
    candidate.on_promise(1, promise((1, LOW, b"a"), then=2))
    assert candidate.on_promise(1, promise((1, LOW, b"a"), then=2)) is None
    assert not candidate.is_elected


def test_only_members_at_this_ballot_count_and_each_once() -> None:
    candidate = Candidate(HIGH, 1, THREE)
    candidate.on_promise(1, promise())
    candidate.on_promise(1, promise())
    candidate.on_promise(4, promise((1, MID, b"of a stranger")))
    candidate.on_promise(2, promise((1, MID, b"of another ballot"))._replace(ballot=MID))
    assert not candidate.is_elected
    assert candidate.debts().values == ()


def test_nothing_is_owed_in_compacted_slots() -> None:
    candidate = Candidate(HIGH, 1, THREE)
    candidate.on_promise(1, promise((2, LOW, b"two"), (7, LOW, b"seven")))
    candidate.on_promise(2, promise((6, LOW, b"six"), compacted=5))
    assert candidate.debts() == Debts(5, (b"six", b"seven"), 0, 2)


def test_a_candidate_alone_with_what_it_compacted_owes_nothing() -> None:
    candidate = Candidate(HIGH, 4, THREE)
    candidate.on_promise(1, promise(first=4, compacted=3))
    candidate.on_promise(2, promise(first=4, compacted=1))
    assert candidate.debts() == Debts(3, (), 0, None)


def test_phase_one_needs_its_own_quorum() -> None:
    candidate = Candidate(HIGH, 1, FlexibleQuorums((1, 2, 3, 4), phase1=3, phase2=2))
    candidate.on_promise(1, promise())
    candidate.on_promise(2, promise())
    assert not candidate.is_elected
    candidate.on_promise(4, promise())
    assert candidate.is_elected


# --- the leader -------------------------------------------------------------------------------------


def leader(*values: bytes, floor: int = 0, quorums: Majority | FlexibleQuorums = THREE) -> Leader:
    peers = {node: Peer(0.0, 1.0) for node in quorums.members if node != 3}
    return Leader(HIGH, Debts(floor, values, 0, None), quorums, peers)


def test_a_leader_owes_before_it_proposes_anything_new() -> None:
    one = leader(b"a", b"b", floor=4)
    assert one.debts
    assert one.owed == 6
    assert one.propose(one.debts.popleft(), None) == Accept(HIGH, 5, b"a", 4)
    assert one.propose(one.debts.popleft(), None) == Accept(HIGH, 6, b"b", 4)
    assert not one.debts
    assert one.propose(b"new", None) == Accept(HIGH, 7, b"new", 4)


def test_the_commit_index_rises_without_gaps() -> None:
    one = leader(floor=4)
    for _ in range(3):
        one.propose(b"v", None)
    assert not one.count(1, 6, 7)
    assert not one.count(2, 6, 7)
    assert one.take_committed() == []
    assert not one.count(3, 5, 5)
    assert one.count(2, 5, 5)
    assert [slot for slot, _ in one.take_committed()] == [5, 6, 7]
    assert one.committed == 7
    assert one.flight_bytes == 0


def test_a_vote_counts_once_and_a_run_may_say_anything() -> None:
    one = leader()
    one.propose(b"v", None)
    assert not one.count(1, 1, 1)
    assert not one.count(1, 1, 1)
    assert one.count(2, 1, 1 << 60)
    one.take_committed()
    assert not one.count(3, 1, 1)


def test_phase_two_needs_its_own_quorum() -> None:
    one = leader(quorums=FlexibleQuorums((1, 2, 3, 4), phase1=2, phase2=3))
    one.propose(b"v", None)
    assert not one.count(3, 1, 1)
    assert not one.count(1, 1, 1)
    assert one.count(2, 1, 1)


def test_what_a_peer_did_not_answer_is_known() -> None:
    one = leader()
    for _ in range(4):
        one.propose(b"v", None)
    one.count(1, 2, 2)
    one.count(2, 3, 3)
    one.count(3, 3, 3)  # chosen: whoever misses it asks for it
    assert [a.slot for a in one.unheard(1, 4, 9, 9)] == [1, 4]
    assert [a.slot for a in one.unheard(1, 3, 9, 9)] == [1]
    assert [a.slot for a in one.unheard(2, 99, 2, 9)] == [1, 2]
    assert [a.slot for a in one.unheard(2, 99, 9, 1)] == [1]


def test_a_round_is_confirmed_by_a_phase_two_quorum() -> None:
    one = leader(quorums=FlexibleQuorums((1, 2, 3, 4), phase1=2, phase2=3))
    one.peers[1].sequence = 5
    assert not one.is_confirmed(5)
    one.peers[2].sequence = 4
    assert not one.is_confirmed(5)
    one.peers[2].sequence = 6
    assert one.is_confirmed(5)
