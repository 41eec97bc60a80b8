"""The rooms of the log of Fast Paxos by themselves: acceptor, phase 1, learner, proposer, reads."""

from collections.abc import Sequence

import pytest

from fastpaxos.log import Candidate, FastLogSettings, LogAcceptor, LogLearner, LogProposer
from fastpaxos.log.acceptor import PageLimits
from fastpaxos.log.context import NEVER_S, Context
from fastpaxos.log.learner import Learned
from fastpaxos.log.messages import (
    Chosen,
    Fetch,
    Forward,
    Nack,
    Prepare,
    Promise,
    Propose,
    ReadAt,
    ReadIndex,
    Recover,
    Report,
    Voted,
)
from fastpaxos.log.proposer import View
from fastpaxos.log.reads import QuorumReads
from fastpaxos.log.records import HINT_KEY, SlotRecord, pack_slot, read_records, slot_key
from fastpaxos.rounds import OPEN, Rounds
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.values import NOP_VALUE, pack_value
from paxos.contract import Configuration, Message, OutcomeKind
from paxos.errors import ProtocolBreach
from paxos.quorum import FastQuorums, FlexibleQuorums, QuorumSystem
from tests.fastpaxos_log_net import command

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

ROUNDS = Rounds()
V, W, X = (pack_value(command(number)) for number in (1, 2, 3))
LOW, CLASSIC, FAST, HIGH = Ballot(1, 1, 1), Ballot(2, 2, 1), Ballot(3, 3, 0), Ballot(4, 1, 1)


def context_of(
    node: NodeId = 1, quorums: QuorumSystem | None = None, observers: tuple[NodeId, ...] = (), **given: int
) -> Context:
    settings = FastLogSettings(**given)  # type: ignore[arg-type]
    members = quorums or FastQuorums((1, 2, 3))
    configuration = Configuration(node, members, settings, observers=observers)
    return Context(configuration, lambda name, bound: 0)


def sent(context: Context) -> list[tuple[NodeId, Message]]:
    """What was sent since this was asked last."""
    found = list(context.out.sends)
    context.out.sends.clear()
    return found


# --- the acceptor: promises -------------------------------------------------------------------------------


def voter(*slots: int, **more: int) -> LogAcceptor:
    acceptor = LogAcceptor(ROUNDS, **more)  # type: ignore[arg-type]
    for slot in slots:
        assert acceptor.vote(OPEN, slot, V)
    return acceptor


@pytest.mark.parametrize("slots", [(1, 2, 3, 4), (2, 4, 5_000)], ids=["close together", "far between"])
def test_a_promise_tells_of_every_vote_from_a_slot_on(slots: tuple[int, ...]) -> None:
    for first in (1, 2, 3, slots[-1], slots[-1] + 1):
        answer = voter(*slots).on_prepare(Prepare(CLASSIC, first))
        entries = tuple((slot, OPEN, V) for slot in slots if slot >= first)
        assert answer == Promise(CLASSIC, first, entries, 0, 0)


def test_pages_go_on_where_they_ended_and_are_never_empty() -> None:
    size = len(V)
    for limits in (PageLimits(2, 1 << 20), PageLimits(100, 2 * (size + 24)), PageLimits(100, 1)):
        acceptor = voter(1, 2, 3, 5)
        acceptor.limits = limits
        told: list[int] = []
        first, pages = 1, 0
        while first:
            page = acceptor.on_prepare(Prepare(CLASSIC, first))
            assert isinstance(page, Promise)
            told += [slot for slot, _, _ in page.entries]
            first, pages = page.following, pages + 1
        assert told == [1, 2, 3, 5]
        assert pages == (4 if limits.bytes == 1 else 2)


