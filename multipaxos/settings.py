"""What can be set for Multi-Paxos, each with its purpose, unit and consequence.

No value here can make Multi-Paxos lose or change what was decided.  What they move is how soon the loss of a
leader is noticed, how often a working one is disturbed for nothing, how deep the pipeline is, and how much
memory a peer that is slow or far behind may cost.  One can make reads stale: a lease rests on clocks, and on
what is stated of them.
"""

import attrs

from paxos.contract.settings import count, seconds
from paxos.errors import ConfigurationError

__all__ = ["MultiPaxosSettings"]


def _share(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise ConfigurationError(f"{attribute.name}: expected a share from 0 to below 1, got {value!r}")


@attrs.frozen
class MultiPaxosSettings:
    """Settings of Multi-Paxos.

    Args:
        heartbeat_s: seconds between a leader's heartbeats. Much below a round trip it only makes traffic;
            it must be well below `election_min_s`, or followers give up a leader that is well.
        election_min_s: seconds without a word of the leader until a node may stand for election, and for
            which it refuses its support to others that would. It should be several heartbeats and several
            round trips: below, elections disturb a working cluster; above, a dead leader is missed later.
        election_max_s: the longest that a node waits so. Nodes wait different times in between, by rank and
            by chance, and the difference must be more than an election takes, which is two round trips and
            a write on the disk: below, candidates get in each other's way more often. A leader that has
            heard from no quorum for so long steps down.
        repeat_s: seconds until an unanswered question is first repeated; then twice as long each time.
            Much below a round trip it doubles the traffic; much above, each lost message costs that long.
        repeat_max_s: the longest such interval, seconds.
        fetch_s: seconds that a follower waits for a slot it misses before it asks for it. Messages that
            overtake each other make gaps that close by themselves.
        lease_s: seconds for which those that answer a heartbeat promise no other leader anything, so that
            the leader may answer reads by itself; 0 for none, and then every read is confirmed by a round.
            At most `election_min_s`, so that no election waits for it. All nodes must have the same.
        lease_drift: by how much the rates of any two nodes' clocks may differ, as a share: 0.01 is one second
            in a hundred. Where they differ by more, a read by lease may miss what another leader did.
        transfer_s: seconds in which a leadership is handed over; then the leader goes on.
        window: slots in flight, proposed and not yet known to be chosen; above, commands are refused as
            busy. It bounds what a new leader has to repair. It must be more than what is proposed within a
            round trip, or the pipeline runs dry.
        window_bytes: bytes in flight, likewise.
        page_slots: slots in one page of a promise, or of what was chosen.
        page_bytes: bytes in one such page; a page has at least one slot, however large.
        repeat_slots: slots that one repetition sends again to one node; `page_bytes` bounds it too.
        pending_reads: reads that wait for their index at one node; above, they are refused as busy.
        hint_slots: slots committed between two notes, on disk, of how far this node knows the log to be
            committed. It costs nothing to lose one: what is above it after a restart comes from the leader.
        reserve_rounds: ballot rounds made durable in advance, so that an election need not wait for the
            disk. A restart skips what was left of them.
    """

    heartbeat_s: float = attrs.field(default=0.1, validator=seconds(0.001, 60))
    election_min_s: float = attrs.field(default=0.8, validator=seconds(0.002, 600))
    election_max_s: float = attrs.field(default=1.6, validator=seconds(0.002, 1200))
    repeat_s: float = attrs.field(default=0.25, validator=seconds(0.001, 60))
    repeat_max_s: float = attrs.field(default=4.0, validator=seconds(0.001, 600))
    fetch_s: float = attrs.field(default=0.02, validator=seconds(0.0001, 60))
    lease_s: float = attrs.field(
        default=0.0,
        validator=seconds(0, 600),
        metadata={"agreed": True},  # told to peers when nodes meet
    )
    lease_drift: float = attrs.field(default=0.01, validator=_share)
    transfer_s: float = attrs.field(default=2.0, validator=seconds(0.001, 600))
    window: int = attrs.field(default=1024, validator=count(1, 65_536))
    window_bytes: int = attrs.field(default=32 << 20, validator=count(1, 1 << 34))
    page_slots: int = attrs.field(default=4096, validator=count(1, 16_384))
    page_bytes: int = attrs.field(default=1 << 20, validator=count(1, 1 << 22))
    repeat_slots: int = attrs.field(default=128, validator=count(1, 65_536))
    pending_reads: int = attrs.field(default=10_000, validator=count(1, 10_000_000))
    hint_slots: int = attrs.field(default=1024, validator=count(1, 1 << 32))
    reserve_rounds: int = attrs.field(default=64, validator=count(1, 1_000_000))

    def __attrs_post_init__(self) -> None:
        """Refuse what can not work together."""
        if not self.heartbeat_s < self.election_min_s < self.election_max_s:
            raise ConfigurationError(
                "heartbeat_s, election_min_s and election_max_s must rise, and are "
                f"{self.heartbeat_s} s, {self.election_min_s} s and {self.election_max_s} s"
            )
        if self.lease_s > self.election_min_s:
            raise ConfigurationError(
                f"lease_s is {self.lease_s} s; it may be at most election_min_s, {self.election_min_s} s"
            )
