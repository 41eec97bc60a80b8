"""What watches a run step by step: the invariants, and the trace.

Neither touches the run: with and without them, the same choices give the same steps.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, Final, TypeAlias

from paxos.ballot import NodeId
from paxos.command import Command
from paxos.contract import Invariant, InvariantMaker, Message, Outline, ProtocolDescription, Replica, Step
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem
from paxos.service import Reply, ReplyKind, Submit, Turn, replica_prefix
from paxos.sim.questions import asked_of
from paxos.sim.result import bytes_as_json

__all__ = ["Trace", "Watch", "raised_at"]

# `json.dumps` would make an encoder for each line.
_encode: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_NONE: Final[frozenset[type]] = frozenset()
# Called directly for every step: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__
#: What JSON carries as it is.
_AS_IT_IS: Final = frozenset((type(None), bool, int, float, str))
#: A scenario holds no more.
_MAX_SENTENCE: Final = 5000
#: Far more than there are, for any protocol.
_MAX_OUTLINES: Final = 10_000

#: Of messages: their class, if there is one message, else the set of classes.
_Classes: TypeAlias = type | frozenset[type]
#: Of a step: action, class of what was taken in, of what was created and left; whether nothing was applied.
_Outline: TypeAlias = tuple[str, type, _Classes, _Classes, bool]


def _classes(messages: Sequence[tuple[NodeId, Message]]) -> frozenset[type]:
    return frozenset([each.__class__ for _, each in messages]) if messages else _NONE


@lru_cache(maxsize=64)
def _table(kinds: tuple[type, ...]) -> dict[_Outline, list[int]]:
    """Which of the invariants of these classes a step concerns: known from one run to the next."""
    return {}


def _made(protocol: ProtocolDescription, make: InvariantMaker, quorums: QuorumSystem) -> Invariant:
    """An invariant of a protocol, which may be a user's."""
    try:
        made = make(quorums)
    except (Exception, SystemExit) as error:
        who = getattr(make, "__name__", repr(make))
        raise ConfigurationError(
            f"protocol {protocol.name!r:.60}: its invariant {who:.60} can not be made: {_shown(error)}"
        ) from error
    name = getattr(made, "name", None)
    if not isinstance(name, str) or not name or not callable(getattr(made, "observe", None)):
        raise ConfigurationError(
            f"protocol {protocol.name!r:.60}: {made!r:.80} is no invariant: it needs a name, a text, and a "
            "method observe"
        )
    return made


def _mistaken(invariant: Invariant, error: BaseException) -> str:
    return (
        f"invariant {invariant.name} raised {_shown(error)}, when it was shown a step: the mistake is in the "
        "invariant, or the step is one that it did not expect"
    )


def _told(invariant: Invariant, sentence: object) -> str:
    """What an invariant says that broke; and what it is if it says something else than a sentence."""
    if isinstance(sentence, str):
        return sentence if len(sentence) <= _MAX_SENTENCE else f"{sentence[:_MAX_SENTENCE]} ..."
    return (
        f"invariant {invariant.name} returned {sentence!r:.80}: it is to return None, or a sentence that "
        "says what broke"
    )


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {error!s:.1000} ({raised_at(error)})"


