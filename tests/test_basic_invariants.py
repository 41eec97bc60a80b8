"""Every invariant of Basic Paxos, shown the mistake it is there to find.

Each plant is a bug that somebody really made, put into the code for the length of one test, with a short
schedule that brings it out. The named invariants must report it; and the same schedule without the bug must
leave all of them silent.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import paxos.basic.replica as basic_replica
from paxos.ballot import BOTTOM, Ballot
from paxos.basic import (
    INVARIANTS,
    Accept,
    Accepted,
    Acceptor,
    AcceptorRecord,
    BasicReplica,
    Chosen,
    Decision,
    Learner,
    Nack,
    Prepare,
    Promise,
    Proposer,
    ProposerState,
)
from paxos.basic.records import FoundRecords, read_records
from paxos.contract import Instant
from paxos.quorum import Majority, Phase
from tests.cluster import Cluster, Sent


class Plant(NamedTuple):
    """One bug: how to put it in, what brings it out, and who must say so."""

    patch: Callable[[pytest.MonkeyPatch], None]
    schedule: Callable[[Cluster], None]
    reported_by: tuple[str, ...]
    nodes: int = 3


def _with(name: str, bad: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """The replica uses `bad` under this name."""
    return lambda patch: patch.setattr(basic_replica, name, bad)


def _method(name: str, bad: Callable[..., Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """The replica's method of this name is `bad`, which is given the good one first."""
    good = getattr(BasicReplica, name)

    def method(self: BasicReplica, *args: Any) -> Any:
        return bad(good, self, *args)

    return lambda patch: patch.setattr(BasicReplica, name, method)


# --- schedules --------------------------------------------------------------------------------------------


def decide_at_once(c: Cluster) -> None:
    c.decide(1, "x", b"v")
    c.deliver()


def late_accept(c: Cluster) -> None:
    """1's Accept of 1.1 comes to 3 after 3 promised the higher ballot of 2."""
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.decide(2, "x", b"w")
    c.deliver(Prepare, 2, 3)
    c.deliver(Promise, 3, 2)
    c.deliver(Accept, 1, 3)
    c.deliver((Accepted, Nack), 3, 1)
    c.deliver(Accept, 2, 3)
    c.deliver(Accepted, 3, 2)


def slow_acceptor(c: Cluster) -> None:
    """2's disk is slow to write its promise, then its vote."""
    c.slow.add(2)
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.flush(2)
    c.deliver(Promise, 2, 1)
    c.deliver(Accept, 1, 2)
    c.deliver(Accepted, 2, 1)
    c.flush(2)
    c.deliver()


def restart_after_promise(c: Cluster) -> None:
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.restart(2)


def restart_after_vote(c: Cluster) -> None:
    """2 votes, its vote is lost on the way, 2 restarts, and 3 asks."""
    vote_of_two(c)
    c.restart(2)
    c.decide(3, "x", b"w")
    c.deliver(Prepare, 3, 2)


def vote_of_two(c: Cluster) -> None:
    """1 and 2 vote for v at 1.1; 1 never hears of 2's vote."""
    c.decide(1, "x", b"v")
    c.drop(Prepare, 1, 3)
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.deliver(Accept, 1, 2)
    c.drop()


def complete_anothers(c: Cluster) -> None:
    """v is chosen by 1 and 2, and nobody knows; 3 asks 2."""
    vote_of_two(c)
    c.decide(3, "x", b"w")
    c.deliver(Prepare, 3, 2)
    c.deliver(Promise, 2, 3)
    c.deliver(Accept, 3, 2)
    c.deliver(Accepted, 2, 3)


def three_ballots(c: Cluster) -> None:
    """1 alone votes v at 1.1; 2 and 3 choose w at 2.2; 1 asks 2 at 3.1 and hears of both."""
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.decide(2, "x", b"w")
    c.drop(Prepare, 2, 1)
    c.deliver(Prepare, 2, 3)
    c.deliver(Promise, 3, 2)
    c.deliver(Accept, 2, 3)
    c.drop(Accepted)
    c.deliver(Accept, 1, 3)
    c.deliver(Nack, 3, 1)
    c.drop()
    c.advance(0.1, only=1)
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.deliver(Accept, 1, 2)


