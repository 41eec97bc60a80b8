"""What can be set for the log of Fast Paxos, each with its purpose, unit and consequence.

No value here can make the log lose or change what was decided, as long as all nodes agree on which ballots
are fast. What they move is how soon a loss is noticed and made good, when fast ballots are given up for
classic ones and taken up again, and how much memory a peer that is slow or far behind may cost.
"""

import attrs

from fastpaxos.rounds import Recovery, Rounds
from paxos.contract.settings import count, seconds
from paxos.errors import ConfigurationError

__all__ = ["FastLogSettings"]


def _policy(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    names = [each.value for each in Recovery]
    if value not in names:
        raise ConfigurationError(f"{attribute.name}: expected one of {', '.join(names)}, got {value!r:.80}")


@attrs.frozen
class FastLogSettings:
    """Settings of the log of Fast Paxos.

    Args:
        recovery: how a collision is recovered from. "coordinated": the coordinator picks, two more message
            delays, and one classic quorum is enough. "uncoordinated": acceptors pick themselves, one more
            delay, and the next ballot is fast again. All nodes must have the same.
        recover_s: seconds after which a slot that was heard of and in which nothing is chosen is recovered by
            the coordinator. Below a round trip between the farthest nodes it ends ballots that would have
            succeeded; above, a lost vote or a gap holds up everything behind it for so long.
        collisions_before_classic: so many recoveries in a row, without a slot chosen fast in between, make
            the coordinator go classic; 0 for never. A classic ballot costs a message delay more and knows no
            collisions; where sites compete at all it soon pays, so one is enough.
        quiet_s: seconds without competition after which the coordinator opens a fast ballot again. Each time
            that fast ballots are given up within `quiet_max_s` it is twice as long. Much below a second,
            ballots change more often than commands come.
        quiet_max_s: the longest that it becomes, seconds.
        rival_s: seconds; commands of two nodes that come to the coordinator closer than this compete: in a
            fast ballot they would collide. About a round trip.
        heartbeat_s: seconds between a coordinator's heartbeats. Much below a round trip it only makes
            traffic; it must be well below `election_min_s`, or nodes give up a coordinator that is well.
        election_min_s: seconds without a word of the coordinator until a node may take over, and for which it
            refuses its support to others that would. It should be several heartbeats and several round trips.
            After so long without answers of a fast quorum, the coordinator goes classic.
        election_max_s: the longest that a node waits so. Nodes wait different times in between, by rank and
            by chance. A coordinator that has heard from no quorum for so long steps down.
        repeat_s: seconds until an unanswered question is first repeated; then twice as long each time.
        repeat_max_s: the longest such interval, seconds.
        fetch_s: seconds that a node waits for a slot it misses before it asks for it. Messages that overtake
            each other make gaps that close by themselves.
        window: slots above the last one committed that may be proposed; above, commands wait. It bounds what
            a new coordinator has to repair. It must be more than what is proposed within a round trip.
        window_bytes: bytes of commands that wait at one node; above, commands are refused as busy.
        page_slots: slots in one page of a promise, or of what was chosen.
        page_bytes: bytes in one such page; a page has at least one slot, however large.
        repeat_slots: slots that are recovered or repeated at a time.
        pending_reads: reads that wait for their place at one node; above, they are refused as busy.
        hint_slots: slots committed between two notes, on disk, of how far this node knows the log to be
            committed. It costs nothing to lose one: what is above it after a restart is asked for.
        reserve_rounds: ballot rounds made durable in advance, so that a takeover need not wait for the disk.
            A restart skips what was left of them.
    """

    recovery: str = attrs.field(
        default=Recovery.COORDINATED.value,
        validator=_policy,
        metadata={"agreed": True},  # told to peers when nodes meet
    )
    recover_s: float = attrs.field(default=0.4, validator=seconds(0.001, 60))
    collisions_before_classic: int = attrs.field(default=1, validator=count(0, 1_000_000))
    quiet_s: float = attrs.field(default=2.0, validator=seconds(0.001, 3600))
    quiet_max_s: float = attrs.field(default=60.0, validator=seconds(0.001, 86_400))
    rival_s: float = attrs.field(default=0.25, validator=seconds(0.0, 60))
    heartbeat_s: float = attrs.field(default=0.1, validator=seconds(0.001, 60))
    election_min_s: float = attrs.field(default=0.8, validator=seconds(0.002, 600))
    election_max_s: float = attrs.field(default=1.6, validator=seconds(0.002, 1200))
    repeat_s: float = attrs.field(default=0.5, validator=seconds(0.001, 60))
    repeat_max_s: float = attrs.field(default=4.0, validator=seconds(0.001, 600))
    fetch_s: float = attrs.field(default=0.02, validator=seconds(0.0001, 60))
    window: int = attrs.field(default=1024, validator=count(1, 65_536))
    window_bytes: int = attrs.field(default=32 << 20, validator=count(1, 1 << 34))
    page_slots: int = attrs.field(default=4096, validator=count(1, 16_384))
    page_bytes: int = attrs.field(default=1 << 20, validator=count(1, 1 << 22))
    repeat_slots: int = attrs.field(default=128, validator=count(1, 65_536))
    pending_reads: int = attrs.field(default=10_000, validator=count(1, 10_000_000))
    hint_slots: int = attrs.field(default=128, validator=count(1, 1 << 32))
    reserve_rounds: int = attrs.field(default=64, validator=count(1, 1_000_000))

    def __attrs_post_init__(self) -> None:
        """Refuse what can not work together."""
        if not self.heartbeat_s < self.election_min_s < self.election_max_s:
            raise ConfigurationError(
                "heartbeat_s, election_min_s and election_max_s must rise, and are "
                f"{self.heartbeat_s} s, {self.election_min_s} s and {self.election_max_s} s"
            )

    @property
    def rounds(self) -> Rounds:
        """Which ballots are fast."""
        return Rounds.of(Recovery(self.recovery))
