"""The command line, called as a function: what it prints, what it exits with, and that it teaches.

What needs running nodes is in test_cli_cluster.py.
"""

import argparse
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import paxos
from paxos.ballot import Ballot
from paxos.basic.records import acceptor_key, chosen_key, pack_chosen, pack_reservation
from paxos.cli import main, version
from paxos.cli.check import look_at_store
from paxos.cli.command import EXIT_BUG, build_parser
from paxos.cli.output import Output, json_bytes, readable
from paxos.contract import Configuration, find_protocol
from paxos.errors import (
    EXIT_CHECK_FAILED,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_UNKNOWN,
    EXIT_USAGE,
    NodeStopped,
    OutcomeUnknown,
)
from paxos.quorum import Majority
from paxos.runtime.certificates import make_certificates
from paxos.runtime.config import load_cluster
from paxos.runtime.ports import free_ports
from paxos.runtime.sqlite_store import RECORDS_NAME
from paxos.runtime.store import open_store
from paxos.service import Identity, charter_record, replica_prefix

Capture = pytest.CaptureFixture[str]

# In the order in which they are listed.
COMMANDS = (
    "demo", "init", "serve", "status", "check", "log", "backup",
    "restore",
    "decide", "decided", "put", "get", "delete", "cas", "increment",
    "scan", "watch", "submit", "leader", "transfer",
    "compare", "advise", "explain",
    "simulate", "explore", "exhaust", "torture", "replay", "spec", "bench",
    "version",
)  # fmt: skip


def json_of(capsys: Capture) -> Any:
    """The one JSON object on standard output."""
    printed = capsys.readouterr().out
    found = json.loads(printed)
    assert isinstance(found, dict)
    assert printed.count("\n") == 1
    return found


def said(capsys: Capture, *words: str) -> str:
    """The one line on standard error, after the usage or nothing; nothing is on standard output."""
    captured = capsys.readouterr()
    assert captured.out == ""
    *usage, line = captured.err.splitlines()
    assert all(usage), usage
    assert line.startswith("paxos: ")
    for word in words:
        assert word in line
    return line


# --- help --------------------------------------------------------------------------------------------


