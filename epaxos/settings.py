"""What can be set for EPaxos, each with its purpose, unit and consequence.

No value here can make EPaxos lose or change what was decided.  What they move is how soon what a dead replica
left behind is finished, how often a living one is disturbed for nothing, and how much memory may be in
flight.
"""

import attrs

from paxos.contract.settings import count, seconds
from paxos.errors import ConfigurationError

__all__ = ["EPaxosSettings"]


@attrs.frozen
class EPaxosSettings:
    """Settings of EPaxos.

    Args:
        repeat_s: seconds until an unanswered question is first repeated; then twice as long each time. Much
            below a round trip it doubles the traffic; much above, each lost message costs that long.
        repeat_max_s: the longest such interval, seconds.
        fast_wait_s: seconds that an owner whose classic quorum has answered waits for a fast quorum that can
            still form, although as many have answered as a fast quorum has; 0 for not at all. It trades
            the latency of some commands for fewer second rounds.
        fast_patience_s: seconds that an owner waits for a fast quorum that needs more replicas than a
            classic one, when all that have answered agree. It matters only where replicas are down.
        commit_delay_s: seconds that a decision may wait until others are told, so that one message tells of
            several, and never longer than a sixteenth of what commits take here: between regions a few
            milliseconds, in one room nothing. Who waits for it is a conflicting command elsewhere, at its
            execution; no commit takes longer. Where many commands a second come one by one it saves messages.
        gossip_s: seconds between two messages in which a replica says what it knows to be committed. A
            commit that was lost is asked for after about so long.
        recover_s: seconds that a replica waits for an instance to be committed before it recovers it. It
            must be well above the longest commit latency, or replicas take over what its owner would have
            finished.
        recover_stagger_s: seconds that each next replica, counted from the owner, waits longer, so that
            one recovers and the others find it done.
        recover_max_s: the longest wait between attempts at recovering one instance, seconds.
        recover_at_once: instances of one owner that a replica recovers at the same time, at most.
        hold_back: whether new own commands wait while a decided one that they conflict with has waited for
            its execution for longer than for its commit. Without it, where many write the same keys faster
            than the network is, nothing of that is carried out before they pause.
        window: a replica's own commands that are not executed, at most; above, `room` is 0.
        window_bytes: the same in bytes of commands.
        page_instances: committed instances in one answer to a replica that missed them.
        page_bytes: bytes in one such answer; it has at least one instance, however large.
        reserve_numbers: instance numbers made durable in advance, at most, so that a command need not wait
            for the disk before it is sent. Few are where few are used. What was left of them when a replica
            crashed is filled with no-ops, and until then all commands at that replica wait for these.
    """

    repeat_s: float = attrs.field(default=0.5, validator=seconds(0.001, 60))
    repeat_max_s: float = attrs.field(default=4.0, validator=seconds(0.001, 600))
    fast_wait_s: float = attrs.field(default=0.0, validator=seconds(0, 60))
    fast_patience_s: float = attrs.field(default=0.5, validator=seconds(0, 60))
    commit_delay_s: float = attrs.field(default=0.005, validator=seconds(0, 1))
    gossip_s: float = attrs.field(default=0.2, validator=seconds(0.001, 60))
    recover_s: float = attrs.field(default=1.0, validator=seconds(0.001, 600))
    recover_stagger_s: float = attrs.field(default=0.5, validator=seconds(0.0, 600))
    recover_max_s: float = attrs.field(default=8.0, validator=seconds(0.001, 600))
    recover_at_once: int = attrs.field(default=256, validator=count(1, 65_536))
    hold_back: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    window: int = attrs.field(default=1024, validator=count(1, 16_384))
    window_bytes: int = attrs.field(default=32 << 20, validator=count(1, 1 << 34))
    page_instances: int = attrs.field(default=1024, validator=count(1, 16_384))
    page_bytes: int = attrs.field(default=1 << 20, validator=count(1, 1 << 22))
    # What a crash leaves of them takes a recovery each: in a short run of the explorer most of its time.
    reserve_numbers: int = attrs.field(
        default=256, validator=count(1, 1 << 20), metadata={"explore_small": (1, 1, 2)}
    )

    def __attrs_post_init__(self) -> None:
        """Refuse what can not work together."""
        if self.repeat_max_s < self.repeat_s:
            raise ConfigurationError(
                f"repeat_max_s is {self.repeat_max_s} s; it may not be below repeat_s, {self.repeat_s} s"
            )
        if self.recover_max_s < self.recover_s:
            raise ConfigurationError(
                f"recover_max_s is {self.recover_max_s} s; it may not be below recover_s, {self.recover_s} s"
            )
