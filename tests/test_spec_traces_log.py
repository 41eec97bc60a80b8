"""Traces of a log: what Multi-Paxos does is a behaviour of its specification, and what mistakes do is not."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import pytest

from multipaxos import MultiPaxosReplica, protocol
from multipaxos.acceptor import LogAcceptor
from multipaxos.learner import LogLearner
from multipaxos.messages import Promise
from multipaxos.proposer import Candidate, Leader
from multipaxos.settings import MultiPaxosSettings
from multipaxos.tracing import SPECIFICATION, TracedReplica, make_replica
from paxos.ballot import BOTTOM
from paxos.check.spec_runs import simulated_traces
from paxos.check.spec_traces import Rejection, Trace, check_traces, traces_of_events
from paxos.check.tlc import Tlc
from paxos.cli import main
from paxos.contract import Configuration, Instant
from paxos.errors import ConfigurationError
from paxos.quorum import Majority
from paxos.sim import Faults, run
from tests import test_multipaxos_scenarios as scenarios
from tests.multipaxos_net import Net
from tests.tlc import require_tlc

THREE = Majority([1, 2, 3])


@pytest.mark.once
def test_traces_of_runs_with_faults_are_behaviours(capsys: pytest.CaptureFixture[str]) -> None:
    require_tlc()
    assert main(["spec", "--traces", "--protocol", "multipaxos", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["traces"] == 200
    assert told["shortest"] >= 100
    assert told["events"] >= 20_000
    assert told["actions"].keys() == SPECIFICATION.actions.keys() - {"Persist"}
    assert told["actions"]["Restart"] >= 1000


# --- planted bugs --------------------------------------------------------------------------------------


class _OlderVotes(LogLearner):
    """Commits what it voted for, at whatever ballot."""

    def advance(self, acceptor, context, now_s):
        known, self.known_ballot = self.known_ballot, BOTTOM
        super().advance(acceptor, context, now_s)
        self.known_ballot = known


class _AllRestored(LogLearner):
    """Takes all that its disk has votes for to be chosen."""

    def restore(self, acceptor, chosen, hints, context):
        every = [(acceptor.promised, acceptor.highest)] if acceptor.votes else hints
        super().restore(acceptor, frozenset(acceptor.votes), every, context)


class _FirstPage(Candidate):
    """Counts a promise after its first page."""

    def on_promise(self, sender, message):
        return super().on_promise(sender, message._replace(following=0))


class _LowestVote(Candidate):
    """Takes the vote of the lowest ballot."""

    def _count(self, sender, page):
        before = dict(self._best)
        super()._count(sender, page)
        self._best.update({slot: vote for slot, vote in before.items() if vote < self._best[slot]})


class _OnePromise(Candidate):
    """Is content with one promise."""

    is_elected = property(lambda self: bool(self._promised))


class _Gaps(Candidate):
    """Leaves no slot out, and so moves values down into the gaps."""

    def debts(self):
        debts = super().debts()
        return debts._replace(values=tuple(value for value in debts.values if value), gaps=0)


class _NotRaised(LogAcceptor):
    """Promises, and goes on as before."""

    def on_prepare(self, message):
        reply = super().on_prepare(message)
        if isinstance(reply, Promise):
            self.promised = self.voted
        return reply


class _Forgetful(LogAcceptor):
    """Reports no vote when it promises."""

    def on_prepare(self, message):
        reply = super().on_prepare(message)
        return reply._replace(entries=(), following=0) if isinstance(reply, Promise) else reply


class _OneVote(Leader):
    """Is content with one vote."""

    def count(self, sender, first, last):
        for slot in range(max(first, self.committed + 1), min(last, self.last) + 1):
            self.flights[slot].voters = None
        return super().count(sender, first, last)


class _TracedNet(Net):
    """A net of traced replicas; all that were made are known."""

    made: ClassVar[list[Net]] = []

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **{"make": make_replica, "trace": True, **more})
        self.made.append(self)


def _pages_of_one_slot() -> None:
    """A new leader hears of three slots, in three pages of each promise."""
    net = _TracedNet(settings=scenarios.settings(page_slots=1))
    net.elect(1)
    for payload in (b"a", b"b", b"c"):
        scenarios.place(net, 1, payload, 2, 3)
    net.crash(1)
    net.elect()


def _two_votes() -> None:
    """A new leader hears of two votes for one slot, at two ballots."""
    net = _TracedNet(5)
    net.elect(1)
    scenarios.place(net, 1, b"one", 2)
    net.isolate(1, 2)
    scenarios.stand(net, 5)
    scenarios.place(net, 5, b"five", 4)
    net.cut.clear()
    net.crash(1)
    net.crash(5)
    net.elect()


#: What is planted, where, and the action that can not be what it says.
PLANTED: list[tuple[str, type, str]] = [
    ("LogLearner", _AllRestored, "Restart"),
    ("Candidate", _OnePromise, "Elected"),
    ("LogAcceptor", _NotRaised, "MorePages"),
    ("LogAcceptor", _Forgetful, "Phase1b"),
    ("Leader", _OneVote, "Commit"),
]

#: The same where it takes a schedule of its own to show.
DIRECTED: list[tuple[str, type, Callable[[], None], str]] = [
    (
        "LogLearner",
        _OlderVotes,
        scenarios.test_a_commit_index_does_not_commit_what_was_voted_at_a_lower_ballot,
        "FollowerCommit",
    ),
    (
        "Candidate",
        _FirstPage,
        _pages_of_one_slot,
        "CountPromise",
    ),
    ("Candidate", _LowestVote, _two_votes, "Repropose"),
    (
        "Candidate",
        _Gaps,
        scenarios.test_a_new_leader_leaves_no_gap_and_fills_it_before_anything_new,
        "Elected",
    ),
]


def _simulated(monkeypatch: pytest.MonkeyPatch, role: str, bug: type) -> list[Trace]:
    with monkeypatch.context() as patched:
        patched.setattr(f"multipaxos.replica.{role}", bug)
        return [
            attrs.evolve(trace, origin=f"{bug.__name__}, {trace.origin}")
            for trace in simulated_traces("multipaxos", nodes=3, count=20, min_events=40)
        ]


def _played(monkeypatch: pytest.MonkeyPatch, scenario: Callable[[], None], origin: str) -> list[Trace]:
    """The traces of a scenario, to its end or to where it fails."""
    with monkeypatch.context() as patched:
        patched.setattr(scenarios, "Net", _TracedNet)
        patched.setattr(_TracedNet, "made", [])
        with contextlib.suppress(AssertionError):
            scenario()
        nets = _TracedNet.made
    return [
        trace
        for net in nets
        for trace in traces_of_events(origin, net.events, net.quorums, SPECIFICATION.traces)
        if trace.events
    ]


def _rejected(tlc: Tlc, traces: list[Trace]) -> list[Rejection]:
    """The rejections, where the pages of one net are not those of another."""
    by_page: dict[int, list[Trace]] = {}
    for trace in traces:
        (page,) = {event["page"] for event in trace.events if "page" in event}
        by_page.setdefault(page, []).append(trace)
    return [
        rejection
        for each in by_page.values()
        for rejection in check_traces(tlc, each, "multipaxos", explain=0).rejections
    ]


@pytest.mark.once
def test_traces_of_planted_bugs_are_rejected_at_the_first_event_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tlc = require_tlc()
    traces = [trace for role, bug, _ in PLANTED for trace in _simulated(monkeypatch, role, bug)]
    report = check_traces(tlc, traces, "multipaxos", explain=1)
    played = []
    for role, bug, scenario, _ in DIRECTED:
        with monkeypatch.context() as patched:
            patched.setattr(f"multipaxos.replica.{role}", bug)
            played += _played(monkeypatch, scenario, f"{bug.__name__}, played")
    told = (*report.rejections, *_rejected(tlc, played))
    first: dict[str, Counter[str]] = {}
    for rejection in told:
        first.setdefault(rejection.origin.split(",")[0], Counter())[rejection.what["action"]] += 1
    wanted = [(bug, action) for _, bug, action in PLANTED] + [(bug, action) for _, bug, _, action in DIRECTED]
    for bug, action in wanted:
        assert first.get(bug.__name__, Counter())[action], (bug.__name__, action, first)
    one = report.rejections[0]
    assert traces[one.trace - 1].events[one.event - 1] == one.what
    assert f"event {one.event} does not fit" in str(one)
    assert f"mem[{one.what['node']}] = [bal " in str(one)


@pytest.mark.once
def test_the_schedules_that_break_a_log_which_forgets_a_rule_are_behaviours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tlc = require_tlc()
    played = [
        trace
        for name, scenario in vars(scenarios).items()
        if name.startswith("test_")
        for trace in _played(monkeypatch, scenario, name)
    ]
    assert len(played) >= 12
    assert _rejected(tlc, played) == []


# --- altered traces --------------------------------------------------------------------------------------

_ALTERED: list[tuple[str, str, Any]] = [
    ("Phase1a", "first", 9),
    ("Phase1b", "told", 7),
    ("Phase1b", "ballot", [1_000_000, 1, 0]),
    ("CountPromise", "gathered", {"nodes": [1, 2, 3]}),
    ("CountPromise", "compacted", 9),
    ("Elected", "owed", 9),
    ("Elected", "floor", 9),
    ("Phase2a", "slot", 9),
    ("Phase2a", "value", "nobody's"),
    ("Phase2b", "value", "nobody's"),
    ("Refuse", "by", [0, 1, 0]),
    ("CountVote", "slot", 9),
    ("CountVote", "voters", {"nodes": [1, 2, 3]}),
    ("Commit", "slot", 9),
    ("FollowerCommit", "value", "nobody's"),
    ("Mark", "slot", 9),
    ("Snapshot", "slot", 9),
    ("Compact", "slot", 9),
    ("Resign", "ballot", [1_000_000, 1, 0]),
    ("RepeatVote", "value", "nobody's"),
    ("Phase1a", "action", "Nonsense"),
]


@pytest.mark.once
def test_one_event_changed_is_the_one_that_is_named() -> None:
    tlc = require_tlc()
    traces = simulated_traces("multipaxos", nodes=3, count=60)
    altered = []
    for action, name, value in _ALTERED:
        trace, at = next(
            (trace, at)
            for trace in traces
            for at, event in enumerate(trace.events)
            if event["action"] == action
        )
        changed = {**trace.events[at], name: value}
        events = (*trace.events[:at], changed, *trace.events[at + 1 :])
        altered.append((at + 1, Trace(f"{action}.{name}", events, THREE)))
    report = check_traces(tlc, [each for _, each in altered], "multipaxos", explain=0)
    named = {rejection.origin: rejection.event for rejection in report.rejections}
    assert named == {each.origin: at for at, each in altered}


# --- what is traced ------------------------------------------------------------------------------------


def test_nodes_with_pages_of_different_sizes_can_not_be_walked_together() -> None:
    tlc = require_tlc()
    start = {"promised": [-1, 0, 0], "compacted": 0, "committed": 0, "votes": 0}
    events = tuple({"action": "Restart", "node": node, **start, "page": node} for node in (1, 2))
    with pytest.raises(ConfigurationError, match=r"page_slots are different, \[1, 2\]"):
        check_traces(tlc, [Trace("two", events, THREE)], "multipaxos")


def test_tracing_changes_nothing_but_what_is_told() -> None:
    runs = [
        run("multipaxos", 3, 11, faults=Faults(loss=0.1, random_crashes=4), duration_s=3.0, trace=trace)
        for trace in (False, True)
    ]
    assert runs[0].choices == runs[1].choices
    assert runs[0].messages == runs[1].messages
    assert runs[0].seen == runs[1].seen
    assert not runs[0].events
    assert runs[1].events


def test_a_replica_traces_when_it_is_told_to_and_has_a_vote() -> None:
    def made(node: int, trace: bool) -> type:
        configuration = Configuration(node, THREE, MultiPaxosSettings(), trace=trace, observers=(4,))
        return type(protocol.replica(configuration, {}, lambda name, bound: 0, Instant(0.0)))

    assert made(1, True) is TracedReplica
    assert made(1, False) is MultiPaxosReplica
    assert made(4, True) is MultiPaxosReplica
