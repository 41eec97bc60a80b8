"""Campaigns of real processes: their plans, their network, what judges them; and two of them in short."""

import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from paxos.check.groups import KeyGroups, bounds_of
from paxos.check.history import HistoryError, Operation, read_history
from paxos.check.linearize import check_linearizable
from paxos.cli import main
from paxos.cli.torture import campaign as campaigns
from paxos.cli.torture.campaign import Campaign, Report, run_campaign
from paxos.cli.torture.judgement import check_history, compare_snapshots, digest_at_marker
from paxos.cli.torture.mirror import Mirror
from paxos.cli.torture.network import CLIENTS, Network
from paxos.cli.torture.nodes import LogLine, log_lines, small_log, small_settings, steady_ports
from paxos.cli.torture.plan import Kind, draw_plan
from paxos.command import digest_of
from paxos.contract import Decides, find_protocol
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE
from paxos.runtime import open_cluster
from paxos.service.batches import Run
from paxos.service.conflicts import pack_part
from paxos.service.keyvalue import KeyValue
from paxos.service.keyvalue_requests import put
from paxos.service.sessions import Sessions
from paxos.service.snapshots import snapshot_pieces

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

PATIENCE_S = 30.0
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="pauses are signals")
NODES = (1, 2, 3)


# --- plans -------------------------------------------------------------------------------------------


def test_a_seed_names_a_plan() -> None:
    assert draw_plan(7, NODES, 300.0) == draw_plan(7, NODES, 300.0)
    assert draw_plan(7, NODES, 300.0) != draw_plan(8, NODES, 300.0)
    # A longer campaign begins like a shorter one.
    short = draw_plan(7, NODES, 60.0)
    assert set(short) <= set(draw_plan(7, NODES, 300.0))


@pytest.mark.parametrize("nodes", [(1, 2, 3), (1, 2, 3, 4, 5)])
def test_a_plan_has_everything_in_it_and_an_end(nodes: tuple[int, ...]) -> None:
    plan = draw_plan(3, nodes, 600.0)
    assert {fault.kind for fault in plan} == set(Kind)
    assert all(fault.at_s > 0 and fault.at_s + fault.lasts_s <= 600.0 for fault in plan)
    assert [fault.at_s for fault in plan] == sorted(fault.at_s for fault in plan)
    assert all(0 < len(set(fault.nodes)) == len(fault.nodes) <= len(nodes) for fault in plan)
    killed = [2 * len(fault.nodes) > len(nodes) for fault in plan if fault.kind is Kind.KILL]
    assert any(killed)
    assert sum(killed) * 3 < len(killed)
    for of_processes in (True, False):
        lane = [fault for fault in plan if fault.of_processes is of_processes]
        assert all(
            one.at_s + one.lasts_s < next.at_s
            for one, next in zip(lane, lane[1:], strict=False)  # noqa: A001, RUF007
        )


def test_the_page_tells_what_goes_wrong() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "torture.md").read_text(encoding="utf-8")
    told = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert told == [str(kind) for kind in Kind]


def test_the_shortest_campaign_kills_the_leader() -> None:
    for seed in range(50):
        (first, *_) = draw_plan(seed, NODES, 8.0)
        assert (first.kind, first.leader, len(first.nodes)) == (Kind.KILL, True, 1)


def test_small_bounds_are_bounds_of_the_protocol() -> None:
    draws = [random.Random(seed) for seed in range(20)]
    multipaxos = [small_settings(find_protocol("multipaxos"), draw) for draw in draws]
    assert {settings.page_slots for settings in multipaxos} == {4, 64}
    assert {small_log(draw).marker_requests for draw in draws} == {40, 150, 600}
    epaxos = [small_settings(find_protocol("epaxos"), draw) for draw in draws]
    assert {settings.reserve_numbers for settings in epaxos} == {1, 8, 256}
    # What a protocol does not have is left out.
    assert small_settings(find_protocol("paxos"), random.Random(1)).reserve_rounds in (1, 64)


def test_ports_are_free_and_stay_so() -> None:
    ports = steady_ports(5, random.Random(1))
    assert len(set(ports)) == 5
    assert all(20_000 <= port < 30_000 for port in ports)


