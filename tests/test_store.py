"""The store's contract: three stores against the conformance suite, and the suite against broken stores."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import paxos.testing
from paxos.errors import ConfigurationError, StoreError, StoreFailed, StoreRefused
from paxos.runtime.store import (
    Batch,
    MemoryDisk,
    MemoryStore,
    OneAtATime,
    Store,
    StoreCard,
    inspect_store,
    open_store,
    record_name,
    sort_batch,
)
from paxos.testing.stores import PowerCutDisk, PowerCutStore, StoreConformance

ROOT = Path(__file__).parents[1]


class MemoryConformance(StoreConformance):
    """Stores in memory, a disk for each path; a subclass says what is wrong with them."""

    @pytest.fixture(autouse=True)
    def _disks(self) -> None:
        self.disks: dict[Path, MemoryDisk] = {}

    def make_store(
        self, path: Path, *, cluster: str = "conformance", node: int = 1, protocol: str = "paxos"
    ) -> Store:
        disk = self.disks.setdefault(path, MemoryDisk())
        return disk.open(cluster=cluster, node=node, protocol=protocol)


class TestMemoryConforms(MemoryConformance):
    pass


class TestSqliteConforms(StoreConformance):
    def make_store(
        self, path: Path, *, cluster: str = "conformance", node: int = 1, protocol: str = "paxos"
    ) -> Store:
        return open_store(str(path), cluster=cluster, node=node, protocol=protocol)


class TestPowerCutConforms(StoreConformance):
    @pytest.fixture(autouse=True)
    def _disks(self) -> None:
        self.disks: dict[Path, PowerCutDisk] = {}

    def make_store(
        self, path: Path, *, cluster: str = "conformance", node: int = 1, protocol: str = "paxos"
    ) -> Store:
        disk = self.disks.setdefault(path, PowerCutDisk())
        return disk.open(cluster=cluster, node=node, protocol=protocol)

    def reopen(self, store: Store, path: Path) -> Store:
        self.disks[path].power_cut()
        return self.make_store(path)


# ---- the suite finds what is broken ------------------------------------------------------------------


class _Broken(MemoryStore):
    """A store on a memory disk; each subclass breaks one promise."""

    def records(self) -> dict[bytes, bytes]:
        return self._disk.records


class _KeepsDeleted(_Broken):
    def write(self, batch: Batch) -> None:
        super().write([(key, value) for key, value in batch if value is not None])


class _FirstWordCounts(_Broken):
    def write(self, batch: Batch) -> None:
        sort_batch(batch)
        super().write(list(dict(reversed(batch)).items()))


class _EmptyIsAbsent(_Broken):
    def write(self, batch: Batch) -> None:
        super().write([(key, value or None) for key, value in batch])


class _RangeTakesHigh(_Broken):
    def delete_range(self, low: bytes, high: bytes) -> None:
        super().delete_range(low, high + b"\0")


class _RangeLeavesLow(_Broken):
    def delete_range(self, low: bytes, high: bytes) -> None:
        super().delete_range(low + b"\0", high)


class _Unordered(_Broken):
    def load(self) -> dict[bytes, bytes]:
        return dict(self.records())


class _HandsOutItsOwn(_Broken):
    def load(self) -> dict[bytes, bytes]:
        super().load()
        return self.records()


class _EndsAtZero(_Broken):
    def write(self, batch: Batch) -> None:
        sort_batch(batch)
        super().write([(key.split(b"\0")[0] or b"\0", value) for key, value in batch])


class _ForgetsAtClosing(_Broken):
    def close(self) -> None:
        if self._open:
            self.records().clear()
        super().close()


class _WritesHalfOfWhatItRefuses(_Broken):
    def write(self, batch: Batch) -> None:
        for record in batch:
            super().write([record])


class _WorksWhenClosed(_Broken):
    def close(self) -> None:
        self._disk.in_use = False


class _NotForThreads(_Broken):
    home = threading.get_ident()

    def write(self, batch: Batch) -> None:
        if threading.get_ident() != self.home:
            raise StoreFailed("another thread")
        super().write(batch)


class _OneIdForAll(_Broken):
    @property
    def card(self) -> StoreCard:
        return StoreCard(self._card.cluster, self._card.node, self._card.protocol, "0" * 32, 1)


class _NeverRaised(_Broken):
    @property
    def card(self) -> StoreCard:
        card = super().card
        return StoreCard(card.cluster, card.node, card.protocol, card.store_id, 1)


class _AnybodysDisk(MemoryDisk):
    def open(self, *, cluster: str, node: int, protocol: str) -> MemoryStore:
        self.card = None
        return super().open(cluster=cluster, node=node, protocol=protocol)


class _UnlockedDisk(MemoryDisk):
    def open(self, *, cluster: str, node: int, protocol: str) -> MemoryStore:
        self.in_use = False
        return super().open(cluster=cluster, node=node, protocol=protocol)


@pytest.mark.parametrize(
    ("disk", "store", "found_by"),
    [
        (MemoryDisk, _KeepsDeleted, "test_a_record_is_replaced_and_deleted"),
        (MemoryDisk, _KeepsDeleted, "test_like_a_dictionary"),
        (MemoryDisk, _FirstWordCounts, "test_the_last_word_on_a_key_counts"),
        (MemoryDisk, _EmptyIsAbsent, "test_an_empty_value_is_not_an_absent_one"),
        (MemoryDisk, _RangeTakesHigh, "test_a_range_is_half_open"),
        (MemoryDisk, _RangeTakesHigh, "test_an_empty_range_deletes_nothing"),
        (MemoryDisk, _RangeTakesHigh, "test_a_range_from_the_beginning"),
        (MemoryDisk, _RangeLeavesLow, "test_a_range_is_half_open"),
        (MemoryDisk, _Unordered, "test_keys_and_values_are_any_bytes_in_order"),
        (MemoryDisk, _EndsAtZero, "test_keys_and_values_are_any_bytes_in_order"),
        (MemoryDisk, _HandsOutItsOwn, "test_what_load_returns_is_the_callers"),
        (MemoryDisk, _ForgetsAtClosing, "test_what_is_written_is_there_after_reopening"),
        (MemoryDisk, _ForgetsAtClosing, "test_long_keys_and_values"),
        (MemoryDisk, _ForgetsAtClosing, "test_many_records"),
        (MemoryDisk, _ForgetsAtClosing, "test_an_empty_batch_is_no_error"),
        (MemoryDisk, _WritesHalfOfWhatItRefuses, "test_a_batch_that_no_store_takes"),
        (MemoryDisk, _WorksWhenClosed, "test_a_closed_store_does_nothing_more"),
        (MemoryDisk, _NotForThreads, "test_another_thread_may_write"),
        (MemoryDisk, _OneIdForAll, "test_two_stores_have_two_ids"),
        (MemoryDisk, _NeverRaised, "test_the_card"),
        (_AnybodysDisk, MemoryStore, "test_another_s_store_is_refused"),
        (_UnlockedDisk, MemoryStore, "test_only_one_at_a_time_has_it"),
    ],
)
def test_the_suite_finds(
    disk: type[MemoryDisk], store: type[MemoryStore], found_by: str, tmp_path: Path
) -> None:
    class Suite(StoreConformance):
        disks: dict[Path, MemoryDisk] = {}  # noqa: RUF012 - of this one suite

        def make_store(
            self, path: Path, *, cluster: str = "conformance", node: int = 1, protocol: str = "paxos"
        ) -> Store:
            place = self.disks.setdefault(path, disk())
            return store(place, place.open(cluster=cluster, node=node, protocol=protocol).card)

    with pytest.raises(AssertionError):
        getattr(Suite(), found_by)(tmp_path)


def test_a_suite_that_opens_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="define make_store"):
        StoreConformance().make_store(tmp_path)


# ---- power cuts --------------------------------------------------------------------------------------


def _power(disk: PowerCutDisk, *, lying: bool = False) -> PowerCutStore:
    return disk.open(cluster="c", node=1, protocol="paxos", lying=lying)


def test_a_power_cut_takes_what_was_not_synced() -> None:
    disk = PowerCutDisk()
    honest = _power(disk)
    honest.write([(b"a", b"1")])
    honest.delete_range(b"x", b"z")
    disk.power_cut()
    with pytest.raises(StoreFailed, match="power was cut"):
        honest.write([(b"b", b"2")])
    assert _power(disk).load() == {b"a": b"1"}


def test_a_lying_store_is_found_out_by_a_power_cut() -> None:
    disk = PowerCutDisk()
    lying = _power(disk, lying=True)
    lying.write([(b"a", b"1")])
    lying.sync()
    lying.write([(b"a", b"2"), (b"b", b"2")])
    lying.delete_range(b"a", b"b")
    assert lying.load() == {b"b": b"2"}
    disk.power_cut()
    assert _power(disk).load() == {b"a": b"1"}


@pytest.mark.parametrize(
    ("keep_batches", "keep_records", "left"),
    [
        (0, 1, {b"a": b"1"}),
        (1, 0, {b"a": b"1", b"b": b"1"}),
        (1, 1, {b"b": b"1"}),
        (1, 2, {b"b": b"1", b"c": b"2"}),
        (2, 5, {b"b": b"1", b"c": b"2"}),
    ],
)
def test_a_power_cut_may_leave_a_part(keep_batches: int, keep_records: int, left: dict[bytes, bytes]) -> None:
    disk = PowerCutDisk()
    lying = _power(disk, lying=True)
    lying.write([(b"a", b"1"), (b"b", b"1")])
    disk.unsynced.append([(b"a", None), (b"c", b"2")])
    disk.power_cut(keep_batches=keep_batches, keep_records=keep_records)
    assert _power(disk).load() == left


def test_power_cut_in_the_middle_of_a_write() -> None:
    disk = PowerCutDisk()
    store = disk.open(cluster="c", node=1, protocol="paxos", before_sync=disk.power_cut)
    with pytest.raises(StoreFailed, match="power was cut"):
        store.write([(b"a", b"1")])
    store.close()
    after = _power(disk)
    assert after.load() == {}
    assert after.card.incarnation == 2


def test_two_calls_at_once_are_a_bug_that_is_named() -> None:
    disk = PowerCutDisk()
    reached: list[StoreError] = []

    def again() -> None:
        with pytest.raises(StoreError, match="one call at a time") as caught:
            store.load()
        reached.append(caught.value)

    store = disk.open(cluster="c", node=1, protocol="paxos", before_sync=again)
    store.write([(b"a", b"1")])
    assert len(reached) == 1
    assert store.load() == {b"a": b"1"}


def test_a_turn_ends_with_an_error_too() -> None:
    turn = OneAtATime("here")
    with pytest.raises(KeyError), turn:
        raise KeyError
    with turn, pytest.raises(StoreError, match="store here: called while"), turn:
        pass


# ---- addresses ---------------------------------------------------------------------------------------


def _open(url: str) -> Store:
    return open_store(url, cluster="c", node=1, protocol="paxos")


def test_memory_forgets() -> None:
    first = _open("memory")
    first.write([(b"a", b"1")])
    second = _open("memory")
    assert second.load() == {}
    assert second.card.store_id != first.card.store_id


@pytest.mark.parametrize("url", ["data/1", "./a:b", "sqlite:data/1", "sqlite:x:y", "d"])
def test_a_path_is_kept_by_sqlite(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = _open(url)
    monkeypatch.chdir("/")
    store.write([(b"a", b"1")])
    store.close()
    monkeypatch.chdir(tmp_path)
    place = Path(url.removeprefix("sqlite:"))
    assert (place / "records.sqlite3").stat().st_size > 0
    assert inspect_store(url).records == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "no address given"),
        ("sqlite:", "no directory given"),
        ("nosuch:place", r"memory.* \./nosuch:place"),
    ],
)
def test_an_address_that_means_nothing(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        _open(url)
    with pytest.raises(ConfigurationError, match=words):
        inspect_store(url)


def test_memory_can_not_be_inspected() -> None:
    with pytest.raises(ConfigurationError, match="nothing on a disk"):
        inspect_store("memory")


PLUGIN = """
from paxos.runtime.store import MemoryDisk

