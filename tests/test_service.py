"""The node around a replica: its clients, its identity, and the machine of decrees."""

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paxos.ballot import BOTTOM, Ballot
from paxos.basic import Chosen, Prepare, Promise, protocol
from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES, Command, Footprint, RequestId
from paxos.contract import Configuration, Decides, Instant, Outcome, OutcomeKind, Records
from paxos.errors import ConfigurationError, NodeStopped, ProtocolBreach, RecordError, Rejected
from paxos.quorum import Majority
from paxos.service import (
    AskStatus,
    Cancel,
    DecreeBook,
    Identity,
    Introduce,
    Introduced,
    LostDisk,
    Node,
    Reply,
    ReplyKind,
    StatusReply,
    Submit,
    decide_request,
    decided_request,
    decree_key,
    message_table,
    witnesses_needed,
)
from paxos.service.decree_service import DecreeService
from paxos.wire import dumps
from tests.cluster import PREFIX, Cluster, Operation, Sent, request_id, store_id

THREE = (1, 2, 3)
NOW = Instant(100.0)


def draw(name: str, bound: int) -> int:
    return 0


def make_node(records: Records | None = None, *, node: int = 1, members: Any = THREE, **more: Any) -> Node:
    configuration = Configuration(node, Majority(members), **more)
    return Node(protocol, configuration, store_id(node), records or {}, draw, NOW)


def alone(records: Records | None = None) -> Node:
    """The only node of its cluster, which therefore decides by itself."""
    return make_node(records, members=(1,))


def clients_of(node: Node) -> dict[Any, Any]:
    assert isinstance(node.service, DecreeService)
    return node.service._clients


def run(node: Node) -> tuple[list[Any], dict[bytes, bytes]]:
    """Turns until the node has nothing more to say to itself: its answers, and what it wrote."""
    answers, disk = [], {}
    for _ in range(20):
        turn = node.turn()
        answers += turn.answers
        disk.update({key: value for key, value in turn.writes if value is not None})
        for key, value in turn.writes:
            if value is None:
                disk.pop(key, None)
        assert turn.sends == []
        for recipient, message in turn.held:
            assert recipient == node.id
            node.receive(recipient, message, NOW)
        if not turn.held:
            return answers, disk
    raise AssertionError("it does not end")


def ask(node: Node, body: bytes, sequence: int = 1, client: str = "client") -> RequestId:
    request = request_id(body, sequence)
    node.request(client, Submit(request, body), NOW)
    return request


# --- clients ----------------------------------------------------------------------------------------


def test_a_request_gets_one_answer() -> None:
    node = alone()
    request = ask(node, decide_request("x", b"v"))
    read = ask(node, decided_request("x"), 2, "other")
    answers, _ = run(node)
    assert answers == [
        ("client", Reply(request, ReplyKind.DONE, b"v", "")),
        ("other", Reply(read, ReplyKind.DONE, b"v", "")),
    ]
    undecided = ask(node, decided_request("y"), 3)
    assert run(node)[0] == [("client", Reply(undecided, ReplyKind.DONE, None, ""))]
    assert run(node)[0] == []


def test_a_retry_through_another_connection_is_answered_there_once() -> None:
    c = Cluster()
    body = decide_request("x", b"v")
    request = c.submit(1, body, Operation("x", b"v", 0), "first")
    node = c.nodes[1]
    node.request("second", Submit(request, body), c.now)
    node.disconnect("first", c.now)
    node.request("third", Cancel(request), c.now)
    assert c.replica(1).status().values["waiting"] == 1, "neither was the one that waits"
    assert set(clients_of(node)) == {"second"}, "nothing is kept of who left"
    node.request("second", Submit(request, body), c.now)
    for sent in [Sent(n, 1, Promise(b"x", Ballot(1, 1), BOTTOM, None)) for n in (2, 3)]:
        node.receive(sent.sender, sent.message, c.now)
    node.receive(2, Chosen(b"x", Ballot(1, 1), b"v"), c.now)
    answered = node.turn().answers
    assert answered == [("second", Reply(request, ReplyKind.DONE, b"v", ""))]
    assert clients_of(node) == {}
    assert node.status()["requests"] == 0


