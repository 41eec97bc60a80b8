"""Real nodes and clients above a protocol that orders only what conflicts; a new cluster from a backup."""

from pathlib import Path

import pytest

import paxos
from paxos import keyvalue
from paxos.cli import main
from paxos.errors import EXIT_DONE
from paxos.runtime.backup_files import read_backup, require_restorable, restore_node
from paxos.service import LogSettings
from tests.test_cli_log_stores import new_config

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

PROTOCOL = "tests.sequencer:PROTOCOL"
PATIENCE_S = 60


def test_clients_and_snapshots(tmp_path: Path) -> None:
    log = LogSettings(marker_requests=20, piece_s=0, growth=0)
    for life in range(2):
        with paxos.open_cluster_sync(
            PROTOCOL, nodes=3, store=tmp_path / "data", log=log, timeout_s=PATIENCE_S
        ) as cluster:
            clients = [cluster.client(node) for node in (1, 2, 3)]
            for number, client in enumerate(clients):
                client.put(b"k%d" % number, b"v%d" % life)
                client.submit_many([keyvalue.put(b"m%02d" % each, b"x") for each in range(30)])
            for client in clients:
                assert [client.get(b"k%d" % number) for number in range(3)] == [b"v%d" % life] * 3
                assert len(client.scan(b"m", b"n").items) == 30
                assert client.increment(b"visits") > 0
            assert clients[1].get(b"visits") == b"%d" % (3 * life + 3)
            status = clients[2].status()
            assert status["markers"] >= 2
            assert status["snapshot"]
            assert status["applied"] > 9


def test_a_new_cluster_goes_on_from_a_backup(tmp_path: Path) -> None:
    with paxos.open_cluster_sync(PROTOCOL, nodes=3, cluster="old", timeout_s=PATIENCE_S) as cluster:
        client = cluster.client()
        client.put(b"colour", b"red")
        assert client.increment(b"n", 5) == 5
        name = client._client._log._name
        at = ["--cluster", ",".join(cluster.addresses)]
        assert main(["backup", "--out", str(tmp_path / "b"), *at]) == EXIT_DONE
    backup = read_backup(tmp_path / "b")
    assert backup.content.mark is None
    assert isinstance(backup.applied, int)
    assert backup.applied >= 2
    config = new_config(tmp_path / "new", protocol=PROTOCOL)
    require_restorable(backup, config, config.members)
    for node in config.members:
        restore_node(backup, config, node)
    for life in range(2):
        with paxos.open_cluster_sync(
            PROTOCOL, nodes=3, cluster="new", store=tmp_path / "new" / "data", timeout_s=PATIENCE_S
        ) as cluster:
            client = cluster.client(3)
            assert client.get(b"colour") == b"red"
            if life:
                assert client.get(b"n") == b"10"
                continue
            # The same client with the same request: as one does that never heard the answer.
            name.next = 2
            client._client._log._name = name
            assert client.increment(b"n", 5) == 5
            assert client.increment(b"n", 5) == 10