def votes_of_two_ballots(c: Cluster) -> None:
    """Of five: 1 and 2 vote v at 1.1, 1 and 3 vote v at 2.1."""
    c.decide(1, "x", b"v")
    c.decide(5, "x", b"w")
    c.deliver(Prepare, 5, 4)
    c.deliver(Prepare, 1, (2, 3))
    c.deliver(Promise, (2, 3), 1)
    c.deliver(Accept, 1, (2, 4))
    c.deliver((Accepted, Nack), (2, 4), 1)
    c.drop()
    c.advance(0.1, only=1)
    c.deliver(Prepare, 1, (2, 3))
    c.deliver(Promise, (2, 3), 1)
    c.deliver(Accept, 1, 3)
    c.deliver(Accepted, 3, 1)


def vote_twice(c: Cluster) -> None:
    """Of five: 2's vote reaches 1 three times."""
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, (2, 3))
    c.deliver(Promise, (2, 3), 1)
    c.deliver(Accept, 1, 2)
    for _time in range(3):
        c.deliver(Accepted, 2, 1, again=True)


def promise_twice(c: Cluster) -> None:
    """Of five: 2's promise reaches 1 three times."""
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    for _time in range(3):
        c.deliver(Promise, 2, 1, again=True)


def restart_with_a_ballot_out(c: Cluster) -> None:
    """1's Prepare is out when it dies; its own promise was not yet on disk."""
    c.slow.add(1)
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.restart(1)
    c.decide(1, "x", b"w")
    c.flush(1)
    c.flush(1)


def decided_and_restarted(c: Cluster) -> None:
    c.decide(1, "x", b"v")
    c.deliver()
    c.restart(2)
    c.deliver()


def refused(c: Cluster) -> None:
    """3 stands at a higher ballot and refuses 1's Prepare."""
    c.decide(3, "x", b"w")
    c.drop()
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 3)
    c.deliver(Nack, 3, 1)


def late_promise(c: Cluster) -> None:
    """2's promise of 1.1 comes to 1 when it is at 2.1 already."""
    c.decide(3, "x", b"w")
    c.drop()
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, (2, 3))
    c.deliver(Nack, 3, 1)
    c.advance(0.1, only=1)
    c.deliver(Promise, 2, 1)


def stranger(c: Cluster) -> None:
    """Node 9, which is no member, votes."""
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.hand_over(Sent(9, 1, Accepted(b"x", Ballot(1, 1), b"v")))


def two_values_at_one_ballot(c: Cluster) -> None:
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.deliver(Accept, 1, 2)
    c.hand_over(Sent(1, 2, Accept(b"x", Ballot(1, 1), b"w")))


def two_decrees(c: Cluster) -> None:
    """3 holds y open when it hears that x is decided."""
    c.decide(2, "y", b"w")
    c.deliver(Prepare, 2, 3)
    c.drop()
    c.decide(1, "x", b"v")
    for sender, to in ((1, 2), (2, 1), (1, 2), (2, 1)):
        c.deliver((Prepare, Promise, Accept, Accepted), sender, to)
    c.deliver(Chosen, 1, 3)


def unasked_vote(c: Cluster) -> None:
    """3 votes without having promised first."""
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.deliver(Accept, 1, 3)


def slow_proposer(c: Cluster) -> None:
    """2 promises and votes before 1's own disk has written anything."""
    c.slow.add(1)
    c.decide(1, "x", b"v")
    c.deliver(Prepare, 1, 2)
    c.deliver(Promise, 2, 1)
    c.flush(1)
    c.deliver(Accept, 1, 2)
    c.deliver(Accepted, 2, 1)
    c.flush(1)


def read_in_the_middle(c: Cluster) -> None:
    """While phase 1 of 1's first read is under way, v is decided and told; then a second read begins."""
    c.decided(1, "x")
    c.deliver(Prepare, 1, 3)
    c.drop(Prepare, 1, 2)
    c.decide(2, "x", b"v")
    c.deliver(Prepare, 2, 3)
    c.deliver(Promise, 3, 2)
    c.deliver(Accept, 2, 3)
    c.deliver(Accepted, 3, 2)
    c.decided(1, "x")
    c.deliver(Promise, 3, 1)
    c.deliver()


