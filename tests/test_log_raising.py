"""A machine that raises stops every node at the same request, until an operator has it skipped."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import pytest

from paxos.command import RequestId, digest_of
from paxos.errors import NodeStopped, RecordError
from paxos.service.backups import first_question, question
from paxos.service.batches import batch_command, is_housekeeping, marker_command, read_batch, skip_command
from paxos.service.footprints import Footprints
from paxos.service.log_messages import Level, RefusedKind, Results
from tests.instant_log import Host, Ledger, Mode, make_run

C16 = b"c" * 16
ELSEWHERE = b"e" * 16


def done(sequence: int, *results: bytes) -> Results:
    return Results(C16, sequence, list(results))


class Many(Ledger):
    """Carries out many at once."""

    def apply_many(self, commands: list[bytes]) -> list[bytes]:
        if b"short" in commands:
            return []
        return [self.apply(command) for command in commands]


def test_a_machine_that_raises_stops_the_node_and_names_the_request() -> None:
    host = Host()
    host.submit(1, b"a")
    with pytest.raises(NodeStopped) as caught:
        host.submit(2, b"b", b"c", b"raise", b"d")
    assert f"can not carry out request 4 of client {C16.hex()}, at 2: ValueError: no such thing" in str(
        caught.value
    )
    assert isinstance(caught.value.__cause__, ValueError)
    # At each start, and at every node: rather that than to go on without.
    host.start()
    with pytest.raises(NodeStopped, match="request 4 of client"):
        host.run()


@pytest.mark.parametrize(
    ("machine", "body", "finds"),
    [
        (Ledger, b"none", "request 3 of client .* its answer is NoneType, not bytes"),
        (Many, b"none", "request 3 of client .* its answer is NoneType, not bytes"),
        (Many, b"raise", "request 2..4 of client .* ValueError: no such thing"),
        (Many, b"short", "request 2..4 of client .* it gave 0 answers to 3 commands"),
    ],
)
def test_a_machine_whose_answers_are_none_stops_the_node(machine: Any, body: bytes, finds: str) -> None:
    host = Host(machine=machine)
    host.submit(1, b"a")
    with pytest.raises(NodeStopped, match=finds):
        host.submit(2, b"b", body, b"c")


def test_a_command_that_is_no_batch_stops_the_node() -> None:
    host = Host()
    host.replica.learn(batch_command(ELSEWHERE, 1, [])._replace(payload=b"\x81\x09"))
    with pytest.raises(NodeStopped, match="unknown kind 9"):
        host.run()


@pytest.mark.parametrize("machine", [Ledger, Many])
def test_an_operator_has_a_request_skipped(machine: Any) -> None:
    host = Host(machine=machine)
    with pytest.raises(NodeStopped):
        host.submit(1, b"a", b"raise", b"c")
    host.skip = (C16, 2)
    host.start()
    host.run()
    assert host.lines == [b"a", b"c"]
    # It counts as carried out: with an empty answer, once.
    assert host.submit(1, b"a", b"raise", b"c") == [done(1, b"1 a", b"", b"2 c")]
    (event,) = [event for event in host.events if event.action == "request skipped"]
    assert "request 2 of client" in event.arguments["text"]
    # The log says so, once, for who reads it later.
    skips = [c for c in host.replica._log.values() if c.request.client == b"\xff" * 16]
    assert [read_batch(command).skipped for command in skips] == [  # type: ignore[union-attr]
        RequestId(C16, 0, 2, digest_of(b"raise"))
    ]
    # A fresh node, or one that is started without the option, finds it there.
    host.skip = None
    host.start()
    host.run()
    assert host.lines == [b"a", b"c"]
    host.submit(4, b"d")
    host.marker()
    host.start()
    assert host.lines == [b"a", b"c", b"d"]
    assert host.submit(2, b"raise") == [done(2, b"")]
    with pytest.raises(NodeStopped, match="request 5"):
        host.submit(5, b"raise")


def test_only_the_request_that_was_named_is_skipped() -> None:
    for skip in ((C16, 1), (b"d" * 16, 2)):
        host = Host(skip=skip)
        with pytest.raises(NodeStopped, match="request 2 of client"):
            host.submit(1, b"a", b"raise")
    # One that can be carried out is, whatever the operator says.
    host = Host(skip=(C16, 1))
    assert host.submit(1, b"a") == [done(1, b"1 a")]
    # A decision in the log is about one command, and not about its number.
    host = Host()
    host.replica.learn(
        batch_command(ELSEWHERE, 1, [make_run(1, b"raise 1")]),
        skip_command(2, 1, RequestId(C16, 0, 1, digest_of(b"raise 2"))),
    )
    with pytest.raises(NodeStopped):
        host.run()


def test_all_nodes_that_skip_have_the_same_state() -> None:
    # One was told by its operator, the other finds it in the log; a marker comes after.
    run = make_run(1, b"a", b"raise", b"c")
    told, found = Host(skip=(C16, 2)), Host()
    request = RequestId(C16, 0, 2, digest_of(b"raise"))
    commands = [batch_command(ELSEWHERE, 1, [run]), skip_command(2, 1, request), marker_command(2, 2)]
    for host in (told, found):
        host.replica.learn(*commands)
        host.run()
        assert host.lines == [b"a", b"c"]
    assert list(told.service.sessions.pack()) == list(found.service.sessions.pack())
    # What the log says already need not be put there.
    assert told.replica.slots == [1, 2, 3]


def test_a_skip_that_was_refused_is_logged_later() -> None:
    host = Host(skip=(C16, 1), marker_requests=80)
    host.replica.mode = Mode.FOLLOW
    host.replica.learn(batch_command(ELSEWHERE, 1, [make_run(1, b"raise")]))
    host.run()
    assert host.replica.slots == [1]
    asked = []
    submit = host.replica.submit
    host.replica.submit = lambda commands, now: (asked.append(1), submit(commands, now))[1]  # type: ignore[func-returns-value, method-assign]
    for number in range(2, 42):
        host.replica.learn(batch_command(ELSEWHERE, number, [make_run(number, b"x")]))
        host.run()
    assert len(asked) == 4
    host.replica.mode = Mode.LEAD
    host.submit(42, *[b"x"] * 10)
    host.submit(52, *[b"x"] * 10)
    # Once it is there nobody asks again.
    skips = [read_batch(command) for command in host.replica._log.values() if is_housekeeping(command)]
    assert [batch.skipped.sequence for batch in skips if batch and batch.skipped] == [1]


def test_a_snapshot_that_the_machine_can_not_become_is_named() -> None:
    class Other(Ledger):
        def restore(self, snapshot: bytes) -> None:
            raise ValueError("made by another machine")

    host = Host(marker_requests=1)
    host.submit(1, b"x")
    host.wait(ticks=10)
    host._machine = Other
    with pytest.raises(RecordError, match=r"snapshot 1: node 1 can not become .* made by another machine"):
        host.start()


class Shy(Ledger):
    """Does not give its state."""

    def snapshot(self) -> bytes:
        raise ValueError("not now")


class Halfway(Ledger):
    """Gives a part of its state."""

    def snapshot_chunks(self) -> Iterator[bytes]:
        yield b"x" * (600 << 10)
        raise ValueError("not the rest")


class Text(Ledger):
    """Gives its state in words."""

    def snapshot(self) -> Any:
        return "state"


@pytest.mark.parametrize(
    ("machine", "finds"),
    [
        (Shy, "ValueError: not now"),
        (Halfway, "ValueError: not the rest"),
        (Text, "TypeError: it gave str, not bytes"),
    ],
)
def test_a_machine_that_does_not_give_its_state_is_named_and_no_backup_stops_the_node(
    machine: Any, finds: str
) -> None:
    host = Host(machine=machine, marker_requests=2)
    host.submit(1, b"x")
    # The first page, and where that is there the next.
    replies = host.query(first_question(b"b"), Level.BACKUP) + host.query(question(b"b", 4), Level.BACKUP)
    refused = [reply.detail for reply in replies if reply.kind == RefusedKind.NEVER]
    assert len(refused) == 1
    assert finds in refused[0]
    assert host.query(first_question(b"c"), Level.STALE)[0].kind == 0, "it goes on"
    with pytest.raises(NodeStopped, match=f"can not give its state for a snapshot: {finds}"):  # noqa: PT012
        host.submit(2, b"y")
        host.wait(ticks=50)


class Quitter(Ledger):
    """Raises what is no `Exception` and would end a process, or a task of one, without a word."""

    why: ClassVar[type[BaseException]]

    def apply(self, command: bytes) -> bytes:
        return self.quit() if command == b"quit" else super().apply(command)

    def query(self, query: bytes) -> bytes:
        return self.quit() if query == b"quit" else super().query(query)

    def footprint(self, command: bytes) -> Any:
        return self.quit()

    def snapshot(self) -> bytes:
        return self.quit()

    def restore(self, snapshot: bytes) -> None:
        self.quit()

    def quit(self) -> bytes:
        raise self.why("enough")


@pytest.mark.parametrize("why", [SystemExit, asyncio.CancelledError, GeneratorExit])
def test_a_machine_that_quits_is_named_like_one_that_raises(
    why: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quitter, "why", why, raising=False)
    host = Host(machine=Quitter)
    host.submit(1, b"a")
    (reply,) = host.query(b"quit")
    assert reply.kind == RefusedKind.NEVER
    assert f"can not answer the query: {why.__name__}: enough" in reply.detail
    _, none = Footprints(Quitter()).of([b"a"])
    assert f"gives no footprint: {why.__name__}: enough" in none[0]
    if why is not GeneratorExit:
        (reply,) = host.query(first_question(b"b"), Level.BACKUP)
        assert f"can not give its state for a snapshot: {why.__name__}: enough" in reply.detail
    with pytest.raises(NodeStopped, match=f"can not carry out request 2 of .*: {why.__name__}: enough"):
        host.submit(2, b"quit")
    # Whoever interrupts a program does not mean its machine.
    monkeypatch.setattr(Quitter, "why", KeyboardInterrupt)
    host = Host(machine=Quitter)
    for call in (partial(host.query, b"quit"), partial(host.submit, 1, b"quit")):
        with pytest.raises(KeyboardInterrupt):
            call()


def test_a_machine_that_quits_at_a_snapshot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quitter, "why", SystemExit, raising=False)
    host = Host(marker_requests=1)
    host.submit(1, b"x")
    host.wait(ticks=10)
    host._machine = Quitter
    with pytest.raises(RecordError, match=r"can not become what it says: SystemExit: enough"):
        host.start()
