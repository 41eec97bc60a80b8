"""What happens in a node, said once: to the log, and to whoever subscribed.

An event is a `paxos.contract.Event`, the same value that replicas make: a name, the node, named
arguments.  Those that the runtime makes have the cause "runtime" and a sentence for people in the
argument `text`.  The log gets the sentence; log records carry the rest as attributes `event`, `node` and
`arguments`, for whoever formats them as data.

A sentence may quote what a stranger sent.  It leaves this room as one line of printable characters, so
nobody can write a line of the log, or move the cursor of who reads it.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from paxos.ballot import NodeId
from paxos.contract import Event
from paxos.runtime.trace_file import TraceFile

__all__ = ["EventSink", "OnEvent", "printable"]

#: Called with each event, on the node's own event loop; it must return at once.
OnEvent: TypeAlias = Callable[[Event], None]

_LOGGER: Final = logging.getLogger("paxos.node")
#: Events of a replica that somebody should look at: another member does what it must not, or did.
_LEVELS: Final[Mapping[str, int]] = {
    "breach": logging.ERROR,
    "exhausted": logging.ERROR,
    "refused": logging.WARNING,
}
#: Events that operators ask about, and that are rare by their nature: who leads and how, and why.
_LEADERSHIP: Final = frozenset(
    ("elected", "deposed", "stepped-down", "transfer", "transfer failed", "fell back", "fast again")
)
#: Of how many kinds of these it is counted how often they were.
_COUNTED_MAX: Final = 256


def printable(text: str) -> str:
    """A text of foreign origin as one line without control characters: these are escaped as Python does."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )


class EventSink:
    """Where one node's events go.

    Args:
        node: whose.
        on_event: a subscriber, or None.
        trace: the file of what handlers tell, or None; nobody else is told of that.
    """

    def __init__(self, node: NodeId, on_event: OnEvent | None = None, trace: TraceFile | None = None) -> None:
        self._node = node
        self._on_event = on_event
        self._trace = trace
        # How often each event of `_LEVELS` was, by its name and sender.
        self._counts: dict[tuple[str, object], int] = {}

    def say(self, action: str, text: str, *, level: int = logging.INFO, **arguments: object) -> None:
        """An event of the runtime.

        Args:
            action: its name, for programs.
            text: one sentence, for people; what is not printable in it is escaped.
            level: as in `logging`.
            arguments: what it was about, by name.
        """
        text = printable(text)
        event = Event(action, self._node, {"text": text, **arguments}, "runtime")
        if _LOGGER.isEnabledFor(level):
            extra = {"event": action, "node": self._node, "arguments": arguments}
            _LOGGER.log(level, "node %d: %s", self._node, text, extra=extra)
        self._tell(event)

    def pass_on(self, events: list[Event]) -> None:
        """Events of the replica, and of the service, which come with a sentence and say how bad they are."""
        if self._trace is not None:
            if not self._trace.write(events):
                text = f"tracing ends: {self._trace.path}: {self._trace.failure}"
                self.say("untraced", text, level=logging.ERROR)
            events = [event for event in events if not event.trace]
        for event in events:
            sentence = event.arguments.get("text")
            if isinstance(sentence, str):
                self._log_sentence(event, sentence)
                continue
            if event.action in _LEADERSHIP:
                self._log_sentence(event, _as_sentence(event))
                continue
            level = _LEVELS.get(event.action, logging.DEBUG)
            if _LOGGER.isEnabledFor(level) and (level == logging.DEBUG or self._is_news(event)):
                extra = {"event": event.action, "node": event.node, "arguments": dict(event.arguments)}
                text = printable(str(event.arguments))
                _LOGGER.log(level, "node %d: %s %s", event.node, event.action, text, extra=extra)
        if self._on_event is not None:
            for event in events:
                self._tell(event)

    @staticmethod
    def _log_sentence(event: Event, sentence: str) -> None:
        arguments = {name: value for name, value in event.arguments.items() if name not in ("text", "level")}
        level = event.arguments.get("level")
        extra = {"event": event.action, "node": event.node, "arguments": arguments}
        _LOGGER.log(
            level if isinstance(level, int) else logging.INFO,
            "node %d: %s",
            event.node,
            printable(sentence),
            extra=extra,
        )

    def _is_news(self, event: Event) -> bool:
        """Whether to say so: when its number has doubled, since a member may do it with each message."""
        kind = event.action, event.arguments.get("sender")
        if kind not in self._counts and len(self._counts) >= _COUNTED_MAX:
            return False
        self._counts[kind] = count = self._counts.get(kind, 0) + 1
        return count & (count - 1) == 0

    def _tell(self, event: Event) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            # A subscriber's mistake must not become the node's.
            _LOGGER.exception("node %d: the subscriber to its events failed", self._node)


def _as_sentence(event: Event) -> str:
    """An event in words: what, and everything about it."""
    about = ", ".join(f"{name} {value}" for name, value in event.arguments.items())
    return f"{event.action} ({about})" if about else event.action
