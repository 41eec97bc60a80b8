"""Delta debugging: the least of a list that still does what the whole list does.

Source: Zeller, Hildebrandt, *Simplifying and Isolating Failure-Inducing Input* (2002).  Chunks are taken
out, large ones first, until no single item can be.  What is left after a success may be shorter still than
what was asked for, because whoever judges may say which items had no effect.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["ddmin"]

T = TypeVar("T")


def ddmin(items: Sequence[T], keeps: Callable[[Sequence[T]], Sequence[T] | None]) -> list[T]:
    """The items that are left when no single one can be taken out.

    Args:
        items: to begin with; they are taken to do what they should.
        keeps: whether some of them still do: those of them that matter, or None. It may refuse everything
            when its patience is at an end, which ends the search.
    """
    left = list(items)
    size = max(len(left) // 2, 1)
    while left:
        shrunk = False
        end = len(left)
        # From the end: what comes late depends on what came before, seldom the other way round.
        while end > 0:
            begin = max(end - size, 0)
            found = keeps(left[:begin] + left[end:])
            if found is None:
                end = begin
                continue
            shrunk = True
            left = list(found)
            end = min(begin, len(left))
        if size == 1 and not shrunk:
            break
        size = max(size // 2, 1) if not shrunk or size > 1 else 1
    return left
