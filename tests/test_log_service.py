"""The service of a log, above the smallest log there is: exactly once, queries, bounds, what raises."""

from typing import Any

import pytest

from paxos.command import MAX_COMMAND_BYTES, NOP, RequestId
from paxos.contract import Configuration, Instant
from paxos.errors import ConfigurationError
from paxos.quorum import Majority
from paxos.service import (
    AskStatus,
    Cancel,
    Introduced,
    LogSettings,
    Node,
    Reply,
    ReplyKind,
    StatusReply,
    Submit,
    admission,
)
from paxos.service.batches import (
    FILL_BYTES,
    MAX_REQUEST_BYTES,
    batch_command,
    marker_command,
    read_batch,
)
from paxos.service.log_messages import (
    LOG_MESSAGES,
    AskBirth,
    Birth,
    CancelQuery,
    Instruct,
    Level,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
    Results,
    SubmitMany,
)
from paxos.service.sessions import MAX_RESULT_BYTES
from tests.instant_log import PROTOCOL, Host, Mode, make_run

C16 = b"c" * 16
ELSEWHERE = b"e" * 16


def done(sequence: int, *results: bytes, name: bytes = C16) -> Results:
    return Results(name, sequence, list(results))


def refused(told: list[Any]) -> Refused:
    (one,) = told
    assert isinstance(one, Refused)
    return one


# --- requests -------------------------------------------------------------------------------------


def test_requests_are_carried_out_in_order_and_answered_together() -> None:
    host = Host()
    assert host.submit(1, b"a", b"b") == [done(1, b"1 a", b"2 b")]
    assert host.submit(3, b"c") == [done(3, b"3 c")]
    assert host.lines == [b"a", b"b", b"c"]
    assert host.node.status()["applied"] == 2


def test_what_gathers_in_a_turn_is_one_command() -> None:
    host = Host()
    for index in range(20):
        host.node.request(index, SubmitMany(make_run(1, b"x", name=bytes([index]) * 16)), host.now)
    told = host.run()
    assert len(told) == 20
    assert host.replica.slots == [1]
    assert host.lines == [b"x"] * 20


def test_nobody_is_told_before_it_is_on_disk() -> None:
    host = Host()
    host.slow = True
    assert host.submit(1, b"a") == []
    assert host.lines == []
    host.slow = False
    assert host.run() == [done(1, b"1 a")]


def test_an_answer_reaches_the_client_that_asked() -> None:
    host = Host()
    host.node.request("one", SubmitMany(make_run(1, b"a", name=b"1" * 16)), host.now)
    host.node.request("two", SubmitMany(make_run(1, b"b", name=b"2" * 16)), host.now)
    while not host.answers:
        turn = host.turn()
        for _, message in turn.held:
            host.node.receive(1, message, host.now)
    assert dict(host.answers) == {
        "one": done(1, b"1 a", name=b"1" * 16),
        "two": done(1, b"2 b", name=b"2" * 16),
    }


def test_a_retry_is_answered_and_not_carried_out_again() -> None:
    host = Host()
    for _ in range(3):
        assert host.submit(1, b"a", b"b") == [done(1, b"1 a", b"2 b")]
        # Cut in another way it is the same.
        assert host.submit(2, b"b", b"c") == [done(2, b"2 b", b"3 c")]
    # Both in one turn.
    for _ in range(2):
        host.node.request("client", SubmitMany(make_run(4, b"d")), host.now)
    assert host.run() == [done(4, b"4 d"), done(4, b"4 d")]
    assert host.lines == [b"a", b"b", b"c", b"d"]


def test_a_retry_of_what_another_node_ordered_is_not_carried_out_again() -> None:
    host = Host()
    host.replica.learn(batch_command(ELSEWHERE, 1, [make_run(1, b"a")]))
    assert host.run() == []
    assert host.submit(1, b"a") == [done(1, b"1 a")]
    # And the other way round.
    host.submit(2, b"b")
    host.replica.learn(batch_command(ELSEWHERE, 2, [make_run(2, b"b")]))
    assert host.run() == []
    assert host.lines == [b"a", b"b"]


