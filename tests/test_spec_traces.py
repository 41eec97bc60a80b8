"""Traces of the real code are behaviours of the specification, and those of planted bugs are not."""

import json
from collections import Counter
from collections.abc import Iterator

import attrs
import pytest

from paxos.ballot import BOTTOM, Ballot
from paxos.basic import Acceptor, Learner, Nack, Promise, Proposer, protocol
from paxos.basic.messages import MESSAGES
from paxos.basic.proposer import ProposerState
from paxos.basic.tracing import SPECIFICATION
from paxos.check.spec_runs import simulated_traces
from paxos.check.spec_traces import Trace, check_traces, traces_of_events
from paxos.cli import main
from paxos.contract import Event
from paxos.contract.traces import by_decree, plain_event
from paxos.errors import ConfigurationError
from paxos.quorum import Majority
from paxos.runtime.trace_file import ClockedTable, TraceFile
from paxos.wire import FrameBuffer
from tests.tlc import require_tlc

THREE = Majority([1, 2, 3])


@pytest.mark.once
def test_traces_of_runs_with_faults_are_behaviours(capsys):
    require_tlc()
    assert main(["spec", "--traces", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["traces"] == 200
    assert told["shortest"] >= 100
    assert told["events"] >= 20_000
    assert told["actions"].keys() == SPECIFICATION.actions.keys() - {"Persist"}
    assert told["actions"]["Restart"] >= 200


# --- planted bugs --------------------------------------------------------------------------------------


class _NotRaised(Acceptor):
    """Promises, and goes on as before."""

    def on_prepare(self, message):
        before = self.promised
        reply = super().on_prepare(message)
        self.promised = max(before, self.accepted_ballot)
        return reply


class _BelowPromise(Acceptor):
    """Votes below its promise."""

    def on_accept(self, message):
        promised, self.promised = self.promised, BOTTOM
        reply = super().on_accept(message)
        self.promised = max(promised, self.promised)
        return reply


class _Forgetful(Acceptor):
    """Reports no vote when it promises."""

    def on_prepare(self, message):
        reply = super().on_prepare(message)
        if isinstance(reply, Promise):
            return reply._replace(accepted_ballot=BOTTOM, accepted_value=None)
        return reply


class _Hasty(Proposer):
    """Proposes without a quorum of promises."""

    def on_promise(self, sender, message):
        question = super().on_promise(sender, message)
        if self.state is ProposerState.PREPARING and self.value is not None:
            self.state = ProposerState.ACCEPTING
            self.proposed = self.proposed or self.value
            return self.question
        return question


class _Encouraged(Proposer):
    """Takes a refusal for a promise."""

    def on_nack(self, message: Nack) -> None:
        if message.ballot == self.ballot and self.state is ProposerState.PREPARING:
            self._promises.add(next(n for n in self.quorums.members if n not in self._promises))


class _TwiceCounted(Learner):
    """Counts the first vote at a ballot for two."""

    def receive(self, sender, message):
        decision = super().receive(sender, message)
        voters = self._tallies[message.ballot][1]
        if len(voters) == 1:
            voters.add(next(node for node in self.quorums.members if node not in voters))
        return decision


PLANTED = [
    ("Acceptor", _NotRaised, {"Phase1b", "RepeatPromise"}),
    ("Acceptor", _BelowPromise, {"Phase2b"}),
    ("Acceptor", _Forgetful, {"Phase1b"}),
    ("Proposer", _Hasty, {"CountPromise", "Phase2a"}),
    ("Proposer", _Encouraged, {"CountPromise"}),
    ("Learner", _TwiceCounted, {"CountVote"}),
]


def _planted(monkeypatch, role: str, bug: type) -> list[Trace]:
    with monkeypatch.context() as patched:
        patched.setattr(f"paxos.basic.replica.{role}", bug)
        return [
            attrs.evolve(trace, origin=f"{bug.__name__}, {trace.origin}")
            for trace in simulated_traces(nodes=5, count=10, min_events=40)
        ]


@pytest.mark.once
def test_traces_of_planted_bugs_are_rejected_at_the_first_event_that_does_not_fit(monkeypatch):
    tlc = require_tlc()
    traces = [trace for role, bug, _ in PLANTED for trace in _planted(monkeypatch, role, bug)]
    report = check_traces(tlc, traces, explain=1)
    first: dict[str, Counter[str]] = {}
    for rejection in report.rejections:
        assert traces[rejection.trace - 1].events[rejection.event - 1] == rejection.what
        first.setdefault(rejection.origin.split(",")[0], Counter())[rejection.what["action"]] += 1
    for _, bug, actions in PLANTED:
        assert first[bug.__name__].keys() & actions, (bug.__name__, first)
    told = str(report.rejections[0])
    assert f"event {report.rejections[0].event} does not fit" in told
    node = report.rejections[0].what["node"]
    assert f"mem[{node}] = [bal " in told
    assert f"disk[{node}] = [bal " in told


@pytest.mark.once
def test_a_promise_that_leaves_before_it_is_durable_is_rejected():
    tlc = require_tlc()
    early = "tests.planted:early"
    report = check_traces(tlc, simulated_traces(early, nodes=5, count=25, min_events=40), early, explain=0)
    assert report.rejections
    # The disk that it restarts from lacks what was counted.
    assert "Restart" in {rejection.what["action"] for rejection in report.rejections}


# --- altered traces --------------------------------------------------------------------------------------


def _altered(trace: Trace) -> Iterator[tuple[int, Trace]]:
    """Traces with one event changed, and the place of the event that can not fit then."""
    events = list(trace.events)
    for action, name, value in (
        ("Phase1b", "promised", [1_000_000, 1, 0]),
        ("Phase1b", "reported", [0, 1, 0]),
        ("Phase2b", "voted", "nobody's"),
        ("RepeatPromise", "vote", [0, 1, 0]),
        ("Refuse", "by", [0, 1, 0]),
        ("CountPromise", "gathered", {"nodes": [1, 2, 3]}),
        ("CountPromise", "ballot", [1_000_000, 1, 0]),
        ("CountVote", "value", "nobody's"),
        ("Phase2a", "value", "nobody's"),
        ("Phase1a", "node", 9),
        ("Phase1a", "ballot", [5, 9, 0]),
        ("LearnNews", "value", "nobody's"),
        ("Learn", "value", "nobody's"),
        ("Tell", "value", "nobody's"),
        ("Phase1a", "action", "Nonsense"),
        ("Phase1a", "action", 'No" sense'),
    ):
        at = next(i for i, event in enumerate(events) if event["action"] == action)
        changed = {**events[at], name: value}
        origin = f"{action}.{name}"
        yield at + 1, Trace(origin, (*events[:at], changed, *events[at + 1 :]), trace.quorums)
    at = next(i for i, event in enumerate(events) if event["action"] == "Phase2a")
    yield at + 1, Trace("twice", (*events[: at + 1], *events[at:]), trace.quorums)


@pytest.mark.once
def test_one_event_changed_is_the_one_that_is_named():
    tlc = require_tlc()
    traces = simulated_traces(count=40, min_events=100)
    wanted = {"Phase1b", "Phase2b", "RepeatPromise", "LearnNews", "Learn", "Tell", "Refuse", "CountVote"}
    trace = next(each for each in traces if wanted <= {event["action"] for event in each.events})
    altered = list(_altered(trace))
    report = check_traces(tlc, [trace, *(each for _, each in altered)], explain=0)
    assert report.rejections[0].trace > 1  # the one that was not changed is a behaviour
    named = {rejection.origin: rejection.event for rejection in report.rejections}
    # An event twice is wrong the second time.
    assert named == {each.origin: at + (each.origin == "twice") for at, each in altered}


def test_what_can_not_be_checked_says_why():
    tlc = require_tlc()
    event = {"action": "Submit", "node": 1, "decree": "d", "value": "v"}
    with pytest.raises(ConfigurationError, match="no traces"):
        check_traces(tlc, [])
    with pytest.raises(ConfigurationError, match="more than 9 nodes"):
        check_traces(tlc, [Trace("wide", (event,), Majority(range(1, 12)))])


# --- cutting and merging -----------------------------------------------------------------------------------


def test_a_run_is_cut_by_decree_and_a_restart_belongs_to_all_that_the_node_knew():
    def of(action, node, decree=None):
        return {"action": action, "node": node} | ({} if decree is None else {"decree": decree})

    events = [
        of("Restart", 1),
        of("Phase1a", 1, "x"),
        of("Phase1b", 2, "x"),
        of("Phase1a", 1, "y"),
        of("Restart", 1, "y"),
        of("Restart", 1),
        of("Restart", 2, {"base64": "/w=="}),
        of("Restart", 2),
    ]
    traces = by_decree(events)
    assert [event["action"] for event in traces["x"]] == ["Phase1a", "Phase1b", "Restart", "Restart"]
    assert [event["node"] for event in traces["x"]] == [1, 2, 1, 2]
    assert [event["action"] for event in traces["y"]] == ["Phase1a", "Restart"]
    assert [len(each) for each in traces.values()] == [4, 2, 1]


def test_only_traced_events_count():
    events = [
        Event("chosen", 1, {"decree": b"x"}, "Accepted"),
        Event("Submit", 1, {"decree": b"x", "value": b"\xff"}, "submit", True),
    ]
    (trace,) = traces_of_events("a run", events, THREE)
    assert trace.origin == "a run, decree x"
    assert trace.events == ({"action": "Submit", "node": 1, "decree": "x", "value": {"base64": "/w=="}},)
    with pytest.raises(TypeError, match="a trace event has no float"):
        plain_event(Event("Submit", 1, {"at": 1.0}, "submit", True))


# --- the file of a real node -------------------------------------------------------------------------


def _event(value: bytes) -> Event:
    return Event("Phase1a", 1, {"decree": b"x", "ballot": Ballot(1, 1), "value": value}, "propose", True)


def test_a_trace_file_goes_on_where_it_was_cut_off(tmp_path):
    path = tmp_path / "1.jsonl"
    with TraceFile(path, 1) as trace:
        assert trace.write([_event(b"a"), Event("chosen", 1, {}, "Accepted"), _event(b"b")])
        trace.heard(10)
        trace.heard(7)
        trace.write([_event(b"c")])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"clock": 12, "acti')
    with TraceFile(path, 1) as trace:
        assert trace.clock == 11
        trace.write([_event(b"d")])
    assert path.read_bytes().startswith(whole)
    first, *told = [json.loads(line) for line in path.read_text().splitlines()]
    assert first == {"trace": {"node": 1, "protocol": "paxos", "cluster": ""}}
    assert [(each["clock"], each["number"]) for each in told] == [
        (1, 1), (2, 2), (11, 3), (11, 3), (12, 4), (12, 4)
    ]  # fmt: skip
    assert [line for line in told if "end" in line] == [told[3], told[5]]
    assert told[0]["ballot"] == [1, 1, 0]
    with pytest.raises(ConfigurationError, match=r"it is of .*'node': 1.* this is .*'node': 2.*name another"):
        TraceFile(path, 2)
    with pytest.raises(ConfigurationError, match="'protocol': 'multipaxos'"):
        TraceFile(path, 1, protocol="multipaxos")
    with path.open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(ConfigurationError, match="its last line is no event"):
        TraceFile(path, 1)
    path.write_text("nonsense\n")
    with pytest.raises(ConfigurationError, match="its first line is not that of a trace"):
        TraceFile(path, 1)
    with pytest.raises(ConfigurationError, match="trace file"):
        TraceFile(tmp_path, 1)


def test_a_node_that_told_nothing_leaves_an_empty_file(tmp_path):
    path = tmp_path / "1.jsonl"
    for _ in range(2):
        with TraceFile(path, 1) as trace:
            trace.heard(7)
        assert path.read_bytes() == b""
    # A node that was killed before its first event was whole begins again.
    path.write_text('{"trace": {"node": 1, "protocol": "paxos", "cluster": ""}}\n{"cloc')
    with TraceFile(path, 1) as trace:
        trace.write([_event(b"a")])
    assert [list(json.loads(line))[:2] for line in path.read_text().splitlines()] == [
        ["trace"],
        ["clock", "number"],
        ["clock", "number"],
    ]


def test_a_trace_file_that_can_not_be_written_ends_the_trace_and_says_so_once(tmp_path):
    trace = TraceFile(tmp_path / "1.jsonl", 1)
    trace.close()
    assert not trace.write([_event(b"a")])
    assert trace.failure
    assert trace.write([_event(b"b")])


def test_frames_carry_the_clock_and_move_it(tmp_path):
    with TraceFile(tmp_path / "1.jsonl", 1) as one, TraceFile(tmp_path / "2.jsonl", 2) as two:
        sender, receiver = ClockedTable(MESSAGES, one), ClockedTable(MESSAGES, two)
        one.heard(41)
        one.write([_event(b"a")])
        bodies = FrameBuffer().feed(sender.encode([Nack(b"x", Ballot(1, 1), Ballot(2, 2))]))
        assert [envelope.clock for envelope in receiver.decode(bodies[0])] == [42]
        assert two.clock == 42
        assert receiver.digest() == MESSAGES.digest()
        one.heard((1 << 63) - 1)
        one.write([_event(b"b")])
        bodies = FrameBuffer().feed(sender.encode([Nack(b"x", Ballot(1, 1), Ballot(2, 2))]))
        assert receiver.decode(bodies[0])[0].clock == (1 << 63) - 1


def test_traces_that_are_not_to_be_had_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxos.check.spec_runs._FRUITLESS_MAX", 3)
    bare = attrs.evolve(protocol, name="bare", specification=None)
    with pytest.raises(ConfigurationError, match="protocol 'bare' has no specification"):
        simulated_traces(bare)
    with pytest.raises(ConfigurationError, match="runs in a row gave no trace of 1000 events"):
        simulated_traces(count=1, min_events=1000)