def bare(rest, *, cluster, node, protocol):
    return MemoryDisk().open(cluster=rest + cluster, node=node, protocol=protocol)

class Full:
    def __call__(self, rest, *, cluster, node, protocol):
        return bare(rest, cluster=cluster, node=node, protocol=protocol)
    def inspect(self, rest, verify):
        return "report on " + rest

full = Full()
"""


def test_a_store_of_another_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere_stores.py").write_text(PLUGIN)
    information = tmp_path / "elsewhere-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[paxos.stores]\nbare = elsewhere_stores:bare\nfull-1 = elsewhere_stores:full\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert _open("bare:x:/y").card.cluster == "x:/yc"
    assert _open("full-1:").card.cluster == "c"
    assert str(inspect_store("full-1:z")) == "report on z"
    with pytest.raises(ConfigurationError, match="can not be looked at"):
        inspect_store("bare:z")
    with pytest.raises(ConfigurationError, match=r"memory, bare:\.\.\., full-1:\.\.\."):
        _open("other:z")


# ---- small things ------------------------------------------------------------------------------------


def test_a_long_key_is_named_in_short() -> None:
    assert record_name(b"a\0") == r"b'a\x00'"
    assert record_name(b"x" * 1000).endswith("... (1000 bytes)")
    assert len(record_name(b"x" * 1000)) < 100


def test_a_memory_disk_is_one_s_own() -> None:
    disk = MemoryDisk()
    disk.open(cluster="c", node=1, protocol="paxos").close()
    with pytest.raises(StoreRefused, match=r"belongs to cluster 'c', not 'd' and node 1, not 2;"):
        disk.open(cluster="d", node=2, protocol="paxos")


def test_a_broken_store_is_told_what_was_compared(tmp_path: Path) -> None:
    """Without a word in anybody's conftest.py: asserts of the suite speak like those of a test file."""
    (tmp_path / "test_mine.py").write_text(
        "from paxos.runtime.store import MemoryDisk\n"
        "from paxos.testing import StoreConformance\n"
        "class TestMine(StoreConformance):\n"
        "    def make_store(self, path, *, cluster='c', node=1, protocol='paxos'):\n"
        "        store = MemoryDisk().open(cluster=cluster, node=node, protocol=protocol)\n"
        "        store.write([(b'left over', b'1')])\n"
        "        return store\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "new_store_is_empty"]
    environment = {**os.environ, "PYTHONPATH": str(Path(paxos.testing.__file__).parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert "assert {b'left over': b'1'} == {}" in done.stdout


def test_the_testing_room_opens_lazily() -> None:
    assert paxos.testing.StoreConformance is StoreConformance
    assert set(paxos.testing.__all__) <= set(dir(paxos.testing))
    for name in paxos.testing.__all__:
        assert getattr(paxos.testing, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        paxos.testing.nonsense  # noqa: B018


def test_a_store_in_memory_loads_no_sqlite() -> None:
    code = (
        "import sys; from paxos.runtime.store import open_store; import paxos.testing;"
        "open_store('memory', cluster='c', node=1, protocol='paxos').write([(b'a', b'1')]);"
        "sys.exit(', '.join({'sqlite3', 'paxos.testing.stores', 'hypothesis'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