def test_what_was_acknowledged_is_told_so() -> None:
    host = Host()
    host.submit(1, b"a")
    host.submit(2, b"b", acknowledged=1)
    told = refused(host.submit(1, b"a"))
    assert (told.kind, told.sequence, told.requests) == (RefusedKind.APPLIED, 1, 1)
    # Of a run each request is told its own fate.
    assert [type(each) for each in host.submit(1, b"a", b"b", b"c")] == [Refused, Results, Results]
    assert host.lines == [b"a", b"b", b"c"]


def test_a_number_used_for_another_command_is_refused() -> None:
    host = Host()
    host.submit(1, b"a", b"b")
    for run in ([1, b"other"], [2, b"other"], [1, b"a", b"other"]):
        told = refused(host.submit(*run))  # type: ignore[arg-type]
        assert told.kind == RefusedKind.NEVER
        assert "was another command; a number is used once" in told.detail
    assert host.lines == [b"a", b"b"]
    # When the log has it all the same, since another node knew no better, all nodes do the same with it.
    host.replica.learn(batch_command(ELSEWHERE, 1, [make_run(2, b"other")]))
    host.run()
    host.replica.learn(batch_command(ELSEWHERE, 2, [make_run(2, b"other")]))
    host.run()
    assert host.lines == [b"a", b"b", b"other"]


def test_a_no_op_moves_the_mark_and_nothing_else() -> None:
    host = Host()
    host.replica.learn(NOP, NOP)
    assert host.run() == []
    assert host.service.applied == 2
    assert host.lines == []


def test_a_client_that_nobody_knows_any_more_is_told_so() -> None:
    host = Host()
    host.service.sessions.horizon = host.service.sessions.markers = 7
    told = refused(host.submit(1, b"a"))
    assert told.kind == RefusedKind.EXPIRED
    told = refused(host.submit(1, b"a", birth=8))
    assert told.kind == RefusedKind.NEVER
    assert host.ask(AskBirth(3)) == [Birth(3, 7)]
    assert host.submit(1, b"a", birth=7) == [done(1, b"1 a")]


@pytest.mark.parametrize(
    ("mode", "kind", "detail"),
    [
        (Mode.FOLLOW, RefusedKind.REDIRECT, "9"),
        (Mode.DOUBT, RefusedKind.UNKNOWN, "deposed"),
    ],
)
def test_what_the_replica_says_is_told(mode: Mode, kind: RefusedKind, detail: str) -> None:
    host = Host()
    host.replica.mode = mode
    assert host.submit(5, b"a", b"b") == [Refused(C16, 5, 2, kind, detail)]
    assert host.query() == [QueryReply(7, kind, None, detail)]
    assert host.lines == []
    # Whoever asked before and after hears of its own.
    host.replica.mode = Mode.LEAD
    assert host.submit(5, b"a", b"b") == [done(5, b"1 a", b"2 b")]


def test_a_request_waits_while_the_replica_has_no_room() -> None:
    host = Host()
    host.replica.mode = Mode.REFUSE
    host.turn()
    assert host.submit(1, b"a") == []
    assert host.node.status()["waiting_requests"] == 1
    host.replica.mode = Mode.LEAD
    assert host.run() == [done(1, b"1 a")]


def test_a_replica_with_little_room_is_given_no_more_than_that() -> None:
    host = Host()
    host.replica.mode = Mode.HOLD
    host.replica.room = 2
    host.turn()
    for index in range(5):
        host.node.request(
            0, SubmitMany(make_run(1, bytes(FILL_BYTES - 100), name=bytes([index]) * 16)), host.now
        )
    host.turn()
    assert len(host.replica._waiting) == 2
    host.run()
    assert len(host.replica._waiting) == 2
    host.replica.release()
    assert len(host.run()) == 5
    assert len(host.lines) == 5


