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

What clients ask follows from what the protocol decides.  Of decrees they want one decided, or ask what is; of
a log they are clients of the key-value machine above it: they write, count, compare and swap, read in the log
and beside it, repeat a request, and go on to the node that they are sent to.

A failure shows the moves, one a line.  They are a script: `ProtocolStateMachine.play` makes them again, which
is how a story becomes a regression test.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from paxos.check.scenario import protocol_named
from paxos.contract import Decides, ProtocolDescription
from paxos.errors import ConfigurationError
from paxos.service import LogSettings
from paxos.sim import Violation
from paxos.sim.moves import Asked, Move
from paxos.sim.result import counted
from paxos.sim.stepper import Stepper

__all__ = ["ProtocolStateMachine"]

_Rule = TypeVar("_Rule", bound=Callable[..., Any])
_Item = TypeVar("_Item")

#: Which of the things that can happen: mostly the oldest.
_WHICH: Final = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 40))
#: Moves that must be enough for everyone to be answered once all is healed. Nodes of a log talk of more than
#: what clients wait for, and may have to find a leader first.
_SETTLE_MOVES: Final = {Decides.DECREES: 600, Decides.LOG: 6000}
#: The line of a script after which nothing goes wrong any more.
_HEALED: Final = "(from here on all is healed and arrives in order)"
#: Commands and queries of a log: the plainest first.
_COMMANDS: Final = ("put", "increment", "cas", "delete", "get")
_QUERIES: Final = ("read", "stale")
_RUSH: Final = st.integers(1, 20)
_ANY: Final = st.integers(0, 8)
_COMMAND: Final = st.sampled_from(_COMMANDS)
_QUERY: Final = st.sampled_from(_QUERIES)


def _has(kind: str) -> Callable[[_Rule], _Rule]:
    """A rule that is for times when such a move can be made."""
    decorate: Callable[[_Rule], _Rule] = precondition(lambda self: bool(self._enabled(kind)))
    return decorate


def _asks(decides: Decides) -> Callable[[_Rule], _Rule]:
    """A rule of clients of such a protocol, for times when a node runs that they can ask."""
    decorate: Callable[[_Rule], _Rule] = precondition(
        lambda self: self.stepper.protocol.decides is decides and bool(self.stepper.up())
    )
    return decorate