def test_a_promise_tells_of_no_slot_that_is_compacted() -> None:
    acceptor = voter(1, 2, 3)
    acceptor.compact(2)
    assert acceptor.on_prepare(Prepare(CLASSIC, 1)) == Promise(CLASSIC, 1, ((3, OPEN, V),), 0, 2)
    again = LogAcceptor(ROUNDS, CLASSIC, {3: SlotRecord(BOTTOM, OPEN, V, False)}, 2)
    assert again.on_prepare(Prepare(CLASSIC, 1)) == Promise(CLASSIC, 1, ((3, OPEN, V),), 0, 2)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_candidate_is_refused_by_what_was_promised_in_any_slot(restarted: bool) -> None:
    voted, reported = voter(1), voter(1)
    assert voted.vote(HIGH, 2, W)
    assert reported.on_recover(Recover(HIGH, 2)) == Report(HIGH, 2, BOTTOM, None)
    for acceptor in (voted, reported):
        if restarted:
            records = {slot: vote.record() for slot, vote in acceptor.slots.items()}
            acceptor = LogAcceptor(ROUNDS, acceptor.floor, records)
        assert acceptor.on_prepare(Prepare(CLASSIC, 1)) == Nack(CLASSIC, HIGH)
        assert acceptor.floor == OPEN


@pytest.mark.parametrize("restarted", [False, True])
def test_who_voted_at_a_ballot_promises_it_no_more(restarted: bool) -> None:
    acceptor = voter(1)
    assert isinstance(acceptor.on_prepare(Prepare(CLASSIC, 1)), Promise)
    assert acceptor.vote(CLASSIC, 1, V)
    if restarted:
        records = {slot: vote.record() for slot, vote in acceptor.slots.items()}
        acceptor = LogAcceptor(ROUNDS, acceptor.floor, records)
    assert acceptor.on_prepare(Prepare(CLASSIC, 1)) is None
    assert acceptor.on_recover(Recover(CLASSIC, 1)) is None
    assert acceptor.on_prepare(Prepare(HIGH, 1)) == Promise(HIGH, 1, ((1, CLASSIC, V),), 0, 0)


def test_a_promise_for_one_slot_is_for_that_slot() -> None:
    acceptor = voter(1, 2)
    assert acceptor.on_recover(Recover(CLASSIC, 1)) == Report(CLASSIC, 1, OPEN, V)
    assert acceptor.on_recover(Recover(CLASSIC, 1)) == Report(CLASSIC, 1, OPEN, V)
    assert acceptor.on_recover(Recover(LOW, 1)) == Nack(LOW, CLASSIC)
    assert acceptor.on_recover(Recover(LOW, 2)) == Report(LOW, 2, OPEN, V)
    assert acceptor.promised(1) == CLASSIC
    assert acceptor.promised(3) == OPEN
    acceptor.join(HIGH)
    assert acceptor.on_recover(Recover(CLASSIC, 3)) == Nack(CLASSIC, HIGH)
    acceptor.compact(2)
    assert acceptor.on_recover(Recover(HIGH, 2)) is None


# --- the acceptor: votes --------------------------------------------------------------------------------


def test_nothing_is_voted_for_below_a_promise() -> None:
    acceptor = LogAcceptor(ROUNDS)
    acceptor.on_recover(Recover(CLASSIC, 1))
    assert not acceptor.vote(LOW, 1, V)
    assert acceptor.vote(LOW, 2, V)
    acceptor.join(CLASSIC)
    assert not acceptor.vote(LOW, 3, V)
    assert acceptor.vote(HIGH, 1, V)
    assert not acceptor.vote(FAST, 1, V)
    assert acceptor.slots[1].accepted_ballot == HIGH


def test_a_vote_at_a_higher_ballot_is_a_promise() -> None:
    acceptor = LogAcceptor(ROUNDS)
    assert acceptor.vote(CLASSIC, 1, V)
    assert acceptor.promised(1) == CLASSIC
    assert acceptor.on_recover(Recover(LOW, 1)) == Nack(LOW, CLASSIC)
    assert not acceptor.vote(LOW, 1, W)
    assert acceptor.slots[1].accepted_value == V


