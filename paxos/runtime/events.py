"""What happens in a node, said once: to the log, and to whoever subscribed.

An event is a `paxos.contract.Event`, the same value that replicas make: a name, the node, named
arguments.  Those that the runtime makes have the cause "runtime" and a sentence for people in the
argument `text`.  The log gets the sentence; log records carry the rest as attributes `event`, `node` and
`arguments`, for whoever formats them as data.
"""

import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from paxos.ballot import NodeId
from paxos.contract import Event

__all__ = ["EventSink", "OnEvent"]

#: Called with each event, on the node's own event loop; it must return at once.
OnEvent: TypeAlias = Callable[[Event], None]

_LOGGER: Final = logging.getLogger("paxos.node")


class EventSink:
    """Where one node's events go.

    Args:
        node: whose.
        on_event: a subscriber, or None.
    """

    def __init__(self, node: NodeId, on_event: OnEvent | None = None) -> None:
        self._node = node
        self._on_event = on_event

    def say(self, action: str, text: str, *, level: int = logging.INFO, **arguments: object) -> None:
        """An event of the runtime.

        Args:
            action: its name, for programs.
            text: one sentence, for people.
            level: as in `logging`.
            arguments: what it was about, by name.
        """
        event = Event(action, self._node, {"text": text, **arguments}, "runtime")
        if _LOGGER.isEnabledFor(level):
            extra = {"event": action, "node": self._node, "arguments": arguments}
            _LOGGER.log(level, "node %d: %s", self._node, text, extra=extra)
        self._tell(event)

    def pass_on(self, events: list[Event]) -> None:
        """Events of the replica."""
        if _LOGGER.isEnabledFor(logging.DEBUG):
            for event in events:
                extra = {"event": event.action, "node": event.node, "arguments": dict(event.arguments)}
                _LOGGER.debug("node %d: %s %s", event.node, event.action, event.arguments, extra=extra)
        if self._on_event is not None:
            for event in events:
                self._tell(event)

    def _tell(self, event: Event) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            # A subscriber's mistake must not become the node's.
            _LOGGER.exception("node %d: the subscriber to its events failed", self._node)
