"""The sqlite store on a real disk: what it refuses, and that no damage makes it forget in silence."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from paxos.errors import StoreError, StoreFailed, StoreRefused
from paxos.runtime import sqlite_store
from paxos.runtime.sqlite_store import SqliteStore, inspect_sqlite_store, open_sqlite_store
from paxos.runtime.store import StoreCard, StoreReport
from paxos.runtime.store_files import decode_card, encode_card, read_marker, write_marker
from tests.store_lives import quick_directory

ROOT = Path(__file__).parents[1]
DATABASE, LOG, MARKER, LOCK = "records.sqlite3", "records.sqlite3-wal", "identity.json", "lock"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where that can be: some hundred stores are made here, and none of them has a power cut."""
    with quick_directory() as place:
        yield place


def opened(directory: Path, *, cluster: str = "shop", node: int = 1) -> SqliteStore:
    return open_sqlite_store(directory, cluster=cluster, node=node, protocol="paxos")


def loaded(directory: Path) -> dict[bytes, bytes]:
    """What a node would start with."""
    store = opened(directory)
    try:
        return store.load()
    finally:
        store.close()


def refusal(directory: Path) -> str:
    """The words with which an opening is refused, which must not change what is there."""
    before = contents(directory)
    with pytest.raises(StoreRefused) as caught:
        loaded(directory)
    after = contents(directory)
    assert before.keys() - {LOCK, LOG} <= after.keys()
    assert all(after[name] == before[name] for name in (DATABASE, MARKER) if name in before)
    return str(caught.value)


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


def filled(directory: Path, *, batches: int = 30, seed: int = 1) -> dict[bytes, bytes]:
    """Make a store with some hundred records, large and small, overwritten and deleted; return them."""
    draw = random.Random(seed)
    store = opened(directory)
    records = store.load()
    for _ in range(batches):
        size = draw.choice((1, 1, 5, 20))
        batch = [
            (b"k%05d" % draw.randrange(2000), draw.randbytes(draw.choice((9, 100, 100, 3000))))
            for _ in range(size)
        ]
        store.write(batch)
        records.update(batch)
    store.delete_range(b"k00500", b"k00700")
    store.close()
    return {key: value for key, value in sorted(records.items()) if not b"k00500" <= key < b"k00700"}


def crashed(directory: Path, image: Path) -> dict[bytes, bytes]:
    """Make in `image` what a killed node leaves: the store of `directory`, open, with batches in its log.

    The log starts over in the middle; beside the image the one before that is kept, `early`.
    """
    store = opened(directory)
    for number in range(20):
        store.write([(b"late%d" % number, b"x" * 100 * (number % 4)), (b"number", b"%d" % number)])
        if number == 9:
            shutil.copy(directory / LOG, image.with_name("early"))
            sqlite_store._checkpoint(store._database)
            store._log_may_start_over = True
    records = store.load()
    shutil.copytree(directory, image)
    store.close()
    return records


# ---- how it is set up --------------------------------------------------------------------------------


def test_every_commit_is_synced(tmp_path: Path) -> None:
    store = opened(tmp_path)
    pragma = lambda name: store._database.execute(f"PRAGMA {name}").fetchone()[0]  # noqa: E731
    assert pragma("synchronous") == 2  # FULL
    assert pragma("journal_mode") == "wal"
    assert pragma("locking_mode") == "exclusive"
    assert pragma("fullfsync") == pragma("checkpoint_fullfsync") == 1
    assert pragma("wal_autocheckpoint") == 0
    assert pragma("user_version") == 1
    assert pragma("application_id").to_bytes(4, "big") == b"Paxo"
    store.close()