def test_a_command_of_the_last_life_is_not_taken_for_one_of_this() -> None:
    # A node counts from 1 in each life. What it asked for in the last one comes out of the log in this one.
    host = Host()
    host.replica.mode = Mode.HOLD
    host.submit(1, b"old")
    (old,) = host.replica._waiting
    host.start()
    host.replica.mode = Mode.HOLD
    host.submit(1, b"new", name=b"n" * 16)
    (new,) = host.replica._waiting
    host.replica.learn(old)
    assert host.run() == []
    assert host.lines == [b"old"]
    host.replica.release()
    assert host.run() == [done(1, b"2 new", name=b"n" * 16)]
    assert host.lines == [b"old", b"new"]
    # The log says the same to who reads it later.
    host.start()
    host.run()
    assert host.lines == [b"old", b"new"]
    assert old.request != new.request


def test_a_restart_comes_to_the_same_state() -> None:
    host = Host(marker_requests=4)
    for sequence in range(1, 30):
        host.submit(sequence, b"%d" % sequence)
        if sequence % 7 == 0:
            host.wait(ticks=10)
        if sequence % 5 == 0:
            host.start()
            host.run()
    assert host.lines == [b"%d" % sequence for sequence in range(1, 30)]
    assert host.replica.compacted > 10
    assert host.replica.slots[0] == host.replica.compacted + 1
    # Exactly once, over snapshots and restarts: all of them again.
    for sequence in range(1, 30):
        (told,) = host.submit(sequence, b"%d" % sequence)
        assert told == done(sequence, b"%d %d" % (sequence, sequence))
    assert len(host.lines) == 29


# --- limits ----------------------------------------------------------------------------------------


def test_a_request_that_is_too_long_is_refused_with_the_limit() -> None:
    host = Host()
    told = refused(host.submit(4, b"a", bytes(MAX_REQUEST_BYTES + 1)))
    assert told.kind == RefusedKind.NEVER
    assert told.detail == f"request 5 has {MAX_REQUEST_BYTES + 1} bytes; the limit is {MAX_REQUEST_BYTES}"
    assert host.lines == []
    (told,) = host.submit(1, bytes(MAX_REQUEST_BYTES))
    assert isinstance(told, Results)


def test_no_command_is_longer_than_protocols_take() -> None:
    host = Host()
    host.replica.mode = Mode.HOLD
    for index in range(40):
        run = make_run(1, *([b"x" * 30_000] * 40), name=bytes([index]) * 16)
        host.node.request(0, SubmitMany(run), host.now)
    for index in range(40, 60):
        host.node.request(0, SubmitMany(make_run(1, *([b""] * 4096), name=bytes([index]) * 16)), host.now)
    while len(host.replica._waiting) < 300:
        before = len(host.replica._waiting)
        host.turn()
        if len(host.replica._waiting) == before:
            break
    commands = host.replica._waiting
    assert len(commands) > 100
    assert max(len(command.payload) for command in commands) <= MAX_COMMAND_BYTES
    for command in commands:
        assert read_batch(command) is not None


def test_long_results_travel_in_several_messages() -> None:
    host = Host()
    told = host.submit(1, *[b"long 200000"] * 5, b"x")
    assert [(each.sequence, len(each.results)) for each in told] == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)]
    assert max(len(LOG_MESSAGES.encode([each])) for each in told) < 300_000
    (told,) = host.submit(7, b"long %d" % MAX_RESULT_BYTES)
    assert len(LOG_MESSAGES.encode([told])) < MAX_RESULT_BYTES + 100


