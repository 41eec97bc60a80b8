"""The command line and the stores of a log: what is shown of them, backups, and clusters made of these."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

import paxos
from paxos import keyvalue
from paxos.cli import main
from paxos.cli.check import look_at_store
from paxos.cli.log_store import look_at_log, named_request
from paxos.command import RequestId
from paxos.contract import Effects, Instant, Mark, Outcome, OutcomeKind, Replica, find_protocol
from paxos.errors import (
    EXIT_CHECK_FAILED,
    EXIT_DONE,
    EXIT_USAGE,
    ConfigurationError,
    NodeStopped,
    PaxosError,
    RecordError,
    StoreRefused,
    Unreachable,
)
from paxos.runtime import ClusterConfig, NodeConfig, dump_cluster
from paxos.runtime.backup_files import read_backup, require_restorable, restore_node, write_backup
from paxos.runtime.ports import free_ports
from paxos.runtime.sqlite_store import open_sqlite_store
from paxos.runtime.store import inspect_store
from paxos.service import LogSettings, Turn
from paxos.service.backups import Backups, first_question, question, take_page
from paxos.service.batches import Run, batch_command, run_digests
from paxos.service.log import LogService
from paxos.service.log_messages import Level, Query, RefusedKind
from paxos.service.sessions import Sessions
from paxos.service.snapshots import Snapshot, read_content
from paxos.wire import dumps

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

Capture = pytest.CaptureFixture[str]

PATIENCE_S = 60


def json_of(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def files_below(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stores of three nodes that have stopped, and a backup taken before."""
    place = tmp_path_factory.mktemp("stopped")
    with paxos.open_cluster_sync(
        "multipaxos", nodes=3, cluster="shop", store=place / "data", timeout_s=PATIENCE_S
    ) as cluster:
        client = cluster.client()
        client.put(b"colour", b"blue")
        client.cas(b"colour", b"blue", b"red")
        client.increment(b"visits", 3)
        client.transaction([keyvalue.exists(b"colour")], [keyvalue.put(b"seen", b"yes")])
        client.submit_many([keyvalue.put(b"many/%02d" % number, bytes(50)) for number in range(60)])
        at = ["--cluster", ",".join(cluster.addresses), "--timeout", str(PATIENCE_S)]
        assert main(["backup", "--out", str(place / "shop.backup"), *at]) == EXIT_DONE
    return place


def new_config(
    place: Path, nodes: int = 3, cluster: str = "new", protocol: str = "multipaxos", **others: Any
) -> ClusterConfig:
    """A cluster whose stores are where `open_cluster(store=place / "data")` has them."""
    config = ClusterConfig(
        id=cluster,
        protocol=protocol,
        nodes=tuple(
            NodeConfig(node, f"127.0.0.1:{port}", str(place / "data" / str(node)))
            for node, port in enumerate(free_ports(nodes), 1)
        ),
        path=place / "cluster.toml",
        **others,
    )
    place.mkdir(exist_ok=True)
    (place / "cluster.toml").write_text(dump_cluster(config))
    return config


# --- log ---------------------------------------------------------------------------------------------


def test_the_log_of_a_store_is_shown_and_nothing_changed(stopped: Path, capsys: Capture) -> None:
    before = files_below(stopped)
    assert main(["log", "--store", str(stopped / "data" / "1"), "--requests", "5"]) == EXIT_DONE
    shown = capsys.readouterr().out.splitlines()
    assert files_below(stopped) == before
    assert shown[0].endswith("node 1 of cluster 'shop', protocol multipaxos, machine kv")
    assert shown[1] == "made for members 1, 2, 3: majority(1,2,3)"
    assert shown[2].startswith("promised: ballot ")
    assert "snapshot: none" in shown
    guards, then = [{"key": "colour", "is": "there"}], [{"op": "put", "key": "seen", "value": "yes"}]
    requests = [line.partition(": ")[2] for line in shown if line.startswith("  client ")]
    assert requests[:5] == [
        "put key=colour value=blue",
        "cas key=colour expected=blue value=red",
        "increment key=visits delta=3",
        f"transaction guards={guards} then={then} otherwise=[]",
        requests[4],
    ]
    assert requests[4].startswith("put key=many/00 value=")
    assert shown[-1] == "  and 55 more"


