"""Exhaustive search: the engine on toys, the real roles against the specification, and planted bugs."""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import attrs
import pytest

from paxos.ballot import BOTTOM, Ballot
from paxos.basic import (
    Accept,
    Acceptor,
    AcceptorRecord,
    BasicScope,
    Learner,
    Nack,
    Prepare,
    Promise,
    Proposer,
    ProposerState,
    protocol,
)
from paxos.check.exhaust import SearchProgress, SearchResult, search
from paxos.cli import main
from paxos.contract import ScopeSettings
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_NO, EXIT_USAGE, ConfigurationError
from paxos.quorum import FlexibleQuorums
from tests.abstract_paxos import reachable

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

Capture = pytest.CaptureFixture[str]


# --- the engine, on toys ------------------------------------------------------------------------------


class Jugs:
    """Two jugs, of 3 and 5 litres; water is poured until one holds 4 litres. Six steps are needed."""

    title = "jugs"
    expected: int | None = None

    def __init__(self, check: bool = True, long_keys: bool = False) -> None:
        self.invariants: Mapping[str, Callable[[tuple[int, int]], str | None]] = (
            {"NeverFour": lambda jugs: "there are 4 litres" if jugs[1] == 4 else None} if check else {}
        )
        self.long_keys = long_keys

    def initial(self) -> Iterator[tuple[int, int]]:
        yield (0, 0)

    def successors(self, state: tuple[int, int]) -> Iterator[tuple[object, tuple[int, int]]]:
        small, big = state
        yield "fill the small", (3, big)
        yield "fill the big", (small, 5)
        yield "empty the small", (0, big)
        yield "empty the big", (small, 0)
        poured = min(small, 5 - big)
        yield "pour small into big", (small - poured, big + poured)
        poured = min(big, 3 - small)
        yield "pour big into small", (small + poured, big - poured)

    def fingerprint(self, state: tuple[int, int]) -> Hashable:
        return repr(state).encode() * 10 if self.long_keys else state

    def project(self, state: tuple[int, int]) -> int | None:
        return sum(state) if state[0] else None

    def refine(self, before: tuple[int, int], after: tuple[int, int]) -> str | None:
        return "water is thrown away" if sum(after) < sum(before) and after == (0, 0) else None

    def describe(self, before: tuple[int, int], action: object, after: tuple[int, int]) -> str:
        return f"{action}: {after[0]}, {after[1]}"


def test_every_state_is_visited_once_and_every_step_counted() -> None:
    result = search(Jugs(check=False))
    # All pairs in which at least one jug is full or empty: 16 of 4 * 6.
    assert (result.states, result.transitions, result.depth) == (16, 16 * 6, 7)
    assert result.projections == {3, 1, 2, 4, 5, 6, 7, 8}
    assert (result.projected, result.finished, result.ok, result.collision_bound) == (8, True, True, 0.0)


def test_the_counterexample_is_a_shortest_one() -> None:
    result = search(Jugs())
    found = result.counterexample
    assert found is not None
    assert (found.invariant, found.what, result.ok, result.finished) == (
        "NeverFour",
        "there are 4 litres",
        False,
        False,
    )
    assert found.steps == (
        "fill the big: 0, 5",
        "pour big into small: 3, 2",
        "empty the small: 0, 2",
        "pour big into small: 2, 0",
        "fill the big: 2, 5",
        "pour big into small: 3, 4",
    )
    assert found.lines()[0] == "1. fill the big: 0, 5"
    assert found.lines()[-1] == "   NeverFour is broken: there are 4 litres"


def test_a_limit_is_kept_and_admitted() -> None:
    result = search(Jugs(check=False), limit=5)
    assert (result.states, result.finished, result.ok) == (5, False, True)
    assert search(Jugs(check=False), limit=16).finished


def test_long_fingerprints_become_digests_with_a_stated_bound() -> None:
    result = search(Jugs(check=False, long_keys=True))
    assert result.states == 16
    assert result.collision_bound == pytest.approx(16 * 15 / 2**129)


def test_steps_are_checked_when_asked() -> None:
    result = search(Jugs(check=False), refine=True)
    assert result.counterexample is not None
    assert result.counterexample.invariant == "Refinement"
    assert result.counterexample.steps == ("fill the small: 3, 0", "empty the small: 0, 0")


def test_a_state_to_begin_in_can_be_broken() -> None:
    class Empty(Jugs):
        def initial(self) -> Iterator[tuple[int, int]]:
            yield (0, 0)
            yield (1, 4)

    found = search(Empty()).counterexample
    assert found is not None
    assert found.steps == ()