def test_help_lists_every_command_and_exit_code(capsys: Capture) -> None:
    assert main(["--help"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert re.findall(r"^    ([a-z]+) ", text, re.MULTILINE) == list(COMMANDS)
    for code in (0, 1, 2, 3, 4, 5, 6, EXIT_BUG, 130):
        assert f"\n  {code:<4} " in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_that_are_accepted(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert "--json" in text
    assert "--debug" in text
    assert max(map(len, text.splitlines())) <= 110
    examples = text.partition("\nexamples:\n")[2].splitlines()
    lines = [line.strip() for line in examples if line.startswith(f"  paxos {name}")]
    assert lines
    for line in lines:
        words = line.partition("   ")[0]  # a remark follows
        for sign in ("|", "&&", "<", ">"):
            words = words.partition(f" {sign} ")[0]
        assert build_parser().parse_args(words.split()[1:]).command == name


def test_python_m_paxos_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paxos", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"paxos {version.installed_version()}\n"


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from paxos.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"anyio", "asyncio", "sqlite3", "ssl", "rich", "paxos.runtime", "paxos.sim"} & set(
        done.stderr.split()
    )


# --- usage and errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: COMMAND"),
        (["--debug", "status"], "options come after the command: paxos status --debug"),
        (
            ["status", "--cluster", "h:1", "--timout", "3"],
            "--timout 3; did you mean --timeout?; see `paxos status",
        ),
        (["dcide"], "no command 'dcide'; did you mean decide?"),
        (["decide"], "required: NAME, VALUE"),
        (["decide", "a", "b"], "one of the arguments --config --cluster is required"),
        (["decide", "a", "b", "--cluster", "h:1", "--config", "f"], "not allowed with"),
        (["decide", "a", "b", "--cluster", "h:1", "--timeout", "0"], "expected seconds above 0, not '0'"),
        (["decide", "a", "b", "--cluster", "h:1", "--timeout", "nan"], "expected seconds above 0"),
        (["decide", "a", "b", "--cluster", " , "], "no address given"),
        (["decide", "a", "b", "--cluster", "h"], "expected host:port"),
        (["decide", "a", "b", "--cluster", "h:99999"], "1..65535"),
        (["decide", "a", "b", "--cluster", "h:1", "--ca", "x"], "--certificate, --key missing"),
        (
            ["decide", "a", "b", "--cluster", "h:1", "--ca", "x", "--certificate", "y", "--key", "z"],
            "ca file x",
        ),
        (["decide", "", "b", "--cluster", "127.0.0.1:1"], "it takes 1 to 1024"),
        (["decide", "n" * 1025, "b", "--cluster", "127.0.0.1:1"], "it takes 1 to 1024"),
        (["decided", "a", "--config", "absent.toml"], "absent.toml: no such file"),
        (["serve", "--config", "absent.toml", "--node", "1"], "absent.toml: no such file"),
        (["serve", "--config", "absent.toml", "--node", "0"], "expected a whole number in 1.."),
        (
            ["serve", "--config", "f", "--node", "1", "--uvloop", "--backend", "trio"],
            "leave out --backend trio",
        ),
        (["check"], "one of the arguments --config --store --history is required"),
        (["check", "--store", "absent"], "there is no store here"),
        (["check", "--store", "x", "--node", "1"], "--node goes with --config"),
        (["check", "--config", "x", "--list"], "--list goes with --store"),
        (["init"], "required: DIR"),
        (["init", "x", "--nodes", "0"], "1..1000"),
        (["init", "x", "--nodes", "3", "--base-port", "65534"], "--base-port 65533 or lower"),
        (["init", "x", "--protocol", "raft"], "known here: epaxos, fastpaxos, fastpaxos-log, multipaxos"),
        (["init", "x", "--id", "my shop"], "nothing was written: cluster id"),
        (["init", "x", "--host", "a b"], "nothing was written: [[node]] number 1"),
        (["simulate", "--faults", "gremlins"], "no fault named 'gremlins'"),
        (["simulate", "--topology", "mars"], "mars"),
        (["simulate", "--protocol", "raft"], "known here: epaxos, fastpaxos, fastpaxos-log, multipaxos"),
        (["simulate", "--runs", "2", "--timeline"], "leave out --runs"),
        (["simulate", "--replay", "absent.json"], "absent.json: can not be read"),
        (["bench", "nothing"], "invalid choice"),
        (["bench", "core", "--repeats", "0"], "1..1000"),
        (["bench", "cluster", "--directory", "absent"], "absent"),
        (["demo", "--nodes", "2"], "3..15"),
        (["demo", "--keep", "."], "--keep .: can not be made"),
        (
            ["demo", "--protocol", "raft", "--decrees", "1"],
            "known here: epaxos, fastpaxos, fastpaxos-log, multipaxos",
        ),
        (["version", "--jsn"], "unrecognized arguments: --jsn"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == EXIT_USAGE
    said(capsys, words)
    assert list(tmp_path.iterdir()) == []
    if arguments:
        assert main([*arguments, "--json"]) == EXIT_USAGE
        found = json_of(capsys)
        assert words in found["error"]["message"]
        assert found["exit_code"] == EXIT_USAGE


def raising(error: BaseException) -> Callable[..., int]:
    def run(arguments: argparse.Namespace, out: Output) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OutcomeUnknown("no answer"), EXIT_UNKNOWN, "no answer"),
        (NodeStopped("two\nlines"), 6, "two lines"),
        (ExceptionGroup("tasks", [ExceptionGroup("more", [NodeStopped("the disk")])]), 6, "the disk"),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "interrupted"),
        (BaseExceptionGroup("tasks", [KeyboardInterrupt()]), EXIT_INTERRUPTED, "interrupted"),
        (
            OSError(28, "No space left on device", "/disk/file"),
            EXIT_USAGE,
            "/disk/file: the system refused: No space",
        ),
        (ZeroDivisionError("oops"), EXIT_BUG, "this is a bug in paxos: ZeroDivisionError: oops"),
        (ExceptionGroup("tasks", [KeyError(1), ValueError(2)]), EXIT_BUG, "this is a bug"),
    ],
)
def test_an_error_ends_in_its_exit_code(
    error: BaseException, code: int, words: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "run", raising(error))
    assert main(["version"]) == code
    line = said(capsys, words)
    assert ("--debug" in line) == (code == EXIT_BUG)
    assert main(["version", "--json"]) == code
    assert json_of(capsys)["exit_code"] == code