def test_the_log_as_json_and_page_by_page(stopped: Path, capsys: Capture) -> None:
    store = str(stopped / "data" / "2")
    assert main(["log", "--store", store, "--limit", "2", "--json"]) == EXIT_DONE
    first = json_of(capsys)
    assert (first["node"], first["protocol"], first["charter"]["machine"]) == (2, "multipaxos", "kv")
    assert first["complaints"] == []
    assert first["snapshot"] is None
    assert [entry["slot"] for entry in first["entries"]] == [1, 2]
    assert first["more"]
    (request,) = first["entries"][0]["requests"]
    assert (request["op"], request["key"], request["value"]) == ("put", "colour", "blue")
    assert len(request["client"]) == 32
    assert request["number"] == 1
    assert main(["log", "--store", store, "--from", "3", "--json"]) == EXIT_DONE
    rest = json_of(capsys)
    assert rest["entries"][0]["slot"] == 3
    assert not rest["more"]
    assert len(rest["entries"]) + 2 == rest["slots"]
    assert rest["entries"][-1]["count"] == 60


def test_a_store_that_no_log_is_in(tmp_path: Path, capsys: Capture) -> None:
    open_sqlite_store(tmp_path / "decrees", cluster="c", node=1, protocol="paxos").close()
    assert main(["log", "--store", str(tmp_path / "decrees")]) == EXIT_USAGE
    assert "protocol paxos keeps no log" in capsys.readouterr().err
    assert main(["log", "--store", str(tmp_path / "absent")]) == EXIT_USAGE
    assert "absent" in capsys.readouterr().err


def test_requests_are_named() -> None:
    assert named_request(keyvalue.scan(b"a", None, 3)) == {"op": "scan", "low": "a", "high": None, "limit": 3}
    assert named_request(keyvalue.get(b"\xff")) == {"op": "get", "key": {"base64": "/w=="}}
    guarded = keyvalue.transaction(
        [keyvalue.equals(b"k", b"1"), keyvalue.absent(b"l")], [keyvalue.delete(b"k")]
    )
    assert named_request(guarded) == {
        "op": "transaction",
        "guards": [{"key": "k", "is": "equal", "value": "1"}, {"key": "l", "is": "absent"}],
        "then": [{"op": "delete", "key": "k"}],
        "otherwise": [],
    }
    assert named_request(b"another machine's") is None


# --- check -------------------------------------------------------------------------------------------


def test_check_looks_at_the_store_of_a_log(stopped: Path, capsys: Capture) -> None:
    store = str(stopped / "data" / "3")
    assert main(["check", "--store", store, "--json"]) == EXIT_DONE
    found = json_of(capsys)
    assert found["slots"] >= 5
    assert (found["damaged"], found["refused"]) == (0, None)
    assert main(["check", "--store", store, "--list"]) == EXIT_USAGE
    assert "`paxos log --store DIR` lists it" in capsys.readouterr().err


def test_check_names_the_damaged_slot(tmp_path: Path, capsys: Capture) -> None:
    with paxos.open_cluster_sync("multipaxos", nodes=1, cluster="c", store=tmp_path) as cluster:
        cluster.client().put(b"k", b"v", timeout_s=PATIENCE_S)
    place = tmp_path / "1"
    store = open_sqlite_store(place, cluster="c", node=1, protocol="multipaxos")
    (key,) = [key for key in store.load() if b"a\0\0\0\0\0\0\0\1" in key]
    store.write([(key, b"not a record")])
    store.close()
    assert main(["check", "--store", str(place)]) == EXIT_CHECK_FAILED
    assert "damaged: the vote in slot 1: " in capsys.readouterr().out
    look = look_at_store(str(place))
    assert look.log is not None
    assert look.report.damaged_count == 1
    assert main(["log", "--store", str(place)]) == EXIT_CHECK_FAILED
    assert "damaged: " in capsys.readouterr().out


# --- backup ------------------------------------------------------------------------------------------