def test_a_retry_after_the_answer_gets_the_same_answer() -> None:
    node = alone()
    body = decide_request("x", b"v")
    first = ask(node, body)
    again = (run(node)[0], ask(node, body), run(node)[0])
    assert again == ([("client", Reply(first, 0, b"v", ""))], first, [("client", Reply(first, 0, b"v", ""))])


def test_cancel_and_disconnect_end_the_waiting_and_not_the_deciding() -> None:
    for leave in (
        lambda node, request: node.request("client", Cancel(request), NOW),
        lambda node, request: node.disconnect("client", NOW),
    ):
        node = alone()
        request = ask(node, decide_request("x", b"v"))
        leave(node, request)
        leave(node, request)
        assert node.status()["requests"] == 0
        assert run(node)[0] == []
        assert node.machine.values() == {b"x": b"v"}, "its work was under way already"


def test_a_stranger_can_not_cancel() -> None:
    node = alone()
    request = ask(node, decide_request("x", b"v"))
    node.request("stranger", Cancel(request), NOW)
    node.disconnect("stranger", NOW)
    assert run(node)[0] == [("client", Reply(request, ReplyKind.DONE, b"v", ""))]


def test_a_body_that_the_id_was_not_made_for_is_rejected() -> None:
    node = alone()
    request = request_id(decide_request("x", b"v"), 1)
    node.request("client", Submit(request, decide_request("x", b"w")), NOW)
    [(client, reply)] = run(node)[0]
    assert (client, reply.request, reply.kind) == ("client", request, ReplyKind.REJECTED)
    assert "made for another body" in reply.detail
    assert node.machine.values() == {}


BAD_BODIES = [
    b"",
    b"\xff",
    dumps(None),
    dumps((1, b"x")),
    dumps((1, b"x", b"v", b"more")),
    dumps((0, b"x", b"v")),
    dumps((3, b"x", b"v")),
    dumps((True, b"x", b"v")),
    dumps((1, "x", b"v")),
    dumps((1, b"x", "v")),
    dumps((1, b"", b"v")),
    dumps((2, b"", b"")),
    dumps((1, b"x" * (MAX_KEY_BYTES + 1), b"v")),
    dumps((1, b"x", None)),
    dumps((1, b"x", b"v")) + b"\0",
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: body.hex()[:20] or "empty")
def test_a_malformed_body_is_rejected(body: bytes) -> None:
    node = alone()
    request = ask(node, body)
    [(_, reply)] = run(node)[0]
    assert (reply.request, reply.kind, reply.result) == (request, ReplyKind.REJECTED, None)
    assert "not a request for decrees" in reply.detail
    assert node.status()["requests"] == 0


@given(
    st.binary(max_size=80)
    | st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.binary(max_size=8)
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4),
    ).map(dumps)
)
@example(dumps((1, b"x", b"v")))
def test_whatever_a_client_sends_is_answered(body: bytes) -> None:
    node = alone()
    request = ask(node, body)
    [(client, reply)] = run(node)[0]
    assert (client, reply.request) == ("client", request)
    table = message_table(protocol)
    assert table.decode(table.encode([reply])[8:])[0].message == reply
    if reply.kind == ReplyKind.REJECTED:
        assert node.machine.values() == {}
    else:
        assert node.machine.values() or reply.result is None


def test_the_status_is_json() -> None:
    c = Cluster()
    c.decide(1, "x", b"v")
    c.nodes[1].request("someone", AskStatus(7), c.now)
    [(client, reply)] = c.nodes[1].turn().answers
    assert (client, type(reply), reply.sequence) == ("someone", StatusReply, 7)
    told = json.loads(reply.body)
    assert told | {"node": 1, "protocol": "paxos", "ready": True, "requests": 1, "working": 1} == told
    assert told["store_id"] == store_id(1).hex()
    assert told["summary"] == "0 decided, 1 in progress"


def test_what_no_client_says_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Prepare is not a message of a client"):
        alone().request("client", Prepare(b"x", Ballot(1, 1)), NOW)