def test_debug_shows_where_an_error_came_from(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "run", raising(ZeroDivisionError("oops")))
    assert main(["version", "--debug"]) == EXIT_BUG
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert text.endswith("paxos: this is a bug in paxos: ZeroDivisionError: oops\n")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "paxos", "simulate", "--timeline", "--operations", "3000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    heard = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == EXIT_INTERRUPTED
    assert heard == b""


# --- what is printed ---------------------------------------------------------------------------------


def test_bytes_as_json() -> None:
    assert json_bytes(b"blue") == "blue"
    assert json_bytes("grün".encode()) == "grün"
    assert json_bytes(b"\xff\x00") == {"base64": "/wA="}
    assert json_bytes(None) is None


def test_bytes_for_people() -> None:
    assert readable(b"blue") == "blue"
    assert readable(b"\xff") == "b'\\xff'"
    assert readable(b"a\nb") == "'a\\nb'"
    assert readable(b"x" * 100, 10) == "xxxxxxx..."


def test_a_table_without_a_terminal_is_plain_columns(capsys: Capture) -> None:
    Output(False).table("title:", ("a", "long name"), [(1, "x"), ("wide cell", "")])
    assert capsys.readouterr().out == "title:\n  a          long name\n  1          x\n  wide cell\n"
    Output(True).table("title:", ("a",), [(1,)])
    assert capsys.readouterr().out == ""


def test_a_table_on_a_terminal_holds_the_same(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Output(False).table("title:", ("a", "b"), [("[red]", "x")])
    text = capsys.readouterr().out
    assert "[red]" in text
    assert "title:" in text


def test_progress_is_for_terminals(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    with Output(False).progress("working", 2) as bar:
        bar.advance()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Output(False).progress("working", 2) as bar:
        bar.advance(2)
    assert capsys.readouterr().out == ""


def test_version(capsys: Capture) -> None:
    assert main(["version"]) == EXIT_DONE
    assert "protocols  epaxos, fastpaxos, fastpaxos-log, multipaxos, paxos" in capsys.readouterr().out
    assert main(["version", "--json"]) == EXIT_DONE
    found = json_of(capsys)
    assert found["version"] in (paxos.__version__, "unknown (not installed)")
    assert "paxos" in found["protocols"]


# --- init --------------------------------------------------------------------------------------------


def test_init_writes_a_file_that_check_likes(capsys: Capture, tmp_path: Path) -> None:
    place = tmp_path / "new" / "my shop"
    assert main(["init", str(place), "--nodes", "5", "--base-port", "29101"]) == EXIT_DONE
    assert f"paxos serve --config '{place}/cluster.toml' --node 5" in capsys.readouterr().out
    config = load_cluster(place / "cluster.toml")
    assert (config.id, config.members) == ("my-shop", (1, 2, 3, 4, 5))
    assert config.node(5).address == "127.0.0.1:29105"
    assert config.node(5).store == str(place / "data/5")
    text = (place / "cluster.toml").read_text()
    commented = "\n".join(line.removeprefix("# ") for line in text.splitlines() if "=" in line)
    assert "distinguished = 1" in commented
    assert main(["check", "--config", str(place / "cluster.toml")]) == EXIT_DONE
    assert "all is well" in capsys.readouterr().out


def test_what_init_explains_in_comments_works_too(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "a"), "--json"]) == EXIT_DONE
    path = tmp_path / "a" / "cluster.toml"
    lines = path.read_text().splitlines()
    cut = next(number for number, line in enumerate(lines) if line.startswith("# [cluster.quorums]"))
    opened = [
        line.removeprefix("# ") if number >= cut and ("=" in line or line.startswith("# [")) else line
        for number, line in enumerate(lines)
    ]
    path.write_text("\n".join(opened))
    config = load_cluster(path)
    assert config.quorum_system().describe() == "flexible(1,2,3;phase1=2,phase2=2)"
    assert config.settings.distinguished == 1
    assert config.node(1).region == "CA"