def test_a_vote_is_not_replaced_at_its_ballot() -> None:
    acceptor = LogAcceptor(ROUNDS)
    assert acceptor.vote(FAST, 1, V)
    assert not acceptor.vote(FAST, 1, W)
    assert acceptor.vote(HIGH, 1, V)
    assert not acceptor.vote(HIGH, 1, V)
    with pytest.raises(ProtocolBreach, match="OneValuePerBallot"):
        acceptor.vote(HIGH, 1, W)
    with pytest.raises(ValueError, match="no ballot"):
        acceptor.vote(Ballot(9, 1, 2), 1, W)


def test_what_is_chosen_takes_the_place_of_a_vote_and_stays() -> None:
    acceptor = voter(1)
    assert acceptor.learn(1, CLASSIC, W)
    assert not acceptor.vote(HIGH, 1, V)
    assert not acceptor.learn(1, HIGH, W)
    assert acceptor.slots[1].record() == SlotRecord(BOTTOM, CLASSIC, W, True)
    # It is reported as a vote, so no candidate at that ballot or below is told of it.
    assert acceptor.on_prepare(Prepare(LOW, 1)) == Nack(LOW, CLASSIC)
    assert acceptor.on_prepare(Prepare(CLASSIC, 1)) is None
    assert acceptor.on_prepare(Prepare(HIGH, 1)) == Promise(HIGH, 1, ((1, CLASSIC, W),), 0, 0)


def test_what_was_voted_for_and_is_chosen_stays_too() -> None:
    acceptor = voter(1)
    assert not acceptor.learn(1, HIGH, V)
    assert acceptor.slots[1].record() == SlotRecord(BOTTOM, OPEN, V, True)
    assert not acceptor.vote(HIGH, 1, V)


def test_the_highest_slot_is_of_votes_news_and_snapshots() -> None:
    acceptor = voter(3)
    assert acceptor.highest == 3
    acceptor.on_recover(Recover(CLASSIC, 9))
    assert acceptor.highest == 3
    acceptor.learn(5, OPEN, V)
    assert acceptor.highest == 5
    records = {slot: vote.record() for slot, vote in acceptor.slots.items()}
    assert LogAcceptor(ROUNDS, OPEN, records).highest == 5
    assert LogAcceptor(ROUNDS, OPEN, records, compacted=7).highest == 7
    acceptor.compact(8)
    assert acceptor.highest == 8
    assert not acceptor.vote(HIGH, 8, V)


def test_what_is_compacted_leaves_a_few_at_a_time_also_after_a_restart() -> None:
    acceptor = voter(1, 2, 3, 4)
    records = {slot: vote.record() for slot, vote in acceptor.slots.items()}
    assert acceptor.compact(3)
    assert not acceptor.compact(2)
    for one in (acceptor, LogAcceptor(ROUNDS, OPEN, records, compacted=3)):
        assert one.drop(2) == [2, 1]
        assert one.drop(2) == [3]
        assert list(one.slots) == [4]


# --- phase 1 ----------------------------------------------------------------------------------------------


def candidate(first: int = 1, quorums: QuorumSystem | None = None) -> Candidate:
    return Candidate(CLASSIC, first, quorums or FastQuorums((1, 2, 3)), ROUNDS)


def promise(
    *entries: tuple[int, Ballot, bytes], first: int = 1, following: int = 0, done: int = 0
) -> Promise:
    return Promise(CLASSIC, first, entries, following, done)


def test_who_promised_and_reports_nothing_counts() -> None:
    """With four of five the fast value of one can have been chosen, whatever the others did."""
    told = candidate(quorums=FastQuorums((1, 2, 3, 4, 5)))
    told.on_promise(1, promise((1, OPEN, V)))
    told.on_promise(2, promise((1, OPEN, W)))
    told.on_promise(3, promise())
    debts = told.debts()
    assert (debts.values, debts.gaps, debts.first) == ((min(V, W),), 0, 2)
    told = candidate()
    told.on_promise(1, promise((2, OPEN, V)))
    told.on_promise(2, promise((2, CLASSIC._replace(round=1), W)))
    assert told.debts() == (0, (NOP_VALUE, W), 1, None)


