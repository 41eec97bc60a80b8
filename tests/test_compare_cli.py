"""`paxos compare`: what it prints, what it writes, what it refuses; and a protocol of another
distribution."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

import multipaxos
from paxos.cli import main
from paxos.command import NOP
from paxos.compare import Comparison, WrongRun, run
from paxos.compare.files import write_files
from paxos.compare.tables import csv_of, headline, tables_of
from paxos.contract import find_protocol
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE, ConfigurationError

pytestmark = pytest.mark.once

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[1]
FEW = ("--commands", "10", "--clients", "2", "--workers", "1")


def test_json_has_the_promised_shape_and_the_same_bytes(capsys: Capture) -> None:
    arguments = [
        "compare",
        "--topology",
        "nsdi21",
        "--conflict",
        "0,2",
        "--protocols",
        "epaxos",
        "--json",
        *FEW,
    ]
    assert main(arguments) == EXIT_DONE
    text = capsys.readouterr().out
    data = json.loads(text)
    assert (data["topology"], data["seed"]) == ("nsdi21", 1)
    assert [(each["protocol"], each["conflict"]) for each in data["runs"]] == [("epaxos", 0), ("epaxos", 2)]
    site = data["runs"][0]["sites"]["CA"]
    assert {"p50", "p90", "p99", "max"} <= site["commit_ms"].keys() & site["execute_ms"].keys()
    assert (site["bound_ms"], site["commands"], site["fast_share"]) == (64, 10, 100)
    assert site["contended_bound_ms"] == 128
    assert data["runs"][0]["messages_per_command"] > 4
    assert main(arguments) == EXIT_DONE
    assert capsys.readouterr().out == text
    assert Comparison.from_json(text).dumps() + "\n" == text


def test_tables_say_what_was_found(capsys: Capture) -> None:
    assert (
        main(["compare", "--protocols", "epaxos,multipaxos", "--conflict", "0,100", "--full", *FEW])
        == EXIT_DONE
    )
    out = capsys.readouterr().out
    for heading in (
        "Latency at each site",
        "What a command costs",
        "What each replica does",
        "Why commands were",
    ):
        assert heading in out
    assert out.startswith("nsdi21: CA, VA, OR, JP, EU; 10 commands a site, closed loop; leader CA")
    row = next(line.split() for line in out.splitlines() if line.split()[:4] == ["epaxos", "0", "%", "EU"])
    assert row[4:15] == ["129", "258", *["129"] * 8, "100"]


def test_a_table_has_a_cell_for_every_column() -> None:
    found = run(
        ["epaxos", "paxos"],
        "uniform:50",
        conflict=100,
        nodes=3,
        rates=[50, 100],
        reads=20,
        service_ms=1,
        faults="region-cut",
        duration_s=3,
    )
    tables = tables_of(found, full=True)
    assert [len(table.rows) for table in tables[:3]] == [16, 4, 12]
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
    assert "open loop" in headline(found)
    assert "busy" in tables[2].columns
    lines = list(csv.DictReader(io.StringIO(csv_of(found))))
    assert len(lines) == 16
    assert {line["site"] for line in lines} == {"s1", "s2", "s3", "all"}
    assert lines[0]["commit_ms_p50"] == str(
        found.runs[0].sites[0].commit_ms and found.runs[0].sites[0].commit_ms.p50
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conflict", "100.5"], "--conflict: 100.5 is outside 0..100 percent"),
        (["--conflict", "-1"], "--conflict: -1 is outside"),
        (["--conflict", "many"], "expected numbers"),
        (["--protocols", "epaxos,raftos"], "no protocol named 'raftos'"),
        (["--protocols", "epaxos,epaxos"], "--protocols: one value twice"),
        (["--topology", "mars"], "no topology named 'mars'"),
        (["--sites", "CA,XX,EU"], "no site 'XX'"),
        (["--leader", "XX"], "leader 'XX'"),
        (["--faults", "flood"], "no preset 'flood'"),
        (["--keys", "zipf:0"], "--keys: 0 is outside"),
        (["--keys", "cold"], "--keys: 'cold' is none of"),
        (["--keys", "hotspot:10:20:1"], "--keys: 20 hot ones of only 10"),
        (["--reads", "101"], "--reads: 101.0 is outside"),
        (["--service", "-1"], "--service: -1.0 is outside"),
        (["--failures", "3"], "no quorums of 5 replicas that survive 3"),
        (["--preset", "nsdi21", "--topology", "lan"], "--topology does not go with --preset"),
        (["--preset", "unknown"], "no preset named 'unknown'"),
        (["--csv", "--json"], "choose one"),
    ],
)  # fmt: skip
def test_what_can_not_work_is_refused_before_anything_runs(
    arguments: list[str], message: str, capsys: Capture, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    assert main(["compare", *arguments, "--out", str(out)]) == EXIT_USAGE
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert not out.exists()


def test_files_are_written_all_or_none(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Figures have their own tests.
    monkeypatch.setattr("paxos.compare.report.can_draw", lambda: False)
    report = tmp_path / "deep" / "report"
    assert main(["compare", "--protocols", "paxos", "--out", str(report), *FEW]) == EXIT_DONE
    names = sorted(path.name for path in report.iterdir())
    assert names == ["comparison.csv", "comparison.json", "index.html"]
    assert Comparison.from_json((report / "comparison.json").read_bytes()).runs[0].protocol == "paxos"
    # Again, over what was written before.
    assert main(["compare", "--protocols", "paxos", "--seed", "2", "--out", str(report), *FEW]) == EXIT_DONE
    assert Comparison.from_json((report / "comparison.json").read_bytes()).seed == 2
    assert sorted(path.name for path in report.parent.iterdir()) == ["report"]
    capsys.readouterr()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    for where, message in (
        ("file", "is a file"),
        ("file/x", "is a file"),
        ("full", "not empty, and not written"),
    ):
        assert main(["compare", "--out", str(tmp_path / where)]) == EXIT_USAGE
        assert message in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(ConfigurationError, match="can not be written"):
        write_files({"a": b"1", "a/in/a/file": b"2"}, tmp_path / "half")
    assert not (tmp_path / "half").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "file", "full"]


class _Forgetful:
    """A replica that carries out nothing where another carries out a command."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replica, name)

    def effects(self) -> Any:
        effects = self._replica.effects()
        effects.applies = [(mark, NOP if mark == 5 else command) for mark, command in effects.applies]
        return effects


