"""One replica of Basic Paxos by itself: what it asks for, and when, as data."""

from typing import Any

import pytest

from paxos.ballot import BOTTOM, Ballot
from paxos.basic import (
    Accept,
    Accepted,
    AcceptorRecord,
    BasicReplica,
    BasicSettings,
    Chosen,
    Decision,
    Nack,
    Prepare,
    Promise,
    Reserved,
)
from paxos.basic.records import acceptor_key, pack_acceptor, pack_chosen, pack_reservation
from paxos.command import Command, Footprint, RequestId
from paxos.contract import Configuration, Effects, Instant, OutcomeKind
from paxos.errors import ConfigurationError, ProtocolBreach, RecordError
from paxos.quorum import Majority
from paxos.wire import encode_record
from tests.cluster import check_bookkeeping

THREE = Majority((1, 2, 3))


def command(sequence: int, name: bytes, value: bytes | None = None) -> Command:
    footprint = Footprint(reads=(name,)) if value is None else Footprint(writes=(name,))
    return Command(RequestId(b"c" * 16, 0, sequence, b"d" * 8), footprint, value or b"")


def lone_replica(
    settings: BasicSettings | None = None, *, reserved: bool = True
) -> tuple[BasicReplica, Effects]:
    """Replica 1 of 3, whose own messages come back when `take` is called, and the sum of its effects."""
    configuration = Configuration(1, THREE, settings or BasicSettings(), trace=True)
    replica, out = BasicReplica(configuration, {}, lambda name, bound: 0, Instant(0)), Effects()
    if reserved:
        take(replica, out)
    else:
        replica.effects()
    return replica, out


def take(replica: BasicReplica, out: Effects) -> Effects:
    """Effects, until what it says to itself brings no more."""
    for _ in range(10):
        effects = replica.effects()
        out.sends += effects.sends
        out.events += effects.events
        out.wake_at_s, out.room = effects.wake_at_s, effects.room
        own = [message for recipient, message in effects.sends if recipient == 1]
        for message in own:
            replica.receive(1, message, Instant(0))
        check_bookkeeping(replica)
        if not own:
            break
    return out


def questions(replica: BasicReplica, out: Effects, kind: Any) -> Ballot:
    """The ballot of the last question of a kind that it asked the others."""
    sends = take(replica, out).sends
    ballot: Ballot = [m.ballot for to, m in sends if isinstance(m, kind) and to != 1][-1]
    return ballot


def test_an_outbid_node_waits_longer_each_time() -> None:
    replica, out = lone_replica(BasicSettings(backoff_s=0.5, backoff_max_s=4, repeat_s=60, repeat_max_s=60))
    replica.submit([command(1, b"x", b"v")], Instant(0))
    now_s, waits = 0.0, []
    for _ in range(6):
        ballot = questions(replica, out, Prepare)
        replica.receive(2, Nack(b"x", ballot, ballot._replace(node=2)), Instant(now_s))
        wake_at_s = take(replica, out).wake_at_s
        assert wake_at_s is not None
        waits.append(wake_at_s - now_s)
        now_s = wake_at_s
        replica.tick(Instant(now_s))
    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


def test_room_counts_what_is_worked_on() -> None:
    replica, out = lone_replica(BasicSettings(max_open=3))
    assert take(replica, out).room == 3
    replica.submit([command(n, bytes([n])) for n in (1, 2)], Instant(0))
    assert take(replica, out).room == 1
    replica.receive(2, Chosen(b"\1", Ballot(1, 2), b"v"), Instant(0))
    assert take(replica, out).room == 2


def test_a_reservation_counts_only_from_the_own_disk() -> None:
    replica, out = lone_replica(reserved=False)
    replica.submit([command(1, b"x", b"v")], Instant(0))
    replica.receive(2, Reserved(1 << 40), Instant(0))
    assert not [m for _, m in take(replica, out).sends if isinstance(m, Prepare)]
    replica.receive(1, Reserved(1), Instant(0))
    assert questions(replica, out, Prepare) == Ballot(1, 1)
    replica.receive(1, Reserved(0), Instant(0))
    assert replica.status().values["reserved_round"] == 1


def test_votes_that_decide_otherwise_stop_the_node_and_one_bad_vote_does_not() -> None:
    replica, out = lone_replica()
    replica.submit([command(1, b"x", b"v")], Instant(0))
    ballot = questions(replica, out, Prepare)
    replica.receive(2, Promise(b"x", ballot, BOTTOM, None), Instant(0))
    questions(replica, out, Accept)
    replica.receive(3, Accepted(b"x", ballot, b"w"), Instant(0))
    replica.receive(3, Accepted(b"x", ballot._replace(node=2), b"w"), Instant(0))
    breaches = [event for event in take(replica, out).events if event.action == "breach"]
    assert [event.arguments["sender"] for event in breaches] == [3]
    assert "OneValuePerBallot" in str(breaches[0].arguments["reason"])
    # As if it had been decided here at a lower ballot.
    learner = replica._open[b"x"].learner
    assert learner is not None
    learner.decision = Decision(b"x", Ballot(0, 1), b"v")
    with pytest.raises(ProtocolBreach, match="Agreement"):
        replica.receive(2, Accepted(b"x", ballot._replace(node=2), b"w"), Instant(0))


