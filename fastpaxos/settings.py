"""What can be set for Fast Paxos, each with its purpose, unit and consequence.

No value here can make Fast Paxos unsafe, as long as all nodes have the same `recovery`: it says which
ballots are fast. The others move how soon a lost message is repeated, how long a node waits for others before
it takes matters into its own hands, and when fast ballots are given up for a while.
"""

import attrs

from fastpaxos.rounds import Recovery, Rounds
from paxos.contract.settings import count, seconds
from paxos.errors import ConfigurationError

__all__ = ["FastPaxosSettings"]


def _policy(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    names = [each.value for each in Recovery]
    if value not in names:
        raise ConfigurationError(f"{attribute.name}: expected one of {', '.join(names)}, got {value!r:.80}")


@attrs.frozen
class FastPaxosSettings:
    """Settings of Fast Paxos.

    Args:
        recovery: how a collision is recovered from. "coordinated": the ballot's coordinator picks, two more
            message delays at best, and one classic quorum is enough. "uncoordinated": acceptors pick
            themselves, one more delay, and the next ballot is fast again. All nodes must have the same.
        repeat_s: seconds until a proposal or an unanswered question is first repeated; then twice as long
            each time. Much below a round trip it doubles the traffic; much above, each lost message costs
            that long.
        repeat_max_s: the longest such interval, seconds.
        patience_s: seconds that a proposer waits for a fast ballot before it begins a round of its own; up to
            twice as long, so that not all begin at once. Well above a round trip to a fast quorum, or what
            would have been chosen is disturbed. It is what a crashed node costs each decree until ballots are
            classic.
        recover_s: seconds that a proposer waits for a collision's recovery by others, likewise.
        backoff_s: the first backoff window after being outbid, seconds; then twice as long each time.
        backoff_max_s: the longest window, seconds. It must be well above two round trips.
        collisions_before_classic: so many fast ballots in a row that chose nothing by themselves, and this
            node proposes in classic ballots, through one proposer for all; 0 for never.
        quiet_s: seconds without such a failure after which it is fast again.
        reopen: whether the first round that a node begins for a decree is fast, so that where nothing is
            voted for yet it says Any. Else it is classic, which needs fewer acceptors and fewer messages.
        ask_s: seconds after which a node that voted, or saw votes, asks what became of it; then twice as
            long.
        ask_tries: how often it asks before it stays quiet until somebody wants to know.
        max_open: decrees one node works on at once; above, requests are rejected as busy.
        reserve_rounds: ballot rounds made durable in advance, so that a Prepare need not wait for the disk.
            A restart skips what was left of them.
    """

    recovery: str = attrs.field(
        default=Recovery.COORDINATED.value,
        validator=_policy,
        # Told to peers when nodes meet; and what exploration tries.
        metadata={"agreed": True, "explore": tuple(each.value for each in Recovery)},
    )
    repeat_s: float = attrs.field(default=0.25, validator=seconds(0.001, 60))
    repeat_max_s: float = attrs.field(default=4.0, validator=seconds(0.001, 600))
    patience_s: float = attrs.field(default=0.5, validator=seconds(0.001, 60))
    recover_s: float = attrs.field(default=0.4, validator=seconds(0.001, 60))
    backoff_s: float = attrs.field(default=0.02, validator=seconds(0.0001, 60))
    backoff_max_s: float = attrs.field(default=4.0, validator=seconds(0.001, 600))
    collisions_before_classic: int = attrs.field(
        default=3, validator=count(0, 1_000_000), metadata={"explore": (0, 1, 2, 10)}
    )
    quiet_s: float = attrs.field(default=5.0, validator=seconds(0.001, 86_400))
    reopen: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    ask_s: float = attrs.field(default=1.0, validator=seconds(0.001, 600))
    ask_tries: int = attrs.field(default=8, validator=count(0, 64))
    max_open: int = attrs.field(default=4096, validator=count(1, 1_000_000))
    reserve_rounds: int = attrs.field(default=1024, validator=count(1, 1_000_000))

    @property
    def rounds(self) -> Rounds:
        """Which ballots are fast."""
        return Rounds.of(Recovery(self.recovery))
