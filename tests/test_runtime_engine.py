"""The engine's own rules, and what of foreign origin gets into the log and into errors."""

import gc
import json
import logging
import sys
import time
import weakref
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from paxos.basic import Prepare
from paxos.basic import protocol as basic
from paxos.contract import Event
from paxos.errors import ClusterMismatch, NodeStopped
from paxos.runtime import connect, open_cluster, open_node
from paxos.runtime.disk import Disk
from paxos.runtime.engine import Engine, read_clocks
from paxos.runtime.events import EventSink, printable
from paxos.runtime.handshake import HANDSHAKE_MESSAGES, Hello, Refused
from paxos.runtime.outbox import PeerOutbox
from paxos.runtime.store import MemoryDisk
from paxos.runtime.tables import Tables
from paxos.runtime.tasks import run_until_first
from paxos.service import Turn
from paxos.wire import FrameBuffer
from tests.processes import write_config
from tests.strangers import PATIENCE_S, false_node, listening, peer_hello, stranger, submit, until

pytestmark = pytest.mark.anyio

FORGED = "ok\n2026-01-01 00:00:00 CRITICAL node 1: forged \x1b[2J\x9b\u2028\u202e"


# --- time ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="clocks are called otherwise elsewhere")
async def test_a_machine_that_slept_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock that nodes go by counts the time of a sleep; the usual one does not."""
    real = time.clock_gettime
    slept_s = 3600.0

    def asleep(clock: int) -> float:
        return real(clock) + (slept_s if clock == time.CLOCK_BOOTTIME else 0)

    before = read_clocks()
    monkeypatch.setattr(time, "clock_gettime", asleep)
    after = read_clocks()
    assert after.monotonic_s - before.monotonic_s >= slept_s


# --- a node that must not go on ------------------------------------------------------------------------


class _Node:
    """Queues what it is sent to leave by every way, and then may fail."""

    id = 1

    def __init__(self) -> None:
        self._turn = Turn()
        self.received: list[str] = []

    def receive(self, sender: int, message: str, now: Any) -> None:
        self.received.append(message)
        self._turn.sends.append((2, message))
        self._turn.held.append((3, message))
        self._turn.writes.append((message.encode(), b""))
        self._turn.answers.append(("client", message))
        if message == "fail":
            raise ValueError("in the middle")

    def request(self, client: object, message: str, now: Any) -> None:
        self.receive(2, message, now)

    def tick(self, now: Any) -> None:
        self.receive(2, "tick", now)

    def disconnect(self, client: object, now: Any) -> None:
        self.receive(2, "disconnect", now)

    def turn(self) -> Turn:
        turn, self._turn = self._turn, Turn()
        return turn


class _Box:
    def __init__(self) -> None:
        self.put_: list[str] = []
        self.put = self.put_.append

    def flush(self) -> None:
        return


async def test_nothing_leaves_a_node_that_failed() -> None:
    node: Any = _Node()
    boxes: Any = {2: _Box(), 3: _Box()}
    client: Any = _Box()
    failures: list[Exception] = []
    engine = Engine(node, boxes, EventSink(1), failures.append)
    engine.clients["client"] = client
    memory = MemoryDisk()
    disk = Disk(
        memory.open(cluster="shop", node=1, protocol="paxos"), engine.released, engine.stop, EventSink(1)
    )
    engine.start(disk)
    async with anyio.create_task_group() as group:
        group.start_soon(disk.run)
        engine.receive(2, ["one"])
        await until(lambda: boxes[3].put_ == ["one"])
        engine.receive(2, ["fail"])
        # Whoever comes now finds nobody; else the next turn would carry what was queued before the failure.
        engine.receive(2, ["two"])
        engine.request("client", ["three"])
        engine.released([(2, "four")])
        engine.touch()
        engine.disconnect("other")
        with anyio.move_on_after(0.01):
            await engine.run_clock()
        disk.finish(PATIENCE_S)
    assert node.received == ["one", "fail"]
    assert boxes[2].put_ == boxes[3].put_ == client.put_ == ["one"]
    assert dict(memory.records) == {b"one": b""}
    [failure] = failures
    assert isinstance(failure, NodeStopped)
    assert "ValueError: in the middle; this is a bug in the node" in str(failure)


async def test_a_timer_that_is_set_while_the_clock_sleeps_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first questions of a node are lost, so it must ask again; nothing else wakes it."""
    lost: list[int] = []
    put = PeerOutbox.put

    def lose_first(box: PeerOutbox, message: Any) -> None:
        if isinstance(message, Prepare) and id(box) not in lost:
            lost.append(id(box))
        else:
            put(box, message)

    async with open_cluster() as cluster:
        await until(lambda: all(node.status()["ready"] for node in cluster.nodes.values()))
        engine = cluster.nodes[1]._server._engine
        assert engine is not None
        # Whatever the clock had to do for the start has been done, and it sleeps for an hour.
        await until(lambda: engine._sleeping_until_s > time.monotonic() + 60)
        monkeypatch.setattr(PeerOutbox, "put", lose_first)
        # By hand, since a client of the library would try its luck with another node.
        async with stranger(cluster.addresses[0]) as client:
            await client.greet()
            await client.ask(submit(1, "a"))
            assert (await client.answer()).result == b"v"
        assert len(lost) == 2


class _Large:
    """What a connection had in hand when it ended."""


