"""Batches: their bytes, which are in logs on disk; what is no batch; none is too long for a protocol."""

import hashlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paxos.command import (
    ALL,
    MAX_COMMAND_BYTES,
    NOP,
    NOTHING,
    Command,
    Footprint,
    RequestId,
    digest_of,
)
from paxos.errors import NodeStopped, WireError
from paxos.service.batches import (
    FILL_BYTES,
    MAX_REQUEST_BYTES,
    MAX_RUN,
    Batch,
    BatchKind,
    Run,
    batch_command,
    cut_run,
    is_housekeeping,
    is_marker,
    marker_command,
    read_batch,
    read_command,
    run_bytes,
    run_digests,
    skip_command,
    take_run,
)
from paxos.wire import MAX_ITEMS, dumps, loads_strict

CLIENT, OWNER = bytes(range(16)), b"o" * 16
TOP = (1 << 62) - 1


def of(payload: bytes) -> Command:
    return Command(RequestId(OWNER, 0, 1, bytes(8)), NOTHING, payload)


def run(sequence: int = 5, *bodies: bytes) -> Run:
    return take_run(CLIENT, 2, 3, sequence, list(bodies or (b"ab", b"")))


# --- the bytes --------------------------------------------------------------------------------------

# A batch of one run: client, birth, acknowledged, sequence; digests of "ab" and of nothing; bodies.
GOLDEN = bytes.fromhex(
    "82 01 86 50000102030405060708090a0b0c0d0e0f 02 03 05 50 fb8e20fc2e4c3f24 e3b0c44298fc1c14 82 426162 40"
)


def test_the_bytes_of_requests_are_these() -> None:
    command = batch_command(OWNER, 9, [run()])
    assert command.payload == GOLDEN
    assert command.request == RequestId(OWNER, 0, 9, hashlib.sha256(GOLDEN).digest()[:8])
    assert command.footprint == NOTHING
    batch = read_batch(of(GOLDEN))
    assert batch == Batch(BatchKind.REQUESTS, [run()])
    assert batch is not None
    assert batch.runs[0].request(0) == RequestId(CLIENT, 2, 5, digest_of(b"ab"))
    assert batch.runs[0].request(1) == RequestId(CLIENT, 2, 6, digest_of(b""))


def test_the_bytes_of_a_marker_are_these() -> None:
    command = marker_command(3, 7)
    assert command == Command(RequestId(b"\xff" * 16, 3, 7, bytes(8)), ALL, b"\x81\x02")
    assert is_marker(command)
    assert is_housekeeping(command)
    assert read_batch(command) == Batch(BatchKind.MARKER)
    # Every node's are its own, whatever its id, and every protocol can carry them.
    assert marker_command((1 << 31) - 1, TOP).request.birth < 1 << 63


def test_the_bytes_of_a_skip_are_these() -> None:
    request = RequestId(CLIENT, 2, 5, b"12345678")
    command = skip_command(3, 8, request)
    assert command.payload.hex() == "850350000102030405060708090a0b0c0d0e0f0205483132333435363738"
    assert command.request == RequestId(b"\xff" * 16, 3, 8, bytes(8))
    assert command.footprint == ALL
    assert not is_marker(command)
    assert is_housekeeping(command)
    assert read_batch(command) == Batch(BatchKind.SKIP, skipped=request)


def test_the_bytes_of_a_read_are_these() -> None:
    footprint = Footprint.of(reads=[b"k"])
    command = read_command(OWNER, 7, 9, footprint)
    digest = hashlib.sha256(b"\x81\x04").digest()[:8]
    assert command == Command(RequestId(OWNER, 7, 9, digest), footprint, b"\x81\x04")
    assert not is_housekeeping(command)
    assert read_batch(command) == Batch(BatchKind.READ)


def test_where_lives_are_counted_no_two_commands_have_one_id() -> None:
    request = RequestId(CLIENT, 2, 5, b"12345678")
    for one, other in (
        (batch_command(OWNER, 1, [run()], life=1), batch_command(OWNER, 1, [run()], life=2)),
        (read_command(OWNER, 1, 1, NOTHING), read_command(OWNER, 2, 1, NOTHING)),
        (marker_command(3, 1, 1), marker_command(3, 1, 2)),
        (skip_command(3, 1, request, 1), skip_command(3, 1, request, 2)),
    ):
        assert one.request != other.request
        assert one.payload == other.payload
    assert is_marker(marker_command(3, 1, 2))


def test_a_no_op_carries_nothing() -> None:
    assert read_batch(NOP) is None
    assert not is_housekeeping(NOP)
    assert not is_marker(NOP)


