"""The three roles of Basic Paxos, with nothing but function calls."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import Phase as HypothesisPhase
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from paxos.ballot import BOTTOM, Ballot
from paxos.basic import (
    Accept,
    Accepted,
    Acceptor,
    AcceptorRecord,
    Decision,
    Learner,
    Nack,
    Prepare,
    Promise,
    Proposer,
    ProposerState,
)
from paxos.basic.messages import MAX_ROUND
from paxos.errors import ConfigurationError, ProtocolBreach
from paxos.quorum import (
    ExplicitQuorums,
    FlexibleQuorums,
    GridQuorums,
    Majority,
    Phase,
    QuorumSystem,
    WeightedQuorums,
)

B1, B2, B3, B4 = (Ballot(n, 1 + n % 3) for n in range(1, 5))
THREE = Majority((1, 2, 3))
D = b"d"


def acceptor(
    promised: Ballot = BOTTOM, vote: Ballot = BOTTOM, value: bytes | None = None, decree: bytes = D
) -> Acceptor:
    return Acceptor(decree, AcceptorRecord(promised, vote, value))


def promise(ballot: Ballot, vote: Ballot = BOTTOM, value: bytes | None = None) -> Promise:
    return Promise(D, ballot, vote, value)


def proposer(value: bytes | None = b"own", quorums: QuorumSystem = THREE, **more: Any) -> Proposer:
    return Proposer(1, quorums, value, decree=D, **more)


# --- the acceptor ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "question", "reply", "after"),
    [
        pytest.param((), Prepare(D, B1), promise(B1), (B1,), id="first promise"),
        pytest.param((B1,), Prepare(D, B2), promise(B2), (B2,), id="higher promise"),
        pytest.param((B1,), Prepare(D, B1), promise(B1), (B1,), id="the same Prepare again"),
        pytest.param((B2,), Prepare(D, B1), Nack(D, B1, B2), (B2,), id="late Prepare"),
        pytest.param((B1, B1, b"v"), Prepare(D, B2), promise(B2, B1, b"v"), (B2, B1, b"v"), id="vote told"),
        pytest.param((B3, B1, b"v"), Prepare(D, B3), promise(B3, B1, b"v"), (B3, B1, b"v"), id="told again"),
        pytest.param((B2, B2, b"v"), Prepare(D, B2), Accepted(D, B2, b"v"), (B2, B2, b"v"), id="voted"),
        pytest.param((B3, B2, b"v"), Prepare(D, B2), Nack(D, B2, B3), (B3, B2, b"v"), id="outbid"),
        pytest.param((), Accept(D, B1, b"v"), Accepted(D, B1, b"v"), (B1, B1, b"v"), id="unpromised vote"),
        pytest.param((B1,), Accept(D, B1, b"v"), Accepted(D, B1, b"v"), (B1, B1, b"v"), id="promised vote"),
        pytest.param((B1,), Accept(D, B3, b"v"), Accepted(D, B3, b"v"), (B3, B3, b"v"), id="higher vote"),
        pytest.param((B2,), Accept(D, B1, b"v"), Nack(D, B1, B2), (B2,), id="late Accept"),
        pytest.param(
            (B2, B1, b"u"), Accept(D, B2, b"v"), Accepted(D, B2, b"v"), (B2, B2, b"v"), id="later vote"
        ),
        pytest.param(
            (B2, B2, b"v"),
            Accept(D, B2, b"v"),
            Accepted(D, B2, b"v"),
            (B2, B2, b"v"),
            id="Accept again",
        ),
        pytest.param((B3, B2, b"v"), Accept(D, B2, b"v"), Nack(D, B2, B3), (B3, B2, b"v"), id="too late"),
        pytest.param((B1, B1, b""), Prepare(D, B2), promise(B2, B1, b""), (B2, B1, b""), id="empty value"),
        pytest.param((B1, B1, b""), Prepare(D, B1), Accepted(D, B1, b""), (B1, B1, b""), id="empty vote"),
    ],
)
def test_the_acceptors_rules(before: Any, question: Any, reply: Any, after: Any) -> None:
    one = acceptor(*before)
    answer = one.receive(7, question)
    assert (type(answer), answer) == (type(reply), reply)
    assert one.record() == acceptor(*after).record()
    # Asked again it says the same and changes nothing: the answer comes from what is stored.
    again = one.receive(7, question)
    if isinstance(question, Prepare) or isinstance(reply, Nack):
        assert (type(again), again) == (type(reply), reply)
    assert one.record() == acceptor(*after).record()
    # And so it does after a restart.
    restarted = Acceptor(D, one.record())
    assert restarted.receive(7, question) == reply
    assert restarted.record() == one.record()


def test_a_vote_is_never_replaced_at_its_ballot() -> None:
    one = acceptor(B2, B2, b"v")
    with pytest.raises(ProtocolBreach, match="OneValuePerBallot"):
        one.receive(1, Accept(D, B2, b"w"))
    assert one.record() == AcceptorRecord(B2, B2, b"v")
    outbid = acceptor(B3, B2, b"v")
    assert outbid.receive(1, Accept(D, B2, b"w")) == Nack(D, B2, B3)


def test_an_acceptor_minds_its_own_decree_and_its_own_questions() -> None:
    one = acceptor(B1)
    for question in (Prepare(b"other", B2), Accept(b"other", B2, b"v")):
        with pytest.raises(ValueError, match="other"):
            one.receive(1, question)
    with pytest.raises(TypeError, match="Nack"):
        one.receive(1, Nack(D, B1, B2))  # type: ignore[call-overload]
    assert one.record() == AcceptorRecord(B1, BOTTOM, None)


def test_a_copied_acceptor_goes_its_own_way() -> None:
    one = acceptor(B1)
    other = one.clone()
    other.receive(1, Accept(D, B2, b"v"))
    assert one.record() == AcceptorRecord(B1, BOTTOM, None)
    assert other.record() == AcceptorRecord(B2, B2, b"v")
    assert "no vote" in repr(one)
    assert "voted b'v'" in repr(other)
    assert "voted b''" in repr(acceptor(B1, B1, b""))


# --- the proposer ----------------------------------------------------------------------------------------


def test_a_proposer_proposes_its_own_value_when_the_promises_leave_it_free() -> None:
    one = proposer()
    assert (one.state, one.ballot, one.question) == (ProposerState.IDLE, BOTTOM, None)
    assert one.prepare() == Prepare(D, Ballot(1, 1))
    first: object = one.question
    assert first == Prepare(D, Ballot(1, 1))
    assert one.receive(2, promise(Ballot(1, 1))) is None
    assert one.receive(3, promise(Ballot(1, 1))) == Accept(D, Ballot(1, 1), b"own")
    assert one.state is ProposerState.ACCEPTING
    assert one.question == Accept(D, Ballot(1, 1), b"own")
    assert one.receive(1, promise(Ballot(1, 1))) is None, "a promise too many"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_vote_of_the_highest_ballot_binds_in_whatever_order_it_comes(order: tuple[int, ...]) -> None:
    told = [(1, BOTTOM, None), (2, B1, b"low"), (3, B3, b"high")]
    one = Proposer(1, Majority((1, 2, 3, 4, 5)), b"own", decree=D)
    ballot = one.prepare(B4).ballot
    answers = [one.receive(told[i][0], promise(ballot, told[i][1], told[i][2])) for i in order]
    assert answers == [None, None, Accept(D, ballot, b"high")]


def test_an_empty_value_binds_like_any_other() -> None:
    one = proposer()
    ballot = one.prepare(B4).ballot
    one.receive(2, promise(ballot, B1, b""))
    assert one.receive(3, promise(ballot)) == Accept(D, ballot, b"")


def test_what_does_not_count_does_not_count() -> None:
    one = proposer()
    one.prepare()
    one.prepare()
    ballot = one.ballot
    assert one.receive(2, promise(ballot)) is None
    for sender, message in (
        (2, promise(ballot)),  # the same again
        (3, promise(Ballot(1, 1))),  # of an earlier ballot
        (9, promise(ballot)),  # no member
        (3, Promise(b"other", ballot, BOTTOM, None)),  # another decree
        (3, Nack(D, ballot, ballot)),  # a nack is no answer, even one that outbids nothing
        (3, Nack(b"other", ballot, B4)),
        (9, Nack(D, ballot, B4)),
        (3, Accepted(D, ballot, b"v")),
    ):
        assert one.receive(sender, message) is None
        assert one.state is ProposerState.PREPARING, (sender, message)
    assert one.prepare().ballot == Ballot(3, 1), "nobody's nack raised the round"


def test_a_nack_ends_the_attempt_and_the_next_goes_above_it() -> None:
    one = proposer()
    ballot = one.prepare().ballot
    one.receive(2, Nack(D, ballot, Ballot(7, 2)))
    assert (one.state, one.question) == (ProposerState.PREEMPTED, None)
    assert one.receive(2, promise(ballot)) is None
    assert one.receive(3, promise(ballot)) is None, "too late"
    assert one.prepare().ballot == Ballot(8, 1)
    one.receive(2, Nack(D, ballot, Ballot(9, 2)))
    assert one.state is ProposerState.PREPARING, "a nack of an earlier ballot ends nothing"
    assert one.prepare().ballot == Ballot(10, 1), "and is remembered all the same"


def test_outbid_in_phase_two_the_value_is_chosen_anew() -> None:
    one = proposer()
    ballot = one.prepare().ballot
    one.receive(2, promise(ballot))
    one.receive(3, promise(ballot))
    one.receive(3, Nack(D, ballot, Ballot(1, 3)))
    assert one.state is ProposerState.PREEMPTED
    second = one.prepare().ballot
    one.receive(3, promise(second, Ballot(1, 3), b"theirs"))
    assert one.receive(2, promise(second)) == Accept(D, second, b"theirs")


def test_a_reader_completes_what_it_finds_and_proposes_nothing_else() -> None:
    one = proposer(None)
    ballot = one.prepare().ballot
    one.receive(2, promise(ballot))
    assert one.receive(3, promise(ballot)) is None
    assert (one.state, one.question) == (ProposerState.FREE, None)
    one.receive(2, Nack(D, ballot, B4))
    assert one.state is ProposerState.FREE, "it is over; a nack takes nothing back"
    second = one.prepare().ballot
    assert second > B4
    one.receive(2, promise(second))
    assert one.receive(3, promise(second, B1, b"found")) == Accept(D, second, b"found")


def test_a_value_offered_to_a_reader() -> None:
    early = proposer(None)
    assert early.offer(b"mine")
    assert not early.offer(b"second")
    ballot = early.prepare().ballot
    early.receive(2, promise(ballot))
    assert early.receive(3, promise(ballot)) == Accept(D, ballot, b"mine")
    # In phase 2 it comes too late for this ballot, and must not be lost for the next.
    late = proposer(None)
    ballot = late.prepare(B1).ballot
    late.receive(2, promise(ballot, B1, b"found"))
    assert late.receive(3, promise(ballot)) == Accept(D, ballot, b"found")
    assert late.offer(b"mine")
    again: object = late.question
    assert again == Accept(D, ballot, b"found"), "a ballot never carries a second value"
    late.receive(3, Nack(D, ballot, B4))
    ballot = late.prepare().ballot
    late.receive(1, promise(ballot))
    assert late.receive(3, promise(ballot)) == Accept(D, ballot, b"mine")


def test_rounds_go_above_whatever_was_used_before() -> None:
    assert proposer(floor=Ballot(41, 9)).prepare().ballot == Ballot(42, 1)
    assert proposer().prepare(Ballot(41, 9)).ballot == Ballot(42, 1)
    one = proposer()
    assert [one.prepare().ballot.round for _ in range(3)] == [1, 2, 3]
    one.prepare()
    one.receive(2, Nack(D, one.ballot, Ballot(MAX_ROUND, 2)))
    assert one.prepare().ballot.round == 5, "a round that nobody can have reached is not believed"
    with pytest.raises(ProtocolBreach, match="beyond any honest use"):
        one.prepare(Ballot(MAX_ROUND, 2))


def test_a_proposer_is_a_member() -> None:
    with pytest.raises(ConfigurationError, match="proposer 4 is not a member"):
        Proposer(4, THREE, b"v")


def test_a_copied_proposer_goes_its_own_way() -> None:
    one = proposer()
    ballot = one.prepare().ballot
    one.receive(2, promise(ballot))
    other = one.clone()
    assert other.fingerprint() == one.fingerprint()
    assert other.receive(3, promise(ballot)) is not None
    assert one.state is ProposerState.PREPARING
    assert other.fingerprint() != one.fingerprint()
    assert one.receive(2, promise(ballot)) is None
    assert "preparing at 1.1" in repr(one)


# --- the learner -----------------------------------------------------------------------------------------


def learn(*votes: tuple[int, Ballot, bytes], quorums: QuorumSystem = THREE) -> list[Decision | None]:
    one = Learner(quorums, decree=D)
    return [one.receive(sender, Accepted(D, ballot, value)) for sender, ballot, value in votes]


def test_a_quorum_of_one_ballot_decides_once() -> None:
    decision = Decision(D, B1, b"v")
    assert learn((1, B1, b"v"), (2, B1, b"v"), (3, B1, b"v")) == [None, decision, None]


def test_votes_of_different_ballots_do_not_add_up() -> None:
    assert learn((1, B1, b"v"), (2, B2, b"v"), (3, B3, b"v")) == [None] * 3
    assert learn((1, B1, b"v"), (2, B2, b"v"), (1, B2, b"v"))[-1] == Decision(D, B2, b"v")


def test_a_vote_counts_once_and_only_a_members() -> None:
    assert learn((1, B1, b"v"), (1, B1, b"v"), (9, B1, b"v"), (0, B1, b"v")) == [None] * 4


def test_a_decision_does_not_change() -> None:
    one = Learner(THREE, decree=D)
    for node in (1, 2):
        one.receive(node, Accepted(D, B1, b"v"))
    for node in (1, 2, 3):
        assert one.receive(node, Accepted(D, B2, b"v")) is None
    assert one.decision == Decision(D, B1, b"v")
    one.receive(1, Accepted(D, B3, b"w"))
    with pytest.raises(ProtocolBreach, match="Agreement"):
        one.receive(2, Accepted(D, B3, b"w"))
    assert one.decision == Decision(D, B1, b"v")


def test_two_values_at_one_ballot_are_a_breach() -> None:
    with pytest.raises(ProtocolBreach, match="OneValuePerBallot"):
        learn((1, B1, b"v"), (2, B1, b"w"))


def test_a_learner_minds_its_own_decree_and_votes_only() -> None:
    one = Learner(THREE, decree=D)
    one.receive(1, Accepted(D, B1, b"v"))
    assert one.receive(2, Accepted(b"other", B1, b"v")) is None
    assert one.receive(2, Chosen_like(D, B1, b"v")) is None  # type: ignore[arg-type]
    assert one.decision is None


class Chosen_like(tuple[Any, ...]):  # noqa: N801
    """Of the shape of a vote, and no vote."""

    def __new__(cls, *fields: Any) -> "Chosen_like":
        return super().__new__(cls, fields)


def test_a_learner_keeps_a_bounded_number_of_tallies() -> None:
    one = Learner(THREE, decree=D)
    for round_ in range(1, 500):
        one.receive(1, Accepted(D, Ballot(round_, 1), b"v"))
    assert len(one._tallies) <= 64
    assert one.receive(2, Accepted(D, Ballot(499, 1), b"v")) == Decision(D, Ballot(499, 1), b"v")


def test_a_copied_learner_goes_its_own_way() -> None:
    one = Learner(THREE, decree=D)
    one.receive(1, Accepted(D, B1, b"v"))
    other = one.clone()
    assert other.fingerprint() == one.fingerprint()
    assert other.receive(2, Accepted(D, B1, b"v"))
    assert one.decision is None
    assert other.fingerprint() != one.fingerprint()
    assert one.receive(1, Accepted(D, B1, b"v")) is None
    assert "undecided" in repr(one)


# --- quorums of every kind ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quorums", "one", "two"),
    [
        (FlexibleQuorums((1, 2, 3, 4), phase1=3, phase2=2), {1, 2, 3}, {2, 4}),
        (FlexibleQuorums((1, 2, 3, 4, 5), phase1=1, phase2=5), {4}, {1, 2, 3, 4, 5}),
        (GridQuorums(((1, 2), (3, 4))), None, None),
        (WeightedQuorums({1: 3, 2: 1, 3: 1}), {1}, {1}),
        (ExplicitQuorums((1, 2, 3, 4), phase1=[{1, 2}, {3, 4}], phase2=[{1, 3}, {2, 4}]), {3, 4}, {2, 4}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, QuorumSystem) else "",
)
def test_phases_take_their_own_quorums(
    quorums: QuorumSystem, one: set[int] | None, two: set[int] | None
) -> None:
    phase1 = one or min(quorums.smallest_quorums(Phase.ONE), key=sorted)
    phase2 = two or min(quorums.smallest_quorums(Phase.TWO), key=sorted)
    proposer, learner = Proposer(1, quorums, b"v", decree=D), Learner(quorums, decree=D)
    ballot = proposer.prepare().ballot
    asked = [proposer.receive(node, promise(ballot)) for node in sorted(phase1)]
    assert asked == [None] * (len(phase1) - 1) + [Accept(D, ballot, b"v")]
    found = [learner.receive(node, Accepted(D, ballot, b"v")) for node in sorted(phase2)]
    assert found == [None] * (len(phase2) - 1) + [Decision(D, ballot, b"v")]


# --- the README's example ----------------------------------------------------------------------------------


def test_the_readmes_example() -> None:
    from paxos import Acceptor, Learner, Majority, Proposer

    quorums = Majority([1, 2, 3])
    acceptors = {node: Acceptor() for node in quorums.members}
    proposer = Proposer(1, quorums, b"blue")
    learner = Learner(quorums)

    question: Any = proposer.prepare()
    while question and not learner.decision:
        asked, question = question, None
        for node, each in acceptors.items():
            answer: Any = each.receive(1, asked)
            question = proposer.receive(node, answer) or question
            learner.receive(node, answer)
    assert learner.decision is not None
    assert learner.decision.value == b"blue"


# --- any schedule ------------------------------------------------------------------------------------------


class Roles(RuleBasedStateMachine):
    """Bare roles under an adversary: any order, loss, duplication, restarts of acceptors from their records.

    Proposers restart too, above every ballot they may have used. Nothing is ever chosen twice.
    """

    @initialize(
        quorums=st.sampled_from(
            [
                Majority((1, 2, 3)),
                Majority((1, 2, 3, 4, 5)),
                FlexibleQuorums((1, 2, 3, 4), phase1=3, phase2=2),
                GridQuorums(((1, 2), (3, 4))),
            ]
        ),
        values=st.lists(st.sampled_from([b"a", b"b", b"c", None]), min_size=2, max_size=3),
    )
    def begin(self, quorums: QuorumSystem, values: list[bytes | None]) -> None:
        self.quorums = quorums
        self.values = dict(enumerate(values, 1))
        self.acceptors = {node: Acceptor() for node in quorums.members}
        self.proposers = {node: Proposer(node, quorums, value) for node, value in self.values.items()}
        self.learner = Learner(quorums)  # one that hears every vote, so that nothing chosen goes unseen
        self.seen: dict[int, Learner] = {node: Learner(quorums) for node in self.values}
        self.network: list[tuple[int, int, Any]] = []
        self.votes: dict[tuple[Ballot, bytes], set[int]] = {}
        self.chosen: set[bytes] = set()

    def ask(self, node: int, question: Prepare | Accept | None) -> None:
        if question is not None:
            self.network += [(node, acceptor, question) for acceptor in self.acceptors]

    def answer(self, acceptor: int, node: int, reply: Any) -> None:
        self.network.append((acceptor, node, reply))
        if isinstance(reply, Accepted):
            self.learner.receive(acceptor, reply)
            voters = self.votes.setdefault((reply.ballot, reply.value), set())
            voters.add(acceptor)
            if self.quorums.is_quorum(voters, Phase.TWO):
                self.chosen.add(reply.value)

    @rule(data=st.data())
    def prepare(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.proposers)))
        self.ask(node, self.proposers[node].prepare())

    @rule(data=st.data())
    def attempt(self, data: st.DataObject) -> None:
        """A proposer reaches some acceptors with its Prepare, some with its Accept; others later."""
        node = data.draw(st.sampled_from(sorted(self.proposers)))
        question: Prepare | Accept | None = self.proposers[node].prepare()
        while question is not None:
            reached = data.draw(st.sets(st.sampled_from(sorted(self.acceptors))))
            asked, question = question, None
            for acceptor, one in self.acceptors.items():
                if acceptor not in reached:
                    self.network.append((node, acceptor, asked))
                    continue
                reply = one.receive(node, asked)
                self.answer(acceptor, node, reply)
                question = self.proposers[node].receive(acceptor, reply) or question

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.proposers)))
        self.ask(node, self.proposers[node].question)

    @precondition(lambda self: self.network)
    @rule(data=st.data(), keep=st.booleans())
    def deliver(self, data: st.DataObject, keep: bool) -> None:
        self.hand_over(data.draw(st.integers(0, len(self.network) - 1)), keep)

    def hand_over(self, index: int, keep: bool) -> None:
        sender, recipient, message = self.network[index]
        if not keep:
            del self.network[index]
        if isinstance(message, Prepare | Accept):
            self.answer(recipient, sender, self.acceptors[recipient].receive(sender, message))
        else:
            self.ask(recipient, self.proposers[recipient].receive(sender, message))
            if isinstance(message, Accepted):
                self.seen[recipient].receive(sender, message)

    @precondition(lambda self: self.network)
    @rule(count=st.integers(1, 12))
    def deliver_oldest(self, count: int) -> None:
        for _ in range(min(count, len(self.network))):
            self.hand_over(0, False)

    @precondition(lambda self: self.network)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        del self.network[data.draw(st.integers(0, len(self.network) - 1))]

    @rule(data=st.data())
    def restart_acceptor(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.acceptors)))
        self.acceptors[node] = Acceptor(record=self.acceptors[node].record())

    @rule(data=st.data())
    def restart_proposer(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.proposers)))
        used = self.proposers[node].ballot
        self.proposers[node] = Proposer(node, self.quorums, self.values[node], floor=used)

    @invariant()
    def at_most_one_value_is_chosen(self) -> None:
        if hasattr(self, "chosen"):
            assert len(self.chosen) <= 1
            assert self.chosen <= {value for value in self.values.values() if value is not None}
            known = [one.decision.value for one in (self.learner, *self.seen.values()) if one.decision]
            assert set(known) <= self.chosen

    def teardown(self) -> None:
        """Left alone, one proposer with a value gets something chosen."""
        if not hasattr(self, "chosen"):
            return
        node = next(iter(self.proposers))
        last = Proposer(node, self.quorums, b"last", floor=max(p.ballot for p in self.proposers.values()))
        question: Any = last.prepare(max(one.promised for one in self.acceptors.values()))
        while question and not self.chosen - {None}:
            replies = [(a, one.receive(node, question)) for a, one in self.acceptors.items()]
            question = None
            for acceptor, reply in replies:
                self.answer(acceptor, node, reply)
                question = last.receive(acceptor, reply) or question
        assert len(self.chosen) == 1


TestRoles = Roles.TestCase
TestRoles.settings = settings(stateful_step_count=60, max_examples=100)


def test_the_adversary_would_find_a_proposer_that_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    listen = Proposer.on_promise

    def ignore(self: Proposer, sender: int, message: Promise) -> Accept | None:
        return listen(self, sender, message._replace(accepted_ballot=BOTTOM, accepted_value=None))

    monkeypatch.setattr(Proposer, "on_promise", ignore)
    look = settings(stateful_step_count=60, max_examples=1000, phases=[HypothesisPhase.generate])
    with pytest.raises((AssertionError, ProtocolBreach, ExceptionGroup)):
        run_state_machine_as_test(Roles, settings=look)
