"""Ballot rounds, for logs: how a node comes by a ballot that it never used before, over restarts too.

Rounds are reserved on disk in blocks. A ballot is used only inside a block that is known to be durable, and
a life begins above everything that was reserved in the lives before, so no ballot is used twice.
"""

import copy
from typing import Any, Final, Self, TypeAlias

from paxos.ballot import Ballot
from paxos.basic.messages import Reserved
from paxos.basic.records import pack_reservation
from paxos.contract.context import Context as AnyContext
from paxos.wire import MAX_ROUND

__all__ = ["Rounds"]

#: The context of a replica whose settings have `reserve_rounds`.
Context: TypeAlias = AnyContext[Any]

#: A round so far above all that this node reserved is no honest one, and is not followed: it would take
#: the reservation to the end of the rounds. Rounds rise by one for each election, by one reservation for
#: each restart: honest nodes are a million restarts away from it.
_LEAP_ROUNDS: Final = 1 << 40


class Rounds:
    """The rounds that one node may use.

    Args:
        reserved: up to where rounds were reserved in earlier lives.
        key: of the record that says so.

    Attributes:
        life: the first round of this life; no other life of this node has it, once it is durable.
        durable: rounds up to this one may be used.
    """

    __slots__ = ("_floor", "_key", "_reserved", "durable", "life")

    def __init__(self, reserved: int, key: bytes) -> None:
        self._key = key
        self._floor = reserved
        self._reserved = reserved
        self.durable: int = reserved
        self.life: int = reserved + 1

    def above(self, ballot: Ballot, context: Context) -> Ballot | None:
        """The lowest unused ballot above this one; None when there is none that is believed.

        It may be used when its round is at most `durable`; else reserve it and wait.
        """
        round_ = max(ballot.round, self._floor) + 1
        return Ballot(round_, context.node) if round_ <= self.highest else None

    def use(self, ballot: Ballot) -> None:
        """This ballot is used now, and never again."""
        self._floor = max(self._floor, ballot.round)

    def reserve(self, round_: int, context: Context) -> None:
        """Have rounds up to this one, and a block more, made durable."""
        if round_ > self._reserved:
            self._reserved = min(round_ + context.settings.reserve_rounds, MAX_ROUND)
            context.write(self._key, pack_reservation(self._reserved))
            context.send(context.node, Reserved(self._reserved))

    def on_reserved(self, message: Reserved) -> None:
        """The own disk holds a reservation."""
        self.durable = max(self.durable, message.round)

    @property
    def highest(self) -> int:
        """The highest round that is believed of others, and used."""
        return min(self._reserved + _LEAP_ROUNDS, MAX_ROUND)

    @property
    def is_alive(self) -> bool:
        """Whether this life's number is durable."""
        return self.durable >= self.life

    def clone(self) -> Self:
        """An independent copy."""
        return copy.copy(self)

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike."""
        return (self._floor, self._reserved, self.durable, self.life)
