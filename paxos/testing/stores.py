"""Tests that any store must pass, and a store whose power can be cut.

`StoreConformance` holds every promise of `paxos.runtime.store.Store` as a test.  To try a store of your
own, give it a class in a test file that pytest collects:

    class TestMyStore(StoreConformance):
        def make_store(self, path, *, cluster="conformance", node=1, protocol="paxos"):
            return open_my_store(path, cluster=cluster, node=node, protocol=protocol)

A failure shows what was compared, as with asserts in a test file.

`PowerCutStore` is the other way round: it tries what uses a store.  It keeps what is written in a cache
until it is synced, and a power cut empties the cache, wholly or in part.  A node that lets a message go
before the write it reports has been synced will, after the cut, have said something it does not remember.
"""

import random
import threading
from collections.abc import Callable
from pathlib import Path

from paxos.errors import StoreError, StoreFailed, StoreRefused
from paxos.runtime.store import (
    KEY_LIMIT_BYTES,
    Batch,
    OneAtATime,
    Store,
    StoreCard,
    check_identity,
    check_range,
    new_card,
    sort_batch,
)

__all__ = ["PowerCutDisk", "PowerCutStore", "StoreConformance"]


class StoreConformance:
    """Every promise of a store as a test, for pytest to collect in a subclass.

    A subclass says how its store is opened, and may say how it is opened again.
    """

    def make_store(
        self, path: Path, *, cluster: str = "conformance", node: int = 1, protocol: str = "paxos"
    ) -> Store:
        """Open the store at `path`, making it if there is none; an empty directory of this test's own."""
        raise NotImplementedError(f"{type(self).__name__} says how its store is opened: define make_store")

    def reopen(self, store: Store, path: Path) -> Store:
        """Close the store and open it again, as when a node is restarted."""
        store.close()
        return self.make_store(path)

    # ---- what is written is there

    def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        """Nothing is made up."""
        store = self.make_store(tmp_path)
        assert store.load() == {}
        assert self._reload(store, tmp_path) == {}

    def test_what_is_written_is_there_after_reopening(self, tmp_path: Path) -> None:
        """At once, and after a restart."""
        store = self.make_store(tmp_path)
        store.write([(b"a", b"1"), (b"b", b"2")])
        store.write([(b"c", b"3")])
        assert store.load() == {b"a": b"1", b"b": b"2", b"c": b"3"}
        assert self._reload(store, tmp_path) == {b"a": b"1", b"b": b"2", b"c": b"3"}

    def test_a_record_is_replaced_and_deleted(self, tmp_path: Path) -> None:
        """Deleting what is not there is no error."""
        store = self.make_store(tmp_path)
        store.write([(b"a", b"1"), (b"b", b"2")])
        store.write([(b"a", b"one"), (b"b", None), (b"never", None)])
        assert store.load() == {b"a": b"one"}
        assert self._reload(store, tmp_path) == {b"a": b"one"}

    def test_the_last_word_on_a_key_counts(self, tmp_path: Path) -> None:
        """The order in a batch is kept, over writing and deleting."""
        store = self.make_store(tmp_path)
        store.write([(b"kept", b"0"), (b"gone", b"0")])
        store.write(
            [
                (b"twice", b"1"),
                (b"twice", b"2"),
                (b"kept", None),
                (b"kept", b"3"),
                (b"gone", b"4"),
                (b"gone", None),
            ]
        )
        assert self._reload(store, tmp_path) == {b"twice": b"2", b"kept": b"3"}

    def test_an_empty_batch_is_no_error(self, tmp_path: Path) -> None:
        """And changes nothing."""
        store = self.make_store(tmp_path)
        store.write([(b"a", b"1")])
        store.write([])
        assert self._reload(store, tmp_path) == {b"a": b"1"}

    def test_an_empty_value_is_not_an_absent_one(self, tmp_path: Path) -> None:
        """b"" is a value; None deletes."""
        store = self.make_store(tmp_path)
        store.write([(b"a", b"")])
        assert self._reload(store, tmp_path) == {b"a": b""}

    def test_keys_and_values_are_any_bytes_in_order(self, tmp_path: Path) -> None:
        """No byte is special, a key may begin another, and the order is that of bytes, unsigned."""
        store = self.make_store(tmp_path)
        keys = [bytes([byte]) for byte in range(256)] + [b"\0\0", b"\0\0\0", b"a\0", b"a\0b", b"\xff\xff"]
        random.Random(1).shuffle(keys)
        store.write([(key, key[::-1] * 3) for key in keys])
        loaded = self._reload(store, tmp_path)
        assert list(loaded.items()) == [(key, key[::-1] * 3) for key in sorted(keys)]

    def test_long_keys_and_values(self, tmp_path: Path) -> None:
        """The longest key, and a value of a few megabytes."""
        store = self.make_store(tmp_path)
        key = b"k" * KEY_LIMIT_BYTES
        value = random.Random(2).randbytes(3_000_000)
        store.write([(key, value), (key[:-1], b"short")])
        assert self._reload(store, tmp_path) == {key[:-1]: b"short", key: value}

    def test_many_records(self, tmp_path: Path) -> None:
        """More than fit in one page, batch or log of anything."""
        store = self.make_store(tmp_path)
        expected: dict[bytes, bytes] = {}
        for part in range(12):
            batch = [(b"%d" % (number * 7919 % 12_000), b"%d" % part * 20) for number in range(1_000)]
            batch = [(b"%d/" % part + key, value) for key, value in batch]
            store.write(batch)
            expected.update(batch)
        store.delete_range(b"3/", b"6/")
        expected = {key: value for key, value in expected.items() if not b"3/" <= key < b"6/"}
        assert self._reload(store, tmp_path) == expected

    def test_what_load_returns_is_the_callers(self, tmp_path: Path) -> None:
        """Changing it changes nothing in the store."""
        store = self.make_store(tmp_path)
        store.write([(b"a", b"1")])
        store.load().clear()
        assert self._reload(store, tmp_path) == {b"a": b"1"}

    def test_a_range_is_half_open(self, tmp_path: Path) -> None:
        """The low bound goes, the high bound stays."""
        store = self.make_store(tmp_path)
        store.write([(key, b"v") for key in (b"a", b"b", b"b\0", b"bz", b"c", b"d")])
        store.delete_range(b"b", b"c")
        assert list(store.load()) == [b"a", b"c", b"d"]
        assert list(self._reload(store, tmp_path)) == [b"a", b"c", b"d"]

    def test_an_empty_range_deletes_nothing(self, tmp_path: Path) -> None:
        """Neither does one with nothing in it, or the wrong way round."""
        store = self.make_store(tmp_path)
        store.write([(b"a", b"1"), (b"c", b"3")])
        store.delete_range(b"a", b"a")
        store.delete_range(b"b", b"c")
        store.delete_range(b"z", b"a")
        store.delete_range(b"", b"")
        assert list(self._reload(store, tmp_path)) == [b"a", b"c"]

    def test_a_range_from_the_beginning(self, tmp_path: Path) -> None:
        """Nothing is below b""."""
        store = self.make_store(tmp_path)
        store.write([(b"\0", b"1"), (b"\x01", b"2"), (b"\xff", b"3")])
        store.delete_range(b"", b"\xff")
        assert list(self._reload(store, tmp_path)) == [b"\xff"]

    def test_like_a_dictionary(self, tmp_path: Path) -> None:
        """A few hundred operations at random, with restarts between, against a plain dictionary."""
        draw = random.Random(3)
        store = self.make_store(tmp_path)
        expected: dict[bytes, bytes] = {}
        for step in range(300):
            action = draw.randrange(10)
            if action == 0:
                low, high = (b"%02d" % draw.randrange(40) for _ in range(2))
                store.delete_range(low, high)
                expected = {key: value for key, value in expected.items() if not low <= key < high}
            elif action == 1 and step % 3 == 0:
                store = self.reopen(store, tmp_path)
                assert store.load() == expected
            else:
                for key, value in (batch := _random_batch(draw)):
                    expected.pop(key, None)
                    if value is not None:
                        expected[key] = value
                store.write(batch)
        assert self._reload(store, tmp_path) == expected

    # ---- what is refused changes nothing

    def test_a_batch_that_no_store_takes(self, tmp_path: Path) -> None:
        """Is refused as a whole, and the store goes on."""
        store = self.make_store(tmp_path)
        bad: list[tuple[object, object]] = [
            (b"", b"v"),
            (b"k" * (KEY_LIMIT_BYTES + 1), b"v"),
            ("text", b"v"),
            (bytearray(b"k"), b"v"),
            (b"k", "text"),
            (b"k", 1),
            (None, None),
        ]
        for record in bad:
            batch: list[tuple[object, object]] = [(b"good", b"v"), record]
            error = _refusal(StoreError, lambda batch=batch: store.write(batch))  # type: ignore[misc]
            assert not isinstance(error, StoreFailed), "nothing is broken: the store must go on"
        _refusal(StoreError, lambda: store.delete_range(None, b"z"))  # type: ignore[arg-type]
        store.write([(b"after", b"v")])
        assert self._reload(store, tmp_path) == {b"after": b"v"}

    def test_a_closed_store_does_nothing_more(self, tmp_path: Path) -> None:
        """Every call says so, and closing again is no error."""
        store = self.make_store(tmp_path)
        store.write([(b"a", b"1")])
        store.close()
        store.close()
        _refusal(StoreFailed, lambda: store.write([(b"b", b"2")]))
        _refusal(StoreFailed, lambda: store.delete_range(b"a", b"b"))
        _refusal(StoreFailed, store.load)
        again = self.make_store(tmp_path)
        store.close()
        assert again.load() == {b"a": b"1"}
        _refusal(StoreRefused, lambda: self.make_store(tmp_path))
        again.close()

    def test_another_thread_may_write(self, tmp_path: Path) -> None:
        """One call at a time, from whichever thread: that is what a driver's worker threads are."""
        store = self.make_store(tmp_path)
        errors: list[BaseException] = []

        def write(number: int) -> None:
            try:
                store.write([(b"%d" % number, b"v")])
            except BaseException as error:
                errors.append(error)

        for number in range(3):
            thread = threading.Thread(target=write, args=(number,))
            thread.start()
            thread.join()
        assert not errors
        assert list(self._reload(store, tmp_path)) == [b"0", b"1", b"2"]

    # ---- whose it is

    def test_the_card(self, tmp_path: Path) -> None:
        """Says whose the store is; the id stays, the incarnation is raised at every opening."""
        store = self.make_store(tmp_path, cluster="shop", node=7, protocol="epaxos")
        first = store.card
        assert (first.cluster, first.node, first.protocol) == ("shop", 7, "epaxos")
        assert len(first.store_id) == 32
        assert set(first.store_id) <= set("0123456789abcdef")
        assert first.incarnation == 1
        for incarnation in (2, 3, 4):
            store.close()
            store = self.make_store(tmp_path, cluster="shop", node=7, protocol="epaxos")
            assert store.card == StoreCard("shop", 7, "epaxos", first.store_id, incarnation)
        store.close()

    def test_two_stores_have_two_ids(self, tmp_path: Path) -> None:
        """Otherwise a wiped disk would not be noticed."""
        ids: set[str] = set()
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            store = self.make_store(tmp_path / name)
            ids.add(store.card.store_id)
            store.close()
        assert len(ids) == 2

    def test_another_s_store_is_refused(self, tmp_path: Path) -> None:
        """With both names in the message, and without harm to what is in it."""
        store = self.make_store(tmp_path, cluster="shop", node=41, protocol="paxos")
        store.write([(b"a", b"1")])
        card = store.card
        store.close()
        other = {
            ("'shop'", "'bank'"): lambda: self.make_store(
                tmp_path, cluster="bank", node=41, protocol="paxos"
            ),
            ("node 41", "42"): lambda: self.make_store(tmp_path, cluster="shop", node=42, protocol="paxos"),
            ("'paxos'", "'epaxos'"): lambda: self.make_store(
                tmp_path, cluster="shop", node=41, protocol="epaxos"
            ),
        }
        for (found, asked), opening in other.items():
            words = str(_refusal(StoreRefused, opening))
            assert found in words
            assert asked in words
        store = self.make_store(tmp_path, cluster="shop", node=41, protocol="paxos")
        assert store.load() == {b"a": b"1"}
        assert store.card.store_id == card.store_id
        store.close()

    def test_only_one_at_a_time_has_it(self, tmp_path: Path) -> None:
        """The second is refused for as long as the first has it, and the first is not disturbed."""
        store = self.make_store(tmp_path)
        _refusal(StoreRefused, lambda: self.make_store(tmp_path))
        store.write([(b"a", b"1")])
        assert store.card.incarnation == 1
        store = self.reopen(store, tmp_path)
        assert store.card.incarnation == 2
        assert store.load() == {b"a": b"1"}
        store.close()

    def _reload(self, store: Store, path: Path) -> dict[bytes, bytes]:
        """What is there after a restart."""
        store = self.reopen(store, path)
        try:
            return store.load()
        finally:
            store.close()


