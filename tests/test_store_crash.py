"""The sqlite store and crashes: killed processes, counted syncs, full and failing disks."""

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paxos.errors import StoreFailed
from paxos.runtime.sqlite_store import inspect_sqlite_store, open_sqlite_store
from tests.store_lives import batch_of, quick_directory

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
LIVES = [sys.executable, "-m", "tests.store_lives"]


def _can_trace() -> bool:
    """Whether system calls can be watched here: strace is installed and allowed."""
    strace = shutil.which("strace")
    return (
        strace is not None
        and subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode == 0
    )


traced = pytest.mark.skipif(not _can_trace(), reason="system calls can not be watched without strace")


def reopened(directory: Path) -> dict[bytes, bytes]:
    """What a node would start with."""
    store = open_sqlite_store(directory, cluster="lives", node=1, protocol="paxos")
    try:
        return store.load()
    finally:
        store.close()


def whole_batches(records: dict[bytes, bytes]) -> int:
    """How many batches are there; each must be whole, and none missing between."""
    count = int(records.get(b"number", b"-1")) + 1
    expected = {key: value for number in range(count) for key, value in batch_of(number)}
    assert records == expected
    return count


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where that can be: what is called, written and left by the dead is the same there."""
    with quick_directory() as place:
        yield place


# ---- killed processes --------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint_records", [4000, 40])
def test_what_was_acknowledged_survives_kill(checkpoint_records: int, tmp_path: Path) -> None:
    draw = random.Random(checkpoint_records)
    count = 0
    for _ in range(8):
        life = subprocess.Popen(
            [*LIVES, "write", str(tmp_path), str(checkpoint_records)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        with life:
            assert life.stdout is not None
            for _ in range(draw.randrange(1, 200)):
                assert life.stdout.readline()
            life.kill()
            last = life.stdout.read().splitlines()
        acknowledged = count + _acknowledged_above(count, last)
        records = reopened(tmp_path)
        assert acknowledged <= whole_batches(records)
        count = whole_batches(records)
    assert count > 6


def _acknowledged_above(count: int, lines: list[str]) -> int:
    """How many batches above `count` the lines acknowledge."""
    numbers = [int(line.split()[1]) for line in lines if re.fullmatch(r"wrote \d+", line)]
    return max(numbers) + 1 - count if numbers else 0


@pytest.mark.skipif(not hasattr(sys, "setprofile") or sys.platform == "win32", reason="needs fork")
def test_killed_before_every_call_that_touches_the_disk(tmp_path: Path) -> None:
    said = subprocess.run(
        [*LIVES, "killpoints", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    killed = re.fullmatch(r"killed (\d+) times\n", said.stdout)
    assert killed is not None
    assert int(killed[1]) > 100


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_child_leaves_the_store_alone(tmp_path: Path) -> None:
    said = subprocess.check_output([*LIVES, "fork", str(tmp_path)], cwd=ROOT, text=True)
    assert said == "kept\n"
    assert whole_batches(reopened(tmp_path)) == 2


# ---- counted syncs -----------------------------------------------------------------------------------


def _trace(tmp_path: Path, calls: str, *life: str, inject: str = "") -> tuple[list[str], str]:
    """The system calls of a life, in order, and what it said."""
    log = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={calls}"]
    command += ["-e", f"inject={inject}"] if inject else []
    said = subprocess.run([*command, *LIVES, *life], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return log.read_text().splitlines(), said.stdout


CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<file>\d+<[^>]*>)(?P<rest>.*)")


@traced
def test_one_sync_before_each_acknowledgement(tmp_path: Path) -> None:
    """Between two acknowledgements the log is written, then synced, once; only then the next one is said."""
    lines, _ = _trace(tmp_path, "fsync,fdatasync,pwrite64,write", "count", str(tmp_path / "store"), "6")
    per_batch: list[list[str]] = [[]]
    for line in lines:
        call = CALL.match(line)
        if call is None:
            continue
        if call["name"] == "write" and call["file"].startswith("1<"):
            per_batch.append([])
        elif call["file"].endswith("records.sqlite3-wal>"):
            per_batch[-1].append("sync" if "sync" in call["name"] else "write")
    # Before "open", after each of six batches and a deletion; the rest is the closing.
    assert len(per_batch) == 9
    first, *others = per_batch[1:8]
    # A log that starts over has its head synced first.
    assert first.count("sync") == 2
    for calls in (first, *others):
        assert calls[0] == "write"
        assert calls[-1] == "sync", "the last thing before the acknowledgement"
    for calls in others:
        assert calls.count("sync") == 1, "a batch of any size costs one"


@traced
def test_an_opening_is_on_disk_before_it_returns(tmp_path: Path) -> None:
    """What is renamed into place was synced first and its directory after; and the lock's text is synced."""
    lines, _ = _trace(
        tmp_path, "fsync,fdatasync,rename,pwrite64,write", "count", str(tmp_path / "store"), "0"
    )
    place = str(tmp_path / "store")
    done = lines[: next(number for number, line in enumerate(lines) if '"open' in line)]
    renamed = [number for number, line in enumerate(done) if " rename(" in line]
    assert [_base(done[number]) for number in renamed] == [
        "identity.json",
        "records.sqlite3",
        "identity.json",
    ]
    for number in renamed:
        file = f"{place}/{_base(done[number])}.new>"
        last = [_call(line) for line in done[:number] if file in line and "unlink" not in line][-1]
        assert "sync" in last, f"{file} was {last} and not synced before it got its name"
        assert any("sync" in _call(line) and f"{place}>" in line for line in done[number : number + 2])
    for file in ("lock", "records.sqlite3", "records.sqlite3-wal"):
        calls = [_call(line) for line in done if f"{place}/{file}>" in line]
        assert "sync" in calls[-1], f"{file}: {calls}"
        assert any("write" in call for call in calls)
    # The directories made above it, too.
    assert any("sync" in _call(line) and f"{tmp_path}>" in line for line in done[: renamed[0]])


