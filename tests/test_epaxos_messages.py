"""The messages, values, records and quorums of EPaxos: their bytes, their way back, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epaxos import EPaxosQuorums, EPaxosReplica, EPaxosSettings
from epaxos.instances import ACCEPTED, PRE_ACCEPTED, Choice, Instance, InstanceId
from epaxos.messages import (
    MAX_ENTRIES,
    MAX_NUMBER,
    MESSAGES,
    Accept,
    AcceptOK,
    Ask,
    Commit,
    Gossip,
    Known,
    Nack,
    PreAccept,
    PreAcceptOK,
    Recover,
    RecoverOK,
    Reserved,
    Settled,
    Validate,
    ValidateOK,
    Waiting,
    Written,
)
from epaxos.records import (
    RESERVATION_KEY,
    decision_key,
    instance_key,
    pack_decision,
    pack_instance,
    pack_reservation,
    read_records,
    record_name,
)
from epaxos.values import MAX_VALUE_BYTES, pack_value, take_value
from paxos.ballot import BOTTOM, Ballot
from paxos.command import ALL, MAX_COMMAND_BYTES, NOTHING, Command, Footprint, RequestId
from paxos.contract import Configuration, Instant, OutcomeKind
from paxos.errors import ConfigurationError, QuorumError, RecordError, WireError
from paxos.quorum import Majority, Phase
from paxos.wire import FrameBuffer, dumps

pytestmark = pytest.mark.once

B, LOW = Ballot(3, 2), Ballot(0, 1)
COMMAND = Command(RequestId(b"c" * 16, 1, 2, b"d" * 8), Footprint.of(writes=[b"w"]), b"payload")
VALUE = pack_value(COMMAND)

# What a release has put on the wire, or on a disk, can not be changed by a later one: these are the formats.
GOLDEN: list[tuple[Any, str]] = [
    (
        PreAccept(7, VALUE, (1, 2, 0)),
        "000000497060f8558188010000010007583b636363636363636363636363636363630000000000000001000000000000000264646464646464640200000000000000010001777061796c6f616483010200",
    ),
    (PreAcceptOK(7, (1, 2, 3)), "0000000c41012321818701000002000783010203"),
    (
        Accept(1, 7, B, False, (1, 2, 3), VALUE),
        "0000004f7f65c5c4818b0100000300010783030200f483010203583b636363636363636363636363636363630000000000000001000000000000000264646464646464640200000000000000010001777061796c6f6164",
    ),
    (Accept(1, 7, B, True, (0, 0, 0), None), "000000131c432f87818b0100000300010783030200f583000000f6"),
    (AcceptOK(1, 7, B), "0000000de767b88f81880100000400010783030200"),
    (
        Commit(((1, 7, False, (1, 2, 3)), (2, 70_000, True, (0, 0, 0)))),
        "0000001c8fa3f1e48186010000050082840107f48301020384021a00011170f583000000",
    ),
    (Gossip((7, 8, 9), (5, 0, 0)), "0000000f16ee43c1818701000006008307080983050000"),
    (Ask(1, 7, 9), "0000000a7e1530c481880100000700010709"),
    (
        Known(((1, 7, False, (1, 2, 3), VALUE), (2, 8, True, (0, 0, 0), None))),
        "000000564a7c32888186010000080082850107f483010203583b636363636363636363636363636363630000000000000001000000000000000264646464646464640200000000000000010001777061796c6f6164850208f583000000f6",
    ),
    (Recover(1, 7, B), "0000000d7c62ad5e81880100000900010783030200"),
    (
        RecoverOK(1, 7, B, BOTTOM, 0, False, None, None, None),
        "00000013dc96c165818e0100000a00010783030200f600f4f6f6f6",
    ),
    (
        RecoverOK(1, 7, B, BOTTOM, 1, False, (1, 2, 3), (1, 2, 0), VALUE),
        "00000055ec08e126818e0100000a00010783030200f601f48301020383010200583b636363636363636363636363636363630000000000000001000000000000000264646464646464640200000000000000010001777061796c6f6164",
    ),
    (
        RecoverOK(1, 7, B, LOW, 2, True, (0, 0, 0), None, None),
        "000000194a83f06d818e0100000a000107830302008300010002f583000000f6f6",
    ),
    (
        Validate(1, 7, B, (1, 2, 0), VALUE),
        "0000004e3d486aab818a0100000b0001078303020083010200583b636363636363636363636363636363630000000000000001000000000000000264646464646464640200000000000000010001777061796c6f6164",
    ),
    (
        ValidateOK(1, 7, B, False, ((2, 8), (3, 9))),
        "00000015f29f8f88818a0100000c00010783030200f482820208820309",
    ),
    (ValidateOK(1, 7, B, True, ()), "0000000f4eb25823818a0100000c00010783030200f580"),
    (Waiting(1, 7, 2), "0000000aa377f1ed81880100000d00010702"),
    (Nack(1, 7, LOW, B), "00000011775e88af81890100000e0001078300010083030200"),
    (Settled((7, 8)), "0000000a12d335d881860100000f00820708"),
    (Reserved(256), "0000000a59a44d2e81860100001000190100"),
    (Written((7, 8)), "0000000acd031c3b81860100001100820708"),
]
GOLDEN_VALUES: list[tuple[Command, str]] = [
    (
        Command(COMMAND.request, NOTHING, b"payload"),
        "63636363636363636363636363636363000000000000000100000000000000026464646464646464007061796c6f6164",
    ),
    (
        Command(COMMAND.request, ALL, b"payload"),
        "63636363636363636363636363636363000000000000000100000000000000026464646464646464017061796c6f6164",
    ),
    (
        COMMAND,
        "636363636363636363636363636363630000000000000001000000000000000264646464646464640200000000000000010001777061796c6f6164",
    ),
    (
        Command(COMMAND.request, Footprint.of(reads=[b"r", b"rr"], writes=[b"w"]), b"payload"),
        "63636363636363636363636363636363000000000000000100000000000000026464646464646464020000000200000001000100020001727272777061796c6f6164",
    ),
    (
        Command(COMMAND.request, Footprint.of(reads=[b"r"], write_ranges=[(b"a", None)]), b""),
        "63636363636363636363636363636363000000000000000100000000000000026464646464646464030000000c85814172808081824161f6f4",
    ),
]
RECORDS = [
    "0adad9528301011841",
    "d06e743489020183000100f601f458180000000000000001000000000000000200000000000000035818000000000000000100000000000000020000000000000000583b636363636363636363636363636363630000000000000001000000000000000264646464646464640200000000000000010001777061796c6f6164",
    "a414b2f3840301f45818000000000000000100000000000000020000000000000003",
]


def body(number: int, *fields: object) -> bytes:
    """A frame's body of one message, whatever its fields."""
    return dumps([[1, 0, 0, number, 0, *fields]])


