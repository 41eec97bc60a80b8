"""EPaxos from the shell: cluster files, stores, status, backups."""

import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest

import paxos
from epaxos import EPaxosQuorums
from epaxos.instances import Choice, Instance, InstanceId
from epaxos.messages import PreAccept
from epaxos.records import decision_key, instance_key, pack_decision, pack_instance, pack_reservation
from epaxos.stored import stored_log
from epaxos.values import pack_value
from paxos.ballot import Ballot
from paxos.cli import main
from paxos.command import NOP, Command, Footprint, RequestId
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_NO, EXIT_USAGE, ConfigurationError, QuorumError
from paxos.quorum import Phase
from paxos.runtime import QuorumSpec, load_cluster
from paxos.runtime.config import parse_cluster
from paxos.runtime.ports import free_ports
from paxos.runtime.sqlite_store import open_sqlite_store
from paxos.runtime.store import inspect_store
from paxos.service import LogSettings
from tests.epaxos_net import Net

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

Capture = pytest.CaptureFixture[str]
PATIENCE_S = 60


def json_of(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


# --- cluster files -----------------------------------------------------------------------------------


def init(place: Path, *options: str) -> int:
    return main(["init", str(place), "--protocol", "epaxos", *options])


@pytest.mark.parametrize(
    ("options", "failures"),
    [
        (("--nodes", "3"), (1, 1)),
        (("--nodes", "5"), (2, 2)),
        (("--nodes", "5", "--failures", "2", "--fast-failures", "1"), (2, 1)),
        (("--nodes", "7", "--fast-failures", "0"), (3, 0)),
        (("--nodes", "6", "--failures", "1"), (1, 1)),
        (("--nodes", "21"), (10, 6)),
    ],
)
def test_init_and_check_say_how_many_may_fail(
    tmp_path: Path, capsys: Capture, options: tuple[str, ...], failures: tuple[int, int]
) -> None:
    place = tmp_path / "shop"
    assert init(place, *options, "--base-port", str(free_ports(1)[0])) == EXIT_DONE
    config = load_cluster(place / "cluster.toml")
    quorums = config.quorum_system()
    assert isinstance(quorums, EPaxosQuorums)
    assert (quorums.failures, quorums.fast_failures) == failures
    assert (config.quorums is None) == (len(options) == 2)
    main(["check", "--config", str(place / "cluster.toml")])
    shown = capsys.readouterr().out
    down = f"{failures[0]} node{'' if failures[0] == 1 else 's'} down"
    assert f"goes on with any {down}, in one round trip with any {failures[1]}" in shown
    # What the file teaches can be taken at its word.
    text = (place / "cluster.toml").read_text()
    taught = re.sub(r"(?m)^# (\[|kind|failures|fast_failures|re|fast_wait)", r"\1", text)
    assert parse_cluster(taught, place / "t").quorum_system() == quorums


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--nodes", "2"), "EPaxos needs at least 3 replicas, not 2"),
        (
            ("--nodes", "5", "--failures", "3"),
            "with 5 replicas at most 2 may fail, not 3: two classic",
        ),
        (("--nodes", "7", "--fast-failures", "3"), "the fast path survives at most 2, not 3: a recovery"),
        (("--failures", "1", "--fast-failures", "2"), "a whole number from 0 to failures, 1, not 2"),
    ],
)
def test_numbers_of_failures_that_can_not_be_are_refused_with_the_reason(
    tmp_path: Path, capsys: Capture, options: tuple[str, ...], why: str
) -> None:
    assert init(tmp_path / "shop", *options) == EXIT_USAGE
    assert why in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()


def test_a_file_with_such_numbers_is_refused_by_check_and_serve(tmp_path: Path, capsys: Capture) -> None:
    assert init(tmp_path / "shop", "--nodes", "5", "--failures", "2", "--fast-failures", "2") == EXIT_DONE
    file = tmp_path / "shop" / "cluster.toml"
    file.write_text(re.sub(r"failures = 2 ", "failures = 3 ", file.read_text(), count=1))
    for command in (["check"], ["serve", "--node", "1"], ["status"]):
        assert main([*command, "--config", str(file)]) == EXIT_USAGE
        assert "quorums: EPaxosQuorums: with 5 replicas at most 2 may fail" in capsys.readouterr().err


def test_quorums_of_another_kind_are_refused() -> None:
    by_failures = EPaxosQuorums
    with pytest.raises(ConfigurationError, match=r"how many nodes may fail: kind failures .*not majority"):
        QuorumSpec("majority").build((1, 2, 3), by_failures)
    with pytest.raises(ConfigurationError, match="kind failures are of protocols that name how many"):
        QuorumSpec("failures", {"failures": 1}).build((1, 2, 3))
    with pytest.raises(ConfigurationError, match="phase1"):
        QuorumSpec("failures", {"phase1": 1})
    assert QuorumSpec("failures", {"fast_failures": 0}).build((1, 2, 3), by_failures).sizes[Phase.FAST] == 3