def test_directories_are_made(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b" / "c"
    opened(place).close()
    assert sorted(contents(place)) == [MARKER, LOCK, DATABASE]


def test_the_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "_CHECKPOINT_RECORDS", 50)
    store = opened(tmp_path / "store")
    sizes: list[int] = []
    for number in range(400):
        store.write([(b"%d" % number, b"x" * 100)])
        sizes.append((tmp_path / "store" / LOG).stat().st_size)
    assert sizes[-1] < 3 * 50 * 4200, "three pages a record, for the records between two checkpoints"
    shutil.copytree(tmp_path / "store", tmp_path / "image")
    store.close()
    assert len(loaded(tmp_path / "image")) == 400


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_process_without_free_descriptors_goes_on_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over a checkpoint, after which the log starts over and has to be looked at."""
    import resource

    monkeypatch.setattr(sqlite_store, "_CHECKPOINT_RECORDS", 3)
    store = opened(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    logs = set()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        with suppress(OSError):  # too many
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        assert len(taken) < 256
        for number in range(20):
            store.write([(b"k%d" % number, b"v")])
            logs.add(store._mark.generation)
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    store.close()
    assert len(loaded(tmp_path)) == 20
    # It did start over, and that was seen.
    assert len(logs) > 1


def test_a_store_that_was_not_closed_is_closed_when_the_process_ends(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.store_lives", "forget", str(tmp_path)], cwd=ROOT, check=True)
    assert inspect_sqlite_store(tmp_path).clean
    assert not (tmp_path / LOG).exists()


def test_two_threads_at_once_are_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store._turn, pytest.raises(StoreError, match="one call at a time"):
        store.write([(b"a", b"1")])
    store.write([(b"b", b"2")])
    assert store.load() == {b"b": b"2"}
    store.close()


def test_an_interrupt_in_the_middle_is_final(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write([(b"a", b"1")])
    with pytest.raises(KeyboardInterrupt), store._transaction("a write"):
        raise KeyboardInterrupt
    with pytest.raises(StoreFailed, match=r"earlier failure.*KeyboardInterrupt"):
        store.write([(b"b", b"2")])
    store.close()
    assert loaded(tmp_path) == {b"a": b"1"}


# ---- refused: not ours, not writable, in use ---------------------------------------------------------


@pytest.mark.parametrize("where", [MARKER, DATABASE])
def test_a_newer_format_is_refused_with_both_versions(where: str, tmp_path: Path) -> None:
    filled(tmp_path)
    if where == DATABASE:
        database = sqlite3.connect(tmp_path / DATABASE)
        database.execute("PRAGMA user_version=7")
        database.close()
    else:
        (tmp_path / MARKER).write_text('{"format": 7, "something": "new"}')
    words = refusal(tmp_path)
    assert "newer format version 7" in words
    assert "reads version 1" in words
    with pytest.raises(StoreRefused, match="newer format version 7"):
        inspect_sqlite_store(tmp_path)


@pytest.mark.parametrize("foreign", ["notes.txt", "data"])
def test_a_directory_that_holds_something_else(foreign: str, tmp_path: Path) -> None:
    if "." in foreign:
        (tmp_path / foreign).write_bytes(b"mine")
    else:
        (tmp_path / foreign).mkdir()
    assert f"holds something else ({foreign!r})" in refusal(tmp_path)
    assert set(contents_names(tmp_path)) == {foreign, LOCK}


def contents_names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def test_the_root_of_a_file_system_is_empty(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert loaded(tmp_path) == {}


def test_a_path_that_is_a_file_or_below_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"mine")
    with pytest.raises(StoreRefused, match="is not a directory"):
        opened(file)
    with pytest.raises(StoreRefused, match=r"can not be made: .*file"):
        opened(file / "below")
    assert file.read_bytes() == b"mine"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of another kind")
def test_a_directory_that_can_not_be_written(tmp_path: Path) -> None:
    # As the superuser nothing is forbidden, so the life becomes nobody, who must be able to get there.
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    place.chmod(0o555)
    try:
        words = subprocess.check_output(
            [sys.executable, "-m", "tests.store_lives", "unwritable", str(place)], cwd=ROOT, text=True
        )
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)
    assert words.startswith(f"refused: store {place}: can not be written: ")
    assert "Permission denied" in words


def test_another_process_has_it(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-m", "tests.store_lives", "hold", str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        for attempt in (opened, inspect_sqlite_store):
            with pytest.raises(StoreRefused, match=f"in use by process {other.pid}; stop it first"):
                attempt(tmp_path)
        other.kill()
    store = open_sqlite_store(tmp_path, cluster="lives", node=1, protocol="paxos")
    assert store.card.incarnation == 2
    with pytest.raises(StoreRefused, match=f"this very process .{os.getpid()}."):
        opened(tmp_path)
    store.close()


def test_looking_holds_a_starting_node_up_and_names_nobody(tmp_path: Path) -> None:
    filled(tmp_path)

    def verify(key: bytes, value: bytes) -> str | None:
        with pytest.raises(StoreRefused, match="in use by another process"):
            opened(tmp_path)
        return None

    assert inspect_sqlite_store(tmp_path, verify=verify).sound


def test_a_dead_process_is_not_said_to_have_it(tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    crashed(tmp_path / "store", tmp_path / "image")
    text = (tmp_path / "image" / LOCK).read_bytes().split()
    (tmp_path / "image" / LOCK).write_bytes(b" ".join([dead.stdout.strip(), *text[1:]]))

    def verify(key: bytes, value: bytes) -> str | None:
        with pytest.raises(StoreRefused, match="in use by another process"):
            opened(tmp_path / "image")
        return None

    assert inspect_sqlite_store(tmp_path / "image", verify=verify).sound


# ---- refused: something is lost ----------------------------------------------------------------------


def test_the_database_is_gone(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / DATABASE).unlink()
    words = refusal(tmp_path)
    assert "has lost its data" in words
    assert "node 1 in cluster 'shop'" in words
    assert contents_names(tmp_path) == [MARKER, LOCK], "nothing was made in its place"


def test_the_database_is_empty(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"")
    assert "has lost its data: records.sqlite3 is empty" in refusal(tmp_path)


def test_the_identity_is_gone(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / MARKER).unlink()
    assert "has lost its identity" in refusal(tmp_path)


def test_both_are_gone_after_a_crash(tmp_path: Path) -> None:
    crashed(tmp_path / "store", tmp_path / "image")
    for name in (DATABASE, LOG, MARKER):
        (tmp_path / "image" / name).unlink()
    assert "both identity.json and records.sqlite3 are missing" in refusal(tmp_path / "image")


def test_the_database_is_an_old_copy(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    shutil.copy(tmp_path / "store" / DATABASE, tmp_path)
    filled(tmp_path / "store", seed=2)
    shutil.copy(tmp_path / DATABASE, tmp_path / "store")
    words = refusal(tmp_path / "store")
    assert "is an old copy: it was opened 1 times, and the store 2 times" in words


def test_the_database_is_another_store_s(tmp_path: Path) -> None:
    filled(tmp_path / "one")
    filled(tmp_path / "two")
    shutil.copy(tmp_path / "two" / DATABASE, tmp_path / "one")
    assert "is of another store than identity.json" in refusal(tmp_path / "one")


def test_the_database_is_another_program_s(tmp_path: Path) -> None:
    filled(tmp_path)
    database = sqlite3.connect(tmp_path / DATABASE)
    database.execute("PRAGMA application_id=17")
    database.close()
    assert "the database of another program (its application id is 0x11)" in refusal(tmp_path)


def test_a_table_was_changed(tmp_path: Path) -> None:
    filled(tmp_path)
    database = sqlite3.connect(tmp_path / DATABASE)
    database.execute("CREATE TABLE mine (x)")
    database.close()
    assert "its tables are not those of a store" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("gone", "the log of the last batches is gone"),
        ("empty", "the log of the last batches was cut off"),
        ("cut", "of the last 10 batches are whole in the log"),
        ("last byte", "only 9 of the last 10 batches are whole in the log"),
        ("head", "the head of the log of the last batches is damaged"),
        ("middle", "frame 3 of the log is damaged, and batches written later are behind it"),
        ("old", "the log of the last batches is an old copy"),
    ],
)
def test_the_log_is_harmed_after_a_crash(harm: str, words: str, tmp_path: Path) -> None:
    place = tmp_path / "image"
    crashed(tmp_path / "store", tmp_path / "first")
    crashed(tmp_path / "first", place)
    log = place / LOG
    frames = bytearray(log.read_bytes())
    match harm:
        case "gone":
            log.unlink()
        case "empty":
            log.write_bytes(b"")
        case "cut":
            log.write_bytes(frames[:10000])
        case "last byte":
            frames[_end_of_log(frames) - 1] ^= 1
            log.write_bytes(frames)
        case "head":
            frames[17] ^= 1
            log.write_bytes(frames)
        case "middle":
            frames[32 + 2 * (24 + 4096) + 500] ^= 1
            log.write_bytes(frames)
        case _:
            shutil.copy(tmp_path / "early", log)
    assert words in refusal(place)
    assert "was not closed properly" in refusal(place)
    with pytest.raises(StoreRefused, match="was not closed properly"):
        inspect_sqlite_store(place)


def test_an_old_log_before_the_first_write(tmp_path: Path) -> None:
    crashed(tmp_path / "store", tmp_path / "first")
    store = opened(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "image")
    store.close()
    assert inspect_sqlite_store(tmp_path / "image").sound
    shutil.copy(tmp_path / "early", tmp_path / "image" / LOG)
    assert "is an old copy, or another store's" in refusal(tmp_path / "image")


def _end_of_log(log: bytearray) -> int:
    """Where the frames of the log's newest generation end."""
    place = 32
    while log[place + 8 : place + 16] == log[16:24]:
        place += 24 + 4096
    return place