@pytest.mark.parametrize(
    ("key", "data", "said"),
    [
        (b"R", b"", "corrupted"),
        (b"R", pack_acceptor(AcceptorRecord(Ballot(1, 1), BOTTOM, None)), "kind"),
        (b"Ax", pack_reservation(3), "kind"),
        (b"Ax", pack_acceptor(AcceptorRecord(Ballot(1, 1), Ballot(2, 1), b"v")), "above the promise"),
        (b"Ax", encode_record(2, 1, ((3, 1, 0), (2, 1, 0), None)), "without ballot or value"),
        (b"Cx", pack_chosen(Ballot(1, 1), b"v")[:-1], "corrupted"),
        (b"Zx", pack_chosen(Ballot(1, 1), b"v"), "not a record of Basic Paxos"),
    ],
)
def test_a_bad_record_is_refused_and_named(key: bytes, data: bytes, said: str) -> None:
    with pytest.raises(RecordError, match=said) as caught:
        BasicReplica(Configuration(1, THREE), {key: data}, lambda name, bound: 0, Instant(0))
    assert repr(key) in str(caught.value)


def test_a_decree_is_named_by_exactly_one_key() -> None:
    replica, out = lone_replica()
    request = command(1, b"x").request
    for footprint in (
        Footprint(),
        Footprint(reads=(b"a",), writes=(b"a",)),
        Footprint.of(writes=(b"a", b"b")),
        Footprint.of(writes=(b"a",), read_ranges=[(b"a", None)]),
        Footprint(everything=True),
    ):
        with pytest.raises(ConfigurationError, match="exactly one key"):
            replica.submit([Command(request, footprint, b"")], Instant(0))
    with pytest.raises(ConfigurationError, match="reads its name"):
        replica.read(request, Instant(0))
    assert take(replica, out).room == BasicSettings().max_open


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        (Configuration(4, THREE), "node 4 is not one of the members"),
        (Configuration(1, THREE, settings="fast"), "configured by BasicSettings, not str"),
        (Configuration(1, THREE, BasicSettings(distinguished=9)), "node 9 is no member"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(configuration: Configuration, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        BasicReplica(configuration, {}, lambda name, bound: 0, Instant(0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repeat_s", 0),
        ("repeat_s", True),
        ("backoff_s", float("nan")),
        ("patience_s", float("inf")),
        ("ask_s", "1"),
        ("ask_tries", 65),
        ("max_open", 0),
        ("max_open", 1.0),
        ("reserve_rounds", True),
        ("distinguished", 0),
        ("distinguished", "1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=field):
        BasicSettings(**{field: value})


def test_ticks_that_are_early_do_nothing() -> None:
    replica, out = lone_replica()
    replica.submit([command(1, b"x", b"v")], Instant(0))
    wake_at_s = take(replica, out).wake_at_s
    assert wake_at_s == BasicSettings().repeat_s
    before, sent = replica.fingerprint(), len(out.sends)
    for now_s in (0.0, 0.1, 0.2499):
        replica.tick(Instant(now_s))
    assert replica.fingerprint() == before
    assert len(take(replica, out).sends) == sent
    replica.tick(Instant(0.25))
    assert len(take(replica, out).sends) == sent + 2


def test_what_needs_no_doing_needs_no_doing() -> None:
    replica, out = lone_replica()
    before = replica.fingerprint()
    replica.compact(b"x", Instant(0))
    replica.install(b"x", replica.part(b"x"), Instant(0))
    replica.abandon(command(1, b"x").request, Instant(0))
    assert replica.fingerprint() == before
    assert take(replica, out).wake_at_s is None


def test_there_is_nothing_to_instruct_it_to() -> None:
    replica, _ = lone_replica()
    with pytest.raises(ConfigurationError, match="no action 'transfer'"):
        replica.instruct("transfer", 1, Instant(0))


def test_a_tracing_replica_tells_every_action() -> None:
    replica, out = lone_replica()
    replica.submit([command(1, b"x", b"v")], Instant(0))
    ballot = questions(replica, out, Prepare)
    replica.receive(2, Promise(b"x", ballot, BOTTOM, None), Instant(0))
    questions(replica, out, Accept)
    replica.receive(2, Accepted(b"x", ballot, b"v"), Instant(0))
    take(replica, out)
    told = [event.action for event in out.events if event.trace]
    first = ["Restart", "Submit", "Phase1a", "Phase1b", "CountPromise", "CountPromise"]
    assert told == [*first, "Phase2a", "Phase2b", "CountVote", "CountVote", "Learn"]
    assert [event.action for event in out.events if not event.trace] == ["chosen"]
    plain = BasicReplica(Configuration(1, THREE), {}, lambda name, bound: 0, Instant(0))
    plain.receive(2, Prepare(b"x", Ballot(1, 2)), Instant(0))
    assert plain.effects().events == []


def test_a_ready_outcome_names_the_decree() -> None:
    replica, _ = lone_replica()
    replica.receive(2, Chosen(b"x", Ballot(1, 2), b"v"), Instant(0))
    replica.submit([command(1, b"x"), command(2, b"x", b"w")], Instant(0))
    effects = replica.effects()
    assert [(o.kind, o.mark) for o in effects.outcomes] == [(OutcomeKind.READY, b"x")] * 2
    assert [(mark, c.payload) for mark, c in effects.applies] == [(b"x", b"v")]
    keys = [key for key, _ in effects.writes]
    assert acceptor_key(b"x") not in keys, "there was no acceptor's record to delete"
