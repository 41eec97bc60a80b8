"""Snapshots of one node: made while the machine goes on, torn at any write, read back or refused by name."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.errors import RecordError, WireError
from paxos.service.catch_up import _Pace
from paxos.service.log_messages import CHUNK_BYTES, Results
from paxos.service.sessions import Sessions
from paxos.service.snapshots import (
    SNAPSHOT_PREFIX,
    Incoming,
    Snapshot,
    SnapshotWriter,
    Writes,
    _digest,
    chunk_key,
    deletions,
    read_content,
    read_snapshots,
)
from paxos.wire import dumps, encode_record
from tests.instant_log import Host, Ledger, make_run

META, COMING = SNAPSHOT_PREFIX + b"M", SNAPSHOT_PREFIX + b"I"
C16 = b"c" * 16


def write(disk: dict[bytes, bytes], writes: Writes) -> None:
    for key, value in writes:
        if value is None:
            disk.pop(key, None)
        else:
            disk[key] = value


def filled(lines: int = 5, size: int = 100_000) -> tuple[Sessions, Ledger]:
    table, ledger = Sessions(), Ledger()
    bodies = [b"%d " % index + bytes(size) for index in range(lines)]
    table.apply(make_run(1, *bodies), lambda first, commands: [ledger.apply(each)[:9] for each in commands])
    table.mark()
    return table, ledger


def made(lines: int = 5, mark: Any = 17, part: bytes = b"part") -> tuple[dict[bytes, bytes], Snapshot]:
    """A whole snapshot on a disk."""
    table, ledger = filled(lines)
    writer, disk = SnapshotWriter(mark, part, table, ledger), dict[bytes, bytes]()
    while True:
        writes, snapshot = writer.step()
        write(disk, writes)
        if snapshot is not None:
            return disk, snapshot


# --- making one -----------------------------------------------------------------------------------


def test_a_snapshot_holds_all_of_it() -> None:
    table, ledger = filled()
    disk, snapshot = made()
    content = read_content(snapshot)
    assert (content.number, content.mark, content.part) == (1, 17, b"part")
    assert content.machine == ledger.snapshot()
    other = Sessions()
    other.unpack(content.sessions)
    assert list(other.pack()) == list(table.pack())
    assert read_snapshots(disk) == (snapshot, None, [])
    assert max(map(len, snapshot.chunks)) == CHUNK_BYTES


@pytest.mark.parametrize("mark", [0, None, b"slot", "text", (1, 2), ((1, b"x"), (2, None))])
def test_a_mark_comes_back_as_it_was(mark: Any) -> None:
    _, snapshot = made(1, mark, b"")
    content = read_content(snapshot)
    assert content.mark == mark
    assert hash(content.mark) == hash(mark)
    assert content.part == b""
    assert content.machine == filled(1)[1].snapshot()


class Empty(Ledger):
    """Its state is nothing at all."""

    def snapshot(self) -> bytes:
        return b""


class Lazy(Ledger):
    """Looks at its state when it is asked for the first piece, as generators do."""

    def snapshot_chunks(self) -> Iterator[bytes]:
        lines = list(self.lines)
        data = dumps(lines)
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]


def test_a_state_of_no_bytes_is_one() -> None:
    writer = SnapshotWriter(1, b"", Sessions(), Empty())
    snapshot = None
    while snapshot is None:
        _, snapshot = writer.step()
    assert read_content(snapshot).machine == b""


@pytest.mark.parametrize("kind", [Ledger, Lazy])
def test_what_is_applied_meanwhile_is_not_in_it(kind: type[Ledger]) -> None:
    table, ledger = filled()
    machine = kind()
    machine.lines = ledger.lines
    wanted_machine, wanted_table = ledger.snapshot(), [dumps(item) for item in table.pack()]
    writer = SnapshotWriter(17, b"", table, machine)
    snapshot, number = None, 6
    while snapshot is None:
        run = make_run(number, b"later", acknowledged=number - 1)
        table.apply(run, lambda first, commands: [machine.apply(each) for each in commands])
        if number % 2:
            table.mark()
        _, snapshot = writer.step()
        number += 1
    content = read_content(snapshot)
    assert content.machine == wanted_machine
    assert [dumps(item) for item in content.sessions] == wanted_table
    assert len(machine.lines) > 8


def test_a_node_answers_while_it_makes_one() -> None:
    host = Host(marker_requests=4, piece_s=1.0)
    host.submit(1, *[bytes(300_000)] * 4)
    for number in range(5, 8):
        assert isinstance(host.submit(number, b"x")[0], Results)
        host.wait(1.0)
        assert host.node.status()["snapshot_being_made"] == 1
    host.wait(1.0, ticks=20)
    assert host.node.status()["snapshot"] == 1
    assert host.replica.compacted > 0
    # It is the state at the marker, and what came later is in the log.
    host.start()
    assert len(host.lines) == 4
    host.run()
    assert len(host.lines) == 7


def test_pieces_come_no_faster_than_they_are_wanted() -> None:
    host = Host(marker_requests=1, piece_s=2.0)
    host.submit(1, bytes(500_000))
    assert host.turn().wake_at_s == host.now_s
    wrote = []
    for _ in range(4):
        before = set(host.disk)
        host.wait(1.0)
        wrote.append(sum(key.startswith(b"sC") for key in set(host.disk) - before))
    assert wrote == [1, 0, 1, 0]


def test_one_is_made_at_a_time_and_the_pieces_of_the_last_go_with_the_next() -> None:
    host = Host(marker_requests=1)
    numbers = set()
    for number in range(1, 40):
        host.submit(number, b"x%d" % number)
        host.wait(ticks=2)
        numbers.add(host.node.status()["snapshot"])
        kept = {key[2:10] for key in host.disk if key.startswith(b"sC")}
        assert len(kept) <= 2
    assert len(numbers) > 3
    host.wait(ticks=20)
    assert len({key[2:10] for key in host.disk if key.startswith(b"sC")}) == 1
    host.start()
    host.run()
    assert host.lines == [b"x%d" % number for number in range(1, 40)]


class InChunks(Ledger):
    """Its state in the chunks that it was given, the empty ones too."""

    def __init__(self, *chunks: bytes) -> None:
        super().__init__()
        self.chunks = chunks

    def snapshot_chunks(self) -> Iterator[bytes]:
        return iter(self.chunks)


@pytest.mark.parametrize(
    ("chunks", "steps"),
    [
        ([], 0),
        ([bytes(1000)] * 30, 1),  # all of it is less than a step
        ([bytes(1000)] * 70, 3),
        ([bytes(32_768)] * 3, 4),
        ([b""] * 6, 3),  # an empty chunk is work as well
        ([bytes(CHUNK_BYTES)] * 3, 3),
        ([bytes(5 * CHUNK_BYTES)], 5),  # a machine that gives all at once, piece by piece
    ],
)
def test_a_step_is_a_few_chunks_of_the_machine(chunks: list[bytes], steps: int) -> None:
    machine = InChunks(*chunks)
    writer = SnapshotWriter(1, b"", Sessions(), machine)
    wrote = []
    while True:
        writes, snapshot = writer.step()
        if snapshot is not None:
            break
        wrote.append(len(writes))
    assert max(wrote) == 1
    # Beside those of the machine: the header, the table, the border.
    assert len(wrote) - 3 == steps
    assert sum(wrote) == len(snapshot.chunks)
    assert read_content(snapshot).machine == b"".join(chunks)
    assert snapshot.digest == _digest(snapshot.chunks)


@pytest.mark.parametrize(
    ("requests_per_s", "pause_s"),
    [
        (0, 1.0),  # nobody is disturbed
        (1, 5.0),
        (600, 5.0),
        (1000, 3.0),
        (3000, 1.0),
        (100_000, 1.0),
    ],
)
def test_the_pause_is_longer_while_little_is_carried_out(requests_per_s: int, pause_s: float) -> None:
    pace = _Pace(1.0)
    for _ in range(2):
        pace.begin()
        now_s, pause, pauses = 100.0, 0.0, []
        for _ in range(25):
            pause = pace.pause_s(now_s, int(requests_per_s * now_s))
            pauses.append(pause)
            now_s += pause
        # Small snapshots are done before it begins.
        assert pauses[:16] == [1.0] * 16
        assert pauses[16:] == pytest.approx([pause_s] * 9, rel=0.01)


def test_requests_carried_out_set_the_pace_of_a_large_snapshot() -> None:
    host = Host(marker_requests=3, piece_s=1.0)
    host.submit(1, *[b"%d" % index + bytes(900_000) for index in range(3)])
    host.wait(1.0, ticks=20)

    def pieces() -> int:
        return sum(key.startswith(b"sC") for key in host.disk)

    before = pieces()
    host.wait(1.0, ticks=5)
    assert pieces() == before + 5
    host.submit(4, b"x")
    host.wait(1.0, ticks=10)
    # One step at once, then a stretched pause since one request was carried out before it, then as usual.
    assert pieces() == before + 5 + 6


def test_many_old_pieces_are_removed_bit_by_bit() -> None:
    host = Host(marker_requests=3, piece_s=1.0)
    host.submit(1, *[b"%d" % index + bytes(900_000) for index in range(3)])
    host.wait(1.0, ticks=80)
    assert host.node.status()["snapshot"] == 1

    def pieces(of: int) -> int:
        return sum(key.startswith(b"sC") and int.from_bytes(key[2:10], "big") == of for key in host.disk)

    whole = pieces(1)
    assert whole > 20
    host.submit(4, b"x", b"y", b"z")
    counts = []
    while host.node.status()["snapshot"] == 1:
        host.wait(1.0)
        counts.append(pieces(1))
    assert set(counts[:-1]) == {whole}
    while counts[-1]:
        host.wait(1.0)
        counts.append(pieces(1))
    falls = [before - after for before, after in pairwise(counts) if before != after]
    assert falls == [8] + [1] * (whole - 8)
    # What a crash leaves of them is removed at the next start; the next snapshot waits for them.
    host.submit(7, b"x", b"y", b"z")
    while host.node.status()["snapshot"] == 2:
        host.wait(1.0)
    host.wait(1.0, ticks=2)
    assert 0 < pieces(2) < whole - 8
    host.start()
    host.run()
    assert (pieces(2), host.node.status()["snapshot"]) == (0, 3)
    assert len(host.lines) == 9


def test_a_snapshot_that_is_due_while_another_is_made_is_made_after_it() -> None:
    host = Host(marker_requests=2, piece_s=1.0, growth=1.0)
    host.submit(1, bytes(300_000), bytes(300_000))
    host.wait(1.0, ticks=2)
    assert host.node.status()["snapshot_being_made"] == 1
    # As much as it holds, and more; the next marker comes when it is done, with little since.
    host.submit(3, bytes(700_000), bytes(700_000))
    host.wait(1.0, ticks=30)
    assert host.node.status()["snapshot"] == 1
    host.submit(5, b"x", b"y")
    assert host.node.status()["snapshot_being_made"] == 3


# --- torn at any write -----------------------------------------------------------------------------


def test_a_restart_at_any_write_loses_nothing_and_leaves_nothing() -> None:
    whole = Host(marker_requests=6)
    whole.submit(1, *[b"%d" % index + bytes(60_000) for index in range(6)])
    whole.wait(ticks=20)
    for cut in range(12):
        host = Host(marker_requests=6)
        host.submit(1, *[b"%d" % index + bytes(60_000) for index in range(6)])
        for _ in range(cut):
            host.now_s += 1
            host.node.tick(host.now)
            host.turn()  # what it says to itself is lost with this life
        host.start()
        host.run()
        assert host.lines == whole.lines
        assert list(host.service.sessions.pack()) == list(whole.service.sessions.pack())
        host.wait(ticks=30)
        host.submit(7, *[b"y"] * 6)
        host.wait(ticks=30)
        assert host.node.status()["snapshot"] == 2
        numbers = {int.from_bytes(key[2:10], "big") for key in host.disk if key.startswith(b"sC")}
        assert numbers == {2}


def test_pieces_of_one_that_was_not_finished_are_removed_at_the_start() -> None:
    disk, snapshot = made()
    stray = {chunk_key(9, index): disk[chunk_key(1, index)] for index in range(3)}
    found, incoming, stale = read_snapshots({**disk, **stray})
    assert found == snapshot
    assert incoming is None
    assert sorted(stale) == [(key, None) for key in sorted(stray)]
    host = Host()
    host.submit(1, b"x")
    host.disk.update(stray)
    host.start()
    host.run()
    assert not [key for key in host.disk if key.startswith(SNAPSHOT_PREFIX)]


def test_one_on_its_way_that_is_older_is_forgotten_with_its_pieces() -> None:
    disk, snapshot = made()
    old = Incoming(1, 3, b"d" * 32)
    write(disk, [*old.begin()])
    disk[chunk_key(0, 0)] = disk[chunk_key(1, 0)]
    found, incoming, stale = read_snapshots(disk)
    assert (found, incoming) == (snapshot, None)
    assert set(stale) == {(COMING, None), (chunk_key(0, 0), None)}


def test_an_empty_store_has_none() -> None:
    assert read_snapshots({}) == (None, None, [])


# --- damaged ----------------------------------------------------------------------------------------


def test_a_missing_piece_is_named() -> None:
    disk, snapshot = made()
    del disk[chunk_key(1, 2)]
    with pytest.raises(RecordError, match=rf"snapshot 1: 1 of its {len(snapshot.chunks)} pieces are missing"):
        read_snapshots(disk)


def test_a_piece_of_other_bytes_is_found() -> None:
    disk, _ = made()
    disk[chunk_key(1, 2)] = disk[chunk_key(1, 3)]
    with pytest.raises(RecordError, match=r"snapshot 1: .* put the newest complete copy of the store back"):
        read_snapshots(disk)


@given(st.data())
def test_a_flipped_bit_is_found_wherever_it_is(data: st.DataObject) -> None:
    disk, _ = made(1)
    key = data.draw(st.sampled_from(sorted(disk)))
    at = data.draw(st.integers(0, len(disk[key]) - 1))
    damaged = bytearray(disk[key])
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(RecordError, match=r"record .*corrupted"):
        read_snapshots({**disk, key: bytes(damaged)})


@pytest.mark.parametrize(
    ("key", "record", "finds"),
    [
        (META, encode_record(7, 1, [1, 1, b"d" * 32]), "is of kind 7, expected kind 240"),
        (META, encode_record(240, 2, [1, 1, b"d" * 32]), "a newer release wrote it"),
        (META, encode_record(240, 1, [1, 1]), "b'sM': snapshot: expected an array of 3"),
        (META, encode_record(240, 1, [-1, 1, b"d" * 32]), "b'sM': snapshot.number"),
        (META, encode_record(240, 1, [1, 0, b"d" * 32]), "b'sM': snapshot.chunks"),
        (META, encode_record(240, 1, [1, 1, "d"]), "b'sM': snapshot.digest"),
        (COMING, encode_record(242, 1, [9, 1 << 21, b"d" * 32]), "b'sI': snapshot.chunks"),
        (COMING, encode_record(241, 1, [9, 1, b"d" * 32]), "is of kind 241, expected kind 242"),
        (chunk_key(1, 0), encode_record(241, 1, [bytes(CHUNK_BYTES + 1)]), "piece: expected at most"),
        (chunk_key(1, 0), encode_record(241, 1, []), "piece: expected an array of 1"),
    ],
)
def test_a_record_that_is_none_is_named(key: bytes, record: bytes, finds: str) -> None:
    disk, _ = made(1)
    with pytest.raises(RecordError, match=finds):
        read_snapshots({**disk, key: record})


def test_a_node_does_not_start_with_a_damaged_snapshot() -> None:
    host = Host(marker_requests=1)
    host.submit(1, b"x")
    host.wait(ticks=10)
    good = dict(host.disk)
    assert META in good
    host.disk[chunk_key(1, 0)] = encode_record(241, 1, [b"other"])
    with pytest.raises(RecordError, match="snapshot 1"):
        host.start()
    host.disk = {key: value for key, value in good.items() if key != chunk_key(1, 1)}
    with pytest.raises(RecordError, match=r"snapshot 1: 1 of its 4 pieces"):
        host.start()
    host.disk = good
    host.start()
    assert host.lines == [b"x"]


def stored(*chunks: bytes) -> Snapshot:
    return Snapshot(1, b"", list(chunks))


def framed(*items: object) -> bytes:
    return b"".join(len(dumps(item)).to_bytes(4, "big") + dumps(item) for item in items)


@pytest.mark.parametrize(
    ("chunks", "finds"),
    [
        ([], "made by another release"),
        ([b"", b"machine"], "made by another release"),
        ([framed([2, 1, 0, b"", 0])], "made by another release"),
        ([framed(1)], "made by another release"),
        ([framed([1, 1, 0, b""])], "snapshot: expected an array of 5"),
        ([framed([1, 1, 0, b"", 2], [0, 0])], "it has 1 clients, and says 2"),
        ([framed([1, 2, 0, b"", 0])], "snapshot 1: it says that it is 2"),
        ([framed([1, "1", 0, b"", 0])], "snapshot.number"),
        ([framed([1, 1, 0, "part", 0])], "snapshot.part"),
        ([framed([1, 1, 0.5, b"", 0])], "snapshot.mark: is a float"),
        ([framed([1, 1, {}, b"", 0])], "snapshot.mark: is a dict"),
        ([framed([1, 1, 0, b"", 0])[:-1]], "cut short"),
        ([b"\0\0\0\0"], "cut short"),
        ([b"\0\0"], "cut short"),
    ],
)
def test_pieces_that_are_no_snapshot_are_refused(chunks: list[bytes], finds: str) -> None:
    with pytest.raises(WireError, match=finds):
        read_content(stored(*chunks))


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_no_pieces_raise_anything_else(chunks: list[bytes]) -> None:
    with pytest.raises(WireError):
        read_content(stored(*chunks))


def test_a_whole_snapshot_that_this_release_does_not_make_is_a_record_error() -> None:
    host = Host()
    host.submit(1, b"x")
    incoming = Incoming(5, 1, b"")
    chunk = framed([9, 9])
    incoming.digest = _digest([chunk])
    write(host.disk, [*incoming.take(0, chunk), *incoming.adopt()])
    with pytest.raises(RecordError, match="snapshot 5: snapshot: made by another release"):
        host.start()


# --- one on its way ---------------------------------------------------------------------------------


def test_pieces_may_come_in_any_order_and_twice() -> None:
    _, snapshot = made()
    incoming = Incoming(snapshot.number, len(snapshot.chunks), snapshot.digest)
    disk: dict[bytes, bytes] = {}
    write(disk, incoming.begin())
    assert incoming.missing(2) == [0, 1]
    for index in [3, 1, 3, 0, len(snapshot.chunks), -1]:
        write(disk, incoming.take(index, snapshot.chunks[index % len(snapshot.chunks)]))
    assert incoming.missing(2) == [2, 4]
    # A restart finds what is here.
    _, found, stale = read_snapshots(disk)
    assert found is not None
    assert stale == []
    assert found.missing(9) == incoming.missing(9)
    for index in found.missing(99):
        write(disk, found.take(index, snapshot.chunks[index]))
    assert found.finish() == snapshot
    write(disk, found.adopt())
    assert read_snapshots(disk) == (snapshot, None, [])


def test_what_is_not_what_was_offered_is_none() -> None:
    _, snapshot = made(1)
    for chunks in (snapshot.chunks[::-1], [*snapshot.chunks[:-1], b"x"]):
        incoming = Incoming(snapshot.number, len(snapshot.chunks), snapshot.digest)
        for index, chunk in enumerate(chunks):
            incoming.take(index, chunk)
        assert incoming.finish() is None
        disk = {key: b"" for key, _ in incoming.begin()} | {chunk_key(1, i): b"" for i in range(len(chunks))}
        write(disk, incoming.discard())
        assert disk == {}
    assert deletions(1, 2) == [(chunk_key(1, 0), None), (chunk_key(1, 1), None)]


def test_pieces_that_are_cut_elsewhere_have_another_digest() -> None:
    # Else two pieces could trade a border and still be "the same".
    assert _digest([b"", b"ab", b"c"]) != _digest([b"", b"a", b"bc"]) != _digest([b"", b"abc"])


def test_equal_states_have_equal_digests_whatever_a_protocol_adds_of_its_own() -> None:
    """A ballot that one node has promised and another has not is no difference between their states."""
    table, ledger = filled()
    one, other = (written(17, part, table, ledger) for part in (b"promised 1.1", b"promised 2.3"))
    assert one.chunks != other.chunks
    assert one.digest == other.digest
    ledger.lines.append(b"more")
    assert written(17, b"promised 1.1", table, ledger).digest != one.digest


def written(mark: int, part: bytes, table: Sessions, machine: Ledger) -> Snapshot:
    writer, snapshot = SnapshotWriter(mark, part, table, machine), None
    while snapshot is None:
        _, snapshot = writer.step()
    return snapshot
