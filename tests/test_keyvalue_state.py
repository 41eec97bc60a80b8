"""The key-value machine's snapshots, the order of its keys and the changes it holds."""

import random
import zlib
from collections.abc import Iterator

import pytest

from paxos.command import MAX_COMMAND_BYTES
from paxos.errors import RecordError
from paxos.service import keyvalue_answers as answers
from paxos.service import keyvalue_requests as requests
from paxos.service.keyvalue import KeyValue
from paxos.service.keyvalue_parts import KeyOrder
from paxos.service.keyvalue_snapshot import CHUNK_BYTES
from paxos.wire import dumps

# --- snapshots ---------------------------------------------------------------------------------------


def _filled(count: int, seed: int, *, value_bytes: int = 8) -> KeyValue:
    """A machine with the same keys and values whatever the seed, which says in which order they came."""
    machine = KeyValue()
    names = [b"%d" % (number * 7919 % 1_000_003) for number in range(count)]
    random.Random(seed).shuffle(names)
    machine.apply_many([requests.put(name, name.ljust(value_bytes, b".")) for name in names])
    return machine


def test_the_bytes_of_a_snapshot() -> None:
    machine = KeyValue()
    assert machine.snapshot() == b"paxos-kv\x01" + bytes(16) + b"\x05\xec\xa8\xb4"
    machine.apply_many([requests.put(b"b", b"2"), requests.put(b"a", b"1"), requests.put(b"a", b"3")])
    head = b"paxos-kv\x01" + bytes(7) + b"\x03" + bytes(7) + b"\x02"
    body = b"\x84\x41a\x413\x41b\x412"
    assert machine.snapshot() == (
        head
        + zlib.crc32(head).to_bytes(4, "big")
        + b"\0"
        + len(body).to_bytes(4, "big")
        + zlib.crc32(body).to_bytes(4, "big")
        + body
    )


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 8192, 8193, 30_000])
def test_equal_states_have_equal_snapshots(count: int) -> None:
    one, other = _filled(count, 1), _filled(count, 2)
    snapshot = one.snapshot()
    assert other.snapshot() == snapshot
    restored = KeyValue()
    restored.restore(snapshot)
    assert restored.snapshot() == snapshot
    assert (len(restored), restored.revision) == (count, count)
    names = [key for key, _ in answers.scanned(restored.query(requests.scan(limit=32_768))).items]
    assert names == sorted(b"%d" % (number * 7919 % 1_000_003) for number in range(count))


@pytest.mark.parametrize(
    ("count", "value_bytes"), [(0, 0), (20_000, 8), (3000, 500), (300, 5000), (3, 900_000)]
)
def test_chunks_are_bounded(count: int, value_bytes: int) -> None:
    machine = _filled(count, 3, value_bytes=value_bytes)
    chunks = list(machine.snapshot_chunks())
    assert max(map(len, chunks)) <= CHUNK_BYTES <= 256 << 10
    assert b"".join(chunks) == machine.snapshot()
    other = KeyValue()
    other.restore_chunks(iter(chunks))
    assert other.snapshot() == machine.snapshot()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_how_a_snapshot_is_cut_means_nothing(size: int) -> None:
    snapshot = _filled(700, 4).snapshot()
    other = KeyValue()
    other.restore_chunks(snapshot[at : at + size] for at in range(0, len(snapshot), size))
    assert other.snapshot() == snapshot
    other.restore_chunks([b"", snapshot[:9], b"", snapshot[9:], b""])
    assert other.snapshot() == snapshot


def test_a_snapshot_is_of_the_moment_it_was_asked_for() -> None:
    machine = _filled(20_000, 5)
    expected = machine.snapshot()
    chunks = []
    for number, chunk in enumerate(machine.snapshot_chunks()):
        chunks.append(chunk)
        machine.apply_many(
            [
                requests.put(b"new%d" % number, b"1"),
                requests.delete(b"%d" % (number * 7919 % 1_000_003)),
                requests.put(b"7919", b"changed"),
            ]
        )
        machine.query(requests.scan(limit=3))
    assert len(chunks) > 4
    assert b"".join(chunks) == expected
    assert machine.snapshot() != expected
    machine.restore(expected)
    assert machine.snapshot() == expected


