"""What clients of the directed simulator asked, and what became of it.

A question is one request of one client.  The same words asked again are the same request, as a client
repeats it: a proposal, a command of a log, or a query that has no answer yet.  With another number they are
another request.  Of a log, three questions
after each other are one client's, so that nodes have clients with several requests under way.

A node of a log may send a client on to another, or have no room for it; such a question waits to be asked
again.
"""

import functools
from typing import Any, Final

from paxos.ballot import NodeId
from paxos.command import Command, RequestId, digest_of
from paxos.contract import Decides, Message
from paxos.errors import ConfigurationError, Rejected, WireError
from paxos.service import Node, Reply, ReplyKind, Submit, decide_request, decided_request
from paxos.service.keyvalue_requests import DELETE, GET, INCREMENT, PUT, parse_cas, parse_simple
from paxos.service.log_messages import Level, Query, QueryReply, Refused, RefusedKind, Results, SubmitMany
from paxos.sim.desk import DONE, ELSEWHERE, LATE, REDIRECT, REFUSED, REJECTED, UNKNOWN, Answer
from paxos.sim.keyvalue_words import COMMANDS, body_of, meaning_of
from paxos.sim.log_desk import run_of
from paxos.sim.moves import Asked
from paxos.sim.result import Operation

__all__ = ["DecreeWords", "LogWords", "Question", "Questions", "asked_of", "check_asked", "words_of"]

_LATE: Final = Answer(LATE)
_REPLIES: Final = {ReplyKind.DONE: DONE, ReplyKind.REJECTED: REJECTED, ReplyKind.UNKNOWN: UNKNOWN}
_REFUSALS: Final = {
    RefusedKind.REJECTED: ELSEWHERE,
    RefusedKind.UNKNOWN: UNKNOWN,
    RefusedKind.EXPIRED: REJECTED,
    RefusedKind.NEVER: REJECTED,
    # It was carried out, but the answer is gone: nobody acknowledges anything here.
    RefusedKind.APPLIED: UNKNOWN,
}
_SIMPLE: Final = {PUT: "put", GET: "get", DELETE: "delete"}
#: What clients ask of decrees; everything else is asked of the key-value machine above a log.
_OF_DECREES: Final = frozenset({"decide", "decided"})
#: More than any number of 64 bits has.
_DIGITS: Final = 20
#: So many questions after each other are one client's.
_OF_ONE_CLIENT: Final = 3


class Question:
    """One request of one client."""

    __slots__ = ("again", "asked", "call", "home", "message", "node", "out", "outcome", "place", "returned")

    def __init__(self, asked: Asked, message: Message, call: int, home: NodeId) -> None:
        self.asked: Asked = asked
        self.message: Message = message
        self.call: int = call
        self.home: NodeId = home
        self.again: bool = False
        self.returned: int | None = None
        self.outcome: str | None = None
        self.out: Any = None
        self.node: NodeId | None = None
        self.place: tuple[int, int] | None = None


class DecreeWords:
    """Questions about decrees."""

    def message_of(self, number: int, asked: Asked) -> Submit:
        """What a client sends: equal for equal numbers and questions."""
        body = decided_request(asked.name) if asked.value is None else decide_request(asked.name, asked.value)
        return Submit(RequestId(b"client%010d" % number, 0, 1, digest_of(body)), body)

    def submitted(self, node: Node, message: Message) -> Command | None:
        """The command that a client submits with a message."""
        command: Command = node.machine.command(message.request, message.body)
        return command

    def is_repeat(self, question: Question) -> bool:
        """Whether the same words are the same request again."""
        return question.asked.value is not None

    def heard(self, question: Question, reply: Message) -> Answer:
        """What a message to the client is to its question."""
        if not isinstance(reply, Reply) or reply.kind == ReplyKind.REDIRECT:
            return _LATE
        return Answer(_REPLIES[ReplyKind(reply.kind)], reply.result)

    def request_of(self, question: Question) -> RequestId | None:
        """Of a log: under which id it is carried out."""
        return None

    def value_of(self, asked: Asked) -> Any:
        """The value, as histories have it."""
        return asked.value


