"""How a run is watched: what the invariants of Basic Paxos are made of.

An invariant sees a run from outside, one `Step` after the other, and keeps a *ghost* of it: the few facts
of the past that it needs.  Here is the loop that looks up what to do with each message by its class, and
the ghost that knows when its node began another life.

Most steps concern few invariants.  From its handlers each knows which those are (`concerns`), so that
whoever runs a protocol shows it only these.
"""

import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from paxos.ballot import Ballot, NodeId
from paxos.basic.acceptor import Acceptor
from paxos.contract import Outline, Step
from paxos.quorum import QuorumSystem

__all__ = ["Handler", "HoldsDecrees", "PerNode", "Watch", "at", "decisions"]

#: What an invariant does with one message: a sentence naming what broke, or None.
Handler: TypeAlias = Callable[[Step, Any], str | None]
_G = TypeVar("_G")


class HoldsDecrees(abc.ABC):
    """A replica of named decrees, as its invariants look at it."""

    @abc.abstractmethod
    def acceptor(self, decree: bytes) -> Acceptor | None:
        """The acceptor of a decree that is not known to be decided here; None when there is none."""

    @abc.abstractmethod
    def chosen(self, decree: bytes) -> tuple[Ballot, bytes] | None:
        """Ballot and value known to be chosen; None while unknown here."""

    @abc.abstractmethod
    def decrees(self) -> dict[bytes, bytes]:
        """Every decision known here, by name."""


class Watch:
    """An invariant made of handlers by message class, for messages as they are created and as they leave."""

    name: ClassVar[str]
    #: Actions, and classes of messages taken in, for which `_before` does something. Whoever overrides
    #: `_before` or `observe` says so, too; else it is shown every step.
    _when: ClassVar[Collection[str | type]] = ()

    def __init__(self, quorums: QuorumSystem) -> None:
        self._quorums = quorums
        self._created: Mapping[type, Handler] = {}
        self._left: Mapping[type, Handler] = {}
        self._looks_first = type(self)._before is not Watch._before

    def concerns(self, outline: Outline) -> bool:
        """Whether steps of this outline can be anything to it; no others need be shown."""
        kind = type(self)
        said, before, seen = (_depth(kind, name) for name in ("_when", "_before", "observe"))
        if said > min(before, seen):
            return True
        if outline.action in self._when or (outline.received is not None and outline.received in self._when):
            return True
        if (outline.applied or outline.action == "restart") and kind._after is not Watch._after:
            return True
        return not (outline.left.isdisjoint(self._left) and outline.created.isdisjoint(self._created))

    def observe(self, step: Step) -> str | None:
        """See one step; a sentence naming what broke, or None."""
        if self._looks_first:
            said = self._before(step)
            if said is not None:
                return said
        # What leaves in a step was made before the step could act on it: the order matters for own votes.
        # Written out twice, because every invariant comes here at every step of a run.
        handlers = self._left
        if handlers:
            for _, message in step.left:
                handler = handlers.get(message.__class__)
                if handler is not None:
                    said = handler(step, message)
                    if said is not None:
                        return said
        handlers = self._created
        if handlers:
            for _, message in step.created:
                handler = handlers.get(message.__class__)
                if handler is not None:
                    said = handler(step, message)
                    if said is not None:
                        return said
        return self._after(step) if step.applies or step.action == "restart" else None

    def _before(self, step: Step) -> str | None:
        """Called first, for every step."""
        return None

    def _after(self, step: Step) -> str | None:
        """Called for steps that applied something, and for restarts."""
        return None


def _depth(kind: type, name: str) -> int:
    """How far up among its classes one says what `name` is; 0 is the class itself."""
    return next(depth for depth, each in enumerate(kind.__mro__) if name in vars(each))


class PerNode(Generic[_G]):
    """Ghosts by node and decree that know when their node began another life."""

    def __init__(self, make: Callable[[], _G], restarted: Callable[[_G], None]) -> None:
        self._make = make
        self._restarted = restarted
        self._ghosts: dict[NodeId, dict[bytes, _G]] = {}

    def of(self, node: NodeId, decree: bytes) -> _G:
        """The ghost of this node and decree, made when first asked for."""
        try:
            return self._ghosts[node][decree]
        except KeyError:
            return self._ghosts.setdefault(node, {}).setdefault(decree, self._make())

    def all_of(self, node: NodeId) -> Mapping[bytes, _G]:
        """Every ghost of this node, by decree."""
        return self._ghosts.get(node, {})

    def crashed(self, node: NodeId) -> None:
        """The node lost what had not left: tell its ghosts."""
        for ghost in self.all_of(node).values():
            self._restarted(ghost)


def decisions(step: Step) -> Sequence[tuple[bytes, bytes]]:
    """Decree and value of every decision the step applied."""
    return [(mark, command.payload) for mark, command in step.applies if isinstance(mark, bytes)]


def at(step: Step, decree: bytes, what: str) -> str:
    """`what` broke, and where."""
    return f"node {step.node}, decree {decree!r:.80}: {what}"
