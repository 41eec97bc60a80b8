"""What a store holds that must never change, and which opening of a store a node has met: sans-I/O."""

import random
from itertools import combinations
from typing import Any

import attrs
import pytest

from paxos.ballot import Ballot, NodeId
from paxos.basic import Accepted, Prepare, Promise, protocol
from paxos.contract import Configuration, Instant
from paxos.errors import NodeStopped, RecordError, StoreRefused
from paxos.quorum import FlexibleQuorums, Majority, QuorumSystem
from paxos.runtime.handshake import LOST_DISK, SUPERSEDED, Doorkeeper
from paxos.service import (
    CHARTER_KEY,
    SUPERSEDED_KEY,
    Identity,
    Node,
    Opening,
    charter_of,
    charter_record,
    read_charter,
    require_charter,
    take_superseded,
    wipes_detected,
    witnesses_needed,
)
from paxos.wire import encode_record
from tests.cluster import Cluster, Sent, store_id
from tests.strangers import peer_hello

THREE = (1, 2, 3)
NOW = Instant(100.0)


def node_of(quorums: QuorumSystem, records: dict[bytes, bytes], **changed: Any) -> Node:
    described = attrs.evolve(protocol, name=changed.pop("protocol", protocol.name))
    configuration = Configuration(changed.pop("node", 1), quorums, **changed)
    return Node(described, configuration, store_id(1), records, lambda name, bound: 0, NOW)


# --- the charter ---------------------------------------------------------------------------------------


def test_the_first_batch_of_a_store_is_its_charter() -> None:
    node = node_of(Majority(THREE), {})
    turn = node.turn()
    records = {key: value for key, value in turn.writes if value is not None}
    assert read_charter(records) == {
        "node": "1",
        "protocol": "paxos",
        "members": "1, 2, 3",
        "quorums": "majority(1,2,3)",
        "group": "0",
        "epoch": "0",
    }
    # A format on disk: what an earlier release wrote must still be read.
    assert records[CHARTER_KEY].hex() == (
        "529b1f1b8e18fc01646e6f646561316870726f746f636f6c657061786f73676d656d626572736731"
        "2c20322c20336771756f72756d736f6d616a6f7269747928312c322c33296567726f757061306565"
        "706f63686130"
    )
    assert CHARTER_KEY not in dict(node_of(Majority(THREE), records).turn().writes), "once is enough"


@pytest.mark.parametrize(
    ("quorums", "changed", "said"),
    [
        (Majority((1, 2, 4)), {}, "members 1, 2, 3 in the store, 1, 2, 4 in the configuration; quorums maj"),
        (Majority(range(1, 6)), {}, "members 1, 2, 3 in the store, 1, 2, 3, 4, 5 in the configuration"),
        (
            FlexibleQuorums(THREE, 3, 1),
            {},
            r"^quorums majority\(1,2,3\) in the store, flexible\(1,2,3;phase1=3,phase2=1\) in the config",
        ),
        (Majority(THREE), {"node": 2}, "^node 1 in the store, 2 in the configuration; votes in a store"),
        (Majority(THREE), {"protocol": "other"}, "^protocol paxos in the store, other in the configuration"),
        (Majority(THREE), {"group": 1}, "^group 0 in the store, 1 in the configuration"),
        (Majority(THREE), {"epoch": 1}, "^epoch 0 in the store, 1 in the configuration"),
    ],
)
def test_a_store_is_refused_with_another_configuration(
    quorums: QuorumSystem, changed: dict[str, Any], said: str
) -> None:
    records = dict([charter_record(protocol, Configuration(1, Majority(THREE)))])
    with pytest.raises(StoreRefused, match=said):
        node_of(quorums, records, **changed)


def test_the_file_is_named_where_it_is_known() -> None:
    records = dict([charter_record(protocol, Configuration(1, Majority(THREE)))])
    with pytest.raises(StoreRefused, match=r"1, 2, 3 in the store, 1, 2, 4 in cluster.toml"):
        require_charter(protocol, Configuration(1, Majority((1, 2, 4))), records, "cluster.toml")


def test_settings_that_only_speed_rests_on_may_change() -> None:
    c = Cluster()
    c.settle(c.decide(1, "x", b"v"))
    slower = attrs.evolve(c.settings, distinguished=2, repeat_s=1.0)
    configuration = Configuration(1, c.quorums, slower)
    node = Node(protocol, configuration, c.stores[1], dict(c.disks[1]), c.draw, c.now)
    assert node.identity.introduced


def test_votes_without_a_charter_are_refused() -> None:
    c = Cluster()
    c.settle(c.decide(1, "x", b"v"))
    del c.disks[1][CHARTER_KEY]
    with pytest.raises(StoreRefused, match="does not say for which members and quorums"):
        c.restart(1)


