"""What judges a run: histories checked, schedules searched, failures made small.

The names resolve when they are first used, so that checking a history loads no simulator.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from paxos.check.chart import Chart, ChartEvent, chart_of, text_chart
    from paxos.check.chart_svg import svg_chart
    from paxos.check.explore import Exploration, Finding, Lost
    from paxos.check.history import (
        HistoryError,
        HistoryWriter,
        Operation,
        history_of,
        read_history,
        write_history,
    )
    from paxos.check.linearize import Verdict, check_linearizable
    from paxos.check.minimise import Minimised
    from paxos.check.models import Decree, KeyValue, Log, Model, Register, find_model
    from paxos.check.sample import sample_history
    from paxos.check.scenario import Played, Scenario, load_scenario
    from paxos.check.walk import Walk
    from paxos.check.window import HistoryViolation

#: Which room each name is in.
_ROOMS: Final = {
    "paxos.check.chart": (
        "Chart",
        "ChartEvent",
        "chart_of",
        "text_chart",
    ),
    "paxos.check.chart_svg": ("svg_chart",),
    "paxos.check.explore": (
        "Exploration",
        "Finding",
        "Lost",
    ),
    "paxos.check.minimise": ("Minimised",),
    "paxos.check.scenario": (
        "Played",
        "Scenario",
        "load_scenario",
    ),
    "paxos.check.walk": ("Walk",),
    "paxos.check.history": (
        "HistoryError",
        "HistoryWriter",
        "Operation",
        "history_of",
        "read_history",
        "write_history",
    ),
    "paxos.check.linearize": ("Verdict", "check_linearizable"),
    "paxos.check.models": ("Decree", "KeyValue", "Log", "Model", "Register", "find_model"),
    "paxos.check.sample": ("sample_history",),
    "paxos.check.window": ("HistoryViolation",),
}
_HOME: Final = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Chart",
    "ChartEvent",
    "Decree",
    "Exploration",
    "Finding",
    "HistoryError",
    "HistoryViolation",
    "HistoryWriter",
    "KeyValue",
    "Log",
    "Lost",
    "Minimised",
    "Model",
    "Operation",
    "Played",
    "Register",
    "Scenario",
    "Verdict",
    "Walk",
    "chart_of",
    "check_linearizable",
    "find_model",
    "history_of",
    "load_scenario",
    "read_history",
    "sample_history",
    "svg_chart",
    "text_chart",
    "write_history",
]


def __getattr__(name: str) -> Any:
    room = _HOME.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