def test_a_log_that_a_tool_of_sqlite_s_copied_and_removed(tmp_path: Path) -> None:
    records = crashed(tmp_path / "store", tmp_path / "image")
    database = sqlite3.connect(tmp_path / "image" / DATABASE)
    assert database.execute("SELECT count(*) FROM records").fetchone() == (len(records),)
    database.close()
    assert "writing 0 0 0 0 into the file 'lock' lets the node start without" in refusal(tmp_path / "image")
    (tmp_path / "image" / LOCK).write_text("0 0 0 0")
    assert loaded(tmp_path / "image") == records


@pytest.mark.parametrize("lock", [None, b"", b"?", b"1 2 3", b"one two three four", bytes(84)])
def test_a_lock_that_says_nothing_is_missed(tmp_path: Path, lock: bytes | None) -> None:
    """Only it tells that the log of a killed node is missing, or has lost its end."""
    crashed(tmp_path / "store", tmp_path / "image")
    (tmp_path / "image" / LOG).unlink()
    opened(tmp_path / "closed").close()
    for place in (tmp_path / "image", tmp_path / "closed"):
        (place / LOCK).unlink()
        if lock is not None:
            (place / LOCK).write_bytes(lock)
        for _ in range(2):  # being refused writes nothing that makes it look right
            assert "has lost its 'lock' file" in refusal(place)
            with pytest.raises(StoreRefused, match="has lost its 'lock' file"):
                inspect_sqlite_store(place)