def test_init_overwrites_nothing(capsys: Capture, tmp_path: Path) -> None:
    assert main(["init", str(tmp_path), "--json"]) == EXIT_DONE
    assert json_of(capsys)["nodes"] == [1, 2, 3]
    before = (tmp_path / "cluster.toml").read_text()
    assert main(["init", str(tmp_path), "--nodes", "5"]) == EXIT_USAGE
    said(capsys, "is there already and is not overwritten")
    assert (tmp_path / "cluster.toml").read_text() == before
    (tmp_path / "b" / "tls").mkdir(parents=True)
    assert main(["init", str(tmp_path / "b"), "--tls"]) == EXIT_USAGE
    said(capsys, "tls: is there already")
    assert list((tmp_path / "b").iterdir()) == [tmp_path / "b" / "tls"]


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_init_takes_an_ipv6_host_with_and_without_brackets(host: str, tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "a"), "--tls", "--host", host]) == EXIT_DONE
    assert load_cluster(tmp_path / "a" / "cluster.toml").node(2).address == "[::1]:7102"


def test_init_where_nothing_can_be_written(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file" / "x")]) == EXIT_USAGE
    said(capsys, "can not be written: Not a directory")


# --- check of a configuration ------------------------------------------------------------------------


@pytest.fixture
def tls_cluster(tmp_path: Path, capsys: Capture) -> Path:
    """A cluster file with certificates."""
    assert main(["init", str(tmp_path / "shop"), "--tls", "--base-port", "29201"]) == EXIT_DONE
    capsys.readouterr()
    return tmp_path / "shop" / "cluster.toml"


def finding(capsys: Capture, what: str) -> tuple[str, str]:
    (found,) = (each for each in json_of(capsys)["findings"] if each["what"] == what)
    return found["verdict"], found["detail"]


def test_check_likes_fresh_certificates(tls_cluster: Path, capsys: Capture) -> None:
    assert main(["check", "--config", str(tls_cluster), "--node", "2", "--json"]) == EXIT_DONE
    assert finding(capsys, "node 2 TLS")[0] == "ok"


def test_check_finds_what_is_wrong_with_tls_files(tls_cluster: Path, capsys: Capture, tmp_path: Path) -> None:
    files = tls_cluster.parent / "tls"
    arguments = ["check", "--config", str(tls_cluster), "--node", "2", "--json"]

    def verdict(name: str, content: bytes | None) -> str:
        before = (files / name).read_bytes()
        (files / name).unlink() if content is None else (files / name).write_bytes(content)
        assert main(arguments) == EXIT_USAGE
        (files / name).write_bytes(before)
        found, detail = finding(capsys, "node 2 TLS")
        assert found == "bad"
        return detail

    assert "can not be read: No such file" in verdict("node-2.key", None)
    assert "can not be used" in verdict("node-2.key", (files / "node-1.key").read_bytes())
    assert "no certificates in it" in verdict("ca.pem", b"nothing")
    make_certificates(tmp_path / "other", [2])
    assert "not accepted under" in verdict("ca.pem", (tmp_path / "other" / "ca.pem").read_bytes())
    one = (files / "node-1.pem").read_bytes(), (files / "node-1.key").read_bytes()
    (files / "node-2.key").write_bytes(one[1])
    assert "is for node-1, not for node-2" in verdict("node-2.pem", one[0])


def test_files_of_other_machines_are_only_noted(tls_cluster: Path, capsys: Capture) -> None:
    (tls_cluster.parent / "tls" / "node-2.key").unlink()
    assert main(["check", "--config", str(tls_cluster), "--json"]) == EXIT_DONE
    verdict, detail = finding(capsys, "node 2 TLS")
    assert verdict == "note"
    assert "not on this machine" in detail


@pytest.mark.parametrize(
    ("nodes", "more", "verdict", "words"),
    [
        (3, "", "ok", "goes on with any 1 node down"),
        (5, "", "ok", "goes on with any 2 nodes down"),
        (4, "", "note", "no more than 3 nodes would"),
        (1, "", "note", "agrees only with itself"),
        (
            3,
            '[cluster.quorums]\nkind = "flexible"\nphase1 = 3\nphase2 = 1\n',
            "note",
            "one failure can stop it",
        ),
    ],
)
def test_check_looks_at_quorums(
    nodes: int, more: str, verdict: str, words: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["init", str(tmp_path), "--nodes", str(nodes), "--base-port", "29301"]) == EXIT_DONE
    path = tmp_path / "cluster.toml"
    path.write_text(path.read_text() + more)
    capsys.readouterr()
    assert main(["check", "--config", str(path), "--json"]) == EXIT_DONE
    found = finding(capsys, "quorums")
    assert found[0] == verdict
    assert words in found[1]


@pytest.mark.parametrize(
    ("address", "verdict", "words"),
    [
        ("0.0.0.0:29401", "note", "can not find a node there"),
        ("192.0.2.1:29401", "bad", "not an address of this machine"),
        ("nowhere.invalid:29401", "bad", "is not known here"),
    ],
)
def test_check_looks_at_addresses(
    address: str,
    verdict: str,
    words: str,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "nowhere.invalid":  # what a resolver says, without waiting for one
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert main(["init", str(tmp_path), "--base-port", "29401"]) == EXIT_DONE
    path = tmp_path / "cluster.toml"
    path.write_text(path.read_text().replace("127.0.0.1:29401", address))
    capsys.readouterr()
    code = main(["check", "--config", str(path), "--node", "1", "--json"])
    assert code == (EXIT_USAGE if verdict == "bad" else EXIT_DONE)
    found = finding(capsys, "node 1 address")
    assert found[0] == verdict
    assert words in found[1]


@pytest.mark.anyio
async def test_check_sees_a_taken_address(tmp_path: Path, capsys: Capture) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        assert main(["init", str(tmp_path), "--nodes", "1", "--base-port", str(port)]) == EXIT_DONE
        capsys.readouterr()
        path = str(tmp_path / "cluster.toml")
        assert main(["check", "--config", path, "--node", "1", "--json"]) == EXIT_USAGE
        assert finding(capsys, "node 1 address")[0] == "bad"
        assert main(["check", "--config", path, "--json"]) == EXIT_DONE
        assert finding(capsys, "node 1 address")[0] == "note"


# --- check of a store --------------------------------------------------------------------------------

BALLOT = Ballot(1, 2)
PREFIX = replica_prefix(0, 0)


def make_store(
    directory: Path,
    records: dict[bytes, bytes],
    cluster: str = "shop",
    node: int = 2,
    members: tuple[int, ...] | None = (1, 2, 3),
) -> None:
    """A store with these records, used with these members; None for one that does not say with which."""
    if records and members is not None:
        configuration = Configuration(node, Majority(members))
        records = dict([charter_record(find_protocol("paxos"), configuration)]) | records
    store = open_store(str(directory), cluster=cluster, node=node, protocol="paxos")
    try:
        store.write(list(records.items()))
    finally:
        store.close()


def test_check_reads_a_store_back(tmp_path: Path, capsys: Capture) -> None:
    decided = {chosen_key(b"a"): pack_chosen(BALLOT, b"\xff"), chosen_key(b"b"): pack_chosen(BALLOT, b"blue")}
    make_store(tmp_path / "2", {PREFIX + key: value for key, value in decided.items()})
    assert main(["check", "--store", str(tmp_path / "2"), "--list"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert "3 records, 2 decrees decided, 0 open" in text
    assert "made for members 1, 2, 3: majority(1,2,3)" in text
    assert text.endswith("a = b'\\xff'\nb = blue\n")
    assert main(["check", "--store", str(tmp_path / "2"), "--list", "--json"]) == EXIT_DONE
    found = json_of(capsys)
    assert (found["cluster"], found["node"], found["protocol"]) == ("shop", 2, "paxos")
    assert (found["decided"], found["open"], found["damaged"]) == (2, 0, 0)
    assert found["decisions"] == [
        {"name": "a", "value": {"base64": "/w=="}},
        {"name": "b", "value": "blue"},
    ]
    assert look_at_store(str(tmp_path / "2")).decided == {b"a": b"\xff", b"b": b"blue"}


def test_check_names_every_record_that_no_node_could_read(tmp_path: Path, capsys: Capture) -> None:
    good = pack_chosen(BALLOT, b"blue")
    make_store(
        tmp_path / "2",
        {
            PREFIX + chosen_key(b"good"): good,
            PREFIX + chosen_key(b"torn"): good[:-1],
            PREFIX + acceptor_key(b"wrong kind"): good,
            b"alien": b"x",
        },
    )
    assert main(["check", "--store", str(tmp_path / "2"), "--json"]) == EXIT_CHECK_FAILED
    found = json_of(capsys)
    assert (found["decided"], found["damaged"]) == (1, 3)
    complaints = sorted(complaint.partition(": ")[0] for complaint in found["complaints"])
    assert complaints[0] == "promise and vote on decree 'wrong kind'"
    assert "b'alien'" in complaints[1]
    assert complaints[2] == "the decision of decree 'torn'"
    assert main(["check", "--store", str(tmp_path / "2")]) == EXIT_CHECK_FAILED
    assert capsys.readouterr().out.count("damaged: ") == 3


@pytest.mark.parametrize(
    ("decree", "shown"),
    [(b"lost", "'lost'"), (b"it's", '"it\'s"'), (b'"', "'\"'"), (b"\xff", "b'\\xff'"), (b"x" * 500, "'xxx")],
)
def test_check_names_the_decree_of_a_record_that_the_disk_lost(
    decree: bytes, shown: str, tmp_path: Path, capsys: Capture
) -> None:
    key = PREFIX + chosen_key(decree)
    make_store(tmp_path / "2", {key: pack_chosen(BALLOT, b"blue"), PREFIX + b"R": pack_reservation(7)})
    database = sqlite3.connect(tmp_path / "2" / RECORDS_NAME)
    with database:
        for each in (key, PREFIX + b"R"):
            database.execute("UPDATE records SET value = ? WHERE key = ?", (b"rotten", each))
    database.close()
    assert main(["check", "--store", str(tmp_path / "2"), "--json"]) == EXIT_CHECK_FAILED
    one, two = json_of(capsys)["complaints"]
    assert one.startswith(f"the decision of decree {shown}")
    assert one.endswith("is damaged: its checksum is wrong")
    assert two.startswith("the reservation of rounds: record b'r")


def test_check_of_a_configuration_looks_into_its_stores(tmp_path: Path, capsys: Capture) -> None:
    assert main(["init", str(tmp_path), "--id", "shop", "--base-port", "29501"]) == EXIT_DONE
    path = str(tmp_path / "cluster.toml")
    good = pack_chosen(BALLOT, b"blue")
    make_store(tmp_path / "data/1", {PREFIX + chosen_key(b"a"): good}, node=1)
    make_store(tmp_path / "data/2", {}, cluster="other", node=7)
    capsys.readouterr()
    assert main(["check", "--config", path, "--json"]) == EXIT_USAGE
    found = {each["what"]: each for each in json_of(capsys)["findings"]}
    assert "1 decree decided" in found["node 1 store"]["detail"]
    assert found["node 2 store"]["verdict"] == "bad"
    assert "belongs to cluster 'other', not 'shop' and node 7, not 2" in found["node 2 store"]["detail"]
    assert "not there yet" in found["node 3 store"]["detail"]
    make_store(tmp_path / "data/1", {PREFIX + chosen_key(b"a"): good[1:]}, node=1)
    assert main(["check", "--config", path, "--node", "1"]) == EXIT_CHECK_FAILED
    text = capsys.readouterr().out
    assert "damaged" in text
    assert "1 of 5 findings are bad" not in text
    assert "1 of 4 findings are bad" in text


def test_check_notes_stores_in_memory_and_stores_in_use(tmp_path: Path, capsys: Capture) -> None:
    assert main(["init", str(tmp_path), "--id", "shop", "--base-port", "29601"]) == EXIT_DONE
    path = tmp_path / "cluster.toml"
    path.write_text(path.read_text().replace('"data/3"', '"memory"'))
    capsys.readouterr()
    store = open_store(str(tmp_path / "data/1"), cluster="shop", node=1, protocol="paxos")
    try:
        assert main(["check", "--config", str(path), "--json"]) == EXIT_DONE
    finally:
        store.close()
    found = {each["what"]: each for each in json_of(capsys)["findings"]}
    assert found["node 1 store"]["verdict"] == "note"
    assert "in use by" in found["node 1 store"]["detail"]
    assert found["node 3 store"]["verdict"] == "note"


def test_check_compares_what_must_never_change(tmp_path: Path, capsys: Capture) -> None:
    assert main(["init", str(tmp_path), "--id", "shop", "--base-port", "29701"]) == EXIT_DONE
    path = str(tmp_path / "cluster.toml")
    votes = {PREFIX + chosen_key(b"a"): pack_chosen(BALLOT, b"blue")}
    make_store(tmp_path / "data/1", votes, node=1)
    make_store(tmp_path / "data/2", votes, node=2, members=(1, 2, 4))
    make_store(tmp_path / "data/3", votes, node=3, members=None)
    capsys.readouterr()
    assert main(["check", "--config", path, "--json"]) == EXIT_USAGE
    found = {each["what"]: each for each in json_of(capsys)["findings"]}
    assert found["node 1 store"]["verdict"] == "ok"
    assert found["node 2 store"]["verdict"] == found["node 3 store"]["verdict"] == "bad"
    assert "members 1, 2, 4 in the store, 1, 2, 3 in cluster.toml" in found["node 2 store"]["detail"]
    assert "does not say for which members" in found["node 3 store"]["detail"]
    assert main(["check", "--store", str(tmp_path / "data/2")]) == EXIT_DONE
    assert "made for members 1, 2, 4: majority(1,2,4)" in capsys.readouterr().out
    assert main(["check", "--store", str(tmp_path / "data/3")]) == EXIT_USAGE
    assert "refused: it does not say for which members" in capsys.readouterr().out


def test_check_sees_a_store_that_its_peers_refused(tmp_path: Path, capsys: Capture) -> None:
    identity = Identity(2, (1, 2, 3), b"s" * 16, {}, 0.0)
    identity.give_up("node 2 runs on an old copy")
    [(key, value)] = [(key, value) for key, value in identity.writes if value is not None]
    make_store(tmp_path / "2", {key: value})
    assert main(["check", "--store", str(tmp_path / "2"), "--json"]) == EXIT_USAGE
    found = json_of(capsys)
    assert found["refused"] == "node 2 runs on an old copy"
    assert found["charter"]["members"] == "1, 2, 3"
    make_store(tmp_path / "3", {key: value[:-1]})
    assert main(["check", "--store", str(tmp_path / "3"), "--json"]) == EXIT_CHECK_FAILED


def test_one_node_alone_is_warned(tmp_path: Path, capsys: Capture) -> None:
    assert main(["init", str(tmp_path), "--nodes", "1", "--base-port", "29801"]) == EXIT_DONE
    assert "one node alone: if its disk is lost, every decision is" in capsys.readouterr().out
    path = tmp_path / "cluster.toml"
    text = path.read_text()
    assert "the node starts empty and unnoticed" in text
    path.write_text(text.replace('"data/1"', '"memory"'))
    assert main(["check", "--config", str(path), "--json"]) == EXIT_DONE
    found = {each["what"]: each for each in json_of(capsys)["findings"]}
    assert "if its disk is wiped it starts empty and unnoticed" in found["quorums"]["detail"]
    assert "every decision is lost" in found["node 1 store"]["detail"]


def test_a_name_that_the_terminal_can_not_show_ends_nothing(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(paxos.__file__).parents[1])}
    for more in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "paxos", "init", str(tmp_path / "имя" / "-".join(["x", *more])), *more],
            env=environ, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == EXIT_DONE, done.stderr
        assert "\\u0438" in done.stdout


def test_a_value_from_a_closed_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["decide", "a", "-", "--cluster", "127.0.0.1:1"]) == EXIT_USAGE
    said(capsys, "standard input is closed")


@pytest.mark.skipif(sys.platform == "win32", reason="is ended another way")
@pytest.mark.parametrize(("shell", "code"), [("<&-", EXIT_USAGE), ("</dev/null", EXIT_DONE)])
def test_to_stop_with_a_standard_input_that_has_ended(shell: str, code: int, tmp_path: Path) -> None:
    assert (
        main(["init", str(tmp_path / "c"), "--nodes", "1", "--base-port", str(free_ports(1)[0])]) == EXIT_DONE
    )
    command = (
        f"exec {sys.executable} -m paxos serve --config c/cluster.toml --node 1 --stop-with-stdin {shell}"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(paxos.__file__).parents[1])}
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert ("standard input is closed already" in done.stderr) == (code == EXIT_USAGE)
