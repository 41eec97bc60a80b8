"""How a run is watched: what the invariants of Basic Paxos are made of.

An invariant sees a run from outside, one `Step` after the other, and keeps a *ghost* of it: the few facts
of the past that it needs.  Here is the loop that looks up what to do with each message by its class, and
the ghost that knows when its node began another life.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from paxos.ballot import NodeId
from paxos.contract import Step
from paxos.quorum import QuorumSystem

__all__ = ["Handler", "PerNode", "Watch", "at", "decisions"]

#: What an invariant does with one message: a sentence naming what broke, or None.
Handler: TypeAlias = Callable[[Step, Any], str | None]
_G = TypeVar("_G")


class Watch:
    """An invariant made of handlers by message class, for messages as they are created and as they leave."""

    name: ClassVar[str]

    def __init__(self, quorums: QuorumSystem) -> None:
        self._quorums = quorums
        self._created: Mapping[type, Handler] = {}
        self._left: Mapping[type, Handler] = {}

    def observe(self, step: Step) -> str | None:
        """See one step; a sentence naming what broke, or None."""
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


class PerNode(Generic[_G]):
    """Ghosts by node and decree that know when their node began another life."""

    def __init__(self, make: Callable[[], _G], restarted: Callable[[_G], None]) -> None:
        self._make = make
        self._restarted = restarted
        self._ghosts: dict[NodeId, dict[bytes, _G]] = {}

    def of(self, node: NodeId, decree: bytes) -> _G:
        """The ghost of this node and decree, made when first asked for."""
        ghosts = self._ghosts.setdefault(node, {})
        ghost = ghosts.get(decree)
        if ghost is None:
            ghosts[decree] = ghost = self._make()
        return ghost

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