async def test_what_ended_is_not_kept_until_the_next_collection() -> None:
    seen: list[weakref.ref[_Large]] = []

    async def fail() -> None:
        large = _Large()
        seen.append(weakref.ref(large))
        await anyio.lowlevel.checkpoint()
        raise anyio.EndOfStream

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(anyio.EndOfStream):
            await run_until_first(fail, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        assert [each() for each in seen] == [None]
    finally:
        gc.enable()


# --- the log -------------------------------------------------------------------------------------------


def _event(action: str, sender: int) -> Event:
    return Event(action, 1, {"sender": sender, "reason": FORGED}, "Accept")


def test_who_leads_and_why_is_logged_each_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "paxos.node")
    sink = EventSink(1)
    for _ in range(3):
        sink.pass_on([Event("elected", 1, {"ballot": "7.1", "floor": 0}, "Promise")])
    assert [record.message for record in caplog.records] == ["node 1: elected (ballot 7.1, floor 0)"] * 3


def test_what_another_member_does_wrong_is_logged_and_not_each_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "paxos.node")
    seen: list[Event] = []
    sink = EventSink(1, seen.append)
    sink.pass_on([_event("chosen", 2), _event("breach", 2), _event("refused", 3)])
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert [record.message[:23] for record in caplog.records] == [
        "node 1: breach {'sender",
        "node 1: refused {'sende",
    ]
    for _ in range(1000):
        sink.pass_on([_event("breach", 2)])
    sink.pass_on([_event("breach", 3)])
    assert [record.levelname for record in caplog.records].count("ERROR") == 1 + 9 + 1
    assert len(seen) == 3 + 1001
    assert all(record.message.isprintable() for record in caplog.records)
    caplog.set_level(logging.DEBUG, "paxos.node")
    sink.pass_on([_event("chosen", 2)])
    assert caplog.records[-1].levelname == "DEBUG"


def test_what_the_service_tells_is_logged_as_a_sentence_and_as_bad_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "paxos.node")
    seen: list[Event] = []
    said = {"text": "snapshot 3 is on\ndisk", "level": logging.INFO}
    bad = {"text": "request 7 counts as carried out", "level": logging.WARNING, "request": 7}
    events = [Event("snapshot", 1, said, "snapshot"), Event("request skipped", 1, bad, "log")]
    EventSink(1, seen.append).pass_on(events)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", r"node 1: snapshot 3 is on\ndisk"),
        ("WARNING", "node 1: request 7 counts as carried out"),
    ]
    assert [vars(record)["event"] for record in caplog.records] == ["snapshot", "request skipped"]
    assert vars(caplog.records[1])["arguments"] == {"request": 7}
    assert seen == events


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u0438\u043c\u044f", "plain, \u0438\u043c\u044f"),
        ("a\nb\r\t\0", r"a\nb\r\t\x00"),
        ("\x1b[31m\x7f\x9b", r"\x1b[31m\x7f\x9b"),
        ("\u2028\u202e\ud800", r"\u2028\u202e\ud800"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


async def test_a_stranger_can_not_write_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "paxos")
    lines: list[str] = []

    def on_event(event: Event) -> None:
        if event.action == "refused":
            lines.append(str(event.arguments["text"]))

    async with open_cluster(on_event=on_event) as cluster:
        await cluster.client(1).decide("a", b"1")
        values = {**cluster.config.agreed(), "messages": Tables.of(basic).from_peer.digest()}
        # Before anybody knows who it is.
        async with stranger(cluster.addresses[0]) as caller:
            answer = await caller.greet(peer_hello("local", 3, {**values, FORGED: FORGED}))
            assert isinstance(answer, Refused)
        # And as a node that refuses.
        await cluster.stop_node(3)
        engine = cluster.nodes[1]._server._engine
        assert engine is not None
        met = engine.node.identity.met(3)
        assert met is not None
        hello = peer_hello("local", 3, values, store_id=met.store_id, incarnation=met.incarnation + 1)
        async with stranger(cluster.addresses[0]) as caller:
            assert isinstance(await caller.greet(hello), Hello)
            await caller.send(HANDSHAKE_MESSAGES.encode([Refused("no", FORGED)]))
            await caller.read_to_end()
        assert ["forged" in line for line in lines] == [True, True]
        assert all(line.isprintable() for line in lines)
    assert all(record.getMessage().isprintable() for record in caplog.records)


async def test_a_refusal_is_one_line_of_the_status_and_of_errors(tmp_path: Any) -> None:
    refusal = Refused("mismatch", FORGED)
    async with false_node(lambda *_: [], refusal) as address:
        async with connect([address]) as client:
            with pytest.raises(ClusterMismatch, match="forged") as caught:
                await client.decide("a", b"1")
        assert str(caught.value).isprintable()
    said: list[str] = []

    async def refuse(stream: Any) -> None:
        async with stream:
            FrameBuffer().feed(await stream.receive())
            await stream.send(HANDSHAKE_MESSAGES.encode([refusal]))

    def on_event(event: Event) -> None:
        said.append(str(event.arguments.get("text", "")))

    config = write_config(tmp_path, 3)
    async with listening(refuse, config.node(2).port), open_node(config, 1, on_event=on_event) as node:
        await until(lambda: any("forged" in text for text in said))
        status = json.dumps(node.status()["peers"])
    assert "forged" in status
    assert all(text.isprintable() for text in said)
    assert json.loads(status)["2"]["refused"].isprintable()
