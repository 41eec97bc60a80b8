"""A snapshot on its way between two nodes, driven by hand: lost, doubled, late, cut off, begun again."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paxos.command import Command
from paxos.service.batches import batch_command, marker_command
from paxos.service.log_messages import (
    Refused,
    RefusedKind,
    SnapshotAsk,
    SnapshotChunk,
    SnapshotKept,
    SnapshotOffer,
)
from paxos.service.snapshots import SNAPSHOT_PREFIX, _digest
from tests.instant_log import Host, Mode, make_run

ELSEWHERE = b"e" * 16
BIG = 50_000


class Pair:
    """Node 1 has a snapshot of some pieces and no log before it, node 2 has nothing; and the wires."""

    def __init__(self, lines: int = 24, **settings: Any) -> None:
        self.settings = settings
        self.hosts = {1: Host(1, **settings), 2: Host(2, **settings)}
        self.wires: list[tuple[int, int, Any]] = []
        self.count = 0
        #: Everything that was decided, in order.
        self.log: list[Command] = []
        self.states: dict[int, list[bytes]] = {}
        self.decide(lines)
        self.mark()

    @property
    def one(self) -> Host:
        return self.hosts[1]

    @property
    def two(self) -> Host:
        return self.hosts[2]

    def decide(self, lines: int, size: int = BIG) -> None:
        bodies = [b"%d " % (self.count + index) + bytes(size) for index in range(lines)]
        command = batch_command(ELSEWHERE, self.count, [make_run(self.count + 1, *bodies)])
        self.count += lines
        self.log.append(command)
        self.one.replica.learn(command)
        self.gather()

    def mark(self) -> None:
        """A marker; node 1 makes its snapshot to the end."""
        self.log.append(marker_command(1, len(self.log)))
        self.one.replica.learn(self.log[-1])
        self.gather()
        self.states[self.one.service.sessions.markers] = list(self.one.lines)
        self.one.wait(ticks=60)
        self.gather()

    def gather(self) -> None:
        for host in self.hosts.values():
            host.run()
            self.wires += [(host.id, recipient, message) for recipient, message in host.sent]
            host.sent.clear()

    def want(self, source: int = 1) -> None:
        """Node 2 is found to be behind."""
        self.hosts[source].replica.want_transfer(2)
        self.gather()

    def begin(self) -> int:
        """A snapshot is on its way to node 2, and some pieces are there: so many."""
        self.want()
        self.deliver_all(12)
        assert self.here == 3
        return self.here

    def deliver(self, index: int = 0, *, keep: bool = False) -> Any:
        """One message arrives; it may arrive again."""
        sender, recipient, message = self.wires[index] if keep else self.wires.pop(index)
        if recipient in self.hosts:
            self.hosts[recipient].take(sender, message)
        self.gather()
        return message

    def deliver_all(self, most: int = 10_000) -> list[Any]:
        seen: list[Any] = []
        while self.wires and len(seen) < most:
            seen.append(self.deliver())
        return seen

    def wait(self, seconds: float) -> None:
        for host in self.hosts.values():
            host.wait(seconds)
        self.gather()

    def restart(self, node: int) -> None:
        """What it had to say is lost; what is on the wires is not."""
        self.hosts[node].sent.clear()
        self.hosts[node].start()
        self.gather()

    def learn(self, upto: int) -> None:
        """Node 2 is given the log as far as its slot `upto`, after what it has."""
        replica = self.two.replica
        replica.learn(*self.log[replica._last : upto])
        self.gather()

    @property
    def here(self) -> int:
        """Pieces of what is on its way to node 2."""
        coming: Any = self.two.node.status()["snapshot_coming"]
        return coming["here"] if coming else 0

    def is_sound(self) -> bool:
        """Node 2 has a state that there was, with its client table: all of a prefix, once."""
        lines, markers = self.two.lines, self.two.service.sessions.markers
        session = self.two.service.sessions.get(b"c" * 16)
        applied = session.highest if session is not None else 0
        return lines == self.one.lines[: len(lines)] and applied == len(lines) and len(self.states) >= markers

    def is_level(self) -> bool:
        """Node 2 has all that the newest snapshot of node 1 has, and nothing of snapshots lies about."""
        number: Any = self.one.node.status()["snapshot"]
        prefixes = {key[2:10] for key in self.two.disk if key.startswith(SNAPSHOT_PREFIX + b"C")}
        return (
            self.two.service.sessions.markers == number
            and self.two.lines[: len(self.states[number])] == self.states[number]
            and self.two.node.status()["snapshot_coming"] is None
            and len(prefixes) == 1
            and SNAPSHOT_PREFIX + b"I" not in self.two.disk
        )


def asked(messages: list[Any]) -> list[int]:
    return [message.piece for message in messages if isinstance(message, SnapshotAsk)]


# --- the usual way -------------------------------------------------------------------------------------


def test_a_node_that_has_nothing_is_sent_everything() -> None:
    pair = Pair()
    assert pair.one.replica.slots == []
    pair.want()
    (offer,) = [message for _, _, message in pair.wires]
    assert isinstance(offer, SnapshotOffer)
    assert offer.chunks > 5
    seen = pair.deliver_all()
    assert asked(seen) == list(range(offer.chunks))
    assert pair.is_level()
    assert pair.two.lines == pair.one.lines
    # What the protocol had added came along, and the replica goes on from there.
    assert pair.two.replica.installed == [(2, b"part 2")]
    pair.decide(3)
    pair.learn(3)
    assert pair.two.lines == pair.one.lines
    assert [event.action for event in pair.two.events] == ["snapshot wanted", "snapshot installed"]


def test_it_survives_a_restart_at_once_and_serves_as_its_own() -> None:
    pair = Pair()
    pair.want()
    pair.deliver_all()
    lines = list(pair.two.lines)
    pair.restart(2)
    assert pair.two.lines == lines
    assert pair.is_level()
    # And it can be handed on.
    three = pair.hosts[3] = Host(3)
    pair.two.replica.want_transfer(3)
    pair.gather()
    pair.deliver_all()
    assert three.lines == lines


def test_no_more_pieces_are_on_their_way_than_were_asked_for() -> None:
    pair = Pair(40, pieces_asked=3)
    pair.want()
    most = 0
    while pair.wires:
        pair.deliver()
        most = max(most, sum(isinstance(m, SnapshotAsk | SnapshotChunk) for _, _, m in pair.wires))
    assert most == 3
    assert pair.is_level()


def test_nothing_is_installed_before_it_is_on_disk() -> None:
    pair = Pair()
    pair.want()
    pair.two.slow = True
    pair.deliver_all()
    assert pair.two.lines == []
    # Only its own word counts.
    pair.two.take(1, SnapshotKept(1))
    assert pair.two.replica.installed == []
    pair.two.slow = False
    pair.gather()
    assert pair.is_level()


def test_what_was_asked_here_and_may_be_in_it_is_unknown() -> None:
    pair = Pair()
    pair.two.replica.mode = Mode.HOLD
    assert pair.two.submit(1, b"a", b"b", name=b"n" * 16) == []
    told = []
    run, pair.two.run = pair.two.run, lambda: told.extend(run()) or []  # type: ignore[func-returns-value, method-assign]
    pair.want()
    pair.deliver_all()
    assert told == [Refused(b"n" * 16, 1, 2, RefusedKind.UNKNOWN, "node 2 lagged behind; ask again")]
    assert pair.is_level()
    pair.two.replica.release()
    pair.two.run()
    assert pair.two.lines[-2:] == [b"a", b"b"]


# --- what goes wrong on the way ------------------------------------------------------------------------


def test_what_is_lost_is_asked_for_again() -> None:
    pair = Pair()
    pair.want()
    pair.deliver()  # the offer
    lost = [pair.wires.pop(0) for _ in range(3)]
    pair.deliver_all()
    assert not pair.is_level()
    missing = sorted(message.piece for _, _, message in lost)
    pair.wait(0.5)
    assert pair.wires == []
    pair.wait(0.6)
    assert sorted(message.piece for _, _, message in pair.wires) == missing
    pair.deliver_all()
    assert pair.is_level()


def test_a_restart_of_the_one_behind_costs_nothing_that_it_has() -> None:
    pair = Pair()
    here = pair.begin()
    pair.wires.clear()
    pair.restart(2)
    assert pair.here == here
    assert pair.two.lines == []
    pair.want()
    seen = pair.deliver_all()
    assert sorted(asked(seen))[0] == here
    assert len(asked(seen)) == seen[0].chunks - here
    assert pair.is_level()


def test_a_restart_of_the_sender_costs_nothing_that_has_come() -> None:
    pair = Pair()
    here = pair.begin()
    pair.wires.clear()
    pair.restart(1)
    pair.wait(5.0)
    seen = pair.deliver_all()
    assert min(asked(seen)) == here
    assert pair.is_level()


def test_a_new_snapshot_made_meanwhile_does_not_begin_it_anew() -> None:
    pair = Pair()
    here = pair.begin()
    pair.decide(2)
    pair.mark()
    pair.want()
    seen = pair.deliver_all()
    assert min(asked(seen)) >= here
    assert pair.two.node.status()["snapshot"] == 1
    assert pair.one.node.status()["snapshot"] == 2
    assert pair.is_sound()
    # The log after it was kept for the one behind.
    assert pair.one.replica.slots == [3, 4]
    pair.learn(4)
    assert pair.two.lines == pair.one.lines


def test_a_new_snapshot_made_while_the_one_behind_was_away_does_not_either() -> None:
    pair = Pair()
    here = pair.begin()
    pair.wires.clear()
    pair.decide(2)
    pair.mark()
    pair.restart(2)
    pair.wait(2.5)  # longer than a question is repeated, shorter than one is waited for
    pair.want()
    seen = pair.deliver_all()
    assert min(asked(seen)) == here
    assert pair.two.node.status()["snapshot"] == 1


def test_one_that_is_gone_is_replaced_by_the_newest() -> None:
    pair = Pair()
    pair.begin()
    pair.decide(2)
    pair.mark()
    pair.wires.clear()
    pair.restart(1)  # it knows of nobody that it served
    pair.wait(1.1)
    seen = pair.deliver_all()
    gone = [message for message in seen if isinstance(message, SnapshotChunk) and message.data is None]
    assert gone
    assert pair.here == 0
    assert not [key for key in pair.two.disk if key.startswith(SNAPSHOT_PREFIX)]
    pair.want()
    pair.deliver_all()
    assert pair.is_level()
    assert pair.two.node.status()["snapshot"] == 2


def test_pieces_that_are_not_what_was_offered_are_refused_and_asked_for_anew() -> None:
    pair = Pair()
    pair.want()
    while pair.wires:
        sender, recipient, message = pair.wires[0]
        if isinstance(message, SnapshotChunk) and message.piece == 3:
            assert message.data is not None
            pair.wires[0] = (sender, recipient, message._replace(data=message.data[:-1]))
        pair.deliver()
    assert pair.two.lines == []
    assert not [key for key in pair.two.disk if key.startswith(SNAPSHOT_PREFIX)]
    assert [event.action for event in pair.two.events] == ["snapshot wanted", "snapshot refused"]
    pair.want()
    pair.deliver_all()
    assert pair.is_level()


def test_one_that_nobody_can_read_is_refused_however_well_its_digest_fits() -> None:
    pair = Pair()
    chunk = b"\0\0\0\2\x81\1"
    pair.two.take(1, SnapshotOffer(9, 1, _digest([chunk])))
    pair.two.take(1, SnapshotChunk(9, 0, chunk))
    assert [event.action for event in pair.two.events] == ["snapshot wanted", "snapshot refused"]
    assert not [key for key in pair.two.disk if key.startswith(SNAPSHOT_PREFIX)]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_sender_that_vanishes_is_given_up_for_another(number: int) -> None:
    pair = Pair()
    pair.decide(1)
    pair.mark()
    pair.begin()
    pair.wires.clear()
    del pair.hosts[1]
    # An older one, a newer one, or one of the same number and other bytes, as of another release.
    offer = SnapshotOffer(number, 20, b"d" * 32)
    pair.two.take(3, offer)
    assert pair.two.sent == []
    for _ in range(4):
        pair.two.wait(1.0)
    pair.two.sent.clear()
    pair.two.take(3, offer)
    assert asked([message for _, message in pair.two.sent]) == list(range(8))
    assert pair.here == 0
    # Its pieces, and nobody else's, are taken.
    pair.two.take(1, SnapshotChunk(number, 0, b"x"))
    assert pair.here == 0
    pair.two.take(3, SnapshotChunk(number, 0, b"x"))
    assert pair.here == 1


def test_a_sender_that_is_slow_is_not_given_up() -> None:
    pair = Pair()
    pair.begin()
    offer = SnapshotOffer(9, 20, b"d" * 32)
    while pair.here:
        pair.two.wait(2.0)
        pair.two.sent.clear()
        pair.two.take(3, offer)
        assert pair.two.sent == []
        while pair.wires and not isinstance(pair.deliver(), SnapshotChunk):
            pass
    assert pair.is_level()


def test_after_a_restart_another_sender_is_taken_when_the_first_does_not_come_back() -> None:
    pair = Pair()
    pair.begin()
    pair.restart(2)
    here = pair.here
    offer = SnapshotOffer(5, 2, b"d" * 32)
    pair.two.take(3, offer)
    assert pair.here == here
    pair.two.wait(3.5)
    pair.two.take(3, offer)
    assert pair.two.node.status()["snapshot_coming"] == {"number": 5, "pieces": 2, "here": 0}


def test_another_sender_of_the_same_goes_on_with_it() -> None:
    pair = Pair()
    other = pair.hosts[3] = Host(3)
    other.replica.learn(*pair.log)
    other.run()
    other.wait(ticks=60)
    here = pair.begin()
    pair.wires.clear()
    del pair.hosts[1]
    other.replica.want_transfer(2)
    pair.gather()
    # Not at once: the first may only be slow, and what was asked of it is on its way.
    assert asked(pair.deliver_all()) == []
    pair.two.wait(1.0)
    pair.wires.clear()
    other.replica.want_transfer(2)
    pair.gather()
    seen = pair.deliver_all()
    assert min(asked(seen)) == here
    assert pair.two.lines == other.lines


def test_two_senders_of_the_same_that_offer_it_again_and_again_do_not_keep_it_away() -> None:
    """Where no leader speaks alone everybody offers it whenever it is asked about, on ways of any length."""
    pair = Pair()
    other = pair.hosts[3] = Host(3)
    other.replica.learn(*pair.log)
    other.run()
    other.wait(ticks=60)
    # Pieces take longer than it takes until another one speaks.
    seen: list[Any] = []
    for turn in range(200):
        pair.hosts[1 + 2 * (turn % 2)].replica.want_transfer(2)
        pair.gather()
        pair.two.wait(0.1)
        for _ in range(min(4, len(pair.wires))):
            seen.append(pair.deliver())
        if pair.two.lines:
            break
    assert pair.two.lines == other.lines
    count = next(message.chunks for message in seen if isinstance(message, SnapshotOffer))
    assert sorted(asked(seen)) == list(range(count)), "no piece is asked for twice"


def test_one_that_catches_up_by_itself_lets_the_rest_go() -> None:
    pair = Pair()
    pair.begin()
    pair.learn(2)
    assert pair.two.lines == pair.one.lines
    assert pair.here == 0
    pair.two.wait(ticks=60)
    pair.deliver_all()
    pair.gather()
    assert pair.is_level()
    assert pair.two.replica.installed == []


def test_one_that_catches_up_while_it_goes_to_disk_keeps_it_as_its_own() -> None:
    pair = Pair()
    pair.learn(1)  # all but the marker
    pair.want()
    pair.two.slow = True
    pair.deliver_all()
    # Now the marker comes the other way, and is applied before the disk has said anything of the snapshot.
    pair.two.replica.learn(*pair.log[1:])
    pair.two.slow = False
    held, pair.two._held = pair.two._held, []
    turn = pair.two.turn()
    pair.two.node.receive(2, turn.held[0][1], pair.two.now)
    pair.two.turn()
    assert pair.two.service.sessions.markers == 1
    pair.two._held = held
    pair.gather()
    assert pair.is_level()
    assert pair.two.replica.installed == []
    assert pair.two.lines == pair.one.lines
    pair.restart(2)
    assert pair.two.lines == pair.one.lines


def test_its_own_that_is_older_is_given_up_when_another_arrives() -> None:
    for ticks in range(2 * 10):
        pair = Pair(6)
        pair.decide(2)
        pair.mark()
        pair.learn(2)
        pair.want()
        pair.deliver_all(2)
        # So much of its own is made, and perhaps not known to be on disk.
        pair.two.slow = ticks % 2 == 0
        pair.two.wait(ticks=ticks // 2)
        pair.deliver_all()
        pair.two.slow = False
        pair.gather()
        assert pair.two.node.status()["snapshot"] == 2
        assert pair.is_level()


def test_while_its_own_goes_to_disk_it_takes_no_offer_and_afterwards_it_does() -> None:
    pair = Pair(6)
    pair.decide(2)
    pair.mark()
    pair.learn(2)
    pair.two.slow = True
    pair.two.wait(ticks=20)
    pair.want()
    pair.deliver_all()
    assert pair.here == 0
    pair.two.slow = False
    pair.gather()
    assert pair.two.node.status()["snapshot"] == 1
    pair.wait(11.0)
    pair.want()
    pair.deliver_all()
    assert pair.is_level()


def test_offers_and_pieces_of_what_is_known_already_change_nothing() -> None:
    pair = Pair()
    pair.want()
    messages = pair.deliver_all()
    disk, lines = dict(pair.two.disk), list(pair.two.lines)
    for message in messages:
        pair.two.take(1, message)
        assert [sent for sent in pair.two.sent if isinstance(sent[1], SnapshotAsk)] == []
    pair.two.take(1, SnapshotKept(1))
    pair.two.take(1, SnapshotKept(7))
    assert (pair.two.disk, pair.two.lines) == (disk, lines)


def test_who_asks_for_what_there_is_not_is_told_so() -> None:
    pair = Pair()
    pieces: Any = pair.one.node.status()["snapshot_pieces"]
    for ask in (SnapshotAsk(2, 0), SnapshotAsk(0, 0), SnapshotAsk(1, pieces)):
        pair.one.take(2, ask)
        assert pair.one.sent.pop() == (2, SnapshotChunk(ask.number, ask.piece, None))
    empty = Host(4)
    empty.take(2, SnapshotAsk(1, 0))
    assert empty.sent == [(2, SnapshotChunk(1, 0, None))]
    empty.replica.want_transfer(2)
    empty.run()
    assert len(empty.sent) == 1


# --- what is kept for others ----------------------------------------------------------------------------


def test_the_log_is_kept_for_one_that_asks_and_only_so_long() -> None:
    pair = Pair()
    pair.begin()
    pair.wires.clear()
    pair.decide(2)
    pair.mark()
    assert pair.one.replica.compacted == 2
    assert pair.one.replica.slots == [3, 4]
    assert pair.one.node.status()["snapshot_serving"] == {"2": 1}
    assert pair.one.turn().wake_at_s == pair.one.now_s + 10
    pair.one.wait(9.9)
    assert pair.one.replica.slots == [3, 4]
    pair.one.wait(0.2)
    assert pair.one.replica.slots == []
    assert pair.one.replica.compacted == 4
    assert pair.one.node.status()["snapshot_serving"] == {}


def test_it_is_kept_no_longer_than_it_takes_to_ask_for_it_when_all_has_arrived() -> None:
    pair = Pair()
    pair.want()
    pair.two.slow = True
    while not any(isinstance(message, SnapshotChunk) and message.piece == 11 for _, _, message in pair.wires):
        pair.deliver()
    pair.decide(2)
    pair.mark()
    pair.deliver_all()
    pair.one.wait(5.0)
    assert pair.one.replica.slots == [3, 4], "it is not on the other's disk"
    pair.two.slow = False
    pair.two.synced()
    pair.gather()
    (kept,) = [each for each in pair.wires if isinstance(each[2], SnapshotKept)]
    assert kept == (2, 1, SnapshotKept(1))
    # Of another snapshot, or of a node that is sent none, it means nothing.
    pair.one.take(2, SnapshotKept(7))
    pair.one.take(3, SnapshotKept(1))
    pair.one.wait(1.0)
    pair.deliver_all()
    pair.one.wait(1.9)
    assert pair.one.replica.slots == [3, 4]
    pair.one.wait(0.2)
    assert pair.one.replica.slots == []
    assert pair.one.node.status()["snapshot_serving"] == {}


def test_every_question_prolongs_it() -> None:
    pair = Pair()
    pair.want()
    pair.deliver()
    pair.decide(2)
    pair.mark()
    for _ in range(5):
        pair.one.wait(8.0)
        pair.one.take(2, SnapshotAsk(1, 0))
    assert pair.one.replica.slots == [3, 4]
    # It is offered the same all the time: it has some of that.
    pair.one.sent.clear()
    pair.one.replica.want_transfer(2)
    pair.one.run()
    (offer,) = [message for _, message in pair.one.sent]
    assert offer.number == 1
    pair.one.wait(10.1)
    assert pair.one.replica.slots == []
    pair.one.sent.clear()
    pair.one.replica.want_transfer(2)
    pair.one.run()
    assert [message.number for _, message in pair.one.sent] == [2]


# --- everything at once ------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["deliver"] * 8 + ["lose", "twice", "wait", "want", "one", "two", "decide", "mark", "learn"]
        ),
        st.integers(0, 60),
    ),
    max_size=60,
)


@settings(max_examples=40)
@given(STEPS)
@example([("want", 0), *[("deliver", 0)] * 9, ("two", 0), ("mark", 0), ("want", 0), *[("deliver", 3)] * 9])
@example([("want", 0), *[("deliver", 0)] * 9, ("learn", 1), ("learn", 1), *[("deliver", 0)] * 9])
def test_whatever_happens_on_the_way_it_arrives_and_never_goes_back(steps: list[tuple[str, int]]) -> None:
    pair = Pair(6, pieces_asked=2)
    at = [0]
    acts: dict[str, Callable[[int], object]] = {
        "deliver": lambda n: pair.wires and pair.deliver(n % len(pair.wires)),
        "twice": lambda n: pair.wires and pair.deliver(n % len(pair.wires), keep=True),
        "lose": lambda n: pair.wires and pair.wires.pop(n % len(pair.wires)),
        "wait": lambda n: pair.wait(n / 10),
        "want": lambda n: pair.want(),
        "one": lambda n: pair.restart(1),
        "two": lambda n: pair.restart(2),
        "decide": lambda n: pair.decide(1),
        "mark": lambda n: pair.mark(),
        "learn": lambda n: pair.learn(pair.two.replica._last + n % 2),
    }
    for what, number in steps:
        acts[what](number)
        assert pair.is_sound()
        applied: Any = pair.two.service.applied
        assert what == "two" or applied is None or applied >= at[-1]
        at.append(applied or 0)
    for _ in range(3):
        pair.wait(11.0)
        pair.want()
        pair.deliver_all()
        pair.learn(len(pair.log))
        pair.two.wait(ticks=60)
        pair.gather()
    assert pair.two.lines == pair.one.lines
    assert pair.is_level()
