"""A coordinator that is killed at every moment there is, and proposers that do what they should not.

The moments are enumerated: between Any and the first vote, between a collision and its recovery, and during
the recovery, after every single message taken in and every batch on the disk; with what its disk had kept or
lost, with what it had sent delivered or lost, and with it coming back or not.
"""

from itertools import product
from typing import Any

import pytest

from fastpaxos import FastPaxosSettings
from fastpaxos.messages import Accept, Accepted, AnyValue, Forward, Prepare, Propose
from fastpaxos.rounds import OPEN
from paxos.ballot import Ballot, NodeId
from paxos.quorum import ExplicitQuorums, FastQuorums, QuorumSystem, WeightedQuorums
from tests.cluster import Sent
from tests.fastpaxos_net import FastCluster

pytestmark = pytest.mark.once

D = b"d"
SYSTEMS: dict[str, QuorumSystem] = {
    "3": FastQuorums([1, 2, 3]),
    "4": FastQuorums([1, 2, 3, 4]),
    "5": FastQuorums([1, 2, 3, 4, 5]),
    "7": FastQuorums([1, 2, 3, 4, 5, 6, 7]),
    "weighted": WeightedQuorums({1: 2, 2: 1, 3: 1, 4: 1}, 3, 3, 4),
    "explicit": ExplicitQuorums(
        [1, 2, 3, 4], [{1, 2}, {1, 3, 4}, {2, 3, 4}], [{1, 2}, {1, 3, 4}, {2, 3, 4}], [{1, 2, 3}, {1, 2, 4}]
    ),
}
POLICIES = ("coordinated", "uncoordinated")


class Doomed(FastCluster):
    """A cluster that deals with one message or batch at a time, so that a node may die between any two."""

    def __init__(self, quorums: QuorumSystem, **settings: Any) -> None:
        super().__init__(
            quorums=quorums, settings=FastPaxosSettings(reserve_rounds=8, quiet_s=1000.0, **settings)
        )
        self.moment = 0
        self.slow.update(self.members)

    def one(self) -> list[NodeId]:
        """Deal with the oldest message, or with none finish each disk's oldest batch; at which nodes."""
        if self.network:
            sent = self.network.pop(0)
            self.hand_over(sent)
            return [sent.recipient]
        busy = [node for node in self.nodes if self.queues[node]]
        for node in busy:
            self.flush(node, 1)
        return busy

    def rest(self) -> None:
        for _ in range(5_000):
            if not self.one():
                return
        raise AssertionError("it does not end")

    def run_out(self, *asked: Any, seconds: float = 30.0) -> None:
        """Time goes on until these are answered."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.rest()
            if all(request in self.answers for request in asked):
                return
            self.advance(0.05)
        raise AssertionError(f"not answered: {[r for r in asked if r not in self.answers]}")

    def verdict(self) -> None:
        assert self.violations == {}
        assert self.stopped == {}
        assert len({value for node in self.nodes for value in self.known(D).values()}) <= 1


def split(c: Doomed, first: dict[NodeId, int]) -> list[Any]:
    """Nodes propose; each acceptor sees the proposal of the node named first, and no other yet."""
    asked = [c.decide(node, "d", b"of %d" % node) for node in sorted(set(first.values()))]
    for node, proposer in first.items():
        if node != proposer:
            c.deliver(Propose, proposer, node)
    return asked


def doom(c: Doomed, victim: NodeId, keep: int, lose: bool, back: bool) -> None:
    c.crash(victim, min(keep, len(c.queues[victim])))
    if lose:
        c.drop(object, victim)
    if back:
        c.start(victim)


def kill_everywhere(make: Any, victim: NodeId = 1) -> int:
    """Play what `make` sets up, once for each moment at which the victim may die and each way of dying.

    A moment is after each step that the victim takes. What others do meanwhile is the same before or after it
    dies, but for the messages it has sent, which arrive or do not.
    """
    base, length, moments = make()[0], 0, [0]
    while at := base.one():
        length += 1
        if victim in at:
            moments.append(length)
    count = 0
    ways = list(product((0, 99), (False, True), (False, True)))
    if len(base.members) > 4:  # half of them, each two of which differ in two things
        ways = [way for way in ways if (bool(way[0]) + way[1] + way[2]) % 2 == 0]
    if len(base.members) > 5:
        ways = ways[:2]
    for moment in moments:
        for keep, lose, back in ways:
            c, asked = make()
            for _ in range(moment):
                c.one()
            doom(c, victim, keep, lose, back)
            survivors = [node for node in c.members if node != victim]
            asked = [c.decide(survivors[0], "d", b"late"), c.decided(survivors[-1], "d")]
            c.run_out(*asked)
            c.verdict()
            told = {c.result(request) for request in asked} - {None}
            assert len(told) == 1
            if not back:
                c.start(victim)
            again = c.decided(victim, "d")
            c.run_out(again)
            assert c.result(again) in told
            c.verdict()
            count += 1
    return count


@pytest.mark.parametrize("recovery", POLICIES)
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("3", {1: 1, 2: 2, 3: 3}),
        ("3", {1: 1, 2: 2, 3: 2}),
        ("3", {1: 3, 2: 2, 3: 3}),
        ("4", {1: 1, 2: 1, 3: 3, 4: 3}),
        ("5", {1: 1, 2: 2, 3: 2, 4: 1, 5: 2}),
        ("5", {1: 4, 2: 2, 3: 3, 4: 4, 5: 3}),
        ("7", {1: 1, 2: 2, 3: 2, 4: 1, 5: 1, 6: 2, 7: 2}),
        ("weighted", {1: 1, 2: 2, 3: 2, 4: 2}),
        ("explicit", {1: 1, 2: 2, 3: 2, 4: 1}),
    ],
)
def test_a_coordinator_killed_at_every_moment_of_a_collision_and_its_recovery(
    name: str, first: dict[NodeId, int], recovery: str
) -> None:
    actions: set[str] = set()

    def make() -> tuple[Doomed, list[Any]]:
        c = Doomed(SYSTEMS[name], recovery=recovery)
        asked = split(c, first)
        actions.update(event.action for event in c.events)
        return c, asked

    whole, asked = make()
    whole.run_out(*asked)
    assert whole.did("collision")
    assert whole.did("recovered")
    assert kill_everywhere(make) > 20


@pytest.mark.parametrize("recovery", POLICIES)
@pytest.mark.parametrize("name", ["3", "4", "5"])
def test_a_coordinator_killed_at_every_moment_around_any(name: str, recovery: str) -> None:
    def make() -> tuple[Doomed, list[Any]]:
        c = Doomed(SYSTEMS[name], recovery=recovery, reopen=True)
        c.fast(2)._contention.force(c.now_s)
        c.decide(2, "d", b"forwarded")
        assert c.pick(Forward, 2, 1)
        while not c.pick(AnyValue):
            assert c.one()
        asked = [c.decide(3, "d", b"of 3")]
        return c, asked

    whole, asked = make()
    assert not whole.pick(Accepted)  # between Any and the first vote
    whole.run_out(*asked)
    chosen = whole.fast(1).chosen(D)
    assert chosen is not None
    assert chosen[0][:2] == (1, 1)
    assert kill_everywhere(make) > 20


def test_who_recovers_and_is_killed_says_the_same_again() -> None:
    """The coordinator's own vote reached the disk, and its Accept left or not: it knows what it proposed."""
    for delivered in range(3):
        c = Doomed(SYSTEMS["3"], recovery="coordinated")
        split(c, {1: 1, 2: 2, 3: 3})
        while not c.pick(Accept):
            assert c.one()
        (value,) = {sent.message.value for sent in c.pick(Accept)}
        assert {sent.message.ballot for sent in c.pick(Accept)} == {Ballot(0, 0, 1)}
        for sent in c.pick(Accept)[:delivered]:
            c.network.remove(sent)
            c.hand_over(sent)
        c.drop()
        c.restart(1)
        c.slow.clear()
        for node in c.members:
            c.flush(node)
        c.drop()
        c.settle(c.decide(1, "d", b"another"), c.decided(2, "d"))
        c.verdict()
        if delivered:
            assert c.known(D)[2] == value


