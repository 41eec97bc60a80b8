"""A counterexample of TLC as a message-sequence chart, the same that a minimised scenario is shown as.

TLC gives states, not messages.  Which message a step took in is found from what the step changed: a promise
that was gathered came from its acceptor, a question that was answered came from the node that put it.  What
can not be told from that is a note in its node's lane.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from paxos.check.chart import CLIENTS, Chart, ChartEvent
from paxos.check.spec import steps_of
from paxos.check.tlaplus import Function, show
from paxos.check.tlc import State

__all__ = ["chart_of_counterexample"]

#: Actions that answer a question, and the question.
_ANSWERS: Final[Mapping[str, str]] = {"Phase1b": "1a", "Phase2b": "2a"}
#: Actions that put a question.
_ASKS: Final = ("Phase1a", "Phase2a")


def chart_of_counterexample(states: Sequence[State], *, title: str = "", broken: str = "") -> Chart:
    """The chart of a counterexample.

    Args:
        states: of the counterexample, the initial one first.
        title: above it.
        broken: what it breaks, below it.
    """
    nodes = _nodes(states[0]) if states else ()
    events: list[ChartEvent] = []
    asked: dict[tuple[str, str], str] = {}
    for (action, arguments), before, after in zip(steps_of(states), states[:-1], states[1:], strict=True):
        node = arguments["node"] or _sole_asker(action, before, after)
        if node is None:
            events.append(ChartEvent("note", CLIENTS, " ".join([action, *_news(arguments)])))
            continue
        if action in _ASKS:
            for message in _sent(before, after):
                asked[message["type"], str(message["bal"])] = node
        events.append(_event(action, node, arguments, before, after, asked))
    return Chart((CLIENTS, *nodes), tuple(events), title, broken)


def _nodes(state: State) -> tuple[str, ...]:
    for value in state.values.values():
        if isinstance(value, Function) and not value.record:
            return tuple(sorted(map(str, value)))
    return ()


def _sent(before: State, after: State) -> list[Any]:
    new = after.values.get("msgs", frozenset()) - before.values.get("msgs", frozenset())
    return [message for message in new if isinstance(message, Function) and "type" in message]


def _sole_asker(action: str, before: State, after: State) -> str | None:
    """An answer that only leaves, as a step of its own, is its acceptor's."""
    accs = {str(message["acc"]) for message in _sent(before, after) if "acc" in message}
    return accs.pop() if len(accs) == 1 else None


def _news(arguments: Mapping[str, Any]) -> list[str]:
    return [*arguments["sent"], *(what.removeprefix("+ ") for _, what in arguments["changes"])][:1]


def _event(
    action: str,
    node: str,
    arguments: Mapping[str, Any],
    before: State,
    after: State,
    asked: Mapping[tuple[str, str], str],
) -> ChartEvent:
    if "mem" not in after.values:  # not the module that has an action for each handler
        return ChartEvent("note", node, " ".join([action, *_news(arguments)]))
    if action in ("CountPromise", "CountVote"):
        sender = _counted(action, node, before, after)
        if sender not in (None, node):
            return ChartEvent("arrow", str(sender), "promise" if action == "CountPromise" else "vote", node)
        return ChartEvent("note", node, f"{action}, its own")
    question = _ANSWERS.get(action)
    if question is not None:
        ballot = str(after.values["mem"][_key(after.values["mem"], node)]["bal"])
        asker = asked.get((question, ballot), node)
        text = f"{question} at {ballot}: {action}"
        return ChartEvent("arrow", asker, text, node) if asker != node else ChartEvent("note", node, text)
    if action in ("Learn", "LearnNews"):
        record = after.values["mem"][_key(after.values["mem"], node)]
        return ChartEvent("decide", node, f"{action}: {show(record['chosen'])}")
    if action == "Restart":
        return ChartEvent("restart", node, "crashes and restarts")
    return ChartEvent("note", node, " ".join([action, *arguments["sent"][:1]]))


def _counted(action: str, node: str, before: State, after: State) -> str | None:
    """Whose answer was counted."""
    if action == "CountVote":
        tallies = [state.values["tally"][_key(state.values["tally"], node)] for state in (before, after)]
        new = [str(vote["acc"]) for vote in tallies[1] - tallies[0]]
    else:
        held = [state.values["proposer"][_key(state.values["proposer"], node)] for state in (before, after)]
        new = [str(each) for each in held[1]["got"] - held[0]["got"]]
    return new[0] if len(new) == 1 else None


def _key(function: Mapping[Any, Any], node: str) -> Any:
    return next(key for key in function if str(key) == node)