def test_a_backup_says_what_it_is_of(stopped: Path) -> None:
    backup = read_backup(stopped / "shop.backup")
    header = backup.header
    assert (header.cluster, header.protocol, header.machine) == ("shop", "multipaxos", "kv")
    machine = paxos.KeyValue()
    machine.restore(backup.content.machine)
    assert keyvalue.got(machine.query(keyvalue.get(b"colour"))) == b"red"
    assert len(keyvalue.scanned(machine.query(keyvalue.scan())).items) == 63
    assert list(stopped.glob("*.new")) == []


@pytest.mark.parametrize("stale", [1, 2, 3])
def test_a_backup_holds_what_was_acknowledged_before(stale: int, tmp_path: Path) -> None:
    with paxos.open_cluster_sync("multipaxos", nodes=3, timeout_s=PATIENCE_S) as cluster:
        writer = cluster.client()
        at = ["--cluster", cluster.addresses[stale - 1], "--timeout", str(PATIENCE_S)]
        for number in range(5):
            writer.put(b"n", b"%d" % number)
            path = tmp_path / f"{number}.backup"
            assert main(["backup", "--out", str(path), *at, "--json"]) == EXIT_DONE
            machine = paxos.KeyValue()
            machine.restore(read_backup(path).content.machine)
            assert keyvalue.got(machine.query(keyvalue.get(b"n"))) == b"%d" % number


@pytest.mark.anyio
async def test_a_backup_is_of_one_moment_while_writes_go_on(tmp_path: Path) -> None:
    sizes: list[int] = []
    async with paxos.open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        client, writer = cluster.client(2), cluster.client(1)
        await writer.submit_many([keyvalue.put(b"large/%d" % n, bytes(100_000)) for n in range(30)])
        async with anyio.create_task_group() as group:

            async def write() -> None:
                while True:
                    # Two keys that change in one step are equal at every moment.
                    n = b"%d" % len(sizes)
                    await writer.transaction([], [keyvalue.put(b"a", n), keyvalue.put(b"z", n)])

            group.start_soon(write)
            header = await write_backup(client, tmp_path / "b", sizes.append)
            group.cancel_scope.cancel()
    assert header.node == 2
    assert len(sizes) > 20, "it came in pieces"
    assert sizes == sorted(sizes)
    machine = paxos.KeyValue()
    machine.restore(read_backup(tmp_path / "b").content.machine)
    assert all(
        keyvalue.got(machine.query(keyvalue.get(b"large/%d" % n))) == bytes(100_000) for n in range(30)
    )
    a, z = (keyvalue.got(machine.query(keyvalue.get(key))) for key in (b"a", b"z"))
    assert a == z


@pytest.mark.anyio
async def test_a_backup_begins_anew_when_its_node_is_gone(tmp_path: Path) -> None:
    async with paxos.open_cluster("multipaxos", 3, timeout_s=PATIENCE_S) as cluster:
        client = cluster.client(2)
        await client.submit_many([keyvalue.put(b"large/%d" % n, bytes(100_000)) for n in range(30)])
        stream = client.backup()
        await anext(stream)
        asked = client.node
        assert asked is not None
        await cluster.stop_node(asked)
        with pytest.raises(Unreachable, match="begin anew"):
            async for _ in stream:
                pass
        await cluster.start_node(asked)
        stops = iter([True])

        def stop_once(size: int) -> None:
            if size > 300_000 and next(stops, False):
                assert client.node is not None
                group.start_soon(cluster.stop_node, client.node)

        async with anyio.create_task_group() as group:
            await write_backup(client, tmp_path / "b", stop_once)
        assert next(stops, None) is None, "a node was stopped on the way"
    assert read_backup(tmp_path / "b").pieces > 20


def test_nothing_is_overwritten_and_nothing_half_done_is_left(stopped: Path, capsys: Capture) -> None:
    (port,) = free_ports(1)
    at = ["--cluster", f"127.0.0.1:{port}", "--timeout", "0.2"]
    before = (stopped / "shop.backup").read_bytes()
    assert main(["backup", "--out", str(stopped / "shop.backup"), *at]) == EXIT_USAGE
    assert "is there already and is not overwritten" in capsys.readouterr().err
    assert (stopped / "shop.backup").read_bytes() == before
    with paxos.open_cluster_sync("paxos", nodes=1) as decrees:
        at = ["--cluster", decrees.addresses[0]]
        assert main(["backup", "--out", str(stopped / "other"), *at]) == EXIT_USAGE
    assert "protocol paxos keeps no log" in capsys.readouterr().err
    assert main(["backup", "--out", str(stopped / "no" / "place"), *at]) == EXIT_USAGE
    assert "can not be written" in capsys.readouterr().err
    assert {path.name for path in stopped.iterdir()} == {"data", "shop.backup"}


