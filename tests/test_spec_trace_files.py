"""The files of tracing nodes: merged when they are whole, and refused, with the reason, when they are not."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from paxos.check.trace_files import merge_trace_files
from paxos.cli import main
from paxos.errors import ConfigurationError
from paxos.quorum import Majority
from paxos.runtime import ClusterConfig, dump_cluster
from paxos.runtime.trace_file import TraceFile
from paxos.sim import Workload, run
from tests.processes import write_config
from tests.tlc import require_tlc

THREE = Majority([1, 2, 3])

Lines = list[dict[str, Any]]


def _lines(node: int, *events: tuple[int, str], ended: bool = True) -> Lines:
    """What a node writes that does these things at these clocks, each about decree x."""
    lines: Lines = [{"trace": {"node": node, "protocol": "paxos", "cluster": "shop"}}]
    for number, (clock, action) in enumerate(events, 1):
        lines.append({"clock": clock, "number": number, "action": action, "node": node, "decree": "x"})
    if ended:
        lines.append({"clock": lines[-1]["clock"], "number": len(events), "end": True})
    return lines


def _write(path: Path, lines: Lines) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _three(place: Path, first: Lines | None = None) -> list[Path]:
    """Whole files of three nodes, or with something else for the first."""
    every = (
        first or _lines(1, (1, "Phase1a"), (4, "Learn")),
        _lines(2, (2, "Phase1b"), (3, "Phase2b")),
        _lines(3, (7, "Tell")),
    )
    return [_write(place / f"{node}.jsonl", lines) for node, lines in enumerate(every, 1)]


def test_files_are_merged_by_their_clocks(tmp_path: Path) -> None:
    (trace,) = merge_trace_files(_three(tmp_path), THREE, protocol="paxos", cluster="shop")
    assert [event["action"] for event in trace.events] == ["Phase1a", "Phase1b", "Phase2b", "Learn", "Tell"]
    assert trace.events[0] == {"action": "Phase1a", "node": 1, "decree": "x"}
    assert trace.origin == "1.jsonl, 2.jsonl, 3.jsonl, decree x"
    assert trace.open_files == ()


def test_a_file_that_was_not_ended_is_taken_and_remembered(tmp_path: Path) -> None:
    killed = _lines(1, (1, "Phase1a"), (4, "Learn"), ended=False)
    (trace,) = merge_trace_files(_three(tmp_path, killed), THREE)
    assert trace.open_files == (("1.jsonl", 4),)
    # Its second life ended well; the numbers go on.
    again = [*killed, *_lines(1, (1, ""), (4, ""), (9, "Restart"))[3:]]
    (trace,) = merge_trace_files(_three(tmp_path, again), THREE)
    assert trace.open_files == ()
    assert len(trace.events) == 6


def _without(at: int, *more: int) -> Callable[[Lines], Lines]:
    return lambda lines: [line for place, line in enumerate(lines) if place not in (at, *more)]


def _with(at: int, **fields: object) -> Callable[[Lines], Lines]:
    return lambda lines: [line | fields if place == at else line for place, line in enumerate(lines)]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_without(0), "line 1: it does not say of which node, protocol and cluster"),
        (_without(1), "line 2: event 1 is missing before it, of node 1"),
        (_without(1, 2), "line 2: events 1 to 2 are missing before it, of node 1"),
        (_without(3), "line 4: event 3 is missing before it, of node 1"),
        (lambda lines: [*lines[:3], *lines[2:]], "line 4: event 2 of node 1 is there a second time"),
        (lambda lines: [*lines[:4], *lines[1:]], "line 5: event 1 of node 1 is there a second time"),
        (lambda lines: lines[:1], "cut short: there is nothing after its first line"),
        (_with(2, node=2), "line 3: it is of node 2, and the file is of node 1"),
        (_with(2, clock=None), "line 3: no event: it has no clock"),
        (_with(2, number="2"), "line 3: no event: it has no number"),
        (_with(2, action=3), "line 3: no event: node or action is missing"),
        (_with(0, trace={"node": "1"}), "line 1: it does not say of which node"),
        (_with(0, trace={"node": 4, "protocol": "paxos", "cluster": "shop"}), "line 2: it is of node 1"),
        (
            _with(0, trace={"node": 1, "protocol": "paxos", "cluster": "other"}),
            r"1\.jsonl: it is of cluster 'other', and the configuration says 'shop'",
        ),
        (
            _with(0, trace={"node": 1, "protocol": "multipaxos", "cluster": "shop"}),
            r"1\.jsonl: it is of protocol 'multipaxos', and the configuration says 'paxos'",
        ),
    ],
)
def test_a_file_that_is_not_whole_says_what_is_wrong(
    tmp_path: Path, change: Callable[[Lines], Lines], match: str
) -> None:
    lines = change(_lines(1, (1, "Phase1a"), (4, "Phase2a"), (6, "Learn")))
    with pytest.raises(ConfigurationError, match=match) as told:
        merge_trace_files(_three(tmp_path, lines), THREE, protocol="paxos", cluster="shop")
    assert str(tmp_path / "1.jsonl") in str(told.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{\n", "line 1: not JSON"),
        ("3\n", "line 1: no event"),
        ('{"clock": 1, "node": 1, "action": "Tell"}\n', "line 1: it does not say of which node"),
        ("no trace", "cut short: its last line, line 1, is not whole"),
    ],
)
def test_a_file_that_is_no_trace_says_where(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "1.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=match):
        merge_trace_files([path], THREE)
    with pytest.raises(ConfigurationError, match="can not be read"):
        merge_trace_files([tmp_path / "absent"], THREE)


def test_without_a_configuration_the_files_must_agree(tmp_path: Path) -> None:
    paths = _three(tmp_path)
    _write(
        paths[2], [{"trace": {"node": 3, "protocol": "other", "cluster": "shop"}}, *_lines(3, (7, "x"))[1:]]
    )
    with pytest.raises(
        ConfigurationError, match=r"3\.jsonl: it is of protocol 'other', and .*1\.jsonl says 'paxos'"
    ):
        merge_trace_files(paths, THREE)


def test_every_node_has_one_file(tmp_path: Path) -> None:
    paths = _three(tmp_path)
    with pytest.raises(ConfigurationError, match="no file of node 2, 3: give those of all nodes"):
        merge_trace_files(paths[:1], THREE)
    with pytest.raises(ConfigurationError, match=r"2\.jsonl and .*2\.jsonl are both of node 2: give it once"):
        merge_trace_files([*paths, paths[1]], THREE)
    with pytest.raises(
        ConfigurationError, match=r"3\.jsonl: it is of node 3; the nodes with a vote are 1, 2"
    ):
        merge_trace_files(paths, Majority([1, 2]))
    # A node that never ran has an empty one, and so has an observer.
    paths[2].write_bytes(b"")
    assert len(merge_trace_files(paths, THREE)[0].events) == 4
    assert len(merge_trace_files([*paths[:2], paths[2], paths[2]], THREE)[0].events) == 4


# --- the command -----------------------------------------------------------------------------------------


def _cluster(place: Path) -> tuple[ClusterConfig, list[Path]]:
    """Three nodes, and what they would have written of a simulated run."""
    config = write_config(place)
    workload = Workload(operations=3, names=1, clients=1, audit=False)
    events = run("paxos", 3, 5, workload=workload, duration_s=3.0, trace=True).events
    paths = [place / f"{node}.jsonl" for node in (1, 2, 3)]
    files = {
        node: TraceFile(path, node, cluster=config.id) for node, path in zip((1, 2, 3), paths, strict=True)
    }
    for at, event in enumerate(events):
        files[event.node].heard(at)
        files[event.node].write([event])
    for file in files.values():
        file.close()
    return config, paths


def _check(config: ClusterConfig, paths: Sequence[Path], *more: str) -> int:
    return main(["spec", "--trace-events", *map(str, paths), "--config", str(config.path), *more])


def test_files_that_are_not_whole_end_in_2_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paxos.check.tlc.find_tlc", lambda jar: None)
    config, paths = _cluster(tmp_path)

    def refused(paths: Sequence[Path], *more: str) -> str:
        assert _check(config, paths, *more) == 2
        told = capsys.readouterr()
        assert told.out == ""
        return told.err

    assert "no file of node 2: give those of all nodes" in refused([paths[0], paths[2]])
    assert "2.jsonl are both of node 2: give it once" in refused([*paths, paths[1]])
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[: len(whole) // 2])
    assert f"{paths[1]}: cut short: its last line, line" in refused(paths)
    lines = whole.splitlines(keepends=True)
    paths[1].write_bytes(b"".join(lines[:10] + lines[13:]))
    assert f"{paths[1]}, line 11: events 10 to 12 are missing before it, of node 2" in refused(paths)
    paths[1].write_bytes(whole)
    told = refused(paths, "--protocol", "multipaxos")
    assert "--protocol multipaxos: the cluster of" in told
    assert "runs paxos; leave it out" in told
    assert config.path is not None
    config.path.write_text(dump_cluster(attrs.evolve(config, protocol="multipaxos", settings=None)))
    assert "it is of protocol 'paxos', and the configuration says 'multipaxos'" in refused(paths)


@pytest.mark.once
def test_a_rejection_says_when_it_may_be_for_a_file_that_was_cut_at_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_tlc()
    config, paths = _cluster(tmp_path)
    assert _check(config, paths, "--protocol", "paxos") == 0
    whole = paths[1].read_bytes().splitlines(keepends=True)
    paths[1].write_bytes(b"".join(whole[: len(whole) // 2]))
    capsys.readouterr()
    assert _check(config, paths) == 2
    assert (
        "2.jsonl ends before that, and not as the file of a node that was stopped" in capsys.readouterr().err
    )
    # What does not fit before that place does not fit for another reason.
    first = paths[0].read_text().splitlines(keepends=True)
    at = next(at for at, line in enumerate(first) if '"Phase1b"' in line)
    event = json.loads(first[at])
    first[at] = json.dumps(event | {"promised": [1_000_000, 1, 0]}) + "\n"
    paths[0].write_text("".join(first))
    assert _check(config, paths, "--json") == 5
    told = json.loads(capsys.readouterr().out)["rejections"]
    assert [] in [each["open_files"] for each in told]