def test_the_cut_is_made_before_the_first_chunk_is_taken() -> None:
    machine = _filled(10, 6)
    expected = machine.snapshot()
    chunks: Iterator[bytes] = machine.snapshot_chunks()
    machine.apply(requests.delete(b"0"))
    assert b"".join(chunks) == expected


def test_a_damaged_snapshot_is_refused_and_the_machine_stays_as_it_was() -> None:
    snapshot = _filled(600, 7).snapshot()
    machine = _filled(3, 7)
    before = machine.snapshot()
    places = {*range(80), *range(0, len(snapshot), 97), len(snapshot) - 1}
    for place in places:
        with pytest.raises(RecordError):
            machine.restore(snapshot[:place])
        flipped = bytearray(snapshot)
        flipped[place] ^= 0x10
        with pytest.raises(RecordError):
            machine.restore(bytes(flipped))
    with pytest.raises(RecordError, match="goes on after its 600 keys"):
        machine.restore_chunks([snapshot, b"", b"\0"])
    assert machine.snapshot() == before
    assert (
        answers.scanned(machine.query(requests.scan())).items
        == answers.scanned(_filled(3, 7).query(requests.scan())).items
    )


def _made(*groups: object, count: int, version: int = 1, steps: int = 1) -> bytes:
    head = b"paxos-kv" + bytes([version]) + (5).to_bytes(8, "big") + count.to_bytes(8, "big")
    parts = [head, zlib.crc32(head).to_bytes(4, "big"), bytes(steps)]
    for group in groups:
        body = dumps(group)
        parts += [len(body).to_bytes(4, "big"), zlib.crc32(body).to_bytes(4, "big"), body]
    return b"".join(parts)


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (_made([b"a", b"1"], count=1, version=2), "of version 2; this one reads 1"),
        (_made([b"a", b"1"], count=2), "ends inside its keys"),
        (_made([b"a", b"1", b"b", b"2"], count=1), "more than the 1 keys it says"),
        (_made([b"b", b"1", b"a", b"2"], count=2), "not in order"),
        (_made([b"b", b"1"], [b"a", b"2"], count=2), "not in order"),
        (_made([b"a", b"1", b"a", b"2"], count=2), "not in order"),
        (_made([b"", b"1"], count=1), "not in order"),
        (_made([b"k" * 1025, b"1"], count=1), "too long"),
        (_made([b"a"], count=1), "expected keys and values"),
        (_made([], count=1), "expected keys and values"),
        (_made([b"a", None], count=1), "expected keys and values"),
        (_made(["a", b"1"], count=1), "expected keys and values"),
        (_made({b"a": b"1"}, count=1), "expected keys and values"),
        (_made(count=(1 << 64) - 1), "damaged in its head"),
        (_made(count=1 << 40), "ends inside its head"),
    ],
)
def test_a_snapshot_that_was_never_written_is_refused(snapshot: bytes, said: str) -> None:
    machine = KeyValue()
    with pytest.raises(RecordError, match=said):
        machine.restore(snapshot)
    assert (len(machine), machine.revision) == (0, 0)


# --- the order of the keys ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_order_follows_the_dictionary(seed: int) -> None:
    """Few changes between two looks, many, and all: with keys that go, come back and go again."""
    chance = random.Random(seed)
    data: dict[bytes, bytes] = {}
    order = KeyOrder()
    for round_ in range(150):
        for _ in range(chance.choice([0, 1, 5, 40] if round_ else [4000])):
            key = b"%04d" % chance.randrange(6000)
            if round_ and chance.random() < 0.5:
                key = chance.choice(list(data)) if data else key
                if data.pop(key, None) is not None:
                    order.forget(key)
                if chance.random() < 0.3:
                    data[key] = b"back"
            else:
                data[key] = b""
        if round_ == 75:
            for key in list(data)[10:]:
                del data[key]
                order.forget(key)
        low, high = sorted(b"%04d" % chance.randrange(6000) for _ in range(2))
        assert list(order.keys(data, low, high)) == [key for key in sorted(data) if low <= key < high]
        assert list(order.keys(data, low, None)) == [key for key in sorted(data) if low <= key]
        assert list(order.keys(data, b"", None)) == sorted(data)


