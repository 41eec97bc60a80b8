"""What tests of ordered trees share: small nodes, maxima by hand, and a count of what a call costs."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from epaxos import keytree


@contextmanager
def small_nodes() -> Iterator[None]:
    """Trees that split and have levels though they hold few keys."""
    with patch.object(keytree, "FANOUT", 3), patch.object(keytree, "_FILL", 2):
        yield


def maximum(*vectors: Sequence[int]) -> tuple[int, ...]:
    return tuple(max(numbers) for numbers in zip(*vectors, strict=True))


def lines(call: Callable[[], object]) -> int:
    """How many lines of Python `call` runs."""
    count = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
