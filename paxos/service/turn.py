"""A turn: everything a node wants done since the last one, for its driver to carry out."""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import TypeAlias

from paxos.ballot import NodeId
from paxos.command import Command
from paxos.contract import Event, Mark, Message

__all__ = ["ClientKey", "Reader", "Turn"]

#: Whatever the driver knows a client's connection by; a `Reader`, if it says how far that is behind.
ClientKey: TypeAlias = Hashable


class Reader(ABC):
    """A client of which the driver says whether it reads what it is told.

    A question of a few bytes may have an answer of megabytes.  So it is looked at before each answer, and not
    only before questions are taken: who asks much at once may not have it all made at once.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def keeps_up(self) -> bool:
        """Whether another answer may be made for it; else it is told to ask again later."""

    @abstractmethod
    def owe(self, size: int) -> None:
        """An answer of so many bytes was made, and comes with the answers of this turn."""


class Turn:
    """What a node wants done since the last turn.

    Attributes:
        writes: durable records `(key, value or None)`, as one atomic batch.
        sends: `(recipient, message)`, never to itself: they leave at once.
        held: `(recipient, message)`: they leave when the writes of this and of every earlier turn
            are on disk; those to the node itself come back through `Node.receive`.
        answers: `(client, message)` for connected clients: they leave at once.
        applies: `(mark, command)` in execution order, already applied to the machine.
        events: what happened.
        wake_at_s: monotonic seconds at which to call `tick`, or None.
        room: requests it would take now; 0 means stop reading clients.
    """

    __slots__ = ("answers", "applies", "events", "held", "room", "sends", "wake_at_s", "writes")

    def __init__(self) -> None:
        self.writes: list[tuple[bytes, bytes | None]] = []
        self.sends: list[tuple[NodeId, Message]] = []
        self.held: list[tuple[NodeId, Message]] = []
        self.answers: list[tuple[ClientKey, Message]] = []
        self.applies: list[tuple[Mark, Command]] = []
        self.events: list[Event] = []
        self.wake_at_s: float | None = None
        self.room: int = 0