def slow_reservation(c: Cluster) -> None:
    """1 voted, restarts with a slow disk, and is asked again just before it would ask what became of it."""
    vote_of_two(c)
    c.restart(1)
    c.crash(1)
    c.slow.add(1)
    c.start(1)
    c.decide(1, "x", b"w")
    c.advance(1.5)


# --- bugs -------------------------------------------------------------------------------------------------


class ForgetfulAcceptor(Acceptor):
    """Promises, and does not remember it."""

    def on_prepare(self, message: Prepare) -> Promise | Accepted | Nack:
        before = self.promised
        reply = super().on_prepare(message)
        self.promised = before
        return reply


class DisloyalAcceptor(Acceptor):
    """Votes below its promise."""

    def on_accept(self, message: Accept) -> Accepted | Nack:
        self.accepted_ballot, self.accepted_value = message.ballot, message.value
        self.promised = max(self.promised, message.ballot)
        return Accepted(*message)


class HalfAcceptor(Acceptor):
    """Votes, and does not join the ballot."""

    def on_accept(self, message: Accept) -> Accepted | Nack:
        before = self.promised
        reply = super().on_accept(message)
        self.promised = before
        return reply


class FickleAcceptor(Acceptor):
    """Replaces its vote at the same ballot."""

    def on_accept(self, message: Accept) -> Accepted | Nack:
        if message.ballot == self.accepted_ballot:
            self.accepted_value = message.value
        return super().on_accept(message)


class SelfishProposer(Proposer):
    """Proposes its own value whatever the promises say."""

    def on_promise(self, sender: int, message: Promise) -> Accept | None:
        return super().on_promise(sender, message._replace(accepted_ballot=BOTTOM, accepted_value=None))


class LowProposer(Proposer):
    """Takes the reported vote of the lowest ballot."""

    def on_promise(self, sender: int, message: Promise) -> Accept | None:
        vote, value = message.accepted_ballot, message.accepted_value
        if self._best != BOTTOM and vote != BOTTOM and vote < self._best:
            self._best, self.proposed = vote, value
        elif self._best != BOTTOM:
            vote, value = BOTTOM, None
        return super().on_promise(sender, message._replace(accepted_ballot=vote, accepted_value=value))


class InventiveProposer(Proposer):
    """Proposes what nobody submitted."""

    def on_promise(self, sender: int, message: Promise) -> Accept | None:
        self.value = b"made up"
        return super().on_promise(sender, message)


class LateProposer(Proposer):
    """Counts promises of its earlier ballots."""

    def on_promise(self, sender: int, message: Promise) -> Accept | None:
        return super().on_promise(sender, message._replace(ballot=self.ballot))


class ListProposer(Proposer):
    """Counts promises, and not who made them."""

    def on_promise(self, sender: int, message: Promise) -> Accept | None:
        free = next(node for node in self.quorums.members if node not in self._promises)
        return super().on_promise(free, message)


class Lenient(Majority):
    """One node too few is enough."""

    def is_quorum(self, nodes: Any, phase: Phase = Phase.TWO) -> bool:
        return any(super(Lenient, self).is_quorum({*nodes, more}, phase) for more in self.members)