def test_pages_count_in_order_and_each_once() -> None:
    told = candidate()
    assert told.on_promise(2, promise((3, OPEN, V), first=3)) is None
    assert told.on_promise(2, promise((1, OPEN, V), following=3)) == Prepare(CLASSIC, 3)
    assert told.question(2) == Prepare(CLASSIC, 3)
    assert told.on_promise(2, promise((1, OPEN, W), following=3)) is None
    told.on_promise(4, promise(done=9))
    told.on_promise(1, Promise(HIGH, 1, (), 0, 0))
    told.on_promise(1, promise())
    assert not told.is_elected
    told.on_promise(2, promise((3, OPEN, X), first=3))
    assert told.is_elected
    assert told.question(2) is None
    told.on_promise(2, promise((3, OPEN, W), first=3))
    assert told.debts().values == (V, NOP_VALUE, X)


def test_what_somebody_compacted_is_not_owed() -> None:
    told = candidate(first=3)
    told.on_promise(1, promise((3, OPEN, V), (6, OPEN, V), first=3))
    told.on_promise(3, promise(first=3, done=5))
    assert told.debts() == (5, (V,), 0, 3)
    told = candidate(first=3)
    told.on_promise(1, promise(first=3))
    told.on_promise(2, promise(first=3, done=2))
    assert told.debts() == (2, (), 0, None)


# --- the learner ------------------------------------------------------------------------------------------


def restored(slots: dict[int, SlotRecord], hint: int, compacted: int = 0) -> tuple[LogLearner, Context]:
    context = context_of()
    learner = LogLearner(compacted)
    learner.restore(LogAcceptor(ROUNDS, OPEN, slots, compacted), hint, context, 0.0)
    return learner, context


def test_after_a_restart_that_is_committed_which_the_disk_proves() -> None:
    vote, sure = SlotRecord(BOTTOM, OPEN, V, False), SlotRecord(BOTTOM, OPEN, V, True)
    learner, context = restored({1: vote, 2: vote, 3: sure, 4: vote, 5: sure, 6: vote}, hint=2)
    assert learner.committed == 3
    assert [slot for slot, _ in context.out.applies] == [1, 2, 3]
    assert learner.chosen == {5: V}
    assert set(learner.since_s) == {4, 6}
    assert restored({1: vote}, hint=0)[0].committed == 0
    assert restored({5: sure, 6: vote}, hint=2, compacted=4)[0].committed == 5


def test_what_was_committed_after_a_restart_is_told_and_not_voted_against() -> None:
    acceptor = LogAcceptor(ROUNDS, OPEN, {1: SlotRecord(BOTTOM, OPEN, V, False)})
    context = context_of()
    learner = LogLearner()
    learner.restore(acceptor, 1, context, 0.0)
    assert learner.tell(3, 1, acceptor, context)
    assert sent(context) == [(3, Chosen(1, ((OPEN, V),)))]
    assert not acceptor.vote(HIGH, 1, W)


def test_a_vote_is_not_told_as_chosen() -> None:
    context, acceptor = context_of(), voter(1)
    assert not LogLearner().tell(3, 1, acceptor, context)
    assert not LogLearner().tell(3, 2, acceptor, context)


def learned(learner: LogLearner, acceptor: LogAcceptor, context: Context, *slots: int) -> None:
    for slot in slots:
        learner.learn(Learned(slot, OPEN, V), acceptor, context)
    learner.advance(context, 0.0)


def test_what_was_not_voted_for_is_written_down_when_learned() -> None:
    context, acceptor, learner = context_of(), voter(1, 2), LogLearner()
    acceptor.slots[2].accepted_value = W
    assert learner.count(1, Voted(OPEN, 2, W), context, 0.0) is None
    assert list(learner.tallies) == [2]
    learned(learner, acceptor, context, 1, 2)
    assert context.out.writes == [(slot_key(2), pack_slot(BOTTOM, OPEN, V, True))]
    assert learner.count(2, Voted(OPEN, 2, V), context, 0.0) is None
    assert learner.tallies == {}
    with pytest.raises(ProtocolBreach, match="Agreement"):
        learner.learn(Learned(2, OPEN, W), acceptor, context)