@pytest.mark.parametrize(
    ("outcome", "kind", "result", "detail"),
    [
        (Outcome(None, OutcomeKind.REJECTED, reason="busy"), ReplyKind.REJECTED, None, "busy"),  # type: ignore[arg-type]
        (Outcome(None, OutcomeKind.UNKNOWN, reason="lost"), ReplyKind.UNKNOWN, None, "lost"),  # type: ignore[arg-type]
        (Outcome(None, OutcomeKind.REDIRECT, node=3), ReplyKind.REDIRECT, None, "3"),  # type: ignore[arg-type]
        (Outcome(None, OutcomeKind.READY, mark=b"x"), ReplyKind.DONE, None, ""),  # type: ignore[arg-type]
    ],
)
def test_every_outcome_has_its_reply(outcome: Outcome, kind: int, result: bytes | None, detail: str) -> None:
    c = Cluster()
    request = c.decide(1, "x", b"v")
    replica: Any = c.replica(1)
    replica._out.outcomes += [
        outcome._replace(request=request),
        outcome._replace(request=request_id(b"?", 9)),
    ]
    assert c.nodes[1].turn().answers == [("client", Reply(request, kind, result, detail))]


# --- turns --------------------------------------------------------------------------------------------


def test_what_reports_waits_for_the_disk_and_so_does_what_goes_to_oneself() -> None:
    c = Cluster()
    node = c.nodes[1]
    node.receive(2, Prepare(b"x", Ballot(5, 2)), c.now)
    turn = node.turn()
    assert turn.held == [(2, Promise(b"x", Ballot(5, 2), BOTTOM, None))]
    assert (turn.sends, [key for key, _ in turn.writes]) == ([], [PREFIX + b"Ax"])
    ask(node, decide_request("y", b"v"))
    turn = node.turn()
    assert {recipient for recipient, _ in turn.held} == {1}
    assert {(recipient, type(message)) for recipient, message in turn.sends} == {(2, Prepare), (3, Prepare)}
    assert turn.wake_at_s == c.now_s + 0.25


def test_only_its_own_records_are_read() -> None:
    node = alone()
    ask(node, decide_request("x", b"v"))
    _, disk = run(node)
    again = alone(disk)
    assert again.turn().applies
    assert again.machine.values() == {b"x": b"v"}
    for key in (b"", b"x", b"r" + b"\0" * 7, b"r\0\0\0\1\0\0\0\0Cx"):
        with pytest.raises(RecordError, match="of no replica that node 1 is configured for"):
            alone({**disk, key: b"?"})


def test_a_protocol_that_decides_a_log_is_not_hosted_yet() -> None:
    log = attrs.evolve(protocol, decides=Decides.LOG)
    with pytest.raises(ConfigurationError, match="decides a log"):
        Node(log, Configuration(1, Majority(THREE)), store_id(1), {}, draw, NOW)


# --- who a node is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("members", "needed"), [(1, 0), (2, 1), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_witnesses_of_two_stores_always_share_one(members: int, needed: int) -> None:
    assert witnesses_needed(members) == needed
    assert needed == 0 or 2 * needed > members - 1


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_nodes_introduce_themselves_and_begin(nodes: int) -> None:
    c = Cluster(nodes)
    assert all(node.status()["ready"] for node in c.nodes.values())
    assert all(node.identity.missing == () and node.identity.needed == 0 for node in c.nodes.values())
    for one in c.members:
        for other in c.members:
            known = c.nodes[one].identity.known(other)
            assert known == c.stores[other]
        c.restart(one)
        assert c.nodes[one].identity.introduced, "once is enough"
    assert c.network == []


def test_nothing_is_promised_before_the_introduction() -> None:
    c = Cluster(introduce=False)
    early = c.decide(1, "x", b"v")
    for sender in (2, 3):
        c.hand_over(Sent(sender, 1, Prepare(b"x", Ballot(1, sender))))
    assert {type(sent.message) for sent in c.network} == {Introduce}
    status = c.nodes[1].status()
    assert not status["ready"]
    assert "until 2 more of nodes 2, 3 have recorded" in str(status["summary"])
    c.deliver(Introduce, 1, 2)
    c.deliver(Introduced, 2, 1)
    assert "until node 3 has recorded" in str(c.nodes[1].status()["summary"])
    c.hand_over(Sent(2, 1, Introduced(c.stores[1])))
    assert c.nodes[1].identity.missing == (3,), "one witness counts once"
    c.hand_over(Sent(3, 1, Introduced(c.stores[2])))
    c.hand_over(Sent(9, 1, Introduced(c.stores[1])))
    assert not c.nodes[1].identity.introduced, "of another store, of no member"
    assert early not in c.answers
    c.settle()
    assert c.result(early) == b"v", "kept, and begun when it could be"
    assert c.violations == {}