def _refusal(kind: type[StoreError], call: Callable[[], object]) -> StoreError:
    """The error a call ends with, which must be of that kind and say something."""
    try:
        call()
    except kind as error:
        if not str(error):
            raise AssertionError(f"{kind.__name__} does not say what happened") from error
        return error
    raise AssertionError(f"{kind.__name__} was expected, and nothing was raised")


def _random_batch(draw: random.Random) -> list[tuple[bytes, bytes | None]]:
    """A few writes and deletes over a small number of keys, so that they meet."""
    return [
        (b"%02d" % draw.randrange(40), None if draw.randrange(4) == 0 else draw.randbytes(draw.randrange(60)))
        for _ in range(draw.randrange(8))
    ]


# ---- power cuts --------------------------------------------------------------------------------------


class PowerCutDisk:
    """A disk in memory with a cache in front: what is in the cache is gone after a power cut.

    Attributes:
        synced: the records on the disk.
        unsynced: batches in the cache, oldest first.
        card: whose the disk is, once a store was made on it.
    """

    def __init__(self) -> None:
        self.synced: dict[bytes, bytes] = {}
        self.unsynced: list[list[tuple[bytes, bytes | None]]] = []
        self.card: StoreCard | None = None
        self._user: PowerCutStore | None = None

    def open(
        self,
        *,
        cluster: str,
        node: int,
        protocol: str,
        lying: bool = False,
        before_sync: Callable[[], None] | None = None,
    ) -> "PowerCutStore":
        """Open the store on this disk, making it if there is none; the incarnation is synced at once.

        Args:
            cluster: id of the cluster.
            node: id of the node.
            protocol: name of the protocol.
            lying: let `write` return without a sync, as a disk does that acknowledges what is in its cache.
                A node on such a store must be caught by the same test that passes without the lie.
            before_sync: called in each write, when the batch is in the cache and not yet on the disk: a place
                to wait, or to cut the power.

        Raises:
            StoreRefused: another store is open on it, or it is another's.
        """
        if self._user is not None:
            raise StoreRefused("store power-cut: in use by this process; close it first")
        card = self.card or new_card(cluster=cluster, node=node, protocol=protocol)
        check_identity(card, "power-cut", cluster=cluster, node=node, protocol=protocol)
        self.card = card.raised()
        self._user = PowerCutStore(self, self.card, lying=lying, before_sync=before_sync)
        return self._user

    def visible(self) -> dict[bytes, bytes]:
        """The records as they are read while the power is on: the cache over the disk."""
        records = dict(self.synced)
        for batch in self.unsynced:
            _apply(records, batch)
        return records

    def sync(self) -> None:
        """Bring the cache to the disk."""
        for batch in self.unsynced:
            _apply(self.synced, batch)
        self.unsynced.clear()

    def power_cut(self, *, keep_batches: int = 0, keep_records: int = 0) -> None:
        """Lose the cache, and stop the store that is open on the disk.

        Args:
            keep_batches: so many of the oldest batches in the cache still reach the disk.
            keep_records: and so many records of the batch after them: a torn write, which a store that keeps
                its promises never shows; to see what one that does not would do.
        """
        kept = self.unsynced[:keep_batches]
        torn = self.unsynced[keep_batches : keep_batches + 1]
        for batch in [*kept, *(batch[:keep_records] for batch in torn)]:
            _apply(self.synced, batch)
        self.unsynced.clear()
        if self._user is not None:
            self._user.stop()
            self._user = None

    def let_go(self, store: "PowerCutStore") -> None:
        """The store was closed: another may be opened."""
        if self._user is store:
            self._user = None


