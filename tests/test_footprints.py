"""Commands: footprints and what conflicts, request ids, and how they travel."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.command import (
    ALL,
    MAX_COMMAND_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    NOP,
    NOTHING,
    Command,
    Footprint,
    KeyRange,
    RequestId,
    digest_of,
    pack_command,
    take_command,
    take_request_id,
)
from paxos.errors import ConfigurationError, WireError
from paxos.service.footprints import Footprints
from paxos.service.keyvalue import KeyValue
from paxos.service.keyvalue_requests import put
from paxos.wire import dumps, loads_strict

# A universe of keys small enough to look at every one of them, with neighbours and prefixes in it.
UNIVERSE = [b"", b"\0", b"a", b"a\0", b"a\0\0", b"aa", b"b", b"ba", b"\xff", b"\xff\xff"]
keys = st.sampled_from(UNIVERSE)
ranges = st.tuples(keys, keys | st.none()).filter(lambda r: r[1] is None or r[0] < r[1])
footprints = st.just(ALL) | st.builds(
    Footprint.of,
    reads=st.lists(keys, max_size=3),
    writes=st.lists(keys, max_size=3),
    read_ranges=st.lists(ranges, max_size=2),
    write_ranges=st.lists(ranges, max_size=2),
)
numbers = st.integers(0, (1 << 63) - 1)
request_ids = st.builds(
    RequestId, st.binary(min_size=16, max_size=16), numbers, numbers, st.binary(min_size=8, max_size=8)
)
commands = st.builds(Command, request_ids, footprints, st.binary(max_size=40))


def members(points: Iterable[bytes], spans: Iterable[KeyRange]) -> set[bytes]:
    """Every key of the universe that is named, found by looking at each; each range is one by its low key."""
    return {k for k in UNIVERSE if k in points or any(low <= k and (h is None or k < h) for low, h in spans)}


def test_a_footprint_is_normalised() -> None:
    assert Footprint.of(reads=[b"b", b"a", b"b"], writes={b"c"}) == Footprint((b"a", b"b"), (b"c",))
    spans = [(b"b", None), (b"a", b"c"), (b"a", None), (b"a", b"b"), (b"a", b"c")]
    assert Footprint.of(read_ranges=spans, write_ranges=iter(spans[:1])) == Footprint(
        read_ranges=(
            KeyRange(b"a", b"b"),
            KeyRange(b"a", b"c"),
            KeyRange(b"a", None),
            KeyRange(b"b", None),
        ),
        write_ranges=(KeyRange(b"b"),),
    )
    assert Footprint.of() == NOTHING


@given(footprints)
def test_normalising_twice_changes_nothing(one: Footprint) -> None:
    again = Footprint.of(
        reads=reversed(one.reads),
        writes=one.writes * 2,
        read_ranges=reversed(one.read_ranges),
        write_ranges=one.write_ranges * 2,
    )
    assert again._replace(everything=one.everything) == one


@given(footprints, footprints)
def test_conflicts_are_what_looking_at_every_key_finds(one: Footprint, other: Footprint) -> None:
    found = one.conflicts(other)
    assert found == other.conflicts(one)
    if one.everything or other.everything:
        assert found == (NOTHING not in (one, other))
        return
    reads, writes = (
        [members(f.reads, f.read_ranges) for f in (one, other)],
        [members(f.writes, f.write_ranges) for f in (one, other)],
    )
    # Every bound in these footprints is of the universe, so two ranges that meet share their higher low key.
    assert found == bool(writes[0] & writes[1] or writes[0] & reads[1] or reads[0] & writes[1])


@given(ranges, ranges, st.binary(max_size=3))
def test_ranges_meet_exactly_when_they_share_a_key(a: Any, b: Any, key: bytes) -> None:
    one, other = KeyRange(*a), KeyRange(*b)
    assert one.overlaps(other) == other.overlaps(one) == bool(members((), [one]) & members((), [other]))
    assert (key in one) == (one.low <= key and (one.high is None or key < one.high))


def test_who_writes() -> None:
    assert not NOTHING.writes_something
    assert not Footprint.of(reads=[b"a"], read_ranges=[(b"a", None)]).writes_something
    assert Footprint.of(writes=[b"a"]).writes_something
    assert Footprint.of(write_ranges=[(b"a", None)]).writes_something
    assert ALL.writes_something
    assert not NOP.footprint.conflicts(ALL)
    assert ALL.conflicts(Footprint.of(reads=[b"a"]))
    assert ALL.conflicts(ALL)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"reads": b"ab"}, "expected a collection of keys, got the single"),
        ({"writes": "ab"}, "expected a collection of keys, got the single"),
        ({"writes": ["a"]}, "writes: a key must be bytes, got str"),
        ({"reads": [bytearray(b"a")]}, "a key must be bytes, got bytearray"),
        ({"reads": [b"k" * (MAX_KEY_BYTES + 1)]}, "reads: a key of 1025 bytes; the limit is 1024"),
        ({"read_ranges": [(b"b", b"a")]}, "read_ranges: the range from b'b' to b'a' is empty"),
        ({"write_ranges": [(b"a", b"a")]}, "write_ranges: the range from b'a' to b'a' is empty"),
        ({"write_ranges": [("a", None)]}, "a key must be bytes, got str"),
        ({"write_ranges": [(b"a", 7)]}, "a key must be bytes, got int"),
        ({"write_ranges": [(b"a", b"k" * 1025)]}, "a key of 1025 bytes"),
        ({"write_ranges": [b"abc"]}, "a range is a pair of keys"),
        ({"write_ranges": [(b"a",)]}, "a range is a pair of keys"),
        ({"write_ranges": [7]}, "a range is a pair of keys"),
        ({"reads": [b"%d" % n for n in range(MAX_KEYS)], "writes": [b"a"]}, "names 65537 keys and ranges"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_footprint_is_refused(named: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Footprint.of(**named)


def test_a_digest_tells_payloads_apart() -> None:
    assert digest_of(b"") == bytes.fromhex("e3b0c44298fc1c14")
    assert digest_of(b"v") != digest_of(b"w")
    assert str(RequestId(bytes(range(16)), 0, 7, bytes(8))) == "00010203#7"


# --- on the wire --------------------------------------------------------------------------------------


@given(commands)
def test_a_command_comes_back_as_it_was(command: Command) -> None:
    back = take_command(loads_strict(dumps(pack_command(command))), "command")
    assert back == command
    kinds = (type(back), type(back.request), type(back.footprint))
    assert kinds == (Command, RequestId, Footprint)
    assert all(type(r) is KeyRange for r in (*back.footprint.read_ranges, *back.footprint.write_ranges))
    assert hash(back) == hash(command)


def test_the_bytes_of_a_command() -> None:
    footprint = Footprint.of(
        reads=[b"r"], writes=[b"w"], read_ranges=[(b"a", b"b")], write_ranges=[(b"c", None)]
    )
    command = Command(RequestId(b"c" * 16, 1, 2, digest_of(b"p")), footprint, b"p")
    assert dumps(pack_command(command)).hex() == (
        "838450636363636363636363636363636363630102"
        "48148de9c5a7a44d19"
        "8581417281417781824161416281824163f6f4"
        "4170"
    )


def _fields() -> list[Any]:
    command = Command(RequestId(b"c" * 16, 1, 2, b"d" * 8), Footprint.of(reads=[b"a", b"b"]), b"p")
    fields: Any = loads_strict(dumps(pack_command(command)))
    assert take_command(fields, "command") == command
    return list(fields)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ((), [1, 2], "command: expected an array of 3"),
        ((0,), [b"c" * 16, 1, 2], "command.request: expected an array of 4"),
        ((0, 0), b"c" * 15, "request.client: expected 16 bytes, got 15"),
        ((0, 0), b"c" * 17, "request.client"),
        ((0, 0), "c" * 16, "request.client"),
        ((0, 1), -1, "request.birth"),
        ((0, 1), True, "request.birth"),
        ((0, 2), 1 << 63, "request.sequence"),
        ((0, 2), 1.0, "request.sequence"),
        ((0, 3), b"d" * 7, "request.digest: expected 8 bytes, got 7"),
        ((0, 3), None, "request.digest"),
        ((1,), [], "command.footprint: expected an array of 5"),
        ((1, 4), 1, "footprint.everything"),
        ((1, 4), True, "names keys beside everything"),
        ((1, 0), b"ab", "footprint.reads: expected a list"),
        ((1, 0), [b"b", b"a"], "footprint.reads: keys are not strictly rising"),
        ((1, 0), [b"a", b"a"], "footprint.reads: keys are not strictly rising"),
        ((1, 1), ["a"], "footprint.writes"),
        ((1, 1), [b"k" * 1025], "footprint.writes"),
        ((1, 2), [[b"a"]], "footprint.read_ranges: expected an array of 2"),
        ((1, 2), [[b"b", b"a"]], "footprint.read_ranges: an empty range"),
        ((1, 2), [[b"a", b"a"]], "footprint.read_ranges: an empty range"),
        ((1, 2), [["a", None]], "footprint.read_ranges"),
        ((1, 3), [[b"a", 1]], "footprint.write_ranges"),
        ((1, 3), [[b"a", None], [b"a", b"b"]], "footprint.write_ranges: ranges are not strictly rising"),
        ((1, 3), {}, "footprint.write_ranges: expected a list"),
        ((1, 0), [b"%05d" % n for n in range(MAX_KEYS + 1)], "footprint.reads: expected a list of at most"),
        ((1, 1), [b"%05d" % n for n in range(MAX_KEYS)], "names more than 65536 keys"),
        ((2,), "p", "command.payload"),
        ((2,), bytes(MAX_COMMAND_BYTES + 1), "command.payload"),
    ],
)
def test_a_command_that_is_not_as_it_should_be(path: tuple[int, ...], value: Any, where: str) -> None:
    fields: Any = _fields()
    if not path:
        fields = value
    else:
        inner = fields
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
    with pytest.raises(WireError, match=where):
        take_command(fields, "command")


def test_everything_travels_alone() -> None:
    fields = _fields()
    fields[1] = [[], [], [], [], True]
    assert take_command(fields, "command").footprint is ALL
    others: list[Any] = [[b"a"], None, 0, {}]
    for other in others:
        fields[1] = [[], other, [], [], True]
        with pytest.raises(WireError, match="beside everything"):
            take_command(fields, "command")


@given(request_ids)
def test_a_request_id_comes_back_as_it_was(request_id: RequestId) -> None:
    assert take_request_id(loads_strict(dumps(request_id)), "id") == request_id


def test_a_footprint_that_is_written_anew_is_asked_for() -> None:
    """A machine that says what many commands touch, and a class of it that says of each something else."""

    class Wary(KeyValue):
        def footprint(self, command: bytes) -> Footprint:
            return ALL

    class Shifty(KeyValue):
        """What touches what is an attribute of its own."""

    body = put(b"k", b"v")
    assert Footprints(Shifty()).of([body])[0][0] == Footprint.of(writes=[b"k"])
    assert Footprints(KeyValue()).of([body])[0][0] == Footprint.of(writes=[b"k"])
    assert Footprints(Wary()).of([body])[0][0] == ALL
    changed = Shifty()
    changed.footprint = Wary().footprint  # type: ignore[method-assign]
    assert Footprints(changed).of([body])[0][0] == ALL