def test_a_damaged_charter_is_named() -> None:
    key, value = charter_record(protocol, Configuration(1, Majority(THREE)))
    with pytest.raises(RecordError, match=r"b'nC'.*corrupted"):
        node_of(Majority(THREE), {key: value[:-1]})
    with pytest.raises(RecordError, match="without a value"):
        node_of(Majority(THREE), {key: encode_record(252, 1, ("node",))})
    with pytest.raises(RecordError, match="text"):
        node_of(Majority(THREE), {key: encode_record(252, 1, ("node", 1))})
    with pytest.raises(RecordError, match="a newer release wrote it"):
        node_of(Majority(THREE), {key: encode_record(252, 2, ())})


def test_long_descriptions_are_cut_in_messages() -> None:
    many = Majority(range(1, 301))
    records = dict([charter_record(protocol, Configuration(1, many))])
    with pytest.raises(StoreRefused) as caught:
        node_of(Majority(THREE), records)
    assert "characters) in the store, 1, 2, 3 in" in str(caught.value)
    assert len(str(caught.value)) < 1200


def test_no_vote_leaves_before_the_charter_is_on_disk() -> None:
    c = Cluster(introduce=False)
    c.disks[2].clear()
    c.crash(2)
    c.slow.add(2)
    c.start(2)
    for _ in range(3):
        c.deliver()
        c.advance(1)
    c.hand_over(Sent(1, 2, Prepare(b"x", Ballot(1, 1))))
    c.deliver()
    assert not c.pick((Promise, Accepted), 2)
    assert not c.disks[2]
    # The oldest batch holds it, and nothing is on disk without.
    c.flush(2, 1)
    assert CHARTER_KEY in c.disks[2]


def test_a_start_that_wrote_nothing_binds_to_nothing() -> None:
    """Before the first batch nothing was promised, so the file may still be corrected."""
    c = Cluster(introduce=False)
    c.crash(1)
    c.disks[1].clear()
    c.quorums = Majority((1, 2))
    c.start(1)
    charter = read_charter(c.disks[1])
    assert charter is not None
    assert charter["members"] == "1, 2"


def test_what_is_in_a_charter_of_a_simulated_node_too() -> None:
    c = Cluster()
    for node in c.members:
        wanted = charter_of(protocol, Configuration(node, c.quorums))
        assert read_charter(c.disks[node]) == wanted


# --- witnesses, and which of them two stores share -------------------------------------------------------


@pytest.mark.parametrize("members", range(1, 9))
def test_so_many_wipes_are_noticed_whatever_the_quorums(members: int) -> None:
    """Any two sets of witnesses share so many members, and some no more."""
    others, needed = range(members - 1), witnesses_needed(members)
    shared = min(
        len(set(one) & set(two))
        for one in combinations(others, needed)
        for two in combinations(others, needed)
    )
    assert wipes_detected(members) == shared
    assert (wipes_detected(members) > 0) is (members > 1)


# --- openings of a store -----------------------------------------------------------------------------------


def opening(incarnation: int, nonce: bytes = b"", store: bytes = b"2" * 16) -> Opening:
    return Opening(store, incarnation, nonce or b"process%d" % incarnation)


def durable(identity: Identity) -> dict[bytes, bytes]:
    return {key: value for key, value in identity.writes if value is not None}


def test_the_newest_opening_is_kept_and_older_ones_are_refused() -> None:
    one = Identity(1, THREE, store_id(1), {}, 0.0)
    assert one.met(2) is None
    assert one.meet(2, opening(5)) is None
    assert one.meet(2, opening(5)) is None, "a reconnect"
    assert len(one.writes) == 1, "and nothing to write"
    assert one.meet(2, opening(5, b"copy")) == opening(5)
    assert one.meet(2, opening(7)) is None
    assert one.meet(2, opening(6)) == opening(7)
    assert one.meet(2, opening(9, store=b"3" * 16)) == opening(7)
    again = Identity(1, THREE, store_id(1), durable(one), 0.0)
    assert again.met(2) == opening(7)
    assert again.meet(2, opening(6)) == opening(7)
    assert again.meet(2, opening(7, b"copy")) == opening(7)
    assert again.meet(2, opening(8)) is None


def test_who_was_only_introduced_may_say_its_opening_later() -> None:
    c = Cluster()
    one = c.nodes[1].identity
    assert one.met(2) == Opening(c.stores[2])
    first = Opening(c.stores[2], 1, b"a")
    assert one.meet(2, first) is None
    c.advance(0.0)
    c.restart(1)
    assert c.nodes[1].identity.met(2) == first