def test_init_of_another_protocol_takes_no_numbers_of_failures(tmp_path: Path, capsys: Capture) -> None:
    assert main(["init", str(tmp_path / "x"), "--failures", "1"]) == EXIT_USAGE
    assert "the quorums of protocol paxos are not named so" in capsys.readouterr().err


def test_quorums_of_many_are_found_at_once() -> None:
    quorums = EPaxosQuorums(range(1, 102))
    assert (quorums.survives(Phase.TWO), quorums.survives(Phase.FAST)) == (50, 26)
    assert quorums.best_quorum(lambda node: abs(node - 50), Phase.TWO) == frozenset(range(25, 76))
    small = EPaxosQuorums((1, 2, 3, 4))
    assert small.best_quorum(lambda node: 1.0 * (node == 1), Phase.TWO) == {2, 3, 4}
    with pytest.raises(QuorumError, match="node 1 is -1"):
        small.best_quorum(lambda node: -1)


# --- status ------------------------------------------------------------------------------------------


def test_status_names_the_instance_that_is_waited_for_and_since_when() -> None:
    net = Net(3)
    replica = net.nodes[1]
    assert replica.status().values["latency_ms"] == {}
    net.run()
    net.write(3, b"k")
    # Another knows of it, and its owner falls silent before it commits.
    assert net.pass_on(PreAccept, 3, 1)
    net.lose(sender=3)
    net.crash(3)
    net.write(1, b"k")
    assert net.pass_on(PreAccept, 1, 2)
    net.run(0.5)
    status = replica.status()
    assert (status.values["unexecuted"], list(status.values["waits_for_s"])) == (1, ["3.1"])  # type: ignore[call-overload]
    assert re.fullmatch(r"executed 0 instances, 1 wait, for 3\.1 since 0\.\d+ s", status.summary)
    assert status.values["recovering"] == []
    net.run(10.0)
    status = replica.status()
    assert (status.values["unexecuted"], status.values["waits_for_s"]) == (0, {})
    latency_ms: Any = status.values["latency_ms"]
    # It was committed soon, and carried out when the other had been recovered.
    assert latency_ms["commit"] < 500 < latency_ms["execute"]
    assert not net.violations


# --- stores ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stores of three nodes that have stopped, with a snapshot, and a backup taken before."""
    place = tmp_path_factory.mktemp("stopped")
    with paxos.open_cluster_sync(
        "epaxos",
        nodes=3,
        cluster="shop",
        store=place / "data",
        timeout_s=PATIENCE_S,
        log=LogSettings(marker_requests=40, growth=0.0),
    ) as cluster:
        one, two = cluster.client(node=1), cluster.client(node=2)
        for number in range(100):
            two.put(b"many/%02d" % number, b".")
        one.put(b"colour", b"blue")
        two.cas(b"colour", b"blue", b"red")
        one.increment(b"visits", 3)
        at = ["--cluster", ",".join(cluster.addresses), "--timeout", str(PATIENCE_S)]
        assert main(["backup", "--out", str(place / "shop.backup"), *at]) == EXIT_DONE
        assert main(["leader", *at]) == EXIT_NO
        assert main(["transfer", "2", *at]) == EXIT_NO
        with pytest.raises(paxos.Rejected, match="EPaxos has no leader"):
            one.transfer(2)
        assert main(["status", *at]) == EXIT_DONE
    return place


def test_nobody_leads(stopped: Path, capsys: Capture) -> None:
    with paxos.open_cluster_sync("epaxos", nodes=3, timeout_s=PATIENCE_S) as cluster:
        at = ["--cluster", ",".join(cluster.addresses), "--timeout", str(PATIENCE_S)]
        assert main(["leader", *at]) == EXIT_NO
        assert capsys.readouterr().err == "paxos: protocol epaxos has no leader\n"
        assert main(["transfer", "2", *at]) == EXIT_NO
        assert "protocol epaxos has no leader, so there is nothing to hand over" in capsys.readouterr().err
        assert main(["put", "a", "b", *at]) == EXIT_DONE
        assert main(["status", *at]) == EXIT_DONE
        shown = capsys.readouterr().out
        assert "replica" in shown
        assert re.search(r"executed [01] instances, 0 wait", shown)


def test_the_instances_of_a_store_are_shown(stopped: Path, capsys: Capture) -> None:
    store = str(stopped / "data" / "1")
    assert main(["log", "--store", store]) == EXIT_DONE
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == "made for members 1, 2, 3: epaxos(1,2,3;failures=1,fast_failures=1)"
    snapshot = re.compile(r"snapshot \d+: everything up to instance \d\.\d+; \d+ pieces, 1 clients")
    assert any(snapshot.match(line) for line in shown)
    assert any(line.startswith("instances of node 2: ") for line in shown)
    assert "  client" in "\n".join(shown)
    (swap,) = (at for at, line in enumerate(shown) if "cas key=colour" in line)
    instance = r"instance 2\.\d+  ballot 0\.2  decided  after \d+ \d+ \d+  1 request"
    assert re.fullmatch(instance, shown[swap - 1])
    assert any(line.endswith("  marker") for line in shown)

    assert main(["log", "--store", store, "--from", "2.1", "--limit", "2", "--json"]) == EXIT_DONE
    part = json_of(capsys)
    assert all(entry["instance"].startswith("2.") for entry in part["entries"])
    assert part["more"]
    first = part["entries"][0]
    assert (first["phase"], first["chosen"], len(first["deps"])) == ("decided", True, 3)
    assert part["chosen"] <= part["instances"]
    assert main(["check", "--store", store]) == EXIT_DONE
    summary = r"\d+ instances, proved chosen: \d+, snapshot at instance \d\.\d+"
    assert re.search(summary, capsys.readouterr().out)
    assert main(["log", "--store", store, "--from", "1.2.3"]) == EXIT_USAGE
    assert "expected a number, or OWNER.NUMBER, not '1.2.3'" in capsys.readouterr().err


