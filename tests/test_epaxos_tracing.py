"""Traces of EPaxos: what its handlers do is a behaviour of its specification, and what mistakes do is not."""

import json
from typing import Any, Final

import attrs
import pytest

import epaxos
from epaxos import EPaxosQuorums, EPaxosReplica, EPaxosSettings, protocol
from epaxos.messages import PreAccept, Recover, RecoverOK
from epaxos.tracing import SPECIFICATION, TracedReplica
from paxos.check.spec_runs import simulated_traces
from paxos.check.spec_traces import Trace, check_traces, traces_of_events
from paxos.cli import main
from paxos.contract import Configuration, Instant, ProtocolDescription
from paxos.errors import ConfigurationError
from paxos.quorum import Majority
from paxos.sim import Faults, run
from tests.epaxos_script import Played, Script
from tests.mutants import build
from tests.mutants.epaxos_patches import EPAXOS
from tests.mutants.epaxos_scripts import SCRIPTS
from tests.mutants.patches import Mutant
from tests.tlc import require_tlc

THREE: Final = EPaxosQuorums((1, 2, 3))
#: What so few runs need not come to.
_SELDOM: Final = {"Invalidated", "WaitAccepted", "WaitRefuted", "WaitResolved", "WaitYields", "Persist"}


@pytest.mark.once
def test_traces_of_runs_with_recoveries_are_behaviours(capsys: pytest.CaptureFixture[str]) -> None:
    require_tlc()
    assert main(["spec", "--traces", "--protocol", "epaxos", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["traces"] == 200
    assert told["shortest"] >= 100
    actions = told["actions"]
    assert SPECIFICATION.actions.keys() - _SELDOM <= actions.keys() <= SPECIFICATION.actions.keys()
    assert actions["Recover"] >= 300
    assert actions["AskValidate"] >= 30
    assert actions["Wait"] >= 1
    assert actions["Restart"] >= 100


# --- schedules, and mistakes in them -------------------------------------------------------------------


def _traced(mutant: Mutant) -> ProtocolDescription:
    """The protocol with the mistake in it, traced as the sound one is."""
    base = build._BASES["epaxos"]
    made = build._patched("epaxos", (*base.modules, "tracing"), mutant.patches)
    traced = type(mutant.name, (made["tracing"].TracedReplica, EPaxosReplica), {})
    silent = type(mutant.name, (made["replica"].EPaxosReplica, EPaxosReplica), {})

    def make(configuration: Configuration, *more: Any) -> EPaxosReplica:
        is_member = configuration.node in configuration.members
        replica: EPaxosReplica = (traced if is_member else silent)(configuration, *more)
        return replica

    return attrs.evolve(epaxos.protocol, name=mutant.name, replica=make)


def _two_wait_and_one_yields(s: Script) -> None:
    """n = 5: 3 recovers x and 5 recovers y, and each waits for the other; two agree about x, one about y."""
    x, y = s.ask(1), s.ask(2)
    s.carry(PreAccept, y, 2, 5)
    for other in (3, 4, 5):
        s.carry(PreAccept, x, 1, other)
    for other in (3, 4):
        s.carry(PreAccept, y, 2, other)
    s.recover(x, 3, 4, 5)
    s.validate(x, 3, 4, 5)
    s.recover(y, 5, 1, 4)
    s.validate(y, 5, 1, 4)
    s.waiting(x, 3, 5)
    s.settle(1, 2, 3, 4, 5)


def _accepted_meanwhile(s: Script) -> None:
    """n = 5: 3 recovers x and waits for y; then the owner of x tells that it accepted the union."""
    y = s.ask(2)
    for other in (4, 5):
        s.carry(PreAccept, y, 2, other)
    x = s.ask(1)
    s.preaccept(x, 3, 5, 4, 2)
    s.recover(x, 3, 2, 4)
    s.validate(x, 3, 2, 4)
    s.carry(Recover, x, 3, 1)
    s.carry(RecoverOK, x, 1, 3)
    s.settle(1, 2, 3, 4, 5)


_OWN: Final = {
    "yields": Played(_two_wait_and_one_yields, 5),
    "accepted": Played(_accepted_meanwhile, 5),
}


def _played(name: str, description: ProtocolDescription = protocol) -> Trace:
    """The trace of a schedule, to its end or to where a replica finds that something broke."""
    played = {**SCRIPTS, **_OWN}[name]
    quorums = EPaxosQuorums(range(1, played.nodes + 1), *(played.quorums or ()))
    script = Script(played.nodes, description, observers=played.observers, quorums=quorums, trace=True)
    played.play(script)
    (trace,) = traces_of_events(f"{description.name}: {name}", script.events, quorums, SPECIFICATION.traces)
    return trace


@pytest.mark.once
def test_the_schedules_that_break_what_forgets_a_rule_are_behaviours() -> None:
    tlc = require_tlc()
    traces = [_played(name) for name in (*SCRIPTS, *_OWN)]
    report = check_traces(tlc, traces, "epaxos", explain=1)
    assert report.rejections == ()
    seen = {event["action"] for trace in traces for event in trace.events}
    assert seen == SPECIFICATION.actions.keys() - {"Persist"}


#: Mistakes, and the action that can not be what it says. Left out are those that are in no trace: of what is
#: executed and truncated, and of what leaves before it is durable, where no crash shows that it was not.
_REJECTED: Final = {
    "fast_commit_before_durable": "Restart",
    "numbers_not_reserved": "Restart",
    "number_reused": "Restart",
    "lost_number_conflicts_with_nothing": "PreAccept",
    "owner_resumes": "CountPreAccept",
    "answer_recomputed": "Join",
    "pre_acceptance_counted_twice": "FastCommit",
    "observer_pre_accepts": "CountPreAccept",
    "majority_is_fast": "FastCommit",
    "union_committed_fast": "FastCommit",
    "union_of_too_few": "SlowPath",
    "own_union_only": "Accept",
    "epaxos_vote_counted_twice": "Commit",
    "recovery_vote_counted_twice": "Commit",
    "epaxos_nack_counts": "CountAccept",
    "one_ballot_variable": "Join",
    "epaxos_lowest_vote_binds": "RecoverAccepted",
    "epaxos_vote_below_ballot": "Accept",
    "observer_reports": "CountRecover",
    "threshold_one_more": "RecoverNop",
    "recovery_takes_any_answer": "AskValidate",
    "owner_ignored": "AskValidate",
    "validation_skipped": "Validated",
    "validation_by_one": "Validated",
    "validation_of_the_committed_only": "Validate",
    "waited_and_not_looked": "WaitResolved",
    "waiting_off_by_one": "WaitYields",
    "validate_after_accept": "Validate",
    "last_writer_only": "PreAccept",
    "hearsay_does_not_conflict": "PreAccept",
    "accepted_no_op_forgotten": "Restart",
    "barrier_passes_reads": "PreAccept",
}


@pytest.mark.once
def test_traces_of_mistakes_are_rejected_at_the_first_event_that_does_not_fit() -> None:
    tlc = require_tlc()
    planted = [mutant for mutant in EPAXOS if mutant.name in _REJECTED]
    traces = [_played(str(mutant.directed).partition(".")[2], _traced(mutant)) for mutant in planted]
    report = check_traces(tlc, traces, "epaxos", explain=1)
    named = {rejection.origin.partition(":")[0]: rejection.what["action"] for rejection in report.rejections}
    assert named == _REJECTED
    one = report.rejections[0]
    assert traces[one.trace - 1].events[one.event - 1] == one.what
    assert f"event {one.event} does not fit" in str(one)


# --- altered traces --------------------------------------------------------------------------------------

#: Of an event of this action this argument becomes that.
_ALTERED: Final[list[tuple[str, str, Any]]] = [
    ("Submit", "deps", {"function": [[1, 9], [2, 9], [3, 9]]}),
    ("Submit", "instance", {"sequence": [1, 9]}),
    ("PreAccept", "deps", {"function": [[1, 9], [2, 9], [3, 9]]}),
    ("PreAccept", "node", 9),
    ("CountPreAccept", "counted", {"nodes": [1, 2, 3]}),
    ("CountPreAccept", "deps", {"function": [[1, 9], [2, 9], [3, 9]]}),
    ("FastCommit", "cmd", "nobody's"),
    ("SlowPath", "deps", {"function": [[1, 9], [2, 9], [3, 9]]}),
    ("Accept", "cmd", "nobody's"),
    ("RepeatAccept", "cmd", "nobody's"),
    ("CountAccept", "counted", {"nodes": [1, 2, 3]}),
    ("Commit", "deps", {"function": [[1, 9], [2, 9], [3, 9]]}),
    ("LearnCommit", "cmd", "nobody's"),
    ("Recover", "ballot", [1_000_000, 1, 0]),
    ("Join", "instance", {"sequence": [1, 9]}),
    ("CountRecover", "counted", {"nodes": [1, 2, 3]}),
    ("RecoverAccepted", "cmd", "nobody's"),
    ("RecoverNop", "deps", {"function": [[1, 9], [2, 9], [3, 9]]}),
    ("AskValidate", "strong", 9),
    ("Validate", "conflicts", {"set": [{"sequence": [1, 9]}]}),
    ("CountValidate", "invalid", True),
    ("Validated", "cmd", "nobody's"),
    ("Wait", "strong", 9),
    ("Restart", "reserved", 0),
    ("Recover", "action", "Nonsense"),
]


@pytest.mark.once
def test_one_event_changed_is_the_one_that_is_named() -> None:
    tlc = require_tlc()
    traces = [*simulated_traces("epaxos", nodes=3, count=12), _played("late_validate")]
    altered = []
    for action, name, value in _ALTERED:
        trace, at = next(
            (trace, at)
            for trace in traces
            for at, event in enumerate(trace.events)
            if event["action"] == action and event[name] != value
        )
        changed = {**trace.events[at], name: value}
        events = (*trace.events[:at], changed, *trace.events[at + 1 : at + 10])
        altered.append((at + 1, Trace(f"{action}.{name}", events, THREE)))
    report = check_traces(tlc, [each for _, each in altered], "epaxos", explain=0)
    named = {rejection.origin: rejection.event for rejection in report.rejections}
    assert named == {each.origin: at for at, each in altered}


# --- what is traced ------------------------------------------------------------------------------------


def test_tracing_changes_nothing_but_what_is_told() -> None:
    runs = [
        run("epaxos", 3, 11, faults=Faults(loss=0.1, random_crashes=4), duration_s=2.0, trace=trace)
        for trace in (False, True)
    ]
    assert runs[0].choices == runs[1].choices
    assert runs[0].messages == runs[1].messages
    assert runs[0].seen == runs[1].seen
    assert not any(event.trace for event in runs[0].events)
    assert any(event.trace for event in runs[1].events)


def test_a_replica_traces_when_it_is_told_to_and_has_a_vote() -> None:
    def made(node: int, trace: bool) -> type:
        configuration = Configuration(node, THREE, EPaxosSettings(), trace=trace, observers=(4,))
        return type(protocol.replica(configuration, {}, lambda name, bound: 0, Instant(0.0)))

    assert made(1, True) is TracedReplica
    assert made(1, False) is EPaxosReplica
    assert made(4, True) is EPaxosReplica


def test_other_quorums_are_refused() -> None:
    events = ({"action": "Restart", "node": 1, "reserved": 0, "records": {"function": []}},)
    with pytest.raises(ConfigurationError, match="of its own quorums"):
        check_traces(require_tlc(), [Trace("one", events, Majority([1, 2, 3]))], "epaxos")
