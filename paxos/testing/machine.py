"""A protocol as a Hypothesis state machine: rules for all that can happen, invariants after every step.

One line makes the tests of a protocol:

    TestMine = ProtocolStateMachine.of("my.module:protocol").TestCase

or, to say more, a subclass:

    class Mine(ProtocolStateMachine):
        protocol = "my.module:protocol"
        nodes = 5

    TestMine = Mine.TestCase

The rules are those of `paxos.sim.stepper.Stepper`: clients ask, messages arrive in any order, twice or never,
disks sync, nodes are woken, crash with all, some or none of what was not synced, and start again.  Every step
is shown to the protocol's own invariants.  When an example ends, all is healed, and whoever waits must be
answered; what clients were told is checked too.

A failure shows the moves, one a line.  They are a script: `ProtocolStateMachine.play` makes them again, which
is how a story becomes a regression test.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from paxos.check.scenario import protocol_named
from paxos.contract import Decides, ProtocolDescription
from paxos.errors import ConfigurationError
from paxos.sim import Violation
from paxos.sim.moves import Asked, Move
from paxos.sim.stepper import Stepper

__all__ = ["ProtocolStateMachine"]

_Rule = TypeVar("_Rule", bound=Callable[..., Any])

#: Which of the things that can happen: mostly the oldest.
_WHICH: Final = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 40))
#: Moves that must be enough for everyone to be answered once all is healed.
_SETTLE_MOVES: Final = 600
_RUSH: Final = st.integers(1, 20)
_ANY: Final = st.integers(0, 8)


def _has(kind: str) -> Callable[[_Rule], _Rule]:
    """A rule that is for times when such a move can be made."""
    decorate: Callable[[_Rule], _Rule] = precondition(lambda self: bool(self._enabled(kind)))
    return decorate


class ProtocolStateMachine(RuleBasedStateMachine):
    """Tries one protocol. A subclass names it; `.TestCase` is what pytest and unittest collect.

    Attributes:
        protocol: its name, as `paxos.contract.find_protocol` takes it, or its description.
        nodes: how many.
        names: the decrees that clients ask about; one, so that they meet.
        values: what they propose.
        eager: disks sync at once, so that nobody needs to; a crash then loses nothing.
        settings_of_protocol: the protocol's own settings; None for its defaults.
    """

    protocol: ClassVar[str | ProtocolDescription] = "paxos"
    nodes: ClassVar[int] = 3
    names: ClassVar[Sequence[bytes]] = (b"d",)
    values: ClassVar[Sequence[bytes]] = (b"a", b"b", b"c")
    eager: ClassVar[bool] = False
    settings_of_protocol: ClassVar[Any] = None

    def __init__(self) -> None:
        super().__init__()
        kind = type(self)
        self.stepper: Stepper = Stepper(
            _description(kind.protocol), kind.nodes, settings=kind.settings_of_protocol, eager=kind.eager
        )
        #: The moves so far, as a script for `play`.
        self.lines: list[str] = []
        # What can happen next, by kind, and after how many moves.
        self._found: tuple[int, dict[str, list[Move]]] = (-1, {})

    @classmethod
    def of(
        cls,
        protocol: str | ProtocolDescription,
        *,
        nodes: int = 3,
        eager: bool = False,
        settings: Any = None,
    ) -> "type[ProtocolStateMachine]":
        """A state machine for this protocol; for the arguments see the attributes.

        Raises:
            ConfigurationError: there is no such protocol, or it is not one that decides decrees.
        """
        found = _description(protocol)
        name = f"{found.name.title().replace('-', '').replace('_', '')}StateMachine"
        body = {"protocol": protocol, "nodes": nodes, "eager": eager, "settings_of_protocol": settings}
        return type(name, (cls,), {**body, "__doc__": f"Tries {found.name}.", "__module__": cls.__module__})

    @staticmethod
    def play(
        protocol: str | ProtocolDescription,
        lines: Iterable[str],
        *,
        nodes: int = 3,
        eager: bool = False,
        settings: Any = None,
        strict: bool = True,
    ) -> Stepper:
        """Make the moves of a script, one a line, and look at what clients were told.

        Args:
            protocol: its name or description.
            lines: the moves, as `paxos.sim.moves` describes them; empty lines are left out.
            nodes, eager, settings: as in `of`.
            strict: every move must be possible. Without, one that is not is left out: so it is when a
                mistake was mended that a script had led to.

        Returns:
            The cluster after the last move.

        Raises:
            AssertionError: something broke, or a move could not be made.
            ConfigurationError: a line says no move.
        """
        stepper = Stepper(_description(protocol), nodes, eager=eager, settings=settings)
        script = [line.strip() for line in lines if line.strip()]
        for number, line in enumerate(script, 1):
            if not stepper.do(line) and strict:
                raise AssertionError(f"line {number}, {line!r}, can not be made: {_possible(stepper)}")
            _require_sound(stepper, script[:number])
        stepper.judge()
        _require_sound(stepper, script)
        return stepper

    # ---- rules

    @precondition(lambda self: bool(self.stepper.up()))
    @rule(which=_ANY, name=_WHICH, value=_ANY)
    def submit(self, which: int, name: int, value: int) -> None:
        """A client wants a decree decided."""
        kind = type(self)
        asked = Asked("decide", kind.names[name % len(kind.names)], kind.values[value % len(kind.values)])
        self._ask(which, asked)

    @precondition(lambda self: bool(self.stepper.up()))
    @rule(which=_ANY, name=_WHICH)
    def read(self, which: int, name: int) -> None:
        """A client asks what is decided."""
        names = type(self).names
        self._ask(which, Asked("decided", names[name % len(names)], None))

    @_has("deliver")
    @rule(which=_WHICH)
    def deliver(self, which: int) -> None:
        """A message arrives."""
        self._move(which, "deliver")

    @precondition(lambda self: bool(self._enabled("deliver") or self._enabled("sync")))
    @rule(most=_RUSH)
    def rush(self, most: int) -> None:
        """For a while all goes well: messages arrive and disks sync, the oldest first."""
        for _ in range(most):
            moves = self._enabled("deliver", "sync")
            if moves:
                self._make(moves[0])

    @_has("sync")
    @rule(which=_WHICH)
    def sync(self, which: int) -> None:
        """A disk is done."""
        self._move(which, "sync")

    @_has("tick")
    @rule(which=_WHICH)
    def tick(self, which: int) -> None:
        """Time goes on to when a node wants to be woken."""
        self._move(which, "tick")

    @_has("duplicate")
    @rule(which=_WHICH)
    def duplicate(self, which: int) -> None:
        """Another copy of a message is in flight."""
        self._move(which, "duplicate")

    @_has("drop")
    @rule(which=_WHICH)
    def drop(self, which: int) -> None:
        """A message is lost."""
        self._move(which, "drop")

    @_has("crash")
    @rule(which=_WHICH)
    def crash(self, which: int) -> None:
        """A node is gone, with none, some or all of what its disk had not synced."""
        self._move(which, "crash")

    @_has("restart")
    @rule(which=_WHICH)
    def restart(self, which: int) -> None:
        """A node starts again from its disk."""
        self._move(which, "restart")

    def teardown(self) -> None:
        """All is healed: whoever waits must be answered, and what clients were told must agree."""
        stepper = self.stepper
        if stepper.over:
            return
        waiting = stepper.heal(_SETTLE_MOVES)
        if waiting and not stepper.over:
            sentence = (
                f"everything works again, every message arrived, and who had no answer asked again, but "
                f"{len(waiting)} clients have none after {_SETTLE_MOVES} moves: {', '.join(waiting[:5])}"
            )
            stepper.violations.append(Violation("Liveness", sentence, stepper.steps))
        stepper.judge()
        _require_sound(stepper, [*self.lines, "(from here on all is healed and arrives in order)"])

    # ---- inside

    def _enabled(self, *kinds: str) -> list[Move]:
        # Every rule asks after every step whether it is its turn.
        number, moves = self._found
        if number != len(self.lines):
            moves = {}
            for move in self.stepper.enabled():
                moves.setdefault(move.kind, []).append(move)
            self._found = len(self.lines), moves
        if len(kinds) == 1:
            return moves.get(kinds[0], [])
        return [move for move in self.stepper.enabled(faults=False) if move.kind in kinds]

    def _ask(self, which: int, asked: Asked) -> None:
        up = self.stepper.up()
        self._make(Move("submit", up[which % len(up)], asked=asked))

    def _move(self, which: int, kind: str) -> None:
        moves = self._enabled(kind)
        self._make(moves[which % len(moves)])

    def _make(self, move: Move) -> None:
        self.lines.append(str(move))
        self.stepper.do(move)
        _require_sound(self.stepper, self.lines)


def _description(protocol: str | ProtocolDescription) -> ProtocolDescription:
    found = protocol_named(protocol) if isinstance(protocol, str) else protocol
    if not isinstance(found, ProtocolDescription):
        raise ConfigurationError(
            f"protocol: expected a name or a paxos.contract.ProtocolDescription, got {protocol!r:.60}"
        )
    if found.decides is not Decides.DECREES:
        raise ConfigurationError(
            f"protocol {found.name!r} decides a log; the directed simulator knows requests for decrees only"
        )
    return found


def _require_sound(stepper: Stepper, lines: Sequence[str]) -> None:
    if stepper.violations:
        moves = "\n".join(f"    {line}" for line in lines)
        raise AssertionError(f"{stepper.violations[0]}\nafter these moves:\n{moves}")


def _possible(stepper: Stepper) -> str:
    moves = [str(move) for move in stepper.enabled(faults=False)]
    return f"possible are {', '.join(moves[:8])}" if moves else "nothing is in flight and nobody waits"