def test_a_damaged_backup_is_refused(stopped: Path, tmp_path: Path) -> None:
    good = (stopped / "shop.backup").read_bytes()
    path = tmp_path / "bad"
    step = max(len(good) // 97, 1)
    for at in range(0, len(good), step):
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]):
            path.write_bytes(bad)
            with pytest.raises((RecordError, ConfigurationError), match="bad: "):
                read_backup(path)
    path.write_bytes(good + b"x")
    with pytest.raises(RecordError, match="checksum"):
        read_backup(path)
    path.write_bytes(good.replace(b"paxos-backup 1", b"paxos-backup 2"))
    with pytest.raises(ConfigurationError, match="is of version 2, and this release reads version 1"):
        read_backup(path)
    path.write_bytes(b"[cluster]")
    with pytest.raises(ConfigurationError, match="is no backup"):
        read_backup(path)


class _Cut:
    def __init__(self, pieces: int) -> None:
        self.pieces = [b"%d" % number for number in range(pieces)]

    def __call__(self) -> Iterator[bytes]:
        return iter(self.pieces)


def _ask(name: bytes, index: int | None = None) -> Query:
    return Query(7, Level.BACKUP, first_question(name) if index is None else question(name, index))


class _Reader:
    """A replica that notes what it is to read."""

    def __init__(self) -> None:
        self.reads: list[RequestId] = []

    def read(self, request: RequestId, now: Instant) -> None:
        self.reads.append(request)

    def part(self, mark: Mark) -> bytes:
        return b""


def test_the_cut_waits_until_all_that_was_acknowledged_is_applied() -> None:
    replica, now = _Reader(), Instant(0.0)
    service = LogService(1, cast("Replica", replica), paxos.KeyValue(), LogSettings(), bytes(16), {}, now)
    service.request("client", _ask(b"b"), now)
    service.flush()
    (request,) = replica.reads
    effects, turn = Effects(), Turn()
    effects.outcomes = [Outcome(request, OutcomeKind.READY, mark=1)]
    service.settle(effects, turn)
    assert turn.answers == [], "a follower that is behind does not answer yet"
    put = keyvalue.put(b"acknowledged", b"before")
    effects, turn = Effects(), Turn()
    effects.applies = [(1, batch_command(bytes(16), 1, [Run(b"c" * 16, 0, 0, 1, run_digests([put]), [put])]))]
    service.settle(effects, turn)
    ((_, reply),) = turn.answers
    page = take_page(reply.result)
    assert page is not None
    machine = paxos.KeyValue()
    machine.restore(read_content(Snapshot(0, b"", page.pieces)).machine)
    assert keyvalue.got(machine.query(keyvalue.get(b"acknowledged"))) == b"before"
    service.disconnect("client", now)
    service.request("client", Query(8, Level.BACKUP, question(b"b", 4)), now)
    service.settle(Effects(), turn)
    assert take_page(turn.answers[-1][1].result) is None


def test_a_node_hands_out_pieces_in_order_to_those_who_asked() -> None:
    backups = Backups(3)
    assert backups.go_on("client", _ask(b"one"), 0.0) is None
    reply = backups.begin("client", _ask(b"one"), _Cut(6), 0.0)
    assert reply.result is not None
    page = take_page(reply.result)
    assert page == (3, 0, [b"0", b"1", b"2", b"3"], False)
    for _ in range(2):  # the second time the answer was late
        again = backups.go_on("client", _ask(b"one", 4), 1.0)
        assert again is not None
        assert again.result is not None
        assert take_page(again.result) == (3, 4, [b"4", b"5"], True)
    for client, name, index in (("client", b"one", 12), ("other", b"one", 8), ("client", b"two", 0)):
        gone = backups.go_on(client, _ask(name, index), 1.0)
        assert gone is not None
        assert gone.result is not None
        assert take_page(gone.result) is None
    backups.leave("client")
    assert len(backups) == 0