def test_an_answer_that_is_too_long_is_not_sent_and_the_node_goes_on() -> None:
    host = Host(marker_requests=1)
    told = refused(host.submit(1, b"long %d" % (MAX_RESULT_BYTES + 1)))
    assert told.kind == RefusedKind.APPLIED
    assert f"its result of {MAX_RESULT_BYTES + 1} bytes is not kept" in told.detail
    assert refused(host.submit(1, b"long %d" % (MAX_RESULT_BYTES + 1))).kind == RefusedKind.APPLIED
    host.wait(ticks=10)
    host.start()
    assert len(host.lines) == 1
    assert refused(host.submit(1, b"long %d" % (MAX_RESULT_BYTES + 1))).kind == RefusedKind.APPLIED


def test_a_client_that_acknowledges_nothing_is_refused_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_KEPT_BYTES", 1000)
    host = Host()
    for number in range(1, 5):
        assert isinstance(host.submit(number, b"long 300")[0], Results)
    told = refused(host.submit(5, b"x", b"y"))
    assert (told.sequence, told.requests, told.kind) == (5, 2, RefusedKind.REJECTED)
    assert "has not acknowledged results of 1200 bytes; the limit is 1000" in told.detail
    # Whatever it asks for again is answered; only what is new is refused.
    new, kept = host.submit(4, b"long 300", b"x")
    assert (kept.sequence, len(kept.results)) == (4, 1)
    assert (new.sequence, new.requests, new.kind) == (5, 1, RefusedKind.REJECTED)
    # Nor does another client suffer.
    host.node.request("other", SubmitMany(make_run(1, b"z", name=b"o" * 16)), host.now)
    assert isinstance(host.run()[0], Results)
    # To say what it has is enough.
    host.node.request("client", SubmitMany(make_run(5, b"x", b"y", acknowledged=1)), host.now)
    assert [type(each) for each in host.run()] == [Results]
    assert len(host.lines) == 7


def test_results_make_markers_as_requests_do() -> None:
    """They are kept for retries until they are acknowledged, and at a marker there is a bound to that."""
    host = Host(marker_bytes=10_000)
    for number in range(1, 4):
        host.submit(number, b"long 3000")
    assert markers(host) == 0
    host.submit(4, b"long 3000")
    assert markers(host) == 1


def test_large_requests_make_markers_though_they_are_few() -> None:
    """Else a log of large commands is as long as one of small ones, times their size."""
    host = Host(marker_bytes=10_000)
    for number in range(1, 4):
        host.submit(number, b"long 1".ljust(3000))
    assert markers(host) == 0
    host.submit(4, b"long 1".ljust(3000))
    assert markers(host) == 1


def test_a_flood_is_refused_beyond_the_bound_of_requests() -> None:
    host = Host(waiting_requests=10)
    host.replica.mode = Mode.REFUSE
    assert host.turn().room == 10
    told = [host.submit(3 * index + 1, b"a", b"b", b"c") for index in range(10)]
    assert [len(each) for each in told] == [0] * 6 + [1] * 4
    assert host.turn().room == 0
    for each in told[6:]:
        assert refused(each).kind == RefusedKind.REJECTED
        assert "18 requests waiting to be ordered; try again later" in each[0].detail
    host.replica.mode = Mode.LEAD
    assert sum(len(each.results) for each in host.run()) == 18
    assert host.turn().room == 10


def test_a_flood_is_refused_beyond_the_bound_of_bytes() -> None:
    host = Host(waiting_bytes=10_000)
    host.replica.mode = Mode.REFUSE
    host.turn()
    told = [host.submit(index + 1, bytes(5000)) for index in range(10)]
    assert [len(each) for each in told] == [0] * 3 + [1] * 7
    assert host.turn().room == 0
    host.replica.mode = Mode.LEAD
    assert len(host.run()) == 3
    assert host.turn().room > 0
    # Nothing is refused for ever: alone it is taken however long it is.
    assert isinstance(host.submit(50, bytes(100_000))[0], Results)


