"""The service of decrees: clients ask for names to be decided, and are told what was chosen.

Requests that come before the node may vote wait here; each is given to the replica once, however often its
client repeats it, and ends with one answer, on the connection that asked last.
"""

from typing import Any, Final

from paxos.command import Command, RequestId, digest_of
from paxos.contract import Effects, Instant, Message, Outcome, OutcomeKind, Replica
from paxos.errors import ConfigurationError, Rejected
from paxos.service.decrees import DecreeBook
from paxos.service.messages import Cancel, Reply, ReplyKind, Submit
from paxos.service.turn import ClientKey, Turn

__all__ = ["DecreeService"]

_new_tuple: Final = tuple.__new__
#: Requests kept while the node may not vote yet, and bytes of their commands.
_MAX_EARLY: Final = 4096
_MAX_EARLY_BYTES: Final = 64 << 20


class DecreeService:
    """The clients of one node whose protocol decides decrees.

    Args:
        replica: what decides.
        begun: whether the replica may be given requests from the start.
    """

    #: What clients may send it.
    accepts: Final = frozenset((Submit, Cancel))

    def __init__(self, replica: Replica, begun: bool) -> None:
        self.machine: DecreeBook = DecreeBook()
        self._replica = replica
        self._waiting: dict[RequestId, tuple[ClientKey, Command]] = {}
        self._clients: dict[ClientKey, set[RequestId]] = {}
        # Whether the replica is given requests; before, they only wait, and so many bytes do.
        self._begun = begun
        self._early_bytes = 0
        #: What clients are told beside what the next effects bring.
        self.answers: list[tuple[ClientKey, Message]] = []

    # --- what comes in ------------------------------------------------------------------------------

    def request(self, client: ClientKey, message: Message, now: Instant, why_not_yet: str) -> None:
        """Handle one message of a client. `why_not_yet`: for those that can not even wait for the start."""
        if isinstance(message, Submit):
            self._submit(client, message, now, why_not_yet)
        elif isinstance(message, Cancel):
            if message.request in self._clients.get(client, ()):
                self._forget(message.request, now)
        else:
            raise ConfigurationError(f"{type(message).__name__} is not a message of a client for decrees")

    def disconnect(self, client: ClientKey, now: Instant) -> None:
        """The client is gone: nobody waits for its requests."""
        for request in tuple(self._clients.get(client, ())):
            self._forget(request, now)

    def begin(self, now: Instant) -> None:
        """The replica takes requests from now on."""
        self._begun = True
        self._early_bytes = 0
        self._replica.submit([command for _, command in self._waiting.values()], now)

    def receive(self, sender: int, message: Message, now: Instant) -> None:
        """There are no messages between nodes about decrees beside the replica's own."""

    def tick(self, now: Instant) -> None:
        """There is nothing to do by the clock."""

    def flush(self) -> None:
        """Requests went to the replica as they came."""

    # --- from the replica ---------------------------------------------------------------------------

    def settle(self, effects: Effects, turn: Turn) -> bool:
        """Take in what the replica decided, and tell clients. Never is there more to do then."""
        if effects.applies:
            apply = self.machine.apply
            for mark, command in effects.applies:
                apply(mark, command)
        if self.answers:
            turn.answers += self.answers
            self.answers = []
        if effects.outcomes:
            for outcome in effects.outcomes:
                self._conclude(outcome, turn)
        turn.room = effects.room
        return False

    def status(self) -> dict[str, object]:
        """For people and tools: JSON-able."""
        return {"requests": len(self._waiting)}

    # --- inside -------------------------------------------------------------------------------------

    def _submit(self, client: ClientKey, message: Submit, now: Instant, why_not_yet: str) -> None:
        request, body = message
        try:
            if digest_of(body) != request.digest:
                raise Rejected(f"request {request}: its id was made for another body")
            command = self.machine.command(request, body)
            if not self._begun:
                self._make_room_for(command, why_not_yet)
        except Rejected as error:
            self.answers.append((client, Reply(request, ReplyKind.REJECTED, None, str(error)[:1000])))
            return
        again = self._waiting.get(request)
        if again is not None:
            # A retry: its newest connection gets the answer.
            self._drop(request)
        self._waiting[request] = (client, command)
        self._clients.setdefault(client, set()).add(request)
        if again is None and self._begun:
            self._replica.submit((command,), now)

    def _make_room_for(self, command: Command, why_not_yet: str) -> None:
        """Count a command that must wait for the introduction. Raises Rejected."""
        again = command.request in self._waiting
        early_bytes = self._early_bytes + len(command.payload)
        if not again and (len(self._waiting) >= _MAX_EARLY or early_bytes > _MAX_EARLY_BYTES):
            raise Rejected(why_not_yet)
        self._early_bytes = early_bytes

    def _forget(self, request: RequestId, now: Instant) -> None:
        if self._drop(request) is not None:
            self._replica.abandon(request, now)

    def _drop(self, request: RequestId) -> tuple[ClientKey, Command] | None:
        waiting = self._waiting.pop(request, None)
        if waiting is not None:
            if not self._begun:
                self._early_bytes -= len(waiting[1].payload)
            mine = self._clients[waiting[0]]
            mine.discard(request)
            if not mine:
                del self._clients[waiting[0]]
        return waiting

    def _conclude(self, outcome: Outcome, turn: Turn) -> None:
        waiting = self._drop(outcome.request)
        if waiting is None:
            return
        client, command = waiting
        reply: Any
        if outcome.kind is OutcomeKind.READY:
            answer = self.machine.answer(command)
            reply = _new_tuple(Reply, (outcome.request, ReplyKind.DONE, answer, ""))
        elif outcome.kind is OutcomeKind.REJECTED:
            reply = Reply(outcome.request, ReplyKind.REJECTED, None, outcome.reason)
        elif outcome.kind is OutcomeKind.REDIRECT:
            reply = Reply(outcome.request, ReplyKind.REDIRECT, None, str(outcome.node))
        else:
            reply = Reply(outcome.request, ReplyKind.UNKNOWN, None, outcome.reason)
        turn.answers.append((client, reply))