def test_a_node_makes_only_a_few_at_once_and_gives_up_who_does_not_ask() -> None:
    backups = Backups(1)
    for number in range(4):
        assert backups.begin(number, _ask(b"b"), _Cut(20), 0.0).kind == 0
    refused = backups.begin("one more", _ask(b"b"), _Cut(20), 10.0)
    assert refused.kind == RefusedKind.REJECTED
    assert "4 backups already" in refused.detail
    assert backups.go_on(2, _ask(b"b", 4), 50.0) is not None
    assert backups.begin("one more", _ask(b"b"), _Cut(20), 70.0).kind == 0
    assert len(backups) == 2, "the one that goes on, and the new one"
    for body in (b"", b"\xff", dumps((b"b",)), dumps((b"b", -1)), dumps((b"b" * 65, None)), dumps(("b", 1))):
        bad = backups.go_on(2, Query(1, Level.BACKUP, body), 70.0)
        assert bad is not None
        assert bad.kind == RefusedKind.NEVER


# --- restore -----------------------------------------------------------------------------------------


def test_a_new_cluster_goes_on_from_a_backup(stopped: Path, tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "new"
    config = new_config(place, nodes=5)
    asked = ["restore", "--in", str(stopped / "shop.backup"), "--config", str(place / "cluster.toml")]
    assert main([*asked, "--node", "2", "--json"]) == EXIT_DONE
    found = json_of(capsys)
    assert (found["cluster"], found["from"], found["nodes"]) == ("new", "shop", [2])
    assert found["missing"] == [1, 3, 4, 5]
    assert main([*asked, "--all"]) == EXIT_USAGE
    assert f"{place}/data/2: is there already and is not overwritten" in capsys.readouterr().err
    for node in ("1", "3", "4", "5"):
        assert main([*asked, "--node", node]) == EXIT_DONE
    assert "restore node 1, 2, 3, 4 too" in capsys.readouterr().out
    assert main(["check", "--config", str(place / "cluster.toml")]) == EXIT_DONE
    assert main(["log", "--store", config.nodes[0].store, "--json"]) == EXIT_DONE
    shown = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(shown)["snapshot"]["clients"] == 1
    for _ in range(2):  # and once more after a restart
        with paxos.open_cluster_sync(
            "multipaxos", nodes=5, cluster="new", store=place / "data", timeout_s=PATIENCE_S
        ) as cluster:
            client = cluster.client(4)
            assert client.get(b"colour") == b"red"
            assert len(client.scan(b"many/", b"many0").items) == 60
            client.increment(b"visits")
    records: dict[bytes, bytes] = {}
    inspect_store(config.nodes[2].store, verify=records.__setitem__)
    assert look_at_log(find_protocol("multipaxos"), records).snapshot is not None


def test_requests_of_before_are_not_carried_out_again(tmp_path: Path) -> None:
    with paxos.open_cluster_sync("multipaxos", nodes=3, cluster="old", timeout_s=PATIENCE_S) as cluster:
        client = cluster.client()
        assert client.increment(b"n", 5) == 5
        name = client._client._log._name
        at = ["--cluster", ",".join(cluster.addresses)]
        assert main(["backup", "--out", str(tmp_path / "b"), *at]) == EXIT_DONE
    config = new_config(tmp_path / "new")
    backup = read_backup(tmp_path / "b")
    for node in config.members:
        restore_node(backup, config, node)
    with paxos.open_cluster_sync(
        "multipaxos", nodes=3, cluster="new", store=tmp_path / "new" / "data", timeout_s=PATIENCE_S
    ) as cluster:
        client = cluster.client()
        # The same client with the same request: as one does that never heard the answer.
        name.next = 1
        client._client._log._name = name
        assert client.increment(b"n", 5) == 5
        assert client.get(b"n") == b"5"
        assert client.increment(b"n", 5) == 10


def test_a_node_that_was_forgotten_is_refused(stopped: Path, tmp_path: Path) -> None:
    config = new_config(tmp_path / "new")
    backup = read_backup(stopped / "shop.backup")
    for node in (1, 2):
        restore_node(backup, config, node)

    def run() -> bytes | None:
        with paxos.open_cluster_sync(
            "multipaxos", nodes=3, cluster="new", store=tmp_path / "new" / "data", timeout_s=PATIENCE_S
        ) as cluster:
            return cluster.client().get(b"colour")

    with pytest.raises(NodeStopped, match="node 3 lost its disk"):
        run()
    assert look_at_store(config.nodes[0].store).refused == ""


def test_two_empty_nodes_make_no_cluster_without_the_backup(stopped: Path, tmp_path: Path) -> None:
    config = new_config(tmp_path / "new")
    restore_node(read_backup(stopped / "shop.backup"), config, 3)
    with (
        pytest.raises(NodeStopped, match="lost its disk"),
        paxos.open_cluster_sync(
            "multipaxos", nodes=3, cluster="new", store=tmp_path / "new" / "data"
        ) as cluster,
        pytest.raises(PaxosError),
    ):
        cluster.client().put(b"k", b"v", timeout_s=3)


def test_what_is_not_restored(stopped: Path, tmp_path: Path, capsys: Capture) -> None:
    backup = read_backup(stopped / "shop.backup")
    source = str(stopped / "shop.backup")
    same = new_config(tmp_path / "same", cluster="shop")
    with pytest.raises(ConfigurationError, match="give the new cluster an id of its own"):
        require_restorable(backup, same, same.members)
    other = new_config(tmp_path / "other", machine="paxos.service.keyvalue:KeyValue")
    with pytest.raises(
        ConfigurationError, match=r"machine is 'paxos.service.keyvalue:KeyValue', and the backup's"
    ):
        require_restorable(backup, other, other.members)
    path = tmp_path / "memory.toml"
    path.write_text(
        '[cluster]\nid = "m"\nprotocol = "multipaxos"\n[[node]]\nid = 1\naddress = "h:1"\nstore = "memory"\n'
    )
    assert main(["restore", "--in", source, "--config", str(path), "--all"]) == EXIT_USAGE
    assert "into a directory only" in capsys.readouterr().err
    path.write_text(path.read_text().replace("multipaxos", "paxos"))
    assert main(["restore", "--in", source, "--config", str(path), "--all"]) == EXIT_USAGE
    assert "protocol is 'paxos', and the backup's is 'multipaxos'" in capsys.readouterr().err
    good = new_config(tmp_path / "good")
    damaged = tmp_path / "damaged"
    damaged.write_bytes((stopped / "shop.backup").read_bytes()[:-1])
    asked = ["--config", str(good.path), "--all"]
    assert main(["restore", "--in", str(damaged), *asked]) == EXIT_USAGE
    assert "checksum" in capsys.readouterr().err
    assert main(["restore", "--in", str(tmp_path / "absent"), *asked]) == EXIT_USAGE
    assert "can not be read" in capsys.readouterr().err
    assert not (tmp_path / "good" / "data").exists()
    (tmp_path / "good" / "data" / "1").mkdir(parents=True)
    (tmp_path / "good" / "data" / "2").write_text("a file")
    with pytest.raises(StoreRefused, match="data/2: is there already"):
        require_restorable(backup, good, good.members)
    require_restorable(backup, good, (1, 3))


def test_an_empty_cluster_is_backed_up_too(tmp_path: Path) -> None:
    with paxos.open_cluster_sync("multipaxos", nodes=1, timeout_s=PATIENCE_S) as cluster:
        at = ["--cluster", cluster.addresses[0], "--timeout", str(PATIENCE_S)]
        assert main(["backup", "--out", str(tmp_path / "b"), *at]) == EXIT_DONE
    config = new_config(tmp_path / "new", nodes=1)
    backup = read_backup(tmp_path / "b")
    require_restorable(backup, config, config.members)
    restore_node(backup, config, 1)
    table = Sessions()
    table.unpack(backup.content.sessions)
    assert len(table) == 0
    with paxos.open_cluster_sync(
        "multipaxos", nodes=1, cluster="new", store=tmp_path / "new" / "data", timeout_s=PATIENCE_S
    ) as cluster:
        assert cluster.client().scan().items == ()