def test_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "node-1.log"
    event = {"level": "info", "event": "elected", "message": "node 1: elected", "arguments": {"floor": 3}}
    log.write_text(json.dumps(event) + "\nTraceback (most recent call last):\n\n")
    elected, traceback = log_lines(log)
    assert (elected.event, elected.level, elected.arguments) == ("elected", "info", {"floor": 3})
    assert (traceback.level, traceback.text) == ("none", "Traceback (most recent call last):")
    assert list(log_lines(tmp_path / "absent.log")) == []


# --- the network -------------------------------------------------------------------------------------


@asynccontextmanager
async def echoing() -> AsyncIterator[Network]:
    """A network whose node 1 says again what it hears."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)

    async def echo(stream: SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        network = Network({1: listener.extra(SocketAttribute.local_port), 2: 1})
        await network.open(tasks)
        yield network
        tasks.cancel_scope.cancel()


async def call(network: Network) -> SocketStream:
    host, _, port = network.address(2, 1).rpartition(":")
    return await anyio.connect_tcp(host, int(port))


async def heard(stream: SocketStream, many: int) -> bytes:
    data = b""
    with anyio.fail_after(PATIENCE_S):
        while len(data) < many:
            data += await stream.receive()
    return data


async def is_broken(stream: SocketStream) -> bool:
    with anyio.fail_after(PATIENCE_S):
        try:
            await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return True
    return False


@pytest.mark.anyio
async def test_what_is_not_disturbed_arrives() -> None:
    async with echoing() as network, await call(network) as stream:
        await stream.send(b"x" * 300_000)
        assert await heard(stream, 300_000) == b"x" * 300_000
    assert network.address(CLIENTS, 1) != network.address(2, 1)


@pytest.mark.anyio
async def test_a_cut_breaks_connections_and_lets_none_be_made_until_it_is_healed() -> None:
    async with echoing() as network, await call(network) as stream:
        await stream.send(b"a")
        assert await heard(stream, 1) == b"a"
        network.cut([(2, 1), (1, 2)])
        assert await is_broken(stream)
        async with await call(network) as refused:
            assert await is_broken(refused)
        network.heal_all()
        async with await call(network) as again:
            await again.send(b"b")
            assert await heard(again, 1) == b"b"


@pytest.mark.anyio
@pytest.mark.parametrize("way", [(2, 1), (1, 2)])
async def test_what_a_way_does_not_take_comes_late(way: tuple[int, int]) -> None:
    async with echoing() as network, await call(network) as stream:
        network.stall([way])
        await stream.send(b"late")
        with anyio.move_on_after(0.2) as waited:
            await stream.receive()
        assert waited.cancelled_caught
        network.heal([way])
        assert await heard(stream, 4) == b"late"


@pytest.mark.anyio
async def test_what_a_way_does_not_take_is_lost_with_the_connection() -> None:
    async with echoing() as network, await call(network) as stream:
        network.stall([(2, 1)])
        await stream.send(b"lost")
        network.reset([(2, 1)])
        assert await is_broken(stream)


@pytest.mark.anyio
async def test_a_slow_way_delivers_in_order() -> None:
    async with echoing() as network, await call(network) as stream:
        network.slow([(2, 1)], 0.3)
        started_s = anyio.current_time()
        await stream.send(b"a")
        await stream.send(b"b")
        assert await heard(stream, 2) == b"ab"
        assert anyio.current_time() - started_s >= 0.3


# --- judges ------------------------------------------------------------------------------------------


def test_scans_of_one_group_leave_the_others_apart() -> None:
    low, high = bounds_of(b"g1")
    history = [
        Operation(1, "put", b"g1:a", b"1", call_s=0.0, return_s=1.0),
        Operation(2, "put", b"g2:a", b"2", call_s=0.0, return_s=1.0),
        Operation(1, "increment", b"g1:n", 1, call_s=2.0, return_s=3.0, out=1),
        Operation(1, "scan", (low, high), call_s=4.0, return_s=5.0, out=((b"g1:a", b"1"), (b"g1:n", b"1"))),
    ]
    verdict = check_linearizable(history, KeyGroups())
    assert (verdict.ok, verdict.partitions) == (True, 2)
    stale = [*history, Operation(2, "scan", (low, high), call_s=6.0, return_s=7.0, out=((b"g1:a", b"1"),))]
    assert check_linearizable(stale, KeyGroups()).violation is not None


@pytest.mark.parametrize(
    "bounds", [None, (b"g1:", None), (b"g1:", b"g2;"), (b"g1", b"g1;"), (b"a:b:", b"a:b;")]
)
def test_a_scan_of_several_groups_is_refused(bounds: tuple[bytes, bytes | None] | None) -> None:
    with pytest.raises(HistoryError, match="scan: key"):
        check_linearizable([Operation(1, "scan", bounds, call_s=0.0, return_s=1.0, out=())], KeyGroups())


def test_a_write_that_was_lost_is_seen_at_the_end() -> None:
    put = Operation("1.1", "put", b"g1:a", b"1", call_s=0.0, return_s=1.0)
    lost = Operation("end", "scan", bounds_of(b"g1"), call_s=9.0, return_s=9.1, out=())
    assert check_history([put], Decides.LOG).ok
    assert not check_history([put, lost], Decides.LOG).ok


def test_an_increment_too_many_is_seen_at_the_end() -> None:
    """A counter has at most one increment without an answer: its sum is one of two."""
    told = [
        Operation(f"1.{n}", "increment", b"count:n", 1, call_s=float(n), return_s=n + 0.5, out=n)
        for n in (1, 2)
    ]
    unknown = Operation("1.3", "increment", b"count:n", 1, call_s=3.0)

    def end(total: bytes) -> list[Operation]:
        out = ((b"count:n", total),)
        return [Operation("end", "scan", bounds_of(b"count"), call_s=9.0, return_s=9.1, out=out)]

    assert check_history([*told, unknown, *end(b"2")], Decides.LOG).ok
    assert check_history([*told, unknown, *end(b"3")], Decides.LOG).ok
    assert not check_history([*told, unknown, *end(b"4")], Decides.LOG).ok
    assert not check_history([*told, *end(b"3")], Decides.LOG).ok


def test_what_was_rejected_and_done_is_seen() -> None:
    """What was certainly not carried out is left out of a history; nobody may read it."""
    read = Operation("end", "decide", b"d1", call_s=1.0, return_s=2.0, out=b"rejected")
    assert not check_history([read], Decides.DECREES).ok


@pytest.mark.anyio
async def test_a_mirror_holds_what_the_store_holds_and_tells_what_differs() -> None:
    async with open_cluster("multipaxos", nodes=3, timeout_s=PATIENCE_S) as cluster:
        client, wrong = cluster.client(), list[str]()
        for number in range(250):  # more than a page
            await client.put(b"k%d" % number, b"before")
        mirror = Mirror(cluster.addresses, wrong, 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mirror.run)
            # It has begun when it holds what is there.
            assert await mirror.difference(client, PATIENCE_S) == ""
            assert await client.delete(b"k7")
            await client.put(b"k8", b"after")
            await client.increment(b"n")
            assert await mirror.difference(client, PATIENCE_S) == ""
            tasks.cancel_scope.cancel()
        assert (wrong, mirror.changes, len(mirror.state)) == ([], 3, 250)
        mirror.state[b"k8"] = b"before"
        assert "told of b'before' as the last value of b'k8'" in await mirror.difference(client, 1.0)
        await client.put(b"k8", b"later")
        assert "told up to revision 253 of 254" in await mirror.difference(client, 0.1)


# --- campaigns ---------------------------------------------------------------------------------------


@UNIX
def test_a_campaign_of_a_log_in_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "history.jsonl"
    command = ["torture", "--seconds", "8", "--seed", "3", "--json", "--directory", str(tmp_path / "run")]
    code = main([*command, "--history", str(history)])
    found = json.loads(capsys.readouterr().out)
    assert found["wrong"] == []
    assert code == EXIT_DONE
    assert found["faults"]["kill"] >= 1
    assert found["operations"]["done"] >= 100
    assert found["seen"]["leaders elected"] >= 2
    assert found["seen"]["snapshots made"] >= 3
    assert found["seen"]["changes told"] > 10
    assert found["restored"]
    assert found["keys"] > 10
    assert found["verdict"]["outcome"] == "linearizable"
    # The file is one that `paxos check` takes.
    operations = read_history(history)
    assert len(operations) == found["verdict"]["operations"]
    assert check_linearizable(operations, "paxos.check.groups:KeyGroups").ok
    assert json.loads((tmp_path / "run" / "report.json").read_text()) == found


@UNIX
def test_a_campaign_without_a_leader_in_short(tmp_path: Path) -> None:
    report = anyio.run(run_campaign, Campaign(tmp_path, protocol="epaxos", seconds=6.0, seed=3))
    assert report.wrong == []
    assert report.operations["done"] >= 100
    assert report.faults["kill"] >= 1
    assert report.restored
    assert report.verdict["partitions"] > 5


@UNIX
def test_a_campaign_of_decrees_in_short(tmp_path: Path) -> None:
    report = anyio.run(
        run_campaign, Campaign(tmp_path, protocol="paxos", seconds=5.0, seed=7), backend="trio"
    )
    assert report.wrong == []
    assert report.operations["done"] >= 100
    assert report.faults["kill"] >= 1
    assert report.verdict["partitions"] > 5


def test_a_campaign_that_found_something_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def violated(campaign: Campaign, tell: Callable[[str, float], Awaitable[None]]) -> Report:
        described = {"protocol": "multipaxos", "nodes": 3, "seconds": 8.0, "seed": 3}
        return Report(described, verdict={"text": "not linearizable: 2 operations"}, wrong=["a put is lost"])

    monkeypatch.setattr(campaigns, "run_campaign", violated)
    assert main(["torture", "--directory", str(tmp_path / "new")]) == EXIT_CHECK_FAILED
    said = capsys.readouterr()
    assert "WRONG: see below" in said.out
    assert "wrong: a put is lost" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "raft"], "known here: epaxos, fastpaxos, fastpaxos-log, multipaxos"),
        (["--directory", "{path}"], "is there already"),
        (["--nodes", "0"], "1..9"),
        (["--seconds", "-1"], "expected seconds above 0"),
    ],
)
def test_arguments_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "full").write_text("")
    given = [each.replace("{path}", str(tmp_path)) for each in arguments]
    assert main(["torture", *given]) == EXIT_USAGE
    assert message in capsys.readouterr().err


# --- what it compares ----------------------------------------------------------------------------------


def backup_of(acknowledged: Sequence[int], commands: int, value: bytes = b"v") -> list[bytes]:
    """A backup of a node that applied five writes in this order of what its client had acknowledged."""
    sessions, machine = Sessions(), KeyValue()
    bodies = [put(b"k%d" % number, value) for number in range(1, 6)]

    def apply(first: int, requests: Sequence[bytes]) -> list[bytes]:
        return machine.apply_many(requests)

    for upto in acknowledged:
        number = upto + 1
        body = bodies[number - 1]
        sessions.apply(Run(b"c" * 16, 0, upto, number, digest_of(body), [body]), apply)
    return list(snapshot_pieces(None, pack_part(commands, b""), sessions, machine))


def test_client_tables_are_compared_as_at_a_marker() -> None:
    one, other = backup_of((0, 1, 2, 3, 4), 7), backup_of((4, 3, 0, 2, 1), 9)
    assert b"".join(one) != b"".join(other)
    assert digest_at_marker(one) == digest_at_marker(other)
    # A request less, and another value, do show.
    assert digest_at_marker(one) != digest_at_marker(backup_of((0, 1, 3, 4), 7))
    assert digest_at_marker(one) != digest_at_marker(backup_of((0, 1, 2, 3, 4), 7, b"w"))


def test_snapshots_of_one_marker_must_be_equal() -> None:
    def line(number: int, digest: str) -> LogLine:
        return LogLine("snapshot", "info", "", {"number": number, "digest": digest})

    logs = {1: [line(3, "aa"), line(4, "bb")], 2: [line(3, "aa"), line(5, "cc")], 3: [line(5, "dd")]}
    equal, wrong = compare_snapshots(logs)
    assert equal == 1
    assert wrong == ["snapshot 5: nodes differ in what they made at one marker: [2] cc, [3] dd"]
