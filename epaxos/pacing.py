"""Pacing: new own commands are held back while what they conflict with can not be carried out.

Where commands that conflict come faster than one is carried out, each can be before one that came later: it
meets that at some other replica, and that meets one still later.  Then all of them are one strongly connected
component, and none is carried out before the last is decided; which is never, as long as they come.  That is
the livelock of EPaxos, and no message is lost in it.

Such a chain ends when for a while nobody adds to it.  So an own command that was decided and has waited
for its execution for longer than that took, is *overdue*, and what conflicts with it is held back.  That
could not be carried out before it anyway.  The other owners do the same, since their commands hang on that
chain too; so the chain is decided to its end, everything on it is carried out, and what was held back goes on
its way, as much as there is.  No clock is compared with another's, and nothing follows from this
but when a command is proposed.

What conflicts with something held back is held back too, so that commands of one replica keep their order.
Barriers are never: they are few, and everything conflicts with them.

Source: Moraru et al., SOSP 2013, section 4.3.2 (the livelock, and that giving older commands priority ends
it); Tollman, Park and Ousterhout, NSDI 2021, on how much it costs. The remedy is ours.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Self

from epaxos.conflicts import ConflictIndex
from epaxos.instances import footprint_of
from paxos.command import Command, is_marker

__all__ = ["Held", "Pacing"]

#: An own command is overdue when it has waited for its execution for so many times as long as for its
#: commit, and for so long at least, seconds: another owner may only be farther away than this one.
_TIMES: Final = 1.0
_LEAST_S: Final = 0.02


class Held(NamedTuple):
    """A command that is held back.

    Args:
        command: which.
        value: the same as bytes.
    """

    command: Command
    value: bytes


class Pacing:
    """What one replica holds back, and because of what.

    Args:
        own: its commands that are not executed, by number, with their values; the proposer's.

    Attributes:
        held: what is held back, oldest first.
        eased: whether something overdue was executed since `released`.
    """

    __slots__ = ("_decided", "_index", "_overdue", "_own", "eased", "held")

    def __init__(self, own: Mapping[int, tuple[Command, bytes]]) -> None:
        self._own = own
        self.held: deque[Held] = deque()
        self.eased: bool = False
        # Own commands that were decided: when they are overdue, and their numbers. Some are executed.
        self._decided: deque[tuple[float, int]] = deque()
        # Those that are overdue.
        self._overdue: set[int] = set()
        # What new commands may not conflict with: what is overdue, and what is held back; None for nothing.
        self._index: ConflictIndex | None = None

    def decided(self, number: int, took_s: float, now_s: float) -> None:
        """An own command was decided, so long after it was proposed."""
        own, decided = self._own, self._decided
        while decided and decided[0][1] not in own:
            decided.popleft()
        decided.append((now_s + max(_TIMES * took_s, _LEAST_S), number))

    def ended(self, number: int) -> None:
        """An own command was executed, or is gone."""
        if number in self._overdue:
            self._overdue.discard(number)
            self.eased = True

    def must_wait(self, command: Command, now_s: float) -> bool:
        """Whether a new command is to be held back."""
        decided = self._decided
        while decided and (decided[0][1] not in self._own or decided[0][0] <= now_s):
            _, number = decided.popleft()
            late = self._own.get(number)
            if late is not None and not is_marker(late[0]):
                self._overdue.add(number)
                self._mind(late[0])
        return self._index is not None and not is_marker(command) and self._conflicts(command)

    def hold(self, command: Command, value: bytes) -> None:
        """Hold a command back."""
        self.held.append(Held(command, value))
        self._mind(command)

    def release(self) -> Iterator[Held]:
        """What is to be held back no longer, in order, after something overdue was executed."""
        self.eased = False
        self._index = None
        for number in sorted(self._overdue):
            self._mind(self._own[number][0])
        held, self.held = self.held, deque()
        for each in held:
            if self._index is not None and self._conflicts(each.command):
                self.hold(*each)
            else:
                yield each

    def _mind(self, command: Command) -> None:
        if self._index is None:
            self._index = ConflictIndex(1)
        self._index.add(0, 1, footprint_of(command))

    def _conflicts(self, command: Command) -> bool:
        return self._index is not None and self._index.conflicts(footprint_of(command)) != (0,)

    # --- copies ------------------------------------------------------------------------------------

    def clone(self, own: Mapping[int, tuple[Command, bytes]]) -> Self:
        """An independent copy, with a copy of the own commands."""
        other = type(self)(own)
        other.held, other.eased = deque(self.held), self.eased
        other._decided, other._overdue = deque(self._decided), set(self._overdue)
        other._index = None if self._index is None else self._index.clone()
        return other

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for those that behave alike; times left out."""
        return (
            tuple(each.value for each in self.held),
            self.eased,
            tuple(number for _, number in self._decided if number in self._own),
            tuple(sorted(self._overdue)),
            None if self._index is None else self._index.fingerprint(),
        )