def test_what_a_client_sends_is_no_marker_whatever_it_says() -> None:
    forged = take_run(b"\xff" * 16, 0, 0, 1, [b"\x81\x02"])
    command = batch_command(OWNER, 1, [forged])
    assert not is_marker(command)
    assert not is_housekeeping(command)
    assert not is_marker(of(b"\x81\x02"))


def test_a_command_of_another_life_has_another_id_unless_it_is_the_same() -> None:
    # A node counts from 1 in each life; what it asked for in the last one may be decided in this one.
    assert batch_command(OWNER, 1, [run(5, b"x")]).request != batch_command(OWNER, 1, [run(5, b"y")]).request
    assert batch_command(OWNER, 1, [run(5, b"x")]).request != batch_command(OWNER, 1, [run(6, b"x")]).request
    assert batch_command(OWNER, 1, [run(5, b"x")]).request == batch_command(OWNER, 1, [run(5, b"x")]).request


RUNS = st.builds(
    lambda client, birth, acknowledged, sequence, bodies: take_run(
        client, birth, acknowledged, sequence, bodies
    ),
    st.binary(min_size=16, max_size=16),
    st.integers(0, TOP),
    st.integers(0, TOP),
    st.integers(1, TOP - 10),
    st.lists(st.binary(max_size=40), min_size=1, max_size=5),
)


@given(st.lists(RUNS, max_size=5))
def test_what_goes_in_comes_out(runs: list[Run]) -> None:
    assert read_batch(batch_command(OWNER, 1, runs)) == Batch(BatchKind.REQUESTS, runs)


# --- what is none -------------------------------------------------------------------------------------

D2 = run_digests([b"ab", b""])
PACKED = [CLIENT, 2, 3, 5, D2, [b"ab", b""]]


def packed(index: int, value: object) -> bytes:
    return dumps([1, [*PACKED[:index], value, *PACKED[index + 1 :]]])


@pytest.mark.parametrize(
    ("payload", "finds"),
    [
        (b"", "malformed CBOR"),
        (b"\xff", "malformed CBOR"),
        (GOLDEN[:-1], "malformed CBOR"),
        (GOLDEN + b"\0", "followed by"),
        (dumps(1), "an array that is not empty"),
        (dumps([]), "an array that is not empty"),
        (dumps([0]), "unknown kind 0"),
        (dumps([5]), "unknown kind 5"),
        (dumps([4, 0]), "read: expected an array of 0"),
        (dumps([True, PACKED]), "is an integer"),
        (dumps([1.0, PACKED]), "is an integer"),
        (dumps(["requests"]), "is an integer"),
        (dumps([2, 0]), "marker: expected an array of 0"),
        (dumps([3]), "skip: expected an array of 4"),
        (dumps([3, CLIENT, 2, 5, b"1234567"]), "skip.digest"),
        (dumps([3, CLIENT, 2, 0, b"12345678"]), "skip.sequence"),
        (dumps([3, CLIENT, -1, 5, b"12345678"]), "skip.birth"),
        (dumps([3, CLIENT[1:], 2, 5, b"12345678"]), "skip.client"),
        (dumps([1, 7]), "batch.run: expected an array of 6"),
        (dumps([1, PACKED[:5]]), "batch.run: expected an array of 6"),
        (packed(0, CLIENT[1:]), "batch.run.client"),
        (packed(0, "x" * 16), "batch.run.client"),
        (packed(1, -1), "batch.run.birth"),
        (packed(1, True), "batch.run.birth"),
        (packed(1, TOP + 1), "batch.run.birth"),
        (packed(2, -1), "batch.run.acknowledged"),
        (packed(2, TOP + 1), "batch.run.acknowledged"),
        (packed(3, 0), "batch.run.sequence"),
        (packed(3, TOP), "batch.run.sequence"),
        (packed(4, D2[:-1]), "15 bytes for 2 requests"),
        (packed(4, D2 + D2), "32 bytes for 2 requests"),
        (packed(4, None), "batch.run.digests"),
        (packed(5, []), "batch.run.bodies"),
        (packed(5, {}), "batch.run.bodies"),
        (packed(5, [b"ab", "text"]), "batch.run.body"),
        (packed(5, [b"ab", None]), "batch.run.body"),
        (packed(5, [b""] * (MAX_RUN + 1)), "list of 1 to 4096"),
        (packed(5, [b"ab", bytes(MAX_COMMAND_BYTES + 1)]), "at most 1048576 bytes"),
    ],
)
def test_a_decided_command_that_is_no_batch_stops_the_node(payload: bytes, finds: str) -> None:
    with pytest.raises(NodeStopped, match=finds) as caught:
        read_batch(of(payload))
    assert "if a newer release runs elsewhere in the cluster, run that one here too" in str(caught.value)


