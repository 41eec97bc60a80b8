"""The README keeps its word: every example in it runs, every command in it exists, every figure has a row."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import paxos
from paxos import errors
from paxos.cli.command import EXIT_BUG, build_parser
from paxos.runtime.config import parse_cluster

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def outputs(block: str) -> Iterator[str]:
    """What the remarks behind `print` say is printed, up to a colon."""
    for remark in re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE):
        yield remark.split(": ")[0]


PYTHON = blocks("python")


@pytest.fixture(scope="module")
def addresses() -> Iterator[tuple[str, ...]]:
    with paxos.open_cluster_sync("paxos", nodes=3) as cluster:
        yield cluster.addresses


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_an_example_runs_and_prints_what_it_says(
    block: str, addresses: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, address in enumerate(addresses, 7101):
        block = block.replace(f"127.0.0.1:{number}", address)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert printed
    for expected in outputs(block):
        assert f"{expected}\n" in printed


def test_every_example_passes_a_strict_type_checker(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed here")
    # With those of the page on logs, since one run costs little more for them.
    page = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
    programs = [*PYTHON, *re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    for number, block in enumerate(programs):
        (tmp_path / f"example_{number}.py").write_text(block, encoding="utf-8")
    package = Path(paxos.__file__).parents[1]
    # An installed package is found by itself, and mypy wants it no other way.
    found = {} if package.name == "site-packages" else {"MYPYPATH": str(package)}
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={tmp_path / 'cache'}",
        ".",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **found}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"no issues found in {len(programs)} source files" in done.stdout


def test_the_example_of_the_roles_is_short() -> None:
    roles = next(block for block in PYTHON if "Acceptor()" in block)
    assert len(roles.splitlines()) < 20
    assert list(outputs(roles)) == ["b'blue'"]


def test_the_cluster_file_is_one() -> None:
    (text,) = blocks("toml")
    config = parse_cluster(text, "/etc/shop/cluster.toml")
    assert config.members == (1, 2, 3)
    assert config.quorum_system().describe() == "flexible(1,2,3;phase1=3,phase2=1)"


def test_every_command_line_is_accepted() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("paxos ")]
    assert len(lines) >= 10
    commands = {build_parser().parse_args(shlex.split(line, comments=True)[1:]).command for line in lines}
    assert commands >= {"init", "check", "serve", "decide", "decided", "status", "simulate", "bench"}


def test_the_exit_codes_are_those_of_the_code() -> None:
    table = README.partition("\n| exit code | meaning |\n")[2].partition("\n\n")[0]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    promised = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert listed == promised | {EXIT_BUG}


def test_set_up_is_two_commands() -> None:
    setup = [block for block in blocks("sh") if not block.startswith("paxos ")]
    assert setup == [
        "python3 -m venv .venv && .venv/bin/pip install '.[cli]' && .venv/bin/paxos demo\n",
        "python3 -m tests\n",
    ]
    assert "python3-venv" in README


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{paxos.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