def test_a_copy_that_was_given_up_is_never_used_again() -> None:
    c = Cluster()
    c.nodes[2].identity.give_up("node 2 runs on an old copy")
    c.advance(0.0)
    assert take_superseded(c.disks[2][SUPERSEDED_KEY]) == "node 2 runs on an old copy"
    with pytest.raises(StoreRefused, match=r"^node 2 runs on an old copy$"):
        c.restart(2)


@pytest.mark.parametrize("key", [b"nK\0\0\0\2", SUPERSEDED_KEY])
def test_damaged_records_of_openings_are_named(key: bytes) -> None:
    kind = 253 if key == SUPERSEDED_KEY else 250
    for fields in ((1, 2), (1,), (1, 1, b"")):
        bad = encode_record(kind, 1, fields)
        with pytest.raises(RecordError, match="record b'n"):
            Identity(1, THREE, store_id(1), {key: bad}, 0.0)


class Life:
    """A member that is opened and closed, with the copies that were made of its store."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.store = store_id(node)
        self.count = 0
        self.nonce = b""
        self.copies: list[int] = []

    def open(self, rng: random.Random) -> None:
        self.count += 1
        self.nonce = rng.randbytes(8)

    def hello(self) -> Any:
        return peer_hello("shop", self.node, {}, store_id=self.store, incarnation=self.count, boot=self.nonce)


@pytest.mark.parametrize("seed", range(40))
def test_a_storm_of_restarts_and_copies(seed: int) -> None:
    """Peers restart and forget what was not on disk; the right store always passes, a copy never.

    A copy is opened now and then, a few times over, at any member that has met something newer on disk.
    """
    rng = random.Random(seed)
    lives = {node: Life(node) for node in THREE}
    disks: dict[NodeId, dict[bytes, bytes]] = {node: {} for node in THREE}
    identities: dict[NodeId, Identity] = {}

    def start(node: NodeId) -> None:
        lives[node].open(rng)
        identities[node] = Identity(node, THREE, lives[node].store, dict(disks[node]), 0.0)

    def door(node: NodeId) -> Doorkeeper:
        return Doorkeeper(lives[node].hello(), THREE, identities[node], lambda: None)

    def sync(node: NodeId) -> None:
        disks[node].update(durable(identities[node]))
        identities[node].writes.clear()

    for node in THREE:
        start(node)
    refused = 0
    for _ in range(300):
        here, there = rng.sample(THREE, 2)
        what = rng.randrange(6)
        if what == 0:
            start(here)  # what it had not written is lost
        elif what == 1:
            lives[here].copies.append(lives[here].count)
        elif what == 2 and lives[there].copies:
            # An older copy comes up, in a process of its own; it stops for good at the first refusal.
            copied = rng.choice(lives[there].copies) + 1
            met = identities[here].met(there)
            hello = lives[there].hello()._replace(incarnation=copied, boot=rng.randbytes(8))
            if met is not None and met.incarnation >= copied:
                told = door(here).admit(hello)
                assert told is not None
                assert (told.code, told.store_id) == (SUPERSEDED, lives[there].store)
                assert "put the newest copy back" in told.reason
                refused += 1
        else:
            # The right one, again and again.
            for _ in range(rng.randint(1, 3)):
                assert door(here).admit(lives[there].hello()) is None
            if what > 3:
                sync(here)
                kept = Identity(here, THREE, lives[here].store, dict(disks[here]), 0.0).met(there)
                assert kept == Opening(lives[there].store, lives[there].count, lives[there].nonce)
    assert refused > 5


def test_another_store_is_a_lost_disk_and_not_an_old_copy() -> None:
    identity = Identity(1, THREE, store_id(1), {}, 0.0)
    mine = peer_hello("shop", 1, {}, store_id=store_id(1))
    noted: list[int] = []
    door = Doorkeeper(mine, THREE, identity, lambda: noted.append(1))
    assert door.admit(mine._replace(node=2, store_id=store_id(2))) is None
    assert noted == [1]
    told = door.admit(mine._replace(node=2, store_id=store_id(3), incarnation=9))
    assert told is not None
    assert (told.code, told.store_id) == (LOST_DISK, store_id(2))
    assert "new node id" not in told.reason
    assert "put the old store back" in told.reason
    assert noted == [1]


def test_a_lost_disk_still_stops_its_node() -> None:
    c = Cluster()
    c.crash(2)
    c.disks[2].clear()
    c.stores[2] = store_id(2, life=1)
    c.start(2)
    c.deliver()
    assert isinstance(c.stopped[2], NodeStopped)
