"""A closed world of parts and messages: what can happen next, and what comes of it.

Which parts there are, to whom messages go and what they mean others say.  Here it is only worked out, from a
state, which states can follow.

**A state is one int**, to be quick and small.  Its low bits hold, for each part of the world, the number of
the standing that the part has; the higher ones are facts (see `paxos.basic.scope_facts`).  The first time a
part meets a message in a standing its role is copied and its handler called; what comes of it is kept as the
bits that change, and the next time applied as such.  Numbers and bits are given out as they come up, so they
mean nothing outside of the world that gave them; states are exact, and no two different ones look alike.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from paxos.basic.scope_facts import FULL, WIDTH, Fact, Facts, Flying, Sent, Submitted
from paxos.basic.scope_parts import Move, Part
from paxos.errors import ConfigurationError

__all__ = ["World", "world_bits"]

#: Is told of a part, the number of a standing that it never had, and the standing.
_OnStanding: TypeAlias = Callable[[int, int, Any], None]


def world_bits(parts: Sequence[Part]) -> int:
    """The bits of a state below those of the facts."""
    return len(parts) * WIDTH + 1


class _Effect(NamedTuple):
    """What an action does to a state: needs this bit, flips these, then sets those."""

    need: int
    flip: int
    add: int
    what: str


class _Standing:
    """A standing of a part: what came of the facts that it has met."""

    __slots__ = ("effects", "met", "value")

    def __init__(self, value: Any) -> None:
        self.value: Any = value
        self.met: int = 0
        self.effects: list[_Effect] = []


class _Seat:
    """A part's place in the state: its bits, its standings, and the facts that it can take in."""

    __slots__ = ("inbox", "numbers", "part", "shift", "standings")

    def __init__(self, part: Part, shift: int) -> None:
        self.part: Part = part
        self.shift: int = shift
        self.inbox: int = 0
        self.numbers: dict[Any, int] = {}
        self.standings: list[_Standing] = []


class World:
    """Knows how states follow each other.

    Args:
        parts: everything that has a standing in a state, in order.
        facts: gives out bits, from `world_bits(parts)` on.
        audience: to which parts a message goes.
        on_standing: is told of each new standing.
        faults: of "loss" and "duplication" what can happen.
        in_flight: how many copies of messages can be under way at once; 0 where messages stay deliverable.
        unsent: a class of messages that need not be remembered when they left.
        delivers_unsent: whether these are delivered.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        facts: Facts,
        audience: Callable[[Any], Sequence[int]],
        on_standing: _OnStanding,
        *,
        faults: frozenset[str],
        in_flight: int,
        unsent: type,
        delivers_unsent: bool,
    ) -> None:
        self.parts: tuple[Part, ...] = tuple(parts)
        self._facts = facts
        self._audience = audience
        self._on_standing = on_standing
        self._faults = faults
        self._in_flight = in_flight
        self._unsent = unsent
        self._delivers_unsent = delivers_unsent
        self._seats = [_Seat(part, number * WIDTH) for number, part in enumerate(self.parts)]
        #: Set in every state: what actions without a message need.
        self._always = 1 << (len(self.parts) * WIDTH)

    def begin(self, standings: Iterable[Any], facts: Iterable[Fact]) -> int:
        """The state in which the parts stand so and these facts hold."""
        state = self._always
        for number, standing in enumerate(standings):
            state |= self._number(number, standing) << self._seats[number].shift
        for fact in facts:
            state |= self._bit(fact)
        return state

    def standing(self, part: int, state: int) -> Any:
        """How a part stands."""
        seat = self._seats[part]
        return seat.standings[(state >> seat.shift) & FULL].value

    def successors(self, state: int) -> list[tuple[str, int]]:
        """Each action that changes something: in words, and the state that it leads to."""
        found: list[tuple[str, int]] = []
        room = self._in_flight
        for number, seat in enumerate(self._seats):
            standing = seat.standings[(state >> seat.shift) & FULL]
            unmet = state & seat.inbox & ~standing.met
            if unmet:
                self._meet(number, standing, unmet)
            flying = self._facts.flying  # now that all there can be from here is known
            for need, flip, add, what in standing.effects:
                if state & need:
                    after = (state ^ flip) | add
                    if after != state and (not flying or (after & flying).bit_count() <= room):
                        found.append((what, after))
        return found

    def _number(self, part: int, value: Any) -> int:
        """The number of a standing; of a new one the actions without a message are worked out."""
        seat = self._seats[part]
        key = seat.part.key(value)
        number = seat.numbers.get(key)
        if number is not None:
            return number
        number = seat.numbers[key] = len(seat.standings)
        if number > FULL:
            raise ConfigurationError(f"{seat.part.name} stands in more than {FULL:,} ways: too large a scope")
        standing = _Standing(value)
        seat.standings.append(standing)
        self._on_standing(part, number, value)
        for move in seat.part.on_its_own(value):
            flip, add = self._apply(part, number, move)
            standing.effects.append(_Effect(self._always, flip, add, move.what))
        return number

    def _apply(self, part: int, number: int, move: Move) -> tuple[int, int]:
        """The bits that a move flips, and those that it sets."""
        flip = (number ^ self._number(part, move.standing)) << self._seats[part].shift
        add = 0 if move.submits is None else self._bit(Submitted(move.submits))
        for message in move.sends:
            kind = message.__class__
            if kind is self._unsent and not self._delivers_unsent:
                continue
            if kind is not self._unsent or not self._in_flight:
                add |= self._bit(Sent(part, kind, message))
            if self._in_flight:
                for to in self._audience(message):
                    add |= self._bit(Flying(part, kind, message, to))
        return flip, add

    def _bit(self, fact: Fact) -> int:
        bit, new = self._facts.bit(fact)
        if new:
            if isinstance(fact, Flying):
                self._seats[fact.to].inbox |= bit
            elif isinstance(fact, Sent) and not self._in_flight:
                for to in self._audience(fact.message):
                    self._seats[to].inbox |= bit
        return bit

    def _meet(self, part: int, standing: _Standing, unmet: int) -> None:
        """Call the part's handler on every message that it meets in this standing for the first time."""
        seat = self._seats[part]
        number = seat.numbers[seat.part.key(standing.value)]
        standing.met |= unmet
        for bit, fact in self._facts.of(unmet):
            sender = self._seats[fact.part].part.node
            move = seat.part.on_message(standing.value, sender, fact.message)
            flip, add = (0, 0) if move is None else self._apply(part, number, move)
            what = "" if move is None else move.what
            if not self._in_flight:
                if flip or add & ~bit:
                    standing.effects.append(_Effect(bit, flip, add, what))
                continue
            standing.effects.append(
                _Effect(bit, flip ^ bit, add, what or f"{seat.part.name} ignores a message")
            )
            if "duplication" in self._faults and (flip or add):
                standing.effects.append(_Effect(bit, flip, add, f"{what}; another copy is still under way"))
            if "loss" in self._faults and (flip or add):
                lost = f"{seat.part.say(fact.message)} to {seat.part.name} is lost"
                standing.effects.append(_Effect(bit, bit, 0, lost))
