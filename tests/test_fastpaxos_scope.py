"""Every behaviour of the roles of Fast Paxos in small worlds, and mistakes that such a search finds."""

from collections.abc import Mapping
from typing import Any

import pytest

from fastpaxos import FastAcceptor, FastScope, protocol
from fastpaxos.choosing import Freedom, Pick
from fastpaxos.collision import Recovered
from fastpaxos.coordinator import Coordinator
from fastpaxos.messages import Accept, Accepted, AnyValue, Nack, Promise
from fastpaxos.rounds import OPEN, Rounds
from paxos.ballot import Ballot
from paxos.basic.proposer import ProposerState
from paxos.check.exhaust import search
from paxos.contract import ScopeSettings
from paxos.errors import ConfigurationError
from paxos.quorum import ExplicitQuorums, FastQuorums, FlexibleQuorums, Phase, QuorumSystem, WeightedQuorums

pytestmark = pytest.mark.once

NEXT = Ballot(0, 0, 1)
_FAST = Phase.FAST


def world(acceptors: int = 3, ballots: Any = 2, last_fast_step: int = 0, **more: Any) -> FastScope:
    given = None if isinstance(ballots, int) else ballots
    settings = ScopeSettings(acceptors=acceptors, ballots=ballots if given is None else 1)
    return FastScope(settings, rounds=Rounds(last_fast_step), ballots=given, **more)


@pytest.mark.parametrize(
    ("scope", "states"),
    [
        (world(3, 2), 119),
        (world(3, 3), 3_304),
        (world(3, 2, 1), 224),
        (world(3, 3, 1), 772),
        (world(4, 2), 513),
        (world(5, 2), 4_115),
        (world(3, [OPEN, NEXT, Ballot(1, 2, 1)]), 2_976),
        (world(3, [OPEN, Ballot(1, 2, 0), Ballot(2, 3, 1)]), 27_972),
        (world(4, 2, quorums=FlexibleQuorums([1, 2, 3, 4], 4, 2, 3)), 209),
        (world(4, 2, quorums=WeightedQuorums({1: 2, 2: 1, 3: 1, 4: 1}, 3, 3, 4)), 649),
    ],
    ids=lambda each: each.title if isinstance(each, FastScope) else str(each),
)
def test_nothing_breaks_in_a_small_world(scope: FastScope, states: int) -> None:
    result = search(scope)
    assert result.finished
    assert result.counterexample is None
    assert result.states == states


def broken(scope: FastScope) -> str:
    result = search(scope, limit=60_000)
    assert result.counterexample is not None
    return result.counterexample.invariant


def test_quorums_that_do_not_intersect_are_found() -> None:
    class Majority(QuorumSystem):
        members = (1, 2, 3)

        def is_quorum(self, nodes: Any, phase: Any = None) -> bool:
            return len(set(nodes)) >= 2

    assert broken(world(3, 2, quorums=Majority())) in {"VotesSafe", "Agreement", "PickUnique"}


def test_an_acceptor_that_votes_twice_is_found() -> None:
    class Twice(FastAcceptor):
        def on_propose(self, value: bytes) -> Accepted | Nack:
            return Accepted(self.decree, self.opened, value)

    assert broken(world(3, 2, acceptor=Twice)) == "OneVotePerRound"


def test_a_recovery_that_takes_any_value_is_found() -> None:
    def greatest(ballot: Ballot, votes: Mapping[int, bytes], *_: object) -> Recovered | None:
        if len(votes) < 2:
            return None
        return Recovered(
            ballot._replace(step=ballot.step + 1), Pick(Freedom.OPEN, max(votes.values()), ballot)
        )

    # Of three votes two of which are heard, none was chosen; with four of five it may have been.
    assert broken(world(4, 2, recovery=greatest)) in {"VotesSafe", "Agreement"}


class Rash(Coordinator):
    """Opens its fast ballot whatever it is told."""

    def on_promise(self, sender: int, message: Promise) -> Accept | AnyValue | None:
        question = super().on_promise(sender, message)
        return AnyValue(b"", self.ballot) if question is not None and not self.ballot.step else question


def test_any_though_constrained_is_found() -> None:
    assert broken(world(3, [OPEN, Ballot(1, 2, 0)], coordinator=Rash)) == "VotesSafe"


class Own(Coordinator):
    """Takes a single value that no fast quorum can have voted for as no obstacle."""

    def on_promise(self, sender: int, message: Promise) -> Accept | AnyValue | None:
        question = super().on_promise(sender, message)
        if isinstance(question, Accept) and self.state is ProposerState.ACCEPTING:
            reports = self._reports
            highest = max(ballot for ballot, _ in reports.values())
            voters = [node for node, (ballot, _) in reports.items() if ballot == highest]
            others = [node for node in self.quorums.members if node not in reports]
            lone = self.rounds.is_fast(highest) and len(voters) + len(others) < self.quorums.sizes[_FAST]
            if lone and self.value is not None:
                return Accept(b"", self.ballot, self.value)
        return question


def test_a_lone_value_of_a_bound_fast_ballot_binds() -> None:
    """What is chosen at the first ballot binds a fast one, at which one of three votes: it must bind, too."""
    ballots = [OPEN, Ballot(1, 2, 0), Ballot(2, 3, 1)]
    assert broken(world(3, ballots, coordinator=Own)) in {"VotesSafe", "Agreement"}


def test_what_makes_no_world_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="have no slots"):
        FastScope(ScopeSettings(slots=2))
    with pytest.raises(ConfigurationError, match="no faults to choose"):
        FastScope(ScopeSettings(faults=frozenset({"loss"})))
    with pytest.raises(ConfigurationError, match=r"a scope's acceptors are 1\.\.3"):
        FastScope(ScopeSettings(), quorums=FastQuorums([1, 2]))
    assert protocol.scope is FastScope


def test_the_ballots_of_a_world() -> None:
    names = [str(ballot) for ballot in world(3, 8).ballots]
    assert names == ["0.0", "0.0.1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1"]
    assert [str(ballot) for ballot in world(3, 4, 1).ballots] == ["0.0", "0.0.1", "0.0.2", "1.1"]
    explicit = ExplicitQuorums([1, 2, 3], [{1, 2}, {1, 3}, {2, 3}], None, [{1, 2, 3}])
    assert "explicit" in world(3, 2, quorums=explicit).title