class ProtocolStateMachine(RuleBasedStateMachine):
    """Tries one protocol. A subclass names it; `.TestCase` is what pytest and unittest collect.

    Attributes:
        protocol: its name, as `paxos.contract.find_protocol` takes it, or its description.
        nodes: how many.
        names: the decrees, or keys of a log, that clients ask about; one, so that they meet.
        counters: keys of a log that they count at.
        values: what they propose or write.
        eager: disks sync at once, so that nobody needs to; a crash then loses nothing.
        settings_of_protocol: the protocol's own settings; None for its defaults.
        settings_of_log: of the service of a log; None for some that make snapshots often.
    """

    protocol: ClassVar[str | ProtocolDescription] = "paxos"
    nodes: ClassVar[int] = 3
    names: ClassVar[Sequence[bytes]] = (b"d",)
    counters: ClassVar[Sequence[bytes]] = (b"n",)
    values: ClassVar[Sequence[bytes]] = (b"a", b"b", b"c")
    eager: ClassVar[bool] = False
    settings_of_protocol: ClassVar[Any] = None
    settings_of_log: ClassVar[LogSettings | None] = None

    def __init__(self) -> None:
        super().__init__()
        kind = type(self)
        self.stepper: Stepper = Stepper(
            _description(kind.protocol),
            kind.nodes,
            settings=kind.settings_of_protocol,
            eager=kind.eager,
            log=kind.settings_of_log,
        )
        #: The moves so far, as a script for `play`.
        self.lines: list[str] = []
        # What can happen next, by kind, and after how many moves.
        self._found: tuple[int, dict[str, list[Move]]] = (-1, {})
        # How often clients of a log asked with the same words and meant another request.
        self._words: Counter[Asked] = Counter()

    @classmethod
    def of(
        cls,
        protocol: str | ProtocolDescription,
        *,
        nodes: int = 3,
        eager: bool = False,
        settings: Any = None,
        log: LogSettings | None = None,
    ) -> "type[ProtocolStateMachine]":
        """A state machine for this protocol; for the arguments see the attributes.

        Args:
            protocol, nodes, eager: as the attributes.
            settings: `settings_of_protocol`.
            log: `settings_of_log`.

        Raises:
            ConfigurationError: there is no such protocol, or an argument can not work.
        """
        found = _description(protocol)
        name = f"{found.name.title().replace('-', '').replace('_', '')}StateMachine"
        body: dict[str, Any] = {"protocol": protocol, "nodes": nodes, "eager": eager}
        body |= {"settings_of_protocol": settings, "settings_of_log": log}
        # What can not work is said here, and not in every example.
        Stepper(found, nodes, settings=settings, eager=eager, log=log)
        return type(name, (cls,), {**body, "__doc__": f"Tries {found.name}.", "__module__": cls.__module__})

    @staticmethod
    def play(
        protocol: str | ProtocolDescription,
        lines: Iterable[str],
        *,
        nodes: int = 3,
        eager: bool = False,
        settings: Any = None,
        log: LogSettings | None = None,
        strict: bool = True,
    ) -> Stepper:
        """Make the moves of a script, one a line, and look at what clients were told.

        Args:
            protocol: its name or description.
            lines: the moves, as `paxos.sim.moves` describes them; empty lines are left out. What is in
                brackets at the end of a script heals everything, as it was when the script was found.
            nodes, eager, settings, log: as in `of`.
            strict: every move must be possible. Without, one that is not is left out: so it is when a
                mistake was mended that a script had led to.

        Returns:
            The cluster after the last move.

        Raises:
            AssertionError: something broke, or a move could not be made.
            ConfigurationError: a line says no move, or asks what clients of the protocol do not ask.
        """
        stepper = Stepper(_description(protocol), nodes, eager=eager, settings=settings, log=log)
        script = [line.strip() for line in lines if line.strip()]
        for number, line in enumerate(script, 1):
            if line == _HEALED:
                # What was found in the end, when all works again, is found so once more.
                stepper.heal(_SETTLE_MOVES[stepper.protocol.decides])
                continue
            try:
                made = stepper.do(line)
            except ConfigurationError as error:
                raise ConfigurationError(f"line {number}, {line!r:.80}: {error}") from error
            if not made and strict:
                raise AssertionError(f"line {number}, {line!r}, can not be made: {_possible(stepper)}")
            _require_sound(stepper, script[:number])
        stepper.judge()
        _require_sound(stepper, script)
        return stepper

    # ---- rules

    @_asks(Decides.DECREES)
    @rule(which=_ANY, name=_WHICH, value=_ANY)
    def submit(self, which: int, name: int, value: int) -> None:
        """A client wants a decree decided."""
        kind = type(self)
        self._ask(which, Asked("decide", _one(kind.names, name), _one(kind.values, value)))

    @_asks(Decides.DECREES)
    @rule(which=_ANY, name=_WHICH)
    def read(self, which: int, name: int) -> None:
        """A client asks what is decided."""
        self._ask(which, Asked("decided", _one(type(self).names, name), None))

    @_asks(Decides.LOG)
    @rule(which=_ANY, command=_COMMAND, name=_WHICH, value=_ANY, old=_ANY, again=st.booleans())
    def command(self, which: int, command: str, name: int, value: int, old: int, again: bool) -> None:
        """A client wants a command carried out; one that was asked for, if it asks `again`."""
        kind = type(self)
        if command == "increment":
            asked = Asked(command, _one(kind.counters, name), b"%d" % (value + 1))
        else:
            key = _one((*kind.names, *kind.counters) if command == "get" else kind.names, name)
            asked = Asked(
                command,
                key,
                _one(kind.values, value) if command in ("put", "cas") else None,
                _one((None, *kind.values), old) if command == "cas" else None,
            )
        self._words[asked] += not (again and self._words[asked])
        number = self._words[asked]
        # Without a number the same words would be the same request.
        self._ask(which, asked._replace(number=number) if number > 1 else asked)

    @_asks(Decides.LOG)
    @rule(which=_ANY, query=_QUERY, name=_WHICH)
    def query(self, which: int, query: str, name: int) -> None:
        """A client reads beside the log."""
        kind = type(self)
        self._ask(which, Asked(query, _one((*kind.names, *kind.counters), name), None))

    @_has("submit")
    @rule()
    def follow(self) -> None:
        """A client that was sent on to another node asks there."""
        self._move(0, "submit")

    @_has("deliver")
    @rule(which=_WHICH)
    def deliver(self, which: int) -> None:
        """A message arrives."""
        self._move(which, "deliver")

    @precondition(lambda self: bool(self._next()))
    @rule(most=_RUSH)
    def rush(self, most: int) -> None:
        """For a while all goes well: messages arrive and disks sync, the oldest first.

        In a cluster with a log clients that were sent on ask, too, and time goes on for those who wait.
        """
        for _ in range(most):
            moves = self._next()
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
        most = _SETTLE_MOVES[stepper.protocol.decides]
        waiting = stepper.heal(most)
        if waiting and not stepper.over:
            sentence = (
                f"everything works again, every message arrived, and who had no answer asked again, but "
                f"{counted(len(waiting), 'client')} {'has' if len(waiting) == 1 else 'have'} none after "
                f"{most} moves: {', '.join(waiting[:5])}"
            )
            stepper.violations.append(Violation("Liveness", sentence, stepper.steps))
        stepper.judge()
        _require_sound(stepper, [*self.lines, _HEALED])

    # ---- inside

    def _enabled(self, kind: str) -> list[Move]:
        # Every rule asks after every step whether it is its turn.
        number, moves = self._found
        if number != len(self.lines):
            moves = {}
            for move in self.stepper.enabled():
                moves.setdefault(move.kind, []).append(move)
            self._found = len(self.lines), moves
        return moves.get(kind, [])

    def _next(self) -> list[Move]:
        """What comes next while all goes well, the first of it first."""
        stepper = self.stepper
        kinds = {"deliver", "sync"}
        if stepper.protocol.decides is Decides.LOG:
            kinds |= {"submit", "tick"} if stepper.unanswered else {"submit"}
        return [move for move in stepper.enabled(faults=False) if move.kind in kinds]

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
    return found


def _one(of: Sequence[_Item], which: int) -> _Item:
    return of[which % len(of)]


def _require_sound(stepper: Stepper, lines: Sequence[str]) -> None:
    if stepper.violations:
        moves = "\n".join(f"    {line}" for line in lines)
        raise AssertionError(f"{stepper.violations[0]}\nafter these moves:\n{moves}")


def _possible(stepper: Stepper) -> str:
    moves = [str(move) for move in stepper.enabled(faults=False)]
    return f"possible are {', '.join(moves[:8])}" if moves else "nothing is in flight and nobody waits"
