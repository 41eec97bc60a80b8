"""How long own commands take: one is timed at a time, from when it is proposed until it is carried out.

It is for people, and for how long others may wait to hear of a decision (`EPaxosSettings.commit_delay_s`):
what is short beside a commit disturbs nobody. It costs a comparison for each command.
"""

from collections import deque
from statistics import median
from typing import Final, Self

__all__ = ["Timings"]

#: So many of the last that were timed count.
_LAST: Final = 7


class Timings:
    """The times of one replica's commands."""

    __slots__ = ("_committed_s", "_last", "_proposed_at_s", "commit_s", "number")

    def __init__(self) -> None:
        #: The instance that is timed, by its number; 0 for none.
        self.number: int = 0
        #: What the last one took until its commit, seconds.
        self.commit_s: float = 0.0
        self._proposed_at_s = 0.0
        self._committed_s: float | None = None
        # Seconds until commit, and until execution.
        self._last: deque[tuple[float, float]] = deque(maxlen=_LAST)

    def begin(self, number: int, now_s: float) -> None:
        """An own instance is proposed, and none is timed."""
        self.number, self._proposed_at_s, self._committed_s = number, now_s, None

    def committed(self, now_s: float) -> None:
        """The one that is timed is committed."""
        self._committed_s = self.commit_s = now_s - self._proposed_at_s

    def executed(self, now_s: float) -> None:
        """The one that is timed was carried out."""
        if self._committed_s is not None:
            self._last.append((self._committed_s, now_s - self._proposed_at_s))
        self.number = 0

    def give_up(self) -> None:
        """The one that is timed will not be carried out."""
        self.number = 0

    def status(self) -> dict[str, object]:
        """Medians of the last few, milliseconds; nothing while none was timed."""
        if not self._last:
            return {}
        committed, executed = zip(*self._last, strict=True)
        return {"commit": round(1000 * median(committed), 3), "execute": round(1000 * median(executed), 3)}

    def clone(self) -> Self:
        """An independent copy."""
        other = type(self)()
        other.number, other._proposed_at_s = self.number, self._proposed_at_s
        other.commit_s = self.commit_s
        other._committed_s, other._last = self._committed_s, deque(self._last, maxlen=_LAST)
        return other
