"""A protocol whose replicas time their own commands: what a real node knows and its clients do not see.

`paxos.runtime.timed:NAME` is the protocol that is called NAME.  Its replicas do what they always do; of each
command that was submitted to one of them, it notes how long it took until that replica knew it committed,
and says so in its status.  A client sees only when its command was carried out, which may be later.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from paxos.command import Command
from paxos.contract import (
    Commitment,
    Configuration,
    Draw,
    Effects,
    Event,
    Instant,
    Mark,
    Message,
    ProtocolDescription,
    Records,
    Status,
    find_protocol,
)

__all__ = ["COMMITS", "timed", "timed_name"]

#: What a status calls the times until commit, milliseconds, in order; it ends with the last one.
COMMITS: Final = "commits_ms"
#: So many are kept; later ones are not noted.  A status has to fit into a message.
_KEPT: Final = 20_000
_MS: Final = 1000.0


def timed_name(name: str) -> str:
    """What a cluster file calls the protocol `name` with replicas that time their commands."""
    return f"{__name__}:{name}"


def __getattr__(name: str) -> ProtocolDescription:
    if name.startswith("__"):
        raise AttributeError(name)
    return timed(find_protocol(name))


def timed(protocol: ProtocolDescription) -> ProtocolDescription:
    """The protocol, with replicas that time their commands; as it is, if none of its events tells of commits.

    Args:
        protocol: which.
    """
    make, commits = protocol.replica, protocol.commits
    if commits is None:
        return protocol

    def replica(configuration: Configuration, records: Records, draw: Draw, now: Instant) -> Any:
        return _Timed(make(configuration, records, draw, now), commits, now)

    return attrs.evolve(protocol, replica=replica)


class _Timed:
    """A replica, timed. It has every other attribute and method of that."""

    def __init__(self, replica: Any, commits: Callable[[Event], Sequence[Commitment]], now: Instant) -> None:
        self._replica = replica
        self._commits = commits
        self._now_s = now[0]
        # When a command was submitted here; when what is not carried out yet was known to be committed.
        self._given_s: dict[Command, float] = {}
        self._known_s: dict[Mark, float] = {}
        self._took_ms: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replica, name)

    def submit(self, commands: Sequence[Command], now: Instant) -> None:
        self._now_s = now[0]
        if len(self._took_ms) + len(self._given_s) < _KEPT:
            self._given_s.update(dict.fromkeys(commands, self._now_s))
        self._replica.submit(commands, now)

    def receive(self, sender: int, message: Message, now: Instant) -> None:
        self._now_s = now[0]
        self._replica.receive(sender, message, now)

    def tick(self, now: Instant) -> None:
        self._now_s = now[0]
        self._replica.tick(now)

    def effects(self) -> Effects:
        effects: Effects = self._replica.effects()
        for event in effects.events:
            for commitment in self._commits(event):
                self._known_s.setdefault(commitment.mark, self._now_s)
        for mark, command in effects.applies:
            known_s = self._known_s.pop(mark, self._now_s)
            given_s = self._given_s.pop(command, None)
            if given_s is not None:
                self._took_ms.append(round((known_s - given_s) * _MS, 2))
        return effects

    def status(self) -> Status:
        status: Status = self._replica.status()
        return attrs.evolve(status, values={**status.values, COMMITS: list(self._took_ms)})
