"""Exhaustive search of Multi-Paxos's closed world: its states are the specification's, in every slot."""

from typing import Any

import attrs
import pytest

from multipaxos.acceptor import LogAcceptor
from multipaxos.learner import LogLearner
from multipaxos.messages import Accept, Promise
from multipaxos.proposer import Candidate, Leader
from multipaxos.scope import MultiPaxosScope
from paxos.ballot import BOTTOM
from paxos.basic.scope import BasicScope
from paxos.check.exhaust import SearchResult, search
from paxos.cli import main
from paxos.contract import ScopeSettings
from paxos.errors import EXIT_DONE, ConfigurationError
from paxos.quorum import FlexibleQuorums
from tests.abstract_paxos import reachable

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def searched(
    *, limit: int | None = None, refine: bool = False, **given: Any
) -> tuple[MultiPaxosScope, SearchResult]:
    names = {field.name for field in attrs.fields(ScopeSettings)}
    settings = {name: given.pop(name) for name in list(given) if name in names}
    scope = MultiPaxosScope(ScopeSettings(**settings), **given)
    return scope, search(scope, limit, refine=refine)


def states_of(scope: MultiPaxosScope, result: SearchResult, slot: int = 1) -> set[tuple[Any, ...]]:
    return {tuple(scope.spec_state(each, slot)) for each in result.projections if isinstance(each, int)}


def test_with_one_slot_the_states_are_those_of_paxos() -> None:
    scope, result = searched(refine=True)
    assert (result.projected, result.expected, result.ok) == (3_921, 3_921, True)
    assert (result.states, result.finished, result.collision_bound) == (6_529, True, 0.0)
    assert states_of(scope, result) == {tuple(each) for each in reachable(3, 2, ("a", "b"))}


@pytest.mark.parametrize(("acceptors", "ballots", "values"), [(1, 2, 2), (2, 2, 2), (3, 1, 3), (2, 3, 1)])
def test_other_small_worlds_have_the_same_states(acceptors: int, ballots: int, values: int) -> None:
    scope, result = searched(acceptors=acceptors, ballots=ballots, values=values)
    assert result.finished
    assert result.ok
    names = ("a", "b", "c")[:values]
    assert states_of(scope, result) == set(map(tuple, reachable(acceptors, ballots, names)))


@pytest.mark.once
def test_two_slots() -> None:
    _, result = searched(slots=2)
    assert (result.states, result.finished, result.ok) == (551_777, True, True)
    assert (result.expected, result.projected) == (None, 489_041)


@pytest.mark.parametrize(
    "given",
    [
        {"ballots": 2},
        {"ballots": 2, "faults": ["restart"]},
        {"ballots": 2, "faults": ["loss", "duplication"], "acceptors": 1},
        {"ballots": 3, "values": 1, "limit": 10_000},
    ],
    ids=str,
)
def test_each_step_is_one_of_the_specification_in_every_slot(given: dict[str, Any]) -> None:
    scope, result = searched(**{"slots": 2, "acceptors": 2, "limit": 20_000, "refine": True, **given})
    assert result.counterexample is None
    # Where a slot was proposed in and the one below was not, a later ballot fills the gap.
    proposed = {message for state in states_of(scope, result) for message in state[0] if message[0] == "2a"}
    assert ("2a", 1, "no-op") in proposed


@pytest.mark.parametrize("given", [{"acceptors": 2}, {"acceptors": 3, "values": 1, "limit": 60_000}], ids=str)
def test_pages_of_one_slot(given: dict[str, Any]) -> None:
    _, result = searched(slots=2, page_slots=1, **given)
    assert result.ok
    assert result.projected is None
    assert result.states >= 4_000


@pytest.mark.parametrize(
    "given",
    [
        {"faults": ["restart"]},
        {"faults": ["loss"]},
        {"faults": ["loss", "duplication"]},
        {"faults": ["restart"], "unsynced": 2},
        {"faults": ["loss", "duplication", "restart"], "values": 1},
    ],
    ids=str,
)
def test_faults_lead_to_no_other_states(given: dict[str, Any]) -> None:
    scope, result = searched(acceptors=2, refine=True, **given)
    assert result.finished
    assert result.counterexample is None
    names = ("a", "b")[: scope.settings.values]
    assert states_of(scope, result) == set(map(tuple, reachable(2, 2, names)))


def test_other_quorums() -> None:
    scope, result = searched(quorums=FlexibleQuorums((1, 2, 3), phase1=3, phase2=1))
    assert result.finished
    assert result.ok
    assert scope.expected is None