def test_a_number_of_projections_that_must_be() -> None:
    jugs = Jugs(check=False)
    jugs.expected = 8
    assert (search(jugs).ok, search(jugs).missed) == (True, False)
    jugs.expected = 9
    assert (search(jugs).ok, search(jugs).missed) == (False, True)
    assert not search(jugs, limit=5).missed  # not finished: it tells nothing


# --- the real roles, against the specification ----------------------------------------------------------


def states_of(scope: BasicScope, result: SearchResult) -> set[tuple[Any, ...]]:
    return {tuple(scope.spec_state(each)) for each in result.projections if isinstance(each, int)}


def searched(
    *, limit: int | None = None, refine: bool = False, **given: Any
) -> tuple[BasicScope, SearchResult]:
    names = {field.name for field in attrs.fields(ScopeSettings)}
    settings = {name: given.pop(name) for name in list(given) if name in names}
    scope = BasicScope(ScopeSettings(**settings), **given)
    return scope, search(scope, limit, refine=refine)


def test_the_golden_number_and_the_very_same_states() -> None:
    reports: list[SearchProgress] = []
    scope = BasicScope(ScopeSettings())
    result = search(scope, progress=reports.append, refine=True)
    assert (result.projected, result.expected, result.ok) == (3_921, 3_921, True)
    assert (result.states, result.finished, result.collision_bound) == (19_044, True, 0.0)
    assert states_of(scope, result) == {tuple(each) for each in reachable(3, 2, ("a", "b"))}
    assert not reports  # it reports at every 20,000 states


@pytest.mark.parametrize(
    ("acceptors", "ballots", "values"), [(1, 2, 2), (2, 2, 2), (3, 1, 3), (2, 3, 1), (4, 1, 2), (1, 4, 2)]
)
def test_other_small_worlds_have_the_same_states(acceptors: int, ballots: int, values: int) -> None:
    scope, result = searched(acceptors=acceptors, ballots=ballots, values=values)
    assert result.finished
    assert result.ok
    assert result.expected is None
    assert states_of(scope, result) == set(
        map(tuple, reachable(acceptors, ballots, ("a", "b", "c")[:values]))
    )


@pytest.mark.parametrize(
    "given",
    [
        {"faults": ["restart"], "proposers": 2},
        {"faults": ["loss"]},
        {"faults": ["duplication"], "in_flight": 4, "values": 1},
        {"faults": ["loss", "duplication"]},
        {"faults": ["restart"], "unsynced": 2},
        {"nacks": True},
    ],
    ids=str,
)
def test_faults_lead_to_no_other_states(given: dict[str, Any]) -> None:
    """What a restart keeps and a network loses is invisible to the specification: every step refines it."""
    scope, result = searched(acceptors=2, refine=True, **given)
    assert result.finished
    assert result.counterexample is None
    values = ("a", "b")[: scope.settings.values]
    assert states_of(scope, result) == set(map(tuple, reachable(2, 2, values)))


def test_all_faults_at_once_as_far_as_it_goes() -> None:
    scope, result = searched(
        faults=["loss", "duplication", "restart"], acceptors=2, ballots=3, limit=20_000, refine=True
    )
    assert (result.states, result.finished, result.ok) == (20_000, False, True)
    assert states_of(scope, result) <= set(map(tuple, reachable(2, 3, ("a", "b"))))


@pytest.mark.parametrize(
    "given", [{"nacks": True, "proposers": 2}, {"faults": ["restart"]}], ids=["outbid", "restarts"]
)
def test_a_proposer_goes_on_at_a_ballot_of_its_own(given: dict[str, Any]) -> None:
    scope, result = searched(acceptors=2, ballots=3, values=1, **given)
    assert result.finished
    assert result.ok
    begun = {m[1] for state in states_of(scope, result) for m in state[0] if m[0] == "1a"}
    assert begun == {0, 1, 2}
    assert scope.proposers == 2


def test_other_quorums() -> None:
    scope, result = searched(acceptors=3, ballots=2, quorums=FlexibleQuorums((1, 2, 3), phase1=3, phase2=1))
    assert result.finished
    assert result.ok
    assert scope.expected is None


def test_settings_that_make_no_world() -> None:
    with pytest.raises(ConfigurationError, match="no fault gremlins"):
        ScopeSettings(faults=["gremlins"])
    with pytest.raises(ConfigurationError, match=r"ballots: expected a whole number in 1\.\.8, not 0"):
        ScopeSettings(ballots=0)
    with pytest.raises(ConfigurationError, match="copies in flight"):
        ScopeSettings(in_flight=0)
    with pytest.raises(ConfigurationError, match=r"acceptors are 1\.\.2"):
        BasicScope(ScopeSettings(acceptors=2), quorums=FlexibleQuorums((1, 2, 3), phase1=2, phase2=2))
    with pytest.raises(ConfigurationError, match="need as many acceptors"):
        BasicScope(ScopeSettings(acceptors=1, ballots=3), proposers=2)


