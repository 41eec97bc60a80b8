"""The desk for decrees: every operation is one question under one request id, and one reply ends it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from paxos.command import RequestId, digest_of
from paxos.contract import Message
from paxos.service import ReplyKind, Submit, decide_request, decided_request
from paxos.sim.choices import Choices
from paxos.sim.desk import DONE, LATE, REDIRECT, REJECTED, UNKNOWN, Answer, Ongoing, Session, name_of
from paxos.sim.mix import Planned
from paxos.sim.workload import Workload

__all__ = ["DecreeDesk"]

_KINDS: Final[dict[int, str]] = {
    ReplyKind.DONE: DONE,
    ReplyKind.REJECTED: REJECTED,
    ReplyKind.UNKNOWN: UNKNOWN,
}
_LATE: Final = Answer(LATE)

# Called directly for every operation: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


class DecreeDesk:
    """What clients of decrees say and hear.

    Args:
        workload: what they do.
        choices: decides which.
        planned: decides which instead, if there is such a plan; then every operation has its own decree.
    """

    def __init__(self, workload: Workload, choices: Choices, planned: Planned | None = None) -> None:
        self._workload = workload
        self._choices = choices
        self._planned = planned
        #: The decree of which a client was told last.
        self._last: bytes | None = None

    def invent(self, session: Session, begun: int, now_ns: int) -> Ongoing:
        """A decree proposed or read."""
        work = self._workload
        if self._planned is not None:
            return self._plan(session, begun, now_ns, self._planned)
        name = b"d%d" % name_of(begun, work.names, work.window, work.operations, self._choices.draw)
        value = None
        if not work.reads or not self._choices.happens("read", work.reads):
            value = b"%d.%d" % (session.index, session.sequence + 1)
            value = value.ljust(work.value_bytes, b"~")
        return self._ask(session, name, value, now_ns)

    def _plan(self, session: Session, begun: int, now_ns: int, planned: Planned) -> Ongoing:
        if planned.next(session.index, session.sequence, now_ns).reads and self._last is not None:
            return self._ask(session, self._last, None, now_ns)
        value = (b"%d.%d" % (session.index, session.sequence + 1)).ljust(self._workload.value_bytes, b"~")
        return self._ask(session, b"d%d" % begun, value, now_ns)

    def reading(self, session: Session, name: Any, now_ns: int) -> Ongoing:
        """What is decided of a decree."""
        return self._ask(session, name, None, now_ns)

    def audited(self, operations: Iterable[Ongoing]) -> Sequence[Any]:
        """The decrees of which clients were told that they are decided."""
        return list(dict.fromkeys(op.name for op in operations if op.outcome == DONE and op.out is not None))

    def heard(self, session: Session, op: Ongoing, reply: Message) -> Answer:
        """A reply ends the question whose id it bears."""
        if op.message.request != reply.request:
            return _LATE
        if reply.kind == ReplyKind.REDIRECT:
            return Answer(REDIRECT, node=reply.detail)
        return Answer(_KINDS[reply.kind], reply.result)

    def ended(self, session: Session, op: Ongoing) -> None:
        """Of a decree that was decided others may ask."""
        if op.outcome == DONE and op.value is not None:
            self._last = op.name

    def _ask(self, session: Session, name: bytes, value: bytes | None, now_ns: int) -> Ongoing:
        body = decided_request(name) if value is None else decide_request(name, value)
        session.sequence += 1
        request = _new(RequestId, (session.key, 0, session.sequence, digest_of(body)))
        question = _new(Submit, (request, body))
        return Ongoing(session, "decided" if value is None else "decide", name, value, question, now_ns)