def packed(message: Any) -> tuple[int, list[Any]]:
    kind = next(kind for kind in MESSAGES if kind.type is type(message))
    return kind.number, list(kind.pack(message))


@pytest.mark.parametrize(("message", "frame"), GOLDEN, ids=lambda value: type(value).__name__)
def test_a_message_has_these_bytes(message: Any, frame: str) -> None:
    assert MESSAGES.encode([message]).hex() == frame
    [envelope] = MESSAGES.decode(FrameBuffer().feed(bytes.fromhex(frame))[0])
    assert (type(envelope.message), envelope.message) == (type(message), message)


def test_every_message_has_its_bytes_written_down() -> None:
    assert {type(message) for message, _ in GOLDEN} == {kind.type for kind in MESSAGES}
    assert len(MESSAGES) == 17


def test_what_waits_for_the_disk_is_what_somebody_counts() -> None:
    assert MESSAGES.reporting == {
        PreAcceptOK, AcceptOK, RecoverOK, ValidateOK, Recover, Known, Gossip, Settled, Reserved, Written,
    }  # fmt: skip


def _wrong() -> list[tuple[str, bytes]]:
    cases = []
    for message in {type(each): each for each, _ in reversed(GOLDEN)}.values():
        number, fields = packed(message)
        name = type(message).__name__
        cases += [(name, body(number, *fields[:-1])), (name, body(number, *fields, 0))]
        for place, value in enumerate(fields):
            bad: list[object] = ["x", 1.0]
            if value is not None:
                bad.append(None)
            if isinstance(value, Ballot):
                bad += [[3, 2], [-1, 0, 0], [3, True, 0], [1 << 48, 2, 0]]
            elif type(value) is int:
                bad += [-1, True, 1 << 63]
            elif isinstance(value, tuple):
                bad += [[[[]]], [[1]], 7, [-1], [True], [1 << 63], [None] * (MAX_ENTRIES + 1)]
            elif type(value) is bool:
                bad += [0, 1]
            elif type(value) is bytes:
                bad += [b"x" * (MAX_VALUE_BYTES + 1)]
            if type(message) in (RecoverOK, Accept) and value is None:
                bad = ["x", 1.0]
            for one in bad:
                cases.append((name, body(number, *fields[:place], one, *fields[place + 1 :])))
    return cases