def test_an_introduction_counts_only_when_it_is_durable() -> None:
    c = Cluster(introduce=False)
    c.slow.add(2)
    c.deliver(Introduce, (1, 3), 2)
    assert not c.pick(Introduced, 2)
    c.flush(2)
    assert len(c.pick(Introduced, 2)) == 2


def test_an_introduction_is_repeated_to_those_that_are_missing() -> None:
    c = Cluster(5, introduce=False)
    c.deliver(Introduce, 1, 2)
    c.deliver(Introduced, 2, 1)
    c.drop()
    for _ in range(3):
        c.advance(3, only=1)
        assert {sent.recipient for sent in c.pick(Introduce, 1)} == {3, 4, 5}
        c.drop()
    assert c.nodes[1].turn().wake_at_s is not None


def test_a_wiped_disk_stops_the_node_and_both_stores_are_named() -> None:
    c = Cluster()
    c.crash(2)
    c.disks[2].clear()
    c.stores[2] = store_id(2, life=1)
    c.start(2)
    c.deliver(Introduce, 2, 1)
    assert c.pick(LostDisk, 1, 2)
    c.deliver(LostDisk, 1, 2)
    said = str(c.stopped[2])
    assert isinstance(c.stopped[2], NodeStopped)
    assert "node 2 lost its disk: node 1 knows it" in said
    assert store_id(2).hex() in said
    assert store_id(2, life=1).hex() in said


def test_a_wiped_disk_never_votes_even_if_nobody_tells_it() -> None:
    c = Cluster(5)
    c.crash(2)
    c.disks[2].clear()
    c.stores[2] = store_id(2, life=1)
    c.start(2)
    for _ in range(10):
        c.drop(LostDisk)
        c.deliver((Introduce, Introduced))
        c.advance(3, only=2)
    c.hand_over(Sent(1, 2, Prepare(b"x", Ballot(1, 1))))
    assert not c.pick(Promise, 2)
    assert not c.nodes[2].identity.introduced


def test_what_one_says_of_a_lost_disk_is_minded_by_the_new_only() -> None:
    identity = Identity(1, THREE, store_id(1), {}, 0.0)
    identity.receive(2, LostDisk(store_id(1)))
    for node in (2, 3):
        identity.receive(node, Introduced(store_id(1)))
    identity.receive(2, LostDisk(store_id(7)))
    assert identity.introduced, "it has voted: others must sort out who they know"


def test_a_copied_store_is_refused() -> None:
    identity = Identity(1, (1,), store_id(1), {}, 0.0)
    records = {key: value for key, value in identity.writes if value is not None}
    assert Identity(1, (1,), store_id(1), records, 0.0).introduced
    with pytest.raises(RecordError, match="copied from another store"):
        Identity(1, (1,), store_id(2), records, 0.0)
    [(key, value)] = records.items()
    with pytest.raises(RecordError, match="corrupted"):
        Identity(1, (1,), store_id(1), {key: value[:-1]}, 0.0)


def test_requests_before_the_introduction_are_bounded() -> None:
    node = make_node()
    for sequence in range(4097):
        ask(node, decided_request("x"), sequence)
    [(_, reply)] = node.turn().answers
    assert reply.kind == ReplyKind.REJECTED
    assert "waiting until 2 more of nodes 2, 3" in reply.detail


def test_who_left_before_the_introduction_is_not_worked_for() -> None:
    c = Cluster(introduce=False)
    gone, kept = c.decide(1, "x", b"v", "alice"), c.decide(1, "y", b"w", "bob")
    c.nodes[1].disconnect("alice", c.now)
    c.settle(kept)
    assert gone not in c.answers
    assert c.nodes[1].machine.values() == {b"y": b"w"}