class PowerCutStore:
    """A store on a `PowerCutDisk`, and made by its `open`. Takes care of nothing that a power cut takes.

    Closing it does not sync: what a lying store acknowledged stays in the cache until `sync` or a cut.

    Args:
        disk: where the records are.
        card: whose it is.
        lying: let `write` return without a sync.
        before_sync: called in each write before the sync.
    """

    def __init__(
        self,
        disk: PowerCutDisk,
        card: StoreCard,
        *,
        lying: bool = False,
        before_sync: Callable[[], None] | None = None,
    ) -> None:
        self._disk = disk
        self._card = card
        self._lying = lying
        self._before_sync = before_sync
        self._turn = OneAtATime("power-cut")
        self._over: str | None = None

    @property
    def card(self) -> StoreCard:
        """Whose store this is."""
        return self._card

    def load(self) -> dict[bytes, bytes]:
        """Every record, in ascending order of keys, synced or not."""
        with self._turn:
            self._require_power()
            return dict(sorted(self._disk.visible().items()))

    def write(self, batch: Batch) -> None:
        """Write and delete records, and sync them unless the store lies.

        Raises:
            StoreFailed: the power was cut, before or during the write, or the store is closed.
        """
        puts, deletes = sort_batch(batch)
        self._add([*puts, *((key, None) for key in deletes)])

    def delete_range(self, low: bytes, high: bytes) -> None:
        """Delete every record with `low <= key < high`, and sync that unless the store lies."""
        check_range(low, high)
        self._add([(key, None) for key in self._disk.visible() if low <= key < high])

    def sync(self) -> None:
        """Bring everything acknowledged to the disk."""
        with self._turn:
            self._require_power()
            self._disk.sync()

    def stop(self) -> None:
        """The power was cut: every later call fails, and the write that is running too."""
        self._over = "the power was cut"

    def close(self) -> None:
        """Let go of the disk."""
        with self._turn:
            self._over = self._over or "it is closed"
            self._disk.let_go(self)

    def _add(self, batch: list[tuple[bytes, bytes | None]]) -> None:
        with self._turn:
            self._require_power()
            self._disk.unsynced.append(batch)
            if self._before_sync is not None:
                self._before_sync()
                self._require_power()
            if not self._lying:
                self._disk.sync()

    def _require_power(self) -> None:
        if self._over is not None:
            raise StoreFailed(f"store power-cut: {self._over}; open it again")


def _apply(records: dict[bytes, bytes], batch: list[tuple[bytes, bytes | None]]) -> None:
    for key, value in batch:
        if value is None:
            records.pop(key, None)
        else:
            records[key] = value