@pytest.mark.parametrize(("named", "bad"), _wrong())
def test_a_message_that_is_wrong_is_named(named: str, bad: bytes) -> None:
    if named == "RecoverOK" and bad == body(9 + 1, 1, 7, B, None, 0, False, None, None, None):
        return
    with pytest.raises(WireError, match=named):
        MESSAGES.decode(bad)


@pytest.mark.parametrize(
    ("named", "bad"),
    [
        ("PreAccept.number", body(1, 0, VALUE, [0, 0, 0])),
        ("PreAccept.deps", body(1, 1, VALUE, [])),
        ("PreAccept.deps", body(1, 1, VALUE, [0] * 256)),
        ("PreAccept.deps", body(1, 1, VALUE, [MAX_NUMBER + 1])),
        ("Accept: a no-op with dependencies", body(3, 1, 7, B, True, [1, 0, 0], None)),
        ("Accept: a no-op with dependencies, or with a command", body(3, 1, 7, B, True, [0, 0, 0], VALUE)),
        ("Accept: neither a no-op nor a command", body(3, 1, 7, B, False, [0, 0, 0], None)),
        ("Commit.entry: a no-op with dependencies", body(5, [[1, 7, True, [1, 0, 0]]])),
        ("Ask.last", body(7, 1, 3, 2)),
        ("Known.entry: neither", body(8, [[1, 7, False, [0, 0, 0], None]])),
        ("RecoverOK.phase", body(10, 1, 7, B, None, 3, False, [0, 0, 0], None, VALUE)),
        ("RecoverOK: what it says", body(10, 1, 7, B, None, 1, False, None, None, VALUE)),
        ("RecoverOK: what it says", body(10, 1, 7, B, LOW, 1, False, [0, 0, 0], [0, 0, 0], VALUE)),
        ("RecoverOK: what it says", body(10, 1, 7, B, None, 2, False, [0, 0, 0], [0, 0, 0], VALUE)),
        ("RecoverOK: a no-op", body(10, 1, 7, B, None, 1, True, [0, 0, 0], [0, 0, 0], VALUE)),
        ("RecoverOK: reports what was accepted above", body(10, 1, 7, LOW, B, 2, False, [0], None, VALUE)),
        ("RecoverOK: dependencies of no command", body(10, 1, 7, B, None, 0, False, None, [0], None)),
        ("unknown message type 18", body(18)),
    ],
)
def test_what_a_message_can_not_say_is_refused(named: str, bad: bytes) -> None:
    with pytest.raises(WireError, match=named):
        MESSAGES.decode(bad)


# --- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "value"), GOLDEN_VALUES)
def test_a_command_has_these_bytes(command: Command, value: str) -> None:
    assert pack_value(command).hex() == value
    assert take_value(bytes.fromhex(value)) == command


_keys = st.lists(st.binary(max_size=5), max_size=4)


@given(reads=_keys, writes=_keys, payload=st.binary(max_size=9))
def test_a_command_comes_out_as_it_went_in(reads: list[bytes], writes: list[bytes], payload: bytes) -> None:
    command = Command(COMMAND.request, Footprint.of(reads=reads, writes=writes), payload)
    assert take_value(pack_value(command)) == command


@given(at=st.integers(0, 80), byte=st.integers(0, 255), cut=st.integers(0, 90))
def test_a_damaged_value_is_refused_or_is_one_that_packs_the_same(at: int, byte: int, cut: int) -> None:
    footprint = Footprint.of(reads=[b"r", b"rr"], writes=[b"w"])
    value = bytearray(pack_value(COMMAND._replace(footprint=footprint)))
    value[at % len(value)] = byte
    damaged = bytes(value[:cut])
    try:
        command = take_value(damaged)
    except WireError:
        return
    assert pack_value(command) == damaged