def test_the_hint_is_of_what_was_committed_before_the_turn() -> None:
    """The records that it speaks of are then in a batch before its own."""
    context, acceptor, learner = context_of(hint_slots=2), voter(1, 2, 3), LogLearner()
    hints = []
    for slot in (1, 2, 3):
        learned(learner, acceptor, context, slot)
        context.out.writes.clear()
        learner.settle(context)
        hints += [
            read_records({key: data or b""}).hint for key, data in context.out.writes if key == HINT_KEY
        ]
        hints.append(-1)
    assert hints == [-1, -1, 2, -1]


def test_every_second_question_goes_to_who_said_that_it_has_it() -> None:
    context, learner = context_of(quorums=FastQuorums((1, 2, 3, 4, 5))), LogLearner()
    learner.hear(9, 4, context, 0.0)
    asked: list[NodeId] = []
    for _ in range(8):
        learner.fetch(context, learner.fetch_at_s)
        ((node, question),) = sent(context)
        assert question == Fetch(1, 9)
        asked.append(node)
    assert asked[0::2] == [4] * 4
    assert set(asked) == {2, 3, 4, 5}


def test_when_a_page_has_come_the_next_is_asked_for_at_once() -> None:
    context, learner, acceptor = context_of(), LogLearner(), voter()
    learner.hear(9, 2, context, 0.0)
    learner.fetch(context, 1.0)
    sent(context)
    learned(learner, acceptor, context, 1, 2)
    learner.fetched(0, context, 2.0)
    assert sent(context) == [(2, Fetch(3, 9))]
    learner.fetched(2, context, 2.0)
    assert sent(context) == []


def test_a_page_of_what_is_chosen_ends_where_it_is_committed() -> None:
    context, acceptor, learner = context_of(), voter(1, 2, 3, 4), LogLearner()
    learned(learner, acceptor, context, 1, 2, 3)
    for first, last, slots in ((1, 9, 3), (2, 2, 1), (1, 2, 2), (4, 9, 0)):
        learner.on_fetch(2, Fetch(first, last), acceptor, context, 0.0)
        answer = [(2, Chosen(first, ((OPEN, V),) * slots))] if slots else []
        assert sent(context) == answer
    acceptor.limits = PageLimits(100, 1)
    learner.on_fetch(2, Fetch(1, 3), acceptor, context, 0.0)
    assert sent(context) == [(2, Chosen(1, ((OPEN, V),)))]


def test_a_snapshot_is_not_wished_for_again_and_again() -> None:
    context, acceptor, learner = context_of(), voter(1, 2), LogLearner(2)
    acceptor.compact(2)
    for at_s in (0.0, 0.1, 0.6, 0.7, 1.5, 1.7):
        learner.on_fetch(2, Fetch(1, 3), acceptor, context, at_s)
    assert context.out.transfers == [(2, 2)] * 3
    learner.on_fetch(3, Fetch(1, 3), acceptor, context, 1.7)
    assert context.out.transfers[3:] == [(3, 2)]


def test_a_slot_is_waited_for_until_it_is_chosen_or_in_a_snapshot() -> None:
    context, acceptor, learner = context_of(), voter(), LogLearner()
    learner.mention(4, 1.0)
    assert learner.since_s == dict.fromkeys((1, 2, 3, 4), 1.0)
    learned(learner, acceptor, context, 3)
    assert set(learner.since_s) == {1, 2, 4}
    learner.skip(2, 2.0)
    assert learner.since_s == {4: 1.0}
    learner.skip(2, 2.0)
    assert learner.committed == 2


# --- the proposer -----------------------------------------------------------------------------------------


def proposing(*views: View, commands: int = 1, context: Context | None = None) -> tuple[LogProposer, Context]:
    context = context or context_of()
    proposer = LogProposer(View(OPEN, True, 1, None))
    for number in range(1, commands + 1):
        proposer.submit(command(number), context)
    for view in views:
        proposer.turn_to(view)
    return proposer, context


def slots_of(proposals: Sequence[Propose]) -> list[int]:
    return [proposal.slot for proposal in proposals]


