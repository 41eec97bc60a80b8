"""Message-sequence charts: a run as a picture, time running down, a lane for each node and one for clients.

A chart is a list of `ChartEvent`: arrows between lanes, notes on one, and what broke at the end.  It is made
of a recorded run (`chart_of`), or of anything else that sends messages, a counterexample of a model checker
for one.  It is drawn as text for a terminal (`text_chart`) or as SVG for a page (`svg_chart` in `chart_svg`).
"""

import textwrap
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import attrs

from paxos.ballot import NodeId
from paxos.check.recording import Record
from paxos.check.scenario import Played
from paxos.sim import Violation
from paxos.sim.moves import Asked, quoted, topic_of

__all__ = ["CLIENTS", "Chart", "ChartEvent", "chart_of", "text_chart"]

#: The lane of all clients.
CLIENTS: Final = "clients"
#: Longest text of one value.
_VALUE_LIMIT: Final = 16
#: Fields that need a word before them.
_CALLED: Final = {"accepted_ballot": "voted", "promised": "promised"}
_WIDTH_MIN: Final = 16
_WIDTH_MAX: Final = 34
_LINE_MAX: Final = 100


class ChartEvent(NamedTuple):
    """One row of a chart.

    Args:
        kind: "arrow" (from `lane` to `to`), "note", "decide", "crash" (the lane is down from here on),
            "restart" or "gap" (rows that are left out).
        lane: where.
        text: what.
        to: of an arrow: where it points.
    """

    kind: str
    lane: str
    text: str
    to: str = ""


@attrs.frozen
class Chart:
    """A chart.

    Args:
        lanes: their names, from left to right.
        events: the rows.
        title: above it.
        broken: what broke: a line or a paragraph; empty for nothing.
    """

    lanes: tuple[str, ...]
    events: tuple[ChartEvent, ...]
    title: str = ""
    broken: str = ""


# --- from a recorded run ------------------------------------------------------------------------------


def chart_of(played: Played, *, title: str = "", disks: bool = False, most: int = 400) -> Chart:
    """The chart of a run that was recorded.

    Args:
        played: a scenario run with `record=True`.
        title: above it.
        disks: also show when disks are synced.
        most: rows at most; of a longer run the last ones.
    """
    topics = {topic_of(record.message) for record in played.records if record.message is not None} - {""}
    events: list[ChartEvent] = []
    for record in played.records:
        if events or record.action in ("request", "receive", "crash"):
            events += _events(record, len(topics) > 1, disks)
    if len(events) > most:
        events = [
            ChartEvent("gap", CLIENTS, f"{len(events) - most} rows before are left out"),
            *events[-most:],
        ]
    lanes = (CLIENTS, *(_lane(node) for node in played.result.nodes))
    return Chart(lanes, tuple(events), title, _broken(played.violation))


def _broken(violation: Violation | None) -> str:
    return "" if violation is None else f"{violation.name}: {violation.sentence}"


def _lane(node: NodeId | None) -> str:
    return f"node {node}"


def _events(record: Record, topics: bool, disks: bool) -> list[ChartEvent]:
    lane = _lane(record.node)
    events: list[ChartEvent] = []
    if record.action == "receive" and record.message is not None:
        text = _message_text(record.message, topics)
        if record.sender != record.node:
            events.append(ChartEvent("arrow", _lane(record.sender), text, lane))
        elif topic_of(record.message):
            events.append(ChartEvent("note", lane, f"own {text}"))
    elif record.action == "request" and record.submitted is not None:
        footprint, payload = record.submitted.footprint, record.submitted.payload
        asked = (
            Asked("decide", footprint.writes[0], payload)
            if footprint.writes
            else Asked("decided", footprint.reads[0], None)
        )
        events.append(ChartEvent("arrow", CLIENTS, str(asked), lane))
    elif record.action == "crash":
        events.append(ChartEvent("crash", lane, "crashes"))
    elif record.action == "restart" and not record.first:
        events.append(ChartEvent("restart", lane, "restarts"))
    elif record.action == "tick" and record.busy:
        events.append(ChartEvent("note", lane, "wakes"))
    elif record.action == "durable" and disks:
        events.append(ChartEvent("note", lane, "disk synced"))
    for mark, payload in record.applies:
        if record.action != "restart":
            name = quoted(mark) if isinstance(mark, bytes) else str(mark)
            events.append(ChartEvent("decide", lane, f"decides {name} = {_value(payload)}"))
    return events