@pytest.mark.parametrize(
    ("why", "value"),
    [
        ("too few", b""),
        ("too few", VALUE[:40]),
        ("no form", VALUE[:40] + b"\x09" + VALUE[41:]),
        ("above 2\\^63-1", VALUE[:16] + b"\xff" + VALUE[17:]),
        ("footprint of 0 keys", VALUE[:41] + bytes(8) + VALUE[49:]),
        ("footprint of 65537 keys", VALUE[:41] + (65537).to_bytes(4, "big") + bytes(4) + VALUE[49:]),
        ("not strictly rising", VALUE[:41] + bytes.fromhex("0000000000000002000100017777")),
        ("longer than the command", VALUE[:41] + bytes.fromhex("00000000000000020009000177")),
        ("the limit is", pack_value(COMMAND._replace(payload=bytes(MAX_COMMAND_BYTES + 1)))),
        ("the limit is", bytes(MAX_VALUE_BYTES + 1)),
        ("ranges", VALUE[:40] + b"\x03\x00\x00\x00\x06" + dumps([[], [b"w"], [], [], False])[:6]),
    ],
)
def test_what_no_command_is_is_refused(why: str, value: bytes) -> None:
    with pytest.raises(WireError, match=why if why != "ranges" else "."):
        take_value(value)


def test_ranges_have_one_form() -> None:
    head = VALUE[:40] + b"\x03"
    for footprint in (Footprint.of(writes=[b"w"]), ALL, NOTHING):
        touched = dumps(footprint)
        with pytest.raises(WireError, match="the form for ranges"):
            take_value(head + len(touched).to_bytes(4, "big") + touched)


# --- records ---------------------------------------------------------------------------------------


def an_instance() -> Instance:
    instance = Instance(0, 7, LOW)
    instance.value, instance.command = VALUE, COMMAND
    instance.initial_deps, instance.deps, instance.phase = (1, 2, 0), (1, 2, 3), PRE_ACCEPTED
    return instance


def test_records_come_back() -> None:
    accepted = an_instance()
    accepted.cast(LOW, B, Choice(True, (0, 0, 0)))
    accepted.phase, accepted.is_nop, accepted.deps, accepted.ballot = ACCEPTED, True, (0, 0, 0), B
    records = {
        RESERVATION_KEY: pack_reservation(256),
        instance_key(1, 7): pack_instance(an_instance()),
        instance_key(1, 8): pack_instance(accepted),
        decision_key(1, 7): pack_decision(Choice(False, (1, 2, 3))),
        decision_key(2, 9): pack_decision(Choice(True, (0, 0, 0))),
    }
    found = read_records(records)
    assert found.reserved == 256
    assert found.decisions == {(1, 7): Choice(False, (1, 2, 3)), (2, 9): Choice(True, (0, 0, 0))}
    first, second = found.instances[InstanceId(1, 7)], found.instances[InstanceId(1, 8)]
    assert (first.ballot, first.accepted, first.phase) == (LOW, BOTTOM, PRE_ACCEPTED)
    assert (first.deps, first.initial_deps, first.value) == ((1, 2, 3), (1, 2, 0), VALUE)
    assert (second.ballot, second.accepted, second.phase, second.is_nop) == (B, B, ACCEPTED, True)
    names = [record_name(key) for key in records]
    assert names[:2] == ["the reservation of numbers", "instance 1.7"]
    assert record_name(decision_key(1, 7)) == "the decision of instance 1.7"
    assert record_name(b"else") == ""


def test_records_have_these_bytes() -> None:
    assert pack_reservation(65).hex() == RECORDS[0]
    assert pack_instance(an_instance()).hex() == RECORDS[1]
    assert pack_decision(Choice(False, (1, 2, 3))).hex() == RECORDS[2]
    assert instance_key(1, 7).hex() == "69000000010000000000000007"
    assert decision_key(1, 7).hex() == "64000000010000000000000007"


@pytest.mark.parametrize("name", [b"n", b"i", b"d"])
def test_a_damaged_record_is_named(name: bytes) -> None:
    records = {
        RESERVATION_KEY: pack_reservation(256),
        instance_key(1, 7): pack_instance(an_instance()),
        decision_key(1, 7): pack_decision(Choice(False, (1, 2, 3))),
    }
    key = next(key for key in records if key.startswith(name))
    for at in range(len(records[key])):
        data = bytearray(records[key])
        data[at] ^= 1
        with pytest.raises(RecordError, match=r"record"):
            read_records({**records, key: bytes(data)})


def test_a_decision_without_its_command_is_a_damaged_store() -> None:
    with pytest.raises(RecordError, match=r"instance 1\.7: it is decided, and its command is missing"):
        read_records({decision_key(1, 7): pack_decision(Choice(False, (1, 2, 3)))})
    with pytest.raises(RecordError, match="not a record of EPaxos"):
        read_records({b"x": b""})
    configuration = Configuration(1, EPaxosQuorums([1, 2, 3]))
    stranger = {decision_key(9, 7): pack_decision(Choice(True, (0, 0, 0)))}
    with pytest.raises(RecordError, match=r"instance 9\.7: node 9 is no member"):
        EPaxosReplica(configuration, stranger, lambda name, bound: 0, Instant(0))