def _call(line: str) -> str:
    return line.split("(")[0].split()[-1]


def _base(line: str) -> str:
    return line.split('"')[3].rsplit("/", 1)[-1]


# ---- full and failing disks --------------------------------------------------------------------------


def _acknowledged(said: str) -> int:
    """How many batches a failed life acknowledged; it must have failed once and then refused everything."""
    lines = said.splitlines()
    wrote = [line for line in lines if line.startswith("wrote")]
    assert lines[0] == "open"
    assert lines[1 : 1 + len(wrote)] == wrote
    rest = lines[1 + len(wrote) :]
    assert [line.split(":")[0] for line in rest] == ["failed", "refused", "refused", "refused", "closed"]
    return len(wrote)


def test_a_full_disk_stops_the_store(tmp_path: Path) -> None:
    store = open_sqlite_store(tmp_path, cluster="lives", node=1, protocol="paxos")
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count={pages + 20}").fetchall()
    number = 0
    with pytest.raises(StoreFailed) as caught:  # noqa: PT012 - which of the writes fails is sqlite's business
        while True:
            store.write(batch_of(number))
            number += 1
    assert number > 20
    assert str(tmp_path) in str(caught.value)
    assert "SQLITE_FULL" in str(caught.value)
    assert "make room on the disk" in str(caught.value)
    for again in (lambda: store.write([(b"a", b"1")]), lambda: store.delete_range(b"", b"z"), store.load):
        with pytest.raises(StoreFailed, match=r"stopped after an earlier failure .*SQLITE_FULL"):
            again()
    store.close()
    assert whole_batches(reopened(tmp_path)) == number


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file sizes")
def test_a_file_that_may_not_grow_stops_the_store(tmp_path: Path) -> None:
    said = subprocess.check_output([*LIVES, "fail", str(tmp_path), "60000"], cwd=ROOT, text=True)
    acknowledged = _acknowledged(said)
    assert acknowledged > 3
    assert f"failed: store {tmp_path}: a write failed: disk I/O error" in said
    assert acknowledged <= whole_batches(reopened(tmp_path)) <= acknowledged + 1


@traced
@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("sync", "EIO", "SQLITE_IOERR_FSYNC"),
        ("pwrite64", "ENOSPC", "SQLITE_FULL"),
        ("pwrite64", "EIO", "SQLITE_IOERR_WRITE"),
    ],
)
def test_a_failing_disk_stops_the_store(
    call: str, error: str, words: str, lasting: bool, tmp_path: Path
) -> None:
    """One call fails, or all from it on: what was acknowledged is there, and the store opens again."""
    lines, _ = _trace(tmp_path, "fsync,fdatasync,pwrite64,write", "count", str(tmp_path / "dry"), "0")
    if call == "sync":
        # Which of the two sqlite was built with.
        call = next(
            found["name"]
            for found in map(CALL.match, lines)
            if found and "sync" in found["name"] and "-wal" in found["file"]
        )
    opening = next(number for number, line in enumerate(lines) if '"open' in line)
    calls = sum(1 for line in lines[:opening] if f" {call}(" in line)
    when = f"{calls + 9}{'+' if lasting else ''}"
    place = tmp_path / "store"
    _, said = _trace(tmp_path, call, "fail", str(place), inject=f"{call}:error={error}:when={when}")
    acknowledged = _acknowledged(said)
    assert acknowledged > 0
    assert words in said
    assert inspect_sqlite_store(place).sound
    assert acknowledged <= whole_batches(reopened(place)) <= acknowledged + 1
