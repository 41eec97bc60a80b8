"""What watches a run step by step: the invariants, and the trace.

Neither touches the run: with and without them, the same choices give the same steps.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.command import Command
from paxos.contract import Invariant, Message, ProtocolDescription, Replica, Step
from paxos.quorum import QuorumSystem
from paxos.service import Reply, ReplyKind, Submit, Turn, replica_prefix
from paxos.sim.questions import asked_of
from paxos.sim.result import bytes_as_json

__all__ = ["Trace", "Watch"]

# `json.dumps` would make an encoder for each line.
_encode: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
#: What JSON carries as it is.
_AS_IT_IS: Final = frozenset((type(None), bool, int, float, str))


class Watch:
    """Shows every step to the protocol's invariants.

    Args:
        protocol: whose invariants.
        quorums: of the run.
        group: number of the replication group.
        epoch: number of the membership.
    """

    def __init__(self, protocol: ProtocolDescription, quorums: QuorumSystem, group: int, epoch: int) -> None:
        self._invariants: list[Invariant] = [make(quorums) for make in protocol.invariants]
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
        prefix = self._prefix
        cut = len(prefix)
        writes = [(key[cut:], value) for key, value in turn.writes if key.startswith(prefix)]
        created = turn.sends + turn.held
        step = Step(
            action, node, sender, message, writes, created, left, turn.applies, submitted, replica, durable,
            placed,
        )  # fmt: skip
        for invariant in self._invariants:
            try:
                sentence = invariant.observe(step)
            except SystemExit as error:
                # It would end the run without a word, as if nothing had broken.
                raise RuntimeError(f"invariant {invariant.name}: SystemExit({error.code!r})") from error
            if sentence is not None:
                return invariant.name, sentence
        return None


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
