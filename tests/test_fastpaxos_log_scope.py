"""Every behaviour of the roles of a fast log in small worlds, and mistakes that such a search finds."""

from typing import Any

import pytest

from fastpaxos.log import Candidate, Debts, FastLogScope, LogAcceptor, Office, protocol
from fastpaxos.log.messages import Nack, Prepare, Promise, Recover, Report
from fastpaxos.rounds import OPEN
from paxos.ballot import BOTTOM, Ballot
from paxos.basic.values import NOP_VALUE
from paxos.check.exhaust import search
from paxos.contract import ScopeSettings
from paxos.errors import ConfigurationError
from paxos.quorum import FastQuorums, Phase

pytestmark = pytest.mark.once

CLASSIC = Ballot(1, 2, 1)


def world(
    ballots: Any = 2, values: int = 2, slots: int = 1, acceptors: int = 3, told: str = "", **more: Any
) -> FastLogScope:
    """A small world; `told` says whether acceptors learn and compact."""
    given = None if isinstance(ballots, int) else ballots
    settings = ScopeSettings(
        acceptors=acceptors, ballots=ballots if given is None else 1, values=values, slots=slots
    )
    learns, compacts = "learn" in told, "compact" in told
    return FastLogScope(settings, ballots=given, learns=learns, compacts=compacts, **more)


@pytest.mark.parametrize(
    ("scope", "states"),
    [
        (world(), 2_296),
        (world(values=1, told="learn, compact"), 3_224),
        (world([OPEN, CLASSIC], told="learn"), 1_584),
    ],
    ids=lambda each: each.title if isinstance(each, FastLogScope) else str(each),
)
def test_nothing_breaks_in_a_small_world(scope: FastLogScope, states: int) -> None:
    result = search(scope)
    assert result.counterexample is None
    assert result.finished
    assert result.states == states


def broken(scope: FastLogScope) -> str:
    result = search(scope, limit=20_000)
    assert result.counterexample is not None
    return result.counterexample.invariant


class Twice(LogAcceptor):
    """Votes for everything that it is asked for."""

    def vote(self, ballot: Ballot, slot: int, value: bytes) -> bool:
        super().vote(ballot, slot, value)
        return True


def test_an_acceptor_that_votes_twice_is_found() -> None:
    assert broken(world(acceptor=Twice)) == "OneVotePerRound"


class Forgetful(LogAcceptor):
    """Reports no vote, for one slot or for all."""

    def on_recover(self, message: Recover) -> Report | Nack | None:
        reply = super().on_recover(message)
        return Report(*message, BOTTOM, None) if isinstance(reply, Report) else reply

    def on_prepare(self, message: Prepare) -> Promise | Nack | None:
        reply = super().on_prepare(message)
        return reply._replace(entries=()) if isinstance(reply, Promise) else reply


def test_votes_that_are_not_reported_are_found() -> None:
    assert broken(world(acceptor=Forgetful)) in {"AcceptSafe", "OneValuePerBallot"}
    assert broken(world([OPEN, CLASSIC], acceptor=Forgetful)) in {"AcceptSafe", "AnyOnlyIfFree"}


class Lower(LogAcceptor):
    """Looks at the promise for all slots only."""

    def promised(self, slot: int) -> Ballot:
        return self.floor

    def vote(self, ballot: Ballot, slot: int, value: bytes) -> bool:
        held = self.slots.get(slot)
        if held is not None:
            held.promised = BOTTOM
        return super().vote(ballot, slot, value)


def test_a_promise_for_a_slot_that_is_not_kept_is_found() -> None:
    assert broken(world(acceptor=Lower)) in {"AcceptSafe", "VotesSafe"}


class NoFloor(Candidate):
    """Does not look at what was compacted."""

    def debts(self) -> Debts:
        self._compacted = self.first - 1
        return super().debts()


def test_what_was_compacted_and_is_proposed_in_again_is_found() -> None:
    scope = world([OPEN, CLASSIC], values=1, told="compact", candidate=NoFloor)
    assert broken(scope) in {"AcceptSafe", "AnyOnlyIfFree"}


class OpensAll(Candidate):
    """Owes nothing."""

    def debts(self) -> Debts:
        return super().debts()._replace(values=())


def test_any_though_something_is_owed_is_found() -> None:
    assert broken(world([OPEN, Ballot(1, 2, 0)], candidate=OpensAll)) == "AnyOnlyIfFree"


class Empties(Office):
    """Recovers every slot with a no-op."""

    def _try(self, slot: int, now_s: float) -> None:
        if self._context.quorums.is_quorum(self.recoveries[slot].keys(), Phase.ONE):
            self._propose(self.recovery_ballot, slot, NOP_VALUE, now_s)


def test_a_recovery_that_takes_any_value_is_found() -> None:
    assert broken(world(office=Empties)) == "AcceptSafe"


def test_what_makes_no_world_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no faults to choose"):
        FastLogScope(ScopeSettings(faults=frozenset({"loss"})))
    with pytest.raises(ConfigurationError, match=r"a scope's acceptors are 1\.\.3"):
        FastLogScope(ScopeSettings(), quorums=FastQuorums([1, 2]))
    assert protocol.scope is FastLogScope


def test_the_world_says_what_is_in_it() -> None:
    assert world(slots=2, told="learn, compact").title == (
        "the log of Fast Paxos, 2 slots, fast(1,2,3;phase1=2,phase2=2,fast=3), ballots 0.0 0.0.1, 2 values; "
        "messages stay deliverable, nodes restart, learn and compact"
    )