def raised_at(error: BaseException) -> str:
    """Where an exception was raised, in a few words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}" if trace is not None else "nowhere"


def _concerns(invariant: Invariant, outline: Outline) -> bool:
    concerns: Callable[[Outline], bool] | None = getattr(invariant, "concerns", None)
    return concerns is None or concerns(outline)


class Watch:
    """Shows every step to the protocol's invariants.

    Args:
        protocol: whose invariants.
        quorums: of the run.
        group: number of the replication group.
        epoch: number of the membership.

    Raises:
        ConfigurationError: an invariant can not be made, or is none; the message says which.
    """

    def __init__(self, protocol: ProtocolDescription, quorums: QuorumSystem, group: int, epoch: int) -> None:
        self._invariants: list[Invariant] = [_made(protocol, make, quorums) for make in protocol.invariants]
        # Those that a step concerns, by its outline: most steps concern few.
        self._concerned: dict[_Outline, Sequence[tuple[Invariant, Callable[[Step], str | None]]]] = {}
        self._all: Sequence[tuple[Invariant, Callable[[Step], str | None]]] = [
            (each, each.observe) for each in self._invariants
        ]
        # Those that are shown what was submitted, besides.
        self._notified = [each for each in self._all if getattr(each[0], "submissions", False) is True]
        self._table = _table(tuple(map(type, self._invariants)))
        self._prefix = replica_prefix(group, epoch)

    def observe(
        self,
        action: str,
        node: NodeId,
        sender: NodeId | None,
        message: Message | None,
        turn: Turn,
        left: Sequence[tuple[NodeId, Message]],
        submitted: Command | None,
        replica: Replica | None,
        durable: Mapping[bytes, bytes],
        placed: Sequence[Command] = (),
    ) -> tuple[str, str] | None:
        """Name and sentence of the first property that this step breaks, or None."""
        sends, held = turn.sends, turn.held
        created = sends + held if held else sends
        made = _classes(created) if len(created) != 1 else created[0][1].__class__
        gone = made if left is created else _classes(left) if len(left) != 1 else left[0][1].__class__
        outline = (action, message.__class__, made, gone, not turn.applies)
        concerned = self._concerned.get(outline)
        if concerned is None:
            self._concerned[outline] = concerned = self._concerned_by(outline)
        if self._notified and (placed or submitted is not None):
            concerned = [each for each in self._all if each in concerned or each in self._notified]
        if not concerned:
            return None
        prefix = self._prefix
        cut = len(prefix)
        writes = turn.writes
        if writes:
            writes = [(key[cut:], value) for key, value in writes if key.startswith(prefix)]
        step = _new(Step, (
            action, node, sender, message, writes, created, left, turn.applies, submitted, replica, durable,
            placed,
        ))  # fmt: skip
        for invariant, observe in concerned:
            try:
                sentence = observe(step)
            except (Exception, SystemExit) as error:
                return f"{invariant.name}-raised", _mistaken(invariant, error)
            if sentence is not None:
                return invariant.name, _told(invariant, sentence)
        return None

    def _concerned_by(self, outline: _Outline) -> list[tuple[Invariant, Callable[[Step], str | None]]]:
        which = self._table.get(outline)
        if which is None:
            action, received, made, gone, idle = outline
            created, left = (frozenset((each,)) if isinstance(each, type) else each for each in (made, gone))
            said = Outline(action, None if received is NoneType else received, created, left, not idle)
            which = [at for at, each in enumerate(self._invariants) if _concerns(each, said)]
            if len(self._table) < _MAX_OUTLINES:
                self._table[outline] = which
        return [self._all[at] for at in which]


class Trace:
    """Writes a run down, one JSON object a line; equal runs give equal bytes."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def line(self, number: int, now_ns: int, action: str, **values: object) -> None:
        """Write one line."""
        entry: dict[str, object] = {"step": number, "at_ns": now_ns, "action": action}
        entry |= {name: value for name, value in values.items() if value is not None}
        self._lines.append(_encode(entry))

    def step(
        self,
        number: int,
        now_ns: int,
        action: str,
        node: NodeId,
        sender: NodeId | None,
        message: Message | None,
        sent_ns: int | None,
        turn: Turn,
        left: Sequence[tuple[NodeId, Message]],
    ) -> None:
        """Write one step of a node."""
        self.line(
            number,
            now_ns,
            action,
            node=node,
            sender=sender,
            sent_ns=sent_ns,
            message=None if message is None else _message(message),
            sends=[[to, type(what).__name__] for to, what in left] or None,
            writes=len(turn.writes) or None,
            answers=[[client, _answer(reply)] for client, reply in turn.answers] or None,
            applies=[[_plain(mark), _plain(command.payload)] for mark, command in turn.applies] or None,
            events=[[event.action, _plain(event.arguments)] for event in turn.events] or None,
        )

    def bytes(self) -> bytes:
        """All lines so far."""
        return "".join(line + "\n" for line in self._lines).encode()


def _message(message: Message) -> dict[str, object]:
    named: dict[str, object] = {"type": type(message).__name__}
    if hasattr(message, "_asdict"):
        if isinstance(message, Submit):
            return named | {"request": str(message.request)}
        asked = asked_of(message)
        if asked is not None:
            named["asked"] = str(asked)
        return named | {name: _plain(value) for name, value in message._asdict().items()}
    return named | {"text": str(message)}


def _answer(reply: object) -> object:
    if isinstance(reply, Reply):
        return [ReplyKind(reply.kind).name.lower(), _plain(reply.result)]
    return type(reply).__name__


def _plain(value: Any) -> Any:
    if value.__class__ in _AS_IT_IS:
        return value
    if isinstance(value, bytes):
        return bytes_as_json(value)
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return str(value)