# --- quorums and settings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "failures", "fast_failures", "fast"),
    [(3, 1, 1, 2), (4, 1, 1, 3), (5, 2, 2, 3), (6, 2, 2, 4), (7, 3, 2, 5), (9, 4, 3, 6), (11, 5, 3, 8)],
)
def test_default_quorums(members: int, failures: int, fast_failures: int, fast: int) -> None:
    quorums = EPaxosQuorums(range(1, members + 1))
    assert (quorums.failures, quorums.fast_failures) == (failures, fast_failures)
    assert (quorums.classic, quorums.fast) == (members - failures, fast)
    assert quorums.sizes == {Phase.ONE: members - failures, Phase.TWO: members - failures, Phase.FAST: fast}
    assert quorums.survives() == failures
    assert quorums.survives(Phase.FAST) == fast_failures


def test_every_valid_pair_is_taken_and_every_other_refused_with_the_reason() -> None:
    for n in range(3, 12):
        for f in range(n + 1):
            for e in range(n + 1):
                valid = e <= f and n >= max(2 * f + 1, 2 * e + f - 1)
                if valid:
                    quorums = EPaxosQuorums(range(1, n + 1), f, e)
                    assert (quorums.classic, quorums.fast) == (n - f, n - e)
                    assert quorums.has_fast
                    continue
                with pytest.raises(QuorumError, match=r"may fail|from 0 to failures|could not tell"):
                    EPaxosQuorums(range(1, n + 1), f, e)


@pytest.mark.parametrize(
    ("why", "members", "pair"),
    [
        ("at least 3 replicas", [1, 2], ()),
        ("different ids", [1, 1, 2], ()),
        ("different ids", [0, 1, 2], ()),
        ("whole number", [1, 2, 3], (True,)),
        ("whole number", [1, 2, 3], (-1,)),
        ("from 0 to failures", [1, 2, 3], (1, 2)),
        ("need not meet", [1, 2, 3], (2,)),
    ],
)
def test_quorums_that_can_not_be(why: str, members: list[int], pair: tuple[int, ...]) -> None:
    with pytest.raises(QuorumError, match=why):
        EPaxosQuorums(members, *pair)


def test_quorums_do_not_change_and_say_what_they_are() -> None:
    quorums = EPaxosQuorums([3, 1, 2])
    with pytest.raises(AttributeError, match="can not be changed"):
        quorums.failures = 2
    assert quorums.describe() == "epaxos(1,2,3;failures=1,fast_failures=1)"
    assert quorums == EPaxosQuorums([1, 2, 3]) != EPaxosQuorums([1, 2, 3], 1, 0)
    assert quorums.is_quorum([1, 3]) and not quorums.is_quorum([1, 1, 9])  # noqa: PT018


def test_a_replica_wants_quorums_and_settings_of_its_own() -> None:
    with pytest.raises(ConfigurationError, match="EPaxosQuorums"):
        EPaxosReplica(Configuration(1, Majority([1, 2, 3])), {}, lambda name, bound: 0, Instant(0))
    configuration = Configuration(1, EPaxosQuorums([1, 2, 3]), settings=7)
    with pytest.raises(ConfigurationError, match="EPaxos is configured by EPaxosSettings, not int"):
        EPaxosReplica(configuration, {}, lambda name, bound: 0, Instant(0))
    with pytest.raises(ConfigurationError, match="repeat_max_s"):
        EPaxosSettings(repeat_s=2, repeat_max_s=1)
    with pytest.raises(ConfigurationError, match="recover_max_s"):
        EPaxosSettings(recover_s=9)


def test_an_observer_sends_whoever_asks_to_a_member() -> None:
    configuration = Configuration(4, EPaxosQuorums([1, 2, 3]), observers=(4,))
    observer = EPaxosReplica(configuration, {}, lambda name, bound: 0, Instant(0))
    assert observer.effects().room > 0
    observer.submit([COMMAND], Instant(0))
    (outcome,) = observer.effects().outcomes
    assert (outcome.request, outcome.kind) == (COMMAND.request, OutcomeKind.REDIRECT)
    assert outcome.node in (1, 2, 3)