def test_what_is_not_decided_is_shown_as_it_is() -> None:
    lowest, later = Ballot(0, 1), Ballot(3, 2)
    command = Command(RequestId(b"c" * 16, 0, 1, b"d" * 8), Footprint((), (b"k",)), b"")

    def instance(number: int, ballot: Ballot = lowest, **fields: Any) -> Instance:
        made = Instance(0, number, ballot)
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    found = [
        instance(1, value=pack_value(command), deps=(0, 2, 0), initial_deps=(0, 2, 0), phase=1),
        instance(2, later, value=pack_value(command), deps=(0, 0, 0), phase=2, accepted_ballot=lowest),
        instance(3, later),
        instance(4, later, deps=(0, 0, 0), phase=2, accepted_ballot=later, is_nop=True),
        instance(5, value=pack_value(command), deps=(0, 2, 0), initial_deps=(0, 2, 0), phase=1),
    ]
    records = {instance_key(1, each.number): pack_instance(each) for each in found}
    records[decision_key(1, 5)] = pack_decision(Choice(False, (4, 2, 0)))
    records[decision_key(2, 9)] = pack_decision(Choice(True, (0, 0, 0)))
    records[b"n"] = pack_reservation(12)
    log = stored_log(records)
    entries = list(log.entries)
    assert [(each.mark, each.ballot, each.chosen, each.phase, each.deps) for each in entries] == [
        (InstanceId(1, 1), "0.1", False, "pre-accepted", "0 2 0"),
        (InstanceId(1, 2), "3.2, accepted at 0.1", False, "accepted", "0 0 0"),
        (InstanceId(1, 3), "3.2", False, "initial, command not known", ""),
        (InstanceId(1, 4), "3.2", False, "accepted as a no-op", "0 0 0"),
        (InstanceId(1, 5), "0.1", True, "decided", "4 2 0"),
        (InstanceId(2, 9), "none", True, "decided as a no-op", "0 0 0"),
    ]
    assert [each.command for each in entries] == [command, command, NOP, NOP, command, NOP]
    assert (log.size, log.chosen, log.place) == (6, 2, "instance")
    assert dict(log.others) == {
        "own numbers reserved up to": "12",
        "instances of node 1": "5 kept, from 1 to 5; 1 proved decided",
        "instances of node 2": "1 kept, from 9 to 9; 1 proved decided",
    }


def test_a_damaged_record_is_named(tmp_path: Path, capsys: Capture) -> None:
    with paxos.open_cluster_sync("epaxos", nodes=3, store=tmp_path, timeout_s=PATIENCE_S) as cluster:
        cluster.client(node=1).put(b"k", b"v")
    place, records = tmp_path / "2", dict[bytes, bytes]()
    card = inspect_store(str(place), verify=records.__setitem__).card
    key = next(key for key in records if key.endswith(instance_key(1, 1)))
    store = open_sqlite_store(place, cluster=card.cluster, node=card.node, protocol=card.protocol)
    store.write([(key, b"nonsense")])
    store.close()
    assert main(["check", "--store", str(place)]) == EXIT_CHECK_FAILED
    assert "damaged: record b'i" in capsys.readouterr().out
    assert main(["log", "--store", str(place)]) == EXIT_CHECK_FAILED
    assert "damaged: record b'i" in capsys.readouterr().out


# --- backups -----------------------------------------------------------------------------------------


def test_a_new_cluster_begins_with_a_backup(stopped: Path, tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "new"
    assert init(place, "--nodes", "5", "--base-port", str(free_ports(1)[0])) == EXIT_DONE
    file = str(place / "cluster.toml")
    backup = str(stopped / "shop.backup")
    assert main(["restore", "--in", backup, "--config", file, "--all"]) == EXIT_DONE
    capsys.readouterr()

    async def main_() -> None:
        opened = paxos.open_cluster("epaxos", 5, cluster="new", store=place / "data", timeout_s=PATIENCE_S)
        async with opened as cluster:
            assert await cluster.client(node=5).get(b"colour") == b"red"
            assert await cluster.client(node=3).increment(b"visits") == 4
            assert len((await cluster.client(node=1).scan(b"many/", b"many0")).items) == 100

    anyio.run(main_)