def test_early_requests_are_bounded_in_bytes_and_those_of_clients_that_left_are_gone() -> None:
    node = make_node()
    value = bytes(MAX_COMMAND_BYTES - 100)
    kept: list[Any] = []
    for sequence in range(4200):
        ask(node, decide_request("x", b"v" if sequence % 40 else value), sequence, f"client-{sequence}")
        kept += node.turn().answers
        node.disconnect(f"client-{sequence}", NOW)
    # Nobody who is gone takes room from those who come.
    assert kept == []
    assert node.status()["requests"] == 0
    for sequence in range(70):
        ask(node, decide_request("x", value), sequence)
    refused = [reply for _, reply in node.turn().answers]
    assert len(refused) == 6  # 64 of a mebibyte, less a little each, are within the bound
    assert {reply.kind for reply in refused} == {ReplyKind.REJECTED}


def test_an_early_retry_is_submitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node()
    for client in ("first", "second"):
        ask(node, decide_request("x", b"v"), 1, client)
    request = ask(node, decide_request("y", b"w"), 2)
    ask(node, decide_request("x", b"v"), 1, "third")
    submitted: list[RequestId] = []

    def submit(commands: Any, now: Instant) -> None:
        submitted.extend(command.request for command in commands)

    monkeypatch.setattr(node.replica, "submit", submit)
    for witness in (2, 3):
        node.receive(witness, Introduced(store_id(1)), NOW)
    assert submitted == [request, request_id(decide_request("x", b"v"), 1)]


# --- the machine of decrees --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "\u20ac" * 3, b"\xff\0", "x" * MAX_KEY_BYTES])
def test_a_name_is_text_or_bytes(name: str | bytes) -> None:
    key = decree_key(name)
    assert key == (name if isinstance(name, bytes) else name.encode())
    request = request_id(b"", 1)
    book = DecreeBook()
    assert book.command(request, decide_request(name, b"v")) == Command(
        request, Footprint(writes=(key,)), b"v"
    )
    assert book.command(request, decided_request(name)) == Command(request, Footprint(reads=(key,)), b"")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: decree_key(""), "0 bytes; it takes 1 to"),
        (lambda: decree_key("x" * (MAX_KEY_BYTES + 1)), "1025 bytes"),
        (lambda: decree_key("\u20ac" * 400), "1200 bytes"),
        (lambda: decree_key("\ud800"), "not valid Unicode"),
        (lambda: decree_key(7), "is a str or bytes, not int"),  # type: ignore[arg-type]
        (lambda: decide_request("x", "v"), "a value is bytes, not str"),  # type: ignore[arg-type]
        (lambda: decide_request("x", 7), "a value is bytes, not int"),  # type: ignore[arg-type]
        (lambda: decide_request("x", b"v" * (MAX_COMMAND_BYTES + 1)), "the limit is 1048576"),
        (lambda: decided_request(b""), "0 bytes"),
    ],
)
def test_a_bad_name_or_value_is_refused(make: Callable[[], bytes], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make()


def test_the_longest_value_under_the_longest_name_goes_through() -> None:
    node = alone()
    value = bytes(MAX_COMMAND_BYTES)
    request = ask(node, decide_request("n" * MAX_KEY_BYTES, value))
    table = message_table(protocol)
    for message in (
        Submit(request, decide_request("n" * MAX_KEY_BYTES, value)),
        *(a for _, a in run(node)[0]),
    ):
        assert table.decode(table.encode([message])[8:])[0].message == message


def test_values_that_are_like_bytes_are_taken() -> None:
    for value in (b"v", bytearray(b"v"), memoryview(b"v")):
        assert decide_request("x", value) == decide_request("x", b"v")  # type: ignore[arg-type]


def test_the_book_keeps_what_was_chosen() -> None:
    book = DecreeBook()
    write = Command(request_id(b"", 1), Footprint(writes=(b"x",)), b"v")
    assert book.answer(write) is None
    book.apply(b"x", write)
    book.apply(b"x", write)
    values = book.values()
    values[b"x"] = b"changed"
    assert book.answer(write) == b"v"
    with pytest.raises(ProtocolBreach, match="Stability"):
        book.apply(b"x", write._replace(payload=b"w"))
    with pytest.raises(ProtocolBreach, match="under its name"):
        book.apply(7, write)
    with pytest.raises(Rejected):
        book.command(write.request, b"nonsense")