def test_empty_requests_count_too() -> None:
    host = Host(waiting_bytes=10_000)
    host.replica.mode = Mode.REFUSE
    host.turn()
    told = [host.submit(index + 1, b"", name=index.to_bytes(16, "big")) for index in range(1000)]
    assert sum(not each for each in told) < 300
    assert told[-1]


def test_a_client_that_never_acknowledges_is_refused_in_the_end() -> None:
    host = Host()
    host.submit(1, b"a")
    assert refused(host.submit(1 + 65_536, b"b")).detail == (
        "the client has 65536 requests whose results it has not acknowledged"
    )
    assert isinstance(host.submit(1 + 65_536, b"b", acknowledged=1)[0], Results)


# --- queries ---------------------------------------------------------------------------------------


def test_a_linearizable_query_waits_for_the_replica_and_reflects_what_was_answered() -> None:
    host = Host()
    host.submit(1, b"a", b"b")
    assert host.query() == [QueryReply(7, 0, b"2", "")]
    host.replica.mode = Mode.HOLD
    assert host.query() == []
    assert host.query(level=Level.STALE) == [QueryReply(7, 0, b"2", "")]


def test_a_query_waits_until_its_place_is_applied() -> None:
    host = Host()
    assert host.query() == [QueryReply(7, 0, b"0", "")]
    host.replica.ahead = 2
    assert host.query() == []
    host.replica.learn(batch_command(ELSEWHERE, 1, [make_run(1, b"a")]))
    assert host.run() == []
    host.replica.learn(batch_command(ELSEWHERE, 2, [make_run(2, b"b")]))
    assert host.run() == [QueryReply(7, 0, b"2", "")]


def test_queries_of_a_turn_share_one_read() -> None:
    host = Host()
    asked = []
    read = host.replica.read
    host.replica.read = lambda request, now: (asked.append(request), read(request, now))[1]  # type: ignore[func-returns-value, method-assign]
    for index in range(5):
        host.node.request(index, Query(index, 0, b""), host.now)
    assert [reply.sequence for reply in host.run()] == [0, 1, 2, 3, 4]
    assert len(asked) == 1


def test_a_stale_query_is_answered_whoever_leads() -> None:
    host = Host()
    host.replica.mode = Mode.FOLLOW
    host.replica.learn(batch_command(ELSEWHERE, 1, [make_run(1, b"a")]))
    host.run()
    assert host.query(level=Level.STALE) == [QueryReply(7, 0, b"1", "")]


def test_news_are_told_when_there_are_some() -> None:
    host = Host()
    assert host.query(level=Level.NEWS, known=b"5") == [QueryReply(7, 0, b"0", "")]
    assert host.query(level=Level.NEWS, known=b"0") == []
    host.replica.learn(NOP)
    assert host.run() == []
    assert host.submit(1, b"a") == [done(1, b"1 a"), QueryReply(7, 0, b"1", "")]
    assert host.submit(2, b"b") == [done(2, b"2 b")]


def test_queries_are_bounded_and_whoever_goes_makes_room() -> None:
    host = Host(queries=3)
    host.ask(Query(1, Level.NEWS, b"", b"0"), "gone")
    host.ask(Query(2, Level.NEWS, b"", b"0"), "there")
    host.replica.mode = Mode.HOLD
    assert host.ask(Query(3, Level.LINEARIZABLE, b"")) == []
    for level in Level.LINEARIZABLE, Level.STALE, Level.NEWS:
        (told,) = host.ask(Query(4, level, b"", b"0"))
        assert told.kind == RefusedKind.REJECTED
        assert "queries waiting; try again later" in told.detail
    host.node.disconnect("gone", host.now)
    assert host.ask(Query(5, Level.STALE, b"")) == [QueryReply(5, 0, b"0", "")]
    host.replica.mode = Mode.LEAD
    assert [type(each) for each in host.submit(1, b"a")] == [Results, QueryReply]


