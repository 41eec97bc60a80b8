"""docs/fastpaxos.md: its tables are what is computed, measured and set; its program runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from fastpaxos import FastPaxosSettings
from paxos.cli import main
from paxos.errors import QuorumError
from paxos.quorum import FastQuorums, FlexibleQuorums, Phase
from tests.mutants.build import mutants

pytestmark = pytest.mark.once

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "fastpaxos.md").read_text(encoding="utf-8")


def rows_after(words: str) -> list[list[str]]:
    """The rows of the first table after these words, without its head."""
    lines = PAGE[PAGE.index(words) :].splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("|"))
    table = [*lines[first:], ""]
    end = next(at for at, line in enumerate(table) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:end]]


def test_the_quorums_are_the_smallest_that_there_are() -> None:
    rows = [[int(cell) for cell in row] for row in rows_after("For every n the smallest quorums")]
    assert [row[:2] for row in rows] == [[n, one] for n in range(3, 10) for one in range(n // 2 + 1, n + 1)]
    for n, one, two, fast, *survives in rows:
        members = range(1, n + 1)
        quorums = FlexibleQuorums(members, one, two, fast)
        assert survives == [quorums.survives(phase) for phase in (Phase.ONE, Phase.TWO, Phase.FAST)]
        # One less of either, and there are quorums that have nobody in common; they are named.
        with pytest.raises(QuorumError, match=r"phase-1 \{.*\} are quorums without a common member"):
            FlexibleQuorums(members, one, two, fast - 1)
        if two > 1:
            with pytest.raises(QuorumError, match="without a common member"):
                FlexibleQuorums(members, one, two - 1, fast)
    for n in range(3, 10):
        first = next(row for row in rows if row[0] == n)
        assert first[3] == FastQuorums(range(1, n + 1)).fast


def test_the_figures_are_what_the_command_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chart = tmp_path / "chart.svg"
    assert main(["bench", "proposers", "--chart", str(chart), "--json"]) == 0
    assert chart.read_text(encoding="utf-8") == (DOCS / "fastpaxos-proposers.svg").read_text(encoding="utf-8")
    measured = json.loads(capsys.readouterr().out)["proposers"]
    rows = rows_after("latency and collisions by proposers at once")
    for number in range(0, len(rows), 3):
        name = rows[number][0].removesuffix(": collided or outbid")
        found = [
            each
            for each in measured
            if each["spread_ms"] == 100.0 and f"{each['protocol']}, {each['variant']}" == name
        ]
        assert [each["proposers"] for each in found] == [1, 2, 3, 4, 5]
        assert rows[number][1:] == [f"{each['collided']:.0f} %" for each in found]
        assert rows[number + 1][1:] == [f"{each['learn_ms'][0]:.1f}" for each in found]
        assert rows[number + 2][1:] == [f"{each['messages']:.1f}" for each in found]
    assert len(rows) == 15


def test_the_latencies_are_those_that_a_test_measures() -> None:
    from tests.test_fastpaxos_latency import LAST_MS, PROPOSER_MS

    own, last = rows_after("Exactly, milliseconds")
    assert tuple(map(int, own[1:])) == PROPOSER_MS
    assert tuple(map(int, last[1:])) == LAST_MS


def test_the_settings_are_those_that_there_are() -> None:
    rows = rows_after("## Settings")
    assert rows == [[f"`{field.name}`", f"`{field.default!r}`"] for field in attrs.fields(FastPaxosSettings)]


@pytest.mark.parametrize("arguments", ["--ballots 0..2", "--acceptors 5"])
def test_the_small_worlds_are_as_large_as_it_says(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "exhaust.md").read_text(encoding="utf-8")
    command = f"paxos exhaust --protocol fastpaxos {arguments}"
    shown = page[page.index(f"$ {command}\n") + len(command) + 3 :].split("\n$ ")[0].split("\n```")[0]
    assert main(command.split()[1:]) == 0
    timed = re.compile(r"^  time .*$", re.MULTILINE)
    assert timed.sub("", capsys.readouterr().out).strip() == timed.sub("", shown).strip()


def test_the_planted_mistakes_are_as_many_as_it_says() -> None:
    (said,) = re.findall(r"(\d+) \[planted mistakes\]", PAGE)
    assert int(said) == sum(mutant.protocol == "fastpaxos" for mutant in mutants().values())


def test_the_program_runs() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