def test_slots_are_of_a_log() -> None:
    with pytest.raises(ConfigurationError, match="Basic Paxos has no slots"):
        BasicScope(ScopeSettings(slots=2))
    with pytest.raises(ConfigurationError, match="slots: expected a whole number in"):
        ScopeSettings(slots=5)


def test_the_command_tells_what_it_searched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exhaust", "--protocol", "multipaxos", "--slots", "2", "--acceptors", "1"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert text.startswith("Multi-Paxos, 2 slots, 1 acceptors, ballots 0..1, 2 values; messages stay")
    assert "nothing that must hold broke" in text


# --- planted bugs ---------------------------------------------------------------------------------------


class NotRaised(LogAcceptor):
    """Promises, and goes on as before."""

    def on_prepare(self, message):
        promised = self.promised
        reply = super().on_prepare(message)
        self.promised = promised
        return reply


class Below(LogAcceptor):
    """Votes whatever it promised."""

    def on_accept(self, message: Accept) -> Any:
        promised, self.promised = self.promised, BOTTOM
        reply = super().on_accept(message)
        self.promised = max(promised, message.ballot)
        return reply


class Forgetful(LogAcceptor):
    """Reports no vote."""

    def on_prepare(self, message):
        reply = super().on_prepare(message)
        return reply._replace(entries=(), following=0) if isinstance(reply, Promise) else reply


class OnePromise(Candidate):
    """Is content with one promise."""

    is_elected = property(lambda self: bool(self._promised))


class FirstPage(Candidate):
    """Counts a promise after its first page."""

    def on_promise(self, sender, message):
        return super().on_promise(sender, message._replace(following=0))


class Lowest(Candidate):
    """Takes the vote of the lowest ballot."""

    def _count(self, sender, page):
        before = dict(self._best)
        super()._count(sender, page)
        self._best.update({slot: vote for slot, vote in before.items() if vote < self._best[slot]})


class Shifted(Candidate):
    """Leaves gaps out, and so moves values down."""

    def debts(self):
        debts = super().debts()
        return debts._replace(values=tuple(value for value in debts.values if value), gaps=0)


class OneVote(Leader):
    """Is content with one vote."""

    def count(self, sender, first, last):
        for slot in range(max(first, self.committed + 1), min(last, self.last) + 1):
            self.flights[slot].voters = None
        return super().count(sender, first, last)


class OlderVotes(LogLearner):
    """Commits what its node voted for, at whatever ballot."""

    def advance(self, acceptor, context, now_s):
        known, self.known_ballot = self.known_ballot, BOTTOM
        super().advance(acceptor, context, now_s)
        self.known_ballot = known


class Raising(LogAcceptor):
    """Gives up when it is asked for a vote."""

    def on_accept(self, message: Accept) -> Any:
        raise KeyError(message.slot)


#: The mistake, what it breaks, and in how many steps.
PLANTED: dict[str, tuple[dict[str, Any], str, int]] = {
    "promise not raised": ({"acceptor": NotRaised}, "PromiseMonotone", 2),
    "vote below the promise": ({"acceptor": Below}, "LearnerSound", 15),
    "votes not reported": ({"acceptor": Forgetful}, "LearnerSound", 15),
    "one promise": ({"candidate": OnePromise}, "LearnerSound", 11),
    "first page": (
        {"candidate": FirstPage, "slots": 2, "page_slots": 1, "acceptors": 2},
        "LearnerSound",
        18,
    ),
    "gaps closed": ({"candidate": Shifted, "slots": 2, "acceptors": 2}, "Agreement", 17),
    "one vote": ({"leader": OneVote}, "LearnerSound", 7),
    "older votes": ({"learner": OlderVotes}, "LearnerSound", 15),
    "answers before they are durable": (
        {"waits": lambda _: False, "faults": ["restart"], "values": 1},
        "PromiseMonotone",
        3,
    ),
    "a handler that raises": ({"acceptor": Raising}, "HandlersAnswer", 7),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_by_a_shortest_way(name: str) -> None:
    given, invariant, steps = PLANTED[name]
    _, result = searched(**given)
    found = result.counterexample
    assert found is not None
    assert (found.invariant, len(found.steps)) == (invariant, steps), "\n".join(found.lines())


@pytest.mark.once
def test_the_lowest_vote_takes_three_ballots_to_show() -> None:
    assert searched(candidate=Lowest)[1].ok
    found = searched(candidate=Lowest, ballots=3)[1].counterexample
    assert found is not None
    assert (found.invariant, len(found.steps)) == ("LearnerSound", 21)