@pytest.mark.parametrize("mode", [Mode.FOLLOW, Mode.DOUBT, Mode.REFUSE, Mode.LEAD])
def test_a_query_that_has_its_answer_makes_room_whatever_that_is(mode: Mode) -> None:
    """Else a node that led nobody for a while would take no query any more."""
    host = Host(queries=2)
    host.replica.mode = mode
    for number in range(1, 10):
        (told,) = host.ask(Query(number, Level.LINEARIZABLE, b""))
        assert "queries waiting" not in told.detail
    host.replica.mode = Mode.LEAD
    assert host.ask(Query(10, Level.LINEARIZABLE, b"")) == [QueryReply(10, 0, b"0", "")]


def test_a_query_that_nobody_waits_for_makes_room() -> None:
    host = Host(queries=2)
    host.ask(Query(1, Level.NEWS, b"", b"0"))
    host.ask(Query(2, Level.NEWS, b"", b"0"))
    assert host.ask(Query(3, Level.STALE, b""))[0].kind == RefusedKind.REJECTED
    assert host.ask(CancelQuery(1), "another") == []
    assert host.ask(Query(3, Level.STALE, b""))[0].kind == RefusedKind.REJECTED
    assert host.ask(CancelQuery(1)) == []
    assert host.ask(Query(3, Level.STALE, b"")) == [QueryReply(3, 0, b"0", "")]
    assert host.submit(1, b"a") == [done(1, b"1 a"), QueryReply(2, 0, b"1", "")]


def test_whoever_left_is_not_told_and_what_it_asked_goes_on() -> None:
    host = Host()
    host.slow = True
    host.submit(1, b"a")
    host.ask(Query(1, Level.NEWS, b"", b"0"))
    host.node.disconnect("client", host.now)
    host.slow = False
    host.run()
    assert host.lines == [b"a"]
    assert not [message for _, message in host.answers if isinstance(message, QueryReply)]


@pytest.mark.parametrize("level", [Level.LINEARIZABLE, Level.STALE, Level.NEWS])
def test_a_query_that_the_machine_can_not_answer_costs_the_node_nothing(level: Level) -> None:
    # A client asks node after node: else one such query would stop them all.
    host = Host()
    (told,) = host.query(b"raise", level)
    assert told.kind == RefusedKind.NEVER
    assert told.detail == "the state machine can not answer the query: ValueError: no such question"
    (told,) = host.query(b"long %d" % (MAX_RESULT_BYTES + 1), level)
    assert told.kind == RefusedKind.NEVER
    assert f"the limit is {MAX_RESULT_BYTES}" in told.detail
    assert isinstance(host.submit(1, b"a")[0], Results)
    assert [event.action for event in host.events] == ["query failed"]


# --- others that ask ----------------------------------------------------------------------------------


def test_an_instruction_goes_to_the_protocol() -> None:
    host = Host()
    assert host.ask(Instruct(4, "transfer", 2)) == [QueryReply(4, 0, b"", "")]
    assert host.replica.instructed == [("transfer", 2)]
    (told,) = host.ask(Instruct(5, "fly", 2))
    assert (told.sequence, told.kind, told.detail) == (5, RefusedKind.REJECTED, "there is no action 'fly'")


def test_who_takes_it_for_a_cluster_of_decrees_is_told_and_stops_nobody() -> None:
    host = Host()
    request = RequestId(C16, 0, 1, bytes(8))
    (told,) = host.ask(Submit(request, b""))
    assert isinstance(told, Reply)
    assert (told.request, told.kind) == (request, ReplyKind.REJECTED)
    assert host.ask(Cancel(request)) == []
    with pytest.raises(ConfigurationError, match="Results is not a message of a log's client"):
        host.ask(done(1, b""))
    (status,) = host.ask(AskStatus(1))
    assert isinstance(status, StatusReply)


