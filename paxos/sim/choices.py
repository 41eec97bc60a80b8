"""Choices: the only thing in a simulated run that is not fixed by its inputs.

Whatever could go one way or another (a message lost, a crash, a jitter, a replica's backoff) asks
here, by `draw(name, bound)`, and what it was told is written down.  The list of answers, not the seed,
is what replays a run: it still means the same when the code around it draws once more or once less,
and it can be cut and shortened.

0 is always the boring answer: no fault, no delay beyond the nominal one, the oldest first.  A list that
runs out goes on with zeros, so a shorter list is a quieter run that ends by itself.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final

from paxos.errors import ConfigurationError

__all__ = ["MAX_CHOICES", "Choices"]

#: The longest list that is replayed.
MAX_CHOICES: Final = 50_000_000


class Choices:
    """A source of choices: seeded, or replaying a recorded list.

    Args:
        seed: where the pseudo-random choices start; of no effect beside `replay`.
        replay: the choices to make, each taken modulo its bound; zeros follow when it runs out.

    Raises:
        ConfigurationError: a seed or a choice that is not a whole number, or a choice below 0.
    """

    __slots__ = ("_next", "_random", "_recorded")

    def __init__(self, seed: int = 0, replay: Sequence[int] | None = None) -> None:
        if type(seed) is not int:
            raise ConfigurationError(f"seed: expected a whole number, got {seed!r:.60}")
        self._recorded: list[int] = []
        self._random = random.Random(seed).random
        self._next: Iterator[int] | None = None
        if replay is not None:
            self._next = _checked(replay)

    def draw(self, name: str, bound: int) -> int:
        """A number in 0..bound-1. `name` says what is chosen, for whoever supplies the numbers.

        Raises:
            ConfigurationError: `bound` is below 1.
        """
        if bound <= 1:
            if bound < 1:
                raise ConfigurationError(f"draw {name!r}: a bound of {bound} leaves nothing to choose")
            return 0
        following = self._next
        if following is None:
            value = int(self._random() * bound)
        else:
            value = next(following, 0) % bound
        self._recorded.append(value)
        return value

    def happens(self, name: str, share: float) -> bool:
        """Whether something of probability `share` happens, in steps of a thousandth; 0 says no.

        Nothing is drawn for what never happens.
        """
        parts = round(share * PARTS)
        return parts > 0 and self.draw(name, PARTS) >= PARTS - parts

    @property
    def recorded(self) -> tuple[int, ...]:
        """Every choice made so far, without the zeros at the end: they need no list."""
        recorded = self._recorded
        end = len(recorded)
        while end and not recorded[end - 1]:
            end -= 1
        return tuple(recorded[:end])


#: Probabilities and fractions are drawn in thousandths: whole numbers replay and shrink.
PARTS: Final = 1000


def _checked(replay: Sequence[int]) -> Iterator[int]:
    if isinstance(replay, str | bytes) or not isinstance(replay, Sequence):
        raise ConfigurationError(f"choices: expected a list of whole numbers, got {replay!r:.60}")
    if len(replay) > MAX_CHOICES:
        raise ConfigurationError(f"choices: a list of {len(replay)}; the limit is {MAX_CHOICES}")
    for index, value in enumerate(replay):
        if type(value) is not int or value < 0:
            raise ConfigurationError(
                f"choices[{index}]: expected a whole number from 0 on, got {value!r:.60}"
            )
    return iter(tuple(replay)) if replay else repeat(0)