def test_a_flood_of_proposals_gets_one_vote_and_leaves_nothing_behind() -> None:
    c = FastCluster(5)
    flood = [
        Sent(node, to, Propose(D, b"%d of %d" % (number, node)))
        for number in range(200)
        for node in (2, 3)
        for to in (1, 4, 5)
    ]
    for sent in flood:
        c.hand_over(sent)
    for node in (1, 4, 5):
        acceptor = c.fast(node).acceptor(D)
        assert acceptor is not None
        assert acceptor.record() == (OPEN, OPEN, b"0 of 2")
        state = c.fast(node)._open[D]
        assert state.waiting is None
        assert len(state.tally.ballots) <= 1
    asked = c.decide(1, "d", b"at last")
    c.settle(asked)
    assert c.result(asked) == b"0 of 2"
    # Somebody proposed what no client asked for, in the name of nodes 2 and 3: nothing else broke.
    assert set(c.violations) == {"Validity"}


def test_messages_that_are_nobodys_to_send_change_nothing() -> None:
    c = FastCluster(3)
    before = [c.fast(node).fingerprint() for node in c.members]
    for message in (
        Accept(D, Ballot(0, 0, 1), b"x"),  # of round 0, whose coordinator is node 1
        Accept(D, Ballot(4, 3, 1), b"x"),
        AnyValue(D, Ballot(4, 1)),
        Prepare(D, Ballot(4, 3)),
        Prepare(D, Ballot(4, 2, 7)),  # there is no such step
        AnyValue(D, Ballot(4, 2, 1)),  # which is classic
        Accepted(D, Ballot(1 << 47, 2, 1), b"x"),
        Accept(D, Ballot(1 << 47, 2, 1), b"x"),
    ):
        c.hand_over(Sent(2, 3, message))
        assert c.events[-1].action == "refused", message
    c.hand_over(Sent(2, 3, object()))
    c.hand_over(Sent(9, 3, Propose(D, b"x")))
    after = [c.fast(node).fingerprint() for node in c.members]
    # The Any of a classic ballot came to an acceptor that was made for it, and knows nothing.
    assert after[:2] == before[:2]
    assert c.fast(3).acceptor(D) is None or c.fast(3).acceptor(D).promised.round < 0  # type: ignore[union-attr]
    assert c.violations == {}


def test_two_votes_of_one_node_count_once_and_are_told_of() -> None:
    c = FastCluster(3)
    c.hand_over(Sent(2, 1, Accepted(D, OPEN, b"v")))
    c.hand_over(Sent(2, 1, Accepted(D, OPEN, b"w")))
    assert c.events[-1].action == "breach"
    assert c.fast(1)._open[D].tally.votes(OPEN) == {2: b"v"}
