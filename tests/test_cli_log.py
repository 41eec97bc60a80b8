"""The command line against a replicated log: keys and values, submissions, and who leads."""

import base64
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import paxos
from paxos import keyvalue
from paxos.cli import main
from paxos.cli.calling import leader_of
from paxos.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_NO,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
)
from paxos.runtime.certificates import make_certificates
from paxos.runtime.config import dump_cluster
from paxos.runtime.ports import free_ports

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

Capture = pytest.CaptureFixture[str]

#: How long anything below may take before the test gives up, seconds.
PATIENCE_S = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[paxos.Cluster | Any]:
    """Three nodes in this process."""
    with paxos.open_cluster_sync("multipaxos", nodes=3, cluster="shop") as opened:
        opened.client().put(b"first", b"of all", timeout_s=PATIENCE_S)
        yield opened


@pytest.fixture
def at(cluster: Any) -> list[str]:
    """The arguments that name the cluster."""
    return ["--cluster", ",".join(cluster.addresses), "--timeout", "30"]


def json_of(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def typed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """This comes on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_the_help_of_a_command_names_what_it_takes(capsys: Capture) -> None:
    assert main(["put", "--help"]) == EXIT_DONE
    text = capsys.readouterr().out
    for words in ("  KEY  ", "  VALUE  ", "\nthe cluster:\n", "  --cluster HOST:PORT,...", "standard input"):
        assert words in text
    assert "commands:" not in text


# --- one key -----------------------------------------------------------------------------------------


def test_a_value_is_put_and_read_back_as_it_is(at: list[str], capfdbinary: Any) -> None:
    assert main(["put", "colour", "blue", *at]) == EXIT_DONE
    assert capfdbinary.readouterr() == (b"", b"")
    for stale in ([], ["--stale"]):
        assert main(["get", "colour", *at, *(stale and ["--timeout", "5"])]) == EXIT_DONE
        assert capfdbinary.readouterr() == (b"blue", b"")
    assert main(["put", "colour", "red", *at, "--json"]) == EXIT_DONE
    assert json.loads(capfdbinary.readouterr().out) == {"key": "colour", "put": True}
    assert main(["get", "colour", *at, "--json"]) == EXIT_DONE
    assert json.loads(capfdbinary.readouterr().out) == {"key": "colour", "found": True, "value": "red"}


def test_what_is_not_there_is_a_plain_no(at: list[str], capfdbinary: Any) -> None:
    assert main(["get", "nobody put", *at]) == EXIT_NO
    assert capfdbinary.readouterr() == (b"", b"")
    assert main(["get", "nobody put", *at, "--json"]) == EXIT_NO
    assert json.loads(capfdbinary.readouterr().out) == {"key": "nobody put", "found": False, "value": None}


def test_any_bytes_pass_through(at: list[str], capfdbinary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    value = bytes(range(256)) + b"\n"
    typed(monkeypatch, value)
    assert main(["put", "odd \udcff key", "-", *at]) == EXIT_DONE
    assert main(["get", "odd \udcff key", *at]) == EXIT_DONE
    assert capfdbinary.readouterr() == (value, b"")
    assert main(["get", "odd \udcff key", *at, "--json"]) == EXIT_DONE
    found = json.loads(capfdbinary.readouterr().out)
    assert base64.b64decode(found["value"]["base64"]) == value
    assert found["key"].keys() == {"base64"}


def test_delete_says_whether_there_was_something(at: list[str], capsys: Capture) -> None:
    main(["put", "short-lived", "x", *at])
    assert main(["delete", "short-lived", *at, "--json"]) == EXIT_DONE
    assert json_of(capsys) == {"key": "short-lived", "deleted": True}
    assert main(["delete", "short-lived", *at]) == EXIT_NO
    assert capsys.readouterr() == ("", "")
    assert main(["get", "short-lived", *at]) == EXIT_NO


def test_compare_and_swap(at: list[str], capsys: Capture) -> None:
    assert main(["cas", "lock", "me", "--absent", *at]) == EXIT_DONE
    assert main(["cas", "lock", "you", "--absent", *at]) == EXIT_NO
    assert main(["cas", "lock", "you", "her", *at, "--json"]) == EXIT_NO
    assert json_of(capsys) == {"key": "lock", "swapped": False}
    assert main(["cas", "lock", "me", "her", *at, "--json"]) == EXIT_DONE
    assert json_of(capsys) == {"key": "lock", "swapped": True}
    assert main(["cas", "lock", "me", "--delete", *at]) == EXIT_NO
    assert main(["cas", "lock", "her", "--delete", *at]) == EXIT_DONE
    assert main(["get", "lock", *at]) == EXIT_NO


def test_compare_and_swap_says_what_it_takes(at: list[str], capsys: Capture) -> None:
    wrong = (["a"], ["a", "b", "--absent"], ["a", "b", "c"], ["a", "--absent", "--delete"])
    for values in wrong:
        assert main(["cas", "lock", *values, *at]) == EXIT_USAGE
        assert "KEY EXPECTED VALUE, or KEY VALUE --absent" in capsys.readouterr().err


def test_increment_prints_the_sum(at: list[str], capsys: Capture) -> None:
    for delta, total in (([], "1"), (["5"], "6"), (["-8"], "-2")):
        assert main(["increment", "visits", *delta, *at]) == EXIT_DONE
        assert capsys.readouterr().out == f"{total}\n"
    assert main(["increment", "visits", *at, "--json"]) == EXIT_DONE
    assert json_of(capsys) == {"key": "visits", "value": -1}
    assert main(["increment", "first", *at]) == EXIT_NO
    assert "not a decimal number" in capsys.readouterr().err
    assert main(["increment", "visits", str(1 << 63), *at]) == EXIT_USAGE


# --- many keys ---------------------------------------------------------------------------------------


def test_scan_lists_keys_in_order(cluster: Any, at: list[str], capsys: Capture) -> None:
    for key, value in ((b"s/b", b"2"), (b"s/a", b"one\n"), (b"s/c", b"\xff")):
        cluster.client().put(key, value)
    assert main(["scan", "s/", "s0", *at]) == EXIT_DONE
    assert capsys.readouterr() == ("s/a\t'one\\n'\ns/b\t2\ns/c\tb'\\xff'\n", "")
    assert main(["scan", "s/", "s0", "--limit", "2", "--stale", *at, "--json"]) == EXIT_DONE
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "items": [{"key": "s/a", "value": "one\n"}, {"key": "s/b", "value": "2"}],
        "more": True,
    }
    assert captured.err == "there are more: go on after s/b, or raise --limit\n"
    assert main(["scan", "t", "s", *at]) == EXIT_USAGE
    assert "is empty" in capsys.readouterr().err


def test_watch_shows_changes_after_a_revision(cluster: Any, at: list[str], capsys: Capture) -> None:
    client = cluster.client()
    since = client.revision()
    client.put(b"w/a", b"\x00")
    client.put(b"elsewhere", b"1")
    client.delete(b"w/a")
    asked = ["watch", "w/", "w0", "--since", str(since), "--changes", "2", *at]
    assert main(asked) == EXIT_DONE
    captured = capsys.readouterr()
    assert captured.out == f"{since + 1}\tput\tw/a\t'\\x00'\n{since + 3}\tdelete\tw/a\n"
    assert captured.err == f"watching from revision {since} on; now it is {since + 3}\n"
    assert main([*asked, "--json"]) == EXIT_DONE
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"revision": since + 1, "key": "w/a", "deleted": False, "value": "\x00"},
        {"revision": since + 3, "key": "w/a", "deleted": True, "value": None},
    ]


def test_watch_runs_until_it_is_interrupted(cluster: Any, at: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "paxos", "watch", "live", *at],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    guard = threading.Timer(PATIENCE_S, process.kill)
    guard.start()
    try:
        assert process.stderr.readline().startswith("watching from revision ")
        cluster.client().put(b"live", b"yes")
        assert process.stdout.readline().endswith("\tput\tlive\tyes\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        guard.cancel()
        process.kill()
        process.communicate()
    assert (process.returncode, out, err) == (EXIT_INTERRUPTED, "", "paxos: interrupted\n")


# --- submit ------------------------------------------------------------------------------------------


def test_submit_takes_commands_in_every_form(
    cluster: Any, at: list[str], capfdbinary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.client().put(b"form", b"ok")
    command = keyvalue.get(b"form")
    assert main(["submit", "gform", *at]) == EXIT_DONE
    assert capfdbinary.readouterr() == (b"Vok", b"")
    assert main(["submit", command.hex(), "--hex", *at]) == EXIT_DONE
    assert capfdbinary.readouterr() == (b"Vok", b"")
    assert main(["submit", base64.b64encode(command).decode(), "--base64", "--answers-hex", *at]) == EXIT_DONE
    assert capfdbinary.readouterr() == (b"566f6b", b"")
    typed(monkeypatch, command)
    assert main(["submit", "-", *at, "--json"]) == EXIT_DONE
    assert json.loads(capfdbinary.readouterr().out) == {"answer": "Vok"}
    assert main(["submit", "0g", "--hex", *at]) == EXIT_USAGE
    assert b"the command: not in the form that was said" in capfdbinary.readouterr().err


def test_submit_many_answers_a_line_each_in_order(
    cluster: Any, at: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 1500
    commands = [keyvalue.increment(b"many") for _ in range(count)]
    path = tmp_path / "commands.txt"
    path.write_bytes(b"".join(base64.b64encode(command) + b"\r\n" for command in commands))
    assert main(["submit", "--many", str(path), "--base64", *at]) == EXIT_DONE
    lines = capsys.readouterr().out.splitlines()
    assert [base64.b64decode(line) for line in lines] == [b"I%d" % number for number in range(1, count + 1)]
    typed(monkeypatch, b"gmany\ngnone")
    assert main(["submit", "--many", "-", *at, "--json"]) == EXIT_DONE
    assert json_of(capsys) == {"commands": 2, "answers": [f"V{count}", "A"]}
    path.write_text("67\nnot hex\n")
    assert main(["submit", "--many", str(path), "--hex", *at]) == EXIT_USAGE
    assert "commands.txt: line 2: not in the form" in capsys.readouterr().err
    assert main(["submit", "--many", str(tmp_path / "absent"), *at]) == EXIT_USAGE
    assert "absent: can not be read" in capsys.readouterr().err


def test_submit_wants_one_command_or_many(at: list[str], capsys: Capture) -> None:
    for words in ([], ["a", "--many", "b"]):
        assert main(["submit", *words, *at]) == EXIT_USAGE
        assert "one of the two" in capsys.readouterr().err


# --- who leads ---------------------------------------------------------------------------------------


def test_leader_and_transfer(cluster: Any, at: list[str], capsys: Capture) -> None:
    assert main(["leader", *at]) == EXIT_DONE
    leader = int(capsys.readouterr().out)
    assert main(["leader", *at, "--json"]) == EXIT_DONE
    assert json_of(capsys) == {"leader": leader, "address": cluster.addresses[leader - 1]}
    heir = leader % 3 + 1
    assert main(["transfer", str(heir), *at]) == EXIT_DONE
    assert capsys.readouterr().out == f"node {heir} leads\n"
    assert main(["transfer", str(heir), *at, "--json"]) == EXIT_DONE
    assert json_of(capsys) == {"leader": heir, "before": heir}
    assert main(["put", "after", "transfer", *at]) == EXIT_DONE
    assert main(["transfer", "9", *at, "--timeout", "1"]) == EXIT_NO
    assert "node 9 can not lead" in capsys.readouterr().err


def test_two_that_claim_to_lead_are_told_apart() -> None:
    found: list[dict[str, Any]] = [
        {"node": 1, "role": "leader", "leader": 1},
        {"node": 2, "role": "leader", "leader": 2},
        {"node": 3, "role": "follower", "leader": 2},
        {"node": 4, "reachable": False},
    ]
    leader = leader_of(found)
    assert leader is not None
    assert leader["node"] == 2
    assert leader_of(found[2:]) is None


def test_status_shows_a_log(cluster: Any, at: list[str], capsys: Capture) -> None:
    assert main(["status", *at]) == EXIT_DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 of 3 nodes reached:"
    assert lines[1].split() == [
        "node", "address", "ready", "role", "committed", "applied", "snapshot", "clients", "says"
    ]  # fmt: skip
    roles = [line.split()[3] for line in lines[2:]]
    assert sorted(roles) == ["follower", "follower", "leader"]
    assert main(["status", *at, "--json"]) == EXIT_DONE
    assert {node["machine"] for node in json_of(capsys)["nodes"]} == {"kv"}


def test_without_a_quorum_nothing_leads(capsys: Capture) -> None:
    with paxos.open_cluster_sync("multipaxos", nodes=3) as opened:
        opened.client().put(b"k", b"v", timeout_s=PATIENCE_S)
        at = ["--cluster", ",".join(opened.addresses), "--timeout", "1"]
        opened.stop_node(2)
        opened.stop_node(3)
        assert main(["get", "k", *at]) == EXIT_UNREACHABLE  # and not 1, which says that there is no such key
        assert capsys.readouterr().out == ""
        assert main(["get", "k", "--stale", *at]) == EXIT_DONE
        assert capsys.readouterr().out == "v"
        deadline_s = time.monotonic() + PATIENCE_S
        while main(["leader", *at]) != EXIT_UNREACHABLE:  # until it has noticed that nobody follows it
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert main(["transfer", "2", *at]) == EXIT_UNREACHABLE
        assert "nothing to hand over" in capsys.readouterr().err
        # Each of these has a plain no of its own, which is another answer than none.
        for command in (["cas", "k", "v", "w"], ["delete", "k"], ["increment", "k"], ["scan"], ["watch"]):
            assert main([*command, *at]) == EXIT_UNREACHABLE, command
            assert "knows of no leader; try again" in capsys.readouterr().err


def test_nobody_there_is_unreachable(capsys: Capture) -> None:
    (port,) = free_ports(1)
    nowhere = ["--cluster", f"127.0.0.1:{port}", "--timeout", "0.2"]
    commands = (
        ["put", "a", "b"], ["get", "a"], ["delete", "a"], ["cas", "a", "b", "c"], ["increment", "a"],
        ["scan"], ["watch"], ["submit", "a"], ["leader"], ["transfer", "1"], ["backup", "--out", "absent"],
    )  # fmt: skip
    for command in commands:
        assert main([*command, *nowhere]) == EXIT_UNREACHABLE, command
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "paxos: " in captured.err


# --- which cluster -----------------------------------------------------------------------------------


def test_a_cluster_file_says_what_there_is(cluster: Any, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(dump_cluster(cluster.config))
    assert main(["put", "file", "yes", "--config", str(path)]) == EXIT_DONE
    assert main(["get", "file", "--config", str(path)]) == EXIT_DONE
    assert capsys.readouterr().out == "yes"
    for command in (["decide", "a", "b"], ["decided", "a"]):
        assert main([*command, "--config", str(path)]) == EXIT_USAGE
        assert "keeps a log and decides no decrees; it has `put`" in capsys.readouterr().err
    assert main(["transfer", "9", "--config", str(path)]) == EXIT_USAGE
    assert "there is no node 9" in capsys.readouterr().err
    decrees = tmp_path / "decrees.toml"
    decrees.write_text('[cluster]\nid = "d"\nprotocol = "paxos"\n[[node]]\nid=1\naddress="h:1"\nstore="s"\n')
    for command in (["put", "a", "b"], ["get", "a"], ["submit", "a"], ["leader"], ["backup", "--out", "b"]):
        assert main([*command, "--config", str(decrees)]) == EXIT_USAGE
        assert f"keeps no log, so it has no `{command[0]}`" in capsys.readouterr().err


def test_with_tls(tmp_path: Path, capsys: Capture) -> None:
    tls = make_certificates(tmp_path, [1, 2, 3])
    with paxos.open_cluster_sync("multipaxos", nodes=3, tls=tls) as opened:
        at = ["--cluster", ",".join(opened.addresses), "--timeout", "30"]
        files = ["--ca", tls.ca, "--certificate", str(tmp_path / "node-client.pem")]
        files += ["--key", str(tmp_path / "node-client.key")]
        assert main(["put", "tls", "yes", *at, *files]) == EXIT_DONE
        assert main(["get", "tls", *at, *files]) == EXIT_DONE
        assert capsys.readouterr().out == "yes"
        assert main(["get", "tls", *at[:-1], "0.5"]) == EXIT_UNREACHABLE
        assert "requires TLS" in capsys.readouterr().err
