"""What simulated clients ask the key-value machine: words for people, and bytes for the machine.

An operation is a kind, a key, a value and, for a cas, what it expects; an answer is what a history file
holds: nothing, a value, yes or no, a number, pairs.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from paxos.errors import ConfigurationError
from paxos.service import keyvalue_answers as answers
from paxos.service import keyvalue_requests as requests

__all__ = ["COMMANDS", "body_of", "meaning_of"]

#: Kinds that are commands of the log. The others are queries.
COMMANDS: Final = frozenset({"put", "get", "delete", "cas", "increment", "scan"})

_SCAN_LIMIT: Final = 10_000


def body_of(kind: str, name: Any, value: Any = None, old: bytes | None = None) -> bytes:
    """The request of an operation.

    Args:
        kind, name, value, old: as `paxos.sim.Operation` has them.

    Raises:
        ConfigurationError: there is no such operation, or the machine's limits forbid it.
    """
    if kind == "put":
        return requests.put(name, value)
    if kind in ("get", "read", "stale"):
        return requests.get(name)
    if kind == "delete":
        return requests.delete(name)
    if kind == "cas":
        return requests.cas(name, old, value)
    if kind == "increment":
        return requests.increment(name, value)
    if kind in ("scan", "look"):
        return requests.scan(name[0], name[1], _SCAN_LIMIT)
    raise ConfigurationError(f"{kind!r:.40} is no operation of the key-value machine")


_MEANINGS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "put": answers.stored,
    "get": answers.got,
    "read": answers.got,
    "stale": answers.got,
    "delete": answers.deleted,
    "cas": answers.swapped,
    "increment": answers.incremented,
    "scan": lambda answer: answers.scanned(answer).items,
    "look": lambda answer: answers.scanned(answer).items,
}


def meaning_of(kind: str, answer: bytes) -> Any:
    """What an answer says.

    Raises:
        Rejected: the machine refused the operation, and nothing changed.
        WireError: it is no answer to such an operation.
    """
    return _MEANINGS[kind](answer)