@pytest.mark.parametrize("where", ["down", "up", "before"])
def test_the_order_holds_where_all_new_keys_come_to_one_end(where: str) -> None:
    data = {b"m%04d" % number: b"" for number in range(2000)}
    order = KeyOrder()
    new = {
        "down": [b"a%04d" % (9999 - each) for each in range(4000)],
        "up": [b"z%04d" % each for each in range(4000)],
        "before": [b"a%04d" % (each * 7919 % 10_000) for each in range(4000)],
    }[where]
    for number in range(0, 4000, 20):
        assert list(order.keys(data, b"", None)) == sorted(data)
        data.update(dict.fromkeys(new[number : number + 20], b""))
    assert list(order.keys(data, b"a8", b"m0003")) == [key for key in sorted(data) if b"a8" <= key < b"m0003"]
    for key in sorted(data)[:: -1 if where == "up" else 1][:3000]:
        del data[key]
        order.forget(key)
        assert next(order.keys(data, b"", None)) == min(data)


def test_keys_that_come_and_go_are_not_remembered_for_ever() -> None:
    machine = KeyValue()
    machine.apply_many([requests.put(b"%d" % number, b"") for number in range(10)])
    assert len(answers.scanned(machine.query(requests.scan())).items) == 10
    for number in range(1000):
        machine.apply_many([requests.put(b"x%d" % number, b""), requests.delete(b"x%d" % number)])
    assert len(machine._order._gone) <= 10
    assert len(answers.scanned(machine.query(requests.scan())).items) == 10


# --- the changes that are held -----------------------------------------------------------------------


def _page(
    machine: KeyValue, after: int | None, low: bytes = b"", high: bytes | None = None, limit: int = 1000
) -> answers.Page:
    page = answers.changed(machine.query(requests.changes(after, low, high, limit)))
    assert isinstance(page, answers.Page)
    return page


def test_a_watcher_sees_every_change_once_and_in_order() -> None:
    machine = KeyValue()
    chance = random.Random(8)
    start = _page(machine, None)
    assert start == answers.Page((), 0, 0, False)
    seen: list[answers.Change] = []
    mirror: dict[bytes, bytes | None] = {}
    upto = start.upto
    for _ in range(300):
        key = b"%d" % chance.randrange(20)
        machine.apply(
            chance.choice(
                [
                    requests.put(key, b"%d" % chance.randrange(9)),
                    requests.delete(key),
                    requests.get(key),
                    requests.cas(key, None, b"7"),
                    requests.cas(key, b"7", None),
                    requests.increment(key),
                    requests.transaction([], [requests.delete(key), requests.put(key, b"1"), b"dx"]),
                ]
            )
        )
        if chance.random() < 0.3:
            page = _page(machine, upto, limit=3)
            assert page.more == (page.upto < page.now)
            seen += page.changes
            upto = page.upto
    while (page := _page(machine, upto, limit=3)).changes:
        seen += page.changes
        upto = page.upto
    for change in seen:
        mirror[change.key] = change.value
    assert [change.revision for change in seen] == sorted(change.revision for change in seen)
    assert {change.revision for change in seen} == set(range(1, machine.revision + 1))
    items = answers.scanned(machine.query(requests.scan())).items
    assert {key: value for key, value in mirror.items() if value is not None} == dict(items)


def test_a_transaction_is_never_torn_apart_by_a_page() -> None:
    machine = KeyValue()
    several = requests.transaction([], [requests.put(b"%d" % number, b"v") for number in range(5)])
    machine.apply_many([requests.put(b"a", b"1"), several, requests.put(b"b", b"1")])
    assert [len(_page(machine, after, limit=2).changes) for after in (0, 1, 2)] == [1, 5, 1]
    assert len(_page(machine, 0, limit=6).changes) == 6
    assert _page(machine, 0, limit=6).upto == 2