def test_a_making_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    """Nothing was promised on that store yet: the identity is of incarnation 0, or not there."""
    card = StoreCard("shop", 1, "paxos", "0" * 32, 0)
    (tmp_path / LOCK).touch()
    (tmp_path / (DATABASE + ".new")).write_bytes(b"half")
    (tmp_path / (MARKER + ".new")).write_bytes(b"half")
    write_marker(tmp_path, card)
    with pytest.raises(StoreRefused, match="the making of it was not finished"):
        inspect_sqlite_store(tmp_path)
    store = opened(tmp_path)
    assert store.card.incarnation == 1
    assert store.card.store_id != card.store_id
    store.close()
    assert contents_names(tmp_path) == [MARKER, LOCK, DATABASE]


# ---- damage ------------------------------------------------------------------------------------------


def _damage(draw: random.Random, data: bytes) -> bytes:
    """Bytes with something wrong in them: a bit, a byte, a few, a sector, a page, or the end."""
    harmed = bytearray(data)
    kind = draw.randrange(7)
    place = draw.randrange(len(harmed)) if draw.random() < 0.7 else draw.randrange(min(200, len(harmed)))
    if kind == 0:
        harmed[place] ^= 1 << draw.randrange(8)
    elif kind == 1:
        harmed[place] = draw.randrange(256)
    elif kind == 2:
        harmed[place : place + 16] = draw.randbytes(len(harmed[place : place + 16]))
    elif kind in (3, 4):
        size = 512 if kind == 3 else 4096
        place -= place % size
        harmed[place : place + size] = bytes(len(harmed[place : place + size]))
    elif kind == 5:
        page = place - place % 4096
        harmed[page : page + 4096] = draw.randbytes(len(harmed[page : page + 4096]))
    else:
        del harmed[place:]
    return bytes(harmed)


@pytest.mark.parametrize(
    ("state", "name", "tries"),
    [
        ("clean", DATABASE, 90),
        ("clean", MARKER, 40),
        ("crash", DATABASE, 60),
        ("crash", LOG, 90),
        ("crash", LOCK, 30),
    ],
)
def test_no_damage_makes_it_forget_in_silence(state: str, name: str, tries: int, tmp_path: Path) -> None:
    image = tmp_path / "image"
    if state == "clean":
        expected = filled(image)
    else:
        filled(tmp_path / "store")
        expected = crashed(tmp_path / "store", image)
    whole = (image / name).read_bytes()
    draw = random.Random(5)
    refused = 0
    for _ in range(tries):
        place = tmp_path / "harmed"
        shutil.copytree(image, place)
        (place / name).write_bytes(_damage(draw, whole))
        report = _look(place)
        found = _load(place)
        if found is None:
            assert report is None or not report.sound
            refused += 1
        else:
            assert found == expected
            assert report is not None
            assert report.sound
        shutil.rmtree(place)
    if name != LOCK:
        assert refused > tries // 4, "the damage must have hit something"


def _load(directory: Path) -> dict[bytes, bytes] | None:
    try:
        return loaded(directory)
    except StoreRefused:
        return None


def _look(directory: Path) -> StoreReport | None:
    try:
        return inspect_sqlite_store(directory)
    except StoreRefused:
        return None