def test_a_command_is_placed_in_the_next_free_slot_within_reach() -> None:
    proposer, context = proposing(commands=4)
    proposer.saw(0)
    assert proposer.next == 1
    proposer.saw(1)
    proposer.saw(1)
    assert proposer.next == 2
    assert proposer.place(3, context, 0.0) == [Propose(OPEN, 2, V), Propose(OPEN, 3, W)]
    assert proposer.place(3, context, 0.0) == []
    assert slots_of(proposer.place(9, context, 0.0)) == [4, 5]


def test_who_loses_a_slot_is_placed_again_and_who_waits_elsewhere_is_not() -> None:
    proposer, context = proposing(commands=2)
    proposer.place(9, context, 0.0)
    proposer.chosen(1, X, OPEN, context)
    assert slots_of(proposer.place(9, context, 0.0)) == [3]
    assert proposer.pending[V].lost
    # Another's command in a slot that was given up before is no loss.
    proposer.mine[7] = V
    proposer.chosen(7, X, OPEN, context)
    assert not proposer.queue
    proposer.chosen(3, V, OPEN, context)
    proposer.chosen(2, W, OPEN, context)
    assert (proposer.pending, proposer.queue, proposer.mine, proposer.size_bytes) == ({}, {}, {}, 0)


def test_a_slot_is_lost_though_its_ballot_found_a_coordinator_meanwhile() -> None:
    proposer, context = proposing(commands=1)
    proposer.place(9, context, 0.0)
    proposer.turn_to(View(OPEN, True, 1, 2))
    proposer.chosen(1, X, OPEN, context)
    assert slots_of(proposer.place(9, context, 0.0)) == [2]


def test_what_is_chosen_while_it_waits_to_be_placed_is_not_placed() -> None:
    proposer, context = proposing(commands=2)
    proposer.chosen(5, V, OPEN, context)
    assert proposer.place(9, context, 0.0) == [Propose(OPEN, 6, W)]
    assert proposer.size_bytes == len(W)


def test_what_a_new_coordinator_may_have_found_waits_for_its_slot() -> None:
    proposer, context = proposing(commands=3)
    assert slots_of(proposer.place(9, context, 0.0)) == [1, 2, 3]
    proposer.turn_to(View(CLASSIC, False, 0, None))
    assert proposer.place(9, context, 0.0) == []
    proposer.turn_to(View(CLASSIC, False, 3, 2))
    assert proposer.place(9, context, 0.0) == []
    assert sent(context) == [(2, Forward(CLASSIC, X))]
    assert proposer.mine == {1: V, 2: W}
    proposer.chosen(1, NOP_VALUE, CLASSIC, context)
    proposer.place(9, context, 0.0)
    assert sent(context) == [(2, Forward(CLASSIC, V))]
    assert proposer.pending[W].slot == 2


def test_in_a_fast_round_commands_go_above_what_phase_1_reported() -> None:
    proposer, context = proposing(View(FAST, True, 0, None), View(FAST, True, 6, 3))
    assert proposer.place(9, context, 0.0) == [Propose(FAST, 6, V)]


def test_what_is_repeated_and_what_is_not() -> None:
    proposer, context = proposing(commands=2)
    proposer.place(9, context, 0.0)
    assert proposer.repeat(context, 0.4) == []
    assert slots_of(proposer.repeat(context, 0.5)) == [1, 2]
    assert proposer.repeat(context, 0.9) == []
    # In another ballot what phase 1 may have found is not asked for, and what is placed anew is.
    proposer.turn_to(View(FAST, True, 0, None))
    assert proposer.repeat(context, 5.0) == []
    proposer.turn_to(View(FAST, True, 2, 3))
    assert slots_of(proposer.place(9, context, 5.0)) == [3]
    assert proposer.repeat(context, 50.0) == [Propose(FAST, 3, W)]
    proposer.turn_to(View(HIGH, False, 4, 3))
    assert proposer.repeat(context, 500.0) == []
    assert sent(context) == [(3, Forward(HIGH, V)), (3, Forward(HIGH, W))]