def test_only_changes_of_the_range_are_told_but_all_are_passed() -> None:
    machine = KeyValue()
    machine.apply_many([requests.put(b"%d" % (number % 10), b"v") for number in range(100)])
    page = _page(machine, 50, b"3", b"5")
    assert [change.key for change in page.changes] == [b"3", b"4"] * 5
    assert (page.upto, page.now, page.more) == (100, 100, False)
    assert _page(machine, 99, b"0", b"1") == answers.Page((), 100, 100, False)


def test_one_look_goes_through_a_bounded_number_of_revisions() -> None:
    machine = KeyValue()
    machine.apply_many([requests.put(b"k", b"v")] * 10_000)
    page = _page(machine, 0, b"x")
    assert (page.changes, page.now, page.more) == ((), 10_000, True)
    assert 0 < page.upto < 10_000


def test_a_page_has_no_more_bytes_than_a_command_may_have() -> None:
    machine = KeyValue()
    machine.apply_many([requests.put(b"k", bytes(MAX_COMMAND_BYTES - 4))] * 2)
    machine.apply_many([requests.put(b"k", bytes(MAX_COMMAND_BYTES // 3))] * 4)
    pages = []
    upto = 0
    while upto < machine.revision:
        answer = machine.query(requests.changes(upto))
        assert len(answer) <= MAX_COMMAND_BYTES + 64
        page = answers.changed(answer)
        assert isinstance(page, answers.Page)
        pages.append(len(page.changes))
        upto = page.upto
    assert pages == [1, 1, 2, 2]


def test_changes_that_are_no_longer_held_are_not_made_up() -> None:
    machine = KeyValue(changes_held=4)
    for number in range(10):
        machine.apply(requests.put(b"%d" % number, b"v"))
    for after in range(6):
        assert answers.changed(machine.query(requests.changes(after))) == answers.Compacted(6, 10)
    assert [change.revision for change in _page(machine, 6).changes] == [7, 8, 9, 10]
    assert _page(machine, 10) == answers.Page((), 10, 10, False)
    # Seen at a node that is ahead of this one.
    assert _page(machine, 12) == answers.Page((), 12, 10, False)


def test_long_changes_are_bounded_by_their_bytes() -> None:
    machine = KeyValue(changes_held=100, changes_held_bytes=20_000)
    assert machine._small == 100
    for number in range(50):
        machine.apply(requests.put(b"%02d" % number, bytes(995 if number % 2 else 5)))
        held = sum(map(len, machine._changes.entries))
        assert held <= 20_000
    oldest = answers.changed(machine.query(requests.changes(0)))
    assert oldest == answers.Compacted(30, 50)
    changes = _page(machine, 30).changes
    assert [change.revision for change in changes] == list(range(31, 51))
    assert {len(change.value or b"") for change in changes} == {995, 5}
    # One that is too long for all of it goes at once, and nothing is torn.
    machine.apply(requests.put(b"k", bytes(20_000)))
    assert answers.changed(machine.query(requests.changes(50))) == answers.Compacted(51, 51)
    machine.apply(requests.put(b"k", b"v"))
    assert _page(machine, 51).changes == (answers.Change(52, b"k", b"v"),)


def test_short_changes_push_out_long_ones() -> None:
    machine = KeyValue(changes_held=4, changes_held_bytes=8000)
    machine.apply(requests.put(b"k", bytes(3000)))
    machine.apply_many([requests.put(b"k", b"v")] * 4)
    # The long one is gone already, so this one has room.
    machine.apply(requests.put(b"k", bytes(3000)))
    assert [len(change.value or b"") for change in _page(machine, 2).changes] == [1, 1, 1, 3000]


def test_a_restored_machine_holds_no_changes_of_before() -> None:
    machine, other = KeyValue(), KeyValue()
    machine.apply_many([requests.put(b"k", b"%d" % number) for number in range(5)])
    other.apply_many([requests.put(b"other", b"1")] * 9)
    other.restore(machine.snapshot())
    assert answers.changed(other.query(requests.changes(4))) == answers.Compacted(5, 5)
    other.apply(requests.put(b"k", b"new"))
    assert _page(other, 5).changes == (answers.Change(6, b"k", b"new"),)