def _change_record(directory: Path, key: bytes, change: str, *values: object) -> None:
    database = sqlite3.connect(directory / DATABASE)
    assert database.execute(f"UPDATE records SET {change} WHERE key = ?", (*values, key)).rowcount == 1
    database.commit()
    database.close()


@pytest.mark.parametrize(
    ("change", "value", "words"),
    [
        ("value = ?", b"other", r"record b'b\x00' is damaged: its checksum is wrong"),
        ("crc = ?", 1, r"record b'b\x00' is damaged: its checksum is wrong"),
        ("key = ?", b"bb", r"record b'bb' is damaged: its checksum is wrong"),
        ("value = ?", "text", r"the record after b'a' is damaged: it is not bytes"),
    ],
)
def test_a_damaged_record_is_named(change: str, value: object, words: str, tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write([(b"a", b"1"), (b"b\0", b"2"), (b"c", b"3")])
    store.close()
    _change_record(tmp_path, b"b\0", change, value)
    report = inspect_sqlite_store(tmp_path)
    assert not report.sound
    assert (report.damaged, report.damaged_count, report.records) == ((words,), 1, 3)
    store = opened(tmp_path)
    with pytest.raises(StoreRefused) as caught:
        store.load()
    assert words in str(caught.value)
    assert "put back a copy" in str(caught.value)
    store.close()


@pytest.mark.parametrize(("write_version", "read_version"), [(1, 1), (1, 2), (2, 1)])
def test_the_mode_was_changed(write_version: int, read_version: int, tmp_path: Path) -> None:
    """One flipped bit in the database's head would have sqlite pass over the log."""
    crashed(tmp_path / "store", tmp_path / "image")
    file = tmp_path / "image" / DATABASE
    head = bytearray(file.read_bytes())
    head[18:20] = bytes([write_version, read_version])
    file.write_bytes(head)
    assert "its mode was changed" in refusal(tmp_path / "image")


def test_a_byte_can_not_change_sides(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write([(b"ab", b"c")])
    store.close()
    _change_record(tmp_path, b"ab", "key = ?, value = ?", b"a", b"bc")
    assert inspect_sqlite_store(tmp_path).damaged_count == 1


# ---- looking at a store offline ----------------------------------------------------------------------


def test_a_report_on_a_clean_store_changes_nothing(tmp_path: Path) -> None:
    records = filled(tmp_path)
    before = contents(tmp_path)
    assert read_marker(tmp_path) is not None

    def verify(key: bytes, value: bytes) -> str | None:
        assert contents_names(tmp_path) == sorted(before), "not even while it looks"
        return None if records[key] == value else "is another"

    report = inspect_sqlite_store(tmp_path, verify=verify)
    assert report == StoreReport(
        where=str(tmp_path),
        card=StoreCard("shop", 1, "paxos", report.card.store_id, 1),
        format_version=1,
        records=len(records),
        size_bytes=sum(len(key) + len(value) for key, value in records.items()),
        clean=True,
        structure=(),
        damaged=(),
        damaged_count=0,
    )
    assert report.sound
    assert contents(tmp_path) == before


def test_a_report_on_a_killed_node_s_store_changes_nothing(tmp_path: Path) -> None:
    records = crashed(tmp_path / "store", tmp_path / "image")
    before = contents(tmp_path / "image")
    report = inspect_sqlite_store(tmp_path / "image")
    assert report.sound
    assert not report.clean
    assert report.records == len(records)
    assert contents(tmp_path / "image") == before
    assert loaded(tmp_path / "image") == records


def test_a_report_names_what_the_caller_finds_wrong(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write([(b"%03d" % number, b"v") for number in range(30)])
    store.close()
    report = inspect_sqlite_store(tmp_path, verify=lambda key, _: "too high" if key >= b"005" else None)
    assert report.damaged_count == 25
    assert report.damaged[0] == "record b'005': too high"
    assert len(report.damaged) == 20
    assert not report.sound


def test_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreRefused, match="there is no store here"):
            inspect_sqlite_store(place)
    assert contents(tmp_path) == {}


def test_a_card_reads_back_and_nothing_else_does() -> None:
    card = StoreCard('a "b" \u00e9', 3, "epaxos", "ab" * 16, 12)
    text = encode_card(card)
    assert decode_card(text, "here") == card
    for bad in (
        "",
        "{}",
        "[]",
        "1",
        text.replace("12", "13"),
        text.replace("3", '"3"'),
        text[:-3],
        "\0" * 50,
    ):
        with pytest.raises(StoreRefused, match="here: "):
            decode_card(bad, "here")
    assert attrs.evolve(card, incarnation=13) == card.raised()
