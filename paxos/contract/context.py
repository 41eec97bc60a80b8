"""What all rooms of one replica share: who it is, what it is set to, and the effects that gather.

A room of a replica is a class that holds its part of the state and is given this in every call that wants
something done.  It is never copied with the rooms: a clone of a replica has one of its own.
"""

from typing import Final, Generic, TypeVar

from paxos.ballot import NodeId
from paxos.command import RequestId
from paxos.contract.replica import Configuration, Draw, Effects, Event, Message, Outcome, OutcomeKind
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem

__all__ = ["NEVER_S", "Context"]

#: When what is not due at all is due.
NEVER_S: Final = float("inf")
# Called directly on the hot path: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__
_Settings = TypeVar("_Settings")


class Context(Generic[_Settings]):
    """Who a replica is, and the effects that gather.

    Args:
        configuration: with settings of `kind`, or None for the defaults.
        draw: supplies randomness.
        kind: the protocol's own class of settings.
        protocol: what people call it.

    Raises:
        ConfigurationError: the node is neither member nor observer, an observer is a member, or the settings
            are another protocol's.
    """

    __slots__ = (
        "configuration",
        "draw",
        "everyone",
        "is_member",
        "members",
        "node",
        "other_members",
        "others",
        "out",
        "quorums",
        "settings",
    )

    def __init__(
        self, configuration: Configuration, draw: Draw, kind: type[_Settings], protocol: str
    ) -> None:
        settings = configuration.settings if configuration.settings is not None else kind()
        if not isinstance(settings, kind):
            raise ConfigurationError(
                f"{protocol} is configured by {kind.__name__}, not {type(settings).__name__}"
            )
        both = set(configuration.members) & set(configuration.observers)
        if both:
            raise ConfigurationError(f"nodes {sorted(both)} can not be both members and observers")
        if configuration.node not in configuration.everyone:
            raise ConfigurationError(
                f"node {configuration.node} is none of the members {configuration.members} "
                f"and none of the observers {configuration.observers}"
            )
        self.configuration: Configuration = configuration
        self.draw: Draw = draw
        self.settings: _Settings = settings
        self.node: NodeId = configuration.node
        self.quorums: QuorumSystem = configuration.quorums
        self.members: tuple[NodeId, ...] = configuration.members
        self.everyone: frozenset[NodeId] = frozenset(configuration.everyone)
        self.is_member: bool = self.node in self.members
        self.others: tuple[NodeId, ...] = tuple(n for n in configuration.everyone if n != self.node)
        self.other_members: tuple[NodeId, ...] = tuple(n for n in self.members if n != self.node)
        self.out: Effects = Effects()

    def write(self, key: bytes, value: bytes | None) -> None:
        """Have a record written."""
        self.out.writes.append((key, value))

    def send(self, recipient: NodeId, message: Message) -> None:
        """Have a message sent."""
        self.out.sends.append((recipient, message))

    def send_members(self, message: Message) -> None:
        """Have a message sent to every other member."""
        self.out.sends.extend((member, message) for member in self.other_members)

    def send_others(self, message: Message) -> None:
        """Have a message sent to every other member and observer."""
        self.out.sends.extend((node, message) for node in self.others)

    def event(self, action: str, cause: str, **arguments: object) -> None:
        """Tell what happened."""
        self.out.events.append(_new(Event, (action, self.node, arguments, cause, False)))

    def reject(self, request: RequestId, reason: str) -> None:
        """End a request that was certainly not applied."""
        self.out.outcomes.append(Outcome(request, OutcomeKind.REJECTED, reason=reason))