class LogWords:
    """Questions to the key-value machine.

    Attributes:
        asked: every command that was asked for, by client and number.
    """

    def __init__(self) -> None:
        self.asked: dict[tuple[bytes, int], bytes] = {}

    def message_of(self, number: int, asked: Asked) -> Message:
        """What a client sends: equal for equal numbers and questions."""
        body = body_of(asked.kind, asked.name, self.value_of(asked), asked.old)
        if asked.kind not in COMMANDS:
            return Query(number, Level.STALE if asked.kind == "stale" else Level.LINEARIZABLE, body)
        client, sequence = b"client%010d" % (number // _OF_ONE_CLIENT), number % _OF_ONE_CLIENT + 1
        self.asked[client, sequence] = body
        return run_of(RequestId(client, 0, sequence, digest_of(body)), 0, body)

    def submitted(self, node: Node, message: Message) -> Command | None:
        """Commands of a log are made by nodes."""
        return None

    def is_repeat(self, question: Question) -> bool:
        """Whether the same words are the same request again."""
        return question.asked.kind in COMMANDS or question.outcome is None

    def heard(self, question: Question, reply: Message) -> Answer:
        """What a message to the client is to its question."""
        if isinstance(reply, Results):
            return self._told(question, reply.results[0])
        if isinstance(reply, QueryReply) and not reply.kind:
            return self._told(question, reply.result or b"")
        if not isinstance(reply, Refused | QueryReply):
            return _LATE
        if reply.kind == RefusedKind.REDIRECT:
            return Answer(REDIRECT, node=reply.detail)
        kind = _REFUSALS[RefusedKind(reply.kind)]
        # A read that has no answer may be asked as often as one likes.
        return Answer(ELSEWHERE if isinstance(reply, QueryReply) else kind)

    def request_of(self, question: Question) -> RequestId | None:
        """Under which id it is carried out; None for a query."""
        return None if isinstance(question.message, Query) else question.message.run.request(0)

    def value_of(self, asked: Asked) -> Any:
        """The value, as histories have it."""
        return _delta_of(asked) if asked.kind == "increment" else asked.value

    @staticmethod
    def _told(question: Question, answer: bytes) -> Answer:
        try:
            return Answer(DONE, meaning_of(question.asked.kind, answer))
        except Rejected:
            return Answer(REFUSED)
        except WireError as error:
            return Answer(DONE, f"no answer to a {question.asked.kind}: {error}".encode())


@functools.lru_cache(maxsize=4096)
def check_asked(decides: Decides, asked: Asked) -> None:
    """Whether clients of such a protocol can ask that.

    Raises:
        ConfigurationError: they can not; the message says what they can.
    """
    of_decrees = asked.kind in _OF_DECREES
    if decides is Decides.DECREES:
        if not of_decrees:
            raise ConfigurationError(
                f"a client can not ask {asked.kind!r:.40} here: the protocol decides decrees, of which "
                "clients ask 'decide' and 'decided'"
            )
        DecreeWords().message_of(0, asked)
        return
    if of_decrees:
        raise ConfigurationError(
            f"a client can not ask {asked.kind!r:.40} here: the protocol decides a log, of which clients ask "
            "'put', 'delete', 'cas', 'increment', 'get', 'read' and 'stale'"
        )
    LogWords().message_of(0, asked)


def _delta_of(asked: Asked) -> int:
    """What an increment adds."""
    text = b"1" if asked.value is None else asked.value
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > _DIGITS:
        raise ConfigurationError(
            f"increment {asked.name!r:.60}: expected a whole number of 64 bits to add, got {text!r:.60}"
        )
    return int(text)


def asked_of(message: Message) -> Asked | None:
    """What a message of a client of the key-value machine asks; None for what a schedule has no words for."""
    if isinstance(message, SubmitMany) and len(message.run.bodies) == 1:
        return words_of(message.run.bodies[0])
    if isinstance(message, Query):
        asked = words_of(message.body)
        if asked is not None and asked.kind == "get" and message.level != Level.NEWS:
            return asked._replace(kind="stale" if message.level == Level.STALE else "read")
    return None


def words_of(body: bytes) -> Asked | None:
    """What a command says; None for what a schedule has no words for."""
    simple = parse_simple(body)
    if simple is not None:
        op, key, value, delta = simple
        if op == INCREMENT:
            return Asked("increment", key, b"%d" % delta)
        return Asked(_SIMPLE[op], key, value if op == PUT else None)
    swap = parse_cas(body)
    if swap is not None and swap.value is not None:
        return Asked("cas", swap.key, swap.value, swap.expected)
    return None


class Questions:
    """All questions of a run.

    Args:
        words: what they are made of.

    Attributes:
        later: who was refused, and asks again when something has changed.
        unanswered: how many have no answer.
    """

    def __init__(self, words: DecreeWords | LogWords) -> None:
        self.words = words
        self.later: list[tuple[NodeId, Asked]] = []
        self.unanswered: int = 0
        self._all: list[Question] = []
        self._known: dict[Asked, int] = {}

    def ask(self, node: NodeId, asked: Asked, moved: int) -> tuple[int, Message]:
        """A client asks a node; the number of the question, and what is sent."""
        number = self._known.get(asked)
        if number is not None and self.words.is_repeat(self._all[number]):
            self._all[number].again = True
        else:
            number = len(self._all)
            self.unanswered += 1
            self._known[asked] = number
            self._all.append(Question(asked, self.words.message_of(number, asked), moved, node))
        return number, self._all[number].message

    def asked(self) -> list[Asked]:
        """What was asked, in order."""
        return [question.asked for question in self._all]

    def number_of(self, asked: Asked) -> int | None:
        """The number of the question that was asked with these words last."""
        return self._known.get(asked)

    def heard(
        self, number: int, node: NodeId, reply: Message, moved: int, place: tuple[int, int] | None
    ) -> tuple[NodeId, Asked] | None:
        """A client hears something; whom it asks next, and what, when it was sent on."""
        question = self._all[number]
        answer = _LATE if question.outcome is not None else self.words.heard(question, reply)
        kind = answer.kind
        if kind == LATE:
            return None
        if kind == REDIRECT:
            return (int(answer.node), question.asked) if answer.node.isdecimal() else None
        if kind == ELSEWHERE:
            self.later.append((node, question.asked))
            return None
        # Who asked more than once is not told by one rejection what became of the rest.
        self.unanswered -= 1
        question.outcome = UNKNOWN if kind == REJECTED and question.again else kind
        question.returned = moved
        question.out = answer.out
        question.node = node
        question.place = place
        return None

    def history(self) -> tuple[Operation, ...]:
        """What clients did, in order of call. Times are numbers of moves, an answer half of one later."""
        return tuple(
            Operation(
                client=number,
                kind=each.asked.kind,
                name=each.asked.name,
                value=self.words.value_of(each.asked),
                call_s=float(each.call),
                return_s=None if each.returned is None else each.returned + 0.5,
                outcome=each.outcome,
                out=each.out,
                node=each.node,
                home=each.home,
                old=each.asked.old,
                request=self.words.request_of(each),
                place=each.place,
            )
            for number, each in enumerate(self._all)
        )