def test_before_it_is_introduced_a_node_keeps_requests_and_gives_none_to_the_replica() -> None:
    host = Host(members=(1, 2, 3), waiting_requests=2)
    for sequence in range(1, 5):
        assert host.submit(sequence, b"x") == []
    told = refused(host.submit(5, b"x"))
    assert told.kind == RefusedKind.REJECTED
    assert told.detail.startswith("first start: waiting until")
    assert host.query() == []
    assert host.replica.slots == []
    host.replica.mode = Mode.LEAD
    for member in (2, 3):
        host.node.receive(member, Introduced(b"\1" * 16), host.now)
    answers = host.run()
    assert sum(isinstance(each, Results) for each in answers) == 4
    assert sum(isinstance(each, QueryReply) for each in answers) == 1


def test_a_log_needs_a_machine() -> None:
    with pytest.raises(ConfigurationError, match="'instant' decides a log: it needs a state machine"):
        Node(PROTOCOL, Configuration(1, Majority((1,))), b"s" * 16, {}, lambda n, b: 0, Instant(0.0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("marker_requests", 0),
        ("marker_requests", True),
        ("marker_bytes", 1023),
        ("piece_s", -1),
        ("piece_s", 61.0),
        ("piece_s", float("nan")),
        ("piece_s", "1"),
        ("pieces_asked", 65),
        ("repeat_s", None),
        ("waiting_requests", 1.0),
        ("waiting_bytes", 0),
        ("queries", -1),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=field):
        LogSettings(**{field: value})  # type: ignore[arg-type]


# --- markers ---------------------------------------------------------------------------------------


def markers(host: Host) -> int:
    return host.service.sessions.markers


def test_a_marker_is_asked_for_after_so_many_requests() -> None:
    host = Host(marker_requests=10)
    host.submit(1, *[b"x"] * 9)
    assert markers(host) == 0
    host.submit(10, b"x")
    assert markers(host) == 1
    host.submit(11, *[b"x"] * 9)
    assert markers(host) == 1
    host.submit(20, b"x")
    assert markers(host) == 2


def test_a_marker_is_asked_for_after_so_many_bytes() -> None:
    host = Host(marker_bytes=1024)
    host.submit(1, bytes(1000))
    assert markers(host) == 0
    host.submit(2, bytes(24))
    assert markers(host) == 1


@pytest.mark.parametrize("mode", [Mode.FOLLOW, Mode.DOUBT])
@pytest.mark.parametrize("settings", [{"marker_requests": 80}, {"marker_bytes": 1024}])
def test_a_marker_that_was_refused_is_asked_for_again_later(mode: Mode, settings: dict[str, Any]) -> None:
    host = Host(**settings)
    host.replica.mode = mode
    asked = []
    submit = host.replica.submit
    host.replica.submit = lambda commands, now: (asked.append(1), submit(commands, now))[1]  # type: ignore[func-returns-value, method-assign]
    for index in range(200):
        host.replica.learn(batch_command(ELSEWHERE, index, [make_run(index + 1, bytes(12))]))
        host.run()
    # 200 requests of 12 bytes, and results that are a little longer: the bound is passed, and then every
    # eighth of it.
    assert 11 <= len(asked) <= 17
    assert markers(host) == 0
    host.replica.submit = submit  # type: ignore[method-assign]
    host.replica.mode = Mode.LEAD
    host.submit(500, *[bytes(12)] * 11)
    assert markers(host) == 1


def test_a_marker_of_another_node_will_do() -> None:
    host = Host(marker_requests=10)
    host.submit(1, *[b"x"] * 9)
    host.replica.learn(marker_command(2, 1))
    host.run()
    host.submit(10, *[b"x"] * 9)
    assert markers(host) == 1
    host.submit(19, b"x")
    assert markers(host) == 2


def test_a_node_that_may_not_vote_asks_for_no_marker() -> None:
    host = Host(members=(1, 2, 3), marker_requests=1)
    host.replica.learn(batch_command(ELSEWHERE, 1, [make_run(1, b"x")]))
    host.run()
    assert markers(host) == 0
    assert host.lines == [b"x"]