@given(
    st.binary(max_size=60) | st.integers(0, len(GOLDEN) - 1).map(lambda at: GOLDEN[:at] + GOLDEN[at + 1 :])
)
@example(b"\x81\x02")
def test_no_bytes_raise_anything_else(payload: bytes) -> None:
    try:
        batch = read_batch(of(payload))
    except NodeStopped:
        return
    assert batch is not None
    assert dumps(loads_strict(payload)) == payload or batch.kind in BatchKind


@pytest.mark.parametrize(
    ("arguments", "finds"),
    [
        ((CLIENT[1:], 0, 0, 1, [b""]), "run.client"),
        ((None, 0, 0, 1, [b""]), "run.client"),
        ((CLIENT, -1, 0, 1, [b""]), "run.birth"),
        ((CLIENT, 0, TOP + 1, 1, [b""]), "run.acknowledged"),
        ((CLIENT, 0, 0, 0, [b""]), "run.sequence"),
        ((CLIENT, 0, 0, TOP, [b"", b""]), "run.sequence"),
        ((CLIENT, 0, 0, 1, []), "run.bodies"),
        ((CLIENT, 0, 0, 1, b"ab"), "run.bodies"),
        ((CLIENT, 0, 0, 1, [b"", 1]), "run.body"),
        ((CLIENT, 0, 0, 1, [bytes(MAX_COMMAND_BYTES + 1)]), "run.body"),
        ((CLIENT, 0, 0, 1, [b""] * (MAX_RUN + 1)), "run.bodies"),
    ],
)
def test_what_a_client_sends_is_checked(arguments: tuple[Any, ...], finds: str) -> None:
    with pytest.raises(WireError, match=finds):
        take_run(*arguments)


def test_the_highest_numbers_that_there_are_fit() -> None:
    top = take_run(CLIENT, TOP, TOP, TOP - 1, [b"", b""])
    assert read_batch(batch_command(OWNER, TOP, [top])) == Batch(BatchKind.REQUESTS, [top])


# --- sizes -----------------------------------------------------------------------------------------


def packed_bytes(runs: list[Run]) -> int:
    return len(batch_command(OWNER, 1, runs).payload)


@given(st.lists(RUNS, min_size=1, max_size=5))
@example([take_run(CLIENT, TOP, TOP, TOP - MAX_RUN, [b""] * MAX_RUN)])
@example([take_run(CLIENT, TOP, TOP, TOP, [bytes(70_000)])] * 3)
def test_a_batch_is_no_longer_than_its_runs_are_counted(runs: list[Run]) -> None:
    assert packed_bytes(runs) <= 6 + sum(map(run_bytes, runs))


def test_the_longest_request_fits_into_a_command() -> None:
    longest = take_run(CLIENT, TOP, TOP, TOP, [bytes(MAX_REQUEST_BYTES)])
    assert MAX_COMMAND_BYTES - 256 <= packed_bytes(cut_run(longest)) <= MAX_COMMAND_BYTES
    # What is filled with the smallest requests can be read: it has not too many parts.
    smallest = [take_run(CLIENT, TOP, TOP, TOP, [b""])] * (FILL_BYTES // 77)
    assert packed_bytes(smallest) <= FILL_BYTES <= MAX_ITEMS


@pytest.mark.parametrize(
    "bodies",
    [
        [b"x"],
        [b""] * MAX_RUN,
        [bytes(1000)] * 1000,
        [bytes(MAX_REQUEST_BYTES)] * 3,
        [b"a", bytes(MAX_REQUEST_BYTES), b"b", b"c", bytes(FILL_BYTES), bytes(FILL_BYTES - 77), b"d"],
    ],
    ids=["one", "empty", "many", "long", "mixed"],
)
def test_a_run_is_cut_to_what_fits_and_nothing_is_lost(bodies: list[bytes]) -> None:
    whole = take_run(CLIENT, 2, 3, 10, bodies)
    pieces = cut_run(whole)
    assert [body for piece in pieces for body in piece.bodies] == bodies
    assert b"".join(piece.digests for piece in pieces) == whole.digests
    at = 10
    for piece in pieces:
        assert (piece.client, piece.birth, piece.acknowledged, piece.sequence) == (CLIENT, 2, 3, at)
        assert piece.digests == run_digests(piece.bodies)
        assert run_bytes(piece) <= FILL_BYTES or len(piece.bodies) == 1
        assert packed_bytes([piece]) <= MAX_COMMAND_BYTES
        at += len(piece.bodies)
    # No more pieces than needed: two neighbours would not fit into one.
    for one, other in pairwise(pieces):
        assert run_bytes(one) + 13 + len(other.bodies[0]) > FILL_BYTES