# --- planted bugs ---------------------------------------------------------------------------------------


class Unraised(Acceptor):
    """Promises, and does not raise what it promised."""

    def on_prepare(self, message):
        before = self.promised
        answer = super().on_prepare(message)
        self.promised = before
        return answer


class Below(Acceptor):
    """Votes below its promise, and keeps the promise."""

    def on_accept(self, message):
        before, self.promised = self.promised, BOTTOM
        answer = super().on_accept(message)
        self.promised = max(before, self.promised)
        return answer


class Above(Acceptor):
    """Votes, and does not raise its promise."""

    def on_accept(self, message):
        before = self.promised
        answer = super().on_accept(message)
        self.promised = before
        return answer


class Forgetful(Acceptor):
    """Puts its vote on disk and not its promise."""

    def record(self):
        return AcceptorRecord(self.accepted_ballot, self.accepted_ballot, self.accepted_value)


class Lowest(Proposer):
    """Takes the accepted value of the lowest ballot."""

    def on_promise(self, sender, message):
        current = self.state is ProposerState.PREPARING and message.ballot == self.ballot
        if current and message.accepted_ballot > BOTTOM:
            if self._best == BOTTOM or message.accepted_ballot < self._best:
                self._best = BOTTOM
            else:
                message = message._replace(accepted_ballot=BOTTOM, accepted_value=None)
        return super().on_promise(sender, message)


class Stubborn(Proposer):
    """Proposes its own value whatever the promises hold."""

    def on_promise(self, sender, message):
        return super().on_promise(sender, message._replace(accepted_ballot=BOTTOM, accepted_value=None))


class Reusing(Proposer):
    """Begins each life at the first round."""

    def __init__(self, *given, floor=BOTTOM, **named):
        super().__init__(*given, **named)


class Inventive(Proposer):
    """Proposes what nobody asked for."""

    def on_promise(self, sender, message):
        accept = super().on_promise(sender, message)
        return None if accept is None else Accept(accept.decree, accept.ballot, b"z")


class Across(Learner):
    """Counts votes of all ballots together."""

    def receive(self, sender, message):
        return super().receive(sender, message._replace(ballot=Ballot(1, 1)))


class Hasty(Learner):
    """Decides on the first vote."""

    def receive(self, sender, message):
        for node in self.quorums.members:
            super().receive(node, message)
        return self.decision


class Failing(Learner):
    """Raises at a second vote."""

    def receive(self, sender, message):
        if self._tallies:
            raise KeyError("no room")
        return super().receive(sender, message)


def in_one_way(*values: bytes) -> list[tuple[bytes, ...]]:
    return [values]


PLANTED: dict[str, tuple[dict[str, Any], str, int]] = {
    "promise not raised": ({"acceptor": Unraised}, "PromiseMonotone", 2),
    "vote below the promise": ({"acceptor": Below}, "Agreement", 14),
    "vote above the promise": ({"acceptor": Above, "faults": ["loss"]}, "VoteAtMostPromise", 7),
    "promise forgotten by a disk": ({"acceptor": Forgetful, "faults": ["restart"]}, "PromiseMonotone", 4),
    "answer before it is durable": ({"waits": lambda _: False, "faults": ["restart"]}, "PromiseMonotone", 3),
    "lowest accepted value": (
        {"proposer": Lowest, "ballots": 3, "own_values": in_one_way(b"a", b"b", b"a")}, "Agreement", 20
    ),
    "own value": ({"proposer": Stubborn}, "Agreement", 14),
    "ballot used again": (
        {"proposer": Reusing, "faults": ["restart"], "ballots": 1}, "OneValuePerBallot", 11
    ),
    "value that nobody submitted": ({"proposer": Inventive}, "Validity", 5),
    "votes counted across ballots": ({"learner": Across}, "LearnerSound", 12),
    "learned from one vote": ({"learner": Hasty}, "LearnerSound", 6),
    "a handler that raises": ({"learner": Failing}, "HandlersAnswer", 6),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_by_a_shortest_way(name: str) -> None:
    given, invariant, steps = PLANTED[name]
    _, result = searched(**given)
    found = result.counterexample
    assert found is not None
    assert (found.invariant, len(found.steps)) == (invariant, steps), "\n".join(found.lines())
    assert not result.ok


def test_two_ballots_can_not_show_the_lowest_value() -> None:
    _, result = searched(proposer=Lowest)
    assert result.ok
    assert result.projected == 3_921


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"acceptor": Below}, 8),
        ({"proposer": Stubborn}, 11),
        ({"waits": lambda _: False, "faults": ["restart"]}, 2),
    ],
    ids=["vote below the promise", "own value", "answer before it is durable"],
)
def test_a_step_check_finds_a_bug_sooner(given: dict[str, Any], steps: int) -> None:
    _, result = searched(refine=True, **given)
    assert result.counterexample is not None
    assert result.counterexample.invariant == "Refinement"
    assert len(result.counterexample.steps) == steps


