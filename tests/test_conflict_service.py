"""The service of a log that orders only what conflicts: footprints, reads, markers, lives."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.command import ALL, MAX_COMMAND_BYTES, MAX_KEYS, NOP, NOTHING, Command, Footprint
from paxos.errors import RecordError
from paxos.service.backups import first_question, question, take_page
from paxos.service.batches import (
    FILL_BYTES,
    MAX_REQUEST_BYTES,
    BatchKind,
    Run,
    batch_command,
    marker_command,
    read_batch,
)
from paxos.service.conflicts import Conflicts, pack_part, take_part
from paxos.service.footprints import TABLE, Footprints, as_read, union, weight
from paxos.service.gathering import MAX_BATCH_KEYS
from paxos.service.log_messages import (
    Level,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
    Results,
    SnapshotChunk,
    SnapshotOffer,
    SubmitMany,
)
from paxos.service.settings import LogSettings
from paxos.service.snapshots import read_content, read_snapshots, snapshot_records
from paxos.wire import encode_record
from tests.instant_log import Host, Mode, make_run
from tests.partial_log import Keys, host
from tests.test_footprints import footprints

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once


def placed(here: Host) -> list[Command]:
    """What the node gives its replica from now on; it goes no further."""
    here.replica.mode = Mode.HOLD
    return here.replica._waiting


def keys(**named: Any) -> Footprint:
    return Footprint.of(**named)


#: A footprint with anything in it.
unchecked: Any = Footprint


# --- what touches what ------------------------------------------------------------------------------


@given(st.lists(footprints, min_size=1, max_size=6), footprints)
def test_a_union_conflicts_with_what_any_of_them_does(parts: list[Footprint], other: Footprint) -> None:
    together = union(parts)
    assert together.conflicts(other) == any(part.conflicts(other) for part in parts)
    again = (
        together
        if together.everything
        else Footprint.of(
            reads=together.reads,
            writes=together.writes,
            read_ranges=together.read_ranges,
            write_ranges=together.write_ranges,
        )
    )
    # It has the one form that other nodes can read.
    assert again == together
    assert union([together, together]) == together


@given(footprints, footprints)
def test_a_query_reads_what_its_machine_says_it_touches(one: Footprint, other: Footprint) -> None:
    read = as_read(one)
    assert read == ALL if one.everything else not read.writes_something
    reads = Footprint.of(reads=[*one.reads, *one.writes], read_ranges=[*one.read_ranges, *one.write_ranges])
    assert read.conflicts(other) == (ALL if one.everything else reads).conflicts(other)


def test_ranges_that_meet_become_one() -> None:
    ranges = [(b"a", b"c"), (b"c", b"d"), (b"b", b"bb"), (b"e", b"f"), (b"x", None), (b"y", b"z")]
    assert union([keys(read_ranges=[each]) for each in ranges]) == keys(
        read_ranges=[(b"a", b"d"), (b"e", b"f"), (b"x", None)]
    )


def test_what_touches_nothing_still_must_not_cross_a_marker() -> None:
    assert Footprints(Keys()).of([b""]) == ([TABLE], {})
    assert TABLE.conflicts(ALL)
    assert not TABLE.conflicts(keys(writes=[b"k"]))
    here = host()
    commands = placed(here)
    here.submit(1, b"")
    assert [each.footprint for each in commands] == [TABLE]


@pytest.mark.parametrize(
    ("machine_says", "is_taken_as"),
    [
        (unchecked((b"b", b"a", b"b")), keys(reads=[b"a", b"b"])),
        (unchecked((), [b"a"]), keys(writes=[b"a"])),
        (unchecked((b"a",), (b"a",)), keys(writes=[b"a"])),
        (unchecked((b"a",), (), everything=True), ALL),
        (ALL, ALL),
        (NOTHING, TABLE),
        (unchecked(tuple(b"%06d" % n for n in range(MAX_KEYS + 1))), ALL),
        (unchecked(writes=tuple(b"%01024d" % n for n in range(1025))), ALL),
        (unchecked((), ("a",)), "a key must be bytes, got str"),
        (unchecked((), (bytes(1025),)), "a key of 1025 bytes"),
        (unchecked((b"a", 1)), "a key must be bytes, got int"),
        (unchecked(b"ab"), "expected a collection of keys"),
        (unchecked((), 7), "TypeError"),
        (unchecked((), (), ((b"b", b"a"),)), "is empty"),
        ((((), (), (), (), False)), "it is tuple, not a Footprint"),
        (None, "it is NoneType, not a Footprint"),
    ],
)
def test_what_a_machine_says_is_checked(machine_says: Any, is_taken_as: Footprint | str) -> None:
    class Says(Keys):
        def footprint(self, command: bytes) -> Footprint:
            answer: Footprint = machine_says
            return answer

    found, none = Footprints(Says()).of([b"x"])
    if isinstance(is_taken_as, str):
        assert is_taken_as in none[0]
        assert "the state machine gives no footprint" in none[0]
    else:
        assert none == {}
        assert union(found) == is_taken_as


# --- requests --------------------------------------------------------------------------------------------


def test_a_batch_touches_what_its_requests_touch() -> None:
    here = host()
    commands = placed(here)
    here.node.request(0, SubmitMany(make_run(1, b"wa", b"rb wc", name=b"1" * 16)), here.now)
    here.node.request(1, SubmitMany(make_run(1, b"ra Rx-y", name=b"2" * 16)), here.now)
    here.run()
    (command,) = commands
    assert command.footprint == keys(reads=[b"b"], writes=[b"a", b"c"], read_ranges=[(b"x", b"y")])


def test_requests_are_carried_out_and_answered() -> None:
    here = host()
    assert here.submit(1, b"wa", b"ra wb") == [Results(b"c" * 16, 1, [b"a:0", b"a:1 b:0"])]
    assert here.submit(3, b"ra") == [Results(b"c" * 16, 3, [b"a:1"])]
    assert here.node.status()["applied"] == 2
    assert here.service.progress == 2


@pytest.mark.parametrize("word", [b"raise", b"none", b"odd", b"long"])
def test_a_request_without_a_footprint_is_refused_alone(word: bytes) -> None:
    here = host()
    told = here.submit(1, word, b"wa", b"wb", word, b"wc", word)
    refused = [each for each in told if isinstance(each, Refused)]
    assert [(each.sequence, each.requests, each.kind) for each in refused] == [
        (number, 1, RefusedKind.NEVER) for number in (1, 4, 6)
    ]
    assert all("the state machine gives no footprint" in each.detail for each in refused)
    done = {each.sequence: each.results for each in told if isinstance(each, Results)}
    assert done == {2: [b"a:0", b"b:0"], 5: [b"c:0"]}
    assert [event.action for event in here.events].count("request refused") == 3
    # It was certainly not carried out: under its number another can be asked.
    assert here.submit(1, b"wd") == [Results(b"c" * 16, 1, [b"d:0"])]


def runs_of(commands: list[Command]) -> list[Run]:
    batches = [read_batch(command) for command in commands]
    return [run for batch in batches if batch is not None for run in batch.runs]


def sizes(commands: list[Command]) -> list[int]:
    """How many requests are in each."""
    return [sum(len(run.bodies) for run in runs_of([command])) for command in commands]


def test_a_batch_is_closed_when_it_names_many_keys() -> None:
    here = host()
    commands = placed(here)
    bodies = [b"#3000", b"#1000", b"#96", b"wa", b"#4097", b"#60000", b"wb", b"wc"]
    here.submit(1, *bodies)
    assert sizes(commands) == [3, 1, 1, 1, 2]
    assert [len(each.footprint.writes) for each in commands] == [3000, 1, 4097, 60000, 2]
    assert len(commands[0].footprint.writes) <= MAX_BATCH_KEYS
    # Nothing is lost, and all is in order.
    runs = runs_of(commands)
    assert [body for run in runs for body in run.bodies] == bodies
    assert [run.sequence for run in runs] == [1, 4, 5, 6, 7]


def test_a_command_is_no_longer_than_protocols_take() -> None:
    # Keys can be many times as long as the requests that touch them.
    long = [b"^%d" % number for number in range(300)]

    class Longer(Keys):
        def footprint(self, command: bytes) -> Footprint:
            if command[:1] == b"^":
                return Footprint(writes=(command.rjust(1000, b"."),))
            if command[:1] == b"~":
                return Footprint(writes=tuple(b"%01000d" % each for each in range(int(command[1:]))))
            return super().footprint(command)

    here = host(machine=Longer)
    commands = placed(here)
    here.submit(1, *long, b"~900", b"~975", b"~976", bytes(MAX_REQUEST_BYTES), b"w1")
    for number in range(300):
        here.node.request(0, Query(number, Level.LINEARIZABLE, b"^%d" % number), here.now)
    here.run()
    lengths = [len(each.payload) + weight([each.footprint])[1] for each in commands]
    assert max(lengths) < 2 * MAX_COMMAND_BYTES - 4096
    assert sum(length > 1.1 * FILL_BYTES for length in lengths) == 3
    assert [each.footprint for each in commands if each.footprint.everything] == [ALL]
    assert len(commands) == 2 + 4 + 1 + 2
    here.replica.release()
    assert len(here.run()) == 300 + len(runs_of(commands))


def test_what_waits_for_room_keeps_its_order() -> None:
    here = host()
    here.replica.mode = Mode.REFUSE
    here.turn()
    for number in range(1, 6):
        here.submit(number, b"#4096")
    assert here.node.status()["waiting_requests"] == 5
    here.replica.mode = Mode.HOLD
    here.replica.room = 2
    here.run()
    here.replica.room = 10
    here.run()
    runs = runs_of(here.replica._waiting)
    assert [run.sequence for run in runs] == [1, 2, 3, 4, 5]


# --- hot keys apart ------------------------------------------------------------------------------------


def other_run(number: int) -> Run:
    """Of a client elsewhere."""
    run: Run = make_run(number, b"x", name=b"o" * 16)
    return run


def warmed(*hot: bytes, **more: Any) -> tuple[Host, list[Command]]:
    """A node that has seen others write these keys again and again; and what it gives its replica."""
    here = host(batching="apart", **more)
    for number in range(2):
        here.replica.learn(batch_command(b"e" * 16, number + 1, [other_run(1)], keys(writes=list(hot))))
    here.run()
    return here, placed(here)


def test_what_touches_a_hot_key_is_kept_apart() -> None:
    here, commands = warmed(b"h")
    here.submit(1, b"wa", b"wh", b"wb rc", b"rh", b"wd wh", b"we", b"ra")
    assert [each.footprint for each in commands] == [
        keys(reads=[b"c"], writes=[b"a", b"b", b"e"]),
        keys(writes=[b"d", b"h"]),
    ]
    # Not what others only read, and not what was written once.
    here = host(batching="apart")
    for number in range(9):
        footprint = keys(reads=[b"h"], writes=[b"%d" % number])
        here.replica.learn(batch_command(b"e" * 16, number + 1, [other_run(1)], footprint))
    here.run()
    commands = placed(here)
    here.submit(1, b"wa", b"wh", b"w5")
    assert len(commands) == 1
    together = host()
    commands = placed(together)
    together.submit(1, b"wa", b"wh")
    assert len(commands) == 1


def test_what_was_hot_long_ago_is_not() -> None:
    here, commands = warmed(b"h")
    here.replica.mode = Mode.LEAD
    for number in range(2 * 128):
        footprint = keys(writes=[b"%d" % number])
        here.replica.learn(batch_command(b"e" * 16, number + 10, [other_run(1)], footprint))
    here.run()
    here.replica.mode = Mode.HOLD
    here.submit(1, b"wa", b"wh")
    assert len(commands) == 1


def test_there_are_only_so_many_batches_of_hot_keys() -> None:
    hot = [b"h%d" % number for number in range(100)]
    here, commands = warmed(*hot)
    here.submit(1, *[b"w" + key for key in hot], b"wa")
    assert 5 <= len(commands) <= 9
    assert sum(sizes(commands)) == 101
    assert commands[0].footprint == keys(writes=[b"a"])


WORDS = st.lists(
    st.sampled_from(
        [b"w1", b"w2", b"w3", b"wh1", b"wh2", b"r1", b"r2", b"rh1", b"R0-2", b"W2-4", b"all", b""]
    ),
    max_size=3,
).map(b" ".join)


@given(st.lists(st.lists(WORDS, min_size=1, max_size=6), max_size=6), st.integers(1, 20))
def test_requests_that_conflict_stay_in_order(runs: list[list[bytes]], room: int) -> None:
    here, commands = warmed(b"h1", b"h2", waiting_requests=10_000)
    here.replica.room = room
    here.turn()
    wanted: list[tuple[int, bytes]] = []
    for bodies in runs:
        here.node.request(0, SubmitMany(make_run(len(wanted) + 1, *bodies)), here.now)
        wanted += enumerate(bodies, len(wanted) + 1)
    for _ in range(100):
        here.replica.room += room
        here.run()
    machine = Keys()
    found: list[tuple[int, bytes]] = []
    for command in commands:
        batch = read_batch(command)
        assert batch is not None
        inside = [(run.sequence + at, body) for run in batch.runs for at, body in enumerate(run.bodies)]
        assert command.footprint == union(Footprints(machine).of([body for _, body in inside])[0])
        found += inside
    assert sorted(found) == wanted
    places = {number: place for place, (number, _) in enumerate(found)}
    for number, body in wanted:
        for other, its in wanted[number:]:
            if machine.footprint(body).conflicts(machine.footprint(its)):
                assert places[number] < places[other]


# --- queries -------------------------------------------------------------------------------------------


def test_a_linearizable_query_is_answered_where_its_read_is_applied() -> None:
    here = host()
    here.submit(1, b"wa")
    commands = placed(here)
    assert here.query(b"ra wb") == []
    (read,) = commands
    assert read.footprint == keys(reads=[b"a", b"b"])
    assert read_batch(read) is not None
    here.replica.learn(batch_command(b"e" * 16, 1, [make_run(1, b"wb", name=b"2" * 16)]))
    assert here.run() == []
    # What is applied after it in the same turn is not in the answer.
    later = batch_command(b"e" * 16, 2, [make_run(2, b"wb", name=b"2" * 16)])
    here.replica.mode = Mode.LEAD
    here.replica._waiting.clear()
    here.replica.learn(read, later)
    assert here.run() == [QueryReply(7, 0, b"a:1 b:1", "")]
    assert here.query(b"ra", level=Level.STALE) == [QueryReply(7, 0, b"a:1 b:2", "")]
    assert len(here.service.sessions) == 2


def test_queries_of_a_turn_share_a_read_but_for_those_of_everything() -> None:
    here = host()
    commands = placed(here)
    for number, body in enumerate((b"ra", b"all", b"rb Rc-d", b"", b"rx all")):
        here.node.request(number, Query(number, Level.LINEARIZABLE, body), here.now)
    here.run()
    reads = keys(reads=[b"", b"a", b"b"], read_ranges=[(b"c", b"d")])
    assert [each.footprint for each in commands] == [reads, ALL]
    here.replica.release()
    assert sorted(each.sequence for each in here.run()) == [0, 1, 2, 3, 4]


def test_queries_of_many_keys_have_several_reads_and_room_bounds_them() -> None:
    here = host()
    commands = placed(here)
    here.replica.room = 2
    here.turn()
    for number in range(5):
        here.node.request(number, Query(number, Level.LINEARIZABLE, b"#3000"), here.now)
    here.run()
    assert [len(each.footprint.reads) for each in commands] == [3000, 3000]
    here.replica.room = 100
    here.replica.release()
    assert sorted(each.sequence for each in here.run()) == [0, 1, 2, 3, 4]


def test_neither_reads_nor_requests_take_all_the_room() -> None:
    here = host()
    commands = placed(here)
    here.replica.room = 0
    here.turn()
    kinds = []
    for number in range(1, 9):
        here.node.request(0, SubmitMany(make_run(number, b"#4096")), here.now)
        here.node.request(0, Query(number, Level.LINEARIZABLE, b"#4096"), here.now)
        here.run()
    for _ in range(16):
        here.replica.room = len(commands) + 1
        here.run()
        batch = read_batch(commands[-1])
        assert batch is not None
        kinds.append(batch.kind)
    assert len(commands) == 16
    assert set(kinds[:2]) == set(kinds[2:4]) == {BatchKind.REQUESTS, BatchKind.READ}
    # Alone each takes what there is.
    assert kinds.count(BatchKind.READ) == 8


def test_reads_of_hot_keys_are_kept_apart() -> None:
    here, commands = warmed(b"h")
    for number, body in enumerate((b"ra", b"rh", b"rb", b"Ra-z")):
        here.node.request(number, Query(number, Level.LINEARIZABLE, body), here.now)
    here.run()
    assert sorted(each.footprint for each in commands) == sorted(
        [keys(reads=[b"a", b"b"]), keys(reads=[b"h"]), keys(read_ranges=[(b"a", b"z")])]
    )


def test_a_query_without_a_footprint_is_refused_alone() -> None:
    here = host()
    here.node.request(1, Query(1, Level.LINEARIZABLE, b"raise"), here.now)
    here.node.request(2, Query(2, Level.LINEARIZABLE, b"ra"), here.now)
    told = {each.sequence: each for each in here.run()}
    assert told[1].kind == RefusedKind.NEVER
    assert "gives no footprint" in told[1].detail
    assert told[2] == QueryReply(2, 0, b"", "")
    # It waits no more: nothing is left of the bound.
    bounded = host(queries=1)
    for _ in range(3):
        assert bounded.query(b"raise")[0].kind == RefusedKind.NEVER
    assert bounded.query(b"ra") == [QueryReply(7, 0, b"", "")]


@pytest.mark.parametrize(
    ("mode", "kind"), [(Mode.DOUBT, RefusedKind.UNKNOWN), (Mode.FOLLOW, RefusedKind.REDIRECT)]
)
def test_what_the_replica_says_of_a_read_is_told(mode: Mode, kind: RefusedKind) -> None:
    here = host(queries=1)
    here.replica.mode = mode
    for _ in range(2):
        (told,) = here.query(b"ra")
        assert told.kind == kind
    here.replica.mode = Mode.LEAD
    assert here.query(b"ra") == [QueryReply(7, 0, b"", "")]


def test_a_read_of_an_earlier_life_answers_nothing() -> None:
    here = host()
    placed(here)
    here.query(b"ra")
    (old,) = here.replica._waiting
    here.start()
    here.run()
    placed(here)
    here.submit(1, b"wa")
    here.query(b"ra")
    (write, read) = here.replica._waiting
    assert old.request != read.request
    here.replica.mode = Mode.LEAD
    here.replica._waiting.clear()
    here.replica.learn(old)
    assert here.run() == []
    here.replica.learn(write, read)
    assert here.run() == [Results(b"c" * 16, 1, [b"a:0"]), QueryReply(7, 0, b"a:1", "")]


def test_lives_are_counted_on_disk_before_anything_is_asked_for() -> None:
    here = host()
    numbers = []
    for _ in range(3):
        commands = placed(here)
        here.submit(1, b"wa")
        here.query(b"ra")
        numbers.append({each.request.birth for each in commands})
        here.start()
    assert numbers == [{1}, {2}, {3}]
    fresh = host()
    writes = fresh.turn().writes
    assert b"sL" in dict(writes)
    # One that was not written down did not ask for anything, either.
    assert not fresh.replica._waiting
    for damaged in (
        b"",
        encode_record(243, 1, [0]),
        encode_record(243, 1, ["1"]),
        encode_record(242, 1, [1]),
    ):
        here.disk[b"sL"] = damaged
        with pytest.raises(RecordError):
            here.start()


# --- markers, snapshots, backups --------------------------------------------------------------------------


def test_each_node_asks_for_a_marker_in_its_turn() -> None:
    settings = LogSettings(marker_requests=800)
    nodes = [Conflicts(node, (2, 5, 7), Keys(), settings, {}) for node in (2, 5, 7, 9)]
    assert [[each.patience(markers) * 8 for each in nodes] for markers in range(4)] == [
        [0, 1, 2, 3],
        [2, 0, 1, 3],
        [1, 2, 0, 3],
        [0, 1, 2, 3],
    ]
    here = host(5, members=(2, 5, 7), marker_requests=8)
    here.node.service.begin(here.now)
    asked = []
    for number in range(1, 12):
        commands = placed(here)
        here.replica._waiting.clear()
        here.replica.learn(batch_command(b"e" * 16, number, [make_run(number, b"wa")]))
        here.run()
        asked += [number for each in commands if each.footprint == ALL]
    assert asked == [9]


def test_the_marker_of_another_node_will_do() -> None:
    here = host(5, members=(2, 5, 7), marker_requests=4)
    here.node.service.begin(here.now)
    commands = placed(here)

    def others(first: int) -> None:
        for number in range(first, first + 6):
            here.replica.learn(batch_command(b"e" * 16, number, [other_run(number)]))
            here.run()

    others(1)
    assert [each.footprint for each in commands] == [ALL]
    # The own one is dropped without a word; another comes instead.
    commands.clear()
    here.replica.learn(marker_command(2, 1, 1))
    here.run()
    assert here.service.sessions.markers == 1
    others(7)
    assert [each.footprint for each in commands] == [ALL]


def test_a_snapshot_holds_how_far_it_is_and_the_part_of_its_marker() -> None:
    here = host(marker_requests=4)
    for number in range(1, 12):
        here.submit(number, b"w%d" % (number % 3))
        here.wait(ticks=50)
    here.replica.learn(NOP)
    here.run()
    snapshot, _, _ = read_snapshots(here.disk)
    assert snapshot is not None
    content = read_content(snapshot)
    commands, part = take_part(content.part)
    assert content.mark == (1, 10)
    assert (commands, part) == (10, b"part (1, 10)")
    assert here.service.progress == 13  # eleven batches and two markers; a no-op does not count
    lines = here.node.machine.lines
    here.start()
    here.run()
    assert here.replica.installed == [((1, 10), b"part (1, 10)")]
    assert here.node.machine.lines == lines
    assert here.service.progress == 13


def test_equal_counts_are_equally_far() -> None:
    one, other = host(), host(2)
    one.submit(1, b"wa")
    other.submit(1, b"wb")
    assert one.node.status()["applied"] == other.node.status()["applied"] == 1
    assert take_part(pack_part(7, b"x")) == (7, b"x")
    for damaged in (b"", b"part", pack_part(-1, b"")):
        with pytest.raises(RecordError):
            take_part(damaged)


def backup_of(here: Host) -> Any:
    """A backup of a node, as pieces."""
    pieces: list[bytes] = []
    ask = first_question(b"name")
    while True:
        (told,) = here.query(ask, level=Level.BACKUP)
        page = take_page(told.result)
        assert page is not None
        pieces += page.pieces
        if page.last:
            return pieces
        ask = question(b"name", len(pieces))


def test_a_backup_is_of_no_place_and_a_new_log_begins_with_it() -> None:
    here = host()
    here.submit(1, b"wa", b"wb")
    commands = placed(here)
    here.query(first_question(b"other"), level=Level.BACKUP)
    assert [each.footprint for each in commands] == [ALL]
    here.replica.release()
    here.run()
    pieces = backup_of(here)
    there = host(2)
    there.run()
    there.disk = {key: there.disk[key] for key in there.disk if not key.startswith(b"s")}
    there.disk.update(snapshot_records(0, pieces))
    there.start()
    assert there.replica.installed == []
    assert there.service.applied is None
    assert there.node.machine.lines == here.node.machine.lines
    assert there.service.progress == 2 + 1
    # Exactly once, over the backup.
    assert there.submit(1, b"wa") == [Results(b"c" * 16, 1, [b"a:0"])]
    assert there.node.machine.lines == here.node.machine.lines
    # And from here on all is as ever.
    there.submit(3, b"wc")
    there.marker()
    there.start()
    assert there.replica.installed == [((2, 3), b"part (2, 3)")]


def test_what_was_asked_before_a_snapshot_came_is_not_known() -> None:
    ahead = host(marker_requests=2)
    for number in range(1, 6):
        ahead.submit(number, b"wa")
    ahead.wait(ticks=50)
    snapshot, _, _ = read_snapshots(ahead.disk)
    assert snapshot is not None
    behind = host(2, members=(1, 2), queries=1)
    behind.service.begin(behind.now)
    placed(behind)
    behind.submit(1, b"wx", name=b"x" * 16)
    behind.query(b"ra")
    behind.take(1, SnapshotOffer(snapshot.number, len(snapshot.chunks), snapshot.digest))
    told = []
    for index, chunk in enumerate(snapshot.chunks):
        told += behind.take(1, SnapshotChunk(snapshot.number, index, chunk))
    assert {(type(each), each.kind) for each in told} == {
        (Refused, RefusedKind.UNKNOWN),
        (QueryReply, RefusedKind.UNKNOWN),
    }
    assert behind.service.progress == take_part(read_content(snapshot).part)[0]
    # There is room again for queries.
    behind.replica._waiting.clear()
    behind.replica.mode = Mode.LEAD
    (told,) = behind.query(b"ra")
    assert told.result == b" ".join([b"a:%d" % len(behind.node.machine.lines[b"a"])])


def test_under_one_order_nothing_is_asked_of_the_machine() -> None:
    here = Host()  # its machine says so if it is
    here.submit(1, b"a")
    assert here.query() == [QueryReply(7, 0, b"1", "")]
    assert b"sL" not in here.disk
    assert {each.request.birth for each in here.replica._log.values()} == {0}