class EarlyProposer(Proposer):
    """Its quorums are one too small."""

    def __init__(self, node: int, quorums: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(node, Lenient(quorums.members), *args, **kwargs)


class EarlyLearner(Learner):
    """Its quorums are one too small."""

    def __init__(self, quorums: Any, **kwargs: Any) -> None:
        super().__init__(Lenient(quorums.members), **kwargs)


class CountingLearner(Learner):
    """Counts votes, and not who cast them, or whether they may."""

    def receive(self, sender: int, message: Promise | Accepted | Nack) -> Decision | None:
        assert isinstance(message, Accepted)
        _value, voters = self._tallies.setdefault(message.ballot, (message.value, set()))
        voters.add(next(node for node in self.quorums.members if node not in voters))
        return Decision(*message) if self.quorums.is_quorum(voters) else None


class SummingLearner(Learner):
    """Adds up the votes of different ballots."""

    def receive(self, sender: int, message: Promise | Accepted | Nack) -> Decision | None:
        assert isinstance(message, Accepted)
        found = super().receive(sender, message._replace(ballot=Ballot(1, 1)))
        return found and Decision(*message)


def _leave_at_once(kind: type) -> Callable[[pytest.MonkeyPatch], None]:
    """The message type does not wait for the disk."""
    from paxos.service import Node

    good = Node.turn

    def turn(self: Node) -> Any:
        self._reporting -= {kind}
        return good(self)

    return lambda patch: patch.setattr(Node, "turn", turn)


def _records(change: Callable[[FoundRecords], FoundRecords]) -> Callable[[pytest.MonkeyPatch], None]:
    return _with("read_records", lambda records: change(read_records(records)))


def _forget_votes(found: FoundRecords) -> FoundRecords:
    acceptors = {decree: AcceptorRecord(r.promised, BOTTOM, None) for decree, r in found.acceptors.items()}
    return FoundRecords(found.reserved, acceptors, found.chosen)


def _change_decisions(found: FoundRecords) -> FoundRecords:
    chosen = {decree: (ballot, value + b"!") for decree, (ballot, value) in found.chosen.items()}
    return FoundRecords(found.reserved, found.acceptors, chosen)


def _count_nack(good: Any, self: BasicReplica, sender: int, message: Nack, now: Instant) -> None:
    self._on_promise(sender, Promise(message.decree, message.ballot, BOTTOM, None), now)


def _own_vote_at_once(good: Any, self: Any, state: Any, decree: bytes, question: Any, now: Instant) -> None:
    good(self, state, decree, question, now)
    if isinstance(question, Accept):
        self._on_accepted(self._node, Accepted(*question), now)


def _own_promise_at_once(
    good: Any, self: Any, state: Any, decree: bytes, question: Any, now: Instant
) -> None:
    good(self, state, decree, question, now)
    if isinstance(question, Prepare):
        self._on_promise(self._node, Promise(*question, BOTTOM, None), now)


def _hear_anyone(good: Any, self: BasicReplica, sender: int, message: Any, now: Instant) -> None:
    self._handlers[type(message)](sender, message, now)


def _chosen_for_another(good: Any, self: BasicReplica, sender: int, message: Chosen, now: Instant) -> None:
    good(self, sender, message._replace(decree=next(iter(self._open), message.decree)), now)


def _any_phase_one(
    good: Any, self: BasicReplica, request: Any, decree: bytes, value: Any, now: Instant
) -> None:
    good(self, request, decree, value, now)
    if value is None and decree in self._open:
        self._open[decree].requests[request] = 0


def _parked_with_a_timer(good: Any, self: BasicReplica, state: Any, *args: Any) -> None:
    deadline_s = state.deadline_s
    good(self, state, *args)
    if state.proposer.state is ProposerState.PREPARING and state.stage == "parked":
        state.deadline_s = deadline_s


def _both(*patches: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
    def patch_all(patch: pytest.MonkeyPatch) -> None:
        for each in patches:
            each(patch)

    return patch_all


PLANTS = {
    "promise does not raise promised": Plant(
        _with("Acceptor", ForgetfulAcceptor), decide_at_once, ("PromiseMonotone", "DurableBeforeSend")
    ),
    "accept below promise": Plant(
        _with("Acceptor", DisloyalAcceptor), late_accept, ("PromiseTruthful", "VotesSafe", "Agreement")
    ),
    "vote does not join the ballot": Plant(
        _with("Acceptor", HalfAcceptor), unasked_vote, ("VoteAtMostPromise", "PromiseMonotone")
    ),
    "value replaced at the same ballot": Plant(
        _with("Acceptor", FickleAcceptor), two_values_at_one_ballot, ("OneValuePerBallot",)
    ),
    "promise sent before it is durable": Plant(
        _leave_at_once(Promise), slow_acceptor, ("DurableBeforeSend",)
    ),
    "vote sent before it is durable": Plant(_leave_at_once(Accepted), slow_acceptor, ("DurableBeforeSend",)),
    "promise forgotten over a restart": Plant(
        _records(lambda found: FoundRecords(found.reserved, {}, found.chosen)),
        restart_after_promise,
        ("PromiseMonotone",),
    ),
    "vote forgotten over a restart": Plant(_records(_forget_votes), restart_after_vote, ("PromiseTruthful",)),
    "decision changed over a restart": Plant(
        _records(_change_decisions), decided_and_restarted, ("Stability", "Agreement", "Validity")
    ),
    "ballot reused after a restart": Plant(
        _records(lambda found: FoundRecords(0, found.acceptors, found.chosen)),
        restart_with_a_ballot_out,
        ("BallotOwnership",),
    ),
    "ballot sent before its reservation is durable": Plant(
        _method("_begin", _parked_with_a_timer), slow_reservation, ("DurableBeforeSend",)
    ),
    "own value proposed although the promises held one": Plant(
        _with("Proposer", SelfishProposer), complete_anothers, ("AcceptSafe", "VotesSafe")
    ),
    "value of the lowest ballot taken": Plant(
        _with("Proposer", LowProposer), three_ballots, ("AcceptSafe", "VotesSafe")
    ),
    "value made up": Plant(_with("Proposer", InventiveProposer), decide_at_once, ("Validity",)),
    "late promise of an older ballot counted": Plant(
        _with("Proposer", LateProposer), late_promise, ("AcceptSafe", "VotesOnce")
    ),
    "one node's promise counted twice": Plant(
        _with("Proposer", ListProposer), promise_twice, ("AcceptSafe", "VotesOnce"), nodes=5
    ),
    "phase-1 quorum off by one": Plant(
        _with("Proposer", EarlyProposer), complete_anothers, ("AcceptSafe", "VotesOnce", "VotesSafe")
    ),
    "nack counted as an answer": Plant(
        _method("_on_nack", _count_nack), refused, ("AcceptSafe", "VotesOnce")
    ),
    "own promise counted before it is durable": Plant(
        _method("_ask_all", _own_promise_at_once), slow_proposer, ("AcceptSafe",)
    ),
    "own vote counted before it is durable": Plant(
        _method("_ask_all", _own_vote_at_once), slow_proposer, ("LearnerSound",)
    ),
    "votes counted across ballots": Plant(
        _with("Learner", SummingLearner), votes_of_two_ballots, ("LearnerSound", "VotesOnce"), nodes=5
    ),
    "one node's vote counted twice": Plant(
        _with("Learner", CountingLearner), vote_twice, ("LearnerSound", "VotesOnce"), nodes=5
    ),
    "vote of a non-member": Plant(
        _both(_method("receive", _hear_anyone), _with("Learner", CountingLearner)),
        stranger,
        ("LearnerSound", "VotesOnce"),
    ),
    "phase-2 quorum off by one": Plant(
        _with("Learner", EarlyLearner), decide_at_once, ("LearnerSound", "VotesOnce")
    ),
    "decree names mixed": Plant(
        _method("_on_chosen", _chosen_for_another), two_decrees, ("Validity", "LearnerSound")
    ),
    "read answered by a phase 1 from before it came": Plant(
        _method("_submit", _any_phase_one), read_in_the_middle, ("stale read",)
    ),
}


def run(plant: Plant) -> set[str]:
    cluster = Cluster(plant.nodes)
    plant.schedule(cluster)
    return set(cluster.violations) | ({"stale read"} if cluster.stale_reads() else set())


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_reported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = PLANTS[name]
    monkeypatch.setattr("tests.cluster.check_bookkeeping", lambda replica: None)
    plant.patch(monkeypatch)
    reported = run(plant)
    assert set(plant.reported_by) <= reported, f"reported by {sorted(reported)}"


@pytest.mark.parametrize("name", PLANTS)
def test_the_same_schedule_without_the_bug_is_silent(name: str) -> None:
    cluster = Cluster(PLANTS[name].nodes)
    PLANTS[name].schedule(cluster)
    assert cluster.violations == {}
    assert cluster.stale_reads() == []
    assert cluster.stopped == {}


def test_every_invariant_was_shown_a_bug() -> None:
    shown = {name for plant in PLANTS.values() for name in plant.reported_by}
    quorums = Majority((1, 2, 3))
    assert {make(quorums).name for make in INVARIANTS} == shown - {"stale read"}
