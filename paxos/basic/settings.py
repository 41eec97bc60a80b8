"""What can be set for Basic Paxos, each with its purpose, unit and consequence.

No value here can make Basic Paxos unsafe; what they move is how soon a lost message is repeated, how
contention ends, and how much work one node takes on at once.
"""

import attrs

from paxos.ballot import NodeId
from paxos.contract.settings import count, seconds
from paxos.errors import ConfigurationError

__all__ = ["BasicSettings"]


def _node(_: object, attribute: "attrs.Attribute[NodeId | None]", value: NodeId | None) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise ConfigurationError(f"{attribute.name}: expected a node's id, got {value!r}")


@attrs.frozen
class BasicSettings:
    """Settings of Basic Paxos.

    Args:
        repeat_s: seconds until an unanswered question is first repeated; then twice as long each
            time. Much below a round trip it doubles the traffic; much above, each lost message
            costs that long.
        repeat_max_s: the longest such interval, seconds.
        backoff_s: the first backoff window after being outbid, seconds; then twice as long each
            time. It should be of the order of a round trip: below, duels last longer.
        backoff_max_s: the longest window, seconds. Contention ends when a window exceeds what one
            attempt takes, so it must be well above two round trips.
        distinguished: the node to which the others hand their values, so that they do not contend
            (Lamport's distinguished proposer); None lets every node propose by itself. Only speed
            depends on it: unanswered, a node proposes by itself.
        patience_s: seconds to wait for the distinguished proposer before doing so.
        ask_s: seconds after which a node that voted asks what became of it; then twice as long.
        ask_tries: how often it asks before it stays quiet until somebody wants to know.
        max_open: decrees one node works on at once; above, requests are rejected as busy.
        reserve_rounds: ballot rounds made durable in advance, so that a Prepare need not wait for
            the disk. A restart skips what was left of them.
    """

    repeat_s: float = attrs.field(default=0.25, validator=seconds(0.001, 60))
    repeat_max_s: float = attrs.field(default=4.0, validator=seconds(0.001, 600))
    backoff_s: float = attrs.field(default=0.02, validator=seconds(0.0001, 60))
    backoff_max_s: float = attrs.field(default=4.0, validator=seconds(0.001, 600))
    distinguished: NodeId | None = attrs.field(
        default=None,
        validator=_node,
        metadata={"agreed": True},  # told to peers when nodes meet
    )
    patience_s: float = attrs.field(default=0.5, validator=seconds(0.001, 60))
    ask_s: float = attrs.field(default=1.0, validator=seconds(0.001, 600))
    ask_tries: int = attrs.field(default=8, validator=count(0, 64))
    max_open: int = attrs.field(default=4096, validator=count(1, 1_000_000))
    reserve_rounds: int = attrs.field(default=1024, validator=count(1, 1_000_000))
