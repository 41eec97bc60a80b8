"""A run's trace as a picture in text: time runs down, every node has a column.

        0.106200 s  .                     request d5 >1,3       .
        0.106300 s  Prepare d5 <2         |                     |

In a column stands what the node did, from whom it heard (`<2`) and to whom it spoke (`>1,3`); `|` is a node
that is up meanwhile, nothing one that is down.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from paxos.ballot import NodeId

__all__ = ["timeline"]

_WIDTH: Final = 30
_NAME_LIMIT: Final = 12
_SHOUTED: Final = frozenset({"crash", "restart", "wipe"})


def timeline(trace: bytes, nodes: Sequence[NodeId]) -> Iterator[str]:
    """The lines of the picture.

    Args:
        trace: of a run, one JSON object a line.
        nodes: the columns, in order.
    """
    width = max(14, min(_WIDTH, 150 // max(len(nodes), 1)))
    yield " " * 15 + "".join(f"node {node}".ljust(width) for node in nodes).rstrip()
    up = dict.fromkeys(nodes, True)
    for text in trace.decode().splitlines():
        step = json.loads(text)
        action, node = step["action"], step.get("node")
        at = f"{step['at_ns'] / 1e9:11.6f} s "
        if node is None:
            yield f"{at} ---- {step.get('what', action)}"
            continue
        words = _words(step)
        if action in ("start", "restart"):
            up[node] = True
        if words:
            cells = (words if each == node else "|" if up.get(each) else "" for each in nodes)
            yield (f"{at} " + "".join(cell[: width - 1].ljust(width) for cell in cells)).rstrip()
        if action in ("crash", "wipe", "stopped"):
            up[node] = False


def _words(step: Mapping[str, Any]) -> str:
    """What a node did, in a few words; nothing for a step that is only bookkeeping."""
    action, message = step["action"], step.get("message")
    words = [action.upper() if action in _SHOUTED else action]
    if action == "receive" and message is not None:
        words = [message["type"]]
        decree = message.get("decree")
        if isinstance(decree, str) and decree:
            words.append(decree[:_NAME_LIMIT])
        if isinstance(message.get("slot"), int):
            words.append(str(message["slot"]))
    if action == "request" and message is not None and "asked" in message:
        words.append(message["asked"][:_NAME_LIMIT])
    if step.get("sender") is not None:
        words.append(f"<{step['sender']}")
    spoken = sorted({to for to, _ in step.get("sends", ()) if to != step["node"]})
    if spoken:
        words.append(f">{','.join(map(str, spoken))}")
    for mark, _ in step.get("applies", ()):
        words.append(f"={str(mark)[:_NAME_LIMIT]}")
    return "" if words in (["durable"], ["tick"]) else " ".join(words)