def test_who_is_in_charge_says_where_it_put_a_command() -> None:
    proposer, context = proposing(View(HIGH, False, 1, 3))
    proposer.place(9, context, 0.0)
    assert proposer.repeat(context, 0.5) == []
    assert sent(context) == [(3, Forward(HIGH, V))] * 2
    proposer.placed(4, V, HIGH)
    assert proposer.repeat(context, 50.0) == []
    assert sent(context) == []
    assert (proposer.pending[V].slot, proposer.mine, proposer.next) == (4, {4: V}, 5)
    proposer.chosen(4, W, HIGH, context)
    assert list(proposer.queue) == [V]


def test_what_was_placed_where_a_snapshot_is_now_is_placed_again() -> None:
    proposer, context = proposing(commands=3)
    proposer.place(9, context, 0.0)
    proposer.forget(2, context)
    assert proposer.mine == {3: X}
    assert slots_of(proposer.place(9, context, 0.0)) == [4, 5]
    proposer.forget(9, context)
    assert proposer.next == 10


def test_room_is_in_commands_and_in_bytes() -> None:
    proposer, context = proposing(commands=2, context=context_of(window=3))
    assert proposer.room(context) == 1
    proposer, context = proposing(commands=1, context=context_of(window_bytes=1))
    assert proposer.room(context) == 0
    proposer.chosen(1, V, OPEN, context)
    assert proposer.room(context) > 0


# --- reads ------------------------------------------------------------------------------------------------


def reading(context: Context, highest: int = 2) -> QuorumReads:
    reads = QuorumReads()
    reads.add(command(1).request, context)
    reads.ask(7, highest, context, 0.0)
    return reads


def test_a_read_waits_for_the_highest_slot_that_a_quorum_names() -> None:
    context = context_of()
    assert reading(context, 2).on_read_at(2, ReadAt(7, 1, 1), 7, context) == 2
    assert reading(context, 2).on_read_at(2, ReadAt(7, 1, 5), 7, context) == 5
    assert [outcome.mark for outcome in context.out.outcomes] == [2, 5]
    assert all(outcome.kind is OutcomeKind.READY for outcome in context.out.outcomes)


def test_answers_to_another_question_or_life_are_not_counted() -> None:
    context = context_of()
    reads = reading(context)
    for answer in (ReadAt(6, 1, 9), ReadAt(7, 2, 9), ReadAt(7, 0, 9)):
        assert reads.on_read_at(2, answer, 7, context) == 0
    assert reads.on_read_at(2, ReadAt(7, 1, 3), 7, context) == 3
    # The next question begins with no answers.
    reads.add(command(2).request, context)
    reads.ask(7, 1, context, 0.0)
    assert len(context.out.outcomes) == 1
    assert reads.on_read_at(3, ReadAt(7, 2, 1), 7, context) == 1


def test_an_observer_does_not_count_itself_and_a_quorum_is_one_of_phase_1() -> None:
    context = context_of(4, observers=(4,))
    reads = reading(context)
    assert reads.on_read_at(1, ReadAt(7, 1, 0), 7, context) == 0
    assert not context.out.outcomes
    assert reads.on_read_at(2, ReadAt(7, 1, 3), 7, context) == 3
    context = context_of(quorums=FlexibleQuorums((1, 2, 3, 4, 5), phase1=4, phase2=2, fast=4))
    reads = reading(context)
    assert [reads.on_read_at(node, ReadAt(7, 1, node), 7, context) for node in (2, 3, 4)] == [0, 0, 4]


def test_a_question_is_repeated_to_those_that_did_not_answer() -> None:
    context = context_of(quorums=FastQuorums((1, 2, 3, 4, 5)))
    reads = reading(context)
    reads.on_read_at(3, ReadAt(7, 1, 1), 7, context)
    sent(context)
    reads.repeat(7, context, 0.5)
    assert sent(context) == [(node, ReadIndex(7, 1)) for node in (2, 4, 5)]
    assert reads.repeat_at_s == 1.5
    reads.drop(command(1).request)
    assert not reads.is_asking
    reads.repeat(7, context, 1.5)
    assert sent(context) == []
    assert reads.repeat_at_s == NEVER_S