def _message_text(message: Any, topics: bool) -> str:
    """A message in a few words: its type and fields, its topic only where there are several."""
    fields: Mapping[str, object] = message._asdict() if hasattr(message, "_asdict") else {}
    words = [type(message).__name__]
    topic = topic_of(message)
    for name, value in fields.items():
        text = _value(value)
        if not text or (not topics and text == topic):
            continue
        if name in _CALLED:
            text = "no vote" if text == "⊥" else f"{_CALLED[name]} {text}"
        words.append(text)
    return " ".join(words)


def _value(value: object) -> str:
    if value is None:
        return ""
    text = quoted(value) if isinstance(value, bytes) else str(value)
    return text if len(text) <= _VALUE_LIMIT else f"{text[: _VALUE_LIMIT - 1]}…"


# --- as text -------------------------------------------------------------------------------------------


def text_chart(chart: Chart) -> str:
    """The chart as lines of text.

    clients         node 1          node 2          node 3
       ├ decide "d" = "v1" ►│          │               │
       │               ├─ Prepare 1.1 ─┼──────────────►│
    """
    lanes = chart.lanes
    width = _column_width(chart)
    places = {lane: 3 + at * width for at, lane in enumerate(lanes)}
    up = dict.fromkeys(lanes, True)
    lines = [*filter(None, [chart.title])]
    head = [" "] * (places[lanes[-1]] + 12)
    for lane, place in places.items():
        _put(head, max(place - len(lane) // 2, 0), lane)
    lines.append("".join(head).rstrip())
    for event in chart.events:
        lines.append(_row(event, places, up))
    if chart.broken:
        lines.append("")
        lines += textwrap.wrap(f"VIOLATED  {chart.broken}", _LINE_MAX, subsequent_indent="          ")
    return "\n".join(lines) + "\n"


def _column_width(chart: Chart) -> int:
    position = {lane: at for at, lane in enumerate(chart.lanes)}
    width = _WIDTH_MIN
    for event in chart.events:
        if event.kind == "arrow":
            # Two on each side for the ends, and what lies between is shared by the lanes crossed.
            hops = max(abs(position[event.to] - position[event.lane]), 1)
            width = max(width, -(-(len(event.text) + 7) // hops))
    return min(width, _WIDTH_MAX)


def _row(event: ChartEvent, places: Mapping[str, int], up: dict[str, bool]) -> str:
    if event.kind == "gap":
        return f"   ... {event.text} ..."
    row = [" "] * (max(places.values()) + 60)
    for lane, place in places.items():
        row[place] = "│" if up[lane] else " "
    here = places[event.lane]
    if event.kind == "arrow":
        _arrow(row, here, places[event.to], event.text, set(places.values()))
    else:
        marks = {"note": "•", "decide": "★", "crash": "✗", "restart": "▲"}
        _put(row, here, f"{marks.get(event.kind, '•')} {event.text}"[:58])
        if event.kind in ("crash", "restart"):
            up[event.lane] = event.kind == "restart"
    return "".join(row).rstrip()


def _arrow(row: list[str], begin: int, end: int, text: str, crossed: set[int]) -> None:
    low, high = min(begin, end), max(begin, end)
    for at in range(low + 1, high):
        row[at] = "┼" if at in crossed and row[at] == "│" else "─"
    row[begin] = "├" if begin < end else "┤"
    row[end - 1 if begin < end else end + 1] = "►" if begin < end else "◄"
    room = high - low - 5
    label = text if len(text) <= room else f"{text[: max(room - 1, 1)]}…"
    _put(row, low + 3 if begin < end else high - 3 - len(label), f" {label} "[: room + 2])


def _put(row: list[str], at: int, text: str) -> None:
    row[at : at + len(text)] = text