def _make_broken(configuration: Any, *rest: Any) -> Any:
    replica = multipaxos.protocol.replica(configuration, *rest)
    return _Forgetful(replica) if configuration.node == 3 else replica


broken = attrs.evolve(multipaxos.protocol, name="broken", replica=_make_broken)


def test_a_wrong_run_has_no_figures(capsys: Capture, tmp_path: Path) -> None:
    with pytest.raises(
        WrongRun,
        match=r"0 % conflicts, 2 clients at each site: no figures, for what must hold did not: SlotAgreement",
    ):
        run(["tests.test_compare_cli:broken"], "lan", nodes=3, commands=10, clients=2)
    out = tmp_path / "report"
    arguments = [
        "compare",
        "--protocols",
        "tests.test_compare_cli:broken",
        "--topology",
        "lan",
        "--nodes",
        "3",
    ]
    assert main([*arguments, "--out", str(out), *FEW]) == EXIT_CHECK_FAILED
    captured = capsys.readouterr()
    assert "what must hold did not" in captured.err
    assert captured.out == ""
    assert not out.exists()


def test_topologies_and_presets_are_listed(capsys: Capture) -> None:
    assert main(["compare", "--topologies"]) == EXIT_DONE
    assert "tempo2021" in capsys.readouterr().out
    assert main(["compare", "--presets", "--json"]) == EXIT_DONE
    assert json.loads(capsys.readouterr().out)["presets"].keys() == {"sosp13-fig4", "nsdi21", "conflict"}
    assert main(["compare", "--preset", "nsdi21", "--commands", "5", "--workers", "1"]) == EXIT_DONE
    assert capsys.readouterr().out.count(" yes") == 10


# --- a protocol of another distribution ------------------------------------------------------------------

_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "two-of-five"
version = "1.0"
"""
#: A build backend needs no more than this, and so nothing has to be fetched for it.
_BACKEND = """
import zipfile
def build_wheel(directory, settings=None, metadata=None):
    name = "two_of_five-1.0-py3-none-any.whl"
    card = "two_of_five-1.0.dist-info/"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.write("two_of_five.py")
        wheel.writestr(card + "METADATA", "Metadata-Version: 2.1\\nName: two-of-five\\nVersion: 1.0\\n")
        wheel.writestr(card + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(card + "entry_points.txt", "[paxos.protocols]\\ntwo-of-five = two_of_five:protocol\\n")
        wheel.writestr(card + "RECORD", "")
    return name
"""
_MODULE = '''
"""Multi-Paxos in which two replicas of five decide, and four elect."""
import attrs
import multipaxos
from paxos.quorum import FlexibleQuorums
protocol = attrs.evolve(
    multipaxos.protocol,
    name="two-of-five",
    quorums=lambda ids: FlexibleQuorums(ids, phase1=len(list(ids)) - 1, phase2=2),
)
'''


def test_a_protocol_of_another_distribution_is_compared_without_a_change(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name, text in (("pyproject.toml", _PROJECT), ("backend.py", _BACKEND), ("two_of_five.py", _MODULE)):
        (source / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--target", str(site), str(source)], check=True, capture_output=True)
    package = Path(find_protocol.__code__.co_filename).parents[2]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(package)])}
    command = [
        sys.executable,
        "-m",
        "paxos",
        "compare",
        "--protocols",
        "two-of-five,multipaxos",
        "--json",
        *FEW,
    ]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    ours, theirs = Comparison.from_json(done.stdout).runs
    assert (ours.protocol, ours.leader) == ("two-of-five", "CA")
    # The leader's nearest is 26 ms away; for a majority it needs the next one.
    assert ours.site["EU"].commit_ms is not None
    assert theirs.site["EU"].commit_ms is not None
    assert (ours.site["EU"].commit_ms.max, theirs.site["EU"].commit_ms.max) == (137 + 26, 137 + 64)
    assert ours.site["EU"].bound_ms == 137 + 26
