"""Message-sequence charts: a run as a picture, time running down, a lane for each node and one for clients.

A chart is a list of `ChartEvent`: arrows between lanes, notes on one, and what broke at the end.  It is made
of a recorded run (`chart_of`), or of anything else that sends messages, a counterexample of a model checker
for one.  It is drawn as text for a terminal (`text_chart`) or as SVG for a page (`svg_chart` in `chart_svg`).
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import attrs

from paxos.ballot import NodeId
from paxos.check.recording import Record, asked_in
from paxos.check.scenario import Played
from paxos.command import NOP, NOTHING, Command
from paxos.errors import NodeStopped
from paxos.service.batches import read_batch
from paxos.sim import Violation
from paxos.sim.moves import quoted, topic_of
from paxos.sim.questions import words_of

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
#: How many rows may make a turn that is then taken again and again.
_TURN_MAX: Final = 12
#: How often rows come at least, to be drawn once.
_TIMES_MIN: Final = 3


class ChartEvent(NamedTuple):
    """One row of a chart.

    Args:
        kind: "arrow" (from `lane` to `to`), "note", "decide", "crash" (the lane is down from here on),
            "restart" or "gap" (words instead of rows: which are left out, or come again).
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

    Rows that come again and again are drawn once, with how often and, of a timed run, from when to when.

    Args:
        played: a scenario run with `record=True`.
        title: above it.
        disks: also show when disks are synced.
        most: rows at most; of a longer run the first half of them and the last.
    """
    topics = {topic_of(record.message) for record in played.records if record.message is not None} - {""}
    rows: list[_Row] = []
    for record in played.records:
        if rows or record.action in ("request", "receive", "crash"):
            rows += (_Row(event, record.at_s) for event in _events(record, len(topics) > 1, disks))
    lanes = (CLIENTS, *(_lane(node) for node in played.result.nodes))
    events = tuple(row.event for row in _cut(_folded(rows), most))
    return Chart(lanes, events, title, _broken(played.violation))


class _Row(NamedTuple):
    """A row and when it was, virtual seconds; with `until_s` when what it stands for was over."""

    event: ChartEvent
    at_s: float | None = None
    until_s: float | None = None

    @property
    def end_s(self) -> float | None:
        return self.at_s if self.until_s is None else self.until_s


def _cut(rows: Sequence[_Row], most: int) -> Sequence[_Row]:
    """The first and the last rows: how it began, and how it ended."""
    if len(rows) <= most:
        return rows
    head = most // 2
    out = rows[head : len(rows) - (most - head)]
    text = f"{len(out)} rows are left out{_span(out)}"
    return [*rows[:head], _Row(ChartEvent("gap", CLIENTS, text)), *rows[head + len(out) :]]


def _folded(rows: Sequence[_Row]) -> list[_Row]:
    """The rows, with those drawn once that come again and again; what waits for ever consists of them."""
    events = [row.event for row in rows]
    folded: list[_Row] = []
    at = 0
    while at < len(rows):
        length, turns = _turn(events, at)
        shown, end, times = rows[at : at + length], at + length * turns, f"x {turns}"
        if not (at and _is_request(events[at - 1])):
            asked = _requests(rows, at)
            if asked is not None and asked[1] > end:
                shown, end = asked
                times = f"x {end - at} in all, in some order"
        folded += shown
        if end - at > len(shown):
            what = "the row above" if len(shown) == 1 else f"the {len(shown)} rows above"
            gap = ChartEvent("gap", CLIENTS, f"{what} {times}{_span(rows[at:end])}")
            folded.append(_Row(gap, rows[at].at_s, rows[end - 1].end_s))
        at = end
    return folded


def _turn(events: Sequence[ChartEvent], at: int) -> tuple[int, int]:
    """Of how many rows the turn is that begins there, and how often it is taken: (1, 1) for no turn."""
    best = (1, 1)
    for turn in range(1, _TURN_MAX + 1):
        end = at + turn
        while end < len(events) and events[end] == events[end - turn]:
            end += 1
        turns = (end - at) // turn
        if turns >= _TIMES_MIN and turn * turns > best[0] * best[1]:
            best = (turn, turns)
    return best


def _requests(rows: Sequence[_Row], at: int) -> tuple[Sequence[_Row], int] | None:
    """Requests of clients that try again, each at its own times: the first of each, and where they end."""
    end = at
    while end < len(rows) and _is_request(rows[end].event):
        end += 1
    firsts: dict[ChartEvent, _Row] = {}
    for row in rows[at:end]:
        firsts.setdefault(row.event, row)
    return (list(firsts.values()), end) if firsts and end - at >= _TIMES_MIN * len(firsts) else None


def _is_request(event: ChartEvent) -> bool:
    return event.kind == "arrow" and event.lane == CLIENTS


def _span(rows: Sequence[_Row]) -> str:
    """`, from 2.1 s to 90 s`; nothing where there is no time."""
    begin, end = rows[0].at_s, rows[-1].end_s
    return "" if begin is None or end is None else f", from {_seconds(begin)} to {_seconds(end)}"


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 100 else f"{value:.3g} s"


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
    elif record.action == "request":
        asked = asked_in(record)
        if asked is not None:
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
            events.append(ChartEvent("decide", lane, _decided(mark, payload)))
    return events


def _decided(mark: object, payload: bytes) -> str:
    if isinstance(mark, bytes):
        return f"decides {quoted(mark)} = {_value(payload)}"
    try:
        batch = read_batch(Command(NOP.request, NOTHING, payload))
    except NodeStopped:
        return f"applies {mark} = {_value(payload)}"
    words = [str(words_of(body) or "...") for run in batch.runs for body in run.bodies] if batch else []
    what = ", ".join(words) or ("nothing" if batch is None else batch.kind.name.lower())
    return f"applies {mark}: {what}"


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
    room = high - low - 6  # so that the tip stays
    label = text if len(text) <= room else f"{text[: max(room - 1, 1)]}…"
    _put(row, low + 3 if begin < end else high - 3 - len(label), f" {label} "[: room + 2])


def _put(row: list[str], at: int, text: str) -> None:
    row[at : at + len(text)] = text
