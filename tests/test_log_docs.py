"""docs/log.md: its programs run and print what they say, and so does every command line, in its order."""

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from paxos.cli import main
from paxos.cli.processes import NodeProcesses
from paxos.errors import EXIT_DONE
from paxos.runtime.ports import free_ports

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
PATIENCE_S = 60


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


PYTHON = blocks("python")


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_a_program_prints_what_it_says(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE)
    assert expected
    exec(compile(block, "docs/log.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.splitlines() == expected


def lines(block: str) -> Iterator[tuple[list[str], str]]:
    """The words of each command line, and the remark behind it."""
    for line in block.splitlines():
        command, _, remark = line.partition("  #")
        yield shlex.split(command)[1:], remark.strip()


def move_ports(config: Path, ports: Iterator[int]) -> None:
    """Give a cluster file's addresses ports that are free here."""
    text = re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{next(ports)}", config.read_text())
    config.write_text(text)


def wait_for_leader(capsys: pytest.CaptureFixture[str]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while main(["leader", "--config", "shop/cluster.toml"]) != EXIT_DONE:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    capsys.readouterr()


def test_every_command_line_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    setup, session, backups, looks = blocks("sh")
    (init, _), (serve, _) = lines(setup)
    assert serve[0] == "serve"
    assert main(init) == EXIT_DONE
    ports = iter(free_ports(6))
    move_ports(Path("shop/cluster.toml"), ports)
    with NodeProcesses(Path("shop/cluster.toml"), tmp_path, ("--log-level", "error")) as nodes:
        for node in (1, 2, 3):
            nodes.start(node)
        wait_for_leader(capsys)
        for words, remark in lines(session):
            assert main(words) == EXIT_DONE, words
            printed = capsys.readouterr().out
            if words[0] in ("get", "increment", "submit", "transfer"):
                assert printed.rstrip("\n") == remark
        (backup, _), *rest = lines(backups)
        assert main(backup) == EXIT_DONE
    for words, _ in rest:
        assert main(words) == EXIT_DONE, words
    capsys.readouterr()
    for words, _ in lines(looks):
        assert main(words) == EXIT_DONE, words
    assert "put key=colour value=blue" in capsys.readouterr().out
    assert main(["log", "--store", "shop2/data/3"]) == EXIT_DONE
    assert "snapshot 1: everything up to slot" in capsys.readouterr().out