# --- the command ----------------------------------------------------------------------------------------


class Shy(Acceptor):
    """Refuses to vote at the ballot that it promised: safe, and not what the specification does."""

    def on_accept(self, message):
        if message.ballot == self.promised:
            return Nack(message.decree, message.ballot, self.promised)
        return super().on_accept(message)


class Talkative(Acceptor):
    """Promises a ballot again in which it voted: the specification has no such message."""

    def on_prepare(self, message: Prepare) -> Any:
        if message.ballot == self.promised:
            return Promise(message.decree, message.ballot, self.accepted_ballot, self.accepted_value)
        return super().on_prepare(message)


shy = attrs.evolve(protocol, scope=lambda settings: BasicScope(settings, acceptor=Shy))
talkative = attrs.evolve(protocol, scope=lambda settings: BasicScope(settings, acceptor=Talkative))
across = attrs.evolve(protocol, scope=lambda settings: BasicScope(settings, learner=Across))
scopeless = attrs.evolve(protocol, scope=None)


def test_the_command_tells_what_it_searched(capsys: Capture) -> None:
    assert main(["exhaust"]) == EXIT_DONE
    text = capsys.readouterr().out
    for part in ("states       19,044", "projected    3,921; the specification has 3,921", "every state was"):
        assert part in text
    assert main(["exhaust", "--json"]) == EXIT_DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["states"], found["projected"], found["expected"]) == (19_044, 3_921, 3_921)
    assert (found["finished"], found["ok"], found["counterexample"]) == (True, True, None)


def test_a_limit_ends_in_a_plain_no(capsys: Capture) -> None:
    assert main(["exhaust", "--ballots", "0..2", "--limit", "1000"]) == EXIT_NO
    assert "not finished: the limit came first" in capsys.readouterr().out
    assert main(["exhaust", "--ballots", "0..2", "--limit", "1000", "--json"]) == EXIT_NO
    found = json.loads(capsys.readouterr().out)
    assert (found["finished"], found["ok"], found["counterexample"]) == (False, None, None)


def test_what_broke_before_the_limit_came_is_not_ok() -> None:
    found = search(Jugs(), limit=15).to_json()
    assert (found["finished"], found["ok"]) == (False, False)


def test_a_violation_is_shown_step_by_step(capsys: Capture) -> None:
    assert main(["exhaust", "--protocol", "tests.test_check_exhaust:across"]) == EXIT_CHECK_FAILED
    text = capsys.readouterr().out
    assert "BROKEN: LearnerSound, in 12 steps:" in text
    assert "   1. proposer of ballot 0 begins ballot 1.1: Prepare 1.1" in text


def test_a_missed_number_is_explained(capsys: Capture) -> None:
    assert main(["exhaust", "--protocol", "tests.test_check_exhaust:shy"]) == EXIT_CHECK_FAILED
    captured = capsys.readouterr()
    assert "and the specification has 3,921, though each step is one that it allows" in captured.out
    assert main(["exhaust", "--protocol", "tests.test_check_exhaust:talkative"]) == EXIT_CHECK_FAILED
    captured = capsys.readouterr()
    assert "searching again, for a step that the specification does not allow" in captured.err
    assert "BROKEN: Refinement, in 7 steps:" in captured.out
    assert "Phase1b does not allow ('1b', 1, 0, 0, 'a')" in captured.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ballots", "1..2"], "expected 0..B with B at most 7"),
        (["--ballots", "0..9"], "expected 0..B with B at most 7"),
        (["--faults", "gremlins"], "no such fault here: 'gremlins'"),
        (["--acceptors", "0"], "1..7"),
        (["--protocol", "raft"], "no protocol named 'raft'"),
        (["--protocol", "tests.test_check_exhaust:scopeless"], "offers no closed world to search"),
    ],
)
def test_bad_arguments(arguments: list[str], says: str, capsys: Capture) -> None:
    assert main(["exhaust", *arguments]) == EXIT_USAGE
    assert says in capsys.readouterr().err
