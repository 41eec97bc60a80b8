"""What can be set for the service of a log, each with its purpose, unit and consequence.

What must be the same at every node, such as when a client is forgotten, is no setting but a constant of the
code: so no configuration can make nodes disagree.
"""

from collections.abc import Callable

import attrs

from paxos.errors import ConfigurationError

__all__ = ["LogSettings"]


def _whole(low: int, high: int) -> Callable[[object, "attrs.Attribute[int]", int], None]:
    def check(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ConfigurationError(
                f"{attribute.name}: expected a whole number in {low}..{high}, got {value!r:.40}"
            )

    return check


def _seconds(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if type(value) not in (int, float) or not 0 <= value <= 60:
        raise ConfigurationError(f"{attribute.name}: expected seconds in 0..60, got {value!r:.40}")


def _share(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if type(value) not in (int, float) or not 0 <= value <= 1000:
        raise ConfigurationError(f"{attribute.name}: expected a number in 0..1000, got {value!r:.40}")


def _one_of(*allowed: str) -> Callable[[object, "attrs.Attribute[str]", str], None]:
    def check(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
        if value not in allowed:
            raise ConfigurationError(
                f"{attribute.name}: expected one of {', '.join(allowed)}; got {value!r:.40}"
            )

    return check


@attrs.frozen
class LogSettings:
    """Settings of the service of a log.

    Args:
        marker_requests: requests applied until a marker is put into the log. At a marker idle clients are
            forgotten, and a snapshot is made if `growth` says so; then what came before is forgotten. Fewer
            make restarts and catching up shorter, and cost more writing.
        marker_bytes: the same in bytes of requests, and in bytes of results, which are kept for retries.
        growth: by how much the log must have grown since the last snapshot until another is made, as a share
            of that one's size; 0 for one at every marker. More costs less writing, and longer restarts.
        piece_s: pause between two steps of a snapshot being made, seconds. A step is 32 KiB of a machine that
            gives its state in chunks, as the bundled one does (about 1,000 small keys, a millisecond), else a
            piece of 128 KiB. Longer disturbs the clients less, and keeps the log longer. The pauses of a
            large snapshot are up to 5 times as long while fewer than 3,000 requests are carried out in one.
        pieces_asked: pieces of another node's snapshot asked for at once.
        repeat_s: seconds until an unanswered question about a snapshot is repeated.
        waiting_requests: requests that wait to be ordered, at most; beyond, clients are not read, and what
            was read already is rejected.
        waiting_bytes: the same in bytes.
        queries: queries that wait at most; beyond, they are rejected.
        batching: where only conflicting commands have an order, as under EPaxos: "together" puts all requests
            of a moment into one batch, which takes the fewest commands; "apart" keeps those that touch keys
            which other nodes write just now out of the batch of the others, so that these need not wait for
            them: lower latency under conflicts, for more commands. Of no effect elsewhere.
    """

    marker_requests: int = attrs.field(default=100_000, validator=_whole(1, 1 << 40))
    marker_bytes: int = attrs.field(default=64 << 20, validator=_whole(1 << 10, 1 << 40))
    growth: float = attrs.field(default=1.0, validator=_share)
    piece_s: float = attrs.field(default=0.03, validator=_seconds)
    pieces_asked: int = attrs.field(default=8, validator=_whole(1, 64))
    repeat_s: float = attrs.field(default=1.0, validator=_seconds)
    waiting_requests: int = attrs.field(default=16_384, validator=_whole(1, 1 << 24))
    waiting_bytes: int = attrs.field(default=16 << 20, validator=_whole(1 << 10, 1 << 34))
    queries: int = attrs.field(default=16_384, validator=_whole(1, 1 << 24))
    batching: str = attrs.field(default="together", validator=_one_of("together", "apart"))
