"""The specification of the log of Fast Paxos: its models find mistakes, and traces of the code are behaviours
of it."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from fastpaxos.log import FastLogReplica, FastLogSettings, protocol
from fastpaxos.log.tracing import ACTIONS, SPECIFICATION, TracedReplica, make_replica
from paxos.check.spec import check_model, load_models, spec_directory
from paxos.check.spec_runs import simulated_traces
from paxos.check.spec_traces import Trace, check_traces, traces_of_events
from paxos.cli import main
from paxos.contract import Configuration, Instant
from paxos.errors import ConfigurationError
from paxos.quorum import FastQuorums, Majority
from paxos.sim import Faults, run
from tests.fastpaxos_log_net import Net, command
from tests.mutants.build import described
from tests.mutants.fastpaxos_log_patches import FASTPAXOS_LOG
from tests.tlc import copy_specs, require_tlc

_MODELS: Final = {model.name: model for model in load_models()}
_HERE: Final = "  None = None\n"

#: The model, what takes the place of what, and what is violated.
_MISTAKES: Final[dict[str, tuple[str, list[tuple[str, str]], str]]] = {
    "a promise for a slot is not kept": (
        "fastpaxos-log-recovery",
        [("ReportSlot", "ReportOnly")],
        "DurableBeforeSend",
    ),
    "Any from the first slot on that is not chosen": (
        "fastpaxos-log-gaps",
        [("InOffice", "OpensAll")],
        "AnyOnlyIfFree",
    ),
    "a promise counts after its first page": (
        "fastpaxos-log-gaps",
        [("CountPromise", "FirstPage")],
        "AnyOnlyIfFree",
    ),
    "up to where somebody compacted is not looked at": (
        "fastpaxos-log-compaction",
        [("After", "FloorIgnored")],
        "AnyOnlyIfFree",
    ),
    "what was proposed is not remembered": (
        "fastpaxos-log-one-node",
        [("Put", "PutAgain")],
        "OneValuePerBallot",
    ),
    "a snapshot takes the place of votes above it": (
        "fastpaxos-log-compaction",
        [("WithSnapshot", "AllForgotten")],
        "DurableBeforeSend",
    ),
}


@pytest.mark.once
@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_mistake_is_found(tmp_path: Path, mistake: str) -> None:
    tlc = require_tlc()
    name, changes, violated = _MISTAKES[mistake]
    model = _MODELS[name]

    def edit(file: str, text: str) -> str:
        for old, new in changes if file == model.config else ():
            text = re.sub(rf"  {old} <- \w+\n", "", text).replace(_HERE, f"{_HERE}  {old} <- {new}\n")
        return text

    result = check_model(tlc, model, directory=copy_specs(tmp_path, edit), timeout_s=300)
    assert result.verdict == "violated", result.sentence
    assert violated in result.sentence


# --- traces ---------------------------------------------------------------------------------------

#: What so few runs need not come to.
_SELDOM: Final = {"Install", "Join", "Preempt", "Recover", "CountReport"}


def test_specification_and_code_have_the_same_actions() -> None:
    assert protocol.specification is SPECIFICATION
    assert SPECIFICATION.actions.keys() - {"Persist"} == ACTIONS
    text = (spec_directory() / "FastPaxosLog.tla").read_text(encoding="utf-8")
    following = text[text.index("\nNext ==") : text.index("\nSpec ==")]
    assert set(re.findall(r"\b([A-Z]\w+)\(", following)) == SPECIFICATION.actions.keys()


@pytest.mark.once
def test_traces_of_runs_with_faults_are_behaviours(capsys: pytest.CaptureFixture[str]) -> None:
    require_tlc()
    assert main(["spec", "--traces", "--protocol", "fastpaxos-log", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["traces"] == 200
    assert told["shortest"] >= 100
    assert ACTIONS - _SELDOM <= told["actions"].keys() <= ACTIONS
    assert told["actions"]["Restart"] >= 100
    assert told["actions"]["RecoverVote"] >= 20


class _TracedNet(Net):
    """A net of traced replicas."""

    def __init__(self, nodes: int, **more: Any) -> None:
        super().__init__(
            nodes, quorums=FastQuorums(range(1, nodes + 1)), make=make_replica, trace=True, **more
        )

    def behaviour(self, origin: str) -> Trace:
        """All that was told."""
        (trace,) = traces_of_events(origin, self.events, self.quorums, SPECIFICATION.traces)
        return trace


def _contended(nodes: int) -> Trace:
    """All ask for slots at once, and collide; then the coordinator dies, and another one takes over."""
    settings = FastLogSettings(reserve_rounds=4, hint_slots=2, page_slots=2, collisions_before_classic=0)
    net = _TracedNet(nodes, settings=settings)
    net.run(0.3)
    for node in net.quorums.members:
        net.submit(node, b"of %d" % node)
    net.run(0.6)
    net.snapshot(2)
    net.crash(1)
    net.submit(2, b"without")
    net.run(2.0)
    net.start(1)
    net.run(0.5)
    assert not net.violations
    return net.behaviour(f"{nodes} nodes")


@pytest.mark.once
def test_schedules_with_collisions_are_behaviours() -> None:
    report = check_traces(require_tlc(), [_contended(4), _contended(5)], "fastpaxos-log", explain=1)
    assert report.rejections == ()
    assert report.actions["Recover"] >= 2
    assert report.actions["Elected"] >= 4
    assert report.actions["Tell"]


#: Mistakes that runs show, and the action that then can not be what it says.
_REJECTED: Final = {
    "fastlog_floor_not_raised": "MorePages",
    "fastlog_second_vote": "Phase2b",
    "fastlog_one_promise_for_all_slots": "Join",
    "fastlog_any_for_reported_slots": "Elected",
    "fastlog_promise_of_one_page": "CountPromise",
    "fastlog_round_coordinated_again": "Elected",
}


@pytest.mark.once
def test_traces_of_mistakes_are_rejected_at_the_first_event_that_does_not_fit() -> None:
    tlc = require_tlc()
    traces: list[Trace] = []
    for mutant in (each for each in FASTPAXOS_LOG if each.name in _REJECTED):
        planted = described(mutant)
        replica = type(mutant.name, (TracedReplica, planted.replica), {})  # type: ignore[arg-type]
        found = simulated_traces(attrs.evolve(planted, replica=replica), nodes=3, count=4, min_events=40)
        traces += [attrs.evolve(trace, origin=mutant.name) for trace in found]
    report = check_traces(tlc, traces, "fastpaxos-log", explain=1)
    first: dict[str, Counter[str]] = {}
    for rejection in report.rejections:
        assert traces[rejection.trace - 1].events[rejection.event - 1] == rejection.what
        first.setdefault(rejection.origin, Counter())[rejection.what["action"]] += 1
    for name, action in _REJECTED.items():
        assert first.get(name, Counter())[action], (name, first)
    assert "mem[" in str(report.rejections[0])


_ALTERED: Final[list[tuple[str, str, Any]]] = [
    ("Phase1a", "first", 9),
    ("Phase1b", "told", 7),
    ("CountPromise", "gathered", {"nodes": [1, 2, 3]}),
    ("CountPromise", "compacted", 9),
    ("Elected", "first", 9),
    ("Elected", "floor", 9),
    ("Propose", "value", "nobody's"),
    ("Repropose", "value", "nobody's"),
    ("Phase2a", "value", "nobody's"),
    ("Phase2b", "value", "nobody's"),
    ("Phase2b", "slot", 9),
    ("RecoverVote", "value", "nobody's"),
    ("RepeatVote", "ballot", [1_000_000, 1, 0]),
    ("CountVote", "voters", {"nodes": [1, 2, 3]}),
    ("Learn", "value", "nobody's"),
    ("Tell", "value", "nobody's"),
    ("ReportSlot", "vote", [1_000_000, 1, 0]),
    ("Refuse", "by", [0, 0, 0]),
    ("Mark", "slot", 9),
    ("Snapshot", "slot", 9),
    ("Restart", "votes", 7),
    ("Phase1a", "action", "Nonsense"),
]


@pytest.mark.once
def test_one_event_changed_is_the_one_that_is_named() -> None:
    tlc = require_tlc()
    traces = simulated_traces("fastpaxos-log", nodes=3, count=20)
    altered = []
    for action, name, value in _ALTERED:
        trace, at = next(
            (trace, at)
            for trace in traces
            for at, event in enumerate(trace.events)
            if event["action"] == action and at > 20 and event.get(name) != value
        )
        # What comes after it need not be walked.
        events = (*trace.events[:at], {**trace.events[at], name: value})
        altered.append((at + 1, Trace(f"{action}.{name}", events, FastQuorums([1, 2, 3]))))
    report = check_traces(tlc, [each for _, each in altered], "fastpaxos-log", explain=0)
    named = {rejection.origin: rejection.event for rejection in report.rejections}
    assert named == {each.origin: at for at, each in altered}


# --- what is traced ------------------------------------------------------------------------------------


def test_nodes_that_recover_differently_can_not_be_walked_together() -> None:
    start = {"promised": [0, 0, 0], "compacted": 0, "committed": 0, "votes": 0, "alone": 0, "page": 1}
    events = tuple({"action": "Restart", "node": node, **start, "fast_steps": node} for node in (1, 2))
    with pytest.raises(ConfigurationError, match=r"differ in fast_steps, \[1, 2\]"):
        check_traces(require_tlc(), [Trace("two", events, FastQuorums([1, 2]))], "fastpaxos-log")


def test_tracing_changes_nothing_but_what_is_told() -> None:
    faults = Faults(loss=0.1, random_crashes=4)
    runs = [
        run("fastpaxos-log", 3, 11, faults=faults, duration_s=3.0, trace=trace) for trace in (False, True)
    ]
    assert runs[0].choices == runs[1].choices
    assert runs[0].messages == runs[1].messages
    assert runs[0].seen == runs[1].seen
    assert not runs[0].events
    assert runs[1].events


def test_a_replica_traces_when_it_is_told_to_and_has_a_vote() -> None:
    def made(node: int, trace: bool) -> type:
        quorums = Majority([1, 2, 3])
        configuration = Configuration(node, quorums, FastLogSettings(), trace=trace, observers=(4,))
        return type(protocol.replica(configuration, {}, lambda name, bound: 0, Instant(0.0)))

    assert made(1, True) is TracedReplica
    assert made(1, False) is FastLogReplica
    assert made(4, True) is FastLogReplica


def test_a_clone_of_a_traced_replica_tells_the_same() -> None:
    net = _TracedNet(3)
    net.submit(1, b"a")
    one = net.nodes[1]
    two = one.clone()
    for each in (one, two):
        each.submit([command(7)], net.now)
    told = [[event.action for event in each.effects().events if event.trace] for each in (one, two)]
    assert told[0] == told[1]
    assert "Submit" in told[0]
